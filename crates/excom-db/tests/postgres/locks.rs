//! Another session holds a lock for long: who waits gets an answer that names it, nothing goes on waiting there, and
//! what needs no such lock goes on.

use std::sync::Arc;
use std::time::Duration;

use excom_core::{Caller, Engine, ErrorKind, Value, XComKey, memory};
use excom_db::postgres::{Db, Options};

use crate::held::Held;
use crate::support::{Database, pulled, server};

#[test]
fn who_holds_a_lock_is_named() {
    let Some(server) = server() else { return };
    let database = Database::new(server);
    let options = Options { patience: Duration::from_secs(3), connections: 4, ..Options::default() };
    let db = pollster::block_on(Db::open(&database.url(), &options)).unwrap();
    let engine = Engine::builder(Arc::new(db), Arc::new(memory::Clock::new())).build();
    let key = XComKey::new("d", "r", "t", -1, "k").unwrap();
    let push = |value: u32| {
        let value = Value::of(&value).unwrap();
        pollster::block_on(engine.push(&Caller::user("test"), &key, value.into())).map(drop)
    };
    let named = |error: excom_core::Error| {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert!(error.to_string().contains("of user `excom` (psql), active, in a transaction"), "{error:?}");
        assert!(error.hints().iter().any(|hint| hint.contains("pg_terminate_backend")), "{error:?}");
    };
    push(1).unwrap();

    // A row: reads go on.
    let held = Held::start(server, database.name(), "PERFORM FROM excom.entry FOR UPDATE");
    named(push(2).unwrap_err());
    assert_eq!(pulled(&engine, &key).unwrap().as_str(), "1");
    drop(held);

    // A table, as when it is altered: whatever needs it ends, and what does not goes on.
    let held = Held::start(server, database.name(), "LOCK TABLE excom.entry IN ACCESS EXCLUSIVE MODE");
    std::thread::scope(|scope| {
        let pulls: Vec<_> = (0..4).map(|_| scope.spawn(|| pulled(&engine, &key))).collect();
        let pushes: Vec<_> = (0..4).map(|_| scope.spawn(|| push(3))).collect();
        assert!(pollster::block_on(engine.db().variable("none")).unwrap().is_none());
        for pull in pulls {
            let error = pull.join().unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        }
        for push in pushes {
            let error = push.join().unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        }
    });
    named(push(4).unwrap_err());
    named(pulled(&engine, &key).unwrap_err());
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
        AND application_name = 'excom' AND wait_event_type = 'Lock'";
    // What was called off ends there in its own time.
    let begun = std::time::Instant::now();
    while database.sql(waiting) != "0" {
        assert!(begun.elapsed().as_secs() < 30, "nobody waits there for whom nobody waits here");
    }
    drop(held);

    // What was told not to be written never comes.
    assert_eq!(pulled(&engine, &key).unwrap().as_str(), "1");
    push(5).unwrap();
    assert_eq!(pollster::block_on(engine.db().history(&key, 100)).unwrap().len(), 1);
}
