//! A backend that is a process: a real one passes the suite, and those that misbehave do no harm.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test panics when it does not hold")]

mod example;
mod hostile;
mod lifetime;

use std::path::Path;
use std::time::Duration;

use excom_core::backend::Object;
use excom_core::{Value, Version, XComKey};
use excom_store::{Process, ProcessOptions};

/// A command that runs a Python program; none where there is no Python.
fn python(test: &str, program: &Path, arguments: &[&str]) -> Option<Vec<String>> {
    let found = std::process::Command::new("python3").arg("--version").output();
    if !found.is_ok_and(|output| output.status.success()) {
        excom_testkit::skip::skipped(test, "there is no python3");
        return None;
    }
    let program = program.to_str().unwrap();
    // -I: nothing of this machine's Python settings matters.
    Some(["python3", "-I", program].iter().chain(arguments).map(|word| (*word).to_owned()).collect())
}

/// Started again at once, whatever happened.
fn persistent() -> ProcessOptions {
    let grace = Duration::from_millis(300);
    ProcessOptions { grace, backoff: Duration::ZERO, ..ProcessOptions::default() }
}

/// What does not answer is given up soon.
fn impatient() -> ProcessOptions {
    ProcessOptions { timeout: Duration::from_millis(400), ..persistent() }
}

/// A backend whose log is nobody's.
fn quiet(command: Vec<String>, options: ProcessOptions) -> Process {
    Process::new(command, options).with_log(|_| ())
}

fn key(name: &str) -> XComKey {
    XComKey::new("d", "r", "t", -1, name).unwrap()
}

fn object(key: &XComKey) -> Object<'_> {
    Object { key, version: Version::from_code(7).unwrap(), store: "process", codec: "", key_id: "" }
}

fn large() -> Value {
    Value::of(&"x".repeat(1_000_000)).unwrap()
}
