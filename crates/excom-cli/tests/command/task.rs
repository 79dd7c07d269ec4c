//! The command inside a task: names and identity from the environment, the fence, the access rules.

use excom::{Attempt, TaskInstanceKey};
use serde_json::json;

use crate::{Shell, Told};

/// A shell as a task's own, at a map index.
fn task(map_index: i32) -> Shell {
    Shell::new()
        .with("EXCOM_DAG_ID", "weather")
        .with("EXCOM_RUN_ID", "r1")
        .with("EXCOM_TASK_ID", "load")
        .with("EXCOM_MAP_INDEX", &map_index.to_string())
}

fn start(shell: &Shell, map_index: i32, try_number: u32) -> Attempt {
    let ti = TaskInstanceKey::new("weather", "r1", "load", map_index).unwrap();
    pollster::block_on(shell.engine().start(&ti, try_number)).unwrap()
}

#[test]
fn names_default_to_the_tasks_own() {
    let shell = task(3);
    assert_eq!(shell.run(&["xcom", "push", "--key", "rows", "365"]), Told::nothing());
    assert_eq!(shell.run(&["xcom", "pull", "--key", "rows"]), Told::out("365\n"));
    let item = &shell.run(&["xcom", "list", "--json"]).json()["items"][0];
    assert_eq!((&item["task_id"], &item["map_index"]), (&"load".into(), &3.into()));

    // Another task is one of the same run, and not mapped unless told.
    shell
        .run(&["xcom", "pull", "--task-id", "load", "--key", "rows"])
        .contains(3, &["task `load` never pushed"]);
    let told = shell.run(&["xcom", "pull", "--task-id", "load", "--map-index", "3", "--key", "rows"]);
    assert_eq!(told, Told::out("365\n"));
    shell.run(&["xcom", "pull", "--task-id", "other"]).contains(3, &["task `other` never pushed"]);

    // A list is about the task's own run, unless another DAG is named.
    let elsewhere = ["xcom", "push", "1", "--dag-id", "d2", "--run-id", "x", "--task-id", "t"];
    assert_eq!(shell.run(&elsewhere), Told::nothing());
    assert_eq!(shell.run(&["xcom", "list", "--json"]).json()["items"].as_array().unwrap().len(), 1);
    let list = shell.run(&["xcom", "list", "--dag-id", "d2", "--json"]).json();
    assert_eq!(list["items"][0]["run_id"], "x");
}

#[test]
fn an_attempt_is_the_writer_and_is_fenced() {
    let shell = task(-1);
    let first = start(&shell, -1, 1);
    let shell = shell.with("EXCOM_ATTEMPT_ID", &first.id.to_string());
    assert_eq!(shell.run(&["xcom", "push", "1"]), Told::nothing());
    assert_eq!(shell.run(&["xcom", "get", "--json"]).json()["writer"], json!({"attempt": 1}));
    let other = ["xcom", "push", "2", "--task-id", "other"];
    assert_eq!(shell.run(&other), Told::nothing());

    start(&shell, -1, 2);
    let told = shell.run(&["xcom", "push", "3"]);
    told.contains(5, &["error: attempt ", "was superseded: try 2 started", "nothing was written"]);
    let told = shell.run(&["xcom", "clear", "--json"]);
    assert_eq!((told.code, &told.json()["error"]["code"]), (5, &"superseded".into()));
    shell.run(&["xcom", "pull"]).contains(3, &["no value"]);
}

#[test]
fn an_attempt_clears_and_does_not_delete() {
    let shell = task(-1);
    let attempt = start(&shell, -1, 1);
    let shell = shell.with("EXCOM_ATTEMPT_ID", &attempt.id.to_string());
    assert_eq!(shell.run(&["xcom", "push", "1"]), Told::nothing());
    shell.run(&["xcom", "delete", "--yes"]).contains(5, &["may not delete", "clear them instead"]);
    assert_eq!(shell.run(&["xcom", "clear"]), Told::nothing());
    let other = ["--task-id", "other"];
    assert_eq!(shell.run(&[&["xcom", "push", "1"], &other[..]].concat()), Told::nothing());
    assert_eq!(shell.run(&[&["xcom", "clear"], &other[..]].concat()), Told::nothing());
    shell.run(&[&["xcom", "pull"], &other[..]].concat()).contains(3, &["cleared"]);
}

#[test]
fn an_attempt_that_never_started_writes_nothing() {
    let shell = task(-1).with("EXCOM_ATTEMPT_ID", "019aa2b4-5c3e-7a10-8d6f-2f6b1c0a9e11");
    shell.run(&["xcom", "push", "1"]).contains(5, &["has not started"]);
}

#[test]
fn a_half_told_identity_is_an_error_and_not_a_person() {
    let shell = Shell::new().with("EXCOM_ATTEMPT_ID", "019aa2b4-5c3e-7a10-8d6f-2f6b1c0a9e11");
    shell.count("push", &["1"]).contains(1, &["EXCOM_ATTEMPT_ID is set but EXCOM_DAG_ID is not"]);
    let shell = task(-1).with("EXCOM_ATTEMPT_ID", "7");
    shell.run(&["xcom", "push", "1"]).contains(1, &["EXCOM_ATTEMPT_ID: `7` is not an attempt id", "a UUID"]);
    let shell = task(-1).with("EXCOM_MAP_INDEX", "two");
    shell.run(&["xcom", "push", "1"]).contains(1, &["EXCOM_MAP_INDEX: `two` is not a map index"]);
    assert!(!shell.home().exists());
}

#[test]
fn access_rules_hold_for_attempts_and_not_for_people() {
    let person = Shell::new();
    person.file("excom.toml", "[xcom]\nreads = 'run'\nwrites = 'own'\n");
    let other = ["--dag-id", "weather", "--run-id", "r0", "--task-id", "load"];
    assert_eq!(person.run(&[&["xcom", "push", "1"], &other[..]].concat()), Told::nothing());
    let attempt = start(&person, -1, 1);
    let shell = Shell { variables: task(-1).variables, ..person };
    let shell = shell.with("EXCOM_ATTEMPT_ID", &attempt.id.to_string());
    let pull = [&["xcom", "pull"], &other[..]].concat();
    shell.run(&pull).contains(5, &["forbidden: ", "[xcom] reads = \"run\""]);
    let told = shell.run(&[&pull[..], &["--default", "1", "--json"]].concat());
    assert_eq!((told.code, &told.json()["answer"]), (5, &"forbidden".into()));
    for change in [&["xcom", "push", "2"][..], &["xcom", "clear"]] {
        shell.run(&[change, &other[..]].concat()).contains(5, &["[xcom] writes = \"own\""]);
    }
    let person = Shell { variables: Shell::new().variables, ..shell };
    assert_eq!(person.run(&pull), Told::out("1\n"));
}

#[test]
fn without_a_login_name_the_user_has_a_number() {
    let shell = Shell { variables: Vec::new(), ..Shell::new() };
    shell.pushed(&["1"]);
    let document = shell.count("get", &["--json"]).json();
    assert!(document["writer"]["user"].as_str().unwrap().starts_with("uid "), "{document}");
}
