//! What is told of a database by `survey`, which each dialect asks in its own words.

use excom_core::{Error, ErrorKind};
use serde::Serialize;

/// How many of each kind are told.
pub(crate) const MOST: i64 = 5;

/// What the JSON text of an Airflow 2 may hold and that of an Airflow 3 may not: what it is called, and the texts.
pub(crate) const HELD: [(&str, &[&str]); 2] = [("NaN", &["NaN", "Infinity"]), ("NUL", &["\\u0000"])];

/// What is found in a database.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Survey {
    /// How much of the table was looked at, in percent; where it is less than all, what is said is an estimate.
    pub percent: f64,
    /// The largest tables, with their indexes; rows as a server last counted them.
    pub tables: Vec<Part>,
    /// All XComs.
    pub all: Part,
    /// The DAGs with the most bytes.
    pub dags: Vec<Part>,
    /// Keys of tasks with the most bytes, as `dag/task/key`.
    pub keys: Vec<Part>,
    /// Values over the threshold that are in the database.
    pub large: Part,
    /// What an upgrade to Airflow 3 cannot take, or changes; nothing where the values are JSON already.
    pub upgrade: Vec<Part>,
    /// What an attached Excom noted of rows that are gone: its upkeep forgets it within the hour, and purges what it
    /// refers to.
    pub orphans: Part,
    /// What took too long, and was not found out.
    pub unfinished: Vec<&'static str>,
}

/// Some rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Which.
    pub name: String,
    /// How many.
    pub count: u64,
    /// Their bytes, as stored.
    pub bytes: u64,
}

/// The refusal of a database without the table in which XComs are.
pub(crate) fn no_table(place: &str, table: &str) -> Error {
    let what = format!("{place} has no table `{table}`, so there are no XComs to look at");
    Error::new(ErrorKind::Configuration, what)
        .hint("check [database] url, and [database] mode: `attached` for the database of an Airflow")
}
