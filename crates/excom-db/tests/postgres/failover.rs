//! Another server, or another state, is where the database was: it is known that it is not the one, so no XCom seems
//! never to have been pushed.

use excom_core::ErrorKind;

use crate::alone::Alone;
use crate::faults::{key, pulled, push};

#[test]
fn another_database_at_the_address_is_refused() {
    let Some(alone) = Alone::start("failover::another_database_at_the_address_is_refused") else { return };
    let (url, live, key) = (alone.url(), alone.database(), key("t"));
    alone.expects(std::slice::from_ref(&key));
    let engine = Alone::engine(&url).unwrap();
    push(&engine, &key, 1).unwrap();
    let sql = |sql: &str| alone.sql("postgres", sql).unwrap();
    let rename = |from: &str, to: &str| {
        sql(&format!(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{from}'"
        ));
        sql(&format!("ALTER DATABASE {from} RENAME TO {to}"));
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
    rename(live, "gone");
    sql(&format!("CREATE DATABASE {live}"));
    refused("none of Excom's tables are there");
    let made = "SELECT to_regnamespace('excom') IS NULL";
    assert_eq!(alone.sql(live, made).unwrap(), "t", "nothing is made there");

    // Somebody else begins with it.
    alone.begin();
    let other = Alone::engine(&url).unwrap();
    refused("its tables are of another one");
    assert_eq!(pulled(&other, &key).unwrap_err().kind(), ErrorKind::NoValue);

    // The database is back.
    rename(live, "other");
    rename("gone", live);
    assert_eq!(pulled(&engine, &key).unwrap().as_str(), "1");
    push(&engine, &key, 3).unwrap();
}

/// As after a failover to a server that had not got all of it, or from a backup.
#[test]
fn an_older_state_is_refused() {
    let Some(alone) = Alone::start("failover::an_older_state_is_refused") else { return };
    let (url, key) = (alone.url(), key("t"));
    alone.expects(std::slice::from_ref(&key));
    let engine = Alone::engine(&url).unwrap();
    push(&engine, &key, 1).unwrap();
    alone.sql("postgres", "CHECKPOINT").unwrap();
    let data = alone.data();
    let beside = |name: &str| data.with_file_name(name);
    let copied = std::process::Command::new("cp").arg("-a").arg(&data).arg(beside("older")).status().unwrap();
    assert!(copied.success());
    push(&engine, &key, 2).unwrap();
    std::fs::rename(&data, beside("newer")).unwrap();
    std::fs::rename(beside("older"), &data).unwrap();
    alone.crash().unwrap();
    for result in [pulled(&engine, &key).map(drop), push(&engine, &key, 3)] {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert!(error.to_string().contains("an older state"), "{error:?}");
    }
    // Who begins with it takes it as it is.
    let engine = Alone::engine(&url).unwrap();
    assert_eq!(pulled(&engine, &key).unwrap().as_str(), "1");
    push(&engine, &key, 4).unwrap();
    alone.crash().unwrap();
    assert_eq!(pulled(&engine, &key).unwrap().as_str(), "4", "a restart loses nothing");
}
