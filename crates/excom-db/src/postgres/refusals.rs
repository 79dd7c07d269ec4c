//! Counts of what would be refused.

use excom_core::db::RefusalCount;

use super::Tables;
use super::connection::{Parameter, Statement, types};
use super::failure::Failure;
use super::row;

/// Counts by their keys, in one order for all who write.
const NOTE: Statement<'_> = Statement {
    sql: "INSERT INTO excom.refusal AS r (rule, dag, task, target, count, first, last)
          SELECT rule, dag, task, target, sum(count)::int8, min(first), max(last)
          FROM unnest($1, $2, $3, $4, $5, $6, $7) AS a (rule, dag, task, target, count, first, last)
          GROUP BY rule, dag, task, target ORDER BY rule, dag, task, target
          ON CONFLICT (rule, dag, task, target) DO UPDATE SET count = r.count + excluded.count,
              first = least(r.first, excluded.first), last = greatest(r.last, excluded.last)",
    types: types![TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, INT8_ARRAY, INT8_ARRAY, INT8_ARRAY],
};

/// There are few: one for each rule and pair of tasks.
const NEWEST: Statement<'_> = Statement {
    sql: "SELECT rule, dag, task, target, count, first, last FROM excom.refusal
          ORDER BY last DESC, rule, dag, task, target LIMIT $1",
    types: types![INT8],
};

impl Tables {
    pub(super) async fn note_refusals(&self, refusals: &[RefusalCount]) -> Result<(), Failure> {
        let texts = |of: fn(&RefusalCount) -> &str| refusals.iter().map(of).collect::<Vec<_>>();
        let numbers = |of: fn(&RefusalCount) -> i64| refusals.iter().map(of).collect::<Vec<_>>();
        let parameters: [Parameter<'_>; 7] = [
            &texts(|row| &row.rule),
            &texts(|row| &row.dag_id),
            &texts(|row| &row.task_id),
            &texts(|row| &row.target),
            &numbers(|row| row.count as i64),
            &numbers(|row| row.first.as_millisecond()),
            &numbers(|row| row.last.as_millisecond()),
        ];
        self.connections.write(&NOTE, &parameters).await.map(drop)
    }

    pub(super) async fn refusals(&self, limit: u32) -> Result<Vec<RefusalCount>, Failure> {
        self.rows(&NEWEST, &[&i64::from(limit)], |found| {
            Ok(RefusalCount {
                rule: row::text(found, 0)?,
                dag_id: row::text(found, 1)?,
                task_id: row::text(found, 2)?,
                target: found.try_get(3)?,
                count: found.try_get::<_, i64>(4)? as u64,
                first: row::time(found.try_get(5)?),
                last: row::time(found.try_get(6)?),
            })
        })
        .await
    }
}
