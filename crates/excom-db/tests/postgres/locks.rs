//! Another session holds a lock for long: who waits gets an answer that names it, nothing goes on waiting there, and
//! what needs no such lock goes on.

use std::time::Duration;

use excom_core::ErrorKind;

use crate::alone::Alone;
use crate::faults::{key, pulled, push};
use crate::held::Held;

#[test]
fn who_holds_a_lock_is_named() {
    let Some(alone) = Alone::start("locks::who_holds_a_lock_is_named") else { return };
    let (database, key) = (alone.database(), key("t"));
    alone.expects(std::slice::from_ref(&key));
    let engine = Alone::patient(&alone.url(), Duration::from_secs(6)).unwrap();
    let push = |value: u64| push(&engine, &key, value);
    let named = |error: excom_core::Error| {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert!(error.to_string().contains("of user `excom` (psql), active, in a transaction"), "{error:?}");
        assert!(error.hints().iter().any(|hint| hint.contains("pg_terminate_backend")), "{error:?}");
    };
    push(1).unwrap();

    // A row: reads go on.
    let held = Held::start(&alone, database, &format!("PERFORM FROM {} FOR UPDATE", Alone::TABLE));
    named(push(2).unwrap_err());
    assert_eq!(pulled(&engine, &key).unwrap().as_str(), "1");
    drop(held);

    // A table, as when it is altered: whatever needs it ends, and what does not goes on.
    let held =
        Held::start(&alone, database, &format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", Alone::TABLE));
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
    while alone.sql(database, waiting).unwrap() != "0" {
        assert!(begun.elapsed().as_secs() < 30, "nobody waits there for whom nobody waits here");
    }
    drop(held);

    // What was told not to be written never comes.
    assert_eq!(pulled(&engine, &key).unwrap().as_str(), "1");
    push(5).unwrap();
    assert_eq!(pollster::block_on(engine.db().history(&key, 100)).unwrap().len(), 1);
}
