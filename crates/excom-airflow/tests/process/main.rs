//! Tasks in real processes: whatever a process does, its outcome is clear, nothing hangs, nothing is left.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the output of a process is what is tested")]

extern crate excom_flow as excom;

mod child;
mod crashes;
mod flow;
mod protocol;
mod raw;
mod same;
mod support;
mod tasks;
mod terminating;
