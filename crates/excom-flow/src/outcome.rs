//! How a task body ends: with a value, an error, or the wish to be skipped.

use std::fmt;
use std::time::Duration;

use excom_core::{Error, Value};
use serde::Serialize;

/// Any error. Every `std::error::Error`, and plain text, converts into it with `?`.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a task body returns when it can fail.
///
/// ```
/// # extern crate excom_flow as excom;
/// use excom::Result;
///
/// fn first_line(path: &str) -> Result<String> {
///     let text = std::fs::read_to_string(path)?;
///     Ok(text.lines().next().ok_or("the file is empty")?.to_owned())
/// }
/// assert!(first_line("/nowhere").is_err());
/// ```
pub type Result<T, E = BoxError> = std::result::Result<T, E>;

/// The error by which a task says that it chose not to run: it ends as skipped, not failed, is not
/// tried again, and what depends on it is skipped too.
///
/// ```
/// # extern crate excom_flow as excom;
/// use excom::{Result, Skip};
///
/// fn load(rows: Vec<u64>) -> Result<usize> {
///     if rows.is_empty() {
///         return Err(Skip::because("there are no rows today").into());
///     }
///     Ok(rows.len())
/// }
/// assert!(load(vec![]).unwrap_err().is::<Skip>());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skip {
    reason: Option<String>,
}

impl Skip {
    /// Skips without a reason.
    pub fn new() -> Self {
        Self::default()
    }

    /// Skips, and says why in the log and the report.
    pub fn because(reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()) }
    }

    /// Why, if it was said.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Some(reason) => write!(f, "skipped: {reason}"),
            None => f.write_str("skipped"),
        }
    }
}

impl std::error::Error for Skip {}

/// The error by which a task says that what it waits for is not there yet: it lets its place go, and the
/// same try runs again after a while. Nothing that it pushed is cleared.
///
/// ```
/// # extern crate excom_flow as excom;
/// use std::time::Duration;
/// use excom::{Reschedule, Result};
///
/// fn arrived(path: &str) -> Result<u64> {
///     match std::fs::metadata(path) {
///         Ok(file) => Ok(file.len()),
///         Err(_) => Err(Reschedule::after(Duration::from_secs(60)).into()),
///     }
/// }
/// assert!(arrived("/nowhere").unwrap_err().is::<Reschedule>());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reschedule {
    after: Duration,
}

impl Reschedule {
    /// Runs again after a time.
    pub fn after(after: Duration) -> Self {
        Self { after }
    }

    /// How long until it runs again.
    pub fn delay(&self) -> Duration {
        self.after
    }
}

impl fmt::Display for Reschedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not yet; it looks again in {:?}", self.after)
    }
}

impl std::error::Error for Reschedule {}

/// Which of the tasks behind a task are to be skipped, by its own choice.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SkipDownstream {
    /// All that are directly behind it, but these and what they lead to: a branch.
    AllBut(Vec<String>),
    /// All that are directly behind it; further ones follow their trigger rules.
    Direct,
    /// All behind it, however far, whatever their trigger rules; not teardowns.
    All,
}

/// Why a try failed or skipped: the message with its causes, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// What happened, with the causes behind it.
    pub message: String,
    /// What to do next, most useful first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
    /// The XComs that the try had read, each with who pushed it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub read: Vec<String>,
}

impl Failure {
    /// The failure that an error means.
    pub fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut message = error.to_string();
        let mut hints = Vec::new();
        let mut next = Some(error);
        while let Some(cause) = next {
            let text = cause.to_string();
            // Many errors already show their cause.
            if !message.contains(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            if let Some(known) = cause.downcast_ref::<Error>() {
                for hint in known.hints() {
                    if !hints.contains(hint) {
                        hints.push(hint.clone());
                    }
                }
            }
            next = cause.source();
        }
        Self { message, hints, read: Vec::new() }
    }

    /// A failure that is no error of a task's own.
    pub(crate) fn because(message: impl Into<String>) -> Self {
        Self { message: message.into(), hints: Vec::new(), read: Vec::new() }
    }

    /// The message and everything behind it, a line each.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        let message = self.message.lines().map(ToOwned::to_owned);
        let hints = self.hints.iter().map(|hint| format!("hint: {hint}"));
        message.chain(hints).chain(self.read.iter().map(|read| format!("it had read {read}")))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The value that a finished body pushes: none when nothing is to be pushed, or when it is JSON null
/// (`()`, `None`), as a Python task that returns `None` pushes nothing.
pub fn returned<T: Serialize>(result: Result<T>, push: bool) -> Result<Option<Value>> {
    let value = result?;
    if !push {
        return Ok(None);
    }
    let value = Value::of(&value).map_err(|e| crate::error::within("the return value", e))?;
    Ok((!value.is_null()).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(std::io::Error);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the file cannot be read")
        }
    }

    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn a_failure_tells_its_causes_and_hints_once() {
        let failure = Failure::of(&Outer(std::io::Error::other("disk on fire")));
        assert_eq!(failure.message, "the file cannot be read: disk on fire");
        let inner = Error::new(excom_core::ErrorKind::Full, "no room").hint("remove something");
        let failure = Failure::of(&crate::error::within("argument `days`", inner));
        assert_eq!(failure.message, "argument `days`: no room");
        assert_eq!(failure.hints, ["remove something"]);
    }

    #[test]
    fn null_is_not_pushed() {
        assert!(returned(Ok(()), true).unwrap().is_none());
        assert!(returned(Ok(None::<u8>), true).unwrap().is_none());
        assert_eq!(returned(Ok(Some(3)), true).unwrap().unwrap().as_str(), "3");
        assert!(returned(Ok(3), false).unwrap().is_none());
        let error = returned(Ok(f64::NAN), true).unwrap_err();
        assert!(error.to_string().starts_with("the return value: "), "{error}");
        // What is not pushed need not be JSON.
        assert!(returned(Ok(f64::NAN), false).unwrap().is_none());
    }
}
