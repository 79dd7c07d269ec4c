//! Loose objects: those that are about to be written, or to be removed.

use excom_core::db::{LooseObject, Pushed};
use jiff::Timestamp;

use super::super::connection::{Statement, types};
use super::super::failure::Failure;
use super::super::loose::loose;
use super::Tables;

type Result<T> = std::result::Result<T, Failure>;

/// Loose objects are few, so all are looked at. One whose push is just being written is left to it. What was claimed
/// without an answer waits until it is taken for abandoned.
const CLAIM_LOOSE: Statement<'_> = Statement {
    sql: "WITH chosen AS (
              SELECT ctid AS place FROM excom.loose_object
              WHERE (purge AND NOT claimed) OR since <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)
          UPDATE excom.loose_object l SET purge = true, claimed = true, since = $3 FROM chosen c WHERE l.ctid = c.place
          RETURNING l.dag_id, l.run_id, l.task_id, l.map_index, l.key, l.version, l.store, l.since",
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
                      AS a (dag_id, run_id, task_id, map_index, key, version, store, since)
                  WHERE l.version = a.version AND l.dag_id = a.dag_id AND l.run_id = a.run_id
                  AND l.task_id = a.task_id AND l.map_index = a.map_index AND l.key = a.key
                  AND l.store = a.store AND l.since = a.since AND l.claimed"
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

/// All loose objects are looked at.
const INTENTS: Statement<'_> = Statement {
    sql: "SELECT dag_id, run_id, task_id, map_index, key, version, store, since FROM excom.loose_object WHERE NOT purge",
    types: &[],
};

impl Tables {
    pub(super) async fn note_intent(&self, object: &LooseObject) -> Result<Pushed> {
        self.own.note_intent(object).await
    }

    pub(super) async fn claim_loose(
        &self,
        before: Timestamp,
        at: Timestamp,
        limit: u32,
    ) -> Result<Vec<LooseObject>> {
        self.own.claim_loose_by(&CLAIM_LOOSE, before, at, limit).await
    }

    pub(super) async fn intents(&self) -> Result<Vec<LooseObject>> {
        self.own.rows(&INTENTS, &[], loose).await
    }

    pub(super) async fn forget_loose(&self, objects: &[LooseObject]) -> Result<()> {
        self.own.of_claimed(&FORGET_LOOSE, objects).await
    }

    pub(super) async fn release_loose(&self, objects: &[LooseObject]) -> Result<()> {
        self.own.of_claimed(&RELEASE_LOOSE, objects).await
    }
}
