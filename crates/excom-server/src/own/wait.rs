//! Pulls that wait until XComs are there, or cannot come any more: all at once, or each as an event when it comes. And who
//! waits for the end of a run.
//!
//! One task looks for all that is waited for; it pauses longer than it looks, so those who wait take a small part of the
//! database, however many they are.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aide::OperationOutput;
use aide::generate::GenContext;
use aide::openapi::{Operation, Response as Described};
use axum::body::Body as Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use excom_core::db::RunInfo;
use excom_core::{Caller, Engine, Error, PullOptions, Result, RunState};
use futures_util::stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, sleep, timeout_at};

use super::answers::Body;
use super::openapi::Reply;
use super::pull::{One, Pulling, Wanted, joined, parted, wanted};
use crate::app::App;
use crate::auth::Asking;
use crate::refusal::Refusal;
use crate::request::Document;

/// The least pause between two looks, and how many times as long as a look one is.
pub(crate) const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_FOR_LOOK: u32 = 9;

/// The most XComs that one request, and all together, wait for. A run counts as one for each who waits for it.
const MOST: usize = 1000;
const MOST_OF_ALL: usize = 10_000;

/// The most XComs that are looked for in one step: the values of those that came are whole in memory.
const STEP: usize = 256;

/// How often a stream of events without any shows that it lives.
const ALIVE: Duration = Duration::from_secs(15);

const EVENTS: &str = "text/event-stream";

/// Whom looking for somebody else is done as.
const LOOKING: Caller = Caller::System("wait");

/// What is waited for. DAG and run may be said once for all.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Wait")]
pub(super) struct Asked {
    dag_id: Option<Arc<str>>,
    run_id: Option<Arc<str>>,
    xcoms: Vec<One>,
    /// How long, at most; never longer than `[server] longest_wait`, which it is when it is not said.
    seconds: Option<u32>,
}

/// What is answered at the end: in the order asked, as a pull would.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Waited {
    answers: Vec<Body>,
    /// The places of what was not there in time, and may still come.
    pending: Vec<usize>,
}

/// The answers at the end, or each as an event, with `Accept: text/event-stream`.
#[derive(Debug)]
pub(super) struct Told;

impl OperationOutput for Told {
    type Inner = Waited;

    fn operation_response(context: &mut GenContext, operation: &mut Operation) -> Option<Described> {
        let mut told = Reply::<Waited>::operation_response(context, operation)?;
        told.description =
            "The answers; with `Accept: text/event-stream` each as an event `answer`, with its `place` \
                            in what was asked, and `end` with what is `pending`"
                .to_owned();
        told.content.insert(EVENTS.to_owned(), Default::default());
        Some(told)
    }
}

/// Everybody who waits.
#[derive(Debug)]
pub(crate) struct Waits {
    waiting: Mutex<Waiting>,
    /// Whether the server stops.
    over: watch::Sender<bool>,
}

/// DAG and run.
pub(crate) type RunKey = (Arc<str>, Arc<str>);

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Going,
    Ended(RunState),
    /// It was removed.
    Gone,
}

impl From<Option<RunInfo>> for Standing {
    fn from(found: Option<RunInfo>) -> Self {
        let Some(info) = found else { return Self::Gone };
        // One without a state is known only because something was pushed into it.
        info.state.filter(|state| state.is_finished()).map_or(Self::Going, Self::Ended)
    }
}

#[derive(Debug, Default)]
struct Waiting {
    waiters: HashMap<u64, Waiter>,
    /// How runs stood when they were looked at last.
    runs: HashMap<RunKey, watch::Sender<Standing>>,
    last: u64,
    looking: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Waiter {
    left: Vec<(usize, Wanted)>,
    tell: mpsc::UnboundedSender<usize>,
}

impl Waits {
    pub(crate) fn new() -> Self {
        Self { waiting: Mutex::default(), over: watch::channel(false).0 }
    }

    /// Ends all waits, those to come too.
    pub(crate) fn end(&self) {
        self.over.send_replace(true);
    }

    /// How a run stands from now on, which is looked for as long as somebody listens.
    ///
    /// # Errors
    /// 429 when too much is waited for already.
    pub(crate) fn follow(&self, app: &App, run: RunKey) -> Result<watch::Receiver<Standing>, Refusal> {
        let mut waiting = self.waiting();
        waiting.admit(1)?;
        // One that has ended is told to those who waited; it may go on again since.
        waiting.runs.retain(|other, standing| *other != run || *standing.borrow() == Standing::Going);
        let standing =
            waiting.runs.entry(run).or_insert_with(|| watch::channel(Standing::Going).0).subscribe();
        waiting.look(app);
        Ok(standing)
    }

    /// How many XComs and runs are waited for.
    pub(crate) fn count(&self) -> usize {
        self.waiting().count()
    }

    /// Whether the server stops.
    pub(crate) fn over(&self) -> watch::Receiver<bool> {
        self.over.subscribe()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn count(&self) -> usize {
        let xcoms: usize = self.waiters.values().map(|waiter| waiter.left.len()).sum();
        let runs: usize = self.runs.values().map(watch::Sender::receiver_count).sum();
        xcoms + runs
    }

    /// Refuses to wait for more than so much at once.
    fn admit(&self, count: usize) -> Result<(), Refusal> {
        let others = self.count();
        if others + count > MOST_OF_ALL {
            let message = format!("{others} XComs and runs are waited for, the most are {MOST_OF_ALL}");
            return Err(Refusal::because(StatusCode::TOO_MANY_REQUESTS, "too_many", message));
        }
        Ok(())
    }

    /// Has somebody look, if nobody does.
    fn look(&mut self, app: &App) {
        if self.looking.as_ref().is_none_or(JoinHandle::is_finished) {
            self.looking = Some(tokio::spawn(look(app.clone())));
        }
    }

    /// The runs that somebody waits for.
    fn followed(&mut self) -> Vec<RunKey> {
        self.runs.retain(|_, standing| standing.receiver_count() > 0);
        self.runs.keys().cloned().collect()
    }

    /// Tells everybody how a run stands.
    fn stands(&mut self, run: &RunKey, now: Standing) {
        if let Some(standing) = self.runs.get(run) {
            standing.send_if_modified(|before| std::mem::replace(before, now) != now);
        }
    }

    /// Everything that somebody waits for, once.
    fn wanted(&self) -> Vec<Wanted> {
        let left = self.waiters.values().flat_map(|waiter| &waiter.left);
        let once: HashSet<&Wanted> = left.map(|(_, wanted)| wanted).collect();
        once.into_iter().cloned().collect()
    }

    /// Tells everybody what of it came.
    fn came(&mut self, came: &HashSet<Wanted>) {
        for waiter in self.waiters.values_mut() {
            waiter.left.retain(|(place, wanted)| {
                let is_left = !came.contains(wanted);
                if !is_left {
                    // Who does not listen any more is about to leave.
                    waiter.tell.send(*place).ok();
                }
                is_left
            });
        }
    }
}

/// Looks until nobody waits any more.
async fn look(app: App) {
    loop {
        let (wanted, runs) = {
            let mut waiting = app.own.waits.waiting();
            let (wanted, runs) = (waiting.wanted(), waiting.followed());
            if wanted.is_empty() && runs.is_empty() {
                waiting.looking = None;
                return;
            }
            (wanted, runs)
        };
        let begun = Instant::now();
        // While the database is away nothing comes; whoever waits is told with the pull at the end.
        if let Ok(pending) = pending(&app.engine, &LOOKING, &wanted).await {
            let came = wanted.into_iter().zip(pending).filter(|(_, pending)| !pending);
            app.own.waits.waiting().came(&came.map(|(wanted, _)| wanted).collect());
        }
        for run in runs {
            if let Ok(found) = app.engine.db().run_info(&run.0, &run.1).await {
                app.own.waits.waiting().stands(&run, found.into());
            }
        }
        sleep(PAUSE.max(begun.elapsed() * PAUSE_FOR_LOOK)).await;
    }
}

/// For each whether waiting may bring something.
async fn pending(engine: &Engine, caller: &Caller, wanted: &[Wanted]) -> Result<Vec<bool>> {
    let (ones, all) = parted(wanted);
    let (mut pending, mut pending_all) = (Vec::new(), Vec::new());
    for ones in ones.chunks(STEP) {
        pending.extend(engine.pending(caller, ones).await?);
    }
    for all in all.chunks(STEP) {
        pending_all.extend(engine.pending_tasks(caller, all).await?);
    }
    Ok(joined(wanted, pending, pending_all))
}

/// One request that waits.
struct Wait {
    app: App,
    caller: Caller,
    wanted: Vec<Wanted>,
    /// Its name among those who wait.
    id: u64,
    /// Places of what is there, and not told yet.
    come: Vec<usize>,
    told: mpsc::UnboundedReceiver<usize>,
    /// How many are neither.
    left: usize,
    deadline: Instant,
    over: watch::Receiver<bool>,
}

impl Wait {
    /// Begins to wait for what is not there, and may come.
    async fn begin(
        app: App,
        caller: Caller,
        wanted: Vec<Wanted>,
        deadline: Instant,
    ) -> Result<Self, Refusal> {
        let pending = pending(&app.engine, &caller, &wanted).await?;
        let (mut come, mut left) = (Vec::new(), Vec::new());
        for (place, is_pending) in pending.into_iter().enumerate() {
            if is_pending { left.push((place, wanted[place].clone())) } else { come.push(place) }
        }
        let (tell, told) = mpsc::unbounded_channel();
        let over = app.own.waits.over();
        let mut waiting = app.own.waits.waiting();
        waiting.admit(left.len())?;
        waiting.last += 1;
        let (id, count) = (waiting.last, left.len());
        waiting.waiters.insert(id, Waiter { left, tell });
        if count > 0 {
            waiting.look(&app);
        }
        drop(waiting);
        Ok(Self { app, caller, wanted, id, come, told, left: count, deadline, over })
    }

    /// Waits until something is there; false when it is not to be waited any longer.
    async fn next(&mut self) -> bool {
        if self.left == 0 {
            return false;
        }
        let came = tokio::select! {
            biased;
            came = timeout_at(self.deadline, self.told.recv()) => came.ok().flatten(),
            _ = self.over.wait_for(|over| *over) => None,
        };
        // What comes at the last moment is told too.
        let before = self.left;
        came.into_iter().for_each(|came| self.came(came));
        while let Ok(came) = self.told.try_recv() {
            self.came(came);
        }
        self.left < before
    }

    fn came(&mut self, place: usize) {
        self.come.push(place);
        self.left -= 1;
    }

    /// Places of what was not there in time.
    fn pending(&self) -> Vec<usize> {
        let waiting = self.app.own.waits.waiting();
        waiting
            .waiters
            .get(&self.id)
            .map_or_else(Vec::new, |waiter| waiter.left.iter().map(|it| it.0).collect())
    }

    /// What would be pulled now.
    async fn pull(&self, wanted: &[Wanted]) -> Result<Vec<Body>> {
        Pulling::new(&self.app, &self.caller, PullOptions::default()).answers(wanted).await
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.app.own.waits.waiting().waiters.remove(&self.id);
    }
}

/// Waits for XComs, and pulls them.
pub(super) async fn wait(
    State(app): State<App>,
    asking: Asking,
    head: HeaderMap,
    Document(asked): Document<Asked>,
) -> Result<Response, Refusal> {
    let Asked { dag_id, run_id, xcoms, seconds } = asked;
    let wanted = wanted(dag_id.as_ref(), run_id.as_ref(), xcoms, MOST)?;
    let longest = app.options.longest_wait;
    let time = seconds.map_or(longest, |seconds| Duration::from_secs(seconds.into()).min(longest));
    let mut wait = Wait::begin(app, asking.caller, wanted, Instant::now() + time).await?;
    let accepts = head.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accepts.split([',', ';']).any(|kind| kind.trim().eq_ignore_ascii_case(EVENTS)) {
        return Ok(events(wait));
    }
    while wait.next().await {}
    let mut pending = wait.pending();
    let answers = wait.pull(&wait.wanted).await?;
    // It may have come just now.
    pending.retain(|place| !matches!(answers[*place], Body::Found(_)));
    Ok(Reply::ok(Waited { answers, pending }).into_response())
}

/// The answers as they come. An error is told as an event, and ends them.
fn events(wait: Wait) -> Response {
    let body = stream::unfold(Some(wait), |wait| async {
        let mut wait = wait?;
        let (text, wait) = match step(&mut wait).await {
            Ok((text, true)) => (text, Some(wait)),
            Ok((text, false)) => (text, None),
            Err(error) => {
                (event("error", &json!({"reason": error.code(), "message": error.to_string()})), None)
            }
        };
        Some((Ok::<_, Error>(text), wait))
    });
    let mut answer = Response::new(Bytes::from_stream(body));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(EVENTS));
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// The next events, and whether there are more.
async fn step(wait: &mut Wait) -> Result<(String, bool)> {
    if wait.come.is_empty() {
        let (deadline, alive) = (wait.deadline, Instant::now() + ALIVE);
        wait.deadline = deadline.min(alive);
        let came = wait.next().await;
        wait.deadline = deadline;
        if !came && wait.left > 0 && alive < deadline && Instant::now() >= alive {
            return Ok((":\n\n".to_owned(), true));
        }
        if !came {
            return Ok((event("end", &json!({"pending": wait.pending()})), false));
        }
    }
    let places = std::mem::take(&mut wait.come);
    let wanted: Vec<Wanted> = places.iter().map(|place| wait.wanted[*place].clone()).collect();
    let answers = wait.pull(&wanted).await?;
    let one = |(place, body)| event("answer", &Event { place, body });
    Ok((places.into_iter().zip(answers).map(one).collect(), true))
}

/// An answer, and where it was in what was asked.
#[derive(Serialize)]
struct Event {
    place: usize,
    #[serde(flatten)]
    body: Body,
}

/// An event with a document, whose lines are none of the event's: between the parts of a document they are blanks.
fn event(name: &str, body: &impl Serialize) -> String {
    let text = serde_json::to_string(body).unwrap_or_default().replace(['\n', '\r'], " ");
    format!("event: {name}\ndata: {text}\n\n")
}
