//! Names and runs as small numbers, remembered so that a pull needs no look-up for them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use foldhash::fast::RandomState;
use rusqlite::{Connection, OptionalExtension};

use crate::dictionary::Dictionaries;

type Map<V> = HashMap<Arc<str>, V, RandomState>;

/// Past this many, the memory is emptied and filled again by use.
const REMEMBERED: usize = 100_000;

/// What is here was committed. Readers share one; the writer has its own, so that a run which it
/// removes cannot come back from a reader's older view.
#[derive(Debug, Default)]
pub(super) struct Names {
    names: RwLock<Map<i64>>,
    /// By DAG, then run id.
    runs: RwLock<Map<Map<i64>>>,
}

impl Names {
    fn name(&self, text: &str) -> Option<i64> {
        self.names.read().unwrap_or_else(PoisonError::into_inner).get(text).copied()
    }

    fn run(&self, dag_id: &str, run_id: &str) -> Option<i64> {
        self.runs.read().unwrap_or_else(PoisonError::into_inner).get(dag_id)?.get(run_id).copied()
    }

    fn learn_name(&self, text: &str, id: i64) {
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= REMEMBERED {
            names.clear();
        }
        names.insert(text.into(), id);
    }

    fn learn_run(&self, dag_id: &str, run_id: &str, id: i64) {
        let mut runs = self.runs.write().unwrap_or_else(PoisonError::into_inner);
        if runs.values().map(HashMap::len).sum::<usize>() >= REMEMBERED {
            runs.clear();
        }
        runs.entry(dag_id.into()).or_default().insert(run_id.into(), id);
    }

    /// Forgets runs: some were removed by another process.
    pub(super) fn forget_runs(&self) {
        self.runs.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Looks names and runs up on a connection for reading.
pub(super) struct Lookup<'a> {
    pub(super) connection: &'a Connection,
    pub(super) names: &'a Names,
    pub(super) dictionaries: &'a Dictionaries,
}

impl Lookup<'_> {
    pub(super) fn name(&self, text: &str) -> rusqlite::Result<Option<i64>> {
        if let Some(id) = self.names.name(text) {
            return Ok(Some(id));
        }
        let id = find_name(self.connection, text)?;
        if let Some(id) = id {
            self.names.learn_name(text, id);
        }
        Ok(id)
    }

    pub(super) fn run(&self, dag_id: &str, run_id: &str) -> rusqlite::Result<Option<i64>> {
        if let Some(id) = self.names.run(dag_id, run_id) {
            return Ok(Some(id));
        }
        self.fresh_run(dag_id, run_id)
    }

    /// As [`Lookup::run`], not from memory: another process may have removed the run and made it anew.
    pub(super) fn fresh_run(&self, dag_id: &str, run_id: &str) -> rusqlite::Result<Option<i64>> {
        let Some(dag) = self.name(dag_id)? else { return Ok(None) };
        let id = find_run(self.connection, dag, run_id)?;
        if let Some(id) = id {
            self.names.learn_run(dag_id, run_id, id);
        }
        Ok(id)
    }
}

/// A run's DAG (none for a name), its text, its number.
type Learnt = (Option<Arc<str>>, Arc<str>, i64);

/// Looks names and runs up in a write transaction, and makes those that are new. What was made is
/// remembered only once the transaction has committed.
pub(super) struct Intern<'a> {
    connection: &'a Connection,
    names: &'a Names,
    new: RefCell<Vec<Learnt>>,
}

impl<'a> Intern<'a> {
    pub(super) fn new(connection: &'a Connection, names: &'a Names) -> Self {
        Self { connection, names, new: RefCell::default() }
    }

    /// A name, if it is known.
    pub(super) fn known_name(&self, text: &str) -> rusqlite::Result<Option<i64>> {
        match self.names.name(text) {
            Some(id) => Ok(Some(id)),
            None => find_name(self.connection, text),
        }
    }

    /// A run, if it is known.
    pub(super) fn known_run(&self, dag_id: &str, run_id: &str) -> rusqlite::Result<Option<i64>> {
        if let Some(id) = self.names.run(dag_id, run_id) {
            return Ok(Some(id));
        }
        match self.known_name(dag_id)? {
            Some(dag) => find_run(self.connection, dag, run_id),
            None => Ok(None),
        }
    }

    pub(super) fn name(&self, text: &str) -> rusqlite::Result<i64> {
        if let Some(id) = self.names.name(text) {
            return Ok(id);
        }
        let id = match find_name(self.connection, text)? {
            Some(id) => id,
            None => {
                self.connection
                    .prepare_cached("INSERT INTO excom_name (text) VALUES (?1)")?
                    .execute([text])?;
                self.connection.last_insert_rowid()
            }
        };
        self.new.borrow_mut().push((None, text.into(), id));
        Ok(id)
    }

    /// The run; it becomes known, due at the time given, when it is not.
    pub(super) fn run(&self, dag_id: &str, run_id: &str, at: i64) -> rusqlite::Result<i64> {
        if let Some(id) = self.names.run(dag_id, run_id) {
            return Ok(id);
        }
        let dag = self.name(dag_id)?;
        let id = match find_run(self.connection, dag, run_id)? {
            Some(id) => id,
            None => {
                self.connection
                    .prepare_cached("INSERT INTO excom_dag_run (dag, run_id, run_after) VALUES (?1, ?2, ?3)")?
                    .execute((dag, run_id, at))?;
                self.connection.last_insert_rowid()
            }
        };
        self.new.borrow_mut().push((Some(dag_id.into()), run_id.into(), id));
        Ok(id)
    }

    /// Forgets runs: this transaction removed some.
    pub(super) fn forget_runs(&self) {
        self.names.forget_runs();
        self.new.borrow_mut().retain(|(dag_id, ..)| dag_id.is_none());
    }

    /// The transaction has committed.
    pub(super) fn committed(self) {
        for (dag_id, text, id) in self.new.into_inner() {
            match dag_id {
                None => self.names.learn_name(&text, id),
                Some(dag_id) => self.names.learn_run(&dag_id, &text, id),
            }
        }
    }
}

fn find_name(connection: &Connection, text: &str) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT id FROM excom_name WHERE text = ?1")?
        .query_row([text], |row| row.get(0))
        .optional()
}

fn find_run(connection: &Connection, dag: i64, run_id: &str) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT id FROM excom_dag_run WHERE dag = ?1 AND run_id = ?2")?
        .query_row((dag, run_id), |row| row.get(0))
        .optional()
}
