//! Waiting for the end of a run: a line of JSON for how it stands, again and again, and with the last one what tasks returned.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::BoxError;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use excom_core::engine::TaskAnswer;
use excom_core::{Answer, Caller, PullOptions, RunState, SequenceKey, TaskInstanceKey, UNMAPPED};
use futures_util::stream;
use indexmap::IndexMap;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio::time::{Duration, Instant, sleep_until};

use crate::app::App;
use crate::auth::{Asking, Role};
use crate::execution::dag_runs::name;
use crate::own::{PAUSE, Standing};
use crate::refusal::Refusal;
use crate::request::{Params, Path};

/// The most elements of a sequence in the last line.
const ELEMENTS: u64 = 1000;

/// A line of the answer.
#[derive(Serialize)]
struct Line {
    state: &'static str,
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    results: IndexMap<Arc<str>, Returned>,
}

/// What a task returned.
#[derive(Serialize)]
#[serde(untagged)]
enum Returned {
    One(Box<RawValue>),
    /// By map index.
    Many(Vec<Box<RawValue>>),
}

/// Waits until a run has ended, and tells what the tasks returned that `result` names, or what is marked as what the DAG
/// returned.
pub(super) async fn wait(
    State(app): State<App>,
    asking: Asking,
    Path((dag, run)): Path<(Arc<str>, Arc<str>)>,
    params: Params,
) -> Result<Response, Refusal> {
    asking.at_least(Role::Read)?;
    let interval = interval(&params)?;
    let tasks: BTreeSet<&str> = params.all("result").collect();
    let named = || tasks.iter().filter_map(|task| returned(&dag, &run, task)).collect();
    let results = (!tasks.is_empty()).then(named);
    let following =
        Following { app: app.clone(), caller: asking.caller, run: (dag.clone(), run.clone()), results };
    let standing = Standing::from(app.engine.db().run_info(&dag, &run).await?);
    let body = match standing {
        Standing::Gone => {
            let message = format!("The DagRun with dag_id: `{dag}` and run_id: `{run}` was not found");
            return Err(Refusal::plain(StatusCode::NOT_FOUND, message));
        }
        // What is wrong with a result is a status as long as nothing has been told.
        Standing::Ended(state) => Body::from(following.end(state).await?),
        Standing::Going => {
            let standing = app.own.waits.follow(&app, (dag, run))?;
            let (over, deadline) = (app.own.waits.over(), Instant::now() + app.options.longest_wait);
            Lines { following, standing, over, interval, deadline, next: None }.body()
        }
    };
    Ok(Response::new(body))
}

/// What a task returned. A name that no task can have has returned nothing.
fn returned(dag: &Arc<str>, run: &Arc<str>, task: &str) -> Option<SequenceKey> {
    let ti = TaskInstanceKey::new(dag.clone(), run.clone(), task, UNMAPPED).ok()?;
    Some(ti.return_value().sequence())
}

/// How long it is until a run that goes on is told of again. Nobody looks oftener than so.
fn interval(params: &Params) -> Result<Duration, Refusal> {
    let wrong = |kind: &str, message: &str, input: Option<&str>| {
        Refusal::unprocessable(kind, &["query", "interval"], message, input)
    };
    let Some(text) = params.text("interval") else {
        return Err(wrong("missing", "Field required", None));
    };
    let Ok(seconds) = text.trim().parse::<f64>() else {
        let message = "Input should be a valid number, unable to parse string as a number";
        return Err(wrong("float_parsing", message, Some(text)));
    };
    if seconds.is_nan() || seconds <= 0.0 {
        return Err(wrong("greater_than", "Input should be greater than 0", Some(text)));
    }
    Ok(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX).max(PAUSE))
}

/// A line as text.
fn text(line: &Line) -> String {
    serde_json::to_string(line).unwrap_or_default() + "\n"
}

/// Somebody who waits for the end of a run.
struct Following {
    app: App,
    caller: Caller,
    /// The DAG and the run.
    run: (Arc<str>, Arc<str>),
    /// What tasks returned that is to be told; none for what the DAG returned.
    results: Option<Vec<SequenceKey>>,
}

/// The lines as they come. A server that stops ends them, and so does the longest wait that it allows.
struct Lines {
    following: Following,
    standing: watch::Receiver<Standing>,
    over: watch::Receiver<bool>,
    interval: Duration,
    deadline: Instant,
    /// When the next one is due; none before the first, which comes at once.
    next: Option<Instant>,
}

impl Lines {
    fn body(self) -> Body {
        Body::from_stream(stream::unfold(Some(self), |lines| async {
            let mut lines = lines?;
            let (line, is_last) = lines.line().await?;
            Some((line, (!is_last).then_some(lines)))
        }))
    }

    /// The next line, and whether it is the last. Those who have heard something are told of a result that is wrong or
    /// lost by an answer that is cut off.
    async fn line(&mut self) -> Option<(Result<String, BoxError>, bool)> {
        if let Some(next) = self.next {
            let ended = tokio::select! {
                biased;
                ended = self.standing.wait_for(|standing| *standing != Standing::Going) => {
                    Some(ended.map_or(Standing::Gone, |ended| *ended))
                }
                _ = self.over.wait_for(|over| *over) => return None,
                () = sleep_until(next.min(self.deadline)) => None,
            };
            match ended {
                Some(Standing::Ended(state)) => {
                    return Some((self.following.end(state).await.map_err(Refusal::into_error), true));
                }
                Some(Standing::Going | Standing::Gone) => {
                    return Some((Err("the run was removed".into()), true));
                }
                None if next >= self.deadline => return None,
                None => {}
            }
        }
        self.next = Some(Instant::now().checked_add(self.interval).unwrap_or(self.deadline));
        let line = Line { state: name(Some(RunState::Running)), results: IndexMap::new() };
        Some((Ok(text(&line)), false))
    }
}

impl Following {
    /// How the run ended, with the results.
    async fn end(&self, state: RunState) -> Result<String, Refusal> {
        let mut line = Line { state: name(Some(state)), results: IndexMap::new() };
        let mut bytes = self.app.options.body_limit;
        let (dag, run) = &self.run;
        let results = match &self.results {
            Some(named) => named.clone(),
            None => {
                let marked = self.app.engine.db().results(dag, run).await?;
                marked.iter().filter_map(|task| returned(dag, run, task)).collect()
            }
        };
        for key in &results {
            let (engine, options) = (&self.app.engine, PullOptions::default());
            let count = engine.count(&self.caller, key).await?;
            if count > ELEMENTS {
                let message = format!("{key} has {count} elements, the most in one answer are {ELEMENTS}");
                return Err(Refusal::because(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message));
            }
            let key = std::slice::from_ref(key);
            let answer = engine.pull_tasks_within(&self.caller, key, options, &mut bytes).await?.pop();
            if let Some(returned) = answer.map(|answer| self.returned(answer)).transpose()?.flatten() {
                line.results.insert(key[0].task_id.clone(), returned);
            }
        }
        Ok(text(&line))
    }

    /// What a task returned, if it has.
    fn returned(&self, answer: TaskAnswer) -> Result<Option<Returned>, Refusal> {
        match answer {
            TaskAnswer::Single(answer) => Ok(self.value(&answer)?.map(Returned::One)),
            TaskAnswer::Mapped { items, .. } => {
                let values = items.iter().filter_map(|(_, answer)| self.value(answer).transpose());
                let values = values.collect::<Result<Vec<_>, _>>()?;
                Ok((!values.is_empty()).then_some(Returned::Many(values)))
            }
            _ => Ok(None),
        }
    }

    /// The value in an answer; none when there is none, an error when it is wrong or lost.
    fn value(&self, answer: &Answer) -> Result<Option<Box<RawValue>>, Refusal> {
        self.app.metrics.answered(answer);
        if let Some(found) = answer.found() {
            return Ok(RawValue::from_string(found.value.as_str().to_owned()).ok());
        }
        let refusal = Refusal::of_answer(answer);
        if refusal.is_none() { Ok(None) } else { Err(refusal) }
    }
}
