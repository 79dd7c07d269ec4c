//! The comparison of a home with the model: names, bytes and files.

use std::collections::BTreeSet;

use excom::core::db::Filter;
use excom::{Caller, Engine, ObjectName, PullOptions};

use super::model::{Model, Operation, Seen};
use super::{Home, KEYS, xcom};
use crate::{Result, home};

/// Finds out which operations in doubt happened, and does them to the model too.
///
/// # Errors
/// When a task instance is neither as before its operation nor as after.
pub(super) fn resolve(engine: &Engine, model: &mut Model, doubts: &[Option<Operation>]) -> Result<Vec<bool>> {
    let mut happened = Vec::new();
    for (thread, doubt) in doubts.iter().enumerate() {
        let seen = see(engine, thread)?;
        let task = &mut model.0[thread];
        let mut after = task.clone();
        if let Some(doubt) = doubt {
            after.apply(doubt);
        }
        if seen == task.seen() {
            happened.push(after == *task);
        } else if seen == after.seen() {
            *task = after;
            happened.push(true);
        } else {
            let expected = task.seen();
            return Err(format!(
                "task {thread} is neither as before nor as after {doubt:?}: {seen:?}; expected {expected:?}"
            )
            .into());
        }
    }
    Ok(happened)
}

fn see(engine: &Engine, thread: usize) -> Result<Seen> {
    let mut seen = Seen::default();
    let user = Caller::user("prover");
    let ti = xcom(thread, 0)?.ti;
    pollster::block_on(async {
        seen.attempts = engine.attempts(&ti).await?.iter().map(|attempt| attempt.id).collect();
        let filter = Filter { task_id: Some(ti.task_id.clone()), ..Filter::default() };
        let listed = engine.list(&user, &filter, None, 1000).await?.items;
        for key in 0..KEYS {
            let name = xcom(thread, key)?;
            let current = listed.iter().find(|info| info.key == name).map(|info| info.version);
            let mut past = engine.history(&user, &name, u32::MAX).await?;
            if let Some(stripped) = past.iter().find(|past| !past.has_bytes) {
                return Err(format!("{name} has no bytes of version {}", stripped.info.version).into());
            }
            past.reverse();
            if current.is_some() || !past.is_empty() {
                seen.versions.insert(key, (current, past.iter().map(|past| past.info.version).collect()));
            }
        }
        Ok(seen)
    })
}

/// Objects that no entry and no history refers to.
///
/// # Errors
/// When they cannot be listed.
pub(super) fn strangers(home: Home<'_>, model: &Model) -> Result<Vec<String>> {
    let known = objects(model)?;
    Ok(home.place.objects(home.folder)?.into_iter().filter(|object| !known.contains(object)).collect())
}

/// The names of the objects that must be there.
fn objects(model: &Model) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for (thread, key, _, held) in model.held() {
        if home::value(held.counter, held.size)?.size() > home::INLINE_LIMIT {
            names.insert(ObjectName::of(&xcom(thread, key)?, held.version).to_string());
        }
    }
    Ok(names)
}

/// Compares everything; returns how many values were compared.
///
/// # Errors
/// The first difference.
pub(super) fn verify(engine: &Engine, home: Home<'_>, model: &Model) -> Result<u64> {
    let compared = pollster::block_on(async {
        let health = engine.health().await?;
        if !health.problems.is_empty() {
            return Err(format!("the database has problems: {:?}", health.problems).into());
        }
        let user = Caller::user("prover");
        let mut compared = 0;
        for thread in 0..model.0.len() {
            if see(engine, thread)? != model.0[thread].seen() {
                return Err(format!("task {thread} changed while it was verified").into());
            }
            for key in 0..KEYS {
                let name = xcom(thread, key)?;
                let current = model.0[thread].xcoms.get(&key).and_then(|xcom| xcom.current);
                let answer =
                    engine.pull(&user, std::slice::from_ref(&name), PullOptions::default()).await?.remove(0);
                match (current, answer) {
                    (None, answer) if matches!(answer.code(), "missing" | "cleared" | "not_yet") => {}
                    (Some(held), answer)
                        if answer.found().is_some_and(|found| found.version == held.version) => {}
                    (current, answer) => {
                        return Err(format!("{name} should have {current:?}; the answer is {answer}").into());
                    }
                }
            }
        }
        let objects = objects(model)?;
        for (thread, key, current, held) in model.held() {
            let name = xcom(thread, key)?;
            let value = match current {
                true => {
                    let keys = std::slice::from_ref(&name);
                    Some(engine.pull(&user, keys, PullOptions::default()).await?.remove(0).value()?)
                }
                false => engine.pull_past(&user, &name, held.version).await?,
            };
            let expected = home::value(held.counter, held.size)?;
            if value.as_ref() != Some(&expected) {
                return Err(format!("{name} version {} is {value:?}, not {expected:?}", held.version).into());
            }
            let object = ObjectName::of(&name, held.version);
            let store = engine.backend().store().unwrap_or_default();
            let known = engine.db().knows_object(store, &object, held.version).await?;
            if known != objects.contains(object.as_str()) {
                return Err(format!("knows_object({object}) is {known}").into());
            }
            compared += 1;
        }
        Ok::<_, crate::Error>(compared)
    })?;
    let (known, found) = (objects(model)?, home.place.objects(home.folder)?);
    if found != known {
        let more: Vec<_> = found.difference(&known).collect();
        let less: Vec<_> = known.difference(&found).collect();
        return Err(format!("objects that nobody knows: {more:?}; objects that are gone: {less:?}").into());
    }
    Ok(compared)
}
