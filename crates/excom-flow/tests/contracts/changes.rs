//! What a change of a DAG breaks: a table of changes, each as two types or two DAGs.

use std::collections::BTreeMap;

use excom::contract::{Breaks, Change, ChangeKind, Contract, TypeSchema, diff};
use excom::prelude::*;
use excom::{Dag, DagDefinition};
use serde_json::{Value, json};

/// A DAG in which `fetch` gives what is of one type and `total` takes it.
fn contract(written: &TypeSchema, read: &TypeSchema) -> Value {
    json!({
        "dag_id": "orders",
        "params": {},
        "tasks": {
            "fetch": task(&json!({}), &json!({ "return_value": written.written() })),
            "total": task(&json!({ "orders": {
                "from": { "output": { "task": "fetch", "key": "return_value" } },
                "schema": read.read(),
            } }), &json!({})),
        },
    })
}

fn task(inputs: &Value, outputs: &Value) -> Value {
    json!({ "inputs": inputs, "outputs": outputs, "upstream": [], "mapped": false,
            "trigger_rule": "all_success", "retries": 0 })
}

fn read(json: &Value) -> Contract {
    Contract::read(&excom_core::Value::of(json).unwrap()).unwrap()
}

/// Whom it breaks when a type becomes another: its consumer with old values, readers elsewhere.
fn breaks<Old: JsonSchema, New: JsonSchema>() -> (bool, bool, String) {
    let version = |ty| read(&contract(&ty, &ty));
    let changes = diff(&version(TypeSchema::of::<Old>()), &version(TypeSchema::of::<New>()));
    let breaks = |whom| changes.iter().any(|change| change.breaks.contains(&whom));
    let words: Vec<String> = changes.iter().map(Change::to_string).collect();
    (breaks(Breaks::OldValues), breaks(Breaks::ReadersElsewhere), words.join("\n"))
}

macro_rules! structs {
    ($($name:ident { $($(#[$about:meta])* $field:ident: $ty:ty),* })*) => {$(
        #[derive(Serialize, Deserialize, JsonSchema)]
        struct $name { $($(#[$about])* $field: $ty),* }
    )*};
}

structs! {
    Plain { id: u32 }
    More { id: u32, price: f64 }
    MoreOptional { id: u32, price: Option<f64> }
    MoreDefault { id: u32, #[serde(default)] price: f64 }
    Wider { id: u64 }
    Text { id: String }
    Nullable { id: Option<u32> }
    Timed { id: u32, at: jiff::Timestamp }
    TimedText { id: u32, at: String }
    Deep { list: Vec<Plain> }
    DeepMore { list: Vec<More> }
    Knot { id: u32, next: Option<Box<Knot>> }
    KnotWider { id: u64, next: Option<Box<KnotWider>> }
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Closed {
    id: u32,
}

/// One of itself.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Chain {
    Next(Box<Chain>),
    End(u8),
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum ChainWider {
    Next(Box<ChainWider>),
    End(u16),
}

#[derive(Serialize, Deserialize, JsonSchema)]
enum Two {
    A,
    B,
}

#[derive(Serialize, Deserialize, JsonSchema)]
enum Three {
    A,
    B,
    C,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind")]
enum Shape {
    Circle { radius: f64 },
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind")]
enum Shapes {
    Circle { radius: f64 },
    Square { side: f64 },
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind")]
enum ShapeNamed {
    Circle { radius: f64, name: String },
}

#[test]
fn changes_of_types() {
    let table = [
        // old type, new type: breaks consumers of old values, breaks readers elsewhere, a place that is told
        ("same", breaks::<Plain, Plain>(), false, false, ""),
        ("field added", breaks::<Plain, More>(), true, false, "$.price may be missing"),
        ("field removed", breaks::<More, Plain>(), false, true, "$.price may be missing"),
        ("optional field added", breaks::<Plain, MoreOptional>(), false, false, ""),
        ("field with default added", breaks::<Plain, MoreDefault>(), false, false, ""),
        ("became optional", breaks::<More, MoreOptional>(), false, true, "$.price may be null"),
        ("became required", breaks::<MoreOptional, More>(), true, false, "$.price may be null"),
        ("integer widened", breaks::<Plain, Wider>(), false, true, "$.id may be integer from 0"),
        ("integer narrowed", breaks::<Wider, Plain>(), true, false, "$.id may be integer from 0"),
        ("integer to float", breaks::<u32, f64>(), false, true, "$ may be number"),
        ("other type", breaks::<Plain, Text>(), true, true, "$.id may be string"),
        ("became nullable", breaks::<Plain, Nullable>(), false, true, "$.id may be null"),
        ("text to time", breaks::<TimedText, Timed>(), true, false, "$.at may be any string"),
        ("time to text", breaks::<Timed, TimedText>(), false, true, "$.at may be any string"),
        ("inside of a list", breaks::<Deep, DeepMore>(), true, false, "$.list[].price may be missing"),
        ("recursive", breaks::<Knot, KnotWider>(), false, true, "$.id may be integer from 0"),
        ("recursive, same", breaks::<Knot, Knot>(), false, false, ""),
        ("one of itself", breaks::<Chain, ChainWider>(), false, true, "$ may be integer 0 to 65535"),
        ("enum value added", breaks::<Two, Three>(), false, true, r#"$ may be "C""#),
        ("enum value removed", breaks::<Three, Two>(), true, false, r#"$ may be "C""#),
        ("variant added", breaks::<Shape, Shapes>(), false, true, "$ may be {kind, side}"),
        ("variant removed", breaks::<Shapes, Shape>(), true, false, "$ may be {kind, side}"),
        ("field of a variant added", breaks::<Shape, ShapeNamed>(), true, false, "$.name may be missing"),
        ("list of wider", breaks::<Vec<u32>, Vec<u64>>(), false, true, "$[] may be integer from 0"),
        ("list to one", breaks::<Vec<u32>, u32>(), true, true, "$ may be [integer"),
        ("tuple longer", breaks::<(u8, u8), (u8, u8, u8)>(), true, true, "fewer elements than 3"),
        (
            "dict of wider",
            breaks::<BTreeMap<String, u8>, BTreeMap<String, u16>>(),
            false,
            true,
            "$[*] may be",
        ),
        ("names are integers", breaks::<BTreeMap<String, u8>, BTreeMap<u32, u8>>(), true, false, "any names"),
        ("struct to dict", breaks::<Plain, BTreeMap<String, u32>>(), false, true, "$.id may be missing"),
        ("fields are refused", breaks::<More, Closed>(), true, true, "$.price may be there"),
        ("anything", breaks::<Plain, Value>(), false, false, "cannot be told"),
    ];
    for (name, (old_values, elsewhere, words), expected_old, expected_elsewhere, place) in table {
        assert_eq!((old_values, elsewhere), (expected_old, expected_elsewhere), "{name}: {words}");
        assert!(words.contains(place), "{name}: {words}");
    }
}

/// The changes from one DAG to another: kind, path, and whom they break.
fn changes(old: &DagDefinition, new: &DagDefinition) -> Vec<(ChangeKind, String, String)> {
    let changes = diff(&old.contract().unwrap(), &new.contract().unwrap());
    changes
        .into_iter()
        .map(|change| {
            let whom: Vec<String> = change.breaks.iter().map(|whom| format!("{whom:?}")).collect();
            (change.kind, change.path, whom.join(", "))
        })
        .collect()
}

#[task]
fn numbers() -> Vec<u32> {
    vec![]
}
#[task(task_id = "numbers")]
fn numbers_wider() -> Vec<u64> {
    vec![]
}
#[task(task_id = "numbers", multiple_outputs)]
fn named_numbers() -> BTreeMap<String, u32> {
    BTreeMap::new()
}
#[task]
fn one(n: u32) -> u32 {
    n
}
#[task(task_id = "one")]
fn one_wider(n: u64) -> u64 {
    n
}
#[task(task_id = "one", retries = 3, trigger_rule = "all_done")]
fn one_patient(n: u32) -> u32 {
    n
}
#[task]
fn end(ns: Vec<u32>) {
    drop(ns);
}
#[task(task_id = "end")]
fn end_wider(ns: Vec<u64>) {
    drop(ns);
}

fn dag<T>(build: impl Fn(&Dag) -> T + Send + Sync + 'static) -> DagDefinition {
    DagDefinition::new("d", move |dag| {
        build(dag);
    })
}

const BOTH: &str = "OldValues, ReadersElsewhere";

fn table(old: &DagDefinition, new: &DagDefinition, expected: &[(ChangeKind, &str, &str)]) {
    let found = changes(old, new);
    let found: Vec<(ChangeKind, &str, &str)> =
        found.iter().map(|(kind, path, breaks)| (*kind, path.as_str(), breaks.as_str())).collect();
    assert_eq!(found, expected);
}

#[test]
fn tasks_that_come_and_go() {
    let both = dag(|dag| end(dag, numbers(dag)));
    let alone = dag(numbers);
    table(&alone, &both, &[(ChangeKind::TaskAdded, "tasks.end", "")]);
    table(&both, &alone, &[(ChangeKind::TaskRemoved, "tasks.end", "")]);
    let none = dag(|dag| end(dag, vec![1]));
    table(
        &both,
        &none,
        &[
            (ChangeKind::InputSource, "tasks.end.inputs.ns", ""),
            (ChangeKind::TaskSettings, "tasks.end", ""),
            (ChangeKind::TaskRemoved, "tasks.numbers", "ReadersElsewhere"),
        ],
    );
    let words = diff(&both.contract().unwrap(), &none.contract().unwrap()).pop().unwrap().to_string();
    assert_eq!(
        words,
        "tasks.numbers: it is gone, and nobody pushes its `return_value` any more; the old version's task `end` took it"
    );
}

#[test]
fn outputs_that_come_and_go() {
    let plain = dag(numbers);
    let by_hand = dag(|dag| {
        let rows = numbers(dag).output::<u32>("rows");
        one(dag, rows);
    });
    // Who takes what was not pushed before has nothing in a run that goes on.
    table(
        &plain,
        &by_hand,
        &[
            (ChangeKind::OutputAdded, "tasks.numbers.outputs.rows", ""),
            (ChangeKind::TaskAdded, "tasks.one", ""),
            (ChangeKind::InputSource, "tasks.one.inputs.n", "OldValues"),
        ],
    );
    table(
        &by_hand,
        &plain,
        &[
            (ChangeKind::OutputRemoved, "tasks.numbers.outputs.rows", "ReadersElsewhere"),
            (ChangeKind::TaskRemoved, "tasks.one", "ReadersElsewhere"),
        ],
    );
    // Without a reader in the DAG, an old value of another type may be pulled by hand.
    let named = dag(named_numbers);
    table(&plain, &named, &[(ChangeKind::OutputType, "tasks.numbers.outputs.return_value", BOTH)]);
}

#[test]
fn types_and_who_takes_them() {
    let old = dag(|dag| end(dag, numbers(dag)));
    let new = dag(|dag| end_wider(dag, numbers_wider(dag)));
    // Old values are narrower, so their consumer reads them.
    let output = (ChangeKind::OutputType, "tasks.numbers.outputs.return_value", "ReadersElsewhere");
    table(&old, &new, &[output]);
    let output = (ChangeKind::OutputType, "tasks.numbers.outputs.return_value", "");
    table(&new, &old, &[(ChangeKind::InputType, "tasks.end.inputs.ns", "OldValues"), output]);

    // The elements of a list, and the values of a mapped task as a list.
    let old = dag(|dag| end_wider(dag, one_wider(dag, expand(numbers_wider(dag)))));
    let new = dag(|dag| end(dag, one(dag, expand(numbers(dag)))));
    table(
        &old,
        &new,
        &[
            (ChangeKind::InputType, "tasks.end.inputs.ns", "OldValues"),
            (ChangeKind::OutputType, "tasks.numbers.outputs.return_value", ""),
            (ChangeKind::OutputType, "tasks.one.outputs.return_value", ""),
            (ChangeKind::InputType, "tasks.one.inputs.n", "OldValues"),
        ],
    );
}

#[test]
fn mapped_and_settings() {
    let single = dag(|dag| one(dag, 1));
    let mapped = dag(|dag| one(dag, expand([1])));
    let change = (ChangeKind::TaskMapped, "tasks.one", BOTH);
    let source = (ChangeKind::InputSource, "tasks.one.inputs.n", "");
    table(&single, &mapped, &[change, source]);
    table(&mapped, &single, &[change, source]);
    let patient = dag(|dag| one_patient(dag, 1));
    table(&single, &patient, &[(ChangeKind::TaskSettings, "tasks.one", "")]);
    table(&single, &single, &[]);
    let renamed = DagDefinition::new("e", |dag| {
        one(dag, 1);
    });
    table(&single, &renamed, &[(ChangeKind::DagRenamed, "dag_id", BOTH)]);
}

#[dag(id = "p")]
fn none(_dag: &Dag) {}
#[dag(id = "p")]
fn required(_dag: &Dag, #[param] _n: Param<u32>) {}
#[dag(id = "p")]
fn standard(_dag: &Dag, #[param(default = 1)] _n: Param<u32>) {}
#[dag(id = "p")]
fn other_standard(_dag: &Dag, #[param(default = 2)] _n: Param<u32>) {}
#[dag(id = "p")]
fn wide(_dag: &Dag, #[param] _n: Param<u64>) {}

#[test]
fn params() {
    use ChangeKind::{ParamAdded, ParamDefault, ParamRemoved, ParamType};
    let path = "params._n";
    table(&none(), &required(), &[(ParamAdded, path, BOTH)]);
    table(&none(), &standard(), &[(ParamAdded, path, "")]);
    table(&required(), &none(), &[(ParamRemoved, path, BOTH)]);
    table(&standard(), &required(), &[(ParamDefault, path, "ReadersElsewhere")]);
    table(&required(), &standard(), &[(ParamDefault, path, "")]);
    table(&standard(), &other_standard(), &[(ParamDefault, path, "")]);
    table(&required(), &wide(), &[(ParamType, path, "")]);
    table(&wide(), &required(), &[(ParamType, path, BOTH)]);
}

/// A type, and values that it writes.
fn of<T: Serialize + JsonSchema>(values: impl IntoIterator<Item = T>) -> (TypeSchema, Vec<Value>) {
    let values = values.into_iter().map(|value| serde_json::to_value(value).unwrap()).collect();
    (TypeSchema::of::<T>(), values)
}

/// What the comparison says about schemas holds for values: what is said to be read is read.
#[test]
fn what_is_said_to_fit_fits() {
    const LARGE: u64 = 5_000_000_000;
    let (id, price) = (1, 1.5);
    let knot = |next| Knot { id, next };
    let types = [
        of([Plain { id }]),
        of([More { id, price }]),
        of([MoreOptional { id, price: Some(price) }, MoreOptional { id, price: None }]),
        of([MoreDefault { id, price }]),
        of([Wider { id: 1 }, Wider { id: LARGE }]),
        of([Text { id: "1".into() }]),
        of([Nullable { id: Some(1) }, Nullable { id: None }]),
        of([Closed { id }]),
        of([knot(None), knot(Some(Box::new(knot(None))))]),
        of([KnotWider { id: 1, next: Some(Box::new(KnotWider { id: LARGE, next: None })) }]),
        of([Chain::End(7), Chain::Next(Box::new(Chain::End(8)))]),
        of([ChainWider::End(7), ChainWider::Next(Box::new(ChainWider::End(300)))]),
        of([Two::A, Two::B]),
        of([Three::A, Three::B, Three::C]),
        of([Shape::Circle { radius: 1.0 }]),
        of([Shapes::Circle { radius: 1.0 }, Shapes::Square { side: 2.0 }]),
        of([ShapeNamed::Circle { radius: 1.0, name: "r".into() }]),
        of([BTreeMap::<String, u8>::new(), BTreeMap::from([("a".to_owned(), 200)])]),
        of([BTreeMap::<u32, Option<u8>>::from([(7, Some(200)), (8, None)])]),
        of([(7_u8, 8_u8)]),
        of([[7_i64, -8, 9]]),
        of([vec![Some(1.5), None], vec![]]),
        of::<Result<u8, String>>([Ok(7), Err("x".into())]),
        of(["2026-11-21T10:00:00Z".parse::<jiff::Timestamp>().unwrap()]),
        of(["A".to_owned(), "any".to_owned()]),
        of([7_u8]),
        of([-300_i32, 300]),
        of([1.5, 7.0]),
    ];
    let mut fitting = 0;
    for ((from, values), (into, _)) in
        types.iter().flat_map(|from| types.iter().map(move |into| (from, into)))
    {
        let changes = diff(&read(&contract(from, from)), &read(&contract(into, into)));
        if changes.iter().any(|change| change.breaks.contains(&Breaks::OldValues)) {
            // Each of these is different, so somebody must be told.
            assert_ne!(from.written(), into.written());
            continue;
        }
        for value in values {
            fitting += 1;
            assert_eq!(into.read().check(value), Ok(()), "{value} of {from:?} is not read by {into:?}");
        }
    }
    assert!(fitting > values_of(&types), "{fitting}");
}

/// Every type reads what it writes itself.
fn values_of(types: &[(TypeSchema, Vec<Value>)]) -> usize {
    types.iter().map(|(_, values)| values.len()).sum()
}
