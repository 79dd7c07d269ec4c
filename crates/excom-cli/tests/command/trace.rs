//! `excom trace`.

use excom::{Caller, PullOptions, TaskInstanceKey, Value};
use serde_json::json;

use crate::Shell;

const TELL: [&str; 6] = ["--dag-id", "weather", "--run-id", "r1", "--task-id", "tell"];

/// `count` by hand, read by `hottest`, which is read by `tell`.
fn chain() -> Shell {
    let shell = Shell::new();
    shell.pushed(&["24"]);
    let engine = shell.engine();
    pollster::block_on(async {
        let ti = |task| TaskInstanceKey::new("weather", "r1", task, -1);
        let mut before = ti("count")?;
        for task in ["hottest", "tell"] {
            let me = Caller::Attempt(engine.start(&ti(task)?, 1).await?);
            engine.pull(&me, &[before.return_value()], PullOptions::default()).await?;
            engine.push(&me, &ti(task)?.return_value(), Value::of(&34.0)?.into()).await?;
            before = ti(task)?;
        }
        engine.close().await
    })
    .unwrap();
    shell
}

#[test]
fn a_trace_goes_backwards() {
    let shell = chain();
    let told = shell.run(&[&["trace"], &TELL[..]].concat());
    let lines: Vec<&str> = told.out.lines().collect();
    assert_eq!((told.code, lines.len()), (0, 3), "{told:?}");
    assert!(lines[0].starts_with("weather/r1/tell `return_value` = 34.0 (4 bytes, pushed at 20"), "{told:?}");
    assert!(lines[0].ends_with(" by try 1)"), "{told:?}");
    assert!(lines[1].starts_with("└── hottest `return_value` = 34.0"), "{told:?}");
    assert!(lines[2].starts_with("    └── count `return_value` = 24 "), "{told:?}");
    assert!(lines[2].ends_with(" by user ana)"), "{told:?}");
    let told = shell.run(&[&["trace", "--depth", "1"], &TELL[..]].concat());
    assert_eq!(told.out.lines().count(), 2);
    assert!(
        told.out.ends_with(" by try 1) (…)\n") && told.err.contains("--depth shows more levels"),
        "{told:?}"
    );
    let document = shell.run(&[&["trace", "--json"], &TELL[..]].concat()).json();
    assert_eq!(document["direction"], "backwards");
    let origin = &document["trace"]["children"][0]["children"][0];
    assert_eq!((&origin["node"], &origin["task_id"]), (&json!("version"), &json!("count")));
    assert_eq!((&origin["preview"], &origin["writer"]), (&json!("24"), &json!({"user": "ana"})));
}

#[test]
fn a_trace_goes_forwards() {
    let shell = chain();
    let told = shell.run(&[&["trace", "--forwards"], &crate::COUNT[..]].concat());
    let lines: Vec<&str> = told.out.lines().collect();
    assert_eq!((told.code, lines.len()), (0, 5), "{told:?}");
    assert!(lines[1].starts_with("└── read by task hottest, try 1: 1 time, first at"), "{told:?}");
    assert!(lines[2].starts_with("    └── hottest `return_value`"), "{told:?}");
    assert!(lines[4].starts_with("            └── tell `return_value`"), "{told:?}");
    shell.run(&[&["trace", "--forwards"], &TELL[..]].concat()).contains(0, &["nobody read it"]);
    shell
        .run(&[&["trace", "--forwards", "--backwards"], &TELL[..]].concat())
        .contains(2, &["cannot be used"]);
}

#[test]
fn what_is_too_much_for_one_place_is_told() {
    let shell = Shell::new();
    shell.pushed(&["24"]);
    let engine = shell.engine();
    pollster::block_on(async {
        let count = TaskInstanceKey::new("weather", "r1", "count", -1)?.return_value();
        for map_index in 0..22 {
            let ti = TaskInstanceKey::new("weather", "r1", "mapped", map_index)?;
            let me = Caller::Attempt(engine.start(&ti, 1).await?);
            engine.pull(&me, std::slice::from_ref(&count), PullOptions::default()).await?;
        }
        engine.close().await
    })
    .unwrap();
    let told = shell.run(&[&["trace", "--forwards"], &crate::COUNT[..]].concat());
    assert!(told.out.ends_with("└── and 2 more\n"), "{told:?}");
    told.contains(0, &["not all is shown: --children shows more at each place"]);
    let told = shell.run(&[&["trace", "--forwards", "--children", "22"], &crate::COUNT[..]].concat());
    assert_eq!((told.out.lines().count(), &*told.err), (23, ""));
    shell.run(&[&["trace", "--children", "0"], &crate::COUNT[..]].concat()).contains(2, &["--children"]);
}

#[test]
fn earlier_versions_and_nothing_are_told() {
    let shell = chain();
    let history = shell.count("history", &["--json"]).json();
    let first = history["current"]["version"].as_str().unwrap().to_owned();
    shell.pushed(&["25"]);
    let told = shell.run(&[&["trace", "--version", &first], &crate::COUNT[..]].concat());
    assert!(told.out.contains("= 24 ") && told.out.contains("; replaced at "), "{told:?}");
    told.contains(0, &["nothing was read before by whoever pushed it"]);
    let unknown = [&["trace", "--version", "00000000000000ff"], &crate::COUNT[..]].concat();
    shell.run(&unknown).contains(3, &["has no version 00000000000000ff", "`excom xcom history` shows"]);
    shell.run(&[&["trace", "--version", "x"], &crate::COUNT[..]].concat()).contains(1, &["is not a version"]);
    let missing = [&["trace", "--key", "rows"], &crate::COUNT[..]].concat();
    shell.run(&missing).contains(3, &["never pushed `rows`"]);
    shell.run(&["trace"]).contains(2, &["no --dag-id is given"]);
    let empty = Shell::new();
    empty.run(&[&["trace"], &TELL[..]].concat()).contains(3, &["nothing was ever pushed in the home"]);
}
