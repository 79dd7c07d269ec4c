//! The engine as a task sees it from a process of its own: a [`TaskChannel`] over the supervisor's sockets.

use std::fmt;
use std::future::poll_fn;
use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use excom_core::answer::Found;
use excom_core::engine::{Receipt, TaskAnswer};
use excom_core::entry::Writer;
use excom_core::value::Payload;
use excom_core::value::secret::REDACTED;
use excom_core::{
    Answer, Error, ErrorKind, PullOptions, Result, SequenceKey, Slice, TaskChannel, Value, Version, XComKey,
};
use excom_flow::Cancellation;
use jiff::Timestamp;
use rmpv::Value as MessagePack;

use super::connection::Connection;
use super::extension::{self, Text};
use super::frame;
use super::json::{Json, to_message_pack};
use super::message::{Producer, Reply, Request, VariableText};

/// Who pushed a value that came through Airflow's supervisor, which does not tell.
const UNTOLD: &str = "airflow";

/// A [`TaskChannel`] over the sockets that a supervisor gave a task.
///
/// Where the supervisor is Excom's, answers have their cause and pushes their receipt, and sequences their map
/// indexes. Airflow's says less: a missing value is [`Answer::Absent`], also where null was pushed; a value's
/// version and writer are not known; the elements of a sequence are numbered by position. It stores nothing
/// encrypted, so a secret cannot be pushed.
///
/// It needs no runtime.
pub struct SupervisorChannel {
    connection: Connection,
    logs: Mutex<TcpStream>,
    /// Whether the supervisor knows Excom's own messages.
    extended: bool,
    /// Whether other tasks map over what this one returns, which Airflow must be told.
    mapped_over: AtomicBool,
    /// The keys that settings make secrets of, among those that the DAG declares.
    secret_keys: Vec<Arc<str>>,
}

impl fmt::Debug for SupervisorChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = if self.extended { "Excom's" } else { "Airflow's" };
        write!(f, "SupervisorChannel(to {whose} supervisor)")
    }
}

impl SupervisorChannel {
    /// A channel over the two sockets, on which nothing but `StartupDetails` was read. When the supervisor is
    /// gone, the cancellation is cancelled.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub(crate) fn new(
        comm: TcpStream,
        logs: TcpStream,
        extended: bool,
        supervisor_gone: Cancellation,
    ) -> Result<Self> {
        let connection = Connection::over(comm, supervisor_gone)?;
        Ok(Self {
            connection,
            logs: Mutex::new(logs),
            extended,
            mapped_over: AtomicBool::new(false),
            secret_keys: Vec::new(),
        })
    }

    /// Whether the supervisor knows Excom's own messages.
    pub(crate) fn is_extended(&self) -> bool {
        self.extended
    }

    /// Says that other tasks map over what this task returns. Airflow must be told the length with the value,
    /// and refuses a value that is too long; Excom knows by itself.
    pub(crate) fn set_mapped_over(&self, mapped_over: bool) {
        self.mapped_over.store(mapped_over, Ordering::Relaxed);
    }

    /// Says which keys of the task settings make secrets of.
    pub(crate) fn set_secret_keys(&mut self, keys: &[Arc<str>]) {
        self.secret_keys = keys.to_vec();
    }

    /// Asks and waits for the answer; none is a plain yes.
    ///
    /// # Errors
    /// As [`Connection::ask`].
    pub(crate) async fn ask(&self, request: &Request) -> Result<Option<Reply>> {
        self.connection.ask(request).await
    }

    async fn done(&self, request: &Request) -> Result<()> {
        match self.ask(request).await? {
            None | Some(Reply::OKResponse { .. }) => Ok(()),
            Some(other) => Err(unexpected(&other)),
        }
    }

    /// A value as Airflow answers it: null and none are the same.
    async fn get(&self, key: &XComKey, options: PullOptions) -> Result<Option<Found>> {
        let request = Request::GetXCom {
            of: Producer::of(key),
            map_index: key.ti.is_mapped().then_some(key.ti.map_index),
            include_prior_dates: options.include_prior_dates,
        };
        match self.ask(&request).await? {
            Some(Reply::XComResult { value: Json(value), .. }) => {
                Ok((!value.is_null()).then(|| found(value)))
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Elements of a sequence as Airflow answers them, without their map indexes.
    async fn elements(&self, key: &SequenceKey, slice: Slice, options: PullOptions) -> Result<Vec<Value>> {
        let Slice { start, stop, step } = slice;
        let of = Producer::of(&key.at(0));
        let include_prior_dates = options.include_prior_dates;
        let request = Request::GetXComSequenceSlice { of, start, stop, step, include_prior_dates };
        match self.ask(&request).await? {
            Some(Reply::XComSequenceSliceResult { root }) => {
                Ok(root.into_iter().map(|Json(value)| value).collect())
            }
            other => Err(unexpected(&other)),
        }
    }
}

fn unexpected(response: &impl fmt::Debug) -> Error {
    let text = format!("{response:?}");
    let start = &text[..text.floor_char_boundary(80)];
    Error::new(ErrorKind::Incompatible, format!("the supervisor gave another answer than asked for: {start}"))
}

/// A field as Airflow may show it.
fn shown(value: &Value) -> Result<MessagePack> {
    if value.is_secret() { Ok(REDACTED.into()) } else { to_message_pack(value) }
}

/// A value of which nothing else is known.
fn found(value: Value) -> Found {
    Found { value, version: unknown_version(), writer: Writer::System(UNTOLD.into()) }
}

fn unknown_version() -> Version {
    Version::new(Timestamp::UNIX_EPOCH, 0)
}

fn answer_of(value: Option<Found>, key: &XComKey) -> Answer {
    value.map_or_else(|| Answer::Absent(Box::new(key.clone())), Answer::Found)
}

/// An element of a sequence; null counts there, because every element that exists is told.
fn element(value: Value) -> Answer {
    let found = found(value);
    if found.value.is_null() { Answer::Null(found) } else { Answer::Found(found) }
}

/// All of a payload: the protocol has no streams.
async fn whole(payload: Payload) -> Result<Value> {
    let mut stream = match payload {
        Payload::Value(value) => return Ok(value),
        other => other.into_stream(),
    };
    let mut text = Vec::new();
    while let Some(piece) = poll_fn(|context| stream.as_mut().poll_next(context)).await {
        text.extend_from_slice(&piece?);
        if text.len() as u64 > frame::LONGEST {
            let message =
                format!("the value is over {} bytes, which is the most that a frame holds", frame::LONGEST);
            return Err(Error::new(ErrorKind::TooLarge, message)
                .hint("keep the data in a file or an object store, and push its name"));
        }
    }
    Value::parse(text)
}

#[async_trait]
impl TaskChannel for SupervisorChannel {
    async fn pull(&self, keys: &[XComKey], options: PullOptions) -> Result<Vec<Answer>> {
        if !self.extended {
            let mut answers = Vec::with_capacity(keys.len());
            for key in keys {
                answers.push(answer_of(self.get(key, options).await?, key));
            }
            return Ok(answers);
        }
        let include_prior_dates = options.include_prior_dates;
        let request = Request::ExcomPull(extension::Pull { keys: keys.to_vec(), include_prior_dates });
        match self.ask(&request).await? {
            Some(Reply::ExcomAnswers(answers)) if answers.answers.len() == keys.len() => {
                Ok(answers.answers.into_iter().map(Answer::from).collect())
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn pull_tasks(&self, keys: &[SequenceKey], options: PullOptions) -> Result<Vec<TaskAnswer>> {
        if !self.extended {
            let mut answers = Vec::with_capacity(keys.len());
            for key in keys {
                let single = key.at(excom_core::UNMAPPED);
                let value = self.get(&single, options).await?;
                // Airflow does not tell whether a task is mapped: a value without an index says that it is not.
                let values = match value {
                    Some(_) => Vec::new(),
                    None => self.elements(key, Slice::ALL, options).await?,
                };
                answers.push(if values.is_empty() {
                    TaskAnswer::Single(answer_of(value, &single))
                } else {
                    let length = values.len() as u64;
                    TaskAnswer::Mapped { items: (0..).zip(values.into_iter().map(element)).collect(), length }
                });
            }
            return Ok(answers);
        }
        let include_prior_dates = options.include_prior_dates;
        let request =
            Request::ExcomPullTasks(extension::PullTasks { keys: keys.to_vec(), include_prior_dates });
        match self.ask(&request).await? {
            Some(Reply::ExcomTaskAnswers(answers)) if answers.answers.len() == keys.len() => {
                Ok(answers.answers.into_iter().map(TaskAnswer::from).collect())
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn push(&self, key: &XComKey, value: Payload) -> Result<Receipt> {
        let value = whole(value).await?;
        if self.extended {
            let request = Request::ExcomPush(extension::Push { key: key.clone(), value: Text(value) });
            return match self.ask(&request).await? {
                Some(Reply::ExcomReceipt(pushed)) => Ok(pushed.receipt),
                other => Err(unexpected(&other)),
            };
        }
        if value.is_secret() {
            return Err(Error::new(
                ErrorKind::Configuration,
                format!("{key} is a secret, and Airflow's supervisor stores values for all to see; nothing was pushed"),
            )
            .hint("keep it where Airflow keeps secrets, such as a connection or a secrets backend"));
        }
        let says_length = self.mapped_over.load(Ordering::Relaxed)
            && !key.ti.is_mapped()
            && &*key.key == excom_core::RETURN_VALUE;
        let request = Request::SetXCom {
            of: Producer::of(key),
            value: Json(value.clone()),
            map_index: Some(key.ti.map_index),
            mapped_length: value.shape().mapped_length().filter(|_| says_length),
        };
        self.done(&request).await?;
        Ok(Receipt::of(&value, unknown_version()))
    }

    async fn count(&self, key: &SequenceKey) -> Result<u64> {
        match self.ask(&Request::GetXComCount { of: Producer::of(&key.at(0)) }).await? {
            Some(Reply::XComCountResponse { len }) => Ok(len),
            other => Err(unexpected(&other)),
        }
    }

    async fn slice(&self, key: &SequenceKey, slice: Slice) -> Result<Vec<(i32, Answer)>> {
        if self.extended {
            let request = Request::ExcomSlice(extension::TakeSlice { key: key.clone(), slice });
            return match self.ask(&request).await? {
                Some(Reply::ExcomItems(items)) => {
                    Ok(items.items.into_iter().map(|(index, answer)| (index, answer.into())).collect())
                }
                other => Err(unexpected(&other)),
            };
        }
        let positions = slice.positions(self.count(key).await?)?;
        let values = self.elements(key, slice, PullOptions::default()).await?;
        let index = |position| i32::try_from(position).unwrap_or(i32::MAX);
        Ok(positions.map(index).zip(values.into_iter().map(element)).collect())
    }

    async fn indexes(&self, key: &SequenceKey) -> Result<Vec<i32>> {
        if !self.extended {
            // Airflow tells positions only.
            return Ok((0..i32::try_from(self.count(key).await?).unwrap_or(i32::MAX)).collect());
        }
        match self.ask(&Request::ExcomIndexes(extension::TakeIndexes { key: key.clone() })).await? {
            Some(Reply::ExcomIndexesResult(indexes)) => Ok(indexes.indexes),
            other => Err(unexpected(&other)),
        }
    }

    async fn variable(&self, key: &str) -> Result<Option<String>> {
        match self.ask(&Request::GetVariable { key: key.to_owned() }).await {
            Ok(Some(Reply::VariableResult { value, .. })) => Ok(value.map(|VariableText(text)| text)),
            Err(error) if error.kind() == ErrorKind::NoValue => Ok(None),
            other => Err(other.map_or_else(|error| error, |other| unexpected(&other))),
        }
    }

    async fn set_variable(&self, key: &str, text: Option<&str>) -> Result<()> {
        let key = key.to_owned();
        self.done(&match text {
            Some(text) => {
                let value = Some(VariableText(text.to_owned()));
                Request::PutVariable { key, value, description: None }
            }
            None => Request::DeleteVariable { key },
        })
        .await
    }

    async fn note_rendered(&self, fields: &[(String, Value)]) -> Result<()> {
        if self.extended {
            let fields = fields.iter().map(|(name, value)| (name.clone(), Text(value.clone()))).collect();
            return self.done(&Request::ExcomNoteRendered(extension::NoteRendered { fields })).await;
        }
        let entries: Result<Vec<_>> =
            fields.iter().map(|(name, value)| Ok((name.as_str().into(), shown(value)?))).collect();
        self.done(&Request::SetRenderedFields { rendered_fields: MessagePack::Map(entries?) }).await
    }

    fn is_secret(&self, key: &str) -> bool {
        self.secret_keys.iter().any(|secret| **secret == *key)
    }

    fn log(&self, line: &str) {
        self.write_log("info", line);
    }
}

impl SupervisorChannel {
    /// Writes a line into the task's log, with a level that Airflow knows.
    pub(crate) fn write_log(&self, level: &str, text: &str) {
        let record = serde_json::json!({
            "timestamp": format!("{:.6}", Timestamp::now()),
            "level": level,
            "event": text,
            "logger": "excom",
        });
        // A log that nobody reads any more must not stop the task.
        let _ = self.logs().write_all(format!("{record}\n").as_bytes());
    }

    fn logs(&self) -> MutexGuard<'_, TcpStream> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends both connections, when everything that was asked is sent.
    pub(crate) fn close(&self) {
        self.connection.close();
        let _ = self.logs().shutdown(Shutdown::Write);
    }
}
