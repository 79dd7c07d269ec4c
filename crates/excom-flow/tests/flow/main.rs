//! TaskFlow end to end, over an engine in memory.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

extern crate excom_flow as excom;

mod airflow_examples;
mod bad_input;
mod bash;
mod branching;
mod cancelling;
mod events;
mod groups;
mod limits;
mod logs;
mod params;
mod pulls;
mod resuming;
mod retrying;
mod rules;
mod runs;
mod setup_teardown;
mod support;
mod tasks;
mod templates;
