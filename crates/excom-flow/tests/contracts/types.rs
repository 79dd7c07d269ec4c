//! Schemas of Rust types: what is written with serde fits them, and what does not fit is told with its place.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use excom::contract::TypeSchema;
use excom::prelude::*;
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    FastLane,
    Safe,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
enum External {
    Unit,
    Newtype(u32),
    Tuple(u8, String),
    Struct { a: i64, b: Option<String> },
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind")]
enum Internal {
    Struct { x: u8 },
    Newtype(Inner),
    Unit,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "t", content = "c")]
enum Adjacent {
    Newtype(u8),
    Struct { z: u8 },
    Unit,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Untagged {
    Number(u8),
    Text(String),
    Struct { q: u8 },
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
struct Inner {
    i: f64,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Tree {
    kids: Vec<Tree>,
    boxed: Option<Box<Tree>>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
struct Flattened {
    extra: i16,
    #[serde(flatten)]
    inner: Inner,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
struct Newtype(String);

/// What a value of a task can be made of.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Everything {
    big_id: u64,
    signed: i64,
    small: i8,
    float: f32,
    flag: bool,
    letter: char,
    option: Option<Inner>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    left_out: Option<u8>,
    #[serde(rename = "type")]
    ty: Newtype,
    map: BTreeMap<String, i32>,
    numbered: HashMap<i32, bool>,
    tuple: (u8, String, ()),
    array: [u16; 2],
    set: BTreeSet<String>,
    mode: Mode,
    external: Vec<External>,
    internal: Vec<Internal>,
    adjacent: Vec<Adjacent>,
    untagged: Vec<Untagged>,
    at: Timestamp,
    took: Duration,
    path: PathBuf,
    json: serde_json::Value,
    result: Result<u8, String>,
    tree: Tree,
    #[serde(flatten)]
    flattened: Flattened,
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = Just(Tree { kids: Vec::new(), boxed: None });
    leaf.prop_recursive(3, 12, 3, |inner| {
        (proptest::collection::vec(inner.clone(), 0..3), proptest::option::of(inner))
            .prop_map(|(kids, boxed)| Tree { kids, boxed: boxed.map(Box::new) })
    })
}

fn numbers() -> impl Strategy<Value = f64> {
    proptest::num::f64::NORMAL | proptest::num::f64::ZERO
}

fn enums() -> impl Strategy<Value = (Vec<External>, Vec<Internal>, Vec<Adjacent>, Vec<Untagged>)> {
    let external = prop_oneof![
        Just(External::Unit),
        any::<u32>().prop_map(External::Newtype),
        (any::<u8>(), ".*").prop_map(|(a, b)| External::Tuple(a, b)),
        (any::<i64>(), proptest::option::of(".*")).prop_map(|(a, b)| External::Struct { a, b }),
    ];
    let internal = prop_oneof![
        any::<u8>().prop_map(|x| Internal::Struct { x }),
        numbers().prop_map(|i| Internal::Newtype(Inner { i })),
        Just(Internal::Unit),
    ];
    let adjacent = prop_oneof![
        any::<u8>().prop_map(Adjacent::Newtype),
        any::<u8>().prop_map(|z| Adjacent::Struct { z }),
        Just(Adjacent::Unit),
    ];
    let untagged = prop_oneof![
        any::<u8>().prop_map(Untagged::Number),
        ".*".prop_map(Untagged::Text),
        any::<u8>().prop_map(|q| Untagged::Struct { q }),
    ];
    use proptest::collection::vec;
    (vec(external, 0..4), vec(internal, 0..4), vec(adjacent, 0..4), vec(untagged, 0..4))
}

prop_compose! {
    fn everything()(
        (big_id, signed, small, float, flag, letter) in
            (any::<u64>(), any::<i64>(), any::<i8>(), proptest::num::f32::NORMAL, any::<bool>(), any::<char>()),
        option in proptest::option::of(numbers()),
        left_out in any::<Option<u8>>(),
        text in ".*",
        map in proptest::collection::btree_map(".*", any::<i32>(), 0..3),
        numbered in proptest::collection::hash_map(any::<i32>(), any::<bool>(), 0..3),
        array in any::<[u16; 2]>(),
        set in proptest::collection::btree_set(".*", 0..3),
        mode in prop_oneof![Just(Mode::FastLane), Just(Mode::Safe)],
        (external, internal, adjacent, untagged) in enums(),
        (second, took, result) in (any::<i32>(), any::<u32>(), any::<bool>()),
        tree in tree(),
        (extra, i) in (any::<i16>(), numbers()),
    ) -> Everything {
        Everything {
            big_id, signed, small, float, flag, letter, left_out, map, numbered, array, set, mode, external,
            internal, adjacent, untagged, tree,
            option: option.map(|i| Inner { i }),
            ty: Newtype(text.clone()),
            tuple: (small as u8, text.clone(), ()),
            at: Timestamp::from_second(second.into()).unwrap(),
            took: Duration::from_millis(took.into()),
            path: text.clone().into(),
            json: json!([text, null, signed]),
            result: if result { Ok(1) } else { Err(text) },
            flattened: Flattened { extra, inner: Inner { i } },
        }
    }
}

proptest! {
    #[test]
    fn what_a_type_writes_fits_its_schema(value in everything()) {
        let ty = TypeSchema::of::<Everything>();
        let written = serde_json::to_value(&value).unwrap();
        prop_assert_eq!(ty.written().check(&written), Ok(()));
        prop_assert_eq!(ty.read().check(&written), Ok(()));
    }

    #[test]
    fn what_does_not_fit_is_told_with_its_place(value in everything(), other in any::<bool>()) {
        let mut written = serde_json::to_value(&value).unwrap();
        written["map"] = json!({ "a": 1, "b c": "x" });
        let told = TypeSchema::of::<Everything>().written().check(&written).unwrap_err().to_string();
        prop_assert_eq!(told, r#"$.map["b c"]: expected integer -2147483648 to 2147483647, found "x""#);
        written["map"] = json!({ "a": other });
        prop_assert!(TypeSchema::of::<Everything>().written().check(&written).is_err());
    }
}

fn refused<T: JsonSchema>(value: &serde_json::Value) -> String {
    TypeSchema::of::<T>()
        .written()
        .check(value)
        .map_or_else(|mismatch| mismatch.to_string(), |()| "fits".into())
}

#[test]
fn places_and_words() {
    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is used")]
    struct Table {
        rows: Vec<Row>,
    }
    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is used")]
    struct Row {
        price: f64,
        note: Option<String>,
    }
    let row = json!({ "price": 1.5, "note": null });
    let rows = |price: serde_json::Value| json!({ "rows": [row, row, row, { "price": price, "note": "x" }] });
    assert_eq!(refused::<Table>(&rows(json!(2))), "fits");
    assert_eq!(refused::<Table>(&rows(json!("n/a"))), r#"$.rows[3].price: expected number, found "n/a""#);
    assert_eq!(
        refused::<Table>(&json!({ "rows": [{}] })),
        "$.rows[0].note: expected string or null, found nothing"
    );
    assert_eq!(refused::<Table>(&json!(7)), "$: expected {rows}, found 7");

    assert_eq!(refused::<u8>(&json!(256)), "$: expected integer 0 to 255, found 256");
    assert_eq!(
        refused::<u32>(&json!(u64::from(u32::MAX) + 1)),
        "$: expected integer 0 to 4294967295, found 4294967296"
    );
    assert_eq!(refused::<u64>(&json!(-1)), "$: expected integer from 0, found -1");
    assert_eq!(refused::<i64>(&json!(1.0)), "$: expected integer, found 1.0");
    assert_eq!(refused::<i64>(&json!(u64::MAX)), format!("$: expected integer, found {}", u64::MAX));
    assert_eq!(refused::<f64>(&json!(3)), "fits");
    assert_eq!(refused::<char>(&json!("ab")), r#"$: expected at most 1 characters, found "ab""#);
    assert_eq!(refused::<[u16; 2]>(&json!([1])), "$: expected a list of 2, found list[1]");
    assert_eq!(refused::<(u8, String)>(&json!([1, 2])), "$[1]: expected string, found 2");
    assert_eq!(refused::<HashMap<i32, bool>>(&json!({ "-5": true })), "fits");
    assert_eq!(
        refused::<HashMap<i32, bool>>(&json!({ "five": true })),
        "$.five: expected no such name, found true"
    );
    assert_eq!(refused::<Mode>(&json!("slow")), r#"$: expected "fast-lane" or "safe", found "slow""#);
    // Of the variants, the one whose mark is right tells what is wrong.
    assert_eq!(
        refused::<Internal>(&json!({ "kind": "Struct", "x": 256 })),
        "$.x: expected integer 0 to 255, found 256"
    );
    assert_eq!(refused::<Internal>(&json!({ "kind": "Newtype" })), "$.i: expected number, found nothing");
    assert_eq!(
        refused::<Internal>(&json!({ "kind": "Neither" })),
        r#"$.kind: expected "Struct" or "Newtype" or "Unit", found "Neither""#
    );
    assert_eq!(
        refused::<External>(&json!({ "Struct": { "a": true, "b": null } })),
        "$.Struct.a: expected integer, found true"
    );
    assert_eq!(
        refused::<Untagged>(&json!(true)),
        "$: expected integer 0 to 255 or string or {q}, found true"
    );
    let deep = json!({ "kids": [{ "kids": [], "boxed": { "kids": 1, "boxed": null } }], "boxed": null });
    assert_eq!(refused::<Tree>(&deep), "$.kids[0].boxed.kids: expected [{boxed, kids}], found 1");
    let unknown = json!({ "kids": [], "boxed": null, "more": 1 });
    assert_eq!(refused::<Tree>(&unknown), "$.more: expected no such name, found 1");
    assert_eq!(refused::<serde_json::Value>(&json!([1, "x"])), "fits");
}

#[test]
fn a_type_that_is_one_of_itself_is_described() {
    #[derive(JsonSchema)]
    #[serde(untagged)]
    #[expect(dead_code, reason = "only its schema is used")]
    enum Chain {
        Next(Box<Chain>),
        End(u8),
    }
    assert_eq!(refused::<Vec<Chain>>(&json!([3])), "fits");
    assert_eq!(refused::<Vec<Chain>>(&json!(["x"])), r#"$[0]: expected integer 0 to 255 or …, found "x""#);
    assert_eq!(TypeSchema::of::<Vec<Chain>>().written().to_string(), "[integer 0 to 255 or …]");
}

#[test]
fn schemas_say_only_what_values_are_like() {
    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is used")]
    struct Plain {
        title: String,
        count: u8,
    }
    /// With text on it, and its fields in another order.
    #[derive(JsonSchema)]
    #[schemars(rename = "Plain")]
    #[expect(dead_code, reason = "only its schema is used")]
    struct Documented {
        /// How many.
        count: u8,
        /// What it is called.
        title: String,
    }
    assert_eq!(TypeSchema::of::<Plain>().written(), TypeSchema::of::<Documented>().written());
    let json = TypeSchema::of::<Plain>().written().as_json().to_string();
    assert_eq!(
        json,
        r#"{"properties":{"count":{"format":"uint8","maximum":255,"minimum":0,"type":"integer"},"title":{"type":"string"}},"required":["count","title"],"type":"object"}"#
    );
}
