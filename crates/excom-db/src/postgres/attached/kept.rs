//! What holds stored bytes, of what Excom wrote: looks through all of it, orphans, and moves to another place.

use excom_core::ObjectName;
use excom_core::db::{Kept, LooseObject, Place, Scan};
use excom_core::entry::{Stored, Version};
use excom_core::store::Side;
use jiff::Timestamp;
use tokio_postgres::types::Type;

use super::super::connection::{Parameter, Statement, types};
use super::super::failure::Failure;
use super::super::kept::kept;
use super::super::row::key;
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

impl Tables {
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
