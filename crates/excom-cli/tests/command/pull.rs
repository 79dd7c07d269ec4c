//! `excom xcom pull`, `get`, `list` and `history`.

use std::io::Read;
use std::process::Stdio;

use excom::core::db::DagRun;
use excom::{TaskInstanceKey, TaskState};
use serde_json::{Value as Json, json};

use crate::{COUNT, Shell, Told};

#[test]
fn without_a_value_it_says_why_and_what_is_near() {
    let shell = Shell::new();
    let task = ["--dag-id", "weather", "--run-id", "r1", "--task-id", "choose_table"];
    for key in ["return_value", "rows", "table_name"] {
        assert_eq!(shell.run(&[&["xcom", "push", "1", "--key", key], &task[..]].concat()), Told::nothing());
    }
    let wrong = ["xcom", "pull", "--dag-id", "weather", "--run-id", "r1", "--task-id", "choose_tabel"];
    assert_eq!(
        shell.run(&wrong),
        Told::err(
            3,
            "no value: task `choose_tabel` never pushed `return_value` in this run of weather\n  \
             nearest: task `choose_table` pushed `return_value`, `rows` and `table_name`\n"
        )
    );
    let told = shell.run(&[&wrong[..], &["--json"]].concat());
    assert_eq!(told.code, 3);
    let document = told.json();
    assert_eq!(document["answer"], "missing");
    assert_eq!(document["hints"].as_array().unwrap().len(), 1);
    assert_eq!(document["near"]["tasks"][0][0], "choose_table");
    shell.run(&[&["xcom", "pull", "--key", "row"], &task[..]].concat()).contains(3, &["pushed `rows`"]);
}

#[test]
fn reading_makes_nothing() {
    let shell = Shell::new();
    let told = shell.count("pull", &[]);
    told.contains(3, &["no value: ", "nothing was ever pushed in the home .excom (from default)"]);
    shell.run(&["xcom", "list"]).contains(0, &["no XComs match", "nothing was ever pushed"]);
    assert_eq!(shell.run(&["xcom", "list", "--json"]).json(), json!({"items": [], "next": null}));
    shell.count("history", &[]).contains(3, &["no value"]);
    shell.count("clear", &[]).contains(0, &["nothing to do"]);
    assert!(!shell.home().exists());
}

#[test]
fn a_default_stands_in_for_no_value_only() {
    let shell = Shell::new();
    assert_eq!(shell.count("pull", &["--default", "[-1]"]), Told::out("[-1]\n"));
    assert_eq!(shell.count("pull", &["--default", "-1"]), Told::out("-1\n"));
    assert_eq!(shell.count("pull", &["--default", "\"x\"", "--raw"]), Told::out("x\n"));
    let document = shell.count("pull", &["--default", "0", "--json"]).json();
    assert_eq!((&document["answer"], &document["value"]), (&"missing".into(), &0.into()));
    shell.count("pull", &["--default", "x"]).contains(2, &["--default: the value is not JSON"]);
    shell.pushed(&["null"]);
    assert_eq!(shell.count("pull", &["--default", "7"]), Told::out("null\n"));
}

#[test]
fn answers_by_the_state_of_the_task() {
    let shell = Shell::new();
    let engine = shell.engine();
    let ti = TaskInstanceKey::new("weather", "r1", "count", -1).unwrap();
    let set = |state| pollster::block_on(engine.set_states(&[(ti.clone(), state)])).unwrap();
    set(TaskState::Queued);
    shell.count("pull", &[]).contains(3, &["no value yet: task `count` is queued"]);
    set(TaskState::Skipped);
    let told = shell.count("pull", &["--json"]);
    assert_eq!((told.code, &told.json()["answer"]), (3, &"skipped".into()));
    set(TaskState::Success);
    shell.pushed(&["1"]);
    assert_eq!(shell.count("clear", &[]), Told::nothing());
    shell.count("pull", &[]).contains(3, &["was cleared at ", " by user ana\n"]);
}

#[test]
fn json_answers_carry_the_value_as_it_is() {
    let shell = Shell::new();
    shell.pushed(&[r#"{"n": 1.0, "m": 123456789012345678901234567890}"#]);
    let told = shell.count("pull", &["--json"]);
    assert!(told.out.contains(r#""value":{"n": 1.0, "m": 123456789012345678901234567890}}"#), "{told:?}");
    let document = told.json();
    assert_eq!(document["answer"], "found");
    assert_eq!(document["writer"], json!({"user": "ana"}));
    assert_eq!(document["key"]["map_index"], -1);
    assert_eq!(document["size"], 47);
}

#[test]
fn mapped_values_are_keyed_by_their_map_index() {
    let shell = Shell::new();
    for (index, value) in [("0", "20"), ("2", "[60]"), ("11", "null")] {
        shell.pushed(&["--map-index", index, value]);
    }
    assert_eq!(shell.count("pull", &["--all"]), Told::out("{\"0\": 20, \"2\": [60], \"11\": null}\n"));
    let document = shell.count("pull", &["--all", "--json"]).json();
    assert_eq!(document["length"], 12);
    assert_eq!(document["items"][1], json!({"map_index": 2, "value": [60]}));
    assert_eq!(shell.count("pull", &["--map-index", "2"]), Told::out("[60]\n"));
    shell
        .count("pull", &["--map-index", "1"])
        .contains(3, &["at map index 1", "other map indexes: 0, 2, 11"]);
    shell.count("pull", &[]).contains(3, &["map indexes of this mapped task: 0, 2, 11"]);

    let single = ["xcom", "push", "5", "--dag-id", "weather", "--run-id", "r1", "--task-id", "single"];
    assert_eq!(shell.run(&single), Told::nothing());
    let single = ["xcom", "pull", "--all", "--dag-id", "weather", "--run-id", "r1", "--task-id", "single"];
    assert_eq!(shell.run(&single), Told::out("{\"-1\": 5}\n"));
    shell.count("pull", &["--all", "--key", "nothing"]).contains(3, &["no value"]);
    shell.count("pull", &["--all", "--map-index", "1"]).contains(2, &["cannot be used with"]);
}

#[test]
fn an_earlier_run_stands_in_when_asked_for() {
    let shell = Shell::new();
    let engine = shell.engine();
    for (run_id, day) in [("r0", "2026-11-19T00:00:00Z"), ("r1", "2026-11-20T00:00:00Z")] {
        let at = day.parse().unwrap();
        let run = DagRun { logical_date: Some(at), ..DagRun::new("weather", run_id, at) };
        pollster::block_on(engine.register_run(&run)).unwrap();
    }
    let earlier = ["xcom", "push", "7", "--dag-id", "weather", "--run-id", "r0", "--task-id", "count"];
    assert_eq!(shell.run(&earlier), Told::nothing());
    assert_eq!(shell.count("pull", &[]).code, 3);
    assert_eq!(shell.count("pull", &["--include-prior-dates"]), Told::out("7\n"));
}

#[test]
fn get_shows_all_that_is_known() {
    let shell = Shell::new();
    shell.pushed(&["[1, 2]"]);
    let told = shell.count("get", &[]);
    let lines: Vec<&str> = told.out.lines().collect();
    assert_eq!(lines[0], "xcom     weather/r1/count `return_value`");
    assert!(lines[2].starts_with("pushed   20") && lines[2].ends_with("Z by user ana"), "{told:?}");
    assert_eq!(lines[3], "kind     list[2], 6 bytes");
    assert!(lines[4].starts_with("hash     xxh3:"));
    assert_eq!(lines[5..], ["where    in the metadata database", "value    [1, 2]"]);
    let document = shell.count("get", &["--json"]).json();
    assert_eq!(document["value"], json!([1, 2]));
    assert_eq!(document["hash"], lines[4].trim_start_matches("hash     "));
    shell.count("get", &["--key", "none"]).contains(3, &["nearest: `count` pushed `return_value`"]);
}

#[test]
fn lists_come_in_pages() {
    let shell = Shell::new();
    for index in 0..5 {
        shell.pushed(&["--map-index", &index.to_string(), "--key", "it's", &format!("\"value {index}\"")]);
    }
    let told = shell.run(&["xcom", "list", "--dag-id", "weather", "--run-id", "r1", "--task-id", "count"]);
    let lines: Vec<Vec<&str>> =
        told.out.lines().map(|line| line.split("  ").map(str::trim).collect()).collect();
    assert_eq!(told.out.lines().count(), 6, "{told:?}");
    assert_eq!(lines[0].iter().filter(|cell| !cell.is_empty()).count(), 7);
    assert!(told.out.contains("\"value 4\"") && told.out.contains("user ana"), "{told:?}");

    let mut seen = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut arguments = vec!["xcom", "list", "--limit", "2", "--json"];
        if let Some(after) = &after {
            arguments.extend(["--after", after]);
        }
        let page = shell.run(&arguments).json();
        seen.extend(page["items"].as_array().unwrap().iter().map(|item| item["map_index"].as_i64().unwrap()));
        match page["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!(seen, [0, 1, 2, 3, 4]);
    let told = shell.run(&["xcom", "list", "--limit", "2"]);
    assert!(told.err.starts_with("more behind these: repeat the command with --after '["), "{told:?}");
    assert!(told.err.contains(r"it'\''s"), "{told:?}");
    assert_eq!(
        shell.run(&["xcom", "list", "--map-index", "3", "--json"]).json()["items"][0]["preview"],
        "\"value 3\""
    );
    shell.run(&["xcom", "list", "--after", "nonsense"]).contains(2, &["--after has no place"]);
    shell.run(&["xcom", "list", "--limit", "0"]).contains(2, &["--limit"]);
}

#[test]
fn history_keeps_what_was_replaced() {
    let shell = Shell::new();
    shell.pushed(&["1"]);
    shell.pushed(&["[2]"]);
    let told = shell.count("history", &[]);
    let lines: Vec<&str> = told.out.lines().collect();
    assert_eq!(lines.len(), 3, "{told:?}");
    assert!(lines[1].contains("list[1]") && lines[1].contains("current"), "{told:?}");
    assert!(lines[2].contains("number") && lines[2].contains("replaced by user ana"), "{told:?}");
    let document = shell.count("history", &["--json"]).json();
    let (new, old) = (&document["current"]["version"], &document["past"][0]["version"]);
    assert_eq!(document["past"][0]["has_bytes"], true);
    // As times: the text of one may have fewer digits than that of another.
    let pushed_at = |entry: &Json| entry["pushed_at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(pushed_at(&document["current"]) >= pushed_at(&document["past"][0]));
    assert_eq!(shell.count("history", &["--version", old.as_str().unwrap()]), Told::out("1\n"));
    let printed = shell.count("history", &["--version", new.as_str().unwrap(), "--json"]).json();
    assert_eq!(printed["value"], json!([2]));
    assert_eq!(shell.count("history", &["--limit", "1"]).out.lines().count(), 2);
    let told = shell.count("history", &["--version", "0000000000000000"]);
    told.contains(
        3,
        &["no value: weather/r1/count `return_value` has no version 0000000000000000", "nearest"],
    );
    shell.count("history", &["--version", "zz"]).contains(1, &["`zz` is not a version"]);
}

#[test]
fn a_reader_that_stops_reading_is_no_error() {
    let shell = Shell::new();
    let large = format!("\"{}\"", "x".repeat(5_000_000));
    assert_eq!(shell.count_with("push", &["-"], large.as_bytes()), Told::nothing());
    let arguments = [&["xcom", "pull"], &COUNT[..]].concat();
    let mut child = shell.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}

#[test]
#[cfg(target_os = "linux")]
fn an_answer_that_cannot_be_written_is_an_error() {
    let shell = Shell::new();
    shell.pushed(&["1"]);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let arguments = [&["xcom", "pull"], &COUNT[..]].concat();
    let told = Told::from(shell.command(&arguments).stdout(full).stderr(Stdio::piped()).output().unwrap());
    told.contains(1, &["error: the answer cannot be written to standard output"]);
}
