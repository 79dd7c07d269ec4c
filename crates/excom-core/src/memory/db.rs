//! A metadata database in memory: the contract's rules in their plainest form.

mod around;
mod assets;
mod expiry;
mod kept;
mod runs;
mod tables;

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::asset::{Asset, AssetEvent, AssetEventFilter, AssetNamed, NewAssetEvent};
use crate::attempt::{Attempt, AttemptInfo, Caller, TaskInstanceInfo, TaskState};
use crate::db::{
    Cutoffs, DagRun, DagVersion, Due, Filter, Health, Item, Kept, LedgerRow, LooseObject, MetadataDb, Note,
    Occupied, Page, Place, Produced, Push, Pushed, RENDERED, ReadTarget, Reads, RefusalCount, Removed, Rule,
    RunFilter, RunInfo, RunState, Scan, Scope, StartMode, Started, Surroundings, Usage, Variable,
    VariableWrite, cleared_by, version_taken,
};
use crate::entry::{Entry, EntryInfo, PastEntry, Stored, Version, Writer};
use crate::value::Value;
use crate::{ObjectName, RETURN_VALUE, Result, SequenceKey, Slice, TaskInstanceKey, XComKey};

use tables::{Instance, Tables, reader};

/// A metadata database in memory.
#[derive(Default)]
pub struct Db(Mutex<Tables>);

impl Db {
    /// An empty database.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("memory()")
    }
}

#[async_trait]
impl MetadataDb for Db {
    async fn register_run(&self, run: &DagRun) -> Result<()> {
        self.lock().register_run(run);
        Ok(())
    }

    async fn start_run(&self, run: &DagRun, at: Timestamp) -> Result<()> {
        self.lock().register_run(run).set(RunState::Running, at);
        Ok(())
    }

    async fn begin_run(&self, run: &DagRun, at: Timestamp) -> Result<bool> {
        let mut tables = self.lock();
        if tables.ensure_run(&run.dag_id, &run.run_id, run.run_after).state.is_some() {
            return Ok(false);
        }
        tables.register_run(run).set(RunState::Running, at);
        Ok(true)
    }

    async fn set_run_state(&self, dag_id: &str, run_id: &str, state: RunState, at: Timestamp) -> Result<()> {
        self.lock().ensure_run(&dag_id.into(), &run_id.into(), at).set(state, at);
        Ok(())
    }

    async fn run_info(&self, dag_id: &str, run_id: &str) -> Result<Option<RunInfo>> {
        Ok(self.lock().runs.get(&(dag_id.into(), run_id.into())).cloned())
    }

    async fn runs(&self, filter: &RunFilter, before: Option<&DagRun>, limit: u32) -> Result<Vec<RunInfo>> {
        Ok(self.lock().runs(filter, before, limit))
    }

    async fn task_instances(
        &self,
        dag_id: &str,
        run_id: &str,
        after: Option<(&str, i32)>,
        limit: u32,
    ) -> Result<Vec<TaskInstanceInfo>> {
        Ok(self.lock().task_instances(dag_id, run_id, after, limit))
    }

    async fn set_states(&self, states: &[(TaskInstanceKey, TaskState)], at: Timestamp) -> Result<()> {
        let mut tables = self.lock();
        for (ti, state) in states {
            tables.set_state(ti, *state, at);
        }
        Ok(())
    }

    async fn skip(&self, instances: &[TaskInstanceKey], at: Timestamp) -> Result<()> {
        let mut tables = self.lock();
        for ti in instances {
            if !tables.instances.get(ti).is_some_and(|instance| instance.state.has_begun()) {
                tables.set_state(ti, TaskState::Skipped, at);
            }
        }
        Ok(())
    }

    async fn task_instance(&self, ti: &TaskInstanceKey) -> Result<Option<TaskInstanceInfo>> {
        Ok(self.lock().instances.get(ti).map(|instance| instance.info(ti)))
    }

    async fn attempts(&self, ti: &TaskInstanceKey) -> Result<Vec<AttemptInfo>> {
        Ok(self.lock().instances.get(ti).map(|i| i.attempts.clone()).unwrap_or_default())
    }

    async fn start_attempt(
        &self,
        attempt: &Attempt,
        try_number: u32,
        mode: StartMode,
        at: Timestamp,
    ) -> Result<Started> {
        let mut tables = self.lock();
        let known = match tables.fence_attempt(attempt) {
            Ok(current) => Some(current.number),
            Err(e) if e.kind() == crate::ErrorKind::NotStarted && mode == StartMode::Fresh => None,
            Err(e) => return Err(e),
        };
        tables.ensure_run(&attempt.ti.dag_id, &attempt.ti.run_id, at);
        let instance =
            tables.instances.entry(attempt.ti.clone()).or_insert_with(|| Instance::new(TaskState::Running));
        if let Some(number) = known {
            if let Some(current) = instance.attempts.last_mut().filter(|current| !current.state.has_ended()) {
                instance.state = TaskState::Running;
                current.state = TaskState::Running;
                current.ended_at = None;
            }
            return Ok(Started { number, cleared: 0 });
        }
        instance.state = TaskState::Running;
        let number = instance.attempts.len() as u32 + 1;
        instance.attempts.push(AttemptInfo {
            number,
            id: attempt.id,
            try_number,
            state: TaskState::Running,
            started_at: at,
            ended_at: None,
        });
        let by = cleared_by(&Caller::Attempt(attempt.clone()), &attempt.ti, Some(try_number));
        let cleared = tables.clear(&Scope::TaskInstance(attempt.ti.clone()), &by, at);
        Ok(Started { number, cleared })
    }

    async fn set_attempt_state(&self, attempt: &Attempt, state: TaskState, at: Timestamp) -> Result<()> {
        self.lock().set_attempt_state(attempt, state, at)
    }

    async fn finish_attempt(
        &self,
        attempt: &Attempt,
        state: TaskState,
        pushes: &[Push],
        at: Timestamp,
    ) -> Result<()> {
        let mut tables = self.lock();
        tables.fence_attempt(attempt)?;
        let mut versions = HashSet::new();
        for push in pushes {
            tables.may_push(push)?;
            let known = tables.knows_version(&push.key, push.version);
            if known || !versions.insert((&push.key, push.version)) {
                return Err(version_taken(&push.key, push.version));
            }
        }
        for push in pushes {
            tables.push(push)?;
        }
        tables.set_attempt_state(attempt, state, at)
    }

    async fn note(&self, attempt: &Attempt, name: &str, value: Option<&Value>, _at: Timestamp) -> Result<()> {
        self.lock().note(attempt, name, value).map(drop)
    }

    async fn note_once(&self, attempt: &Attempt, name: &str, value: &Value, _at: Timestamp) -> Result<Value> {
        let mut tables = self.lock();
        let number = tables.fence_attempt(attempt)?.number;
        let found = tables.instances.get(&attempt.ti).and_then(|instance| instance.notes.get(name));
        match found.filter(|note| note.number == number) {
            Some(note) => Ok(note.value.clone()),
            None => tables.note(attempt, name, Some(value)).map(|()| value.clone()),
        }
    }

    async fn notes(&self, ti: &TaskInstanceKey, prefix: &str, limit: u32) -> Result<Vec<Note>> {
        let tables = self.lock();
        let notes = tables.instances.get(ti).into_iter().flat_map(|instance| instance.notes.values());
        Ok(notes.filter(|note| note.name.starts_with(prefix)).take(limit as usize).cloned().collect())
    }

    async fn push(&self, push: &Push) -> Result<Pushed> {
        self.lock().push(push)
    }

    async fn entries(&self, keys: &[XComKey]) -> Result<Vec<Option<Entry>>> {
        let tables = self.lock();
        Ok(keys.iter().map(|key| tables.entries.get(key).map(|held| held.entry.clone())).collect())
    }

    async fn produced(&self, keys: &[SequenceKey]) -> Result<Vec<Produced>> {
        let tables = self.lock();
        let produced = |key: &SequenceKey| match tables.length(key) {
            0 => Produced::Single(tables.entries.get(&key.at(-1)).map(|held| held.entry.clone())),
            length => Produced::Mapped { items: tables.sequence(key), length },
        };
        Ok(keys.iter().map(produced).collect())
    }

    async fn prior_run(&self, key: &SequenceKey, map_index: Option<i32>) -> Result<Option<Arc<str>>> {
        Ok(self.lock().prior_run(key, map_index))
    }

    async fn surroundings(&self, key: &XComKey) -> Result<Surroundings> {
        Ok(self.lock().surroundings(key))
    }

    async fn count(&self, key: &SequenceKey) -> Result<u64> {
        Ok(self.lock().sequence(key).len() as u64)
    }

    async fn indexes(&self, key: &SequenceKey) -> Result<Vec<i32>> {
        Ok(self.lock().sequence(key).iter().map(|item| item.map_index).collect())
    }

    async fn slice(&self, key: &SequenceKey, slice: Slice) -> Result<Vec<Item>> {
        let items = self.lock().sequence(key);
        Ok(slice.positions(items.len() as u64)?.map(|i| items[i as usize].clone()).collect())
    }

    async fn page(&self, key: &SequenceKey, after: Option<i32>, limit: u32) -> Result<Vec<Item>> {
        let items = self.lock().sequence(key);
        let behind = items.into_iter().filter(|item| after.is_none_or(|after| item.map_index > after));
        Ok(behind.take(limit as usize).collect())
    }

    async fn results(&self, dag_id: &str, run_id: &str) -> Result<Vec<Arc<str>>> {
        let tables = self.lock();
        let of_run = |key: &XComKey| *key.ti.dag_id == *dag_id && *key.ti.run_id == *run_id;
        let returned = |key: &XComKey| *key.key == *RETURN_VALUE && of_run(key);
        let marked = tables.entries.iter().filter(|(key, held)| held.result && returned(key));
        let mut tasks: Vec<Arc<str>> = marked.map(|(key, _)| key.ti.task_id.clone()).collect();
        tasks.dedup();
        Ok(tasks)
    }

    async fn list(&self, filter: &Filter, after: Option<&XComKey>, limit: u32) -> Result<Page<EntryInfo>> {
        let tables = self.lock();
        let fits = |key: &XComKey| {
            let same = |wanted: &Option<Arc<str>>, is: &Arc<str>| wanted.as_ref().is_none_or(|w| w == is);
            same(&filter.dag_id, &key.ti.dag_id)
                && same(&filter.run_id, &key.ti.run_id)
                && same(&filter.task_id, &key.ti.task_id)
                && same(&filter.key, &key.key)
                && filter.map_index.is_none_or(|i| i == key.ti.map_index)
        };
        let mut items: Vec<EntryInfo> = tables
            .entries
            .iter()
            .filter(|(key, _)| fits(key) && after.is_none_or(|after| *key > after))
            .take(limit as usize + 1)
            .map(|(key, held)| held.info(key))
            .collect();
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next = if more { items.last().map(|info| info.key.clone()) } else { None };
        Ok(Page { items, next })
    }

    async fn history(&self, key: &XComKey, limit: u32) -> Result<Vec<PastEntry>> {
        let tables = self.lock();
        let past = tables.history.get(key).map_or(&[][..], Vec::as_slice);
        Ok(past.iter().rev().take(limit as usize).map(|past| past.info.clone()).collect())
    }

    async fn past(&self, key: &XComKey, version: Version) -> Result<Option<Entry>> {
        let tables = self.lock();
        let past = tables.history.get(key).map_or(&[][..], Vec::as_slice);
        Ok(past.iter().find(|p| p.info.info.version == version).and_then(|p| p.entry.clone()))
    }

    async fn clear(&self, caller: &Caller, scope: &Scope, at: Timestamp) -> Result<u64> {
        let mut tables = self.lock();
        tables.fence(caller)?;
        let by = cleared_by(caller, scope.ti(), None);
        Ok(tables.clear(scope, &by, at))
    }

    async fn delete(&self, scope: &Scope, at: Timestamp) -> Result<u64> {
        let mut tables = self.lock();
        let covers = |key: &XComKey| match scope {
            Scope::Key(k) => k == key,
            Scope::TaskInstance(ti) => *ti == key.ti,
        };
        let keys: Vec<XComKey> =
            tables.entries.keys().chain(tables.history.keys()).filter(|key| covers(key)).cloned().collect();
        let mut gone = 0;
        for key in keys {
            let past = tables.history.remove(&key).unwrap_or_default();
            let entries = past.into_iter().map(|past| past.entry);
            let current = tables.entries.remove(&key).map(|held| Some(held.entry));
            for entry in entries.chain(current).collect::<Vec<_>>() {
                gone += 1;
                if let Some(entry) = entry {
                    tables.loosen(&key, &entry, at);
                }
            }
        }
        tables.reads.retain(|(_, target), _| match target {
            ReadTarget::Entry(key, _) => !covers(key),
            ReadTarget::Sequence(_) => true,
        });
        if let Scope::TaskInstance(ti) = scope
            && let Some(instance) = tables.instances.get_mut(ti)
        {
            instance.notes.remove(RENDERED);
        }
        Ok(gone)
    }

    async fn note_reads(&self, reads: &[Reads]) -> Result<()> {
        let mut tables = self.lock();
        for read in reads {
            let reader = reader(&read.reader, &tables);
            let row = tables.reads.entry((reader, read.target.clone())).or_insert((0, read.first, read.last));
            row.0 += read.count;
            row.1 = row.1.min(read.first);
            row.2 = row.2.max(read.last);
        }
        Ok(())
    }

    async fn readers(&self, key: &XComKey) -> Result<Vec<LedgerRow>> {
        Ok(self.lock().ledger(|_, target| match target {
            ReadTarget::Entry(k, _) => k == key,
            ReadTarget::Sequence(k) => key.ti.is_mapped() && *k == key.sequence(),
        }))
    }

    async fn reads_of(&self, ti: &TaskInstanceKey) -> Result<Vec<LedgerRow>> {
        Ok(self.lock().ledger(|(_, task, _), _| task.as_ref() == Some(ti)))
    }

    async fn pushed_by(&self, ti: &TaskInstanceKey, number: u32) -> Result<Vec<EntryInfo>> {
        let tables = self.lock();
        let past = tables.history.values().flatten().map(|past| past.info.info.clone());
        let current = tables.entries.iter().map(|(key, held)| held.info(key));
        let mut pushed: Vec<EntryInfo> = past
            .chain(current)
            .filter(|info| info.key.ti == *ti && info.writer == Writer::Attempt(number))
            .collect();
        pushed.sort_by(|a, b| (a.version, &a.key).cmp(&(b.version, &b.key)));
        Ok(pushed)
    }

    async fn note_refusals(&self, refusals: &[RefusalCount]) -> Result<()> {
        let mut tables = self.lock();
        for row in refusals {
            let same = |known: &&mut RefusalCount| {
                let of = (&known.rule, &known.dag_id, &known.task_id, &known.target);
                of == (&row.rule, &row.dag_id, &row.task_id, &row.target)
            };
            match tables.refusals.iter_mut().find(same) {
                Some(known) => {
                    known.count += row.count;
                    known.first = known.first.min(row.first);
                    known.last = known.last.max(row.last);
                }
                None => tables.refusals.push(row.clone()),
            }
        }
        Ok(())
    }

    async fn refusals(&self, limit: u32) -> Result<Vec<RefusalCount>> {
        let mut rows = self.lock().refusals.clone();
        rows.sort_by_key(|row| std::cmp::Reverse(row.last));
        rows.truncate(limit as usize);
        Ok(rows)
    }

    async fn variable(&self, key: &str) -> Result<Option<Variable>> {
        Ok(self.lock().variables.get(key).cloned())
    }

    async fn write_variable(&self, caller: &Caller, write: &VariableWrite) -> Result<Option<Variable>> {
        let mut tables = self.lock();
        tables.fence(caller)?;
        let (key, text, description, updated_at) = write.parts();
        let before = tables.variables.get(key);
        match (write, before) {
            (VariableWrite::Make(_), Some(_)) | (VariableWrite::Change { .. }, None) => return Ok(None),
            _ => {}
        }
        let variable = Variable {
            key: key.clone(),
            text: text.map(str::to_owned).or_else(|| before?.text.clone()),
            description: description
                .or_else(|| before.and_then(|before| before.description.as_deref()))
                .map(str::to_owned),
            updated_at: Some(updated_at),
            is_encrypted: false,
        };
        tables.variables.insert(key.clone(), variable.clone());
        Ok(Some(variable))
    }

    async fn delete_variable(&self, caller: &Caller, key: &str) -> Result<bool> {
        let mut tables = self.lock();
        tables.fence(caller)?;
        Ok(tables.variables.remove(key).is_some())
    }

    async fn variables(&self, prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<Variable>> {
        let tables = self.lock();
        let fits = |key: &str| key.starts_with(prefix) && after.is_none_or(|after| key > after);
        let found = tables.variables.values().filter(|variable| fits(&variable.key));
        Ok(found.take(limit as usize).cloned().collect())
    }

    async fn note_asset_events(
        &self,
        attempt: &Attempt,
        events: &[NewAssetEvent],
        at: Timestamp,
    ) -> Result<()> {
        self.lock().note_asset_events(attempt, events, at)
    }

    async fn assets(&self, named: &AssetNamed, limit: u32) -> Result<Vec<Asset>> {
        Ok(self.lock().known_assets(named, limit))
    }

    async fn asset_events(&self, filter: &AssetEventFilter, limit: u32) -> Result<Vec<AssetEvent>> {
        Ok(self.lock().asset_events(filter, limit))
    }

    async fn note_dag_version(
        &self,
        dag_id: &str,
        version: &str,
        document: &Value,
        at: Timestamp,
    ) -> Result<()> {
        self.lock().note_dag_version(dag_id, version, document, at);
        Ok(())
    }

    async fn dag_versions(&self, dag_id: &str, limit: u32) -> Result<Vec<DagVersion>> {
        let tables = self.lock();
        let versions = tables.versions.get(dag_id).map_or(&[][..], Vec::as_slice);
        Ok(versions.iter().rev().take(limit as usize).cloned().collect())
    }

    async fn dag_version(&self, dag_id: &str, version: &str) -> Result<Option<DagVersion>> {
        let tables = self.lock();
        let versions = tables.versions.get(dag_id).map_or(&[][..], Vec::as_slice);
        Ok(versions.iter().find(|known| *known.version == *version).cloned())
    }

    async fn note_intent(&self, object: &LooseObject) -> Result<Pushed> {
        self.lock().note_intent(object)
    }

    async fn note_move(&self, found: &Kept, store: &str, at: Timestamp) -> Result<bool> {
        Ok(self.lock().note_move(found, store, at))
    }

    async fn move_stored(&self, found: &Kept, to: &Stored, at: Timestamp) -> Result<bool> {
        Ok(self.lock().move_stored(found, to, at))
    }

    async fn intents(&self) -> Result<Vec<LooseObject>> {
        Ok(self.lock().intents())
    }

    async fn claim_loose(&self, before: Timestamp, at: Timestamp, limit: u32) -> Result<Vec<LooseObject>> {
        Ok(self.lock().claim_loose(before, at, limit))
    }

    async fn forget_loose(&self, objects: &[LooseObject]) -> Result<()> {
        self.lock().forget_loose(objects);
        Ok(())
    }

    async fn release_loose(&self, objects: &[LooseObject]) -> Result<()> {
        self.lock().release_loose(objects);
        Ok(())
    }

    async fn knows_object(&self, store: &str, object: &ObjectName, version: Version) -> Result<bool> {
        Ok(self.lock().knows_object(store, object, version))
    }

    async fn claim_orphan(&self, object: &LooseObject) -> Result<bool> {
        Ok(self.lock().claim_orphan(object))
    }

    async fn kept(&self, dag_id: Option<&str>, after: Option<Place>, limit: u32) -> Result<Scan<Kept>> {
        Ok(self.lock().kept(dag_id, after, limit))
    }

    async fn due(
        &self,
        rules: &[Rule],
        dag_id: Option<&str>,
        after: Option<Place>,
        limit: u32,
    ) -> Result<Scan<Due>> {
        Ok(self.lock().due(rules, dag_id, after, limit))
    }

    async fn expire(&self, rules: &[Rule], due: &[Due], at: Timestamp) -> Result<Removed> {
        Ok(self.lock().expire(rules, due, at))
    }

    async fn take_turn(&self, name: &str, at: Timestamp, every: Duration) -> Result<bool> {
        let mut tables = self.lock();
        let due = match tables.marks.get(name).map(|last| last.parse::<Timestamp>()) {
            Some(Ok(last)) => at.duration_since(last).unsigned_abs() >= every,
            _ => true,
        };
        if due {
            tables.marks.insert(name.to_owned(), at.to_string());
        }
        Ok(due)
    }

    async fn retain(&self, cutoffs: &Cutoffs) -> Result<Removed> {
        Ok(self.lock().retain(cutoffs))
    }

    async fn mark(&self, name: &str) -> Result<Option<String>> {
        Ok(self.lock().marks.get(name).cloned())
    }

    async fn set_mark(&self, name: &str, value: &str) -> Result<String> {
        Ok(self.lock().marks.entry(name.to_owned()).or_insert_with(|| value.to_owned()).clone())
    }

    async fn marks(&self, prefix: &str) -> Result<Vec<(String, String)>> {
        let marks = &self.lock().marks;
        let behind = marks.iter().filter(|(name, _)| name.starts_with(prefix));
        let mut found: Vec<_> = behind.map(|(name, value)| (name.clone(), value.clone())).collect();
        found.sort();
        Ok(found)
    }

    async fn places(&self) -> Result<Vec<Occupied>> {
        Ok(self.lock().places())
    }

    async fn usage(&self, dag_id: &str, run_id: Option<&str>) -> Result<Usage> {
        Ok(self.lock().usage(dag_id, run_id))
    }

    async fn check(&self) -> Result<String> {
        Ok(self.to_string())
    }

    async fn health(&self) -> Result<Health> {
        let entries = self.lock().entries.len() as u64;
        Ok(Health { identity: self.to_string(), schema: 0, entries, bytes: 0, problems: Vec::new() })
    }
}
