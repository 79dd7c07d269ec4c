//! What of a run is run again: tasks, single instances of mapped ones, and what follows from them.

use std::collections::BTreeSet;

use excom_core::UNMAPPED;

use super::schedule::{Instance, together};
use crate::dag::Graph;

/// The task instances that run again; one without a map index stands for all of its task.
#[derive(Debug, Default)]
pub(super) struct Anew(BTreeSet<Instance>);

impl Anew {
    /// Task instances, and all that follow from them. The setups that these work on, and the teardowns of
    /// those, are among them: whoever runs again needs again what was torn down behind it.
    pub(super) fn behind(graph: &Graph, first: impl IntoIterator<Item = Instance>) -> Self {
        let mut anew = BTreeSet::new();
        let mut next: Vec<Instance> = first.into_iter().collect();
        while let Some(instance) = next.pop() {
            if anew.insert(instance) {
                let downstream = &graph.tasks()[instance.task as usize].downstream;
                next.extend(downstream.iter().map(|task| beside(graph, instance, *task)));
            }
        }
        let torn_down = (0..).zip(graph.tasks()).filter(|(_, task)| !task.setups.is_empty());
        for (teardown, task) in torn_down {
            let scope = graph.scope(teardown);
            let around = || task.setups.iter().copied().chain([teardown]);
            let needed: Vec<Instance> = anew
                .iter()
                .filter(|instance| scope.contains(&instance.task))
                .flat_map(|instance| around().map(|task| beside(graph, *instance, task)))
                .collect();
            anew.extend(needed);
        }
        Self(anew)
    }

    pub(super) fn contains(&self, instance: Instance) -> bool {
        self.0.contains(&Instance { map_index: UNMAPPED, ..instance }) || self.0.contains(&instance)
    }
}

/// What of a task belongs to an instance of another: the same map index in a mapped group, or else all of it.
fn beside(graph: &Graph, instance: Instance, task: u32) -> Instance {
    let map_index = match together(graph, instance.task, &graph.tasks()[task as usize]) {
        true => instance.map_index,
        false => UNMAPPED,
    };
    Instance { task, map_index }
}
