//! Python scripts, with the interpreter of this machine.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use excom::prelude::*;
use excom_core::TaskState;
use excom_flow::{DagDefinition, Program, RunReport};
use excom_testkit::skip::skipped;

use crate::support::{engine, pushed, run};

/// Whether there is a `python3`; without, the test is counted as skipped.
fn python(test: &str) -> bool {
    let there = Command::new("python3").arg("--version").output().is_ok_and(|told| told.status.success());
    if !there {
        skipped(&format!("python::{test}"), "there is no python3");
    }
    there
}

fn message(report: &RunReport, task: &str) -> String {
    let task = report.task(task).unwrap();
    assert_eq!(task.state, TaskState::Failed, "{task:?}");
    task.failure.clone().unwrap().message
}

#[test]
fn a_script_takes_inputs_and_returns_an_output() {
    if !python("a_script_takes_inputs_and_returns_an_output") {
        return;
    }
    #[task]
    fn rows() -> Vec<u64> {
        vec![365, 366]
    }
    #[task]
    fn takes(total: u64) -> u64 {
        total + 1
    }
    let engine = engine();
    let definition = DagDefinition::new("d", |dag| {
        let rows = rows(dag);
        let code = r#"
            from excom_task import inputs, output

            print("{{ not a template }}", sorted(inputs), len(inputs))
            assert inputs["text"] == '"; import os #', inputs["text"]
            if "nothing" not in inputs:
                output(0)
                output(sum(inputs["rows"]))
        "#;
        let sum = dag.python("sum", code).input("rows", rows).input("text", "\"; import os #");
        takes(dag, sum.output_as());
    });
    let report = run(&engine, &definition);
    assert!(report.succeeded(), "{report:?}");
    assert_eq!(pushed(&engine, "d", "takes", "return_value").unwrap(), "732");
}

#[test]
fn a_file_is_run_with_arguments_by_a_chosen_interpreter() {
    if !python("a_file_is_run_with_arguments_by_a_chosen_interpreter") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script.py");
    std::fs::write(folder.path().join("beside.py"), "NAME = 'beside'").unwrap();
    let text = "import sys, excom_task, beside, other\n\
                excom_task.output([sys.argv[1:], beside.NAME, other.NAME, sys.flags.isolated])\n";
    std::fs::write(&script, text).unwrap();
    std::fs::create_dir(folder.path().join("more")).unwrap();
    std::fs::write(folder.path().join("more/other.py"), "NAME = 'other'").unwrap();
    let engine = engine();
    let more = folder.path().join("more").display().to_string();
    let definition = DagDefinition::new("d", move |dag| {
        let script = Program::python_file(script.display().to_string()).argument("{{ run_id }}");
        dag.add("t", script).argument("$(id)").env("PYTHONPATH", more.as_str()).interpreter("python3");
        dag.python("nowhere", "pass").interpreter("excom-no-such-python");
    });
    let report = run(&engine, &definition);
    assert!(message(&report, "nowhere").contains("`excom-no-such-python` cannot be started"));
    let told = pushed(&engine, "d", "t", "return_value");
    assert_eq!(told.unwrap(), r#"[["r", "$(id)"], "beside", "other", 0]"#, "{report:?}");
}

#[test]
fn errors_of_a_script_fail_the_try_and_say_where() {
    if !python("errors_of_a_script_fail_the_try_and_say_where") {
        return;
    }
    let definition = DagDefinition::new("d", |dag| {
        dag.python("raises", "\n\nraise ValueError('no rows')");
        dag.python("nan", "import excom_task\nexcom_task.output(float('nan'))");
        dag.python("unknown", "import excom_task\nexcom_task.inputs['rosw']").input("rows", "x");
        dag.python("skips", "raise SystemExit(99)");
        dag.python("alone", "import excom_task\nexcom_task.push('k', 1)")
            .env("PATH", "/nowhere")
            .interpreter(
                String::from_utf8(
                    Command::new("python3")
                        .args(["-c", "import sys; print(sys.executable, end='')"])
                        .output()
                        .unwrap()
                        .stdout,
                )
                .unwrap(),
            );
    });
    let report = run(&engine(), &definition);
    let raises = message(&report, "raises");
    assert!(raises.contains("script.py\", line 3") && raises.contains("no rows"), "{raises}");
    assert!(message(&report, "nan").contains("not JSON compliant"));
    assert!(message(&report, "unknown").contains("no input `rosw`; it has: rows"));
    assert!(message(&report, "alone").contains("`excom` command is not on the PATH"));
    assert_eq!(report.task("skips").unwrap().state, TaskState::Skipped);
}

#[test]
fn pull_and_push_call_the_command() {
    if !python("pull_and_push_call_the_command") {
        return;
    }
    // A stand-in that writes down how it is called. The real command has a test of its own.
    let folder = tempfile::tempdir().unwrap();
    let command = folder.path().join("excom");
    let stand_in = "#!/bin/sh\n\
        echo \"$*\" >> \"$CALLS\"\n\
        case $* in\n\
        'xcom push --key k -') cat >> \"$CALLS\"; echo >> \"$CALLS\" ;;\n\
        *'--key there') echo '{\"a\": \"é\"}' ;;\n\
        *'--key gone') echo 'no value: never pushed' >&2; exit 3 ;;\n\
        *) echo 'error: superseded' >&2; exit 5 ;;\n\
        esac\n";
    std::fs::write(&command, stand_in).unwrap();
    std::fs::set_permissions(&command, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let calls = folder.path().join("calls");
    let seen = calls.display().to_string();
    let definition = DagDefinition::new("d", move |dag| {
        let code = r#"
            from excom_task import NoValue, output, pull, push
            push("k", {"é": None})
            told = [pull("up", "there"), pull("up", "gone", default=7)]
            for wrong in [lambda: pull("up", "gone"), lambda: pull("up"), lambda: push("other", 1)]:
                try:
                    wrong()
                except (NoValue, RuntimeError) as error:
                    told.append(f"{type(error).__name__}: {error}")
            output(told)
        "#;
        dag.python("t", code).env("PATH", path.as_str()).env("CALLS", seen.as_str());
    });
    let engine = engine();
    let report = run(&engine, &definition);
    assert!(report.succeeded(), "{report:?}");
    let told = pushed(&engine, "d", "t", "return_value").unwrap();
    let expected = concat!(
        r#"[{"a": "é"}, 7, "NoValue: no value: never pushed", "#,
        r#""RuntimeError: the pull of `return_value` from `up` failed: error: superseded", "#,
        r#""RuntimeError: the push of `other` failed: error: superseded"]"#
    );
    assert_eq!(told, expected);
    let calls = std::fs::read_to_string(calls).unwrap();
    assert!(
        calls.starts_with("xcom push --key k -\n{\"é\": null}\nxcom pull --task-id up --key there\n"),
        "{calls}"
    );
}
