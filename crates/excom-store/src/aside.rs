//! Where large values are worked on: threads that give way to everything else on the machine.
//!
//! Whoever moves hundreds of megabytes waits for as long as that takes. Beside them are tasks that pull a kilobyte, and
//! they must not stand in line for a processor behind frames that are compressed, sealed, written and read.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread;

use async_task::{Builder, Runnable};
use blocking::{Task, unblock};

/// By how much these threads are nicer than others: they get a tenth of a processor that somebody else wants too.
#[cfg(target_os = "linux")]
const NICER: i32 = 10;

/// The least number of threads, because some of them wait for a disk.
const THREADS: usize = 4;

/// Work on the pieces of one value, in whatever order its threads find the time. The first piece is all of most values,
/// so it is worked on without giving way; who has more is large.
#[derive(Debug, Default)]
pub(crate) struct Aside {
    is_large: bool,
}

impl Aside {
    /// Works on the next piece. It is not begun when the task is dropped before.
    pub(crate) fn run<T: Send + 'static>(&mut self, work: impl FnOnce() -> T + Send + 'static) -> Task<T> {
        if !std::mem::replace(&mut self.is_large, true) {
            return unblock(work);
        }
        static QUEUE: LazyLock<Sender<Runnable>> = LazyLock::new(start);
        let later = |runnable| {
            // The threads never end; one that cannot be handed over is dropped, and so cancelled.
            drop(QUEUE.send(runnable));
        };
        // As with `unblock`, what panics does so where it is waited for.
        let (runnable, task) = Builder::new().propagate_panic(true).spawn(|()| async move { work() }, later);
        runnable.schedule();
        task
    }
}

/// Starts the threads, and tells where they take their work from.
fn start() -> Sender<Runnable> {
    let (queue, work) = channel();
    let work = Arc::new(Mutex::new(work));
    let count = thread::available_parallelism().map_or(0, usize::from).max(THREADS);
    for number in 1..=count {
        let work = Arc::clone(&work);
        let thread = thread::Builder::new().name(format!("excom-aside-{number}"));
        // With fewer it takes longer; with none, tasks are cancelled when the queue goes with its last receiver.
        drop(thread.spawn(move || serve(&work)));
    }
    queue
}

fn serve(work: &Mutex<Receiver<Runnable>>) {
    give_way();
    loop {
        // One waits for the queue, the others for the lock.
        let next = work.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match next {
            Ok(runnable) => drop(runnable.run()),
            Err(_) => return,
        }
    }
}

/// On Linux priorities are threads' own; elsewhere this one stays as it is.
fn give_way() {
    #[cfg(target_os = "linux")]
    if let Ok(now) = rustix::process::getpriority_process(None) {
        // Where that is forbidden nothing is lost but the order.
        let _ = rustix::process::setpriority_process(None, (now + NICER).min(19));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_behind_the_first_piece_gives_way() {
        let mut aside = Aside::default();
        let name = || thread::current().name().unwrap_or_default().to_owned();
        let first = pollster::block_on(aside.run(name));
        let second = pollster::block_on(aside.run(name));
        assert!(!first.starts_with("excom-aside") && second.starts_with("excom-aside"), "{first} {second}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn its_threads_are_nicer_than_who_asks() {
        let mut aside = Aside::default();
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        let first = pollster::block_on(aside.run(niceness));
        assert_eq!(pollster::block_on(aside.run(niceness)), (first + NICER).min(19));
    }

    #[test]
    fn a_panic_is_told_to_who_waits_and_ends_no_thread() {
        let mut aside = Aside::default();
        pollster::block_on(aside.run(|| ()));
        for _ in 0..2 * THREADS {
            let task = aside.run(|| panic!("as it should"));
            let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pollster::block_on(task)));
            assert!(told.is_err());
        }
        assert_eq!(pollster::block_on(aside.run(|| 7)), 7);
    }
}
