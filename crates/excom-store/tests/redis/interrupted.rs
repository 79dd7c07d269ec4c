//! Pushes that end half-way: nothing to read, nothing in the way, and what they left is found.

use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use excom_core::{ByteStream, Error, ErrorKind, ValueStore};
use excom_store::Redis as Store;
use excom_testkit::redis::Redis;
use futures_core::Stream;

use crate::support::{Pieces, body, bytes, client, create, get, key, name, open, redis};

/// A body that says nothing more after its beginning.
struct Stuck(ByteStream);

impl Stream for Stuck {
    type Item = excom_core::Result<Bytes>;

    fn poll_next(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.0.as_mut().poll_next(cx) {
            Poll::Ready(None) => Poll::Pending,
            other => other,
        }
    }
}

/// Pushes until the server holds so many chunks, and gives up.
fn interrupt(store: &Store, other: &mut redis::Connection, version: i64, chunks: usize) {
    let name = name("r", version);
    let length = bytes((chunks << 20) + 1);
    let mut push = store.create(&name, Box::pin(Stuck(body(&length))));
    let part = format!("{}:part", key("r", version));
    loop {
        assert!(push.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let held: usize = redis::cmd("HLEN").arg(&part).query(other).unwrap();
        if held == chunks {
            return;
        }
    }
}

#[test]
fn a_push_that_is_given_up_leaves_nothing_to_read() {
    let Some(program) = redis("a_push_that_is_given_up_leaves_nothing_to_read") else { return };
    let server = Redis::start(&program, "").unwrap();
    let (store, mut other) = (open(&server.url()), client(&server.url()));
    let size = |other: &mut redis::Connection| -> i64 { redis::cmd("DBSIZE").query(other).unwrap() };

    interrupt(&store, &mut other, 1, 2);
    assert_eq!(get(&store, &name("r", 1)).unwrap_err().kind(), ErrorKind::Lost);
    let left: i64 = redis::cmd("PTTL").arg(format!("{}:part", key("r", 1))).query(&mut other).unwrap();
    assert!((1..=86_400_000).contains(&left), "what is left expires: {left}");
    // It is found by its name, and removed by it.
    assert_eq!(pollster::block_on(store.list(None, 10)).unwrap(), [name("r", 1)]);
    assert!(pollster::block_on(store.delete(&name("r", 1))).unwrap());
    assert!(!pollster::block_on(store.delete(&name("r", 1))).unwrap());
    assert_eq!(size(&mut other), 0);

    // It is in nobody's way: what it left goes with the next object of that name.
    interrupt(&store, &mut other, 2, 3);
    create(&store, &name("r", 2), &bytes(2_500_000)).unwrap();
    assert_eq!(get(&store, &name("r", 2)).unwrap(), bytes(2_500_000));
    let fields: usize = redis::cmd("HLEN").arg(key("r", 2)).query(&mut other).unwrap();
    assert_eq!((fields, size(&mut other)), (4, 1), "three chunks and the head, in one key");
    let left: i64 = redis::cmd("PTTL").arg(key("r", 2)).query(&mut other).unwrap();
    assert_eq!(left, -1, "what is whole does not expire");
}

#[test]
fn a_body_that_fails_late_leaves_nothing_at_all() {
    let Some(program) = redis("a_body_that_fails_late_leaves_nothing_at_all") else { return };
    let server = Redis::start(&program, "").unwrap();
    let store = open(&server.url());
    let mut pieces: Vec<_> = (0..30).map(|_| Ok(Bytes::from(bytes(100_000)))).collect();
    pieces.push(Err(Error::new(ErrorKind::InvalidValue, "the source failed")));
    let failed = pollster::block_on(store.create(&name("r", 1), Box::pin(Pieces(pieces))));
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::InvalidValue);
    let left: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut client(&server.url())).unwrap();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn of_several_writers_of_one_object_one_writes_it() {
    let Some(program) = redis("of_several_writers_of_one_object_one_writes_it") else { return };
    let server = Redis::start(&program, "").unwrap();
    let store = open(&server.url());
    for version in 0..20 {
        let name = name("r", version);
        // Each its own bytes, so that a mixture would show.
        let length = if version % 2 == 0 { 5_000 } else { 2_500_000 };
        let bodies: Vec<_> = (0..4_u8).map(|writer| vec![writer; length]).collect();
        let won: Vec<bool> = std::thread::scope(|scope| {
            let writers: Vec<_> = bodies
                .iter()
                .map(|body| {
                    let (store, name) = (&store, &name);
                    scope.spawn(move || match create(store, name, body) {
                        Ok(_) => true,
                        Err(error) if error.kind() == ErrorKind::Exists => false,
                        Err(error) => panic!("{error:?}"),
                    })
                })
                .collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        assert_eq!(won.iter().filter(|won| **won).count(), 1, "{won:?}");
        let winner = won.iter().position(|won| *won).unwrap();
        assert_eq!(get(&store, &name).unwrap(), bodies[winner]);
        pollster::block_on(store.delete(&name)).unwrap();
        assert!(pollster::block_on(store.list(None, 1)).unwrap().is_empty());
    }
}
