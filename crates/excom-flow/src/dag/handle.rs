//! A task that was just added, for settling the rest of it.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use super::{Dag, Role, Settings, TriggerRule};
use crate::arg::{Many, TaskRef, Upstream, XComArg};
use crate::operator::Operator;

/// A task while its DAG is built: its settings, and what it runs after. `O` is its operator, or [`AnyTask`].
pub struct Handle<'dag, O> {
    dag: &'dag Dag,
    task: TaskRef,
    of: PhantomData<fn() -> O>,
}

/// A task of which only settings are changed, whatever it runs.
#[derive(Debug)]
pub enum AnyTask {}

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

impl<O> From<Handle<'_, O>> for Upstream {
    fn from(handle: Handle<'_, O>) -> Self {
        Self::Task(handle.task)
    }
}

impl<'dag, O> Handle<'dag, O> {
    pub(super) fn new(dag: &'dag Dag, task: TaskRef) -> Self {
        Self { dag, task, of: PhantomData }
    }

    /// Runs only when another task, or all of a group, is done, without taking a value from it. What Airflow
    /// writes as `other >> this`.
    pub fn after(self, other: impl Into<Upstream>) -> Self {
        self.dag.order(Upstream::Task(self.task), other.into());
        self
    }

    /// How many times it is tried again after it failed.
    pub fn retries(self, retries: u32) -> Self {
        self.settings(|settings| settings.retries = retries)
    }

    /// How long to wait before it is tried again.
    pub fn retry_delay(self, delay: Duration) -> Self {
        self.settings(|settings| settings.retry_delay = delay)
    }

    /// What the delay is multiplied with for each further try, with jitter.
    pub fn retry_exponential_backoff(self, factor: f64) -> Self {
        self.settings(|settings| settings.retry_exponential_backoff = factor)
    }

    /// The longest delay between tries.
    pub fn max_retry_delay(self, delay: Duration) -> Self {
        self.settings(|settings| settings.max_retry_delay = delay)
    }

    /// How long one try may take. A sync function cannot be stopped: its try fails and its thread is left to
    /// end by itself, with nothing that it pushes counting any more once the next try has started. With
    /// processes of their own ([`Runner::isolation`](crate::Runner::isolation)) tasks are killed.
    pub fn execution_timeout(self, timeout: Duration) -> Self {
        self.settings(|settings| settings.execution_timeout = Some(timeout))
    }

    /// How many of its instances run at the same time in a run.
    pub fn max_active_tis_per_dagrun(self, most: u32) -> Self {
        self.settings(|settings| settings.max_active_tis_per_dagrun = Some(most.max(1)))
    }

    /// When it may run, by the states of the tasks before it.
    pub fn trigger_rule(self, rule: TriggerRule) -> Self {
        self.settings(|settings| settings.trigger_rule = rule)
    }

    /// Makes it a setup: it prepares something that a teardown takes away.
    pub fn setup(self) -> Self {
        self.settings(|settings| settings.role = Role::Setup)
    }

    /// Makes it the teardown of setups: it runs when everything before it is done and one of them succeeded,
    /// whatever became of the work between. Its failure does not fail the run.
    ///
    /// ```
    /// # extern crate excom_flow as excom;
    /// use excom::prelude::*;
    ///
    /// #[task]
    /// fn start_cluster() -> String { "c-1".into() }
    /// #[task]
    /// fn compute(cluster: String) -> u64 { cluster.len() as u64 }
    /// #[task]
    /// fn stop_cluster(cluster: String) {}
    ///
    /// #[dag]
    /// fn clustered(dag: &Dag) {
    ///     let cluster = start_cluster(dag);
    ///     let result = compute(dag, cluster);
    ///     dag.task(stop_cluster(dag, cluster)).after(result).teardown_of(cluster);
    /// }
    /// assert_eq!(clustered().graph()?.tasks()[2].settings().trigger_rule.name(), "all_done_setup_success");
    /// # Ok::<(), excom_core::Error>(())
    /// ```
    pub fn teardown_of(self, setup: impl Into<Upstream>) -> Self {
        self.dag.teardown(self.task, setup.into());
        self
    }

    /// Lets the failure of this teardown fail the run.
    pub fn on_failure_fail_dagrun(self) -> Self {
        self.settings(|settings| settings.role = Role::TeardownThatCounts)
    }

    /// Whether what it returns is pushed.
    pub fn do_xcom_push(self, push: bool) -> Self {
        self.settings(|settings| settings.do_xcom_push = push)
    }

    /// Whether each entry of the dict that it returns is pushed under its own key too.
    pub fn multiple_outputs(self, multiple: bool) -> Self {
        self.settings(|settings| settings.multiple_outputs = multiple)
    }

    /// Refuses the DAG: what an operator's own methods say to a wrong setting.
    pub fn problem(self, error: excom_core::Error) {
        self.dag.problem(error);
    }

    fn settings(self, change: impl FnOnce(&mut Settings)) -> Self {
        self.dag.edit(self.task, |node| change(&mut node.settings));
        self
    }
}

impl<O: Operator> Handle<'_, O> {
    /// What the operator returns, for other tasks.
    pub fn output(self) -> XComArg<O::Output> {
        XComArg::new(self.task)
    }

    /// What the instances of the operator return, when a field of it is expanded.
    pub fn outputs(self) -> XComArg<O::Output, Many> {
        XComArg::from_origin(self.output().origin)
    }

    /// Changes the operator: what an operator's own methods on its handle are made of.
    pub fn configure(self, change: impl FnOnce(&mut O)) -> Self {
        self.dag.edit_operator(self.task, change);
        self
    }
}
