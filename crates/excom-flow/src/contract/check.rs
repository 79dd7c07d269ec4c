//! Whether a value is what a schema says, and if not, where.

use std::fmt;

use excom_core::value::secret::REDACTED;
use serde_json::Value;

use super::schema::{Node, Schema};

/// Where a value is not what its schema says.
///
/// ```
/// # extern crate excom_flow as excom;
/// use excom::contract::TypeSchema;
///
/// let schema = TypeSchema::of::<Vec<u64>>().written();
/// let mismatch = schema.check(&serde_json::json!([1, "n/a"])).unwrap_err();
/// assert_eq!(mismatch.to_string(), r#"$[1]: expected integer from 0, found "n/a""#);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    path: String,
    expected: String,
    found: String,
    /// How deep it is, and whether it is the mark by which alternatives are told apart.
    depth: usize,
    mark: bool,
}

impl Mismatch {
    /// The same of a secret, without what was found.
    pub(super) fn redacted(self) -> Self {
        Self { found: REDACTED.to_owned(), ..self }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, found {}", self.path, self.expected, self.found)
    }
}

impl std::error::Error for Mismatch {}

impl Schema {
    /// Checks a value.
    ///
    /// What `format` and `pattern` say about strings is not checked, but the patterns of integers as names are.
    ///
    /// # Errors
    /// Where the value is not what the schema says, first in the order of the schema.
    pub fn check(&self, value: &Value) -> Result<(), Mismatch> {
        check(self.root(), value, &Place { above: None, step: Step::Root }, None)
    }
}

/// A place in a value, known by the way to it.
struct Place<'a> {
    above: Option<&'a Place<'a>>,
    step: Step<'a>,
}

enum Step<'a> {
    Root,
    Name(&'a str),
    Index(usize),
}

impl Place<'_> {
    fn depth(&self) -> usize {
        self.above.map_or(0, |above| above.depth() + 1)
    }

    fn below<'a>(&'a self, step: Step<'a>) -> Place<'a> {
        Place { above: Some(self), step }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(above) = self.above {
            above.fmt(f)?;
        }
        match self.step {
            Step::Root => f.write_str("$"),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Name(name) => f.write_str(&step(name)),
        }
    }
}

/// A name as a step of a path.
pub(super) fn step(name: &str) -> String {
    if !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_') {
        format!(".{name}")
    } else {
        format!("[{}]", Value::from(name))
    }
}

fn mismatch(place: &Place<'_>, expected: impl Into<String>, found: impl Into<String>) -> Mismatch {
    Mismatch {
        path: place.to_string(),
        expected: expected.into(),
        found: found.into(),
        depth: place.depth(),
        mark: false,
    }
}

/// A value in a message: short ones as they are.
fn shown(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("list[{}]", items.len()),
        Value::Object(map) => format!("dict[{}]", map.len()),
        other => excom_core::value::preview(other.to_string().as_bytes()),
    }
}

/// The schemas that were come through at one place of a value, the last first.
struct Trail<'a> {
    above: Option<&'a Trail<'a>>,
    schema: &'a Value,
}

impl Trail<'_> {
    fn has(&self, schema: &Value) -> bool {
        std::ptr::eq(self.schema, schema) || self.above.is_some_and(|above| above.has(schema))
    }
}

fn check(
    node: Node<'_>,
    value: &Value,
    place: &Place<'_>,
    trail: Option<&Trail<'_>>,
) -> Result<(), Mismatch> {
    if *node.schema == Value::Bool(false) {
        return Err(mismatch(place, "nothing", shown(value)));
    }
    if node.is_anything() {
        return Ok(());
    }
    if trail.is_some_and(|trail| trail.has(node.schema)) {
        // A type that is one of itself: that proves nothing, another alternative must fit.
        return Err(Mismatch { mark: true, ..mismatch(place, "…", shown(value)) });
    }
    let trail = Some(&Trail { above: trail, schema: node.schema });
    if node.get("const").is_some_and(|only| only != value)
        || node.get("enum").and_then(Value::as_array).is_some_and(|values| !values.contains(value))
    {
        return Err(Mismatch { mark: true, ..mismatch(place, node.describe(0), shown(value)) });
    }
    let types = node.types();
    if !types.is_empty() && !types.iter().any(|ty| is_of(node, value, ty)) {
        return Err(mismatch(place, node.describe(1), shown(value)));
    }
    if let Some(not) = node.get("not")
        && check(node.part(not), value, place, trail).is_ok()
    {
        return Err(mismatch(place, format!("other than {}", node.part(not).describe(1)), shown(value)));
    }
    for keyword in ["anyOf", "oneOf"] {
        alternatives(node, keyword, value, place, trail)?;
    }
    match value {
        Value::Array(items) => elements(node, items, place)?,
        Value::Object(map) => entries(node, map, place)?,
        Value::String(text) => length(node, text, place)?,
        Value::Number(_) => bounds(node, value, place)?,
        _ => {}
    }
    // Last, because the mark of a variant is beside what it refers to.
    node.referred()
        .into_iter()
        .chain(node.parts("allOf"))
        .try_for_each(|part| check(part, value, place, trail))
}

fn is_of(node: Node<'_>, value: &Value, ty: &str) -> bool {
    match (ty, value) {
        ("null", Value::Null)
        | ("boolean", Value::Bool(_))
        | ("string", Value::String(_))
        | ("array", Value::Array(_))
        | ("object", Value::Object(_))
        | ("number", Value::Number(_)) => true,
        ("integer", Value::Number(number)) => {
            // Integers over 64 bits are read as floats.
            let wide = node.get("format").and_then(Value::as_str).is_some_and(|f| f.ends_with("128"));
            !number.is_f64() || (wide && number.as_f64().is_some_and(|number| number.fract() == 0.0))
        }
        _ => false,
    }
}

/// One of them must fit; otherwise the one that comes closest tells why it does not.
fn alternatives(
    node: Node<'_>,
    keyword: &str,
    value: &Value,
    place: &Place<'_>,
    trail: Option<&Trail<'_>>,
) -> Result<(), Mismatch> {
    let mut failures = Vec::new();
    for part in node.parts(keyword) {
        let Err(failure) = check(part, value, place, trail) else { return Ok(()) };
        failures.push(failure);
    }
    let marks = failures.iter().all(|failure| failure.mark && failure.path == failures[0].path);
    if marks && let Some(first) = failures.first() {
        let expected: Vec<&str> = failures.iter().map(|failure| failure.expected.as_str()).collect();
        return Err(Mismatch { expected: expected.join(" or "), ..first.clone() });
    }
    match failures.into_iter().reduce(closer) {
        Some(deeper) if deeper.depth > place.depth() && !deeper.mark => Err(deeper),
        Some(_) => Err(mismatch(place, node.describe(1), shown(value))),
        None => Ok(()),
    }
}

/// Of two, the one that is no wrong mark, and then the deeper one; the first of equal ones.
fn closer(one: Mismatch, other: Mismatch) -> Mismatch {
    let rank = |mismatch: &Mismatch| (!mismatch.mark, mismatch.depth);
    if rank(&other) > rank(&one) { other } else { one }
}

fn elements(node: Node<'_>, items: &[Value], place: &Place<'_>) -> Result<(), Mismatch> {
    let count = |keyword: &str| node.get(keyword).and_then(Value::as_u64);
    let (least, most) = (count("minItems"), count("maxItems"));
    let length = items.len() as u64;
    if least.is_some_and(|least| length < least) || most.is_some_and(|most| length > most) {
        let expected = match (least, most) {
            (Some(least), Some(most)) if least == most => format!("a list of {least}"),
            (_, Some(most)) if length > most => format!("a list of at most {most}"),
            (least, _) => format!("a list of at least {}", least.unwrap_or(0)),
        };
        return Err(mismatch(place, expected, format!("list[{length}]")));
    }
    let prefix = node.get("prefixItems").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let rest = node.get("items");
    for (index, item) in items.iter().enumerate() {
        if let Some(schema) = prefix.get(index).or(rest) {
            check(node.part(schema), item, &place.below(Step::Index(index)), None)?;
        }
    }
    Ok(())
}

fn entries(node: Node<'_>, map: &serde_json::Map<String, Value>, place: &Place<'_>) -> Result<(), Mismatch> {
    let properties = node.get("properties").and_then(Value::as_object);
    let patterns = node.get("patternProperties").and_then(Value::as_object);
    for (name, value) in map {
        let place = place.below(Step::Name(name));
        let mut known = false;
        let own = properties.and_then(|properties| properties.get(name));
        let matching = patterns.into_iter().flatten().filter(|(pattern, _)| matches(pattern, name));
        for schema in own.into_iter().chain(matching.map(|(_, schema)| schema)) {
            known = true;
            check(node.part(schema), value, &place, None)?;
        }
        match node.get("additionalProperties") {
            Some(Value::Bool(false)) if !known => {
                return Err(mismatch(&place, "no such name", shown(value)));
            }
            Some(schema) if !known => check(node.part(schema), value, &place, None)?,
            _ => {}
        }
    }
    for name in node.get("required").and_then(Value::as_array).into_iter().flatten() {
        let Some(name) = name.as_str() else { continue };
        if !map.contains_key(name) {
            let schema = properties.and_then(|properties| properties.get(name));
            let expected = schema.map_or_else(|| "a value".into(), |schema| node.part(schema).describe(1));
            return Err(mismatch(&place.below(Step::Name(name)), expected, "nothing"));
        }
    }
    Ok(())
}

/// The patterns that maps with integers as keys have; any other is taken to match.
fn matches(pattern: &str, name: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match pattern {
        r"^\d+$" => digits(name),
        r"^-?\d+$" => digits(name.strip_prefix('-').unwrap_or(name)),
        _ => true,
    }
}

fn length(node: Node<'_>, text: &str, place: &Place<'_>) -> Result<(), Mismatch> {
    let count = |keyword: &str| node.get(keyword).and_then(Value::as_u64);
    let (least, most) = (count("minLength"), count("maxLength"));
    if least.is_none() && most.is_none() {
        return Ok(());
    }
    let length = text.chars().count() as u64;
    let expected = match (least, most) {
        (Some(least), _) if length < least => format!("at least {least} characters"),
        (_, Some(most)) if length > most => format!("at most {most} characters"),
        _ => return Ok(()),
    };
    Err(mismatch(place, expected, shown(&Value::from(text))))
}

fn bounds(node: Node<'_>, value: &Value, place: &Place<'_>) -> Result<(), Mismatch> {
    let refuse = || Err(mismatch(place, node.describe(1), shown(value)));
    if let Some(integer) = value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from))
        && (node.least().is_some_and(|least| integer < least)
            || node.most().is_some_and(|most| integer > most))
    {
        return refuse();
    }
    let Some(number) = value.as_f64() else { return Ok(()) };
    let bound = |keyword: &str| node.get(keyword).and_then(Value::as_f64);
    let outside = bound("minimum").is_some_and(|least| number < least)
        || bound("maximum").is_some_and(|most| number > most)
        || bound("exclusiveMinimum").is_some_and(|least| number <= least)
        || bound("exclusiveMaximum").is_some_and(|most| number >= most);
    if outside { refuse() } else { Ok(()) }
}
