//! Rows as nouns, and nouns as what rows hold.

use std::sync::Arc;

use bytes::Bytes;
use excom_core::attempt::{AttemptId, AttemptInfo, TaskState};
use excom_core::entry::{EndReason, Entry, EntryInfo, PastEntry, Stored, Version, Writer};
use excom_core::seal::Reference;
use excom_core::value::ContentHash;
use excom_core::{Shape, Value, XComKey};
use jiff::Timestamp;
use rusqlite::Row;
use rusqlite::types::{Value as Sql, ValueRef};

use super::failure::{Failure, damaged};
use super::read::View;
use crate::packing::{Codec, dictionary_of, preview, unpack};

/// The columns that [`entry`] reads, first in a statement.
pub(super) const ENTRY: &str = "version, writer, size, hash, shape, head, codec, body";

/// The columns that [`info`] reads behind the five of the key.
pub(super) const INFO: &str = "version, writer, size, hash, shape, head";

/// An entry from the eight columns of [`ENTRY`] at an offset. Its dictionary, if it has one, is in the same view.
pub(super) fn entry(view: &View<'_>, row: &Row<'_>, at: usize) -> Result<Entry, Failure> {
    let size = row.get::<_, i64>(at + 2)? as u64;
    let shape = shape(row.get(at + 4)?)?;
    let head = row.get_ref(at + 5)?.as_bytes().map_err(|_| damaged("an entry without a beginning"))?;
    let secret = head.is_empty();
    let codec =
        Codec::from_code(row.get(at + 6)?).ok_or_else(|| damaged("an entry with an unknown codec"))?;
    let body = match row.get_ref(at + 7)? {
        ValueRef::Null => &[],
        body => body.as_bytes().map_err(|_| damaged("an entry without a body"))?,
    };
    let stored = if codec == Codec::Reference {
        let reference: Reference =
            serde_json::from_slice(body).map_err(|_| damaged("an entry with a damaged reference"))?;
        Stored::Offloaded(reference)
    } else {
        // Bytes that cannot be unpacked reach the engine as they are: their checksum tells it, so one
        // damaged value is an answer and not the failure of a whole pull.
        let bytes = text_of(view, head, codec, body, size as usize)?;
        let bytes = bytes.unwrap_or_else(|| Bytes::copy_from_slice(head));
        Stored::Inline(Value::trusted(bytes, shape))
    };
    Ok(Entry {
        version: version(row.get(at)?)?,
        writer: writer(row.get_ref(at + 1)?)?,
        size,
        hash: ContentHash(row.get::<_, i64>(at + 3)?.cast_unsigned()),
        shape,
        secret,
        stored,
    })
}

/// The text of a value that is in the database; none when it is damaged.
pub(super) fn text_of(
    view: &View<'_>,
    head: &[u8],
    codec: Codec,
    body: &[u8],
    size: usize,
) -> Result<Option<Bytes>, Failure> {
    let dictionary = match codec {
        Codec::Dictionary => match dictionary_of(body).map(|id| view.decoder(id)).transpose() {
            Ok(Some(Some(dictionary))) => Some(dictionary),
            Ok(_) => return Ok(None),
            // A dictionary that is damaged or gone, which the database's health tells.
            Err(Failure::Refused(_)) => return Ok(None),
            Err(failure) => return Err(failure),
        },
        _ => None,
    };
    Ok(unpack(head, codec, body, size, dictionary.as_deref()).ok())
}

/// What lists show, from the six columns of [`INFO`] at an offset.
pub(super) fn info(row: &Row<'_>, at: usize, key: XComKey, offloaded: bool) -> Result<EntryInfo, Failure> {
    let size = row.get::<_, i64>(at + 2)? as u64;
    let head = row.get_ref(at + 5)?.as_str().map_err(|_| damaged("an entry without a beginning"))?;
    Ok(EntryInfo {
        key,
        version: version(row.get(at)?)?,
        writer: writer(row.get_ref(at + 1)?)?,
        size,
        hash: ContentHash(row.get::<_, i64>(at + 3)?.cast_unsigned()),
        shape: shape(row.get(at + 4)?)?,
        preview: preview(head, size),
        offloaded,
        secret: head.is_empty(),
    })
}

/// An earlier version: [`INFO`] at an offset, then ended_at, reason, by, codec, offloaded.
pub(super) fn past(row: &Row<'_>, at: usize, key: XComKey) -> Result<PastEntry, Failure> {
    Ok(PastEntry {
        info: info(row, at, key, row.get(at + 10)?)?,
        ended_at: time(row.get(at + 6)?),
        reason: EndReason::from_code(row.get(at + 7)?)
            .ok_or_else(|| damaged("a history row with an unknown reason"))?,
        by: row.get(at + 8)?,
        has_bytes: row.get::<_, Option<i64>>(at + 9)?.is_some(),
    })
}

/// An attempt from number, attempt, try_number, state, started, took at an offset; none before the
/// first.
pub(super) fn attempt(row: &Row<'_>, at: usize) -> Result<Option<AttemptInfo>, Failure> {
    let number: u32 = row.get(at)?;
    if number == 0 {
        return Ok(None);
    }
    let id = AttemptId(row.get(at + 1)?);
    let started = time_in(id) + row.get::<_, i64>(at + 4)?;
    let took: Option<i64> = row.get(at + 5)?;
    Ok(Some(AttemptInfo {
        number,
        id,
        try_number: row.get(at + 2)?,
        state: state(row.get(at + 3)?)?,
        started_at: time(started),
        ended_at: took.map(|took| time(started + took)),
    }))
}

/// The first 48 bits of an attempt's id: milliseconds, when it is a UUID of version 7. Starts are stored
/// relative to them, which is next to nothing for such, and right for any other.
pub(super) fn time_in(id: AttemptId) -> i64 {
    i64::try_from(id.0.as_u128() >> 80).unwrap_or(0)
}

pub(super) fn state(code: i64) -> Result<TaskState, Failure> {
    Ok(TaskState::from_code(code).ok_or_else(|| damaged("a task instance with an unknown state"))?)
}

pub(super) fn version(code: i64) -> Result<Version, Failure> {
    Ok(Version::from_code(code).ok_or_else(|| damaged("a negative version"))?)
}

pub(super) fn shape(code: i64) -> Result<Shape, Failure> {
    Ok(Shape::from_code(code).ok_or_else(|| damaged("an entry with an unknown shape"))?)
}

pub(super) fn writer(value: ValueRef<'_>) -> Result<Writer, Failure> {
    match value {
        ValueRef::Integer(number) => Ok(Writer::Attempt(number as u32)),
        ValueRef::Text(json) => {
            Ok(serde_json::from_slice(json).map_err(|_| damaged("an entry with an unknown writer"))?)
        }
        _ => Err(damaged("an entry without a writer").into()),
    }
}

/// A writer as its column holds it.
pub(super) fn writer_column(writer: &Writer) -> Sql {
    match writer {
        Writer::Attempt(number) => Sql::Integer((*number).into()),
        other => Sql::Text(serde_json::to_string(other).unwrap_or_default()),
    }
}

/// Milliseconds as a time.
pub(super) fn time(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A task id, key or DAG id from a column.
pub(super) fn text(row: &Row<'_>, at: usize) -> Result<Arc<str>, Failure> {
    Ok(row.get::<_, String>(at)?.into())
}
