//! Counts of what would be refused.

use excom_core::db::RefusalCount;

use super::Tables;
use super::connection::{Connection, named};
use super::failure::Failure;
use super::row;
use super::write::step;

/// A count by its key, which is of texts that are too long for an index.
const NOTE: &str = "INSERT INTO excom_refusal (digest, rule, dag, task, target, count, first, last)
    VALUES (UNHEX(SHA2(CONCAT_WS(CHAR(0), :rule, :dag, :task, :target), 256)), :rule, :dag, :task, :target, :count,
            :first, :last)
    ON DUPLICATE KEY UPDATE count = count + VALUES(count), first = LEAST(first, VALUES(first)),
        last = GREATEST(last, VALUES(last))";

/// There are few: one for each rule and pair of tasks.
const NEWEST: &str = "SELECT rule, dag, task, target, count, first, last FROM excom_refusal
    ORDER BY last DESC, rule, dag, task, target LIMIT :limit";

impl Connection {
    /// In one order for all who write.
    async fn note_refusals(&mut self, refusals: &[&RefusalCount]) -> Result<(), Failure> {
        for refusal in refusals {
            let row = named! {
                "rule" => &*refusal.rule,
                "dag" => &*refusal.dag_id,
                "task" => &*refusal.task_id,
                "target" => &*refusal.target,
                "count" => refusal.count,
                "first" => refusal.first.as_millisecond(),
                "last" => refusal.last.as_millisecond(),
            };
            self.change(NOTE, row).await?;
        }
        Ok(())
    }
}

impl Tables {
    pub(super) async fn note_refusals(&self, refusals: &[RefusalCount]) -> Result<(), Failure> {
        let mut refusals: Vec<&RefusalCount> = refusals.iter().collect();
        refusals.sort_unstable_by_key(|row| (&row.rule, &row.dag_id, &row.task_id, &row.target));
        let refusals = &refusals[..];
        step!(self, write, connection.note_refusals(refusals)).await
    }

    pub(super) async fn refusals(&self, limit: u32) -> Result<Vec<RefusalCount>, Failure> {
        self.rows(NEWEST, named! { "limit" => limit }, |found| {
            Ok(RefusalCount {
                rule: row::text(found, 0)?,
                dag_id: row::text(found, 1)?,
                task_id: row::text(found, 2)?,
                target: row::str(found, 3)?.to_owned(),
                count: row::count(found, 4)?,
                first: row::time(found, 5)?,
                last: row::time(found, 6)?,
            })
        })
        .await
    }
}
