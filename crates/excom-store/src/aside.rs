//! Where large values are worked on: threads that give way to everything else on the machine.
//!
//! Whoever moves hundreds of megabytes waits for as long as that takes. Beside them are tasks that pull a kilobyte, and
//! they must not stand in line for a processor behind frames that are compressed, sealed, written and read.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use async_task::{Builder, Runnable};
use blocking::{Task, unblock};

/// By how much these threads are nicer than others: they get a tenth of a processor that somebody else wants too.
#[cfg(target_os = "linux")]
const NICER: i32 = 10;

/// The most threads: a disk that hangs holds up as many pieces before it holds up values elsewhere.
const THREADS: usize = 256;

/// How long a thread waits for more to do before it ends.
const IDLE: Duration = Duration::from_secs(5);

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
        // As with `unblock`, what panics does so where it is waited for.
        let task = Builder::new().propagate_panic(true);
        let (runnable, task) = task.spawn(|()| async move { work() }, |runnable| NICE.take(runnable));
        runnable.schedule();
        task
    }
}

/// The threads of this process, which `blocking` has no way to make nicer.
static NICE: Pool = Pool { waiting: Mutex::new(Waiting::new()), more: Condvar::new() };

struct Pool {
    waiting: Mutex<Waiting>,
    more: Condvar,
}

struct Waiting {
    work: VecDeque<Runnable>,
    threads: usize,
    idle: usize,
}

impl Waiting {
    const fn new() -> Self {
        Self { work: VecDeque::new(), threads: 0, idle: 0 }
    }
}

impl Pool {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes work, for a thread that is idle, or one more.
    fn take(&'static self, runnable: Runnable) {
        let mut waiting = self.waiting();
        waiting.work.push_back(runnable);
        if waiting.idle >= waiting.work.len() {
            self.more.notify_one();
            return;
        }
        if waiting.threads == THREADS {
            return;
        }
        waiting.threads += 1;
        drop(waiting);
        let thread = thread::Builder::new().name("excom-aside".to_owned());
        if thread.spawn(|| self.serve()).is_err() {
            let mut waiting = self.waiting();
            waiting.threads -= 1;
            // Those that there are do it; with none it does not give way.
            if waiting.threads == 0 {
                waiting.work.drain(..).for_each(|runnable| unblock(|| runnable.run()).detach());
            }
        }
    }

    fn serve(&self) {
        give_way();
        let mut waiting = self.waiting();
        loop {
            if let Some(runnable) = waiting.work.pop_front() {
                drop(waiting);
                runnable.run();
                waiting = self.waiting();
                continue;
            }
            waiting.idle += 1;
            let (again, waited) =
                self.more.wait_timeout(waiting, IDLE).unwrap_or_else(PoisonError::into_inner);
            waiting = again;
            waiting.idle -= 1;
            if waited.timed_out() && waiting.work.is_empty() {
                waiting.threads -= 1;
                return;
            }
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

    /// What hangs holds up nothing behind it.
    #[test]
    fn there_are_threads_for_more() {
        let mut aside = Aside::default();
        pollster::block_on(aside.run(|| ()));
        let (ends, hangs) = std::sync::mpsc::channel::<()>();
        let hangs = std::sync::Arc::new(Mutex::new(hangs));
        let mut hang = || {
            let hangs = hangs.clone();
            aside.run(move || hangs.lock().unwrap_or_else(PoisonError::into_inner).recv().is_err())
        };
        let hanging: Vec<_> = (0..20).map(|_| hang()).collect();
        assert_eq!(pollster::block_on(aside.run(|| 7)), 7);
        drop(ends);
        assert!(hanging.into_iter().all(pollster::block_on));
    }

    #[test]
    fn a_panic_is_told_to_who_waits_and_ends_no_thread() {
        let mut aside = Aside::default();
        pollster::block_on(aside.run(|| ()));
        for _ in 0..20 {
            let task = aside.run(|| panic!("as it should"));
            let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pollster::block_on(task)));
            assert!(told.is_err());
        }
        assert_eq!(pollster::block_on(aside.run(|| 7)), 7);
    }
}
