//! Task groups: ids, orders of whole groups, groups in groups, and groups that run once for each element.

use excom::prelude::*;
use excom_core::TaskState;
use excom_flow::{DagDefinition, Upstream};

use crate::support::{engine, run, states, texts};

#[task]
fn one() -> i64 {
    1
}

#[task]
fn add(left: i64, right: i64) -> i64 {
    left + right
}

#[task]
fn total(ns: Vec<i64>) -> i64 {
    ns.iter().sum()
}

#[task]
fn fails_for_two(n: i64) -> Result<i64> {
    if n == 2 { Err("two".into()) } else { Ok(n) }
}

fn upstream(definition: &DagDefinition, task_id: &str) -> Vec<String> {
    let graph = definition.graph().unwrap();
    graph.task(task_id).unwrap().upstream().map(ToOwned::to_owned).collect()
}

#[test]
fn tasks_have_the_ids_of_the_groups_around_them() {
    let definition = DagDefinition::new("d", |dag| {
        dag.group("outer", |dag| {
            let first = one(dag);
            let inner = dag.group("inner", |dag| (one(dag), one(dag)));
            add(dag, first, inner.output.0);
        });
        one(dag);
    });
    let graph = definition.graph().unwrap();
    let ids: Vec<&str> = graph.tasks().iter().map(excom_flow::Task::id).collect();
    assert_eq!(ids, ["outer.one", "outer.inner.one", "outer.inner.one__1", "outer.add", "one"]);
    assert_eq!(upstream(&definition, "outer.add"), ["outer.one", "outer.inner.one"]);
}

#[test]
fn a_group_is_ordered_as_a_whole() {
    let definition = DagDefinition::new("d", |dag| {
        let before = dag.bash("before", "true");
        let group = dag.group("g", |dag| {
            let a = dag.bash("a", "true");
            dag.bash("b", "true").after(a);
            dag.bash("c", "true").after(a);
            dag.bash("d", "true");
        });
        let group = group.after(before);
        let second = dag.group("h", |dag| dag.bash("e", "true").output());
        let second = second.after(&group);
        dag.bash("last", "true").after(&second);
    });
    assert_eq!(upstream(&definition, "g.a"), ["before"]);
    assert_eq!(upstream(&definition, "g.b"), ["g.a"]);
    assert_eq!(upstream(&definition, "g.d"), ["before"]);
    assert_eq!(upstream(&definition, "h.e"), ["g.b", "g.c", "g.d"]);
    assert_eq!(upstream(&definition, "last"), ["h.e"]);
}

#[test]
fn a_teardown_does_not_hold_up_what_is_behind_its_group() {
    let definition = DagDefinition::new("d", |dag| {
        let group = dag.group("g", |dag| {
            let setup = dag.bash("make", "true").setup();
            let work = dag.bash("work", "true").after(setup);
            dag.bash("remove", "false").after(work).teardown_of(setup);
        });
        dag.bash("last", "true").after(&group);
    });
    assert_eq!(upstream(&definition, "last"), ["g.work"]);
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    assert_eq!(states(&engine, "d", "g.remove"), [(-1, TaskState::Failed)]);
}

#[test]
fn a_mapped_group_runs_its_tasks_for_each_element_by_itself() {
    let definition = DagDefinition::new("d", |dag| {
        let group = dag.expand_group("g", expand([1, 2, 3]), |dag, n: XComArg<i64>| {
            let kept = fails_for_two(dag, n);
            add(dag, kept, n)
        });
        dag.task(total(dag, group.output)).trigger_rule(TriggerRule::AllDone);
    });
    let engine = engine();
    let report = run(&engine, &definition);
    let (success, failed) = (TaskState::Success, TaskState::UpstreamFailed);
    assert_eq!(states(&engine, "d", "g.add"), [(0, success), (1, failed), (2, success)]);
    assert_eq!(texts(&engine, "d", "total"), ["8"]);
    let instances = report.task("g.fails_for_two").unwrap().instances.clone().unwrap();
    assert_eq!((instances.total, instances.success, instances.failed), (3, 2, 1));
}

#[test]
fn plain_groups_can_be_in_mapped_ones_and_around_them() {
    let definition = DagDefinition::new("d", |dag| {
        let outer = dag.group("outer", |dag| {
            let over = dag.expand_group("each", expand([10, 20]), |dag, n: XComArg<i64>| {
                let inner = dag.group("deep", |dag| add(dag, n, 1));
                add(dag, inner.output, 100)
            });
            total(dag, over.output)
        });
        add(dag, outer.output, 0);
    });
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    assert_eq!(texts(&engine, "d", "outer.each.deep.add"), ["11", "21"]);
    assert_eq!(texts(&engine, "d", "outer.total"), ["232"]);
    assert_eq!(texts(&engine, "d", "add"), ["232"]);
}

#[test]
fn a_mapped_group_waits_for_its_elements_and_for_what_it_is_after() {
    #[task]
    fn numbers() -> Vec<i64> {
        vec![1, 2]
    }
    let definition = DagDefinition::new("d", |dag| {
        let numbers = numbers(dag);
        let ready = dag.bash("ready", "true");
        let group = dag.expand_group("g", expand(numbers), |dag, n: XComArg<i64>| {
            // Takes no element, and waits for them all the same.
            let quiet = dag.bash("quiet", "true");
            dag.task(add(dag, n, n)).after(quiet);
        });
        let group = group.after(ready);
        dag.bash("last", "true").after(Upstream::from(&group));
    });
    assert_eq!(upstream(&definition, "g.quiet"), ["numbers", "ready"]);
    assert_eq!(upstream(&definition, "last"), ["g.add"]);
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    assert_eq!(states(&engine, "d", "g.quiet").len(), 2);
}

#[test]
fn a_mapped_group_without_elements_is_skipped_when_its_turn_comes() {
    let definition = DagDefinition::new("d", |dag| {
        let skipped = dag.bash("skipped", "exit 99");
        let broken = dag.bash("broken", "false");
        let empty: Vec<i64> = Vec::new();
        let group = dag.expand_group("g", expand(empty), |dag, n: XComArg<i64>| {
            dag.task(add(dag, n, n)).after(skipped);
            dag.task(add(dag, n, n)).after(broken);
            dag.task(add(dag, n, n)).after(broken).trigger_rule(TriggerRule::AllDone);
            add(dag, n, n)
        });
        total(dag, group.output);
    });
    let engine = engine();
    run(&engine, &definition);
    let skipped = [(-1, TaskState::Skipped)];
    assert_eq!(states(&engine, "d", "g.add"), skipped);
    assert_eq!(states(&engine, "d", "g.add__1"), [(-1, TaskState::UpstreamFailed)]);
    assert_eq!(states(&engine, "d", "g.add__2"), skipped);
    assert_eq!(states(&engine, "d", "g.add__3"), skipped);
    assert_eq!(states(&engine, "d", "total"), skipped);
}
