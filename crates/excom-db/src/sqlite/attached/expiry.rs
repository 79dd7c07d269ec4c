//! Retention of what Excom wrote, and the look for what others removed. Rows that others wrote are theirs to clean, unless
//! rules say that they catch those too (`outside`).

use excom_core::db::{Cutoffs, Removed};

use super::super::expiry::{Asked, Statements};
use super::super::failure::Failure;
use super::super::loose::loosen;
use super::super::retain::SWEEP_EVERY;
use super::Writing;
use super::columns::{counts, its_row, micros, millis, row};

type Result<T> = std::result::Result<T, Failure>;

/// Airflow's run `a` of a run of ours by its number.
macro_rules! run {
    ($number:literal) => {
        concat!(
            " excom_dag_run o JOIN excom_name n ON n.id = o.dag
              JOIN dag_run a ON a.dag_id = n.text AND a.run_id = o.run_id AND o.id = ",
            $number,
            " "
        )
    };
}

/// What an entry `e` is joined with to be one.
pub(super) const BESIDES: &str = row!();

/// What rules ask about Airflow's run `a`; states are Airflow's. 0 is running, 1 success.
macro_rules! about_run {
    ($run:expr) => {
        concat!(
            "SELECT CASE a.state WHEN 'queued' THEN 0 WHEN 'running' THEN 0 WHEN 'success' THEN 1 ELSE 2 END, ",
            millis!("a.end_date"),
            ", EXISTS (SELECT 1 FROM task_instance i WHERE i.dag_id = a.dag_id AND i.run_id = a.run_id
                       AND ifnull(i.state, '') NOT IN ('success', 'failed', 'skipped', 'upstream_failed', 'removed')),
               EXISTS (SELECT 1 FROM task_instance i WHERE i.dag_id = a.dag_id AND i.run_id = a.run_id
                       AND ifnull(i.state, '') NOT IN ('success', 'skipped', 'removed'))
             FROM",
            $run
        )
    };
}
pub(super) use about_run;

/// How many runs that are newer than `a` have entries `x` of a task.
macro_rules! newer {
    ($run:expr, $of:expr) => {
        concat!(
            "SELECT count(*) FROM (
                 SELECT 1 FROM",
            $run,
            "JOIN dag_run r ON r.dag_id = a.dag_id
                 AND (ifnull(r.logical_date, r.run_after), r.run_id) > (ifnull(a.logical_date, a.run_after), a.run_id)
                 AND EXISTS (SELECT 1 FROM xcom x ",
            $of,
            ") LIMIT ?3)"
        )
    };
}
pub(super) use newer;

/// What is asked about entries of ours.
pub(super) const BESIDE: Statements = Statements {
    asked: Asked {
        run: about_run!(run!("?1")),
        newer: newer!(
            run!("?1"),
            "JOIN excom_name t ON t.id = ?2 WHERE x.dag_run_id = r.id AND x.task_id = t.text"
        ),
    },
    besides: BESIDES,
    remove: Some(concat!(
        "DELETE FROM xcom WHERE rowid IN (
             SELECT x.rowid FROM excom_entry e JOIN excom_dag_run r ON r.id = e.run JOIN excom_name d ON d.id = r.dag
                  JOIN excom_name t ON t.id = e.task JOIN excom_name k ON k.id = e.key",
        row!(),
        "WHERE e.id = ?1)"
    )),
};

/// Entries `e` of ours without a row of Airflow's, which is found so: all of ours are looked at.
macro_rules! without {
    ($row:expr) => {
        concat!(
            "NOT EXISTS (
                 SELECT 1 FROM excom_dag_run r JOIN excom_name d ON d.id = r.dag JOIN excom_name t ON t.id = e.task
                      JOIN excom_name k ON k.id = e.key",
            $row,
            "WHERE r.id = e.run)"
        )
    };
}

/// Those that are not Airflow's row any more.
macro_rules! stale {
    () => {
        without!(row!())
    };
}

/// Those whose row is gone: how many, and their bytes.
pub(in super::super) const ORPHANS: &str =
    concat!("SELECT '', count(*), ifnull(sum(e.size), 0) FROM excom_entry e WHERE ", without!(its_row!()));

/// What is known in `g` of a run that is gone.
macro_rules! gone {
    () => {
        concat!("NOT EXISTS (SELECT 1 FROM", run!("g.run"), ")")
    };
}

/// Objects of both are to go, at a time (`?1`).
const LOOSEN: [&str; 2] = [
    loosen!(concat!(
        "SELECT e.version, e.run, e.task, e.key, e.map_index, e.body ->> 'store', ?1, 1 FROM excom_entry e
         WHERE e.codec = 2 AND ",
        stale!()
    )),
    loosen!(concat!(
        "SELECT g.version, g.run, g.task, g.key, g.map_index, g.body ->> 'store', ?1, 1 FROM excom_history g
         WHERE g.codec = 2 AND ",
        gone!()
    )),
];

/// Whether a table of Airflow's has the try of a start `s`, in one spelling of its id or the other.
macro_rules! has_try {
    ($table:literal, $id:literal) => {
        concat!(
            "EXISTS (
                 SELECT 1 FROM ",
            $table,
            " i, (SELECT lower(hex(s.attempt)) AS id) plain
                 WHERE i.",
            $id,
            " IN (plain.id, substr(plain.id, 1, 8) || '-' || substr(plain.id, 9, 4) || '-'
                     || substr(plain.id, 13, 4) || '-' || substr(plain.id, 17, 4) || '-' || substr(plain.id, 21))) "
        )
    };
}

/// Starts are forgotten of tries that Airflow has no more: one that has ended may be told to have started once more.
const FORGET: [&str; 5] = [
    concat!("DELETE FROM excom_entry AS e WHERE ", stale!()),
    concat!("DELETE FROM excom_history AS g WHERE ", gone!()),
    concat!("DELETE FROM excom_note AS g WHERE ", gone!()),
    concat!("DELETE FROM excom_ledger AS g WHERE ", gone!()),
    concat!(
        "DELETE FROM excom_started AS s WHERE NOT ",
        has_try!("task_instance", "id"),
        "AND NOT ",
        has_try!("task_instance_history", "task_instance_id")
    ),
];

impl Writing<'_> {
    /// One step of retention. Runs are Airflow's.
    pub(super) fn retain(&self, cutoffs: &Cutoffs) -> Result<Removed> {
        let mut removed = Removed::default();
        (removed.past_bytes, removed.bytes) = self.t.strip(cutoffs)?;
        removed.past_entries = self.t.forget(cutoffs)?;
        if self.t.take_turn("ledger_swept", cutoffs.at, SWEEP_EVERY)? {
            removed.reads = self.t.sweep(cutoffs)?;
            self.forget_removed(cutoffs.at.as_millisecond())?;
        }
        Ok(removed)
    }

    /// What Airflow, or a person, removed or wrote over: its objects are to go, and what is known of runs that are gone
    /// is forgotten.
    fn forget_removed(&self, at: i64) -> Result<()> {
        for statement in LOOSEN {
            self.t.execute(statement, [at])?;
        }
        for statement in FORGET {
            self.t.execute(statement, [])?;
        }
        Ok(())
    }
}
