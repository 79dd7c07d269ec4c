//! Decimal numbers, with the digits that they have.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::value::RawValue;

use super::envelope::{self, Kind};

/// A Python `Decimal`, as its text: no digit is lost on the way, whatever type you compute with.
///
/// Airflow writes a number, and with a fraction a float. So does Excom where the float has the same digits;
/// where it has not (`1.10`, or more than 17 digits) it writes text, which Airflow reads exactly.
///
/// ```
/// use excom_airflow::python::Decimal;
/// use excom_core::Value;
///
/// let price: Decimal = "9.90".parse()?;
/// let value = Value::of(&price)?;
/// assert_eq!(value.as_str(), r#"{"__classname__":"decimal.Decimal","__version__":1,"__data__":"9.90"}"#);
/// assert_eq!(value.get::<Decimal>()?.as_str(), "9.90");
/// # Ok::<(), Box<dyn std::error::Error>>(())
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

/// Text that is no decimal number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotDecimal(String);

impl fmt::Display for NotDecimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected a decimal number, found \"{}\"", self.0)
    }
}

impl std::error::Error for NotDecimal {}

impl FromStr for Decimal {
    type Err = NotDecimal;

    fn from_str(text: &str) -> Result<Self, NotDecimal> {
        if is_decimal(text) { Ok(Self(text.to_owned())) } else { Err(NotDecimal(text.to_owned())) }
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
        let write = |data: Data<'_>, serializer| envelope::write(serializer, "decimal.Decimal", 1, &data);
        match (self.0.parse::<i128>(), self.0.parse::<f64>()) {
            (Ok(whole), _) if whole.to_string() == self.0 => write(Data::Whole(whole), serializer),
            (_, Ok(float)) if float.is_finite() && float.to_string() == self.0 => {
                write(Data::Float(float), serializer)
            }
            _ => write(Data::Text(&self.0), serializer),
        }
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
        envelope::read::<Digits, _>(deserializer, &DECIMAL).map(|read| Self(read.into_data().0))
    }
}

/// The digits of a number or of text, as they are in the JSON.
struct Digits(String);

impl<'de> Deserialize<'de> for Digits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let text = match raw.get().as_bytes() {
            [b'"', ..] => serde_json::from_str(raw.get()).map_err(de::Error::custom)?,
            _ => raw.get().to_owned(),
        };
        text.parse::<Decimal>().map(|decimal| Self(decimal.0)).map_err(de::Error::custom)
    }
}
