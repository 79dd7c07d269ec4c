//! DAGs that are wrong: each is refused when it is built, with what is wrong, where, and what to do; and values
//! that are wrong fail the task instance that meets them.

use std::cell::RefCell;
use std::collections::HashMap;

use excom::prelude::*;
use excom_core::{ErrorKind, TaskState};
use excom_flow::{DagDefinition, Group, Upstream};
use serde_json::{Value as Json, json};

use crate::support::{engine, run, states};

#[task]
fn one() -> i64 {
    1
}

#[task]
fn list() -> Vec<i64> {
    vec![1, 2]
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
fn stream(ns: Mapped<i64>) -> Result<u64> {
    Ok(ns.len()?)
}

/// The error of a DAG that cannot be run, which has a hint.
#[track_caller]
fn refused<R>(build: impl Fn(&Dag) -> R + Send + Sync + 'static, expected: &[&str]) {
    let definition = DagDefinition::new("d", move |dag| {
        build(dag);
    });
    let error = definition.graph().unwrap_err();
    let text = error.to_string();
    assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    assert!(text.starts_with("DAG `d` cannot be run"), "{text}");
    assert!(!error.hints().is_empty(), "{text}: no hint");
    for expected in expected {
        assert!(text.contains(expected), "`{expected}` is not in: {text}");
    }
}

#[test]
fn cycles() {
    refused(
        |dag| {
            let a = dag.bash("a", "true");
            let b = dag.bash("b", "true").after(a);
            a.after(b);
        },
        &["wait for each other", "a → b → a"],
    );
    refused(
        |dag| {
            let a = dag.bash("a", "true");
            a.after(a);
        },
        &["`a` waits for itself"],
    );
    refused(
        |dag| {
            let last = dag.bash("last", "true");
            let group = dag.group("g", |dag| {
                dag.bash("a", "true");
            });
            last.after(&group);
            let _ = group.after(last);
        },
        &["wait for each other", "g.a"],
    );
    refused(
        |dag| {
            // A mapped group whose elements come from behind it.
            let late = dag.add("late", excom_flow::Bash::new("true"));
            let over = late.output().output::<Vec<i64>>("return_value");
            let group = dag.expand_group("g", expand(over), |dag, n: XComArg<i64>| {
                double(dag, n);
            });
            late.after(&group);
        },
        &["wait for each other"],
    );
}

#[test]
fn one_name_for_two() {
    refused(
        |dag| {
            dag.bash("a", "true");
            dag.bash("a", "true");
        },
        &["two tasks", "`a`"],
    );
    refused(
        |dag| {
            dag.bash("g", "true");
            dag.group("g", |_| ());
        },
        &["a group and a task", "`g`"],
    );
    refused(
        |dag| {
            dag.group("g", |_| ());
            dag.group("g", |_| ());
        },
        &["two groups", "`g`"],
    );
    refused(
        |dag| {
            dag.group("g", |dag| dag.bash("a", "true").output());
            dag.bash("g.a", "true");
        },
        &["`g.a`"],
    );
}

#[test]
fn names_that_cannot_be() {
    refused(|dag| dag.bash("", "true").output(), &["task"]);
    refused(|dag| dag.bash(&"t".repeat(251), "true").output(), &["250"]);
}

#[test]
fn what_is_of_another_dag_is_refused_in_every_position() {
    type Other = (XComArg<i64>, XComArg<i64, Many>, XComArg<Vec<i64>>, Upstream);
    thread_local! {
        static OTHER: RefCell<Option<Other>> = const { RefCell::new(None) };
    }
    fn position<R: 'static>(build: fn(&Dag, Other) -> R, what: &str) {
        let definition = DagDefinition::new("d", move |dag| {
            build(dag, OTHER.with_borrow(|other| other.unwrap()));
        });
        let error = definition.graph().unwrap_err();
        assert!(error.to_string().contains("another DAG"), "{what}: {error}");
        assert!(!error.hints().is_empty(), "{what}");
    }
    let other = DagDefinition::new("other", |dag| {
        let one = one(dag);
        let many = double(dag, expand([1]));
        let list = list(dag);
        let group: Group<'_, ()> = dag.group("g", |dag| {
            dag.bash("in", "true");
        });
        let upstream = Upstream::from(&group);
        OTHER.with_borrow_mut(|other| *other = Some((one, many, list, upstream)));
    });
    other.graph().unwrap();
    position(|dag, other| double(dag, other.0), "argument");
    position(|dag, other| total(dag, other.1), "values of a mapped task");
    position(|dag, other| stream(dag, other.1), "stream");
    position(|dag, other| double(dag, expand(other.1)), "expanded mapped task");
    position(|dag, other| double(dag, expand(other.2)), "expanded list");
    position(|dag, other| total(dag, other.2.map(|n| n)), "sequence as a list");
    position(|dag, other| total(dag, list(dag).zip(other.2).map(|(n, _)| n)), "zipped");
    position(|dag, other| dag.expand_group("h", expand(other.2), double).output, "group");
    position(
        |dag, other| {
            double::partial().n(other.0).expand_kwargs(dag, vec![json!({})]);
        },
        "partial",
    );
    position(
        |dag, other| {
            double::partial().expand_kwargs(dag, other.2);
        },
        "dicts of arguments",
    );
    position(|dag, other| dag.bash("b", "true").env("N", other.0).output(), "field");
    position(|dag, other| dag.bash("b", "true").after(other.0).output(), "order");
    position(|dag, other| dag.bash("b", "true").after(other.3).output(), "order after a group");
    position(|dag, other| drop(dag.group("h", |_| ()).after(other.3)), "order of a group");
    position(|dag, other| drop(Box::new(dag.task(other.0).retries(1))), "handle");
    position(|dag, other| dag.bash("b", "true").teardown_of(other.0).output(), "setup");
}

#[test]
fn what_is_inside_a_mapped_group_is_not_one_value_outside() {
    type Inside = (XComArg<i64>, XComArg<i64>, XComArg<Vec<i64>>);
    thread_local! {
        static INSIDE: RefCell<Option<Inside>> = const { RefCell::new(None) };
    }
    fn group(dag: &Dag) -> Inside {
        dag.expand_group("g", expand([1, 2]), |dag, n: XComArg<i64>| {
            let inside = (n, double(dag, n), list(dag));
            INSIDE.with_borrow_mut(|place| *place = Some(inside));
        });
        INSIDE.with_borrow(|inside| inside.unwrap())
    }
    refused(|dag| double(dag, group(dag).0), &["element of a mapped group", "argument `n`"]);
    refused(|dag| double(dag, group(dag).1), &["one value out of the mapped group `g`"]);
    refused(|dag| double(dag, expand(group(dag).2)), &["argument `n`", "mapped"]);
    refused(|dag| total(dag, group(dag).2.map(|n| n)), &["argument `ns`", "mapped"]);
}

#[test]
fn what_is_expanded_inside_of_a_mapped_group() {
    refused(
        |dag| {
            dag.expand_group("g", expand([1, 2]), |dag, n: XComArg<i64>| {
                double(dag, expand([1, 2]));
                double(dag, n);
            });
        },
        &["`g.double` is expanded inside the mapped group `g`"],
    );
    refused(
        |dag| {
            dag.expand_group("g", expand([1, 2]), |dag, _: XComArg<i64>| {
                dag.expand_group("h", expand([1]), double);
            });
        },
        &["mapped group `g.h` is inside the mapped group `g`"],
    );
    refused(
        |dag| {
            dag.expand_group("g", expand([vec![1]]), |dag, n: XComArg<Vec<i64>>| {
                double(dag, expand(n));
            });
        },
        &["element of a mapped task group"],
    );
    refused(
        |dag| {
            dag.expand_group("g", expand(["1"]), |dag, n: XComArg<String>| {
                let first = dag.bash("first", "echo $N").env("N", n);
                // All instances of what is beside it, some of which may not have run yet.
                dag.bash("second", "true").env("ALL", first.outputs());
            });
        },
        &["all instances of the mapped group `g`", "`g.second`"],
    );
}

#[test]
fn rules_that_do_not_wait_inside_of_a_mapped_group() {
    refused(
        |dag| {
            dag.expand_group("g", expand([1]), |dag, n: XComArg<i64>| {
                dag.task(double(dag, n)).trigger_rule(TriggerRule::Always);
            });
        },
        &["`g.double` is mapped", "`always`"],
    );
}

#[test]
fn output_and_outputs_mixed_up() {
    refused(
        |dag| {
            let mapped = dag.bash("a", "echo $N").env("N", expand(vec!["1"]));
            dag.bash("b", "true").env("A", mapped.output());
        },
        &["one value of a task that is mapped", "of task `b`"],
    );
    refused(
        |dag| {
            let plain = dag.bash("a", "echo 1");
            dag.bash("b", "true").env("A", plain.outputs());
        },
        &["the task is not mapped", "of task `b`"],
    );
}

#[test]
fn every_problem_is_told_at_once() {
    let error = DagDefinition::new("d", |dag| {
        dag.bash("a", "true");
        dag.bash("a", "true");
        dag.task(double(dag, expand([1]))).trigger_rule(TriggerRule::Always);
    })
    .graph()
    .unwrap_err();
    assert!(error.to_string().contains("for 2 reasons"), "{error}");
}

#[test]
fn values_that_are_no_json() {
    refused(|dag| measure(dag, f64::NAN), &["argument `n` of task `measure`"]);
    refused(|dag| measure(dag, expand([1.0, f64::INFINITY])), &["argument `n` of task `measure`"]);
    let definition = DagDefinition::new("d", |dag| {
        nan(dag);
        odd_names(dag);
        measure(dag, 1.0);
        measure(dag, expand(list(dag).map(|n| if n == 1 { f64::NAN } else { 1.0 })));
    });
    let engine = engine();
    let report = run(&engine, &definition);
    let message = |task: &str| report.task(task).unwrap().failure.as_ref().unwrap().message.clone();
    assert!(message("nan").contains("the return value"), "{}", message("nan"));
    assert!(message("odd_names").contains("the return value"), "{}", message("odd_names"));
    assert_eq!(states(&engine, "d", "measure__1"), [(0, TaskState::Failed), (1, TaskState::Success)]);
    assert!(message("measure__1").contains("what `map` made of an element"), "{}", message("measure__1"));
}

#[task]
fn measure(n: f64) -> f64 {
    n
}

#[task]
fn nan() -> f64 {
    f64::NAN
}

#[task]
fn odd_names() -> HashMap<Option<u8>, u8> {
    HashMap::from([(None, 1)])
}

#[test]
fn an_element_of_the_wrong_type_fails_its_instance_only() {
    #[task]
    fn mixed() -> Json {
        json!([1, "two", 3])
    }
    let definition = DagDefinition::new("d", |dag| {
        let mixed = mixed(dag).output::<Vec<i64>>("return_value");
        double(dag, expand(mixed));
        double(dag, expand(mixed.filter(|n| *n > 1)));
    });
    let engine = engine();
    let report = run(&engine, &definition);
    let (success, failed) = (TaskState::Success, TaskState::Failed);
    assert_eq!(states(&engine, "d", "double"), [(0, success), (1, failed), (2, success)]);
    let failure = report.task("double").unwrap().failure.as_ref().unwrap();
    assert!(failure.message.contains("argument `n`"), "{failure:?}");
    // A filter looks at every element before there are instances.
    assert_eq!(states(&engine, "d", "double__1"), [(-1, failed)]);
    let failure = report.task("double__1").unwrap().failure.as_ref().unwrap();
    assert!(failure.message.contains("an element for `filter`"), "{failure:?}");
}

#[test]
fn dags_and_groups_without_tasks_are_done_at_once() {
    let report = run(&engine(), &DagDefinition::new("d", |_| ()));
    assert!(report.succeeded() && report.tasks.is_empty(), "{report:?}");
    let definition = DagDefinition::new("d", |dag| {
        let before = dag.bash("before", "true");
        let empty = dag.group("empty", |_| ()).after(before);
        dag.expand_group("mapped", expand([1, 2]), |_, _: XComArg<i64>| ());
        dag.bash("last", "true").after(&empty);
    });
    let engine = engine();
    let report = run(&engine, &definition);
    assert!(report.succeeded() && report.warnings.is_empty(), "{report:?}");
    assert_eq!(states(&engine, "d", "last"), [(-1, TaskState::Success)]);
}

#[test]
fn a_panic_in_a_function_of_a_sequence_fails_the_task_and_not_the_run() {
    let definition = DagDefinition::new("d", |dag| {
        double(dag, expand(list(dag).map(|n| if n == 1 { panic!("in map") } else { n })));
        double(dag, expand(list(dag).filter(|_| panic!("in filter"))));
        dag.bash("aside", "true");
    });
    let engine = engine();
    let report = run(&engine, &definition);
    assert!(report.warnings.is_empty(), "{report:?}");
    assert_eq!(states(&engine, "d", "double"), [(0, TaskState::Failed), (1, TaskState::Success)]);
    assert_eq!(states(&engine, "d", "double__1"), [(-1, TaskState::Failed)]);
    assert_eq!(states(&engine, "d", "aside"), [(-1, TaskState::Success)]);
}
