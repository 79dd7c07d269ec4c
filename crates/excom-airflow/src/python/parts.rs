//! JSON text a level at a time: what is inside a list or dict stays text until somebody asks for it, with the order of
//! names and the digits of numbers.

use std::fmt;

use serde::de::{Deserializer as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// One level of a value.
pub(crate) enum Parts<'a> {
    /// What has no elements, as it is written.
    Scalar(&'a str),
    List(Vec<&'a RawValue>),
    Dict(Vec<(String, &'a RawValue)>),
}

impl<'a> Parts<'a> {
    /// The uppermost level; none where a name cannot be read.
    pub(crate) fn of(raw: &'a RawValue) -> Option<Self> {
        let text = raw.get();
        if !text.starts_with(['[', '{']) {
            return Some(Self::Scalar(text));
        }
        serde_json::Deserializer::from_str(text).deserialize_any(Taken).ok()
    }
}

/// What a dict has under a name: of one that occurs twice the last, as in Python.
pub(super) fn last<'a>(entries: &[(String, &'a RawValue)], name: &str) -> Option<&'a RawValue> {
    entries.iter().rev().find(|(known, _)| known == name).map(|(_, raw)| *raw)
}

struct Taken;

impl<'de> Visitor<'de> for Taken {
    type Value = Parts<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list or a dict")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Parts<'de>, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element()? {
            elements.push(element);
        }
        Ok(Parts::List(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parts<'de>, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Parts::Dict(entries))
    }
}
