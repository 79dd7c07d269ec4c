//! Why a value does not fit a Rust type: where in the value, what was expected there, what was found.
//!
//! Only a pull that has failed comes here. The value is read once more, with its path noted on the way,
//! and the words of the deserializer become a sentence about JSON: `$.rows[3].price: expected a number,
//! found "n/a"`. What has no such sentence keeps the words that it has.

use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_path_to_error::{Path, Segment, Track};

use crate::{Error, ErrorKind, Value};

/// How much of the JSON that was found is shown, in characters.
const SHOWN: usize = 60;

/// How much of words that are kept as they are, which may hold any text of the value.
const TOLD: usize = 240;

/// The error of a value that failed to become a `T`, with the deserializer's own error.
pub(crate) fn explain<T: DeserializeOwned>(value: &Value, error: serde_json::Error) -> Error {
    let (path, error) = locate::<T>(value.bytes(), error);
    let text = error.to_string();
    // The position is in the text as it was pushed, which nobody sees; the path says where.
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(before, _)| before);
    let steps = steps(&path);
    // A path may lead into what is no part of the JSON text, such as the variant that a string names.
    let (steps, found) = (0..=steps.len())
        .rev()
        .find_map(|end| Some((&steps[..end], find(value.bytes(), &steps[..end])?)))
        .unwrap_or((&[], value.as_str()));
    let sentence = if value.is_secret() { redacted(text, found) } else { sentence(text, found) };
    Error::new(
        ErrorKind::InvalidValue,
        format!(
            "the value does not fit the type {}: {}: {sentence}",
            short_name(std::any::type_name::<T>()),
            Place(steps),
        ),
    )
    .hint(format!("the value is a {}: {}", value.shape(), value.preview()))
}

/// Reads the value again, and tells where it stopped.
fn locate<T: DeserializeOwned>(bytes: &[u8], error: serde_json::Error) -> (Path, serde_json::Error) {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    json.disable_recursion_limit();
    let mut track = Track::new();
    let again = T::deserialize(serde_path_to_error::Deserializer::new(&mut json, &mut track));
    // A type whose reading depends on more than the value may succeed this time: the first error counts.
    (track.path(), again.err().unwrap_or(error))
}

/// A step from a value to one inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Name(String),
    Index(usize),
}

fn steps(path: &Path) -> Vec<Step> {
    path.iter()
        .map_while(|segment| match segment {
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Map { key } => Some(Step::Name(key.clone())),
            // A variant that holds something is a dict with one name.
            Segment::Enum { variant } => Some(Step::Name(variant.clone())),
            Segment::Unknown => None,
        })
        .collect()
}

/// A path as JSONPath (RFC 9535) writes it.
struct Place<'a>(&'a [Step]);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("$")?;
        self.0.iter().try_for_each(|step| match step {
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Name(name) if is_plain(name) => write!(f, ".{name}"),
            Step::Name(name) => write!(f, "['{}']", name.escape_debug().to_string().replace("\\\"", "\"")),
        })
    }
}

/// Whether a name needs no quotes in a path.
fn is_plain(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_alphabetic() || c == '_')
        && chars.all(|c| c.is_alphanumeric() || c == '_')
}

/// The JSON text that a path leads to.
fn find<'a>(bytes: &'a [u8], steps: &[Step]) -> Option<&'a str> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    json.disable_recursion_limit();
    Seek(steps).deserialize(&mut json).ok().flatten().map(RawValue::get)
}

/// Follows a path without keeping what it passes.
struct Seek<'a>(&'a [Step]);

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if self.0.is_empty() {
            return serde::Deserialize::deserialize(deserializer).map(Some);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list or a dict")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            match self.0 {
                [Step::Name(name), rest @ ..] if *name == key && found.is_none() => {
                    found = map.next_value_seed(Seek(rest))?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let [Step::Index(index), rest @ ..] = self.0 else {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(None);
        };
        for _ in 0..*index {
            if list.next_element::<IgnoredAny>()?.is_none() {
                return Ok(None);
            }
        }
        let found = list.next_element_seed(Seek(rest))?.flatten();
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(found)
    }
}

/// What the deserializer said, as a sentence about JSON.
fn sentence(text: &str, found: &str) -> String {
    let shown = shorten(found, SHOWN);
    if let Some(name) = text.strip_prefix("missing field ") {
        return format!("{name} is missing in {shown}");
    }
    match told(text) {
        Some(("invalid length ", (length, expected))) => {
            format!("expected {}, found one with {length}: {shown}", plain(expected, false))
        }
        Some(("unknown variant ", (_, expected))) => format!("expected {expected}, found {shown}"),
        Some((_, (unexpected, expected))) => {
            let expected = plain(expected, unexpected.starts_with("integer "));
            if is_of_kind(found, unexpected) {
                format!("expected {expected}, found {shown}")
            } else {
                // Types that read a whole dict before they look into it do not say where it was.
                let unexpected = shorten(unexpected, SHOWN);
                format!("expected {expected}, found {unexpected} somewhere in {shown}")
            }
        }
        None => format!("{}; it is {shown}", shorten(text, TOLD)),
    }
}

/// The same of a secret: what was expected, and only the kind of what was found.
fn redacted(text: &str, found: &str) -> String {
    if let Some(name) = text.strip_prefix("missing field ") {
        return format!("{name} is missing");
    }
    let kind = match found.bytes().next() {
        Some(b'"') => "a string",
        Some(b'{') => "a dict",
        Some(b'[') => "a list",
        Some(b'n') => "null",
        Some(b't' | b'f') => "a boolean",
        _ => "a number",
    };
    match told(text) {
        Some(("invalid length ", (length, expected))) => {
            format!("expected {}, found one with {length}", plain(expected, false))
        }
        Some(("unknown variant ", (_, expected))) => format!("expected {expected}, found another"),
        Some((_, (unexpected, expected))) => {
            let expected = plain(expected, unexpected.starts_with("integer "));
            format!("expected {expected}, found {kind}")
        }
        // Words of a type's own may hold any text of the value.
        None => format!("the type does not take {kind} like this one"),
    }
}

/// The parts of what the deserializer said: which trouble, what it came upon, what it expected.
fn told(text: &str) -> Option<(&'static str, (&str, &str))> {
    ["invalid type: ", "invalid value: ", "invalid length ", "unknown variant "]
        .into_iter()
        .find_map(|prefix| Some((prefix, text.strip_prefix(prefix)?.rsplit_once(", expected ")?)))
}

/// Whether JSON text is what the deserializer says that it came upon.
fn is_of_kind(json: &str, unexpected: &str) -> bool {
    let kind = unexpected.split([' ', '`']).next().unwrap_or_default();
    match json.bytes().next() {
        Some(b'"') => matches!(kind, "string" | "character"),
        Some(b'{') => kind == "map",
        Some(b'[') => kind == "sequence",
        Some(b'n') => matches!(kind, "null" | "unit" | "Option"),
        Some(b't' | b'f') => kind == "boolean",
        Some(_) => matches!(kind, "integer" | "floating" | "number"),
        None => false,
    }
}

/// What a type expects, in JSON's words. A number that is out of range is told the range.
fn plain(expected: &str, whole: bool) -> String {
    let range = |from: &dyn fmt::Display, to: &dyn fmt::Display| match whole {
        true => format!("a whole number from {from} to {to}"),
        false => "a whole number".to_owned(),
    };
    match expected {
        "f32" | "f64" => "a number".to_owned(),
        "i8" => range(&i8::MIN, &i8::MAX),
        "i16" => range(&i16::MIN, &i16::MAX),
        "i32" => range(&i32::MIN, &i32::MAX),
        "i64" | "isize" => range(&i64::MIN, &i64::MAX),
        "i128" => range(&i128::MIN, &i128::MAX),
        "u8" => range(&u8::MIN, &u8::MAX),
        "u16" => range(&u16::MIN, &u16::MAX),
        "u32" => range(&u32::MIN, &u32::MAX),
        "u64" | "usize" => range(&u64::MIN, &u64::MAX),
        "u128" => range(&u128::MIN, &u128::MAX),
        "a borrowed string" => "a string".to_owned(),
        "a character" => "a string with one character".to_owned(),
        "unit" => "null".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a dict".to_owned(),
        other => {
            if let Some(size) = other.strip_prefix("a tuple of size ") {
                return format!("a list with {size} elements");
            }
            let counted = other.strip_suffix(" elements").and_then(|other| other.rsplit_once(" with "));
            if let Some((what, size)) = counted {
                let name = what.rsplit_once(' ').map_or(what, |(_, name)| name);
                return format!("a list with {size} elements ({name})");
            }
            match other.strip_prefix("struct ") {
                Some(name) if !name.contains(' ') => format!("a dict ({name})"),
                _ => other.to_owned(),
            }
        }
    }
}

/// The beginning of a text, on one line.
fn shorten(text: &str, limit: usize) -> String {
    let mut shown = String::new();
    let mut length = 0;
    // Line breaks are always outside of JSON's strings, and so is what a line is indented with.
    for (n, line) in text.lines().map(str::trim).enumerate() {
        for c in (n > 0).then_some(' ').into_iter().chain(line.chars()) {
            if length == limit {
                return shown + "…";
            }
            shown.push(c);
            length += 1;
        }
    }
    shown
}

/// A type's name without the modules that it is in.
fn short_name(name: &str) -> String {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    name.split_inclusive(|c| !is_word(c))
        .map(|word| word.rsplit_once("::").map_or(word, |(_, last)| last))
        .collect()
}

#[cfg(test)]
mod tests;
