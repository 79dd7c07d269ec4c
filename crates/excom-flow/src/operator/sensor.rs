//! Sensors: tasks that wait until something is there.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use excom_core::Value;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::{Field, Fields, Operator};
use crate::dag::{Dag, Handle};
use crate::instance::{Resumed, TaskInstance};
use crate::outcome::{Reschedule, Result, Skip};

/// What a look at the world found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Poke {
    /// Not there yet.
    NotYet,
    /// There; the task succeeds, and pushes nothing.
    Done,
    /// There, with a value that the task returns.
    Value(Value),
}

impl Poke {
    /// There, with a value that the task returns.
    ///
    /// # Errors
    /// When the value cannot be written as JSON.
    pub fn value<T: Serialize + ?Sized>(value: &T) -> excom_core::Result<Self> {
        Value::of(value).map(Self::Value)
    }
}

impl From<bool> for Poke {
    fn from(done: bool) -> Self {
        if done { Self::Done } else { Self::NotYet }
    }
}

/// How a sensor waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// How long between two looks; a minute unless told, as in Airflow.
    pub poke_interval: Duration,
    /// How long in all; seven days unless told, as in Airflow. Each try has it anew.
    pub timeout: Duration,
    /// Whether the task is skipped, instead of failed, when the time is over.
    pub soft_fail: bool,
    /// Whether it lets its place go between two looks, so that other tasks can run in it.
    pub reschedule: bool,
    /// Whether each wait is twice as long as the one before, and the longest.
    pub backoff: Option<Duration>,
}

impl Default for Waiting {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            poke_interval: Duration::from_secs(60),
            timeout: DAY * 7,
            soft_fail: false,
            reschedule: false,
            backoff: None,
        }
    }
}

/// The error of a sensor whose time is over. The task fails and is not tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SensorTimeout {
    waited: Duration,
    pokes: u32,
}

impl fmt::Display for SensorTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times = if self.pokes == 1 { "once" } else { &format!("{} times", self.pokes) };
        write!(f, "what the sensor waits for did not come in {:?}; it looked {times}", self.waited)
    }
}

impl std::error::Error for SensorTimeout {}

impl Waiting {
    /// Looks again and again until something is there or the time is over: what every sensor does.
    ///
    /// # Errors
    /// What a look fails with; [`SensorTimeout`], or a [`Skip`] when it should fail softly; and
    /// [`Reschedule`] when it lets its place go. When the run is cancelled it ends at once.
    pub async fn wait<F>(self, ti: &TaskInstance, mut poke: impl FnMut() -> F) -> Result<Value>
    where
        F: Future<Output = Result<Poke>>,
    {
        let Resumed { times, after } = ti.resumed();
        let start = Instant::now();
        let mut pokes = times;
        loop {
            match poke().await? {
                Poke::NotYet => pokes += 1,
                Poke::Done => return Ok(Value::null()),
                Poke::Value(value) => return Ok(value),
            }
            let waited = start.elapsed() + after;
            if waited >= self.timeout {
                let timeout = SensorTimeout { waited: self.timeout, pokes };
                let soft = self.soft_fail.then(|| Skip::because(timeout.to_string()));
                return Err(soft.map_or_else(|| timeout.into(), Into::into));
            }
            // It looks a last time when the time is over, not an interval later.
            let delay = self.delay(pokes).min(self.timeout - waited);
            if self.reschedule {
                return Err(Reschedule::after(delay).into());
            }
            tokio::select! {
                () = sleep(delay) => (),
                () = ti.cancelled() => return Err("the run was cancelled while the sensor waited".into()),
            }
        }
    }

    /// How long it waits after so many looks.
    fn delay(&self, pokes: u32) -> Duration {
        match self.backoff {
            Some(longest) => {
                let factor = 2u32.saturating_pow(pokes.saturating_sub(1));
                self.poke_interval.saturating_mul(factor).min(longest)
            }
            None => self.poke_interval,
        }
    }
}

/// What a sensor waits for: an async function of the task instance, or a type with fields.
///
/// ```
/// # extern crate excom_flow as excom;
/// use excom::prelude::*;
/// use excom::{Condition, Poke};
///
/// /// Waits for a table with rows, and returns their number.
/// #[derive(Clone)]
/// struct Filled {
///     table: Field,
/// }
///
/// impl Condition for Filled {
///     fn fields(&mut self) -> Fields<'_> {
///         vec![("table".into(), &mut self.table)]
///     }
///
///     async fn poke(&self, _: TaskInstance) -> Result<Poke> {
///         let rows = count(&self.table.text()?);
///         Ok(if rows > 0 { Poke::value(&rows)? } else { Poke::NotYet })
///     }
/// }
/// # fn count(_: &str) -> u64 { 1 }
/// ```
pub trait Condition: Clone + Send + Sync + 'static {
    /// The fields that are known only when it runs, as those of an [`Operator`].
    fn fields(&mut self) -> Fields<'_> {
        Vec::new()
    }

    /// Looks once.
    ///
    /// # Errors
    /// An error fails the try; something that is not there yet is no error but [`Poke::NotYet`].
    fn poke(&self, ti: TaskInstance) -> impl Future<Output = Result<Poke>> + Send;
}

impl<F, R> Condition for F
where
    F: Fn(TaskInstance) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Result<Poke>> + Send,
{
    fn poke(&self, ti: TaskInstance) -> impl Future<Output = Result<Poke>> + Send {
        self(ti)
    }
}

/// A file or folder that is to appear. A folder counts when something is in it. It has no value.
#[derive(Debug, Clone)]
pub struct FileThere {
    path: Field,
}

impl FileThere {
    /// Waits for a path, which may be a template.
    pub fn new(path: impl Into<Field>) -> Self {
        Self { path: path.into() }
    }
}

impl Condition for FileThere {
    fn fields(&mut self) -> Fields<'_> {
        vec![("path".into(), &mut self.path)]
    }

    async fn poke(&self, _: TaskInstance) -> Result<Poke> {
        let path = self.path.text()?;
        let there = tokio::task::spawn_blocking(move || is_there(Path::new(&path))).await??;
        Ok(there.into())
    }
}

fn is_there(path: &Path) -> std::io::Result<bool> {
    match path.metadata() {
        Ok(found) if found.is_dir() => Ok(path.read_dir()?.next().is_some()),
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => {
            Err(std::io::Error::new(error.kind(), format!("cannot look for {}: {error}", path.display())))
        }
    }
}

/// A task that waits for a [`Condition`].
#[derive(Clone)]
pub struct Sensor<C> {
    condition: C,
    waiting: Waiting,
}

impl<C> fmt::Debug for Sensor<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sensor").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

impl<C: Condition> Sensor<C> {
    /// Waits as Airflow does unless told: a look each minute, for seven days.
    pub fn new(condition: C) -> Self {
        Self { condition, waiting: Waiting::default() }
    }

    /// The same sensor that waits otherwise.
    #[must_use]
    pub fn waiting(mut self, waiting: Waiting) -> Self {
        self.waiting = waiting;
        self
    }
}

impl<C: Condition> Operator for Sensor<C> {
    type Output = Value;

    fn fields(&mut self) -> Fields<'_> {
        self.condition.fields()
    }

    async fn execute(self, ti: TaskInstance) -> Result<Value> {
        let Self { condition, waiting } = self;
        waiting.wait(&ti, || condition.poke(ti.clone())).await
    }
}

impl<C: Condition> Handle<'_, Sensor<C>> {
    /// How long between two looks.
    pub fn poke_interval(self, interval: Duration) -> Self {
        self.configure(|sensor| sensor.waiting.poke_interval = interval)
    }

    /// How long it waits in all before it fails.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.configure(|sensor| sensor.waiting.timeout = timeout)
    }

    /// Is skipped, instead of failed, when the time is over.
    pub fn soft_fail(self) -> Self {
        self.configure(|sensor| sensor.waiting.soft_fail = true)
    }

    /// Lets its place go between two looks, so that other tasks can run in it: for long waits.
    pub fn reschedule(self) -> Self {
        self.configure(|sensor| sensor.waiting.reschedule = true)
    }

    /// Waits twice as long each time, up to a longest wait.
    pub fn exponential_backoff(self, longest: Duration) -> Self {
        self.configure(|sensor| sensor.waiting.backoff = Some(longest))
    }
}

impl Dag {
    /// Adds a task that waits until something is there; see [`Condition`] for what it can wait for.
    ///
    /// ```
    /// # extern crate excom_flow as excom;
    /// use std::time::Duration;
    /// use excom::prelude::*;
    /// use excom::{FileThere, Poke};
    ///
    /// #[dag]
    /// fn daily(dag: &Dag) {
    ///     let file = dag.sensor("file", FileThere::new("/data/{{ ds }}.csv")).reschedule();
    ///     let ready = dag.sensor("ready", |_: TaskInstance| async { Ok(Poke::from(is_ready().await)) });
    ///     ready.poke_interval(Duration::from_secs(5)).timeout(Duration::from_secs(600)).after(file);
    /// }
    /// # async fn is_ready() -> bool { true }
    /// assert_eq!(daily().graph()?.tasks().len(), 2);
    /// # Ok::<(), excom_core::Error>(())
    /// ```
    pub fn sensor<C: Condition>(&self, task_id: &str, condition: C) -> Handle<'_, Sensor<C>> {
        self.add(task_id, Sensor::new(condition))
    }
}
