//! The dated version that a client speaks. All that there have been are taken; without one it is the newest.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use excom_airflow::execution::Version;
use jiff::civil::Date;

use crate::refusal::Refusal;

const VERSION: HeaderName = HeaderName::from_static("airflow-api-version");

/// The version that a client speaks, for whoever answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spoken(pub(super) Version);

impl Spoken {
    /// What the head of a request says, noted on it unless it is the newest.
    ///
    /// # Errors
    /// 404 for a date before the first version, 422 for what is none.
    pub(crate) fn note(request: &mut Request) -> Result<Option<HeaderValue>, Refusal> {
        let told = request.headers().get(VERSION).cloned();
        let text = told.as_ref().map_or(Ok(""), |told| told.to_str()).unwrap_or("?").trim();
        if !text.is_empty() {
            let date: Date = text.parse().map_err(|_| {
                Refusal::unprocessable(
                    "date_from_datetime_parsing",
                    &["header", "Airflow-API-Version"],
                    "Input should be a valid date or datetime, invalid character in year",
                    text,
                )
            })?;
            let version = Version::at(date);
            let version = version.ok_or_else(|| Refusal::plain(StatusCode::NOT_FOUND, "Not Found"))?;
            if version != Version::NEWEST {
                request.extensions_mut().insert(Self(version));
            }
        }
        Ok(told)
    }

    /// Says back what was told.
    pub(crate) fn say(told: Option<HeaderValue>, head: &mut HeaderMap) {
        let newest = || HeaderValue::from_static(Version::NEWEST.name());
        head.insert(VERSION, told.unwrap_or_else(newest));
    }
}

impl<S: Sync> FromRequestParts<S> for Spoken {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().copied().unwrap_or(Self(Version::NEWEST)))
    }
}
