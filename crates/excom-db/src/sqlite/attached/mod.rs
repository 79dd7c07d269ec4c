//! A metadata database that is Airflow's own SQLite file, worked with in place. What that means, and why, is said of
//! PostgreSQL's (`postgres/attached`) and in docs/attached.md; here is what differs.
//!
//! **Beside.** What Airflow's tables have no place for lies in tables `excom_…` of the same file, which [`Db::attach`]
//! alone makes: in another file it could not be written in one transaction with Airflow's. They are those of a file of
//! Excom's own, and so are the statements that ask them.
//!
//! **An entry** is Airflow's row of `xcom` with, where Excom wrote it, a row of `excom_entry`. The two belong together
//! while the row's `timestamp` is the time that is in the version.
//!
//! **A value's text** is that of Airflow's column, which keeps it, but for a number that is alone: that one becomes one of
//! SQLite's, so its text is in `excom_entry` as well where it is another.
//!
//! **The fence** needs no lock of its own: SQLite has one writer at a time.
//!
//! **Mapped tasks.** The process looks into the document that Airflow has of a DAG, once for each (`expansion`).

mod around;
mod bare;
mod columns;
mod expiry;
mod kept;
mod outside;
mod read;
mod row;
mod runs;
mod schema;
mod theirs;
mod variables;
mod write;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use excom_core::attempt::{Attempt, AttemptInfo, Caller, TaskInstanceInfo, TaskState};
use excom_core::db::{
    Cutoffs, DagRun, DagVersion, Due, Filter, Health, Item, Kept, LedgerRow, LooseObject, MetadataDb as _,
    Note, Occupied, Page, Place, Produced, Push, Pushed, Reads, RefusalCount, Removed, Rule, RunFilter,
    RunInfo, Scan, Scope, StartMode, Started, Surroundings, Usage, Variable,
};
use excom_core::entry::{Entry, EntryInfo, PastEntry, Stored, Version};
use excom_core::{Error, ErrorKind, ObjectName, Result, SequenceKey, Slice, TaskInstanceKey, Value, XComKey};
use jiff::Timestamp;

use super::failure::{Failure, told};
use super::read::View;
use super::writer::{Transaction, Writer};
use super::{Options, ROW_BYTES, bytes_of, connection};
use crate::airflow::{Row, airflows_alone, excoms_own};
use crate::expansion::{Expansion, MAX_MAP_LENGTH};
use crate::fernet::Fernet;
use crate::server::airflows_db;
pub use bare::Bare;
pub(super) use expiry::ORPHANS;
pub use schema::Found;

/// The metadata database of an Airflow 3 on SQLite, with Excom's tables beside Airflow's.
///
/// Several processes may have it open at once, Airflow's among them. Dropping it waits for what was given to the writer.
pub struct Db(Tables);

/// What its statements are asked through: our tables, as those of a file of Excom's own.
struct Tables {
    own: super::Db,
    expansion: Arc<Expansion>,
    /// Whether there are no tables of ours.
    is_bare: bool,
    /// Airflow's keys, where they were given.
    fernet: Option<Fernet>,
}

/// One view of Airflow's tables and ours.
struct Beside<'a> {
    view: &'a View<'a>,
    path: &'a Path,
    is_bare: bool,
    fernet: Option<&'a Fernet>,
}

/// A transaction about both.
struct Writing<'a> {
    t: &'a Transaction<'a>,
    path: &'a Path,
    expansion: &'a Expansion,
}

impl Db {
    /// The version of the schema beside Airflow's tables that this Excom makes.
    pub const SCHEMA: u32 = schema::VERSION;

    /// Opens Airflow's file. Nothing is made or changed; how the file keeps its journal stays as it is.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when it is not there or not Airflow's, or Excom was not attached to it;
    /// [`ErrorKind::Incompatible`] when Airflow's schema is not known or ours is newer; otherwise as
    /// [`sqlite::Db::open`](super::Db::open).
    pub fn open(path: &Path, options: Options) -> Result<Self> {
        let found = Self::look(path)?;
        if found.version < Self::SCHEMA {
            return Err(schema::missing(&found, path));
        }
        Ok(Self(Tables::over(path, options, false)?))
    }

    /// With the most elements that a value may have over which Airflow's tasks are mapped: Airflow's own setting
    /// `[core] max_map_length`, and 1024 unless it is said. More are refused, as by Airflow.
    #[must_use]
    pub fn with_max_map_length(mut self, most: u32) -> Self {
        self.0.expansion = Arc::new(Expansion::up_to(most));
        self
    }

    /// With the keys of Airflow's own `[core] fernet_key`, for variables and connections. Without any, variables are written in
    /// the clear and those that are encrypted cannot be read; and without this no connections are read.
    #[must_use]
    pub fn with_fernet(mut self, keys: impl Into<Option<Fernet>>) -> Self {
        self.0.fernet = keys.into();
        self
    }

    /// Looks at a file. Nothing is made or changed.
    ///
    /// # Errors
    /// As [`Db::open`], but not when Excom was not attached to it.
    pub fn look(path: &Path) -> Result<Found> {
        schema::look(&airflows(path)?, path)
    }

    /// The statements that [`Db::attach`] would run. Nothing is made or changed.
    ///
    /// # Errors
    /// As [`Db::look`].
    pub fn script(path: &Path) -> Result<String> {
        Ok(schema::script(&Self::look(path)?))
    }

    /// Makes our tables beside Airflow's, or brings them up to date; what is there stays.
    ///
    /// # Errors
    /// As [`Db::look`]; [`ErrorKind::ReadOnly`] when the user may not.
    pub fn attach(path: &Path) -> Result<Found> {
        let found = Self::look(path)?;
        let script = schema::script(&found);
        if script.is_empty() {
            return Ok(found);
        }
        let (connection, _) = connection::open_airflows(path, Options::default().durability)?;
        let made = connection.execute_batch(&script);
        drop(connection);
        let now = Self::look(path)?;
        match made {
            // Another process may have been faster.
            Err(error) if now.version == found.version => Err(told(error, path)),
            _ => Ok(now),
        }
    }

    /// What failed was told where its statement ran.
    fn told<T>(&self, result: Result<T>) -> Result<T> {
        result
    }
}

/// A connection for a look at Airflow's file.
fn airflows(path: &Path) -> Result<rusqlite::Connection> {
    if !path.exists() {
        return Err(Error::new(ErrorKind::Configuration, format!("there is no file {}", path.display()))
            .hint("name the file of Airflow's [database] sql_alchemy_conn; `airflow db migrate` makes it"));
    }
    connection::open(path, Options { read_only: true, ..Options::default() })
}

impl fmt::Display for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, attached", self.0.own)
    }
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

airflows_db!(Db);
airflows_alone!(Tables, Error);
excoms_own!(Tables);

impl Tables {
    fn over(path: &Path, options: Options, is_bare: bool) -> Result<Self> {
        let writer = match options.read_only {
            true => None,
            false => {
                let (connection, durability) = connection::open_airflows(path, options.durability)?;
                Some(Writer::start(connection, durability, path, false)?)
            }
        };
        let expansion = Arc::new(Expansion::up_to(MAX_MAP_LENGTH));
        Ok(Self { own: super::Db::over(path, writer), expansion, is_bare, fernet: None })
    }

    /// Which file it is, for people.
    fn place(&self) -> String {
        self.own.path.display().to_string()
    }

    /// Several statements on one view of the file.
    fn look<T>(&self, read: impl FnOnce(&Beside<'_>) -> Result<T, Failure>) -> Result<T> {
        self.own.snapshot(|view| {
            read(&Beside { view, path: &self.own.path, is_bare: self.is_bare, fernet: self.fernet.as_ref() })
        })
    }

    /// A write of about so many bytes.
    async fn change<T, F>(&self, bytes: usize, mut work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&Writing<'_>) -> Result<T, Failure> + Send + 'static,
    {
        let (path, expansion) = (self.own.path.clone(), self.expansion.clone());
        self.own.write_sized(bytes, move |t| work(&Writing { t, path: &path, expansion: &expansion })).await
    }

    // ---- runs and tries, which are Airflow's

    async fn start_attempt(
        &self,
        attempt: &Attempt,
        try_number: u32,
        mode: StartMode,
        at: Timestamp,
    ) -> Result<Started> {
        let attempt = attempt.clone();
        self.change(0, move |w| w.start(&attempt, try_number, mode, at)).await
    }

    /// The state is Airflow's to write: here is only looked whether the attempt could.
    async fn set_attempt_state(&self, attempt: &Attempt, _state: TaskState, _at: Timestamp) -> Result<()> {
        let attempt = attempt.clone();
        self.change(0, move |w| w.finish(&attempt, &[])).await
    }

    async fn finish_attempt(
        &self,
        attempt: &Attempt,
        _state: TaskState,
        pushes: &[Push],
        _at: Timestamp,
    ) -> Result<()> {
        let attempt = attempt.clone();
        let bytes = pushes.iter().map(bytes_of).sum();
        let rows: Vec<_> = pushes.iter().map(|push| (push.clone(), Row::of(push, row::is_kept))).collect();
        self.change(bytes, move |w| w.finish(&attempt, &rows)).await
    }

    async fn note(&self, attempt: &Attempt, name: &str, value: Option<&Value>, at: Timestamp) -> Result<()> {
        let (attempt, name, value) = (attempt.clone(), name.to_owned(), value.cloned());
        let work = move |w: &Writing<'_>| {
            let number = w.fence(&Caller::Attempt(attempt.clone()))?;
            w.t.put_note(&attempt.ti, number, &name, value.as_ref(), at)
        };
        self.change(usize::MAX, work).await
    }

    async fn note_once(&self, attempt: &Attempt, name: &str, value: &Value, at: Timestamp) -> Result<Value> {
        let (attempt, name, value) = (attempt.clone(), name.to_owned(), value.clone());
        let work = move |w: &Writing<'_>| {
            let number = w.fence(&Caller::Attempt(attempt.clone()))?;
            w.t.put_first_note(&attempt.ti, number, &name, &value, at)
        };
        self.change(usize::MAX, work).await
    }

    // ---- entries

    async fn push(&self, push: &Push) -> Result<Pushed> {
        let (push, written) = (push.clone(), Row::of(push, row::is_kept));
        self.change(bytes_of(&push), move |w| w.push(&push, &written)).await
    }

    async fn clear(&self, caller: &Caller, scope: &Scope, at: Timestamp) -> Result<u64> {
        let (caller, scope) = (caller.clone(), scope.clone());
        self.change(usize::MAX, move |w| w.clear(&caller, &scope, at)).await
    }

    async fn delete(&self, scope: &Scope, at: Timestamp) -> Result<u64> {
        let scope = scope.clone();
        self.change(usize::MAX, move |w| w.delete(&scope, at)).await
    }

    async fn note_reads(&self, reads: &[Reads]) -> Result<()> {
        let (bytes, reads) = (reads.len() * ROW_BYTES, reads.to_vec());
        self.change(bytes, move |w| w.t.note_reads(&reads, |_, attempt| w.number_of(attempt))).await
    }

    // ---- stored bytes and retention

    async fn note_move(&self, found: &Kept, store: &str, at: Timestamp) -> Result<bool> {
        self.own.note_move(found, store, at).await
    }

    async fn move_stored(&self, found: &Kept, to: &Stored, at: Timestamp) -> Result<bool> {
        let (found, to) = (found.clone(), to.clone());
        self.change(usize::MAX, move |w| w.move_stored(&found, &to, at)).await
    }

    async fn kept(&self, dag_id: Option<&str>, after: Option<Place>, limit: u32) -> Result<Scan<Kept>> {
        self.look(|beside| beside.view.kept(expiry::BESIDES, dag_id, after, limit))
    }

    /// What Excom wrote first, in the order of its ids; where rules say so, then what something else wrote, run by run.
    async fn due(
        &self,
        rules: &[Rule],
        dag_id: Option<&str>,
        after: Option<Place>,
        limit: u32,
    ) -> Result<Scan<Due>> {
        if let Some(Place { past: true, row: behind }) = after {
            return self.look(|beside| beside.due_outside(rules, dag_id, behind, limit));
        }
        let mut scan = self.look(|beside| beside.view.due(&expiry::BESIDE, rules, dag_id, after, limit))?;
        if scan.next.is_none() && rules.iter().any(|rule| rule.outside) {
            scan.next = Some(Place { past: true, row: 0 });
        }
        Ok(scan)
    }

    async fn expire(&self, rules: &[Rule], due: &[Due], at: Timestamp) -> Result<Removed> {
        let mut removed = Removed::default();
        // A page of whole runs may be long; a step is short.
        for due in due.chunks(outside::STEP) {
            let (rules, due) = (rules.to_vec(), due.to_vec());
            let work = move |w: &Writing<'_>| {
                w.fence(&Caller::System("db"))?;
                let mut removed = w.t.expire(&expiry::BESIDE, &rules, &due, at)?;
                removed.add(w.expire_outside(&rules, &due, at)?);
                Ok(removed)
            };
            removed.add(self.change(usize::MAX, work).await?);
        }
        Ok(removed)
    }

    async fn retain(&self, cutoffs: &Cutoffs) -> Result<Removed> {
        let cutoffs = cutoffs.clone();
        self.change(usize::MAX, move |w| w.retain(&cutoffs)).await
    }

    async fn check(&self) -> Result<String> {
        let place = self.own.to_string();
        self.look(|beside| beside.check(&place))
    }

    async fn health(&self) -> Result<Health> {
        let place = self.own.to_string();
        self.look(|beside| beside.health(&place))
    }
}

/// Methods that read Airflow's tables and ours.
macro_rules! look {
    ($(fn $name:ident($($argument:ident: $type:ty),*) -> $made:ty;)*) => {
        impl Tables {
            $(async fn $name(&self, $($argument: $type),*) -> Result<$made> {
                self.look(|beside| beside.$name($($argument),*))
            })*
        }
    };
}

look! {
    fn run_info(dag_id: &str, run_id: &str) -> Option<RunInfo>;
    fn runs(filter: &RunFilter, before: Option<&DagRun>, limit: u32) -> Vec<RunInfo>;
    fn task_instances(dag_id: &str, run_id: &str, after: Option<(&str, i32)>, limit: u32) -> Vec<TaskInstanceInfo>;
    fn task_instance(ti: &TaskInstanceKey) -> Option<TaskInstanceInfo>;
    fn attempts(ti: &TaskInstanceKey) -> Vec<AttemptInfo>;
    fn entries(keys: &[XComKey]) -> Vec<Option<Entry>>;
    fn produced(keys: &[SequenceKey]) -> Vec<Produced>;
    fn prior_run(key: &SequenceKey, map_index: Option<i32>) -> Option<Arc<str>>;
    fn surroundings(key: &XComKey) -> Surroundings;
    fn count(key: &SequenceKey) -> u64;
    fn indexes(key: &SequenceKey) -> Vec<i32>;
    fn slice(key: &SequenceKey, slice: Slice) -> Vec<Item>;
    fn page(key: &SequenceKey, after: Option<i32>, limit: u32) -> Vec<Item>;
    fn list(filter: &Filter, after: Option<&XComKey>, limit: u32) -> Page<EntryInfo>;
    fn places() -> Vec<Occupied>;
    fn usage(dag_id: &str, run_id: Option<&str>) -> Usage;
    fn variable(key: &str) -> Option<Variable>;
    fn variables(prefix: &str, after: Option<&str>, limit: u32) -> Vec<Variable>;
}
