//! Retention and the removal of bytes that nothing refers to.

use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Engine, ledger};
use crate::backend::Object;
use crate::db::{Cutoffs, Due, Expires, Place, Removed, Rule, Scan};
use crate::{Error, ErrorKind, Result};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How often a step of pruning is done at most.
const PRUNE_EVERY: SignedDuration = SignedDuration::from_mins(1);

/// How many rows of a kind one step removes, so that no lock is held for long.
const STEP: u32 = 1000;

/// How often upkeep looks at all entries, for rules that need it.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);

/// The name of the turns to do so.
const SWEPT: &str = "entries_swept";

/// What is to expire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pruning {
    /// The rules: an entry expires when any of them catches it, and names the first.
    pub rules: Vec<Rule>,
    /// Only of this DAG.
    pub dag_id: Option<Arc<str>>,
    /// The most entries that expire in a second; none goes as fast as it can.
    pub rate: Option<NonZeroU32>,
}

/// How long things are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Entries; none keeps them for ever. `[xcom] retention`.
    pub entries: Option<Duration>,
    /// Entries of the newest so many runs, for each task of a DAG. `[xcom] retention_count`.
    pub count: Option<u32>,
    /// Entries that were pushed or read in this time. `[xcom] retention_unread`.
    pub unread: Option<Duration>,
    /// Entries for so long after all tasks of their run ended well. `[xcom] retention_done`.
    pub done: Option<Duration>,
    /// Bytes of earlier versions. `[xcom] history_bytes`.
    pub history_bytes: Duration,
    /// Size, checksum, time and writer of earlier versions. `[xcom] history`.
    pub history: Duration,
    /// Ledger rows. `[xcom] ledger_retention`.
    pub ledger: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            entries: Some(90 * DAY),
            count: None,
            unread: None,
            done: None,
            history_bytes: 7 * DAY,
            history: 30 * DAY,
            ledger: 90 * DAY,
        }
    }
}

impl Retention {
    /// The rules by which entries expire.
    fn rules(&self, now: Timestamp) -> Vec<Rule> {
        let aged = |key: &str, age: Option<Duration>, expires: fn(Timestamp) -> Expires| {
            age.map(|age| (format!("{key} = \"{}\"", spelt(age)), expires(before(now, age))))
        };
        let rules = [
            aged("retention", self.entries, Expires::Pushed),
            self.count.map(|count| (format!("retention_count = {count}"), Expires::Behind(count))),
            aged("retention_unread", self.unread, Expires::Unread),
            aged("retention_done", self.done, Expires::Done),
        ];
        let rule = |(text, expires)| Rule { text: format!("[xcom] {text}").into(), expires, outside: false };
        rules.into_iter().flatten().map(rule).collect()
    }
}

impl Engine {
    /// Removes everything that is past its time, step by step, and bytes that nothing refers to.
    ///
    /// # Errors
    /// When the database cannot be written. What is done stays done; call again.
    pub async fn prune(&self) -> Result<Removed> {
        self.prune_by(&self.pruning(), |_| ()).await
    }

    /// The rules that the settings give, as of now.
    pub fn pruning(&self) -> Pruning {
        Pruning { rules: self.0.settings.retention.rules(self.0.clock.now()), dag_id: None, rate: None }
    }

    /// As [`Engine::prune`], by rules of the caller's own, and only of one DAG when it names one: then nothing but
    /// entries expires. After each step `progress` is told what went so far.
    ///
    /// Entries are found while others write; a step then holds the writer for at most a thousand of them, and
    /// looks at each again.
    ///
    /// # Errors
    /// As [`Engine::prune`]; [`ErrorKind::InvalidRequest`] for rules about what something else wrote, where nothing else
    /// writes.
    pub async fn prune_by(&self, pruning: &Pruning, mut progress: impl FnMut(&Removed)) -> Result<Removed> {
        self.fits(pruning)?;
        // Reads that are not written yet count as reads.
        self.flush_reads().await?;
        let mut total = Removed::default();
        let mut after = None;
        while !pruning.rules.is_empty() {
            after = match pruning.rate {
                None => {
                    let (removed, next) = self.expire_next(pruning, after).await?;
                    total.add(removed);
                    next
                }
                Some(rate) => {
                    let page = self.due(pruning, after).await?;
                    for due in page.items.chunks(STEP.min(rate.get()) as usize) {
                        let removed = self.0.db.expire(&pruning.rules, due, self.0.clock.now()).await?;
                        total.add(removed);
                        progress(&total);
                        let pause = removed.entries as f64 / f64::from(rate.get());
                        self.0.clock.sleep(Duration::from_secs_f64(pause)).await;
                    }
                    page.next
                }
            };
            progress(&total);
            if after.is_none() {
                break;
            }
        }
        if total.entries > 0 {
            self.freed(pruning.dag_id.as_deref(), None);
        }
        while pruning.dag_id.is_none() {
            let removed = self.retain().await?;
            total.add(removed);
            progress(&total);
            if removed.is_empty() {
                break;
            }
        }
        self.purge_loose().await?;
        Ok(total)
    }

    /// What [`Engine::prune_by`] would let expire, page by page: entries that rules catch, among the next thousand.
    /// Nothing changes.
    ///
    /// # Errors
    /// When the database cannot be read; as [`Engine::prune_by`].
    pub async fn due(&self, pruning: &Pruning, after: Option<Place>) -> Result<Scan<Due>> {
        self.fits(pruning)?;
        self.0.db.due(&pruning.rules, pruning.dag_id.as_deref(), after, STEP).await
    }

    fn fits(&self, pruning: &Pruning) -> Result<()> {
        if pruning.rules.iter().any(|rule| rule.outside) { self.shared() } else { Ok(()) }
    }

    /// Refuses where nothing else writes in the same tables, or what it wrote is not Excom's to touch.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`].
    pub fn shared(&self) -> Result<()> {
        if self.0.db.is_shared() {
            return Ok(());
        }
        let what = format!("{} has no XComs that something else wrote and that Excom may touch", self.0.db);
        Err(Error::new(ErrorKind::InvalidRequest, what).hint(
            "that is for the database of an Airflow to which Excom is attached, with what it needs beside Airflow's \
             tables (docs/attached.md)",
        ))
    }

    /// One step of it; and where the next begins.
    async fn expire_next(&self, pruning: &Pruning, after: Option<Place>) -> Result<(Removed, Option<Place>)> {
        let Pruning { rules, dag_id, .. } = pruning;
        self.0.db.expire_next(rules, dag_id.as_deref(), after, STEP, self.0.clock.now()).await
    }

    /// One step of everything but entries.
    async fn retain(&self) -> Result<Removed> {
        let now = self.0.clock.now();
        let kept = &self.0.settings.retention;
        let cutoffs = Cutoffs {
            runs: kept.entries.map(|age| before(now, age)),
            past_bytes: before(now, kept.history_bytes),
            past_entries: before(now, kept.history),
            reads: before(now, kept.ledger),
            at: now,
            limit: STEP,
        };
        self.0.db.retain(&cutoffs).await
    }

    /// What is due of entries. Those past their age are in front, in the order of pushes; what other rules catch may
    /// be anywhere, so all entries are looked at for them, once an hour, by whichever process comes.
    async fn expire_due(&self) -> Result<()> {
        let pruning = self.pruning();
        let (ages, others): (Vec<Rule>, Vec<Rule>) =
            pruning.rules.into_iter().partition(|rule| matches!(rule.expires, Expires::Pushed(_)));
        let ages = Pruning { rules: ages, dag_id: None, rate: None };
        while !ages.rules.is_empty() {
            if self.expire_next(&ages, None).await?.0.entries == 0 {
                break;
            }
        }
        if others.is_empty() || !self.0.db.take_turn(SWEPT, self.0.clock.now(), SWEEP_EVERY).await? {
            return Ok(());
        }
        let others = Pruning { rules: others, dag_id: None, rate: None };
        let mut after = None;
        loop {
            after = self.expire_next(&others, after).await?.1;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Removes stored bytes that nothing refers to: purged versions, and what pushes left that were
    /// interrupted longer than `abandoned_after` ago. Returns how many objects went.
    ///
    /// # Errors
    /// When the database or the store cannot be written. What could not be removed stays noted.
    pub async fn purge_loose(&self) -> Result<u64> {
        self.collect_abandoned(self.0.settings.abandoned_after).await
    }

    /// As [`Engine::purge_loose`], taking pushes and removals for abandoned that began longer ago than the age given:
    /// zero only when no other process pushes or removes.
    ///
    /// # Errors
    /// As [`Engine::purge_loose`].
    pub async fn collect_abandoned(&self, age: Duration) -> Result<u64> {
        let mut removed = 0;
        loop {
            let begun = self.0.clock.now();
            let loose = self.0.db.claim_loose(before(begun, age), begun, STEP).await?;
            if loose.is_empty() {
                return Ok(removed);
            }
            // One object that cannot be removed must not keep the others.
            let (mut gone, mut left, mut failure) = (Vec::with_capacity(loose.len()), Vec::new(), None);
            // Another process may take them over after that time, and then their names may be used again. So this one
            // is far from them by then.
            let late = begun.checked_add(self.0.settings.abandoned_after / 2);
            for object in loose {
                if !gone.is_empty() && late.as_ref().is_ok_and(|late| self.0.clock.now() > *late) {
                    left.push(object);
                    continue;
                }
                let (key, version, store) = (&object.key, object.version, &*object.store);
                match self
                    .0
                    .backends
                    .of(store)
                    .purge(&Object { key, version, store, codec: "", key_id: "" })
                    .await
                {
                    Ok(()) => gone.push(object),
                    Err(error) => {
                        failure = failure.or(Some(error));
                        left.push(object);
                    }
                }
            }
            self.0.db.forget_loose(&gone).await?;
            if !left.is_empty() {
                self.0.db.release_loose(&left).await?;
            }
            removed += gone.len() as u64;
            if let Some(error) = failure {
                return Err(error);
            }
        }
    }

    /// What is due now: gathered reads and counts are written, and at most once a minute a step of pruning is
    /// done. A program that ends soon calls it once; [`Engine::maintain`] does so each second.
    ///
    /// # Errors
    /// As [`Engine::flush_reads`] and [`Engine::prune`]; once, of a backend that could not be told of a clear.
    pub async fn upkeep(&self) -> Result<()> {
        self.flush_reads().await?;
        self.flush_refusals().await?;
        let now = self.0.clock.now();
        let due = {
            let mut pruned = self.0.pruned.lock().unwrap_or_else(PoisonError::into_inner);
            let due = pruned.is_none_or(|last| now.duration_since(last) >= PRUNE_EVERY);
            if due {
                *pruned = Some(now);
            }
            due
        };
        if due {
            // Each step is short; all of them together keep up with whatever is pushed.
            self.expire_due().await?;
            while self.retain().await?.reaches(STEP) {}
            self.purge_loose().await?;
            self.train_dictionaries().await?;
        }
        let untold = self.0.untold.lock().unwrap_or_else(PoisonError::into_inner).take();
        untold.map_or(Ok(()), Err)
    }

    /// Background work, for ever: [`Engine::upkeep`] each second. The host drives it and drops it when it
    /// ends. Errors are given to `report` and tried again.
    pub async fn maintain(&self, report: impl Fn(&crate::Error)) {
        loop {
            if let Err(error) = self.upkeep().await {
                report(&error);
            }
            self.0.clock.sleep(ledger::FLUSH_EVERY).await;
        }
    }
}

/// A duration as settings spell it, in the largest unit that holds it exactly.
fn spelt(age: Duration) -> String {
    let seconds = age.as_secs();
    let units = [("d", 86_400), ("h", 3600), ("m", 60)];
    match units.iter().find(|(_, unit)| seconds > 0 && seconds.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", seconds / unit),
        None => format!("{seconds}s"),
    }
}

pub(super) fn before(now: Timestamp, age: Duration) -> Timestamp {
    now.checked_sub(age).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_spelt_as_they_are_set() {
        for (seconds, text) in
            [(90 * 86_400, "90d"), (12 * 3600, "12h"), (90, "90s"), (600, "10m"), (0, "0s")]
        {
            assert_eq!(spelt(Duration::from_secs(seconds)), text);
        }
    }
}
