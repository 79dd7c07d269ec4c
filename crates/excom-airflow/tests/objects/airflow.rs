//! A real Airflow: Excom reads what it writes, and it reads what Excom writes.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use excom_airflow::objects::{AirflowObjects, Compression, Options};
use excom_core::backend::{Object, Placement};
use excom_core::{Caller, Engine, Payload, Value, XComBackend as _, memory};
use excom_testkit::python::Python;
use excom_testkit::skip::skipped;
use serde::Deserialize;

use crate::{all, backend, files, pusher, written};

/// What Airflow found behind a reference.
#[derive(Deserialize)]
struct Found {
    name: String,
    wrong: Option<String>,
}

#[test]
fn objects_go_both_ways_between_airflow_and_excom() {
    let python = match Python::with_airflow() {
        Ok(python) => python,
        Err(why) => return skipped("objects_go_both_ways_between_airflow_and_excom", &why),
    };
    let folder = tempfile::tempdir().unwrap();
    let base = format!("file://{}/base", folder.path().display());
    let store = files(&folder.path().join("base"));
    let [airflows, ours, found] =
        ["airflows.jsonl", "ours.jsonl", "found.jsonl"].map(|name| folder.path().join(name));
    let run = |code: &str, files: &[&Path]| {
        let output = python
            .run(code)
            .arg(&base)
            .args(files)
            .env("PYTHONPATH", Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/objects"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };

    run("import sys, objects; objects.write(*sys.argv[1:])", &[&airflows]);
    let rows = written(&fs::read_to_string(&airflows).unwrap());
    let mut lines = String::new();
    for row in &rows {
        let compression: Compression = row.compression.parse().unwrap();
        let ti = pusher(&row.name);

        // Airflow's is read, and purged as Airflow would.
        let reading = backend(store.clone(), &base, Compression::None);
        let reference = Value::of(&row.reference).unwrap();
        let read = pollster::block_on(reading.resolve(&ti, reference)).unwrap();
        assert_eq!(String::from_utf8(all(read).unwrap()).unwrap(), row.text, "{}", row.reference);

        // The same value in another text is as long for Airflow's threshold.
        let value: serde_json::Value = serde_json::from_str(&row.text).unwrap();
        let compact = Value::of(&value).unwrap();
        for (more, placement) in [(0, Placement::Offload("files")), (1, Placement::Inline)] {
            let threshold = i64::try_from(row.text.len()).unwrap() + more;
            let options = Options { threshold, inline_limit: 2 << 20, ..Options::default() };
            let backend = AirflowObjects::new(store.clone(), base.parse().unwrap(), options);
            // serde_json makes a float of 2**70.
            if row.name != "numbers" {
                assert_eq!(backend.placement(&ti.return_value(), Some(&compact)), placement, "{}", row.name);
            }
            let as_written = Value::parse(row.text.clone()).unwrap();
            assert_eq!(backend.placement(&ti.return_value(), Some(&as_written)), placement, "{}", row.name);
        }

        // And ours is written.
        let value = if row.name == "numbers" { Value::parse(row.text.clone()).unwrap() } else { compact };
        let writing = backend(store.clone(), &base, compression);
        let payload = if row.name == "large" { memory::streamed(&value) } else { value.into() };
        let reference = push(writing, &row.name, payload);
        lines += &format!("{{\"name\": \"{}\", \"reference\": {}}}\n", row.name, reference.as_str());
    }
    fs::write(&ours, lines).unwrap();

    run("import sys, objects; objects.read(*sys.argv[1:])", &[&ours, &found]);
    let found = fs::read_to_string(found).unwrap();
    let found: Vec<Found> = found.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(found.len(), rows.len());
    for Found { name, wrong } in found {
        assert_eq!(wrong, None, "Airflow reads what Excom wrote for `{name}` as another value");
    }
    let mut left: Vec<String> =
        pollster::block_on(store.list(None, 1000)).unwrap().iter().map(ToString::to_string).collect();
    let mut airflows: Vec<String> =
        rows.iter().map(|row| row.reference[base.len() + 1..].to_owned()).collect();
    left.sort();
    airflows.sort();
    assert_eq!(left, airflows, "Airflow purged what Excom wrote, and nothing else");
}

/// Pushes a value through an engine, and tells what Airflow's database would hold for it.
fn push(backend: AirflowObjects, name: &str, value: Payload) -> Value {
    let backend = Arc::new(backend);
    let engine = Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new()))
        .backend(backend.clone())
        .build();
    let key = pusher(name).return_value();
    let receipt = pollster::block_on(engine.push(&Caller::user("ana"), &key, value)).unwrap();
    assert!(receipt.offloaded);
    let object =
        Object { key: &key, version: receipt.version, store: "files", codec: backend.codec(), key_id: "" };
    backend.reference(&object).unwrap()
}
