//! What a task sees of the engine.

use std::fmt;

use async_trait::async_trait;

use crate::answer::Answer;
use crate::engine::{Receipt, TaskAnswer};
use crate::value::{Payload, Value};
use crate::{Result, SequenceKey, Slice, XComKey};

/// The small contract between a task and the engine, wherever the engine is: in the same process,
/// behind HTTP, or behind Airflow's supervisor.
///
/// The channel knows which attempt it serves; a task cannot speak as another.
#[async_trait]
pub trait TaskChannel: Send + Sync + fmt::Debug {
    /// Pulls any number of XComs in one call; the answers are in the order asked.
    ///
    /// # Errors
    /// When the channel as a whole fails; what concerns one XCom is in its answer.
    async fn pull(&self, keys: &[XComKey], options: PullOptions) -> Result<Vec<Answer>>;

    /// Pulls everything that tasks produced under a key: one value, or a mapped task's sequence.
    ///
    /// # Errors
    /// As [`TaskChannel::pull`].
    async fn pull_tasks(&self, keys: &[SequenceKey], options: PullOptions) -> Result<Vec<TaskAnswer>>;

    /// Pushes a value.
    ///
    /// # Errors
    /// Refusals by name, size, fence or access, and whatever the store or database reports.
    async fn push(&self, key: &XComKey, value: Payload) -> Result<Receipt>;

    /// The number of elements of a mapped task's sequence.
    ///
    /// # Errors
    /// When the channel fails.
    async fn count(&self, key: &SequenceKey) -> Result<u64>;

    /// Elements of a mapped task's sequence, each with its real map index.
    ///
    /// # Errors
    /// When the channel fails, or the step is zero.
    async fn slice(&self, key: &SequenceKey, slice: Slice) -> Result<Vec<(i32, Answer)>>;

    /// The map indexes at which a mapped task's sequence has elements, in order.
    ///
    /// # Errors
    /// When the channel fails.
    async fn indexes(&self, key: &SequenceKey) -> Result<Vec<i32>> {
        const PAGE: i64 = 1000;
        let mut indexes = Vec::new();
        loop {
            let start = i64::try_from(indexes.len()).unwrap_or(i64::MAX - PAGE);
            let slice = Slice { start: Some(start), stop: Some(start + PAGE), step: None };
            let page = self.slice(key, slice).await?;
            if page.is_empty() {
                return Ok(indexes);
            }
            indexes.extend(page.into_iter().map(|(map_index, _)| map_index));
        }
    }

    /// A variable's text, if there is one.
    ///
    /// # Errors
    /// When the channel fails, or the key is none that a variable can have.
    async fn variable(&self, key: &str) -> Result<Option<String>>;

    /// Sets a variable, or deletes it where there is no text.
    ///
    /// # Errors
    /// As [`TaskChannel::variable`]; when the text is too long, or the attempt was superseded.
    async fn set_variable(&self, key: &str, text: Option<&str>) -> Result<()>;

    /// Keeps what the fields of the task's operator were rendered to, in the order of the fields.
    ///
    /// # Errors
    /// When the channel fails, or the attempt was superseded.
    async fn note_rendered(&self, fields: &[(String, Value)]) -> Result<()>;

    /// Whether settings make a secret of whatever is pushed under a key, so that nothing of it is told before either.
    fn is_secret(&self, _key: &str) -> bool {
        false
    }

    /// Where a text is cut that is too long to be shown: at most so many bytes from its beginning, on a boundary of
    /// characters, and not in a secret that the channel hides. What is behind must be there as far as a secret may go.
    fn cut(&self, text: &str, most: usize) -> usize {
        text.floor_char_boundary(most)
    }

    /// Writes a line into the task's log.
    fn log(&self, line: &str);
}

/// How a pull looks for values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PullOptions {
    /// When the run named has no value, take the newest of an earlier run (by logical date).
    pub include_prior_dates: bool,
}
