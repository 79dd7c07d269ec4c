//! What holds stored bytes: looks through all of it, orphans, and moves to another place.

use std::sync::Arc;

use excom_core::db::{Kept, LooseObject, Place, Scan, retired_key};
use excom_core::entry::{Stored, Version};
use excom_core::store::Side;
use excom_core::value::ContentHash;
use excom_core::{ObjectName, XComKey};
use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, params};
use zstd::dict::EncoderDictionary;

use super::failure::{Failure, damaged};
use super::read::View;
use super::row;
use super::write::{Xcom, key};
use super::writer::Transaction;
use crate::kept::{Look, Part};
use crate::packing::{Packed, pack};

type Result<T> = std::result::Result<T, Failure>;

/// The rows that know an object of a version (`?1`) in a store (`?2`), with their keys in [`key`]'s columns.
const KNOWING: &str = "SELECT d.text, r.run_id, t.text, o.map_index, k.text FROM
         (SELECT run, task, map_index, key FROM excom_entry
          WHERE version = ?1 AND codec = 2 AND body ->> 'store' = ?2
          UNION ALL SELECT run, task, map_index, key FROM excom_history
          WHERE version = ?1 AND codec = 2 AND body ->> 'store' = ?2
          UNION ALL SELECT run, task, map_index, key FROM excom_loose_object WHERE version = ?1 AND store = ?2) o
     JOIN excom_dag_run r ON r.id = o.run JOIN excom_name d ON d.id = r.dag
     JOIN excom_name t ON t.id = o.task JOIN excom_name k ON k.id = o.key";

impl View<'_> {
    pub(super) fn knows_object(&self, store: &str, object: &ObjectName, version: Version) -> Result<bool> {
        let keys = self.rows(KNOWING, (version.to_code(), store), key)?;
        let (_, side) = Side::split(store);
        Ok(keys.iter().any(|key| ObjectName::on(side, key, version) == *object))
    }

    /// A page of versions; `besides` joins what else an entry needs.
    pub(super) fn kept(
        &self,
        besides: &str,
        dag_id: Option<&str>,
        after: Option<Place>,
        limit: u32,
    ) -> Result<Scan<Kept>> {
        let dag = match dag_id {
            None => None,
            Some(dag_id) => match self.0.name(dag_id)? {
                Some(dag) => Some(dag),
                None => return Ok(Scan { items: Vec::new(), next: None }),
            },
        };
        let mut look = Look::new(after, limit);
        while let Some(Part { past, behind, wanted }) = look.next() {
            let (table, besides) = if past { ("excom_history", "") } else { ("excom_entry", besides) };
            let sql = format!(
                "SELECT d.text, r.run_id, t.text, e.map_index, k.text, e.id, e.version, e.size, e.hash, e.codec,
                        iif(e.codec = 2, e.body, NULL), e.head = ''
                 FROM {table} e JOIN excom_dag_run r ON r.id = e.run JOIN excom_name d ON d.id = r.dag
                      JOIN excom_name t ON t.id = e.task JOIN excom_name k ON k.id = e.key {besides}
                 WHERE e.id > ?1 AND e.codec IS NOT NULL AND r.dag = ifnull(?2, r.dag) ORDER BY e.id LIMIT ?3"
            );
            look.add(self.rows(&sql, (behind, dag, wanted), |found| kept(found, past))?);
        }
        Ok(look.scan())
    }
}

fn kept(found: &Row<'_>, past: bool) -> Result<(Place, Kept)> {
    let reference: Option<Vec<u8>> = found.get(10)?;
    let reference = reference.map(|reference| serde_json::from_slice(&reference));
    let kept = Kept {
        key: key(found)?,
        version: row::version(found.get(6)?)?,
        past,
        size: found.get::<_, i64>(7)? as u64,
        hash: ContentHash(found.get::<_, i64>(8)?.cast_unsigned()),
        secret: found.get(11)?,
        reference: reference.transpose().map_err(|_| damaged("an entry with a damaged reference"))?,
    };
    Ok((Place { past, row: found.get(5)? }, kept))
}

/// The row of a version (`?1` to `?5`) that still is in the place (`?6`, `?7`) where it was found.
const AS_FOUND: &str = "WHERE run = ?1 AND task = ?2 AND key = ?3 AND map_index = ?4 AND version = ?5
    AND codec IS NOT NULL AND iif(codec = 2, body ->> 'store', NULL) IS ?6
    AND iif(codec = 2, body ->> 'mac', NULL) IS ?7";

fn table(found: &Kept) -> &'static str {
    if found.past { "excom_history" } else { "excom_entry" }
}

/// A value as its row holds it after a move.
#[derive(Clone)]
pub(super) struct Moved {
    /// The store and the key that seals it, when it is in one.
    store: Option<(Arc<str>, Arc<str>)>,
    /// The beginning of an offloaded value stays, so none is here.
    packed: Packed,
}

impl Moved {
    pub(super) fn of(stored: &Stored, secret: bool, dictionary: Option<&EncoderDictionary<'_>>) -> Self {
        match stored {
            Stored::Inline(value) => Self { store: None, packed: pack(value.bytes(), secret, dictionary) },
            Stored::Offloaded(reference) => Self {
                store: Some((reference.store.clone(), reference.key_id.clone())),
                packed: Packed::reference(reference, String::new()),
            },
        }
    }
}

impl Transaction<'_> {
    pub(super) fn note_move(&self, found: &Kept, store: &str, at: Timestamp) -> Result<bool> {
        let Some(Xcom { ti, key }) = self.known_xcom(&found.key)? else { return Ok(false) };
        let (from, mac) = found.place();
        if from == Some(store) {
            return Ok(false);
        }
        let sql = format!(
            "INSERT OR IGNORE INTO excom_loose_object SELECT version, run, task, key, map_index, ?8, ?9, 0 FROM {} {AS_FOUND}",
            table(found)
        );
        let bound = params![
            ti.run,
            ti.task,
            key,
            ti.map_index,
            found.version.to_code(),
            from,
            mac,
            store,
            at.as_millisecond()
        ];
        Ok(self.connection.prepare_cached(&sql)?.execute(bound)? > 0)
    }

    pub(super) fn move_stored(&self, found: &Kept, to: &Moved, at: Timestamp) -> Result<bool> {
        let Some(xcom) = self.known_xcom(&found.key)? else { return Ok(false) };
        let Xcom { ti, key } = xcom;
        let version = found.version.to_code();
        let (from, mac) = found.place();
        let to_store = to.store.as_ref().map(|(store, _)| &**store);
        if let Some((_, key_id)) = &to.store
            && self.is_retired(key_id)?
        {
            return Ok(false);
        }
        let stays = to_store.is_some() && to_store == from;
        if !stays && !self.may_move(xcom, found.version, to_store)? {
            return Ok(false);
        }
        let besides = if found.past { ", offloaded = ?9 = 2" } else { "" };
        let sql = format!(
            "UPDATE {} SET head = ifnull(?8, head), codec = ?9, body = ?10{besides} {AS_FOUND}",
            table(found)
        );
        let moved = self.connection.prepare_cached(&sql)?.execute(params![
            ti.run,
            ti.task,
            key,
            ti.map_index,
            version,
            from,
            mac,
            to.store.is_none().then_some(&to.packed.head),
            to.packed.codec as i64,
            (!to.packed.body.is_empty()).then_some(&to.packed.body[..]),
        ])?;
        if moved == 0 || stays {
            return Ok(moved > 0);
        }
        self.take_intent(xcom, found.version)?;
        if let Some(from) = from {
            self.execute(
                "INSERT INTO excom_loose_object VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1)",
                (version, ti.run, ti.task, key, ti.map_index, from, at.as_millisecond()),
            )?;
        }
        Ok(true)
    }

    /// Whether nothing is to be sealed with a key any more.
    pub(super) fn is_retired(&self, key_id: &str) -> Result<bool> {
        let mut statement = self.connection.prepare_cached("SELECT 1 FROM excom_mark WHERE name = ?1")?;
        Ok(statement.exists([retired_key(key_id)])?)
    }

    /// Whether what is loose of a version lets it move to a store, or into the database.
    fn may_move(&self, xcom: Xcom, version: Version, to: Option<&str>) -> Result<bool> {
        let Xcom { ti, key } = xcom;
        let loose: Option<(String, bool)> = self
            .connection
            .prepare_cached(
                "SELECT store, purge FROM excom_loose_object
                 WHERE version = ?1 AND run = ?2 AND task = ?3 AND key = ?4 AND map_index = ?5",
            )?
            .query_row((version.to_code(), ti.run, ti.task, key, ti.map_index), |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        Ok(match (to, loose) {
            (Some(store), Some((intent, purge))) => !purge && intent == store,
            (Some(_), None) => false,
            // Something of it that is being written or removed has the only row that there is for it.
            (None, loose) => loose.is_none(),
        })
    }

    pub(super) fn claim_orphan(&self, object: &LooseObject) -> Result<bool> {
        let mut statement = self.connection.prepare_cached(KNOWING)?;
        let mut rows = statement.query((object.version.to_code(), &*object.store))?;
        while let Some(found) = rows.next()? {
            let known: XComKey = key(found)?;
            if known == object.key {
                return Ok(false);
            }
        }
        let xcom = self.xcom(&object.key, object.since)?;
        let claimed = self.execute(
            "INSERT OR IGNORE INTO excom_loose_object VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1)",
            (
                object.version.to_code(),
                xcom.ti.run,
                xcom.ti.task,
                xcom.key,
                xcom.ti.map_index,
                &*object.store,
                object.since.as_millisecond(),
            ),
        )?;
        Ok(claimed > 0)
    }
}
