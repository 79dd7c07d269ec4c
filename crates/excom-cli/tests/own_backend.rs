//! A program that has the whole command with a backend of its own: started by itself, it is that program.

#![allow(clippy::unwrap_used, reason = "a test panics when it does not hold")]

use std::fmt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use excom::XComBackend;
use excom::core::EntryInfo;

/// Keeps every value in the metadata database, and shows none in lists.
#[derive(Debug)]
struct Discreet;

impl fmt::Display for Discreet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("discreet()")
    }
}

impl XComBackend for Discreet {
    fn name(&self) -> &'static str {
        "discreet"
    }

    fn inline_limit(&self) -> u64 {
        1000
    }

    fn orm_deserialize_value(&self, entry: &EntryInfo) -> String {
        format!("{} of {} bytes, not shown", entry.shape, entry.size)
    }
}

fn main() -> ExitCode {
    if std::env::var_os("EXCOM_HOME").is_some() {
        return excom_cli::run(|engine, _| Ok(engine.with_backend(Arc::new(Discreet))));
    }
    the_command_uses_it();
    ExitCode::SUCCESS
}

fn the_command_uses_it() {
    let home = tempfile::tempdir().unwrap();
    let stock = Path::new(env!("CARGO_BIN_EXE_excom"));
    let own = std::env::current_exe().unwrap();
    let run = |program: &Path, line: &str| {
        let arguments = line.split(' ');
        let output = Command::new(program).args(arguments).env("EXCOM_HOME", home.path()).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let push = |task: &str| format!("xcom push --dag-id d --run-id r --task-id {task}");
    let large = format!("\"{}\"", "x".repeat(70_000));
    run(stock, &format!("{} {large}", push("before")));
    run(&own, &format!("{} [1,2]", push("after")));

    let list = run(&own, "xcom list --dag-id d");
    assert!(list.contains("list[2] of 5 bytes, not shown"), "{list}");
    // What was stored with another backend is read where it is.
    assert_eq!(run(&own, "xcom pull --dag-id d --run-id r --task-id before").trim_end(), large);
    let doctor = Command::new(&own).arg("doctor").env("EXCOM_HOME", home.path()).output().unwrap();
    let doctor = String::from_utf8(doctor.stdout).unwrap();
    let elsewhere = "values are where another backend put them: 1 in database(";
    assert!(doctor.contains("discreet()") && doctor.contains(elsewhere), "{doctor}");
}
