//! The access log: a line of JSON for each request, when its answer is sent. It has no tokens, values, names of XComs or
//! parameters: of the path only which route it is.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use excom_core::{Error, ErrorKind, Result};
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;

use crate::counted::Counted;

/// How many lines wait for a slow disk before more are dropped.
const WAITING: usize = 8192;

/// The most characters of a client's own name for its request.
const ID_CHARACTERS: usize = 128;

/// What ties a request to its answer in both logs.
pub(crate) const CORRELATION: HeaderName = HeaderName::from_static("correlation-id");

/// Where lines about requests are written. Clones are the same. A disk that is too slow keeps no request waiting: then
/// lines are dropped, and the next line tells how many.
#[derive(Clone)]
pub struct AccessLog(Arc<Inner>);

struct Inner {
    path: Option<PathBuf>,
    lines: Mutex<Option<SyncSender<Message>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    dropped: AtomicU64,
    requests: AtomicU64,
    begun: Timestamp,
}

enum Message {
    Line(Vec<u8>),
    Instead(File),
}

impl AccessLog {
    /// On standard error.
    ///
    /// # Errors
    /// [`ErrorKind::Other`] when no thread can be started.
    pub fn stderr() -> Result<Self> {
        Self::new(None, Box::new(io::stderr()))
    }

    /// At the end of a file, which is made when it is missing.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when it cannot be written.
    pub fn file(path: &Path) -> Result<Self> {
        Self::new(Some(path.to_owned()), Box::new(opened(path)?))
    }

    fn new(path: Option<PathBuf>, mut out: Box<dyn Write + Send>) -> Result<Self> {
        let (lines, waiting) = sync_channel(WAITING);
        let write = move || {
            for message in waiting {
                match message {
                    // Nobody can be told when that fails.
                    Message::Line(line) => drop(out.write_all(&line)),
                    Message::Instead(file) => out = Box::new(file),
                }
            }
        };
        let writer = thread::Builder::new().name("access-log".to_owned()).spawn(write).map_err(|cause| {
            Error::new(ErrorKind::Other, "no thread can be started for the access log").because(cause)
        })?;
        Ok(Self(Arc::new(Inner {
            path,
            lines: Mutex::new(Some(lines)),
            writer: Mutex::new(Some(writer)),
            dropped: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            begun: Timestamp::now(),
        })))
    }

    /// Opens the file anew, which somebody may have moved away. When that fails the old one goes on.
    ///
    /// # Errors
    /// As [`AccessLog::file`].
    pub fn reopen(&self) -> Result<()> {
        if let Some(path) = &self.0.path {
            let file = opened(path)?;
            let lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if lines.is_some_and(|lines| lines.try_send(Message::Instead(file)).is_err()) {
                let message =
                    format!("the access log {} was not opened anew: its disk is too slow", path.display());
                return Err(Error::new(ErrorKind::Unavailable, message).hint("send SIGHUP once more"));
            }
        }
        Ok(())
    }

    /// Waits until every line is written. None is after that.
    pub fn close(&self) {
        drop(self.0.lines.lock().unwrap_or_else(PoisonError::into_inner).take());
        let writer = self.0.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        writer.into_iter().for_each(|writer| drop(writer.join()));
    }

    fn write(&self, line: &mut Line) {
        let lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(lines) = &*lines else { return };
        line.dropped = self.0.dropped.swap(0, Ordering::Relaxed);
        let Ok(mut text) = serde_json::to_vec(line) else { return };
        text.push(b'\n');
        if let Err(TrySendError::Full(_)) = lines.try_send(Message::Line(text)) {
            self.0.dropped.fetch_add(line.dropped + 1, Ordering::Relaxed);
        }
    }

    /// A name for a request that has none: no other one of any server has it.
    fn id(&self) -> String {
        let count = self.0.requests.fetch_add(1, Ordering::Relaxed);
        format!("{:x}-{count:x}", self.0.begun.as_microsecond())
    }
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AccessLog").field(&self.0.path).finish()
    }
}

fn opened(path: &Path) -> Result<File> {
    OpenOptions::new().create(true).append(true).open(path).map_err(|cause| {
        Error::new(ErrorKind::Configuration, format!("the access log {} cannot be written", path.display()))
            .because(cause)
            .hint("check [server] access_log, and that its folder is there and may be written")
    })
}

/// The other side of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) tls: bool,
}

/// What becomes known about a request only inside: which route it is, who asks, and of which trace it is part.
#[derive(Debug, Clone, Default)]
pub(crate) struct Noted(Arc<Inside>);

#[derive(Debug, Default)]
struct Inside {
    route: OnceLock<String>,
    who: OnceLock<Who>,
    trace: OnceLock<u128>,
}

#[derive(Debug, Clone, Serialize)]
struct Who {
    subject: String,
    role: &'static str,
}

impl Noted {
    /// Notes the route of a request, where anybody wants to know.
    pub(crate) fn route(request: &Request, route: &str) {
        if let Some(noted) = request.extensions().get::<Self>() {
            drop(noted.0.route.set(route.to_owned()));
        }
    }

    /// Notes who asks.
    pub(crate) fn who(request: &Request, subject: &str, role: &'static str) {
        if let Some(noted) = request.extensions().get::<Self>() {
            drop(noted.0.who.set(Who { subject: subject.to_owned(), role }));
        }
    }

    /// Notes the trace.
    pub(crate) fn trace(&self, trace: u128) {
        let _ = self.0.trace.set(trace);
    }
}

#[derive(Serialize)]
struct Line {
    time: Timestamp,
    request_id: String,
    /// In hexadecimal digits, as in traces.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<SocketAddr>,
    method: String,
    route: Option<String>,
    status: u16,
    bytes: u64,
    micros: u64,
    #[serde(flatten)]
    who: Option<Who>,
    /// Lines before this one that were lost.
    #[serde(skip_serializing_if = "is_zero")]
    dropped: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A line that is written when the body is sent, or nobody reads it any more.
struct Written {
    log: AccessLog,
    begun: Instant,
    noted: Noted,
    line: Line,
}

impl Written {
    fn sent(&mut self, bytes: u64) {
        self.line.bytes += bytes;
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        self.line.micros = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.line.route = self.noted.0.route.get().cloned();
        self.line.who = self.noted.0.who.get().cloned();
        self.line.trace_id = self.noted.0.trace.get().map(|trace| format!("{trace:032x}"));
        self.log.write(&mut self.line);
    }
}

/// Notes a request and its answer.
pub(crate) async fn note(
    log: AccessLog,
    mut request: Request,
    answer: impl AsyncFnOnce(Request) -> Response,
) -> Response {
    let (noted, time, begun) = (Noted::default(), Timestamp::now(), Instant::now());
    request.extensions_mut().insert(noted.clone());
    let request_id = named(request.headers()).map_or_else(|| log.id(), str::to_owned);
    let line = Line {
        time,
        request_id: request_id.clone(),
        trace_id: None,
        client: request.extensions().get::<Client>().map(|client| client.address),
        method: request.method().as_str().to_owned(),
        route: None,
        status: 0,
        bytes: 0,
        micros: 0,
        who: None,
        dropped: 0,
    };
    // Written also when the client goes away before there is an answer.
    let mut written = Written { log, begun, noted, line };
    let mut answer = answer(request).await;
    written.line.status = answer.status().as_u16();
    if let Ok(id) = HeaderValue::try_from(request_id) {
        answer.headers_mut().insert(CORRELATION, id);
    }
    answer.map(|body| Counted::body(body, move |bytes| written.sent(bytes)))
}

/// The client's own name for its request, when it is one that can stand in a line.
fn named(head: &HeaderMap) -> Option<&str> {
    let name = head.get(CORRELATION)?.to_str().ok()?;
    (!name.is_empty() && name.len() <= ID_CHARACTERS).then_some(name)
}
