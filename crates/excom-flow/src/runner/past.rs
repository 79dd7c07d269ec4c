//! What is known of a run that was begun before: what is done in it, and how often the rest was tried.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use excom_core::{Caller, Engine, PullOptions, Result, TaskInstanceKey, TaskState, XComKey};
use serde::Deserialize;

use super::anew::Anew;
use super::execute::SKIPMIXIN_KEY;
use super::expansion::sibling;
use super::schedule::{Instance, Target};
use crate::dag::Graph;
use crate::outcome::SkipDownstream;

/// How many choices are read together.
const CHOICES: usize = 1000;

/// What was done in a run before.
#[derive(Debug, Default)]
pub(super) struct Past {
    done: HashMap<Instance, (TaskState, Vec<u32>)>,
    /// The number of the last try of those that are not done, and how many of their tries failed.
    tries: HashMap<Instance, (u32, u32)>,
    /// How many instances each mapped task had.
    lengths: HashMap<u32, u32>,
    /// The tasks of which something is known.
    known: HashSet<u32>,
    /// Whether something done was told since the last look.
    news: bool,
    warnings: Vec<String>,
}

impl Past {
    /// What became of a run's task instances; those in `anew` are to run again.
    pub(super) async fn read(engine: &Engine, graph: &Graph, run_id: &Arc<str>, anew: &Anew) -> Result<Self> {
        let mut past = Self::default();
        let mut known = engine.task_instances(graph.dag_id(), run_id);
        while let Some(info) = known.next().await? {
            let Some(task) = graph.number(&info.key.task_id) else { continue };
            let instance = Instance { task, map_index: info.key.map_index };
            if instance.map_index >= 0 && info.state != TaskState::Removed {
                let length = past.lengths.entry(task).or_default();
                *length = (*length).max(instance.map_index.unsigned_abs() + 1);
            }
            let Some(attempt) = info.attempt else {
                // What was chosen before holds, also when the choice itself cannot be read any more.
                if info.state == TaskState::Skipped && !anew.contains(instance) {
                    past.done.insert(instance, (info.state, Vec::new()));
                }
                continue;
            };
            past.known.insert(task);
            let ran = attempt.try_number;
            let ended = info.state.is_finished() && info.state != TaskState::Removed;
            if anew.contains(instance) {
                past.tries.insert(instance, (ran, 0));
            } else if ended && info.state != TaskState::UpstreamFailed {
                past.done.insert(instance, (info.state, Vec::new()));
            } else if info.state == TaskState::UpForRetry {
                past.tries.insert(instance, (ran, failed_tries(engine, &info.key, ran).await?));
            } else {
                // Whoever ran it was interrupted: the same try begins again.
                let before = ran.saturating_sub(1);
                past.tries.insert(instance, (before, failed_tries(engine, &info.key, before).await?));
            }
        }
        past.read_choices(engine, graph, run_id).await?;
        Ok(past)
    }

    /// What branches and short-circuits chose, which they pushed.
    async fn read_choices(&mut self, engine: &Engine, graph: &Graph, run_id: &Arc<str>) -> Result<()> {
        let instances: Vec<Instance> = self.done.keys().copied().collect();
        for instances in instances.chunks(CHOICES) {
            let key = |instance: &Instance| -> Result<XComKey> {
                let task_id = graph.tasks()[instance.task as usize].shared_id().clone();
                let any = TaskInstanceKey::new(graph.dag_id().clone(), run_id.clone(), task_id, -1)?;
                sibling(&any, any.task_id.clone(), instance.map_index).xcom(SKIPMIXIN_KEY)
            };
            let keys: Vec<XComKey> = instances.iter().map(key).collect::<Result<_>>()?;
            let known = engine.db().entries(&keys).await?;
            let chosen: Vec<(Instance, XComKey)> = instances
                .iter()
                .copied()
                .zip(keys)
                .zip(known)
                .filter_map(|(chosen, entry)| entry.map(|_| chosen))
                .collect();
            let keys: Vec<XComKey> = chosen.iter().map(|(_, key)| key.clone()).collect();
            let answers = engine.pull(&Caller::System("runner"), &keys, PullOptions::default()).await?;
            for ((instance, _), answer) in chosen.into_iter().zip(answers) {
                let skips = answer.value().and_then(|value| value.get()).and_then(|choice| match choice {
                    Choice::Followed(followed) => {
                        graph.skipped(instance.task, &SkipDownstream::AllBut(followed))
                    }
                    Choice::Skipped(skipped) => {
                        Ok(skipped.iter().filter_map(|id| graph.number(id)).collect())
                    }
                });
                match (skips, self.done.get_mut(&instance)) {
                    (Ok(skips), Some(done)) => done.1 = skips,
                    (Err(error), _) => self.warnings.push(format!(
                        "what task `{}` chose cannot be read, so what was skipped stays so: {error}",
                        graph.tasks()[instance.task as usize].id()
                    )),
                    (Ok(_), None) => {}
                }
            }
        }
        Ok(())
    }

    /// Whether something of a task is known.
    pub(super) fn knows(&self, task: u32) -> bool {
        self.lengths.contains_key(&task) || self.known.contains(&task)
    }

    /// How a task instance ended before, and the tasks that it chose to skip.
    pub(super) fn done(&mut self, instance: Instance) -> Option<(TaskState, Vec<u32>)> {
        let done = self.done.remove(&instance)?;
        self.news = true;
        Some(done)
    }

    /// Whether [`Past::done`] had something since the last call.
    pub(super) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// The number of the last try of a task instance, and how many of its tries failed.
    pub(super) fn tries(&self, instance: Instance) -> (u32, u32) {
        self.tries.get(&instance).copied().unwrap_or_default()
    }

    /// What was odd about it.
    pub(super) fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    /// How many instances a mapped task had.
    pub(super) fn length(&self, task: u32) -> u32 {
        self.lengths.get(&task).copied().unwrap_or(0)
    }

    /// How many instances the tasks of something expanded had.
    pub(super) fn lengths(&self, graph: &Graph, target: Target) -> Vec<(u32, u32)> {
        let tasks = match target {
            Target::Task(task) => vec![task],
            Target::Group(group) => graph.groups()[group as usize].tasks.clone(),
        };
        tasks.into_iter().filter_map(|task| Some((task, *self.lengths.get(&task)?))).collect()
    }
}

/// How many of the last tries failed, since the task instance was done or was run again: of those up to this
/// one, as they are labelled.
async fn failed_tries(engine: &Engine, key: &TaskInstanceKey, up_to: u32) -> Result<u32> {
    if up_to == 0 {
        return Ok(0);
    }
    let attempts = engine.attempts(key).await?;
    let (mut failed, mut newer) = (0, None);
    for attempt in attempts.iter().rev().filter(|attempt| attempt.try_number <= up_to) {
        let interrupted = !attempt.state.is_finished() && newer == Some(attempt.try_number);
        match attempt.state {
            TaskState::UpForRetry => failed += 1,
            // The same try began again behind it; a run again goes on with the next number.
            _ if interrupted => {}
            _ => break,
        }
        newer = Some(attempt.try_number);
    }
    Ok(failed)
}

/// What a task pushed about the tasks that it chose to skip.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Choice {
    Followed(Vec<String>),
    Skipped(Vec<String>),
}

#[cfg(test)]
mod tests {
    use excom_core::memory;

    use super::*;

    #[test]
    fn tries_that_were_interrupted_hide_no_failed_ones() {
        let engine = Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new())).build();
        let key = TaskInstanceKey::new("d", "r", "t", -1).unwrap();
        let tried = |number, state| {
            pollster::block_on(async {
                let attempt = engine.start(&key, number).await.unwrap();
                if state != TaskState::Running {
                    engine.set_attempt_state(&attempt, state).await.unwrap();
                }
            });
        };
        let failed = |up_to| pollster::block_on(failed_tries(&engine, &key, up_to)).unwrap();
        tried(1, TaskState::UpForRetry);
        tried(2, TaskState::Running);
        assert_eq!((failed(0), failed(1)), (0, 1));
        tried(2, TaskState::UpForRetry);
        assert_eq!(failed(2), 2);
        tried(3, TaskState::Running);
        assert_eq!(failed(2), 2);
        // Run again: the next number, and all retries anew.
        tried(4, TaskState::UpForRetry);
        assert_eq!(failed(4), 1);
    }
}
