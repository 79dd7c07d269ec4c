//! What a database says became of a run.

use std::collections::BTreeMap;
use std::sync::Arc;

use excom::core::RunState;
use excom::core::db::Filter;
use excom::{Caller, Engine, PullOptions, TaskState, XComKey};

use super::build::DAG;
use super::model::{Name, Outcome};
use crate::Result;

/// The states of the task instances of a run.
pub(super) fn states(engine: &Engine, run_id: &str) -> Result<BTreeMap<Name, TaskState>> {
    let mut states = BTreeMap::new();
    let mut known = engine.task_instances(DAG, run_id);
    while let Some(info) = pollster::block_on(known.next())? {
        if info.state != TaskState::Removed {
            states.insert((info.key.task_id.to_string(), info.key.map_index), info.state);
        }
    }
    Ok(states)
}

/// How a run stands; none when there is no such run.
pub(super) fn run_state(engine: &Engine, run_id: &str) -> Result<Option<Option<RunState>>> {
    Ok(pollster::block_on(engine.db().run_info(DAG, run_id))?.map(|info| info.state))
}

/// All that became of a run.
pub(super) fn outcome(engine: &Engine, run_id: &str) -> Result<Outcome> {
    let named = |(name, state): (Name, TaskState)| (name, state.name().to_owned());
    let state = run_state(engine, run_id)?.flatten();
    Ok(Outcome {
        state: state.map_or("unknown", RunState::name).to_owned(),
        states: states(engine, run_id)?.into_iter().map(named).collect(),
        xcoms: xcoms(engine, run_id)?,
    })
}

fn xcoms(engine: &Engine, run_id: &str) -> Result<BTreeMap<(String, i32, String), String>> {
    let caller = Caller::user("prover");
    let filter = Filter { dag_id: Some(DAG.into()), run_id: Some(Arc::from(run_id)), ..Filter::default() };
    let mut keys: Vec<XComKey> = Vec::new();
    let mut after = None;
    loop {
        let page = pollster::block_on(engine.list(&caller, &filter, after.as_ref(), 500))?;
        keys.extend(page.items.into_iter().map(|info| info.key));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let answers = pollster::block_on(engine.pull(&caller, &keys, PullOptions::default()))?;
    let mut xcoms = BTreeMap::new();
    for (key, answer) in keys.into_iter().zip(answers) {
        let place = (key.ti.task_id.to_string(), key.ti.map_index, key.key.to_string());
        xcoms.insert(place, answer.value()?.as_str().to_owned());
    }
    Ok(xcoms)
}
