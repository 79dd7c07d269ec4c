//! Stores over servers of a test's own.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use excom_core::{ByteStream, ObjectName, Result, ValueStore, Version, XComKey};
use excom_store::{Redis as Store, RedisOptions};
use excom_testkit::redis::Program;
use excom_testkit::skip::skipped;
use futures_core::Stream;

/// Redis, or a line that counts the test as skipped.
pub(crate) fn redis(test: &str) -> Option<Program> {
    Program::redis().inspect_err(|why| skipped(test, why)).ok()
}

/// Valkey, or a line that counts the test as skipped.
pub(crate) fn valkey(test: &str) -> Option<Program> {
    Program::valkey().inspect_err(|why| skipped(test, why)).ok()
}

/// What a test changes nothing of, but the time for which it would wait for nothing.
pub(crate) fn options() -> RedisOptions {
    RedisOptions { timeout: Duration::from_secs(20), ..RedisOptions::default() }
}

pub(crate) fn open(url: &str) -> Store {
    Store::open(url, options()).unwrap()
}

/// A client beside the store.
pub(crate) fn client(url: &str) -> redis::Connection {
    redis::Client::open(url).unwrap().get_connection().unwrap()
}

pub(crate) fn name(run: &str, version: i64) -> ObjectName {
    let key = XComKey::new("d", run, "t", -1, "k").unwrap();
    ObjectName::of(&key, Version::from_code(version).unwrap())
}

/// The key of that object.
pub(crate) fn key(run: &str, version: i64) -> String {
    let version = Version::from_code(version).unwrap();
    format!("excom:{{d/{run}}}:t/-1/k/{version}")
}

pub(crate) fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * 31 % 251) as u8).collect()
}

/// Pieces that are at hand.
pub(crate) struct Pieces(pub(crate) Vec<Result<Bytes>>);

impl Stream for Pieces {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(if self.0.is_empty() { None } else { Some(self.0.remove(0)) })
    }
}

pub(crate) fn body(bytes: &[u8]) -> ByteStream {
    Box::pin(Pieces(bytes.chunks(100_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect()))
}

pub(crate) fn create(store: &Store, name: &ObjectName, bytes: &[u8]) -> Result<u64> {
    pollster::block_on(store.create(name, body(bytes)))
}

pub(crate) fn get(store: &Store, name: &ObjectName) -> Result<Vec<u8>> {
    pollster::block_on(async { all(store.get(name).await?).await })
}

pub(crate) async fn all(mut stream: ByteStream) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(piece) = std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
        bytes.extend_from_slice(&piece?);
    }
    Ok(bytes)
}
