//! The schedule of a run: which task instances may start, and what one that ended means for others.
//!
//! It knows states and nothing else: no engine, no clock, no runtime. What became of each task instance
//! follows from the graph, the lengths of sequences and how bodies ended, whatever the order of events.

use std::collections::{HashMap, HashSet, VecDeque};

use excom_core::{TaskState, UNMAPPED};

use super::rule::{Counts, Verdict, verdict};
use crate::dag::{Graph, Role, Task, TriggerRule};

/// A task instance: a task by its number, and a map index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Instance {
    pub(crate) task: u32,
    pub(crate) map_index: i32,
}

/// What is expanded: a task, or a mapped group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    Task(u32),
    Group(u32),
}

/// What came of finding out a length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    Known(u32),
    /// What it is made of has no value.
    Missing,
    /// It could not be found out.
    Failed,
}

/// The task instances of a task. `Scheduled` waits, `Queued` may start or has.
#[derive(Debug)]
enum Extent {
    /// Mapped, and not expanded yet.
    Unknown,
    One(TaskState),
    Many(Vec<TaskState>),
}

#[derive(Debug)]
struct Status {
    extent: Extent,
    /// How the instances of tasks before it ended that are not in its mapped group.
    outer: Counts,
    /// How many of these tasks are not done.
    waiting: u32,
    /// Its instances that are not done.
    left: u32,
    /// How its instances ended.
    counts: Counts,
    /// A branch or short-circuit skips all of it.
    forced: bool,
    /// Its length is being found out.
    asked: bool,
    /// How many of its instances run.
    active: u32,
    /// Those that would be over its limit.
    parked: VecDeque<(i32, i32)>,
}

#[derive(Debug)]
struct GroupStatus {
    /// How many of the tasks that its elements come from are not done.
    waiting: u32,
    /// Why it has no elements, so that its tasks cannot run.
    empty: Option<Length>,
}

/// The schedule of a run.
#[derive(Debug)]
pub(crate) struct Schedule {
    graph: Graph,
    tasks: Vec<Status>,
    groups: Vec<GroupStatus>,
    /// For each task, the mapped groups whose elements come from it.
    feeds: HashMap<u32, Vec<u32>>,
    /// Instances that may start: of a task, from an index to before another.
    ready: VecDeque<(u32, i32, i32)>,
    expansions: VecDeque<Target>,
    /// Instances that a branch skips.
    forced: HashSet<Instance>,
    /// Instances that will not run, in the order in which that was found out.
    decided: Vec<(Instance, TaskState)>,
    unfinished: usize,
}

impl Schedule {
    pub(crate) fn new(graph: Graph) -> Self {
        let status = |task: &Task| {
            let outer = task.upstream.iter().filter(|up| !together(&graph, **up, task)).count();
            Status {
                extent: if task.is_mapped() { Extent::Unknown } else { Extent::One(TaskState::Scheduled) },
                outer: Counts::default(),
                waiting: u32::try_from(outer).unwrap_or(u32::MAX),
                left: 1,
                counts: Counts::default(),
                forced: false,
                asked: false,
                active: 0,
                parked: VecDeque::new(),
            }
        };
        let tasks: Vec<Status> = graph.tasks().iter().map(status).collect();
        let mut feeds: HashMap<u32, Vec<u32>> = HashMap::new();
        let mut groups = Vec::new();
        for (number, group) in (0..).zip(graph.groups()) {
            for producer in &group.producers {
                feeds.entry(*producer).or_default().push(number);
            }
            let waiting = u32::try_from(group.producers.len()).unwrap_or(u32::MAX);
            groups.push(GroupStatus { waiting, empty: None });
        }
        let mut schedule = Self {
            unfinished: tasks.len(),
            tasks,
            groups,
            feeds,
            ready: VecDeque::new(),
            expansions: VecDeque::new(),
            forced: HashSet::new(),
            decided: Vec::new(),
            graph,
        };
        let mut done = Vec::new();
        for (number, group) in (0..).zip(&schedule.groups) {
            if group.waiting == 0 {
                schedule.expansions.push_back(Target::Group(number));
            }
        }
        for task in (0..).take(schedule.tasks.len()) {
            schedule.evaluate_all(task, &mut done);
        }
        schedule.spread(done);
        schedule
    }

    /// Whether every task is done.
    pub(crate) fn is_over(&self) -> bool {
        self.unfinished == 0
    }

    /// A task instance that may start, and has with this.
    pub(crate) fn next_ready(&mut self) -> Option<Instance> {
        while let Some((task, from, to)) = self.ready.pop_front() {
            let most = self.graph.tasks()[task as usize].settings().max_active_tis_per_dagrun;
            let status = &mut self.tasks[task as usize];
            if most.is_some_and(|most| status.active >= most) {
                status.parked.push_back((from, to));
                continue;
            }
            status.active += 1;
            if from + 1 < to {
                self.ready.push_front((task, from + 1, to));
            }
            return Some(Instance { task, map_index: from });
        }
        None
    }

    /// A task instance that has started is to start once more: another try, or another look.
    pub(crate) fn again(&mut self, instance: Instance) {
        self.ready.push_back((instance.task, instance.map_index, instance.map_index + 1));
    }

    /// A task instance does not run at the moment, so that another of its task may.
    pub(crate) fn rests(&mut self, instance: Instance) {
        let status = &mut self.tasks[instance.task as usize];
        status.active = status.active.saturating_sub(1);
        if let Some((from, to)) = status.parked.pop_front() {
            self.ready.push_front((instance.task, from, to));
        }
    }

    /// Something whose length is to be found out.
    pub(crate) fn next_expansion(&mut self) -> Option<Target> {
        self.expansions.pop_front()
    }

    /// What will not run, since the last call.
    pub(crate) fn take_decided(&mut self) -> Vec<(Instance, TaskState)> {
        std::mem::take(&mut self.decided)
    }

    /// A length was found out.
    pub(crate) fn expanded(&mut self, target: Target, length: Length) {
        let mut done = Vec::new();
        match target {
            Target::Task(task) => {
                // A branch may have skipped it in between.
                if matches!(self.tasks[task as usize].extent, Extent::Unknown) {
                    self.expand_task(task, length, &mut done);
                }
            }
            Target::Group(group) => self.expand_group(group, length, &mut done),
        }
        self.spread(done);
    }

    fn expand_task(&mut self, task: u32, length: Length, done: &mut Vec<(Instance, TaskState)>) {
        let status = &mut self.tasks[task as usize];
        let state = match length {
            Length::Known(length @ 1..) => {
                status.extent = Extent::Many(vec![TaskState::Queued; length as usize]);
                status.left = length;
                self.ready.push_back((task, 0, i32::try_from(length).unwrap_or(i32::MAX)));
                return;
            }
            Length::Known(0) => TaskState::Skipped,
            Length::Missing => TaskState::UpstreamFailed,
            Length::Failed => TaskState::Failed,
        };
        status.extent = Extent::One(TaskState::Scheduled);
        self.decide(Instance { task, map_index: UNMAPPED }, state, done);
    }

    fn expand_group(&mut self, group: u32, length: Length, done: &mut Vec<(Instance, TaskState)>) {
        let tasks = self.graph.groups()[group as usize].tasks.clone();
        self.groups[group as usize].empty = (!matches!(length, Length::Known(1..))).then_some(length);
        let tasks: Vec<u32> = tasks
            .into_iter()
            .filter(|task| matches!(self.tasks[*task as usize].extent, Extent::Unknown))
            .collect();
        for task in &tasks {
            let status = &mut self.tasks[*task as usize];
            if let Length::Known(length @ 1..) = length {
                status.extent = Extent::Many(vec![TaskState::Scheduled; length as usize]);
                status.left = length;
            } else {
                status.extent = Extent::One(TaskState::Scheduled);
            }
        }
        for task in tasks {
            self.evaluate_all(task, done);
        }
    }

    /// What a task becomes instead of running, when its group has no elements.
    fn without_elements(&self, task: &Task) -> Option<TaskState> {
        let group = task.group?;
        let is_first = || !task.upstream.iter().any(|up| together(&self.graph, *up, task));
        Some(match self.groups[group as usize].empty? {
            Length::Known(_) => TaskState::Skipped,
            Length::Failed if is_first() => TaskState::Failed,
            Length::Failed | Length::Missing => TaskState::UpstreamFailed,
        })
    }

    /// A task instance that started is done. `skips` are tasks behind it that it chose to skip.
    pub(crate) fn ended(&mut self, instance: Instance, state: TaskState, skips: &[u32]) {
        let (mut siblings, mut tasks) = (Vec::new(), Vec::new());
        for skip in skips {
            let target = &self.graph.tasks()[*skip as usize];
            if together(&self.graph, instance.task, target) {
                let sibling = Instance { task: *skip, map_index: instance.map_index };
                self.forced.insert(sibling);
                siblings.push(sibling);
            } else if !self.graph.tasks()[instance.task as usize].is_mapped() {
                // What one instance chooses says nothing about tasks that wait for all of them.
                self.tasks[*skip as usize].forced = true;
                tasks.push(*skip);
            }
        }
        self.spread(vec![(instance, state)]);
        let mut done = Vec::new();
        siblings.into_iter().for_each(|sibling| self.evaluate(sibling, &mut done));
        tasks.into_iter().for_each(|task| self.evaluate_all(task, &mut done));
        self.spread(done);
    }

    /// Tells those behind what is done, and those behind them. A list instead of recursion, because a chain of
    /// skipped tasks may be long.
    fn spread(&mut self, mut done: Vec<(Instance, TaskState)>) {
        let graph = self.graph.clone();
        while let Some((instance, state)) = done.pop() {
            let status = &mut self.tasks[instance.task as usize];
            match &mut status.extent {
                Extent::One(own) => *own = state,
                Extent::Many(states) => {
                    if let Some(own) =
                        usize::try_from(instance.map_index).ok().and_then(|i| states.get_mut(i))
                    {
                        *own = state;
                    }
                }
                Extent::Unknown => {}
            }
            status.counts.add(state);
            status.left -= 1;
            let whole = status.left == 0;
            if whole {
                self.unfinished -= 1;
                for waiting in &graph.tasks()[instance.task as usize].encloses {
                    self.evaluate_all(*waiting, &mut done);
                }
                for group in self.feeds.get(&instance.task).into_iter().flatten() {
                    let fed = &mut self.groups[*group as usize];
                    fed.waiting -= 1;
                    if fed.waiting == 0 {
                        self.expansions.push_back(Target::Group(*group));
                    }
                }
            }
            for next in &graph.tasks()[instance.task as usize].downstream {
                let task = &graph.tasks()[*next as usize];
                if together(&graph, instance.task, task) {
                    self.evaluate(Instance { task: *next, map_index: instance.map_index }, &mut done);
                    continue;
                }
                let behind = &mut self.tasks[*next as usize];
                behind.outer.add(state);
                behind.waiting -= u32::from(whole);
                if behind.waiting == 0 || (task.settings().trigger_rule.is_early() && !task.is_mapped()) {
                    self.evaluate_all(*next, &mut done);
                }
            }
        }
    }

    /// Looks whether the instances of a task can be decided.
    fn evaluate_all(&mut self, task: u32, done: &mut Vec<(Instance, TaskState)>) {
        let length = match &self.tasks[task as usize].extent {
            Extent::One(_) => return self.evaluate(Instance { task, map_index: UNMAPPED }, done),
            Extent::Many(states) => i32::try_from(states.len()).unwrap_or(i32::MAX),
            Extent::Unknown => return self.evaluate_unexpanded(task, done),
        };
        for map_index in 0..length {
            self.evaluate(Instance { task, map_index }, done);
        }
    }

    /// A task that is to be expanded: by itself, or with its group, which expands when its elements are there.
    fn evaluate_unexpanded(&mut self, number: u32, done: &mut Vec<(Instance, TaskState)>) {
        let task = &self.graph.tasks()[number as usize];
        let status = &self.tasks[number as usize];
        if task.over.is_none() {
            return;
        }
        let rule = task.settings().trigger_rule;
        let verdict = if status.forced {
            chosen(rule, status.waiting == 0)
        } else {
            let setups = || self.setups(task, UNMAPPED);
            verdict(rule, &status.outer, status.waiting == 0, setups)
                .and_then(|verdict| self.enclosed(task, UNMAPPED, verdict))
        };
        let status = &mut self.tasks[number as usize];
        match verdict {
            // Its elements come from the tasks before it, so all of them must be done.
            Some(Verdict::Run) if status.waiting == 0 && !status.asked => {
                status.asked = true;
                self.expansions.push_back(Target::Task(number));
            }
            Some(Verdict::Run) | None => {}
            Some(other) => {
                status.extent = Extent::One(TaskState::Scheduled);
                self.decide(Instance { task: number, map_index: UNMAPPED }, state_of(other), done);
            }
        }
    }

    fn evaluate(&mut self, instance: Instance, done: &mut Vec<(Instance, TaskState)>) {
        if self.state(instance) != Some(TaskState::Scheduled) {
            return;
        }
        let task = &self.graph.tasks()[instance.task as usize];
        let status = &self.tasks[instance.task as usize];
        let (mut before, mut all_done) = (status.outer, status.waiting == 0);
        for up in task.upstream.iter().filter(|up| together(&self.graph, **up, task)) {
            match self.state(Instance { task: *up, map_index: instance.map_index }) {
                Some(state) if state.is_finished() => before.add(state),
                _ => all_done = false,
            }
        }
        let rule = task.settings().trigger_rule;
        let verdict = if status.forced || self.forced.contains(&instance) {
            chosen(rule, all_done)
        } else {
            let setups = || self.setups(task, instance.map_index);
            verdict(rule, &before, all_done, setups)
                .and_then(|verdict| self.enclosed(task, instance.map_index, verdict))
        };
        let instead = self.without_elements(task);
        match verdict {
            None => {}
            Some(Verdict::Run) => match instead {
                Some(state) => self.decide(instance, state, done),
                None => {
                    self.set(instance, TaskState::Queued);
                    self.ready.push_back((instance.task, instance.map_index, instance.map_index + 1));
                }
            },
            Some(other) => self.decide(instance, state_of(other), done),
        }
    }

    /// How the setups directly before a task ended.
    fn setups(&self, task: &Task, map_index: i32) -> Counts {
        let mut counts = Counts::default();
        let is_setup = |up: &&u32| self.graph.tasks()[**up as usize].settings().role == Role::Setup;
        for setup in task.upstream.iter().filter(is_setup) {
            self.count(*setup, task, map_index, &mut counts);
        }
        counts
    }

    /// What is left of a verdict under what is further up: nothing before all of that is done. A teardown only
    /// waits for it; whatever else runs between a setup and its teardown needs the setup to have succeeded.
    fn enclosed(&self, task: &Task, map_index: i32, verdict: Verdict) -> Option<Verdict> {
        let mut counts = Counts::default();
        for further in &task.enclosing {
            if !self.count(*further, task, map_index, &mut counts) {
                return None;
            }
        }
        Some(match task.settings().role.is_teardown() {
            false if counts.any_failed() => Verdict::UpstreamFailed,
            false if counts.skipped > 0 => Verdict::Skip,
            _ => verdict,
        })
    }

    /// Counts how the instances of a task ended that an instance of another waits for; whether all of them did.
    fn count(&self, before: u32, task: &Task, map_index: i32, counts: &mut Counts) -> bool {
        if together(&self.graph, before, task) {
            let state = self.state(Instance { task: before, map_index });
            return state.filter(|state| state.is_finished()).map(|state| counts.add(state)).is_some();
        }
        counts.add_all(&self.tasks[before as usize].counts);
        self.tasks[before as usize].left == 0
    }

    fn decide(&mut self, instance: Instance, state: TaskState, done: &mut Vec<(Instance, TaskState)>) {
        // Marked at once, so that nobody decides it again before it is spread.
        self.set(instance, TaskState::Queued);
        self.decided.push((instance, state));
        done.push((instance, state));
    }

    /// The state of a task instance, when there is one.
    pub(crate) fn state(&self, instance: Instance) -> Option<TaskState> {
        match &self.tasks[instance.task as usize].extent {
            Extent::Unknown => None,
            // In a group that has no elements, one instance without an index stands for all.
            Extent::One(state) => Some(*state),
            Extent::Many(states) => states.get(usize::try_from(instance.map_index).ok()?).copied(),
        }
    }

    fn set(&mut self, instance: Instance, state: TaskState) {
        match &mut self.tasks[instance.task as usize].extent {
            Extent::Unknown => {}
            Extent::One(own) => *own = state,
            Extent::Many(states) => {
                if let Some(own) = usize::try_from(instance.map_index).ok().and_then(|i| states.get_mut(i)) {
                    *own = state;
                }
            }
        }
    }

    /// How the instances of a task ended, and how many are not done; none while it is not expanded.
    pub(crate) fn counts(&self, task: u32) -> (Counts, u32) {
        (self.tasks[task as usize].counts, self.tasks[task as usize].left)
    }

    /// How many instances a mapped task has, when it was expanded.
    pub(crate) fn length(&self, task: u32) -> Option<u32> {
        match &self.tasks[task as usize].extent {
            Extent::Many(states) => u32::try_from(states.len()).ok(),
            Extent::Unknown | Extent::One(_) => None,
        }
    }

    /// Whether the run failed: by its last tasks, those behind which there are only teardowns, as in Airflow.
    pub(crate) fn failed(&self) -> bool {
        (0..).zip(self.graph.tasks()).any(|(number, task): (u32, &Task)| {
            let role = task.settings().role;
            if role == Role::Teardown {
                return false;
            }
            let last = task
                .downstream
                .iter()
                .all(|next| self.graph.tasks()[*next as usize].settings().role.is_teardown());
            last && self.tasks[number as usize].counts.any_failed()
        })
    }
}

/// Whether two tasks are in one mapped group, so that instances of the same map index belong together.
pub(super) fn together(graph: &Graph, before: u32, task: &Task) -> bool {
    task.group.is_some() && graph.tasks()[before as usize].group == task.group
}

/// What is said of a task that a branch or short-circuit skips: nothing before all that is directly before it is
/// done. Were it skipped at once, tasks behind it could run while another task that is to skip them still runs, and
/// what became of them would depend on which is faster.
fn chosen(rule: TriggerRule, all_done: bool) -> Option<Verdict> {
    (all_done || rule.is_early()).then_some(Verdict::Skip)
}

fn state_of(verdict: Verdict) -> TaskState {
    match verdict {
        Verdict::Run => TaskState::Queued,
        Verdict::Skip => TaskState::Skipped,
        Verdict::UpstreamFailed => TaskState::UpstreamFailed,
    }
}
