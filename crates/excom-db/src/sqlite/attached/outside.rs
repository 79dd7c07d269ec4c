//! What something else wrote in Airflow's table: found run by run, taken over before it moves, and expired where rules say
//! so.

use excom_core::attempt::Caller;
use excom_core::db::{Due, Kept, Outside, Place, Removed, Rule, Scan};
use excom_core::entry::{EndReason, Entry, Stored, Version, Writer};
use excom_core::{Shape, XComKey};
use jiff::Timestamp;
use rusqlite::{Row as Found, params};

use super::super::expiry::{Asked, Judge, Row, Task};
use super::super::failure::Failure;
use super::super::row::writer_column;
use super::super::write::{NewEntry, Ti, Xcom, key};
use super::columns::{counts, known, micros, millis};
use super::expiry::{about_run, newer};
use super::write::REMOVE_ROW;
use super::{Beside, Tables, Writing, row};
use crate::airflow::{self, JSONB};
use crate::packing::pack;

type Result<T> = std::result::Result<T, Failure>;

/// How many rows go in one step.
pub(super) const STEP: usize = 1000;

/// Where a page of Airflow's rows ends, by their primary key: at the end of a run, so that a run's number says it.
const PAGE: &str = "SELECT count(*), max(run) FROM (
    SELECT dag_run_id AS run FROM xcom WHERE dag_run_id > ?1 ORDER BY dag_run_id LIMIT ?2)";

/// What something else wrote of a page, by the primary key; with our numbers, 0 for what has none.
const OUTSIDE: &str = concat!(
    "SELECT x.dag_id, x.run_id, x.task_id, x.map_index, x.key, ",
    micros!("x.timestamp"),
    ", ifnull(octet_length(x.value), 0), x.dag_run_id, ifnull(o.id, 0), ifnull(t.id, 0), ifnull(k.id, 0) FROM xcom x",
    known!(),
    "WHERE x.dag_run_id > ?1 AND x.dag_run_id <= ?2 AND e.version IS NULL AND x.dag_id = ifnull(?3, x.dag_id)
     ORDER BY x.dag_run_id, x.task_id, x.map_index, x.key"
);

/// What is asked about entries by Airflow's own numbers of runs, and the texts of tasks.
const THEIRS: Asked = Asked {
    run: about_run!(" dag_run a WHERE a.id = ?1"),
    newer: newer!(
        " (SELECT * FROM dag_run WHERE id = ?1) a ",
        "WHERE x.dag_run_id = r.id AND x.task_id = ?2"
    ),
};

/// What went, as history without bytes.
const EXPIRED: &str =
    "INSERT INTO excom_history (run, task, key, map_index, version, writer, size, hash, shape, head,
        codec, body, offloaded, ended_at, reason, by)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8, '…', NULL, NULL, 0, ?9, ?10, ?11)";

/// A row that something else wrote.
struct Theirs {
    key: XComKey,
    version: Version,
    /// Of its value as it is stored, in bytes.
    size: u64,
    entry: Row,
}

impl Theirs {
    /// A row of [`OUTSIDE`].
    fn of(found: &Found<'_>) -> Result<Self> {
        let version = row::written(found.get::<_, Option<i64>>(5)?.unwrap_or(0))?;
        let ti = Ti { run: found.get(8)?, task: found.get(9)?, map_index: found.get(3)? };
        let xcom = Xcom { ti, key: found.get(10)? };
        let key = key(found)?;
        let task = Task::Named(key.ti.task_id.clone());
        let entry = Row { xcom, version, run: found.get(7)?, task };
        Ok(Self { key, version, size: found.get::<_, i64>(6)?.cast_unsigned(), entry })
    }
}

impl Beside<'_> {
    /// A page of what something else wrote, and behind which run the next begins.
    fn theirs(&self, dag_id: Option<&str>, behind: i64, limit: u32) -> Result<(Vec<Theirs>, Option<Place>)> {
        let mut page = self.view.connection().prepare_cached(PAGE)?;
        let page = page.query_row((behind, limit), |found| Ok((found.get(0)?, found.get(1)?)));
        let (length, last): (u32, Option<i64>) = page?;
        let rows = self.view.rows(OUTSIDE, (behind, last, dag_id), Theirs::of)?;
        Ok((rows, last.filter(|_| length >= limit).map(|row| Place { past: true, row })))
    }

    fn outside(&self, dag_id: Option<&str>, behind: i64, limit: u32) -> Result<Scan<Outside>> {
        let (rows, next) = self.theirs(dag_id, behind, limit)?;
        let outside = |Theirs { key, version, size, .. }| Outside { key, version, size };
        Ok(Scan { items: rows.into_iter().map(outside).collect(), next })
    }

    /// By those rules alone that catch what something else wrote.
    pub(super) fn due_outside(
        &self,
        rules: &[Rule],
        dag_id: Option<&str>,
        behind: i64,
        limit: u32,
    ) -> Result<Scan<Due>> {
        let places: Vec<usize> = (0..rules.len()).filter(|place| rules[*place].outside).collect();
        let asked: Vec<Rule> = places.iter().map(|place| rules[*place].clone()).collect();
        let mut judge = Judge::new(self.view.connection(), &THEIRS, &asked);
        let (rows, next) = self.theirs(dag_id, behind, limit)?;
        let mut items = Vec::new();
        for Theirs { key, version, size, entry } in rows {
            if let Some(rule) = judge.caught(&entry)? {
                items.push(Due { key, version, size, rule: places[rule] });
            }
        }
        Ok(Scan { items, next })
    }
}

impl Writing<'_> {
    /// As the version that it is, where it is.
    fn adopt(&self, Outside { key, version, .. }: &Outside, at: Timestamp) -> Result<Option<Kept>> {
        self.fence(&Caller::System("db"))?;
        let Some(run) = self.run(&key.ti)? else { return Ok(None) };
        let Some(found) = self.row(key, run, self.t.known_xcom(key)?)? else { return Ok(None) };
        if found.version.is_some() || row::written(found.micros)? != *version {
            return Ok(None);
        }
        let text = found.text.as_deref().unwrap_or("null");
        if airflow::envelope(text).is_some() {
            return Ok(None);
        }
        let Entry { size, hash, shape, stored, .. } = airflow::bare(*version, text)?;
        let Stored::Inline(value) = stored else { return Ok(None) };
        let packed = pack(value.bytes(), false, None);
        // Where the column holds another text than the value's, that is kept beside it.
        let (codec, body) = match value.as_str() == text {
            true => (JSONB.into(), &[][..]),
            false => (packed.codec as i64, &packed.body[..]),
        };
        let of = self.t.xcom(key, at)?;
        self.forget(of, at)?;
        let writer = &Writer::Outside;
        let entry =
            NewEntry { version: *version, writer, size, hash, shape, head: &packed.head, codec, body };
        self.t.insert_entry(of, &entry)?;
        let (key, version) = (key.clone(), *version);
        Ok(Some(Kept { key, version, past: false, size, hash, secret: false, reference: None }))
    }

    /// As far as it is the version that was found and the same rules still catch it.
    pub(super) fn expire_outside(&self, rules: &[Rule], due: &[Due], at: Timestamp) -> Result<Removed> {
        let rules: Vec<Rule> = rules.iter().filter(|rule| rule.outside).cloned().collect();
        let mut judge = Judge::new(self.t.connection, &THEIRS, &rules);
        let mut removed = Removed::default();
        for Due { key, version, size, .. } in due.iter().filter(|_| !rules.is_empty()) {
            let Some(run) = self.run(&key.ti)? else { continue };
            let Some(found) = self.row(key, run, self.t.known_xcom(key)?)? else { continue };
            if found.version.is_some() || row::written(found.micros)? != *version {
                continue;
            }
            let xcom = self.t.xcom(key, at)?;
            let task = Task::Named(key.ti.task_id.clone());
            let Some(rule) = judge.caught(&Row { xcom, version: *version, run, task })? else { continue };
            let Xcom { ti, key: number } = xcom;
            self.t.execute(
                EXPIRED,
                params![
                    ti.run,
                    ti.task,
                    number,
                    ti.map_index,
                    version.to_code(),
                    writer_column(&Writer::Outside),
                    size.cast_signed(),
                    Shape::Null.to_code(),
                    at.as_millisecond(),
                    EndReason::Expired.to_code(),
                    rules[rule].text
                ],
            )?;
            self.t.execute(REMOVE_ROW, params![run, key.ti.task_id, key.ti.map_index, key.key])?;
            removed.entries += 1;
            removed.bytes += size;
        }
        Ok(removed)
    }
}

impl Tables {
    pub(super) async fn outside(
        &self,
        dag_id: Option<&str>,
        after: Option<Place>,
        limit: u32,
    ) -> excom_core::Result<Scan<Outside>> {
        self.look(|beside| beside.outside(dag_id, after.map_or(0, |after| after.row), limit))
    }

    pub(super) async fn adopt(&self, found: &Outside, at: Timestamp) -> excom_core::Result<Option<Kept>> {
        let found = found.clone();
        self.change(usize::MAX, move |w| w.adopt(&found, at)).await
    }
}
