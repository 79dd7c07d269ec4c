//! The statements that write entries. Each function runs inside one transaction of the writer, and checks before it writes,
//! because a refusal must have written nothing.

use std::collections::HashSet;

use excom_core::attempt::{Attempt, Caller};
use excom_core::db::{
    Push, Pushed, Scope, StartMode, Started, cleared_by, intent_gone, key_gone, not_started, superseded,
    version_taken,
};
use excom_core::entry::{EndReason, Entry, Stored, Version, Writer};
use excom_core::{TaskInstanceKey, XComKey};
use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};

use super::super::failure::Failure;
use super::super::loose::loosen;
use super::super::write::{NewEntry, Xcom};
use super::columns::{TRIES, counts, micros, of_ti, value};
use super::theirs::has_column;
use super::{Writing, row, schema};
use crate::airflow::{self, JSONB, Row, no_task_instance, pushed};
use crate::expansion::is_returned;
use crate::packing::pack;

type Result<T> = std::result::Result<T, Failure>;

/// A task instance while it is an attempt's. Airflow's ids are UUIDs as texts, with or without hyphens.
const CURRENT: &str =
    concat!("SELECT i.try_number FROM task_instance i WHERE i.id IN (?5, ?6) AND", of_ti!("i"));

/// A try that has ended.
const PAST: &str = concat!(
    "SELECT h.try_number, h.start_date FROM task_instance_history h WHERE h.task_instance_id IN (?5, ?6) AND",
    of_ti!("h")
);

/// A task instance while no other try has started since one that has ended.
const STILL: &str = concat!(
    "SELECT 1 FROM task_instance i WHERE",
    of_ti!("i"),
    "AND (i.start_date IS NULL OR i.start_date = ?5)
     AND NOT EXISTS (
         SELECT 1 FROM task_instance_history h
         WHERE h.dag_id = i.dag_id AND h.run_id = i.run_id AND h.task_id = i.task_id AND h.map_index = i.map_index
         AND h.try_number > ?6)"
);

/// Airflow's number of a run that has a task instance.
const RUN: &str = concat!(
    "SELECT r.id FROM dag_run r JOIN task_instance i ON i.dag_id = r.dag_id AND i.run_id = r.run_id WHERE",
    of_ti!("i")
);

/// Airflow's row of an XCom (`?1` to `?4`), with what is known of it by our numbers (`?5` to `?7`).
const ROW: &str = concat!(
    "SELECT e.version, e.codec, ",
    micros!("x.timestamp"),
    ", iif(ifnull(e.codec, 4) = 4, ",
    value!(),
    ", NULL), ifnull(e.head = '', 0)
     FROM xcom x LEFT JOIN excom_entry e ON e.run = ?5 AND e.task = ?6 AND e.key = ?7 AND e.map_index = x.map_index AND ",
    counts!(),
    " WHERE x.dag_run_id = ?1 AND x.task_id = ?2 AND x.map_index = ?3 AND x.key = ?4"
);

const PUT_ROW: &str =
    "INSERT INTO xcom (dag_run_id, task_id, map_index, key, dag_id, run_id, value, timestamp, dag_result)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
    ON CONFLICT (dag_run_id, task_id, map_index, key) DO UPDATE
        SET value = excluded.value, timestamp = excluded.timestamp, dag_result = excluded.dag_result";

/// The same before Airflow 3.3.
const PUT_UNMARKED_ROW: &str =
    "INSERT INTO xcom (dag_run_id, task_id, map_index, key, dag_id, run_id, value, timestamp)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
    ON CONFLICT (dag_run_id, task_id, map_index, key) DO UPDATE
        SET value = excluded.value, timestamp = excluded.timestamp";

pub(super) const REMOVE_ROW: &str =
    "DELETE FROM xcom WHERE dag_run_id = ?1 AND task_id = ?2 AND map_index = ?3 AND key = ?4";

/// The same version in another place keeps its time.
const MOVE_ROW: &str =
    "UPDATE xcom SET value = ?5 WHERE dag_run_id = ?1 AND task_id = ?2 AND map_index = ?3 AND key = ?4";

/// Where the text of an entry (`?1` to `?4`) is.
const NOTE_TEXT: &str = "UPDATE excom_entry SET head = ?5, codec = ?6, body = ?7
    WHERE run = ?1 AND task = ?2 AND key = ?3 AND map_index = ?4";

/// Airflow's document of the DAG of a task instance: its hash, and it itself, as it is or compressed.
macro_rules! document {
    ($what:literal) => {
        concat!(
            "SELECT ",
            $what,
            " FROM task_instance i JOIN serialized_dag s ON s.dag_version_id = i.dag_version_id WHERE",
            of_ti!("i")
        )
    };
}

const DAG_HASH: &str = document!("s.dag_hash");

const DOCUMENT: &str = document!("CAST(s.data AS TEXT), s.data_compressed");

/// What Airflow's scheduler expands over, and that there is nothing.
pub(super) const PUT_LENGTH: &str = "INSERT INTO task_map (dag_id, run_id, task_id, map_index, length, keys)
    VALUES (?1, ?2, ?3, ?4, ?5, 'null')
    ON CONFLICT (dag_id, task_id, run_id, map_index) DO UPDATE SET length = excluded.length, keys = excluded.keys";

pub(super) const REMOVE_LENGTH: &str =
    "DELETE FROM task_map WHERE dag_id = ?1 AND run_id = ?2 AND task_id = ?3 AND map_index = ?4";

/// Keys of a task instance, by Airflow's index of them.
const KEYS: &str = concat!("SELECT x.key FROM xcom x WHERE", of_ti!("x"), "ORDER BY x.key");

/// Entries of a task instance, or one of them.
pub(super) const DELETE_ROWS: &str = "DELETE FROM xcom
    WHERE dag_id = ?1 AND run_id = ?2 AND task_id = ?3 AND map_index = ?4 AND key = ifnull(?5, key)";

const NOTE_START: &str = "INSERT OR IGNORE INTO excom_started (attempt, at) VALUES (?1, ?2)";

/// The number of a try by its id.
const NUMBER: &str = "SELECT try_number FROM task_instance WHERE id IN (?1, ?2)
    UNION ALL SELECT try_number FROM task_instance_history WHERE task_instance_id IN (?1, ?2)";

/// Airflow's row of an XCom, as far as a write needs it.
pub(super) struct Found {
    /// Of what Excom wrote; none where something else did.
    pub(super) version: Option<Version>,
    codec: Option<i64>,
    pub(super) micros: i64,
    /// What Airflow reads, where it is the value's text.
    pub(super) text: Option<String>,
    secret: bool,
}

/// A push that may be written.
struct Admitted {
    /// The number of the pushing attempt; 0 for callers that are not fenced.
    number: u32,
    /// Airflow's number of the run.
    run: i64,
    /// How many task instances Airflow makes of it.
    length: Option<u64>,
}

/// An attempt's id in both spellings.
fn ids(attempt: &Attempt) -> (String, String) {
    (attempt.id.0.to_string(), attempt.id.0.simple().to_string())
}

impl Writing<'_> {
    /// Lets a caller go on, or not: the try number of an attempt that may write, 0 for those that are no attempts. A try
    /// that has failed may write until the next one starts.
    pub(super) fn fence(&self, caller: &Caller) -> Result<u32> {
        schema::proven(self.t.connection, self.path)?;
        let Caller::Attempt(attempt) = caller else { return Ok(0) };
        let TaskInstanceKey { dag_id, run_id, task_id, map_index, .. } = &attempt.ti;
        let (id, plain) = ids(attempt);
        let this = params![dag_id, run_id, task_id, map_index, id, plain];
        let current = self.t.connection.prepare_cached(CURRENT)?.query_row(this, |found| found.get(0));
        if let Some(number) = current.optional()? {
            return Ok(number);
        }
        let past = self
            .t
            .connection
            .prepare_cached(PAST)?
            .query_row(this, |found| Ok((found.get(0)?, found.get::<_, Option<String>>(1)?)));
        let Some((number, started)) = past.optional()? else { return Err(not_started(attempt).into()) };
        let still = params![dag_id, run_id, task_id, map_index, started, number];
        if self.t.connection.prepare_cached(STILL)?.exists(still)? {
            return Ok(number);
        }
        let mut statement = self.t.connection.prepare_cached(TRIES)?;
        let tries = statement.query_and_then(params![dag_id, run_id, task_id, map_index], row::attempt)?;
        Err(match tries.last().transpose()? {
            Some(current) => superseded(attempt, &current),
            None => not_started(attempt),
        }
        .into())
    }

    /// The number of a try that reads; 0 for one that Airflow has not.
    pub(super) fn number_of(&self, attempt: &Attempt) -> Result<u32> {
        let found = self.t.connection.prepare_cached(NUMBER)?.query_row(ids(attempt), |found| found.get(0));
        Ok(found.optional()?.unwrap_or(0))
    }

    /// Airflow's number of the run, if it has the task instance.
    pub(super) fn run(&self, ti: &TaskInstanceKey) -> Result<Option<i64>> {
        let of = params![ti.dag_id, ti.run_id, ti.task_id, ti.map_index];
        Ok(self.t.connection.prepare_cached(RUN)?.query_row(of, |found| found.get(0)).optional()?)
    }

    /// Airflow's row of an XCom, in Airflow's run; with what is known of it where its names are.
    pub(super) fn row(&self, key: &XComKey, run: i64, known: Option<Xcom>) -> Result<Option<Found>> {
        let ours = known.map(|Xcom { ti, key }| (ti.run, ti.task, key));
        let bound = params![
            run,
            key.ti.task_id,
            key.ti.map_index,
            key.key,
            ours.map(|of| of.0),
            ours.map(|of| of.1),
            ours.map(|of| of.2)
        ];
        let mut statement = self.t.connection.prepare_cached(ROW)?;
        let mut rows = statement.query(bound)?;
        let Some(found) = rows.next()? else { return Ok(None) };
        let version: Option<i64> = found.get(0)?;
        Ok(Some(Found {
            version: version.map(super::super::row::version).transpose()?,
            codec: found.get(1)?,
            micros: found.get::<_, Option<i64>>(2)?.unwrap_or(0),
            text: found.get(3)?,
            secret: found.get(4)?,
        }))
    }

    /// Moves what is in Airflow's row to the history. The row stays.
    fn remember(&self, of: Xcom, found: &Found, reason: EndReason, by: &str, at: Timestamp) -> Result<()> {
        let text = found.text.as_deref().unwrap_or("null");
        match found.codec {
            // What looks like a reference of ours is kept as the text that it is.
            None => {
                self.forget(of, at)?;
                let version = row::written(found.micros)?;
                let entry = airflow::bare(version, text).unwrap_or_else(|_| row::damage(version, text));
                let Entry { size, hash, shape, writer, stored: Stored::Inline(value), .. } = entry else {
                    return Ok(());
                };
                let packed = pack(value.bytes(), false, None);
                self.t.insert_entry(
                    of,
                    &NewEntry {
                        version,
                        writer: &writer,
                        size,
                        hash,
                        shape,
                        head: &packed.head,
                        codec: packed.codec as i64,
                        body: &packed.body,
                    },
                )?;
            }
            Some(codec) if codec == i64::from(JSONB) => {
                let packed = pack(&text.to_owned().into(), found.secret, None);
                self.note_text(of, &packed.head, packed.codec as i64, Some(&packed.body))?;
            }
            Some(_) => {}
        }
        self.t.end(of, reason, by, at).map(drop)
    }

    /// Forgets what is known of a row that is another's by now, or gone; an object of it is to go.
    pub(super) fn forget(&self, of: Xcom, at: Timestamp) -> Result<()> {
        let Xcom { ti, key } = of;
        self.t.execute(
            loosen!(
                "SELECT version, run, task, key, map_index, body ->> 'store', ?5, 1 FROM excom_entry
                 WHERE run = ?1 AND task = ?2 AND key = ?3 AND map_index = ?4 AND codec = 2"
            ),
            (ti.run, ti.task, key, ti.map_index, at.as_millisecond()),
        )?;
        self.t.execute(
            "DELETE FROM excom_entry WHERE run = ?1 AND task = ?2 AND key = ?3 AND map_index = ?4",
            (ti.run, ti.task, key, ti.map_index),
        )?;
        Ok(())
    }

    fn note_text(&self, of: Xcom, head: &str, codec: i64, body: Option<&[u8]>) -> Result<()> {
        let Xcom { ti, key } = of;
        let body = body.filter(|body| !body.is_empty());
        self.t.execute(NOTE_TEXT, params![ti.run, ti.task, key, ti.map_index, head, codec, body]).map(drop)
    }

    /// Moves an entry to the history; `false` when there is none.
    fn end(&self, key: &XComKey, by: &str, at: Timestamp) -> Result<bool> {
        let Some(run) = self.run(&key.ti)? else { return Ok(false) };
        let Some(found) = self.row(key, run, self.t.known_xcom(key)?)? else { return Ok(false) };
        self.remember(self.t.xcom(key, at)?, &found, EndReason::Cleared, by, at)?;
        self.t.execute(REMOVE_ROW, params![run, key.ti.task_id, key.ti.map_index, key.key])?;
        Ok(true)
    }

    // ---- pushes

    /// Lets a push through the fence, and an offloaded one only with its intent; none when its version is known already.
    /// Writes nothing and makes nothing known.
    fn admit(&self, push: &Push) -> Result<Option<Admitted>> {
        let number = self.fence(&push.caller)?;
        let Some(run) = self.run(&push.key.ti)? else {
            return Err(no_task_instance(&push.key, &self.path.display().to_string()).into());
        };
        if let Some(id) = push.encrypted_with()
            && self.t.is_retired(&id)?
        {
            return Err(key_gone(&push.key, &id).into());
        }
        let known = self.t.known_xcom(&push.key)?;
        if let Some(xcom) = known {
            let found = self.row(&push.key, run, known)?;
            let current = found.and_then(|found| found.version);
            if current == Some(push.version) || self.t.had_version(xcom, push.version)? {
                return Ok(None);
            }
        }
        if matches!(push.stored, Stored::Offloaded(_)) {
            let has_intent = known.map(|xcom| self.t.has_intent(xcom, push.version)).transpose()?;
            if has_intent != Some(true) {
                return Err(intent_gone(&push.key, push.version).into());
            }
        }
        Ok(Some(Admitted { number, run, length: self.length(push)? }))
    }

    /// The length that Airflow's scheduler is to be told of a push, if any.
    fn length(&self, push: &Push) -> Result<Option<u64>> {
        if !is_returned(&push.key) || push.shape.mapped_length().is_none() {
            return Ok(None);
        }
        let TaskInstanceKey { dag_id, run_id, task_id, map_index, .. } = &push.key.ti;
        let of = params![dag_id, run_id, task_id, map_index];
        let connection = self.t.connection;
        let hash: Option<String> =
            connection.prepare_cached(DAG_HASH)?.query_row(of, |found| found.get(0)).optional()?.flatten();
        let sources = match hash {
            None => None,
            Some(hash) => Some(match self.expansion.known(&hash) {
                Some(known) => known,
                None => {
                    let of_document = |found: &rusqlite::Row<'_>| Ok((found.get(0)?, found.get(1)?));
                    let found = connection.prepare_cached(DOCUMENT)?.query_row(of, of_document).optional()?;
                    let (document, compressed): (Option<String>, Option<Vec<u8>>) = found.unwrap_or_default();
                    self.expansion.learn(&hash, document.as_deref(), compressed.as_deref())
                }
            }),
        };
        Ok(self.expansion.length(push, sources.as_ref())?)
    }

    fn put(&self, push: &Push, written: &Row, admitted: &Admitted) -> Result<()> {
        let ti = &push.key.ti;
        let xcom = self.t.xcom(&push.key, push.at)?;
        match self.row(&push.key, admitted.run, Some(xcom))? {
            Some(found) => {
                self.remember(xcom, &found, EndReason::Replaced, &push.caller.to_string(), push.at)?;
            }
            None => self.forget(xcom, push.at)?,
        }
        if matches!(push.stored, Stored::Offloaded(_)) {
            self.t.take_intent(xcom, push.version)?;
        }
        self.t.insert_entry(
            xcom,
            &NewEntry {
                version: push.version,
                writer: &Writer::of(&push.caller, &push.key, admitted.number),
                size: push.size,
                hash: push.hash,
                shape: push.shape,
                head: &written.head,
                codec: written.codec.into(),
                body: &written.body,
            },
        )?;
        self.put_row(push, admitted.run, &written.value)?;
        if let Some(length) = admitted.length {
            let of = params![ti.dag_id, ti.run_id, ti.task_id, ti.map_index, length.cast_signed()];
            self.t.execute(PUT_LENGTH, of)?;
        } else if is_returned(&push.key) && push.shape.mapped_length().is_none() {
            let of = params![ti.dag_id, ti.run_id, ti.task_id, ti.map_index];
            self.t.execute(REMOVE_LENGTH, of)?;
        }
        Ok(())
    }

    /// Makes Airflow's row of a push, in Airflow's run, or writes it over.
    pub(super) fn put_row(&self, push: &Push, run: i64, value: &str) -> Result<()> {
        let XComKey { ti, key, .. } = &push.key;
        let TaskInstanceKey { dag_id, run_id, task_id, map_index, .. } = ti;
        let time = row::moment(pushed(push.version));
        match has_column(self.t.connection, "xcom", "dag_result")? {
            true => self.t.execute(
                PUT_ROW,
                params![run, task_id, map_index, key, dag_id, run_id, value, time, push.result],
            ),
            false => self.t.execute(
                PUT_UNMARKED_ROW,
                params![run, task_id, map_index, key, dag_id, run_id, value, time],
            ),
        }
        .map(drop)
    }

    pub(super) fn push(&self, push: &Push, written: &Row) -> Result<Pushed> {
        match self.admit(push)? {
            Some(admitted) => self.put(push, written, &admitted).map(|()| Pushed::Written),
            None => Ok(Pushed::Already),
        }
    }

    /// The state is Airflow's to write.
    pub(super) fn finish(&self, attempt: &Attempt, pushes: &[(Push, Row)]) -> Result<()> {
        self.fence(&Caller::Attempt(attempt.clone()))?;
        let (mut admitted, mut versions) = (Vec::with_capacity(pushes.len()), HashSet::new());
        for (push, _) in pushes {
            match self.admit(push)? {
                Some(new) if versions.insert((&push.key, push.version)) => admitted.push(new),
                _ => return Err(version_taken(&push.key, push.version).into()),
            }
        }
        pushes.iter().zip(&admitted).try_for_each(|((push, written), new)| self.put(push, written, new))
    }

    // ---- clears

    fn clear_instance(&self, of: &TaskInstanceKey, by: &str, at: Timestamp) -> Result<u64> {
        let named = params![of.dag_id, of.run_id, of.task_id, of.map_index];
        let keys: Vec<String> = self
            .t
            .connection
            .prepare_cached(KEYS)?
            .query_map(named, |found| found.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        let mut cleared = 0;
        for key in keys {
            cleared += u64::from(self.end(&of.xcom(key)?, by, at)?);
        }
        Ok(cleared)
    }

    pub(super) fn start(
        &self,
        attempt: &Attempt,
        try_number: u32,
        mode: StartMode,
        at: Timestamp,
    ) -> Result<Started> {
        let caller = Caller::Attempt(attempt.clone());
        let number = self.fence(&caller)?;
        let is_first = self.t.execute(NOTE_START, (attempt.id.0.as_bytes(), at.as_millisecond()))? > 0;
        let cleared = match is_first && mode == StartMode::Fresh {
            true => {
                self.clear_instance(&attempt.ti, &cleared_by(&caller, &attempt.ti, Some(try_number)), at)?
            }
            false => 0,
        };
        Ok(Started { number, cleared })
    }

    pub(super) fn clear(&self, caller: &Caller, scope: &Scope, at: Timestamp) -> Result<u64> {
        self.fence(caller)?;
        let by = cleared_by(caller, scope.ti(), None);
        match scope {
            Scope::Key(key) => Ok(self.end(key, &by, at)?.into()),
            Scope::TaskInstance(ti) => self.clear_instance(ti, &by, at),
        }
    }

    pub(super) fn delete(&self, scope: &Scope, at: Timestamp) -> Result<u64> {
        self.fence(&Caller::System("db"))?;
        let (ti, key) = match scope {
            Scope::Key(key) => (&key.ti, Some(&*key.key)),
            Scope::TaskInstance(ti) => (ti, None),
        };
        let [_, past] = self.t.delete_rows(scope, at)?;
        let of = params![ti.dag_id, ti.run_id, ti.task_id, ti.map_index, key];
        Ok(self.t.execute(DELETE_ROWS, of)? as u64 + past)
    }

    // ---- moves

    pub(super) fn move_row(&self, run: i64, key: &XComKey, value: &str) -> Result<()> {
        self.t.execute(MOVE_ROW, params![run, key.ti.task_id, key.ti.map_index, key.key, value]).map(drop)
    }

    /// Notes that the text of an entry is that of Airflow's column.
    pub(super) fn note_airflows_text(&self, of: Xcom, head: &str) -> Result<()> {
        self.note_text(of, head, JSONB.into(), None)
    }
}
