//! Contracts of DAGs: what is taken from where, what is given, and that the version follows from it alone.

use std::collections::BTreeMap;

use excom::contract::{Contract, Source, TypeSchema};
use excom::prelude::*;
use excom_core::Value;

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, Outputs)]
struct Choice {
    table: String,
    rows: u64,
}

/// Without a schema.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Opaque {
    n: u8,
}

#[task(multiple_outputs, retries = 2)]
fn choose(day: String) -> Choice {
    Choice { table: day, rows: 1 }
}

#[task]
fn load(table: String, rows: Option<u64>, limit: f64) -> Result<Vec<u32>> {
    drop((table, rows, limit));
    Ok(vec![])
}

#[task]
fn square(n: u32, more: Opaque) -> u32 {
    n + u32::from(more.n)
}

#[task]
fn sum(squares: Mapped<u32>, again: Vec<Option<u32>>, words: Vec<String>) {
    drop((squares, again, words));
}

#[task(trigger_rule = "all_done")]
fn opaque() -> Option<Vec<Opaque>> {
    None
}

#[task(multiple_outputs)]
fn dict() -> BTreeMap<String, u8> {
    BTreeMap::new()
}

/// Everything that an argument can be.
#[dag]
fn all(dag: &Dag, #[param(default = "2026-11-21")] day: Param<String>, #[param] limits: Param<Vec<f64>>) {
    let choice = choose(dag, day);
    let limit = limits.map(|limit| limit * 2.0);
    load(dag, choice.table(), choice.rows(), expand(limit));
    let list = load(dag, "t", 5, 1.5);
    let squares = square(dag, expand(list), Opaque { n: 1 });
    sum(dag, squares, squares, ["a"].elements());
    opaque(dag);
    let dict = dict(dag);
    square::partial().more(Opaque { n: 2 }).expand_kwargs(dag, dict_list(dag));
    let bash = dag.bash("tell", "echo 1").env("TABLE", choice.table()).output();
    load(dag, bash, dict.output::<u64>("by_hand"), 1.0);
}

#[task]
fn dict_list() -> Vec<BTreeMap<String, u32>> {
    vec![]
}

trait Listed<T> {
    fn elements(self) -> excom::XComSequence<T>;
}

impl Listed<String> for [&str; 1] {
    fn elements(self) -> excom::XComSequence<String> {
        excom::IntoElements::into_elements(self)
    }
}

fn contract() -> Contract {
    all().contract().unwrap()
}

fn input(contract: &Contract, task: &str, name: &str) -> (Source, String) {
    let input = &contract.tasks[task].inputs[name];
    (input.from.clone(), input.schema.to_string())
}

fn output(task: &str, key: &str) -> Source {
    Source::Output { task: task.into(), key: key.into() }
}

#[test]
fn arguments_come_from_somewhere_and_have_types() {
    let contract = contract();
    let of = |task: &str, name: &str| input(&contract, task, name);
    assert_eq!(of("choose", "day"), (Source::Param("day".into()), "string".into()));
    assert_eq!(of("load", "table"), (output("choose", "table"), "string".into()));
    assert_eq!(of("load", "rows"), (output("choose", "rows"), "integer from 0 or null".into()));
    let made = Source::MadeOf(vec![Source::Param("limits".into())]);
    assert_eq!(of("load", "limit"), (Source::ElementOf(Box::new(made)), "number".into()));
    assert_eq!(of("load__1", "limit"), (Source::Literal, "number".into()));
    let element = Source::ElementOf(Box::new(output("load__1", "return_value")));
    assert_eq!(of("square", "n"), (element, "integer 0 to 4294967295".into()));
    assert_eq!(of("square", "more"), (Source::Literal, "anything (`Opaque`)".into()));
    let squares = Source::Outputs { task: "square".into(), key: "return_value".into() };
    assert_eq!(of("sum", "squares"), (squares.clone(), "[integer 0 to 4294967295]".into()));
    assert_eq!(of("sum", "again"), (squares, "[integer 0 to 4294967295 or null]".into()));
    assert_eq!(of("sum", "words"), (Source::Literal, "[string]".into()));
    let entry = Source::EntryOf(Box::new(Source::ElementOf(Box::new(output("dict_list", "return_value")))));
    assert_eq!(of("square__1", "n"), (entry, "integer 0 to 4294967295".into()));
    assert_eq!(of("tell", "env.TABLE"), (output("choose", "table"), "anything".into()));
    assert_eq!(of("load__2", "table"), (output("tell", "return_value"), "string".into()));
}

#[test]
fn outputs_have_types_also_those_that_only_a_reader_knows() {
    let contract = contract();
    let of = |task: &str| {
        let outputs = contract.tasks[task].outputs.iter();
        outputs.map(|(key, schema)| format!("{key}: {schema}")).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(of("choose"), "return_value: {rows, table}, rows: integer from 0, table: string");
    assert_eq!(of("load"), "return_value: [integer 0 to 4294967295]");
    assert_eq!(of("sum"), "");
    assert_eq!(of("opaque"), "return_value: anything (`Option<Vec<Opaque>>`)");
    assert_eq!(of("tell"), "return_value: string");
    assert_eq!(of("dict"), "by_hand: integer from 0 or null, return_value: dict of integer 0 to 255");
}

#[test]
fn tasks_say_how_they_run() {
    let contract = contract();
    let (choose, load, opaque) =
        (&contract.tasks["choose"], &contract.tasks["load"], &contract.tasks["opaque"]);
    assert_eq!((choose.retries, choose.mapped, load.mapped), (2, false, true));
    assert_eq!((choose.trigger_rule.name(), opaque.trigger_rule.name()), ("all_success", "all_done"));
    assert_eq!(load.upstream.iter().collect::<Vec<_>>(), ["choose"]);
    let (day, limits) = (&contract.params["day"], &contract.params["limits"]);
    assert_eq!((day.schema.to_string(), day.default.clone()), ("string".into(), Some("2026-11-21".into())));
    assert_eq!((limits.schema.to_string(), limits.default.clone()), ("[number]".into(), None));
}

#[test]
fn a_contract_is_read_as_it_was_written() {
    let contract = contract();
    let document = contract.document().unwrap();
    assert_eq!(Contract::read(&document).unwrap(), contract);
    assert_eq!(Contract::read(&document).unwrap().version(), contract.version());
    // Also when somebody reordered it.
    let mut json: serde_json::Value = document.get().unwrap();
    let tasks = json.as_object_mut().unwrap().shift_remove("tasks").unwrap();
    json["tasks"] = tasks;
    assert_eq!(Contract::read(&Value::of(&json).unwrap()).unwrap().version(), contract.version());

    let error = Contract::read(&Value::of(&[1]).unwrap()).unwrap_err();
    assert!(error.hints().iter().any(|hint| hint.contains("contracts export")), "{error:?}");
}

#[task]
fn one() -> Vec<Inner> {
    vec![]
}

#[task]
fn two(inners: Vec<Inner>, _n: Option<i16>) -> excom::Result<Option<Vec<Opaque>>> {
    drop(inners);
    Ok(None)
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Inner {
    at: f64,
    name: Option<String>,
}

#[dag(id = "fixed")]
fn fixed(dag: &Dag, #[param(default = 3)] n: Param<i16>) {
    two(dag, one(dag), n);
}

#[test]
fn the_version_is_the_same_in_every_process_and_build() {
    let contract = fixed().contract().unwrap();
    let written = contract.document().unwrap();
    assert_eq!(written.as_str(), include_str!("fixed.json").trim_end());
    assert_eq!(&*contract.version(), "2d1960004ee72600");
}

#[test]
fn types_without_a_schema_are_anything_with_a_name() {
    let unknown = TypeSchema::unknown("Order").read();
    assert!(unknown.is_anything() && unknown.check(&serde_json::json!([1])).is_ok());
    assert_eq!(unknown.as_json().to_string(), r#"{"x-rust-type":"Order"}"#);
}
