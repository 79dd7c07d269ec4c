//! What is gone is lost, what somebody else changed is damaged, and neither is ever a value.

use std::time::Duration;

use excom_core::{ErrorKind, ValueStore};
use excom_store::{Redis as Store, RedisOptions};
use excom_testkit::redis::Redis;

use crate::support::{bytes, client, create, get, key, name, open, options, redis};

#[test]
fn damage_is_told_from_loss() {
    let Some(program) = redis("damage_is_told_from_loss") else { return };
    let server = Redis::start(&program, "").unwrap();
    let store = open(&server.url());
    let mut other = client(&server.url());
    let (small, large) = (bytes(1_000), bytes(3_000_000));
    let mut version = 0;
    // A new object each, changed by a script that gets its key, its value or head, and its writer.
    let mut after = |value: &[u8], change: &str| {
        version += 1;
        let name = name("r", version);
        create(&store, &name, value).unwrap();
        redis::cmd("EVAL").arg(change).arg(1).arg(key("r", version)).exec(&mut other).unwrap();
        let error = get(&store, &name).unwrap_err();
        let listed = pollster::block_on(store.get_many(&[name.clone(), name]));
        if value.len() == small.len() {
            for other in listed {
                assert_eq!(other.map(drop).unwrap_err().kind(), error.kind());
            }
        }
        error
    };
    let field = "local fields = redis.call('HKEYS', KEYS[1]) table.sort(fields) local third = fields[3] ";
    for (value, change, kind, text) in [
        (&small, "redis.call('DEL', KEYS[1])".to_owned(), ErrorKind::Lost, "gone"),
        (&large, "redis.call('DEL', KEYS[1])".to_owned(), ErrorKind::Lost, "gone"),
        (&small, "redis.call('SET', KEYS[1], 'x')".to_owned(), ErrorKind::Corrupt, "that no push wrote"),
        (
            &small,
            "redis.call('SET', KEYS[1], redis.call('GETRANGE', KEYS[1], 0, 99))".to_owned(),
            ErrorKind::Corrupt,
            "has 68 bytes and should have 1000",
        ),
        (&small, "redis.call('APPEND', KEYS[1], 'x')".to_owned(), ErrorKind::Corrupt, "has 1001 bytes"),
        (
            &small,
            "redis.call('DEL', KEYS[1]) redis.call('LPUSH', KEYS[1], 'x')".to_owned(),
            ErrorKind::Corrupt,
            "another type",
        ),
        (&large, "redis.call('HDEL', KEYS[1], 'head')".to_owned(), ErrorKind::Corrupt, "head is missing"),
        (
            &large,
            "redis.call('HSET', KEYS[1], 'head', 'x')".to_owned(),
            ErrorKind::Corrupt,
            "head is damaged",
        ),
        (
            &large,
            format!("{field} redis.call('HDEL', KEYS[1], third)"),
            ErrorKind::Corrupt,
            "chunk 2 of 3 is missing",
        ),
        (
            &large,
            format!("{field} redis.call('HSET', KEYS[1], third, 'x')"),
            ErrorKind::Corrupt,
            "chunk 2 has 1 bytes and should have 902848",
        ),
    ] {
        let error = after(value, &change);
        assert_eq!(error.kind(), kind, "{change}: {error:?}");
        assert!(error.to_string().contains(text), "{change}: {error}");
    }
}

#[test]
fn an_object_that_goes_while_it_is_read_is_lost() {
    let Some(program) = redis("an_object_that_goes_while_it_is_read_is_lost") else { return };
    let server = Redis::start(&program, "").unwrap();
    let store = open(&server.url());
    create(&store, &name("r", 1), &bytes(8_000_000)).unwrap();
    let error = pollster::block_on(async {
        let mut stream = store.get(&name("r", 1)).await.unwrap();
        std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)).await.unwrap().unwrap();
        assert!(store.delete(&name("r", 1)).await.unwrap());
        crate::support::all(stream).await.unwrap_err()
    });
    assert_eq!(error.kind(), ErrorKind::Lost, "{error:?}");
}

#[test]
fn what_is_evicted_is_lost() {
    let Some(program) = redis("what_is_evicted_is_lost") else { return };
    let server = Redis::start(&program, "maxmemory 12mb\nmaxmemory-policy allkeys-lru\n").unwrap();
    let refused = create(&open(&server.url()), &name("r", 0), b"x").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Configuration);
    assert!(refused.to_string().contains("maxmemory-policy is allkeys-lru"), "{refused}");

    let store = Store::open(&server.url(), RedisOptions { accept_loss: true, ..options() }).unwrap();
    let length = |version: i64| if version % 4 == 0 { 2_000_000 } else { 300_000 };
    for version in 0..40 {
        create(&store, &name("r", version), &bytes(length(version))).unwrap();
    }
    let mut lost = 0;
    for version in 0..40 {
        match get(&store, &name("r", version)) {
            Ok(found) => assert_eq!(found, bytes(length(version))),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Lost);
                assert!(error.to_string().contains("maxmemory-policy is allkeys-lru"), "{error}");
                lost += 1;
            }
        }
    }
    assert!((1..40).contains(&lost), "{lost} of 40 are lost");
}

#[test]
fn objects_expire_when_they_are_told_to() {
    let Some(program) = redis("objects_expire_when_they_are_told_to") else { return };
    let server = Redis::start(&program, "").unwrap();
    let mut other = client(&server.url());
    let mut left = |version| -> i64 { redis::cmd("PTTL").arg(key("r", version)).query(&mut other).unwrap() };
    let store = open(&server.url());
    create(&store, &name("r", 1), b"x").unwrap();
    create(&store, &name("r", 2), &bytes(3_000_000)).unwrap();
    assert_eq!((left(1), left(2)), (-1, -1), "by default nothing expires");

    let hour = RedisOptions { time_to_live: Some(Duration::from_secs(3600)), ..options() };
    let store = Store::open(&server.url(), hour.clone()).unwrap();
    create(&store, &name("r", 3), b"x").unwrap();
    create(&store, &name("r", 4), &bytes(3_000_000)).unwrap();
    assert!((1..=3_600_000).contains(&left(3)) && (1..=3_600_000).contains(&left(4)));

    let soon = RedisOptions { time_to_live: Some(Duration::from_millis(1)), ..hour };
    let store = Store::open(&server.url(), soon).unwrap();
    create(&store, &name("r", 5), b"x").unwrap();
    let error = loop {
        match get(&store, &name("r", 5)) {
            Ok(found) => assert_eq!(found, b"x"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Lost);
    assert!(error.to_string().contains("it expired (time_to_live is 1ms)"), "{error}");
}
