//! The statements that read entries, on Airflow's own indexes.

use std::borrow::Cow;
use std::sync::Arc;

use excom_core::db::{Filter, Health, Item, Occupied, Page, Produced, Usage};
use excom_core::entry::{Entry, EntryInfo};
use excom_core::{SequenceKey, Slice, TaskInstanceKey, XComKey};
use rusqlite::types::Value as Sql;
use rusqlite::{Params, Row, params};

use super::super::failure::Failure;
use super::super::row::text;
use super::super::write::key;
use super::columns::{COLUMNS, NOTHING_KNOWN, counts, entry, info, known, micros, of_ti, value};
use super::{Beside, row, schema};

type Result<T> = std::result::Result<T, Failure>;

/// The rows `x` of a sequence (`?1` to `?4`): those of task instances that were removed are not part of it.
macro_rules! sequence {
    () => {
        concat!(
            " FROM xcom x",
            known!(),
            "WHERE x.dag_id = ?1 AND x.run_id = ?2 AND x.task_id = ?3 AND x.key = ?4 AND x.map_index >= 0
             AND NOT EXISTS (
                 SELECT 1 FROM task_instance i
                 WHERE i.dag_id = x.dag_id AND i.run_id = x.run_id AND i.task_id = x.task_id
                 AND i.map_index = x.map_index AND i.state = 'removed') "
        )
    };
}

/// One entry, by Airflow's index of task instances.
const ENTRY: &str =
    concat!("SELECT ", entry!(), " FROM xcom x", known!(), "WHERE", of_ti!("x"), "AND x.key = ?5");

/// One more than the highest map index of a task; 0 when it is not mapped.
const LENGTH: &str = "SELECT ifnull(max(map_index) + 1, 0) FROM task_instance
    WHERE dag_id = ?1 AND run_id = ?2 AND task_id = ?3 AND map_index >= 0 AND ifnull(state, '') <> 'removed'";

const COUNT: &str = concat!("SELECT count(*)", sequence!());

const INDEXES: &str = concat!("SELECT x.map_index", sequence!(), "ORDER BY x.map_index");

const PAGE: &str = concat!(
    "SELECT ",
    entry!(),
    ", x.map_index",
    sequence!(),
    "AND x.map_index > ?5 ORDER BY x.map_index LIMIT ?6"
);

/// Runs of a DAG by their date, newest first, until one has the XCom.
const PRIOR_RUN: &str = "SELECT r.run_id
    FROM dag_run own JOIN dag_run r ON r.dag_id = own.dag_id
        AND ifnull(r.logical_date, r.run_after) <= ifnull(own.logical_date, own.run_after)
    WHERE own.dag_id = ?1 AND own.run_id = ?2
    AND EXISTS (SELECT 1 FROM xcom x WHERE x.dag_run_id = r.id AND x.task_id = ?3 AND x.key = ?4
                AND x.map_index = ifnull(?5, x.map_index))
    ORDER BY ifnull(r.logical_date, r.run_after) DESC, r.id = own.id DESC, r.run_id DESC LIMIT 1";

/// Every entry is looked at; only a person asks for this.
const PLACES: &str = concat!(
    "SELECT iif(e.codec = 2, e.body ->> 'store', NULL) AS store, count(*),
            sum(ifnull(e.size, length(CAST(x.value AS BLOB))))
     FROM xcom x",
    known!(),
    "GROUP BY store ORDER BY store NULLS FIRST"
);

/// What entries have together, by Airflow's index of what the condition behind it names.
macro_rules! usage {
    ($condition:literal) => {
        concat!(
            "SELECT count(*), ifnull(sum(ifnull(e.size, length(CAST(x.value AS BLOB)))), 0) FROM xcom x",
            known!(),
            "WHERE ",
            $condition
        )
    };
}
const USAGE_OF_DAG: &str = usage!("x.dag_id = ?1");
const USAGE_OF_RUN: &str =
    usage!("x.dag_run_id = (SELECT a.id FROM dag_run a WHERE a.dag_id = ?1 AND a.run_id = ?2)");

/// A sequence as parameters.
fn parts(key: &SequenceKey) -> [&str; 4] {
    [&key.dag_id, &key.run_id, &key.task_id, &key.key]
}

impl Beside<'_> {
    pub(super) fn rows<T>(
        &self,
        sql: &str,
        params: impl Params,
        of: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.view.rows(&self.said(sql), params, of)
    }

    pub(super) fn one<T>(
        &self,
        sql: &str,
        params: impl Params,
        of: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        self.view.one(&self.said(sql), params, of)
    }

    /// A statement as it is where there are no tables of ours.
    fn said<'a>(&self, sql: &'a str) -> Cow<'a, str> {
        match self.is_bare {
            true => sql.replace(NOTHING_KNOWN.0, NOTHING_KNOWN.1).into(),
            false => sql.into(),
        }
    }

    pub(super) fn entries(&self, keys: &[XComKey]) -> Result<Vec<Option<Entry>>> {
        keys.iter().map(|key| self.entry(&key.ti, &key.key)).collect()
    }

    fn entry(&self, ti: &TaskInstanceKey, key: &str) -> Result<Option<Entry>> {
        let of = params![ti.dag_id, ti.run_id, ti.task_id, ti.map_index, key];
        self.one(ENTRY, of, |found| row::entry(self.view, found, 0))
    }

    pub(super) fn produced(&self, keys: &[SequenceKey]) -> Result<Vec<Produced>> {
        let produced = |key: &SequenceKey| {
            let [dag, run, task, _] = parts(key);
            let length = self.one(LENGTH, [dag, run, task], |found| Ok(found.get::<_, i64>(0)?))?;
            Ok(match length.unwrap_or(0) {
                0 => Produced::Single(self.entry(&key.at(-1).ti, &key.key)?),
                length => Produced::Mapped { items: self.page(key, None, u32::MAX)?, length: length as u64 },
            })
        };
        keys.iter().map(produced).collect()
    }

    pub(super) fn count(&self, key: &SequenceKey) -> Result<u64> {
        let count = self.one(COUNT, parts(key), |found| Ok(found.get::<_, i64>(0)? as u64))?;
        Ok(count.unwrap_or(0))
    }

    pub(super) fn indexes(&self, key: &SequenceKey) -> Result<Vec<i32>> {
        self.rows(INDEXES, parts(key), |found| Ok(found.get(0)?))
    }

    pub(super) fn page(&self, key: &SequenceKey, after: Option<i32>, limit: u32) -> Result<Vec<Item>> {
        let [dag, run, task, name] = parts(key);
        let after = after.unwrap_or(-1).max(-1);
        self.rows(PAGE, params![dag, run, task, name, after, limit], |found| {
            Ok(Item { map_index: found.get(COLUMNS)?, entry: row::entry(self.view, found, 0)? })
        })
    }

    pub(super) fn slice(&self, key: &SequenceKey, slice: Slice) -> Result<Vec<Item>> {
        // A zero step is refused even where there is nothing to slice.
        slice.positions(0)?.for_each(drop);
        let mut items = Vec::new();
        for map_index in slice.of_indexes(&self.indexes(key)?)? {
            if let Some(entry) = self.entry(&key.at(map_index).ti, &key.key)? {
                items.push(Item { map_index, entry });
            }
        }
        Ok(items)
    }

    pub(super) fn prior_run(&self, key: &SequenceKey, map_index: Option<i32>) -> Result<Option<Arc<str>>> {
        let [dag, run, task, name] = parts(key);
        self.one(PRIOR_RUN, params![dag, run, task, name, map_index], |found| text(found, 0))
    }

    /// The statement has only the conditions that the filter has.
    pub(super) fn list(
        &self,
        filter: &Filter,
        after: Option<&XComKey>,
        limit: u32,
    ) -> Result<Page<EntryInfo>> {
        let mut sql = concat!(
            "SELECT x.dag_id, x.run_id, x.task_id, x.map_index, x.key, ",
            info!(),
            " FROM xcom x",
            known!(),
            "WHERE 1"
        )
        .to_owned();
        let mut bound: Vec<Sql> = Vec::new();
        let text = |text: &Option<Arc<str>>| text.as_deref().map(|text| Sql::Text(text.to_owned()));
        for (condition, value) in [
            (" AND x.dag_id = ?", text(&filter.dag_id)),
            (" AND x.run_id = ?", text(&filter.run_id)),
            (" AND x.task_id = ?", text(&filter.task_id)),
            (" AND x.key = ?", text(&filter.key)),
            (" AND x.map_index = ?", filter.map_index.map(|index| Sql::Integer(index.into()))),
        ] {
            if let Some(value) = value {
                sql += condition;
                bound.push(value);
            }
        }
        if let Some(XComKey { ti, key, .. }) = after {
            sql += " AND (x.dag_id, x.run_id, x.task_id, x.map_index, x.key) > (?, ?, ?, ?, ?)";
            bound.extend([
                Sql::Text(ti.dag_id.to_string()),
                Sql::Text(ti.run_id.to_string()),
                Sql::Text(ti.task_id.to_string()),
                Sql::Integer(ti.map_index.into()),
                Sql::Text(key.to_string()),
            ]);
        }
        sql += " ORDER BY 1, 2, 3, 4, 5 LIMIT ?";
        bound.push(Sql::Integer(i64::from(limit) + 1));
        let bound = rusqlite::params_from_iter(bound);
        let mut items = self.rows(&sql, bound, |found| row::info(found, 5, key(found)?))?;
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next = if more { items.last().map(|info| info.key.clone()) } else { None };
        Ok(Page { items, next })
    }

    // ---- the database itself

    pub(super) fn places(&self) -> Result<Vec<Occupied>> {
        self.rows(PLACES, [], |found| {
            let store: Option<String> = found.get(0)?;
            let (entries, bytes): (i64, Option<i64>) = (found.get(1)?, found.get(2)?);
            Ok(Occupied {
                store: store.map(Into::into),
                entries: entries as u64,
                bytes: bytes.unwrap_or(0) as u64,
            })
        })
    }

    pub(super) fn usage(&self, dag_id: &str, run_id: Option<&str>) -> Result<Usage> {
        let of = |found: &Row<'_>| {
            let (entries, bytes): (i64, i64) = (found.get(0)?, found.get(1)?);
            Ok(Usage { entries: entries as u64, bytes: bytes as u64 })
        };
        let usage = match run_id {
            Some(run_id) => self.one(USAGE_OF_RUN, [dag_id, run_id], of),
            None => self.one(USAGE_OF_DAG, [dag_id], of),
        };
        Ok(usage?.unwrap_or_default())
    }

    pub(super) fn check(&self, place: &str) -> Result<String> {
        let found = schema::look(self.view.connection(), self.path)?;
        if found.version < schema::VERSION {
            return Err(schema::missing(&found, self.path).into());
        }
        Ok(format!("{place}, attached to Airflow {}", found.airflow))
    }

    pub(super) fn health(&self, place: &str) -> Result<Health> {
        let identity = self.check(place)?;
        self.holds(identity, schema::VERSION)
    }

    /// How a database is that can be used.
    pub(super) fn holds(&self, identity: String, schema: u32) -> Result<Health> {
        let count = "SELECT count(*) FROM xcom";
        let entries: i64 = self.view.connection().query_row(count, [], |row| row.get(0))?;
        let (bytes, problems) = self.view.file()?;
        Ok(Health { identity, schema, entries: entries as u64, bytes, problems })
    }
}
