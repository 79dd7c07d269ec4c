//! What a task's process writes: lines of its standard output and error, and records of its log.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use excom_core::TaskChannel;
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{ChildStderr, ChildStdout};
use tokio::time::{Instant, timeout};

use super::Background;

/// The longest line that is told, in bytes; what is longer is cut there.
const LONGEST_LINE: usize = 16 << 10;

/// The same of a record: what a task has cut by itself, and has said so, is told as it is.
const LONGEST_RECORD: usize = LONGEST_LINE + (1 << 10);

/// The longest line, or record of a log, that is read, in bytes. A secret that a cut would part is known by all of it.
const LONGEST_READ: usize = (1 << 20) + (64 << 10);

/// How long output is awaited, when its process has ended, in case another keeps the pipe open.
const IDLE: Duration = Duration::from_millis(250);

/// How many of the last lines of the standard error are kept, and how many bytes of each.
const LAST_LINES: usize = 20;
const LAST_LINE: usize = 1 << 10;

/// Readers of standard output and error.
#[derive(Debug)]
pub(super) struct Output {
    readers: Vec<Background<()>>,
    last: Arc<Mutex<VecDeque<String>>>,
    /// How many lines came.
    count: Arc<AtomicU64>,
}

impl Output {
    /// Reads both into the task's log.
    pub(super) fn read(
        (stdout, stderr): (Option<ChildStdout>, Option<ChildStderr>),
        channel: &Arc<dyn TaskChannel>,
    ) -> Self {
        let (last, count): (Arc<Mutex<VecDeque<String>>>, Arc<AtomicU64>) = Default::default();
        let log = |channel: &Arc<dyn TaskChannel>| {
            let (channel, count) = (channel.clone(), count.clone());
            move |line: &Line| {
                count.fetch_add(1, Ordering::Relaxed);
                channel.log(&line.shown(LONGEST_LINE, |text, most| channel.cut(text, most)));
            }
        };
        let mut readers = Vec::new();
        if let Some(stdout) = stdout {
            let log = log(channel);
            readers.push(Background(tokio::spawn(lines(stdout, LONGEST_READ, move |line| log(&line)))));
        }
        if let Some(stderr) = stderr {
            let (log, last, channel) = (log(channel), last.clone(), channel.clone());
            let note = move |line: Line| {
                log(&line);
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                if last.len() == LAST_LINES {
                    last.pop_front();
                }
                last.push_back(line.shown(LAST_LINE, |text, most| channel.cut(text, most)));
            };
            readers.push(Background(tokio::spawn(lines(stderr, LONGEST_READ, note))));
        }
        Self { readers, last, count }
    }

    /// Reads what is left, as long as it comes, and gives the last lines of the standard error.
    pub(super) async fn finish(mut self, patience: Duration) -> Vec<String> {
        let end = Instant::now() + patience;
        for reader in &mut self.readers {
            loop {
                let before = self.count.load(Ordering::Relaxed);
                let ended = timeout(IDLE, &mut reader.0).await.is_ok();
                // Somebody else may keep the pipe open for ever.
                if ended || before == self.count.load(Ordering::Relaxed) || Instant::now() >= end {
                    break;
                }
            }
        }
        self.last.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }
}

/// Reads the records of a log into the task's log.
pub(super) async fn records(stream: impl AsyncRead + Unpin, channel: Arc<dyn TaskChannel>) {
    let log = move |line: Line| {
        let line = line.record();
        channel.log(&line.shown(LONGEST_RECORD, |text, most| channel.cut(text, most)));
    };
    lines(stream, LONGEST_READ, log).await;
}

/// A line as far as it was read.
struct Line {
    text: String,
    /// How many bytes it has in all.
    length: usize,
}

impl Line {
    fn of(read: &[u8], dropped: usize) -> Self {
        let text = String::from_utf8_lossy(read).trim_end().to_owned();
        let length = if dropped > 0 { read.len() + dropped } else { text.len() };
        Self { text, length }
    }

    /// The record that it is, as a line of text; itself when it is none.
    fn record(self) -> Self {
        match serde_json::from_str(&self.text) {
            Ok(record) => {
                let text = record_text(record);
                Self { length: text.len(), text }
            }
            Err(_) => self,
        }
    }

    /// At most so many bytes of it, as [`TaskChannel::cut`] cuts it, and how many there are.
    fn shown(&self, most: usize, cut: impl Fn(&str, usize) -> usize) -> String {
        if self.length <= most && self.text.len() <= most {
            return self.text.clone();
        }
        format!("{}… ({} bytes)", &self.text[..cut(&self.text, most)], self.length)
    }
}

/// Hands over line by line, of each at most so many bytes, until the end.
async fn lines(mut stream: impl AsyncRead + Unpin, longest: usize, mut line: impl FnMut(Line)) {
    let mut buffer = vec![0; 16 << 10];
    let (mut begun, mut dropped) = (Vec::new(), 0);
    loop {
        let length = match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(length) => length,
        };
        for piece in buffer[..length].split_inclusive(|byte| *byte == b'\n') {
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            let room = text.len().min(longest - begun.len());
            begun.extend_from_slice(&text[..room]);
            dropped += text.len() - room;
            if text.len() < piece.len() {
                line(Line::of(&begun, dropped));
                begun.clear();
                dropped = 0;
            }
        }
    }
    if !begun.is_empty() {
        line(Line::of(&begun, dropped));
    }
}

/// A record as a line of text: its event, its level where that says more, and what else it has.
fn record_text(mut record: Map<String, Value>) -> String {
    let mut take = |name: &str| record.shift_remove(name);
    let event = take("event").map_or(String::new(), |event| plain(&event));
    let level = take("level").map_or(String::new(), |level| plain(&level));
    // The log has times of its own, and the logger is the task.
    drop((take("timestamp"), take("logger")));
    let mut text = match level.as_str() {
        "" | "info" => event,
        level => format!("{level}: {event}"),
    };
    for (name, value) in record {
        text.push_str(&format!(" {name}={value}"));
    }
    text
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn split(text: &[u8], read: usize) -> Vec<String> {
        let mut all = Vec::new();
        let cut = |text: &str, most| text.find("hunter2").unwrap_or(most).min(most);
        lines(text, read, |line| all.push(line.shown(8, cut))).await;
        all
    }

    #[tokio::test]
    async fn lines_are_bounded_and_the_last_needs_no_end() {
        for read in [8, 20] {
            assert_eq!(split(b"one\r\n\ntwo", read).await, ["one", "", "two"]);
            assert_eq!(split(b"0123456789\nx\n", read).await, ["01234567… (10 bytes)", "x"]);
            assert_eq!(split(&[b'x'; 100_000], read).await, ["xxxxxxxx… (100000 bytes)"]);
            assert_eq!(split(b"\xff\n", read).await, ["\u{fffd}"]);
        }
    }

    #[tokio::test]
    async fn what_is_behind_a_cut_tells_where_it_may_be() {
        assert_eq!(split(b"012345hunter2\nhunter2", 20).await, ["012345… (13 bytes)", "hunter2"]);
    }

    #[test]
    fn records_are_lines() {
        let record = |text: &str| Line::of(text.as_bytes(), 0).record().text;
        let text =
            record(r#"{"timestamp":"2026-11-21T10:00:00Z","level":"info","event":"ready","logger":"t"}"#);
        assert_eq!(text, "ready");
        assert_eq!(record(r#"{"level":"error","event":"no","rows":{"a":1}}"#), r#"error: no rows={"a":1}"#);
        assert_eq!(record("no record"), "no record");
        assert_eq!(record("[]"), "[]");
    }
}
