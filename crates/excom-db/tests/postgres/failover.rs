//! Another server, or another state, is where the database was: it is known that it is not the one, so no XCom seems
//! never to have been pushed.

use std::sync::Arc;

use excom_core::{Caller, Engine, ErrorKind, Value, XComKey, memory};
use excom_db::postgres::{Db, Options};
use excom_testkit::postgres::Postgres;
use excom_testkit::skip::skipped;

use crate::support::pulled;

fn open(url: &str) -> Engine {
    let db = pollster::block_on(Db::open(url, &Options::default())).unwrap();
    Engine::builder(Arc::new(db), Arc::new(memory::Clock::new())).build()
}

fn push(engine: &Engine, key: &XComKey, value: u32) -> excom_core::Result<()> {
    let value = Value::of(&value).unwrap();
    pollster::block_on(engine.push(&Caller::user("test"), key, value.into())).map(drop)
}

#[test]
fn another_database_at_the_address_is_refused() {
    if let Err(why) = Postgres::available() {
        return skipped("failover::another_database_at_the_address_is_refused", &why);
    }
    let server = Postgres::start().unwrap();
    server.sql("postgres", "CREATE DATABASE live").unwrap();
    let url = server.url("live");
    let engine = open(&url);
    let key = XComKey::new("d", "r", "t", -1, "k").unwrap();
    push(&engine, &key, 1).unwrap();
    let rename = |from: &str, to: &str| {
        let cut =
            format!("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{from}'");
        server.sql("postgres", &cut).unwrap();
        server.sql("postgres", &format!("ALTER DATABASE {from} RENAME TO {to}")).unwrap();
    };
    let refused = |told: &str| {
        let health = pollster::block_on(engine.health()).map(drop);
        for result in [pulled(&engine, &key).map(drop), push(&engine, &key, 2), health] {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
            assert!(error.to_string().contains(told), "{error:?}");
            assert!(error.hints().iter().any(|hint| hint.contains("failover")), "{error:?}");
        }
    };
    rename("live", "gone");
    server.sql("postgres", "CREATE DATABASE live").unwrap();
    refused("none of Excom's tables are there");
    let made = "SELECT to_regnamespace('excom') IS NULL";
    assert_eq!(server.sql("live", made).unwrap(), "t", "nothing is made there");

    // Somebody else begins with it.
    let other = open(&url);
    refused("its tables are of another one");
    assert_eq!(pulled(&other, &key).unwrap_err().kind(), ErrorKind::NoValue);

    // The database is back.
    rename("live", "other");
    rename("gone", "live");
    assert_eq!(pulled(&engine, &key).unwrap().as_str(), "1");
    push(&engine, &key, 3).unwrap();
}

/// As after a failover to a server that had not got all of it, or from a backup.
#[test]
fn an_older_state_is_refused() {
    if let Err(why) = Postgres::available() {
        return skipped("failover::an_older_state_is_refused", &why);
    }
    let server = Postgres::start().unwrap();
    let url = server.url("postgres");
    let engine = open(&url);
    let key = XComKey::new("d", "r", "t", -1, "k").unwrap();
    push(&engine, &key, 1).unwrap();
    server.sql("postgres", "CHECKPOINT").unwrap();
    let data = server.data();
    let beside = |name: &str| data.with_file_name(name);
    let copied = std::process::Command::new("cp").arg("-a").arg(&data).arg(beside("older")).status().unwrap();
    assert!(copied.success());
    push(&engine, &key, 2).unwrap();
    std::fs::rename(&data, beside("newer")).unwrap();
    std::fs::rename(beside("older"), &data).unwrap();
    server.crash().unwrap();
    for result in [pulled(&engine, &key).map(drop), push(&engine, &key, 3)] {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert!(error.to_string().contains("an older state"), "{error:?}");
    }
    // Who begins with it takes it as it is.
    let engine = open(&url);
    assert_eq!(pulled(&engine, &key).unwrap().as_str(), "1");
    push(&engine, &key, 4).unwrap();
    server.crash().unwrap();
    assert_eq!(pulled(&engine, &key).unwrap().as_str(), "4", "a restart loses nothing");
}
