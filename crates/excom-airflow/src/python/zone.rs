//! Time zones.

use std::fmt;

use jiff::tz::{Offset, TimeZone};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};

use super::collections::Tuple;
use super::envelope::{self, Kind};

const ZONEINFO: &str = "zoneinfo.ZoneInfo";
const NAMED: &str = "pendulum.tz.timezone.Timezone";
const FIXED: &str = "pendulum.tz.timezone.FixedTimezone";

/// A time zone of Python's: `ZoneInfo`, or one of pendulum's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Zone {
    /// Coordinated universal time.
    Utc,
    /// Always so far from it.
    Fixed(Offset),
    /// A name of the time zone database, such as `Europe/Paris`. It is not looked up.
    Named(String),
}

impl Zone {
    /// The zone with its rules, from the time zone database of this machine.
    ///
    /// # Errors
    /// When the database has no zone of that name, or there is no database.
    pub fn time_zone(&self) -> Result<TimeZone, jiff::Error> {
        match self {
            Self::Utc => Ok(TimeZone::UTC),
            Self::Fixed(offset) => Ok(TimeZone::fixed(*offset)),
            Self::Named(name) => TimeZone::get(name),
        }
    }

    /// The zone of a name as Airflow takes it, with the abbreviations that earlier versions wrote.
    fn of_name(name: &str) -> Self {
        let hours = match name {
            "" | "UTC" => return Self::Utc,
            "EDT" => -4,
            "CDT" => -5,
            "MDT" => -6,
            "PDT" => -7,
            "CEST" => return Self::Named("CET".to_owned()),
            name => return Self::Named(name.to_owned()),
        };
        Self::Fixed(Offset::constant(hours))
    }

    fn of_seconds(seconds: i64) -> Option<Self> {
        match i32::try_from(seconds).ok()? {
            0 => Some(Self::Utc),
            seconds => Offset::from_seconds(seconds).ok().map(Self::Fixed),
        }
    }

    fn class(&self) -> &'static str {
        match self {
            Self::Named(_) => ZONEINFO,
            Self::Utc | Self::Fixed(_) => FIXED,
        }
    }
}

impl From<&TimeZone> for Zone {
    /// A zone without a name, such as the machine's own from a file, is UTC: what it says is lost.
    fn from(zone: &TimeZone) -> Self {
        match (zone.iana_name(), zone.to_fixed_offset()) {
            (Some("UTC"), _) => Self::Utc,
            (Some(name), _) => Self::Named(name.to_owned()),
            (None, Ok(offset)) if offset != Offset::UTC => Self::Fixed(offset),
            (None, _) => Self::Utc,
        }
    }
}

/// What says which zone it is: a name, or seconds from UTC.
struct Name<'a>(&'a Zone);

impl Serialize for Name<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Zone::Utc => serializer.serialize_str("UTC"),
            Zone::Fixed(offset) => serializer.serialize_i32(offset.seconds()),
            Zone::Named(name) => serializer.serialize_str(name),
        }
    }
}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        envelope::write(serializer, self.class(), 1, &Name(self))
    }
}

const ZONE: Kind =
    Kind { name: "a time zone", is: |class| matches!(class, ZONEINFO | NAMED | FIXED), newest: 1 };

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        envelope::read::<Named, _>(deserializer, &ZONE).map(|read| read.into_data().0)
    }
}

/// A zone as a part of a datetime: a tuple of name, class, version and whether that worked.
pub(super) struct OfDateTime<'a>(pub(super) &'a Zone);

impl Serialize for OfDateTime<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Tuple((Name(self.0), self.0.class(), 1, true)).serialize(serializer)
    }
}

/// A zone by its name or seconds, in any form that a datetime has it in.
pub(super) struct Named(pub(super) Zone);

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;
        impl<'de> Visitor<'de> for Forms {
            type Value = Named;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a time zone, or seconds from UTC")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Named, E> {
                Ok(Named(Zone::of_name(name)))
            }

            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Named, E> {
                let refusal = || E::invalid_value(de::Unexpected::Signed(seconds), &self);
                Zone::of_seconds(seconds).map(Named).ok_or_else(refusal)
            }

            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Named, E> {
                self.visit_i64(i64::try_from(seconds).unwrap_or(i64::MAX))
            }

            /// The first of the tuple says it all. Where Python could not name the zone it is empty: the
            /// instant is known all the same, and is told in UTC.
            fn visit_seq<A: SeqAccess<'de>>(self, mut tuple: A) -> Result<Named, A::Error> {
                let zone =
                    tuple.next_element::<Named>()?.ok_or_else(|| de::Error::invalid_length(0, &self))?;
                while tuple.next_element::<de::IgnoredAny>()?.is_some() {}
                Ok(zone)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Named, A::Error> {
                Tuple::<Named>::deserialize(MapAccessDeserializer::new(map)).map(|tuple| tuple.0)
            }
        }
        deserializer.deserialize_any(Forms)
    }
}
