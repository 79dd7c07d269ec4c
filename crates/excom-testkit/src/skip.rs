//! Tests that cannot run here say so: a line in the file that `EXCOM_SKIPPED` names, which
//! `cargo xtask test` counts.

use std::fs::OpenOptions;
use std::io::{self, Write as _};

/// Notes that a test could not run, and why. Call it at most once in a test, and return.
pub fn skipped(test: &str, why: &str) {
    let line = format!("{test}: {why}\n");
    let noted = match std::env::var_os("EXCOM_SKIPPED") {
        // One write that appends: tests of several binaries share the file.
        Some(path) => OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .and_then(|mut file| file.write_all(line.as_bytes())),
        None => Ok(()),
    };
    if let Err(error) = noted {
        drop(writeln!(io::stderr(), "cannot note a skipped test: {error}"));
    }
    drop(write!(io::stderr(), "skipped: {line}"));
}
