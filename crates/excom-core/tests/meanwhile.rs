//! What is written between two looks of one pull is no reason for a wrong answer.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};

use excom_core::db::Scope;
use excom_core::engine::{Step, Waiting, Watch};
use excom_core::{Answer, Caller, Engine, PullOptions, Value, XComKey, memory};
use pollster::block_on;

/// Somebody else pushes as soon as entries were looked for, once.
#[derive(Debug)]
struct Meanwhile {
    other: Engine,
    key: XComKey,
    values: Mutex<Vec<i32>>,
}

struct Looked(Option<(Engine, XComKey, Vec<i32>)>);

impl Watch for Meanwhile {
    fn begins(&self, step: Step<'_>) -> Option<Waiting> {
        if step != Step::Entries {
            return None;
        }
        let values = std::mem::take(&mut *self.values.lock().unwrap());
        Some(Arc::new(Looked(Some((self.other.clone(), self.key.clone(), values)))))
    }
}

impl Drop for Looked {
    fn drop(&mut self) {
        let (other, key, values) = self.0.take().unwrap();
        for value in values {
            push(&other, &key, value);
        }
    }
}

fn push(engine: &Engine, key: &XComKey, value: i32) {
    block_on(engine.push(&Caller::user("other"), key, Value::of(&value).unwrap().into())).unwrap();
}

/// What a pull is answered while somebody pushes these values.
fn pulled(before: impl FnOnce(&Engine, &XComKey), values: Vec<i32>) -> Answer {
    let db = Arc::new(memory::Db::new());
    let engine = || Engine::builder(db.clone(), Arc::new(memory::Clock::new())).build();
    let (engine, other) = (engine(), engine());
    let key = XComKey::new("weather", "r1", "extract", -1, "rows").unwrap();
    before(&other, &key);
    assert!(engine.watch(Arc::new(Meanwhile { other, key: key.clone(), values: Mutex::new(values) })));
    block_on(engine.pull(&Caller::user("ana"), &[key], PullOptions::default())).unwrap().remove(0)
}

#[test]
fn what_was_cleared_is_not_missing_because_it_comes_again() {
    for pushes in 0..4 {
        let cleared = |other: &Engine, key: &XComKey| {
            push(other, key, 1);
            block_on(other.clear(&Caller::user("other"), &Scope::Key(key.clone()))).unwrap();
        };
        let answer = pulled(cleared, (0..pushes).collect());
        assert!(matches!(answer, Answer::Cleared(_)), "with {pushes} pushes meanwhile: {answer:?}");
    }
}

#[test]
fn what_was_never_pushed_was_missing() {
    for pushes in 0..4 {
        let answer = pulled(|_, _| {}, (0..pushes).collect());
        assert!(matches!(answer, Answer::Missing(_)), "with {pushes} pushes meanwhile: {answer:?}");
    }
}
