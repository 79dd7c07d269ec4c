//! Secrets in the types of tasks.

use std::borrow::Cow;
use std::fmt;

use excom_core::value::secret::{REDACTED, mark};
use schemars::{JsonSchema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::arg::{Input, IntoArg, Many, One, XComArg};
use crate::params::Param;
use crate::sequence::Expand;

/// Something that nothing shows: `Debug` and `Display` are `***`. What a task returns or pushes is a secret value when
/// it is one, or holds one: it is stored encrypted, and no list, log or report shows any of it.
///
/// An argument of this type takes what an argument of type `T` takes, whether it was pushed as a secret or not.
/// Serialized anywhere but into an XCom, such as into a log, it is the text `***`.
///
/// ```
/// # extern crate excom_flow as excom;
/// use excom::prelude::*;
///
/// #[task]
/// fn log_in(user: String) -> Secret<String> {
///     Secret::new(format!("token of {user}"))
/// }
///
/// #[task]
/// fn fetch(token: Secret<String>) -> usize {
///     println!("with the token {token}");
///     token.expose().len()
/// }
///
/// #[dag]
/// fn fetching(dag: &Dag) {
///     fetch(dag, log_in(dag, "ana"));
/// }
/// # assert_eq!(fetching().graph()?.tasks().len(), 2);
/// # Ok::<(), excom_core::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Makes a secret of it.
    pub const fn new(inner: T) -> Self {
        Self(inner)
    }

    /// What is secret, for where it is used.
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// What is secret, no longer kept as such.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> From<T> for Secret<T> {
    fn from(inner: T) -> Self {
        Self(inner)
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl<T> fmt::Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl<T: Serialize> Serialize for Secret<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if mark() { self.0.serialize(serializer) } else { serializer.serialize_str(REDACTED) }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Secret<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self)
    }
}

impl<T: JsonSchema> JsonSchema for Secret<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> schemars::Schema {
        T::json_schema(generator)
    }
}

// Not offered where an argument of another type does not fit.
#[diagnostic::do_not_recommend]
impl<T> IntoArg<Secret<T>> for XComArg<T, One> {
    type Arity = One;

    fn into_arg(self) -> Input {
        self.into()
    }
}

#[diagnostic::do_not_recommend]
impl<T> IntoArg<Secret<T>> for Param<T> {
    type Arity = One;

    fn into_arg(self) -> Input {
        self.into()
    }
}

#[diagnostic::do_not_recommend]
impl<T> IntoArg<Secret<T>> for Expand<T> {
    type Arity = Many;

    fn into_arg(self) -> Input {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use excom_core::Value;

    use super::*;

    #[test]
    fn a_secret_is_written_into_values_only() {
        let secret = Secret::new(vec![1, 2]);
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
        assert_eq!(serde_json::to_string(&secret).unwrap(), r#""***""#);
        let value = Value::of(&BTreeMap::from([("a", &secret)])).unwrap();
        assert!(value.is_secret());
        assert_eq!(value.as_str(), r#"{"a":[1,2]}"#);
        assert_eq!(serde_json::to_string(&secret).unwrap(), r#""***""#, "also afterwards");
        let read: Secret<String> = Value::of("plain").unwrap().get().unwrap();
        assert_eq!(read.expose(), "plain");
    }

    #[test]
    fn what_json_has_not_is_refused_in_a_secret_too() {
        assert!(Value::of(&Secret::new(f64::NAN)).is_err());
        assert!(Value::of(&Secret::new(None::<u8>)).unwrap().is_null());
    }
}
