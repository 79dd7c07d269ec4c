//! What holds stored bytes in memory: loose objects, moves, and where everything is.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::tables::{Tables, Use};
use crate::db::{Kept, LooseObject, Occupied, Place, Pushed, Scan, Usage, being_removed};
use crate::entry::{Entry, Stored, Version};
use crate::store::Side;
use crate::{ObjectName, Result, XComKey};

impl Tables {
    pub(super) fn note_intent(&mut self, object: &LooseObject) -> Result<Pushed> {
        if self.knows_version(&object.key, object.version) {
            return Ok(Pushed::Already);
        }
        let loose = (object.key.clone(), object.version);
        if self.loose.get(&loose).is_some_and(|(_, used)| *used != Use::Intent) {
            return Err(being_removed(&object.key, object.version));
        }
        self.loose.insert(loose, (object.clone(), Use::Intent));
        Ok(Pushed::Written)
    }

    pub(super) fn note_move(&mut self, found: &Kept, store: &str, at: Timestamp) -> bool {
        let loose = (found.key.clone(), found.version);
        let there = found.reference.as_ref().is_some_and(|reference| *reference.store == *store);
        if there || self.loose.contains_key(&loose) || self.stored_as(found).is_none() {
            return false;
        }
        let (key, version) = loose.clone();
        self.loose.insert(loose, (LooseObject { key, version, store: store.into(), since: at }, Use::Intent));
        true
    }

    pub(super) fn intents(&self) -> Vec<LooseObject> {
        let intents = self.loose.values().filter(|(_, used)| *used == Use::Intent);
        intents.map(|(object, _)| object.clone()).collect()
    }

    pub(super) fn places(&self) -> Vec<Occupied> {
        let mut places: BTreeMap<Option<Arc<str>>, (u64, u64)> = BTreeMap::new();
        for held in self.entries.values() {
            let entry = &held.entry;
            let store = match &entry.stored {
                Stored::Inline(_) => None,
                Stored::Offloaded(reference) => Some(reference.store.clone()),
            };
            let place = places.entry(store).or_default();
            *place = (place.0 + 1, place.1 + entry.size);
        }
        let occupied = |(store, (entries, bytes))| Occupied { store, entries, bytes };
        places.into_iter().map(occupied).collect()
    }

    pub(super) fn usage(&self, dag_id: &str, run_id: Option<&str>) -> Usage {
        let mut usage = Usage::default();
        for (key, held) in &self.entries {
            if *key.ti.dag_id == *dag_id && run_id.is_none_or(|run_id| *key.ti.run_id == *run_id) {
                usage.entries += 1;
                usage.bytes += held.entry.size;
            }
        }
        usage
    }

    pub(super) fn claim_loose(&mut self, before: Timestamp, at: Timestamp, limit: u32) -> Vec<LooseObject> {
        let free = |(object, used): &&mut (LooseObject, Use)| *used == Use::None || object.since <= before;
        let mut claimed = Vec::new();
        for (object, used) in self.loose.values_mut().filter(free).take(limit as usize) {
            (object.since, *used) = (at, Use::Claimed);
            claimed.push(object.clone());
        }
        claimed
    }

    pub(super) fn forget_loose(&mut self, objects: &[LooseObject]) {
        for object in objects {
            if self.claimed(object).is_some() {
                self.loose.remove(&(object.key.clone(), object.version));
            }
        }
    }

    pub(super) fn release_loose(&mut self, objects: &[LooseObject]) {
        for object in objects {
            if let Some(used) = self.claimed(object) {
                *used = Use::None;
            }
        }
    }

    /// What is noted of an object, while the claim holds by which it was taken over.
    fn claimed(&mut self, object: &LooseObject) -> Option<&mut Use> {
        let (known, used) = self.loose.get_mut(&(object.key.clone(), object.version))?;
        (*used == Use::Claimed && known == object).then_some(used)
    }

    pub(super) fn claim_orphan(&mut self, object: &LooseObject) -> bool {
        let loose = (object.key.clone(), object.version);
        let name = ObjectName::on(Side::split(&object.store).1, &object.key, object.version);
        if self.knows_object(&object.store, &name, object.version) || self.loose.contains_key(&loose) {
            return false;
        }
        self.loose.insert(loose, (object.clone(), Use::None));
        true
    }

    /// Whether an entry, the history or a loose object has an object of a store.
    pub(super) fn knows_object(&self, store: &str, object: &ObjectName, version: Version) -> bool {
        let entries = self.entries.iter().map(|(key, held)| (key, Some(&held.entry)));
        let past =
            self.history.iter().flat_map(|(key, past)| past.iter().map(move |p| (key, p.entry.as_ref())));
        let mut held = entries.chain(past).filter_map(|(key, entry)| Some((key, entry?)));
        let is = |key: &XComKey, v: Version, at: &str| {
            v == version && at == store && ObjectName::on(Side::split(at).1, key, v) == *object
        };
        held.any(|(key, entry)| match &entry.stored {
            Stored::Offloaded(reference) => is(key, entry.version, &reference.store),
            Stored::Inline(_) => false,
        }) || self.loose.iter().any(|((key, v), (loose, _))| is(key, *v, &loose.store))
    }

    /// What a version stores, while it is what was found.
    pub(super) fn stored_as(&mut self, found: &Kept) -> Option<&mut Stored> {
        let entry = match found.past {
            false => self.entries.get_mut(&found.key).map(|held| &mut held.entry)?,
            true => {
                let past =
                    self.history.get_mut(&found.key)?.iter_mut().filter_map(|past| past.entry.as_mut());
                past.into_iter().find(|entry| entry.version == found.version)?
            }
        };
        let reference = match &entry.stored {
            Stored::Offloaded(reference) => Some(reference),
            Stored::Inline(_) => None,
        };
        let same = entry.version == found.version && reference == found.reference.as_ref();
        same.then_some(&mut entry.stored)
    }

    pub(super) fn move_stored(&mut self, found: &Kept, to: &Stored, at: Timestamp) -> bool {
        let loose = (found.key.clone(), found.version);
        let retired = matches!(to, Stored::Offloaded(to) if self.is_retired(&to.key_id));
        if let (Stored::Offloaded(there), Some(from)) = (to, &found.reference)
            && there.store == from.store
        {
            return !retired && self.stored_as(found).map(|stored| *stored = to.clone()).is_some();
        }
        let fits = match (to, self.loose.get(&loose)) {
            (Stored::Offloaded(_), _) if retired => false,
            (Stored::Offloaded(to), Some((intent, used))) => *used == Use::Intent && intent.store == to.store,
            (Stored::Offloaded(_), None) => false,
            // Something of it that is being written or removed has the only row that there is for it.
            (Stored::Inline(_), loose) => loose.is_none(),
        };
        if !fits {
            return false;
        }
        let Some(stored) = self.stored_as(found) else { return false };
        *stored = to.clone();
        self.loose.remove(&loose);
        if let Some(reference) = &found.reference {
            let (key, version) = loose.clone();
            let store = reference.store.clone();
            self.loose.insert(loose, (LooseObject { key, version, store, since: at }, Use::None));
        }
        true
    }

    /// Versions whose bytes are kept, behind a place.
    pub(super) fn kept(&self, dag_id: Option<&str>, after: Option<Place>, limit: u32) -> Scan<Kept> {
        let entries = self.entries.iter().map(|(key, held)| (false, held.row, key, Some(&held.entry)));
        let past = self.history.iter();
        let past =
            past.flat_map(|(key, past)| past.iter().map(move |p| (true, p.row, key, p.entry.as_ref())));
        let mut found: Vec<_> = entries
            .chain(past)
            .filter_map(|(past, row, key, entry)| Some((past, row, key, entry?)))
            .filter(|(past, row, key, _)| {
                after.is_none_or(|after| (*past, *row) > (after.past, after.row))
                    && dag_id.is_none_or(|dag_id| *key.ti.dag_id == *dag_id)
            })
            .collect();
        found.sort_by_key(|(past, row, ..)| (*past, *row));
        let more = found.len() > limit as usize;
        found.truncate(limit as usize);
        let next = found.last().filter(|_| more).map(|(past, row, ..)| Place { past: *past, row: *row });
        let kept = |(past, _, key, entry): (bool, i64, &XComKey, &Entry)| Kept {
            key: key.clone(),
            version: entry.version,
            past,
            size: entry.size,
            hash: entry.hash,
            secret: entry.secret,
            reference: match &entry.stored {
                Stored::Offloaded(reference) => Some(reference.clone()),
                Stored::Inline(_) => None,
            },
        };
        Scan { items: found.into_iter().map(kept).collect(), next }
    }

    pub(super) fn loosen(&mut self, key: &XComKey, entry: &Entry, at: Timestamp) {
        if let Stored::Offloaded(reference) = &entry.stored {
            let object = LooseObject {
                key: key.clone(),
                version: entry.version,
                store: reference.store.clone(),
                since: at,
            };
            // Whoever removes another object of the version may go on, so its name must not be free before.
            let claimed = |(_, used): &&(LooseObject, Use)| *used == Use::Claimed;
            let used =
                self.loose.get(&(key.clone(), entry.version)).filter(claimed).map_or(Use::None, |it| it.1);
            self.loose.insert((key.clone(), entry.version), (object, used));
        }
    }
}
