//! A running process, and the calls that are under way in it.
//!
//! Three threads serve its pipes. The one that reads never waits for anybody: a process may send a piece of a
//! value only when it was asked for, so what is held here is bounded, and a reader that is slow holds nobody up.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{ChildStderr, ChildStdin, ChildStdout};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use excom_core::{Error, ErrorKind, Result};
use futures_channel::mpsc;
use futures_timer::Delay;
use futures_util::StreamExt as _;
use futures_util::future::{Either, select};

use super::child::Child;
use super::frame::{self, Frame};
use super::message::{Hello, PROTOCOL, Reply, Request, short, told};
use super::{Log, ProcessOptions};

/// How many frames wait to be written; each call may add one.
const QUEUE: usize = 4;

/// The longest line of standard error that is passed on whole.
const LINE_BYTES: u64 = 8 << 10;

/// A process that said hello.
#[derive(Debug)]
pub(super) struct Connection {
    shared: Arc<Shared>,
    queue: Queue,
}

#[derive(Debug)]
struct Shared {
    options: ProcessOptions,
    child: Child,
    calls: Mutex<Calls>,
    begun: Instant,
    /// When it last took or gave anything, in milliseconds since it began.
    moved: AtomicU64,
    /// Whether it answered anything behind its hello.
    useful: AtomicBool,
    last_line: Mutex<String>,
}

#[derive(Debug, Default)]
struct Calls {
    next: u64,
    under_way: HashMap<u64, Waiting>,
    /// Why there will be no answers any more.
    ended: Option<String>,
}

#[derive(Debug)]
struct Waiting {
    replies: mpsc::UnboundedSender<Answered>,
    /// How many pieces it may send.
    granted: u32,
}

/// What a call hears.
#[derive(Debug)]
pub(super) enum Answered {
    Hello(Hello),
    Piece(Bytes),
    Done,
    Failed(Error),
}

type Queue = mpsc::Sender<Frame>;

impl Connection {
    /// Starts the process and waits for its hello. It blocks.
    pub(super) fn start(command: &[String], options: &ProcessOptions, log: &Log) -> Result<Arc<Self>> {
        let started = Child::start(command).map_err(|e| {
            Error::new(
                ErrorKind::Configuration,
                format!("the backend process `{}` cannot be started", command.join(" ")),
            )
            .because(e)
            .hint("is the program installed, on the PATH and executable? [xcom] backend_command names it")
        });
        let (child, (stdin, stdout, stderr)) = started?;
        let (queue, frames) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared {
            options: options.clone(),
            child,
            calls: Mutex::default(),
            begun: Instant::now(),
            moved: AtomicU64::new(0),
            useful: AtomicBool::new(false),
            last_line: Mutex::default(),
        });
        let connection = Arc::new(Self { shared: shared.clone(), queue });
        let (said_all, silent) = std::sync::mpsc::channel::<()>();
        let (writing, listening, log) = (shared.clone(), shared.clone(), log.clone());
        let threads = [
            thread("write", move || writing.write(stdin, frames)),
            thread("read", move || listening.listen(stdout, &silent)),
            thread("log", move || {
                shared.pass_on(stderr, &log);
                drop(said_all);
            }),
        ];
        threads.into_iter().collect::<Result<()>>()?;
        match pollster::block_on(connection.greet()) {
            Ok(()) => Ok(connection),
            Err(error) => {
                connection.shared.child.kill();
                Err(error)
            }
        }
    }

    async fn greet(self: &Arc<Self>) -> Result<()> {
        let options = &self.shared.options;
        let mut call = self.call()?;
        call.patience = options.start_timeout;
        let (store, inline_limit) = (&*options.store, options.threshold);
        let chunk = frame::BODY_BYTES;
        let hello = Request::Hello { id: call.id, protocol: PROTOCOL, store, inline_limit, chunk };
        call.send(hello.frame()).await?;
        let hello = match call.reply().await? {
            Answered::Hello(hello) => hello,
            _ => return Err(call.violation("it did not say hello")),
        };
        let refuse = |what: String, hint: String| {
            let message = format!("the backend process `{}` {what}", short(&hello.name));
            Err(Error::new(ErrorKind::Configuration, message).hint(hint))
        };
        if hello.protocol != PROTOCOL {
            return refuse(
                format!("speaks version {} of the protocol, this Excom version {PROTOCOL}", hello.protocol),
                "use a version of the backend that speaks the same as Excom".to_owned(),
            );
        }
        if hello.store != store {
            return refuse(
                format!("has the store `{}`, and `{store}` is configured", short(&hello.store)),
                "point the backend to the store that the values are in, or configure that one".to_owned(),
            );
        }
        if hello.inline_limit != inline_limit {
            return refuse(
                format!("wants values over {} bytes, and {inline_limit} is configured", hello.inline_limit),
                format!("set [xcom] inline_limit to {}", hello.inline_limit),
            );
        }
        Ok(())
    }

    /// Why it gives no answers any more; none while it does.
    pub(super) fn ended(&self) -> Option<String> {
        self.shared.calls().ended.clone()
    }

    /// Whether it answered anything behind its hello.
    pub(super) fn was_useful(&self) -> bool {
        self.shared.useful.load(Ordering::Relaxed)
    }

    /// A new call, which may be answered with one piece.
    pub(super) fn call(self: &Arc<Self>) -> Result<Call> {
        let (sender, replies) = mpsc::unbounded();
        let mut calls = self.shared.calls();
        if let Some(why) = &calls.ended {
            return Err(self.shared.unavailable(why));
        }
        let id = calls.next;
        calls.next += 1;
        calls.under_way.insert(id, Waiting { replies: sender, granted: 1 });
        let (connection, queue) = (self.clone(), self.queue.clone());
        let patience = self.shared.options.timeout;
        Ok(Call { id, connection, queue, replies, patience })
    }

    /// Sends a frame at once, for what may not wait.
    pub(super) fn tell(&self, frame: Frame) {
        // A new sender has a place of its own. One to a process that has ended says nothing.
        drop(self.queue.clone().try_send(frame));
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.queue.close_channel();
        self.shared.child.end(self.shared.options.grace);
    }
}

fn thread(what: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
    let name = format!("backend-{what}");
    match std::thread::Builder::new().name(name.clone()).spawn(run) {
        Ok(_) => Ok(()),
        Err(e) => Err(Error::new(ErrorKind::Other, format!("the thread {name} cannot start")).because(e)),
    }
}

impl Shared {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unavailable(&self, why: &str) -> Error {
        Error::new(ErrorKind::Unavailable, format!("the backend process `{}` {why}", self.options.name))
            .hint("it is started again for the next call; its standard error is in the log")
    }

    fn moves(&self) {
        let since = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved.store(since, Ordering::Relaxed);
    }

    fn quiet_for(&self) -> Duration {
        self.begun.elapsed().saturating_sub(Duration::from_millis(self.moved.load(Ordering::Relaxed)))
    }

    /// No call is answered from now on.
    fn fail(&self, why: String) {
        let mut calls = self.calls();
        calls.ended.get_or_insert(why);
        calls.under_way.clear();
    }

    fn write(&self, mut stdin: ChildStdin, mut frames: mpsc::Receiver<Frame>) {
        while let Some(frame) = pollster::block_on(frames.next()) {
            if frame::write(&mut stdin, &frame).is_err() {
                // Whoever reads its output learns how it ended.
                break;
            }
            self.moves();
        }
    }

    fn listen(&self, stdout: ChildStdout, silent: &std::sync::mpsc::Receiver<()>) {
        let mut stdout = BufReader::with_capacity(64 << 10, stdout);
        let wrong = loop {
            match frame::read(&mut stdout) {
                Ok(Some(frame)) => {
                    self.moves();
                    if let Err(wrong) = self.dispatch(frame) {
                        break Some(wrong);
                    }
                }
                Ok(None) => break None,
                Err(wrong) => break Some(wrong),
            }
        };
        if let Some(wrong) = &wrong {
            // The calls need not wait for its end.
            self.fail(format!("broke the protocol: {wrong}"));
            self.child.kill();
        }
        let status = self.child.end(self.options.grace);
        // What it said last may still be on its way here.
        let _ = silent.recv_timeout(self.options.grace);
        let how = status.map_or_else(String::new, |status| format!(" with {status}"));
        let last_line = self.last_line.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let said = if last_line.is_empty() {
            "; it said nothing".to_owned()
        } else {
            format!("; it said last: {last_line}")
        };
        self.fail(format!("ended{how}{said}"));
    }

    fn dispatch(&self, Frame { header, body }: Frame) -> Result<(), String> {
        let reply: Reply<'_> = serde_json::from_slice(&header).map_err(|error| {
            let text = String::from_utf8_lossy(&header);
            format!("the header {} is no reply: {error}", short(&text))
        })?;
        if !body.is_empty() && !matches!(reply, Reply::Chunk { .. }) {
            return Err(format!("{} bytes are with a reply that has none", body.len()));
        }
        let (id, answered) = match reply {
            Reply::Hello(hello) => (hello.id, Answered::Hello(hello)),
            Reply::Chunk { id } => (id, Answered::Piece(body)),
            Reply::Done { id } => (id, Answered::Done),
            Reply::Error { id, kind, message, hint } => {
                (id, Answered::Failed(told(&self.options.name, &kind, &message, hint.as_deref())))
            }
        };
        let mut calls = self.calls();
        if id >= calls.next {
            return Err(format!("it answers the call {id}, which was not made"));
        }
        self.useful.fetch_or(id > 0, Ordering::Relaxed);
        // Of a call that is over or was cancelled, it may not have known when it answered.
        let Some(waiting) = calls.under_way.get_mut(&id) else { return Ok(()) };
        let goes_on = matches!(answered, Answered::Piece(_));
        if goes_on {
            waiting.granted = waiting
                .granted
                .checked_sub(1)
                .ok_or_else(|| format!("it sends a piece for the call {id} that was not asked for"))?;
        }
        drop(waiting.replies.unbounded_send(answered));
        if !goes_on {
            calls.under_way.remove(&id);
        }
        Ok(())
    }

    /// Its standard error, line by line.
    fn pass_on(&self, stderr: ChildStderr, log: &Log) {
        let mut stderr = BufReader::new(stderr);
        let mut line = Vec::new();
        while stderr.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end();
            if !text.is_empty() {
                short(text).clone_into(&mut self.last_line.lock().unwrap_or_else(PoisonError::into_inner));
            }
            log.line(&self.options.name, text);
            line.clear();
        }
    }
}

/// A call that is under way. Dropped before its end, it is cancelled.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: u64,
    connection: Arc<Connection>,
    queue: Queue,
    replies: mpsc::UnboundedReceiver<Answered>,
    /// How long each answer may take.
    patience: Duration,
}

impl Call {
    /// Sends a frame when the process has taken what was sent before.
    pub(super) async fn send(&mut self, frame: Frame) -> Result<()> {
        let ready = poll_fn(|context| self.queue.poll_ready(context));
        match select(ready, Delay::new(self.patience)).await {
            Either::Left((Ok(()), _)) => {
                // When it has ended meanwhile, the reply says so.
                drop(self.queue.start_send(frame));
                Ok(())
            }
            Either::Left((Err(_), _)) => match self.reply().await {
                Ok(_) => Err(self.violation("it closed its standard input")),
                Err(why) => Err(why),
            },
            Either::Right(_) => Err(self.overdue()),
        }
    }

    /// What it has answered already.
    pub(super) fn answered(&mut self) -> Option<Answered> {
        self.replies.try_recv().ok()
    }

    /// The next answer, which is no error.
    pub(super) async fn reply(&mut self) -> Result<Answered> {
        let answered = match select(self.replies.next(), Delay::new(self.patience)).await {
            Either::Left((Some(answered), _)) => answered,
            Either::Left((None, _)) => {
                let why = self.connection.ended().unwrap_or_else(|| "answers no more".to_owned());
                return Err(self.connection.shared.unavailable(&why));
            }
            Either::Right(_) => return Err(self.overdue()),
        };
        match answered {
            Answered::Failed(error) => Err(error),
            answered => Ok(answered),
        }
    }

    /// It may send one more piece.
    pub(super) fn grant(&self) {
        if let Some(waiting) = self.connection.shared.calls().under_way.get_mut(&self.id) {
            waiting.granted += 1;
            self.connection.tell(Request::Next { id: self.id }.frame());
        }
    }

    /// The call took too long. A process in which nothing moved meanwhile is stuck, and will be of no use to
    /// others either.
    fn overdue(&self) -> Error {
        let shared = &self.connection.shared;
        let why = format!("did not answer within {:?}", self.patience);
        if shared.quiet_for() >= self.patience {
            shared.fail(format!("{why}, and was ended"));
            shared.child.kill();
        }
        shared.unavailable(&why).hint("[xcom] backend_timeout says how long it may take")
    }

    /// The process did what it may not.
    pub(super) fn violation(&self, what: &str) -> Error {
        let shared = &self.connection.shared;
        let why = format!("broke the protocol: {what}");
        shared.fail(why.clone());
        shared.child.kill();
        shared.unavailable(&why)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let under_way = self.connection.shared.calls().under_way.remove(&self.id).is_some();
        if under_way {
            self.connection.tell(Request::Cancel { id: self.id }.frame());
        }
    }
}
