//! TaskFlow end to end, over an engine in memory.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

extern crate excom_flow as excom;

mod bash;
mod cancelling;
mod choices;
mod events;
mod logs;
mod params;
mod program;
mod pulls;
mod python;
mod runs;
mod sensors;
mod support;
mod tasks;
mod templates;
