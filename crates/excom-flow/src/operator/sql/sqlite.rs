//! Statements in a SQLite file, on a thread of their own.

use std::time::Duration;

use excom_core::{Error, ErrorKind, Result, Value};
use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::types::{ToSqlOutput, Value as Bound, ValueRef};
use rusqlite::{Batch, Connection, InterruptHandle, Statement};

use super::rows::{Rows, bytes, float};
use super::{Request, at, cancelled, changed};
use crate::error::invalid;
use crate::instance::TaskInstance;

/// How long it waits for others who write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a statement is interrupted: one interruption may fall between two of them.
const INTERRUPT_INTERVAL: Duration = Duration::from_millis(20);

pub(super) async fn run(file: String, request: Request, ti: &TaskInstance) -> Result<Option<Rows>> {
    // `sqlite:///abs` and `sqlite:rel` are both common.
    let file = file.strip_prefix("//").unwrap_or(&file).to_owned();
    let connection = tokio::task::spawn_blocking(move || open(&file)).await.map_err(lost)??;
    let interrupt = Interrupt(connection.get_interrupt_handle());
    let own = ti.clone();
    let mut thread = tokio::task::spawn_blocking(move || execute(&connection, &request, &own));
    tokio::select! {
        biased;
        ended = &mut thread => return ended.map_err(lost)?,
        () = ti.cancelled() => (),
    }
    loop {
        interrupt.0.interrupt();
        match tokio::time::timeout(INTERRUPT_INTERVAL, &mut thread).await {
            // It may have been done already.
            Ok(Ok(Ok(rows))) => return Ok(rows),
            Ok(_) => return Err(cancelled()),
            Err(_) => (),
        }
    }
}

/// Interrupts the statement when its try is dropped.
struct Interrupt(InterruptHandle);

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.0.interrupt();
    }
}

fn open(file: &str) -> Result<Connection> {
    let opened = Connection::open(file).and_then(|connection| {
        connection.busy_timeout(BUSY_TIMEOUT)?;
        Ok(connection)
    });
    opened.map_err(|e| {
        Error::new(ErrorKind::Unavailable, format!("the database `{file}` cannot be opened")).because(e)
    })
}

fn execute(connection: &Connection, request: &Request, ti: &TaskInstance) -> Result<Option<Rows>> {
    if !request.autocommit {
        connection.execute_batch("BEGIN").map_err(failed)?;
    }
    let mut last = None;
    let mut batch = Batch::new(connection, &request.statement);
    for number in 1.. {
        // A connection that is closed inside a transaction undoes it.
        let Some(mut statement) = batch.next().map_err(|e| at(number, failed(e)))? else { break };
        if ti.is_cancelled() {
            return Err(cancelled());
        }
        if let Some(rows) = one(&mut statement, number, request, ti).map_err(|e| at(number, e))? {
            last = Some(rows);
        }
    }
    if !request.autocommit {
        connection.execute_batch("COMMIT").map_err(failed)?;
    }
    Ok(last)
}

fn one(
    statement: &mut Statement<'_>,
    number: usize,
    request: &Request,
    ti: &TaskInstance,
) -> Result<Option<Rows>> {
    for index in 1..=statement.parameter_count() {
        let name = statement.parameter_name(index).and_then(|name| name.strip_prefix([':', '@', '$']));
        let name = name.ok_or_else(|| {
            invalid("the statement has a parameter without a name")
                .hint("write `:day` instead of `?`, and give it with .parameter(\"day\", …)")
        })?;
        let value = bound(request.parameter(name)?)?;
        statement.raw_bind_parameter(index, value).map_err(failed)?;
    }
    if statement.column_count() == 0 {
        changed(ti, number, statement.raw_execute().map_err(failed)? as u64);
        return Ok(None);
    }
    let columns = statement.column_count();
    let mut rows = Rows::new(statement.column_names(), request.row_limit)?;
    let mut found = statement.raw_query();
    while let Some(row) = found.next().map_err(failed)? {
        let cells = (0..columns).map(|index| row.get_ref(index).map_err(failed).and_then(cell));
        rows.push(cells)?;
    }
    Ok(Some(rows))
}

fn bound(value: &Value) -> Result<ToSqlOutput<'static>> {
    let bound = match value.get::<serde_json::Value>()? {
        serde_json::Value::Null => Bound::Null,
        serde_json::Value::Bool(yes) => Bound::Integer(yes.into()),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(integer) => Bound::Integer(integer),
            // A number with a fraction or an exponent; any other would lose digits.
            None if value.as_str().contains(['.', 'e', 'E']) => Bound::Real(value.get()?),
            None => {
                return Err(invalid(format!("{} is too large for an integer of SQLite", value.as_str()))
                    .hint("give it as text"));
            }
        },
        serde_json::Value::String(text) => Bound::Text(text),
        serde_json::Value::Array(_) | serde_json::Value::Object(_) => Bound::Text(value.as_str().to_owned()),
    };
    Ok(ToSqlOutput::Owned(bound))
}

fn cell(value: ValueRef<'_>) -> Result<Value> {
    match value {
        ValueRef::Null => Ok(Value::null()),
        ValueRef::Integer(integer) => Value::of(&integer),
        ValueRef::Real(number) => float(number),
        ValueRef::Text(text) => match std::str::from_utf8(text) {
            Ok(text) => Value::of(text),
            Err(_) => Err(bytes()),
        },
        ValueRef::Blob(_) => Err(bytes()),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what map_err hands over")]
fn failed(error: rusqlite::Error) -> Error {
    let kind = match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
            ErrorKind::Unavailable
        }
        Some(rusqlite::ErrorCode::DiskFull) => ErrorKind::Full,
        Some(rusqlite::ErrorCode::ReadOnly) => ErrorKind::ReadOnly,
        _ => ErrorKind::Other,
    };
    Error::new(kind, error.to_string())
}

#[expect(clippy::needless_pass_by_value, reason = "what map_err hands over")]
fn lost(error: tokio::task::JoinError) -> Error {
    Error::new(ErrorKind::Other, format!("the thread that runs the statements ended: {error}"))
}
