//! Branches and short circuits: `ti.skip_downstream`, and what it skips.

use excom::prelude::*;
use excom_core::TaskState;
use excom_flow::{Cancellation, DagDefinition, Rerun, Runner, SkipDownstream};

use crate::support::{engine, on_runtime, pushed, run, states};

/// Follows what it is told, and no more.
#[task]
fn choose(ti: &TaskInstance, followed: Vec<String>) -> u8 {
    ti.skip_downstream(SkipDownstream::AllBut(followed));
    1
}

#[task]
fn cut(ti: &TaskInstance, deep: bool) -> u8 {
    ti.skip_downstream(if deep { SkipDownstream::All } else { SkipDownstream::Direct });
    1
}

const SUCCESS: [(i32, TaskState); 1] = [(-1, TaskState::Success)];
const SKIPPED: [(i32, TaskState); 1] = [(-1, TaskState::Skipped)];

fn to(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

#[test]
fn a_branch_skips_what_it_does_not_follow_and_joins_go_on() {
    let definition = DagDefinition::new("d", |dag| {
        let choose = choose(dag, to(&["left"]));
        let left = dag.bash("left", "true").after(choose);
        let right = dag.bash("right", "true").after(choose);
        let far = dag.bash("far", "true").after(right);
        // Directly behind the branch, and behind what is followed: an empty branch's join.
        dag.bash("join", "true").after(choose).after(left).after(far).trigger_rule(TriggerRule::NoneFailed);
    });
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    assert_eq!(states(&engine, "d", "left"), SUCCESS);
    assert_eq!(states(&engine, "d", "right"), SKIPPED);
    assert_eq!(states(&engine, "d", "far"), SKIPPED);
    assert_eq!(states(&engine, "d", "join"), SUCCESS);
    assert_eq!(pushed(&engine, "d", "choose", "skipmixin_key").unwrap(), r#"{"followed":["left","join"]}"#);
}

#[test]
fn a_branch_follows_a_group_by_its_first_tasks() {
    let definition = DagDefinition::new("d", |dag| {
        let choose = choose(dag, to(&["g"]));
        let group = dag.group("g", |dag| {
            let first = dag.bash("first", "true");
            dag.bash("second", "true").after(first);
            dag.bash("other", "true");
        });
        let group = group.after(choose);
        dag.bash("right", "true").after(choose);
        dag.bash("last", "true").after(&group);
    });
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    for task in ["g.first", "g.second", "g.other", "last"] {
        assert_eq!(states(&engine, "d", task), SUCCESS, "{task}");
    }
    assert_eq!(states(&engine, "d", "right"), SKIPPED);
    let followed = pushed(&engine, "d", "choose", "skipmixin_key").unwrap();
    assert_eq!(followed, r#"{"followed":["g.first","g.other"]}"#);
}

#[test]
fn a_branch_to_nowhere_skips_all_and_an_unknown_name_fails() {
    let definition = DagDefinition::new("d", |dag| {
        let none = choose(dag, Vec::new());
        dag.bash("behind", "true").after(none);
        let wrong = choose(dag, to(&["behnid"]));
        dag.bash("other", "true").after(wrong);
    });
    let engine = engine();
    let report = run(&engine, &definition);
    assert_eq!(states(&engine, "d", "behind"), SKIPPED);
    let failure = report.task("choose__1").unwrap().failure.as_ref().unwrap();
    assert!(failure.message.contains("`behnid`"), "{failure:?}");
    assert!(failure.hints.iter().any(|hint| hint.contains("`behind`")), "{failure:?}");
    assert_eq!(states(&engine, "d", "other"), [(-1, TaskState::UpstreamFailed)]);
}

#[test]
fn a_short_circuit_skips_what_is_direct_or_everything_behind_it() {
    let definition = DagDefinition::new("d", |dag| {
        for (deep, prefix) in [(false, "near"), (true, "deep")] {
            let cut = cut(dag, deep);
            let first = dag.bash(&format!("{prefix}_first"), "true").after(cut);
            let forgiving = dag.bash(&format!("{prefix}_second"), "true").after(first);
            forgiving.trigger_rule(TriggerRule::AllDone);
        }
    });
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    assert_eq!(states(&engine, "d", "near_first"), SKIPPED);
    assert_eq!(states(&engine, "d", "near_second"), SUCCESS);
    assert_eq!(states(&engine, "d", "deep_first"), SKIPPED);
    assert_eq!(states(&engine, "d", "deep_second"), SKIPPED);
    assert_eq!(pushed(&engine, "d", "cut", "skipmixin_key").unwrap(), r#"{"skipped":["near_first"]}"#);
}

#[test]
fn what_a_slow_short_circuit_skips_does_not_run_because_a_fast_branch_skipped_what_lies_between() {
    #[task]
    async fn cut_late(ti: &TaskInstance) -> u8 {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        ti.skip_downstream(SkipDownstream::All);
        1
    }
    let definition = DagDefinition::new("d", |dag| {
        let choose = choose(dag, Vec::new());
        let cut = cut_late(dag);
        let between = dag.bash("between", "true").after(choose).after(cut);
        dag.bash("forgiving", "true").after(between).trigger_rule(TriggerRule::AllDone);
    });
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    assert_eq!(states(&engine, "d", "between"), SKIPPED);
    assert_eq!(states(&engine, "d", "forgiving"), SKIPPED);
}

#[test]
fn a_short_circuit_leaves_teardowns_to_run() {
    let definition = DagDefinition::new("d", |dag| {
        let setup = dag.bash("make", "true").setup();
        let cut = cut(dag, true);
        dag.task(cut).after(setup);
        let work = dag.bash("work", "true").after(cut);
        dag.bash("remove", "true").after(work).teardown_of(setup);
    });
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    assert_eq!(states(&engine, "d", "work"), SKIPPED);
    assert_eq!(states(&engine, "d", "remove"), SUCCESS);
}

#[test]
fn a_branch_inside_a_mapped_group_counts_for_its_own_index() {
    #[task]
    fn even(ti: &TaskInstance, n: i64) -> i64 {
        let followed = if n % 2 == 0 { "g.even_way" } else { "g.odd_way" };
        ti.skip_downstream(SkipDownstream::AllBut(to(&[followed])));
        n
    }
    let definition = DagDefinition::new("d", |dag| {
        let group = dag.expand_group("g", expand([1, 2, 3]), |dag, n: XComArg<i64>| {
            let choice = even(dag, n);
            dag.bash("even_way", "true").after(choice);
            dag.bash("odd_way", "true").after(choice);
        });
        dag.bash("last", "true").after(&group).trigger_rule(TriggerRule::NoneFailed);
    });
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    let (success, skipped) = (TaskState::Success, TaskState::Skipped);
    assert_eq!(states(&engine, "d", "g.even_way"), [(0, skipped), (1, success), (2, skipped)]);
    assert_eq!(states(&engine, "d", "g.odd_way"), [(0, success), (1, skipped), (2, success)]);
    assert_eq!(states(&engine, "d", "last"), SUCCESS);
}

#[test]
fn what_a_branch_skipped_stays_skipped_when_it_is_run_again_without_the_branch() {
    let definition = DagDefinition::new("d", |dag| {
        let choose = choose(dag, to(&["left"]));
        dag.bash("left", "true").after(choose);
        let before = dag.bash("before", "true");
        dag.bash("right", "true").after(choose).after(before);
    });
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    let again = Rerun::From(to(&["before"]));
    let runner = Runner::new(engine.clone());
    let report = on_runtime(runner.rerun(&definition, "r", again, Cancellation::new())).unwrap();
    assert!(report.succeeded(), "{report:?}");
    assert_eq!(states(&engine, "d", "right"), SKIPPED);
    assert_eq!(report.task("choose").unwrap().kept, 1);
}
