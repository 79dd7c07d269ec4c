//! How a value lies in a row: its beginning as readable text, the rest compressed.
//!
//! The beginning is what lists show, so it is stored once, outside the compressed part, and serves as
//! the dictionary for the rest: small JSON repeats its own names.

use std::cell::RefCell;

use bytes::Bytes;
use excom_core::value::head;
use excom_core::{Error, ErrorKind, Result};
use zstd::zstd_safe::{CCtx, DCtx};

/// Values from this size on are compressed, when that makes them smaller.
const COMPRESS_FROM: usize = 512;

const LEVEL: i32 = 3;

/// No value in a row is larger: SQLite's own limit for one.
const LARGEST: usize = 1_000_000_000;

/// What every zstd frame begins with; not stored.
const MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// How the rest of a value is stored. The numbers are part of the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    /// As it is.
    Plain = 0,
    /// zstd without its magic number, the beginning as raw dictionary.
    Zstd = 1,
    /// Not here: the rest is the reference to it.
    Reference = 2,
}

impl Codec {
    pub(crate) fn from_code(code: i64) -> Option<Self> {
        [Self::Plain, Self::Zstd, Self::Reference].get(usize::try_from(code).ok()?).copied()
    }
}

/// A value as a row holds it.
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    pub(crate) head: String,
    pub(crate) codec: Codec,
    /// Empty is stored as NULL.
    pub(crate) body: Bytes,
}

thread_local! {
    static CONTEXTS: RefCell<Contexts> = RefCell::new(Contexts {
        pack: CCtx::create(),
        unpack: DCtx::create(),
        frame: MAGIC.to_vec(),
    });
}

struct Contexts {
    pack: CCtx<'static>,
    unpack: DCtx<'static>,
    /// A frame with its magic number put back.
    frame: Vec<u8>,
}

/// Splits and compresses a value's text. Of a secret's envelope no beginning is set apart: an empty head is what
/// tells a secret from other values, and what no text of JSON has.
pub(crate) fn pack(value: &Bytes, secret: bool) -> Packed {
    let start = if secret { &[] } else { head(value) };
    let rest = value.slice(start.len()..);
    let head = String::from_utf8_lossy(start).into_owned();
    if value.len() >= COMPRESS_FROM {
        let mut packed = Vec::with_capacity(zstd::zstd_safe::compress_bound(rest.len()));
        let done = CONTEXTS
            .with_borrow_mut(|contexts| contexts.pack.compress_using_dict(&mut packed, &rest, start, LEVEL));
        if done.is_ok() && packed.starts_with(&MAGIC) && packed.len() + 16 < rest.len() {
            return Packed { head, codec: Codec::Zstd, body: Bytes::from(packed).slice(MAGIC.len()..) };
        }
    }
    Packed { head, codec: Codec::Plain, body: rest }
}

/// Puts a value's text of a known size together again.
pub(crate) fn unpack(head: &[u8], codec: Codec, body: &[u8], size: usize) -> Result<Bytes> {
    if codec != Codec::Zstd {
        let mut value = Vec::with_capacity(head.len() + body.len());
        value.extend_from_slice(head);
        value.extend_from_slice(body);
        return Ok(value.into());
    }
    let damaged = |why: &str| {
        Error::new(ErrorKind::Corrupt, format!("the value in the metadata database is damaged: {why}"))
    };
    // A damaged size must not become an allocation.
    if size < head.len() || size > LARGEST {
        return Err(damaged("its size is wrong"));
    }
    let mut value = Vec::with_capacity(size);
    value.extend_from_slice(head);
    value.resize(size, 0);
    let written = CONTEXTS
        .with_borrow_mut(|contexts| {
            let Contexts { unpack, frame, .. } = contexts;
            frame.truncate(MAGIC.len());
            frame.extend_from_slice(body);
            unpack.decompress_using_dict(&mut value[head.len()..], frame, head)
        })
        .map_err(|code| damaged(zstd::zstd_safe::get_error_name(code)))?;
    value.truncate(head.len() + written);
    Ok(value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back() {
        let row = r#"{"date":"2012-01-01","temp_max":12.8,"temp_min":5.0},"#;
        for text in [
            "1".to_owned(),
            "\"".to_owned() + &"é".repeat(60) + "\"",
            format!("[{}null]", row.repeat(40)),
            (0..3000).map(|i| char::from(b'!' + (i * i * 7 % 90) as u8)).collect(),
        ] {
            let value = Bytes::from(text.clone());
            for secret in [false, true] {
                let packed = pack(&value, secret);
                assert_eq!(packed.head.is_empty(), secret);
                let back = unpack(packed.head.as_bytes(), packed.codec, &packed.body, value.len()).unwrap();
                assert_eq!(back, value);
            }
        }
        let value = Bytes::from(format!("[{}null]", row.repeat(40)));
        let packed = pack(&value, false);
        assert_eq!(packed.codec, Codec::Zstd);
        assert!(packed.body.len() < value.len() / 4);
        for cut in 0..packed.body.len() {
            let damaged = unpack(packed.head.as_bytes(), packed.codec, &packed.body[..cut], value.len());
            assert!(damaged.is_err() || damaged.unwrap() != value);
        }
    }
}
