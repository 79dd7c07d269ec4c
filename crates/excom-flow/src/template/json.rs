//! JSON values as template data, with every digit of their integers.

use excom_core::{Error, ErrorKind, Result};
use minijinja::Value;
use serde_json::value::RawValue;

/// The most digits of an integer that every JSON parser keeps.
const SAFE_DIGITS: usize = 18;

/// A JSON value as template data.
pub(super) fn data(value: &excom_core::Value) -> Result<Value> {
    let long = value.bytes().split(|byte| !byte.is_ascii_digit()).any(|digits| digits.len() > SAFE_DIGITS);
    if long {
        exact(value.as_str().trim()).map_err(|e| Error::new(ErrorKind::InvalidValue, e.to_string()))
    } else {
        value.get()
    }
}

/// Reads a level at a time and looks at each number as it is written, where serde_json would make a
/// float of a long integer.
fn exact(json: &str) -> serde_json::Result<Value> {
    match json.as_bytes().first() {
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(json)?;
            items
                .into_iter()
                .map(|item| exact(item.get()))
                .collect::<serde_json::Result<Vec<_>>>()
                .map(Value::from)
        }
        Some(b'{') => {
            let entries =
                crate::entries::of(json)?.into_iter().map(|(name, value)| Ok((name, exact(value.get())?)));
            entries.collect::<serde_json::Result<Vec<_>>>().map(Value::from_pairs)
        }
        _ => match json.parse::<i128>() {
            Ok(number) => Ok(number.into()),
            Err(_) => match json.parse::<u128>() {
                Ok(number) => Ok(number.into()),
                Err(_) => serde_json::from_str(json),
            },
        },
    }
}
