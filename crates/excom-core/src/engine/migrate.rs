//! Values that are moved to where the selected backend puts them, or sealed with the current key, while tasks go on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use super::garbage::Looked;
use super::offload::Sized;
use crate::backend::{Object, Placement, XComBackend};
use crate::db::{Kept, Outside, Place, retired_key};
use crate::entry::{Entry, Stored, Version};
use crate::seal::{Reference, SealKeys, Sealed};
use crate::store::Side;
use crate::value::Payload;
use crate::{Error, ErrorKind, Result, XComKey};

/// How many versions one step looks at.
const PAGE: u32 = 1000;

/// How often it is looked whether pushes that are under way have ended, and how many times.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const LOOKS: u32 = 200;

/// What may still need a key that is retired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retiring {
    /// Versions that it seals, earlier ones too.
    pub sealed: u64,
    /// Secrets among all versions that it encrypts. They keep their key as long as they are kept.
    pub secrets: u64,
    /// Pushes and moves that began before and have not ended, which may seal with it.
    pub under_way: u64,
}

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
            (Some(store), Some(reference)) => Side::split(&reference.store).0 != store,
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
        let Some(entry) = self.as_found(found).await? else { return Ok(false) };
        let key = &found.key;
        let sized = self.look_ahead(self.fetch(key, &entry).await?, self.inline_limit(key)).await?;
        let whole = match &sized {
            Sized::Value(value) => Some(value),
            Sized::Long(_) => None,
        };
        match (self.place(key, whole), sized) {
            (Placement::Inline, Sized::Value(value)) => {
                self.0.db.move_stored(found, &Stored::Inline(value), self.0.clock.now()).await
            }
            (Placement::Inline, Sized::Long(_)) => Ok(false),
            (Placement::Offload(store), sized) => {
                let payload = match sized {
                    Sized::Value(value) => Payload::Value(value),
                    Sized::Long(stream) => Payload::Stream(stream),
                };
                self.write_anew(found, &entry, self.backend(), store, payload).await
            }
        }
    }

    /// What something else wrote in the same database, as Airflow does in its own, and is larger there than the selected
    /// backend leaves values in the database: one page behind a place, of one DAG or of all.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] where nothing else writes; when the database cannot be read.
    pub async fn outside(
        &self,
        dag_id: Option<&str>,
        after: Option<Place>,
    ) -> Result<Looked<Outside, Place>> {
        self.shared()?;
        let mut page = self.0.db.outside(dag_id, after, PAGE).await?;
        let looked_at = page.items.len() as u64;
        page.items.retain(|found| self.store_by_size(&found.key, found.size).is_some());
        Ok(Looked { found: page.items, looked_at, next: page.next })
    }

    /// Makes Excom's own what something else wrote, and moves it as [`Engine::migrate`] does. `false` when it is something
    /// else by now, or its text is so short that it stays in the database. Interrupted in between, it is one of
    /// [`Engine::misplaced`].
    ///
    /// # Errors
    /// As [`Engine::migrate`].
    pub async fn migrate_outside(&self, found: &Outside) -> Result<bool> {
        match self.0.db.adopt(found, self.0.clock.now()).await? {
            Some(kept) if self.store_by_size(&kept.key, kept.size).is_some() => self.migrate(&kept).await,
            _ => Ok(false),
        }
    }

    /// Versions that another key than the current one seals: one page behind a place, of one DAG or of all.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn sealed_before(
        &self,
        dag_id: Option<&str>,
        after: Option<Place>,
    ) -> Result<Looked<Kept, Place>> {
        let current = self.sealing_key().await?;
        let mut page = self.0.db.kept(dag_id, after, PAGE).await?;
        let looked_at = page.items.len() as u64;
        page.items.retain(|kept| kept.key_id().is_some_and(|key_id| *key_id != current));
        Ok(Looked { found: page.items, looked_at, next: page.next })
    }

    /// Seals a version with the current key, in the store where it is. The version stays what it is. `false` when it
    /// is something else by now, or an earlier move of it has not been collected yet.
    ///
    /// What the backend sealed is verified and written on the other side of the store, as safely as
    /// [`Engine::migrate`] does; of what it did not seal only the reference changes.
    ///
    /// # Errors
    /// When the bytes are lost or corrupt, or cannot be read or written. Then everything is as before.
    pub async fn reseal(&self, found: &Kept) -> Result<bool> {
        let Some(entry) = self.as_found(found).await? else { return Ok(false) };
        let Stored::Offloaded(reference) = &entry.stored else { return Ok(false) };
        let (key, version) = (&found.key, found.version);
        let backend = self.0.backends.of(&reference.store);
        let Reference { store, codec, key_id, .. } = reference;
        let object = Object { key, version, store, codec, key_id };
        if backend.key_of(&object).await?.is_some() {
            let (store, side) = Side::split(&reference.store);
            let payload = self.fetch(key, &entry).await?;
            return self.write_anew(found, &entry, backend, &side.other().of(store), payload).await;
        }
        let Entry { size, hash, .. } = entry;
        self.0.keys.verify(key, version, size, hash, reference)?;
        let key_id = &*self.sealing_key().await?;
        let sealed = self.0.keys.seal(key, &Sealed { version, size, hash, store, codec, key_id })?;
        self.0.db.move_stored(found, &Stored::Offloaded(sealed), self.0.clock.now()).await
    }

    /// Lets no more be sealed with a key, by whichever process, and looks what still is. With nothing, nobody needs
    /// the key any more. Pushes that are under way are waited for, for some seconds.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] for the current key; when the database cannot be read or written.
    pub async fn retire_key(&self, id: &str) -> Result<Retiring> {
        if *self.0.keys.current_id() == *id {
            return Err(Error::new(
                ErrorKind::InvalidRequest,
                format!("the key `{id}` is the current one; what is stored now is sealed with it"),
            )
            .hint("rotate the keys first"));
        }
        self.0.db.set_mark(&retired_key(id), "").await?;
        // Whoever seals an object notes an intent first, and looks for the mark then. So what may still be sealed with
        // the key has an intent now. A secret in the database has none; its push is refused from now on.
        let mut under_way: BTreeSet<(XComKey, Version)> = self.intents().await?.collect();
        for _ in 0..LOOKS {
            if under_way.is_empty() {
                break;
            }
            self.0.clock.sleep(LOOK_EVERY).await;
            let now: BTreeSet<(XComKey, Version)> = self.intents().await?.collect();
            under_way.retain(|intent| now.contains(intent));
        }
        let (mut sealed, mut secrets, mut after) = (0, 0, None);
        loop {
            let page = self.0.db.kept(None, after, PAGE).await?;
            let with = page.items.iter().filter(|kept| kept.key_id().is_some_and(|key_id| **key_id == *id));
            sealed += with.count() as u64;
            for kept in page.items.iter().filter(|kept| kept.secret) {
                secrets += u64::from(self.encrypted_with(kept).await?.is_none_or(|key_id| key_id == id));
            }
            after = page.next;
            if after.is_none() {
                return Ok(Retiring { sealed, secrets, under_way: under_way.len() as u64 });
            }
        }
    }

    /// The key that encrypts a secret; none when that cannot be read now.
    async fn encrypted_with(&self, found: &Kept) -> Result<Option<String>> {
        let entry = match self.as_found(found).await? {
            // It may have ended since it was found, and be kept.
            None => self.0.db.past(&found.key, found.version).await?,
            entry => entry,
        };
        let Some(entry) = entry else { return Ok(Some(String::new())) };
        Ok(self
            .envelope(&found.key, &entry)
            .await
            .ok()
            .and_then(|envelope| SealKeys::key_of_secret(&envelope)))
    }

    async fn intents(&self) -> Result<impl Iterator<Item = (XComKey, Version)>> {
        let intents = self.0.db.intents().await?.into_iter();
        Ok(intents.map(|intent| (intent.key, intent.version)))
    }

    /// The key that seals now. One that another process retired gives way to the one that came after it.
    pub(super) async fn sealing_key(&self) -> Result<Arc<str>> {
        let known = self.0.keys.current_id();
        if self.0.db.mark(&retired_key(&known)).await?.is_none() {
            return Ok(known);
        }
        let current = self.0.keys.renew()?;
        if current != known {
            return Ok(current);
        }
        let what = format!("the key `{current}` is retired, and this process knows none that came after it");
        Err(Error::new(ErrorKind::Configuration, what)
            .hint("put the newer key in front of those that this process is given, and start it again"))
    }

    /// The entry of a version, while it is that version's.
    async fn as_found(&self, found: &Kept) -> Result<Option<Entry>> {
        let entry = match found.past {
            true => self.0.db.past(&found.key, found.version).await?,
            false => self.0.db.entries(std::slice::from_ref(&found.key)).await?.pop().flatten(),
        };
        Ok(entry.filter(|entry| entry.version == found.version))
    }

    /// Intent, object, and then the entry with what is left of the old object, in one step.
    async fn write_anew(
        &self,
        found: &Kept,
        entry: &Entry,
        backend: &Arc<dyn XComBackend>,
        store: &str,
        payload: Payload,
    ) -> Result<bool> {
        let (key, version, now) = (&found.key, found.version, self.0.clock.now());
        if !self.0.db.note_move(found, store, now).await? {
            return Ok(false);
        }
        let key_id = &*self.sealing_key().await?;
        let object = Object { key, version, store, codec: "", key_id };
        let codec = match backend.serialize_value(&object, payload).await {
            // What is left of another try goes with the intent.
            Err(error) if error.kind() == ErrorKind::Exists => return Ok(false),
            other => other?,
        };
        let what = Sealed { version, size: entry.size, hash: entry.hash, store, codec: &codec, key_id };
        let sealed = Stored::Offloaded(self.0.keys.seal(key, &what)?);
        self.0.db.move_stored(found, &sealed, now).await
    }
}
