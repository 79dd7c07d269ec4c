//! Airflow's own metadata database, worked with in place: one that a real Airflow made on a real PostgreSQL.

#![allow(clippy::unwrap_used, reason = "a test panics when it does not hold")]

mod airflow;
mod alone;
mod bare;
mod conformance;
#[path = "../postgres/failover.rs"]
mod failover;
#[path = "../server/faults.rs"]
mod faults;
mod filled;
#[path = "../server/full.rs"]
mod full;
#[path = "../postgres/held.rs"]
mod held;
#[path = "../postgres/locks.rs"]
mod locks;
mod mapping;
#[path = "../server/network.rs"]
mod network;
#[path = "../server/outages.rs"]
mod outages;
mod outside;
mod played;
mod real;
#[path = "../postgres/rough.rs"]
mod rough;
mod schemas;
mod support;
mod survey;
mod trips;
mod variables;
mod writers;

use excom_db::postgres::attached::Db;

/// Scenarios of what is Airflow's here, and why they do not hold.
const NOT_OURS: [(&str, &str); 12] = [
    ("a_value_comes_back_as_it_was_pushed", "jsonb refuses NUL characters: see formats.rs for all others"),
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

/// A dict that a task pushes: `jsonb` puts keys in order.
const DICT: &str = r#"{"":"x","a":{"c":2.0},"bb":1}"#;

/// Whether a row that Airflow is just writing is held by it alone.
const HOLDS_ROWS: bool = true;

/// What names of columns stand in.
const QUOTE: &str = "\"";
