//! Requests and their answers: what is sent, how often, and what comes of it.

use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use excom_core::value::ByteStream;
use excom_core::{Error, ErrorKind, Result};
use futures_util::stream::unfold;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout};

use crate::body::{Stuck, Upload};
use crate::client::{Client, Inner};
use crate::refusal::Refused;

/// A newer token, in the head of an answer.
const REFRESHED: HeaderName = HeaderName::from_static("refreshed-api-token");

/// The pause before the first repetition, and before the last ones.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// The most bytes of a document that is answered; values that are larger come as streams.
const LARGEST: usize = 1 << 30;

/// The most bytes of a refusal that are read.
const LARGEST_REFUSAL: usize = 1 << 20;

/// A request.
pub(crate) struct Call {
    method: Method,
    path: String,
    query: Vec<(&'static str, String)>,
    head: HeaderMap,
    body: Option<Bytes>,
    repeatable: bool,
    /// How long the server may take to begin its answer; for ever without.
    limit: Limit,
}

/// How long a server may take to begin its answer.
#[derive(Clone, Copy)]
enum Limit {
    /// As [`Options::timeout`](crate::Options::timeout) says.
    Usual,
    /// So much longer.
    Longer(Duration),
    /// As long as it likes.
    None,
}

impl Call {
    pub(crate) fn new(method: Method, path: String) -> Self {
        Self {
            method,
            path,
            query: Vec::new(),
            head: HeaderMap::new(),
            body: None,
            repeatable: true,
            limit: Limit::Usual,
        }
    }

    pub(crate) fn get(path: String) -> Self {
        Self::new(Method::GET, path)
    }

    /// With a document.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub(crate) fn document(method: Method, path: String, document: &impl Serialize) -> Result<Self> {
        let text = serde_json::to_vec(document).map_err(|cause| {
            Error::new(ErrorKind::InvalidRequest, "the request cannot be written as JSON").because(cause)
        })?;
        let mut call =
            Self::new(method, path).header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        call.body = Some(text.into());
        Ok(call)
    }

    /// With a parameter behind its path.
    pub(crate) fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.query.push((name, value.to_string()));
        self
    }

    /// With a parameter, if there is one.
    pub(crate) fn maybe(self, name: &'static str, value: Option<impl fmt::Display>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.head.insert(name, value);
        self
    }

    /// Not to be repeated where it may have been done.
    pub(crate) fn once(mut self) -> Self {
        self.repeatable = false;
        self
    }

    /// With so much more time.
    pub(crate) fn longer(mut self, time: Duration) -> Self {
        self.limit = Limit::Longer(time);
        self
    }

    /// With all the time that it takes.
    pub(crate) fn patient(mut self) -> Self {
        self.limit = Limit::None;
        self
    }

    fn limit(&self, usual: Duration) -> Option<Duration> {
        match self.limit {
            Limit::Usual => Some(usual),
            Limit::Longer(time) => Some(usual.saturating_add(time)),
            Limit::None => None,
        }
    }

    fn request(&self, inner: &Inner) -> reqwest::RequestBuilder {
        let mut address = format!("{}{}", inner.address, self.path);
        for (place, (name, value)) in self.query.iter().enumerate() {
            let before = if place == 0 { '?' } else { '&' };
            address.push_str(&format!("{before}{name}={}", crate::place::escaped(value)));
        }
        let request = inner.http.request(self.method.clone(), address).header(AUTHORIZATION, inner.token());
        let request = request.header(ACCEPT, "application/json").headers(self.head.clone());
        match &self.body {
            Some(body) => request.body(body.clone()),
            None => request,
        }
    }
}

/// How a try failed.
pub(crate) struct Failure {
    pub(crate) told: Told,
    again: Again,
}

/// What is known of a failure.
pub(crate) enum Told {
    /// The server said no.
    Refused(Box<Refused>),
    /// It said nothing.
    Error(Error),
}

/// Whether a request may be sent again.
enum Again {
    /// It would fail again.
    No,
    /// It was not done; after so long, when the server says how long.
    Undone(Option<Duration>),
    /// It may have been done.
    Unknown(Option<Duration>),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure.told {
            Told::Refused(refused) => refused.error,
            Told::Error(error) => error,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { told: Told::Error(error), again: Again::No }
    }
}

impl Client {
    /// What a request is answered, as a document.
    ///
    /// # Errors
    /// The server's refusal; that it cannot be reached; that it is none of Excom's.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, call: &Call) -> Result<T> {
        self.read(&self.text(call).await?)
    }

    /// A document of the server's.
    ///
    /// # Errors
    /// [`ErrorKind::Incompatible`] for what is none that this client understands.
    pub(crate) fn read<'a, T: Deserialize<'a>>(&self, text: &'a [u8]) -> Result<T> {
        serde_json::from_slice(text).map_err(|cause| self.nonsense(&cause))
    }

    /// The text of a document, or none where the server says that there is nothing.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub(crate) async fn unless_none(&self, call: &Call) -> Result<Option<Bytes>> {
        match self.tried(call).await {
            Ok(text) => Ok(Some(text)),
            Err(Failure { told: Told::Refused(refused), .. }) if refused.is_none() => Ok(None),
            Err(failure) => Err(failure.into()),
        }
    }

    /// The text of a document.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub(crate) async fn text(&self, call: &Call) -> Result<Bytes> {
        Ok(self.tried(call).await?)
    }

    /// The same, for who looks into a refusal. The whole answer is part of a try: one that breaks off is asked again.
    pub(crate) async fn tried(&self, call: &Call) -> std::result::Result<Bytes, Failure> {
        let inner = &*self.0;
        let tries = async {
            let mut patience = Patience::new(inner.options.patience);
            loop {
                let told = match self.answered(call).await {
                    Ok(response) => self.whole(response, LARGEST).await,
                    Err(failure) => Err(failure),
                };
                match told {
                    Ok(text) => return Ok(text),
                    Err(failure) => patience.pause(failure, call.repeatable).await?,
                }
            }
        };
        inner.reactor.run(tries).await
    }

    /// The beginning of an answer whose rest is a stream.
    pub(crate) async fn begun(&self, call: &Call) -> std::result::Result<Response, Failure> {
        let tries = async {
            let mut patience = Patience::new(self.0.options.patience);
            loop {
                match self.answered(call).await {
                    Ok(response) => return Ok(response),
                    Err(failure) => patience.pause(failure, call.repeatable).await?,
                }
            }
        };
        self.0.reactor.run(tries).await
    }

    /// What a request with a value is answered.
    pub(crate) async fn sent<T: DeserializeOwned>(&self, call: &Call, mut upload: Upload) -> Result<T> {
        let tries = async {
            let mut patience = Patience::new(self.0.options.patience);
            loop {
                let told = match self.uploaded(call, &mut upload).await {
                    Ok(response) => self.whole(response, LARGEST).await,
                    Err(failure) => Err(failure),
                };
                match told {
                    Ok(text) => return Ok(text),
                    Err(failure) if upload.is_whole() => patience.pause(failure, call.repeatable).await?,
                    Err(failure) => return Err(Error::from(failure)),
                }
            }
        };
        let text: Bytes = self.0.reactor.run(tries).await?;
        self.read(&text)
    }

    async fn answered(&self, call: &Call) -> std::result::Result<Response, Failure> {
        let request = call.request(&self.0).send();
        let answer = match call.limit(self.0.options.timeout) {
            Some(limit) => timeout(limit, request).await.map_err(|_| self.silent(limit))?,
            None => request.await,
        };
        self.judged(answer).await
    }

    async fn uploaded(&self, call: &Call, upload: &mut Upload) -> std::result::Result<Response, Failure> {
        let (sender, pieces) = upload.body();
        let limit = self.0.options.timeout;
        let request = call.request(&self.0).body(reqwest::Body::wrap(pieces)).send();
        match upload.drive(sender, limit, request).await {
            Ok(answer) => self.judged(answer).await,
            Err(Stuck::Source(error)) => Err(error.into()),
            Err(Stuck::Slow) => Err(self.silent(limit)),
        }
    }

    /// An answer that is one, and tells that it was done.
    async fn judged(&self, answer: reqwest::Result<Response>) -> std::result::Result<Response, Failure> {
        let response = answer.map_err(|cause| {
            let again = if cause.is_connect() { Again::Undone(None) } else { Again::Unknown(None) };
            Failure { told: Told::Error(self.away(&cause)), again }
        })?;
        if let Some(token) = response.headers().get(REFRESHED) {
            self.0.refresh(token);
        }
        let status = response.status();
        if status.is_success() {
            let kind = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
            if status == StatusCode::NO_CONTENT || kind.starts_with(b"application/json") {
                return Ok(response);
            }
            let error = Error::new(
                ErrorKind::Incompatible,
                format!("what answers at {} is no Excom", self.0.address),
            );
            return Err(error.hint("check the server's address").into());
        }
        let pause = retry_after(response.headers());
        let again = match status {
            StatusCode::TOO_MANY_REQUESTS => Again::Undone(pause),
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                Again::Unknown(pause)
            }
            _ => Again::No,
        };
        let leads = response.headers().get(reqwest::header::LOCATION).cloned();
        // A refusal without its text is one all the same.
        let text = self.whole(response, LARGEST_REFUSAL).await.unwrap_or_default();
        let refused = Refused::of(&self.0.address, status, &text, leads.as_ref());
        Err(Failure { told: Told::Refused(Box::new(refused)), again })
    }

    /// All of an answer's text.
    async fn whole(&self, mut response: Response, most: usize) -> std::result::Result<Bytes, Failure> {
        let mut text = BytesMut::new();
        loop {
            match self.piece(&mut response).await {
                Ok(Some(piece)) if text.len() + piece.len() <= most => text.extend_from_slice(&piece),
                Ok(Some(_)) => {
                    let message = format!("{} answers more than {most} bytes", self.0.address);
                    return Err(Error::new(ErrorKind::TooLarge, message).into());
                }
                Ok(None) => return Ok(text.freeze()),
                Err(error) => return Err(Failure { told: Told::Error(error), again: Again::Unknown(None) }),
            }
        }
    }

    /// The next piece of an answer.
    async fn piece(&self, response: &mut Response) -> Result<Option<Bytes>> {
        let limit = self.0.options.timeout;
        match timeout(limit, response.chunk()).await {
            Ok(piece) => piece.map_err(|cause| {
                let message = format!("the answer of {} ended early", self.0.address);
                Error::new(ErrorKind::Unavailable, message).because(because(&cause)).hint("try again")
            }),
            Err(_) => Err(self.silent(limit).into()),
        }
    }

    /// An answer's text as it comes.
    pub(crate) fn streamed(&self, response: Response) -> ByteStream {
        let client = self.clone();
        let pieces = unfold(Some(response), move |response| {
            let client = client.clone();
            async move {
                let mut response = response?;
                match client.piece(&mut response).await {
                    Ok(Some(piece)) => Some((Ok(piece), Some(response))),
                    Ok(None) => None,
                    Err(error) => Some((Err(error), None)),
                }
            }
        });
        self.0.reactor.stream(pieces)
    }

    fn away(&self, cause: &reqwest::Error) -> Error {
        let what = if cause.is_connect() { "cannot be reached" } else { "did not answer" };
        Error::new(ErrorKind::Unavailable, format!("the server {} {what}", self.0.address))
            .because(because(cause))
            .hint("check that `excom serve` runs there, and that its address is the right one")
    }

    fn silent(&self, limit: Duration) -> Failure {
        let message = format!("the server {} did nothing for {} s", self.0.address, limit.as_secs_f64());
        Failure {
            told: Told::Error(Error::new(ErrorKind::Unavailable, message).hint("try again")),
            again: Again::Unknown(None),
        }
    }

    pub(crate) fn nonsense(&self, cause: &serde_json::Error) -> Error {
        let message = format!("{} answers something that this client does not understand", self.0.address);
        Error::new(ErrorKind::Incompatible, message)
            .because(cause.to_string())
            .hint("the server's version should be this client's, or newer")
    }
}

/// What is left of the time in which a request is repeated.
struct Patience {
    end: Instant,
    pause: Duration,
    tries: u32,
}

impl Patience {
    fn new(patience: Duration) -> Self {
        // Without an end there is one in a year.
        let now = Instant::now();
        let end = now.checked_add(patience).unwrap_or_else(|| now + Duration::from_secs(365 * 86_400));
        Self { end, pause: FIRST_PAUSE, tries: 1 }
    }

    /// Waits until it is time to try again.
    ///
    /// # Errors
    /// The failure, when it is not to be tried again.
    async fn pause(&mut self, failure: Failure, repeatable: bool) -> std::result::Result<(), Failure> {
        let asked = match failure.again {
            Again::Undone(pause) => pause,
            Again::Unknown(pause) if repeatable => pause,
            _ => return Err(self.given_up(failure)),
        };
        let half = self.pause / 2;
        let pause = asked.unwrap_or_default().max(half + half.mul_f64(fraction()));
        if Instant::now().checked_add(pause).is_none_or(|then| then >= self.end) {
            return Err(self.given_up(failure));
        }
        sleep(pause).await;
        self.pause = (self.pause * 2).min(LAST_PAUSE);
        self.tries += 1;
        Ok(())
    }

    fn given_up(&self, mut failure: Failure) -> Failure {
        if self.tries > 1
            && let Told::Error(error) = failure.told
        {
            failure.told = Told::Error(error.hint(format!("it was tried {} times", self.tries)));
        }
        failure
    }
}

/// A random number from 0 to 1. Without the system's source nobody pauses for less than the longest time.
fn fraction() -> f64 {
    getrandom::u32().map_or(1.0, |number| f64::from(number) / f64::from(u32::MAX))
}

/// What the server says about when to come again. A date is not looked at: no server of Excom's gives one.
fn retry_after(head: &HeaderMap) -> Option<Duration> {
    let seconds = head.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The cause of an error behind what all such errors say, without the address.
pub(crate) fn because(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
