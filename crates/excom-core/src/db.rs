//! The contract of metadata databases: entries, attempts, history and the ledger.
//!
//! Each method is atomic: it happens as a whole or not at all, also when the process dies in the
//! middle. Rules that need an atomic check (the fence, the idempotency token, the intent) are part of
//! the writing method itself. Everything else, such as access and limits, is the engine's.

mod kept;
mod ledger;
mod refusals;
mod retention;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;

use crate::asset::{Asset, AssetEvent, AssetEventFilter, AssetNamed, NewAssetEvent};
use crate::attempt::{Attempt, AttemptInfo, Caller, TaskInstanceInfo, TaskState};
use crate::dictionary::{Dictionary, Training};
use crate::entry::{Entry, EntryInfo, PastEntry, Stored, Version};
use crate::json::Shape;
pub use crate::run::{DagRun, DagVersion, RunFilter, RunInfo, RunState};
use crate::seal::SealKeys;
use crate::value::{ContentHash, Value};
pub use crate::variable::{NewVariable, Variable, VariableWrite};
pub use kept::{Kept, LooseObject, Outside, Place, Scan};
pub use ledger::{LedgerRow, ReadTarget, Reads, RefusalCount};
pub use refusals::{
    assets_elsewhere, being_removed, intent_gone, key_gone, not_started, superseded, version_taken,
};
pub use retention::{Cutoffs, Due, Expires, Removed, Rule};

use crate::{Error, ErrorKind, ObjectName, Result, SequenceKey, Slice, TaskInstanceKey, XComKey};

/// A push, checked and stored, to be made the entry.
#[derive(Debug, Clone)]
pub struct Push {
    /// Which XCom.
    pub key: XComKey,
    /// The new version, which is also the idempotency token.
    pub version: Version,
    /// Who pushes. An attempt is fenced.
    pub caller: Caller,
    /// Size of the stored JSON text in bytes.
    pub size: u64,
    /// Checksum of the stored JSON text.
    pub hash: ContentHash,
    /// What kind of value it is.
    pub shape: Shape,
    /// Whether it is a secret: then the stored JSON text is its envelope, of which no list may show anything.
    pub secret: bool,
    /// Whether it is what its DAG returns (Airflow's `dag_result`), which the entry then is until it is replaced or gone. Such
    /// a push is made by itself, never with the end of its attempt.
    pub result: bool,
    /// The beginning of an offloaded value's text; an inline value brings its own, and a secret has none.
    pub preview: String,
    /// The bytes, or where they are.
    pub stored: Stored,
    /// When it happens.
    pub at: Timestamp,
}

impl Push {
    /// The key that encrypts a secret whose bytes are in the database: one that is [retired](retired_key) refuses the
    /// push. Whatever is offloaded has an intent, which retiring waits for.
    pub fn encrypted_with(&self) -> Option<String> {
        match &self.stored {
            Stored::Inline(envelope) if self.secret => SealKeys::key_of_secret(envelope),
            _ => None,
        }
    }
}

/// A connection as a row of Airflow's table has it, with what is encrypted there in the clear. Its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredConnection {
    /// What kind of service it leads to.
    pub conn_type: String,
    /// Where that is.
    pub host: Option<String>,
    /// A part of it, such as a database.
    pub schema: Option<String>,
    /// As whom.
    pub login: Option<String>,
    /// With what.
    pub password: Option<String>,
    /// On which port.
    pub port: Option<i64>,
    /// A JSON object with whatever else there is to know.
    pub extra: Option<String>,
}

impl fmt::Debug for StoredConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoredConnection(…)")
    }
}

/// What became of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It is the entry now.
    Written,
    /// The same version was pushed before; nothing changed.
    Already,
}

/// How an attempt starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartMode {
    /// A new try: the task instance's XComs are cleared first.
    Fresh,
    /// The same attempt goes on after a deferral or a poke: nothing is cleared.
    Resume,
}

/// What starting an attempt did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    /// The attempt's place among the task instance's attempts, from 1.
    pub number: u32,
    /// How many XComs were cleared.
    pub cleared: u64,
}

/// What is kept about a task instance beside its XComs and its states, under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Its name, one for a task instance.
    pub name: Arc<str>,
    /// The place of the attempt that wrote it among the task instance's attempts, from 1.
    pub number: u32,
    /// What was written.
    pub value: Value,
}

/// The name of the note of what the fields of a task's operator were rendered to. It may hold what was pulled, so a
/// delete of the task instance's XComs takes it away too.
pub const RENDERED: &str = "rendered";

/// What is removed or cleared together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// One XCom.
    Key(XComKey),
    /// All XComs of one task instance (one map index).
    TaskInstance(TaskInstanceKey),
}

impl Scope {
    /// The task instance that it concerns.
    pub fn ti(&self) -> &TaskInstanceKey {
        match self {
            Self::Key(key) => &key.ti,
            Self::TaskInstance(ti) => ti,
        }
    }
}

/// An element of a sequence: an entry at its real map index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The map index, which identifies the element.
    pub map_index: i32,
    /// The entry.
    pub entry: Entry,
}

/// All that is known about a task when the whole of it is pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Produced {
    /// Not mapped: its one entry, if there is one.
    Single(Option<Entry>),
    /// Mapped: the entries in order of map index, and how many task instances it has.
    Mapped {
        /// The entries that exist, without those of removed task instances.
        items: Vec<Item>,
        /// One more than the highest map index of a task instance that was not removed.
        length: u64,
    },
}

/// Which entries a list shows. Absent parts match everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Exact DAG id.
    pub dag_id: Option<Arc<str>>,
    /// Exact run id.
    pub run_id: Option<Arc<str>>,
    /// Exact task id.
    pub task_id: Option<Arc<str>>,
    /// Exact map index.
    pub map_index: Option<i32>,
    /// Exact key.
    pub key: Option<Arc<str>>,
}

/// A page of a list, in order of DAG, run, task, map index and key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where the next page begins behind; none at the end.
    pub next: Option<XComKey>,
}

/// What the metadata database knows around an XCom that has no entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Surroundings {
    /// Its task instance.
    pub ti: Option<TaskInstanceInfo>,
    /// The last version that ended.
    pub last: Option<PastEntry>,
    /// Keys of the same task instance.
    pub keys: Vec<Arc<str>>,
    /// Map indexes of the same task that have the key.
    pub map_indexes: Vec<i32>,
    /// Tasks of the same run with the keys that each pushed.
    pub tasks: Vec<(Arc<str>, Vec<Arc<str>>)>,
    /// Runs of the same DAG that hold entries, newest first; empty when the run is known.
    pub runs: Vec<Arc<str>>,
    /// DAGs that hold entries; empty when the DAG is known.
    pub dags: Vec<Arc<str>>,
}

/// How much there is in one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Occupied {
    /// The store's id; none for the metadata database itself.
    pub store: Option<Arc<str>>,
    /// Entries whose values are there.
    pub entries: u64,
    /// Bytes of these values' JSON text.
    pub bytes: u64,
}

/// How much the values of a run, or of a DAG, have together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Usage {
    /// Its entries.
    pub entries: u64,
    /// Bytes of these values' JSON text, wherever they are; of secrets, those of what is stored for them.
    pub bytes: u64,
}

/// How a metadata database is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Kind and place, safe to show.
    pub identity: String,
    /// The schema's version.
    pub schema: u32,
    /// Entries, as far as they can be counted quickly.
    pub entries: u64,
    /// Bytes of all its files or tables.
    pub bytes: u64,
    /// What is wrong, if anything.
    pub problems: Vec<String>,
}

/// Where entries, attempts, history and the ledger live: SQLite, PostgreSQL, MySQL, memory.
///
/// Every implementation passes [`conformance`](crate::conformance) (feature `conformance`).
#[async_trait]
pub trait MetadataDb: Send + Sync + fmt::Debug + fmt::Display {
    // ---- runs, task instances, attempts

    /// Makes a run known, or updates its dates; parameters and version stay where none are given. Its
    /// state stays as it is.
    async fn register_run(&self, run: &DagRun) -> Result<()>;

    /// Registers a run and sets it running. One that was started before keeps that time and goes on.
    async fn start_run(&self, run: &DagRun, at: Timestamp) -> Result<()>;

    /// The same for a run that has not been started yet: of two at once one starts it, and what that one said of it
    /// stays. `false` when it was started before, perhaps by this very call, whose answer was lost on its way from a server;
    /// then nothing changes.
    async fn begin_run(&self, run: &DagRun, at: Timestamp) -> Result<bool>;

    /// Tells how a run stands or ended. One that is not known becomes known.
    async fn set_run_state(&self, dag_id: &str, run_id: &str, state: RunState, at: Timestamp) -> Result<()>;

    /// A run, and how it stands.
    async fn run_info(&self, dag_id: &str, run_id: &str) -> Result<Option<RunInfo>>;

    /// Runs by [`DagRun::order`], newest first, only those before the one given, at most so many.
    async fn runs(&self, filter: &RunFilter, before: Option<&DagRun>, limit: u32) -> Result<Vec<RunInfo>>;

    /// The newest run of the same DAG before the one given by [`DagRun::order`] that ended well.
    async fn last_success(&self, before: &DagRun) -> Result<Option<RunInfo>> {
        let filter = RunFilter { dag_id: Some(before.dag_id.clone()), state: Some(RunState::Success) };
        Ok(self.runs(&filter, Some(before), 1).await?.pop())
    }

    /// Task instances of a run behind the one given by task and map index, at most so many. Those of a
    /// task are together, in order of map index; the order of tasks is the database's own.
    async fn task_instances(
        &self,
        dag_id: &str,
        run_id: &str,
        after: Option<(&str, i32)>,
        limit: u32,
    ) -> Result<Vec<TaskInstanceInfo>>;

    /// Sets states of task instances outside any attempt: scheduled, skipped, removed. Runs that are
    /// not known become known.
    async fn set_states(&self, states: &[(TaskInstanceKey, TaskState)], at: Timestamp) -> Result<()>;

    /// Sets task instances skipped, but for those that have begun: they run, have ended well or failed.
    async fn skip(&self, instances: &[TaskInstanceKey], at: Timestamp) -> Result<()>;

    /// A task instance.
    async fn task_instance(&self, ti: &TaskInstanceKey) -> Result<Option<TaskInstanceInfo>>;

    /// All attempts of a task instance, oldest first.
    async fn attempts(&self, ti: &TaskInstanceKey) -> Result<Vec<AttemptInfo>>;

    /// Starts an attempt. It supersedes the one before, from now on and for good; a fresh one clears
    /// the task instance's XComs in the same step. Starting the current attempt again changes nothing
    /// but the state, and not even that when it has ended: the call may be a repetition that comes late.
    ///
    /// # Errors
    /// [`ErrorKind::Superseded`] when a later attempt has started; [`ErrorKind::NotStarted`] when an
    /// attempt resumes that never started.
    async fn start_attempt(
        &self,
        attempt: &Attempt,
        try_number: u32,
        mode: StartMode,
        at: Timestamp,
    ) -> Result<Started>;

    /// Tells how an attempt stands or ended. It may write until another starts.
    ///
    /// # Errors
    /// [`ErrorKind::Superseded`], [`ErrorKind::NotStarted`].
    async fn set_attempt_state(&self, attempt: &Attempt, state: TaskState, at: Timestamp) -> Result<()>;

    /// Makes pushes of an attempt the entries, each as [`MetadataDb::push`] does, and tells how the
    /// attempt ended: all of it or nothing.
    ///
    /// # Errors
    /// As [`MetadataDb::push`]; [`ErrorKind::Exists`] when a version was pushed before, so a repetition
    /// changes nothing.
    async fn finish_attempt(
        &self,
        attempt: &Attempt,
        state: TaskState,
        pushes: &[Push],
        at: Timestamp,
    ) -> Result<()>;

    /// Writes an attempt's note in place of the one of that name, whichever attempt wrote that; or removes it.
    ///
    /// # Errors
    /// [`ErrorKind::Superseded`], [`ErrorKind::NotStarted`].
    async fn note(&self, attempt: &Attempt, name: &str, value: Option<&Value>, at: Timestamp) -> Result<()>;

    /// Writes an attempt's note unless this very attempt has one of that name, and returns the one that is there then:
    /// of several that do so at once one is the first.
    ///
    /// # Errors
    /// [`ErrorKind::Superseded`], [`ErrorKind::NotStarted`].
    async fn note_once(&self, attempt: &Attempt, name: &str, value: &Value, at: Timestamp) -> Result<Value>;

    /// The notes of a task instance whose names begin with a prefix, in order of their names, at most so many. One whose
    /// name is the prefix is the first.
    async fn notes(&self, ti: &TaskInstanceKey, prefix: &str, limit: u32) -> Result<Vec<Note>>;

    // ---- entries

    /// Makes a push the entry, and the entry before it history, unless the caller's attempt is
    /// superseded. An offloaded push takes its intent away in the same step.
    ///
    /// # Errors
    /// [`ErrorKind::Superseded`], [`ErrorKind::NotStarted`]; [`ErrorKind::Unavailable`] when the
    /// intent of an offloaded push is gone, because it was taken for abandoned.
    async fn push(&self, push: &Push) -> Result<Pushed>;

    /// The entries of XComs, in the order asked.
    async fn entries(&self, keys: &[XComKey]) -> Result<Vec<Option<Entry>>>;

    /// Everything that tasks produced under a key, in the order asked.
    async fn produced(&self, keys: &[SequenceKey]) -> Result<Vec<Produced>>;

    /// The newest run, up to and including the one named by date, in which the task has the key (at
    /// the map index, or at any).
    async fn prior_run(&self, key: &SequenceKey, map_index: Option<i32>) -> Result<Option<Arc<str>>>;

    /// What is known around an XCom without an entry.
    async fn surroundings(&self, key: &XComKey) -> Result<Surroundings>;

    /// The number of elements of a sequence.
    async fn count(&self, key: &SequenceKey) -> Result<u64>;

    /// The map indexes at which a sequence has elements, in order.
    async fn indexes(&self, key: &SequenceKey) -> Result<Vec<i32>>;

    /// The elements at the positions of a slice, in the slice's order.
    async fn slice(&self, key: &SequenceKey, slice: Slice) -> Result<Vec<Item>>;

    /// The elements behind a map index, in order, at most so many.
    async fn page(&self, key: &SequenceKey, after: Option<i32>, limit: u32) -> Result<Vec<Item>>;

    /// The tasks of a run whose returned values are what the DAG returns ([`Push::result`]), in the order of their names.
    async fn results(&self, dag_id: &str, run_id: &str) -> Result<Vec<Arc<str>>>;

    /// Entries without their values.
    async fn list(&self, filter: &Filter, after: Option<&XComKey>, limit: u32) -> Result<Page<EntryInfo>>;

    /// Earlier versions, newest first, at most so many.
    async fn history(&self, key: &XComKey, limit: u32) -> Result<Vec<PastEntry>>;

    /// What an earlier version stored, while its bytes are kept.
    async fn past(&self, key: &XComKey, version: Version) -> Result<Option<Entry>>;

    /// Moves entries to the history; the caller's attempt is fenced. Returns how many.
    ///
    /// # Errors
    /// [`ErrorKind::Superseded`], [`ErrorKind::NotStarted`].
    async fn clear(&self, caller: &Caller, scope: &Scope, at: Timestamp) -> Result<u64>;

    /// Removes entries, their history and their reads; of a whole task instance the [`RENDERED`] note too.
    /// Offloaded bytes become loose objects that may go at once. Returns how many entries and versions
    /// there were.
    async fn delete(&self, scope: &Scope, at: Timestamp) -> Result<u64>;

    // ---- the ledger

    /// Adds reads to the ledger.
    async fn note_reads(&self, reads: &[Reads]) -> Result<()>;

    /// Ledger rows of an XCom's versions and of the sequence it is part of, oldest first.
    async fn readers(&self, key: &XComKey) -> Result<Vec<LedgerRow>>;

    /// Ledger rows of what the attempts of a task instance read, oldest first.
    async fn reads_of(&self, ti: &TaskInstanceKey) -> Result<Vec<LedgerRow>>;

    /// What an attempt pushed under keys of its own task instance, also versions that ended; oldest first.
    async fn pushed_by(&self, ti: &TaskInstanceKey, number: u32) -> Result<Vec<EntryInfo>>;

    /// Adds to the counts of what would be refused.
    async fn note_refusals(&self, refusals: &[RefusalCount]) -> Result<()>;

    /// Counts of what would be refused, the most recent first, at most so many.
    async fn refusals(&self, limit: u32) -> Result<Vec<RefusalCount>>;

    // ---- variables and DAG versions

    /// A variable; without its text where that is encrypted and no key opens it.
    async fn variable(&self, key: &str) -> Result<Option<Variable>>;

    /// Writes a variable; what it is from then on, or none when it was not written because there is one, or none. An attempt
    /// is fenced.
    ///
    /// # Errors
    /// [`ErrorKind::Superseded`], [`ErrorKind::NotStarted`].
    async fn write_variable(&self, caller: &Caller, write: &VariableWrite) -> Result<Option<Variable>>;

    /// Deletes a variable; tells whether there was one. An attempt is fenced.
    ///
    /// # Errors
    /// [`ErrorKind::Superseded`], [`ErrorKind::NotStarted`].
    async fn delete_variable(&self, caller: &Caller, key: &str) -> Result<bool>;

    /// Variables whose keys begin with a prefix, in order of their keys (by their bytes), only those
    /// behind the key given, at most so many.
    async fn variables(&self, prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<Variable>>;

    /// Keeps a version of a DAG; the one that is known already stays as it is.
    async fn note_dag_version(
        &self,
        dag_id: &str,
        version: &str,
        document: &Value,
        at: Timestamp,
    ) -> Result<()>;

    /// Versions of a DAG, newest first, at most so many.
    async fn dag_versions(&self, dag_id: &str, limit: u32) -> Result<Vec<DagVersion>>;

    /// A version of a DAG.
    async fn dag_version(&self, dag_id: &str, version: &str) -> Result<Option<DagVersion>>;

    // ---- stored bytes and retention

    /// Notes that an object is about to be written; or tells that the version was pushed before, and
    /// then notes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] while an object of that version is claimed for removal.
    async fn note_intent(&self, object: &LooseObject) -> Result<Pushed>;

    /// Notes that an object is about to be written, in another store, for a version that still is what was found.
    /// `false` when it is something else by now, is in that store, or something of it is loose already; then nothing
    /// is noted. So what an intent is of is never in use.
    async fn note_move(&self, found: &Kept, store: &str, at: Timestamp) -> Result<bool>;

    /// Puts a version's bytes where they were moved to, in one step, while it still is what was found. An object
    /// that is left becomes loose and may go at once; one that was written needs its intent, and takes it away.
    /// What stays in its store, and on its side, is only sealed anew. `false` when it is something else by now, the
    /// intent is gone, or the key that seals it is [retired](retired_key); then nothing changes.
    async fn move_stored(&self, found: &Kept, to: &Stored, at: Timestamp) -> Result<bool>;

    /// Objects that are about to be written, by pushes and moves that are under way or were interrupted.
    async fn intents(&self) -> Result<Vec<LooseObject>>;

    /// Takes over loose objects for removal, at most so many: those to be purged that nobody has taken over, and what
    /// was begun before a moment. That is intents, whose pushes can then no longer succeed, and removals.
    ///
    /// Each is told with the time of the claim. Until it is forgotten its version can neither be pushed nor moved, so
    /// one that is removed by two, of whom one has forgotten it, could be a new object under the same name.
    async fn claim_loose(&self, before: Timestamp, at: Timestamp, limit: u32) -> Result<Vec<LooseObject>>;

    /// Forgets loose objects that are gone from their stores, as far as they are still claimed as they are told.
    async fn forget_loose(&self, objects: &[LooseObject]) -> Result<()>;

    /// Lets whoever comes remove loose objects, as far as they are still claimed as they are told.
    async fn release_loose(&self, objects: &[LooseObject]) -> Result<()>;

    /// Whether an entry, the history or a loose object knows an object of a store; for finding orphans.
    async fn knows_object(&self, store: &str, object: &ObjectName, version: Version) -> Result<bool>;

    /// Takes over an orphan for removal, as a loose object that may go at once; `false` when it is known after
    /// all, and then nothing changes. From then on no push can take its version.
    async fn claim_orphan(&self, object: &LooseObject) -> Result<bool>;

    /// Versions whose bytes are kept, those that are entries first, at most so many. One that ends during the
    /// look comes again; of each that stays as it is, none is left out.
    async fn kept(&self, dag_id: Option<&str>, after: Option<Place>, limit: u32) -> Result<Scan<Kept>>;

    /// Entries that rules catch, among the next so many in the order in which they were made. Changes nothing.
    async fn due(
        &self,
        rules: &[Rule],
        dag_id: Option<&str>,
        after: Option<Place>,
        limit: u32,
    ) -> Result<Scan<Due>>;

    /// Makes entries expired that the same rules still catch: history without bytes, which names the rule.
    async fn expire(&self, rules: &[Rule], due: &[Due], at: Timestamp) -> Result<Removed>;

    /// Makes entries expired that rules catch among the next so many: [`due`](Self::due) and [`expire`](Self::expire),
    /// which a database may do in one step. Returns where to go on.
    async fn expire_next(
        &self,
        rules: &[Rule],
        dag_id: Option<&str>,
        after: Option<Place>,
        limit: u32,
        at: Timestamp,
    ) -> Result<(Removed, Option<Place>)> {
        let page = self.due(rules, dag_id, after, limit).await?;
        let removed = match &page.items[..] {
            [] => Removed::default(),
            due => self.expire(rules, due, at).await?,
        };
        Ok((removed, page.next))
    }

    /// Whether the tables are Airflow's, which alone makes its runs and task instances and knows of its DAGs.
    fn is_airflows(&self) -> bool {
        false
    }

    /// Whether something else writes in the same tables, as Airflow does in its own database, and rules may catch that
    /// ([`Rule::outside`]), and [`outside`](Self::outside) finds it.
    fn is_shared(&self) -> bool {
        false
    }

    /// What something else wrote, among the next rows: so many, and some more where that is simpler.
    async fn outside(
        &self,
        _dag_id: Option<&str>,
        _after: Option<Place>,
        _limit: u32,
    ) -> Result<Scan<Outside>> {
        Ok(Scan { items: Vec::new(), next: None })
    }

    /// Makes Excom's own what something else wrote, as the version that it is, where it is: from then on it is kept, moves
    /// and expires as if Excom had written it. None when it is another version by now, or a reference.
    async fn adopt(&self, _found: &Outside, _at: Timestamp) -> Result<Option<Kept>> {
        Ok(None)
    }

    /// Whether so long has passed since the last turn of a name; then this is one. Of several processes one gets
    /// it.
    async fn take_turn(&self, name: &str, at: Timestamp, every: Duration) -> Result<bool>;

    /// One step of retention, of everything but entries.
    async fn retain(&self, cutoffs: &Cutoffs) -> Result<Removed>;

    // ---- what else Airflow keeps in its own database; one of Excom's own leaves these as they are

    /// The connection that Airflow keeps under an id and that belongs to no team. Without what Airflow encrypts with there
    /// is none.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] where something in it is encrypted, and no key opens it.
    async fn connection(&self, _id: &str) -> Result<Option<StoredConnection>> {
        Ok(None)
    }

    // ---- assets; where the tables are Airflow's these stay as they are, because its scheduler would not hear of events

    /// Notes the events that an attempt made, unless some of this attempt are noted already. Assets that are not known become
    /// known.
    ///
    /// # Errors
    /// [`ErrorKind::Superseded`], [`ErrorKind::NotStarted`]; [`ErrorKind::InvalidRequest`] where Airflow keeps them.
    async fn note_asset_events(
        &self,
        _attempt: &Attempt,
        _events: &[NewAssetEvent],
        _at: Timestamp,
    ) -> Result<()> {
        Err(assets_elsewhere(self))
    }

    /// Assets that are known, at most so many: of an alias in the order of their names, of anything else those with the
    /// newest event first.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] where Airflow keeps them.
    async fn assets(&self, _named: &AssetNamed, _limit: u32) -> Result<Vec<Asset>> {
        Err(assets_elsewhere(self))
    }

    /// Events in the order of their time, at most so many.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] where Airflow keeps them.
    async fn asset_events(&self, _filter: &AssetEventFilter, _limit: u32) -> Result<Vec<AssetEvent>> {
        Err(assets_elsewhere(self))
    }

    // ---- dictionaries; a database that has none leaves these as they are

    /// Trains a dictionary on the newest small values of a DAG that are in the database, never on secrets, and keeps
    /// it when it saves enough. From then on small values of the DAG are compressed with it, where that makes them
    /// shorter. Several processes may do so; the newest counts.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] by a database that has no dictionaries.
    async fn train_dictionary(&self, _dag_id: &str, _at: Timestamp) -> Result<Training> {
        Err(Error::new(ErrorKind::InvalidRequest, format!("{self} has no dictionaries")))
    }

    /// The dictionaries of a DAG, or all, in order of their numbers.
    async fn dictionaries(&self, _dag_id: Option<&str>) -> Result<Vec<Dictionary>> {
        Ok(Vec::new())
    }

    /// DAGs without a dictionary that have pushed enough small values lately to train one.
    async fn without_dictionary(&self) -> Result<Vec<Arc<str>>> {
        Ok(Vec::new())
    }

    // ---- the database itself

    /// A remembered setting, such as the fingerprint of the seal key.
    async fn mark(&self, name: &str) -> Result<Option<String>>;

    /// Remembers a setting unless it is there, and returns the one that is there then.
    async fn set_mark(&self, name: &str, value: &str) -> Result<String>;

    /// The remembered settings whose names begin with a prefix, in order of their names.
    async fn marks(&self, prefix: &str) -> Result<Vec<(String, String)>>;

    /// Where the values of all entries are, the metadata database first. It looks at every entry.
    async fn places(&self) -> Result<Vec<Occupied>>;

    /// How much the entries of a run have together, or of all runs of a DAG; nothing where there are none. It looks at
    /// each of them, on the index that finds entries by their keys.
    async fn usage(&self, dag_id: &str, run_id: Option<&str>) -> Result<Usage>;

    /// Whether it can be used, and which one it is. It is asked for little: what lies in it is not looked at.
    ///
    /// # Errors
    /// The reason why it cannot be used.
    async fn check(&self) -> Result<String>;

    /// How it is. It looks at all that lies in it.
    ///
    /// # Errors
    /// As [`MetadataDb::check`], and when it is so damaged that it cannot be looked at.
    async fn health(&self) -> Result<Health>;
}

/// The mark of a key that is to seal nothing any more. Whoever seals looks for it after noting an intent.
pub fn retired_key(id: &str) -> String {
    format!("{RETIRED_KEYS}{id}")
}

/// What the names of marks of retired keys begin with; their ids are behind it.
pub const RETIRED_KEYS: &str = "retired_key/";

/// How a clear by a caller is told in the history.
pub fn cleared_by(caller: &Caller, ti: &TaskInstanceKey, new_try: Option<u32>) -> String {
    match (caller, new_try) {
        (_, Some(number)) => format!("the start of try {number}"),
        (Caller::Attempt(attempt), None) if attempt.ti == *ti => "its own task".to_owned(),
        (caller, None) => caller.to_string(),
    }
}
