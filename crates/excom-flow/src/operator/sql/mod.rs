//! The SQL operator: statements in a SQLite or PostgreSQL database, values bound and never pasted.

#[cfg(feature = "sql-postgres")]
mod postgres;
mod rows;
#[cfg(feature = "sql-postgres")]
mod script;
#[cfg(feature = "sql-sqlite")]
mod sqlite;

use excom_core::{Error, ErrorKind, Value};

use self::rows::Rows;
use super::{Field, Fields, Operator};
use crate::dag::{Dag, Handle};
use crate::error::{invalid, listing};
use crate::instance::TaskInstance;
use crate::outcome::Result;

/// The most rows that are taken unless told.
const ROW_LIMIT: u64 = 10_000;

/// Runs SQL in somebody's database: `sqlite:FILE` (feature `sql-sqlite`) or `postgresql://USER@HOST/DATABASE`
/// (feature `sql-postgres`).
///
/// - The statement is a template. Values go in by parameters: `:day` in the statement, and
///   `.parameter("day", …)`. They are bound, so no value is ever read as SQL. A list or a dict is bound as
///   JSON text; a list as an array where PostgreSQL expects one.
/// - Several statements are separated by `;`, and run in one transaction: all of them count, or none.
///   [`autocommit`](Sql::autocommit) is for what no transaction takes, such as `VACUUM`.
/// - What it returns are the rows of the last statement that has rows, as a list of dicts. Values keep their
///   types; dates are ISO 8601 text; a PostgreSQL `numeric` is a number up to 15 digits, and text beyond,
///   where a number would lose some. Bytes are refused. When no statement has rows nothing is pushed; the
///   log tells how many rows each changed.
/// - At most 10,000 rows are taken, and 64 MiB; more is an error and no cut.
/// - When the run is cancelled the statement is interrupted.
///
/// A SQLite file has to be there: `sqlite:FILE?mode=rwc` makes it when it is not, and `?mode=ro` only reads it.
/// Statements of which one may write wait for others who write, up to half a minute; those that only read wait
/// for nobody who writes but has not committed yet.
///
/// PostgreSQL is spoken to through TLS, verified as the system does, whenever the server offers it;
/// `sslmode=disable` or `sslmode=require` in the URL decide it. A `CREATE FUNCTION` whose body is
/// `BEGIN ATOMIC … END` needs a body in `$$` here.
#[derive(Debug, Clone)]
pub struct Sql {
    url: Field,
    statement: Field,
    parameters: Vec<(String, Field)>,
    row_limit: u64,
    autocommit: bool,
}

/// What a database runs.
#[derive(Debug)]
struct Request {
    statement: String,
    parameters: Vec<(String, Value)>,
    row_limit: u64,
    autocommit: bool,
}

impl Sql {
    /// A statement, or several, in the database at a URL. A file is `include_str!("load.sql")`.
    pub fn new(url: impl Into<Field>, statement: impl Into<Field>) -> Self {
        Self {
            url: url.into().secret(),
            statement: statement.into(),
            parameters: Vec::new(),
            row_limit: ROW_LIMIT,
            autocommit: false,
        }
    }

    /// The same statement with a parameter: `:name` in it stands for the value.
    #[must_use]
    pub fn parameter(mut self, name: &str, value: impl Into<Field>) -> Self {
        self.parameters.push((name.to_owned(), value.into()));
        self
    }

    /// The same statement with another number of rows that are taken at most.
    #[must_use]
    pub fn row_limit(mut self, rows: u64) -> Self {
        self.row_limit = rows;
        self
    }

    /// The same statements, each of which counts at once, without a transaction around them.
    #[must_use]
    pub fn autocommit(mut self) -> Self {
        self.autocommit = true;
        self
    }
}

impl Request {
    /// The value of a parameter of the statement.
    fn parameter(&self, name: &str) -> excom_core::Result<&Value> {
        let found = self.parameters.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value).ok_or_else(|| {
            let error = invalid(format!("the statement has a parameter `:{name}` that is not given"));
            match self.parameters.as_slice() {
                [] => error.hint(format!("give it with .parameter(\"{name}\", …)")),
                given => error.hint(format!("given are {}", listing(given.iter().map(|(name, _)| &**name)))),
            }
        })
    }
}

impl Operator for Sql {
    type Output = Value;

    fn fields(&mut self) -> Fields<'_> {
        let mut fields: Fields<'_> =
            vec![("url".into(), &mut self.url), ("statement".into(), &mut self.statement)];
        let parameters = self.parameters.iter_mut();
        fields.extend(parameters.map(|(name, field)| (format!("parameter.{name}").into(), field)));
        fields
    }

    async fn execute(self, ti: TaskInstance) -> Result<Value> {
        let parameters = self.parameters.iter().map(|(name, field)| Ok((name.clone(), field.get()?)));
        let request = Request {
            statement: self.statement.text()?,
            parameters: parameters.collect::<excom_core::Result<_>>()?,
            row_limit: self.row_limit,
            autocommit: self.autocommit,
        };
        let url = self.url.text()?;
        let rows = match url.split_once(':') {
            #[cfg(feature = "sql-sqlite")]
            Some(("sqlite", file)) => sqlite::run(file.to_owned(), request, &ti).await?,
            #[cfg(feature = "sql-postgres")]
            Some(("postgres" | "postgresql", _)) => postgres::run(&url, request, &ti).await?,
            #[cfg(not(feature = "sql-sqlite"))]
            Some(("sqlite", _)) => return Err(left_out("sql-sqlite").into()),
            #[cfg(not(feature = "sql-postgres"))]
            Some(("postgres" | "postgresql", _)) => return Err(left_out("sql-postgres").into()),
            // What the text is may be a password, so it is not shown.
            _ => {
                return Err(invalid("the URL names no database that is known")
                    .hint("write sqlite:FILE or postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
                    .into());
            }
        };
        Ok(rows.map_or_else(|| Ok(Value::null()), Rows::value)?)
    }
}

#[cfg(not(all(feature = "sql-sqlite", feature = "sql-postgres")))]
fn left_out(feature: &str) -> Error {
    let message = format!("this program is built without the feature `{feature}` of excom");
    Error::new(excom_core::ErrorKind::Configuration, message).hint("turn it on in the program's Cargo.toml")
}

/// What a statement that has no rows did, for the log.
fn changed(ti: &TaskInstance, number: usize, rows: u64) {
    let s = if rows == 1 { "" } else { "s" };
    ti.log(&format!("statement {number} changed {rows} row{s}"));
}

/// An error of a statement, with its number.
fn at(number: usize, error: Error) -> Error {
    crate::error::within(&format!("statement {number}"), error)
}

fn cancelled() -> Error {
    Error::new(ErrorKind::Other, "the run was cancelled, and the statement was interrupted")
}

impl Dag {
    /// Adds a task that runs SQL in a database; see [`Sql`].
    ///
    /// ```
    /// # extern crate excom_flow as excom;
    /// use excom::prelude::*;
    ///
    /// #[derive(Deserialize, Serialize)]
    /// struct Peak { station: String, celsius: f64 }
    ///
    /// #[task]
    /// fn tell(peaks: Vec<Peak>) -> String { format!("{} stations", peaks.len()) }
    ///
    /// #[dag]
    /// fn daily(dag: &Dag, #[param(default = "2026-11-21")] day: Param<String>) {
    ///     let query = "SELECT station, max(celsius) AS celsius FROM readings WHERE day = :day GROUP BY station";
    ///     let peaks = dag.sql("peaks", "sqlite:weather.db", query).parameter("day", day);
    ///     tell(dag, peaks.output_as());
    /// }
    /// assert_eq!(daily().graph()?.tasks()[1].upstream().collect::<Vec<_>>(), ["peaks"]);
    /// # Ok::<(), excom_core::Error>(())
    /// ```
    pub fn sql(&self, task_id: &str, url: impl Into<Field>, statement: impl Into<Field>) -> Handle<'_, Sql> {
        self.add(task_id, Sql::new(url, statement))
    }
}

impl Handle<'_, Sql> {
    /// Gives a parameter: `:name` in the statement stands for the value.
    pub fn parameter(self, name: &str, value: impl Into<Field>) -> Self {
        let value = value.into();
        self.configure(|sql| sql.parameters.push((name.to_owned(), value)))
    }

    /// How many rows are taken at most; more is an error.
    pub fn row_limit(self, rows: u64) -> Self {
        self.configure(|sql| sql.row_limit = rows)
    }

    /// Each statement counts at once, without a transaction around them.
    pub fn autocommit(self) -> Self {
        self.configure(|sql| sql.autocommit = true)
    }
}
