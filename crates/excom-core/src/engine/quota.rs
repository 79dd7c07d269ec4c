//! Quotas: how much the values of a DAG run, and those of a DAG, may have together.
//!
//! The database adds up what is there. Its answer is remembered for some seconds, and this engine's own pushes are added to
//! it. Bytes are taken before they are written, and given back when the push comes to nothing, so pushes at the same time
//! have no more together than is left. Where that would refuse a push, the database is asked while no other push of this
//! engine's is being made, so that each counts once. Without a quota nothing of this is done.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_lock::{RwLock, RwLockReadGuardArc};
use bytes::Bytes;
use futures_core::Stream;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Engine;
use super::push::bytes as size;
use crate::attempt::Caller;
use crate::db::{Filter, Usage};
use crate::entry::{EntryInfo, Version};
use crate::run::RunFilter;
use crate::value::ByteStream;
use crate::{Error, ErrorKind, Result, TaskInstanceKey, UNMAPPED, XComKey};

/// For how long an answer of the database is good where there is room.
const GOOD: Duration = Duration::from_secs(5);

/// For how long it is good for a refusal, unless something was pushed since.
const EXACT: Duration = Duration::from_secs(1);

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
    /// history keeps, are not among them. None where the run is not known, or none of the DAG.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use excom_core::{Caller, Engine, Value, XComKey, memory};
    ///
    /// # pollster::block_on(async {
    /// let engine = Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new())).build();
    /// let (ana, rows) = (Caller::user("ana"), XComKey::new("weather", "manual__1", "extract", -1, "rows")?);
    /// engine.push(&ana, &rows, Value::of(&365)?.into()).await?;
    /// let used = engine.usage(&ana, "weather", Some("manual__1")).await?.expect("the run is known");
    /// assert_eq!((used.entries, used.bytes, used.quota), (1, 3, None));
    /// assert_eq!(engine.usage(&ana, "weather", Some("manual__2")).await?, None);
    /// # Ok::<(), excom_core::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// When the database cannot be read; [`ErrorKind::Forbidden`] when the caller may not list all of them;
    /// [`ErrorKind::InvalidName`].
    pub async fn usage(&self, caller: &Caller, dag_id: &str, run_id: Option<&str>) -> Result<Option<Used>> {
        let ti = TaskInstanceKey::new(dag_id, run_id.unwrap_or("_"), "_", UNMAPPED)?;
        let filter = Filter {
            dag_id: Some(ti.dag_id.clone()),
            run_id: run_id.map(|_| ti.run_id.clone()),
            ..Filter::default()
        };
        self.sight(caller).await?.permit_list(&filter)?;
        let Usage { entries, bytes } = self.0.db.usage(dag_id, run_id).await?;
        let is_known = entries > 0
            || match run_id {
                Some(run_id) => self.0.db.run_info(dag_id, run_id).await?.is_some(),
                None => {
                    let of_dag = RunFilter { dag_id: Some(ti.dag_id), state: None };
                    !self.0.db.runs(&of_dag, None, 1).await?.is_empty()
                }
            };
        if !is_known {
            return Ok(None);
        }
        let settings = &self.0.settings;
        let quota = if run_id.is_some() { settings.quota_run } else { settings.quota_dag };
        Ok(Some(Used { entries, bytes, quota }))
    }

    /// What a push takes of its quotas, nothing at first; none where there are none.
    pub(super) fn taking(&self, key: &XComKey, given: Option<Version>) -> Option<Arc<Taken>> {
        let (settings, ti) = (&self.0.settings, &key.ti);
        // In the order of gates.
        let dag = settings.quota_dag.map(|most| Limit { whose: (ti.dag_id.clone(), None), most });
        let run = settings
            .quota_run
            .map(|most| Limit { whose: (ti.dag_id.clone(), Some(ti.run_id.clone())), most });
        let limits: Vec<Limit> = dag.into_iter().chain(run).collect();
        (!limits.is_empty()).then(|| {
            let holds = Mutex::new(Holds::default());
            Arc::new(Taken { engine: self.clone(), key: key.clone(), given, limits, holds })
        })
    }

    /// Values of a DAG, or of one of its runs, have gone, so there may be more room than is known.
    pub(super) fn freed(&self, dag_id: Option<&str>, run_id: Option<&str>) {
        let mut known = self.0.quotas.lock();
        known.freed += 1;
        for ((dag, run), tally) in &mut known.tallies {
            let run_too = run.is_none() || run_id.is_none() || run.as_deref() == run_id;
            if dag_id.is_none_or(|dag_id| **dag == *dag_id) && run_too {
                tally.freed += 1;
            }
        }
    }

    /// What pushes take is theirs from now on, unless they are told to have failed. Nobody asks how much there is while
    /// they are being made.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] when a value that one replaces, and which was taken off, has gone since.
    pub(super) async fn making(&self, takes: Vec<Arc<Taken>>) -> Result<Making> {
        let mut gates = BTreeMap::new();
        for taken in &takes {
            taken.look_again().await?;
            for (limit, gate) in taken.limits.iter().zip(taken.gates()) {
                gates.insert(limit.whose.clone(), gate);
            }
        }
        let mut entered = Vec::with_capacity(gates.len());
        for gate in gates.into_values() {
            entered.push(gate.read_arc().await);
        }
        Ok(Making { takes, _entered: entered })
    }
}

/// A DAG, and one of its runs; without one all, which comes before each of them.
type Whose = (Arc<str>, Option<Arc<str>>);

/// Entered together by whoever makes a push, and alone by whoever asks what there is. Several are entered in the order of
/// whose they are.
type Gate = Arc<RwLock<()>>;

/// What this engine knows of how much is used.
#[derive(Default)]
pub(super) struct Quotas(Mutex<Known>);

#[derive(Default)]
struct Known {
    tallies: HashMap<Whose, Tally>,
    /// How often something went, anywhere.
    freed: u64,
}

impl Known {
    fn of(&mut self, whose: &Whose) -> &mut Tally {
        self.tallies.entry(whose.clone()).or_default()
    }
}

impl Quotas {
    fn lock(&self) -> MutexGuard<'_, Known> {
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
    gate: Gate,
    /// Who asks again because what was told is old.
    asks: Weak<()>,
}

impl Tally {
    /// Whether it is in use, or knows something.
    fn is_wanted(&self, now: Timestamp) -> bool {
        let is_good = self.told.as_ref().is_some_and(|told| told.age(now) <= GOOD);
        self.taken > 0 || Arc::strong_count(&self.gate) > 1 || self.asks.strong_count() > 0 || is_good
    }

    fn marks(&self) -> Marks {
        Marks { pushes: self.pushes, made: self.made, freed: self.freed }
    }
}

/// How far a tally was.
#[derive(Clone, Copy)]
struct Marks {
    pushes: u64,
    made: u64,
    freed: u64,
}

/// What the database said.
struct Told {
    bytes: u64,
    at: Timestamp,
    /// When it was asked.
    then: Marks,
    /// No push was being made meanwhile.
    alone: bool,
}

impl Told {
    fn age(&self, now: Timestamp) -> Duration {
        now.duration_since(self.at).unsigned_abs()
    }
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

#[derive(Default)]
struct Holds {
    bytes: u64,
    /// The value that it replaces, once that was looked for.
    replaced: Option<Replaced>,
    /// It is a repetition, which changes nothing.
    free: bool,
    settled: bool,
}

#[derive(Clone, Copy, Default)]
struct Replaced {
    /// Bytes of it that are not taken off yet, and those that are.
    left: u64,
    used: u64,
    /// How often something had gone when it was there.
    freed: u64,
}

/// Whether there is room.
enum Room {
    Taken,
    /// There was when the database was asked, which is long ago.
    Old(usize),
    /// That is for the database to say.
    Unknown(usize),
    /// There is none: which quota, and how much is used.
    None(usize, u64),
}

impl Taken {
    fn holds(&self) -> MutexGuard<'_, Holds> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gates(&self) -> Vec<Gate> {
        let mut known = self.engine.0.quotas.lock();
        let gate = |limit: &Limit| known.of(&limit.whose).gate.clone();
        self.limits.iter().map(gate).collect()
    }

    /// Takes bytes, before they are stored anywhere.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] when there is no room for them.
    pub(super) async fn take(&self, more: u64) -> Result<()> {
        match self.try_to_take(more, Some(GOOD), &[]) {
            Room::Taken => return Ok(()),
            Room::Old(place) => {
                let me = Arc::new(());
                if self.asks(place, &me) {
                    self.ask(place, false).await?;
                }
                if let Room::Taken = self.try_to_take(more, None, &[]) {
                    return Ok(());
                }
            }
            Room::Unknown(_) | Room::None(..) => {}
        }
        let mut alone = Vec::with_capacity(self.limits.len());
        for gate in self.gates() {
            alone.push(gate.write_arc().await);
        }
        // Each limit is asked about once, and the value that is replaced is looked for once.
        let mut asked = Vec::with_capacity(self.limits.len());
        loop {
            match self.try_to_take(more, None, &asked) {
                Room::Taken | Room::Old(_) => return Ok(()),
                Room::Unknown(place) => {
                    self.ask(place, true).await?;
                    asked.push(place);
                }
                Room::None(place, used) if self.holds().replaced.is_some() => {
                    return Err(self.refusal(&self.limits[place], used, more));
                }
                Room::None(..) => self.look_for_what_is_replaced().await?,
            }
        }
    }

    /// Whether it is this push that asks, and not another one already.
    fn asks(&self, place: usize, me: &Arc<()>) -> bool {
        let mut known = self.engine.0.quotas.lock();
        let tally = known.of(&self.limits[place].whose);
        let is_first = tally.asks.strong_count() == 0;
        if is_first {
            tally.asks = Arc::downgrade(me);
        }
        is_first
    }

    /// Where there is room, answers are good for so long; where there is none, those to what was just `asked`, and others for
    /// as long as nothing has happened since.
    fn try_to_take(&self, more: u64, good: Option<Duration>, asked: &[usize]) -> Room {
        let now = self.engine.0.clock.now();
        let mut known = self.engine.0.quotas.lock();
        let mut holds = self.holds();
        if holds.free {
            return Room::Taken;
        }
        let replaced = holds.replaced.map_or(0, |replaced| replaced.left).min(more);
        let counted = more - replaced;
        for (place, limit) in self.limits.iter().enumerate() {
            let tally = known.of(&limit.whose);
            let Some(told) = &tally.told else { return Room::Unknown(place) };
            let since = tally.made.saturating_sub(told.then.made);
            let used = told.bytes.saturating_add(since).saturating_add(tally.taken);
            // What makes a value smaller, or leaves it as large, is no more than there was.
            if counted == 0 || used.saturating_add(counted) <= limit.most {
                if good.is_some_and(|good| told.age(now) > good) {
                    return Room::Old(place);
                }
                continue;
            }
            let nothing_since = (told.then.pushes, told.then.freed) == (tally.pushes, tally.freed);
            let holds_still = told.alone && nothing_since && told.age(now) <= EXACT;
            return match holds_still || asked.contains(&place) {
                true => Room::None(place, used),
                false => Room::Unknown(place),
            };
        }
        for limit in &self.limits {
            if let Some(tally) = known.tallies.get_mut(&limit.whose) {
                tally.taken += counted;
            }
        }
        holds.bytes += counted;
        if let Some(found) = &mut holds.replaced {
            found.left -= replaced;
            found.used += replaced;
        }
        Room::Taken
    }

    async fn ask(&self, place: usize, alone: bool) -> Result<()> {
        let (clock, whose) = (&self.engine.0.clock, &self.limits[place].whose);
        let then = {
            let (now, mut known) = (clock.now(), self.engine.0.quotas.lock());
            if known.tallies.len() > REMEMBERED {
                known.tallies.retain(|other, tally| other == whose || tally.is_wanted(now));
            }
            known.of(whose).marks()
        };
        let bytes = self.engine.0.db.usage(&whose.0, whose.1.as_deref()).await?.bytes;
        let mut known = self.engine.0.quotas.lock();
        let tally = known.of(whose);
        tally.told = Some(Told { bytes, at: clock.now(), then, alone });
        Ok(())
    }

    /// A value that is replaced counts once, and a repetition not at all.
    async fn look_for_what_is_replaced(&self) -> Result<()> {
        let freed = self.engine.0.quotas.lock().freed;
        let there = self.there().await?;
        let repeated = match self.given {
            Some(given) if there.as_ref().is_some_and(|there| there.version == given) => true,
            Some(given) => self.engine.0.db.past(&self.key, given).await?.is_some(),
            None => false,
        };
        let mut holds = self.holds();
        holds.free = repeated;
        holds.replaced = Some(Replaced { left: there.map_or(0, |there| there.size), used: 0, freed });
        Ok(())
    }

    async fn there(&self) -> Result<Option<EntryInfo>> {
        let XComKey { ti, key, .. } = &self.key;
        let filter = Filter {
            dag_id: Some(ti.dag_id.clone()),
            run_id: Some(ti.run_id.clone()),
            task_id: Some(ti.task_id.clone()),
            map_index: Some(ti.map_index),
            key: Some(key.clone()),
        };
        Ok(self.engine.0.db.list(&filter, None, 1).await?.items.pop())
    }

    /// A value whose bytes were taken off may have gone while this one was on its way, which can take long.
    async fn look_again(&self) -> Result<()> {
        let Some(Replaced { used, freed, .. }) = self.holds().replaced else { return Ok(()) };
        let now = self.engine.0.quotas.lock().freed;
        if used == 0 || freed == now {
            return Ok(());
        }
        let missing = used.saturating_sub(self.there().await?.map_or(0, |there| there.size));
        self.holds().replaced = Some(Replaced { left: 0, used: used - missing, freed: now });
        if missing > 0 { self.take(missing).await } else { Ok(()) }
    }

    fn refusal(&self, limit: &Limit, used: u64, more: u64) -> Error {
        let (dag_id, run_id) = &limit.whose;
        let (whose, setting) = match run_id {
            Some(run_id) => (format!("run {dag_id}/{run_id}"), "quota_run"),
            None => (format!("all runs of DAG {dag_id}"), "quota_dag"),
        };
        // What it has taken itself is not what others have.
        let own = self.holds().bytes;
        let what = format!(
            "{} has {} or more, and the values of {whose} have {} of the {} that [xcom] {setting} lets them \
             have together, those being pushed among them; nothing was pushed",
            self.key,
            size(own.saturating_add(more)),
            size(used.saturating_sub(own)),
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

    /// What it holds is used, or is given back.
    fn settle(&self, made: bool) {
        let mut known = self.engine.0.quotas.lock();
        let mut holds = self.holds();
        if std::mem::replace(&mut holds.settled, true) {
            return;
        }
        for limit in &self.limits {
            if let Some(tally) = known.tallies.get_mut(&limit.whose) {
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

/// Pushes that are being made. Who gives up waiting for the database does not know what came of them, so they count until
/// it is asked.
pub(super) struct Making {
    takes: Vec<Arc<Taken>>,
    _entered: Vec<RwLockReadGuardArc<()>>,
}

impl Making {
    /// They were made, or they were not.
    pub(super) fn settle(&self, made: bool) {
        self.takes.iter().for_each(|taken| taken.settle(made));
    }

    /// An error that leaves no doubt gives back what they took.
    pub(super) fn failed(&self, error: &Error) {
        if error.kind() != ErrorKind::Unavailable {
            self.settle(false);
        }
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        self.settle(true);
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

#[cfg(test)]
mod tests {
    use pollster::block_on;

    use super::*;
    use crate::engine::Settings;
    use crate::{Value, memory};

    /// Who stops waiting for the database may have pushed; who was refused has not.
    #[test]
    fn what_nobody_knows_counts_until_it_is_asked_for() {
        let settings = Settings { quota_run: Some(1000), ..Settings::default() };
        let engine = Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new()));
        let engine = engine.settings(settings).build();
        let key = XComKey::new("d", "r", "t", -1, "k").unwrap();
        let making = || {
            let taken = engine.taking(&key, None).unwrap();
            block_on(taken.take(900)).unwrap();
            block_on(engine.making(vec![taken])).unwrap()
        };
        let known = || {
            let known = engine.0.quotas.lock();
            let tally = &known.tallies[&("d".into(), Some("r".into()))];
            (tally.made, tally.taken)
        };
        making().failed(&Error::new(ErrorKind::Superseded, "by another try"));
        assert_eq!(known(), (0, 0));
        making().failed(&Error::new(ErrorKind::Unavailable, "the answer was lost"));
        assert_eq!(known(), (900, 0));
        drop(making());
        assert_eq!(known(), (1800, 0));
        assert_eq!(
            block_on(engine.push(&Caller::user("ana"), &key, Value::parse("1".repeat(1000)).unwrap().into()))
                .unwrap()
                .size,
            1000
        );
    }
}
