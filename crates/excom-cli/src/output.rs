//! Standard output and standard error, and what a terminal changes about them.

use std::io::{self, IsTerminal, Write};

use excom::config::Environment;
use serde::Serialize;

use crate::stop::Stop;

/// Where a command writes.
#[derive(Debug)]
pub(crate) struct Output {
    json: bool,
    out: io::Stdout,
    terminal: bool,
    colour: bool,
}

impl Output {
    pub(crate) fn new(json: bool, environment: &Environment) -> Self {
        let out = io::stdout();
        let terminal = out.is_terminal();
        let plain = environment.first(&["NO_COLOR"]).is_some() || environment.get("TERM") == Some("dumb");
        Self { json, terminal, colour: terminal && !plain, out }
    }

    /// Whether the answer is one JSON document.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// Whether a person reads standard output.
    pub(crate) fn terminal(&self) -> bool {
        self.terminal
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// [`Stop::Closed`] when nobody reads any more, or why it cannot be written.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.out.write_all(bytes).map_err(Stop::output)
    }

    pub(crate) fn line(&mut self, line: &str) -> Result<(), Stop> {
        self.bytes(line.as_bytes())?;
        self.bytes(b"\n")
    }

    /// Writes the one document of a `--json` answer.
    pub(crate) fn document(&mut self, document: &impl Serialize) -> Result<(), Stop> {
        let text = serde_json::to_vec(document).map_err(|cause| Stop::output(cause.into()))?;
        self.bytes(&text)?;
        self.bytes(b"\n")
    }

    pub(crate) fn flush(&mut self) -> Result<(), Stop> {
        self.out.flush().map_err(Stop::output)
    }

    /// Says something besides the answer, on standard error. Nobody can be told when that fails.
    pub(crate) fn say(&mut self, line: &str) {
        drop(writeln!(io::stderr(), "{line}"));
    }

    /// Text that stands out in a terminal with colours.
    pub(crate) fn styled(&self, style: Style, text: &str) -> String {
        if self.colour { format!("\x1b[{}m{text}\x1b[0m", style.code()) } else { text.to_owned() }
    }
}

/// How text stands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Heading,
    Good,
    Bad,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Heading => "1",
            Self::Good => "32",
            Self::Bad => "31",
        }
    }
}
