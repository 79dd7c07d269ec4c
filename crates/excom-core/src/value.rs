//! Values: JSON as validated bytes, parsed only where somebody asks for the inside.

pub mod secret;
mod text;

use std::fmt;
use std::hash::Hasher as _;
use std::pin::Pin;

use bytes::Bytes;
use futures_core::Stream;
use serde::Serialize;
use serde::de::DeserializeOwned;
use twox_hash::XxHash3_64;

use crate::json::{Scanner, Shape};
use crate::{Error, ErrorKind, Result};

/// A stream of byte pieces; the pieces together are one JSON value.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>;

/// The first bytes of a value's text that lists show, cut at a character.
pub const PREVIEW_BYTES: usize = 64;

/// A JSON value as validated UTF-8 bytes.
///
/// The bytes are kept exactly as they were pushed: key order, number text and spacing included.
///
/// One that is [secret](Value::into_secret) is encrypted wherever it is stored, and nothing shows it.
///
/// ```
/// use excom_core::Value;
///
/// let value = Value::parse(r#"{"rows": 365}"#)?;
/// assert_eq!(value.get::<serde_json::Value>()?["rows"], 365);
/// assert!(Value::parse("{rows: 365}").is_err());
/// # Ok::<(), excom_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Value {
    bytes: Bytes,
    shape: Shape,
    secret: bool,
}

impl Value {
    /// Checks that the bytes are one JSON value.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidValue`] with line, column and a hint.
    pub fn parse(bytes: impl Into<Bytes>) -> Result<Self> {
        let bytes = bytes.into();
        let shape = Scanner::scan(&bytes)?;
        Ok(Self { bytes, shape, secret: false })
    }

    /// Takes bytes that were validated before, when they were pushed, with their shape.
    pub fn trusted(bytes: Bytes, shape: Shape) -> Self {
        Self { bytes, shape, secret: false }
    }

    /// The JSON text of a Rust value. It is secret when anything in it is: a secret [`Value`], or a
    /// type that [says so](secret::mark).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidValue`] when JSON cannot express it: a map whose keys are not text or
    /// numbers. (A float that is NaN or infinite is refused too, instead of becoming null.)
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self> {
        let refuse = |e: &dyn fmt::Display| {
            Error::new(ErrorKind::InvalidValue, format!("the value cannot be written as JSON: {e}"))
                .hint("JSON has text keys, and no NaN or infinity")
        };
        let (bytes, secret) = secret::written(|| {
            let bytes = serde_json::to_vec(value).map_err(|e| refuse(&e))?;
            // serde_json writes NaN as null; only a text with a null in it can hide one.
            if bytes.windows(4).any(|w| w == b"null") {
                crate::finite::check(value).map_err(|e| refuse(&e))?;
            }
            Ok(bytes)
        });
        Ok(Self { secret, ..Self::parse(bytes?)? })
    }

    /// JSON null.
    pub fn null() -> Self {
        Self { bytes: Bytes::from_static(b"null"), shape: Shape::Null, secret: false }
    }

    /// The same value as a secret: it is stored encrypted, and no list, preview, log or error shows it.
    ///
    /// ```
    /// use excom_core::Value;
    ///
    /// let token = Value::of("hunter2")?.into_secret();
    /// assert_eq!(format!("{token:?}"), "Value(***)");
    /// assert_eq!(token.get::<String>()?, "hunter2");
    /// # Ok::<(), excom_core::Error>(())
    /// ```
    #[must_use]
    pub fn into_secret(self) -> Self {
        Self { secret: true, ..self }
    }

    /// The same value, a secret when it was one or what it was made of is.
    #[must_use]
    pub fn secret_if(self, secret: bool) -> Self {
        Self { secret: self.secret || secret, ..self }
    }

    /// Whether it is a secret.
    pub fn is_secret(&self) -> bool {
        self.secret
    }

    /// The beginning of its text, as lists show it; nothing of a secret.
    pub fn preview(&self) -> String {
        if self.secret { secret::REDACTED.to_owned() } else { preview(&self.bytes) }
    }

    /// The text as it was pushed.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The text as it was pushed.
    pub fn as_str(&self) -> &str {
        // Validated when it was made; a damaged database shows up as empty text, never as a crash.
        std::str::from_utf8(&self.bytes).unwrap_or_default()
    }

    /// What kind of JSON value it is.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Size of the text in bytes.
    pub fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Whether it is JSON null.
    pub fn is_null(&self) -> bool {
        self.shape == Shape::Null
    }

    /// The value as a Rust type.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidValue`] that says where in the value, what was expected and what was found:
    ///
    /// ```
    /// use excom_core::Value;
    ///
    /// let value = Value::parse(r#"{"rows": [1.5, "n/a"]}"#)?;
    /// let error = value.get::<std::collections::HashMap<String, Vec<f64>>>().unwrap_err();
    /// assert!(error.to_string().ends_with(r#"$.rows[1]: expected a number, found "n/a""#));
    /// # Ok::<(), excom_core::Error>(())
    /// ```
    pub fn get<T: DeserializeOwned>(&self) -> Result<T> {
        let mut json = serde_json::Deserializer::from_slice(&self.bytes);
        // The scanner has bounded the depth already.
        json.disable_recursion_limit();
        secret::read(self.secret, || T::deserialize(&mut json))
            .map_err(|error| crate::misfit::explain::<T>(self, error))
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({})", self.preview())
    }
}

/// The beginning of a value's text, at most [`PREVIEW_BYTES`] long, with `…` when it goes on.
pub fn preview(bytes: &[u8]) -> String {
    let head = head(bytes);
    let text = String::from_utf8_lossy(head);
    if head.len() < bytes.len() { format!("{text}…") } else { text.into_owned() }
}

/// The bytes of [`preview`] without the ellipsis.
pub fn head(bytes: &[u8]) -> &[u8] {
    if bytes.len() <= PREVIEW_BYTES {
        return bytes;
    }
    let mut end = PREVIEW_BYTES;
    // A UTF-8 continuation byte is 0b10xxxxxx; a character begins at any other.
    while end > 0 && bytes[end] & 0xC0 == 0x80 {
        end -= 1;
    }
    &bytes[..end]
}

/// What a push brings, or a backend read: the whole value, or pieces of it as they arrive.
#[non_exhaustive]
pub enum Payload {
    /// The whole value.
    Value(Value),
    /// All of a value's text, as it was read. It is checked against its entry, or validated.
    Whole(Bytes),
    /// Pieces of a value whose size is not known yet. They are validated on their way.
    Stream(ByteStream),
}

impl Payload {
    /// Its pieces; a whole value is one.
    pub fn into_stream(self) -> ByteStream {
        match self {
            Self::Value(value) => Self::Whole(value.bytes().clone()).into_stream(),
            Self::Whole(bytes) => Box::pin(futures_util::stream::once(std::future::ready(Ok(bytes)))),
            Self::Stream(stream) => stream,
        }
    }
}

impl From<Value> for Payload {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => value.fmt(f),
            Self::Whole(bytes) => write!(f, "Whole({} bytes)", bytes.len()),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

/// A checksum of a value's bytes: XXH3 with 64 bits.
///
/// It tells damage and change; it does not withstand somebody who forges. What must withstand that,
/// bytes that leave the database, is sealed with a keyed BLAKE3 (see [`seal`](crate::seal)).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(into = "String", try_from = "String")]
pub struct ContentHash(pub u64);

impl ContentHash {
    /// The checksum of bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(XxHash3_64::oneshot(bytes))
    }
}

/// The size and checksum of bytes that come in pieces.
#[derive(Default)]
pub(crate) struct Measure {
    hasher: XxHash3_64,
    size: u64,
}

impl Measure {
    pub(crate) fn update(&mut self, piece: &[u8]) {
        self.hasher.write(piece);
        self.size += piece.len() as u64;
    }

    /// The bytes so far.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn finish(&self) -> (u64, ContentHash) {
        (self.size, ContentHash(self.hasher.finish()))
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "xxh3:{:016x}", self.0)
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<ContentHash> for String {
    fn from(hash: ContentHash) -> Self {
        hash.to_string()
    }
}

impl TryFrom<String> for ContentHash {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        text.strip_prefix("xxh3:")
            .and_then(|hex| u64::from_str_radix(hex, 16).ok())
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not a checksum of the form xxh3:<16 hex digits>"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn what_json_cannot_express_is_refused_not_changed() {
        assert_eq!(Value::of(&f64::NAN).unwrap_err().kind(), ErrorKind::InvalidValue);
        assert_eq!(Value::of(&vec![1.0, f64::INFINITY]).unwrap_err().kind(), ErrorKind::InvalidValue);
        let pairs = HashMap::from([((1, 2), "x")]);
        assert_eq!(Value::of(&pairs).unwrap_err().kind(), ErrorKind::InvalidValue);
        assert_eq!(Value::of(&Option::<u8>::None).unwrap(), Value::null());
    }

    #[test]
    fn numbers_and_order_survive_as_text() {
        let text = r#"{"b": 1.0, "a": 123456789012345678901234567890}"#;
        assert_eq!(Value::parse(text).unwrap().as_str(), text);
    }

    #[test]
    fn previews_cut_at_characters() {
        let text = format!("\"{}\"", "é".repeat(100));
        let shown = preview(text.as_bytes());
        assert!(shown.ends_with("é…") && shown.len() <= PREVIEW_BYTES + "…".len(), "{shown}");
        assert_eq!(preview(b"[1]"), "[1]");
    }

    #[test]
    fn a_type_that_does_not_fit_says_where() {
        let error = Value::parse(r#"{"n": "x"}"#).unwrap().get::<HashMap<String, u32>>().unwrap_err();
        assert!(error.to_string().ends_with(r#"$.n: expected a whole number, found "x""#), "{error}");
        assert!(error.hints()[0].contains("dict[1]"), "{error:?}");
    }
}
