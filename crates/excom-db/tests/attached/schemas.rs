//! Databases as they are found: each schema of Airflow's, one that is migrated meanwhile, and what is refused.

use std::sync::Arc;

use excom_core::db::Scope;
use excom_core::{Caller, Engine, ErrorKind, PullOptions, Result, TaskInstanceKey, Value, memory};
use excom_db::postgres;
use excom_db::postgres::attached::Db;
use pollster::block_on;

use crate::support::{Database, migrated, options};
use crate::trips::{engine, marked, round_trip, started, variables_are_shared};

/// One with Airflow's tables alone.
fn alone(database: &Database) -> Engine {
    Engine::builder(Arc::new(database.bare()), Arc::new(memory::Clock::new())).build()
}

/// What Airflow's schema consists of.
const ALL_OF_AIRFLOW: &str = "
    SELECT string_agg(line, E'\\n' ORDER BY line) FROM (
        SELECT format('%s.%s %s %s', table_name, column_name, data_type, column_default) AS line
        FROM information_schema.columns WHERE table_schema = 'public'
        UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
        UNION ALL SELECT format('%s %s', conrelid::regclass, conname) FROM pg_constraint
                  WHERE connamespace = 'public'::regnamespace
        UNION ALL SELECT format('%s %s', tgrelid::regclass, tgname) FROM pg_trigger t
                  JOIN pg_class c ON c.oid = t.tgrelid WHERE c.relnamespace = 'public'::regnamespace AND NOT tgisinternal
    ) lines";

#[test]
fn every_schema_of_airflow_3_is_worked_with_and_stays() {
    for release in ["3.0.0", "3.0.3", "3.1.0", "3.1.8", "3.2.0"] {
        let Some(database) = Database::empty() else { return };
        migrated(&database.name, Some(release)).unwrap();
        let before = database.sql(ALL_OF_AIRFLOW);
        let found = block_on(Db::attach(&database.url(), &options())).unwrap();
        assert_eq!((found.airflow, found.version), (release, Db::SCHEMA));
        let (engine, attempt) = (engine(&database), started(&database));
        round_trip(&engine, &attempt, r#"{"b": 1, "a": [null, 1.0]}"#).unwrap();
        variables_are_shared(&database, &engine, &attempt);
        let me = Caller::Attempt(attempt.clone());
        let key = Scope::TaskInstance(attempt.ti.clone());
        assert_eq!(block_on(engine.clear(&me, &key)).unwrap(), 1);
        assert_eq!(block_on(engine.history(&me, &attempt.ti.return_value(), 9)).unwrap().len(), 1);
        assert_eq!(database.sql("SELECT count(*) FROM xcom"), "0");
        assert_eq!(marked(&engine, &attempt), [0, 0], "nothing to mark in Airflow {release}");
        let after = database.sql(ALL_OF_AIRFLOW);
        let changed: Vec<&str> =
            after.lines().filter(|line| !before.lines().any(|was| was == *line)).collect();
        assert!(
            changed.is_empty() && after.len() == before.len(),
            "Airflow {release} is as it was, but {changed:?}"
        );
    }
}

#[test]
fn airflow_is_migrated_meanwhile() {
    let Some(database) = Database::empty() else { return };
    migrated(&database.name, Some("3.2.0")).unwrap();
    block_on(Db::attach(&database.url(), &options())).unwrap();
    let (engine, attempt) = (engine(&database), started(&database));
    let alone = alone(&database);
    assert_eq!((marked(&engine, &attempt), marked(&alone, &attempt)), ([0, 0], [0, 0]));
    round_trip(&engine, &attempt, "1").unwrap();

    // Nothing of ours stands in the way of a migration, and who is connected goes on.
    migrated(&database.name, Some("3.3.0")).unwrap();
    assert_eq!((marked(&engine, &attempt), marked(&alone, &attempt)), ([1, 0], [1, 0]));
    round_trip(&engine, &attempt, "2").unwrap();
    let health = block_on(engine.db().health()).unwrap();
    assert!(health.identity.ends_with("attached to Airflow 3.3.0"), "{}", health.identity);

    // A schema that nobody knows: nothing is written, what is there is read.
    database.sql("UPDATE alembic_version SET version_num = 'newer'");
    let error = round_trip(&engine, &attempt, "3").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible, "{error}");
    assert!(error.to_string().contains("the schema `newer` of Airflow"), "{error}");
    let me = Caller::Attempt(attempt.clone());
    let pulled = block_on(engine.pull(&me, &[attempt.ti.return_value()], PullOptions::default())).unwrap();
    assert_eq!(pulled[0].found().unwrap().value.as_str(), "2");
    for error in [
        block_on(engine.clear(&me, &Scope::TaskInstance(attempt.ti.clone()))).unwrap_err(),
        block_on(engine.delete(&Caller::user("ana"), &Scope::TaskInstance(attempt.ti.clone()))).unwrap_err(),
        block_on(engine.db().health()).unwrap_err(),
        block_on(engine.db().check()).unwrap_err(),
        block_on(Db::open(&database.url(), &options())).unwrap_err(),
        block_on(Db::attach(&database.url(), &options())).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Incompatible, "{error}");
    }
    database.sql("UPDATE alembic_version SET version_num = 'd2f4e1b3c5a7'");
    round_trip(&engine, &attempt, "3").unwrap();
}

/// Airflow's tables alone are asked for what fits the one schema and then the other.
#[test]
fn airflow_is_migrated_between_two_statements_of_a_push() {
    let Some(database) = Database::made() else { return };
    let attempt = started(&database);
    let alone = alone(&database);
    // The first statement finds the schema before when it has waited for the task instance, and whatever follows the newest.
    database.sql("UPDATE alembic_version SET version_num = '1d6611b6ab7c'");
    let migration = "DO $$ BEGIN
            PERFORM FROM task_instance FOR UPDATE;
            UPDATE alembic_version SET version_num = 'd2f4e1b3c5a7';
            PERFORM pg_advisory_xact_lock(7);
            WHILE NOT EXISTS (
                SELECT FROM pg_locks WHERE NOT granted AND transactionid = pg_current_xact_id()::xid)
            LOOP PERFORM pg_sleep(0.01); END LOOP;
        END $$";
    std::thread::scope(|scope| {
        let migration = scope.spawn(|| database.sql(migration));
        let holds = "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database
            WHERE datname = current_database() AND locktype = 'advisory' AND classid = 0 AND objid = 7";
        while database.sql(holds) == "0" {
            assert!(!migration.is_finished(), "it waits for a push");
        }
        round_trip(&alone, &attempt, "1").unwrap();
    });
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
    assert_eq!(database.sql("SELECT to_regnamespace('excom') IS NULL"), "t", "a look makes nothing");

    // The script does what attaching does, for somebody who may.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &script).unwrap();
    database.sql(&script);
    open(&database).unwrap();
    block_on(Db::attach(&database.url(), &options())).unwrap();
    refused(
        block_on(postgres::Db::open(&database.url(), &options())).map(drop),
        ErrorKind::Incompatible,
        "an Excom attached to Airflow",
    );

    let empty = Database::empty().unwrap();
    refused(open(&empty), ErrorKind::Configuration, "not the metadata database of an Airflow 3");
    let taken = Database::made().unwrap();
    taken.sql("CREATE SCHEMA excom");
    refused(open(&taken), ErrorKind::Incompatible, "another program's");

    let strict = Database::made().unwrap();
    strict.sql(
        "CREATE ROLE reader LOGIN PASSWORD 'reader'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader",
    );
    let at = strict.url().rfind('@').unwrap();
    let url = format!("postgresql://reader:reader{}", &strict.url()[at..]);
    refused(
        block_on(Db::attach(&url, &options())).map(drop),
        ErrorKind::Configuration,
        "does not let the user",
    );
}

#[test]
fn who_is_detached_meanwhile_is_told_to_attach() {
    let Some(database) = Database::made() else { return };
    block_on(Db::attach(&database.url(), &options())).unwrap();
    let (engine, attempt) = (engine(&database), started(&database));
    round_trip(&engine, &attempt, "1").unwrap();

    database.sql("DROP SCHEMA excom CASCADE");
    let me = Caller::Attempt(attempt.clone());
    let key = attempt.ti.return_value();
    for error in [
        block_on(engine.push(&me, &key, Value::null().into())).map(drop).unwrap_err(),
        block_on(engine.db().entries(std::slice::from_ref(&key))).map(drop).unwrap_err(),
        block_on(engine.db().variable("v")).map(drop).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Incompatible, "{error:?}");
        let hints = error.hints().join("; ");
        assert!(hints.contains("`excom db attach`") && !hints.contains("migrate"), "{hints}");
    }
    block_on(Db::attach(&database.url(), &options())).unwrap();
    round_trip(&engine, &attempt, "2").unwrap();
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
    let nul = Value::parse(r#""\u0000""#.to_owned()).unwrap();
    let error = block_on(engine.push(&me, &attempt.ti.return_value(), nul.into())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidValue, "{error:?}");
    block_on(engine.set_attempt_state(&attempt, excom_core::TaskState::Success)).unwrap();
    assert_eq!(database.sql("SELECT state FROM task_instance"), "running", "Airflow's to write");
}

#[test]
fn one_variable_of_many_is_found_by_airflows_index() {
    let Some(database) = Database::attached() else { return };
    database.sql(
        "INSERT INTO variable (key, val, is_encrypted) SELECT 'k' || i, i, false FROM generate_series(1, 5000) i",
    );
    database.sql("ANALYZE variable");
    for key in ["ours", "changed"] {
        database.kept(key, "old");
    }
    let whole = || {
        database.sessions_end();
        database.sql("SELECT coalesce(seq_scan, 0) FROM pg_stat_user_tables WHERE relname = 'variable'")
    };
    let by_index = || {
        let sql = "SELECT coalesce(idx_scan, 0) FROM pg_stat_user_tables WHERE relname = 'variable'";
        database.sql(sql).parse::<u64>().unwrap()
    };
    let before = (whole(), by_index());
    for (engine, ours) in [(engine(&database), Some("old")), (alone(&database), None)] {
        let text =
            |key| block_on(engine.variable(&Caller::user("ana"), key)).unwrap().map(|found| found.text);
        assert_eq!(["k77", "none", "ours"].map(text), [Some("77".to_owned()), None, ours.map(str::to_owned)]);
        let change = |key| block_on(engine.change_variable(&Caller::user("ana"), key, Some("new"), None));
        assert_eq!(["k78", "changed"].map(|key| change(key).unwrap().is_some()), [true; 2]);
    }
    assert_eq!(whole(), before.0, "the table is never read as a whole");
    assert!(by_index() >= before.1 + 10, "each of them looked");
}

#[test]
fn a_variable_with_a_nul_is_refused_in_the_clear_and_stays_ours() {
    let Some(database) = Database::attached() else { return };
    let (engine, alone, ana) = (engine(&database), alone(&database), Caller::user("ana"));
    let refused = |result: Result<()>, told: &str| {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidValue, "{error:?}");
        let hints = error.hints().join("; ");
        let all = ["`v`", told, "has a NUL character", "nothing was written"];
        assert!(all.iter().all(|part| error.to_string().contains(part)), "{error:?}");
        assert!(!hints.is_empty() && !format!("{error:?}").contains("hunter2"), "{error:?}");
    };
    for engine in [&engine, &alone] {
        let set = |text, description| block_on(engine.set_variable(&ana, "v", text, description)).map(drop);
        refused(set("hunter2\0", None), "the text of");
        refused(set("hunter2", Some("a\0")), "the description of");
        refused(block_on(engine.make_variable(&ana, "v", "hunter2\0", None)).map(drop), "the text of");
        assert_eq!(block_on(engine.variable(&ana, "v")).unwrap(), None);
    }
    // What Excom kept itself may have one, and is read; a change of its description would make it Airflow's row.
    for (text, description, part) in [
        (r"hunter2\000", "ours", "excom.own_variable, and cannot become Airflow's row: its text"),
        ("hunter2", r"ours\000", "its description"),
    ] {
        database.kept("v", text);
        database.sql(&format!("UPDATE excom.own_variable SET description = '{description}'"));
        let change = |text| block_on(engine.change_variable(&ana, "v", text, Some("new"))).map(drop);
        refused(change(None), part);
        refused(change(Some("new")), part);
        if description != "ours" {
            refused(block_on(engine.set_variable(&ana, "v", "new", None)).map(drop), part);
        }
        assert_eq!(database.still_kept(), "1");
        assert!(block_on(engine.variable(&ana, "v")).unwrap().unwrap().text.starts_with("hunter2"));
        block_on(engine.set_variable(&ana, "v", "new", Some("new"))).unwrap();
        assert_eq!(
            (database.still_kept(), database.sql("SELECT val FROM variable")),
            ("0".into(), "new".into())
        );
        assert!(block_on(engine.delete_variable(&ana, "v")).unwrap());
    }
    // Encrypted it may have any.
    let keys = excom_db::Fernet::parse(crate::variables::KEY).unwrap();
    let encrypted =
        Engine::builder(Arc::new(database.open().with_fernet(keys)), Arc::new(memory::Clock::new()));
    let encrypted = encrypted.build();
    database.kept("v", r"hunter2\000");
    block_on(encrypted.change_variable(&ana, "v", None, Some("new"))).unwrap();
    assert_eq!(block_on(encrypted.variable(&ana, "v")).unwrap().unwrap().text, "hunter2\0");
}
