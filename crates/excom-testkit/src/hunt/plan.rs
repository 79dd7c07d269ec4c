//! The DAG of a hunt as plain data, and what must be found in it.
//!
//! Every task returns the largest of what it took and of a reading of its own. The wrong value is larger than any
//! reading, so whatever takes it becomes wrong, and everybody who sees it knows.

use std::collections::BTreeSet;

use super::{Found, Try};
use crate::random::Random;

/// How many tasks a DAG has.
pub(super) const TASKS: usize = 100;

/// How many tasks a layer has; the last task is a layer of its own.
const LAYER: usize = 11;

/// What the culprit pushes. A real reading is at most [`LARGEST`].
pub(super) const WRONG: u64 = 999;

/// The largest reading.
const LARGEST: u64 = 40;

/// How long a long list is.
const WIDE: i32 = 30;

/// The id of the last task.
pub(super) const RESULT: &str = "result";

/// A DAG, its tasks in an order in which each comes behind those that it takes from.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    seed: u64,
    pub(super) tasks: Vec<Step>,
    /// The task that pushes the wrong value in its second try, and its map index.
    culprit: (usize, i32),
}

/// A task.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// The tasks whose values it takes; of a mapped one all.
    pub(super) takes: Vec<usize>,
    /// The map index at which the first try fails.
    pub(super) fails: Option<i32>,
}

/// What a task returns, and how often it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A number.
    One,
    /// A list of so many numbers.
    List(i32),
    /// A number for each element of the list that the task at this place returns, or of a mapped task.
    Mapped(usize, i32),
}

impl Step {
    /// Its map indexes.
    fn indexes(&self) -> impl Iterator<Item = i32> + use<> {
        match self.kind {
            Kind::Mapped(_, length) => 0..length,
            _ => excom::UNMAPPED..0,
        }
    }

    fn tries(&self, map_index: i32) -> impl Iterator<Item = Try> {
        let (name, last) = (self.name.clone(), if self.fails == Some(map_index) { 2 } else { 1 });
        (1..=last).map(move |number| (name.clone(), map_index, number))
    }
}

impl Plan {
    pub(super) fn random(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut tasks: Vec<Step> = Vec::new();
        for number in 0..TASKS {
            let (layer, last) = (number / LAYER, number + 1 == TASKS);
            // What it takes lies in the layer before, and sometimes further back.
            let takes: BTreeSet<usize> = match layer {
                0 => BTreeSet::new(),
                _ => (0..1 + random.below(3)).map(|_| before(&mut random, layer)).collect(),
            };
            let kind = match random.below(5) {
                _ if last => Kind::One,
                // Some are longer than what `excom trace` shows at one place unless told.
                0 if random.once_in(5) => Kind::List(WIDE),
                0 => Kind::List(2 + i32::try_from(random.below(5)).unwrap_or(0)),
                1 => {
                    let over = takes.iter().find_map(|task| match tasks[*task].kind {
                        Kind::List(length) | Kind::Mapped(_, length) => Some(Kind::Mapped(*task, length)),
                        Kind::One => None,
                    });
                    over.unwrap_or(Kind::One)
                }
                _ => Kind::One,
            };
            let takes = match kind {
                Kind::Mapped(over, _) => takes.into_iter().filter(|task| *task != over).collect(),
                _ => takes.into_iter().collect(),
            };
            let name = if last { RESULT.to_owned() } else { format!("t{number:02}") };
            let mut step = Step { name, kind, takes, fails: None };
            if random.once_in(5) {
                step.fails = one_of(&mut random, &step);
            }
            tasks.push(step);
        }
        let mut plan = Self { seed, tasks, culprit: (0, excom::UNMAPPED) };
        plan.choose_culprit(&mut random);
        plan
    }

    /// Takes one from the first layers that the result comes from.
    fn choose_culprit(&mut self, random: &mut Random) {
        let mut origins = BTreeSet::from([TASKS - 1]);
        for task in (0..TASKS).rev().filter(|task| *task >= LAYER) {
            if origins.contains(&task) {
                origins.extend(self.upstream(task));
            }
        }
        let early: Vec<usize> = origins.into_iter().filter(|task| *task < 3 * LAYER).collect();
        let place = usize::try_from(random.below(early.len() as u64)).unwrap_or(0);
        let task = early.get(place).copied().unwrap_or(0);
        let map_index = one_of(random, &self.tasks[task]).unwrap_or(excom::UNMAPPED);
        self.tasks[task].fails = Some(map_index);
        self.culprit = (task, map_index);
    }

    fn upstream(&self, task: usize) -> impl Iterator<Item = usize> {
        let step = &self.tasks[task];
        let over = if let Kind::Mapped(over, _) = step.kind { Some(over) } else { None };
        step.takes.iter().copied().chain(over)
    }

    /// What an instance of a task returns when the largest of what it took is this.
    pub(super) fn value(&self, task: usize, map_index: i32, try_number: u32, taken: u64) -> u64 {
        if self.culprit == (task, map_index) && try_number == 2 {
            return WRONG;
        }
        let place = (task as u64) << 32 | u64::from(map_index.unsigned_abs());
        taken.max(1 + Random::new(self.seed ^ place).below(LARGEST))
    }

    /// How many task instances there are.
    pub(super) fn instances(&self) -> u64 {
        self.tasks.iter().map(|step| step.indexes().count() as u64).sum()
    }

    /// What a hunt must find.
    pub(super) fn found(&self) -> Found {
        let (task, map_index) = self.culprit;
        let mut wrong = BTreeSet::from([self.culprit]);
        let mut consumers = BTreeSet::new();
        for (place, step) in self.tasks.iter().enumerate() {
            for index in step.indexes() {
                let whole = step.takes.iter().any(|taken| wrong.iter().any(|(wrong, _)| wrong == taken));
                let element = match step.kind {
                    Kind::Mapped(over, _) => {
                        wrong.contains(&(over, excom::UNMAPPED)) || wrong.contains(&(over, index))
                    }
                    _ => false,
                };
                if whole || element {
                    wrong.insert((place, index));
                    consumers.extend(step.tries(index));
                }
            }
        }
        Found { culprit: (self.tasks[task].name.clone(), map_index, 2), consumers }
    }
}

/// A task of the layer before, or once in four times of any layer before.
fn before(random: &mut Random, layer: usize) -> usize {
    let layer = if random.once_in(4) { random.below(layer as u64) } else { layer as u64 - 1 };
    usize::try_from(layer * LAYER as u64 + random.below(LAYER as u64)).unwrap_or(0)
}

/// One of a task's map indexes.
fn one_of(random: &mut Random, step: &Step) -> Option<i32> {
    let indexes: Vec<i32> = step.indexes().collect();
    indexes.get(usize::try_from(random.below(indexes.len() as u64)).unwrap_or(0)).copied()
}
