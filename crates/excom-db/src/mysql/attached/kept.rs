//! What holds stored bytes, of what Excom wrote: looks through all of it, and moves to another place.

use excom_core::db::{Kept, Place, Scan};
use excom_core::entry::Stored;
use jiff::Timestamp;

use super::super::connection::named;
use super::super::failure::Failure;
use super::super::kept::{KEPT, Target, kept};
use super::super::read::with;
use super::super::row as own;
use super::super::write::xcom;
use super::columns::{counts, rows, same};
use super::write::{MOVE_ROW, step};
use super::{Airflow, Tables};
use crate::airflow::{self, JSONB};
use crate::kept::{Look, Part};

type Result<T> = std::result::Result<T, Failure>;

/// Entries by the index of their ids, as long as they are those of Airflow's rows.
const KEPT_ENTRIES: &str = concat!(
    "SELECT STRAIGHT_JOIN d.text, r.run_id, t.text, e.map_index, k.text, e.id, e.version, e.size, e.hash,
            CASE WHEN e.codec = 2 THEN e.body END, e.head = ''
     FROM excom_entry e",
    rows!(),
    "WHERE e.id > :behind AND (:dag IS NULL OR d.text = :dag) ORDER BY e.id LIMIT :limit"
);

/// The text of what is moved into the database is that of Airflow's column.
const NOTE_TEXT: &str = "UPDATE excom_entry SET codec = :codec, body = ''
    WHERE run = :run AND task = :task AND xcom_key = :key AND map_index = :map_index";

impl Airflow<'_> {
    async fn move_stored(
        &mut self,
        found: &Kept,
        to: &Stored,
        keeps_text: bool,
        at: Timestamp,
    ) -> Result<bool> {
        let target = Target::of(found, to);
        if found.past {
            return self.0.move_stored(found, &target, at).await;
        }
        let Some(run) = self.run(&found.key.ti).await? else { return Ok(false) };
        let Some(of) = self.0.known_xcom(&found.key).await? else { return Ok(false) };
        self.0.take([of.ti]).await?;
        let current = self.row(of, &found.key, run).await?;
        let version = current.map(|current| own::optional(&current, 0)).transpose()?.flatten();
        if version != Some(found.version.to_code()) || !self.0.move_stored(found, &target, at).await? {
            return Ok(false);
        }
        let value = match to {
            Stored::Inline(value) => value.as_str().to_owned(),
            Stored::Offloaded(reference) => {
                airflow::in_place(found.version, found.size, found.hash, found.secret, "", reference)
            }
        };
        self.0.change(MOVE_ROW, with(super::write::row_of(of, &found.key, run), "value", value)).await?;
        if target.store.is_none() && keeps_text {
            self.0.change(NOTE_TEXT, with(xcom(of), "codec", JSONB)).await?;
        }
        Ok(true)
    }
}

impl Tables {
    pub(super) async fn kept(
        &self,
        dag_id: Option<&str>,
        after: Option<Place>,
        limit: u32,
    ) -> Result<Scan<Kept>> {
        let mut look = Look::new(after, limit);
        while let Some(Part { past, behind, wanted }) = look.next() {
            let parameters = named! {
                "behind" => behind,
                "dag" => dag_id.map(str::to_owned),
                "limit" => wanted,
            };
            let statement = if past { KEPT[1] } else { KEPT_ENTRIES };
            look.add(self.own.rows(statement, parameters, |found| kept(found, past)).await?);
        }
        Ok(look.scan())
    }

    pub(super) async fn note_move(&self, found: &Kept, store: &str, at: Timestamp) -> Result<bool> {
        self.own.note_move(found, store, at).await
    }

    /// Not tried again when its outcome is not known, because then it would seem to have given way.
    pub(super) async fn move_stored(&self, found: &Kept, to: &Stored, at: Timestamp) -> Result<bool> {
        let keeps_text = self.keeps_text;
        step!(self, write_once, move_stored(found, to, keeps_text, at)).await
    }
}
