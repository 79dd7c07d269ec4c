//! The footprint of a task instance: what its attempts read and what they pushed.

use super::Engine;
use super::trace::TracedVersion;
use crate::attempt::Caller;
use crate::db::LedgerRow;
use crate::entry::Version;
use crate::{Result, TaskInstanceKey, XComKey};

impl Engine {
    /// What the attempts of a task instance read, oldest first, as far as the ledger has been written.
    /// Reads of this engine that wait in its buffer are written first.
    ///
    /// # Errors
    /// When the database cannot be read or written; [`ErrorKind::Forbidden`](crate::ErrorKind::Forbidden).
    pub async fn reads_of(&self, caller: &Caller, ti: &TaskInstanceKey) -> Result<Vec<LedgerRow>> {
        self.may_look(caller, &ti.return_value()).await?;
        self.flush_reads().await?;
        self.0.db.reads_of(ti).await
    }

    /// What an attempt of a task instance pushed under its own keys, oldest first, also what is no longer
    /// the entry.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use excom_core::{Caller, Engine, TaskInstanceKey, Value, memory};
    ///
    /// # pollster::block_on(async {
    /// let engine = Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new())).build();
    /// let ti = TaskInstanceKey::new("weather", "manual__1", "measure", -1)?;
    /// let first = Caller::Attempt(engine.start(&ti, 1).await?);
    /// engine.push(&first, &ti.return_value(), Value::of(&24)?.into()).await?;
    /// engine.start(&ti, 2).await?;
    ///
    /// let pushed = engine.pushed_by(&Caller::user("ana"), &ti, 1).await?;
    /// assert_eq!((&*pushed[0].info.preview, pushed[0].try_number), ("24", Some(1)));
    /// assert!(pushed[0].ended.is_some(), "the second try cleared it");
    /// # Ok::<(), excom_core::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// When the database cannot be read; [`ErrorKind::Forbidden`](crate::ErrorKind::Forbidden).
    pub async fn pushed_by(
        &self,
        caller: &Caller,
        ti: &TaskInstanceKey,
        number: u32,
    ) -> Result<Vec<TracedVersion>> {
        self.may_look(caller, &ti.return_value()).await?;
        let mut pushed = Vec::new();
        for info in self.0.db.pushed_by(ti, number).await? {
            // What retention took away in between was not there.
            pushed.extend(self.find_version(&info.key, Some(info.version)).await?);
        }
        Ok(pushed)
    }

    /// What is known about a version, current or past; without one, about the entry or else the last
    /// version. None when there is none.
    ///
    /// # Errors
    /// When the database cannot be read; [`ErrorKind::Forbidden`](crate::ErrorKind::Forbidden).
    pub async fn version(
        &self,
        caller: &Caller,
        key: &XComKey,
        version: Option<Version>,
    ) -> Result<Option<TracedVersion>> {
        self.may_look(caller, key).await?;
        self.find_version(key, version).await
    }
}
