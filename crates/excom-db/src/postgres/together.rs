//! Callers that ask for the same at the same time share a statement: one round trip, and one transaction, for all.
//!
//! Lanes take turns: each takes all that waits, asks for it, and takes what came meanwhile. So nobody waits long for
//! company, and whoever is the only one asks alone. What is shared is asked once: a caller that gets no answer asks
//! alone, so what concerns one of them (a refusal, a lock that is held, a text that the server does not take, a panic) is told
//! to it and holds up no other.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use excom_reactor::Reactor;
use futures_util::future::{Either, FutureExt as _, select};
use tokio::sync::{Mutex, Notify, mpsc, oneshot};
use tokio::time::sleep;

/// How many callers share a statement at most.
const MOST: usize = 64;

/// How long a lane waits for what others have under way: a few statements, but not one that hangs.
const PATIENCE: Duration = Duration::from_millis(10);

/// Callers with questions that can be asked together.
pub(super) struct Together<Q, A> {
    here: AtomicUsize,
    questions: mpsc::UnboundedSender<(Q, oneshot::Sender<A>)>,
}

/// What lanes have asked and not been answered.
#[derive(Default)]
struct UnderWay {
    questions: AtomicUsize,
    fewer: Notify,
}

impl UnderWay {
    /// Waits until as many are taken as are under way, or fewer are. So lanes share what comes evenly, where otherwise the first
    /// that is free would go with the first that comes, and pay for a transaction as others do for many. What hangs
    /// elsewhere holds up nobody: patience ends.
    async fn as_many<T>(&self, waiting: &mut mpsc::UnboundedReceiver<T>, taken: &mut Vec<T>) {
        let mut fewer = pin!(self.fewer.notified());
        fewer.as_mut().enable();
        let patience = pin!(sleep(PATIENCE));
        let mut over = select(fewer, patience);
        while taken.len() < self.questions.load(Ordering::Relaxed).min(MOST) {
            let room = MOST - taken.len();
            match select(pin!(waiting.recv_many(taken, room)), &mut over).await {
                Either::Left((1.., _)) => {}
                _ => return,
            }
        }
    }

    /// So many are under way, until what this returns is dropped.
    fn ask(&self, count: usize) -> impl Drop + use<'_> {
        struct Asked<'a>(&'a UnderWay, usize);
        impl Drop for Asked<'_> {
            fn drop(&mut self) {
                self.0.questions.fetch_sub(self.1, Ordering::Relaxed);
                self.0.fewer.notify_waiters();
            }
        }
        self.questions.fetch_add(count, Ordering::Relaxed);
        Asked(self, count)
    }
}

/// A caller, until it has its answer.
pub(super) struct Here<'a, Q, A> {
    together: &'a Together<Q, A>,
    alone: bool,
}

impl<Q: Send + 'static, A: Send + 'static> Together<Q, A> {
    /// Starts so many lanes. `ask` answers questions in their order.
    pub(super) fn start<F>(
        reactor: &Reactor,
        lanes: usize,
        ask: impl Fn(Vec<Q>) -> F + Clone + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Vec<A>> + Send,
    {
        let (questions, waiting) = mpsc::unbounded_channel::<(Q, oneshot::Sender<A>)>();
        let waiting = Arc::new(Mutex::new(waiting));
        let others = Arc::new(UnderWay::default());
        for _ in 0..lanes {
            let (waiting, ask) = (waiting.clone(), ask.clone());
            let others = others.clone();
            reactor.spawn(async move {
                let mut taken = Vec::new();
                loop {
                    let mut waiting = waiting.lock().await;
                    if waiting.recv_many(&mut taken, MOST).await == 0 {
                        break;
                    }
                    others.as_many(&mut waiting, &mut taken).await;
                    drop(waiting);
                    let (questions, callers): (Vec<_>, Vec<_>) = taken.drain(..).unzip();
                    let asked = others.ask(questions.len());
                    // Nothing of a question that panics is left, and nobody would take the place of a lane that ends.
                    let answers = AssertUnwindSafe(ask(questions)).catch_unwind().await;
                    drop(asked);
                    let Ok(answers) = answers else { continue };
                    for (answer, caller) in answers.into_iter().zip(callers) {
                        // A caller that gave up needs none.
                        drop(caller.send(answer));
                    }
                }
            });
        }
        Self { here: AtomicUsize::new(0), questions }
    }

    /// A caller comes.
    pub(super) fn enter(&self) -> Here<'_, Q, A> {
        Here { together: self, alone: self.here.fetch_add(1, Ordering::Relaxed) == 0 }
    }
}

impl<Q, A> Here<'_, Q, A> {
    /// Whether no other caller is here.
    pub(super) fn is_alone(&self) -> bool {
        self.alone
    }

    /// Asks with others; no answer when that panicked, or the lane has ended under way.
    pub(super) async fn ask(&self, question: Q) -> Option<A> {
        let (caller, answer) = oneshot::channel();
        self.together.questions.send((question, caller)).ok()?;
        answer.await.ok()
    }
}

impl<Q, A> Drop for Here<'_, Q, A> {
    fn drop(&mut self) {
        self.together.here.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use pollster::block_on;

    use super::*;

    #[test]
    fn a_panic_ends_no_lane_and_leaves_nobody_waiting() {
        let reactor = Reactor::start("together").unwrap();
        let doubled = |questions: Vec<u32>| async move {
            assert!(!questions.contains(&7), "7 panics");
            questions.into_iter().map(|question| question * 2).collect()
        };
        let together = Together::start(&reactor, 2, doubled);
        let ask = |question| {
            let here = together.enter();
            async move { here.ask(question).await }
        };
        // More often than there are lanes.
        for _ in 0..5 {
            assert_eq!(block_on(ask(7)), None);
            assert_eq!(block_on(ask(2)), Some(4));
        }
        // Who shared the question has no answer either, and asks alone.
        let told = block_on(join_all([1, 7, 3].map(ask)));
        assert!(told[1].is_none() && told.iter().flatten().all(|told| [2, 6].contains(told)), "{told:?}");
        assert_eq!(block_on(join_all([1, 2, 3].map(ask))), [Some(2), Some(4), Some(6)]);
    }
}
