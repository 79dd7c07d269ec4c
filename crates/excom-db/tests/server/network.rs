//! What lies between a process and the server fails: connections are cut in the middle of statements and answers, or
//! cannot be made.

use excom_core::{Engine, ErrorKind, XComKey};
use excom_testkit::proxy::{Proxy, Weather};

use crate::alone::Alone;
use crate::faults::{all, key, pulled, push};

const WRITERS: usize = 8;

/// The most connections that a process opens by default.
const CONNECTIONS: u64 = 12;

/// An engine whose connections go through a proxy, and the XComs that are pushed there.
fn through(alone: &Alone, proxy: &Proxy, tasks: impl IntoIterator<Item = String>) -> (Engine, Vec<XComKey>) {
    let keys: Vec<XComKey> = tasks.into_iter().map(|task| key(&task)).collect();
    alone.expects(&keys);
    let (direct, by) = (format!(":{}/", alone.port()), format!(":{}/", proxy.port()));
    (Alone::engine(&alone.url().replace(&direct, &by)).unwrap(), keys)
}

fn tasks(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|task| format!("t{task}"))
}

#[test]
fn what_is_cut_is_there_once_or_not_at_all() {
    let Some(alone) = Alone::start("network::what_is_cut_is_there_once_or_not_at_all") else { return };
    let proxy = Proxy::start(alone.port(), false, 11).unwrap();
    let (engine, keys) = through(&alone, &proxy, tasks(WRITERS));
    keys.iter().for_each(|key| push(&engine, key, 0).unwrap());
    proxy.set(Weather::Foul);
    let acknowledged: Vec<Vec<u64>> = std::thread::scope(|scope| {
        let writers: Vec<_> = keys
            .iter()
            .map(|key| {
                let engine = &engine;
                scope.spawn(move || {
                    let mut acknowledged = vec![0];
                    for number in 1..=Alone::PUSHES {
                        match push(engine, key, number) {
                            Ok(()) => acknowledged.push(number),
                            Err(error) => {
                                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
                                assert!(!error.hints().is_empty(), "{error:?}");
                            }
                        }
                        match pulled(engine, key) {
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
        alone.crash().unwrap();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    assert!(proxy.faults() > 0);
    proxy.settle().unwrap();
    for (key, acknowledged) in keys.iter().zip(&acknowledged) {
        let found = all(&engine, key);
        assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "a push is there twice: {found:?}");
        assert!(acknowledged.iter().all(|number| found.contains(number)), "a push was lost: {found:?}");
        push(&engine, key, Alone::PUSHES + 1).unwrap();
    }
}

/// The connection is lost while the server does a push: whatever became of it, it is there once.
#[test]
fn a_push_whose_answer_is_lost_is_there_once() {
    let Some(alone) = Alone::start("network::a_push_whose_answer_is_lost_is_there_once") else { return };
    let proxy = Proxy::start(alone.port(), false, 12).unwrap();
    let (engine, keys) = through(&alone, &proxy, ["new", "new", "other"].map(str::to_owned));
    for (number, key) in keys.iter().enumerate() {
        let held = alone.hold_pushes();
        std::thread::scope(|scope| {
            let pushed = scope.spawn(|| push(&engine, key, number as u64));
            alone.await_pushes(1);
            proxy.set(Weather::Away);
            // The client has lost it when it comes again.
            let came = proxy.connections();
            while proxy.connections() == came {
                std::thread::yield_now();
            }
            proxy.set(Weather::Fair);
            alone.await_pushes(2);
            drop(held);
            pushed.join().unwrap().unwrap();
        });
        let expected = if number == 2 { vec![2] } else { (0..=number as u64).collect() };
        assert_eq!(all(&engine, key), expected);
    }
}

/// Many callers that find the server away do not storm it, neither meanwhile nor when it is back.
#[test]
fn a_server_that_is_away_is_not_stormed() {
    const CALLERS: usize = 48;
    let Some(alone) = Alone::start("network::a_server_that_is_away_is_not_stormed") else { return };
    let proxy = Proxy::start(alone.port(), false, 13).unwrap();
    let (engine, keys) = through(&alone, &proxy, tasks(CALLERS));
    let everybody = |expected: Option<ErrorKind>| {
        let before = proxy.connections();
        std::thread::scope(|scope| {
            for caller in 0..CALLERS {
                let (engine, keys) = (&engine, &keys);
                scope.spawn(move || {
                    let done = match caller % 2 {
                        0 => push(engine, &keys[caller], 1),
                        _ => pulled(engine, &keys[caller - 1]).map(drop),
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
    assert!(
        (5..=2 * CALLERS as u64).contains(&meanwhile),
        "{meanwhile} connections were tried while it was away"
    );
    assert!(afterwards <= 2 * CONNECTIONS, "{afterwards} connections were made");
}
