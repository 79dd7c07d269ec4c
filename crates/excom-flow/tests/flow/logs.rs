//! Logs of tries: where they are, what is in them, and who may read them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use excom::prelude::*;
use excom_flow::{DagDefinition, RunOptions, Runner};

use crate::support::{engine, run_with};

#[task]
fn talks(ti: &TaskInstance) {
    ti.log("first\nsecond");
}

#[task]
fn silent() {}

#[task(retries = 1)]
fn fails() -> Result<()> {
    Err(excom_core::Error::new(excom_core::ErrorKind::Full, "no room left").hint("remove something").into())
}

fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
}

#[test]
fn each_try_that_says_something_has_a_log() {
    let folder = tempfile::tempdir().unwrap();
    let definition = DagDefinition::new("d/ag", |dag| {
        let _ = (talks(dag), silent(dag), fails(dag));
        dag.bash("t:1", "echo out; echo err >&2");
    });
    let runner = Runner::new(engine()).logs(folder.path().join("logs"));
    let report = run_with(&runner, &definition, RunOptions::new());
    let run = folder.path().join("logs/dag_id=d%2Fag/run_id=r");
    let log = |task: &str, attempt: u32| run.join(format!("task_id={task}/attempt={attempt}.log"));

    let talked = lines(&log("talks", 1));
    assert!(talked[0].starts_with("try 1 of d/ag/r/talks starts, attempt "), "{talked:?}");
    assert_eq!(talked[1..], ["first", "second", "try 1 ends: success"]);
    assert_eq!(report.task("talks").unwrap().log.as_deref(), Some(&*log("talks", 1)));
    assert!(!run.join("task_id=silent").exists());
    assert_eq!(report.task("silent").unwrap().log, None);
    assert_eq!(
        lines(&log("fails", 1))[1..],
        ["no room left", "hint: remove something", "try 1 ends: up_for_retry"]
    );
    assert_eq!(
        lines(&log("fails", 2))[1..],
        ["no room left", "hint: remove something", "try 2 ends: failed"]
    );
    assert_eq!(lines(&log("t%3A1", 1))[1..3], ["out", "err"]);
    let stamp = std::fs::read_to_string(log("talks", 1)).unwrap();
    assert!(stamp.starts_with("2026-11-21T10:00:"), "{stamp}");

    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&log("talks", 1)), 0o600);
    assert_eq!(mode(&run), 0o700);
    assert_eq!(mode(&folder.path().join("logs")), 0o700);
}

#[test]
fn a_log_that_cannot_be_written_is_a_warning_and_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a file");
    std::fs::write(&file, "").unwrap();
    let definition = DagDefinition::new("d", |dag| {
        talks(dag);
    });
    let report = run_with(&Runner::new(engine()).logs(&file), &definition, RunOptions::new());
    assert!(report.succeeded());
    assert!(report.warnings[0].contains("cannot be written"), "{:?}", report.warnings);
    assert_eq!(report.tasks[0].log, None);
}
