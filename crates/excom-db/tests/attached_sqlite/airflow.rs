//! Who plays Airflow: what its scheduler and its server write for runs and task instances.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use excom_core::attempt::{Attempt, TaskState};
use excom_core::db::{DagRun, Push, RunState, StartMode};
use excom_core::{Caller, Error, ErrorKind, Result, TaskInstanceKey, XComKey};
use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

/// A connection to Airflow's file, used by one at a time.
pub(crate) struct Airflow(Mutex<Connection>);

/// What names a task instance.
const KEY: &str = "dag_id = ?1 AND run_id = ?2 AND task_id = ?3 AND map_index = ?4";

/// A time as Airflow writes it.
fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S%.6f").to_string()
}

/// An id as Airflow writes it.
fn id(attempt: &Attempt) -> Value {
    attempt.id.0.simple().to_string().into()
}

/// The parameters that name a task instance, and more.
fn of(ti: &TaskInstanceKey, more: impl IntoIterator<Item = Value>) -> Vec<Value> {
    let named = [
        ti.dag_id.to_string().into(),
        ti.run_id.to_string().into(),
        ti.task_id.to_string().into(),
        ti.map_index.into(),
    ];
    named.into_iter().chain(more).collect()
}

impl Airflow {
    pub(crate) fn connect(file: &Path) -> Self {
        let connection = Connection::open(file).unwrap();
        connection.busy_timeout(Duration::from_secs(30)).unwrap();
        // As its own connections are; ours would wait for the disk.
        connection.pragma_update(None, "synchronous", "off").unwrap();
        Self(Mutex::new(connection))
    }

    /// Does something, and tells the number that it finds.
    fn ask(&self, sql: &str, parameters: Vec<Value>) -> Result<Option<i64>> {
        let connection = self.0.lock().unwrap();
        let found = (|| {
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query(params_from_iter(parameters))?;
            let found = rows.next()?.map(|row| row.get(0)).transpose();
            while rows.next()?.is_some() {}
            found
        })();
        found.map_err(|error: rusqlite::Error| {
            Error::new(ErrorKind::Other, format!("`{sql}` failed: {error}"))
        })
    }

    /// A run, which Airflow has made or makes now.
    pub(crate) fn run(&self, run: &DagRun) -> Result<()> {
        let sql = "INSERT INTO dag_run (dag_id, run_id, run_type, run_after, logical_date)
             VALUES (?1, ?2, 'manual', ?3, ?4)
             ON CONFLICT (dag_id, run_id) DO UPDATE
                 SET logical_date = excluded.logical_date, run_after = excluded.run_after";
        let parameters = vec![
            run.dag_id.to_string().into(),
            run.run_id.to_string().into(),
            moment(run.run_after).into(),
            run.logical_date.map(moment).into(),
        ];
        self.ask(sql, parameters).map(drop)
    }

    pub(crate) fn start_run(&self, run: &DagRun, at: Timestamp) -> Result<()> {
        self.run(run)?;
        self.end_run(&run.dag_id, &run.run_id, RunState::Running, at)
    }

    pub(crate) fn end_run(&self, dag_id: &str, run_id: &str, state: RunState, at: Timestamp) -> Result<()> {
        let sql = "UPDATE dag_run SET state = ?3, start_date = ifnull(start_date, ?4), end_date = ?5
                   WHERE dag_id = ?1 AND run_id = ?2";
        let ended = state.is_finished().then(|| moment(at));
        let parameters = vec![
            dag_id.to_owned().into(),
            run_id.to_owned().into(),
            state.name().to_owned().into(),
            moment(at).into(),
            ended.into(),
        ];
        self.ask(sql, parameters).map(drop)
    }

    /// A task instance, which Airflow has or now has, with its run. Nobody is going to run it.
    pub(crate) fn task_instance(&self, ti: &TaskInstanceKey, at: Timestamp) -> Result<()> {
        let sql = "INSERT INTO dag_run (dag_id, run_id, run_type, run_after) VALUES (?1, ?2, 'manual', ?3)
                   ON CONFLICT (dag_id, run_id) DO NOTHING";
        let run = vec![ti.dag_id.to_string().into(), ti.run_id.to_string().into(), moment(at).into()];
        self.ask(sql, run)?;
        let sql = "INSERT INTO task_instance (id, dag_id, run_id, task_id, map_index, state, try_number, max_tries, pool,
                       pool_slots)
                   VALUES (lower(hex(randomblob(16))), ?1, ?2, ?3, ?4, 'success', 0, 0, 'default_pool', 1)
                   ON CONFLICT (dag_id, task_id, run_id, map_index) DO NOTHING";
        self.ask(sql, of(ti, [])).map(drop)
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
            "SELECT 1 FROM task_instance WHERE {KEY} AND id = ?5
             UNION ALL SELECT 0 FROM task_instance_history WHERE {KEY} AND task_instance_id = ?5"
        );
        Ok(self.ask(&sql, of(&attempt.ti, [id(attempt)]))?.map(|is_current| is_current == 1))
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
                return self.ask(&sql, of(ti, [])).map(drop);
            }
            (Some(false), _) | (None, StartMode::Resume) => return Ok(()),
            (None, StartMode::Fresh) => {}
        }
        self.task_instance(ti, at)?;
        self.archive(ti, at)?;
        // Dates of tries that begin at the same moment differ, as the real ones do.
        let past = format!("SELECT count(*) FROM task_instance_history WHERE {KEY}");
        let past = self.ask(&past, of(ti, []))?.unwrap_or(0);
        let sql = format!(
            "UPDATE task_instance SET id = ?5, state = 'running', end_date = NULL, try_number = 1 + ?6, start_date = ?7
             WHERE {KEY}"
        );
        let started = at + Duration::from_micros(past.cast_unsigned());
        self.ask(&sql, of(ti, [id(attempt), past.into(), moment(started).into()])).map(drop)
    }

    /// The try of a task instance that has started goes to the history.
    fn archive(&self, ti: &TaskInstanceKey, at: Timestamp) -> Result<()> {
        let sql = format!(
            "INSERT INTO task_instance_history (task_instance_id, dag_id, run_id, task_id, map_index, try_number, max_tries,
                 state, start_date, end_date, pool, pool_slots, span_status)
             SELECT id, dag_id, run_id, task_id, map_index, try_number, max_tries, ifnull(state, 'failed'), start_date,
                 ifnull(end_date, ?5), pool, pool_slots, span_status
             FROM task_instance i WHERE {KEY} AND start_date IS NOT NULL AND NOT EXISTS (
                 SELECT 1 FROM task_instance_history h WHERE {KEY} AND h.start_date = i.start_date)"
        );
        self.ask(&sql, of(ti, [moment(at).into()])).map(drop)
    }

    /// A try ends. When another will follow, the task instance has the next id at once.
    pub(crate) fn end(&self, attempt: &Attempt, state: TaskState, at: Timestamp) -> Result<()> {
        let ti = &attempt.ti;
        let retries = state == TaskState::UpForRetry;
        let ended = (state.is_finished() || retries).then(|| moment(at));
        let sql = format!("UPDATE task_instance SET state = ?5, end_date = ?6 WHERE {KEY}");
        self.ask(&sql, of(ti, [state.name().to_owned().into(), ended.into()]))?;
        if retries {
            self.archive(ti, at)?;
            let sql = format!("UPDATE task_instance SET id = lower(hex(randomblob(16))) WHERE {KEY}");
            self.ask(&sql, of(ti, []))?;
        }
        Ok(())
    }

    /// An XCom as Airflow's own server writes it, in the place of what is there.
    pub(crate) fn xcom(&self, XComKey { ti, key, .. }: &XComKey, json: &str, at: Timestamp) -> Result<()> {
        self.task_instance(ti, at)?;
        let sql = "INSERT OR REPLACE INTO xcom (dag_run_id, dag_id, run_id, task_id, map_index, key, value, timestamp)
                   SELECT id, dag_id, run_id, ?3, ?4, ?5, ?6, ?7 FROM dag_run WHERE dag_id = ?1 AND run_id = ?2";
        let more = [key.to_string().into(), json.to_owned().into(), moment(at).into()];
        self.ask(sql, of(ti, more)).map(drop)
    }

    /// Does something while Airflow is about to remove what a task pushed: there is one writer at a time, so it has not
    /// begun yet.
    pub(crate) fn removing<T>(&self, _ti: &TaskInstanceKey, work: impl FnOnce() -> T) -> Result<T> {
        Ok(work())
    }

    pub(crate) fn set_states(&self, states: &[(TaskInstanceKey, TaskState)], at: Timestamp) -> Result<()> {
        for (ti, state) in states {
            self.task_instance(ti, at)?;
            let sql = format!("UPDATE task_instance SET state = ?5 WHERE {KEY}");
            self.ask(&sql, of(ti, [state.name().to_owned().into()]))?;
        }
        Ok(())
    }
}
