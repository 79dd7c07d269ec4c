//! The embedded metadata database: one SQLite file, for several processes at once.
//!
//! Reads run inline when polled, each on a connection of its own; writes go to one connection, which commits what
//! has gathered together. WAL mode, so readers and the writer do not wait for each other.

mod around;
mod assets;
pub mod attached;
mod connection;
mod dictionaries;
mod expiry;
mod failure;
mod kept;
mod ledger;
mod loose;
mod names;
mod notes;
mod read;
mod refusals;
mod results;
mod retain;
mod row;
mod runs;
mod schema;
mod survey;
mod variables;
mod write;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use excom_core::asset::{Asset, AssetEvent, AssetEventFilter, AssetNamed, NewAssetEvent};
use excom_core::attempt::{Attempt, AttemptInfo, Caller, TaskInstanceInfo, TaskState};
use excom_core::db::{
    Cutoffs, DagRun, DagVersion, Due, Filter, Health, Item, Kept, LedgerRow, LooseObject, MetadataDb, Note,
    Occupied, Page, Place, Produced, Push, Pushed, Reads, RefusalCount, Removed, Rule, RunFilter, RunInfo,
    RunState, Scan, Scope, StartMode, Started, Surroundings, Usage, Variable, VariableWrite,
};
use excom_core::dictionary::{Dictionary, Gain, Training};
use excom_core::entry::{Entry, EntryInfo, PastEntry, Stored, Version};
use excom_core::{Error, ErrorKind, ObjectName, Result, SequenceKey, Slice, TaskInstanceKey, Value, XComKey};
use jiff::Timestamp;
use rusqlite::Connection;
use zstd::dict::EncoderDictionary;

use connection::Readers;
pub use connection::{Durability, Options};
use failure::Failure;
use names::{Lookup, Names};
use read::View;
pub use survey::survey;
use writer::{Transaction, Writer};

use crate::dictionary::{self, Dictionaries, SAMPLES, SMALL};
use crate::packing::Packed;

/// A write of up to so many bytes is small: the caller may commit it.
const SMALL_BYTES: usize = 16 << 10;

/// What a row counts for, beside a value in it.
const ROW_BYTES: usize = 256;

/// How much a push writes into the database.
fn bytes_of(push: &Push) -> usize {
    match &push.stored {
        Stored::Inline(value) => ROW_BYTES + value.bytes().len(),
        Stored::Offloaded(_) => ROW_BYTES,
    }
}

/// The metadata database in an SQLite file.
///
/// Several processes may have it open at once. Dropping it waits for what was given to the writer.
pub struct Db {
    path: PathBuf,
    names: Names,
    dictionaries: Dictionaries,
    readers: Readers,
    writer: Option<Writer>,
}

impl Db {
    /// The version of the schema that this Excom makes.
    pub const SCHEMA: u32 = schema::VERSION;

    /// Opens the file, creates it when it is missing (its folder must exist), and brings its schema up
    /// to date.
    ///
    /// # Errors
    /// [`ErrorKind::Incompatible`] when it is another program's or newer; [`ErrorKind::Corrupt`],
    /// [`ErrorKind::ReadOnly`], [`ErrorKind::Full`], [`ErrorKind::Unavailable`] with what to do.
    pub fn open(path: &Path, options: Options) -> Result<Self> {
        let mut connection = connection::open(path, options)?;
        let writer = if options.read_only {
            if schema::version(&connection, path)? < schema::VERSION {
                return Err(Error::new(
                    ErrorKind::Incompatible,
                    format!("{} has an older schema than this Excom reads", path.display()),
                )
                .hint("open it once for writing, which brings it up to date"));
            }
            None
        } else {
            schema::migrate(&mut connection, path)?;
            Some(Writer::start(connection, options.durability, path, true)?)
        };
        Ok(Self::over(path, writer))
    }

    /// What works with a file, with a writer unless it is only read.
    fn over(path: &Path, writer: Option<Writer>) -> Self {
        Self {
            path: path.to_owned(),
            names: Names::default(),
            dictionaries: Dictionaries::default(),
            readers: Readers::new(path),
            writer,
        }
    }

    /// The version of the schema in a file; 0 when there is none. Nothing is made or changed.
    ///
    /// # Errors
    /// As [`Db::open`].
    pub fn schema(path: &Path) -> Result<u32> {
        if !path.exists() {
            return Ok(0);
        }
        schema::version(&connection::open(path, Options { read_only: true, ..Options::default() })?, path)
    }

    /// One read outside a transaction: a single statement.
    fn read<T>(&self, read: impl FnOnce(&View<'_>) -> Result<T, Failure>) -> Result<T> {
        self.readers.read(|connection| read(&self.view(connection)))
    }

    fn view<'a>(&'a self, connection: &'a Connection) -> View<'a> {
        View(Lookup { connection, names: &self.names, dictionaries: &self.dictionaries })
    }

    /// Several statements on one view of the database.
    fn snapshot<T>(&self, read: impl FnOnce(&View<'_>) -> Result<T, Failure>) -> Result<T> {
        self.readers.read(|connection| {
            connection.prepare_cached("BEGIN")?.execute([])?;
            let result = read(&self.view(connection));
            connection.prepare_cached("COMMIT")?.execute([])?;
            result
        })
    }

    /// The newest dictionary of a DAG, for values that it may make shorter. One that cannot be read is told by
    /// whoever reads a value that needs it; a push does without.
    fn dictionary(
        &self,
        dag_id: &str,
        secret: bool,
        stored: &Stored,
    ) -> Option<Arc<EncoderDictionary<'static>>> {
        match stored {
            // What is encrypted becomes no shorter.
            Stored::Inline(value) if !secret && SMALL.contains(&value.bytes().len()) => {
                let known = self.dictionaries.newest(dag_id);
                known.unwrap_or_else(|| self.read(|view| view.newest(dag_id)).ok().flatten())
            }
            _ => None,
        }
    }

    fn packed(&self, push: &Push) -> Packed {
        Packed::push(push, self.dictionary(&push.key.ti.dag_id, push.secret, &push.stored).as_deref())
    }

    async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&Transaction<'_>) -> Result<T, Failure> + Send + 'static,
    {
        self.write_sized(usize::MAX, work).await
    }

    /// A write that touches a few rows.
    async fn write_few<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&Transaction<'_>) -> Result<T, Failure> + Send + 'static,
    {
        self.write_sized(0, work).await
    }

    /// A write of about so many bytes.
    async fn write_sized<T, F>(&self, bytes: usize, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&Transaction<'_>) -> Result<T, Failure> + Send + 'static,
    {
        match &self.writer {
            Some(writer) => writer.write(bytes <= SMALL_BYTES, work).await,
            None => Err(Error::new(
                ErrorKind::ReadOnly,
                format!("{} was opened for reading only", self.path.display()),
            )),
        }
    }
}

impl fmt::Display for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sqlite({})", self.path.display())
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
        let run = run.clone();
        self.write_few(move |t| t.register_run(&run).map(drop)).await
    }

    async fn start_run(&self, run: &DagRun, at: Timestamp) -> Result<()> {
        let run = run.clone();
        self.write_few(move |t| t.start_run(&run, at)).await
    }

    async fn begin_run(&self, run: &DagRun, at: Timestamp) -> Result<bool> {
        let run = run.clone();
        self.write_few(move |t| t.begin_run(&run, at)).await
    }

    async fn set_run_state(&self, dag_id: &str, run_id: &str, state: RunState, at: Timestamp) -> Result<()> {
        let (dag_id, run_id) = (dag_id.to_owned(), run_id.to_owned());
        self.write_few(move |t| t.set_run_state(&dag_id, &run_id, state, at)).await
    }

    async fn run_info(&self, dag_id: &str, run_id: &str) -> Result<Option<RunInfo>> {
        self.snapshot(|view| view.run_info(dag_id, run_id))
    }

    async fn runs(&self, filter: &RunFilter, before: Option<&DagRun>, limit: u32) -> Result<Vec<RunInfo>> {
        self.snapshot(|view| view.runs(filter, before, limit))
    }

    async fn task_instances(
        &self,
        dag_id: &str,
        run_id: &str,
        after: Option<(&str, i32)>,
        limit: u32,
    ) -> Result<Vec<TaskInstanceInfo>> {
        self.snapshot(|view| view.task_instances(dag_id, run_id, after, limit))
    }

    async fn set_states(&self, states: &[(TaskInstanceKey, TaskState)], at: Timestamp) -> Result<()> {
        let states = states.to_vec();
        self.write(move |t| t.set_states(&states, at)).await
    }

    async fn skip(&self, instances: &[TaskInstanceKey], at: Timestamp) -> Result<()> {
        let instances = instances.to_vec();
        self.write(move |t| t.skip(&instances, at)).await
    }

    async fn task_instance(&self, ti: &TaskInstanceKey) -> Result<Option<TaskInstanceInfo>> {
        self.snapshot(|view| view.task_instance(ti))
    }

    async fn attempts(&self, ti: &TaskInstanceKey) -> Result<Vec<AttemptInfo>> {
        self.snapshot(|view| view.attempts(ti))
    }

    async fn start_attempt(
        &self,
        attempt: &Attempt,
        try_number: u32,
        mode: StartMode,
        at: Timestamp,
    ) -> Result<Started> {
        let attempt = attempt.clone();
        self.write_few(move |t| t.start_attempt(&attempt, try_number, mode, at)).await
    }

    async fn set_attempt_state(&self, attempt: &Attempt, state: TaskState, at: Timestamp) -> Result<()> {
        let attempt = attempt.clone();
        self.write_few(move |t| t.set_attempt_state(&attempt, state, at)).await
    }

    async fn finish_attempt(
        &self,
        attempt: &Attempt,
        state: TaskState,
        pushes: &[Push],
        at: Timestamp,
    ) -> Result<()> {
        let attempt = attempt.clone();
        let pushes: Vec<_> = pushes.iter().map(|push| (push.clone(), self.packed(push))).collect();
        let bytes = pushes.iter().map(|(push, _)| bytes_of(push)).sum();
        self.write_sized(bytes, move |t| t.finish_attempt(&attempt, state, &pushes, at)).await
    }

    async fn note(&self, attempt: &Attempt, name: &str, value: Option<&Value>, at: Timestamp) -> Result<()> {
        let (attempt, name, value) = (attempt.clone(), name.to_owned(), value.cloned());
        self.write(move |t| t.note(&attempt, &name, value.as_ref(), at)).await
    }

    async fn note_once(&self, attempt: &Attempt, name: &str, value: &Value, at: Timestamp) -> Result<Value> {
        let (attempt, name, value) = (attempt.clone(), name.to_owned(), value.clone());
        self.write(move |t| t.note_once(&attempt, &name, &value, at)).await
    }

    async fn notes(&self, ti: &TaskInstanceKey, prefix: &str, limit: u32) -> Result<Vec<Note>> {
        self.snapshot(|view| view.notes(ti, prefix, limit))
    }

    async fn push(&self, push: &Push) -> Result<Pushed> {
        let packed = self.packed(push);
        let push = push.clone();
        self.write_sized(bytes_of(&push), move |t| t.push(&push, &packed)).await
    }

    async fn results(&self, dag_id: &str, run_id: &str) -> Result<Vec<Arc<str>>> {
        self.read(|view| view.results(dag_id, run_id))
    }

    async fn entries(&self, keys: &[XComKey]) -> Result<Vec<Option<Entry>>> {
        match keys {
            [_] => self.read(|view| view.entries(keys)),
            _ => self.snapshot(|view| view.entries(keys)),
        }
    }

    async fn produced(&self, keys: &[SequenceKey]) -> Result<Vec<Produced>> {
        self.snapshot(|view| keys.iter().map(|key| view.produced(key)).collect())
    }

    async fn prior_run(&self, key: &SequenceKey, map_index: Option<i32>) -> Result<Option<Arc<str>>> {
        self.snapshot(|view| view.prior_run(key, map_index))
    }

    async fn surroundings(&self, key: &XComKey) -> Result<Surroundings> {
        self.snapshot(|view| view.surroundings(key))
    }

    async fn count(&self, key: &SequenceKey) -> Result<u64> {
        self.snapshot(|view| view.count(key))
    }

    async fn indexes(&self, key: &SequenceKey) -> Result<Vec<i32>> {
        self.snapshot(|view| view.indexes(key))
    }

    async fn slice(&self, key: &SequenceKey, slice: Slice) -> Result<Vec<Item>> {
        self.snapshot(|view| view.slice(key, slice))
    }

    async fn page(&self, key: &SequenceKey, after: Option<i32>, limit: u32) -> Result<Vec<Item>> {
        self.snapshot(|view| view.page(key, after, limit))
    }

    async fn list(&self, filter: &Filter, after: Option<&XComKey>, limit: u32) -> Result<Page<EntryInfo>> {
        self.snapshot(|view| view.list(filter, after, limit))
    }

    async fn history(&self, key: &XComKey, limit: u32) -> Result<Vec<PastEntry>> {
        self.snapshot(|view| view.history(key, limit))
    }

    async fn past(&self, key: &XComKey, version: Version) -> Result<Option<Entry>> {
        self.snapshot(|view| view.past(key, version))
    }

    async fn clear(&self, caller: &Caller, scope: &Scope, at: Timestamp) -> Result<u64> {
        let (caller, scope) = (caller.clone(), scope.clone());
        self.write(move |t| t.clear(&caller, &scope, at)).await
    }

    async fn delete(&self, scope: &Scope, at: Timestamp) -> Result<u64> {
        let scope = scope.clone();
        self.write(move |t| t.delete(&scope, at)).await
    }

    async fn note_reads(&self, reads: &[Reads]) -> Result<()> {
        let reads = reads.to_vec();
        self.write_sized(reads.len() * ROW_BYTES, move |t| t.note_reads(&reads, |ti, by| t.number_of(ti, by)))
            .await
    }

    async fn readers(&self, key: &XComKey) -> Result<Vec<LedgerRow>> {
        self.snapshot(|view| view.readers(key))
    }

    async fn reads_of(&self, ti: &TaskInstanceKey) -> Result<Vec<LedgerRow>> {
        self.snapshot(|view| view.reads_of(ti))
    }

    async fn pushed_by(&self, ti: &TaskInstanceKey, number: u32) -> Result<Vec<EntryInfo>> {
        self.snapshot(|view| view.pushed_by(ti, number))
    }

    async fn note_refusals(&self, refusals: &[RefusalCount]) -> Result<()> {
        let refusals = refusals.to_vec();
        self.write(move |t| t.note_refusals(&refusals)).await
    }

    async fn refusals(&self, limit: u32) -> Result<Vec<RefusalCount>> {
        self.read(|view| view.refusals(limit))
    }

    async fn variable(&self, key: &str) -> Result<Option<Variable>> {
        self.read(|view| view.variable(key))
    }

    async fn write_variable(&self, caller: &Caller, write: &VariableWrite) -> Result<Option<Variable>> {
        let (caller, write) = (caller.clone(), write.clone());
        self.write_few(move |t| t.write_variable(&caller, &write)).await
    }

    async fn delete_variable(&self, caller: &Caller, key: &str) -> Result<bool> {
        let (caller, key) = (caller.clone(), key.to_owned());
        self.write_few(move |t| t.delete_variable(&caller, &key)).await
    }

    async fn variables(&self, prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<Variable>> {
        self.read(|view| view.variables(prefix, after, limit))
    }

    async fn note_asset_events(
        &self,
        attempt: &Attempt,
        events: &[NewAssetEvent],
        at: Timestamp,
    ) -> Result<()> {
        let (attempt, events) = (attempt.clone(), events.to_vec());
        self.write(move |t| t.note_asset_events(&attempt, &events, at)).await
    }

    async fn assets(&self, named: &AssetNamed, limit: u32) -> Result<Vec<Asset>> {
        self.read(|view| view.assets(named, limit))
    }

    async fn asset_events(&self, filter: &AssetEventFilter, limit: u32) -> Result<Vec<AssetEvent>> {
        self.read(|view| view.asset_events(filter, limit))
    }

    async fn note_dag_version(
        &self,
        dag_id: &str,
        version: &str,
        document: &Value,
        at: Timestamp,
    ) -> Result<()> {
        let (dag_id, version, document) = (dag_id.to_owned(), version.to_owned(), document.clone());
        self.write(move |t| t.note_dag_version(&dag_id, &version, &document, at)).await
    }

    async fn dag_versions(&self, dag_id: &str, limit: u32) -> Result<Vec<DagVersion>> {
        self.snapshot(|view| view.dag_versions(dag_id, limit))
    }

    async fn dag_version(&self, dag_id: &str, version: &str) -> Result<Option<DagVersion>> {
        self.snapshot(|view| view.dag_version(dag_id, version))
    }

    async fn note_intent(&self, object: &LooseObject) -> Result<Pushed> {
        let object = object.clone();
        self.write_few(move |t| t.note_intent(&object)).await
    }

    async fn note_move(&self, found: &Kept, store: &str, at: Timestamp) -> Result<bool> {
        let (found, store) = (found.clone(), store.to_owned());
        self.write(move |t| t.note_move(&found, &store, at)).await
    }

    async fn move_stored(&self, found: &Kept, to: &Stored, at: Timestamp) -> Result<bool> {
        let dictionary = self.dictionary(&found.key.ti.dag_id, found.secret, to);
        let packed = kept::Moved::of(to, found.secret, dictionary.as_deref());
        let found = found.clone();
        self.write(move |t| t.move_stored(&found, &packed, at)).await
    }

    async fn intents(&self) -> Result<Vec<LooseObject>> {
        self.snapshot(|view| view.intents())
    }

    async fn claim_loose(&self, before: Timestamp, at: Timestamp, limit: u32) -> Result<Vec<LooseObject>> {
        self.write(move |t| t.claim_loose(before, at, limit)).await
    }

    async fn forget_loose(&self, objects: &[LooseObject]) -> Result<()> {
        let objects = objects.to_vec();
        self.write(move |t| t.forget_loose(&objects)).await
    }

    async fn release_loose(&self, objects: &[LooseObject]) -> Result<()> {
        let objects = objects.to_vec();
        self.write(move |t| t.release_loose(&objects)).await
    }

    async fn knows_object(&self, store: &str, object: &ObjectName, version: Version) -> Result<bool> {
        self.snapshot(|view| view.knows_object(store, object, version))
    }

    async fn claim_orphan(&self, object: &LooseObject) -> Result<bool> {
        let object = object.clone();
        self.write(move |t| t.claim_orphan(&object)).await
    }

    async fn kept(&self, dag_id: Option<&str>, after: Option<Place>, limit: u32) -> Result<Scan<Kept>> {
        self.snapshot(|view| view.kept("", dag_id, after, limit))
    }

    async fn due(
        &self,
        rules: &[Rule],
        dag_id: Option<&str>,
        after: Option<Place>,
        limit: u32,
    ) -> Result<Scan<Due>> {
        self.snapshot(|view| view.due(&expiry::OWN, rules, dag_id, after, limit))
    }

    async fn expire(&self, rules: &[Rule], due: &[Due], at: Timestamp) -> Result<Removed> {
        let (rules, due) = (rules.to_vec(), due.to_vec());
        self.write(move |t| t.expire(&expiry::OWN, &rules, &due, at)).await
    }

    async fn take_turn(&self, name: &str, at: Timestamp, every: Duration) -> Result<bool> {
        let name = name.to_owned();
        self.write_few(move |t| t.take_turn(&name, at, every)).await
    }

    async fn retain(&self, cutoffs: &Cutoffs) -> Result<Removed> {
        // Every step of upkeep comes by here, so dictionaries that other processes trained are found in time.
        self.dictionaries.forget_newest();
        let cutoffs = cutoffs.clone();
        self.write(move |t| t.retain(&cutoffs)).await
    }

    async fn train_dictionary(&self, dag_id: &str, at: Timestamp) -> Result<Training> {
        let samples = self.snapshot(|view| view.samples(dag_id))?;
        let (found, needed) = (samples.len() as u64, u64::from(*SAMPLES.start()));
        if found < needed {
            return Ok(Training::TooFew { found, needed });
        }
        let (trained, gain) = dictionary::trained(samples).await?;
        let Some(bytes) = trained.filter(|_| gain.percent() >= Gain::LEAST) else {
            return Ok(Training::NotWorth(gain));
        };
        let dag_id = dag_id.to_owned();
        let kept = self.write(move |t| t.add_dictionary(&dag_id, &bytes, gain, at)).await?;
        self.dictionaries.forget_newest();
        Ok(Training::Kept(kept))
    }

    async fn dictionaries(&self, dag_id: Option<&str>) -> Result<Vec<Dictionary>> {
        self.snapshot(|view| view.dictionaries(dag_id))
    }

    async fn without_dictionary(&self) -> Result<Vec<Arc<str>>> {
        self.read(|view| view.without_dictionary())
    }

    async fn mark(&self, name: &str) -> Result<Option<String>> {
        self.read(|view| view.mark(name))
    }

    async fn set_mark(&self, name: &str, value: &str) -> Result<String> {
        let (name, value) = (name.to_owned(), value.to_owned());
        self.write_few(move |t| t.set_mark(&name, &value)).await
    }

    async fn marks(&self, prefix: &str) -> Result<Vec<(String, String)>> {
        self.read(|view| view.marks(prefix))
    }

    async fn places(&self) -> Result<Vec<Occupied>> {
        self.read(|view| view.places())
    }

    async fn usage(&self, dag_id: &str, run_id: Option<&str>) -> Result<Usage> {
        self.read(|view| view.usage(dag_id, run_id))
    }

    async fn check(&self) -> Result<String> {
        self.mark("").await?;
        Ok(self.to_string())
    }

    async fn health(&self) -> Result<Health> {
        self.snapshot(|view| view.health(self.to_string(), schema::VERSION))
    }
}
