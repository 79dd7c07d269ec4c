//! Frames: a length of four bytes, big-endian, and so many bytes of MessagePack, which are one array.
//!
//! A task sends `[id, body]`; a supervisor answers `[id, body, error]`. Datetimes come as MessagePack's
//! timestamps or as RFC 3339 text, and are text from here on.

use std::io::{self, Read};

use excom_core::{Error, ErrorKind, Result};
use jiff::Timestamp;
use rmpv::Value as MessagePack;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The longest frame that is read, in bytes: a value of the engine's hard limit with a message around it.
pub(crate) const LONGEST: u64 = (1 << 30) + (1 << 20);

/// The deepest nesting that is read: a value of the deepest kind inside of a message.
const DEEPEST: usize = 512;

/// MessagePack's extension type for timestamps.
const TIMESTAMP: i8 = -1;

/// A frame that came, its messages not looked at yet.
#[derive(Debug, PartialEq)]
pub(crate) struct Frame {
    /// The number by which an answer finds its request.
    pub(crate) id: MessagePack,
    /// The message.
    pub(crate) body: MessagePack,
    /// What a supervisor says instead of a message.
    pub(crate) error: MessagePack,
}

impl Frame {
    /// Reads what is behind the length.
    ///
    /// # Errors
    /// [`ErrorKind::Incompatible`] when it is no frame.
    pub(crate) fn decode(mut payload: &[u8]) -> Result<Self> {
        let value = rmpv::decode::read_value_with_max_depth(&mut payload, DEEPEST)
            .map_err(|e| broken("bytes that are not MessagePack").because(e))?;
        let MessagePack::Array(parts) = value else { return Err(broken("a frame that is not an array")) };
        if !payload.is_empty() {
            return Err(broken("bytes behind the message of a frame"));
        }
        let mut parts = parts.into_iter();
        let (Some(id @ MessagePack::Integer(_)), Some(body)) = (parts.next(), parts.next()) else {
            return Err(broken("a frame that is not [id, message]"));
        };
        let error = parts.next().unwrap_or(MessagePack::Nil);
        Ok(Self { id, body: plain(body), error: plain(error) })
    }
}

/// Timestamps as text.
fn plain(value: MessagePack) -> MessagePack {
    match value {
        MessagePack::Ext(TIMESTAMP, bytes) => match instant(&bytes) {
            Some(instant) => instant.to_string().into(),
            None => MessagePack::Ext(TIMESTAMP, bytes),
        },
        MessagePack::Array(items) => MessagePack::Array(items.into_iter().map(plain).collect()),
        MessagePack::Map(entries) => {
            MessagePack::Map(entries.into_iter().map(|(name, value)| (name, plain(value))).collect())
        }
        other => other,
    }
}

/// The three forms that MessagePack has for a point in time.
fn instant(bytes: &[u8]) -> Option<Timestamp> {
    let (seconds, nanoseconds) = match bytes.len() {
        4 => (i64::from(u32::from_be_bytes(bytes.try_into().ok()?)), 0),
        8 => {
            let both = u64::from_be_bytes(bytes.try_into().ok()?);
            (i64::try_from(both & ((1 << 34) - 1)).ok()?, u32::try_from(both >> 34).ok()?)
        }
        12 => {
            let (nanoseconds, seconds) = bytes.split_at(4);
            let nanoseconds = u32::from_be_bytes(nanoseconds.try_into().ok()?);
            (i64::from_be_bytes(seconds.try_into().ok()?), nanoseconds)
        }
        _ => return None,
    };
    Timestamp::new(seconds, i32::try_from(nanoseconds).ok()?).ok()
}

/// A point in time in MessagePack's shortest form, as Airflow's supervisor sends it.
pub(crate) fn timestamp(instant: Timestamp) -> MessagePack {
    let (seconds, nanoseconds) = (instant.as_second(), instant.subsec_nanosecond());
    let bytes = match (u64::try_from(seconds), u64::try_from(nanoseconds)) {
        (Ok(seconds), Ok(0)) if u32::try_from(seconds).is_ok() => {
            u32::try_from(seconds).unwrap_or_default().to_be_bytes().to_vec()
        }
        (Ok(seconds), Ok(nanoseconds)) if seconds < 1 << 34 => {
            (nanoseconds << 34 | seconds).to_be_bytes().to_vec()
        }
        // Before 1970 both parts count backwards here, and only the seconds do on the wire.
        _ => {
            let back = i64::from(nanoseconds < 0);
            let nanoseconds = nanoseconds + i32::try_from(back).unwrap_or_default() * 1_000_000_000;
            let mut bytes = nanoseconds.to_be_bytes().to_vec();
            bytes.extend_from_slice(&(seconds - back).to_be_bytes());
            bytes
        }
    };
    MessagePack::Ext(TIMESTAMP, bytes)
}

/// The message that a part of a frame says.
///
/// # Errors
/// [`ErrorKind::Incompatible`] with what does not fit.
pub(crate) fn message<T: DeserializeOwned>(part: MessagePack) -> Result<T> {
    rmpv::ext::from_value(part).map_err(|e| broken("a message that cannot be read").because(e.to_string()))
}

/// A frame from a task.
///
/// # Errors
/// When the message cannot be said: a number in a value that is too large.
pub(crate) fn request<T: Serialize>(id: u64, body: &T) -> Result<Vec<u8>> {
    encode(&(id, body))
}

/// A frame from a supervisor.
///
/// # Errors
/// As [`request`].
pub(crate) fn answer<B: Serialize, E: Serialize>(
    id: &MessagePack,
    body: Option<&B>,
    error: Option<&E>,
) -> Result<Vec<u8>> {
    encode(&(id, body, error))
}

fn encode<T: Serialize>(parts: &T) -> Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    parts.serialize(&mut rmp_serde::Serializer::new(&mut frame).with_struct_map()).map_err(|e| {
        Error::new(ErrorKind::InvalidValue, "the message cannot be written")
            .because(e.to_string())
            .hint("the process protocol has integers of 64 bits and finite numbers; push others as text")
    })?;
    let length = u32::try_from(frame.len() - 4)
        .map_err(|_| Error::new(ErrorKind::TooLarge, "the message is over 4 GiB, which no frame can be"))?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame)
}

/// Reads a frame's payload; none at the end of the stream.
///
/// # Errors
/// When the stream breaks off inside of a frame, or the frame is longer than [`LONGEST`].
pub(crate) fn read(stream: &mut impl Read) -> Result<Option<Vec<u8>>> {
    let mut header = [0; 4];
    match stream.read_exact(&mut header) {
        Ok(()) => (),
        Err(e) if ended(&e) => return Ok(None),
        Err(e) => return Err(gone(e)),
    }
    let length = length(header)?;
    // The length is only a claim: memory grows with what comes.
    let mut payload = Vec::new();
    stream.take(length).read_to_end(&mut payload).map_err(gone)?;
    complete(payload, length).map(Some)
}

/// [`read`] on a runtime.
pub(crate) async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<Vec<u8>>> {
    let mut header = [0; 4];
    match stream.read_exact(&mut header).await {
        Ok(_) => (),
        Err(e) if ended(&e) => return Ok(None),
        Err(e) => return Err(gone(e)),
    }
    let length = length(header)?;
    let mut payload = Vec::new();
    stream.take(length).read_to_end(&mut payload).await.map_err(gone)?;
    complete(payload, length).map(Some)
}

fn length(header: [u8; 4]) -> Result<u64> {
    match u64::from(u32::from_be_bytes(header)) {
        0 => Err(broken("an empty frame")),
        length if length > LONGEST => {
            Err(broken(&format!("a frame of {length} bytes, and the limit is {LONGEST}")))
        }
        length => Ok(length),
    }
}

fn complete(payload: Vec<u8>, length: u64) -> Result<Vec<u8>> {
    let came = payload.len() as u64;
    if came < length { Err(broken(&format!("{came} of the {length} bytes of a frame"))) } else { Ok(payload) }
}

/// A process that dies with something unread resets its connection.
fn ended(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset)
}

fn gone(error: io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the connection broke").because(error)
}

fn broken(what: &str) -> Error {
    Error::new(ErrorKind::Incompatible, format!("the other side sent {what}"))
        .hint("it must speak Airflow's coordinator protocol, schema version 2026-06-16")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_survive_in_every_form() {
        for text in [
            "2026-11-21T10:00:00Z",
            "2026-11-21T01:41:48.34511Z",
            "1969-12-31T23:59:59.5Z",
            "2600-01-01T00:00:00.1Z",
        ] {
            let instant: Timestamp = text.parse().unwrap();
            assert_eq!(plain(timestamp(instant)), MessagePack::from(instant.to_string()), "{text}");
        }
    }

    #[test]
    fn what_is_no_frame_is_an_error() {
        for (payload, what) in [
            (&b"\x92\x00"[..], "not MessagePack"),
            (b"\x80", "not an array"),
            (b"\x91\x00", "not [id, message]"),
            (b"\x92\xa1x\xc0", "not [id, message]"),
            (b"\x92\x00\xc0\x00", "bytes behind"),
            (b"\xdd\xff\xff\xff\xff", "not MessagePack"),
            (b"\xdb\xff\xff\xff\xff", "not MessagePack"),
        ] {
            let error = Frame::decode(payload).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Incompatible);
            assert!(error.to_string().contains(what), "{error}");
        }
        // Nesting that would exhaust the stack.
        assert!(Frame::decode(&[b"\x92\x00".to_vec(), vec![0x91; 1 << 20]].concat()).is_err());
    }

    #[test]
    fn lengths_are_checked_before_anything_is_read() {
        let read = |bytes: &[u8]| read(&mut &*bytes);
        assert_eq!(read(b"").unwrap(), None);
        assert_eq!(read(b"\0\0\0\x02ab").unwrap().unwrap(), b"ab");
        assert!(read(b"\0\0\0\0").unwrap_err().to_string().contains("an empty frame"));
        assert!(read(b"\xff\xff\xff\xff").unwrap_err().to_string().contains("4294967295 bytes"));
        assert!(read(b"\x3f\xff\xff\xffab").unwrap_err().to_string().contains("2 of the 1073741823 bytes"));
    }

    #[test]
    fn ids_come_back_as_they_were() {
        let (nothing, id) = (None::<&()>, MessagePack::from(u64::MAX));
        let frame = answer(&id, nothing, nothing).unwrap();
        let expected = Frame { id, body: MessagePack::Nil, error: MessagePack::Nil };
        assert_eq!(Frame::decode(&frame[4..]).unwrap(), expected);
        assert_eq!(answer(&1.into(), nothing, nothing).unwrap(), b"\0\0\0\x04\x93\x01\xc0\xc0");
    }
}
