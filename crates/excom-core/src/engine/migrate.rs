//! Values that are moved to where the selected backend puts them, while tasks go on.

use super::Engine;
use super::garbage::Looked;
use super::offload::Sized;
use crate::backend::{Object, Placement};
use crate::db::{Kept, Place};
use crate::entry::Stored;
use crate::seal::Sealed;
use crate::value::Payload;
use crate::{ErrorKind, Result};

/// How many versions one step looks at.
const PAGE: u32 = 1000;

impl Engine {
    /// Versions whose bytes are not where the selected backend would put them, in one of its stores or in the
    /// database: one page behind a place, of one DAG or of all. There is nothing to remember between two looks: what
    /// was moved is not found again.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn misplaced(&self, dag_id: Option<&str>, after: Option<Place>) -> Result<Looked<Kept, Place>> {
        let mut page = self.0.db.kept(dag_id, after, PAGE).await?;
        let looked_at = page.items.len() as u64;
        page.items.retain(|kept| match (self.store_by_size(&kept.key, kept.size), &kept.reference) {
            (None, reference) => reference.is_some() && kept.size <= self.inline_limit(&kept.key),
            (Some(store), Some(reference)) => *reference.store != *store,
            (Some(_), None) => true,
        });
        Ok(Looked { found: page.items, looked_at, next: page.next })
    }

    /// Moves a version's bytes to where the selected backend puts them. The version stays what it is. `false` when
    /// it is something else by now, or a move of it that was interrupted has not been collected yet.
    ///
    /// The bytes are verified on their way. An intent is noted before an object is written, and the entry, the
    /// intent and what is left of the old object change in one step, so wherever it is interrupted, a pull finds the
    /// value and what is too much is collected.
    ///
    /// # Errors
    /// When the bytes are lost or corrupt, or cannot be read or written. Then everything is as before.
    pub async fn migrate(&self, found: &Kept) -> Result<bool> {
        let (key, version) = (&found.key, found.version);
        let entry = match found.past {
            true => self.0.db.past(key, version).await?,
            false => self.0.db.entries(std::slice::from_ref(key)).await?.pop().flatten(),
        };
        let Some(entry) = entry.filter(|entry| entry.version == version) else { return Ok(false) };
        let now = self.0.clock.now();
        let sized = self.look_ahead(self.fetch(key, &entry).await?, self.inline_limit(key)).await?;
        let whole = match &sized {
            Sized::Value(value) => Some(value),
            Sized::Long(_) => None,
        };
        let to = match (self.place(key, whole), sized) {
            (Placement::Inline, Sized::Value(value)) => Stored::Inline(value),
            (Placement::Inline, Sized::Long(_)) => return Ok(false),
            (Placement::Offload(store), sized) => {
                if !self.0.db.note_move(found, store, now).await? {
                    return Ok(false);
                }
                let payload = match sized {
                    Sized::Value(value) => Payload::Value(value),
                    Sized::Long(stream) => Payload::Stream(stream),
                };
                let object = Object { key, version, store, codec: "" };
                let codec = match self.backend().serialize_value(&object, payload).await {
                    // What is left of another try goes with the intent.
                    Err(error) if error.kind() == ErrorKind::Exists => return Ok(false),
                    other => other?,
                };
                let what = Sealed { version, size: entry.size, hash: entry.hash, store, codec: &codec };
                Stored::Offloaded(self.0.keys.seal(key, &what))
            }
        };
        self.0.db.move_stored(found, &to, now).await
    }
}
