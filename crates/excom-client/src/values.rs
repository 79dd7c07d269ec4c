//! Values as streams, in both directions.

use bytes::BytesMut;
use excom_core::engine::Receipt;
use excom_core::{Answer, Error, ErrorKind, Payload, Result, Value, Version, XComKey};
use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Method, Response};

use crate::body::{Upload, next};
use crate::call::{Call, Failure, Told};
use crate::client::Client;
use crate::place;

/// The version of a value, which makes it safe to push it again.
const VERSION: HeaderName = HeaderName::from_static("excom-version");

/// That a value is a secret.
const SECRET: HeaderName = HeaderName::from_static("excom-secret");

/// A value on its way here.
pub(crate) struct Opened {
    /// Which version, where the server tells.
    pub(crate) version: Option<Version>,
    pub(crate) payload: Payload,
}

impl Client {
    /// A value as a stream, or a secret at once. The server verifies what it sends; a stream that breaks off, because of
    /// the connection or because the rest is damaged, ends with an error.
    ///
    /// # Errors
    /// As [`Client::pull`]. `Ok(Err(answer))` when there is no value to stream.
    pub async fn open(&self, key: &XComKey) -> Result<std::result::Result<Payload, Answer>> {
        Ok(self.opened(key).await?.map(|opened| opened.payload))
    }

    pub(crate) async fn opened(&self, key: &XComKey) -> Result<std::result::Result<Opened, Answer>> {
        match self.begun(&Call::get(place::xcom("values", key)?)).await {
            Ok(response) => self.taken(response).await.map(Ok),
            Err(failure) if is_answer(&failure) => match self.explain(key).await? {
                // It has come in between.
                answer @ (Answer::Found(_) | Answer::Null(_)) => {
                    let version = answer.found().map(|found| found.version);
                    Ok(Ok(Opened { version, payload: answer.value()?.into() }))
                }
                answer => Ok(Err(answer)),
            },
            Err(failure) => Err(failure.into()),
        }
    }

    async fn taken(&self, response: Response) -> Result<Opened> {
        let said = |name: &HeaderName| response.headers().get(name).and_then(|value| value.to_str().ok());
        let version = said(&VERSION).and_then(|version| version.parse().ok());
        let secret = said(&SECRET) == Some("true");
        let payload = Payload::Stream(self.streamed(response));
        let payload = match secret {
            // Whoever gets it is to know what it is.
            true => collected(payload).await?.into_secret().into(),
            false => payload,
        };
        Ok(Opened { version, payload })
    }

    /// The value of an earlier version, while its bytes are kept.
    ///
    /// # Errors
    /// When the server cannot be reached; damage, and a refusal by an access rule, as an error.
    pub async fn pull_past(&self, key: &XComKey, version: Version) -> Result<Option<Value>> {
        let call = Call::get(place::xcom("values", key)?).with("version", version);
        match self.begun(&call).await {
            Ok(response) => Ok(Some(collected(self.taken(response).await?.payload).await?)),
            Err(Failure { told: Told::Refused(refused), .. }) if refused.is_none() => Ok(None),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Pushes a value, with a version that is drawn here: repeated because no answer came, it is pushed once.
    ///
    /// # Errors
    /// The engine's refusals, as those of [`Engine::push`](excom_core::Engine::push), and what a stream fails with;
    /// [`ErrorKind::Unavailable`] when the server cannot be reached, or no answer came. Then it may have been pushed, and
    /// a hint tells as which version.
    pub async fn push(&self, key: &XComKey, value: Payload) -> Result<Receipt> {
        self.push_version(key, drawn()?, value).await
    }

    /// Pushes a value as a version: pushing it again changes nothing. A version tells when it was drawn, which has to be
    /// now.
    ///
    /// # Errors
    /// As [`Client::push`]; [`ErrorKind::Exists`] for another value under a version that was pushed before.
    pub async fn push_version(&self, key: &XComKey, version: Version, value: Payload) -> Result<Receipt> {
        let secret = matches!(&value, Payload::Value(value) if value.is_secret());
        let upload = Upload::of(value).await?;
        let named = HeaderValue::try_from(version.to_string()).map_err(|cause| {
            Error::new(ErrorKind::InvalidRequest, "the version cannot be sent").because(cause)
        })?;
        let call = Call::new(Method::PUT, place::xcom("values", key)?)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(VERSION, named);
        let call = match secret {
            true => call.header(SECRET, HeaderValue::from_static("true")),
            false => call,
        };
        self.sent(&call, upload).await.map_err(|error| match error.kind() {
            ErrorKind::Unavailable => error.hint(format!(
                "whether it was pushed is not known; pushed again as version {version} it is stored once"
            )),
            _ => error,
        })
    }
}

fn is_answer(failure: &Failure) -> bool {
    matches!(&failure.told, Told::Refused(refused) if refused.is_answer())
}

/// A new version: now, and some randomness.
fn drawn() -> Result<Version> {
    let random = getrandom::u64().map_err(|cause| {
        Error::new(ErrorKind::Other, "the system has no random numbers").because(cause.to_string())
    })?;
    Ok(Version::new(Timestamp::now(), random))
}

/// All of a payload.
pub(crate) async fn collected(payload: Payload) -> Result<Value> {
    let mut stream = match payload {
        Payload::Value(value) => return Ok(value),
        other => other.into_stream(),
    };
    let mut text = BytesMut::new();
    while let Some(piece) = next(&mut stream).await {
        text.extend_from_slice(&piece?);
    }
    Value::parse(text.freeze())
}
