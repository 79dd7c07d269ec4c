//! A task instance as its own code sees it: who it is, and its way to XComs.

mod facts;
mod pull;
mod shape;
mod variables;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use excom_core::engine::Receipt;
use excom_core::{AttemptId, Result, TaskChannel, TaskInstanceKey, Value};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use pollster::block_on;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use facts::{PreviousRun, RunFacts, TaskFacts};
pub use pull::{MapIndexes, Pull, TaskIds};

use crate::error::within;
use crate::outcome::SkipDownstream;
use crate::params::Params;

/// The task instance that runs: what a task takes as `ti: &TaskInstance` to push and pull by itself.
///
/// Methods that block are for sync tasks; those that begin with `a` are for async tasks. A blocking one
/// also works in an async task, but holds up a thread of the runtime.
///
/// ```
/// # extern crate excom_flow as excom;
/// use excom::prelude::*;
///
/// #[task]
/// fn count(ti: &TaskInstance) -> Result<u64> {
///     ti.xcom_push("unit", "rows")?;
///     let before: Option<u64> = ti.xcom_pull("count").include_prior_dates().get()?;
///     Ok(before.unwrap_or(0) + 1)
/// }
/// ```
#[derive(Clone)]
pub struct TaskInstance(Arc<Inner>);

struct Inner {
    channel: Arc<dyn TaskChannel>,
    key: TaskInstanceKey,
    attempt: Option<AttemptId>,
    try_number: u32,
    pushes: bool,
    run: Arc<RunFacts>,
    resumed: Resumed,
    task: Arc<TaskFacts>,
    skip: Arc<Mutex<Option<SkipDownstream>>>,
}

/// How a try came to run again after it let its place go ([`Reschedule`](crate::Reschedule)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resumed {
    /// How many times it did; 0 when it runs for the first time.
    pub times: u32,
    /// How long after its first start it runs now.
    pub after: Duration,
}

impl fmt::Debug for TaskInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskInstance({}, try {})", self.0.key, self.0.try_number)
    }
}

impl TaskInstance {
    /// A task instance over a channel: its first try, without parameters or date.
    ///
    /// ```
    /// # extern crate excom_flow as excom;
    /// use std::sync::Arc;
    /// use excom_core::{Engine, TaskInstanceKey, memory};
    /// use excom::TaskInstance;
    ///
    /// # pollster::block_on(async {
    /// let engine = Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new())).build();
    /// let key = TaskInstanceKey::new("weather", "manual__1", "count", -1)?;
    /// let attempt = engine.start(&key, 1).await?;
    /// let ti = TaskInstance::new(Arc::new(engine.channel(attempt)), key);
    /// ti.axcom_push("rows", &365).await?;
    /// assert_eq!(ti.xcom_pull(()).key("rows").aget::<u64>().await?, 365);
    /// # Ok::<(), excom_core::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn new(channel: Arc<dyn TaskChannel>, key: TaskInstanceKey) -> Self {
        Self(Arc::new(Inner {
            channel,
            key,
            attempt: None,
            try_number: 1,
            pushes: true,
            run: Arc::default(),
            resumed: Resumed::default(),
            task: Arc::default(),
            skip: Arc::default(),
        }))
    }

    /// The same task instance in a run.
    #[must_use]
    pub fn in_run(self, run: Arc<RunFacts>) -> Self {
        self.change(|inner| inner.run = run)
    }

    /// The same task instance as a try of it.
    #[must_use]
    pub fn as_try(self, attempt: AttemptId, try_number: u32) -> Self {
        self.change(|inner| (inner.attempt, inner.try_number) = (Some(attempt), try_number))
    }

    /// The same try, which runs again after it let its place go.
    #[must_use]
    pub fn as_resumed(self, resumed: Resumed) -> Self {
        self.change(|inner| inner.resumed = resumed)
    }

    /// The same task instance with what its DAG says of the task.
    #[must_use]
    pub fn of_task(self, task: Arc<TaskFacts>) -> Self {
        self.change(|inner| inner.task = task)
    }

    pub(crate) fn over(self, channel: Arc<dyn TaskChannel>) -> Self {
        self.change(|inner| inner.channel = channel)
    }

    pub(crate) fn with_pushes(self, pushes: bool) -> Self {
        self.change(|inner| inner.pushes = pushes)
    }

    fn change(self, change: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = Arc::try_unwrap(self.0).unwrap_or_else(|shared| Inner {
            channel: shared.channel.clone(),
            key: shared.key.clone(),
            attempt: shared.attempt,
            try_number: shared.try_number,
            pushes: shared.pushes,
            run: shared.run.clone(),
            resumed: shared.resumed,
            task: shared.task.clone(),
            skip: shared.skip.clone(),
        });
        change(&mut inner);
        Self(Arc::new(inner))
    }

    /// Which task instance it is.
    pub fn key(&self) -> &TaskInstanceKey {
        &self.0.key
    }

    /// The DAG's id.
    pub fn dag_id(&self) -> &str {
        &self.0.key.dag_id
    }

    /// The run's id.
    pub fn run_id(&self) -> &str {
        &self.0.key.run_id
    }

    /// The task's id.
    pub fn task_id(&self) -> &str {
        &self.0.key.task_id
    }

    /// The map index; −1 when it is not mapped.
    pub fn map_index(&self) -> i32 {
        self.0.key.map_index
    }

    /// Which try it is, from 1.
    pub fn try_number(&self) -> u32 {
        self.0.try_number
    }

    /// How it came to run again, when it had let its place go.
    pub fn resumed(&self) -> Resumed {
        self.0.resumed
    }

    /// The attempt's opaque id, when the host gave one.
    pub fn attempt_id(&self) -> Option<AttemptId> {
        self.0.attempt
    }

    /// Whether what it returns is pushed (`do_xcom_push`).
    pub fn pushes(&self) -> bool {
        self.0.pushes
    }

    /// The date that the run is for, if any.
    pub fn logical_date(&self) -> Option<Timestamp> {
        self.0.run.logical_date
    }

    /// The logical date as `2026-11-21` (UTC), if the run has one.
    pub fn ds(&self) -> Option<String> {
        self.logical_date().map(|date| date.to_zoned(TimeZone::UTC).date().to_string())
    }

    pub(crate) fn run_facts(&self) -> &RunFacts {
        &self.0.run
    }

    pub(crate) fn task_facts(&self) -> &TaskFacts {
        &self.0.task
    }

    /// The parameters of the run.
    pub fn params(&self) -> &Params {
        &self.0.run.params
    }

    /// A parameter as a Rust type.
    ///
    /// # Errors
    /// When there is none of that name, or it has another type.
    pub fn param<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        self.params().get(name)
    }

    /// Where Excom keeps its data, when the host says so.
    pub fn home(&self) -> Option<&Path> {
        self.0.run.home.as_deref()
    }

    /// Writes a line to the try's log.
    pub fn log(&self, line: &str) {
        self.0.channel.log(line);
    }

    /// Whether the run was cancelled, so that this task should end soon.
    pub fn is_cancelled(&self) -> bool {
        self.0.run.cancellation.is_cancelled()
    }

    /// Waits until the run is cancelled.
    pub async fn cancelled(&self) {
        self.0.run.cancellation.cancelled().await;
    }

    /// Skips tasks behind this one when it succeeds: how a branch or a short-circuit says what it chose. The
    /// last call counts.
    pub fn skip_downstream(&self, skip: SkipDownstream) {
        *self.0.skip.lock().unwrap_or_else(PoisonError::into_inner) = Some(skip);
    }

    /// What this task chose to skip.
    pub fn skips(&self) -> Option<SkipDownstream> {
        self.0.skip.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The channel to the engine.
    pub fn channel(&self) -> &Arc<dyn TaskChannel> {
        &self.0.channel
    }

    /// Pushes a value under a key of this task instance. A second push of the key replaces the first.
    /// Blocks.
    ///
    /// # Errors
    /// When the value is no JSON, the key is empty or too long, the value is too large or not of the type that the
    /// DAG declares for the key, this try was superseded, or the engine cannot write.
    pub fn xcom_push<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<Receipt> {
        block_on(self.axcom_push(key, value))
    }

    /// As [`xcom_push`](TaskInstance::xcom_push), without blocking.
    ///
    /// # Errors
    /// As [`xcom_push`](TaskInstance::xcom_push).
    pub fn axcom_push<T: Serialize + ?Sized>(
        &self,
        key: &str,
        value: &T,
    ) -> impl Future<Output = Result<Receipt>> + Send + use<T> {
        // The value is read at once, so that the future holds no borrow of what may not be `Sync`.
        self.push(key, Value::of(value))
    }

    /// Pushes a secret: it is stored encrypted, and no list, log or report shows any of it. It is pulled as any other
    /// value, and is a secret again where it was pulled. Blocks.
    ///
    /// ```
    /// # extern crate excom_flow as excom;
    /// # use excom::prelude::*;
    /// #[task]
    /// fn log_in(ti: &TaskInstance) -> Result<()> {
    ///     ti.xcom_push_secret("token", "hunter2")?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`xcom_push`](TaskInstance::xcom_push), and when it has over 1 MiB.
    pub fn xcom_push_secret<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<Receipt> {
        block_on(self.axcom_push_secret(key, value))
    }

    /// As [`xcom_push_secret`](TaskInstance::xcom_push_secret), without blocking.
    ///
    /// # Errors
    /// As [`xcom_push_secret`](TaskInstance::xcom_push_secret).
    pub fn axcom_push_secret<T: Serialize + ?Sized>(
        &self,
        key: &str,
        value: &T,
    ) -> impl Future<Output = Result<Receipt>> + Send + use<T> {
        self.push(key, Value::of(value).map(Value::into_secret))
    }

    /// The push of a value that was made of a task's own.
    fn push(&self, key: &str, value: Result<Value>) -> impl Future<Output = Result<Receipt>> + Send + use<> {
        let named = self.0.key.xcom(key);
        let value = value.map_err(|e| within(&format!("the value for key `{key}`"), e));
        let value = value.and_then(|value| self.check_push(key, &value).map(|()| value));
        let channel = self.0.channel.clone();
        async move { channel.push(&named?, value?.into()).await }
    }

    /// Whether a value is what the DAG declares about a key of this task.
    pub(crate) fn check_push(&self, key: &str, value: &Value) -> Result<()> {
        let Some(contract) = &self.0.run.contract else { return Ok(()) };
        // What the key makes a secret is none before it is pushed.
        let value = value.clone().secret_if(self.0.channel.is_secret(key));
        let check = || contract.check_push(self.task_id(), key, &value);
        self.0.run.contracts.judge(check, |line| self.log(line))
    }

    /// A pull of what tasks pushed: of one task (`"count"`), several (`["a", "b"]`), or this one (`()`).
    ///
    /// ```
    /// # extern crate excom_flow as excom;
    /// # use excom::prelude::*;
    /// # fn example(ti: &TaskInstance) -> Result<()> {
    /// let rows: u64 = ti.xcom_pull("count").key("rows").get()?;
    /// let peaks: Vec<Option<f64>> = ti.xcom_pull("hottest").get()?;
    /// let third: f64 = ti.xcom_pull("hottest").map_indexes(2).get()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn xcom_pull(&self, task_ids: impl Into<TaskIds>) -> Pull {
        Pull::new(self.clone(), task_ids.into())
    }

    /// Renders a template with this task instance's context. Blocks when the template pulls.
    ///
    /// ```
    /// # extern crate excom_flow as excom;
    /// # use excom::prelude::*;
    /// # fn example(ti: &TaskInstance) -> Result<()> {
    /// let sql = ti.render("SELECT * FROM {{ ti.xcom_pull('choose') }} WHERE day = '{{ ds }}'")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// With line, column and expression, and what a pull in it was answered.
    pub fn render(&self, template: &str) -> Result<String> {
        crate::template::render(self, "template", template)
    }

    /// As [`render`](TaskInstance::render), without blocking the runtime.
    ///
    /// # Errors
    /// As [`render`](TaskInstance::render).
    pub async fn arender(&self, template: &str) -> Result<String> {
        let (ti, template) = (self.clone(), template.to_owned());
        let rendered = tokio::task::spawn_blocking(move || ti.render(&template)).await;
        rendered.unwrap_or_else(|e| {
            Err(excom_core::Error::new(excom_core::ErrorKind::Other, "rendering a template panicked")
                .because(e))
        })
    }
}
