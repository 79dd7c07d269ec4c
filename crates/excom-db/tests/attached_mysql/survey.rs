//! What is told of a database: what fills it, and what an upgrade would trip over.

use std::time::Duration;

use excom_core::ErrorKind;
use excom_db::Survey;
use excom_db::mysql::survey;
use pollster::block_on;

use crate::filled::{are_told, filled};
use crate::support::{Database, options};

const LONG: Duration = Duration::from_secs(600);

fn look(database: &Database, patience: Duration) -> Survey {
    block_on(survey(&database.url(), &options(), true, 10_000, patience)).unwrap()
}

#[test]
fn the_largest_parts_are_told_and_nothing_is_written() {
    let Some((database, _)) = filled() else { return };
    let found = look(&database, LONG);
    are_told(&found);

    // A row goes without Excom.
    database.sql("DELETE FROM xcom WHERE task_id = 't0' AND dag_id = 'small'");
    assert_eq!(look(&database, LONG).orphans.count, 1);
    // One that was written anew is there.
    database.sql("UPDATE xcom SET timestamp = now(6) WHERE dag_id = 'big'");
    assert_eq!(look(&database, LONG).orphans.count, 1);

    // Whoever holds the table is not waited for.
    let held = database.held("LOCK TABLES xcom WRITE");
    assert_eq!(look(&database, Duration::from_millis(500)).unfinished, ["sums", "orphans"]);
    drop(held);

    // Of a table that is said to be large a part is looked at.
    database.sql(&format!(
        "ALTER TABLE xcom STATS_AUTO_RECALC = 0;
         RENAME TABLE xcom TO large;
         UPDATE mysql.innodb_table_stats SET clustered_index_size = 97656
         WHERE database_name = '{}' AND table_name = 'large';
         RENAME TABLE large TO xcom",
        database.name
    ));
    let found = look(&database, LONG);
    assert!((found.percent - 25.0).abs() < 0.1, "{found:?}");
    database.sql("ALTER TABLE xcom STATS_AUTO_RECALC = DEFAULT; ANALYZE TABLE xcom");
}

#[test]
fn what_an_upgrade_to_airflow_3_changes_is_found() {
    let Some(database) = Database::made() else { return };
    // As Airflow 2 has it: bytes, JSON texts and pickles.
    database.sql(
        "ALTER TABLE xcom DROP FOREIGN KEY xcom_task_instance_fkey, MODIFY value LONGBLOB;
         UPDATE alembic_version SET version_num = '5f2621c13b39';
         INSERT INTO dag_run (id, dag_id, run_id, run_type, run_after) VALUES (1, 'd', 'r', 'manual', now(6))",
    );
    let add = |key: &str, value: &str| {
        database.sql(&format!(
            "INSERT INTO xcom (dag_run_id, dag_id, run_id, task_id, map_index, `key`, value, timestamp)
             VALUES (1, 'd', 'r', 't', -1, '{key}', {value}, now(6))"
        ));
    };
    let count = |name: &str| {
        let found = look(&database, LONG);
        found.upgrade.iter().find(|part| part.name == name).unwrap().count
    };
    add("fine", r#"'{"a": 1}'"#);
    add("pickle", "X'80044E614E2E'");
    add("text", r#"'"no NaN, nor Infinity"'"#);
    assert_eq!((count("NaN"), count("NUL")), (0, 0));
    add("nan", "'[1, NaN]'");
    add("infinite", "'-Infinity'");
    add("nul", r#"'"a\\u0000"'"#);
    assert_eq!((count("NaN"), count("NUL")), (2, 1));
}

#[test]
fn what_is_no_airflow_is_refused() {
    let Some(database) = Database::empty() else { return };
    let error = block_on(survey(&database.url(), &options(), true, 1, LONG)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
}
