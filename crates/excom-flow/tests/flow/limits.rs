//! How many task instances run at the same time, and runs of many tasks.

use std::sync::atomic::{AtomicUsize, Ordering};

use excom::prelude::*;
use excom_flow::{DagDefinition, RunOptions, Runner};

use crate::support::{engine, run, run_with, states, texts};

/// How many run now, and how many did at most.
#[derive(Debug, Default)]
struct Active {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Active {
    /// Runs for so long that others could begin.
    async fn run(&self) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        self.now.fetch_sub(1, Ordering::SeqCst);
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

#[test]
fn a_task_runs_so_many_instances_at_once_and_no_more() {
    static LIMITED: Active = Active { now: AtomicUsize::new(0), most: AtomicUsize::new(0) };
    static FREE: Active = Active { now: AtomicUsize::new(0), most: AtomicUsize::new(0) };
    #[task(max_active_tis_per_dagrun = 2)]
    async fn limited(n: u32) -> u32 {
        LIMITED.run().await;
        n
    }
    #[task]
    async fn free(n: u32) -> u32 {
        FREE.run().await;
        n
    }
    let definition = DagDefinition::new("d", |dag| {
        limited(dag, expand((0..40).collect::<Vec<u32>>()));
        free(dag, expand((0..40).collect::<Vec<u32>>()));
    });
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    assert_eq!(texts(&engine, "d", "limited").len(), 40);
    assert!(LIMITED.most() <= 2, "{LIMITED:?}");
    assert!(FREE.most() > 2, "nothing ran side by side, so the limit was not tried: {FREE:?}");
}

#[test]
fn a_runner_runs_so_many_tasks_at_once_and_no_more() {
    static ACTIVE: Active = Active { now: AtomicUsize::new(0), most: AtomicUsize::new(0) };
    #[task(retries = 1, retry_delay = "1s")]
    async fn counted(ti: &TaskInstance, n: u32) -> Result<u32> {
        ACTIVE.run().await;
        if ti.try_number() == 1 && n.is_multiple_of(3) { Err("once".into()) } else { Ok(n) }
    }
    let definition = DagDefinition::new("d", |dag| {
        counted(dag, expand((0..30).collect::<Vec<u32>>()));
        for n in 0..10 {
            counted(dag, n);
        }
    });
    let report = run_with(&Runner::new(engine()).parallelism(3), &definition, RunOptions::new());
    assert!(report.succeeded(), "{report:?}");
    assert!(ACTIVE.most() <= 3, "{ACTIVE:?}");
}

#[test]
fn a_chain_of_ten_thousand_tasks_is_no_recursion() {
    #[task]
    fn fails() -> Result<i64> {
        Err("at the start".into())
    }
    #[task]
    async fn next(n: i64) -> i64 {
        n + 1
    }
    let definition = DagDefinition::new("d", |dag| {
        let mut last = fails(dag);
        for _ in 0..9_999 {
            last = next(dag, last);
        }
    });
    // All but the first fail unrun, one after the other, in one step.
    let report = run(&engine(), &definition);
    assert_eq!(report.tasks.len(), 10_000);
    assert_eq!(report.tasks[9_999].state, excom_core::TaskState::UpstreamFailed);
    let definition = DagDefinition::new("d", |dag| {
        let mut last = next(dag, 0);
        for _ in 0..999 {
            last = next(dag, last);
        }
    });
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    assert_eq!(texts(&engine, "d", "next__999"), ["1000"]);
}

#[test]
fn thousands_of_instances_of_a_mapped_group() {
    #[task]
    async fn next(n: u32) -> u32 {
        n + 1
    }
    let definition = DagDefinition::new("d", |dag| {
        dag.expand_group("g", expand((0..3000).collect::<Vec<u32>>()), |dag, n: XComArg<u32>| {
            next(dag, next(dag, n))
        });
    });
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    assert_eq!(states(&engine, "d", "g.next__1").len(), 3000);
}
