//! Objects of Airflow's own object storage backend: read here as it wrote them, read by it as Excom wrote
//! them, and what must never become of one.
//!
//! `golden` is what it wrote once, and is read on every run; `objects.py` says how it was made. Where a
//! real Airflow can be had, both directions are done once more.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod airflow;
mod bytes;
mod engine;
mod golden;
mod references;

use std::future::poll_fn;
use std::path::Path;
use std::sync::Arc;

use ::bytes::Bytes;
use excom_airflow::objects::{AirflowObjects, BasePath, Compression, Options};
use excom_core::{ByteStream, Payload, Result, TaskInstanceKey, ValueStore};
use excom_store::Files;
use futures_core::Stream;
use serde::Deserialize;

/// An object that Airflow wrote, as `objects.py` tells of it.
#[derive(Deserialize)]
struct Written {
    name: String,
    compression: String,
    reference: String,
    /// The JSON text in the object.
    text: String,
}

fn written(lines: &str) -> Vec<Written> {
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The task instance that `objects.py` pushes a value for.
fn pusher(name: &str) -> TaskInstanceKey {
    TaskInstanceKey::new("objects", "manual__1", name, -1).unwrap()
}

fn files(folder: &Path) -> Arc<dyn ValueStore> {
    Arc::new(Files::open(folder).unwrap())
}

/// A backend that offloads every value.
fn backend(store: Arc<dyn ValueStore>, base: &str, compression: Compression) -> AirflowObjects {
    let base: BasePath = base.parse().unwrap();
    AirflowObjects::new(store, base, Options { threshold: 0, compression, ..Options::default() })
}

/// A stream of such pieces.
fn pieces(pieces: impl IntoIterator<Item = Result<Bytes>, IntoIter: Send + 'static>) -> ByteStream {
    struct Pieces<I>(I);
    impl<I: Iterator<Item = Result<Bytes>> + Unpin> Stream for Pieces<I> {
        type Item = Result<Bytes>;

        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<Bytes>>> {
            std::task::Poll::Ready(self.0.next())
        }
    }
    Box::pin(Pieces(Box::new(pieces.into_iter())))
}

fn whole(bytes: impl Into<Bytes>) -> ByteStream {
    pieces([Ok(bytes.into())])
}

fn all(payload: impl Into<Drained>) -> Result<Vec<u8>> {
    let mut stream = match payload.into().0 {
        Payload::Value(value) => return Ok(value.bytes().to_vec()),
        other => other.into_stream(),
    };
    pollster::block_on(async {
        let mut bytes = Vec::new();
        while let Some(piece) = poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
            bytes.extend_from_slice(&piece?);
        }
        Ok(bytes)
    })
}

struct Drained(Payload);

impl From<Payload> for Drained {
    fn from(payload: Payload) -> Self {
        Self(payload)
    }
}

impl From<ByteStream> for Drained {
    fn from(stream: ByteStream) -> Self {
        Self(Payload::Stream(stream))
    }
}
