//! The transactions that write entries and attempts. Who waits for whom is said in [`super::names`].

use excom_core::attempt::{Attempt, AttemptInfo, Caller, TaskState};
use excom_core::db::{
    Push, Pushed, Scope, StartMode, Started, cleared_by, intent_gone, key_gone, not_started, retired_key,
    superseded, version_taken,
};
use excom_core::entry::{EndReason, Version, Writer};
use excom_core::{ErrorKind, TaskInstanceKey, XComKey};
use jiff::Timestamp;
use mysql_async::Params;

use super::Tables;
use super::connection::{Connection, Done, named};
use super::failure::{Failure, damaged};
use super::names::{Lock, Ti, Xcom};
use super::read::{MARK, attempt, with};
use super::row;
use crate::packing::{Codec, Packed};

type Result<T> = std::result::Result<T, Failure>;

/// The current attempt of a task instance, by its key.
const CURRENT: &str = concat!(
    "SELECT ",
    attempt!(),
    " FROM excom_task_instance WHERE run = :run AND task = :task AND map_index = :map_index"
);

/// Whether an attempt was one of a task instance before: of these it has few.
const WAS_ATTEMPT: &str = "SELECT 1 FROM excom_attempt
    WHERE run = :run AND task = :task AND map_index = :map_index AND attempt = :attempt";

/// The version of an XCom, and whether another is in its history, by their keys.
const VERSIONS: &str = "SELECT
    (SELECT version FROM excom_entry
     WHERE run = :run AND task = :task AND xcom_key = :key AND map_index = :map_index),
    EXISTS (SELECT 1 FROM excom_history
            WHERE run = :run AND task = :task AND xcom_key = :key AND map_index = :map_index
            AND version = :version)";

/// An intent by its key.
pub(super) const TAKE_INTENT: &str = "DELETE FROM excom_loose_object
    WHERE version = :version AND run = :run AND task = :task AND xcom_key = :key AND map_index = :map_index
    AND NOT is_purge";

/// An entry by its key, as history.
const KEEP_PAST: &str = "INSERT INTO excom_history (run, task, xcom_key, map_index, version, size, hash, shape, number,
        codec, reason, offloaded, ended_at, writer, ended_by, head, body)
    SELECT run, task, xcom_key, map_index, version, size, hash, shape, number, codec, :reason, codec = 2, :ended_at,
        writer, :ended_by, head, body
    FROM excom_entry WHERE run = :run AND task = :task AND xcom_key = :key AND map_index = :map_index";

/// An entry by its key.
pub(super) const REMOVE_ENTRY: &str = "DELETE FROM excom_entry
    WHERE run = :run AND task = :task AND xcom_key = :key AND map_index = :map_index";

/// An entry that is not there.
const MAKE_ENTRY: &str = "INSERT INTO excom_entry (run, task, xcom_key, map_index, version, size, hash, shape, number,
        codec, writer, head, body)
    VALUES (:run, :task, :key, :map_index, :version, :size, :hash, :shape, :number, :codec, :writer, :head, :body)";

/// The state of a task instance and of its current attempt, by its key.
const SET_STATE: &str = "UPDATE excom_task_instance
    SET state = :state, took = CASE WHEN :has_ended THEN GREATEST(:at - started, 0) END
    WHERE run = :run AND task = :task AND map_index = :map_index";

/// An attempt that is not the current one any more.
const KEEP_ATTEMPT: &str = "INSERT INTO excom_attempt
        (run, task, map_index, number, started, took, attempt, try_number, state)
    SELECT run, task, map_index, number, started, took, attempt, try_number, state
    FROM excom_task_instance WHERE run = :run AND task = :task AND map_index = :map_index";

/// A task instance by its key; 2 is running.
const START: &str = "INSERT INTO excom_task_instance
        (run, task, map_index, number, started, took, attempt, try_number, state)
    VALUES (:run, :task, :map_index, :number, :at, NULL, :attempt, :try_number, 2)
    ON DUPLICATE KEY UPDATE number = VALUES(number), started = VALUES(started), took = NULL,
        attempt = VALUES(attempt), try_number = VALUES(try_number), state = VALUES(state)";

/// The next key of a task: one look into the entries' key.
const NEXT_KEY: &str = "SELECT xcom_key FROM excom_entry
    WHERE run = :run AND task = :task AND xcom_key > :key ORDER BY xcom_key LIMIT 1";

/// States of many task instances, in the order of their key; the last part is what one that is known gets.
macro_rules! set_states {
    ($state:literal) => {
        concat!(
            "INSERT INTO excom_task_instance (run, task, map_index, number, state)
    SELECT a.of_run, a.of_task, a.of_map, 0, a.new_state
    FROM JSON_TABLE(:states, '$[*]' COLUMNS (
             of_run INT PATH '$[0]', of_task INT PATH '$[1]', of_map INT PATH '$[2]', new_state INT PATH '$[3]')) a
    ORDER BY a.of_run, a.of_task, a.of_map
    ON DUPLICATE KEY UPDATE excom_task_instance.state = ",
            $state
        )
    };
}

const SET_STATES: &str = set_states!("VALUES(state)");

/// But for those that have begun: running, success, failed.
const SKIP: &str =
    set_states!("IF(excom_task_instance.state IN (2, 6, 7), excom_task_instance.state, VALUES(state))");

/// What a delete removes, and where its objects are: all rows of a task in a run are looked at.
macro_rules! deleted {
    ($table:literal) => {
        concat!(
            "SELECT xcom_key, version, CASE WHEN codec = 2 THEN body END FROM ",
            $table,
            " WHERE run = :run AND task = :task AND map_index = :map_index AND (:key IS NULL OR xcom_key = :key)"
        )
    };
}

const DELETED: [&str; 2] = [deleted!("excom_entry"), deleted!("excom_history")];

macro_rules! delete {
    ($table:literal) => {
        concat!(
            "DELETE FROM ",
            $table,
            " WHERE run = :run AND task = :task AND map_index = :map_index AND (:key IS NULL OR xcom_key = :key)"
        )
    };
}

const DELETE: [&str; 3] = [delete!("excom_entry"), delete!("excom_history"), delete!("excom_ledger")];

/// One row by its key.
const DELETE_RENDERED: &str = "DELETE FROM excom_note
    WHERE run = :run AND task = :task AND map_index = :map_index AND name = 'rendered'";

/// A mark by its name.
const MAKE_MARK: &str = "INSERT INTO excom_mark (name, value) VALUES (:name, :value)";

/// The parameters that name a task instance by its numbers.
pub(super) fn ti(ti: Ti) -> Params {
    named! { "run" => ti.run, "task" => ti.task, "map_index" => ti.map_index }
}

/// The parameters that name an XCom by its numbers.
pub(super) fn xcom(xcom: Xcom) -> Params {
    with(ti(xcom.ti), "key", xcom.key)
}

/// The parameters that name a version of an XCom by its numbers.
pub(super) fn of_version(of: Xcom, version: Version) -> Params {
    with(xcom(of), "version", version.to_code())
}

impl Connection {
    /// The current attempt of a task instance.
    async fn current(&mut self, of: Ti) -> Result<Option<AttemptInfo>> {
        let found = self.one(CURRENT, ti(of)).await?;
        Ok(found.map(|found| row::attempt(&found, 0)).transpose()?.flatten())
    }

    async fn was_attempt(&mut self, of: Ti, attempt: &Attempt) -> Result<bool> {
        let parameters = with(ti(of), "attempt", attempt.id.0.as_bytes().to_vec());
        Ok(self.one(WAS_ATTEMPT, parameters).await?.is_some())
    }

    /// The fence: the number of an attempt while it is the current one. Its task instance is locked.
    pub(super) async fn fence(&mut self, of: Ti, attempt: &Attempt) -> Result<u32> {
        let current = self.current(of).await?;
        match current {
            Some(current) if current.id == attempt.id => Ok(current.number),
            Some(current) if self.was_attempt(of, attempt).await? => {
                Err(superseded(attempt, &current).into())
            }
            _ => Err(not_started(attempt).into()),
        }
    }

    /// The task instance of a caller that is an attempt.
    pub(super) async fn own(&mut self, caller: &Caller) -> Result<Option<Ti>> {
        let Caller::Attempt(attempt) = caller else { return Ok(None) };
        match self.known_ti(&attempt.ti).await? {
            Some(own) => Ok(Some(own)),
            None => Err(not_started(attempt).into()),
        }
    }

    /// The fence of any caller, whose task instance is locked if it has one; 0 for those that are no attempts.
    pub(super) async fn fence_of(&mut self, caller: &Caller, own: Option<Ti>) -> Result<u32> {
        match (caller, own) {
            (Caller::Attempt(attempt), Some(own)) => self.fence(own, attempt).await,
            _ => Ok(0),
        }
    }

    /// Whether nothing more is to be sealed with a key.
    pub(super) async fn is_retired(&mut self, key_id: &str) -> Result<bool> {
        Ok(self.one(MARK, named! { "name" => retired_key(key_id) }).await?.is_some())
    }

    /// The version of an entry, and whether one that is asked about was pushed before.
    pub(super) async fn versions(&mut self, of: Xcom, version: Version) -> Result<(Option<i64>, bool)> {
        let found = self.one(VERSIONS, of_version(of, version)).await?;
        let found = found.ok_or_else(|| damaged("no answer about a version"))?;
        let current = row::optional(&found, 0)?;
        Ok((current, current == Some(version.to_code()) || row::is(&found, 1)?))
    }

    /// Moves an entry to the history; `false` when there is none.
    async fn end(&mut self, of: Xcom, reason: EndReason, by: &str, at: i64) -> Result<bool> {
        let kept = with(with(xcom(of), "reason", reason.to_code()), "ended_by", by);
        if self.change(KEEP_PAST, with(kept, "ended_at", at)).await? == 0 {
            return Ok(false);
        }
        Ok(self.change(REMOVE_ENTRY, xcom(of)).await? > 0)
    }

    /// Makes a push the entry, of which the task instance is locked. The number is that of the caller's attempt.
    async fn put(&mut self, number: u32, of: Xcom, push: &Push, packed: &Packed) -> Result<Pushed> {
        let (current, is_known) = self.versions(of, push.version).await?;
        if is_known {
            return Ok(Pushed::Already);
        }
        if let Some(key_id) = push.encrypted_with() {
            // Whoever retires a key waits for this, and looks for what it encrypts then.
            self.share_marks().await?;
            if self.is_retired(&key_id).await? {
                return Err(key_gone(&push.key, &key_id).into());
            }
        }
        if packed.codec == Codec::Reference
            && self.change(TAKE_INTENT, of_version(of, push.version)).await? == 0
        {
            return Err(intent_gone(&push.key, push.version).into());
        }
        let at = push.at.as_millisecond();
        if current.is_some() {
            self.end(of, EndReason::Replaced, &push.caller.to_string(), at).await?;
        }
        let (number, writer) = row::writer_columns(&Writer::of(&push.caller, &push.key, number));
        let row = named! {
            "run" => of.ti.run,
            "task" => of.ti.task,
            "key" => of.key,
            "map_index" => of.ti.map_index,
            "version" => push.version.to_code(),
            "size" => push.size,
            "hash" => push.hash.0.cast_signed(),
            "shape" => push.shape.to_code(),
            "number" => number,
            "codec" => packed.codec as i64,
            "writer" => writer,
            "head" => &*packed.head,
            "body" => &packed.body[..],
        };
        self.make_entry(MAKE_ENTRY, row).await?;
        if push.result {
            self.mark_result(of, push.version).await?;
        }
        Ok(Pushed::Written)
    }

    async fn push(&mut self, push: &Push, packed: &Packed) -> Result<Pushed> {
        let (key, at) = (&push.key, push.at.as_millisecond());
        if let Caller::Attempt(attempt) = &push.caller {
            self.make_known(Some(&attempt.ti), &[key], at).await?;
        }
        let own = match &push.caller {
            // Found together with the XCom.
            Caller::Attempt(attempt) if attempt.ti == push.key.ti => None,
            caller => self.own(caller).await?,
        };
        let of = self.xcom(key, at).await?;
        self.take(own.into_iter().chain([of.ti])).await?;
        let number = self.fence_of(&push.caller, Some(own.unwrap_or(of.ti))).await?;
        self.put(number, of, push, packed).await
    }

    async fn set_state(&mut self, of: Ti, state: TaskState, at: Timestamp) -> Result<()> {
        let parameters = with(ti(of), "state", state.to_code());
        let parameters = with(parameters, "has_ended", state.has_ended());
        self.change(SET_STATE, with(parameters, "at", at.as_millisecond())).await.map(drop)
    }

    async fn finish(
        &mut self,
        attempt: &Attempt,
        state: TaskState,
        pushes: &[(&Push, Packed)],
        at: Timestamp,
    ) -> Result<()> {
        let keys: Vec<&XComKey> = pushes.iter().map(|(push, _)| &push.key).collect();
        self.make_known(Some(&attempt.ti), &keys, at.as_millisecond()).await?;
        let Some(own) = self.known_ti(&attempt.ti).await? else { return Err(not_started(attempt).into()) };
        let mut xcoms = Vec::with_capacity(pushes.len());
        for (push, _) in pushes {
            xcoms.push(self.xcom(&push.key, at.as_millisecond()).await?);
        }
        self.take(xcoms.iter().map(|xcom| xcom.ti).chain([own])).await?;
        let number = self.fence(own, attempt).await?;
        for ((push, packed), of) in pushes.iter().zip(xcoms) {
            if self.put(number, of, push, packed).await? == Pushed::Already {
                return Err(version_taken(&push.key, push.version).into());
            }
        }
        self.set_state(own, state, at).await
    }

    /// Moves the entries of a task instance to the history. They are found by a look for each key that its task has,
    /// because map indexes lie behind keys.
    async fn clear_instance(&mut self, of: Ti, by: &str, at: i64) -> Result<u64> {
        let (mut key, mut cleared) = (0, 0);
        while let Some(found) = self.one(NEXT_KEY, xcom(Xcom { ti: of, key })).await? {
            key = row::int4(&found, 0)?;
            cleared += u64::from(self.end(Xcom { ti: of, key }, EndReason::Cleared, by, at).await?);
        }
        Ok(cleared)
    }

    async fn start(
        &mut self,
        attempt: &Attempt,
        try_number: u32,
        mode: StartMode,
        at: Timestamp,
    ) -> Result<Started> {
        let of = self.ti(&attempt.ti, at.as_millisecond()).await?;
        self.take([of]).await?;
        let current = self.current(of).await?;
        if let Some(current) = current.as_ref().filter(|current| current.id == attempt.id) {
            if !current.state.has_ended() {
                self.set_state(of, TaskState::Running, at).await?;
            }
            return Ok(Started { number: current.number, cleared: 0 });
        }
        if let Some(current) = &current
            && self.was_attempt(of, attempt).await?
        {
            return Err(superseded(attempt, current).into());
        }
        if mode == StartMode::Resume {
            return Err(not_started(attempt).into());
        }
        if current.is_some() {
            self.change(KEEP_ATTEMPT, ti(of)).await?;
        }
        let number = current.map_or(0, |current| current.number) + 1;
        let started = named! {
            "run" => of.run,
            "task" => of.task,
            "map_index" => of.map_index,
            "number" => number,
            "at" => at.as_millisecond(),
            "attempt" => attempt.id.0.as_bytes().to_vec(),
            "try_number" => try_number,
        };
        self.change(START, started).await?;
        let by = cleared_by(&Caller::Attempt(attempt.clone()), &attempt.ti, Some(try_number));
        let cleared = self.clear_instance(of, &by, at.as_millisecond()).await?;
        Ok(Started { number, cleared })
    }

    async fn set_states(
        &mut self,
        statement: &str,
        states: &[(TaskInstanceKey, TaskState)],
        at: Timestamp,
    ) -> Result<()> {
        let texts: Vec<&str> = states.iter().flat_map(|(ti, _)| [&*ti.dag_id, &*ti.task_id]).collect();
        let numbers = self.names(&texts).await?;
        let mut runs: Vec<(i32, &str, Option<i32>)> =
            states.iter().zip(numbers.chunks(2)).map(|((ti, _), of)| (of[0], &*ti.run_id, None)).collect();
        runs.sort_unstable();
        runs.dedup();
        for (dag, run_id, run) in &mut runs {
            *run = Some(self.run(*dag, run_id, at.as_millisecond(), Lock::Shared).await?);
        }
        // The last state of a task instance counts.
        let mut rows = std::collections::BTreeMap::new();
        for ((ti, state), of) in states.iter().zip(numbers.chunks(2)) {
            let run = runs.iter().find(|(dag, run_id, _)| *dag == of[0] && **run_id == *ti.run_id);
            let Some((_, _, Some(run))) = run else { continue };
            rows.insert((*run, of[1], ti.map_index), state.to_code());
        }
        let rows: Vec<_> =
            rows.into_iter().map(|((run, task, map_index), state)| (run, task, map_index, state)).collect();
        let states = serde_json::to_string(&rows).unwrap_or_default();
        self.change(statement, named! { "states" => states }).await.map(drop)
    }

    async fn clear(&mut self, caller: &Caller, scope: &Scope, at: Timestamp) -> Result<u64> {
        if let Caller::Attempt(attempt) = caller {
            self.share_runs([&attempt.ti, scope.ti()]).await?;
        }
        let own = self.own(caller).await?;
        let (by, at) = (cleared_by(caller, scope.ti(), None), at.as_millisecond());
        let of = match scope {
            Scope::Key(key) => self.known_xcom(key).await?.map(|xcom| (xcom.ti, Some(xcom))),
            Scope::TaskInstance(ti) => self.known_ti(ti).await?.map(|ti| (ti, None)),
        };
        self.take(own.into_iter().chain(of.map(|(ti, _)| ti))).await?;
        self.fence_of(caller, own).await?;
        match of {
            None => Ok(0),
            Some((_, Some(xcom))) => Ok(self.end(xcom, EndReason::Cleared, &by, at).await?.into()),
            Some((ti, None)) => self.clear_instance(ti, &by, at).await,
        }
    }

    async fn delete(&mut self, scope: &Scope, at: Timestamp) -> Result<u64> {
        let of = match scope {
            Scope::Key(key) => self.known_xcom(key).await?.map(|xcom| (xcom.ti, Some(xcom.key))),
            Scope::TaskInstance(ti) => self.known_ti(ti).await?.map(|ti| (ti, None)),
        };
        let Some((of, key)) = of else { return Ok(0) };
        self.take([of]).await?;
        self.remove_results(of, key).await?;
        Ok(self.delete_rows(of, key, at).await?.iter().sum())
    }

    /// Removes what there is of a task instance, or of one key of it, and tells how many entries and earlier versions
    /// that were. The task instance is locked.
    pub(super) async fn delete_rows(&mut self, of: Ti, key: Option<i32>, at: Timestamp) -> Result<[u64; 2]> {
        let mut gone = [0; 2];
        for (table, gone) in DELETED.into_iter().zip(&mut gone) {
            for found in self.rows(table, with(ti(of), "key", key)).await? {
                *gone += 1;
                if let Some(body) = row::optional_bytes(&found, 2)? {
                    let store = row::reference(body)?.store;
                    let xcom = Xcom { ti: of, key: row::int4(&found, 0)? };
                    self.loosen(xcom, row::version(&found, 1)?, &store, at.as_millisecond()).await?;
                }
            }
        }
        for table in DELETE {
            self.change(table, with(ti(of), "key", key)).await?;
        }
        if key.is_none() {
            self.change(DELETE_RENDERED, ti(of)).await?;
        }
        Ok(gone)
    }

    async fn set_mark(&mut self, name: &str, value: &str) -> Result<String> {
        self.take_marks().await?;
        self.insert(MAKE_MARK, named! { "name" => name, "value" => value }).await?;
        let found = self.one(MARK, named! { "name" => name }).await?;
        let found = found.ok_or_else(|| damaged("lost a mark"))?;
        Ok(row::str(&found, 0)?.to_owned())
    }
}

/// A transaction of one step of a connection: `step!(self, write, |connection| connection.clear(caller, scope))`.
macro_rules! step {
    ($tables:expr, $how:ident, $connection:ident.$step:ident($($argument:expr),* $(,)?)) => {
        $tables.connections.$how(|mut $connection| async move {
            let done = $connection.$step($($argument),*).await;
            ($connection, done)
        })
    };
}
pub(super) use step;

impl Tables {
    pub(super) async fn push(&self, push: &Push) -> Result<Pushed> {
        let packed = &Packed::push(push, None);
        let Done { result, in_doubt } = step!(self, write_told, connection.push(push, packed)).await;
        match result? {
            // What is there may be what a try before wrote, whose answer was lost.
            _ if in_doubt => Ok(Pushed::Written),
            pushed => Ok(pushed),
        }
    }

    pub(super) async fn finish_attempt(
        &self,
        attempt: &Attempt,
        state: TaskState,
        pushes: &[Push],
        at: Timestamp,
    ) -> Result<()> {
        let rows: Vec<(&Push, Packed)> = pushes.iter().map(|push| (push, Packed::push(push, None))).collect();
        let rows = &rows[..];
        let Done { result, in_doubt } =
            step!(self, write_told, connection.finish(attempt, state, rows, at)).await;
        match result {
            // What is there may be what a try before wrote, whose answer was lost.
            Err(Failure::Told(error)) if in_doubt && error.kind() == ErrorKind::Exists => Ok(()),
            result => result,
        }
    }

    pub(super) async fn start_attempt(
        &self,
        attempt: &Attempt,
        try_number: u32,
        mode: StartMode,
        at: Timestamp,
    ) -> Result<Started> {
        step!(self, write, connection.start(attempt, try_number, mode, at)).await
    }

    pub(super) async fn set_attempt_state(
        &self,
        attempt: &Attempt,
        state: TaskState,
        at: Timestamp,
    ) -> Result<()> {
        step!(self, write, connection.finish(attempt, state, &[], at)).await
    }

    pub(super) async fn set_states(
        &self,
        states: &[(TaskInstanceKey, TaskState)],
        at: Timestamp,
    ) -> Result<()> {
        step!(self, write, connection.set_states(SET_STATES, states, at)).await
    }

    pub(super) async fn skip(&self, instances: &[TaskInstanceKey], at: Timestamp) -> Result<()> {
        let states: Vec<_> = instances.iter().map(|ti| (ti.clone(), TaskState::Skipped)).collect();
        let states = &states[..];
        step!(self, write, connection.set_states(SKIP, states, at)).await
    }

    pub(super) async fn clear(&self, caller: &Caller, scope: &Scope, at: Timestamp) -> Result<u64> {
        step!(self, write, connection.clear(caller, scope, at)).await
    }

    pub(super) async fn delete(&self, scope: &Scope, at: Timestamp) -> Result<u64> {
        step!(self, write, connection.delete(scope, at)).await
    }

    pub(super) async fn set_mark(&self, name: &str, value: &str) -> Result<String> {
        step!(self, write, connection.set_mark(name, value)).await
    }
}
