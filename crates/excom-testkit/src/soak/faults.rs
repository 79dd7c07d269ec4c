//! What goes wrong, in an order that follows from a seed: one fault at a time, with pauses between. Whatever is not
//! answered must have one of them as its reason.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::random::Random;

/// How long behind the end of a fault something may still be unavailable because of it.
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// How long a fault lasts at most; a restart takes what it takes.
pub(super) const LONGEST: Duration = Duration::from_secs(9);

/// What fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// The connections to the database are reset once.
    DatabaseCut,
    /// What passes to and from the database is late, or cut in its middle.
    DatabaseFoul,
    /// Nothing passes to and from the database.
    DatabaseStalled,
    /// Every connection to the database is reset, also new ones.
    DatabaseRefused,
    /// PostgreSQL is restarted: sessions are ended in order.
    DatabaseFast,
    /// The same without order.
    DatabaseImmediate,
    /// PostgreSQL is killed.
    DatabaseKilled,
    StoreCut,
    StoreFoul,
    StoreStalled,
    StoreRefused,
    /// What passes between the clients and a server is late, or cut in its middle: answers are lost.
    ClientsFoul,
    /// A server is killed and started again.
    ServerKilled,
    /// A server is told to stop, and started again.
    ServerDrained,
    /// The servers are told to read their files again, which nobody may notice.
    HungUp,
}

/// All of them.
const KINDS: [Kind; 15] = [
    Kind::DatabaseCut,
    Kind::DatabaseFoul,
    Kind::DatabaseStalled,
    Kind::DatabaseRefused,
    Kind::DatabaseFast,
    Kind::DatabaseImmediate,
    Kind::DatabaseKilled,
    Kind::StoreCut,
    Kind::StoreFoul,
    Kind::StoreStalled,
    Kind::StoreRefused,
    Kind::ClientsFoul,
    Kind::ServerKilled,
    Kind::ServerDrained,
    Kind::HungUp,
];

/// What a fault may keep from being answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Database,
    Store,
    Server,
    Nothing,
}

impl Kind {
    fn reach(self) -> Reach {
        match self {
            Self::DatabaseCut
            | Self::DatabaseFoul
            | Self::DatabaseStalled
            | Self::DatabaseRefused
            | Self::DatabaseFast
            | Self::DatabaseImmediate
            | Self::DatabaseKilled => Reach::Database,
            Self::StoreCut | Self::StoreFoul | Self::StoreStalled | Self::StoreRefused => Reach::Store,
            Self::ClientsFoul | Self::ServerKilled | Self::ServerDrained => Reach::Server,
            Self::HungUp => Reach::Nothing,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DatabaseCut => "database cut off",
            Self::DatabaseFoul => "database behind a bad line",
            Self::DatabaseStalled => "database stalled",
            Self::DatabaseRefused => "database refused",
            Self::DatabaseFast => "database restarted (fast)",
            Self::DatabaseImmediate => "database restarted (immediate)",
            Self::DatabaseKilled => "database killed",
            Self::StoreCut => "store cut off",
            Self::StoreFoul => "store behind a bad line",
            Self::StoreStalled => "store stalled",
            Self::StoreRefused => "store refused",
            Self::ClientsFoul => "clients behind a bad line",
            Self::ServerKilled => "server killed",
            Self::ServerDrained => "server drained",
            Self::HungUp => "SIGHUP",
        })
    }
}

/// A fault that was, or is.
#[derive(Debug, Clone, Copy)]
struct Fault {
    kind: Kind,
    begin: Instant,
    end: Option<Instant>,
}

impl Fault {
    /// Whether it was on, or only just over, at some time between.
    fn touches(&self, begin: Instant, end: Instant) -> bool {
        self.begin <= end && self.end.is_none_or(|over| begin <= over + GRACE)
    }
}

/// How something was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// A server told that something is away.
    Unavailable { server: usize },
    /// The connection was refused, or ended; of a server, in the middle of a value or not.
    Broken { server: usize, streamed: bool },
}

/// All faults so far.
#[derive(Debug, Default)]
pub(super) struct Log(Mutex<Vec<Fault>>);

impl Log {
    fn faults(&self) -> MutexGuard<'_, Vec<Fault>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A fault is on while something is done.
    pub(super) fn during<T>(&self, kind: Kind, done: impl FnOnce() -> T) -> T {
        self.faults().push(Fault { kind, begin: Instant::now(), end: None });
        let outcome = done();
        if let Some(fault) = self.faults().last_mut() {
            fault.end = Some(Instant::now());
        }
        outcome
    }

    /// Whether a fault explains that what went on between was not answered: how long after its end that was.
    pub(super) fn explains(&self, failure: Failure, begin: Instant, end: Instant) -> Option<Duration> {
        let faults = self.faults();
        let fits = |fault: &&Fault| {
            fault.touches(begin, end)
                && match (fault.kind.reach(), failure) {
                    (Reach::Nothing, _) => false,
                    (Reach::Server, Failure::Broken { server, .. } | Failure::Unavailable { server }) => {
                        server == RESTARTED
                    }
                    // A value that cannot be read to its end is cut off.
                    (Reach::Store, Failure::Broken { streamed, .. }) => streamed,
                    (Reach::Database, Failure::Broken { .. }) => false,
                    (_, Failure::Unavailable { .. }) => true,
                }
        };
        let late =
            |fault: &Fault| fault.end.map_or(Duration::ZERO, |over| end.saturating_duration_since(over));
        faults.iter().filter(fits).map(late).min()
    }

    /// Whether there was no fault between, or shortly before.
    pub(super) fn quiet(&self, begin: Instant, end: Instant) -> bool {
        !self.faults().iter().any(|fault| fault.touches(begin, end))
    }

    /// How many there were of each kind.
    pub(super) fn counts(&self) -> Vec<(Kind, usize)> {
        let faults = self.faults();
        let count = |kind: &Kind| faults.iter().filter(|fault| fault.kind == *kind).count();
        KINDS.iter().map(|kind| (*kind, count(kind))).filter(|(_, count)| *count > 0).collect()
    }

    /// How many there were.
    pub(super) fn len(&self) -> usize {
        self.faults().len()
    }

    /// The last one, for whoever looks for a cause.
    pub(super) fn last(&self) -> String {
        match self.faults().last() {
            None => "no fault was yet".to_owned(),
            Some(Fault { kind, begin, end: None }) => {
                format!("{kind} since {:.1} s", begin.elapsed().as_secs_f64())
            }
            Some(Fault { kind, begin, end: Some(end) }) => format!(
                "the last fault was {kind}, for {:.1} s until {:.1} s ago",
                (*end - *begin).as_secs_f64(),
                end.elapsed().as_secs_f64()
            ),
        }
    }
}

/// The server that is killed and drained, and to which the line is bad; the other one lives as long as the load.
pub(super) const RESTARTED: usize = 1;

/// The order of faults: each kind once before any comes again.
pub(super) struct Schedule {
    random: Random,
    left: Vec<Kind>,
}

impl Schedule {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), left: Vec::new() }
    }

    /// The next fault, how long it lasts, and the pause behind it, in which all must be well for a while.
    pub(super) fn next(&mut self) -> (Kind, Duration, Duration) {
        if self.left.is_empty() {
            self.left = KINDS.to_vec();
        }
        let at = self.random.below(self.left.len() as u64) as usize;
        let kind = self.left.swap_remove(at);
        let lasts = 1_000 + self.random.below(LONGEST.as_millis() as u64 - 1_000);
        let pause = GRACE + Duration::from_millis(2_000 + self.random.below(6_000));
        (kind, Duration::from_millis(lasts), pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_needs_a_fault_that_can_be_its_reason() {
        let log = Log::default();
        let before = Instant::now();
        let broken = |server, streamed| Failure::Broken { server, streamed };
        let away = Failure::Unavailable { server: 0 };
        assert_eq!(log.explains(away, before, before), None);
        log.during(Kind::DatabaseRefused, || {
            let now = Instant::now();
            assert_eq!(log.explains(away, before, now), Some(Duration::ZERO));
            assert_eq!(log.explains(broken(0, true), before, now), None);
            assert!(!log.quiet(before, now));
        });
        let after = Instant::now() + GRACE * 2;
        assert_eq!(log.explains(away, after, after), None, "the time of grace is over");
        assert!(log.quiet(after, after));
        log.during(Kind::StoreStalled, || {});
        log.during(Kind::HungUp, || {});
        let now = Instant::now();
        assert!(log.explains(broken(0, true), now, now).is_some());
        assert_eq!(log.explains(broken(RESTARTED, false), now, now), None);
        log.during(Kind::ServerKilled, || {});
        let now = Instant::now();
        assert!(log.explains(broken(RESTARTED, false), now, now).is_some());
        assert_eq!(log.explains(broken(0, false), now, now), None, "the other server");
        assert_eq!(log.len(), 4);
    }

    #[test]
    fn each_kind_comes_before_any_comes_again() {
        let mut schedule = Schedule::new(7);
        let mut kinds: Vec<Kind> = (0..KINDS.len()).map(|_| schedule.next().0).collect();
        let mut again = Schedule::new(7);
        assert_eq!(kinds, (0..KINDS.len()).map(|_| again.next().0).collect::<Vec<_>>());
        kinds.sort();
        assert_eq!(kinds, KINDS);
    }
}
