//! Values as Airflow's REST API shows them to people: objects of Python as text that names their class, and whole values as
//! Python prints them. No class is ever imported for that, so what Airflow would have to make an object of stays as it is
//! stored.

use std::collections::HashMap;

use excom_core::python::{float, quote};
use excom_core::{Shape, Value};
use serde_json::value::RawValue;

use super::envelope::{CLASS, DATA, LEGACY_DATA, LEGACY_DICT, LEGACY_TYPE, VERSION};
use super::parts::{Parts, last};

/// The value as `deserialize` shows it: text that is itself JSON as what it says, and in it objects as text. None when that is
/// longer than so many bytes.
///
/// Tuples and sets are their elements in brackets, objects of other classes `class@version=1(field=value)`. A value with
/// an object of Airflow's own classes, or with one that is malformed, is as it is stored.
///
/// ```
/// use excom_airflow::python::deserialized;
/// use excom_core::Value;
///
/// let shown = |json: &str| Ok::<_, excom_core::Error>(deserialized(&Value::parse(json.to_owned())?, 1000).unwrap());
/// let pair = r#"{"pair": {"__classname__": "builtins.tuple", "__version__": 1, "__data__": [1.0, "a"]}}"#;
/// assert_eq!(shown(pair)?.as_str(), r#"{"pair":"(1.0,a)"}"#);
/// let point = r#"{"__classname__": "geo.Point", "__version__": 2, "__data__": {"x": 1, "name": "here"}}"#;
/// assert_eq!(shown(point)?.as_str(), r#""geo.Point@version=2(x=1, name='here')""#);
/// assert_eq!(shown(r#""[1, 2]""#)?.as_str(), "[1,2]");
/// # Ok::<(), excom_core::Error>(())
/// ```
pub fn deserialized(value: &Value, most: usize) -> Option<Value> {
    let inside = (value.shape() == Shape::String)
        .then(|| value.get::<String>().ok().and_then(|text| Value::parse(text).ok()))
        .flatten();
    let told = inside.as_ref().unwrap_or(value);
    let mut out = Text { text: String::new(), most };
    let shown = match raw(told).and_then(|raw| out.json(raw)) {
        // Of JSON comes JSON; were it not so, it would stay as it is.
        Ok(()) => Value::parse(out.text).unwrap_or_else(|_| value.clone()),
        Err(Stop::TooLong) => return None,
        Err(Stop::AsStored) => value.clone(),
    };
    Some(shown.secret_if(value.is_secret()))
}

/// Python's `str` of a value, as `stringify` shows it. None when it is longer than so many bytes.
///
/// ```
/// use excom_airflow::python::stringified;
/// use excom_core::Value;
///
/// let value = Value::parse(r#"{"a": [1.0, null, true, "it's"]}"#)?;
/// assert_eq!(stringified(&value, 1000).unwrap(), r#"{'a': [1.0, None, True, "it's"]}"#);
/// # Ok::<(), excom_core::Error>(())
/// ```
pub fn stringified(value: &Value, most: usize) -> Option<String> {
    let mut out = Text { text: String::new(), most };
    match raw(value).and_then(|raw| out.print(raw, Objects::Dicts, false)) {
        Ok(()) => Some(out.text),
        Err(_) => None,
    }
}

/// Why a text does not come about.
enum Stop {
    /// It has too many bytes: texts within texts grow with each backslash.
    TooLong,
    /// Only whoever has the classes could tell it.
    AsStored,
}

type Shown<T = ()> = Result<T, Stop>;

fn raw(value: &Value) -> Shown<&RawValue> {
    serde_json::from_slice(value.bytes()).map_err(|_| Stop::AsStored)
}

fn parts(raw: &RawValue) -> Shown<Parts<'_>> {
    Parts::of(raw).ok_or(Stop::AsStored)
}

fn text_of(json: &str) -> Shown<String> {
    serde_json::from_str(json).map_err(|_| Stop::AsStored)
}

/// What the dicts are that objects are written as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Objects {
    /// Dicts like any other.
    Dicts,
    /// Texts that tell what they are.
    Texts,
}

/// A text that grows to a bound.
struct Text {
    text: String,
    most: usize,
}

impl Text {
    fn push(&mut self, part: &str) -> Shown {
        if self.text.len().saturating_add(part.len()) > self.most {
            return Err(Stop::TooLong);
        }
        self.text.push_str(part);
        Ok(())
    }

    /// JSON in which objects are texts.
    fn json(&mut self, raw: &RawValue) -> Shown {
        match parts(raw)? {
            Parts::Scalar(text) => self.push(text),
            Parts::List(elements) => {
                self.push("[")?;
                for (n, element) in elements.into_iter().enumerate() {
                    self.push(if n > 0 { "," } else { "" })?;
                    self.json(element)?;
                }
                self.push("]")
            }
            Parts::Dict(entries) => match told(entries)? {
                Told::Object(object) => {
                    let text = self.object(&object)?;
                    self.push(&serde_json::Value::from(text).to_string())
                }
                Told::Dict(entries) => {
                    self.push("{")?;
                    for (n, (name, element)) in entries.into_iter().enumerate() {
                        self.push(if n > 0 { "," } else { "" })?;
                        self.push(&serde_json::Value::from(name).to_string())?;
                        self.push(":")?;
                        self.json(element)?;
                    }
                    self.push("}")
                }
            },
        }
    }

    /// What Python prints: `repr` where texts are quoted, otherwise `str`.
    fn print(&mut self, raw: &RawValue, objects: Objects, quoted: bool) -> Shown {
        match parts(raw)? {
            Parts::Scalar("null") => self.push("None"),
            Parts::Scalar("true") => self.push("True"),
            Parts::Scalar("false") => self.push("False"),
            Parts::Scalar(text) if text.starts_with('"') => self.text(&text_of(text)?, quoted),
            Parts::Scalar(number) => self.push(&printed(number)),
            Parts::List(elements) => {
                self.push("[")?;
                self.elements(&elements, ", ", |out, element| out.print(element, objects, true))?;
                self.push("]")
            }
            Parts::Dict(entries) => {
                let entries = match objects {
                    Objects::Dicts => once(entries),
                    Objects::Texts => match told(entries)? {
                        Told::Dict(entries) => entries,
                        Told::Object(object) => {
                            let text = self.object(&object)?;
                            return self.text(&text, quoted);
                        }
                    },
                };
                self.push("{")?;
                self.elements(&entries, ", ", |out, (name, element)| {
                    out.text(name, true)?;
                    out.push(": ")?;
                    out.print(element, objects, true)
                })?;
                self.push("}")
            }
        }
    }

    fn text(&mut self, text: &str, quoted: bool) -> Shown {
        if !quoted {
            return self.push(text);
        }
        let mut out = String::new();
        quote(&mut out, text);
        self.push(&out)
    }

    fn elements<T>(
        &mut self,
        elements: &[T],
        between: &str,
        mut one: impl FnMut(&mut Self, &T) -> Shown,
    ) -> Shown {
        for (n, element) in elements.iter().enumerate() {
            self.push(if n > 0 { between } else { "" })?;
            one(self, element)?;
        }
        Ok(())
    }

    /// An object as text, within the same bound.
    fn object(&self, object: &Object<'_>) -> Shown<String> {
        let mut out = Self { text: String::new(), most: self.most };
        let data = object.data.map(parts).transpose()?;
        let is_group =
            matches!(object.class.as_str(), "builtins.tuple" | "builtins.set" | "builtins.frozenset");
        if !(is_group && matches!(data, Some(Parts::List(_)))) {
            out.push(&format!("{}@version={}", own_name(&object.class), object.version))?;
        }
        out.push("(")?;
        match data {
            None | Some(Parts::Scalar("null")) => {}
            Some(Parts::Scalar(_)) => {
                object.data.map_or(Ok(()), |data| out.print(data, Objects::Texts, false))?;
            }
            Some(Parts::List(elements)) => {
                out.elements(&elements, ",", |out, element| out.print(element, Objects::Texts, false))?;
            }
            Some(Parts::Dict(entries)) => out.elements(&once(entries), ", ", |out, (name, field)| {
                out.push(name)?;
                out.push("=")?;
                out.print(field, Objects::Texts, field.get().starts_with('"'))
            })?,
        }
        out.push(")")?;
        Ok(out.text)
    }
}

/// An object as it is written.
struct Object<'a> {
    class: String,
    /// As it is printed.
    version: String,
    data: Option<&'a RawValue>,
}

/// What a dict tells.
enum Told<'a> {
    Object(Object<'a>),
    /// Itself, or what the legacy form of a dict holds.
    Dict(Vec<(String, &'a RawValue)>),
}

fn told(entries: Vec<(String, &RawValue)>) -> Shown<Told<'_>> {
    let mut entries = entries;
    if let (Some(kind), Some(data)) = (last(&entries, LEGACY_TYPE), last(&entries, LEGACY_DATA)) {
        let class = text_of(kind.get())?;
        if class != LEGACY_DICT {
            return object(class, "0".to_owned(), Some(data));
        }
        let Parts::Dict(inside) = parts(data)? else { return Err(Stop::AsStored) };
        entries = inside;
    }
    let (Some(class), Some(version)) = (last(&entries, CLASS), last(&entries, VERSION)) else {
        return Ok(Told::Dict(once(entries)));
    };
    let version = match version.get() {
        // A bool is an integer in Python.
        "true" => "True".to_owned(),
        "false" => "False".to_owned(),
        number if is_integer(number) => printed(number),
        _ => return Err(Stop::AsStored),
    };
    object(text_of(class.get())?, version, last(&entries, DATA))
}

/// An object whose class needs not be known to tell it.
fn object(class: String, version: String, data: Option<&RawValue>) -> Shown<Told<'_>> {
    if class.is_empty() || class.starts_with("airflow.") {
        return Err(Stop::AsStored);
    }
    Ok(Told::Object(Object { class, version, data }))
}

/// A class without what Airflow puts before the modules of DAG files.
fn own_name(class: &str) -> String {
    const BEGIN: &str = "unusual_prefix_";
    let hash = |text: &str| {
        let is_hash = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        text.len() > 40 && text.bytes().take(40).all(is_hash) && text.as_bytes()[40] == b'_'
    };
    let (mut name, mut left) = (String::new(), class);
    while let Some(place) = left.find(BEGIN) {
        let behind = &left[place + BEGIN.len()..];
        name.push_str(&left[..place]);
        left = if hash(behind) {
            &behind[41..]
        } else {
            name.push_str(BEGIN);
            behind
        };
    }
    name + left
}

fn is_integer(number: &str) -> bool {
    number.starts_with(|first: char| first == '-' || first.is_ascii_digit())
        && !number.contains(['.', 'e', 'E'])
}

/// A number as Python prints it: an integer to the digit, all else as a float.
pub(super) fn printed(number: &str) -> String {
    match number {
        "-0" => "0".to_owned(),
        _ if is_integer(number) => number.to_owned(),
        _ => float(number.parse().unwrap_or(f64::NAN)),
    }
}

/// The entries of a dict as Python has them: a name that occurs twice is in its first place, with the last value.
pub(super) fn once(entries: Vec<(String, &RawValue)>) -> Vec<(String, &RawValue)> {
    let mut places: HashMap<String, usize> = HashMap::with_capacity(entries.len());
    let mut kept: Vec<(String, &RawValue)> = Vec::with_capacity(entries.len());
    for (name, element) in entries {
        match places.get(&name) {
            Some(place) => kept[*place].1 = element,
            None => {
                places.insert(name.clone(), kept.len());
                kept.push((name, element));
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(data: &str) -> String {
        format!(r#"{{"__classname__": "builtins.tuple", "__version__": 1, "__data__": {data}}}"#)
    }

    fn object(class: &str, data: &str) -> String {
        format!(r#"{{"__classname__": "{class}", "__version__": 1, "__data__": {data}}}"#)
    }

    #[test]
    fn objects_are_told_as_airflow_tells_them() {
        let sha = "0123456789abcdef0123456789abcdef01234567";
        for (json, shown) in [
            ("null".to_owned(), "null"),
            ("1.0".to_owned(), "1.0"),
            (r#""text""#.to_owned(), r#""text""#),
            (r#""5""#.to_owned(), "5"),
            (r#""null""#.to_owned(), "null"),
            (r#""{\"a\": 1}""#.to_owned(), r#"{"a":1}"#),
            (r#""\"a\"""#.to_owned(), r#""a""#),
            (r#"{"a": [1, {"b": "\u00e9"}]}"#.to_owned(), r#"{"a":[1,{"b":"\u00e9"}]}"#),
            (tuple("[]"), r#""()""#),
            (tuple(&format!("[1, {}, \"a\"]", tuple("[2, 3]"))), r#""(1,(2,3),a)""#),
            (tuple(&format!("[[1, {}, \"a\"]]", tuple("[2]"))), r#""([1, '(2)', 'a'])""#),
            (object("builtins.set", r#"["b", null]"#), r#""(b,None)""#),
            (object("builtins.tuple", r#"{"a": 1}"#), r#""builtins.tuple@version=1(a=1)""#),
            (
                object(
                    "datetime.datetime",
                    &format!(r#"{{"timestamp": 1.5, "tz": {}}}"#, tuple(r#"["UTC", 1]"#)),
                ),
                r#""datetime.datetime@version=1(timestamp=1.5, tz=(UTC,1))""#,
            ),
            (object("decimal.Decimal", "1.10"), r#""decimal.Decimal@version=1(1.1)""#),
            (object("numpy.bool", "true"), r#""numpy.bool@version=1(True)""#),
            (object("a.B", r#""it's""#), r#""a.B@version=1(it's)""#),
            (object("a.B", "null"), r#""a.B@version=1()""#),
            (object("a.B", r#"{"s": "it's", "n": null}"#), r#""a.B@version=1(s=\"it's\", n=None)""#),
            (object(&format!("unusual_prefix_{sha}_mod.C"), "{}"), r#""mod.C@version=1()""#),
            (object("unusual_prefix_0_mod.C", "[]"), r#""unusual_prefix_0_mod.C@version=1()""#),
            (r#"{"__classname__": "a.B", "__version__": true}"#.to_owned(), r#""a.B@version=True()""#),
            (r#"{"__classname__": "a.B"}"#.to_owned(), r#"{"__classname__":"a.B"}"#),
            (r#"{"__type": "tuple", "__var": [1]}"#.to_owned(), r#""tuple@version=0(1)""#),
            (r#"{"__type": "dict", "__var": {"a": 1}}"#.to_owned(), r#"{"a":1}"#),
        ] {
            let value = Value::parse(json.clone()).unwrap();
            assert_eq!(deserialized(&value, 1000).unwrap().as_str(), shown, "{json}");
        }
    }

    #[test]
    fn what_needs_its_class_stays_as_it_is_stored() {
        for json in [
            object("airflow.sdk.definitions.asset.Asset", r#"{"name": "a"}"#),
            tuple(&format!("[1, {}]", object("airflow.x.Y", "1"))),
            serde_json::Value::from(object("airflow.x.Y", "1")).to_string(),
            object("", "1"),
            r#"{"__classname__": 5, "__version__": 1}"#.to_owned(),
            r#"{"__classname__": "a.B", "__version__": 1.0}"#.to_owned(),
            r#"{"__type": "dict", "__var": [1]}"#.to_owned(),
        ] {
            let value = Value::parse(json).unwrap();
            assert_eq!(deserialized(&value, 1000).unwrap(), value);
        }
    }

    #[test]
    fn values_are_printed_as_python_prints_them() {
        for (json, printed) in [
            ("1", "1"),
            ("-0", "0"),
            ("-0.0", "-0.0"),
            ("1e3", "1000.0"),
            ("1e16", "1e+16"),
            ("1e400", "inf"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            ("true", "True"),
            (r#""it's""#, "it's"),
            (r#"["it's", "\n", "é", "\u200b"]"#, r#"["it's", '\n', 'é', '\u200b']"#),
            (r#"{"a": 1, "b": null, "a": {}}"#, "{'a': {}, 'b': None}"),
            (
                r#"{"__classname__": "builtins.tuple", "__version__": 1, "__data__": [1]}"#,
                "{'__classname__': 'builtins.tuple', '__version__': 1, '__data__': [1]}",
            ),
        ] {
            let value = Value::parse(json.to_owned()).unwrap();
            assert_eq!(stringified(&value, 1000).unwrap(), printed, "{json}");
        }
    }

    #[test]
    fn texts_within_texts_grow_to_a_bound() {
        // In lists, so that each is quoted again.
        let nested = (0..40).fold(r#""'\"""#.to_owned(), |inside, _| tuple(&format!("[[{inside}]]")));
        let value = Value::parse(nested).unwrap();
        assert_eq!(deserialized(&value, 1 << 20), None);
        assert_eq!(stringified(&value, 100), None);
    }
}
