//! What holds stored bytes, of what Excom wrote: looks through all of it, orphans, and moves to another place. What something
//! else wrote is taken over before it moves.

use excom_core::ObjectName;
use excom_core::db::{Kept, LooseObject, Outside, Place, Scan};
use excom_core::entry::{Entry, Stored, Version, Writer};
use excom_core::store::Side;
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::super::connection::{Parameter, Statement, types};
use super::super::failure::Failure;
use super::super::kept::kept;
use super::super::row::{key, version};
use super::Tables;
use crate::airflow::{self, JSONB};
use crate::kept::{Look, Part};
use crate::packing::{Packed, pack};

type Result<T> = std::result::Result<T, Failure>;

/// The rows that know an object of a version (`$1`) in a store (`$2`), by the indexes of objects.
const KNOWING: Statement<'_> = Statement {
    sql: "SELECT dag_id, run_id, task_id, map_index, key FROM excom.extra
          WHERE version = $1 AND codec = 2 AND excom.reference(codec, body, 'store') = $2
          UNION ALL SELECT dag_id, run_id, task_id, map_index, key FROM excom.history
          WHERE version = $1 AND codec = 2 AND excom.reference(codec, body, 'store') = $2
          UNION ALL SELECT dag_id, run_id, task_id, map_index, key FROM excom.loose_object
          WHERE version = $1 AND store = $2",
    types: types![INT8, TEXT],
};

/// Some rows in the order in which they were made.
macro_rules! kept {
    ($table:literal) => {
        concat!(
            "SELECT e.dag_id, e.run_id, e.task_id, e.map_index, e.key, e.id, e.version, e.size, e.hash,
                    CASE WHEN e.codec = 2 THEN e.body END, e.head = ''
             FROM ",
            $table,
            " e WHERE e.id > $1 AND e.codec >= 0 AND e.number IS NOT NULL AND ($2::text IS NULL OR e.dag_id = $2)
             ORDER BY e.id LIMIT $3"
        )
    };
}

const KEPT: [Type; 3] = [Type::INT8, Type::TEXT, Type::INT8];

/// Entries by the index of their ids.
const KEPT_ENTRIES: Statement<'_> = Statement { sql: kept!("excom.entry()"), types: &KEPT };

/// History with bytes by the index of its ids.
const KEPT_HISTORY: Statement<'_> = Statement { sql: kept!("excom.history"), types: &KEPT };

/// One version by its key.
const MOVE_STORED: Statement<'_> = Statement {
    sql: "SELECT excom.move_stored($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
    types: types![BOOL, TEXT, TEXT, TEXT, INT4, TEXT, INT8, TEXT, TEXT, TEXT, TEXT, TEXT, INT2, BYTEA, INT8],
};

/// A page of Airflow's rows by their key, of the next runs: whole runs, so that a run's number says where it ended. Those
/// that something else wrote; and, in each row, how long the page was and where it ended.
const OUTSIDE: Statement<'_> = Statement {
    sql: "WITH page AS MATERIALIZED (
              SELECT dag_run_id, task_id::text, map_index, key::text FROM xcom WHERE dag_run_id > $1
              ORDER BY dag_run_id FETCH FIRST ($2) ROWS WITH TIES),
          whole AS (SELECT count(*) AS length, max(dag_run_id)::int8 AS last FROM page),
          found AS (
              SELECT e.*, pg_column_size(e.value)::int8 AS bytes
              FROM page p JOIN excom.entry() e ON e.dag_run_id = p.dag_run_id AND e.task_id = p.task_id
                   AND e.map_index = p.map_index AND e.key = p.key
              WHERE e.number IS NULL AND ($3::text IS NULL OR e.dag_id = $3))
          SELECT e.dag_id, e.run_id, e.task_id, e.map_index, e.key, e.version, e.bytes, whole.length, whole.last
          FROM whole LEFT JOIN found e ON true ORDER BY e.dag_run_id, e.task_id, e.map_index, e.key",
    types: types![INT8, INT8, TEXT],
};

/// The value of one of them.
const OUTSIDE_VALUE: Statement<'_> = Statement {
    sql: "SELECT coalesce(e.value::text, 'null') FROM excom.entry() e
          WHERE e.dag_id = $1 AND e.run_id = $2 AND e.task_id = $3 AND e.map_index = $4 AND e.key = $5
          AND e.version = $6 AND e.number IS NULL",
    types: types![TEXT, TEXT, TEXT, INT4, TEXT, INT8],
};

/// One version by its key.
const ADOPT: Statement<'_> = Statement {
    sql: "SELECT excom.adopt($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
    types: types![TEXT, TEXT, TEXT, INT4, TEXT, INT8, TEXT, INT8, INT8, INT8, TEXT, INT2, BYTEA, INT8],
};

impl Tables {
    pub(super) async fn outside(
        &self,
        dag_id: Option<&str>,
        after: Option<Place>,
        limit: u32,
    ) -> Result<Scan<Outside>> {
        let (behind, wanted) = (after.map_or(0, |after| after.row), i64::from(limit));
        let mut next = None;
        let parameters: [Parameter<'_>; 3] = [&behind, &wanted, &dag_id];
        let found = self.own.rows(&OUTSIDE, &parameters, |found| {
            let last: Option<i64> = found.try_get(8)?;
            next = last.filter(|_| found.get::<_, i64>(7) >= wanted).map(|row| Place { past: false, row });
            let Some(code) = found.try_get::<_, Option<i64>>(5)? else { return Ok(None) };
            let size = found.try_get::<_, i64>(6)? as u64;
            Ok(Some(Outside { key: key(found)?, version: version(code)?, size }))
        });
        let items = found.await?.into_iter().flatten().collect();
        Ok(Scan { items, next })
    }

    /// Tried again it would seem to be taken over already, and then it is found as what Excom wrote.
    pub(super) async fn adopt(&self, found: &Outside, at: Timestamp) -> Result<Option<Kept>> {
        let (ti, code) = (&found.key.ti, found.version.to_code());
        let (dag, run, task, name) = (&*ti.dag_id, &*ti.run_id, &*ti.task_id, &*found.key.key);
        let parameters: [Parameter<'_>; 6] = [&dag, &run, &task, &ti.map_index, &name, &code];
        let text = |row: &Row| Ok(row.try_get::<_, String>(0)?);
        let Some(text) = self.own.one(&OUTSIDE_VALUE, &parameters, text).await? else { return Ok(None) };
        if airflow::envelope(&text).is_some() {
            return Ok(None);
        }
        let Entry { size, hash, shape, stored, .. } = airflow::bare(found.version, &text)?;
        let Stored::Inline(value) = stored else { return Ok(None) };
        let packed = pack(value.bytes(), false, None);
        // Of a JSON text in a JSON string the column holds another text.
        let (codec, body) = match airflow::inner(&airflow::compact(&text)) {
            None => (JSONB, Vec::new()),
            Some(_) => (packed.codec as i16, packed.body.to_vec()),
        };
        let writer = serde_json::to_string(&Writer::Outside).unwrap_or_default();
        let parameters: [Parameter<'_>; 14] = [
            &dag,
            &run,
            &task,
            &ti.map_index,
            &name,
            &code,
            &writer,
            &size.cast_signed(),
            &hash.0.cast_signed(),
            &shape.to_code(),
            &packed.head,
            &codec,
            &body,
            &at.as_millisecond(),
        ];
        let rows = self.own.connections.write(&ADOPT, &parameters).await?;
        let kept = Kept {
            key: found.key.clone(),
            version: found.version,
            past: false,
            size,
            hash,
            secret: false,
            reference: None,
        };
        Ok(rows[0].try_get::<_, bool>(0)?.then_some(kept))
    }

    pub(super) async fn knows_object(
        &self,
        store: &str,
        object: &ObjectName,
        version: Version,
    ) -> Result<bool> {
        let keys = self.own.rows(&KNOWING, &[&version.to_code(), &store], key).await?;
        let side = Side::split(store).1;
        Ok(keys.iter().any(|key| ObjectName::on(side, key, version) == *object))
    }

    pub(super) async fn kept(
        &self,
        dag_id: Option<&str>,
        after: Option<Place>,
        limit: u32,
    ) -> Result<Scan<Kept>> {
        let mut look = Look::new(after, limit);
        while let Some(Part { past, behind, wanted }) = look.next() {
            let statement = if past { &KEPT_HISTORY } else { &KEPT_ENTRIES };
            let of = |found: &_| kept(found, past);
            look.add(self.own.rows(statement, &[&behind, &dag_id, &wanted], of).await?);
        }
        Ok(look.scan())
    }

    pub(super) async fn note_move(&self, found: &Kept, store: &str, at: Timestamp) -> Result<bool> {
        self.own.note_move(found, store, at).await
    }

    /// Not tried again when its outcome is not known, because then it would seem to have given way.
    pub(super) async fn move_stored(&self, found: &Kept, to: &Stored, at: Timestamp) -> Result<bool> {
        let (store, value, head, codec, body) = match to {
            Stored::Inline(value) => {
                let packed = pack(value.bytes(), found.secret, None);
                let (codec, body) = match airflow::is_stable(value.bytes()) {
                    true => (JSONB, Vec::new()),
                    false => (packed.codec as i16, packed.body.to_vec()),
                };
                (None, value.as_str().to_owned(), Some(packed.head), codec, body)
            }
            // The beginning of an offloaded value stays.
            Stored::Offloaded(reference) => {
                let value =
                    airflow::in_place(found.version, found.size, found.hash, found.secret, "", reference);
                let packed = Packed::reference(reference, String::new());
                (Some(&*reference.store), value, None, packed.codec as i16, packed.body.to_vec())
            }
        };
        let (from, mac) = found.place();
        let ti = &found.key.ti;
        let parameters: [Parameter<'_>; 15] = [
            &found.past,
            &&*ti.dag_id,
            &&*ti.run_id,
            &&*ti.task_id,
            &ti.map_index,
            &&*found.key.key,
            &found.version.to_code(),
            &from,
            &mac,
            &store,
            &value,
            &head,
            &codec,
            &&body[..],
            &at.as_millisecond(),
        ];
        let rows = self.own.connections.write_once(&MOVE_STORED, &parameters).await?;
        Ok(rows[0].try_get(0)?)
    }

    pub(super) async fn claim_orphan(&self, object: &LooseObject) -> Result<bool> {
        self.own.claim_orphan(object).await
    }
}
