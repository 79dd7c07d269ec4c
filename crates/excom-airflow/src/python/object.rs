//! Objects of classes that Excom does not know.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::envelope::{self, Kind, Read};

/// An object of a Python class with its data as a Rust type: a dataclass, an attrs class, a pydantic model,
/// or a class that serializes itself.
///
/// The class is a name and nothing else: Excom never imports it. When a Python task pulls the object,
/// Airflow makes one of that class if its setting `allowed_deserialization_classes` allows it.
///
/// A dataclass inside another comes without a class of its own; there its data is a plain struct.
///
/// ```
/// use excom_airflow::python::Object;
/// use excom_core::Value;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Point { x: i64, y: i64 }
///
/// let value = Value::of(&Object::new("shapes.Point", 0, Point { x: 1, y: 2 }))?;
/// assert_eq!(value.as_str(), r#"{"__classname__":"shapes.Point","__version__":0,"__data__":{"x":1,"y":2}}"#);
/// let point: Object<Point> = value.get()?;
/// assert_eq!((point.class.as_str(), point.data.y), ("shapes.Point", 2));
/// # Ok::<(), excom_core::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Object<T> {
    /// The class, with the modules that it is in.
    pub class: String,
    /// The version of the class that wrote it: its `__version__`, 0 without one, 1 for pydantic.
    pub version: u64,
    /// Its fields.
    pub data: T,
}

impl<T> Object<T> {
    /// An object of a class.
    pub fn new(class: impl Into<String>, version: u64, data: T) -> Self {
        Self { class: class.into(), version, data }
    }
}

const OBJECT: Kind = Kind { name: "an object of a Python class", is: |_| true, newest: u64::MAX };

impl<T: Serialize> Serialize for Object<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        envelope::write(serializer, &self.class, self.version, &self.data)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match envelope::read(deserializer, &OBJECT)? {
            Read::Object { class, version, data } => Ok(Self { class, version, data }),
            Read::Plain(_) => {
                Err(de::Error::custom("expected an object of a Python class, found a plain value"))
            }
        }
    }
}
