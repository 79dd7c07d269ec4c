//! Values of Python and Airflow, as `values.py` has them, against the Rust types.
//!
//! `recorded.jsonl` is what Airflow wrote, and is read on every run. Where a real Airflow can be had, it
//! must write the same once more, and read what Excom writes.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod airflow;
mod recorded;
mod table;
