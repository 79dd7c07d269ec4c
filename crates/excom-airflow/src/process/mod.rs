//! Tasks in processes of their own, over the protocol that a task binary speaks to Airflow's supervisor.

mod channel;
pub(crate) mod extension;
pub(crate) mod frame;
pub(crate) mod json;
pub(crate) mod message;
mod skips;
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
