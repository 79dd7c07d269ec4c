//! The statements that write. Each function runs inside one transaction of the writer.

use std::collections::HashSet;

use excom_core::attempt::{Attempt, AttemptInfo, Caller, TaskState};
use excom_core::db::{
    Push, Pushed, RENDERED, Scope, StartMode, Started, cleared_by, intent_gone, key_gone, not_started,
    superseded, version_taken,
};
use excom_core::entry::{EndReason, Stored, Version, Writer};
use excom_core::value::ContentHash;
use excom_core::{Shape, TaskInstanceKey, XComKey};
use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};

use super::failure::Failure;
use super::ledger::of_task_instance;
use super::loose::loosen;
use super::row;
use super::writer::Transaction;
use crate::packing::Packed;

type Result<T> = std::result::Result<T, Failure>;

/// A task instance as numbers.
#[derive(Clone, Copy)]
pub(super) struct Ti {
    pub(super) run: i64,
    pub(super) task: i64,
    pub(super) map_index: i32,
}

/// An XCom as numbers.
#[derive(Clone, Copy)]
pub(super) struct Xcom {
    pub(super) ti: Ti,
    pub(super) key: i64,
}

/// An entry as its row holds it.
pub(super) struct NewEntry<'a> {
    pub(super) version: Version,
    pub(super) writer: &'a Writer,
    pub(super) size: u64,
    pub(super) hash: ContentHash,
    pub(super) shape: Shape,
    pub(super) head: &'a str,
    pub(super) codec: i64,
    /// Empty is stored as NULL.
    pub(super) body: &'a [u8],
}

/// A push that may be written.
#[derive(Clone, Copy)]
struct Admitted {
    /// The number of the pushing attempt; 0 for callers that are not fenced.
    number: u32,
    /// Whether there is an entry to become history.
    replaces: bool,
}

impl Transaction<'_> {
    pub(super) fn execute(&self, sql: &'static str, params: impl rusqlite::Params) -> Result<usize> {
        Ok(self.connection.prepare_cached(sql)?.execute(params)?)
    }

    pub(super) fn ti(&self, ti: &TaskInstanceKey, at: Timestamp) -> Result<Ti> {
        let run = self.names.run(&ti.dag_id, &ti.run_id, at.as_millisecond())?;
        Ok(Ti { run, task: self.names.name(&ti.task_id)?, map_index: ti.map_index })
    }

    /// A task instance whose names are known; nothing is made known for what only looks or removes.
    pub(super) fn known_ti(&self, ti: &TaskInstanceKey) -> Result<Option<Ti>> {
        let run = self.names.known_run(&ti.dag_id, &ti.run_id)?;
        let task = self.names.known_name(&ti.task_id)?;
        Ok(run.zip(task).map(|(run, task)| Ti { run, task, map_index: ti.map_index }))
    }

    pub(super) fn known_xcom(&self, key: &XComKey) -> Result<Option<Xcom>> {
        let ti = self.known_ti(&key.ti)?;
        let name = self.names.known_name(&key.key)?;
        Ok(ti.zip(name).map(|(ti, key)| Xcom { ti, key }))
    }

    pub(super) fn xcom(&self, key: &XComKey, at: Timestamp) -> Result<Xcom> {
        Ok(Xcom { ti: self.ti(&key.ti, at)?, key: self.names.name(&key.key)? })
    }

    /// The current attempt, and its state, of a task instance.
    fn current(&self, ti: Ti) -> Result<Option<AttemptInfo>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT number, attempt, try_number, state, started, took FROM excom_task_instance
             WHERE run = ?1 AND task = ?2 AND map_index = ?3",
        )?;
        let mut rows = statement.query((ti.run, ti.task, ti.map_index))?;
        match rows.next()? {
            Some(found) => row::attempt(found, 0),
            None => Ok(None),
        }
    }

    /// The fence: the caller's attempt must be the current one of its task instance.
    pub(super) fn fence(&self, attempt: &Attempt) -> Result<AttemptInfo> {
        let Some(ti) = self.known_ti(&attempt.ti)? else { return Err(not_started(attempt).into()) };
        match self.current(ti)? {
            Some(current) if current.id == attempt.id => Ok(current),
            Some(current) => {
                let known = self
                    .connection
                    .prepare_cached(
                        "SELECT 1 FROM excom_attempt
                         WHERE run = ?1 AND task = ?2 AND map_index = ?3 AND attempt = ?4",
                    )?
                    .exists((ti.run, ti.task, ti.map_index, attempt.id.0))?;
                let refusal = if known { superseded(attempt, &current) } else { not_started(attempt) };
                Err(refusal.into())
            }
            None => Err(not_started(attempt).into()),
        }
    }

    /// The number of the caller's attempt; 0 for callers that are not fenced.
    pub(super) fn fence_caller(&self, caller: &Caller) -> Result<u32> {
        match caller {
            Caller::Attempt(attempt) => Ok(self.fence(attempt)?.number),
            _ => Ok(0),
        }
    }

    /// Moves an entry to the history; false when there is none.
    pub(super) fn end(&self, xcom: Xcom, reason: EndReason, by: &str, at: Timestamp) -> Result<bool> {
        let Xcom { ti, key } = xcom;
        let moved = self.execute(
            "INSERT INTO excom_history (run, task, key, map_index, version, writer, size, hash, shape, head,
                                  codec, body, offloaded, ended_at, reason, by)
             SELECT run, task, key, map_index, version, writer, size, hash, shape, head,
                    codec, body, codec = 2, ?5, ?6, ?7
             FROM excom_entry WHERE run = ?1 AND task = ?2 AND key = ?3 AND map_index = ?4",
            params![ti.run, ti.task, key, ti.map_index, at.as_millisecond(), reason.to_code(), by],
        )?;
        if moved > 0 {
            self.execute(
                "DELETE FROM excom_entry WHERE run = ?1 AND task = ?2 AND key = ?3 AND map_index = ?4",
                (ti.run, ti.task, key, ti.map_index),
            )?;
        }
        Ok(moved > 0)
    }

    fn clear_ti(&self, ti: Ti, by: &str, at: Timestamp) -> Result<u64> {
        let keys: Vec<i64> = self
            .connection
            .prepare_cached(&of_task_instance("excom_entry", "e.key"))?
            .query_map((ti.run, ti.task, ti.map_index), |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        for key in &keys {
            self.end(Xcom { ti, key: *key }, EndReason::Cleared, by, at)?;
        }
        Ok(keys.len() as u64)
    }

    // ---- task instances, attempts

    pub(super) fn set_states(&self, states: &[(TaskInstanceKey, TaskState)], at: Timestamp) -> Result<()> {
        for (ti, state) in states {
            let ti = self.ti(ti, at)?;
            self.execute(
                "INSERT INTO excom_task_instance (run, task, map_index, number, state)
                 VALUES (?1, ?2, ?3, 0, ?4)
                 ON CONFLICT DO UPDATE SET state = excluded.state",
                (ti.run, ti.task, ti.map_index, state.to_code()),
            )?;
        }
        Ok(())
    }

    pub(super) fn skip(&self, instances: &[TaskInstanceKey], at: Timestamp) -> Result<()> {
        let [running, success, failed] =
            [TaskState::Running, TaskState::Success, TaskState::Failed].map(TaskState::to_code);
        for ti in instances {
            let ti = self.ti(ti, at)?;
            self.execute(
                "INSERT INTO excom_task_instance (run, task, map_index, number, state)
                 VALUES (?1, ?2, ?3, 0, ?4)
                 ON CONFLICT DO UPDATE SET state = excluded.state WHERE state NOT IN (?5, ?6, ?7)",
                (ti.run, ti.task, ti.map_index, TaskState::Skipped.to_code(), running, success, failed),
            )?;
        }
        Ok(())
    }

    pub(super) fn start_attempt(
        &self,
        attempt: &Attempt,
        try_number: u32,
        mode: StartMode,
        at: Timestamp,
    ) -> Result<Started> {
        let known = match self.fence(attempt) {
            Ok(current) => Some((current.number, current.state)),
            Err(Failure::Refused(e))
                if e.kind() == excom_core::ErrorKind::NotStarted && mode == StartMode::Fresh =>
            {
                None
            }
            Err(failure) => return Err(failure),
        };
        let ti = self.ti(&attempt.ti, at)?;
        if let Some((number, state)) = known {
            if !state.has_ended() {
                self.execute(
                    "UPDATE excom_task_instance SET state = ?4, took = NULL
                     WHERE run = ?1 AND task = ?2 AND map_index = ?3",
                    (ti.run, ti.task, ti.map_index, TaskState::Running.to_code()),
                )?;
            }
            return Ok(Started { number, cleared: 0 });
        }
        self.execute(
            "INSERT INTO excom_attempt (run, task, map_index, number, attempt, try_number, state, started, took)
             SELECT run, task, map_index, number, attempt, try_number, state, started, took
             FROM excom_task_instance WHERE run = ?1 AND task = ?2 AND map_index = ?3 AND number > 0",
            (ti.run, ti.task, ti.map_index),
        )?;
        let number: u32 = self
            .connection
            .prepare_cached(
                "INSERT INTO excom_task_instance
                     (run, task, map_index, number, attempt, try_number, state, started)
                 VALUES (?1, ?2, ?3, 1, ?4, ?5, ?6, ?7)
                 ON CONFLICT DO UPDATE SET number = number + 1, attempt = excluded.attempt,
                     try_number = excluded.try_number, state = excluded.state,
                     started = excluded.started, took = NULL
                 RETURNING number",
            )?
            .query_row(
                (
                    ti.run,
                    ti.task,
                    ti.map_index,
                    attempt.id.0,
                    try_number,
                    TaskState::Running.to_code(),
                    at.as_millisecond() - row::time_in(attempt.id),
                ),
                |row| row.get(0),
            )?;
        let by = cleared_by(&Caller::Attempt(attempt.clone()), &attempt.ti, Some(try_number));
        let cleared = self.clear_ti(ti, &by, at)?;
        Ok(Started { number, cleared })
    }

    pub(super) fn set_attempt_state(&self, attempt: &Attempt, state: TaskState, at: Timestamp) -> Result<()> {
        self.fence(attempt)?;
        self.put_state(attempt, state, at)
    }

    fn put_state(&self, attempt: &Attempt, state: TaskState, at: Timestamp) -> Result<()> {
        let ti = self.ti(&attempt.ti, at)?;
        let ended = state.has_ended();
        self.execute(
            "UPDATE excom_task_instance SET state = ?4, took = iif(?5, max(?6 - started, 0), NULL)
             WHERE run = ?1 AND task = ?2 AND map_index = ?3",
            (
                ti.run,
                ti.task,
                ti.map_index,
                state.to_code(),
                ended,
                at.as_millisecond() - row::time_in(attempt.id),
            ),
        )?;
        Ok(())
    }

    /// All checks come before the first write, because a refusal must have written nothing.
    pub(super) fn finish_attempt(
        &self,
        attempt: &Attempt,
        state: TaskState,
        pushes: &[(Push, Packed)],
        at: Timestamp,
    ) -> Result<()> {
        self.fence(attempt)?;
        let mut admitted = Vec::with_capacity(pushes.len());
        let (mut keys, mut versions) = (HashSet::new(), HashSet::new());
        for (push, _) in pushes {
            match self.admit(push)? {
                Some(new) if versions.insert((&push.key, push.version)) => {
                    let replaces = new.replaces || !keys.insert(&push.key);
                    admitted.push(Admitted { replaces, ..new });
                }
                _ => return Err(version_taken(&push.key, push.version).into()),
            }
        }
        for ((push, packed), admitted) in pushes.iter().zip(admitted) {
            self.write_entry(push, packed, admitted)?;
        }
        self.put_state(attempt, state, at)
    }

    // ---- entries

    pub(super) fn push(&self, push: &Push, packed: &Packed) -> Result<Pushed> {
        match self.admit(push)? {
            Some(admitted) => self.write_entry(push, packed, admitted).map(|()| Pushed::Written),
            None => Ok(Pushed::Already),
        }
    }

    /// Lets a push through the fence, and an offloaded one only with its intent; none when its version is
    /// known already. Writes nothing and makes nothing known.
    fn admit(&self, push: &Push) -> Result<Option<Admitted>> {
        let number = self.fence_caller(&push.caller)?;
        if let Some(id) = push.encrypted_with()
            && self.is_retired(&id)?
        {
            return Err(key_gone(&push.key, &id).into());
        }
        let offloaded = matches!(push.stored, Stored::Offloaded(_));
        let Some(xcom) = self.known_xcom(&push.key)? else {
            return match offloaded {
                true => Err(intent_gone(&push.key, push.version).into()),
                false => Ok(Some(Admitted { number, replaces: false })),
            };
        };
        let current = self.current_version(xcom)?;
        if current == Some(push.version) || self.had_version(xcom, push.version)? {
            return Ok(None);
        }
        if offloaded && !self.has_intent(xcom, push.version)? {
            return Err(intent_gone(&push.key, push.version).into());
        }
        Ok(Some(Admitted { number, replaces: current.is_some() }))
    }

    fn write_entry(&self, push: &Push, packed: &Packed, admitted: Admitted) -> Result<()> {
        let xcom = self.xcom(&push.key, push.at)?;
        if matches!(push.stored, Stored::Offloaded(_)) {
            self.take_intent(xcom, push.version)?;
        }
        if admitted.replaces {
            self.end(xcom, EndReason::Replaced, &push.caller.to_string(), push.at)?;
        }
        let writer = Writer::of(&push.caller, &push.key, admitted.number);
        self.insert_entry(
            xcom,
            &NewEntry {
                version: push.version,
                writer: &writer,
                size: push.size,
                hash: push.hash,
                shape: push.shape,
                head: &packed.head,
                codec: packed.codec as i64,
                body: &packed.body,
            },
        )?;
        match push.result {
            true => self.mark_result(xcom, push.version),
            false => Ok(()),
        }
    }

    /// Makes an entry where there is none.
    pub(super) fn insert_entry(&self, xcom: Xcom, entry: &NewEntry<'_>) -> Result<()> {
        self.execute(
            "INSERT INTO excom_entry
                 (run, task, key, map_index, version, writer, size, hash, shape, head, codec, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            params![
                xcom.ti.run,
                xcom.ti.task,
                xcom.key,
                xcom.ti.map_index,
                entry.version.to_code(),
                row::writer_column(entry.writer),
                entry.size as i64,
                entry.hash.0.cast_signed(),
                entry.shape.to_code(),
                entry.head,
                entry.codec,
                (!entry.body.is_empty()).then_some(entry.body),
            ],
        )?;
        Ok(())
    }

    pub(super) fn current_version(&self, xcom: Xcom) -> Result<Option<Version>> {
        let Xcom { ti, key } = xcom;
        let code: Option<i64> = self
            .connection
            .prepare_cached(
                "SELECT version FROM excom_entry WHERE run = ?1 AND task = ?2 AND key = ?3 AND map_index = ?4",
            )?
            .query_row((ti.run, ti.task, key, ti.map_index), |row| row.get(0))
            .optional()?;
        code.map(row::version).transpose()
    }

    pub(super) fn had_version(&self, xcom: Xcom, version: Version) -> Result<bool> {
        let Xcom { ti, key } = xcom;
        Ok(self
            .connection
            .prepare_cached(
                "SELECT 1 FROM excom_history
                 WHERE run = ?1 AND task = ?2 AND key = ?3 AND map_index = ?4 AND version = ?5",
            )?
            .exists((ti.run, ti.task, key, ti.map_index, version.to_code()))?)
    }

    pub(super) fn has_intent(&self, xcom: Xcom, version: Version) -> Result<bool> {
        let Xcom { ti, key } = xcom;
        Ok(self
            .connection
            .prepare_cached(
                "SELECT 1 FROM excom_loose_object WHERE version = ?1 AND run = ?2 AND task = ?3 AND key = ?4
                 AND map_index = ?5 AND purge = 0",
            )?
            .exists((version.to_code(), ti.run, ti.task, key, ti.map_index))?)
    }

    pub(super) fn take_intent(&self, xcom: Xcom, version: Version) -> Result<()> {
        let Xcom { ti, key } = xcom;
        self.execute(
            "DELETE FROM excom_loose_object
             WHERE version = ?1 AND run = ?2 AND task = ?3 AND key = ?4 AND map_index = ?5",
            (version.to_code(), ti.run, ti.task, key, ti.map_index),
        )?;
        Ok(())
    }

    pub(super) fn clear(&self, caller: &Caller, scope: &Scope, at: Timestamp) -> Result<u64> {
        self.fence_caller(caller)?;
        let by = cleared_by(caller, scope.ti(), None);
        match scope {
            Scope::Key(key) => match self.known_xcom(key)? {
                Some(xcom) => Ok(self.end(xcom, EndReason::Cleared, &by, at)?.into()),
                None => Ok(0),
            },
            Scope::TaskInstance(ti) => match self.known_ti(ti)? {
                Some(ti) => self.clear_ti(ti, &by, at),
                None => Ok(0),
            },
        }
    }

    pub(super) fn delete(&self, scope: &Scope, at: Timestamp) -> Result<u64> {
        match scope {
            Scope::Key(key) => {
                if let Some(Xcom { ti, key }) = self.known_xcom(key)? {
                    self.remove_results(ti, Some(key))?;
                }
            }
            Scope::TaskInstance(ti) => {
                if let Some(ti) = self.known_ti(ti)? {
                    self.remove_results(ti, None)?;
                }
            }
        }
        let [current, past] = self.delete_rows(scope, at)?;
        Ok(current + past)
    }

    /// Deletes, and tells how many entries and how many earlier versions there were.
    pub(super) fn delete_rows(&self, scope: &Scope, at: Timestamp) -> Result<[u64; 2]> {
        let Some(ti) = self.known_ti(scope.ti())? else { return Ok([0, 0]) };
        let key = match scope {
            Scope::Key(key) => match self.names.known_name(&key.key)? {
                Some(key) => Some(key),
                None => return Ok([0, 0]),
            },
            Scope::TaskInstance(_) => None,
        };
        let bound = (ti.run, ti.task, ti.map_index, key, at.as_millisecond());
        for sql in [
            loosen!(
                "SELECT version, run, task, key, map_index, body ->> 'store', ?5, 1 FROM excom_entry
                 WHERE run = ?1 AND task = ?2 AND map_index = ?3 AND key = ifnull(?4, key) AND codec = 2"
            ),
            loosen!(
                "SELECT version, run, task, key, map_index, body ->> 'store', ?5, 1 FROM excom_history
                 WHERE run = ?1 AND task = ?2 AND map_index = ?3 AND key = ifnull(?4, key) AND codec = 2"
            ),
        ] {
            self.execute(sql, bound)?;
        }
        let bound = (ti.run, ti.task, ti.map_index, key);
        self.execute(
            "DELETE FROM excom_ledger
             WHERE run = ?1 AND task = ?2 AND map_index = ?3 AND key = ifnull(?4, key)",
            bound,
        )?;
        if key.is_none() {
            self.execute(
                "DELETE FROM excom_note WHERE run = ?1 AND task = ?2 AND map_index = ?3 AND name = ?4",
                (ti.run, ti.task, ti.map_index, RENDERED),
            )?;
        }
        let entries = self.execute(
            "DELETE FROM excom_entry
             WHERE run = ?1 AND task = ?2 AND map_index = ?3 AND key = ifnull(?4, key)",
            bound,
        )?;
        let past = self.execute(
            "DELETE FROM excom_history
             WHERE run = ?1 AND task = ?2 AND map_index = ?3 AND key = ifnull(?4, key)",
            bound,
        )?;
        Ok([entries as u64, past as u64])
    }

    pub(super) fn set_mark(&self, name: &str, value: &str) -> Result<String> {
        self.execute("INSERT OR IGNORE INTO excom_mark VALUES (?1, ?2)", (name, value))?;
        Ok(self
            .connection
            .prepare_cached("SELECT value FROM excom_mark WHERE name = ?1")?
            .query_row([name], |row| row.get(0))?)
    }
}

/// A key from the first five columns: dag, run, task, map index, key.
pub(super) fn key(found: &rusqlite::Row<'_>) -> Result<XComKey> {
    let (dag, run) = (row::text(found, 0)?, row::text(found, 1)?);
    Ok(XComKey::new(dag, run, row::text(found, 2)?, found.get(3)?, row::text(found, 4)?)?)
}
