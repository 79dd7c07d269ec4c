//! `excom xcom clear` and `excom xcom delete`.

use serde_json::json;

use crate::{Shell, Told};

#[test]
fn a_clear_keeps_the_history() {
    let shell = Shell::new();
    shell.pushed(&["1"]);
    shell.pushed(&["--key", "rows", "2"]);
    assert_eq!(shell.count("clear", &["--json"]).json()["cleared"], 1);
    shell.count("pull", &[]).contains(3, &["was cleared at", "`excom xcom history` shows what it was"]);
    assert!(shell.count("history", &[]).out.contains("cleared by user ana"));
    assert_eq!(shell.count("pull", &["--key", "rows"]), Told::out("2\n"));
    assert_eq!(shell.count("clear", &["--all-keys"]), Told::nothing());
    assert_eq!(shell.count("pull", &["--key", "rows"]).code, 3);
    shell.count("clear", &[]).contains(0, &["nothing to do: there is no weather/r1/count `return_value`"]);
    shell.count("clear", &["--all-keys", "--key", "x"]).contains(2, &["cannot be used with"]);
}

#[test]
fn a_delete_leaves_nothing() {
    let shell = Shell::new();
    let large = format!("\"{}\"", "x".repeat(100_000));
    shell.pushed(&[&large]);
    shell.pushed(&["1"]);
    let told = shell.count("delete", &[]);
    assert_eq!(
        told,
        Told::err(2, "error: a delete must be confirmed, and nobody can be asked here\n  add --yes\n")
    );
    assert_eq!(shell.count("pull", &[]), Told::out("1\n"));
    let document = shell.count("delete", &["--yes", "--json"]).json();
    assert_eq!(document["deleted"], json!(2), "the entry and its earlier version");
    shell.count("pull", &[]).contains(3, &["never pushed"]);
    shell.count("history", &[]).contains(3, &["never pushed"]);
    let values = shell.home().join("values");
    let files = std::process::Command::new("find").arg(values).args(["-type", "f"]).output().unwrap();
    assert_eq!(String::from_utf8(files.stdout).unwrap(), "");
    assert_eq!(shell.count("delete", &["--yes", "--json"]).json()["deleted"], 0);
}

#[test]
fn a_removal_concerns_one_map_index() {
    let shell = Shell::new();
    shell.pushed(&["--map-index", "0", "1"]);
    shell.pushed(&["--map-index", "1", "2"]);
    assert_eq!(shell.count("delete", &["--yes", "--all-keys", "--map-index", "0"]), Told::nothing());
    assert_eq!(shell.count("pull", &["--all"]), Told::out("{\"1\": 2}\n"));
}

#[test]
fn prune_removes_what_is_past_its_time() {
    let shell = Shell::new();
    assert_eq!(shell.run(&["prune"]), Told::out("nothing is past its time\n"));
    assert!(!shell.home().exists());
    let large = format!("\"{}\"", "x".repeat(100_000));
    shell.pushed(&[&large]);
    shell.pushed(&["1"]);
    assert_eq!(shell.run(&["prune"]), Told::out("nothing is past its time\n"));
    // Versions and times are in milliseconds.
    std::thread::sleep(std::time::Duration::from_millis(5));
    let told = shell.run(&["prune", "--set", "xcom.history=0s", "--set", "xcom.history_bytes=0s"]);
    assert!(told.out.starts_with("removed ") && told.out.contains("1 earlier version"), "{told:?}");
    assert_eq!(shell.count("history", &[]).out.lines().count(), 2);
    let report = shell.run(&["doctor", "--json"]).json();
    assert_eq!(report["checks"][7]["data"]["files"], 0, "{report}");
    let due = ["prune", "--dry-run", "--set", "xcom.retention=0s"];
    let told = shell.run(&due);
    assert_eq!(told.code, 0, "{told:?}");
    assert!(told.out.contains("[xcom] retention = \"0s\"") && told.out.contains("weather"), "{told:?}");
    assert!(told.out.ends_with("1 XCom would expire, 1 byte of values; nothing changed\n"), "{told:?}");
    let document = shell.run(&[&due[..], &["--json"]].concat()).json();
    assert_eq!(
        (&document["due"][0]["key"], &document["due"][0]["entries"]),
        (&"return_value".into(), &1.into())
    );
    let removed = shell.run(&["prune", "--json", "--set", "xcom.retention=0s"]).json();
    assert_eq!(removed["entries"], 1);
    assert_eq!(shell.count("pull", &[]).code, 4);
}

#[test]
fn prune_goes_by_rules_of_the_command_line() {
    let shell = Shell::new();
    for run in ["r1", "r2", "r3"] {
        for dag in ["weather", "sea"] {
            let told =
                shell.run(&["xcom", "push", "--dag-id", dag, "--run-id", run, "--task-id", "count", "1"]);
            assert_eq!(told.code, 0, "{told:?}");
        }
    }
    let dry = shell.run(&["prune", "--keep-last", "1", "--dag-id", "sea", "--dry-run"]);
    assert!(dry.out.contains("excom prune --keep-last 1") && !dry.out.contains("weather"), "{dry:?}");
    let told = shell.run(&["prune", "--keep-last", "1", "--dag-id", "sea"]);
    assert_eq!(told, Told::out("removed 2 expired XComs; 2 bytes of values\n"));
    let gone = shell.run(&["xcom", "pull", "--dag-id", "sea", "--run-id", "r1", "--task-id", "count"]);
    gone.contains(4, &["excom prune --keep-last 1"]);
    assert_eq!(shell.count("pull", &[]), Told::out("1\n"));
    assert_eq!(shell.run(&["prune", "--older-than", "1h"]), Told::out("nothing is past its time\n"));
    shell.run(&["prune", "--keep-last", "0"]).contains(2, &["--keep-last"]);
    let set = ["prune", "--set", "xcom.ledger=off", "--set", "xcom.retention_unread=30d"];
    shell.run(&set).contains(1, &["[xcom] retention_unread = 30d", "ledger = off", "let the ledger know"]);
}
