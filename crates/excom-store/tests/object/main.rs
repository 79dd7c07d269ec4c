//! Object storage passes the suite that every value store passes, on each kind of store; and what only large
//! objects, foreign names and unreachable stores show.

#![allow(clippy::unwrap_used, reason = "a test panics when it does not hold")]

mod failures;
mod large;
mod support;

use std::sync::Arc;

use excom_core::{ErrorKind, ObjectName, ValueStore as _, Version, XComKey};
use excom_store::ObjectStorage;
use excom_testkit::{azure, gcs, s3, skip::skipped};
use support::{Kind, create, delete, list, memory, name, read, read_all};

/// What holds on every kind of store.
const SCENARIOS: [fn(&Kind); 11] = [
    the_suite_of_value_stores,
    names_come_back_as_they_were_whatever_is_in_them,
    prefixes_that_begin_alike_stay_apart,
    one_of_several_writers_wins,
    a_store_serves_any_runtime,
    a_bucket_that_is_not_there_is_told,
    large::objects_come_back_whole,
    large::an_object_is_not_overwritten,
    large::a_body_that_fails_leaves_nothing,
    large::a_create_that_is_dropped_half_way_leaves_nothing,
    large::the_engine_offloads_a_stream,
];

fn all(kind: &Kind) {
    for scenario in SCENARIOS {
        scenario(kind);
    }
}

#[test]
fn in_memory() {
    all(&Kind::Memory);
}

#[test]
fn in_a_folder() {
    all(&Kind::File(tempfile::tempdir().unwrap()));
}

#[test]
fn in_google_cloud_storage() {
    all(&Kind::Google(gcs::Gcs::start().unwrap()));
}

#[test]
fn in_s3() {
    match s3::S3::available() {
        Ok(()) => all(&Kind::S3(s3::S3::start().unwrap())),
        Err(why) => skipped("in_s3", &why),
    }
}

#[test]
fn in_azure() {
    match azure::Azure::available() {
        Ok(()) => all(&Kind::Azure(azure::Azure::start().unwrap())),
        Err(why) => skipped("in_azure", &why),
    }
}

fn the_suite_of_value_stores(kind: &Kind) {
    for prefix in ["", "/suite", "/suite/a%20b/é"] {
        let store: Arc<dyn excom_core::ValueStore> = Arc::new(kind.open(prefix));
        excom_core::conformance::value_store(&store);
    }
}

fn names_come_back_as_they_were_whatever_is_in_them(kind: &Kind) {
    let strange =
        [":", "{x}", "a/b", "..", "%", "%2F", "a b", "ключ é", "~", "+", "a&b=c", "#?", "\\", "\u{1}"];
    let store = kind.open("/names");
    let mut names: Vec<ObjectName> = Vec::new();
    for (i, one) in strange.iter().enumerate() {
        let other = strange[(i + 5) % strange.len()];
        for key in [
            XComKey::new(*one, other, "t", -1, "k").unwrap(),
            XComKey::new("d", "r", *one, i as i32, other).unwrap(),
            XComKey::new("d", other, *one, -1, one.repeat(80)).unwrap(),
        ] {
            names.push(ObjectName::of(&key, Version::from_code(i as i64).unwrap()));
        }
    }
    for name in &names {
        create(&store, name, name.as_str().as_bytes()).unwrap();
    }
    names.sort();
    let mut listed = Vec::new();
    loop {
        let page = list(&store, listed.last(), 10);
        if page.is_empty() {
            break;
        }
        listed.extend(page);
    }
    assert_eq!(listed, names);
    for name in &names {
        assert_eq!(read(&store, name).unwrap(), name.as_str().as_bytes());
        assert!(delete(&store, name), "{name}");
    }
}

fn prefixes_that_begin_alike_stay_apart(kind: &Kind) {
    let (one, other) = (kind.open("/alike"), kind.open("/alike-2"));
    let name = name("k", 1);
    create(&other, &name, b"other").unwrap();
    assert!(list(&one, None, 10).is_empty());
    assert!(!delete(&one, &name));
    assert_eq!(read(&other, &name).unwrap(), b"other");
    assert!(delete(&other, &name));
}

fn one_of_several_writers_wins(kind: &Kind) {
    let store = kind.open("/raced");
    for version in 0..5 {
        let name = name("k", version);
        let texts: [&[u8]; 3] = [b"aaaa", b"bbbb", b"cccc"];
        let won = std::thread::scope(|scope| {
            let writers = texts.map(|text| scope.spawn(|| create(&store, &name, text).is_ok()));
            writers.map(|writer| writer.join().unwrap())
        });
        let bytes = read(&store, &name).unwrap();
        assert_eq!(won, texts.map(|text| text == bytes), "one has won, and its bytes are there");
        delete(&store, &name);
    }
}

/// The clients' sockets belong to the store, so it does not matter who polls.
fn a_store_serves_any_runtime(kind: &Kind) {
    let store = kind.open("/runtimes");
    let name = name("k", 1);
    create(&store, &name, b"from a thread").unwrap();
    let one = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(one.block_on(read_all(&store, &name)).unwrap(), b"from a thread");
    let several = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let read = several.block_on(async move {
        let read = read_all(&store, &name).await;
        store.delete(&name).await.unwrap();
        // The store ends inside the runtime.
        drop(store);
        read
    });
    assert_eq!(read.unwrap(), b"from a thread");
}

/// A bucket that is not there has lost no values: it is a setting.
fn a_bucket_that_is_not_there_is_told(kind: &Kind) {
    let Some(store) = kind.elsewhere() else { return };
    for error in [
        pollster::block_on(store.check()).unwrap_err(),
        read(&store, &name("k", 1)).unwrap_err(),
        create(&store, &name("k", 1), b"x").unwrap_err(),
        pollster::block_on(store.list(None, 1)).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error:?}");
        let shown = format!("{error:?}");
        assert!(shown.contains("elsewhere") && shown.contains("create the bucket"), "{shown}");
    }
}

#[test]
fn a_store_shows_its_place_and_no_secret() {
    let options = [("AWS_ACCESS_KEY_ID", "AKIATEST"), ("AWS_SECRET_ACCESS_KEY", "hunter2")];
    let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let store = ObjectStorage::open("s3://aws_default@b/p", options).unwrap().with_id("mine");
    assert_eq!(store.to_string(), "object_storage(s3://b/p)");
    assert_eq!(format!("{store:?}"), "object_storage(s3://b/p) as `mine`");
    assert_eq!(store.id(), "mine");
    assert_eq!(memory().to_string(), "object_storage(memory://)");
    assert!(Kind::File(tempfile::tempdir().unwrap()).open("/x").to_string().starts_with("files(/"));
}
