//! What callers wait for: somebody may watch how long the database and the value store take.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};

use super::Engine;

/// What is done for a caller that takes its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step<'a> {
    /// The database looks for entries.
    Entries,
    /// The database looks for what tasks produced.
    Produced,
    /// The database writes an entry, with all that is checked for it; or several, as a try ends.
    Push,
    /// Values are read from a store, until the last byte of them.
    Read(&'a str),
    /// A value is written to a store.
    Write(&'a str),
}

/// Somebody who watches.
pub trait Watch: Send + Sync + fmt::Debug {
    /// A step begins; it has ended when what this returns is dropped. It is called where the caller of the engine is
    /// polled, and keeps it waiting.
    fn begins(&self, step: Step<'_>) -> Option<Waiting>;
}

/// Lives as long as a step. Clones are of the same.
pub type Waiting = Arc<dyn Any + Send + Sync>;

/// Who watches an engine; nobody at first.
#[derive(Debug, Default)]
pub(super) struct Watcher(OnceLock<Arc<dyn Watch>>);

impl Watcher {
    /// The same watch.
    pub(super) fn set(&self, same: &Self) {
        if let Some(watch) = same.0.get() {
            drop(self.0.set(Arc::clone(watch)));
        }
    }
}

impl Engine {
    /// From now on somebody watches, unless somebody does already; then it is false.
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    /// use excom_core::engine::{Step, Waiting, Watch};
    /// use excom_core::{Caller, Engine, PullOptions, Value, XComKey, memory};
    ///
    /// #[derive(Debug, Default)]
    /// struct Steps(Mutex<Vec<String>>);
    ///
    /// impl Watch for Steps {
    ///     fn begins(&self, step: Step<'_>) -> Option<Waiting> {
    ///         self.0.lock().unwrap().push(format!("{step:?}"));
    ///         None
    ///     }
    /// }
    ///
    /// # pollster::block_on(async {
    /// let engine = Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new())).build();
    /// let steps = Arc::new(Steps::default());
    /// assert!(engine.watch(steps.clone()));
    /// let (caller, key) = (Caller::user("ana"), XComKey::new("weather", "r1", "extract", -1, "rows")?);
    /// engine.push(&caller, &key, Value::of(&365)?.into()).await?;
    /// engine.pull(&caller, &[key], PullOptions::default()).await?;
    /// assert_eq!(*steps.0.lock().unwrap(), ["Push", "Entries"]);
    /// # Ok::<(), excom_core::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn watch(&self, watch: Arc<dyn Watch>) -> bool {
        self.0.watcher.0.set(watch).is_ok()
    }

    /// A step begins.
    pub(super) fn begins(&self, step: Step<'_>) -> Option<Waiting> {
        self.0.watcher.0.get()?.begins(step)
    }
}
