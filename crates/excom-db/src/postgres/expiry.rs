//! Which entries the rules of retention catch: looked for while reading, and looked at again while writing, by the
//! same function of the database. What only rules about ages are asked for is found and done in one step.

use std::collections::HashMap;
use std::hash::Hash;

use excom_core::db::{Due, Expires, Place, Removed, Rule, Scan};
use jiff::Timestamp;

use super::Tables;
use super::connection::{Parameter, Statement, types};
use super::failure::Failure;
use super::row;

type Result<T> = std::result::Result<T, Failure>;

/// A page of entries by the index of their ids; what the rules catch of it; and, in each row, how long the page was and
/// where it ended.
const DUE: Statement<'_> = Statement {
    sql: "WITH page AS MATERIALIZED (
              SELECT id, run, task, key, map_index, version, size, row_number() OVER (ORDER BY id) AS place
              FROM (SELECT id, run, task, key, map_index, version, size FROM excom.entry WHERE id > $3
                    ORDER BY id LIMIT $4) e),
          whole AS (
              SELECT count(*) AS length, max(id) AS last, array_agg(run ORDER BY place) AS runs,
                  array_agg(task ORDER BY place) AS tasks, array_agg(key ORDER BY place) AS keys,
                  array_agg(map_index ORDER BY place) AS maps, array_agg(version ORDER BY place) AS versions
              FROM page)
          SELECT d.text, r.run_id, t.text, e.map_index, k.text, e.version, e.size, c.rule, whole.length, whole.last
          FROM whole
               LEFT JOIN LATERAL excom.caught($1, $2, whole.runs, whole.tasks, whole.keys, whole.maps, whole.versions) c
                   ON true
               LEFT JOIN page e ON e.place = c.place
               LEFT JOIN excom.dag_run r ON r.id = e.run LEFT JOIN excom.name d ON d.id = r.dag
               LEFT JOIN excom.name t ON t.id = e.task LEFT JOIN excom.name k ON k.id = e.key
          ORDER BY e.place",
    types: types![INT2_ARRAY, INT8_ARRAY, INT8, INT8],
};

/// Entries by their keys, and what rules ask about them.
const EXPIRE: Statement<'_> = Statement {
    sql: "SELECT entries, bytes FROM excom.expire($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    types: types![
        INT2_ARRAY, INT8_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, INT4_ARRAY, INT4_ARRAY,
        INT4_ARRAY, INT4_ARRAY, INT8_ARRAY, INT8,
    ],
};

/// A page of entries by the index of their ids, and those of it that are past an age.
const EXPIRE_AGED: Statement<'_> = Statement {
    sql: "SELECT entries, bytes, next_id FROM excom.expire_aged($1, $2, $3, $4, $5, $6)",
    types: types![INT8_ARRAY, TEXT_ARRAY, TEXT, INT8, INT8, INT8],
};

/// How many pages of those are one, since they take less time: it keeps nobody waiting but who writes in runs so old.
const PAGES_AT_ONCE: i64 = 4;

/// Things in the order in which they were met, each once.
struct Places<T> {
    all: Vec<T>,
    known: HashMap<T, i32>,
}

impl<T: Copy + Eq + Hash> Places<T> {
    fn new() -> Self {
        Self { all: Vec::new(), known: HashMap::new() }
    }

    /// The place of one, counted from 1 as the database does.
    fn of(&mut self, one: T) -> i32 {
        *self.known.entry(one).or_insert_with(|| {
            self.all.push(one);
            self.all.len() as i32
        })
    }
}

/// Rules as `excom.caught` takes them: kinds and bounds.
pub(super) fn told(rules: &[Rule]) -> (Vec<i16>, Vec<i64>) {
    let told = rules.iter().map(|rule| match rule.expires {
        Expires::Pushed(before) => (0, before.as_millisecond()),
        Expires::Behind(count) => (1, count.into()),
        Expires::Unread(since) => (2, since.as_millisecond()),
        Expires::Done(before) => (3, before.as_millisecond()),
    });
    told.unzip()
}

impl Tables {
    pub(super) async fn due(
        &self,
        rules: &[Rule],
        dag_id: Option<&str>,
        after: Option<Place>,
        limit: u32,
    ) -> Result<Scan<Due>> {
        let (kinds, bounds) = told(rules);
        let (after, wanted) = (after.map_or(0, |after| after.row), i64::from(limit));
        let parameters: [Parameter<'_>; 4] = [&kinds, &bounds, &after, &wanted];
        let mut page: Option<(i64, Option<i64>)> = None;
        let due = self.rows(&DUE, &parameters, |found| {
            page = Some((found.try_get(8)?, found.try_get(9)?));
            let Some(rule) = found.try_get::<_, Option<i64>>(7)? else { return Ok(None) };
            Ok(Some(Due {
                key: row::key(found)?,
                version: row::version(found.try_get(5)?)?,
                size: found.try_get::<_, i64>(6)? as u64,
                rule: rule as usize - 1,
            }))
        });
        let due = due.await?.into_iter().flatten();
        let due = due.filter(|due| dag_id.is_none_or(|dag_id| *due.key.ti.dag_id == *dag_id)).collect();
        let next = match page {
            Some((length, Some(last))) if length >= limit.into() => Some(Place { past: false, row: last }),
            _ => None,
        };
        Ok(Scan { items: due, next })
    }

    pub(super) async fn expire(&self, rules: &[Rule], due: &[Due], at: Timestamp) -> Result<Removed> {
        let (kinds, bounds) = told(rules);
        let rule_texts: Vec<&str> = rules.iter().map(|rule| &*rule.text).collect();
        let (mut runs, mut names) = (Places::new(), Places::new());
        let run_places: Vec<i32> =
            due.iter().map(|due| runs.of((&*due.key.ti.dag_id, &*due.key.ti.run_id))).collect();
        let tasks: Vec<i32> = due.iter().map(|due| names.of(&*due.key.ti.task_id)).collect();
        let keys: Vec<i32> = due.iter().map(|due| names.of(&*due.key.key)).collect();
        let (dags, run_ids): (Vec<&str>, Vec<&str>) = runs.all.into_iter().unzip();
        let maps: Vec<i32> = due.iter().map(|due| due.key.ti.map_index).collect();
        let versions: Vec<i64> = due.iter().map(|due| due.version.to_code()).collect();
        let parameters: [Parameter<'_>; 12] = [
            &kinds,
            &bounds,
            &rule_texts,
            &dags,
            &run_ids,
            &names.all,
            &run_places,
            &tasks,
            &keys,
            &maps,
            &versions,
            &at.as_millisecond(),
        ];
        let rows = self.connections.write(&EXPIRE, &parameters).await?;
        Ok(Removed {
            entries: rows[0].try_get::<_, i64>(0)? as u64,
            bytes: rows[0].try_get::<_, i64>(1)? as u64,
            ..Removed::default()
        })
    }

    pub(super) async fn expire_next(
        &self,
        rules: &[Rule],
        dag_id: Option<&str>,
        after: Option<Place>,
        limit: u32,
        at: Timestamp,
    ) -> Result<(Removed, Option<Place>)> {
        let bound = |rule: &Rule| match rule.expires {
            Expires::Pushed(before) => Some(before.as_millisecond()),
            _ => None,
        };
        let Some(bounds) = rules.iter().map(bound).collect::<Option<Vec<i64>>>() else {
            let page = self.due(rules, dag_id, after, limit).await?;
            let removed = match &page.items[..] {
                [] => Removed::default(),
                due => self.expire(rules, due, at).await?,
            };
            return Ok((removed, page.next));
        };
        let texts: Vec<&str> = rules.iter().map(|rule| &*rule.text).collect();
        let (after, limit) = (after.map_or(0, |after| after.row), i64::from(limit) * PAGES_AT_ONCE);
        let parameters: [Parameter<'_>; 6] = [&bounds, &texts, &dag_id, &after, &limit, &at.as_millisecond()];
        let rows = self.connections.write(&EXPIRE_AGED, &parameters).await?;
        let removed = Removed {
            entries: rows[0].try_get::<_, i64>(0)? as u64,
            bytes: rows[0].try_get::<_, i64>(1)? as u64,
            ..Removed::default()
        };
        let next: Option<i64> = rows[0].try_get(2)?;
        Ok((removed, next.map(|row| Place { past: false, row })))
    }
}
