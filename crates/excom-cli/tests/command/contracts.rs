//! `excom contracts`: versions that ran, and what differs between them.

use excom::core::run::DagRun;
use excom::{DagDefinition, TaskInstanceKey};

use crate::{Shell, Told};

mod old {
    use excom::prelude::*;

    #[task]
    fn count() -> u32 {
        42
    }

    #[dag(id = "weather")]
    pub(super) fn dag(dag: &Dag) {
        count(dag);
    }
}

mod new {
    use excom::prelude::*;

    #[task]
    fn count() -> Option<u32> {
        None
    }

    #[dag(id = "weather")]
    pub(super) fn dag(dag: &Dag) {
        count(dag);
    }
}

/// A home in which both versions ran, and their names.
fn both(shell: &Shell) -> [String; 2] {
    let engine = shell.engine();
    let names = [old::dag(), new::dag()].map(|definition: DagDefinition| {
        let contract = definition.contract().unwrap();
        let (version, document) = (contract.version(), contract.document().unwrap());
        let noted = engine.db().note_dag_version("weather", &version, &document, engine.clock().now());
        pollster::block_on(noted).unwrap();
        version.to_string()
    });
    pollster::block_on(engine.close()).unwrap();
    names
}

#[test]
fn versions_are_listed_and_shown() {
    let shell = Shell::new();
    let [old, new] = both(&shell);
    let listed = shell.run(&["contracts", "list", "--dag-id", "weather"]);
    let lines: Vec<&str> = listed.out.lines().collect();
    assert_eq!(lines.len(), 3, "{listed:?}");
    assert!(
        lines[1].starts_with(&new) && lines[2].starts_with(&old) && lines[2].ends_with("  1"),
        "{listed:?}"
    );
    let json = shell.run(&["contracts", "list", "--dag-id", "weather", "--json"]).json();
    assert_eq!((&json["items"][1]["version"], &json["items"][1]["tasks"]), (&old.into(), &1.into()));

    let shown = shell.run(&["contracts", "show", "--dag-id", "weather"]);
    let expected = format!(
        "DAG weather, version {new}\ntask count\n  gives  return_value: integer 0 to 4294967295 or null\n"
    );
    assert_eq!(shown, Told::out(&expected));
}

#[test]
fn versions_and_files_are_compared() {
    let shell = Shell::new();
    let [old, new] = both(&shell);
    let diff =
        |versions: &[&str]| shell.run(&[&["contracts", "diff", "--dag-id", "weather"], versions].concat());
    let told = diff(&[&old[..6]]);
    assert_eq!((told.code, told.err.as_str()), (1, ""), "{told:?}");
    assert!(
        told.out.contains("$ may be null") && told.out.contains("\n  breaks readers elsewhere\n"),
        "{told:?}"
    );
    assert_eq!(diff(&[&old, &new]), told);
    // The other way round old values may be null, and nobody in the DAG takes them.
    assert!(diff(&[&new, &old]).out.contains("\n  breaks consumers of old values\n"));
    assert_eq!(diff(&[&new, &new]), Told::out("no difference\n"));

    let exported = shell.run(&["contracts", "export", "--dag-id", "weather", &old]);
    shell.file("old.json", &exported.out);
    assert_eq!(diff(&["old.json"]), told);
    assert_eq!(diff(&["old.json", "--json"]).json()[0]["breaks"], serde_json::json!(["readers_elsewhere"]));

    diff(&["ffff"]).contains(1, &["DAG `weather` has no version `ffff`", &format!("the newest is {new}")]);
    diff(&["no.json"]).contains(1, &["the contract no.json cannot be read"]);
    shell.file("bad.json", "{}");
    diff(&["bad.json"]).contains(1, &["bad.json: the contract of a DAG", "contracts export"]);
    shell.run(&["contracts", "diff", "--dag-id", "weather"]).contains(2, &["<OLD>"]);
}

#[test]
fn a_home_without_runs_says_so() {
    let shell = Shell::new();
    let told = shell.run(&["contracts", "show", "--dag-id", "weather"]);
    told.contains(1, &["no version of DAG `weather` is kept here", "nothing was ever pushed in the home"]);
}

/// A shell as the task's own, in a run of the old version.
fn in_task() -> Shell {
    let shell = Shell::new()
        .with("EXCOM_DAG_ID", "weather")
        .with("EXCOM_RUN_ID", "r1")
        .with("EXCOM_TASK_ID", "count")
        .with("EXCOM_MAP_INDEX", "-1");
    let [old, _] = both(&shell);
    let engine = shell.engine();
    let run = DagRun { version: Some(old.into()), ..DagRun::new("weather", "r1", engine.clock().now()) };
    pollster::block_on(engine.start_run(&run)).unwrap();
    let ti = TaskInstanceKey::new("weather", "r1", "count", -1).unwrap();
    let attempt = pollster::block_on(engine.start(&ti, 1)).unwrap();
    pollster::block_on(engine.close()).unwrap();
    shell.with("EXCOM_ATTEMPT_ID", &attempt.id.to_string())
}

#[test]
fn what_a_task_pushes_by_the_command_is_checked() {
    let shell = in_task();
    let refused = shell.run(&["xcom", "push", "\"many\""]);
    refused.contains(
        1,
        &[
            "the value for key `return_value` of task `count` is not of the declared type",
            "$: expected integer 0 to 4294967295, found \"many\"",
            "[xcom] contracts",
        ],
    );
    assert_eq!(shell.run(&["xcom", "push", "7"]), Told::nothing());
    assert_eq!(shell.run(&["xcom", "push", "--key", "other", "\"many\""]), Told::nothing());
    shell
        .run(&["xcom", "push", "-1", "--set", "xcom.contracts=warn"])
        .contains(0, &["warning: ", "found -1"]);
    // Nothing is told of what its key makes a secret.
    for contracts in ["refuse", "warn"] {
        let contracts = format!("xcom.contracts={contracts}");
        let set = ["--set", &contracts, "--set", "xcom.secret_keys=return_*"];
        let told = shell.run(&[&["xcom", "push", "-4711"], &set[..]].concat());
        assert!(told.err.contains("found ***") && !told.err.contains("4711"), "{told:?}");
    }
    assert_eq!(shell.run(&["xcom", "push", "-1", "--set", "xcom.contracts=off"]), Told::nothing());
}

#[test]
fn what_a_task_pushes_from_standard_input_is_checked_as_far_as_it_may_be_inline() {
    let shell = in_task();
    let refused = "$: expected integer 0 to 4294967295, found";
    let push = |more: &[&str], bytes: &[u8]| shell.run_with(&[&["xcom", "push"], more].concat(), bytes);
    push(&["-"], b"\"many\"").contains(1, &[refused, "is not of the declared type", "[xcom] contracts"]);
    push(&["-", "--text"], b"7").contains(1, &[refused]);
    assert_eq!(push(&["-"], b"7\n"), Told::nothing());
    assert_eq!(push(&["-", "--key", "other", "--text"], b"many"), Told::nothing());
    assert_eq!(shell.run(&["xcom", "pull", "--task-id", "count"]), Told::out("7\n\n"));
    // Over what may be inline it is streamed.
    assert_eq!(push(&["-", "--text"], &vec![b'x'; 3 << 20]), Told::nothing());
}
