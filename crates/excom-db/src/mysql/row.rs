//! Rows as nouns, and nouns as what rows hold.

use std::sync::Arc;

use bytes::Bytes;
use excom_core::attempt::{AttemptId, AttemptInfo, TaskInstanceInfo, TaskState};
use excom_core::entry::{EndReason, Entry, EntryInfo, PastEntry, Stored, Version, Writer};
use excom_core::seal::Reference;
use excom_core::value::ContentHash;
use excom_core::{Shape, TaskInstanceKey, Value, XComKey};
use jiff::Timestamp;
use mysql_async::{Row, Value as Column};
use uuid::Uuid;

use super::failure::{Failure, damaged};
use crate::packing::{Codec, preview, unpack};

type Result<T> = std::result::Result<T, Failure>;

// ---- columns

fn column(row: &Row, at: usize) -> &Column {
    row.as_ref(at).unwrap_or(&Column::NULL)
}

/// A number, or NULL.
pub(super) fn optional(row: &Row, at: usize) -> Result<Option<i64>> {
    match column(row, at) {
        Column::NULL => Ok(None),
        Column::Int(number) => Ok(Some(*number)),
        Column::UInt(number) => Ok(i64::try_from(*number).ok()),
        _ => Err(damaged("a text where a number belongs")),
    }
}

/// A number.
pub(super) fn int(row: &Row, at: usize) -> Result<i64> {
    optional(row, at)?.ok_or_else(|| damaged("a column without its number"))
}

/// A number, as keys have it.
pub(super) fn int4(row: &Row, at: usize) -> Result<i32> {
    i32::try_from(int(row, at)?).map_err(|_| damaged("a number that is too large"))
}

/// A number that counts.
pub(super) fn count(row: &Row, at: usize) -> Result<u64> {
    Ok(int(row, at)?.max(0).cast_unsigned())
}

/// Whether it is so.
pub(super) fn is(row: &Row, at: usize) -> Result<bool> {
    Ok(int(row, at)? != 0)
}

/// Bytes, or NULL.
pub(super) fn optional_bytes(row: &Row, at: usize) -> Result<Option<&[u8]>> {
    match column(row, at) {
        Column::NULL => Ok(None),
        Column::Bytes(bytes) => Ok(Some(bytes)),
        _ => Err(damaged("a number where a text belongs")),
    }
}

/// Bytes.
pub(super) fn bytes(row: &Row, at: usize) -> Result<&[u8]> {
    optional_bytes(row, at)?.ok_or_else(|| damaged("a column without its text"))
}

/// A text, or NULL.
pub(super) fn optional_str(row: &Row, at: usize) -> Result<Option<&str>> {
    let bytes = optional_bytes(row, at)?;
    bytes.map(|bytes| std::str::from_utf8(bytes).map_err(|_| damaged("a text that is not UTF-8"))).transpose()
}

/// A text.
pub(super) fn str(row: &Row, at: usize) -> Result<&str> {
    optional_str(row, at)?.ok_or_else(|| damaged("a column without its text"))
}

/// A task id, key or DAG id from a column.
pub(super) fn text(row: &Row, at: usize) -> Result<Arc<str>> {
    Ok(str(row, at)?.into())
}

/// Milliseconds as a time.
pub(super) fn time(row: &Row, at: usize) -> Result<Timestamp> {
    Ok(moment(int(row, at)?))
}

/// Milliseconds as a time.
pub(super) fn moment(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH)
}

// ---- nouns

/// An entry from version, number, writer, size, hash, shape, head, codec, body at an offset.
pub(super) fn entry(row: &Row, at: usize) -> Result<Entry> {
    let size = count(row, at + 3)?;
    let shape = shape(row, at + 5)?;
    let head = bytes(row, at + 6)?;
    let codec =
        Codec::from_code(int(row, at + 7)?).ok_or_else(|| damaged("an entry with an unknown codec"))?;
    let body = bytes(row, at + 8)?;
    let stored = if codec == Codec::Reference {
        Stored::Offloaded(reference(body)?)
    } else {
        // Bytes that cannot be unpacked reach the engine as they are: their checksum tells it, so one
        // damaged value is an answer and not the failure of a whole pull.
        let bytes =
            unpack(head, codec, body, size as usize, None).unwrap_or_else(|_| Bytes::copy_from_slice(head));
        Stored::Inline(Value::trusted(bytes, shape))
    };
    Ok(Entry {
        version: version(row, at)?,
        writer: writer(row, at + 1)?,
        size,
        hash: hash(row, at + 4)?,
        shape,
        secret: head.is_empty(),
        stored,
    })
}

/// What lists show, from version, number, writer, size, hash, shape, head at an offset.
pub(super) fn info(row: &Row, at: usize, key: XComKey, offloaded: bool) -> Result<EntryInfo> {
    let size = count(row, at + 3)?;
    let head = str(row, at + 6)?;
    Ok(EntryInfo {
        key,
        version: version(row, at)?,
        writer: writer(row, at + 1)?,
        size,
        hash: hash(row, at + 4)?,
        shape: shape(row, at + 5)?,
        secret: head.is_empty(),
        preview: preview(head, size),
        offloaded,
    })
}

/// An earlier version: what [`info`] reads, then ended_at, reason, ended_by, codec, offloaded.
pub(super) fn past(row: &Row, at: usize, key: XComKey) -> Result<PastEntry> {
    Ok(PastEntry {
        info: info(row, at, key, is(row, at + 11)?)?,
        ended_at: time(row, at + 7)?,
        reason: EndReason::from_code(int(row, at + 8)?)
            .ok_or_else(|| damaged("a history row with an unknown reason"))?,
        by: str(row, at + 9)?.to_owned(),
        has_bytes: int(row, at + 10)? >= 0,
    })
}

/// An attempt from number, attempt, try_number, state, started, took at an offset; none before the
/// first.
pub(super) fn attempt(row: &Row, at: usize) -> Result<Option<AttemptInfo>> {
    let number = unsigned(row, at)?;
    if number == 0 {
        return Ok(None);
    }
    let started = int(row, at + 4)?;
    let id = Uuid::from_slice(bytes(row, at + 1)?).map_err(|_| damaged("an attempt whose id is no UUID"))?;
    Ok(Some(AttemptInfo {
        number,
        id: AttemptId(id),
        try_number: unsigned(row, at + 2)?,
        state: state(row, at + 3)?,
        started_at: moment(started),
        ended_at: optional(row, at + 5)?.map(|took| moment(started + took)),
    }))
}

/// A task instance from what [`attempt`] reads first of all.
pub(super) fn instance(row: &Row, key: TaskInstanceKey) -> Result<TaskInstanceInfo> {
    Ok(TaskInstanceInfo { key, state: state(row, 3)?, attempt: attempt(row, 0)? })
}

/// A key from the first five columns: dag, run, task, map index, key.
pub(super) fn key(row: &Row) -> Result<XComKey> {
    let (dag, run, task) = (text(row, 0)?, text(row, 1)?, text(row, 2)?);
    Ok(XComKey::new(dag, run, task, int4(row, 3)?, text(row, 4)?)?)
}

/// An entry's reference from the bytes of its row.
pub(super) fn reference(body: &[u8]) -> Result<Reference> {
    serde_json::from_slice(body).map_err(|_| damaged("an entry with a damaged reference"))
}

fn state(row: &Row, at: usize) -> Result<TaskState> {
    TaskState::from_code(int(row, at)?).ok_or_else(|| damaged("a task instance with an unknown state"))
}

pub(super) fn version(row: &Row, at: usize) -> Result<Version> {
    Version::from_code(int(row, at)?).ok_or_else(|| damaged("a negative version"))
}

pub(super) fn hash(row: &Row, at: usize) -> Result<ContentHash> {
    Ok(ContentHash(int(row, at)?.cast_unsigned()))
}

pub(super) fn shape(row: &Row, at: usize) -> Result<Shape> {
    Shape::from_code(int(row, at)?).ok_or_else(|| damaged("an entry with an unknown shape"))
}

/// Who wrote it, from number and writer at an offset.
pub(super) fn writer(row: &Row, at: usize) -> Result<Writer> {
    match str(row, at + 1)? {
        "" => Ok(Writer::Attempt(unsigned(row, at)?)),
        other => serde_json::from_str(other).map_err(|_| damaged("an entry with an unknown writer")),
    }
}

/// The two columns that [`writer`] reads.
pub(super) fn writer_columns(writer: &Writer) -> (u32, String) {
    match writer {
        Writer::Attempt(number) => (*number, String::new()),
        other => (0, serde_json::to_string(other).unwrap_or_default()),
    }
}

/// A number that is never negative.
pub(super) fn unsigned(row: &Row, at: usize) -> Result<u32> {
    u32::try_from(int(row, at)?).map_err(|_| damaged("a negative number"))
}
