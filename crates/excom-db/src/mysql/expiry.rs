//! Which entries the rules of retention catch: looked for while reading, and looked at again while writing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use excom_core::XComKey;
use excom_core::db::{Due, Expires, Place, Removed, Rule, RunState, Scan};
use excom_core::entry::{EndReason, Version};
use jiff::Timestamp;
use mysql_async::{Row as Found, Value};

use super::Tables;
use super::connection::{Connection, named};
use super::failure::Failure;
use super::names::{Lock, Ti, Xcom};
use super::read::with;
use super::row;
use super::write::{REMOVE_ENTRY, step, xcom};

type Result<T> = std::result::Result<T, Failure>;

/// How many entries a statement takes in a list.
const LISTED: usize = 4096;

/// A page of entries by the index of their ids.
const PAGE: &str =
    "SELECT d.text, r.run_id, t.text, e.map_index, k.text, e.id, e.run, e.task, e.xcom_key, e.version,
        e.size
    FROM (SELECT id, run, task, xcom_key, map_index, version, size FROM excom_entry WHERE id > :after
          ORDER BY id LIMIT :limit) e
         JOIN excom_dag_run r ON r.id = e.run JOIN excom_name d ON d.id = r.dag
         JOIN excom_name t ON t.id = e.task JOIN excom_name k ON k.id = e.xcom_key
    ORDER BY e.id";

/// What rules ask about runs.
pub(super) struct Asked {
    /// About a run, by its number: state, end, whether something of it goes on, whether something failed.
    pub(super) run: &'static str,
    /// How many newer runs of the same DAG have entries of a task.
    pub(super) newer: &'static str,
}

/// What is asked of entries and their runs.
pub(super) struct Statements {
    pub(super) asked: Asked,
    /// Entries of a list that are still of the versions given.
    pub(super) current: &'static str,
    /// Removes an entry that has become history.
    pub(super) remove: &'static [&'static str],
}

const OWN: Statements =
    Statements { asked: Asked { run: RUN, newer: NEWER }, current: CURRENT, remove: &[REMOVE_ENTRY] };

/// What rules ask about a run, by its task instances. States below 6 are of those that have not finished; 6, 8 and 10
/// have done so without failing.
const RUN: &str = "SELECT state, ended,
        EXISTS (SELECT 1 FROM excom_task_instance i WHERE i.run = r.id AND i.state < 6),
        EXISTS (SELECT 1 FROM excom_task_instance i WHERE i.run = r.id AND i.state NOT IN (6, 8, 10))
    FROM excom_dag_run r WHERE r.id = :run";

/// Newer runs of the same DAG that have entries of a task, by their dates.
const NEWER: &str = "SELECT COUNT(*) FROM (
        SELECT r.id FROM excom_dag_run own JOIN excom_dag_run r ON r.dag = own.dag AND r.due >= own.due
        WHERE own.id = :run AND (r.due, r.run_id) > (own.due, own.run_id)
        AND EXISTS (SELECT 1 FROM excom_entry e WHERE e.run = r.id AND e.task = :task) LIMIT :limit) n";

/// Which entries of a list were read since, alone or as part of a sequence, by the ledger's key.
const READ_SINCE: &str = "SELECT STRAIGHT_JOIN a.place
    FROM JSON_TABLE(:entries, '$[*]' COLUMNS (
             place INT PATH '$[0]', run INT PATH '$[1]', task INT PATH '$[2]', xcom_key INT PATH '$[3]',
             map_index INT PATH '$[4]', version BIGINT PATH '$[5]')) a
         JOIN excom_ledger l ON l.run = a.run AND l.task = a.task AND l.xcom_key = a.xcom_key
             AND l.map_index = a.map_index AND l.version = a.version
    WHERE l.last >= :since";

/// Entries of a list that are still of the versions given, by their keys.
const CURRENT: &str = "SELECT STRAIGHT_JOIN a.place, e.size, CASE WHEN e.codec = 2 THEN e.body END
    FROM JSON_TABLE(:entries, '$[*]' COLUMNS (
             place INT PATH '$[0]', run INT PATH '$[1]', task INT PATH '$[2]', xcom_key INT PATH '$[3]',
             map_index INT PATH '$[4]', version BIGINT PATH '$[5]')) a
         JOIN excom_entry e ON e.run = a.run AND e.task = a.task AND e.xcom_key = a.xcom_key
             AND e.map_index = a.map_index AND e.version = a.version
    ORDER BY a.place";

/// An entry by its key, as history without its bytes.
const EXPIRE: &str = "INSERT INTO excom_history (run, task, xcom_key, map_index, version, size, hash, shape, number,
        codec, reason, offloaded, ended_at, writer, ended_by, head, body)
    SELECT run, task, xcom_key, map_index, version, size, hash, shape, number, -1, :reason, codec = 2, :ended_at,
        writer, :ended_by, head, ''
    FROM excom_entry WHERE run = :run AND task = :task AND xcom_key = :key AND map_index = :map_index";

/// The map index of a whole sequence, and its version, in the ledger.
const WHOLE: (i32, i64) = (-2, 0);

/// A task as statements ask about it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Task {
    /// By our number.
    Known(i32),
    /// By its text, in a run of Airflow's.
    Named(Arc<str>),
}

/// An entry as rules ask about it.
#[derive(Clone)]
pub(super) struct Row {
    /// By our numbers; 0 for what has none.
    pub(super) xcom: Xcom,
    pub(super) version: Version,
    /// The run and the task by which [`Asked`] finds what it asks about.
    pub(super) run: i32,
    pub(super) task: Task,
}

impl Row {
    fn own(xcom: Xcom, version: Version) -> Self {
        Self { xcom, version, run: xcom.ti.run, task: Task::Known(xcom.ti.task) }
    }
}

impl From<&Task> for Value {
    fn from(task: &Task) -> Self {
        match task {
            Task::Known(number) => (*number).into(),
            Task::Named(text) => (&**text).into(),
        }
    }
}

/// What rules ask about a run.
#[derive(Clone, Copy)]
struct Run {
    goes_on: bool,
    /// When it ended, if it and all its task instances ended well.
    done: Option<i64>,
}

/// Judges entries by rules. What it learnt of a run, most entries of a page share.
pub(super) struct Judge<'a> {
    connection: &'a mut Connection,
    asked: &'static Asked,
    rules: &'a [Rule],
    runs: HashMap<i32, Run>,
    newer: HashMap<(i32, Task), u64>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(connection: &'a mut Connection, asked: &'static Asked, rules: &'a [Rule]) -> Self {
        Self { connection, asked, rules, runs: HashMap::new(), newer: HashMap::new() }
    }

    /// Which rules catch each of some entries.
    pub(super) async fn caught(&mut self, entries: &[Row]) -> Result<Vec<Vec<usize>>> {
        let mut caught = vec![Vec::new(); entries.len()];
        for (place, rule) in self.rules.iter().enumerate() {
            let read = match rule.expires {
                Expires::Unread(since) => self.read_since(entries, since).await?,
                _ => HashSet::new(),
            };
            for (at, entry) in entries.iter().enumerate() {
                let (run, pushed) = (entry.run, entry.version.time());
                let is_caught = match rule.expires {
                    Expires::Pushed(before) => pushed < before,
                    Expires::Behind(count) => {
                        !self.run(run).await?.goes_on && self.newer(run, &entry.task).await? >= count.into()
                    }
                    Expires::Unread(since) => {
                        pushed < since && !read.contains(&at) && !self.run(run).await?.goes_on
                    }
                    Expires::Done(before) => {
                        self.run(run).await?.done.is_some_and(|ended| ended < before.as_millisecond())
                    }
                };
                if is_caught {
                    caught[at].push(place);
                }
            }
        }
        Ok(caught)
    }

    async fn run(&mut self, run: i32) -> Result<Run> {
        if let Some(known) = self.runs.get(&run) {
            return Ok(*known);
        }
        let found = self.connection.one(self.asked.run, named! { "run" => run }).await?;
        let found = found.map(|found| {
            let (state, ended) = (row::optional(&found, 0)?, row::optional(&found, 1)?);
            let well = state == Some(RunState::Success.to_code()) && !row::is(&found, 3)?;
            let running = state == Some(RunState::Running.to_code());
            Ok::<_, Failure>(Run { goes_on: running || row::is(&found, 2)?, done: ended.filter(|_| well) })
        });
        let found = found.transpose()?.unwrap_or(Run { goes_on: true, done: None });
        self.runs.insert(run, found);
        Ok(found)
    }

    /// How many newer runs have entries of the task, as far as rules ask.
    async fn newer(&mut self, run: i32, task: &Task) -> Result<u64> {
        let place = (run, task.clone());
        if let Some(known) = self.newer.get(&place) {
            return Ok(*known);
        }
        let counts = self.rules.iter().map(|rule| match rule.expires {
            Expires::Behind(count) => count,
            _ => 0,
        });
        let limit = counts.max().unwrap_or(0);
        let found = self
            .connection
            .one(self.asked.newer, named! { "run" => run, "task" => task, "limit" => limit })
            .await?;
        let newer = found.map(|found| row::count(&found, 0)).transpose()?.unwrap_or(0);
        self.newer.insert(place, newer);
        Ok(newer)
    }

    /// The places of entries that were read since.
    async fn read_since(&mut self, entries: &[Row], since: Timestamp) -> Result<HashSet<usize>> {
        let mut read = HashSet::new();
        // A list is one parameter, and no parameter may be longer than a packet.
        for (page, entries) in entries.chunks(LISTED).enumerate() {
            let rows = entries.iter().enumerate().flat_map(|(place, entry)| {
                [(entry.xcom.ti.map_index, entry.version.to_code()), WHOLE]
                    .map(|(map_index, version)| listed(page * LISTED + place, entry.xcom, map_index, version))
            });
            let rows = serde_json::to_string(&rows.collect::<Vec<_>>()).unwrap_or_default();
            let parameters = named! { "entries" => rows, "since" => since.as_millisecond() };
            for found in self.connection.rows(READ_SINCE, parameters).await? {
                read.insert(row::int(&found, 0)? as usize);
            }
        }
        Ok(read)
    }
}

/// An entry as statements take it in a list.
fn listed(place: usize, of: Xcom, map_index: i32, version: i64) -> (usize, i32, i32, i32, i32, i64) {
    (place, of.ti.run, of.ti.task, of.key, map_index, version)
}

impl Connection {
    pub(super) async fn due(
        &mut self,
        asked: &'static Statements,
        rules: &[Rule],
        dag_id: Option<&str>,
        after: i64,
        limit: u32,
    ) -> Result<Scan<Due>> {
        let page = self.rows(PAGE, named! { "after" => after, "limit" => limit }).await?;
        let entries = page.iter().map(|found| {
            let ti =
                Ti { run: row::int4(found, 6)?, task: row::int4(found, 7)?, map_index: row::int4(found, 3)? };
            let xcom = Xcom { ti, key: row::int4(found, 8)? };
            Ok(Row::own(xcom, row::version(found, 9)?))
        });
        let entries = entries.collect::<Result<Vec<_>>>()?;
        let caught = Judge::new(self, &asked.asked, rules).caught(&entries).await?;
        let due = |found: &Found, rule: usize| {
            Ok(Due {
                key: row::key(found)?,
                version: row::version(found, 9)?,
                size: row::count(found, 10)?,
                rule,
            })
        };
        let items = page.iter().zip(caught).filter_map(|(found, rules)| Some(due(found, *rules.first()?)));
        let items = items.collect::<Result<Vec<_>>>()?.into_iter();
        let items = items.filter(|due| dag_id.is_none_or(|dag_id| *due.key.ti.dag_id == *dag_id)).collect();
        let next = match page.last() {
            Some(last) if page.len() >= limit as usize => {
                Some(Place { past: false, row: row::int(last, 5)? })
            }
            _ => None,
        };
        Ok(Scan { items, next })
    }

    /// Nothing is pushed to or read from the runs meanwhile.
    pub(super) async fn expire(
        &mut self,
        asked: &'static Statements,
        rules: &[Rule],
        due: &[Due],
        at: i64,
    ) -> Result<Removed> {
        let entries = self.alone_with(due).await?;
        let mut removed = Removed::default();
        // What other rules catch goes first, because it does not count among the newest that are kept.
        let is_behind = |rule: &usize| matches!(rules[*rule].expires, Expires::Behind(_));
        for is_last in [false, true] {
            let rows = entries.iter().enumerate().map(|(place, entry)| {
                listed(place, entry.xcom, entry.xcom.ti.map_index, entry.version.to_code())
            });
            let rows = serde_json::to_string(&rows.collect::<Vec<_>>()).unwrap_or_default();
            let current = self.rows(asked.current, named! { "entries" => rows }).await?;
            let places = current.iter().map(|found| Ok(row::int(found, 0)? as usize));
            let places = places.collect::<Result<Vec<_>>>()?;
            let looked: Vec<Row> = places.iter().map(|place| entries[*place].clone()).collect();
            let caught = Judge::new(self, &asked.asked, rules).caught(&looked).await?;
            for ((entry, found), caught) in looked.iter().zip(&current).zip(caught) {
                let Some(first) = caught.first() else { continue };
                if !is_last && caught.iter().all(is_behind) {
                    continue;
                }
                if let Some(body) = row::optional_bytes(found, 2)? {
                    let store = row::reference(body)?.store;
                    self.loosen(entry.xcom, entry.version, &store, at).await?;
                }
                let past = with(xcom(entry.xcom), "reason", EndReason::Expired.to_code());
                let past = with(with(past, "ended_at", at), "ended_by", &*rules[*first].text);
                self.change(EXPIRE, past).await?;
                for statement in asked.remove {
                    self.change(statement, xcom(entry.xcom)).await?;
                }
                removed.entries += 1;
                removed.bytes += row::count(found, 1)?;
            }
        }
        Ok(removed)
    }

    /// Takes the runs of some entries alone, and tells the numbers of those whose parts are known.
    async fn alone_with(&mut self, due: &[Due]) -> Result<Vec<Row>> {
        let parts = |key: &XComKey| [key.ti.dag_id.clone(), key.ti.task_id.clone(), key.key.clone()];
        let texts: Vec<_> = due.iter().flat_map(|due| parts(&due.key)).collect();
        let texts: Vec<&str> = texts.iter().map(|text| &**text).collect();
        let numbers = self.known_names(&texts).await?;
        let mut runs = BTreeMap::new();
        for (due, numbers) in due.iter().zip(numbers.chunks(3)) {
            if let Some(dag) = numbers[0] {
                runs.insert((dag, &*due.key.ti.run_id), None);
            }
        }
        for ((dag, run_id), run) in &mut runs {
            *run = self.known_run(*dag, run_id, Lock::Alone).await?;
        }
        let rows = due.iter().zip(numbers.chunks(3)).filter_map(|(due, numbers)| {
            let [Some(dag), Some(task), Some(key)] = *numbers else { return None };
            let run = (*runs.get(&(dag, &*due.key.ti.run_id))?)?;
            let ti = Ti { run, task, map_index: due.key.ti.map_index };
            Some(Row::own(Xcom { ti, key }, due.version))
        });
        Ok(rows.collect())
    }
}

impl Tables {
    pub(super) async fn due(
        &self,
        rules: &[Rule],
        dag_id: Option<&str>,
        after: Option<Place>,
        limit: u32,
    ) -> Result<Scan<Due>> {
        let after = after.map_or(0, |after| after.row);
        step!(self, write, connection.due(&OWN, rules, dag_id, after, limit)).await
    }

    pub(super) async fn expire(&self, rules: &[Rule], due: &[Due], at: Timestamp) -> Result<Removed> {
        let at = at.as_millisecond();
        step!(self, write, connection.expire(&OWN, rules, due, at)).await
    }
}
