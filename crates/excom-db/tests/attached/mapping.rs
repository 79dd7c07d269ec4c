//! What Airflow's own scheduler makes of values that were pushed through Excom: how many task instances it expands.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use excom_core::attempt::Attempt;
use excom_core::{Caller, Engine, ErrorKind, Result, TaskInstanceKey, Value, memory};
use pollster::block_on;

use crate::support::Database;

/// The run of `dags/mapped.py`.
const RUN: &str = "r";

/// What is pushed through Excom.
fn push(engine: &Engine, task: &str, value: &str) -> Result<()> {
    let ti = TaskInstanceKey::new("mapped", RUN, task, -1)?;
    let attempt = block_on(engine.db().task_instance(&ti))?.unwrap().attempt.unwrap();
    let me = Caller::Attempt(Attempt { ti: ti.clone(), id: attempt.id });
    block_on(engine.push(&me, &ti.return_value(), Value::parse(value.to_owned())?.into())).map(drop)
}

/// A list of so many numbers.
fn list(length: usize) -> String {
    format!("[{}]", vec!["0"; length].join(","))
}

#[test]
fn airflows_scheduler_expands_over_what_was_pushed_through_excom() {
    let Some(database) = Database::attached() else { return };
    let store = Arc::new(memory::Store::new());
    let engine = Engine::builder(Arc::new(database.open()), Arc::new(memory::Clock::new()))
        .backend(Arc::new(memory::Backend::new(store, 10_000).sealing()))
        .keys(excom_core::seal::SealKeys::new("k1", [7; 32]))
        .build();
    let (python, home) = (database.python(), tempfile::tempdir().unwrap());
    let dags = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attached/dags");
    std::fs::create_dir(home.path().join("dags")).unwrap();
    std::fs::copy(dags.join("mapped.py"), home.path().join("dags/mapped.py")).unwrap();
    python.airflow(home.path(), &["dags", "reserialize"]).unwrap();
    let scheduler = |what: &str| {
        let code = format!("exec(open({:?}).read())", dags.join("scheduler.py"));
        let output = python.run(&code).args([what, RUN]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    scheduler("begin");

    let large = format!("[{}0]", format!("\"{}\",", "x".repeat(1_000)).repeat(20));
    for (task, value) in [
        ("list", "[10,20,30]"),
        ("dict", r#"{"bb":1,"a":2}"#),
        ("nothing", "[]"),
        ("large", &large),
        ("left", "[1,2,3]"),
        ("right", "[1,2]"),
        ("number", "[1]"),
        ("number", "7"),
        ("kwargs", r#"[{"a":1},{"a":2}]"#),
        ("grouped", "[1,2,3,4]"),
        ("plain", &list(5_000)),
        ("long", &list(1_024)),
    ] {
        push(&engine, task, value).unwrap();
    }
    let error = push(&engine, "long", &list(1_025)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidValue, "{error:?}");
    assert!(
        error.to_string().contains("has 1025 elements") && error.to_string().contains("max_map_length"),
        "{error}"
    );
    assert_eq!(
        database.lengths(),
        "dict 2 null, grouped 4 null, kwargs 2 null, large 21 null, left 3 null, list 3 null, long 1024 null, \
         nothing 0 null, right 2 null",
        "as Airflow's server writes them: nothing where no task is mapped"
    );

    let told = scheduler("go_on");
    let told = told.lines().find_map(|line| line.strip_prefix("told ")).unwrap();
    let instances: Vec<(String, i32, String)> = serde_json::from_str(told).unwrap();
    let mut made: BTreeMap<&str, Vec<(i32, &str)>> = BTreeMap::new();
    for (task, map_index, state) in &instances {
        made.entry(task).or_default().push((*map_index, state));
    }
    let indexes = |task: &str| made[task].iter().map(|(index, _)| *index).collect::<Vec<_>>();
    let first = |length: i32| (0..length).collect::<Vec<_>>();
    for (task, length) in [
        ("over_list", 3),
        ("over_dict", 2),
        ("over_large", 21),
        ("over_two", 4),
        ("over_kwargs", 2),
        ("group.each", 4),
        ("over_long", 1024),
    ] {
        assert_eq!(indexes(task), first(length), "{task}");
    }
    assert_eq!(made["over_nothing"], [(-1, "skipped")]);
    assert_eq!(made["over_number"], [(-1, "upstream_failed")], "a number is not what was there before");
    assert_eq!(indexes("over_plain"), [-1]);
}

#[test]
fn what_airflow_compressed_is_read_too() {
    let Some(database) = Database::attached() else { return };
    let engine = || Engine::builder(Arc::new(database.open()), Arc::new(memory::Clock::new())).build();
    let (python, home) = (database.python(), tempfile::tempdir().unwrap());
    let dags = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attached/dags");
    std::fs::create_dir(home.path().join("dags")).unwrap();
    std::fs::copy(dags.join("mapped.py"), home.path().join("dags/mapped.py")).unwrap();
    let mut reserialize = python.airflow_command(home.path(), &["dags", "reserialize"]);
    let output = reserialize.env("AIRFLOW__CORE__COMPRESS_SERIALIZED_DAGS", "True").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(
        database.sql("SELECT count(*) FROM serialized_dag WHERE data_compressed IS NOT NULL"),
        "1",
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let code = format!("exec(open({:?}).read())", dags.join("scheduler.py"));
    let output = python.run(&code).args(["begin", RUN]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    // What cannot be decompressed stops nobody, and is looked at once.
    database.sql("CREATE TABLE whole_dag AS SELECT data_compressed FROM serialized_dag");
    database.sql("UPDATE serialized_dag SET data_compressed = substr(data_compressed, 1, 20)");
    let before = engine();
    push(&before, "long", &list(1_025)).unwrap();
    database.sql("UPDATE serialized_dag SET data_compressed = (SELECT data_compressed FROM whole_dag)");
    database.sql("DROP TABLE whole_dag");
    push(&before, "long", &list(1_026)).unwrap();
    assert_eq!(database.lengths(), "long 1026 null");

    let engine = engine();
    let error = push(&engine, "long", &list(1_025)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidValue, "{error:?}");
    push(&engine, "long", &list(1_024)).unwrap();
    push(&engine, "plain", &list(5_000)).unwrap();
    assert_eq!(database.lengths(), "long 1024 null", "nothing where no task is mapped");
}

#[test]
fn lengths_are_told_where_the_dag_cannot_be_read() {
    let Some(database) = Database::attached() else { return };
    let engine = Engine::builder(Arc::new(database.open()), Arc::new(memory::Clock::new())).build();
    let ti = TaskInstanceKey::new("mapped", RUN, "list", -1).unwrap();
    let attempt = Attempt { ti, id: excom_core::attempt::AttemptId(uuid::Uuid::from_u128(7)) };
    let now = excom_core::Clock::now(&memory::Clock::new());
    crate::airflow::Airflow::connect(&database.airflows())
        .start(&attempt, excom_core::db::StartMode::Fresh, now)
        .unwrap();
    push(&engine, "list", &list(2_000)).unwrap();
    assert_eq!(database.lengths(), "list 2000 null");
    push(&engine, "list", "{}").unwrap();
    assert_eq!(database.lengths(), "list 0 null");
    push(&engine, "list", "\"no longer one\"").unwrap();
    assert_eq!(database.lengths(), "");
}
