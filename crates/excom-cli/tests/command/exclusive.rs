//! Exclusive mode from a shell: what a task may not do, what is only observed, and what the doctor says.

use excom::TaskInstanceKey;
use serde_json::Value as Json;

use crate::{COUNT, Shell, Told};

/// A shell as the task `report/r1/sum`, with these settings.
fn task(settings: &str) -> Shell {
    let shell = Shell::new();
    shell.pushed(&["24"]);
    let ti = TaskInstanceKey::new("report", "r1", "sum", -1).unwrap();
    let attempt = pollster::block_on(shell.engine().start(&ti, 1)).unwrap();
    shell.file("excom.toml", settings);
    shell
        .with("EXCOM_DAG_ID", "report")
        .with("EXCOM_RUN_ID", "r1")
        .with("EXCOM_TASK_ID", "sum")
        .with("EXCOM_ATTEMPT_ID", &attempt.id.to_string())
}

fn checks(shell: &Shell, name: &str) -> Vec<Json> {
    let report = shell.run(&["doctor", "--json"]).json();
    let checks = report["checks"].as_array().unwrap();
    checks.iter().filter(|check| check["name"] == name).cloned().collect()
}

#[test]
fn a_task_keeps_to_its_run_unless_it_is_granted_more() {
    let shell = task("[xcom]\nmode = 'exclusive'\n");
    let rule = "[xcom] reads = \"run\" (from [xcom] mode = \"exclusive\", excom.toml:2)";
    shell.count("pull", &[]).contains(5, &["may not be read", rule]);
    shell.count("history", &[]).contains(5, &[rule]);
    shell.run(&["xcom", "list", "--dag-id", "weather"]).contains(5, &["may not list", rule]);
    shell.count("push", &["1"]).contains(5, &["may not push", "[xcom] writes = \"own\" (from [xcom] mode"]);
    assert_eq!(shell.run(&["xcom", "push", "7"]), Told::nothing());
    assert_eq!(shell.run(&["xcom", "pull"]), Told::out("7\n"));
    let ledger = shell.run(&["config", "explain", "xcom", "ledger"]);
    assert!(ledger.out.contains("  from         [xcom] mode = \"exclusive\", excom.toml:2\n"), "{ledger:?}");

    // Every value is a file, also this small one; another task's is where it was.
    let item = shell.run(&["xcom", "list", "--json"]).json()["items"][0].clone();
    assert_eq!((&item["offloaded"], &item["preview"]), (&true.into(), &"7".into()));

    let granted = ["--set", "xcom.grants=report reads weather/count"];
    assert_eq!(shell.run(&[&["xcom", "pull"], &COUNT[..], &granted].concat()), Told::out("24\n"));
    let told = shell.run(&["xcom", "pull", "--set", "xcom.grants=report reads weather"]);
    told.contains(1, &["names no task of `weather`: write `weather/*` for all", "[xcom] grants takes"]);
}

#[test]
fn what_would_be_refused_is_shown() {
    let shell = task("[xcom]\nmode = 'exclusive'\nobserve = true\n");
    assert_eq!(shell.run(&["xcom", "refusals"]).err, "nothing is known that would have been refused\n");
    assert_eq!(shell.count("pull", &[]), Told::out("24\n"));
    assert_eq!(shell.count("pull", &[]), Told::out("24\n"));
    assert_eq!(shell.count("push", &["25"]), Told::nothing());
    let items = shell.run(&["xcom", "refusals", "--json"]).json()["items"].clone();
    let row = |rule: &str| items.as_array().unwrap().iter().find(|row| row["rule"] == rule).unwrap();
    let read = row("[xcom] reads = \"run\"");
    assert_eq!((&read["dag_id"], &read["task_id"]), (&"report".into(), &"sum".into()));
    assert_eq!((&read["target"], &read["count"]), (&"weather/count".into(), &2.into()));
    assert_eq!(row("[xcom] writes = \"own\"")["count"], 1);
    let told = shell.run(&["xcom", "refusals"]);
    assert!(
        told.out.starts_with("task        what           rule") && told.out.lines().count() == 3,
        "{told:?}"
    );

    assert_eq!(checks(&shell, "observed")[0]["data"]["count"], 3);
    let access = checks(&shell, "access")[0]["text"].as_str().unwrap().to_owned();
    assert_eq!(access, "mode exclusive: offload all, writes own, reads run, ledger strict   observed only");
    assert_eq!(checks(&shell, "round trip").len(), 1, "nothing of its own stays in the database");
}

#[test]
fn an_exemption_ends_and_the_doctor_says_so() {
    let shell = task("[xcom]\nmode = 'exclusive'\nexempt = ['report until 2999-01-01']\n");
    assert_eq!(shell.count("pull", &[]), Told::out("24\n"));
    let exempt = checks(&shell, "exempt");
    assert_eq!((&exempt[0]["text"], &exempt[0]["ok"]), (&"report until 2999-01-01".into(), &true.into()));

    shell.file("excom.toml", "[xcom]\nmode = 'exclusive'\nexempt = ['report until 2026-01-01']\n");
    assert_eq!(shell.count("pull", &[]).code, 5);
    let told = shell.run(&["doctor"]);
    assert_eq!(told.code, 1, "{told:?}");
    assert!(told.out.contains("exempt      report until 2026-01-01   problem\n"), "{told:?}");
    assert!(told.out.contains("`report` is held to the rules again"), "{told:?}");
}
