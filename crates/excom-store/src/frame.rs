//! Frames: how an offloaded value lies in a store (`frames-1`).
//!
//! An object is the eight bytes `EXCOM\x00\x01\x00` (magic and format version), the id of the seal key
//! behind its length in one byte, and then frames. A frame is
//!
//! | bytes | what |
//! | --- | --- |
//! | 4 | little-endian: bit 31 last frame, bit 30 compressed, bit 29 encrypted, the rest the length of the body |
//! | n | the body: at most 1 MiB of the value's text, as it is or as one zstd frame, then encrypted or not |
//! | 32 | when it is not encrypted: keyed BLAKE3 of XCom key and version, frame index (8 bytes), the 4 bytes above, the body |
//! | 16 | when it is: the tag of AES-256-GCM-SIV, which covers XCom key and version and the 4 bytes above; the nonce is the frame index |
//!
//! A frame is verified before any of it is released, so a stream is safe with the memory of one frame.
//! Frames cut, swapped, repeated or moved to another key or version do not verify, and an object that
//! ends before its last frame is truncated.

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use blocking::{Task, unblock};
use bytes::{Buf, Bytes, BytesMut};
use excom_core::seal::{self, Cipher, MacKey, Purpose, SealKeys};
use excom_core::{ByteStream, Error, ErrorKind, ObjectName, Result, Version, XComKey};
use futures_core::Stream;

/// The name by which entries know this layout.
pub const CODEC: &str = "frames-1";

/// The most plain bytes in a frame.
pub const FRAME_BYTES: usize = 1 << 20;

/// Frames of so many bytes are packed and opened on a thread of their own, for whoever shares the thread that polls: a
/// heartbeat beside a large value.
const ON_A_THREAD: usize = 64 << 10;

const MAGIC: [u8; 8] = *b"EXCOM\x00\x01\x00";
const LAST: u32 = 1 << 31;
const COMPRESSED: u32 = 1 << 30;
const ENCRYPTED: u32 = 1 << 29;
const LENGTH: u32 = ENCRYPTED - 1;
const MAC_BYTES: usize = 32;
const LEVEL: i32 = 3;

/// How much of the middle of a frame tells whether it is worth compressing; one under twice as long is tried whole.
const SAMPLE_BYTES: usize = 16 << 10;

/// How an object is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Layout {
    /// Whether frames that become shorter by it are compressed.
    pub compress: bool,
    /// Whether frames are encrypted; they are sealed in any case.
    pub encrypt: bool,
}

/// What seals the frames of one version of an XCom.
struct Scope {
    key: MacKey,
    // Few values are encrypted, and its keys take longer than a small value's seal.
    cipher: OnceLock<Option<Cipher>>,
    keys: SealKeys,
    key_id: Arc<str>,
    bytes: Vec<u8>,
}

impl Scope {
    fn of(keys: &SealKeys, key_id: &str, key: &XComKey, version: Version) -> Result<Self> {
        let mut bytes = Vec::with_capacity(128);
        seal::scope(&mut bytes, key, version);
        let key = keys.derive(key_id, Purpose::Frame).ok_or_else(|| unknown_key(key_id))?;
        Ok(Self { key, cipher: OnceLock::new(), keys: keys.clone(), key_id: key_id.into(), bytes })
    }

    fn cipher(&self) -> Option<&Cipher> {
        self.cipher.get_or_init(|| self.keys.cipher(&self.key_id, self.bytes.clone())).as_ref()
    }

    fn mac(&self, index: u64, head: u32, body: &[u8]) -> blake3::Hash {
        let mut hasher = self.key.hasher();
        hasher.update(&self.bytes);
        hasher.update(&index.to_le_bytes());
        hasher.update(&head.to_le_bytes());
        hasher.update(body);
        hasher.finalize()
    }

    /// The body of a frame as it was before it was sealed; none when the seal does not match.
    fn open(&self, index: u64, head: u32, mut body: BytesMut, seal: &[u8]) -> Option<BytesMut> {
        let fits = match seal.try_into() {
            Ok(tag) if head & ENCRYPTED != 0 => {
                self.cipher()?.open(index, &head.to_le_bytes(), &mut body, tag)
            }
            _ => {
                let mac: &[u8; MAC_BYTES] = seal.try_into().ok()?;
                // Compared in constant time, as blake3 does.
                self.mac(index, head, &body) == blake3::Hash::from_bytes(*mac)
            }
        };
        fits.then_some(body)
    }
}

/// What seals the frames of an object that is written.
struct Sealer {
    scope: Scope,
    layout: Layout,
}

impl Sealer {
    /// A frame, behind what is before it.
    fn frame(&self, index: u64, plain: &[u8], last: bool, mut out: BytesMut) -> Result<Bytes> {
        let compress = self.layout.compress && worthwhile(plain);
        let packed = compress.then(|| zstd::bulk::compress(plain, LEVEL).ok()).flatten();
        let (body, mut head) = match &packed {
            Some(packed) if packed.len() < plain.len() => (&packed[..], COMPRESSED),
            _ => (plain, 0),
        };
        head |= body.len() as u32;
        if last {
            head |= LAST;
        }
        if self.layout.encrypt {
            head |= ENCRYPTED;
        }
        out.reserve(4 + body.len() + MAC_BYTES);
        out.extend_from_slice(&head.to_le_bytes());
        let begin = out.len();
        out.extend_from_slice(body);
        if self.layout.encrypt {
            let body = &mut out[begin..];
            let cipher = self.scope.cipher().ok_or_else(|| unknown_key(&self.scope.key_id))?;
            let tag = cipher.seal(index, &head.to_le_bytes(), body)?;
            out.extend_from_slice(&tag);
        } else {
            let mac = self.scope.mac(index, head, body);
            out.extend_from_slice(mac.as_bytes());
        }
        Ok(out.freeze())
    }
}

/// A value's bytes as an object's: a stream of whole frames.
pub struct Encoder {
    plain: ByteStream,
    sealer: Arc<Sealer>,
    index: u64,
    buffer: BytesMut,
    /// What is left of a piece that reached over the end of a frame.
    rest: Bytes,
    /// The beginning of the object, until the first frame is behind it.
    begin: BytesMut,
    sealing: Option<Task<Result<Bytes>>>,
    state: State,
}

/// How far an object is written or read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Frames,
    /// Written, the value has ended and its last frame is to come; read, that frame is out and nothing may follow.
    Last,
    Ended,
}

impl Encoder {
    /// Frames for one version of an XCom, sealed with one of the keys.
    ///
    /// # Errors
    /// `Configuration` when the keys do not have it.
    pub fn new(
        plain: ByteStream,
        keys: &SealKeys,
        id: &str,
        key: &XComKey,
        version: Version,
        layout: Layout,
    ) -> Result<Self> {
        let scope = Scope::of(keys, id, key, version)?;
        let length = u8::try_from(id.len())
            .map_err(|_| Error::new(ErrorKind::Configuration, "the seal key's id is over 255 bytes"))?;
        let mut begin = BytesMut::from(&MAGIC[..]);
        begin.extend_from_slice(&[length]);
        begin.extend_from_slice(id.as_bytes());
        let (sealer, buffer) = (Arc::new(Sealer { scope, layout }), BytesMut::new());
        let (rest, sealing, state) = (Bytes::new(), None, State::Frames);
        Ok(Self { plain, sealer, index: 0, buffer, rest, begin, sealing, state })
    }

    /// The plain bytes of the next frame, and whether it is the last (which is empty only when the value is); none
    /// while more are needed.
    fn gathered(&mut self) -> Option<(BytesMut, bool)> {
        // One more byte than a frame, so that the last frame is never left empty.
        let missing = FRAME_BYTES + 1 - self.buffer.len();
        let piece = self.rest.split_to(self.rest.len().min(missing));
        self.buffer.extend_from_slice(&piece);
        if self.buffer.len() > FRAME_BYTES {
            return Some((self.buffer.split_to(FRAME_BYTES), false));
        }
        (self.state == State::Last).then(|| (std::mem::take(&mut self.buffer), true))
    }

    fn out(&mut self, frame: Result<Bytes>) -> Poll<Option<Result<Bytes>>> {
        if frame.is_err() {
            self.state = State::Ended;
        }
        Poll::Ready(Some(frame))
    }
}

impl Stream for Encoder {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let this = &mut *self;
        loop {
            if let Some(sealing) = &mut this.sealing {
                let frame = ready!(Pin::new(sealing).poll(cx));
                this.sealing = None;
                return this.out(frame);
            }
            if this.state == State::Ended {
                return Poll::Ready(None);
            }
            if let Some((plain, last)) = this.gathered() {
                let (sealer, index, begin) =
                    (this.sealer.clone(), this.index, std::mem::take(&mut this.begin));
                this.index += 1;
                if last {
                    this.state = State::Ended;
                }
                if plain.len() < ON_A_THREAD {
                    return this.out(sealer.frame(index, &plain, last, begin));
                }
                this.sealing = Some(unblock(move || sealer.frame(index, &plain, last, begin)));
                continue;
            }
            match ready!(this.plain.as_mut().poll_next(cx)) {
                Some(Ok(piece)) => this.rest = piece,
                Some(Err(error)) => return this.out(Err(error)),
                None => this.state = State::Last,
            }
        }
    }
}

/// The id of the key that an object says it is sealed with. The name is for messages.
///
/// # Errors
/// `Corrupt` when it does not begin like an object; the stream's own.
pub async fn key_of(mut stored: ByteStream, name: &ObjectName) -> Result<String> {
    let mut begin = BytesMut::new();
    loop {
        if let Some((id, _)) = beginning(&begin, name)? {
            return Ok(id);
        }
        match poll_fn(|cx| stored.as_mut().poll_next(cx)).await {
            Some(piece) => begin.extend_from_slice(&piece?),
            None => return Err(corrupt(name, "it is truncated: it ends before its first frame")),
        }
    }
}

/// The key's id and the length of what is before the first frame; none while more bytes are needed.
fn beginning(bytes: &[u8], name: &ObjectName) -> Result<Option<(String, usize)>> {
    let Some(&length) = bytes.get(MAGIC.len()) else { return Ok(None) };
    if bytes[..MAGIC.len()] != MAGIC {
        return Err(corrupt(name, "it does not begin like a value of this format"));
    }
    let end = MAGIC.len() + 1 + length as usize;
    let id = bytes.get(MAGIC.len() + 1..end);
    Ok(id.map(|id| (String::from_utf8_lossy(id).into_owned(), end)))
}

fn corrupt(name: &ObjectName, what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("object {name}: {what}"))
}

/// An object's bytes as the value's: a stream of verified pieces.
pub struct Decoder {
    stored: ByteStream,
    keys: SealKeys,
    key: XComKey,
    version: Version,
    name: ObjectName,
    scope: Option<Arc<Scope>>,
    index: u64,
    buffer: BytesMut,
    opening: Option<Task<Opened>>,
    /// Of the frame that is being opened, whether it says that it is the last.
    last: bool,
    state: State,
}

/// A frame's plain bytes, or what is wrong with it.
type Opened = std::result::Result<Bytes, String>;

impl Decoder {
    /// Reads an object that was written for one version of an XCom. The name is for messages.
    pub fn new(stored: ByteStream, keys: SealKeys, key: XComKey, version: Version, name: ObjectName) -> Self {
        let (scope, opening, state) = (None, None, State::Frames);
        let (index, buffer, last) = (0, BytesMut::new(), false);
        Self { stored, keys, key, version, name, scope, index, buffer, opening, last, state }
    }

    fn corrupt(&self, what: &str) -> Error {
        corrupt(&self.name, what)
    }

    /// The beginning of the object; none while more bytes are needed.
    fn begin(&mut self) -> Result<Option<Arc<Scope>>> {
        if let Some(scope) = &self.scope {
            return Ok(Some(scope.clone()));
        }
        let Some((id, end)) = beginning(&self.buffer, &self.name)? else { return Ok(None) };
        let scope = Arc::new(Scope::of(&self.keys, &id, &self.key, self.version)?);
        self.scope = Some(scope.clone());
        self.buffer.advance(end);
        Ok(Some(scope))
    }

    /// What opens the next frame, and how long that is; none while more bytes are needed.
    fn frame(&mut self) -> Result<Option<(usize, impl FnOnce() -> Opened + Send + use<>)>> {
        let Some(scope) = self.begin()? else { return Ok(None) };
        let Some(head) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let head = u32::from_le_bytes(*head);
        let length = (head & LENGTH) as usize;
        if length > FRAME_BYTES {
            return Err(self.corrupt(&format!("frame {} claims {length} bytes", self.index)));
        }
        let seal = if head & ENCRYPTED == 0 { MAC_BYTES } else { Cipher::TAG_BYTES };
        if self.buffer.len() < 4 + length + seal {
            return Ok(None);
        }
        self.buffer.advance(4);
        let body = self.buffer.split_to(length);
        let seal = self.buffer.split_to(seal);
        let index = self.index;
        self.index += 1;
        self.last = head & LAST != 0;
        Ok(Some((length, move || open(&scope, index, head, body, &seal))))
    }

    fn out(&mut self, opened: Opened) -> Poll<Option<Result<Bytes>>> {
        Poll::Ready(Some(match opened {
            Ok(plain) => {
                if self.last {
                    self.state = State::Last;
                }
                Ok(plain)
            }
            Err(what) => {
                self.state = State::Ended;
                Err(self.corrupt(&what))
            }
        }))
    }
}

/// Verifies a frame and unpacks it.
fn open(scope: &Scope, index: u64, head: u32, body: BytesMut, seal: &[u8]) -> Opened {
    let body = scope.open(index, head, body, seal).ok_or_else(|| {
        format!("the seal of frame {index} does not match: it was altered, or belongs to another place")
    })?;
    if head & COMPRESSED == 0 {
        return Ok(body.freeze());
    }
    let plain = zstd::bulk::decompress(&body, FRAME_BYTES);
    plain.map(Bytes::from).map_err(|error| format!("frame {index} cannot be decompressed: {error}"))
}

impl Stream for Decoder {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let this = &mut *self;
        loop {
            if let Some(opening) = &mut this.opening {
                let opened = ready!(Pin::new(opening).poll(cx));
                this.opening = None;
                return this.out(opened);
            }
            if this.state == State::Ended {
                return Poll::Ready(None);
            }
            if this.state == State::Frames {
                match this.frame() {
                    Ok(Some((length, open))) if length < ON_A_THREAD => return this.out(open()),
                    Ok(Some((_, open))) => {
                        this.opening = Some(unblock(open));
                        continue;
                    }
                    Ok(None) => {}
                    Err(error) => {
                        this.state = State::Ended;
                        return Poll::Ready(Some(Err(error)));
                    }
                }
            }
            let end = match ready!(this.stored.as_mut().poll_next(cx)) {
                Some(Ok(piece)) => {
                    if this.buffer.is_empty() {
                        this.buffer = piece.into();
                    } else {
                        this.buffer.extend_from_slice(&piece);
                    }
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

/// Whether compressing a frame is worth its time. Digits of base64 become a quarter shorter and no more, and take
/// longer to compress than to write.
fn worthwhile(plain: &[u8]) -> bool {
    let middle = plain.len() / 2;
    let Some(sample) = plain.get(middle..middle + SAMPLE_BYTES) else { return true };
    zstd::bulk::compress(sample, LEVEL).is_ok_and(|packed| packed.len() < SAMPLE_BYTES / 10 * 7)
}

fn unknown_key(id: &str) -> Error {
    Error::new(ErrorKind::Configuration, format!("the value is sealed with key `{id}`, which is not loaded"))
        .hint(format!("add key `{id}` to the keys"))
}

#[cfg(test)]
mod tests;
