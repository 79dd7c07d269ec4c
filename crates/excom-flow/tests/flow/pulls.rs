//! Every row of the matrix of `xcom_pull`: what comes back, with which shape, and where it differs from
//! Airflow on purpose.

use std::sync::Arc;

use excom_core::db::DagRun;
use excom_core::{Answer, Engine, TaskInstanceKey, TaskState};
use excom_flow::{MapIndexes, Pull, TaskInstance};

use crate::support::{engine, started};

/// `single` pushed `{"a":1}`; `mapped` has three instances that returned 20, nothing and 60; `one` is
/// mapped over one element; `list` returned a list; `nope` does not exist. The one who asks is `me`.
fn world() -> (Engine, TaskInstance) {
    let engine = engine();
    let push = |task: &str, map_index: i32, json: &str| {
        let ti = started(&engine, "r", task, map_index);
        ti.xcom_push("return_value", &serde_json::from_str::<serde_json::Value>(json).unwrap()).unwrap();
        finish(&engine, &ti);
    };
    push("single", -1, r#"{"a":1}"#);
    push("mapped", 0, "20");
    finish(&engine, &started(&engine, "r", "mapped", 1));
    push("mapped", 2, "60");
    push("one", 0, r#""only""#);
    push("list", -1, "[10,20,30]");
    push("null", -1, "null");
    let me = started(&engine, "r", "me", -1);
    (engine, me)
}

fn finish(engine: &Engine, ti: &TaskInstance) {
    pollster::block_on(engine.set_states(&[(ti.key().clone(), TaskState::Success)])).unwrap();
}

fn json(pull: Pull) -> String {
    let value = pull.value().unwrap();
    // Lists are put together from texts; what matters is what they say.
    serde_json::from_str::<serde_json::Value>(value.as_str()).unwrap().to_string()
}

#[test]
fn without_map_indexes() {
    let (_, me) = world();
    assert_eq!(json(me.xcom_pull("single")), r#"{"a":1}"#);
    assert_eq!(json(me.xcom_pull(["single"])), r#"[{"a":1}]"#);
    assert_eq!(json(me.xcom_pull(["single", "single"])), r#"[{"a":1},{"a":1}]"#);
    assert_eq!(json(me.xcom_pull(())), "null");
    assert_eq!(json(me.xcom_pull(Vec::<String>::new())), "[]");
    assert_eq!(json(me.xcom_pull("nope")), "null");
    assert_eq!(json(me.xcom_pull("list")), "[10,20,30]");
    assert_eq!(json(me.xcom_pull(["list"])), "[[10,20,30]]");
    // Real map indexes: Airflow gives [20, 60].
    assert_eq!(json(me.xcom_pull("mapped")), "[20,null,60]");
    // Flat, as in Airflow, with the hole.
    assert_eq!(json(me.xcom_pull(["mapped", "single"])), r#"[20,null,60,{"a":1}]"#);
    assert_eq!(json(me.xcom_pull(["mapped", "nope"])), "[20,null,60,null]");
    // A mapped task is a list also with one element: Airflow gives "only".
    assert_eq!(json(me.xcom_pull("one")), r#"["only"]"#);
}

#[test]
fn the_default_counts_with_and_without_map_indexes() {
    let (_, me) = world();
    // Airflow ignores the default in the first four.
    assert_eq!(json(me.xcom_pull(()).default("D")), r#""D""#);
    assert_eq!(json(me.xcom_pull("nope").default("D")), r#""D""#);
    assert_eq!(json(me.xcom_pull(["nope", "single"]).default("D")), r#"["D",{"a":1}]"#);
    assert_eq!(json(me.xcom_pull("mapped").default(&0)), "[20,0,60]");
    assert_eq!(json(me.xcom_pull("nope").map_indexes(MapIndexes::Unmapped).default("D")), r#""D""#);
    assert_eq!(json(me.xcom_pull("nope").map_indexes(-1).default("D")), r#""D""#);
    // Also for a null that was pushed.
    assert_eq!(json(me.xcom_pull("null").default("D")), r#""D""#);
    assert_eq!(json(me.xcom_pull("null").map_indexes(-1).default("D")), r#""D""#);
    assert_eq!(json(me.xcom_pull("single").default("D")), r#"{"a":1}"#);
    let error = me.xcom_pull("nope").default(&f64::NAN).value().unwrap_err();
    assert!(error.to_string().starts_with("the default of a pull: "), "{error}");
}

#[test]
fn with_map_indexes() {
    let (_, me) = world();
    assert_eq!(json(me.xcom_pull("mapped").map_indexes(0)), "20");
    assert_eq!(json(me.xcom_pull("mapped").map_indexes(1)), "null");
    assert_eq!(json(me.xcom_pull("mapped").map_indexes([2, 0, 7]).default("D")), r#"[60,20,"D"]"#);
    assert_eq!(json(me.xcom_pull("mapped").map_indexes(0..3)), "[20,null,60]");
    assert_eq!(json(me.xcom_pull("mapped").map_indexes(0..=2)), "[20,null,60]");
    assert_eq!(json(me.xcom_pull("mapped").map_indexes(Vec::new())), "[]");
    assert_eq!(json(me.xcom_pull("mapped").map_indexes(MapIndexes::Unmapped)), "null");
    assert_eq!(json(me.xcom_pull("mapped").map_indexes(-1)), "null");
    assert_eq!(json(me.xcom_pull(["mapped", "single"]).map_indexes([-1, 0])), r#"[null,20,{"a":1},null]"#);
    assert_eq!(json(me.xcom_pull(["mapped", "single"]).map_indexes(0)), "[20,null]");
    assert_eq!(json(me.xcom_pull("one").map_indexes(0)), r#""only""#);
}

#[test]
fn other_dags_and_runs() {
    let (engine, me) = world();
    assert_eq!(json(me.xcom_pull("single").dag_id("nodag")), "null");
    assert_eq!(json(me.xcom_pull("single").run_id("norun")), "null");
    let other = started(&engine, "r2", "single", -1);
    other.xcom_push("return_value", &2).unwrap();
    assert_eq!(json(me.xcom_pull("single").run_id("r2")), "2");
    assert_eq!(json(other.xcom_pull("single").dag_id("d").run_id("r").key("return_value")), r#"{"a":1}"#);
    assert_eq!(json(me.xcom_pull("single").key("other")), "null");
}

#[test]
fn prior_dates_give_the_newest_value() {
    let engine = engine();
    let mut last = None;
    for (run_id, date, value) in [
        ("p1", "2026-11-01T00:00:00Z", Some(1)),
        ("p2", "2026-11-02T00:00:00Z", Some(2)),
        ("p3", "2026-11-03T00:00:00Z", None),
        ("p4", "2026-11-04T00:00:00Z", Some(4)),
    ] {
        let date = date.parse().unwrap();
        let run = DagRun { logical_date: Some(date), ..DagRun::new("d", run_id, date) };
        pollster::block_on(engine.register_run(&run)).unwrap();
        if let Some(value) = value {
            started(&engine, run_id, "count", -1).xcom_push("return_value", &value).unwrap();
            started(&engine, run_id, "mapped", 0).xcom_push("return_value", &value).unwrap();
        }
        if run_id == "p3" {
            last = Some(started(&engine, run_id, "me", -1));
        }
    }
    let me = last.unwrap();
    assert_eq!(json(me.xcom_pull("count")), "null");
    // Airflow gives all earlier values, [1, 2], without map_indexes.
    assert_eq!(json(me.xcom_pull("count").include_prior_dates()), "2");
    assert_eq!(json(me.xcom_pull("count").include_prior_dates().map_indexes(-1)), "2");
    assert_eq!(json(me.xcom_pull("mapped").include_prior_dates()), "[2]");
    assert_eq!(json(me.xcom_pull("mapped").include_prior_dates().map_indexes(0)), "2");
    assert_eq!(json(me.xcom_pull("count").include_prior_dates().run_id("p1")), "1");
}

#[test]
fn a_type_that_cannot_be_without_a_value_gets_the_answer_as_error() {
    let (_, me) = world();
    assert_eq!(me.xcom_pull("nope").get::<Option<u8>>().unwrap(), None);
    assert_eq!(me.xcom_pull("mapped").get::<Vec<Option<u8>>>().unwrap(), [Some(20), None, Some(60)]);
    let error = me.xcom_pull("nope").get::<u8>().unwrap_err();
    assert!(error.to_string().contains("task `nope` never pushed `return_value`"), "{error}");
    assert_eq!(error.kind(), excom_core::ErrorKind::NoValue);
    let error = me.xcom_pull("sinlge").get::<u8>().unwrap_err();
    assert!(error.hints().iter().any(|hint| hint.contains("`single`")), "{error:?}");
    let error = me.xcom_pull("single").get::<u8>().unwrap_err();
    assert!(error.to_string().contains("$: expected a whole number, found {"), "{error}");
    let error = me.xcom_pull("single").key("").value().unwrap_err();
    assert_eq!(error.kind(), excom_core::ErrorKind::InvalidName);
}

#[test]
fn answers_say_why_for_every_place() {
    let (engine, me) = world();
    let waiting = TaskInstanceKey::new("d", "r", "mapped", 3).unwrap();
    pollster::block_on(engine.set_states(&[(waiting, TaskState::Scheduled)])).unwrap();
    let answers = me.xcom_pull(["mapped", "single", "nope"]).answers().unwrap();
    let told: Vec<(i32, &str)> =
        answers.iter().map(|(key, answer)| (key.ti.map_index, answer.code())).collect();
    let expected =
        [(0, "found"), (1, "missing"), (2, "found"), (3, "not_yet"), (-1, "found"), (-1, "missing")];
    assert_eq!(told, expected);
    let answers = me.xcom_pull("mapped").map_indexes([2, 9]).answers().unwrap();
    assert!(matches!(answers[0].1, Answer::Found(_)) && answers[0].0.ti.map_index == 2);
    assert!(matches!(answers[1].1, Answer::Missing(_)));
}

#[test]
fn blocking_and_waiting_forms_agree_in_every_place() {
    let (_, me) = world();
    crate::support::on_runtime(async {
        let waited: serde_json::Value = me.xcom_pull("single").aget().await.unwrap();
        let ti = me.clone();
        let blocked = tokio::task::spawn_blocking(move || {
            ti.xcom_push("from", "blocking").unwrap();
            ti.xcom_pull("single").get::<serde_json::Value>().unwrap()
        });
        assert_eq!(blocked.await.unwrap(), waited);
        me.axcom_push("from", "async").await.unwrap();
        assert_eq!(me.xcom_pull(()).key("from").aget::<String>().await.unwrap(), "async");
    });
    let plain = std::thread::spawn(move || me.xcom_pull(()).key("from").get::<String>().unwrap());
    assert_eq!(plain.join().unwrap(), "async");
}

#[test]
fn a_push_replaces_and_null_is_pushed() {
    let (_, me) = world();
    me.xcom_push("k", &1).unwrap();
    assert_eq!(me.xcom_push("k", &2).unwrap().size, 1);
    assert_eq!(me.xcom_pull(()).key("k").get::<u8>().unwrap(), 2);
    me.xcom_push("k", &None::<u8>).unwrap();
    assert_eq!(me.xcom_pull(()).key("k").answers().unwrap()[0].1.code(), "null");
    let error = me.xcom_push("k", &f64::INFINITY).unwrap_err();
    assert!(error.to_string().starts_with("the value for key `k`: "), "{error}");
    assert!(me.xcom_push("", &1).is_err());
}

#[test]
fn damage_is_an_error_and_never_none() {
    use excom_core::engine::{Access, Reads, Settings};
    use excom_core::memory;
    let access = Access { reads: Reads::Run, ..Access::default() };
    let engine = Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new()))
        .settings(Settings { access, ..Settings::default() })
        .build();
    let me = started(&engine, "r", "me", -1);
    let error = me.xcom_pull("x").run_id("other").default("D").value().unwrap_err();
    assert_eq!(error.kind(), excom_core::ErrorKind::Forbidden);
    assert!(me.xcom_pull("x").run_id("other").map_indexes(0).get::<Option<u8>>().is_err());
}
