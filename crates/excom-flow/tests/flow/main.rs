//! TaskFlow end to end, over an engine in memory.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

extern crate excom_flow as excom;

mod airflow_examples;
mod bad_input;
mod bash;
mod branching;
mod cancelling;
mod choices;
mod events;
mod groups;
#[cfg(feature = "http")]
mod http;
mod limits;
mod logs;
mod params;
mod pointers;
#[cfg(all(feature = "sql-sqlite", feature = "sql-postgres"))]
mod postgres;
mod program;
mod pulls;
mod python;
mod rendering;
mod resuming;
mod retrying;
mod rules;
mod runs;
mod secrets;
mod sensors;
mod setup_teardown;
#[cfg(feature = "sql-sqlite")]
mod sql;
mod support;
mod tasks;
mod templates;
mod testing;
