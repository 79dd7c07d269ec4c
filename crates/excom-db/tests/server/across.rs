//! Writers of several runs, and what expires in them meanwhile: all take the locks of runs in one order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use excom_core::attempt::TaskState;
use excom_core::db::{Expires, Rule, Scope};
use excom_core::{Caller, Clock as _, Engine, TaskInstanceKey, Value, memory};

use crate::Server;
use crate::support::{Kind as _, open, own_server};

/// Tasks push to each other's runs, alone and with their ends, and clear what is there, while it expires.
#[test]
fn writers_across_runs_and_expiry_do_not_deadlock() {
    const RUNS: usize = 4;
    const ROUNDS: usize = 100;
    let Some(server) = own_server() else { return };
    let clock = Arc::new(memory::Clock::new());
    let engine = || {
        let db = open(&server.url(Server::FIRST)).unwrap();
        Engine::builder(Arc::new(db), clock.clone()).build()
    };
    let ti = |run: usize| TaskInstanceKey::new("d", format!("r{run}"), "t", -1).unwrap();
    let attempts: Vec<_> =
        (0..RUNS).map(|run| pollster::block_on(engine().start(&ti(run), 1)).unwrap()).collect();
    let at = clock.now();
    let later = at + std::time::Duration::from_secs(86_400);
    let rule = |expires| Rule { text: "a rule".into(), expires, outside: false };
    let (aged, any) =
        (vec![rule(Expires::Pushed(later))], vec![rule(Expires::Pushed(later)), rule(Expires::Done(at))]);
    let is_over = AtomicBool::new(false);
    let expired: u64 = std::thread::scope(|scope| {
        let expiry: Vec<_> = [aged, any]
            .into_iter()
            .map(|rules| {
                let (engine, is_over) = (engine(), &is_over);
                scope.spawn(move || {
                    let mut expired = 0;
                    while !is_over.load(Ordering::Relaxed) {
                        let step = engine.db().expire_next(&rules, None, None, 1000, at);
                        expired += pollster::block_on(step).unwrap().0.entries;
                    }
                    expired
                })
            })
            .collect();
        let writers: Vec<_> = (0..RUNS)
            .map(|own| {
                let (caller, attempts, engine) =
                    (Caller::Attempt(attempts[own].clone()), &attempts, engine());
                scope.spawn(move || {
                    pollster::block_on(async {
                        for round in 0..ROUNDS {
                            let to = |step: usize| {
                                (ti((own + step) % RUNS).xcom(format!("k{own}")).unwrap(), round)
                            };
                            let (key, value) = to(1 + round % 3);
                            engine.push(&caller, &key, Value::of(&value).unwrap().into()).await.unwrap();
                            let values = (0..RUNS)
                                .map(to)
                                .map(|(key, value)| (key, Value::of(&value).unwrap().into()));
                            engine
                                .finish(&attempts[own], TaskState::Success, values.collect())
                                .await
                                .unwrap();
                            let other = Scope::TaskInstance(ti((own + 2) % RUNS));
                            engine.clear(&caller, &other).await.unwrap();
                        }
                    });
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        is_over.store(true, Ordering::Relaxed);
        expiry.into_iter().map(|expiry| expiry.join().unwrap()).sum()
    });
    assert!(expired > 0);
    assert_eq!(server.deadlocks(), "0");
}
