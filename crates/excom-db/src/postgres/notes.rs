//! Notes of task instances: the statements that write and read them. Each is about rows that lie together by their key.

use excom_core::attempt::{Attempt, Caller};
use excom_core::db::Note;
use excom_core::{Result, TaskInstanceKey, Value};
use jiff::Timestamp;
use tokio_postgres::Row;

use super::Tables;
use super::connection::{Parameter, Statement, types};
use super::failure::Failure;
use super::read::{name, run};
use super::row;
use super::write::Fenced;

/// What is asked of the notes.
pub(super) struct Statements {
    put: Statement<'static>,
    put_first: Statement<'static>,
    remove: Statement<'static>,
    many: Statement<'static>,
}

/// The statements, by how a table names a run and a task: its columns for them, and their values for a DAG, a run and a
/// task (`$1` to `$3`). Writers are fenced, and the fence tells their numbers.
macro_rules! statements {
    ($run:literal, $task:literal, $of_run:expr, $of_task:expr) => {
        Statements {
            put: Statement {
                sql: concat!(
                    put!($run, $task, $of_run, $of_task),
                    " DO UPDATE SET number = excluded.number, value = excluded.value RETURNING value"
                ),
                types: types![TEXT, TEXT, TEXT, INT4, UUID, TEXT, TEXT],
            },
            put_first: Statement {
                sql: concat!(
                    put!($run, $task, $of_run, $of_task),
                    " DO UPDATE SET number = excluded.number,
                          value = CASE WHEN n.number = excluded.number THEN n.value ELSE excluded.value END
                      RETURNING value"
                ),
                types: types![TEXT, TEXT, TEXT, INT4, UUID, TEXT, TEXT],
            },
            remove: Statement {
                sql: concat!(
                    "DELETE FROM excom.note USING excom.fence($1, $2, $3, $4, $5)",
                    of!($run, $task, $of_run, $of_task),
                    "AND name = $6 RETURNING value"
                ),
                types: types![TEXT, TEXT, TEXT, INT4, UUID, TEXT],
            },
            many: Statement {
                sql: concat!(
                    "SELECT name, number, value FROM excom.note",
                    of!($run, $task, $of_run, $of_task),
                    "AND starts_with(name, $5) ORDER BY name COLLATE \"C\" LIMIT $6"
                ),
                types: types![TEXT, TEXT, TEXT, INT4, TEXT, INT8],
            },
        }
    };
}

/// Those of a task instance, whose map index is `$4`.
macro_rules! of {
    ($run:literal, $task:literal, $of_run:expr, $of_task:expr) => {
        concat!(" WHERE ", $run, " = ", $of_run, " AND ", $task, " = ", $of_task, " AND map_index = $4 ")
    };
}

macro_rules! put {
    ($run:literal, $task:literal, $of_run:expr, $of_task:expr) => {
        concat!(
            "INSERT INTO excom.note AS n (",
            $run,
            ", ",
            $task,
            ", map_index, name, number, value) SELECT ",
            $of_run,
            ", ",
            $of_task,
            ", $4, $6, number, $7 FROM excom.fence($1, $2, $3, $4, $5) AS number ON CONFLICT (",
            $run,
            ", ",
            $task,
            ", map_index, name)"
        )
    };
}

const OWN: Statements = statements!("run", "task", run!("$1", "$2"), name!("$3"));

/// Notes beside Airflow's tables, which have no numbers for texts.
pub(super) const BESIDE: Statements = statements!("dag_run_id", "task_id", "excom.known_run($1, $2)", "$3");

impl Tables {
    pub(super) async fn note(
        &self,
        attempt: &Attempt,
        name: &str,
        value: Option<&Value>,
        _at: Timestamp,
    ) -> Result<()> {
        match self.note_by(&OWN, attempt, name, value).await {
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
    ) -> Result<Value> {
        match self.note_once_by(&OWN, attempt, name, value).await {
            Ok(first) => Ok(first),
            Err(failure) => Err(self.refused(failure, &Caller::Attempt(attempt.clone())).await),
        }
    }

    pub(super) async fn notes(
        &self,
        ti: &TaskInstanceKey,
        prefix: &str,
        limit: u32,
    ) -> Result<Vec<Note>, Failure> {
        self.notes_by(&OWN, ti, prefix, limit).await
    }

    // ---- the same by statements about a table, with the refusal as the database told it

    pub(super) async fn note_by(
        &self,
        statements: &Statements,
        attempt: &Attempt,
        name: &str,
        value: Option<&Value>,
    ) -> Result<(), Failure> {
        let fenced = Fenced::attempt(attempt);
        let [dag, run, task, map_index, id] = fenced.parameters();
        match value {
            Some(value) => {
                let parameters = [dag, run, task, map_index, id, &name, &value.as_str() as Parameter<'_>];
                self.connections.write(&statements.put, &parameters).await
            }
            None => self.connections.write(&statements.remove, &[dag, run, task, map_index, id, &name]).await,
        }
        .map(drop)
    }

    pub(super) async fn note_once_by(
        &self,
        statements: &Statements,
        attempt: &Attempt,
        name: &str,
        value: &Value,
    ) -> Result<Value, Failure> {
        let fenced = Fenced::attempt(attempt);
        let [dag, run, task, map_index, id] = fenced.parameters();
        let parameters = [dag, run, task, map_index, id, &name, &value.as_str() as Parameter<'_>];
        let rows = self.connections.write(&statements.put_first, &parameters).await?;
        match rows.first() {
            Some(found) => Ok(Value::parse(found.try_get::<_, String>(0)?)?),
            None => Ok(value.clone()),
        }
    }

    pub(super) async fn notes_by(
        &self,
        statements: &Statements,
        ti: &TaskInstanceKey,
        prefix: &str,
        limit: u32,
    ) -> Result<Vec<Note>, Failure> {
        let parameters: [Parameter<'_>; 6] =
            [&&*ti.dag_id, &&*ti.run_id, &&*ti.task_id, &ti.map_index, &prefix, &i64::from(limit)];
        self.rows(&statements.many, &parameters, note).await
    }
}

fn note(found: &Row) -> Result<Note, Failure> {
    Ok(Note {
        name: row::text(found, 0)?,
        number: found.try_get::<_, i32>(1)? as u32,
        value: Value::parse(found.try_get::<_, String>(2)?)?,
    })
}
