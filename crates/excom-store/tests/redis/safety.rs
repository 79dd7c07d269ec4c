//! A store that holds the only copy of values is refused where it may lose them.

use excom_core::{ErrorKind, ValueStore};
use excom_store::redis::Guarantee;
use excom_store::{Redis as Store, RedisOptions};
use excom_testkit::redis::{Certificates, Redis};

use crate::support::{bytes, client, create, get, name, open, options, redis, valkey};

#[test]
fn a_server_that_may_lose_values_is_refused() {
    let Some(program) = redis("a_server_that_may_lose_values_is_refused") else { return };
    for (lines, said) in [
        ("appendonly no\n", "appendonly is off"),
        ("appendfsync no\n", "appendfsync is no"),
        ("maxmemory-policy volatile-lru\n", "maxmemory-policy is volatile-lru"),
    ] {
        let server = Redis::start(&program, lines).unwrap();
        let store = open(&server.url());
        for length in [1, 3_000_000] {
            let error = create(&store, &name("r", 1), &bytes(length)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration);
            assert!(error.to_string().contains(said), "{error}");
        }
        let error = pollster::block_on(store.check()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains(said), "{error}");
        assert!(error.hints().iter().any(|hint| hint.contains("accept_loss")), "{error:?}");
        assert!(pollster::block_on(store.durability()).unwrap().to_string().contains(said));

        let store = Store::open(&server.url(), RedisOptions { accept_loss: true, ..options() }).unwrap();
        pollster::block_on(store.check()).unwrap();
        create(&store, &name("r", 1), b"x").unwrap();
        assert_eq!(get(&store, &name("r", 1)).unwrap(), b"x");
    }
}

/// Settings that are changed while the store is in use.
#[test]
fn a_check_notes_what_the_server_guarantees_now() {
    let Some(program) = redis("a_check_notes_what_the_server_guarantees_now") else { return };
    let server = Redis::start(&program, "").unwrap();
    let store = open(&server.url());
    create(&store, &name("r", 1), b"x").unwrap();
    let mut other = client(&server.url());
    redis::cmd("CONFIG").arg(&["SET", "appendfsync", "no"]).exec(&mut other).unwrap();
    pollster::block_on(store.check()).unwrap_err();
    assert_eq!(create(&store, &name("r", 2), b"x").unwrap_err().kind(), ErrorKind::Configuration);
    // A refused write looks again, too.
    redis::cmd("CONFIG").arg(&["SET", "appendfsync", "always"]).exec(&mut other).unwrap();
    create(&store, &name("r", 2), b"x").unwrap();
}

fn user(server: &Redis, rules: &[&str]) -> String {
    let mut acl = redis::cmd("ACL");
    acl.arg(&["SETUSER", "excom", "reset", "on", ">hush"]).arg(rules);
    acl.exec(&mut client(&server.url())).unwrap();
    server.url().replace("//", "//excom:hush@")
}

#[test]
fn settings_that_the_user_may_not_see_cannot_be_known() {
    let test = "settings_that_the_user_may_not_see_cannot_be_known";
    let Some(program) = redis(test) else { return };
    let server = Redis::start(&program, "").unwrap();
    let unseen = "appendfsync cannot be known";
    for (rules, said) in [
        (vec!["~excom:*", "+@all", "-config"], unseen),
        (vec!["~excom:*", "+@all", "-@dangerous"], "whether appendonly is on cannot be known"),
    ] {
        let url = user(&server, &rules);
        let error = create(&open(&url), &name("r", 1), b"x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains(said), "{error}");
        let store = Store::open(&url, RedisOptions { accept_loss: true, ..options() }).unwrap();
        pollster::block_on(store.check()).unwrap();
        create(&store, &name("r", 1), b"x").unwrap();
        assert!(pollster::block_on(store.delete(&name("r", 1))).unwrap());
    }
    // Where each write can wait for the disk, nothing needs to be known about how the server syncs.
    let Some(program) = valkey(test) else { return };
    let server = Redis::start(&program, "").unwrap();
    let store = open(&user(&server, &["~excom:*", "+@all", "-config"]));
    pollster::block_on(store.check()).unwrap();
    create(&store, &name("r", 1), b"x").unwrap();
    let durability = pollster::block_on(store.durability()).unwrap();
    assert_eq!((durability.guarantee(), durability.append_fsync.as_deref()), (Guarantee::Waits, None));
    assert!(durability.server.unwrap().starts_with("Valkey "));
}

/// The append-only file is turned off behind the store's back.
#[test]
fn a_write_that_cannot_be_synced_is_no_push() {
    let Some(program) = valkey("a_write_that_cannot_be_synced_is_no_push") else { return };
    let server = Redis::start(&program, "appendfsync everysec\n").unwrap();
    let store = open(&server.url());
    create(&store, &name("r", 1), b"x").unwrap();
    redis::cmd("CONFIG").arg(&["SET", "appendonly", "no"]).exec(&mut client(&server.url())).unwrap();
    for length in [1, 3_000_000] {
        let error = create(&store, &name("r", 2), &bytes(length)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error:?}");
        assert_eq!(get(&store, &name("r", 2)).unwrap_err().kind(), ErrorKind::Lost);
    }
    assert_eq!(pollster::block_on(store.list(None, 10)).unwrap(), [name("r", 1)]);
}

#[test]
fn a_refused_login_or_command_is_a_setting() {
    let Some(program) = redis("a_refused_login_or_command_is_a_setting") else { return };
    let server = Redis::start(&program, "").unwrap();
    let url = user(&server, &["~other:*", "+@all"]);
    let no_database = server.url().replace("/0", "/99");
    let unknown = Redis::start_with_tls(&program, &Certificates::new().unwrap()).unwrap();
    for (url, said) in [
        (url.replace("hush", "hush2"), "password"),
        (url.replace("excom", "nobody"), "password"),
        (url, "excom"),
        (no_database, "database"),
        (unknown.tls_url(), "certificate"),
    ] {
        let quick = RedisOptions { retries: 1, ..options() };
        let error = pollster::block_on(Store::open(&url, quick).unwrap().check()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{url}: {error:?}");
        let shown = format!("{error:?}");
        assert!(shown.contains(said) && !shown.contains("hush"), "{shown}");
    }
}
