//! The task instances of a run, one after another, however many there are.

use std::sync::Arc;
use std::vec;

use super::Engine;
use crate::Result;
use crate::attempt::TaskInstanceInfo;
use crate::db::MetadataDb;

/// How many task instances are read together.
const PAGE: u32 = 1000;

/// The task instances of a run, read a page at a time; see [`Engine::task_instances`].
#[must_use = "nothing is read before `next`"]
pub struct TaskInstances<'a> {
    db: &'a dyn MetadataDb,
    dag_id: &'a str,
    run_id: &'a str,
    page: vec::IntoIter<TaskInstanceInfo>,
    /// Behind which one the next page begins.
    last: Option<(Arc<str>, i32)>,
    is_last_page: bool,
}

impl Engine {
    /// All task instances of a run that are known. Those of a task are together, in order of map index; the
    /// order of tasks is the database's own.
    pub fn task_instances<'a>(&'a self, dag_id: &'a str, run_id: &'a str) -> TaskInstances<'a> {
        let (db, page) = (&*self.0.db, Vec::new().into_iter());
        TaskInstances { db, dag_id, run_id, page, last: None, is_last_page: false }
    }
}

impl TaskInstances<'_> {
    /// The next one; none behind the last.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn next(&mut self) -> Result<Option<TaskInstanceInfo>> {
        if self.page.len() == 0 && !self.is_last_page {
            let after = self.last.as_ref().map(|(task_id, map_index)| (&**task_id, *map_index));
            let page = self.db.task_instances(self.dag_id, self.run_id, after, PAGE).await?;
            self.is_last_page = page.len() < PAGE as usize;
            self.last = page.last().map(|info| (info.key.task_id.clone(), info.key.map_index));
            self.page = page.into_iter();
        }
        Ok(self.page.next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TaskInstanceKey, TaskState, memory};

    #[test]
    fn each_comes_once_however_many_pages_there_are() {
        let engine = Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new())).build();
        for length in [0, 1, 999, 1000, 1001, 2000] {
            let run_id = format!("r{length}");
            let states = (0..length).map(|map_index| {
                let ti = TaskInstanceKey::new("d", run_id.as_str(), "t", map_index).unwrap();
                (ti, TaskState::Scheduled)
            });
            pollster::block_on(engine.set_states(&states.collect::<Vec<_>>())).unwrap();
            let mut known = engine.task_instances("d", &run_id);
            let mut found = Vec::new();
            while let Some(info) = pollster::block_on(known.next()).unwrap() {
                found.push(info.key.map_index);
            }
            assert_eq!(found, (0..length).collect::<Vec<_>>());
            assert!(pollster::block_on(known.next()).unwrap().is_none());
        }
    }
}
