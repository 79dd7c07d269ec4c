//! A database in which some DAGs have more than others.

use std::sync::Arc;

use excom_core::attempt::{Attempt, AttemptId};
use excom_core::db::StartMode;
use excom_core::{Caller, Clock as _, Engine, TaskInstanceKey, Value, memory};
use excom_db::{Part, Survey};
use pollster::block_on;

use crate::airflow::Airflow;
use crate::support::Database;

/// One with some XComs: of `big` two large ones that are no text to compress, of `small` twenty.
pub(crate) fn filled() -> Option<(Database, Airflow)> {
    let database = Database::attached()?;
    let (airflow, clock) = (Airflow::connect(&database.airflows()), Arc::new(memory::Clock::new()));
    let engine = Engine::builder(Arc::new(database.open()), clock.clone()).build();
    let push = |dag: &str, task: &str, number: u128, value: &str| {
        let ti = TaskInstanceKey::new(dag, "r", task, -1).unwrap();
        let attempt = Attempt { ti: ti.clone(), id: AttemptId(uuid::Uuid::from_u128(number)) };
        airflow.start(&attempt, StartMode::Fresh, clock.now()).unwrap();
        let value = Value::parse(value.to_owned()).unwrap();
        block_on(engine.push(&Caller::Attempt(attempt), &ti.return_value(), value.into())).unwrap();
    };
    for number in 0..2 {
        let noise: String =
            (0..4_000).map(|i| format!("{:08x}", (i * 2_654_435_761_u64 + number) as u32)).collect();
        push("big", &format!("t{number}"), 100 + u128::from(number), &format!("\"{noise}\""));
    }
    for number in 0..20 {
        push("small", &format!("t{number}"), 200 + number, "[1]");
    }
    Some((database, airflow))
}

/// What is told of it, before anything of it went.
pub(crate) fn are_told(found: &Survey) {
    assert_eq!((found.percent, found.all.count, found.large.count), (100.0, 22, 2));
    assert!(found.large.bytes > 20_000 && found.large.bytes < found.all.bytes, "{found:?}");
    let names = |parts: &[Part]| parts.iter().map(|part| (part.name.clone(), part.count)).collect::<Vec<_>>();
    assert_eq!(names(&found.dags), [("big".to_owned(), 2), ("small".to_owned(), 20)]);
    let keys = names(&found.keys);
    assert_eq!(keys.len(), 5);
    assert!(keys[0].0.starts_with("big/t") && keys[1].0.starts_with("big/t"), "{keys:?}");
    assert!(
        found.tables.len() == 5 && found.tables.is_sorted_by(|a, b| a.bytes >= b.bytes),
        "{:?}",
        found.tables
    );
    assert!(found.upgrade.is_empty() && found.unfinished.is_empty(), "{found:?}");
    assert_eq!(found.orphans.count, 0);
}
