//! Airflow's runs and task instances, which are read only, and what Excom knows beside them.

use excom_core::attempt::{Attempt, AttemptInfo, Caller, TaskInstanceInfo};
use excom_core::db::{DagRun, DagVersion, Note, RunFilter, RunInfo, RunState};
use excom_core::{TaskInstanceKey, Value};
use jiff::Timestamp;
use tokio_postgres::Row;

use super::super::connection::{Parameter, Statement, types};
use super::super::failure::Failure;
use super::super::notes::BESIDE;
use super::super::row::{text as name, time};
use super::super::runs::dag_version;
use super::columns::{attempt, millis};
use super::{Tables, row};
use crate::airflow::{self, airflows_alone, compact};

type Result<T> = std::result::Result<T, Failure>;

/// The newest try that has started of a task instance `i`.
macro_rules! newest {
    () => {
        " LEFT JOIN LATERAL (
              SELECT * FROM excom.attempt() o
              WHERE o.dag_id = i.dag_id AND o.run_id = i.run_id AND o.task_id = i.task_id AND o.map_index = i.map_index
              ORDER BY o.number DESC LIMIT 1) a ON true "
    };
}

/// What [`info`] reads of a run `r`.
macro_rules! info {
    () => {
        concat!(
            "r.dag_id::text, r.run_id::text, ",
            millis!("r.logical_date"),
            ", ",
            millis!("r.run_after"),
            ", r.conf::text, r.state::text, ",
            millis!("r.start_date"),
            ", ",
            millis!("r.end_date")
        )
    };
}

/// One task instance, by Airflow's key of it.
const TASK_INSTANCE: Statement<'_> = Statement {
    sql: concat!(
        "SELECT ",
        attempt!(),
        ", i.state::text FROM task_instance i",
        newest!(),
        "WHERE i.dag_id = $1 AND i.run_id = $2 AND i.task_id = $3 AND i.map_index = $4"
    ),
    types: types![TEXT, TEXT, TEXT, INT4],
};

/// Its tries, by the same key.
const ATTEMPTS: Statement<'_> = Statement {
    sql: concat!(
        "SELECT ",
        attempt!(),
        " FROM excom.attempt() a
         WHERE a.dag_id = $1 AND a.run_id = $2 AND a.task_id = $3 AND a.map_index = $4 ORDER BY a.number"
    ),
    types: types![TEXT, TEXT, TEXT, INT4],
};

/// Task instances of a run.
const TASK_INSTANCES: Statement<'_> = Statement {
    sql: concat!(
        "SELECT ",
        attempt!(),
        ", i.state::text, i.task_id::text, i.map_index FROM task_instance i",
        newest!(),
        "WHERE i.dag_id = $1 AND i.run_id = $2 AND ($3::text IS NULL OR (i.task_id, i.map_index) > ($3, $4))
         ORDER BY i.task_id, i.map_index LIMIT $5"
    ),
    types: types![TEXT, TEXT, TEXT, INT4, INT8],
};

/// One run by its key.
const RUN_INFO: Statement<'_> = Statement {
    sql: concat!("SELECT ", info!(), " FROM dag_run r WHERE r.dag_id = $1 AND r.run_id = $2"),
    types: types![TEXT, TEXT],
};

/// Runs of a DAG, or of all, which a person looks at.
const RUNS: Statement<'_> = Statement {
    sql: concat!(
        "SELECT ",
        info!(),
        " FROM dag_run r
         WHERE ($1::text IS NULL OR r.dag_id = $1) AND ($2::text IS NULL OR r.state = $2)
         AND ($3::int8 IS NULL OR (",
        millis!("coalesce(r.logical_date, r.run_after)"),
        ", r.dag_id COLLATE \"C\",
                                   r.run_id COLLATE \"C\") < ($3, $4, $5))
         ORDER BY ",
        millis!("coalesce(r.logical_date, r.run_after)"),
        " DESC, r.dag_id COLLATE \"C\" DESC,
                  r.run_id COLLATE \"C\" DESC LIMIT $6"
    ),
    types: types![TEXT, TEXT, INT8, TEXT, TEXT, INT8],
};

/// One DAG version by its key.
const NOTE_DAG_VERSION: Statement<'_> = Statement {
    sql: "INSERT INTO excom.known_dag (dag_id, version, document, seen) VALUES ($1, $2, $3, $4)
          ON CONFLICT DO NOTHING",
    types: types![TEXT, TEXT, TEXT, INT8],
};

/// Versions of a DAG, of which there are few.
const DAG_VERSIONS: Statement<'_> = Statement {
    sql: "SELECT version, document, seen FROM excom.known_dag WHERE dag_id = $1 ORDER BY id DESC LIMIT $2",
    types: types![TEXT, INT8],
};

/// One by its key.
const DAG_VERSION: Statement<'_> = Statement {
    sql: "SELECT version, document, seen FROM excom.known_dag WHERE dag_id = $1 AND version = $2",
    types: types![TEXT, TEXT],
};

airflows_alone!(Tables, Failure);

impl Tables {
    pub(super) async fn task_instance(&self, ti: &TaskInstanceKey) -> Result<Option<TaskInstanceInfo>> {
        let parameters: [Parameter<'_>; 4] = [&&*ti.dag_id, &&*ti.run_id, &&*ti.task_id, &ti.map_index];
        self.own.one(&TASK_INSTANCE, &parameters, |found| instance(found, ti.clone())).await
    }

    pub(super) async fn attempts(&self, ti: &TaskInstanceKey) -> Result<Vec<AttemptInfo>> {
        let parameters: [Parameter<'_>; 4] = [&&*ti.dag_id, &&*ti.run_id, &&*ti.task_id, &ti.map_index];
        let found = self.own.rows(&ATTEMPTS, &parameters, |found| row::attempt(found, 0)).await?;
        Ok(found.into_iter().flatten().collect())
    }

    pub(super) async fn task_instances(
        &self,
        dag_id: &str,
        run_id: &str,
        after: Option<(&str, i32)>,
        limit: u32,
    ) -> Result<Vec<TaskInstanceInfo>> {
        let (task, map_index, limit) = (after.map(|at| at.0), after.map(|at| at.1), i64::from(limit));
        let parameters: [Parameter<'_>; 5] = [&dag_id, &run_id, &task, &map_index, &limit];
        let of = |found: &Row| {
            instance(found, TaskInstanceKey::new(dag_id, run_id, name(found, 6)?, found.try_get(7)?)?)
        };
        self.own.rows(&TASK_INSTANCES, &parameters, of).await
    }

    pub(super) async fn run_info(&self, dag_id: &str, run_id: &str) -> Result<Option<RunInfo>> {
        self.own.one(&RUN_INFO, &[&dag_id, &run_id], info).await
    }

    pub(super) async fn runs(
        &self,
        filter: &RunFilter,
        before: Option<&DagRun>,
        limit: u32,
    ) -> Result<Vec<RunInfo>> {
        let parameters: [Parameter<'_>; 6] = [
            &filter.dag_id.as_deref(),
            &filter.state.map(RunState::name),
            &before.map(|run| run.date().as_millisecond()),
            &before.map(|run| &*run.dag_id),
            &before.map(|run| &*run.run_id),
            &i64::from(limit),
        ];
        self.own.rows(&RUNS, &parameters, info).await
    }

    // ---- beside them

    pub(super) async fn note(
        &self,
        attempt: &Attempt,
        name: &str,
        value: Option<&Value>,
        _at: Timestamp,
    ) -> excom_core::Result<()> {
        match self.own.note_by(&BESIDE, attempt, name, value).await {
            Ok(()) => Ok(()),
            Err(failure) => Err(self.refused(failure, &Caller::Attempt(attempt.clone())).await),
        }
    }

    pub(super) async fn note_once(
        &self,
        attempt: &Attempt,
        name: &str,
        value: &Value,
        _at: Timestamp,
    ) -> excom_core::Result<Value> {
        match self.own.note_once_by(&BESIDE, attempt, name, value).await {
            Ok(first) => Ok(first),
            Err(failure) => Err(self.refused(failure, &Caller::Attempt(attempt.clone())).await),
        }
    }

    pub(super) async fn notes(&self, ti: &TaskInstanceKey, prefix: &str, limit: u32) -> Result<Vec<Note>> {
        self.own.notes_by(&BESIDE, ti, prefix, limit).await
    }

    pub(super) async fn note_dag_version(
        &self,
        dag_id: &str,
        version: &str,
        document: &Value,
        at: Timestamp,
    ) -> Result<()> {
        let (document, at) = (document.as_str(), at.as_millisecond());
        self.own.connections.write(&NOTE_DAG_VERSION, &[&dag_id, &version, &document, &at]).await.map(drop)
    }

    pub(super) async fn dag_versions(&self, dag_id: &str, limit: u32) -> Result<Vec<DagVersion>> {
        self.own.rows(&DAG_VERSIONS, &[&dag_id, &i64::from(limit)], dag_version).await
    }

    pub(super) async fn dag_version(&self, dag_id: &str, version: &str) -> Result<Option<DagVersion>> {
        self.own.one(&DAG_VERSION, &[&dag_id, &version], dag_version).await
    }
}

fn instance(found: &Row, key: TaskInstanceKey) -> Result<TaskInstanceInfo> {
    Ok(TaskInstanceInfo { key, state: airflow::state(found.try_get(5)?), attempt: row::attempt(found, 0)? })
}

fn info(found: &Row) -> Result<RunInfo> {
    let conf = found.try_get::<_, Option<&str>>(4)?.map(compact).filter(|conf| conf != "null");
    Ok(RunInfo {
        run: DagRun {
            logical_date: row::moment(found, 2)?,
            conf: conf.map(Value::parse).transpose()?,
            ..DagRun::new(name(found, 0)?, name(found, 1)?, time(found.try_get(3)?))
        },
        state: airflow::run_state(found.try_get(5)?),
        started_at: row::moment(found, 6)?,
        ended_at: row::moment(found, 7)?,
    })
}
