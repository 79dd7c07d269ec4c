//! Running tasks of a run again: which ones, and what must be cleared before.

use std::cmp::Reverse;

use excom_core::db::Scope;
use excom_core::{Caller, Result, TaskInstanceKey, TaskState, UNMAPPED};

use super::anew::Anew;
use super::past::Past;
use super::report::RunReport;
use super::schedule::Instance;
use super::{Runner, number, stored_params};
use crate::cancel::Cancellation;
use crate::dag::{DagDefinition, Graph};
use crate::error::invalid;

/// Which tasks of a run are run again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rerun {
    /// These, and what is behind them.
    From(Vec<String>),
    /// The task instances that failed, and what is behind them: the other instances of a mapped task stay, and
    /// in a mapped group what is behind is of the same map index.
    Failed,
}

impl Runner {
    /// Runs tasks of a run again, and everything behind them: their XComs are cleared first, and those of the
    /// tasks before them are read again. The setups that a task needs, and their teardowns, run again with it.
    ///
    /// # Errors
    /// As [`Runner::run`]; when there is no such run or task, or nothing to run again.
    pub async fn rerun(
        &self,
        definition: &DagDefinition,
        run_id: &str,
        what: Rerun,
        cancellation: Cancellation,
    ) -> Result<RunReport> {
        let graph = definition.graph()?;
        let info = self.known(&graph, run_id).await?;
        let first: Vec<Instance> = match what {
            Rerun::From(task_ids) => {
                let all = |task| Instance { task, map_index: UNMAPPED };
                task_ids.iter().map(|task_id| number(&graph, task_id).map(all)).collect::<Result<_>>()?
            }
            Rerun::Failed => self.failed(&graph, run_id).await?,
        };
        if first.is_empty() {
            return Err(invalid(format!("nothing failed in run `{run_id}` of DAG `{}`", definition.id()))
                .hint("name a task to run again from"));
        }
        let anew = Anew::behind(&graph, first);
        // Whoever is killed from here on leaves a run that can be resumed.
        self.engine.start_run(&info.run).await?;
        self.clear(&graph, run_id, &anew).await?;
        let past = Past::read(&self.engine, &graph, &info.run.run_id, &anew).await?;
        let params = stored_params(definition, &info)?;
        self.drive(definition, graph, info.run, params, cancellation, past).await
    }

    /// The task instances that failed.
    async fn failed(&self, graph: &Graph, run_id: &str) -> Result<Vec<Instance>> {
        let mut failed = Vec::new();
        let mut known = self.engine.task_instances(graph.dag_id(), run_id);
        while let Some(info) = known.next().await? {
            if info.state == TaskState::Failed
                && let Some(task) = graph.number(&info.key.task_id)
            {
                // In a DAG that was changed since, an index may say nothing any more.
                let is_mapped = graph.tasks()[task as usize].is_mapped();
                let map_index = if is_mapped { info.key.map_index } else { UNMAPPED };
                failed.push(Instance { task, map_index });
            }
        }
        Ok(failed)
    }

    /// Lets task instances wait again, and clears what they pushed. In this order, and the last tasks first, so
    /// that nothing counts as done whose values, or whose elders' values, are gone.
    async fn clear(&self, graph: &Graph, run_id: &str, anew: &Anew) -> Result<()> {
        let mut cleared = Vec::new();
        let mut known = self.engine.task_instances(graph.dag_id(), run_id);
        while let Some(info) = known.next().await? {
            let Some(task) = graph.number(&info.key.task_id) else { continue };
            let instance = Instance { task, map_index: info.key.map_index };
            if anew.contains(instance) && info.state != TaskState::Removed {
                cleared.push((Reverse(task), info.key));
            }
        }
        cleared.sort_by_key(|(task, _)| *task);
        let waiting: Vec<(TaskInstanceKey, TaskState)> =
            cleared.iter().map(|(_, key)| (key.clone(), TaskState::Scheduled)).collect();
        for states in waiting.chunks(1000) {
            self.engine.set_states(states).await?;
        }
        for (_, key) in cleared {
            self.engine.clear(&Caller::System("runner"), &Scope::TaskInstance(key)).await?;
        }
        Ok(())
    }
}
