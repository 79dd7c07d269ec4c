//! Standard input as a value's bytes, read only as the engine asks for them.

use std::future::poll_fn;
use std::io::{ErrorKind as Kind, Read};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use excom::core::value::ByteStream;
use excom::{Error, ErrorKind, Payload, Result, Value};
use futures_core::Stream;

const PIECE: usize = 64 << 10;

/// A reader's JSON text.
pub(crate) fn json(reader: impl Read + Send + Unpin + 'static) -> ByteStream {
    Box::pin(Pieces { reader, ended: false })
}

/// A reader's plain text as one JSON string.
pub(crate) fn text(reader: impl Read + Send + Unpin + 'static) -> ByteStream {
    Box::pin(Quoted { pieces: Pieces { reader, ended: false }, state: State::Start })
}

/// What a stream brings: a value when it has at most so many bytes, else the stream again from its beginning.
pub(crate) async fn look_ahead(mut stream: ByteStream, limit: u64) -> Result<Payload> {
    let mut ahead = BytesMut::new();
    while ahead.len() as u64 <= limit {
        match poll_fn(|context| stream.as_mut().poll_next(context)).await {
            Some(piece) => ahead.extend_from_slice(&piece?),
            None => return Ok(Value::parse(ahead.freeze())?.into()),
        }
    }
    Ok(Payload::Stream(Box::pin(Rejoined { ahead: Some(ahead.freeze()), rest: stream })))
}

/// What was read of a stream, and the rest of it.
struct Rejoined {
    ahead: Option<Bytes>,
    rest: ByteStream,
}

impl Stream for Rejoined {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        match self.ahead.take() {
            Some(ahead) => Poll::Ready(Some(Ok(ahead))),
            None => self.rest.as_mut().poll_next(context),
        }
    }
}

/// A command has one thing to do, so the read may block where it is polled.
struct Pieces<R> {
    reader: R,
    ended: bool,
}

impl<R: Read> Pieces<R> {
    fn next(&mut self) -> Option<Result<Bytes>> {
        let mut piece = vec![0; PIECE];
        while !self.ended {
            match self.reader.read(&mut piece) {
                Ok(0) => self.ended = true,
                Ok(read) => {
                    piece.truncate(read);
                    return Some(Ok(piece.into()));
                }
                Err(cause) if cause.kind() == Kind::Interrupted => {}
                Err(cause) => {
                    self.ended = true;
                    let error =
                        Error::new(ErrorKind::Other, "standard input cannot be read; nothing was pushed");
                    return Some(Err(error
                        .because(cause)
                        .hint("give the value to `-` from a file or a pipe")));
                }
            }
        }
        None
    }
}

impl<R: Read + Unpin> Stream for Pieces<R> {
    type Item = Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        Poll::Ready(self.get_mut().next())
    }
}

struct Quoted<R> {
    pieces: Pieces<R>,
    state: State,
}

#[derive(PartialEq, Eq)]
enum State {
    Start,
    Inside,
    End,
}

impl<R: Read + Unpin> Stream for Quoted<R> {
    type Item = Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let this = self.get_mut();
        Poll::Ready(match this.state {
            State::Start => {
                this.state = State::Inside;
                Some(Ok(Bytes::from_static(b"\"")))
            }
            State::Inside => match this.pieces.next() {
                Some(piece) => Some(piece.map(|piece| escape(&piece))),
                None => {
                    this.state = State::End;
                    Some(Ok(Bytes::from_static(b"\"")))
                }
            },
            State::End => None,
        })
    }
}

/// What JSON escapes is ASCII, so pieces may be cut anywhere. The engine refuses what is not UTF-8.
fn escape(piece: &[u8]) -> Bytes {
    let mut escaped = Vec::with_capacity(piece.len() + piece.len() / 16);
    for byte in piece {
        match byte {
            b'"' | b'\\' => escaped.extend([b'\\', *byte]),
            b'\n' => escaped.extend(b"\\n"),
            b'\r' => escaped.extend(b"\\r"),
            b'\t' => escaped.extend(b"\\t"),
            0..0x20 => escaped.extend(format!("\\u{byte:04x}").bytes()),
            _ => escaped.push(*byte),
        }
    }
    escaped.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collected(mut stream: ByteStream) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some(piece) =
            pollster::block_on(std::future::poll_fn(|context| stream.as_mut().poll_next(context)))
        {
            bytes.extend_from_slice(&piece.unwrap());
        }
        bytes
    }

    #[test]
    fn text_becomes_the_json_string_that_says_it() {
        let every: String = (0..0x250).filter_map(char::from_u32).collect();
        let long = every.repeat(300);
        let json = collected(text(std::io::Cursor::new(long.clone())));
        assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), long);
        assert_eq!(collected(text(std::io::empty())), b"\"\"");
    }

    #[test]
    fn json_passes_as_it_is() {
        let bytes = vec![b'7'; PIECE * 2 + 1];
        assert_eq!(collected(json(std::io::Cursor::new(bytes.clone()))), bytes);
    }

    #[test]
    fn what_is_short_is_a_value_and_what_is_long_loses_nothing() {
        let looked = |length: usize| {
            let bytes = json(std::io::Cursor::new(vec![b'7'; length]));
            pollster::block_on(look_ahead(bytes, PIECE as u64)).unwrap()
        };
        let Payload::Value(short) = looked(PIECE) else { panic!("it may be inline") };
        assert_eq!(short.size(), PIECE as u64);
        for length in [PIECE + 1, 5 * PIECE] {
            let Payload::Stream(long) = looked(length) else { panic!("it may not be inline") };
            assert_eq!(collected(long), vec![b'7'; length]);
        }
    }
}
