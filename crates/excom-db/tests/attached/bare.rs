//! Airflow's database without a schema of Excom's, by a user who may make nothing there.

use std::sync::Arc;

use excom_core::attempt::{Attempt, AttemptId, TaskState};
use excom_core::db::{Filter, Scope, StartMode};
use excom_core::{
    Answer, Caller, Clock as _, Engine, ErrorKind, PullOptions, TaskInstanceKey, Value, XComKey, memory,
};
use pollster::block_on;

use crate::DICT;
use crate::airflow::Airflow;
use crate::support::Database;

struct Setup {
    database: Database,
    airflow: Airflow,
    engine: Engine,
    clock: Arc<memory::Clock>,
}

impl Setup {
    fn new() -> Option<Self> {
        let database = Database::made()?;
        let clock = Arc::new(memory::Clock::new());
        let db = Arc::new(database.bare());
        let store = Arc::new(memory::Store::new());
        let engine = Engine::builder(db, clock.clone())
            .backend(Arc::new(memory::Backend::new(store, 10_000).sealing()))
            .keys(excom_core::seal::SealKeys::new("k1", [7; 32]))
            .build();
        Some(Self { airflow: Airflow::connect(&database.airflows()), database, engine, clock })
    }

    /// A try that Airflow has started.
    fn started(&self, task: &str, map_index: i32, number: u128) -> Attempt {
        let ti = TaskInstanceKey::new("d", "r", task, map_index).unwrap();
        let attempt = Attempt { ti, id: AttemptId(uuid::Uuid::from_u128(number)) };
        self.airflow.start(&attempt, StartMode::Fresh, self.clock.now()).unwrap();
        attempt
    }

    fn push(&self, attempt: &Attempt, key: &str, value: &str) -> excom_core::Result<()> {
        let key = attempt.ti.xcom(key)?;
        let value = Value::parse(value.to_owned())?;
        block_on(self.engine.push(&Caller::Attempt(attempt.clone()), &key, value.into())).map(drop)
    }

    fn pull(&self, key: &XComKey) -> Answer {
        let keys = std::slice::from_ref(key);
        block_on(self.engine.pull(&Caller::user("ana"), keys, PullOptions::default())).unwrap().remove(0)
    }

    fn text(&self, key: &XComKey) -> String {
        let answer = self.pull(key);
        answer.found().unwrap_or_else(|| panic!("{answer}")).value.as_str().to_owned()
    }
}

#[test]
fn values_are_pushed_and_pulled_with_airflows_tables_alone() {
    let Some(setup) = Setup::new() else { return };
    let one = setup.started("t", -1, 1);
    for (value, pulled) in [("[1,2.50]", "[1,2.50]"), (DICT, DICT), ("null", "null"), ("7", "7")] {
        setup.push(&one, "k", value).unwrap();
        match setup.pull(&one.ti.xcom("k").unwrap()) {
            Answer::Null(_) => assert_eq!(pulled, "null"),
            answer => assert_eq!(answer.found().unwrap().value.as_str(), pulled),
        }
    }
    setup.push(&one, "return_value", "[1,2,3]").unwrap();
    assert_eq!(setup.database.sql("SELECT length FROM task_map"), "3");
    setup.push(&one, "return_value", "\"x\"").unwrap();
    assert_eq!(setup.database.sql("SELECT count(*) FROM task_map"), "0");
    let results = || block_on(setup.engine.db().results("d", "r")).unwrap().join(" ");
    let (me, returned) = (Caller::Attempt(one.clone()), one.ti.return_value());
    let result = Value::parse("\"y\"").unwrap();
    block_on(setup.engine.push_result(&me, &returned, result.into())).unwrap();
    assert_eq!(results(), "t");
    setup.push(&one, "return_value", "\"x\"").unwrap();
    assert_eq!(results(), "", "another push takes the mark away");
    for map_index in [0, 2] {
        let mapped = setup.started("m", map_index, 10 + map_index as u128);
        setup.push(&mapped, "return_value", &map_index.to_string()).unwrap();
    }
    let db = setup.engine.db();
    let sequence = TaskInstanceKey::new("d", "r", "m", 0).unwrap().return_value().sequence();
    assert_eq!(block_on(db.indexes(&sequence)).unwrap(), [0, 2]);
    assert_eq!(block_on(db.count(&sequence)).unwrap(), 2);
    assert_eq!(block_on(db.produced(std::slice::from_ref(&sequence))).unwrap().len(), 1);
    let listed = block_on(setup.engine.list(&Caller::user("ana"), &Filter::default(), None, 10)).unwrap();
    assert_eq!(listed.items.len(), 4);
    let usage = |dag, run| block_on(db.usage(dag, run)).unwrap();
    let of_run = usage("d", Some("r"));
    assert_eq!((of_run.entries, usage("d", None)), (listed.items.len() as u64, of_run));
    assert!(of_run.bytes >= listed.items.iter().map(|info| info.size).sum(), "{of_run:?}");
    assert_eq!(usage("d", Some("none")).entries, 0);
    assert_eq!(block_on(db.runs(&Default::default(), None, 10)).unwrap().len(), 1);
    assert_eq!(block_on(db.attempts(&one.ti)).unwrap().len(), 1);
    let missing = setup.pull(&one.ti.xcom("kk").unwrap());
    assert!(missing.to_string().contains('k') && missing.found().is_none(), "{missing}");

    let me = Caller::Attempt(one.clone());
    assert_eq!(block_on(setup.engine.clear(&me, &Scope::Key(one.ti.xcom("k").unwrap()))).unwrap(), 1);
    assert_eq!(block_on(setup.engine.delete(&Caller::user("ana"), &Scope::TaskInstance(one.ti))).unwrap(), 1);
    let nowhere = Scope::TaskInstance(TaskInstanceKey::new("d", "nowhere", "t", -1).unwrap());
    assert_eq!(block_on(setup.engine.delete(&Caller::user("ana"), &nowhere)).unwrap(), 0);
    let health = block_on(db.health()).unwrap();
    assert!(health.identity.ends_with("without a schema of Excom's"), "{}", health.identity);
    assert_eq!(setup.database.ours(), "0");
}

#[test]
fn only_the_current_try_writes_and_a_fresh_one_clears() {
    let Some(setup) = Setup::new() else { return };
    let one = setup.started("t", -1, 1);
    setup.push(&one, "k", "1").unwrap();
    setup.clock.advance(std::time::Duration::from_secs(60));
    let two = setup.started("t", -1, 2);
    let error = setup.push(&one, "k", "2").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Superseded, "{error}");
    let start = |attempt: &Attempt| {
        block_on(setup.engine.db().start_attempt(attempt, 2, StartMode::Fresh, setup.clock.now()))
    };
    assert_eq!(start(&one).unwrap_err().kind(), ErrorKind::Superseded);
    let started = start(&two).unwrap();
    assert_eq!((started.number, started.cleared), (2, 1));
    setup.push(&two, "k", "3").unwrap();
    assert_eq!(start(&two).unwrap().cleared, 0, "told twice");
    assert_eq!(setup.text(&two.ti.xcom("k").unwrap()), "3");

    let set = |attempt: &Attempt, text: &str| {
        let caller = Caller::Attempt(attempt.clone());
        block_on(setup.engine.set_variable(&caller, "v", text, None)).map(drop)
    };
    set(&two, "1").unwrap();
    assert_eq!(set(&one, "2").unwrap_err().kind(), ErrorKind::Superseded);
    let delete = block_on(setup.engine.delete_variable(&Caller::Attempt(one), "v"));
    assert_eq!(delete.unwrap_err().kind(), ErrorKind::Superseded);
    let variable = || block_on(setup.engine.variable(&Caller::user("ana"), "v")).unwrap().unwrap().text;
    assert_eq!(variable(), "1");

    let stranger = Attempt { ti: two.ti.clone(), id: AttemptId(uuid::Uuid::from_u128(99)) };
    assert_eq!(setup.push(&stranger, "k", "4").unwrap_err().kind(), ErrorKind::NotStarted);
    assert_eq!(set(&stranger, "4").unwrap_err().kind(), ErrorKind::NotStarted);
    let elsewhere = TaskInstanceKey::new("d", "nowhere", "t", -1).unwrap().return_value();
    let other = TaskInstanceKey::new("d", "r", "other", -1).unwrap().return_value();
    for key in [elsewhere, other] {
        let (ana, value) = (Caller::user("ana"), Value::null());
        let error = block_on(setup.engine.push(&ana, &key, value.into())).map(drop).unwrap_err();
        assert!(error.to_string().contains("Airflow has no task instance"), "{error}");
    }
    setup.database.sql("UPDATE alembic_version SET version_num = 'newer'");
    let error = setup.push(&two, "k", "5").unwrap_err();
    assert!(error.to_string().contains("the schema `newer` of Airflow"), "{error}");
    let error = set(&two, "5").unwrap_err();
    assert!(error.to_string().contains("the schema `newer` of Airflow"), "{error}");
    assert_eq!((setup.text(&two.ti.xcom("k").unwrap()), variable()), ("3".to_owned(), "1".to_owned()));
}

#[test]
fn a_try_ends_with_all_its_pushes_or_none() {
    let Some(setup) = Setup::new() else { return };
    let one = setup.started("t", -1, 1);
    let pushed = |ti: &TaskInstanceKey, key: &str, value: u32| {
        (ti.xcom(key).unwrap(), Value::of(&value).unwrap().into())
    };
    let finish = |pushes| block_on(setup.engine.finish(&one, TaskState::Success, pushes)).map(drop);
    let nobody = TaskInstanceKey::new("d", "r", "nobody", -1).unwrap();
    let error = finish(vec![pushed(&one.ti, "k", 1), pushed(&nobody, "k", 1)]).unwrap_err();
    assert!(error.to_string().contains("no task instance d/r/nobody"), "{error}");
    let nowhere = TaskInstanceKey::new("d", "nowhere", "t", -1).unwrap();
    let error = finish(vec![pushed(&one.ti, "k", 1), pushed(&nowhere, "k", 1)]).unwrap_err();
    assert!(error.to_string().contains("no task instance d/nowhere/t"), "{error}");
    assert_eq!(setup.database.sql("SELECT count(*) FROM xcom"), "0");
    finish(vec![pushed(&one.ti, "k", 1), pushed(&one.ti, "j", 2), pushed(&one.ti, "k", 3)]).unwrap();
    assert_eq!(setup.text(&one.ti.xcom("k").unwrap()), "3");
    assert_eq!(setup.text(&one.ti.xcom("j").unwrap()), "2");
}

#[test]
fn what_needs_a_place_says_so() {
    let Some(setup) = Setup::new() else { return };
    let one = setup.started("t", -1, 1);
    let db = setup.engine.db();
    let large = setup.push(&one, "k", &format!("\"{}\"", "x".repeat(20_000))).unwrap_err();
    assert_eq!(large.kind(), ErrorKind::InvalidRequest, "{large:?}");
    assert!(large.to_string().contains("[database] extras = none"), "{large}");
    assert!(large.hints().join("; ").contains("`excom db attach`"), "{large:?}");
    setup.push(&one, "k", "1").unwrap();
    setup.push(&one, "k", "2").unwrap();
    assert!(block_on(db.history(&one.ti.xcom("k").unwrap(), 9)).unwrap().is_empty());
    block_on(async {
        setup.engine.flush_reads().await.unwrap();
        setup.engine.prune().await.unwrap();
        setup.engine.purge_loose().await.unwrap();
        setup.engine.close().await.unwrap();
    });
    assert_eq!(setup.text(&one.ti.xcom("k").unwrap()), "2");
}
