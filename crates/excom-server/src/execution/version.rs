//! The dated version that a client speaks. All that there have been are taken, and answered with the newest's fields;
//! without one it is the newest.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use excom_airflow::execution::VERSIONS;
use jiff::civil::Date;

use crate::refusal::Refusal;

const VERSION: HeaderName = HeaderName::from_static("airflow-api-version");

/// Refuses a date before the first version, and says the others back.
pub(super) async fn check(request: Request, next: Next) -> Result<Response, Refusal> {
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
        if *date.to_string() < *VERSIONS[0] {
            return Err(Refusal::plain(StatusCode::NOT_FOUND, "Not Found"));
        }
    }
    let mut answer = next.run(request).await;
    let newest = HeaderValue::from_static(VERSIONS[VERSIONS.len() - 1]);
    answer.headers_mut().insert(VERSION, told.unwrap_or(newest));
    Ok(answer)
}
