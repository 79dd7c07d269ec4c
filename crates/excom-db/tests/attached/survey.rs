//! What is told of a database: what fills it, and what an upgrade would trip over.

use std::time::Duration;

use excom_core::ErrorKind;
use excom_db::Survey;
use excom_db::postgres::survey;
use pollster::block_on;

use crate::filled::{are_told, filled};
use crate::support::{Database, options};

const LONG: Duration = Duration::from_secs(600);

fn look(database: &Database, patience: Duration) -> Survey {
    block_on(survey(&database.url(), &options(), true, 10_000, patience)).unwrap()
}

#[test]
fn the_largest_parts_are_told_and_nothing_is_written() {
    let Some((database, airflow)) = filled() else { return };
    let found = look(&database, LONG);
    are_told(&found);

    // A row goes without Excom.
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
