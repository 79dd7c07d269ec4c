//! A DAG while it is being built: what `#[dag]` functions and task functions write into.

mod definition;
mod graph;
mod handle;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use excom_core::Error;

pub use definition::{DagDefinition, param};
pub(crate) use graph::Taken;
pub use graph::{Graph, Task};
pub use handle::Handle;

use crate::arg::{Source, TaskRef, XComArg};
use crate::error::invalid;
use crate::operator::{Bash, Operated, Operator};
use crate::work::{Function, Work};

/// A DAG that is being built.
///
/// Task functions take it as their first argument and add a task to it. Nothing runs while it is built,
/// and what is wrong is told when it is finished, by [`DagDefinition::graph`].
#[derive(Debug)]
pub struct Dag {
    id: Arc<str>,
    token: u64,
    building: RefCell<Building>,
}

#[derive(Debug, Default)]
struct Building {
    nodes: Vec<Node>,
    /// Each id that is taken, and the last number that was put behind it for another task.
    ids: HashMap<Arc<str>, u32>,
    problems: Vec<Error>,
}

#[derive(Debug)]
struct Node {
    id: Arc<str>,
    settings: Settings,
    work: Box<dyn Work>,
    after: Vec<TaskRef>,
}

impl Building {
    /// The id, or the id with the next number behind it that is free.
    fn free_id(&mut self, id: &str) -> Arc<str> {
        let mut free: Arc<str> = id.into();
        let mut number = self.ids.get(id).copied().unwrap_or(0);
        while self.ids.contains_key(&free) {
            number += 1;
            free = format!("{id}__{number}").into();
        }
        self.ids.insert(free.clone(), 0);
        self.ids.insert(id.into(), number);
        free
    }
}

/// How a task is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Settings {
    /// How many times it is tried again after it failed.
    pub retries: u32,
    /// How long to wait before it is tried again; five minutes unless told, as in Airflow.
    pub retry_delay: Duration,
    /// Whether what it returns is pushed.
    pub do_xcom_push: bool,
    /// Whether each entry of the dict that it returns is pushed under its own key too.
    pub multiple_outputs: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let retry_delay = Duration::from_secs(300);
        Self { retries: 0, retry_delay, do_xcom_push: true, multiple_outputs: false }
    }
}

/// Tells DAGs being built apart, so that an argument of one is not taken for another's.
static TOKENS: AtomicU64 = AtomicU64::new(0);

impl Dag {
    pub(crate) fn new(id: Arc<str>) -> Self {
        Self { id, token: TOKENS.fetch_add(1, Ordering::Relaxed), building: RefCell::default() }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Adds a task that runs an operator.
    ///
    /// ```
    /// # extern crate excom_flow as excom;
    /// use excom::prelude::*;
    /// use excom::Bash;
    ///
    /// #[dag]
    /// fn hello(dag: &Dag) {
    ///     dag.add("greet", Bash::new("echo hello on {{ run_id }}")).retries(2);
    /// }
    /// assert_eq!(hello().graph()?.tasks()[0].id(), "greet");
    /// # Ok::<(), excom_core::Error>(())
    /// ```
    pub fn add<O: Operator>(&self, task_id: &str, operator: O) -> Handle<'_, O> {
        let task_id: Arc<str> = task_id.into();
        if self.building.borrow_mut().ids.insert(task_id.clone(), 0).is_some() {
            self.problem(
                invalid(format!("two tasks have the id `{task_id}`"))
                    .hint("give each task of a DAG an id of its own"),
            );
        }
        let task = self.push(task_id, Settings::default(), Box::new(Operated(operator)));
        Handle::new(self, task)
    }

    /// Adds a task that runs a shell command with `bash -c`; see [`Bash`].
    ///
    /// The last line of its output is what it pushes.
    ///
    /// ```
    /// # extern crate excom_flow as excom;
    /// use excom::prelude::*;
    ///
    /// #[task]
    /// fn choose() -> String { "peaks".into() }
    ///
    /// #[dag]
    /// fn load(dag: &Dag) {
    ///     let table = choose(dag);
    ///     dag.bash("load", r#"sqlite3 weather.db < "$TABLE.sql""#).env("TABLE", table);
    /// }
    /// assert_eq!(load().graph()?.tasks()[1].upstream().collect::<Vec<_>>(), ["choose"]);
    /// # Ok::<(), excom_core::Error>(())
    /// ```
    pub fn bash(&self, task_id: &str, command: &str) -> Handle<'_, Bash> {
        self.add(task_id, Bash::new(command))
    }

    /// Adds a task that calls a function, for the task functions that `#[task]` makes. When the id is
    /// taken it becomes `id__1`, `id__2` and so on, so that a function can be used many times.
    pub(crate) fn add_function<T>(&self, id: &str, settings: Settings, function: Function) -> XComArg<T> {
        let task_id = self.building.borrow_mut().free_id(id);
        XComArg::new(self.push(task_id, settings, Box::new(function)))
    }

    /// Orders two tasks where no value passes between them: the first runs when the second is done.
    pub(crate) fn order(&self, task: TaskRef, after: TaskRef) {
        let foreign = [task, after].iter().any(|task| task.dag != self.token);
        if foreign {
            return self.problem(
                invalid("a task is ordered after a task of another DAG")
                    .hint("order only tasks that were added to the same DAG"),
            );
        }
        self.edit(task, |node| node.after.push(after));
    }

    pub(crate) fn problem(&self, error: Error) {
        self.building.borrow_mut().problems.push(error);
    }

    pub(crate) fn edit_settings(&self, task: TaskRef, change: impl FnOnce(&mut Settings)) {
        self.edit(task, |node| change(&mut node.settings));
    }

    pub(crate) fn edit_operator<O: Operator>(&self, task: TaskRef, change: impl FnOnce(&mut O)) {
        self.edit(task, |node| {
            let work: &mut dyn std::any::Any = &mut *node.work;
            if let Some(Operated(operator)) = work.downcast_mut::<Operated<O>>() {
                change(operator);
            }
        });
    }

    fn edit(&self, task: TaskRef, change: impl FnOnce(&mut Node)) {
        if let Some(node) = self.building.borrow_mut().nodes.get_mut(task.index as usize) {
            change(node);
        }
    }

    fn push(&self, id: Arc<str>, settings: Settings, work: Box<dyn Work>) -> TaskRef {
        let nodes = &mut self.building.borrow_mut().nodes;
        let index = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
        nodes.push(Node { id, settings, work, after: Vec::new() });
        TaskRef { dag: self.token, index }
    }
}

impl<T, M> XComArg<T, M> {
    /// Orders without passing a value: the task that this value comes from runs only when the other is
    /// done. What Airflow writes as `other >> this`.
    ///
    /// ```
    /// # extern crate excom_flow as excom;
    /// use excom::prelude::*;
    ///
    /// #[task]
    /// fn clean() {}
    /// #[task]
    /// fn load() -> u64 { 365 }
    ///
    /// #[dag]
    /// fn nightly(dag: &Dag) {
    ///     let clean = clean(dag);
    ///     load(dag).after(dag, clean);
    /// }
    /// assert_eq!(nightly().graph()?.tasks()[1].upstream().collect::<Vec<_>>(), ["clean"]);
    /// # Ok::<(), excom_core::Error>(())
    /// ```
    pub fn after(self, dag: &Dag, other: impl Into<TaskRef>) -> Self {
        dag.order(self.task, other.into());
        self
    }
}

/// An argument of a task with its name, for messages.
pub(crate) type NamedSource = (Cow<'static, str>, Source);
