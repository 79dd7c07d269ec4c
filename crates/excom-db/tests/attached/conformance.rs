//! The suite that every metadata database passes, on Airflow's own, with an Airflow that is played.

use std::sync::Arc;

use excom_core::conformance::{Empty, Harness};
use excom_core::memory;
use excom_db::Fernet;
use excom_testkit::skip::skipped;

use crate::NOT_OURS;
use crate::airflow::Airflow;
use crate::played::Played;
use crate::support::Database;
use crate::variables::KEY;

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
