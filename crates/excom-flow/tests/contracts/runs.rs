//! Runs keep the version of their DAG with its contract, and what tasks push by hand is checked against it.

use std::sync::Arc;

use excom::contract::{Contract, Contracts};
use excom::prelude::*;
use excom::{Bash, Cancellation, DagDefinition, RunOptions, RunReport, Runner, TaskInstance};
use excom_core::{Engine, memory};

fn engine() -> Engine {
    Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new())).build()
}

fn on_runtime<T>(future: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap().block_on(future)
}

fn run(engine: &Engine, definition: &DagDefinition, run_id: &str) -> RunReport {
    on_runtime(Runner::new(engine.clone()).run(definition, RunOptions::new().run_id(run_id))).unwrap()
}

#[task]
fn count() -> u32 {
    3
}
#[task(task_id = "count")]
fn count_or_none() -> Option<u32> {
    Some(3)
}
#[task]
fn show(n: u32) -> String {
    n.to_string()
}
#[task(task_id = "show")]
fn show_small(n: u8) -> String {
    n.to_string()
}

#[dag(id = "counting")]
fn counting(dag: &Dag) {
    show(dag, count(dag));
}

#[dag(id = "counting")]
fn counting_otherwise(dag: &Dag) {
    count_or_none(dag);
}

#[dag(id = "counting")]
fn counting_smaller(dag: &Dag) {
    let count = count(dag);
    show_small(dag, count.output::<u8>("return_value"));
}

fn versions(engine: &Engine) -> Vec<Arc<str>> {
    let versions = pollster::block_on(engine.db().dag_versions("counting", 10)).unwrap();
    versions.into_iter().map(|version| version.version).collect()
}

fn version_of(engine: &Engine, run_id: &str) -> Option<Arc<str>> {
    pollster::block_on(engine.db().run_info("counting", run_id)).unwrap().unwrap().run.version
}

#[test]
fn runs_keep_the_version_of_their_dag() {
    let engine = engine();
    assert!(run(&engine, &counting(), "a").succeeded() && run(&engine, &counting(), "b").succeeded());
    let version = counting().contract().unwrap().version();
    assert_eq!(versions(&engine), std::slice::from_ref(&version));
    assert_eq!(
        (version_of(&engine, "a"), version_of(&engine, "b")),
        (Some(version.clone()), Some(version.clone()))
    );

    let kept = pollster::block_on(engine.db().dag_version("counting", &version)).unwrap().unwrap();
    assert_eq!(Contract::read(&kept.document).unwrap(), counting().contract().unwrap());

    run(&engine, &counting_otherwise(), "c");
    let other = counting_otherwise().contract().unwrap().version();
    assert_eq!(versions(&engine), [other, version]);
}

fn stopped(engine: &Engine, definition: &DagDefinition) -> RunReport {
    let cancellation = Cancellation::new();
    cancellation.cancel();
    let options = RunOptions::new().run_id("r").cancellation(cancellation);
    on_runtime(Runner::new(engine.clone()).run(definition, options)).unwrap()
}

fn resumed(engine: &Engine, definition: &DagDefinition) -> RunReport {
    on_runtime(Runner::new(engine.clone()).resume(definition, "r", Cancellation::new())).unwrap()
}

#[test]
fn a_run_that_goes_on_with_another_version_says_so() {
    let engine = engine();
    assert!(stopped(&engine, &counting()).warnings.is_empty());
    let report = resumed(&engine, &counting_otherwise());
    let (old, new) =
        (counting().contract().unwrap().version(), counting_otherwise().contract().unwrap().version());
    let expected = format!(
        "the run began with version {old} of the DAG and goes on with version {new}; nothing in it breaks what \
         the run has"
    );
    assert_eq!(report.warnings, [expected]);
    assert_eq!(version_of(&engine, "r"), Some(new));
}

#[test]
fn a_run_that_goes_on_says_what_breaks() {
    let engine = engine();
    stopped(&engine, &counting());
    let warnings = resumed(&engine, &counting_smaller()).warnings.join("\n");
    assert!(
        warnings.contains("tasks.show.inputs.n: it reads integer 0 to 255; an old value does not fit"),
        "{warnings}"
    );
}

#[test]
fn a_run_that_goes_on_with_its_version_says_nothing() {
    let engine = engine();
    stopped(&engine, &counting());
    assert!(resumed(&engine, &counting()).warnings.is_empty());
}

#[derive(Serialize, Deserialize, Outputs)]
struct Choice {
    rows: u64,
}

#[task(multiple_outputs)]
fn choose(ti: &TaskInstance, by_hand: String) -> Result<Choice> {
    ti.xcom_push("rows", &serde_json::from_str::<serde_json::Value>(&by_hand)?)?;
    ti.xcom_push("unknown", "anything")?;
    Ok(Choice { rows: 5 })
}

#[dag]
fn choosing(dag: &Dag, #[param(default = "7")] by_hand: Param<String>) {
    choose(dag, by_hand);
}

fn choosing_with(by_hand: &str, contracts: Contracts) -> RunReport {
    let options = RunOptions::new().param("by_hand", excom_core::Value::of(by_hand).unwrap());
    on_runtime(Runner::new(engine()).contracts(contracts).run(&choosing(), options)).unwrap()
}

#[test]
fn what_is_pushed_by_hand_under_a_declared_key_is_checked() {
    assert!(choosing_with("7", Contracts::Refuse).succeeded());
    let report = choosing_with("\"seven\"", Contracts::Refuse);
    let failure = report.task("choose").unwrap().failure.clone().unwrap();
    assert_eq!(
        failure.message,
        "the value for key `rows` of task `choose` is not of the declared type: $: expected integer from 0, found \
         \"seven\""
    );
    assert!(failure.hints[1].contains("[xcom] contracts"), "{failure:?}");
    assert!(choosing_with("\"seven\"", Contracts::Warn).succeeded());
    assert!(choosing_with("\"seven\"", Contracts::Off).succeeded());
}

#[test]
fn a_warning_is_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let options = RunOptions::new().param("by_hand", excom_core::Value::of("-1").unwrap());
    let runner = Runner::new(engine()).contracts(Contracts::Warn).logs(folder.path());
    let report = on_runtime(runner.run(&choosing(), options)).unwrap();
    let log = std::fs::read_to_string(report.task("choose").unwrap().log.as_ref().unwrap()).unwrap();
    assert!(log.contains("warning: the value for key `rows`") && log.contains("found -1"), "{log}");
}

#[task]
fn takes_rows(rows: u64) -> u64 {
    rows
}

#[task]
fn pushes_rows(ti: &TaskInstance) -> Result<()> {
    ti.xcom_push("rows", "many")?;
    Ok(())
}

#[dag]
fn expected_by_a_reader(dag: &Dag) {
    takes_rows(dag, pushes_rows(dag).output("rows"));
}

#[test]
fn what_a_reader_takes_is_checked_when_it_is_pushed() {
    let report = run(&engine(), &expected_by_a_reader(), "r");
    let failure = report.task("pushes_rows").unwrap().failure.clone().unwrap();
    assert_eq!(
        failure.message,
        "the value for key `rows` of task `pushes_rows`, which `takes_rows` takes, is not of the declared type: \
         $: expected integer from 0, found \"many\""
    );
}

#[test]
fn what_a_program_leaves_in_files_is_checked() {
    let writes = |script: &'static str| {
        DagDefinition::new("writing", move |dag| {
            let program = dag.program("write", ["sh", "-c", script]).output();
            takes_rows(dag, program.output("rows"));
        })
    };
    assert!(run(&engine(), &writes("echo 7 > $EXCOM_PUSH/rows.json"), "r").succeeded());
    let wrong = writes("cd $EXCOM_PUSH; echo 1 > a.json; echo '\"many\"' > rows.json");
    let report = run(&engine(), &wrong, "r");
    let task = report.task("write").unwrap();
    let message = task.failure.clone().unwrap().message;
    assert!(message.starts_with("`rows` from EXCOM_PUSH: the value for key `rows`"), "{message}");
    assert!(message.ends_with("$: expected integer from 0, found \"many\""), "{message}");
    assert!(task.pushed.is_empty(), "{:?}", task.pushed);
}

/// An operator that may return anything.
#[derive(Clone, Debug)]
struct Parse(&'static str);

impl Operator for Parse {
    type Output = serde_json::Value;

    fn fields(&mut self) -> Vec<(std::borrow::Cow<'static, str>, &mut Field)> {
        Vec::new()
    }

    async fn execute(self, _: TaskInstance) -> Result<serde_json::Value> {
        Ok(serde_json::from_str(self.0)?)
    }
}

fn parsing(text: &'static str) -> DagDefinition {
    DagDefinition::new("parsing", move |dag| {
        let parsed = dag.add("parse", Parse(text)).output();
        takes_rows(dag, parsed.output("return_value"));
    })
}

#[test]
fn what_an_operator_returns_is_checked_against_its_reader() {
    assert!(run(&engine(), &parsing("4"), "r").succeeded());
    let report = run(&engine(), &parsing("[4]"), "r");
    let failure = report.task("parse").unwrap().failure.clone().unwrap();
    assert!(failure.message.ends_with("$: expected integer from 0, found list[1]"), "{}", failure.message);
    assert!(report.task("takes_rows").unwrap().failure.is_none());
}

#[test]
fn a_command_returns_text() {
    let text = DagDefinition::new("d", |dag| {
        dag.add("tell", Bash::new("echo 1"));
    });
    assert_eq!(text.contract().unwrap().tasks["tell"].outputs["return_value"].to_string(), "string");
    let taken = DagDefinition::new("d", |dag| {
        let told = dag.add("tell", Bash::new("echo 1")).output();
        takes_rows(dag, told.output("return_value"));
    });
    // The command's last line is text, so its reader would never get a number.
    assert_eq!(run(&engine(), &taken, "r").task("takes_rows").unwrap().state.name(), "failed");
}
