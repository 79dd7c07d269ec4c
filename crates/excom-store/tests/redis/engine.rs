//! Values that the engine keeps in Redis.

use std::sync::Arc;

use excom_core::attempt::Caller;
use excom_core::channel::PullOptions;
use excom_core::seal::SealKeys;
use excom_core::{Answer, Engine, Value, XComKey, memory};
use excom_store::{Offload, OffloadOptions};
use excom_testkit::redis::{Program, Redis};

use crate::support::{client, open, redis};

#[test]
fn the_engine_offloads_to_redis() {
    let Some(program) = redis("the_engine_offloads_to_redis") else { return };
    pollster::block_on(offloads(&program));
}

async fn offloads(program: &Program) {
    let server = Redis::start(program, "").unwrap();
    let store = Arc::new(open(&server.url()));
    let keys = SealKeys::new("k1", [7; 32]);
    let backend =
        Offload::new(store, keys.clone(), OffloadOptions { threshold: 100, ..OffloadOptions::default() });
    let engine = Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new()))
        .backend(Arc::new(backend))
        .keys(keys)
        .build();
    let caller = Caller::user("ana");
    let pushed: Vec<_> = [10, 1_000, 3_000_000]
        .into_iter()
        .map(|length| {
            let key = XComKey::new("d", "r:1", "t", -1, &*format!("k{length}")).unwrap();
            // Random enough that compression leaves several chunks.
            let text: String =
                (0..length).map(|n: u64| char::from(b'a' + (n * n % 251 * n % 26) as u8)).collect();
            (key, Value::of(&text).unwrap())
        })
        .collect();
    for (key, value) in &pushed {
        engine.push(&caller, key, value.clone().into()).await.unwrap();
    }
    let wanted: Vec<_> = pushed.iter().map(|(key, _)| key.clone()).collect();
    let answers = engine.pull(&caller, &wanted, PullOptions::default()).await.unwrap();
    for ((key, value), answer) in pushed.iter().zip(&answers) {
        assert_eq!(&answer.found().unwrap_or_else(|| panic!("{key}: {answer}")).value, value);
    }

    redis::cmd("FLUSHALL").exec(&mut client(&server.url())).unwrap();
    let answers = engine.pull(&caller, &wanted, PullOptions::default()).await.unwrap();
    assert!(answers[0].found().is_some(), "{}", answers[0]);
    assert!(matches!(answers[1], Answer::Lost { .. }), "{}", answers[1]);
}
