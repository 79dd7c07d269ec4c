//! How writes reach the file: many writers at once, one alone, and one that does not wait for its answer; and what is kept
//! there of results.

#![allow(clippy::unwrap_used, reason = "a test panics when it does not hold")]

#[path = "server/results.rs"]
mod results;

use std::future::Future as _;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use excom_core::{Caller, Engine, PullOptions, Value, XComKey, memory};
use excom_db::sqlite::{Db, Options};

const WRITERS: u64 = 8;
const PUSHES: u64 = 40;

#[test]
fn many_writers_of_one_key_never_conflict() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("excom.db");
    // A connection of its own for each writer, as processes have; versions come from one clock, because
    // those of the clock for tests repeat in each.
    let clock = Arc::new(memory::Clock::new());
    let engines: Vec<Engine> = (0..WRITERS)
        .map(|_| {
            Engine::builder(Arc::new(Db::open(&path, Options::default()).unwrap()), clock.clone()).build()
        })
        .collect();
    let (caller, key) = (Caller::user("test"), XComKey::new("d", "r", "t", -1, "k").unwrap());
    std::thread::scope(|scope| {
        for (writer, engine) in (0..).zip(&engines) {
            let (caller, key) = (&caller, &key);
            scope.spawn(move || {
                for push in 0..PUSHES {
                    let value = Value::of(&(writer * PUSHES + push)).unwrap();
                    pollster::block_on(engine.push(caller, key, value.into())).unwrap();
                }
            });
        }
    });
    let keys = std::slice::from_ref(&key);
    for engine in &engines {
        let answer =
            pollster::block_on(engine.pull(&caller, keys, PullOptions::default())).unwrap().remove(0);
        assert!(answer.value().unwrap().get::<u64>().unwrap() < WRITERS * PUSHES);
    }
    let listed = pollster::block_on(engines[0].list(&caller, &Default::default(), None, 10)).unwrap();
    assert_eq!(listed.items.len(), 1);
}

#[test]
fn one_writer_alone_does_not_let_the_log_grow() {
    const PUSHES: u64 = 5000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("excom.db");
    let db = Arc::new(Db::open(&path, Options::default()).unwrap());
    let engine = Engine::builder(db, Arc::new(memory::Clock::new())).build();
    let (caller, key) = (Caller::user("test"), XComKey::new("d", "r", "t", -1, "k").unwrap());
    let mut longest = 0;
    for push in 0..PUSHES {
        let value = Value::of(&push).unwrap();
        pollster::block_on(engine.push(&caller, &key, value.into())).unwrap();
        let log = folder.path().join("excom.db-wal");
        longest = longest.max(std::fs::metadata(log).map_or(0, |log| log.len()));
    }
    // Each push writes some pages.
    assert!(longest < PUSHES * 16_384, "the log had {longest} bytes");
}

#[test]
fn what_was_given_first_is_written_first_also_when_nobody_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let db = Arc::new(Db::open(&folder.path().join("excom.db"), Options::default()).unwrap());
    let engine = Engine::builder(db, Arc::new(memory::Clock::new())).build();
    let (caller, key) = (Caller::user("test"), XComKey::new("d", "r", "t", -1, "k").unwrap());
    let large = Value::of(&"x".repeat(100_000)).unwrap();
    for round in 0..100 {
        // A large push goes to the writer's thread, and is given up at once; a small one would overtake it.
        let pushed = engine.push(&caller, &key, large.clone().into());
        let _ = pin!(pushed).poll(&mut Context::from_waker(Waker::noop()));
        pollster::block_on(engine.push(&caller, &key, Value::of(&round).unwrap().into())).unwrap();
        let answers =
            pollster::block_on(engine.pull(&caller, std::slice::from_ref(&key), PullOptions::default()));
        assert_eq!(answers.unwrap().remove(0).value().unwrap().get::<u64>().unwrap(), round);
    }
}

#[test]
fn marks_of_results_go_with_what_they_mark() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("excom.db");
    let db = Arc::new(Db::open(&path, Options::default()).unwrap());
    results::marks_go_with_what_they_mark(db, || {
        let connection = rusqlite::Connection::open(&path).unwrap();
        let rows = connection.query_row("SELECT count(*) FROM excom_result", [], |row| row.get::<_, i64>(0));
        rows.unwrap().to_string()
    });
}
