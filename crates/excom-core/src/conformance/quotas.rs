//! Quotas: what counts, what is refused, and what a refusal leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;

use super::{Harness, large, refused, text, ti, user, value, xcom};
use crate::attempt::{Caller, TaskState};
use crate::db::{Scope, Usage};
use crate::engine::Settings;
use crate::value::Payload;
use crate::{Attempt, Engine, ErrorKind, Version, XComKey, memory};

fn json(size: usize) -> String {
    format!("\"{}\"", "x".repeat(size - 2))
}

fn of_run(h: &Harness, quota: u64) -> Engine {
    h.with(Settings { quota_run: Some(quota), ..Settings::default() })
}

async fn push(engine: &Engine, key: &XComKey, size: usize) -> crate::Result<()> {
    engine.push(&user(), key, value(&json(size)).into()).await.map(drop)
}

/// What the values of a run and of a DAG have together is added up, wherever they are; what ended is not among it.
pub async fn usage_is_added_up(h: &Harness) {
    let db = h.engine.db();
    assert_eq!(db.usage("d", Some("r")).await.unwrap(), Usage::default());
    assert_eq!(db.usage("d", None).await.unwrap(), Usage::default());
    let elsewhere = |dag, run| XComKey::new(dag, run, "t", -1, "k").unwrap();
    h.push(&user(), &xcom("t", "a"), "[1,2]").await;
    h.push(&user(), &xcom("t", "b"), &large(1)).await;
    h.push(&user(), &ti("mapped", 3).return_value(), "\"é\"").await;
    h.push(&user(), &elsewhere("d", "r2"), "1234").await;
    h.push(&user(), &elsewhere("D", "r"), "[]").await;
    let first = 5 + large(1).len() as u64 + 4;
    let told = async |dag, run| {
        let Usage { entries, bytes } = db.usage(dag, run).await.unwrap();
        (entries, bytes)
    };
    assert_eq!(told("d", Some("r")).await, (3, first));
    assert_eq!(told("d", Some("r2")).await, (1, 4));
    assert_eq!(told("d", None).await, (4, first + 4));
    assert_eq!(told("D", None).await, (1, 2));
    assert_eq!(told("d", Some("R")).await, (0, 0));
    assert_eq!(told("nothing", None).await, (0, 0));

    h.push(&user(), &xcom("t", "a"), "[1,2,3]").await;
    h.engine.clear(&user(), &Scope::Key(xcom("t", "b"))).await.unwrap();
    assert_eq!(told("d", Some("r")).await, (2, 7 + 4));
    h.engine.delete(&user(), &Scope::Key(xcom("t", "a"))).await.unwrap();
    assert_eq!(told("d", None).await, (2, 4 + 4));
}

/// A push over a quota is refused and changes nothing; it says what is used, what is allowed and what to do. A replaced
/// value counts once, and whatever goes makes room.
pub async fn quotas_hold(h: &Harness) {
    let engine = of_run(h, 400);
    push(&engine, &xcom("t", "a"), 150).await.unwrap();
    push(&engine, &xcom("t", "b"), 150).await.unwrap();
    let objects = h.objects().await;
    let error = push(&engine, &xcom("t", "c"), 150).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    let told = error.to_string();
    assert!(told.contains("run d/r have 300 bytes of the 400 bytes that [xcom] quota_run"), "{told}");
    assert!(error.hints().len() == 3, "{error:?}");
    assert_eq!(h.objects().await, objects);
    assert!(h.pull(&xcom("t", "c")).await.found().is_none());
    push(&engine, &xcom("t", "c"), 100).await.unwrap();

    // Full: what is as large or smaller may take the place of what is there, again and again.
    for size in [150, 150, 140, 150, 150] {
        push(&engine, &xcom("t", "a"), size).await.unwrap();
    }
    refused(push(&engine, &xcom("t", "a"), 151).await, ErrorKind::TooLarge);
    assert_eq!(text(&h.pull(&xcom("t", "a")).await), json(150));
    // Other runs have theirs.
    let other = XComKey::new("d", "r2", "t", -1, "k").unwrap();
    push(&engine, &other, 400).await.unwrap();

    engine.clear(&user(), &Scope::Key(xcom("t", "b"))).await.unwrap();
    push(&engine, &xcom("t", "d"), 150).await.unwrap();
    refused(push(&engine, &xcom("t", "e"), 10).await, ErrorKind::TooLarge);
    engine.delete(&user(), &Scope::Key(xcom("t", "d"))).await.unwrap();
    push(&engine, &xcom("t", "e"), 150).await.unwrap();

    // A quota that was made smaller lets what is there become smaller.
    let tight = of_run(h, 50);
    push(&tight, &xcom("t", "a"), 120).await.unwrap();
    refused(push(&tight, &xcom("t", "a"), 121).await, ErrorKind::TooLarge);
    let used = tight.usage(&user(), "d", Some("r")).await.unwrap().unwrap();
    assert_eq!((used.entries, used.bytes, used.quota), (3, 120 + 100 + 150, Some(50)));
    assert_eq!(tight.usage(&user(), "d", None).await.unwrap().unwrap().quota, None);
}

/// The quota of a DAG is about all its runs, beside those of each.
pub async fn a_dag_has_a_quota(h: &Harness) {
    let settings = Settings { quota_run: Some(300), quota_dag: Some(500), ..Settings::default() };
    let engine = h.with(settings);
    let key = |run: &str, name| XComKey::new("d", run, "t", -1, name).unwrap();
    push(&engine, &key("r1", "a"), 300).await.unwrap();
    let error = push(&engine, &key("r1", "b"), 10).await.unwrap_err();
    assert!(error.to_string().contains("quota_run"), "{error}");
    push(&engine, &key("r2", "a"), 200).await.unwrap();
    let error = push(&engine, &key("r2", "b"), 10).await.unwrap_err();
    assert!(error.to_string().contains("all runs of DAG d have 500 bytes of the 500"), "{error}");
    assert!(error.hints().iter().any(|hint| hint.contains("[xcom] quota_dag")), "{error:?}");
    push(&engine, &XComKey::new("d2", "r1", "t", -1, "a").unwrap(), 300).await.unwrap();
    let used = engine.usage(&user(), "d", None).await.unwrap().unwrap();
    assert_eq!((used.entries, used.bytes, used.quota), (2, 500, Some(500)));
}

/// A stream is stopped where there is no room for more, and leaves nothing in the store. Bytes that came to nothing are
/// free again.
pub async fn a_stream_is_stopped_at_its_quota(h: &Harness) {
    let engine = of_run(h, 1000);
    let objects = h.objects().await;
    let taken = Arc::new(AtomicUsize::new(0));
    let pieces = |count: usize| {
        let taken = taken.clone();
        let piece = move |place: usize| {
            taken.fetch_add(1, Ordering::SeqCst);
            let text = "x".repeat(100);
            Ok(Bytes::from(match place {
                0 => format!("\"{text}"),
                last if last + 1 == count => format!("{text}\""),
                _ => text,
            }))
        };
        Payload::Stream(Box::pin(stream::iter((0..count).map(piece))))
    };
    let error = engine.push(&user(), &xcom("t", "k"), pieces(1000)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    // What it would have taken itself is not there.
    assert!(error.to_string().contains("have 0 bytes of the 1000 bytes"), "{error}");
    assert!(taken.load(Ordering::SeqCst) < 30, "{taken:?} pieces were taken");
    assert_eq!(h.objects().await, objects);
    engine.push(&user(), &xcom("t", "k"), pieces(9)).await.unwrap();
    // It is replaced by one of its size, and stopped with a larger one.
    engine.push(&user(), &xcom("t", "k"), pieces(9)).await.unwrap();
    refused(engine.push(&user(), &xcom("t", "k"), pieces(11)).await, ErrorKind::TooLarge);
    refused(
        engine.push(&user(), &xcom("t", "j"), memory::streamed(&value(&json(300)))).await,
        ErrorKind::TooLarge,
    );
    push(&engine, &xcom("t", "j"), 98).await.unwrap();
    assert_eq!(engine.usage(&user(), "d", Some("r")).await.unwrap().unwrap().bytes, 1000);
}

/// A try that ends over the quota does not end, and a repetition is answered as one however full it is. The next try
/// begins with room again.
pub async fn quotas_know_tries_and_repetitions(h: &Harness) {
    let engine = of_run(h, 300);
    let attempt = engine.start(&ti("t", -1), 1).await.unwrap();
    let me = Caller::Attempt(attempt.clone());
    let version = h.engine.clock().version();
    let first = async |engine: &Engine, version: Version| {
        engine.push_version(&me, &xcom("t", "a"), version, value(&json(250)).into()).await
    };
    first(&engine, version).await.unwrap();
    assert!(first(&engine, version).await.unwrap().already);
    engine.push(&me, &xcom("t", "a"), value(&json(10)).into()).await.unwrap();
    push(&engine, &xcom("u", "b"), 290).await.unwrap();
    assert!(first(&engine, version).await.unwrap().already);
    assert!(first(&of_run(h, 300), version).await.unwrap().already);

    let last = |size| vec![(xcom("t", "x"), value("1").into()), (xcom("t", "y"), value(&json(size)).into())];
    refused(engine.finish(&attempt, TaskState::Success, last(10)).await, ErrorKind::TooLarge);
    assert!(h.pull(&xcom("t", "x")).await.found().is_none());
    assert_eq!(engine.task_instance(&ti("t", -1)).await.unwrap().unwrap().state, TaskState::Running);

    let next: Attempt = engine.start(&ti("t", -1), 2).await.unwrap();
    engine.finish(&next, TaskState::Success, last(9)).await.unwrap();
    assert_eq!(engine.usage(&user(), "d", Some("r")).await.unwrap().unwrap().bytes, 300);
}

/// Of several servers each learns within seconds what the others did; a refusal asks anew after one.
pub async fn quotas_are_of_all_servers(h: &Harness) {
    let (here, there) = (of_run(h, 1000), of_run(h, 1000));
    push(&here, &xcom("t", "a"), 100).await.unwrap();
    push(&there, &xcom("t", "b"), 800).await.unwrap();
    // It would have been too much; what is here is some seconds old at most.
    push(&here, &xcom("t", "c"), 100).await.unwrap();
    h.clock.advance(Duration::from_secs(6));
    refused(push(&here, &xcom("t", "d"), 100).await, ErrorKind::TooLarge);
    there.clear(&user(), &Scope::Key(xcom("t", "b"))).await.unwrap();
    h.clock.advance(Duration::from_secs(2));
    push(&here, &xcom("t", "d"), 100).await.unwrap();
}
