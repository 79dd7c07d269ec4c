//! A channel that remembers what was pushed through it, for reports.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use excom_core::engine::{LocalChannel, Receipt, TaskAnswer};
use excom_core::value::{Payload, preview};
use excom_core::{
    Answer, PullOptions, Result, SequenceKey, Shape, Slice, TaskChannel, TaskInstanceKey, Value, XComKey,
};
use serde::Serialize;

/// What a try pushed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Pushed {
    /// Under which key.
    pub key: Arc<str>,
    /// Size of the value's JSON text in bytes.
    pub size: u64,
    /// What kind of value it is.
    #[serde(flatten)]
    pub shape: Shape,
    /// The beginning of the value's JSON text.
    pub preview: String,
    /// What the pusher should know, such as a value over the soft limit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl fmt::Display for Pushed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {} ({}, {} bytes)", self.key, self.preview, self.shape, self.size)?;
        self.warnings.iter().try_for_each(|warning| write!(f, " warning: {warning}"))
    }
}

/// A channel that remembers what its own task instance pushed; a key that is pushed again counts once,
/// where it was pushed last.
#[derive(Debug)]
pub(super) struct Recorder {
    channel: LocalChannel,
    own: TaskInstanceKey,
    pushed: Mutex<Vec<Pushed>>,
}

impl Recorder {
    pub(super) fn new(channel: LocalChannel, own: TaskInstanceKey) -> Self {
        Self { channel, own, pushed: Mutex::default() }
    }

    pub(super) fn take(&self) -> Vec<Pushed> {
        std::mem::take(&mut *self.pushed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl TaskChannel for Recorder {
    async fn pull(&self, keys: &[XComKey], options: PullOptions) -> Result<Vec<Answer>> {
        self.channel.pull(keys, options).await
    }

    async fn pull_tasks(&self, keys: &[SequenceKey], options: PullOptions) -> Result<Vec<TaskAnswer>> {
        self.channel.pull_tasks(keys, options).await
    }

    async fn push(&self, key: &XComKey, value: Payload) -> Result<Receipt> {
        let preview = match &value {
            Payload::Value(value) => preview(value.bytes()),
            _ => "…".to_owned(),
        };
        let receipt = self.channel.push(key, value).await?;
        if key.ti == self.own {
            let (size, shape, warnings) = (receipt.size, receipt.shape, receipt.warnings.clone());
            let mut pushed = self.pushed.lock().unwrap_or_else(PoisonError::into_inner);
            pushed.retain(|pushed| pushed.key != key.key);
            pushed.push(Pushed { key: key.key.clone(), size, shape, preview, warnings });
        }
        Ok(receipt)
    }

    async fn count(&self, key: &SequenceKey) -> Result<u64> {
        self.channel.count(key).await
    }

    async fn slice(&self, key: &SequenceKey, slice: Slice) -> Result<Vec<(i32, Answer)>> {
        self.channel.slice(key, slice).await
    }

    async fn variable(&self, key: &str) -> Result<Option<String>> {
        self.channel.variable(key).await
    }

    async fn set_variable(&self, key: &str, text: Option<&str>) -> Result<()> {
        self.channel.set_variable(key, text).await
    }

    async fn note_rendered(&self, fields: &[(String, Value)]) -> Result<()> {
        self.channel.note_rendered(fields).await
    }

    fn log(&self, line: &str) {
        self.channel.log(line);
    }
}
