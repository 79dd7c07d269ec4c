//! Loose objects: those that are about to be written, or to be removed.

use excom_core::db::{LooseObject, Pushed, being_removed};
use jiff::Timestamp;
use tokio_postgres::Row;

use super::Tables;
use super::connection::{Parameter, Statement, types};
use super::failure::{Failure, Refusal};
use super::row;

type Result<T> = std::result::Result<T, Failure>;

/// An intent: entry, history and loose object by their keys.
const NOTE_INTENT: Statement<'_> = Statement {
    sql: "SELECT excom.note_intent($1, $2, $3, $4, $5, $6, $7, $8)",
    types: types![TEXT, TEXT, TEXT, INT4, TEXT, INT8, TEXT, INT8],
};

/// Loose objects are few, so all are looked at. One whose push is just being written is left to it. What was claimed
/// without an answer waits until it is taken for abandoned.
const CLAIM_LOOSE: Statement<'_> = Statement {
    sql: "WITH chosen AS (
              SELECT version, run, task, key, map_index FROM excom.loose_object
              WHERE (purge AND NOT claimed) OR since <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED),
          claimed AS (
              UPDATE excom.loose_object l SET purge = true, claimed = true, since = $3 FROM chosen c
              WHERE l.version = c.version AND l.run = c.run AND l.task = c.task AND l.key = c.key
              AND l.map_index = c.map_index RETURNING l.*)
          SELECT d.text, r.run_id, t.text, l.map_index, k.text, l.version, l.store, l.since
          FROM claimed l JOIN excom.dag_run r ON r.id = l.run JOIN excom.name d ON d.id = r.dag
               JOIN excom.name t ON t.id = l.task JOIN excom.name k ON k.id = l.key",
    types: types![INT8, INT8, INT8],
};

/// What is done with loose objects by their keys, as far as they are claimed as they are told.
macro_rules! of_claimed {
    ($what:literal, $from:literal) => {
        Statement {
            sql: concat!(
                $what,
                " excom.loose_object l ",
                $from,
                " unnest($1, $2, $3, $4, $5, $6, $7, $8)
                      AS a (dag, run_id, task, map_index, key, version, store, since)
                      JOIN excom.name d ON d.text = a.dag
                      JOIN excom.dag_run r ON r.dag = d.id AND r.run_id = a.run_id
                      JOIN excom.name t ON t.text = a.task JOIN excom.name k ON k.text = a.key
                  WHERE l.version = a.version AND l.run = r.id AND l.task = t.id AND l.key = k.id
                  AND l.map_index = a.map_index AND l.store = a.store AND l.since = a.since AND l.claimed"
            ),
            types: types![
                TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, INT4_ARRAY, TEXT_ARRAY, INT8_ARRAY, TEXT_ARRAY,
                INT8_ARRAY
            ],
        }
    };
}

const FORGET_LOOSE: Statement<'_> = of_claimed!("DELETE FROM", "USING");

const RELEASE_LOOSE: Statement<'_> = of_claimed!("UPDATE", "SET claimed = false FROM");

/// Objects that are about to be written: loose ones are few, so all are looked at.
const INTENTS: Statement<'_> = Statement {
    sql: "SELECT d.text, r.run_id, t.text, l.map_index, k.text, l.version, l.store, l.since
          FROM excom.loose_object l JOIN excom.dag_run r ON r.id = l.run JOIN excom.name d ON d.id = r.dag
               JOIN excom.name t ON t.id = l.task JOIN excom.name k ON k.id = l.key
          WHERE NOT l.purge",
    types: &[],
};

impl Tables {
    pub(super) async fn note_intent(&self, object: &LooseObject) -> Result<Pushed> {
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
        match self.connections.write(&NOTE_INTENT, &parameters).await {
            Ok(rows) if rows[0].try_get(0)? => Ok(Pushed::Written),
            Ok(_) => Ok(Pushed::Already),
            Err(failure) if failure.refusal() == Some(Refusal::BeingRemoved) => {
                Err(being_removed(&object.key, object.version).into())
            }
            Err(failure) => Err(failure),
        }
    }

    pub(super) async fn claim_loose(
        &self,
        before: Timestamp,
        at: Timestamp,
        limit: u32,
    ) -> Result<Vec<LooseObject>> {
        self.claim_loose_by(&CLAIM_LOOSE, before, at, limit).await
    }

    /// The same by a statement.
    pub(super) async fn claim_loose_by(
        &self,
        statement: &Statement<'_>,
        before: Timestamp,
        at: Timestamp,
        limit: u32,
    ) -> Result<Vec<LooseObject>> {
        let parameters: [Parameter<'_>; 3] =
            [&before.as_millisecond(), &i64::from(limit), &at.as_millisecond()];
        let rows = self.connections.write(statement, &parameters).await?;
        rows.iter().map(loose).collect()
    }

    pub(super) async fn intents(&self) -> Result<Vec<LooseObject>> {
        self.rows(&INTENTS, &[], loose).await
    }

    pub(super) async fn forget_loose(&self, objects: &[LooseObject]) -> Result<()> {
        self.of_claimed(&FORGET_LOOSE, objects).await
    }

    pub(super) async fn release_loose(&self, objects: &[LooseObject]) -> Result<()> {
        self.of_claimed(&RELEASE_LOOSE, objects).await
    }

    /// What a statement does with loose objects, as far as they are claimed as they are told.
    pub(super) async fn of_claimed(&self, statement: &Statement<'_>, objects: &[LooseObject]) -> Result<()> {
        let keys = row::Keys::of(objects.iter().map(|object| &object.key));
        let [dags, runs, tasks, maps, names] = keys.parameters();
        let versions: Vec<i64> = objects.iter().map(|object| object.version.to_code()).collect();
        let stores: Vec<&str> = objects.iter().map(|object| &*object.store).collect();
        let sinces: Vec<i64> = objects.iter().map(|object| object.since.as_millisecond()).collect();
        let parameters: [Parameter<'_>; 8] = [dags, runs, tasks, maps, names, &versions, &stores, &sinces];
        self.connections.write(statement, &parameters).await.map(drop)
    }
}

pub(super) fn loose(found: &Row) -> Result<LooseObject> {
    Ok(LooseObject {
        key: row::key(found)?,
        version: row::version(found.try_get(5)?)?,
        store: row::text(found, 6)?,
        since: row::time(found.try_get(7)?),
    })
}
