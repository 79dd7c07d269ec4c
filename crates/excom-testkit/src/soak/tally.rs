//! What is counted while the load goes on, how long answers took, and what was wrong.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::child;

/// How many violations are told in full.
const TOLD: usize = 20;

/// Counts of a load.
#[derive(Debug)]
pub(super) struct Tally {
    begin: Instant,
    answers: Mutex<BTreeMap<String, u64>>,
    quiet: Mutex<BTreeMap<&'static str, Vec<u32>>>,
    late: Mutex<Duration>,
    wrong: Mutex<Vec<String>>,
    /// Requests that were sent.
    pub(super) requests: AtomicU64,
    /// Pushes that were acknowledged.
    pub(super) pushes: AtomicU64,
    /// Of these, those that were in doubt first.
    pub(super) doubted: AtomicU64,
    /// How often a write in doubt was repeated.
    pub(super) repeats: AtomicU64,
    /// Values that were pulled and compared.
    pub(super) values: AtomicU64,
    /// Tries that were started, and writes of earlier ones that were refused.
    pub(super) tries: AtomicU64,
    /// What was due while too much was under way.
    pub(super) held_back: AtomicU64,
    /// What was to be done and is done.
    pub(super) done: AtomicU64,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            begin: Instant::now(),
            answers: Mutex::default(),
            quiet: Mutex::default(),
            late: Mutex::default(),
            wrong: Mutex::default(),
            requests: AtomicU64::new(0),
            pushes: AtomicU64::new(0),
            doubted: AtomicU64::new(0),
            repeats: AtomicU64::new(0),
            values: AtomicU64::new(0),
            tries: AtomicU64::new(0),
            held_back: AtomicU64::new(0),
            done: AtomicU64::new(0),
        }
    }
}

impl Tally {
    /// Counts an answer.
    pub(super) fn answered(&self, kind: &str) {
        let mut answers = lock(&self.answers);
        match answers.get_mut(kind) {
            Some(count) => *count += 1,
            None => drop(answers.insert(kind.to_owned(), 1)),
        }
    }

    /// Answers by kind, as a line.
    pub(super) fn answers(&self) -> String {
        let told: Vec<String> =
            lock(&self.answers).iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        told.join(", ")
    }

    /// How long something took while nothing was wrong.
    pub(super) fn took(&self, what: &'static str, time: Duration) {
        let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        lock(&self.quiet).entry(what).or_default().push(micros);
    }

    /// What, how often, and in how many milliseconds half and 99 of 100 were done.
    pub(super) fn percentiles(&self) -> Vec<(&'static str, usize, f64, f64)> {
        let told = |(what, times): (&&'static str, &mut Vec<u32>)| {
            times.sort_unstable();
            let at = |percent: usize| f64::from(times[(times.len() - 1) * percent / 100]) / 1e3;
            (*what, times.len(), at(50), at(99))
        };
        lock(&self.quiet).iter_mut().map(told).collect()
    }

    /// Something was unavailable so long behind the end of its reason.
    pub(super) fn was_late(&self, time: Duration) {
        let mut late = lock(&self.late);
        *late = late.max(time);
    }

    /// The longest that something was unavailable behind the end of its reason.
    pub(super) fn latest(&self) -> Duration {
        *lock(&self.late)
    }

    /// Something is as it may not be: told at once, with what is needed to find out why.
    pub(super) fn wrong(&self, what: &str) {
        let told = format!("at {:.1} s: {what}", self.begin.elapsed().as_secs_f64());
        let mut wrong = lock(&self.wrong);
        if wrong.len() < TOLD {
            // Nobody may read any more; it is in the end's report too.
            drop(child::tell(&format!("WRONG {told}")));
        }
        wrong.push(told);
    }

    /// How much was wrong, and the first of it.
    pub(super) fn verdict(&self) -> Option<String> {
        let wrong = lock(&self.wrong);
        let first = wrong.iter().take(TOLD).cloned().collect::<Vec<_>>().join("\n  ");
        (!wrong.is_empty()).then(|| format!("{} violations, the first are\n  {first}", wrong.len()))
    }

    /// How much was wrong so far.
    pub(super) fn violations(&self) -> usize {
        lock(&self.wrong).len()
    }
}

/// Counts one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// What was counted.
pub(super) fn counted(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
