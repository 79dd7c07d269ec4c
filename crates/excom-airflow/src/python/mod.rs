//! Values as Airflow's Python writes them.
//!
//! JSON has no dates, sets or tuples. Airflow writes them as dicts that name a Python class, a version and
//! the data, and makes them Python objects again when a task pulls them. The types here read and write
//! that form, so that a Rust task and a Python task exchange more than JSON:
//!
//! | Python | Rust | for a field of |
//! | --- | --- | --- |
//! | `datetime`, `pendulum.DateTime` | [`DateTime`] | `jiff`'s `Timestamp`, `Zoned`, `civil::DateTime`: [`datetime`] |
//! | `date` | [`Date`] | `jiff::civil::Date`: [`date`] |
//! | `timedelta` | [`TimeDelta`] | `jiff::SignedDuration`: [`timedelta`] |
//! | `ZoneInfo`, pendulum's zones | [`Zone`] | |
//! | `tuple`, named tuples | [`Tuple`] | a Rust tuple: [`tuple`](mod@tuple) |
//! | `set`, `frozenset` | [`Set`], [`FrozenSet`] | a set or a list: [`set`], [`frozenset`] |
//! | `Decimal` | [`Decimal`] | |
//! | `UUID` | [`Uuid`] | `uuid::Uuid`: [`uuid`] |
//! | numpy's numbers and bool | [`Numpy`] | numbers and `bool`: [`numpy`] |
//! | dataclasses, attrs, pydantic models, classes that serialize themselves | [`Object`] | |
//! | `Asset`, `AssetAlias`, `ObjectStoragePath` | [`Asset`], [`AssetAlias`], [`ObjectStoragePath`] | |
//!
//! A type stands wherever a type can, also inside others (`Vec<Tuple<(Date, Decimal)>>`). A module is for a
//! field that has its plain type: `#[serde(with = "excom::python::datetime")]`. A field that may be none has
//! the type: `Option<Date>`.
//!
//! ```
//! use excom_airflow::python::{self, Decimal, Set};
//! use excom_core::Value;
//! use serde::{Deserialize, Serialize};
//! use std::collections::BTreeSet;
//!
//! #[derive(Serialize, Deserialize)]
//! struct Order {
//!     #[serde(with = "python::datetime")]
//!     placed: jiff::Timestamp,
//!     tags: Set<BTreeSet<String>>,
//!     price: Decimal,
//! }
//!
//! // What a Python task returned as
//! // {"placed": datetime(2026, 11, 21, tzinfo=UTC), "tags": {"new"}, "price": Decimal("9.5")}
//! let value = Value::parse(r#"{
//!     "placed": {"__classname__": "datetime.datetime", "__version__": 2, "__data__":
//!         {"timestamp": 1795219200.0, "tz": {"__classname__": "builtins.tuple", "__version__": 1,
//!             "__data__": ["UTC", "pendulum.tz.timezone.FixedTimezone", 1, true]}}},
//!     "tags": {"__classname__": "builtins.set", "__version__": 1, "__data__": ["new"]},
//!     "price": {"__classname__": "decimal.Decimal", "__version__": 1, "__data__": 9.5}
//! }"#)?;
//! let order: Order = value.get()?;
//! assert_eq!(order.placed.to_string(), "2026-11-21T00:00:00Z");
//! assert!(order.tags.contains("new"));
//! assert_eq!(order.price.as_str(), "9.5");
//!
//! // Who does not care for Python's types takes them off.
//! assert_eq!(python::plain(&value).as_str(), r#"{"placed":"2026-11-21T00:00:00+00:00","tags":["new"],"price":9.5}"#);
//! # Ok::<(), excom_core::Error>(())
//! ```
//!
//! **What is written** is what Airflow 3 writes, and its workers read it. **What is read** is that, what
//! earlier versions wrote, and the plain JSON that a value without a class would be (a list for a set, ISO
//! text for a date). No class is ever imported, called or looked up: a class name is text that is compared
//! or handed on.

mod asset;
mod collections;
mod dates;
mod datetimes;
mod decimal;
mod dumped;
mod envelope;
mod numbers;
mod object;
mod older;
mod parts;
mod plain;
mod seconds;
mod shown;
#[cfg(test)]
mod tests;
mod uuids;
mod zone;

pub use asset::{Asset, AssetAlias, ObjectStoragePath};
pub use collections::{FrozenSet, Set, Tuple, frozenset, set, tuple};
pub use dates::{Date, TimeDelta, date, timedelta};
pub use datetimes::{DateTime, Moment, datetime};
pub use decimal::Decimal;
pub(crate) use dumped::{Dump, Masking, dumped};
pub use numbers::{Numpy, Scalar, numpy};
pub use object::Object;
pub(crate) use older::older;
pub(crate) use parts::Parts;
pub use plain::plain;
pub use shown::{deserialized, stringified};
pub use uuids::{Uuid, uuid};
pub use zone::Zone;

/// Makes a module for `#[serde(with = "…")]` out of a wrapper.
macro_rules! with {
    ($(#[$doc:meta])* $module:ident: $wrapper:ident of $inner:ty) => {
        $(#[$doc])*
        pub mod $module {
            use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

            use super::$wrapper;

            /// Writes the value as Airflow does.
            ///
            /// # Errors
            /// Those of the serializer.
            pub fn serialize<S: Serializer>(value: &$inner, serializer: S) -> Result<S::Ok, S::Error> {
                $wrapper(*value).serialize(serializer)
            }

            /// Reads what Airflow writes.
            ///
            /// # Errors
            /// When it is of another class, or its data is malformed.
            pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<$inner, D::Error> {
                $wrapper::deserialize(deserializer).map(|value| value.0)
            }
        }
    };
}
use with;
