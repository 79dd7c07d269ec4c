//! A backend that offloads to a store in memory, as plain bytes.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::Store;
use crate::backend::Object;
use crate::store::Side;
use crate::value::Payload;
use crate::{Error, ErrorKind, Result, Value, ValueStore, XComBackend};

/// Values over a threshold go to a [`Store`].
#[derive(Debug)]
pub struct Backend {
    store: Arc<Store>,
    threshold: u64,
    seals: bool,
}

impl Backend {
    /// A backend that keeps values of at most so many bytes inline.
    pub fn new(store: Arc<Store>, threshold: u64) -> Self {
        Self { store, threshold, seals: false }
    }

    /// The same as one that seals what it stores, for tests of what follows from that.
    #[must_use]
    pub fn sealing(self) -> Self {
        Self { seals: true, ..self }
    }

    fn mine(&self, object: &Object<'_>) -> Result<()> {
        if Side::split(object.store).0 == self.store.id() {
            return Ok(());
        }
        let message = format!("{} is in the store `{}`, which is not configured", object.key, object.store);
        Err(Error::new(ErrorKind::Configuration, message))
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "memory(over {} bytes)", self.threshold)
    }
}

#[async_trait]
impl XComBackend for Backend {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn store(&self) -> Option<&str> {
        Some(self.store.id())
    }

    fn objects(&self) -> Option<&dyn ValueStore> {
        Some(&*self.store)
    }

    fn inline_limit(&self) -> u64 {
        self.threshold
    }

    fn codec(&self) -> &'static str {
        "plain"
    }

    async fn key_of(&self, object: &Object<'_>) -> Result<Option<String>> {
        Ok(self.seals.then(|| object.key_id.to_owned()))
    }

    async fn serialize_value(&self, object: &Object<'_>, value: Payload) -> Result<String> {
        let body = match value {
            Payload::Value(value) => super::store::pieces(value.bytes().clone()),
            other => other.into_stream(),
        };
        self.store.create(&object.name(), body).await?;
        Ok(self.codec().to_owned())
    }

    async fn deserialize_value(&self, object: &Object<'_>) -> Result<Payload> {
        self.mine(object)?;
        Ok(Payload::Stream(self.store.get(&object.name()).await?))
    }

    async fn purge(&self, object: &Object<'_>) -> Result<()> {
        self.mine(object)?;
        self.store.delete(&object.name()).await.map(drop)
    }
}

/// A whole value as a payload of pieces, for tests of streams.
pub fn streamed(value: &Value) -> Payload {
    Payload::Stream(super::store::pieces(value.bytes().clone()))
}
