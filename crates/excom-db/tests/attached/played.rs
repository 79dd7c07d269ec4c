//! The attached database with an Airflow beside it that is played: before Excom is told of a run or a start, it does what
//! Airflow would have done. So the suite of all databases, which knows no Airflow, runs here.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use excom_core::attempt::{Attempt, AttemptInfo, Caller, TaskInstanceInfo, TaskState};
use excom_core::db::{
    Cutoffs, DagRun, DagVersion, Due, Filter, Health, Item, Kept, LedgerRow, LooseObject, MetadataDb, Note,
    Occupied, Page, Place, Produced, Push, Pushed, Reads, RefusalCount, Removed, Rule, RunFilter, RunInfo,
    RunState, Scan, Scope, StartMode, Started, Surroundings, Usage, Variable, VariableWrite,
};
use excom_core::entry::{Entry, EntryInfo, PastEntry, Stored, Version};
use excom_core::{ObjectName, Result, SequenceKey, Slice, TaskInstanceKey, Value, XComKey};
use jiff::Timestamp;

use crate::Db;
use crate::airflow::Airflow;

/// The attached database, and who plays Airflow.
pub(crate) struct Played {
    pub(crate) db: Db,
    pub(crate) airflow: Airflow,
}

impl fmt::Display for Played {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.db.fmt(f)
    }
}

impl fmt::Debug for Played {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[async_trait]
impl MetadataDb for Played {
    async fn register_run(&self, run: &DagRun) -> Result<()> {
        self.airflow.run(run)?;
        self.db.register_run(run).await
    }

    async fn start_run(&self, run: &DagRun, at: Timestamp) -> Result<()> {
        self.airflow.start_run(run, at)
    }

    async fn begin_run(&self, run: &DagRun, at: Timestamp) -> Result<bool> {
        if self.db.run_info(&run.dag_id, &run.run_id).await?.is_some_and(|info| info.state.is_some()) {
            return Ok(false);
        }
        self.start_run(run, at).await.map(|()| true)
    }

    async fn set_run_state(&self, dag_id: &str, run_id: &str, state: RunState, at: Timestamp) -> Result<()> {
        self.airflow.end_run(dag_id, run_id, state, at)
    }

    async fn run_info(&self, dag_id: &str, run_id: &str) -> Result<Option<RunInfo>> {
        self.db.run_info(dag_id, run_id).await
    }

    async fn runs(&self, filter: &RunFilter, before: Option<&DagRun>, limit: u32) -> Result<Vec<RunInfo>> {
        self.db.runs(filter, before, limit).await
    }

    async fn task_instances(
        &self,
        dag_id: &str,
        run_id: &str,
        after: Option<(&str, i32)>,
        limit: u32,
    ) -> Result<Vec<TaskInstanceInfo>> {
        self.db.task_instances(dag_id, run_id, after, limit).await
    }

    async fn set_states(&self, states: &[(TaskInstanceKey, TaskState)], at: Timestamp) -> Result<()> {
        self.airflow.set_states(states, at)
    }

    async fn skip(&self, instances: &[TaskInstanceKey], at: Timestamp) -> Result<()> {
        for ti in instances {
            let state = self.db.task_instance(ti).await?.map(|info| info.state);
            if !state.is_some_and(TaskState::has_begun) {
                self.airflow.set_states(&[(ti.clone(), TaskState::Skipped)], at)?;
            }
        }
        Ok(())
    }

    async fn task_instance(&self, ti: &TaskInstanceKey) -> Result<Option<TaskInstanceInfo>> {
        self.db.task_instance(ti).await
    }

    async fn attempts(&self, ti: &TaskInstanceKey) -> Result<Vec<AttemptInfo>> {
        self.db.attempts(ti).await
    }

    async fn start_attempt(
        &self,
        attempt: &Attempt,
        try_number: u32,
        mode: StartMode,
        at: Timestamp,
    ) -> Result<Started> {
        self.airflow.start(attempt, mode, at)?;
        self.db.start_attempt(attempt, try_number, mode, at).await
    }

    async fn set_attempt_state(&self, attempt: &Attempt, state: TaskState, at: Timestamp) -> Result<()> {
        self.db.set_attempt_state(attempt, state, at).await?;
        self.airflow.end(attempt, state, at)
    }

    async fn finish_attempt(
        &self,
        attempt: &Attempt,
        state: TaskState,
        pushes: &[Push],
        at: Timestamp,
    ) -> Result<()> {
        for push in pushes {
            self.airflow.task_instance_of(push)?;
        }
        self.db.finish_attempt(attempt, state, pushes, at).await?;
        self.airflow.end(attempt, state, at)
    }

    async fn note(&self, attempt: &Attempt, name: &str, value: Option<&Value>, at: Timestamp) -> Result<()> {
        self.db.note(attempt, name, value, at).await
    }

    async fn note_once(&self, attempt: &Attempt, name: &str, value: &Value, at: Timestamp) -> Result<Value> {
        self.db.note_once(attempt, name, value, at).await
    }

    async fn notes(&self, ti: &TaskInstanceKey, prefix: &str, limit: u32) -> Result<Vec<Note>> {
        self.db.notes(ti, prefix, limit).await
    }

    async fn push(&self, push: &Push) -> Result<Pushed> {
        self.airflow.task_instance_of(push)?;
        self.db.push(push).await
    }

    async fn results(&self, dag_id: &str, run_id: &str) -> Result<Vec<Arc<str>>> {
        self.db.results(dag_id, run_id).await
    }

    async fn entries(&self, keys: &[XComKey]) -> Result<Vec<Option<Entry>>> {
        self.db.entries(keys).await
    }

    async fn produced(&self, keys: &[SequenceKey]) -> Result<Vec<Produced>> {
        self.db.produced(keys).await
    }

    async fn prior_run(&self, key: &SequenceKey, map_index: Option<i32>) -> Result<Option<Arc<str>>> {
        self.db.prior_run(key, map_index).await
    }

    async fn surroundings(&self, key: &XComKey) -> Result<Surroundings> {
        self.db.surroundings(key).await
    }

    async fn count(&self, key: &SequenceKey) -> Result<u64> {
        self.db.count(key).await
    }

    async fn indexes(&self, key: &SequenceKey) -> Result<Vec<i32>> {
        self.db.indexes(key).await
    }

    async fn slice(&self, key: &SequenceKey, slice: Slice) -> Result<Vec<Item>> {
        self.db.slice(key, slice).await
    }

    async fn page(&self, key: &SequenceKey, after: Option<i32>, limit: u32) -> Result<Vec<Item>> {
        self.db.page(key, after, limit).await
    }

    async fn list(&self, filter: &Filter, after: Option<&XComKey>, limit: u32) -> Result<Page<EntryInfo>> {
        self.db.list(filter, after, limit).await
    }

    async fn history(&self, key: &XComKey, limit: u32) -> Result<Vec<PastEntry>> {
        self.db.history(key, limit).await
    }

    async fn past(&self, key: &XComKey, version: Version) -> Result<Option<Entry>> {
        self.db.past(key, version).await
    }

    async fn clear(&self, caller: &Caller, scope: &Scope, at: Timestamp) -> Result<u64> {
        self.db.clear(caller, scope, at).await
    }

    async fn delete(&self, scope: &Scope, at: Timestamp) -> Result<u64> {
        self.db.delete(scope, at).await
    }

    async fn note_reads(&self, reads: &[Reads]) -> Result<()> {
        self.db.note_reads(reads).await
    }

    async fn readers(&self, key: &XComKey) -> Result<Vec<LedgerRow>> {
        self.db.readers(key).await
    }

    async fn reads_of(&self, ti: &TaskInstanceKey) -> Result<Vec<LedgerRow>> {
        self.db.reads_of(ti).await
    }

    async fn pushed_by(&self, ti: &TaskInstanceKey, number: u32) -> Result<Vec<EntryInfo>> {
        self.db.pushed_by(ti, number).await
    }

    async fn note_refusals(&self, refusals: &[RefusalCount]) -> Result<()> {
        self.db.note_refusals(refusals).await
    }

    async fn refusals(&self, limit: u32) -> Result<Vec<RefusalCount>> {
        self.db.refusals(limit).await
    }

    async fn variable(&self, key: &str) -> Result<Option<Variable>> {
        self.db.variable(key).await
    }

    async fn write_variable(&self, caller: &Caller, write: &VariableWrite) -> Result<Option<Variable>> {
        self.db.write_variable(caller, write).await
    }

    async fn delete_variable(&self, caller: &Caller, key: &str) -> Result<bool> {
        self.db.delete_variable(caller, key).await
    }

    async fn variables(&self, prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<Variable>> {
        self.db.variables(prefix, after, limit).await
    }

    async fn note_dag_version(
        &self,
        dag_id: &str,
        version: &str,
        document: &Value,
        at: Timestamp,
    ) -> Result<()> {
        self.db.note_dag_version(dag_id, version, document, at).await
    }

    async fn dag_versions(&self, dag_id: &str, limit: u32) -> Result<Vec<DagVersion>> {
        self.db.dag_versions(dag_id, limit).await
    }

    async fn dag_version(&self, dag_id: &str, version: &str) -> Result<Option<DagVersion>> {
        self.db.dag_version(dag_id, version).await
    }

    async fn note_intent(&self, object: &LooseObject) -> Result<Pushed> {
        self.db.note_intent(object).await
    }

    async fn note_move(&self, found: &Kept, store: &str, at: Timestamp) -> Result<bool> {
        self.db.note_move(found, store, at).await
    }

    async fn move_stored(&self, found: &Kept, to: &Stored, at: Timestamp) -> Result<bool> {
        self.db.move_stored(found, to, at).await
    }

    async fn intents(&self) -> Result<Vec<LooseObject>> {
        self.db.intents().await
    }

    async fn claim_loose(&self, before: Timestamp, at: Timestamp, limit: u32) -> Result<Vec<LooseObject>> {
        self.db.claim_loose(before, at, limit).await
    }

    async fn release_loose(&self, objects: &[LooseObject]) -> Result<()> {
        self.db.release_loose(objects).await
    }

    async fn forget_loose(&self, objects: &[LooseObject]) -> Result<()> {
        self.db.forget_loose(objects).await
    }

    async fn knows_object(&self, store: &str, object: &ObjectName, version: Version) -> Result<bool> {
        self.db.knows_object(store, object, version).await
    }

    async fn claim_orphan(&self, object: &LooseObject) -> Result<bool> {
        self.db.claim_orphan(object).await
    }

    async fn kept(&self, dag_id: Option<&str>, after: Option<Place>, limit: u32) -> Result<Scan<Kept>> {
        self.db.kept(dag_id, after, limit).await
    }

    async fn due(
        &self,
        rules: &[Rule],
        dag_id: Option<&str>,
        after: Option<Place>,
        limit: u32,
    ) -> Result<Scan<Due>> {
        self.db.due(rules, dag_id, after, limit).await
    }

    async fn expire(&self, rules: &[Rule], due: &[Due], at: Timestamp) -> Result<Removed> {
        self.db.expire(rules, due, at).await
    }

    async fn take_turn(&self, name: &str, at: Timestamp, every: Duration) -> Result<bool> {
        self.db.take_turn(name, at, every).await
    }

    async fn retain(&self, cutoffs: &Cutoffs) -> Result<Removed> {
        self.db.retain(cutoffs).await
    }

    async fn mark(&self, name: &str) -> Result<Option<String>> {
        self.db.mark(name).await
    }

    async fn set_mark(&self, name: &str, value: &str) -> Result<String> {
        self.db.set_mark(name, value).await
    }

    async fn marks(&self, prefix: &str) -> Result<Vec<(String, String)>> {
        self.db.marks(prefix).await
    }

    async fn places(&self) -> Result<Vec<Occupied>> {
        self.db.places().await
    }

    async fn usage(&self, dag_id: &str, run_id: Option<&str>) -> Result<Usage> {
        self.db.usage(dag_id, run_id).await
    }

    async fn check(&self) -> Result<String> {
        self.db.check().await
    }

    async fn health(&self) -> Result<Health> {
        self.db.health().await
    }
}
