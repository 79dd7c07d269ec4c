//! What tasks declare that they read, as the version of their DAG tells that a run names.
//!
//! It is known once for each run and each version, so that pulls need not ask again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use serde_json::Value as Json;

use super::Engine;
use crate::{Result, TaskInstanceKey, Value};

/// How many runs are remembered at most.
const RUNS: usize = 10_000;

/// By task, the tasks whose XComs it declares to read.
type Tasks = BTreeMap<Arc<str>, Arc<BTreeSet<Arc<str>>>>;

/// A DAG and a run of it, or a version.
type Name = (Arc<str>, Arc<str>);

#[derive(Default)]
pub(super) struct Declared(Mutex<Known>);

#[derive(Default)]
struct Known {
    runs: HashMap<Name, Arc<Tasks>>,
    versions: HashMap<Name, Arc<Tasks>>,
}

impl Declared {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A run that is started again may go on with another version.
    pub(super) fn forget_run(&self, dag_id: &Arc<str>, run_id: &Arc<str>) {
        self.known().runs.remove(&(dag_id.clone(), run_id.clone()));
    }
}

impl Engine {
    /// The tasks whose XComs a task declares to read; none when its run names no version that tells.
    pub(super) async fn declared(&self, ti: &TaskInstanceKey) -> Result<Option<Arc<BTreeSet<Arc<str>>>>> {
        let run = (ti.dag_id.clone(), ti.run_id.clone());
        let known = self.0.declared.known().runs.get(&run).cloned();
        let tasks = match known {
            Some(tasks) => tasks,
            None => match self.version_of(&run).await? {
                Some(tasks) => tasks,
                None => return Ok(None),
            },
        };
        Ok(tasks.get(&ti.task_id).cloned())
    }

    async fn version_of(&self, run: &Name) -> Result<Option<Arc<Tasks>>> {
        let info = self.0.db.run_info(&run.0, &run.1).await?;
        let Some(version) = info.and_then(|info| info.run.version) else { return Ok(None) };
        let version = (run.0.clone(), version);
        let known = self.0.declared.known().versions.get(&version).cloned();
        let tasks = match known {
            Some(tasks) => tasks,
            None => {
                let kept = self.0.db.dag_version(&version.0, &version.1).await?;
                let Some(tasks) = kept.and_then(|kept| tasks(&kept.document)) else { return Ok(None) };
                Arc::new(tasks)
            }
        };
        let mut known = self.0.declared.known();
        if known.runs.len() >= RUNS {
            *known = Known::default();
        }
        known.versions.insert(version, tasks.clone());
        known.runs.insert(run.clone(), tasks.clone());
        Ok(Some(tasks))
    }
}

/// The part of a DAG version's document that tells what its tasks take.
#[derive(Deserialize)]
struct Document {
    tasks: BTreeMap<Arc<str>, Task>,
}

#[derive(Deserialize)]
struct Task {
    /// The tasks directly before it.
    upstream: BTreeSet<Arc<str>>,
    /// Its arguments.
    inputs: BTreeMap<String, Input>,
}

#[derive(Deserialize)]
struct Input {
    /// Where it comes from. Whatever it is made of, outputs are named as `{"task": …, "key": …}`.
    from: Json,
}

/// What a document tells; none when it is no such document.
fn tasks(document: &Value) -> Option<Tasks> {
    let document: Document = document.get().ok()?;
    let of = |task: Task| {
        let mut reads = task.upstream;
        task.inputs.values().for_each(|input| sources(&input.from, &mut reads));
        Arc::new(reads)
    };
    Some(document.tasks.into_iter().map(|(id, task)| (id, of(task))).collect())
}

fn sources(from: &Json, tasks: &mut BTreeSet<Arc<str>>) {
    match from {
        Json::Object(fields) => {
            tasks.extend(fields.get("task").and_then(Json::as_str).map(Arc::from));
            fields.values().for_each(|field| sources(field, tasks));
        }
        Json::Array(parts) => parts.iter().for_each(|part| sources(part, tasks)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_and_inputs_are_declared() {
        let document = r#"{"dag_id": "d", "params": {}, "tasks": {"sum": {
            "upstream": ["before"], "mapped": false, "outputs": {"task": {}},
            "inputs": {
                "a": {"from": {"output": {"task": "one", "key": "k"}}, "schema": {"task": "none"}},
                "b": {"from": {"element_of": {"made_of": [{"outputs": {"task": "two", "key": "k"}}, "literal"]}}},
                "c": {"from": {"param": "task"}},
                "d": {"from": "literal"}}}}}"#;
        let tasks = tasks(&Value::parse(document.to_owned()).unwrap()).unwrap();
        assert_eq!(tasks["sum"].iter().map(|task| &**task).collect::<Vec<_>>(), ["before", "one", "two"]);
        for other in ["null", "{}", r#"{"tasks": {"sum": {}}}"#, r#"{"tasks": {"sum": {"inputs": {}}}}"#] {
            assert!(super::tasks(&Value::parse(other.to_owned()).unwrap()).is_none(), "{other}");
        }
    }
}
