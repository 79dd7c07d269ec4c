//! Every contract in memory, for tests and examples: nothing survives the process.

mod backend;
mod db;
mod store;

use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use jiff::Timestamp;

pub use backend::{Backend, streamed};
pub use db::Db;
pub use store::Store;

/// A clock that stands still until it is moved, with numbers that repeat in each run.
#[derive(Debug)]
pub struct Clock(Mutex<(Timestamp, u64)>);

impl Clock {
    /// A clock at 2026-11-21T10:00:00Z.
    pub fn new() -> Self {
        let start = Timestamp::from_second(1_795_255_200).unwrap_or(Timestamp::UNIX_EPOCH);
        Self(Mutex::new((start, 0x9E37_79B9_7F4A_7C15)))
    }

    /// Moves it on.
    pub fn advance(&self, by: Duration) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 = state.0.checked_add(by).unwrap_or(Timestamp::MAX);
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

impl crate::Clock for Clock {
    fn now(&self) -> Timestamp {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    fn random(&self) -> u64 {
        // SplitMix64 (Steele, Lea and Flood 2014).
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.1 = state.1.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state.1;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.advance(duration);
        Box::pin(std::future::ready(()))
    }
}
