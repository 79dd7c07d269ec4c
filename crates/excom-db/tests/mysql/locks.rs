//! Another session holds a lock for long: who waits gets an answer, which names it where the server tells, and what needs
//! no such lock goes on.

use std::sync::Arc;
use std::time::Duration;

use excom_core::{Caller, Engine, ErrorKind, Value, XComKey, memory};
use excom_db::mysql::{Db, Options};

use crate::held::Held;
use crate::support::{Database, pulled, server};

#[test]
fn who_waits_for_a_lock_is_told() {
    let Some(server) = server() else { return };
    let database = Database::new(server);
    let options = Options { patience: Duration::from_secs(6), connections: 4 };
    let db = pollster::block_on(Db::open(&database.url(), &options)).unwrap();
    let engine = Engine::builder(Arc::new(db), Arc::new(memory::Clock::new())).build();
    let key = XComKey::new("d", "r", "t", -1, "k").unwrap();
    let push = |value: u32| {
        let value = Value::of(&value).unwrap();
        pollster::block_on(engine.push(&Caller::user("test"), &key, value.into())).map(drop)
    };
    let told = |error: excom_core::Error, what: &str| {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert!(error.to_string().contains("was waited for in vain"), "{error:?}");
        assert!(error.to_string().contains(what), "{error:?}");
        assert!(error.hints().iter().any(|hint| hint.contains("PROCESSLIST")), "{error:?}");
    };
    push(1).unwrap();

    // A row: reads go on.
    let held = Held::start(server, database.name(), "BEGIN; SELECT * FROM excom_entry FOR UPDATE");
    told(push(2).unwrap_err(), "of user `excom`");
    assert_eq!(pulled(&engine, &key).unwrap().as_str(), "1");
    drop(held);

    // A table, as when it is altered: whatever needs it ends, and what does not goes on.
    let held = Held::start(server, database.name(), "LOCK TABLES excom_entry WRITE");
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
