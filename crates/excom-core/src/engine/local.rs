//! The engine as a task sees it in the same process.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::{Engine, Receipt, TaskAnswer};
use crate::answer::Answer;
use crate::attempt::Caller;
use crate::channel::{PullOptions, TaskChannel};
use crate::value::Payload;
use crate::{Result, SequenceKey, Slice, Value, XComKey};

/// Where a task's log lines go.
type Log = Arc<dyn Fn(&str) + Send + Sync>;

/// A [`TaskChannel`] to an engine in the same process, for one caller.
#[derive(Clone)]
pub struct LocalChannel {
    engine: Engine,
    caller: Caller,
    log: Option<Log>,
}

impl LocalChannel {
    pub(super) fn new(engine: Engine, caller: Caller) -> Self {
        Self { engine, caller, log: None }
    }

    /// The same channel with a place for log lines; without one they are dropped.
    #[must_use]
    pub fn with_log(mut self, log: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.log = Some(Arc::new(log));
        self
    }
}

impl fmt::Debug for LocalChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalChannel({} in {:?})", self.caller, self.engine)
    }
}

#[async_trait]
impl TaskChannel for LocalChannel {
    async fn pull(&self, keys: &[XComKey], options: PullOptions) -> Result<Vec<Answer>> {
        self.engine.pull(&self.caller, keys, options).await
    }

    async fn pull_tasks(&self, keys: &[SequenceKey], options: PullOptions) -> Result<Vec<TaskAnswer>> {
        self.engine.pull_tasks(&self.caller, keys, options).await
    }

    async fn push(&self, key: &XComKey, value: Payload) -> Result<Receipt> {
        self.engine.push(&self.caller, key, value).await
    }

    async fn count(&self, key: &SequenceKey) -> Result<u64> {
        self.engine.count(&self.caller, key).await
    }

    async fn indexes(&self, key: &SequenceKey) -> Result<Vec<i32>> {
        self.engine.indexes(&self.caller, key).await
    }

    async fn slice(&self, key: &SequenceKey, slice: Slice) -> Result<Vec<(i32, Answer)>> {
        self.engine.slice(&self.caller, key, slice).await
    }

    async fn variable(&self, key: &str) -> Result<Option<String>> {
        Ok(self.engine.variable(&self.caller, key).await?.map(|variable| variable.text))
    }

    async fn set_variable(&self, key: &str, text: Option<&str>) -> Result<()> {
        match text {
            Some(text) => {
                let set = self.engine.set_variable(&self.caller, key, text, None).await?;
                set.warnings.iter().for_each(|warning| self.log(&format!("warning: {warning}")));
            }
            None => drop(self.engine.delete_variable(&self.caller, key).await?),
        }
        Ok(())
    }

    async fn note_rendered(&self, fields: &[(String, Value)]) -> Result<()> {
        match &self.caller {
            Caller::Attempt(attempt) => self.engine.note_rendered(attempt, fields).await,
            // Only an attempt has fields to look at.
            Caller::User(_) | Caller::System(_) => Ok(()),
        }
    }

    fn is_secret(&self, key: &str) -> bool {
        self.engine.is_secret(key)
    }

    fn log(&self, line: &str) {
        if let Some(log) = &self.log {
            log(line);
        }
    }
}
