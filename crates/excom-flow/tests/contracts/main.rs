//! Contracts: schemas of Rust types, what a change of a DAG breaks, versions of DAGs, checks of pushes.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

extern crate excom_flow as excom;

mod changes;
mod dags;
mod declared;
mod runs;
mod types;
