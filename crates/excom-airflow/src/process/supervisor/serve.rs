//! The conversation with a task: it connects, is told what it is, asks, and says how it ended.

use std::sync::Arc;
use std::time::Duration;

use excom_core::{Answer, Error, ErrorKind, PullOptions, Result, SequenceKey, Slice, TaskChannel, XComKey};
use excom_flow::runner::isolation::{Done, Outcome};
use excom_flow::{Reschedule, Skip};
use rmpv::Value as MessagePack;
use rustix::process::Pid;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use super::super::extension::{self, AnswerOnWire, End, Ending, TaskAnswerOnWire};
use super::super::frame::{self, Frame};
use super::super::json::{Json, to_json};
use super::super::message::{
    ErrorResponse, FinalState, Producer, Reply, Request, Skipped, StartupDetails, VariableText,
};
use super::{Background, Heard, Timeouts, failure, output, peer};

/// How often, and how long after each other, it is asked whose a connection is: the system's tables may be
/// behind.
const CHECKS: u32 = 20;
const BETWEEN_CHECKS: Duration = Duration::from_millis(50);

/// All that the conversation with one task needs.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) startup: StartupDetails,
    pub(super) channel: Arc<dyn TaskChannel>,
    pub(super) heard: Arc<Heard>,
    pub(super) process: Pid,
    pub(super) timeouts: Timeouts,
}

impl Service {
    /// Talks until the task closes the connection, or a while after it said how it ended.
    pub(super) async fn run(self, comm: TcpListener, logs: TcpListener) -> Result<()> {
        let mut table = peer::Table::default();
        let both = async {
            // A task connects to its log last, so one look at the table tells of both.
            let logs = self.accept(&logs, &mut table).await?;
            Ok((self.accept(&comm, &mut table).await?, logs))
        };
        let (mut comm, logs) = timeout(self.timeouts.startup, both).await.map_err(|_| {
            let limit = self.timeouts.startup;
            Error::new(ErrorKind::Other, format!("the task's process did not connect within {limit:?}"))
                .hint("its `main` must call `excom_airflow::process::task::serve` first")
        })??;
        // The log is read beside the requests: a task that waits for its log must not wait for itself.
        let logs = Background(tokio::spawn(output::records(logs, self.channel.clone())));
        {
            let mut heard = self.heard.lock();
            (heard.connected, heard.logs) = (true, Some(logs));
        }
        drop(comm.set_nodelay(true));
        let startup = Reply::StartupDetails(Box::new(self.startup.clone()));
        let startup = frame::answer(&0.into(), Some(&startup), None::<&()>)?;
        if comm.write_all(&startup).await.is_ok() {
            self.converse(&mut comm).await?;
        }
        Ok(())
    }

    async fn converse(&self, comm: &mut TcpStream) -> Result<()> {
        loop {
            let ended = self.heard.lock().outcome.is_some();
            let received = if ended {
                match timeout(self.timeouts.exit, frame::receive(comm)).await {
                    Ok(received) => received?,
                    Err(_) => return Ok(()),
                }
            } else {
                frame::receive(comm).await?
            };
            let Some(payload) = received else { return Ok(()) };
            let answer = self.reply(Frame::decode(&payload)?).await?;
            if comm.write_all(&answer).await.is_err() {
                // Its end tells more than that it does not listen.
                return Ok(());
            }
        }
    }

    /// The first connection that the task's own process made.
    async fn accept(&self, listener: &TcpListener, table: &mut peer::Table) -> Result<TcpStream> {
        loop {
            let accepted = async {
                let (stream, peer) = listener.accept().await?;
                let own = stream.local_addr()?;
                std::io::Result::Ok((stream, peer, own))
            };
            let (stream, peer, own) = accepted
                .await
                .map_err(|e| Error::new(ErrorKind::Other, "the task's process cannot connect").because(e))?;
            for _ in 0..CHECKS {
                if table.is_of_group(peer, own, self.process) {
                    return Ok(stream);
                }
                sleep(BETWEEN_CHECKS).await;
            }
        }
    }

    async fn reply(&self, frame: Frame) -> Result<Vec<u8>> {
        let answered = match frame::message::<Request>(frame.body) {
            Ok(request) => self.answer(request).await,
            Err(error) => Err(error),
        };
        let written = match answered {
            Ok(body) => frame::answer(&frame.id, body.as_ref(), None::<&()>),
            Err(error) => Err(error),
        };
        // An answer that cannot be written, for an integer that is too large for it, is an error too.
        written.or_else(|error| {
            let error = Reply::ErrorResponse(ErrorResponse::of(&error));
            frame::answer(&frame.id, None::<&()>, Some(&error))
        })
    }

    async fn answer(&self, request: Request) -> Result<Option<Reply>> {
        let channel = &*self.channel;
        Ok(Some(match request {
            Request::GetXCom { of, map_index, include_prior_dates } => {
                let key = of.clone().at(map_index)?;
                let answers = channel.pull(&[key], PullOptions { include_prior_dates }).await?;
                Reply::XComResult { key: of.key, value: Json(value(answers)?) }
            }
            Request::GetXComCount { of } => {
                Reply::XComCountResponse { len: channel.count(&sequence(of)?).await? }
            }
            Request::GetXComSequenceItem { of, offset } => {
                let items = channel.slice(&sequence(of)?, Slice::item(offset)).await?;
                match items.into_iter().next() {
                    Some((_, answer)) => Reply::XComSequenceIndexResult { root: Json(answer.value()?) },
                    None => not_found("XCOM_NOT_FOUND"),
                }
            }
            Request::GetXComSequenceSlice { of, start, stop, step, include_prior_dates } => {
                if include_prior_dates {
                    return Err(unsupported("a slice of earlier runs"));
                }
                let items = channel.slice(&sequence(of)?, Slice { start, stop, step }).await?;
                let values = items.into_iter().map(|(_, answer)| Ok(Json(answer.value()?)));
                Reply::XComSequenceSliceResult { root: values.collect::<Result<_>>()? }
            }
            Request::SetXCom { of, value: Json(value), map_index, mapped_length: _ } => {
                channel.push(&of.at(map_index)?, value.into()).await?;
                return Ok(None);
            }
            // Nothing is left of earlier tries when a task starts, so there is nothing to clear.
            Request::DeleteXCom { .. } => return Err(unsupported("removing an XCom")),
            Request::GetVariable { key } => match channel.variable(&key).await? {
                Some(text) => Reply::VariableResult { key, value: Some(VariableText(text)) },
                None => not_found("VARIABLE_NOT_FOUND"),
            },
            Request::PutVariable { key, value, .. } => {
                let VariableText(text) = value.ok_or_else(|| unsupported("a variable without a text"))?;
                channel.set_variable(&key, Some(&text)).await?;
                return Ok(None);
            }
            Request::DeleteVariable { key } => {
                channel.set_variable(&key, None).await?;
                Reply::OKResponse { ok: true }
            }
            Request::SetRenderedFields { rendered_fields } => {
                let MessagePack::Map(fields) = rendered_fields else {
                    return Err(unsupported("rendered fields that are not a dict"));
                };
                let fields = fields
                    .iter()
                    .map(|(name, value)| Ok((name.as_str().unwrap_or_default().to_owned(), to_json(value)?)));
                channel.note_rendered(&fields.collect::<Result<Vec<_>>>()?).await?;
                return Ok(None);
            }
            Request::ExcomPull(extension::Pull { keys, include_prior_dates }) => {
                let keys = keys.into_iter().map(checked).collect::<Result<Vec<_>>>()?;
                let answers = channel.pull(&keys, PullOptions { include_prior_dates }).await?;
                let answers = answers.into_iter().map(AnswerOnWire::of).collect::<Result<_>>()?;
                Reply::ExcomAnswers(extension::Answers { answers })
            }
            Request::ExcomPullTasks(extension::PullTasks { keys, include_prior_dates }) => {
                let answers = channel.pull_tasks(&keys, PullOptions { include_prior_dates }).await?;
                let answers = answers.into_iter().map(TaskAnswerOnWire::of).collect::<Result<_>>()?;
                Reply::ExcomTaskAnswers(extension::TaskAnswers { answers })
            }
            Request::ExcomPush(extension::Push { key, value }) => {
                let receipt = channel.push(&checked(key)?, value.0.into()).await?;
                Reply::ExcomReceipt(extension::Pushed { receipt })
            }
            Request::ExcomSlice(extension::TakeSlice { key, slice }) => {
                let items = AnswerOnWire::all(channel.slice(&key, slice).await?)?;
                Reply::ExcomItems(extension::Items { items })
            }
            Request::ExcomIndexes(extension::TakeIndexes { key }) => {
                Reply::ExcomIndexesResult(extension::Indexes { indexes: channel.indexes(&key).await? })
            }
            Request::ExcomNoteRendered(extension::NoteRendered { fields }) => {
                let fields: Vec<_> = fields.into_iter().map(|(name, value)| (name, value.0)).collect();
                channel.note_rendered(&fields).await?;
                return Ok(None);
            }
            Request::SkipDownstreamTasks { tasks } => return self.skip(tasks).map(|()| None),
            ending => return self.end(ending).map(|()| None),
        }))
    }

    /// Notes tasks behind this one that are to be skipped, for when it succeeds.
    fn skip(&self, tasks: Vec<Skipped>) -> Result<()> {
        let whole = tasks.into_iter().map(|task| match task {
            Skipped::Task(task_id) => Ok(task_id.into()),
            Skipped::TaskInstance(..) => Err(unsupported("skipping one instance of a mapped task")),
        });
        let whole: Vec<Arc<str>> = whole.collect::<Result<_>>()?;
        self.heard.lock().skips.extend(whole);
        Ok(())
    }

    /// The first word on how the task ended counts.
    fn end(&self, ending: Request) -> Result<()> {
        let mut outcome = outcome(ending)?;
        let mut heard = self.heard.lock();
        if heard.outcome.is_some() {
            drop(heard);
            let message = "the task says a second time how it ended, and the first counts";
            self.channel.log(message);
            return Err(Error::new(ErrorKind::InvalidRequest, message));
        }
        if let Outcome::Succeeded(done) = &mut outcome {
            done.skips.append(&mut heard.skips);
        }
        heard.outcome = Some(outcome);
        Ok(())
    }
}

fn outcome(ending: Request) -> Result<Outcome> {
    let failed = |message: &str, hint: &str| Outcome::Failed(failure(message, [hint.to_owned()]));
    let in_log = "its log may tell why";
    Ok(match ending {
        Request::ExcomEnd(End { end }) => match end {
            Ending::Success { pushes, skips } => {
                let pushes = pushes.into_iter().map(|(key, value)| Ok((checked(key)?, value.0)));
                Outcome::Succeeded(Done { pushes: pushes.collect::<Result<_>>()?, skips, mapped_over: false })
            }
            Ending::Skipped { reason } => Outcome::Skipped(reason.map_or_else(Skip::new, Skip::because)),
            Ending::Failed { message, hints } => Outcome::Failed(failure(&message, hints)),
            Ending::TimedOut(timeout) => Outcome::TimedOut(timeout),
            Ending::Reschedule { after } => Outcome::Reschedule(Reschedule::after(after)),
        },
        Request::SucceedTask { .. } => Outcome::Succeeded(Done::default()),
        Request::TaskState { state: FinalState::Skipped, .. } => Outcome::Skipped(Skip::new()),
        Request::TaskState { state: FinalState::Failed, .. } => {
            failed("the task said that it failed", in_log)
        }
        Request::TaskState { state: FinalState::Removed, .. } => {
            failed("the task's program does not know the task", "start the program that has the DAG")
        }
        Request::RetryTask { retry_reason, .. } => match retry_reason {
            Some(reason) => Outcome::Failed(failure(&reason, [])),
            None => failed("the task said that it is to be tried again", in_log),
        },
        Request::RescheduleTask { reschedule_date, end_date } => {
            let after = reschedule_date.duration_since(end_date);
            Outcome::Reschedule(Reschedule::after(after.try_into().unwrap_or_default()))
        }
        _ => return Err(unsupported("this message")),
    })
}

/// The value of one pull; null is also what Airflow's protocol says for none.
fn value(answers: Vec<Answer>) -> Result<excom_core::Value> {
    let none = excom_core::Value::null;
    Ok(answers.into_iter().next().map(Answer::or_none).transpose()?.flatten().unwrap_or_else(none))
}

fn sequence(of: Producer) -> Result<SequenceKey> {
    Ok(of.at(None)?.sequence())
}

/// A key that came from another process keeps the rules of names.
fn checked(key: XComKey) -> Result<XComKey> {
    XComKey::new(key.ti.dag_id, key.ti.run_id, key.ti.task_id, key.ti.map_index, key.key)
}

fn not_found(code: &str) -> Reply {
    Reply::ErrorResponse(ErrorResponse { error: code.to_owned(), detail: None })
}

fn unsupported(what: &str) -> Error {
    Error::new(ErrorKind::InvalidRequest, format!("{what} is not offered by this supervisor"))
}
