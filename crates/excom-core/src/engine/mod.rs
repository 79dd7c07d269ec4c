//! The engine: every rule of push, pull, clear, delete and retention, once.
//!
//! Doors (a task, an HTTP route, a command) only translate. The engine spawns nothing; background work
//! is [`Engine::maintain`], a future that the host drives.

mod access;
mod assets;
mod backends;
mod credential;
mod declared;
mod dictionaries;
mod disguise;
mod footprint;
mod garbage;
mod instances;
mod ledger;
mod local;
mod migrate;
mod notes;
mod offload;
mod pending;
mod pull;
mod push;
mod quota;
mod refusals;
mod retention;
mod secret;
mod sequence;
mod trace;
mod variables;
mod watch;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

pub use access::{Access, Exemption, Grant, Pattern, Reads, Writes};
pub use footprint::{Footprint, VersionRead};
pub use garbage::{Bereft, Looked, Orphan};
pub use instances::TaskInstances;
pub use ledger::Ledger;
pub use local::LocalChannel;
pub use migrate::Retiring;
pub use notes::Rendered;
pub use offload::Offload;
pub use pull::{Opened, TaskAnswer};
pub use push::Receipt;
pub use quota::Used;
pub use retention::{Pruning, Retention};
pub use secret::{KeyGlob, SECRET_LIMIT};
pub use trace::{Direction, Ended, Trace, TraceOptions, Traced, TracedVersion};
pub use variables::{VariableSet, VariableValue};
pub use watch::{Step, Waiting, Watch};

use self::backends::Backends;
use crate::attempt::{Attempt, AttemptInfo, Caller, TaskInstanceInfo, TaskState};
use crate::backend::{Database, XComBackend};
use crate::clock::Clock;
use crate::db::{DagRun, Filter, Health, LedgerRow, MetadataDb, Page, RunState, Scope, StartMode, Started};
use crate::entry::{EntryInfo, PastEntry};
use crate::seal::SealKeys;
use crate::{Error, Result, TaskInstanceKey, XComKey};

/// The hard limit of values in the metadata database, in bytes, unless set otherwise: 1 MiB.
pub const INLINE_HARD_LIMIT: u64 = 1 << 20;

/// Keys that Airflow's scheduler and pages read straight from the database, where they know no references:
/// what branches skip, whether the run before is over, and the links of operators.
pub const INLINE_KEYS: [&str; 3] = ["skipmixin_key", "past_depends_met", "_link_*"];

/// What the engine is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// A push over this many bytes is accepted, with a warning in its receipt.
    pub soft_limit: u64,
    /// A push over this many bytes is refused.
    pub hard_limit: u64,
    /// A push with which the values of its DAG run would have more bytes together than these is refused. `[xcom] quota_run`.
    pub quota_run: Option<u64>,
    /// The same of all runs of its DAG. `[xcom] quota_dag`.
    pub quota_dag: Option<u64>,
    /// Which values leave the database.
    pub offload: Offload,
    /// Keys whose values stay in the database with [`Offload::All`], because others read them there.
    pub inline_keys: Vec<Pattern>,
    /// Keys whose values are secrets, whoever pushes them.
    pub secret_keys: Vec<KeyGlob>,
    /// Who may read and write what.
    pub access: Access,
    /// How reads are noted.
    pub ledger: Ledger,
    /// How long things are kept.
    pub retention: Retention,
    /// An offloaded push that has not finished after this time counts as abandoned.
    pub abandoned_after: Duration,
    /// Whether upkeep trains dictionaries for DAGs with many small values. `[xcom] dictionaries`.
    pub dictionaries: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            soft_limit: 16 << 20,
            hard_limit: 1 << 30,
            quota_run: None,
            quota_dag: None,
            offload: Offload::default(),
            inline_keys: INLINE_KEYS.map(Pattern::new).to_vec(),
            secret_keys: Vec::new(),
            access: Access::default(),
            ledger: Ledger::default(),
            retention: Retention::default(),
            abandoned_after: Duration::from_secs(3600),
            dictionaries: true,
        }
    }
}

/// The XCom engine. Cheap to clone; clones are one engine.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    db: Arc<dyn MetadataDb>,
    backends: Backends,
    clock: Arc<dyn Clock>,
    keys: SealKeys,
    settings: Settings,
    overrides: BTreeMap<String, String>,
    reads: ledger::Buffer,
    refusals: refusals::Tally,
    declared: declared::Declared,
    quotas: quota::Quotas,
    /// When a step of pruning was done last.
    pruned: Mutex<Option<Timestamp>>,
    /// The last backend that could not be told of a clear.
    untold: Mutex<Option<Error>>,
    watcher: watch::Watcher,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Engine({} on {})", self.0.backends, self.0.db)
    }
}

/// Puts an engine together.
#[must_use]
pub struct Builder {
    db: Arc<dyn MetadataDb>,
    clock: Arc<dyn Clock>,
    backend: Option<Arc<dyn XComBackend>>,
    others: Vec<Arc<dyn XComBackend>>,
    elsewhere: Option<Arc<dyn XComBackend>>,
    keys: Option<SealKeys>,
    settings: Settings,
    overrides: BTreeMap<String, String>,
}

impl Builder {
    /// The backend; [`Database`] with [`INLINE_HARD_LIMIT`] unless told.
    pub fn backend(mut self, backend: Arc<dyn XComBackend>) -> Self {
        self.backend = Some(backend);
        self
    }

    /// One more backend that reads, and purges, what was stored with it before: after another was selected,
    /// values stay where they are until they are migrated.
    pub fn reading(mut self, backend: Arc<dyn XComBackend>) -> Self {
        self.others.push(backend);
        self
    }

    /// The backend that reads, and purges, what is in a store that none of the others has: another process may have
    /// begun to use one.
    pub fn elsewhere(mut self, backend: Arc<dyn XComBackend>) -> Self {
        self.elsewhere = Some(backend);
        self
    }

    /// The keys that seal what leaves the database, and secrets wherever they are. Without, a random key that
    /// lives as long as the engine does, which is right only for what need not outlive it.
    pub fn keys(mut self, keys: SealKeys) -> Self {
        self.keys = Some(keys);
        self
    }

    /// The settings.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// The environment's part of variables: `EXCOM_VAR_<KEY>` or `AIRFLOW_VAR_<KEY>`, the key in upper
    /// case, with the text that is read instead of what the database holds. Excom's name wins.
    pub fn variable_overrides(mut self, overrides: BTreeMap<String, String>) -> Self {
        self.overrides = overrides;
        self
    }

    /// The engine.
    pub fn build(self) -> Engine {
        let keys = self.keys.unwrap_or_else(|| {
            let mut secret = [0; 32];
            for part in secret.chunks_mut(8) {
                part.copy_from_slice(&self.clock.random().to_le_bytes());
            }
            SealKeys::new("ephemeral", secret)
        });
        Engine(Arc::new(Inner {
            backends: Backends::new(
                self.backend.unwrap_or_else(|| Arc::new(Database::new(INLINE_HARD_LIMIT))),
                self.others,
                self.elsewhere,
            ),
            reads: ledger::Buffer::new(),
            refusals: refusals::Tally::default(),
            declared: declared::Declared::default(),
            quotas: quota::Quotas::default(),
            pruned: Mutex::default(),
            untold: Mutex::default(),
            watcher: watch::Watcher::default(),
            db: self.db,
            clock: self.clock,
            keys,
            settings: self.settings,
            overrides: self.overrides,
        }))
    }
}

impl Engine {
    /// Puts an engine together over a metadata database.
    pub fn builder(db: Arc<dyn MetadataDb>, clock: Arc<dyn Clock>) -> Builder {
        Builder {
            db,
            clock,
            backend: None,
            others: Vec::new(),
            elsewhere: None,
            keys: None,
            settings: Settings::default(),
            overrides: BTreeMap::new(),
        }
    }

    /// The metadata database, for what needs no rule.
    pub fn db(&self) -> &Arc<dyn MetadataDb> {
        &self.0.db
    }

    /// The backend that stores new values.
    pub fn backend(&self) -> &Arc<dyn XComBackend> {
        self.0.backends.current()
    }

    /// All backends: the one that stores new values, and those that read what was stored before it.
    pub fn backends(&self) -> impl Iterator<Item = &Arc<dyn XComBackend>> {
        self.0.backends.all()
    }

    /// The keys that seal what is stored outside of the database.
    pub fn keys(&self) -> &SealKeys {
        &self.0.keys
    }

    /// The same engine with another backend for new values, and all else as it is. What was stored before is
    /// read where it is.
    ///
    /// A program that brings a backend of its own opens the engine as configured, and then does this. Clones
    /// that were made before keep the backend that they have.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use excom_core::{Engine, backend::Database, memory};
    ///
    /// let engine = Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new())).build();
    /// let mine = memory::Backend::new(Arc::new(memory::Store::new()), 1000);
    /// let engine = engine.with_backend(Arc::new(mine));
    /// let names: Vec<&str> = engine.backends().map(|backend| backend.name()).collect();
    /// assert_eq!(names, ["memory", "database"]);
    /// ```
    #[must_use]
    pub fn with_backend(self, backend: Arc<dyn XComBackend>) -> Self {
        let inner = &*self.0;
        let builder = Builder {
            db: inner.db.clone(),
            clock: inner.clock.clone(),
            backend: Some(backend),
            others: inner.backends.all().cloned().collect(),
            elsewhere: inner.backends.elsewhere().cloned(),
            keys: Some(inner.keys.clone()),
            settings: inner.settings.clone(),
            overrides: inner.overrides.clone(),
        };
        let engine = builder.build();
        engine.0.watcher.set(&inner.watcher);
        engine
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Makes a run known, or updates its dates.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn register_run(&self, run: &DagRun) -> Result<()> {
        self.0.db.register_run(run).await?;
        self.0.declared.forget_run(&run.dag_id, &run.run_id);
        Ok(())
    }

    /// Makes a run known and sets it running; one that was started before goes on.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn start_run(&self, run: &DagRun) -> Result<()> {
        self.0.db.start_run(run, self.0.clock.now()).await?;
        self.0.declared.forget_run(&run.dag_id, &run.run_id);
        Ok(())
    }

    /// Starts a run that has not been started yet: of two at once one does. `false` when it was; then nothing changes.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn begin_run(&self, run: &DagRun) -> Result<bool> {
        let begun = self.0.db.begin_run(run, self.0.clock.now()).await?;
        self.0.declared.forget_run(&run.dag_id, &run.run_id);
        Ok(begun)
    }

    /// Tells how a run stands or ended.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn set_run_state(&self, dag_id: &str, run_id: &str, state: RunState) -> Result<()> {
        self.0.db.set_run_state(dag_id, run_id, state, self.0.clock.now()).await
    }

    /// Sets states of task instances outside any attempt: scheduled, skipped, removed.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn set_states(&self, states: &[(TaskInstanceKey, TaskState)]) -> Result<()> {
        self.0.db.set_states(states, self.0.clock.now()).await
    }

    /// Leaves out task instances, but for those that have begun.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn skip(&self, instances: &[TaskInstanceKey]) -> Result<()> {
        self.0.db.skip(instances, self.0.clock.now()).await
    }

    /// A task instance, if known.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn task_instance(&self, ti: &TaskInstanceKey) -> Result<Option<TaskInstanceInfo>> {
        self.0.db.task_instance(ti).await
    }

    /// All attempts of a task instance, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn attempts(&self, ti: &TaskInstanceKey) -> Result<Vec<AttemptInfo>> {
        self.0.db.attempts(ti).await
    }

    /// Starts a new attempt with an id of its own. A fresh try clears the task instance's XComs (only
    /// its own map index) in the same step, and supersedes the attempt before.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn start(&self, ti: &TaskInstanceKey, try_number: u32) -> Result<Attempt> {
        let attempt = Attempt { ti: ti.clone(), id: self.0.clock.attempt_id() };
        self.start_attempt(&attempt, try_number, StartMode::Fresh).await?;
        Ok(attempt)
    }

    /// Starts or resumes an attempt whose id was given elsewhere.
    ///
    /// # Errors
    /// [`ErrorKind::Superseded`](crate::ErrorKind::Superseded) when a later attempt has started;
    /// [`ErrorKind::NotStarted`](crate::ErrorKind::NotStarted) when one resumes that never started.
    pub async fn start_attempt(
        &self,
        attempt: &Attempt,
        try_number: u32,
        mode: StartMode,
    ) -> Result<Started> {
        let started = self.0.db.start_attempt(attempt, try_number, mode, self.0.clock.now()).await?;
        if started.cleared > 0 {
            self.tell_cleared(&attempt.ti).await;
        }
        Ok(started)
    }

    /// Tells how an attempt stands or ended. It may still write until another starts.
    ///
    /// # Errors
    /// [`ErrorKind::Superseded`](crate::ErrorKind::Superseded),
    /// [`ErrorKind::NotStarted`](crate::ErrorKind::NotStarted).
    pub async fn set_attempt_state(&self, attempt: &Attempt, state: TaskState) -> Result<()> {
        self.0.db.set_attempt_state(attempt, state, self.0.clock.now()).await
    }

    /// Entries without their values, with the backend's stand-ins as previews.
    ///
    /// # Errors
    /// When the database cannot be read; [`ErrorKind::Forbidden`](crate::ErrorKind::Forbidden) when the
    /// caller may not read all that the filter lets through.
    pub async fn list(
        &self,
        caller: &Caller,
        filter: &Filter,
        after: Option<&XComKey>,
        limit: u32,
    ) -> Result<Page<EntryInfo>> {
        self.sight(caller).await?.permit_list(filter)?;
        let mut page = self.0.db.list(filter, after, limit).await?;
        for info in &mut page.items {
            self.preview(info);
        }
        Ok(page)
    }

    /// Earlier versions of an XCom, newest first.
    ///
    /// # Errors
    /// When the database cannot be read; [`ErrorKind::Forbidden`](crate::ErrorKind::Forbidden).
    pub async fn history(&self, caller: &Caller, key: &XComKey, limit: u32) -> Result<Vec<PastEntry>> {
        self.may_look(caller, key).await?;
        self.0.db.history(key, limit).await
    }

    /// Moves XComs to the history. `[xcom] writes` holds for it as for a push, and so does the fence.
    ///
    /// # Errors
    /// [`ErrorKind::Forbidden`](crate::ErrorKind::Forbidden), `Superseded`, `NotStarted`.
    pub async fn clear(&self, caller: &Caller, scope: &Scope) -> Result<u64> {
        self.may_clear(caller, scope)?;
        let cleared = self.0.db.clear(caller, scope, self.0.clock.now()).await?;
        if cleared > 0 {
            self.tell_cleared(scope.ti()).await;
        }
        Ok(cleared)
    }

    /// Tells the backends of a clear. It stands whatever they say: what fails is told by the next upkeep.
    async fn tell_cleared(&self, ti: &TaskInstanceKey) {
        self.freed(Some(&ti.dag_id), Some(&ti.run_id));
        if let Err(error) = self.0.backends.clear(ti).await {
            *self.0.untold.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    }

    /// Deletes XComs with their history and bytes: what was deleted is gone. Not for tasks, which
    /// clear.
    ///
    /// # Errors
    /// [`ErrorKind::Forbidden`](crate::ErrorKind::Forbidden) for an attempt; whatever the database
    /// reports. The entries are gone when it returns; bytes that cannot be removed now go later.
    pub async fn delete(&self, caller: &Caller, scope: &Scope) -> Result<u64> {
        access::may_delete(caller, scope)?;
        let deleted = self.0.db.delete(scope, self.0.clock.now()).await?;
        if deleted > 0 {
            self.freed(Some(&scope.ti().dag_id), Some(&scope.ti().run_id));
            // The entries are gone; bytes that cannot be removed now stay noted and go with upkeep.
            drop(self.purge_loose().await);
        }
        Ok(deleted)
    }

    /// Who read the versions of an XCom, as far as the ledger has been written. Reads of this engine
    /// that wait in its buffer are written first.
    ///
    /// # Errors
    /// When the database cannot be read or written; [`ErrorKind::Forbidden`](crate::ErrorKind::Forbidden).
    pub async fn readers(&self, caller: &Caller, key: &XComKey) -> Result<Vec<LedgerRow>> {
        self.may_look(caller, key).await?;
        self.flush_reads().await?;
        self.0.db.readers(key).await
    }

    /// How the database is. It looks at all that lies in it.
    ///
    /// # Errors
    /// The reason why the database, or the backend, cannot be used, also when the database is so damaged that it cannot be looked at.
    pub async fn health(&self) -> Result<Health> {
        self.backend().check().await?;
        self.0.db.health().await
    }

    /// What a task, or whoever acts in place of one, sees of this engine when it is in the same process.
    pub fn channel(&self, caller: impl Into<Caller>) -> LocalChannel {
        LocalChannel::new(self.clone(), caller.into())
    }

    /// Writes what is buffered. Call it before the program ends.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn close(&self) -> Result<()> {
        self.flush_reads().await?;
        self.flush_refusals().await
    }
}
