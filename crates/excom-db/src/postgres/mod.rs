//! A metadata database on a PostgreSQL server, for any number of processes on any number of machines.
//!
//! Everything lies in a schema of its own, `excom`. A read is one statement; what checks and writes is one call of a
//! function of that schema (`migrations/`), so it is whole or not at all, one round trip, and needs no state between
//! two statements. Who waits for whom is said there.

pub mod attached;
mod connection;
mod expiry;
mod failure;
mod kept;
mod known;
mod ledger;
mod read;
mod refusals;
mod retain;
mod row;
mod runs;
mod schema;
mod tls;
mod together;
mod variables;
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
use tokio_postgres::Row;

use connection::Connections;
pub use connection::Options;
use failure::Failure;
use together::Together;

/// Lanes of pushes: one writes while another waits for the disk.
const WRITERS: usize = 2;

/// The metadata database on a PostgreSQL server.
///
/// It may be used from any runtime and from none. Dropping it closes its connections.
pub struct Db(Tables);

/// What its statements are asked through.
struct Tables {
    // Before the connections, over which they ask.
    pulls: Together<Vec<XComKey>, Option<Vec<(usize, Row)>>>,
    pushes: Together<Arc<write::Row>, write::Shared>,
    connections: Arc<Connections>,
}

impl Tables {
    fn new(connections: Connections) -> Self {
        let connections = Arc::new(connections);
        let reactor = connections.reactor();
        // A lane must not keep the connections, which close with the callers.
        let open = Arc::downgrade(&connections);
        let pulls = Together::start(reactor, connection::READERS, {
            let open = open.clone();
            move |keys| read::together(open.upgrade(), keys)
        });
        let pushes = Together::start(reactor, WRITERS, move |rows| write::together(open.upgrade(), rows));
        Self { pulls, pushes, connections }
    }
}

impl Db {
    /// The version of the schema that this Excom makes.
    pub const SCHEMA: u32 = schema::VERSION;

    /// Connects to a database and brings its schema up to date. The URL is spelt as for libpq and SQLAlchemy:
    /// `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`, also with a driver's name, as in `postgresql+psycopg2://`.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](excom_core::ErrorKind::Configuration) when the URL cannot be read, or the server
    /// refuses the user or has no such database; [`ErrorKind::Incompatible`](excom_core::ErrorKind::Incompatible) when
    /// its schema is another program's or newer; [`ErrorKind::Unavailable`](excom_core::ErrorKind::Unavailable).
    pub async fn open(url: &str, options: &Options) -> Result<Self> {
        let connections = Connections::new(url, options)?;
        schema::migrate(&connections).await?;
        known::name(&connections).await;
        Ok(Self(Tables::new(connections)))
    }

    /// The version of the schema in a database; 0 when there is none. Nothing is made or changed.
    ///
    /// # Errors
    /// As [`Db::open`].
    pub async fn schema(url: &str, options: &Options) -> Result<u32> {
        schema::version(&Connections::new(url, options)?).await
    }

    fn told<T>(&self, result: Result<T, Failure>) -> Result<T> {
        result.map_err(|failure| failure.into_error(self.0.connections.place()))
    }
}

impl fmt::Display for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.connections.place())
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
        self.told(self.0.register_run(run, None).await)
    }

    async fn start_run(&self, run: &DagRun, at: Timestamp) -> Result<()> {
        self.told(self.0.register_run(run, Some(at)).await)
    }

    async fn set_run_state(&self, dag_id: &str, run_id: &str, state: RunState, at: Timestamp) -> Result<()> {
        self.told(self.0.set_run_state(dag_id, run_id, state, at).await)
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

    async fn set_states(&self, states: &[(TaskInstanceKey, TaskState)], at: Timestamp) -> Result<()> {
        self.told(self.0.set_states(states, at).await)
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

    async fn set_attempt_state(&self, attempt: &Attempt, state: TaskState, at: Timestamp) -> Result<()> {
        self.0.set_attempt_state(attempt, state, at).await
    }

    async fn finish_attempt(
        &self,
        attempt: &Attempt,
        state: TaskState,
        pushes: &[Push],
        at: Timestamp,
    ) -> Result<()> {
        self.0.finish_attempt(attempt, state, pushes, at).await
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
        self.told(self.0.delete(scope, at).await)
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
        self.told(self.0.note_refusals(refusals).await)
    }

    async fn refusals(&self, limit: u32) -> Result<Vec<RefusalCount>> {
        self.told(self.0.refusals(limit).await)
    }

    async fn variable(&self, key: &str) -> Result<Option<Variable>> {
        self.told(self.0.variable(key).await)
    }

    async fn set_variable(&self, caller: &Caller, variable: &Variable) -> Result<()> {
        self.0.set_variable(caller, variable).await
    }

    async fn delete_variable(&self, caller: &Caller, key: &str) -> Result<bool> {
        self.0.delete_variable(caller, key).await
    }

    async fn variables(&self, prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<Variable>> {
        self.told(self.0.variables(prefix, after, limit).await)
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
        self.told(self.0.take_turn(name, at, every).await)
    }

    async fn retain(&self, cutoffs: &Cutoffs) -> Result<Removed> {
        self.told(self.0.retain(cutoffs).await)
    }

    async fn mark(&self, name: &str) -> Result<Option<String>> {
        self.told(self.0.mark(name).await)
    }

    async fn set_mark(&self, name: &str, value: &str) -> Result<String> {
        self.told(self.0.set_mark(name, value).await)
    }

    async fn marks(&self, prefix: &str) -> Result<Vec<(String, String)>> {
        self.told(self.0.marks(prefix).await)
    }

    async fn places(&self) -> Result<Vec<Occupied>> {
        self.told(self.0.places().await)
    }

    async fn health(&self) -> Result<Health> {
        let version = schema::version(&self.0.connections).await?;
        self.told(self.0.health(version).await)
    }
}
