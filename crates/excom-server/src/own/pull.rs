//! Many XComs in one request.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use excom_core::{Answer, Caller, PullOptions, RETURN_VALUE, Result, SequenceKey, UNMAPPED, XComKey};
use futures_util::future::try_join_all;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answers::{Body, Mapped, elements};
use super::openapi::Reply;
use crate::app::App;
use crate::auth::Asking;
use crate::refusal::Refusal;
use crate::request::Document;

/// The most XComs of one request.
const MOST: usize = 10_000;

/// The most XComs, and elements of sequences, that are read together: those in the database are whole in memory.
const STEP: usize = 128;
const ELEMENTS: u64 = 1000;

/// How many sequences are counted at the same time.
const COUNTS_AT_ONCE: usize = 32;

/// What an answer takes up beside its value.
const OVERHEAD: u64 = 256;

/// What is pulled. DAG and run may be said once for all.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Pull")]
pub(super) struct Asked {
    dag_id: Option<Arc<str>>,
    run_id: Option<Arc<str>>,
    xcoms: Vec<One>,
    /// Of each, what is in the newest run that has it, up to the run named.
    #[serde(default)]
    include_prior_dates: bool,
}

/// One XCom; without a map index everything that the task produced under the key.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PulledXCom")]
pub(super) struct One {
    dag_id: Option<Arc<str>>,
    run_id: Option<Arc<str>>,
    #[schemars(length(min = 1, max = 250))]
    task_id: Arc<str>,
    #[schemars(range(min = -1))]
    map_index: Option<i32>,
    /// `return_value` when it is not said.
    #[schemars(length(min = 1, max = 512))]
    key: Option<Arc<str>>,
}

/// What is answered, in the order asked. Values are passed on as they are.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Answers {
    answers: Vec<Body>,
}

/// What one answer is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Wanted {
    One(XComKey),
    All(SequenceKey),
}

impl One {
    /// What is wanted of a DAG and run, when the XCom does not say which.
    fn wanted(self, dag_id: Option<&Arc<str>>, run_id: Option<&Arc<str>>) -> Result<Wanted, Refusal> {
        let missing = |name| Refusal::unprocessable("missing", &["body", name], "Field required", ());
        let dag_id = self.dag_id.or_else(|| dag_id.cloned()).ok_or_else(|| missing("dag_id"))?;
        let run_id = self.run_id.or_else(|| run_id.cloned()).ok_or_else(|| missing("run_id"))?;
        let key = self.key.unwrap_or_else(|| RETURN_VALUE.into());
        let key = XComKey::new(dag_id, run_id, self.task_id, self.map_index.unwrap_or(UNMAPPED), key)?;
        Ok(if self.map_index.is_some() { Wanted::One(key) } else { Wanted::All(key.sequence()) })
    }
}

/// Single ones and those of whole tasks, which are asked for apart.
pub(super) fn parted(wanted: &[Wanted]) -> (Vec<XComKey>, Vec<SequenceKey>) {
    let (mut ones, mut all) = (Vec::new(), Vec::new());
    for wanted in wanted {
        match wanted {
            Wanted::One(key) => ones.push(key.clone()),
            Wanted::All(key) => all.push(key.clone()),
        }
    }
    (ones, all)
}

/// What was found of each, in the order wanted.
pub(super) fn joined<T>(wanted: &[Wanted], ones: Vec<T>, all: Vec<T>) -> Vec<T> {
    let (mut ones, mut all) = (ones.into_iter(), all.into_iter());
    let next = |wanted: &Wanted| match wanted {
        Wanted::One(_) => ones.next(),
        Wanted::All(_) => all.next(),
    };
    wanted.iter().filter_map(next).collect()
}

/// All that a request wants, which is so much at most.
pub(super) fn wanted(
    dag_id: Option<&Arc<str>>,
    run_id: Option<&Arc<str>>,
    xcoms: Vec<One>,
    most: usize,
) -> Result<Vec<Wanted>, Refusal> {
    if xcoms.len() > most {
        let message = format!("{} XComs in one request, the most are {most}", xcoms.len());
        return Err(Refusal::because(StatusCode::PAYLOAD_TOO_LARGE, "too_many", message));
    }
    xcoms.into_iter().map(|one| one.wanted(dag_id, run_id)).collect()
}

/// Pulls XComs; the answers are in the order asked.
pub(super) async fn pull(
    State(app): State<App>,
    asking: Asking,
    Document(asked): Document<Asked>,
) -> Result<Reply<Answers>, Refusal> {
    let Asked { dag_id, run_id, xcoms, include_prior_dates } = asked;
    let wanted = wanted(dag_id.as_ref(), run_id.as_ref(), xcoms, MOST)?;
    let mut pulling = Pulling::new(&app, &asking.caller, PullOptions { include_prior_dates });
    Ok(Reply::ok(Answers { answers: pulling.answers(&wanted).await? }))
}

/// A pull, step by step: neither what is answered nor what is read for it grows with what is asked.
pub(super) struct Pulling<'a> {
    app: &'a App,
    caller: &'a Caller,
    options: PullOptions,
    /// How many bytes of values are left.
    bytes: u64,
}

impl<'a> Pulling<'a> {
    pub(super) fn new(app: &'a App, caller: &'a Caller, options: PullOptions) -> Self {
        Self { app, caller, options, bytes: app.options.body_limit }
    }

    /// An answer for each, in the order asked.
    pub(super) async fn answers(&mut self, wanted: &[Wanted]) -> Result<Vec<Body>> {
        let (ones, all) = parted(wanted);
        let (ones, all) = (self.ones(&ones).await?, self.all(&all).await?);
        Ok(joined(wanted, ones, all))
    }

    async fn ones(&mut self, keys: &[XComKey]) -> Result<Vec<Body>> {
        let (engine, mut answers) = (&self.app.engine, Vec::with_capacity(keys.len()));
        for keys in keys.chunks(STEP) {
            let step = engine.pull_within(self.caller, keys, self.options, &mut self.bytes).await?;
            step.iter().for_each(|answer| self.app.metrics.answered(answer));
            self.takes(step.len());
            answers.extend(step.into_iter().map(Body::from));
        }
        Ok(answers)
    }

    async fn all(&mut self, keys: &[SequenceKey]) -> Result<Vec<Body>> {
        let (engine, mut answers) = (&self.app.engine, Vec::with_capacity(keys.len()));
        let mut keys = keys.to_vec();
        if self.options.include_prior_dates {
            // Which run it is has to be known before how long it is.
            for key in &mut keys {
                if let Some(run_id) = engine.db().prior_run(key, None).await? {
                    key.run_id = run_id;
                }
            }
        }
        // How long a sequence is bounds what is read of it; it is not told.
        let mut counts = Vec::with_capacity(keys.len());
        for keys in keys.chunks(COUNTS_AT_ONCE) {
            let looks: Vec<_> = keys.iter().map(|key| engine.db().count(key)).collect();
            counts.extend(try_join_all(looks).await?);
        }
        let mut begin = 0;
        while begin < keys.len() {
            let (mut elements_of_step, mut end) = (counts[begin], begin + 1);
            if elements_of_step > ELEMENTS {
                answers.push(self.beginning(&keys[begin]).await?);
                begin = end;
                continue;
            }
            while end < keys.len() && end - begin < STEP && elements_of_step + counts[end] <= ELEMENTS {
                elements_of_step += counts[end];
                end += 1;
            }
            let step = engine
                .pull_tasks_within(self.caller, &keys[begin..end], self.options, &mut self.bytes)
                .await?;
            step.iter().flat_map(elements).for_each(|answer| self.app.metrics.answered(answer));
            self.takes(step.len() + usize::try_from(elements_of_step).unwrap_or(0));
            answers.extend(step.into_iter().map(Body::from));
            begin = end;
        }
        Ok(answers)
    }

    /// The beginning of a long sequence.
    async fn beginning(&mut self, key: &SequenceKey) -> Result<Body> {
        let (mut items, mut after) = (Vec::new(), None);
        let more = loop {
            let limit = STEP as u32;
            let page = self.app.engine.page_within(self.caller, key, after, limit, &mut self.bytes).await;
            let page = match page {
                Ok(page) => page,
                Err(error) => return error.answer().cloned().map(Body::from).ok_or(error),
            };
            page.iter().for_each(|(_, answer)| self.app.metrics.answered(answer));
            self.takes(page.len());
            // Behind one that does not fit none is told.
            let is_last = page.len() < STEP;
            let is_full = page.iter().any(|(_, answer)| matches!(answer, Answer::Large(_)));
            after = page.last().map(|(map_index, _)| *map_index);
            items.extend(page);
            if is_last || is_full || self.bytes == 0 {
                break !is_last;
            }
        };
        Ok(Body::Mapped(Mapped::of(items, None, more)))
    }

    fn takes(&mut self, answers: usize) {
        self.bytes = self.bytes.saturating_sub(OVERHEAD * answers as u64);
    }
}
