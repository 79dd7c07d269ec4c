//! How often the server is asked, counted by the server.

use std::collections::BTreeMap;

use excom_core::ValueStore;
use excom_testkit::redis::Redis;

use crate::support::{all, bytes, client, create, get, name, open, redis, valkey};

/// Calls of each command since the last count, without those that look at the server.
fn calls(other: &mut redis::Connection) -> BTreeMap<String, u64> {
    let info: String = redis::cmd("INFO").arg("commandstats").query(other).unwrap();
    redis::cmd("CONFIG").arg("RESETSTAT").exec(other).unwrap();
    let line = |line: &str| {
        let (command, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((command.to_owned(), rest.split(',').next()?.parse().ok()?))
    };
    let own = [
        "ping",
        "info",
        "config|get",
        "config|resetstat",
        "client|setinfo",
        "hello",
        "select",
        "client|setname",
    ];
    info.lines().filter_map(line).filter(|(command, _)| !own.contains(&&**command)).collect()
}

fn counted(expected: &[(&str, u64)]) -> BTreeMap<String, u64> {
    expected.iter().map(|(command, count)| ((*command).to_owned(), *count)).collect()
}

#[test]
fn one_round_trip_for_any_number_of_small_objects() {
    let Some(program) = redis("one_round_trip_for_any_number_of_small_objects") else { return };
    let server = Redis::start(&program, "").unwrap();
    let (store, mut other) = (open(&server.url()), client(&server.url()));
    create(&store, &name("r", 0), b"first").unwrap();
    calls(&mut other);

    create(&store, &name("r", 1), &bytes(1 << 20)).unwrap();
    assert_eq!(calls(&mut other), counted(&[("set", 1)]));
    get(&store, &name("r", 1)).unwrap();
    assert_eq!(calls(&mut other), counted(&[("get", 1)]));
    assert!(pollster::block_on(store.delete(&name("r", 1))).unwrap());
    assert_eq!(calls(&mut other), counted(&[("unlink", 1)]));

    for version in 1..200 {
        create(&store, &name("r", version), &bytes(version as usize)).unwrap();
    }
    calls(&mut other);
    let names: Vec<_> = (0..200).map(|version| name("r", version)).collect();
    let found = pollster::block_on(store.get_many(&names));
    assert_eq!(calls(&mut other), counted(&[("mget", 1)]));
    for (version, found) in found.into_iter().enumerate().skip(1) {
        assert_eq!(pollster::block_on(all(found.unwrap())).unwrap(), bytes(version));
    }

    // Three chunks: each is written once, and read once beside the head.
    create(&store, &name("r", 1000), &bytes(3 << 20)).unwrap();
    let made = calls(&mut other);
    assert_eq!((made["pexpire"], made["eval"], made["rename"]), (3, 1, 1), "{made:?}");
    get(&store, &name("r", 1000)).unwrap();
    assert_eq!(calls(&mut other), counted(&[("exists", 1), ("get", 1), ("hget", 7)]));
}

#[test]
fn writes_that_wait_for_the_disk_share_the_wait() {
    let Some(program) = valkey("writes_that_wait_for_the_disk_share_the_wait") else { return };
    let server = Redis::start(&program, "appendfsync everysec\n").unwrap();
    let (store, mut other) = (open(&server.url()), client(&server.url()));
    create(&store, &name("r", 0), b"first").unwrap();
    let first = calls(&mut other);
    assert_eq!(first, counted(&[("set", 1), ("waitaof", 1)]));

    std::thread::scope(|scope| {
        for version in 1..=30 {
            let store = &store;
            scope.spawn(move || create(store, &name("r", version), b"value").unwrap());
        }
    });
    let made = calls(&mut other);
    assert_eq!(made["set"], 30);
    assert!(made["waitaof"] < 30, "{made:?}");
    // Who is told that an object exists may rely on it as well.
    create(&store, &name("r", 1), b"value").unwrap_err();
    assert_eq!(calls(&mut other)["waitaof"], 2);
    assert_eq!(pollster::block_on(store.list(None, 100)).unwrap().len(), 31);
}
