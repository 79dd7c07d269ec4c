//! What Excom withstands, shown with real processes, real files and real file systems.
//!
//! The proofs run long from `cargo xtask prove` and short as tests:
//!
//! - [`crash`]: a process that pushes is killed again and again; nothing acknowledged is lost, nothing is
//!   half there, nothing stays behind.
//! - [`faults`]: the same with values in Redis and in S3; and threads push and pull there through a [`proxy`] that
//!   spoils what passes, while the server is killed; no value is wrong, nothing acknowledged is lost.
//! - [`processes`]: four processes use one database at once.
//! - [`dags`]: random DAGs come to the outcome that a model foretells, also when their runs are killed.
//! - [`hunt`]: a wrong value is followed back to who pushed it, and forwards to who read it, by commands.
//! - [`heartbeat`]: a value of 300 MB goes by while a heartbeat of the same process is never late.
//! - [`soak`]: two servers are loaded for long while their database and their store fail; every answer is right by a
//!   model, and nothing leaks.
//! - [`first_start`]: the process that makes a new home is killed while it does.
//!
//! The tests of this crate put the embedded engine into bad surroundings: full disks, folders that cannot
//! be written, damaged and foreign files. What cannot be shown here is a power cut: killing a process
//! leaves the operating system's cache alone. A test counts instead that `[database] durability = "full"`
//! waits for the disk at every commit.
//!
//! [`python`] is a real Apache Airflow for tests that compare with it; [`postgres`], [`pgbouncer`], [`mysql`],
//! [`s3`], [`azure`] and [`gcs`] are services that a test starts for itself, and [`collector`] stands in for an
//! OpenTelemetry collector.
//!
//! A proof starts the `prove` binary itself as its children, and ends each by its own id. The binary `dag-program`
//! is a DAG program that tests stop, kill and go on with.

pub mod azure;
pub mod certificates;
pub mod child;
pub mod collector;
pub mod crash;
pub mod dags;
pub mod faults;
pub mod first_start;
pub mod gcs;
pub mod heartbeat;
pub mod home;
pub mod hunt;
pub mod mount;
pub mod mysql;
pub mod pgbouncer;
pub mod place;
pub mod port;
pub mod postgres;
pub mod processes;
pub mod proxy;
pub mod python;
pub mod random;
pub mod redis;
pub mod s3;
mod service;
pub mod skip;
pub mod soak;
mod system;

/// What a proof comes to: its report, or what was found to be broken.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was found to be broken.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
