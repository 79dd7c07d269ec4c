//! What `#[task]`, `#[dag]` and `#[derive(Outputs)]` make, and what a task's result pushes.

use std::collections::BTreeMap;

use excom::prelude::*;
use excom_core::TaskState;
use excom_flow::{BoxError, DagDefinition, RunOptions, Runner};

use crate::support::{engine, on_runtime, pushed, run, run_with};

#[task]
fn one() -> i64 {
    1
}

#[task]
async fn add(left: i64, right: i64) -> Result<i64> {
    Ok(left + right)
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Outputs)]
#[serde(rename_all = "camelCase")]
struct Choice {
    /// The table to load into.
    table_name: String,
    rows: u64,
    #[serde(rename = "from")]
    source: Option<String>,
    #[serde(skip)]
    #[allow(dead_code)]
    scratch: u8,
}

#[task(multiple_outputs)]
fn choose(rows: u64) -> Result<Choice> {
    Ok(Choice { table_name: "peaks".into(), rows, source: None, scratch: 7 })
}

#[task]
fn show(name: String, rows: u64, source: Option<String>) -> String {
    format!("{name} {rows} {source:?}")
}

#[test]
fn values_pass_from_task_to_task() {
    #[dag]
    fn sums(dag: &Dag) {
        let one = one(dag);
        let two = add(dag, one, one);
        add(dag, two, 40);
    }
    let engine = engine();
    let report = run(&engine, &sums());
    assert!(report.succeeded(), "{report:?}");
    assert_eq!(pushed(&engine, "sums", "add__1", "return_value").unwrap(), "42");
    let ids: Vec<&str> = report.tasks.iter().map(|task| &*task.task_id).collect();
    assert_eq!(ids, ["one", "add", "add__1"]);
}

#[test]
fn bodies_are_plain_functions_for_tests() {
    assert_eq!(one::call(), 1);
    assert_eq!(on_runtime(add::call(2, 3)).unwrap(), 5);
    assert_eq!(choose::call(3).unwrap().rows, 3);
}

#[test]
fn items_inside_function_bodies_work_too() {
    #[task(task_id = "renamed", do_xcom_push = false)]
    fn inner(mut text: String) -> String {
        text.push('!');
        text
    }
    let definition = DagDefinition::new("local", |dag| {
        dag.task(inner(dag, "a")).after(one(dag));
        inner(dag, String::from("b"));
    });
    let graph = definition.graph().unwrap();
    let ids: Vec<&str> = graph.tasks().iter().map(excom_flow::Task::id).collect();
    assert_eq!(ids, ["renamed", "one", "renamed__1"]);
    assert_eq!(inner::call("x".into()), "x!");
    let engine = engine();
    assert!(run(&engine, &definition).succeeded());
    assert_eq!(pushed(&engine, "local", "renamed", "return_value"), None);
}

#[test]
fn outputs_are_arguments_with_their_types() {
    #[dag]
    fn chosen(dag: &Dag) {
        let choice = choose(dag, 3u64);
        show(dag, choice.table_name(), choice.rows(), choice.source());
        show(dag, choice.output::<String>("tableName"), 4u64, None);
    }
    let engine = engine();
    let report = run(&engine, &chosen());
    assert!(report.succeeded(), "{report:?}");
    assert_eq!(pushed(&engine, "chosen", "show", "return_value").unwrap(), r#""peaks 3 None""#);
    assert_eq!(pushed(&engine, "chosen", "show__1", "return_value").unwrap(), r#""peaks 4 None""#);
    let keys: Vec<(&str, &str)> =
        report.tasks[0].pushed.iter().map(|pushed| (&*pushed.key, &*pushed.preview)).collect();
    // Each key, a None as null, and the whole last.
    let whole = r#"{"tableName":"peaks","rows":3,"from":null}"#;
    assert_eq!(keys, [("tableName", "\"peaks\""), ("rows", "3"), ("from", "null"), ("return_value", whole)]);
}

#[test]
fn what_is_no_dict_fails_before_any_push() {
    #[task(multiple_outputs)]
    fn list() -> Vec<u8> {
        vec![1]
    }
    #[task(multiple_outputs)]
    fn bad_key(ti: &TaskInstance) -> Result<BTreeMap<String, u8>> {
        ti.xcom_push("mine", &1)?;
        Ok([("good".to_owned(), 1), (String::new(), 2)].into())
    }
    #[task(multiple_outputs)]
    fn nothing() -> Option<Choice> {
        None
    }
    #[task(multiple_outputs)]
    fn overwritten() -> BTreeMap<String, u8> {
        [("return_value".to_owned(), 1), ("x".to_owned(), 2)].into()
    }
    #[task(multiple_outputs, do_xcom_push = false)]
    fn silent() -> Vec<u8> {
        vec![1]
    }
    let definition = DagDefinition::new("dicts", |dag| {
        list(dag);
        bad_key(dag);
        nothing(dag);
        overwritten(dag);
        silent(dag);
    });
    let report = run(&engine(), &definition);
    let keys = |task: &str| -> Vec<String> {
        report.task(task).unwrap().pushed.iter().map(|pushed| pushed.key.to_string()).collect()
    };
    let failure = |task: &str| report.task(task).unwrap().failure.clone().unwrap().message;
    assert_eq!(failure("list"), "multiple_outputs needs a dict, and the task returned a list[1]");
    assert!(keys("list").is_empty());
    assert!(failure("bad_key").contains("XCom key is empty"), "{}", failure("bad_key"));
    assert_eq!(keys("bad_key"), ["mine"]);
    assert_eq!(report.task("nothing").unwrap().state, TaskState::Success);
    assert!(keys("nothing").is_empty());
    assert_eq!(keys("overwritten"), ["x", "return_value"]);
    assert_eq!(report.task("silent").unwrap().state, TaskState::Success);
    assert!(keys("silent").is_empty());
}

#[test]
fn nothing_is_pushed_for_nothing() {
    #[task]
    fn unit() {}
    #[task]
    fn none() -> Option<i64> {
        None
    }
    #[task]
    async fn none_in_result() -> Result<Option<i64>> {
        Ok(None)
    }
    #[task]
    fn takes(value: Option<i64>, unit: Option<()>) -> String {
        format!("{value:?} {unit:?}")
    }
    #[dag]
    fn nothings(dag: &Dag) {
        takes(dag, none(dag), unit(dag));
        takes(dag, none_in_result(dag), None);
        takes(dag, 3, ());
    }
    let engine = engine();
    let report = run(&engine, &nothings());
    assert!(report.succeeded(), "{report:?}");
    for task in ["unit", "none", "none_in_result"] {
        assert_eq!(pushed(&engine, "nothings", task, "return_value"), None, "{task}");
    }
    assert_eq!(pushed(&engine, "nothings", "takes", "return_value").unwrap(), r#""None None""#);
    assert_eq!(pushed(&engine, "nothings", "takes__2", "return_value").unwrap(), r#""Some(3) None""#);
}

#[test]
fn a_plain_argument_without_value_fails_with_the_answer() {
    #[task]
    fn takes(rows: u64) -> u64 {
        rows
    }
    #[dag]
    fn lacking(dag: &Dag) {
        takes(dag, choose(dag, 3u64).output::<u64>("rosw"));
    }
    let report = run(&engine(), &lacking());
    let failure = report.task("takes").unwrap().failure.clone().unwrap();
    assert_eq!(
        failure.message,
        "argument `rows`: no value: task `choose` never pushed `rosw` in this run of lacking"
    );
    assert!(failure.hints[0].contains("`rows`"), "{failure:?}");
}

#[test]
fn a_value_of_another_type_names_argument_and_place() {
    #[task]
    fn takes(rows: u64) -> u64 {
        rows
    }
    #[dag]
    fn mistyped(dag: &Dag) {
        takes(dag, choose(dag, 3u64).output::<u64>("tableName"));
    }
    let report = run(&engine(), &mistyped());
    let failure = report.task("takes").unwrap().failure.clone().unwrap().message;
    assert!(
        failure.starts_with("argument `rows`: ") && failure.contains("$: expected a whole number"),
        "{failure}"
    );
}

#[test]
fn the_task_instance_is_injected() {
    #[task]
    fn pushes(ti: &TaskInstance, key: String) -> Result<()> {
        ti.xcom_push(&key, &ti.try_number())?;
        Ok(())
    }
    #[task]
    async fn pulls(ti: TaskInstance) -> Result<String> {
        let number: u32 = ti.xcom_pull("pushes").key("k").aget().await?;
        Ok(format!("{} {number} {:?} {}", ti.key(), ti.ds(), ti.param::<u8>("n")?))
    }
    #[dag]
    fn injected(dag: &Dag, #[param(default = 9)] n: Param<u8>) {
        let _ = n;
        let pushed = pushes(dag, "k");
        dag.task(pulls(dag)).after(pushed);
    }
    let engine = engine();
    let options = RunOptions::new().logical_date("2026-11-21T23:30:00Z".parse().unwrap());
    let report = run_with(&Runner::new(engine.clone()), &injected(), options);
    assert!(report.succeeded(), "{report:?}");
    let text = pushed(&engine, "injected", "pulls", "return_value").unwrap();
    assert_eq!(text, r#""injected/r/pulls 1 Some(\"2026-11-21\") 9""#);
}

#[test]
fn any_error_fails_the_try() {
    #[derive(Debug)]
    struct Own;
    impl std::fmt::Display for Own {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("my own error")
        }
    }
    impl std::error::Error for Own {}
    #[task]
    fn own() -> std::result::Result<u8, Own> {
        Err(Own)
    }
    #[task]
    fn text() -> std::result::Result<u8, String> {
        Err("just text".into())
    }
    #[task]
    fn boxed() -> std::result::Result<(), BoxError> {
        "x".parse::<u8>()?;
        Ok(())
    }
    #[task]
    async fn io() -> std::io::Result<String> {
        std::fs::read_to_string("/nowhere/to/be/found")
    }
    let definition = DagDefinition::new("errors", |dag| {
        let _ = (own(dag), text(dag), boxed(dag), io(dag));
    });
    let report = run(&engine(), &definition);
    for (task, message) in
        [("own", "my own error"), ("text", "just text"), ("boxed", "invalid digit"), ("io", "No such file")]
    {
        let task = report.task(task).unwrap();
        assert_eq!(task.state, TaskState::Failed);
        assert!(task.failure.as_ref().unwrap().message.contains(message), "{task:?}");
    }
}

#[test]
fn aliases_of_option_count_as_options() {
    type Maybe = Option<i64>;
    #[task]
    fn takes(value: Maybe) -> bool {
        value.is_none()
    }
    #[dag]
    fn aliased(dag: &Dag) {
        let one = one(dag);
        takes(dag, one.output::<i64>("never"));
    }
    let engine = engine();
    assert!(run(&engine, &aliased()).succeeded());
    assert_eq!(pushed(&engine, "aliased", "takes", "return_value").unwrap(), "true");
}

#[test]
fn readers_are_told_apart_in_the_ledger() {
    #[dag]
    fn noted(dag: &Dag) {
        let one = one(dag);
        add(dag, one, 2);
    }
    let engine = engine();
    run(&engine, &noted());
    let key = excom_core::XComKey::new("noted", "r", "one", -1, "return_value").unwrap();
    let readers = pollster::block_on(engine.readers(&excom_core::Caller::user("test"), &key)).unwrap();
    assert_eq!(readers.len(), 1);
    assert_eq!(readers[0].reader, "task noted/r/add");
}

#[test]
fn ids_are_numbered_around_those_that_are_taken() {
    let definition = DagDefinition::new("d", |dag| {
        dag.bash("one__1", "true");
        let _ = (one(dag), one(dag), one(dag));
        dag.bash("one__4", "true");
        let _ = (one(dag), one(dag));
    });
    let graph = definition.graph().unwrap();
    let ids: Vec<&str> = graph.tasks().iter().map(excom_flow::Task::id).collect();
    assert_eq!(ids, ["one__1", "one", "one__2", "one__3", "one__4", "one__5", "one__6"]);
}

mod wrong_dags {
    use super::*;

    fn refusal(definition: &DagDefinition) -> String {
        definition.graph().unwrap_err().to_string()
    }

    #[test]
    fn two_tasks_with_one_id() {
        let definition = DagDefinition::new("d", |dag| {
            dag.bash("load", "true");
            dag.bash("load", "true");
        });
        assert_eq!(refusal(&definition), "DAG `d` cannot be run: two tasks have the id `load`");
    }

    #[test]
    fn a_cycle_is_told_with_its_way() {
        let definition = DagDefinition::new("d", |dag| {
            let free = one(dag);
            let a = add(dag, free, 1);
            dag.task(a).after(free);
            let b = add(dag, a, 1);
            let c = add(dag, b, 1);
            dag.task(a).after(c);
        });
        let text = refusal(&definition);
        assert!(text.contains("wait for each other: "), "{text}");
        for step in ["add → add__1", "add__1 → add__2", "add__2 → add"] {
            assert!(text.contains(step), "{text}");
        }
        let definition = DagDefinition::new("d", |dag| {
            let a = one(dag);
            dag.task(a).after(a);
        });
        assert!(refusal(&definition).contains("task `one` waits for itself"));
    }

    #[test]
    fn an_argument_of_another_dag() {
        let stolen = std::sync::Mutex::new(None);
        let definition = DagDefinition::new("d", move |dag| {
            let mut stolen = stolen.lock().unwrap();
            if let Some(foreign) = *stolen {
                add(dag, foreign, 1);
                dag.task(one(dag)).after(foreign);
                dag.bash("show", "echo $N").env("N", foreign);
            }
            *stolen = Some(one(dag));
        });
        definition.graph().unwrap();
        let text = refusal(&definition);
        assert!(text.contains("argument `left` of task `add` is an XComArg of another DAG"), "{text}");
        assert!(text.contains("argument `env.N` of task `show` is an XComArg of another DAG"), "{text}");
        assert!(text.contains("ordered after a task of another DAG"), "{text}");
    }

    #[test]
    fn literals_parameters_and_names_that_cannot_be() {
        #[task]
        fn takes(value: f64) -> f64 {
            value
        }
        let definition = DagDefinition::new("d", |dag| {
            takes(dag, f64::NAN);
            dag.bash(&"x".repeat(300), "true");
            dag.bash("env", "true").env("A=B", "1");
        });
        let text = refusal(&definition);
        assert!(text.contains("for 3 reasons"), "{text}");
        assert!(
            text.contains("argument `value` of task `takes`: the value cannot be written as JSON"),
            "{text}"
        );
        assert!(text.contains("has 300 characters"), "{text}");
        assert!(text.contains("`A=B` cannot be the name of an environment variable"), "{text}");
    }

    #[test]
    fn a_parameter_of_another_dag() {
        let stolen = std::sync::Mutex::new(None);
        #[dag]
        fn giving(dag: &Dag, #[param(default = 1)] number: Param<i64>) {
            add(dag, number, number);
        }
        giving().graph().unwrap();
        *stolen.lock().unwrap() = Some(excom_flow::__private::param::<i64>("numbre"));
        let definition = DagDefinition::new("d", move |dag| {
            add(dag, stolen.lock().unwrap().unwrap(), 1);
        });
        assert!(refusal(&definition).contains("the parameter `numbre`, which this DAG does not declare"));
    }
}
