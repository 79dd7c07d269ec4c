use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use serde::Deserialize;

use super::*;

#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "only read")]
struct Row {
    price: f64,
    #[serde(default)]
    count: u8,
    #[serde(default)]
    place: Option<(f64, f64)>,
    #[serde(default)]
    side: Option<Side>,
}

#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "only read")]
#[serde(rename_all = "lowercase")]
enum Side {
    Buy,
    Sell { until: String },
}

#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "only read")]
struct Table {
    rows: Vec<Row>,
}

#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "only read")]
struct Flat {
    name: String,
    #[serde(flatten)]
    row: Row,
}

/// What is said behind the name of the type.
fn said<T: DeserializeOwned>(json: &str) -> String {
    let error = Value::parse(json.to_owned()).unwrap().get::<T>().err().expect("it does not fit");
    let text = error.to_string();
    assert!(text.starts_with("the value does not fit the type "), "{text}");
    text.split_once(": ").unwrap().1.to_owned()
}

#[test]
fn the_place_what_was_expected_and_what_was_found() {
    let rows = |row: &str| said::<Table>(&format!(r#"{{"rows": [{{"price": 1}}, {row}]}}"#));
    assert_eq!(rows(r#"{"price": "n/a"}"#), r#"$.rows[1].price: expected a number, found "n/a""#);
    assert_eq!(rows(r#"{"price": null}"#), "$.rows[1].price: expected a number, found null");
    assert_eq!(rows(r#"{"count": 1}"#), r#"$.rows[1]: `price` is missing in {"count": 1}"#);
    assert_eq!(rows("[]"), "$.rows[1]: expected a list with 4 elements (Row), found one with 0: []");
    assert_eq!(
        rows(r#"{"price": 1, "count": 300}"#),
        "$.rows[1].count: expected a whole number from 0 to 255, found 300"
    );
    assert_eq!(rows(r#"{"price": 1, "count": 3.5}"#), "$.rows[1].count: expected a whole number, found 3.5");
    assert_eq!(
        rows(r#"{"price": 1, "place": [2.5]}"#),
        "$.rows[1].place: expected a list with 2 elements, found one with 1: [2.5]"
    );
    assert_eq!(said::<Table>("[[{}]]"), "$[0][0]: `price` is missing in {}");
    assert_eq!(said::<Table>("3"), "$: expected a dict (Table), found 3");
    assert_eq!(said::<Vec<bool>>(r#"{"a": true}"#), r#"$: expected a list, found {"a": true}"#);
    assert_eq!(said::<HashMap<u8, String>>(r#"{"1": true}"#), "$['1']: expected a string, found true");
    assert_eq!(said::<Vec<char>>(r#"["ab"]"#), r#"$[0]: expected a string with one character, found "ab""#);
    assert_eq!(said::<Vec<()>>("[0]"), "$[0]: expected null, found 0");
}

#[test]
fn variants() {
    assert_eq!(said::<Vec<Side>>(r#"["hold"]"#), r#"$[0]: expected `buy` or `sell`, found "hold""#);
    assert_eq!(said::<Side>(r#"{"sell": {"until": 3}}"#), "$.sell.until: expected a string, found 3");
}

#[test]
fn a_type_that_looks_inside_late_says_what_it_found_and_near_where() {
    assert_eq!(
        said::<Vec<Flat>>(r#"[{"name": "a", "price": "n/a"}]"#),
        r#"$[0]: expected a number, found string "n/a" somewhere in {"name": "a", "price": "n/a"}"#
    );
}

#[test]
fn names_in_a_path_are_quoted_where_they_need_it() {
    let place = |name: &str| Place(&[Step::Name(name.to_owned())]).to_string();
    for (name, path) in [
        ("price_2", "$.price_2"),
        ("größe", "$.größe"),
        ("a b", "$['a b']"),
        ("3", "$['3']"),
        ("", "$['']"),
        ("it's", r"$['it\'s']"),
        ("a\\\n\"", "$['a\\\\\\n\"']"),
    ] {
        assert_eq!(place(name), path);
    }
}

#[test]
fn what_was_found_is_shown_on_one_line_and_not_at_length() {
    assert_eq!(
        said::<u8>("{\n  \"a\": 1,\n  \"b\": 2\n}"),
        r#"$: expected a whole number, found { "a": 1, "b": 2 }"#
    );
    let long = said::<u8>(&format!("\"{}\"", "é".repeat(500)));
    assert!(long.ends_with("é…") && long.chars().count() < 110, "{long}");
    let inside = said::<Flat>(&format!(r#"{{"name": "a", "price": "{}"}}"#, "é".repeat(500)));
    assert!(inside.chars().count() < 200, "{inside}");
}

#[test]
fn words_that_are_not_known_are_kept() {
    #[derive(Debug, Deserialize)]
    #[serde(try_from = "u8")]
    struct Even;
    impl TryFrom<u8> for Even {
        type Error = String;
        fn try_from(n: u8) -> Result<Self, String> {
            if n.is_multiple_of(2) { Ok(Self) } else { Err(format!("{n} is odd")) }
        }
    }
    assert_eq!(said::<BTreeMap<String, Even>>(r#"{"n": 3}"#), "$.n: 3 is odd; it is 3");
}

#[test]
fn types_are_named_without_their_modules() {
    assert_eq!(short_name("alloc::vec::Vec<(u8, weather::days::Day)>"), "Vec<(u8, Day)>");
    assert_eq!(short_name("&[core::option::Option<f64>]"), "&[Option<f64>]");
}

/// Any JSON, a few levels deep, with names that are hard in a path.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let name = prop_oneof!["price|rows|count|place|side|sell|name", ".{0,4}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::vec((name, inner), 0..4)
                .prop_map(|pairs| serde_json::Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// The value that a path in an error leads to.
fn follow<'a>(mut value: &'a serde_json::Value, mut path: &str) -> Option<&'a serde_json::Value> {
    // A path of the error: every step that could come next is tried against what is really there.
    while !path.is_empty() {
        let steps: Vec<(String, &serde_json::Value)> = match value {
            serde_json::Value::Array(list) => list
                .iter()
                .enumerate()
                .map(|(n, inner)| (Place(&[Step::Index(n)]).to_string(), inner))
                .collect(),
            serde_json::Value::Object(dict) => dict
                .iter()
                .map(|(name, inner)| (Place(&[Step::Name(name.clone())]).to_string(), inner))
                .collect(),
            _ => return None,
        };
        let (step, inner) = steps
            .into_iter()
            .filter(|(step, _)| path.starts_with(&step[1..]))
            .max_by_key(|(step, _)| step.len())?;
        path = &path[step.len() - 1..];
        value = inner;
    }
    Some(value)
}

/// Where it went wrong leads to a value that exists, and what is shown is that value.
fn holds<T: DeserializeOwned>(json: &serde_json::Value) -> Result<(), TestCaseError> {
    let value = Value::of(json).unwrap();
    let mut text = serde_json::Deserializer::from_slice(value.bytes());
    let Err(error) = T::deserialize(&mut text) else { return Ok(()) };
    let message = value.get::<T>().err().expect("as before").to_string();
    let (path, _) = locate::<T>(value.bytes(), error);
    let steps = steps(&path);
    let (steps, found) =
        (0..=steps.len()).rev().find_map(|n| Some((&steps[..n], find(value.bytes(), &steps[..n])?))).unwrap();
    let place = Place(steps).to_string();
    prop_assert!(message.contains(&place), "{} has no {}", message, place);
    let there = follow(json, &place[1..]);
    prop_assert_eq!(there, Some(&serde_json::from_str(found).unwrap()), "{}", message);
    Ok(())
}

proptest! {
    #[test]
    fn a_path_leads_to_a_value_that_exists(json in json()) {
        holds::<Table>(&json)?;
        holds::<Flat>(&json)?;
        holds::<Vec<Side>>(&json)?;
        holds::<HashMap<String, Vec<u8>>>(&json)?;
        holds::<(u8, HashMap<i32, Option<char>>)>(&json)?;
    }

    #[test]
    fn no_words_are_too_strange(text in ".{0,40}", found in ".{0,80}") {
        for prefix in ["", "invalid type: ", "invalid value: integer ", "missing field ", "unknown variant "] {
            let words = format!("{prefix}{text}, expected {text}");
            prop_assert!(!sentence(&words, &found).is_empty());
        }
    }
}
