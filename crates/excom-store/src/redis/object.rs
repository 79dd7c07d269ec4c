//! How an object lies in Redis.
//!
//! A value of one chunk is a string: the [`Head`] and the bytes. A larger one is a hash: the head in the field
//! `head`, and the chunks in the fields `WRITER:0`, `WRITER:1`, … It is written under the object's key with
//! `:part` behind, where nobody reads, and renamed when it is whole: there as a whole or not at all, and removed,
//! expired or evicted as a whole.

use excom_core::{Error, ErrorKind, Result};
use redis::Cmd;

/// The most bytes in a chunk.
pub(super) const CHUNK_BYTES: usize = 1 << 20;

/// How long what an interrupted push left is kept, in milliseconds, when nobody collects it before.
const PART_KEPT: u64 = 24 * 60 * 60 * 1000;

/// The field of a hash that holds the head.
pub(super) const HEAD: &str = "head";

const MAGIC: [u8; 8] = *b"EXCOM\x00R\x01";

/// What an object begins with: its format, who wrote it, and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Random, so that a push that is repeated after a broken connection knows its own object.
    pub(super) writer: Writer,
    /// Length of the value.
    pub(super) bytes: u64,
    /// Length of each chunk but the last; 0 when the value is not in chunks.
    pub(super) chunk_bytes: u64,
}

/// Which call wrote an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Writer([u8; 8]);

impl Writer {
    pub(super) fn new() -> Result<Self> {
        let mut random = [0; 8];
        getrandom::fill(&mut random)
            .map_err(|e| Error::new(ErrorKind::Other, format!("the system gives no random bytes: {e}")))?;
        Ok(Self(random))
    }

    /// The field of a chunk.
    pub(super) fn field(self, chunk: u64) -> String {
        format!("{self}:{chunk}")
    }
}

impl std::fmt::Display for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl Head {
    pub(super) const BYTES: usize = 32;

    pub(super) fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.writer.0);
        bytes[16..24].copy_from_slice(&self.bytes.to_le_bytes());
        bytes[24..].copy_from_slice(&self.chunk_bytes.to_le_bytes());
        bytes
    }

    /// The head that bytes begin with, if they do.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..Self::BYTES)?;
        let eight = |at: usize| <[u8; 8]>::try_from(&bytes[at..at + 8]).unwrap_or_default();
        (eight(0) == MAGIC).then(|| Self {
            writer: Writer(eight(8)),
            bytes: u64::from_le_bytes(eight(16)),
            chunk_bytes: u64::from_le_bytes(eight(24)),
        })
    }

    pub(super) fn chunks(&self) -> u64 {
        if self.chunk_bytes == 0 { 0 } else { self.bytes.div_ceil(self.chunk_bytes) }
    }

    /// How long a chunk must be.
    pub(super) fn length(&self, chunk: u64) -> u64 {
        (self.bytes - chunk * self.chunk_bytes).min(self.chunk_bytes)
    }
}

/// Writes a value of one chunk, its head before it.
pub(super) fn create_whole(object: &str, head_and_bytes: &[u8], time_to_live: u64) -> Cmd {
    let mut set = redis::cmd("SET");
    set.arg(object).arg(head_and_bytes).arg("NX");
    if time_to_live > 0 {
        set.arg("PX").arg(time_to_live);
    }
    set
}

/// Writes a chunk of what is not whole yet, and moves its expiry.
pub(super) fn write_chunk(part: &str, writer: Writer, chunk: u64, bytes: &[u8]) -> [Cmd; 2] {
    let mut set = redis::cmd("HSET");
    set.arg(part).arg(writer.field(chunk)).arg(bytes);
    let mut expire = redis::cmd("PEXPIRE");
    expire.arg(part).arg(PART_KEPT);
    [set, expire]
}

/// Answers 1 when the object is there now, 0 when there was one before, -1 when chunks are gone. What another
/// writer left in the part goes.
const PUBLISH: &str = "\
local part, object = KEYS[1], KEYS[2]
local writer, chunks, time_to_live = ARGV[1] .. ':', tonumber(ARGV[2]), tonumber(ARGV[4])
if redis.call('EXISTS', object) == 1 then return 0 end
for chunk = 0, chunks - 1 do
  if redis.call('HEXISTS', part, writer .. chunk) == 0 then return -1 end
end
if redis.call('HLEN', part) > chunks then
  for _, field in ipairs(redis.call('HKEYS', part)) do
    if field:sub(1, #writer) ~= writer then redis.call('HDEL', part, field) end
  end
end
redis.call('HSET', part, 'head', ARGV[3])
redis.call('RENAME', part, object)
if time_to_live > 0 then redis.call('PEXPIRE', object, time_to_live) else redis.call('PERSIST', object) end
return 1";

/// Makes the written chunks the object.
pub(super) fn publish(object: &str, part: &str, head: &Head, time_to_live: u64) -> Cmd {
    let mut publish = redis::cmd("EVAL");
    publish.arg(PUBLISH).arg(2).arg(part).arg(object);
    publish.arg(head.writer.to_string()).arg(head.chunks()).arg(&head.encode()).arg(time_to_live);
    publish
}

/// Removes the chunks of a writer whose push failed.
pub(super) fn discard(part: &str, writer: Writer, chunks: u64) -> Cmd {
    let mut discard = redis::cmd("HDEL");
    discard.arg(part);
    for chunk in 0..chunks {
        discard.arg(writer.field(chunk));
    }
    discard
}

/// Removes an object that this writer wrote, but that may not be on disk.
pub(super) fn withdraw(object: &str, head: &Head) -> Cmd {
    const WITHDRAW: &str = "\
local found = redis.call('TYPE', KEYS[1]).ok == 'hash' and redis.call('HGET', KEYS[1], 'head')
  or redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1)
if found == ARGV[1] then return redis.call('UNLINK', KEYS[1]) end
return 0";
    let mut withdraw = redis::cmd("EVAL");
    withdraw.arg(WITHDRAW).arg(1).arg(object).arg(&head.encode());
    withdraw
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_how_long_the_chunks_are() {
        let head = Head { writer: Writer::new().unwrap(), bytes: 2_500, chunk_bytes: 1_000 };
        assert_eq!(Head::decode(&head.encode()), Some(head));
        assert_eq!(head.chunks(), 3);
        assert_eq!([0, 1, 2].map(|chunk| head.length(chunk)), [1_000, 1_000, 500]);
        assert_eq!(Head { bytes: 2_000, ..head }.length(1), 1_000);
        assert_eq!(Head { bytes: 5, chunk_bytes: 0, ..head }.chunks(), 0);
        assert_eq!(Head::decode(&head.encode()[..31]), None);
        assert_eq!(Head::decode(&[b'x'; 40]), None);
    }
}
