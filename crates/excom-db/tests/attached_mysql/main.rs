//! Airflow's own metadata database on MySQL, worked with in place: one that a real Airflow made on a real MariaDB.

#![allow(clippy::unwrap_used, reason = "a test panics when it does not hold")]

mod airflow;
mod alone;
#[path = "../attached/bare.rs"]
mod bare;
#[path = "../attached/conformance.rs"]
mod conformance;
#[path = "../mysql/failover.rs"]
mod failover;
#[path = "../server/faults.rs"]
mod faults;
#[path = "../attached/filled.rs"]
mod filled;
#[path = "../server/full.rs"]
mod full;
#[path = "../mysql/held.rs"]
mod held;
#[path = "../mysql/locks.rs"]
mod locks;
#[path = "../attached/mapping.rs"]
mod mapping;
#[path = "../server/network.rs"]
mod network;
#[path = "../server/outages.rs"]
mod outages;
#[path = "../attached/outside.rs"]
mod outside;
#[path = "../attached/played.rs"]
mod played;
#[path = "../attached/real.rs"]
mod real;
#[path = "../mysql/rough.rs"]
mod rough;
mod schemas;
mod support;
mod survey;
#[path = "../attached/trips.rs"]
mod trips;
#[path = "../attached/variables.rs"]
mod variables;
#[path = "../attached/writers.rs"]
mod writers;

use excom_db::mysql::attached::Db;

/// Scenarios of what is Airflow's here, and why they do not hold.
const NOT_OURS: [(&str, &str); 13] = [
    (
        "names_that_differ_little_stay_apart",
        "Airflow's columns ignore trailing spaces: see schemas.rs for the rest",
    ),
    ("strange_keys_stay_apart", "Airflow's columns ignore trailing spaces: see schemas.rs for the rest"),
    ("attempts_are_remembered", "a try number is no free label: Airflow counts the tries"),
    ("a_run_begins_once", "Airflow begins runs"),
    ("runs_have_states_and_times", "parameters and versions of runs are Airflow's, and none is cancelled"),
    ("runs_are_listed_newest_first", "Airflow has one run of a DAG for a logical date"),
    ("retention_expires_and_forgets", "it ends with a run that goes, which `airflow db clean` does"),
    ("old_runs_go_with_all_that_is_theirs", "runs are removed by `airflow db clean`"),
    ("killed_runs_go_by_and_by", "runs are removed by `airflow db clean`"),
    ("assets_are_found_by_their_names", "assets are Airflow's, and refused"),
    ("asset_events_are_noted_once", "assets are Airflow's, and refused"),
    ("asset_events_come_in_order_of_time", "assets are Airflow's, and refused"),
    ("asset_events_go_with_time_and_with_their_run", "assets are Airflow's, and refused"),
];

/// A dict that a task pushes: MariaDB keeps a text as it is.
const DICT: &str = r#"{"bb":1,"a":{"c":2.0},"":"x"}"#;

/// Whether a row that Airflow is just writing is held by it alone.
const HOLDS_ROWS: bool = true;

/// What names of columns stand in.
const QUOTE: &str = "`";
