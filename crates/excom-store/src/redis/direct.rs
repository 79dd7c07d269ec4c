//! A connection on which whoever sends a command writes it.
//!
//! The client leaves its socket to a future, the driver, and hands commands to it through a queue. As a task of the
//! reactor that would cost a change of threads before a command is even on its way. So who queues a command polls the
//! driver too; the reactor's thread does so when an answer came and nobody else is at it.
//!
//! A thread that sleeps takes longer to wake than a server beside it takes to answer. So who is alone, and was answered
//! fast before, looks again for a moment before it sleeps, behind whatever else it had to do.

use std::future::{Future, poll_fn};
use std::hint::spin_loop;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisResult};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

/// Connects without TLS. Within the reactor only.
pub(super) async fn connect(
    host: &str,
    port: u16,
    login: &RedisConnectionInfo,
    config: AsyncConnectionConfig,
) -> RedisResult<(MultiplexedConnection, Arc<Driven>)> {
    let socket = TcpStream::connect((host, port)).await?;
    socket.set_nodelay(true)?;
    let (connection, driver) = MultiplexedConnection::new_with_config(login, socket, config).await?;
    let driver = Arc::new(Driver {
        future: Mutex::new(Some(Box::pin(driver))),
        state: AtomicU8::new(IDLE),
        task: AtomicWaker::new(),
    });
    let task = Arc::clone(&driver);
    let task = tokio::spawn(poll_fn(move |context| {
        task.task.register(context.waker());
        drop(task.turn());
        if task.future().is_some() { Poll::Pending } else { Poll::Ready(()) }
    }));
    let (task, callers, fast) = (task.abort_handle(), AtomicUsize::new(0), AtomicBool::new(false));
    Ok((connection, Arc::new(Driven { driver, task, callers, fast })))
}

/// For how long an answer is looked for before its caller sleeps.
const LOOK: Duration = Duration::from_micros(100);

/// How fast an answer came behind which the next is looked for: that long, and what waking takes.
const FAST: Duration = Duration::from_micros(250);

/// A driver with its task. The connection ends with the last clone.
pub(super) struct Driven {
    driver: Arc<Driver>,
    task: AbortHandle,
    callers: AtomicUsize,
    /// Whether the last answer came fast.
    fast: AtomicBool,
}

/// One who waits for an answer.
struct Caller<'a>(&'a Driven);

impl<'a> Caller<'a> {
    fn come(driven: &'a Driven) -> Self {
        driven.callers.fetch_add(1, Ordering::Relaxed);
        Self(driven)
    }

    fn may_look(&self) -> bool {
        self.0.fast.load(Ordering::Relaxed) && self.0.callers.load(Ordering::Relaxed) == 1
    }
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        self.0.callers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How far a command is.
enum Step {
    New,
    /// On its way. What its caller does beside is done before the answer is looked for.
    Sent,
    Asleep,
}

impl Driven {
    /// Awaits what queues a command, and lets the driver send it at once.
    pub(super) async fn run<F: Future>(&self, command: F) -> F::Output {
        let mut command = pin!(command);
        let (caller, begun) = (Caller::come(self), Instant::now());
        let mut step = Step::New;
        let answer = poll_fn(|context| match step {
            Step::New => {
                let _turn = self.driver.turn();
                let polled = command.as_mut().poll(context);
                step = if caller.may_look() { Step::Sent } else { Step::Asleep };
                if polled.is_pending() && matches!(step, Step::Sent) {
                    context.waker().wake_by_ref();
                }
                polled
            }
            Step::Sent => {
                step = Step::Asleep;
                let begun = Instant::now();
                loop {
                    let polled = command.as_mut().poll(context);
                    if polled.is_ready() || begun.elapsed() >= LOOK {
                        return polled;
                    }
                    spin_loop();
                }
            }
            Step::Asleep => command.as_mut().poll(context),
        })
        .await;
        self.fast.store(begun.elapsed() < FAST, Ordering::Relaxed);
        answer
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.task.abort();
        // The wakers within it hold the driver.
        let future = self.driver.future().take();
        drop(future);
    }
}

/// Nobody polls the driver.
const IDLE: u8 = 0;
/// Somebody does.
const BUSY: u8 = 1;
/// Somebody does, and there is more to do since.
const AGAIN: u8 = 2;

/// How often who sends polls the driver for what others have queued meanwhile.
const ROUNDS: usize = 4;

struct Driver {
    future: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
    state: AtomicU8,
    /// The reactor's task.
    task: AtomicWaker,
}

impl Driver {
    /// From now on what wakes the driver is left to this thread, until the turn ends; none when another has it.
    fn turn(self: &Arc<Self>) -> Option<Turn<'_>> {
        loop {
            match self.state.compare_exchange(IDLE, BUSY, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(Turn(self)),
                Err(_) if self.ask_again() => return None,
                Err(_) => {}
            }
        }
    }

    /// Asks who polls to do so once more; false when nobody does.
    fn ask_again(&self) -> bool {
        let asked = |state| (state != IDLE).then_some(AGAIN);
        self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, asked).is_ok()
    }

    fn future(&self) -> std::sync::MutexGuard<'_, Option<Pin<Box<dyn Future<Output = ()> + Send>>>> {
        self.future.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Driver {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.ask_again() {
            self.task.wake();
        }
    }
}

/// The turn to poll the driver, which is done at its end.
struct Turn<'a>(&'a Arc<Driver>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let Self(driver) = self;
        let waker = Waker::from(Arc::clone(driver));
        for _ in 0..ROUNDS {
            driver.state.store(BUSY, Ordering::Release);
            let mut future = driver.future();
            let ended = future
                .as_mut()
                .is_some_and(|future| future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
            if ended {
                *future = None;
            }
            drop(future);
            if ended {
                driver.task.wake();
            }
            if driver.state.compare_exchange(BUSY, IDLE, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return;
            }
        }
        driver.state.store(IDLE, Ordering::Release);
        driver.task.wake();
    }
}
