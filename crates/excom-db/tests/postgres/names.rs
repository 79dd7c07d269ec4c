//! Names that are new: whoever makes several makes them in one order, so nobody holds what another waits for and the other
//! way round.

use std::sync::Arc;

use excom_core::attempt::TaskState;
use excom_core::{Caller, Engine, TaskInstanceKey, Value, XComKey, memory};
use excom_testkit::postgres::Postgres;

use crate::Server;
use crate::support::{Kind as _, open, own_server};

/// Of two names another session makes the first in the order, waits for a writer to be in its way, and makes the last.
#[test]
fn names_are_made_in_one_order_by_all_who_write() {
    let Some(server) = own_server() else { return };
    let engine = || {
        let db = open(&server.url(Server::FIRST)).unwrap();
        Engine::builder(Arc::new(db), Arc::new(memory::Clock::new())).build()
    };
    let ti = |dag: &str, run: &str, task: &str| TaskInstanceKey::new(dag, run, task, -1).unwrap();
    let me = pollster::block_on(engine().start(&ti("d", "r", "t"), 1)).unwrap();
    let caller = Caller::user("test");
    // Everywhere the last name comes first where names are in the order in which they are said.
    type Write<'a> = &'a dyn Fn(&Engine, &str, &str);
    let push: Write<'_> = &|engine, first, last| {
        let key = XComKey::new("d", "r", last, -1, first).unwrap();
        pollster::block_on(engine.push(&caller, &key, Value::of(&1).unwrap().into())).unwrap();
    };
    let start: Write<'_> = &|engine, first, last| {
        pollster::block_on(engine.start(&ti(last, "r", first), 1)).unwrap();
    };
    let finish: Write<'_> = &|engine, first, last| {
        let values = [("a", last), ("b", first)]
            .map(|(run, task)| (ti("d", run, task).xcom("k").unwrap(), Value::of(&1).unwrap().into()));
        pollster::block_on(engine.finish(&me, TaskState::Success, values.into())).unwrap();
    };
    let states: Write<'_> = &|engine, first, last| {
        let states = [ti(last, "r", first), ti(first, "r", last)].map(|ti| (ti, TaskState::Scheduled));
        pollster::block_on(engine.db().set_states(&states, engine.clock().now())).unwrap();
    };
    for (place, write) in [push, start, finish, states].into_iter().enumerate() {
        let (first, last) = (format!("a{place}"), format!("z{place}"));
        let other = format!(
            "DO $$ BEGIN
                 PERFORM excom.number_of('{first}'), pg_advisory_xact_lock(7);
                 WHILE NOT EXISTS (
                     SELECT FROM pg_locks WHERE NOT granted AND transactionid = pg_current_xact_id()::xid)
                 LOOP PERFORM pg_sleep(0.01); END LOOP;
                 PERFORM excom.number_of('{last}');
             END $$"
        );
        std::thread::scope(|scope| {
            let other = scope.spawn(|| Postgres::run(&server.url(Server::FIRST), &other));
            let has =
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 0 AND objid = 7";
            while server.sql(Server::FIRST, has).unwrap() == "0" {
                assert!(!other.is_finished(), "it waits for a writer");
            }
            write(&engine(), &first, &last);
            other.join().unwrap().unwrap();
        });
    }
    assert_eq!(server.deadlocks(), "0");
}
