//! Runs that go on after they were interrupted, and tasks that run again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use excom::prelude::*;
use excom_core::TaskState;
use excom_flow::runner::RunState;
use excom_flow::{Cancellation, DagDefinition, Rerun, RunOptions, RunReport, Runner};

use crate::support::{engine, on_runtime, pushed, run, run_with, state, states, texts};

/// Counts how often it ran, and cancels the run the first time that it is told to.
#[derive(Debug, Clone)]
struct Counts {
    ran: Arc<AtomicUsize>,
    cancels: Option<Cancellation>,
    value: Field,
}

impl Operator for Counts {
    type Output = i64;

    fn fields(&mut self) -> Vec<(std::borrow::Cow<'static, str>, &mut Field)> {
        vec![("value".into(), &mut self.value)]
    }

    async fn execute(self, ti: TaskInstance) -> Result<i64> {
        self.ran.fetch_add(1, Ordering::Relaxed);
        ti.axcom_push("ran", &self.ran.load(Ordering::Relaxed)).await?;
        if let Some(cancellation) = self.cancels.filter(|cancellation| !cancellation.is_cancelled()) {
            cancellation.cancel();
            return Err("interrupted".into());
        }
        Ok(self.value.get::<i64>()? + 1)
    }
}

/// Three tasks in a chain, the second of which cancels the first run, and how often each ran.
fn chain(cancellation: &Cancellation) -> (DagDefinition, [Arc<AtomicUsize>; 3]) {
    let ran: [Arc<AtomicUsize>; 3] = Default::default();
    let (counters, cancellation) = (ran.clone(), cancellation.clone());
    let definition = DagDefinition::new("d", move |dag| {
        let counts =
            |place: usize, value: Field, cancels| Counts { ran: counters[place].clone(), cancels, value };
        let first = dag.add("first", counts(0, Field::value(&1), None)).output();
        let second = dag.add("second", counts(1, first.into(), Some(cancellation.clone()))).output();
        dag.add("third", counts(2, second.into(), None));
    });
    (definition, ran)
}

fn resume(engine: &excom_core::Engine, definition: &DagDefinition) -> excom_core::Result<RunReport> {
    on_runtime(Runner::new(engine.clone()).resume(definition, "r", Cancellation::new()))
}

/// How often the instances of a mapped task of three elements were tried.
fn tried(engine: &excom_core::Engine, task_id: &str) -> [usize; 3] {
    [0, 1, 2].map(|map_index| {
        let key = excom_core::TaskInstanceKey::new("d", "r", task_id, map_index).unwrap();
        pollster::block_on(engine.attempts(&key)).unwrap().len()
    })
}

fn rerun(
    engine: &excom_core::Engine,
    definition: &DagDefinition,
    what: Rerun,
) -> excom_core::Result<RunReport> {
    on_runtime(Runner::new(engine.clone()).rerun(definition, "r", what, Cancellation::new()))
}

#[test]
fn what_was_done_stays_and_what_was_interrupted_begins_its_try_again() {
    let cancellation = Cancellation::new();
    let (definition, ran) = chain(&cancellation);
    let engine = engine();
    let options = RunOptions::new().cancellation(cancellation);
    let report = run_with(&Runner::new(engine.clone()), &definition, options);
    assert_eq!(report.state, RunState::Cancelled);
    assert_eq!(state(&engine, "d", "second"), Some(TaskState::Scheduled));
    let report = resume(&engine, &definition).unwrap();
    assert!(report.succeeded(), "{report:?}");
    assert_eq!(ran.map(|ran| ran.load(Ordering::Relaxed)), [1, 2, 1]);
    assert_eq!(report.tasks.iter().map(|task| task.kept).collect::<Vec<_>>(), [1, 0, 0]);
    assert_eq!(report.tasks[1].tries, 1, "an interruption costs no try");
    // The values of what stayed are there, and what the interrupted try pushed was cleared.
    assert_eq!(pushed(&engine, "d", "first", "return_value").unwrap(), "2");
    assert_eq!(pushed(&engine, "d", "second", "ran").unwrap(), "2");
    assert_eq!(pushed(&engine, "d", "third", "return_value").unwrap(), "4");
}

#[test]
fn instances_of_a_mapped_task_are_kept_one_by_one() {
    let cancellation = Cancellation::new();
    let ran: Arc<AtomicUsize> = Arc::default();
    let definition = DagDefinition::new("d", {
        let (ran, cancellation) = (ran.clone(), cancellation.clone());
        move |dag| {
            let counts = Counts { ran: ran.clone(), cancels: None, value: expand([10, 20, 30]).into() };
            let first = dag.add("mapped", counts);
            let counts = Counts {
                ran: ran.clone(),
                cancels: Some(cancellation.clone()),
                value: expand(first.outputs()).into(),
            };
            dag.add("again", counts).max_active_tis_per_dagrun(1);
        }
    });
    let engine = engine();
    let options = RunOptions::new().cancellation(cancellation);
    run_with(&Runner::new(engine.clone()), &definition, options);
    assert_eq!(ran.load(Ordering::Relaxed), 4);
    let report = resume(&engine, &definition).unwrap();
    assert!(report.succeeded(), "{report:?}");
    assert_eq!(ran.load(Ordering::Relaxed), 7);
    assert_eq!((report.tasks[0].kept, report.tasks[1].kept), (3, 0));
    assert_eq!(texts(&engine, "d", "again"), ["12", "22", "32"]);
}

#[test]
fn parameters_and_dates_are_those_of_the_start() {
    #[task]
    fn tell(ti: &TaskInstance, n: i64) -> String {
        format!("{n} {}", ti.ds().unwrap_or_default())
    }
    #[dag(id = "d")]
    fn dated(dag: &Dag, #[param(default = 1)] n: Param<i64>) {
        tell(dag, n);
    }
    let engine = engine();
    let stopped = Cancellation::new();
    stopped.cancel();
    let options = RunOptions::new()
        .param("n", "7")
        .logical_date("2026-11-21T00:00:00Z".parse().unwrap())
        .cancellation(stopped);
    run_with(&Runner::new(engine.clone()), &dated(), options);
    assert!(resume(&engine, &dated()).unwrap().succeeded());
    assert_eq!(pushed(&engine, "d", "tell", "return_value").unwrap(), r#""7 2026-11-21""#);
}

#[test]
fn runs_that_ended_or_never_were_cannot_be_resumed() {
    let (definition, _) = chain(&Cancellation::new());
    let engine = engine();
    let error = resume(&engine, &definition).unwrap_err();
    assert!(error.to_string().contains("no run `r`") && !error.hints().is_empty(), "{error}");
    let plain = DagDefinition::new("d", |dag| {
        dag.bash("a", "true");
    });
    run(&engine, &plain);
    let error = resume(&engine, &plain).unwrap_err();
    assert!(error.to_string().contains("has ended: success"), "{error}");
    assert!(error.hints().iter().any(|hint| hint.contains("rerun")), "{error}");
    let near = on_runtime(Runner::new(engine).resume(&plain, "rr", Cancellation::new())).unwrap_err();
    assert!(near.hints().iter().any(|hint| hint.contains("`r`")), "{near}");
}

#[test]
fn running_again_clears_and_runs_what_follows() {
    #[task]
    fn tries(ti: &TaskInstance) -> Result<u32> {
        ti.xcom_push(&format!("of_try_{}", ti.try_number()), &1)?;
        Ok(ti.try_number())
    }
    #[task]
    fn same(n: u32) -> u32 {
        n
    }
    let definition = DagDefinition::new("d", |dag| {
        let tries = tries(dag);
        same(dag, same(dag, tries));
        dag.bash("aside", "true");
    });
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    let report = rerun(&engine, &definition, Rerun::From(vec!["tries".into()])).unwrap();
    assert!(report.succeeded(), "{report:?}");
    assert_eq!(pushed(&engine, "d", "tries", "of_try_1"), None);
    assert_eq!(pushed(&engine, "d", "tries", "of_try_2").unwrap(), "1");
    assert_eq!(pushed(&engine, "d", "same__1", "return_value").unwrap(), "2");
    let kept: Vec<u32> = report.tasks.iter().map(|task| task.kept).collect();
    assert_eq!(kept, [0, 0, 0, 1]);
}

#[test]
fn what_failed_runs_again_with_all_its_retries() {
    #[task(retries = 1, retry_delay = "1s")]
    fn flaky(ti: &TaskInstance) -> Result<u32> {
        if ti.try_number() < 4 { Err("not yet".into()) } else { Ok(ti.try_number()) }
    }
    #[task]
    fn behind(n: u32) -> u32 {
        n
    }
    let definition = DagDefinition::new("d", |dag| {
        dag.bash("fine", "true");
        behind(dag, flaky(dag));
    });
    let engine = engine();
    assert_eq!(run(&engine, &definition).state, RunState::Failed);
    let report = rerun(&engine, &definition, Rerun::Failed).unwrap();
    assert!(report.succeeded(), "{report:?}");
    assert_eq!((report.task("fine").unwrap().kept, report.task("flaky").unwrap().tries), (1, 4));
    assert_eq!(pushed(&engine, "d", "behind", "return_value").unwrap(), "4");
    let error = rerun(&engine, &definition, Rerun::Failed).unwrap_err();
    assert!(error.to_string().contains("nothing failed"), "{error}");
    let error = rerun(&engine, &definition, Rerun::From(vec!["flakky".into()])).unwrap_err();
    assert!(error.hints().iter().any(|hint| hint.contains("`flaky`")), "{error}");
}

#[task]
fn fails_for_two_at_first(ti: &TaskInstance, n: i64) -> Result<i64> {
    if n == 2 && ti.try_number() == 1 { Err("not yet".into()) } else { Ok(n) }
}

#[task]
fn total(ns: Vec<i64>) -> i64 {
    ns.iter().sum()
}

#[test]
fn of_a_mapped_task_only_the_instances_that_failed_run_again() {
    #[task]
    fn next(n: i64) -> i64 {
        n + 1
    }
    let definition = DagDefinition::new("d", |dag| {
        let flaky = fails_for_two_at_first(dag, expand([1, 2, 3]));
        let next = next(dag, expand(flaky));
        dag.task(next).trigger_rule(TriggerRule::AllDone);
        total(dag, next);
    });
    let engine = engine();
    assert_eq!(run(&engine, &definition).state, RunState::Success);
    assert_eq!(texts(&engine, "d", "total"), ["6"]);
    let report = rerun(&engine, &definition, Rerun::Failed).unwrap();
    assert!(report.succeeded(), "{report:?}");
    assert_eq!(tried(&engine, "fails_for_two_at_first"), [1, 2, 1]);
    assert_eq!(report.task("fails_for_two_at_first").unwrap().kept, 2);
    // Those behind wait for all instances before them, so all of them run again, over the list as it is now.
    assert_eq!(tried(&engine, "next"), [2, 2, 1]);
    assert_eq!(texts(&engine, "d", "next"), ["2", "3", "4"]);
    assert_eq!(texts(&engine, "d", "total"), ["9"]);
}

#[test]
fn of_a_mapped_group_only_the_map_indexes_that_failed_run_again() {
    #[task]
    fn same(n: i64) -> i64 {
        n
    }
    let definition = DagDefinition::new("d", |dag| {
        let outer = dag.bash("outer", "true").setup();
        let group = dag.expand_group("g", expand([1, 2, 3]), |dag, n: XComArg<i64>| {
            let setup = dag.bash("setup", "true").after(outer).setup();
            let work = fails_for_two_at_first(dag, n);
            dag.task(work).after(setup);
            let same = same(dag, work);
            dag.bash("teardown", "true").after(same).teardown_of(setup);
            same
        });
        let total = total(dag, group.output);
        dag.bash("close", "true").after(total).teardown_of(outer);
        dag.bash("aside", "true");
    });
    let engine = engine();
    assert_eq!(run(&engine, &definition).state, RunState::Failed);
    let report = rerun(&engine, &definition, Rerun::Failed).unwrap();
    assert!(report.succeeded(), "{report:?}");
    for (task_id, times) in [
        ("g.setup", [1, 2, 1]),
        ("g.fails_for_two_at_first", [1, 2, 1]),
        ("g.same", [1, 1, 1]),
        ("g.teardown", [1, 2, 1]),
    ] {
        assert_eq!(tried(&engine, task_id), times, "{task_id}");
    }
    let kept = |task_id: &str| report.task(task_id).unwrap().kept;
    assert_eq!(["outer", "g.setup", "g.same", "total", "close", "aside"].map(kept), [0, 2, 2, 0, 0, 1]);
    assert_eq!(texts(&engine, "d", "total"), ["6"]);
}

#[test]
fn an_expansion_that_failed_runs_again_as_a_whole() {
    #[task]
    fn same(n: i64) -> i64 {
        n
    }
    let definition = DagDefinition::new("d", |dag| {
        same(dag, expand([1, 2, 3]));
    });
    let engine = engine();
    let runner = |most| Runner::new(engine.clone()).max_map_length(most);
    assert_eq!(run_with(&runner(2), &definition, RunOptions::new()).state, RunState::Failed);
    assert_eq!(states(&engine, "d", "same"), [(-1, TaskState::Failed)]);
    let enough = runner(3);
    let again = enough.rerun(&definition, "r", Rerun::Failed, Cancellation::new());
    assert!(on_runtime(again).unwrap().succeeded());
    assert_eq!(states(&engine, "d", "same").len(), 3);
}

#[test]
fn a_list_that_grew_gets_more_instances_when_it_runs_again() {
    #[task]
    fn growing(ti: &TaskInstance) -> Vec<u32> {
        (0..2 * ti.try_number()).collect()
    }
    #[task]
    fn same(n: u32) -> u32 {
        n
    }
    let definition = DagDefinition::new("d", |dag| {
        same(dag, expand(growing(dag)));
    });
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    assert!(rerun(&engine, &definition, Rerun::From(vec!["growing".into()])).unwrap().succeeded());
    assert_eq!(texts(&engine, "d", "same"), ["0", "1", "2", "3"]);
    assert_eq!(states(&engine, "d", "same").len(), 4);
}
