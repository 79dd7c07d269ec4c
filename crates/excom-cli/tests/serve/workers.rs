//! Airflow's own supervisor executes the tasks of Airflow's own examples, with `excom serve` as the only server: they
//! leave the same XComs as under `airflow dags test`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;

use excom_testkit::python::Python;
use excom_testkit::skip::skipped;
use serde_json::{Value as Json, json};

use crate::{Served, excom};

pub(crate) const RUN_DAG: &str = include_str!("../../../../conformance/run_dag.py");
const XCOMS: &str = include_str!("../../../../conformance/xcoms.py");

/// Copies files of the examples that come with Airflow, without importing it.
const COPY: &str = "
import importlib.util, pathlib, shutil, sys
airflow = pathlib.Path(importlib.util.find_spec('airflow').origin).parent
for file in sys.argv[2:]:
    shutil.copy(airflow / 'example_dags' / file, sys.argv[1])
";

/// Files of the examples with the DAGs in them.
const EXAMPLES: [(&str, &[&str]); 5] = [
    ("example_xcom.py", &["example_xcom"]),
    ("example_xcomargs.py", &["example_xcom_args", "example_xcom_args_with_operators"]),
    ("tutorial_taskflow_api.py", &["tutorial_taskflow_api"]),
    (
        "example_dynamic_task_mapping.py",
        &["example_dynamic_task_mapping", "example_task_mapping_second_order"],
    ),
    (
        "example_dynamic_task_mapping_with_no_taskflow_operators.py",
        &["example_dynamic_task_mapping_with_no_taskflow_operators"],
    ),
];

/// XComs by DAG, task, map index and key.
type XComs = BTreeMap<(String, String, i64, String), Json>;

/// What `airflow dags test` leaves.
fn in_airflow(python: &Python, home: &Path) -> Result<XComs, String> {
    python.airflow(home, &["db", "migrate"])?;
    for (file, dags) in EXAMPLES {
        let file = home.join("dags").join(file).display().to_string();
        for dag in dags {
            python.airflow(home, &["dags", "test", dag, "2026-11-21T10:00:00", "--dagfile-path", &file])?;
        }
    }
    let output = home.join("xcoms.json");
    let told = python.run(XCOMS).arg(home.join("airflow.db")).arg(&output).output().unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let lines = fs::read_to_string(output).unwrap();
    let row = |line: &str| {
        let (dag, task, index, key, value): (String, String, i64, String, Json) =
            serde_json::from_str(line).unwrap();
        ((dag, task, index, key), value)
    };
    Ok(lines.lines().map(row).collect())
}

/// What the supervisor leaves with Excom behind it.
fn in_excom(
    python: &Python,
    dags: &Path,
    home: &Path,
    files: &[(&str, &[&str])],
    settings: &[(&str, &str)],
) -> XComs {
    let server = Served::set(home, settings);
    for (file, names) in files {
        for dag in *names {
            let mut command = python.run(RUN_DAG);
            command.args([&server.address, &server.token]).arg(dags.join(file)).args([dag, "manual__1"]);
            command.env("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "sqlite://");
            command.env("AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL", "1");
            command.env("AIRFLOW__CORE__LOAD_EXAMPLES", "False");
            let output = command.output().unwrap();
            let (out, err) =
                (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success(), "{dag}: {out}{err}");
        }
    }
    assert!(server.stop().success());
    let listed = excom(home).args(["--json", "xcom", "list", "--limit", "1000"]).output().unwrap();
    let listed: Json = serde_json::from_slice(&listed.stdout).unwrap();
    let text = |entry: &Json, name: &str| entry[name].as_str().unwrap().to_owned();
    let row = |entry: &Json| {
        let (dag, run, task) = (text(entry, "dag_id"), text(entry, "run_id"), text(entry, "task_id"));
        let (index, key) = (entry["map_index"].as_i64().unwrap(), text(entry, "key"));
        let mut pull = excom(home);
        pull.args(["xcom", "pull", "--dag-id", &dag, "--run-id", &run, "--task-id", &task, "--key", &key]);
        let value = pull.arg(format!("--map-index={index}")).output().unwrap();
        ((dag, task, index, key), serde_json::from_slice(&value.stdout).unwrap_or(json!("not JSON")))
    };
    listed["items"].as_array().unwrap().iter().map(row).collect()
}

#[test]
fn airflows_examples_leave_the_same_xcoms() {
    let python = match Python::with_airflow() {
        Ok(python) => python,
        Err(why) => return skipped("workers::airflows_examples_leave_the_same_xcoms", &why),
    };
    let folder = tempfile::tempdir().unwrap();
    let dags = folder.path().join("dags");
    fs::create_dir(&dags).unwrap();
    let files = EXAMPLES.map(|(file, _)| file);
    assert!(python.run(COPY).arg(&dags).args(files).status().unwrap().success());
    // Both take a minute, and one processor each.
    let (theirs, ours) = thread::scope(|scope| {
        let theirs = scope.spawn(|| in_airflow(&python, folder.path()).unwrap());
        let ours = in_excom(&python, &dags, &folder.path().join("home"), &EXAMPLES, &[]);
        (theirs.join().unwrap(), ours)
    });
    assert!(theirs.len() >= 20, "{theirs:?}");
    assert_eq!(ours, theirs);
}

/// `airflow dags test` is no reference here: it loses the arguments that a deferred task goes on with.
/// What a DAG of `waits.py` leaves; none where there is no Airflow.
fn waited(test: &str, dag: &str) -> Option<XComs> {
    let python = Python::with_airflow().inspect_err(|why| skipped(test, why)).ok()?;
    let folder = tempfile::tempdir().unwrap();
    let dags = folder.path().join("dags");
    fs::create_dir(&dags).unwrap();
    fs::write(dags.join("waits.py"), include_str!("../../../../conformance/waits.py")).unwrap();
    Some(in_excom(&python, &dags, &folder.path().join("home"), &[("waits.py", &[dag])], &[]))
}

#[test]
fn tasks_that_wait_go_on_with_what_they_put_down() {
    let Some(left) = waited("workers::tasks_that_wait_go_on_with_what_they_put_down", "waits") else {
        return;
    };
    let of = |task: &str, key: &str| &left[&("waits".into(), task.into(), -1, key.into())];
    let given = json!([1, 2.5, "é", {"nested": null}]);
    assert_eq!(*of("deferred", "return_value"), json!({"given": given, "before": "kept", "fired": true}));
    assert_eq!(*of("deferred", "before"), json!("kept"));
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn what_a_task_keeps_is_there_for_its_next_try() {
    let Some(left) = waited("workers::what_a_task_keeps_is_there_for_its_next_try", "keeps") else { return };
    let place = ("keeps".to_owned(), "fails_once".to_owned(), -1, "return_value".to_owned());
    let all = XComs::from([(place, json!({"gone": null, "cursor": {"page": 7}}))]);
    assert_eq!(left, all, "what the first try pushed is cleared");
}

#[test]
fn tasks_get_connections_as_hooks_and_templates_take_them() {
    let python = match Python::with_airflow() {
        Ok(python) => python,
        Err(why) => {
            return skipped("workers::tasks_get_connections_as_hooks_and_templates_take_them", &why);
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let dags = folder.path().join("dags");
    fs::create_dir(&dags).unwrap();
    fs::write(dags.join("connections.py"), include_str!("../../../../conformance/connections.py")).unwrap();
    let file = folder.path().join("connections.json");
    fs::write(&file, r#"{"files": {"conn_type": "sftp", "host": "files.example"}}"#).unwrap();
    let settings = [
        ("AIRFLOW_CONN_MY_DB", "postgresql://ana:p%40ss@db.example:5432/rows?sslmode=require"),
        ("EXCOM__SERVER__CONNECTIONS", file.to_str().unwrap()),
    ];
    let files: [(&str, &[&str]); 1] = [("connections.py", &["connections"])];
    let left = in_excom(&python, &dags, &folder.path().join("home"), &files, &settings);
    let of = |task: &str| &left[&("connections".into(), task.into(), -1, "return_value".into())];
    let taken =
        json!(["my_db", "postgres", "db.example", "rows", "ana", "p@ss", 5432, {"sslmode": "require"}]);
    assert_eq!(*of("taken"), taken);
    assert_eq!((of("missing"), of("rendered")), (&json!("not found"), &json!("files.example:none")));
}

#[test]
fn a_task_triggers_runs_looks_at_those_before_and_asks_people() {
    let python = match Python::with_airflow() {
        Ok(python) => python,
        Err(why) => {
            return skipped("workers::a_task_triggers_runs_looks_at_those_before_and_asks_people", &why);
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let dags = folder.path().join("dags");
    fs::create_dir(&dags).unwrap();
    fs::write(dags.join("triggers.py"), include_str!("../../../../conformance/triggers.py")).unwrap();
    let files: [(&str, &[&str]); 1] = [("triggers.py", &["triggers"])];
    let home = folder.path().join("home");
    let left = in_excom(&python, &dags, &home, &files, &[]);
    let of = |dag: &str, task: &str, key: &str| left.get(&(dag.into(), task.into(), -1, key.into())).cloned();
    assert_eq!(of("triggers", "trigger_1", "trigger_run_id"), Some(json!("triggered__1")));
    assert_eq!(of("triggers", "again", "trigger_run_id"), None, "it is there already");
    assert_eq!(of("triggers", "counted", "return_value"), Some(json!([2, 2, "queued"])));
    let approved = of("triggers", "approved", "return_value").unwrap();
    assert_eq!(
        (&approved["chosen_options"], &approved["params_input"]),
        (&json!(["Approve"]), &json!({"inches": 3}))
    );
    // What was listed does not tell runs apart, so this is asked for by run.
    let mut pull = excom(&home);
    pull.args(["xcom", "pull", "--dag-id", "triggered", "--task-id", "looks", "--key", "return_value"]);
    let looks = |pull: &mut std::process::Command, run: &str| -> Json {
        serde_json::from_slice(&pull.args(["--run-id", run]).output().unwrap().stdout).unwrap()
    };
    let second = looks(&mut pull, "triggered__2");
    let before = json!(["triggered__1", "success", 1]);
    let told = json!({
        "conf": {"n": 2}, "date": "2026-11-02T00:00:00+00:00", "run": "triggered__1", "instance": before, "dag": false,
    });
    assert_eq!(second, told);
}

#[test]
fn a_task_reads_the_events_of_assets_that_others_made() {
    let python = match Python::with_airflow() {
        Ok(python) => python,
        Err(why) => return skipped("workers::a_task_reads_the_events_of_assets_that_others_made", &why),
    };
    let folder = tempfile::tempdir().unwrap();
    let dags = folder.path().join("dags");
    fs::create_dir(&dags).unwrap();
    fs::write(dags.join("assets.py"), include_str!("../../../../conformance/assets.py")).unwrap();
    let files: [(&str, &[&str]); 1] = [("assets.py", &["assets"])];
    let left = in_excom(&python, &dags, &folder.path().join("home"), &files, &[]);
    let read = left.get(&("assets".into(), "reads".into(), -1, "return_value".into()));
    let expected = json!({
        "rows": [{"count": 3, "é": null}, {"count": 4}], "last": {"count": 4},
        "by": ["assets", "makes_more", "manual__1", -1],
        "found": [["part", "file://part/", {"part": 1}, {"size": 7}]], "part": {"size": 7}, "none": [],
    });
    assert_eq!(read, Some(&expected), "{left:?}");
}
