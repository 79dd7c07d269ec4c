//! What fills a database, and what of Airflow's an upgrade trips over: for who is about to upgrade, offload or clean.
//!
//! Nothing is written, and each look has a time after which the server ends it. Values are not read for their size: it is
//! the one that the server keeps them in. A large table is looked at in part, page by page as the server picks them, and
//! the sums are what that comes to for all of it. In Airflow's database it needs nothing of Excom's, and knows Airflow 2
//! as well, whose column holds bytes: what `jsonb` takes is known in Airflow 3.

use std::time::Duration;

use excom_core::{Error, Result};
use tokio_postgres::Row;

use super::attached;
use super::connection::{Connections, Options, Parameter, Statement, types};
use super::failure::Failure;
use crate::survey::{HELD, MOST, Part, Survey, no_table};

/// Pages of the table that are looked at: 400 MB.
const PAGES: f64 = 50_000.0;

/// The most bytes of a value that `jsonb` takes.
const JSONB_LIMIT: i64 = 268_435_455;

/// What the column of values is, how many pages its table has, and whether an attached Excom has something to look at.
const FACTS: Statement<'_> = Statement {
    sql: "SELECT a.atttypid::regtype::text, c.relpages::float8, EXISTS (
              SELECT FROM pg_class m JOIN pg_namespace n ON n.oid = m.relnamespace
              WHERE n.nspname = 'excom' AND m.relname = 'extra' AND has_schema_privilege(n.oid, 'USAGE')
              AND has_table_privilege(m.oid, 'SELECT'))
          FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname IN ('value', 'body')
          WHERE c.oid = to_regclass($1)",
    types: types![TEXT],
};

/// Tables that the user may know of, by their files.
const TABLES: Statement<'_> = Statement {
    sql: "SELECT c.oid::regclass::text, greatest(c.reltuples, 0)::int8, pg_total_relation_size(c.oid) FROM pg_class c
          WHERE c.relkind IN ('r', 'p')
          AND c.relnamespace IN (SELECT relnamespace FROM pg_class WHERE oid = to_regclass($1)
                                 UNION ALL SELECT to_regnamespace('excom'))
          ORDER BY 3 DESC, 1 LIMIT $2",
    types: types![TEXT, INT8],
};

/// The pages that are looked at, once: `$1` percent of them, with what is over `$3` bytes.
macro_rules! sums {
    ($seen:literal) => {
        Statement {
            sql: concat!(
                "WITH seen AS MATERIALIZED (",
                $seen,
                "),
                dags AS (SELECT 'dag' AS kind, dag_id AS name, count(*) AS count, sum(size) AS bytes FROM seen
                         GROUP BY dag_id ORDER BY bytes DESC NULLS LAST, 2 LIMIT $2),
                keys AS (SELECT 'key', concat_ws('/', dag_id, task_id, key), count(*), sum(size) AS bytes FROM seen
                         GROUP BY dag_id, task_id, key ORDER BY bytes DESC NULLS LAST, 2 LIMIT $2)
                SELECT name, (count * 100 / $1)::int8, (coalesce(bytes, 0) * 100 / $1)::int8, kind FROM (
                    SELECT * FROM dags UNION ALL SELECT * FROM keys
                    UNION ALL SELECT 'all', '', count(*), sum(size) FROM seen
                    UNION ALL SELECT 'large', '', count(*), sum(size) FROM seen WHERE is_large) sums
                ORDER BY kind, 3 DESC, name"
            ),
            types: types![FLOAT8, INT8, INT8],
        }
    };
}

const AIRFLOWS_SUMS: Statement<'_> = sums!(
    "SELECT dag_id::text, task_id, key, pg_column_size(value)::int8 AS size, pg_column_size(value) > $3 AS is_large
     FROM xcom TABLESAMPLE SYSTEM ($1::float4)"
);

const OWN_SUMS: Statement<'_> = sums!(
    "SELECT d.text AS dag_id, t.text AS task_id, k.text AS key,
            pg_column_size(e.head)::int8 + pg_column_size(e.body) AS size, e.size > $3 AND e.codec <> 2 AS is_large
     FROM excom.entry e TABLESAMPLE SYSTEM ($1::float4)
          JOIN excom.dag_run r ON r.id = e.run JOIN excom.name d ON d.id = r.dag
          JOIN excom.name t ON t.id = e.task JOIN excom.name k ON k.id = e.key"
);

/// Bytes that are too many, whose number is known without them: of all rows. Pickles are put aside by the upgrade.
const TOO_LARGE: Statement<'_> = Statement {
    sql: "SELECT 'too large', count(*), coalesce(sum(octet_length(value)), 0)::int8 FROM xcom
          WHERE octet_length(value) > $1",
    types: types![INT8],
};

/// Texts of JSON in which something stands, which may also be inside of a string: of what is looked at.
const HOLDING: Statement<'_> = Statement {
    sql: "SELECT $3, (count(*) * 100 / $1)::int8, (coalesce(sum(octet_length(value)), 0) * 100 / $1)::int8
          FROM xcom TABLESAMPLE SYSTEM ($1::float4)
          WHERE position('\\x80'::bytea IN substr(value, 1, 1)) = 0
          AND EXISTS (SELECT FROM unnest($2) AS found (text) WHERE position(convert_to(text, 'UTF8') IN value) > 0)",
    types: types![FLOAT8, TEXT_ARRAY, TEXT],
};

/// What an attached Excom noted of rows that are gone.
const ORPHANS: Statement<'_> = Statement {
    sql: "SELECT '', count(*), coalesce(sum(m.size), 0)::int8 FROM excom.extra m WHERE NOT EXISTS (
              SELECT FROM xcom x WHERE x.dag_run_id = m.dag_run_id AND x.task_id = m.task_id
              AND x.map_index = m.map_index AND x.key = m.key)",
    types: &[],
};

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
    let connections = Connections::new(url, options)?;
    let mut look = Look { connections: &connections, is_airflows, patience, unfinished: Vec::new() };
    let table = if is_airflows { "xcom" } else { "excom.entry" };
    let told = |failure| look.told(failure);
    let facts = connections.look(patience, &FACTS, &[&table]).await.map_err(told)?;
    let Some(facts) = facts.first() else {
        return Err(no_table(connections.place(), table));
    };
    let (column, pages, is_attached): (String, f64, bool) = (facts.get(0), facts.get(1), facts.get(2));
    let percent = (100.0 * PAGES / pages.max(1.0)).min(100.0);
    let mut found = Survey { percent, ..Survey::default() };

    found.tables = look.parts("tables", &TABLES, &[&table, &MOST]).await?;
    let sums = if is_airflows { &AIRFLOWS_SUMS } else { &OWN_SUMS };
    let threshold = i64::try_from(threshold).unwrap_or(i64::MAX);
    for row in look.rows("sums", sums, &[&percent, &MOST, &threshold]).await? {
        match row.get(3) {
            "dag" => found.dags.push(part(&row)),
            "key" => found.keys.push(part(&row)),
            "all" => found.all = part(&row),
            _ => found.large = part(&row),
        }
    }
    if is_airflows && is_attached {
        found.orphans = look.parts("orphans", &ORPHANS, &[]).await?.pop().unwrap_or_default();
    }
    if is_airflows && column == "bytea" {
        found.upgrade = look.parts("too large", &TOO_LARGE, &[&JSONB_LIMIT]).await?;
        for (name, texts) in HELD {
            found.upgrade.extend(look.parts(name, &HOLDING, &[&percent, &texts, &name]).await?);
        }
    }
    found.unfinished = look.unfinished;
    Ok(found)
}

/// Who looks.
struct Look<'a> {
    connections: &'a Connections,
    is_airflows: bool,
    patience: Duration,
    unfinished: Vec<&'static str>,
}

impl Look<'_> {
    fn told(&self, failure: Failure) -> Error {
        let place = self.connections.place();
        if self.is_airflows { attached::told(failure, place) } else { failure.into_error(place) }
    }

    /// The rows of a statement; none, and its name, when the server ended it.
    async fn rows(
        &mut self,
        name: &'static str,
        statement: &Statement<'_>,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>> {
        match self.connections.look(self.patience, statement, parameters).await {
            Ok(rows) => Ok(rows),
            Err(failure) if failure.is_interrupted() => {
                self.unfinished.push(name);
                Ok(Vec::new())
            }
            Err(failure) => Err(self.told(failure)),
        }
    }

    async fn parts(
        &mut self,
        name: &'static str,
        statement: &Statement<'_>,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Part>> {
        Ok(self.rows(name, statement, parameters).await?.iter().map(part).collect())
    }
}

/// A row that begins with a name, a count and bytes.
fn part(row: &Row) -> Part {
    let number = |place: usize| row.get::<_, i64>(place).max(0) as u64;
    Part { name: row.get::<_, &str>(0).to_owned(), count: number(1), bytes: number(2) }
}
