//! `map`, `filter`, `zip` and `concat`, and how an XComArg of a mapped task or group is resolved.

use std::collections::BTreeMap;

use excom::prelude::*;
use excom_core::TaskState;
use excom_flow::{DagDefinition, IntoElements};
use serde_json::{Value as Json, json};

use crate::support::{engine, run, states, texts};

#[task]
fn numbers() -> Vec<i64> {
    vec![1, 2, 3]
}

#[task]
fn names() -> Vec<String> {
    vec!["ann".into(), "bob".into()]
}

#[task]
fn ages() -> Json {
    json!({"zoe": 7, "al": 3})
}

#[task]
fn show(value: Json) -> String {
    value.to_string()
}

#[task]
fn all(values: Vec<Json>) -> String {
    Json::from(values).to_string()
}

#[task]
fn double(n: i64) -> i64 {
    2 * n
}

/// The texts that `show` makes of a sequence's elements.
fn shown<T: Serialize + serde::de::DeserializeOwned + Send + 'static>(
    sequence: impl Fn(&Dag) -> XComSequence<T> + Send + Sync + 'static,
) -> Vec<String> {
    let definition = DagDefinition::new("d", move |dag| {
        let elements = sequence(dag).map(|element| json!(element));
        show(dag, expand(elements.clone()));
        all(dag, elements);
    });
    let engine = engine();
    let report = run(&engine, &definition);
    assert!(report.succeeded(), "{report:?}");
    let text = |text: String| serde_json::from_str::<String>(&text).unwrap();
    let shown: Vec<String> = texts(&engine, "d", "show").into_iter().map(text).collect();
    // The whole as a list is the same.
    let whole = text(texts(&engine, "d", "all").remove(0));
    assert_eq!(whole, format!("[{}]", shown.join(",")));
    shown
}

#[test]
fn map_changes_each_element_and_chains() {
    assert_eq!(
        shown(|dag| numbers(dag).map(|n| n + 1).map(|n| format!("<{n}>"))),
        [r#""<2>""#, r#""<3>""#, r#""<4>""#]
    );
    // What becomes null is passed on.
    assert_eq!(shown(|dag| numbers(dag).map(|n| (n != 2).then_some(n))), ["1", "null", "3"]);
    // Of a mapped task, a parameter's like.
    assert_eq!(shown(|dag| double(dag, expand(numbers(dag))).map(|n| n + 1)), ["3", "5", "7"]);
}

#[test]
fn a_skip_in_map_skips_that_instance_and_an_error_fails_it() {
    let definition = DagDefinition::new("d", |dag| {
        let tried = numbers(dag).try_map(|n| match n {
            1 => Err(Skip::because("not one").into()),
            2 => Err("two is wrong".into()),
            n => Ok(n),
        });
        double(dag, expand(tried));
    });
    let engine = engine();
    let report = run(&engine, &definition);
    let expected = [(0, TaskState::Skipped), (1, TaskState::Failed), (2, TaskState::Success)];
    assert_eq!(states(&engine, "d", "double"), expected);
    let failure = report.task("double").unwrap().failure.as_ref().unwrap();
    assert!(failure.message.contains("two is wrong"), "{failure:?}");
    assert!(failure.read.iter().any(|read| read.contains("numbers")), "{failure:?}");
}

#[test]
fn filter_leaves_elements_out() {
    assert_eq!(shown(|dag| numbers(dag).filter(|n| n % 2 == 1)), ["1", "3"]);
    assert_eq!(shown(|dag| numbers(dag).map(|n| n * n).filter(|n| *n > 1).map(|n| n + 1)), ["5", "10"]);
}

#[test]
fn zip_is_as_long_as_the_shorter_and_with_a_fill_as_the_longer() {
    assert_eq!(shown(|dag| numbers(dag).zip(names(dag))), [r#"[1,"ann"]"#, r#"[2,"bob"]"#]);
    let filled = shown(|dag| numbers(dag).zip_fill(names(dag), (0, "nobody")));
    assert_eq!(filled, [r#"[1,"ann"]"#, r#"[2,"bob"]"#, r#"[3,"nobody"]"#]);
    let filled = shown(|dag| names(dag).zip_fill(numbers(dag), ("nobody", 0)));
    assert_eq!(filled, [r#"["ann",1]"#, r#"["bob",2]"#, r#"["nobody",3]"#]);
    let three = shown(|dag| numbers(dag).zip(names(dag)).zip(double(dag, expand(numbers(dag)))));
    assert_eq!(three, [r#"[[1,"ann"],2]"#, r#"[[2,"bob"],4]"#]);
}

#[test]
fn concat_goes_through_one_after_the_other() {
    assert_eq!(
        shown(|dag| numbers(dag).concat([9]).concat(numbers(dag))),
        ["1", "2", "3", "9", "1", "2", "3"]
    );
    assert_eq!(
        shown(|dag| double(dag, expand([4])).concat(numbers(dag)).map(|n| -n)),
        ["-8", "-1", "-2", "-3"]
    );
}

#[test]
fn dicts_are_mapped_zipped_and_concatenated_as_pairs() {
    type Ages = BTreeMap<String, i64>;
    let pairs = |dag: &Dag| -> XComSequence<(String, i64)> {
        ages(dag).output::<Ages>("return_value").into_elements()
    };
    assert_eq!(
        shown(move |dag| pairs(dag).map(|(name, age)| format!("{name}{age}"))),
        [r#""zoe7""#, r#""al3""#]
    );
    assert_eq!(shown(move |dag| pairs(dag).zip(numbers(dag))), [r#"[["zoe",7],1]"#, r#"[["al",3],2]"#]);
    assert_eq!(
        shown(move |dag| pairs(dag).concat(vec![("mia".to_owned(), 5)])),
        [r#"["zoe",7]"#, r#"["al",3]"#, r#"["mia",5]"#]
    );
}

#[test]
fn what_is_no_sequence_when_it_is_resolved_fails_with_a_hint() {
    let definition = DagDefinition::new("d", |dag| {
        let text = show(dag, json!(1)).output::<Vec<i64>>("other");
        all(dag, text.map(|n| json!(n)));
        let number = double(dag, 1).output::<Vec<i64>>("return_value");
        all(dag, number.map(|n| json!(n)));
    });
    let engine = engine();
    let report = run(&engine, &definition);
    let message = |task: &str| report.task(task).unwrap().failure.as_ref().unwrap().clone();
    assert!(message("all").message.contains("`other`"), "{:?}", message("all"));
    let failure = message("all__1");
    assert!(failure.message.contains("`return_value` of task `double`"), "{failure:?}");
    assert!(failure.hints.iter().any(|hint| hint.contains("lists and dicts")), "{failure:?}");
}

#[test]
fn inside_a_mapped_group_an_argument_is_of_the_same_index() {
    #[task]
    fn sum(left: i64, right: i64) -> Result<i64> {
        if left == 4 { Err(Skip::new().into()) } else { Ok(left + right) }
    }
    let definition = DagDefinition::new("d", |dag| {
        let group = dag.expand_group("g", expand(numbers(dag)), |dag, n: XComArg<i64>| {
            let twice = double(dag, n);
            (twice, sum(dag, twice, n))
        });
        let (twice, sums) = group.output;
        all(dag, twice.map(|n| json!(n)));
        dag.task(all(dag, sums.map(|n| json!(n)))).trigger_rule(TriggerRule::AllDone);
    });
    let engine = engine();
    let report = run(&engine, &definition);
    assert!(report.succeeded(), "{report:?}");
    assert_eq!(texts(&engine, "d", "g.sum"), ["3", "9"]);
    assert_eq!(texts(&engine, "d", "all"), [r#""[2,4,6]""#]);
    assert_eq!(texts(&engine, "d", "all__1"), [r#""[3,9]""#]);
}

#[test]
fn a_mapped_group_of_one_element_is_a_sequence_outside() {
    let definition = DagDefinition::new("d", |dag| {
        let group = dag.expand_group("g", expand([5]), |dag, n: XComArg<i64>| double(dag, n));
        all(dag, group.output.map(|n| json!(n)));
    });
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    assert_eq!(texts(&engine, "d", "all"), [r#""[10]""#]);
}

#[test]
fn the_values_of_a_mapped_task_can_be_returned_and_expanded_over() {
    #[task]
    fn same(ns: Vec<i64>) -> Vec<i64> {
        ns
    }
    let definition = DagDefinition::new("d", |dag| {
        double(dag, expand(same(dag, double(dag, expand(numbers(dag))))));
    });
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    assert_eq!(texts(&engine, "d", "same"), ["[2,4,6]"]);
    assert_eq!(texts(&engine, "d", "double__1"), ["4", "8", "12"]);
}

#[test]
fn an_element_that_looks_like_a_template_stays_as_it_is() {
    let definition = DagDefinition::new("d", |dag| {
        show(dag, expand([json!("{{ ti.task_id }}")]));
    });
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    assert_eq!(texts(&engine, "d", "show"), [r#""\"{{ ti.task_id }}\"""#]);
}
