//! Many writers of one XCom, and a try that is superseded while it writes.

use std::sync::Arc;

use excom_core::attempt::{Attempt, AttemptId};
use excom_core::db::StartMode;
use excom_core::{Caller, Clock as _, Engine, ErrorKind, TaskInstanceKey, Value, memory};
use pollster::block_on;

use crate::airflow::Airflow;
use crate::support::Database;

fn attempt(number: u128) -> Attempt {
    Attempt {
        ti: TaskInstanceKey::new("d", "r", "t", -1).unwrap(),
        id: AttemptId(uuid::Uuid::from_u128(number)),
    }
}

#[test]
fn many_writers_of_one_key_never_conflict() {
    let Some(database) = Database::attached() else { return };
    let now = memory::Clock::new().now();
    Airflow::connect(&database.airflows()).start(&attempt(1), StartMode::Fresh, now).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let database = &database;
            scope.spawn(move || {
                let engine =
                    Engine::builder(Arc::new(database.open()), Arc::new(memory::Clock::new())).build();
                let (me, key) = (Caller::Attempt(attempt(1)), attempt(1).ti.return_value());
                for number in 0..25 {
                    let value = Value::of(&(writer, number)).unwrap();
                    block_on(engine.push(&me, &key, value.into())).unwrap();
                }
            });
        }
    });
    assert_eq!(database.sql("SELECT count(*) FROM xcom"), "1");
    assert_eq!(database.history(), "99", "nothing is lost");
}

#[test]
fn no_push_of_a_superseded_try_is_left() {
    let Some(database) = Database::attached() else { return };
    let airflow = Airflow::connect(&database.airflows());
    let now = memory::Clock::new().now();
    airflow.start(&attempt(1), StartMode::Fresh, now).unwrap();
    let refused = std::thread::scope(|scope| {
        let zombie = scope.spawn(|| {
            let engine = Engine::builder(Arc::new(database.open()), Arc::new(memory::Clock::new())).build();
            let (me, key) = (Caller::Attempt(attempt(1)), attempt(1).ti.return_value());
            loop {
                if let Err(error) = block_on(engine.push(&me, &key, Value::of(&"zombie").unwrap().into())) {
                    return error;
                }
            }
        });
        while database.sql("SELECT count(*) FROM xcom") == "0" {}
        airflow.start(&attempt(2), StartMode::Fresh, now).unwrap();
        zombie.join().unwrap()
    });
    assert_eq!(refused.kind(), ErrorKind::Superseded, "{refused}");
    let engine = Engine::builder(Arc::new(database.open()), Arc::new(memory::Clock::new())).build();
    assert_eq!(block_on(engine.start_attempt(&attempt(2), 2, StartMode::Fresh)).unwrap().cleared, 1);
    assert_eq!(database.sql("SELECT count(*) FROM xcom"), "0");
}
