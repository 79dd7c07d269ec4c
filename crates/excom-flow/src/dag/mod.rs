//! A DAG while it is being built: what `#[dag]` functions and task functions write into.

mod definition;
mod draw;
mod graph;
mod group;
mod handle;
mod settings;
mod skips;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use excom_core::Error;

pub use definition::{DagDefinition, param};
pub use graph::{Graph, Task};
pub(crate) use graph::{Over, Taken};
pub use group::{Group, Outside};
use group::{GroupNode, taken};
pub use handle::{AnyTask, Handle};
pub use settings::{Role, Settings, TriggerRule};

use crate::arg::{Arity, Source, TaskRef, Upstream, XComArg};
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
    groups: Vec<GroupNode>,
    /// The groups that are being built, the outermost first.
    open: Vec<u32>,
    /// Each id that is taken, and the last number that was put behind it for another task.
    ids: HashMap<Arc<str>, u32>,
    problems: Vec<Error>,
}

#[derive(Debug)]
struct Node {
    id: Arc<str>,
    settings: Settings,
    work: Box<dyn Work>,
    /// The innermost group that it is in.
    group: Option<u32>,
    after: Vec<Upstream>,
    /// Of a teardown, what it takes away.
    setups: Vec<TaskRef>,
}

impl Building {
    /// The id with those of the groups around it.
    fn prefixed(&self, id: &str) -> Arc<str> {
        match self.open.last() {
            Some(group) => format!("{}.{id}", self.groups[*group as usize].id).into(),
            None => id.into(),
        }
    }

    /// The id, or the id with the next number behind it that is free.
    fn free_id(&mut self, id: &str) -> Arc<str> {
        let id = &*self.prefixed(id);
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
        let task_id: Arc<str> = self.building.borrow().prefixed(task_id);
        if self.building.borrow_mut().ids.insert(task_id.clone(), 0).is_some() {
            self.problem(taken("two tasks have", &task_id));
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

    /// A task that was added before, for its settings and its order.
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
    ///     dag.task(load(dag)).after(clean).trigger_rule(TriggerRule::AllDone);
    /// }
    /// assert_eq!(nightly().graph()?.tasks()[1].upstream().collect::<Vec<_>>(), ["clean"]);
    /// # Ok::<(), excom_core::Error>(())
    /// ```
    pub fn task(&self, task: impl Into<Upstream>) -> Handle<'_, AnyTask> {
        Handle::new(self, self.single(task.into()))
    }

    /// Adds a task that calls a function, for the task functions that `#[task]` makes. When the id is
    /// taken it becomes `id__1`, `id__2` and so on, so that a function can be used many times.
    pub(crate) fn add_function<T, M: Arity>(
        &self,
        id: &str,
        settings: Settings,
        function: Function,
    ) -> XComArg<T, M> {
        let task_id = self.building.borrow_mut().free_id(id);
        XComArg::new(self.push(task_id, settings, Box::new(function)))
    }

    /// Orders two tasks or groups where no value passes between them: the first runs when the second is done.
    pub(crate) fn order(&self, what: Upstream, after: Upstream) {
        if !self.owns(what) || !self.owns(after) {
            return self.problem(
                invalid("a task is ordered after a task of another DAG")
                    .hint("order only tasks that were added to the same DAG"),
            );
        }
        match what {
            Upstream::Task(task) => self.edit(task, |node| node.after.push(after)),
            Upstream::Group(group) => {
                self.building.borrow_mut().groups[group.index as usize].after.push(after);
            }
        }
    }

    /// Makes a task the teardown of a setup.
    fn teardown(&self, task: TaskRef, setup: Upstream) {
        let setup = self.single(setup);
        self.order(Upstream::Task(task), Upstream::Task(setup));
        self.edit(setup, |node| node.settings.role = Role::Setup);
        self.edit(task, |node| {
            if !node.settings.role.is_teardown() {
                node.settings.role = Role::Teardown;
            }
            node.settings.trigger_rule = TriggerRule::AllDoneSetupSuccess;
            node.setups.push(setup);
        });
    }

    /// The one task that is meant.
    fn single(&self, task: Upstream) -> TaskRef {
        match task {
            Upstream::Task(task) if task.dag == self.token => task,
            _ => {
                self.problem(
                    invalid("a group, or a task of another DAG, is used as a task of this one")
                        .hint("name a task that was added to this DAG"),
                );
                TaskRef { dag: self.token, index: u32::MAX }
            }
        }
    }

    fn owns(&self, what: Upstream) -> bool {
        let dag = match what {
            Upstream::Task(task) => task.dag,
            Upstream::Group(group) => group.dag,
        };
        dag == self.token
    }

    pub(crate) fn problem(&self, error: Error) {
        self.building.borrow_mut().problems.push(error);
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
        let mut building = self.building.borrow_mut();
        let group = building.open.last().copied();
        let nodes = &mut building.nodes;
        let index = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
        nodes.push(Node { id, settings, work, group, after: Vec::new(), setups: Vec::new() });
        TaskRef { dag: self.token, index }
    }
}

/// An argument of a task with its name, for messages.
pub(crate) type NamedSource = (Cow<'static, str>, Source);
