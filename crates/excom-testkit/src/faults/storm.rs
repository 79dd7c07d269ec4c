//! A storm: threads push and pull while the weather between the engine and the place of large values changes.

use std::collections::BTreeSet;
use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use excom::core::db::Scope;
use excom::core::value::ContentHash;
use excom::{Answer, Caller, Engine, Error, ErrorKind, ObjectName, Payload, PullOptions, Value, XComKey};
use futures_util::stream;

use super::Length;
use super::model::{History, Pushed};
use crate::place::Place;
use crate::proxy::{Proxy, Weather};
use crate::random::Random;
use crate::{Result, home};

/// Threads, each with XComs of its own that only it pushes.
const THREADS: usize = 4;

/// XComs of each thread.
const KEYS: usize = 3;

/// How often a failed push is repeated with its version, at most.
const REPEATS: u64 = 2;

/// Where it storms.
pub(super) struct Sea<'a> {
    /// The place as the engine reaches it.
    pub(super) through: &'a Place,
    /// The place as it is.
    pub(super) direct: &'a Place,
    /// What is between.
    pub(super) proxy: &'a Proxy,
    /// How long a call may take at most.
    pub(super) bound: Duration,
}

/// What storms came to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Storms {
    /// How many there were.
    pub storms: u64,
    /// How often the proxy spoiled something, besides its silences and absences.
    pub faults: u64,
    /// How often the server was killed.
    pub server_kills: u64,
    /// Pushes that were acknowledged.
    pub pushes: u64,
    /// Of these, values that were objects.
    pub large_pushes: u64,
    /// Of these, pushes that were acknowledged when they were repeated.
    pub repeated: u64,
    /// Pushes that failed and were not repeated.
    pub failed: u64,
    /// Pulls that gave a value.
    pub pulls: u64,
    /// Pulls that said why there is none.
    pub refused: u64,
    /// Objects of failed pushes that were collected.
    pub collected: u64,
    /// Values that were compared behind the storm, earlier versions included.
    pub compared: u64,
    /// The longest that a call took.
    pub longest: Duration,
    /// The longest that one may take.
    pub bound: Duration,
}

impl Storms {
    fn add(&mut self, other: &Self) {
        self.pushes += other.pushes;
        self.large_pushes += other.large_pushes;
        self.repeated += other.repeated;
        self.failed += other.failed;
        self.pulls += other.pulls;
        self.refused += other.refused;
        self.longest = self.longest.max(other.longest);
    }
}

impl fmt::Display for Storms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} storms with {} faults, the server killed {} times",
            self.storms, self.faults, self.server_kills
        )?;
        writeln!(
            f,
            "{} pushes acknowledged ({} of them large, {} when repeated), {} failed; none lost, none by half",
            self.pushes, self.large_pushes, self.repeated, self.failed
        )?;
        writeln!(
            f,
            "{} pulls gave the right value, {} said why they give none; the longest call took {:.1} s of {} s",
            self.pulls,
            self.refused,
            self.longest.as_secs_f64(),
            self.bound.as_secs()
        )?;
        write!(
            f,
            "{} objects collected, {} values compared, no object stayed that nobody knows",
            self.collected, self.compared
        )
    }
}

/// Lets it storm, each time in a new home.
///
/// # Errors
/// What was broken.
pub(super) fn blow(
    sea: &Sea<'_>,
    length: Length,
    seed: u64,
    mut kill: Option<&mut dyn FnMut() -> Result<()>>,
) -> Result<Storms> {
    let mut storms = Storms { bound: sea.bound, ..Storms::default() };
    let mut random = Random::new(seed);
    for storm in 0..length.storms {
        one(sea, length.storm, &mut random, kill.as_deref_mut(), &mut storms)
            .map_err(|error| format!("storm {storm} with seed {seed}: {error}"))?;
        storms.storms += 1;
    }
    storms.faults = sea.proxy.faults();
    Ok(storms)
}

fn one(
    sea: &Sea<'_>,
    time: Duration,
    random: &mut Random,
    mut kill: Option<&mut (dyn FnMut() -> Result<()> + '_)>,
    storms: &mut Storms,
) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let engine = excom::embedded::open(&sea.through.settings(folder.path())?)?;
    let ship = Arc::new(Ship::new(engine, sea.bound));
    let (ended, ends) = channel();
    for thread in 0..THREADS {
        let (ship, ended, random) = (Arc::clone(&ship), ended.clone(), Random::new(random.number()));
        std::thread::spawn(move || {
            let outcome = Sailor { ship: &ship, thread, random, counter: 0, done: Storms::default() }.sail();
            ship.stop.fetch_or(outcome.is_err(), Ordering::Relaxed);
            drop(ship);
            drop(ended.send(outcome));
        });
    }
    let begin = Instant::now();
    while begin.elapsed() < time && !ship.stop.load(Ordering::Relaxed) {
        let weather = match random.below(8) {
            0 | 1 => Weather::Fair,
            2 => Weather::Silent,
            3 => Weather::Away,
            4 if let Some(kill) = &mut kill => {
                kill()?;
                storms.server_kills += 1;
                Weather::Foul
            }
            _ => Weather::Foul,
        };
        sea.proxy.set(weather);
        // Some are longer than what a call waits.
        let longest = if matches!(weather, Weather::Silent | Weather::Away) { 3_000 } else { 700 };
        std::thread::sleep(Duration::from_millis(50 + random.below(longest)));
    }
    sea.proxy.set(Weather::Fair);
    ship.stop.store(true, Ordering::Relaxed);
    for _ in 0..THREADS {
        // They stop behind the call that they are in, and one more push.
        let outcome = ends.recv_timeout(sea.bound.saturating_mul(2));
        storms.add(&outcome.map_err(|_| format!("a call hangs for longer than {:?}", sea.bound))??);
    }
    sea.proxy.settle()?;
    let ship = Arc::into_inner(ship).ok_or("a thread has not ended")?;
    storms.compared += ship.compare()?;
    storms.collected += pollster::block_on(ship.engine.collect_abandoned(Duration::ZERO))?;
    same_objects(&sea.direct.objects(folder.path())?, &ship.objects())?;
    for thread in 0..THREADS {
        let scope = Scope::TaskInstance(xcom(thread, 0)?.ti);
        pollster::block_on(ship.engine.delete(&Caller::user("prover"), &scope))?;
    }
    pollster::block_on(ship.engine.collect_abandoned(Duration::ZERO))?;
    same_objects(&sea.direct.objects(folder.path())?, &BTreeSet::new())?;
    pollster::block_on(ship.engine.close())?;
    Ok(())
}

fn same_objects(found: &BTreeSet<String>, known: &BTreeSet<String>) -> Result<()> {
    if found == known {
        return Ok(());
    }
    let more: Vec<_> = found.difference(known).collect();
    let less: Vec<_> = known.difference(found).collect();
    Err(format!("objects that nobody knows: {more:?}; objects that are gone: {less:?}").into())
}

fn xcom(thread: usize, key: usize) -> excom::Result<XComKey> {
    XComKey::new("faults", "manual__2026-11-21T10:00:00", format!("task_{thread}"), -1, format!("key/{key}"))
}

/// What all threads share.
struct Ship {
    engine: Engine,
    bound: Duration,
    stop: AtomicBool,
    histories: Vec<Mutex<History>>,
}

impl Ship {
    fn new(engine: Engine, bound: Duration) -> Self {
        let histories = (0..THREADS * KEYS).map(|_| Mutex::default()).collect();
        Self { engine, bound, stop: AtomicBool::new(false), histories }
    }

    fn history(&self, thread: usize, key: usize) -> MutexGuard<'_, History> {
        self.histories[thread * KEYS + key].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything acknowledged is there, and nothing else.
    fn compare(&self) -> Result<u64> {
        let user = Caller::user("prover");
        let mut compared = 0;
        for (thread, key) in (0..THREADS).flat_map(|thread| (0..KEYS).map(move |key| (thread, key))) {
            let (name, mut history) = (xcom(thread, key)?, self.history(thread, key));
            if let Some(ghost) = history.ghosts().next() {
                return Err(format!("value {ghost} of {name} was pulled, and then its push failed").into());
            }
            let past = pollster::block_on(self.engine.history(&user, &name, u32::MAX))?;
            let mut found: Vec<_> = past.iter().map(|past| past.info.version).collect();
            found.reverse();
            let keys = std::slice::from_ref(&name);
            let answer = pollster::block_on(self.engine.pull(&user, keys, PullOptions::default()))?.remove(0);
            match (answer, history.floor()) {
                (Answer::Missing(_), None) => {}
                (answer, floor) => {
                    found.extend(answer.found().map(|found| found.version));
                    history.pulled(&answer.value()?, floor)?;
                }
            }
            let known: Vec<_> = history.acknowledged.iter().map(|pushed| pushed.version).collect();
            if found != known {
                return Err(format!("{name} has the versions {found:?}; acknowledged were {known:?}").into());
            }
            for pushed in history.acknowledged.iter().rev().skip(1) {
                let value = pollster::block_on(self.engine.pull_past(&user, &name, pushed.version))?;
                if value.is_none_or(|value| ContentHash::of(value.bytes()) != pushed.hash) {
                    return Err(format!("version {} of {name} is not what was pushed", pushed.version).into());
                }
            }
            compared += known.len() as u64;
        }
        Ok(compared)
    }

    /// The objects that must be there.
    fn objects(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for (place, history) in self.histories.iter().enumerate() {
            let history = history.lock().unwrap_or_else(PoisonError::into_inner);
            let large = history.acknowledged.iter().filter(|pushed| pushed.size > home::INLINE_LIMIT);
            names.extend(large.filter_map(|pushed| {
                let key = xcom(place / KEYS, place % KEYS).ok()?;
                Some(ObjectName::of(&key, pushed.version).to_string())
            }));
        }
        names
    }
}

/// A thread.
struct Sailor<'a> {
    ship: &'a Ship,
    thread: usize,
    random: Random,
    counter: u64,
    done: Storms,
}

impl Sailor<'_> {
    fn sail(mut self) -> Result<Storms> {
        while !self.ship.stop.load(Ordering::Relaxed) {
            match self.random.below(3) {
                0 => self.push()?,
                1 => self.pull()?,
                _ => self.stream()?,
            }
        }
        Ok(self.done)
    }

    /// Runs one call, which must end within the bound.
    fn call<T>(&mut self, what: &str, call: impl Future<Output = T>) -> Result<T> {
        let begin = Instant::now();
        let outcome = pollster::block_on(call);
        let took = begin.elapsed();
        self.done.longest = self.done.longest.max(took);
        if took > self.ship.bound {
            return Err(format!("a {what} took {took:?}, longer than {:?}", self.ship.bound).into());
        }
        Ok(outcome)
    }

    fn push(&mut self) -> Result<()> {
        let key = self.random.below(KEYS as u64) as usize;
        self.counter += 1;
        let size = match self.random.below(40) {
            // More than a part of an upload.
            0 => 9_000_000,
            1..8 => 1_100_000 + self.random.below(1_200_000),
            8..27 => 5_000 + self.random.below(60_000),
            _ => 40 + self.random.below(3_000),
        };
        let value = home::value(self.counter, size as usize)?;
        let (ship, name) = (self.ship, xcom(self.thread, key)?);
        let version = ship.engine.clock().version();
        let (hash, size) = (ContentHash::of(value.bytes()), value.size());
        let pushed = Pushed { counter: self.counter, version, hash, size };
        ship.history(self.thread, key).under_way = Some(pushed);
        let mut payload = if self.random.once_in(2) { value.clone().into() } else { pieces(&value) };
        let user = Caller::user("prover");
        let (mut tries, repeats) = (0, self.random.below(REPEATS + 1));
        let happened = loop {
            let call = ship.engine.push_version(&user, &name, version, payload);
            match self.call("push", call)? {
                Ok(_) => break true,
                Err(error) => may_pass("push", &error)?,
            }
            if tries == repeats {
                break false;
            }
            tries += 1;
            payload = value.clone().into();
        };
        ship.history(self.thread, key).ended(happened);
        self.done.pushes += u64::from(happened);
        self.done.large_pushes += u64::from(happened && size > home::INLINE_LIMIT);
        self.done.repeated += u64::from(happened && tries > 0);
        self.done.failed += u64::from(!happened);
        Ok(())
    }

    /// Pulls some XComs in one call.
    fn pull(&mut self) -> Result<()> {
        let count = 1 + self.random.below(4) as usize;
        let wanted: Vec<(usize, usize)> = (0..count).map(|_| self.any()).collect();
        let keys = wanted.iter().map(|(thread, key)| xcom(*thread, *key));
        let keys = keys.collect::<excom::Result<Vec<_>>>()?;
        let floors: Vec<_> =
            wanted.iter().map(|(thread, key)| self.ship.history(*thread, *key).floor()).collect();
        let (ship, user) = (self.ship, Caller::user("prover"));
        let answers = self.call("pull", ship.engine.pull(&user, &keys, PullOptions::default()))??;
        for (((thread, key), floor), answer) in wanted.into_iter().zip(floors).zip(answers) {
            self.answered(thread, key, floor, answer)?;
        }
        Ok(())
    }

    /// Pulls one XCom as a stream.
    fn stream(&mut self) -> Result<()> {
        let (thread, key) = self.any();
        let (ship, user, name) = (self.ship, Caller::user("prover"), xcom(thread, key)?);
        let floor = ship.history(thread, key).floor();
        let read = async {
            let mut stream = match ship.engine.open(&user, &name).await? {
                Ok(payload) => payload.into_stream(),
                Err(answer) => return Ok(Err(answer)),
            };
            let mut bytes = Vec::new();
            while let Some(piece) = poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
                bytes.extend_from_slice(&piece?);
            }
            Ok::<_, Error>(Ok(bytes))
        };
        match self.call("stream", read)? {
            Ok(Ok(bytes)) => {
                ship.history(thread, key).pulled(&Value::parse(bytes)?, floor)?;
                self.done.pulls += 1;
                Ok(())
            }
            Ok(Err(answer)) => self.answered(thread, key, floor, answer),
            Err(error) => {
                self.done.refused += 1;
                may_pass("stream", &error)
            }
        }
    }

    fn any(&mut self) -> (usize, usize) {
        (self.random.below(THREADS as u64) as usize, self.random.below(KEYS as u64) as usize)
    }

    fn answered(&mut self, thread: usize, key: usize, floor: Option<u64>, answer: Answer) -> Result<()> {
        match answer {
            Answer::Found(found) => {
                self.ship.history(thread, key).pulled(&found.value, floor)?;
                self.done.pulls += 1;
            }
            Answer::Unavailable(_) => self.done.refused += 1,
            Answer::Missing(_) if floor.is_none() => self.done.refused += 1,
            answer => return Err(format!("a pull behind {floor:?} says {}: {answer}", answer.code()).into()),
        }
        Ok(())
    }
}

/// A value as a stream.
fn pieces(value: &Value) -> Payload {
    let bytes = value.bytes().clone();
    let starts = (0..bytes.len()).step_by(100_000);
    let piece = move |start: usize| Ok(bytes.slice(start..bytes.len().min(start + 100_000)));
    Payload::Stream(Box::pin(stream::iter(starts.map(piece))))
}

/// The weather is no reason for any other error.
fn may_pass(what: &str, error: &Error) -> Result<()> {
    match error.kind() {
        ErrorKind::Unavailable => Ok(()),
        kind => Err(format!("a {what} fails with {kind:?}: {error}; {:?}", error.hints()).into()),
    }
}
