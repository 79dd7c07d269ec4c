//! The host's own time and randomness.

use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::pin::Pin;
use std::time::Duration;

use excom_core::Clock;
use jiff::Timestamp;

/// The operating system's clock and random numbers. It needs no runtime: all who sleep share one timer
/// thread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn random(&self) -> u64 {
        // Without the operating system's source, the standard library's seeds still differ between
        // processes and between calls.
        getrandom::u64().unwrap_or_else(|_| {
            let mut hasher = std::hash::RandomState::new().build_hasher();
            hasher.write_i128(Timestamp::now().as_nanosecond());
            hasher.finish()
        })
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(futures_timer::Delay::new(duration))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_sleeps_without_a_runtime_and_never_repeats() {
        let start = std::time::Instant::now();
        pollster::block_on(SystemClock.sleep(Duration::from_millis(5)));
        assert!(start.elapsed() >= Duration::from_millis(5));
        assert_ne!(SystemClock.random(), SystemClock.random());
    }
}
