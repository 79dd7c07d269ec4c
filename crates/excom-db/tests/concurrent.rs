//! Writers at once: every push to one key succeeds, whoever comes first, and one entry is left.

use std::sync::Arc;

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
