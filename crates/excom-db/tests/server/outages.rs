//! The server is killed and connections are cut while others push and pull: what was acknowledged is there, and
//! whatever fails says so.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use excom_core::{Engine, ErrorKind, XComKey};

use crate::alone::Alone;
use crate::faults::{all, key, pulled, push};

const WRITERS: usize = 8;

/// Pushes ever higher numbers until told to stop; returns those that were acknowledged and how many were not.
fn push_until(engine: &Engine, key: &XComKey, stop: &AtomicBool, done: &AtomicU64) -> (Vec<u64>, u64) {
    let (mut acknowledged, mut failed) = (Vec::new(), 0);
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        match push(engine, key, number) {
            Ok(_) => acknowledged.push(number),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
                failed += 1;
            }
        }
        match pulled(engine, key) {
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
    let Some(alone) = Alone::start("outages::nothing_acknowledged_is_lost") else { return };
    let keys: Vec<XComKey> = (0..WRITERS).map(|writer| key(&format!("t{writer}"))).collect();
    alone.expects(&keys);
    let engine = Alone::engine(&alone.url()).unwrap();
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
        let writers: Vec<_> = keys
            .iter()
            .map(|key| {
                let (engine, stop, done) = (&engine, &stop, &done);
                scope.spawn(move || {
                    // When it fails, nobody waits for it.
                    let _ending = Ending(stop);
                    push_until(engine, key, stop, done)
                })
            })
            .collect();
        for _ in 0..3 {
            wait();
            alone.cut();
            wait();
            alone.crash().unwrap();
        }
        wait();
        drop(ending);
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });

    // Another process sees each number that was acknowledged, once, and none twice.
    let other = Alone::engine(&alone.url()).unwrap();
    for (key, (acknowledged, failed)) in keys.iter().zip(&written) {
        let numbers = all(&other, key);
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "a push is there twice");
        assert!(acknowledged.iter().all(|number| numbers.binary_search(number).is_ok()), "a push was lost");
        assert!(numbers.len() as u64 <= acknowledged.len() as u64 + failed);
    }
}
