//! Random DAGs as plain data: what the builder makes a DAG of, and what the model evaluates.
//!
//! Tasks are in an order in which each comes behind those that it depends on. What comes out of such a DAG
//! must not depend on who is faster, so a task whose rule does not wait for all before it takes no values,
//! and lies behind no task that chooses what is skipped.

use std::collections::BTreeSet;
use std::fmt;

use excom_flow::TriggerRule;
use serde_json::{Value as Json, json};

use crate::random::Random;

/// A DAG.
#[derive(Debug, Clone, Default)]
pub(super) struct Plan {
    pub(super) tasks: Vec<Step>,
    pub(super) groups: Vec<GroupPlan>,
}

/// A task.
#[derive(Debug, Clone)]
pub(super) struct Step {
    /// Without the id of its group.
    pub(super) name: String,
    pub(super) group: Option<usize>,
    pub(super) rule: TriggerRule,
    pub(super) part: Part,
    pub(super) retries: u32,
    /// How many of its first tries fail.
    pub(super) fails: u32,
    /// How often each try looks again before it goes on.
    pub(super) pokes: u32,
    pub(super) end: End,
    pub(super) push: bool,
    pub(super) multiple: bool,
    /// Whether it pushes its try number under a key of its own.
    pub(super) notes: bool,
    pub(super) takes: Vec<Takes>,
    /// The factors that it is expanded over.
    pub(super) over: Vec<Over>,
    pub(super) after: Vec<After>,
    /// How many of its instances may run at the same time.
    pub(super) at_once: Option<u32>,
}

#[derive(Debug, Clone)]
pub(super) struct GroupPlan {
    pub(super) id: String,
    pub(super) over: Option<Over>,
    pub(super) after: Vec<After>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Part {
    Work,
    Setup,
    /// Of this setup; whether its failure counts.
    Teardown(usize, bool),
}

/// How a body ends that does not fail.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum End {
    Number,
    List,
    Dict,
    Nothing,
    Skip,
    /// Skips instances with an odd map index.
    SkipOdd,
    /// Follows these tasks and groups.
    Branch(Vec<String>),
    SkipDirect,
    SkipAll,
}

#[derive(Debug, Clone)]
pub(super) enum Takes {
    Literal(Json),
    /// The parameter `floor`, by a template.
    Template,
    One(usize),
    /// What it pushed under another key.
    Output(usize, &'static str),
    Many(usize),
    All(Over),
    Element,
}

/// A sequence.
#[derive(Debug, Clone)]
pub(super) enum Over {
    Literal(Vec<Json>),
    /// A list or dict that a task returns.
    Task(usize),
    /// What the instances of a mapped task return.
    Mapped(usize),
    Map(Box<Self>),
    /// Map with a function that skips whoever takes some of the elements.
    Skips(Box<Self>),
    Filter(Box<Self>),
    Zip(Box<Self>, Box<Self>),
    ZipFill(Box<Self>, Box<Self>),
    Concat(Box<Self>, Box<Self>),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum After {
    Task(usize),
    Group(usize),
}

/// What `map` makes of an element.
pub(super) fn mapped(element: &Json) -> Json {
    json!(hash(&[&element.to_string()]) % 1000)
}

/// What `filter` asks of an element.
pub(super) fn kept(element: &Json) -> bool {
    !hash(&[&element.to_string()]).is_multiple_of(3)
}

/// Whether whoever takes an element is skipped.
pub(super) fn skips(element: &Json) -> bool {
    hash(&[&element.to_string(), "skips"]).is_multiple_of(4)
}

/// What stands for what is missing in the shorter sequence.
pub(super) const FILL: (u64, &str) = (7, "fill");

/// What a task instance returns, by what it took; none is nothing.
pub(super) fn returned(step: &Step, map_index: i32, taken: &[Json]) -> Json {
    let texts: Vec<String> = taken.iter().map(Json::to_string).collect();
    let mut parts = vec![step.name.as_str()];
    parts.extend(texts.iter().map(String::as_str));
    let own = map_index.to_string();
    parts.push(&own);
    let mut random = Random::new(hash(&parts));
    let number = |random: &mut Random| json!(random.below(1000));
    match step.end {
        End::Nothing | End::Skip => Json::Null,
        End::List => {
            let length = random.below(4);
            let element = |random: &mut Random| match random.below(6) {
                0 => Json::Null,
                1 => json!({"z": random.below(10), "a": "text"}),
                _ => number(random),
            };
            (0..length).map(|_| element(&mut random)).collect::<Vec<_>>().into()
        }
        End::Dict => json!({"b": random.below(1000), "a": [random.below(10)]}),
        _ => number(&mut random),
    }
}

/// A number that follows from texts (FNV-1a, and a mix).
pub(super) fn hash(texts: &[&str]) -> u64 {
    let bytes = texts.iter().flat_map(|text| text.bytes().chain([0]));
    let hash = bytes.fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    Random::new(hash).number()
}

impl Over {
    /// The tasks that it is made of.
    pub(super) fn tasks(&self) -> Vec<usize> {
        match self {
            Self::Literal(_) => Vec::new(),
            Self::Task(task) | Self::Mapped(task) => vec![*task],
            Self::Map(of) | Self::Skips(of) | Self::Filter(of) => of.tasks(),
            Self::Zip(left, right) | Self::ZipFill(left, right) | Self::Concat(left, right) => {
                [left.tasks(), right.tasks()].concat()
            }
        }
    }

    /// The tasks whose result is its elements.
    pub(super) fn producers(&self) -> Vec<usize> {
        match self {
            Self::Literal(_) | Self::Mapped(_) => Vec::new(),
            Self::Task(task) => vec![*task],
            Self::Map(of) | Self::Skips(of) | Self::Filter(of) => of.producers(),
            Self::Zip(left, right) | Self::ZipFill(left, right) | Self::Concat(left, right) => {
                [left.producers(), right.producers()].concat()
            }
        }
    }
}

impl Takes {
    fn tasks(&self) -> Vec<usize> {
        match self {
            Self::One(task) | Self::Output(task, _) | Self::Many(task) => vec![*task],
            Self::All(over) => over.tasks(),
            Self::Literal(_) | Self::Template | Self::Element => Vec::new(),
        }
    }
}

impl Plan {
    /// The DAG of a seed.
    pub(super) fn random(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut plan = Self::default();
        for _ in 0..3 + random.below(7) {
            match random.below(10) {
                0..=4 => plan.step(&mut random, None),
                5 => plan.group(&mut random, false),
                6 | 7 => plan.group(&mut random, true),
                _ => plan.scope(&mut random, None),
            }
        }
        plan.settle(&mut random);
        plan
    }

    /// The same DAG with tasks that do the same each time that they run.
    pub(super) fn steady(mut self) -> Self {
        for step in &mut self.tasks {
            step.fails = if step.fails > step.retries { u32::MAX } else { 0 };
            step.notes = false;
        }
        self
    }

    /// The tasks that may run again when one is told to: those behind it, and setups and
    /// teardowns around those.
    pub(super) fn again(&self, task: usize) -> BTreeSet<usize> {
        let upstream = self.upstream();
        let mut again = Self::behind(&[task], &upstream);
        for (teardown, step) in self.tasks.iter().enumerate() {
            let Part::Teardown(setup, _) = step.part else { continue };
            let behind = Self::behind(&[setup], &upstream);
            let is_inside = |task: &usize| Self::behind(&[*task], &upstream).contains(&teardown);
            if again.intersection(&behind).any(is_inside) {
                again.extend([setup, teardown]);
            }
        }
        again
    }

    /// The id of a task.
    pub(super) fn id(&self, task: usize) -> String {
        let step = &self.tasks[task];
        match step.group {
            Some(group) => format!("{}.{}", self.groups[group].id, step.name),
            None => step.name.clone(),
        }
    }

    /// The mapped group that a task is in.
    pub(super) fn mapped_group(&self, task: usize) -> Option<usize> {
        self.tasks[task].group.filter(|group| self.groups[*group].over.is_some())
    }

    pub(super) fn is_mapped(&self, task: usize) -> bool {
        !self.tasks[task].over.is_empty() || self.mapped_group(task).is_some()
    }

    /// For each task, those directly before it.
    pub(super) fn upstream(&self) -> Vec<BTreeSet<usize>> {
        let mut upstream: Vec<BTreeSet<usize>> = Vec::new();
        for step in &self.tasks {
            let mut before: BTreeSet<usize> = step.takes.iter().flat_map(Takes::tasks).collect();
            before.extend(step.over.iter().flat_map(Over::tasks));
            for after in &step.after {
                match after {
                    After::Task(task) => drop(before.insert(*task)),
                    After::Group(group) => before.extend(self.last(*group, &upstream)),
                }
            }
            if let Part::Teardown(setup, _) = step.part {
                before.insert(setup);
            }
            upstream.push(before);
        }
        for (number, group) in self.groups.iter().enumerate() {
            let mut before: BTreeSet<usize> = group.over.iter().flat_map(Over::tasks).collect();
            for after in &group.after {
                match after {
                    After::Task(task) => drop(before.insert(*task)),
                    After::Group(other) => before.extend(self.last(*other, &upstream)),
                }
            }
            for first in self.first(number, &upstream) {
                upstream[first].extend(&before);
            }
        }
        upstream
    }

    fn members(&self, group: usize) -> Vec<usize> {
        (0..self.tasks.len()).filter(|task| self.tasks[*task].group == Some(group)).collect()
    }

    /// The tasks of a group that wait for none in it.
    pub(super) fn first(&self, group: usize, upstream: &[BTreeSet<usize>]) -> Vec<usize> {
        let members = self.members(group);
        let waits = |task: &usize| members.iter().any(|other| upstream[*task].contains(other));
        members.iter().copied().filter(|task| !waits(task)).collect()
    }

    /// The tasks of a group for which none in it waits, teardowns aside.
    fn last(&self, group: usize, upstream: &[BTreeSet<usize>]) -> Vec<usize> {
        let is_teardown = |task: &usize| matches!(self.tasks[*task].part, Part::Teardown(..));
        let members: Vec<usize> = self.members(group).into_iter().filter(|task| !is_teardown(task)).collect();
        let is_waited_for = |task: &usize| members.iter().any(|other| upstream[*other].contains(task));
        members.iter().copied().filter(|task| !is_waited_for(task)).collect()
    }

    /// Tasks, and all behind them.
    pub(super) fn behind(from: &[usize], upstream: &[BTreeSet<usize>]) -> BTreeSet<usize> {
        let mut behind: BTreeSet<usize> = from.iter().copied().collect();
        for (task, before) in upstream.iter().enumerate() {
            if before.iter().any(|before| behind.contains(before)) {
                behind.insert(task);
            }
        }
        behind
    }

    fn group(&mut self, random: &mut Random, mapped: bool) {
        let group = self.groups.len();
        let over = mapped.then(|| self.sequence(random, None, 2)).map(|over| match random.below(6) {
            0 => Over::Skips(Box::new(over)),
            _ => over,
        });
        let after = self.orders(random, 4);
        self.groups.push(GroupPlan { id: format!("g{group}"), over, after });
        for _ in 0..1 + random.below(3) {
            if random.once_in(4) {
                self.scope(random, Some(group));
            } else {
                self.step(random, Some(group));
            }
        }
    }

    /// A setup, work inside of it, and its teardown.
    fn scope(&mut self, random: &mut Random, group: Option<usize>) {
        let setup = self.tasks.len();
        self.step(random, group);
        let own = &mut self.tasks[setup];
        (own.part, own.over, own.at_once) = (Part::Setup, Vec::new(), None);
        if !random.once_in(5) {
            (own.end, own.fails, own.multiple) = (End::Number, 0, false);
        }
        let mut before = setup;
        for _ in 0..1 + random.below(3) {
            let work = self.tasks.len();
            self.step(random, group);
            self.tasks[work].after.push(After::Task(before));
            if random.once_in(2) {
                before = work;
            }
        }
        let teardown = self.tasks.len();
        self.step(random, group);
        let mut after: Vec<After> =
            (setup + 1..teardown).filter(|_| !random.once_in(4)).map(After::Task).collect();
        after.push(After::Task(before));
        let own = &mut self.tasks[teardown];
        own.part = Part::Teardown(setup, random.once_in(3));
        own.rule = TriggerRule::AllDoneSetupSuccess;
        (own.over, own.after, own.takes) = (Vec::new(), after, Vec::new());
        (own.end, own.multiple) = (End::Number, false);
        if random.once_in(2) {
            own.takes.push(Takes::One(setup));
        }
    }

    fn step(&mut self, random: &mut Random, group: Option<usize>) {
        let number = self.tasks.len();
        let in_mapped = group.is_some_and(|group| self.groups[group].over.is_some());
        let end = match random.below(100) {
            0..35 => End::Number,
            35..60 => End::List,
            60..72 => End::Dict,
            72..76 => End::Nothing,
            76..80 => End::Skip,
            80..85 => End::SkipOdd,
            85..93 => End::Branch(Vec::new()),
            93..96 => End::SkipDirect,
            _ => End::SkipAll,
        };
        let mut step = Step {
            name: format!("t{number}"),
            group,
            rule: TriggerRule::AllSuccess,
            part: Part::Work,
            retries: u32::try_from(random.below(3)).unwrap_or(0),
            fails: if random.once_in(4) { 1 + u32::try_from(random.below(3)).unwrap_or(0) } else { 0 },
            pokes: if random.once_in(10) { 1 + u32::try_from(random.below(2)).unwrap_or(0) } else { 0 },
            multiple: end == End::Dict && random.once_in(2),
            end,
            push: !random.once_in(20),
            notes: random.once_in(3),
            takes: Vec::new(),
            over: Vec::new(),
            after: self.orders(random, 3),
            at_once: random.once_in(6).then(|| 1 + u32::try_from(random.below(2)).unwrap_or(0)),
        };
        for _ in 0..random.below(3) {
            let takes = self.takes(random, group);
            step.takes.push(takes);
        }
        if in_mapped && !random.once_in(3) {
            step.takes.push(Takes::Element);
        }
        if !in_mapped && random.once_in(3) {
            for _ in 0..1 + random.below(2) {
                let over = self.sequence(random, None, 2);
                step.over.push(if random.once_in(6) { Over::Skips(Box::new(over)) } else { over });
            }
        }
        if random.once_in(2) {
            let rule = random.below(TriggerRule::ALL.len() as u64);
            step.rule = TriggerRule::ALL[usize::try_from(rule).unwrap_or(0)];
        }
        self.tasks.push(step);
    }

    fn pick(random: &mut Random, from: &[usize]) -> Option<usize> {
        let place = random.below(from.len().max(1) as u64);
        from.get(usize::try_from(place).unwrap_or(0)).copied()
    }

    fn orders(&self, random: &mut Random, rarely: u64) -> Vec<After> {
        let mut orders = Vec::new();
        if random.once_in(rarely) {
            let all: Vec<usize> = (0..self.tasks.len()).collect();
            orders.extend(Self::pick(random, &all).map(After::Task));
        }
        if random.once_in(3 * rarely) {
            // The last group may be the one that is being filled.
            let groups: Vec<usize> = (0..self.groups.len().saturating_sub(1)).collect();
            orders.extend(Self::pick(random, &groups).map(After::Group));
        }
        orders
    }

    fn takes(&self, random: &mut Random, group: Option<usize>) -> Takes {
        let all = 0..self.tasks.len();
        let together = |task: &usize| {
            let own = self.mapped_group(*task);
            self.tasks[*task].over.is_empty() && (own.is_none() || own == group)
        };
        let single: Vec<usize> = all.clone().filter(together).collect();
        let many: Vec<usize> = all.filter(|task| self.is_mapped(*task) && !together(task)).collect();
        let dicts: Vec<usize> = single
            .iter()
            .copied()
            .filter(|task| self.tasks[*task].multiple && self.tasks[*task].push)
            .collect();
        match random.below(10) {
            0 => Some(Takes::Literal(json!(random.below(100)))),
            1 => Some(Takes::Template),
            2..=5 => Self::pick(random, &single).map(Takes::One),
            6 => Self::pick(random, &dicts).map(|task| Takes::Output(task, "a")),
            7 | 8 => Self::pick(random, &many).map(Takes::Many),
            _ => Some(Takes::All(self.sequence(random, group, 2))),
        }
        .unwrap_or(Takes::Template)
    }

    fn sequence(&self, random: &mut Random, group: Option<usize>, depth: u32) -> Over {
        let all = 0..self.tasks.len();
        let gives = |task: &usize| {
            let step = &self.tasks[*task];
            matches!(step.end, End::List | End::Dict) && step.push && !self.is_mapped(*task)
        };
        let lists: Vec<usize> = all.clone().filter(gives).collect();
        let outside = |task: &usize| self.mapped_group(*task).is_none_or(|own| Some(own) != group);
        let many: Vec<usize> = all.filter(|task| self.is_mapped(*task) && outside(task)).collect();
        let literal = |random: &mut Random| {
            Over::Literal((0..random.below(5)).map(|_| json!(random.below(50))).collect())
        };
        let inner = |random: &mut Random| match depth {
            0 => literal(random),
            _ => self.sequence(random, group, depth - 1),
        };
        match random.below(20) {
            0..5 => Self::pick(random, &lists).map(Over::Task),
            5..11 => Self::pick(random, &many).map(Over::Mapped),
            11 => Some(Over::Map(Box::new(inner(random)))),
            12 => Some(Over::Filter(Box::new(inner(random)))),
            13 => Some(Over::Zip(Box::new(inner(random)), Box::new(inner(random)))),
            14 => Some(Over::ZipFill(Box::new(inner(random)), Box::new(inner(random)))),
            15 => Some(Over::Concat(Box::new(inner(random)), Box::new(inner(random)))),
            _ => None,
        }
        .unwrap_or_else(|| literal(random))
    }

    /// Makes what was drawn a DAG whose outcome is one.
    fn settle(&mut self, random: &mut Random) {
        // A teardown's place in its group is that of a task, so groups may lose their last tasks.
        let upstream = self.upstream();
        let is_chooser = |step: &Step| matches!(step.end, End::Branch(_) | End::SkipDirect | End::SkipAll);
        let choosers: Vec<usize> =
            (0..self.tasks.len()).filter(|task| is_chooser(&self.tasks[*task])).collect();
        let chosen = Self::behind(&choosers, &upstream);
        for task in 0..self.tasks.len() {
            let takes_values = !self.tasks[task].takes.iter().all(|takes| takes.tasks().is_empty())
                || !self.tasks[task].over.is_empty();
            let is_mapped = self.is_mapped(task);
            let rule = &mut self.tasks[task].rule;
            let is_early = matches!(
                rule,
                TriggerRule::OneSuccess | TriggerRule::OneFailed | TriggerRule::OneDone | TriggerRule::Always
            );
            let is_always = *rule == TriggerRule::Always;
            if is_early && (takes_values || chosen.contains(&task) || (is_always && is_mapped)) {
                *rule = TriggerRule::AllDone;
            }
        }
        for chooser in choosers {
            if self.tasks[chooser].end != End::Branch(Vec::new()) {
                continue;
            }
            let mut followed = Vec::new();
            for task in (0..self.tasks.len()).filter(|task| upstream[*task].contains(&chooser)) {
                match (random.below(4), self.tasks[task].group) {
                    (0, Some(group)) if self.tasks[chooser].group != Some(group) => {
                        followed.push(self.groups[group].id.clone());
                    }
                    (0 | 1, _) => followed.push(self.id(task)),
                    _ => {}
                }
            }
            self.tasks[chooser].end = End::Branch(followed);
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, group) in self.groups.iter().enumerate() {
            writeln!(f, "group {number} {}: over {:?}, after {:?}", group.id, group.over, group.after)?;
        }
        for (number, step) in self.tasks.iter().enumerate() {
            write!(f, "{number} {}: {} {:?} {:?}", self.id(number), step.rule, step.part, step.end)?;
            write!(f, " retries {} fails {} pokes {}", step.retries, step.fails, step.pokes)?;
            if !step.push {
                write!(f, " do_xcom_push=false")?;
            }
            if step.multiple {
                write!(f, " multiple_outputs")?;
            }
            if let Some(most) = step.at_once {
                write!(f, " at most {most} at once")?;
            }
            writeln!(f, " takes {:?} over {:?} after {:?}", step.takes, step.over, step.after)?;
        }
        Ok(())
    }
}
