//! Decimal numbers, with the digits that they have.

use std::fmt;
use std::str::FromStr;

use excom_core::{Error, ErrorKind};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::value::RawValue;

use super::envelope::{self, Kind};

/// A Python `Decimal`, as its text: no digit is lost on the way, whatever type you compute with.
///
/// Airflow writes a number, and with a fraction a float. So does Excom where the float has the same digits;
/// where it has not (`1.10`, or more than 17 digits) it writes text, which Airflow reads exactly.
///
/// It is read from JSON text only, not out of `#[serde(flatten)]` or an untagged enum: what these hold has
/// lost its digits already.
///
/// ```
/// use excom_airflow::python::Decimal;
/// use excom_core::Value;
///
/// let price: Decimal = "9.90".parse()?;
/// let value = Value::of(&price)?;
/// assert_eq!(value.as_str(), r#"{"__classname__":"decimal.Decimal","__version__":1,"__data__":"9.90"}"#);
/// assert_eq!(value.get::<Decimal>()?.as_str(), "9.90");
/// # Ok::<(), excom_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Decimal(String);

const DECIMAL: Kind = Kind { name: "a decimal number", is: |class| class == "decimal.Decimal", newest: 1 };

impl Decimal {
    /// Its digits as they were written, such as `-12.50`, `1E+3` or `NaN`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Decimal {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if is_decimal(text) {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::new(ErrorKind::InvalidValue, format!("expected a decimal number, found \"{text}\""))
            .hint("write it as `-12.50` or `1E+3`, without spaces and signs between the digits"))
    }
}

impl From<i64> for Decimal {
    fn from(number: i64) -> Self {
        Self(number.to_string())
    }
}

/// Whether Python's `Decimal` takes the text.
fn is_decimal(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let lower = unsigned.to_ascii_lowercase();
    if ["inf", "infinity", "nan", "snan"].contains(&lower.as_str()) {
        return true;
    }
    let (number, exponent) = lower.split_once('e').unwrap_or((&lower, "0"));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    digits(whole)
        && digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && digits(exponent)
        && !exponent.is_empty()
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let data = match (self.0.parse::<i128>(), self.0.parse::<f64>()) {
            (Ok(whole), _) if whole.to_string() == self.0 => Data::Whole(whole),
            (_, Ok(float)) if serde_json::to_string(&float).is_ok_and(|text| text == self.0) => {
                Data::Float(float)
            }
            _ => Data::Text(&self.0),
        };
        envelope::write(serializer, "decimal.Decimal", 1, &data)
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a> {
    Whole(i128),
    Float(f64),
    Text(&'a str),
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // As text from the beginning: a parsed number has lost its digits.
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let digits = if raw.get().starts_with('{') {
            let mut json = serde_json::Deserializer::from_str(raw.get());
            envelope::read(&mut json, &DECIMAL)
                .map(envelope::Read::into_data)
                .map_err(|error| without_position(&error))?
        } else {
            raw
        };
        let text = match digits.get().as_bytes() {
            [b'"', ..] => serde_json::from_str(digits.get()).map_err(de::Error::custom)?,
            _ => digits.get().to_owned(),
        };
        text.parse().map_err(de::Error::custom)
    }
}

/// The error without line and column, which are not those of the whole value.
fn without_position<E: de::Error>(error: &serde_json::Error) -> E {
    let text = error.to_string();
    E::custom(text.rsplit_once(" at line ").map_or(text.as_str(), |(before, _)| before))
}
