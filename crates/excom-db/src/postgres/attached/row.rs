//! Rows as nouns: what Airflow's row and ours beside it say together.

use bytes::Bytes;
use excom_core::attempt::{AttemptId, AttemptInfo};
use excom_core::entry::{EndReason, Entry, EntryInfo, PastEntry, Stored, Writer};
use excom_core::value::ContentHash;
use excom_core::{Shape, Value, XComKey};
use jiff::Timestamp;
use tokio_postgres::Row;

use super::super::failure::{Failure, damaged};
use super::super::row::{hash, reference, time, unsigned, version};
use super::columns::COLUMNS;
use crate::airflow::{self, JSONB};
use crate::packing::{Codec, preview, unpack};

type Result<T> = std::result::Result<T, Failure>;

/// An entry from what `columns::entry` lists.
pub(super) fn entry(row: &Row, at: usize) -> Result<Entry> {
    let Some(known) = Known::of(row, at)? else { return outside(row, at) };
    let stored = match Codec::from_code(known.codec.into()) {
        Some(Codec::Reference) => Stored::Offloaded(reference(row.try_get(at + 8)?)?),
        Some(codec) => {
            // Bytes that cannot be unpacked reach the engine as they are: their checksum tells it.
            let head = known.head.as_bytes();
            let bytes = unpack(head, codec, row.try_get(at + 8)?, known.size as usize, None)
                .unwrap_or_else(|_| Bytes::copy_from_slice(head));
            Stored::Inline(Value::trusted(bytes, known.shape))
        }
        None if known.codec == JSONB => {
            let text = airflow::compact(row.try_get::<_, Option<&str>>(at + 9)?.unwrap_or_default());
            Stored::Inline(Value::trusted(text.into(), known.shape))
        }
        None => return Err(damaged("an entry with an unknown codec")),
    };
    Ok(Entry {
        version: version(row.try_get(at)?)?,
        writer: known.writer,
        size: known.size,
        hash: known.hash,
        shape: known.shape,
        secret: known.head.is_empty(),
        stored,
    })
}

/// What lists show, from what `columns::info` lists.
pub(super) fn info(row: &Row, at: usize, key: XComKey, offloaded: bool) -> Result<EntryInfo> {
    let Some(known) = Known::of(row, at)? else {
        let Entry { version, writer, size, hash, shape, secret, stored } = outside(row, at)?;
        let (preview, offloaded) = match &stored {
            Stored::Inline(value) => (value.preview(), false),
            Stored::Offloaded(_) => ("…".to_owned(), true),
        };
        return Ok(EntryInfo { key, version, writer, size, hash, shape, secret, preview, offloaded });
    };
    Ok(EntryInfo {
        key,
        version: version(row.try_get(at)?)?,
        writer: known.writer,
        size: known.size,
        hash: known.hash,
        shape: known.shape,
        secret: known.head.is_empty(),
        preview: preview(known.head, known.size),
        offloaded,
    })
}

/// An earlier version: what [`info`] reads, then ended_at, reason, by, offloaded.
pub(super) fn past(row: &Row, at: usize, key: XComKey) -> Result<PastEntry> {
    let behind = at + COLUMNS;
    Ok(PastEntry {
        info: info(row, at, key, row.try_get(behind + 3)?)?,
        ended_at: time(row.try_get(behind)?),
        reason: EndReason::from_code(row.try_get::<_, i16>(behind + 1)?.into())
            .ok_or_else(|| damaged("a history row with an unknown reason"))?,
        by: row.try_get(behind + 2)?,
        has_bytes: row.try_get::<_, i16>(at + 7)? >= 0,
    })
}

/// What Excom noted of what it wrote.
struct Known<'a> {
    writer: Writer,
    size: u64,
    hash: ContentHash,
    shape: Shape,
    head: &'a str,
    codec: i16,
}

impl<'a> Known<'a> {
    /// None for what something else wrote.
    fn of(row: &'a Row, at: usize) -> Result<Option<Self>> {
        let Some(number) = row.try_get::<_, Option<i32>>(at + 1)? else { return Ok(None) };
        let writer = match row.try_get(at + 2)? {
            "" => Writer::Attempt(unsigned(number)),
            other => serde_json::from_str(other).map_err(|_| damaged("an entry with an unknown writer"))?,
        };
        Ok(Some(Self {
            writer,
            size: row.try_get::<_, i64>(at + 3)? as u64,
            hash: hash(row.try_get(at + 4)?),
            shape: Shape::from_code(row.try_get(at + 5)?)
                .ok_or_else(|| damaged("an entry with an unknown shape"))?,
            head: row.try_get(at + 6)?,
            codec: row.try_get(at + 7)?,
        }))
    }
}

/// An entry that something else wrote.
fn outside(row: &Row, at: usize) -> Result<Entry> {
    Ok(airflow::outside(version(row.try_get(at)?)?, row.try_get(at + 9)?)?)
}

/// An attempt from what `columns::attempt` lists; none where there is none.
pub(super) fn attempt(row: &Row, at: usize) -> Result<Option<AttemptInfo>> {
    let Some(number) = row.try_get::<_, Option<i32>>(at)? else { return Ok(None) };
    Ok(Some(AttemptInfo {
        number: unsigned(number),
        id: AttemptId(row.try_get(at + 1)?),
        try_number: unsigned(number),
        state: airflow::state(row.try_get(at + 2)?),
        started_at: time(row.try_get::<_, Option<i64>>(at + 3)?.unwrap_or_default()),
        ended_at: row.try_get::<_, Option<i64>>(at + 4)?.map(time),
    }))
}

/// A moment from a column that may hold none.
pub(super) fn moment(row: &Row, at: usize) -> Result<Option<Timestamp>> {
    Ok(row.try_get::<_, Option<i64>>(at)?.map(time))
}
