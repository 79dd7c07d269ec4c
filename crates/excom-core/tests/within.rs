//! Pulls within bytes: what does not fit is told as that, and not loaded.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::sync::Arc;

use excom_core::engine::TaskAnswer;
use excom_core::{Answer, Caller, Engine, ErrorKind, ObjectName, PullOptions, Value, XComKey, memory};
use pollster::block_on;

#[test]
fn what_does_not_fit_is_told_and_not_loaded() {
    let store = Arc::new(memory::Store::new());
    let backend = memory::Backend::new(store.clone(), 10);
    let engine = Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new()))
        .backend(Arc::new(backend))
        .build();
    let ana = Caller::user("ana");
    let keys = ["a", "b", "c"].map(|key| XComKey::new("d", "r", "t", -1, key).unwrap());
    for (key, text) in keys.iter().zip(["x".repeat(20), "y".repeat(20), "z".to_owned()]) {
        let receipt = block_on(engine.push(&ana, key, Value::of(&text).unwrap().into())).unwrap();
        if &*key.key == "b" {
            store.tamper(&ObjectName::of(key, receipt.version), |bytes| bytes[0] ^= 1);
        }
    }
    let pull = |mut bytes: u64| {
        let answers = block_on(engine.pull_within(&ana, &keys, PullOptions::default(), &mut bytes)).unwrap();
        (answers.iter().map(Answer::code).collect::<Vec<_>>(), bytes)
    };
    assert_eq!(pull(30), (vec!["found", "large", "found"], 5));
    assert_eq!(pull(47), (vec!["found", "corrupt", "found"], 0));
    assert_eq!(pull(2), (vec!["large", "large", "large"], 2));
    let (sequence, mut none) = ([keys[1].sequence()], 0);
    let all = block_on(engine.pull_tasks_within(&ana, &sequence, PullOptions::default(), &mut none));
    let Some(TaskAnswer::Single(answer)) = all.unwrap().pop() else { panic!("it is not mapped") };
    assert!(answer.to_string().contains("22 bytes"), "{answer}");
    assert_eq!(answer.value().unwrap_err().kind(), ErrorKind::TooLarge);
}
