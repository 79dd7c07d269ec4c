//! What a task of Airflow's own SDK sees of each answer: a value, none, an error at once, or one after its supervisor has
//! tried again.

use std::fs;
use std::path::{Path, PathBuf};

use excom_testkit::python::Python;
use excom_testkit::skip::skipped;
use serde_json::{Value as Json, json};

use crate::workers::RUN_DAG;
use crate::{Served, excom};

/// How often a supervisor tries what can be tried again, and how long it waits in between; otherwise that takes minutes.
const PATIENCE: [(&str, &str); 3] = [
    ("AIRFLOW__WORKERS__EXECUTION_API_RETRIES", "3"),
    ("AIRFLOW__WORKERS__EXECUTION_API_RETRY_WAIT_MIN", "0.01"),
    ("AIRFLOW__WORKERS__EXECUTION_API_RETRY_WAIT_MAX", "0.05"),
];

/// What a task sees.
#[derive(Debug, Clone, PartialEq)]
enum Saw {
    Value(Json),
    /// Also where nothing is known of the task.
    None,
    /// An exception with the status, after so many requests.
    Error(u64, u64),
}

/// Every answer to a pull in the order of the DAG, and to a push that comes too late.
fn expected() -> Vec<(&'static str, Saw)> {
    let answers = [
        ("found", Saw::Value(json!(365))),
        ("null", Saw::None),
        ("missing", Saw::None),
        ("not_yet", Saw::None),
        ("skipped", Saw::None),
        ("cleared", Saw::None),
        ("expired", Saw::Error(410, 1)),
        ("forbidden", Saw::Error(403, 1)),
        ("corrupt", Saw::Error(422, 1)),
        ("lost", Saw::Error(410, 1)),
        ("unavailable", Saw::Error(503, 3)),
    ];
    answers.into_iter().chain([("superseded", Saw::Error(409, 1))]).collect()
}

/// A line of what was seen.
fn row(line: &str) -> (String, Saw) {
    let line: Json = serde_json::from_str(line).unwrap();
    let number = |name: &str| line[name].as_u64().unwrap_or_else(|| panic!("{line}"));
    let saw = match &line["value"] {
        Json::Null if line.get("error").is_some() => {
            assert_eq!(line["error"], "AirflowRuntimeError", "{line}");
            Saw::Error(number("status"), number("requests"))
        }
        value => {
            assert_eq!(number("requests"), 1, "{line}");
            if value.is_null() { Saw::None } else { Saw::Value(value.clone()) }
        }
    };
    (line["answer"].as_str().unwrap().to_owned(), saw)
}

/// The one file below a folder whose path has a part.
fn file(folder: &Path, part: &str) -> PathBuf {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.display().to_string().contains(part) {
                return path;
            }
        }
    }
    panic!("no value of {part} is stored");
}

/// Pushes what is pulled, and does to it what can be done to values.
fn fill(home: &Path) {
    let command =
        |arguments: &[&str]| assert!(excom(home).args(arguments).output().unwrap().status.success());
    let about = |what: &str, task: &str, value: &[&str]| {
        let names = ["xcom", what, "--dag-id", "answers", "--run-id", "manual__1", "--task-id", task];
        command(&[&names, value].concat());
    };
    about("push", "expired", &["1"]);
    command(&["prune", "--set", "xcom.retention=0s"]);
    about("push", "found", &["365"]);
    about("push", "null", &["null"]);
    about("push", "cleared", &["1"]);
    about("clear", "cleared", &[]);
    let large = json!("x".repeat(100_000)).to_string();
    for task in ["corrupt", "lost", "away"] {
        about("push", task, &[&large]);
    }
    let of = |task: &str| file(&home.join("values"), task);
    let corrupt = of("corrupt");
    let mut bytes = fs::read(&corrupt).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(corrupt, bytes).unwrap();
    fs::remove_file(of("lost")).unwrap();
    // It cannot be read as a file, which the store takes for the disk's fault.
    let away = of("away");
    fs::remove_file(&away).unwrap();
    fs::create_dir(away).unwrap();
}

#[test]
fn a_task_sees_each_answer_for_what_it_is() {
    let python = match Python::with_airflow() {
        Ok(python) => python,
        Err(why) => return skipped("answers::a_task_sees_each_answer_for_what_it_is", &why),
    };
    let folder = tempfile::tempdir().unwrap();
    let (home, seen) = (folder.path().join("home"), folder.path().join("seen.jsonl"));
    fill(&home);
    let server = Served::start_with(&home, &[("EXCOM__XCOM__READS", "run")]);
    let dag =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/answers.py").canonicalize().unwrap();
    let mut run = python.run(RUN_DAG);
    run.args([&server.address, &server.token]).arg(dag).args(["answers", "manual__1"]).envs(PATIENCE);
    run.env("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "sqlite://").env("AIRFLOW__CORE__LOAD_EXAMPLES", "False");
    run.env("EXCOM_SERVER", &server.address).env("EXCOM_TOKEN", &server.token).env("EXCOM_SEEN", &seen);
    let told = run.output().unwrap();
    let said =
        || format!("{}{}", String::from_utf8_lossy(&told.stdout), String::from_utf8_lossy(&told.stderr));
    assert!(told.status.success(), "{}", said());
    let seen = fs::read_to_string(&seen).unwrap_or_else(|_| panic!("{}", said()));
    let (slices, single): (Vec<_>, Vec<_>) =
        seen.lines().map(row).partition(|(answer, _)| answer.ends_with(", in a slice"));
    let named = |rows: Vec<(&'static str, Saw)>| -> Vec<(String, Saw)> {
        rows.into_iter().map(|(answer, saw)| (answer.to_owned(), saw)).collect()
    };
    assert_eq!(single, named(expected()), "{}", said());
    let slices: Vec<_> =
        slices.into_iter().map(|(answer, saw)| (answer.replace(", in a slice", ""), saw)).collect();
    let mut pulls = expected();
    pulls.pop();
    assert_eq!(slices, named(pulls), "{}", said());
    assert!(server.stop().success());
}
