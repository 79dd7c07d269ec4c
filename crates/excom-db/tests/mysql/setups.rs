//! Databases as they are found: collations, modes, other programs, newer schemas, small packets.

use std::sync::Arc;

use excom_core::db::Variable;
use excom_core::{Caller, Engine, ErrorKind, MetadataDb as _, PullOptions, Value, XComKey, memory};
use excom_db::mysql::{Db, Options};
use jiff::Timestamp;

use crate::support::{Database, pulled, server};

/// Names that some database takes for the same, or for a statement.
const NAMES: [&str; 19] = [
    "key",
    "KEY",
    "Key",
    "kéy",
    "ke\u{301}y",
    "key ",
    " key",
    "key\t",
    "ß",
    "ss",
    "ı",
    "i",
    "😀",
    "😁",
    "'; DROP TABLE excom_entry; --",
    "?",
    ":dag",
    "\\",
    "%_",
];

#[test]
fn names_stay_apart_whatever_the_collation() {
    let Some(server) = server() else { return };
    for (name, set) in [("folded", "utf8mb4 COLLATE utf8mb4_general_ci"), ("narrow", "latin1")] {
        server.sql("excom", &format!("CREATE DATABASE {name} CHARACTER SET {set}")).unwrap();
        let db = pollster::block_on(Db::open(&server.url(name), &Options::default())).unwrap();
        let engine = Engine::builder(Arc::new(db), Arc::new(memory::Clock::new())).build();
        let caller = Caller::user("o'neill");
        pollster::block_on(async {
            let key = |dag: &str, task: &str, key: &str| XComKey::new(dag, "r'", task, -1, key).unwrap();
            let mut keys = Vec::new();
            for name in NAMES {
                keys.extend([key(name, "t", "k"), key("d", name, "k"), key("d", "t", name)]);
            }
            for (number, key) in keys.iter().enumerate() {
                engine.push(&caller, key, Value::of(&number).unwrap().into()).await.unwrap();
            }
            let answers = engine.pull(&caller, &keys, PullOptions::default()).await.unwrap();
            for (number, answer) in answers.into_iter().enumerate() {
                assert_eq!(answer.value().unwrap().get::<usize>().unwrap(), number, "{}", keys[number]);
            }
            let listed = engine.list(&caller, &Default::default(), None, 1000).await.unwrap();
            let listed: Vec<XComKey> = listed.items.into_iter().map(|info| info.key).collect();
            keys.sort();
            assert_eq!(listed, keys, "in the order of their bytes");
        });
    }
}

#[test]
fn the_longest_names_fit() {
    let Some(server) = server() else { return };
    let database = Database::new(server);
    let engine = Engine::builder(Arc::new(database.open()), Arc::new(memory::Clock::new())).build();
    let name = |last: char, chars: usize| "😀".repeat(chars - 1) + &last.to_string();
    let key =
        |last| XComKey::new(name('d', 250), name('r', 250), name('t', 250), -1, name(last, 512)).unwrap();
    let caller = Caller::user("test");
    for (number, last) in ['a', 'b'].into_iter().enumerate() {
        let value = Value::of(&number).unwrap();
        pollster::block_on(engine.push(&caller, &key(last), value.into())).unwrap();
    }
    assert_eq!(pulled(&engine, &key('a')).unwrap().as_str(), "0");
    assert_eq!(pulled(&engine, &key('b')).unwrap().as_str(), "1");
}

#[test]
fn modes_of_the_server_change_nothing() {
    let Some(server) = server() else { return };
    let database = Database::new(server);
    let modes =
        "SET GLOBAL sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES,PAD_CHAR_TO_FULL_LENGTH';
        SET GLOBAL tx_isolation = 'SERIALIZABLE'";
    server.sql("excom", modes).unwrap();
    let engine = Engine::builder(Arc::new(database.open()), Arc::new(memory::Clock::new())).build();
    server.sql("excom", "SET GLOBAL sql_mode = DEFAULT; SET GLOBAL tx_isolation = DEFAULT").unwrap();
    let (caller, key) = (Caller::user("test"), XComKey::new("d", "r", "t", -1, "k").unwrap());
    pollster::block_on(async {
        engine.push(&caller, &key, Value::of(&"\\ \" '").unwrap().into()).await.unwrap();
        engine.prune().await.unwrap();
    });
    assert_eq!(pulled(&engine, &key).unwrap().get::<String>().unwrap(), "\\ \" '");
}

#[test]
fn what_is_larger_than_a_packet_is_told() {
    let Some(server) = server() else { return };
    let database = Database::new(server);
    let db = database.open();
    let set = |text: String| {
        let variable =
            Variable { key: "k".into(), text, description: None, updated_at: Timestamp::UNIX_EPOCH };
        pollster::block_on(db.set_variable(&Caller::user("test"), &variable))
    };
    let found = || pollster::block_on(db.variable("k")).unwrap().unwrap().text.len();
    // The server takes 16 MiB.
    set("x".repeat(12 << 20)).unwrap();
    assert_eq!(found(), 12 << 20);
    for mebibytes in [16, 17, 40] {
        let error = set("x".repeat(mebibytes << 20)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error:?}");
        assert!(error.to_string().contains("nothing was written"), "{error}");
    }
    assert_eq!(found(), 12 << 20);
}

#[test]
fn what_is_not_ours_or_too_new_is_refused() {
    let Some(server) = server() else { return };
    let refused = |name: &str, make: &str, told: &str| {
        server.sql("excom", &format!("CREATE DATABASE {name}")).unwrap();
        server.sql(name, make).unwrap();
        let error = pollster::block_on(Db::open(&server.url(name), &Options::default())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Incompatible, "{error:?}");
        assert!(error.to_string().contains(told), "{error}");
    };
    refused("others", "CREATE TABLE excom_users (id INT)", "another program");
    let migration = "CREATE TABLE excom_migration (version INT, works_since INT);
        INSERT INTO excom_migration VALUES (99, 98)";
    refused("newer", migration, "needs an Excom that knows schema 98");
}

#[test]
fn an_older_program_works_with_a_newer_schema_that_lets_it() {
    let Some(server) = server() else { return };
    server.sql("excom", "CREATE DATABASE rolling").unwrap();
    let url = server.url("rolling");
    drop(pollster::block_on(Db::open(&url, &Options::default())).unwrap());
    let newer = format!("INSERT INTO excom_migration (version, works_since) VALUES (99, {})", Db::SCHEMA);
    server.sql("rolling", &newer).unwrap();
    let db = pollster::block_on(Db::open(&url, &Options::default())).unwrap();
    let health = pollster::block_on(db.health()).unwrap();
    assert_eq!((health.schema, health.problems.len()), (99, 0));
}

/// A migration that was interrupted is made again, because its tables stay.
#[test]
fn an_interrupted_migration_goes_on() {
    let Some(server) = server() else { return };
    server.sql("excom", "CREATE DATABASE halfway").unwrap();
    let url = server.url("halfway");
    drop(pollster::block_on(Db::open(&url, &Options::default())).unwrap());
    server
        .sql(
            "halfway",
            "DELETE FROM excom_migration; DROP TABLE excom_mark; DELETE FROM excom_slot WHERE id > 99",
        )
        .unwrap();
    drop(pollster::block_on(Db::open(&url, &Options::default())).unwrap());
    let made = "SELECT (SELECT COUNT(*) FROM excom_slot), (SELECT COUNT(*) FROM excom_mark)";
    assert_eq!(server.sql("halfway", made).unwrap(), "4096\t0");
}

#[test]
fn urls_are_those_of_mysql_and_sqlalchemy() {
    let Some(server) = server() else { return };
    let database = Database::new(server);
    for scheme in ["mariadb", "mysql+pymysql", "mysql+mysqldb", "mariadb+mariadbconnector"] {
        let url = database.url().replacen("mysql", scheme, 1) + "?charset=utf8mb4";
        let db = pollster::block_on(Db::open(&url, &Options::default())).unwrap();
        assert!(db.to_string().starts_with("mysql(127.0.0.1:"), "{db}");
    }
    for (url, told) in [
        ("mysql:///d", "names no host"),
        ("mysql://h", "names no database"),
        ("excom", "no `://`"),
        ("oracle://h/d", "`oracle` is not a scheme"),
        ("mysql://h/d?sslmood=prefer", "unknown option `sslmood`"),
        ("mysql://h/d?ssl_mode=perhaps", "`perhaps` is no `ssl_mode`"),
    ] {
        let error = pollster::block_on(Db::open(url, &Options::default())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error:?}");
        assert!(error.to_string().contains(told), "{error}");
    }
}
