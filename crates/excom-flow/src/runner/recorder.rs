//! A channel that remembers what was pushed through it, for reports, and keeps its secrets out of all that is told.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use excom_core::engine::{Receipt, TaskAnswer};
use excom_core::value::Payload;
use excom_core::value::secret::REDACTED;
use excom_core::{
    Answer, PullOptions, Result, SequenceKey, Shape, Slice, TaskChannel, TaskInstanceKey, Value, Version,
    XComKey,
};
use serde::Serialize;

use super::mask::Mask;
use crate::outcome::Failure;

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
    /// The beginning of the value's JSON text; `***` for a secret.
    pub preview: String,
    /// Whether it is a secret.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub secret: bool,
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

/// The most reads that are remembered of a try.
const READS: usize = 20;

/// A channel that remembers what its own task instance pushed, and what it read; a key that is pushed again
/// counts once, where it was pushed last.
#[derive(Debug)]
pub(super) struct Recorder {
    channel: Arc<dyn TaskChannel>,
    own: TaskInstanceKey,
    pushed: Mutex<Vec<Pushed>>,
    read: Mutex<Vec<String>>,
    mask: Mask,
}

impl Recorder {
    pub(super) fn new(channel: Arc<dyn TaskChannel>, own: TaskInstanceKey) -> Self {
        Self { channel, own, pushed: Mutex::default(), read: Mutex::default(), mask: Mask::default() }
    }

    pub(super) fn take(&self) -> Vec<Pushed> {
        std::mem::take(&mut *self.pushed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What was read, each with who pushed it.
    pub(super) fn read(&self) -> Vec<String> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Remembers a push of the own task instance.
    pub(super) fn record(&self, key: Arc<str>, preview: String, receipt: &Receipt) {
        let (size, shape, warnings) = (receipt.size, receipt.shape, receipt.warnings.clone());
        let secret = receipt.secret;
        let preview = if secret { REDACTED.to_owned() } else { preview };
        let mut pushed = self.pushed.lock().unwrap_or_else(PoisonError::into_inner);
        pushed.retain(|pushed| pushed.key != key);
        pushed.push(Pushed { key, size, shape, preview, secret, warnings });
    }

    /// Keeps a secret, which came by another way, out of what is told.
    pub(super) fn learn(&self, value: &Value) {
        self.mask.learn(value);
    }

    /// Takes the secrets out of a failure.
    pub(super) fn redact(&self, failure: &mut Failure) {
        self.mask.failure(failure);
    }

    /// Remembers the read of an XCom whose writer is not at hand.
    pub(super) fn note(&self, key: &XComKey, version: Version) {
        self.remember(|own| format!("{}, pushed at {:.0}", named(own, key), version.time()));
    }

    fn note_answer(&self, key: &XComKey, answer: &Answer) {
        if let Some(found) = answer.found() {
            self.mask.learn(&found.value);
            self.remember(|own| {
                let (what, time) = (found.value.shape(), found.version.time());
                format!("{}: {what}, pushed by {} at {time:.0}", named(own, key), found.writer)
            });
        }
    }

    fn learn_all(&self, items: &[(i32, Answer)]) {
        items.iter().filter_map(|(_, answer)| answer.found()).for_each(|found| self.mask.learn(&found.value));
    }

    fn remember(&self, line: impl FnOnce(&TaskInstanceKey) -> String) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        match read.len() {
            READS => read.push("and more".to_owned()),
            0..READS => read.push(line(&self.own)),
            _ => {}
        }
    }
}

/// An XCom as a task of the same run would call it.
fn named(own: &TaskInstanceKey, key: &XComKey) -> String {
    let ti = &key.ti;
    let index = if ti.is_mapped() { format!("[{}]", ti.map_index) } else { String::new() };
    if (&ti.dag_id, &ti.run_id) == (&own.dag_id, &own.run_id) {
        format!("`{}` of {}{index}", key.key, ti.task_id)
    } else {
        format!("`{}` of {ti}", key.key)
    }
}

#[async_trait]
impl TaskChannel for Recorder {
    async fn pull(&self, keys: &[XComKey], options: PullOptions) -> Result<Vec<Answer>> {
        let answers = self.channel.pull(keys, options).await?;
        keys.iter().zip(&answers).for_each(|(key, answer)| self.note_answer(key, answer));
        Ok(answers)
    }

    async fn pull_tasks(&self, keys: &[SequenceKey], options: PullOptions) -> Result<Vec<TaskAnswer>> {
        let answers = self.channel.pull_tasks(keys, options).await?;
        for (key, answer) in keys.iter().zip(&answers) {
            match answer {
                TaskAnswer::Single(answer) => self.note_answer(&key.at(excom_core::UNMAPPED), answer),
                TaskAnswer::Mapped { items, .. } => {
                    self.learn_all(items);
                    self.remember(|_| format!("`{}` of {}: {} values", key.key, key.task_id, items.len()));
                }
                _ => {}
            }
        }
        Ok(answers)
    }

    async fn push(&self, key: &XComKey, value: Payload) -> Result<Receipt> {
        let seen = match &value {
            Payload::Value(value) => Some(value.clone()),
            _ => None,
        };
        let preview = seen.as_ref().map_or_else(|| "…".to_owned(), Value::preview);
        let receipt = self.channel.push(key, value).await?;
        if let Some(value) = seen {
            // The key may have made a secret of it.
            self.mask.learn(&value.secret_if(receipt.secret));
        }
        if key.ti == self.own {
            self.record(key.key.clone(), preview, &receipt);
        }
        Ok(receipt)
    }

    async fn count(&self, key: &SequenceKey) -> Result<u64> {
        self.channel.count(key).await
    }

    async fn slice(&self, key: &SequenceKey, slice: Slice) -> Result<Vec<(i32, Answer)>> {
        let items = self.channel.slice(key, slice).await?;
        self.learn_all(&items);
        Ok(items)
    }

    async fn indexes(&self, key: &SequenceKey) -> Result<Vec<i32>> {
        self.channel.indexes(key).await
    }

    async fn variable(&self, key: &str) -> Result<Option<String>> {
        self.channel.variable(key).await
    }

    async fn set_variable(&self, key: &str, text: Option<&str>) -> Result<()> {
        self.channel.set_variable(key, text).await
    }

    async fn note_rendered(&self, fields: &[(String, Value)]) -> Result<()> {
        let masked: Vec<_> =
            fields.iter().map(|(name, value)| (name.clone(), self.mask.value(value))).collect();
        self.channel.note_rendered(&masked).await
    }

    fn is_secret(&self, key: &str) -> bool {
        self.channel.is_secret(key)
    }

    fn cut(&self, text: &str, most: usize) -> usize {
        self.mask.cut(text, self.channel.cut(text, most))
    }

    fn log(&self, line: &str) {
        self.channel.log(&self.mask.text(line));
    }
}
