//! Writers at once, as many processes have them: none fails, nothing is lost.

use std::collections::BTreeSet;
use std::sync::Arc;

use excom_core::attempt::TaskState;
use excom_core::db::Scope;
use excom_core::{Caller, Engine, ErrorKind, TaskInstanceKey, Value, XComKey, memory};

use crate::Server;
use crate::support::{Database, Kind, open, own_server, pulled, server};

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
    let (ours, between) = (Server::OURS, Server::BETWEEN);
    let counted = format!("SELECT count(*), (SELECT count(*) FROM {ours}dag_run) FROM {ours}entry");
    assert_eq!(database.sql(&counted), format!("64{between}1"));
}

#[test]
fn writers_make_the_schema_once() {
    let Some(server) = server() else { return };
    server.sql(Server::FIRST, "CREATE DATABASE together").unwrap();
    let url = server.url("together");
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| drop(open(&url).unwrap()));
        }
    });
    let made = server.sql("together", &format!("SELECT count(*) FROM {}migration", Server::OURS)).unwrap();
    assert_eq!(made, Server::SCHEMA.to_string());
}

/// From the moment at which a try has started, nothing of the one before is there or comes.
#[test]
fn a_try_that_starts_ends_the_pushes_of_the_one_before() {
    let Some(server) = server() else { return };
    let database = Database::new(server);
    let engine = Engine::builder(Arc::new(database.open()), Arc::new(memory::Clock::new())).build();
    let ti = TaskInstanceKey::new("d", "r", "t", -1).unwrap();
    let key = |name: usize| ti.xcom(format!("k{name}")).unwrap();
    let mut attempt = pollster::block_on(engine.start(&ti, 1)).unwrap();
    for number in 2..12 {
        let caller = Caller::Attempt(attempt.clone());
        std::thread::scope(|scope| {
            let pushers: Vec<_> = (0..4)
                .map(|name| {
                    let (engine, caller, key) = (&engine, &caller, key(name));
                    scope.spawn(move || {
                        let mut pushed = 0;
                        loop {
                            let value = Value::of(&number).unwrap().into();
                            match pollster::block_on(engine.push(caller, &key, value)) {
                                Ok(_) => pushed += 1,
                                Err(error) => {
                                    assert_eq!(error.kind(), ErrorKind::Superseded, "{error:?}");
                                    return pushed;
                                }
                            }
                        }
                    })
                })
                .collect();
            // Some of it is there.
            while pulled(&engine, &key(0)).is_err() {
                std::thread::yield_now();
            }
            attempt = pollster::block_on(engine.start(&ti, number)).unwrap();
            let nothing = |when: &str| {
                let entries =
                    pollster::block_on(engine.db().entries(&[key(0), key(1), key(2), key(3)])).unwrap();
                assert!(entries.iter().all(Option::is_none), "{when}: {entries:?}");
            };
            nothing("at once");
            let pushed: usize = pushers.into_iter().map(|pusher| pusher.join().unwrap()).sum();
            nothing("after all");
            assert!(pushed > 0);
        });
    }
}

/// Writers of several task instances at once name them in different orders.
#[test]
fn writers_that_cross_do_not_deadlock() {
    const TASKS: usize = 8;
    const TRIES: usize = 12;
    let Some(server) = own_server() else { return };
    let clock = Arc::new(memory::Clock::new());
    let engine = || {
        let db = open(&server.url(Server::FIRST)).unwrap();
        Engine::builder(Arc::new(db), clock.clone()).build()
    };
    let ti = |task: usize| TaskInstanceKey::new("d", "r", format!("t{task}"), -1).unwrap();
    let engines: Vec<Engine> = (0..TASKS).map(|_| engine()).collect();
    let attempts: Vec<_> =
        (0..TASKS).map(|task| pollster::block_on(engines[0].start(&ti(task), 1)).unwrap()).collect();
    let finish = |task: usize| {
        let order = (0..TASKS).map(|step| (task + step * (2 * (task % 2) + 1)) % TASKS);
        let values = order.map(|to| (ti(to).xcom("k").unwrap(), Value::of(&task).unwrap().into()));
        pollster::block_on(engines[task].finish(&attempts[task], TaskState::Success, values.collect()))
            .unwrap();
    };
    finish(0);
    std::thread::scope(|scope| {
        for task in 0..TASKS {
            scope.spawn(move || (0..TRIES).for_each(|_| finish(task)));
        }
    });
    for task in 0..TASKS {
        let past = pollster::block_on(engines[0].db().history(&ti(task).xcom("k").unwrap(), 10_000)).unwrap();
        assert_eq!(past.len(), TASKS * TRIES);
    }
    drop(engines);
    assert_eq!(server.deadlocks(), "0");
}

/// Tasks clear each other's XComs, in one run and in two.
#[test]
fn tasks_that_clear_each_others_do_not_deadlock() {
    const ROUNDS: usize = 200;
    let Some(server) = own_server() else { return };
    let clock = Arc::new(memory::Clock::new());
    let tis = [("r1", "a"), ("r1", "b"), ("r2", "a")]
        .map(|(run, task)| TaskInstanceKey::new("d", run, task, -1).unwrap());
    let engine = || {
        let db = open(&server.url(Server::FIRST)).unwrap();
        Engine::builder(Arc::new(db), clock.clone()).build()
    };
    let attempts = tis.each_ref().map(|ti| pollster::block_on(engine().start(ti, 1)).unwrap());
    let cleared: u64 = std::thread::scope(|scope| {
        let clearers: Vec<_> = (0..3)
            .map(|own| {
                let (caller, tis, engine) = (Caller::Attempt(attempts[own].clone()), &tis, engine());
                scope.spawn(move || {
                    pollster::block_on(async {
                        let mut cleared = 0;
                        for round in 0..ROUNDS {
                            let key = tis[own].xcom("k").unwrap();
                            engine.push(&caller, &key, Value::of(&round).unwrap().into()).await.unwrap();
                            for other in tis.iter().filter(|ti| **ti != tis[own]) {
                                let scope = Scope::TaskInstance(other.clone());
                                cleared += engine.clear(&caller, &scope).await.unwrap();
                            }
                        }
                        cleared
                    })
                })
            })
            .collect();
        clearers.into_iter().map(|clearer| clearer.join().unwrap()).sum()
    });
    assert!(cleared > 0);
    assert_eq!(server.deadlocks(), "0");
}
