//! The command inside a Python script that a DAG runs.

use std::path::Path;
use std::process::Command;

use excom::runner::RunState;
use excom::{DagDefinition, RunOptions, Runner};

use crate::{Shell, Told};

#[test]
fn a_script_pulls_and_pushes_through_the_command() {
    let there = Command::new("python3").arg("--version").output().is_ok_and(|told| told.status.success());
    if !there {
        return excom_testkit::skip::skipped(
            "python::a_script_pulls_and_pushes_through_the_command",
            "there is no python3",
        );
    }
    let shell = Shell::new();
    shell.pushed(&["[365, 366]"]);
    let bin = Path::new(env!("CARGO_BIN_EXE_excom")).parent().unwrap().display();
    let path = format!("{bin}:{}", std::env::var("PATH").unwrap());
    let definition = DagDefinition::new("weather", move |dag| {
        let code = r#"
            from excom_task import NoValue, output, pull, push
            rows = pull("count")
            push("größte", max(rows))
            try:
                pull("count", "nothing")
            except NoValue as none:
                output([sum(rows), pull("count", "nothing", default="none"), str(none).split(":")[0]])
        "#;
        dag.python("sum", code).env("PATH", path.as_str());
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let runner = Runner::new(shell.engine()).home(shell.home());
    let report = runtime.block_on(runner.run(&definition, RunOptions::new().run_id("r1"))).unwrap();
    assert_eq!(report.state, RunState::Success, "{report:?}");
    let pull = ["xcom", "pull", "--dag-id", "weather", "--run-id", "r1", "--task-id", "sum"];
    assert_eq!(shell.run(&pull), Told::out("[731, \"none\", \"no value\"]\n"));
    assert_eq!(shell.run(&[&pull[..], &["--key", "größte"]].concat()), Told::out("366\n"));
}
