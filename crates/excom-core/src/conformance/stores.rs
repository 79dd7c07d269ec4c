//! What every value store passes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;

use super::refused;
use crate::value::ByteStream;
use crate::{Error, ErrorKind, ObjectName, Result, ValueStore, Version, XComKey};

/// Runs the suite of value stores on an empty one.
///
/// # Panics
/// When it does not pass.
pub fn value_store(store: &Arc<dyn ValueStore>) {
    pollster::block_on(suite(&**store));
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
