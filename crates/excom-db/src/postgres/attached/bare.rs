//! An attached database without the schema `excom`, for who may make nothing in Airflow's: what Airflow's own tables hold
//! works, and what needs a place of its own is none, or refused with what it would need.
//!
//! Entries are Airflow's rows as something else wrote them would be: their version is their time. The fence is one
//! statement with the write here too, but lets only the current try write.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use excom_core::attempt::{Attempt, Caller, TaskState};
use excom_core::db::{Health, Occupied, Push, Pushed, Scope, StartMode, Started, not_started, superseded};
use excom_core::{Error, ErrorKind, Result, Value, XComKey};
use jiff::Timestamp;
use tokio_postgres::Row;

use super::super::connection::{Connections, Options, Parameter, Statement, types};
use super::super::failure::{Failure, Refusal, damaged};
use super::super::row::counts;
use super::super::write::{Fenced, parts};
use super::{Tables, schema};
use crate::airflow::{no_task_instance, pushed};
use crate::bare::{self, nothing_beside};
use crate::expansion::{Expansion, MAX_MAP_LENGTH, is_returned};
use crate::fernet::Fernet;
use crate::server::airflows_db;

/// What the functions of the schema `excom` say that statements which read ask, without it.
const SPELLINGS: [(&str, &str); 3] = [
    (
        "excom.entry()",
        "(SELECT x.dag_run_id, x.dag_id::text, x.run_id::text, x.task_id::text, x.map_index, x.key::text, x.value,
                 NULL::int8 AS id,
                 (greatest((extract(epoch FROM x.timestamp) * 1000000)::int8 / 1000 - 1577836800000, 0) << 22)
                 | (((extract(epoch FROM x.timestamp) * 1000000)::int8 % 1000) << 12) AS version,
                 NULL::int4 AS number, '' AS writer, NULL::int8 AS size, NULL::int8 AS hash, NULL::int8 AS shape,
                 NULL AS head, 4::int2 AS codec, ''::bytea AS body
          FROM xcom x)",
    ),
    (
        "excom.attempt()",
        "(SELECT i.dag_id::text, i.run_id::text, i.task_id::text, i.map_index, coalesce(i.try_number, 0) AS number,
                 i.id AS attempt, i.state::text, i.start_date AS started,
                 CASE WHEN i.state IN ('success', 'failed', 'skipped', 'upstream_failed', 'removed', 'up_for_retry')
                      THEN i.end_date END AS ended
          FROM task_instance i
          WHERE i.start_date IS NOT NULL AND NOT EXISTS (
              SELECT FROM task_instance_history h
              WHERE h.dag_id = i.dag_id AND h.task_id = i.task_id AND h.run_id = i.run_id
              AND h.map_index = i.map_index AND h.start_date = i.start_date)
          UNION ALL
          SELECT h.dag_id::text, h.run_id::text, h.task_id::text, h.map_index, coalesce(h.try_number, 0),
                 h.task_instance_id, h.state::text, h.start_date, h.end_date
          FROM task_instance_history h WHERE h.start_date IS NOT NULL)",
    ),
    ("excom.known_run($1, $2)", "(SELECT id FROM dag_run WHERE dag_id = $1 AND run_id = $2)"),
];

/// A statement as it is without the schema `excom`.
fn spelt(sql: &str) -> Cow<'_, str> {
    SPELLINGS.iter().fold(Cow::Borrowed(sql), |sql, (called, said)| match sql.contains(called) {
        true => sql.replace(called, said).into(),
        false => sql,
    })
}

/// The attempt `$1` to `$5`, if it is one and may write.
macro_rules! own {
    () => {
        "own AS MATERIALIZED (
             SELECT coalesce(try_number, 0) AS number, start_date FROM task_instance
             WHERE dag_id = $1 AND run_id = $2 AND task_id = $3 AND map_index = $4 AND id = $5 FOR KEY SHARE)"
    };
}

/// Whether it may, or who writes is none, and Airflow's schema is one of `$8`.
macro_rules! may {
    () => {
        "($5::uuid IS NULL OR EXISTS (SELECT FROM own))
         AND EXISTS (SELECT FROM alembic_version WHERE version_num = ANY ($8))"
    };
}

/// The run (`$6`, `$7`), while the attempt `$1` to `$5`, if it is one, may write, and Airflow's schema is one of `$8`.
macro_rules! allowed {
    () => {
        concat!(
            own!(),
            ", allowed AS MATERIALIZED (
                 SELECT r.id FROM dag_run r WHERE r.dag_id = $6 AND r.run_id = $7 AND ",
            may!(),
            ")"
        )
    };
}

/// Pushes of different XComs, all or none: upserts in the order of their keys, and what Airflow's scheduler asks of returned
/// values. Of a row are given what is written besides: columns, values, and what replaces them; and how it is asked for.
macro_rules! push {
    ($arrays:literal, $names:literal, $columns:literal, $replaced:literal) => {
        concat!(
            "WITH ",
            own!(),
            ", pushed AS MATERIALIZED (
                 SELECT r.id AS dag_run, p.*
                 FROM unnest($6, $7, $9, $10, $11, $12, $13, $14, $15",
            $arrays,
            ") AS p (dag, run, task, map, key, value, length, time, returned",
            $names,
            ")
                      LEFT JOIN dag_run r ON r.dag_id = p.dag AND r.run_id = p.run),
             allowed AS MATERIALIZED (
                 SELECT * FROM pushed WHERE NOT EXISTS (SELECT FROM pushed WHERE dag_run IS NULL) AND ",
            may!(),
            "), written AS (
                 INSERT INTO xcom (dag_run_id, task_id, map_index, key, dag_id, run_id, value, timestamp",
            $columns,
            ")
                 SELECT dag_run, task, map, key, dag, run, value::jsonb,
                        timestamptz 'epoch' + time * interval '1 microsecond'",
            $names,
            " FROM allowed ORDER BY dag_run, task, map, key
                 ON CONFLICT (dag_run_id, task_id, map_index, key) DO UPDATE
                     SET value = excluded.value, timestamp = excluded.timestamp",
            $replaced,
            " RETURNING 1),
             mapped AS (
                 INSERT INTO task_map (dag_id, run_id, task_id, map_index, length, keys)
                 SELECT dag, run, task, map, length, 'null' FROM allowed WHERE returned AND length IS NOT NULL
                 ORDER BY dag_run, task, map
                 ON CONFLICT (dag_id, task_id, run_id, map_index) DO UPDATE
                     SET length = excluded.length, keys = excluded.keys),
             unmapped AS (
                 DELETE FROM task_map m USING allowed a
                 WHERE m.dag_id = a.dag AND m.run_id = a.run AND m.task_id = a.task AND m.map_index = a.map
                 AND a.returned AND a.length IS NULL)
             SELECT count(*) FROM written"
        )
    };
}

/// What a DAG returns is marked.
const PUSH: Statement<'_> = Statement {
    sql: push!(", $16", ", result", ", dag_result", ", dag_result = excluded.dag_result"),
    types: types![
        TEXT, TEXT, TEXT, INT4, UUID, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, INT4_ARRAY, TEXT_ARRAY,
        TEXT_ARRAY, INT4_ARRAY, INT8_ARRAY, BOOL_ARRAY, BOOL_ARRAY
    ],
};

/// The same before Airflow 3.3, which has no such mark.
const PUSH_UNMARKED: Statement<'_> = Statement {
    sql: push!("", "", "", ""),
    types: types![
        TEXT, TEXT, TEXT, INT4, UUID, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, INT4_ARRAY, TEXT_ARRAY,
        TEXT_ARRAY, INT4_ARRAY, INT8_ARRAY, BOOL_ARRAY
    ],
};

/// A clear or a delete, of one key (`$11`) or of all; with `$12` only of what was there before the attempt started.
const CLEAR: Statement<'_> = Statement {
    sql: concat!(
        "WITH ",
        allowed!(),
        ", gone AS (
             DELETE FROM xcom x USING allowed
             WHERE x.dag_run_id = allowed.id AND x.task_id = $9 AND x.map_index = $10
             AND x.key = coalesce($11, x.key) AND (NOT $12 OR x.timestamp < (SELECT start_date FROM own))
             RETURNING 1)
         SELECT (SELECT count(*) FROM allowed), (SELECT count(*) FROM gone)"
    ),
    types: types![TEXT, TEXT, TEXT, INT4, UUID, TEXT, TEXT, TEXT_ARRAY, TEXT, INT4, TEXT, BOOL],
};

/// Whether a write would be let through, and with which schema of Airflow's.
const ALLOWED: Statement<'_> = Statement {
    sql: concat!("WITH ", allowed!(), " SELECT (SELECT count(*) FROM allowed), (SELECT number FROM own)"),
    types: types![TEXT, TEXT, TEXT, INT4, UUID, TEXT, TEXT, TEXT_ARRAY],
};

/// Why a write was not let through.
const WHY: Statement<'_> = Statement {
    sql: "SELECT (SELECT max(version_num)::text FROM alembic_version),
                 EXISTS (SELECT FROM dag_run WHERE dag_id = $1 AND run_id = $2)",
    types: types![TEXT, TEXT],
};

/// Values and bytes in Airflow's table; many are estimated.
const HEALTH: Statement<'_> = Statement {
    sql: "SELECT CASE WHEN c.reltuples < 100000 THEN (SELECT count(*) FROM xcom) ELSE c.reltuples::int8 END,
              pg_total_relation_size(c.oid)
          FROM pg_class c WHERE c.oid = 'xcom'::regclass",
    types: &[],
};

/// Every entry is looked at; only a person asks for this.
const PLACES: Statement<'_> = Statement {
    sql: "SELECT count(*), coalesce(sum(octet_length(value::text)), 0)::int8 FROM xcom",
    types: &[],
};

/// The metadata database of an Airflow 3, with nothing of Excom's in it.
pub struct Bare(Alone);

/// Airflow's tables alone.
struct Alone {
    tables: Tables,
    /// Whether Airflow's rows can be marked, as far as is known: Airflow may be migrated meanwhile.
    has_results: AtomicBool,
}

impl Bare {
    /// What does not work without the schema `excom`, for people.
    pub const WITHOUT: &'static str = bare::WITHOUT;

    /// Connects to Airflow's database. Nothing is made or changed.
    ///
    /// # Errors
    /// As [`Db::open`](super::Db::open), but Excom need not be attached.
    pub async fn open(url: &str, options: &Options) -> Result<Self> {
        let connections = Connections::new(url, options)?.spelt(spelt);
        schema::airflow(&connections).await?;
        let own = super::super::Tables::new(connections);
        let tables = Tables { own, expansion: Expansion::up_to(MAX_MAP_LENGTH), is_bare: true, fernet: None };
        Ok(Self(Alone { tables, has_results: AtomicBool::new(true) }))
    }

    /// As [`Db::with_fernet`](super::Db::with_fernet).
    #[must_use]
    pub fn with_fernet(mut self, keys: impl Into<Option<Fernet>>) -> Self {
        self.0.tables.fernet = keys.into();
        self
    }

    /// The first release of Airflow that has the schema of a database. Nothing is made or changed.
    ///
    /// # Errors
    /// As [`Bare::open`].
    pub async fn look(url: &str, options: &Options) -> Result<&'static str> {
        schema::airflow(&Connections::new(url, options)?).await
    }

    fn told<T>(&self, result: std::result::Result<T, impl Into<Failure>>) -> Result<T> {
        self.0.told(result)
    }
}

airflows_db!(Bare,);
nothing_beside!(Bare, Alone, Failure);

/// The refusal of a write that nothing is in the way of any more when that is looked for.
fn changed_meanwhile(attempt: &Attempt) -> Error {
    let what = format!("Airflow changed its task instance {} meanwhile; nothing was written", attempt.ti);
    Error::new(ErrorKind::Unavailable, what).hint("try again")
}

impl Alone {
    fn place(&self) -> &str {
        self.tables.own.connections.place()
    }

    fn told<T>(&self, result: std::result::Result<T, impl Into<Failure>>) -> Result<T> {
        result.map_err(|failure| schema::told(failure.into(), self.place()))
    }

    /// Asks for something that is written, with what [`allowed!`] wants first.
    async fn write(
        &self,
        statement: &Statement<'_>,
        caller: &Caller,
        (dag, run): (&str, &str),
        more: &[Parameter<'_>],
    ) -> std::result::Result<Row, Failure> {
        let (fenced, known) = (Fenced::caller(caller), schema::revisions());
        let mut parameters = fenced.parameters().to_vec();
        parameters.extend_from_slice(&[&dag, &run, &known]);
        parameters.extend_from_slice(more);
        let mut rows = self.tables.own.connections.write(statement, &parameters).await?;
        rows.pop().ok_or_else(|| damaged("no answer"))
    }

    /// Why a write was not let through.
    async fn refused<T>(&self, caller: &Caller, key: &XComKey) -> Result<T> {
        let ti = &key.ti;
        let rows = self.told(self.tables.own.connections.read(&WHY, &[&&*ti.dag_id, &&*ti.run_id]).await)?;
        let revision = rows[0].get::<_, Option<&str>>(0).unwrap_or_default();
        Err(if !schema::revisions().contains(&revision) {
            schema::unknown(revision, self.place())
        } else if !rows[0].get::<_, bool>(1) {
            no_task_instance(key, self.place())
        } else {
            let Caller::Attempt(attempt) = caller else {
                return self.told(Err(damaged("no row")));
            };
            let found = self.told(self.attempts(&attempt.ti).await)?;
            match found.last().filter(|_| found.iter().any(|known| known.id == attempt.id)) {
                Some(current) if current.id == attempt.id => changed_meanwhile(attempt),
                Some(current) => superseded(attempt, current),
                None => not_started(attempt),
            }
        })
    }

    /// Removes what there is; none where it was not allowed.
    async fn remove(&self, caller: &Caller, scope: &Scope, only_before: bool) -> Result<Option<u64>> {
        let (ti, key) = parts(scope);
        let more: [Parameter<'_>; 4] = [&&*ti.task_id, &ti.map_index, &key, &only_before];
        let found = self.told(self.write(&CLEAR, caller, (&ti.dag_id, &ti.run_id), &more).await)?;
        let (allowed, gone): (i64, i64) = (found.get(0), found.get(1));
        Ok((allowed > 0).then_some(gone as u64))
    }

    /// The number of an attempt that may write.
    async fn number(&self, attempt: &Attempt) -> Result<u32> {
        let (ti, caller) = (&attempt.ti, Caller::Attempt(attempt.clone()));
        let found = self.told(self.write(&ALLOWED, &caller, (&ti.dag_id, &ti.run_id), &[]).await)?;
        match (found.get::<_, i64>(0), found.get::<_, Option<i32>>(1)) {
            (1.., Some(number)) => Ok(number.max(0) as u32),
            _ => self.refused(&caller, &ti.return_value()).await,
        }
    }

    async fn push(&self, push: &Push) -> Result<Pushed> {
        self.push_all(&push.caller, std::slice::from_ref(push)).await.map(|()| Pushed::Written)
    }

    /// The rows of pushes, where Airflow's rows can be marked or where they cannot: how many were written.
    async fn put(
        &self,
        caller: &Caller,
        pushes: &[(&Push, Value)],
        has_results: bool,
    ) -> std::result::Result<i64, Failure> {
        fn of<'a, T>(pushes: &'a [(&Push, Value)], part: impl Fn(&'a Push, &'a Value) -> T) -> Vec<T> {
            pushes.iter().map(|(push, value)| part(push, value)).collect()
        }
        let dags = of(pushes, |push, _| &*push.key.ti.dag_id);
        let runs = of(pushes, |push, _| &*push.key.ti.run_id);
        let tasks = of(pushes, |push, _| &*push.key.ti.task_id);
        let maps = of(pushes, |push, _| push.key.ti.map_index);
        let keys = of(pushes, |push, _| &*push.key.key);
        let texts = of(pushes, |_, value| value.as_str());
        let lengths = of(pushes, |push, _| {
            push.shape.mapped_length().map(|length| i32::try_from(length).unwrap_or(i32::MAX))
        });
        let times = of(pushes, |push, _| pushed(push.version));
        let returned = of(pushes, |push, _| is_returned(&push.key));
        let results = of(pushes, |push, _| push.result);
        let (fenced, known) = (Fenced::caller(caller), schema::revisions_with_results(has_results));
        let more: [Parameter<'_>; 11] =
            [&dags, &runs, &known, &tasks, &maps, &keys, &texts, &lengths, &times, &returned, &results];
        let (statement, more) = match has_results {
            true => (&PUSH, &more[..]),
            false => (&PUSH_UNMARKED, &more[..10]),
        };
        let mut parameters = fenced.parameters().to_vec();
        parameters.extend_from_slice(more);
        let rows = self.tables.own.connections.write(statement, &parameters).await?;
        Ok(rows.first().ok_or_else(|| damaged("no answer"))?.get(0))
    }

    /// All pushes of a caller, or none.
    async fn push_all(&self, caller: &Caller, pushes: &[Push]) -> Result<()> {
        // The last one of each XCom: a statement writes a row once.
        let mut last = BTreeMap::new();
        for push in pushes {
            last.insert(&push.key, (push, self.inline(push)?));
        }
        let pushes: Vec<(&Push, Value)> = last.into_values().collect();
        let mut has_results = self.has_results.load(Ordering::Relaxed);
        let mut written = self.put(caller, &pushes, has_results).await;
        // Nothing is written in the other schemas of Airflow's. What was asked first is asked once more, because Airflow may
        // have been migrated before the second.
        for _ in 0..2 {
            match &written {
                Ok(0) => {}
                Err(failure) if failure.is_unknown_column() => {}
                _ => break,
            }
            has_results = !has_results;
            match (self.put(caller, &pushes, has_results).await, &written) {
                // The other schema's statement is not for this one, and what was told before holds.
                (Err(failure), Ok(0)) if failure.is_unknown_column() => {}
                (again, _) => written = again,
            }
        }
        if matches!(&written, Ok(1..)) {
            self.has_results.store(has_results, Ordering::Relaxed);
        }
        let first = &pushes[0].0.key;
        match written {
            Ok(1..) => Ok(()),
            Err(failure) if failure.refusal() == Some(Refusal::NoTaskInstance) => {
                let mut missing = first;
                for (push, _) in &pushes {
                    if self.told(self.task_instance(&push.key.ti).await)?.is_none() {
                        missing = &push.key;
                        break;
                    }
                }
                Err(no_task_instance(missing, self.place()))
            }
            Err(failure) if !failure.is_unknown_column() => self.told(Err(failure)),
            _ => {
                for (push, _) in &pushes {
                    // A run that Airflow does not have is that of one of them.
                    match self.refused(caller, &push.key).await {
                        Err(error) if error.kind() != ErrorKind::InvalidRequest => {}
                        refused => return refused,
                    }
                }
                self.refused(caller, first).await
            }
        }
    }

    async fn clear(&self, caller: &Caller, scope: &Scope, _at: Timestamp) -> Result<u64> {
        match self.remove(caller, scope, false).await? {
            Some(gone) => Ok(gone),
            None => match self.refused(caller, &parts(scope).0.return_value()).await {
                // A run that is not there has nothing to clear.
                Err(error) if error.kind() == ErrorKind::InvalidRequest => Ok(0),
                other => other,
            },
        }
    }

    async fn delete(&self, scope: &Scope, at: Timestamp) -> Result<u64> {
        self.clear(&Caller::System("db"), scope, at).await
    }

    /// What is older than Airflow's start of the try goes, so it is the same when it is told twice.
    async fn start_attempt(
        &self,
        attempt: &Attempt,
        _try_number: u32,
        mode: StartMode,
        _at: Timestamp,
    ) -> Result<Started> {
        let number = self.number(attempt).await?;
        if mode == StartMode::Resume {
            return Ok(Started { number, cleared: 0 });
        }
        let caller = Caller::Attempt(attempt.clone());
        match self.remove(&caller, &Scope::TaskInstance(attempt.ti.clone()), true).await? {
            Some(cleared) => Ok(Started { number, cleared }),
            None => self.refused(&caller, &attempt.ti.return_value()).await,
        }
    }

    async fn set_attempt_state(&self, attempt: &Attempt, _state: TaskState, _at: Timestamp) -> Result<()> {
        self.number(attempt).await.map(drop)
    }

    /// The state is Airflow's to write.
    async fn finish_attempt(
        &self,
        attempt: &Attempt,
        _state: TaskState,
        pushes: &[Push],
        _at: Timestamp,
    ) -> Result<()> {
        match pushes {
            [] => self.number(attempt).await.map(drop),
            pushes => self.push_all(&Caller::Attempt(attempt.clone()), pushes).await,
        }
    }

    async fn places(&self) -> Result<Vec<Occupied>> {
        let of = |found: &Row| counts(found, 0);
        let (entries, bytes) = self.told(self.tables.own.one(&PLACES, &[], of).await)?.unwrap_or_default();
        Ok(vec![Occupied { store: None, entries, bytes }])
    }

    async fn check(&self) -> Result<String> {
        let airflow = schema::airflow(&self.tables.own.connections).await?;
        Ok(format!("{}, attached to Airflow {airflow} without a schema of Excom's", self.place()))
    }

    async fn health(&self) -> Result<Health> {
        let identity = self.check().await?;
        let of = |found: &Row| counts(found, 0);
        let (entries, bytes) = self.told(self.tables.own.one(&HEALTH, &[], of).await)?.unwrap_or_default();
        Ok(Health { identity, schema: 0, entries, bytes, problems: Vec::new() })
    }
}
