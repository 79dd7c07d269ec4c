//! MySQL as a metadata database, on a real MariaDB server that the tests start.

#![allow(clippy::unwrap_used, reason = "a test panics when it does not hold")]

#[path = "../server/across.rs"]
mod across;
mod alone;
#[path = "../server/away.rs"]
mod away;
#[path = "../server/conformance.rs"]
mod conformance;
mod failover;
#[path = "../server/faults.rs"]
mod faults;
#[path = "../server/full.rs"]
mod full;
mod held;
mod locks;
#[path = "../server/network.rs"]
mod network;
#[path = "../server/outages.rs"]
mod outages;
mod own;
#[path = "../server/results.rs"]
mod results;
mod rough;
#[path = "../server/setups.rs"]
mod setups;
#[path = "../server/support.rs"]
mod support;
mod tls;
#[path = "../server/writers.rs"]
mod writers;

/// The server that these tests are about.
use excom_testkit::mysql::Mysql as Server;
