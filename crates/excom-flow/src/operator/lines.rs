//! The output of a process as lines: into the log as they come, the last of them for the task's result,
//! all with bounded memory.

use std::collections::VecDeque;

use excom_core::{Error, ErrorKind, Result};

use crate::instance::TaskInstance;

/// The longest last line that is kept exactly, in bytes.
const LONGEST_LAST_LINE: usize = 1 << 20;

/// The longest line in the log and in errors, in bytes; longer ones are cut there.
const LONGEST_SHOWN_LINE: usize = 16 << 10;

/// How many of the last lines an error shows, and how long each at most.
const TAIL_LINES: usize = 20;
const TAIL_LINE_BYTES: usize = 1 << 10;

/// Splits output into lines.
pub(super) struct Lines<'a> {
    ti: &'a TaskInstance,
    /// The line that is being read, as far as it may be the last one.
    line: Vec<u8>,
    /// The line that is being read went on behind what is kept of it.
    overlong: bool,
    /// Whether a line is being read.
    begun: bool,
    last: Result<String, ()>,
    tail: VecDeque<String>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(ti: &'a TaskInstance) -> Self {
        let (line, last, tail) = (Vec::new(), Ok(String::new()), VecDeque::new());
        Self { ti, line, overlong: false, begun: false, last, tail }
    }

    pub(super) fn feed(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() {
            let end = piece.iter().position(|byte| *byte == b'\n');
            let part = &piece[..end.unwrap_or(piece.len())];
            self.begun = true;
            let room = LONGEST_LAST_LINE - self.line.len();
            self.overlong |= part.len() > room;
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            if let Some(end) = end {
                self.end_line();
                piece = &piece[end + 1..];
            } else {
                return;
            }
        }
    }

    fn end_line(&mut self) {
        let text = text(&self.line);
        let text = text.trim_end();
        self.ti.log(&shown(self.ti, text, LONGEST_SHOWN_LINE));
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(shown(self.ti, text, TAIL_LINE_BYTES));
        self.last = if self.overlong { Err(()) } else { Ok(text.to_owned()) };
        self.line.clear();
        (self.overlong, self.begun) = (false, false);
    }

    /// The last line, without white space at its end, and the last lines, each bounded.
    pub(super) fn finish(mut self) -> (Result<String>, Vec<String>) {
        if self.begun {
            self.end_line();
        }
        let last = self.last.map_err(|()| {
            Error::new(ErrorKind::TooLarge, "the last line of the output is over 1 MiB, so it is not pushed")
                .hint("print a short last line and push the data with `excom xcom push`")
                .hint("or set do_xcom_push to false")
        });
        (last, self.tail.into())
    }
}

/// Output as text: bytes that are not UTF-8 as `\xff`.
fn text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// A line cut for people.
fn shown(ti: &TaskInstance, line: &str, most: usize) -> String {
    if line.len() <= most {
        return line.to_owned();
    }
    format!("{}… ({} bytes)", &line[..ti.channel().cut(line, most)], line.len())
}
