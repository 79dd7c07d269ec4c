//! The host's time and randomness.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use excom_core::Clock;
use jiff::Timestamp;

#[derive(Debug)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn random(&self) -> u64 {
        getrandom::u64().expect("the system gives random bytes")
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        std::thread::sleep(duration);
        Box::pin(std::future::ready(()))
    }
}
