//! The parts of requests, read as Airflow's server reads them: what cannot be understood is 422 and says where.

use std::error::Error as StdError;
use std::io;
use std::iter::successors;

use axum::body::{Body, HttpBody as _, to_bytes};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use excom_airflow::whole_number;
use http_body_util::LengthLimitError;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::timeout;

use crate::app::App;
use crate::refusal::Refusal;
use crate::wrong;

/// The parts of a path.
#[derive(Debug, Clone)]
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let found = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        let wrong = |error: PathRejection| {
            Refusal::unprocessable("value_error", &["path"], error.body_text(), parts.uri.path())
        };
        found.map(|axum::extract::Path(found)| Self(found)).map_err(wrong)
    }
}

/// The parameters behind a path. Those that nobody asks for are ignored.
#[derive(Debug, Clone, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let query = parts.uri.query().unwrap_or_default();
        Ok(Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect()))
    }
}

impl Params {
    /// The last of a name.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(found, _)| found == name).map(|(_, text)| &**text)
    }

    /// All of a name, in their order.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(found, _)| found == name).map(|(_, text)| &**text)
    }

    /// A whole number.
    ///
    /// # Errors
    /// 422 for what is none, or too large.
    pub(crate) fn integer<N: TryFrom<i128>>(&self, name: &str) -> Result<Option<N>, Refusal> {
        self.text(name).map(|text| integer(text, &["query", name])).transpose()
    }

    /// A whole number that is not negative; one that is too large is as large as there is.
    ///
    /// # Errors
    /// 422 for what is none, or negative.
    pub(crate) fn count(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let count = self.at_least(name, 0)?;
        Ok(count.map(|count| u64::try_from(count).unwrap_or(u64::MAX)))
    }

    /// A whole number from the least one up.
    ///
    /// # Errors
    /// 422 for what is none, or below.
    fn at_least(&self, name: &str, least: i128) -> Result<Option<i128>, Refusal> {
        let number = self.integer(name)?;
        if number.is_some_and(|number| number < least) {
            let message = format!("Input should be greater than or equal to {least}");
            return Err(Refusal::unprocessable(
                "greater_than_equal",
                &["query", name],
                message,
                self.text(name),
            ));
        }
        Ok(number)
    }

    /// A map index from the least one up. There is nothing under one that is too large or small, so it is as large or small
    /// as there is.
    ///
    /// # Errors
    /// As [`Params::at_least`].
    pub(crate) fn map_index(&self, name: &str, least: i128) -> Result<Option<i32>, Refusal> {
        let most = |index: i128| if index < 0 { i32::MIN } else { i32::MAX };
        let index = self.at_least(name, least)?;
        Ok(index.map(|index| i32::try_from(index).unwrap_or(most(index))))
    }

    /// All dates of a name.
    ///
    /// # Errors
    /// 422 for what is none.
    pub(crate) fn dates(&self, name: &str) -> Result<Vec<Timestamp>, Refusal> {
        let date = |text: &str| {
            text.parse().map_err(|_| {
                let message = "Input should be a valid datetime";
                Refusal::unprocessable("datetime_parsing", &["query", name], message, text)
            })
        };
        self.0.iter().filter(|(found, _)| found == name).map(|(_, text)| date(text)).collect()
    }

    /// A yes or no; no when it is not there.
    ///
    /// # Errors
    /// 422 for what is neither.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Refusal> {
        let Some(text) = self.text(name) else { return Ok(false) };
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" | "t" | "y" => Ok(true),
            "false" | "0" | "no" | "off" | "f" | "n" => Ok(false),
            _ => Err(Refusal::unprocessable(
                "bool_parsing",
                &["query", name],
                "Input should be a valid boolean, unable to interpret input",
                text,
            )),
        }
    }
}

/// The parameters behind a path as a type, which refuses names that it does not have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let found = axum::extract::Query::<T>::try_from_uri(&parts.uri);
        let wrong = |error: QueryRejection| {
            let query = parts.uri.query().unwrap_or_default();
            Refusal::unprocessable("value_error", &["query"], error.body_text(), query)
        };
        found.map(|axum::extract::Query(found)| Self(found)).map_err(wrong)
    }
}

/// Waits for what is read whole into memory. For how long each of its pieces is waited for is the connection's affair
/// (`patient`); but who sends pieces one after the other for ever would have that memory for ever.
pub(crate) async fn within<T>(app: &App, reading: impl Future<Output = T>) -> Result<T, Refusal> {
    timeout(app.options.body_time, reading).await.map_err(|_| too_late())
}

fn too_late() -> Refusal {
    Refusal::plain(StatusCode::REQUEST_TIMEOUT, "the body of the request took too long")
}

/// Reads a request's body, so that whoever answers has it whole, and none over the limit.
pub(crate) async fn whole(app: &App, request: Request) -> Result<Request, Refusal> {
    let limit = app.options.body_limit;
    let too_large = || {
        let message = format!("the body of the request is over {limit} bytes");
        Refusal::because(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    };
    if request.body().is_end_stream() {
        return Ok(request);
    }
    let (head, body) = request.into_parts();
    if body.size_hint().lower() > limit {
        return Err(too_large());
    }
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let body = within(app, to_bytes(body, most)).await?.map_err(|error| {
        if causes(&error).any(|cause| cause.is::<LengthLimitError>()) {
            return too_large();
        }
        let late = |cause: &io::Error| cause.kind() == io::ErrorKind::TimedOut;
        match causes(&error).any(|cause| cause.downcast_ref().is_some_and(late)) {
            true => too_late(),
            false => Refusal::plain(StatusCode::BAD_REQUEST, "the body of the request was cut off"),
        }
    })?;
    Ok(Request::from_parts(head, Body::from(body)))
}

/// What is behind an error.
fn causes(error: &axum::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    successors(error.source(), |cause| (*cause).source())
}

/// A whole number as Airflow reads one, at a place in the request.
///
/// # Errors
/// 422 for what is none, or too large.
pub(crate) fn integer<N: TryFrom<i128>>(text: &str, place: &[&str]) -> Result<N, Refusal> {
    whole_number(text).and_then(|number| N::try_from(number).ok()).ok_or_else(|| {
        let message = "Input should be a valid integer, unable to parse string as an integer";
        Refusal::unprocessable("int_parsing", place, message, text)
    })
}

/// A body that is a document of a type.
#[derive(Debug)]
pub(crate) struct Document<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Document<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(|error| Refusal::plain(StatusCode::BAD_REQUEST, error.body_text()))?;
        parsed(&body).map(Self)
    }
}

/// The same, which also says that it is JSON.
#[derive(Debug)]
pub(crate) struct Declared<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Declared<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        if !is_json(request.headers()) {
            return Err(not_json());
        }
        Document::from_request(request, state).await.map(|Document(document)| Self(document))
    }
}

/// A document of a type.
pub(crate) fn parsed<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refusal> {
    // The parts of an array would be taken for fields by their places.
    if body.trim_ascii_start().starts_with(b"[") && wrong::has_fields::<T>() {
        return Err(wrong::no_object(body));
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    let parsed = serde_path_to_error::deserialize(&mut reader);
    let parsed = parsed.map_err(|error| match error.inner().is_data() {
        true => wrong::no_such_type::<T>(body, error.path(), error.inner()),
        false => wrong::no_json(body, error.inner()),
    })?;
    reader.end().map_err(|error| wrong::no_json(body, &error))?;
    Ok(parsed)
}

/// Whether a body says that it is JSON. Nothing else is taken for it, as in Airflow.
pub(crate) fn is_json(head: &HeaderMap) -> bool {
    let kind = head.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

/// A refusal of a body that does not say that it is JSON.
pub(crate) fn not_json() -> Refusal {
    let message = "the body is not JSON: say that it is with `content-type: application/json`";
    Refusal::unprocessable("json_invalid", &["body"], message, json!({}))
}
