//! The statements that read. Each is one round trip on a connection that others read on too.

use std::sync::Arc;

use excom_core::attempt::{AttemptInfo, TaskInstanceInfo, TaskState};
use excom_core::db::{Filter, Health, Item, Occupied, Page, Produced, Usage};
use excom_core::entry::{Entry, EntryInfo, PastEntry, Version};
use excom_core::{SequenceKey, Slice, TaskInstanceKey, XComKey};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::Tables;
use super::connection::{Connections, Parameter, Statement, types};
use super::failure::Failure;
use super::{row, schema};

type Result<T> = std::result::Result<T, Failure>;

/// A call for more keys shares no statement with others.
const SHARED: usize = 100;

/// A run's number by the texts of its DAG and its id.
macro_rules! run {
    ($dag:literal, $run:literal) => {
        concat!(
            "(SELECT r.id FROM excom.name d JOIN excom.dag_run r ON r.dag = d.id WHERE d.text = ",
            $dag,
            " AND r.run_id = ",
            $run,
            ")"
        )
    };
}
pub(super) use run;

/// A name's number by its text.
macro_rules! name {
    ($text:literal) => {
        concat!("(SELECT id FROM excom.name WHERE text = ", $text, ")")
    };
}
pub(super) use name;

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

/// The rows `e` of a sequence, `$1` to `$4`: those of task instances that were removed are not part of it.
macro_rules! sequence {
    () => {
        concat!(
            " FROM excom.entry e WHERE e.run = ",
            run!("$1", "$2"),
            " AND e.task = ",
            name!("$3"),
            " AND e.key = ",
            name!("$4"),
            " AND e.map_index >= 0 AND NOT EXISTS (
                SELECT FROM excom.task_instance i
                WHERE i.run = e.run AND i.task = e.task AND i.map_index = e.map_index AND i.state = 10) "
        )
    };
}

const ONE: [Type; 5] = [Type::TEXT, Type::TEXT, Type::TEXT, Type::INT4, Type::TEXT];

/// One entry by its key: five looks into unique indexes.
const ENTRY: Statement<'_> = Statement {
    sql: concat!(
        "SELECT ",
        entry!(),
        " FROM excom.entry e WHERE e.run = ",
        run!("$1", "$2"),
        " AND e.task = ",
        name!("$3"),
        " AND e.map_index = $4 AND e.key = ",
        name!("$5")
    ),
    types: &ONE,
};

/// Any number of entries: names and runs are joined, entries are looked for one by one, because a join would be planned
/// for how few there were when a connection first asked.
const ENTRIES: Statement<'_> = Statement {
    sql: concat!(
        "SELECT ", entry!(), ", a.place
         FROM unnest($1, $2, $3, $4, $5) WITH ORDINALITY AS a (dag, run_id, task, map_index, key, place)
              JOIN excom.name d ON d.text = a.dag JOIN excom.dag_run r ON r.dag = d.id AND r.run_id = a.run_id
              JOIN excom.name t ON t.text = a.task JOIN excom.name k ON k.text = a.key
              CROSS JOIN LATERAL (
                  SELECT * FROM excom.entry e
                  WHERE e.run = r.id AND e.task = t.id AND e.key = k.id AND e.map_index = a.map_index OFFSET 0) e"
    ),
    types: types![TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, INT4_ARRAY, TEXT_ARRAY],
};

/// All that tasks produced: one more than the highest map index (0 when a task is not mapped), from its task instances
/// and entries by their indexes, then the entries.
const PRODUCED: Statement<'_> = Statement {
    sql: concat!(
        "SELECT ",
        entry!(),
        ", a.place, l.length, e.map_index
         FROM unnest($1, $2, $3, $4) WITH ORDINALITY AS a (dag, run_id, task, key, place)
              JOIN excom.name d ON d.text = a.dag JOIN excom.dag_run r ON r.dag = d.id AND r.run_id = a.run_id
              JOIN excom.name t ON t.text = a.task LEFT JOIN excom.name k ON k.text = a.key
              CROSS JOIN LATERAL (
                  SELECT coalesce(max(m.map_index) + 1, 0) AS length FROM (
                      SELECT i.map_index FROM excom.task_instance i
                      WHERE i.run = r.id AND i.task = t.id AND i.map_index >= 0 AND i.state <> 10
                      UNION ALL
                      SELECT o.map_index FROM excom.entry o
                      WHERE o.run = r.id AND o.task = t.id AND o.map_index >= 0 AND NOT EXISTS (
                          SELECT FROM excom.task_instance i
                          WHERE i.run = o.run AND i.task = o.task AND i.map_index = o.map_index)) m) l
              LEFT JOIN excom.entry e ON e.run = r.id AND e.task = t.id AND e.key = k.id
                  AND e.map_index >= CASE WHEN l.length = 0 THEN -1 ELSE 0 END
                  AND (e.map_index = -1 OR NOT EXISTS (
                      SELECT FROM excom.task_instance i
                      WHERE i.run = e.run AND i.task = e.task AND i.map_index = e.map_index AND i.state = 10))
         ORDER BY a.place, e.map_index"
    ),
    types: types![TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY],
};

const SEQUENCE: [Type; 4] = [Type::TEXT, Type::TEXT, Type::TEXT, Type::TEXT];

/// A count over a range of the entries' index.
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
    sql: concat!(
        "SELECT r.run_id FROM excom.dag_run r JOIN excom.dag_run own ON own.dag = r.dag
         WHERE own.id = ",
        run!("$1", "$2"),
        "
         AND coalesce(r.logical_date, r.run_after) <= coalesce(own.logical_date, own.run_after)
         AND EXISTS (SELECT FROM excom.entry e WHERE e.run = r.id AND e.task = ",
        name!("$3"),
        " AND e.key = ",
        name!("$4"),
        " AND ($5::int4 IS NULL OR e.map_index = $5))
         ORDER BY coalesce(r.logical_date, r.run_after) DESC, r.id = own.id DESC, r.run_id DESC LIMIT 1"
    ),
    types: types![TEXT, TEXT, TEXT, TEXT, INT4],
};

/// The versions of an XCom that ended, by its key.
const HISTORY: Statement<'_> = Statement {
    sql: concat!(
        "SELECT ",
        info!(),
        ", e.ended_at, e.reason, e.by, e.codec, e.offloaded FROM excom.past e
         WHERE e.run = ",
        run!("$1", "$2"),
        " AND e.task = ",
        name!("$3"),
        " AND e.map_index = $4 AND e.key = ",
        name!("$5"),
        " ORDER BY e.id DESC LIMIT $6"
    ),
    types: types![TEXT, TEXT, TEXT, INT4, TEXT, INT8],
};

/// One of them.
const PAST: Statement<'_> = Statement {
    sql: concat!(
        "SELECT ",
        entry!(),
        " FROM excom.history e
         WHERE e.run = ",
        run!("$1", "$2"),
        " AND e.task = ",
        name!("$3"),
        " AND e.map_index = $4 AND e.key = ",
        name!("$5"),
        " AND e.version = $6 AND e.codec >= 0"
    ),
    types: types![TEXT, TEXT, TEXT, INT4, TEXT, INT8],
};

/// What [`row::attempt`] reads of a task instance or an attempt.
macro_rules! attempt {
    () => {
        "number, attempt, try_number, state, started, took"
    };
}
pub(super) use attempt;

const TI: [Type; 4] = [Type::TEXT, Type::TEXT, Type::TEXT, Type::INT4];

/// A task instance by its key.
const TASK_INSTANCE: Statement<'_> = Statement {
    sql: concat!(
        "SELECT ",
        attempt!(),
        " FROM excom.task_instance
         WHERE run = ",
        run!("$1", "$2"),
        " AND task = ",
        name!("$3"),
        " AND map_index = $4"
    ),
    types: &TI,
};

/// Its attempts, by the same key.
const ATTEMPTS: Statement<'_> = Statement {
    sql: concat!(
        "SELECT ",
        attempt!(),
        " FROM excom.attempt
         WHERE run = ",
        run!("$1", "$2"),
        " AND task = ",
        name!("$3"),
        " AND map_index = $4
         UNION ALL
         SELECT ",
        attempt!(),
        " FROM excom.task_instance
         WHERE run = ",
        run!("$1", "$2"),
        " AND task = ",
        name!("$3"),
        " AND map_index = $4 ORDER BY number"
    ),
    types: &TI,
};

/// A mark by its name.
const MARK: Statement<'_> =
    Statement { sql: "SELECT value FROM excom.mark WHERE name = $1", types: types![TEXT] };

/// There are few marks.
const MARKS: Statement<'_> = Statement {
    sql: "SELECT name, value FROM excom.mark WHERE starts_with(name, $1) ORDER BY name",
    types: types![TEXT],
};

/// Every entry is looked at; only a person asks for this.
const PLACES: Statement<'_> = Statement {
    sql: "SELECT excom.reference(codec, body, 'store') AS store, count(*), sum(size)::int8
          FROM excom.entry GROUP BY store ORDER BY store NULLS FIRST",
    types: &[],
};

/// What entries have together: a run is a range of the primary key.
macro_rules! usage {
    ($run:literal) => {
        concat!(
            "SELECT count(*), coalesce(sum(e.size), 0)::int8
             FROM excom.name d JOIN excom.dag_run r ON r.dag = d.id JOIN excom.entry e ON e.run = r.id
             WHERE d.text = $1",
            $run
        )
    };
}
const USAGE_OF_DAG: Statement<'_> = Statement { sql: usage!(""), types: types![TEXT] };
const USAGE_OF_RUN: Statement<'_> =
    Statement { sql: usage!(" AND r.run_id = $2"), types: types![TEXT, TEXT] };

/// Many entries are estimated, because a count looks at all of them.
const HEALTH: Statement<'_> = Statement {
    sql: "SELECT CASE WHEN c.reltuples < 100000 THEN (SELECT count(*) FROM excom.entry) ELSE c.reltuples::int8 END,
              (SELECT sum(pg_total_relation_size(t.oid))::int8 FROM pg_class t
               WHERE t.relnamespace = c.relnamespace AND t.relkind = 'r'),
              ARRAY(SELECT format('the index %s is invalid: make it again with REINDEX', i.indexrelid::regclass)
                    FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid
                    WHERE t.relnamespace = c.relnamespace AND NOT i.indisvalid)
          FROM pg_class c WHERE c.oid = 'excom.entry'::regclass",
    types: &[],
};

/// The parameters that name a sequence.
fn sequence(key: &SequenceKey) -> [&str; 4] {
    [&key.dag_id, &key.run_id, &key.task_id, &key.key]
}

impl Tables {
    pub(super) async fn rows<T>(
        &self,
        statement: &Statement<'_>,
        parameters: &[Parameter<'_>],
        of: impl FnMut(&Row) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.connections.read(statement, parameters).await?.iter().map(of).collect()
    }

    pub(super) async fn one<T>(
        &self,
        statement: &Statement<'_>,
        parameters: &[Parameter<'_>],
        of: impl FnMut(&Row) -> Result<T>,
    ) -> Result<Option<T>> {
        self.connections.read(statement, parameters).await?.first().map(of).transpose()
    }

    // ---- entries

    pub(super) async fn entries(&self, keys: &[XComKey]) -> Result<Vec<Option<Entry>>> {
        let here = self.pulls.enter();
        if !here.is_alone()
            && keys.len() <= SHARED
            && let Some(Some(rows)) = here.ask(keys.to_vec()).await
        {
            return placed(keys.len(), &rows);
        }
        if let [key] = keys {
            let key = row::Key::of(key);
            return Ok(vec![self.one(&ENTRY, &key.parameters(), |found| row::entry(found, 0)).await?]);
        }
        let rows = self.connections.read(&ENTRIES, &row::Keys::of(keys.iter()).parameters()).await?;
        let rows = rows.into_iter().map(|found| Ok((place(&found)?, found))).collect::<Result<Vec<_>>>()?;
        placed(keys.len(), &rows)
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
        for found in self.connections.read(&PRODUCED, &parameters).await? {
            let place = &mut produced[found.try_get::<_, i64>(9)? as usize - 1];
            let length = found.try_get::<_, i32>(10)? as u64;
            let map_index: Option<i32> = found.try_get(11)?;
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
            self.one(&COUNT, &[&dag, &run, &task, &key], |found| Ok(found.try_get::<_, i64>(0)?)).await?;
        Ok(count.unwrap_or(0) as u64)
    }

    pub(super) async fn indexes(&self, key: &SequenceKey) -> Result<Vec<i32>> {
        let [dag, run, task, key] = sequence(key);
        self.rows(&INDEXES, &[&dag, &run, &task, &key], |found| Ok(found.try_get(0)?)).await
    }

    pub(super) async fn page(&self, key: &SequenceKey, after: Option<i32>, limit: u32) -> Result<Vec<Item>> {
        let [dag, run, task, key] = sequence(key);
        let (after, limit) = (after.unwrap_or(-1).max(-1), i64::from(limit));
        self.rows(&PAGE, &[&dag, &run, &task, &key, &after, &limit], item).await
    }

    /// What goes between the look at the map indexes and that at the entries is left out.
    pub(super) async fn slice(&self, key: &SequenceKey, slice: Slice) -> Result<Vec<Item>> {
        // A zero step is refused even where there is nothing to slice.
        slice.positions(0)?.for_each(drop);
        let wanted = slice.of_indexes(&self.indexes(key).await?)?;
        let [dag, run, task, key] = sequence(key);
        let mut items = self.rows(&SLICE, &[&dag, &run, &task, &key, &wanted], item).await?;
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
        self.one(&PRIOR_RUN, &[&dag, &run, &task, &key, &map_index], |found| row::text(found, 0)).await
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
             FROM excom.entry e JOIN excom.dag_run r ON r.id = e.run JOIN excom.name d ON d.id = r.dag
                  JOIN excom.name t ON t.id = e.task JOIN excom.name k ON k.id = e.key WHERE true"
        )
        .to_owned();
        let mut parameters: Vec<Parameter<'_>> = Vec::new();
        let mut types = Vec::new();
        fn put<'a>(
            parameters: &mut Vec<Parameter<'a>>,
            types: &mut Vec<Type>,
            value: &'a (dyn ToSql + Sync),
            kind: Type,
        ) -> String {
            parameters.push(value);
            types.push(kind);
            format!("${}", types.len())
        }
        let texts = [
            ("d.text", filter.dag_id.as_deref()),
            ("r.run_id", filter.run_id.as_deref()),
            ("t.text", filter.task_id.as_deref()),
            ("k.text", filter.key.as_deref()),
        ];
        for (column, value) in &texts {
            if let Some(value) = value {
                sql += &format!(" AND {column} = {}", put(&mut parameters, &mut types, value, Type::TEXT));
            }
        }
        if let Some(map_index) = &filter.map_index {
            sql += &format!(" AND e.map_index = {}", put(&mut parameters, &mut types, map_index, Type::INT4));
        }
        let after = after.map(|key| {
            let ti = &key.ti;
            (&*ti.dag_id, &*ti.run_id, &*ti.task_id, ti.map_index, &*key.key)
        });
        if let Some((dag, run, task, map_index, key)) = &after {
            let places: [(Parameter<'_>, Type); 5] = [
                (dag, Type::TEXT),
                (run, Type::TEXT),
                (task, Type::TEXT),
                (map_index, Type::INT4),
                (key, Type::TEXT),
            ];
            let places = places.map(|(value, kind)| put(&mut parameters, &mut types, value, kind));
            sql += &format!(" AND (d.text, r.run_id, t.text, e.map_index, k.text) > ({})", places.join(", "));
        }
        let wanted = i64::from(limit) + 1;
        sql += &format!(
            " ORDER BY 1, 2, 3, 4, 5 LIMIT {}",
            put(&mut parameters, &mut types, &wanted, Type::INT8)
        );
        let statement = Statement { sql: &sql, types: &types };
        let mut items = self
            .rows(&statement, &parameters, |found| row::info(found, 5, row::key(found)?, found.try_get(12)?))
            .await?;
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next = if more { items.last().map(|info| info.key.clone()) } else { None };
        Ok(Page { items, next })
    }

    // ---- history

    pub(super) async fn history(&self, key: &XComKey, limit: u32) -> Result<Vec<PastEntry>> {
        let ti = &key.ti;
        let parameters: [Parameter<'_>; 6] =
            [&&*ti.dag_id, &&*ti.run_id, &&*ti.task_id, &ti.map_index, &&*key.key, &i64::from(limit)];
        self.rows(&HISTORY, &parameters, |found| row::past(found, 0, key.clone())).await
    }

    pub(super) async fn past(&self, key: &XComKey, version: Version) -> Result<Option<Entry>> {
        let ti = &key.ti;
        let parameters: [Parameter<'_>; 6] =
            [&&*ti.dag_id, &&*ti.run_id, &&*ti.task_id, &ti.map_index, &&*key.key, &version.to_code()];
        self.one(&PAST, &parameters, |found| row::entry(found, 0)).await
    }

    // ---- task instances, attempts

    pub(super) async fn task_instance(&self, ti: &TaskInstanceKey) -> Result<Option<TaskInstanceInfo>> {
        let parameters: [Parameter<'_>; 4] = [&&*ti.dag_id, &&*ti.run_id, &&*ti.task_id, &ti.map_index];
        self.one(&TASK_INSTANCE, &parameters, |found| row::instance(found, ti.clone())).await
    }

    pub(super) async fn attempts(&self, ti: &TaskInstanceKey) -> Result<Vec<AttemptInfo>> {
        let parameters: [Parameter<'_>; 4] = [&&*ti.dag_id, &&*ti.run_id, &&*ti.task_id, &ti.map_index];
        let found = self.rows(&ATTEMPTS, &parameters, |found| row::attempt(found, 0)).await?;
        Ok(found.into_iter().flatten().collect())
    }

    // ---- the database itself

    pub(super) async fn mark(&self, name: &str) -> Result<Option<String>> {
        self.one(&MARK, &[&name], |found| Ok(found.try_get(0)?)).await
    }

    pub(super) async fn marks(&self, prefix: &str) -> Result<Vec<(String, String)>> {
        self.rows(&MARKS, &[&prefix], |found| Ok((found.try_get(0)?, found.try_get(1)?))).await
    }

    pub(super) async fn places(&self) -> Result<Vec<Occupied>> {
        self.rows(&PLACES, &[], |found| {
            let store: Option<String> = found.try_get(0)?;
            let (entries, bytes) = row::counts(found, 1)?;
            Ok(Occupied { store: store.map(Into::into), entries, bytes })
        })
        .await
    }

    pub(super) async fn usage(&self, dag_id: &str, run_id: Option<&str>) -> Result<Usage> {
        let of = |found: &Row| row::counts(found, 0).map(|(entries, bytes)| Usage { entries, bytes });
        let usage = match run_id {
            Some(run_id) => self.one(&USAGE_OF_RUN, &[&dag_id, &run_id], of).await,
            None => self.one(&USAGE_OF_DAG, &[&dag_id], of).await,
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
        let found = self.one(&HEALTH, &[], |found| Ok((row::counts(found, 0)?, found.try_get(2)?)));
        let ((entries, bytes), problems) = found.await?.unwrap_or_default();
        Ok(Health { identity, schema, entries, bytes, problems })
    }
}

/// What some callers pull, in one statement: for each the rows that are there, with the place of their key.
pub(super) async fn together(
    connections: Option<Arc<Connections>>,
    questions: Vec<Vec<XComKey>>,
) -> Vec<Option<Vec<(usize, Row)>>> {
    let rows = match &connections {
        Some(connections) => {
            let keys = row::Keys::of(questions.iter().flatten());
            connections.shared(false, &ENTRIES, &keys.parameters()).await
        }
        None => Ok(Vec::new()),
    };
    let Ok(mut rows) = rows.and_then(|rows| {
        rows.into_iter().map(|found| Ok((place(&found)?, found))).collect::<Result<Vec<_>>>()
    }) else {
        return questions.iter().map(|_| None).collect();
    };
    rows.sort_unstable_by_key(|(place, _)| *place);
    let (mut rows, mut begin) = (rows.into_iter().peekable(), 0);
    let mut answers = Vec::with_capacity(questions.len());
    for keys in questions {
        let mut own = Vec::with_capacity(keys.len());
        while let Some((place, found)) = rows.next_if(|(place, _)| *place < begin + keys.len()) {
            own.push((place - begin, found));
        }
        begin += keys.len();
        answers.push(Some(own));
    }
    answers
}

/// The place of a row's key among those asked for.
fn place(found: &Row) -> Result<usize> {
    Ok(found.try_get::<_, i64>(9)? as usize - 1)
}

fn placed(count: usize, rows: &[(usize, Row)]) -> Result<Vec<Option<Entry>>> {
    let mut entries = vec![None; count];
    for (place, found) in rows {
        entries[*place] = Some(row::entry(found, 0)?);
    }
    Ok(entries)
}

fn item(found: &Row) -> Result<Item> {
    Ok(Item { map_index: found.try_get(9)?, entry: row::entry(found, 0)? })
}

/// The states that a sequence leaves out, as the statements above spell it.
const _: () = assert!(TaskState::Removed as i64 == 10);
