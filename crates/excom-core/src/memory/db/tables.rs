//! The tables of a database in memory, and the rules for what happens to their rows.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::assets::Assets;
use crate::attempt::{Attempt, AttemptInfo, Caller, TaskInstanceInfo, TaskState};
use crate::db::{
    DagVersion, Item, LedgerRow, LooseObject, Note, Push, Pushed, ReadTarget, RefusalCount, RunInfo, Scope,
    Variable, intent_gone, key_gone, not_started, retired_key, superseded,
};
use crate::entry::{EndReason, Entry, EntryInfo, PastEntry, Stored, Version, Writer};
use crate::value::preview;
use crate::value::secret::REDACTED;
use crate::{Result, SequenceKey, TaskInstanceKey, Value, XComKey};

#[derive(Default)]
pub(super) struct Tables {
    pub(super) runs: BTreeMap<(Arc<str>, Arc<str>), RunInfo>,
    /// By DAG, in the order seen.
    pub(super) versions: BTreeMap<Arc<str>, Vec<DagVersion>>,
    pub(super) instances: BTreeMap<TaskInstanceKey, Instance>,
    pub(super) entries: BTreeMap<XComKey, Held>,
    pub(super) history: BTreeMap<XComKey, Vec<Past>>,
    /// Count, first and last time by reader and target.
    pub(super) reads: HashMap<(Reader, ReadTarget), (u64, Timestamp, Timestamp)>,
    /// One for each rule, DAG, task and target.
    pub(super) refusals: Vec<RefusalCount>,
    pub(super) variables: BTreeMap<Arc<str>, Variable>,
    pub(super) assets: Assets,
    /// Objects without an entry.
    pub(super) loose: HashMap<(XComKey, Version), (LooseObject, Use)>,
    pub(super) marks: BTreeMap<String, String>,
    /// The number of the newest row of entries and history.
    pub(super) rows: i64,
}

/// What a loose object is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// It is being written.
    Intent,
    /// Whoever comes removes it.
    None,
    /// Somebody removes it.
    Claimed,
}

/// Who read, and the task instance and number of the reading attempt when it was one.
pub(super) type Reader = (String, Option<TaskInstanceKey>, Option<u32>);

pub(super) struct Instance {
    pub(super) state: TaskState,
    pub(super) attempts: Vec<AttemptInfo>,
    pub(super) notes: BTreeMap<Arc<str>, Note>,
}

impl Instance {
    pub(super) fn new(state: TaskState) -> Self {
        Self { state, attempts: Vec::new(), notes: BTreeMap::new() }
    }

    pub(super) fn info(&self, key: &TaskInstanceKey) -> TaskInstanceInfo {
        TaskInstanceInfo { key: key.clone(), state: self.state, attempt: self.attempts.last().cloned() }
    }
}

#[derive(Clone)]
pub(super) struct Held {
    /// Rows are in the order in which they were made.
    pub(super) row: i64,
    pub(super) entry: Entry,
    pub(super) preview: String,
    /// Whether it is what its DAG returns.
    pub(super) result: bool,
}

pub(super) struct Past {
    pub(super) row: i64,
    pub(super) info: PastEntry,
    pub(super) entry: Option<Entry>,
}

impl Tables {
    /// The number of the caller's attempt (0 for others), unless the fence refuses it.
    pub(super) fn fence(&self, caller: &Caller) -> Result<u32> {
        let Caller::Attempt(attempt) = caller else { return Ok(0) };
        self.fence_attempt(attempt).map(|current| current.number)
    }

    pub(super) fn fence_attempt(&self, attempt: &Attempt) -> Result<&AttemptInfo> {
        let attempts = self.instances.get(&attempt.ti).map_or(&[][..], |i| &i.attempts);
        match attempts.last() {
            Some(current) if current.id == attempt.id => Ok(current),
            Some(current) if attempts.iter().any(|past| past.id == attempt.id) => {
                Err(superseded(attempt, current))
            }
            _ => Err(not_started(attempt)),
        }
    }

    pub(super) fn note(&mut self, attempt: &Attempt, name: &str, value: Option<&Value>) -> Result<()> {
        let number = self.fence_attempt(attempt)?.number;
        if let Some(instance) = self.instances.get_mut(&attempt.ti) {
            let name: Arc<str> = name.into();
            match value {
                Some(value) => {
                    let note = Note { name: Arc::clone(&name), number, value: value.clone() };
                    instance.notes.insert(name, note);
                }
                None => drop(instance.notes.remove(&name)),
            }
        }
        Ok(())
    }

    pub(super) fn knows_version(&self, key: &XComKey, version: Version) -> bool {
        self.entries.get(key).is_some_and(|held| held.entry.version == version)
            || self.history.get(key).is_some_and(|past| past.iter().any(|p| p.info.info.version == version))
    }

    pub(super) fn set_attempt_state(
        &mut self,
        attempt: &Attempt,
        state: TaskState,
        at: Timestamp,
    ) -> Result<()> {
        self.fence_attempt(attempt)?;
        if let Some(instance) = self.instances.get_mut(&attempt.ti) {
            instance.state = state;
            if let Some(current) = instance.attempts.last_mut() {
                current.state = state;
                current.ended_at = state.has_ended().then_some(at);
            }
        }
        Ok(())
    }

    /// The number of the pushing attempt, unless the fence refuses it or an offloaded push has no intent.
    pub(super) fn may_push(&self, push: &Push) -> Result<u32> {
        let number = self.fence(&push.caller)?;
        if let Some(id) = push.encrypted_with()
            && self.is_retired(&id)
        {
            return Err(key_gone(&push.key, &id));
        }
        let intent = || {
            self.loose.get(&(push.key.clone(), push.version)).is_some_and(|(_, used)| *used == Use::Intent)
        };
        if matches!(push.stored, Stored::Offloaded(_))
            && !self.knows_version(&push.key, push.version)
            && !intent()
        {
            return Err(intent_gone(&push.key, push.version));
        }
        Ok(number)
    }

    pub(super) fn is_retired(&self, key_id: &str) -> bool {
        self.marks.contains_key(&retired_key(key_id))
    }

    pub(super) fn push(&mut self, push: &Push) -> Result<Pushed> {
        let number = self.may_push(push)?;
        if self.knows_version(&push.key, push.version) {
            return Ok(Pushed::Already);
        }
        let preview = match &push.stored {
            _ if push.secret => REDACTED.to_owned(),
            Stored::Inline(value) => preview(value.bytes()),
            Stored::Offloaded(_) => push.preview.clone(),
        };
        if matches!(push.stored, Stored::Offloaded(_)) {
            self.loose.remove(&(push.key.clone(), push.version));
        }
        self.ensure_run(&push.key.ti.dag_id, &push.key.ti.run_id, push.at);
        self.end(&push.key, EndReason::Replaced, &push.caller.to_string(), push.at);
        let entry = Entry {
            version: push.version,
            writer: Writer::of(&push.caller, &push.key, number),
            size: push.size,
            hash: push.hash,
            shape: push.shape,
            secret: push.secret,
            stored: push.stored.clone(),
        };
        self.rows += 1;
        self.entries.insert(push.key.clone(), Held { row: self.rows, entry, preview, result: push.result });
        Ok(Pushed::Written)
    }

    pub(super) fn ledger(&self, of: impl Fn(&Reader, &ReadTarget) -> bool) -> Vec<LedgerRow> {
        let mut rows: Vec<LedgerRow> = self
            .reads
            .iter()
            .filter(|((reader, target), _)| of(reader, target))
            .map(|(((reader, task, attempt), target), (count, first, last))| LedgerRow {
                reader: reader.clone(),
                task: task.clone(),
                attempt: *attempt,
                target: target.clone(),
                count: *count,
                first: *first,
                last: *last,
            })
            .collect();
        rows.sort_by(|a, b| (a.first, &a.reader).cmp(&(b.first, &b.reader)));
        rows
    }

    pub(super) fn end(&mut self, key: &XComKey, reason: EndReason, by: &str, at: Timestamp) -> bool {
        let Some(held) = self.entries.remove(key) else { return false };
        let info = held.info(key);
        let keep = reason != EndReason::Expired;
        if !keep {
            self.loosen(key, &held.entry, at);
        }
        let past = PastEntry { info, ended_at: at, reason, by: by.to_owned(), has_bytes: keep };
        self.rows += 1;
        let past = Past { row: self.rows, info: past, entry: keep.then_some(held.entry) };
        self.history.entry(key.clone()).or_default().push(past);
        true
    }

    pub(super) fn clear(&mut self, scope: &Scope, by: &str, at: Timestamp) -> u64 {
        let keys: Vec<XComKey> = self.in_scope(scope);
        keys.iter().filter(|key| self.end(key, EndReason::Cleared, by, at)).count() as u64
    }

    pub(super) fn in_scope(&self, scope: &Scope) -> Vec<XComKey> {
        match scope {
            Scope::Key(key) => self.entries.contains_key(key).then(|| key.clone()).into_iter().collect(),
            Scope::TaskInstance(ti) => self.entries.keys().filter(|key| key.ti == *ti).cloned().collect(),
        }
    }

    pub(super) fn sequence(&self, key: &SequenceKey) -> Vec<Item> {
        self.entries
            .range(key.at(0)..)
            .take_while(|(k, _)| {
                k.ti.dag_id == key.dag_id && k.ti.run_id == key.run_id && k.ti.task_id == key.task_id
            })
            .filter(|(k, _)| k.key == key.key)
            .filter(|(k, _)| self.instances.get(&k.ti).is_none_or(|i| i.state != TaskState::Removed))
            .map(|(k, held)| Item { map_index: k.ti.map_index, entry: held.entry.clone() })
            .collect()
    }

    /// One more than the highest map index that the task has in the run.
    pub(super) fn length(&self, key: &SequenceKey) -> u64 {
        let first = key.at(0).ti;
        let same = |ti: &TaskInstanceKey| {
            ti.dag_id == key.dag_id && ti.run_id == key.run_id && ti.task_id == key.task_id
        };
        let instances = self
            .instances
            .range(first..)
            .take_while(|(ti, _)| same(ti))
            .filter(|(_, instance)| instance.state != TaskState::Removed)
            .map(|(ti, _)| ti.map_index);
        let entries = self
            .entries
            .range(key.at(0)..)
            .map(|(k, _)| &k.ti)
            .take_while(|ti| same(ti))
            .filter(|ti| self.instances.get(ti).is_none_or(|i| i.state != TaskState::Removed))
            .map(|ti| ti.map_index);
        instances.chain(entries).max().map_or(0, |last| last as u64 + 1)
    }
}

impl Held {
    pub(super) fn info(&self, key: &XComKey) -> EntryInfo {
        let entry = &self.entry;
        EntryInfo {
            key: key.clone(),
            version: entry.version,
            writer: entry.writer.clone(),
            size: entry.size,
            hash: entry.hash,
            shape: entry.shape,
            preview: self.preview.clone(),
            offloaded: matches!(entry.stored, Stored::Offloaded(_)),
            secret: entry.secret,
        }
    }
}

pub(super) fn reader(caller: &Caller, tables: &Tables) -> Reader {
    let Caller::Attempt(attempt) = caller else { return (caller.to_string(), None, None) };
    let attempts = tables.instances.get(&attempt.ti).map_or(&[][..], |i| &i.attempts);
    let number = attempts.iter().find(|known| known.id == attempt.id).map(|known| known.number);
    (caller.to_string(), Some(attempt.ti.clone()), number)
}
