//! Retention of what Excom wrote, and the look for what others removed. Rows that others wrote are theirs to clean, unless
//! rules say that they catch those too (`outside`).

use excom_core::db::{Cutoffs, Due, Place, Removed, Rule, Scan};
use jiff::Timestamp;
use mysql_async::Row as Found;

use super::super::connection::named;
use super::super::expiry::{Asked, Statements};
use super::super::failure::Failure;
use super::super::names::{Ti, Xcom};
use super::super::retain::SWEEP_EVERY;
use super::super::row;
use super::super::write::REMOVE_ENTRY;
use super::columns::{counts, its_row, rows, same};
use super::write::step;
use super::{Airflow, Tables};

type Result<T> = std::result::Result<T, Failure>;

/// How many rows that something else wrote go in one step.
const STEP: usize = 1000;

/// Airflow's run `a` of a run of ours by its number.
macro_rules! run {
    ($number:literal) => {
        concat!(
            "excom_dag_run o JOIN excom_name n ON n.id = o.dag JOIN airflow.dag_run a ON ",
            same!("a.dag_id", "n.text"),
            " AND ",
            same!("a.run_id", "o.run_id"),
            " AND o.id = ",
            $number
        )
    };
}

/// What rules ask about Airflow's run `a`; states are Airflow's. 0 is running, 1 success.
macro_rules! about_run {
    ($run:expr) => {
        concat!(
            "SELECT CASE a.state WHEN 'queued' THEN 0 WHEN 'running' THEN 0 WHEN 'success' THEN 1 ELSE 2 END,
                 TIMESTAMPDIFF(MICROSECOND, '1970-01-01', a.end_date) DIV 1000,
                 EXISTS (SELECT 1 FROM airflow.task_instance i WHERE i.dag_id = a.dag_id AND i.run_id = a.run_id
                         AND COALESCE(i.state, '') NOT IN ('success', 'failed', 'skipped', 'upstream_failed', 'removed')),
                 EXISTS (SELECT 1 FROM airflow.task_instance i WHERE i.dag_id = a.dag_id AND i.run_id = a.run_id
                         AND COALESCE(i.state, '') NOT IN ('success', 'skipped', 'removed'))
             FROM ",
            $run
        )
    };
}
pub(super) use about_run;

/// How many runs that are newer than `a` have entries `x` of a task.
macro_rules! newer {
    ($run:expr, $of:expr) => {
        concat!(
            "SELECT COUNT(*) FROM (
                 SELECT r.id FROM ",
            $run,
            " JOIN airflow.dag_run r ON r.dag_id = a.dag_id
                 WHERE (COALESCE(r.logical_date, r.run_after), CAST(r.run_id AS BINARY))
                     > (COALESCE(a.logical_date, a.run_after), CAST(a.run_id AS BINARY))
                 AND EXISTS (SELECT 1 FROM airflow.xcom x ",
            $of,
            ") LIMIT :limit) n"
        )
    };
}
pub(super) use newer;

/// What is asked about entries of ours.
const BESIDE: Statements = Statements {
    asked: Asked {
        run: about_run!(run!(":run")),
        newer: newer!(
            run!(":run"),
            concat!(
                "JOIN excom_name t ON t.id = :task WHERE x.dag_run_id = r.id AND ",
                same!("x.task_id", "t.text")
            )
        ),
    },
    current: concat!(
        "SELECT STRAIGHT_JOIN j.place, e.size, CASE WHEN e.codec = 2 THEN e.body END
         FROM JSON_TABLE(:entries, '$[*]' COLUMNS (
                  place INT PATH '$[0]', run INT PATH '$[1]', task INT PATH '$[2]', xcom_key INT PATH '$[3]',
                  map_index INT PATH '$[4]', version BIGINT PATH '$[5]')) j
              JOIN excom_entry e ON e.run = j.run AND e.task = j.task AND e.xcom_key = j.xcom_key
                  AND e.map_index = j.map_index AND e.version = j.version",
        rows!(),
        "ORDER BY j.place"
    ),
    remove: &[
        concat!(
            "DELETE x FROM excom_entry e",
            rows!(),
            "WHERE e.run = :run AND e.task = :task AND e.xcom_key = :key AND e.map_index = :map_index"
        ),
        REMOVE_ENTRY,
    ],
};

/// Entries of ours that are not Airflow's row any more: all of ours are looked at.
const STALE: &str = concat!(
    "SELECT e.run, e.task, e.xcom_key, e.map_index, e.version, CASE WHEN e.codec = 2 THEN e.body END
     FROM excom_entry e WHERE NOT EXISTS (SELECT 1",
    its_row!(),
    "AND ",
    counts!(),
    ")"
);

/// Entries of ours whose row of Airflow's is gone: how many, and their bytes.
pub(in super::super) const ORPHANS: &str = concat!(
    "SELECT '', COUNT(*), CAST(COALESCE(SUM(e.size), 0) AS SIGNED)
     FROM excom_entry e WHERE NOT EXISTS (SELECT 1",
    its_row!(),
    ")"
);

/// One of them, while it is the version that it was.
const FORGET: &str = "DELETE FROM excom_entry WHERE run = :run AND task = :task AND xcom_key = :key
    AND map_index = :map_index AND version = :version";

/// What is known of a run that is gone.
macro_rules! gone {
    ($alias:literal) => {
        concat!(
            " WHERE NOT EXISTS (SELECT 1 FROM excom_dag_run o JOIN excom_name n ON n.id = o.dag JOIN airflow.dag_run a ON ",
            same!("a.dag_id", "n.text"),
            " AND ",
            same!("a.run_id", "o.run_id"),
            " WHERE o.id = ",
            $alias,
            ".run)"
        )
    };
}

const PAST: &str = concat!(
    "SELECT h.run, h.task, h.xcom_key, h.map_index, h.version, CASE WHEN h.codec = 2 THEN h.body END
     FROM excom_history h",
    gone!("h")
);

const FORGET_GONE: [&str; 3] = [
    concat!("DELETE FROM excom_history", gone!("excom_history")),
    concat!("DELETE FROM excom_note", gone!("excom_note")),
    concat!("DELETE FROM excom_ledger", gone!("excom_ledger")),
];

/// Whether a table of Airflow's has the try of a start, in one spelling of its id or the other.
macro_rules! has_try {
    ($table:literal, $id:literal) => {
        concat!(
            "EXISTS (
                 SELECT 1 FROM airflow.",
            $table,
            " i WHERE i.",
            $id,
            " IN (LOWER(HEX(excom_started.attempt)), INSERT(INSERT(INSERT(INSERT(
                     LOWER(HEX(excom_started.attempt)), 21, 0, '-'), 17, 0, '-'), 13, 0, '-'), 9, 0, '-'))) "
        )
    };
}

/// Starts of tries that Airflow has no more: one that has ended may be told to have started once more.
const FORGET_STARTS: &str = concat!(
    "DELETE FROM excom_started WHERE NOT ",
    has_try!("task_instance", "id"),
    "AND NOT ",
    has_try!("task_instance_history", "task_instance_id")
);

impl Airflow<'_> {
    async fn due(
        &mut self,
        rules: &[Rule],
        dag_id: Option<&str>,
        after: i64,
        limit: u32,
    ) -> Result<Scan<Due>> {
        self.0.due(&BESIDE, rules, dag_id, after, limit).await
    }

    async fn expire(&mut self, rules: &[Rule], due: &[Due], at: Timestamp) -> Result<Removed> {
        self.fence(&excom_core::Caller::System("db")).await?;
        self.0.expire(&BESIDE, rules, due, at.as_millisecond()).await
    }

    async fn strip(&mut self, cutoffs: &Cutoffs) -> Result<(u64, u64)> {
        self.0.strip(cutoffs).await
    }

    async fn forget(&mut self, cutoffs: &Cutoffs) -> Result<u64> {
        self.0.forget(cutoffs).await
    }

    async fn sweep(&mut self, before: i64) -> Result<u64> {
        self.0.sweep(before).await
    }

    /// What Airflow, or a person, removed or wrote over: its objects are to go, and what is known of runs that are gone
    /// is forgotten.
    async fn forget_removed(&mut self, at: i64) -> Result<()> {
        let past = self.0.rows(PAST, named! {}).await?;
        for found in &past {
            self.loosen(found, at).await?;
        }
        for found in self.0.rows(STALE, named! {}).await? {
            let parameters = named! {
                "run" => row::int(&found, 0)?,
                "task" => row::int(&found, 1)?,
                "key" => row::int(&found, 2)?,
                "map_index" => row::int(&found, 3)?,
                "version" => row::int(&found, 4)?,
            };
            if self.0.change(FORGET, parameters).await? > 0 {
                self.loosen(&found, at).await?;
            }
        }
        for statement in FORGET_GONE {
            self.0.change(statement, named! {}).await?;
        }
        self.0.change(FORGET_STARTS, named! {}).await.map(drop)
    }

    async fn loosen(&mut self, found: &Found, at: i64) -> Result<()> {
        let Some(body) = row::optional_bytes(found, 5)? else { return Ok(()) };
        let ti =
            Ti { run: row::int4(found, 0)?, task: row::int4(found, 1)?, map_index: row::int4(found, 3)? };
        let of = Xcom { ti, key: row::int4(found, 2)? };
        let store = row::reference(body)?.store;
        self.0.loosen(of, row::version(found, 4)?, &store, at).await
    }
}

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
        if outside {
            return step!(self, write, due_outside(rules, dag_id, behind, limit)).await;
        }
        let mut scan = step!(self, write, due(rules, dag_id, behind, limit)).await?;
        if scan.next.is_none() && rules.iter().any(|rule| rule.outside) {
            scan.next = Some(Place { past: true, row: 0 });
        }
        Ok(scan)
    }

    pub(super) async fn expire(&self, rules: &[Rule], due: &[Due], at: Timestamp) -> Result<Removed> {
        let mut removed = Removed::default();
        let outside: &[Rule] = &rules.iter().filter(|rule| rule.outside).cloned().collect::<Vec<_>>();
        // A page of whole runs may be long; a step is short.
        for due in due.chunks(STEP) {
            removed.add(step!(self, write, expire(rules, due, at)).await?);
            if !outside.is_empty() {
                removed.add(step!(self, write, expire_outside(outside, due, at)).await?);
            }
        }
        Ok(removed)
    }

    /// Its parts are steps of their own: what one has done stays done when the next fails. Runs are Airflow's.
    pub(super) async fn retain(&self, cutoffs: &Cutoffs) -> Result<Removed> {
        let mut removed = Removed::default();
        (removed.past_bytes, removed.bytes) = step!(self, write, strip(cutoffs)).await?;
        removed.past_entries = step!(self, write, forget(cutoffs)).await?;
        if self.take_turn("ledger_swept", cutoffs.at, SWEEP_EVERY).await? {
            let (before, at) = (cutoffs.reads.as_millisecond(), cutoffs.at.as_millisecond());
            removed.reads = step!(self, write, sweep(before)).await?;
            step!(self, write, forget_removed(at)).await?;
        }
        Ok(removed)
    }
}
