//! Requests and answers over the task's connection to its supervisor.
//!
//! One thread writes and one reads, so that neither a task that blocks nor a supervisor that is busy can stop
//! the other: a supervisor that writes a long answer reads nothing meanwhile.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;

use excom_core::{Error, ErrorKind, Result};
use excom_flow::Cancellation;
use rmpv::Value as MessagePack;
use tokio::sync::oneshot;

use super::frame::{self, Frame};
use super::message::{Reply, Request};

/// A connection to the supervisor.
pub(crate) struct Connection {
    /// Frames for the writing thread; none when the connection was closed.
    writer: Mutex<Option<mpsc::Sender<Vec<u8>>>>,
    pending: Arc<Mutex<Pending>>,
}

/// Requests that wait for their answers.
#[derive(Default)]
struct Pending {
    next: u64,
    waiting: HashMap<u64, oneshot::Sender<Result<Option<Reply>>>>,
    /// Why there will be no more answers.
    closed: Option<String>,
}

impl Pending {
    /// No answer comes any more: everybody who waits hears why.
    fn close(&mut self, why: &str) {
        self.closed.get_or_insert_with(|| why.to_owned());
        for (_, waiting) in self.waiting.drain() {
            // Whoever stopped waiting needs no answer.
            let _ = waiting.send(Err(gone(why)));
        }
    }
}

impl Connection {
    /// A connection over a socket on which `StartupDetails` was read. When the supervisor is gone, the
    /// cancellation is cancelled.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub(crate) fn over(comm: TcpStream, supervisor_gone: Cancellation) -> Result<Self> {
        let failed = |e| Error::new(ErrorKind::Other, "the task cannot speak to its supervisor").because(e);
        let pending: Arc<Mutex<Pending>> = Arc::default();
        let (sender, frames) = mpsc::channel::<Vec<u8>>();
        let mut reading = comm.try_clone().map_err(failed)?;
        let mut writing = comm;
        let of_reader = pending.clone();
        let read = move || {
            let why = answers(&mut reading, &of_reader);
            lock(&of_reader).close(&why);
            supervisor_gone.cancel();
        };
        let of_writer = pending.clone();
        let write = move || {
            for frame in frames {
                if let Err(error) = writing.write_all(&frame) {
                    lock(&of_writer).close(&error.to_string());
                    return;
                }
            }
            // Nothing more will be asked. The supervisor may still answer.
            let _ = writing.shutdown(Shutdown::Write);
        };
        thread::Builder::new().name("supervisor-reader".to_owned()).spawn(read).map_err(failed)?;
        thread::Builder::new().name("supervisor-writer".to_owned()).spawn(write).map_err(failed)?;
        Ok(Self { writer: Mutex::new(Some(sender)), pending })
    }

    /// Asks and waits for the answer; none is a plain yes.
    ///
    /// # Errors
    /// What the supervisor answers; when the message cannot be said; when the supervisor is gone.
    pub(crate) async fn ask(&self, request: &Request) -> Result<Option<Reply>> {
        let answer = {
            let mut pending = lock(&self.pending);
            if let Some(why) = &pending.closed {
                return Err(gone(why));
            }
            let id = pending.next;
            let frame = frame::request(id, request)?;
            pending.next += 1;
            let (sender, answer) = oneshot::channel();
            pending.waiting.insert(id, sender);
            // Under the lock, so that requests are sent in the order of their numbers.
            if lock(&self.writer).as_ref().is_none_or(|writer| writer.send(frame).is_err()) {
                pending.close("the connection is closed");
            }
            answer
        };
        answer.await.unwrap_or_else(|_| Err(gone("the connection is closed")))
    }

    /// Ends the connection, when everything that was asked is sent.
    pub(crate) fn close(&self) {
        lock(&self.writer).take();
    }
}

/// Hands answers to those who wait for them, until there are no more; why there are none.
fn answers(comm: &mut TcpStream, pending: &Mutex<Pending>) -> String {
    loop {
        let read = frame::read(comm).and_then(|payload| payload.as_deref().map(Frame::decode).transpose());
        let frame = match read {
            Ok(Some(frame)) => frame,
            Ok(None) => return "it closed the connection".to_owned(),
            Err(error) => return error.to_string(),
        };
        let waiting = frame.id.as_u64().and_then(|id| lock(pending).waiting.remove(&id));
        if let Some(waiting) = waiting {
            // Whoever stopped waiting needs no answer.
            let _ = waiting.send(answer(frame.body, frame.error));
        }
    }
}

fn answer(body: MessagePack, error: MessagePack) -> Result<Option<Reply>> {
    let part = if error.is_nil() { body } else { error };
    match frame::message::<Option<Reply>>(part)? {
        Some(Reply::ErrorResponse(error)) => Err(error.into_error()),
        other => Ok(other),
    }
}

fn gone(why: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("the supervisor cannot be reached: {why}"))
        .hint("a task without its supervisor is to end; the supervisor's log tells what became of it")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
