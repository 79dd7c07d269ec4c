//! Why a command ends without having done what was asked, and how that is told.

use std::io;

use clap::error::ErrorKind as Parsing;
use excom::{Answer, Error, ErrorKind};
use serde_json::{Map, Value as Json, json};

use crate::output::Output;
use crate::text;

/// Why a command ends early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Something failed.
    Error(Error),
    /// There is no value.
    NoValue(Box<NoValue>),
    /// The command was understood as words, but not what it asks for.
    Usage(String, Vec<String>),
    /// The words were not understood, or help was asked for.
    Arguments(Box<clap::Error>),
    /// Whoever read standard output stopped reading: nothing to complain about.
    Closed,
    /// Everything is told; the command ends with this code.
    Told(u8),
}

/// Why there is no value.
#[derive(Debug)]
pub(crate) struct NoValue {
    pub(crate) exit_code: u8,
    pub(crate) answer: &'static str,
    pub(crate) message: String,
    pub(crate) hints: Vec<String>,
    /// What is known besides, for the document.
    pub(crate) known: Map<String, Json>,
}

/// The exit code of a command that was not understood.
const USAGE: u8 = 2;

impl Stop {
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::Usage(what.into(), Vec::new())
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        match &mut self {
            Self::Usage(_, hints) => hints.push(hint.into()),
            Self::NoValue(none) => none.hints.push(hint.into()),
            _ => {}
        }
        self
    }

    /// A failure to write standard output.
    pub(crate) fn output(cause: io::Error) -> Self {
        if cause.kind() == io::ErrorKind::BrokenPipe {
            return Self::Closed;
        }
        let error =
            Error::new(ErrorKind::Other, "the answer cannot be written to standard output").because(cause);
        Self::Error(error.hint("make room where the output goes, or send it somewhere else"))
    }

    /// Tells it to whoever runs the command, and returns the exit code.
    pub(crate) fn tell(self, output: &mut Output) -> u8 {
        let (code, message, hints, document) = match self {
            Self::Closed => return 0,
            Self::Told(code) => return code,
            Self::Arguments(error) => return told_arguments(&error, output),
            Self::NoValue(none) => {
                (none.exit_code, none.message.clone(), none.hints.clone(), none.document())
            }
            Self::Error(error) => match error.answer() {
                Some(answer) => return Self::from(answer.clone()).tell(output),
                None => (
                    error.exit_code(),
                    format!("error: {error}"),
                    error.hints().to_vec(),
                    failure(error.code(), &error.to_string(), error.hints()),
                ),
            },
            Self::Usage(what, hints) => {
                let document = failure("usage", &what, &hints);
                (USAGE, format!("error: {what}"), hints, document)
            }
        };
        if output.json() {
            // When standard output cannot be written, standard error is what is left.
            if output.document(&document).and_then(|()| output.flush()).is_ok() {
                return code;
            }
        }
        output.say(&text::tame(&message));
        for hint in hints {
            output.say(&format!("  {}", text::tame(&hint)));
        }
        code
    }
}

/// `{"error": {"code": …, "message": …, "hints": […]}}`
fn failure(code: &str, message: &str, hints: &[String]) -> Json {
    json!({"error": {"code": code, "message": message, "hints": hints}})
}

impl NoValue {
    /// `{"answer": …, "message": …, "hints": […]}` and what is known besides.
    pub(crate) fn document(&self) -> Json {
        let mut document = Map::new();
        document.insert("answer".to_owned(), self.answer.into());
        document.insert("message".to_owned(), self.message.as_str().into());
        document.insert("hints".to_owned(), self.hints.clone().into());
        document.extend(self.known.clone());
        Json::Object(document)
    }
}

impl From<Answer> for NoValue {
    fn from(answer: Answer) -> Self {
        let (message, hints, known) = (answer.to_string(), answer.hints(), answer.details());
        Self { exit_code: answer.exit_code(), answer: answer.code(), message, hints, known }
    }
}

/// What the parser of the command line has to say: help and the version are no errors.
fn told_arguments(error: &clap::Error, output: &mut Output) -> u8 {
    let asked = matches!(error.kind(), Parsing::DisplayHelp | Parsing::DisplayVersion);
    let code = if asked { 0 } else { USAGE };
    if !asked && output.json() {
        let text = error.render().to_string();
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let message = lines.next().unwrap_or_default().trim_start_matches("error: ");
        let hints: Vec<String> = lines.map(str::to_owned).collect();
        drop(output.document(&failure("usage", message, &hints)));
    } else {
        drop(error.print());
    }
    code
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<clap::Error> for Stop {
    fn from(error: clap::Error) -> Self {
        Self::Arguments(Box::new(error))
    }
}

impl From<NoValue> for Stop {
    fn from(none: NoValue) -> Self {
        Self::NoValue(Box::new(none))
    }
}

impl From<Answer> for Stop {
    fn from(answer: Answer) -> Self {
        Self::NoValue(Box::new(answer.into()))
    }
}
