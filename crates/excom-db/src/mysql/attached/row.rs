//! Rows as nouns: what Airflow's row and ours beside it say together.

use excom_core::attempt::{AttemptId, AttemptInfo};
use excom_core::entry::{Entry, EntryInfo, Stored, Version};
use excom_core::{Value, XComKey};
use mysql_async::Row;
use uuid::Uuid;

use super::super::failure::{Failure, damaged};
use super::super::row::{self, moment, optional, optional_str};
use crate::airflow::{self, JSONB};

type Result<T> = std::result::Result<T, Failure>;

/// Where the time of Airflow's row is, and its value.
const TIME: usize = 9;
const VALUE: usize = 10;

/// Whether it is a value whose text is that of Airflow's column.
pub(super) fn is_airflows(found: &Row, at: usize) -> Result<bool> {
    Ok(optional(found, at + 7)? == Some(JSONB.into()))
}

/// An entry from what `columns::entry` lists.
pub(super) fn entry(found: &Row, at: usize) -> Result<Entry> {
    if optional(found, at)?.is_none() {
        return Ok(airflow::outside(outside(found, at)?, optional_str(found, at + VALUE)?)?);
    }
    if !is_airflows(found, at)? {
        return row::entry(found, at);
    }
    let shape = row::shape(found, at + 5)?;
    let text = row::str(found, at + VALUE)?.to_owned();
    Ok(Entry {
        version: row::version(found, at)?,
        writer: row::writer(found, at + 1)?,
        size: row::count(found, at + 3)?,
        hash: row::hash(found, at + 4)?,
        shape,
        secret: row::bytes(found, at + 6)?.is_empty(),
        stored: Stored::Inline(Value::trusted(text.into(), shape)),
    })
}

/// What lists show, from what `columns::info` lists.
pub(super) fn info(found: &Row, at: usize, key: XComKey) -> Result<EntryInfo> {
    if let Some(codec) = optional(found, at + 7)? {
        return row::info(found, at, key, codec == 2);
    }
    let Entry { version, writer, size, hash, shape, secret, stored } = entry(found, at)?;
    let (preview, offloaded) = match &stored {
        Stored::Inline(value) => (value.preview(), false),
        Stored::Offloaded(_) => ("…".to_owned(), true),
    };
    Ok(EntryInfo { key, version, writer, size, hash, shape, secret, preview, offloaded })
}

/// The version of a row that something else wrote: its time, to the microsecond.
pub(super) fn outside(found: &Row, at: usize) -> Result<Version> {
    airflow::written(row::int(found, at + TIME)?).ok_or_else(|| damaged("an entry with a time that is none"))
}

/// What is in Airflow's column, where it was asked for.
pub(super) fn value(found: &Row, at: usize) -> Result<Option<&str>> {
    optional_str(found, at + VALUE)
}

/// An attempt from what `columns::tries` lists; none where there is none.
pub(super) fn attempt(found: &Row, at: usize) -> Result<Option<AttemptInfo>> {
    let Some(number) = optional(found, at)? else { return Ok(None) };
    let number = u32::try_from(number).unwrap_or(0);
    let id = Uuid::parse_str(row::str(found, at + 1)?)
        .map_err(|_| damaged("a task instance whose id is no UUID"))?;
    Ok(Some(AttemptInfo {
        number,
        id: AttemptId(id),
        try_number: number,
        state: airflow::state(optional_str(found, at + 2)?),
        started_at: moment(optional(found, at + 3)?.unwrap_or_default()),
        ended_at: optional(found, at + 4)?.map(moment),
    }))
}
