//! What is worth waiting for: XComs that are not there, and may still come.

use std::collections::HashMap;
use std::sync::Arc;

use super::Engine;
use crate::attempt::Caller;
use crate::{Result, SequenceKey, TaskInstanceKey, UNMAPPED, XComKey};

/// How many task instances of a task are looked at together.
const PAGE: u32 = 100;

impl Engine {
    /// For each XCom whether a later pull may find what one would not find now: nothing is there, the caller may read
    /// it, and neither its task instance nor its run has ended. No read is noted.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use excom_core::{Caller, Engine, TaskInstanceKey, TaskState, memory};
    ///
    /// # pollster::block_on(async {
    /// let engine = Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new())).build();
    /// let ti = TaskInstanceKey::new("weather", "manual__1", "measure", -1)?;
    /// let (ana, rows) = (Caller::user("ana"), [ti.return_value()]);
    /// let attempt = engine.start(&ti, 1).await?;
    /// assert_eq!(engine.pending(&ana, &rows).await?, [true]);
    /// engine.set_attempt_state(&attempt, TaskState::Success).await?;
    /// assert_eq!(engine.pending(&ana, &rows).await?, [false]);
    /// # Ok::<(), excom_core::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn pending(&self, caller: &Caller, keys: &[XComKey]) -> Result<Vec<bool>> {
        let sight = self.sight(caller).await?;
        let entries = self.0.db.entries(keys).await?;
        let mut known = Known { engine: self, instances: HashMap::new(), runs: HashMap::new() };
        let mut pending = Vec::with_capacity(keys.len());
        for (key, entry) in keys.iter().zip(entries) {
            let none = entry.is_none() && sight.refusal(key, false).is_none();
            pending.push(none && !known.has_ended(&key.ti).await?);
        }
        Ok(pending)
    }

    /// As [`Engine::pending`] for all that tasks produce under a key. That of a mapped task is whole when all its task
    /// instances that are known have ended.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn pending_tasks(&self, caller: &Caller, keys: &[SequenceKey]) -> Result<Vec<bool>> {
        let sight = self.sight(caller).await?;
        let singles: Vec<XComKey> = keys.iter().map(|key| key.at(UNMAPPED)).collect();
        let entries = self.0.db.entries(&singles).await?;
        let mut known = Known { engine: self, instances: HashMap::new(), runs: HashMap::new() };
        let mut pending = Vec::with_capacity(keys.len());
        for (key, entry) in keys.iter().zip(entries) {
            let none = entry.is_none() && sight.refusal_of(key, false).is_none();
            let open = none && !known.run_has_ended(&key.dag_id, &key.run_id).await?;
            pending.push(open && !self.have_ended(key).await?);
        }
        Ok(pending)
    }

    /// Whether a task has task instances, and all have ended.
    async fn have_ended(&self, key: &SequenceKey) -> Result<bool> {
        let mut after = i32::MIN;
        loop {
            let at = Some((&*key.task_id, after));
            let page = self.0.db.task_instances(&key.dag_id, &key.run_id, at, PAGE).await?;
            let is_last = page.len() < PAGE as usize;
            let mut of_task = page.into_iter().take_while(|info| info.key.task_id == key.task_id).peekable();
            if of_task.peek().is_none() {
                return Ok(after != i32::MIN);
            }
            for info in of_task {
                if !info.state.is_finished() {
                    return Ok(false);
                }
                after = info.key.map_index;
            }
            if is_last {
                return Ok(true);
            }
        }
    }
}

/// What was found out about task instances and runs, once for all that a call asks for.
struct Known<'a> {
    engine: &'a Engine,
    instances: HashMap<TaskInstanceKey, bool>,
    runs: HashMap<(Arc<str>, Arc<str>), bool>,
}

impl Known<'_> {
    async fn has_ended(&mut self, ti: &TaskInstanceKey) -> Result<bool> {
        if self.run_has_ended(&ti.dag_id, &ti.run_id).await? {
            return Ok(true);
        }
        if let Some(ended) = self.instances.get(ti) {
            return Ok(*ended);
        }
        let info = self.engine.0.db.task_instance(ti).await?;
        let ended = info.is_some_and(|info| info.state.is_finished());
        self.instances.insert(ti.clone(), ended);
        Ok(ended)
    }

    async fn run_has_ended(&mut self, dag_id: &Arc<str>, run_id: &Arc<str>) -> Result<bool> {
        let place = (dag_id.clone(), run_id.clone());
        if let Some(ended) = self.runs.get(&place) {
            return Ok(*ended);
        }
        let info = self.engine.0.db.run_info(dag_id, run_id).await?;
        let ended = info.and_then(|info| info.state).is_some_and(|state| state.is_finished());
        self.runs.insert(place, ended);
        Ok(ended)
    }
}

#[cfg(test)]
mod tests {
    use pollster::block_on;

    use super::*;
    use crate::engine::{Access, Reads, Settings};
    use crate::{DagRun, RunState, TaskState, Value, memory};

    #[test]
    fn a_sequence_is_awaited_until_all_instances_have_ended() {
        let engine = Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new())).build();
        let ti = |index| TaskInstanceKey::new("d", "r", "t", index).unwrap();
        let key = [ti(UNMAPPED).return_value().sequence()];
        let caller = Caller::user("ana");
        let pending = || block_on(engine.pending_tasks(&caller, &key)).unwrap()[0];
        assert!(pending(), "nothing is known of the task");
        let set = |index, state| block_on(engine.set_states(&[(ti(index), state)])).unwrap();
        let other = TaskInstanceKey::new("d", "r", "u", -1).unwrap();
        block_on(engine.set_states(&[(other, TaskState::Running)])).unwrap();
        for index in 0..250 {
            set(index, if index == 249 { TaskState::Running } else { TaskState::Success });
        }
        assert!(pending(), "the last runs");
        set(249, TaskState::Skipped);
        assert!(!pending(), "all have ended");
        set(7, TaskState::UpForRetry);
        assert!(pending(), "one is tried again");
        block_on(engine.push(&caller, &ti(UNMAPPED).return_value(), Value::null().into())).unwrap();
        assert!(!pending(), "it is not mapped, and there");
    }

    #[test]
    fn nothing_is_awaited_that_cannot_come_or_be_read() {
        let access = Access { reads: Reads::Run, ..Access::default() };
        let engine = Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new()))
            .settings(Settings { access, ..Settings::default() })
            .build();
        let ti = |run| TaskInstanceKey::new("d", run, "t", -1).unwrap();
        let reader = block_on(engine.start(&TaskInstanceKey::new("d", "r1", "u", -1).unwrap(), 1)).unwrap();
        let keys = [ti("r1").return_value(), ti("r2").return_value()];
        let pending = || block_on(engine.pending(&reader.clone().into(), &keys)).unwrap();
        assert_eq!(pending(), [true, false]);
        let run = DagRun::new("d", "r1", engine.clock().now());
        block_on(engine.start_run(&run)).unwrap();
        assert_eq!(pending(), [true, false]);
        block_on(engine.set_run_state("d", "r1", RunState::Cancelled)).unwrap();
        assert_eq!(pending(), [false, false]);
    }
}
