//! Time and randomness, which come from the host so that tests control them.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use jiff::Timestamp;

use crate::AttemptId;
use crate::entry::Version;

/// The host's time and randomness.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The time now, UTC.
    fn now(&self) -> Timestamp;

    /// A random number, different each time and on every host.
    fn random(&self) -> u64;

    /// Waits. Only background work sleeps, so a host that drives none may return at once.
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

impl dyn Clock {
    /// A new version of a value: now, and some randomness.
    pub fn version(&self) -> Version {
        Version::new(self.now(), self.random())
    }

    /// A new attempt id: a UUID of version 7.
    pub fn attempt_id(&self) -> AttemptId {
        let millis = u64::try_from(self.now().as_millisecond()).unwrap_or(0);
        let mut random = [0; 10];
        random[..8].copy_from_slice(&self.random().to_le_bytes());
        random[8..].copy_from_slice(&self.random().to_le_bytes()[..2]);
        AttemptId(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }
}
