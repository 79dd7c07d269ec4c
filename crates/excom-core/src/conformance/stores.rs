//! What every value store passes.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::refused;
use crate::value::ByteStream;
use crate::{Error, ErrorKind, ObjectName, Result, ValueStore, Version, XComKey};

/// Runs the suite of value stores on an empty one.
///
/// # Panics
/// When it does not pass.
pub fn value_store(store: &Arc<dyn ValueStore>) {
    pollster::block_on(suite(&**store));
    keys_stay_apart(&**store);
}

pub(super) struct Pieces(pub(super) Vec<Result<Bytes>>);

impl Stream for Pieces {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        Poll::Ready(if self.0.is_empty() { None } else { Some(self.0.remove(0)) })
    }
}

pub(super) fn body(bytes: &[u8]) -> ByteStream {
    Box::pin(Pieces(bytes.chunks(1000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect()))
}

async fn read(store: &dyn ValueStore, name: &ObjectName) -> Result<Vec<u8>> {
    all(store.get(name).await?).await
}

async fn all(mut stream: ByteStream) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(piece) = std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
        bytes.extend_from_slice(&piece?);
    }
    Ok(bytes)
}

fn name(key: &str, version: i64) -> ObjectName {
    let key = XComKey::new("d", "manual__2026-11-21T10:00:00+00:00", "t", -1, key).unwrap();
    ObjectName::of(&key, Version::from_code(version).unwrap())
}

async fn suite(store: &dyn ValueStore) {
    store.check().await.unwrap();
    assert!(store.list(None, 10).await.unwrap().is_empty());
    refused(store.get(&name("k", 1)).await.map(drop), ErrorKind::Lost);
    assert!(!store.delete(&name("k", 1)).await.unwrap());

    // Bytes come back, of any size and under any name.
    let long = "é/..%:~".repeat(70);
    for (i, (key, size)) in
        [("k", 0), ("..", 1), ("a/../b", 999), (" ", 70_000), (&long, 3_000_000)].into_iter().enumerate()
    {
        let bytes: Vec<u8> = (0..size).map(|n: usize| (n * 31 % 251) as u8).collect();
        let name = name(key, i as i64);
        assert_eq!(store.create(&name, body(&bytes)).await.unwrap(), size as u64);
        assert_eq!(read(store, &name).await.unwrap(), bytes, "{key}");
        assert_eq!(store.list(None, 10).await.unwrap(), std::slice::from_ref(&name));
        assert!(store.delete(&name).await.unwrap());
        refused(store.get(&name).await.map(drop), ErrorKind::Lost);
    }

    // Several in one call, each with a result of its own.
    store.create(&name("a", 1), body(b"a1")).await.unwrap();
    store.create(&name("b", 1), body(&[7; 2_000_000])).await.unwrap();
    let wanted = [name("b", 1), name("none", 1), name("a", 1), name("b", 1)];
    let mut found = Vec::new();
    for result in store.get_many(&wanted).await {
        found.push(match result {
            Ok(stream) => Ok(all(stream).await.unwrap()),
            Err(error) => Err(error.kind()),
        });
    }
    let large = vec![7; 2_000_000];
    assert_eq!(found, [Ok(large.clone()), Err(ErrorKind::Lost), Ok(b"a1".to_vec()), Ok(large)]);
    assert!(store.get_many(&[]).await.is_empty());
    assert!(store.delete(&name("a", 1)).await.unwrap() && store.delete(&name("b", 1)).await.unwrap());

    // Nothing is overwritten.
    store.create(&name("k", 1), body(b"one")).await.unwrap();
    refused(store.create(&name("k", 1), body(b"two")).await, ErrorKind::Exists);
    assert_eq!(read(store, &name("k", 1)).await.unwrap(), b"one");

    // A body that fails half-way leaves nothing to read, and nothing to list.
    let broken: ByteStream = Box::pin(Pieces(vec![
        Ok(Bytes::from_static(b"half")),
        Err(Error::new(ErrorKind::InvalidValue, "the source failed")),
    ]));
    refused(store.create(&name("k", 2), broken).await, ErrorKind::InvalidValue);
    refused(store.get(&name("k", 2)).await.map(drop), ErrorKind::Lost);
    store.create(&name("k", 2), body(b"two")).await.unwrap();

    // Lists are in order, and page.
    for version in 3..8 {
        store.create(&name("k", version), body(b"x")).await.unwrap();
    }
    let all = store.list(None, 100).await.unwrap();
    assert_eq!(all, (1..8).map(|version| name("k", version)).collect::<Vec<_>>());
    assert_eq!(store.list(Some(&all[2]), 2).await.unwrap(), all[3..5]);
    for name in &all {
        assert!(store.delete(name).await.unwrap());
    }
    assert!(store.list(None, 10).await.unwrap().is_empty());
}

/// A part of a key: a few pieces that separate, escape or quote somewhere, some of them very long.
fn part() -> impl Strategy<Value = String> {
    const PIECES: [&str; 18] = [
        "a", "b", "A", "/", "..", ".", "%", "%2F", "%25", ":", "{", "}", " ", "é", "e\u{301}", "~", "\\",
        "-1",
    ];
    let short =
        || prop::collection::vec(prop::sample::select(&PIECES), 1..3).prop_map(|pieces| pieces.concat());
    prop_oneof![9 => short(), 1 => short().prop_map(|end| "a/".repeat(120) + &end)]
}

/// No two keys share a name or read each other's bytes, whatever is in their parts.
fn keys_stay_apart(store: &dyn ValueStore) {
    // Keys of which most have parts in common, so that what tells them apart is often where a part ends.
    let pool = || prop::collection::vec(part(), 3);
    let pick = || (0..3usize, 0..3usize, 0..3usize, -1..1i32, 0..3usize, 1..3i64);
    let keys = (pool(), prop::collection::hash_set(pick(), 2..12));
    let config = Config { cases: 6, max_shrink_iters: 50, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&keys, |(parts, picked)| {
        let of = |(dag, run, task, map_index, key, version): (usize, usize, usize, i32, usize, i64)| {
            let key =
                XComKey::new(&*parts[dag], &*parts[run], &*parts[task], map_index, &*parts[key]).unwrap();
            (key, Version::from_code(version).unwrap())
        };
        let told = |(key, version): &(XComKey, Version)| format!("{key:?} {version}").into_bytes();
        let different: BTreeSet<_> = picked.into_iter().map(of).collect();
        let count = different.len();
        let keys: BTreeMap<_, _> =
            different.into_iter().map(|key| (ObjectName::of(&key.0, key.1), key)).collect();
        prop_assert_eq!(keys.len(), count, "two keys share a name: {:?}", keys);
        pollster::block_on(async {
            // What a case before this one left when it did not hold.
            for name in store.list(None, 1000).await.unwrap() {
                store.delete(&name).await.unwrap();
            }
            for (name, key) in &keys {
                store.create(name, body(&told(key))).await.unwrap();
            }
            let names: Vec<ObjectName> = keys.keys().cloned().collect();
            prop_assert_eq!(&store.list(None, 1000).await.unwrap(), &names);
            for ((name, key), found) in keys.iter().zip(store.get_many(&names).await) {
                prop_assert_eq!(all(found.unwrap()).await.unwrap(), told(key), "{}", name);
                prop_assert!(store.delete(name).await.unwrap());
                refused(store.get(name).await.map(drop), ErrorKind::Lost);
            }
            Ok(())
        })
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
