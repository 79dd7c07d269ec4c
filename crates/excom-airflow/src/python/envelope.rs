//! The dict by which Airflow says what class a value is of: class name, version and data.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{BorrowedStrDeserializer, SeqAccessDeserializer, UnitDeserializer};
use serde::de::{
    self, Deserialize, Deserializer, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};
use serde::ser::{Serialize, SerializeStruct as _, Serializer};

pub(super) const CLASS: &str = "__classname__";
pub(super) const VERSION: &str = "__version__";
pub(super) const DATA: &str = "__data__";
/// The form that Airflow 2 wrote in some places: a short name and the data.
pub(super) const LEGACY_TYPE: &str = "__type";
pub(super) const LEGACY_DATA: &str = "__var";
/// The legacy name of what is no class: its data is the value.
pub(super) const LEGACY_DICT: &str = "dict";

/// The class that a legacy name stands for.
pub(super) fn legacy_class(name: &str) -> &str {
    match name {
        "tuple" => "builtins.tuple",
        "set" => "builtins.set",
        "frozenset" => "builtins.frozenset",
        "timedelta" => "datetime.timedelta",
        "datetime" => "datetime.datetime",
        other => other,
    }
}

/// Which classes a Rust type reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    /// What it is, for messages: `a datetime`.
    pub(super) name: &'static str,
    /// Whether a class is one of them.
    pub(super) is: fn(&str) -> bool,
    /// The newest version of the form that is known.
    pub(super) newest: u64,
}

/// What was read: an object with its class, or plain JSON where an object could have been.
#[derive(Debug)]
pub(super) enum Read<D> {
    Object { class: String, version: u64, data: D },
    Plain(D),
}

impl<D> Read<D> {
    pub(super) fn into_data(self) -> D {
        match self {
            Self::Object { data, .. } | Self::Plain(data) => data,
        }
    }
}

/// Writes an object.
pub(super) fn write<T: Serialize + ?Sized, S: Serializer>(
    serializer: S,
    class: &str,
    version: u64,
    data: &T,
) -> Result<S::Ok, S::Error> {
    let mut envelope = serializer.serialize_struct("Envelope", 3)?;
    envelope.serialize_field(CLASS, class)?;
    envelope.serialize_field(VERSION, &version)?;
    envelope.serialize_field(DATA, data)?;
    envelope.end()
}

/// Reads an object of a kind whose data is a `T`, or plain JSON that is a `T` and no dict.
pub(super) fn read<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
    kind: &'static Kind,
) -> Result<Read<T>, D::Error> {
    deserializer.deserialize_any(Envelope { kind, of: PhantomData })
}

struct Envelope<T> {
    kind: &'static Kind,
    of: PhantomData<T>,
}

impl<T> Envelope<T> {
    fn check<E: de::Error>(&self, class: &str, version: Option<u64>) -> Result<(), E> {
        let Kind { name, is, newest } = self.kind;
        if class.is_empty() {
            return Err(E::custom(format!("expected {name}, found an object that names no class")));
        }
        if !is(class) {
            return Err(E::custom(format!("expected {name}, found an object of the Python class `{class}`")));
        }
        match version.filter(|version| version > newest) {
            Some(version) => Err(E::custom(format!(
                "`{class}` is written in version {version}, and the newest that is known is {newest}"
            ))),
            None => Ok(()),
        }
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Envelope<T> {
    type Value = Read<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Read<T>, A::Error> {
        let (mut class, mut version, mut data) = (None::<String>, None, None);
        // The names come in any order: PostgreSQL sorts them by length, so the data is first there.
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                CLASS => class = Some(map.next_value()?),
                LEGACY_TYPE => {
                    let short: String = map.next_value()?;
                    class = Some(legacy_class(&short).to_owned());
                    version.get_or_insert(0);
                }
                VERSION => version = Some(map.next_value()?),
                DATA | LEGACY_DATA => {
                    // Said before what the data of a wrong class is like.
                    if let Some(class) = &class {
                        self.check(class, version)?;
                    }
                    data = Some(map.next_value()?);
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let (Some(class), Some(version)) = (class, version) else {
            let name = self.kind.name;
            return Err(de::Error::custom(format!("expected {name}, found a dict without a Python class")));
        };
        self.check(&class, Some(version))?;
        let data = data.map_or_else(|| T::deserialize(UnitDeserializer::new()), Ok)?;
        Ok(Read::Object { class, version, data })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Read<T>, A::Error> {
        T::deserialize(SeqAccessDeserializer::new(list)).map(Read::Plain)
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Read<T>, E> {
        T::deserialize(BorrowedStrDeserializer::new(text)).map(Read::Plain)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Read<T>, E> {
        T::deserialize(text.into_deserializer()).map(Read::Plain)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Read<T>, E> {
        T::deserialize(value.into_deserializer()).map(Read::Plain)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Read<T>, E> {
        T::deserialize(value.into_deserializer()).map(Read::Plain)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Read<T>, E> {
        T::deserialize(value.into_deserializer()).map(Read::Plain)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Read<T>, E> {
        T::deserialize(value.into_deserializer()).map(Read::Plain)
    }
}
