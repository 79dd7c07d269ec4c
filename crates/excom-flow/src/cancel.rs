//! Telling a run to stop.

use std::sync::Arc;

use tokio::sync::watch;

/// Tells a run to stop, from anywhere: a signal handler, another task, a test.
///
/// Clones are one. What has been cancelled stays so.
///
/// ```
/// # extern crate excom_flow as excom;
/// use excom::Cancellation;
///
/// let cancellation = Cancellation::new();
/// let elsewhere = cancellation.clone();
/// elsewhere.cancel();
/// assert!(cancellation.is_cancelled());
/// ```
#[derive(Debug, Clone)]
pub struct Cancellation(Arc<watch::Sender<bool>>);

impl Cancellation {
    /// Nothing is cancelled yet.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Cancels. Again does nothing more.
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is cancelled.
    pub async fn cancelled(&self) {
        let mut receiver = self.0.subscribe();
        // The sender lives as long as `self`, so this ends only by the cancellation.
        drop(receiver.wait_for(|cancelled| *cancelled).await);
    }
}

impl Default for Cancellation {
    fn default() -> Self {
        Self::new()
    }
}
