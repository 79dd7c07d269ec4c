//! What is told of a file: what fills it, and what an upgrade would trip over.

use std::time::Duration;

use excom_core::ErrorKind;
use excom_db::Survey;
use excom_db::sqlite::survey;

use crate::filled::{are_told, filled};
use crate::support::Database;

const LONG: Duration = Duration::from_secs(600);

fn look(database: &Database, patience: Duration) -> Survey {
    survey(&database.file(), true, 10_000, patience).unwrap()
}

#[test]
fn the_largest_parts_are_told_and_nothing_is_written() {
    let Some((database, _)) = filled() else { return };
    let before = std::fs::read(database.file()).unwrap();
    let found = look(&database, LONG);
    are_told(&found);
    let tables: Vec<_> = found.tables.iter().map(|table| (&*table.name, table.count)).collect();
    assert!(tables.contains(&("xcom", 22)), "{tables:?}");
    assert_eq!(std::fs::read(database.file()).unwrap(), before);

    // A row goes without Excom.
    database.sql("DELETE FROM xcom WHERE task_id = 't0' AND dag_id = 'small';");
    assert_eq!(look(&database, LONG).orphans.count, 1);
    // One that was written anew is there.
    database.sql("UPDATE xcom SET timestamp = '2026-11-21 10:00:00.000000' WHERE dag_id = 'big';");
    assert_eq!(look(&database, LONG).orphans.count, 1);

    // What takes too long is given up.
    database.sql(
        "PRAGMA foreign_keys = OFF;
         WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 20000)
         INSERT INTO xcom (dag_run_id, task_id, map_index, key, dag_id, run_id, value, timestamp)
         SELECT x.dag_run_id, x.task_id, n.n, x.key, x.dag_id, x.run_id, x.value, x.timestamp FROM xcom x, n WHERE x.task_id = 't1' AND x.dag_id = 'small';",
    );
    assert!(look(&database, Duration::ZERO).unfinished.contains(&"sums"));
    assert_eq!(look(&database, LONG).all.count, 20_021);
}

#[test]
fn what_an_upgrade_to_airflow_3_changes_is_found() {
    let Some(database) = Database::made() else { return };
    // As Airflow 2 has it: bytes, JSON texts and pickles.
    database.sql(
        "DROP TABLE xcom;
         CREATE TABLE xcom (dag_run_id INTEGER NOT NULL, task_id VARCHAR(250) NOT NULL, map_index INTEGER NOT NULL,
             key VARCHAR(512) NOT NULL, dag_id VARCHAR(250) NOT NULL, run_id VARCHAR(250) NOT NULL, value BLOB,
             timestamp TIMESTAMP NOT NULL, PRIMARY KEY (dag_run_id, task_id, map_index, key));",
    );
    let add = |key: &str, value: &str| {
        database.sql(&format!(
            "INSERT INTO xcom VALUES (1, 't', -1, '{key}', 'd', 'r', CAST({value} AS BLOB), '2026-11-21 10:00:00');"
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
    add("nul", r#"'"a\u0000"'"#);
    assert_eq!((count("NaN"), count("NUL")), (2, 1));
}

#[test]
fn what_is_no_airflow_is_refused() {
    let Some(database) = Database::empty() else { return };
    for is_there in [false, true] {
        if is_there {
            database.sql("CREATE TABLE weather (celsius REAL);");
        }
        let error = survey(&database.file(), true, 1, LONG).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        assert_eq!(database.file().exists(), is_there);
    }
}
