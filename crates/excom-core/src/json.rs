//! An incremental check that bytes are one JSON value (RFC 8259).
//!
//! Values arrive whole or in pieces of any size, so the scanner keeps its state between pieces and
//! needs memory only for the nesting. Beyond the grammar it refuses what no database and no client
//! could read back: lone surrogates in `\u` escapes and bytes that are not UTF-8. It counts the
//! elements of a top-level list or dict on the way, so that nobody parses a value for its length.

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result};

/// The deepest nesting that a value may have: what every JSON parser on the way can read.
pub const MAX_DEPTH: usize = 128;

/// What kind of JSON value it is, and how many elements it has on top.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", tag = "kind", content = "len")]
pub enum Shape {
    /// JSON null.
    Null,
    /// `true` or `false`.
    Bool,
    /// A number.
    Number,
    /// Text.
    String,
    /// A list with so many elements.
    List(u64),
    /// A dict with so many entries.
    Dict(u64),
}

impl Shape {
    /// The number of task instances that expanding over the value would make; none for scalars.
    pub fn mapped_length(self) -> Option<u64> {
        match self {
            Self::List(n) | Self::Dict(n) => Some(n),
            _ => None,
        }
    }

    /// A compact number for storage: the kind in the low three bits, the length above.
    pub fn to_code(self) -> i64 {
        let (kind, len) = match self {
            Self::Null => (0, 0),
            Self::Bool => (1, 0),
            Self::Number => (2, 0),
            Self::String => (3, 0),
            Self::List(n) => (4, n),
            Self::Dict(n) => (5, n),
        };
        kind | i64::try_from(len).unwrap_or(i64::MAX >> 3) << 3
    }

    /// The inverse of [`Shape::to_code`]; none for a number that it never makes.
    pub fn from_code(code: i64) -> Option<Self> {
        let len = u64::try_from(code >> 3).ok()?;
        Some(match code & 7 {
            0 => Self::Null,
            1 => Self::Bool,
            2 => Self::Number,
            3 => Self::String,
            4 => Self::List(len),
            5 => Self::Dict(len),
            _ => return None,
        })
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Number => f.write_str("number"),
            Self::String => f.write_str("string"),
            Self::List(n) => write!(f, "list[{n}]"),
            Self::Dict(n) => write!(f, "dict[{n}]"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A value must begin here.
    Value,
    /// Just after `[`: a value or `]`.
    FirstElement,
    /// Just after `{`: a name or `}`.
    FirstName,
    /// After `,` in a dict: a name.
    Name,
    /// After a name: `:`.
    Colon,
    /// After a value: `,`, a closing bracket, or the end.
    After,
    Text,
    Escape,
    /// In a `\u` escape with so many hex digits to come.
    Hex(u8),
    /// After a high surrogate: `\` and then `u` must follow.
    LowBackslash,
    LowU,
    Literal(&'static [u8], u8),
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    ExponentSign,
    ExponentFirst,
    Exponent,
}

/// Checks a JSON value piece by piece.
///
/// ```
/// use excom_core::json::{Scanner, Shape};
///
/// let mut scanner = Scanner::new();
/// scanner.feed(br#"{"a": [1, 2"#)?;
/// scanner.feed(br#"], "b": null}"#)?;
/// assert_eq!(scanner.finish()?, Shape::Dict(2));
/// # Ok::<(), excom_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Scanner {
    state: State,
    /// One bit for each open bracket: true for a dict.
    open: Vec<bool>,
    /// The text being read is a dict's name.
    naming: bool,
    hex: u32,
    high: bool,
    commas: u64,
    shape: Option<Shape>,
    utf8: Utf8,
    offset: u64,
    line: u64,
    line_start: u64,
}

/// The pending bytes of a UTF-8 sequence that a piece cut in the middle.
#[derive(Debug, Clone, Default)]
struct Utf8 {
    pending: [u8; 4],
    len: usize,
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new()
    }
}

impl Scanner {
    /// A scanner before the first byte.
    pub fn new() -> Self {
        Self {
            state: State::Value,
            open: Vec::new(),
            naming: false,
            hex: 0,
            high: false,
            commas: 0,
            shape: None,
            utf8: Utf8::default(),
            offset: 0,
            line: 1,
            line_start: 0,
        }
    }

    /// Checks a whole value at once.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidValue`] with the line and column of the first byte that cannot be.
    pub fn scan(bytes: &[u8]) -> Result<Shape> {
        let mut scanner = Self::new();
        scanner.feed(bytes)?;
        scanner.finish()
    }

    /// Checks the next piece.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidValue`] with the line and column of the first byte that cannot be.
    pub fn feed(&mut self, piece: &[u8]) -> Result<()> {
        self.utf8(piece)?;
        let mut i = 0;
        while i < piece.len() {
            let byte = piece[i];
            if self.state == State::Text {
                // The common case: a run of plain text is skipped without a look at the state.
                let plain = plain(&piece[i..]);
                i += plain;
                self.offset += plain as u64;
                match piece.get(i) {
                    None => return Ok(()),
                    Some(byte) => self.step(*byte)?,
                }
            } else if let Err(error) = self.step(byte) {
                return Err(self.explain(error, &piece[i..]));
            }
            i += 1;
            self.offset += 1;
        }
        Ok(())
    }

    /// Ends the value and tells its shape.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidValue`] when the value is empty or not complete.
    pub fn finish(self) -> Result<Shape> {
        if self.utf8.len > 0 {
            return Err(self.error("ends in the middle of a UTF-8 character"));
        }
        match self.state {
            State::After | State::Zero | State::Integer | State::Fraction | State::Exponent
                if self.open.is_empty() =>
            {
                Ok(self.shape.unwrap_or(Shape::Null))
            }
            State::Value if self.offset == 0 || self.shape.is_none() => Err(self
                .error("is empty, and JSON has no empty value")
                .hint("push `null` for no value, or `\"\"` for empty text")),
            _ => Err(self.error("ends before the JSON value is complete")),
        }
    }

    fn step(&mut self, byte: u8) -> Result<()> {
        use State::{
            After, Colon, Escape, Exponent, ExponentFirst, ExponentSign, FirstElement, FirstName, Fraction,
            Hex, Integer, Literal, LowBackslash, LowU, Minus, Name, Point, Text, Value, Zero,
        };
        let space = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        self.state = match self.state {
            Value | FirstElement | FirstName | Name | Colon | After if space => {
                if byte == b'\n' {
                    self.line += 1;
                    self.line_start = self.offset + 1;
                }
                self.state
            }
            FirstElement if byte == b']' => self.close(false)?,
            Value | FirstElement => match byte {
                b'"' => {
                    self.begin(Shape::String);
                    self.naming = false;
                    Text
                }
                b'{' => self.open(true)?,
                b'[' => self.open(false)?,
                b't' => self.literal(b"rue", Shape::Bool),
                b'f' => self.literal(b"alse", Shape::Bool),
                b'n' => self.literal(b"ull", Shape::Null),
                b'-' => {
                    self.begin(Shape::Number);
                    Minus
                }
                b'0' => {
                    self.begin(Shape::Number);
                    Zero
                }
                b'1'..=b'9' => {
                    self.begin(Shape::Number);
                    Integer
                }
                _ => return Err(self.unexpected(byte, "a value")),
            },
            FirstName if byte == b'}' => self.close(true)?,
            FirstName | Name => match byte {
                b'"' => {
                    self.naming = true;
                    Text
                }
                _ => return Err(self.unexpected(byte, "a name in double quotes")),
            },
            Colon => match byte {
                b':' => Value,
                _ => return Err(self.unexpected(byte, "`:`")),
            },
            After => self.after(byte)?,
            Text => match byte {
                b'"' if self.naming => Colon,
                b'"' => After,
                b'\\' => Escape,
                0..0x20 => return Err(self.error("has a control character in text, which JSON escapes")),
                _ => Text,
            },
            Escape => match byte {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Text,
                b'u' => {
                    self.hex = 0;
                    Hex(4)
                }
                _ => return Err(self.unexpected(byte, "one of `\"\\/bfnrtu` behind `\\`")),
            },
            Hex(left) => {
                let Some(digit) = (byte as char).to_digit(16) else {
                    return Err(self.unexpected(byte, "four hex digits behind `\\u`"));
                };
                self.hex = self.hex << 4 | digit;
                if left > 1 { Hex(left - 1) } else { self.unit()? }
            }
            LowBackslash => match byte {
                b'\\' => LowU,
                _ => return Err(self.lone()),
            },
            LowU => match byte {
                b'u' => {
                    self.hex = 0;
                    Hex(4)
                }
                _ => return Err(self.lone()),
            },
            Literal(rest, at) => {
                if rest[at as usize] != byte {
                    return Err(self.unexpected(byte, "`true`, `false` or `null`"));
                }
                if at as usize + 1 == rest.len() { After } else { Literal(rest, at + 1) }
            }
            Minus => match byte {
                b'0' => Zero,
                b'1'..=b'9' => Integer,
                _ => return Err(self.unexpected(byte, "a digit behind `-`")),
            },
            Zero | Integer => match byte {
                b'.' => Point,
                b'e' | b'E' => ExponentSign,
                b'0'..=b'9' if self.state == Integer => Integer,
                b'0'..=b'9' => return Err(self.error("has a number with a leading zero")),
                _ => self.end_number(byte)?,
            },
            Point | Fraction => match byte {
                b'0'..=b'9' => Fraction,
                b'e' | b'E' if self.state == Fraction => ExponentSign,
                _ if self.state == Fraction => self.end_number(byte)?,
                _ => return Err(self.unexpected(byte, "a digit behind `.`")),
            },
            ExponentSign if matches!(byte, b'+' | b'-') => ExponentFirst,
            ExponentSign | ExponentFirst => match byte {
                b'0'..=b'9' => Exponent,
                _ => return Err(self.unexpected(byte, "a digit in the exponent")),
            },
            Exponent => match byte {
                b'0'..=b'9' => Exponent,
                _ => self.end_number(byte)?,
            },
        };
        Ok(())
    }

    fn begin(&mut self, shape: Shape) {
        if self.shape.is_none() {
            self.shape = Some(shape);
        }
    }

    fn literal(&mut self, rest: &'static [u8], shape: Shape) -> State {
        self.begin(shape);
        State::Literal(rest, 0)
    }

    fn open(&mut self, dict: bool) -> Result<State> {
        if self.open.len() == MAX_DEPTH {
            return Err(self
                .error(&format!("is nested deeper than {MAX_DEPTH} levels"))
                .hint("flatten the value, or push the inner part as text"));
        }
        self.begin(if dict { Shape::Dict(0) } else { Shape::List(0) });
        self.open.push(dict);
        Ok(if dict { State::FirstName } else { State::FirstElement })
    }

    fn close(&mut self, dict: bool) -> Result<State> {
        if self.open.last() != Some(&dict) {
            return Err(self.error("closes a bracket that is not open"));
        }
        if self.open.len() == 1 {
            let empty = matches!(self.state, State::FirstElement | State::FirstName);
            let len = if empty { 0 } else { self.commas + 1 };
            self.shape = Some(if dict { Shape::Dict(len) } else { Shape::List(len) });
        }
        self.open.pop();
        Ok(State::After)
    }

    fn after(&mut self, byte: u8) -> Result<State> {
        match (byte, self.open.last().copied()) {
            (b',', Some(dict)) => {
                if self.open.len() == 1 {
                    self.commas += 1;
                }
                Ok(if dict { State::Name } else { State::Value })
            }
            (b'}', Some(true)) => self.close(true),
            (b']', Some(false)) => self.close(false),
            (_, None) => Err(self.error("goes on behind the end of the JSON value")),
            (_, Some(true)) => Err(self.unexpected(byte, "`,` or `}`")),
            (_, Some(false)) => Err(self.unexpected(byte, "`,` or `]`")),
        }
    }

    fn end_number(&mut self, byte: u8) -> Result<State> {
        if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            if byte == b'\n' {
                self.line += 1;
                self.line_start = self.offset + 1;
            }
            return Ok(State::After);
        }
        self.after(byte)
    }

    /// A `\u` escape is complete: surrogates must come as a pair.
    fn unit(&mut self) -> Result<State> {
        let low = (0xDC00..0xE000).contains(&self.hex);
        match (self.high, low) {
            (true, true) => {
                self.high = false;
                Ok(State::Text)
            }
            (true, false) | (false, true) => Err(self.lone()),
            (false, false) if (0xD800..0xDC00).contains(&self.hex) => {
                self.high = true;
                Ok(State::LowBackslash)
            }
            (false, false) => Ok(State::Text),
        }
    }

    fn utf8(&mut self, piece: &[u8]) -> Result<()> {
        let mut rest = piece;
        while self.utf8.len > 0 && !rest.is_empty() {
            self.utf8.pending[self.utf8.len] = rest[0];
            self.utf8.len += 1;
            rest = &rest[1..];
            match std::str::from_utf8(&self.utf8.pending[..self.utf8.len]) {
                Ok(_) => self.utf8.len = 0,
                Err(e) if e.error_len().is_none() && self.utf8.len < 4 => {}
                Err(_) => return Err(self.not_utf8()),
            }
        }
        if let Err(e) = std::str::from_utf8(rest) {
            if e.error_len().is_some() {
                return Err(self.not_utf8());
            }
            let tail = &rest[e.valid_up_to()..];
            self.utf8.pending[..tail.len()].copy_from_slice(tail);
            self.utf8.len = tail.len();
        }
        Ok(())
    }

    fn not_utf8(&self) -> Error {
        self.error("has bytes that are not UTF-8").hint("encode binary data as base64 text")
    }

    fn lone(&self) -> Error {
        self.error("has a lone surrogate in a `\\u` escape, which is no character")
    }

    fn unexpected(&self, byte: u8, wanted: &str) -> Error {
        let found = match byte {
            0x20..0x7f => format!("`{}`", byte as char),
            _ => format!("byte 0x{byte:02x}"),
        };
        self.error(&format!("has {found} where {wanted} was expected"))
    }

    fn error(&self, what: &str) -> Error {
        let column = self.offset - self.line_start + 1;
        Error::new(
            ErrorKind::InvalidValue,
            format!("the value is not JSON: line {}, column {column}: it {what}", self.line),
        )
    }

    /// Adds the hint that the offending text calls for.
    fn explain(&self, error: Error, rest: &[u8]) -> Error {
        let starts = |word: &str| rest.starts_with(word.as_bytes());
        if starts("NaN") || starts("Infinity") || starts("nan") || starts("inf") {
            return error.hint("JSON has no NaN and no infinity: push null, or text such as \"NaN\"");
        }
        if starts("None") || starts("True") || starts("False") || starts("'") {
            return error.hint("this looks like Python: JSON writes null, true, false and \"text\"");
        }
        if self.offset == 0 {
            return error.hint("text needs double quotes: '\"like this\"'");
        }
        error
    }
}

/// How many bytes of a text pass before one that ends it or means something.
fn plain(text: &[u8]) -> usize {
    // What is looked at twice stays near.
    const TOGETHER: usize = 4 << 10;
    let mut passed = 0;
    for block in text.chunks(TOGETHER) {
        let end = memchr::memchr2(b'"', b'\\', block).unwrap_or(block.len());
        // Without an early exit inside, the compiler looks at many bytes at a time.
        let least = block[..end].iter().fold(u8::MAX, |least, byte| least.min(*byte));
        if least < 0x20 {
            return passed + block.iter().position(|byte| *byte < 0x20).unwrap_or(end);
        }
        passed += end;
        if end < block.len() {
            break;
        }
    }
    passed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn accepts(text: &str) -> bool {
        Scanner::scan(text.as_bytes()).is_ok()
    }

    #[test]
    fn shapes() {
        for (text, shape) in [
            ("null", Shape::Null),
            (" true ", Shape::Bool),
            ("-1.5e+3", Shape::Number),
            ("0", Shape::Number),
            ("\"a\"", Shape::String),
            ("[]", Shape::List(0)),
            ("[[1,2],[3]]", Shape::List(2)),
            ("{ }", Shape::Dict(0)),
            (r#"{"a":{"b":1,"c":2},"d":[]}"#, Shape::Dict(2)),
        ] {
            assert_eq!(Scanner::scan(text.as_bytes()).unwrap(), shape, "{text}");
            assert_eq!(Shape::from_code(shape.to_code()), Some(shape));
        }
    }

    #[test]
    fn refusals_say_where_and_what_to_do() {
        let error = Scanner::scan(b"{\n  \"a\": NaN}").unwrap_err();
        assert!(error.to_string().contains("line 2, column 8"), "{error}");
        assert!(error.hints()[0].contains("JSON has no NaN"), "{error:?}");
        let error = Scanner::scan(b"hello").unwrap_err();
        assert!(error.hints()[0].contains("double quotes"), "{error:?}");
        assert!(Scanner::scan(b"").unwrap_err().to_string().contains("empty"));
        assert!(Scanner::scan(br#""\ud800""#).unwrap_err().to_string().contains("surrogate"));
        assert!(accepts(r#""\ud83d\ude00""#));
        assert!(!accepts(r#""\ud83d\u0041""#));
        assert!(!accepts(r#""\ude00""#));
        assert!(!accepts("01"));
        assert!(!accepts("[1,]"));
        assert!(!accepts("1 2"));
        assert!(!accepts("\"a\nb\""));
        assert!(Scanner::scan(b"\"\xff\"").unwrap_err().to_string().contains("UTF-8"));
        assert!(accepts(&format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH))));
        assert!(!accepts(&format!("{}{}", "[".repeat(MAX_DEPTH + 1), "]".repeat(MAX_DEPTH + 1))));
    }

    proptest! {
        /// Whatever serde_json reads as a value, we accept, and nothing else, cut anywhere.
        #[test]
        fn agrees_with_serde_json(
            text in r#"[ \[\]{}:,"0-9eE+.\-truefalsn\\ud8cé]{0,24}"#, cut in 0usize..24,
        ) {
            // serde_json's tree refuses numbers out of a double's range, which are JSON as text; its
            // skipping reader does not look at surrogates. Together they say what JSON is.
            let tree = serde_json::from_str::<serde_json::Value>(&text);
            let known = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok()
                && tree.as_ref().err().is_none_or(|e| e.to_string().contains("out of range"));
            let mut scanner = Scanner::new();
            let cut = cut.min(text.len());
            let ours = scanner.feed(&text.as_bytes()[..cut])
                .and_then(|()| scanner.feed(&text.as_bytes()[cut..]))
                .and_then(|()| scanner.finish());
            prop_assert_eq!(ours.is_ok(), known, "{:?} {:?}", text, ours);
        }

        #[test]
        fn counts_what_serde_json_counts(list in prop::collection::vec("[a-z\"\\\\é]{0,5}", 0..9)) {
            let text = serde_json::to_vec(&list).unwrap();
            prop_assert_eq!(Scanner::scan(&text).unwrap(), Shape::List(list.len() as u64));
        }
    }
}
