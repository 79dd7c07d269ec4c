//! Any value without Python's types.

use excom_core::Value;
use serde_json::value::RawValue;

use super::datetimes::DateTime;
use super::envelope::{CLASS, DATA, LEGACY_DATA, LEGACY_DICT, LEGACY_TYPE, VERSION, legacy_class};
use super::parts::{Parts, last};

/// The value as plain JSON, for who does not care which Python types it had.
///
/// Tuples and sets become lists, datetimes ISO text (`2026-11-21T10:30:00+02:00`), dates and UUIDs text,
/// spans of time seconds, numbers numbers. Of an object of any other class its data is left. All else
/// keeps its text: the order of names, the digits of numbers.
///
/// ```
/// use excom_airflow::python::plain;
/// use excom_core::Value;
///
/// let value = Value::parse(r#"{"pair": {"__classname__": "builtins.tuple", "__version__": 1, "__data__": [1.0, "a"]}}"#)?;
/// assert_eq!(plain(&value).as_str(), r#"{"pair":[1.0,"a"]}"#);
/// # Ok::<(), excom_core::Error>(())
/// ```
pub fn plain(value: &Value) -> Value {
    if !may_have_objects(value.as_str()) {
        return value.clone();
    }
    let mut text = String::with_capacity(value.as_str().len());
    let written =
        serde_json::from_slice::<&RawValue>(value.bytes()).ok().and_then(|raw| write(raw, &mut text));
    // A value is JSON, and so is what is left of it; were it not, it would stay as it is.
    written.and_then(|()| Value::parse(text).ok()).unwrap_or_else(|| value.clone())
}

/// Whether the names of an object can be in the text, plain or escaped.
fn may_have_objects(text: &str) -> bool {
    text.contains(CLASS) || text.contains(LEGACY_TYPE) || text.contains("\\u")
}

fn write(raw: &RawValue, out: &mut String) -> Option<()> {
    match Parts::of(raw)? {
        Parts::Scalar(text) => out.push_str(text),
        Parts::List(elements) => {
            out.push('[');
            for (n, element) in elements.into_iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                write(element, out)?;
            }
            out.push(']');
        }
        Parts::Dict(entries) => match object(&entries) {
            Some(Object { class, data }) => write_object(class.as_deref(), data, raw, out)?,
            None => {
                out.push('{');
                for (n, (name, element)) in entries.into_iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    out.push_str(&serde_json::to_string(&name).ok()?);
                    out.push(':');
                    write(element, out)?;
                }
                out.push('}');
            }
        },
    }
    Some(())
}

/// What is in an envelope.
pub(super) struct Object<'a> {
    /// None for a legacy dict.
    pub(super) class: Option<String>,
    pub(super) data: Option<&'a RawValue>,
}

/// The object that a dict is, if it is one: a class that is text and a version that is an integer, or the
/// two names of the legacy form.
pub(super) fn object<'a>(entries: &[(String, &'a RawValue)]) -> Option<Object<'a>> {
    let get = |name: &str| last(entries, name);
    if let (Some(short), Some(data)) = (get(LEGACY_TYPE), get(LEGACY_DATA)) {
        let short: String = serde_json::from_str(short.get()).ok()?;
        let class = (short != LEGACY_DICT).then(|| legacy_class(&short).to_owned());
        return Some(Object { class, data: Some(data) });
    }
    let class: String = serde_json::from_str(get(CLASS)?.get()).ok()?;
    serde_json::from_str::<i64>(get(VERSION)?.get()).ok()?;
    Some(Object { class: Some(class), data: get(DATA) })
}

fn write_object(
    class: Option<&str>,
    data: Option<&RawValue>,
    whole: &RawValue,
    out: &mut String,
) -> Option<()> {
    let is_datetime = matches!(class, Some("datetime.datetime" | "pendulum.datetime.DateTime"));
    if is_datetime && let Ok(time) = serde_json::from_str::<DateTime>(whole.get()) {
        out.push_str(&serde_json::to_string(&time.to_string()).ok()?);
        return Some(());
    }
    match data {
        Some(data) => write(data, out),
        None => {
            out.push_str("null");
            Some(())
        }
    }
}
