//! Names and runs as numbers, and what is locked by them.
//!
//! A transaction locks in this order, and within each step by number, so that two never wait for each other:
//!   names           by whoever makes one, in the order of their texts
//!   runs            by the numbers of their DAGs and then their ids: shared by all that write in them, alone by what changes or removes them
//!   task instances  alone by what writes in them: each has a slot, which it may share with others
//!   marks           shared by what depends on there being none, alone by what sets one
//! Every statement sees what is committed when it begins, so a check counts once its lock is held.

use std::collections::BTreeSet;

use excom_core::{TaskInstanceKey, XComKey};

use super::connection::{Connection, named};
use super::failure::{Failure, damaged};
use super::read::{of_ti, of_xcom};
use super::row;

type Result<T> = std::result::Result<T, Failure>;

/// Numbers of names by the index of their texts.
const NAMES: &str = "SELECT STRAIGHT_JOIN a.place, n.id
    FROM JSON_TABLE(:texts, '$[*]' COLUMNS (place FOR ORDINALITY, text VARCHAR(4096) PATH '$')) a
         JOIN excom_name n ON n.text = UNHEX(a.text)";

/// A name by its text.
const MAKE_NAME: &str = "INSERT INTO excom_name (text) VALUES (:text)";

/// A run by its key, while it is not removed.
const SHARE_RUN: &str =
    "SELECT id FROM excom_dag_run WHERE dag = :dag AND run_id = :run_id LOCK IN SHARE MODE";

/// The same, for nobody else meanwhile.
const TAKE_RUN: &str = "SELECT id FROM excom_dag_run WHERE dag = :dag AND run_id = :run_id FOR UPDATE";

/// A run by its key.
const MAKE_RUN: &str =
    "INSERT INTO excom_dag_run (dag, run_id, run_after) VALUES (:dag, :run_id, :run_after)";

/// Slots by their numbers, in order of them.
const TAKE_SLOTS: &str = "SELECT STRAIGHT_JOIN s.id
    FROM JSON_TABLE(:slots, '$[*]' COLUMNS (id INT PATH '$')) a JOIN excom_slot s ON s.id = a.id FOR UPDATE";

/// A task instance by the texts of its parts, while its run is not removed. Names never change, so to lock them too
/// keeps nobody waiting.
const SHARE_TI: &str = "SELECT r.id, t.id
    FROM excom_name d JOIN excom_dag_run r ON r.dag = d.id AND r.run_id = :run_id JOIN excom_name t ON t.text = :task
    WHERE d.text = :dag LOCK IN SHARE MODE";

/// The same, and a key.
const SHARE_XCOM: &str = "SELECT r.id, t.id, k.id
    FROM excom_name d JOIN excom_dag_run r ON r.dag = d.id AND r.run_id = :run_id JOIN excom_name t ON t.text = :task
         JOIN excom_name k ON k.text = :key
    WHERE d.text = :dag LOCK IN SHARE MODE";

/// One slot.
const TAKE_SLOT: &str = "SELECT id FROM excom_slot WHERE id = :slot FOR UPDATE";

/// The last slot is that of marks.
const SHARE_MARKS: &str = "SELECT id FROM excom_slot WHERE id = 4095 LOCK IN SHARE MODE";

const TAKE_MARKS: &str = "SELECT id FROM excom_slot WHERE id = 4095 FOR UPDATE";

/// Slots of task instances.
const SLOTS: u32 = 4095;

/// A task instance as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ti {
    pub(super) run: i32,
    pub(super) task: i32,
    pub(super) map_index: i32,
}

/// An XCom as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Xcom {
    pub(super) ti: Ti,
    pub(super) key: i32,
}

impl Ti {
    /// Where it is locked. All processes that write must reckon it alike.
    fn slot(self) -> u32 {
        let parts = [self.run, self.task, self.map_index];
        let mixed = parts.iter().fold(0u32, |mixed, part| {
            (mixed ^ part.cast_unsigned()).wrapping_mul(0x9E37_79B1).rotate_left(15)
        });
        mixed % SLOTS
    }
}

/// How a run is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lock {
    Shared,
    Alone,
}

/// A text in a list that a statement takes as JSON: its bytes, which no character set of the database changes.
pub(super) fn hex(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(2 * text.len()), |mut hex, byte| {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The runs of task instances, each once: its DAG and its id.
fn runs_of<'a>(instances: impl IntoIterator<Item = &'a TaskInstanceKey>) -> BTreeSet<(&'a str, &'a str)> {
    instances.into_iter().map(|ti| (&*ti.dag_id, &*ti.run_id)).collect()
}

impl Connection {
    /// Numbers of names, none for those that are not known.
    pub(super) async fn known_names(&mut self, texts: &[&str]) -> Result<Vec<Option<i32>>> {
        let mut numbers = vec![None; texts.len()];
        let texts: Vec<String> = texts.iter().map(|text| hex(text)).collect();
        let texts = serde_json::Value::from(texts).to_string();
        for found in self.rows(NAMES, named! { "texts" => texts }).await? {
            numbers[row::int(&found, 0)? as usize - 1] = Some(row::int4(&found, 1)?);
        }
        Ok(numbers)
    }

    /// Numbers of names; they become known.
    pub(super) async fn names(&mut self, texts: &[&str]) -> Result<Vec<i32>> {
        let mut known = self.known_names(texts).await?;
        let mut missing: Vec<&str> =
            known.iter().zip(texts).filter(|(number, _)| number.is_none()).map(|(_, text)| *text).collect();
        missing.sort_unstable();
        missing.dedup();
        if !missing.is_empty() {
            for text in missing {
                self.insert(MAKE_NAME, named! { "text" => text }).await?;
            }
            known = self.known_names(texts).await?;
        }
        known.into_iter().map(|number| number.ok_or_else(|| damaged("lost a name"))).collect()
    }

    /// A run, if it is known. It is not removed before the transaction ends.
    pub(super) async fn known_run(&mut self, dag: i32, run_id: &str, lock: Lock) -> Result<Option<i32>> {
        let statement = match lock {
            Lock::Shared => SHARE_RUN,
            Lock::Alone => TAKE_RUN,
        };
        let found = self.one(statement, named! { "dag" => dag, "run_id" => run_id }).await?;
        found.map(|found| row::int4(&found, 0)).transpose()
    }

    /// The same; the run becomes known, due at the time given, when it is not.
    pub(super) async fn run(&mut self, dag: i32, run_id: &str, at: i64, lock: Lock) -> Result<i32> {
        loop {
            if let Some(run) = self.known_run(dag, run_id, lock).await? {
                return Ok(run);
            }
            self.insert(MAKE_RUN, named! { "dag" => dag, "run_id" => run_id, "run_after" => at }).await?;
        }
    }

    /// A task instance, if its run and task are known.
    pub(super) async fn known_ti(&mut self, key: &TaskInstanceKey) -> Result<Option<Ti>> {
        let Some(found) = self.one(SHARE_TI, of_ti(key)).await? else { return Ok(None) };
        let (run, task) = (row::int4(&found, 0)?, row::int4(&found, 1)?);
        Ok(Some(Ti { run, task, map_index: key.map_index }))
    }

    /// An XCom, if its parts are known.
    pub(super) async fn known_xcom(&mut self, key: &XComKey) -> Result<Option<Xcom>> {
        let Some(found) = self.one(SHARE_XCOM, of_xcom(key)).await? else { return Ok(None) };
        let (run, task) = (row::int4(&found, 0)?, row::int4(&found, 1)?);
        Ok(Some(Xcom { ti: Ti { run, task, map_index: key.ti.map_index }, key: row::int4(&found, 2)? }))
    }

    /// A task instance, which becomes known.
    pub(super) async fn ti(&mut self, key: &TaskInstanceKey, at: i64) -> Result<Ti> {
        if let Some(known) = self.known_ti(key).await? {
            return Ok(known);
        }
        let numbers = self.names(&[&key.dag_id, &key.task_id]).await?;
        let run = self.run(numbers[0], &key.run_id, at, Lock::Shared).await?;
        Ok(Ti { run, task: numbers[1], map_index: key.map_index })
    }

    /// An XCom, whose parts become known.
    pub(super) async fn xcom(&mut self, key: &XComKey, at: i64) -> Result<Xcom> {
        if let Some(known) = self.known_xcom(key).await? {
            return Ok(known);
        }
        let numbers = self.names(&[&key.ti.dag_id, &key.ti.task_id, &key.key]).await?;
        let run = self.run(numbers[0], &key.ti.run_id, at, Lock::Shared).await?;
        Ok(Xcom { ti: Ti { run, task: numbers[1], map_index: key.ti.map_index }, key: numbers[2] })
    }

    /// Who writes several XComs, or in another run than its own, has all their names known and their runs locked before
    /// anything else, because of the order.
    pub(super) async fn make_known(
        &mut self,
        own: Option<&TaskInstanceKey>,
        keys: &[&XComKey],
        at: i64,
    ) -> Result<()> {
        let runs = runs_of(own.into_iter().chain(keys.iter().map(|key| &key.ti)));
        if keys.len() < 2 && runs.len() < 2 {
            return Ok(());
        }
        let dags = runs.iter().map(|(dag, _)| *dag);
        let texts: Vec<&str> =
            dags.chain(keys.iter().flat_map(|key| [&*key.ti.task_id, &*key.key])).collect();
        let numbers = self.names(&texts).await?;
        if runs.len() > 1 {
            let runs: BTreeSet<_> = numbers.into_iter().zip(runs.iter().map(|(_, run_id)| *run_id)).collect();
            for (dag, run_id) in runs {
                self.run(dag, run_id, at, Lock::Shared).await?;
            }
        }
        Ok(())
    }

    /// Locks two runs in the order of all, as far as they are known.
    pub(super) async fn share_runs(&mut self, of: [&TaskInstanceKey; 2]) -> Result<()> {
        let runs = runs_of(of);
        if runs.len() < 2 {
            return Ok(());
        }
        let dags: Vec<&str> = runs.iter().map(|(dag, _)| *dag).collect();
        let numbers = self.known_names(&dags).await?;
        let runs: BTreeSet<_> = numbers.into_iter().zip(runs.iter().map(|(_, run_id)| *run_id)).collect();
        for (dag, run_id) in runs {
            if let Some(dag) = dag {
                self.known_run(dag, run_id, Lock::Shared).await?;
            }
        }
        Ok(())
    }

    /// Locks task instances until the transaction ends: all of them at once, because of the order.
    pub(super) async fn take(&mut self, instances: impl IntoIterator<Item = Ti>) -> Result<()> {
        let mut slots: Vec<u32> = instances.into_iter().map(Ti::slot).collect();
        slots.sort_unstable();
        slots.dedup();
        match slots[..] {
            [] => {}
            [slot] => drop(self.rows(TAKE_SLOT, named! { "slot" => slot }).await?),
            _ => {
                let slots = serde_json::Value::from(slots).to_string();
                self.rows(TAKE_SLOTS, named! { "slots" => slots }).await?;
            }
        }
        Ok(())
    }

    /// Lets nobody set a mark until the transaction ends.
    pub(super) async fn share_marks(&mut self) -> Result<()> {
        self.rows(SHARE_MARKS, named! {}).await.map(drop)
    }

    /// Lets nobody set a mark, or depend on one, until the transaction ends.
    pub(super) async fn take_marks(&mut self) -> Result<()> {
        self.rows(TAKE_MARKS, named! {}).await.map(drop)
    }
}
