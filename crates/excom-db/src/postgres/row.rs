//! Rows as nouns, and nouns as what rows hold.

use std::sync::Arc;

use bytes::Bytes;
use excom_core::attempt::{AttemptId, AttemptInfo, TaskInstanceInfo, TaskState};
use excom_core::entry::{EndReason, Entry, EntryInfo, PastEntry, Stored, Version, Writer};
use excom_core::seal::Reference;
use excom_core::value::ContentHash;
use excom_core::{Shape, TaskInstanceKey, Value, XComKey};
use jiff::Timestamp;
use tokio_postgres::Row;

use super::connection::Parameter;
use super::failure::{Failure, damaged};
use crate::packing::{Codec, preview, unpack};

/// An entry from version, number, writer, size, hash, shape, head, codec, body at an offset.
pub(super) fn entry(row: &Row, at: usize) -> Result<Entry, Failure> {
    let size = row.try_get::<_, i64>(at + 3)? as u64;
    let shape = shape(row.try_get(at + 5)?)?;
    let head: &str = row.try_get(at + 6)?;
    let codec = Codec::from_code(row.try_get::<_, i16>(at + 7)?.into())
        .ok_or_else(|| damaged("an entry with an unknown codec"))?;
    let body: &[u8] = row.try_get(at + 8)?;
    let secret = head.is_empty();
    let stored = if codec == Codec::Reference {
        Stored::Offloaded(reference(body)?)
    } else {
        // Bytes that cannot be unpacked reach the engine as they are: their checksum tells it, so one
        // damaged value is an answer and not the failure of a whole pull.
        let head = head.as_bytes();
        let bytes =
            unpack(head, codec, body, size as usize, None).unwrap_or_else(|_| Bytes::copy_from_slice(head));
        Stored::Inline(Value::trusted(bytes, shape))
    };
    Ok(Entry {
        version: version(row.try_get(at)?)?,
        writer: writer(row, at + 1)?,
        size,
        hash: hash(row.try_get(at + 4)?),
        shape,
        secret,
        stored,
    })
}

/// What lists show, from version, number, writer, size, hash, shape, head at an offset.
pub(super) fn info(row: &Row, at: usize, key: XComKey, offloaded: bool) -> Result<EntryInfo, Failure> {
    let size = row.try_get::<_, i64>(at + 3)? as u64;
    let head: &str = row.try_get(at + 6)?;
    Ok(EntryInfo {
        key,
        version: version(row.try_get(at)?)?,
        writer: writer(row, at + 1)?,
        size,
        hash: hash(row.try_get(at + 4)?),
        shape: shape(row.try_get(at + 5)?)?,
        secret: head.is_empty(),
        preview: preview(head, size),
        offloaded,
    })
}

/// An earlier version: what [`info`] reads, then ended_at, reason, by, codec, offloaded.
pub(super) fn past(row: &Row, at: usize, key: XComKey) -> Result<PastEntry, Failure> {
    Ok(PastEntry {
        info: info(row, at, key, row.try_get(at + 11)?)?,
        ended_at: time(row.try_get(at + 7)?),
        reason: EndReason::from_code(row.try_get::<_, i16>(at + 8)?.into())
            .ok_or_else(|| damaged("a history row with an unknown reason"))?,
        by: row.try_get(at + 9)?,
        has_bytes: row.try_get::<_, i16>(at + 10)? >= 0,
    })
}

/// An attempt from number, attempt, try_number, state, started, took at an offset; none before the
/// first.
pub(super) fn attempt(row: &Row, at: usize) -> Result<Option<AttemptInfo>, Failure> {
    let number = unsigned(row.try_get(at)?);
    if number == 0 {
        return Ok(None);
    }
    let started: i64 = row.try_get(at + 4)?;
    let took: Option<i64> = row.try_get(at + 5)?;
    Ok(Some(AttemptInfo {
        number,
        id: AttemptId(row.try_get(at + 1)?),
        try_number: unsigned(row.try_get(at + 2)?),
        state: state(row.try_get(at + 3)?)?,
        started_at: time(started),
        ended_at: took.map(|took| time(started + took)),
    }))
}

/// A task instance from what [`attempt`] reads first of all.
pub(super) fn instance(row: &Row, key: TaskInstanceKey) -> Result<TaskInstanceInfo, Failure> {
    Ok(TaskInstanceInfo { key, state: state(row.try_get(3)?)?, attempt: attempt(row, 0)? })
}

/// A key from the first five columns: dag, run, task, map index, key.
pub(super) fn key(row: &Row) -> Result<XComKey, Failure> {
    let (dag, run, task) = (text(row, 0)?, text(row, 1)?, text(row, 2)?);
    Ok(XComKey::new(dag, run, task, row.try_get(3)?, text(row, 4)?)?)
}

/// A push or an entry's reference as bytes of its row, and back.
pub(super) fn reference(body: &[u8]) -> Result<Reference, Failure> {
    serde_json::from_slice(body).map_err(|_| damaged("an entry with a damaged reference"))
}

fn state(code: i16) -> Result<TaskState, Failure> {
    TaskState::from_code(code.into()).ok_or_else(|| damaged("a task instance with an unknown state"))
}

pub(super) fn version(code: i64) -> Result<Version, Failure> {
    Version::from_code(code).ok_or_else(|| damaged("a negative version"))
}

pub(super) fn hash(code: i64) -> ContentHash {
    ContentHash(code.cast_unsigned())
}

fn shape(code: i64) -> Result<Shape, Failure> {
    Shape::from_code(code).ok_or_else(|| damaged("an entry with an unknown shape"))
}

/// Who wrote it, from number and writer at an offset.
fn writer(row: &Row, at: usize) -> Result<Writer, Failure> {
    match row.try_get(at + 1)? {
        "" => Ok(Writer::Attempt(unsigned(row.try_get(at)?))),
        other => serde_json::from_str(other).map_err(|_| damaged("an entry with an unknown writer")),
    }
}

/// A number that is never negative.
pub(super) fn unsigned(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

/// Milliseconds as a time.
pub(super) fn time(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// How many entries there are, and their bytes.
pub(super) fn counts(row: &Row, at: usize) -> Result<(u64, u64), Failure> {
    Ok((row.try_get::<_, i64>(at)? as u64, row.try_get::<_, i64>(at + 1)? as u64))
}

/// A task id, key or DAG id from a column.
pub(super) fn text(row: &Row, at: usize) -> Result<Arc<str>, Failure> {
    Ok(row.try_get::<_, &str>(at)?.into())
}

/// A code of an enumeration as its column holds it.
pub(super) fn code(code: i64) -> i16 {
    i16::try_from(code).unwrap_or(i16::MAX)
}

/// An XCom as parameters: DAG, run, task, map index, key.
pub(super) struct Key<'a> {
    texts: [&'a str; 4],
    map_index: i32,
}

impl<'a> Key<'a> {
    pub(super) fn of(key: &'a XComKey) -> Self {
        let ti = &key.ti;
        Self { texts: [&ti.dag_id, &ti.run_id, &ti.task_id, &key.key], map_index: ti.map_index }
    }

    pub(super) fn parameters(&self) -> [Parameter<'_>; 5] {
        let [dag, run, task, key] = &self.texts;
        [dag, run, task, &self.map_index, key]
    }
}

/// Many XComs as parameters, each a list.
pub(super) struct Keys<'a> {
    texts: [Vec<&'a str>; 4],
    map_indexes: Vec<i32>,
}

impl<'a> Keys<'a> {
    pub(super) fn of(keys: impl Iterator<Item = &'a XComKey>) -> Self {
        let mut all = Self { texts: Default::default(), map_indexes: Vec::new() };
        for key in keys {
            let Key { texts, map_index } = Key::of(key);
            for (list, text) in all.texts.iter_mut().zip(texts) {
                list.push(text);
            }
            all.map_indexes.push(map_index);
        }
        all
    }

    pub(super) fn parameters(&self) -> [Parameter<'_>; 5] {
        let [dags, runs, tasks, keys] = &self.texts;
        [dags, runs, tasks, &self.map_indexes, keys]
    }
}
