//! A runtime for the clients of databases, because the contract's callers need not have one.
//!
//! Sockets and timers are driven by a thread of the database's own. What a client does between two packets runs where
//! it is polled, in any runtime or none.

use std::future::Future;
use std::pin::pin;

use excom_core::{Error, ErrorKind, Result};
use tokio::runtime::{Builder, Runtime};

/// A runtime with one thread, which ends with it.
#[derive(Debug)]
pub(crate) struct Reactor(Option<Runtime>);

impl Reactor {
    pub(crate) fn start(name: &str) -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name(name).enable_all().build();
        let runtime = runtime.map_err(|e| {
            Error::new(ErrorKind::Other, format!("the thread {name} cannot start")).because(e)
        })?;
        Ok(Self(Some(runtime)))
    }

    /// Drives a future that uses sockets, timers or tasks, wherever it is polled.
    pub(crate) async fn run<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        std::future::poll_fn(|context| {
            let _entered = self.0.as_ref().map(Runtime::enter);
            future.as_mut().poll(context)
        })
        .await
    }

    /// Begins a task that runs on the reactor's own thread, until it is done or the reactor ends.
    #[cfg(feature = "postgres")]
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.0 {
            drop(runtime.spawn(task));
        }
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        // Dropped inside another runtime, it must not wait for its thread.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
