//! A value store in memory.

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;

use crate::value::ByteStream;
use crate::{Error, ErrorKind, ObjectName, Result, ValueStore};

/// Objects in a map.
#[derive(Debug)]
pub struct Store {
    id: String,
    objects: Mutex<BTreeMap<ObjectName, Bytes>>,
}

impl Default for Store {
    fn default() -> Self {
        Self::named("memory")
    }
}

impl Store {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store with an id of its own.
    pub fn named(id: impl Into<String>) -> Self {
        Self { id: id.into(), objects: Mutex::default() }
    }

    /// Changes an object's bytes behind everybody's back, for tests of damage.
    pub fn tamper(&self, name: &ObjectName, change: impl FnOnce(&mut Vec<u8>)) {
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(object) = objects.get_mut(name) {
            let mut bytes = object.to_vec();
            change(&mut bytes);
            *object = bytes.into();
        }
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("memory()")
    }
}

#[async_trait]
impl ValueStore for Store {
    fn id(&self) -> &str {
        &self.id
    }

    async fn create(&self, name: &ObjectName, mut body: ByteStream) -> Result<u64> {
        let mut bytes = Vec::new();
        while let Some(piece) = poll_fn(|cx| body.as_mut().poll_next(cx)).await {
            bytes.extend_from_slice(&piece?);
        }
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        if objects.contains_key(name) {
            return Err(Error::new(ErrorKind::Exists, format!("the object {name} exists")));
        }
        let size = bytes.len() as u64;
        objects.insert(name.clone(), bytes.into());
        Ok(size)
    }

    async fn get(&self, name: &ObjectName) -> Result<ByteStream> {
        let objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = objects
            .get(name)
            .cloned()
            .ok_or_else(|| Error::new(ErrorKind::Lost, format!("the object {name} is gone from {self}")))?;
        Ok(pieces(bytes))
    }

    async fn delete(&self, name: &ObjectName) -> Result<bool> {
        Ok(self.objects.lock().unwrap_or_else(PoisonError::into_inner).remove(name).is_some())
    }

    async fn list(&self, after: Option<&ObjectName>, limit: usize) -> Result<Vec<ObjectName>> {
        let objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        let behind = objects.keys().filter(|name| after.is_none_or(|after| *name > after));
        Ok(behind.take(limit).cloned().collect())
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

pub(super) fn pieces(bytes: Bytes) -> ByteStream {
    Box::pin(Pieces(bytes))
}

/// Bytes in pieces of at most 64 KiB, as a network would bring them.
struct Pieces(Bytes);

impl Stream for Pieces {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if self.0.is_empty() {
            return Poll::Ready(None);
        }
        let end = self.0.len().min(64 << 10);
        Poll::Ready(Some(Ok(self.0.split_to(end))))
    }
}
