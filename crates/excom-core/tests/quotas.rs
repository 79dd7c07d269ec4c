//! Quotas under pushes at the same time, and what those leave that are given up.

#![allow(clippy::unwrap_used, reason = "a test panics when it does not hold")]

use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{self, TryRecvError};
use std::task::{Context, Poll, Waker};
use std::thread;

use bytes::Bytes;
use excom_core::db::Scope;
use excom_core::engine::Settings;
use excom_core::{Caller, Engine, ErrorKind, Payload, Value, XComKey, memory};
use futures_util::StreamExt as _;
use futures_util::stream::{iter, pending, poll_fn};
use pollster::block_on;

const QUOTA: u64 = 10_000;

fn engine(settings: Settings) -> Engine {
    let backend = memory::Backend::new(Arc::new(memory::Store::new()), 200);
    Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new()))
        .backend(Arc::new(backend))
        .settings(settings)
        .build()
}

fn limited() -> Engine {
    engine(Settings { quota_run: Some(QUOTA), quota_dag: Some(2 * QUOTA), ..Settings::default() })
}

fn key(name: &str) -> XComKey {
    XComKey::new("d", "r", "t", -1, name).unwrap()
}

fn text(size: usize) -> Payload {
    Value::parse(format!("\"{}\"", "x".repeat(size - 2))).unwrap().into()
}

async fn used(engine: &Engine) -> u64 {
    engine.usage(&Caller::user("ana"), "d", Some("r")).await.unwrap().unwrap().bytes
}

#[test]
fn pushes_at_the_same_time_have_no_more_than_is_left() {
    let engine = limited();
    let all: u64 = thread::scope(|scope| {
        let pushes = (0..8).map(|thread| {
            let engine = &engine;
            scope.spawn(move || {
                let mut made = 0;
                for number in 0..40 {
                    // Every third takes the place of one that is there.
                    let name = format!("{thread}/{}", number / 3 * 3);
                    let size = 90 + 10 * (number % 13);
                    match block_on(engine.push(&Caller::user("ana"), &key(&name), text(size))) {
                        Ok(_) => made += 1,
                        Err(error) => assert_eq!(error.kind(), ErrorKind::TooLarge, "{error:?}"),
                    }
                    let used = block_on(used(engine));
                    assert!(used <= QUOTA, "{used}");
                }
                made
            })
        });
        pushes.collect::<Vec<_>>().into_iter().map(|push| push.join().unwrap()).sum()
    });
    assert!(all > 60, "{all} were made");
    // What is left can be had to the last byte.
    block_on(async {
        let left = QUOTA - used(&engine).await;
        if left >= 2 {
            engine.push(&Caller::user("ana"), &key("rest"), text(left as usize)).await.unwrap();
            assert_eq!(used(&engine).await, QUOTA);
        }
    });
}

/// Clears at the same time keep nobody from pushing, and what fits is never refused: each push counts once.
#[test]
fn what_fits_is_taken_whatever_happens_beside_it() {
    const THREADS: u64 = 8;
    const SIZE: usize = 1000;
    let engine = limited();
    thread::scope(|scope| {
        for number in 0..THREADS {
            let engine = &engine;
            scope.spawn(move || {
                for _ in 0..40 {
                    let (caller, key) = (Caller::user("ana"), key(&number.to_string()));
                    // All of them have 8,000 of 10,000 bytes at most.
                    block_on(engine.push(&caller, &key, text(SIZE))).unwrap();
                    block_on(engine.clear(&caller, &Scope::Key(key))).unwrap();
                }
            });
        }
    });
    assert_eq!(block_on(used(&engine)), 0);
}

/// What a push takes the place of may be cleared while it is on its way; then it has no more than what is left.
#[test]
fn what_is_replaced_may_have_gone() {
    let engine = limited();
    let caller = Caller::user("ana");
    block_on(engine.push(&caller, &key("k"), text(9000))).unwrap();
    let (pieces, rest) = mpsc::channel();
    pieces.send(Bytes::from(format!("\"{}", "x".repeat(8000)))).unwrap();
    let rest = poll_fn(move |_| match rest.try_recv() {
        Ok(piece) => Poll::Ready(Some(Ok(piece))),
        Err(TryRecvError::Empty) => Poll::Pending,
        Err(TryRecvError::Disconnected) => Poll::Ready(None),
    });
    let k = key("k");
    let mut push = pin!(engine.push(&caller, &k, Payload::Stream(Box::pin(rest))));
    let mut context = Context::from_waker(Waker::noop());
    assert!(push.as_mut().poll(&mut context).is_pending());
    block_on(engine.clear(&caller, &Scope::Key(k.clone()))).unwrap();
    block_on(engine.push(&caller, &key("beside"), text(9000))).unwrap();
    pieces.send(Bytes::from("\"")).unwrap();
    drop(pieces);
    assert_eq!(block_on(push).unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(block_on(used(&engine)), 9000);
}

#[test]
fn a_push_that_is_given_up_gives_its_bytes_back() {
    let engine = limited();
    let caller = Caller::user("ana");
    let begun = iter([Ok(Bytes::from(format!("\"{}", "x".repeat(8000))))]).chain(pending());
    let lost = key("lost");
    {
        let mut push = pin!(engine.push(&caller, &lost, Payload::Stream(Box::pin(begun))));
        assert!(push.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let beside = block_on(engine.push(&caller, &key("beside"), text(5000)));
        assert_eq!(beside.unwrap_err().kind(), ErrorKind::TooLarge);
    }
    block_on(engine.push(&caller, &key("beside"), text(10_000))).unwrap();
}
