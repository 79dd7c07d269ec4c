//! The one error type of the engine and of everything that implements its contracts.
//!
//! An error says what happened, to which thing, and carries hints on what to do next. It is not the
//! place for "there is no value": that is an [`Answer`](crate::Answer).

use std::fmt;

use crate::Answer;

/// What went wrong, in the terms that a caller can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A name breaks the length or character rules of keys and ids.
    InvalidName,
    /// The bytes are not a JSON value.
    InvalidValue,
    /// The value is over a size limit.
    TooLarge,
    /// The caller's attempt was replaced by a newer one, which has started.
    Superseded,
    /// The caller's attempt never started, so it cannot write.
    NotStarted,
    /// An access rule forbids it.
    Forbidden,
    /// A request is malformed in another way: a zero step, an unknown state, a bad page token.
    InvalidRequest,
    /// The database or the value store is away or busy; trying again may help.
    Unavailable,
    /// No room is left where the data lives.
    Full,
    /// The database or its folder cannot be written.
    ReadOnly,
    /// An object of that name exists, and objects are never overwritten.
    Exists,
    /// Stored bytes that an entry refers to are gone.
    Lost,
    /// Stored data was altered or damaged.
    Corrupt,
    /// The database belongs to a newer Excom or to another program.
    Incompatible,
    /// A setting is missing, malformed or contradicts another.
    Configuration,
    /// A value is needed and there is none; the [`Answer`](crate::Answer) says why.
    NoValue,
    /// Anything else that the host's operating system or a library reported.
    Other,
}

impl ErrorKind {
    /// All kinds.
    const ALL: [Self; 17] = [
        Self::InvalidName,
        Self::InvalidValue,
        Self::TooLarge,
        Self::Superseded,
        Self::NotStarted,
        Self::Forbidden,
        Self::InvalidRequest,
        Self::Unavailable,
        Self::Full,
        Self::ReadOnly,
        Self::Exists,
        Self::Lost,
        Self::Corrupt,
        Self::Incompatible,
        Self::Configuration,
        Self::NoValue,
        Self::Other,
    ];

    /// The inverse of [`ErrorKind::code`], for errors that come from elsewhere.
    ///
    /// ```
    /// use excom_core::ErrorKind;
    ///
    /// assert_eq!(ErrorKind::from_code("too_large"), Some(ErrorKind::TooLarge));
    /// assert_eq!(ErrorKind::from_code("too_green"), None);
    /// ```
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// A stable name for logs, JSON output and documentation.
    pub const fn code(self) -> &'static str {
        match self {
            Self::InvalidName => "invalid_name",
            Self::InvalidValue => "invalid_value",
            Self::TooLarge => "too_large",
            Self::Superseded => "superseded",
            Self::NotStarted => "not_started",
            Self::Forbidden => "forbidden",
            Self::InvalidRequest => "invalid_request",
            Self::Unavailable => "unavailable",
            Self::Full => "full",
            Self::ReadOnly => "read_only",
            Self::Exists => "exists",
            Self::Lost => "lost",
            Self::Corrupt => "corrupt",
            Self::Incompatible => "incompatible",
            Self::Configuration => "configuration",
            Self::NoValue => "no_value",
            Self::Other => "other",
        }
    }
}

/// An error of the engine or of an implementation of its contracts.
///
/// ```
/// use excom_core::{Error, ErrorKind};
///
/// let error = Error::new(ErrorKind::TooLarge, "the value has 3 MiB, the limit is 1 MiB")
///     .hint("raise [xcom] hard_limit, or push a pointer to the data instead");
/// assert_eq!(error.kind().code(), "too_large");
/// assert!(!error.is_retryable());
/// assert_eq!(error.to_string(), "the value has 3 MiB, the limit is 1 MiB");
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    hints: Vec<String>,
    answer: Option<Answer>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of an engine operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of a kind with a message that says what happened to which thing.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), hints: Vec::new(), answer: None, source: None }))
    }

    /// The same error with one more hint on what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hints.push(hint.into());
        self
    }

    /// The same error with the cause kept.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The same error with the answer that it comes from.
    #[must_use]
    pub(crate) fn with_answer(mut self, answer: Answer) -> Self {
        self.0.answer = Some(answer);
        self
    }

    /// The answer that it comes from, when a value was needed and there was none.
    pub fn answer(&self) -> Option<&Answer> {
        self.0.answer.as_ref()
    }

    /// The exit code of a command that ends with it: 3 to 7 as
    /// [`Answer::exit_code`](crate::Answer::exit_code) has them, 1 for everything else.
    pub fn exit_code(&self) -> u8 {
        match (&self.0.answer, self.0.kind) {
            (Some(answer), _) => answer.exit_code(),
            (None, ErrorKind::Forbidden | ErrorKind::Superseded | ErrorKind::NotStarted) => 5,
            (None, ErrorKind::Corrupt | ErrorKind::Lost) => 6,
            (None, ErrorKind::Unavailable | ErrorKind::Full) => 7,
            (None, _) => 1,
        }
    }

    /// What went wrong, in terms a caller can act on.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The kind's stable name.
    pub fn code(&self) -> &'static str {
        self.0.kind.code()
    }

    /// Whether the same call may succeed later without any change.
    pub fn is_retryable(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Unavailable)
    }

    /// What to do next, most useful first.
    pub fn hints(&self) -> &[String] {
        &self.0.hints
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        if let Some(source) = &self.0.source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self, self.code())?;
        for hint in self.hints() {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The message already shows the direct cause, so the chain continues behind it.
        self.0.source.as_ref().and_then(|s| s.source())
    }
}
