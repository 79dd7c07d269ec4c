//! Numpy's scalars.

use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::envelope::{self, Kind};

/// A numpy scalar: written with the class that its Rust type is in numpy, and read from any class whose
/// numbers fit, or from a plain number.
///
/// ```
/// use excom_airflow::python::Numpy;
/// use excom_core::Value;
///
/// let value = Value::of(&Numpy(5_i64))?;
/// assert_eq!(value.as_str(), r#"{"__classname__":"numpy.int64","__version__":1,"__data__":5}"#);
/// assert_eq!(value.get::<Numpy<f64>>()?.0, 5.0);
/// # Ok::<(), excom_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Numpy<T>(pub T);

impl<T> Deref for Numpy<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// A Rust type that numpy has as a scalar.
pub trait Scalar: for<'de> Deserialize<'de> {
    /// Its class in numpy.
    const CLASS: &'static str;

    /// What is written for it.
    type Data: Serialize;

    /// The number as it is written: Python has no floats but doubles.
    fn data(&self) -> Self::Data;
}

macro_rules! scalars {
    ($($scalar:ty as $data:ty: $class:literal,)+) => {
        $(impl Scalar for $scalar {
            const CLASS: &'static str = $class;

            type Data = $data;

            fn data(&self) -> $data {
                (*self).into()
            }
        })+
    };
}

scalars! {
    i8 as i8: "numpy.int8",
    i16 as i16: "numpy.int16",
    i32 as i32: "numpy.int32",
    i64 as i64: "numpy.int64",
    u8 as u8: "numpy.uint8",
    u16 as u16: "numpy.uint16",
    u32 as u32: "numpy.uint32",
    u64 as u64: "numpy.uint64",
    f32 as f64: "numpy.float32",
    f64 as f64: "numpy.float64",
    bool as bool: "numpy.bool",
}

/// Not the complex ones: only the real part of them is ever written.
const SCALAR: Kind = Kind {
    name: "a number or bool of numpy",
    is: |class| {
        class.strip_prefix("numpy.").is_some_and(|name| {
            let bits = ["uint", "int", "float"].iter().find_map(|kind| name.strip_prefix(kind));
            matches!(name, "bool" | "bool_") || bits.is_some_and(|bits| bits.parse::<u8>().is_ok())
        })
    },
    newest: 1,
};

impl<T: Scalar> Serialize for Numpy<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        numpy::serialize(&self.0, serializer)
    }
}

impl<'de, T: Scalar> Deserialize<'de> for Numpy<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        numpy::deserialize(deserializer).map(Self)
    }
}

/// A field that is a numpy scalar in Python: `#[serde(with = "excom::python::numpy")]`.
pub mod numpy {
    use super::{Deserializer, SCALAR, Scalar, Serializer, envelope};

    /// Writes the number as Airflow does.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<T: Scalar, S: Serializer>(number: &T, serializer: S) -> Result<S::Ok, S::Error> {
        envelope::write(serializer, T::CLASS, 1, &number.data())
    }

    /// Reads a numpy scalar or a plain number.
    ///
    /// # Errors
    /// When it is something else, or out of the type's range.
    pub fn deserialize<'de, T: Scalar, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        envelope::read(deserializer, &SCALAR).map(envelope::Read::into_data)
    }
}
