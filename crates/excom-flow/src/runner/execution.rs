//! The schedule of a run: which task may start, and what one that ended means for others.
//!
//! One future owns the schedule, and each try is a task of the runtime that tells it how it ended. A
//! finished task costs one step for each task behind it; nothing polls.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use excom_core::{Engine, TaskInstanceKey, TaskState};
use jiff::SignedDuration;
use tokio::task::JoinSet;

use super::attempt::{self, Ended};
use super::{Event, Reporter, RunState, TaskReport};
use crate::dag::Task;
use crate::instance::RunFacts;
use crate::outcome::Failure;

/// What all tries of a run share.
pub(super) struct Shared {
    pub(super) engine: Engine,
    pub(super) tasks: Arc<[Task]>,
    pub(super) keys: Vec<TaskInstanceKey>,
    pub(super) run: Arc<RunFacts>,
    pub(super) logs: Option<Arc<Path>>,
    pub(super) reporter: Option<Arc<dyn Reporter>>,
}

impl Shared {
    pub(super) fn report(&self, event: &Event<'_>) {
        if let Some(reporter) = &self.reporter {
            reporter.report(event);
        }
    }
}

/// What the schedule hears.
enum Heard {
    /// A try ended.
    Ended(u32, Ended),
    /// The wait before another try is over.
    Rested(u32),
}

/// A run while it runs.
pub(super) struct Execution {
    shared: Arc<Shared>,
    parallelism: usize,
    /// How many tasks each still waits for.
    waits: Vec<u32>,
    /// What the worst of them means for it: that it is skipped, or failed before it began.
    spoiled: Vec<Option<TaskState>>,
    ready: VecDeque<u32>,
    running: usize,
    reports: Vec<TaskReport>,
    pending: JoinSet<Heard>,
    /// States of tasks that will not run, not yet told to the engine.
    untold: Vec<(TaskInstanceKey, TaskState)>,
    warnings: Vec<String>,
}

/// How a run ended.
pub(super) struct RunEnded {
    pub(super) state: RunState,
    pub(super) tasks: Vec<TaskReport>,
    pub(super) warnings: Vec<String>,
}

impl Execution {
    pub(super) fn new(shared: Arc<Shared>, parallelism: usize) -> Self {
        let tasks = &shared.tasks;
        let report = |task: &Task| TaskReport {
            task_id: task.shared_id().clone(),
            state: TaskState::Scheduled,
            tries: 0,
            duration: SignedDuration::ZERO,
            pushed: Vec::new(),
            failure: None,
            log: None,
        };
        Self {
            parallelism,
            waits: tasks.iter().map(|task| u32::try_from(task.upstream.len()).unwrap_or(u32::MAX)).collect(),
            spoiled: vec![None; tasks.len()],
            ready: (0..)
                .zip(tasks.iter())
                .filter(|(_, task)| task.upstream.is_empty())
                .map(|(i, _)| i)
                .collect(),
            running: 0,
            reports: tasks.iter().map(report).collect(),
            pending: JoinSet::new(),
            untold: Vec::new(),
            warnings: Vec::new(),
            shared,
        }
    }

    pub(super) async fn run(mut self) -> RunEnded {
        let cancellation = self.shared.run.cancellation.clone();
        while !cancellation.is_cancelled() {
            self.start_ready();
            self.tell().await;
            let heard = tokio::select! {
                biased;
                () = cancellation.cancelled() => break,
                heard = self.pending.join_next() => heard,
            };
            match heard {
                Some(heard) => self.hear(heard),
                None => break,
            }
        }
        let cancelled =
            cancellation.is_cancelled() && self.reports.iter().any(|report| !report.state.is_finished());
        // Tries that run hear of the cancellation by themselves, and end.
        while let Some(heard) = self.pending.join_next().await {
            self.hear(heard);
        }
        for index in (0..).take(self.reports.len()) {
            let state = self.reports[index as usize].state;
            if state.is_finished() {
                continue;
            }
            // Without a cancellation, the only way to be unfinished here is a fault of the runner's own.
            let (ended, why) = match (cancellation.is_cancelled(), state) {
                (true, _) => (TaskState::Skipped, "the run was cancelled before it started"),
                (false, TaskState::Running) => (TaskState::Failed, "the runner lost it; see the warnings"),
                (false, _) => (TaskState::UpstreamFailed, "the runner lost a task before it"),
            };
            self.will_not_run(index, ended, Some(why));
        }
        self.tell().await;
        let failed = self
            .reports
            .iter()
            .any(|task| matches!(task.state, TaskState::Failed | TaskState::UpstreamFailed));
        let state = match (cancelled, failed) {
            (true, _) => RunState::Cancelled,
            (false, true) => RunState::Failed,
            (false, false) => RunState::Success,
        };
        RunEnded { state, tasks: self.reports, warnings: self.warnings }
    }

    fn start_ready(&mut self) {
        while self.running < self.parallelism
            && let Some(index) = self.ready.pop_front()
        {
            let report = &mut self.reports[index as usize];
            report.tries += 1;
            report.state = TaskState::Running;
            self.running += 1;
            let (shared, try_number) = (self.shared.clone(), report.tries);
            self.pending.spawn(async move {
                let ended = attempt::run(&shared, index as usize, try_number).await;
                Heard::Ended(index, ended)
            });
        }
    }

    fn hear(&mut self, heard: Result<Heard, tokio::task::JoinError>) {
        match heard {
            Ok(Heard::Rested(index)) if self.shared.run.cancellation.is_cancelled() => {
                // Its last try failed, and there will be no other.
                let key = self.shared.keys[index as usize].clone();
                self.untold.push((key, TaskState::Failed));
                self.finish(index, TaskState::Failed);
            }
            Ok(Heard::Rested(index)) => self.ready.push_back(index),
            Ok(Heard::Ended(index, ended)) => {
                self.running -= 1;
                self.ended(index, ended);
            }
            // Bodies are caught when they panic, so this is the runner's own fault.
            Err(error) => {
                self.running = self.running.saturating_sub(1);
                self.warnings.push(format!("the runner lost a task: {error}"));
            }
        }
    }

    fn ended(&mut self, index: u32, ended: Ended) {
        let report = &mut self.reports[index as usize];
        report.duration = ended.duration;
        report.pushed = ended.pushed;
        report.failure = ended.failure;
        report.log = ended.log;
        report.state = ended.state;
        self.warnings.extend(ended.warnings);
        if ended.state != TaskState::UpForRetry {
            return self.finish(index, ended.state);
        }
        let settings = *self.shared.tasks[index as usize].settings();
        let no_failure = Failure { message: String::new(), hints: Vec::new() };
        self.shared.report(&Event::TaskRetry {
            task_id: &report.task_id,
            try_number: report.tries,
            tries: settings.retries.saturating_add(1),
            failure: report.failure.as_ref().unwrap_or(&no_failure),
            duration: report.duration,
            delay: SignedDuration::try_from(settings.retry_delay).unwrap_or(SignedDuration::MAX),
            log: report.log.as_deref(),
        });
        let shared = self.shared.clone();
        self.pending.spawn(async move {
            tokio::select! {
                () = shared.engine.clock().sleep(settings.retry_delay) => (),
                () = shared.run.cancellation.cancelled() => (),
            }
            Heard::Rested(index)
        });
    }

    /// A task is done; those behind it wait for one less.
    fn finish(&mut self, index: u32, state: TaskState) {
        // A list instead of recursion, because a chain of skipped tasks may be long.
        let mut finished = vec![(index, state)];
        while let Some((index, state)) = finished.pop() {
            let report = &mut self.reports[index as usize];
            report.state = state;
            self.shared.report(&Event::TaskFinished {
                task_id: &report.task_id,
                state,
                try_number: report.tries,
                duration: report.duration,
                pushed: &report.pushed,
                failure: report.failure.as_ref(),
                log: report.log.as_deref(),
            });
            let spoils = match state {
                TaskState::Success => None,
                TaskState::Skipped => Some(TaskState::Skipped),
                _ => Some(TaskState::UpstreamFailed),
            };
            let shared = self.shared.clone();
            for next in &shared.tasks[index as usize].downstream {
                let place = *next as usize;
                let worse = spoils == Some(TaskState::UpstreamFailed) || self.spoiled[place].is_none();
                if let Some(spoils) = spoils.filter(|_| worse) {
                    self.spoiled[place] = Some(spoils);
                }
                self.waits[place] -= 1;
                if self.waits[place] > 0 {
                    continue;
                }
                match self.spoiled[place] {
                    None => self.ready.push_back(*next),
                    Some(state) => {
                        self.untold.push((shared.keys[place].clone(), state));
                        finished.push((*next, state));
                    }
                }
            }
        }
    }

    /// A task will not run although nothing before it says so.
    fn will_not_run(&mut self, index: u32, state: TaskState, why: Option<&str>) {
        let report = &mut self.reports[index as usize];
        report.failure = why.map(|why| Failure { message: why.to_owned(), hints: Vec::new() });
        report.state = state;
        self.untold.push((self.shared.keys[index as usize].clone(), state));
        self.shared.report(&Event::TaskFinished {
            task_id: &report.task_id,
            state,
            try_number: report.tries,
            duration: report.duration,
            pushed: &[],
            failure: report.failure.as_ref(),
            log: None,
        });
    }

    /// Tells the engine the states of tasks that will not run.
    async fn tell(&mut self) {
        if self.untold.is_empty() {
            return;
        }
        let states = std::mem::take(&mut self.untold);
        if let Err(error) = self.shared.engine.set_states(&states).await {
            self.warnings.push(format!(
                "the states of {} tasks that did not run are not written: {error}",
                states.len()
            ));
        }
    }
}
