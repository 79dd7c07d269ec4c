//! Values as Python's `str()` and `repr()` print them, which is what a Jinja template shows in Airflow.

use excom_core::python::{float, quote};
use minijinja::value::ValueKind;
use minijinja::{Error, Value};

use super::args::fail;
use super::containers::{self, DEEPEST, View};
use super::dates;
use super::run::LARGEST;

/// `str(value)`: text as it is, everything else as `repr` has it.
///
/// # Errors
/// When the text would be too long, or the value is nested too deeply.
pub(super) fn text(value: &Value) -> Result<String, Error> {
    if let Some(text) = value.as_str() {
        return Ok(text.to_owned());
    }
    if value.kind() == ValueKind::Plain {
        return Ok(value.to_string());
    }
    let mut out = String::new();
    repr(&mut out, value, 0)?;
    Ok(out)
}

/// `repr(value)`, for messages too: what cannot be printed is its type.
pub(super) fn repr_of(value: &Value) -> String {
    let mut out = String::new();
    match repr(&mut out, value, 0) {
        Ok(()) => out,
        Err(_) => type_name(value).to_owned(),
    }
}

/// What Python calls the type of a value.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value.kind() {
        ValueKind::Undefined => "undefined",
        ValueKind::None => "None",
        ValueKind::Bool => "bool",
        ValueKind::Number if value.is_integer() => "int",
        ValueKind::Number => "float",
        ValueKind::String => "str",
        ValueKind::Bytes => "bytes",
        ValueKind::Seq if value.is_tuple() => "tuple",
        ValueKind::Seq => "list",
        ValueKind::Map => "dict",
        ValueKind::Iterable => "iterable",
        _ => dates::type_name(value).unwrap_or("object"),
    }
}

/// `repr(value)`, put behind what is there.
pub(super) fn repr(out: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
    if depth > DEEPEST {
        return Err(fail(format!("a value that is nested more than {DEEPEST} deep cannot be printed")));
    }
    if out.len() > LARGEST {
        return Err(fail(format!("the text of a value is over {} MiB", LARGEST >> 20)));
    }
    match value.kind() {
        ValueKind::None => out.push_str("None"),
        ValueKind::Undefined => out.push_str("Undefined"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number if !value.is_integer() => match f64::try_from(value.clone()) {
            Ok(number) => out.push_str(&float(number)),
            Err(_) => out.push_str(&value.to_string()),
        },
        ValueKind::String => quote(out, value.as_str().unwrap_or_default()),
        ValueKind::Seq if value.is_tuple() || super::filters::is_group(value) => {
            let length = list(out, value, ['(', ')'], depth)?;
            if length == 1 {
                out.insert(out.len() - 1, ',');
            }
        }
        ValueKind::Iterable if let Some(view) = value.downcast_object_ref::<View>() => {
            out.push_str(view.name());
            out.push('(');
            list(out, value, ['[', ']'], depth)?;
            out.push(')');
        }
        ValueKind::Iterable if let Some(range) = value.downcast_object_ref::<super::globals::Range>() => {
            out.push_str(&range.to_string());
        }
        ValueKind::Seq | ValueKind::Iterable => drop(list(out, value, ['[', ']'], depth)?),
        ValueKind::Map => dict(out, value, depth)?,
        _ => match dates::repr(value) {
            Some(text) => out.push_str(&text),
            None => out.push_str(&value.to_string()),
        },
    }
    Ok(())
}

fn list(out: &mut String, value: &Value, brackets: [char; 2], depth: usize) -> Result<usize, Error> {
    out.push(brackets[0]);
    let mut length = 0;
    for item in value.try_iter()? {
        if length > 0 {
            out.push_str(", ");
        }
        repr(out, &item, depth + 1)?;
        length += 1;
    }
    out.push(brackets[1]);
    Ok(length)
}

fn dict(out: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
    // What is no dict, such as a namespace, prints itself.
    let Ok(entries) = containers::entries(value) else {
        out.push_str(&value.to_string());
        return Ok(());
    };
    out.push('{');
    for (place, (key, value)) in entries.iter().enumerate() {
        if place > 0 {
            out.push_str(", ");
        }
        repr(out, key, depth + 1)?;
        out.push_str(": ");
        repr(out, value, depth + 1)?;
    }
    out.push('}');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(json: &str) -> String {
        text(&serde_json::from_str::<Value>(json).unwrap()).unwrap()
    }

    #[test]
    fn prints_as_python_does() {
        for (json, python) in [
            ("null", "None"),
            ("true", "True"),
            ("[false, null]", "[False, None]"),
            ("1", "1"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("18446744073709551615", "18446744073709551615"),
            ("1.0", "1.0"),
            ("0.1", "0.1"),
            ("-0.0", "-0.0"),
            ("1e16", "1e+16"),
            ("123456789012345680.0", "1.2345678901234568e+17"),
            ("1234567890123456.0", "1234567890123456.0"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("1.5e-7", "1.5e-07"),
            ("1e300", "1e+300"),
            ("5e-324", "5e-324"),
            ("\"plain\"", "plain"),
            (r#"["a"]"#, "['a']"),
            (r#"["it's"]"#, r#"["it's"]"#),
            (r#"["it's \"so\""]"#, r#"['it\'s "so"']"#),
            (r#"["a\nb\t\\"]"#, r"['a\nb\t\\']"),
            (r#"["é\u0007\u200b😀"]"#, r"['é\x07\u200b😀']"),
            (r#"{"b": [1, 2.5], "a": {"x": null}}"#, "{'b': [1, 2.5], 'a': {'x': None}}"),
            ("[]", "[]"),
            ("{}", "{}"),
        ] {
            assert_eq!(shown(json), python, "{json}");
        }
    }
}
