//! TaskFlow end to end, over an engine in memory.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

extern crate excom_flow as excom;

mod bash;
mod cancelling;
mod events;
mod logs;
mod params;
mod pulls;
mod runs;
mod support;
mod tasks;
mod templates;
mod testing;
