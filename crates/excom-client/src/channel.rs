//! What a task sees of an engine that is a server's.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use excom_core::engine::{Receipt, TaskAnswer};
use excom_core::{
    Answer, AttemptId, Error, ErrorKind, Payload, PullOptions, Result, SequenceKey, Slice, TaskChannel,
    Value, XComKey,
};
use reqwest::Method;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use crate::call::Call;
use crate::client::Client;
use crate::place;

/// Where a task's log lines go.
type Log = Arc<dyn Fn(&str) + Send + Sync>;

/// A [`TaskChannel`] to a server, for the attempt whose token the client has.
///
/// Which keys settings make secrets of is not known here: a value is told as one when it is pulled.
#[derive(Clone)]
pub struct Channel {
    client: Client,
    attempt: AttemptId,
    log: Option<Log>,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Channel(attempt {} at {})", self.attempt, self.client.address())
    }
}

impl Client {
    /// What a task sees, whose token this client has: the one for a running attempt, which the server gives when it is
    /// started.
    pub fn channel(&self, attempt: AttemptId) -> Channel {
        Channel { client: self.clone(), attempt, log: None }
    }
}

impl Channel {
    /// The same channel with a place for log lines; without one they are dropped.
    #[must_use]
    pub fn with_log(mut self, log: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.log = Some(Arc::new(log));
        self
    }
}

/// What is not looked at.
#[derive(Deserialize)]
struct Done {}

/// Rendered fields, in their order.
struct Fields<'a>(Vec<(&'a str, Box<RawValue>)>);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// A field as it may be kept: nothing of a secret.
fn kept(value: &Value) -> Result<Box<RawValue>> {
    let raw = match value.is_secret() {
        true => to_raw_value(excom_core::value::secret::REDACTED),
        false => RawValue::from_string(value.as_str().to_owned()),
    };
    raw.map_err(|cause| Error::new(ErrorKind::InvalidValue, "a rendered field is not JSON").because(cause))
}

#[async_trait]
impl TaskChannel for Channel {
    async fn pull(&self, keys: &[XComKey], options: PullOptions) -> Result<Vec<Answer>> {
        self.client.pull(keys, options).await
    }

    async fn pull_tasks(&self, keys: &[SequenceKey], options: PullOptions) -> Result<Vec<TaskAnswer>> {
        self.client.pull_tasks(keys, options).await
    }

    async fn push(&self, key: &XComKey, value: Payload) -> Result<Receipt> {
        self.client.push(key, value).await
    }

    async fn count(&self, key: &SequenceKey) -> Result<u64> {
        self.client.count(key).await
    }

    async fn slice(&self, key: &SequenceKey, slice: Slice) -> Result<Vec<(i32, Answer)>> {
        self.client.slice(key, slice).await
    }

    async fn indexes(&self, key: &SequenceKey) -> Result<Vec<i32>> {
        self.client.indexes(key).await
    }

    async fn variable(&self, key: &str) -> Result<Option<String>> {
        #[derive(Deserialize)]
        struct Told {
            value: String,
        }
        let text = self.client.unless_none(&Call::get(place::execution("variables", [key])?)).await?;
        text.map(|text| Ok(self.client.read::<Told>(&text)?.value)).transpose()
    }

    async fn set_variable(&self, key: &str, text: Option<&str>) -> Result<()> {
        #[derive(Serialize)]
        struct Set<'a> {
            val: &'a str,
        }
        let path = place::execution("variables", [key])?;
        match text {
            Some(text) => {
                let Done {} =
                    self.client.ask(&Call::document(Method::PUT, path, &Set { val: text })?).await?;
                Ok(())
            }
            None => self.client.unless_none(&Call::new(Method::DELETE, path)).await.map(drop),
        }
    }

    async fn note_rendered(&self, fields: &[(String, Value)]) -> Result<()> {
        let fields: Vec<_> =
            fields.iter().map(|(name, value)| Ok((&**name, kept(value)?))).collect::<Result<_>>()?;
        let attempt = self.attempt.to_string();
        let path = place::execution("task-instances", [&*attempt, "rtif"])?;
        let Done {} = self.client.ask(&Call::document(Method::PUT, path, &Fields(fields))?).await?;
        Ok(())
    }

    fn log(&self, line: &str) {
        if let Some(log) = &self.log {
            log(line);
        }
    }
}
