//! Redis and Valkey as a value store, on real servers that each test starts for itself.

#![allow(clippy::unwrap_used, reason = "a test panics when it does not hold")]

mod conformance;
mod damage;
mod engine;
mod interrupted;
mod safety;
mod support;
mod trips;
mod trouble;
