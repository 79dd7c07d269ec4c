//! A runtime for clients of databases, stores and servers, because callers of Excom's contracts need not have one.
//!
//! Sockets and timers are driven by a thread of the client's own, so a client serves whoever polls: a task of another
//! runtime, or a thread that blocks. What it does between two packets runs where it is polled. A program that has a runtime
//! for as long as its clients, whose threads never wait for one of them, lends it ([`lend`]): then nothing is handed from one
//! thread to another that could have gone on.
//!
//! ```
//! use std::time::Duration;
//! use excom_reactor::Reactor;
//!
//! let reactor = Reactor::start("example")?;
//! pollster::block_on(reactor.run(async { tokio::time::sleep(Duration::from_millis(1)).await }));
//! # Ok::<(), excom_core::Error>(())
//! ```

use std::cell::RefCell;
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

thread_local! {
    /// What clients that this thread opens are driven by.
    static LENT: RefCell<Option<Handle>> = const { RefCell::new(None) };
}

/// Has clients that `open` opens, on this thread, driven by a runtime that is there.
///
/// ```
/// use excom_reactor::{Reactor, lend};
///
/// let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
/// let reactor = lend(runtime.handle().clone(), || Reactor::start("example"))?;
/// # Ok::<(), excom_core::Error>(())
/// ```
pub fn lend<T>(runtime: Handle, open: impl FnOnce() -> T) -> T {
    struct Back(Option<Handle>);
    impl Drop for Back {
        fn drop(&mut self) {
            LENT.set(self.0.take());
        }
    }
    let _back = Back(LENT.replace(Some(runtime)));
    open()
}

/// A runtime with one thread, which ends with the last clone; or one that was lent.
#[derive(Debug, Clone)]
pub struct Reactor(Arc<Driver>);

#[derive(Debug)]
enum Driver {
    // None once it is dropped.
    Own(Option<Runtime>),
    Lent(Handle),
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Dropped inside another runtime, it must not wait for its thread.
        if let Self::Own(runtime) = self
            && let Some(runtime) = runtime.take()
        {
            runtime.shutdown_background();
        }
    }
}

impl Reactor {
    /// Starts its thread, under a name, unless a runtime is lent.
    ///
    /// # Errors
    /// [`ErrorKind::Other`] when the system has no more threads.
    pub fn start(name: &str) -> Result<Self> {
        if let Some(lent) = LENT.with_borrow(Clone::clone) {
            return Ok(Self(Arc::new(Driver::Lent(lent))));
        }
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name(name).enable_all().build();
        let runtime = runtime.map_err(|e| {
            Error::new(ErrorKind::Other, format!("the thread {name} cannot start")).because(e)
        })?;
        runtime.spawn(async {
            loop {
                tokio::time::sleep(TICK).await;
            }
        });
        Ok(Self(Arc::new(Driver::Own(Some(runtime)))))
    }

    fn handle(&self) -> &Handle {
        match &*self.0 {
            Driver::Own(runtime) => runtime.as_ref().expect("only a drop takes it").handle(),
            Driver::Lent(runtime) => runtime,
        }
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

    /// Drives a future that nobody waits for, until it is done, or its own thread ends with the last clone.
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    /// The thread that drives what is spawned.
    fn driven_by(reactor: &Reactor) -> String {
        let (told, tells) = mpsc::channel();
        reactor.spawn(async move { told.send(thread::current().name().unwrap().to_owned()).unwrap() });
        tells.recv().unwrap()
    }

    #[test]
    fn a_runtime_is_lent_to_what_is_opened_meanwhile() {
        let runtime =
            Builder::new_multi_thread().worker_threads(1).thread_name("lent").enable_all().build().unwrap();
        let lent = lend(runtime.handle().clone(), || {
            let elsewhere = thread::spawn(|| driven_by(&Reactor::start("elsewhere").unwrap()));
            assert_eq!(elsewhere.join().unwrap(), "elsewhere");
            Reactor::start("own").unwrap()
        });
        assert_eq!(driven_by(&lent), "lent");
        let failed = thread::spawn(move || {
            let opened = std::panic::catch_unwind(|| lend(runtime.handle().clone(), || panic!("not opened")));
            assert!(opened.is_err());
            driven_by(&Reactor::start("own").unwrap())
        });
        assert_eq!(failed.join().unwrap(), "own");
    }
}
