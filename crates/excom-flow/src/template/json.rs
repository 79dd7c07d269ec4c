//! JSON and template data: in with every digit of their integers, and out as Python's `json` writes it.

use excom_core::python::{float, json_text};
use excom_core::{Error, ErrorKind, Result};
use minijinja::Value;
use minijinja::value::ValueKind;
use serde_json::value::RawValue;

use super::args::fail;
use super::containers::{self, DEEPEST};
use super::python;
use super::run::LARGEST;

/// A JSON value as template data.
pub(super) fn data(value: &excom_core::Value) -> Result<Value> {
    read(value.as_str()).map_err(|e| Error::new(ErrorKind::InvalidValue, e.to_string()))
}

/// JSON text as template data.
pub(super) fn read(json: &str) -> std::result::Result<Value, minijinja::Error> {
    exact(json.trim()).map_err(|e| fail(format!("this is no JSON: {e}")))
}

/// Reads a level at a time and looks at each number as it is written, where serde_json would make a
/// float of a long integer.
fn exact(json: &str) -> serde_json::Result<Value> {
    match json.as_bytes().first() {
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(json)?;
            let items = items.into_iter().map(|item| exact(item.get()));
            items.collect::<serde_json::Result<Vec<_>>>().map(containers::list)
        }
        Some(b'{') => {
            let entries = crate::entries::of(json)?;
            let entries =
                entries.into_iter().map(|(name, value)| Ok((Value::from(name), exact(value.get())?)));
            let entries = entries.collect::<serde_json::Result<Vec<_>>>()?;
            containers::dict(entries).map_err(serde::de::Error::custom)
        }
        Some(b'-' | b'0'..=b'9') => match json.parse::<i64>() {
            Ok(number) => Ok(number.into()),
            Err(_) => match json.parse::<i128>() {
                Ok(number) => Ok(number.into()),
                Err(_) => match json.parse::<u128>() {
                    Ok(number) => Ok(number.into()),
                    Err(_) => serde_json::from_str(json),
                },
            },
        },
        _ => serde_json::from_str(json),
    }
}

/// A value of a field: as JSON has it where it can, and as text otherwise.
pub(super) fn field(value: &Value) -> Result<excom_core::Value> {
    let style = Style { ascii: false, lenient: true, ..Style::indented(None) };
    let json = write(value, &style).map_err(|e| Error::new(ErrorKind::InvalidValue, e.to_string()))?;
    excom_core::Value::parse(json)
}

/// How JSON is written.
#[derive(Debug, Clone)]
pub(super) struct Style {
    pub(super) sort_keys: bool,
    pub(super) ascii: bool,
    /// What JSON has no form for is written as text, and not refused.
    pub(super) lenient: bool,
    pub(super) indent: Option<String>,
    /// Between elements, and between a name and its value.
    pub(super) separators: (String, String),
}

impl Style {
    pub(super) fn indented(indent: Option<String>) -> Self {
        let element = if indent.is_some() { "," } else { ", " };
        Self {
            sort_keys: false,
            ascii: true,
            lenient: false,
            indent,
            separators: (element.to_owned(), ": ".to_owned()),
        }
    }
}

/// `json.dumps(value)`.
pub(super) fn write(value: &Value, style: &Style) -> std::result::Result<String, minijinja::Error> {
    let mut out = String::new();
    element(&mut out, value, style, 0)?;
    Ok(out)
}

fn element(
    out: &mut String,
    value: &Value,
    style: &Style,
    depth: usize,
) -> std::result::Result<(), minijinja::Error> {
    if depth > DEEPEST || out.len() > LARGEST {
        return Err(fail("the value is too large or nested too deeply to be written as JSON"));
    }
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number if value.is_integer() => out.push_str(&value.to_string()),
        ValueKind::Number => match f64::try_from(value.clone()) {
            Ok(number) if number.is_finite() => out.push_str(&float(number)),
            _ => return Err(fail("JSON has no infinity and no NaN")),
        },
        ValueKind::String => json_text(out, value.as_str().unwrap_or_default(), style.ascii),
        ValueKind::Undefined => return Err(fail("a value in it is not defined")),
        ValueKind::Seq => {
            let items = value.try_iter()?;
            sequence(out, '[', ']', items, style, depth, |out, item| element(out, &item, style, depth + 1))?;
        }
        ValueKind::Map => {
            let mut entries = containers::entries(value)?
                .into_iter()
                .map(|(key, value)| Ok((name(&key)?, value)))
                .collect::<std::result::Result<Vec<_>, minijinja::Error>>()?;
            if style.sort_keys {
                entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            }
            sequence(out, '{', '}', entries.into_iter(), style, depth, |out, (name, value)| {
                json_text(out, &name, style.ascii);
                out.push_str(&style.separators.1);
                element(out, &value, style, depth + 1)
            })?;
        }
        ValueKind::Iterable if style.lenient => {
            let items = value.try_iter()?;
            sequence(out, '[', ']', items, style, depth, |out, item| element(out, &item, style, depth + 1))?;
        }
        _ if style.lenient => json_text(out, &python::text(value)?, style.ascii),
        _ => return Err(fail(format!("JSON has no {}", python::type_name(value)))),
    }
    Ok(())
}

fn name(key: &Value) -> std::result::Result<String, minijinja::Error> {
    match key.kind() {
        ValueKind::String => Ok(key.as_str().unwrap_or_default().to_owned()),
        ValueKind::None => Ok("null".to_owned()),
        ValueKind::Bool => Ok(if key.is_true() { "true" } else { "false" }.to_owned()),
        ValueKind::Number => python::text(key),
        _ => Err(fail(format!("JSON has no names that are a {}", python::type_name(key)))),
    }
}

fn sequence<T>(
    out: &mut String,
    open: char,
    close: char,
    items: impl Iterator<Item = T>,
    style: &Style,
    depth: usize,
    mut item: impl FnMut(&mut String, T) -> std::result::Result<(), minijinja::Error>,
) -> std::result::Result<(), minijinja::Error> {
    let line = |out: &mut String, depth: usize| {
        if let Some(indent) = &style.indent {
            out.push('\n');
            (0..depth).for_each(|_| out.push_str(indent));
        }
    };
    out.push(open);
    let mut any = false;
    for next in items {
        if any {
            out.push_str(&style.separators.0);
        }
        any = true;
        line(out, depth + 1);
        item(out, next)?;
    }
    if any {
        line(out, depth);
    }
    out.push(close);
    Ok(())
}
