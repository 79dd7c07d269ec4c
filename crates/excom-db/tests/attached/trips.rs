//! What the tests of schemas share: a try of an Airflow that is played, and what it pushes and pulls.

use std::sync::Arc;

use excom_core::attempt::{Attempt, AttemptId};
use excom_core::db::StartMode;
use excom_core::{Caller, Clock as _, Engine, PullOptions, Result, TaskInstanceKey, Value, memory};
use pollster::block_on;

use crate::airflow::Airflow;
use crate::support::Database;

/// A task instance of an Airflow that is played, with an attempt that has started.
pub(crate) fn started(database: &Database) -> Attempt {
    let id = AttemptId(uuid::Uuid::from_u128(7));
    let attempt = Attempt { ti: TaskInstanceKey::new("d", "r", "t", -1).unwrap(), id };
    let now = memory::Clock::new().now();
    Airflow::connect(&database.airflows()).start(&attempt, StartMode::Fresh, now).unwrap();
    attempt
}

pub(crate) fn engine(database: &Database) -> Engine {
    Engine::builder(Arc::new(database.open()), Arc::new(memory::Clock::new())).build()
}

/// A push of what the task returns, and a pull of it.
pub(crate) fn round_trip(engine: &Engine, attempt: &Attempt, value: &str) -> Result<()> {
    round_trip_of(engine, attempt, "return_value", value)
}

/// The same under another key.
pub(crate) fn round_trip_of(engine: &Engine, attempt: &Attempt, name: &str, value: &str) -> Result<()> {
    let (key, me) = (attempt.ti.xcom(name)?, Caller::Attempt(attempt.clone()));
    block_on(async {
        engine.push(&me, &key, Value::parse(value.to_owned())?.into()).await?;
        let answers = engine.pull(&me, &[key], PullOptions::default()).await?;
        assert_eq!(answers[0].found().unwrap().value.as_str(), value);
        Ok(())
    })
}

/// How many tasks are marked after a push of what the DAG returns, and after one that does not say so.
pub(crate) fn marked(engine: &Engine, attempt: &Attempt) -> [usize; 2] {
    let (key, me) = (attempt.ti.return_value(), Caller::Attempt(attempt.clone()));
    let results = || block_on(engine.db().results("d", "r")).unwrap().len();
    block_on(engine.push_result(&me, &key, Value::null().into())).unwrap();
    let first = results();
    round_trip(engine, attempt, "[]").unwrap();
    [first, results()]
}

/// What is set with Excom's own beside Airflow's tables is there without it, and the other way round.
pub(crate) fn variables_are_shared(database: &Database, engine: &Engine, attempt: &Attempt) {
    let alone = Engine::builder(Arc::new(database.bare()), Arc::new(memory::Clock::new())).build();
    let me = Caller::Attempt(attempt.clone());
    for (own, other) in [(engine, &alone), (&alone, engine)] {
        block_on(own.set_variable(&me, "v", "é", None)).unwrap();
        assert_eq!(block_on(other.variable(&me, "v")).unwrap().unwrap().text, "é");
        assert_eq!(block_on(other.variables(&me, "v", None, 9)).unwrap().len(), 1);
        block_on(other.change_variable(&me, "v", None, Some("x"))).unwrap().unwrap();
        assert!(block_on(own.delete_variable(&me, "v")).unwrap());
    }
}
