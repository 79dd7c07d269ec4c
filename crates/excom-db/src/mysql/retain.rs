//! One step of retention, of all but entries. Indexes in order of time find what is old.

use std::time::Duration;

use excom_core::db::{Cutoffs, Removed};
use jiff::Timestamp;

use super::Tables;
use super::connection::{Connection, named};
use super::failure::Failure;
use super::names::{Ti, Xcom};
use super::read::with;
use super::row;
use super::write::step;

type Result<T> = std::result::Result<T, Failure>;

/// How often the whole ledger is read for rows past their time.
pub(super) const SWEEP_EVERY: Duration = Duration::from_secs(3600);

/// Versions with bytes that ended long ago, the oldest first. One that is just being moved is left to it.
const OLD_BYTES: &str =
    "SELECT id, run, task, xcom_key, map_index, version, size, CASE WHEN codec = 2 THEN body END
    FROM excom_history WHERE stripped = 0 AND ended_at < :before ORDER BY ended_at LIMIT :limit
    FOR UPDATE SKIP LOCKED";

/// Their bytes go; what is known of them stays.
const STRIP: &str = "UPDATE JSON_TABLE(:ids, '$[*]' COLUMNS (id BIGINT PATH '$')) a
        JOIN excom_history h ON h.id = a.id
    SET h.codec = -1, h.body = ''";

/// Versions without bytes that ended long ago are forgotten, the oldest first.
const FORGET: &str =
    "DELETE FROM excom_history WHERE stripped = 1 AND ended_at < :before ORDER BY ended_at LIMIT :limit";

/// The ledger has no index on time, so this reads all of it: once an hour, whichever process comes.
const SWEEP: [&str; 2] =
    ["DELETE FROM excom_refusal WHERE last < :before", "DELETE FROM excom_ledger WHERE last < :before"];

/// Whether a run is old and holds nothing. One that was killed stays running, but starts nothing more.
macro_rules! spent {
    () => {
        "SELECT r.id FROM excom_dag_run r
         WHERE COALESCE(r.ended, r.started, r.run_after) < :before
         AND NOT EXISTS (SELECT 1 FROM excom_entry e WHERE e.run = r.id)
         AND NOT EXISTS (SELECT 1 FROM excom_history h WHERE h.run = r.id)
         AND NOT EXISTS (SELECT 1 FROM excom_loose_object l WHERE l.run = r.id)
         AND NOT EXISTS (
             SELECT 1 FROM excom_task_instance i WHERE i.run = r.id
             AND CASE WHEN r.state = 0 THEN i.number > 0 AND i.started >= :before
                      ELSE i.state NOT BETWEEN 6 AND 10 END)"
    };
}

/// Old runs that hold nothing: runs are looked at, then what each may hold, by its run.
const SPENT: &str = concat!(spent!(), " ORDER BY r.id LIMIT :limit");

/// One of them.
const IS_SPENT: &str = concat!(spent!(), " AND r.id = :run");

/// A run in which nothing is being written.
const TAKE_RUN: &str = "SELECT id FROM excom_dag_run WHERE id = :run FOR UPDATE SKIP LOCKED";

/// All that is a run's.
const DROP_RUN: [&str; 8] = [
    // A subquery would be asked for each alias that there is.
    "DELETE a FROM excom_asset_event e JOIN excom_asset_alias a ON a.event = e.id WHERE e.run = :run",
    "DELETE FROM excom_asset_event WHERE run = :run",
    "DELETE FROM excom_task_instance WHERE run = :run",
    "DELETE FROM excom_attempt WHERE run = :run",
    "DELETE FROM excom_note WHERE run = :run",
    "DELETE FROM excom_result WHERE run = :run",
    "DELETE FROM excom_ledger WHERE run = :run",
    "DELETE FROM excom_dag_run WHERE id = :run",
];

/// Versions that no run refers to any more; there are few versions of a DAG, and few runs are left.
const DROP_VERSIONS: &str = "DELETE FROM excom_dag_version
    WHERE seen < :before AND NOT EXISTS (
        SELECT 1 FROM excom_dag_run r
        WHERE r.dag = excom_dag_version.dag AND r.dag_version = excom_dag_version.version)";

/// One mark by its name.
const TURN: &str = "SELECT value FROM excom_mark WHERE name = :name FOR UPDATE";

const FIRST_TURN: &str = "INSERT INTO excom_mark (name, value) VALUES (:name, :at)";

const NEXT_TURN: &str = "UPDATE excom_mark SET value = :at WHERE name = :name";

impl Connection {
    pub(super) async fn strip(&mut self, cutoffs: &Cutoffs) -> Result<(u64, u64)> {
        let before = cutoffs.past_bytes.as_millisecond();
        let old = self.rows(OLD_BYTES, named! { "before" => before, "limit" => cutoffs.limit }).await?;
        let (mut ids, mut bytes) = (Vec::with_capacity(old.len()), 0);
        for found in &old {
            ids.push(row::int(found, 0)?);
            bytes += row::count(found, 6)?;
            if let Some(body) = row::optional_bytes(found, 7)? {
                let ti = Ti {
                    run: row::int4(found, 1)?,
                    task: row::int4(found, 2)?,
                    map_index: row::int4(found, 4)?,
                };
                let of = Xcom { ti, key: row::int4(found, 3)? };
                let store = row::reference(body)?.store;
                self.loosen(of, row::version(found, 5)?, &store, cutoffs.at.as_millisecond()).await?;
            }
        }
        let stripped = ids.len() as u64;
        if stripped > 0 {
            let ids = serde_json::Value::from(ids).to_string();
            self.change(STRIP, named! { "ids" => ids }).await?;
        }
        Ok((stripped, bytes))
    }

    pub(super) async fn forget(&mut self, cutoffs: &Cutoffs) -> Result<u64> {
        let before = cutoffs.past_entries.as_millisecond();
        self.change(FORGET, named! { "before" => before, "limit" => cutoffs.limit }).await
    }

    pub(super) async fn sweep(&mut self, before: i64) -> Result<u64> {
        let mut swept = 0;
        for table in SWEEP {
            swept += self.change(table, named! { "before" => before }).await?;
        }
        Ok(swept)
    }

    /// Removes a run with all that is its own, if it is old and holds nothing. One in which something is being written
    /// waits for the next time.
    async fn drop_run(&mut self, run: i64, before: i64) -> Result<bool> {
        if self.one(TAKE_RUN, named! { "run" => run }).await?.is_none()
            || self.one(IS_SPENT, named! { "run" => run, "before" => before }).await?.is_none()
        {
            return Ok(false);
        }
        for table in DROP_RUN {
            self.change(table, named! { "run" => run }).await?;
        }
        Ok(true)
    }

    async fn drop_versions(&mut self, before: i64) -> Result<u64> {
        self.change(DROP_VERSIONS, named! { "before" => before }).await
    }

    async fn take_turn(&mut self, name: &str, at: i64, every: i64) -> Result<bool> {
        let now = with(named! { "name" => name }, "at", at.to_string());
        let Some(last) = self.one(TURN, named! { "name" => name }).await? else {
            return self.insert(FIRST_TURN, now).await;
        };
        let last: i64 = row::str(&last, 0)?.parse().unwrap_or(i64::MIN);
        if last > at.saturating_sub(every) {
            return Ok(false);
        }
        self.change(NEXT_TURN, now).await?;
        Ok(true)
    }
}

impl Tables {
    /// Its parts are steps of their own: what one has done stays done when the next fails.
    pub(super) async fn retain(&self, cutoffs: &Cutoffs) -> Result<Removed> {
        let mut removed = Removed::default();
        (removed.past_bytes, removed.bytes) = step!(self, write, connection.strip(cutoffs)).await?;
        removed.past_entries = step!(self, write, connection.forget(cutoffs)).await?;
        if self.take_turn("ledger_swept", cutoffs.at, SWEEP_EVERY).await? {
            let before = cutoffs.reads.as_millisecond();
            removed.reads = step!(self, write, connection.sweep(before)).await?;
            removed.reads += step!(self, write, connection.forget_asset_events(before)).await?;
        }
        if let Some(before) = cutoffs.runs {
            let before = before.as_millisecond();
            let parameters = named! { "before" => before, "limit" => cutoffs.limit };
            for run in self.rows(SPENT, parameters, |found| row::int(found, 0)).await? {
                removed.runs += u64::from(step!(self, write, connection.drop_run(run, before)).await?);
            }
            if removed.runs > 0 {
                step!(self, write, connection.drop_versions(before)).await?;
            }
        }
        Ok(removed)
    }

    pub(super) async fn take_turn(&self, name: &str, at: Timestamp, every: Duration) -> Result<bool> {
        let every = i64::try_from(every.as_millis()).unwrap_or(i64::MAX);
        let at = at.as_millisecond();
        step!(self, write, connection.take_turn(name, at, every)).await
    }
}
