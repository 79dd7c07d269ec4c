//! Runs and DAG versions: the statements that write and read them.

use excom_core::attempt::TaskInstanceInfo;
use excom_core::db::{DagRun, DagVersion, RunFilter, RunInfo, RunState};
use excom_core::{TaskInstanceKey, Value};
use jiff::Timestamp;
use mysql_async::Row;

use super::Tables;
use super::connection::{Connection, named};
use super::failure::{Failure, damaged};
use super::names::Lock;
use super::read::{attempt, run};
use super::row;
use super::write::step;

type Result<T> = std::result::Result<T, Failure>;

/// What [`info`] reads, from `dag_run r JOIN name d`.
macro_rules! info {
    () => {
        "d.text, r.run_id, r.logical_date, r.run_after, r.conf, r.dag_version, r.state, r.started, r.ended"
    };
}

/// One run by its number.
const SET_DATES: &str = "UPDATE excom_dag_run SET logical_date = :logical_date, run_after = :run_after,
        conf = COALESCE(:conf, conf), dag_version = COALESCE(:version, dag_version)
    WHERE id = :run";

/// One run by its number, if it has not been started.
const IS_NEW: &str = "SELECT id FROM excom_dag_run WHERE id = :run AND state IS NULL";

/// One run by its number.
const SET_STATE: &str = "UPDATE excom_dag_run SET state = :state, started = COALESCE(started, :at),
        ended = CASE WHEN :is_finished THEN :at END
    WHERE id = :run";

/// One DAG version that is not there.
const NOTE_DAG_VERSION: &str =
    "INSERT INTO excom_dag_version (dag, version, document, seen) VALUES (:dag, :version, :document, :seen)";

/// One run by its key.
const RUN_INFO: &str = concat!(
    "SELECT ",
    info!(),
    " FROM excom_name d JOIN excom_dag_run r ON r.dag = d.id WHERE d.text = :dag AND r.run_id = :run_id"
);

/// The conditions on runs that are looked for, and what all lists of them end with.
macro_rules! before {
    () => {
        " AND (:state IS NULL OR r.state = :state)
          AND (:before IS NULL OR (r.due, d.text, r.run_id) < (:before, :before_dag, :before_run))"
    };
}

/// Runs of a DAG backwards in the order of their index.
const RUNS_OF: &str = concat!(
    "SELECT ",
    info!(),
    " FROM excom_name d JOIN excom_dag_run r ON r.dag = d.id WHERE d.text = :dag",
    before!(),
    " ORDER BY r.due DESC, r.run_id DESC LIMIT :limit"
);

/// Runs of all DAGs, which a person looks at: every run is.
const RUNS: &str = concat!(
    "SELECT ",
    info!(),
    " FROM excom_dag_run r JOIN excom_name d ON d.id = r.dag WHERE :dag IS NULL",
    before!(),
    " ORDER BY r.due DESC, d.text DESC, r.run_id DESC LIMIT :limit"
);

/// Task instances of a run in the order of their key.
const TASK_INSTANCES: &str = concat!(
    "SELECT ",
    attempt!(),
    ", t.text, i.map_index FROM excom_task_instance i JOIN excom_name t ON t.id = i.task
     WHERE i.run = ",
    run!(),
    " AND (:task IS NULL OR (i.task, i.map_index) > ((SELECT id FROM excom_name WHERE text = :task), :map_index))
     ORDER BY i.task, i.map_index LIMIT :limit"
);

/// Versions of a DAG, of which there are few.
const DAG_VERSIONS: &str = "SELECT version, document, seen FROM excom_dag_version
    WHERE dag = (SELECT id FROM excom_name WHERE text = :dag) ORDER BY id DESC LIMIT :limit";

/// One by its key.
const DAG_VERSION: &str = "SELECT version, document, seen FROM excom_dag_version
    WHERE dag = (SELECT id FROM excom_name WHERE text = :dag) AND version = :version";

impl Connection {
    /// A run that is to be changed; it becomes known.
    async fn changing(&mut self, dag_id: &str, run_id: &str, at: Timestamp) -> Result<i32> {
        let dag = self.names(&[dag_id]).await?[0];
        self.run(dag, run_id, at.as_millisecond(), Lock::Alone).await
    }

    /// Makes a run known with its dates; when it starts, running too.
    async fn register_run(&mut self, run: &DagRun, starts: Option<Timestamp>) -> Result<()> {
        let id = self.changing(&run.dag_id, &run.run_id, run.run_after).await?;
        let dates = named! {
            "run" => id,
            "logical_date" => run.logical_date.map(Timestamp::as_millisecond),
            "run_after" => run.run_after.as_millisecond(),
            "conf" => run.conf.as_ref().map(|conf| conf.as_str().to_owned()),
            "version" => run.version.as_deref().map(str::to_owned),
        };
        self.change(SET_DATES, dates).await?;
        match starts {
            Some(at) => self.set_state_of(id, RunState::Running, at).await,
            None => Ok(()),
        }
    }

    async fn begin_run(&mut self, run: &DagRun, at: Timestamp) -> Result<bool> {
        let id = self.changing(&run.dag_id, &run.run_id, run.run_after).await?;
        let is_new = self.one(IS_NEW, named! { "run" => id }).await?.is_some();
        if is_new {
            self.register_run(run, Some(at)).await?;
        }
        Ok(is_new)
    }

    async fn set_state_of(&mut self, run: i32, state: RunState, at: Timestamp) -> Result<()> {
        let parameters = named! {
            "run" => run,
            "state" => state.to_code(),
            "is_finished" => state.is_finished(),
            "at" => at.as_millisecond(),
        };
        self.change(SET_STATE, parameters).await.map(drop)
    }

    async fn set_run_state(
        &mut self,
        dag_id: &str,
        run_id: &str,
        state: RunState,
        at: Timestamp,
    ) -> Result<()> {
        let run = self.changing(dag_id, run_id, at).await?;
        self.set_state_of(run, state, at).await
    }

    async fn note_dag_version(
        &mut self,
        dag_id: &str,
        version: &str,
        document: &Value,
        at: Timestamp,
    ) -> Result<()> {
        if self.one(DAG_VERSION, named! { "dag" => dag_id, "version" => version }).await?.is_some() {
            return Ok(());
        }
        let row = named! {
            "dag" => self.names(&[dag_id]).await?[0],
            "version" => version,
            "document" => document.as_str(),
            "seen" => at.as_millisecond(),
        };
        self.insert(NOTE_DAG_VERSION, row).await.map(drop)
    }
}

impl Tables {
    pub(super) async fn register_run(&self, run: &DagRun) -> Result<()> {
        step!(self, write, connection.register_run(run, None)).await
    }

    pub(super) async fn start_run(&self, run: &DagRun, at: Timestamp) -> Result<()> {
        step!(self, write, connection.register_run(run, Some(at))).await
    }

    pub(super) async fn begin_run(&self, run: &DagRun, at: Timestamp) -> Result<bool> {
        step!(self, write, connection.begin_run(run, at)).await
    }

    pub(super) async fn set_run_state(
        &self,
        dag_id: &str,
        run_id: &str,
        state: RunState,
        at: Timestamp,
    ) -> Result<()> {
        step!(self, write, connection.set_run_state(dag_id, run_id, state, at)).await
    }

    pub(super) async fn note_dag_version(
        &self,
        dag_id: &str,
        version: &str,
        document: &Value,
        at: Timestamp,
    ) -> Result<()> {
        step!(self, write, connection.note_dag_version(dag_id, version, document, at)).await
    }

    pub(super) async fn run_info(&self, dag_id: &str, run_id: &str) -> Result<Option<RunInfo>> {
        self.one(RUN_INFO, named! { "dag" => dag_id, "run_id" => run_id }, info).await
    }

    pub(super) async fn runs(
        &self,
        filter: &RunFilter,
        before: Option<&DagRun>,
        limit: u32,
    ) -> Result<Vec<RunInfo>> {
        let parameters = named! {
            "dag" => filter.dag_id.as_deref().map(str::to_owned),
            "state" => filter.state.map(RunState::to_code),
            "before" => before.map(|run| run.date().as_millisecond()),
            "before_dag" => before.map(|run| run.dag_id.to_string()),
            "before_run" => before.map(|run| run.run_id.to_string()),
            "limit" => limit,
        };
        self.rows(if filter.dag_id.is_some() { RUNS_OF } else { RUNS }, parameters, info).await
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
        self.rows(TASK_INSTANCES, parameters, |found| {
            let key = TaskInstanceKey::new(dag_id, run_id, row::text(found, 6)?, row::int4(found, 7)?)?;
            row::instance(found, key)
        })
        .await
    }

    pub(super) async fn dag_versions(&self, dag_id: &str, limit: u32) -> Result<Vec<DagVersion>> {
        self.rows(DAG_VERSIONS, named! { "dag" => dag_id, "limit" => limit }, dag_version).await
    }

    pub(super) async fn dag_version(&self, dag_id: &str, version: &str) -> Result<Option<DagVersion>> {
        self.one(DAG_VERSION, named! { "dag" => dag_id, "version" => version }, dag_version).await
    }
}

fn info(found: &Row) -> Result<RunInfo> {
    let time = |at| Ok::<_, Failure>(row::optional(found, at)?.map(row::moment));
    let state = row::optional(found, 6)?
        .map(|code| RunState::from_code(code).ok_or_else(|| damaged("a run with an unknown state")));
    Ok(RunInfo {
        run: DagRun {
            logical_date: time(2)?,
            conf: row::optional_str(found, 4)?.map(|conf| Value::parse(conf.to_owned())).transpose()?,
            version: row::optional_str(found, 5)?.map(Into::into),
            ..DagRun::new(row::text(found, 0)?, row::text(found, 1)?, row::time(found, 3)?)
        },
        state: state.transpose()?,
        started_at: time(7)?,
        ended_at: time(8)?,
    })
}

fn dag_version(found: &Row) -> Result<DagVersion> {
    Ok(DagVersion {
        version: row::text(found, 0)?,
        document: Value::parse(row::str(found, 1)?.to_owned())?,
        seen_at: row::time(found, 2)?,
    })
}
