//! The bytes of an object and the JSON text in it, each made of the other piece by piece.

use std::future::poll_fn;
use std::io::{self, Cursor, Read as _, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use async_compression::futures::bufread::{
    BzDecoder, BzEncoder, GzipDecoder, GzipEncoder, Lz4Decoder, Lz4Encoder, XzDecoder, XzEncoder,
    ZstdDecoder, ZstdEncoder,
};
use bytes::Bytes;
use excom_core::json::Scanner;
use excom_core::{ByteStream, Error, ErrorKind, Result};
use futures_core::Stream;
use futures_util::io::{AsyncBufRead, AsyncRead};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use super::Compression;

/// How much is made at a time.
const PIECE_BYTES: usize = 64 << 10;

/// The most memory that an xz object may ask for, in bytes: twice that of its strongest preset. The format
/// itself allows 4 GiB.
const XZ_MEMORY: u64 = 130 << 20;

/// The file in a zip archive, as fsspec names it.
const MEMBER: &str = "file";

/// The JSON text in an object, checked on its way; at most so many bytes of it. The name is for messages.
///
/// The memory that it needs does not grow with the object, except for zip: an archive has its directory
/// at its end, so object and text, each within the limit, are in memory as a whole.
///
/// What ends early, goes on past the limit, does not decompress or is not JSON (Airflow writes NaN and
/// infinity) ends in [`ErrorKind::Corrupt`]; errors of the stream come through as they are.
pub fn decode(stored: ByteStream, compression: Compression, limit: u64, name: &str) -> ByteStream {
    let plain = match compression {
        Compression::None => stored,
        Compression::Zip => unpacked(stored, limit, name.to_owned()),
        other => {
            let stored = read(stored);
            let decoder: Reader = match other {
                Compression::Gzip => {
                    let mut decoder = GzipDecoder::new(stored);
                    decoder.multiple_members(true);
                    Box::pin(decoder)
                }
                Compression::Bz2 => {
                    let mut decoder = BzDecoder::new(stored);
                    decoder.multiple_members(true);
                    Box::pin(decoder)
                }
                Compression::Lz4 => Box::pin(Lz4Decoder::new(stored)),
                Compression::Zstd => Box::pin(ZstdDecoder::new(stored)),
                _ => {
                    let mut decoder = XzDecoder::with_mem_limit(stored, XZ_MEMORY);
                    decoder.multiple_members(true);
                    Box::pin(decoder)
                }
            };
            pieces(decoder, name)
        }
    };
    Box::pin(Checked { plain, scanner: Some(Scanner::new()), read: 0, limit, name: name.to_owned() })
}

/// The bytes of an object that holds a JSON text: what Airflow's backend reads back.
pub fn encode(plain: ByteStream, compression: Compression) -> ByteStream {
    let encoder: Reader = match compression {
        Compression::None => return plain,
        Compression::Zip => return packed(plain),
        Compression::Gzip => Box::pin(GzipEncoder::new(read(plain))),
        Compression::Bz2 => Box::pin(BzEncoder::new(read(plain))),
        Compression::Xz | Compression::Lzma => Box::pin(XzEncoder::new(read(plain))),
        Compression::Lz4 => Box::pin(Lz4Encoder::new(read(plain))),
        Compression::Zstd => Box::pin(ZstdEncoder::new(read(plain))),
    };
    pieces(encoder, "")
}

type Reader = Pin<Box<dyn AsyncRead + Send>>;

/// A stream as a reader. Its errors pass through readers as the cause of theirs.
fn read(stream: ByteStream) -> impl AsyncBufRead + Send {
    stream.map_err(io::Error::other).into_async_read()
}

/// A reader as a stream.
fn pieces(mut reader: Reader, name: &str) -> ByteStream {
    let name = name.to_owned();
    let mut buffer = vec![0; PIECE_BYTES];
    let mut ended = false;
    Box::pin(stream::poll_fn(move |cx| {
        if ended {
            return Poll::Ready(None);
        }
        let read = ready!(reader.as_mut().poll_read(cx, &mut buffer));
        ended = !matches!(read, Ok(1..));
        Poll::Ready(match read {
            Ok(0) => None,
            Ok(length) => Some(Ok(Bytes::copy_from_slice(&buffer[..length]))),
            Err(error) => Some(Err(told(error, &name))),
        })
    }))
}

/// The stream's own error, or what is wrong with the object.
fn told(error: io::Error, name: &str) -> Error {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return corrupt(name, "it is truncated");
    }
    match error.downcast::<Error>() {
        Ok(own) => own,
        Err(error) => corrupt(name, &format!("it cannot be decompressed: {error}")),
    }
}

fn corrupt(name: &str, what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("object {name}: {what}"))
}

fn over(name: &str, limit: u64) -> Error {
    corrupt(name, &format!("it holds more than {limit} bytes, the most that is read"))
        .hint("raise the limit if the value is meant to be so large")
}

/// Bounds a text, and checks that it is JSON.
struct Checked {
    plain: ByteStream,
    /// None once it has ended.
    scanner: Option<Scanner>,
    read: u64,
    limit: u64,
    name: String,
}

impl Checked {
    fn check(&mut self, piece: Option<&Bytes>) -> Result<()> {
        let Some(scanner) = &mut self.scanner else { return Ok(()) };
        let checked = match piece {
            Some(piece) => {
                self.read += piece.len() as u64;
                if self.read > self.limit {
                    return Err(over(&self.name, self.limit));
                }
                scanner.feed(piece)
            }
            None => self.scanner.take().map_or(Ok(()), |scanner| scanner.finish().map(drop)),
        };
        checked.map_err(|error| {
            let told = corrupt(&self.name, &error.to_string());
            let told = error.hints().iter().fold(told, |told, hint| told.hint(hint));
            told.hint("Airflow writes NaN and infinity, which no JSON reader but Python's takes")
        })
    }
}

impl Stream for Checked {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if self.scanner.is_none() {
            return Poll::Ready(None);
        }
        let checked = match ready!(self.plain.as_mut().poll_next(cx)) {
            Some(Ok(piece)) => self.check(Some(&piece)).map(|()| Some(piece)),
            Some(Err(error)) => Err(error),
            None => self.check(None).map(|()| None),
        };
        if checked.is_err() {
            self.scanner = None;
        }
        Poll::Ready(checked.transpose())
    }
}

/// The first file of a zip archive.
fn unpacked(mut stored: ByteStream, limit: u64, name: String) -> ByteStream {
    Box::pin(stream::once(async move {
        let mut archive = Vec::new();
        while let Some(piece) = poll_fn(|cx| stored.as_mut().poll_next(cx)).await {
            archive.extend_from_slice(&piece?);
            // The directory and headers around one file are small.
            if archive.len() as u64 > limit.saturating_add(PIECE_BYTES as u64) {
                return Err(over(&name, limit));
            }
        }
        blocking::unblock(move || {
            let mut plain = Vec::new();
            let mut archive = ZipArchive::new(Cursor::new(archive)).map_err(io::Error::other)?;
            archive
                .by_index(0)
                .map_err(io::Error::other)?
                .take(limit.saturating_add(1))
                .read_to_end(&mut plain)?;
            Ok(plain.into())
        })
        .await
        .map_err(|error| told(error, &name))
    }))
}

/// A zip archive of one file.
fn packed(plain: ByteStream) -> ByteStream {
    let out = Out::default();
    let begun = Some((ZipWriter::new_stream(out.clone()), false));
    Box::pin(stream::try_unfold((plain, begun), move |(mut plain, writer)| {
        let out = out.clone();
        async move {
            let Some((mut writer, begun)) = writer else { return Ok(None) };
            if !begun {
                // How much will come is not known; without this a file could not pass 4 GiB.
                let options = SimpleFileOptions::default().large_file(true);
                writer.start_file(MEMBER, options).map_err(refused)?;
            }
            let rest = match plain.next().await {
                Some(piece) => {
                    writer.write_all(&piece?).map_err(|error| refused(error.into()))?;
                    Some((writer, true))
                }
                None => {
                    writer.finish().map_err(refused)?;
                    None
                }
            };
            Ok(Some((out.take(), (plain, rest))))
        }
    }))
}

fn refused(error: zip::result::ZipError) -> Error {
    Error::new(ErrorKind::Other, "the value cannot be written as a zip archive").because(error)
}

/// What the archive's writer wrote, until it is taken.
#[derive(Clone, Default)]
struct Out(Arc<Mutex<Vec<u8>>>);

impl Out {
    fn take(&self) -> Bytes {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
