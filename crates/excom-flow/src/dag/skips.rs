//! Which tasks a branch or short-circuit skips.

use std::collections::BTreeSet;

use excom_core::Result;

use super::{Graph, Task};
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
                let kept = self.behind(kept);
                direct.iter().copied().filter(|task| !kept.contains(task)).collect()
            }
        })
    }

    /// Tasks, and all that follow from them.
    pub(crate) fn behind(&self, tasks: impl IntoIterator<Item = u32>) -> BTreeSet<u32> {
        self.reach(tasks, |task| &task.downstream)
    }

    /// A teardown, the setups that it takes away, and what lies between.
    pub(crate) fn scope(&self, teardown: u32) -> BTreeSet<u32> {
        let behind = self.behind(self.tasks()[teardown as usize].setups.iter().copied());
        &behind & &self.reach([teardown], |task| &task.upstream)
    }

    fn reach(&self, from: impl IntoIterator<Item = u32>, next: impl Fn(&Task) -> &Vec<u32>) -> BTreeSet<u32> {
        let mut reached = BTreeSet::new();
        let mut open: Vec<u32> = from.into_iter().collect();
        while let Some(task) = open.pop() {
            if reached.insert(task) {
                open.extend(next(&self.tasks()[task as usize]));
            }
        }
        reached
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
        Err(match nearest(id, self.tasks().iter().map(Task::id)) {
            Some(near) => error.hint(format!("nearest: `{near}`")),
            None => error.hint("name a task by its id, with the ids of the groups around it"),
        })
    }
}
