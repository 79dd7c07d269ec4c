//! Object storage passes the suite that every value store passes, on each kind of store; and what only large
//! objects, foreign names and unreachable stores show.

#![allow(clippy::unwrap_used, reason = "a test panics when it does not hold")]

mod failures;
mod large;
mod support;

use excom_core::{ObjectName, Version, XComKey};
use excom_store::ObjectStorage;
use support::{Kind, each, memory};

#[test]
fn every_kind_is_a_value_store() {
    each("every_kind_is_a_value_store", |kind| {
        let store = kind.open("");
        excom_core::conformance::value_store(&(std::sync::Arc::new(store) as _));
        let below = kind.open("/below/a%20prefix/é");
        excom_core::conformance::value_store(&(std::sync::Arc::new(below) as _));
    });
}

#[test]
fn names_come_back_as_they_were_whatever_is_in_them() {
    let strange =
        [":", "{x}", "a/b", "..", "%", "%2F", "a b", "ключ é", "~", "+", "a&b=c", "#?", "\\", "\u{1}"];
    each("names_come_back_as_they_were_whatever_is_in_them", |kind| {
        let store = kind.open("/p");
        let mut names: Vec<ObjectName> = Vec::new();
        for (i, one) in strange.iter().enumerate() {
            let other = strange[(i + 5) % strange.len()];
            let long = one.repeat(80);
            for key in [
                XComKey::new(*one, other, "t", -1, "k").unwrap(),
                XComKey::new("d", "r", *one, i as i32, other).unwrap(),
                XComKey::new("d", other, *one, -1, long).unwrap(),
            ] {
                names.push(ObjectName::of(&key, Version::from_code(i as i64).unwrap()));
            }
        }
        for name in &names {
            support::create(&store, name, name.as_str().as_bytes()).unwrap();
        }
        names.sort();
        names.dedup();
        let mut listed = Vec::new();
        while let Some(more) = Some(support::list(&store, listed.last(), 10)).filter(|more| !more.is_empty())
        {
            listed.extend(more);
        }
        assert_eq!(listed, names);
        for name in &names {
            assert_eq!(support::read(&store, name).unwrap(), name.as_str().as_bytes());
            assert!(support::delete(&store, name), "{name}");
        }
    });
}

/// Another prefix that begins alike is another store.
#[test]
fn prefixes_that_begin_alike_stay_apart() {
    each("prefixes_that_begin_alike_stay_apart", |kind| {
        let (one, other) = (kind.open("/values"), kind.open("/values-2"));
        let name = support::name("k", 1);
        support::create(&other, &name, b"other").unwrap();
        assert!(support::list(&one, None, 10).is_empty());
        assert!(!support::delete(&one, &name));
        assert_eq!(support::read(&other, &name).unwrap(), b"other");
        assert!(support::delete(&other, &name));
    });
}

/// Two that write one name at once: one of them wins, and what is there is whole.
#[test]
fn one_of_two_writers_wins() {
    each("one_of_two_writers_wins", |kind| {
        let store = kind.open("");
        for version in 0..5 {
            let name = support::name("raced", version);
            let won: Vec<bool> = std::thread::scope(|scope| {
                let write = |text: &'static [u8]| {
                    let (store, name) = (&store, &name);
                    scope.spawn(move || support::create(store, name, text).is_ok())
                };
                let writers = [write(b"aaaa"), write(b"bbbb"), write(b"cccc")];
                writers.into_iter().map(|writer| writer.join().unwrap()).collect()
            });
            assert_eq!(won.iter().filter(|won| **won).count(), 1, "{won:?}");
            let bytes = support::read(&store, &name).unwrap();
            assert!([b"aaaa", b"bbbb", b"cccc"].map(|text| text.to_vec()).contains(&bytes));
            support::delete(&store, &name);
        }
    });
}

/// The clients' sockets belong to the store, so it does not matter who polls.
#[test]
fn a_store_serves_any_runtime() {
    each("a_store_serves_any_runtime", |kind| {
        let store = kind.open("");
        let name = support::name("k", 1);
        support::create(&store, &name, b"from a thread").unwrap();
        let one = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(one.block_on(support::read_all(&store, &name)).unwrap(), b"from a thread");
        let many = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let read = many.block_on(async move {
            let read = support::read_all(&store, &name).await;
            excom_core::ValueStore::delete(&store, &name).await.unwrap();
            // The store ends inside the runtime.
            drop(store);
            read
        });
        assert_eq!(read.unwrap(), b"from a thread");
    });
}

#[test]
fn a_store_shows_its_place_and_no_secret() {
    let options = [("AWS_ACCESS_KEY_ID", "AKIATEST"), ("AWS_SECRET_ACCESS_KEY", "hunter2")];
    let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let store = ObjectStorage::open("s3://aws_default@b/p", options).unwrap().with_id("mine");
    assert_eq!(store.to_string(), "object_storage(s3://b/p)");
    assert_eq!(format!("{store:?}"), "object_storage(s3://b/p) as `mine`");
    assert_eq!(excom_core::ValueStore::id(&store), "mine");
    assert_eq!(memory().to_string(), "object_storage(memory://)");
    assert!(Kind::File(tempfile::tempdir().unwrap()).open("/x").to_string().starts_with("files(/"));
}
