//! Quotas: how much the values of a DAG run, and those of a DAG, may have together.
//!
//! The database adds up what is there. Its answer is remembered for some seconds, and this engine's own pushes are added to
//! it; where that would refuse a push, it is asked again. Bytes are taken before they are written, and given back when the
//! push comes to nothing, so pushes at the same time have no more together than is left. Without a quota nothing of this
//! is done.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Engine;
use super::push::bytes as size;
use crate::attempt::Caller;
use crate::db::{Filter, Usage};
use crate::entry::Version;
use crate::value::ByteStream;
use crate::{Error, ErrorKind, Result, XComKey};

/// For how long an answer of the database is good where there is room.
const GOOD: Duration = Duration::from_secs(5);

/// For how long it is good for a refusal, unless something was pushed since.
const EXACT: Duration = Duration::from_secs(1);

/// How often a push asks before it takes for exact what changes all the time.
const ASKS: u32 = 4;

/// So many runs and DAGs are remembered before those go that were asked for long ago.
const REMEMBERED: usize = 1024;

/// How much the values of a run have, or of a DAG, and may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Used {
    /// Its entries.
    pub entries: u64,
    /// Bytes of their JSON text; of secrets, those of what is stored for them.
    pub bytes: u64,
    /// How many bytes they may have; none without a quota.
    pub quota: Option<u64>,
}

impl Engine {
    /// How much the values of a run have together, or of all runs of a DAG, and may have. Earlier versions, which the
    /// history keeps, are not among them.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use excom_core::{Caller, Engine, Value, XComKey, memory};
    ///
    /// # pollster::block_on(async {
    /// let engine = Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new())).build();
    /// let (ana, rows) = (Caller::user("ana"), XComKey::new("weather", "manual__1", "extract", -1, "rows")?);
    /// engine.push(&ana, &rows, Value::of(&365)?.into()).await?;
    /// let used = engine.usage(&ana, "weather", Some("manual__1")).await?;
    /// assert_eq!((used.entries, used.bytes, used.quota), (1, 3, None));
    /// # Ok::<(), excom_core::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// When the database cannot be read; [`ErrorKind::Forbidden`] when the caller may not list all of them.
    pub async fn usage(&self, caller: &Caller, dag_id: &str, run_id: Option<&str>) -> Result<Used> {
        let filter =
            Filter { dag_id: Some(dag_id.into()), run_id: run_id.map(Into::into), ..Filter::default() };
        self.sight(caller).await?.permit_list(&filter)?;
        let Usage { entries, bytes } = self.0.db.usage(dag_id, run_id).await?;
        let settings = &self.0.settings;
        let quota = if run_id.is_some() { settings.quota_run } else { settings.quota_dag };
        Ok(Used { entries, bytes, quota })
    }

    /// What a push takes of its quotas, nothing at first; none where there are none.
    pub(super) fn taking(&self, key: &XComKey, given: Option<Version>) -> Option<Arc<Taken>> {
        let ti = &key.ti;
        let run = self
            .0
            .settings
            .quota_run
            .map(|most| Limit { whose: (ti.dag_id.clone(), Some(ti.run_id.clone())), most });
        let dag = self.0.settings.quota_dag.map(|most| Limit { whose: (ti.dag_id.clone(), None), most });
        let limits: Vec<Limit> = run.into_iter().chain(dag).collect();
        (!limits.is_empty()).then(|| {
            Arc::new(Taken {
                engine: self.clone(),
                key: key.clone(),
                given,
                limits,
                holds: Mutex::new(Holds { bytes: 0, replaced: None, free: false, made: false }),
            })
        })
    }

    /// Values of a DAG, or of one of its runs, have gone: the next push asks.
    pub(super) fn freed(&self, dag_id: Option<&str>, run_id: Option<&str>) {
        for ((dag, run), tally) in self.0.quotas.lock().iter_mut() {
            let run_too = run.is_none() || run_id.is_none() || run.as_deref() == run_id;
            if dag_id.is_none_or(|dag_id| **dag == *dag_id) && run_too {
                tally.freed += 1;
                tally.told = None;
            }
        }
    }
}

/// A DAG, and one of its runs; without one all.
type Whose = (Arc<str>, Option<Arc<str>>);

/// What this engine knows of how much is used.
#[derive(Default)]
pub(super) struct Quotas(Mutex<HashMap<Whose, Tally>>);

impl Quotas {
    fn lock(&self) -> MutexGuard<'_, HashMap<Whose, Tally>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct Tally {
    told: Option<Told>,
    /// How many pushes were made.
    pushes: u64,
    /// Bytes of all of them; only of those that were refused at first is taken off what they replaced.
    made: u64,
    /// Bytes of pushes that are under way.
    taken: u64,
    /// How often something is known to have gone.
    freed: u64,
}

/// What the database said.
struct Told {
    bytes: u64,
    at: Timestamp,
    /// What had been made when it was asked.
    pushes: u64,
    made: u64,
}

struct Limit {
    whose: Whose,
    most: u64,
}

/// What a push holds of the quotas of its run and its DAG until it is made; or gives back.
pub(super) struct Taken {
    engine: Engine,
    key: XComKey,
    given: Option<Version>,
    limits: Vec<Limit>,
    holds: Mutex<Holds>,
}

struct Holds {
    bytes: u64,
    /// What is left of the bytes of the value that it replaces, once that was looked for.
    replaced: Option<u64>,
    /// It is a repetition, which changes nothing.
    free: bool,
    made: bool,
}

/// Whether there is room.
enum Room {
    Taken,
    /// That is for the database to say.
    Ask(usize),
    /// There is none: which quota, and how much is used.
    None(usize, u64),
}

impl Taken {
    fn holds(&self) -> MutexGuard<'_, Holds> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes bytes, before they are stored anywhere.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] when there is no room for them.
    pub(super) async fn take(&self, more: u64) -> Result<()> {
        let mut asks = 0;
        loop {
            match self.try_to_take(more, asks >= ASKS) {
                Room::Taken => return Ok(()),
                Room::Ask(limit) => {
                    asks += 1;
                    self.ask(&self.limits[limit].whose).await?;
                }
                Room::None(limit, used) => {
                    if self.holds().replaced.is_some() {
                        return Err(self.refusal(&self.limits[limit], used, more));
                    }
                    self.look_for_what_is_replaced().await?;
                }
            }
        }
    }

    fn try_to_take(&self, more: u64, enough_asked: bool) -> Room {
        let now = self.engine.0.clock.now();
        let mut tallies = self.engine.0.quotas.lock();
        let mut holds = self.holds();
        if holds.free {
            return Room::Taken;
        }
        let replaced = holds.replaced.unwrap_or(0).min(more);
        let counted = more - replaced;
        for (place, limit) in self.limits.iter().enumerate() {
            let tally = tallies.entry(limit.whose.clone()).or_default();
            let (taken, pushes, made) = (tally.taken, tally.pushes, tally.made);
            let Some(told) = &mut tally.told else { return Room::Ask(place) };
            let since = made.saturating_sub(told.made);
            let used = told.bytes.saturating_add(since).saturating_add(taken);
            // What makes a value smaller, or leaves it as large, is no more than there was.
            let fits = counted == 0 || used.saturating_add(counted) <= limit.most;
            let age = now.duration_since(told.at).unsigned_abs();
            if fits && age > GOOD {
                // The others go on with what there is until this one has asked.
                told.at = now;
                return Room::Ask(place);
            }
            if !fits {
                let exact = (told.pushes == pushes && age <= EXACT) || enough_asked;
                return if exact { Room::None(place, used) } else { Room::Ask(place) };
            }
        }
        for limit in &self.limits {
            if let Some(tally) = tallies.get_mut(&limit.whose) {
                tally.taken += counted;
            }
        }
        holds.bytes += counted;
        if let Some(left) = &mut holds.replaced {
            *left -= replaced;
        }
        Room::Taken
    }

    async fn ask(&self, whose: &Whose) -> Result<()> {
        let now = self.engine.0.clock.now();
        let (pushes, made, freed) = {
            let mut tallies = self.engine.0.quotas.lock();
            if tallies.len() > REMEMBERED {
                let good = |tally: &Tally| {
                    let age = tally.told.as_ref().map(|told| now.duration_since(told.at).unsigned_abs());
                    tally.taken > 0 || age.is_some_and(|age| age <= GOOD)
                };
                tallies.retain(|other, tally| other == whose || good(tally));
            }
            let tally = tallies.entry(whose.clone()).or_default();
            (tally.pushes, tally.made, tally.freed)
        };
        let bytes = self.engine.0.db.usage(&whose.0, whose.1.as_deref()).await?.bytes;
        let mut tallies = self.engine.0.quotas.lock();
        let tally = tallies.entry(whose.clone()).or_default();
        let newer = tally.told.as_ref().is_some_and(|told| told.pushes > pushes);
        if tally.freed == freed && !newer {
            tally.told = Some(Told { bytes, at: now, pushes, made });
        }
        Ok(())
    }

    /// A value that is replaced counts once, and a repetition not at all.
    async fn look_for_what_is_replaced(&self) -> Result<()> {
        let XComKey { ti, key, .. } = &self.key;
        let filter = Filter {
            dag_id: Some(ti.dag_id.clone()),
            run_id: Some(ti.run_id.clone()),
            task_id: Some(ti.task_id.clone()),
            map_index: Some(ti.map_index),
            key: Some(key.clone()),
        };
        let db = &self.engine.0.db;
        let there = db.list(&filter, None, 1).await?.items.pop();
        let repeated = match self.given {
            Some(given) if there.as_ref().is_some_and(|there| there.version == given) => true,
            Some(given) => db.past(&self.key, given).await?.is_some(),
            None => false,
        };
        let mut holds = self.holds();
        holds.free = repeated;
        holds.replaced = Some(there.map_or(0, |there| there.size));
        Ok(())
    }

    fn refusal(&self, limit: &Limit, used: u64, more: u64) -> Error {
        let (dag_id, run_id) = &limit.whose;
        let (whose, setting) = match run_id {
            Some(run_id) => (format!("run {dag_id}/{run_id}"), "quota_run"),
            None => (format!("all runs of DAG {dag_id}"), "quota_dag"),
        };
        let what = format!(
            "{} has {} or more, and the values of {whose} have {} of the {} that [xcom] {setting} lets them \
             have together; nothing was pushed",
            self.key,
            size(self.holds().bytes.saturating_add(more)),
            size(used),
            size(limit.most)
        );
        let error = Error::new(ErrorKind::TooLarge, what);
        let error = match run_id {
            Some(_) => error.hint("clear XComs of the run that are not needed any more (`excom xcom clear`)"),
            None => {
                error.hint("remove those of old runs (`excom prune --keep-last`), or set [xcom] retention")
            }
        };
        error
            .hint("push a pointer to the data instead of the data")
            .hint(format!("or raise [xcom] {setting}"))
    }

    /// The push was made: what it took is used.
    pub(super) fn made(&self) {
        self.settle(true);
    }

    fn settle(&self, made: bool) {
        let mut tallies = self.engine.0.quotas.lock();
        let mut holds = self.holds();
        if std::mem::replace(&mut holds.made, true) {
            return;
        }
        for limit in &self.limits {
            if let Some(tally) = tallies.get_mut(&limit.whose) {
                tally.taken = tally.taken.saturating_sub(holds.bytes);
                if made {
                    tally.pushes += 1;
                    tally.made += holds.bytes;
                }
            }
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.settle(false);
    }
}

type Taking = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// A value on its way to a store, each piece of which is taken first.
pub(super) struct Metered {
    inner: ByteStream,
    taken: Arc<Taken>,
    /// A piece that is being taken.
    waits: Option<(Bytes, Taking)>,
}

impl Metered {
    pub(super) fn new(inner: ByteStream, taken: Arc<Taken>) -> Self {
        Self { inner, taken, waits: None }
    }
}

impl Stream for Metered {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if self.waits.is_none() {
            match ready!(self.inner.as_mut().poll_next(cx)) {
                Some(Ok(piece)) => {
                    let (taken, more) = (Arc::clone(&self.taken), piece.len() as u64);
                    self.waits = Some((piece, Box::pin(async move { taken.take(more).await })));
                }
                other => return Poll::Ready(other),
            }
        }
        let Some((_, taking)) = &mut self.waits else { return Poll::Ready(None) };
        let taken = ready!(taking.as_mut().poll(cx));
        let piece = self.waits.take().map(|(piece, _)| piece);
        Poll::Ready(piece.map(|piece| taken.map(|()| piece)))
    }
}
