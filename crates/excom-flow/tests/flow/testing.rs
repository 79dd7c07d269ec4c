//! `Runner::test_task`: what a task that is tested sees, and that nothing of it stays.

use excom::prelude::*;
use excom_core::{Engine, TaskState};
use excom_flow::runner::{TestOptions, TestReport};
use excom_flow::{DagDefinition, RunOptions, Runner, SkipDownstream};

use crate::support::{engine, on_runtime, pushed, run};

fn tested(engine: &Engine, definition: &DagDefinition, options: TestOptions) -> TestReport {
    on_runtime(Runner::new(engine.clone()).test_task(definition, options)).unwrap()
}

/// What a report says would have been pushed.
fn told(report: &TestReport) -> Vec<(&str, &str)> {
    report.pushed.iter().map(|(key, value)| (&**key, value.as_str())).collect()
}

#[task]
fn count(ti: &TaskInstance) -> Result<u64> {
    let own: Option<u64> = ti.xcom_pull(()).get()?;
    let before: Option<u64> = ti.xcom_pull("count").include_prior_dates().get()?;
    ti.xcom_push("own", &own)?;
    let pushed: Option<u64> = ti.xcom_pull(()).key("own").get()?;
    ti.xcom_push("pushed", &pushed.is_none())?;
    Ok(before.unwrap_or(0) + 1)
}

#[test]
fn it_begins_clear_as_a_fresh_try_does() {
    #[dag]
    fn counting(dag: &Dag) {
        count(dag);
    }
    let engine = engine();
    assert!(run(&engine, &counting()).succeeded());
    assert_eq!(pushed(&engine, "counting", "count", "return_value").unwrap(), "1");
    let report = tested(&engine, &counting(), TestOptions::new("r", "count"));
    assert_eq!(report.state, TaskState::Success, "{report:?}");
    // What the run's own instance had pushed is out of sight, but for pulls that look at what is stored before.
    assert_eq!(told(&report), [("own", "null"), ("pushed", "true"), ("return_value", "2")]);
    assert_eq!(pushed(&engine, "counting", "count", "return_value").unwrap(), "1");
    assert_eq!(pushed(&engine, "counting", "count", "own").unwrap(), "null");
}

#[test]
fn elements_choices_and_variables_are_those_of_the_run() {
    #[task]
    fn half(number: u64, by: u64) -> u64 {
        number / by
    }
    #[task]
    fn choose(ti: &TaskInstance) -> Result<()> {
        let channel = ti.channel();
        pollster::block_on(channel.set_variable("mode", Some("fast")))?;
        let mode = pollster::block_on(channel.variable("mode"))?;
        ti.log(&format!("{mode:?}"));
        ti.skip_downstream(SkipDownstream::AllBut(vec!["left".into()]));
        Ok(())
    }
    #[dag]
    fn shapes(dag: &Dag, #[param(default = 2)] by: Param<u64>) {
        let halves = dag.expand_group("pair", expand([10_u64, 20, 30]), |dag, number: XComArg<u64>| {
            half(dag, number, by)
        });
        let choice = dag.task(choose(dag)).after(&halves);
        dag.bash("left", "true").after(choice);
        dag.bash("right", "true").after(choice);
    }
    let engine = engine();
    let options = RunOptions::new().run_id("r").param("by", "5");
    assert!(on_runtime(Runner::new(engine.clone()).run(&shapes(), options)).unwrap().succeeded());
    let report = tested(&engine, &shapes(), TestOptions::new("r", "pair.half").map_index(2));
    assert_eq!(told(&report), [("return_value", "6")]);

    let (sender, lines) = std::sync::mpsc::channel();
    let options = TestOptions::new("r", "choose").log(move |line| drop(sender.send(line.to_owned())));
    let report = tested(&engine, &shapes(), options);
    assert_eq!(report.skips.iter().map(|id| &**id).collect::<Vec<_>>(), ["right"]);
    assert_eq!(report.variables, [("mode".to_owned(), Some("fast".to_owned()))]);
    assert_eq!(lines.recv().unwrap(), "Some(\"fast\")");
}

#[test]
fn a_failure_is_in_the_report() {
    #[task]
    fn fails(ti: &TaskInstance) -> Result<u64> {
        Ok(ti.xcom_pull("nobody").get()?)
    }
    #[dag]
    fn failing(dag: &Dag) {
        fails(dag);
    }
    let engine = engine();
    run(&engine, &failing());
    let report = tested(&engine, &failing(), TestOptions::new("r", "fails"));
    assert_eq!(report.state, TaskState::Failed);
    assert!(report.failure.unwrap().message.contains("`nobody`"));
    let refused = on_runtime(Runner::new(engine).test_task(&failing(), TestOptions::new("r", "fials")));
    assert_eq!(refused.unwrap_err().hints(), ["nearest: `fails`"]);
}
