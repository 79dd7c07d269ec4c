//! Whether all values of one schema fit another, and if not, which do not.
//!
//! It knows what schemas of Rust types are made of. What it cannot decide it takes to fit.

use std::collections::HashSet;
use std::fmt;

use serde_json::{Map, Value};

use super::check::step;
use super::schema::{DEEPEST, Node, Schema, merge, types};

/// The formats of strings that a type reads, when it does not read any string.
const STRICT_FORMATS: [&str; 12] = [
    "date-time",
    "date",
    "time",
    "partial-date-time",
    "partial-time",
    "duration",
    "uuid",
    "uri",
    "ipv4",
    "ipv6",
    "ip",
    "semver",
];

/// Which values of a schema do not fit another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Misfit {
    pub(super) path: String,
    pub(super) why: String,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path, self.why)
    }
}

/// Which values of `from` do not fit `into`.
pub(super) fn misfits(from: &Schema, into: &Schema) -> Vec<Misfit> {
    if from == into {
        return Vec::new();
    }
    let mut fit = Fit { open: Vec::new(), fitting: HashSet::new(), found: Vec::new() };
    fit.node(from.root(), into.root(), "$", 0);
    fit.found
}

struct Fit {
    /// Pairs with references that are being compared, each with its place.
    open: Vec<((String, String), String)>,
    /// Pairs that were compared and fit, so that types which many fields have are compared once.
    fitting: HashSet<(String, String)>,
    found: Vec<Misfit>,
}

impl Fit {
    fn misfit(&mut self, path: &str, why: impl Into<String>) {
        let misfit = Misfit { path: path.to_owned(), why: why.into() };
        if !self.found.contains(&misfit) {
            self.found.push(misfit);
        }
    }

    /// It may be what the other is not.
    fn other(&mut self, from: Node<'_>, into: Node<'_>, path: &str) {
        self.misfit(path, format!("may be {}, where {} is read", from.describe(1), into.describe(1)));
    }

    fn fits(&mut self, from: Node<'_>, into: Node<'_>, path: &str, depth: usize) -> bool {
        let found = std::mem::take(&mut self.found);
        self.node(from, into, path, depth);
        std::mem::replace(&mut self.found, found).is_empty()
    }

    fn node(&mut self, from: Node<'_>, into: Node<'_>, path: &str, depth: usize) {
        if depth > DEEPEST || into.is_anything() || from.is_anything() || *from.schema == Value::Bool(false) {
            return;
        }
        if *into.schema == Value::Bool(false) {
            return self.misfit(path, "is not accepted");
        }
        if from.get("$ref").is_none() && into.get("$ref").is_none() {
            return self.compare(from, into, path, depth);
        }
        let pair = (from.schema.to_string(), into.schema.to_string());
        if self.fitting.contains(&pair) {
            return;
        }
        match self.open.iter().rev().find(|(open, _)| *open == pair) {
            None => {
                let before = self.found.len();
                self.open.push((pair, path.to_owned()));
                self.compare(from, into, path, depth);
                let pair = self.open.pop().map(|(pair, _)| pair);
                if self.found.len() == before {
                    self.fitting.extend(pair);
                }
            }
            // What is read is one of itself, which proves nothing: another alternative must be read.
            Some((_, place)) if place == path && from.get("$ref").is_none() => self.other(from, into, path),
            // A recursive type fits when nothing else in it says otherwise.
            Some(_) => {}
        }
    }

    fn compare(&mut self, from: Node<'_>, into: Node<'_>, path: &str, depth: usize) {
        let flat = from.flat();
        let several = alternatives(&flat);
        if !several.is_empty() {
            for one in several {
                self.node(from.part(&one), into, path, depth + 1);
            }
            return;
        }
        let parts: Vec<Node<'_>> = into.referred().into_iter().chain(into.parts("allOf")).collect();
        let flat = Value::Object(flat);
        let from = from.part(&flat);
        for part in parts {
            self.node(from, part, path, depth + 1);
        }
        for keyword in ["anyOf", "oneOf"] {
            self.one_of(from, into, keyword, path, depth);
        }
        self.own(from, into, path, depth);
    }

    /// It must fit one of them; when it nearly fits one, that one tells why it does not.
    fn one_of(&mut self, from: Node<'_>, into: Node<'_>, keyword: &str, path: &str, depth: usize) {
        let parts: Vec<Node<'_>> = into.parts(keyword).collect();
        if parts.is_empty() || parts.iter().any(|part| self.fits(from, *part, path, depth + 1)) {
            return;
        }
        let near: Vec<Node<'_>> = parts.into_iter().filter(|part| is_alike(from, *part)).collect();
        match near.as_slice() {
            [only] => self.node(from, *only, path, depth + 1),
            _ => self.other(from, into, path),
        }
    }

    /// The keywords of `into` itself.
    fn own(&mut self, from: Node<'_>, into: Node<'_>, path: &str, depth: usize) {
        let values: Option<Vec<&Value>> = match (from.get("const"), from.get("enum")) {
            (Some(only), _) => Some(vec![only]),
            (None, Some(Value::Array(values))) => Some(values.iter().collect()),
            _ => None,
        };
        if let Some(values) = values {
            let own = own_keywords(into);
            for value in values {
                if Schema::canonical(own.clone()).check(value).is_err() {
                    self.misfit(path, format!("may be {value}, where {} is read", into.describe(1)));
                }
            }
            return;
        }
        if into.get("const").is_some() || into.get("enum").is_some() {
            return self.misfit(
                path,
                format!("may be any {}, where {} is read", from.describe(1), into.describe(1)),
            );
        }
        if into.get("not").is_some() && into.get("not") != from.get("not") {
            self.misfit(
                path,
                format!("may be {}, which is not read", into.part(&into.schema["not"]).describe(1)),
            );
        }
        let (given, read) = (from.types(), into.types());
        if !read.is_empty() {
            let accepted = |ty: &str| read.contains(&ty) || (ty == "integer" && read.contains(&"number"));
            match given.as_slice() {
                [] => {}
                [ty] if accepted(ty) => {}
                _ => {
                    return self.other(from, into, path);
                }
            }
        }
        match given.first().copied() {
            Some("object") => self.object(from, into, path, depth),
            Some("array") => self.array(from, into, path, depth),
            Some("string") => self.string(from, into, path),
            Some("integer") => self.integer(from, into, path),
            Some("number") => self.number(from, into, path),
            _ => {}
        }
    }

    fn object(&mut self, from: Node<'_>, into: Node<'_>, path: &str, depth: usize) {
        let map = |node: Node<'_>, keyword: &str| {
            node.get(keyword).and_then(Value::as_object).cloned().unwrap_or_default()
        };
        let (given, read) = (map(from, "properties"), map(into, "properties"));
        let always = names(from);
        for name in names(into) {
            if !always.contains(&name) {
                self.misfit(&format!("{path}{}", step(name)), "may be missing, where it is required");
            }
        }
        let given_rest = rest(from);
        let read_rest = rest(into);
        for (name, of) in &given {
            let path = format!("{path}{}", step(name));
            match read.get(name).or(read_rest) {
                Some(Value::Bool(false)) => self.misfit(&path, "may be there, where no such name is read"),
                Some(wanted) => self.node(from.part(of), into.part(wanted), &path, depth + 1),
                None => {}
            }
        }
        let Some(of) = given_rest.filter(|of| of.is_object()) else { return };
        let any = format!("{path}[*]");
        for (_, wanted) in read.iter().filter(|(name, _)| !given.contains_key(*name)) {
            self.node(from.part(of), into.part(wanted), &any, depth + 1);
        }
        match read_rest {
            Some(Value::Bool(false)) => self.misfit(&any, "may be there, where no such name is read"),
            Some(wanted) => self.node(from.part(of), into.part(wanted), &any, depth + 1),
            None => {}
        }
        // Names that are integers where only such are read.
        let known = map(from, "patternProperties");
        if let Some(pattern) = map(into, "patternProperties").keys().find(|pattern| !covers(pattern, &known))
        {
            self.misfit(path, format!("may have any names, where only names like {pattern} are read"));
        }
    }

    fn array(&mut self, from: Node<'_>, into: Node<'_>, path: &str, depth: usize) {
        let count = |node: Node<'_>, keyword: &str| node.get(keyword).and_then(Value::as_u64);
        if let Some(least) = count(into, "minItems").filter(|least| *least > 0)
            && count(from, "minItems").is_none_or(|given| given < least)
        {
            self.misfit(path, format!("may have fewer elements than {least}"));
        }
        if let Some(most) = count(into, "maxItems")
            && count(from, "maxItems").is_none_or(|given| given > most)
        {
            self.misfit(path, format!("may have more elements than {most}"));
        }
        let list =
            |node: Node<'_>| node.get("prefixItems").and_then(Value::as_array).cloned().unwrap_or_default();
        let (given, read) = (list(from), list(into));
        let (given_rest, read_rest) = (from.get("items"), into.get("items"));
        for index in 0..given.len().max(read.len()) {
            if let (Some(of), Some(wanted)) = (given.get(index).or(given_rest), read.get(index).or(read_rest))
            {
                self.node(from.part(of), into.part(wanted), &format!("{path}[{index}]"), depth + 1);
            }
        }
        if let (Some(of), Some(wanted)) = (given_rest, read_rest) {
            self.node(from.part(of), into.part(wanted), &format!("{path}[]"), depth + 1);
        }
    }

    fn string(&mut self, from: Node<'_>, into: Node<'_>, path: &str) {
        let count = |node: Node<'_>, keyword: &str| node.get(keyword).and_then(Value::as_u64);
        let shorter = count(into, "minLength")
            .is_some_and(|least| count(from, "minLength").is_none_or(|given| given < least));
        let longer = count(into, "maxLength")
            .is_some_and(|most| count(from, "maxLength").is_none_or(|given| given > most));
        let format = into.get("format").and_then(Value::as_str).filter(|f| STRICT_FORMATS.contains(f));
        let other = format.is_some() && into.get("format") != from.get("format");
        let pattern = into.get("pattern").is_some() && into.get("pattern") != from.get("pattern");
        if shorter || longer {
            self.misfit(path, "may be a string of another length than is read");
        }
        if other || pattern {
            self.misfit(path, format!("may be any {}, where {} is read", from.describe(1), into.describe(1)));
        }
    }

    fn integer(&mut self, from: Node<'_>, into: Node<'_>, path: &str) {
        let below = into.least().is_some_and(|least| from.least().is_none_or(|given| given < least));
        let above = into.most().is_some_and(|most| from.most().is_none_or(|given| given > most));
        if below || above {
            self.other(from, into, path);
        }
    }

    fn number(&mut self, from: Node<'_>, into: Node<'_>, path: &str) {
        let bound = |node: Node<'_>, keyword: &str| node.get(keyword).and_then(Value::as_f64);
        let lower = |keyword: &str| {
            bound(into, keyword).is_some_and(|least| bound(from, keyword).is_none_or(|given| given < least))
        };
        let upper = |keyword: &str| {
            bound(into, keyword).is_some_and(|most| bound(from, keyword).is_none_or(|given| given > most))
        };
        if lower("minimum") || lower("exclusiveMinimum") || upper("maximum") || upper("exclusiveMaximum") {
            self.misfit(path, "may be outside of the bounds that are read");
        }
    }
}

/// The keywords that are at the place itself.
fn own_keywords(node: Node<'_>) -> Value {
    let mut own = node.schema.clone();
    if let Value::Object(map) = &mut own {
        for name in ["$ref", "$defs", "allOf", "anyOf", "oneOf"] {
            map.shift_remove(name);
        }
    }
    own
}

/// What a flat schema is one of: its alternatives, or its types.
fn alternatives(flat: &Map<String, Value>) -> Vec<Value> {
    let without = |names: &[&str]| -> Map<String, Value> {
        flat.iter()
            .filter(|(name, _)| !names.contains(&name.as_str()))
            .map(|(n, v)| (n.clone(), v.clone()))
            .collect()
    };
    for keyword in ["anyOf", "oneOf"] {
        if let Some(Value::Array(several)) = flat.get(keyword) {
            let rest = without(&[keyword]);
            let combined = several.iter().map(|one| {
                let mut all = rest.clone();
                match one {
                    Value::Object(one) => one.iter().for_each(|(name, value)| combine(&mut all, name, value)),
                    other => return other.clone(),
                }
                Value::Object(all)
            });
            return combined.collect();
        }
    }
    if let Some(Value::Array(values)) = flat.get("enum") {
        return values.iter().map(|value| serde_json::json!({ "const": value })).collect();
    }
    let several = types(flat.get("type"));
    if several.len() < 2 {
        return Vec::new();
    }
    let one = |ty: &str| {
        let mut rest = without(&["type"]);
        rest.insert("type".into(), ty.into());
        Value::Object(rest)
    };
    several.into_iter().map(one).collect()
}

/// Adds a keyword of an alternative to what counts for all alternatives.
fn combine(all: &mut Map<String, Value>, name: &str, value: &Value) {
    match (all.get(name), name) {
        (Some(_), "type") => drop(all.insert(name.into(), value.clone())),
        _ => merge(all, name, value),
    }
}

/// Whether two are of one type and, when both are marked by a constant under a name, of one mark.
fn is_alike(from: Node<'_>, into: Node<'_>) -> bool {
    let flat = Value::Object(into.flat());
    let into = into.part(&flat);
    if !into.types().iter().any(|ty| from.types().contains(ty)) {
        return false;
    }
    let properties =
        |node: Node<'_>| node.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    let (given, read) = (properties(from), properties(into));
    let mark = |of: Option<&Value>| of.and_then(|of| of.get("const")).cloned();
    let marks = read.iter().filter_map(|(name, of)| Some((given.get(name), mark(Some(of))?)));
    let mut alike = true;
    for (of, wanted) in marks {
        alike &= mark(of) == Some(wanted);
    }
    // An enum that serde tags from outside has the variant's name as its only property.
    let closed = into.get("additionalProperties") == Some(&Value::Bool(false)) && read.len() == 1;
    alike && (!closed || read.keys().all(|name| given.contains_key(name)))
}

fn names(node: Node<'_>) -> Vec<&str> {
    node.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

/// What is said about names that are not listed.
fn rest(node: Node<'_>) -> Option<&Value> {
    let patterns = node.get("patternProperties").and_then(Value::as_object);
    patterns.and_then(|patterns| patterns.values().next()).or_else(|| node.get("additionalProperties"))
}

/// Whether names of the patterns are names of another.
fn covers(pattern: &str, known: &Map<String, Value>) -> bool {
    !known.is_empty()
        && known.keys().all(|given| given == pattern || (pattern == r"^-?\d+$" && given == r"^\d+$"))
}
