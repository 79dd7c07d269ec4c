//! Tuples and sets.

use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::envelope::{self, Kind};

/// A list, a tuple and a set have the same data. Any of them is read as any other: Airflow itself makes
/// lists of tuples where it keeps a value in an object store.
const COLLECTION: Kind = Kind {
    name: "a list, a tuple or a set",
    is: |class| matches!(class, "builtins.tuple" | "builtins.set" | "builtins.frozenset"),
    newest: 1,
};

macro_rules! collection {
    ($(#[$doc:meta])* $wrapper:ident, $module:ident, $class:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $wrapper<T>(pub T);

        impl<T> Deref for $wrapper<T> {
            type Target = T;

            fn deref(&self) -> &T {
                &self.0
            }
        }

        impl<T> DerefMut for $wrapper<T> {
            fn deref_mut(&mut self) -> &mut T {
                &mut self.0
            }
        }

        impl<T> From<T> for $wrapper<T> {
            fn from(inner: T) -> Self {
                Self(inner)
            }
        }

        impl<T: Serialize> Serialize for $wrapper<T> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $module::serialize(&self.0, serializer)
            }
        }

        impl<'de, T: Deserialize<'de>> Deserialize<'de> for $wrapper<T> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $module::deserialize(deserializer).map(Self)
            }
        }

        #[doc = concat!("A field that is ", $what, " in Python: `#[serde(with = \"excom::python::", stringify!($module), "\")]`.")]
        pub mod $module {
            use super::{COLLECTION, Deserialize, Deserializer, Serialize, Serializer, envelope};

            /// Writes the value as Airflow does.
            ///
            /// # Errors
            /// Those of the serializer.
            pub fn serialize<T: Serialize, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
                envelope::write(serializer, $class, 1, value)
            }

            /// Reads a tuple, a set, a frozen set or a list.
            ///
            /// # Errors
            /// When it is something else, or its elements do not fit.
            pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
                deserializer: D,
            ) -> Result<T, D::Error> {
                envelope::read(deserializer, &COLLECTION).map(envelope::Read::into_data)
            }
        }
    };
}

collection! {
    /// A Python tuple. What it holds is a Rust tuple, or a list when its elements are alike. Named tuples
    /// are plain tuples on their way.
    ///
    /// ```
    /// use excom_airflow::python::Tuple;
    /// use excom_core::Value;
    ///
    /// let value = Value::of(&Tuple(("a", 1)))?;
    /// assert_eq!(value.as_str(), r#"{"__classname__":"builtins.tuple","__version__":1,"__data__":["a",1]}"#);
    /// assert_eq!(value.get::<Tuple<(String, u8)>>()?.0, ("a".to_owned(), 1));
    /// # Ok::<(), excom_core::Error>(())
    /// ```
    Tuple, tuple, "builtins.tuple", "a tuple"
}

collection! {
    /// A Python set. What it holds is a `BTreeSet`, a `HashSet`, or a list.
    Set, set, "builtins.set", "a set"
}

collection! {
    /// A Python frozenset. What it holds is a `BTreeSet`, a `HashSet`, or a list.
    FrozenSet, frozenset, "builtins.frozenset", "a frozenset"
}
