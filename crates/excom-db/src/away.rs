//! A server that is away is not stormed by all who want to connect: one at a time tries, ever more rarely, and the others
//! hear what came of it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The pause behind the first try that failed; it doubles up to the last.
pub(crate) const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(500));

/// What is known of a server that is away; nothing while it is there.
#[derive(Debug, Default)]
pub(crate) struct Away(Mutex<Option<Outage>>);

#[derive(Debug)]
struct Outage {
    next: Instant,
    pause: Duration,
    why: String,
}

impl Away {
    /// Lets a caller try to connect, or tells why the last one could not.
    pub(crate) fn try_now(&self) -> Result<(), String> {
        let mut outage = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(outage) = &mut *outage else { return Ok(()) };
        let now = Instant::now();
        if now < outage.next {
            return Err(outage.why.clone());
        }
        outage.next = now + outage.pause;
        outage.pause = (outage.pause * 2).min(PAUSES.1);
        Ok(())
    }

    /// Notes what came of a try: nothing, or why it failed.
    pub(crate) fn note(&self, failed: Option<String>) {
        let mut outage = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (&mut *outage, failed) {
            (_, None) => *outage = None,
            (Some(outage), Some(why)) => outage.why = why,
            (none, Some(why)) => {
                *none = Some(Outage { next: Instant::now() + PAUSES.0, pause: PAUSES.0 * 2, why });
            }
        }
    }
}
