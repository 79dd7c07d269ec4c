//! Frames: how an offloaded value lies in a store (`frames-1`).
//!
//! An object is the eight bytes `EXCOM\x00\x01\x00` (magic and format version), the id of the seal key
//! behind its length in one byte, and then frames. A frame is
//!
//! | bytes | what |
//! | --- | --- |
//! | 4 | little-endian: bit 31 last frame, bit 30 compressed, the rest the length of the body |
//! | n | the body: at most 1 MiB of the value's text, as it is or as one zstd frame |
//! | 32 | keyed BLAKE3 of: XCom key and version, frame index (8 bytes), the 4 bytes above, the body |
//!
//! A frame is verified before any of it is released, so a stream is safe with the memory of one frame.
//! Frames cut, swapped, repeated or moved to another key or version do not verify, and an object that
//! ends before its last frame is truncated.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use excom_core::seal::{self, MacKey, Purpose, SealKeys};
use excom_core::{ByteStream, Error, ErrorKind, Result, Version, XComKey};
use futures_core::Stream;

/// The name by which entries know this layout.
pub const CODEC: &str = "frames-1";

/// The most plain bytes in a frame.
pub const FRAME_BYTES: usize = 1 << 20;

const MAGIC: [u8; 8] = *b"EXCOM\x00\x01\x00";
const LAST: u32 = 1 << 31;
const COMPRESSED: u32 = 1 << 30;
const LENGTH: u32 = COMPRESSED - 1;
const MAC_BYTES: usize = 32;
const LEVEL: i32 = 3;

/// What every frame's MAC begins with.
struct Scope {
    key: MacKey,
    bytes: Vec<u8>,
}

impl Scope {
    fn mac(&self, index: u64, head: u32, body: &[u8]) -> [u8; MAC_BYTES] {
        let mut hasher = self.key.hasher();
        hasher.update(&self.bytes);
        hasher.update(&index.to_le_bytes());
        hasher.update(&head.to_le_bytes());
        hasher.update(body);
        *hasher.finalize().as_bytes()
    }
}

fn scope(keys: &SealKeys, key_id: &str, key: &XComKey, version: Version) -> Option<Scope> {
    let mac = keys.derive(key_id, Purpose::Frame)?;
    let mut bytes = Vec::with_capacity(128);
    seal::scope(&mut bytes, key, version);
    Some(Scope { key: mac, bytes })
}

/// A value's bytes as an object's: a stream of whole frames.
pub struct Encoder {
    plain: ByteStream,
    scope: Scope,
    compress: bool,
    index: u64,
    buffer: BytesMut,
    out: BytesMut,
    done: bool,
}

impl Encoder {
    /// Frames for one version of an XCom, sealed with the current key.
    ///
    /// # Errors
    /// `Configuration` when the keys hold no current key.
    pub fn new(
        plain: ByteStream,
        keys: &SealKeys,
        key: &XComKey,
        version: Version,
        compress: bool,
    ) -> Result<Self> {
        let id = keys.current_id();
        let scope = scope(keys, id, key, version).ok_or_else(|| unknown_key(id))?;
        let length = u8::try_from(id.len())
            .map_err(|_| Error::new(ErrorKind::Configuration, "the seal key's id is over 255 bytes"))?;
        let mut out = BytesMut::from(&MAGIC[..]);
        out.extend_from_slice(&[length]);
        out.extend_from_slice(id.as_bytes());
        Ok(Self { plain, scope, compress, index: 0, buffer: BytesMut::new(), out, done: false })
    }

    fn frame(&mut self, plain: &[u8], last: bool) {
        let packed = self.compress.then(|| zstd::bulk::compress(plain, LEVEL).ok()).flatten();
        let (body, flag) = match &packed {
            Some(packed) if packed.len() < plain.len() => (&packed[..], COMPRESSED),
            _ => (plain, 0),
        };
        let head = body.len() as u32 | flag | if last { LAST } else { 0 };
        self.out.reserve(4 + body.len() + MAC_BYTES);
        self.out.extend_from_slice(&head.to_le_bytes());
        self.out.extend_from_slice(body);
        self.out.extend_from_slice(&self.scope.mac(self.index, head, body));
        self.index += 1;
    }
}

impl Stream for Encoder {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let this = &mut *self;
        while !this.done && this.index == 0 && this.out.len() < 512 || (!this.done && this.out.is_empty()) {
            match ready!(this.plain.as_mut().poll_next(cx)) {
                Some(Ok(piece)) => this.buffer.extend_from_slice(&piece),
                Some(Err(error)) => {
                    this.done = true;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    // The end: what is left, in whole frames, the last of them marked (and empty only
                    // when the value is).
                    this.done = true;
                    let mut rest = std::mem::take(&mut this.buffer);
                    while rest.len() > FRAME_BYTES {
                        let plain = rest.split_to(FRAME_BYTES);
                        this.frame(&plain, false);
                    }
                    this.frame(&rest, true);
                }
            }
            // One more byte than a frame, so that the last frame is never left empty.
            while this.buffer.len() > FRAME_BYTES {
                let plain = this.buffer.split_to(FRAME_BYTES);
                this.frame(&plain, false);
            }
        }
        if this.out.is_empty() {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Ok(this.out.split().freeze())))
    }
}

/// An object's bytes as the value's: a stream of verified pieces.
pub struct Decoder {
    stored: ByteStream,
    keys: SealKeys,
    key: XComKey,
    version: Version,
    name: String,
    scope: Option<Scope>,
    index: u64,
    buffer: BytesMut,
    state: State,
}

#[derive(PartialEq, Eq)]
enum State {
    Frames,
    /// The last frame is out; nothing may follow.
    Last,
    Ended,
}

impl Decoder {
    /// Reads an object that was written for one version of an XCom. The name is for messages.
    pub fn new(stored: ByteStream, keys: SealKeys, key: XComKey, version: Version, name: String) -> Self {
        let (scope, state) = (None, State::Frames);
        Self { stored, keys, key, version, name, scope, index: 0, buffer: BytesMut::new(), state }
    }

    fn corrupt(&self, what: &str) -> Error {
        Error::new(ErrorKind::Corrupt, format!("object {}: {what}", self.name))
    }

    /// The beginning of the object; none while more bytes are needed.
    fn begin(&mut self) -> Result<Option<()>> {
        let Some(&length) = self.buffer.get(MAGIC.len()) else { return Ok(None) };
        if self.buffer[..MAGIC.len()] != MAGIC {
            return Err(self.corrupt("it does not begin like a value of this format"));
        }
        let end = MAGIC.len() + 1 + length as usize;
        if self.buffer.len() < end {
            return Ok(None);
        }
        let id = String::from_utf8_lossy(&self.buffer[MAGIC.len() + 1..end]).into_owned();
        self.scope = Some(scope(&self.keys, &id, &self.key, self.version).ok_or_else(|| unknown_key(&id))?);
        self.buffer.advance(end);
        Ok(Some(()))
    }

    /// The next frame's plain bytes; none while more bytes are needed.
    fn frame(&mut self) -> Result<Option<Bytes>> {
        if self.scope.is_none() && self.begin()?.is_none() {
            return Ok(None);
        }
        let Some(head) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let head = u32::from_le_bytes(*head);
        let length = (head & LENGTH) as usize;
        if length > FRAME_BYTES {
            return Err(self.corrupt(&format!("frame {} claims {length} bytes", self.index)));
        }
        if self.buffer.len() < 4 + length + MAC_BYTES {
            return Ok(None);
        }
        self.buffer.advance(4);
        let body = self.buffer.split_to(length);
        let mac = self.buffer.split_to(MAC_BYTES);
        let expected = self.scope.as_ref().map(|scope| scope.mac(self.index, head, &body));
        // Compared in constant time, as blake3 does.
        let fits = expected.is_some_and(|expected| {
            mac.first_chunk::<MAC_BYTES>()
                .is_some_and(|mac| blake3::Hash::from_bytes(expected) == blake3::Hash::from_bytes(*mac))
        });
        if !fits {
            return Err(self.corrupt(&format!(
                "the seal of frame {} does not match: it was altered, or belongs to another place",
                self.index
            )));
        }
        self.index += 1;
        if head & LAST != 0 {
            self.state = State::Last;
        }
        if head & COMPRESSED == 0 {
            return Ok(Some(body.freeze()));
        }
        zstd::bulk::decompress(&body, FRAME_BYTES)
            .map(|plain| Some(plain.into()))
            .map_err(|e| self.corrupt(&format!("frame {} cannot be decompressed: {e}", self.index - 1)))
    }
}

impl Stream for Decoder {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let this = &mut *self;
        loop {
            if this.state == State::Ended {
                return Poll::Ready(None);
            }
            if this.state == State::Frames {
                match this.frame() {
                    Ok(Some(plain)) => return Poll::Ready(Some(Ok(plain))),
                    Ok(None) => {}
                    Err(error) => {
                        this.state = State::Ended;
                        return Poll::Ready(Some(Err(error)));
                    }
                }
            }
            let end = match ready!(this.stored.as_mut().poll_next(cx)) {
                Some(Ok(piece)) => {
                    this.buffer.extend_from_slice(&piece);
                    (this.state == State::Last && !this.buffer.is_empty())
                        .then(|| this.corrupt("it goes on behind its last frame"))
                }
                Some(Err(error)) => Some(error),
                None if this.state == State::Last && this.buffer.is_empty() => {
                    this.state = State::Ended;
                    return Poll::Ready(None);
                }
                None if this.state == State::Last => Some(this.corrupt("it goes on behind its last frame")),
                None => Some(this.corrupt(&format!("it is truncated: it ends within frame {}", this.index))),
            };
            if let Some(error) = end {
                this.state = State::Ended;
                return Poll::Ready(Some(Err(error)));
            }
        }
    }
}

fn unknown_key(id: &str) -> Error {
    Error::new(ErrorKind::Configuration, format!("the value is sealed with key `{id}`, which is not loaded"))
        .hint(format!("add key `{id}` to the keys"))
}

#[cfg(test)]
mod tests;
