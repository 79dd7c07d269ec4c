//! Runs and DAG versions: the statements that write and read them.

use excom_core::attempt::TaskInstanceInfo;
use excom_core::db::{DagRun, DagVersion, RunFilter, RunInfo, RunState};
use excom_core::{TaskInstanceKey, Value};
use jiff::Timestamp;
use rusqlite::{Row, params};

use super::failure::{Failure, damaged};
use super::read::View;
use super::row;
use super::writer::Transaction;

type Result<T> = std::result::Result<T, Failure>;

/// What [`info`] reads, from `excom_dag_run r JOIN excom_name d`.
const INFO: &str =
    "d.text, r.run_id, r.logical_date, r.run_after, r.conf, r.dag_version, r.state, r.started, r.ended";

/// The date that runs are in order by.
const DATE: &str = "ifnull(r.logical_date, r.run_after)";

impl Transaction<'_> {
    /// Makes a run known with its dates, and returns its number.
    pub(super) fn register_run(&self, run: &DagRun) -> Result<i64> {
        let id = self.names.run(&run.dag_id, &run.run_id, run.run_after.as_millisecond())?;
        self.execute(
            "UPDATE excom_dag_run SET logical_date = ?2, run_after = ?3, conf = ifnull(?4, conf),
                 dag_version = ifnull(?5, dag_version) WHERE id = ?1",
            params![
                id,
                run.logical_date.map(Timestamp::as_millisecond),
                run.run_after.as_millisecond(),
                run.conf.as_ref().map(Value::as_str),
                run.version.as_deref(),
            ],
        )?;
        Ok(id)
    }

    pub(super) fn start_run(&self, run: &DagRun, at: Timestamp) -> Result<()> {
        let id = self.register_run(run)?;
        self.put_run_state(id, RunState::Running, at)
    }

    pub(super) fn begin_run(&self, run: &DagRun, at: Timestamp) -> Result<bool> {
        let id = self.names.run(&run.dag_id, &run.run_id, run.run_after.as_millisecond())?;
        let mut state =
            self.connection.prepare_cached("SELECT state IS NULL FROM excom_dag_run WHERE id = ?1")?;
        let is_new = state.query_row((id,), |row| row.get(0))?;
        if is_new {
            self.start_run(run, at)?;
        }
        Ok(is_new)
    }

    pub(super) fn set_run_state(
        &self,
        dag_id: &str,
        run_id: &str,
        state: RunState,
        at: Timestamp,
    ) -> Result<()> {
        let id = self.names.run(dag_id, run_id, at.as_millisecond())?;
        self.put_run_state(id, state, at)
    }

    fn put_run_state(&self, run: i64, state: RunState, at: Timestamp) -> Result<()> {
        self.execute(
            "UPDATE excom_dag_run SET state = ?2, started = ifnull(started, ?3), ended = iif(?4, ?3, NULL)
             WHERE id = ?1",
            (run, state.to_code(), at.as_millisecond(), state.is_finished()),
        )?;
        Ok(())
    }

    pub(super) fn note_dag_version(
        &self,
        dag_id: &str,
        version: &str,
        document: &Value,
        at: Timestamp,
    ) -> Result<()> {
        self.execute(
            "INSERT OR IGNORE INTO excom_dag_version (dag, version, document, seen) VALUES (?1, ?2, ?3, ?4)",
            (self.names.name(dag_id)?, version, document.as_str(), at.as_millisecond()),
        )?;
        Ok(())
    }
}

impl View<'_> {
    pub(super) fn run_info(&self, dag_id: &str, run_id: &str) -> Result<Option<RunInfo>> {
        let Some(id) = self.0.fresh_run(dag_id, run_id)? else { return Ok(None) };
        let sql =
            format!("SELECT {INFO} FROM excom_dag_run r JOIN excom_name d ON d.id = r.dag WHERE r.id = ?1");
        self.one(&sql, [id], info)
    }

    pub(super) fn runs(
        &self,
        filter: &RunFilter,
        before: Option<&DagRun>,
        limit: u32,
    ) -> Result<Vec<RunInfo>> {
        let dag = match &filter.dag_id {
            Some(dag_id) => match self.0.name(dag_id)? {
                Some(dag) => Some(dag),
                None => return Ok(Vec::new()),
            },
            None => None,
        };
        let sql = format!(
            "SELECT {INFO} FROM excom_dag_run r JOIN excom_name d ON d.id = r.dag
             WHERE (?1 IS NULL OR r.dag = ?1) AND (?2 IS NULL OR r.state = ?2)
               AND (?3 IS NULL OR ({DATE}, d.text, r.run_id) < (?3, ?4, ?5))
             ORDER BY {DATE} DESC, d.text DESC, r.run_id DESC LIMIT ?6"
        );
        let bound = params![
            dag,
            filter.state.map(RunState::to_code),
            before.map(|run| run.date().as_millisecond()),
            before.map(|run| &*run.dag_id),
            before.map(|run| &*run.run_id),
            limit,
        ];
        self.rows(&sql, bound, info)
    }

    pub(super) fn task_instances(
        &self,
        dag_id: &str,
        run_id: &str,
        after: Option<(&str, i32)>,
        limit: u32,
    ) -> Result<Vec<TaskInstanceInfo>> {
        let Some(run) = self.0.fresh_run(dag_id, run_id)? else { return Ok(Vec::new()) };
        let after = match after {
            Some((task, map_index)) => match self.0.name(task)? {
                Some(task) => (task, map_index),
                None => return Ok(Vec::new()),
            },
            None => (0, 0),
        };
        self.rows(
            "SELECT t.text, i.map_index, i.state, i.number, i.attempt, i.try_number, i.state, i.started, i.took
             FROM excom_task_instance i CROSS JOIN excom_name t ON t.id = i.task
             WHERE i.run = ?1 AND (i.task, i.map_index) > (?2, ?3) ORDER BY i.task, i.map_index LIMIT ?4",
            (run, after.0, after.1, limit),
            |found| {
                Ok(TaskInstanceInfo {
                    key: TaskInstanceKey::new(dag_id, run_id, row::text(found, 0)?, found.get(1)?)?,
                    state: row::state(found.get(2)?)?,
                    attempt: row::attempt(found, 3)?,
                })
            },
        )
    }

    pub(super) fn dag_versions(&self, dag_id: &str, limit: u32) -> Result<Vec<DagVersion>> {
        let Some(dag) = self.0.name(dag_id)? else { return Ok(Vec::new()) };
        self.rows(
            "SELECT version, document, seen FROM excom_dag_version WHERE dag = ?1 ORDER BY id DESC LIMIT ?2",
            (dag, limit),
            dag_version,
        )
    }

    pub(super) fn dag_version(&self, dag_id: &str, version: &str) -> Result<Option<DagVersion>> {
        let Some(dag) = self.0.name(dag_id)? else { return Ok(None) };
        self.one(
            "SELECT version, document, seen FROM excom_dag_version WHERE dag = ?1 AND version = ?2",
            (dag, version),
            dag_version,
        )
    }
}

fn info(found: &Row<'_>) -> Result<RunInfo> {
    let time = |at| Ok::<_, rusqlite::Error>(found.get::<_, Option<i64>>(at)?.map(row::time));
    let state = found
        .get::<_, Option<i64>>(6)?
        .map(|code| RunState::from_code(code).ok_or_else(|| damaged("a run with an unknown state")));
    Ok(RunInfo {
        run: DagRun {
            logical_date: time(2)?,
            conf: found.get::<_, Option<String>>(4)?.map(Value::parse).transpose()?,
            version: found.get::<_, Option<String>>(5)?.map(Into::into),
            ..DagRun::new(row::text(found, 0)?, row::text(found, 1)?, row::time(found.get(3)?))
        },
        state: state.transpose()?,
        started_at: time(7)?,
        ended_at: time(8)?,
    })
}

fn dag_version(found: &Row<'_>) -> Result<DagVersion> {
    Ok(DagVersion {
        version: row::text(found, 0)?,
        document: Value::parse(found.get::<_, String>(1)?)?,
        seen_at: row::time(found.get(2)?),
    })
}
