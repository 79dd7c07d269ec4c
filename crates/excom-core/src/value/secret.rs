//! The mark of secrets: how it goes with a value into and out of Rust types.

use std::cell::Cell;

/// What is shown in place of a secret.
pub const REDACTED: &str = "***";

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

/// For types that keep secrets, where they are serialized: makes the [`Value`](super::Value) that is being made of
/// them on this thread a secret. `false` when none is being made; then [`REDACTED`] is to be written in their place.
pub fn mark() -> bool {
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
    fn a_mark_belongs_to_one_value() {
        assert!(!super::mark(), "none is being made");
        let (inner, outer) = super::written(|| super::written(super::mark).1);
        assert!(inner && !outer);
    }
}
