//! Airflow's runs and task instances, which are read only.

use excom_core::attempt::{AttemptInfo, TaskInstanceInfo};
use excom_core::db::{DagRun, RunFilter, RunInfo};
use excom_core::{TaskInstanceKey, Value};
use rusqlite::{Row, params};

use super::super::failure::Failure;
use super::super::row::{text, time};
use super::columns::{TRIES, millis, of_ti};
use super::{Beside, row};
use crate::airflow::{self, compact};

type Result<T> = std::result::Result<T, Failure>;

/// What [`info`] reads of a run `r`.
macro_rules! info {
    () => {
        concat!(
            "r.dag_id, r.run_id, ",
            millis!("r.logical_date"),
            ", ",
            millis!("r.run_after"),
            ", CAST(r.conf AS TEXT), r.state, ",
            millis!("r.start_date"),
            ", ",
            millis!("r.end_date")
        )
    };
}

/// When a run is due, in milliseconds.
macro_rules! due {
    () => {
        concat!("ifnull(", millis!("r.logical_date"), ", ", millis!("r.run_after"), ")")
    };
}

/// The state of one task instance.
const STATE: &str = concat!("SELECT i.state FROM task_instance i WHERE", of_ti!("i"));

/// Task instances of a run.
const TASK_INSTANCES: &str = "SELECT task_id, map_index FROM task_instance
    WHERE dag_id = ?1 AND run_id = ?2 AND (?3 IS NULL OR (task_id, map_index) > (?3, ?4)) ORDER BY 1, 2 LIMIT ?5";

/// One run by its key.
const RUN_INFO: &str = concat!("SELECT ", info!(), " FROM dag_run r WHERE r.dag_id = ?1 AND r.run_id = ?2");

/// Runs of a DAG, or of all, which a person looks at.
const RUNS: &str = concat!(
    "SELECT ",
    info!(),
    " FROM dag_run r WHERE r.dag_id = ifnull(?1, r.dag_id) AND (?2 IS NULL OR r.state = ?2)
      AND (?3 IS NULL OR (",
    due!(),
    ", r.dag_id, r.run_id) < (?3, ?4, ?5)) ORDER BY ",
    due!(),
    " DESC, r.dag_id DESC, r.run_id DESC LIMIT ?6"
);

impl Beside<'_> {
    pub(super) fn task_instance(&self, ti: &TaskInstanceKey) -> Result<Option<TaskInstanceInfo>> {
        let of = params![ti.dag_id, ti.run_id, ti.task_id, ti.map_index];
        let state =
            self.one(STATE, of, |found| Ok(airflow::state(found.get::<_, Option<String>>(0)?.as_deref())))?;
        let Some(state) = state else { return Ok(None) };
        Ok(Some(TaskInstanceInfo { key: ti.clone(), state, attempt: self.attempts(ti)?.pop() }))
    }

    pub(super) fn attempts(&self, ti: &TaskInstanceKey) -> Result<Vec<AttemptInfo>> {
        self.rows(TRIES, params![ti.dag_id, ti.run_id, ti.task_id, ti.map_index], row::attempt)
    }

    pub(super) fn task_instances(
        &self,
        dag_id: &str,
        run_id: &str,
        after: Option<(&str, i32)>,
        limit: u32,
    ) -> Result<Vec<TaskInstanceInfo>> {
        let (task, map_index) = after.unzip();
        let keys = self.rows(TASK_INSTANCES, params![dag_id, run_id, task, map_index, limit], |found| {
            Ok(TaskInstanceKey::new(dag_id, run_id, text(found, 0)?, found.get(1)?)?)
        })?;
        keys.iter().filter_map(|key| self.task_instance(key).transpose()).collect()
    }

    pub(super) fn run_info(&self, dag_id: &str, run_id: &str) -> Result<Option<RunInfo>> {
        self.one(RUN_INFO, [dag_id, run_id], info)
    }

    pub(super) fn runs(
        &self,
        filter: &RunFilter,
        before: Option<&DagRun>,
        limit: u32,
    ) -> Result<Vec<RunInfo>> {
        let bound = params![
            filter.dag_id.as_deref(),
            filter.state.map(|state| state.name()),
            before.map(|run| run.date().as_millisecond()),
            before.map(|run| &*run.dag_id),
            before.map(|run| &*run.run_id),
            limit,
        ];
        self.rows(RUNS, bound, info)
    }
}

fn info(found: &Row<'_>) -> Result<RunInfo> {
    let moment = |at| Ok::<_, Failure>(found.get::<_, Option<i64>>(at)?.map(time));
    let conf = found.get::<_, Option<String>>(4)?.map(|conf| compact(&conf)).filter(|conf| conf != "null");
    Ok(RunInfo {
        run: DagRun {
            logical_date: moment(2)?,
            conf: conf.map(Value::parse).transpose()?,
            ..DagRun::new(text(found, 0)?, text(found, 1)?, time(found.get(3)?))
        },
        state: airflow::run_state(found.get::<_, Option<String>>(5)?.as_deref()),
        started_at: moment(6)?,
        ended_at: moment(7)?,
    })
}
