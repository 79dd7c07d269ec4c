//! What is the same without a place of Excom's beside Airflow's tables, in every database: what Airflow's tables hold is asked
//! as where there is one, and what needs a place is none, is not noted, or is refused with what it would need.

use excom_core::{Error, ErrorKind};

/// What does not work without a place of Excom's, for people.
pub(crate) const WITHOUT: &str =
    "no history, ledger, offloading, secrets, retention, notes or DAG versions of Excom's";

/// The refusal of what has no place.
pub(crate) fn needs(what: &str, place: &str) -> Error {
    let message = format!(
        "{what} needs what Excom has beside Airflow's tables of {place}, and [database] extras = none"
    );
    Error::new(ErrorKind::InvalidRequest, message)
        .hint("have somebody who may run `excom db attach`, and set [database] extras = \"schema\"")
}

/// What is the same of a `$bare` over an `$alone`, which has the `tables` of an attached database and its `place()`:
/// methods as [`metadata_db`](crate::server::metadata_db) calls them. Those of the tables fail with `$failure`.
macro_rules! nothing_beside {
    ($bare:ident, $alone:ty, $failure:ty) => {
        impl std::fmt::Display for $bare {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}, attached without a schema of Excom's", self.0.place())
            }
        }

        impl std::fmt::Debug for $bare {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }

        const _: () = {
            use std::sync::Arc;
            use std::time::Duration;

            use excom_core::attempt::{Attempt, AttemptInfo, Caller, TaskInstanceInfo, TaskState};
            use excom_core::db::{
                Cutoffs, DagRun, DagVersion, Due, Filter, Item, Kept, LedgerRow, LooseObject, Note, Page, Place,
                Produced, Push, Pushed, Reads, RefusalCount, Removed, Rule, RunFilter, RunInfo, RunState, Scan,
                Surroundings, Usage, Variable, VariableWrite,
            };
            use excom_core::entry::{Entry, EntryInfo, PastEntry, Stored, Version};
            use excom_core::{ObjectName, Result, SequenceKey, Slice, TaskInstanceKey, Value, XComKey};
            use jiff::Timestamp;

            $crate::bare::nothing_beside! { $alone, $failure:
                fn register_run(run: &DagRun) -> ();
                fn start_run(run: &DagRun, at: Timestamp) -> ();
                fn begin_run(run: &DagRun, at: Timestamp) -> bool;
                fn set_run_state(dag_id: &str, run_id: &str, state: RunState, at: Timestamp) -> ();
                fn run_info(dag_id: &str, run_id: &str) -> Option<RunInfo>;
                fn runs(filter: &RunFilter, before: Option<&DagRun>, limit: u32) -> Vec<RunInfo>;
                fn task_instances(dag_id: &str, run_id: &str, after: Option<(&str, i32)>, limit: u32) -> Vec<TaskInstanceInfo>;
                fn set_states(states: &[(TaskInstanceKey, TaskState)], at: Timestamp) -> ();
                fn skip(instances: &[TaskInstanceKey], at: Timestamp) -> ();
                fn task_instance(ti: &TaskInstanceKey) -> Option<TaskInstanceInfo>;
                fn attempts(ti: &TaskInstanceKey) -> Vec<AttemptInfo>;
                fn entries(keys: &[XComKey]) -> Vec<Option<Entry>>;
                fn produced(keys: &[SequenceKey]) -> Vec<Produced>;
                fn prior_run(key: &SequenceKey, map_index: Option<i32>) -> Option<Arc<str>>;
                fn surroundings(key: &XComKey) -> Surroundings;
                fn count(key: &SequenceKey) -> u64;
                fn indexes(key: &SequenceKey) -> Vec<i32>;
                fn slice(key: &SequenceKey, slice: Slice) -> Vec<Item>;
                fn results(dag_id: &str, run_id: &str) -> Vec<Arc<str>>;
                fn connection(id: &str) -> Option<excom_core::db::StoredConnection>;
                fn write_variable(caller: &Caller, write: &VariableWrite) -> Option<Variable>;
                fn delete_variable(caller: &Caller, key: &str) -> bool;
                fn variable(key: &str) -> Option<Variable>;
                fn variables(prefix: &str, after: Option<&str>, limit: u32) -> Vec<Variable>;
                fn page(key: &SequenceKey, after: Option<i32>, limit: u32) -> Vec<Item>;
                fn list(filter: &Filter, after: Option<&XComKey>, limit: u32) -> Page<EntryInfo>;
                fn usage(dag_id: &str, run_id: Option<&str>) -> Usage;
            }
            $crate::bare::nothing_beside! { $alone:
                fn note(_attempt: &Attempt, _name: &str, _value: Option<&Value>, _at: Timestamp) -> () = ();
                fn note_once(_attempt: &Attempt, _name: &str, value: &Value, _at: Timestamp) -> Value = value.clone();
                fn notes(_ti: &TaskInstanceKey, _prefix: &str, _limit: u32) -> Vec<Note> = Vec::new();
                fn history(_key: &XComKey, _limit: u32) -> Vec<PastEntry> = Vec::new();
                fn past(_key: &XComKey, _version: Version) -> Option<Entry> = None;
                fn note_reads(_reads: &[Reads]) -> () = ();
                fn readers(_key: &XComKey) -> Vec<LedgerRow> = Vec::new();
                fn reads_of(_ti: &TaskInstanceKey) -> Vec<LedgerRow> = Vec::new();
                fn pushed_by(_ti: &TaskInstanceKey, _number: u32) -> Vec<EntryInfo> = Vec::new();
                fn note_refusals(_refusals: &[RefusalCount]) -> () = ();
                fn refusals(_limit: u32) -> Vec<RefusalCount> = Vec::new();
                fn note_dag_version(_dag_id: &str, _version: &str, _document: &Value, _at: Timestamp) -> () = ();
                fn dag_versions(_dag_id: &str, _limit: u32) -> Vec<DagVersion> = Vec::new();
                fn dag_version(_dag_id: &str, _version: &str) -> Option<DagVersion> = None;
                fn intents() -> Vec<LooseObject> = Vec::new();
                fn claim_loose(_before: Timestamp, _at: Timestamp, _limit: u32) -> Vec<LooseObject> = Vec::new();
                fn forget_loose(_objects: &[LooseObject]) -> () = ();
                fn release_loose(_objects: &[LooseObject]) -> () = ();
                // What Excom stored while it was attached is nobody's to remove here.
                fn knows_object(_store: &str, _object: &ObjectName, _version: Version) -> bool = true;
                fn claim_orphan(_object: &LooseObject) -> bool = false;
                fn kept(_dag_id: Option<&str>, _after: Option<Place>, _limit: u32) -> Scan<Kept>
                    = Scan { items: Vec::new(), next: None };
                fn due(_rules: &[Rule], _dag_id: Option<&str>, _after: Option<Place>, _limit: u32) -> Scan<Due>
                    = Scan { items: Vec::new(), next: None };
                fn expire(_rules: &[Rule], _due: &[Due], _at: Timestamp) -> Removed = Removed::default();
                // Nobody's turn comes: there is nothing to look after.
                fn take_turn(_name: &str, _at: Timestamp, _every: Duration) -> bool = false;
                fn retain(_cutoffs: &Cutoffs) -> Removed = Removed::default();
                fn mark(_name: &str) -> Option<String> = None;
                // Nothing is remembered, so what is said now holds.
                fn set_mark(_name: &str, value: &str) -> String = value.to_owned();
                fn marks(_prefix: &str) -> Vec<(String, String)> = Vec::new();
            }
            $crate::bare::nothing_beside! { $alone, refused:
                fn note_intent(object: &LooseObject) -> Pushed = &format!("offloading {}", object.key);
                fn note_move(_found: &Kept, _store: &str, _at: Timestamp) -> bool = "moving values";
                fn move_stored(_found: &Kept, _to: &Stored, _at: Timestamp) -> bool = "moving values";
            }

            impl $alone {
                /// The value of a push that needs no place but Airflow's.
                fn inline(&self, push: &Push) -> Result<Value> {
                    match &push.stored {
                        Stored::Inline(_) if push.secret => Err($crate::bare::needs("a secret", &self.place())),
                        Stored::Inline(value) => Ok(value.clone()),
                        Stored::Offloaded(_) => Err($crate::bare::needs("offloading a value", &self.place())),
                    }
                }
            }
        };
    };
    ($alone:ty, refused: $(fn $name:ident($($argument:ident: $type:ty),*) -> $made:ty = $what:expr;)*) => {
        impl $alone {
            $(async fn $name(&self, $($argument: $type),*) -> Result<$made> {
                Err($crate::bare::needs($what, &self.place()))
            })*
        }
    };
    ($alone:ty, $failure:ty: $(fn $name:ident($($argument:ident: $type:ty),*) -> $made:ty;)*) => {
        impl $alone {
            $(async fn $name(&self, $($argument: $type),*) -> std::result::Result<$made, $failure> {
                self.tables.$name($($argument),*).await
            })*
        }
    };
    ($alone:ty: $(fn $name:ident($($argument:ident: $type:ty),*) -> $made:ty = $none:expr;)*) => {
        impl $alone {
            $(async fn $name(&self, $($argument: $type),*) -> Result<$made> {
                Ok($none)
            })*
        }
    };
}
pub(crate) use nothing_beside;
