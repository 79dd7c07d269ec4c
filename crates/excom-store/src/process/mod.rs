//! A backend in a process of its own, in any language: it speaks frames on standard input and output.
//!
//! `docs/backend-process.md` describes what is said, for those who write one. Here is the engine's side: the
//! [`Connection`] to a process that runs, and the [`Process`] that has one when it is needed.

mod child;
mod connection;
mod frame;
mod message;

use std::fmt;
use std::future::poll_fn;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use excom_core::backend::Object;
use excom_core::{ByteStream, Error, ErrorKind, Payload, Result, TaskInstanceKey, XComBackend};
use futures_util::future::join_all;
use futures_util::lock::Mutex;
use futures_util::stream::try_unfold;

use self::connection::{Answered, Call, Connection};
use self::message::{Named, Request, Wanted};

/// The name by which references know that a process laid out the bytes.
const CODEC: &str = "process-1";

/// How many objects are asked for in one frame.
const OBJECTS_AT_ONCE: usize = 32;

/// The longest time between two starts of a process that only ends.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// What a [`Process`] is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessOptions {
    /// The name by which settings select the backend.
    pub name: String,
    /// The id of the store that the process has, which references keep. The process confirms it.
    pub store: String,
    /// Values over so many bytes go to the process. The process confirms it.
    pub threshold: u64,
    /// How long the process may take to say hello.
    pub start_timeout: Duration,
    /// How long it may take for each answer: a piece of a value, or the end of a call.
    pub timeout: Duration,
    /// How long it may take to end when its standard input does, and once more when it was asked to.
    pub grace: Duration,
    /// How soon it is started again when it ended without any use; doubled each time, up to 30 seconds.
    pub backoff: Duration,
}

impl Default for ProcessOptions {
    fn default() -> Self {
        Self {
            name: "process".to_owned(),
            store: "process".to_owned(),
            threshold: 64 << 10,
            start_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(30),
            grace: Duration::from_secs(1),
            backoff: Duration::from_millis(100),
        }
    }
}

/// Small values in the metadata database, the others in what a process keeps.
///
/// The process is started by the first call that needs it, and again after it has ended; calls that were under
/// way are [`ErrorKind::Unavailable`] then. It ends with the backend: its standard input is closed, then it is
/// asked to end, then it is killed with all that it started. It gets values as they are, and may transform them
/// as it likes; what it gives back is compared with what was pushed by the engine.
pub struct Process {
    command: Vec<String>,
    options: ProcessOptions,
    log: Log,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<Arc<Connection>>,
    /// How often in turn it was of no use, why the last time, and until when it rests.
    failures: u32,
    why: String,
    rests_until: Option<Instant>,
}

/// What becomes of the process's standard error.
#[derive(Clone)]
struct Log(Arc<dyn Fn(&str) + Send + Sync>);

impl Log {
    fn line(&self, backend: &str, line: &str) {
        (self.0)(&format!("[{backend}] {line}"));
    }
}

impl Process {
    /// A backend that is a program with its arguments. Nothing is started yet.
    ///
    /// ```
    /// use excom_store::{Process, ProcessOptions};
    ///
    /// let command = ["python3", "my_backend.py"].map(str::to_owned);
    /// let backend = Process::new(command, ProcessOptions::default());
    /// assert_eq!(backend.to_string(), "process(values over 65536 bytes to `python3 my_backend.py`)");
    /// ```
    pub fn new(command: impl IntoIterator<Item = String>, options: ProcessOptions) -> Self {
        let to_stderr = |line: &str| drop(writeln!(io::stderr(), "{line}"));
        let log = Log(Arc::new(to_stderr));
        Self { command: command.into_iter().collect(), options, log, state: Mutex::default() }
    }

    /// The same, with the lines of its standard error given to a function, each behind its name in brackets. They
    /// are written to this program's standard error otherwise.
    #[must_use]
    pub fn with_log(mut self, log: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.log = Log(Arc::new(log));
        self
    }

    /// The process, which is started when it does not run.
    async fn connection(&self) -> Result<Arc<Connection>> {
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection {
            let Some(why) = connection.ended() else { return Ok(connection.clone()) };
            let useful = connection.was_useful();
            // Dropped where nobody waits: what is left of it is ended then.
            let ended = state.connection.take();
            blocking::unblock(move || drop(ended)).await;
            let why = format!("the backend process `{}` {why}", self.options.name);
            state.failed(why, useful, &self.options);
        }
        if let Some(rest) = state.rests_until.and_then(|until| until.checked_duration_since(Instant::now())) {
            return Err(Error::new(ErrorKind::Unavailable, state.why.clone()).hint(format!(
                "it was of no use {} times in turn, and is started again in {rest:.1?} at the earliest",
                state.failures
            )));
        }
        let (command, options, log) = (self.command.clone(), self.options.clone(), self.log.clone());
        match blocking::unblock(move || Connection::start(&command, &options, &log)).await {
            Ok(connection) => {
                state.connection = Some(connection.clone());
                Ok(connection)
            }
            Err(error) => {
                state.failed(error.to_string(), false, &self.options);
                Err(error)
            }
        }
    }

    /// A call that is answered by nothing but its end.
    async fn plain(&self, request: impl Fn(u64) -> Vec<u8>) -> Result<()> {
        let mut call = self.connection().await?.call()?;
        let frame = frame::Frame { header: request(call.id), body: Bytes::new() };
        call.send(frame).await?;
        ended(&mut call).await
    }

    fn mine(&self, object: &Object<'_>) -> Result<()> {
        let known = object.codec.is_empty() || object.codec == CODEC;
        if object.store == self.options.store && known {
            return Ok(());
        }
        let (key, store, codec) = (object.key, object.store, object.codec);
        Err(Error::new(
            ErrorKind::Configuration,
            format!(
                "{key} was stored in `{store}` as `{codec}`; the backend `{}` reads `{}` as `{CODEC}`",
                self.options.name, self.options.store
            ),
        )
        .hint("configure the store that the value was written with"))
    }
}

impl State {
    fn failed(&mut self, why: String, useful: bool, options: &ProcessOptions) {
        self.failures = if useful { 0 } else { self.failures.saturating_add(1) };
        self.why = why;
        let times = 1 << self.failures.saturating_sub(1).min(16);
        let rest = (options.backoff * times).min(options.backoff.max(LONGEST_BACKOFF));
        self.rests_until = (self.failures > 0).then(|| Instant::now() + rest);
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ProcessOptions { name, threshold, .. } = &self.options;
        write!(f, "{name}(values over {threshold} bytes to `{}`)", self.command.join(" "))
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("command", &self.command).field("options", &self.options).finish()
    }
}

#[async_trait]
impl XComBackend for Process {
    fn name(&self) -> &str {
        &self.options.name
    }

    fn store(&self) -> Option<&str> {
        Some(&self.options.store)
    }

    fn inline_limit(&self) -> u64 {
        self.options.threshold
    }

    fn codec(&self) -> &str {
        CODEC
    }

    async fn serialize_value(&self, object: &Object<'_>, value: Payload) -> Result<String> {
        self.mine(object)?;
        let mut call = self.connection().await?.call()?;
        let id = call.id;
        call.send(Request::Serialize { id, object: Named::of(object) }.frame()).await?;
        match value {
            Payload::Value(value) => send_piece(&mut call, value.bytes().clone()).await?,
            other => {
                let mut stream = other.into_stream();
                while let Some(piece) = poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
                    send_piece(&mut call, piece?).await?;
                }
            }
        }
        call.send(Request::End { id }.frame()).await?;
        ended(&mut call).await?;
        Ok(CODEC.to_owned())
    }

    async fn deserialize_value(&self, object: &Object<'_>) -> Result<Payload> {
        let missing = || Err(Error::new(ErrorKind::Other, "the backend process told nothing of the value"));
        self.deserialize_values(std::slice::from_ref(object)).await.pop().unwrap_or_else(missing)
    }

    async fn deserialize_values(&self, objects: &[Object<'_>]) -> Vec<Result<Payload>> {
        join_all(objects.chunks(OBJECTS_AT_ONCE).map(|some| self.ask(some)))
            .await
            .into_iter()
            .flatten()
            .collect()
    }

    async fn purge(&self, object: &Object<'_>) -> Result<()> {
        self.mine(object)?;
        self.plain(|id| Request::Purge { id, object: Named::of(object) }.frame().header).await
    }

    async fn clear(&self, ti: &TaskInstanceKey) -> Result<()> {
        self.plain(|id| Request::Clear { id, task_instance: ti }.frame().header).await
    }

    async fn check(&self) -> Result<()> {
        self.plain(|id| Request::Check { id }.frame().header).await
    }
}

impl Process {
    /// Asks for a few objects in one frame; each is a call of its own from then on.
    async fn ask(&self, objects: &[Object<'_>]) -> Vec<Result<Payload>> {
        let connection = self.connection().await;
        let call = |object| {
            self.mine(object)?;
            match &connection {
                Ok(connection) => connection.call(),
                Err(error) => Err(again(error)),
            }
        };
        let mut calls: Vec<Result<Call>> = objects.iter().map(call).collect();
        let wanted: Vec<Wanted<'_>> = objects
            .iter()
            .zip(&calls)
            .filter_map(|(object, call)| {
                Some(Wanted { id: call.as_ref().ok()?.id, object: Named::of(object) })
            })
            .collect();
        if let Some(call) = calls.iter_mut().find_map(|call| call.as_mut().ok()) {
            // When it cannot be sent, no call is answered.
            let _ = call.send(Request::Deserialize { objects: wanted }.frame()).await;
        }
        join_all(calls.into_iter().map(|call| async {
            let mut call = call?;
            Ok(Payload::Stream(match call.reply().await? {
                Answered::Piece(first) => pieces(first, call),
                Answered::Done => Box::pin(futures_util::stream::empty()),
                _ => return Err(call.violation("it answered a read with something else")),
            }))
        }))
        .await
    }
}

/// The same error, for one more who asked.
fn again(error: &Error) -> Error {
    error.hints().iter().fold(Error::new(error.kind(), error.to_string()), |error, hint| error.hint(hint))
}

/// Sends a piece of a value, cut where it is too long for a frame, unless the process has refused already.
async fn send_piece(call: &mut Call, mut piece: Bytes) -> Result<()> {
    while !piece.is_empty() {
        match call.answered() {
            None => {}
            Some(Answered::Failed(error)) => return Err(error),
            Some(_) => return Err(call.violation("it answered a write before its end")),
        }
        let body = piece.split_to(piece.len().min(frame::BODY_BYTES));
        call.send(Request::Chunk { id: call.id }.with(body)).await?;
    }
    Ok(())
}

async fn ended(call: &mut Call) -> Result<()> {
    match call.reply().await? {
        Answered::Done => Ok(()),
        _ => Err(call.violation("it answered with something else than the end of the call")),
    }
}

/// The pieces of a value. The next one is asked for when one is taken.
fn pieces(first: Bytes, call: Call) -> ByteStream {
    Box::pin(try_unfold((Some(first), call), |(first, mut call)| async move {
        let piece = match first {
            Some(first) => first,
            None => match call.reply().await? {
                Answered::Piece(piece) => piece,
                Answered::Done => return Ok(None),
                _ => return Err(call.violation("it answered a read with something else")),
            },
        };
        call.grant();
        Ok(Some((piece, (None, call))))
    }))
}
