//! Airflow's own metadata database, worked with in place: one that a real Airflow made on a real PostgreSQL.

#![allow(clippy::unwrap_used, reason = "a test panics when it does not hold")]

mod airflow;
mod bare;
mod conformance;
mod mapping;
mod played;
mod real;
mod schemas;
mod support;
mod writers;
