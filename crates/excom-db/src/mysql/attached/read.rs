//! The statements that read entries. Each is one round trip, on Airflow's own indexes.

use std::sync::Arc;

use excom_core::db::{Filter, Health, Item, Occupied, Page, Produced, Usage};
use excom_core::entry::{Entry, EntryInfo};
use excom_core::{SequenceKey, Slice, XComKey};
use mysql_async::Row;

use super::super::connection::named;
use super::super::failure::Failure;
use super::super::names::hex;
use super::super::read::{of_sequence, of_xcom, with};
use super::super::row as own;
use super::columns::{COLUMNS, bytes, counts, entry, info, key, known, listed, same, ti};
use super::{Tables, row, schema};

type Result<T> = std::result::Result<T, Failure>;

/// The rows `x` of a sequence: those of task instances that were removed are not part of it.
macro_rules! sequence {
    () => {
        concat!(
            " FROM airflow.xcom x",
            known!(),
            "WHERE ",
            same!("x.dag_id", ":dag"),
            " AND ",
            same!("x.run_id", ":run_id"),
            " AND ",
            same!("x.task_id", ":task"),
            " AND ",
            same!("x.key", ":key"),
            " AND x.map_index >= 0",
            " AND NOT EXISTS (
                SELECT 1 FROM airflow.task_instance i
                WHERE i.dag_id = x.dag_id AND i.run_id = x.run_id AND i.task_id = x.task_id
                AND i.map_index = x.map_index AND i.state = 'removed') "
        )
    };
}

/// One entry, by Airflow's index of task instances.
const ENTRY: &str = concat!(
    "SELECT ",
    entry!(),
    " FROM airflow.xcom x",
    known!(),
    "WHERE",
    ti!("x.dag_id", "x.run_id", "x.task_id", "x.map_index"),
    "AND ",
    same!("x.key", ":key")
);

/// Any number of entries, each as [`ENTRY`].
const ENTRIES: &str = concat!(
    "SELECT STRAIGHT_JOIN ",
    entry!(),
    ", a.place
     FROM (SELECT place, UNHEX(dag) AS dag, UNHEX(run_id) AS run_id, UNHEX(task) AS task, map_index,
                  UNHEX(xcom_key) AS xcom_key
           FROM JSON_TABLE(:keys, '$[*]' COLUMNS (
                    place FOR ORDINALITY, dag VARCHAR(2000) PATH '$[0]', run_id VARCHAR(2000) PATH '$[1]',
                    task VARCHAR(2000) PATH '$[2]', map_index INT PATH '$[3]', xcom_key VARCHAR(4096) PATH '$[4]')) j
          ) a
          JOIN airflow.xcom x ON ",
    listed!(),
    known!()
);

/// All that tasks produced: one more than the highest map index (0 when a task is not mapped), then the entries. The
/// limit keeps the lengths from being found once for each entry.
const PRODUCED: &str = concat!(
    "SELECT STRAIGHT_JOIN ",
    entry!(),
    ", l.place, l.length, x.map_index
     FROM (SELECT a.*, (
               SELECT COALESCE(MAX(i.map_index) + 1, 0) FROM airflow.task_instance i
               WHERE ",
    same!("i.dag_id", "a.dag"),
    " AND ",
    same!("i.run_id", "a.run_id"),
    " AND ",
    same!("i.task_id", "a.task"),
    " AND i.map_index >= 0 AND COALESCE(i.state, '') <> 'removed') AS length
           FROM (SELECT place, UNHEX(dag) AS dag, UNHEX(run_id) AS run_id, UNHEX(task) AS task,
                        UNHEX(xcom_key) AS xcom_key
                 FROM JSON_TABLE(:keys, '$[*]' COLUMNS (
                          place FOR ORDINALITY, dag VARCHAR(2000) PATH '$[0]', run_id VARCHAR(2000) PATH '$[1]',
                          task VARCHAR(2000) PATH '$[2]', xcom_key VARCHAR(4096) PATH '$[3]')) j) a
           LIMIT 1000000000) l
          LEFT JOIN airflow.xcom x ON ",
    same!("x.dag_id", "l.dag"),
    " AND ",
    same!("x.run_id", "l.run_id"),
    " AND ",
    same!("x.task_id", "l.task"),
    " AND ",
    same!("x.key", "l.xcom_key"),
    " AND x.map_index >= CASE WHEN l.length = 0 THEN -1 ELSE 0 END
              AND (x.map_index = -1 OR NOT EXISTS (
                  SELECT 1 FROM airflow.task_instance i
                  WHERE i.dag_id = x.dag_id AND i.run_id = x.run_id AND i.task_id = x.task_id
                  AND i.map_index = x.map_index AND i.state = 'removed'))",
    known!(),
    "ORDER BY l.place, x.map_index"
);

/// A count over the task's range of Airflow's index.
const COUNT: &str = concat!("SELECT COUNT(*)", sequence!());

/// The same range, map indexes only.
const INDEXES: &str = concat!("SELECT x.map_index", sequence!(), "ORDER BY x.map_index");

/// A part of the same range.
const PAGE: &str = concat!(
    "SELECT ",
    entry!(),
    ", x.map_index",
    sequence!(),
    "AND x.map_index > :after ORDER BY x.map_index LIMIT :limit"
);

/// Some rows of the same range.
const SLICE: &str = concat!(
    "SELECT ",
    entry!(),
    ", x.map_index",
    sequence!(),
    "AND x.map_index IN (
         SELECT a.map_index FROM JSON_TABLE(:wanted, '$[*]' COLUMNS (map_index INT PATH '$')) a)
     ORDER BY x.map_index"
);

/// Runs of a DAG by their date, newest first, until one has the XCom.
const PRIOR_RUN: &str = concat!(
    "SELECT ",
    bytes!("r.run_id"),
    " FROM airflow.dag_run own JOIN airflow.dag_run r ON r.dag_id = own.dag_id
          AND COALESCE(r.logical_date, r.run_after) <= COALESCE(own.logical_date, own.run_after)
     WHERE ",
    same!("own.dag_id", ":dag"),
    " AND ",
    same!("own.run_id", ":run_id"),
    " AND EXISTS (SELECT 1 FROM airflow.xcom x WHERE x.dag_run_id = r.id AND ",
    same!("x.task_id", ":task"),
    " AND ",
    same!("x.key", ":key"),
    " AND (:map_index IS NULL OR x.map_index = :map_index))
     ORDER BY COALESCE(r.logical_date, r.run_after) DESC, r.id = own.id DESC, 1 DESC LIMIT 1"
);

/// Every entry is looked at; only a person asks for this.
const PLACES: &str = concat!(
    "SELECT o.store, COUNT(*), CAST(SUM(o.size) AS SIGNED) FROM (
         SELECT COALESCE(e.size, LENGTH(x.value), 0) AS size, CASE WHEN e.codec = 2 THEN
             CAST(JSON_UNQUOTE(JSON_EXTRACT(CONVERT(e.body USING utf8mb4), '$.store')) AS BINARY) END AS store
         FROM airflow.xcom x",
    known!(),
    ") o GROUP BY o.store ORDER BY o.store"
);

/// What entries have together, by Airflow's index of what the condition behind it names.
macro_rules! usage {
    ($($condition:tt)*) => {
        concat!(
            "SELECT COUNT(*), CAST(COALESCE(SUM(COALESCE(e.size, LENGTH(x.value), 0)), 0) AS SIGNED)
             FROM airflow.xcom x",
            known!(),
            "WHERE ",
            $($condition)*
        )
    };
}
const USAGE_OF_DAG: &str = usage!(same!("x.dag_id", ":dag"));
const USAGE_OF_RUN: &str = usage!(
    "x.dag_run_id = (SELECT a.id FROM airflow.dag_run a WHERE ",
    same!("a.dag_id", ":dag"),
    " AND ",
    same!("a.run_id", ":run_id"),
    ")"
);

/// What the server knows of its tables without looking into them: our tables, and Airflow's `xcom`.
const SIZES: &str = "SELECT CAST(COALESCE(SUM(data_length + index_length), 0) AS SIGNED),
        CAST(COALESCE(SUM(CASE WHEN table_name = 'xcom' THEN table_rows END), 0) AS SIGNED)
    FROM information_schema.tables
    WHERE (table_schema = DATABASE() AND table_name LIKE 'excom\\_%') OR (table_schema = :airflow AND table_name = 'xcom')";

/// Every entry, by the smallest index.
const ENTRY_COUNT: &str = "SELECT COUNT(*) FROM airflow.xcom";

/// More entries than these are estimated.
const COUNTED: u64 = 100_000;

impl Tables {
    pub(super) async fn entries(&self, keys: &[XComKey]) -> Result<Vec<Option<Entry>>> {
        if let [key] = keys {
            return Ok(vec![self.own.one(ENTRY, of_xcom(key), |found| row::entry(found, 0)).await?]);
        }
        let rows = keys.iter().map(|XComKey { ti, key, .. }| {
            (hex(&ti.dag_id), hex(&ti.run_id), hex(&ti.task_id), ti.map_index, hex(key))
        });
        let rows = serde_json::to_string(&rows.collect::<Vec<_>>()).unwrap_or_default();
        let mut entries = vec![None; keys.len()];
        for found in self.own.connections.read(ENTRIES, named! { "keys" => rows }).await? {
            entries[own::int(&found, COLUMNS)? as usize - 1] = Some(row::entry(&found, 0)?);
        }
        Ok(entries)
    }

    pub(super) async fn produced(&self, keys: &[SequenceKey]) -> Result<Vec<Produced>> {
        let rows =
            keys.iter().map(|key| (hex(&key.dag_id), hex(&key.run_id), hex(&key.task_id), hex(&key.key)));
        let rows = serde_json::to_string(&rows.collect::<Vec<_>>()).unwrap_or_default();
        let mut produced = vec![Produced::Single(None); keys.len()];
        for found in self.own.connections.read(PRODUCED, named! { "keys" => rows }).await? {
            let place = &mut produced[own::int(&found, COLUMNS)? as usize - 1];
            let length = own::count(&found, COLUMNS + 1)?;
            let map_index = own::optional(&found, COLUMNS + 2)?;
            let entry = map_index.map(|_| row::entry(&found, 0)).transpose()?;
            if length == 0 {
                *place = Produced::Single(entry);
                continue;
            }
            if !matches!(place, Produced::Mapped { .. }) {
                *place = Produced::Mapped { items: Vec::new(), length };
            }
            if let (Produced::Mapped { items, .. }, Some(entry)) = (place, entry) {
                items.push(Item { map_index: own::int4(&found, COLUMNS + 2)?, entry });
            }
        }
        Ok(produced)
    }

    pub(super) async fn count(&self, key: &SequenceKey) -> Result<u64> {
        Ok(self.own.one(COUNT, of_sequence(key), |found| own::count(found, 0)).await?.unwrap_or(0))
    }

    pub(super) async fn indexes(&self, key: &SequenceKey) -> Result<Vec<i32>> {
        self.own.rows(INDEXES, of_sequence(key), |found| own::int4(found, 0)).await
    }

    pub(super) async fn page(&self, key: &SequenceKey, after: Option<i32>, limit: u32) -> Result<Vec<Item>> {
        let parameters = with(of_sequence(key), "after", after.unwrap_or(-1).max(-1));
        self.own.rows(PAGE, with(parameters, "limit", limit), item).await
    }

    /// What goes between the look at the map indexes and that at the entries is left out.
    pub(super) async fn slice(&self, key: &SequenceKey, slice: Slice) -> Result<Vec<Item>> {
        // A zero step is refused even where there is nothing to slice.
        slice.positions(0)?.for_each(drop);
        let wanted = slice.of_indexes(&self.indexes(key).await?)?;
        let backwards = wanted.first() > wanted.last();
        let wanted = serde_json::Value::from(wanted).to_string();
        let mut items = self.own.rows(SLICE, with(of_sequence(key), "wanted", wanted), item).await?;
        if backwards {
            items.reverse();
        }
        Ok(items)
    }

    pub(super) async fn prior_run(
        &self,
        key: &SequenceKey,
        map_index: Option<i32>,
    ) -> Result<Option<Arc<str>>> {
        let parameters = with(of_sequence(key), "map_index", map_index);
        self.own.one(PRIOR_RUN, parameters, |found| own::text(found, 0)).await
    }

    /// The statement has only the conditions that the filter has, so that each is planned for what it asks.
    pub(super) async fn list(
        &self,
        filter: &Filter,
        after: Option<&XComKey>,
        limit: u32,
    ) -> Result<Page<EntryInfo>> {
        let mut sql =
            concat!("SELECT ", key!(), ", ", info!(), " FROM airflow.xcom x", known!(), "WHERE 1 = 1")
                .to_owned();
        let mut parameters = named! { "limit" => u64::from(limit) + 1 };
        let texts = [
            (same!("x.dag_id", ":dag"), "dag", filter.dag_id.as_deref()),
            (same!("x.run_id", ":run_id"), "run_id", filter.run_id.as_deref()),
            (same!("x.task_id", ":task"), "task", filter.task_id.as_deref()),
            (same!("x.key", ":key"), "key", filter.key.as_deref()),
        ];
        for (condition, name, value) in texts {
            if let Some(value) = value {
                sql += " AND ";
                sql += condition;
                parameters = with(parameters, name, value);
            }
        }
        if let Some(map_index) = filter.map_index {
            sql += " AND x.map_index = :map_index";
            parameters = with(parameters, "map_index", map_index);
        }
        if let Some(XComKey { ti, key, .. }) = after {
            sql += concat!(
                " AND (",
                key!(),
                ") > (:after_dag, :after_run, :after_task, :after_map, :after_key)"
            );
            parameters = with(parameters, "after_dag", &*ti.dag_id);
            parameters = with(parameters, "after_run", &*ti.run_id);
            parameters = with(parameters, "after_task", &*ti.task_id);
            parameters = with(parameters, "after_map", ti.map_index);
            parameters = with(parameters, "after_key", &**key);
        }
        sql += " ORDER BY 1, 2, 3, 4, 5 LIMIT :limit";
        let of = |found: &Row| row::info(found, 5, own::key(found)?);
        let mut items = self.own.rows(&sql, parameters, of).await?;
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next = if more { items.last().map(|info| info.key.clone()) } else { None };
        Ok(Page { items, next })
    }

    // ---- the database itself

    pub(super) async fn places(&self) -> Result<Vec<Occupied>> {
        self.own
            .rows(PLACES, named! {}, |found| {
                let store = own::optional_str(found, 0)?.map(Into::into);
                Ok(Occupied { store, entries: own::count(found, 1)?, bytes: own::count(found, 2)? })
            })
            .await
    }

    pub(super) async fn usage(&self, dag_id: &str, run_id: Option<&str>) -> Result<Usage> {
        let of = |found: &Row| Ok(Usage { entries: own::count(found, 0)?, bytes: own::count(found, 1)? });
        let usage = match run_id {
            Some(run_id) => {
                self.own.one(USAGE_OF_RUN, named! { "dag" => dag_id, "run_id" => run_id }, of).await
            }
            None => self.own.one(USAGE_OF_DAG, named! { "dag" => dag_id }, of).await,
        };
        Ok(usage?.unwrap_or_default())
    }

    pub(super) async fn check(&self) -> excom_core::Result<String> {
        self.known().await.map(|(identity, _)| identity)
    }

    /// Which database it is, and the version of what is ours beside it.
    async fn known(&self) -> excom_core::Result<(String, u32)> {
        let place = self.own.connections.place();
        // Over a connection that knows whether it leads to the database that was opened.
        self.own.mark("").await.map_err(|failure| schema::told(failure, place))?;
        let found = schema::look(&self.airflows).await?;
        match found.version {
            0 => Err(schema::missing(&found, place, self.own.connections.ours())),
            version => Ok((format!("{place}, attached to Airflow {}", found.airflow), version)),
        }
    }

    pub(super) async fn health(&self) -> excom_core::Result<Health> {
        let (identity, schema) = self.known().await?;
        let told = |failure| schema::told(failure, self.own.connections.place());
        let sizes = named! { "airflow" => self.own.connections.database() };
        let sizes = self.own.one(SIZES, sizes, |found| Ok((own::count(found, 0)?, own::count(found, 1)?)));
        let (bytes, mut entries) = sizes.await.map_err(told)?.unwrap_or_default();
        if entries < COUNTED {
            let counted = self.own.one(ENTRY_COUNT, named! {}, |found| own::count(found, 0));
            entries = counted.await.map_err(told)?.unwrap_or(0);
        }
        Ok(Health { identity, schema, entries, bytes, problems: Vec::new() })
    }
}

fn item(found: &Row) -> Result<Item> {
    Ok(Item { map_index: own::int4(found, COLUMNS)?, entry: row::entry(found, 0)? })
}
