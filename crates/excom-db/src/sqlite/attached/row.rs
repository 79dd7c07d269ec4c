//! Rows as nouns: what Airflow's row and ours beside it say together, and how a value and a time lie in Airflow's.

use excom_core::attempt::{AttemptId, AttemptInfo};
use excom_core::entry::{Entry, EntryInfo, Stored, Version, Writer};
use excom_core::value::ContentHash;
use excom_core::{Shape, Value, XComKey};
use jiff::Timestamp;
use rusqlite::Row;
use uuid::Uuid;

use super::super::failure::{Failure, damaged};
use super::super::read::View;
use super::super::row;
use crate::airflow::{self, JSONB};

type Result<T> = std::result::Result<T, Failure>;

/// Where the time of Airflow's row is, and its value.
const TIME: usize = 8;
const VALUE: usize = 9;

/// An entry from what `columns::entry` lists.
pub(super) fn entry(view: &View<'_>, found: &Row<'_>, at: usize) -> Result<Entry> {
    match found.get::<_, Option<i64>>(at + 6)? {
        None => outside(version_outside(found, at)?, &found.get::<_, String>(at + VALUE)?),
        Some(codec) if codec == i64::from(JSONB) => {
            let shape = row::shape(found.get(at + 4)?)?;
            let text: String = found.get(at + VALUE)?;
            Ok(Entry {
                version: row::version(found.get(at)?)?,
                writer: row::writer(found.get_ref(at + 1)?)?,
                size: found.get::<_, i64>(at + 2)? as u64,
                hash: ContentHash(found.get::<_, i64>(at + 3)?.cast_unsigned()),
                shape,
                secret: found.get::<_, String>(at + 5)?.is_empty(),
                stored: Stored::Inline(Value::trusted(text.into(), shape)),
            })
        }
        Some(_) => row::entry(view, found, at),
    }
}

/// What lists show, from what `columns::info` lists.
pub(super) fn info(found: &Row<'_>, at: usize, key: XComKey) -> Result<EntryInfo> {
    if let Some(codec) = found.get::<_, Option<i64>>(at + 6)? {
        return row::info(found, at, key, codec == 2);
    }
    let entry = outside(version_outside(found, at)?, &found.get::<_, String>(at + VALUE)?)?;
    let Entry { version, writer, size, hash, shape, secret, stored } = entry;
    let (preview, offloaded) = match &stored {
        Stored::Inline(value) => (value.preview(), false),
        Stored::Offloaded(_) => ("…".to_owned(), true),
    };
    Ok(EntryInfo { key, version, writer, size, hash, shape, secret, preview, offloaded })
}

/// An entry that something else wrote.
fn outside(version: Version, text: &str) -> Result<Entry> {
    airflow::outside(version, Some(text)).or_else(|_| Ok(damage(version, text)))
}

/// What is no JSON, such as NaN, which Airflow's column takes: a checksum that is not its own tells whoever reads it, so
/// one such value is an answer and not the failure of a whole pull.
pub(super) fn damage(version: Version, text: &str) -> Entry {
    let hash = ContentHash(!ContentHash::of(text.as_bytes()).0);
    let stored = Stored::Inline(Value::trusted(text.to_owned().into(), Shape::Null));
    Entry {
        version,
        writer: Writer::Outside,
        size: text.len() as u64,
        hash,
        shape: Shape::Null,
        secret: false,
        stored,
    }
}

/// The version of a row that something else wrote.
fn version_outside(found: &Row<'_>, at: usize) -> Result<Version> {
    written(found.get::<_, Option<i64>>(at + TIME)?.unwrap_or(0))
}

/// The version of what something else wrote at a time in microseconds.
pub(super) fn written(micros: i64) -> Result<Version> {
    Ok(airflow::written(micros).ok_or_else(|| damaged("an entry with a time that is none"))?)
}

/// An attempt from what `columns::TRIES` lists.
pub(super) fn attempt(found: &Row<'_>) -> Result<AttemptInfo> {
    let number = u32::try_from(found.get::<_, i64>(0)?).unwrap_or(0);
    let id = Uuid::parse_str(&found.get::<_, String>(1)?)
        .map_err(|_| damaged("a task instance whose id is no UUID"))?;
    Ok(AttemptInfo {
        number,
        id: AttemptId(id),
        try_number: number,
        state: airflow::state(found.get::<_, Option<String>>(2)?.as_deref()),
        started_at: row::time(found.get(3)?),
        ended_at: found.get::<_, Option<i64>>(4)?.map(row::time),
    })
}

/// A time in microseconds as Airflow's columns hold it.
pub(super) fn moment(micros: i64) -> String {
    let time = Timestamp::from_microsecond(micros).unwrap_or(Timestamp::UNIX_EPOCH);
    time.strftime("%Y-%m-%d %H:%M:%S%.6f").to_string()
}

/// Whether Airflow's column gives a text back as it is: it makes numbers of what looks like one, of 64 bits.
pub(super) fn is_kept(text: &[u8]) -> bool {
    let looks_like_one = matches!(text.trim_ascii().first(), Some(b'-' | b'0'..=b'9'));
    let same = |text: &str| text.parse::<i64>().is_ok_and(|number| number.to_string() == text);
    !looks_like_one || std::str::from_utf8(text).is_ok_and(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_column_changes_is_known() {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE t (value JSON)").unwrap();
        let back = |text: &str| -> String {
            connection.execute("INSERT INTO t VALUES (?1)", [text]).unwrap();
            connection.query_row("DELETE FROM t RETURNING CAST(value AS TEXT)", [], |row| row.get(0)).unwrap()
        };
        for kept in ["0", "-1", "9223372036854775807", "\"5\"", "[1.0, 2]", " {\"a\": 1e3}", "null", "true"] {
            assert!(is_kept(kept.as_bytes()) && back(kept) == kept, "{kept}");
        }
        for changed in ["1.0", "-0", "-0.0", "1e3", " 1", "1 ", "9223372036854775808", "0.1000"] {
            assert!(!is_kept(changed.as_bytes()) && back(changed) != changed, "{changed}");
        }
    }

    #[test]
    fn times_are_written_as_airflow_does() {
        assert_eq!(moment(1_767_225_600_000_001), "2026-01-01 00:00:00.000001");
        assert_eq!(moment(1_767_225_599_900_000), "2025-12-31 23:59:59.900000");
    }
}
