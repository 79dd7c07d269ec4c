//! Rows on their way to JSON: a list of dicts, bounded while it grows.

use excom_core::{Error, ErrorKind, Result, Value};

use crate::error::invalid;

/// The most that the rows take together, in bytes of JSON text.
const LARGEST: usize = 64 << 20;

/// Rows as JSON text.
#[derive(Debug)]
pub(super) struct Rows {
    /// The names of the columns as JSON text.
    names: Vec<Value>,
    text: String,
    rows: u64,
    limit: u64,
}

impl Rows {
    /// No rows yet, of these columns.
    pub(super) fn new<'a>(names: impl IntoIterator<Item = &'a str>, limit: u64) -> Result<Self> {
        let names: Vec<Value> = names.into_iter().map(Value::of).collect::<Result<_>>()?;
        for (index, name) in names.iter().enumerate() {
            if names[..index].contains(name) {
                return Err(invalid(format!("two columns are named {}", name.as_str()))
                    .hint("give one of them another name (`AS`), because a dict has each name once"));
            }
        }
        Ok(Self { names, text: "[".to_owned(), rows: 0, limit })
    }

    /// Adds a row: a value for each column.
    pub(super) fn push(&mut self, cells: impl IntoIterator<Item = Result<Value>>) -> Result<()> {
        if self.rows == self.limit {
            let message = format!("the statement has more than {} rows", self.limit);
            return Err(Error::new(ErrorKind::TooLarge, message)
                .hint("let the database do more (WHERE, GROUP BY, LIMIT), or write the rows to a file")
                .hint("or raise row_limit"));
        }
        self.text.push_str(if self.rows == 0 { "{" } else { ",{" });
        for (index, (name, cell)) in self.names.iter().zip(cells).enumerate() {
            if index > 0 {
                self.text.push(',');
            }
            let place = || format!("column {} of row {}", name.as_str(), self.rows + 1);
            let cell = cell.map_err(|e| crate::error::within(&place(), e))?;
            self.text.push_str(name.as_str());
            self.text.push(':');
            self.text.push_str(cell.as_str());
        }
        self.text.push('}');
        self.rows += 1;
        if self.text.len() > LARGEST {
            let message = format!("the first {} rows are over 64 MiB already", self.rows);
            return Err(Error::new(ErrorKind::TooLarge, message)
                .hint("let the database do more, or write the rows to a file"));
        }
        Ok(())
    }

    pub(super) fn value(mut self) -> Result<Value> {
        self.text.push(']');
        Value::parse(self.text)
    }
}

/// A float; what JSON has no number for (`NaN`, `inf`) is text.
pub(super) fn float(number: f64) -> Result<Value> {
    if number.is_finite() { Value::of(&number) } else { Value::of(&number.to_string()) }
}

/// Bytes are no JSON.
pub(super) fn bytes() -> Error {
    Error::new(ErrorKind::InvalidValue, "bytes cannot be written as JSON").hint(
        "take their text form in the statement: `hex(…)` in SQLite, `encode(…, 'base64')` in PostgreSQL",
    )
}
