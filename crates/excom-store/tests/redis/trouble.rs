//! Servers that are full, away, restarted or replaced: no wrong value, and nothing acknowledged is lost.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use excom_core::{ErrorKind, ObjectName, ValueStore};
use excom_store::{Redis as Store, RedisOptions};
use excom_testkit::redis::{Cluster, Redis};

use crate::support::{all, bytes, client, create, get, name, open, options, redis};

#[test]
fn full_memory_is_full() {
    let Some(program) = redis("full_memory_is_full") else { return };
    let server = Redis::start(&program, "maxmemory 12mb\n").unwrap();
    let store = open(&server.url());
    create(&store, &name("kept", 1), &bytes(100_000)).unwrap();
    let large = create(&store, &name("r", 0), &bytes(30_000_000)).unwrap_err();
    assert_eq!(large.kind(), ErrorKind::Full, "{large:?}");
    // What was written of it is gone, so that others have room.
    assert_eq!(pollster::block_on(store.list(None, 10)).unwrap(), [name("kept", 1)]);
    let small =
        (1..100).find_map(|version| create(&store, &name("r", version), &bytes(500_000)).err()).unwrap();
    assert_eq!(small.kind(), ErrorKind::Full, "{small:?}");
    assert!(small.to_string().contains("maxmemory"), "{small}");
    assert_eq!(get(&store, &name("kept", 1)).unwrap(), bytes(100_000));
}

/// What was acknowledged while something went on, checked behind it.
fn pushed_during(store: &Store, happens: impl FnOnce(&AtomicBool)) {
    let (stop, next) = (AtomicBool::new(false), AtomicI64::new(0));
    let length = |version: i64| if version % 50 == 0 { 2_200_000 } else { 1_000 + version as usize };
    let outcomes: Vec<(i64, Result<u64, ErrorKind>)> = std::thread::scope(|scope| {
        let pushers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut outcomes = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let version = next.fetch_add(1, Ordering::Relaxed);
                        let pushed = create(store, &name("r", version), &bytes(length(version)));
                        let outcome = pushed.map_err(|error| error.kind());
                        if outcome.is_err_and(|kind| kind != ErrorKind::Unavailable) {
                            stop.store(true, Ordering::Relaxed);
                        }
                        outcomes.push((version, outcome));
                    }
                    outcomes
                })
            })
            .collect();
        happens(&stop);
        stop.store(true, Ordering::Relaxed);
        pushers.into_iter().flat_map(|pusher| pusher.join().unwrap()).collect()
    });
    let mut acknowledged = 0;
    for (version, outcome) in outcomes {
        let found = get(store, &name("r", version));
        match outcome {
            Ok(size) => {
                acknowledged += 1;
                assert_eq!(size, length(version) as u64);
                assert_eq!(found.unwrap(), bytes(length(version)), "version {version}");
            }
            Err(kind) => {
                assert_eq!(kind, ErrorKind::Unavailable, "version {version}");
                // There as a whole or not at all.
                match found {
                    Ok(found) => assert_eq!(found, bytes(length(version))),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Lost, "{error:?}"),
                }
            }
        }
    }
    assert!(acknowledged > 0);
}

#[test]
fn a_server_that_is_killed_loses_nothing_acknowledged() {
    let Some(program) = redis("a_server_that_is_killed_loses_nothing_acknowledged") else { return };
    let mut server = Redis::start(&program, "").unwrap();
    let (store, url) = (open(&server.url()), server.url());
    pushed_during(&store, |stop| {
        for round in 1..=4 {
            wait_for_keys(&url, round * 60, stop);
            server.restart().unwrap();
        }
        wait_for_keys(&url, 300, stop);
    });
}

fn wait_for_keys(url: &str, keys: i64, stop: &AtomicBool) {
    let mut other = client(url);
    while !stop.load(Ordering::Relaxed) && redis::cmd("DBSIZE").query::<i64>(&mut other).unwrap() < keys {
        std::thread::yield_now();
    }
}

/// A push whose connection breaks behind the write knows its own object when it is tried again.
#[test]
fn broken_connections_are_made_again_unseen() {
    let Some(program) = redis("broken_connections_are_made_again_unseen") else { return };
    let server = Redis::start(&program, "").unwrap();
    let (store, stop) = (open(&server.url()), AtomicBool::new(false));
    let mut other = client(&server.url());
    std::thread::scope(|scope| {
        let pushers: Vec<_> = (0..4)
            .map(|pusher| {
                let (store, stop) = (&store, &stop);
                scope.spawn(move || {
                    let mut version = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let name = name(&format!("r{pusher}"), version);
                        let length = if version % 20 == 0 { 2_200_000 } else { 1_000 };
                        create(store, &name, &bytes(length)).unwrap();
                        assert_eq!(get(store, &name).unwrap(), bytes(length));
                        version += 1;
                    }
                    version
                })
            })
            .collect();
        for round in 1..=20 {
            let working = || !pushers.iter().any(|pusher| pusher.is_finished());
            while working() && redis::cmd("DBSIZE").query::<i64>(&mut other).unwrap() < round * 40 {
                std::thread::yield_now();
            }
            redis::cmd("CLIENT").arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"]).exec(&mut other).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        for pusher in pushers {
            pusher.join().unwrap();
        }
    });
}

#[test]
fn a_server_that_is_away_or_hangs_is_unavailable() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = closed.local_addr().unwrap();
    drop(closed);
    for address in [silent.local_addr().unwrap(), nobody] {
        let impatient = RedisOptions {
            connect_timeout: Duration::from_millis(100),
            timeout: Duration::from_millis(500),
            retries: 2,
            ..options()
        };
        let store = Store::open(&format!("redis://u:hush@{address}"), impatient).unwrap();
        for error in [
            create(&store, &name("r", 1), b"x").unwrap_err(),
            get(&store, &name("r", 1)).unwrap_err(),
            pollster::block_on(store.list(None, 1)).unwrap_err(),
            pollster::block_on(store.check()).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
            assert!(!format!("{error:?}").contains("hush"), "{error:?}");
        }
    }
}

#[test]
fn a_replica_takes_no_pushes() {
    let Some(program) = redis("a_replica_takes_no_pushes") else { return };
    let primary = Redis::start(&program, "").unwrap();
    let replica = Redis::start(&program, "").unwrap();
    let store = Store::open(&replica.url(), RedisOptions { retries: 2, ..options() }).unwrap();
    create(&store, &name("r", 1), b"x").unwrap();
    let mut other = client(&replica.url());
    let mut follow = |host: &str, port: &str| {
        redis::cmd("REPLICAOF").arg(host).arg(port).exec(&mut other).unwrap();
    };
    follow("127.0.0.1", &primary.port().to_string());
    for length in [1, 3_000_000] {
        let error = create(&store, &name("r", 2), &bytes(length)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    }
    follow("NO", "ONE");
    create(&store, &name("r", 2), b"x").unwrap();
}

#[test]
fn in_a_cluster_each_object_has_its_own_answer() {
    let Some(program) = redis("in_a_cluster_each_object_has_its_own_answer") else { return };
    let mut cluster = Cluster::start(&program, "cluster-require-full-coverage no\n").unwrap();
    let impatient = RedisOptions { retries: 2, timeout: Duration::from_secs(5), ..options() };
    let store = Store::open(&cluster.url(), impatient).unwrap();
    let names: Vec<ObjectName> = (0..30).map(|run| name(&format!("r{run}"), 1)).collect();
    for (length, name) in names.iter().enumerate() {
        create(&store, name, &bytes(length * 50_000)).unwrap();
    }
    let found = pollster::block_on(store.get_many(&names));
    for (length, found) in found.into_iter().enumerate() {
        assert_eq!(pollster::block_on(all(found.unwrap())).unwrap(), bytes(length * 50_000));
    }
    let mut listed = names.clone();
    listed.sort();
    assert_eq!(pollster::block_on(store.list(None, 100)).unwrap(), listed);

    cluster.nodes[2].kill();
    let (mut whole, mut away) = (0, 0);
    for (length, found) in pollster::block_on(store.get_many(&names)).into_iter().enumerate() {
        let found = found.and_then(|found| pollster::block_on(all(found)));
        match found {
            Ok(found) => {
                assert_eq!(found, bytes(length * 50_000));
                whole += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
                away += 1;
            }
        }
    }
    assert!(whole > 0 && away > 0, "{whole} are whole, {away} away");
}
