//! The ledger: who read what, and what an attempt pushed.

use excom_core::db::{LedgerRow, ReadTarget, Reads};
use excom_core::entry::EntryInfo;
use excom_core::{TaskInstanceKey, UNMAPPED, XComKey};
use tokio_postgres::Row;

use super::Tables;
use super::connection::{Parameter, Statement, types};
use super::failure::Failure;
use super::read::{info, name, run};
use super::row;
use crate::ledger::{Read, WHOLE, told};

type Result<T> = std::result::Result<T, Failure>;

/// What [`ledger_row`] reads.
macro_rules! row {
    () => {
        "l.map_index, l.version, l.reader_number, l.count, l.first, l.last"
    };
}

/// Reads of many: runs and names are found once, rows are written in the order of their key by all who write.
const NOTE_READS: Statement<'_> = Statement {
    sql: "WITH asked AS MATERIALIZED (
              SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
                  AS a (dag, run_id, task, key, map_index, version, reader_dag, reader_run_id, reader_task, reader_map,
                        attempt, reader, count, first, last)),
          known AS MATERIALIZED (SELECT excom.learn($1 || $7, $2 || $8, $3 || $4 || $9)),
          run AS MATERIALIZED (
              SELECT dag, run_id, excom.run_of(dag, run_id, first) AS id FROM known, (
                  SELECT dag, run_id, min(first) AS first FROM (
                      SELECT dag, run_id, first FROM asked
                      UNION ALL SELECT reader_dag, reader_run_id, first FROM asked WHERE attempt IS NOT NULL) r
                  GROUP BY dag, run_id ORDER BY excom.run_lock(dag, run_id)) r),
          name AS MATERIALIZED (
              SELECT text, excom.number_of(text) AS id FROM known, (
                  SELECT task AS text FROM asked UNION SELECT key FROM asked
                  UNION SELECT reader_task FROM asked WHERE attempt IS NOT NULL) n)
          INSERT INTO excom.ledger AS l (version, count, first, last, run, task, key, map_index, reader_run,
                                         reader_task, reader_map, reader_number, reader)
          SELECT a.version, sum(a.count)::int8, min(a.first), max(a.last), run.id, task.id, key.id, a.map_index,
                 coalesce(reader_run.id, 0), coalesce(reader_task.id, 0), a.reader_map, coalesce(own.number, 0),
                 a.reader
          FROM asked a JOIN run ON run.dag = a.dag AND run.run_id = a.run_id
               JOIN name task ON task.text = a.task JOIN name key ON key.text = a.key
               LEFT JOIN run reader_run ON reader_run.dag = a.reader_dag AND reader_run.run_id = a.reader_run_id
               LEFT JOIN name reader_task ON reader_task.text = a.reader_task
               LEFT JOIN LATERAL (
                   SELECT number FROM excom.task_instance i
                   WHERE i.run = reader_run.id AND i.task = reader_task.id AND i.map_index = a.reader_map
                   AND i.attempt = a.attempt
                   UNION ALL
                   SELECT number FROM excom.attempt i
                   WHERE i.run = reader_run.id AND i.task = reader_task.id AND i.map_index = a.reader_map
                   AND i.attempt = a.attempt LIMIT 1) own ON true
          GROUP BY run.id, task.id, key.id, a.map_index, a.version, 9, 10, a.reader_map, 12, a.reader
          ORDER BY run.id, task.id, key.id, a.map_index, a.version, 9, 10, a.reader_map, 12, a.reader
          ON CONFLICT (run, task, key, map_index, version, reader_run, reader_task, reader_map, reader_number, reader)
          DO UPDATE SET count = l.count + excluded.count, first = least(l.first, excluded.first),
              last = greatest(l.last, excluded.last)",
    types: types![
        TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, INT4_ARRAY, INT8_ARRAY, TEXT_ARRAY, TEXT_ARRAY,
        TEXT_ARRAY, INT4_ARRAY, UUID_ARRAY, TEXT_ARRAY, INT8_ARRAY, INT8_ARRAY, INT8_ARRAY,
    ],
};

/// Reads of an XCom: the front of the ledger's key.
const READERS: Statement<'_> = Statement {
    sql: concat!(
        "SELECT ", row!(), ", l.reader, l.reader_map, d.text, r.run_id, t.text
         FROM excom.ledger l LEFT JOIN excom.dag_run r ON r.id = l.reader_run LEFT JOIN excom.name d ON d.id = r.dag
              LEFT JOIN excom.name t ON t.id = l.reader_task AND r.id IS NOT NULL
         WHERE l.run = ", run!("$1", "$2"), " AND l.task = ", name!("$3"), " AND l.map_index IN ($4, $5)
         AND l.key = ", name!("$6"), " ORDER BY l.first, l.reader_task, l.reader"
    ),
    types: types![TEXT, TEXT, TEXT, INT4, INT4, TEXT],
};

/// Reads by a task instance: those in its own run by the run, others by the index of those elsewhere.
const READS_OF: Statement<'_> = Statement {
    sql: concat!(
        "SELECT ",
        row!(),
        ", d.text, r.run_id, t.text, k.text FROM (
             SELECT * FROM excom.ledger WHERE run = ",
        run!("$1", "$2"),
        " AND reader_run = ",
        run!("$1", "$2"),
        "
             AND reader_task = ",
        name!("$3"),
        " AND reader_map = $4
             UNION ALL
             SELECT * FROM excom.ledger WHERE reader_run = ",
        run!("$1", "$2"),
        "
             AND reader_task = ",
        name!("$3"),
        " AND reader_map = $4 AND reader_run <> run AND reader_run > 0) l
         JOIN excom.dag_run r ON r.id = l.run JOIN excom.name d ON d.id = r.dag
         JOIN excom.name t ON t.id = l.task JOIN excom.name k ON k.id = l.key
         ORDER BY l.first, d.text, r.run_id, t.text, k.text, l.map_index, l.version"
    ),
    types: types![TEXT, TEXT, TEXT, INT4],
};

/// What an attempt pushed: entries and history of its task.
const PUSHED_BY: Statement<'_> = Statement {
    sql: concat!(
        "SELECT ", info!(), ", k.text, e.offloaded FROM (
             SELECT version, number, writer, size, hash, shape, head, key, codec = 2 AS offloaded FROM excom.entry
             WHERE run = ", run!("$1", "$2"), " AND task = ", name!("$3"), " AND map_index = $4
             UNION ALL
             SELECT version, number, writer, size, hash, shape, head, key, offloaded FROM excom.past
             WHERE run = ", run!("$1", "$2"), " AND task = ", name!("$3"), " AND map_index = $4) e
         JOIN excom.name k ON k.id = e.key WHERE e.number = $5 AND e.writer = '' ORDER BY e.version, k.text"
    ),
    types: types![TEXT, TEXT, TEXT, INT4, INT4],
};

impl Tables {
    pub(super) async fn readers(&self, key: &XComKey) -> Result<Vec<LedgerRow>> {
        let ti = &key.ti;
        let whole = if ti.is_mapped() { WHOLE } else { ti.map_index };
        let parameters: [Parameter<'_>; 6] =
            [&&*ti.dag_id, &&*ti.run_id, &&*ti.task_id, &ti.map_index, &whole, &&*key.key];
        self.rows(&READERS, &parameters, |found| {
            let (reader, task) = reader(found)?;
            ledger_row(found, key.clone(), reader, task)
        })
        .await
    }

    pub(super) async fn reads_of(&self, ti: &TaskInstanceKey) -> Result<Vec<LedgerRow>> {
        let parameters: [Parameter<'_>; 4] = [&&*ti.dag_id, &&*ti.run_id, &&*ti.task_id, &ti.map_index];
        self.rows(&READS_OF, &parameters, |found| {
            let (dag, run) = (row::text(found, 6)?, row::text(found, 7)?);
            let map_index = found.try_get::<_, i32>(0)?.max(UNMAPPED);
            let key = XComKey::new(dag, run, row::text(found, 8)?, map_index, row::text(found, 9)?)?;
            ledger_row(found, key, told(ti), Some(ti.clone()))
        })
        .await
    }

    pub(super) async fn pushed_by(&self, ti: &TaskInstanceKey, number: u32) -> Result<Vec<EntryInfo>> {
        let parameters: [Parameter<'_>; 5] =
            [&&*ti.dag_id, &&*ti.run_id, &&*ti.task_id, &ti.map_index, &number.cast_signed()];
        self.rows(&PUSHED_BY, &parameters, |found| {
            row::info(found, 0, ti.xcom(row::text(found, 7)?)?, found.try_get(8)?)
        })
        .await
    }

    pub(super) async fn note_reads(&self, reads: &[Reads]) -> Result<()> {
        self.note_reads_by(&NOTE_READS, reads).await
    }

    /// The same, by a statement with these parameters.
    pub(super) async fn note_reads_by(&self, statement: &Statement<'_>, reads: &[Reads]) -> Result<()> {
        let reads: Vec<Read<'_>> = reads.iter().map(Read::of).collect();
        fn all<'a, T>(reads: &'a [Read<'_>], of: impl Fn(&'a Read<'_>) -> T) -> Vec<T> {
            reads.iter().map(of).collect()
        }
        let parameters: [Parameter<'_>; 15] = [
            &all(&reads, |read| read.dag),
            &all(&reads, |read| read.run),
            &all(&reads, |read| read.task),
            &all(&reads, |read| read.key),
            &all(&reads, |read| read.map_index),
            &all(&reads, |read| read.version),
            &all(&reads, |read| read.reader.map(|ti| &*ti.dag_id)),
            &all(&reads, |read| read.reader.map(|ti| &*ti.run_id)),
            &all(&reads, |read| read.reader.map(|ti| &*ti.task_id)),
            &all(&reads, |read| read.reader.map_or(UNMAPPED, |ti| ti.map_index)),
            &all(&reads, |read| read.attempt),
            &all(&reads, |read| &*read.name),
            &all(&reads, |read| read.reads.count as i64),
            &all(&reads, |read| read.reads.first.as_millisecond()),
            &all(&reads, |read| read.reads.last.as_millisecond()),
        ];
        self.connections.write(statement, &parameters).await.map(drop)
    }
}

/// Who read, by the columns behind those of [`ledger_row`].
fn reader(found: &Row) -> Result<(String, Option<TaskInstanceKey>)> {
    let name: &str = found.try_get(6)?;
    if !name.is_empty() {
        return Ok((name.to_owned(), None));
    }
    let Some(task) = found.try_get::<_, Option<String>>(10)? else {
        // The reading run is gone.
        return Ok(("task (removed)".to_owned(), None));
    };
    let ti = TaskInstanceKey::new(row::text(found, 8)?, row::text(found, 9)?, task, found.try_get(7)?)?;
    Ok((told(&ti), Some(ti)))
}

pub(super) fn ledger_row(
    found: &Row,
    key: XComKey,
    reader: String,
    task: Option<TaskInstanceKey>,
) -> Result<LedgerRow> {
    let target = if found.try_get::<_, i32>(0)? == WHOLE {
        ReadTarget::Sequence(key.sequence())
    } else {
        ReadTarget::Entry(key, row::version(found.try_get(1)?)?)
    };
    let number = row::unsigned(found.try_get(2)?);
    Ok(LedgerRow {
        reader,
        task,
        attempt: (number > 0).then_some(number),
        target,
        count: found.try_get::<_, i64>(3)? as u64,
        first: row::time(found.try_get(4)?),
        last: row::time(found.try_get(5)?),
    })
}
