//! Tasks in processes of their own, over the protocol that a task binary speaks to Airflow's supervisor.
//!
//! A [`Supervisor`] listens on two sockets and starts a program with their addresses. The program calls
//! [`task::serve`], which connects, hears which task it is, runs it over a [`SupervisorChannel`], and says how
//! it ended. Whatever else the process does (it panics, aborts, hangs, floods, says nonsense), the supervisor
//! has an outcome for it, and nothing of it is left.
//!
//! ```text
//!  supervisor                                    task
//!    listens on 127.0.0.1:A and :B
//!    starts   PROGRAM --comm=127.0.0.1:A --logs=127.0.0.1:B
//!                          ◄──── connects to both
//!    [0, StartupDetails, nil]  ────►
//!                          ◄──── [n, request]          as often as it likes
//!    [n, answer, error]    ────►
//!                          ◄──── [n, how it ended]     once
//!    [n, nil, nil]         ────►
//!                                exits 0
//! ```
//!
//! The messages are Airflow's, so that the same program is a task binary for Airflow. What they cannot say,
//! Excom's own supervisor and tasks say in messages of their own, whose names begin with `Excom`: many pulls
//! at once, answers with their cause, receipts, sequences by map index, values to the byte, why a task failed.
//! A task uses them only when the supervisor announced them, in a key of `StartupDetails` that Airflow's never
//! has.

mod channel;
mod connection;
mod error;
mod extension;
mod frame;
mod json;
mod message;
mod supervisor;
pub mod task;

pub use channel::SupervisorChannel;
pub use supervisor::{Supervisor, Timeouts};

/// Notes that a test could not run, in the file that `EXCOM_SKIPPED` names.
#[cfg(test)]
fn skipped(test: &str, why: &str) {
    use std::io::Write as _;
    if let Some(path) = std::env::var_os("EXCOM_SKIPPED") {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(format!("{test}: {why}\n").as_bytes()).unwrap();
    }
}
