//! One try of a task instance: its attempt is started, its body run, its values pushed together with its end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use excom_core::attempt::Attempt;
use excom_core::db::StartMode;
use excom_core::{Caller, Error, TaskState};
use jiff::{SignedDuration, Timestamp};

use super::Event;
use super::execute::{Executed, execute};
use super::execution::Shared;
use super::expansion::Expansion;
use super::isolation::{Done, TaskOrder};
use super::log::TryLog;
use super::recorder::{Pushed, Recorder};
use super::schedule::Instance;
use crate::dag::Graph;
use crate::instance::{Resumed, TaskFacts, TaskInstance};
use crate::operator::SensorTimeout;
use crate::outcome::{Failure, Reschedule, Result, Skip};

/// How long a process may take to end a try whose time is over.
const TIMEOUT_GRACE: Duration = Duration::from_secs(15);

/// What is to be tried.
#[derive(Debug)]
pub(super) struct Try {
    pub(super) instance: Instance,
    pub(super) try_number: u32,
    /// Whether no other try follows when this one fails.
    pub(super) last: bool,
    /// The attempt that goes on, after it looked and found that it must wait.
    pub(super) resumed: Option<(Attempt, Resumed)>,
    /// What the task, or its group, is expanded over.
    pub(super) expansion: Option<Arc<Expansion>>,
}

/// How a try ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// `Scheduled` when it was interrupted, and is to start again.
    pub(super) state: TaskState,
    pub(super) duration: SignedDuration,
    pub(super) pushed: Vec<Pushed>,
    pub(super) failure: Option<Failure>,
    pub(super) log: Option<PathBuf>,
    pub(super) warnings: Vec<String>,
    /// Tasks behind it that it chose to skip.
    pub(super) skips: Vec<u32>,
    /// When it is to look again, and as which attempt.
    pub(super) again: Option<(Duration, Attempt)>,
}

/// Runs one try of a task instance to its end.
pub(super) async fn run(shared: &Shared, order: Try) -> Ended {
    let Try { instance, try_number, last, resumed, expansion } = order;
    let (task, key, clock) = (shared.task(instance), shared.key(instance), shared.engine.clock());
    let started_at = clock.now();
    let (attempt, mode, resumed) = match resumed {
        Some((attempt, resumed)) => (attempt, StartMode::Resume, resumed),
        None => (Attempt { ti: key.clone(), id: clock.attempt_id() }, StartMode::Fresh, Resumed::default()),
    };
    let started = match shared.engine.start_attempt(&attempt, try_number, mode).await {
        Ok(started) => started,
        Err(error) => return not_started(&error, last),
    };
    shared.report(&Event::TaskStarted {
        task_id: task.shared_id(),
        map_index: instance.map_index,
        try_number,
        at: started_at,
    });

    let log = shared.logs.as_ref().map(|folder| {
        let first = format!("try {try_number} of {key} starts, attempt {}", attempt.id);
        Arc::new(TryLog::new(folder, &key, started.number, clock.clone(), &first))
    });
    let mut channel = shared.engine.channel(attempt.clone());
    if let Some(log) = log.clone() {
        channel = channel.with_log(move |line| log.line(line));
    }
    let channel = Arc::new(Recorder::new(Arc::new(channel), key.clone()));
    let ti = TaskInstance::new(channel.clone(), key.clone())
        .in_run(shared.run.clone())
        .as_try(attempt.id, try_number)
        .as_resumed(resumed)
        .of_task(facts(shared, instance, resumed, started_at))
        .with_pushes(task.settings().do_xcom_push);

    let executed = match &shared.isolation {
        Some(isolation) => {
            let mut order = TaskOrder::new(key.clone(), attempt.id, started_at, channel.clone());
            (order.try_number, order.retries) = (try_number, if last { 0 } else { try_number });
            (order.run, order.resumed) = (shared.run.clone(), resumed);
            order.max_map_length = shared.max_map_length;
            // The process ends a try that takes too long by itself; this is for one that does not.
            let timeout = task.settings().execution_timeout;
            order.timeout = timeout.map(|timeout| timeout.saturating_add(TIMEOUT_GRACE));
            isolation.run(order).await.into_result().and_then(|done| left(&shared.graph, done))
        }
        None => match note_elements(shared, &attempt, expansion.as_deref(), &channel).await {
            Ok(()) => execute(&shared.graph, instance.task, &ti, expansion, shared.max_map_length).await,
            Err(error) => Err(error.into()),
        },
    };
    let (mut state, mut failure, mut again) = verdict(&ti, &executed, last);
    let mut skips = Vec::new();
    let mut pushes = Vec::new();
    if let Ok(executed) = executed {
        (skips, pushes) = (executed.skips, executed.pushes);
    }
    let mut warnings = Vec::new();
    let finished = finish(shared, &attempt, state, pushes, &channel).await;
    if let Err(error) = finished {
        // What was not written did not happen: the task cannot count as done.
        let failed = if last { TaskState::Failed } else { TaskState::UpForRetry };
        if state != TaskState::Failed {
            (state, failure, again) = (failed, Some(Failure::of(&error)), None);
            skips.clear();
        }
        if let Err(error) = shared.engine.set_attempt_state(&attempt, state).await {
            warnings.push(format!("the state {state} of {key} is not written: {error}"));
        }
    }
    if let (Some(failure), TaskState::Failed | TaskState::UpForRetry) = (&mut failure, state) {
        failure.read = channel.read();
    }
    if let Some(failure) = &mut failure {
        channel.redact(failure);
    }
    if let Some(log) = &log {
        if let (Some(failure), TaskState::Failed | TaskState::UpForRetry) = (&failure, state) {
            failure.lines().for_each(|line| log.note(&line));
        }
        log.end(&format!("try {try_number} ends: {state}"));
        warnings.extend(log.problem());
    }
    let duration = clock.now().duration_since(started_at);
    let log = log.and_then(|log| log.path());
    let again = again.map(|delay| (delay, attempt));
    Ended { state, duration, pushed: channel.take(), failure, log, warnings, skips, again }
}

/// What the task is, for the templates of this try.
fn facts(shared: &Shared, instance: Instance, resumed: Resumed, started_at: Timestamp) -> Arc<TaskFacts> {
    // A body may render a template, whatever is known of it.
    let mut facts = TaskFacts::clone(&shared.facts[instance.task as usize]);
    facts.reschedules = resumed.times;
    facts.start_date = Some(started_at);
    Arc::new(facts)
}

/// What an isolated try leaves, with tasks as their numbers.
fn left(graph: &Graph, done: Done) -> Result<Executed> {
    let number =
        |id: &Arc<str>| graph.number(id).ok_or_else(|| format!("there is no task `{id}` to skip").into());
    Ok(Executed { pushes: done.pushes, skips: done.skips.iter().map(number).collect::<Result<_>>()? })
}

/// An element of a list that was read once for all instances was read by each of them.
async fn note_elements(
    shared: &Shared,
    attempt: &Attempt,
    expansion: Option<&Expansion>,
    channel: &Recorder,
) -> excom_core::Result<()> {
    let caller = Caller::Attempt(attempt.clone());
    if let Some(expansion) = expansion {
        expansion.secrets(|value| channel.learn(value));
    }
    for (key, version) in expansion.map(Expansion::sources).unwrap_or_default() {
        // Fails only with a strict ledger, which lets no read go unnoted.
        shared.engine.note_read(&caller, &key, version).await?;
        channel.note(&key, version);
    }
    Ok(())
}

/// Pushes what the body returned and sets the state, in one step.
async fn finish(
    shared: &Shared,
    attempt: &Attempt,
    state: TaskState,
    pushes: Vec<(excom_core::XComKey, excom_core::Value)>,
    channel: &Recorder,
) -> excom_core::Result<()> {
    let told: Vec<_> = pushes.iter().map(|(key, value)| (key.key.clone(), value.preview())).collect();
    let values = pushes.into_iter().map(|(key, value)| (key, value.into())).collect();
    let receipts = shared.engine.finish(attempt, state, values).await?;
    for ((key, preview), receipt) in told.into_iter().zip(receipts) {
        channel.record(key, preview, &receipt);
    }
    Ok(())
}

/// The engine could not even note that the try began. That may pass, so it counts as a try that failed.
fn not_started(error: &Error, last: bool) -> Ended {
    let mut failure = Failure::of(error);
    failure.message = format!("the try could not be started: {}", failure.message);
    Ended {
        state: if last { TaskState::Failed } else { TaskState::UpForRetry },
        duration: SignedDuration::ZERO,
        pushed: Vec::new(),
        failure: Some(failure),
        log: None,
        warnings: Vec::new(),
        skips: Vec::new(),
        again: None,
    }
}

fn verdict(
    ti: &TaskInstance,
    result: &Result<Executed>,
    last: bool,
) -> (TaskState, Option<Failure>, Option<Duration>) {
    let error = match result {
        Ok(_) => return (TaskState::Success, None, None),
        Err(error) => error,
    };
    if let Some(reschedule) = error.downcast_ref::<Reschedule>() {
        return (TaskState::UpForReschedule, None, Some(reschedule.delay()));
    }
    let failure = Failure::of(&**error);
    let state = if error.is::<Skip>() {
        TaskState::Skipped
    } else if ti.is_cancelled() {
        // It is not the task's fault, so it starts again when the run is resumed.
        TaskState::Scheduled
    } else if last || error.is::<SensorTimeout>() {
        // What did not come in its time is not waited for again.
        TaskState::Failed
    } else {
        TaskState::UpForRetry
    };
    (state, Some(failure), None)
}
