//! Variables, as tasks see them.

use std::collections::BTreeMap;
use std::sync::Arc;

use excom::prelude::*;
use excom_core::variable::KEY_LIMIT;
use excom_core::{Engine, ErrorKind, TaskInstanceKey, memory};

fn engine(overrides: &[(&str, &str)]) -> Engine {
    let overrides: BTreeMap<String, String> =
        overrides.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new()))
        .variable_overrides(overrides)
        .build()
}

fn task(engine: &Engine, log: &Arc<std::sync::Mutex<Vec<String>>>) -> TaskInstance {
    let key = TaskInstanceKey::new("d", "r", "t", -1).unwrap();
    let attempt = pollster::block_on(engine.start(&key, 1)).unwrap();
    let log = log.clone();
    let channel = engine.channel(attempt).with_log(move |line| log.lock().unwrap().push(line.to_owned()));
    TaskInstance::new(Arc::new(channel), key)
}

#[test]
fn a_task_gets_sets_and_deletes_variables() {
    let ti = task(&engine(&[]), &Arc::default());
    assert_eq!(ti.variable("k").unwrap(), None);
    ti.set_variable("k", "v").unwrap();
    ti.set_variable("k", " 5").unwrap();
    assert_eq!(ti.variable("k").unwrap().as_deref(), Some(" 5"), "text stays text");
    assert_eq!(ti.variable_json::<u8>("k").unwrap(), Some(5));
    ti.delete_variable("k").unwrap();
    ti.delete_variable("k").unwrap();
    assert_eq!(ti.variable("k").unwrap(), None);
    assert_eq!(ti.variable_json::<u8>("k").unwrap(), None);
    pollster::block_on(async {
        ti.aset_variable("k", "1").await.unwrap();
        assert_eq!(ti.avariable("k").await.unwrap().as_deref(), Some("1"));
        ti.aset_variable_json("k", &[1, 2]).await.unwrap();
        assert_eq!(ti.avariable_json::<Vec<u8>>("k").await.unwrap(), Some(vec![1, 2]));
        ti.adelete_variable("k").await.unwrap();
    });
}

#[test]
fn null_is_refused_and_never_the_text_none() {
    let ti = task(&engine(&[]), &Arc::default());
    ti.set_variable("k", "before").unwrap();
    let error = ti.set_variable_json("k", &None::<u8>).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidValue);
    let told = format!("{error:?} {:?}", error.hints());
    assert!(told.contains("variable `k`") && told.contains("delete it instead"), "{told}");
    assert_eq!(ti.set_variable_json("k", &f64::NAN).unwrap_err().kind(), ErrorKind::InvalidValue);
    assert_eq!(ti.variable("k").unwrap().as_deref(), Some("before"));
}

#[test]
fn what_is_not_json_or_does_not_fit_names_the_variable() {
    let ti = task(&engine(&[]), &Arc::default());
    for (text, part) in [("{'a': 1}", "this looks like Python"), ("[1, 2]", "the value is a list")] {
        ti.set_variable("limits", text).unwrap();
        let error = ti.variable_json::<u8>("limits").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidValue);
        let told = format!("{error} {:?}", error.hints());
        assert!(told.contains("variable `limits`") && told.contains(part), "{told}");
    }
}

#[test]
fn a_variable_may_have_any_name_up_to_250_characters() {
    let ti = task(&engine(&[]), &Arc::default());
    for key in ["keys", "a/b", "a b", "a?b", "a#b", "../k", "é"] {
        ti.set_variable(key, key).unwrap();
    }
    for key in ["keys", "a/b", "a b", "a?b", "a#b", "../k", "é"] {
        assert_eq!(ti.variable(key).unwrap().as_deref(), Some(key));
    }
    for key in [String::new(), "k".repeat(KEY_LIMIT + 1)] {
        assert_eq!(ti.set_variable(&key, "1").unwrap_err().kind(), ErrorKind::InvalidName);
        assert_eq!(ti.variable(&key).unwrap_err().kind(), ErrorKind::InvalidName);
    }
}

#[test]
fn the_environment_wins_and_the_log_says_so() {
    let log = Arc::default();
    let ti = task(&engine(&[("AIRFLOW_VAR_STATION", "attic"), ("EXCOM_VAR_LIMITS", "[3]")]), &log);
    assert_eq!(ti.variable("station").unwrap().as_deref(), Some("attic"));
    assert_eq!(ti.variable_json::<Vec<u8>>("limits").unwrap(), Some(vec![3]));
    assert!(log.lock().unwrap().is_empty());
    ti.set_variable("station", "roof").unwrap();
    assert_eq!(ti.variable("station").unwrap().as_deref(), Some("attic"));
    let lines = log.lock().unwrap().clone();
    assert!(lines.len() == 1 && lines[0].contains("AIRFLOW_VAR_STATION in the environment"), "{lines:?}");
}

#[test]
fn a_process_of_an_earlier_try_sets_no_variable() {
    let engine = engine(&[]);
    let first = task(&engine, &Arc::default());
    let second = task(&engine, &Arc::default());
    second.set_variable("k", "2").unwrap();
    assert_eq!(first.set_variable("k", "1").unwrap_err().kind(), ErrorKind::Superseded);
    let deleted = pollster::block_on(first.channel().set_variable("k", None));
    assert_eq!(deleted.unwrap_err().kind(), ErrorKind::Superseded);
    assert_eq!(second.variable("k").unwrap().as_deref(), Some("2"));
}
