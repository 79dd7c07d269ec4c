//! Many writers of one XCom, and a try that is superseded while it writes.

use std::sync::Arc;

use excom_core::attempt::{Attempt, AttemptId, TaskState};
use excom_core::db::{Scope, StartMode};
use excom_core::{Caller, Clock as _, Engine, ErrorKind, MetadataDb, TaskInstanceKey, Value, memory};
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

#[test]
fn tasks_that_cross_do_not_deadlock() {
    let Some(database) = Database::attached() else { return };
    cross(&database, || Arc::new(database.open()));
}

#[test]
fn tasks_that_cross_do_not_deadlock_on_airflows_tables_alone() {
    let Some(database) = Database::made() else { return };
    cross(&database, || Arc::new(database.bare()));
}

/// Tasks push, with their ends, to each other and clear each other's XComs, in different orders.
fn cross(database: &Database, open: impl Fn() -> Arc<dyn MetadataDb> + Sync) {
    const TASKS: usize = 6;
    const ROUNDS: usize = 20;
    let before = database.deadlocks();
    let (airflow, clock) = (Airflow::connect(&database.airflows()), Arc::new(memory::Clock::new()));
    let attempts: Vec<Attempt> = (0..TASKS)
        .map(|task| {
            let ti = TaskInstanceKey::new("d", "r", format!("t{task}"), -1).unwrap();
            let attempt = Attempt { ti, id: AttemptId(uuid::Uuid::from_u128(task as u128 + 1)) };
            airflow.start(&attempt, StartMode::Fresh, clock.now()).unwrap();
            attempt
        })
        .collect();
    std::thread::scope(|scope| {
        for (task, own) in attempts.iter().enumerate() {
            let (attempts, open, clock) = (&attempts, &open, clock.clone());
            scope.spawn(move || {
                let engine = Engine::builder(open(), clock).build();
                for _ in 0..ROUNDS {
                    let order = (0..TASKS).map(|step| (task + step * (2 * (task % 2) + 1)) % TASKS);
                    let value = |to: usize| {
                        let key = attempts[to].ti.xcom(format!("k{}", task % 2)).unwrap();
                        (key, Value::of(&task).unwrap().into())
                    };
                    block_on(engine.finish(own, TaskState::Success, order.map(value).collect())).unwrap();
                    let other = Scope::TaskInstance(attempts[(task + 1) % TASKS].ti.clone());
                    block_on(engine.clear(&Caller::Attempt(own.clone()), &other)).unwrap();
                }
            });
        }
    });
    assert_eq!(database.deadlocks(), before);
}
