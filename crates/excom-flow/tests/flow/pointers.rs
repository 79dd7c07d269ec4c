//! Pointers as arguments: what a task that takes a checked one is saved from.

use excom_core::TaskState;
use excom_flow::prelude::*;
use excom_flow::{Checked, Pointer, RunOptions, Runner};

use crate::support::{engine, pushed, run_with};

#[task]
fn export(path: String) -> Result<Pointer> {
    std::fs::write(&path, "day,degrees\n2026-11-21,21.5\n")?;
    Ok(Pointer::to_file(path)?)
}

/// Writes the file once more, behind the back of whoever holds the pointer.
#[task]
fn meddle(pointer: Pointer) -> Result<Pointer> {
    std::fs::write(pointer.path()?, "day,degrees\n2026-11-21,99.5\n")?;
    Ok(pointer)
}

#[task]
fn count(file: Checked<Pointer>) -> Result<usize> {
    Ok(std::fs::read_to_string(file.path()?)?.lines().count())
}

#[task]
fn count_again(file: Checked<Pointer>) -> Result<usize> {
    count::call(file)
}

#[dag]
fn exports(dag: &Dag, path: Param<String>) {
    let file = export(dag, path);
    let counted = count(dag, file);
    let changed = meddle(dag, file);
    dag.task(changed).after(counted);
    count_again(dag, changed);
}

#[test]
fn a_checked_pointer_is_checked_before_the_task_runs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("days.csv");
    let engine = engine();
    let options = RunOptions::new().param("path", path.to_str().unwrap());
    let report = run_with(&Runner::new(engine.clone()), &exports(), options);

    assert_eq!(pushed(&engine, "exports", "count", "return_value").as_deref(), Some("2"));
    let last = report.task("count_again").unwrap();
    assert_eq!(last.state, TaskState::Failed);
    let message = &last.failure.as_ref().unwrap().message;
    assert!(message.starts_with("argument `file`: "), "{message}");
    assert!(message.contains("days.csv is not what was pointed to: expected sha256:"), "{message}");
}
