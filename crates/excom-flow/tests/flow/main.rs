//! TaskFlow end to end, over an engine in memory.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

extern crate excom_flow as excom;

mod bash;
mod cancelling;
mod choices;
mod events;
#[cfg(feature = "http")]
mod http;
mod logs;
mod params;
mod pointers;
#[cfg(all(feature = "sql-sqlite", feature = "sql-postgres"))]
mod postgres;
mod program;
mod pulls;
mod python;
mod rendering;
mod runs;
mod sensors;
#[cfg(feature = "sql-sqlite")]
mod sql;
mod support;
mod tasks;
mod templates;
