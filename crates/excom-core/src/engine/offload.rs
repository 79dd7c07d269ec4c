//! The bytes of a push on their way out of the database: looked ahead into, measured, stored.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use futures_util::TryStreamExt as _;
use serde::{Deserialize, Serialize};

use super::push::{Looks, too_large};
use super::{Engine, INLINE_HARD_LIMIT, SECRET_LIMIT, Step, disguise};
use crate::backend::{Object, Placement, collect};
use crate::db::{LooseObject, Push, Pushed};
use crate::entry::{Stored, Version};
use crate::json::{Scanner, Shape};
use crate::seal::Sealed;
use crate::value::{self, ByteStream, ContentHash, Measure, Payload, Value};
use crate::{Error, ErrorKind, Result, XComKey};

/// Which values leave the database, when the backend has a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Offload {
    /// Those that the backend does not want inline: large ones.
    #[default]
    Threshold,
    /// All, except of keys that stay inline.
    All,
}

/// More bytes than the envelope of any secret has, which is base64.
const MOST_OF_ENVELOPE: u64 = 2 * SECRET_LIMIT;

/// A payload whose size is known when it is small.
pub(super) enum Sized {
    Value(Value),
    Long(ByteStream),
}

impl Engine {
    /// The store that takes every value of an XCom, if one does.
    fn store_of_all(&self, key: &XComKey) -> Option<&str> {
        let store = self.backend().store().filter(|_| self.0.settings.offload == Offload::All)?;
        let exempt = self.0.settings.access.exempts(&key.ti.dag_id, || self.0.clock.now());
        (!exempt).then_some(store)
    }

    /// Whether a value stays in the database for its key, where every other goes to the store.
    pub(super) fn stays_inline(&self, key: &XComKey) -> bool {
        self.store_of_all(key).is_some() && self.0.settings.inline_keys.iter().any(|it| it.fits(&key.key))
    }

    /// The most bytes that an XCom may have in the database.
    pub(super) fn inline_limit(&self, key: &XComKey) -> u64 {
        let limit = self.backend().inline_limit();
        if self.stays_inline(key) { limit.max(INLINE_HARD_LIMIT) } else { limit }
    }

    /// Where a value goes.
    pub(super) fn place(&self, key: &XComKey, value: Option<&Value>) -> Placement<'_> {
        match self.store_of_all(key) {
            Some(_) if self.stays_inline(key) => Placement::Inline,
            Some(store) => Placement::Offload(store),
            None => self.backend().placement(key, value),
        }
    }

    /// The store where a value of a size goes, as far as its size tells; none for the database.
    pub(super) fn store_by_size(&self, key: &XComKey, size: u64) -> Option<&str> {
        match self.store_of_all(key) {
            Some(_) if self.stays_inline(key) => None,
            Some(store) => Some(store),
            None => self.backend().store().filter(|_| size > self.backend().inline_limit()),
        }
    }

    /// Intent, object, and then what the entry needs to know of it.
    pub(super) async fn offload(
        &self,
        push: &mut Push,
        looks: &mut Looks,
        store: &str,
        sized: Sized,
        secret: Option<&Value>,
        given: Option<Version>,
    ) -> Result<Pushed> {
        let mut intent =
            LooseObject { key: push.key.clone(), version: push.version, store: store.into(), since: push.at };
        while self.0.db.note_intent(&intent).await? == Pushed::Already {
            if given.is_some() {
                // It is not stored again, but what it is tells whether it is the same.
                (push.size, push.hash) = measured(sized, &push.key, self.0.settings.hard_limit).await?;
                return Ok(Pushed::Already);
            }
            push.version = self.0.clock.version();
            intent.version = push.version;
        }
        let sealing = self.sealing_key().await?;
        let sized = match secret {
            // It is sealed for the version that the intent made sure of.
            Some(secret) => {
                Sized::Value(self.0.keys.seal_secret(&sealing, &push.key, push.version, secret)?)
            }
            None => sized,
        };
        let object = Object { key: &push.key, version: push.version, store, codec: "", key_id: &sealing };
        let mut key_id = object.key_id.to_owned();
        let (payload, seen) = match sized {
            Sized::Value(value) => {
                push.size = value.size();
                push.hash = ContentHash::of(value.bytes());
                push.shape = value.shape();
                push.preview = value::preview(value.bytes());
                (Payload::Value(value), None)
            }
            Sized::Long(stream) => {
                let (stream, seen) = Watched::new(stream, push.key.clone(), self.0.settings.hard_limit);
                (Payload::Stream(Box::pin(stream)), Some(seen))
            }
        };
        let writing = self.begins(Step::Write(store));
        let written = self.backend().serialize_value(&object, payload).await;
        drop(writing);
        let codec = match written {
            // An earlier try of this very push was interrupted behind the object: it is as good as
            // written now, if it is the same.
            Err(error) if error.kind() == ErrorKind::Exists => {
                let written = match &seen {
                    None => Some((push.size, push.hash)),
                    Some(seen) => {
                        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                        seen.as_ref().map(|seen| (seen.size, seen.hash))
                    }
                };
                // A stream that was not read to its end cannot be compared.
                let (size, hash) = written.ok_or(error)?;
                match secret {
                    None => self.same_object(&object, size, hash).await?,
                    Some(secret) => {
                        let envelope = self.same_secret(&object, secret).await?;
                        (push.size, push.hash) = (envelope.size(), ContentHash::of(envelope.bytes()));
                    }
                }
                // It may be from before the keys were rotated.
                key_id = self.backend().key_of(&object).await?.unwrap_or(key_id);
                self.backend().codec().to_owned()
            }
            other => other?,
        };
        if let Some(seen) = seen {
            let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).take().ok_or_else(|| {
                Error::new(ErrorKind::Other, "the backend did not read the value to its end")
            })?;
            push.size = seen.size;
            push.hash = seen.hash;
            push.shape = seen.shape;
            push.preview = value::preview(&seen.head);
            *looks = Looks::at(&push.key, &seen.head, seen.size, seen.shape);
        }
        let Push { version, size, hash, .. } = *push;
        let what = Sealed { version, size, hash, store, codec: &codec, key_id: &key_id };
        push.stored = Stored::Offloaded(self.0.keys.seal(&push.key, &what)?);
        Ok(Pushed::Written)
    }

    /// Makes sure that an object that exists holds the value that is being pushed.
    async fn same_object(&self, object: &Object<'_>, size: u64, hash: ContentHash) -> Result<()> {
        let same = match self.backend().deserialize_value(object).await? {
            Payload::Value(value) => ContentHash::of(value.bytes()) == hash,
            other => {
                let mut stream = other.into_stream();
                let mut stored = Measure::default();
                while stored.size() <= size
                    && let Some(piece) = poll_fn(|cx| stream.as_mut().poll_next(cx)).await
                {
                    stored.update(&piece?);
                }
                stored.finish() == (size, hash)
            }
        };
        if same { Ok(()) } else { Err(another_value(object)) }
    }

    /// The envelope in an object that exists, when it holds the secret that is being pushed: with whichever key.
    async fn same_secret(&self, object: &Object<'_>, secret: &Value) -> Result<Value> {
        let stored = self.backend().deserialize_value(object).await?;
        let envelope = collect(stored, MOST_OF_ENVELOPE).await.map_err(|error| match error.kind() {
            ErrorKind::TooLarge | ErrorKind::InvalidValue => another_value(object),
            _ => error,
        })?;
        match self.0.keys.open_secret(object.key, object.version, &envelope) {
            Ok(opened) if opened.bytes() == secret.bytes() => Ok(envelope),
            Err(error) if error.kind() != ErrorKind::Corrupt => Err(error),
            _ => Err(another_value(object)),
        }
    }

    /// Reads a stream as far as a value may be inline. What ends there is a value, what goes on is
    /// put together again.
    pub(super) async fn look_ahead(&self, payload: Payload, limit: u64) -> Result<Sized> {
        let mut stream = match payload {
            Payload::Value(value) => return Ok(Sized::Value(value)),
            other => other.into_stream(),
        };
        let mut ahead = BytesMut::new();
        while ahead.len() as u64 <= limit {
            match poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
                Some(piece) => ahead.extend_from_slice(&piece?),
                None => return Ok(Sized::Value(Value::parse(ahead.freeze())?)),
            }
        }
        Ok(Sized::Long(Box::pin(Rejoined { ahead: Some(ahead.freeze()), rest: stream })))
    }
}

fn another_value(object: &Object<'_>) -> Error {
    Error::new(
        ErrorKind::Exists,
        format!("version {} of {} was stored before with another value", object.version, object.key),
    )
    .hint("push without the version, or with a new one")
}

struct Rejoined {
    ahead: Option<Bytes>,
    rest: ByteStream,
}

impl Stream for Rejoined {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        match self.ahead.take() {
            Some(ahead) => Poll::Ready(Some(Ok(ahead))),
            None => self.rest.as_mut().poll_next(cx),
        }
    }
}

/// What was seen of a stream when it ended.
struct Seen {
    size: u64,
    hash: ContentHash,
    shape: Shape,
    /// The beginning, of at most [`disguise::HEAD`] bytes.
    head: Vec<u8>,
}

/// The size of a value, and its hash.
async fn measured(sized: Sized, key: &XComKey, limit: u64) -> Result<(u64, ContentHash)> {
    let stream = match sized {
        Sized::Value(value) => return Ok((value.size(), ContentHash::of(value.bytes()))),
        Sized::Long(stream) => stream,
    };
    let (mut stream, seen) = Watched::new(stream, key.clone(), limit);
    while stream.try_next().await?.is_some() {}
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(seen.as_ref().map_or((0, ContentHash(0)), |seen| (seen.size, seen.hash)))
}

/// Validates, measures and hashes a stream on its way to the store.
struct Watched {
    inner: ByteStream,
    key: XComKey,
    limit: u64,
    state: Option<(Scanner, Measure, Vec<u8>)>,
    seen: Arc<Mutex<Option<Seen>>>,
}

impl Watched {
    fn new(inner: ByteStream, key: XComKey, limit: u64) -> (Self, Arc<Mutex<Option<Seen>>>) {
        let seen = Arc::new(Mutex::new(None));
        let state = Some((Scanner::new(), Measure::default(), Vec::new()));
        (Self { inner, key, limit, state, seen: seen.clone() }, seen)
    }

    fn watch(&mut self, piece: &Bytes) -> Result<()> {
        let Some((scanner, measure, head)) = &mut self.state else { return Ok(()) };
        if measure.size() + piece.len() as u64 > self.limit {
            return Err(too_large(&self.key, "more", self.limit));
        }
        head.extend_from_slice(&piece[..piece.len().min(disguise::HEAD - head.len())]);
        measure.update(piece);
        scanner.feed(piece)
    }

    fn end(&mut self) -> Result<()> {
        if let Some((scanner, measure, head)) = self.state.take() {
            let shape = scanner.finish()?;
            let (size, hash) = measure.finish();
            let seen = Seen { size, hash, shape, head };
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        }
        Ok(())
    }
}

impl Stream for Watched {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let next = std::task::ready!(self.inner.as_mut().poll_next(cx));
        Poll::Ready(match next {
            Some(Ok(piece)) => Some(self.watch(&piece).map(|()| piece)),
            Some(Err(error)) => Some(Err(error)),
            None => self.end().err().map(Err),
        })
    }
}
