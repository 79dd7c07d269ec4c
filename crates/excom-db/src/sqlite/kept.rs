//! What holds stored bytes: looks through all of it, and orphans.

use excom_core::db::{Kept, LooseObject, Place, Scan};
use excom_core::entry::Version;
use excom_core::value::ContentHash;
use excom_core::{ObjectName, XComKey};
use rusqlite::Row;

use super::failure::{Failure, damaged};
use super::read::View;
use super::row;
use super::write::key;
use super::writer::Transaction;

type Result<T> = std::result::Result<T, Failure>;

/// The rows that know an object of a version (`?1`) in a store (`?2`), with their keys in [`key`]'s columns.
const KNOWING: &str = "SELECT d.text, r.run_id, t.text, o.map_index, k.text FROM
         (SELECT run, task, map_index, key FROM entry
          WHERE version = ?1 AND codec = 2 AND body ->> 'store' = ?2
          UNION ALL SELECT run, task, map_index, key FROM history
          WHERE version = ?1 AND codec = 2 AND body ->> 'store' = ?2
          UNION ALL SELECT run, task, map_index, key FROM loose_object WHERE version = ?1 AND store = ?2) o
     JOIN dag_run r ON r.id = o.run JOIN name d ON d.id = r.dag
     JOIN name t ON t.id = o.task JOIN name k ON k.id = o.key";

impl View<'_> {
    pub(super) fn knows_object(&self, store: &str, object: &ObjectName, version: Version) -> Result<bool> {
        let keys = self.rows(KNOWING, (version.to_code(), store), key)?;
        Ok(keys.iter().any(|key| ObjectName::of(key, version) == *object))
    }

    pub(super) fn kept(&self, dag_id: Option<&str>, after: Option<Place>, limit: u32) -> Result<Scan<Kept>> {
        let dag = match dag_id {
            None => None,
            Some(dag_id) => match self.0.name(dag_id)? {
                Some(dag) => Some(dag),
                None => return Ok(Scan { items: Vec::new(), next: None }),
            },
        };
        let mut items = Vec::new();
        let mut last = after.unwrap_or(Place { past: false, row: 0 });
        for past in [false, true] {
            if past < last.past {
                continue;
            }
            let row = if past == last.past { last.row } else { 0 };
            let sql = format!(
                "SELECT d.text, r.run_id, t.text, e.map_index, k.text, e.id, e.version, e.size, e.hash, e.codec,
                        iif(e.codec = 2, e.body, NULL)
                 FROM {} e JOIN dag_run r ON r.id = e.run JOIN name d ON d.id = r.dag
                      JOIN name t ON t.id = e.task JOIN name k ON k.id = e.key
                 WHERE e.id > ?1 AND e.codec IS NOT NULL AND r.dag = ifnull(?2, r.dag) ORDER BY e.id LIMIT ?3",
                if past { "history" } else { "entry" }
            );
            let wanted = i64::from(limit) + 1 - items.len() as i64;
            items.extend(
                self.rows(&sql, (row, dag, wanted), |found| Ok((past, found.get(5)?, kept(found, past)?)))?,
            );
        }
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        if let Some((past, row, _)) = items.last() {
            last = Place { past: *past, row: *row };
        }
        Ok(Scan { items: items.into_iter().map(|(.., kept)| kept).collect(), next: more.then_some(last) })
    }
}

fn kept(found: &Row<'_>, past: bool) -> Result<Kept> {
    let reference: Option<Vec<u8>> = found.get(10)?;
    let reference = reference.map(|reference| serde_json::from_slice(&reference));
    Ok(Kept {
        key: key(found)?,
        version: row::version(found.get(6)?)?,
        past,
        size: found.get::<_, i64>(7)? as u64,
        hash: ContentHash(found.get::<_, i64>(8)?.cast_unsigned()),
        reference: reference.transpose().map_err(|_| damaged("an entry with a damaged reference"))?,
    })
}

impl Transaction<'_> {
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
            "INSERT OR IGNORE INTO loose_object VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1)",
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
