//! The dated version that a client speaks. All that there have been are taken, and answered with the newest's fields;
//! without one it is the newest.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use excom_airflow::execution::VERSIONS;
use jiff::civil::Date;

use crate::refusal::Refusal;

const VERSION: HeaderName = HeaderName::from_static("airflow-api-version");

/// The version that a client speaks.
pub(crate) struct Spoken(Option<HeaderValue>);

impl Spoken {
    /// What the head of a request says.
    ///
    /// # Errors
    /// 404 for a date before the first version, 422 for what is none.
    pub(crate) fn of(head: &HeaderMap) -> Result<Self, Refusal> {
        let told = head.get(VERSION).cloned();
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
            if *date.to_string() < *VERSIONS[0] {
                return Err(Refusal::plain(StatusCode::NOT_FOUND, "Not Found"));
            }
        }
        Ok(Self(told))
    }

    /// Says it back.
    pub(crate) fn say(self, head: &mut HeaderMap) {
        let newest = HeaderValue::from_static(VERSIONS[VERSIONS.len() - 1]);
        head.insert(VERSION, self.0.unwrap_or(newest));
    }
}
