//! DAGs that do what Airflow's examples about XComs, TaskFlow and mapping do: they leave the XComs that those
//! leave, with the same task ids.

use excom::prelude::*;
use excom_core::{Caller, Engine, PullOptions, XComKey};
use excom_flow::{DagDefinition, Handle};
use serde_json::{Value as Json, json};

use crate::support::{engine, pushed, run, texts};

fn ran(definition: &DagDefinition) -> Engine {
    let engine = engine();
    let report = run(&engine, definition);
    assert!(report.succeeded(), "{report:?}");
    engine
}

/// `example_xcom`: pushes by key, by return value and from a shell, and pulls of several tasks at once.
#[test]
fn example_xcom() {
    #[task]
    fn push(ti: &TaskInstance) -> Result<()> {
        ti.xcom_push("value from pusher 1", &[1, 2, 3])?;
        Ok(())
    }
    #[task]
    fn push_by_returning() -> Json {
        json!({"a": "b"})
    }
    #[task]
    fn puller(ti: &TaskInstance) -> Result<()> {
        let first: Vec<u64> = ti.xcom_pull("push").key("value from pusher 1").get()?;
        assert_eq!(first, [1, 2, 3]);
        let second: Json = ti.xcom_pull("push_by_returning").get()?;
        assert_eq!(second, json!({"a": "b"}));
        let both: Vec<Json> = ti.xcom_pull(["push_by_returning", "bash_push"]).get()?;
        assert_eq!(both, [json!({"a": "b"}), json!("value_by_return")]);
        Ok(())
    }
    let definition = DagDefinition::new("example_xcom", |dag| {
        let (push, returning) = (push(dag), push_by_returning(dag));
        // A task's own push, as the command `excom xcom push` makes it.
        let manual = dag.add("bash_push", Pushing);
        let pull = dag.bash(
            "bash_pull",
            r#"echo "{{ ti.xcom_pull('bash_push', key='manually_pushed_value') }}"
echo "{{ ti.xcom_pull('bash_push') }}""#,
        );
        pull.after(manual);
        dag.task(puller(dag)).after(push).after(returning).after(manual);
    });
    let engine = ran(&definition);
    let value = |task: &str, key: &str| pushed(&engine, "example_xcom", task, key);
    assert_eq!(value("push", "value from pusher 1").unwrap(), "[1,2,3]");
    assert_eq!(value("push", "return_value"), None);
    assert_eq!(value("push_by_returning", "return_value").unwrap(), r#"{"a":"b"}"#);
    assert_eq!(value("bash_push", "manually_pushed_value").unwrap(), r#""manually_pushed_value""#);
    assert_eq!(value("bash_push", "return_value").unwrap(), r#""value_by_return""#);
    assert_eq!(value("bash_pull", "return_value").unwrap(), r#""value_by_return""#);
    assert_eq!(value("puller", "return_value"), None);
}

/// Pushes one value by hand and returns another.
#[derive(Debug, Clone)]
struct Pushing;

impl Operator for Pushing {
    type Output = String;

    fn fields(&mut self) -> Vec<(std::borrow::Cow<'static, str>, &mut Field)> {
        Vec::new()
    }

    async fn execute(self, ti: TaskInstance) -> Result<String> {
        ti.axcom_push("manually_pushed_value", "manually_pushed_value").await?;
        Ok("value_by_return".into())
    }
}

/// `example_xcom_args`: a value passed on, and made into a text.
#[test]
fn example_xcom_args() {
    #[task]
    fn generate_value() -> String {
        "Bring me a shrubbery!".into()
    }
    #[task]
    fn print_value(ti: &TaskInstance, value: String) {
        ti.log(&format!("The knights of Ni say: {value} ({})", ti.ds().unwrap_or_default()));
    }
    let definition = DagDefinition::new("example_xcom_args", |dag| {
        print_value(dag, generate_value(dag));
    });
    let engine = ran(&definition);
    let value = |task: &str| pushed(&engine, "example_xcom_args", task, "return_value");
    assert_eq!(value("generate_value").unwrap(), r#""Bring me a shrubbery!""#);
    assert_eq!(value("print_value"), None);
}

/// `example_xcom_args_with_operators`: commands that are ordered and read each other's output.
#[test]
fn example_xcom_args_with_operators() {
    let definition = DagDefinition::new("example_xcom_args_with_operators", |dag| {
        let echo = |name: &str| -> Handle<'_, excom_flow::Bash> { dag.bash(name, &format!("echo {name}")) };
        let (a, b, c, d) = (echo("a"), echo("b"), echo("c"), echo("d"));
        b.after(a);
        c.after(b).env("BEFORE", b.output());
        d.after(c).env("BEFORE", c.output());
    });
    let engine = ran(&definition);
    for task in ["a", "b", "c", "d"] {
        let value = pushed(&engine, "example_xcom_args_with_operators", task, "return_value");
        assert_eq!(value.unwrap(), format!("\"{task}\""));
    }
}

/// `tutorial_taskflow_api`: extract, transform with several outputs, load.
#[test]
fn tutorial_taskflow_api() {
    use std::collections::BTreeMap;

    type Orders = BTreeMap<String, f64>;

    #[derive(Serialize, Deserialize, Outputs)]
    struct Summary {
        total_order_value: f64,
    }

    #[task]
    fn extract() -> Result<Orders> {
        Ok(serde_json::from_str(r#"{"1001": 301.27, "1002": 433.21, "1003": 502.22}"#)?)
    }
    #[task(multiple_outputs)]
    fn transform(order_data_dict: Orders) -> Summary {
        Summary { total_order_value: order_data_dict.values().sum() }
    }
    #[task]
    fn load(ti: &TaskInstance, total_order_value: f64) {
        ti.log(&format!("Total order value is: {total_order_value:.2}"));
        assert_eq!(format!("{total_order_value:.2}"), "1236.70");
    }
    let definition = DagDefinition::new("tutorial_taskflow_api", |dag| {
        let summary = transform(dag, extract(dag));
        load(dag, summary.total_order_value());
    });
    let engine = ran(&definition);
    let value = |task: &str, key: &str| pushed(&engine, "tutorial_taskflow_api", task, key).unwrap();
    assert_eq!(value("extract", "return_value"), r#"{"1001":301.27,"1002":433.21,"1003":502.22}"#);
    assert_eq!(value("transform", "total_order_value"), "1236.7");
    assert_eq!(value("transform", "return_value"), r#"{"total_order_value":1236.7}"#);
}

#[task]
fn add_one(x: i64) -> i64 {
    x + 1
}

#[task]
fn sum_it(values: Vec<i64>) -> String {
    format!("Total was {}", values.iter().sum::<i64>())
}

/// `example_dynamic_task_mapping`: one added to each of three numbers, and their sum.
#[test]
fn example_dynamic_task_mapping() {
    let definition = DagDefinition::new("example_dynamic_task_mapping", |dag| {
        sum_it(dag, add_one(dag, expand([1, 2, 3])));
    });
    let engine = ran(&definition);
    assert_eq!(texts(&engine, "example_dynamic_task_mapping", "add_one"), ["2", "3", "4"]);
    assert_eq!(texts(&engine, "example_dynamic_task_mapping", "sum_it"), [r#""Total was 9""#]);
}

/// `example_task_mapping_second_order`: mapped over a list, and over the result of that again.
#[test]
fn example_task_mapping_second_order() {
    #[task]
    fn get_nums() -> Vec<i64> {
        vec![1, 2, 3]
    }
    #[task]
    fn times_2(num: i64) -> i64 {
        num * 2
    }
    #[task]
    fn add_10(num: i64) -> i64 {
        num + 10
    }
    let definition = DagDefinition::new("example_task_mapping_second_order", |dag| {
        add_10(dag, expand(times_2(dag, expand(get_nums(dag)))));
    });
    let engine = ran(&definition);
    assert_eq!(texts(&engine, "example_task_mapping_second_order", "times_2"), ["2", "4", "6"]);
    assert_eq!(texts(&engine, "example_task_mapping_second_order", "add_10"), ["12", "14", "16"]);
}

/// `example_task_group_mapping`: two tasks in a group for each number.
#[test]
fn example_task_group_mapping() {
    #[task]
    fn add(x: i64) -> i64 {
        x + 1
    }
    #[task]
    fn multiply(x: i64) -> i64 {
        x * 2
    }
    let definition = DagDefinition::new("example_task_group_mapping", |dag| {
        dag.expand_group("op", expand([1, 2, 3]), |dag, n: XComArg<i64>| multiply(dag, add(dag, n)));
    });
    let engine = ran(&definition);
    assert_eq!(texts(&engine, "example_task_group_mapping", "op.add"), ["2", "3", "4"]);
    assert_eq!(texts(&engine, "example_task_group_mapping", "op.multiply"), ["4", "6", "8"]);
}

/// An operator that adds one to a value, or sums values.
#[derive(Debug, Clone)]
struct Adds(Field);

impl Operator for Adds {
    type Output = i64;

    fn fields(&mut self) -> Vec<(std::borrow::Cow<'static, str>, &mut Field)> {
        vec![("values".into(), &mut self.0)]
    }

    async fn execute(self, _: TaskInstance) -> Result<i64> {
        match self.0.get::<Json>()? {
            Json::Array(values) => Ok(values.iter().filter_map(Json::as_i64).sum()),
            value => Ok(value.as_i64().ok_or("no number")? + 1),
        }
    }
}

/// `example_dynamic_task_mapping_with_no_taskflow_operators`: the same with operators.
#[test]
fn example_dynamic_task_mapping_with_no_taskflow_operators() {
    let dag_id = "example_dynamic_task_mapping_with_no_taskflow_operators";
    let definition = DagDefinition::new(dag_id, |dag| {
        let added = dag.add("add_one", Adds(expand([1, 2, 3]).into())).outputs();
        dag.add("sum_it", Adds(added.into()));
    });
    let engine = ran(&definition);
    assert_eq!(texts(&engine, dag_id, "add_one"), ["2", "3", "4"]);
    assert_eq!(texts(&engine, dag_id, "sum_it"), ["9"]);
}

/// A cross product of two by three, as it is serialized for a scheduler: sums 3 4 5 5 6 7 in this order; then
/// `map`, `zip`, `concat` and dicts of arguments over the same lists.
#[test]
fn every_way_to_expand() {
    #[task]
    fn add(left: i64, right: i64) -> i64 {
        left + right
    }
    #[task]
    fn lefts() -> Vec<i64> {
        vec![1, 3]
    }
    #[task]
    fn rights() -> Vec<i64> {
        vec![2, 3, 4]
    }
    #[task]
    fn show(pair: (i64, Option<i64>)) -> String {
        format!("{pair:?}")
    }
    let definition = DagDefinition::new("ways", |dag| {
        let (lefts, rights) = (lefts(dag), rights(dag));
        add(dag, expand(lefts), expand(rights));
        add_one(dag, expand(lefts.map(|n| 10 * n)));
        show(dag, expand(lefts.zip_fill(rights, (0, 0)).map(|(a, b)| (a, Some(b)))));
        add_one(dag, expand(lefts.concat(rights)));
        add::partial().right(100).expand_kwargs(dag, lefts.map(|n| json!({"left": n})));
    });
    let engine = ran(&definition);
    assert_eq!(texts(&engine, "ways", "add"), ["3", "4", "5", "5", "6", "7"]);
    assert_eq!(texts(&engine, "ways", "add_one"), ["11", "31"]);
    assert_eq!(
        texts(&engine, "ways", "show"),
        [r#""(1, Some(2))""#, r#""(3, Some(3))""#, r#""(0, Some(4))""#]
    );
    assert_eq!(texts(&engine, "ways", "add_one__1"), ["2", "4", "3", "4", "5"]);
    assert_eq!(texts(&engine, "ways", "add__1"), ["101", "103"]);
    // Every value is under its own map index.
    let key = XComKey::new("ways", "r", "add", 4, "return_value").unwrap();
    let answers = pollster::block_on(engine.pull(&Caller::user("test"), &[key], PullOptions::default()));
    assert_eq!(answers.unwrap().pop().unwrap().value().unwrap().as_str(), "6");
}
