//! The dated version that a client speaks.

use axum::extract::Request;
use axum::http::{HeaderName, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use excom_airflow::execution::VERSIONS;
use jiff::civil::Date;

use crate::refusal::Refusal;

const VERSION: HeaderName = HeaderName::from_static("airflow-api-version");

/// The version that a request speaks, as an index into [`VERSIONS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(usize);

impl Version {
    const NEWEST: Self = Self(VERSIONS.len() - 1);

    /// The version of a date: the newest up to then.
    fn of(date: Date) -> Option<Self> {
        let date = date.to_string();
        VERSIONS.iter().rposition(|version| **version <= *date).map(Self)
    }
}

/// Finds out the version, and says it back.
pub(super) async fn check(mut request: Request, next: Next) -> Result<Response, Refusal> {
    let told = request.headers().get(VERSION).cloned();
    let text = told.as_ref().map_or(Ok(""), |told| told.to_str()).unwrap_or("?").trim();
    let version = if text.is_empty() {
        Version::NEWEST
    } else {
        let date: Date = text.parse().map_err(|_| {
            Refusal::unprocessable(
                "date_from_datetime_parsing",
                &["header", "Airflow-API-Version"],
                "Input should be a valid date or datetime, invalid character in year",
                text,
            )
        })?;
        Version::of(date).ok_or_else(|| Refusal::plain(StatusCode::NOT_FOUND, "Not Found"))?
    };
    request.extensions_mut().insert(version);
    let mut answer = next.run(request).await;
    told.into_iter().for_each(|told| drop(answer.headers_mut().insert(VERSION, told)));
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_speaks_the_version_of_its_time() {
        let index = |text: &str| Version::of(text.parse().unwrap()).map(|version| version.0);
        assert_eq!(index("2025-04-10"), None);
        assert_eq!(index("2025-04-11"), Some(0));
        assert_eq!(index("2025-04-27"), Some(0));
        assert_eq!(index("2099-01-01"), Some(VERSIONS.len() - 1));
        assert!(VERSIONS.is_sorted());
    }
}
