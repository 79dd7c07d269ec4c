//! Random histories of pushes, retries, zombies, deferrals, clears, deletes and pulls, with a model
//! beside the engine that knows only what each rule says.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::{Empty, Harness, ti, user, value};
use crate::attempt::{Attempt, Caller, TaskState};
use crate::channel::PullOptions;
use crate::db::{Scope, StartMode};
use crate::entry::Version;
use crate::{ErrorKind, TaskInstanceKey, XComKey};

const TASKS: [(&str, i32); 5] = [("a", -1), ("b", -1), ("m", 0), ("m", 1), ("m", 4)];
const KEYS: [&str; 3] = ["return_value", "k", "../k"];

/// Who acts: a person, or the n-th attempt of a task instance from the newest back.
#[derive(Debug, Clone, Copy)]
enum Who {
    User,
    Attempt { task: usize, back: usize },
}

#[derive(Debug, Clone)]
enum Step {
    Start {
        task: usize,
    },
    Restart {
        task: usize,
        back: usize,
        resume: bool,
    },
    Finish {
        task: usize,
        back: usize,
        state: TaskState,
    },
    /// The end of a try with its last pushes: each a key of its own, and whether the value is large.
    End {
        task: usize,
        back: usize,
        state: TaskState,
        pushes: Vec<(usize, bool)>,
    },
    Push {
        who: Who,
        task: usize,
        key: usize,
        large: bool,
        streamed: bool,
    },
    /// The push so many pushes ago, once more.
    Repeat {
        back: usize,
    },
    Clear {
        who: Who,
        task: usize,
        key: Option<usize>,
    },
    Delete {
        task: usize,
        key: Option<usize>,
    },
    Remove {
        task: usize,
    },
    Advance {
        seconds: u64,
    },
    Prune,
    Collect,
    Sequence {
        key: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let task = || 0..TASKS.len();
    let key = || 0..KEYS.len();
    let back = || prop_oneof![6 => Just(0usize), 1 => Just(1), 1 => Just(2)];
    let who = || {
        prop_oneof![
            1 => Just(Who::User),
            3 => (task(), back()).prop_map(|(task, back)| Who::Attempt { task, back }),
        ]
    };
    let state = || {
        prop_oneof![
            Just(TaskState::Success),
            Just(TaskState::UpForRetry),
            Just(TaskState::Deferred),
            Just(TaskState::Failed)
        ]
    };
    prop_oneof![
        4 => task().prop_map(|task| Step::Start { task }),
        1 => (task(), back(), any::<bool>()).prop_map(|(task, back, resume)| Step::Restart { task, back, resume }),
        2 => (task(), back(), state()).prop_map(|(task, back, state)| Step::Finish { task, back, state }),
        3 => (task(), back(), state(), prop::collection::vec((key(), any::<bool>()), 0..4))
            .prop_map(|(task, back, state, pushes)| Step::End { task, back, state, pushes }),
        10 => (who(), task(), key(), any::<bool>(), any::<bool>())
            .prop_map(|(who, task, key, large, streamed)| Step::Push { who, task, key, large, streamed }),
        2 => (0usize..4).prop_map(|back| Step::Repeat { back }),
        2 => (who(), task(), prop::option::of(key())).prop_map(|(who, task, key)| Step::Clear { who, task, key }),
        1 => (task(), prop::option::of(key())).prop_map(|(task, key)| Step::Delete { task, key }),
        1 => task().prop_map(|task| Step::Remove { task }),
        1 => (1u64..100_000).prop_map(|seconds| Step::Advance { seconds }),
        1 => Just(Step::Prune),
        1 => Just(Step::Collect),
        2 => key().prop_map(|key| Step::Sequence { key }),
    ]
}

/// What must be true, and nothing else.
#[derive(Default)]
struct Model {
    attempts: BTreeMap<TaskInstanceKey, Vec<Attempt>>,
    removed: BTreeMap<TaskInstanceKey, bool>,
    entries: BTreeMap<XComKey, (Version, String)>,
    /// Every version that a key ever had and that was not deleted.
    versions: BTreeMap<XComKey, Vec<Version>>,
    pushes: Vec<(Caller, XComKey, Version, String)>,
}

impl Model {
    fn who(&self, who: Who, h: &Harness) -> Caller {
        match who {
            Who::User => user(),
            Who::Attempt { task, back } => Caller::Attempt(self.attempt(task, back, h)),
        }
    }

    fn attempt(&self, task: usize, back: usize, h: &Harness) -> Attempt {
        let ti = instance(task);
        let known = self.attempts.get(&ti).and_then(|all| all.iter().rev().nth(back)).cloned();
        known.unwrap_or_else(|| Attempt { ti, id: h.engine.clock().attempt_id() })
    }

    /// What the fence says to a caller.
    fn fence(&self, caller: &Caller) -> Option<ErrorKind> {
        let Caller::Attempt(attempt) = caller else { return None };
        let all = self.attempts.get(&attempt.ti).map_or(&[][..], Vec::as_slice);
        match all.last() {
            Some(current) if current == attempt => None,
            Some(_) if all.contains(attempt) => Some(ErrorKind::Superseded),
            _ => Some(ErrorKind::NotStarted),
        }
    }

    fn clear(&mut self, ti: &TaskInstanceKey, key: Option<usize>) -> u64 {
        let before = self.entries.len();
        self.entries.retain(|k, _| k.ti != *ti || key.is_some_and(|key| *k.key != *KEYS[key]));
        (before - self.entries.len()) as u64
    }
}

fn instance(task: usize) -> TaskInstanceKey {
    ti(TASKS[task].0, TASKS[task].1)
}

fn scope(task: usize, key: Option<usize>) -> Scope {
    match key {
        Some(key) => Scope::Key(instance(task).xcom(KEYS[key]).unwrap()),
        None => Scope::TaskInstance(instance(task)),
    }
}

fn kind<T>(result: &crate::Result<T>) -> Option<ErrorKind> {
    result.as_ref().err().map(crate::Error::kind)
}

async fn apply(h: &Harness, model: &mut Model, step: &Step, n: u64) -> Result<(), TestCaseError> {
    match *step {
        Step::Start { task } => {
            let ti = instance(task);
            let attempt = h.engine.start(&ti, n as u32).await.unwrap();
            model.attempts.entry(ti.clone()).or_default().push(attempt);
            model.removed.insert(ti.clone(), false);
            model.clear(&ti, None);
        }
        Step::Restart { task, back, resume } => {
            let attempt = model.attempt(task, back, h);
            let mode = if resume { StartMode::Resume } else { StartMode::Fresh };
            let result = h.engine.start_attempt(&attempt, 9, mode).await;
            let mut expected = model.fence(&Caller::Attempt(attempt.clone()));
            if expected == Some(ErrorKind::NotStarted) && !resume {
                expected = None;
                model.attempts.entry(attempt.ti.clone()).or_default().push(attempt.clone());
                model.clear(&attempt.ti, None);
                // One that was started before and was removed meanwhile has ended.
                model.removed.insert(attempt.ti.clone(), false);
            }
            prop_assert_eq!(kind(&result), expected);
        }
        Step::Finish { task, back, state } => {
            let attempt = model.attempt(task, back, h);
            let result = h.engine.set_attempt_state(&attempt, state).await;
            let expected = model.fence(&Caller::Attempt(attempt.clone()));
            prop_assert_eq!(kind(&result), expected);
            if expected.is_none() {
                model.removed.insert(attempt.ti, false);
            }
        }
        Step::End { task, back, state, ref pushes } => {
            let attempt = model.attempt(task, back, h);
            let last: Vec<(XComKey, String)> = pushes
                .iter()
                .enumerate()
                .map(|(i, (key, large))| {
                    let n = n * 10 + i as u64;
                    let json = if *large { super::large(n) } else { n.to_string() };
                    (attempt.ti.xcom(KEYS[*key]).unwrap(), json)
                })
                .collect();
            let values = last.iter().map(|(key, json)| (key.clone(), value(json).into())).collect();
            let result = h.engine.finish(&attempt, state, values).await;
            let expected = model.fence(&Caller::Attempt(attempt.clone()));
            prop_assert_eq!(kind(&result), expected);
            if let Ok(receipts) = result {
                model.removed.insert(attempt.ti.clone(), false);
                let known = h.engine.task_instance(&attempt.ti).await.unwrap().unwrap();
                prop_assert_eq!(known.state, state);
                for ((key, json), receipt) in last.into_iter().zip(receipts) {
                    model.versions.entry(key.clone()).or_default().push(receipt.version);
                    model.entries.insert(key, (receipt.version, json));
                }
            }
        }
        Step::Push { who, task, key, large, streamed } => {
            let key = instance(task).xcom(KEYS[key]).unwrap();
            let json = if large { super::large(n) } else { n.to_string() };
            let version = h.engine.clock().version();
            push(h, model, model.who(who, h), key, version, json, streamed).await?;
        }
        Step::Repeat { back } => {
            if let Some((who, key, version, json)) = model.pushes.iter().rev().nth(back).cloned() {
                push(h, model, who, key, version, json, false).await?;
            }
        }
        Step::Clear { who, task, key } => {
            let caller = model.who(who, h);
            let result = h.engine.clear(&caller, &scope(task, key)).await;
            prop_assert_eq!(kind(&result), model.fence(&caller));
            if let Ok(cleared) = result {
                prop_assert_eq!(cleared, model.clear(&instance(task), key));
            }
        }
        Step::Delete { task, key } => {
            h.engine.delete(&user(), &scope(task, key)).await.unwrap();
            model.clear(&instance(task), key);
            let ti = instance(task);
            model.versions.retain(|k, _| k.ti != ti || key.is_some_and(|key| *k.key != *KEYS[key]));
        }
        Step::Remove { task } => {
            h.engine.set_states(&[(instance(task), TaskState::Removed)]).await.unwrap();
            model.removed.insert(instance(task), true);
        }
        Step::Advance { seconds } => h.clock.advance(Duration::from_secs(seconds)),
        Step::Prune => {
            // Bytes of history go after 7 days, entries stay for 90: no history here is that long.
            prop_assert_eq!(h.engine.prune().await.unwrap().entries, 0);
        }
        Step::Collect => {
            h.engine.collect_abandoned(Duration::ZERO).await.unwrap();
        }
        Step::Sequence { key } => {
            let sequence = ti("m", 0).xcom(KEYS[key]).unwrap().sequence();
            let page = h.engine.page(&user(), &sequence, None, 100).await.unwrap();
            let found: Vec<(i32, String)> =
                page.iter().map(|(i, answer)| (*i, super::text(answer).to_owned())).collect();
            let expected: Vec<(i32, String)> = model
                .entries
                .iter()
                .filter(|(k, _)| &*k.ti.task_id == "m" && *k.key == *KEYS[key])
                .filter(|(k, _)| !model.removed.get(&k.ti).copied().unwrap_or(false))
                .map(|(k, (_, json))| (k.ti.map_index, json.clone()))
                .collect();
            prop_assert_eq!(h.engine.count(&user(), &sequence).await.unwrap(), expected.len() as u64);
            prop_assert_eq!(found, expected);
        }
    }
    Ok(())
}

async fn push(
    h: &Harness,
    model: &mut Model,
    who: Caller,
    key: XComKey,
    version: Version,
    json: String,
    streamed: bool,
) -> Result<(), TestCaseError> {
    let payload = if streamed { crate::memory::streamed(&value(&json)) } else { value(&json).into() };
    let result = h.engine.push_version(&who, &key, version, payload).await;
    let already = model.versions.get(&key).is_some_and(|all| all.contains(&version));
    let offloaded = h.offloads(json.len());
    // An offloaded repetition is recognised before the fence looks at it; an inline one behind it.
    let expected = if already && offloaded { None } else { model.fence(&who) };
    prop_assert_eq!(kind(&result), expected);
    if let Ok(receipt) = result {
        prop_assert_eq!(receipt.already, already);
        if !already {
            model.versions.entry(key.clone()).or_default().push(version);
            model.entries.insert(key.clone(), (version, json.clone()));
        }
    }
    model.pushes.push((who, key, version, json));
    Ok(())
}

/// Every XCom answers what the model says, and the store holds what something refers to.
async fn agree(h: &Harness, model: &Model) -> Result<(), TestCaseError> {
    let keys: Vec<XComKey> = (0..TASKS.len())
        .flat_map(|task| KEYS.iter().map(move |key| instance(task).xcom(*key).unwrap()))
        .collect();
    let answers = h.engine.pull(&user(), &keys, PullOptions::default()).await.unwrap();
    for (key, answer) in keys.iter().zip(&answers) {
        let found = answer.found().map(|f| (f.version, f.value.as_str().to_owned()));
        prop_assert_eq!(&found, &model.entries.get(key).cloned(), "{}: {}", key, answer);
    }
    let listed = h.engine.list(&user(), &Default::default(), None, 100).await.unwrap().items;
    prop_assert!(listed.iter().map(|info| &info.key).eq(model.entries.keys()));
    Ok(())
}

async fn nothing_loose(h: &Harness) -> Result<(), TestCaseError> {
    h.engine.collect_abandoned(Duration::ZERO).await.unwrap();
    let Some(store) = h.backend.objects() else { return Ok(()) };
    for name in store.list(None, 10_000).await.unwrap() {
        let version = name.as_str().rsplit('/').next().unwrap().parse().unwrap();
        prop_assert!(
            h.engine.db().knows_object(store.id(), &name, version).await.unwrap(),
            "{} is unknown",
            name
        );
    }
    Ok(())
}

/// Runs so many random histories of up to so many steps, each on an empty database.
///
/// # Panics
/// With the shortest history found that disagrees with the model.
pub fn histories(make: impl Fn() -> Empty, cases: u32, steps: usize) {
    histories_over(|| Harness::new(make()), cases, steps);
}

pub(super) fn histories_over(make: impl Fn() -> Harness, cases: u32, steps: usize) {
    let config = Config { cases, max_shrink_iters: 400, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&prop::collection::vec(step(), 1..steps), |steps| {
        pollster::block_on(async {
            let h = make();
            let mut model = Model::default();
            for (n, step) in steps.iter().enumerate() {
                apply(&h, &mut model, step, n as u64).await?;
                agree(&h, &model).await?;
            }
            nothing_loose(&h).await
        })
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
