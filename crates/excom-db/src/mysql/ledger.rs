//! The ledger: who read what, and what an attempt pushed.

use std::collections::{BTreeMap, BTreeSet};

use excom_core::db::{LedgerRow, ReadTarget, Reads};
use excom_core::entry::EntryInfo;
use excom_core::{TaskInstanceKey, UNMAPPED, XComKey};
use mysql_async::Row;

use super::Tables;
use super::connection::{Connection, named};
use super::failure::Failure;
use super::names::{Lock, Ti};
use super::read::{info, of_ti, run, task, with};
use super::row;
use super::write::step;
use crate::ledger::{Read, WHOLE, told};

type Result<T> = std::result::Result<T, Failure>;

/// The most bytes of a reader that is no task, as names hold it.
const READER_BYTES: usize = 2048;

/// What [`ledger_row`] reads.
macro_rules! row {
    () => {
        "l.map_index, l.version, l.reader_number, l.count, l.first, l.last"
    };
}

/// Reads of many, in the order of their key by all who write; the number of each reading attempt is found out.
macro_rules! note_reads {
    ($number:literal) => {
        concat!(
            "INSERT INTO excom_ledger
                 (run, task, xcom_key, map_index, version, reader_run, reader_task, reader_map, reader_number, reader,
                  count, first, last)
             SELECT a.of_run, a.of_task, a.of_key, a.of_map, a.of_version, a.by_run, a.by_task, a.by_map, COALESCE(",
            $number,
            ", 0), a.by_name, a.new_count, a.new_first, a.new_last
             FROM JSON_TABLE(:reads, '$[*]' COLUMNS (
                      of_run INT PATH '$[0]', of_task INT PATH '$[1]', of_key INT PATH '$[2]', of_map INT PATH '$[3]',
                      of_version BIGINT PATH '$[4]', by_run INT PATH '$[5]', by_task INT PATH '$[6]',
                      by_map INT PATH '$[7]', by_attempt VARCHAR(32) PATH '$[8]', by_name INT PATH '$[9]',
                      new_count BIGINT PATH '$[10]', new_first BIGINT PATH '$[11]', new_last BIGINT PATH '$[12]')) a
             ORDER BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
             ON DUPLICATE KEY UPDATE excom_ledger.count = excom_ledger.count + VALUES(count),
                 excom_ledger.first = LEAST(excom_ledger.first, VALUES(first)),
                 excom_ledger.last = GREATEST(excom_ledger.last, VALUES(last))"
        )
    };
}
pub(super) use note_reads;

/// The number of an attempt is that of its task instance, or in the history of it.
const NOTE_READS: &str = note_reads!(
    "(SELECT i.number FROM excom_task_instance i
      WHERE i.run = a.by_run AND i.task = a.by_task AND i.map_index = a.by_map AND i.attempt = UNHEX(a.by_attempt)),
     (SELECT i.number FROM excom_attempt i
      WHERE i.run = a.by_run AND i.task = a.by_task AND i.map_index = a.by_map AND i.attempt = UNHEX(a.by_attempt))"
);

/// Reads of an XCom: the front of the ledger's key.
const READERS: &str = concat!(
    "SELECT ",
    row!(),
    ", n.text, l.reader_map, d.text, r.run_id, t.text
     FROM excom_ledger l LEFT JOIN excom_name n ON n.id = l.reader
          LEFT JOIN excom_dag_run r ON r.id = l.reader_run LEFT JOIN excom_name d ON d.id = r.dag
          LEFT JOIN excom_name t ON t.id = l.reader_task AND r.id IS NOT NULL
     WHERE l.run = ",
    run!(),
    " AND l.task = ",
    task!(),
    " AND l.map_index IN (:map_index, :whole)
     AND l.xcom_key = (SELECT id FROM excom_name WHERE text = :key) ORDER BY l.first, l.reader_task, n.text"
);

/// Reads by a task instance, by the index of readers.
const READS_OF: &str = concat!(
    "SELECT ",
    row!(),
    ", d.text, r.run_id, t.text, k.text FROM excom_ledger l
     JOIN excom_dag_run r ON r.id = l.run JOIN excom_name d ON d.id = r.dag
     JOIN excom_name t ON t.id = l.task JOIN excom_name k ON k.id = l.xcom_key
     WHERE l.reader_run = ",
    run!(),
    " AND l.reader_task = ",
    task!(),
    " AND l.reader_map = :map_index
     ORDER BY l.first, d.text, r.run_id, t.text, k.text, l.map_index, l.version"
);

/// What an attempt pushed: entries and history of its task.
const PUSHED_BY: &str = concat!(
    "SELECT ", info!(), ", k.text, e.offloaded FROM (
         SELECT version, number, writer, size, hash, shape, head, xcom_key, codec = 2 AS offloaded FROM excom_entry
         WHERE run = ", run!(), " AND task = ", task!(), " AND map_index = :map_index
         UNION ALL
         SELECT version, number, writer, size, hash, shape, head, xcom_key, offloaded FROM excom_history
         WHERE run = ", run!(), " AND task = ", task!(), " AND map_index = :map_index) e
     JOIN excom_name k ON k.id = e.xcom_key WHERE e.number = :number AND e.writer = ''
     ORDER BY e.version, k.text"
);

impl Read<'_> {
    /// The names in it.
    fn names(&self) -> impl Iterator<Item = &str> {
        let reader = self.reader.into_iter().flat_map(|ti| [&*ti.dag_id, &*ti.task_id]);
        let name = Some(&*self.name).filter(|name| !name.is_empty());
        [self.dag, self.task, self.key].into_iter().chain(reader).chain(name)
    }
}

impl Connection {
    /// Notes reads by the statement that knows the reading attempts.
    pub(super) async fn note_reads(&mut self, statement: &str, reads: &[Reads]) -> Result<()> {
        let mut reads: Vec<Read<'_>> = reads.iter().map(Read::of).collect();
        for Read { name, .. } in &mut reads {
            name.truncate(name.floor_char_boundary(READER_BYTES));
        }
        let texts: BTreeSet<&str> = reads.iter().flat_map(Read::names).collect();
        let texts: Vec<&str> = texts.into_iter().collect();
        let numbers: BTreeMap<&str, i32> = texts.iter().copied().zip(self.names(&texts).await?).collect();
        let number = |text: &str| numbers.get(text).copied().unwrap_or(0);
        let mut runs: BTreeMap<(i32, &str), (i64, i32)> = BTreeMap::new();
        for read in &reads {
            let first = read.reads.first.as_millisecond();
            let reader = read.reader.map(|ti| (number(&ti.dag_id), &*ti.run_id));
            for run in [(number(read.dag), read.run)].into_iter().chain(reader) {
                let at = &mut runs.entry(run).or_insert((first, 0)).0;
                *at = first.min(*at);
            }
        }
        for ((dag, run_id), (at, run)) in &mut runs {
            *run = self.run(*dag, run_id, *at, Lock::Shared).await?;
        }
        let run = |dag: &str, run_id: &str| runs.get(&(number(dag), run_id)).map_or(0, |(_, run)| *run);
        // Those who write about the same run take turns.
        let of: BTreeSet<i32> = reads.iter().map(|read| run(read.dag, read.run)).collect();
        self.take(of.into_iter().map(|run| Ti { run, task: 0, map_index: WHOLE })).await?;
        let rows = reads.iter().map(|read| {
            let (by_run, by_task, by_map) = read.reader.map_or((0, 0, UNMAPPED), |ti| {
                (run(&ti.dag_id, &ti.run_id), number(&ti.task_id), ti.map_index)
            });
            serde_json::json!([
                run(read.dag, read.run),
                number(read.task),
                number(read.key),
                read.map_index,
                read.version,
                by_run,
                by_task,
                by_map,
                read.attempt.map(|attempt| attempt.simple().to_string()),
                if read.name.is_empty() { 0 } else { number(&read.name) },
                read.reads.count,
                read.reads.first.as_millisecond(),
                read.reads.last.as_millisecond(),
            ])
        });
        let rows = serde_json::Value::from_iter(rows).to_string();
        self.change(statement, named! { "reads" => rows }).await.map(drop)
    }
}

impl Tables {
    pub(super) async fn readers(&self, key: &XComKey) -> Result<Vec<LedgerRow>> {
        let whole = if key.ti.is_mapped() { WHOLE } else { key.ti.map_index };
        let parameters = with(with(of_ti(&key.ti), "key", &*key.key), "whole", whole);
        self.rows(READERS, parameters, |found| {
            let (reader, task) = reader(found)?;
            ledger_row(found, key.clone(), reader, task)
        })
        .await
    }

    pub(super) async fn reads_of(&self, ti: &TaskInstanceKey) -> Result<Vec<LedgerRow>> {
        self.rows(READS_OF, of_ti(ti), |found| {
            let (dag, run) = (row::text(found, 6)?, row::text(found, 7)?);
            let map_index = row::int4(found, 0)?.max(UNMAPPED);
            let key = XComKey::new(dag, run, row::text(found, 8)?, map_index, row::text(found, 9)?)?;
            ledger_row(found, key, told(ti), Some(ti.clone()))
        })
        .await
    }

    pub(super) async fn pushed_by(&self, ti: &TaskInstanceKey, number: u32) -> Result<Vec<EntryInfo>> {
        self.rows(PUSHED_BY, with(of_ti(ti), "number", number), |found| {
            row::info(found, 0, ti.xcom(row::text(found, 7)?)?, row::is(found, 8)?)
        })
        .await
    }

    pub(super) async fn note_reads(&self, reads: &[Reads]) -> Result<()> {
        step!(self, write, connection.note_reads(NOTE_READS, reads)).await
    }
}

/// Who read, by the columns behind those of [`ledger_row`].
fn reader(found: &Row) -> Result<(String, Option<TaskInstanceKey>)> {
    if let Some(name) = row::optional_str(found, 6)? {
        return Ok((name.to_owned(), None));
    }
    let Some(task) = row::optional_str(found, 10)? else {
        // The reading run is gone.
        return Ok(("task (removed)".to_owned(), None));
    };
    let ti = TaskInstanceKey::new(row::text(found, 8)?, row::text(found, 9)?, task, row::int4(found, 7)?)?;
    Ok((told(&ti), Some(ti)))
}

fn ledger_row(found: &Row, key: XComKey, reader: String, task: Option<TaskInstanceKey>) -> Result<LedgerRow> {
    let target = if row::int(found, 0)? == i64::from(WHOLE) {
        ReadTarget::Sequence(key.sequence())
    } else {
        ReadTarget::Entry(key, row::version(found, 1)?)
    };
    let number = row::unsigned(found, 2)?;
    Ok(LedgerRow {
        reader,
        task,
        attempt: (number > 0).then_some(number),
        target,
        count: row::count(found, 3)?,
        first: row::time(found, 4)?,
        last: row::time(found, 5)?,
    })
}
