//! MySQL as a metadata database, on a real MariaDB server that the tests start.

#![allow(clippy::unwrap_used, reason = "a test panics when it does not hold")]

mod conformance;
mod failover;
mod full;
mod locks;
mod network;
mod outages;
mod setups;
mod support;
mod tls;
mod writers;
