//! Pulls: what the parameters mean, what an XComArg gives where there is no value, and what damage does.

use excom::prelude::*;
use excom_core::{ErrorKind, TaskInstanceKey, TaskState, ValueStore as _, XComKey};
use excom_flow::{DagDefinition, MapIndexes};

use crate::support::{engine, pushed, run, started};
use crate::{THRESHOLD, offloading, push_text, text_of, xcom};

/// `m` has three instances that pushed 10, 11 and 12; `t` is not mapped and pushed "own".
fn world() -> (excom_core::Engine, TaskInstance) {
    let engine = engine();
    for map_index in 0..3 {
        let ti = started(&engine, "r", "m", map_index);
        ti.xcom_push("return_value", &(10 + map_index)).unwrap();
    }
    started(&engine, "r", "t", -1).xcom_push("return_value", "own").unwrap();
    let me = started(&engine, "r", "me", -1);
    (engine, me)
}

#[test]
fn every_negative_map_index_is_the_unmapped_entry() {
    let (_, me) = world();
    for index in [-1, -5, i32::MIN] {
        assert_eq!(me.xcom_pull("t").map_indexes(index).get::<String>().unwrap(), "own", "{index}");
        let listed: Vec<String> = me.xcom_pull("t").map_indexes([index]).get().unwrap();
        assert_eq!(listed, ["own"], "{index}");
        let mapped: Option<i64> = me.xcom_pull("m").map_indexes(index).get().unwrap();
        assert_eq!(mapped, None, "{index}");
    }
    assert_eq!(me.xcom_pull("t").map_indexes(MapIndexes::Unmapped).get::<String>().unwrap(), "own");
}

#[test]
fn a_template_gives_numbers_as_python_would() {
    let (_, me) = world();
    let shows = |template: &str, text: &str| assert_eq!(me.render(template).unwrap(), text, "{template}");
    shows("{{ ti.xcom_pull('m', map_indexes=false) }}", "10");
    shows("{{ ti.xcom_pull('m', map_indexes=true) }}", "11");
    shows("{{ ti.xcom_pull('m', map_indexes=[true, -7]) }}", "[11, None]");
    shows("{{ ti.xcom_pull('t', map_indexes=-7) }}", "own");
    shows("{{ ti.xcom_pull(('t', 'm')) }}", "['own', 10, 11, 12]");
    shows("{{ ti.xcom_pull([]) }} {{ ti.xcom_pull('m', map_indexes=[]) }}", "[] []");
    shows("{{ ti.xcom_pull('t', dag_id=none, run_id=none) }}", "own");
    for wrong in ["1.5", "'01'", "{'a': 1}", "[1.5]", "['0']"] {
        let error = me.render(&format!("{{{{ ti.xcom_pull('m', map_indexes={wrong}) }}}}")).unwrap_err();
        assert!(error.to_string().contains("`map_indexes` of xcom_pull"), "{wrong}: {error}");
    }
}

#[test]
fn a_mapped_instance_that_pulls_from_its_own_task_gets_the_whole_list() {
    let engine = engine();
    for map_index in 0..2 {
        started(&engine, "r", "m", map_index).xcom_push("return_value", &(10 + map_index)).unwrap();
    }
    let third = started(&engine, "r", "m", 2);
    assert_eq!(third.xcom_pull(()).get::<Vec<Option<i64>>>().unwrap(), [Some(10), Some(11), None]);
    assert_eq!(third.xcom_pull(()).map_indexes(third.map_index()).get::<Option<i64>>().unwrap(), None);
    third.xcom_push("return_value", &12).unwrap();
    assert_eq!(third.xcom_pull(()).map_indexes(third.map_index()).get::<i64>().unwrap(), 12);
}

#[test]
fn another_dag_is_looked_up_in_its_run_of_the_same_id() {
    let (engine, me) = world();
    for (dag_id, run_id, json) in [("e", "r", "1"), ("e", "r2", "2")] {
        let key = XComKey::new(dag_id, run_id, "t", -1, "return_value").unwrap();
        push_text(&engine, &key, json).unwrap();
    }
    assert_eq!(me.xcom_pull("t").dag_id("e").get::<i64>().unwrap(), 1);
    assert_eq!(me.xcom_pull("t").dag_id("e").run_id("r2").get::<i64>().unwrap(), 2);
    // Without a task, it is the task of the same id over there.
    assert_eq!(me.xcom_pull(()).dag_id("e").get::<Option<i64>>().unwrap(), None);
    push_text(&engine, &XComKey::new("e", "r", "me", -1, "return_value").unwrap(), "3").unwrap();
    assert_eq!(me.xcom_pull(()).dag_id("e").get::<i64>().unwrap(), 3);
}

#[test]
fn one_element_stays_a_list_in_templates_and_with_another_key() {
    let engine = engine();
    let only = started(&engine, "r", "one", 0);
    only.xcom_push("return_value", "only").unwrap();
    only.xcom_push("k", &[1]).unwrap();
    let me = started(&engine, "r", "me", -1);
    assert_eq!(me.render("{{ ti.xcom_pull('one') }}").unwrap(), "['only']");
    assert_eq!(me.render("{{ ti.xcom_pull('one', key='k') }}").unwrap(), "[[1]]");
    assert_eq!(me.xcom_pull(["one"]).get::<Vec<String>>().unwrap(), ["only"]);
}

#[test]
fn an_output_is_named_by_its_last_key() {
    #[task]
    fn pushes(ti: &TaskInstance) -> Result<i64> {
        ti.xcom_push("j", &serde_json::json!({"k": 1}))?;
        ti.xcom_push("k", &2)?;
        Ok(3)
    }
    #[task]
    fn takes(n: i64) -> i64 {
        n
    }
    let definition = DagDefinition::new("d", |dag| {
        let pushed = pushes(dag);
        takes(dag, pushed.output::<serde_json::Value>("j").output::<i64>("k"));
    });
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    assert_eq!(pushed(&engine, "d", "takes", "return_value").unwrap(), "2");
}

#[test]
fn an_argument_that_needs_a_value_does_not_get_none() {
    #[task(do_xcom_push = false)]
    fn silent() -> i64 {
        1
    }
    #[task]
    fn pushes_null(ti: &TaskInstance) -> Result<i64> {
        ti.xcom_push("k", &())?;
        Ok(1)
    }
    #[task]
    fn needs(n: i64) -> i64 {
        n
    }
    #[task]
    fn may_lack(n: Option<i64>) -> bool {
        n.is_none()
    }
    let definition = DagDefinition::new("d", |dag| {
        let (silent, null) = (silent(dag), pushes_null(dag).output::<i64>("k"));
        needs(dag, silent);
        may_lack(dag, silent);
        needs(dag, null);
        may_lack(dag, null);
    });
    let engine = engine();
    let report = run(&engine, &definition);
    // Airflow calls the function with None.
    let failure = report.task("needs").unwrap().failure.clone().unwrap().message;
    assert!(failure.contains("argument `n`: no value: task `silent` never pushed"), "{failure}");
    assert_eq!(report.task("needs__1").unwrap().state, TaskState::Failed);
    for task in ["may_lack", "may_lack__1"] {
        assert_eq!(pushed(&engine, "d", task, "return_value").unwrap(), "true", "{task}");
    }
}

#[test]
fn instances_that_were_removed_are_no_part_of_the_list() {
    let (engine, me) = world();
    let removed = TaskInstanceKey::new("d", "r", "m", 2).unwrap();
    pollster::block_on(engine.set_states(&[(removed, TaskState::Removed)])).unwrap();
    assert_eq!(me.xcom_pull("m").get::<Vec<i64>>().unwrap(), [10, 11]);
    let sequence = xcom("m", 0, "return_value").sequence();
    assert_eq!(pollster::block_on(me.channel().count(&sequence)).unwrap(), 2);
    // The entry itself is not deleted, and whoever names its index gets it.
    assert_eq!(me.xcom_pull("m").map_indexes(2).get::<i64>().unwrap(), 12);
}

#[test]
fn damage_is_an_error_also_for_an_option_and_with_a_default() {
    let (engine, store) = offloading();
    let large = format!("\"{}\"", "x".repeat(2 * THRESHOLD as usize));
    push_text(&engine, &xcom("t", -1, "return_value"), &large).unwrap();
    let me = started(&engine, "r", "me", -1);
    assert_eq!(me.xcom_pull("t").get::<String>().unwrap().len() + 2, large.len());
    let name = pollster::block_on(store.list(None, 1)).unwrap().remove(0);
    store.tamper(&name, |bytes| bytes[9] ^= 1);
    for pull in [me.xcom_pull("t"), me.xcom_pull("t").default("D"), me.xcom_pull("t").map_indexes(-1)] {
        assert_eq!(pull.get::<Option<String>>().unwrap_err().kind(), ErrorKind::Corrupt);
    }
    assert_eq!(me.xcom_pull(["t", "u"]).value().unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(me.render("{{ ti.xcom_pull('t', default=1) }}").unwrap_err().kind(), ErrorKind::Corrupt);
    pollster::block_on(store.delete(&name)).unwrap();
    assert_eq!(me.xcom_pull("t").default("D").value().unwrap_err().kind(), ErrorKind::Lost);
}

#[test]
fn a_value_of_one_task_is_no_value_of_another_however_it_is_named() {
    let engine = engine();
    push_text(&engine, &xcom("a", -1, "b/c"), "1").unwrap();
    let me = started(&engine, "r", "me", -1);
    assert_eq!(me.xcom_pull("a/b").key("c").get::<Option<i64>>().unwrap(), None);
    assert_eq!(me.xcom_pull("me").key("../a/b/c").get::<Option<i64>>().unwrap(), None);
    assert_eq!(me.xcom_pull("a").key("b/c").get::<i64>().unwrap(), 1);
    assert_eq!(text_of(&engine, &xcom("a/b", -1, "c")), None);
}

/// Whether a type has a trait, told by which of two constants of one name is found first.
macro_rules! has {
    ($type:ty: $($bound:tt)+) => {{
        #[allow(dead_code, reason = "not needed for types with the trait")]
        trait Otherwise {
            const HAS: bool = false;
        }
        impl<T: ?Sized> Otherwise for T {}
        struct Probe<T>(std::marker::PhantomData<T>);
        #[allow(dead_code, reason = "not found for types without the trait")]
        impl<T: $($bound)+> Probe<T> {
            const HAS: bool = true;
        }
        <Probe<$type>>::HAS
    }};
}

#[test]
fn what_has_the_wrong_type_does_not_compile() {
    use std::fmt::Display;
    use std::sync::Arc;

    use excom_flow::TaskIds;
    // A key is text, and nothing else becomes one by itself.
    assert!(has!(&str: Into<Arc<str>>));
    assert!(!has!(i32: Into<Arc<str>>) && !has!(Option<&str>: Into<Arc<str>>));
    assert!(has!(&str: Into<TaskIds>) && has!(Vec<String>: Into<TaskIds>) && has!((): Into<TaskIds>));
    assert!(!has!(i32: Into<TaskIds>) && !has!(Option<&str>: Into<TaskIds>));
    assert!(has!(i32: Into<MapIndexes>) && has!(std::ops::Range<i32>: Into<MapIndexes>));
    assert!(!has!(f64: Into<MapIndexes>) && !has!(&str: Into<MapIndexes>));
    // An XComArg in a format string would be a value that is not there yet.
    assert!(has!(String: Display) && !has!(XComArg<i64>: Display));
}

#[test]
fn one_value_at_a_very_high_map_index_does_not_fill_the_memory() {
    let engine = engine();
    let me = started(&engine, "r", "me", -1);
    push_text(&engine, &xcom("m", 2_000_000_000, "return_value"), "1").unwrap();
    let error = me.xcom_pull("m").value().unwrap_err();
    assert!(error.to_string().contains("almost all gaps"), "{error}");
    assert!(me.xcom_pull("m").answers().is_err());
    assert_eq!(me.xcom_pull("m").map_indexes(2_000_000_000).get::<i64>().unwrap(), 1);
}
