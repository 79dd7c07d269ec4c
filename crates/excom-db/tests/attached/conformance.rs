//! The suite that every metadata database passes, on Airflow's own, with an Airflow that is played.

use std::sync::Arc;

use excom_core::conformance::{Empty, Harness};
use excom_core::memory;
use excom_db::Fernet;
use excom_testkit::python::airflow_release;
use excom_testkit::skip::skipped;

use crate::NOT_OURS;
use crate::airflow::Airflow;
use crate::played::Played;
use crate::support::Database;
use crate::variables::KEY;

/// Scenarios of what Airflow's schemas before 3.3 have no column for; `schemas.rs` has what is done there instead.
const SINCE_3_3: [&str; 3] = [
    "a_result_is_marked_with_its_push",
    "the_mark_of_a_result_goes_with_its_entry",
    "a_repeated_push_leaves_the_mark_of_a_result",
];

/// Why a scenario does not hold here.
fn why_not(scenario: &str) -> Option<&'static str> {
    let is_older = ["3.0.", "3.1.", "3.2."].iter().any(|older| airflow_release().starts_with(older));
    match NOT_OURS.iter().find(|(name, _)| *name == scenario) {
        Some((_, why)) => Some(why),
        None if is_older && SINCE_3_3.contains(&scenario) => {
            Some("before Airflow 3.3 nothing marks a result")
        }
        None => None,
    }
}

/// An empty database. Where there is no Airflow the scenario runs in memory, and counts as skipped.
fn empty() -> Empty {
    let Some(database) = Database::attached() else { return Arc::new(memory::Db::new()).into() };
    // With what encrypts variables, because no text of PostgreSQL's holds a NUL character.
    let db = database.open().with_fernet(Fernet::parse(KEY).unwrap());
    let played = Played { db, airflow: Airflow::connect(&database.airflows()) };
    Empty { db: Arc::new(played), keep: Box::new(database) }
}

macro_rules! scenarios {
    (values { $($value:ident)* } others { $($other:ident)* }) => {
        scenarios!($($value)* $($other)*);
    };
    ($($scenario:ident)*) => {
        $(
            #[test]
            fn $scenario() {
                let name = stringify!($scenario);
                if let Some(why) = why_not(name) {
                    return skipped(&format!("attached: {name}"), why);
                }
                let harness = Harness::new(empty());
                excom_core::conformance::run(excom_core::conformance::$scenario(&harness));
            }
        )*
    };
}

excom_core::conformance_scenarios!([scenarios]);

#[test]
fn random_histories_agree_with_a_model() {
    excom_core::conformance::histories(empty, 24, 60);
}
