//! An attached file with no tables of Excom's in it, for who may make nothing: what Airflow's own tables hold works, and what
//! needs a place of its own is none, or refused with what it would need (`crate::bare`).
//!
//! Entries are Airflow's rows as something else wrote them would be: their version is their time. The fence is that of
//! every attached file.

use std::path::Path;

use excom_core::attempt::{Attempt, Caller, TaskState};
use excom_core::db::{Health, Occupied, Push, Pushed, Scope, StartMode, Started};
use excom_core::{Error, Result, Value};
use jiff::Timestamp;
use rusqlite::params;

use super::super::failure::Failure;
use super::super::{Options, bytes_of};
use super::columns::of_ti;
use super::write::{DELETE_ROWS, PUT_LENGTH, REMOVE_LENGTH};
use super::{Beside, Tables, Writing, airflows, schema};
use crate::airflow::no_task_instance;
use crate::bare::{self, nothing_beside};
use crate::expansion::is_returned;
use crate::fernet::Fernet;
use crate::server::airflows_db;

/// What of a task instance is older than the start of its try.
const CLEAR_OLDER: &str = concat!(
    "DELETE FROM xcom WHERE dag_id = ?1 AND run_id = ?2 AND task_id = ?3 AND map_index = ?4
     AND timestamp < (SELECT i.start_date FROM task_instance i WHERE",
    of_ti!("i"),
    ")"
);

/// Every entry is looked at; only a person asks for this.
const PLACES: &str = "SELECT count(*), ifnull(sum(length(CAST(value AS BLOB))), 0) FROM xcom";

/// The metadata database of an Airflow 3 on SQLite, with nothing of Excom's in it.
pub struct Bare(Alone);

/// Airflow's tables alone.
struct Alone {
    tables: Tables,
}

impl Bare {
    /// What does not work without tables of Excom's, for people.
    pub const WITHOUT: &'static str = bare::WITHOUT;

    /// Opens Airflow's file. Nothing is made or changed; how the file keeps its journal stays as it is.
    ///
    /// # Errors
    /// As [`Db::open`](super::Db::open), but Excom need not be attached.
    pub fn open(path: &Path, options: Options) -> Result<Self> {
        Self::look(path)?;
        Ok(Self(Alone { tables: Tables::over(path, options, true)? }))
    }

    /// As [`Db::with_fernet`](super::Db::with_fernet).
    #[must_use]
    pub fn with_fernet(mut self, keys: impl Into<Option<Fernet>>) -> Self {
        self.0.tables.fernet = keys.into();
        self
    }

    /// The first release of Airflow that has the schema of a file. Nothing is made or changed.
    ///
    /// # Errors
    /// As [`Bare::open`].
    pub fn look(path: &Path) -> Result<&'static str> {
        Ok(schema::airflows(&airflows(path)?, path)?.0)
    }

    /// What failed was told where its statement ran.
    fn told<T>(&self, result: Result<T>) -> Result<T> {
        result
    }
}

airflows_db!(Bare,);
nothing_beside!(Bare, Alone, Error);

impl Writing<'_> {
    /// Airflow's run of a push. It is looked for before anything is written: what is refused behind that stays.
    fn run_of(&self, push: &Push) -> std::result::Result<i64, Failure> {
        let missing = || Failure::from(no_task_instance(&push.key, &self.path.display().to_string()));
        self.run(&push.key.ti)?.ok_or_else(missing)
    }

    fn put_alone(&self, push: &Push, run: i64, value: &Value) -> std::result::Result<(), Failure> {
        let ti = &push.key.ti;
        self.put_row(push, run, value.as_str())?;
        match push.shape.mapped_length() {
            _ if !is_returned(&push.key) => {}
            Some(length) => {
                let of = params![ti.dag_id, ti.run_id, ti.task_id, ti.map_index, length.cast_signed()];
                self.t.execute(PUT_LENGTH, of)?;
            }
            None => {
                self.t.execute(REMOVE_LENGTH, params![ti.dag_id, ti.run_id, ti.task_id, ti.map_index])?;
            }
        }
        Ok(())
    }

    fn clear_alone(&self, caller: &Caller, scope: &Scope) -> std::result::Result<u64, Failure> {
        self.fence(caller)?;
        let (ti, key) = match scope {
            Scope::Key(key) => (&key.ti, Some(&*key.key)),
            Scope::TaskInstance(ti) => (ti, None),
        };
        Ok(self.t.execute(DELETE_ROWS, params![ti.dag_id, ti.run_id, ti.task_id, ti.map_index, key])? as u64)
    }
}

impl Beside<'_> {
    fn places_alone(&self) -> std::result::Result<Vec<Occupied>, Failure> {
        self.rows(PLACES, [], |found| {
            let (entries, bytes): (i64, i64) = (found.get(0)?, found.get(1)?);
            Ok(Occupied { store: None, entries: entries as u64, bytes: bytes as u64 })
        })
    }

    fn check_alone(&self, place: &str) -> std::result::Result<String, Failure> {
        let airflow = schema::proven(self.view.connection(), self.path)?;
        Ok(format!("{place}, attached to Airflow {airflow} without a schema of Excom's"))
    }

    fn health_alone(&self, place: &str) -> std::result::Result<Health, Failure> {
        let identity = self.check_alone(place)?;
        self.holds(identity, 0)
    }
}

impl Alone {
    fn place(&self) -> String {
        self.tables.own.to_string()
    }

    async fn push(&self, push: &Push) -> Result<Pushed> {
        let (push, value, bytes) = (push.clone(), self.inline(push)?, bytes_of(push));
        let work = move |w: &Writing<'_>| {
            w.fence(&push.caller)?;
            w.put_alone(&push, w.run_of(&push)?, &value)?;
            Ok(Pushed::Written)
        };
        self.tables.change(bytes, work).await
    }

    /// The state is Airflow's to write.
    async fn finish_attempt(
        &self,
        attempt: &Attempt,
        _state: TaskState,
        pushes: &[Push],
        _at: Timestamp,
    ) -> Result<()> {
        let caller = Caller::Attempt(attempt.clone());
        let bytes = pushes.iter().map(bytes_of).sum();
        let rows = pushes.iter().map(|push| Ok((push.clone(), self.inline(push)?)));
        let rows = rows.collect::<Result<Vec<_>>>()?;
        let work = move |w: &Writing<'_>| {
            w.fence(&caller)?;
            let runs =
                rows.iter().map(|(push, _)| w.run_of(push)).collect::<std::result::Result<Vec<_>, _>>()?;
            rows.iter().zip(runs).try_for_each(|((push, value), run)| w.put_alone(push, run, value))
        };
        self.tables.change(bytes, work).await
    }

    async fn set_attempt_state(&self, attempt: &Attempt, state: TaskState, at: Timestamp) -> Result<()> {
        self.finish_attempt(attempt, state, &[], at).await
    }

    /// What is older than Airflow's start of the try goes, so it is the same when it is told twice.
    async fn start_attempt(
        &self,
        attempt: &Attempt,
        _try_number: u32,
        mode: StartMode,
        _at: Timestamp,
    ) -> Result<Started> {
        let attempt = attempt.clone();
        let work = move |w: &Writing<'_>| {
            let number = w.fence(&Caller::Attempt(attempt.clone()))?;
            let ti = &attempt.ti;
            let of = params![ti.dag_id, ti.run_id, ti.task_id, ti.map_index];
            let cleared = match mode {
                StartMode::Resume => 0,
                StartMode::Fresh => w.t.execute(CLEAR_OLDER, of)? as u64,
            };
            Ok(Started { number, cleared })
        };
        self.tables.change(usize::MAX, work).await
    }

    async fn clear(&self, caller: &Caller, scope: &Scope, _at: Timestamp) -> Result<u64> {
        let (caller, scope) = (caller.clone(), scope.clone());
        self.tables.change(usize::MAX, move |w| w.clear_alone(&caller, &scope)).await
    }

    async fn delete(&self, scope: &Scope, at: Timestamp) -> Result<u64> {
        self.clear(&Caller::System("db"), scope, at).await
    }

    async fn places(&self) -> Result<Vec<Occupied>> {
        self.tables.look(|beside| beside.places_alone())
    }

    async fn check(&self) -> Result<String> {
        let place = self.place();
        self.tables.look(|beside| beside.check_alone(&place))
    }

    async fn health(&self) -> Result<Health> {
        let place = self.place();
        self.tables.look(|beside| beside.health_alone(&place))
    }
}
