//! A stand-in for an OpenTelemetry collector: it takes traces as OTLP over HTTP in JSON, and keeps them for the test
//! that started it. It may also refuse them, or never answer.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::Value as Json;

/// How long a test waits for spans before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// What it does with requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// Takes them.
    Takes,
    /// Answers with this status.
    Refuses(u16),
    /// Reads them, and says nothing.
    Silent,
}

/// A request that it was sent.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its first line.
    pub line: String,
    /// The fields of its head, by names in small letters.
    pub head: BTreeMap<String, String>,
    /// The document that it was sent.
    pub document: Json,
}

/// A collector that listens until it is dropped.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    came: Condvar,
}

#[derive(Debug)]
struct State {
    mood: Mood,
    taken: Vec<Request>,
    /// How many requests came at all.
    came: usize,
    over: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector {
    /// Listens on a free port of this machine.
    ///
    /// # Errors
    /// When there is no free port.
    pub fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let state = State { mood: Mood::Takes, taken: Vec::new(), came: 0, over: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), came: Condvar::new() });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&serving);
                if shared.state().over {
                    return;
                }
                if let Ok(stream) = stream {
                    thread::spawn(move || serve(&stream, &shared));
                }
            }
        });
        Ok(Self { address, shared })
    }

    /// Its address, as `OTEL_EXPORTER_OTLP_ENDPOINT` takes it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on it does so.
    pub fn is(&self, mood: Mood) {
        self.shared.state().mood = mood;
    }

    /// What it took, when that is as much as `enough` asks for.
    ///
    /// # Panics
    /// When it is not within a minute.
    pub fn until(&self, enough: impl Fn(&[Request]) -> bool) -> Vec<Request> {
        let waiting = |state: &mut State| !enough(&state.taken);
        let found = self.shared.came.wait_timeout_while(self.shared.state(), PATIENCE, waiting);
        let (state, timeout) = found.unwrap_or_else(PoisonError::into_inner);
        assert!(!timeout.timed_out(), "the collector has only {:?}", state.taken);
        state.taken.clone()
    }

    /// What it took by now.
    pub fn taken(&self) -> Vec<Request> {
        self.shared.state().taken.clone()
    }

    /// Waits until so many requests came, whether they were taken or not.
    ///
    /// # Panics
    /// When they do not within a minute.
    pub fn until_asked(&self, requests: usize) {
        let waiting = |state: &mut State| state.came < requests;
        let found = self.shared.came.wait_timeout_while(self.shared.state(), PATIENCE, waiting);
        let (state, timeout) = found.unwrap_or_else(PoisonError::into_inner);
        assert!(!timeout.timed_out(), "the collector was asked only {} times", state.came);
    }

    /// All spans, when there are at least so many.
    ///
    /// # Panics
    /// As [`Collector::until`].
    pub fn spans(&self, at_least: usize) -> Vec<Json> {
        spans(&self.until(|taken| spans(taken).len() >= at_least))
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.shared.state().over = true;
        drop(TcpStream::connect(self.address));
    }
}

/// The spans of requests.
pub fn spans(requests: &[Request]) -> Vec<Json> {
    let of = |document: &Json, key: &str| document[key].as_array().cloned().unwrap_or_default();
    let resources = requests.iter().flat_map(|request| of(&request.document, "resourceSpans"));
    let scopes = resources.flat_map(|resource| of(&resource, "scopeSpans"));
    scopes.flat_map(|scope| of(&scope, "spans")).collect()
}

/// The attributes of a span or a resource: texts, and numbers as texts.
pub fn attributes(of: &Json) -> BTreeMap<String, String> {
    let attributes = of["attributes"].as_array().cloned().unwrap_or_default();
    let text = |attribute: &Json| {
        let value = attribute["value"].as_object()?.values().next()?.as_str()?.to_owned();
        Some((attribute["key"].as_str()?.to_owned(), value))
    };
    attributes.iter().filter_map(text).collect()
}

/// Answers the requests of a connection, one after another.
fn serve(mut stream: &TcpStream, shared: &Shared) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader) {
        let mut state = shared.state();
        let mood = state.mood;
        if mood == Mood::Takes {
            state.taken.push(request);
        }
        state.came += 1;
        drop(state);
        shared.came.notify_all();
        let status = match mood {
            Mood::Takes => 200,
            Mood::Refuses(status) => status,
            Mood::Silent => continue,
        };
        let answer = format!(
            "HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Request> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let field =
        |line: &String| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    let head: BTreeMap<String, String> = lines.iter().filter_map(field).collect();
    let mut body = vec![0; head.get("content-length")?.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    Some(Request { line: lines.first()?.clone(), head, document: serde_json::from_slice(&body).ok()? })
}
