//! Loose objects: those that are about to be written, or to be removed.

use excom_core::db::{LooseObject, Pushed, being_removed};
use excom_core::entry::Version;
use jiff::Timestamp;
use mysql_async::Row;

use super::Tables;
use super::connection::{Connection, named};
use super::failure::Failure;
use super::names::Xcom;
use super::read::with;
use super::row;
use super::write::{of_version, step};

type Result<T> = std::result::Result<T, Failure>;

/// An object that may go at once, by its key.
const LOOSEN: &str =
    "INSERT INTO excom_loose_object (version, run, task, xcom_key, map_index, store, since, is_purge)
    VALUES (:version, :run, :task, :key, :map_index, :store, :since, TRUE)
    ON DUPLICATE KEY UPDATE store = VALUES(store), since = VALUES(since), is_purge = TRUE";

/// An intent by its key; one that is there is of an earlier try.
pub(super) const MAKE_INTENT: &str = "INSERT INTO excom_loose_object
        (version, run, task, xcom_key, map_index, store, since, is_purge)
    VALUES (:version, :run, :task, :key, :map_index, :store, :since, FALSE)";

const RENEW_INTENT: &str = "UPDATE excom_loose_object SET since = :since
    WHERE version = :version AND run = :run AND task = :task AND xcom_key = :key AND map_index = :map_index
    AND NOT is_purge";

/// Loose objects are few, so all are looked at. One whose push is just being written is left to it. What was claimed
/// without an answer waits until it is taken for abandoned.
const UNCLAIMED: &str = "SELECT version, run, task, xcom_key, map_index FROM excom_loose_object
    WHERE (is_purge AND NOT is_claimed) OR since <= :before LIMIT :limit FOR UPDATE SKIP LOCKED";

const CLAIM: &str = "UPDATE excom_loose_object SET is_purge = TRUE, is_claimed = TRUE, since = :at
    WHERE version = :version AND run = :run AND task = :task AND xcom_key = :key AND map_index = :map_index";

/// What [`loose`] reads.
macro_rules! loose {
    () => {
        "SELECT STRAIGHT_JOIN d.text, r.run_id, t.text, l.map_index, k.text, l.version, l.store, l.since "
    };
}

macro_rules! named_loose {
    () => {
        " JOIN excom_dag_run r ON r.id = l.run JOIN excom_name d ON d.id = r.dag
          JOIN excom_name t ON t.id = l.task JOIN excom_name k ON k.id = l.xcom_key"
    };
}

/// Loose objects by their keys.
const CLAIMED: &str = concat!(
    loose!(),
    "FROM JSON_TABLE(:objects, '$[*]' COLUMNS (
         version BIGINT PATH '$[0]', run INT PATH '$[1]', task INT PATH '$[2]', xcom_key INT PATH '$[3]',
         map_index INT PATH '$[4]')) a
     JOIN excom_loose_object l ON l.version = a.version AND l.run = a.run AND l.task = a.task
         AND l.xcom_key = a.xcom_key AND l.map_index = a.map_index",
    named_loose!()
);

/// Objects that are about to be written: loose ones are few, so all are looked at.
const INTENTS: &str = concat!(loose!(), "FROM excom_loose_object l", named_loose!(), " WHERE NOT l.is_purge");

/// One by its key, as far as it is claimed as it is told.
macro_rules! of_claimed {
    ($what:literal) => {
        concat!(
            $what,
            " WHERE version = :version AND run = :run AND task = :task AND xcom_key = :key
              AND map_index = :map_index AND store = :store AND since = :since AND is_claimed"
        )
    };
}

const FORGET: &str = of_claimed!("DELETE FROM excom_loose_object");

const RELEASE: &str = of_claimed!("UPDATE excom_loose_object SET is_claimed = FALSE");

impl Connection {
    /// Lets an object go.
    pub(super) async fn loosen(&mut self, of: Xcom, version: Version, store: &str, at: i64) -> Result<()> {
        let parameters = with(with(of_version(of, version), "store", store), "since", at);
        self.change(LOOSEN, parameters).await.map(drop)
    }

    async fn note_intent(&mut self, object: &LooseObject) -> Result<Pushed> {
        let since = object.since.as_millisecond();
        let of = self.xcom(&object.key, since).await?;
        self.take([of.ti]).await?;
        if self.versions(of, object.version).await?.1 {
            return Ok(Pushed::Already);
        }
        let intent = with(of_version(of, object.version), "since", since);
        if !self.insert(MAKE_INTENT, with(intent.clone(), "store", &*object.store)).await?
            // An object that is being removed must not become an intent again: whoever removes it goes on.
            && self.change(RENEW_INTENT, intent).await? == 0
        {
            return Err(being_removed(&object.key, object.version).into());
        }
        Ok(Pushed::Written)
    }

    async fn claim_loose(&mut self, before: i64, at: i64, limit: u32) -> Result<Vec<LooseObject>> {
        let chosen = self.rows(UNCLAIMED, named! { "before" => before, "limit" => limit }).await?;
        let mut keys = Vec::with_capacity(chosen.len());
        for found in &chosen {
            let key: [i64; 5] = [
                row::int(found, 0)?,
                row::int(found, 1)?,
                row::int(found, 2)?,
                row::int(found, 3)?,
                row::int(found, 4)?,
            ];
            keys.push(key);
            let [version, run, task, key, map_index] = key;
            let parameters = named! {
                "version" => version, "run" => run, "task" => task, "key" => key, "map_index" => map_index,
                "at" => at,
            };
            self.change(CLAIM, parameters).await?;
        }
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let keys = serde_json::to_string(&keys).unwrap_or_default();
        self.rows(CLAIMED, named! { "objects" => keys }).await?.iter().map(loose).collect()
    }

    async fn of_claimed(&mut self, what: &str, objects: &[LooseObject]) -> Result<()> {
        for object in objects {
            if let Some(of) = self.known_xcom(&object.key).await? {
                let parameters = with(of_version(of, object.version), "store", &*object.store);
                self.change(what, with(parameters, "since", object.since.as_millisecond())).await?;
            }
        }
        Ok(())
    }
}

impl Tables {
    pub(super) async fn note_intent(&self, object: &LooseObject) -> Result<Pushed> {
        step!(self, write, connection.note_intent(object)).await
    }

    pub(super) async fn claim_loose(
        &self,
        before: Timestamp,
        at: Timestamp,
        limit: u32,
    ) -> Result<Vec<LooseObject>> {
        let (before, at) = (before.as_millisecond(), at.as_millisecond());
        step!(self, write, connection.claim_loose(before, at, limit)).await
    }

    pub(super) async fn intents(&self) -> Result<Vec<LooseObject>> {
        self.rows(INTENTS, named! {}, loose).await
    }

    pub(super) async fn forget_loose(&self, objects: &[LooseObject]) -> Result<()> {
        step!(self, write, connection.of_claimed(FORGET, objects)).await
    }

    pub(super) async fn release_loose(&self, objects: &[LooseObject]) -> Result<()> {
        step!(self, write, connection.of_claimed(RELEASE, objects)).await
    }
}

fn loose(found: &Row) -> Result<LooseObject> {
    Ok(LooseObject {
        key: row::key(found)?,
        version: row::version(found, 5)?,
        store: row::text(found, 6)?,
        since: row::time(found, 7)?,
    })
}
