//! The engine as the runner itself reads from it.

use async_trait::async_trait;
use excom_core::engine::{Receipt, TaskAnswer};
use excom_core::{
    Answer, Caller, Engine, Error, ErrorKind, Payload, PullOptions, Result, SequenceKey, Slice, TaskChannel,
    Value, XComKey,
};

/// A channel that reads as somebody who is no task, and writes nothing.
#[derive(Debug)]
pub(super) struct SystemChannel {
    engine: Engine,
    caller: Caller,
}

impl SystemChannel {
    pub(super) fn new(engine: Engine, caller: Caller) -> Self {
        Self { engine, caller }
    }
}

fn reads_only() -> Error {
    Error::new(ErrorKind::Forbidden, "nothing is written here: no task runs")
}

#[async_trait]
impl TaskChannel for SystemChannel {
    async fn pull(&self, keys: &[XComKey], options: PullOptions) -> Result<Vec<Answer>> {
        self.engine.pull(&self.caller, keys, options).await
    }

    async fn pull_tasks(&self, keys: &[SequenceKey], options: PullOptions) -> Result<Vec<TaskAnswer>> {
        self.engine.pull_tasks(&self.caller, keys, options).await
    }

    async fn push(&self, _: &XComKey, _: Payload) -> Result<Receipt> {
        Err(reads_only())
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

    async fn set_variable(&self, _: &str, _: Option<&str>) -> Result<()> {
        Err(reads_only())
    }

    async fn note_rendered(&self, _: &[(String, Value)]) -> Result<()> {
        Ok(())
    }

    fn log(&self, _: &str) {}
}
