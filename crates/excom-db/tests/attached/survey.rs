//! What is told of a database: what fills it, and what an upgrade would trip over.

use std::sync::Arc;
use std::time::Duration;

use excom_core::attempt::{Attempt, AttemptId};
use excom_core::db::StartMode;
use excom_core::{Caller, Clock as _, Engine, ErrorKind, TaskInstanceKey, Value, memory};
use excom_db::postgres::{Part, Survey, survey};
use pollster::block_on;

use crate::airflow::Airflow;
use crate::support::{Database, options};

const LONG: Duration = Duration::from_secs(600);

fn look(database: &Database, patience: Duration) -> Survey {
    block_on(survey(&database.url(), &options(), true, 10_000, patience)).unwrap()
}

/// A database with some XComs: of `big` two large ones that are no text to compress, of `small` twenty.
fn filled() -> Option<(Database, Airflow)> {
    let database = Database::attached()?;
    let (airflow, clock) = (Airflow::connect(&database.url()), Arc::new(memory::Clock::new()));
    let engine = Engine::builder(Arc::new(database.open()), clock.clone()).build();
    let push = |dag: &str, task: &str, number: u128, value: &str| {
        let ti = TaskInstanceKey::new(dag, "r", task, -1).unwrap();
        let attempt = Attempt { ti: ti.clone(), id: AttemptId(uuid::Uuid::from_u128(number)) };
        airflow.start(&attempt, StartMode::Fresh, clock.now()).unwrap();
        let value = Value::parse(value.to_owned()).unwrap();
        block_on(engine.push(&Caller::Attempt(attempt), &ti.return_value(), value.into())).unwrap();
    };
    for number in 0..2 {
        let noise: String =
            (0..4_000).map(|i| format!("{:08x}", (i * 2_654_435_761_u64 + number) as u32)).collect();
        push("big", &format!("t{number}"), 100 + u128::from(number), &format!("\"{noise}\""));
    }
    for number in 0..20 {
        push("small", &format!("t{number}"), 200 + number, "[1]");
    }
    Some((database, airflow))
}

#[test]
fn the_largest_parts_are_told_and_nothing_is_written() {
    let Some((database, airflow)) = filled() else { return };
    let found = look(&database, LONG);
    assert_eq!((found.percent, found.all.count, found.large.count), (100.0, 22, 2));
    assert!(found.large.bytes > 20_000 && found.large.bytes < found.all.bytes, "{found:?}");
    let names = |parts: &[Part]| parts.iter().map(|part| (part.name.clone(), part.count)).collect::<Vec<_>>();
    assert_eq!(names(&found.dags), [("big".to_owned(), 2), ("small".to_owned(), 20)]);
    let keys = names(&found.keys);
    assert_eq!(keys.len(), 5);
    assert!(keys[0].0.starts_with("big/t") && keys[1].0.starts_with("big/t"), "{keys:?}");
    assert!(
        found.tables.len() == 5 && found.tables.is_sorted_by(|a, b| a.bytes >= b.bytes),
        "{:?}",
        found.tables
    );
    assert!(found.upgrade.is_empty() && found.unfinished.is_empty(), "{found:?}");

    // A row goes without Excom.
    assert_eq!(found.orphans.count, 0);
    database.sql("DELETE FROM xcom WHERE task_id = 't0' AND dag_id = 'small'");
    assert_eq!(look(&database, LONG).orphans.count, 1);

    // Whoever holds the table is not waited for.
    airflow.ask("BEGIN", &[]).unwrap();
    airflow.ask("LOCK TABLE xcom IN ACCESS EXCLUSIVE MODE", &[]).unwrap();
    let found = look(&database, Duration::from_millis(100));
    assert_eq!(found.unfinished, ["tables", "sums", "orphans"]);
    airflow.ask("ROLLBACK", &[]).unwrap();

    // Of a table that is said to be large a part is looked at.
    database.sql("UPDATE pg_class SET relpages = 200000 WHERE oid = 'xcom'::regclass");
    assert_eq!(look(&database, LONG).percent, 25.0);
    database.sql("ANALYZE xcom");
}

#[test]
fn what_an_upgrade_to_airflow_3_trips_over_is_found() {
    let Some(database) = Database::made() else { return };
    // As Airflow 2 has it: bytes, JSON texts and pickles.
    database.sql(
        "ALTER TABLE xcom ALTER value TYPE bytea USING NULL;
         ALTER TABLE xcom DROP CONSTRAINT xcom_task_instance_fkey;
         UPDATE alembic_version SET version_num = '5f2621c13b39'",
    );
    let add = |key: &str, value: &str| {
        database.sql(&format!(
            "INSERT INTO xcom (dag_run_id, dag_id, run_id, task_id, map_index, key, value, timestamp)
             VALUES (1, 'd', 'r', 't', -1, '{key}', {value}, now())"
        ));
    };
    let count = |name: &str| {
        let found = look(&database, LONG);
        found.upgrade.iter().find(|part| part.name == name).unwrap().count
    };
    add("fine", r#"convert_to('{"a": 1}', 'UTF8')"#);
    add("pickle", r"'\x80044e614e2e'::bytea");
    for name in ["too large", "NaN", "NUL"] {
        assert_eq!(count(name), 0, "{name}");
    }
    add("nan", "convert_to('[1, NaN]', 'UTF8')");
    add("infinite", "convert_to('-Infinity', 'UTF8')");
    add("nul", r#"convert_to('"a\u0000"', 'UTF8')"#);
    add("limit", "convert_to(repeat('1', 268435455), 'UTF8')");
    add("over", "convert_to(repeat('1', 268435456), 'UTF8')");
    assert_eq!((count("too large"), count("NaN"), count("NUL")), (1, 2, 1));
}

#[test]
fn what_is_no_airflow_is_refused() {
    let Some(database) = Database::empty() else { return };
    let error = block_on(survey(&database.url(), &options(), true, 1, LONG)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
}
