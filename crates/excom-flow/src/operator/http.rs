//! The HTTP operator: one request, its answer as JSON or text.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use excom_core::{Error, ErrorKind, Value};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Method, Response, StatusCode, Url};

use super::{Field, Fields, Operator};
use crate::dag::{Dag, Handle};
use crate::error::{invalid, within};
use crate::instance::TaskInstance;
use crate::outcome::Result;

/// How long a request may take in all, and how long its connection, unless told.
const TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// The largest body that is taken unless told, in bytes.
const SIZE_LIMIT: u64 = 16 << 20;

/// How many redirects are followed.
const REDIRECTS: usize = 10;

/// How much of a body errors show, in bytes.
const SHOWN: usize = 500;

/// Sends a request, and returns the body of the answer: JSON when its content type says so, else text.
///
/// - The URL, the headers and the body are templates, or another task's values.
/// - The answer must have a status from 200 to 299, or one of those that are expected; a body has at most
///   16 MiB, unless told. An empty body is nothing.
/// - A request takes at most a minute, unless told. Up to ten redirects are followed, but none from HTTPS to
///   HTTP, and none to another host when the request has headers or a body of its own: they may be secret.
/// - The log has the method, the URL without its query, the status and the size; never headers. Of the
///   rendered fields that are kept, the URL, the headers and the body are `***`, since they may be secret.
/// - Certificates are verified as the system does, and proxies are taken from the environment as usual.
#[derive(Clone)]
pub struct Http {
    method: String,
    url: Field,
    headers: Vec<(String, Field)>,
    body: Option<Body>,
    expected: Vec<u16>,
    check: Option<Check>,
    size_limit: u64,
    timeout: Duration,
}

type Check = Arc<dyn Fn(&HttpResponse) -> Result<()> + Send + Sync>;

#[derive(Debug, Clone)]
enum Body {
    Text(Field),
    Json(Field),
}

/// An answer, for [checks](Http::check).
#[derive(Debug, Clone)]
pub struct HttpResponse {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl HttpResponse {
    /// The status, such as 200.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// A header's value, when there is one and it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body: the JSON value, text as a JSON string, null when it is empty.
    pub fn body(&self) -> &Value {
        &self.body
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers may be secret.
        f.debug_struct("Http").field("method", &self.method).field("url", &self.url).finish_non_exhaustive()
    }
}

impl Http {
    /// A request with a method, such as `GET`, to a URL.
    pub fn new(method: &str, url: impl Into<Field>) -> Self {
        Self {
            method: method.to_owned(),
            url: url.into().secret(),
            headers: Vec::new(),
            body: None,
            expected: Vec::new(),
            check: None,
            size_limit: SIZE_LIMIT,
            timeout: TIMEOUT,
        }
    }

    /// The same request with a header more.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Field>) -> Self {
        self.headers.push((name.to_owned(), value.into().secret()));
        self
    }

    /// The same request with a body: text as it is, any other value as JSON text. A content type is a header.
    #[must_use]
    pub fn body(mut self, body: impl Into<Field>) -> Self {
        self.body = Some(Body::Text(body.into().secret()));
        self
    }

    /// The same request with a JSON body, and the content type that says so.
    #[must_use]
    pub fn json(mut self, body: impl Into<Field>) -> Self {
        self.body = Some(Body::Json(body.into().secret()));
        self
    }

    /// The same request, which fails unless the status is one of these.
    #[must_use]
    pub fn expect_status(mut self, statuses: impl IntoIterator<Item = u16>) -> Self {
        self.expected = statuses.into_iter().collect();
        self
    }

    /// The same request, which fails when the check of its answer does.
    #[must_use]
    pub fn check(mut self, check: impl Fn(&HttpResponse) -> Result<()> + Send + Sync + 'static) -> Self {
        self.check = Some(Arc::new(check));
        self
    }

    /// The same request, whose answer may have so many bytes.
    #[must_use]
    pub fn size_limit(mut self, bytes: u64) -> Self {
        self.size_limit = bytes;
        self
    }

    /// The same request, which may take so long in all.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    async fn send(&self, ti: &TaskInstance) -> Result<Value> {
        let method = Method::from_bytes(self.method.as_bytes())
            .map_err(|_| invalid(format!("`{}` is no HTTP method", self.method)))?;
        let url = self.url()?;
        let shown = format!("{method} {}", shown(&url));
        let (headers, body) = (self.headers()?, self.content()?);
        let plain = headers.is_empty() && body.is_none() && url.username().is_empty();
        let client = reqwest::Client::builder()
            .user_agent(concat!("excom/", env!("CARGO_PKG_VERSION")))
            .timeout(self.timeout)
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(Policy::custom(move |attempt| follow(attempt, plain)));
        let client = client.build().map_err(|e| within("HTTP cannot be set up", failed(e)))?;
        let mut request = client.request(method, url).headers(headers);
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request.send().await.map_err(|e| within(&shown, failed(e)))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let expected = if self.expected.is_empty() {
            status.is_success()
        } else {
            self.expected.contains(&status.as_u16())
        };
        let body = self.read(response).await.map_err(|e| within(&shown, e))?;
        ti.log(&format!("{shown}: {status}, {} bytes", body.len()));
        if !expected {
            return Err(within(&shown, unexpected(ti, status, &body)).into());
        }
        let body = value(body, &headers).map_err(|e| within(&shown, e))?;
        let response = HttpResponse { status: status.as_u16(), headers, body };
        if let Some(check) = &self.check {
            check(&response)?;
        }
        Ok(response.body)
    }

    fn url(&self) -> excom_core::Result<Url> {
        // The text may hold a password or a token, so it is not shown.
        let url = self.url.text()?;
        let url = Url::parse(url.trim()).map_err(|e| invalid("the URL cannot be read").because(e))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(invalid(format!("`{}` is no scheme of HTTP", url.scheme()))
                .hint("write a URL that begins with http:// or https://"));
        }
        Ok(url)
    }

    fn headers(&self) -> excom_core::Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        for (name, field) in &self.headers {
            let known = HeaderName::try_from(name)
                .map_err(|_| invalid(format!("`{name}` cannot be the name of a header")))?;
            let mut value = HeaderValue::from_str(&field.text()?).map_err(|_| {
                invalid(format!("the value of header `{name}` has a character that no header can have"))
            })?;
            value.set_sensitive(true);
            headers.append(known, value);
        }
        if matches!(self.body, Some(Body::Json(_))) {
            headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        }
        Ok(headers)
    }

    fn content(&self) -> excom_core::Result<Option<reqwest::Body>> {
        Ok(match &self.body {
            Some(Body::Text(field)) => Some(field.text()?.into()),
            Some(Body::Json(field)) => Some(field.get::<Value>()?.bytes().clone().into()),
            None => None,
        })
    }

    async fn read(&self, mut response: Response) -> excom_core::Result<Vec<u8>> {
        let too_large = || {
            Error::new(ErrorKind::TooLarge, format!("the answer has over {} bytes", self.size_limit))
                .hint("raise size_limit, or let a program write the answer to a file")
        };
        if response.content_length().is_some_and(|length| length > self.size_limit) {
            return Err(too_large());
        }
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(failed)? {
            body.extend_from_slice(&piece);
            if body.len() as u64 > self.size_limit {
                return Err(too_large());
            }
        }
        Ok(body)
    }
}

impl Operator for Http {
    type Output = Value;

    fn fields(&mut self) -> Fields<'_> {
        let mut fields: Fields<'_> = vec![("url".into(), &mut self.url)];
        fields.extend(self.headers.iter_mut().map(|(name, field)| (format!("header.{name}").into(), field)));
        if let Some(Body::Text(field) | Body::Json(field)) = &mut self.body {
            fields.push(("body".into(), field));
        }
        fields
    }

    async fn execute(self, ti: TaskInstance) -> Result<Value> {
        tokio::select! {
            value = self.send(&ti) => value,
            () = ti.cancelled() => Err("the run was cancelled, and the request was given up".into()),
        }
    }
}

/// Whether a redirect is followed; a plain request has nothing that another host should not see.
fn follow(attempt: Attempt<'_>, plain: bool) -> reqwest::redirect::Action {
    let Some(first) = attempt.previous().first() else { return attempt.follow() };
    let to = attempt.url();
    let why = if attempt.previous().len() > REDIRECTS {
        "there are more than ten redirects"
    } else if first.scheme() == "https" && to.scheme() != "https" {
        "it redirects from HTTPS to HTTP"
    } else if !plain && origin(first) != origin(to) {
        "it redirects to another host, which must not see the headers and the body"
    } else {
        return attempt.follow();
    };
    attempt.error(why)
}

/// The host and port.
fn origin(url: &Url) -> (Option<&str>, Option<u16>) {
    (url.host_str(), url.port_or_known_default())
}

/// A URL without what may be secret.
fn shown(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map_or(String::new(), |port| format!(":{port}"));
    format!("{}://{host}{port}{}", url.scheme(), url.path())
}

/// The body as a value.
fn value(body: Vec<u8>, headers: &HeaderMap) -> excom_core::Result<Value> {
    if body.is_empty() {
        return Ok(Value::null());
    }
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind == "application/json" || kind.ends_with("+json") {
        return Value::parse(body).map_err(|e| within("the answer says that it is JSON, and is not", e));
    }
    match std::str::from_utf8(&body) {
        Ok(text) => Value::of(text),
        Err(_) => Err(Error::new(
            ErrorKind::InvalidValue,
            format!("the answer is neither JSON nor UTF-8 text; its content type is `{kind}`"),
        )
        .hint("let a program write it to a file, and push the file's path")),
    }
}

fn unexpected(ti: &TaskInstance, status: StatusCode, body: &[u8]) -> Error {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    let end = ti.channel().cut(text, SHOWN);
    let shown = match text {
        "" => String::new(),
        text => format!("; it says: {}{}", &text[..end], if end < text.len() { "…" } else { "" }),
    };
    let kind = if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        ErrorKind::Unavailable
    } else {
        ErrorKind::Other
    };
    Error::new(kind, format!("the server answered {status}{shown}"))
}

/// What the client said, with its causes and without the URL, whose query may be secret.
fn failed(error: reqwest::Error) -> Error {
    let error = error.without_url();
    let away = error.is_connect() || error.is_timeout();
    let mut text = error.to_string();
    let mut next = std::error::Error::source(&error);
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    Error::new(if away { ErrorKind::Unavailable } else { ErrorKind::Other }, text)
}

impl Dag {
    /// Adds a task that sends an HTTP request and returns the answer; see [`Http`].
    ///
    /// ```
    /// # extern crate excom_flow as excom;
    /// use excom::prelude::*;
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct Station { name: String }
    ///
    /// #[task]
    /// fn names(stations: Vec<Station>) -> Vec<String> {
    ///     stations.into_iter().map(|station| station.name).collect()
    /// }
    ///
    /// #[dag]
    /// fn daily(dag: &Dag) {
    ///     let stations = dag.http("stations", "GET", "https://example.org/stations?day={{ ds }}");
    ///     names(dag, stations.header("Accept", "application/json").output_as());
    /// }
    /// assert_eq!(daily().graph()?.tasks()[1].upstream().collect::<Vec<_>>(), ["stations"]);
    /// # Ok::<(), excom_core::Error>(())
    /// ```
    pub fn http(&self, task_id: &str, method: &str, url: impl Into<Field>) -> Handle<'_, Http> {
        self.add(task_id, Http::new(method, url))
    }
}

impl Handle<'_, Http> {
    /// Sends a header: a template, or another task's value.
    pub fn header(self, name: &str, value: impl Into<Field>) -> Self {
        let value = value.into().secret();
        self.configure(|http| http.headers.push((name.to_owned(), value)))
    }

    /// Sends a body: text as it is, any other value as JSON text.
    pub fn body(self, body: impl Into<Field>) -> Self {
        let body = body.into().secret();
        self.configure(|http| http.body = Some(Body::Text(body)))
    }

    /// Sends a JSON body, and the content type that says so.
    pub fn json(self, body: impl Into<Field>) -> Self {
        let body = body.into().secret();
        self.configure(|http| http.body = Some(Body::Json(body)))
    }

    /// Fails unless the status is one of these.
    pub fn expect_status(self, statuses: impl IntoIterator<Item = u16>) -> Self {
        self.configure(|http| http.expected = statuses.into_iter().collect())
    }

    /// Fails when the check of the answer does.
    pub fn check(self, check: impl Fn(&HttpResponse) -> Result<()> + Send + Sync + 'static) -> Self {
        self.configure(|http| http.check = Some(Arc::new(check)))
    }

    /// How many bytes the answer may have.
    pub fn size_limit(self, bytes: u64) -> Self {
        self.configure(|http| http.size_limit = bytes)
    }

    /// How long the request may take in all.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.configure(|http| http.timeout = timeout)
    }
}
