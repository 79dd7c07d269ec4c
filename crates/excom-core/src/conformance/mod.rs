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
//! A value store is proven by [`value_store`], and an XCom backend by [`backend`], each in one call.
//!
//! The scenarios of a database speak to an [`Engine`] over the database, with a store in memory, because the
//! properties to hold are the engine's; [`histories`] runs random histories with a model beside it.

#![allow(clippy::unwrap_used, reason = "a scenario that does not hold panics: it is a test")]

mod attempts;
mod backends;
mod entries;
mod finishing;
mod garbage;
mod histories;
mod kept;
mod lineage;
mod moves;
mod retention;
mod runs;
mod secrets;
mod sequences;
mod stores;
mod variables;

use std::future::Future;
use std::sync::Arc;

pub use attempts::*;
pub use backends::backend;
pub use entries::*;
pub use finishing::*;
pub use garbage::*;
pub use histories::histories;
pub use kept::*;
pub use lineage::*;
pub use moves::*;
pub use retention::*;
pub use runs::*;
pub use secrets::*;
pub use sequences::*;
pub use stores::value_store;
pub use variables::*;

use crate::attempt::{Attempt, Caller};
use crate::channel::PullOptions;
use crate::engine::Settings;
use crate::{Answer, Engine, ErrorKind, MetadataDb, TaskInstanceKey, Value, XComKey, memory};

/// Values over so many bytes are offloaded in the suite.
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

/// An engine over the database under test, with clock and store in hand.
pub struct Harness {
    /// The engine.
    pub engine: Engine,
    /// Its clock.
    pub clock: Arc<memory::Clock>,
    /// Where offloaded values go.
    pub store: Arc<memory::Store>,
    // The database is closed before what it needs goes.
    db: Arc<dyn MetadataDb>,
    _keep: Box<dyn std::any::Any>,
}

impl Harness {
    /// An engine over an empty database.
    pub fn new(empty: Empty) -> Self {
        let Empty { db, keep } = empty;
        let clock = Arc::new(memory::Clock::new());
        let store = Arc::new(memory::Store::new());
        let engine = Self::assemble(&db, &clock, &store, Settings::default());
        Self { engine, clock, store, db, _keep: keep }
    }

    fn assemble(
        db: &Arc<dyn MetadataDb>,
        clock: &Arc<memory::Clock>,
        store: &Arc<memory::Store>,
        settings: Settings,
    ) -> Engine {
        Engine::builder(db.clone(), clock.clone())
            .backend(Arc::new(memory::Backend::new(store.clone(), THRESHOLD)))
            .keys(crate::seal::SealKeys::new("k1", [7; 32]))
            .settings(settings)
            .build()
    }

    /// Another engine on the same database, as another process would have.
    pub fn with(&self, settings: Settings) -> Engine {
        Self::assemble(&self.db, &self.clock, &self.store, settings)
    }

    /// An engine on the same database whose selected backend offloads to another store; it reads the old one.
    fn moving_to(&self, store: &Arc<memory::Store>, threshold: u64) -> Engine {
        Engine::builder(self.db.clone(), self.clock.clone())
            .backend(Arc::new(memory::Backend::new(store.clone(), threshold)))
            .reading(Arc::new(memory::Backend::new(self.store.clone(), THRESHOLD)))
            .keys(crate::seal::SealKeys::new("k1", [7; 32]))
            .build()
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
        $crate::metadata_db_conformance!(@ $make;
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
            a_replaced_object_is_read_again
            many_are_pulled_in_one_call
            lists_show_entries_in_order_and_pages
            large_values_in_disguise_get_a_hint
            limits_are_told
            a_missing_value_has_hints
            access_rules_hold
            a_zombie_writes_nothing
            links_are_pushed_after_failure
            a_deferral_keeps_everything
            a_retry_begins_clear
            a_mapped_instance_clears_only_itself
            starting_twice_is_starting_once
            an_unknown_attempt_writes_nothing
            states_explain_absence
            attempts_are_remembered
            a_sequence_is_keyed_by_map_index
            slices_are_pythons
            pages_stream_a_sequence
            removed_instances_leave_the_sequence
            one_element_is_a_sequence
            prior_dates_find_the_newest
            a_clear_keeps_history
            a_delete_leaves_nothing
            history_tells_who_and_why
            the_ledger_counts_reads
            a_strict_ledger_is_written_first
            refusals_are_counted_and_kept_as_long_as_reads
            retention_expires_and_forgets
            upkeep_prunes_now_and_then
            abandoned_pushes_are_collected
            marks_are_set_once
            places_are_counted
            only_the_newest_runs_keep_theirs
            what_nobody_reads_expires
            what_all_have_read_expires
            rules_are_asked_before_anything_goes
            turns_are_taken_once
            values_move_and_stay_what_they_are
            a_move_gives_way_to_what_happens_meanwhile
            an_interrupted_move_leaves_nothing
            orphans_are_found_and_removed
            an_orphan_that_is_pushed_again_stays
            values_without_their_object_are_told
            what_is_kept_is_looked_through_in_pages
            a_try_ends_in_one_step
            a_refused_end_changes_nothing
            versions_drawn_twice_are_drawn_again_at_the_end
            rendered_fields_are_of_the_newest_try
            runs_have_states_and_times
            runs_are_listed_newest_first
            the_last_success_is_by_date
            task_instances_come_in_pages
            versions_of_a_dag_are_kept_once
            old_runs_go_with_all_that_is_theirs
            killed_runs_go_by_and_by
            variables_are_set_listed_and_deleted
            the_environment_overrides_variables
            a_zombie_sets_no_variable
            reads_and_pushes_of_an_attempt_are_known
            traces_go_backwards_and_forwards
            traces_are_bounded
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
        );

        /// Random histories agree with a model.
        #[test]
        fn random_histories_agree_with_a_model() {
            $crate::conformance::histories($make, 48, 60);
        }
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
