//! A real Airflow: its tasks push what Excom reads, and read what Excom pushed; its models and its REST API write past
//! Excom, which is noticed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use excom_core::attempt::Attempt;
use excom_core::db::RunFilter;
use excom_core::{Answer, Caller, Engine, PullOptions, TaskInstanceKey, Value, XComKey, memory};

use crate::support::Database;

/// Texts that `jsonb`, or a column of SQLite's, would give back as they are, and others.
const TEXTS: [&str; 16] = [
    "1",
    "1.0",
    "-0.0",
    "1e3",
    "123456789012345678901234567890",
    "\"\"",
    "\"\\ud83d\\ude00 é \\u0001 \\/ \\n\"",
    "[]",
    "{}",
    "[1]",
    "{\"b\": 1, \"a\": [2, null], \"b\": 3}",
    " [1 ,2] ",
    "false",
    "{\"$excom\":\"reference-1\",\"version\":\"0000000000000000\"}",
    "{\"a\":1,\"b\":{\"c\":[{\"x\":\"y, z: \\\" \"}]},\"aa\":null}",
    "\"{\\\"a\\\": 1}\"",
];

/// Whether a real task can push and pull it: the worker's own protocol holds integers of 64 bits only.
fn is_for_tasks((_, text): &(usize, &str)) -> bool {
    !text.contains("1234567890123")
}

fn engine(database: &Database) -> (Engine, Arc<memory::Store>) {
    let store = Arc::new(memory::Store::new());
    let engine = Engine::builder(Arc::new(database.open()), Arc::new(memory::Clock::new()))
        .backend(Arc::new(memory::Backend::new(store.clone(), 100_000).sealing()))
        .keys(excom_core::seal::SealKeys::new("k1", [7; 32]))
        .build();
    (engine, store)
}

fn pull(engine: &Engine, key: &XComKey) -> Answer {
    let keys = std::slice::from_ref(key);
    pollster::block_on(engine.pull(&Caller::user("ana"), keys, PullOptions::default())).unwrap().remove(0)
}

fn text(answer: &Answer) -> String {
    answer.found().unwrap_or_else(|| panic!("{answer}")).value.as_str().to_owned()
}

fn writer(answer: &Answer) -> String {
    answer.found().unwrap_or_else(|| panic!("{answer}")).writer.to_string()
}

#[test]
fn airflow_and_excom_read_each_others_values() {
    let Some(database) = Database::made() else { return };
    database.attach();
    let (engine, store) = engine(&database);
    let db = engine.db().clone();
    let (python, home) = (database.python(), tempfile::tempdir().unwrap());
    let dags = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attached/dags");
    std::fs::create_dir(home.path().join("dags")).unwrap();
    std::fs::copy(dags.join("given.py"), home.path().join("dags/given.py")).unwrap();
    python.airflow(home.path(), &["dags", "reserialize"]).unwrap();
    python.airflow(home.path(), &["dags", "test", "given"]).unwrap();

    // What its tasks pushed.
    let run_of = |dag: &str| {
        let filter = RunFilter { dag_id: Some(dag.into()), state: None };
        let runs = pollster::block_on(db.runs(&filter, None, 1)).unwrap();
        runs[0].run.run_id.clone()
    };
    let run = run_of("given");
    let ti = |task: &str, map_index| TaskInstanceKey::new("given", run.clone(), task, map_index).unwrap();
    let kinds = ti("kinds", -1);
    for (task, key, expected) in [
        ("numbers", "return_value", "[10,20,30]"),
        ("many", "x", "1"),
        ("many", "return_value", r#"{"x":1,"y":"two"}"#),
        ("last", "return_value", "[20,60]"),
        ("kinds", "dict", crate::DICT),
        ("kinds", "five", r#""5""#),
    ] {
        let answer = pull(&engine, &ti(task, -1).xcom(key).unwrap());
        assert_eq!((text(&answer), writer(&answer)), (expected.to_owned(), "outside Excom".to_owned()));
    }
    assert!(matches!(pull(&engine, &kinds.xcom("none").unwrap()), Answer::Null(_)));
    let sequence = ti("doubled", 0).return_value().sequence();
    assert_eq!(pollster::block_on(db.indexes(&sequence)).unwrap(), [0, 2], "what pushed nothing is a gap");
    let info = pollster::block_on(db.task_instance(&kinds)).unwrap().unwrap();
    let attempt = info.attempt.unwrap();
    assert_eq!((attempt.number, info.state.name()), (1, "success"));

    // Excom pushes each of these again, as the same try, and texts of its own.
    let me = Caller::Attempt(Attempt { ti: kinds.clone(), id: attempt.id });
    let listed =
        pollster::block_on(engine.list(&Caller::user("ana"), &Default::default(), None, 1000)).unwrap();
    let pushed: Vec<_> = listed.items.iter().filter(|info| *info.key.ti.task_id == *"kinds").collect();
    assert_eq!(pushed.len(), 17);
    let push = |key: &str, value: &str| {
        let value = Value::parse(value.to_owned()).unwrap();
        pollster::block_on(engine.push(&me, &kinds.xcom(key).unwrap(), value.into())).unwrap();
    };
    for info in pushed {
        let answer = pull(&engine, &info.key);
        // A worker reads a string that holds JSON as a string, so that is what is pushed back.
        let value = match &*info.key.key {
            "none" => "null".to_owned(),
            "like_json" => r#""{\"a\": 1}""#.to_owned(),
            _ => text(&answer),
        };
        // One that is large would be offloaded, and a worker that knows no Excom reads the reference then.
        if &*info.key.key != "large" {
            push(&format!("copy of {}", info.key.key), &value);
        }
    }
    for (number, text_of) in TEXTS.iter().enumerate() {
        push(&format!("text {number}"), text_of);
        let answer = pull(&engine, &kinds.xcom(format!("text {number}")).unwrap());
        assert_eq!((text(&answer), writer(&answer)), ((*text_of).to_owned(), "attempt 1".to_owned()));
    }
    let large = format!("[{}0]", "\"x\",".repeat(60_000));
    for key in ["offloaded", "kept", "altered"] {
        push(key, &large);
        assert_eq!(text(&pull(&engine, &kinds.xcom(key).unwrap())), large);
    }
    push("edited", "[1]");

    // Real tasks read them.
    let texts: Vec<(usize, &str)> = TEXTS.into_iter().enumerate().filter(is_for_tasks).collect();
    let conf = serde_json::json!({"run": &*run, "texts": texts}).to_string();
    python.airflow(home.path(), &["dags", "test", "check", "-c", &conf]).unwrap();
    let wrong = XComKey::new("check", run_of("check"), "wrong", -1, "return_value").unwrap();
    assert_eq!(text(&pull(&engine, &wrong)), r#"["copy of large"]"#, "the only one that was not pushed");

    // What the DAG returns is marked with its push, until one that does not say so.
    let returned = kinds.return_value();
    let marked = || pollster::block_on(db.results("given", &run)).unwrap().join(" ");
    let push_result = |value: &str| {
        let value = Value::parse(value.to_owned()).unwrap();
        pollster::block_on(engine.push_result(&me, &returned, value.into())).unwrap();
    };
    push_result("3");
    assert_eq!(marked(), "kinds last", "and what Airflow's own task marked");
    push("return_value", "4");
    assert_eq!(marked(), "last");
    push_result("5");
    assert_eq!(marked(), "kinds last");

    // Others write past Excom.
    let before = pull(&engine, &kinds.xcom("edited").unwrap()).found().unwrap().version;
    let output = python
        .run("import sys; sys.path.insert(0, sys.argv[1]); import others; others.write(sys.argv[2])")
        .args([dags.to_str().unwrap(), &*run])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(marked(), "kinds last");
    let answer = pull(&engine, &kinds.xcom("event").unwrap());
    assert_eq!((text(&answer), writer(&answer)), (r#"{"a": 1}"#.to_owned(), "outside Excom".to_owned()));
    let answer = pull(&engine, &kinds.xcom("edited").unwrap());
    assert_eq!((text(&answer), writer(&answer)), (r#"{"by":"rest"}"#.to_owned(), "outside Excom".to_owned()));
    assert_ne!(answer.found().unwrap().version, before);
    assert_eq!(text(&pull(&engine, &kinds.xcom("kept").unwrap())), large, "saved as it was");
    let altered = pull(&engine, &kinds.xcom("altered").unwrap());
    assert!(matches!(altered, Answer::Corrupt(_)), "{altered}");
    assert!(pull(&engine, &kinds.xcom("offloaded").unwrap()).found().is_none());

    // What they left is purged, and what is still referred to stays.
    let count = || pollster::block_on(excom_core::ValueStore::list(&*store, None, 100)).unwrap().len();
    assert_eq!(count(), 3);
    pollster::block_on(async {
        engine.prune().await.unwrap();
        engine.collect_abandoned(Duration::ZERO).await.unwrap();
    });
    assert_eq!(count(), 1);
    assert_eq!(text(&pull(&engine, &kinds.xcom("kept").unwrap())), large);
}
