//! Runs that were stopped or killed, or failed, and go on; and two programs at once.

use crate::{Shell, Told, files, interrupt};

#[test]
fn after_ctrl_c_the_printed_command_goes_on() {
    let shell = Shell::new();
    let child = shell.held();
    interrupt(&child);
    let told = Told::from(child.wait_with_output().unwrap()).code(130);
    told.has(&["stopping: running tasks are ended", "go on with it:"]);
    assert_eq!(shell.ran(), ["double[0]", "double[1]", "double[2]", "numbers"]);

    shell.remove("hold");
    let command = told.out.lines().find(|line| line.contains("run --resume r1")).unwrap().trim();
    let told = Told::from(shell.command("sh", &["-c", command]).output().unwrap()).code(0);
    told.has(&[
        "double[0]: success before",
        "XComs of this run",
        "double[]  return_value  3 values  ",
        "the sum is 6",
    ]);
    assert_eq!(shell.ran(), ["check", "double[1]", "tell"]);
    assert_eq!(files(&shell.home().join("runs")), 0, "no lock stays");
}

#[test]
fn after_a_kill_the_newest_interrupted_run_goes_on() {
    let shell = Shell::new();
    let mut child = shell.held();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(files(&shell.home().join("runs")), 1, "a killed program leaves its lock's file");
    shell.ran();
    shell.remove("hold");

    // A newer run that ended well is not gone on with.
    shell.run(&["--dag", "steps", "--folder", ".", "--run-id", "r2"]).code(0);
    shell.ran();
    shell.run(&["run", "--dag", "steps", "--resume"]).code(0).has(&["run steps r1: success"]);
    assert_eq!(shell.ran(), ["check", "double[1]", "tell"]);
    assert_eq!(files(&shell.home().join("runs")), 0);

    let told = shell.run(&["run", "--dag", "steps", "--resume"]).code(1);
    told.has(&["has no run that was interrupted", "the newest, `r2`, ended: success", "`rerun`"]);
    shell
        .run(&["run", "--dag", "steps", "--resume", "r3"])
        .code(1)
        .has(&["no run `r3`", "the newest is `r2`"]);
}

#[test]
fn a_run_has_one_driver() {
    let shell = Shell::new();
    let child = shell.held();
    let process = format!("process {}", child.id());
    for arguments in [
        &["run", "--dag", "steps", "--resume", "r1"][..],
        &["rerun", "--dag", "steps", "--failed", "--run-id", "r1"],
        &["--dag", "steps", "--folder", ".", "--run-id", "r1"],
    ] {
        let told = shell.run(arguments).code(7);
        told.has(&[
            "run `r1` of DAG `steps` is being run by another program",
            &process,
            "wait until it ends",
        ]);
    }
    let told = shell.run(&["run", "--dag", "steps", "--resume"]).code(1);
    told.has(&["no run that was interrupted", "`r1` is being run by another program"]);

    // Another run is free.
    std::fs::create_dir(shell.path("other")).unwrap();
    shell.run(&["--dag", "steps", "--folder", "other", "--run-id", "r2"]).code(0);

    shell.remove("hold");
    Told::from(child.wait_with_output().unwrap()).code(0).has(&["the sum is 6"]);
}

#[test]
fn what_failed_runs_again_by_the_printed_command() {
    let shell = Shell::new();
    shell.make("fail");
    let told = shell.steps(&[]).code(1);
    told.has(&["one of them is odd", "run what failed again:"]);
    shell.ran();
    shell.remove("fail");

    let command = told.out.lines().find(|line| line.contains("rerun --failed --run-id r1")).unwrap().trim();
    Told::from(shell.command("sh", &["-c", command]).output().unwrap()).code(0).has(&["the sum is 6"]);
    assert_eq!(shell.ran(), ["check", "tell"]);
    let told = shell.run(&["rerun", "--dag", "steps", "--failed"]).code(1);
    told.has(&["nothing failed in run `r1`"]);
}

#[test]
fn tasks_run_again_with_all_behind_them() {
    let shell = Shell::new();
    shell.steps(&["--count", "2"]).code(0);
    shell.ran();
    shell.run(&["rerun", "--dag", "steps", "double"]).code(0).has(&["the sum is 2"]);
    assert_eq!(shell.ran(), ["check", "double[0]", "double[1]", "tell"]);
    let told = shell.run(&["rerun", "--dag", "steps", "duoble", "--run-id", "r1"]).code(1);
    told.has(&["no task `duoble`", "nearest: `double`"]);
}
