//! The transactions that write entries. Each first lets an attempt go on, or not, and that lasts until it ends.

use excom_core::attempt::{Attempt, Caller, TaskState};
use excom_core::db::{
    Push, Pushed, Scope, StartMode, Started, cleared_by, intent_gone, key_gone, not_started, superseded,
    version_taken,
};
use excom_core::entry::{EndReason, Entry, Stored, Writer};
use excom_core::{Error, ErrorKind, TaskInstanceKey, XComKey};
use jiff::Timestamp;
use mysql_async::{Params, Row as Found};

use super::super::connection::{Done, named};
use super::super::failure::{Failure, damaged};
use super::super::names::Xcom;
use super::super::read::{of_ti, of_xcom, with};
use super::super::row as own;
use super::super::write::{REMOVE_ENTRY, TAKE_INTENT, of_version, xcom};
use super::columns::{TRIES, counts, entry, micros, same, ti};
use super::{Airflow, Tables, row, schema};
use crate::airflow::{Row, bare, no_task_instance, pushed};
use crate::expansion::{Expansion, is_returned};
use crate::packing::{Codec, pack};

type Result<T> = std::result::Result<T, Failure>;

/// Airflow's schema.
const REVISION: &str = "SELECT MAX(version_num) FROM airflow.alembic_version";

/// A task instance while it is an attempt's.
const CURRENT: &str = concat!(
    "SELECT i.try_number FROM airflow.task_instance i WHERE i.id IN (:id, :plain) AND ",
    ti!("i.dag_id", "i.run_id", "i.task_id", "i.map_index"),
    "LOCK IN SHARE MODE"
);

/// A try that has ended.
const PAST: &str = concat!(
    "SELECT h.try_number, ",
    micros!("h.start_date"),
    " FROM airflow.task_instance_history h WHERE h.task_instance_id IN (:id, :plain) AND ",
    ti!("h.dag_id", "h.run_id", "h.task_id", "h.map_index")
);

/// A task instance while no other try has started since one that has ended.
const STILL: &str = concat!(
    "SELECT 1 FROM airflow.task_instance i WHERE ",
    ti!("i.dag_id", "i.run_id", "i.task_id", "i.map_index"),
    "AND (i.start_date IS NULL OR ",
    micros!("i.start_date"),
    " = :started)
     AND NOT EXISTS (
         SELECT 1 FROM airflow.task_instance_history h
         WHERE h.dag_id = i.dag_id AND h.run_id = i.run_id AND h.task_id = i.task_id AND h.map_index = i.map_index
         AND h.try_number > :number)
     LOCK IN SHARE MODE"
);

/// Airflow's number of a run that has a task instance.
const RUN: &str = concat!(
    "SELECT r.id FROM airflow.dag_run r JOIN airflow.task_instance i ON i.dag_id = r.dag_id AND i.run_id = r.run_id WHERE ",
    ti!("i.dag_id", "i.run_id", "i.task_id", "i.map_index")
);

/// Airflow's row of an XCom by its key, with what is known of it, and whether its key is the one that is asked for: an
/// index that folds names finds others too.
const ROW: &str = concat!(
    "SELECT ",
    entry!(),
    ", ",
    same!("x.key", ":text"),
    ", x.key FROM airflow.xcom x
     LEFT JOIN excom_entry e ON e.run = :run AND e.task = :task AND e.xcom_key = :key AND e.map_index = x.map_index AND ",
    counts!(),
    " WHERE x.dag_run_id = :airflow_run AND x.task_id = :task_text AND x.map_index = :map_index AND x.key = :text
     FOR UPDATE"
);

/// What names a row of Airflow's by its key.
macro_rules! by_key {
    () => {
        concat!(
            " WHERE dag_run_id = :airflow_run AND task_id = :task_text AND map_index = :map_index AND ",
            same!("`key`", ":text")
        )
    };
}

/// A time of Airflow's from microseconds.
macro_rules! time {
    ($micros:literal) => {
        concat!("TIMESTAMP('1970-01-01') + INTERVAL ", $micros, " MICROSECOND")
    };
}
pub(super) use time;

/// A new row by its key.
macro_rules! make_row {
    () => {
        concat!(
            "INSERT INTO airflow.xcom (dag_run_id, task_id, map_index, `key`, dag_id, run_id, value, timestamp,
                 dag_result)
             VALUES (:airflow_run, :task_text, :map_index, :text, :dag_text, :run_text, :value, ",
            time!(":pushed"),
            ", :is_result)"
        )
    };
}
pub(super) use make_row;

const MAKE_ROW: &str = make_row!();

const CHANGE_ROW: &str = concat!(
    "UPDATE airflow.xcom SET value = :value, dag_result = :is_result, timestamp = ",
    time!(":pushed"),
    by_key!()
);

const REMOVE_ROW: &str = concat!("DELETE FROM airflow.xcom", by_key!());

/// The same version in another place keeps its time.
pub(super) const MOVE_ROW: &str = concat!("UPDATE airflow.xcom SET value = :value", by_key!());

/// Airflow's document of the DAG of a task instance: its hash, and it itself, as it is or compressed.
macro_rules! document {
    ($what:literal) => {
        concat!(
            "SELECT ",
            $what,
            " FROM airflow.task_instance i JOIN airflow.serialized_dag s ON s.dag_version_id = i.dag_version_id WHERE ",
            ti!("i.dag_id", "i.run_id", "i.task_id", "i.map_index")
        )
    };
}

const DAG_HASH: &str = document!("s.dag_hash");

/// With its hash, which may be another one by now.
const DOCUMENT: &str = document!("s.dag_hash, s.data, s.data_compressed");

/// What Airflow's scheduler expands over, and that there is nothing.
pub(super) const PUT_LENGTH: &str =
    "INSERT INTO airflow.task_map (dag_id, run_id, task_id, map_index, length, `keys`)
    VALUES (:dag, :run_id, :task, :map_index, :length, 'null')
    ON DUPLICATE KEY UPDATE length = :length, `keys` = 'null'";

pub(super) const REMOVE_LENGTH: &str =
    concat!("DELETE FROM airflow.task_map WHERE ", ti!("dag_id", "run_id", "task_id", "map_index"));

/// What is known of a row, whatever was known before. A new number says that it was pushed anew.
pub(super) const NOTE: &str = "REPLACE INTO excom_entry (run, task, xcom_key, map_index, version, size, hash, shape, number, codec,
        writer, head, body)
    VALUES (:run, :task, :key, :map_index, :version, :size, :hash, :shape, :number, :codec, :writer, :head, :body)";

/// An entry by its key whose object is elsewhere.
const AWAY: &str = "SELECT version, body FROM excom_entry
    WHERE run = :run AND task = :task AND xcom_key = :key AND map_index = :map_index AND codec = 2";

const REMEMBER: &str = "INSERT INTO excom_history (run, task, xcom_key, map_index, version, size, hash, shape, number,
        codec, reason, offloaded, ended_at, writer, ended_by, head, body)
    VALUES (:run, :task, :key, :map_index, :version, :size, :hash, :shape, :number, :codec, :reason, :codec = 2,
        :ended_at, :writer, :ended_by, :head, :body)";

/// Whether a version ended, by its key.
const HAS_ENDED: &str = "SELECT 1 FROM excom_history
    WHERE run = :run AND task = :task AND xcom_key = :key AND map_index = :map_index AND version = :version LIMIT 1";

/// Keys of a task instance, by Airflow's index of them.
const KEYS: &str = concat!(
    "SELECT CONVERT(x.key USING utf8mb4) FROM airflow.xcom x WHERE ",
    ti!("x.dag_id", "x.run_id", "x.task_id", "x.map_index"),
    "ORDER BY x.key"
);

/// Entries of a task instance, or one of them.
pub(super) const DELETE_ROWS: &str = concat!(
    "DELETE FROM airflow.xcom WHERE ",
    ti!("dag_id", "run_id", "task_id", "map_index"),
    "AND (:key IS NULL OR ",
    same!("`key`", ":key"),
    ")"
);

const NOTE_START: &str = "INSERT IGNORE INTO excom_started (attempt, at) VALUES (:attempt, :at)";

/// How often a row is looked for again that another makes or removes meanwhile.
const LOOKS: usize = 8;

/// A transaction of one step: `step!(self, write, clear(caller, scope))`.
macro_rules! step {
    ($tables:expr, $how:ident, $step:ident($($argument:expr),* $(,)?)) => {
        $tables.own.connections.$how(|mut connection| async move {
            let done = super::Airflow(&mut connection).$step($($argument),*).await;
            (connection, done)
        })
    };
}
pub(super) use step;

/// The parameters that name a row of an XCom, by numbers and by texts.
pub(super) fn row_of(of: Xcom, key: &XComKey, airflow_run: i64) -> Params {
    let named = with(with(xcom(of), "airflow_run", airflow_run), "task_text", &*key.ti.task_id);
    with(named, "text", &*key.key)
}

/// The parameters that name an attempt. Airflow's ids are UUIDs, or texts with or without hyphens.
fn of_attempt(attempt: &Attempt) -> Params {
    let id = attempt.id.0;
    with(with(of_ti(&attempt.ti), "id", id.to_string()), "plain", id.simple().to_string())
}

impl Airflow<'_> {
    /// Lets a caller go on, or not, until the transaction ends: the try number of an attempt that may write, 0 for those
    /// that are no attempts. A try that has failed may write until the next one starts.
    pub(super) async fn fence(&mut self, caller: &Caller) -> Result<u32> {
        let found = self.0.one(REVISION, named! {}).await?;
        let revision = found.as_ref().map(|found| own::optional_str(found, 0)).transpose()?.flatten();
        let revision = revision.unwrap_or_default();
        if schema::release(revision).is_none() {
            return Err(schema::unknown(revision, self.0.place()).into());
        }
        let Caller::Attempt(attempt) = caller else { return Ok(0) };
        if let Some(found) = self.0.one(CURRENT, of_attempt(attempt)).await? {
            return own::unsigned(&found, 0);
        }
        let Some(past) = self.0.one(PAST, of_attempt(attempt)).await? else {
            return Err(not_started(attempt).into());
        };
        let number = own::unsigned(&past, 0)?;
        let still = with(with(of_ti(&attempt.ti), "started", own::optional(&past, 1)?), "number", number);
        if self.0.one(STILL, still).await?.is_some() {
            return Ok(number);
        }
        let tries = self.0.rows(TRIES, of_ti(&attempt.ti)).await?;
        let current = tries.last().map(|found| row::attempt(found, 0)).transpose()?.flatten();
        Err(match current {
            Some(current) => superseded(attempt, &current),
            None => not_started(attempt),
        }
        .into())
    }

    /// Airflow's number of the run, if it has the task instance.
    pub(super) async fn run(&mut self, ti: &TaskInstanceKey) -> Result<Option<i64>> {
        self.0.one(RUN, of_ti(ti)).await?.map(|found| own::int(&found, 0)).transpose()
    }

    /// Airflow's row of an XCom, locked. One that Airflow takes for the same, but is not, is in the way.
    pub(super) async fn row(&mut self, of: Xcom, key: &XComKey, run: i64) -> Result<Option<Found>> {
        let Some(found) = self.0.one(ROW, row_of(of, key, run)).await? else { return Ok(None) };
        match own::is(&found, super::columns::COLUMNS)? {
            true => Ok(Some(found)),
            false => Err(folded(key, own::str(&found, super::columns::COLUMNS + 1)?, self.0.place()).into()),
        }
    }

    /// Writes an entry to the history.
    async fn remember(
        &mut self,
        of: Xcom,
        found: &Found,
        reason: EndReason,
        by: &str,
        at: Timestamp,
    ) -> Result<()> {
        let text = row::value(found, 0)?;
        let entry = match (own::optional(found, 0)?, text) {
            // What looks like a reference of ours is kept as the text that it is.
            (None, Some(text)) => {
                self.forget_stale(of, at).await?;
                bare(row::outside(found, 0)?, text)?
            }
            _ => row::entry(found, 0)?,
        };
        let (head, codec, body) = match (&entry.stored, text) {
            (Stored::Inline(value), Some(_)) => {
                let packed = pack(value.bytes(), entry.secret, None);
                (packed.head, packed.codec as i64, packed.body.to_vec())
            }
            _ => (own::str(found, 6)?.to_owned(), own::int(found, 7)?, own::bytes(found, 8)?.to_vec()),
        };
        let Entry { version, writer, size, hash, shape, .. } = entry;
        let (number, writer) = own::writer_columns(&writer);
        let mut past = xcom(of);
        for (name, value) in [
            ("version", version.to_code().into()),
            ("size", size.into()),
            ("hash", hash.0.cast_signed().into()),
            ("shape", shape.to_code().into()),
            ("number", number.into()),
            ("codec", codec.into()),
            ("reason", reason.to_code().into()),
            ("ended_at", at.as_millisecond().into()),
            ("writer", writer.into()),
            ("ended_by", by.into()),
            ("head", head.into()),
            ("body", mysql_async::Value::Bytes(body)),
        ] {
            past = with(past, name, value);
        }
        self.0.change(REMEMBER, past).await.map(drop)
    }

    /// Forgets what is known of a row that is another's by now, or gone; an object of it is to go.
    pub(super) async fn forget_stale(&mut self, of: Xcom, at: Timestamp) -> Result<()> {
        if let Some(away) = self.0.one(AWAY, xcom(of)).await? {
            let store = own::reference(own::bytes(&away, 1)?)?.store;
            self.0.loosen(of, own::version(&away, 0)?, &store, at.as_millisecond()).await?;
        }
        self.0.change(REMOVE_ENTRY, xcom(of)).await.map(drop)
    }

    /// Moves an entry to the history; `false` when there is none.
    async fn end(&mut self, key: &XComKey, by: &str, at: Timestamp) -> Result<bool> {
        let Some(run) = self.run(&key.ti).await? else { return Ok(false) };
        let of = self.0.xcom(key, at.as_millisecond()).await?;
        let Some(found) = self.row(of, key, run).await? else { return Ok(false) };
        self.remember(of, &found, EndReason::Cleared, by, at).await?;
        self.0.change(REMOVE_ROW, row_of(of, key, run)).await?;
        self.0.change(REMOVE_ENTRY, xcom(of)).await?;
        Ok(true)
    }

    /// Makes a push the entry, of which the task instance is locked. The number is that of the caller's attempt.
    async fn put(
        &mut self,
        number: u32,
        of: Xcom,
        push: &Push,
        written: &Row,
        expansion: &Expansion,
    ) -> Result<Pushed> {
        let Some(run) = self.run(&push.key.ti).await? else {
            return Err(no_task_instance(&push.key, self.0.place()).into());
        };
        let mut found = self.row(of, &push.key, run).await?;
        let is_current =
            |found: &Found| Ok::<_, Failure>(own::optional(found, 0)? == Some(push.version.to_code()));
        if found.as_ref().map(is_current).transpose()? == Some(true)
            || self.0.one(HAS_ENDED, of_version(of, push.version)).await?.is_some()
        {
            return Ok(Pushed::Already);
        }
        let length = self.length(push, expansion).await?;
        if let Some(key_id) = push.encrypted_with() {
            // Whoever retires a key waits for this, and looks for what it encrypts then.
            self.0.share_marks().await?;
            if self.0.is_retired(&key_id).await? {
                return Err(key_gone(&push.key, &key_id).into());
            }
        }
        if written.codec == Codec::Reference as i16
            && self.0.change(TAKE_INTENT, of_version(of, push.version)).await? == 0
        {
            return Err(intent_gone(&push.key, push.version).into());
        }
        let value = with(row_of(of, &push.key, run), "value", &*written.value);
        let value = with(with(value, "pushed", pushed(push.version)), "is_result", push.result);
        let made =
            with(with(value.clone(), "dag_text", &*push.key.ti.dag_id), "run_text", &*push.key.ti.run_id);
        let by = push.caller.to_string();
        for look in 0.. {
            let done = match &found {
                Some(_) => self.0.change(CHANGE_ROW, value.clone()).await? > 0,
                None => self.0.insert(MAKE_ROW, made.clone()).await?,
            };
            if done {
                break;
            }
            if look == LOOKS {
                return Err(damaged("a row that comes and goes"));
            }
            found = self.row(of, &push.key, run).await?;
        }
        match &found {
            Some(found) => self.remember(of, found, EndReason::Replaced, &by, push.at).await?,
            None => self.forget_stale(of, push.at).await?,
        }
        let (number, writer) = own::writer_columns(&Writer::of(&push.caller, &push.key, number));
        let note = named! {
            "run" => of.ti.run,
            "task" => of.ti.task,
            "key" => of.key,
            "map_index" => of.ti.map_index,
            "version" => push.version.to_code(),
            "size" => push.size,
            "hash" => push.hash.0.cast_signed(),
            "shape" => push.shape.to_code(),
            "number" => number,
            "codec" => written.codec,
            "writer" => writer,
            "head" => &*written.head,
            "body" => &written.body[..],
        };
        self.0.make_entry(NOTE, note).await?;
        if let Some(length) = length {
            self.0.change(PUT_LENGTH, with(of_ti(&push.key.ti), "length", length)).await?;
        } else if is_returned(&push.key) && push.shape.mapped_length().is_none() {
            self.0.change(REMOVE_LENGTH, of_ti(&push.key.ti)).await?;
        }
        Ok(Pushed::Written)
    }

    /// The length that Airflow's scheduler is to be told of a push, if any.
    async fn length(&mut self, push: &Push, expansion: &Expansion) -> Result<Option<u64>> {
        if !is_returned(&push.key) || push.shape.mapped_length().is_none() {
            return Ok(None);
        }
        let hash = self.0.one(DAG_HASH, of_ti(&push.key.ti)).await?;
        let hash = hash.as_ref().map(|found| own::optional_str(found, 0)).transpose()?.flatten();
        let sources = match hash.map(|hash| (hash, expansion.known(hash))) {
            None => None,
            Some((_, Some(known))) => Some(known),
            Some((_, None)) => match &self.0.one(DOCUMENT, of_ti(&push.key.ti)).await? {
                Some(found) => match own::optional_str(found, 0)? {
                    Some(hash) => {
                        let (document, compressed) =
                            (own::optional_str(found, 1)?, own::optional_bytes(found, 2)?);
                        Some(expansion.learn(hash, document, compressed))
                    }
                    None => None,
                },
                None => None,
            },
        };
        Ok(expansion.length(push, sources.as_ref())?)
    }

    async fn push(&mut self, push: &Push, written: &Row, expansion: &Expansion) -> Result<Pushed> {
        let of = self.0.xcom(&push.key, push.at.as_millisecond()).await?;
        self.0.take([of.ti]).await?;
        let number = self.fence(&push.caller).await?;
        self.put(number, of, push, written, expansion).await
    }

    async fn finish(
        &mut self,
        attempt: &Attempt,
        pushes: &[(&Push, Row)],
        expansion: &Expansion,
    ) -> Result<()> {
        let keys: Vec<&XComKey> = pushes.iter().map(|(push, _)| &push.key).collect();
        if let Some((first, _)) = pushes.first() {
            self.0.make_known(None, &keys, first.at.as_millisecond()).await?;
        }
        let mut xcoms = Vec::with_capacity(pushes.len());
        for (push, _) in pushes {
            xcoms.push(self.0.xcom(&push.key, push.at.as_millisecond()).await?);
        }
        self.0.take(xcoms.iter().map(|xcom| xcom.ti)).await?;
        let number = self.fence(&Caller::Attempt(attempt.clone())).await?;
        for ((push, written), of) in pushes.iter().zip(xcoms) {
            if self.put(number, of, push, written, expansion).await? == Pushed::Already {
                return Err(version_taken(&push.key, push.version).into());
            }
        }
        Ok(())
    }

    /// Moves the entries of a task instance to the history. The task instance is locked.
    async fn clear_instance(&mut self, of: &TaskInstanceKey, by: &str, at: Timestamp) -> Result<u64> {
        let mut cleared = 0;
        for found in self.0.rows(KEYS, of_ti(of)).await? {
            cleared += u64::from(self.end(&of.xcom(own::text(&found, 0)?)?, by, at).await?);
        }
        Ok(cleared)
    }

    async fn start(
        &mut self,
        attempt: &Attempt,
        by: &str,
        mode: StartMode,
        at: Timestamp,
    ) -> Result<Started> {
        let of = self.0.ti(&attempt.ti, at.as_millisecond()).await?;
        self.0.take([of]).await?;
        let number = self.fence(&Caller::Attempt(attempt.clone())).await?;
        let start = named! { "attempt" => attempt.id.0.as_bytes().to_vec(), "at" => at.as_millisecond() };
        let is_first = self.0.change(NOTE_START, start).await? > 0;
        let cleared = match is_first && mode == StartMode::Fresh {
            true => self.clear_instance(&attempt.ti, by, at).await?,
            false => 0,
        };
        Ok(Started { number, cleared })
    }

    async fn clear(&mut self, caller: &Caller, scope: &Scope, at: Timestamp) -> Result<u64> {
        let of = self.0.ti(scope.ti(), at.as_millisecond()).await?;
        self.0.take([of]).await?;
        self.fence(caller).await?;
        let by = cleared_by(caller, scope.ti(), None);
        match scope {
            Scope::Key(key) => Ok(self.end(key, &by, at).await?.into()),
            Scope::TaskInstance(ti) => self.clear_instance(ti, &by, at).await,
        }
    }

    async fn delete(&mut self, scope: &Scope, at: Timestamp) -> Result<u64> {
        let (of, key, named) = match scope {
            Scope::Key(key) => {
                let of = self.0.xcom(key, at.as_millisecond()).await?;
                (of.ti, Some(of.key), of_xcom(key))
            }
            Scope::TaskInstance(ti) => {
                (self.0.ti(ti, at.as_millisecond()).await?, None, with(of_ti(ti), "key", None::<String>))
            }
        };
        self.0.take([of]).await?;
        self.fence(&Caller::System("db")).await?;
        let current = self.0.change(DELETE_ROWS, named).await?;
        let [_, past] = self.0.delete_rows(of, key, at).await?;
        Ok(current + past)
    }
}

impl Tables {
    /// A push as Airflow's row and ours hold it.
    fn written(&self, push: &Push) -> Row {
        Row::of(push, |_| self.keeps_text)
    }

    pub(super) async fn push(&self, push: &Push) -> Result<Pushed> {
        let (written, expansion) = (&self.written(push), &self.expansion);
        let Done { result, in_doubt } = step!(self, write_told, push(push, written, expansion)).await;
        match result? {
            // What is there may be what a try before wrote, whose answer was lost.
            _ if in_doubt => Ok(Pushed::Written),
            pushed => Ok(pushed),
        }
    }

    /// The state is Airflow's to write.
    pub(super) async fn finish_attempt(
        &self,
        attempt: &Attempt,
        _state: TaskState,
        pushes: &[Push],
        _at: Timestamp,
    ) -> Result<()> {
        let rows: Vec<(&Push, Row)> = pushes.iter().map(|push| (push, self.written(push))).collect();
        let (rows, expansion) = (&rows[..], &self.expansion);
        let Done { result, in_doubt } = step!(self, write_told, finish(attempt, rows, expansion)).await;
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
        let by = &cleared_by(&Caller::Attempt(attempt.clone()), &attempt.ti, Some(try_number));
        step!(self, write, start(attempt, by, mode, at)).await
    }

    /// The state is Airflow's to write: here is only looked whether the attempt could.
    pub(super) async fn set_attempt_state(
        &self,
        attempt: &Attempt,
        _state: TaskState,
        _at: Timestamp,
    ) -> Result<()> {
        let expansion = &self.expansion;
        step!(self, write, finish(attempt, &[], expansion)).await
    }

    pub(super) async fn clear(&self, caller: &Caller, scope: &Scope, at: Timestamp) -> Result<u64> {
        step!(self, write, clear(caller, scope, at)).await
    }

    pub(super) async fn delete(&self, scope: &Scope, at: Timestamp) -> Result<u64> {
        step!(self, write, delete(scope, at)).await
    }
}

/// The refusal of a key that Airflow's columns take for another one.
pub(super) fn folded(key: &XComKey, other: &str, place: &str) -> Error {
    let (wanted, other) = (serde_json::Value::from(&*key.key), serde_json::Value::from(other));
    let ti = &key.ti;
    Error::new(
        ErrorKind::InvalidRequest,
        format!("{ti} has an XCom {other} already, and the columns of {place} take {wanted} for the same key; nothing was written"),
    )
    .hint("choose keys that differ in more than trailing spaces, or whatever the collation of Airflow's columns ignores")
}
