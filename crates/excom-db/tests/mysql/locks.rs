//! Another session holds a lock for long: who waits gets an answer, which names it where the server tells, and what needs
//! no such lock goes on.

use std::time::Duration;

use excom_core::ErrorKind;

use crate::alone::Alone;
use crate::faults::{key, pulled, push};
use crate::held::Held;

#[test]
fn who_waits_for_a_lock_is_told() {
    let Some(alone) = Alone::start("locks::who_waits_for_a_lock_is_told") else { return };
    let (database, key) = (alone.database(), key("t"));
    alone.expects(std::slice::from_ref(&key));
    let engine = Alone::patient(&alone.url(), Duration::from_secs(6)).unwrap();
    let push = |value: u64| push(&engine, &key, value);
    let told = |error: excom_core::Error, what: &str| {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert!(error.to_string().contains("was waited for in vain"), "{error:?}");
        assert!(error.to_string().contains(what), "{error:?}");
        assert!(error.hints().iter().any(|hint| hint.contains("PROCESSLIST")), "{error:?}");
    };
    push(1).unwrap();

    // A row: reads go on.
    let held = Held::start(&alone, database, &format!("BEGIN; SELECT * FROM {} FOR UPDATE", Alone::TABLE));
    told(push(2).unwrap_err(), "of user `excom`");
    assert_eq!(pulled(&engine, &key).unwrap().as_str(), "1");
    drop(held);

    // A table, as when it is altered: whatever needs it ends, and what does not goes on.
    let held = Held::start(&alone, database, &format!("LOCK TABLES {} WRITE", Alone::TABLE));
    std::thread::scope(|scope| {
        let pulls: Vec<_> = (0..3).map(|_| scope.spawn(|| pulled(&engine, &key))).collect();
        assert!(pollster::block_on(engine.db().variable("none")).unwrap().is_none());
        for pull in pulls {
            told(pull.join().unwrap().unwrap_err(), "nothing was written");
        }
    });
    told(push(3).unwrap_err(), "nothing was written");
    drop(held);

    // What was told not to be written never comes.
    assert_eq!(pulled(&engine, &key).unwrap().as_str(), "1");
    push(4).unwrap();
    assert_eq!(pollster::block_on(engine.db().history(&key, 100)).unwrap().len(), 1);
}
