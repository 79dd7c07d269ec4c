//! A run while it runs: it starts what the schedule lets start, and tells the schedule how that ended.
//!
//! One future owns the schedule, and each try is a task of the runtime that tells it how it ended. A
//! finished task costs one step for each task behind it; nothing polls.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use excom_core::attempt::Attempt;
use excom_core::{Caller, Engine, RunState, TaskInstanceKey, TaskState, UNMAPPED};
use jiff::{SignedDuration, Timestamp};
use tokio::task::{JoinError, JoinSet};

use super::attempt::{self, Ended, Try};
use super::expansion::{Expansion, sibling};
use super::isolation::Isolation;
use super::past::Past;
use super::report::{TaskReport, finish_reports};
use super::schedule::{Instance, Length, Schedule, Target};
use super::{Event, Reporter};
use crate::dag::{Graph, Task};
use crate::instance::{Resumed, RunFacts, TaskFacts};
use crate::outcome::Failure;
use crate::sequence::Unresolved;

/// How many states are written together.
const STATES: usize = 1000;

/// What all tries of a run share.
pub(super) struct Shared {
    pub(super) engine: Engine,
    pub(super) graph: Graph,
    /// A task instance of the run, of which others are made.
    pub(super) any: TaskInstanceKey,
    pub(super) run: Arc<RunFacts>,
    pub(super) logs: Option<Arc<Path>>,
    pub(super) reporter: Option<Arc<dyn Reporter>>,
    pub(super) max_map_length: u32,
    pub(super) isolation: Option<Arc<dyn Isolation>>,
    /// What each task is, for templates.
    pub(super) facts: Vec<Arc<TaskFacts>>,
}

impl Shared {
    pub(super) fn report(&self, event: &Event<'_>) {
        if let Some(reporter) = &self.reporter {
            reporter.report(event);
        }
    }

    pub(super) fn task(&self, instance: Instance) -> &Task {
        &self.graph.tasks()[instance.task as usize]
    }

    pub(super) fn key(&self, instance: Instance) -> TaskInstanceKey {
        sibling(&self.any, self.task(instance).shared_id().clone(), instance.map_index)
    }
}

/// What the schedule hears.
enum Heard {
    /// A try ended.
    Ended(Instance, Box<Ended>),
    /// The wait before another try, or another look of the same one, is over.
    Rested(Instance, Option<Attempt>),
    /// A length was found out.
    Expanded(Target, Result<Arc<Expansion>, Unresolved>),
}

/// The tries of a task instance that is not done.
#[derive(Debug, Default)]
struct Tries {
    /// How the last one is labelled, from 1.
    number: u32,
    /// How many failed, of those that count against its retries.
    failed: u32,
    /// The attempt that goes on, and how it came to that.
    resumed: Option<(Attempt, Resumed)>,
    /// When the last one started, and how often it has let its place go since.
    started: Option<(Timestamp, u32)>,
}

/// A run while it runs.
pub(super) struct Execution {
    shared: Arc<Shared>,
    parallelism: usize,
    schedule: Schedule,
    past: Past,
    running: usize,
    tries: HashMap<Instance, Tries>,
    expansions: HashMap<Target, Arc<Expansion>>,
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
    pub(super) fn new(shared: Arc<Shared>, parallelism: usize, mut past: Past) -> Self {
        let warnings = past.take_warnings();
        Self {
            parallelism,
            schedule: Schedule::new(shared.graph.clone()),
            past,
            running: 0,
            tries: HashMap::new(),
            expansions: HashMap::new(),
            reports: shared.graph.tasks().iter().map(TaskReport::new).collect(),
            pending: JoinSet::new(),
            untold: Vec::new(),
            warnings,
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
        // Tries that run hear of the cancellation by themselves, and end.
        while let Some(heard) = self.pending.join_next().await {
            self.hear(heard);
        }
        self.note_decided();
        self.tell().await;
        let over = self.schedule.is_over();
        if !over && !cancellation.is_cancelled() {
            self.warnings.push("the runner lost a task, so those behind it did not run".to_owned());
        }
        finish_reports(&mut self.reports, &self.schedule, cancellation.is_cancelled());
        let state = match (over, cancellation.is_cancelled()) {
            (false, true) => RunState::Cancelled,
            (true, _) if !self.schedule.failed() => RunState::Success,
            _ => RunState::Failed,
        };
        RunEnded { state, tasks: self.reports, warnings: self.warnings }
    }

    /// Starts what may start, and finds out lengths that are asked for.
    fn start_ready(&mut self) {
        loop {
            while let Some(target) = self.schedule.next_expansion() {
                self.expand(target);
            }
            while self.running < self.parallelism
                && let Some(instance) = self.schedule.next_ready()
            {
                self.start(instance);
            }
            self.note_decided();
            // What was done in an earlier run makes more ready at once.
            if !self.past.take_news() {
                return;
            }
        }
    }

    fn start(&mut self, instance: Instance) {
        if let Some((state, skips)) = self.past.done(instance) {
            let task = self.shared.task(instance);
            let (task_id, map_index) = (task.shared_id(), instance.map_index);
            self.shared.report(&Event::TaskKept { task_id, map_index, state });
            self.reports[instance.task as usize].kept += 1;
            self.schedule.rests(instance);
            return self.schedule.ended(instance, state, &skips);
        }
        let past = &self.past;
        let tries = self.tries.entry(instance).or_insert_with(|| {
            let (number, failed) = past.tries(instance);
            Tries { number, failed, ..Tries::default() }
        });
        let resumed = tries.resumed.take();
        if resumed.is_none() {
            tries.number += 1;
            tries.started = Some((self.shared.engine.clock().now(), 0));
        }
        let task = self.shared.task(instance);
        let target = match task.group {
            Some(group) => Target::Group(group),
            None => Target::Task(instance.task),
        };
        let order = Try {
            instance,
            try_number: tries.number,
            last: tries.failed >= task.settings().retries,
            resumed,
            expansion: self.expansions.get(&target).cloned(),
        };
        self.reports[instance.task as usize].started(tries.number);
        self.running += 1;
        let shared = self.shared.clone();
        self.pending.spawn(async move {
            let ended = attempt::run(&shared, order).await;
            Heard::Ended(instance, Box::new(ended))
        });
    }

    fn expand(&mut self, target: Target) {
        let (shared, lengths) = (self.shared.clone(), self.past.lengths(&self.shared.graph, target));
        self.pending.spawn(async move {
            let channel = shared.engine.channel(Caller::System("runner"));
            let (graph, params) = (&shared.graph, &shared.run.params);
            let expansion =
                Expansion::resolve(graph, target, &shared.any, params, &channel, shared.max_map_length).await;
            let known = match expansion {
                Ok(expansion) => note_instances(&shared, target, &expansion, &lengths)
                    .await
                    .map(|()| Arc::new(expansion))
                    .map_err(Unresolved::Failed),
                Err(unresolved) => Err(unresolved),
            };
            Heard::Expanded(target, known)
        });
    }

    fn hear(&mut self, heard: Result<Heard, JoinError>) {
        match heard {
            Ok(Heard::Rested(..)) if self.shared.run.cancellation.is_cancelled() => {}
            Ok(Heard::Rested(instance, resumed)) => {
                let now = self.shared.engine.clock().now();
                let tries = self.tries.entry(instance).or_default();
                let (started, times) = tries.started.get_or_insert((now, 0));
                tries.resumed = resumed.map(|attempt| {
                    *times += 1;
                    let after = Duration::try_from(now.duration_since(*started)).unwrap_or_default();
                    (attempt, Resumed { times: *times, after })
                });
                self.schedule.again(instance);
            }
            Ok(Heard::Ended(instance, ended)) => {
                self.running -= 1;
                self.schedule.rests(instance);
                self.ended(instance, *ended);
            }
            Ok(Heard::Expanded(target, expansion)) => self.expanded(target, expansion),
            // Bodies are caught when they panic, so this is the runner's own fault.
            Err(error) => {
                self.running = self.running.saturating_sub(1);
                self.warnings.push(format!("the runner lost a task: {error}"));
            }
        }
    }

    fn expanded(&mut self, target: Target, expansion: Result<Arc<Expansion>, Unresolved>) {
        let first = match target {
            Target::Task(task) => task,
            Target::Group(group) => match self.shared.graph.groups()[group as usize].tasks.first() {
                Some(task) => *task,
                None => return,
            },
        };
        let length = match expansion {
            Ok(expansion) => {
                let length = expansion.len();
                let tasks = match target {
                    Target::Task(task) => vec![task],
                    Target::Group(group) => self.shared.graph.groups()[group as usize].tasks.clone(),
                };
                for task in tasks {
                    let task_id = self.shared.graph.tasks()[task as usize].shared_id();
                    self.shared.report(&Event::TaskExpanded { task_id, instances: length });
                }
                self.expansions.insert(target, expansion);
                Length::Known(length)
            }
            Err(Unresolved::Missing(error)) => {
                self.reports[first as usize].failure = Some(Failure::of(&error));
                Length::Missing
            }
            Err(Unresolved::Failed(error)) => {
                self.reports[first as usize].failure = Some(Failure::of(&error));
                Length::Failed
            }
        };
        self.schedule.expanded(target, length);
        self.note_decided();
    }

    fn ended(&mut self, instance: Instance, mut ended: Ended) {
        let (state, again) = (ended.state, ended.again.take());
        self.warnings.append(&mut ended.warnings);
        let settings = *self.shared.task(instance).settings();
        let tries = self.tries.entry(instance).or_default();
        let (number, failed) = (tries.number, tries.failed);
        let task_id = self.shared.task(instance).shared_id();
        let wait = match (state, again) {
            (TaskState::UpForReschedule, Some((delay, attempt))) => (delay, Some(attempt)),
            (TaskState::UpForRetry, _) => {
                tries.failed += 1;
                let delay = settings.delay_after(tries.failed, self.shared.engine.clock().random());
                let no_failure = Failure::because("");
                self.shared.report(&Event::TaskRetry {
                    task_id,
                    map_index: instance.map_index,
                    try_number: number,
                    tries: number - failed + settings.retries,
                    failure: ended.failure.as_ref().unwrap_or(&no_failure),
                    duration: ended.duration,
                    delay: SignedDuration::try_from(delay).unwrap_or(SignedDuration::MAX),
                    log: ended.log.as_deref(),
                });
                self.reports[instance.task as usize].ended(instance.map_index, ended);
                (delay, None)
            }
            // It was interrupted; only another run of it goes on.
            (TaskState::Scheduled, _) => return self.finished(instance, number, ended),
            _ => {
                self.tries.remove(&instance);
                let skips = ended.skips.clone();
                self.finished(instance, number, ended);
                self.schedule.ended(instance, state, &skips);
                return self.note_decided();
            }
        };
        let shared = self.shared.clone();
        self.pending.spawn(async move {
            tokio::select! {
                () = shared.engine.clock().sleep(wait.0) => (),
                () = shared.run.cancellation.cancelled() => (),
            }
            Heard::Rested(instance, wait.1)
        });
    }

    /// A task instance is done, or was interrupted.
    fn finished(&mut self, instance: Instance, try_number: u32, ended: Ended) {
        let task = self.shared.task(instance);
        self.shared.report(&Event::TaskFinished {
            task_id: task.shared_id(),
            map_index: instance.map_index,
            state: ended.state,
            try_number,
            duration: ended.duration,
            pushed: &ended.pushed,
            failure: ended.failure.as_ref(),
            log: ended.log.as_deref(),
        });
        self.reports[instance.task as usize].ended(instance.map_index, ended);
        if self.schedule.counts(instance.task).1 <= 1 {
            self.expansions.remove(&Target::Task(instance.task));
        }
    }

    /// What will not run is reported, and noted for the engine.
    fn note_decided(&mut self) {
        for (instance, state) in self.schedule.take_decided() {
            let key = self.shared.key(instance);
            let failure = self.reports[instance.task as usize].failure.as_ref();
            self.shared.report(&Event::TaskFinished {
                task_id: &key.task_id,
                map_index: instance.map_index,
                state,
                try_number: 0,
                duration: SignedDuration::ZERO,
                pushed: &[],
                failure: failure.filter(|_| instance.map_index == UNMAPPED),
                log: None,
            });
            if self.shared.task(instance).is_mapped() && instance.map_index == UNMAPPED {
                // The instances that an earlier run of it had are no part of this one.
                let had = i32::try_from(self.past.length(instance.task)).unwrap_or(i32::MAX);
                let key = |map_index| self.shared.key(Instance { task: instance.task, map_index });
                self.untold.extend((0..had).map(|map_index| (key(map_index), TaskState::Removed)));
            }
            self.untold.push((key, state));
        }
    }

    /// Tells the engine the states of tasks that will not run.
    async fn tell(&mut self) {
        let states = std::mem::take(&mut self.untold);
        for states in states.chunks(STATES) {
            if let Err(error) = self.shared.engine.set_states(states).await {
                self.warnings.push(format!(
                    "the states of {} tasks that did not run are not written: {error}",
                    states.len()
                ));
            }
        }
    }
}

/// Makes the instances of what was expanded known, so that whoever pulls from one that has not run is told so;
/// those that an earlier run had and this one has not are removed.
async fn note_instances(
    shared: &Shared,
    target: Target,
    expansion: &Expansion,
    before: &[(u32, u32)],
) -> excom_core::Result<()> {
    let tasks = match target {
        Target::Task(task) => vec![task],
        Target::Group(group) => shared.graph.groups()[group as usize].tasks.clone(),
    };
    let length = expansion.len();
    if length == 0 {
        return Ok(());
    }
    let mut states = Vec::new();
    for task in tasks {
        let had = before.iter().find(|(number, _)| *number == task).map_or(0, |(_, had)| *had);
        let key =
            |index: u32| shared.key(Instance { task, map_index: i32::try_from(index).unwrap_or(i32::MAX) });
        // What stood for all of them while they were not known.
        states.push((shared.key(Instance { task, map_index: UNMAPPED }), TaskState::Removed));
        states.extend((had..length).map(|index| (key(index), TaskState::Scheduled)));
        states.extend((length..had).map(|index| (key(index), TaskState::Removed)));
    }
    for states in states.chunks(STATES) {
        shared.engine.set_states(states).await?;
    }
    Ok(())
}
