//! What something else wrote in Airflow's table: found run by run, taken over before it moves, and expired where rules say
//! so.

use std::collections::BTreeMap;

use excom_core::attempt::Caller;
use excom_core::db::{Due, Kept, Outside, Place, Removed, Rule, Scan};
use excom_core::entry::{EndReason, Entry, Stored, Version, Writer};
use excom_core::{Shape, XComKey};
use jiff::Timestamp;
use mysql_async::Row as Found;

use super::super::connection::named;
use super::super::expiry::{Asked, Judge, Row, Task};
use super::super::failure::{Failure, damaged};
use super::super::names::{Lock, Ti, Xcom, hex};
use super::super::row as own;
use super::columns::{bytes, counts, key, known, listed, micros, same, written};
use super::expiry::{about_run, newer};
use super::write::{NOTE, step};
use super::{Airflow, Tables, row};
use crate::airflow::{self, JSONB};
use crate::packing::pack;

type Result<T> = std::result::Result<T, Failure>;

/// Where a page of Airflow's rows ends, by their primary key: at the end of a run, so that a run's number says it.
const PAGE: &str = "SELECT COUNT(*), MAX(p.run) FROM (
    SELECT x.dag_run_id AS run FROM airflow.xcom x WHERE x.dag_run_id > :behind ORDER BY x.dag_run_id LIMIT :limit) p";

/// What something else wrote of a page, by the primary key; with our numbers, 0 for what has none.
const OUTSIDE: &str = concat!(
    "SELECT STRAIGHT_JOIN ",
    key!(),
    ", ",
    micros!("x.timestamp"),
    ", COALESCE(LENGTH(x.value), 0), x.dag_run_id, COALESCE(r.id, 0), COALESCE(t.id, 0), COALESCE(k.id, 0)
     FROM airflow.xcom x",
    known!(),
    "WHERE x.dag_run_id > :behind AND x.dag_run_id <= :last AND e.version IS NULL AND (:dag IS NULL OR ",
    same!("x.dag_id", ":dag"),
    ") ORDER BY x.dag_run_id, x.task_id, x.map_index, x.key"
);

/// What is asked about entries by Airflow's own numbers of runs, and the texts of tasks.
const THEIRS: Asked = Asked {
    run: about_run!("airflow.dag_run a WHERE a.id = :run"),
    newer: newer!(
        "(SELECT dag_id, run_id, logical_date, run_after FROM airflow.dag_run WHERE id = :run) a",
        concat!("WHERE x.dag_run_id = r.id AND ", same!("x.task_id", ":task"))
    ),
};

/// Rows of a list that something else wrote and that are still of the versions given, locked: those that others have
/// locked are left out. What is read of our tables is not locked.
const TAKE: &str = concat!(
    "SELECT STRAIGHT_JOIN a.place, x.dag_run_id, COALESCE(LENGTH(x.value), 0)
     FROM (SELECT place, UNHEX(dag) AS dag, UNHEX(run_id) AS run_id, UNHEX(task) AS task, map_index,
                  UNHEX(xcom_key) AS xcom_key, version
           FROM JSON_TABLE(:entries, '$[*]' COLUMNS (
                    place INT PATH '$[0]', dag VARCHAR(2000) PATH '$[1]', run_id VARCHAR(2000) PATH '$[2]',
                    task VARCHAR(2000) PATH '$[3]', map_index INT PATH '$[4]', xcom_key VARCHAR(4096) PATH '$[5]',
                    version BIGINT PATH '$[6]')) j) a
          JOIN airflow.xcom x ON ",
    listed!(),
    " WHERE a.version = ",
    written!(),
    " AND NOT EXISTS (
         SELECT 1 FROM excom_name d JOIN excom_dag_run r ON r.dag = d.id AND r.run_id = a.run_id
         JOIN excom_name t ON t.text = a.task JOIN excom_name k ON k.text = a.xcom_key
         JOIN excom_entry e ON e.run = r.id AND e.task = t.id AND e.xcom_key = k.id AND e.map_index = a.map_index
             AND ",
    counts!(),
    " WHERE d.text = a.dag) FOR UPDATE SKIP LOCKED"
);

/// What went, as history without bytes.
const EXPIRED: &str = "INSERT INTO excom_history (run, task, xcom_key, map_index, version, size, hash, shape, number,
        codec, reason, offloaded, ended_at, writer, ended_by, head, body)
    SELECT a.run, a.task, a.xcom_key, a.map_index, a.version, a.size, 0, :shape, 0, -1, :reason, FALSE, :ended_at,
        :writer, :ended_by, '…', ''
    FROM JSON_TABLE(:gone, '$[*]' COLUMNS (
             run INT PATH '$[0]', task INT PATH '$[1]', xcom_key INT PATH '$[2]', map_index INT PATH '$[3]',
             version BIGINT PATH '$[4]', size BIGINT PATH '$[5]')) a";

/// Airflow's rows of a list, by their primary key.
const REMOVE: &str = concat!(
    "DELETE x FROM (
         SELECT run, UNHEX(task) AS task, map_index, UNHEX(xcom_key) AS xcom_key
         FROM JSON_TABLE(:rows, '$[*]' COLUMNS (
                  run INT PATH '$[0]', task VARCHAR(2000) PATH '$[1]', map_index INT PATH '$[2]',
                  xcom_key VARCHAR(4096) PATH '$[3]')) j) a
         STRAIGHT_JOIN airflow.xcom x ON x.dag_run_id = a.run AND ",
    same!("x.task_id", "a.task"),
    " AND x.map_index = a.map_index AND ",
    same!("x.key", "a.xcom_key")
);

/// A page of what something else wrote.
struct Page {
    rows: Vec<Found>,
    /// The run behind which the next page begins.
    next: Option<Place>,
}

/// The version of a row of [`OUTSIDE`].
fn version(found: &Found) -> Result<Version> {
    airflow::written(own::int(found, 5)?).ok_or_else(|| damaged("an entry with a time that is none"))
}

impl Airflow<'_> {
    async fn page(&mut self, dag_id: Option<&str>, behind: i64, limit: u32) -> Result<Page> {
        let page = self.0.one(PAGE, named! { "behind" => behind, "limit" => limit }).await?;
        let Some(page) = page else { return Ok(Page { rows: Vec::new(), next: None }) };
        let (length, last) = (own::int(&page, 0)?, own::optional(&page, 1)?);
        let dag = dag_id.map(str::to_owned);
        let rows = self.0.rows(OUTSIDE, named! { "behind" => behind, "last" => last, "dag" => dag }).await?;
        let next = last.filter(|_| length >= limit.into()).map(|row| Place { past: true, row });
        Ok(Page { rows, next })
    }

    async fn outside(&mut self, dag_id: Option<&str>, behind: i64, limit: u32) -> Result<Scan<Outside>> {
        let Page { rows, next } = self.page(dag_id, behind, limit).await?;
        let outside = |found: &Found| {
            Ok(Outside { key: own::key(found)?, version: version(found)?, size: own::count(found, 6)? })
        };
        Ok(Scan { items: rows.iter().map(outside).collect::<Result<_>>()?, next })
    }

    /// As the version that it is, where it is.
    async fn adopt(&mut self, found: &Outside, keeps_text: bool, at: Timestamp) -> Result<Option<Kept>> {
        let Outside { key, version, .. } = found;
        self.fence(&Caller::System("db")).await?;
        let Some(run) = self.run(&key.ti).await? else { return Ok(None) };
        let of = self.0.xcom(key, at.as_millisecond()).await?;
        self.0.take([of.ti]).await?;
        let Some(current) = self.row(of, key, run).await? else { return Ok(None) };
        if own::optional(&current, 0)?.is_some() || row::outside(&current, 0)? != *version {
            return Ok(None);
        }
        let text = row::value(&current, 0)?.unwrap_or("null");
        if airflow::envelope(text).is_some() {
            return Ok(None);
        }
        let Entry { size, hash, shape, stored, .. } = airflow::bare(*version, text)?;
        let Stored::Inline(value) = stored else { return Ok(None) };
        let packed = pack(value.bytes(), false, None);
        // Where the column holds another text than the value's, that is kept beside it.
        let (codec, body) = match keeps_text && value.as_str() == text {
            true => (JSONB, Vec::new()),
            false => (packed.codec as i16, packed.body.to_vec()),
        };
        self.forget_stale(of, at).await?;
        let (number, writer) = own::writer_columns(&Writer::Outside);
        let note = named! {
            "run" => of.ti.run,
            "task" => of.ti.task,
            "key" => of.key,
            "map_index" => of.ti.map_index,
            "version" => version.to_code(),
            "size" => size,
            "hash" => hash.0.cast_signed(),
            "shape" => shape.to_code(),
            "number" => number,
            "codec" => codec,
            "writer" => writer,
            "head" => packed.head,
            "body" => body,
        };
        self.0.make_entry(NOTE, note).await?;
        let (key, version) = (key.clone(), *version);
        Ok(Some(Kept { key, version, past: false, size, hash, secret: false, reference: None }))
    }

    /// By those rules alone that catch what something else wrote.
    pub(super) async fn due_outside(
        &mut self,
        rules: &[Rule],
        dag_id: Option<&str>,
        behind: i64,
        limit: u32,
    ) -> Result<Scan<Due>> {
        let places: Vec<usize> = (0..rules.len()).filter(|place| rules[*place].outside).collect();
        let asked: Vec<Rule> = places.iter().map(|place| rules[*place].clone()).collect();
        let Page { rows, next } = self.page(dag_id, behind, limit).await?;
        let entry = |found: &Found| {
            let (run, task, map_index) = (own::int4(found, 8)?, own::int4(found, 9)?, own::int4(found, 3)?);
            Ok(Row {
                xcom: Xcom { ti: Ti { run, task, map_index }, key: own::int4(found, 10)? },
                version: version(found)?,
                run: own::int4(found, 7)?,
                task: Task::Named(own::text(found, 2)?),
            })
        };
        let entries = rows.iter().map(entry).collect::<Result<Vec<_>>>()?;
        let caught = Judge::new(self.0, &THEIRS, &asked).caught(&entries).await?;
        let mut items = Vec::new();
        for ((found, entry), caught) in rows.iter().zip(entries).zip(caught) {
            let Some(first) = caught.first() else { continue };
            let (key, version) = (own::key(found)?, entry.version);
            items.push(Due { key, version, size: own::count(found, 6)?, rule: places[*first] });
        }
        Ok(Scan { items, next })
    }

    /// As far as it is the version that was found and the same rules still catch it. A row that is just being written is
    /// left alone. What is told of them is what Airflow's column has.
    pub(super) async fn expire_outside(
        &mut self,
        rules: &[Rule],
        due: &[Due],
        at: Timestamp,
    ) -> Result<Removed> {
        self.fence(&Caller::System("db")).await?;
        let xcoms = self.numbers(due, at.as_millisecond()).await?;
        let entries = due.iter().enumerate().map(|(place, Due { key, version, .. })| {
            let XComKey { ti, key, .. } = key;
            let names = (hex(&ti.dag_id), hex(&ti.run_id), hex(&ti.task_id));
            (place, names.0, names.1, names.2, ti.map_index, hex(key), version.to_code())
        });
        let entries = serde_json::to_string(&entries.collect::<Vec<_>>()).unwrap_or_default();
        let (mut places, mut rows, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
        for found in self.0.rows(TAKE, named! { "entries" => entries }).await? {
            let place = own::int(&found, 0)? as usize;
            places.push(place);
            sizes.push(own::count(&found, 2)?);
            rows.push(Row {
                xcom: xcoms[place],
                version: due[place].version,
                run: own::int4(&found, 1)?,
                task: Task::Named(due[place].key.ti.task_id.clone()),
            });
        }
        let caught = Judge::new(self.0, &THEIRS, rules).caught(&rows).await?;
        let mut gone: BTreeMap<usize, Vec<_>> = BTreeMap::new();
        let (mut theirs, mut removed) = (Vec::new(), Removed::default());
        for (at, caught) in caught.iter().enumerate() {
            let Some(rule) = caught.first() else { continue };
            let (Row { xcom, version, run, .. }, key) = (&rows[at], &due[places[at]].key);
            let Xcom { ti, key: number } = xcom;
            let past = (ti.run, ti.task, number, ti.map_index, version.to_code(), sizes[at]);
            gone.entry(*rule).or_default().push(past);
            theirs.push((run, hex(&key.ti.task_id), ti.map_index, hex(&key.key)));
            removed.entries += 1;
            removed.bytes += sizes[at];
        }
        let (_, writer) = own::writer_columns(&Writer::Outside);
        for (rule, gone) in gone {
            let past = named! {
                "gone" => serde_json::to_string(&gone).unwrap_or_default(),
                "shape" => Shape::Null.to_code(),
                "reason" => EndReason::Expired.to_code(),
                "ended_at" => at.as_millisecond(),
                "writer" => &*writer,
                "ended_by" => &*rules[rule].text,
            };
            self.0.change(EXPIRED, past).await?;
        }
        if !theirs.is_empty() {
            let rows = serde_json::to_string(&theirs).unwrap_or_default();
            self.0.change(REMOVE, named! { "rows" => rows }).await?;
        }
        Ok(removed)
    }

    /// The numbers of some XComs, whose parts become known: names first and then runs, as all lock them.
    async fn numbers(&mut self, due: &[Due], at: i64) -> Result<Vec<Xcom>> {
        let texts: Vec<&str> =
            due.iter().flat_map(|due| [&*due.key.ti.dag_id, &*due.key.ti.task_id, &*due.key.key]).collect();
        let numbers = self.0.names(&texts).await?;
        let mut runs = BTreeMap::new();
        for (due, numbers) in due.iter().zip(numbers.chunks(3)) {
            runs.insert((numbers[0], &*due.key.ti.run_id), 0);
        }
        for ((dag, run_id), run) in &mut runs {
            *run = self.0.run(*dag, run_id, at, Lock::Shared).await?;
        }
        let xcom = |(due, numbers): (&Due, &[i32])| {
            let run = runs.get(&(numbers[0], &*due.key.ti.run_id)).copied().unwrap_or(0);
            let ti = Ti { run, task: numbers[1], map_index: due.key.ti.map_index };
            Xcom { ti, key: numbers[2] }
        };
        Ok(due.iter().zip(numbers.chunks(3)).map(xcom).collect())
    }
}

impl Tables {
    pub(super) async fn outside(
        &self,
        dag_id: Option<&str>,
        after: Option<Place>,
        limit: u32,
    ) -> Result<Scan<Outside>> {
        let behind = after.map_or(0, |after| after.row);
        step!(self, write, outside(dag_id, behind, limit)).await
    }

    /// Tried again it would seem to be taken over already, and then it is found as what Excom wrote.
    pub(super) async fn adopt(&self, found: &Outside, at: Timestamp) -> Result<Option<Kept>> {
        let keeps_text = self.keeps_text;
        step!(self, write, adopt(found, keeps_text, at)).await
    }
}
