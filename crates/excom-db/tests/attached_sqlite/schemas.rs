//! Files as they are found: each schema of Airflow's, one that is migrated meanwhile, what is refused, and what other
//! processes do with the file at the same time.

use std::path::Path;
use std::sync::Arc;

use excom_core::db::Scope;
use excom_core::{Caller, ErrorKind, PullOptions, Result, TaskInstanceKey, Value, memory};
use excom_db::sqlite::attached::Db;
use excom_db::sqlite::{self, Options};
use pollster::block_on;

use crate::support::{Database, migrated};
use crate::trips::{engine, marked, round_trip, started, variables_are_shared};

/// What Airflow's schema consists of, and how its file is kept.
const ALL_OF_AIRFLOW: &str = "SELECT type, name, tbl_name, sql FROM sqlite_schema
    WHERE tbl_name NOT LIKE 'excom\\_%' ESCAPE '\\' ORDER BY type, name";

const FILE: &str =
    "SELECT * FROM pragma_journal_mode, pragma_page_size, pragma_user_version, pragma_application_id";

fn refused<T>(result: Result<T>, kind: ErrorKind, told: &str) {
    let Err(error) = result else { panic!("not refused: {told}") };
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(error.to_string().contains(told), "{error}");
}

#[test]
fn every_schema_of_airflow_3_is_worked_with_and_stays() {
    for release in ["3.0.0", "3.0.3", "3.1.0", "3.1.8", "3.2.0", "3.3.0"] {
        let Some(database) = Database::empty() else { return };
        migrated(&database.file(), Some(release)).unwrap();
        let (before, file) = (database.sql(ALL_OF_AIRFLOW), database.sql(FILE));
        let found = Db::attach(&database.file()).unwrap();
        assert_eq!((found.airflow, found.version), (release, Db::SCHEMA));
        let (engine, attempt) = (engine(&database), started(&database));
        round_trip(&engine, &attempt, r#"{"b": 1, "a": [null, 1.0]}"#).unwrap();
        variables_are_shared(&database, &engine, &attempt);
        let me = Caller::Attempt(attempt.clone());
        let all = Scope::TaskInstance(attempt.ti.clone());
        assert_eq!(block_on(engine.clear(&me, &all)).unwrap(), 1);
        assert_eq!(block_on(engine.history(&me, &attempt.ti.return_value(), 9)).unwrap().len(), 1);
        assert_eq!(database.sql("SELECT count(*) FROM xcom"), "0");
        assert_eq!(marked(&engine, &attempt), [usize::from(release == "3.3.0"), 0], "Airflow {release}");
        drop(engine);
        assert!(before.lines().count() > 500);
        let after = database.sql(ALL_OF_AIRFLOW);
        let changed: Vec<&str> =
            after.lines().filter(|line| !before.lines().any(|was| was == *line)).collect();
        assert!(after == before, "Airflow {release} is as it was, but {changed:?}");
        assert_eq!(database.sql(FILE), file);
    }
}

#[test]
fn airflow_is_migrated_meanwhile() {
    let Some(database) = Database::empty() else { return };
    migrated(&database.file(), Some("3.2.0")).unwrap();
    database.attach();
    let (engine, attempt) = (engine(&database), started(&database));
    round_trip(&engine, &attempt, "1").unwrap();

    // Nothing of ours stands in the way of a migration, and who is connected goes on.
    migrated(&database.file(), Some("3.3.0")).unwrap();
    round_trip(&engine, &attempt, "2").unwrap();
    let health = block_on(engine.db().health()).unwrap();
    assert!(health.identity.ends_with("attached to Airflow 3.3.0"), "{}", health.identity);
    assert!(health.problems.is_empty(), "{:?}", health.problems);

    // A schema that nobody knows: nothing is written, what is there is read.
    database.sql("UPDATE alembic_version SET version_num = 'newer'");
    let me = Caller::Attempt(attempt.clone());
    let all = Scope::TaskInstance(attempt.ti.clone());
    for error in [
        round_trip(&engine, &attempt, "3").unwrap_err(),
        block_on(engine.clear(&me, &all)).unwrap_err(),
        block_on(engine.delete(&Caller::user("ana"), &all)).unwrap_err(),
        block_on(engine.db().health()).unwrap_err(),
        block_on(engine.db().check()).unwrap_err(),
        Db::open(&database.file(), Options::default()).unwrap_err(),
        Db::attach(&database.file()).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Incompatible, "{error}");
        assert!(error.to_string().contains("the schema `newer` of Airflow"), "{error}");
    }
    let pulled = block_on(engine.pull(&me, &[attempt.ti.return_value()], PullOptions::default())).unwrap();
    assert_eq!(pulled[0].found().unwrap().value.as_str(), "2");
    database.sql("UPDATE alembic_version SET version_num = 'd2f4e1b3c5a7'");
    round_trip(&engine, &attempt, "3").unwrap();
}

#[test]
fn what_is_not_airflows_or_not_attached_is_refused() {
    let Some(database) = Database::made() else { return };
    let open = |file: &Path| Db::open(file, Options::default());
    refused(open(&database.file()), ErrorKind::Configuration, "not attached to it yet");
    let script = Db::script(&database.file()).unwrap();
    let ours = "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'excom%'";
    assert_eq!(database.sql(ours), "0", "a look makes nothing");
    refused(
        sqlite::Db::open(&database.file(), Options::default()),
        ErrorKind::Incompatible,
        "another program",
    );

    // The script does what attaching does.
    database.sql(&script);
    open(&database.file()).unwrap();
    database.attach();
    assert_eq!(Db::script(&database.file()).unwrap(), "");
    database.sql("INSERT INTO excom_attached VALUES (9, 9)");
    refused(open(&database.file()), ErrorKind::Incompatible, "needs an Excom that knows schema 9");

    let other = Database::empty().unwrap();
    refused(open(&other.file()), ErrorKind::Configuration, "there is no file");
    assert!(!other.file().exists());
    other.sql("CREATE TABLE t (a)");
    refused(open(&other.file()), ErrorKind::Configuration, "not the metadata database of an Airflow 3");
    let taken = Database::made().unwrap();
    taken.sql("CREATE TABLE excom_entry (a)");
    refused(Db::attach(&taken.file()), ErrorKind::Incompatible, "of another program");
}

#[test]
fn who_is_detached_meanwhile_is_told_to_attach() {
    let Some(database) = Database::attached() else { return };
    let (engine, attempt) = (engine(&database), started(&database));
    round_trip(&engine, &attempt, "1").unwrap();
    for table in
        database.sql("SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'excom%'").lines()
    {
        database.sql(&format!("DROP TABLE {table}"));
    }
    let me = Caller::Attempt(attempt.clone());
    for error in [
        block_on(engine.push(&me, &attempt.ti.return_value(), Value::null().into())).map(drop).unwrap_err(),
        block_on(engine.db().variable("v")).map(drop).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Incompatible, "{error:?}");
        assert!(error.hints().join("; ").contains("`excom db attach`"), "{error:?}");
    }
}

#[test]
fn runs_and_states_are_airflows() {
    let Some(database) = Database::attached() else { return };
    let (engine, attempt) = (engine(&database), started(&database));
    let me = Caller::Attempt(attempt.clone());
    let nowhere = TaskInstanceKey::new("d", "r", "other", 3).unwrap();
    for error in [
        block_on(engine.push(&me, &nowhere.return_value(), Value::null().into())).map(drop).unwrap_err(),
        block_on(engine.set_run_state("d", "r", excom_core::RunState::Success)).unwrap_err(),
        block_on(engine.set_states(&[(attempt.ti.clone(), excom_core::TaskState::Success)])).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{error:?}");
        assert!(error.to_string().contains("Airflow"), "{error}");
    }
    block_on(engine.set_attempt_state(&attempt, excom_core::TaskState::Success)).unwrap();
    assert_eq!(database.sql("SELECT state FROM task_instance"), "running", "Airflow's to write");
}

#[test]
fn lengths_are_told_to_airflows_scheduler() {
    let Some(database) = Database::attached() else { return };
    let (engine, attempt) = (engine(&database), started(&database));
    for (value, lengths) in [("[1,2,3]", "3"), (r#"{"a":1}"#, "1"), ("\"no longer one\"", ""), ("[]", "0")] {
        round_trip(&engine, &attempt, value).unwrap();
        assert_eq!(database.sql("SELECT length FROM task_map WHERE keys = 'null'"), lengths, "{value}");
    }
}

#[test]
fn what_is_no_json_is_an_answer() {
    let Some(database) = Database::attached() else { return };
    let (engine, attempt) = (engine(&database), started(&database));
    round_trip(&engine, &attempt, "1").unwrap();
    database.sql("UPDATE xcom SET value = 'NaN', timestamp = '2026-01-01 00:00:00.000001'");
    let me = Caller::Attempt(attempt.clone());
    let key = attempt.ti.return_value();
    let keys = std::slice::from_ref(&key);
    let answer = block_on(engine.pull(&me, keys, PullOptions::default())).unwrap().remove(0);
    assert!(matches!(answer, excom_core::Answer::Corrupt(_)), "{answer}");
    assert_eq!(block_on(engine.list(&me, &Default::default(), None, 9)).unwrap().items.len(), 1);
    round_trip(&engine, &attempt, "2").unwrap();
    assert_eq!(block_on(engine.history(&me, &key, 9)).unwrap().len(), 1);
}

#[test]
fn a_journal_that_somebody_chose_stays() {
    let Some(database) = Database::attached() else { return };
    database.sql("PRAGMA journal_mode = delete");
    let attempt = started(&database);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let (engine, me) = (engine(&database), Caller::Attempt(attempt.clone()));
                for number in 0..5 {
                    let value = Value::of(&number).unwrap();
                    block_on(engine.push(&me, &attempt.ti.return_value(), value.into())).unwrap();
                }
            });
        }
    });
    assert_eq!((database.history(), database.sql("PRAGMA journal_mode")), ("14".into(), "delete".into()));
}

/// An object whose row something else wrote over, or removed, goes with the next write, not only with a look for orphans.
#[test]
fn objects_of_rows_that_others_wrote_over_go() {
    let Some(database) = Database::attached() else { return };
    let attempt = started(&database);
    let engine =
        engine(&database).with_backend(Arc::new(memory::Backend::new(Arc::new(memory::Store::new()), 1000)));
    let (me, key) = (Caller::Attempt(attempt.clone()), attempt.ti.return_value());
    let large = Value::of(&"x".repeat(2000)).unwrap();
    let rewrite = "UPDATE xcom SET value = '1', timestamp = '2026-01-01 00:00:00.000001'";
    for (sql, is_cleared) in [(rewrite, false), (rewrite, true), ("DELETE FROM xcom", false)] {
        block_on(engine.push(&me, &key, large.clone().into())).unwrap();
        database.sql(sql);
        match is_cleared {
            true => assert_eq!(block_on(engine.clear(&me, &Scope::Key(key.clone()))).unwrap(), 1),
            false => drop(block_on(engine.push(&me, &key, Value::null().into())).unwrap()),
        }
        assert_eq!(block_on(engine.purge_loose()).unwrap(), 1, "{sql} {is_cleared}");
    }
}
