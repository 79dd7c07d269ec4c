//! What the end of a body pushes: nothing for nothing, several outputs, and what mapping asks of a result.

use excom::prelude::*;
use excom_core::{Engine, TaskState, ValueStore};
use excom_flow::{Cancellation, DagDefinition, Rerun, RunOptions, RunReport, Runner, SkipDownstream};
use serde_json::{Value as Json, json};

use crate::support::{engine, on_runtime, run, run_with, states, texts};
use crate::{text_of, xcom};

#[task]
fn take(n: Json) -> Json {
    n
}

/// Runs a DAG in which something is expanded over what a task returns, with a limit of three elements.
fn expanded_over(returns: impl Fn() -> Json + Send + Sync + Clone + 'static) -> (Engine, RunReport) {
    #[derive(Clone)]
    struct Returns<F>(F);
    impl<F> std::fmt::Debug for Returns<F> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Returns")
        }
    }
    impl<F: Fn() -> Json + Send + Sync + Clone + 'static> Operator for Returns<F> {
        type Output = Json;

        fn fields(&mut self) -> Vec<(std::borrow::Cow<'static, str>, &mut Field)> {
            Vec::new()
        }

        async fn execute(self, ti: TaskInstance) -> Result<Json> {
            ti.axcom_push("manual", &1).await?;
            Ok((self.0)())
        }
    }
    let definition = DagDefinition::new("d", move |dag| {
        let produced = dag.add("produce", Returns(returns.clone())).output();
        take(dag, expand(produced.output::<Vec<Json>>("return_value")));
    });
    let engine = engine();
    let runner = Runner::new(engine.clone()).max_map_length(3);
    let report = run_with(&runner, &definition, RunOptions::new());
    (engine, report)
}

#[test]
fn what_is_expanded_over_must_be_a_list_or_a_dict() {
    for (value, what) in [(json!(null), "returned nothing"), (json!("text"), "string"), (json!(5), "number")]
    {
        let (engine, report) = expanded_over(move || value.clone());
        let failure = report.tasks[0].failure.as_ref().unwrap();
        assert_eq!(report.tasks[0].state, TaskState::Failed);
        assert!(failure.message.contains("expanded over") && failure.message.contains(what), "{failure:?}");
        assert!(!failure.hints.is_empty(), "{failure:?}");
        assert_eq!(texts(&engine, "d", "produce"), [""; 0]);
        assert_eq!(text_of(&engine, &xcom("produce", -1, "manual")).unwrap(), "1");
        assert_eq!(states(&engine, "d", "take"), [(-1, TaskState::UpstreamFailed)]);
    }
    let (engine, report) = expanded_over(|| json!({"b": 1, "a": 2}));
    assert!(report.succeeded(), "{report:?}");
    assert_eq!(texts(&engine, "d", "take"), [r#"["b",1]"#, r#"["a",2]"#]);
}

#[test]
fn the_length_limit_is_met_where_the_list_is_made() {
    let (_, report) = expanded_over(|| json!([1, 2, 3]));
    assert!(report.succeeded(), "{report:?}");
    let (engine, report) = expanded_over(|| json!([1, 2, 3, 4]));
    let failure = report.tasks[0].failure.as_ref().unwrap();
    assert!(failure.message.contains("4 elements") && failure.message.contains("at most 3"), "{failure:?}");
    assert!(failure.hints.iter().any(|hint| hint.contains("max_map_length")), "{failure:?}");
    assert_eq!(texts(&engine, "d", "produce"), [""; 0]);
}

#[test]
fn the_length_limit_counts_for_products_and_mapped_tasks_too() {
    #[task]
    fn two(left: i64, right: i64) -> i64 {
        left * right
    }
    let definition = DagDefinition::new("d", |dag| {
        two(dag, expand([1, 2]), expand([1, 2, 3]));
        dag.expand_group("g", expand([1, 2, 3, 4, 5, 6]), |dag, n: XComArg<i64>| two(dag, n, n));
    });
    let engine = engine();
    let report = run_with(&Runner::new(engine.clone()).max_map_length(5), &definition, RunOptions::new());
    let failure = report.tasks[0].failure.as_ref().unwrap();
    assert!(failure.message.contains("2 × 3") && failure.message.contains("at most 5"), "{failure:?}");
    assert_eq!(states(&engine, "d", "two"), [(-1, TaskState::Failed)]);
    assert_eq!(states(&engine, "d", "g.two"), [(-1, TaskState::Failed)]);
    let report =
        run_with(&Runner::new(crate::support::engine()).max_map_length(6), &definition, RunOptions::new());
    assert!(report.succeeded(), "{report:?}");
}

#[test]
fn a_list_that_nothing_is_expanded_over_may_be_as_long_as_it_likes() {
    #[task]
    fn long() -> Vec<u32> {
        (0..10).collect()
    }
    #[task]
    fn count(ns: Vec<u32>) -> usize {
        ns.len()
    }
    let definition = DagDefinition::new("d", |dag| {
        let long = long(dag);
        count(dag, long);
        // Changed and handed over as a list, it is not expanded either.
        count(dag, long.map(|n| n + 1));
    });
    let engine = engine();
    let report = run_with(&Runner::new(engine.clone()).max_map_length(3), &definition, RunOptions::new());
    assert!(report.succeeded(), "{report:?}");
    assert_eq!(
        (texts(&engine, "d", "count"), texts(&engine, "d", "count__1")),
        (vec!["10".into()], vec!["10".into()])
    );
}

#[test]
fn a_task_that_pushes_nothing_cannot_be_expanded_over() {
    #[task]
    fn list() -> Vec<i64> {
        vec![1]
    }
    let definition = DagDefinition::new("d", |dag| {
        let list = list(dag);
        dag.task(list).do_xcom_push(false);
        take(dag, expand(list.map(|n| json!(n))));
    });
    let error = definition.graph().unwrap_err();
    assert!(error.to_string().contains("task `list` pushes nothing"), "{error}");
    assert!(!error.hints().is_empty());
}

#[test]
fn a_mapped_task_may_return_nothing_where_something_is_expanded_over_it() {
    #[task]
    fn nothing(n: i64) {
        let _ = n;
    }
    let definition = DagDefinition::new("d", |dag| {
        let nothing = nothing(dag, expand([1, 2]));
        take(dag, expand(nothing.map(|()| json!(1))));
    });
    let engine = engine();
    let report = run(&engine, &definition);
    assert!(report.succeeded(), "{report:?}");
    assert_eq!(states(&engine, "d", "take"), [(-1, TaskState::Skipped)]);
}

#[test]
fn do_xcom_push_false_leaves_manual_pushes_and_ignores_outputs() {
    #[task(do_xcom_push = false, multiple_outputs)]
    fn quiet(ti: &TaskInstance) -> Result<Json> {
        ti.xcom_push("manual", &1)?;
        Ok(json!({"a": 1}))
    }
    let definition = DagDefinition::new("d", |dag| {
        quiet(dag);
    });
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    assert_eq!(text_of(&engine, &xcom("quiet", -1, "manual")).unwrap(), "1");
    assert_eq!(text_of(&engine, &xcom("quiet", -1, "a")), None);
    assert_eq!(text_of(&engine, &xcom("quiet", -1, "return_value")), None);
}

#[test]
fn each_instance_pushes_its_own_outputs() {
    #[task(multiple_outputs)]
    fn split(n: i64) -> Json {
        json!({"half": n / 2, "rest": n % 2, "none": null})
    }
    #[task]
    fn sum(ns: Vec<i64>) -> i64 {
        ns.iter().sum()
    }
    let definition = DagDefinition::new("d", |dag| {
        let parts = split(dag, expand([5, 8]));
        sum(dag, parts.output::<i64>("half"));
    });
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    assert_eq!(text_of(&engine, &xcom("split", 1, "half")).unwrap(), "4");
    assert_eq!(text_of(&engine, &xcom("split", 1, "none")).unwrap(), "null");
    assert_eq!(texts(&engine, "d", "sum"), ["6"]);
}

#[test]
fn a_branch_pushes_what_it_followed_and_not_what_it_returned() {
    #[task]
    fn choose(ti: &TaskInstance) -> i64 {
        ti.skip_downstream(SkipDownstream::AllBut(vec!["left".into()]));
        1
    }
    #[task]
    fn cut(ti: &TaskInstance) -> i64 {
        ti.skip_downstream(SkipDownstream::Direct);
        1
    }
    #[task]
    fn passes(ti: &TaskInstance) -> i64 {
        ti.skip_downstream(SkipDownstream::AllBut(vec!["end".into()]));
        1
    }
    let definition = DagDefinition::new("d", |dag| {
        let choose = choose(dag);
        let left = dag.bash("left", "true").after(choose);
        dag.bash("right", "true").after(choose);
        let cut = cut(dag);
        dag.task(cut).after(left);
        dag.bash("behind", "true").after(cut);
        let passes = passes(dag);
        dag.bash("end", "true").after(passes);
    });
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    let mixin = |task: &str| text_of(&engine, &xcom(task, -1, "skipmixin_key"));
    let returned = |task: &str| text_of(&engine, &xcom(task, -1, "return_value"));
    assert_eq!((mixin("choose").unwrap().as_str(), returned("choose")), (r#"{"followed":["left"]}"#, None));
    assert_eq!((mixin("cut").unwrap().as_str(), returned("cut")), (r#"{"skipped":["behind"]}"#, None));
    // What skips nothing pushes what it returned too.
    assert_eq!(
        (mixin("passes").unwrap(), returned("passes").unwrap()),
        (r#"{"followed":["end"]}"#.into(), "1".into())
    );
    assert_eq!(states(&engine, "d", "right"), [(-1, TaskState::Skipped)]);
}

#[test]
fn a_choice_that_is_stored_outside_of_the_database_is_known_when_tasks_run_again() {
    let followed = "f".repeat(200);
    let definition = DagDefinition::new("d", move |dag| {
        let choose = choose_long(dag);
        dag.bash(&followed, "true").after(choose);
        let before = dag.bash("before", "true");
        dag.bash("right", "true").after(choose).after(before);
    });
    let (engine, store) = crate::offloading();
    assert!(run(&engine, &definition).succeeded());
    let objects = pollster::block_on(store.list(None, 10)).unwrap();
    assert!(!objects.is_empty(), "the choice is inline, so this shows nothing");
    let again = Rerun::From(vec!["before".into()]);
    let runner = Runner::new(engine.clone());
    let report = on_runtime(runner.rerun(&definition, "r", again, Cancellation::new())).unwrap();
    assert!(report.succeeded(), "{report:?}");
    assert_eq!(states(&engine, "d", "right"), [(-1, TaskState::Skipped)]);
}

#[task]
fn choose_long(ti: &TaskInstance) {
    ti.skip_downstream(SkipDownstream::AllBut(vec!["f".repeat(200)]));
}
