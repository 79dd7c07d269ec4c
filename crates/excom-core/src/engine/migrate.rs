//! Values that are moved to where the selected backend puts them, while tasks go on.

use super::Engine;
use super::garbage::Looked;
use crate::backend::{self, Object, Placement};
use crate::db::{Kept, Place};
use crate::entry::Stored;
use crate::seal::Sealed;
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
        page.items.retain(|kept| {
            match (self.backend().placement(&kept.key, Some(kept.size)), &kept.reference) {
                (Placement::Inline, reference) => {
                    reference.is_some() && kept.size <= self.backend().inline_limit()
                }
                (Placement::Offload(store), Some(reference)) => *reference.store != *store,
                (Placement::Offload(_), None) => true,
            }
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
        let to = match self.backend().placement(key, Some(entry.size)) {
            Placement::Inline => {
                let payload = self.fetch(key, &entry).await?;
                Stored::Inline(backend::collect(payload, entry.size).await?)
            }
            Placement::Offload(store) => {
                if !self.0.db.note_move(found, store, now).await? {
                    return Ok(false);
                }
                let payload = self.fetch(key, &entry).await?;
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
