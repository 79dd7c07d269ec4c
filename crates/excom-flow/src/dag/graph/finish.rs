//! How a graph is made of what was added to a DAG: inputs become numbers, orders edges, and what is wrong is told
//! all at once.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use excom_core::{Error, ErrorKind, Result, TaskInstanceKey};

use super::enclose::enclose;
use super::{Graph, MappedGroup, Over, Taken, Task};
use crate::arg::{Source, TaskRef, Upstream};
use crate::dag::group::GroupNode;
use crate::dag::{Dag, Node, TriggerRule};
use crate::error::{invalid, listing, nearest};
use crate::params::ParamSpec;
use crate::sequence::Elements;

impl Graph {
    pub(in crate::dag) fn finish(dag: Dag, params: &[ParamSpec]) -> Result<Self> {
        let (dag_id, token) = (dag.id, dag.token);
        let building = dag.building.into_inner();
        let mut finish = Finish {
            token,
            params,
            problems: building.problems,
            edges: vec![BTreeSet::new(); building.nodes.len()],
            group_of: building.nodes.iter().map(|node| node.group).collect(),
            groups: building.groups,
            mapped: HashMap::new(),
            many: building.nodes.iter().map(|node| node.is_expanded()).collect(),
            lengths: BTreeSet::new(),
        };
        let groups = finish.mapped_groups();
        let mut tasks = Vec::with_capacity(building.nodes.len());
        let mut orders = Vec::new();
        for (index, node) in (0..).zip(building.nodes) {
            if let Err(error) = TaskInstanceKey::new(dag_id.clone(), "run", node.id.clone(), -1) {
                finish.problems.push(error);
            }
            orders.extend(
                node.after.iter().map(|after| (Upstream::Task(TaskRef { dag: token, index }), *after)),
            );
            let task = finish.task(node, index);
            tasks.push(task);
        }
        finish.order(&tasks, orders);
        let groups = finish.fill(groups);
        for (task, upstream) in tasks.iter_mut().zip(&finish.edges) {
            task.upstream = upstream.iter().copied().collect();
        }
        for index in std::mem::take(&mut finish.lengths) {
            let task = &mut tasks[index as usize];
            task.gives_length = true;
            if !task.settings.do_xcom_push {
                finish.problems.push(
                    invalid(format!("task `{}` pushes nothing, and a task is expanded over it", task.id))
                        .hint("take do_xcom_push = false away"),
                );
            }
        }
        connect(&mut tasks);
        let mut problems = finish.problems;
        if problems.is_empty()
            && let Some(cycle) = cycle(&tasks)
        {
            let names: Vec<&str> = cycle.iter().map(|task| &*tasks[*task as usize].id).collect();
            problems.push(
                match names.as_slice() {
                    [one, _] => invalid(format!("task `{one}` waits for itself")),
                    names => invalid(format!("its tasks wait for each other: {}", names.join(" → "))),
                }
                .hint("take one of the orders or arguments between them away"),
            );
        }
        if let Some(error) = problem(&dag_id, &problems) {
            return Err(error);
        }
        enclose(&mut tasks);
        let numbers = (0..).zip(&tasks).map(|(number, task)| (task.id.clone(), number)).collect();
        let (tasks, groups, numbers) = (tasks.into(), groups.into(), Arc::new(numbers));
        Ok(Self { dag_id, tasks, groups, numbers, params: params.into() })
    }
}

impl Node {
    fn is_expanded(&self) -> bool {
        self.work.kwargs().is_some()
            || self.work.inputs().iter().any(|(_, source)| matches!(source, Source::Expand(_)))
    }
}

/// A graph while it is finished.
struct Finish<'a> {
    token: u64,
    params: &'a [ParamSpec],
    problems: Vec<Error>,
    /// For each task, those before it.
    edges: Vec<BTreeSet<u32>>,
    /// For each task, the innermost group that it is in.
    group_of: Vec<Option<u32>>,
    groups: Vec<GroupNode>,
    /// The numbers of mapped groups among the mapped groups.
    mapped: HashMap<u32, u32>,
    /// For each task, whether it is expanded itself.
    many: Vec<bool>,
    /// Tasks over whose result something is expanded.
    lengths: BTreeSet<u32>,
}

impl Finish<'_> {
    fn mapped_groups(&mut self) -> Vec<MappedGroup> {
        let mut mapped = Vec::new();
        for index in 0..self.groups.len() {
            let group = &self.groups[index];
            let Some(elements) = group.expand.clone() else { continue };
            let id = group.id.clone();
            let mut producers = BTreeSet::new();
            self.elements(&elements, &format!("group `{id}`"), &mut producers, None);
            let number = u32::try_from(mapped.len()).unwrap_or(u32::MAX);
            self.mapped.insert(u32::try_from(index).unwrap_or(u32::MAX), number);
            let producers = producers.into_iter().collect();
            mapped.push(MappedGroup { id, elements, producers, tasks: Vec::new() });
        }
        mapped
    }

    /// The groups around a task, the innermost first.
    fn around(&self, task: u32) -> impl Iterator<Item = u32> {
        let inner = self.group_of.get(task as usize).copied().flatten();
        std::iter::successors(inner, |group| self.groups[*group as usize].parent)
    }

    /// The mapped group that a task is in, by its number among all groups.
    fn mapped_around(&self, task: u32) -> Option<u32> {
        self.around(task).find(|group| self.mapped.contains_key(group))
    }

    fn task(&mut self, node: Node, index: u32) -> Task {
        let mut inputs = Vec::new();
        let mut upstream = BTreeSet::new();
        let mut factors = Vec::new();
        let group = self.mapped_around(index);
        for (name, source) in node.work.inputs() {
            let place = format!("argument `{name}` of task `{}`", node.id);
            let Some(taken) = self.taken(source, &place, index, &mut upstream, &mut factors) else {
                continue;
            };
            inputs.push((name.into(), taken));
        }
        let mut over = (!factors.is_empty()).then_some(Over::Product(factors));
        if let Some(kwargs) = node.work.kwargs() {
            let place = format!("what task `{}` is expanded over", node.id);
            self.elements(kwargs, &place, &mut upstream, Some(index));
            if over.is_some() {
                let problem = format!("task `{}` has an argument to expand, and expand_kwargs too", node.id);
                self.problems.push(invalid(problem).hint("put the elements into the dicts of expand_kwargs"));
            }
            over = Some(Over::Kwargs(kwargs.clone()));
        }
        if let (Some(_), Some(group)) = (&over, group) {
            let group = &self.groups[group as usize].id;
            self.problems.push(
                invalid(format!("task `{}` is expanded inside the mapped group `{group}`", node.id))
                    .hint("map the group over all elements, or expand the task outside of it"),
            );
        }
        let mapped = over.is_some() || group.is_some();
        if mapped && node.settings.trigger_rule == TriggerRule::Always {
            self.problems.push(
                invalid(format!("task `{}` is mapped, and has the trigger rule `always`", node.id))
                    .hint("how often it runs is known only when what it is expanded over is done"),
            );
        }
        self.edges[index as usize] = upstream;
        Task {
            id: node.id,
            settings: node.settings,
            work: node.work.into(),
            inputs,
            over,
            group: group.map(|group| self.mapped[&group]),
            gives_length: false,
            upstream: Vec::new(),
            downstream: Vec::new(),
            setups: node.setups.iter().map(|setup| setup.index).collect(),
            enclosing: Vec::new(),
            encloses: Vec::new(),
            upstream_ids: Vec::new(),
        }
    }

    fn taken(
        &mut self,
        source: Source,
        place: &str,
        index: u32,
        upstream: &mut BTreeSet<u32>,
        factors: &mut Vec<Elements>,
    ) -> Option<Taken> {
        Some(match source {
            Source::Literal(value) => Taken::Literal(value),
            Source::Invalid(message) => {
                self.problems.push(
                    invalid(format!("{place}: {message}"))
                        .hint("what is written in a DAG is JSON: no NaN, and names that are text"),
                );
                return None;
            }
            Source::Param(param) => {
                self.param(place, param);
                Taken::Param(param)
            }
            Source::XCom { task, key } => {
                let producer = self.producer(task, place)?;
                if self.many[producer as usize] {
                    self.problems.push(
                        invalid(format!("{place} takes one value of a task that is mapped"))
                            .hint("take `outputs()` of an operator whose field is expanded"),
                    );
                }
                if let Some(group) =
                    self.mapped_around(producer).filter(|g| self.mapped_around(index) != Some(*g))
                {
                    let group = &self.groups[group as usize].id;
                    self.problems.push(
                        invalid(format!("{place} takes one value out of the mapped group `{group}`"))
                            .hint("outside, it is a sequence: let the group's closure return it"),
                    );
                }
                upstream.insert(producer);
                Taken::XCom { task: producer, key: key.into() }
            }
            Source::Gather { task, key, gaps } => {
                let task = self.mapped_producer(task, place, Some(index))?;
                upstream.insert(task);
                Taken::Gather { task, key: key.into(), gaps }
            }
            Source::Stream { task, key } => {
                let task = self.mapped_producer(task, place, Some(index))?;
                upstream.insert(task);
                Taken::Stream { task, key: key.into() }
            }
            Source::Element(group) => {
                if group.dag != self.token || !self.around(index).any(|around| around == group.index) {
                    self.problems.push(
                        invalid(format!("{place} is the element of a mapped group that the task is not in"))
                            .hint("an element is known only to the tasks that the group's closure adds"),
                    );
                }
                Taken::Element
            }
            Source::Expand(elements) => {
                self.elements(&elements, place, upstream, Some(index));
                factors.push(elements);
                Taken::Factor(factors.len() - 1)
            }
            Source::All(elements) => {
                self.check(&elements, place, upstream, Some(index));
                Taken::All(elements)
            }
            Source::Kwarg => Taken::Kwarg,
        })
    }

    fn producer(&mut self, task: TaskRef, place: &str) -> Option<u32> {
        if task.dag == self.token {
            return Some(task.index);
        }
        self.problems.push(
            invalid(format!("{place} is an XComArg of another DAG"))
                .hint("an XComArg belongs to the DAG that it was made in; pull across DAGs with xcom_pull"),
        );
        None
    }

    /// The mapped task whose values something takes; `taker` is the task that does, if it is one.
    fn mapped_producer(&mut self, task: TaskRef, place: &str, taker: Option<u32>) -> Option<u32> {
        let task = self.producer(task, place)?;
        if let Some(group) = self.mapped_around(task)
            && taker.is_some_and(|taker| self.mapped_around(taker) == Some(group))
        {
            let group = &self.groups[group as usize].id;
            self.problems.push(
                invalid(format!("{place} takes the values of all instances of the mapped group `{group}`"))
                    .hint(
                        "inside of the group only the value of the same instance is there; take `output()`",
                    ),
            );
        }
        if !self.many[task as usize] && self.mapped_around(task).is_none() {
            self.problems.push(
                invalid(format!("{place} takes the values of a mapped task, and the task is not mapped"))
                    .hint("take `output()` of an operator whose fields are not expanded"),
            );
        }
        Some(task)
    }

    /// One list of a mapped task is no sequence: there is a list for each of its instances.
    fn refuse_mapped(&mut self, producer: u32, place: &str) {
        if self.many[producer as usize] || self.mapped_around(producer).is_some() {
            self.problems.push(
                invalid(format!("{place} is the list of one instance of a mapped task")).hint(
                    "outside, the instances of a mapped task or group are a sequence; expand over that",
                ),
            );
        }
    }

    fn param(&mut self, place: &str, param: &str) {
        if !self.params.iter().any(|spec| spec.name == param) {
            self.problems.push(unknown_param(place, param, self.params));
        }
    }

    /// Checks a sequence that something is expanded over, and adds the tasks that it is made of.
    fn elements(
        &mut self,
        elements: &Elements,
        place: &str,
        producers: &mut BTreeSet<u32>,
        taker: Option<u32>,
    ) {
        self.check(elements, place, producers, taker);
        elements.leaves(&mut |leaf| {
            if let Elements::XCom { task, key: excom_core::RETURN_VALUE, many: false } = leaf
                && task.dag == self.token
            {
                self.lengths.insert(task.index);
            }
        });
    }

    /// Checks a sequence, and adds the tasks that it is made of.
    fn check(&mut self, elements: &Elements, place: &str, producers: &mut BTreeSet<u32>, taker: Option<u32>) {
        let mut leaves = Vec::new();
        elements.leaves(&mut |leaf| leaves.push(leaf));
        for leaf in leaves {
            match leaf {
                Elements::Invalid(message) => self.problems.push(
                    invalid(format!("{place}: {message}"))
                        .hint("a sequence is a list or dict of JSON values, or what tasks outside of mapped groups give"),
                ),
                Elements::Param(param) => self.param(place, param),
                Elements::XCom { task, many: true, .. } => {
                    producers.extend(self.mapped_producer(*task, place, taker));
                }
                Elements::XCom { task, many: false, .. } => {
                    let Some(task) = self.producer(*task, place) else { continue };
                    self.refuse_mapped(task, place);
                    producers.insert(task);
                }
                _ => {}
            }
        }
    }

    /// Adds the orders without values, those of groups last: which tasks are first and last in a group follows
    /// from all others.
    fn order(&mut self, tasks: &[Task], orders: Vec<(Upstream, Upstream)>) {
        let of_groups = (0..).zip(&self.groups).flat_map(|(index, group)| {
            let group_ref = crate::arg::GroupRef { dag: self.token, index };
            group.after.iter().map(move |after| (Upstream::Group(group_ref), *after))
        });
        let (plain, grouped): (Vec<_>, Vec<_>) = orders
            .into_iter()
            .chain(of_groups.collect::<Vec<_>>())
            .partition(|order| matches!(order, (Upstream::Task(_), Upstream::Task(_))));
        for (what, after) in plain.into_iter().chain(grouped) {
            let afters = self.ends(tasks, after, true);
            for task in self.ends(tasks, what, false) {
                self.edges[task as usize].extend(afters.iter().filter(|after| {
                    // A group that waits for its own element's tasks has them before it already.
                    **after != task || matches!((what, after), (Upstream::Task(_), _))
                }));
            }
        }
        // What the elements of a mapped group come from is before the tasks that are first in it.
        for group in self.mapped.keys().copied().collect::<Vec<_>>() {
            let mut producers = BTreeSet::new();
            if let Some(elements) = self.groups[group as usize].expand.clone() {
                elements.leaves(&mut |leaf| {
                    if let Elements::XCom { task, .. } = leaf
                        && task.dag == self.token
                    {
                        producers.insert(task.index);
                    }
                });
            }
            let group = Upstream::Group(crate::arg::GroupRef { dag: self.token, index: group });
            for task in self.ends(tasks, group, false) {
                self.edges[task as usize].extend(&producers);
            }
        }
    }

    /// The tasks of a group that nothing in it waits for (the last), or that wait for nothing in it (the first).
    fn ends(&self, tasks: &[Task], what: Upstream, last: bool) -> Vec<u32> {
        let group = match what {
            Upstream::Task(task) => {
                return if (task.index as usize) < tasks.len() { vec![task.index] } else { vec![] };
            }
            Upstream::Group(group) => group.index,
        };
        let inside: Vec<u32> =
            (0..).take(tasks.len()).filter(|task| self.around(*task).any(|around| around == group)).collect();
        // A teardown holds up nothing behind its group.
        let counts = |task: &u32| !(last && tasks[*task as usize].settings.role.is_teardown());
        let counted: Vec<u32> = inside.iter().copied().filter(counts).collect();
        let is_end = |task: &u32| {
            if last {
                !counted.iter().any(|other| self.edges[*other as usize].contains(task))
            } else {
                !inside.iter().any(|other| self.edges[*task as usize].contains(other))
            }
        };
        counted.iter().copied().filter(is_end).collect()
    }

    fn fill(&self, mut groups: Vec<MappedGroup>) -> Vec<MappedGroup> {
        for task in (0..).take(self.edges.len()) {
            if let Some(group) = self.mapped_around(task) {
                groups[self.mapped[&group] as usize].tasks.push(task);
            }
        }
        groups
    }
}

/// All problems as one error.
fn problem(dag_id: &str, problems: &[Error]) -> Option<Error> {
    let messages: Vec<String> = problems.iter().map(Error::to_string).collect();
    let error = match messages.as_slice() {
        [] => return None,
        [one] => format!("DAG `{dag_id}` cannot be run: {one}"),
        many => format!("DAG `{dag_id}` cannot be run, for {} reasons: {}", many.len(), many.join("; ")),
    };
    let hints: BTreeSet<String> =
        problems.iter().flat_map(|problem| problem.hints().iter().cloned()).collect();
    Some(hints.into_iter().fold(Error::new(ErrorKind::InvalidRequest, error), Error::hint))
}

fn unknown_param(place: &str, param: &str, params: &[ParamSpec]) -> Error {
    let error = invalid(format!("{place} is the parameter `{param}`, which this DAG does not declare"));
    let names = || params.iter().map(|spec| spec.name);
    match nearest(param, names()) {
        Some(near) => error.hint(format!("nearest: `{near}`")),
        None if params.is_empty() => error.hint("it declares none"),
        None => error.hint(format!("it declares {}", listing(names()))),
    }
}

fn connect(tasks: &mut [Task]) {
    for index in 0..tasks.len() {
        for before in tasks[index].upstream.clone() {
            let id = tasks[before as usize].id.clone();
            tasks[index].upstream_ids.push(id);
            tasks[before as usize].downstream.push(u32::try_from(index).unwrap_or(u32::MAX));
        }
    }
}

/// A cycle, with its first task at both ends, if there is one.
fn cycle(tasks: &[Task]) -> Option<Vec<u32>> {
    // Takes away tasks that wait for nothing (Kahn); what stays has a cycle before it.
    let mut waits: Vec<usize> = tasks.iter().map(|task| task.upstream.len()).collect();
    let mut free: Vec<u32> =
        (0..).zip(&waits).filter(|(_, waits)| **waits == 0).map(|(task, _)| task).collect();
    while let Some(task) = free.pop() {
        for next in &tasks[task as usize].downstream {
            waits[*next as usize] -= 1;
            if waits[*next as usize] == 0 {
                free.push(*next);
            }
        }
    }
    let stuck = |task: &u32| waits[*task as usize] > 0;
    let mut path: Vec<u32> = vec![(0..).take(tasks.len()).find(stuck)?];
    loop {
        let last = *path.last()?;
        let before = *tasks[last as usize].upstream.iter().find(|task| stuck(task))?;
        if let Some(start) = path.iter().position(|task| *task == before) {
            path.drain(..start);
            path.push(before);
            path.reverse();
            return Some(path);
        }
        path.push(before);
    }
}
