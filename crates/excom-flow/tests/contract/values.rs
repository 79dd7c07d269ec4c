//! Values: the text that was pushed is the text that comes back, and what JSON cannot say is refused.

use std::collections::BTreeMap;

use excom::prelude::*;
use excom_core::{ErrorKind, TaskState, Value, XComKey};
use excom_flow::DagDefinition;

use crate::support::{engine, pushed, run, started};
use crate::{THRESHOLD, offloading, push_text, text_of, xcom};

#[test]
fn the_text_is_the_same_inline_and_offloaded() {
    // Order, spacing, number text, nested lists and names that occur twice.
    let json =
        r#"{"bb": [[1, 2], [1, 2]],"a":1.0, "n": 123456789012345678901234567890, "bb": -0.0, "e":1E2}"#;
    let long = format!(r#"{{"pad": "{}", "inner": {json}}}"#, "x".repeat(THRESHOLD as usize));
    assert!((json.len() as u64) < THRESHOLD);
    let (engine, store) = offloading();
    push_text(&engine, &xcom("t", -1, "inline"), json).unwrap();
    push_text(&engine, &xcom("t", -1, "offloaded"), &long).unwrap();
    let objects = pollster::block_on(excom_core::ValueStore::list(&*store, None, 10)).unwrap();
    assert_eq!(objects.len(), 1);
    assert_eq!(text_of(&engine, &xcom("t", -1, "inline")).unwrap(), json);
    assert_eq!(text_of(&engine, &xcom("t", -1, "offloaded")).unwrap(), long);
    // A task sees the same text, alone and in a list.
    let me = started(&engine, "r", "me", -1);
    assert_eq!(me.xcom_pull("t").key("offloaded").value().unwrap().as_str(), long);
    assert_eq!(me.xcom_pull(["t"]).key("inline").value().unwrap().as_str(), format!("[{json}]"));
}

#[test]
fn not_a_number_and_infinity_are_refused_wherever_they_hide() {
    #[task]
    fn hidden() -> BTreeMap<String, Vec<Option<f64>>> {
        [("a".to_owned(), vec![None, Some(1.0), Some(f64::NEG_INFINITY)])].into()
    }
    let engine = engine();
    let definition = DagDefinition::new("d", |dag| {
        hidden(dag);
    });
    let report = run(&engine, &definition);
    assert_eq!(report.tasks[0].state, TaskState::Failed);
    let message = report.tasks[0].failure.clone().unwrap().message;
    assert!(message.contains("the return value: ") && message.contains("-inf"), "{message}");
    assert_eq!(pushed(&engine, "d", "hidden", "return_value"), None);
    for json in ["NaN", "[Infinity]", r#"{"a": -Infinity}"#] {
        let error = push_text(&engine, &xcom("t", -1, "k"), json).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidValue, "{json}");
    }
    assert_eq!(text_of(&engine, &xcom("t", -1, "k")), None);
}

#[test]
fn nul_is_text_in_values_and_no_part_of_names() {
    let engine = engine();
    let me = started(&engine, "r", "me", -1);
    me.xcom_push("k", "a\0b").unwrap();
    assert_eq!(me.xcom_pull(()).key("k").get::<String>().unwrap(), "a\0b");
    assert_eq!(me.xcom_push("k\0", &1).unwrap_err().kind(), ErrorKind::InvalidName);
    for key in [XComKey::new("d\0", "r", "t", -1, "k"), XComKey::new("d", "r\0", "t", -1, "k")] {
        assert_eq!(key.unwrap_err().kind(), ErrorKind::InvalidName);
    }
}

#[test]
fn a_lone_surrogate_is_refused_and_a_pair_is_a_character() {
    let engine = engine();
    let key = xcom("t", -1, "k");
    for json in [r#""\ud800""#, r#"["a\udc00"]"#, r#"{"\ud83d": 1}"#, r#""\ud83dx""#] {
        assert_eq!(push_text(&engine, &key, json).unwrap_err().kind(), ErrorKind::InvalidValue, "{json}");
    }
    push_text(&engine, &key, r#""\ud83d\ude00""#).unwrap();
    assert_eq!(text_of(&engine, &key).unwrap(), r#""\ud83d\ude00""#);
    let me = started(&engine, "r", "me", -1);
    assert_eq!(me.xcom_pull("t").key("k").get::<String>().unwrap(), "\u{1F600}");
}

#[test]
fn what_can_be_pushed_can_be_pulled_at_every_depth() {
    let engine = engine();
    let me = started(&engine, "r", "me", -1);
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let error = push_text(&engine, &xcom("deep", -1, "k"), &nested(129)).unwrap_err();
    assert!(error.to_string().contains("nested deeper than 128 levels"), "{error}");
    for depth in [1, 126, 127, 128] {
        push_text(&engine, &xcom("deep", -1, "k"), &nested(depth)).unwrap();
        let alone = me.xcom_pull("deep").key("k").get::<serde_json::Value>();
        assert!(alone.is_ok(), "{depth}: {}", alone.unwrap_err());
        let listed = me.xcom_pull(["deep"]).key("k").get::<serde_json::Value>();
        assert!(listed.is_ok(), "{depth} in a list: {}", listed.unwrap_err());
        let shown = me.render("{{ ti.xcom_pull('deep', key='k') | length }}");
        assert!(shown.is_ok(), "{depth} in a template: {}", shown.unwrap_err());
    }
}

#[test]
fn names_in_a_dict_that_are_no_text_become_text_or_are_refused() {
    fn text<K: Serialize + Ord>(name: K) -> excom_core::Result<String> {
        Ok(Value::of(&BTreeMap::from([(name, 0)]))?.as_str().to_owned())
    }
    assert_eq!(text(1).unwrap(), r#"{"1":0}"#);
    // Airflow writes "True": Python's spelling of it.
    assert_eq!(text(true).unwrap(), r#"{"true":0}"#);
    assert_eq!(text('x').unwrap(), r#"{"x":0}"#);
    // Airflow writes "(1, 2)" and "None".
    assert_eq!(text((1, 2)).unwrap_err().kind(), ErrorKind::InvalidValue);
    assert_eq!(text(None::<u8>).unwrap_err().kind(), ErrorKind::InvalidValue);
    // With a type that says so, they come back as what they were.
    let engine = engine();
    let me = started(&engine, "r", "me", -1);
    me.xcom_push("k", &BTreeMap::from([(1, "a"), (-2, "b")])).unwrap();
    let back: BTreeMap<i64, String> = me.xcom_pull(()).key("k").get().unwrap();
    assert_eq!(back, BTreeMap::from([(1, "a".to_owned()), (-2, "b".to_owned())]));
}

#[test]
fn long_integers_keep_their_digits() {
    #[task]
    fn long() -> u128 {
        u128::MAX
    }
    #[task]
    fn takes(n: u128) -> bool {
        n == u128::MAX
    }
    let definition = DagDefinition::new("d", |dag| {
        let long = long(dag);
        takes(dag, long);
        dag.bash("argument", "echo $N").env("N", long);
    });
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    let digits = "340282366920938463463374607431768211455";
    assert_eq!(pushed(&engine, "d", "long", "return_value").unwrap(), digits);
    assert_eq!(pushed(&engine, "d", "takes", "return_value").unwrap(), "true");
    assert_eq!(pushed(&engine, "d", "argument", "return_value").unwrap(), format!("\"{digits}\""));
}

#[test]
fn text_that_looks_like_json_stays_text() {
    let engine = engine();
    let me = started(&engine, "r", "me", -1);
    for text in ["5", "null", "true", r#"{"a": 1}"#, "[1]", "\"q\""] {
        me.xcom_push("k", text).unwrap();
        assert_eq!(me.xcom_pull(()).key("k").get::<String>().unwrap(), text);
        assert_eq!(me.xcom_pull(()).key("k").get::<serde_json::Value>().unwrap(), serde_json::json!(text));
        assert_eq!(me.render("{{ ti.xcom_pull(key='k') is string }}").unwrap(), "True");
    }
}

#[test]
fn dicts_with_reserved_names_are_ordinary_data() {
    let engine = engine();
    let me = started(&engine, "r", "me", -1);
    for json in [
        r#"{"__classname__":"os.system","__version__":1,"__data__":"id"}"#,
        r#"[{"a":{"__id__":1}}]"#,
        r#"{"__type":"set","__var":[1,2]}"#,
    ] {
        let document: serde_json::Value = serde_json::from_str(json).unwrap();
        me.xcom_push("k", &document).unwrap();
        assert_eq!(me.xcom_pull(()).key("k").value().unwrap().as_str(), json);
    }
    assert_eq!(me.render("{{ ti.xcom_pull(key='k') }}").unwrap(), "{'__type': 'set', '__var': [1, 2]}");
}

#[test]
fn every_float_comes_back_as_the_float_that_was_pushed() {
    let engine = engine();
    let me = started(&engine, "r", "me", -1);
    // Bit patterns over the whole range, from a fixed seed (xorshift, Marsaglia 2003).
    let mut bits = 0x9E37_79B9_7F4A_7C15_u64;
    let floats: Vec<f64> = std::iter::repeat_with(|| {
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        f64::from_bits(bits)
    })
    .filter(|float| float.is_finite())
    .take(10_000)
    .collect();
    me.xcom_push("k", &floats).unwrap();
    let back: Vec<f64> = me.xcom_pull(()).key("k").get().unwrap();
    let changed = floats.iter().zip(&back).filter(|(pushed, pulled)| pushed != pulled).count();
    assert_eq!(changed, 0, "of {} floats", floats.len());
}
