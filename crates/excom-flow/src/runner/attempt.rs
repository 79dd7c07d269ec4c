//! One try of a task: its attempt is started, its arguments pulled, its body run, its value pushed, and
//! its end told to the engine.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use excom_core::attempt::Attempt;
use excom_core::db::StartMode;
use excom_core::json::Shape;
use excom_core::{
    Error, ErrorKind, PullOptions, RETURN_VALUE, TaskChannel, TaskInstanceKey, TaskState, Value, XComKey,
};
use jiff::SignedDuration;

use super::Event;
use super::execution::Shared;
use super::log::TryLog;
use super::recorder::{Pushed, Recorder};
use crate::cancel::Cancellation;
use crate::dag::{Settings, Taken};
use crate::instance::TaskInstance;
use crate::operator::TERM_GRACE;
use crate::outcome::{BoxError, Failure, Result, Skip};
use crate::work::{Argument, Arguments, Returned, Running};

/// How long operators have to end what they started, after the run was cancelled: more than a command
/// gets, so that the operator itself does the killing.
const CANCEL_GRACE: Duration = TERM_GRACE.saturating_add(Duration::from_secs(5));

/// How a try ended.
pub(super) struct Ended {
    pub(super) state: TaskState,
    pub(super) duration: SignedDuration,
    pub(super) pushed: Vec<Pushed>,
    pub(super) failure: Option<Failure>,
    pub(super) log: Option<PathBuf>,
    pub(super) warnings: Vec<String>,
}

/// Runs one try of a task to its end.
pub(super) async fn run(shared: &Shared, index: usize, try_number: u32) -> Ended {
    let (task, key, clock) = (&shared.tasks[index], &shared.keys[index], shared.engine.clock());
    let started_at = clock.now();
    let attempt = Attempt { ti: key.clone(), id: clock.attempt_id() };
    let started = match shared.engine.start_attempt(&attempt, try_number, StartMode::Fresh).await {
        Ok(started) => started,
        Err(error) => return not_started(&error),
    };
    shared.report(&Event::TaskStarted { task_id: task.shared_id(), try_number, at: started_at });

    let log = shared.logs.as_ref().map(|folder| {
        let first = format!("try {try_number} of {key} starts, attempt {}", attempt.id);
        Arc::new(TryLog::new(folder, key, started.number, clock.clone(), &first))
    });
    let mut channel = shared.engine.channel(attempt.clone());
    if let Some(log) = log.clone() {
        channel = channel.with_log(move |line| log.line(line));
    }
    let channel = Arc::new(Recorder::new(channel, key.clone()));
    let ti = TaskInstance::new(channel.clone(), key.clone())
        .in_run(shared.run.clone())
        .as_try(attempt.id, try_number)
        .with_pushes(task.settings().do_xcom_push);

    let result = body(shared, index, ti, &*channel).await;
    let (mut state, mut failure) = verdict(shared, result, task.settings().retries, try_number);
    let mut warnings = Vec::new();
    if let Err(error) = shared.engine.set_attempt_state(&attempt, state).await {
        // What was not written did not happen: the task cannot count as done.
        warnings.push(format!("the state {state} of {key} is not written: {error}"));
        if state != TaskState::Failed {
            state = TaskState::Failed;
            failure = Some(Failure::of(&error));
        }
    }
    let duration = clock.now().duration_since(started_at);
    if let Some(log) = &log {
        if let (Some(failure), TaskState::Failed | TaskState::UpForRetry) = (&failure, state) {
            log.line(&failure.message);
            failure.hints.iter().for_each(|hint| log.line(&format!("hint: {hint}")));
        }
        log.end(&format!("try {try_number} ends: {state}"));
        warnings.extend(log.problem());
    }
    Ended { state, duration, pushed: channel.take(), failure, log: log.and_then(|log| log.path()), warnings }
}

/// The engine could not even note that the try began.
fn not_started(error: &Error) -> Ended {
    let mut failure = Failure::of(error);
    failure.message = format!("the try could not be started: {}", failure.message);
    Ended {
        state: TaskState::Failed,
        duration: SignedDuration::ZERO,
        pushed: Vec::new(),
        failure: Some(failure),
        log: None,
        warnings: Vec::new(),
    }
}

fn verdict(
    shared: &Shared,
    result: Result<()>,
    retries: u32,
    try_number: u32,
) -> (TaskState, Option<Failure>) {
    let error = match result {
        Ok(()) => return (TaskState::Success, None),
        Err(error) => error,
    };
    let failure = Failure::of(&*error);
    let state = if error.is::<Skip>() {
        TaskState::Skipped
    } else if try_number <= retries && !shared.run.cancellation.is_cancelled() {
        TaskState::UpForRetry
    } else {
        TaskState::Failed
    };
    (state, Some(failure))
}

/// Arguments, body, pushes.
async fn body(shared: &Shared, index: usize, ti: TaskInstance, channel: &dyn TaskChannel) -> Result<()> {
    let task = &shared.tasks[index];
    let arguments = arguments(shared, index, channel).await?;
    let running = catch_unwind(AssertUnwindSafe(|| task.work.start(ti, arguments)))
        .unwrap_or_else(|panic| panicked(&*panic).into());
    match finish(running, &shared.run.cancellation).await? {
        Some(value) => push(&shared.keys[index], task.settings(), value, channel).await,
        None => Ok(()),
    }
}

/// What the task takes; all values of other tasks come in one pull.
async fn arguments(shared: &Shared, index: usize, channel: &dyn TaskChannel) -> Result<Arguments> {
    let inputs = &shared.tasks[index].inputs;
    let keys: Vec<XComKey> = inputs
        .iter()
        .filter_map(|(_, taken)| match taken {
            Taken::XCom { task, key } => Some(shared.keys[*task as usize].xcom(key.clone())),
            _ => None,
        })
        .collect::<excom_core::Result<_>>()?;
    let answers =
        if keys.is_empty() { Vec::new() } else { channel.pull(&keys, PullOptions::default()).await? };
    let mut answers = answers.into_iter();
    let mut arguments = Vec::with_capacity(inputs.len());
    for (name, taken) in inputs {
        let argument = match taken {
            Taken::Literal(value) => Argument::Value(value.clone()),
            Taken::Param(param) => {
                let value = shared.run.params.value(param).cloned();
                Argument::Value(value.ok_or("a parameter has no value")?)
            }
            Taken::XCom { .. } => Argument::Answer(answers.next().ok_or("the channel gave too few answers")?),
        };
        arguments.push((name.clone(), argument));
    }
    Ok(Arguments::new(arguments))
}

/// Waits for the body; a panic is its error.
async fn finish(running: Running, cancellation: &Cancellation) -> Returned {
    let cancelled = || Err(Error::new(ErrorKind::Other, "the run was cancelled while the task ran").into());
    let (mut future, grace) = match running {
        Running::Blocking(body) => {
            let body = move || {
                catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(panicked(&*panic).into()))
            };
            let thread = tokio::task::spawn_blocking(body);
            // A thread cannot be stopped; it is left to end by itself.
            return tokio::select! {
                ended = thread => ended.unwrap_or_else(|e| Err(e.into())),
                () = cancellation.cancelled() => cancelled(),
            };
        }
        Running::Future(future) => (future, Duration::ZERO),
        Running::Graceful(future) => (future, CANCEL_GRACE),
    };
    let mut caught =
        poll_fn(move |context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(poll) => poll,
            Err(panic) => Poll::Ready(Err(panicked(&*panic).into())),
        });
    tokio::select! {
        biased;
        ended = &mut caught => return ended,
        () = cancellation.cancelled() => (),
    }
    if grace.is_zero() {
        return cancelled();
    }
    tokio::time::timeout(grace, caught).await.unwrap_or_else(|_| cancelled())
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    let message = panic
        .downcast_ref::<&str>()
        .map(|message| (*message).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it says nothing".to_owned());
    Error::new(ErrorKind::Other, format!("the task panicked: {message}"))
}

/// Pushes what a body returned: with `multiple_outputs` each entry under its own key, and the whole last.
async fn push(
    key: &TaskInstanceKey,
    settings: &Settings,
    value: Value,
    channel: &dyn TaskChannel,
) -> Result<()> {
    if settings.multiple_outputs {
        // Everything is checked before anything is pushed.
        for (key, value) in entries(key, &value)? {
            channel.push(&key, value.into()).await?;
        }
    }
    channel.push(&key.return_value(), value.into()).await?;
    Ok(())
}

fn entries(key: &TaskInstanceKey, value: &Value) -> Result<Vec<(XComKey, Value)>, BoxError> {
    if !matches!(value.shape(), Shape::Dict(_)) {
        return Err(Error::new(
            ErrorKind::InvalidValue,
            format!("multiple_outputs needs a dict, and the task returned a {}", value.shape()),
        )
        .hint("return a struct or a map with text keys, or take multiple_outputs away")
        .into());
    }
    let named = crate::entries::of(value.as_str())?.into_iter().map(|(name, value)| {
        let key = key.xcom(name).map_err(|e| crate::error::within("multiple_outputs", e))?;
        Ok((key, Value::parse(value.get().to_owned())?))
    });
    // What the whole is pushed under comes last and wins.
    let named: excom_core::Result<Vec<_>> = named.collect();
    Ok(named?.into_iter().filter(|(key, _)| &*key.key != RETURN_VALUE).collect())
}

#[cfg(test)]
mod tests;
