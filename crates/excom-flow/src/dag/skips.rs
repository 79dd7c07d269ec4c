//! Which tasks a branch or short-circuit skips.

use std::collections::BTreeSet;

use excom_core::Result;

use super::Graph;
use crate::error::{invalid, nearest};
use crate::outcome::SkipDownstream;

impl Graph {
    /// The tasks that a task's choice skips.
    ///
    /// # Errors
    /// When a branch names what is no task or group of the DAG.
    pub(crate) fn skipped(&self, task: u32, choice: &SkipDownstream) -> Result<Vec<u32>> {
        let direct = &self.tasks()[task as usize].downstream;
        let is_teardown = |task: &u32| self.tasks()[*task as usize].settings().role.is_teardown();
        Ok(match choice {
            SkipDownstream::Direct => direct.iter().copied().filter(|task| !is_teardown(task)).collect(),
            SkipDownstream::All => {
                self.behind(direct.iter().copied()).into_iter().filter(|task| !is_teardown(task)).collect()
            }
            SkipDownstream::AllBut(followed) => {
                let mut kept = Vec::new();
                for id in followed {
                    kept.extend(self.entrance(task, id)?);
                }
                let kept = self.behind(kept.into_iter());
                direct.iter().copied().filter(|task| !kept.contains(task)).collect()
            }
        })
    }

    /// Tasks, and all that follow from them.
    pub(crate) fn behind(&self, tasks: impl Iterator<Item = u32>) -> BTreeSet<u32> {
        let mut found = BTreeSet::new();
        let mut next: Vec<u32> = tasks.collect();
        while let Some(task) = next.pop() {
            if found.insert(task) {
                next.extend(&self.tasks()[task as usize].downstream);
            }
        }
        found
    }

    /// Tasks with the setups that they work on and the teardowns of those: whoever runs again needs again what
    /// was torn down behind it.
    pub(crate) fn with_setups(&self, mut tasks: BTreeSet<u32>) -> BTreeSet<u32> {
        let torn_down = (0..).zip(self.tasks()).filter(|(_, task)| !task.setups.is_empty());
        for (teardown, task) in torn_down {
            let covered = self.behind(task.setups.iter().copied());
            if tasks.iter().any(|task| covered.contains(task)) {
                tasks.extend(&task.setups);
                tasks.insert(teardown);
            }
        }
        tasks
    }

    /// A task, or the first tasks of a group.
    fn entrance(&self, from: u32, id: &str) -> Result<Vec<u32>> {
        if let Some(task) = self.number(id) {
            return Ok(vec![task]);
        }
        let prefix = format!("{id}.");
        let inside = |task: u32| self.tasks()[task as usize].id().starts_with(&prefix);
        let first: Vec<u32> = (0..)
            .take(self.tasks().len())
            .filter(|task| {
                inside(*task) && !self.tasks()[*task as usize].upstream.iter().any(|up| inside(*up))
            })
            .collect();
        if !first.is_empty() {
            return Ok(first);
        }
        let own = self.tasks()[from as usize].id();
        let error =
            invalid(format!("task `{own}` chose to follow `{id}`, which is no task or group of the DAG"));
        Err(match nearest(id, self.tasks().iter().map(super::Task::id)) {
            Some(near) => error.hint(format!("nearest: `{near}`")),
            None => error.hint("name a task by its id, with the ids of the groups around it"),
        })
    }
}
