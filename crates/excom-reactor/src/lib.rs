//! A runtime for clients of databases, stores and servers, because callers of Excom's contracts need not have one.
//!
//! Sockets and timers are driven by a thread of the client's own, so a client serves whoever polls: a task of another
//! runtime, or a thread that blocks. What it does between two packets runs where it is polled.
//!
//! ```
//! use std::time::Duration;
//! use excom_reactor::Reactor;
//!
//! let reactor = Reactor::start("example")?;
//! pollster::block_on(reactor.run(async { tokio::time::sleep(Duration::from_millis(1)).await }));
//! # Ok::<(), excom_core::Error>(())
//! ```

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use excom_core::{ByteStream, Error, ErrorKind, Result};
use futures_core::Stream;
use tokio::runtime::{Builder, Handle, Runtime};

/// The thread is woken by whoever sets a timer that ends before all others. With one that is always there, limits of
/// calls, which are longer, wake nobody.
const TICK: Duration = Duration::from_secs(10);

/// A runtime with one thread, which ends with the last clone.
#[derive(Debug, Clone)]
pub struct Reactor(Arc<Owned>);

#[derive(Debug)]
struct Owned(Option<Runtime>);

impl Drop for Owned {
    fn drop(&mut self) {
        // Dropped inside another runtime, it must not wait for its thread.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Reactor {
    /// Starts its thread, under a name.
    ///
    /// # Errors
    /// [`ErrorKind::Other`] when the system has no more threads.
    pub fn start(name: &str) -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name(name).enable_all().build();
        let runtime = runtime.map_err(|e| {
            Error::new(ErrorKind::Other, format!("the thread {name} cannot start")).because(e)
        })?;
        runtime.spawn(async {
            loop {
                tokio::time::sleep(TICK).await;
            }
        });
        Ok(Self(Arc::new(Owned(Some(runtime)))))
    }

    fn handle(&self) -> &Handle {
        self.0.0.as_ref().expect("only a drop takes it").handle()
    }

    /// Drives a future that uses sockets or timers, wherever it is polled.
    pub async fn run<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        std::future::poll_fn(|context| {
            let _entered = self.handle().enter();
            future.as_mut().poll(context)
        })
        .await
    }

    /// The same for a stream of bytes.
    pub fn stream<S>(&self, stream: S) -> ByteStream
    where
        S: Stream<Item = Result<Bytes>> + Send + 'static,
    {
        Box::pin(Entered { reactor: self.clone(), stream: Box::pin(stream) })
    }

    /// Drives a future that nobody waits for on its own thread, until it is done or the last clone is gone.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        drop(self.handle().spawn(future));
    }
}

struct Entered {
    reactor: Reactor,
    stream: ByteStream,
}

impl Stream for Entered {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let _entered = this.reactor.handle().enter();
        this.stream.as_mut().poll_next(context)
    }
}
