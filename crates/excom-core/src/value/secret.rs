//! Secrets: the mark that goes with a value into and out of Rust types.

use std::cell::Cell;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What is shown in place of a secret.
pub const REDACTED: &str = "***";

/// Something that nothing shows: `Debug` and `Display` are `***`. A [`Value`](super::Value) that is made of it, or of
/// what holds one, is secret.
///
/// Reading one takes any value, whether it was pushed as a secret or not. Written anywhere but into a `Value`, such as
/// into a log as JSON, it is the text `***`.
///
/// ```
/// use excom_core::Value;
/// use excom_core::value::Secret;
///
/// let token = Secret::new("hunter2".to_owned());
/// assert_eq!(format!("{token} {token:?}"), "*** ***");
/// let value = Value::of(&[&token])?;
/// assert!(value.is_secret());
/// assert_eq!(value.get::<Vec<Secret<String>>>()?[0].expose(), "hunter2");
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
        if note() { self.0.serialize(serializer) } else { serializer.serialize_str(REDACTED) }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Secret<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self)
    }
}

thread_local! {
    /// Whether a value is being written on this thread, and whether there was a secret in it so far. A serializer
    /// has no place for such a mark.
    static WRITING: Cell<Option<bool>> = const { Cell::new(None) };
    /// Whether what is being read on this thread is a secret.
    static READING: Cell<bool> = const { Cell::new(false) };
}

/// Sets a cell until it is dropped, so that it is as before also when somebody's `Serialize` panics.
struct Within<T: Copy + 'static>(&'static std::thread::LocalKey<Cell<T>>, T);

impl<T: Copy> Within<T> {
    fn new(cell: &'static std::thread::LocalKey<Cell<T>>, value: T) -> Self {
        Self(cell, cell.replace(value))
    }
}

impl<T: Copy> Drop for Within<T> {
    fn drop(&mut self) {
        self.0.set(self.1);
    }
}

/// Writes a value, and tells whether there was a secret in it.
pub(super) fn written<T>(write: impl FnOnce() -> T) -> (T, bool) {
    let _within = Within::new(&WRITING, Some(false));
    let written = write();
    (written, WRITING.get() == Some(true))
}

/// Tells the value that is being written of a secret in it; `false` when none is being written.
pub(super) fn note() -> bool {
    let writing = WRITING.get().is_some();
    if writing {
        WRITING.set(Some(true));
    }
    writing
}

/// Reads a value, which is a secret or not.
pub(super) fn read<T>(secret: bool, read: impl FnOnce() -> T) -> T {
    let _within = Within::new(&READING, secret);
    read()
}

/// Whether what is being read is a secret.
pub(super) fn is_read() -> bool {
    READING.get()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::Value;

    #[test]
    fn the_mark_goes_with_the_value() {
        let inner = Value::of("x").unwrap().into_secret();
        let outer = Value::of(&BTreeMap::from([("a", inner)])).unwrap();
        assert!(outer.is_secret());
        assert_eq!(outer.as_str(), r#"{"a":"x"}"#);
        let back: BTreeMap<String, Value> = outer.get().unwrap();
        assert!(back["a"].is_secret());
        assert!(!Value::of("x").unwrap().is_secret(), "the next one is not");
        assert!(!Value::parse("[1]").unwrap().get::<Vec<Value>>().unwrap()[0].is_secret());
    }

    #[test]
    fn a_secret_is_written_into_values_only() {
        let secret = Secret::new(vec![1, 2]);
        assert_eq!(serde_json::to_string(&secret).unwrap(), r#""***""#);
        assert_eq!(Value::of(&secret).unwrap().as_str(), "[1,2]");
        assert_eq!(serde_json::to_string(&secret).unwrap(), r#""***""#);
        let read: Secret<String> = Value::of("plain").unwrap().get().unwrap();
        assert_eq!((read.expose().as_str(), format!("{read:?}").as_str()), ("plain", "***"));
    }

    #[test]
    fn a_number_that_json_has_not_is_refused_in_a_secret_too() {
        assert!(Value::of(&Secret::new(f64::NAN)).is_err());
        assert!(Value::of(&Secret::new(None::<u8>)).unwrap().is_null());
    }
}
