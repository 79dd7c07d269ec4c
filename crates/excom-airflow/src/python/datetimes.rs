//! Datetimes: with a zone an instant, without one the reading of some clock.

use std::fmt;

use jiff::civil;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeStruct as _, Serializer};

use super::envelope::{self, Kind};
use super::seconds::Seconds;
use super::zone::{Named, OfDateTime, Zone};

const CLASS: &str = "datetime.datetime";
const TIMESTAMP: &str = "timestamp";
const TZ: &str = "tz";

const DATETIME: Kind =
    Kind { name: "a datetime", is: |class| matches!(class, CLASS | "pendulum.datetime.DateTime"), newest: 2 };

/// A Python `datetime`, also pendulum's, in microseconds.
///
/// A naive datetime, one without a zone, is written by Airflow as the seconds that it would be in the zone
/// of the machine that writes it, and read in the zone of the one that reads it. Here that zone is UTC, as
/// it is on most workers.
///
/// ```
/// use excom_airflow::python::{DateTime, Zone};
/// use jiff::tz::offset;
///
/// let zoned = jiff::civil::date(2026, 11, 21).at(10, 30, 0, 0).to_zoned(offset(2).to_time_zone())?;
/// let time = DateTime::from(&zoned);
/// assert_eq!(time.zone(), Some(&Zone::Fixed(offset(2))));
/// assert_eq!(time.timestamp().unwrap().to_string(), "2026-11-21T08:30:00Z");
/// assert_eq!(time.to_string(), "2026-11-21T10:30:00+02:00");
/// # Ok::<(), jiff::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DateTime {
    /// The instant; of a naive one, the instant at which a clock in UTC shows it.
    at: Timestamp,
    zone: Option<Zone>,
}

impl DateTime {
    /// An instant as clocks in a zone show it.
    pub fn new(at: Timestamp, zone: Zone) -> Self {
        Self { at: whole(at), zone: Some(zone) }
    }

    /// The zone; none when it is naive.
    pub fn zone(&self) -> Option<&Zone> {
        self.zone.as_ref()
    }

    /// The instant; none when it is naive, because then nobody knows.
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.zone.as_ref().map(|_| self.at)
    }

    /// What the clock shows, when it is naive.
    pub fn naive(&self) -> Option<civil::DateTime> {
        self.zone.is_none().then(|| TimeZone::UTC.to_datetime(self.at))
    }

    /// The instant with the rules of its zone; none when it is naive.
    ///
    /// # Errors
    /// When the zone is not in the time zone database of this machine.
    pub fn zoned(&self) -> Result<Option<Zoned>, jiff::Error> {
        self.zone.as_ref().map(|zone| Ok(self.at.to_zoned(zone.time_zone()?))).transpose()
    }
}

/// The instant in whole microseconds, as Python's are.
fn whole(at: Timestamp) -> Timestamp {
    // The remainder is taken away, so that times before 1970 are cut like all others.
    Timestamp::from_microsecond(at.as_nanosecond().div_euclid(1000) as i64).unwrap_or(at)
}

impl fmt::Display for DateTime {
    /// ISO 8601, as Python's `isoformat` has it. A zone that this machine does not know is told in UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(naive) = self.naive() {
            return fmt::Display::fmt(&naive.strftime("%Y-%m-%dT%H:%M:%S%.f"), f);
        }
        let zoned = self.zoned().ok().flatten().unwrap_or_else(|| self.at.to_zoned(TimeZone::UTC));
        fmt::Display::fmt(&zoned.strftime("%Y-%m-%dT%H:%M:%S%.f%:z"), f)
    }
}

impl From<Timestamp> for DateTime {
    fn from(at: Timestamp) -> Self {
        Self::new(at, Zone::Utc)
    }
}

impl From<&Zoned> for DateTime {
    fn from(zoned: &Zoned) -> Self {
        Self::new(zoned.timestamp(), Zone::from(zoned.time_zone()))
    }
}

impl Serialize for DateTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Data<'a>(&'a DateTime);
        impl Serialize for Data<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut data = serializer.serialize_struct("DateTime", 2)?;
                data.serialize_field(TIMESTAMP, &Seconds { micros: self.0.at.as_microsecond() })?;
                data.serialize_field(TZ, &self.0.zone.as_ref().map(OfDateTime))?;
                data.end()
            }
        }
        envelope::write(serializer, CLASS, 2, &Data(self))
    }
}

impl<'de> Deserialize<'de> for DateTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        envelope::read::<Data, _>(deserializer, &DATETIME).map(|read| read.into_data().0)
    }
}

/// What a datetime's data was and is: a dict, a number of seconds, or ISO text.
struct Data(DateTime);

fn instant<E: de::Error>(seconds: Seconds) -> Result<Timestamp, E> {
    Timestamp::from_microsecond(seconds.micros).map_err(|_| {
        E::custom(format!(
            "expected a datetime, found {} seconds, which no calendar has",
            seconds.micros / 1_000_000
        ))
    })
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;
        impl<'de> Visitor<'de> for Forms {
            type Value = Data;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a datetime")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Data, A::Error> {
                let (mut seconds, mut zone) = (None, None);
                while let Some(name) = map.next_key::<String>()? {
                    match name.as_str() {
                        TIMESTAMP => seconds = Some(map.next_value()?),
                        TZ => zone = map.next_value::<Option<Named>>()?,
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                let seconds = seconds.ok_or_else(|| de::Error::missing_field(TIMESTAMP))?;
                Ok(Data(DateTime { at: instant(seconds)?, zone: zone.map(|zone| zone.0) }))
            }

            /// The legacy form is a timestamp in UTC.
            fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Data, E> {
                let seconds = Seconds::deserialize(de::value::F64Deserializer::new(seconds))?;
                instant(seconds).map(|at| Data(at.into()))
            }

            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Data, E> {
                self.visit_f64(seconds as f64)
            }

            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Data, E> {
                self.visit_f64(seconds as f64)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Data, E> {
                iso(text).map(Data).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Forms)
    }
}

/// ISO 8601, with an offset or `Z`, or without: naive.
fn iso(text: &str) -> Option<DateTime> {
    let pieces = jiff::fmt::temporal::Pieces::parse(text).ok()?;
    let time = civil::DateTime::from_parts(pieces.date(), pieces.time()?);
    match pieces.to_numeric_offset() {
        Some(offset) => {
            Some(DateTime::new(offset.to_timestamp(time).ok()?, Zone::from(&TimeZone::fixed(offset))))
        }
        None => time.to_python().ok(),
    }
}

/// A Rust type that a Python datetime can be.
pub trait Moment: Sized {
    /// The datetime that it is in Python.
    ///
    /// # Errors
    /// When it is out of the calendar's range.
    fn to_python(&self) -> Result<DateTime, jiff::Error>;

    /// The type from the datetime that it is in Python.
    ///
    /// # Errors
    /// A sentence that says why it is none.
    fn from_python(time: DateTime) -> Result<Self, String>;
}

impl Moment for DateTime {
    fn to_python(&self) -> Result<DateTime, jiff::Error> {
        Ok(self.clone())
    }

    fn from_python(time: DateTime) -> Result<Self, String> {
        Ok(time)
    }
}

/// An instant, written in UTC.
impl Moment for Timestamp {
    fn to_python(&self) -> Result<DateTime, jiff::Error> {
        Ok((*self).into())
    }

    fn from_python(time: DateTime) -> Result<Self, String> {
        time.timestamp().ok_or_else(|| format!("expected a datetime with a zone, found {time} without one"))
    }
}

/// An instant with a zone that this machine knows.
impl Moment for Zoned {
    fn to_python(&self) -> Result<DateTime, jiff::Error> {
        Ok(self.into())
    }

    fn from_python(time: DateTime) -> Result<Self, String> {
        match time.zoned() {
            Ok(zoned) => {
                zoned.ok_or_else(|| format!("expected a datetime with a zone, found {time} without one"))
            }
            Err(error) => Err(format!("the time zone of {time} cannot be had here: {error}")),
        }
    }
}

/// What a clock shows: a naive datetime.
impl Moment for civil::DateTime {
    fn to_python(&self) -> Result<DateTime, jiff::Error> {
        Ok(DateTime { at: whole(TimeZone::UTC.to_timestamp(*self)?), zone: None })
    }

    fn from_python(time: DateTime) -> Result<Self, String> {
        time.naive().ok_or_else(|| format!("expected a datetime without a zone, found {time}"))
    }
}

/// A field that is a `datetime` in Python: `#[serde(with = "excom::python::datetime")]`.
///
/// The field is a `jiff::Timestamp`, a `jiff::Zoned`, a `jiff::civil::DateTime` (naive), or a
/// [`DateTime`], which is all of them.
pub mod datetime {
    use super::{DateTime, Deserialize as _, Deserializer, Moment, Serialize as _, Serializer, de};

    /// Writes the time as Airflow does.
    ///
    /// # Errors
    /// When it is out of the calendar's range, and those of the serializer.
    pub fn serialize<T: Moment, S: Serializer>(time: &T, serializer: S) -> Result<S::Ok, S::Error> {
        time.to_python().map_err(serde::ser::Error::custom)?.serialize(serializer)
    }

    /// Reads what Airflow writes.
    ///
    /// # Errors
    /// When it is no datetime, or has a zone where the type has none, or the other way round.
    pub fn deserialize<'de, T: Moment, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        T::from_python(DateTime::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}
