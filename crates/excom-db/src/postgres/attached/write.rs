//! The statements that write entries. What they check and do is in `schema/`.

use excom_core::attempt::{Attempt, Caller, TaskState};
use excom_core::db::{
    Push, Pushed, Scope, StartMode, Started, cleared_by, intent_gone, key_gone, not_started, superseded,
    version_taken,
};
use excom_core::entry::Writer;
use excom_core::{Error, Result};
use jiff::Timestamp;

use super::super::connection::{Done, Parameter, Statement, types};
use super::super::failure::{Failure, Refusal};
use super::super::row::unsigned;
use super::super::write::{Fenced, in_order, parts};
use super::{Tables, schema};
use crate::airflow::{Row, is_stable, no_task_instance, pushed};
use crate::expansion::{is_returned, too_long};

/// A push: the fence, and then all of `excom.put`, which looks at the entry and its history by their keys.
const PUSH: Statement<'_> = Statement {
    sql: "SELECT excom.put(excom.fence($1, $2, $3, $4, $5), $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
                           $19, $20, $21, $22, $23),
                           pg_current_xact_id_if_assigned()::text::int8",
    types: types![
        TEXT, TEXT, TEXT, INT4, UUID, TEXT, TEXT, TEXT, INT4, TEXT, INT8, TEXT, INT8, INT8, INT8, TEXT, TEXT,
        INT2, BYTEA, TEXT, TEXT, INT8, INT8,
    ],
};

/// A push of what a DAG returns: the same, and then its mark.
const PUSH_RESULT: Statement<'_> = Statement {
    sql: "SELECT CASE WHEN is_new THEN excom.mark_result($6, $7, $8, $9, $10) ELSE false END,
              pg_current_xact_id_if_assigned()::text::int8
          FROM (SELECT excom.put(excom.fence($1, $2, $3, $4, $5), $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
                                 $18, $19, $20, $21, $22, $23) AS is_new OFFSET 0) pushed",
    types: PUSH.types,
};

/// The last pushes of an attempt, each as [`PUSH`].
const FINISH: Statement<'_> = Statement {
    sql: "SELECT excom.finish($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
                              $21, $22, $23),
                           pg_current_xact_id_if_assigned()::text::int8",
    types: types![
        TEXT, TEXT, TEXT, INT4, UUID, INT8, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, INT4_ARRAY, TEXT_ARRAY, INT8_ARRAY,
        TEXT_ARRAY, INT8_ARRAY, INT8_ARRAY, INT8_ARRAY, TEXT_ARRAY, TEXT_ARRAY, INT2_ARRAY, BYTEA_ARRAY,
        TEXT_ARRAY, INT8_ARRAY, TEXT,
    ],
};

/// The start of an attempt: the task instance's rows by Airflow's index of them.
const START: Statement<'_> = Statement {
    sql: "SELECT the_number, cleared FROM excom.start_attempt($1, $2, $3, $4, $5, $6, $7, $8)",
    types: types![TEXT, TEXT, TEXT, INT4, UUID, BOOL, TEXT, INT8],
};

/// The fence alone.
const FENCE: Statement<'_> =
    Statement { sql: "SELECT excom.fence($1, $2, $3, $4, $5)", types: types![TEXT, TEXT, TEXT, INT4, UUID] };

/// A clear: the entry by its key, or those of the task instance by Airflow's index.
const CLEAR: Statement<'_> = Statement {
    sql: "SELECT excom.clear($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    types: types![TEXT, TEXT, TEXT, INT4, UUID, TEXT, TEXT, TEXT, INT4, TEXT, TEXT, INT8],
};

/// A delete, by the same.
const DELETE: Statement<'_> = Statement {
    sql: "SELECT excom.delete($1, $2, $3, $4, $5, $6)",
    types: types![TEXT, TEXT, TEXT, INT4, TEXT, INT8],
};

/// Whether tasks are mapped over what a task returns: its DAG's document is read when that is not known yet.
const EXPANDED: Statement<'_> =
    Statement { sql: "SELECT excom.is_expanded($1, $2, $3)", types: types![TEXT, TEXT, TEXT] };

/// What is asked of the document of a task instance's DAG where Airflow compressed it.
macro_rules! compressed {
    ($columns:literal) => {
        Statement {
            sql: concat!(
                "SELECT ",
                $columns,
                " FROM task_instance i JOIN serialized_dag s ON s.dag_version_id = i.dag_version_id
                  WHERE i.dag_id = $1 AND i.run_id = $2 AND i.task_id = $3 AND i.map_index = -1
                  AND s.data_compressed IS NOT NULL"
            ),
            types: types![TEXT, TEXT, TEXT],
        }
    };
}

const COMPRESSED_HASH: Statement<'_> = compressed!("s.dag_hash");

const COMPRESSED: Statement<'_> = compressed!("s.dag_hash, s.data_compressed");

/// The tasks of such a DAG over which others are mapped.
const NOTE_EXPANDED: Statement<'_> = Statement {
    sql: "INSERT INTO excom.expansion (dag_hash, tasks) VALUES ($1, $2) ON CONFLICT DO NOTHING",
    types: types![TEXT, TEXT_ARRAY],
};

/// A push with its row.
struct Writing<'a> {
    push: &'a Push,
    row: Row,
    writer: Option<String>,
    /// What encrypts a secret that is in the database.
    key_id: Option<String>,
}

impl<'a> Writing<'a> {
    fn of(push: &'a Push) -> Self {
        // The number of an own attempt is found out where it is written.
        let writer = match Writer::of(&push.caller, &push.key, 0) {
            Writer::Attempt(_) => None,
            other => Some(serde_json::to_string(&other).unwrap_or_default()),
        };
        Self { push, row: Row::of(push, is_stable), writer, key_id: push.encrypted_with() }
    }
}

impl Tables {
    pub(super) async fn push(&self, push: &Push) -> Result<Pushed> {
        self.check_length(push).await?;
        let fenced = Fenced::caller(&push.caller);
        let Writing { row: written, writer, key_id, .. } = Writing::of(push);
        let ti = &push.key.ti;
        let [dag, run, task, map_index, attempt] = fenced.parameters();
        let parameters: [Parameter<'_>; 23] = [
            dag,
            run,
            task,
            map_index,
            attempt,
            &&*ti.dag_id,
            &&*ti.run_id,
            &&*ti.task_id,
            &ti.map_index,
            &&*push.key.key,
            &push.version.to_code(),
            &writer,
            &(push.size as i64),
            &push.hash.0.cast_signed(),
            &push.shape.to_code(),
            &written.value,
            &written.head,
            &written.codec,
            &&written.body[..],
            &key_id,
            &push.caller.to_string(),
            &pushed(push.version),
            &push.at.as_millisecond(),
        ];
        let statement = if push.result { &PUSH_RESULT } else { &PUSH };
        let Done { result, in_doubt } = self.own.connections.write_told(statement, &parameters).await;
        self.own.connections.known().note(&result, 1);
        match result {
            // What is there may be what a try before wrote, whose answer was lost.
            Ok(rows) if in_doubt || rows[0].get(0) => Ok(Pushed::Written),
            Ok(_) => Ok(Pushed::Already),
            Err(failure) => match failure.refusal() {
                Some(Refusal::IntentGone) => Err(intent_gone(&push.key, push.version)),
                Some(Refusal::KeyRetired) => Err(key_gone(&push.key, &key_id.unwrap_or_default())),
                Some(Refusal::NoTaskInstance) => {
                    Err(no_task_instance(&push.key, self.own.connections.place()))
                }
                _ => Err(self.refused(failure, &push.caller).await),
            },
        }
    }

    /// The state is Airflow's to write.
    pub(super) async fn finish_attempt(
        &self,
        attempt: &Attempt,
        _state: TaskState,
        pushes: &[Push],
        at: Timestamp,
    ) -> Result<()> {
        for push in pushes {
            self.check_length(push).await?;
        }
        let rows: Vec<Writing<'_>> = in_order(pushes).into_iter().map(Writing::of).collect();
        fn all<'a, T>(rows: &'a [Writing<'_>], of: impl Fn(&'a Writing<'_>) -> T) -> Vec<T> {
            rows.iter().map(of).collect()
        }
        let fenced = Fenced::attempt(attempt);
        let [dag, run, task, map_index, id] = fenced.parameters();
        let parameters: [Parameter<'_>; 23] = [
            dag,
            run,
            task,
            map_index,
            id,
            &at.as_millisecond(),
            &all(&rows, |row| &*row.push.key.ti.dag_id),
            &all(&rows, |row| &*row.push.key.ti.run_id),
            &all(&rows, |row| &*row.push.key.ti.task_id),
            &all(&rows, |row| row.push.key.ti.map_index),
            &all(&rows, |row| &*row.push.key.key),
            &all(&rows, |row| row.push.version.to_code()),
            &all(&rows, |row| row.writer.as_deref()),
            &all(&rows, |row| row.push.size as i64),
            &all(&rows, |row| row.push.hash.0.cast_signed()),
            &all(&rows, |row| row.push.shape.to_code()),
            &all(&rows, |row| &*row.row.value),
            &all(&rows, |row| &*row.row.head),
            &all(&rows, |row| row.row.codec),
            &all(&rows, |row| &row.row.body[..]),
            &all(&rows, |row| row.key_id.as_deref()),
            &all(&rows, |row| pushed(row.push.version)),
            &Caller::Attempt(attempt.clone()).to_string(),
        ];
        let Done { result, in_doubt } = self.own.connections.write_told(&FINISH, &parameters).await;
        self.own.connections.known().note(&result, 1);
        let Err(failure) = result else { return Ok(()) };
        let version = failure.detail().and_then(|version| version.parse().ok());
        let push = pushes.iter().find(|push| Some(push.version.to_code()) == version);
        Err(match (failure.refusal(), push) {
            // What is there may be what a try before wrote, whose answer was lost.
            (Some(Refusal::VersionTaken), _) if in_doubt => return Ok(()),
            (Some(Refusal::VersionTaken), Some(push)) => version_taken(&push.key, push.version),
            (Some(Refusal::IntentGone), Some(push)) => intent_gone(&push.key, push.version),
            (Some(Refusal::KeyRetired), Some(push)) => {
                key_gone(&push.key, &push.encrypted_with().unwrap_or_default())
            }
            (Some(Refusal::NoTaskInstance), push) => match push.or(pushes.first()) {
                Some(push) => no_task_instance(&push.key, self.own.connections.place()),
                None => not_started(attempt),
            },
            _ => self.refused(failure, &Caller::Attempt(attempt.clone())).await,
        })
    }

    /// Refuses what tasks are mapped over and has more elements than Airflow lets a task return then. Asked is only for
    /// what has so many.
    async fn check_length(&self, push: &Push) -> Result<()> {
        let (ti, length) = (&push.key.ti, push.shape.mapped_length().unwrap_or(0));
        if length <= self.expansion.most.into() || !is_returned(&push.key) {
            return Ok(());
        }
        let parameters: [Parameter<'_>; 3] = [&&*ti.dag_id, &&*ti.run_id, &&*ti.task_id];
        let connections = &self.own.connections;
        let told = |failure| schema::told(failure, connections.place());
        let rows = connections.write(&EXPANDED, &parameters).await.map_err(told)?;
        match rows[0].get(0) {
            Some(true) => return Err(too_long(&push.key, length, self.expansion.most)),
            Some(false) => return Ok(()),
            // The server cannot decompress.
            None => {}
        }
        let found = connections.read(&COMPRESSED_HASH, &parameters).await.map_err(told)?;
        let Some(hash) = found.first().map(|found| found.get::<_, &str>(0)) else { return Ok(()) };
        let sources = match self.expansion.known(hash) {
            Some(known) => known,
            None => {
                let found = connections.read(&COMPRESSED, &parameters).await.map_err(told)?;
                let Some(found) = found.first() else { return Ok(()) };
                self.expansion.learn(found.get(0), None, Some(found.get(1)))
            }
        };
        if let Some(tasks) = &*sources {
            let tasks: Vec<&str> = tasks.iter().map(String::as_str).collect();
            connections.write(&NOTE_EXPANDED, &[&hash, &tasks]).await.map_err(told)?;
        }
        self.expansion.length(push, Some(&sources)).map(drop)
    }

    pub(super) async fn start_attempt(
        &self,
        attempt: &Attempt,
        try_number: u32,
        mode: StartMode,
        at: Timestamp,
    ) -> Result<Started> {
        let caller = Caller::Attempt(attempt.clone());
        let fenced = Fenced::attempt(attempt);
        let [dag, run, task, map_index, id] = fenced.parameters();
        let by = cleared_by(&caller, &attempt.ti, Some(try_number));
        let parameters: [Parameter<'_>; 8] =
            [dag, run, task, map_index, id, &(mode == StartMode::Fresh), &by, &at.as_millisecond()];
        match self.own.connections.write(&START, &parameters).await {
            Ok(rows) => {
                Ok(Started { number: unsigned(rows[0].get(0)), cleared: rows[0].get::<_, i64>(1) as u64 })
            }
            Err(failure) => Err(self.refused(failure, &caller).await),
        }
    }

    /// The state is Airflow's to write: here is only looked whether the attempt could.
    pub(super) async fn set_attempt_state(
        &self,
        attempt: &Attempt,
        _state: TaskState,
        _at: Timestamp,
    ) -> Result<()> {
        let fenced = Fenced::attempt(attempt);
        match self.own.connections.write(&FENCE, &fenced.parameters()).await {
            Ok(_) => Ok(()),
            Err(failure) => Err(self.refused(failure, &Caller::Attempt(attempt.clone())).await),
        }
    }

    pub(super) async fn clear(&self, caller: &Caller, scope: &Scope, at: Timestamp) -> Result<u64> {
        let fenced = Fenced::caller(caller);
        let [dag, run, task, map_index, attempt] = fenced.parameters();
        let (ti, key) = parts(scope);
        let by = cleared_by(caller, ti, None);
        let parameters: [Parameter<'_>; 12] = [
            dag,
            run,
            task,
            map_index,
            attempt,
            &&*ti.dag_id,
            &&*ti.run_id,
            &&*ti.task_id,
            &ti.map_index,
            &key,
            &by,
            &at.as_millisecond(),
        ];
        match self.own.connections.write(&CLEAR, &parameters).await {
            Ok(rows) => Ok(rows[0].get::<_, i64>(0) as u64),
            Err(failure) => Err(self.refused(failure, caller).await),
        }
    }

    pub(super) async fn delete(&self, scope: &Scope, at: Timestamp) -> Result<u64> {
        let (ti, key) = parts(scope);
        let parameters: [Parameter<'_>; 6] =
            [&&*ti.dag_id, &&*ti.run_id, &&*ti.task_id, &ti.map_index, &key, &at.as_millisecond()];
        match self.own.connections.write(&DELETE, &parameters).await {
            Ok(rows) => Ok(rows[0].get::<_, i64>(0) as u64),
            Err(failure) => Err(self.refused(failure, &Caller::System("db")).await),
        }
    }

    /// A failure of what a caller did as its error: a refusal by the fence tells of the attempt that is current.
    pub(super) async fn refused(&self, failure: Failure, caller: &Caller) -> Error {
        let place = self.own.connections.place();
        match (failure.refusal(), caller) {
            (Some(Refusal::UnknownSchema), _) => schema::unknown(failure.detail().unwrap_or_default(), place),
            (Some(Refusal::Superseded), Caller::Attempt(attempt)) => match self.attempts(&attempt.ti).await {
                Ok(mut found) => match found.pop() {
                    Some(current) => superseded(attempt, &current),
                    None => not_started(attempt),
                },
                Err(_) => schema::told(failure, place),
            },
            (Some(Refusal::NotStarted), Caller::Attempt(attempt)) => not_started(attempt),
            _ => schema::told(failure, place),
        }
    }
}
