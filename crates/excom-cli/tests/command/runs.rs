//! `excom run`.

use excom::core::run::{DagRun, RunState};
use excom::{TaskInstanceKey, TaskState, Value};
use serde_json::json;

use crate::Shell;

/// A failed run of `weather` with a mapped task, and one that goes on.
fn weather() -> Shell {
    let shell = Shell::new();
    let engine = shell.engine();
    pollster::block_on(async {
        for (run_id, day) in [("r1", 20), ("r2", 21)] {
            let due = format!("2026-11-{day}T06:00:00Z").parse().unwrap();
            let conf = Value::parse(r#"{"station": "attic"}"#)?;
            let run = DagRun {
                logical_date: Some(due),
                conf: Some(conf),
                version: Some("v7".into()),
                ..DagRun::new("weather", run_id, due)
            };
            engine.start_run(&run).await?;
        }
        let ti = |task, map_index| TaskInstanceKey::new("weather", "r1", task, map_index);
        for i in 0..12 {
            let state = if i < 11 { TaskState::Success } else { TaskState::Failed };
            let attempt = engine.start(&ti("hottest", i)?, 1 + u32::from(i == 11)).await?;
            engine.finish(&attempt, state, Vec::new()).await?;
        }
        let attempt = engine.start(&ti("count", -1)?, 1).await?;
        engine.finish(&attempt, TaskState::Success, Vec::new()).await?;
        engine.set_states(&[(ti("tell", -1)?, TaskState::UpstreamFailed)]).await?;
        engine.set_run_state("weather", "r1", RunState::Failed).await?;
        engine
            .push(
                &excom::Caller::user("ana"),
                &TaskInstanceKey::new("other", "x", "t", -1)?.return_value(),
                Value::of(&1)?.into(),
            )
            .await?;
        engine.close().await
    })
    .unwrap();
    shell
}

#[test]
fn runs_are_listed_newest_first() {
    let shell = weather();
    let told = shell.run(&["run", "list", "--dag-id", "weather"]);
    let lines: Vec<&str> = told.out.lines().collect();
    assert!(lines[0].starts_with("run  state    date"), "{told:?}");
    assert!(lines[1].starts_with("r2   running  2026-11-21T06:00:00Z"), "{told:?}");
    assert!(
        lines[2].starts_with("r1   failed   2026-11-20T06:00:00Z") && lines[2].ends_with("v7"),
        "{told:?}"
    );
    assert_eq!(shell.run(&["run", "list"]).out.lines().count(), 4);
    let inside = Shell { folder: shell.folder, variables: shell.variables }.with("EXCOM_DAG_ID", "other");
    assert!(inside.run(&["run", "list"]).out.contains("x    -"), "known by a push only");
    let failed = inside.run(&["run", "list", "--dag-id", "weather", "--state", "failed", "--json"]).json();
    assert_eq!(failed["items"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&failed["items"][0]["run_id"], &failed["items"][0]["state"]),
        (&json!("r1"), &json!("failed"))
    );
    let one = inside.run(&["run", "list", "--dag-id", "weather", "--limit", "1"]);
    one.contains(0, &["there are older ones: raise --limit"]);
    inside.run(&["run", "list", "--state", "lost"]).contains(2, &["running, success, failed, cancelled"]);
    inside.run(&["run", "list", "--dag-id", "nothing"]).contains(0, &["no runs match"]);
}

#[test]
fn a_run_is_shown_with_its_tasks() {
    let shell = weather();
    let told = shell.run(&["run", "show", "--dag-id", "weather", "--run-id", "r1"]);
    assert_eq!((told.code, &*told.err), (0, ""));
    for line in
        ["dag      weather\n", "state    failed\n", "version  v7\n", "params   {\"station\": \"attic\"}\n"]
    {
        assert!(told.out.contains(line), "{line:?} is not in {}", told.out);
    }
    let line = |start: &str| told.out.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
    assert!(line("hottest[12]").contains("11 success, 1 failed  2 "), "{}", told.out);
    assert!(line("count ").contains("success "), "{}", told.out);
    assert!(line("tell ").ends_with("upstream_failed       -      -"), "{}", told.out);
    assert!(told.out.ends_with("failed: weather/r1/hottest[11]\n"), "{}", told.out);

    let document = shell.run(&["run", "show", "--dag-id", "weather", "--run-id", "r1", "--json"]).json();
    assert_eq!(document["conf"], json!({"station": "attic"}));
    // In the order of their starts, of which two may be in one millisecond.
    let tasks = document["tasks"].as_array().unwrap();
    let hottest = tasks.iter().find(|task| task["task_id"] == "hottest").unwrap();
    assert_eq!(hottest["tries"], 2);
    assert_eq!(hottest["states"], json!({"failed": 1, "success": 11}));
    assert_eq!(document["failed"][0]["map_index"], 11);
}

#[test]
fn a_run_that_is_not_there_is_told() {
    let shell = Shell::new();
    let told = shell.run(&["run", "show", "--dag-id", "weather", "--run-id", "r9"]);
    told.contains(3, &["no value: DAG `weather` has no run `r9`", "nothing was ever pushed in the home"]);
    let none = shell.run(&["run", "show", "--dag-id", "weather", "--run-id", "r9", "--json"]);
    assert_eq!((none.code, &none.json()["run_id"]), (3, &json!("r9")));
    shell.run(&["run", "show"]).contains(2, &["no --dag-id is given, and EXCOM_DAG_ID is not set"]);
    let inside = shell.with("EXCOM_DAG_ID", "weather").with("EXCOM_RUN_ID", "r9");
    inside.run(&["run", "show"]).contains(3, &["no run `r9`"]);
    assert!(!inside.home().exists(), "reading makes nothing");
}
