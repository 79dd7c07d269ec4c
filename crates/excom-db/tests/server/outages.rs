//! The server is killed and connections are cut while others push and pull: what was acknowledged is there, and
//! whatever fails says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use excom_core::{Caller, Engine, ErrorKind, Value, XComKey, memory};

use crate::Server;
use crate::support::{Kind, open, own_server, pulled};

const WRITERS: usize = 8;

fn key(writer: usize) -> XComKey {
    XComKey::new("d", "r", format!("t{writer}"), -1, "k").unwrap()
}

/// Pushes ever higher numbers until told to stop; returns those that were acknowledged and how many were not.
fn push_until(engine: &Engine, writer: usize, stop: &AtomicBool, done: &AtomicU64) -> (Vec<u64>, u64) {
    let (mut acknowledged, mut failed) = (Vec::new(), 0);
    let caller = Caller::user("test");
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let value = Value::of(&number).unwrap();
        match pollster::block_on(engine.push(&caller, &key(writer), value.into())) {
            Ok(_) => acknowledged.push(number),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
                failed += 1;
            }
        }
        match pulled(engine, &key(writer)) {
            Ok(found) => {
                let found: u64 = found.get().unwrap();
                assert!(found <= number && acknowledged.last().is_none_or(|last| found >= *last));
            }
            // None of its pushes was acknowledged yet.
            Err(error) if error.kind() == ErrorKind::NoValue => assert!(acknowledged.is_empty(), "{error:?}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}"),
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
    (acknowledged, failed)
}

/// Tells writers to stop.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn nothing_acknowledged_is_lost() {
    let Some(server) = own_server() else { return };
    let db = || open(&server.url(Server::FIRST)).unwrap();
    let engine = Engine::builder(Arc::new(db()), Arc::new(memory::Clock::new())).build();
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    // Goes on when every writer has done something in between.
    let wait = || {
        let until = done.load(Ordering::Relaxed) + 20 * WRITERS as u64;
        while done.load(Ordering::Relaxed) < until && !stop.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
    };
    let written: Vec<(Vec<u64>, u64)> = std::thread::scope(|scope| {
        // Writers end also when something else does not hold.
        let ending = Ending(&stop);
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (engine, stop, done) = (&engine, &stop, &done);
                scope.spawn(move || {
                    // When it fails, nobody waits for it.
                    let _ending = Ending(stop);
                    push_until(engine, writer, stop, done)
                })
            })
            .collect();
        for _ in 0..3 {
            wait();
            server.cut();
            wait();
            server.crash().unwrap();
        }
        wait();
        drop(ending);
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });

    // Another process sees each number that was acknowledged, once, and none twice.
    let db = db();
    for (writer, (acknowledged, failed)) in written.iter().enumerate() {
        let key = key(writer);
        let past = pollster::block_on(excom_core::MetadataDb::history(&db, &key, u32::MAX)).unwrap();
        let mut numbers: Vec<u64> = past.iter().map(|past| past.info.preview.parse().unwrap()).collect();
        numbers.push(pulled(&engine, &key).unwrap().get().unwrap());
        numbers.sort_unstable();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "a push is there twice");
        assert!(acknowledged.iter().all(|number| numbers.binary_search(number).is_ok()), "a push was lost");
        assert!(numbers.len() as u64 <= acknowledged.len() as u64 + failed);
    }
}

#[test]
fn a_server_that_is_away_is_told() {
    let Some(server) = own_server() else { return };
    let url = server.url(Server::FIRST);
    let missing = server.url("nothing_here");
    let stranger = url.replace("excom:", "stranger:");
    let opened = |url: &str| open(url).unwrap_err();
    let error = opened(&missing);
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error:?}");
    assert!(error.to_string().contains(Server::NOT_THERE), "{error}");
    let error = opened(&stranger);
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error:?}");
    assert!(!format!("{error:?}").contains(server.password()), "{error:?}");

    let db = open(&url).unwrap();
    drop(server);
    let error = pollster::block_on(excom_core::MetadataDb::mark(&db, "name")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    let error = opened(&url);
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(!format!("{error:?}").contains("se cret"), "{error:?}");
}
