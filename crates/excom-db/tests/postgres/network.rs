//! What lies between a process and the server fails: connections are cut in the middle of statements and answers, or
//! cannot be made.

use std::sync::Arc;

use excom_core::{Caller, Engine, ErrorKind, Value, XComKey, memory};
use excom_db::postgres::{Db, Options};
use excom_testkit::postgres::Postgres;
use excom_testkit::proxy::{Proxy, Weather};
use excom_testkit::skip::skipped;

use crate::held::Held;
use crate::support::pulled;

const WRITERS: usize = 8;
const PUSHES: u64 = 20;

fn key(writer: usize) -> XComKey {
    XComKey::new("d", "r", format!("t{writer}"), -1, "k").unwrap()
}

fn through(server: &Postgres, proxy: &Proxy) -> Engine {
    let url = server.url("postgres").replace(&format!(":{}/", server.port()), &format!(":{}/", proxy.port()));
    let db = pollster::block_on(Db::open(&url, &Options::default())).unwrap();
    Engine::builder(Arc::new(db), Arc::new(memory::Clock::new())).build()
}

fn push(engine: &Engine, key: &XComKey, value: u64) -> excom_core::Result<()> {
    let value = Value::of(&value).unwrap();
    pollster::block_on(engine.push(&Caller::user("test"), key, value.into())).map(drop)
}

/// All numbers that an XCom has or had.
fn all(engine: &Engine, key: &XComKey) -> Vec<u64> {
    let past = pollster::block_on(engine.db().history(key, u32::MAX)).unwrap();
    let mut numbers: Vec<u64> = past.iter().map(|past| past.info.preview.parse().unwrap()).collect();
    numbers.push(pulled(engine, key).unwrap().get().unwrap());
    numbers.sort_unstable();
    numbers
}

#[test]
fn what_is_cut_is_there_once_or_not_at_all() {
    if let Err(why) = Postgres::available() {
        return skipped("network::what_is_cut_is_there_once_or_not_at_all", &why);
    }
    let server = Postgres::start().unwrap();
    let proxy = Proxy::start(server.port(), false, 11).unwrap();
    let engine = through(&server, &proxy);
    (0..WRITERS).for_each(|writer| push(&engine, &key(writer), 0).unwrap());
    proxy.set(Weather::Foul);
    let acknowledged: Vec<Vec<u64>> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let engine = &engine;
                scope.spawn(move || {
                    let mut acknowledged = vec![0];
                    for number in 1..=PUSHES {
                        match push(engine, &key(writer), number) {
                            Ok(()) => acknowledged.push(number),
                            Err(error) => {
                                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
                                assert!(!error.hints().is_empty(), "{error:?}");
                            }
                        }
                        match pulled(engine, &key(writer)) {
                            Ok(found) => {
                                assert!(found.get::<u64>().unwrap() >= *acknowledged.last().unwrap());
                            }
                            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}"),
                        }
                    }
                    acknowledged
                })
            })
            .collect();
        server.crash().unwrap();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    assert!(proxy.faults() > 0);
    proxy.settle().unwrap();
    for (writer, acknowledged) in acknowledged.iter().enumerate() {
        let found = all(&engine, &key(writer));
        assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "a push is there twice: {found:?}");
        assert!(acknowledged.iter().all(|number| found.contains(number)), "a push was lost: {found:?}");
        push(&engine, &key(writer), PUSHES + 1).unwrap();
    }
}

/// The server commits a push, and what it says is lost: the next try finds it there.
#[test]
fn a_push_whose_answer_is_lost_is_there_once() {
    if let Err(why) = Postgres::available() {
        return skipped("network::a_push_whose_answer_is_lost_is_there_once", &why);
    }
    let server = Postgres::start().unwrap();
    let proxy = Proxy::start(server.port(), false, 12).unwrap();
    let engine = through(&server, &proxy);
    let waiting = |tries: &str| {
        let count = "SELECT count(*) FROM pg_stat_activity
            WHERE application_name = 'excom' AND wait_event_type = 'Lock'";
        while server.sql("postgres", count).unwrap() != tries {
            std::thread::yield_now();
        }
    };
    for (number, task) in ["new", "new", "other"].into_iter().enumerate() {
        let key = XComKey::new("d", "r", task, -1, "k").unwrap();
        let held = Held::start(&server, "postgres", "LOCK TABLE excom.entry IN SHARE MODE");
        std::thread::scope(|scope| {
            let pushed = scope.spawn(|| push(&engine, &key, number as u64));
            waiting("1");
            proxy.set(Weather::Away);
            // The client has lost it when it comes again.
            let came = proxy.connections();
            while proxy.connections() == came {
                std::thread::yield_now();
            }
            proxy.set(Weather::Fair);
            waiting("2");
            drop(held);
            pushed.join().unwrap().unwrap();
        });
        let expected = if task == "other" { vec![2] } else { (0..=number as u64).collect() };
        assert_eq!(all(&engine, &key), expected);
    }
}

/// Many callers that find the server away do not storm it, neither meanwhile nor when it is back.
#[test]
fn a_server_that_is_away_is_not_stormed() {
    const CALLERS: usize = 48;
    if let Err(why) = Postgres::available() {
        return skipped("network::a_server_that_is_away_is_not_stormed", &why);
    }
    let server = Postgres::start().unwrap();
    let proxy = Proxy::start(server.port(), false, 13).unwrap();
    let engine = through(&server, &proxy);
    let everybody = |expected: Option<ErrorKind>| {
        let before = proxy.connections();
        std::thread::scope(|scope| {
            for caller in 0..CALLERS {
                let engine = &engine;
                scope.spawn(move || {
                    let done = match caller % 2 {
                        0 => push(engine, &key(caller), 1),
                        _ => pulled(engine, &key(caller - 1)).map(drop),
                    };
                    let kind = done.err().map(|error| error.kind());
                    // A push may come behind the pull.
                    assert!(kind == expected || kind == Some(ErrorKind::NoValue), "{kind:?}");
                });
            }
        });
        proxy.connections() - before
    };
    everybody(None);
    proxy.leave().unwrap();
    let meanwhile = everybody(Some(ErrorKind::Unavailable));
    proxy.set(Weather::Fair);
    let afterwards = everybody(None);
    assert!((5..=60).contains(&meanwhile), "{meanwhile} connections were tried while it was away");
    assert!(afterwards <= 2 * Options::default().connections as u64, "{afterwards} connections were made");
}
