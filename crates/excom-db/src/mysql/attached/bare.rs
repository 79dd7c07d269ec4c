//! An attached database with no database of ours beside it, for who may make nothing: what Airflow's own tables hold works,
//! and what needs a place of its own is none, or refused with what it would need (`crate::bare`).
//!
//! Entries are Airflow's rows as something else wrote them would be: their version is their time. The fence is that of
//! every attached database.

use excom_core::Value;
use excom_core::attempt::{Attempt, Caller, TaskState};
use excom_core::db::{Health, Occupied, Push, Pushed, Scope, StartMode, Started};
use jiff::Timestamp;

use super::super::connection::{Connections, Options, named};
use super::super::failure::{Failure, damaged};
use super::super::read::{of_ti, of_xcom, with};
use super::super::row as own;
use super::columns::{NOTHING_KNOWN, bytes, micros, same, ti};
use super::write::{DELETE_ROWS, PUT_LENGTH, REMOVE_LENGTH, folded, make_row, step, time};
use super::{Airflow, Tables, schema};
use crate::airflow::{no_task_instance, pushed};
use crate::bare::{self, nothing_beside};
use crate::expansion::{Expansion, MAX_MAP_LENGTH, is_returned};
use crate::fernet::Fernet;
use crate::server::airflows_db;

type Result<T> = std::result::Result<T, Failure>;

/// Makes a row, or writes it over.
const PUT_ROW: &str = concat!(
    make_row!(),
    " ON DUPLICATE KEY UPDATE value = VALUES(value), timestamp = VALUES(timestamp), dag_result = VALUES(dag_result)"
);

/// The key of the row that was written: an index that folds names finds others too.
const WRITTEN: &str = concat!(
    "SELECT ",
    same!("x.key", ":text"),
    ", ",
    bytes!("x.key"),
    " FROM airflow.xcom x
     WHERE x.dag_run_id = :airflow_run AND x.task_id = :task_text AND x.map_index = :map_index AND x.key = :text"
);

/// When the try of a task instance started.
const STARTED: &str = concat!(
    "SELECT ",
    micros!("i.start_date"),
    " FROM airflow.task_instance i WHERE ",
    ti!("i.dag_id", "i.run_id", "i.task_id", "i.map_index")
);

/// What of a task instance is older than that.
const CLEAR_OLDER: &str = concat!(
    "DELETE FROM airflow.xcom WHERE ",
    ti!("dag_id", "run_id", "task_id", "map_index"),
    "AND ",
    micros!("timestamp"),
    " < :started"
);

/// Values and bytes in Airflow's table, as the server estimates them.
const SIZES: &str = "SELECT CAST(COALESCE(SUM(data_length + index_length), 0) AS SIGNED)
    FROM information_schema.tables WHERE table_schema = :airflow AND table_name = 'xcom'";

/// Every entry is looked at; only a person asks for this.
const PLACES: &str = "SELECT COUNT(*), CAST(COALESCE(SUM(LENGTH(x.value)), 0) AS SIGNED) FROM airflow.xcom x";

/// Every entry, by the smallest index.
const COUNT: &str = "SELECT COUNT(*) FROM airflow.xcom";

/// The metadata database of an Airflow 3 on MySQL or MariaDB, with nothing of Excom's beside it.
pub struct Bare(Alone);

/// Airflow's tables alone.
struct Alone {
    tables: Tables,
}

impl Bare {
    /// What does not work without a database of Excom's, for people.
    pub const WITHOUT: &'static str = bare::WITHOUT;

    /// Connects to Airflow's database. Nothing is made or changed.
    ///
    /// # Errors
    /// As [`Db::open`](super::Db::open), but Excom need not be attached.
    pub async fn open(url: &str, options: &Options) -> excom_core::Result<Self> {
        let airflows = Connections::airflows(url, options)?;
        let (found, _) = schema::airflows(&airflows).await?;
        let own = super::super::Tables { connections: Connections::without(url, options, NOTHING_KNOWN)? };
        let expansion = Expansion::up_to(MAX_MAP_LENGTH);
        let keeps_text = found.keeps_text;
        Ok(Self(Alone {
            tables: Tables { own, airflows, keeps_text, expansion, is_bare: true, fernet: None },
        }))
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
    pub async fn look(url: &str, options: &Options) -> excom_core::Result<&'static str> {
        Ok(schema::airflows(&Connections::airflows(url, options)?).await?.0.airflow)
    }

    fn told<T>(&self, result: std::result::Result<T, impl Into<Failure>>) -> excom_core::Result<T> {
        result.map_err(|failure| schema::told(failure.into(), self.0.place()))
    }
}

airflows_db!(Bare,);
nothing_beside!(Bare, Alone, Failure);

impl Airflow<'_> {
    async fn put_alone(&mut self, push: &Push, value: &Value) -> Result<()> {
        let ti = &push.key.ti;
        let Some(run) = self.run(ti).await? else {
            return Err(no_task_instance(&push.key, self.0.place()).into());
        };
        let row = named! {
            "airflow_run" => run,
            "task_text" => &*ti.task_id,
            "map_index" => ti.map_index,
            "text" => &*push.key.key,
        };
        let put = named! {
            "airflow_run" => run,
            "task_text" => &*ti.task_id,
            "map_index" => ti.map_index,
            "text" => &*push.key.key,
            "dag_text" => &*ti.dag_id,
            "run_text" => &*ti.run_id,
            "value" => value.as_str(),
            "pushed" => pushed(push.version),
            "is_result" => push.result,
        };
        self.0.change(PUT_ROW, put).await?;
        let Some(written) = self.0.one(WRITTEN, row).await? else { return Err(damaged("no row")) };
        if !own::is(&written, 0)? {
            return Err(folded(&push.key, own::str(&written, 1)?, self.0.place()).into());
        }
        match push.shape.mapped_length() {
            _ if !is_returned(&push.key) => {}
            Some(length) => drop(self.0.change(PUT_LENGTH, with(of_ti(ti), "length", length)).await?),
            None => drop(self.0.change(REMOVE_LENGTH, of_ti(ti)).await?),
        }
        Ok(())
    }

    async fn push_alone(&mut self, push: &Push, value: &Value) -> Result<Pushed> {
        self.fence(&push.caller).await?;
        self.put_alone(push, value).await?;
        Ok(Pushed::Written)
    }

    async fn finish_alone(&mut self, attempt: &Attempt, pushes: &[(&Push, Value)]) -> Result<()> {
        self.fence(&Caller::Attempt(attempt.clone())).await?;
        for (push, value) in pushes {
            self.put_alone(push, value).await?;
        }
        Ok(())
    }

    /// What is older than Airflow's start of the try goes, so it is the same when it is told twice.
    async fn start_alone(&mut self, attempt: &Attempt, mode: StartMode) -> Result<Started> {
        let number = self.fence(&Caller::Attempt(attempt.clone())).await?;
        let started = match mode {
            StartMode::Resume => None,
            StartMode::Fresh => self.0.one(STARTED, of_ti(&attempt.ti)).await?,
        };
        let cleared = match started.map(|found| own::optional(&found, 0)).transpose()?.flatten() {
            Some(started) => self.0.change(CLEAR_OLDER, with(of_ti(&attempt.ti), "started", started)).await?,
            None => 0,
        };
        Ok(Started { number, cleared })
    }

    async fn clear_alone(&mut self, caller: &Caller, scope: &Scope) -> Result<u64> {
        self.fence(caller).await?;
        let named = match scope {
            Scope::Key(key) => of_xcom(key),
            Scope::TaskInstance(ti) => with(of_ti(ti), "key", None::<String>),
        };
        self.0.change(DELETE_ROWS, named).await
    }
}

impl Alone {
    fn place(&self) -> &str {
        self.tables.place()
    }

    async fn push(&self, push: &Push) -> Result<Pushed> {
        let (tables, value) = (&self.tables, &self.inline(push)?);
        step!(tables, write, push_alone(push, value)).await
    }

    /// The state is Airflow's to write.
    async fn finish_attempt(
        &self,
        attempt: &Attempt,
        _state: TaskState,
        pushes: &[Push],
        _at: Timestamp,
    ) -> Result<()> {
        let values = pushes.iter().map(|push| Ok((push, self.inline(push)?)));
        let mut values = values.collect::<excom_core::Result<Vec<_>>>()?;
        // In one order for all, so that two that end do not wait for each other.
        values.sort_by(|(one, _), (other, _)| one.key.cmp(&other.key));
        let (tables, values) = (&self.tables, &values[..]);
        step!(tables, write, finish_alone(attempt, values)).await
    }

    async fn set_attempt_state(&self, attempt: &Attempt, state: TaskState, at: Timestamp) -> Result<()> {
        self.finish_attempt(attempt, state, &[], at).await
    }

    async fn start_attempt(
        &self,
        attempt: &Attempt,
        _try_number: u32,
        mode: StartMode,
        _at: Timestamp,
    ) -> Result<Started> {
        let tables = &self.tables;
        step!(tables, write, start_alone(attempt, mode)).await
    }

    async fn clear(&self, caller: &Caller, scope: &Scope, _at: Timestamp) -> Result<u64> {
        let tables = &self.tables;
        step!(tables, write, clear_alone(caller, scope)).await
    }

    async fn delete(&self, scope: &Scope, at: Timestamp) -> Result<u64> {
        self.clear(&Caller::System("db"), scope, at).await
    }

    async fn places(&self) -> Result<Vec<Occupied>> {
        let of = |found: &mysql_async::Row| {
            Ok(Occupied { store: None, entries: own::count(found, 0)?, bytes: own::count(found, 1)? })
        };
        self.tables.own.rows(PLACES, named! {}, of).await
    }

    async fn check(&self) -> excom_core::Result<String> {
        let (found, _) = schema::airflows(&self.tables.airflows).await?;
        let airflow = found.airflow;
        Ok(format!("{}, attached to Airflow {airflow} without a schema of Excom's", self.place()))
    }

    async fn health(&self) -> excom_core::Result<Health> {
        let (own, place) = (&self.tables.own, self.place());
        let told = |failure| schema::told(failure, place);
        let identity = self.check().await?;
        let airflow = named! { "airflow" => own.connections.database() };
        let bytes = own.one(SIZES, airflow, |found| own::count(found, 0)).await.map_err(told)?.unwrap_or(0);
        let entries = own.one(COUNT, named! {}, |found| own::count(found, 0)).await.map_err(told)?;
        Ok(Health { identity, schema: 0, entries: entries.unwrap_or(0), bytes, problems: Vec::new() })
    }
}
