//! The contract of databases on a server, and of those that are Airflow's. What does the work stands in the files of each one's folder, as methods of its
//! `Tables`, because an `impl` of a trait cannot be divided among files.

/// Implements [`MetadataDb`](excom_core::db::MetadataDb) for a `Db`: each call goes to the method of that name of its
/// `.0`, and what failed there is made an error by its method `told`. What one alone does otherwise than by default is
/// given behind its name.
macro_rules! metadata_db {
    ($db:ty $(, $($own:tt)*)?) => {
        const _: () = {
            use std::sync::Arc;
            use std::time::Duration;

            use async_trait::async_trait;
            use excom_core::attempt::{Attempt, AttemptInfo, Caller, TaskInstanceInfo, TaskState};
            use excom_core::db::{
                Cutoffs, DagRun, DagVersion, Due, Filter, Health, Item, Kept, LedgerRow, LooseObject,
                MetadataDb, Note, Occupied, Page, Place, Produced, Push, Pushed, Reads, RefusalCount, Removed,
                Rule, RunFilter, RunInfo, RunState, Scan, Scope, StartMode, Started, Surroundings, Usage,
                Variable, VariableWrite,
            };
            use excom_core::entry::{Entry, EntryInfo, PastEntry, Stored, Version};
            use excom_core::{ObjectName, Result, SequenceKey, Slice, TaskInstanceKey, Value, XComKey};
            use jiff::Timestamp;

            #[async_trait]
            impl MetadataDb for $db {
                async fn register_run(&self, run: &DagRun) -> Result<()> {
                    self.told(self.0.register_run(run).await)
                }

                async fn start_run(&self, run: &DagRun, at: Timestamp) -> Result<()> {
                    self.told(self.0.start_run(run, at).await)
                }

                async fn begin_run(&self, run: &DagRun, at: Timestamp) -> Result<bool> {
                    self.told(self.0.begin_run(run, at).await)
                }

                async fn set_run_state(
                    &self,
                    dag_id: &str,
                    run_id: &str,
                    state: RunState,
                    at: Timestamp,
                ) -> Result<()> {
                    self.told(self.0.set_run_state(dag_id, run_id, state, at).await)
                }

                async fn run_info(&self, dag_id: &str, run_id: &str) -> Result<Option<RunInfo>> {
                    self.told(self.0.run_info(dag_id, run_id).await)
                }

                async fn runs(
                    &self,
                    filter: &RunFilter,
                    before: Option<&DagRun>,
                    limit: u32,
                ) -> Result<Vec<RunInfo>> {
                    self.told(self.0.runs(filter, before, limit).await)
                }

                async fn task_instances(
                    &self,
                    dag_id: &str,
                    run_id: &str,
                    after: Option<(&str, i32)>,
                    limit: u32,
                ) -> Result<Vec<TaskInstanceInfo>> {
                    self.told(self.0.task_instances(dag_id, run_id, after, limit).await)
                }

                async fn set_states(
                    &self,
                    states: &[(TaskInstanceKey, TaskState)],
                    at: Timestamp,
                ) -> Result<()> {
                    self.told(self.0.set_states(states, at).await)
                }

                async fn skip(&self, instances: &[TaskInstanceKey], at: Timestamp) -> Result<()> {
                    self.told(self.0.skip(instances, at).await)
                }

                async fn task_instance(&self, ti: &TaskInstanceKey) -> Result<Option<TaskInstanceInfo>> {
                    self.told(self.0.task_instance(ti).await)
                }

                async fn attempts(&self, ti: &TaskInstanceKey) -> Result<Vec<AttemptInfo>> {
                    self.told(self.0.attempts(ti).await)
                }

                async fn start_attempt(
                    &self,
                    attempt: &Attempt,
                    try_number: u32,
                    mode: StartMode,
                    at: Timestamp,
                ) -> Result<Started> {
                    self.told(self.0.start_attempt(attempt, try_number, mode, at).await)
                }

                async fn set_attempt_state(
                    &self,
                    attempt: &Attempt,
                    state: TaskState,
                    at: Timestamp,
                ) -> Result<()> {
                    self.told(self.0.set_attempt_state(attempt, state, at).await)
                }

                async fn finish_attempt(
                    &self,
                    attempt: &Attempt,
                    state: TaskState,
                    pushes: &[Push],
                    at: Timestamp,
                ) -> Result<()> {
                    self.told(self.0.finish_attempt(attempt, state, pushes, at).await)
                }

                async fn note(
                    &self,
                    attempt: &Attempt,
                    name: &str,
                    value: Option<&Value>,
                    at: Timestamp,
                ) -> Result<()> {
                    self.told(self.0.note(attempt, name, value, at).await)
                }

                async fn note_once(
                    &self,
                    attempt: &Attempt,
                    name: &str,
                    value: &Value,
                    at: Timestamp,
                ) -> Result<Value> {
                    self.told(self.0.note_once(attempt, name, value, at).await)
                }

                async fn notes(&self, ti: &TaskInstanceKey, prefix: &str, limit: u32) -> Result<Vec<Note>> {
                    self.told(self.0.notes(ti, prefix, limit).await)
                }

                async fn push(&self, push: &Push) -> Result<Pushed> {
                    self.told(self.0.push(push).await)
                }

                async fn results(&self, dag_id: &str, run_id: &str) -> Result<Vec<Arc<str>>> {
                    self.told(self.0.results(dag_id, run_id).await)
                }

                async fn entries(&self, keys: &[XComKey]) -> Result<Vec<Option<Entry>>> {
                    self.told(self.0.entries(keys).await)
                }

                async fn produced(&self, keys: &[SequenceKey]) -> Result<Vec<Produced>> {
                    self.told(self.0.produced(keys).await)
                }

                async fn prior_run(
                    &self,
                    key: &SequenceKey,
                    map_index: Option<i32>,
                ) -> Result<Option<Arc<str>>> {
                    self.told(self.0.prior_run(key, map_index).await)
                }

                async fn surroundings(&self, key: &XComKey) -> Result<Surroundings> {
                    self.told(self.0.surroundings(key).await)
                }

                async fn count(&self, key: &SequenceKey) -> Result<u64> {
                    self.told(self.0.count(key).await)
                }

                async fn indexes(&self, key: &SequenceKey) -> Result<Vec<i32>> {
                    self.told(self.0.indexes(key).await)
                }

                async fn slice(&self, key: &SequenceKey, slice: Slice) -> Result<Vec<Item>> {
                    self.told(self.0.slice(key, slice).await)
                }

                async fn page(&self, key: &SequenceKey, after: Option<i32>, limit: u32) -> Result<Vec<Item>> {
                    self.told(self.0.page(key, after, limit).await)
                }

                async fn list(
                    &self,
                    filter: &Filter,
                    after: Option<&XComKey>,
                    limit: u32,
                ) -> Result<Page<EntryInfo>> {
                    self.told(self.0.list(filter, after, limit).await)
                }

                async fn history(&self, key: &XComKey, limit: u32) -> Result<Vec<PastEntry>> {
                    self.told(self.0.history(key, limit).await)
                }

                async fn past(&self, key: &XComKey, version: Version) -> Result<Option<Entry>> {
                    self.told(self.0.past(key, version).await)
                }

                async fn clear(&self, caller: &Caller, scope: &Scope, at: Timestamp) -> Result<u64> {
                    self.told(self.0.clear(caller, scope, at).await)
                }

                async fn delete(&self, scope: &Scope, at: Timestamp) -> Result<u64> {
                    self.told(self.0.delete(scope, at).await)
                }

                async fn note_reads(&self, reads: &[Reads]) -> Result<()> {
                    self.told(self.0.note_reads(reads).await)
                }

                async fn readers(&self, key: &XComKey) -> Result<Vec<LedgerRow>> {
                    self.told(self.0.readers(key).await)
                }

                async fn reads_of(&self, ti: &TaskInstanceKey) -> Result<Vec<LedgerRow>> {
                    self.told(self.0.reads_of(ti).await)
                }

                async fn pushed_by(&self, ti: &TaskInstanceKey, number: u32) -> Result<Vec<EntryInfo>> {
                    self.told(self.0.pushed_by(ti, number).await)
                }

                async fn note_refusals(&self, refusals: &[RefusalCount]) -> Result<()> {
                    self.told(self.0.note_refusals(refusals).await)
                }

                async fn refusals(&self, limit: u32) -> Result<Vec<RefusalCount>> {
                    self.told(self.0.refusals(limit).await)
                }

                async fn variable(&self, key: &str) -> Result<Option<Variable>> {
                    self.told(self.0.variable(key).await)
                }

                async fn write_variable(&self, caller: &Caller, write: &VariableWrite) -> Result<Option<Variable>> {
                    self.told(self.0.write_variable(caller, write).await)
                }

                async fn delete_variable(&self, caller: &Caller, key: &str) -> Result<bool> {
                    self.told(self.0.delete_variable(caller, key).await)
                }

                async fn variables(
                    &self,
                    prefix: &str,
                    after: Option<&str>,
                    limit: u32,
                ) -> Result<Vec<Variable>> {
                    self.told(self.0.variables(prefix, after, limit).await)
                }

                async fn note_dag_version(
                    &self,
                    dag_id: &str,
                    version: &str,
                    document: &Value,
                    at: Timestamp,
                ) -> Result<()> {
                    self.told(self.0.note_dag_version(dag_id, version, document, at).await)
                }

                async fn dag_versions(&self, dag_id: &str, limit: u32) -> Result<Vec<DagVersion>> {
                    self.told(self.0.dag_versions(dag_id, limit).await)
                }

                async fn dag_version(&self, dag_id: &str, version: &str) -> Result<Option<DagVersion>> {
                    self.told(self.0.dag_version(dag_id, version).await)
                }

                async fn note_intent(&self, object: &LooseObject) -> Result<Pushed> {
                    self.told(self.0.note_intent(object).await)
                }

                async fn note_move(&self, found: &Kept, store: &str, at: Timestamp) -> Result<bool> {
                    self.told(self.0.note_move(found, store, at).await)
                }

                async fn move_stored(&self, found: &Kept, to: &Stored, at: Timestamp) -> Result<bool> {
                    self.told(self.0.move_stored(found, to, at).await)
                }

                async fn intents(&self) -> Result<Vec<LooseObject>> {
                    self.told(self.0.intents().await)
                }

                async fn claim_loose(
                    &self,
                    before: Timestamp,
                    at: Timestamp,
                    limit: u32,
                ) -> Result<Vec<LooseObject>> {
                    self.told(self.0.claim_loose(before, at, limit).await)
                }

                async fn forget_loose(&self, objects: &[LooseObject]) -> Result<()> {
                    self.told(self.0.forget_loose(objects).await)
                }

                async fn release_loose(&self, objects: &[LooseObject]) -> Result<()> {
                    self.told(self.0.release_loose(objects).await)
                }

                async fn knows_object(
                    &self,
                    store: &str,
                    object: &ObjectName,
                    version: Version,
                ) -> Result<bool> {
                    self.told(self.0.knows_object(store, object, version).await)
                }

                async fn claim_orphan(&self, object: &LooseObject) -> Result<bool> {
                    self.told(self.0.claim_orphan(object).await)
                }

                async fn kept(
                    &self,
                    dag_id: Option<&str>,
                    after: Option<Place>,
                    limit: u32,
                ) -> Result<Scan<Kept>> {
                    self.told(self.0.kept(dag_id, after, limit).await)
                }

                async fn due(
                    &self,
                    rules: &[Rule],
                    dag_id: Option<&str>,
                    after: Option<Place>,
                    limit: u32,
                ) -> Result<Scan<Due>> {
                    self.told(self.0.due(rules, dag_id, after, limit).await)
                }

                async fn expire(&self, rules: &[Rule], due: &[Due], at: Timestamp) -> Result<Removed> {
                    self.told(self.0.expire(rules, due, at).await)
                }

                $($($own)*)?

                async fn take_turn(&self, name: &str, at: Timestamp, every: Duration) -> Result<bool> {
                    self.told(self.0.take_turn(name, at, every).await)
                }

                async fn retain(&self, cutoffs: &Cutoffs) -> Result<Removed> {
                    self.told(self.0.retain(cutoffs).await)
                }

                async fn mark(&self, name: &str) -> Result<Option<String>> {
                    self.told(self.0.mark(name).await)
                }

                async fn set_mark(&self, name: &str, value: &str) -> Result<String> {
                    self.told(self.0.set_mark(name, value).await)
                }

                async fn marks(&self, prefix: &str) -> Result<Vec<(String, String)>> {
                    self.told(self.0.marks(prefix).await)
                }

                async fn places(&self) -> Result<Vec<Occupied>> {
                    self.told(self.0.places().await)
                }

                async fn usage(&self, dag_id: &str, run_id: Option<&str>) -> Result<Usage> {
                    self.told(self.0.usage(dag_id, run_id).await)
                }

                async fn check(&self) -> Result<String> {
                    self.told(self.0.check().await)
                }

                async fn health(&self) -> Result<Health> {
                    self.told(self.0.health().await)
                }
            }
        };
    };
}

pub(crate) use metadata_db;

/// The same for a database of Excom's own, which keeps assets.
#[cfg(any(feature = "mysql", feature = "postgres"))]
macro_rules! own_db {
    ($db:ty $(, $($own:tt)*)?) => {
        $crate::server::metadata_db! {
            $db,
            async fn note_asset_events(
                &self,
                attempt: &Attempt,
                events: &[excom_core::asset::NewAssetEvent],
                at: Timestamp,
            ) -> Result<()> {
                self.told(self.0.note_asset_events(attempt, events, at).await)
            }

            async fn assets(
                &self,
                named: &excom_core::asset::AssetNamed,
                limit: u32,
            ) -> Result<Vec<excom_core::asset::Asset>> {
                self.told(self.0.assets(named, limit).await)
            }

            async fn asset_events(
                &self,
                filter: &excom_core::asset::AssetEventFilter,
                limit: u32,
            ) -> Result<Vec<excom_core::asset::AssetEvent>> {
                self.told(self.0.asset_events(filter, limit).await)
            }

            $($($own)*)?
        }
    };
}
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(crate) use own_db;

/// The same for a database that is Airflow's, where Airflow writes too; and for Airflow's tables alone.
macro_rules! airflows_db {
    ($db:ty, $($own:tt)*) => {
        $crate::server::metadata_db! {
            $db,
            fn is_airflows(&self) -> bool {
                true
            }

            async fn connection(&self, id: &str) -> Result<Option<excom_core::db::StoredConnection>> {
                self.told(self.0.connection(id).await)
            }

            $($own)*
        }
    };
    ($db:ty) => {
        $crate::server::airflows_db! {
            $db,
            fn is_shared(&self) -> bool {
                true
            }

            async fn outside(
                &self,
                dag_id: Option<&str>,
                after: Option<Place>,
                limit: u32,
            ) -> Result<Scan<excom_core::db::Outside>> {
                self.told(self.0.outside(dag_id, after, limit).await)
            }

            async fn adopt(&self, found: &excom_core::db::Outside, at: Timestamp) -> Result<Option<Kept>> {
                self.told(self.0.adopt(found, at).await)
            }
        }
    };
}
pub(crate) use airflows_db;
