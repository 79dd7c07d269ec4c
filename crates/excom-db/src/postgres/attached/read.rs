//! The statements that read entries. Each is one round trip, on Airflow's own indexes.

use std::sync::Arc;

use excom_core::db::{Filter, Health, Item, Occupied, Page, Produced, Usage};
use excom_core::entry::{Entry, EntryInfo, PastEntry, Version};
use excom_core::{SequenceKey, Slice, XComKey};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::super::connection::{Parameter, Statement, types};
use super::super::failure::Failure;
use super::super::row::{counts, key, text};
use super::columns::{COLUMNS, entry, info};
use super::{Tables, row, schema};

type Result<T> = std::result::Result<T, Failure>;

/// The rows `e` of a sequence, `$1` to `$4`: those of task instances that were removed are not part of it.
macro_rules! sequence {
    () => {
        " FROM excom.entry() e
          WHERE e.dag_id = $1 AND e.run_id = $2 AND e.task_id = $3 AND e.key = $4 AND e.map_index >= 0 AND NOT EXISTS (
              SELECT FROM task_instance i
              WHERE i.dag_id = e.dag_id AND i.run_id = e.run_id AND i.task_id = e.task_id
              AND i.map_index = e.map_index AND i.state = 'removed') "
    };
}

/// The condition that names an XCom, `$1` to `$5`.
macro_rules! one {
    () => {
        " e.dag_id = $1 AND e.run_id = $2 AND e.task_id = $3 AND e.map_index = $4 AND e.key = $5"
    };
}

/// The condition that names an XCom in the history, `$1` to `$5`.
macro_rules! past {
    () => {
        " e.dag_run_id = excom.known_run($1, $2) AND e.task_id = $3 AND e.map_index = $4 AND e.key = $5"
    };
}

const ONE: [Type; 5] = [Type::TEXT, Type::TEXT, Type::TEXT, Type::INT4, Type::TEXT];

/// One entry, by Airflow's index of task instances.
const ENTRY: Statement<'_> =
    Statement { sql: concat!("SELECT ", entry!(), " FROM excom.entry() e WHERE", one!()), types: &ONE };

/// Any number of entries, each as [`ENTRY`].
const ENTRIES: Statement<'_> = Statement {
    sql: concat!(
        "SELECT ",
        entry!(),
        ", a.place
         FROM unnest($1, $2, $3, $4, $5) WITH ORDINALITY AS a (dag, run_id, task, map_index, key, place)
              JOIN excom.entry() e ON e.dag_id = a.dag AND e.run_id = a.run_id AND e.task_id = a.task
                   AND e.map_index = a.map_index AND e.key = a.key"
    ),
    types: types![TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, INT4_ARRAY, TEXT_ARRAY],
};

/// All that tasks produced: one more than the highest map index (0 when a task is not mapped), then the entries.
const PRODUCED: Statement<'_> = Statement {
    sql: concat!(
        "SELECT ",
        entry!(),
        ", a.place, l.length, e.map_index
         FROM unnest($1, $2, $3, $4) WITH ORDINALITY AS a (dag, run_id, task, key, place)
              CROSS JOIN LATERAL (
                  SELECT coalesce(max(i.map_index) + 1, 0) AS length FROM task_instance i
                  WHERE i.dag_id = a.dag AND i.run_id = a.run_id AND i.task_id = a.task AND i.map_index >= 0
                  AND i.state IS DISTINCT FROM 'removed') l
              LEFT JOIN excom.entry() e ON e.dag_id = a.dag AND e.run_id = a.run_id AND e.task_id = a.task
                  AND e.key = a.key AND e.map_index >= CASE WHEN l.length = 0 THEN -1 ELSE 0 END
                  AND (e.map_index = -1 OR NOT EXISTS (
                      SELECT FROM task_instance i
                      WHERE i.dag_id = e.dag_id AND i.run_id = e.run_id AND i.task_id = e.task_id
                      AND i.map_index = e.map_index AND i.state = 'removed'))
         ORDER BY a.place, e.map_index"
    ),
    types: types![TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY],
};

const SEQUENCE: [Type; 4] = [Type::TEXT, Type::TEXT, Type::TEXT, Type::TEXT];

/// A count over the task's range of Airflow's index.
const COUNT: Statement<'_> = Statement { sql: concat!("SELECT count(*)", sequence!()), types: &SEQUENCE };

/// The same range, map indexes only.
const INDEXES: Statement<'_> =
    Statement { sql: concat!("SELECT e.map_index", sequence!(), "ORDER BY e.map_index"), types: &SEQUENCE };

/// A part of the same range.
const PAGE: Statement<'_> = Statement {
    sql: concat!(
        "SELECT ",
        entry!(),
        ", e.map_index",
        sequence!(),
        "AND e.map_index > $5 ORDER BY e.map_index LIMIT $6"
    ),
    types: types![TEXT, TEXT, TEXT, TEXT, INT4, INT8],
};

/// Some rows of the same range.
const SLICE: Statement<'_> = Statement {
    sql: concat!(
        "SELECT ",
        entry!(),
        ", e.map_index",
        sequence!(),
        "AND e.map_index = ANY ($5) ORDER BY e.map_index"
    ),
    types: types![TEXT, TEXT, TEXT, TEXT, INT4_ARRAY],
};

/// Runs of a DAG by their date, newest first, until one has the XCom.
const PRIOR_RUN: Statement<'_> = Statement {
    sql: "SELECT r.run_id::text FROM dag_run r JOIN dag_run own ON own.dag_id = r.dag_id
          WHERE own.dag_id = $1 AND own.run_id = $2
          AND coalesce(r.logical_date, r.run_after) <= coalesce(own.logical_date, own.run_after)
          AND EXISTS (SELECT FROM xcom x WHERE x.dag_run_id = r.id AND x.task_id = $3 AND x.key = $4
                      AND ($5::int4 IS NULL OR x.map_index = $5))
          ORDER BY coalesce(r.logical_date, r.run_after) DESC, r.id = own.id DESC, r.run_id COLLATE \"C\" DESC LIMIT 1",
    types: types![TEXT, TEXT, TEXT, TEXT, INT4],
};

/// The versions of an XCom that ended, by its key.
const HISTORY: Statement<'_> = Statement {
    sql: concat!(
        "SELECT ",
        info!(),
        ", e.ended_at, e.reason, e.by, e.offloaded FROM excom.history e WHERE",
        past!(),
        " ORDER BY e.id DESC LIMIT $6"
    ),
    types: types![TEXT, TEXT, TEXT, INT4, TEXT, INT8],
};

/// One of them.
const PAST: Statement<'_> = Statement {
    sql: concat!(
        "SELECT ",
        entry!(),
        " FROM excom.history e WHERE",
        past!(),
        " AND e.version = $6 AND e.codec >= 0"
    ),
    types: types![TEXT, TEXT, TEXT, INT4, TEXT, INT8],
};

/// Every entry is looked at; only a person asks for this.
const PLACES: Statement<'_> = Statement {
    sql: "SELECT excom.reference(codec, body, 'store') AS store, count(*),
                 sum(coalesce(size, octet_length(value::text)))::int8
          FROM excom.entry() GROUP BY store ORDER BY store NULLS FIRST",
    types: &[],
};

/// What entries have together, by Airflow's index of what the condition behind it names.
macro_rules! usage {
    ($condition:literal) => {
        concat!(
            "SELECT count(*), coalesce(sum(coalesce(e.size, octet_length(e.value::text))), 0)::int8
             FROM excom.entry() e WHERE ",
            $condition
        )
    };
}
const USAGE_OF_DAG: Statement<'_> = Statement { sql: usage!("e.dag_id = $1"), types: types![TEXT] };
const USAGE_OF_RUN: Statement<'_> = Statement {
    sql: usage!("e.dag_run_id = (SELECT r.id FROM dag_run r WHERE r.dag_id = $1 AND r.run_id = $2)"),
    types: types![TEXT, TEXT],
};

/// Many entries are estimated, because a count looks at all of them. The bytes are those of `xcom` and of ours.
const HEALTH: Statement<'_> = Statement {
    sql: "SELECT CASE WHEN c.reltuples < 100000 THEN (SELECT count(*) FROM xcom) ELSE c.reltuples::int8 END,
              pg_total_relation_size(c.oid) + (
                  SELECT coalesce(sum(pg_total_relation_size(t.oid)), 0)::int8 FROM pg_class t
                  WHERE t.relnamespace = 'excom'::regnamespace AND t.relkind = 'r')
          FROM pg_class c WHERE c.oid = 'xcom'::regclass",
    types: &[],
};

/// The parameters that name a sequence.
fn sequence(key: &SequenceKey) -> [&str; 4] {
    [&key.dag_id, &key.run_id, &key.task_id, &key.key]
}

impl Tables {
    // ---- entries

    pub(super) async fn entries(&self, keys: &[XComKey]) -> Result<Vec<Option<Entry>>> {
        if let [XComKey { ti, key, .. }] = keys {
            let parameters: [Parameter<'_>; 5] =
                [&&*ti.dag_id, &&*ti.run_id, &&*ti.task_id, &ti.map_index, &&**key];
            return Ok(vec![self.own.one(&ENTRY, &parameters, |found| row::entry(found, 0)).await?]);
        }
        let texts = |of: fn(&XComKey) -> &str| keys.iter().map(of).collect::<Vec<_>>();
        let maps: Vec<i32> = keys.iter().map(|key| key.ti.map_index).collect();
        let parameters: [Parameter<'_>; 5] = [
            &texts(|key| &key.ti.dag_id),
            &texts(|key| &key.ti.run_id),
            &texts(|key| &key.ti.task_id),
            &maps,
            &texts(|key| &key.key),
        ];
        let mut entries = vec![None; keys.len()];
        for found in self.own.connections.read(&ENTRIES, &parameters).await? {
            entries[found.try_get::<_, i64>(COLUMNS)? as usize - 1] = Some(row::entry(&found, 0)?);
        }
        Ok(entries)
    }

    pub(super) async fn produced(&self, keys: &[SequenceKey]) -> Result<Vec<Produced>> {
        let texts = |of: fn(&SequenceKey) -> &str| keys.iter().map(of).collect::<Vec<_>>();
        let parameters: [Parameter<'_>; 4] = [
            &texts(|key| &key.dag_id),
            &texts(|key| &key.run_id),
            &texts(|key| &key.task_id),
            &texts(|key| &key.key),
        ];
        let mut produced = vec![Produced::Single(None); keys.len()];
        for found in self.own.connections.read(&PRODUCED, &parameters).await? {
            let place = &mut produced[found.try_get::<_, i64>(COLUMNS)? as usize - 1];
            let length = found.try_get::<_, i32>(COLUMNS + 1)? as u64;
            let map_index: Option<i32> = found.try_get(COLUMNS + 2)?;
            let entry = map_index.map(|_| row::entry(&found, 0)).transpose()?;
            if length == 0 {
                *place = Produced::Single(entry);
                continue;
            }
            if !matches!(place, Produced::Mapped { .. }) {
                *place = Produced::Mapped { items: Vec::new(), length };
            }
            if let (Produced::Mapped { items, .. }, Some(map_index), Some(entry)) = (place, map_index, entry)
            {
                items.push(Item { map_index, entry });
            }
        }
        Ok(produced)
    }

    pub(super) async fn count(&self, key: &SequenceKey) -> Result<u64> {
        let [dag, run, task, key] = sequence(key);
        let count =
            self.own.one(&COUNT, &[&dag, &run, &task, &key], |found| Ok(found.try_get::<_, i64>(0)?)).await?;
        Ok(count.unwrap_or(0) as u64)
    }

    pub(super) async fn indexes(&self, key: &SequenceKey) -> Result<Vec<i32>> {
        let [dag, run, task, key] = sequence(key);
        self.own.rows(&INDEXES, &[&dag, &run, &task, &key], |found| Ok(found.try_get(0)?)).await
    }

    pub(super) async fn page(&self, key: &SequenceKey, after: Option<i32>, limit: u32) -> Result<Vec<Item>> {
        let [dag, run, task, key] = sequence(key);
        let (after, limit) = (after.unwrap_or(-1).max(-1), i64::from(limit));
        self.own.rows(&PAGE, &[&dag, &run, &task, &key, &after, &limit], item).await
    }

    /// What goes between the look at the map indexes and that at the entries is left out.
    pub(super) async fn slice(&self, key: &SequenceKey, slice: Slice) -> Result<Vec<Item>> {
        // A zero step is refused even where there is nothing to slice.
        slice.positions(0)?.for_each(drop);
        let wanted = slice.of_indexes(&self.indexes(key).await?)?;
        let [dag, run, task, key] = sequence(key);
        let mut items = self.own.rows(&SLICE, &[&dag, &run, &task, &key, &wanted], item).await?;
        if wanted.first() > wanted.last() {
            items.reverse();
        }
        Ok(items)
    }

    pub(super) async fn prior_run(
        &self,
        key: &SequenceKey,
        map_index: Option<i32>,
    ) -> Result<Option<Arc<str>>> {
        let [dag, run, task, key] = sequence(key);
        self.own.one(&PRIOR_RUN, &[&dag, &run, &task, &key, &map_index], |found| text(found, 0)).await
    }

    /// The statement has only the conditions that the filter has, so that each is planned for what it asks.
    pub(super) async fn list(
        &self,
        filter: &Filter,
        after: Option<&XComKey>,
        limit: u32,
    ) -> Result<Page<EntryInfo>> {
        let mut sql = concat!(
            "SELECT e.dag_id COLLATE \"C\", e.run_id COLLATE \"C\", e.task_id COLLATE \"C\", e.map_index,
                    e.key COLLATE \"C\", ",
            info!(),
            ", e.codec = 2 FROM excom.entry() e WHERE true"
        )
        .to_owned();
        let texts = [
            ("dag_id", filter.dag_id.as_deref()),
            ("run_id", filter.run_id.as_deref()),
            ("task_id", filter.task_id.as_deref()),
            ("key", filter.key.as_deref()),
        ];
        let after = after.map(|key| {
            let ti = &key.ti;
            (&*ti.dag_id, &*ti.run_id, &*ti.task_id, ti.map_index, &*key.key)
        });
        let wanted = i64::from(limit) + 1;
        let mut parameters: Vec<(&(dyn ToSql + Sync), Type)> = Vec::new();
        for (column, value) in &texts {
            if let Some(value) = value {
                parameters.push((value, Type::TEXT));
                sql += &format!(" AND e.{column} = ${}", parameters.len());
            }
        }
        if let Some(map_index) = &filter.map_index {
            parameters.push((map_index, Type::INT4));
            sql += &format!(" AND e.map_index = ${}", parameters.len());
        }
        if let Some((dag, run, task, map_index, key)) = &after {
            let first = parameters.len() + 1;
            parameters.extend::<[(&(dyn ToSql + Sync), Type); 5]>([
                (dag, Type::TEXT),
                (run, Type::TEXT),
                (task, Type::TEXT),
                (map_index, Type::INT4),
                (key, Type::TEXT),
            ]);
            let [a, b, c, d, e] = [0, 1, 2, 3, 4].map(|place| first + place);
            sql += &format!(
                " AND (e.dag_id COLLATE \"C\", e.run_id COLLATE \"C\", e.task_id COLLATE \"C\", e.map_index,
                       e.key COLLATE \"C\") > (${a}, ${b}, ${c}, ${d}, ${e})"
            );
        }
        parameters.push((&wanted, Type::INT8));
        sql += &format!(" ORDER BY 1, 2, 3, 4, 5 LIMIT ${}", parameters.len());
        let (parameters, types): (Vec<Parameter<'_>>, Vec<Type>) = parameters.into_iter().unzip();
        let statement = Statement { sql: &sql, types: &types };
        let of = |found: &Row| row::info(found, 5, key(found)?, found.try_get(5 + COLUMNS)?);
        let mut items = self.own.rows(&statement, &parameters, of).await?;
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next = if more { items.last().map(|info| info.key.clone()) } else { None };
        Ok(Page { items, next })
    }

    // ---- history

    pub(super) async fn history(&self, key: &XComKey, limit: u32) -> Result<Vec<PastEntry>> {
        if self.is_bare {
            return Ok(Vec::new());
        }
        let ti = &key.ti;
        let parameters: [Parameter<'_>; 6] =
            [&&*ti.dag_id, &&*ti.run_id, &&*ti.task_id, &ti.map_index, &&*key.key, &i64::from(limit)];
        self.own.rows(&HISTORY, &parameters, |found| row::past(found, 0, key.clone())).await
    }

    pub(super) async fn past(&self, key: &XComKey, version: Version) -> Result<Option<Entry>> {
        let ti = &key.ti;
        let parameters: [Parameter<'_>; 6] =
            [&&*ti.dag_id, &&*ti.run_id, &&*ti.task_id, &ti.map_index, &&*key.key, &version.to_code()];
        self.own.one(&PAST, &parameters, |found| row::entry(found, 0)).await
    }

    // ---- the database itself

    pub(super) async fn places(&self) -> Result<Vec<Occupied>> {
        self.own
            .rows(&PLACES, &[], |found| {
                let store: Option<String> = found.try_get(0)?;
                let (entries, bytes) = counts(found, 1)?;
                Ok(Occupied { store: store.map(Into::into), entries, bytes })
            })
            .await
    }

    pub(super) async fn usage(&self, dag_id: &str, run_id: Option<&str>) -> Result<Usage> {
        let of = |found: &Row| counts(found, 0).map(|(entries, bytes)| Usage { entries, bytes });
        let usage = match run_id {
            Some(run_id) => self.own.one(&USAGE_OF_RUN, &[&dag_id, &run_id], of).await,
            None => self.own.one(&USAGE_OF_DAG, &[&dag_id], of).await,
        };
        Ok(usage?.unwrap_or_default())
    }

    pub(super) async fn check(&self) -> excom_core::Result<String> {
        self.known().await.map(|(identity, _)| identity)
    }

    /// Which database it is, and the version of what is ours in it.
    async fn known(&self) -> excom_core::Result<(String, u32)> {
        let place = self.own.connections.place();
        let found = schema::look(&self.own.connections).await?;
        match found.version {
            0 => Err(schema::missing(&found, place)),
            version => Ok((format!("{place}, attached to Airflow {}", found.airflow), version)),
        }
    }

    pub(super) async fn health(&self) -> excom_core::Result<Health> {
        let (identity, schema) = self.known().await?;
        let of = |found: &Row| counts(found, 0);
        let told = |failure| schema::told(failure, self.own.connections.place());
        let (entries, bytes) = self.own.one(&HEALTH, &[], of).await.map_err(told)?.unwrap_or_default();
        Ok(Health { identity, schema, entries, bytes, problems: Vec::new() })
    }
}

fn item(found: &Row) -> Result<Item> {
    Ok(Item { map_index: found.try_get(COLUMNS)?, entry: row::entry(found, 0)? })
}
