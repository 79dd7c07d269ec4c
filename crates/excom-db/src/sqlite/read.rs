//! The statements that read. They run inline, on the thread that polls.

use std::sync::Arc;

use excom_core::attempt::{AttemptInfo, TaskInstanceInfo, TaskState};
use excom_core::db::{Filter, Health, Item, Occupied, Page, Produced, Usage};
use excom_core::entry::{Entry, EntryInfo, PastEntry, Version};
use excom_core::{SequenceKey, Slice, TaskInstanceKey, XComKey};
use rusqlite::types::Value as Sql;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row};

use super::failure::Failure;
use super::names::Lookup;
use super::row;
use super::write::key;

type Result<T> = std::result::Result<T, Failure>;

/// The rows of a sequence: those of task instances that were removed are not part of it.
const NOT_REMOVED: &str = "NOT EXISTS (SELECT 1 FROM excom_task_instance t
    WHERE t.run = e.run AND t.task = e.task AND t.map_index = e.map_index AND t.state = 10)";

/// One view of the database, for as many statements as a read needs.
pub(super) struct View<'a>(pub(super) Lookup<'a>);

impl View<'_> {
    pub(super) fn connection(&self) -> &Connection {
        self.0.connection
    }

    pub(super) fn rows<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        mut of: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut statement = self.connection().prepare_cached(sql)?;
        let mut rows = statement.query(params)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(of(row)?);
        }
        Ok(found)
    }

    pub(super) fn one<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        of: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        let mut statement = self.connection().prepare_cached(sql)?;
        let mut rows = statement.query(params)?;
        rows.next()?.map(of).transpose()
    }

    /// Run, task and key as numbers; none when one of them is not known.
    pub(super) fn numbers(&self, key: &SequenceKey) -> Result<Option<(i64, i64, i64)>> {
        let run = self.0.fresh_run(&key.dag_id, &key.run_id)?;
        Ok(match (run, self.0.name(&key.task_id)?, self.0.name(&key.key)?) {
            (Some(run), Some(task), Some(key)) => Some((run, task, key)),
            _ => None,
        })
    }

    /// Run and task as numbers; none when one of them is not known.
    pub(super) fn task(&self, ti: &TaskInstanceKey) -> Result<Option<(i64, i64)>> {
        Ok(self.0.fresh_run(&ti.dag_id, &ti.run_id)?.zip(self.0.name(&ti.task_id)?))
    }

    // ---- entries

    pub(super) fn entries(&self, keys: &[XComKey]) -> Result<Vec<Option<Entry>>> {
        let mut statement = self.entry_at()?;
        keys.iter().map(|key| self.entry(&mut statement, key)).collect()
    }

    fn entry(&self, statement: &mut CachedStatement<'_>, key: &XComKey) -> Result<Option<Entry>> {
        let ti = &key.ti;
        let Some(run) = self.0.run(&ti.dag_id, &ti.run_id)? else { return Ok(None) };
        let found = self.entry_in(statement, run, key)?;
        if found.is_some() {
            return Ok(found);
        }
        // The run may have been removed and made anew by another process since it was remembered.
        match self.0.fresh_run(&ti.dag_id, &ti.run_id)? {
            Some(fresh) if fresh != run => self.entry_in(statement, fresh, key),
            _ => Ok(None),
        }
    }

    /// The statement that finds an entry, for as many as are looked for.
    fn entry_at(&self) -> Result<CachedStatement<'_>> {
        let sql = "SELECT version, writer, size, hash, shape, head, codec, body FROM excom_entry
             WHERE run = ?1 AND task = ?2 AND key = ?3 AND map_index = ?4";
        Ok(self.connection().prepare_cached(sql)?)
    }

    fn entry_in(
        &self,
        statement: &mut CachedStatement<'_>,
        run: i64,
        key: &XComKey,
    ) -> Result<Option<Entry>> {
        let (Some(task), Some(name)) = (self.0.name(&key.ti.task_id)?, self.0.name(&key.key)?) else {
            return Ok(None);
        };
        let mut rows = statement.query((run, task, name, key.ti.map_index))?;
        rows.next()?.map(|found| row::entry(self, found, 0)).transpose()
    }

    /// One more than the highest map index of a task in a run; 0 when it is not mapped.
    fn length(&self, run: i64, task: i64) -> Result<u64> {
        let highest: Option<i64> = self
            .connection()
            .prepare_cached(
                "SELECT max(map_index) FROM (
                 SELECT map_index FROM excom_task_instance
                 WHERE run = ?1 AND task = ?2 AND map_index >= 0 AND state <> 10
                 UNION ALL
                 SELECT map_index FROM excom_entry e
                 WHERE run = ?1 AND task = ?2 AND map_index >= 0 AND NOT EXISTS
                     (SELECT 1 FROM excom_task_instance t
                      WHERE t.run = e.run AND t.task = e.task AND t.map_index = e.map_index))",
            )?
            .query_row((run, task), |row| row.get(0))?;
        Ok(highest.map_or(0, |last| last as u64 + 1))
    }

    pub(super) fn produced(&self, key: &SequenceKey) -> Result<Produced> {
        let (Some(run), Some(task)) =
            (self.0.fresh_run(&key.dag_id, &key.run_id)?, self.0.name(&key.task_id)?)
        else {
            return Ok(Produced::Single(None));
        };
        Ok(match self.length(run, task)? {
            0 => Produced::Single(self.entry_in(&mut self.entry_at()?, run, &key.at(-1))?),
            length => Produced::Mapped { items: self.page(key, None, u32::MAX)?, length },
        })
    }

    pub(super) fn count(&self, key: &SequenceKey) -> Result<u64> {
        let Some(numbers) = self.numbers(key)? else { return Ok(0) };
        let sql = format!(
            "SELECT count(*) FROM excom_entry e
             WHERE run = ?1 AND task = ?2 AND key = ?3 AND map_index >= 0 AND {NOT_REMOVED}"
        );
        let count: i64 = self.connection().prepare_cached(&sql)?.query_row(numbers, |row| row.get(0))?;
        Ok(count as u64)
    }

    pub(super) fn indexes(&self, key: &SequenceKey) -> Result<Vec<i32>> {
        let Some(numbers) = self.numbers(key)? else { return Ok(Vec::new()) };
        let sql = format!(
            "SELECT map_index FROM excom_entry e
             WHERE run = ?1 AND task = ?2 AND key = ?3 AND map_index >= 0 AND {NOT_REMOVED}
             ORDER BY map_index"
        );
        self.rows(&sql, numbers, |found| Ok(found.get(0)?))
    }

    pub(super) fn page(&self, key: &SequenceKey, after: Option<i32>, limit: u32) -> Result<Vec<Item>> {
        let Some((run, task, name)) = self.numbers(key)? else { return Ok(Vec::new()) };
        let sql = format!(
            "SELECT map_index, {} FROM excom_entry e
             WHERE run = ?1 AND task = ?2 AND key = ?3 AND map_index > ?4 AND {NOT_REMOVED}
             ORDER BY map_index LIMIT ?5",
            row::ENTRY
        );
        let after = after.unwrap_or(-1).max(-1);
        self.rows(&sql, (run, task, name, after, limit), |found| {
            Ok(Item { map_index: found.get(0)?, entry: row::entry(self, found, 1)? })
        })
    }

    pub(super) fn slice(&self, key: &SequenceKey, slice: Slice) -> Result<Vec<Item>> {
        // A zero step is refused even where there is nothing to slice.
        slice.positions(0)?.for_each(drop);
        let Some((run, task, name)) = self.numbers(key)? else { return Ok(Vec::new()) };
        let sql = format!(
            "SELECT map_index FROM excom_entry e
             WHERE run = ?1 AND task = ?2 AND key = ?3 AND map_index >= 0 AND {NOT_REMOVED}
             ORDER BY map_index"
        );
        let indexes: Vec<i32> = self.rows(&sql, (run, task, name), |found| Ok(found.get(0)?))?;
        let (mut items, mut statement) = (Vec::new(), self.entry_at()?);
        for map_index in slice.of_indexes(&indexes)? {
            if let Some(entry) = self.entry_in(&mut statement, run, &key.at(map_index))? {
                items.push(Item { map_index, entry });
            }
        }
        Ok(items)
    }

    pub(super) fn prior_run(&self, key: &SequenceKey, map_index: Option<i32>) -> Result<Option<Arc<str>>> {
        let (Some(dag), Some((run, task, name))) = (self.0.name(&key.dag_id)?, self.numbers(key)?) else {
            return Ok(None);
        };
        self.one(
            "SELECT r.run_id FROM excom_dag_run r, (SELECT * FROM excom_dag_run WHERE id = ?2) mine
             WHERE r.dag = ?1
               AND ifnull(r.logical_date, r.run_after) <= ifnull(mine.logical_date, mine.run_after)
               AND EXISTS (SELECT 1 FROM excom_entry e WHERE e.run = r.id AND e.task = ?3 AND e.key = ?4
                           AND e.map_index = ifnull(?5, e.map_index))
             ORDER BY ifnull(r.logical_date, r.run_after) DESC, r.id = ?2 DESC, r.run_id DESC LIMIT 1",
            (dag, run, task, name, map_index),
            |found| row::text(found, 0),
        )
    }

    pub(super) fn list(
        &self,
        filter: &Filter,
        after: Option<&XComKey>,
        limit: u32,
    ) -> Result<Page<EntryInfo>> {
        let number = |text: &Option<Arc<str>>| match text {
            None => Ok::<_, Failure>(Some(None)),
            Some(text) => Ok(self.0.name(text)?.map(Some)),
        };
        let nothing = Page { items: Vec::new(), next: None };
        let (Some(dag), Some(task), Some(name)) =
            (number(&filter.dag_id)?, number(&filter.task_id)?, number(&filter.key)?)
        else {
            return Ok(nothing);
        };
        let mut sql = format!(
            "SELECT d.text, r.run_id, t.text, e.map_index, k.text, {}, codec = 2
             FROM excom_entry e JOIN excom_dag_run r ON r.id = e.run JOIN excom_name d ON d.id = r.dag
                  JOIN excom_name t ON t.id = e.task JOIN excom_name k ON k.id = e.key WHERE 1",
            row::INFO
        );
        let mut bound: Vec<Sql> = Vec::new();
        let mut put = |sql: &mut String, condition: &str, value: Sql| {
            bound.push(value);
            sql.push_str(&condition.replace('?', &format!("?{}", bound.len())));
        };
        for (column, value) in [
            (" AND r.dag = ?", dag.map(Sql::Integer)),
            (" AND r.run_id = ?", filter.run_id.as_deref().map(|run| Sql::Text(run.to_owned()))),
            (" AND e.task = ?", task.map(Sql::Integer)),
            (" AND e.key = ?", name.map(Sql::Integer)),
            (" AND e.map_index = ?", filter.map_index.map(|i| Sql::Integer(i.into()))),
        ] {
            if let Some(value) = value {
                put(&mut sql, column, value);
            }
        }
        if let Some(after) = after {
            sql.push_str(" AND (d.text, r.run_id, t.text, e.map_index, k.text) > (");
            for (i, value) in [
                Sql::Text(after.ti.dag_id.to_string()),
                Sql::Text(after.ti.run_id.to_string()),
                Sql::Text(after.ti.task_id.to_string()),
                Sql::Integer(after.ti.map_index.into()),
                Sql::Text(after.key.to_string()),
            ]
            .into_iter()
            .enumerate()
            {
                put(&mut sql, if i == 0 { "?" } else { ", ?" }, value);
            }
            sql.push(')');
        }
        put(&mut sql, " ORDER BY 1, 2, 3, 4, 5 LIMIT ?", Sql::Integer(i64::from(limit) + 1));
        let mut items = self.rows(&sql, rusqlite::params_from_iter(bound), |found| {
            row::info(found, 5, key(found)?, found.get(11)?)
        })?;
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next = if more { items.last().map(|info| info.key.clone()) } else { None };
        Ok(Page { items, next })
    }

    // ---- history

    pub(super) fn history(&self, key: &XComKey, limit: u32) -> Result<Vec<PastEntry>> {
        let Some((run, task, name)) = self.numbers(&key.sequence())? else { return Ok(Vec::new()) };
        let sql = format!(
            "SELECT {}, ended_at, reason, by, codec, offloaded FROM excom_history
             WHERE run = ?1 AND task = ?2 AND key = ?3 AND map_index = ?4 ORDER BY id DESC LIMIT ?5",
            row::INFO
        );
        self.rows(&sql, (run, task, name, key.ti.map_index, limit), |found| row::past(found, 0, key.clone()))
    }

    pub(super) fn past(&self, key: &XComKey, version: Version) -> Result<Option<Entry>> {
        let Some((run, task, name)) = self.numbers(&key.sequence())? else { return Ok(None) };
        let sql = format!(
            "SELECT {} FROM excom_history WHERE run = ?1 AND task = ?2 AND key = ?3 AND map_index = ?4
             AND version = ?5 AND codec IS NOT NULL",
            row::ENTRY
        );
        self.one(&sql, (run, task, name, key.ti.map_index, version.to_code()), |found| {
            row::entry(self, found, 0)
        })
    }

    // ---- task instances, attempts

    pub(super) fn task_instance(&self, ti: &TaskInstanceKey) -> Result<Option<TaskInstanceInfo>> {
        let Some((run, task)) = self.task(ti)? else { return Ok(None) };
        self.one(
            "SELECT number, attempt, try_number, state, started, took FROM excom_task_instance
             WHERE run = ?1 AND task = ?2 AND map_index = ?3",
            (run, task, ti.map_index),
            |found| {
                Ok(TaskInstanceInfo {
                    key: ti.clone(),
                    state: row::state(found.get(3)?)?,
                    attempt: row::attempt(found, 0)?,
                })
            },
        )
    }

    pub(super) fn attempts(&self, ti: &TaskInstanceKey) -> Result<Vec<AttemptInfo>> {
        let Some((run, task)) = self.task(ti)? else { return Ok(Vec::new()) };
        let found = self.rows(
            "SELECT number, attempt, try_number, state, started, took FROM excom_attempt
             WHERE run = ?1 AND task = ?2 AND map_index = ?3
             UNION ALL
             SELECT number, attempt, try_number, state, started, took FROM excom_task_instance
             WHERE run = ?1 AND task = ?2 AND map_index = ?3 ORDER BY number",
            (run, task, ti.map_index),
            |found| row::attempt(found, 0),
        )?;
        Ok(found.into_iter().flatten().collect())
    }

    // ---- the database itself

    pub(super) fn mark(&self, name: &str) -> Result<Option<String>> {
        Ok(self
            .connection()
            .prepare_cached("SELECT value FROM excom_mark WHERE name = ?1")?
            .query_row([name], |row| row.get(0))
            .optional()?)
    }

    pub(super) fn marks(&self, prefix: &str) -> Result<Vec<(String, String)>> {
        let sql = "SELECT name, value FROM excom_mark WHERE substr(name, 1, length(?1)) = ?1 ORDER BY name";
        self.rows(sql, [prefix], |found| Ok((found.get(0)?, found.get(1)?)))
    }

    pub(super) fn places(&self) -> Result<Vec<Occupied>> {
        // Every entry's row is looked at; only a person asks for this.
        let sql =
            "SELECT iif(codec = 2, body ->> 'store', NULL) AS store, count(*), sum(size) FROM excom_entry
                   GROUP BY store ORDER BY store NULLS FIRST";
        self.rows(sql, [], |found| {
            let store: Option<String> = found.get(0)?;
            let (entries, bytes) = (found.get::<_, i64>(1)? as u64, found.get::<_, i64>(2)? as u64);
            Ok(Occupied { store: store.map(Into::into), entries, bytes })
        })
    }

    pub(super) fn usage(&self, dag_id: &str, run_id: Option<&str>) -> Result<Usage> {
        // A run is a range of the index of keys.
        let sql = format!(
            "SELECT count(*), ifnull(sum(e.size), 0)
             FROM excom_name d CROSS JOIN excom_dag_run r ON r.dag = d.id CROSS JOIN excom_entry e ON e.run = r.id
             WHERE d.text = ?1{}",
            if run_id.is_some() { " AND r.run_id = ?2" } else { "" }
        );
        let of = rusqlite::params_from_iter(std::iter::once(dag_id).chain(run_id));
        let found = self.one(&sql, of, |found| Ok((found.get::<_, i64>(0)?, found.get::<_, i64>(1)?)))?;
        let (entries, bytes) = found.unwrap_or_default();
        Ok(Usage { entries: entries as u64, bytes: bytes as u64 })
    }

    pub(super) fn health(&self, identity: String, schema: u32) -> Result<Health> {
        let entries: i64 =
            self.connection().query_row("SELECT count(*) FROM excom_entry", [], |r| r.get(0))?;
        let (bytes, mut problems) = self.file()?;
        problems.extend(self.dictionary_problems()?);
        Ok(Health { identity, schema, entries: entries as u64, bytes, problems })
    }

    /// How large the file is, and what is wrong with it.
    pub(super) fn file(&self) -> Result<(u64, Vec<String>)> {
        let pages: i64 = self.connection().pragma_query_value(None, "page_count", |r| r.get(0))?;
        let size: i64 = self.connection().pragma_query_value(None, "page_size", |r| r.get(0))?;
        let mut problems = self.rows("PRAGMA quick_check(5)", [], |found| Ok(found.get::<_, String>(0)?))?;
        problems.retain(|problem| problem != "ok");
        Ok(((pages * size) as u64, problems))
    }
}

/// The states that a sequence leaves out, as the statements above spell it.
const _: () = assert!(TaskState::Removed as i64 == 10);
