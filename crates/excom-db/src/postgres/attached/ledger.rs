//! The ledger: who read what, and what a try pushed. It lies beside Airflow's tables.

use excom_core::db::{LedgerRow, Reads};
use excom_core::entry::EntryInfo;
use excom_core::{TaskInstanceKey, UNMAPPED, XComKey};

use super::super::connection::{Parameter, Statement, types};
use super::super::failure::Failure;
use super::super::ledger::ledger_row;
use super::super::row::text;
use super::columns::{COLUMNS, info};
use super::{Tables, row};
use crate::ledger::{WHOLE, told};

type Result<T> = std::result::Result<T, Failure>;

/// Reads of many, in the order of their key by all who write. The reading try is Airflow's.
const NOTE_READS: Statement<'_> = Statement {
    sql: "WITH asked AS MATERIALIZED (
              SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
                  AS a (dag, run_id, task, key, map_index, version, reader_dag, reader_run_id, reader_task, reader_map,
                        attempt, reader, count, first, last))
          INSERT INTO excom.ledger AS l (version, count, first, last, dag_id, run_id, task_id, key, map_index, reader_dag,
                                         reader_run, reader_task, reader_map, reader_number, reader)
          SELECT a.version, sum(a.count)::int8, min(a.first), max(a.last), a.dag, a.run_id, a.task, a.key, a.map_index,
                 coalesce(a.reader_dag, ''), coalesce(a.reader_run_id, ''), coalesce(a.reader_task, ''), a.reader_map,
                 coalesce((SELECT try_number FROM task_instance WHERE id = a.attempt),
                          (SELECT try_number FROM task_instance_history WHERE task_instance_id = a.attempt), 0),
                 a.reader
          FROM asked a GROUP BY 1, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
          ORDER BY 5, 6, 7, 9, 8, 1, 10, 11, 12, 13, 14, 15
          ON CONFLICT (dag_id, run_id, task_id, map_index, key, version, reader_dag, reader_run, reader_task, reader_map,
                       reader_number, reader)
          DO UPDATE SET count = l.count + excluded.count, first = least(l.first, excluded.first),
              last = greatest(l.last, excluded.last)",
    types: types![
        TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, INT4_ARRAY, INT8_ARRAY, TEXT_ARRAY, TEXT_ARRAY,
        TEXT_ARRAY, INT4_ARRAY, UUID_ARRAY, TEXT_ARRAY, INT8_ARRAY, INT8_ARRAY, INT8_ARRAY,
    ],
};

/// Reads of an XCom: the front of the ledger's key.
const READERS: Statement<'_> = Statement {
    sql: "SELECT map_index, version, reader_number, count, first, last, reader, reader_map, reader_dag, reader_run,
                 reader_task
          FROM excom.ledger
          WHERE dag_id = $1 AND run_id = $2 AND task_id = $3 AND map_index IN ($4, $5) AND key = $6
          ORDER BY first, reader_task, reader",
    types: types![TEXT, TEXT, TEXT, INT4, INT4, TEXT],
};

/// Reads by a task instance, by their index.
const READS_OF: Statement<'_> = Statement {
    sql: "SELECT map_index, version, reader_number, count, first, last, dag_id, run_id, task_id, key FROM excom.ledger
          WHERE reader_dag = $1 AND reader_run = $2 AND reader_task = $3 AND reader_map = $4
          ORDER BY first, dag_id, run_id, task_id, key, map_index, version",
    types: types![TEXT, TEXT, TEXT, INT4],
};

/// What a try pushed: entries and history of its task instance.
const PUSHED_BY: Statement<'_> = Statement {
    sql: concat!(
        "SELECT ",
        info!(),
        ", e.key, e.offloaded FROM (
             SELECT version, number, writer, size, hash, shape, head, codec, value, key, codec = 2 AS offloaded
             FROM excom.entry() WHERE dag_id = $1 AND run_id = $2 AND task_id = $3 AND map_index = $4
             UNION ALL
             SELECT version, number, writer, size, hash, shape, head, codec, value, key, offloaded FROM excom.history
             WHERE dag_run_id = excom.known_run($1, $2) AND task_id = $3 AND map_index = $4) e
         WHERE e.number = $5 AND e.writer = '' ORDER BY e.version, e.key"
    ),
    types: types![TEXT, TEXT, TEXT, INT4, INT4],
};

impl Tables {
    pub(super) async fn readers(&self, key: &XComKey) -> Result<Vec<LedgerRow>> {
        let ti = &key.ti;
        let whole = if ti.is_mapped() { WHOLE } else { ti.map_index };
        let parameters: [Parameter<'_>; 6] =
            [&&*ti.dag_id, &&*ti.run_id, &&*ti.task_id, &ti.map_index, &whole, &&*key.key];
        self.own
            .rows(&READERS, &parameters, |found| {
                let name: String = found.try_get(6)?;
                if !name.is_empty() {
                    return ledger_row(found, key.clone(), name, None);
                }
                let (dag, run, task) = (text(found, 8)?, text(found, 9)?, text(found, 10)?);
                let reader = TaskInstanceKey::new(dag, run, task, found.try_get(7)?)?;
                ledger_row(found, key.clone(), told(&reader), Some(reader))
            })
            .await
    }

    pub(super) async fn reads_of(&self, ti: &TaskInstanceKey) -> Result<Vec<LedgerRow>> {
        let parameters: [Parameter<'_>; 4] = [&&*ti.dag_id, &&*ti.run_id, &&*ti.task_id, &ti.map_index];
        self.own
            .rows(&READS_OF, &parameters, |found| {
                let map_index = found.try_get::<_, i32>(0)?.max(UNMAPPED);
                let (dag, run, task) = (text(found, 6)?, text(found, 7)?, text(found, 8)?);
                let key = XComKey::new(dag, run, task, map_index, text(found, 9)?)?;
                ledger_row(found, key, told(ti), Some(ti.clone()))
            })
            .await
    }

    pub(super) async fn pushed_by(&self, ti: &TaskInstanceKey, number: u32) -> Result<Vec<EntryInfo>> {
        let parameters: [Parameter<'_>; 5] =
            [&&*ti.dag_id, &&*ti.run_id, &&*ti.task_id, &ti.map_index, &number.cast_signed()];
        self.own
            .rows(&PUSHED_BY, &parameters, |found| {
                row::info(found, 0, ti.xcom(text(found, COLUMNS)?)?, found.try_get(COLUMNS + 1)?)
            })
            .await
    }

    pub(super) async fn note_reads(&self, reads: &[Reads]) -> Result<()> {
        self.own.note_reads_by(&NOTE_READS, reads).await
    }
}
