//! Setups and teardowns: what runs whatever became of the work, and what needs its setup.

use excom::prelude::*;
use excom_core::TaskState;
use excom_flow::runner::RunState;
use excom_flow::{Cancellation, DagDefinition, Rerun, Runner};

use crate::support::{engine, on_runtime, run, state};

/// A setup, work and a teardown as commands.
fn scope(setup: &'static str, work: &'static str, teardown: &'static str) -> DagDefinition {
    DagDefinition::new("d", move |dag| {
        let setup = dag.bash("setup", setup).setup();
        let work = dag.bash("work", work).after(setup);
        dag.bash("teardown", teardown).after(work).teardown_of(setup);
    })
}

fn states(definition: &DagDefinition) -> (RunState, [TaskState; 3]) {
    let engine = engine();
    let report = run(&engine, definition);
    (report.state, ["setup", "work", "teardown"].map(|task| state(&engine, "d", task).unwrap()))
}

const OK: TaskState = TaskState::Success;

#[test]
fn a_teardown_runs_whatever_became_of_the_work() {
    assert_eq!(states(&scope("true", "true", "true")), (RunState::Success, [OK, OK, OK]));
    assert_eq!(states(&scope("true", "false", "true")), (RunState::Failed, [OK, TaskState::Failed, OK]));
    assert_eq!(states(&scope("true", "exit 99", "true")), (RunState::Success, [OK, TaskState::Skipped, OK]));
}

#[test]
fn a_teardown_needs_a_setup_that_succeeded() {
    let (failed, unrun, skipped) = (TaskState::Failed, TaskState::UpstreamFailed, TaskState::Skipped);
    assert_eq!(states(&scope("false", "true", "true")), (RunState::Failed, [failed, unrun, unrun]));
    assert_eq!(states(&scope("exit 99", "true", "true")), (RunState::Success, [skipped; 3]));
}

#[test]
fn the_failure_of_a_teardown_fails_the_run_only_when_it_counts() {
    let found = states(&scope("true", "true", "false"));
    assert_eq!(found, (RunState::Success, [OK, OK, TaskState::Failed]));
    let counts = DagDefinition::new("d", |dag| {
        let setup = dag.bash("setup", "true").setup();
        let work = dag.bash("work", "true").after(setup);
        dag.bash("teardown", "false").after(work).teardown_of(setup).on_failure_fail_dagrun();
    });
    assert_eq!(states(&counts), (RunState::Failed, [OK, OK, TaskState::Failed]));
}

#[test]
fn one_setup_of_several_is_enough_for_their_teardown() {
    let definition = DagDefinition::new("d", |dag| {
        let setup = dag.bash("setup", "true").setup();
        let other = dag.bash("other", "false").setup();
        let work = dag.bash("work", "true").after(setup).after(other);
        dag.bash("teardown", "true").after(work).teardown_of(setup).teardown_of(other);
    });
    assert_eq!(states(&definition).1, [OK, TaskState::UpstreamFailed, OK]);
}

#[test]
fn what_is_between_needs_the_setup_whatever_its_rule() {
    let between = |setup: &'static str| {
        let definition = DagDefinition::new("d", move |dag| {
            let setup = dag.bash("setup", setup).setup();
            let first = dag.bash("first", "true").after(setup);
            let work = dag.bash("work", "true").after(first).trigger_rule(TriggerRule::AllDone);
            let teardown = dag.bash("teardown", "true").after(work).teardown_of(setup);
            dag.bash("behind", "true").after(work).after(teardown).trigger_rule(TriggerRule::AllDone);
        });
        let engine = engine();
        run(&engine, &definition);
        ["work", "teardown", "behind"].map(|task| state(&engine, "d", task).unwrap())
    };
    let (unrun, skipped) = (TaskState::UpstreamFailed, TaskState::Skipped);
    assert_eq!(between("true"), [OK, OK, OK]);
    // What is behind the teardown is no longer between.
    assert_eq!(between("false"), [unrun, unrun, OK]);
    assert_eq!(between("exit 99"), [skipped, skipped, OK]);
}

#[test]
fn a_setup_without_a_teardown_is_needed_by_all_behind_it() {
    let definition = DagDefinition::new("d", |dag| {
        let setup = dag.bash("setup", "false").setup();
        let work = dag.bash("work", "true").after(setup);
        dag.bash("teardown", "true").after(work).trigger_rule(TriggerRule::AllDone);
    });
    let unrun = TaskState::UpstreamFailed;
    assert_eq!(states(&definition), (RunState::Failed, [TaskState::Failed, unrun, unrun]));
}

#[test]
fn a_teardown_waits_for_everything_between() {
    let marks = tempfile::tempdir().unwrap();
    let mark = marks.path().join("mark").display().to_string();
    let definition = DagDefinition::new("d", move |dag| {
        let setup = dag.bash("setup", "true").setup();
        let quick = dag.bash("quick", "true").after(setup);
        // Slow until the end of the work that does not wait for it.
        let slow = dag.bash("slow", r#"until test -e "$MARK"; do sleep 0.01; done; echo > "$MARK.slow""#);
        let slow = slow.env("MARK", mark.as_str()).after(setup);
        let work = dag.bash("work", r#"echo > "$MARK""#).env("MARK", mark.as_str());
        let work = work.after(quick).after(slow).trigger_rule(TriggerRule::OneSuccess);
        let teardown = dag.bash("teardown", r#"test -e "$MARK.slow""#).env("MARK", mark.as_str());
        teardown.after(work).teardown_of(setup).on_failure_fail_dagrun();
    });
    assert_eq!(states(&definition), (RunState::Success, [OK, OK, OK]));
}

#[test]
fn setups_and_teardowns_of_a_mapped_group_are_of_each_index() {
    let definition = DagDefinition::new("d", |dag| {
        dag.expand_group("g", expand(["0", "1"]), |dag, code: XComArg<String>| {
            let setup = dag.bash("setup", "exit $CODE").env("CODE", code).setup();
            let work = dag.bash("work", "false").after(setup);
            dag.bash("teardown", "true").after(work).teardown_of(setup);
        });
    });
    let engine = engine();
    run(&engine, &definition);
    let of = |task| crate::support::states(&engine, "d", task);
    assert_eq!(of("g.work"), [(0, TaskState::Failed), (1, TaskState::UpstreamFailed)]);
    assert_eq!(of("g.teardown"), [(0, OK), (1, TaskState::UpstreamFailed)]);
}

#[test]
fn running_work_again_sets_up_and_tears_down_again() {
    let definition = scope("true", "true", "true");
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    let again = Rerun::From(vec!["work".into()]);
    let runner = Runner::new(engine);
    let report = on_runtime(runner.rerun(&definition, "r", again, Cancellation::new())).unwrap();
    let tries: Vec<u32> = report.tasks.iter().map(|task| task.tries).collect();
    assert_eq!(tries, [2, 2, 2], "{report:?}");
}
