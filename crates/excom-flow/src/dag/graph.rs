//! A DAG that is built and checked: what a runner runs.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use excom_core::{Error, ErrorKind, Result, TaskInstanceKey};

use super::{Dag, Node, Settings};
use crate::arg::{Source, TaskRef};
use crate::error::{invalid, listing, nearest};
use crate::params::ParamSpec;
use crate::work::Work;

/// A DAG that is built and checked. Its tasks are numbered in the order in which they were added.
#[derive(Debug, Clone)]
pub struct Graph {
    dag_id: Arc<str>,
    tasks: Arc<[Task]>,
}

/// A task of a [`Graph`].
#[derive(Clone)]
pub struct Task {
    id: Arc<str>,
    settings: Settings,
    pub(crate) work: Arc<dyn Work>,
    /// What it takes: each with its name, and a task by its number.
    pub(crate) inputs: Vec<(Arc<str>, Taken)>,
    pub(crate) upstream: Vec<u32>,
    pub(crate) downstream: Vec<u32>,
    upstream_ids: Vec<Arc<str>>,
}

/// What a task takes as an argument.
#[derive(Debug, Clone)]
pub(crate) enum Taken {
    Literal(excom_core::Value),
    XCom { task: u32, key: Arc<str> },
    Param(&'static str),
}

impl Graph {
    /// The DAG's id.
    pub fn dag_id(&self) -> &Arc<str> {
        &self.dag_id
    }

    /// Its tasks, in the order in which they were added.
    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    pub(crate) fn shared(&self) -> Arc<[Task]> {
        self.tasks.clone()
    }

    pub(super) fn finish(dag: Dag, params: &[ParamSpec]) -> Result<Self> {
        let (dag_id, token) = (dag.id, dag.token);
        let building = dag.building.into_inner();
        let mut problems = building.problems;
        let mut tasks = Vec::with_capacity(building.nodes.len());
        for (index, node) in building.nodes.into_iter().enumerate() {
            if let Err(error) = TaskInstanceKey::new(dag_id.clone(), "run", node.id.clone(), -1) {
                problems.push(error);
            }
            tasks.push(task(node, index, token, params, &mut problems));
        }
        connect(&mut tasks);
        if problems.is_empty()
            && let Some(cycle) = cycle(&tasks)
        {
            let names: Vec<&str> = cycle.iter().map(|task| &*tasks[*task as usize].id).collect();
            problems.push(
                invalid(format!("its tasks wait for each other: {}", names.join(" → ")))
                    .hint("take one of the orders or arguments between them away"),
            );
        }
        match problem(&dag_id, &problems) {
            Some(error) => Err(error),
            None => Ok(Self { dag_id, tasks: tasks.into() }),
        }
    }
}

impl Task {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn shared_id(&self) -> &Arc<str> {
        &self.id
    }

    /// How it is run.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The ids of the tasks that must be done before it.
    pub fn upstream(&self) -> impl Iterator<Item = &str> {
        self.upstream_ids.iter().map(|id| &**id)
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Task({} after {:?})", self.id, self.upstream_ids)
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

fn task(node: Node, index: usize, token: u64, params: &[ParamSpec], problems: &mut Vec<Error>) -> Task {
    let mut inputs = Vec::new();
    let mut upstream = BTreeSet::new();
    let mut depend = |task: TaskRef| upstream.insert(task.index);
    for (name, source) in node.work.inputs() {
        let place = || format!("argument `{name}` of task `{}`", node.id);
        let taken = match source {
            Source::Literal(value) => Taken::Literal(value),
            Source::Invalid(message) => {
                problems.push(invalid(format!("{}: {message}", place())));
                continue;
            }
            Source::XCom { task, .. } if task.dag != token => {
                problems.push(invalid(format!("{} is an XComArg of another DAG", place())).hint(
                    "an XComArg belongs to the DAG that it was made in; pull across DAGs with xcom_pull",
                ));
                continue;
            }
            Source::XCom { task, key } => {
                depend(task);
                Taken::XCom { task: task.index, key: key.into() }
            }
            Source::Param(param) => {
                if !params.iter().any(|spec| spec.name == param) {
                    problems.push(unknown_param(&place(), param, params));
                }
                Taken::Param(param)
            }
        };
        inputs.push((name.into(), taken));
    }
    for task in node.after {
        depend(task);
    }
    if upstream.contains(&u32::try_from(index).unwrap_or(u32::MAX)) {
        problems.push(invalid(format!("task `{}` waits for itself", node.id)));
    }
    Task {
        id: node.id,
        settings: node.settings,
        work: node.work.into(),
        inputs,
        upstream: upstream.into_iter().collect(),
        downstream: Vec::new(),
        upstream_ids: Vec::new(),
    }
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
