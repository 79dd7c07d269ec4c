//! Which entries the rules of retention catch: looked for while reading, and looked at again while writing.

use std::collections::HashMap;
use std::sync::Arc;

use excom_core::XComKey;
use excom_core::db::{Due, Expires, Place, Removed, Rule, RunState, Scan};
use excom_core::entry::{EndReason, Version};
use jiff::Timestamp;
use rusqlite::types::{ToSql, ToSqlOutput};
use rusqlite::{Connection, OptionalExtension, params};

use super::failure::Failure;
use super::loose::loosen;
use super::read::View;
use super::row;
use super::write::{Xcom, key};
use super::writer::Transaction;

type Result<T> = std::result::Result<T, Failure>;

/// The map index of a whole sequence, and its version, in the ledger.
const WHOLE: (i64, i64) = (-2, 0);

/// What rules ask about runs.
pub(super) struct Asked {
    /// The state and the end of a run (`?1`), and whether task instances of it have not finished, or not done so well.
    pub(super) run: &'static str,
    /// How many newer runs than one (`?1`) have entries of a task (`?2`), up to a limit (`?3`).
    pub(super) newer: &'static str,
}

/// What is asked and done where it depends on whose runs and entries they are.
pub(super) struct Statements {
    pub(super) asked: Asked,
    /// What an entry `e` is joined with to be one.
    pub(super) besides: &'static str,
    /// What goes with an entry (`?1`), before it.
    pub(super) remove: Option<&'static str>,
}

/// Those of a database of Excom's own. States below 6 are of task instances that have not finished; 6, 8 and 10 have done
/// so without failing.
pub(super) const OWN: Statements = Statements {
    asked: Asked {
        run: "SELECT state, ended,
                  EXISTS (SELECT 1 FROM excom_task_instance WHERE run = r.id AND state < 6),
                  EXISTS (SELECT 1 FROM excom_task_instance WHERE run = r.id AND state NOT IN (6, 8, 10))
              FROM excom_dag_run r WHERE id = ?1",
        newer: "SELECT count(*) FROM (
                    SELECT 1 FROM excom_dag_run own JOIN excom_dag_run r ON r.dag = own.dag
                    WHERE own.id = ?1
                    AND (ifnull(r.logical_date, r.run_after), r.run_id)
                        > (ifnull(own.logical_date, own.run_after), own.run_id)
                    AND EXISTS (SELECT 1 FROM excom_entry WHERE run = r.id AND task = ?2) LIMIT ?3)",
    },
    besides: "",
    remove: None,
};

/// A task as statements ask about it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Task {
    /// By our number.
    Known(i64),
    /// By its text, in a run of Airflow's.
    Named(Arc<str>),
}

impl ToSql for Task {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Self::Known(number) => number.to_sql(),
            Self::Named(text) => text.to_sql(),
        }
    }
}

/// An entry as rules ask about it.
pub(super) struct Row {
    /// By our numbers; 0 for what has none.
    pub(super) xcom: Xcom,
    pub(super) version: Version,
    /// The run and the task by which [`Asked`] finds what it asks about.
    pub(super) run: i64,
    pub(super) task: Task,
}

impl Row {
    fn own(xcom: Xcom, version: Version) -> Self {
        Self { xcom, version, run: xcom.ti.run, task: Task::Known(xcom.ti.task) }
    }
}

/// What rules ask about a run.
#[derive(Clone, Copy)]
struct Run {
    goes_on: bool,
    /// When it ended, if it and all its task instances ended well.
    done: Option<i64>,
}

/// Judges entries by rules. What it learnt of a run, most entries of a page share.
pub(super) struct Judge<'a> {
    connection: &'a Connection,
    asked: &'a Asked,
    rules: &'a [Rule],
    runs: HashMap<i64, Run>,
    behind: HashMap<(i64, Task, u32), bool>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(connection: &'a Connection, asked: &'a Asked, rules: &'a [Rule]) -> Self {
        Self { connection, asked, rules, runs: HashMap::new(), behind: HashMap::new() }
    }

    /// The first rule that catches an entry.
    pub(super) fn caught(&mut self, entry: &Row) -> Result<Option<usize>> {
        let (run, pushed) = (entry.run, entry.version.time());
        for (place, rule) in self.rules.iter().enumerate() {
            let caught = match rule.expires {
                Expires::Pushed(before) => pushed < before,
                Expires::Behind(count) => !self.run(run)?.goes_on && self.behind(run, &entry.task, count)?,
                Expires::Unread(since) => {
                    pushed < since && !self.run(run)?.goes_on && !self.read_since(entry, since)?
                }
                Expires::Done(before) => {
                    self.run(run)?.done.is_some_and(|ended| ended < before.as_millisecond())
                }
            };
            if caught {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    fn run(&mut self, run: i64) -> Result<Run> {
        if let Some(known) = self.runs.get(&run) {
            return Ok(*known);
        }
        let found = self.connection.prepare_cached(self.asked.run)?.query_row([run], |row| {
            let (state, ended): (Option<i64>, Option<i64>) = (row.get(0)?, row.get(1)?);
            let (unfinished, not_fine): (bool, bool) = (row.get(2)?, row.get(3)?);
            let well = state == Some(RunState::Success.to_code()) && !not_fine;
            Ok(Run {
                goes_on: state == Some(RunState::Running.to_code()) || unfinished,
                done: ended.filter(|_| well),
            })
        })?;
        self.runs.insert(run, found);
        Ok(found)
    }

    /// Whether so many newer runs have entries of the task.
    fn behind(&mut self, run: i64, task: &Task, count: u32) -> Result<bool> {
        let place = (run, task.clone(), count);
        if let Some(known) = self.behind.get(&place) {
            return Ok(*known);
        }
        let newer: u32 = self
            .connection
            .prepare_cached(self.asked.newer)?
            .query_row((run, task, count), |row| row.get(0))?;
        self.behind.insert(place, newer >= count);
        Ok(newer >= count)
    }

    fn read_since(&self, entry: &Row, since: Timestamp) -> Result<bool> {
        let Xcom { ti, key } = entry.xcom;
        Ok(self
            .connection
            .prepare_cached(
                "SELECT 1 FROM excom_ledger WHERE run = ?1 AND task = ?2 AND key = ?3
                 AND (map_index, version) IN (VALUES (?4, ?5), (?6, ?7)) AND first + last >= ?8",
            )?
            .exists(params![
                ti.run,
                ti.task,
                key,
                ti.map_index,
                entry.version.to_code(),
                WHOLE.0,
                WHOLE.1,
                since.as_millisecond()
            ])?)
    }
}

impl View<'_> {
    pub(super) fn due(
        &self,
        statements: &Statements,
        rules: &[Rule],
        dag_id: Option<&str>,
        after: Option<Place>,
        limit: u32,
    ) -> Result<Scan<Due>> {
        let mut judge = Judge::new(self.0.connection, &statements.asked, rules);
        let mut last = 0;
        let sql = format!(
            "SELECT d.text, r.run_id, t.text, e.map_index, k.text, e.id, e.run, e.task, e.key, e.version, e.size
             FROM excom_entry e CROSS JOIN excom_dag_run r ON r.id = e.run JOIN excom_name d ON d.id = r.dag
                  JOIN excom_name t ON t.id = e.task JOIN excom_name k ON k.id = e.key {}
             WHERE e.id > ?1 ORDER BY e.id LIMIT ?2",
            statements.besides
        );
        let rows = self.rows(&sql, (after.map_or(0, |after| after.row), limit), |found| {
            last = found.get(5)?;
            let ti = super::write::Ti { run: found.get(6)?, task: found.get(7)?, map_index: found.get(3)? };
            let version = row::version(found.get(9)?)?;
            let caught = judge.caught(&Row::own(Xcom { ti, key: found.get(8)? }, version))?;
            let Some(rule) = caught else { return Ok(None) };
            let due = Due { key: key(found)?, version, size: found.get::<_, i64>(10)? as u64, rule };
            Ok(Some(due).filter(|due| dag_id.is_none_or(|dag_id| *due.key.ti.dag_id == *dag_id)))
        })?;
        let next = (rows.len() == limit as usize).then_some(Place { past: false, row: last });
        Ok(Scan { items: rows.into_iter().flatten().collect(), next })
    }
}

impl Transaction<'_> {
    pub(super) fn expire(
        &self,
        statements: &Statements,
        rules: &[Rule],
        due: &[Due],
        at: Timestamp,
    ) -> Result<Removed> {
        let mut judge = Judge::new(self.connection, &statements.asked, rules);
        let mut removed = Removed::default();
        for due in due {
            let Some((xcom, id)) = self.current_row(statements, &due.key, due.version)? else { continue };
            let Some(rule) = judge.caught(&Row::own(xcom, due.version))? else { continue };
            let at = at.as_millisecond();
            self.execute(
                loosen!(
                    "SELECT version, run, task, key, map_index, body ->> 'store', ?2, 1 FROM excom_entry
                     WHERE id = ?1 AND codec = 2"
                ),
                (id, at),
            )?;
            self.execute(
                "INSERT INTO excom_history (run, task, key, map_index, version, writer, size, hash, shape, head,
                                      codec, body, offloaded, ended_at, reason, by)
                 SELECT run, task, key, map_index, version, writer, size, hash, shape, head,
                        NULL, NULL, codec = 2, ?2, ?3, ?4
                 FROM excom_entry WHERE id = ?1",
                params![id, at, EndReason::Expired.to_code(), rules[rule].text],
            )?;
            if let Some(remove) = statements.remove {
                self.execute(remove, [id])?;
            }
            self.execute("DELETE FROM excom_entry WHERE id = ?1", [id])?;
            removed.entries += 1;
            removed.bytes += due.size;
        }
        Ok(removed)
    }

    /// The row of an entry, while it is of the version given.
    fn current_row(
        &self,
        statements: &Statements,
        key: &XComKey,
        version: Version,
    ) -> Result<Option<(Xcom, i64)>> {
        let Some(xcom) = self.known_xcom(key)? else { return Ok(None) };
        let Xcom { ti, key } = xcom;
        let sql = format!(
            "SELECT e.id FROM excom_entry e JOIN excom_dag_run r ON r.id = e.run JOIN excom_name d ON d.id = r.dag
                  JOIN excom_name t ON t.id = e.task JOIN excom_name k ON k.id = e.key {}
             WHERE e.run = ?1 AND e.task = ?2 AND e.key = ?3 AND e.map_index = ?4 AND e.version = ?5",
            statements.besides
        );
        let id: Option<i64> = self
            .connection
            .prepare_cached(&sql)?
            .query_row((ti.run, ti.task, key, ti.map_index, version.to_code()), |row| row.get(0))
            .optional()?;
        Ok(id.map(|id| (xcom, id)))
    }
}
