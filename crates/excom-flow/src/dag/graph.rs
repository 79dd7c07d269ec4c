//! A DAG that is built and checked: what a runner runs.

mod enclose;
mod finish;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::Settings;
use crate::arg::Gaps;
use crate::instance::TaskFacts;
use crate::params::ParamSpec;
use crate::sequence::Elements;
use crate::work::Work;

/// A DAG that is built and checked. Its tasks are numbered in the order in which they were added.
#[derive(Debug, Clone)]
pub struct Graph {
    dag_id: Arc<str>,
    tasks: Arc<[Task]>,
    groups: Arc<[MappedGroup]>,
    numbers: Arc<HashMap<Arc<str>, u32>>,
    params: Arc<[ParamSpec]>,
}

/// A task of a [`Graph`].
#[derive(Clone)]
pub struct Task {
    id: Arc<str>,
    settings: Settings,
    pub(crate) work: Arc<dyn Work>,
    /// What it takes: each with its name, and a task by its number.
    pub(crate) inputs: Vec<(Arc<str>, Taken)>,
    /// What it is expanded over.
    pub(crate) over: Option<Over>,
    /// The mapped group that it is in.
    pub(crate) group: Option<u32>,
    /// Whether something is expanded over what it returns, and it is not mapped itself.
    pub(crate) gives_length: bool,
    pub(crate) upstream: Vec<u32>,
    pub(crate) downstream: Vec<u32>,
    /// Of a teardown, what it takes away.
    pub(crate) setups: Vec<u32>,
    /// What it waits for further up than directly before it; see `enclose`.
    pub(crate) enclosing: Vec<u32>,
    /// The tasks that have it in `enclosing`.
    pub(crate) encloses: Vec<u32>,
    upstream_ids: Vec<Arc<str>>,
}

/// A task group that runs once for each element.
#[derive(Debug, Clone)]
pub(crate) struct MappedGroup {
    pub(crate) id: Arc<str>,
    pub(crate) elements: Elements,
    /// The tasks that its elements come from.
    pub(crate) producers: Vec<u32>,
    /// The tasks in it.
    pub(crate) tasks: Vec<u32>,
}

/// What a task is expanded over.
#[derive(Debug, Clone)]
pub(crate) enum Over {
    /// All combinations of the elements of these, the last varying fastest.
    Product(Vec<Elements>),
    /// Dicts of arguments.
    Kwargs(Elements),
}

impl Over {
    pub(crate) fn factors(&self) -> &[Elements] {
        match self {
            Self::Product(factors) => factors,
            Self::Kwargs(elements) => std::slice::from_ref(elements),
        }
    }
}

/// What a task takes as an argument.
#[derive(Debug, Clone)]
pub(crate) enum Taken {
    Literal(excom_core::Value),
    Param(&'static str),
    /// Of one task instance: of the same map index, when both are in one mapped group.
    XCom {
        task: u32,
        key: Arc<str>,
    },
    /// Of all instances of a mapped task.
    Gather {
        task: u32,
        key: Arc<str>,
        gaps: Gaps,
    },
    /// As `Gather`, read on demand.
    Stream {
        task: u32,
        key: Arc<str>,
    },
    /// The element of the mapped group.
    Element,
    /// The element of this factor of the product.
    Factor(usize),
    /// All elements of a sequence.
    All(Elements),
    /// Of this name in the dict that the instance got.
    Kwarg,
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

    /// A task by its id.
    pub fn task(&self, task_id: &str) -> Option<&Task> {
        self.number(task_id).map(|number| &self.tasks[number as usize])
    }

    pub(crate) fn number(&self, task_id: &str) -> Option<u32> {
        self.numbers.get(task_id).copied()
    }

    /// What the DAG says of a task, for templates.
    pub(crate) fn facts(&self, task: &Task) -> TaskFacts {
        let ids = |tasks: &[u32]| tasks.iter().map(|task| self.tasks[*task as usize].id.clone()).collect();
        TaskFacts {
            operator: task.work.name().to_owned(),
            retries: task.settings.retries,
            retry_delay: task.settings.retry_delay,
            trigger_rule: task.settings.trigger_rule.to_string(),
            upstream_task_ids: ids(&task.upstream),
            downstream_task_ids: ids(&task.downstream),
            ..TaskFacts::default()
        }
    }

    pub(crate) fn groups(&self) -> &[MappedGroup] {
        &self.groups
    }

    /// The parameters that a run may bring.
    pub(crate) fn params(&self) -> &[ParamSpec] {
        &self.params
    }
}

impl Task {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What kind of task it is: `@task` for a function, or the name of its operator.
    pub fn operator(&self) -> &'static str {
        self.work.name()
    }

    pub(crate) fn shared_id(&self) -> &Arc<str> {
        &self.id
    }

    /// How it is run.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether it has one instance for each element of something.
    pub fn is_mapped(&self) -> bool {
        self.over.is_some() || self.group.is_some()
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
