//! Runs and task instances, for whoever decides what is executed.

use std::fmt;

use std::sync::Arc;

use excom_core::attempt::{AttemptInfo, TaskInstanceInfo};
use excom_core::engine::Footprint;
use excom_core::run::{DagRun, RunFilter, RunInfo, RunState};
use excom_core::{AttemptId, Error, ErrorKind, Result, TaskInstanceKey, TaskState, Value};
use jiff::Timestamp;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::call::Call;
use crate::client::Client;
use crate::place;

/// How a task instance stands.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Standing {
    /// Its state.
    pub state: TaskState,
    /// The attempt that may write, once one has started.
    pub attempt: Option<AttemptInfo>,
    /// When it goes on, while it is put off.
    pub reschedule_date: Option<Timestamp>,
}

/// A try of a task instance that is to be executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Try {
    /// Which task instance.
    pub ti: TaskInstanceKey,
    /// Its number; the one behind the last when it is not said.
    pub try_number: Option<u32>,
    /// How many tries may follow it.
    pub max_tries: u32,
}

/// A try that waits for a worker.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Queued {
    /// The attempt.
    pub id: AttemptId,
    /// The number of the try.
    pub try_number: u32,
    /// The token with which a worker starts it.
    pub token: String,
}

impl fmt::Debug for Queued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queued")
            .field("id", &self.id)
            .field("try_number", &self.try_number)
            .finish_non_exhaustive()
    }
}

/// A run as the server tells it.
#[derive(Deserialize)]
struct RunTold {
    dag_id: Arc<str>,
    run_id: Arc<str>,
    state: Option<RunState>,
    logical_date: Option<Timestamp>,
    run_after: Timestamp,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    version: Option<Arc<str>>,
    conf: Option<Box<RawValue>>,
}

impl RunTold {
    fn info(self) -> Result<RunInfo> {
        let Self { dag_id, run_id, state, logical_date, run_after, started_at, ended_at, version, conf } =
            self;
        let conf = conf.map(|conf| Value::parse(conf.get().to_owned())).transpose()?;
        let run = DagRun { dag_id, run_id, logical_date, run_after, conf, version };
        Ok(RunInfo { run, state, started_at, ended_at })
    }
}

/// The most runs, and task instances, that a server tells at once.
const RUNS: u32 = 100;
const INSTANCES: u32 = 1000;

/// What is not looked at.
#[derive(Deserialize)]
struct Done {}

impl Client {
    /// Makes a run known and sets it running. Repeated, it changes nothing.
    ///
    /// # Errors
    /// When the server cannot be reached, or the token may not; [`ErrorKind::Exists`] for a run that has ended, or has
    /// another date or parameters; [`ErrorKind::InvalidRequest`] for a run with a version, which servers do not take.
    pub async fn start_run(&self, run: &DagRun) -> Result<()> {
        #[derive(Serialize)]
        struct New<'a> {
            dag_id: &'a str,
            run_id: &'a str,
            logical_date: Option<Timestamp>,
            run_after: Timestamp,
            conf: Option<&'a RawValue>,
        }
        if run.version.is_some() {
            let message = format!(
                "run {} of {} has a version of its DAG, which a server does not take",
                run.run_id, run.dag_id
            );
            return Err(Error::new(ErrorKind::InvalidRequest, message).hint("start it where the database is"));
        }
        let conf = run.conf.as_ref().map(|conf| serde_json::from_slice::<&RawValue>(conf.bytes()));
        let conf = conf.transpose().map_err(|cause| {
            Error::new(ErrorKind::InvalidValue, "the parameters of a run are not JSON").because(cause)
        })?;
        let DagRun { dag_id, run_id, logical_date, run_after, .. } = run;
        let new = New { dag_id, run_id, logical_date: *logical_date, run_after: *run_after, conf };
        let Done {} = self.ask(&Call::document(Method::POST, place::own("runs", [])?, &new)?).await?;
        Ok(())
    }

    /// Tells how a run stands or ended.
    ///
    /// # Errors
    /// When the server cannot be reached, or the token may not; [`ErrorKind::NoValue`] for a run that is not known.
    pub async fn set_run_state(&self, dag_id: &str, run_id: &str, state: RunState) -> Result<()> {
        #[derive(Serialize)]
        struct End<'a> {
            dag_id: &'a str,
            run_id: &'a str,
            state: RunState,
        }
        let end = End { dag_id, run_id, state };
        let Done {} = self.ask(&Call::document(Method::PATCH, place::own("runs", [])?, &end)?).await?;
        Ok(())
    }

    /// Runs, newest first, only those before the one given, at most so many.
    ///
    /// # Errors
    /// When the server cannot be reached, or the token is of a task.
    pub async fn runs(
        &self,
        filter: &RunFilter,
        before: Option<&DagRun>,
        limit: u32,
    ) -> Result<Vec<RunInfo>> {
        #[derive(Deserialize)]
        struct Before {
            date: Timestamp,
            dag_id: String,
            run_id: String,
        }
        #[derive(Deserialize)]
        struct Told {
            items: Vec<RunTold>,
            next: Option<Before>,
        }
        let of = |run: &DagRun| Before {
            date: run.date(),
            dag_id: run.dag_id.to_string(),
            run_id: run.run_id.to_string(),
        };
        let (mut runs, mut before) = (Vec::new(), before.map(of));
        loop {
            let left = limit.saturating_sub(u32::try_from(runs.len()).unwrap_or(u32::MAX));
            if left == 0 {
                return Ok(runs);
            }
            let mut call = Call::get(place::own("runs", [])?)
                .maybe("dag_id", filter.dag_id.as_ref())
                .maybe("state", filter.state)
                .with("limit", left.min(RUNS));
            if let Some(Before { date, dag_id, run_id }) = &before {
                call = call
                    .with("before_date", date)
                    .with("before_dag_id", dag_id)
                    .with("before_run_id", run_id);
            }
            let told: Told = self.ask(&call).await?;
            for run in told.items {
                runs.push(run.info()?);
            }
            before = told.next;
            if before.is_none() {
                return Ok(runs);
            }
        }
    }

    /// A run, and how it stands, if it is known.
    ///
    /// # Errors
    /// As [`Client::runs`].
    pub async fn run_info(&self, dag_id: &str, run_id: &str) -> Result<Option<RunInfo>> {
        let text = self.unless_none(&Call::get(place::own("runs", [dag_id, run_id])?)).await?;
        text.map(|text| self.read::<RunTold>(&text)?.info()).transpose()
    }

    /// Task instances of a run behind the one given by task and map index, at most so many; fewer than 1000 that are asked
    /// for are the last. Those of a task are together, in order of map index.
    ///
    /// # Errors
    /// As [`Client::runs`].
    pub async fn task_instances(
        &self,
        dag_id: &str,
        run_id: &str,
        after: Option<(&str, i32)>,
        limit: u32,
    ) -> Result<Vec<TaskInstanceInfo>> {
        #[derive(Deserialize)]
        struct Told {
            items: Vec<TaskInstanceInfo>,
        }
        let mut call =
            Call::get(place::own("task-instances", [dag_id, run_id])?).with("limit", limit.min(INSTANCES));
        if let Some((task_id, map_index)) = after {
            call = call.with("after_task_id", task_id).with("after_map_index", map_index);
        }
        let told: Told = self.ask(&call).await?;
        Ok(told.items)
    }

    /// How a task instance stands, if it is known.
    ///
    /// # Errors
    /// When the server cannot be reached, or the token is of a task.
    pub async fn task_instance(&self, ti: &TaskInstanceKey) -> Result<Option<Standing>> {
        let text = self.unless_none(&Call::get(place::task_instance("task-instances", ti)?)).await?;
        text.map(|text| self.read(&text)).transpose()
    }

    /// How a task instance stands, and what its attempts read and pushed, if it is known.
    ///
    /// # Errors
    /// As [`Client::task_instance`].
    pub async fn footprint(&self, ti: &TaskInstanceKey) -> Result<Option<Footprint>> {
        let text = self.unless_none(&Call::get(place::task_instance("footprint", ti)?)).await?;
        text.map(|text| self.read(&text)).transpose()
    }

    /// Makes a try of a task instance known, with the token by which a worker starts it. It is not repeated when no
    /// answer came: each is another try.
    ///
    /// # Errors
    /// When the server cannot be reached, or the token may not; [`ErrorKind::NoValue`] for a run that was not started.
    pub async fn queue(&self, new: &Try) -> Result<Queued> {
        #[derive(Serialize)]
        struct New<'a> {
            #[serde(flatten)]
            ti: &'a TaskInstanceKey,
            #[serde(skip_serializing_if = "Option::is_none")]
            try_number: Option<u32>,
            max_tries: u32,
        }
        let new = New { ti: &new.ti, try_number: new.try_number, max_tries: new.max_tries };
        self.ask(&Call::document(Method::POST, place::own("task-instances", [])?, &new)?.once()).await
    }
}
