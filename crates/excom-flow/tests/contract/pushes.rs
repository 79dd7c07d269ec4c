//! Pushes: whose XCom it is, what a returned value pushes, and what the bash operator pushes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use excom::prelude::*;
use excom_core::{Caller, Clock as _, Engine, ErrorKind, TaskState, memory};
use excom_flow::DagDefinition;

use crate::support::{engine, pushed, run, started, state};
use crate::{text_of, xcom};

#[test]
fn a_push_is_for_the_task_instance_that_pushes() {
    let engine = engine();
    started(&engine, "r", "m", 1).xcom_push("k", &11).unwrap();
    started(&engine, "r", "t", -1).xcom_push("k", &22).unwrap();
    assert_eq!(text_of(&engine, &xcom("m", 1, "k")).unwrap(), "11");
    assert_eq!(text_of(&engine, &xcom("t", -1, "k")).unwrap(), "22");
    for (task, map_index) in [("m", -1), ("m", 0), ("t", 0), ("t", 1)] {
        assert_eq!(text_of(&engine, &xcom(task, map_index, "k")), None, "{task}[{map_index}]");
    }
}

#[test]
fn a_key_that_cannot_be_is_refused_and_writes_nothing() {
    let engine = engine();
    let me = started(&engine, "r", "me", -1);
    for key in [String::new(), "k".repeat(513), "é".repeat(513), "a\0".to_owned()] {
        assert_eq!(me.xcom_push(&key, &1).unwrap_err().kind(), ErrorKind::InvalidName);
    }
    me.xcom_push(&"k".repeat(512), &1).unwrap();
    let listed = pollster::block_on(engine.list(&Caller::user("test"), &Default::default(), None, 9));
    assert_eq!(listed.unwrap().items.len(), 1);
}

#[test]
fn the_result_of_a_mapped_pull_can_be_pushed_and_returned() {
    #[task]
    fn pushes_again(ti: &TaskInstance) -> Result<Vec<Option<i64>>> {
        let values: Vec<Option<i64>> = ti.xcom_pull("m").get()?;
        ti.xcom_push("again", &values)?;
        Ok(values)
    }
    let engine = engine();
    for (map_index, value) in [(0, 1), (2, 3)] {
        started(&engine, "r", "m", map_index).xcom_push("return_value", &value).unwrap();
    }
    let definition = DagDefinition::new("d", |dag| {
        pushes_again(dag);
    });
    assert!(run(&engine, &definition).succeeded());
    for key in ["again", "return_value"] {
        assert_eq!(pushed(&engine, "d", "pushes_again", key).unwrap(), "[1,null,3]", "{key}");
    }
}

#[test]
fn without_do_xcom_push_manual_pushes_stay() {
    #[task(do_xcom_push = false)]
    fn quiet(ti: &TaskInstance) -> Result<u8> {
        ti.xcom_push("manual", &1)?;
        Ok(2)
    }
    let engine = engine();
    let definition = DagDefinition::new("d", |dag| {
        quiet(dag);
    });
    assert!(run(&engine, &definition).succeeded());
    assert_eq!(pushed(&engine, "d", "quiet", "manual").unwrap(), "1");
    assert_eq!(pushed(&engine, "d", "quiet", "return_value"), None);
}

#[test]
fn multiple_outputs_is_asked_for_and_never_inferred() {
    #[task]
    fn plain() -> BTreeMap<String, u8> {
        [("a".to_owned(), 1)].into()
    }
    #[task(multiple_outputs)]
    fn spread() -> BTreeMap<String, u8> {
        [("a".to_owned(), 1)].into()
    }
    let engine = engine();
    let definition = DagDefinition::new("d", |dag| {
        let _ = (plain(dag), spread(dag));
    });
    assert!(run(&engine, &definition).succeeded());
    for task in ["plain", "spread"] {
        assert_eq!(pushed(&engine, "d", task, "return_value").unwrap(), r#"{"a":1}"#);
    }
    assert_eq!(pushed(&engine, "d", "plain", "a"), None);
    assert_eq!(pushed(&engine, "d", "spread", "a").unwrap(), "1");
}

#[test]
fn numbers_as_names_of_multiple_outputs_become_keys() {
    #[task(multiple_outputs)]
    fn numbered() -> BTreeMap<u8, char> {
        [(1, 'x'), (2, 'y')].into()
    }
    let engine = engine();
    let definition = DagDefinition::new("d", |dag| {
        numbered(dag);
    });
    assert!(run(&engine, &definition).succeeded());
    assert_eq!(pushed(&engine, "d", "numbered", "1").unwrap(), r#""x""#);
    assert_eq!(pushed(&engine, "d", "numbered", "2").unwrap(), r#""y""#);
}

#[test]
fn what_a_task_pushed_before_it_failed_or_skipped_stays() {
    #[task]
    fn fails(ti: &TaskInstance) -> Result<u8> {
        ti.xcom_push("k", "before")?;
        Err("broken".into())
    }
    #[task]
    fn skips(ti: &TaskInstance) -> Result<u8> {
        ti.xcom_push("k", "before")?;
        Err(Skip::new().into())
    }
    #[task]
    fn panics(ti: &TaskInstance) {
        ti.xcom_push("k", "before").unwrap();
        panic!("broken");
    }
    let engine = engine();
    let definition = DagDefinition::new("d", |dag| {
        let _ = (fails(dag), skips(dag), panics(dag));
    });
    run(&engine, &definition);
    for (task, ended) in
        [("fails", TaskState::Failed), ("skips", TaskState::Skipped), ("panics", TaskState::Failed)]
    {
        assert_eq!(state(&engine, "d", task), Some(ended));
        assert_eq!(pushed(&engine, "d", task, "k").unwrap(), r#""before""#, "{task}");
        assert_eq!(pushed(&engine, "d", task, "return_value"), None, "{task}");
    }
}

#[test]
fn strange_keys_survive_a_retry_and_reach_no_other_task() {
    const KEYS: [&str; 7] = ["k?x=1", "k#f", "k%2Fz", "k/slice", "k/item/0", "a/../zz", "../other/k"];
    #[task(retries = 1)]
    fn strange(ti: &TaskInstance) -> Result<()> {
        for key in KEYS {
            ti.xcom_push(key, &ti.try_number())?;
        }
        if ti.try_number() == 1 { Err("once".into()) } else { Ok(()) }
    }
    #[task]
    fn other() {}
    let engine = engine();
    let definition = DagDefinition::new("d", |dag| {
        let strange = strange(dag);
        dag.task(other(dag)).after(strange);
    });
    let report = run(&engine, &definition);
    assert!(report.succeeded() && report.tasks[0].tries == 2, "{report:?}");
    for key in KEYS {
        assert_eq!(pushed(&engine, "d", "strange", key).unwrap(), "2", "{key}");
    }
    for (task, key) in [("strange", "k"), ("strange", "k/z"), ("strange", "zz"), ("other", "k")] {
        assert_eq!(pushed(&engine, "d", task, key), None, "{task} {key}");
    }
}

#[test]
fn writers_at_once_all_succeed_and_one_value_is_left() {
    const WRITERS: u64 = 8;
    const PUSHES: u64 = 40;
    let engine = engine();
    let me = started(&engine, "r", "me", -1);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let me = me.clone();
            scope.spawn(move || {
                for push in 0..PUSHES {
                    me.xcom_push("k", &(writer * PUSHES + push)).unwrap();
                }
            });
        }
    });
    let key = xcom("me", -1, "k");
    assert!(me.xcom_pull(()).key("k").get::<u64>().unwrap() < WRITERS * PUSHES);
    let past = pollster::block_on(engine.history(&Caller::user("test"), &key, 1000)).unwrap();
    assert_eq!(past.len() as u64, WRITERS * PUSHES - 1, "every push was there once");
}

#[test]
fn a_bash_line_keeps_its_beginning_and_loses_white_space_at_its_end_only() {
    let definition = DagDefinition::new("d", |dag| {
        dag.bash("spaces", r"printf '  x y \t \n'");
        dag.bash("carriage", r"printf 'one\rtwo\r\n'");
        dag.bash("blank", r"printf 'one\n   \n'");
        dag.bash("json", "echo '{\"a\": 1}'");
        dag.bash("named", "echo run.sh ");
        dag.bash("inherits", "test -n \"$PATH\" && echo \"$X\"").env("X", "x");
    });
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    let line = |task: &str| pushed(&engine, "d", task, "return_value").unwrap();
    assert_eq!(line("spaces"), r#""  x y""#);
    assert_eq!(line("carriage"), r#""one\rtwo""#);
    assert_eq!(line("blank"), r#""""#);
    assert_eq!(line("json"), r#""{\"a\": 1}""#);
    // Without the space it would be the name of a template file.
    assert_eq!(line("named"), r#""run.sh""#);
    // Airflow hands over only `env`, unless `append_env` is set.
    assert_eq!(line("inherits"), r#""x""#);
}

#[test]
fn a_replaced_value_is_kept_for_a_while_and_its_time_is_the_last_pushs() {
    let clock = Arc::new(memory::Clock::new());
    let engine = Engine::builder(Arc::new(memory::Db::new()), clock.clone()).build();
    let me = started(&engine, "r", "me", -1);
    me.xcom_push("k", &1).unwrap();
    clock.advance(Duration::from_secs(60));
    me.xcom_push("k", &2).unwrap();
    let listed =
        pollster::block_on(engine.list(&Caller::user("test"), &Default::default(), None, 9)).unwrap();
    assert_eq!(listed.items.len(), 1);
    assert_eq!(listed.items[0].pushed_at(), clock.now());
    let key = xcom("me", -1, "k");
    let past = pollster::block_on(engine.history(&Caller::user("test"), &key, 9)).unwrap();
    assert_eq!(past.len(), 1);
    let first = pollster::block_on(engine.pull_past(&Caller::user("test"), &key, past[0].info.version));
    assert_eq!(first.unwrap().unwrap().as_str(), "1");
}
