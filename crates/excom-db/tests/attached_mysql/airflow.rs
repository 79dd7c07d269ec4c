//! Who plays Airflow: what its scheduler and its server write for runs and task instances.

use std::sync::Mutex;

use excom_core::attempt::{Attempt, TaskState};
use excom_core::db::{DagRun, Push, RunState, StartMode};
use excom_core::{Caller, Error, ErrorKind, Result, TaskInstanceKey, XComKey};
use jiff::Timestamp;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts, Params, Row, Value};
use tokio::runtime::Runtime;

/// A connection to Airflow's database, used by one at a time.
pub(crate) struct Airflow(Mutex<(Runtime, Conn)>);

/// What names a task instance.
const KEY: &str = "dag_id = :dag AND run_id = :run AND task_id = :task AND map_index = :map_index";

/// The time in the parameter `at`.
const AT: &str = "(TIMESTAMP('1970-01-01') + INTERVAL :at MICROSECOND)";

type Parameters = Vec<(String, Value)>;

macro_rules! named {
    ($($name:literal => $value:expr),+ $(,)?) => { vec![$(($name.to_owned(), Value::from($value))),+] };
}

/// The parameters that name a task instance at a time.
fn of(ti: &TaskInstanceKey, at: Timestamp) -> Parameters {
    named! {
        "dag" => &*ti.dag_id, "run" => &*ti.run_id, "task" => &*ti.task_id, "map_index" => ti.map_index,
        "at" => at.as_microsecond(),
    }
}

fn with(mut parameters: Parameters, name: &str, value: impl Into<Value>) -> Parameters {
    parameters.push((name.to_owned(), value.into()));
    parameters
}

impl Airflow {
    pub(crate) fn connect(url: &str) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let conn = runtime.block_on(async {
            let mut conn = Conn::new(Opts::from_url(url).unwrap()).await.unwrap();
            conn.query_drop("SET NAMES utf8mb4; SET time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES'")
                .await
                .unwrap();
            conn
        });
        Self(Mutex::new((runtime, conn)))
    }

    fn ask(&self, sql: &str, parameters: Parameters) -> Result<Vec<Row>> {
        let mut held = self.0.lock().unwrap();
        let (runtime, conn) = &mut *held;
        let parameters = if parameters.is_empty() { Params::Empty } else { Params::from(parameters) };
        runtime
            .block_on(conn.exec(sql, parameters))
            .map_err(|error| Error::new(ErrorKind::Other, format!("`{sql}` failed: {error}")))
    }

    /// A run, which Airflow has made or makes now.
    pub(crate) fn run(&self, run: &DagRun) -> Result<()> {
        let sql = format!(
            "INSERT INTO dag_run (dag_id, run_id, run_type, run_after, logical_date)
             VALUES (:dag, :run, 'manual', {AT}, TIMESTAMP('1970-01-01') + INTERVAL :logical MICROSECOND)
             ON DUPLICATE KEY UPDATE logical_date = VALUES(logical_date), run_after = VALUES(run_after)"
        );
        let parameters = named! {
            "dag" => &*run.dag_id, "run" => &*run.run_id, "at" => run.run_after.as_microsecond(),
            "logical" => run.logical_date.map(Timestamp::as_microsecond),
        };
        self.ask(&sql, parameters).map(drop)
    }

    pub(crate) fn start_run(&self, run: &DagRun, at: Timestamp) -> Result<()> {
        self.run(run)?;
        self.end_run(&run.dag_id, &run.run_id, RunState::Running, at)
    }

    pub(crate) fn end_run(&self, dag_id: &str, run_id: &str, state: RunState, at: Timestamp) -> Result<()> {
        let sql = format!(
            "UPDATE dag_run SET state = :state, start_date = COALESCE(start_date, {AT}),
                 end_date = IF(:ended, {AT}, NULL) WHERE dag_id = :dag AND run_id = :run"
        );
        let parameters = named! {
            "dag" => dag_id, "run" => run_id, "state" => state.name(), "at" => at.as_microsecond(),
            "ended" => state.is_finished(),
        };
        self.ask(&sql, parameters).map(drop)
    }

    /// A task instance, which Airflow has or now has, with its run. Nobody is going to run it.
    pub(crate) fn task_instance(&self, ti: &TaskInstanceKey, at: Timestamp) -> Result<()> {
        let sql = format!(
            "INSERT IGNORE INTO dag_run (dag_id, run_id, run_type, run_after) VALUES (:dag, :run, 'manual', {AT})"
        );
        self.ask(&sql, of(ti, at))?;
        let sql = "INSERT IGNORE INTO task_instance (id, dag_id, run_id, task_id, map_index, state, try_number, max_tries,
                       pool, pool_slots)
                   VALUES (UUID(), :dag, :run, :task, :map_index, 'success', 0, 0, 'default_pool', 1)";
        self.ask(sql, of(ti, at)).map(drop)
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
            "SELECT 1 FROM task_instance WHERE {KEY} AND id = :id
             UNION ALL SELECT 0 FROM task_instance_history WHERE {KEY} AND task_instance_id = :id"
        );
        let parameters = with(of(&attempt.ti, Timestamp::UNIX_EPOCH), "id", attempt.id.0.to_string());
        Ok(self.ask(&sql, parameters)?.first().map(|row| row.get::<i64, _>(0) == Some(1)))
    }

    /// A try starts: the one before is in the history by then, and the task instance has another id.
    pub(crate) fn start(&self, attempt: &Attempt, mode: StartMode, at: Timestamp) -> Result<()> {
        let ti = &attempt.ti;
        match (self.state_of(attempt)?, mode) {
            (Some(true), _) => {
                // What was removed meanwhile is not brought back.
                let sql = format!(
                    "UPDATE task_instance SET state = 'running', end_date = NULL
                     WHERE {KEY} AND COALESCE(state, '') <> 'removed'"
                );
                return self.ask(&sql, of(ti, at)).map(drop);
            }
            (Some(false), _) | (None, StartMode::Resume) => return Ok(()),
            (None, StartMode::Fresh) => {}
        }
        self.task_instance(ti, at)?;
        self.archive(ti, at)?;
        // Dates of tries that begin at the same moment differ, as the real ones do.
        let past = format!("SELECT COUNT(*) FROM task_instance_history WHERE {KEY}");
        let past: i64 = self.ask(&past, of(ti, at))?[0].get(0).unwrap();
        let sql = format!(
            "UPDATE task_instance SET id = :id, state = 'running', end_date = NULL, try_number = 1 + :past,
                 start_date = {AT} + INTERVAL :past MICROSECOND WHERE {KEY}"
        );
        let parameters = with(with(of(ti, at), "id", attempt.id.0.to_string()), "past", past);
        self.ask(&sql, parameters).map(drop)
    }

    /// The try of a task instance that has started goes to the history.
    fn archive(&self, ti: &TaskInstanceKey, at: Timestamp) -> Result<()> {
        let sql = format!(
            "INSERT INTO task_instance_history (task_instance_id, dag_id, run_id, task_id, map_index, try_number, max_tries,
                 state, start_date, end_date, pool, pool_slots, span_status)
             SELECT id, dag_id, run_id, task_id, map_index, try_number, max_tries, COALESCE(state, 'failed'), start_date,
                 COALESCE(end_date, {AT}), pool, pool_slots, span_status
             FROM task_instance i WHERE {KEY} AND start_date IS NOT NULL AND NOT EXISTS (
                 SELECT 1 FROM task_instance_history h WHERE {KEY} AND h.start_date = i.start_date)"
        );
        self.ask(&sql, of(ti, at)).map(drop)
    }

    /// A try ends. When another will follow, the task instance has the next id at once.
    pub(crate) fn end(&self, attempt: &Attempt, state: TaskState, at: Timestamp) -> Result<()> {
        let ti = &attempt.ti;
        let retries = state == TaskState::UpForRetry;
        let sql =
            format!("UPDATE task_instance SET state = :state, end_date = IF(:ended, {AT}, NULL) WHERE {KEY}");
        let parameters = with(of(ti, at), "state", state.name());
        self.ask(&sql, with(parameters, "ended", state.is_finished() || retries))?;
        if retries {
            self.archive(ti, at)?;
            self.ask(&format!("UPDATE task_instance SET id = UUID() WHERE {KEY}"), of(ti, at))?;
        }
        Ok(())
    }

    /// An XCom as Airflow's own server writes it, in the place of what is there.
    pub(crate) fn xcom(&self, XComKey { ti, key, .. }: &XComKey, json: &str, at: Timestamp) -> Result<()> {
        self.task_instance(ti, at)?;
        let sql = format!(
            "REPLACE INTO xcom (dag_run_id, dag_id, run_id, task_id, map_index, `key`, value, timestamp)
             SELECT id, dag_id, run_id, :task, :map_index, :key, :value, {AT}
             FROM dag_run WHERE dag_id = :dag AND run_id = :run"
        );
        let parameters = with(with(of(ti, at), "key", &**key), "value", json);
        self.ask(&sql, parameters).map(drop)
    }

    /// Does something while Airflow is about to remove what a task pushed, which it then does not.
    pub(crate) fn removing<T>(&self, ti: &TaskInstanceKey, work: impl FnOnce() -> T) -> Result<T> {
        self.ask("SET autocommit = 0", Vec::new())?;
        self.ask(&format!("DELETE FROM xcom WHERE {KEY}"), of(ti, Timestamp::UNIX_EPOCH))?;
        let done = work();
        self.ask("ROLLBACK", Vec::new())?;
        self.ask("SET autocommit = 1", Vec::new())?;
        Ok(done)
    }

    pub(crate) fn set_states(&self, states: &[(TaskInstanceKey, TaskState)], at: Timestamp) -> Result<()> {
        for (ti, state) in states {
            self.task_instance(ti, at)?;
            let sql = format!("UPDATE task_instance SET state = :state WHERE {KEY}");
            self.ask(&sql, with(of(ti, at), "state", state.name()))?;
        }
        Ok(())
    }
}
