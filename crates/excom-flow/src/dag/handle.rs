//! A task that was just added, for settling the rest of it.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use super::Dag;
use crate::arg::{TaskRef, XComArg};
use crate::operator::Operator;

/// A task that runs an operator, while its DAG is built.
pub struct Handle<'dag, O> {
    dag: &'dag Dag,
    task: TaskRef,
    of: PhantomData<fn() -> O>,
}

impl<O> Clone for Handle<'_, O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<O> Copy for Handle<'_, O> {}

impl<O> fmt::Debug for Handle<'_, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle(task {} of {})", self.task.index, self.dag.id())
    }
}

impl<O> From<Handle<'_, O>> for TaskRef {
    fn from(handle: Handle<'_, O>) -> Self {
        handle.task
    }
}

impl<'dag, O: Operator> Handle<'dag, O> {
    pub(super) fn new(dag: &'dag Dag, task: TaskRef) -> Self {
        Self { dag, task, of: PhantomData }
    }

    /// What the operator returns, for other tasks.
    pub fn output(self) -> XComArg<O::Output> {
        XComArg::new(self.task)
    }

    /// Runs only when the other task is done, without taking a value from it.
    pub fn after(self, other: impl Into<TaskRef>) -> Self {
        self.dag.order(self.task, other.into());
        self
    }

    /// How many times it is tried again after it failed.
    pub fn retries(self, retries: u32) -> Self {
        self.dag.edit_settings(self.task, |settings| settings.retries = retries);
        self
    }

    /// How long to wait before it is tried again.
    pub fn retry_delay(self, delay: Duration) -> Self {
        self.dag.edit_settings(self.task, |settings| settings.retry_delay = delay);
        self
    }

    /// Whether what it returns is pushed.
    pub fn do_xcom_push(self, push: bool) -> Self {
        self.dag.edit_settings(self.task, |settings| settings.do_xcom_push = push);
        self
    }

    /// Whether each entry of the dict that it returns is pushed under its own key too.
    pub fn multiple_outputs(self, multiple: bool) -> Self {
        self.dag.edit_settings(self.task, |settings| settings.multiple_outputs = multiple);
        self
    }

    /// Refuses the DAG: what an operator's own methods say to a wrong setting.
    pub fn problem(self, error: excom_core::Error) {
        self.dag.problem(error);
    }

    /// Changes the operator: what an operator's own methods on its handle are made of.
    pub fn configure(self, change: impl FnOnce(&mut O)) -> Self {
        self.dag.edit_operator(self.task, change);
        self
    }
}
