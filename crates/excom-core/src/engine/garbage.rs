//! What is without its other half: stored objects without an entry, and entries without their object.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::Engine;
use super::retention::before;
use crate::backend::Object;
use crate::db::{Kept, LooseObject, Place};
use crate::entry::Version;
use crate::together::at_once;
use crate::{Error, ErrorKind, ObjectName, Result, Stored, XComKey};

/// How many objects or rows one step looks at.
const PAGE: u32 = 1000;

/// How many objects are looked for at the same time.
const LOOKS_AT_ONCE: usize = 32;

/// A stored object that no entry, no earlier version and no unfinished push knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Orphan {
    /// The id of the store that it is in, and the side.
    pub store: Arc<str>,
    /// Its name there.
    pub name: String,
    /// The version that it would be of.
    pub version: Version,
    /// Which XCom it would belong to; none when the name was shortened, and then it cannot be removed safely.
    pub key: Option<XComKey>,
}

impl fmt::Display for Orphan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} in `{}`: no entry knows version {}, pushed at {:.0}",
            self.name,
            self.store,
            self.version,
            self.version.time()
        )?;
        match self.key {
            Some(_) => Ok(()),
            None => f.write_str("; its name is shortened, so it cannot be removed safely"),
        }
    }
}

/// A version whose object is gone, or whose reference leads to nothing that can be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bereft {
    /// Which XCom.
    pub key: XComKey,
    /// Which version.
    pub version: Version,
    /// Whether it is an earlier version, not the entry.
    pub past: bool,
    /// The id of the store that it should be in, and the side.
    pub store: Arc<str>,
    /// What was found instead.
    pub why: String,
}

impl fmt::Display for Bereft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let which = if self.past { "earlier version" } else { "version" };
        write!(f, "{} {which} {} in `{}`: {}", self.key, self.version, self.store, self.why)
    }
}

/// One step of a look through all of something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked<T, P> {
    /// What was found.
    pub found: Vec<T>,
    /// How many were looked at.
    pub looked_at: u64,
    /// Where the next step goes on; none at the end.
    pub next: Option<P>,
}

impl Engine {
    /// The ids of the stores whose objects can be looked through.
    pub fn stores(&self) -> Vec<&str> {
        self.0.backends.all().filter_map(|backend| Some(backend.objects()?.id())).collect()
    }

    /// Objects of a store whose versions are older than an age and that nothing knows, behind a name: one page.
    ///
    /// Pushes may go on. An intent is noted before its object is written, and what becomes of an object is
    /// noted before it goes, so an object that is there first and unknown afterwards has nobody.
    ///
    /// # Errors
    /// When the store or the database cannot be read; [`ErrorKind::Configuration`] for a store that is not
    /// configured, or cannot be looked through.
    pub async fn orphans(
        &self,
        store: &str,
        after: Option<&ObjectName>,
        age: Duration,
    ) -> Result<Looked<Orphan, ObjectName>> {
        let objects = self.0.backends.all().filter_map(|backend| backend.objects());
        let objects = objects.into_iter().find(|objects| objects.id() == store).ok_or_else(|| {
            let message = format!("the store `{store}` is not configured, or cannot be looked through");
            Error::new(ErrorKind::Configuration, message)
                .hint(format!("there are: {}", self.stores().join(", ")))
        })?;
        let old = before(self.0.clock.now(), age);
        let names = objects.list(after, PAGE as usize).await?;
        let mut found = Vec::new();
        for name in &names {
            // What has no version is no object of ours.
            let Some(version) = name.version().filter(|version| version.time() < old) else { continue };
            let store = name.side().of(store);
            if !self.0.db.knows_object(&store, name, version).await? {
                let key = name.parse().map(|(key, _)| key);
                found.push(Orphan { store: store.into(), name: name.to_string(), version, key });
            }
        }
        let next = names.last().filter(|_| names.len() == PAGE as usize).cloned();
        Ok(Looked { found, looked_at: names.len() as u64, next })
    }

    /// Removes orphans; those that became known since they were found stay, as do those without a key. Returns
    /// how many went.
    ///
    /// Each is noted as being removed first, unless it is known, in one step: a push that is repeated with its
    /// version is refused from then on, and an interruption leaves what [`Engine::upkeep`] collects.
    ///
    /// # Errors
    /// When the database or the store cannot be written. What could not be removed stays noted.
    pub async fn remove_orphans(&self, orphans: &[Orphan]) -> Result<u64> {
        let mut claimed = 0;
        for orphan in orphans {
            let Some(key) = orphan.key.clone() else { continue };
            let (version, store) = (orphan.version, orphan.store.clone());
            let object = LooseObject { key, version, store, since: self.0.clock.now() };
            claimed += u64::from(self.0.db.claim_orphan(&object).await?);
        }
        self.purge_loose().await?;
        Ok(claimed)
    }

    /// Offloaded versions, current and earlier, whose objects are gone: one page behind a place. It opens every
    /// object and reads none to its end, so damage inside is not found.
    ///
    /// # Errors
    /// When the database cannot be read, or a store does not answer.
    pub async fn bereft(&self, after: Option<Place>) -> Result<Looked<Bereft, Place>> {
        let page = self.0.db.kept(None, after, PAGE).await?;
        let looked_at = page.items.len() as u64;
        let looks = page.items.into_iter().map(|kept| self.without_object(kept));
        let mut found = Vec::new();
        for look in at_once(looks.collect(), LOOKS_AT_ONCE).await {
            found.extend(look?);
        }
        Ok(Looked { found, looked_at, next: page.next })
    }

    async fn without_object(&self, kept: Kept) -> Result<Option<Bereft>> {
        let Kept { key, version, past, size, hash, reference, .. } = kept;
        let Some(reference) = reference else { return Ok(None) };
        let (store, codec, key_id) = (&*reference.store, &*reference.codec, &*reference.key_id);
        let opened = match self.0.keys.verify(&key, version, size, hash, &reference) {
            Ok(()) => {
                let object = Object { key: &key, version, store, codec, key_id };
                self.0.backends.of(store).deserialize_value(&object).await.map(drop)
            }
            altered => altered,
        };
        let error = match opened {
            Ok(()) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
            Err(error) => error,
        };
        // It may have gone since the page was read, in good order.
        let now = match past {
            true => self.0.db.past(&key, version).await?,
            false => self.0.db.entries(std::slice::from_ref(&key)).await?.pop().flatten(),
        };
        let same = now.is_some_and(|now| {
            now.version == version && matches!(&now.stored, Stored::Offloaded(now) if *now == reference)
        });
        if !same {
            return Ok(None);
        }
        Ok(Some(Bereft { key, version, past, store: reference.store, why: error.to_string() }))
    }
}
