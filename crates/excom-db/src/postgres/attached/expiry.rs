//! Retention of what Excom wrote, and the look for what others removed. Rows that others wrote are theirs to clean, unless
//! rules say that they catch those too.

use std::time::Duration;

use excom_core::db::{Cutoffs, Due, Place, Removed, Rule, Scan};
use jiff::Timestamp;

use super::super::connection::{Parameter, Statement, types};
use super::super::expiry::told;
use super::super::failure::Failure;
use super::super::row::{key, version};
use super::Tables;

type Result<T> = std::result::Result<T, Failure>;

/// How often the whole ledger is read for rows past their time, and all entries for what others removed.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);

/// How many rows that something else wrote go in one step.
const STEP: usize = 1000;

/// A page of entries by the index of their ids; what the rules catch of it; and, in each row, how long the page was and
/// where it ended.
const DUE: Statement<'_> = Statement {
    sql: "WITH page AS MATERIALIZED (SELECT id FROM excom.extra WHERE id > $3 ORDER BY id LIMIT $4),
          whole AS (SELECT count(*) AS length, max(id) AS last, array_agg(id) AS ids FROM page)
          SELECT m.dag_id, m.run_id, m.task_id, m.map_index, m.key, m.version, m.size, c.rule, whole.length, whole.last
          FROM whole LEFT JOIN LATERAL excom.caught($1, $2, whole.ids) c ON true
               LEFT JOIN excom.extra m ON m.id = c.id
          ORDER BY m.id",
    types: types![INT2_ARRAY, INT8_ARRAY, INT8, INT8],
};

/// A page of Airflow's rows by their key, of the next runs: whole runs, so that a run's number says where it ended. What
/// the rules catch of it that something else wrote; and, in each row, how long the page was and where it ended.
const DUE_OUTSIDE: Statement<'_> = Statement {
    sql: "WITH page AS MATERIALIZED (
              SELECT dag_run_id, task_id::text, map_index, key::text FROM xcom WHERE dag_run_id > $3
              ORDER BY dag_run_id FETCH FIRST ($4) ROWS WITH TIES),
          whole AS (
              SELECT count(*) AS length, max(dag_run_id)::int8 AS last, array_agg(dag_run_id) AS runs,
                  array_agg(task_id) AS tasks, array_agg(map_index) AS maps, array_agg(key) AS keys
              FROM page),
          due AS (
              SELECT x.dag_run_id, x.dag_id::text, x.run_id::text, x.task_id::text, x.map_index, x.key::text,
                  excom.version_of(x.timestamp) AS version, pg_column_size(x.value)::int8 AS size, c.rule
              FROM whole CROSS JOIN LATERAL
                   excom.caught_among($1, $2, whole.runs, whole.tasks, whole.maps, whole.keys) c
                   JOIN xcom x ON x.dag_run_id = c.dag_run_id AND x.task_id = c.task_id AND x.map_index = c.map_index
                        AND x.key = c.key
              WHERE c.id IS NULL)
          SELECT d.dag_id, d.run_id, d.task_id, d.map_index, d.key, d.version, coalesce(d.size, 0), d.rule,
              whole.length, whole.last
          FROM whole LEFT JOIN due d ON true ORDER BY d.dag_run_id, d.task_id, d.map_index, d.key",
    types: types![INT2_ARRAY, INT8_ARRAY, INT8, INT8],
};

/// Entries by their keys, and what rules ask about them.
macro_rules! expire {
    ($function:literal) => {
        Statement {
            sql: concat!(
                "SELECT entries, bytes FROM ",
                $function,
                "($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
            ),
            types: types![
                INT2_ARRAY, INT8_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, INT4_ARRAY,
                TEXT_ARRAY, INT8_ARRAY, INT8
            ],
        }
    };
}

const EXPIRE: Statement<'_> = expire!("excom.expire");

const EXPIRE_OUTSIDE: Statement<'_> = expire!("excom.expire_outside");

/// Bytes of versions that ended long ago go, the oldest first; what is known of them stays.
const STRIP: Statement<'_> = Statement {
    sql: "WITH old AS MATERIALIZED (
              SELECT ctid AS place, version, dag_id, run_id, task_id, map_index, key, size, codec, body
              FROM excom.history
              WHERE ended_at < $1 AND codec >= 0 ORDER BY ended_at LIMIT $3 FOR UPDATE SKIP LOCKED),
          loose AS (
              INSERT INTO excom.loose_object (version, dag_id, run_id, task_id, map_index, key, store, since, purge)
              SELECT version, dag_id, run_id, task_id, map_index, key, excom.reference(codec, body, 'store'), $2, true
              FROM old WHERE codec = 2
              ON CONFLICT (version, dag_id, run_id, task_id, map_index, key) DO UPDATE
                  SET store = excluded.store, since = excluded.since, purge = true),
          stripped AS (
              UPDATE excom.history h SET codec = -1, body = '', value = NULL FROM old WHERE h.ctid = old.place)
          SELECT count(*), coalesce(sum(size), 0)::int8 FROM old",
    types: types![INT8, INT8, INT8],
};

/// Versions without bytes that ended long ago are forgotten, the oldest first.
const FORGET: Statement<'_> = Statement {
    sql: "DELETE FROM excom.history WHERE ctid = ANY (ARRAY(
              SELECT ctid FROM excom.history WHERE ended_at < $1 AND codec < 0 ORDER BY ended_at LIMIT $2))
          RETURNING 1",
    types: types![INT8, INT8],
};

/// The ledger has no index on time, so this reads all of it: once an hour, whichever process comes. Versions of DAGs
/// are few.
const SWEEP: Statement<'_> = Statement {
    sql: "WITH counts AS (DELETE FROM excom.refusal WHERE last < $1 RETURNING 1),
          reads AS (DELETE FROM excom.ledger WHERE last < $1 RETURNING 1),
          dags AS (DELETE FROM excom.expansion e
                   WHERE NOT EXISTS (SELECT FROM serialized_dag s WHERE s.dag_hash = e.dag_hash))
          SELECT (SELECT count(*) FROM counts) + (SELECT count(*) FROM reads)",
    types: types![INT8],
};

/// All entries of ours are looked at.
const FORGET_REMOVED: Statement<'_> =
    Statement { sql: "SELECT excom.forget_removed($1)", types: types![INT8] };

impl Tables {
    /// What Excom wrote first, in the order of its ids; where rules say so, then what something else wrote, run by run.
    pub(super) async fn due(
        &self,
        rules: &[Rule],
        dag_id: Option<&str>,
        after: Option<Place>,
        limit: u32,
    ) -> Result<Scan<Due>> {
        let Place { past: outside, row: behind } = after.unwrap_or(Place { past: false, row: 0 });
        // The places of the rules that are asked about.
        let asked: Vec<usize> = (0..rules.len()).filter(|place| !outside || rules[*place].outside).collect();
        let (kinds, bounds) = told(&asked.iter().map(|place| rules[*place].clone()).collect::<Vec<_>>());
        let wanted = i64::from(limit);
        let parameters: [Parameter<'_>; 4] = [&kinds, &bounds, &behind, &wanted];
        let mut page: Option<(i64, Option<i64>)> = None;
        let due = self.own.rows(if outside { &DUE_OUTSIDE } else { &DUE }, &parameters, |found| {
            page = Some((found.try_get(8)?, found.try_get(9)?));
            let Some(rule) = found.try_get::<_, Option<i64>>(7)? else { return Ok(None) };
            Ok(Some(Due {
                key: key(found)?,
                version: version(found.try_get(5)?)?,
                size: found.try_get::<_, i64>(6)? as u64,
                rule: asked[rule as usize - 1],
            }))
        });
        let due = due.await?.into_iter().flatten();
        let due = due.filter(|due| dag_id.is_none_or(|dag_id| *due.key.ti.dag_id == *dag_id)).collect();
        let next = match page {
            Some((length, Some(last))) if length >= limit.into() => Some(Place { past: outside, row: last }),
            _ if !outside && rules.iter().any(|rule| rule.outside) => Some(Place { past: true, row: 0 }),
            _ => None,
        };
        Ok(Scan { items: due, next })
    }

    pub(super) async fn expire(&self, rules: &[Rule], due: &[Due], at: Timestamp) -> Result<Removed> {
        let mut removed = self.expire_by(&EXPIRE, rules, due, at).await?;
        let outside: Vec<Rule> = rules.iter().filter(|rule| rule.outside).cloned().collect();
        // A page of whole runs may be long; a step is short.
        for due in due.chunks(STEP).filter(|_| !outside.is_empty()) {
            removed.add(self.expire_by(&EXPIRE_OUTSIDE, &outside, due, at).await?);
        }
        Ok(removed)
    }

    async fn expire_by(
        &self,
        statement: &Statement<'_>,
        rules: &[Rule],
        due: &[Due],
        at: Timestamp,
    ) -> Result<Removed> {
        let (kinds, bounds) = told(rules);
        let rule_texts: Vec<&str> = rules.iter().map(|rule| &*rule.text).collect();
        let texts = |of: fn(&Due) -> &str| due.iter().map(of).collect::<Vec<_>>();
        let maps: Vec<i32> = due.iter().map(|due| due.key.ti.map_index).collect();
        let versions: Vec<i64> = due.iter().map(|due| due.version.to_code()).collect();
        let parameters: [Parameter<'_>; 10] = [
            &kinds,
            &bounds,
            &rule_texts,
            &texts(|due| &due.key.ti.dag_id),
            &texts(|due| &due.key.ti.run_id),
            &texts(|due| &due.key.ti.task_id),
            &maps,
            &texts(|due| &due.key.key),
            &versions,
            &at.as_millisecond(),
        ];
        let rows = self.own.connections.write(statement, &parameters).await?;
        Ok(Removed {
            entries: rows[0].try_get::<_, i64>(0)? as u64,
            bytes: rows[0].try_get::<_, i64>(1)? as u64,
            ..Removed::default()
        })
    }

    /// Its parts are steps of their own: what one has done stays done when the next fails. Runs are Airflow's.
    pub(super) async fn retain(&self, cutoffs: &Cutoffs) -> Result<Removed> {
        let at = cutoffs.at.as_millisecond();
        let limit = i64::from(cutoffs.limit);
        let mut removed = Removed::default();
        let before = cutoffs.past_bytes.as_millisecond();
        for row in self.own.connections.write(&STRIP, &[&before, &at, &limit]).await? {
            removed.past_bytes = row.try_get::<_, i64>(0)? as u64;
            removed.bytes = row.try_get::<_, i64>(1)? as u64;
        }
        let before = cutoffs.past_entries.as_millisecond();
        removed.past_entries = self.own.connections.write(&FORGET, &[&before, &limit]).await?.len() as u64;
        if self.own.take_turn("swept", cutoffs.at, SWEEP_EVERY).await? {
            let before = cutoffs.reads.as_millisecond();
            for row in self.own.connections.write(&SWEEP, &[&before]).await? {
                removed.reads = row.try_get::<_, i64>(0)? as u64;
            }
            self.own.connections.write(&FORGET_REMOVED, &[&at]).await?;
        }
        Ok(removed)
    }
}
