//! Push: checked, stored, and made the entry in one fenced step.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3Default;

use super::Engine;
use crate::attempt::Caller;
use crate::backend::{self, Object, Placement};
use crate::db::{LooseObject, Push, Pushed};
use crate::entry::{Stored, Version};
use crate::json::{Scanner, Shape};
use crate::seal::Sealed;
use crate::value::{self, ByteStream, ContentHash, Payload, Value};
use crate::{Error, ErrorKind, Result, XComKey};

/// What a push returns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Receipt {
    /// The version that the value has.
    pub version: Version,
    /// Size of the value's JSON text in bytes.
    pub size: u64,
    /// What kind of value it is, and its length.
    #[serde(flatten)]
    pub shape: Shape,
    /// Whether the bytes are outside the metadata database.
    pub offloaded: bool,
    /// Whether the same version had been pushed before, so that nothing changed.
    pub already: bool,
    /// What the pusher should know, such as a value over the soft limit.
    pub warnings: Vec<String>,
}

impl Receipt {
    /// The receipt of a push that was accepted somewhere that tells nothing about it.
    pub fn of(value: &Value, version: Version) -> Self {
        let (size, shape) = (value.size(), value.shape());
        Self { version, size, shape, offloaded: false, already: false, warnings: Vec::new() }
    }
}

/// A payload whose size is known when it is small.
enum Sized {
    Value(Value),
    Long(ByteStream),
}

impl Engine {
    /// Pushes a value with a version of its own.
    ///
    /// # Errors
    /// - [`ErrorKind::TooLarge`] over the hard limit, [`ErrorKind::InvalidValue`] for a stream that is
    ///   not JSON, [`ErrorKind::Forbidden`] by an access rule;
    /// - [`ErrorKind::Superseded`], [`ErrorKind::NotStarted`] by the fence;
    /// - whatever the store or the database reports. Then nothing was pushed, and what was stored on
    ///   the way is collected.
    pub async fn push(&self, caller: &Caller, key: &XComKey, value: Payload) -> Result<Receipt> {
        self.push_as(caller, key, None, value).await
    }

    /// Pushes a value with a given version as idempotency token: pushing it again changes nothing,
    /// also after a newer version was pushed.
    ///
    /// # Errors
    /// As [`Engine::push`].
    pub async fn push_version(
        &self,
        caller: &Caller,
        key: &XComKey,
        version: Version,
        value: Payload,
    ) -> Result<Receipt> {
        self.push_as(caller, key, Some(version), value).await
    }

    /// Pushes with the version given, or with one of its own. A version of our own that is taken, by
    /// another push in the same millisecond, is no repetition: another one is drawn.
    async fn push_as(
        &self,
        caller: &Caller,
        key: &XComKey,
        given: Option<Version>,
        value: Payload,
    ) -> Result<Receipt> {
        let settings = &self.0.settings;
        settings.access.may_write(caller, key)?;
        let mut push = Push {
            key: key.clone(),
            version: given.unwrap_or_else(|| self.0.clock.version()),
            caller: caller.clone(),
            size: 0,
            hash: ContentHash(0),
            shape: Shape::Null,
            preview: String::new(),
            stored: Stored::Inline(Value::null()),
            at: self.0.clock.now(),
        };
        let sized = self.look_ahead(value).await?;
        let size = match &sized {
            Sized::Value(value) => Some(value.size()),
            Sized::Long(_) => None,
        };
        if let Some(size) = size {
            self.check_size(key, size)?;
        }
        match (self.0.backend.placement(key, size), sized) {
            (Placement::Inline, Sized::Value(value)) => {
                if value.size() > self.0.backend.inline_limit() {
                    return Err(self.too_large_inline(key, value.size()));
                }
                push.size = value.size();
                push.hash = ContentHash::of(value.bytes());
                push.shape = value.shape();
                push.stored = Stored::Inline(value);
            }
            (Placement::Inline, Sized::Long(_)) => {
                return Err(self.too_large_inline(key, self.0.backend.inline_limit() + 1));
            }
            (Placement::Offload(store), sized) => {
                let store = store.to_owned();
                if self.offload(&mut push, &store, sized, given).await? == Pushed::Already {
                    return self.repeated(push).await;
                }
            }
        }
        loop {
            let pushed = self.0.db.push(&push).await?;
            match (pushed, given) {
                (Pushed::Written, _) => return Ok(self.receipt(&push, pushed)),
                (Pushed::Already, Some(_)) => return self.repeated(push).await,
                (Pushed::Already, None) => {}
            }
            push.version = self.0.clock.version();
        }
    }

    /// The receipt of a repeated push: what is stored under the version, as far as it is the entry.
    async fn repeated(&self, mut push: Push) -> Result<Receipt> {
        let entry = self.0.db.entries(std::slice::from_ref(&push.key)).await?.pop().flatten();
        if let Some(entry) = entry.filter(|entry| entry.version == push.version) {
            push.size = entry.size;
            push.shape = entry.shape;
            push.stored = entry.stored;
        }
        Ok(self.receipt(&push, Pushed::Already))
    }

    fn receipt(&self, push: &Push, pushed: Pushed) -> Receipt {
        let soft_limit = self.0.settings.soft_limit;
        let mut warnings = Vec::new();
        if push.size > soft_limit {
            warnings.push(format!(
                "{} has {}, over the soft limit of {}; consider pushing a pointer to the data",
                push.key,
                bytes(push.size),
                bytes(soft_limit)
            ));
        }
        Receipt {
            version: push.version,
            size: push.size,
            shape: push.shape,
            offloaded: matches!(push.stored, Stored::Offloaded(_)),
            already: pushed == Pushed::Already,
            warnings,
        }
    }

    /// Intent, object, and then what the entry needs to know of it.
    async fn offload(
        &self,
        push: &mut Push,
        store: &str,
        sized: Sized,
        given: Option<Version>,
    ) -> Result<Pushed> {
        let mut intent =
            LooseObject { key: push.key.clone(), version: push.version, store: store.into(), since: push.at };
        while self.0.db.note_intent(&intent).await? == Pushed::Already {
            if given.is_some() {
                return Ok(Pushed::Already);
            }
            push.version = self.0.clock.version();
            intent.version = push.version;
        }
        let object = Object { key: &push.key, version: push.version, store, codec: "" };
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
        let codec = match self.0.backend.serialize_value(&object, payload).await {
            // An earlier try of this very push was interrupted behind the object: it is as good as
            // written now, if it is the same.
            Err(error) if error.kind() == ErrorKind::Exists && seen.is_none() => {
                self.same_object(&object, push.size, push.hash).await?
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
            push.preview = seen.preview;
        }
        let what = Sealed { version: push.version, size: push.size, hash: push.hash, store, codec: &codec };
        push.stored = Stored::Offloaded(self.0.keys.seal(&push.key, &what));
        Ok(Pushed::Written)
    }

    /// The codec of an object that exists, when it holds the value that is being pushed.
    async fn same_object(&self, object: &Object<'_>, size: u64, hash: ContentHash) -> Result<String> {
        let stored = self.0.backend.deserialize_value(object).await?;
        let value = backend::collect(stored, size).await?;
        if ContentHash::of(value.bytes()) == hash {
            return Ok(self.0.backend.codec().to_owned());
        }
        Err(Error::new(
            ErrorKind::Exists,
            format!("version {} of {} was stored before with another value", object.version, object.key),
        )
        .hint("push without the version, or with a new one"))
    }

    /// Reads a stream as far as a value may be inline. What ends there is a value, what goes on is
    /// put together again.
    async fn look_ahead(&self, payload: Payload) -> Result<Sized> {
        let mut stream = match payload {
            Payload::Value(value) => return Ok(Sized::Value(value)),
            Payload::Stream(stream) => stream,
        };
        let limit = self.0.backend.inline_limit();
        let mut ahead = BytesMut::new();
        while ahead.len() as u64 <= limit {
            match poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
                Some(piece) => ahead.extend_from_slice(&piece?),
                None => return Ok(Sized::Value(Value::parse(ahead.freeze())?)),
            }
        }
        Ok(Sized::Long(Box::pin(Rejoined { ahead: Some(ahead.freeze()), rest: stream })))
    }

    fn check_size(&self, key: &XComKey, size: u64) -> Result<()> {
        let limit = self.0.settings.hard_limit;
        if size > limit { Err(too_large(key, &bytes(size), limit)) } else { Ok(()) }
    }

    fn too_large_inline(&self, key: &XComKey, size: u64) -> Error {
        let limit = self.0.backend.inline_limit();
        Error::new(
            ErrorKind::TooLarge,
            format!(
                "{key} has {} or more, the backend `{}` keeps at most {} in the metadata database",
                bytes(size),
                self.0.backend.name(),
                bytes(limit)
            ),
        )
        .hint("select a backend that offloads large values, or push a pointer to the data")
    }
}

fn too_large(key: &XComKey, size: &str, limit: u64) -> Error {
    Error::new(
        ErrorKind::TooLarge,
        format!("{key} has {size}, the hard limit is {}; nothing was pushed", bytes(limit)),
    )
    .hint("push a pointer to the data (a path or URI) instead of the data")
    .hint("or raise [xcom] hard_limit")
}

/// A size for people.
fn bytes(size: u64) -> String {
    match size {
        0..1024 => format!("{size} bytes"),
        1024..0x10_0000 => format!("{:.1} KiB ({size} bytes)", size as f64 / 1024.0),
        _ => format!("{:.1} MiB ({size} bytes)", size as f64 / 1_048_576.0),
    }
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
    preview: String,
}

/// Validates, measures and hashes a stream on its way to the store.
struct Watched {
    inner: ByteStream,
    key: XComKey,
    limit: u64,
    state: Option<(Scanner, Xxh3Default, u64, Vec<u8>)>,
    seen: Arc<Mutex<Option<Seen>>>,
}

impl Watched {
    fn new(inner: ByteStream, key: XComKey, limit: u64) -> (Self, Arc<Mutex<Option<Seen>>>) {
        let seen = Arc::new(Mutex::new(None));
        let state = Some((Scanner::new(), Xxh3Default::new(), 0, Vec::new()));
        (Self { inner, key, limit, state, seen: seen.clone() }, seen)
    }

    fn watch(&mut self, piece: &Bytes) -> Result<()> {
        let Some((scanner, hasher, size, start)) = &mut self.state else { return Ok(()) };
        *size += piece.len() as u64;
        if *size > self.limit {
            return Err(too_large(&self.key, "more", self.limit));
        }
        if start.len() <= value::PREVIEW_BYTES {
            start.extend_from_slice(&piece[..piece.len().min(value::PREVIEW_BYTES + 4)]);
        }
        hasher.update(piece);
        scanner.feed(piece)
    }

    fn end(&mut self) -> Result<()> {
        if let Some((scanner, hasher, size, start)) = self.state.take() {
            let shape = scanner.finish()?;
            let seen =
                Seen { size, hash: ContentHash(hasher.digest()), shape, preview: value::preview(&start) };
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
