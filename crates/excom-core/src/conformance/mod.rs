//! The suite that every metadata database, value store and XCom backend passes (feature `conformance`).
//!
//! An implementation's test file names a function that makes an empty one, and gets a test for each
//! scenario:
//!
//! ```
//! fn empty() -> excom_core::conformance::Empty {
//!     std::sync::Arc::new(excom_core::memory::Db::new()).into()
//! }
//!
//! excom_core::metadata_db_conformance!(empty);
//! # fn main() {}
//! ```
//!
//! A value store is proven by [`value_store`], an XCom backend by [`backend`], and a database together with a backend
//! by [`combination`], each in one call.
//!
//! The scenarios of a database speak to an [`Engine`] over the database, with a store in memory, because the
//! properties to hold are the engine's; [`histories`] runs random histories with a model beside it. Those that
//! concern values run in every combination. They put values of other tasks, lost and abandoned objects there by way
//! of the backend, and damage and count objects where [`XComBackend::objects`] lets them.

#![allow(clippy::unwrap_used, reason = "a scenario that does not hold panics: it is a test")]

mod assets;
mod attempts;
mod backends;
mod combinations;
mod entries;
mod finishing;
mod garbage;
mod histories;
mod kept;
mod lineage;
mod moves;
mod quotas;
mod results;
mod retention;
mod runs;
mod secrets;
mod sequences;
mod stores;
mod variables;

use std::future::Future;
use std::sync::Arc;

pub use assets::*;
pub use attempts::*;
pub use backends::backend;
pub use combinations::combination;
pub use entries::*;
pub use finishing::*;
pub use garbage::*;
pub use histories::histories;
pub use kept::*;
pub use lineage::*;
pub use moves::*;
pub use quotas::*;
pub use results::*;
pub use retention::*;
pub use runs::*;
pub use secrets::*;
pub use sequences::*;
pub use stores::value_store;
pub use variables::*;

use crate::attempt::{Attempt, Caller};
use crate::backend::Object;
use crate::channel::PullOptions;
use crate::engine::Settings;
use crate::{
    Answer, Engine, ErrorKind, MetadataDb, TaskInstanceKey, Value, Version, XComBackend, XComKey, memory,
};

/// Values over so many bytes are offloaded in the suite, if not all are.
pub const THRESHOLD: u64 = 200;

/// An empty database, and what must live as long as it: a folder, a server.
pub struct Empty {
    /// The database.
    pub db: Arc<dyn MetadataDb>,
    /// Dropped after the scenario, when the database is closed.
    pub keep: Box<dyn std::any::Any>,
}

impl<D: MetadataDb + 'static> From<Arc<D>> for Empty {
    fn from(db: Arc<D>) -> Self {
        Self { db, keep: Box::new(()) }
    }
}

/// An engine over the database under test, with clock and backend in hand.
pub struct Harness {
    /// The engine.
    pub engine: Engine,
    /// Its clock.
    pub clock: Arc<memory::Clock>,
    /// Where offloaded values go.
    pub backend: Arc<dyn XComBackend>,
    // The database is closed before what it needs goes.
    db: Arc<dyn MetadataDb>,
    _keep: Box<dyn std::any::Any>,
}

impl Harness {
    /// An engine over an empty database, with large values in memory.
    pub fn new(empty: Empty) -> Self {
        Self::over(empty, Arc::new(memory::Backend::new(Arc::new(memory::Store::new()), THRESHOLD)))
    }

    /// An engine over an empty database, with values where a backend puts them.
    pub fn over(empty: Empty, backend: Arc<dyn XComBackend>) -> Self {
        let Empty { db, keep } = empty;
        let clock = Arc::new(memory::Clock::new());
        let engine = Self::assemble(&db, &clock, &backend, Settings::default());
        Self { engine, clock, backend, db, _keep: keep }
    }

    fn assemble(
        db: &Arc<dyn MetadataDb>,
        clock: &Arc<memory::Clock>,
        backend: &Arc<dyn XComBackend>,
        settings: Settings,
    ) -> Engine {
        Engine::builder(db.clone(), clock.clone())
            .backend(backend.clone())
            .keys(crate::seal::SealKeys::new("k1", [7; 32]))
            .settings(settings)
            .build()
    }

    /// Another engine on the same database, as another process would have.
    pub fn with(&self, settings: Settings) -> Engine {
        Self::assemble(&self.db, &self.clock, &self.backend, settings)
    }

    /// An engine on the same database whose selected backend offloads to another store; it reads the old one.
    fn moving_to(&self, store: &Arc<memory::Store>, threshold: u64) -> Engine {
        Engine::builder(self.db.clone(), self.clock.clone())
            .backend(Arc::new(memory::Backend::new(store.clone(), threshold)))
            .reading(self.backend.clone())
            .keys(crate::seal::SealKeys::new("k1", [7; 32]))
            .build()
    }

    /// An engine on the same database with these keys, as another process would have, whose backend seals what it
    /// stores here or does not.
    fn with_keys(&self, store: &Arc<memory::Store>, keys: crate::seal::SealKeys, seals: bool) -> Engine {
        let backend = memory::Backend::new(store.clone(), THRESHOLD);
        let backend = if seals { backend.sealing() } else { backend };
        Engine::builder(self.db.clone(), self.clock.clone()).backend(Arc::new(backend)).keys(keys).build()
    }

    /// The id of the store that values are offloaded to.
    fn store_id(&self) -> Arc<str> {
        self.backend.store().unwrap().into()
    }

    /// Whether a value of so many bytes is offloaded.
    fn offloads(&self, size: usize) -> bool {
        size as u64 > self.backend.inline_limit()
    }

    /// How many objects are stored; none when that cannot be known.
    async fn objects(&self) -> Option<usize> {
        Some(self.backend.objects()?.list(None, 10_000).await.unwrap().len())
    }

    /// How many objects so many large and small values are, where that can be known.
    fn stored(&self, large: usize, small: usize) -> Option<usize> {
        self.backend.objects()?;
        Some(if self.offloads(1) { large + small } else { large })
    }

    /// Stores a value's object as a push would, and nothing else.
    async fn leave(&self, key: &XComKey, version: Version, json: &str) {
        let store = self.store_id();
        let object = Object { key, version, store: &store, codec: "", key_id: "" };
        self.backend.serialize_value(&object, value(json).into()).await.unwrap();
    }

    /// Removes a value's object behind everybody's back.
    async fn lose(&self, key: &XComKey, version: Version) {
        let store = self.store_id();
        self.backend.purge(&Object { key, version, store: &store, codec: "", key_id: "" }).await.unwrap();
    }

    async fn pull(&self, key: &XComKey) -> Answer {
        self.pull_as(&user(), key).await
    }

    async fn pull_as(&self, caller: &Caller, key: &XComKey) -> Answer {
        let mut answers =
            self.engine.pull(caller, std::slice::from_ref(key), PullOptions::default()).await.unwrap();
        assert_eq!(answers.len(), 1);
        answers.remove(0)
    }

    async fn push(&self, caller: &Caller, key: &XComKey, json: &str) {
        self.engine.push(caller, key, value(json).into()).await.unwrap();
    }

    async fn start(&self, task: &str, map_index: i32) -> Caller {
        Caller::Attempt(self.engine.start(&ti(task, map_index), 1).await.unwrap())
    }
}

fn user() -> Caller {
    Caller::user("ana")
}

fn ti(task: &str, map_index: i32) -> TaskInstanceKey {
    TaskInstanceKey::new("d", "r", task, map_index).unwrap()
}

fn xcom(task: &str, key: &str) -> XComKey {
    ti(task, -1).xcom(key).unwrap()
}

fn value(json: &str) -> Value {
    Value::parse(json.to_owned()).unwrap()
}

/// A value that is offloaded, and tells its seed.
fn large(seed: u64) -> String {
    format!("\"{seed} {}\"", "x".repeat(THRESHOLD as usize))
}

fn attempt(caller: &Caller) -> &Attempt {
    match caller {
        Caller::Attempt(attempt) => attempt,
        _ => panic!("{caller} is no attempt"),
    }
}

fn text(answer: &Answer) -> &str {
    answer.found().unwrap_or_else(|| panic!("no value: {answer}")).value.as_str()
}

fn refused<T: std::fmt::Debug>(result: crate::Result<T>, kind: ErrorKind) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), kind, "{error:?}");
}

/// Runs a scenario to its end on this thread.
pub fn run(scenario: impl Future<Output = ()>) {
    pollster::block_on(scenario);
}

/// A test for each scenario that a metadata database must pass.
#[macro_export]
macro_rules! metadata_db_conformance {
    ($make:path) => {
        $crate::conformance_scenarios!([$crate::metadata_db_conformance] @ $make;);

        /// Random histories agree with a model.
        #[test]
        fn random_histories_agree_with_a_model() {
            $crate::conformance::histories($make, 48, 60);
        }
    };
    (@ $make:path; values { $($value:ident)* } others { $($other:ident)* }) => {
        $crate::metadata_db_conformance!(@ $make; $($value)* $($other)*);
    };
    (@ $make:path; $($scenario:ident)*) => {
        $(
            #[test]
            fn $scenario() {
                let harness = $crate::conformance::Harness::new($make());
                $crate::conformance::run($crate::conformance::$scenario(&harness));
            }
        )*
    };
}

/// Hands the names of all scenarios to another macro: those that concern values and where they are, and the others.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_scenarios {
    ([$($then:tt)*] $($before:tt)*) => {
        $($then)*! {
            $($before)*
            values {
                a_value_comes_back_as_it_was_pushed
                strange_keys_stay_apart
                names_that_differ_little_stay_apart
                pushing_the_same_version_twice_is_one_entry
                a_version_drawn_twice_is_no_repetition
                a_late_repetition_does_not_undo_a_newer_push
                an_interrupted_push_is_repeated
                null_is_a_value
                large_values_are_offloaded_and_streamed
                damage_is_an_answer
                bytes_of_another_place_are_no_value
                a_replaced_object_is_read_again
                many_are_pulled_in_one_call
                large_values_in_disguise_get_a_hint
                limits_are_told
                a_zombie_writes_nothing
                links_are_pushed_after_failure
                a_deferral_keeps_everything
                a_retry_begins_clear
                a_mapped_instance_clears_only_itself
                a_sequence_is_keyed_by_map_index
                pages_stream_a_sequence
                one_element_is_a_sequence
                a_clear_keeps_history
                a_task_clears_xcoms_of_others
                a_delete_leaves_nothing
                history_tells_who_and_why
                retention_expires_and_forgets
                upkeep_prunes_now_and_then
                abandoned_pushes_are_collected
                places_are_counted
                usage_is_added_up
                quotas_hold
                a_dag_has_a_quota
                a_stream_is_stopped_at_its_quota
                quotas_know_tries_and_repetitions
                quotas_are_of_all_servers
                only_the_newest_runs_keep_theirs
                what_nobody_reads_expires
                what_all_have_read_expires
                values_move_and_stay_what_they_are
                a_move_gives_way_to_what_happens_meanwhile
                an_interrupted_move_leaves_nothing
                orphans_are_found_and_removed
                an_orphan_that_is_pushed_again_stays
                values_without_their_object_are_told
                a_try_ends_in_one_step
                a_refused_end_changes_nothing
                versions_drawn_twice_are_drawn_again_at_the_end
                old_runs_go_with_all_that_is_theirs
                a_result_is_marked_with_its_push
                the_mark_of_a_result_goes_with_its_entry
                a_secret_comes_back_as_a_secret
                a_secret_is_shown_nowhere
                a_secret_is_pushed_twice_as_one
                a_secret_drawn_again_is_sealed_again
                an_interrupted_secret_is_repeated
                secrets_are_elements
                keys_make_secrets
                credentials_get_a_hint
                secrets_move_sealed
                a_secret_needs_its_key
                an_envelope_opens_in_its_place_only
                errors_do_not_tell_secrets
            }
            others {
                lists_show_entries_in_order_and_pages
                a_missing_value_has_hints
                access_rules_hold
                starting_twice_is_starting_once
                an_unknown_attempt_writes_nothing
                states_explain_absence
                a_state_from_outside_is_the_attempts_too
                attempts_are_remembered
                slices_are_pythons
                removed_instances_leave_the_sequence
                prior_dates_find_the_newest
                the_ledger_counts_reads
                a_strict_ledger_is_written_first
                refusals_are_counted_and_kept_as_long_as_reads
                marks_are_set_once
                rules_are_asked_before_anything_goes
                turns_are_taken_once
                values_are_sealed_anew
                a_retired_key_seals_nothing
                an_interrupted_secret_outlives_its_key
                what_is_kept_is_looked_through_in_pages
                what_is_removed_is_not_in_use
                a_removal_that_stopped_is_taken_over
                notes_are_of_the_task_instance
                rendered_fields_are_of_the_newest_try
                a_repeated_push_leaves_the_mark_of_a_result
                runs_have_states_and_times
                a_run_begins_once
                what_has_begun_is_not_left_out
                runs_are_listed_newest_first
                the_last_success_is_by_date
                task_instances_come_in_pages
                versions_of_a_dag_are_kept_once
                killed_runs_go_by_and_by
                variables_are_set_listed_and_deleted
                variables_are_made_once_and_changed_in_part
                the_environment_overrides_variables
                a_zombie_sets_no_variable
                reads_and_pushes_of_an_attempt_are_known
                traces_go_backwards_and_forwards
                traces_are_bounded
                asset_events_are_noted_once
                assets_are_found_by_their_names
                asset_events_come_in_order_of_time
                asset_events_go_with_time_and_with_their_run
            }
        }
    };
}
