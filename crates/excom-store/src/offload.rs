//! The backend that offloads: small values stay in the metadata database, the others go to a store.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use bytes::Bytes;
use excom_core::backend::Object;
use excom_core::seal::SealKeys;
use excom_core::store::Side;
use excom_core::{ByteStream, Error, ErrorKind, ObjectName, Payload, Result, ValueStore, XComBackend};
use futures_core::Stream;

use crate::frame::{self, CODEC, Decoder, Encoder, Layout};

/// What an [`Offload`] backend is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffloadOptions {
    /// The name by which settings select the backend.
    pub name: String,
    /// Values over so many bytes go to the store.
    pub threshold: u64,
    /// Stored values from so many bytes on are compressed.
    pub compress_from: u64,
    /// Whether stored values are encrypted; sealed they are in any case.
    pub encrypt: bool,
}

impl Default for OffloadOptions {
    fn default() -> Self {
        Self { name: "database".to_owned(), threshold: 64 << 10, compress_from: 4 << 10, encrypt: false }
    }
}

/// Small values in the metadata database, the others in a value store as sealed
/// [frames](mod@crate::frame).
#[derive(Debug)]
pub struct Offload {
    store: Arc<dyn ValueStore>,
    keys: SealKeys,
    options: OffloadOptions,
}

impl Offload {
    /// A backend over a store, with the keys that seal frames.
    pub fn new(store: Arc<dyn ValueStore>, keys: SealKeys, options: OffloadOptions) -> Self {
        Self { store, keys, options }
    }

    /// The value in an object that was read: at once when all of it is there and in one frame.
    fn decoded(&self, object: &Object<'_>, name: &ObjectName, mut stored: ByteStream) -> Result<Payload> {
        if stored.size_hint().1.is_some_and(|pieces| pieces <= 1) {
            let mut context = Context::from_waker(Waker::noop());
            let whole = match stored.as_mut().poll_next(&mut context) {
                Poll::Ready(whole) => whole.transpose()?.unwrap_or_default(),
                Poll::Pending => return Ok(self.decoder(object, name, stored)),
            };
            let opened = frame::open_whole(whole.clone(), &self.keys, object.key, object.version, name)?;
            if let Some(value) = opened {
                return Ok(Payload::Whole(value));
            }
            stored = Payload::Whole(whole).into_stream();
        }
        Ok(self.decoder(object, name, stored))
    }

    fn decoder(&self, object: &Object<'_>, name: &ObjectName, stored: ByteStream) -> Payload {
        let (keys, key) = (self.keys.clone(), object.key.clone());
        Payload::Stream(Box::pin(Decoder::new(stored, keys, key, object.version, name.clone())))
    }

    fn mine(&self, object: &Object<'_>) -> Result<()> {
        let known = object.codec.is_empty() || object.codec == CODEC;
        if Side::split(object.store).0 == self.store.id() && known {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Configuration,
            format!(
                "{} was stored in `{}` as `{}`; the backend `{}` reads `{}` as `{CODEC}`",
                object.key,
                object.store,
                object.codec,
                self.options.name,
                self.store.id()
            ),
        )
        .hint("configure the store that the value was written with"))
    }
}

impl fmt::Display for Offload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(over {} bytes to {})", self.options.name, self.options.threshold, self.store)
    }
}

#[async_trait]
impl XComBackend for Offload {
    fn name(&self) -> &str {
        &self.options.name
    }

    fn store(&self) -> Option<&str> {
        Some(self.store.id())
    }

    fn objects(&self) -> Option<&dyn ValueStore> {
        Some(&*self.store)
    }

    fn inline_limit(&self) -> u64 {
        self.options.threshold
    }

    fn codec(&self) -> &str {
        CODEC
    }

    async fn key_of(&self, object: &Object<'_>) -> Result<Option<String>> {
        self.mine(object)?;
        let name = object.name();
        frame::key_of(self.store.get(&name).await?, &name).await.map(Some)
    }

    async fn serialize_value(&self, object: &Object<'_>, value: Payload) -> Result<String> {
        self.mine(object)?;
        let (plain, compress): (ByteStream, bool) = match value {
            Payload::Value(value) => {
                let compress = value.size() >= self.options.compress_from;
                (Box::pin(Whole(value.bytes().clone())), compress)
            }
            other => (other.into_stream(), true),
        };
        let layout = Layout { compress, encrypt: self.options.encrypt };
        let current = self.keys.current_id();
        let key_id = if object.key_id.is_empty() { &*current } else { object.key_id };
        let frames = Encoder::new(plain, &self.keys, key_id, object.key, object.version, layout)?;
        self.store.create(&object.name(), Box::pin(frames)).await?;
        Ok(CODEC.to_owned())
    }

    async fn deserialize_value(&self, object: &Object<'_>) -> Result<Payload> {
        self.mine(object)?;
        let name = object.name();
        let stored = self.store.get(&name).await?;
        self.decoded(object, &name, stored)
    }

    async fn deserialize_values(&self, objects: &[Object<'_>]) -> Vec<Result<Payload>> {
        let mut mine = Vec::with_capacity(objects.len());
        let refused: Vec<Result<()>> = objects.iter().map(|object| self.mine(object)).collect();
        for (object, refused) in objects.iter().zip(&refused) {
            if refused.is_ok() {
                mine.push(object.name());
            }
        }
        let stored = self.store.get_many(&mine).await;
        let mut stored = mine.into_iter().zip(stored);
        let untold = || Error::new(ErrorKind::Other, "the store told nothing of the object");
        let decode = |(object, refused): (&Object<'_>, Result<()>)| {
            refused?;
            let (name, stored) = stored.next().ok_or_else(untold)?;
            self.decoded(object, &name, stored?)
        };
        objects.iter().zip(refused).map(decode).collect()
    }

    async fn purge(&self, object: &Object<'_>) -> Result<()> {
        self.mine(object)?;
        self.store.delete(&object.name()).await.map(drop)
    }

    async fn check(&self) -> Result<()> {
        self.store.check().await
    }
}

/// Bytes in pieces of a frame, so that no more than a frame is copied at a time.
struct Whole(Bytes);

impl Stream for Whole {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if self.0.is_empty() {
            return Poll::Ready(None);
        }
        let end = self.0.len().min(crate::frame::FRAME_BYTES);
        Poll::Ready(Some(Ok(self.0.split_to(end))))
    }
}
