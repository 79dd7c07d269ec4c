//! The statements that write entries and attempts. What they check and do is in `migrations/`.

use std::sync::Arc;

use excom_core::attempt::{Attempt, Caller, TaskState};
use excom_core::db::{
    Push, Pushed, Scope, StartMode, Started, cleared_by, intent_gone, key_gone, not_started, superseded,
    version_taken,
};
use excom_core::entry::Writer;
use excom_core::{Result, TaskInstanceKey, XComKey};
use jiff::Timestamp;
use uuid::Uuid;

use super::Tables;
use super::connection::{Connections, Done, Parameter, Statement, types};
use super::failure::{Failure, Refusal};
use super::names::Names;
use super::row;
use crate::packing::{Codec, Packed};

/// The fence of a push, which holds the runs of both task instances in one order where they are two.
macro_rules! fence {
    () => {
        "CASE WHEN $5 IS NULL OR ($1, $2) = ($6, $7) THEN excom.fence($1, $2, $3, $4, $5)
              ELSE excom.fence_across(ARRAY[$6], ARRAY[$7], $1, $2, $3, $4, $5) END"
    };
}

/// A push: the fence, and then all of `excom.put`, which looks at the entry and its history by their keys.
const PUSH: Statement<'_> = Statement {
    sql: concat!(
        "SELECT excom.put(",
        fence!(),
        ", $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21),
             pg_current_xact_id_if_assigned()::text::int8"
    ),
    types: types![
        TEXT, TEXT, TEXT, INT4, UUID, TEXT, TEXT, TEXT, INT4, TEXT, INT8, TEXT, INT8, INT8, INT8, TEXT, INT2,
        BYTEA, TEXT, TEXT, INT8,
    ],
};

/// A push of what a DAG returns: the same, and then its mark.
const PUSH_RESULT: Statement<'_> = Statement {
    sql: concat!(
        "SELECT CASE WHEN is_new THEN excom.mark_result($6, $7, $8, $9, $10, $11) ELSE false END,
             pg_current_xact_id_if_assigned()::text::int8
         FROM (SELECT excom.put(",
        fence!(),
        ", $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21) AS is_new OFFSET 0) pushed"
    ),
    types: PUSH.types,
};

/// Pushes of several callers, as far as nothing is in their way.
const PUSH_FREE: Statement<'_> = Statement {
    sql: "SELECT place, is_new, pg_current_xact_id_if_assigned()::text::int8
         FROM excom.put_free($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14,
                                                   $15, $16)",
    types: types![
        TEXT_ARRAY,
        TEXT_ARRAY,
        TEXT_ARRAY,
        INT4_ARRAY,
        TEXT_ARRAY,
        UUID_ARRAY,
        INT8_ARRAY,
        TEXT_ARRAY,
        INT8_ARRAY,
        INT8_ARRAY,
        INT8_ARRAY,
        TEXT_ARRAY,
        INT2_ARRAY,
        BYTEA_ARRAY,
        TEXT_ARRAY,
        INT8_ARRAY,
    ],
};

/// The end of an attempt with its pushes, each as [`PUSH`].
const FINISH: Statement<'_> = Statement {
    sql:
        "SELECT excom.finish($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
                              $19, $20, $21, $22, $23),
                           pg_current_xact_id_if_assigned()::text::int8",
    types: types![
        TEXT,
        TEXT,
        TEXT,
        INT4,
        UUID,
        INT2,
        BOOL,
        INT8,
        TEXT_ARRAY,
        TEXT_ARRAY,
        TEXT_ARRAY,
        INT4_ARRAY,
        TEXT_ARRAY,
        INT8_ARRAY,
        TEXT_ARRAY,
        INT8_ARRAY,
        INT8_ARRAY,
        INT8_ARRAY,
        TEXT_ARRAY,
        INT2_ARRAY,
        BYTEA_ARRAY,
        TEXT_ARRAY,
        TEXT,
    ],
};

/// The start of an attempt: the task instance's row, and a look for each key that its task has.
const START: Statement<'_> = Statement {
    sql: "SELECT the_number, cleared FROM excom.start_attempt($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    types: types![TEXT, TEXT, TEXT, INT4, UUID, INT4, BOOL, TEXT, INT8],
};

/// The state of the current attempt: one row by its key.
const SET_STATE: Statement<'_> = Statement {
    sql: "SELECT excom.set_state($1, $2, $3, $4, $6, $7, $8) FROM excom.fence($1, $2, $3, $4, $5)",
    types: types![TEXT, TEXT, TEXT, INT4, UUID, INT2, BOOL, INT8],
};

/// States of many task instances, as far as those that are known may be changed; the last of one counts. Rows are locked in
/// one order by all.
macro_rules! set_states {
    ($may:literal) => {
        Statement {
            sql: concat!(
                "WITH asked AS (
                    SELECT * FROM unnest($1, $2, $3, $4, $5) WITH ORDINALITY
                        AS a (dag, run_id, task, map_index, state, place)),
                known AS MATERIALIZED (SELECT excom.learn($1, $2, $3)),
                run AS MATERIALIZED (
                    SELECT dag, run_id, excom.run_of(dag, run_id, $6) AS id
                    FROM known, (SELECT dag, run_id FROM asked GROUP BY dag, run_id
                                 ORDER BY excom.run_lock(dag, run_id)) r),
                task AS MATERIALIZED (
                    SELECT text, excom.number_of(text) AS id
                    FROM known, (SELECT DISTINCT task AS text FROM asked) t)
                INSERT INTO excom.task_instance AS i (run, task, map_index, number, state)
                SELECT DISTINCT ON (run.id, task.id, a.map_index) run.id, task.id, a.map_index, 0, a.state
                FROM asked a JOIN run USING (dag, run_id) JOIN task ON task.text = a.task
                ORDER BY run.id, task.id, a.map_index, a.place DESC
                ON CONFLICT (run, task, map_index) DO UPDATE SET state = excluded.state ",
                $may
            ),
            types: types![TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, INT4_ARRAY, INT2_ARRAY, INT8],
        }
    };
}

const SET_STATES: Statement<'_> = set_states!("");

/// But for those that have begun: running, success, failed.
const SKIP: Statement<'_> = set_states!("WHERE i.state NOT IN (2, 6, 7)");

/// A clear: the entry by its key, or a look for each key that the task has.
const CLEAR: Statement<'_> = Statement {
    sql: "SELECT excom.clear($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    types: types![TEXT, TEXT, TEXT, INT4, UUID, TEXT, TEXT, TEXT, INT4, TEXT, TEXT, INT8],
};

/// A delete: all rows of a task in a run are looked at by their indexes.
const DELETE: Statement<'_> = Statement {
    sql: "SELECT excom.delete($1, $2, $3, $4, $5, $6)",
    types: types![TEXT, TEXT, TEXT, INT4, TEXT, INT8],
};

/// A mark unless it is there; an update that changes nothing returns the one that is. It is alone with its lock.
const SET_MARK: Statement<'_> = Statement {
    sql: "INSERT INTO excom.mark AS m (name, value)
          SELECT $1, $2 FROM (SELECT pg_advisory_xact_lock(excom.marks_lock())) alone
          ON CONFLICT (name) DO UPDATE SET value = m.value RETURNING value",
    types: types![TEXT, TEXT],
};

/// An attempt as the parameters of the fence: none for callers that are not fenced.
pub(super) struct Fenced<'a> {
    dag: Option<&'a str>,
    run: Option<&'a str>,
    task: Option<&'a str>,
    map_index: Option<i32>,
    attempt: Option<Uuid>,
}

impl<'a> Fenced<'a> {
    pub(super) fn attempt(attempt: &'a Attempt) -> Self {
        let ti = &attempt.ti;
        Self {
            dag: Some(&ti.dag_id),
            run: Some(&ti.run_id),
            task: Some(&ti.task_id),
            map_index: Some(ti.map_index),
            attempt: Some(attempt.id.0),
        }
    }

    pub(super) fn caller(caller: &'a Caller) -> Self {
        match caller {
            Caller::Attempt(attempt) => Self::attempt(attempt),
            _ => Self { dag: None, run: None, task: None, map_index: None, attempt: None },
        }
    }

    pub(super) fn parameters(&self) -> [Parameter<'_>; 5] {
        [&self.dag, &self.run, &self.task, &self.map_index, &self.attempt]
    }
}

/// The most bytes of a value that shares a transaction, so that a large one keeps nobody waiting.
const LARGEST_SHARED: usize = 64 * 1024;

/// A push as its row holds it.
pub(super) struct Row {
    key: XComKey,
    version: i64,
    size: i64,
    hash: i64,
    shape: i64,
    at: i64,
    packed: Packed,
    /// None for the task instance's own attempt, whose number is found out where it is written.
    writer: Option<String>,
    /// What encrypts a secret that is in the database.
    key_id: Option<String>,
    caller: Caller,
    /// Whether it is what its DAG returns.
    is_result: bool,
}

impl Row {
    fn of(push: &Push) -> Self {
        let writer = match Writer::of(&push.caller, &push.key, 0) {
            Writer::Attempt(_) => None,
            other => Some(serde_json::to_string(&other).unwrap_or_default()),
        };
        Self {
            key: push.key.clone(),
            version: push.version.to_code(),
            size: push.size as i64,
            hash: push.hash.0.cast_signed(),
            shape: push.shape.to_code(),
            at: push.at.as_millisecond(),
            packed: Packed::push(push, None),
            writer,
            key_id: push.encrypted_with(),
            caller: push.caller.clone(),
            is_result: push.result,
        }
    }

    /// Whether `excom.put_free` takes it.
    fn is_plain(&self) -> bool {
        let own = self.writer.is_none() || !matches!(self.caller, Caller::Attempt(_));
        let here = self.key_id.is_none() && self.packed.codec != Codec::Reference;
        own && here && !self.is_result && self.packed.body.len() <= LARGEST_SHARED
    }

    fn attempt(&self) -> Option<Uuid> {
        match &self.caller {
            Caller::Attempt(attempt) => Some(attempt.id.0),
            _ => None,
        }
    }
}

/// The pushes of a transaction in one order for all, so that two that push the same XComs wait for each other instead of
/// deadlocking. Those of one XCom stay in theirs.
pub(super) fn in_order(pushes: &[Push]) -> Vec<&Push> {
    let mut pushes: Vec<&Push> = pushes.iter().collect();
    pushes.sort_by_key(|push| &push.key);
    pushes
}

/// What became of a push that was one of several.
pub(super) enum Shared {
    Pushed(Pushed),
    /// Nothing: something is in its way.
    Not,
    InDoubt,
}

/// The pushes of some callers, in one transaction.
pub(super) async fn together(
    connections: Option<Arc<Connections>>,
    names: Arc<Names>,
    rows: Vec<Arc<Row>>,
) -> Vec<Shared> {
    let mut pushed: Vec<Shared> = rows.iter().map(|_| Shared::Not).collect();
    let Some(connections) = connections else { return pushed };
    names.make_known(&connections, rows.iter().map(|row| &row.key)).await;
    fn all<'a, T>(rows: &'a [Arc<Row>], of: impl Fn(&'a Row) -> T) -> Vec<T> {
        rows.iter().map(|row| of(row)).collect()
    }
    let keys = row::Keys::of(rows.iter().map(|row| &row.key));
    let [dags, runs, tasks, maps, names] = keys.parameters();
    let parameters: [Parameter<'_>; 16] = [
        dags,
        runs,
        tasks,
        maps,
        names,
        &all(&rows, Row::attempt),
        &all(&rows, |row| row.version),
        &all(&rows, |row| row.writer.as_deref()),
        &all(&rows, |row| row.size),
        &all(&rows, |row| row.hash),
        &all(&rows, |row| row.shape),
        &all(&rows, |row| &*row.packed.head),
        &all(&rows, |row| row.packed.codec as i16),
        &all(&rows, |row| &row.packed.body[..]),
        &all(&rows, |row| row.caller.to_string()),
        &all(&rows, |row| row.at),
    ];
    let shared = connections.shared(true, &PUSH_FREE, &parameters).await;
    connections.known().note(&shared, 2);
    match shared {
        Ok(found) => {
            for found in found {
                let (place, is_new): (i64, bool) = (found.get(0), found.get(1));
                let outcome = if is_new { Pushed::Written } else { Pushed::Already };
                pushed[place as usize - 1] = Shared::Pushed(outcome);
            }
        }
        Err(failure) if failure.in_doubt() => pushed.fill_with(|| Shared::InDoubt),
        Err(_) => {}
    }
    pushed
}

impl Tables {
    pub(super) async fn push(&self, push: &Push) -> Result<Pushed> {
        let row = Arc::new(Row::of(push));
        let here = self.pushes.enter();
        let mut was_shared = Shared::Not;
        if !here.is_alone() && row.is_plain() {
            was_shared = here.ask(row.clone()).await.unwrap_or(Shared::InDoubt);
        }
        if let Shared::Pushed(pushed) = was_shared {
            return Ok(pushed);
        }
        let fenced = Fenced::caller(&push.caller);
        let [own_dag, own_run, own_task, own_map, attempt] = fenced.parameters();
        let key = row::Key::of(&row.key);
        let [dag, run, task, map_index, name] = key.parameters();
        let parameters: [Parameter<'_>; 21] = [
            own_dag,
            own_run,
            own_task,
            own_map,
            attempt,
            dag,
            run,
            task,
            map_index,
            name,
            &row.version,
            &row.writer,
            &row.size,
            &row.hash,
            &row.shape,
            &row.packed.head,
            &(row.packed.codec as i16),
            &&row.packed.body[..],
            &row.key_id,
            &row.caller.to_string(),
            &row.at,
        ];
        let statement = if row.is_result { &PUSH_RESULT } else { &PUSH };
        let Done { result, in_doubt } = self.connections.write_told(statement, &parameters).await;
        self.connections.known().note(&result, 1);
        let in_doubt = in_doubt || matches!(was_shared, Shared::InDoubt);
        match result {
            // What is there may be what a try before wrote, whose answer was lost.
            Ok(rows) if in_doubt || rows[0].get(0) => Ok(Pushed::Written),
            Ok(_) => Ok(Pushed::Already),
            Err(failure) => match failure.refusal() {
                Some(Refusal::IntentGone) => Err(intent_gone(&push.key, push.version)),
                Some(Refusal::KeyRetired) => {
                    Err(key_gone(&push.key, row.key_id.as_deref().unwrap_or_default()))
                }
                _ => Err(self.refused(failure, &push.caller).await),
            },
        }
    }

    pub(super) async fn finish_attempt(
        &self,
        attempt: &Attempt,
        state: TaskState,
        pushes: &[Push],
        at: Timestamp,
    ) -> Result<()> {
        let rows: Vec<Row> = in_order(pushes).into_iter().map(Row::of).collect();
        fn all<'a, T>(rows: &'a [Row], of: impl Fn(&'a Row) -> T) -> Vec<T> {
            rows.iter().map(of).collect()
        }
        let keys = row::Keys::of(rows.iter().map(|row| &row.key));
        let [dags, runs, tasks, maps, names] = keys.parameters();
        let fenced = Fenced::attempt(attempt);
        let [dag, run, task, map_index, id] = fenced.parameters();
        let parameters: [Parameter<'_>; 23] = [
            dag,
            run,
            task,
            map_index,
            id,
            &row::code(state.to_code()),
            &state.has_ended(),
            &at.as_millisecond(),
            dags,
            runs,
            tasks,
            maps,
            names,
            &all(&rows, |row| row.version),
            &all(&rows, |row| row.writer.as_deref()),
            &all(&rows, |row| row.size),
            &all(&rows, |row| row.hash),
            &all(&rows, |row| row.shape),
            &all(&rows, |row| &*row.packed.head),
            &all(&rows, |row| row.packed.codec as i16),
            &all(&rows, |row| &row.packed.body[..]),
            &all(&rows, |row| row.key_id.as_deref()),
            &Caller::Attempt(attempt.clone()).to_string(),
        ];
        let Done { result, in_doubt } = self.connections.write_told(&FINISH, &parameters).await;
        self.connections.known().note(&result, 1);
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
            _ => self.refused(failure, &Caller::Attempt(attempt.clone())).await,
        })
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
        let parameters: [Parameter<'_>; 9] = [
            dag,
            run,
            task,
            map_index,
            id,
            &try_number.cast_signed(),
            &(mode == StartMode::Fresh),
            &by,
            &at.as_millisecond(),
        ];
        match self.connections.write(&START, &parameters).await {
            Ok(rows) => Ok(Started {
                number: row::unsigned(rows[0].get(0)),
                cleared: rows[0].get::<_, i64>(1) as u64,
            }),
            Err(failure) => Err(self.refused(failure, &caller).await),
        }
    }

    pub(super) async fn set_attempt_state(
        &self,
        attempt: &Attempt,
        state: TaskState,
        at: Timestamp,
    ) -> Result<()> {
        let fenced = Fenced::attempt(attempt);
        let [dag, run, task, map_index, id] = fenced.parameters();
        let (code, ended, at) = (row::code(state.to_code()), state.has_ended(), at.as_millisecond());
        match self.connections.write(&SET_STATE, &[dag, run, task, map_index, id, &code, &ended, &at]).await {
            Ok(_) => Ok(()),
            Err(failure) => Err(self.refused(failure, &Caller::Attempt(attempt.clone())).await),
        }
    }

    pub(super) async fn set_states(
        &self,
        states: &[(TaskInstanceKey, TaskState)],
        at: Timestamp,
    ) -> Result<(), Failure> {
        self.put_states(&SET_STATES, states, at).await
    }

    pub(super) async fn skip(&self, instances: &[TaskInstanceKey], at: Timestamp) -> Result<(), Failure> {
        let states: Vec<_> = instances.iter().map(|ti| (ti.clone(), TaskState::Skipped)).collect();
        self.put_states(&SKIP, &states, at).await
    }

    async fn put_states(
        &self,
        statement: &Statement<'_>,
        states: &[(TaskInstanceKey, TaskState)],
        at: Timestamp,
    ) -> Result<(), Failure> {
        let dags: Vec<&str> = states.iter().map(|(ti, _)| &*ti.dag_id).collect();
        let runs: Vec<&str> = states.iter().map(|(ti, _)| &*ti.run_id).collect();
        let tasks: Vec<&str> = states.iter().map(|(ti, _)| &*ti.task_id).collect();
        let maps: Vec<i32> = states.iter().map(|(ti, _)| ti.map_index).collect();
        let codes: Vec<i16> = states.iter().map(|(_, state)| row::code(state.to_code())).collect();
        let at = at.as_millisecond();
        self.connections.write(statement, &[&dags, &runs, &tasks, &maps, &codes, &at]).await.map(drop)
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
        match self.connections.write(&CLEAR, &parameters).await {
            Ok(rows) => Ok(rows[0].get::<_, i64>(0) as u64),
            Err(failure) => Err(self.refused(failure, caller).await),
        }
    }

    pub(super) async fn delete(&self, scope: &Scope, at: Timestamp) -> Result<u64, Failure> {
        let (ti, key) = parts(scope);
        let parameters: [Parameter<'_>; 6] =
            [&&*ti.dag_id, &&*ti.run_id, &&*ti.task_id, &ti.map_index, &key, &at.as_millisecond()];
        let rows = self.connections.write(&DELETE, &parameters).await?;
        Ok(rows[0].try_get::<_, i64>(0)? as u64)
    }

    pub(super) async fn set_mark(&self, name: &str, value: &str) -> Result<String, Failure> {
        let rows = self.connections.write(&SET_MARK, &[&name, &value]).await?;
        Ok(rows[0].try_get(0)?)
    }

    /// A failure of what a caller did as its error: a refusal by the fence tells of the attempt that is current.
    pub(super) async fn refused(&self, failure: Failure, caller: &Caller) -> excom_core::Error {
        let (Some(refusal), Caller::Attempt(attempt)) = (failure.refusal(), caller) else {
            return failure.into_error(self.connections.place());
        };
        match refusal {
            Refusal::Superseded => match self.task_instance(&attempt.ti).await {
                Ok(Some(found)) => match found.attempt {
                    Some(current) => superseded(attempt, &current),
                    None => not_started(attempt),
                },
                _ => failure.into_error(self.connections.place()),
            },
            Refusal::NotStarted => not_started(attempt),
            _ => failure.into_error(self.connections.place()),
        }
    }
}

/// The task instance of a scope, and the key when it is one XCom.
pub(super) fn parts(scope: &Scope) -> (&TaskInstanceKey, Option<&str>) {
    match scope {
        Scope::Key(key) => (&key.ti, Some(&key.key)),
        Scope::TaskInstance(ti) => (ti, None),
    }
}
