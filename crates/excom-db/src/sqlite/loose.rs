//! Loose objects: those that are about to be written, or to be removed.

use excom_core::db::{LooseObject, Pushed, being_removed};
use jiff::Timestamp;
use rusqlite::params;

use super::failure::Failure;
use super::read::View;
use super::row;
use super::write::{Xcom, key};
use super::writer::Transaction;

type Result<T> = std::result::Result<T, Failure>;

/// Notes objects as loose that may go at once, from what a SELECT between the two finds. Whoever removes another object
/// of the same version may go on, so that one keeps its claim, and its name is not free before.
macro_rules! loosen {
    ($($select:tt)+) => {
        concat!(
            "INSERT INTO excom_loose_object ",
            $($select)+,
            " ON CONFLICT DO UPDATE SET store = excluded.store, since = excluded.since, purge = max(purge, 1)"
        )
    };
}

pub(super) use loosen;

/// Loose objects, in [`loose`]'s columns: being written (purge 0), to be removed (1), being removed (2).
const LOOSE: &str = "SELECT d.text, r.run_id, t.text, l.map_index, k.text, l.version, l.store, l.since
    FROM excom_loose_object l JOIN excom_dag_run r ON r.id = l.run JOIN excom_name d ON d.id = r.dag
         JOIN excom_name t ON t.id = l.task JOIN excom_name k ON k.id = l.key";

fn loose(found: &rusqlite::Row<'_>) -> Result<LooseObject> {
    Ok(LooseObject {
        key: key(found)?,
        version: row::version(found.get(5)?)?,
        store: row::text(found, 6)?,
        since: row::time(found.get(7)?),
    })
}

impl View<'_> {
    pub(super) fn intents(&self) -> Result<Vec<LooseObject>> {
        self.rows(&format!("{LOOSE} WHERE l.purge = 0"), (), loose)
    }
}

impl Transaction<'_> {
    pub(super) fn note_intent(&self, object: &LooseObject) -> Result<Pushed> {
        let xcom = self.xcom(&object.key, object.since)?;
        if self.current_version(xcom)? == Some(object.version) || self.had_version(xcom, object.version)? {
            return Ok(Pushed::Already);
        }
        let Xcom { ti, key } = xcom;
        // An object that is being removed must not become an intent again: whoever removes it goes on.
        let noted = self.execute(
            "INSERT INTO excom_loose_object VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0)
             ON CONFLICT DO UPDATE SET since = excluded.since WHERE purge = 0",
            params![
                object.version.to_code(),
                ti.run,
                ti.task,
                key,
                ti.map_index,
                &*object.store,
                object.since.as_millisecond()
            ],
        )?;
        match noted {
            0 => Err(being_removed(&object.key, object.version).into()),
            _ => Ok(Pushed::Written),
        }
    }

    pub(super) fn claim_loose(
        &self,
        before: Timestamp,
        at: Timestamp,
        limit: u32,
    ) -> Result<Vec<LooseObject>> {
        let sql = format!("{LOOSE} WHERE l.purge = 1 OR l.since <= ?1 LIMIT ?2");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let free = statement.query_and_then((before.as_millisecond(), limit), loose)?;
        let mut claimed = free.collect::<Result<Vec<LooseObject>>>()?;
        for object in &mut claimed {
            object.since = row::time(at.as_millisecond());
            self.of_loose(
                object,
                "UPDATE excom_loose_object SET purge = 2, since = ?7
                 WHERE version = ?1 AND run = ?2 AND task = ?3 AND key = ?4 AND map_index = ?5 AND store = ?6",
            )?;
        }
        Ok(claimed)
    }

    pub(super) fn forget_loose(&self, objects: &[LooseObject]) -> Result<()> {
        objects.iter().try_for_each(|object| {
            self.of_loose(
                object,
                "DELETE FROM excom_loose_object
                 WHERE version = ?1 AND run = ?2 AND task = ?3 AND key = ?4 AND map_index = ?5 AND store = ?6
                 AND since = ?7 AND purge = 2",
            )
        })
    }

    pub(super) fn release_loose(&self, objects: &[LooseObject]) -> Result<()> {
        objects.iter().try_for_each(|object| {
            self.of_loose(
                object,
                "UPDATE excom_loose_object SET purge = 1
                 WHERE version = ?1 AND run = ?2 AND task = ?3 AND key = ?4 AND map_index = ?5 AND store = ?6
                 AND since = ?7 AND purge = 2",
            )
        })
    }

    /// Does something with what is noted of a loose object.
    fn of_loose(&self, object: &LooseObject, sql: &'static str) -> Result<()> {
        let Some(Xcom { ti, key }) = self.known_xcom(&object.key)? else { return Ok(()) };
        let version = object.version.to_code();
        let since = object.since.as_millisecond();
        self.execute(sql, (version, ti.run, ti.task, key, ti.map_index, &*object.store, since))?;
        Ok(())
    }
}
