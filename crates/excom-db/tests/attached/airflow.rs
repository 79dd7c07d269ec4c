//! Who plays Airflow: what its scheduler and its server write for runs and task instances.

use std::sync::Mutex;

use excom_core::attempt::{Attempt, TaskState};
use excom_core::db::{DagRun, Push, RunState, StartMode};
use excom_core::{Caller, Error, ErrorKind, Result, TaskInstanceKey, XComKey};
use jiff::Timestamp;
use tokio::runtime::Runtime;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Row};

/// A connection to Airflow's database, used by one at a time.
pub(crate) struct Airflow(Mutex<(Runtime, Client)>);

type Parameter<'a> = &'a (dyn ToSql + Sync);

/// A moment from microseconds.
macro_rules! moment {
    ($at:literal) => {
        concat!("(timestamptz 'epoch' + ", $at, "::int8 * interval '1 microsecond')")
    };
}

/// What names a task instance.
const KEY: &str = "dag_id = $1 AND run_id = $2 AND task_id = $3 AND map_index = $4";

impl Airflow {
    pub(crate) fn connect(url: &str) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (client, connection) = runtime.block_on(tokio_postgres::connect(url, NoTls)).unwrap();
        runtime.spawn(connection);
        Self(Mutex::new((runtime, client)))
    }

    pub(crate) fn ask(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>> {
        let held = self.0.lock().unwrap();
        let (runtime, client) = &*held;
        runtime
            .block_on(client.query(sql, parameters))
            .map_err(|error| Error::new(ErrorKind::Other, format!("`{sql}` failed")).because(error))
    }

    /// A run, which Airflow has made or makes now.
    pub(crate) fn run(&self, run: &DagRun) -> Result<()> {
        let logical_date = run.logical_date.map(Timestamp::as_microsecond);
        let sql = concat!(
            "INSERT INTO dag_run (dag_id, run_id, run_type, run_after, logical_date)
             VALUES ($1, $2, 'manual', ",
            moment!("$3"),
            ", ",
            moment!("$4"),
            ")
             ON CONFLICT (dag_id, run_id) DO UPDATE SET logical_date = excluded.logical_date,
                 run_after = excluded.run_after"
        );
        self.ask(sql, &[&&*run.dag_id, &&*run.run_id, &run.run_after.as_microsecond(), &logical_date])
            .map(drop)
    }

    pub(crate) fn start_run(&self, run: &DagRun, at: Timestamp) -> Result<()> {
        self.run(run)?;
        self.end_run(&run.dag_id, &run.run_id, RunState::Running, at)
    }

    pub(crate) fn end_run(&self, dag_id: &str, run_id: &str, state: RunState, at: Timestamp) -> Result<()> {
        let ended = state.is_finished().then(|| at.as_microsecond());
        let sql = concat!(
            "UPDATE dag_run SET state = $3, start_date = coalesce(start_date, ",
            moment!("$4"),
            "),
                 end_date = ",
            moment!("$5"),
            " WHERE dag_id = $1 AND run_id = $2"
        );
        self.ask(sql, &[&dag_id, &run_id, &state.name(), &at.as_microsecond(), &ended]).map(drop)
    }

    /// A task instance, which Airflow has or now has, with its run. Nobody is going to run it.
    pub(crate) fn task_instance(&self, ti: &TaskInstanceKey, at: Timestamp) -> Result<()> {
        let run = concat!(
            "INSERT INTO dag_run (dag_id, run_id, run_type, run_after)
             VALUES ($1, $2, 'manual', ",
            moment!("$3"),
            ") ON CONFLICT (dag_id, run_id) DO NOTHING"
        );
        self.ask(run, &[&&*ti.dag_id, &&*ti.run_id, &at.as_microsecond()])?;
        let sql =
            "INSERT INTO task_instance (id, dag_id, run_id, task_id, map_index, state, try_number, max_tries,
                       pool, pool_slots)
                   VALUES (gen_random_uuid(), $1, $2, $3, $4, 'success', 0, 0, 'default_pool', 1)
                   ON CONFLICT (dag_id, task_id, run_id, map_index) DO NOTHING";
        self.ask(sql, &[&&*ti.dag_id, &&*ti.run_id, &&*ti.task_id, &ti.map_index]).map(drop)
    }

    /// The task instance of a push that may be written.
    pub(crate) fn task_instance_of(&self, push: &Push) -> Result<()> {
        if let Caller::Attempt(attempt) = &push.caller
            && self.state_of(attempt)?.is_none()
        {
            return Ok(());
        }
        self.task_instance(&push.key.ti, push.at)
    }

    /// How Airflow knows an attempt: whether as the task instance, or in its history; none when it does not.
    pub(crate) fn state_of(&self, attempt: &Attempt) -> Result<Option<bool>> {
        let sql = format!(
            "SELECT id = $5 FROM task_instance WHERE {KEY} AND id = $5
             UNION ALL SELECT false FROM task_instance_history WHERE {KEY} AND task_instance_id = $5"
        );
        let ti = &attempt.ti;
        let found =
            self.ask(&sql, &[&&*ti.dag_id, &&*ti.run_id, &&*ti.task_id, &ti.map_index, &attempt.id.0])?;
        Ok(found.first().map(|row| row.get(0)))
    }

    /// A try starts: the one before is in the history by then, and the task instance has another id.
    pub(crate) fn start(&self, attempt: &Attempt, mode: StartMode, at: Timestamp) -> Result<()> {
        let ti = &attempt.ti;
        let (dag, run, task, map_index) = (&&*ti.dag_id, &&*ti.run_id, &&*ti.task_id, &ti.map_index);
        match (self.state_of(attempt)?, mode) {
            (Some(true), _) => {
                // What was removed meanwhile is not brought back.
                let sql = format!(
                    "UPDATE task_instance SET state = 'running', end_date = NULL
                     WHERE {KEY} AND COALESCE(state, '') <> 'removed'"
                );
                return self.ask(&sql, &[dag, run, task, map_index]).map(drop);
            }
            (Some(false), _) | (None, StartMode::Resume) => return Ok(()),
            (None, StartMode::Fresh) => {}
        }
        self.task_instance(ti, at)?;
        self.archive(ti, at)?;
        // Dates of tries that begin at the same moment differ, as the real ones do.
        let sql = format!(
            "UPDATE task_instance SET id = $5, state = 'running', end_date = NULL, try_number = 1 + past.count,
                 start_date = {} + past.count * interval '1 microsecond'
             FROM (SELECT count(*)::int4 AS count FROM task_instance_history WHERE {KEY}) past WHERE {KEY}",
            moment!("$6")
        );
        self.ask(&sql, &[dag, run, task, map_index, &attempt.id.0, &at.as_microsecond()]).map(drop)
    }

    /// The try of a task instance that has started goes to the history.
    fn archive(&self, ti: &TaskInstanceKey, at: Timestamp) -> Result<()> {
        let sql = format!(
            "INSERT INTO task_instance_history (task_instance_id, dag_id, run_id, task_id, map_index, try_number, max_tries,
                 state, start_date, end_date, pool, pool_slots, span_status)
             SELECT id, dag_id, run_id, task_id, map_index, try_number, max_tries, coalesce(state, 'failed'), start_date,
                 coalesce(end_date, {}), pool, pool_slots, span_status
             FROM task_instance i WHERE {KEY} AND start_date IS NOT NULL AND NOT EXISTS (
                 SELECT FROM task_instance_history h WHERE {KEY} AND h.start_date = i.start_date)",
            moment!("$5")
        );
        let (dag, run, task) = (&&*ti.dag_id, &&*ti.run_id, &&*ti.task_id);
        self.ask(&sql, &[dag, run, task, &ti.map_index, &at.as_microsecond()]).map(drop)
    }

    /// A try ends. When another will follow, the task instance has the next id at once.
    pub(crate) fn end(&self, attempt: &Attempt, state: TaskState, at: Timestamp) -> Result<()> {
        let ti = &attempt.ti;
        let (dag, run, task, map_index) = (&&*ti.dag_id, &&*ti.run_id, &&*ti.task_id, &ti.map_index);
        let retries = state == TaskState::UpForRetry;
        let ended = (state.is_finished() || retries).then(|| at.as_microsecond());
        let sql = format!("UPDATE task_instance SET state = $5, end_date = {} WHERE {KEY}", moment!("$6"));
        self.ask(&sql, &[dag, run, task, map_index, &state.name(), &ended])?;
        if retries {
            self.archive(ti, at)?;
            let sql = format!("UPDATE task_instance SET id = gen_random_uuid() WHERE {KEY}");
            self.ask(&sql, &[dag, run, task, map_index])?;
        }
        Ok(())
    }

    /// An XCom as Airflow's own server writes it, in the place of what is there.
    pub(crate) fn xcom(&self, XComKey { ti, key, .. }: &XComKey, json: &str, at: Timestamp) -> Result<()> {
        self.task_instance(ti, at)?;
        let sql = concat!(
            "INSERT INTO xcom (dag_run_id, dag_id, run_id, task_id, map_index, key, value, timestamp)
             SELECT id, dag_id, run_id, $3, $4, $5, $6::text::jsonb, ",
            moment!("$7"),
            " FROM dag_run WHERE dag_id = $1 AND run_id = $2
             ON CONFLICT (dag_run_id, task_id, map_index, key) DO UPDATE
                 SET value = excluded.value, timestamp = excluded.timestamp"
        );
        let (dag, run, task) = (&&*ti.dag_id, &&*ti.run_id, &&*ti.task_id);
        self.ask(sql, &[dag, run, task, &ti.map_index, &&**key, &json, &at.as_microsecond()]).map(drop)
    }

    /// Does something while Airflow is about to remove what a task pushed, which it then does not.
    pub(crate) fn removing<T>(&self, ti: &TaskInstanceKey, work: impl FnOnce() -> T) -> Result<T> {
        self.ask("BEGIN", &[])?;
        let sql = format!("DELETE FROM xcom WHERE {KEY}");
        self.ask(&sql, &[&&*ti.dag_id, &&*ti.run_id, &&*ti.task_id, &ti.map_index])?;
        let done = work();
        self.ask("ROLLBACK", &[])?;
        Ok(done)
    }

    pub(crate) fn set_states(&self, states: &[(TaskInstanceKey, TaskState)], at: Timestamp) -> Result<()> {
        for (ti, state) in states {
            self.task_instance(ti, at)?;
            let sql = format!("UPDATE task_instance SET state = $5 WHERE {KEY}");
            self.ask(&sql, &[&&*ti.dag_id, &&*ti.run_id, &&*ti.task_id, &ti.map_index, &state.name()])?;
        }
        Ok(())
    }
}
