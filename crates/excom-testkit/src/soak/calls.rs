//! Requests to the servers. What is not answered is judged here: it needs a fault as its reason.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::{Client, Method};
use serde::Deserialize;
use serde_json::Value as Json;
use serde_json::value::RawValue;

use super::faults::{Failure, Log};
use super::model::{Pulled, XCom};
use super::site::SERVERS;
use super::tally::{Tally, count};
use crate::Result;

/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long until something is asked again, and how long a write may be in doubt: as long as any fault and its grace,
/// several times over.
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_DOUBT: Duration = Duration::from_secs(120);

/// How long an idle connection is kept: shorter than the server does, which must not close one just when it is used.
const IDLE: Duration = Duration::from_secs(5);

/// The DAG and the run of everything.
pub(super) const DAG: &str = "soak";
pub(super) const RUN: &str = "run";

/// A request.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// What it is counted as.
    pub(super) name: &'static str,
    method: Method,
    path: String,
    body: Bytes,
    version: Option<String>,
    token: Option<String>,
    /// Whether a value goes with it as a stream, which may be cut off.
    streamed: bool,
}

impl Request {
    pub(super) fn new(name: &'static str, method: Method, path: impl Into<String>) -> Self {
        let (path, body) = (path.into(), Bytes::new());
        Self { name, method, path, body, version: None, token: None, streamed: false }
    }

    /// A request for a value in Excom's own API.
    pub(super) fn of(name: &'static str, method: Method, xcom: &XCom) -> Self {
        let XCom { task_id, key, .. } = xcom;
        let path = format!("/api/excom/v1/values/{DAG}/{RUN}/{task_id}/-1/{key}");
        Self { streamed: true, ..Self::new(name, method, path) }
    }

    pub(super) fn with(self, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..self }
    }

    pub(super) fn version(self, version: Option<String>) -> Self {
        Self { version, ..self }
    }

    /// With the token of a task, in place of the person's.
    pub(super) fn token(self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self }
    }
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Bytes,
    /// The token that came with it.
    pub(super) token: Option<String>,
    pub(super) sent: Sent,
}

impl Answer {
    pub(super) fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Its beginning, for people.
    pub(super) fn told(&self) -> String {
        format!("{} {}", self.status, String::from_utf8_lossy(&self.body[..self.body.len().min(400)]))
    }

    /// The code of an answer without a value.
    pub(super) fn code(&self) -> String {
        let detail = &self.json()["detail"];
        let code = detail["answer"].as_str().or_else(|| detail["reason"].as_str());
        code.unwrap_or("no document").to_owned()
    }
}

/// Where and when something was asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) server: usize,
    pub(super) begin: Instant,
    pub(super) end: Instant,
}

/// One of the answers of `/pull` and `/wait`.
#[derive(Debug, Deserialize)]
pub(super) struct Element<'a> {
    #[serde(borrow)]
    answer: &'a str,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    version: Option<&'a str>,
}

/// What `/pull` and `/wait` answer.
#[derive(Debug, Deserialize)]
pub(super) struct Elements<'a> {
    #[serde(borrow)]
    pub(super) answers: Vec<Element<'a>>,
    #[serde(default)]
    pub(super) pending: Vec<usize>,
}

/// Who asks the servers, over connections that stay open.
pub(super) struct Calls {
    http: Client,
    ports: [u16; SERVERS],
    person: String,
    pub(super) log: Arc<Log>,
    pub(super) tally: Arc<Tally>,
}

impl Calls {
    /// With the token of a person who may do everything.
    pub(super) fn new(
        ports: [u16; SERVERS],
        person: String,
        log: Arc<Log>,
        tally: Arc<Tally>,
    ) -> Result<Self> {
        let http = Client::builder().no_proxy().tcp_nodelay(true).timeout(PATIENCE).pool_idle_timeout(IDLE);
        let http = http.build()?;
        Ok(Self { http, ports, person, log, tally })
    }

    /// Sends a request once; no answer when it was unavailable.
    pub(super) async fn ask(&self, server: usize, request: &Request) -> Option<Answer> {
        let Request { name, method, path, body, version, token, streamed } = request;
        let url = format!("http://127.0.0.1:{}{path}", self.ports[server]);
        let mut sent = self.http.request(method.clone(), url).body(body.clone());
        sent = sent.bearer_auth(token.as_deref().unwrap_or(&self.person));
        if !body.is_empty() {
            sent = sent.header("content-type", "application/json");
        }
        if let Some(version) = version {
            sent = sent.header("excom-version", version);
        }
        count(&self.tally.requests);
        let begin = Instant::now();
        let answered = async {
            let answer = sent.send().await?;
            let status = answer.status().as_u16();
            let token = answer.headers().get("refreshed-api-token");
            let token = token.and_then(|token| token.to_str().ok()).map(str::to_owned);
            Ok::<_, reqwest::Error>((status, token, answer.bytes().await?))
        };
        let answered = answered.await;
        let sent = Sent { server, begin, end: Instant::now() };
        match answered {
            Ok((status, token, body)) => {
                self.tally.answered(&format!("{name} {status}"));
                let answer = Answer { status, body, token, sent };
                if matches!(status, 503 | 507) {
                    self.unavailable(Failure::Unavailable { server }, sent, || {
                        format!("{method} {path}: {}", answer.told())
                    });
                    return None;
                }
                Some(answer)
            }
            Err(error) => {
                self.tally.answered(&format!("{name} broken"));
                self.unavailable(Failure::Broken { server, streamed: *streamed }, sent, || {
                    format!("{method} {path}: {}", with_causes(&error))
                });
                None
            }
        }
    }

    /// Sends a request until it is answered, to each server in turn; how often it took. None when it never is, which is
    /// told.
    pub(super) async fn insist(&self, first: usize, request: &Request) -> Option<(Answer, u64)> {
        let (begin, mut times) = (Instant::now(), 1);
        loop {
            let server = (first + times as usize - 1) % SERVERS;
            if let Some(answer) = self.ask(server, request).await {
                return Some((answer, times));
            }
            if begin.elapsed() > LONGEST_DOUBT {
                let sent = Sent { server, begin, end: Instant::now() };
                self.wrong(sent, &format!("{} {} is never answered", request.method, request.path));
                return None;
            }
            count(&self.tally.repeats);
            times += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Something was not answered, for which there must be a fault.
    fn unavailable(&self, failure: Failure, sent: Sent, what: impl FnOnce() -> String) {
        match self.log.explains(failure, sent.begin, sent.end) {
            Some(late) => self.tally.was_late(late),
            None => self.wrong(sent, &format!("not answered without a reason: {}", what())),
        }
    }

    /// Something is as it may not be.
    pub(super) fn wrong(&self, sent: Sent, what: &str) {
        self.tally.wrong(&format!(
            "server {}, asked {:.2} s ago and answered after {:.2} s, {}: {what}",
            sent.server,
            sent.begin.elapsed().as_secs_f64(),
            (sent.end - sent.begin).as_secs_f64(),
            self.log.last()
        ));
    }

    /// An answer that nothing explains.
    pub(super) fn unexpected(&self, name: &str, answer: &Answer) {
        self.wrong(answer.sent, &format!("{name}: {}", answer.told()));
    }

    /// Checks what was pulled of an XCom.
    pub(super) fn pulled(&self, sent: Sent, xcom: &XCom, floor: usize, pulled: Pulled<'_>) {
        if matches!(pulled, Pulled::Value(..)) {
            count(&self.tally.values);
        }
        if let Err(what) = xcom.check(floor, pulled) {
            self.wrong(sent, &what);
        }
    }

    /// Checks one of several answers.
    pub(super) fn element(&self, sent: Sent, xcom: &XCom, floor: usize, element: &Element<'_>) {
        match (element.answer, element.value) {
            ("found", Some(value)) => {
                self.pulled(sent, xcom, floor, Pulled::Value(value.get().as_bytes(), element.version));
            }
            ("unavailable", _) => {
                self.tally.answered("element unavailable");
                let failure = Failure::Unavailable { server: sent.server };
                self.unavailable(failure, sent, || format!("{} is unavailable", xcom.name()));
            }
            (code, _) => self.pulled(sent, xcom, floor, Pulled::None(code)),
        }
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        told = format!("{told}: {error}");
        cause = error.source();
    }
    told
}
