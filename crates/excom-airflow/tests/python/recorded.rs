//! What Airflow wrote, read here.

use excom_airflow::python::plain;
use excom_core::Value;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::table::table;

pub(crate) const RECORDED: &str = include_str!("recorded.jsonl");

/// A line of the file.
#[derive(Deserialize)]
struct Line {
    name: String,
    json: Box<RawValue>,
}

/// What Airflow wrote for each value of the table, in its order.
pub(crate) fn recorded() -> Vec<(String, Value)> {
    let lines = RECORDED.lines().map(|line| serde_json::from_str::<Line>(line).unwrap());
    lines.map(|line| (line.name, Value::parse(line.json.get().to_owned()).unwrap())).collect()
}

fn tree(value: &Value) -> serde_json::Value {
    value.get().unwrap()
}

#[test]
fn the_tables_have_the_same_values() {
    let names: Vec<String> = recorded().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, table().iter().map(|row| row.name).collect::<Vec<_>>());
}

#[test]
fn what_airflow_wrote_is_read() {
    for ((_, json), row) in recorded().iter().zip(table()) {
        (row.read)(json);
    }
}

/// PostgreSQL sorts the names of a dict by length, which brings the data before the class.
#[test]
fn the_order_of_names_does_not_matter() {
    fn sorted(value: &serde_json::Value) -> serde_json::Value {
        match value {
            serde_json::Value::Array(list) => list.iter().map(sorted).collect(),
            serde_json::Value::Object(dict) => {
                let mut entries: Vec<_> =
                    dict.iter().map(|(name, value)| (name.clone(), sorted(value))).collect();
                entries.sort_by_key(|(name, _)| (name.len(), name.clone()));
                serde_json::Value::Object(entries.into_iter().collect())
            }
            other => other.clone(),
        }
    }
    for ((name, json), row) in recorded().iter().zip(table()).filter(|((name, _), _)| name != "large decimal")
    {
        let sorted = Value::of(&sorted(&tree(json))).unwrap();
        assert!(!sorted.as_str().starts_with("{\"__classname__\""), "{name}");
        (row.read)(&sorted);
    }
}

#[test]
fn what_is_written_is_what_airflow_writes() {
    for ((name, json), row) in recorded().iter().zip(table()) {
        match row.differs {
            None => assert_eq!(tree(&row.written), tree(json), "{name}"),
            Some(why) => assert_ne!(tree(&row.written), tree(json), "{name}: {why}"),
        }
    }
}

#[test]
fn plain_leaves_no_class() {
    for ((name, json), row) in recorded().iter().zip(table()) {
        let plain = plain(json);
        assert_eq!(tree(&plain), row.plain.unwrap_or_else(|| tree(json)), "{name}");
        assert!(!plain.as_str().contains("__"), "{plain:?}");
    }
}
