//! A channel with variables, and one that keeps what fields were rendered to.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use excom_core::answer::Answer;
use excom_core::engine::{LocalChannel, Receipt, TaskAnswer};
use excom_core::value::Payload;
use excom_core::{PullOptions, Result, SequenceKey, Slice, TaskChannel, Value, XComKey};

/// A channel to an engine in the same process, with more than the engine has.
#[derive(Debug)]
pub(crate) struct WithVariables {
    pub(crate) inner: LocalChannel,
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) rendered: Mutex<Vec<(String, Value)>>,
}

#[async_trait]
impl TaskChannel for WithVariables {
    async fn pull(&self, keys: &[XComKey], options: PullOptions) -> Result<Vec<Answer>> {
        self.inner.pull(keys, options).await
    }

    async fn pull_tasks(&self, keys: &[SequenceKey], options: PullOptions) -> Result<Vec<TaskAnswer>> {
        self.inner.pull_tasks(keys, options).await
    }

    async fn push(&self, key: &XComKey, value: Payload) -> Result<Receipt> {
        self.inner.push(key, value).await
    }

    async fn count(&self, key: &SequenceKey) -> Result<u64> {
        self.inner.count(key).await
    }

    async fn slice(&self, key: &SequenceKey, slice: Slice) -> Result<Vec<(i32, Answer)>> {
        self.inner.slice(key, slice).await
    }

    async fn variable(&self, key: &str) -> Result<Option<String>> {
        Ok(self.variables.get(key).cloned())
    }

    async fn set_variable(&self, key: &str, text: Option<&str>) -> Result<()> {
        self.inner.set_variable(key, text).await
    }

    async fn note_rendered(&self, fields: &[(String, Value)]) -> Result<()> {
        *self.rendered.lock().unwrap_or_else(PoisonError::into_inner) = fields.to_vec();
        Ok(())
    }

    fn log(&self, line: &str) {
        self.inner.log(line);
    }
}
