//! The statements that read. Each is one round trip, and sees what is committed when it begins.

use std::sync::Arc;

use excom_core::attempt::{AttemptInfo, TaskInstanceInfo, TaskState};
use excom_core::db::{Filter, Health, Item, Occupied, Page, Produced, Usage};
use excom_core::entry::{Entry, EntryInfo, PastEntry, Version};
use excom_core::{SequenceKey, Slice, TaskInstanceKey, XComKey};
use mysql_async::{Params, Row, Value};

use super::Tables;
use super::connection::named;
use super::failure::Failure;
use super::names::hex;
use super::{row, schema};

type Result<T> = std::result::Result<T, Failure>;

/// A run's number by the texts of its DAG and its id.
macro_rules! run {
    () => {
        "(SELECT r.id FROM excom_name d JOIN excom_dag_run r ON r.dag = d.id WHERE d.text = :dag
          AND r.run_id = :run_id)"
    };
}
pub(super) use run;

/// The number of a task's name.
macro_rules! task {
    () => {
        "(SELECT id FROM excom_name WHERE text = :task)"
    };
}
pub(super) use task;

/// The number of a key.
macro_rules! key {
    () => {
        "(SELECT id FROM excom_name WHERE text = :key)"
    };
}
pub(super) use key;

/// What [`row::entry`] reads of `e`.
macro_rules! entry {
    () => {
        "e.version, e.number, e.writer, e.size, e.hash, e.shape, e.head, e.codec, e.body"
    };
}

/// What [`row::info`] reads of `e`.
macro_rules! info {
    () => {
        "e.version, e.number, e.writer, e.size, e.hash, e.shape, e.head"
    };
}
pub(super) use info;

/// The rows `e` of a sequence: those of task instances that were removed are not part of it.
macro_rules! sequence {
    () => {
        concat!(
            " FROM excom_entry e WHERE e.run = ",
            run!(),
            " AND e.task = ",
            task!(),
            " AND e.xcom_key = ",
            key!(),
            " AND e.map_index >= 0 AND NOT EXISTS (
                SELECT 1 FROM excom_task_instance i
                WHERE i.run = e.run AND i.task = e.task AND i.map_index = e.map_index AND i.state = 10) "
        )
    };
}

/// One entry by its key: five looks into unique indexes.
const ENTRY: &str = concat!(
    "SELECT ",
    entry!(),
    " FROM excom_entry e WHERE e.run = ",
    run!(),
    " AND e.task = ",
    task!(),
    " AND e.map_index = :map_index AND e.xcom_key = ",
    key!()
);

/// Any number of entries, each as [`ENTRY`].
const ENTRIES: &str = concat!(
    "SELECT STRAIGHT_JOIN ", entry!(), ", a.place
     FROM JSON_TABLE(:keys, '$[*]' COLUMNS (
              place FOR ORDINALITY, dag VARCHAR(2000) PATH '$[0]', run_id VARCHAR(2000) PATH '$[1]',
              task VARCHAR(2000) PATH '$[2]', map_index INT PATH '$[3]', xcom_key VARCHAR(4096) PATH '$[4]')) a
          JOIN excom_name d ON d.text = UNHEX(a.dag)
          JOIN excom_dag_run r ON r.dag = d.id AND r.run_id = UNHEX(a.run_id)
          JOIN excom_name t ON t.text = UNHEX(a.task) JOIN excom_name k ON k.text = UNHEX(a.xcom_key)
          JOIN excom_entry e ON e.run = r.id AND e.task = t.id AND e.xcom_key = k.id AND e.map_index = a.map_index"
);

/// All that tasks produced: one more than the highest map index (0 when a task is not mapped), from its task instances
/// and entries by their indexes, then the entries. The limit keeps the lengths from being found once for each entry.
const PRODUCED: &str = concat!(
    "SELECT ",
    entry!(),
    ", l.place, l.length, e.map_index
     FROM (SELECT STRAIGHT_JOIN a.place, r.id AS run, t.id AS task, k.id AS xcom_key, GREATEST(
               (SELECT COALESCE(MAX(i.map_index) + 1, 0) FROM excom_task_instance i
                WHERE i.run = r.id AND i.task = t.id AND i.map_index >= 0 AND i.state <> 10),
               (SELECT COALESCE(MAX(o.map_index) + 1, 0) FROM excom_entry o
                WHERE o.run = r.id AND o.task = t.id AND o.map_index >= 0 AND NOT EXISTS (
                    SELECT 1 FROM excom_task_instance i
                    WHERE i.run = o.run AND i.task = o.task AND i.map_index = o.map_index))) AS length
           FROM JSON_TABLE(:keys, '$[*]' COLUMNS (
                    place FOR ORDINALITY, dag VARCHAR(2000) PATH '$[0]', run_id VARCHAR(2000) PATH '$[1]',
                    task VARCHAR(2000) PATH '$[2]', xcom_key VARCHAR(4096) PATH '$[3]')) a
                JOIN excom_name d ON d.text = UNHEX(a.dag)
                JOIN excom_dag_run r ON r.dag = d.id AND r.run_id = UNHEX(a.run_id)
                JOIN excom_name t ON t.text = UNHEX(a.task)
                LEFT JOIN excom_name k ON k.text = UNHEX(a.xcom_key)
           LIMIT 1000000000) l
          LEFT JOIN excom_entry e ON e.run = l.run AND e.task = l.task AND e.xcom_key = l.xcom_key
              AND e.map_index >= CASE WHEN l.length = 0 THEN -1 ELSE 0 END
              AND (e.map_index = -1 OR NOT EXISTS (
                  SELECT 1 FROM excom_task_instance i
                  WHERE i.run = e.run AND i.task = e.task AND i.map_index = e.map_index AND i.state = 10))
     ORDER BY l.place, e.map_index"
);

/// A count over a range of the entries' index.
const COUNT: &str = concat!("SELECT COUNT(*)", sequence!());

/// The same range, map indexes only.
const INDEXES: &str = concat!("SELECT e.map_index", sequence!(), "ORDER BY e.map_index");

/// A part of the same range.
const PAGE: &str = concat!(
    "SELECT ",
    entry!(),
    ", e.map_index",
    sequence!(),
    "AND e.map_index > :after ORDER BY e.map_index LIMIT :limit"
);

/// Some rows of the same range.
const SLICE: &str = concat!(
    "SELECT STRAIGHT_JOIN ",
    entry!(),
    ", e.map_index FROM JSON_TABLE(:wanted, '$[*]' COLUMNS (map_index INT PATH '$')) a
     JOIN excom_entry e ON e.map_index = a.map_index WHERE e.run = ",
    run!(),
    " AND e.task = ",
    task!(),
    " AND e.xcom_key = ",
    key!(),
    " AND NOT EXISTS (
         SELECT 1 FROM excom_task_instance i
         WHERE i.run = e.run AND i.task = e.task AND i.map_index = e.map_index AND i.state = 10)
     ORDER BY e.map_index"
);

/// Runs of a DAG by their date, newest first, until one has the XCom.
const PRIOR_RUN: &str = concat!(
    "SELECT r.run_id FROM excom_dag_run own JOIN excom_dag_run r ON r.dag = own.dag AND r.due <= own.due
     WHERE own.id = ",
    run!(),
    " AND EXISTS (SELECT 1 FROM excom_entry e WHERE e.run = r.id AND e.task = ",
    task!(),
    " AND e.xcom_key = ",
    key!(),
    " AND (:map_index IS NULL OR e.map_index = :map_index))
     ORDER BY r.due DESC, r.id = own.id DESC, r.run_id DESC LIMIT 1"
);

/// An XCom's versions that ended, by their key.
macro_rules! of_xcom {
    () => {
        concat!(
            " FROM excom_history e WHERE e.run = ",
            run!(),
            " AND e.task = ",
            task!(),
            " AND e.map_index = :map_index AND e.xcom_key = ",
            key!()
        )
    };
}

const HISTORY: &str = concat!(
    "SELECT ",
    info!(),
    ", e.ended_at, e.reason, e.ended_by, e.codec, e.offloaded",
    of_xcom!(),
    " ORDER BY e.id DESC LIMIT :limit"
);

/// One of them.
const PAST: &str = concat!("SELECT ", entry!(), of_xcom!(), " AND e.version = :version AND e.codec >= 0");

/// What [`row::attempt`] reads of a task instance or an attempt.
macro_rules! attempt {
    () => {
        "number, attempt, try_number, state, started, took"
    };
}
pub(super) use attempt;

/// The rows of a task instance, by its key.
macro_rules! ti {
    () => {
        concat!("run = ", run!(), " AND task = ", task!(), " AND map_index = :map_index")
    };
}
pub(super) use ti;

const TASK_INSTANCE: &str = concat!("SELECT ", attempt!(), " FROM excom_task_instance WHERE ", ti!());

/// Its attempts, by the same key.
const ATTEMPTS: &str = concat!(
    "SELECT ",
    attempt!(),
    " FROM excom_attempt WHERE ",
    ti!(),
    " UNION ALL SELECT ",
    attempt!(),
    " FROM excom_task_instance WHERE ",
    ti!(),
    " ORDER BY number"
);

/// A mark by its name.
pub(super) const MARK: &str = "SELECT value FROM excom_mark WHERE name = :name";

/// There are few marks.
const MARKS: &str = "SELECT name, value FROM excom_mark
    WHERE SUBSTRING(name, 1, LENGTH(:prefix)) = :prefix ORDER BY name";

/// Every entry is looked at; only a person asks for this.
const PLACES: &str = "SELECT store, COUNT(*), CAST(SUM(size) AS SIGNED) FROM (
        SELECT size, CASE WHEN codec = 2 THEN
            CAST(JSON_UNQUOTE(JSON_EXTRACT(CONVERT(body USING utf8mb4), '$.store')) AS BINARY) END AS store
        FROM excom_entry) e
    GROUP BY store ORDER BY store";

/// What entries have together: a run is a range of the primary key.
macro_rules! usage {
    ($run:literal) => {
        concat!(
            "SELECT COUNT(*), CAST(COALESCE(SUM(e.size), 0) AS SIGNED)
             FROM excom_name d JOIN excom_dag_run r ON r.dag = d.id JOIN excom_entry e ON e.run = r.id
             WHERE d.text = :dag",
            $run
        )
    };
}
const USAGE_OF_DAG: &str = usage!("");
const USAGE_OF_RUN: &str = usage!(" AND r.run_id = :run_id");

/// What the server knows of its tables without looking into them.
const SIZES: &str = "SELECT CAST(COALESCE(SUM(data_length + index_length), 0) AS SIGNED),
        CAST(COALESCE(SUM(CASE WHEN table_name = 'excom_entry' THEN table_rows END), 0) AS SIGNED)
    FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name LIKE 'excom\\_%'";

/// Every entry, by the smallest index.
const ENTRY_COUNT: &str = "SELECT COUNT(*) FROM excom_entry";

/// More entries than these are estimated.
const COUNTED: u64 = 100_000;

/// The parameters that name a sequence.
pub(super) fn of_sequence(key: &SequenceKey) -> Params {
    named! {
        "dag" => &*key.dag_id, "run_id" => &*key.run_id, "task" => &*key.task_id, "key" => &*key.key,
    }
}

/// The parameters that name a task instance.
pub(super) fn of_ti(ti: &TaskInstanceKey) -> Params {
    named! {
        "dag" => &*ti.dag_id, "run_id" => &*ti.run_id, "task" => &*ti.task_id, "map_index" => ti.map_index,
    }
}

/// The parameters that name an XCom.
pub(super) fn of_xcom(key: &XComKey) -> Params {
    with(of_ti(&key.ti), "key", &*key.key)
}

/// Parameters with one more.
pub(super) fn with(mut parameters: Params, name: &str, value: impl Into<Value>) -> Params {
    if let Params::Named(named) = &mut parameters {
        named.insert(name.as_bytes().to_vec(), value.into());
    }
    parameters
}

impl Tables {
    pub(super) async fn rows<T>(
        &self,
        sql: &str,
        parameters: Params,
        of: impl FnMut(&Row) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.connections.read(sql, parameters).await?.iter().map(of).collect()
    }

    pub(super) async fn one<T>(
        &self,
        sql: &str,
        parameters: Params,
        of: impl FnMut(&Row) -> Result<T>,
    ) -> Result<Option<T>> {
        self.connections.read(sql, parameters).await?.first().map(of).transpose()
    }

    // ---- entries

    pub(super) async fn entries(&self, keys: &[XComKey]) -> Result<Vec<Option<Entry>>> {
        if let [key] = keys {
            return Ok(vec![self.one(ENTRY, of_xcom(key), |found| row::entry(found, 0)).await?]);
        }
        let asked = keys.iter().map(|XComKey { ti, key, .. }| {
            let (dag, run, task) = (hex(&ti.dag_id), hex(&ti.run_id), hex(&ti.task_id));
            serde_json::json!([dag, run, task, ti.map_index, hex(key)])
        });
        let asked = serde_json::Value::from_iter(asked).to_string();
        let mut entries = vec![None; keys.len()];
        for found in self.connections.read(ENTRIES, named! { "keys" => asked }).await? {
            entries[row::int(&found, 9)? as usize - 1] = Some(row::entry(&found, 0)?);
        }
        Ok(entries)
    }

    pub(super) async fn produced(&self, keys: &[SequenceKey]) -> Result<Vec<Produced>> {
        let asked = keys.iter().map(|key| {
            serde_json::json!([hex(&key.dag_id), hex(&key.run_id), hex(&key.task_id), hex(&key.key)])
        });
        let asked = serde_json::Value::from_iter(asked).to_string();
        let mut produced = vec![Produced::Single(None); keys.len()];
        for found in self.connections.read(PRODUCED, named! { "keys" => asked }).await? {
            let place = &mut produced[row::int(&found, 9)? as usize - 1];
            let length = row::count(&found, 10)?;
            let map_index = row::optional(&found, 11)?;
            let entry = map_index.map(|_| row::entry(&found, 0)).transpose()?;
            if length == 0 {
                *place = Produced::Single(entry);
                continue;
            }
            if !matches!(place, Produced::Mapped { .. }) {
                *place = Produced::Mapped { items: Vec::new(), length };
            }
            if let (Produced::Mapped { items, .. }, Some(entry)) = (place, entry) {
                items.push(Item { map_index: row::int4(&found, 11)?, entry });
            }
        }
        Ok(produced)
    }

    pub(super) async fn count(&self, key: &SequenceKey) -> Result<u64> {
        Ok(self.one(COUNT, of_sequence(key), |found| row::count(found, 0)).await?.unwrap_or(0))
    }

    pub(super) async fn indexes(&self, key: &SequenceKey) -> Result<Vec<i32>> {
        self.rows(INDEXES, of_sequence(key), |found| row::int4(found, 0)).await
    }

    pub(super) async fn page(&self, key: &SequenceKey, after: Option<i32>, limit: u32) -> Result<Vec<Item>> {
        let parameters = with(of_sequence(key), "after", after.unwrap_or(-1).max(-1));
        self.rows(PAGE, with(parameters, "limit", limit), item).await
    }

    /// What goes between the look at the map indexes and that at the entries is left out.
    pub(super) async fn slice(&self, key: &SequenceKey, slice: Slice) -> Result<Vec<Item>> {
        // A zero step is refused even where there is nothing to slice.
        slice.positions(0)?.for_each(drop);
        let wanted = slice.of_indexes(&self.indexes(key).await?)?;
        let backwards = wanted.first() > wanted.last();
        let wanted = serde_json::Value::from(wanted).to_string();
        let mut items = self.rows(SLICE, with(of_sequence(key), "wanted", wanted), item).await?;
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
        self.one(PRIOR_RUN, parameters, |found| row::text(found, 0)).await
    }

    /// The statement has only the conditions that the filter has, so that each is planned for what it asks.
    pub(super) async fn list(
        &self,
        filter: &Filter,
        after: Option<&XComKey>,
        limit: u32,
    ) -> Result<Page<EntryInfo>> {
        let mut sql = concat!(
            "SELECT d.text, r.run_id, t.text, e.map_index, k.text, ",
            info!(),
            ", e.codec = 2
             FROM excom_entry e JOIN excom_dag_run r ON r.id = e.run JOIN excom_name d ON d.id = r.dag
                  JOIN excom_name t ON t.id = e.task JOIN excom_name k ON k.id = e.xcom_key WHERE 1 = 1"
        )
        .to_owned();
        let mut parameters = named! { "limit" => u64::from(limit) + 1 };
        let texts = [
            (" AND d.text = :dag", "dag", filter.dag_id.as_deref()),
            (" AND r.run_id = :run_id", "run_id", filter.run_id.as_deref()),
            (" AND t.text = :task", "task", filter.task_id.as_deref()),
            (" AND k.text = :key", "key", filter.key.as_deref()),
        ];
        for (condition, name, value) in texts {
            if let Some(value) = value {
                sql += condition;
                parameters = with(parameters, name, value);
            }
        }
        if let Some(map_index) = filter.map_index {
            sql += " AND e.map_index = :map_index";
            parameters = with(parameters, "map_index", map_index);
        }
        if let Some(XComKey { ti, key, .. }) = after {
            sql += " AND (d.text, r.run_id, t.text, e.map_index, k.text)
                       > (:after_dag, :after_run, :after_task, :after_map, :after_key)";
            parameters = with(parameters, "after_dag", &*ti.dag_id);
            parameters = with(parameters, "after_run", &*ti.run_id);
            parameters = with(parameters, "after_task", &*ti.task_id);
            parameters = with(parameters, "after_map", ti.map_index);
            parameters = with(parameters, "after_key", &**key);
        }
        sql += " ORDER BY 1, 2, 3, 4, 5 LIMIT :limit";
        let mut items = self
            .rows(&sql, parameters, |found| row::info(found, 5, row::key(found)?, row::is(found, 12)?))
            .await?;
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next = if more { items.last().map(|info| info.key.clone()) } else { None };
        Ok(Page { items, next })
    }

    // ---- history

    pub(super) async fn history(&self, key: &XComKey, limit: u32) -> Result<Vec<PastEntry>> {
        let parameters = with(of_xcom(key), "limit", limit);
        self.rows(HISTORY, parameters, |found| row::past(found, 0, key.clone())).await
    }

    pub(super) async fn past(&self, key: &XComKey, version: Version) -> Result<Option<Entry>> {
        let parameters = with(of_xcom(key), "version", version.to_code());
        self.one(PAST, parameters, |found| row::entry(found, 0)).await
    }

    // ---- task instances, attempts

    pub(super) async fn task_instance(&self, ti: &TaskInstanceKey) -> Result<Option<TaskInstanceInfo>> {
        self.one(TASK_INSTANCE, of_ti(ti), |found| row::instance(found, ti.clone())).await
    }

    pub(super) async fn attempts(&self, ti: &TaskInstanceKey) -> Result<Vec<AttemptInfo>> {
        let found = self.rows(ATTEMPTS, of_ti(ti), |found| row::attempt(found, 0)).await?;
        Ok(found.into_iter().flatten().collect())
    }

    // ---- the database itself

    pub(super) async fn mark(&self, name: &str) -> Result<Option<String>> {
        self.one(MARK, named! { "name" => name }, |found| Ok(row::str(found, 0)?.to_owned())).await
    }

    pub(super) async fn marks(&self, prefix: &str) -> Result<Vec<(String, String)>> {
        self.rows(MARKS, named! { "prefix" => prefix }, |found| {
            Ok((row::str(found, 0)?.to_owned(), row::str(found, 1)?.to_owned()))
        })
        .await
    }

    pub(super) async fn places(&self) -> Result<Vec<Occupied>> {
        self.rows(PLACES, named! {}, |found| {
            let store = row::optional_str(found, 0)?.map(Into::into);
            Ok(Occupied { store, entries: row::count(found, 1)?, bytes: row::count(found, 2)? })
        })
        .await
    }

    pub(super) async fn usage(&self, dag_id: &str, run_id: Option<&str>) -> Result<Usage> {
        let of = |found: &Row| Ok(Usage { entries: row::count(found, 0)?, bytes: row::count(found, 1)? });
        let usage = match run_id {
            Some(run_id) => self.one(USAGE_OF_RUN, named! { "dag" => dag_id, "run_id" => run_id }, of).await,
            None => self.one(USAGE_OF_DAG, named! { "dag" => dag_id }, of).await,
        };
        Ok(usage?.unwrap_or_default())
    }

    pub(super) async fn check(&self) -> Result<String> {
        schema::version(&self.connections).await?;
        self.mark("").await?;
        Ok(self.connections.place().to_owned())
    }

    pub(super) async fn health(&self) -> Result<Health> {
        let schema = schema::version(&self.connections).await?;
        let identity = self.connections.place().to_owned();
        let sizes = self.one(SIZES, named! {}, |found| Ok((row::count(found, 0)?, row::count(found, 1)?)));
        let (bytes, mut entries) = sizes.await?.unwrap_or_default();
        if entries < COUNTED {
            entries = self.one(ENTRY_COUNT, named! {}, |found| row::count(found, 0)).await?.unwrap_or(0);
        }
        Ok(Health { identity, schema, entries, bytes, problems: Vec::new() })
    }
}

fn item(found: &Row) -> Result<Item> {
    Ok(Item { map_index: row::int4(found, 9)?, entry: row::entry(found, 0)? })
}

/// The states that a sequence leaves out, as the statements above spell it.
const _: () = assert!(TaskState::Removed as i64 == 10);
