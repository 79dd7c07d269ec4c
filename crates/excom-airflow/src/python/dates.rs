//! Dates and spans of time.

use jiff::SignedDuration;
use jiff::civil;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::envelope::{self, Kind};
use super::seconds::Seconds;

/// A Python `date`, also pendulum's.
///
/// ```
/// use excom_airflow::python::Date;
/// use excom_core::Value;
///
/// let value = Value::of(&Date(jiff::civil::date(2026, 11, 21)))?;
/// assert_eq!(value.as_str(), r#"{"__classname__":"datetime.date","__version__":2,"__data__":"2026-11-21"}"#);
/// # Ok::<(), excom_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(pub civil::Date);

const DATE: Kind =
    Kind { name: "a date", is: |class| matches!(class, "datetime.date" | "pendulum.date.Date"), newest: 2 };

impl Serialize for Date {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        envelope::write(serializer, "datetime.date", 2, &self.0)
    }
}

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        envelope::read(deserializer, &DATE).map(|read| Self(read.into_data()))
    }
}

/// A Python `timedelta`. It has microseconds; what is finer is cut off when it is written.
///
/// ```
/// use excom_airflow::python::TimeDelta;
/// use excom_core::Value;
///
/// let value = Value::of(&TimeDelta(jiff::SignedDuration::from_mins(1)))?;
/// assert_eq!(value.as_str(), r#"{"__classname__":"datetime.timedelta","__version__":2,"__data__":60.0}"#);
/// # Ok::<(), excom_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeDelta(pub SignedDuration);

const TIMEDELTA: Kind = Kind { name: "a timedelta", is: |class| class == "datetime.timedelta", newest: 2 };

impl Serialize for TimeDelta {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let micros = i64::try_from(self.0.as_micros()).map_err(|_| {
            serde::ser::Error::custom(format!("{:?} is longer than a timedelta can be", self.0))
        })?;
        envelope::write(serializer, "datetime.timedelta", 2, &Seconds { micros })
    }
}

impl<'de> Deserialize<'de> for TimeDelta {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds: Seconds = envelope::read(deserializer, &TIMEDELTA)?.into_data();
        Ok(Self(SignedDuration::from_micros(seconds.micros)))
    }
}

super::with! {
    /// A field that is a `date` in Python: `#[serde(with = "excom::python::date")]`.
    date: Date of jiff::civil::Date
}

super::with! {
    /// A field that is a `timedelta` in Python: `#[serde(with = "excom::python::timedelta")]`.
    timedelta: TimeDelta of jiff::SignedDuration
}
