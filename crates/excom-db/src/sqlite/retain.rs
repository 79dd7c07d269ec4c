//! One step of retention, of all but entries. Rows lie in order of time, so what is old is found at the front.

use std::time::Duration;

use excom_core::attempt::AttemptId;
use excom_core::db::{Cutoffs, Removed};
use jiff::Timestamp;

use super::failure::Failure;
use super::loose::loosen;
use super::row::time_in;
use super::writer::Transaction;

type Result<T> = std::result::Result<T, Failure>;

/// How often the whole ledger is read for rows past their time.
pub(super) const SWEEP_EVERY: Duration = Duration::from_secs(3600);

impl Transaction<'_> {
    pub(super) fn retain(&self, cutoffs: &Cutoffs) -> Result<Removed> {
        let mut removed = Removed::default();
        (removed.past_bytes, removed.bytes) = self.strip(cutoffs)?;
        removed.past_entries = self.forget(cutoffs)?;
        if self.take_turn("ledger_swept", cutoffs.at, SWEEP_EVERY)? {
            removed.reads =
                self.sweep(cutoffs)? + self.forget_asset_events(cutoffs.reads.as_millisecond())?;
        }
        if let Some(before) = cutoffs.runs {
            removed.runs = self.drop_runs(before.as_millisecond(), cutoffs.limit)?;
        }
        Ok(removed)
    }

    fn run(&self, sql: &'static str, params: impl rusqlite::Params) -> Result<u64> {
        Ok(self.connection.prepare_cached(sql)?.execute(params)? as u64)
    }

    /// Bytes of versions that ended long ago go; what is known of them stays.
    pub(super) fn strip(&self, cutoffs: &Cutoffs) -> Result<(u64, u64)> {
        let (before, at) = (cutoffs.past_bytes.as_millisecond(), cutoffs.at.as_millisecond());
        let bytes: Option<i64> = self
            .connection
            .prepare_cached(
                "SELECT sum(size) FROM (SELECT size FROM excom_history WHERE ended_at < ?1 AND codec IS NOT NULL
                                        ORDER BY ended_at LIMIT ?2)",
            )?
            .query_row((before, cutoffs.limit), |row| row.get(0))?;
        self.run(
            loosen!(
                "SELECT version, run, task, key, map_index, body ->> 'store', ?2, 1 FROM excom_history
                 WHERE codec = 2 AND id IN
                     (SELECT id FROM excom_history WHERE ended_at < ?1 AND codec IS NOT NULL
                      ORDER BY ended_at LIMIT ?3)"
            ),
            (before, at, cutoffs.limit),
        )?;
        let stripped = self.run(
            "UPDATE excom_history SET codec = NULL, body = NULL WHERE id IN
                 (SELECT id FROM excom_history WHERE ended_at < ?1 AND codec IS NOT NULL
                  ORDER BY ended_at LIMIT ?2)",
            (before, cutoffs.limit),
        )?;
        Ok((stripped, bytes.unwrap_or(0) as u64))
    }

    pub(super) fn forget(&self, cutoffs: &Cutoffs) -> Result<u64> {
        self.run(
            "DELETE FROM excom_history
             WHERE id IN (SELECT id FROM excom_history ORDER BY id LIMIT ?2)
             AND ended_at < ?1 AND codec IS NULL",
            (cutoffs.past_entries.as_millisecond(), cutoffs.limit),
        )
    }

    pub(super) fn take_turn(&self, name: &str, at: Timestamp, every: Duration) -> Result<bool> {
        let every = i64::try_from(every.as_millis()).unwrap_or(i64::MAX);
        let taken = self.run(
            "INSERT INTO excom_mark VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value
             WHERE CAST(value AS INTEGER) <= CAST(excluded.value AS INTEGER) - ?3",
            (name, at.as_millisecond().to_string(), every),
        )?;
        Ok(taken > 0)
    }

    /// The ledger has no index on time, so this reads all of it: once an hour, whichever process comes.
    pub(super) fn sweep(&self, cutoffs: &Cutoffs) -> Result<u64> {
        let before = cutoffs.reads.as_millisecond();
        let counts = self.run("DELETE FROM excom_refusal WHERE last < ?1", [before])?;
        Ok(counts + self.run("DELETE FROM excom_ledger WHERE first + last < ?1", [before])?)
    }

    /// Runs that are old and hold nothing go, with their task instances, attempts, notes, reads and
    /// events of assets, and then versions of DAGs that no run refers to any more.
    fn drop_runs(&self, before: i64, limit: u32) -> Result<u64> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, state IS 0 FROM excom_dag_run r
             WHERE iif(state IS 0, started, ifnull(ended, run_after)) < ?1
             AND NOT EXISTS (SELECT 1 FROM excom_entry WHERE run = r.id)
             AND NOT EXISTS (SELECT 1 FROM excom_history WHERE run = r.id)
             AND NOT EXISTS (SELECT 1 FROM excom_loose_object WHERE run = r.id)
             AND (state IS 0 OR NOT EXISTS
                 (SELECT 1 FROM excom_task_instance WHERE run = r.id AND state NOT BETWEEN 6 AND 10))
             ORDER BY id",
        )?;
        let mut old = statement.query([before])?;
        let mut runs: Vec<i64> = Vec::new();
        while let Some(row) = old.next()?
            && runs.len() < limit as usize
        {
            let (run, running): (i64, bool) = (row.get(0)?, row.get(1)?);
            if !running || !self.started_since(run, before)? {
                runs.push(run);
            }
        }
        for run in &runs {
            self.run("DELETE FROM excom_task_instance WHERE run = ?1", [run])?;
            self.run("DELETE FROM excom_attempt WHERE run = ?1", [run])?;
            self.run("DELETE FROM excom_note WHERE run = ?1", [run])?;
            self.run("DELETE FROM excom_result WHERE run = ?1", [run])?;
            self.run("DELETE FROM excom_ledger WHERE run = ?1", [run])?;
            self.drop_asset_events(*run)?;
            self.run("DELETE FROM excom_dag_run WHERE id = ?1", [run])?;
        }
        if !runs.is_empty() {
            self.run(
                "DELETE FROM excom_dag_version AS v WHERE seen < ?1 AND NOT EXISTS
                     (SELECT 1 FROM excom_dag_run r WHERE r.dag = v.dag AND r.dag_version = v.version)",
                [before],
            )?;
            self.names.forget_runs();
        }
        Ok(runs.len() as u64)
    }

    /// Whether a task of a run started since: a run that was killed stays `running`, but starts nothing more.
    fn started_since(&self, run: i64, moment: i64) -> Result<bool> {
        let mut statement = self.connection.prepare_cached(
            "SELECT attempt, started FROM excom_task_instance WHERE run = ?1 AND number > 0",
        )?;
        let mut attempts = statement.query([run])?;
        while let Some(row) = attempts.next()? {
            if time_in(AttemptId(row.get(0)?)) + row.get::<_, i64>(1)? >= moment {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
