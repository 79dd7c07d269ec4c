//! A real Airflow: it writes what was recorded, and reads what Excom writes.

use std::path::Path;

use excom_testkit::python::Python;
use excom_testkit::skip::skipped;
use serde::Deserialize;

use crate::recorded::RECORDED;
use crate::table::table;

/// What Airflow found of a value that Excom wrote.
#[derive(Deserialize)]
struct Found {
    name: String,
    wrong: Option<String>,
}

#[test]
fn airflow_writes_what_was_recorded_and_reads_what_excom_writes() {
    let python = match Python::with_airflow() {
        Ok(python) => python,
        Err(why) => {
            return skipped("airflow_writes_what_was_recorded_and_reads_what_excom_writes", &why);
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let [airflows, ours, found] =
        ["airflows.jsonl", "ours.jsonl", "found.jsonl"].map(|name| folder.path().join(name));
    let lines = table().into_iter().map(|row| {
        let name = serde_json::to_string(row.name).unwrap();
        format!("{{\"name\": {name}, \"json\": {}}}\n", row.written.as_str())
    });
    std::fs::write(&ours, lines.collect::<String>()).unwrap();

    let output = python
        .run("import sys, values; values.write(sys.argv[1]); values.read(sys.argv[2], sys.argv[3])")
        .args([&airflows, &ours, &found])
        .env("PYTHONPATH", Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("AIRFLOW__CORE__ALLOWED_DESERIALIZATION_CLASSES", "airflow.* values.*")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    assert_eq!(std::fs::read_to_string(airflows).unwrap(), RECORDED);
    let found = std::fs::read_to_string(found).unwrap();
    let found: Vec<Found> = found.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(found.len(), table().len());
    for Found { name, wrong } in found {
        assert_eq!(wrong, None, "Airflow reads what Excom wrote for `{name}` as another value");
    }
}
