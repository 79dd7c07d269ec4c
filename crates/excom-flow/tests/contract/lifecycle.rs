//! What starts, marks, repeated runs and resumptions do to XComs that are there already.

use std::borrow::Cow;

use excom::prelude::*;
use excom_core::attempt::Attempt;
use excom_core::db::StartMode;
use excom_core::{TaskInstanceKey, TaskState};
use excom_flow::DagDefinition;

use crate::support::{engine, pushed, run, started, state};
use crate::{push_text, text_of, xcom};

#[test]
fn marks_and_a_wait_for_a_new_try_keep_the_values() {
    let engine = engine();
    let ti = started(&engine, "r", "t", -1);
    ti.xcom_push("return_value", &1).unwrap();
    for state in [
        TaskState::Success,
        TaskState::Failed,
        TaskState::UpForRetry,
        TaskState::Scheduled,
        TaskState::Queued,
        TaskState::Skipped,
    ] {
        pollster::block_on(engine.set_states(&[(ti.key().clone(), state)])).unwrap();
        assert_eq!(text_of(&engine, &xcom("t", -1, "return_value")).unwrap(), "1", "{state}");
    }
    started(&engine, "r", "t", -1);
    assert_eq!(text_of(&engine, &xcom("t", -1, "return_value")), None);
}

#[test]
fn a_start_clears_its_own_map_index_and_no_other() {
    let engine = engine();
    for map_index in [-1, 0, 1] {
        push_text(&engine, &xcom("t", map_index, "k"), "1").unwrap();
    }
    started(&engine, "r", "t", -1);
    assert_eq!(text_of(&engine, &xcom("t", -1, "k")), None);
    assert_eq!(text_of(&engine, &xcom("t", 0, "k")).unwrap(), "1");
    started(&engine, "r", "t", 0);
    assert_eq!(text_of(&engine, &xcom("t", 0, "k")), None);
    assert_eq!(text_of(&engine, &xcom("t", 1, "k")).unwrap(), "1");
}

#[test]
fn a_start_clears_what_others_pushed_for_the_task_too() {
    let engine = engine();
    push_text(&engine, &xcom("t", -1, "by_hand"), "1").unwrap();
    started(&engine, "r", "t", -1);
    assert_eq!(text_of(&engine, &xcom("t", -1, "by_hand")), None);
}

/// Shows its field, pushes, and fails once.
#[derive(Debug, Clone)]
struct Shows(Field);

impl Operator for Shows {
    type Output = String;

    fn fields(&mut self) -> Vec<(Cow<'static, str>, &mut Field)> {
        vec![("shown".into(), &mut self.0)]
    }

    async fn execute(self, ti: TaskInstance) -> Result<String> {
        ti.axcom_push("k", "of an earlier try").await?;
        if ti.try_number() == 1 { Err("once".into()) } else { Ok(self.0.text()?) }
    }
}

#[test]
fn a_try_is_cleared_before_its_templates_are_rendered() {
    let definition = DagDefinition::new("d", |dag| {
        dag.add("t", Shows("{{ ti.xcom_pull(key='k') }}".into())).retries(1);
    });
    let engine = engine();
    let report = run(&engine, &definition);
    assert!(report.succeeded() && report.tasks[0].tries == 2, "{report:?}");
    assert_eq!(pushed(&engine, "d", "t", "return_value").unwrap(), r#""None""#);
}

#[test]
fn every_poke_of_a_rescheduled_task_finds_what_the_last_one_pushed() {
    let engine = engine();
    let key = TaskInstanceKey::new("d", "r", "sensor", -1).unwrap();
    let attempt = Attempt { ti: key.clone(), id: engine.clock().attempt_id() };
    let mut seen = Vec::new();
    for poke in 1..=3u8 {
        let mode = if poke == 1 { StartMode::Fresh } else { StartMode::Resume };
        pollster::block_on(engine.start_attempt(&attempt, 1, mode)).unwrap();
        let ti = TaskInstance::new(std::sync::Arc::new(engine.channel(attempt.clone())), key.clone());
        seen.push(ti.xcom_pull(()).key("poke").get::<Option<u8>>().unwrap());
        ti.xcom_push("poke", &poke).unwrap();
        pollster::block_on(engine.set_attempt_state(&attempt, TaskState::UpForReschedule)).unwrap();
    }
    // In Airflow each poke begins with nothing.
    assert_eq!(seen, [None, Some(1), Some(2)]);
}

#[test]
fn a_run_is_not_begun_twice_and_running_again_begins_clear() {
    use std::sync::atomic::{AtomicU8, Ordering};
    static RUNS: AtomicU8 = AtomicU8::new(0);
    #[task]
    fn first(ti: &TaskInstance) -> Result<u8> {
        let run = RUNS.fetch_add(1, Ordering::SeqCst);
        ti.xcom_push(&format!("of_run_{run}"), &run)?;
        if run == 0 { Ok(run) } else { Err("the second run fails here".into()) }
    }
    #[task]
    fn behind(n: u8) -> u8 {
        n + 40
    }
    let definition = DagDefinition::new("d", |dag| {
        let first = first(dag);
        behind(dag, first);
    });
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    // A run is not begun twice: what is in it would be mixed.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let runner = excom::Runner::new(engine.clone());
    let twice = runner.run(&definition, excom::RunOptions::new().run_id("r"));
    let refused = runtime.block_on(twice).unwrap_err();
    assert_eq!(refused.to_string(), "DAG `d` has a run `r` already: success");
    assert!(refused.hints()[0].contains("rerun"), "{refused:?}");

    let again = excom::Rerun::From(vec!["first".into()]);
    let report = runtime.block_on(runner.rerun(&definition, "r", again, excom::Cancellation::new())).unwrap();
    assert!(!report.succeeded());
    assert_eq!(pushed(&engine, "d", "first", "of_run_0"), None);
    assert_eq!(pushed(&engine, "d", "first", "return_value"), None);
    assert_eq!(pushed(&engine, "d", "first", "of_run_1").unwrap(), "1");
    // What follows is cleared with it, also when it does not start again.
    assert_eq!(state(&engine, "d", "behind"), Some(TaskState::UpstreamFailed));
    assert_eq!(pushed(&engine, "d", "behind", "return_value"), None);
}
