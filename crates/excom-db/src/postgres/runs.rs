//! Runs and DAG versions: the statements that write and read them.

use excom_core::attempt::TaskInstanceInfo;
use excom_core::db::{DagRun, DagVersion, RunFilter, RunInfo, RunState};
use excom_core::{TaskInstanceKey, Value};
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::Tables;
use super::connection::{Parameter, Statement, types};
use super::failure::{Failure, damaged};
use super::read::{attempt, name, run};
use super::row;

type Result<T> = std::result::Result<T, Failure>;

/// What [`info`] reads, from `dag_run r JOIN name d`.
macro_rules! info {
    () => {
        "d.text, r.run_id, r.logical_date, r.run_after, r.conf, r.dag_version, r.state, r.started, r.ended"
    };
}

/// The date that runs are in order by.
macro_rules! date {
    () => {
        "coalesce(r.logical_date, r.run_after)"
    };
}

const DATES: [Type; 6] = [Type::TEXT, Type::TEXT, Type::INT8, Type::INT8, Type::TEXT, Type::TEXT];

/// One run by its key.
const REGISTER_RUN: Statement<'_> =
    Statement { sql: "SELECT excom.register_run($1, $2, $3, $4, $5, $6)", types: &DATES };

/// The same, and its state.
const START_RUN: Statement<'_> = Statement {
    sql: "SELECT excom.set_run_state(r, 0::int2, false, $7) FROM excom.register_run($1, $2, $3, $4, $5, $6) r",
    types: types![TEXT, TEXT, INT8, INT8, TEXT, TEXT, INT8],
};

/// One run by its key, which becomes known.
const KNOW_RUN: Statement<'_> =
    Statement { sql: "SELECT excom.run_of($1, $2, $3)", types: types![TEXT, TEXT, INT8] };

/// The same, which is known: whoever comes while another one begins it waits, and finds that it has a state then.
const BEGIN_RUN: Statement<'_> = Statement {
    sql: concat!(
        "UPDATE excom.dag_run SET logical_date = $3, run_after = $4, conf = coalesce($5, conf),
             dag_version = coalesce($6, dag_version), state = 0, started = coalesce(started, $7), ended = NULL
         WHERE state IS NULL AND id = ",
        run!("$1", "$2"),
        " RETURNING true"
    ),
    types: types![TEXT, TEXT, INT8, INT8, TEXT, TEXT, INT8],
};

/// One run by its key.
const SET_RUN_STATE: Statement<'_> = Statement {
    sql: "SELECT excom.set_run_state(r, $3, $4, $5) FROM excom.run_of($1, $2, $5) r",
    types: types![TEXT, TEXT, INT2, BOOL, INT8],
};

/// One DAG version by its key.
const NOTE_DAG_VERSION: Statement<'_> = Statement {
    sql: "INSERT INTO excom.dag_version (dag, version, document, seen)
          SELECT excom.number_of($1), $2, $3, $4 WHERE NOT EXISTS (
              SELECT FROM excom.dag_version v JOIN excom.name d ON d.id = v.dag WHERE d.text = $1 AND v.version = $2)
          ON CONFLICT DO NOTHING",
    types: types![TEXT, TEXT, TEXT, INT8],
};

/// One run by its key.
const RUN_INFO: Statement<'_> = Statement {
    sql: concat!(
        "SELECT ",
        info!(),
        " FROM excom.dag_run r JOIN excom.name d ON d.id = r.dag
         WHERE d.text = $1 AND r.run_id = $2"
    ),
    types: types![TEXT, TEXT],
};

/// Runs of a DAG backwards in the order of their index.
const RUNS_OF: Statement<'_> = Statement {
    sql: concat!(
        "SELECT ",
        info!(),
        " FROM excom.dag_run r JOIN excom.name d ON d.id = r.dag
         WHERE r.dag = ",
        name!("$1"),
        " AND ($2::int2 IS NULL OR r.state = $2)
           AND ($3::int8 IS NULL OR (",
        date!(),
        ", d.text, r.run_id) < ($3, $4, $5))
         ORDER BY ",
        date!(),
        " DESC, r.run_id DESC LIMIT $6"
    ),
    types: types![TEXT, INT2, INT8, TEXT, TEXT, INT8],
};

/// Runs of all DAGs, which a person looks at: every run is.
const RUNS: Statement<'_> = Statement {
    sql: concat!(
        "SELECT ",
        info!(),
        " FROM excom.dag_run r JOIN excom.name d ON d.id = r.dag
         WHERE $1::text IS NULL AND ($2::int2 IS NULL OR r.state = $2)
           AND ($3::int8 IS NULL OR (",
        date!(),
        ", d.text, r.run_id) < ($3, $4, $5))
         ORDER BY ",
        date!(),
        " DESC, d.text DESC, r.run_id DESC LIMIT $6"
    ),
    types: types![TEXT, INT2, INT8, TEXT, TEXT, INT8],
};

/// Task instances of a run in the order of their key.
const TASK_INSTANCES: Statement<'_> = Statement {
    sql: concat!(
        "SELECT ",
        attempt!(),
        ", t.text, i.map_index FROM excom.task_instance i JOIN excom.name t ON t.id = i.task
         WHERE i.run = ",
        run!("$1", "$2"),
        " AND ($3::text IS NULL OR (i.task, i.map_index) > (",
        name!("$3"),
        ", $4))
         ORDER BY i.task, i.map_index LIMIT $5"
    ),
    types: types![TEXT, TEXT, TEXT, INT4, INT8],
};

/// Versions of a DAG, of which there are few.
const DAG_VERSIONS: Statement<'_> = Statement {
    sql: concat!(
        "SELECT version, document, seen FROM excom.dag_version WHERE dag = ",
        name!("$1"),
        " ORDER BY id DESC LIMIT $2"
    ),
    types: types![TEXT, INT8],
};

/// One by its key.
const DAG_VERSION: Statement<'_> = Statement {
    sql: concat!(
        "SELECT version, document, seen FROM excom.dag_version WHERE dag = ",
        name!("$1"),
        " AND version = $2"
    ),
    types: types![TEXT, TEXT],
};

impl Tables {
    pub(super) async fn register_run(&self, run: &DagRun) -> Result<()> {
        self.register(run, None).await
    }

    pub(super) async fn start_run(&self, run: &DagRun, at: Timestamp) -> Result<()> {
        self.register(run, Some(at)).await
    }

    /// In two steps, since what a function adds is not seen by the statement that calls it. After the first it is as if
    /// something had been pushed into the run.
    pub(super) async fn begin_run(&self, run: &DagRun, at: Timestamp) -> Result<bool> {
        let logical_date = run.logical_date.map(Timestamp::as_millisecond);
        let (conf, version) = (run.conf.as_ref().map(Value::as_str), run.version.as_deref());
        let (run_after, at) = (run.run_after.as_millisecond(), at.as_millisecond());
        self.connections.write(&KNOW_RUN, &[&&*run.dag_id, &&*run.run_id, &run_after]).await?;
        let parameters: [Parameter<'_>; 7] =
            [&&*run.dag_id, &&*run.run_id, &logical_date, &run_after, &conf, &version, &at];
        Ok(!self.connections.write(&BEGIN_RUN, &parameters).await?.is_empty())
    }

    /// Makes a run known with its dates; when it starts, running too.
    async fn register(&self, run: &DagRun, starts: Option<Timestamp>) -> Result<()> {
        let logical_date = run.logical_date.map(Timestamp::as_millisecond);
        let (conf, version) = (run.conf.as_ref().map(Value::as_str), run.version.as_deref());
        let starts = starts.map(Timestamp::as_millisecond);
        let run_after = run.run_after.as_millisecond();
        let parameters: [Parameter<'_>; 7] =
            [&&*run.dag_id, &&*run.run_id, &logical_date, &run_after, &conf, &version, &starts];
        let done = match starts {
            Some(_) => self.connections.write(&START_RUN, &parameters).await,
            None => self.connections.write(&REGISTER_RUN, &parameters[..6]).await,
        };
        done.map(drop)
    }

    pub(super) async fn set_run_state(
        &self,
        dag_id: &str,
        run_id: &str,
        state: RunState,
        at: Timestamp,
    ) -> Result<()> {
        let (code, ended, at) = (row::code(state.to_code()), state.is_finished(), at.as_millisecond());
        self.connections.write(&SET_RUN_STATE, &[&dag_id, &run_id, &code, &ended, &at]).await.map(drop)
    }

    pub(super) async fn note_dag_version(
        &self,
        dag_id: &str,
        version: &str,
        document: &Value,
        at: Timestamp,
    ) -> Result<()> {
        let (document, at) = (document.as_str(), at.as_millisecond());
        self.connections.write(&NOTE_DAG_VERSION, &[&dag_id, &version, &document, &at]).await.map(drop)
    }

    pub(super) async fn run_info(&self, dag_id: &str, run_id: &str) -> Result<Option<RunInfo>> {
        self.one(&RUN_INFO, &[&dag_id, &run_id], info).await
    }

    pub(super) async fn runs(
        &self,
        filter: &RunFilter,
        before: Option<&DagRun>,
        limit: u32,
    ) -> Result<Vec<RunInfo>> {
        let parameters: [Parameter<'_>; 6] = [
            &filter.dag_id.as_deref(),
            &filter.state.map(|state| row::code(state.to_code())),
            &before.map(|run| run.date().as_millisecond()),
            &before.map(|run| &*run.dag_id),
            &before.map(|run| &*run.run_id),
            &i64::from(limit),
        ];
        let statement = if filter.dag_id.is_some() { &RUNS_OF } else { &RUNS };
        self.rows(statement, &parameters, info).await
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
            let key = TaskInstanceKey::new(dag_id, run_id, row::text(found, 6)?, found.try_get(7)?)?;
            row::instance(found, key)
        };
        self.rows(&TASK_INSTANCES, &parameters, of).await
    }

    pub(super) async fn dag_versions(&self, dag_id: &str, limit: u32) -> Result<Vec<DagVersion>> {
        self.rows(&DAG_VERSIONS, &[&dag_id, &i64::from(limit)], dag_version).await
    }

    pub(super) async fn dag_version(&self, dag_id: &str, version: &str) -> Result<Option<DagVersion>> {
        self.one(&DAG_VERSION, &[&dag_id, &version], dag_version).await
    }
}

fn info(found: &Row) -> Result<RunInfo> {
    let time = |at| Ok::<_, Failure>(found.try_get::<_, Option<i64>>(at)?.map(row::time));
    let state = found
        .try_get::<_, Option<i16>>(6)?
        .map(|code| RunState::from_code(code.into()).ok_or_else(|| damaged("a run with an unknown state")));
    Ok(RunInfo {
        run: DagRun {
            logical_date: time(2)?,
            conf: found.try_get::<_, Option<String>>(4)?.map(Value::parse).transpose()?,
            version: found.try_get::<_, Option<&str>>(5)?.map(Into::into),
            ..DagRun::new(row::text(found, 0)?, row::text(found, 1)?, row::time(found.try_get(3)?))
        },
        state: state.transpose()?,
        started_at: time(7)?,
        ended_at: time(8)?,
    })
}

pub(super) fn dag_version(found: &Row) -> Result<DagVersion> {
    Ok(DagVersion {
        version: row::text(found, 0)?,
        document: Value::parse(found.try_get::<_, String>(1)?)?,
        seen_at: row::time(found.try_get(2)?),
    })
}
