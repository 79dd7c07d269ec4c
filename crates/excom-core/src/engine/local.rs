//! The engine as a task sees it in the same process.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::{Engine, Receipt, TaskAnswer};
use crate::answer::Answer;
use crate::attempt::{Attempt, Caller};
use crate::channel::{PullOptions, TaskChannel};
use crate::value::Payload;
use crate::{Result, SequenceKey, Slice, XComKey};

/// Where a task's log lines go.
type Log = Arc<dyn Fn(&str) + Send + Sync>;

/// A [`TaskChannel`] to an engine in the same process, for one attempt.
#[derive(Clone)]
pub struct LocalChannel {
    engine: Engine,
    caller: Caller,
    log: Option<Log>,
}

impl LocalChannel {
    pub(super) fn new(engine: Engine, attempt: Attempt) -> Self {
        Self { engine, caller: Caller::Attempt(attempt), log: None }
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

    async fn slice(&self, key: &SequenceKey, slice: Slice) -> Result<Vec<(i32, Answer)>> {
        self.engine.slice(&self.caller, key, slice).await
    }

    fn log(&self, line: &str) {
        if let Some(log) = &self.log {
            log(line);
        }
    }
}
