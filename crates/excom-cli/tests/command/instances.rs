//! `excom run show --task-id`.

use excom::{Caller, PullOptions, TaskInstanceKey, TaskState, Value};
use serde_json::json;

use crate::Shell;

const LOAD: [&str; 8] = ["run", "show", "--dag-id", "weather", "--run-id", "r1", "--task-id", "load"];

/// `count` by hand, and `load`, which read it, pushed something and failed, and came to an end in its second
/// try; and `hottest` with two map indexes.
fn weather() -> Shell {
    let shell = Shell::new();
    shell.pushed(&["24"]);
    let engine = shell.engine();
    pollster::block_on(async {
        let ti = |task, map_index| TaskInstanceKey::new("weather", "r1", task, map_index);
        let load = ti("load", -1)?;
        for (try_number, state) in [(1, TaskState::UpForRetry), (2, TaskState::Success)] {
            let attempt = engine.start(&load, try_number).await?;
            let statement = format!("DELETE FROM peaks;\nINSERT INTO peaks\n\tVALUES ({try_number})");
            let fields =
                [("url".to_owned(), Value::of("***")?), ("statement".to_owned(), Value::of(&statement)?)];
            let more = [("parameter.days".to_owned(), Value::of(&[1, 2])?)];
            engine.note_rendered(&attempt, &[&fields[..], &more[..]].concat()).await?;
            let me = Caller::Attempt(attempt.clone());
            engine.pull(&me, &[ti("count", -1)?.return_value()], PullOptions::default()).await?;
            engine.push(&me, &load.xcom("rows")?, Value::of(&(10 * try_number))?.into()).await?;
            engine.set_attempt_state(&attempt, state).await?;
        }
        for map_index in 0..2 {
            engine.start(&ti("hottest", map_index)?, 1).await?;
        }
        engine.set_states(&[(ti("tell", -1)?, TaskState::UpstreamFailed)]).await?;
        engine.close().await
    })
    .unwrap();
    shell
}

#[test]
fn a_task_is_shown_with_what_it_did() {
    let told = weather().run(&LOAD);
    assert_eq!((told.code, &*told.err), (0, ""));
    assert!(
        told.out.starts_with("dag      weather\nrun      r1\ntask     load\nstate    success\n\n"),
        "{told:?}"
    );
    let lines: Vec<&str> = told.out.lines().collect();
    let line = |start: &str| *lines.iter().find(|line| line.starts_with(start)).unwrap();
    assert!(line("1        1    up_for_retry  20").ends_with('s'), "{told:?}");
    assert!(line("2        2    success       20").ends_with('s'), "{told:?}");
    let fields = "rendered fields of attempt 2\n  url: ***\n  statement:\n    DELETE FROM peaks;\n    INSERT INTO peaks\n";
    assert!(told.out.contains(fields), "{}", told.out);
    assert!(told.out.contains("    \\tVALUES (2)\n  parameter.days: [1,2]\n"), "{}", told.out);
    let read: Vec<&&str> =
        lines.iter().filter(|line| line.starts_with("  count `return_value` = 24 ")).collect();
    assert!(
        read[0].ends_with("by user ana), by attempt 1") && read[1].ends_with(", by attempt 2"),
        "{told:?}"
    );
    assert!(line("  `rows` = 10 ").contains(" by try 1; cleared at 20"), "{told:?}");
    assert!(line("  `rows` = 20 ").ends_with(" by try 2)"), "{told:?}");
}

#[test]
fn a_task_is_a_document_too() {
    let shell = weather();
    let document = shell.run(&[&LOAD[..], &["--json"]].concat()).json();
    assert_eq!((&document["task_id"], &document["state"]), (&json!("load"), &json!("success")));
    assert_eq!(document["attempts"][0]["state"], "up_for_retry");
    assert_eq!(document["rendered"]["attempt"], 2);
    assert_eq!(document["rendered"]["fields"][2], json!({"name": "parameter.days", "value": [1, 2]}));
    assert_eq!(document["read"][1]["target"]["entry"][0]["task_id"], "count");
    let pushed = document["pushed"].as_array().unwrap();
    assert_eq!((pushed.len(), &pushed[0]["preview"]), (2, &json!("10")));
    assert_eq!((&pushed[0]["ended"]["reason"], &pushed[1]["ended"]), (&json!("cleared"), &json!(null)));
}

#[test]
fn what_did_nothing_and_what_is_not_there() {
    let shell = weather();
    let show = |task: &str, more: &[&str]| {
        shell.run(
            &[&["run", "show", "--dag-id", "weather", "--run-id", "r1", "--task-id", task], more].concat(),
        )
    };
    let told = show("tell", &[]);
    assert!(told.out.ends_with("state    upstream_failed\n\nno attempt of it has started\n"), "{told:?}");
    let told = show("hottest", &["--map-index", "1"]);
    assert!(told.out.contains("task     hottest\nindex    1\nstate    running\n"), "{told:?}");
    show("hottest", &[])
        .contains(3, &["`hottest` is mapped, and no map index", "--map-index; there are 0, 1"]);
    show("hottest", &["--map-index", "7"]).contains(3, &["has no map index 7", "there are 0, 1"]);
    show("tell", &["--map-index", "0"]).contains(3, &["it is not mapped: leave --map-index out"]);
    show("nope", &[]).contains(3, &["has no task `nope`", "without --task-id shows its tasks"]);
    let none = show("nope", &["--json"]);
    assert_eq!((none.code, &none.json()["task_id"]), (3, &json!("nope")));
    let run = ["run", "show", "--dag-id", "weather", "--run-id", "r9", "--task-id", "load"];
    shell.run(&run).contains(3, &["has no run `r9`", "`excom run list`"]);
    Shell::new().run(&run).contains(3, &["nothing was ever pushed in the home"]);
    let alone = ["run", "show", "--dag-id", "weather", "--run-id", "r1", "--map-index", "1"];
    shell.run(&alone).contains(2, &["--task-id"]);
}

#[test]
fn a_task_that_may_read_only_its_own_run_sees_nothing_of_others() {
    let shell = weather();
    shell.file("excom.toml", "[xcom]\nreads = \"run\"\n");
    let inside = shell
        .with("EXCOM_DAG_ID", "weather")
        .with("EXCOM_RUN_ID", "r2")
        .with("EXCOM_TASK_ID", "tell")
        .with("EXCOM_ATTEMPT_ID", "019aa2b4-5c3e-7a10-8d6f-2f6b1c0a9e11");
    let told = inside.run(&LOAD);
    assert!(told.code == 5 && !told.out.contains("peaks"), "{told:?}");
}
