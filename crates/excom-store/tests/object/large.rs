//! Objects of several parts.

use std::future::Future as _;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use excom_core::attempt::Caller;
use excom_core::channel::PullOptions;
use excom_core::seal::SealKeys;
use excom_core::{Engine, ErrorKind, Payload, TaskInstanceKey, ValueStore as _, memory};
use excom_store::{Offload, OffloadOptions};

use super::support::{End, Kind, body, bytes, delete, eventually, list, name, read};

const PART: usize = 8 << 20;

pub(crate) fn objects_come_back_whole(kind: &Kind) {
    let store = kind.open("/objects");
    for (version, size) in
        [PART - 1, PART, PART + 1, 2 * PART, 2 * PART + 1, 41 << 20].into_iter().enumerate()
    {
        let (name, bytes) = (name("k", version as i64), bytes(size));
        // Pieces that never end where a part does.
        let body = body(bytes.clone(), 1_000_003, End::Well);
        assert_eq!(pollster::block_on(store.create(&name, body)).unwrap(), size as u64);
        assert!(read(&store, &name).unwrap() == bytes, "{size} bytes");
        assert_eq!(list(&store, None, 2), std::slice::from_ref(&name));
        assert!(delete(&store, &name));
    }
    assert_eq!(kind.unfinished().unwrap_or(0), 0);
}

pub(crate) fn an_object_is_not_overwritten(kind: &Kind) {
    let (store, name) = (kind.open("/overwritten"), name("k", 1));
    let first = bytes(3 * PART);
    pollster::block_on(store.create(&name, body(first.clone(), 1 << 20, End::Well))).unwrap();
    let again = body(vec![1; 3 * PART], 1 << 20, End::Well);
    let error = pollster::block_on(store.create(&name, again)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists, "{error:?}");
    assert!(read(&store, &name).unwrap() == first);
    assert_eq!(kind.unfinished().unwrap_or(0), 0);
}

pub(crate) fn a_body_that_fails_leaves_nothing(kind: &Kind) {
    let (store, name) = (kind.open("/failing"), name("k", 1));
    let error = pollster::block_on(store.create(&name, body(bytes(3 * PART), 1 << 20, End::Failing)));
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidValue);
    assert_eq!(read(&store, &name).unwrap_err().kind(), ErrorKind::Lost);
    assert!(list(&store, None, 10).is_empty());
    assert_eq!(kind.unfinished().unwrap_or(0), 0, "the upload is aborted before the error is told");
}

pub(crate) fn a_create_that_is_dropped_half_way_leaves_nothing(kind: &Kind) {
    let (store, name) = (kind.open("/dropped"), name("k", 1));
    {
        let mut create = pin!(store.create(&name, body(bytes(3 * PART), 1 << 20, End::Never)));
        let mut context = Context::from_waker(Waker::noop());
        let mut poll = || assert!(create.as_mut().poll(&mut context).is_pending());
        let begun = eventually(|| {
            poll();
            kind.unfinished() != Some(0)
        });
        assert!(begun, "no upload was begun");
    }
    assert_eq!(read(&store, &name).unwrap_err().kind(), ErrorKind::Lost);
    // The abort is sent behind the caller's back.
    assert!(eventually(|| kind.unfinished().is_none_or(|left| left == 0)), "an upload is left");
    assert!(eventually(|| list(&store, None, 10).is_empty()), "an unfinished object is left");
}

pub(crate) fn the_engine_offloads_a_stream(kind: &Kind) {
    let store = Arc::new(kind.open("/engine"));
    let keys = SealKeys::new("k1", [7; 32]);
    let options = OffloadOptions { compress_from: u64::MAX, ..OffloadOptions::default() };
    let backend = Offload::new(store.clone(), keys.clone(), options);
    let engine = Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new()))
        .backend(Arc::new(backend))
        .keys(keys)
        .build();
    let text = format!("\"{}\"", "excom ".repeat(4_000_000));
    let key = TaskInstanceKey::new("d", "r:1", "t", 3).unwrap().return_value();
    let ana = Caller::user("ana");
    pollster::block_on(async {
        let payload = Payload::Stream(body(text.clone(), 100_000, End::Well));
        engine.push(&ana, &key, payload).await.unwrap();
        assert_eq!(store.list(None, 10).await.unwrap().len(), 1);
        let answers = engine.pull(&ana, std::slice::from_ref(&key), PullOptions::default()).await.unwrap();
        let found = answers[0].found().unwrap_or_else(|| panic!("{}", answers[0]));
        assert!(found.value.as_str() == text);
    });
}
