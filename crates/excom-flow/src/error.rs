//! Errors of DAGs, parameters, templates and runs: the engine's own type, with the place added.

use std::any::Any;

use excom_core::{Error, ErrorKind};

/// An error about how a DAG, its parameters or a request is written.
pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidRequest, message)
}

/// The same error with the place where it happened in front; kind and hints stay.
pub(crate) fn within(place: &str, error: Error) -> Error {
    let hints = error.hints().to_vec();
    let outer = Error::new(error.kind(), place).because(error);
    hints.into_iter().fold(outer, Error::hint)
}

/// The name most like a wanted one, if any is alike.
pub(crate) fn nearest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const ALIKE: f64 = 0.7;
    names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(name, wanted), name))
        .filter(|(score, _)| *score >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// `a`, `b` and `c`.
pub(crate) fn listing<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// What a panic said, as an error.
pub(crate) fn panicked(who: &str, panic: &(dyn Any + Send)) -> Error {
    let message = panic
        .downcast_ref::<&str>()
        .map(|message| (*message).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it says nothing".to_owned());
    Error::new(ErrorKind::Other, format!("{who} panicked: {message}"))
}
