//! Databases as they are found: what is attached to and stays as it was, what is refused, and names that Airflow's columns
//! cannot keep apart.

use std::sync::Arc;

use excom_core::db::Scope;
use excom_core::{Caller, Engine, ErrorKind, PullOptions, Result, Value, memory};
use excom_db::mysql;
use excom_db::mysql::attached::Db;
use pollster::block_on;

use crate::support::{Database, options};
use crate::trips::{engine, marked, round_trip_of, started, variables_are_shared};

/// What Airflow's schema consists of.
const ALL_OF_AIRFLOW: &str = "
    SELECT CONCAT_WS(' ', table_name, column_name, column_type, column_default, extra, collation_name)
    FROM information_schema.columns WHERE table_schema = DATABASE()
    UNION ALL SELECT CONCAT_WS(' ', table_name, index_name, column_name, seq_in_index)
    FROM information_schema.statistics WHERE table_schema = DATABASE()
    UNION ALL SELECT CONCAT_WS(' ', table_name, constraint_name, constraint_type)
    FROM information_schema.table_constraints WHERE table_schema = DATABASE()
    UNION ALL SELECT CONCAT_WS(' ', table_name, referenced_table_name, constraint_name)
    FROM information_schema.referential_constraints
    WHERE constraint_schema = DATABASE() OR unique_constraint_schema = DATABASE()
    UNION ALL SELECT CONCAT('trigger ', trigger_name) FROM information_schema.triggers
    WHERE event_object_schema = DATABASE()
    UNION ALL SELECT CONCAT('view ', table_name) FROM information_schema.views WHERE table_schema = DATABASE()
    ORDER BY 1";

#[test]
fn airflows_schema_stays_as_it_was() {
    let Some(database) = Database::made() else { return };
    let before = database.sql(ALL_OF_AIRFLOW);
    let found = block_on(Db::attach(&database.url(), &options())).unwrap();
    assert_eq!((found.airflow, found.version), ("3.3.0", Db::SCHEMA));
    let (engine, attempt) = (engine(&database), started(&database));
    round_trip_of(&engine, &attempt, "k", r#"{"b": 1, "a": [null, 1.0]}"#).unwrap();
    variables_are_shared(&database, &engine, &attempt);
    let me = Caller::Attempt(attempt.clone());
    assert_eq!(block_on(engine.clear(&me, &Scope::TaskInstance(attempt.ti.clone()))).unwrap(), 1);
    assert_eq!(block_on(engine.history(&me, &attempt.ti.xcom("k").unwrap(), 9)).unwrap().len(), 1);
    assert_eq!(database.sql("SELECT COUNT(*) FROM xcom"), "0");
    assert_eq!(marked(&engine, &attempt), [1, 0]);
    assert!(before.lines().count() > 500);
    assert_eq!(database.sql(ALL_OF_AIRFLOW), before);
}

#[test]
fn an_unknown_schema_of_airflows_is_read_and_not_written() {
    let Some(database) = Database::made() else { return };
    block_on(Db::attach(&database.url(), &options())).unwrap();
    let (engine, attempt) = (engine(&database), started(&database));
    round_trip_of(&engine, &attempt, "k", "2").unwrap();
    database.sql("UPDATE alembic_version SET version_num = 'newer'");
    let me = Caller::Attempt(attempt.clone());
    let all = Scope::TaskInstance(attempt.ti.clone());
    for error in [
        round_trip_of(&engine, &attempt, "k", "3").unwrap_err(),
        block_on(engine.clear(&me, &all)).unwrap_err(),
        block_on(engine.delete(&Caller::user("ana"), &all)).unwrap_err(),
        block_on(engine.db().health()).unwrap_err(),
        block_on(engine.db().check()).unwrap_err(),
        block_on(Db::open(&database.url(), &options())).unwrap_err(),
        block_on(Db::attach(&database.url(), &options())).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Incompatible, "{error}");
        assert!(error.to_string().contains("the schema `newer` of Airflow"), "{error}");
    }
    let key = attempt.ti.xcom("k").unwrap();
    let pulled = block_on(engine.pull(&me, &[key], PullOptions::default())).unwrap();
    assert_eq!(pulled[0].found().unwrap().value.as_str(), "2");
    database.sql("UPDATE alembic_version SET version_num = 'd2f4e1b3c5a7'");
    round_trip_of(&engine, &attempt, "k", "3").unwrap();
}

#[test]
fn what_is_not_airflows_or_not_attached_is_refused() {
    let Some(database) = Database::made() else { return };
    let refused = |result: Result<()>, kind, told: &str| {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(error.to_string().contains(told), "{error}");
    };
    let open = |database: &Database| block_on(Db::open(&database.url(), &options())).map(drop);
    refused(open(&database), ErrorKind::Configuration, "not attached to it yet");
    let script = block_on(Db::script(&database.url(), &options())).unwrap();
    let ours = format!("SHOW DATABASES LIKE 'excom\\_{}'", database.name);
    assert_eq!(database.sql(&ours), "", "a look makes nothing");

    // The script does what attaching does, for somebody who may.
    database.sql(&script);
    open(&database).unwrap();
    block_on(Db::attach(&database.url(), &options())).unwrap();
    let beside = format!("{}/excom_{}", database.airflows().rsplit_once('/').unwrap().0, database.name);
    refused(
        block_on(mysql::Db::open(&beside, &options())).map(drop),
        ErrorKind::Incompatible,
        "tables `excom_…` of another program",
    );

    let empty = Database::empty().unwrap();
    refused(open(&empty), ErrorKind::Configuration, "not the metadata database of an Airflow 3");

    let own = Database::made().unwrap();
    own.sql(&format!("CREATE DATABASE excom_{}", own.name));
    let beside = format!("{}/excom_{}", own.airflows().rsplit_once('/').unwrap().0, own.name);
    block_on(mysql::Db::open(&beside, &options())).unwrap();
    refused(open(&own), ErrorKind::Incompatible, "one of Excom's own");

    let strict = Database::made().unwrap();
    strict.sql(&format!(
        "CREATE USER reader@'%' IDENTIFIED BY 'reader'; GRANT SELECT ON {}.* TO reader@'%'",
        strict.name
    ));
    let url = strict.url();
    let url = format!("mysql://reader:reader{}", &url[url.rfind('@').unwrap()..]);
    refused(
        block_on(Db::attach(&url, &options())).map(drop),
        ErrorKind::Configuration,
        "does not let the user",
    );
}

#[test]
fn what_airflows_columns_take_for_the_same_is_not_written_over() {
    let Some(database) = Database::attached() else { return };
    let (engine, attempt) = (engine(&database), started(&database));
    for (key, value) in [("k", "1"), ("K", "2"), ("\u{e9}", "3"), ("e\u{301}", "4"), ("e", "5")] {
        round_trip_of(&engine, &attempt, key, value).unwrap();
    }
    let error = round_trip_of(&engine, &attempt, "k ", "6").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{error:?}");
    assert!(error.to_string().contains("take \"k \" for the same key"), "{error}");
    let error = round_trip_of(&engine, &attempt, "\u{1F600}", "7").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{error:?}");
    let me = Caller::Attempt(attempt.clone());
    let pull = |key: &str| {
        let keys = [attempt.ti.xcom(key).unwrap(), attempt.ti.xcom("K").unwrap()];
        let one = block_on(engine.pull(&me, &keys[..1], PullOptions::default())).unwrap();
        let many = block_on(engine.pull(&me, &keys, PullOptions::default())).unwrap();
        assert_eq!(one[0].found().is_some(), many[0].found().is_some());
        assert_eq!(many[1].found().unwrap().value.as_str(), "2");
        one[0].found().map(|found| found.value.as_str().to_owned())
    };
    assert_eq!((pull("k"), pull("k ")), (Some("1".to_owned()), None));
    assert_eq!(database.sql("SELECT COUNT(*) FROM xcom"), "5");
}

#[test]
fn who_is_detached_meanwhile_is_told_to_attach() {
    let Some(database) = Database::made() else { return };
    block_on(Db::attach(&database.url(), &options())).unwrap();
    let (engine, attempt) = (engine(&database), started(&database));
    round_trip_of(&engine, &attempt, "k", "1").unwrap();
    database.sql(&format!("DROP DATABASE excom_{}", database.name));
    let error = round_trip_of(&engine, &attempt, "k", "1").unwrap_err();
    assert!(error.hints().join("; ").contains("`excom db attach`"), "{error:?}");
    block_on(Db::attach(&database.url(), &options())).unwrap();
    round_trip_of(&engine, &attempt, "k", "2").unwrap();
}

/// An object whose row something else wrote over, or removed, goes with the next write, not only with a look for orphans.
#[test]
fn objects_of_rows_that_others_wrote_over_go() {
    let Some(database) = Database::attached() else { return };
    let attempt = started(&database);
    let engine =
        engine(&database).with_backend(Arc::new(memory::Backend::new(Arc::new(memory::Store::new()), 1000)));
    let (me, key) = (Caller::Attempt(attempt.clone()), attempt.ti.xcom("k").unwrap());
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

#[test]
fn a_variable_whose_key_airflows_column_takes_for_another_is_refused() {
    let Some(database) = Database::attached() else { return };
    let (engine, ana) = (engine(&database), Caller::user("ana"));
    block_on(engine.set_variable(&ana, "key", "1", None)).unwrap();
    for key in ["KEY", "key "] {
        assert_eq!(block_on(engine.variable(&ana, key)).unwrap(), None);
        assert_eq!(
            block_on(engine.change_variable(&ana, key, Some("2"), None)).map_err(|error| error.kind()),
            Err(ErrorKind::InvalidRequest)
        );
        let error = block_on(engine.set_variable(&ana, key, "2", None)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{error:?}");
        assert!(error.to_string().contains("there is a variable \"key\" already"), "{error}");
        assert!(!block_on(engine.delete_variable(&ana, key)).unwrap());
    }
    assert_eq!(block_on(engine.variable(&ana, "key")).unwrap().unwrap().text, "1");
}

#[test]
fn a_description_that_airflows_column_cannot_hold_is_refused_by_name() {
    let Some(database) = Database::attached() else { return };
    let (engine, ana) = (engine(&database), Caller::user("ana"));
    let long = "é".repeat(32_767) + "x";
    block_on(engine.set_variable(&ana, "key", "1", Some(&long))).unwrap();
    // Also that of one which Excom kept itself, and a change would make Airflow's row.
    database.kept("ours", "old");
    database
        .sql(&format!("UPDATE excom_{}.excom_variable SET description = REPEAT('x', 65536)", database.name));
    let (long, alone) =
        (long + "x", Engine::builder(Arc::new(database.bare()), Arc::new(memory::Clock::new())).build());
    let change = |text| block_on(engine.change_variable(&ana, "ours", Some(text), None)).map(drop);
    for (key, refused) in [
        ("key", block_on(engine.set_variable(&ana, "key", "2", Some(&long))).map(drop)),
        ("new", block_on(alone.make_variable(&ana, "new", "2", Some(&long))).map(drop)),
        ("ours", change("2")),
    ] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error:?}");
        let told = format!("the description of the variable `{key}` has 65536 bytes");
        assert!(error.to_string().starts_with(&told) && error.to_string().contains("65535"), "{error:?}");
        assert!(!error.hints().is_empty() && error.to_string().contains("nothing was written"), "{error:?}");
    }
    let text = |key| block_on(engine.variable(&ana, key)).unwrap().map(|found| found.text);
    assert_eq!(["key", "new", "ours"].map(text), [Some("1".into()), None, Some("old".into())]);
    assert_eq!(database.still_kept(), "1");
}
