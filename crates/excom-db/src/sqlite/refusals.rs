//! Counts of what would be refused.

use excom_core::db::RefusalCount;
use rusqlite::params;

use super::failure::Failure;
use super::read::View;
use super::row;
use super::writer::Transaction;

type Result<T> = std::result::Result<T, Failure>;

impl Transaction<'_> {
    pub(super) fn note_refusals(&self, refusals: &[RefusalCount]) -> Result<()> {
        for row in refusals {
            self.execute(
                "INSERT INTO excom_refusal VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT DO UPDATE SET count = count + excluded.count,
                     first = min(first, excluded.first), last = max(last, excluded.last)",
                params![
                    &*row.rule,
                    &*row.dag_id,
                    &*row.task_id,
                    row.target,
                    row.count as i64,
                    row.first.as_millisecond(),
                    row.last.as_millisecond(),
                ],
            )?;
        }
        Ok(())
    }
}

impl View<'_> {
    pub(super) fn refusals(&self, limit: u32) -> Result<Vec<RefusalCount>> {
        self.rows(
            "SELECT rule, dag, task, target, count, first, last FROM excom_refusal
             ORDER BY last DESC, rule, dag, task, target LIMIT ?1",
            [limit],
            |found| {
                Ok(RefusalCount {
                    rule: row::text(found, 0)?,
                    dag_id: row::text(found, 1)?,
                    task_id: row::text(found, 2)?,
                    target: found.get(3)?,
                    count: found.get::<_, i64>(4)? as u64,
                    first: row::time(found.get(5)?),
                    last: row::time(found.get(6)?),
                })
            },
        )
    }
}
