//! What the program shows: events as JSON, drawings, tasks, XComs, completions.

use serde_json::Value as Json;

use crate::{Shell, Told};

fn lines(told: &Told) -> Vec<Json> {
    told.out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect()
}

#[test]
fn events_have_standard_output_for_themselves() {
    let shell = Shell::new();
    let told = shell.steps(&["--json"]).code(0);
    let events = lines(&told);
    assert_eq!(events.first().unwrap()["event"], "run_started");
    assert_eq!(events.last().unwrap()["event"], "run_finished");
    assert_eq!(told.err, "printed by a task\n");

    shell.make("fail");
    let told = shell.run(&["rerun", "--dag", "steps", "check", "--json"]).code(1);
    assert_eq!(lines(&told).last().unwrap()["state"], "failed");
    told.has(&["rerun --failed --run-id r1 --dag steps"]);
}

#[test]
fn a_dag_is_drawn_in_three_formats() {
    let shell = Shell::new();
    let text = shell.run(&["graph", "--dag", "shapes"]).code(0);
    text.has(&[
        "shapes: 8 tasks",
        "     load           a group\n",
        "     number[]       a group, once for each element\n",
        "double_of[]",
        "end",
        "(none_failed)",
        "(teardown)",
    ]);
    let mermaid = shell.run(&["graph", "--dag", "shapes", "--format", "mermaid"]).code(0);
    mermaid.has(&["flowchart LR\n", "subgraph g0[\"load\"]", "[[\"double_of[]\"]]", "-.->"]);
    let svg = shell.run(&["graph", "--format", "svg", "--dag", "shapes"]).code(0);
    assert!(svg.out.starts_with("<svg ") && svg.out.trim_end().ends_with("</svg>"), "{}", svg.out);
    assert!(!shell.home().exists(), "drawing needs no home");
}

#[test]
fn tasks_are_listed_with_how_they_are_run() {
    let shell = Shell::new();
    shell.run(&["tasks", "--dag", "shapes"]).code(0).has(&[
        "trigger rule",
        "none_failed",
        "number.double_of",
    ]);
    let told = shell.run(&["tasks", "--dag", "shapes", "--json"]).code(0);
    let tasks: Vec<Json> = serde_json::from_str(&told.out).unwrap();
    let end = tasks.iter().find(|task| task["task_id"] == "end").unwrap();
    assert_eq!(
        (&end["operator"], &end["retries"], &end["mapped"]),
        (&"Bash".into(), &2.into(), &false.into())
    );
    assert_eq!(end["trigger_rule"], "none_failed");
    assert_eq!(end["upstream"].as_array().unwrap().len(), 3);
}

#[test]
fn xcoms_are_those_of_the_newest_run_unless_told() {
    let shell = Shell::new();
    shell.run(&["xcoms", "--dag", "steps"]).code(1).has(&["has no runs yet"]);
    assert!(!shell.home().exists(), "looking makes nothing");
    shell.steps(&["--count", "2"]).code(0);
    shell.run(&["--dag", "steps", "--folder", ".", "--run-id", "r2"]).code(0);
    let newest = shell.run(&["xcoms", "--dag", "steps"]).code(0);
    newest.has(&["XComs of run r2", "double[2]", "\"the sum is 6\""]);
    let told =
        shell.run(&["xcoms", "--dag", "steps", "--run-id", "r1", "--task-id", "check", "--json"]).code(0);
    let xcoms: Vec<Json> = serde_json::from_str(&told.out).unwrap();
    let mut keys: Vec<&str> = xcoms.iter().map(|xcom| xcom["key"].as_str().unwrap()).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["checked", "return_value"]);
}

#[test]
fn shells_complete_its_commands() {
    for shell in ["bash", "zsh", "fish"] {
        Shell::new().run(&["completions", shell]).code(0).has(&["test-task", "dag-program"]);
    }
}

#[test]
fn old_logs_go_at_the_end_of_a_run() {
    let shell = Shell::new().with("EXCOM__LOGGING__RETENTION", "12h");
    let old = shell.home().join("logs/dag_id=steps/run_id=old");
    std::fs::create_dir_all(&old).unwrap();
    let yesterday = std::time::SystemTime::now() - std::time::Duration::from_secs(86_400);
    std::fs::File::open(&old).unwrap().set_modified(yesterday).unwrap();
    shell.steps(&[]).code(0);
    assert!(!old.exists());
    assert!(shell.home().join("logs/dag_id=steps/run_id=r1").exists());
}
