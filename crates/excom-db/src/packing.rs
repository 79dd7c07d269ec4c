//! How a value lies in a row: its beginning as readable text, the rest compressed.
//!
//! The beginning is what lists show, so it is stored once, outside the compressed part, and serves as
//! the dictionary for the rest: small JSON repeats its own names. A DAG that has a trained dictionary uses that
//! instead, where it makes a value shorter.

use std::cell::RefCell;

use bytes::Bytes;
use excom_core::db::Push;
use excom_core::entry::Stored;
use excom_core::seal::Reference;
use excom_core::value::head;
use excom_core::value::secret::REDACTED;
use excom_core::{Error, ErrorKind, Result};
use zstd::dict::{DecoderDictionary, EncoderDictionary};
use zstd::zstd_safe::{CCtx, DCtx, get_dict_id_from_frame};

use crate::dictionary::SMALL;

/// Values from this size on are compressed, when that makes them smaller.
const COMPRESS_FROM: usize = 512;

pub(crate) const LEVEL: i32 = 3;

/// No value in a row is larger: SQLite's own limit for one.
const LARGEST: usize = 1_000_000_000;

/// What every zstd frame begins with; not stored.
const MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// The most bytes of a zstd frame's header.
const HEADER: usize = 18;

/// How the rest of a value is stored. The numbers are part of the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    /// As it is.
    Plain = 0,
    /// zstd without its magic number, the beginning as raw dictionary.
    Zstd = 1,
    /// Not here: the rest is the reference to it.
    Reference = 2,
    /// zstd without its magic number, with the dictionary that the frame names.
    Dictionary = 3,
}

impl Codec {
    pub(crate) fn from_code(code: i64) -> Option<Self> {
        [Self::Plain, Self::Zstd, Self::Reference, Self::Dictionary].get(usize::try_from(code).ok()?).copied()
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

impl Packed {
    /// What a push stores, compressed with a dictionary of its DAG when there is one.
    pub(crate) fn push(push: &Push, dictionary: Option<&EncoderDictionary<'_>>) -> Self {
        let preview = || push.preview.strip_suffix('…').unwrap_or(&push.preview).to_owned();
        match &push.stored {
            Stored::Inline(value) => pack(value.bytes(), push.secret, dictionary),
            Stored::Offloaded(reference) => {
                Self::reference(reference, if push.secret { String::new() } else { preview() })
            }
        }
    }

    /// A reference behind the beginning of the value that it is to.
    pub(crate) fn reference(reference: &Reference, head: String) -> Self {
        let body = serde_json::to_vec(reference).unwrap_or_default().into();
        Self { head, codec: Codec::Reference, body }
    }
}

/// What lists show of a value of a size that begins so.
pub(crate) fn preview(head: &str, size: u64) -> String {
    match head {
        "" => REDACTED.to_owned(),
        head if (head.len() as u64) < size => format!("{head}…"),
        head => head.to_owned(),
    }
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

/// Splits and compresses a value's text, with its DAG's dictionary when that has one. Of a secret's envelope no
/// beginning is set apart: an empty head is what tells a secret from other values, and what no text of JSON has.
pub(crate) fn pack(value: &Bytes, secret: bool, dictionary: Option<&EncoderDictionary<'_>>) -> Packed {
    let start = if secret { &[] } else { head(value) };
    let rest = value.slice(start.len()..);
    let alone = pack_alone(value, start, &rest);
    let Some(dictionary) = dictionary.filter(|_| SMALL.contains(&value.len())) else { return alone };
    let packed = packed(&rest, |contexts, packed| {
        contexts.pack.compress_using_cdict(packed, &rest, dictionary.as_cdict())
    });
    // What saves little is not worth that the value depends on one more thing.
    let least = (alone.body.len() / 10).max(32);
    match packed.filter(|packed| packed.len() + least <= alone.body.len()) {
        Some(body) => Packed { head: alone.head, codec: Codec::Dictionary, body },
        None => alone,
    }
}

fn pack_alone(value: &Bytes, start: &[u8], rest: &Bytes) -> Packed {
    let head = String::from_utf8_lossy(start).into_owned();
    if value.len() >= COMPRESS_FROM {
        let packed =
            packed(rest, |contexts, packed| contexts.pack.compress_using_dict(packed, rest, start, LEVEL));
        if let Some(body) = packed.filter(|packed| packed.len() + 12 < rest.len()) {
            return Packed { head, codec: Codec::Zstd, body };
        }
    }
    Packed { head, codec: Codec::Plain, body: rest.clone() }
}

/// A zstd frame of a value's rest, without its magic number.
fn packed(
    rest: &[u8],
    compress: impl FnOnce(&mut Contexts, &mut Vec<u8>) -> zstd::zstd_safe::SafeResult,
) -> Option<Bytes> {
    let mut packed = Vec::with_capacity(zstd::zstd_safe::compress_bound(rest.len()));
    let done = CONTEXTS.with_borrow_mut(|contexts| compress(contexts, &mut packed));
    (done.is_ok() && packed.starts_with(&MAGIC)).then(|| Bytes::from(packed).slice(MAGIC.len()..))
}

/// The number of the dictionary that a value's rest was compressed with; none when it is damaged.
pub(crate) fn dictionary_of(body: &[u8]) -> Option<u32> {
    let mut header = [0; HEADER];
    let length = body.len().min(HEADER - MAGIC.len());
    header[..MAGIC.len()].copy_from_slice(&MAGIC);
    header[MAGIC.len()..][..length].copy_from_slice(&body[..length]);
    get_dict_id_from_frame(&header[..MAGIC.len() + length]).map(Into::into)
}

/// Puts a value's text of a known size together again. One that was compressed with a dictionary needs that.
pub(crate) fn unpack(
    head: &[u8],
    codec: Codec,
    body: &[u8],
    size: usize,
    dictionary: Option<&DecoderDictionary<'_>>,
) -> Result<Bytes> {
    if matches!(codec, Codec::Plain | Codec::Reference) {
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
            let rest = &mut value[head.len()..];
            match dictionary {
                Some(dictionary) => unpack.decompress_using_ddict(rest, frame, dictionary.as_ddict()),
                None => unpack.decompress_using_dict(rest, frame, head),
            }
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
                let packed = pack(&value, secret, None);
                assert_eq!(packed.head.is_empty(), secret);
                let back =
                    unpack(packed.head.as_bytes(), packed.codec, &packed.body, value.len(), None).unwrap();
                assert_eq!(back, value);
            }
        }
        let value = Bytes::from(format!("[{}null]", row.repeat(40)));
        let packed = pack(&value, false, None);
        assert_eq!(packed.codec, Codec::Zstd);
        assert!(packed.body.len() < value.len() / 4);
        for cut in 0..packed.body.len() {
            let damaged =
                unpack(packed.head.as_bytes(), packed.codec, &packed.body[..cut], value.len(), None);
            assert!(damaged.is_err() || damaged.unwrap() != value);
        }
    }

    /// The vector of the format's description holds.
    #[test]
    fn the_vector_of_the_description() {
        let description = include_str!("../../../docs/stored-bytes.md");
        let spans: Vec<&str> = description.split('`').collect();
        let at = spans.iter().position(|span| span.starts_with("37a430ec")).unwrap();
        // Behind the value and the dictionary comes the body.
        let [value, _, dictionary, _, body] = spans[at - 2..=at + 2] else { unreachable!() };
        let bytes = |hex: &str| -> Vec<u8> {
            (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
        };
        let (dictionary, body) = (DecoderDictionary::copy(&bytes(dictionary)), bytes(body));
        assert_eq!(dictionary_of(&body), Some(32_768));
        let head = head(value.as_bytes());
        let back = unpack(head, Codec::Dictionary, &body, value.len(), Some(&dictionary)).unwrap();
        assert_eq!(back, value);
        assert!(body.len() < (value.len() - head.len()) / 2, "{}", body.len());
    }
}
