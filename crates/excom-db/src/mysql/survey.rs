//! What fills a database, and what of Airflow's an upgrade trips over: for who is about to upgrade, offload or clean.
//!
//! Nothing is written, and each look has a time after which the server ends it. Values are read for their size. Of a
//! large table some runs are looked at with all that is theirs, because these lie together, and the sums are what that
//! comes to for all of it. In Airflow's database it needs nothing of Excom's, and knows Airflow 2 as well, whose column
//! holds bytes.

use std::time::Duration;

use excom_core::Result;
use mysql_async::{Params, Row};

use super::attached::ORPHANS;
use super::connection::{Connections, Options, named};
use super::failure::Failure;
use super::row;
use crate::survey::{HELD, MOST, Part, Survey, no_table};

/// Bytes of the table that are looked at.
const BYTES: f64 = 400e6;

/// Parts that runs are put into, by their numbers.
const PARTS: f64 = 10_000.0;

/// What the column of values is, how large its table is, and whether an attached Excom has something to look at.
const FACTS: &str = "SELECT c.data_type, CAST(COALESCE(t.data_length, 0) AS SIGNED), EXISTS (
        SELECT 1 FROM information_schema.tables o WHERE o.table_schema = :ours AND o.table_name = 'excom_entry')
    FROM information_schema.tables t
    JOIN information_schema.columns c ON c.table_schema = t.table_schema AND c.table_name = t.table_name
    WHERE t.table_schema = DATABASE() AND t.table_name = :entries AND c.column_name IN ('value', 'body')";

/// Tables that the user may know of: those of Airflow's database and of ours beside it, or ours alone.
const TABLES: &str = "SELECT CASE WHEN table_schema = DATABASE() THEN table_name
                             ELSE CONCAT(table_schema, '.', table_name) END AS name,
           CAST(COALESCE(table_rows, 0) AS SIGNED),
           CAST(COALESCE(data_length, 0) + COALESCE(index_length, 0) AS SIGNED) AS bytes
    FROM information_schema.tables
    WHERE table_type = 'BASE TABLE' AND (table_schema = DATABASE() AND (:is_airflows OR table_name LIKE 'excom\\_%')
                                         OR :is_airflows AND table_schema = :ours)
    ORDER BY bytes DESC, name LIMIT :most";

/// The runs that are looked at, once: of what is over a threshold as well. The limit has the sizes found before they are
/// sorted. A row of sums is of one key of a task, of a DAG or of all, by how many of the three it has.
macro_rules! sums {
    ($seen:literal, $name:literal, $names:literal) => {
        concat!(
            "SELECT ",
            $name,
            ", s.entries, s.bytes, s.level, s.over_entries, s.over_bytes FROM (
                 SELECT l.*, ROW_NUMBER() OVER (PARTITION BY l.level
                                                ORDER BY l.bytes DESC, l.dag, l.task, l.xcom_key) AS place
                 FROM (SELECT g.*, (g.dag IS NOT NULL) + (g.task IS NOT NULL) + (g.xcom_key IS NOT NULL) AS level
                       FROM (SELECT dag, task, xcom_key, COUNT(*) AS entries, CAST(SUM(size) AS SIGNED) AS bytes,
                                    CAST(SUM(is_large) AS SIGNED) AS over_entries,
                                    CAST(SUM(CASE WHEN is_large THEN size ELSE 0 END) AS SIGNED) AS over_bytes
                             FROM (",
            $seen,
            " LIMIT 1000000000000) seen GROUP BY dag, task, xcom_key WITH ROLLUP) g) l) s ",
            $names,
            " WHERE s.place <= :most AND s.level <> 2 ORDER BY s.level, s.place"
        )
    };
}

const AIRFLOWS_SUMS: &str = sums!(
    "SELECT STRAIGHT_JOIN x.dag_id AS dag, x.task_id AS task, x.key AS xcom_key, COALESCE(LENGTH(x.value), 0) AS size,
            COALESCE(LENGTH(x.value), 0) > :threshold AS is_large
     FROM dag_run r JOIN xcom x ON x.dag_run_id = r.id WHERE CRC32(r.id) % 10000 < :part",
    "CONCAT_WS('/', s.dag, s.task, s.xcom_key)",
    ""
);

const OWN_SUMS: &str = sums!(
    "SELECT STRAIGHT_JOIN r.dag, e.task, e.xcom_key, LENGTH(e.head) + LENGTH(e.body) AS size,
            e.size > :threshold AND e.codec <> 2 AS is_large
     FROM excom_dag_run r JOIN excom_entry e ON e.run = r.id WHERE CRC32(r.id) % 10000 < :part",
    "CONCAT_WS('/', d.text, t.text, k.text)",
    "LEFT JOIN excom_name d ON d.id = s.dag LEFT JOIN excom_name t ON t.id = s.task
     LEFT JOIN excom_name k ON k.id = s.xcom_key"
);

/// Values of an Airflow 2 in whose JSON text one of two texts stands, of what is looked at. Pickles are put aside by the
/// upgrade, and it leaves alone what is valid.
const HOLDING: &str =
    "SELECT STRAIGHT_JOIN :name, COUNT(*), CAST(COALESCE(SUM(LENGTH(x.value)), 0) AS SIGNED)
    FROM dag_run r JOIN xcom x ON x.dag_run_id = r.id
    WHERE CRC32(r.id) % 10000 < :part AND HEX(SUBSTRING(x.value, 1, 1)) <> '80'
    AND (LOCATE(:first, x.value) > 0 OR LOCATE(:last, x.value) > 0)
    AND (NOT :is_invalid OR NOT JSON_VALID(CONVERT(x.value USING utf8mb4)))";

/// Looks at what fills a database of Excom's own, or that of an Airflow 2 or 3, and how many values are over a threshold in
/// bytes. No look takes longer than `patience`.
///
/// # Errors
/// [`ErrorKind::Configuration`](excom_core::ErrorKind::Configuration) when it has no such table, or the user may not look;
/// [`ErrorKind::Unavailable`](excom_core::ErrorKind::Unavailable).
pub async fn survey(
    url: &str,
    options: &Options,
    is_airflows: bool,
    threshold: u64,
    patience: Duration,
) -> Result<Survey> {
    let connections =
        if is_airflows { Connections::airflows(url, options)? } else { Connections::new(url, options)? };
    let place = connections.place();
    let told = |failure: Failure| failure.into_error(place);
    let mut look = Look { connections: &connections, patience, unfinished: Vec::new() };
    let (table, ours) = (if is_airflows { "xcom" } else { "excom_entry" }, connections.ours());
    let facts = named! { "entries" => table, "ours" => ours };
    let facts = connections.look(patience, FACTS, facts).await.map_err(told)?;
    let Some(facts) = facts.first() else { return Err(no_table(place, table)) };
    let is_bytes = row::str(facts, 0).map_err(told)?.ends_with("blob");
    let bytes = row::count(facts, 1).map_err(told)?;
    let is_attached = is_airflows && row::is(facts, 2).map_err(told)?;
    let part = (PARTS * BYTES / bytes.max(1) as f64).clamp(1.0, PARTS).floor();
    let share = part / PARTS;
    let part = part as i64;
    let mut found = Survey { percent: 100.0 * share, ..Survey::default() };

    let tables = named! { "is_airflows" => is_airflows, "ours" => ours, "most" => MOST };
    for row in look.rows("tables", TABLES, tables).await? {
        found.tables.push(look.part(&row, 1.0)?);
    }
    let sums = if is_airflows { AIRFLOWS_SUMS } else { OWN_SUMS };
    let threshold = i64::try_from(threshold).unwrap_or(i64::MAX);
    let parameters = named! { "part" => part, "most" => MOST, "threshold" => threshold };
    for row in look.rows("sums", sums, parameters).await? {
        let part = look.part(&row, share)?;
        match row::int(&row, 3).map_err(told)? {
            0 => {
                found.all = part;
                let (count, bytes) = (row::count(&row, 4).map_err(told)?, row::count(&row, 5).map_err(told)?);
                found.large =
                    Part { count: whole(count, share), bytes: whole(bytes, share), ..Part::default() };
            }
            1 => found.dags.push(part),
            _ => found.keys.push(part),
        }
    }
    if is_attached {
        let beside = Connections::beside(url, options)?;
        let mut look =
            Look { connections: &beside, patience, unfinished: std::mem::take(&mut look.unfinished) };
        for row in look.rows("orphans", ORPHANS, Params::Empty).await? {
            found.orphans = look.part(&row, 1.0)?;
        }
        found.unfinished = look.unfinished;
    }
    if is_airflows && is_bytes {
        for (name, texts) in HELD {
            let (first, last) = (texts.first().copied(), texts.last().copied());
            // Only what JSON does not know is replaced where it is no text.
            let parameters = named! {
                "name" => name, "part" => part, "first" => first, "last" => last, "is_invalid" => name == "NaN",
            };
            for row in look.rows(name, HOLDING, parameters).await? {
                found.upgrade.push(look.part(&row, share)?);
            }
        }
    }
    found.unfinished.append(&mut look.unfinished);
    Ok(found)
}

/// What a number comes to for all, of which it is that of a share.
fn whole(number: u64, share: f64) -> u64 {
    if share < 1.0 { (number as f64 / share).round() as u64 } else { number }
}

/// Who looks.
struct Look<'a> {
    connections: &'a Connections,
    patience: Duration,
    unfinished: Vec<&'static str>,
}

impl Look<'_> {
    /// The rows of a statement; none, and its name, when the server ended it.
    async fn rows(&mut self, name: &'static str, sql: &str, parameters: Params) -> Result<Vec<Row>> {
        match self.connections.look(self.patience, sql, parameters).await {
            Ok(rows) => Ok(rows),
            Err(failure) if failure.is_interrupted() => {
                self.unfinished.push(name);
                Ok(Vec::new())
            }
            Err(failure) => Err(failure.into_error(self.connections.place())),
        }
    }

    /// A row that begins with a name, a count and bytes, of a share of all.
    fn part(&self, row: &Row, share: f64) -> Result<Part> {
        let read = || {
            let (name, count, bytes) = (row::str(row, 0)?, row::count(row, 1)?, row::count(row, 2)?);
            Ok(Part { name: name.to_owned(), count: whole(count, share), bytes: whole(bytes, share) })
        };
        read().map_err(|failure: Failure| failure.into_error(self.connections.place()))
    }
}
