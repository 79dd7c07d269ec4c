//! JSON Schemas (draft 2020-12) as contracts have them: only what values must be like, in one order, so that equal
//! types give equal text.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Keywords that say nothing about values.
const ANNOTATIONS: [&str; 9] =
    ["$schema", "$id", "$comment", "title", "description", "examples", "default", "readOnly", "writeOnly"];

/// The keyword that names a Rust type without a schema.
const RUST_TYPE: &str = "x-rust-type";

/// How deep schemas are nested at most, as all JSON that Excom reads.
pub(super) const DEEPEST: usize = excom_core::json::MAX_DEPTH;

/// What a value must be like: a JSON Schema.
///
/// It prints as a short description.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Value")]
pub struct Schema(Value);

impl From<Value> for Schema {
    fn from(schema: Value) -> Self {
        Self::canonical(schema)
    }
}

impl Schema {
    /// The schema that accepts anything.
    pub fn anything() -> Self {
        Self(Value::Bool(true))
    }

    pub(super) fn unknown(name: &str) -> Self {
        Self(json!({ RUST_TYPE: name }))
    }

    /// Without what says nothing about values, its keys and lists of names sorted.
    pub(super) fn canonical(mut schema: Value) -> Self {
        canonical(&mut schema, 0);
        schema.sort_all_objects();
        Self(schema)
    }

    /// As JSON.
    pub fn as_json(&self) -> &Value {
        &self.0
    }

    /// Whether it accepts everything, so that nothing can be told about values.
    pub fn is_anything(&self) -> bool {
        self.root().is_anything()
    }

    /// Whether null is all that it accepts: what a task that returns nothing gives.
    pub(super) fn is_null(&self) -> bool {
        self.0.get("type").is_some_and(|ty| ty == "null")
    }

    /// The schema of a list whose elements are of this one.
    pub(super) fn list(&self) -> Self {
        let mut element = self.0.clone();
        let defs = element.as_object_mut().and_then(|element| element.remove("$defs"));
        Self::with_defs(json!({ "type": "array", "items": element }), defs)
    }

    /// The schema of the elements: of a list, or the pairs of a dict.
    pub(super) fn element(&self) -> Self {
        let whole = self.root().flat();
        if let Some(items) = whole.get("items") {
            return Self::with_defs(items.clone(), self.0.get("$defs").cloned());
        }
        let pairs = |value: &Value| {
            let pair = json!({ "type": "array", "prefixItems": [{ "type": "string" }, value],
                               "minItems": 2, "maxItems": 2 });
            Self::with_defs(pair, self.0.get("$defs").cloned())
        };
        match whole.get("additionalProperties") {
            Some(value @ Value::Object(_)) => pairs(value),
            _ => Self::anything(),
        }
    }

    /// The schemas of a dict's entries that have names.
    pub(super) fn properties(&self) -> Vec<(String, Self)> {
        let whole = self.root().flat();
        let Some(Value::Object(properties)) = whole.get("properties") else { return Vec::new() };
        let defs = self.0.get("$defs");
        properties
            .iter()
            .map(|(name, of)| (name.clone(), Self::with_defs(of.clone(), defs.cloned())))
            .collect()
    }

    fn with_defs(mut schema: Value, defs: Option<Value>) -> Self {
        if let (Some(defs), Value::Object(map)) = (defs, &mut schema) {
            map.insert("$defs".into(), defs);
        }
        Self::canonical(schema)
    }

    pub(super) fn root(&self) -> Node<'_> {
        Node { schema: &self.0, root: &self.0 }
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.root().describe(2))
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn canonical(schema: &mut Value, depth: usize) {
    let Value::Object(map) = schema else { return };
    if depth > DEEPEST {
        return;
    }
    for name in ANNOTATIONS {
        map.shift_remove(name);
    }
    for (name, value) in map.iter_mut() {
        match (name.as_str(), value) {
            ("properties" | "patternProperties" | "$defs", Value::Object(named)) => {
                named.values_mut().for_each(|of| canonical(of, depth + 1));
            }
            ("anyOf" | "oneOf" | "allOf" | "prefixItems", Value::Array(several)) => {
                several.iter_mut().for_each(|of| canonical(of, depth + 1));
            }
            ("items" | "additionalProperties" | "not", of) => canonical(of, depth + 1),
            ("required" | "type" | "enum", Value::Array(names)) => {
                names.sort_by_cached_key(ToString::to_string);
            }
            _ => {}
        }
    }
}

/// A part of a schema, with the whole, in which references are looked up.
#[derive(Clone, Copy)]
pub(super) struct Node<'a> {
    pub(super) schema: &'a Value,
    root: &'a Value,
}

impl<'a> Node<'a> {
    pub(super) fn part(self, schema: &'a Value) -> Self {
        Self { schema, ..self }
    }

    pub(super) fn get(self, keyword: &str) -> Option<&'a Value> {
        self.schema.get(keyword)
    }

    /// The parts in a list under a keyword.
    pub(super) fn parts(self, keyword: &str) -> impl Iterator<Item = Node<'a>> {
        let parts = self.get(keyword).and_then(Value::as_array);
        parts.into_iter().flatten().map(move |schema| self.part(schema))
    }

    /// What `$ref` names.
    pub(super) fn referred(self) -> Option<Node<'a>> {
        let name = self.get("$ref")?.as_str()?.strip_prefix('#')?;
        self.root.pointer(name).map(|schema| self.part(schema))
    }

    pub(super) fn is_anything(self) -> bool {
        match self.schema {
            Value::Object(map) => map.keys().all(|name| name == RUST_TYPE || name == "$defs"),
            schema => *schema == Value::Bool(true),
        }
    }

    pub(super) fn types(self) -> Vec<&'a str> {
        types(self.get("type"))
    }

    /// All that counts at this place: its own keywords, those of what it refers to, and of `allOf`.
    pub(super) fn flat(self) -> Map<String, Value> {
        let mut flat = Map::new();
        self.flatten(&mut flat, &mut Vec::new());
        flat
    }

    fn flatten(self, flat: &mut Map<String, Value>, seen: &mut Vec<&'a Value>) {
        // What refers to itself says nothing new the second time.
        if let Some(name) = self.get("$ref") {
            if seen.contains(&name) {
                return;
            }
            seen.push(name);
        }
        let Value::Object(own) = self.schema else { return };
        for (name, value) in own {
            match name.as_str() {
                "$ref" | "allOf" | "$defs" => {}
                _ => merge(flat, name, value),
            }
        }
        for part in self.referred().into_iter().chain(self.parts("allOf")) {
            part.flatten(flat, seen);
        }
    }

    /// In few words.
    pub(super) fn describe(self, depth: usize) -> String {
        if let Some(name) = self.get(RUST_TYPE).and_then(Value::as_str) {
            return format!("anything (`{name}`)");
        }
        if self.is_anything() {
            return "anything".into();
        }
        let flat = Value::Object(self.flat());
        let node = Node { schema: &flat, root: self.root };
        let alternatives: Vec<String> = match (node.get("const"), node.get("enum")) {
            (Some(only), _) => vec![only.to_string()],
            (None, Some(Value::Array(values))) => values.iter().map(Value::to_string).collect(),
            _ if depth == 0 && (node.get("anyOf").is_some() || node.get("oneOf").is_some()) => {
                vec!["…".into()]
            }
            _ => {
                let several: BTreeSet<String> = node
                    .parts("anyOf")
                    .chain(node.parts("oneOf"))
                    .map(|part| part.describe(depth.saturating_sub(1)))
                    .collect();
                if several.is_empty() {
                    node.types().into_iter().map(|ty| node.describe_type(ty, depth)).collect()
                } else {
                    several.into_iter().collect()
                }
            }
        };
        let (null, mut others): (Vec<String>, Vec<String>) =
            alternatives.into_iter().partition(|one| one == "null");
        if others.len() > 6 {
            others.truncate(5);
            others.push("…".into());
        }
        others.extend(null);
        if others.is_empty() { "a restricted value".into() } else { others.join(" or ") }
    }

    fn describe_type(self, ty: &str, depth: usize) -> String {
        let inside = |schema: &Value| {
            if depth == 0 { "…".to_owned() } else { Node { schema, root: self.root }.describe(depth - 1) }
        };
        match ty {
            "array" => match (self.get("prefixItems").and_then(Value::as_array), self.get("items")) {
                (Some(items), _) => {
                    format!("[{}]", items.iter().map(inside).collect::<Vec<_>>().join(", "))
                }
                (None, Some(items)) => format!("[{}]", inside(items)),
                (None, None) => "list".into(),
            },
            "object" => match (self.get("properties"), self.get("additionalProperties")) {
                (Some(Value::Object(properties)), _) if !properties.is_empty() => {
                    let names: Vec<&str> = properties.keys().map(String::as_str).collect();
                    format!("{{{}}}", names.join(", "))
                }
                (_, Some(value @ Value::Object(_))) => format!("dict of {}", inside(value)),
                _ => "dict".into(),
            },
            "integer" => match (self.least(), self.most()) {
                (
                    Some(i128::MIN..=-9_223_372_036_854_775_808),
                    Some(i128::MAX | 9_223_372_036_854_775_807),
                ) => "integer".into(),
                (Some(0), Some(most)) if most > i128::from(u32::MAX) => "integer from 0".into(),
                (Some(least), Some(most)) => format!("integer {least} to {most}"),
                (Some(least), None) => format!("integer from {least}"),
                (None, Some(most)) => format!("integer up to {most}"),
                (None, None) => "integer".into(),
            },
            "string" => match self.get("format").and_then(Value::as_str) {
                Some(format) => format!("string ({format})"),
                None => "string".into(),
            },
            other => other.into(),
        }
    }

    /// The least integer, by its bound and its format.
    pub(super) fn least(self) -> Option<i128> {
        let bound = self.get("minimum").and_then(integer);
        bound.into_iter().chain(self.range().map(|(least, _)| least)).max()
    }

    /// The greatest integer, by its bound and its format.
    pub(super) fn most(self) -> Option<i128> {
        let bound = self.get("maximum").and_then(integer);
        bound.into_iter().chain(self.range().map(|(_, most)| most)).min()
    }

    /// What the integer type that the format names can hold.
    fn range(self) -> Option<(i128, i128)> {
        Some(match self.get("format")?.as_str()? {
            "int8" => (i8::MIN.into(), i8::MAX.into()),
            "int16" => (i16::MIN.into(), i16::MAX.into()),
            "int32" => (i32::MIN.into(), i32::MAX.into()),
            // A program for another machine may have other sizes; values are exchanged as 64 bits.
            "int64" | "int" => (i64::MIN.into(), i64::MAX.into()),
            "uint8" => (0, u8::MAX.into()),
            "uint16" => (0, u16::MAX.into()),
            "uint32" => (0, u32::MAX.into()),
            "uint64" | "uint" => (0, u64::MAX.into()),
            "int128" => (i128::MIN, i128::MAX),
            "uint128" => (0, i128::MAX),
            _ => return None,
        })
    }
}

/// The names of `type`, which has one or several.
pub(super) fn types(ty: Option<&Value>) -> Vec<&str> {
    match ty {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn integer(bound: &Value) -> Option<i128> {
    bound.as_i64().map(i128::from).or_else(|| bound.as_u64().map(i128::from))
}

/// Adds a keyword to others that count at the same place.
pub(super) fn merge(flat: &mut Map<String, Value>, name: &str, value: &Value) {
    match (flat.get_mut(name), value) {
        (Some(Value::Object(into)), Value::Object(more)) if name == "properties" => {
            for (property, of) in more {
                match into.get_mut(property) {
                    Some(known) if known != of => *known = json!({ "allOf": [known.take(), of] }),
                    Some(_) => {}
                    None => drop(into.insert(property.clone(), of.clone())),
                }
            }
        }
        (Some(Value::Array(into)), Value::Array(more)) if name == "required" => {
            let new: Vec<Value> = more.iter().filter(|name| !into.contains(name)).cloned().collect();
            into.extend(new);
        }
        (Some(_), _) => {}
        (None, _) => drop(flat.insert(name.to_owned(), value.clone())),
    }
}
