//! The suite that every metadata database passes, on Airflow's own, with an Airflow that is played.

use std::sync::Arc;

use excom_core::conformance::{Empty, Harness};
use excom_core::memory;
use excom_testkit::skip::skipped;

use crate::airflow::Airflow;
use crate::played::Played;
use crate::support::Database;

/// Scenarios of what is Airflow's here, and why they do not hold.
const NOT_OURS: [(&str, &str); 7] = [
    ("a_value_comes_back_as_it_was_pushed", "jsonb refuses NUL characters: see formats.rs for all others"),
    ("attempts_are_remembered", "a try number is no free label: Airflow counts the tries"),
    ("runs_have_states_and_times", "parameters and versions of runs are Airflow's, and none is cancelled"),
    ("runs_are_listed_newest_first", "Airflow has one run of a DAG for a logical date"),
    ("retention_expires_and_forgets", "it ends with a run that goes, which `airflow db clean` does"),
    ("old_runs_go_with_all_that_is_theirs", "runs are removed by `airflow db clean`"),
    ("killed_runs_go_by_and_by", "runs are removed by `airflow db clean`"),
];

/// An empty database. Where there is no Airflow the scenario runs in memory, and counts as skipped.
fn empty() -> Empty {
    let Some(database) = Database::attached() else { return Arc::new(memory::Db::new()).into() };
    let played = Played { db: database.open(), airflow: Airflow::connect(&database.url()) };
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
                if let Some((_, why)) = NOT_OURS.iter().find(|(scenario, _)| *scenario == name) {
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
