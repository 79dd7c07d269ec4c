//! Retention and the removal of bytes that nothing refers to.

use std::sync::PoisonError;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Engine, ledger};
use crate::Result;
use crate::backend::Object;
use crate::db::{Cutoffs, Removed};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How often a step of pruning is done at most.
const PRUNE_EVERY: SignedDuration = SignedDuration::from_mins(1);

/// How many rows of a kind one step removes, so that no lock is held for long.
const STEP: u32 = 1000;

/// How long things are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// Entries; none keeps them for ever. `[xcom] retention`.
    pub entries: Option<Duration>,
    /// Bytes of earlier versions. `[xcom] history_bytes`.
    pub history_bytes: Duration,
    /// Size, checksum, time and writer of earlier versions. `[xcom] history`.
    pub history: Duration,
    /// Ledger rows. `[xcom] ledger_retention`.
    pub ledger: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self { entries: Some(90 * DAY), history_bytes: 7 * DAY, history: 30 * DAY, ledger: 90 * DAY }
    }
}

impl Engine {
    /// Removes everything that is past its time, step by step, and bytes that nothing refers to.
    ///
    /// # Errors
    /// When the database cannot be written. What is done stays done; call again.
    pub async fn prune(&self) -> Result<Removed> {
        let mut total = Removed::default();
        loop {
            let removed = self.prune_step().await?;
            if removed.is_empty() {
                break;
            }
            total.entries += removed.entries;
            total.past_bytes += removed.past_bytes;
            total.past_entries += removed.past_entries;
            total.reads += removed.reads;
            total.runs += removed.runs;
        }
        self.purge_loose().await?;
        Ok(total)
    }

    async fn prune_step(&self) -> Result<Removed> {
        let now = self.0.clock.now();
        let kept = &self.0.settings.retention;
        self.0
            .db
            .retain(&Cutoffs {
                entries: kept.entries.map(|age| before(now, age)),
                rule: kept
                    .entries
                    .map_or(String::new(), |age| format!("[xcom] retention = \"{}\"", spelt(age))),
                past_bytes: before(now, kept.history_bytes),
                past_entries: before(now, kept.history),
                reads: before(now, kept.ledger),
                at: now,
                limit: STEP,
            })
            .await
    }

    /// Removes stored bytes that nothing refers to: purged versions, and what pushes left that were
    /// interrupted longer than `abandoned_after` ago. Returns how many objects went.
    ///
    /// # Errors
    /// When the database or the store cannot be written. What could not be removed stays noted.
    pub async fn purge_loose(&self) -> Result<u64> {
        self.collect_abandoned(self.0.settings.abandoned_after).await
    }

    /// As [`Engine::purge_loose`], taking pushes for abandoned that began longer ago than the age given:
    /// zero only when no other process pushes.
    ///
    /// # Errors
    /// As [`Engine::purge_loose`].
    pub async fn collect_abandoned(&self, age: Duration) -> Result<u64> {
        let mut removed = 0;
        loop {
            let cutoff = before(self.0.clock.now(), age);
            let loose = self.0.db.claim_loose(cutoff, STEP).await?;
            if loose.is_empty() {
                return Ok(removed);
            }
            // One object that cannot be removed must not keep the others.
            let mut failure = None;
            let mut gone = Vec::with_capacity(loose.len());
            for object in loose {
                let (key, version, store) = (&object.key, object.version, &*object.store);
                match self.0.backends.of(store).purge(&Object { key, version, store, codec: "" }).await {
                    Ok(()) => gone.push(object),
                    Err(error) => failure = failure.or(Some(error)),
                }
            }
            self.0.db.forget_loose(&gone).await?;
            removed += gone.len() as u64;
            if let Some(error) = failure {
                return Err(error);
            }
        }
    }

    /// What is due now: gathered reads are written, and at most once a minute a step of pruning is
    /// done. A program that ends soon calls it once; [`Engine::maintain`] does so each second.
    ///
    /// # Errors
    /// As [`Engine::flush_reads`] and [`Engine::prune`].
    pub async fn upkeep(&self) -> Result<()> {
        self.flush_reads().await?;
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
            while self.prune_step().await?.reaches(STEP) {}
            self.purge_loose().await?;
        }
        Ok(())
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
