//! `expand`, `expand_kwargs` and `partial`: how many task instances, and what each of them takes.

use std::collections::BTreeMap;

use excom::prelude::*;
use excom_core::TaskState;
use excom_flow::{Cancellation, DagDefinition, Rerun, RunOptions, Runner};
use serde_json::{Value as Json, json};

use crate::support::{engine, on_runtime, run, run_with, state, states, texts, values};
use crate::{text_of, xcom};

#[task]
fn numbers() -> Vec<i64> {
    vec![1, 2, 3]
}

#[task]
fn none() -> Vec<i64> {
    Vec::new()
}

#[task]
fn fails() -> Result<Vec<i64>> {
    Err("broken".into())
}

#[task]
fn double(n: i64) -> i64 {
    2 * n
}

#[task]
fn total(ns: Vec<i64>) -> i64 {
    ns.iter().sum()
}

#[task]
fn join(left: String, right: String, end: String) -> String {
    format!("{left}{right}{end}")
}

#[task]
fn odd_only(n: i64) -> Option<i64> {
    (n % 2 == 1).then_some(n)
}

#[test]
fn one_instance_for_each_element_of_a_list_in_order() {
    let definition = DagDefinition::new("d", |dag| {
        total(dag, double(dag, expand(numbers(dag))));
    });
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    let expected = [(0, "2".to_owned()), (1, "4".to_owned()), (2, "6".to_owned())];
    assert_eq!(values(&engine, "d", "double"), expected);
    assert_eq!(texts(&engine, "d", "total"), ["12"]);
    assert_eq!(state(&engine, "d", "double"), Some(TaskState::Removed), "what stood for the instances");
}

#[test]
fn a_dict_gives_pairs_in_the_order_in_which_it_was_pushed() {
    #[task]
    fn ages() -> Json {
        json!({"zoe": 7, "al": 3, "mia": 5})
    }
    #[task]
    fn tell(entry: (String, i64)) -> String {
        format!("{} {}", entry.0, entry.1)
    }
    let definition = DagDefinition::new("d", |dag| {
        tell(dag, expand(ages(dag).output::<BTreeMap<String, i64>>("return_value")));
    });
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    assert_eq!(texts(&engine, "d", "tell"), [r#""zoe 7""#, r#""al 3""#, r#""mia 5""#]);
}

#[test]
fn literals_and_parameters_are_expanded_like_results() {
    #[dag(id = "d")]
    fn doubling(dag: &Dag, #[param(default = vec![4, 5])] over: Param<Vec<i64>>) {
        double(dag, expand([1, 2]));
        double(dag, expand(over));
        double(dag, expand(vec![3]));
    }
    let engine = engine();
    let options = RunOptions::new().param("over", "[7, 8, 9]");
    assert!(run_with(&Runner::new(engine.clone()), &doubling(), options).succeeded());
    assert_eq!(texts(&engine, "d", "double"), ["2", "4"]);
    assert_eq!(texts(&engine, "d", "double__1"), ["14", "16", "18"]);
    assert_eq!(texts(&engine, "d", "double__2"), ["6"]);
}

#[test]
fn several_arguments_give_all_combinations_and_the_last_varies_fastest() {
    #[task]
    fn letters() -> Vec<String> {
        vec!["a".into(), "b".into()]
    }
    let definition = DagDefinition::new("d", |dag| {
        join(dag, expand(letters(dag)), expand(["1", "2", "3"]), "!");
    });
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    let expected = [r#""a1!""#, r#""a2!""#, r#""a3!""#, r#""b1!""#, r#""b2!""#, r#""b3!""#];
    assert_eq!(texts(&engine, "d", "join"), expected);
}

#[test]
fn a_factor_without_elements_skips_the_task_and_what_is_behind_it() {
    let definition = DagDefinition::new("d", |dag| {
        let joined = join(dag, expand(["a"]), expand(none(dag).map(|n| n.to_string())), "!");
        let behind = total(dag, double(dag, expand(none(dag))));
        dag.task(total(dag, vec![1, 2])).after(joined).trigger_rule(TriggerRule::NoneFailed);
        dag.task(behind);
    });
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    assert_eq!(states(&engine, "d", "join"), [(-1, TaskState::Skipped)]);
    assert_eq!(states(&engine, "d", "double"), [(-1, TaskState::Skipped)]);
    assert_eq!(states(&engine, "d", "total"), [(-1, TaskState::Skipped)]);
    assert_eq!(states(&engine, "d", "total__1"), [(-1, TaskState::Success)]);
}

#[test]
fn a_mapped_task_without_instances_is_an_empty_list() {
    let definition = DagDefinition::new("d", |dag| {
        dag.task(total(dag, double(dag, expand(none(dag))))).trigger_rule(TriggerRule::AllDone);
    });
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    assert_eq!(texts(&engine, "d", "total"), ["0"]);
}

#[test]
fn dicts_of_arguments_and_what_all_instances_share() {
    #[task]
    fn rows() -> Vec<Json> {
        vec![json!({"left": "a"}), json!({"left": "b", "right": "own"})]
    }
    let definition = DagDefinition::new("d", |dag| {
        join::partial().right("shared").end("!").expand_kwargs(dag, rows(dag));
        let literal = vec![json!({"right": "x", "left": "y", "end": ""})];
        join::partial().expand_kwargs(dag, literal);
    });
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    assert_eq!(texts(&engine, "d", "join"), [r#""ashared!""#, r#""bown!""#]);
    assert_eq!(texts(&engine, "d", "join__1"), [r#""yx""#]);
}

#[test]
fn what_is_no_dict_or_names_no_argument_fails_its_instance_only() {
    let definition = DagDefinition::new("d", |dag| {
        let rows = vec![json!({"n": 1}), json!(5), json!({"m": 1}), json!({})];
        double::partial().expand_kwargs(dag, rows);
    });
    let engine = engine();
    let report = run(&engine, &definition);
    let failed = TaskState::Failed;
    let expected = [(0, TaskState::Success), (1, failed), (2, failed), (3, failed)];
    assert_eq!(states(&engine, "d", "double"), expected);
    let failures = &report.tasks[0].instances.as_ref().unwrap().failures;
    let of = |map_index| &failures.iter().find(|failure| failure.map_index == map_index).unwrap().failure;
    assert!(of(1).message.contains("this element is a"), "{:?}", of(1));
    assert!(of(2).message.contains("no argument `m`"), "{:?}", of(2));
    assert!(of(3).message.contains("argument `n`") && !of(3).hints.is_empty(), "{:?}", of(3));
}

#[test]
fn the_value_of_another_task_is_shared_by_all_instances() {
    #[task]
    fn suffix() -> String {
        "?".into()
    }
    let definition = DagDefinition::new("d", |dag| {
        let suffix = suffix(dag);
        join(dag, expand(["a", "b"]), "-", suffix);
        join::partial().right("-").end(suffix).expand_kwargs(dag, vec![json!({"left": "c"})]);
    });
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    assert_eq!(texts(&engine, "d", "join"), [r#""a-?""#, r#""b-?""#]);
    assert_eq!(texts(&engine, "d", "join__1"), [r#""c-?""#]);
}

#[test]
fn instances_that_returned_nothing_are_no_elements_and_a_gap_keeps_its_place() {
    #[task]
    fn places(ns: Vec<Option<i64>>) -> String {
        format!("{ns:?}")
    }
    let definition = DagDefinition::new("d", |dag| {
        let odd = odd_only(dag, expand([1, 2, 3]));
        double(dag, expand(odd));
        // `Vec<T>` has what exists, `Vec<Option<T>>` a gap for what does not.
        total(dag, odd);
        places(dag, odd);
    });
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    assert_eq!(values(&engine, "d", "odd_only").iter().map(|value| value.0).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(values(&engine, "d", "double"), [(0, "2".to_owned()), (1, "6".to_owned())]);
    assert_eq!(texts(&engine, "d", "total"), ["4"]);
    assert_eq!(texts(&engine, "d", "places"), [r#""[Some(1), None, Some(3)]""#]);
}

#[test]
fn null_is_an_element() {
    #[task]
    fn is_some(n: Option<i64>) -> bool {
        n.is_some()
    }
    #[task]
    fn maybe() -> Vec<Option<i64>> {
        vec![None, Some(1)]
    }
    let definition = DagDefinition::new("d", |dag| {
        is_some(dag, expand(maybe(dag)));
    });
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    assert_eq!(texts(&engine, "d", "is_some"), ["false", "true"]);
}

#[test]
fn a_mapped_task_is_expanded_over_again_also_with_one_element() {
    let definition = DagDefinition::new("d", |dag| {
        total(dag, double(dag, expand(double(dag, expand([21])))));
    });
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    assert_eq!(values(&engine, "d", "double__1"), [(0, "84".to_owned())]);
    assert_eq!(texts(&engine, "d", "total"), ["84"]);
}

#[test]
fn the_output_of_a_mapped_group_is_expanded_over_again() {
    let definition = DagDefinition::new("d", |dag| {
        let group =
            dag.expand_group("g", expand(numbers(dag)), |dag, n: XComArg<i64>| double(dag, double(dag, n)));
        total(dag, double(dag, expand(group.output)));
    });
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    assert_eq!(texts(&engine, "d", "double"), ["8", "16", "24"]);
    assert_eq!(texts(&engine, "d", "total"), ["48"]);
}

#[test]
fn elements_can_be_under_another_key() {
    #[task]
    fn pushes(ti: &TaskInstance) -> Result<i64> {
        ti.xcom_push("rows", &[5, 6])?;
        Ok(0)
    }
    let definition = DagDefinition::new("d", |dag| {
        let rows = pushes(dag);
        double(dag, expand(rows.output::<Vec<i64>>("rows")));
        double(dag, expand(rows.output::<Vec<i64>>("never")));
    });
    let engine = engine();
    let report = run(&engine, &definition);
    assert_eq!(texts(&engine, "d", "double"), ["10", "12"]);
    assert_eq!(states(&engine, "d", "double__1"), [(-1, TaskState::UpstreamFailed)]);
    let failure = report.task("double__1").unwrap().failure.as_ref().unwrap();
    assert!(failure.message.contains("`never`"), "{failure:?}");
}

#[test]
fn a_task_behind_what_failed_is_not_expanded() {
    let definition = DagDefinition::new("d", |dag| {
        let broken = fails(dag);
        double(dag, expand(broken));
        dag.task(double(dag, expand(broken))).trigger_rule(TriggerRule::AllDone);
    });
    let engine = engine();
    assert!(!run(&engine, &definition).succeeded());
    assert_eq!(states(&engine, "d", "double"), [(-1, TaskState::UpstreamFailed)]);
    assert_eq!(states(&engine, "d", "double__1"), [(-1, TaskState::UpstreamFailed)]);
}

#[test]
fn a_trigger_rule_that_does_not_wait_cannot_be_mapped() {
    let definition = DagDefinition::new("d", |dag| {
        dag.task(double(dag, expand(numbers(dag)))).trigger_rule(TriggerRule::Always);
    });
    let error = definition.graph().unwrap_err();
    assert!(error.to_string().contains("`always`") && error.to_string().contains("`double`"), "{error}");
}

#[test]
fn instances_that_a_shorter_list_leaves_over_are_removed() {
    #[task]
    fn shrinking(ti: &TaskInstance) -> Vec<i64> {
        if ti.try_number() == 1 { vec![1, 2, 3, 4] } else { vec![10, 20] }
    }
    let definition = DagDefinition::new("d", |dag| {
        let doubled = double(dag, expand(shrinking(dag)));
        total(dag, doubled);
        double(dag, expand(doubled));
    });
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    assert_eq!(texts(&engine, "d", "total"), ["20"]);
    let again = Rerun::From(vec!["shrinking".into()]);
    let report =
        on_runtime(Runner::new(engine.clone()).rerun(&definition, "r", again, Cancellation::new())).unwrap();
    assert!(report.succeeded(), "{report:?}");
    let (success, removed) = (TaskState::Success, TaskState::Removed);
    let expected = [(0, success), (1, success), (2, removed), (3, removed)];
    assert_eq!(states(&engine, "d", "double"), expected);
    // Neither the sequence nor what is expanded over it has what was removed.
    assert_eq!(texts(&engine, "d", "total"), ["60"]);
    assert_eq!(states(&engine, "d", "double__1"), expected);
    let second: Vec<String> =
        (0..2).map(|i| text_of(&engine, &xcom("double__1", i, "return_value")).unwrap()).collect();
    assert_eq!(second, ["40", "80"]);
}

#[test]
fn values_are_streamed_with_their_real_map_indexes() {
    #[task]
    fn walk(values: Mapped<i64>) -> Result<Vec<(i32, i64)>> {
        assert_eq!((values.len()?, values.is_empty()?), (2, false));
        assert_eq!((values.get(2)?, values.get(1)?), (Some(3), None));
        Ok(values.iter().collect::<excom_core::Result<_>>()?)
    }
    let definition = DagDefinition::new("d", |dag| {
        walk(dag, odd_only(dag, expand([1, 2, 3])).output::<i64>("return_value"));
    });
    let engine = engine();
    let report = run(&engine, &definition);
    assert!(report.succeeded(), "{report:?}");
    assert_eq!(texts(&engine, "d", "walk"), ["[[0,1],[2,3]]"]);
}

#[test]
fn a_stream_is_longer_than_a_page() {
    #[task]
    fn sum(values: Mapped<i64>) -> Result<i64> {
        let mut sum = 0;
        for value in values.iter() {
            sum += value?.1;
        }
        Ok(sum)
    }
    let definition = DagDefinition::new("d", |dag| {
        let many: Vec<i64> = (0..1500).collect();
        sum(dag, double(dag, expand(many)));
    });
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    assert_eq!(texts(&engine, "d", "sum"), [(2 * 1499 * 1500 / 2).to_string()]);
}

#[test]
fn every_instance_is_a_reader_of_what_it_was_expanded_over() {
    let definition = DagDefinition::new("d", |dag| {
        double(dag, expand(numbers(dag)));
    });
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    let readers = pollster::block_on(
        engine.readers(&excom_core::Caller::user("test"), &xcom("numbers", -1, "return_value")),
    )
    .unwrap();
    let text = format!("{readers:?}");
    assert!(readers.len() >= 3 && text.contains("double"), "{text}");
}
