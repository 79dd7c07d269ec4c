//! Databases as they are found: collations, other programs, newer schemas, URLs.

use std::sync::Arc;

use excom_core::{Caller, Engine, ErrorKind, MetadataDb as _, PullOptions, Value, XComKey, memory};

use crate::Server;
use crate::support::{Kind, open, server};

/// Names that some database takes for the same, or for a statement.
const NAMES: [&str; 21] = [
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
    "'; DROP TABLE excom.entry; --",
    "?",
    ":dag",
    "$1",
    "\\",
    "%_",
];

#[test]
fn names_stay_apart_whatever_the_collation() {
    let Some(server) = server() else { return };
    for database in server.folded() {
        let db = open(&server.url(database)).unwrap();
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

/// A database in which something made what is there is refused.
pub(crate) fn refused(server: &Server, name: &str, make: &str, told: &str) {
    server.sql(Server::FIRST, &format!("CREATE DATABASE {name}")).unwrap();
    server.sql(name, make).unwrap();
    let error = open(&server.url(name)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible, "{error:?}");
    assert!(error.to_string().contains(told), "{error}");
}

#[test]
fn an_older_program_works_with_a_newer_schema_that_lets_it() {
    let Some(server) = server() else { return };
    server.sql(Server::FIRST, "CREATE DATABASE rolling").unwrap();
    let url = server.url("rolling");
    drop(open(&url).unwrap());
    let (ours, schema) = (Server::OURS, Server::SCHEMA);
    let newer = format!("INSERT INTO {ours}migration (version, works_since) VALUES (99, {schema})");
    server.sql("rolling", &newer).unwrap();
    let db = open(&url).unwrap();
    let health = pollster::block_on(db.health()).unwrap();
    assert_eq!((health.schema, health.problems.len()), (99, 0));
}

/// A URL that cannot be read is refused.
pub(crate) fn unreadable(url: &str, told: &str) {
    let error = open(url).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error:?}");
    assert!(error.to_string().contains(told), "{error}");
}

#[test]
fn a_database_that_was_emptied_meanwhile_does_not_work() {
    let Some(server) = server() else { return };
    server.sql(Server::FIRST, "CREATE DATABASE emptied").unwrap();
    let db = open(&server.url("emptied")).unwrap();
    pollster::block_on(db.check()).unwrap();
    for table in ["migration", "mark"] {
        server.sql("emptied", &format!("DROP TABLE {}{table}", Server::OURS)).unwrap();
    }
    pollster::block_on(db.check()).unwrap_err();
}
