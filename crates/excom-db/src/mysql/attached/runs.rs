//! Airflow's runs and task instances, which are read only, and the notes beside them.

use excom_core::attempt::{Attempt, AttemptInfo, Caller, TaskInstanceInfo};
use excom_core::db::{DagRun, RunFilter, RunInfo};
use excom_core::{TaskInstanceKey, Value};
use jiff::Timestamp;
use mysql_async::Row;

use super::super::connection::named;
use super::super::failure::Failure;
use super::super::names::Ti;
use super::super::read::of_ti;
use super::super::row::{self as own, moment, optional, optional_str};
use super::columns::{TRIES, bytes, millis, same, ti};
use super::write::step;
use super::{Airflow, Tables, row};
use crate::airflow::{self, airflows_alone, compact};

type Result<T> = std::result::Result<T, Failure>;

/// What [`info`] reads of a run `r`.
macro_rules! info {
    () => {
        concat!(
            bytes!("r.dag_id"),
            ", ",
            bytes!("r.run_id"),
            ", ",
            millis!("r.logical_date"),
            ", ",
            millis!("r.run_after"),
            ", r.conf, r.state, ",
            millis!("r.start_date"),
            ", ",
            millis!("r.end_date")
        )
    };
}

/// When a run is due.
macro_rules! due {
    () => {
        "(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', COALESCE(r.logical_date, r.run_after)) DIV 1000)"
    };
}

/// The state of one task instance.
const STATE: &str = concat!(
    "SELECT i.state FROM airflow.task_instance i WHERE",
    ti!("i.dag_id", "i.run_id", "i.task_id", "i.map_index")
);

/// Task instances of a run.
const TASK_INSTANCES: &str = concat!(
    "SELECT ",
    bytes!("i.task_id"),
    ", i.map_index FROM airflow.task_instance i WHERE ",
    same!("i.dag_id", ":dag"),
    " AND ",
    same!("i.run_id", ":run_id"),
    " AND (:task IS NULL OR (",
    bytes!("i.task_id"),
    ", i.map_index) > (:task, :map_index)) ORDER BY 1, 2 LIMIT :limit"
);

/// One run by its key.
const RUN_INFO: &str = concat!(
    "SELECT ",
    info!(),
    " FROM airflow.dag_run r WHERE ",
    same!("r.dag_id", ":dag"),
    " AND ",
    same!("r.run_id", ":run_id")
);

/// Runs of a DAG, or of all, which a person looks at.
const RUNS: &str = concat!(
    "SELECT ",
    info!(),
    " FROM airflow.dag_run r WHERE (:dag IS NULL OR ",
    same!("r.dag_id", ":dag"),
    ") AND (:state IS NULL OR r.state = :state) AND (:before IS NULL OR (",
    due!(),
    ", ",
    bytes!("r.dag_id"),
    ", ",
    bytes!("r.run_id"),
    ") < (:before, :before_dag, :before_run)) ORDER BY ",
    due!(),
    " DESC, 1 DESC, 2 DESC LIMIT :limit"
);

impl Airflow<'_> {
    /// The numbers of the task instance of an attempt that may write, and its own.
    async fn noting(&mut self, attempt: &Attempt, at: Timestamp) -> Result<(Ti, u32)> {
        let of = self.0.ti(&attempt.ti, at.as_millisecond()).await?;
        self.0.take([of]).await?;
        Ok((of, self.fence(&Caller::Attempt(attempt.clone())).await?))
    }

    async fn note(
        &mut self,
        attempt: &Attempt,
        name: &str,
        value: Option<&Value>,
        at: Timestamp,
    ) -> Result<()> {
        let (of, number) = self.noting(attempt, at).await?;
        self.0.put_note(of, number, name, value).await
    }

    async fn note_once(
        &mut self,
        attempt: &Attempt,
        name: &str,
        value: &Value,
        at: Timestamp,
    ) -> Result<Value> {
        let (of, number) = self.noting(attempt, at).await?;
        self.0.put_first_note(of, number, name, value).await
    }
}

airflows_alone!(Tables, Failure);

impl Tables {
    pub(super) async fn task_instance(&self, ti: &TaskInstanceKey) -> Result<Option<TaskInstanceInfo>> {
        let state = |found: &Row| Ok(airflow::state(optional_str(found, 0)?));
        let Some(state) = self.own.one(STATE, of_ti(ti), state).await? else { return Ok(None) };
        let attempt = self.attempts(ti).await?.pop();
        Ok(Some(TaskInstanceInfo { key: ti.clone(), state, attempt }))
    }

    pub(super) async fn attempts(&self, ti: &TaskInstanceKey) -> Result<Vec<AttemptInfo>> {
        let found = self.own.rows(TRIES, of_ti(ti), |found| row::attempt(found, 0)).await?;
        Ok(found.into_iter().flatten().collect())
    }

    pub(super) async fn task_instances(
        &self,
        dag_id: &str,
        run_id: &str,
        after: Option<(&str, i32)>,
        limit: u32,
    ) -> Result<Vec<TaskInstanceInfo>> {
        let parameters = named! {
            "dag" => dag_id,
            "run_id" => run_id,
            "task" => after.map(|(task, _)| task.to_owned()),
            "map_index" => after.map(|(_, map_index)| map_index),
            "limit" => limit,
        };
        let keys = self.own.rows(TASK_INSTANCES, parameters, |found| {
            Ok(TaskInstanceKey::new(dag_id, run_id, own::text(found, 0)?, own::int4(found, 1)?)?)
        });
        let mut instances = Vec::new();
        for key in keys.await? {
            instances.extend(self.task_instance(&key).await?);
        }
        Ok(instances)
    }

    pub(super) async fn run_info(&self, dag_id: &str, run_id: &str) -> Result<Option<RunInfo>> {
        self.own.one(RUN_INFO, named! { "dag" => dag_id, "run_id" => run_id }, info).await
    }

    pub(super) async fn runs(
        &self,
        filter: &RunFilter,
        before: Option<&DagRun>,
        limit: u32,
    ) -> Result<Vec<RunInfo>> {
        let parameters = named! {
            "dag" => filter.dag_id.as_deref().map(str::to_owned),
            "state" => filter.state.map(|state| state.name().to_owned()),
            "before" => before.map(|run| run.date().as_millisecond()),
            "before_dag" => before.map(|run| run.dag_id.to_string()),
            "before_run" => before.map(|run| run.run_id.to_string()),
            "limit" => limit,
        };
        self.own.rows(RUNS, parameters, info).await
    }

    // ---- beside them

    pub(super) async fn note(
        &self,
        attempt: &Attempt,
        name: &str,
        value: Option<&Value>,
        at: Timestamp,
    ) -> Result<()> {
        step!(self, write, note(attempt, name, value, at)).await
    }

    pub(super) async fn note_once(
        &self,
        attempt: &Attempt,
        name: &str,
        value: &Value,
        at: Timestamp,
    ) -> Result<Value> {
        step!(self, write, note_once(attempt, name, value, at)).await
    }
}

fn info(found: &Row) -> Result<RunInfo> {
    let time = |at| Ok::<_, Failure>(optional(found, at)?.map(moment));
    let conf = optional_str(found, 4)?.map(compact).filter(|conf| conf != "null");
    Ok(RunInfo {
        run: DagRun {
            logical_date: time(2)?,
            conf: conf.map(Value::parse).transpose()?,
            ..DagRun::new(own::text(found, 0)?, own::text(found, 1)?, own::time(found, 3)?)
        },
        state: airflow::run_state(optional_str(found, 5)?),
        started_at: time(6)?,
        ended_at: time(7)?,
    })
}
