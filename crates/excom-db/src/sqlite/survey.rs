//! What fills a file, and what of Airflow's an upgrade trips over: for who is about to upgrade, offload or clean.
//!
//! Nothing is written, and each look has a time after which it is given up. SQLite tells the size of a value without
//! reading it, so all of a table is looked at. In Airflow's file it needs nothing of Excom's, and knows Airflow 2 as well,
//! whose column holds bytes.

use std::path::Path;
use std::time::{Duration, Instant};

use excom_core::Result;
use rusqlite::ffi::ErrorCode;
use rusqlite::{Connection, Params, Row, named_params};

use super::attached::ORPHANS;
use super::connection::{Options, open};
use super::failure::told;
use crate::survey::{HELD, MOST, Part, Survey, no_table};

/// Steps of SQLite's after which it is looked at the time.
const STEPS: i32 = 10_000;

/// The type of the column of values; none where there is no such table.
const COLUMN: &str = "SELECT type FROM pragma_table_info(:entries) WHERE name IN ('value', 'body')";

/// Whether an attached Excom has something to look at.
const IS_ATTACHED: &str = "SELECT count(*) FROM sqlite_schema WHERE name = 'excom_entry'";

/// All tables with their indexes, by the pages of the file.
const TABLES: &str =
    "SELECT s.tbl_name, 0, sum(p.pgsize) AS bytes FROM dbstat p JOIN sqlite_schema s ON s.name = p.name
    WHERE p.aggregate = 1 GROUP BY s.tbl_name ORDER BY bytes DESC, 1 LIMIT :most";

/// All that is looked at, once.
macro_rules! sums {
    ($seen:literal) => {
        concat!(
            "WITH seen AS MATERIALIZED (",
            $seen,
            "),
            dags AS (SELECT dag_id, count(*) AS count, sum(size) AS bytes, 1 AS level FROM seen
                     GROUP BY dag_id ORDER BY bytes DESC, 1 LIMIT :most),
            keys AS (SELECT dag_id || '/' || task_id || '/' || key, count(*), sum(size) AS bytes, 3 FROM seen
                     GROUP BY dag_id, task_id, key ORDER BY bytes DESC, 1 LIMIT :most)
            SELECT * FROM (
                SELECT * FROM dags UNION ALL SELECT * FROM keys
                UNION ALL SELECT '', count(*), ifnull(sum(size), 0), 0 FROM seen
                UNION ALL SELECT '', count(*), ifnull(sum(size), 0), 2 FROM seen WHERE is_large)
            ORDER BY level, bytes DESC, dag_id"
        )
    };
}

const AIRFLOWS_SUMS: &str = sums!(
    "SELECT dag_id, task_id, key, ifnull(octet_length(value), 0) AS size,
            ifnull(octet_length(value), 0) > :threshold AS is_large FROM xcom"
);

const OWN_SUMS: &str = sums!(
    "SELECT d.text AS dag_id, t.text AS task_id, k.text AS key, octet_length(e.head) + ifnull(octet_length(e.body), 0) AS size,
            e.size > :threshold AND e.codec <> 2 AS is_large
     FROM excom_entry e JOIN excom_dag_run r ON r.id = e.run JOIN excom_name d ON d.id = r.dag
          JOIN excom_name t ON t.id = e.task JOIN excom_name k ON k.id = e.key"
);

/// Values of an Airflow 2 in whose JSON text one of two texts stands. Pickles are put aside by the upgrade, and it leaves
/// alone what is valid.
const HOLDING: &str = "SELECT :name, count(*), ifnull(sum(octet_length(value)), 0) FROM xcom
    WHERE hex(substr(value, 1, 1)) <> '80'
    AND (instr(CAST(value AS TEXT), :first) > 0 OR instr(CAST(value AS TEXT), :last) > 0)
    AND (NOT :is_invalid OR NOT json_valid(CAST(value AS TEXT)))";

/// Looks at what fills a file of Excom's own, or that of an Airflow 2 or 3, and how many values are over a threshold in
/// bytes. No look takes longer than `patience`.
///
/// # Errors
/// [`ErrorKind::Configuration`](excom_core::ErrorKind::Configuration) when it has no such table; when it cannot be read.
pub fn survey(path: &Path, is_airflows: bool, threshold: u64, patience: Duration) -> Result<Survey> {
    let table = if is_airflows { "xcom" } else { "excom_entry" };
    if !path.exists() {
        return Err(no_table(&path.display().to_string(), table));
    }
    let connection = open(path, Options { read_only: true, ..Options::default() })?;
    let mut look = Look { connection, path, patience, unfinished: Vec::new() };
    let of = named_params! { ":entries": table };
    let column = look.rows("table", COLUMN, of, |row| row.get::<_, String>(0))?;
    let Some(column) = column.into_iter().next() else {
        return Err(no_table(&path.display().to_string(), table));
    };
    let mut found = Survey { percent: 100.0, ..Survey::default() };
    found.tables = look.parts("tables", TABLES, named_params! { ":most": MOST })?;
    for part in &mut found.tables {
        let count = format!("SELECT '', count(*), 0 FROM \"{}\"", part.name.replace('"', "\"\""));
        part.count = look.parts("tables", &count, [])?.first().map_or(0, |counted| counted.count);
    }
    let sums = if is_airflows { AIRFLOWS_SUMS } else { OWN_SUMS };
    let threshold = i64::try_from(threshold).unwrap_or(i64::MAX);
    let of = named_params! { ":most": MOST, ":threshold": threshold };
    for (part, level) in look.rows("sums", sums, of, |row| Ok((part(row)?, row.get::<_, i64>(3)?)))? {
        match level {
            0 => found.all = part,
            1 => found.dags.push(part),
            2 => found.large = part,
            _ => found.keys.push(part),
        }
    }
    let attached = look.rows("orphans", IS_ATTACHED, [], |row| row.get::<_, i64>(0))?;
    if is_airflows && attached.first() == Some(&1) {
        found.orphans = look.parts("orphans", ORPHANS, [])?.pop().unwrap_or_default();
    }
    if is_airflows && column == "BLOB" {
        for (name, texts) in HELD {
            // Only what JSON does not know is replaced where it is no text.
            let of = named_params! {
                ":name": name, ":first": texts.first(), ":last": texts.last(), ":is_invalid": name == "NaN",
            };
            found.upgrade.extend(look.parts(name, HOLDING, of)?);
        }
    }
    look.unfinished.dedup();
    found.unfinished = look.unfinished;
    Ok(found)
}

/// Who looks.
struct Look<'a> {
    connection: Connection,
    path: &'a Path,
    patience: Duration,
    unfinished: Vec<&'static str>,
}

impl Look<'_> {
    /// The rows of a statement; none, and its name, when it took too long.
    fn rows<T>(
        &mut self,
        name: &'static str,
        sql: &str,
        parameters: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        let end = Instant::now() + self.patience;
        let rows = (|| {
            self.connection.progress_handler(STEPS, Some(move || Instant::now() > end))?;
            let mut statement = self.connection.prepare(sql)?;
            let rows = statement.query_map(parameters, read)?;
            rows.collect()
        })();
        match rows {
            Ok(rows) => Ok(rows),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
                self.unfinished.push(name);
                Ok(Vec::new())
            }
            Err(error) => Err(told(error, self.path)),
        }
    }

    fn parts(&mut self, name: &'static str, sql: &str, parameters: impl Params) -> Result<Vec<Part>> {
        self.rows(name, sql, parameters, part)
    }
}

/// A row that begins with a name, a count and bytes.
fn part(row: &Row<'_>) -> rusqlite::Result<Part> {
    let number = |place: usize| Ok::<_, rusqlite::Error>(row.get::<_, i64>(place)?.max(0).cast_unsigned());
    Ok(Part { name: row.get(0)?, count: number(1)?, bytes: number(2)? })
}
