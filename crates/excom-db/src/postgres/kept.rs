//! What holds stored bytes: looks through all of it, orphans, and moves to another place.

use excom_core::ObjectName;
use excom_core::db::{Kept, LooseObject, Place, Scan};
use excom_core::entry::{Stored, Version};
use excom_core::store::Side;
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::Tables;
use super::connection::{Parameter, Statement, types};
use super::failure::Failure;
use super::row;
use crate::kept::{Look, Part};
use crate::packing::{Packed, pack};

type Result<T> = std::result::Result<T, Failure>;

/// The rows that know an object of a version (`$1`) in a store (`$2`), by the indexes of objects.
const KNOWING: Statement<'_> = Statement {
    sql: "SELECT d.text, r.run_id, t.text, o.map_index, k.text FROM
              (SELECT run, task, map_index, key FROM excom.entry
               WHERE version = $1 AND codec = 2 AND excom.reference(codec, body, 'store') = $2
               UNION ALL SELECT run, task, map_index, key FROM excom.history
               WHERE version = $1 AND codec = 2 AND excom.reference(codec, body, 'store') = $2
               UNION ALL SELECT run, task, map_index, key FROM excom.loose_object
               WHERE version = $1 AND store = $2) o
          JOIN excom.dag_run r ON r.id = o.run JOIN excom.name d ON d.id = r.dag
          JOIN excom.name t ON t.id = o.task JOIN excom.name k ON k.id = o.key",
    types: types![INT8, TEXT],
};

/// Some rows in the order in which they were made.
macro_rules! kept {
    ($table:literal) => {
        concat!(
            "SELECT d.text, r.run_id, t.text, e.map_index, k.text, e.id, e.version, e.size, e.hash,
                    CASE WHEN e.codec = 2 THEN e.body END, e.head = ''
             FROM ", $table, " e JOIN excom.dag_run r ON r.id = e.run JOIN excom.name d ON d.id = r.dag
                  JOIN excom.name t ON t.id = e.task JOIN excom.name k ON k.id = e.key
             WHERE e.id > $1 AND e.codec >= 0 AND ($2::text IS NULL OR d.text = $2) ORDER BY e.id LIMIT $3"
        )
    };
}

const KEPT: [Type; 3] = [Type::INT8, Type::TEXT, Type::INT8];

/// Entries by the index of their ids.
const KEPT_ENTRIES: Statement<'_> = Statement { sql: kept!("excom.entry"), types: &KEPT };

/// History with bytes by the index of its ids.
const KEPT_HISTORY: Statement<'_> = Statement { sql: kept!("excom.history"), types: &KEPT };

/// One version by its key.
const NOTE_MOVE: Statement<'_> = Statement {
    sql: "SELECT excom.note_move($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    types: types![BOOL, TEXT, TEXT, TEXT, INT4, TEXT, INT8, TEXT, TEXT, TEXT, INT8],
};

/// One version by its key.
const MOVE_STORED: Statement<'_> = Statement {
    sql: "SELECT excom.move_stored($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
    types: types![BOOL, TEXT, TEXT, TEXT, INT4, TEXT, INT8, TEXT, TEXT, TEXT, TEXT, INT2, BYTEA, INT8],
};

/// One version by its key.
const CLAIM_ORPHAN: Statement<'_> = Statement {
    sql: "SELECT excom.claim_orphan($1, $2, $3, $4, $5, $6, $7, $8)",
    types: types![TEXT, TEXT, TEXT, INT4, TEXT, INT8, TEXT, INT8],
};

impl Tables {
    pub(super) async fn knows_object(
        &self,
        store: &str,
        object: &ObjectName,
        version: Version,
    ) -> Result<bool> {
        let keys = self.rows(&KNOWING, &[&version.to_code(), &store], row::key).await?;
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
            look.add(self.rows(statement, &[&behind, &dag_id, &wanted], |found| kept(found, past)).await?);
        }
        Ok(look.scan())
    }

    pub(super) async fn note_move(&self, found: &Kept, store: &str, at: Timestamp) -> Result<bool> {
        let (from, mac) = found.place();
        if from == Some(store) {
            return Ok(false);
        }
        let key = row::Key::of(&found.key);
        let [dag, run, task, map_index, name] = key.parameters();
        let parameters: [Parameter<'_>; 11] = [
            &found.past,
            dag,
            run,
            task,
            map_index,
            name,
            &found.version.to_code(),
            &from,
            &mac,
            &store,
            &at.as_millisecond(),
        ];
        let rows = self.connections.write(&NOTE_MOVE, &parameters).await?;
        Ok(rows[0].try_get(0)?)
    }

    /// Not tried again when its outcome is not known, because then it would seem to have given way.
    pub(super) async fn move_stored(&self, found: &Kept, to: &Stored, at: Timestamp) -> Result<bool> {
        let (store, packed) = match to {
            Stored::Inline(value) => (None, pack(value.bytes(), found.secret, None)),
            Stored::Offloaded(reference) => {
                (Some(&*reference.store), Packed::reference(reference, String::new()))
            }
        };
        // The beginning of an offloaded value stays.
        let head = store.is_none().then_some(&packed.head);
        let (from, mac) = found.place();
        let key = row::Key::of(&found.key);
        let [dag, run, task, map_index, name] = key.parameters();
        let parameters: [Parameter<'_>; 14] = [
            &found.past,
            dag,
            run,
            task,
            map_index,
            name,
            &found.version.to_code(),
            &from,
            &mac,
            &store,
            &head,
            &(packed.codec as i16),
            &&packed.body[..],
            &at.as_millisecond(),
        ];
        let rows = self.connections.write_once(&MOVE_STORED, &parameters).await?;
        Ok(rows[0].try_get(0)?)
    }

    pub(super) async fn claim_orphan(&self, object: &LooseObject) -> Result<bool> {
        let key = row::Key::of(&object.key);
        let [dag, run, task, map_index, name] = key.parameters();
        let parameters: [Parameter<'_>; 8] = [
            dag,
            run,
            task,
            map_index,
            name,
            &object.version.to_code(),
            &&*object.store,
            &object.since.as_millisecond(),
        ];
        let rows = self.connections.write(&CLAIM_ORPHAN, &parameters).await?;
        Ok(rows[0].try_get(0)?)
    }
}

pub(super) fn kept(found: &Row, past: bool) -> Result<(Place, Kept)> {
    let kept = Kept {
        key: row::key(found)?,
        version: row::version(found.try_get(6)?)?,
        past,
        size: found.try_get::<_, i64>(7)? as u64,
        hash: row::hash(found.try_get(8)?),
        secret: found.try_get(10)?,
        reference: found.try_get::<_, Option<&[u8]>>(9)?.map(row::reference).transpose()?,
    };
    Ok((Place { past, row: found.try_get(5)? }, kept))
}
