//! Tasks in processes of their own, as a shell runs the program: killed, stopped, gone on with.

use std::path::Path;
use std::process::{Child, Stdio};

use crate::{Shell, Told, files, interrupt, wait_for};

const ISOLATED: [&str; 8] =
    ["--isolate", "--dag", "steps", "--folder", ".", "--run-id", "r1", "--parallelism=2"];

/// The program whose second instance of `double` waits, and that instance's process; none where the system does not
/// tell.
fn held(shell: &Shell) -> (Child, Option<u32>) {
    shell.make("hold");
    let mut command = shell.command(env!("CARGO_BIN_EXE_dag-program"), &ISOLATED);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for(|| shell.path("held").exists() && shell.pushed("double").len() == 2);
    if !Path::new("/proc/self/stat").exists() {
        return (child, None);
    }
    // A process that has ended stays until its program has seen that.
    wait_for(|| children(child.id()).len() == 1);
    let task = children(child.id()).pop();
    (child, task)
}

fn children(of: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let numbers = processes.filter_map(|process| process.file_name().to_str()?.parse().ok());
    numbers.filter(|number| parent(*number) == Some(of)).collect()
}

/// The parent of a process that runs.
fn parent(process: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let runs = fields.next().is_some_and(|state| !["Z", "X"].contains(&state));
    fields.next()?.parse().ok().filter(|_| runs)
}

#[test]
fn tasks_run_in_processes_and_what_they_print_is_in_their_log() {
    let shell = Shell::new();
    let told = shell.run(&ISOLATED).code(0);
    told.has(&["run steps r1: success", "the sum is 6"]);
    assert!(!told.out.contains("printed by a task") && !told.err.contains("printed by a task"), "{told:?}");
    let log = ".excom/logs/dag_id=steps/run_id=r1/task_id=tell/attempt=1.log";
    assert!(std::fs::read_to_string(shell.path(log)).unwrap().contains("printed by a task"));
}

#[test]
fn a_killed_program_leaves_no_task_behind_and_its_run_goes_on() {
    let shell = Shell::new();
    let (mut child, task) = held(&shell);
    child.kill().unwrap();
    child.wait().unwrap();
    if let Some(task) = task {
        wait_for(|| parent(task).is_none());
    }
    shell.ran();
    shell.remove("hold");
    let told = shell.run(&["run", "--isolate", "--dag", "steps", "--resume"]).code(0);
    told.has(&["run steps r1: success", "double[0]: success before"]);
    assert_eq!(shell.ran(), ["check", "double[1]", "tell"]);
    assert_eq!(files(&shell.home().join("runs")), 0);
}

#[test]
fn ctrl_c_ends_the_tasks_too() {
    let shell = Shell::new();
    let (child, task) = held(&shell);
    interrupt(&child);
    Told::from(child.wait_with_output().unwrap()).code(130).has(&["go on with it:"]);
    assert!(task.is_none_or(|task| parent(task).is_none()));
    shell.ran();
    shell.remove("hold");
    // What was begun in processes may go on without them.
    shell.run(&["run", "--dag", "steps", "--resume"]).code(0).has(&["the sum is 6"]);
    assert_eq!(shell.ran(), ["check", "double[1]", "tell"]);
}
