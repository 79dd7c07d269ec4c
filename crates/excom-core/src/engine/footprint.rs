//! The footprint of a task instance: what its attempts read and what they pushed.

use serde::{Deserialize, Serialize};

use super::trace::{LookedUp, TracedVersion};
use super::{Engine, Rendered};
use crate::attempt::{AttemptInfo, Caller, TaskState};
use crate::db::{LedgerRow, ReadTarget};
use crate::entry::Version;
use crate::{ErrorKind, Result, TaskInstanceKey, XComKey};

/// How a task instance stands, and what its attempts did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Footprint {
    /// Its state.
    pub state: TaskState,
    /// Its attempts, oldest first.
    pub attempts: Vec<AttemptInfo>,
    /// What the fields of its operator were rendered to, if they were kept.
    pub rendered: Option<Rendered>,
    /// What it read, oldest first, 1,000 reads at most.
    pub read: Vec<VersionRead>,
    /// How many more reads there are.
    #[serde(default)]
    pub more_read: u64,
    /// What it pushed under its own keys, oldest first, 1,000 versions at most.
    pub pushed: Vec<TracedVersion>,
    /// How many more versions there are.
    #[serde(default)]
    pub more_pushed: u64,
}

/// How many reads, and how many versions, are told of one task instance: each is looked up.
const TOLD: usize = 1000;

/// A read, and of one version what is known about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct VersionRead {
    /// The read.
    #[serde(flatten)]
    pub row: LedgerRow,
    /// The version that was read; none of a sequence, or when it is past its retention or may not be seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<TracedVersion>,
}

impl Engine {
    /// How a task instance stands, and what its attempts read and pushed, if it is known. Reads of this engine that wait in
    /// its buffer are written first.
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
    /// let footprint = engine.footprint(&Caller::user("ana"), &ti).await?.expect("it is known");
    /// assert_eq!((footprint.attempts.len(), footprint.pushed.len()), (1, 1));
    /// # Ok::<(), excom_core::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// When the database cannot be read or written; [`ErrorKind::Forbidden`].
    pub async fn footprint(&self, caller: &Caller, ti: &TaskInstanceKey) -> Result<Option<Footprint>> {
        let Some(info) = self.task_instance(ti).await? else { return Ok(None) };
        let attempts = self.attempts(ti).await?;
        let mut looked = LookedUp::default();
        let mut read = Vec::new();
        let mut rows = self.reads_of(caller, ti).await?;
        let more_read = rows.len().saturating_sub(TOLD) as u64;
        rows.truncate(TOLD);
        for row in rows {
            let value = match &row.target {
                ReadTarget::Entry(key, version) => match self.may_look(caller, key).await {
                    Err(error) if error.kind() == ErrorKind::Forbidden => None,
                    may => {
                        may?;
                        self.find_among(&mut looked, key, Some(*version)).await?
                    }
                },
                ReadTarget::Sequence(_) => None,
            };
            read.push(VersionRead { row, value });
        }
        let mut versions = Vec::new();
        for attempt in &attempts {
            versions.extend(self.0.db.pushed_by(ti, attempt.number).await?);
        }
        let more_pushed = versions.len().saturating_sub(TOLD) as u64;
        let mut pushed = Vec::new();
        for info in versions.into_iter().take(TOLD) {
            // What retention took away in between was not there.
            pushed.extend(self.find_among(&mut looked, &info.key, Some(info.version)).await?);
        }
        let rendered = self.rendered(caller, ti).await?;
        Ok(Some(Footprint { state: info.state, attempts, rendered, read, more_read, pushed, more_pushed }))
    }

    /// What the attempts of a task instance read, oldest first, as far as the ledger has been written.
    /// Reads of this engine that wait in its buffer are written first.
    ///
    /// # Errors
    /// When the database cannot be read or written; [`ErrorKind::Forbidden`].
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
    /// When the database cannot be read; [`ErrorKind::Forbidden`].
    pub async fn pushed_by(
        &self,
        caller: &Caller,
        ti: &TaskInstanceKey,
        number: u32,
    ) -> Result<Vec<TracedVersion>> {
        self.may_look(caller, &ti.return_value()).await?;
        let (mut pushed, mut looked) = (Vec::new(), LookedUp::default());
        for info in self.0.db.pushed_by(ti, number).await? {
            // What retention took away in between was not there.
            pushed.extend(self.find_among(&mut looked, &info.key, Some(info.version)).await?);
        }
        Ok(pushed)
    }

    /// What is known about a version, current or past; without one, about the entry or else the last
    /// version. None when there is none.
    ///
    /// # Errors
    /// When the database cannot be read; [`ErrorKind::Forbidden`].
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::{PullOptions, Value, memory};

    #[test]
    fn of_very_much_the_first_is_told() {
        let clock = Arc::new(memory::Clock::new());
        let engine = Engine::builder(Arc::new(memory::Db::new()), clock.clone()).build();
        let ti = TaskInstanceKey::new("d", "r", "t", -1).unwrap();
        let footprint = pollster::block_on(async {
            let attempt = Caller::Attempt(engine.start(&ti, 1).await?);
            let key = ti.xcom("progress")?;
            for value in 0..=TOLD {
                clock.advance(Duration::from_millis(1));
                engine.push(&attempt, &key, Value::of(&value)?.into()).await?;
                engine.pull(&attempt, std::slice::from_ref(&key), PullOptions::default()).await?;
            }
            engine.footprint(&Caller::user("ana"), &ti).await
        });
        let footprint = footprint.unwrap().unwrap();
        assert_eq!((footprint.pushed.len(), footprint.more_pushed), (TOLD, 1));
        assert_eq!((footprint.read.len(), footprint.more_read), (TOLD, 1));
        assert_eq!(&*footprint.pushed[2].info.preview, "2");
        let versions = footprint.read.iter().map(|read| read.value.as_ref().map(|value| value.info.version));
        assert!(versions.eq(footprint.pushed.iter().map(|pushed| Some(pushed.info.version))));
    }
}
