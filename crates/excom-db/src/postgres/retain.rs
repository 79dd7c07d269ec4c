//! One step of retention, of all but entries. Indexes in order of time find what is old.
//!
//! Tables are not cut into partitions that could be dropped whole. PostgreSQL 15 locks and prepares every partition for each
//! statement whose run it does not know when it is planned: the pull of one entry is done 44,000 times a second from one
//! table, 32,000 times from four partitions, 12,000 times from sixteen (pgbench, 16 clients, two processors). Nor would
//! dropping one be all there is to do: each entry that expires is remembered with the rule that it went by, and rules also ask
//! about runs, newer runs and reads. Instead a step removes a thousand rows at most, holds locks of their runs alone, and the
//! tables are vacuumed so early that new rows take the space of those that went: the tables stop growing, though they do
//! not shrink. What expired by its age, which is most, shares a row of history with others of its run.

use std::time::Duration;

use excom_core::db::{Cutoffs, Removed};
use jiff::Timestamp;

use super::Tables;
use super::connection::{Statement, types};
use super::failure::Failure;

type Result<T> = std::result::Result<T, Failure>;

/// How often the whole ledger is read for rows past their time.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);

/// Bytes of versions that ended long ago go, the oldest first; what is known of them stays.
const STRIP: Statement<'_> = Statement {
    sql: "WITH old AS MATERIALIZED (
              SELECT ctid AS place, version, run, task, key, map_index, size, codec, body FROM excom.history
              WHERE ended_at < $1 AND codec >= 0 ORDER BY ended_at LIMIT $3 FOR UPDATE SKIP LOCKED),
          loose AS (
              INSERT INTO excom.loose_object (version, run, task, key, map_index, store, since, purge)
              SELECT version, run, task, key, map_index, excom.reference(codec, body, 'store'), $2, true
              FROM old WHERE codec = 2
              ON CONFLICT (version, run, task, key, map_index) DO UPDATE
                  SET store = excluded.store, since = excluded.since, purge = true),
          stripped AS (UPDATE excom.history h SET codec = -1, body = '' FROM old WHERE h.ctid = old.place)
          SELECT count(*), coalesce(sum(size), 0)::int8 FROM old",
    types: types![INT8, INT8, INT8],
};

/// Versions without bytes that ended long ago are forgotten, the oldest first: so many rows, of one or of many.
const FORGET: Statement<'_> = Statement {
    sql: "WITH single AS (
              DELETE FROM excom.history WHERE ctid = ANY (ARRAY(
                  SELECT ctid FROM excom.history WHERE ended_at < $1 AND codec < 0 ORDER BY ended_at LIMIT $2))
              RETURNING 1),
          shared AS (
              DELETE FROM excom.expired WHERE ctid = ANY (ARRAY(
                  SELECT ctid FROM excom.expired WHERE ended_at < $1 ORDER BY ended_at LIMIT $2))
              RETURNING cardinality(versions) AS count)
          SELECT (SELECT count(*) FROM single) + (SELECT coalesce(sum(count), 0)::int8 FROM shared)",
    types: types![INT8, INT8],
};

/// The ledger has no index on time, so this reads all of it: once an hour, whichever process comes. An asset of which an event
/// is just being noted stays.
const SWEEP: Statement<'_> = Statement {
    sql:
        "WITH counts AS (DELETE FROM excom.refusal WHERE last < $1 RETURNING 1),
          reads AS (DELETE FROM excom.ledger WHERE last < $1 RETURNING 1),
          events AS (DELETE FROM excom.asset_event WHERE at < $1 RETURNING 1),
          aliases AS (DELETE FROM excom.asset_alias WHERE at < $1),
          assets AS (DELETE FROM excom.asset WHERE id = ANY (ARRAY(
              SELECT id FROM excom.asset WHERE seen < $1 FOR UPDATE SKIP LOCKED)))
          SELECT (SELECT count(*) FROM counts) + (SELECT count(*) FROM reads) + (SELECT count(*) FROM events)",
    types: types![INT8],
};

/// Old runs that hold nothing: runs are looked at, then what each may hold, by its run.
const DROP_RUNS: Statement<'_> =
    Statement { sql: "SELECT excom.drop_runs($1, $2)", types: types![INT8, INT8] };

/// One mark by its name.
const TAKE_TURN: Statement<'_> = Statement {
    sql: "INSERT INTO excom.mark AS m (name, value) VALUES ($1, $2::int8::text)
          ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE m.value::int8 <= $2 - $3 RETURNING true",
    types: types![TEXT, INT8, INT8],
};

impl Tables {
    /// Its parts are steps of their own: what one has done stays done when the next fails.
    pub(super) async fn retain(&self, cutoffs: &Cutoffs) -> Result<Removed> {
        let at = cutoffs.at.as_millisecond();
        let limit = i64::from(cutoffs.limit);
        let mut removed = Removed::default();
        let before = cutoffs.past_bytes.as_millisecond();
        for row in self.connections.write(&STRIP, &[&before, &at, &limit]).await? {
            removed.past_bytes = row.try_get::<_, i64>(0)? as u64;
            removed.bytes = row.try_get::<_, i64>(1)? as u64;
        }
        let before = cutoffs.past_entries.as_millisecond();
        for row in self.connections.write(&FORGET, &[&before, &limit]).await? {
            removed.past_entries = row.try_get::<_, i64>(0)? as u64;
        }
        if self.take_turn("ledger_swept", cutoffs.at, SWEEP_EVERY).await? {
            let before = cutoffs.reads.as_millisecond();
            for row in self.connections.write(&SWEEP, &[&before]).await? {
                removed.reads = row.try_get::<_, i64>(0)? as u64;
            }
        }
        if let Some(before) = cutoffs.runs {
            let before = before.as_millisecond();
            for row in self.connections.write(&DROP_RUNS, &[&before, &limit]).await? {
                removed.runs = row.try_get::<_, i64>(0)? as u64;
            }
        }
        Ok(removed)
    }

    pub(super) async fn take_turn(&self, name: &str, at: Timestamp, every: Duration) -> Result<bool> {
        let every = i64::try_from(every.as_millis()).unwrap_or(i64::MAX);
        let taken = self.connections.write(&TAKE_TURN, &[&name, &at.as_millisecond(), &every]).await?;
        Ok(!taken.is_empty())
    }
}
