//! Exclusive mode: each rule holds for every way to read, push and list; and what is outside of it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use excom_core::db::{DagRun, Filter, MetadataDb as _, RefusalCount, Scope};
use excom_core::engine::{
    Access, Exemption, Grant, Ledger, Offload, Pattern, Reads, Settings, TaskAnswer, TraceOptions, Traced,
    Writes,
};
use excom_core::memory::{Backend, Clock, Db, Store, streamed};
use excom_core::{
    Answer, Attempt, Caller, Clock as _, Engine, Error, ErrorKind, PullOptions, Result, Slice,
    TaskChannel as _, TaskInstanceKey, TaskState, Value, ValueStore as _, Version, XComKey,
};

const OWN: PullOptions = PullOptions { include_prior_dates: false };
const PRIOR: PullOptions = PullOptions { include_prior_dates: true };

/// A version of the DAG `d`: `me` comes behind `before` and takes what `taken` gives.
const DOCUMENT: &str = r#"{"dag_id": "d", "params": {}, "tasks": {"me": {
    "upstream": ["before"], "outputs": {}, "mapped": false, "trigger_rule": "all_success", "retries": 0,
    "inputs": {"x": {"from": {"element_of": {"outputs": {"task": "taken", "key": "k"}}}, "schema": true}}}}}"#;

struct World {
    db: Arc<Db>,
    clock: Arc<Clock>,
    store: Arc<Store>,
    me: Caller,
}

/// The run `d/r` of a known version, the attempt `d/r/me`, and a value from everywhere.
fn world() -> World {
    let (db, clock, store) = (Arc::new(Db::new()), Arc::new(Clock::new()), Arc::new(Store::new()));
    let now = clock.now();
    let mut world = World { db, clock, store, me: Caller::System("nobody yet") };
    let engine = world.engine(Settings::default());
    pollster::block_on(async {
        let document = Value::parse(DOCUMENT.to_owned()).unwrap();
        world.db.note_dag_version("d", "v1", &document, now).await.unwrap();
        let run = DagRun { version: Some("v1".into()), ..DagRun::new("d", "r", now) };
        engine.start_run(&run).await.unwrap();
        world.me = Caller::Attempt(engine.start(&ti("d", "r", "me"), 1).await.unwrap());
        for key in [
            key("d", "r", "me"),
            key("d", "r", "before"),
            key("d", "r", "taken"),
            key("d", "r", "beside"),
            key("d", "r0", "before"),
            key("other", "r", "table"),
        ] {
            // Twice, so that there is history.
            for number in [1, 2] {
                engine.push(&ana(), &key, Value::of(&number).unwrap().into()).await.unwrap();
            }
        }
    });
    world
}

impl World {
    fn engine(&self, settings: Settings) -> Engine {
        Engine::builder(self.db.clone(), self.clock.clone())
            .backend(Arc::new(Backend::new(self.store.clone(), 10)))
            .keys(excom_core::seal::SealKeys::new("k1", [1; 32]))
            .settings(settings)
            .build()
    }

    fn with(&self, access: Access) -> Engine {
        self.engine(Settings { access, ..Settings::default() })
    }

    fn reading(&self, reads: Reads) -> Engine {
        self.with(Access { reads, ..Access::default() })
    }

    fn attempt(&self) -> Attempt {
        match &self.me {
            Caller::Attempt(attempt) => attempt.clone(),
            other => panic!("{other} is no attempt"),
        }
    }

    fn objects(&self) -> usize {
        pollster::block_on(self.store.list(None, 100)).unwrap().len()
    }
}

fn ana() -> Caller {
    Caller::user("ana")
}

fn ti(dag: &str, run: &str, task: &str) -> TaskInstanceKey {
    TaskInstanceKey::new(dag, run, task, -1).unwrap()
}

fn key(dag: &str, run: &str, task: &str) -> XComKey {
    ti(dag, run, task).xcom("k").unwrap()
}

fn grant(text: &str) -> Vec<Grant> {
    vec![text.parse().unwrap()]
}

/// What a refusal is, in an answer or as an error; `Ok` when it was none.
fn refusal(answer: &Answer) -> Result<()> {
    match answer {
        Answer::Forbidden(_) => Err(answer.clone().into_error()),
        _ => Ok(()),
    }
}

/// Every way in which an engine lets a caller read an XCom, or anything that tells of it, by name.
async fn ways(engine: &Engine, world: &World, key: &XComKey) -> Vec<(&'static str, Result<()>)> {
    let (me, ti, sequence) = (&world.me, &key.ti, key.sequence());
    let past = engine.history(&ana(), key, 1).await.unwrap()[0].info.version;
    let exactly = Filter {
        dag_id: Some(ti.dag_id.clone()),
        run_id: Some(ti.run_id.clone()),
        task_id: Some(ti.task_id.clone()),
        ..Filter::default()
    };
    let whole = |answer: &TaskAnswer| match answer {
        TaskAnswer::Single(answer) => refusal(answer),
        _ => Ok(()),
    };
    let keys = std::slice::from_ref(key);
    let sequences = std::slice::from_ref(&sequence);
    let channel = engine.channel(world.attempt());
    vec![
        ("pull", refusal(&engine.pull(me, keys, OWN).await.unwrap()[0])),
        ("pull_tasks", whole(&engine.pull_tasks(me, sequences, OWN).await.unwrap()[0])),
        ("open", engine.open(me, key).await.unwrap().map_or_else(|answer| refusal(&answer), |_| Ok(()))),
        ("pull_past", engine.pull_past(me, key, past).await.map(drop)),
        ("count", engine.count(me, &sequence).await.map(drop)),
        ("indexes", engine.indexes(me, &sequence).await.map(drop)),
        ("item", engine.item(me, &sequence, 0).await.map(drop)),
        ("slice", engine.slice(me, &sequence, Slice::item(0)).await.map(drop)),
        ("page", engine.page(me, &sequence, None, 9).await.map(drop)),
        ("list", engine.list(me, &exactly, None, 9).await.map(drop)),
        ("history", engine.history(me, key, 9).await.map(drop)),
        ("readers", engine.readers(me, key).await.map(drop)),
        ("reads_of", engine.reads_of(me, ti).await.map(drop)),
        ("pushed_by", engine.pushed_by(me, ti, 1).await.map(drop)),
        ("version", engine.version(me, key, None).await.map(drop)),
        ("rendered", engine.rendered(me, ti).await.map(drop)),
        ("trace", engine.trace(me, key, None, TraceOptions::backwards()).await.map(drop)),
        ("forwards", engine.trace(me, key, None, TraceOptions::forwards()).await.map(drop)),
        ("channel.pull", refusal(&channel.pull(keys, OWN).await.unwrap()[0])),
        ("channel.pull_tasks", whole(&channel.pull_tasks(sequences, OWN).await.unwrap()[0])),
        ("channel.count", channel.count(&sequence).await.map(drop)),
        ("channel.indexes", channel.indexes(&sequence).await.map(drop)),
        ("channel.slice", channel.slice(&sequence, Slice::item(0)).await.map(drop)),
    ]
}

/// Every way is open, or every way is refused by the rule.
fn all_ways(engine: &Engine, world: &World, key: &XComKey, rule: Option<&str>) {
    for (way, outcome) in pollster::block_on(ways(engine, world, key)) {
        match (outcome, rule) {
            (Ok(()), None) => {}
            (Err(error), Some(rule)) => {
                assert_eq!(error.kind(), ErrorKind::Forbidden, "{way} of {key}: {error:?}");
                assert!(error.to_string().contains(rule), "{way} of {key}: {error}");
            }
            (outcome, rule) => panic!("{way} of {key}: {outcome:?}, expected {rule:?}"),
        }
    }
}

fn forbidden<T: std::fmt::Debug>(outcome: Result<T>) -> Error {
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden, "{error:?}");
    error
}

#[test]
fn every_way_of_reading_keeps_within_the_run() {
    let world = world();
    let engine =
        world.with(Access { reads: Reads::Run, reads_from: "excom.toml:3".into(), ..Access::default() });
    for task in ["me", "before", "taken", "beside"] {
        all_ways(&engine, &world, &key("d", "r", task), None);
    }
    let rule = Some("[xcom] reads = \"run\" (from excom.toml:3)");
    all_ways(&engine, &world, &key("d", "r0", "before"), rule);
    all_ways(&engine, &world, &key("other", "r", "table"), rule);
    all_ways(&world.reading(Reads::Any), &world, &key("other", "r", "table"), None);
}

#[test]
fn every_way_of_reading_keeps_to_what_is_declared() {
    let world = world();
    let engine = world.reading(Reads::Declared);
    for task in ["me", "before", "taken"] {
        all_ways(&engine, &world, &key("d", "r", task), None);
    }
    let rule = Some("[xcom] reads = \"declared\"");
    for key in [key("d", "r", "beside"), key("d", "r0", "before"), key("other", "r", "table")] {
        all_ways(&engine, &world, &key, rule);
    }
    // A whole run is more than is declared.
    let run = Filter { dag_id: Some("d".into()), run_id: Some("r".into()), ..Filter::default() };
    forbidden(pollster::block_on(engine.list(&world.me, &run, None, 9)));
}

#[test]
fn where_nothing_is_known_of_what_is_declared_only_its_own_is_read() {
    let world = world();
    let engine = world.reading(Reads::Declared);
    pollster::block_on(async {
        let stray = engine.start(&ti("d", "r1", "me"), 1).await.unwrap();
        let channel = engine.channel(stray);
        let answer = &channel.pull(&[key("d", "r1", "before")], OWN).await.unwrap()[0];
        let told = refusal(answer).unwrap_err().to_string();
        assert!(told.contains("what the tasks of this run declare is not known; run the DAG"), "{told}");
        assert_eq!(channel.pull(&[key("d", "r1", "me")], OWN).await.unwrap()[0].exit_code(), 3);

        // Once its version is known, it is read again; and again when it goes on with another.
        let at = world.clock.now();
        let run = |version: &str| DagRun { version: Some(version.into()), ..DagRun::new("d", "r1", at) };
        let keys = [key("d", "r1", "before"), key("d", "r1", "beside")];
        let codes = async || {
            let answers = channel.pull(&keys, OWN).await.unwrap();
            [answers[0].code(), answers[1].code()]
        };
        engine.start_run(&run("v1")).await.unwrap();
        assert_eq!(codes().await, ["missing", "forbidden"]);
        let other = Value::parse(DOCUMENT.replace("\"before\"", "\"beside\"")).unwrap();
        engine.db().note_dag_version("d", "v2", &other, at).await.unwrap();
        engine.start_run(&run("v2")).await.unwrap();
        assert_eq!(codes().await, ["forbidden", "missing"]);
    });
}

#[test]
fn a_grant_opens_what_it_names_in_every_way() {
    let world = world();
    let granted = |reads, text| world.with(Access { reads, grants: grant(text), ..Access::default() });
    let table = key("other", "r", "table");
    for reads in [Reads::Run, Reads::Declared] {
        for open in ["d reads other/table", "d reads other/*", "d/me reads other/tab*"] {
            all_ways(&granted(reads, open), &world, &table, None);
        }
        for shut in
            ["other reads other/*", "d/before reads other/*", "d reads other/table2", "d reads d/table"]
        {
            all_ways(&granted(reads, shut), &world, &table, Some("[xcom] reads"));
        }
    }
    // Also of its own DAG, in other runs.
    let engine = granted(Reads::Run, "d reads d/before");
    all_ways(&engine, &world, &key("d", "r0", "before"), None);
    pollster::block_on(async {
        let answers =
            engine.pull(&world.me, &[key("d", "r", "before"), key("d", "r", "me")], PRIOR).await.unwrap();
        assert_eq!([answers[0].code(), answers[1].code()], ["found", "forbidden"]);
        // A list that shows more than is granted is refused.
        let list = async |engine: &Engine, task: Option<&str>| {
            let dag_id = Some("other".into());
            let filter = Filter { dag_id, task_id: task.map(Into::into), ..Filter::default() };
            engine.list(&world.me, &filter, None, 9).await
        };
        let one = granted(Reads::Run, "d reads other/table");
        assert_eq!(list(&one, Some("table")).await.unwrap().items.len(), 1);
        forbidden(list(&one, None).await);
        assert_eq!(list(&granted(Reads::Run, "d reads other/*"), None).await.unwrap().items.len(), 1);
    });
}

#[test]
fn earlier_runs_are_not_even_looked_for() {
    let world = world();
    let engine = world.reading(Reads::Run);
    pollster::block_on(async {
        let missing = key("d", "r", "gone");
        let answer = engine.pull(&world.me, std::slice::from_ref(&missing), PRIOR).await.unwrap().remove(0);
        assert!(matches!(&answer, Answer::Forbidden(it) if it.key == missing), "{answer:?}");
        let whole = engine.pull_tasks(&world.me, &[missing.sequence()], PRIOR).await.unwrap().remove(0);
        assert!(matches!(whole, TaskAnswer::Single(Answer::Forbidden(_))), "{whole:?}");
    });
}

#[test]
fn a_trace_shows_nothing_of_a_sequence_that_may_not_be_read() {
    let world = world();
    let open = world.reading(Reads::Any);
    pollster::block_on(async {
        let element = TaskInstanceKey::new("other", "r", "mapped", 0).unwrap().xcom("k").unwrap();
        open.push(&ana(), &element, Value::of(&"hidden").unwrap().into()).await.unwrap();
        open.slice(&world.me, &element.sequence(), Slice::item(0)).await.unwrap();
        let mine = key("d", "r", "me");
        open.push(&world.me, &mine, Value::of(&3).unwrap().into()).await.unwrap();
        open.close().await.unwrap();

        let traced = async |engine: Engine| {
            let traced =
                engine.trace(&world.me, &mine, None, TraceOptions::backwards()).await.unwrap().unwrap();
            let elements = traced.children.iter().find_map(|child| match &child.what {
                Traced::Sequence { elements, .. } => Some((*elements, child.children.len())),
                _ => None,
            });
            (elements, format!("{traced:?}").contains("hidden"))
        };
        assert_eq!(traced(open).await, (Some((1, 1)), true));
        assert_eq!(traced(world.reading(Reads::Run)).await, (Some((0, 0)), false));
    });
}

#[test]
fn a_task_writes_only_its_own() {
    let world = world();
    let writes_from = "[xcom] mode = \"exclusive\", excom.toml:2".to_owned();
    let engine = world.with(Access { writes: Writes::Own, writes_from, ..Access::default() });
    let one = || Value::of(&1).unwrap();
    pollster::block_on(async {
        engine.push(&world.me, &key("d", "r", "me"), one().into()).await.unwrap();
        let other = key("d", "r", "before");
        let error = forbidden(engine.push(&world.me, &other, one().into()).await);
        let rule = "[xcom] writes = \"own\" (from [xcom] mode = \"exclusive\", excom.toml:2)";
        assert!(error.to_string().ends_with(rule), "{error}");
        let version = Version::new(world.clock.now(), 7);
        forbidden(engine.push_version(&world.me, &other, version, one().into()).await);
        forbidden(engine.channel(world.attempt()).push(&other, one().into()).await);
        let error = forbidden(engine.clear(&world.me, &Scope::Key(other.clone())).await);
        assert!(error.to_string().ends_with(rule), "{error}");
        forbidden(engine.clear(&world.me, &Scope::TaskInstance(other.ti.clone())).await);
        engine.clear(&world.me, &Scope::TaskInstance(ti("d", "r", "me"))).await.unwrap();
        forbidden(engine.delete(&world.me, &Scope::Key(key("d", "r", "me"))).await);
        let pushes = vec![(other.clone(), one().into())];
        forbidden(engine.finish(&world.attempt(), TaskState::Success, pushes).await);
        engine.push(&ana(), &other, one().into()).await.unwrap();
        engine.push(&Caller::System("host"), &other, one().into()).await.unwrap();
    });
}

#[test]
fn people_and_the_host_are_not_bound() {
    let mut world = world();
    for caller in [ana(), Caller::System("runner")] {
        world.me = caller.clone();
        for reads in [Reads::Run, Reads::Declared] {
            let engine = world.reading(reads);
            let pulled =
                pollster::block_on(engine.pull(&caller, &[key("other", "r", "table")], PRIOR)).unwrap();
            assert_eq!(pulled[0].code(), "found");
            let all = pollster::block_on(engine.list(&caller, &Filter::default(), None, 9)).unwrap();
            assert_eq!(all.items.len(), 6);
        }
    }
}

#[test]
fn all_values_are_offloaded_but_those_that_others_read_in_the_database() {
    let world = world();
    let engine = world.engine(Settings { offload: Offload::All, ..Settings::default() });
    let me = ti("d", "r", "me");
    let offloaded = |caller: &Caller, name: &str, value: &Value, stream: bool| {
        let payload = if stream { streamed(value) } else { value.clone().into() };
        let key = me.xcom(name).unwrap();
        let receipt = pollster::block_on(engine.push(caller, &key, payload)).unwrap();
        let pulled = pollster::block_on(engine.pull(&world.me, &[key], OWN)).unwrap().remove(0);
        assert_eq!(pulled.value().unwrap(), *value);
        receipt.offloaded
    };
    let (small, large) = (Value::of(&1).unwrap(), Value::of(&"x".repeat(1000)).unwrap());
    for (value, stream) in [(&small, false), (&small, true), (&large, false), (&large, true)] {
        for caller in [&world.me, &ana(), &Caller::System("host")] {
            assert!(offloaded(caller, "k", value, stream), "{caller} {stream}");
        }
        for name in ["skipmixin_key", "past_depends_met", "_link_Logs"] {
            assert!(!offloaded(&world.me, name, value, stream), "{name} {stream}");
        }
    }
    assert!(offloaded(&world.me, "skipmixin_key2", &small, false));
    let before = world.objects();
    let value = (me.return_value(), small.clone().into());
    let ended = pollster::block_on(engine.finish(&world.attempt(), TaskState::Success, vec![value])).unwrap();
    assert!(ended[0].offloaded && world.objects() == before + 1);

    // They have their limit, and which keys they are is set.
    let huge = Value::of(&"x".repeat(1 << 20)).unwrap();
    for payload in [huge.clone().into(), streamed(&huge)] {
        let error =
            pollster::block_on(engine.push(&ana(), &me.xcom("_link_x").unwrap(), payload)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        assert!(error.to_string().contains("[xcom] inline_keys, which keeps at most 1.0 MiB"), "{error}");
    }
    let inline_keys = vec![Pattern::new("mine")];
    let engine = world.engine(Settings { offload: Offload::All, inline_keys, ..Settings::default() });
    let pushed = |name: &str| {
        let key = me.xcom(name).unwrap();
        pollster::block_on(engine.push(&ana(), &key, small.clone().into())).unwrap().offloaded
    };
    assert_eq!([pushed("mine"), pushed("skipmixin_key")], [false, true]);

    // A backend without a store keeps them.
    let engine = Engine::builder(world.db.clone(), world.clock.clone())
        .settings(Settings { offload: Offload::All, ..Settings::default() })
        .build();
    assert!(
        !pollster::block_on(engine.push(&ana(), &me.xcom("n").unwrap(), small.into())).unwrap().offloaded
    );
}

#[test]
fn an_exempt_dag_is_bound_again_after_its_day() {
    let world = world();
    let day = world.clock.now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let exempt = |dag: &str| -> Vec<Exemption> { vec![format!("{dag} until {day}").parse().unwrap()] };
    let settings = |exempt| Settings {
        access: Access { reads: Reads::Run, writes: Writes::Own, exempt, ..Access::default() },
        offload: Offload::All,
        ..Settings::default()
    };
    let engine = world.engine(settings(exempt("d")));
    let (table, before) = (key("other", "r", "table"), key("d", "r", "before"));
    let small = || Value::of(&1).unwrap().into();
    all_ways(&engine, &world, &table, None);
    assert!(!pollster::block_on(engine.push(&world.me, &before, small())).unwrap().offloaded);
    // Who is exempt is told by the reader's DAG, where a value goes by its own.
    assert!(pollster::block_on(engine.push(&world.me, &table, small())).unwrap().offloaded);
    all_ways(&world.engine(settings(exempt("other"))), &world, &table, Some("[xcom] reads = \"run\""));

    world.clock.advance(std::time::Duration::from_secs(24 * 3600));
    all_ways(&engine, &world, &table, Some("[xcom] reads = \"run\""));
    forbidden(pollster::block_on(engine.push(&world.me, &before, small())));
    assert!(pollster::block_on(engine.push(&ana(), &before, small())).unwrap().offloaded);
}

#[test]
fn what_is_only_observed_is_counted_and_not_refused() {
    let world = world();
    let table = key("other", "r", "table");
    let observe = |reads| {
        let access = Access { reads, writes: Writes::Own, observe: true, ..Access::default() };
        world.with(access)
    };
    let rows = |engine: &Engine| pollster::block_on(engine.refusals(10)).unwrap();
    let engine = observe(Reads::Run);
    all_ways(&engine, &world, &table, None);
    all_ways(&engine, &world, &key("d", "r", "before"), None);
    let told = |row: &RefusalCount| format!("{}/{}: {} {}", row.dag_id, row.task_id, row.rule, row.target);
    let seen = rows(&engine);
    assert_eq!(seen.iter().map(told).collect::<Vec<_>>(), ["d/me: [xcom] reads = \"run\" other/table"]);
    let count = seen[0].count;
    let tried = pollster::block_on(ways(&engine, &world, &table)).len() as u64;
    // A trace asks for the root twice.
    assert_eq!(count, tried + 2);

    // Counts of another process are added.
    world.clock.advance(std::time::Duration::from_secs(1));
    let engine = observe(Reads::Declared);
    pollster::block_on(async {
        engine.push(&world.me, &key("d", "r", "before"), Value::of(&1).unwrap().into()).await.unwrap();
        engine.clear(&world.me, &Scope::Key(key("d", "r", "taken"))).await.unwrap();
        engine.pull(&world.me, &[key("d", "r", "beside"), key("d", "r", "taken")], OWN).await.unwrap();
        engine.list(&world.me, &Filter::default(), None, 9).await.unwrap();
        engine.pull(&ana(), std::slice::from_ref(&table), OWN).await.unwrap();
        engine.close().await.unwrap();
    });
    let mut all: Vec<String> = rows(&world.engine(Settings::default())).iter().map(told).collect();
    all.sort();
    assert_eq!(
        all,
        [
            "d/me: [xcom] reads = \"declared\" */*",
            "d/me: [xcom] reads = \"declared\" d/beside",
            "d/me: [xcom] reads = \"run\" other/table",
            "d/me: [xcom] writes = \"own\" d/before",
            "d/me: [xcom] writes = \"own\" d/taken",
        ]
    );
}

#[test]
fn with_a_strict_ledger_all_of_a_call_is_noted_before_its_answer() {
    let world = world();
    let engine = world.engine(Settings { ledger: Ledger::Strict, ..Settings::default() });
    let keys = [key("d", "r", "before"), key("d", "r", "taken"), key("d", "r", "none")];
    pollster::block_on(async {
        engine.pull(&world.me, &keys, OWN).await.unwrap();
        let sequences = [key("d", "r", "beside").sequence(), key("other", "r", "table").sequence()];
        engine.pull_tasks(&world.me, &sequences, OWN).await.unwrap();
        // Nothing is flushed: the rows are there.
        let noted = world.db.reads_of(&ti("d", "r", "me")).await.unwrap();
        assert_eq!(noted.len(), 4, "{noted:?}");
    });
}

#[test]
fn without_offload_all_the_backend_places_every_key() {
    let world = world();
    let key = ti("d", "r", "me").xcom("skipmixin_key").unwrap();
    let pushed = |settings: Settings, value: Value| {
        let engine = world.engine(settings);
        pollster::block_on(engine.push(&ana(), &key, value.into())).unwrap().offloaded
    };
    let large = || Value::of(&"x".repeat(100)).unwrap();
    assert!(pushed(Settings::default(), large()));
    assert!(!pushed(Settings::default(), Value::of(&1).unwrap()));
    let exempt = vec!["d until 9000-01-01".parse().unwrap()];
    let access = Access { exempt, ..Access::default() };
    assert!(pushed(Settings { offload: Offload::All, access, ..Settings::default() }, large()));
}
