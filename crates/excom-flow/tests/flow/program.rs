//! The program operator: values in and out as JSON, with real programs.

use std::path::Path;

use excom::prelude::*;
use excom_core::{TaskState, Value};
use excom_flow::{DagDefinition, Handle, Program, RunReport};

use crate::support::{engine, pushed, run, state};

/// Runs a shell script as the program `t` of DAG `d`, and gives what a key of it holds.
fn shell(script: &'static str, key: &str) -> (RunReport, Option<String>) {
    shell_with(script, key, |task| task)
}

fn shell_with(
    script: &'static str,
    key: &str,
    change: fn(Handle<'_, Program>) -> Handle<'_, Program>,
) -> (RunReport, Option<String>) {
    let engine = engine();
    let definition = DagDefinition::new("d", move |dag| {
        change(dag.program("t", ["sh", "-c", script]));
    });
    let report = run(&engine, &definition);
    (report, pushed(&engine, "d", "t", key))
}

fn failure(script: &'static str) -> String {
    let (report, value) = shell(script, "return_value");
    assert_eq!(report.tasks[0].state, TaskState::Failed, "{script}");
    assert_eq!(value, None);
    assert!(report.tasks[0].pushed.is_empty(), "{:?}", report.tasks[0].pushed);
    report.tasks[0].failure.clone().unwrap().message
}

#[test]
fn values_go_in_and_out_as_json() {
    #[task]
    fn rows() -> Vec<Option<f64>> {
        vec![Some(1.0), None]
    }
    #[task]
    fn takes(copy: Vec<Option<f64>>, any: Value) -> String {
        format!("{copy:?} {}", any.as_str())
    }
    let engine = engine();
    let definition = DagDefinition::new("d", |dag| {
        let rows = rows(dag);
        let script = r#"test "$EXCOM_INPUT_ROWS" = "$(cat "$EXCOM_INPUTS/rows.json")" || exit 1
            printf '{"rows": %s, "text": %s, "arguments": "%s"}' \
                "$EXCOM_INPUT_ROWS" "$EXCOM_INPUT_TEXT" "$1|$2" > "$EXCOM_OUTPUT""#;
        let all = dag
            .program("all", ["sh", "-c", script, "sh", "{{ run_id }} $(id)"])
            .argument(rows)
            .input("rows", rows)
            .input("Text", "é \"{{ ti.task_id }}\"");
        let copy = dag.program("copy", ["sh", "-c", "cp $EXCOM_INPUTS/rows.json $EXCOM_OUTPUT"]);
        let copy = copy.input("rows", rows).env("X", rows).directory("/tmp");
        takes(dag, copy.output_as(), all.output());
    });
    let report = run(&engine, &definition);
    assert!(report.succeeded(), "{report:?}");
    let all = r#"{"rows": [1.0,null], "text": "é \"all\"", "arguments": "r $(id)|[1.0,null]"}"#;
    assert_eq!(pushed(&engine, "d", "all", "return_value").unwrap(), all);
    let taken = pushed(&engine, "d", "takes", "return_value").unwrap();
    let taken: String = Value::parse(taken).unwrap().get().unwrap();
    assert_eq!(taken, format!("[Some(1.0), None] {all}"));
}

#[test]
fn a_large_input_is_a_file_only() {
    #[task]
    fn large() -> String {
        "x".repeat(200_000)
    }
    let engine = engine();
    let definition = DagDefinition::new("d", |dag| {
        let script =
            r#"test -z "${EXCOM_INPUT_LARGE+set}" && wc -c < "$EXCOM_INPUTS/large.json" > "$EXCOM_OUTPUT""#;
        dag.program("t", ["sh", "-c", script]).input("large", large(dag));
    });
    let report = run(&engine, &definition);
    assert!(report.succeeded(), "{report:?}");
    assert_eq!(pushed(&engine, "d", "t", "return_value").unwrap().trim(), "200002");
}

#[test]
fn without_an_output_file_nothing_is_pushed_unless_asked() {
    assert_eq!(shell("echo line", "return_value").1, None);
    assert_eq!(shell("echo null > $EXCOM_OUTPUT", "return_value").1, None);
    let (_, value) = shell_with("echo 7", "return_value", |task| task.output_from_last_line());
    assert_eq!(value.unwrap(), "\"7\"");
    let script = "echo 7; echo 8 > $EXCOM_OUTPUT";
    let (_, value) = shell_with(script, "return_value", |task| task.output_from_last_line());
    assert_eq!(value.unwrap().trim(), "8");
    let (report, value) =
        shell_with("echo 8 > $EXCOM_OUTPUT", "return_value", |task| task.do_xcom_push(false));
    assert!(report.succeeded() && value.is_none());
}

#[test]
fn files_in_a_folder_become_xcoms() {
    let engine = engine();
    let definition = DagDefinition::new("d", |dag| {
        let script =
            r#"cd "$EXCOM_PUSH"; echo 1 > rows.json; echo '"é"' > 'a%2Fb c.json'; echo 3 > $EXCOM_OUTPUT"#;
        dag.program("t", ["sh", "-c", script]);
    });
    assert!(run(&engine, &definition).succeeded());
    let value = |key: &str| pushed(&engine, "d", "t", key).unwrap().trim().to_owned();
    assert_eq!(
        (value("rows"), value("a/b c"), value("return_value")),
        ("1".into(), "\"é\"".into(), "3".into())
    );
}

#[test]
fn what_is_wrong_with_one_output_pushes_none() {
    let message = failure("echo 1 > $EXCOM_PUSH/a.json; echo '{\"b\": nothing}' > $EXCOM_PUSH/b.json");
    assert!(message.starts_with("`b.json` in EXCOM_PUSH is no JSON: "), "{message}");
    assert!(message.contains("line 1"), "{message}");
    let message = failure("echo 1 > $EXCOM_PUSH/a.json; printf '' > $EXCOM_OUTPUT");
    assert!(message.starts_with("the output is no JSON: "), "{message}");
    let message = failure("echo 1 > $EXCOM_PUSH/a.json; echo 1 > $EXCOM_PUSH/b.txt");
    assert!(message.contains("`b.txt` in EXCOM_PUSH is not the name of an XCom"), "{message}");
    let message = failure("echo 1 > $EXCOM_PUSH/return_value.json");
    assert!(message.contains("what the program returns"), "{message}");
    let message = failure("mkfifo $EXCOM_OUTPUT");
    assert!(message.contains("the output is not a file"), "{message}");
    let message = failure("truncate -s 70M $EXCOM_OUTPUT");
    assert!(message.contains("over 64 MiB"), "{message}");
    let message = failure("echo 1 > $EXCOM_OUTPUT; echo why; exit 4");
    assert_eq!(message, "the command ended with code 4; its output ends with:\nwhy");
}

#[test]
fn a_program_may_choose_to_be_skipped() {
    let (report, value) = shell("echo 1 > $EXCOM_OUTPUT; exit 99", "return_value");
    assert_eq!((report.tasks[0].state, value), (TaskState::Skipped, None));
}

#[test]
fn the_folder_is_private_and_gone_afterwards() {
    let engine = engine();
    let definition = DagDefinition::new("d", |dag| {
        let folder = "stat -c '\"%a %n\"' $(dirname $EXCOM_OUTPUT)";
        let script = |end: &str| format!("{folder} > $EXCOM_PUSH/folder.json; excom=$({folder}); {end}");
        dag.program("succeeds", ["sh", "-c", &script(&format!("{folder} > $EXCOM_OUTPUT"))]);
        dag.program("fails", ["sh", "-c", &script("echo $excom; exit 1")]);
    });
    let report = run(&engine, &definition);
    let folder = pushed(&engine, "d", "succeeds", "folder").unwrap();
    let (mode, path) = folder.trim().trim_matches('"').split_once(' ').unwrap();
    assert_eq!(mode, "700");
    assert!(!Path::new(path).exists(), "{path}");
    let message = report.task("fails").unwrap().failure.clone().unwrap().message;
    let path = message.trim_end_matches('"').rsplit(' ').next().unwrap();
    assert!(path.starts_with('/') && !Path::new(path).exists(), "{message}");
}

#[test]
fn what_cannot_be_started_is_told() {
    let engine = engine();
    let definition = DagDefinition::new("d", |dag| {
        dag.program("missing", ["excom-no-such-program"]);
        dag.program("long", ["true", &"x".repeat(200_000)]);
        dag.program("zero", ["true"]).argument(Field::value("a\0b"));
    });
    let report = run(&engine, &definition);
    let failure = |task: &str| report.task(task).unwrap().failure.clone().unwrap();
    assert!(failure("missing").message.starts_with("`excom-no-such-program` cannot be started"));
    assert!(failure("missing").hints[0].contains("PATH"), "{:?}", failure("missing"));
    assert!(failure("long").message.contains("an argument has 200000 bytes"));
    assert!(failure("zero").message.contains("NUL"));
    assert_eq!(state(&engine, "d", "zero"), Some(TaskState::Failed));
}

#[test]
fn wrong_names_refuse_the_dag() {
    let definition = DagDefinition::new("d", |dag| {
        dag.program("t", ["true"]).input("a/b", "x").env("A=B", "x");
        dag.program::<&str>("empty", []);
    });
    let message = definition.graph().unwrap_err().to_string();
    for problem in ["`a/b` cannot be the name of an input", "`A=B` cannot be", "program without a name"] {
        assert!(message.contains(problem), "{message}");
    }
    let twice = DagDefinition::new("d", |dag| {
        dag.program("t", ["true"]).input("rows", "x").input("ROWS", "y");
    });
    let report = run(&engine(), &twice);
    assert!(report.tasks[0].failure.as_ref().unwrap().message.contains("given twice"));
}
