//! The ledger: who read what, and what an attempt pushed.

use excom_core::attempt::{Attempt, Caller};
use excom_core::db::{LedgerRow, ReadTarget, Reads};
use excom_core::entry::EntryInfo;
use excom_core::{SequenceKey, TaskInstanceKey, UNMAPPED, XComKey};
use jiff::Timestamp;
use rusqlite::types::Value as Sql;
use rusqlite::{OptionalExtension, Row, params};

use super::failure::Failure;
use super::read::View;
use super::row;
use super::write::{Ti, Xcom};
use super::writer::Transaction;
use crate::ledger::{WHOLE, told};

type Result<T> = std::result::Result<T, Failure>;

/// The first columns of the statements that read rows: what [`ledger_row`] needs.
const ROW: &str = "l.map_index, l.version, l.reader_attempt, l.count, l.first, l.last";

impl View<'_> {
    pub(super) fn readers(&self, key: &XComKey) -> Result<Vec<LedgerRow>> {
        let Some((run, task, name)) = self.numbers(&key.sequence())? else { return Ok(Vec::new()) };
        let whole = if key.ti.is_mapped() { WHOLE } else { key.ti.map_index };
        let sql = format!(
            "SELECT {ROW}, l.reader, l.reader_map, d.text, r.run_id, t.text
             FROM excom_ledger l LEFT JOIN excom_dag_run r ON r.id = l.reader_run LEFT JOIN excom_name d ON d.id = r.dag
                  LEFT JOIN excom_name t ON t.id = l.reader AND l.reader_run > 0
             WHERE run = ?1 AND task = ?2 AND key = ?3 AND map_index IN (?4, ?5)
             ORDER BY first, reader"
        );
        self.rows(&sql, (run, task, name, key.ti.map_index, whole), |found| {
            let (reader, task) = reader(found)?;
            ledger_row(found, key.clone(), reader, task)
        })
    }

    pub(super) fn reads_of(&self, ti: &TaskInstanceKey) -> Result<Vec<LedgerRow>> {
        let Some((run, task)) = self.task(ti)? else { return Ok(Vec::new()) };
        self.rows(&reads_of(), (run, task, ti.map_index), |found| {
            let (dag, run) = (row::text(found, 6)?, row::text(found, 7)?);
            let map_index = found.get::<_, i32>(0)?.max(UNMAPPED);
            let key = XComKey::new(dag, run, row::text(found, 8)?, map_index, row::text(found, 9)?)?;
            ledger_row(found, key, told(ti), Some(ti.clone()))
        })
    }

    pub(super) fn pushed_by(&self, ti: &TaskInstanceKey, number: u32) -> Result<Vec<EntryInfo>> {
        let Some((run, task)) = self.task(ti)? else { return Ok(Vec::new()) };
        let current = of_task_instance("excom_entry", &format!("e.key, {}, codec = 2 AS away", row::INFO));
        let past = of_task_instance("excom_history", &format!("e.key, {}, offloaded", row::INFO));
        let sql = format!(
            "SELECT k.text, {}, away FROM (SELECT * FROM ({current}) UNION ALL SELECT * FROM ({past})) e
             JOIN excom_name k ON k.id = e.key WHERE writer = ?4 ORDER BY version, k.text",
            row::INFO
        );
        self.rows(&sql, (run, task, ti.map_index, number), |found| {
            row::info(found, 1, ti.xcom(row::text(found, 0)?)?, found.get(7)?)
        })
    }
}

/// The statement of [`View::reads_of`]: reads in the reader's own run are found by the run, others by an index.
fn reads_of() -> String {
    // The second part repeats the condition of the index that it is meant to use.
    format!(
        "SELECT {ROW}, d.text, r.run_id, t.text, k.text FROM (
             SELECT * FROM excom_ledger WHERE run = ?1 AND reader_run = ?1 AND reader = ?2 AND reader_map = ?3
             UNION ALL
             SELECT * FROM excom_ledger WHERE reader_run = ?1 AND reader = ?2 AND reader_map = ?3
             AND reader_run <> run AND reader_run > 0) l
         JOIN excom_dag_run r ON r.id = l.run JOIN excom_name d ON d.id = r.dag
         JOIN excom_name t ON t.id = l.task JOIN excom_name k ON k.id = l.key
         ORDER BY l.first, d.text, r.run_id, t.text, k.text, l.map_index, l.version"
    )
}

/// The rows of one task instance (`?1`, `?2`, `?3`) in a table that is in order of key before map index:
/// a look for each key that the task has, instead of one at each of its map indexes.
pub(super) fn of_task_instance(table: &str, columns: &str) -> String {
    format!(
        "WITH RECURSIVE own (key) AS (
             SELECT min(key) FROM {table} WHERE run = ?1 AND task = ?2
             UNION ALL
             SELECT (SELECT min(key) FROM {table} WHERE run = ?1 AND task = ?2 AND key > own.key)
             FROM own WHERE own.key IS NOT NULL)
         SELECT {columns} FROM own CROSS JOIN {table} e
         WHERE e.run = ?1 AND e.task = ?2 AND e.key = own.key AND e.map_index = ?3"
    )
}

impl Transaction<'_> {
    /// Notes reads; the number of each reading attempt is found out.
    pub(super) fn note_reads(
        &self,
        reads: &[Reads],
        number_of: impl Fn(Ti, &Attempt) -> Result<u32>,
    ) -> Result<()> {
        // Most reads of a batch have one reader.
        let mut known: Option<(&Attempt, Ti, u32)> = None;
        for read in reads {
            let at = read.first;
            let (xcom, version) = match &read.target {
                ReadTarget::Entry(key, version) => (self.xcom(key, at)?, version.to_code()),
                ReadTarget::Sequence(key) => (self.whole(key, at)?, 0),
            };
            let (run, reader, map_index, number) = match &read.reader {
                Caller::Attempt(attempt) => {
                    let (ti, number) = match known {
                        Some((same, ti, number)) if same == attempt => (ti, number),
                        _ => {
                            let ti = self.ti(&attempt.ti, at)?;
                            (ti, number_of(ti, attempt)?)
                        }
                    };
                    known = Some((attempt, ti, number));
                    (ti.run, Sql::Integer(ti.task), ti.map_index, number)
                }
                other => (0, Sql::Text(other.to_string()), -1, 0),
            };
            self.execute(
                "INSERT INTO excom_ledger VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12 - ?11)
                 ON CONFLICT DO UPDATE SET
                     count = count + excluded.count,
                     last = max(first + last, excluded.first + excluded.last) - min(first, excluded.first),
                     first = min(first, excluded.first)",
                params![
                    xcom.ti.run,
                    xcom.ti.task,
                    xcom.key,
                    i64::from(xcom.ti.map_index),
                    version,
                    run,
                    reader,
                    map_index,
                    number,
                    read.count as i64,
                    read.first.as_millisecond(),
                    read.last.as_millisecond(),
                ],
            )?;
        }
        Ok(())
    }

    fn whole(&self, key: &SequenceKey, at: Timestamp) -> Result<Xcom> {
        let mut xcom = self.xcom(&key.at(-1), at)?;
        xcom.ti.map_index = WHOLE;
        Ok(xcom)
    }

    /// The number of an attempt, current or superseded; 0 when it never started.
    pub(super) fn number_of(&self, ti: Ti, attempt: &Attempt) -> Result<u32> {
        Ok(self
            .connection
            .prepare_cached(
                "SELECT number FROM excom_task_instance
                 WHERE run = ?1 AND task = ?2 AND map_index = ?3 AND attempt = ?4
                 UNION ALL
                 SELECT number FROM excom_attempt
                 WHERE run = ?1 AND task = ?2 AND map_index = ?3 AND attempt = ?4",
            )?
            .query_row((ti.run, ti.task, ti.map_index, attempt.id.0), |row| row.get(0))
            .optional()?
            .unwrap_or(0))
    }
}

/// Who read, by the columns behind [`ROW`].
fn reader(found: &Row<'_>) -> Result<(String, Option<TaskInstanceKey>)> {
    if let Some(task) = found.get::<_, Option<String>>(10)? {
        let ti = TaskInstanceKey::new(row::text(found, 8)?, row::text(found, 9)?, task, found.get(7)?)?;
        return Ok((told(&ti), Some(ti)));
    }
    match found.get(6)? {
        Sql::Text(name) => Ok((name, None)),
        // The reading run is gone.
        _ => Ok(("task (removed)".to_owned(), None)),
    }
}

fn ledger_row(
    found: &Row<'_>,
    key: XComKey,
    reader: String,
    task: Option<TaskInstanceKey>,
) -> Result<LedgerRow> {
    let target = if found.get::<_, i32>(0)? == WHOLE {
        ReadTarget::Sequence(key.sequence())
    } else {
        ReadTarget::Entry(key, row::version(found.get(1)?)?)
    };
    let number: u32 = found.get(2)?;
    let (first, last): (i64, i64) = (found.get(4)?, found.get(5)?);
    Ok(LedgerRow {
        reader,
        task,
        attempt: (number > 0).then_some(number),
        target,
        count: found.get::<_, i64>(3)? as u64,
        first: row::time(first),
        last: row::time(first + last),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How SQLite would look for the rows of a statement about run 1, task 2 and map index 3.
    fn plan(sql: &str) -> String {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        connection.execute_batch(&super::super::schema::MIGRATIONS.concat()).unwrap();
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let steps = statement.query_map((1, 2, 3), |row| row.get::<_, String>("detail")).unwrap();
        steps.map(|step| step.unwrap()).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn reads_are_found_by_run_and_index() {
        let plan = plan(&reads_of());
        assert!(plan.contains("SEARCH excom_ledger USING PRIMARY KEY (run=?)"), "{plan}");
        assert!(
            plan.contains("INDEX ledger_elsewhere (reader_run=? AND reader=? AND reader_map=?)"),
            "{plan}"
        );
        assert!(!plan.contains("SCAN excom_ledger"), "{plan}");
    }

    #[test]
    fn a_task_instance_is_found_key_by_key() {
        let plan = plan(&of_task_instance("excom_entry", "e.key"));
        let look = "INDEX entry_key (run=? AND task=? AND key=? AND map_index=?)";
        assert!(plan.contains(look) && !plan.contains("SCAN e"), "{plan}");
    }
}
