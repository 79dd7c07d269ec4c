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

mod pieces;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use excom_core::seal::{self, Cipher, MacKey, Purpose, SealKeys};
use excom_core::{ByteStream, Error, ErrorKind, ObjectName, Result, Version, XComKey};
use futures_core::Stream;

use self::pieces::{Pieces, Underway};

/// The name by which entries know this layout.
pub const CODEC: &str = "frames-1";

/// Frames with smaller bodies are written in one piece.
const APART: usize = 64 << 10;

/// The most plain bytes in a frame.
pub const FRAME_BYTES: usize = 1 << 20;

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

    fn mac<'a>(&self, index: u64, head: u32, body: impl IntoIterator<Item = &'a Bytes>) -> blake3::Hash {
        let mut hasher = self.key.hasher();
        hasher.update(&self.bytes);
        hasher.update(&index.to_le_bytes());
        hasher.update(&head.to_le_bytes());
        for piece in body {
            hasher.update(piece);
        }
        hasher.finalize()
    }

    /// The body of a frame as it was before it was sealed; none when the seal does not match.
    fn open(&self, index: u64, head: u32, body: Pieces, seal: &[u8]) -> Option<Pieces> {
        if head & ENCRYPTED != 0 {
            let mut body = BytesMut::from(body.into_one());
            let fits = self.cipher()?.open(index, &head.to_le_bytes(), &mut body, seal.try_into().ok()?);
            return fits.then(|| body.freeze().into());
        }
        let mac: [u8; MAC_BYTES] = seal.try_into().ok()?;
        // Compared in constant time, as blake3 does.
        (self.mac(index, head, body.iter()) == blake3::Hash::from_bytes(mac)).then_some(body)
    }
}

/// What seals the frames of an object that is written.
struct Sealer {
    scope: Scope,
    layout: Layout,
}

impl Sealer {
    /// A frame, behind what is before it.
    fn frame(&self, index: u64, mut body: Pieces, last: bool, begin: &[u8]) -> Result<Pieces> {
        let mut head = 0;
        if self.layout.compress {
            let plain = body.into_one();
            let packed = worthwhile(&plain).then(|| zstd::bulk::compress(&plain, LEVEL).ok()).flatten();
            body = match packed {
                Some(packed) if packed.len() < plain.len() => {
                    head |= COMPRESSED;
                    Bytes::from(packed)
                }
                _ => plain,
            }
            .into();
        }
        head |= body.len() as u32;
        if last {
            head |= LAST;
        }
        if self.layout.encrypt {
            head |= ENCRYPTED;
            let cipher = self.scope.cipher().ok_or_else(|| unknown_key(&self.scope.key_id))?;
            let mut encrypted = BytesMut::from(body.into_one());
            let tag = cipher.seal(index, &head.to_le_bytes(), &mut encrypted)?;
            return Ok(together(begin, head, &encrypted.freeze().into(), &tag));
        }
        let mac = self.scope.mac(index, head, body.iter());
        Ok(together(begin, head, &body, mac.as_bytes()))
    }
}

/// What is before a frame, and its parts. A large body stays where it is.
fn together(begin: &[u8], head: u32, body: &Pieces, seal: &[u8]) -> Pieces {
    let apart = body.len() >= APART;
    let copied = if apart { 0 } else { body.len() };
    let mut out = Vec::with_capacity(begin.len() + 4 + copied + seal.len());
    out.extend_from_slice(begin);
    out.extend_from_slice(&head.to_le_bytes());
    if !apart {
        body.iter().for_each(|piece| out.extend_from_slice(piece));
        out.extend_from_slice(seal);
        return Bytes::from(out).into();
    }
    let mut frame = Pieces::from(Bytes::from(out));
    body.iter().for_each(|piece| frame.push(piece.clone()));
    frame.push(Bytes::copy_from_slice(seal));
    frame
}

/// A value's bytes as an object's: a stream of whole frames.
pub struct Encoder {
    plain: ByteStream,
    sealer: Arc<Sealer>,
    index: u64,
    gathered: Pieces,
    /// The beginning of the object, until the first frame is behind it.
    begin: Vec<u8>,
    sealing: Underway,
    /// A frame that is on its way out.
    out: Pieces,
    state: State,
    failed: Option<Error>,
}

/// How far an object is written or read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Frames,
    /// Written, the value has ended and its last frame is to come; read, that frame was there and nothing may follow.
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
        let begin = [&MAGIC[..], &[length], id.as_bytes()].concat();
        let sealer = Arc::new(Sealer { scope, layout });
        let (gathered, out) = (Pieces::default(), Pieces::default());
        let (sealing, state, failed) = (Underway::default(), State::Frames, None);
        Ok(Self { plain, sealer, index: 0, gathered, begin, sealing, out, state, failed })
    }

    /// The plain bytes of the next frame, and whether it is the last (which is empty only when the value is); none
    /// while more are needed.
    fn next(&mut self) -> Option<(Pieces, bool)> {
        match self.state {
            State::Ended => None,
            // One more byte than a frame, so that the last frame is never left empty.
            _ if self.gathered.len() > FRAME_BYTES => Some((self.gathered.split_to(FRAME_BYTES), false)),
            State::Last => {
                self.state = State::Ended;
                Some((std::mem::take(&mut self.gathered), true))
            }
            State::Frames => None,
        }
    }

    /// Seals frames ahead. One that is done at once is told.
    fn fill(&mut self, cx: &mut Context<'_>) -> Option<Result<Pieces>> {
        while !self.sealing.is_full() && self.state != State::Ended {
            if let Some((plain, last)) = self.next() {
                let (sealer, index, begin) =
                    (self.sealer.clone(), self.index, std::mem::take(&mut self.begin));
                self.index += 1;
                let done = self.sealing.run(plain.len(), move || sealer.frame(index, plain, last, &begin));
                if done.is_some() {
                    return done;
                }
                continue;
            }
            match self.plain.as_mut().poll_next(cx) {
                Poll::Ready(Some(Ok(piece))) => self.gathered.push(piece),
                Poll::Ready(Some(Err(error))) => {
                    self.failed = Some(error);
                    self.state = State::Ended;
                }
                Poll::Ready(None) => self.state = State::Last,
                Poll::Pending => break,
            }
        }
        None
    }
}

impl Stream for Encoder {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let this = &mut *self;
        loop {
            if let Some(piece) = this.out.pop() {
                return Poll::Ready(Some(Ok(piece)));
            }
            let done = match this.fill(cx) {
                Some(done) => Some(done),
                None if this.sealing.is_empty() && this.state != State::Ended => return Poll::Pending,
                None => ready!(this.sealing.poll(cx)),
            };
            match done {
                Some(Ok(frame)) => this.out = frame,
                Some(Err(error)) => {
                    (this.state, this.failed, this.sealing) = (State::Ended, None, Underway::default());
                    return Poll::Ready(Some(Err(error)));
                }
                None => return Poll::Ready(this.failed.take().map(Err)),
            }
        }
    }
}

/// The id of the key that an object says it is sealed with. The name is for messages.
///
/// # Errors
/// `Corrupt` when it does not begin like an object; the stream's own.
pub async fn key_of(mut stored: ByteStream, name: &ObjectName) -> Result<String> {
    let mut begin = Pieces::default();
    loop {
        if let Some(id) = take_beginning(&mut begin, name)? {
            return Ok(id);
        }
        match poll_fn(|cx| stored.as_mut().poll_next(cx)).await {
            Some(piece) => begin.push(piece?),
            None => return Err(corrupt(name, "it is truncated: it ends before its first frame")),
        }
    }
}

/// Takes what is before the first frame, and tells the key's id; none while more bytes are needed.
fn take_beginning(bytes: &mut Pieces, name: &ObjectName) -> Result<Option<String>> {
    const FIXED: usize = MAGIC.len() + 1;
    let mut fixed = [0; FIXED];
    if !bytes.copy_to(&mut fixed) {
        return Ok(None);
    }
    if fixed[..MAGIC.len()] != MAGIC {
        return Err(corrupt(name, "it does not begin like a value of this format"));
    }
    let end = FIXED + fixed[MAGIC.len()] as usize;
    if bytes.len() < end {
        return Ok(None);
    }
    let beginning = bytes.split_to(end).into_one();
    Ok(Some(String::from_utf8_lossy(&beginning[FIXED..]).into_owned()))
}

fn corrupt(name: &ObjectName, what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("object {name}: {what}"))
}

/// The value in an object all of whose bytes are there, when it is small and of one frame; none of another, which a
/// [`Decoder`] reads.
///
/// # Errors
/// As the decoder's.
pub(crate) fn open_whole(
    object: Bytes,
    keys: &SealKeys,
    key: &XComKey,
    version: Version,
    name: &ObjectName,
) -> Result<Option<Bytes>> {
    if object.len() >= APART {
        return Ok(None);
    }
    let mut bytes = Pieces::from(object);
    let Some(id) = take_beginning(&mut bytes, name)? else { return Ok(None) };
    let Some(head) = bytes.take().map(u32::from_le_bytes) else { return Ok(None) };
    let length = (head & LENGTH) as usize;
    if head & LAST == 0 || bytes.len() != length + seal_bytes(head) {
        return Ok(None);
    }
    let (body, seal) = (bytes.split_to(length), bytes.into_one());
    let scope = Scope::of(keys, &id, key, version)?;
    let opened = open(&scope, 0, head, body, &seal).map_err(|what| corrupt(name, &what))?;
    Ok(Some(opened.into_one()))
}

/// The length of what is behind a frame's body.
fn seal_bytes(head: u32) -> usize {
    if head & ENCRYPTED == 0 { MAC_BYTES } else { Cipher::TAG_BYTES }
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
    gathered: Pieces,
    /// The head of the next frame, once it is there.
    head: Option<u32>,
    opening: Underway,
    /// Of a verified frame, what is on its way out.
    out: Pieces,
    state: State,
    failed: Option<Error>,
}

impl Decoder {
    /// Reads an object that was written for one version of an XCom. The name is for messages.
    pub fn new(stored: ByteStream, keys: SealKeys, key: XComKey, version: Version, name: ObjectName) -> Self {
        let (scope, index, head, opening) = (None, 0, None, Underway::default());
        let (gathered, out, state, failed) = (Pieces::default(), Pieces::default(), State::Frames, None);
        Self { stored, keys, key, version, name, scope, index, gathered, head, opening, out, state, failed }
    }

    fn corrupt(&self, what: &str) -> Error {
        corrupt(&self.name, what)
    }

    /// The beginning of the object; none while more bytes are needed.
    fn begin(&mut self) -> Result<Option<Arc<Scope>>> {
        if let Some(scope) = &self.scope {
            return Ok(Some(scope.clone()));
        }
        let Some(id) = take_beginning(&mut self.gathered, &self.name)? else { return Ok(None) };
        let scope = Arc::new(Scope::of(&self.keys, &id, &self.key, self.version)?);
        self.scope = Some(scope.clone());
        Ok(Some(scope))
    }

    /// The next frame as it is stored; none while more bytes are needed.
    fn frame(&mut self) -> Result<Option<Frame>> {
        let Some(scope) = self.begin()? else { return Ok(None) };
        let Some(head) = self.head.or_else(|| self.gathered.take().map(u32::from_le_bytes)) else {
            return Ok(None);
        };
        self.head = Some(head);
        let length = (head & LENGTH) as usize;
        if length > FRAME_BYTES {
            return Err(self.corrupt(&format!("frame {} claims {length} bytes", self.index)));
        }
        let seal = seal_bytes(head);
        if self.gathered.len() < length + seal {
            return Ok(None);
        }
        let (body, seal) = (self.gathered.split_to(length), self.gathered.split_to(seal).into_one());
        self.head = None;
        self.index += 1;
        if head & LAST != 0 {
            self.state = State::Last;
        }
        Ok(Some(Frame { scope, index: self.index - 1, head, body, seal }))
    }

    /// Opens frames ahead. One that is done at once is told.
    ///
    /// # Errors
    /// What is wrong behind the frames that are being opened.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<Option<Result<Pieces>>> {
        while !self.opening.is_full() && self.state != State::Ended {
            if self.state == State::Frames
                && let Some(frame) = self.frame()?
            {
                let (name, frame_bytes) = (self.name.clone(), frame.body.len());
                let Frame { scope, index, head, body, seal } = frame;
                let open =
                    move || open(&scope, index, head, body, &seal).map_err(|what| corrupt(&name, &what));
                let done = self.opening.run(frame_bytes, open);
                if done.is_some() {
                    return Ok(done);
                }
                continue;
            }
            if self.state == State::Last && self.gathered.len() > 0 {
                return Err(self.corrupt("it goes on behind its last frame"));
            }
            match self.stored.as_mut().poll_next(cx) {
                Poll::Ready(Some(piece)) => self.gathered.push(piece?),
                Poll::Ready(None) if self.state == State::Last => self.state = State::Ended,
                Poll::Ready(None) => {
                    let what = format!("it is truncated: it ends within frame {}", self.index);
                    return Err(self.corrupt(&what));
                }
                Poll::Pending => break,
            }
        }
        Ok(None)
    }
}

/// A frame as it is stored.
struct Frame {
    scope: Arc<Scope>,
    index: u64,
    head: u32,
    body: Pieces,
    seal: Bytes,
}

/// Verifies a frame and unpacks it; or tells what is wrong.
fn open(
    scope: &Scope,
    index: u64,
    head: u32,
    body: Pieces,
    seal: &[u8],
) -> std::result::Result<Pieces, String> {
    let body = scope.open(index, head, body, seal).ok_or_else(|| {
        format!("the seal of frame {index} does not match: it was altered, or belongs to another place")
    })?;
    if head & COMPRESSED == 0 {
        return Ok(body);
    }
    let plain = zstd::bulk::decompress(&body.into_one(), FRAME_BYTES);
    plain
        .map(|plain| Bytes::from(plain).into())
        .map_err(|error| format!("frame {index} cannot be decompressed: {error}"))
}

impl Stream for Decoder {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let this = &mut *self;
        loop {
            if let Some(piece) = this.out.pop() {
                return Poll::Ready(Some(Ok(piece)));
            }
            let filled = this.fill(cx).unwrap_or_else(|error| {
                (this.state, this.failed) = (State::Ended, Some(error));
                None
            });
            let done = match filled {
                Some(done) => Some(done),
                None if this.opening.is_empty() && this.state != State::Ended => return Poll::Pending,
                None => ready!(this.opening.poll(cx)),
            };
            match done {
                Some(Ok(plain)) => this.out = plain,
                Some(Err(error)) => {
                    (this.state, this.failed, this.opening) = (State::Ended, None, Underway::default());
                    return Poll::Ready(Some(Err(error)));
                }
                None => return Poll::Ready(this.failed.take().map(Err)),
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
