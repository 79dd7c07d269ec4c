//! Airflow's Task Execution API as it is on the wire, version `2026-06-30` (Airflow 3.3): what a worker's supervisor
//! sends to its API server, and what it insists on in the answers.
//!
//! Requests leave out what Excom has no use for: what a supervisor of a later version adds is not an error. Answers are
//! exact, because the supervisor refuses to go on when one has a field that it does not know, or lacks one.

mod hitl;
mod version;

use std::fmt;
use std::sync::Arc;

use excom_core::TaskState;
use excom_core::variable::Unshown;
use indexmap::IndexMap;
use jiff::Timestamp;
use serde::de::IntoDeserializer as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

pub use self::hitl::{HitlAnswer, HitlChoice, HitlRequest, HitlTold, HitlUser};
pub use self::version::{Dated, Fields, InVersion, VERSIONS, Version};

/// Whom a task's token is for.
pub const AUDIENCE: &str = "urn:airflow.apache.org:task";

/// What a supervisor tells when it starts a task instance.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Run {
    /// The host that executes it.
    pub hostname: String,
    /// The operating system's user.
    pub unixname: String,
    /// The process.
    pub pid: i64,
    /// When it started.
    pub start_date: Timestamp,
}

impl Run {
    /// Who executes it.
    #[must_use]
    pub fn runner(self) -> Runner {
        Runner { hostname: self.hostname, unixname: self.unixname, pid: self.pid }
    }
}

/// Who executes a task instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runner {
    /// The host.
    pub hostname: String,
    /// The operating system's user.
    pub unixname: String,
    /// The process that executes the task.
    pub pid: i64,
}

/// What a supervisor needs to know of a task instance that it starts.
#[derive(Debug, Clone, Serialize)]
pub struct RunContext {
    /// The run that it is part of.
    pub dag_run: DagRun,
    /// How often it was put off until later.
    pub task_reschedule_count: u32,
    /// The last try number that is not the end.
    pub max_tries: u32,
    /// Variables that are known already.
    pub variables: [(); 0],
    /// Connections that are known already.
    pub connections: [(); 0],
    /// XComs that the worker is to remove first.
    pub xcom_keys_to_clear: [(); 0],
    /// Whether another try follows a failure.
    pub should_retry: bool,
    /// The method to go on with after a deferral.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_method: Option<String>,
    /// Its arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_kwargs: Option<Box<RawValue>>,
    /// When the attempt began that goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_date: Option<Timestamp>,
}

/// A run as workers see it.
#[derive(Debug, Clone, Serialize)]
pub struct DagRun {
    /// The DAG's id.
    pub dag_id: Arc<str>,
    /// The run's id.
    pub run_id: Arc<str>,
    /// The date that it is for.
    pub logical_date: Option<Timestamp>,
    /// Where the data begin that it is for.
    pub data_interval_start: Option<Timestamp>,
    /// Where they end.
    pub data_interval_end: Option<Timestamp>,
    /// When it was due.
    pub run_after: Timestamp,
    /// When it started.
    pub start_date: Option<Timestamp>,
    /// When it ended.
    pub end_date: Option<Timestamp>,
    /// How often it was cleared.
    pub clear_number: u32,
    /// What made it.
    pub run_type: &'static str,
    /// Its state.
    pub state: &'static str,
    /// Its parameters.
    pub conf: Option<Box<RawValue>>,
    /// Who made it.
    pub triggering_user_name: Option<String>,
    /// The events that it was made for.
    pub consumed_asset_events: [(); 0],
    /// The partition that it is for.
    pub partition_key: Option<String>,
    /// The date of that partition.
    pub partition_date: Option<Timestamp>,
    /// A remark of a person.
    pub note: Option<String>,
    /// The team that owns the DAG.
    pub team_name: Option<String>,
}

/// The state that a supervisor tells. One in which a person is waited for is `deferred` here, without a trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToldState {
    /// The state.
    pub state: TaskState,
    /// Whether a person is waited for.
    pub awaits_input: bool,
}

impl<'de> Deserialize<'de> for ToldState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        if name == AWAITING_INPUT {
            return Ok(Self { state: TaskState::Deferred, awaits_input: true });
        }
        TaskState::deserialize(name.into_deserializer()).map(|state| Self { state, awaits_input: false })
    }
}

/// Airflow's name of the state in which a person is waited for.
pub const AWAITING_INPUT: &str = "awaiting_input";

/// How a task instance stands, or how it ended.
#[derive(Debug, Clone, Deserialize)]
pub struct StateUpdate {
    /// Its state.
    pub state: ToldState,
    /// When one that was put off is to go on.
    #[serde(default)]
    pub reschedule_date: Option<Timestamp>,
    /// How people see its map index.
    #[serde(default)]
    pub rendered_map_index: Option<String>,
    /// The outlets of one that ended well: assets, references to them and aliases.
    #[serde(default)]
    pub task_outlets: Vec<AssetProfile>,
    /// What it says of events of its outlets.
    #[serde(default)]
    pub outlet_events: Vec<OutletEvent>,
    // What one that is deferred waits for, and goes on with: a `Deferral`.
    /// The trigger's class.
    #[serde(default)]
    pub classpath: Option<String>,
    /// The trigger's arguments.
    #[serde(default)]
    pub trigger_kwargs: Option<Box<RawValue>>,
    /// How long the trigger may take.
    #[serde(default)]
    pub trigger_timeout: Option<Box<RawValue>>,
    /// How long a person may take.
    #[serde(default)]
    pub timeout: Option<Box<RawValue>>,
    /// The method to go on with.
    #[serde(default)]
    pub next_method: Option<String>,
    /// Its arguments, but for the trigger's event.
    #[serde(default)]
    pub next_kwargs: Option<Box<RawValue>>,
}

/// What an outlet is.
#[derive(Debug, Clone, Deserialize)]
pub struct AssetProfile {
    /// Its name, if it has one.
    #[serde(default)]
    pub name: Option<String>,
    /// Its URI, if it has one.
    #[serde(default)]
    pub uri: Option<String>,
    /// `Asset`, `AssetNameRef`, `AssetUriRef` or `AssetAlias`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// What a task says of an event.
#[derive(Debug, Clone, Deserialize)]
pub struct OutletEvent {
    /// Of which asset.
    pub dest_asset_key: AssetKey,
    /// Under which alias, if under one.
    #[serde(default)]
    pub source_alias_name: Option<String>,
    /// What is said of the asset, for one that is made under an alias.
    #[serde(default)]
    pub dest_asset_extra: Option<Box<RawValue>>,
    /// What is said with the event.
    #[serde(default)]
    pub extra: Option<Box<RawValue>>,
    /// Which part of the asset it is of, if one.
    #[serde(default)]
    pub partition_key: Option<String>,
}

/// What identifies an asset.
#[derive(Debug, Clone, Deserialize)]
pub struct AssetKey {
    /// Its name.
    pub name: String,
    /// Its URI.
    pub uri: String,
}

/// What a deferred task instance waits for, and goes on with. Arguments are as the task serialized them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Deferral {
    /// The trigger's class; none when it waits for a person.
    pub classpath: Option<String>,
    /// The trigger's arguments.
    pub trigger_kwargs: Option<Box<RawValue>>,
    /// How long the trigger, or the person, may take.
    pub trigger_timeout: Option<Box<RawValue>>,
    /// The method to go on with.
    pub next_method: String,
    /// Its arguments, with the trigger's event once it has come.
    pub next_kwargs: Option<Box<RawValue>>,
}

impl StateUpdate {
    /// The deferral that it tells, when all of it is there.
    pub fn deferral(&self) -> Option<Deferral> {
        let (classpath, timeout) = match self.state.awaits_input {
            true => (None, &self.timeout),
            false => (Some(self.classpath.clone()?), &self.trigger_timeout),
        };
        Some(Deferral {
            classpath,
            trigger_kwargs: self.trigger_kwargs.clone(),
            trigger_timeout: timeout.clone(),
            next_method: self.next_method.clone()?,
            next_kwargs: self.next_kwargs.clone(),
        })
    }
}

/// A value that a task instance keeps for its next tries.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keep {
    /// The value.
    pub value: Box<RawValue>,
    /// When it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// A sign of life.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Heartbeat {
    /// The host.
    pub hostname: String,
    /// The process that executes the task.
    pub pid: i64,
}

/// A run that a task triggers. There is nothing here to reset: a client that finds the run there clears it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TriggeredRun {
    /// The date that it is for.
    #[serde(default)]
    pub logical_date: Option<Timestamp>,
    /// When it is due.
    #[serde(default)]
    pub run_after: Option<Timestamp>,
    /// Its parameters.
    #[serde(default)]
    pub conf: IndexMap<String, Box<RawValue>>,
    /// Whether a run that is there is cleared in its place, which the client does.
    #[serde(default)]
    pub reset_dag_run: bool,
    /// The partition that it is for.
    #[serde(default)]
    pub partition_key: Option<String>,
    /// A remark of a person.
    #[serde(default)]
    pub note: Option<String>,
}

/// Tasks that a branch left out.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SkipDownstream {
    /// Which.
    pub tasks: Vec<Left>,
}

/// A task that is left out: all of it, or one map index.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Left {
    /// By its id.
    Task(String),
    /// By its id and map index.
    Instance(String, i32),
}

/// A variable that is set. Its `Debug` does not show to what.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetVariable {
    /// Its text.
    #[serde(alias = "value", deserialize_with = "Option::deserialize")]
    pub val: Option<String>,
    /// What it is for.
    #[serde(default)]
    pub description: Option<String>,
}

impl fmt::Debug for SetVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetVariable")
            .field("val", &self.val.as_ref().map(|_| Unshown))
            .field("description", &self.description)
            .finish()
    }
}

/// A connection as a worker is told it. It holds credentials, so it has no `Debug`.
#[allow(missing_debug_implementations, reason = "nobody is to print it")]
#[derive(Clone, Copy, Serialize)]
pub struct ConnectionAnswer<'a> {
    /// Its id, as it was asked for.
    pub conn_id: &'a str,
    /// What it leads to.
    pub conn_type: &'a str,
    /// The host, with a scheme where it has one of its own.
    pub host: Option<&'a str>,
    /// The schema, or whatever is behind the host.
    pub schema: Option<&'a str>,
    /// The user.
    pub login: Option<&'a str>,
    /// The password.
    pub password: Option<&'a str>,
    /// The port.
    pub port: Option<u16>,
    /// A JSON object with whatever else there is.
    pub extra: Option<&'a str>,
}

/// What made a run, as far as its id tells.
pub fn run_type(run_id: &str) -> &'static str {
    const TYPES: [&str; 5] =
        ["scheduled", "backfill", "operator_triggered", "asset_triggered", "asset_materialization"];
    let kind = run_id.split_once("__").map_or("", |(kind, _)| kind);
    TYPES.into_iter().find(|known| *known == kind).unwrap_or("manual")
}
