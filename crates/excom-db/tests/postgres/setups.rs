//! Databases as they are found: collations, other programs, newer schemas, statements that are not prepared.

use std::sync::Arc;

use excom_core::{Caller, Engine, ErrorKind, MetadataDb as _, PullOptions, Value, XComKey, memory};
use excom_db::postgres::{Db, Options};

use crate::support::{Database, pulled, server};

/// Names that some database takes for the same, or for a statement.
const NAMES: [&str; 16] = [
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
    "'; DROP TABLE excom.entry; --",
    "$1",
    "\\",
    "%_",
];

#[test]
fn names_stay_apart_whatever_the_collation() {
    let Some(server) = server() else { return };
    server
        .sql("postgres", "CREATE DATABASE folded TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US-u-ks-level1' LOCALE 'C'")
        .unwrap();
    let db = pollster::block_on(Db::open(&server.url("folded"), &Options::default())).unwrap();
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

#[test]
fn statements_need_not_be_prepared() {
    let Some(server) = server() else { return };
    let database = Database::new(server);
    drop(database.open());
    let options = Options { prepare: false, ..Options::default() };
    let db = pollster::block_on(Db::open(&database.url(), &options)).unwrap();
    let engine = Engine::builder(Arc::new(db), Arc::new(memory::Clock::new())).build();
    let (caller, key) = (Caller::user("test"), XComKey::new("d", "r", "t", -1, "k").unwrap());
    pollster::block_on(async {
        engine.push(&caller, &key, Value::of(&1).unwrap().into()).await.unwrap();
        engine.prune().await.unwrap();
    });
    assert_eq!(pulled(&engine, &key).unwrap().as_str(), "1");
}

#[test]
fn what_is_not_ours_or_too_new_is_refused() {
    let Some(server) = server() else { return };
    let refused = |name: &str, make: &str, told: &str| {
        server.sql("postgres", &format!("CREATE DATABASE {name}")).unwrap();
        server.sql(name, make).unwrap();
        let error = pollster::block_on(Db::open(&server.url(name), &Options::default())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Incompatible, "{error:?}");
        assert!(error.to_string().contains(told), "{error}");
    };
    refused("others", "CREATE SCHEMA excom; CREATE TABLE excom.users ()", "another program's");
    let migration = "CREATE SCHEMA excom;
        CREATE TABLE excom.migration (version int4, works_since int4, made timestamptz DEFAULT now());
        INSERT INTO excom.migration VALUES (99, 98)";
    refused("newer", migration, "needs an Excom that knows schema 98");
}

#[test]
fn an_older_program_works_with_a_newer_schema_that_lets_it() {
    let Some(server) = server() else { return };
    server.sql("postgres", "CREATE DATABASE rolling").unwrap();
    let url = server.url("rolling");
    drop(pollster::block_on(Db::open(&url, &Options::default())).unwrap());
    let newer = format!("INSERT INTO excom.migration VALUES (99, {})", Db::SCHEMA);
    server.sql("rolling", &newer).unwrap();
    let db = pollster::block_on(Db::open(&url, &Options::default())).unwrap();
    let health = pollster::block_on(db.health()).unwrap();
    assert_eq!((health.schema, health.problems.len()), (99, 0));
}

#[test]
fn urls_are_those_of_libpq_and_sqlalchemy() {
    let Some(server) = server() else { return };
    let database = Database::new(server);
    for scheme in ["postgres", "postgresql+psycopg2", "postgresql+asyncpg"] {
        let url = database.url().replacen("postgresql", scheme, 1);
        let db = pollster::block_on(Db::open(&url, &Options::default())).unwrap();
        assert!(db.to_string().starts_with("postgresql(127.0.0.1:"), "{db}");
    }
    for (url, told) in [
        ("postgresql://", "names no host"),
        ("excom", "no `://`"),
        ("postgresql://h/d?sslmood=prefer", "unknown option `sslmood`"),
    ] {
        let error = pollster::block_on(Db::open(url, &Options::default())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error:?}");
        assert!(error.to_string().contains(told), "{error}");
    }
}
