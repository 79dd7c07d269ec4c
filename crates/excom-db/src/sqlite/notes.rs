//! Notes of task instances: the statements that write and read them.

use excom_core::attempt::Attempt;
use excom_core::db::Note;
use excom_core::{TaskInstanceKey, Value};
use jiff::Timestamp;

use super::failure::Failure;
use super::read::View;
use super::row;
use super::write::Ti;
use super::writer::Transaction;

type Result<T> = std::result::Result<T, Failure>;

impl Transaction<'_> {
    pub(super) fn note(
        &self,
        attempt: &Attempt,
        name: &str,
        value: Option<&Value>,
        at: Timestamp,
    ) -> Result<()> {
        let number = self.fence(attempt)?.number;
        self.put_note(&attempt.ti, number, name, value, at)
    }

    pub(super) fn note_once(
        &self,
        attempt: &Attempt,
        name: &str,
        value: &Value,
        at: Timestamp,
    ) -> Result<Value> {
        let number = self.fence(attempt)?.number;
        self.put_first_note(&attempt.ti, number, name, value, at)
    }

    /// A note by the attempt of a number.
    pub(super) fn put_note(
        &self,
        ti: &TaskInstanceKey,
        number: u32,
        name: &str,
        value: Option<&Value>,
        at: Timestamp,
    ) -> Result<()> {
        let Ti { run, task, map_index } = self.ti(ti, at)?;
        match value {
            Some(value) => self.execute(
                "INSERT OR REPLACE INTO excom_note (run, task, map_index, name, number, value)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                (run, task, map_index, name, number, value.as_str()),
            ),
            None => self.execute(
                "DELETE FROM excom_note WHERE run = ?1 AND task = ?2 AND map_index = ?3 AND name = ?4",
                (run, task, map_index, name),
            ),
        }
        .map(drop)
    }

    /// The same, unless there is one by that attempt; returns the one that is there then.
    pub(super) fn put_first_note(
        &self,
        ti: &TaskInstanceKey,
        number: u32,
        name: &str,
        value: &Value,
        at: Timestamp,
    ) -> Result<Value> {
        let Ti { run, task, map_index } = self.ti(ti, at)?;
        let text: String = self
            .connection
            .prepare_cached(
                "INSERT INTO excom_note (run, task, map_index, name, number, value) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT DO UPDATE SET value = iif(number = excluded.number, value, excluded.value),
                     number = excluded.number
                 RETURNING value",
            )?
            .query_row((run, task, map_index, name, number, value.as_str()), |found| found.get(0))?;
        Ok(Value::parse(text)?)
    }
}

impl View<'_> {
    pub(super) fn notes(&self, ti: &TaskInstanceKey, prefix: &str, limit: u32) -> Result<Vec<Note>> {
        let Some((run, task)) = self.task(ti)? else { return Ok(Vec::new()) };
        self.rows(
            "SELECT name, number, value FROM excom_note
             WHERE run = ?1 AND task = ?2 AND map_index = ?3 AND name >= ?4 AND substr(name, 1, length(?4)) = ?4
             ORDER BY name LIMIT ?5",
            (run, task, ti.map_index, prefix, limit),
            |found| {
                Ok(Note {
                    name: row::text(found, 0)?,
                    number: found.get(1)?,
                    value: Value::parse(found.get::<_, String>(2)?)?,
                })
            },
        )
    }
}
