//! XCom values between JSON text and MessagePack, exactly.
//!
//! What one side can say and the other cannot is refused: integers outside of −2^63 to 2^64 − 1, numbers
//! that are not finite, bytes, extension types and names that are not text. The order of a dict is kept, and
//! of names that come twice the last counts, as in Python.

use std::collections::HashMap;

use excom_core::{Error, ErrorKind, Result, Value};
use rmpv::Value as MessagePack;
use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Error as _, Serialize, Serializer};

/// A value that is MessagePack on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Json(pub(crate) Value);

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        to_message_pack(&self.0).map_err(S::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        to_json(&MessagePack::deserialize(deserializer)?).map(Self).map_err(D::Error::custom)
    }
}

/// The JSON value that a MessagePack value says.
pub(crate) fn to_json(value: &MessagePack) -> Result<Value> {
    let mut text = String::new();
    write(value, &mut text)?;
    Value::parse(text)
}

fn write(value: &MessagePack, text: &mut String) -> Result<()> {
    match value {
        MessagePack::Nil => text.push_str("null"),
        MessagePack::Boolean(value) => text.push_str(if *value { "true" } else { "false" }),
        MessagePack::Integer(value) => text.push_str(&value.to_string()),
        MessagePack::F32(value) => write_float(f64::from(*value), text)?,
        MessagePack::F64(value) => write_float(*value, text)?,
        MessagePack::String(value) => write_text(value.as_str(), text)?,
        MessagePack::Array(items) => {
            text.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                write(item, text)?;
            }
            text.push(']');
        }
        MessagePack::Map(entries) => {
            text.push('{');
            for (at, (name, value)) in entries.iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                let MessagePack::String(name) = name else {
                    return Err(refused("a dict with a name that is not text"));
                };
                write_text(name.as_str(), text)?;
                text.push(':');
                write(value, text)?;
            }
            text.push('}');
        }
        MessagePack::Binary(_) => return Err(refused("bytes")),
        MessagePack::Ext(kind, _) => return Err(refused(&format!("an extension type ({kind})"))),
    }
    Ok(())
}

fn write_float(value: f64, text: &mut String) -> Result<()> {
    if !value.is_finite() {
        return Err(refused(&format!("the number {value}")));
    }
    text.push_str(&serde_json::to_string(&value).map_err(|e| refused(&e.to_string()))?);
    Ok(())
}

fn write_text(value: Option<&str>, text: &mut String) -> Result<()> {
    let value = value.ok_or_else(|| refused("text that is not UTF-8"))?;
    text.push_str(&serde_json::to_string(value).map_err(|e| refused(&e.to_string()))?);
    Ok(())
}

fn refused(what: &str) -> Error {
    Error::new(ErrorKind::InvalidValue, format!("the value has {what}, which JSON cannot express"))
        .hint("push text, finite numbers, true, false, null, lists, and dicts with text as names")
}

/// The MessagePack value that a JSON value says.
pub(crate) fn to_message_pack(value: &Value) -> Result<MessagePack> {
    Reader { text: value.as_str(), at: 0 }.value()
}

/// Reads text that is known to be JSON.
///
/// A parser of its own, because serde_json makes floats of large integers without a word.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self) -> Result<MessagePack> {
        match self.peek() {
            Some(b'{') => self.dict(),
            Some(b'[') => self.list(),
            Some(b'"') => Ok(self.text()?.into()),
            Some(b't') => Ok(self.literal(4, true.into())),
            Some(b'f') => Ok(self.literal(5, false.into())),
            Some(b'n') => Ok(self.literal(4, MessagePack::Nil)),
            Some(_) => self.number(),
            None => Err(damaged()),
        }
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
        self.text.as_bytes().get(self.at).copied()
    }

    /// Takes a byte, if it comes next.
    fn take(&mut self, byte: u8) -> bool {
        let next = self.peek() == Some(byte);
        self.at += usize::from(next);
        next
    }

    fn literal(&mut self, length: usize, value: MessagePack) -> MessagePack {
        self.at += length;
        value
    }

    fn token(&mut self, length: usize) -> &'a str {
        let token = &self.text[self.at..self.at + length];
        self.at += length;
        token
    }

    fn list(&mut self) -> Result<MessagePack> {
        let mut items = Vec::new();
        self.take(b'[');
        while !self.take(b']') {
            items.push(self.value()?);
            self.take(b',');
        }
        Ok(MessagePack::Array(items))
    }

    fn dict(&mut self) -> Result<MessagePack> {
        let (mut entries, mut places) = (Vec::new(), HashMap::new());
        self.take(b'{');
        while !self.take(b'}') {
            let name = self.text()?;
            self.take(b':');
            let value = self.value()?;
            match places.get(&name) {
                Some(place) => entries[*place] = (name.into(), value),
                None => {
                    places.insert(name.clone(), entries.len());
                    entries.push((name.into(), value));
                }
            }
            self.take(b',');
        }
        Ok(MessagePack::Map(entries))
    }

    fn text(&mut self) -> Result<String> {
        self.peek();
        let bytes = &self.text.as_bytes()[self.at..];
        let mut end = 1;
        while *bytes.get(end).ok_or_else(damaged)? != b'"' {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        serde_json::from_str(self.token(end + 1)).map_err(|_| damaged())
    }

    fn number(&mut self) -> Result<MessagePack> {
        let rest = &self.text[self.at..];
        let end = rest.find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'));
        let token = self.token(end.unwrap_or(rest.len()));
        let too_large = |what: &str| {
            Error::new(
                ErrorKind::InvalidValue,
                format!("the {what} {token} in the value is too large for the process protocol"),
            )
            .hint("push it as text")
        };
        if token.contains(['.', 'e', 'E']) {
            let value: f64 = token.parse().map_err(|_| damaged())?;
            return if value.is_finite() { Ok(value.into()) } else { Err(too_large("number")) };
        }
        if let Ok(value) = token.parse::<i64>() {
            return Ok(value.into());
        }
        token.parse::<u64>().map(MessagePack::from).map_err(|_| too_large("integer"))
    }
}

fn damaged() -> Error {
    Error::new(ErrorKind::InvalidValue, "the value's text is not JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(text: &str) -> String {
        let value = Value::parse(text.to_owned()).unwrap();
        to_json(&to_message_pack(&value).unwrap()).unwrap().as_str().to_owned()
    }

    #[test]
    fn values_come_back_as_they_were() {
        for text in [
            "null",
            "true",
            "[false]",
            r#""hé\u0000\"\\""#,
            "[]",
            "{}",
            r#"{"b":1,"a":[{"c":null}],"":0}"#,
            "[-9223372036854775808,18446744073709551615,9007199254740993]",
            "[1.0,-0.5,1e+300,0.1,5e-324]",
        ] {
            assert_eq!(round_trip(text), text);
        }
        assert_eq!(round_trip(" { \"a\" : [ 1 , 2.50 ,\n\t-0 ] } "), r#"{"a":[1,2.5,0]}"#);
        assert_eq!(round_trip(r#"{"a":1,"b":2,"a":3}"#), r#"{"a":3,"b":2}"#);
        assert_eq!(round_trip(r#""\ud83d\ude00 \/""#), "\"😀 /\"");
    }

    #[test]
    fn numbers_keep_their_kind() {
        let pack = |text: &str| to_message_pack(&Value::parse(text.to_owned()).unwrap());
        assert_eq!(pack("1").unwrap(), MessagePack::from(1));
        assert_eq!(pack("1.0").unwrap(), MessagePack::from(1.0));
        for text in ["18446744073709551616", "-9223372036854775809", "[1e999]"] {
            let error = pack(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidValue, "{text}");
            assert!(error.to_string().contains("too large for the process protocol"), "{error}");
        }
    }

    #[test]
    fn what_json_cannot_express_is_refused() {
        let refused = [
            MessagePack::Binary(vec![1]),
            MessagePack::Ext(-1, vec![0; 4]),
            MessagePack::F64(f64::NAN),
            MessagePack::F32(f32::INFINITY),
            MessagePack::Map(vec![(1.into(), 2.into())]),
        ];
        for value in refused {
            let error = to_json(&MessagePack::Array(vec![value.clone()])).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidValue, "{value}");
        }
    }

    #[test]
    fn the_deepest_value_fits() {
        let text = "[".repeat(128) + &"]".repeat(128);
        assert_eq!(round_trip(&text), text);
    }
}
