//! Runs and task instances, for whoever decides what is executed.

use std::fmt;

use excom_core::attempt::AttemptInfo;
use excom_core::run::{DagRun, RunState};
use excom_core::{AttemptId, Error, ErrorKind, Result, TaskInstanceKey, TaskState};
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

    /// How a task instance stands, if it is known.
    ///
    /// # Errors
    /// When the server cannot be reached, or the token is of a task.
    pub async fn task_instance(&self, ti: &TaskInstanceKey) -> Result<Option<Standing>> {
        let text = self.unless_none(&Call::get(place::task_instance("task-instances", ti)?)).await?;
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
