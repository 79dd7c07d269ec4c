//! The way to the collector: spans are gathered, sent together, and sent again where that may help.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use bytes::Bytes;
use excom_core::{Error, ErrorKind, Result};
use reqwest::redirect::Policy;
use serde::Deserialize;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until};

use super::otlp::{Ended, document};
use super::{Collector, FAILED, SENT, Tally};

/// How long after a failure a batch is sent again, at first; twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The longest that a collector may ask to be left alone.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The most characters of what a collector says that are told.
const SAID: usize = 200;

/// How often at most somebody is told that spans are lost.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// The most bytes of an answer that are read.
const ANSWER_BYTES: usize = 64 << 10;

/// The side that sends.
pub(super) struct Exporter {
    collector: Collector,
    client: reqwest::Client,
    waiting: mpsc::Receiver<Ended>,
    closing: watch::Receiver<bool>,
    is_closing: bool,
    troubles: mpsc::Sender<Error>,
    /// When somebody was told last, and of how many spans.
    told: Option<Instant>,
    told_of: u64,
    tally: Arc<Tally>,
}

/// Why a batch was not taken.
struct Failure {
    why: String,
    /// Sent again it may be, after some time.
    again: bool,
    after: Option<Duration>,
}

/// What a collector answers that has not taken all of a batch.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Taken {
    partial_success: Partial,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Partial {
    rejected_spans: Number,
    error_message: String,
}

/// A number of 64 bits, which protobuf's JSON may have as a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Number(u64),
    Text(String),
}

/// What is behind an error; the address, which may have a password, is only in the error itself.
fn causes(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |cause| cause.source()).map(|cause| format!(": {cause}")).collect()
}

/// Waits until told to close.
async fn told_to(close: &mut watch::Receiver<bool>) {
    drop(close.wait_for(|close| *close).await);
}

impl Default for Number {
    fn default() -> Self {
        Self::Number(0)
    }
}

impl Exporter {
    pub(super) fn new(
        collector: Collector,
        waiting: mpsc::Receiver<Ended>,
        closing: watch::Receiver<bool>,
        troubles: mpsc::Sender<Error>,
        tally: Arc<Tally>,
    ) -> Result<Self> {
        // Elsewhere would be somebody else.
        let client =
            reqwest::Client::builder().redirect(Policy::none()).default_headers(collector.headers.clone());
        let client = client.build().map_err(|cause| {
            let message = format!("there can be no client for the collector {collector}");
            Error::new(ErrorKind::Configuration, message).because(cause)
        })?;
        let (told, told_of) = (None, 0);
        Ok(Self { collector, client, waiting, closing, is_closing: false, troubles, told, told_of, tally })
    }

    /// Sends until told to close, and then what is left.
    pub(super) async fn run(mut self) {
        let mut batch = Vec::new();
        while self.gather(&mut batch).await {
            let spans = batch.len() as u64;
            let (resource, ended) = (self.collector.resource.clone(), std::mem::take(&mut batch));
            // Hundreds of spans would hold up the requests of a thread that answers some.
            let outcome = match spawn_blocking(move || document(&resource, &ended)).await {
                Ok(body) => self.send(Bytes::from(body)).await,
                Err(cause) => Err(format!("they could not be written: {cause}")),
            };
            self.tally.pending.fetch_sub(spans, Ordering::Relaxed);
            let (rejected, why) = match outcome {
                Ok(Partial { rejected_spans, error_message }) => {
                    let rejected = match rejected_spans {
                        Number::Number(number) => number,
                        Number::Text(text) => text.parse().unwrap_or(0),
                    };
                    let said = error_message.chars().filter(|sign| !sign.is_control()).take(SAID);
                    (rejected.min(spans), if rejected > 0 { said.collect() } else { String::new() })
                }
                Err(why) => (spans, why),
            };
            self.tally.count(SENT, spans - rejected);
            self.tally.count(FAILED, rejected);
            self.tell(&why);
        }
    }

    /// Waits for spans, and somewhat longer for more of them. None are left when there is none.
    async fn gather(&mut self, batch: &mut Vec<Ended>) -> bool {
        let most = self.collector.batch;
        let mut until = None;
        while batch.len() < most {
            let room = most - batch.len();
            if self.is_closing {
                // Nothing comes any more, so this does not wait.
                if self.waiting.recv_many(batch, room).await == 0 {
                    break;
                }
                continue;
            }
            let enough = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = told_to(&mut self.closing) => self.close(),
                () = enough => break,
                came = self.waiting.recv_many(batch, room) => match came {
                    0 => break,
                    _ => until = until.or_else(|| Some(Instant::now() + self.collector.delay)),
                },
            }
        }
        !batch.is_empty()
    }

    fn close(&mut self) {
        self.is_closing = true;
        self.waiting.close();
    }

    /// Sends a batch, again and again while it is time. Once closing, there is one try more.
    async fn send(&mut self, body: Bytes) -> Result<Partial, String> {
        let until = Instant::now() + self.collector.timeout;
        let mut pause = FIRST_PAUSE;
        loop {
            let failure = match self.try_to_send(body.clone(), until).await {
                Ok(partial) => return Ok(partial),
                Err(failure) => failure,
            };
            let wait = failure.after.unwrap_or(pause);
            let is_late = wait >= until.saturating_duration_since(Instant::now());
            if !failure.again || self.is_closing || (is_late && failure.after.is_none()) {
                return Err(failure.why);
            }
            // Who asks for more time than a batch has gets it before the next one.
            tokio::select! {
                () = sleep(wait.min(LONGEST_PAUSE)) => {}
                () = told_to(&mut self.closing) => self.close(),
            }
            if is_late {
                return Err(failure.why);
            }
            pause *= 2;
        }
    }

    async fn try_to_send(&self, body: Bytes, until: Instant) -> Result<Partial, Failure> {
        let lost = |cause: reqwest::Error| {
            let why = match (cause.is_timeout(), cause.is_connect()) {
                (true, _) => "it does not answer in time".to_owned(),
                (_, true) => format!("it cannot be reached{}", causes(&cause)),
                _ => cause.without_url().to_string(),
            };
            Failure { why, again: true, after: None }
        };
        let request = self.client.post(self.collector.url.clone()).body(body);
        let request = request.header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let left = until.saturating_duration_since(Instant::now());
        let mut answer = request.timeout(left).send().await.map_err(lost)?;
        let status = answer.status();
        if !status.is_success() {
            let after =
                answer.headers().get(header::RETRY_AFTER).and_then(|after| after.to_str().ok()?.parse().ok());
            let again = [
                StatusCode::TOO_MANY_REQUESTS,
                StatusCode::BAD_GATEWAY,
                StatusCode::SERVICE_UNAVAILABLE,
                StatusCode::GATEWAY_TIMEOUT,
            ];
            let (why, again) = (format!("it answers {status}"), again.contains(&status));
            return Err(Failure { why, again, after: after.map(Duration::from_secs) });
        }
        // It has them, whatever becomes of its answer.
        let mut text = Vec::new();
        while let Ok(Some(part)) = answer.chunk().await {
            if text.len() + part.len() > ANSWER_BYTES {
                break;
            }
            text.extend_from_slice(&part);
        }
        Ok(serde_json::from_slice::<Taken>(&text).unwrap_or_default().partial_success)
    }

    /// Tells how many spans are lost since that was told last, unless that was just now.
    fn tell(&mut self, why: &str) {
        let (lost, now) = (self.tally.lost(), Instant::now());
        if lost == self.told_of || self.told.is_some_and(|told| now < told + TELL_EVERY) {
            return;
        }
        (self.told, self.told_of) = (Some(now), lost);
        let why = if why.is_empty() { "it takes them slower than they come" } else { why };
        let message = format!(
            "spans are lost, {lost} so far: the collector {} does not take them, {why}",
            self.collector
        );
        let trouble = Error::new(ErrorKind::Unavailable, message).hint(
            "check [server] traces, or OTEL_EXPORTER_OTLP_ENDPOINT, and that it takes OTLP over HTTP as JSON",
        );
        // Nobody listens, or has not for minutes.
        drop(self.troubles.try_send(trouble));
    }
}
