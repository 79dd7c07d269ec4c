//! Statements in a SQLite file, on a thread of their own.

use std::time::Duration;

use excom_core::{Error, ErrorKind, Result, Value};
use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::types::{ToSqlOutput, Value as Bound, ValueRef};
use rusqlite::{Batch, Connection, InterruptHandle, OpenFlags, Statement};

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
    let (file, flags) = place(file.strip_prefix("//").unwrap_or(&file))?;
    let file = file.to_owned();
    let connection = tokio::task::spawn_blocking(move || open(&file, flags)).await.map_err(lost)??;
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

/// The file of a URL, and how it is opened: a file that is not there is made only when the URL says so.
fn place(url: &str) -> Result<(&str, OpenFlags)> {
    let (file, mode) = url.rsplit_once("?mode=").unwrap_or((url, "rw"));
    let mode = match mode {
        "ro" => OpenFlags::SQLITE_OPEN_READ_ONLY,
        "rw" => OpenFlags::SQLITE_OPEN_READ_WRITE,
        "rwc" => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        other => {
            return Err(invalid(format!("`{other}` is no mode of a SQLite database"))
                .hint("write ?mode=ro to read, ?mode=rw to write too, ?mode=rwc to make the file as well"));
        }
    };
    Ok((file, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI))
}

fn open(file: &str, flags: OpenFlags) -> Result<Connection> {
    let opened = Connection::open_with_flags(file, flags).and_then(|connection| {
        connection.busy_timeout(BUSY_TIMEOUT)?;
        Ok(connection)
    });
    opened.map_err(|e| {
        let missing = e.sqlite_error_code() == Some(rusqlite::ErrorCode::CannotOpen);
        let what = format!("the database `{file}` cannot be opened");
        let error = Error::new(ErrorKind::Unavailable, what).because(e);
        if missing && !flags.contains(OpenFlags::SQLITE_OPEN_CREATE) {
            return error.hint("is it there? `?mode=rwc` behind its name makes it when it is not");
        }
        error
    })
}

/// How the transaction begins. One that reads first and takes the lock to write later fails at once when
/// another wrote in between, however long it would wait; so what may write takes the lock first.
fn begin(connection: &Connection, statements: &str) -> Result<&'static str> {
    if connection.is_readonly("main").map_err(failed)? {
        return Ok("BEGIN");
    }
    let mut batch = Batch::new(connection, statements);
    loop {
        match batch.next() {
            Ok(Some(statement)) if statement.readonly() => (),
            Ok(None) => return Ok("BEGIN"),
            // What cannot be prepared yet may refer to what a statement before it makes.
            Ok(Some(_)) | Err(_) => return Ok("BEGIN IMMEDIATE"),
        }
    }
}

fn execute(connection: &Connection, request: &Request, ti: &TaskInstance) -> Result<Option<Rows>> {
    if !request.autocommit {
        connection.execute_batch(begin(connection, &request.statement)?).map_err(failed)?;
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
