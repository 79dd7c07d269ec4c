//! The kinds of stores, started for a test; and the calls of a store, on this thread.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use excom_core::{ByteStream, Error, ErrorKind, ObjectName, Result, ValueStore, Version, XComKey};
use excom_store::ObjectStorage;
use excom_testkit::{azure, gcs, s3};
use futures_core::Stream;
use tempfile::TempDir;

/// A kind of store, with what has to live as long as the test.
pub(crate) enum Kind {
    Memory,
    File(TempDir),
    S3(s3::S3),
    Google(gcs::Gcs),
    Azure(azure::Azure),
}

impl Kind {
    /// A store below a prefix: empty, or beginning with `/`.
    pub(crate) fn open(&self, prefix: &str) -> ObjectStorage {
        let (location, options) = match self {
            Self::Memory => ("memory://".to_owned(), Vec::new()),
            Self::File(folder) => (format!("file://{}/values", folder.path().display()), Vec::new()),
            Self::S3(s3) => (format!("s3://{}", s3::BUCKET), s3.options()),
            Self::Google(gcs) => (format!("gs://{}", gcs::BUCKET), gcs.options()),
            Self::Azure(azure) => (format!("az://{}", azure::CONTAINER), azure.options()),
        };
        ObjectStorage::open(&format!("{location}{prefix}"), options).unwrap()
    }

    /// A store in a bucket that does not exist, where there are buckets.
    pub(crate) fn elsewhere(&self) -> Option<ObjectStorage> {
        let (location, options) = match self {
            Self::Memory | Self::File(_) => return None,
            Self::S3(s3) => ("s3://elsewhere", s3.options()),
            Self::Google(gcs) => ("gs://elsewhere", gcs.options()),
            Self::Azure(azure) => ("az://elsewhere", azure.options()),
        };
        Some(ObjectStorage::open(location, options).unwrap())
    }

    /// Uploads that were begun and neither completed nor aborted, where that can be known.
    pub(crate) fn unfinished(&self) -> Option<usize> {
        match self {
            Self::S3(s3) => Some(s3.unfinished().unwrap()),
            Self::Google(gcs) => Some(gcs.unfinished()),
            _ => None,
        }
    }
}

/// Asks until it is so, or for a minute.
pub(crate) fn eventually(mut so: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(60) {
        if so() {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

pub(crate) fn memory() -> ObjectStorage {
    Kind::Memory.open("")
}

pub(crate) fn name(key: &str, version: i64) -> ObjectName {
    ObjectName::of(&XComKey::new("d", "r", "t", -1, key).unwrap(), Version::from_code(version).unwrap())
}

/// Bytes that repeat only after a long time.
pub(crate) fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// A body in pieces, which ends well, in an error, or never.
pub(crate) struct Body {
    left: Bytes,
    piece: usize,
    end: End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Well,
    Failing,
    Never,
}

pub(crate) fn body(bytes: impl Into<Bytes>, piece: usize, end: End) -> ByteStream {
    Box::pin(Body { left: bytes.into(), piece, end })
}

impl Stream for Body {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if self.left.is_empty() {
            return match self.end {
                End::Well => Poll::Ready(None),
                End::Failing => {
                    Poll::Ready(Some(Err(Error::new(ErrorKind::InvalidValue, "the source failed"))))
                }
                End::Never => Poll::Pending,
            };
        }
        let end = self.piece.min(self.left.len());
        Poll::Ready(Some(Ok(self.left.split_to(end))))
    }
}

pub(crate) fn create(store: &ObjectStorage, name: &ObjectName, bytes: &[u8]) -> Result<u64> {
    pollster::block_on(store.create(name, body(Bytes::copy_from_slice(bytes), 1000, End::Well)))
}

pub(crate) fn read(store: &ObjectStorage, name: &ObjectName) -> Result<Vec<u8>> {
    pollster::block_on(read_all(store, name))
}

pub(crate) async fn read_all(store: &ObjectStorage, name: &ObjectName) -> Result<Vec<u8>> {
    let mut stream = store.get(name).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
        bytes.extend_from_slice(&piece?);
    }
    Ok(bytes)
}

pub(crate) fn list(store: &ObjectStorage, after: Option<&ObjectName>, limit: usize) -> Vec<ObjectName> {
    pollster::block_on(store.list(after, limit)).unwrap()
}

pub(crate) fn delete(store: &ObjectStorage, name: &ObjectName) -> bool {
    pollster::block_on(store.delete(name)).unwrap()
}
