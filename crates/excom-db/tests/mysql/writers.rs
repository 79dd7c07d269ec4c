//! Writers at once, as many processes have them: none fails, nothing is lost.

use std::collections::BTreeSet;
use std::sync::Arc;

use excom_core::{Caller, Engine, Value, XComKey, memory};

use crate::support::{Database, pulled, server};

const PROCESSES: usize = 8;
const WRITERS: usize = 64;
const PUSHES: usize = 10;

/// Each writer pushes numbers of its own under a key.
fn push_all(database: &Database, key: impl Fn(usize) -> XComKey + Sync) -> Vec<Engine> {
    // Versions come from one clock, because those of the clock for tests repeat in each.
    let clock = Arc::new(memory::Clock::new());
    let engine = || Engine::builder(Arc::new(database.open()), clock.clone()).build();
    let engines: Vec<Engine> = (0..PROCESSES).map(|_| engine()).collect();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (engine, key) = (&engines[writer % PROCESSES], key(writer));
            scope.spawn(move || {
                for push in 0..PUSHES {
                    let value = Value::of(&(writer * PUSHES + push)).unwrap();
                    pollster::block_on(engine.push(&Caller::user("test"), &key, value.into())).unwrap();
                }
            });
        }
    });
    engines
}

fn number(engine: &Engine, key: &XComKey) -> usize {
    pulled(engine, key).unwrap().get().unwrap()
}

#[test]
fn many_writers_of_one_key() {
    let Some(server) = server() else { return };
    let database = Database::new(server);
    let key = XComKey::new("d", "r", "t", -1, "k").unwrap();
    let engines = push_all(&database, |_| key.clone());
    let current = number(&engines[0], &key);
    assert!(engines.iter().all(|engine| number(engine, &key) == current));

    // Every push is there once: one as the entry, the others in the history, each ended after it began.
    let db = engines[0].db();
    let past = pollster::block_on(db.history(&key, 10_000)).unwrap();
    assert_eq!(past.len(), WRITERS * PUSHES - 1);
    let mut seen = BTreeSet::from([current]);
    for past in &past {
        let entry = pollster::block_on(db.past(&key, past.info.version)).unwrap().unwrap();
        let excom_core::entry::Stored::Inline(value) = entry.stored else { panic!("{entry:?}") };
        assert!(seen.insert(value.get().unwrap()), "{past:?}");
        assert!(past.ended_at >= past.info.pushed_at());
    }
    // The last writer wins.
    let last = Value::of(&"last").unwrap();
    pollster::block_on(engines[1].push(&Caller::user("test"), &key, last.into())).unwrap();
    assert_eq!(pulled(&engines[2], &key).unwrap().as_str(), "\"last\"");
}

#[test]
fn many_writers_of_many_keys() {
    let Some(server) = server() else { return };
    let database = Database::new(server);
    // All names and the run are new to all of them at once.
    let key =
        |writer: usize| XComKey::new("d", "r", format!("t{}", writer % 7), -1, format!("k{writer}")).unwrap();
    let engines = push_all(&database, key);
    for writer in 0..WRITERS {
        assert_eq!(number(&engines[0], &key(writer)), writer * PUSHES + PUSHES - 1);
    }
    assert_eq!(
        database.sql("SELECT count(*), (SELECT count(*) FROM excom_dag_run) FROM excom_entry"),
        "64\t1"
    );
}

#[test]
fn writers_make_the_schema_once() {
    let Some(server) = server() else { return };
    server.sql("excom", "CREATE DATABASE together").unwrap();
    let url = server.url("together");
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                pollster::block_on(excom_db::mysql::Db::open(&url, &Default::default())).unwrap();
            });
        }
    });
    let made = server.sql("together", "SELECT count(*) FROM excom_migration").unwrap();
    assert_eq!(made, excom_db::mysql::Db::SCHEMA.to_string());
}
