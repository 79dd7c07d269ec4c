//! Airflow's REST API v2 as it is on the wire, as far as it is about XComs and variables.

mod masked;
mod variable;

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use self::masked::{is_sensitive, masked};
pub use self::variable::{VariableBody, VariableEntries, VariableEntry};
use crate::numbers::map_index;

/// Keys by which Airflow's workers mark values of Python's types. Who writes by REST may not use them.
pub const RESERVED: [&str; 8] =
    ["__classname__", "__version__", "__data__", "__id__", "__cache__", "__type", "__source", "__var"];

/// An XCom; in lists without its value.
#[derive(Debug, Clone, Serialize)]
pub struct XComEntry {
    /// Its key.
    pub key: Arc<str>,
    /// When it was pushed.
    pub timestamp: Timestamp,
    /// The date that its run is for.
    pub logical_date: Option<Timestamp>,
    /// The map index; −1 when the task is not mapped.
    pub map_index: i32,
    /// The task's id.
    pub task_id: Arc<str>,
    /// The DAG's id.
    pub dag_id: Arc<str>,
    /// The run's id.
    pub run_id: Arc<str>,
    /// What people see of the DAG.
    pub dag_display_name: Arc<str>,
    /// What people see of the task.
    pub task_display_name: Arc<str>,
    /// When the run was due.
    pub run_after: Option<Timestamp>,
    /// The value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Box<RawValue>>,
}

/// A page of XComs.
#[derive(Debug, Clone, Serialize)]
pub struct XComEntries {
    /// The XComs.
    pub xcom_entries: Vec<XComEntry>,
    /// How many there are on all pages.
    pub total_entries: usize,
}

/// An XCom that is made.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewXCom {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: Box<RawValue>,
    /// The map index.
    #[serde(default = "unmapped", deserialize_with = "map_index")]
    pub map_index: i32,
}

/// An XCom that gets another value.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangedXCom {
    /// Its value.
    pub value: Box<RawValue>,
    /// The map index.
    #[serde(default = "unmapped", deserialize_with = "map_index")]
    pub map_index: i32,
}

fn unmapped() -> i32 {
    excom_core::UNMAPPED
}

/// The reserved key that a value uses, and where; none when it uses none.
///
/// ```
/// use excom_airflow::rest::reserved;
///
/// assert_eq!(reserved(&serde_json::json!({"rows": [1, {"__data__": 2}]})), Some(("value.rows[1]".to_owned(), "__data__")));
/// assert_eq!(reserved(&serde_json::json!({"data": 2})), None);
/// ```
pub fn reserved(value: &serde_json::Value) -> Option<(String, &'static str)> {
    let mut left = vec![("value".to_owned(), value.clone())];
    while let Some((place, value)) = left.pop() {
        match value {
            serde_json::Value::Object(map) => {
                if let Some(key) = RESERVED.into_iter().find(|key| map.contains_key(*key)) {
                    return Some((place, key));
                }
                left.extend(map.into_iter().map(|(key, value)| (format!("{place}.{key}"), value)));
            }
            serde_json::Value::Array(items) => {
                let items = items.into_iter().enumerate();
                left.extend(items.map(|(index, value)| (format!("{place}[{index}]"), value)));
            }
            // Text that is itself a JSON list or dict is looked into too, once.
            serde_json::Value::String(text) if text.trim_start().starts_with(['{', '[']) => {
                let inside = serde_json::from_str::<serde_json::Value>(&text).ok();
                left.extend(inside.map(|inside| (place, inside)));
            }
            _ => {}
        }
    }
    None
}
