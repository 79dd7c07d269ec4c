//! A metadata database that is Airflow's own, worked with in place.
//!
//! **Airflow's tables** `xcom`, `task_instance`, `task_instance_history` and `dag_run` are read, and `xcom` is written,
//! as Airflow itself does; none is altered, and nothing of ours hangs on them: no column, index or trigger, and no view
//! or foreign key either, because Airflow's next migration would meet it. What these tables have no place for lies beside
//! them in a schema `excom` (`schema/`), which somebody has to allow: [`Db::attach`] makes it, [`Db::open`] never does.
//!
//! **An entry** is Airflow's row with, where Excom wrote it, a row of `excom.extra`: version, writer, size, hash, shape,
//! the beginning of the text for lists, and where the bytes are. The two belong together by the row's primary key *and*
//! its `timestamp`. Whoever writes a row without Excom (Airflow's REST API, its triggers, its scheduler) gives it another
//! time, so what was known of it counts no more: the entry is one "written outside Excom", whose version is that time.
//! Where a row is gone, by a cascade or `airflow db clean`, the next sweep finds what it left (`expiry`).
//!
//! **A value's text.** `jsonb` keeps a value and not its text. What it would give back otherwise than it was pushed is
//! kept in `excom.extra` too, and given back from there; Airflow reads its own column (`text`). What `jsonb` cannot hold
//! (NUL characters, numbers beyond its range, more than 268,435,455 bytes) is refused, as Airflow itself refuses it. In
//! the place of a value that is offloaded, Airflow's column has the reference, so that a person sees what it is; what
//! makes it one is `excom.extra`, so a value of somebody's own that looks like one stays that value. Of Airflow's two
//! stored forms Excom writes the plain one. It reads the other, JSON text in a JSON string, in rows that it did not
//! write, as Airflow's own models do; but only lists, dicts and strings, so that the string `"5"` stays a string.
//!
//! **The fence** is Airflow's task instance. Its id is the attempt's: while they are equal, the attempt may write. Airflow
//! gives a failed task instance the next id at once and keeps the old one in its history; the old one may write until the
//! new one has a start date of its own. Check and write are one statement, and the row's key is locked meanwhile, as
//! inserting an XCom does anyway: a next try waits, a heartbeat does not.
//!
//! **Runs and states** are Airflow's. Starting an attempt is telling Excom of it: the first time, a fresh one clears. How
//! an attempt ends is checked and left to Airflow; making a run, or setting states of one, is refused.
//!
//! **Retention** concerns what Excom wrote. Airflow's runs, and rows of others, are `airflow db clean`'s.
//!
//! **Migrations of Airflow.** Every write looks whether Airflow's schema is one that Excom was proven with, in the same
//! statement, and is refused otherwise; reads go on as long as the columns are there.

mod columns;
mod expiry;
mod kept;
mod ledger;
mod read;
mod row;
mod runs;
mod schema;
mod text;
mod write;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use excom_core::attempt::{Attempt, AttemptInfo, Caller, TaskInstanceInfo, TaskState};
use excom_core::db::{
    Cutoffs, DagRun, DagVersion, Due, Filter, Health, Item, Kept, LedgerRow, LooseObject, MetadataDb,
    Occupied, Page, Place, Produced, Push, Pushed, Reads, RefusalCount, Removed, Rendered, Rule, RunFilter,
    RunInfo, RunState, Scan, Scope, StartMode, Started, Surroundings, Variable,
};
use excom_core::entry::{Entry, EntryInfo, PastEntry, Stored, Version};
use excom_core::{ObjectName, Result, SequenceKey, Slice, TaskInstanceKey, Value, XComKey};
use jiff::Timestamp;

use super::connection::{Connections, Options};
use super::failure::Failure;
use super::known;
use super::variables::BESIDE;
pub use schema::Found;

/// The metadata database of an Airflow 3, with Excom's schema beside Airflow's tables.
///
/// It may be used from any runtime and from none. Dropping it closes its connections.
pub struct Db(Tables);

/// What its statements are asked through.
struct Tables {
    /// What does not depend on whose entries they are: variables, marks, counts of refusals.
    own: super::Tables,
}

impl Db {
    /// The version of the schema beside Airflow's tables that this Excom makes.
    pub const SCHEMA: u32 = schema::VERSION;

    /// Connects to Airflow's database. Nothing is made or changed.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](excom_core::ErrorKind::Configuration) when it is not Airflow's, or Excom was not
    /// attached to it; [`ErrorKind::Incompatible`](excom_core::ErrorKind::Incompatible) when Airflow's schema is not
    /// known or ours is newer; [`ErrorKind::Unavailable`](excom_core::ErrorKind::Unavailable).
    pub async fn open(url: &str, options: &Options) -> Result<Self> {
        let connections = Connections::new(url, options)?;
        let found = schema::look(&connections).await?;
        if found.version < Self::SCHEMA {
            return Err(schema::missing(&found, connections.place()));
        }
        known::learn(&connections).await;
        Ok(Self(Tables { own: super::Tables::new(connections) }))
    }

    /// Looks at a database. Nothing is made or changed.
    ///
    /// # Errors
    /// As [`Db::open`], but not when Excom was not attached to it.
    pub async fn look(url: &str, options: &Options) -> Result<Found> {
        schema::look(&Connections::new(url, options)?).await
    }

    /// The statements that [`Db::attach`] would run, as a script for somebody who may: each makes something in the
    /// schema `excom`. Nothing is made or changed.
    ///
    /// # Errors
    /// As [`Db::look`].
    pub async fn script(url: &str, options: &Options) -> Result<String> {
        Ok(schema::script(&Self::look(url, options).await?))
    }

    /// Makes the schema `excom` beside Airflow's tables, or brings it up to date; what is there stays.
    ///
    /// # Errors
    /// As [`Db::look`]; [`ErrorKind::Configuration`](excom_core::ErrorKind::Configuration) when the user may not.
    pub async fn attach(url: &str, options: &Options) -> Result<Found> {
        let connections = Connections::new(url, options)?;
        loop {
            let found = schema::look(&connections).await?;
            match connections.script(&schema::script(&found)).await {
                Ok(()) => return schema::look(&connections).await,
                // Another process was faster; what it made is looked at.
                Err(failure) if schema::look(&connections).await?.version > found.version => drop(failure),
                Err(failure) => {
                    let error = failure.into_error(connections.place());
                    return Err(match error.kind() {
                        excom_core::ErrorKind::Configuration => error.hint(
                            "or somebody who may runs the script that `excom db attach --dry-run` prints, and then \
                             grants this user what docs/attached.md lists",
                        ),
                        _ => error,
                    });
                }
            }
        }
    }

    fn told<T>(&self, result: Result<T, Failure>) -> Result<T> {
        result.map_err(|failure| failure.into_error(self.0.own.connections.place()))
    }

    /// The error about what only Airflow may do.
    fn airflows<T>(&self, what: &str) -> Result<T> {
        Err(runs::airflows(what, self.0.own.connections.place()))
    }
}

impl fmt::Display for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, attached", self.0.own.connections.place())
    }
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[async_trait]
impl MetadataDb for Db {
    async fn register_run(&self, run: &DagRun) -> Result<()> {
        self.0.register_run(run).await
    }

    async fn start_run(&self, run: &DagRun, _at: Timestamp) -> Result<()> {
        self.airflows(&format!("starts the runs of {}", run.dag_id))
    }

    async fn set_run_state(
        &self,
        dag_id: &str,
        _run_id: &str,
        _state: RunState,
        _at: Timestamp,
    ) -> Result<()> {
        self.airflows(&format!("tells how the runs of {dag_id} stand"))
    }

    async fn run_info(&self, dag_id: &str, run_id: &str) -> Result<Option<RunInfo>> {
        self.told(self.0.run_info(dag_id, run_id).await)
    }

    async fn runs(&self, filter: &RunFilter, before: Option<&DagRun>, limit: u32) -> Result<Vec<RunInfo>> {
        self.told(self.0.runs(filter, before, limit).await)
    }

    async fn last_success(&self, before: &DagRun) -> Result<Option<RunInfo>> {
        self.told(self.0.last_success(before).await)
    }

    async fn task_instances(
        &self,
        dag_id: &str,
        run_id: &str,
        after: Option<(&str, i32)>,
        limit: u32,
    ) -> Result<Vec<TaskInstanceInfo>> {
        self.told(self.0.task_instances(dag_id, run_id, after, limit).await)
    }

    async fn set_states(&self, states: &[(TaskInstanceKey, TaskState)], _at: Timestamp) -> Result<()> {
        match states {
            [] => Ok(()),
            _ => self.airflows("sets the states of its task instances"),
        }
    }

    async fn task_instance(&self, ti: &TaskInstanceKey) -> Result<Option<TaskInstanceInfo>> {
        self.told(self.0.task_instance(ti).await)
    }

    async fn attempts(&self, ti: &TaskInstanceKey) -> Result<Vec<AttemptInfo>> {
        self.told(self.0.attempts(ti).await)
    }

    async fn start_attempt(
        &self,
        attempt: &Attempt,
        try_number: u32,
        mode: StartMode,
        at: Timestamp,
    ) -> Result<Started> {
        self.0.start_attempt(attempt, try_number, mode, at).await
    }

    async fn set_attempt_state(&self, attempt: &Attempt, state: TaskState, _at: Timestamp) -> Result<()> {
        self.0.set_attempt_state(attempt, state).await
    }

    async fn finish_attempt(
        &self,
        attempt: &Attempt,
        _state: TaskState,
        pushes: &[Push],
        at: Timestamp,
    ) -> Result<()> {
        self.0.finish_attempt(attempt, pushes, at).await
    }

    async fn note_rendered(
        &self,
        attempt: &Attempt,
        fields: &[(String, Value)],
        _at: Timestamp,
    ) -> Result<()> {
        self.0.note_rendered(attempt, fields).await
    }

    async fn rendered(&self, ti: &TaskInstanceKey) -> Result<Option<Rendered>> {
        self.told(self.0.rendered(ti).await)
    }

    async fn push(&self, push: &Push) -> Result<Pushed> {
        self.0.push(push).await
    }

    async fn entries(&self, keys: &[XComKey]) -> Result<Vec<Option<Entry>>> {
        self.told(self.0.entries(keys).await)
    }

    async fn produced(&self, keys: &[SequenceKey]) -> Result<Vec<Produced>> {
        self.told(self.0.produced(keys).await)
    }

    async fn prior_run(&self, key: &SequenceKey, map_index: Option<i32>) -> Result<Option<Arc<str>>> {
        self.told(self.0.prior_run(key, map_index).await)
    }

    async fn surroundings(&self, key: &XComKey) -> Result<Surroundings> {
        self.told(self.0.surroundings(key).await)
    }

    async fn count(&self, key: &SequenceKey) -> Result<u64> {
        self.told(self.0.count(key).await)
    }

    async fn indexes(&self, key: &SequenceKey) -> Result<Vec<i32>> {
        self.told(self.0.indexes(key).await)
    }

    async fn slice(&self, key: &SequenceKey, slice: Slice) -> Result<Vec<Item>> {
        self.told(self.0.slice(key, slice).await)
    }

    async fn page(&self, key: &SequenceKey, after: Option<i32>, limit: u32) -> Result<Vec<Item>> {
        self.told(self.0.page(key, after, limit).await)
    }

    async fn list(&self, filter: &Filter, after: Option<&XComKey>, limit: u32) -> Result<Page<EntryInfo>> {
        self.told(self.0.list(filter, after, limit).await)
    }

    async fn history(&self, key: &XComKey, limit: u32) -> Result<Vec<PastEntry>> {
        self.told(self.0.history(key, limit).await)
    }

    async fn past(&self, key: &XComKey, version: Version) -> Result<Option<Entry>> {
        self.told(self.0.past(key, version).await)
    }

    async fn clear(&self, caller: &Caller, scope: &Scope, at: Timestamp) -> Result<u64> {
        self.0.clear(caller, scope, at).await
    }

    async fn delete(&self, scope: &Scope, at: Timestamp) -> Result<u64> {
        self.0.delete(scope, at).await
    }

    async fn note_reads(&self, reads: &[Reads]) -> Result<()> {
        self.told(self.0.note_reads(reads).await)
    }

    async fn readers(&self, key: &XComKey) -> Result<Vec<LedgerRow>> {
        self.told(self.0.readers(key).await)
    }

    async fn reads_of(&self, ti: &TaskInstanceKey) -> Result<Vec<LedgerRow>> {
        self.told(self.0.reads_of(ti).await)
    }

    async fn pushed_by(&self, ti: &TaskInstanceKey, number: u32) -> Result<Vec<EntryInfo>> {
        self.told(self.0.pushed_by(ti, number).await)
    }

    async fn note_refusals(&self, refusals: &[RefusalCount]) -> Result<()> {
        self.told(self.0.own.note_refusals(refusals).await)
    }

    async fn refusals(&self, limit: u32) -> Result<Vec<RefusalCount>> {
        self.told(self.0.own.refusals(limit).await)
    }

    async fn variable(&self, key: &str) -> Result<Option<Variable>> {
        self.told(self.0.own.variable_by(&BESIDE, key).await)
    }

    async fn set_variable(&self, caller: &Caller, variable: &Variable) -> Result<()> {
        self.0.set_variable(caller, variable).await
    }

    async fn delete_variable(&self, caller: &Caller, key: &str) -> Result<bool> {
        self.0.delete_variable(caller, key).await
    }

    async fn variables(&self, prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<Variable>> {
        self.told(self.0.own.variables_by(&BESIDE, prefix, after, limit).await)
    }

    async fn note_dag_version(
        &self,
        dag_id: &str,
        version: &str,
        document: &Value,
        at: Timestamp,
    ) -> Result<()> {
        self.told(self.0.note_dag_version(dag_id, version, document, at).await)
    }

    async fn dag_versions(&self, dag_id: &str, limit: u32) -> Result<Vec<DagVersion>> {
        self.told(self.0.dag_versions(dag_id, limit).await)
    }

    async fn dag_version(&self, dag_id: &str, version: &str) -> Result<Option<DagVersion>> {
        self.told(self.0.dag_version(dag_id, version).await)
    }

    async fn note_intent(&self, object: &LooseObject) -> Result<Pushed> {
        self.told(self.0.note_intent(object).await)
    }

    async fn note_move(&self, found: &Kept, store: &str, at: Timestamp) -> Result<bool> {
        self.told(self.0.note_move(found, store, at).await)
    }

    async fn move_stored(&self, found: &Kept, to: &Stored, at: Timestamp) -> Result<bool> {
        self.told(self.0.move_stored(found, to, at).await)
    }

    async fn intents(&self) -> Result<Vec<LooseObject>> {
        self.told(self.0.intents().await)
    }

    async fn claim_loose(&self, before: Timestamp, at: Timestamp, limit: u32) -> Result<Vec<LooseObject>> {
        self.told(self.0.claim_loose(before, at, limit).await)
    }

    async fn forget_loose(&self, objects: &[LooseObject]) -> Result<()> {
        self.told(self.0.forget_loose(objects).await)
    }

    async fn release_loose(&self, objects: &[LooseObject]) -> Result<()> {
        self.told(self.0.release_loose(objects).await)
    }

    async fn knows_object(&self, store: &str, object: &ObjectName, version: Version) -> Result<bool> {
        self.told(self.0.knows_object(store, object, version).await)
    }

    async fn claim_orphan(&self, object: &LooseObject) -> Result<bool> {
        self.told(self.0.claim_orphan(object).await)
    }

    async fn kept(&self, dag_id: Option<&str>, after: Option<Place>, limit: u32) -> Result<Scan<Kept>> {
        self.told(self.0.kept(dag_id, after, limit).await)
    }

    async fn due(
        &self,
        rules: &[Rule],
        dag_id: Option<&str>,
        after: Option<Place>,
        limit: u32,
    ) -> Result<Scan<Due>> {
        self.told(self.0.due(rules, dag_id, after, limit).await)
    }

    async fn expire(&self, rules: &[Rule], due: &[Due], at: Timestamp) -> Result<Removed> {
        self.told(self.0.expire(rules, due, at).await)
    }

    async fn take_turn(&self, name: &str, at: Timestamp, every: Duration) -> Result<bool> {
        self.told(self.0.own.take_turn(name, at, every).await)
    }

    async fn retain(&self, cutoffs: &Cutoffs) -> Result<Removed> {
        self.told(self.0.retain(cutoffs).await)
    }

    async fn mark(&self, name: &str) -> Result<Option<String>> {
        self.told(self.0.own.mark(name).await)
    }

    async fn set_mark(&self, name: &str, value: &str) -> Result<String> {
        self.told(self.0.own.set_mark(name, value).await)
    }

    async fn marks(&self, prefix: &str) -> Result<Vec<(String, String)>> {
        self.told(self.0.own.marks(prefix).await)
    }

    async fn places(&self) -> Result<Vec<Occupied>> {
        self.told(self.0.places().await)
    }

    async fn health(&self) -> Result<Health> {
        self.0.health().await
    }
}
