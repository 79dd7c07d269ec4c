//! The messages of Airflow's coordinator protocol, schema version 2026-06-16: those that a task needs.
//!
//! Names and fields are the protocol's own. Keys that are not known are ignored; the messages that Airflow
//! reads strictly are written without any other key.

use std::fmt;

use excom_core::variable::Unshown;
use excom_core::{TaskInstanceKey, XComKey};
use jiff::Timestamp;
use rmpv::Value as MessagePack;
use serde::{Deserialize, Serialize, Serializer};

use super::extension::{self, Announcement};
use super::frame;
use super::json::Json;

/// What a task asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub(crate) enum Request {
    /// One value. Without a map index that of a task which is not mapped.
    GetXCom {
        #[serde(flatten)]
        of: Producer,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        map_index: Option<i32>,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        include_prior_dates: bool,
    },
    GetXComCount {
        #[serde(flatten)]
        of: Producer,
    },
    GetXComSequenceItem {
        #[serde(flatten)]
        of: Producer,
        offset: i64,
    },
    GetXComSequenceSlice {
        #[serde(flatten)]
        of: Producer,
        start: Option<i64>,
        stop: Option<i64>,
        step: Option<i64>,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        include_prior_dates: bool,
    },
    SetXCom {
        #[serde(flatten)]
        of: Producer,
        value: Json,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        map_index: Option<i32>,
        /// How many task instances map over the value; only tasks that are not mapped say so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mapped_length: Option<u64>,
    },
    DeleteXCom {
        #[serde(flatten)]
        of: Producer,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        map_index: Option<i32>,
    },
    GetVariable {
        key: String,
    },
    PutVariable {
        key: String,
        value: Option<VariableText>,
        description: Option<String>,
    },
    DeleteVariable {
        key: String,
    },
    SetRenderedFields {
        rendered_fields: MessagePack,
    },
    SkipDownstreamTasks {
        tasks: Vec<Skipped>,
    },
    SucceedTask {
        end_date: Timestamp,
        // The server refuses null here, so they are always there.
        #[serde(default)]
        task_outlets: Vec<MessagePack>,
        #[serde(default)]
        outlet_events: Vec<MessagePack>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rendered_map_index: Option<String>,
    },
    TaskState {
        state: FinalState,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        end_date: Option<Timestamp>,
    },
    RetryTask {
        end_date: Timestamp,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_delay_seconds: Option<f64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_reason: Option<String>,
    },
    RescheduleTask {
        reschedule_date: Timestamp,
        end_date: Timestamp,
    },
    ExcomPull(extension::Pull),
    ExcomPullTasks(extension::PullTasks),
    ExcomPush(extension::Push),
    ExcomSlice(extension::TakeSlice),
    ExcomIndexes(extension::TakeIndexes),
    ExcomNoteRendered(extension::NoteRendered),
    ExcomEnd(extension::End),
}

/// Which task's XComs, under which key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Producer {
    pub(crate) dag_id: String,
    pub(crate) run_id: String,
    pub(crate) task_id: String,
    pub(crate) key: String,
}

/// A task to skip: all its task instances, or one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Skipped {
    Task(String),
    TaskInstance(String, i32),
}

/// How a task instance ends that will not be tried again, where it does not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FinalState {
    Failed,
    Skipped,
    Removed,
}

/// What a supervisor says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub(crate) enum Reply {
    StartupDetails(Box<StartupDetails>),
    XComResult { key: String, value: Json },
    XComCountResponse { len: u64 },
    XComSequenceIndexResult { root: Json },
    XComSequenceSliceResult { root: Vec<Json> },
    VariableResult { key: String, value: Option<VariableText> },
    OKResponse { ok: bool },
    ErrorResponse(ErrorResponse),
    ExcomAnswers(extension::Answers),
    ExcomTaskAnswers(extension::TaskAnswers),
    ExcomItems(extension::Items),
    ExcomIndexesResult(extension::Indexes),
    ExcomReceipt(extension::Pushed),
}

/// A variable's text. Its `Debug`, which errors quote, does not show it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct VariableText(pub(crate) String);

impl fmt::Debug for VariableText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Unshown.fmt(f)
    }
}

/// Why a request was not done. Airflow sends it in the place of the message and in the place of the error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ErrorResponse {
    pub(crate) error: String,
    #[serde(default)]
    pub(crate) detail: Option<MessagePack>,
}

/// What a task is told at its start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StartupDetails {
    pub(crate) ti: TaskInstance,
    #[serde(default)]
    pub(crate) dag_rel_path: String,
    #[serde(default)]
    pub(crate) bundle_info: BundleInfo,
    #[serde(serialize_with = "extended")]
    pub(crate) start_date: Timestamp,
    pub(crate) ti_context: Context,
    #[serde(default)]
    pub(crate) sentry_integration: String,
    /// What Excom's own supervisor adds; Airflow's never does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) excom: Option<Announcement>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TaskInstance {
    /// New for every try, kept over a deferral.
    pub(crate) id: String,
    pub(crate) dag_id: String,
    pub(crate) run_id: String,
    pub(crate) task_id: String,
    pub(crate) try_number: u32,
    #[serde(default)]
    pub(crate) map_index: Option<i32>,
    #[serde(default)]
    pub(crate) dag_version_id: String,
    #[serde(default)]
    pub(crate) hostname: Option<String>,
    #[serde(default)]
    pub(crate) queue: Option<String>,
    #[serde(default)]
    pub(crate) context_carrier: Option<MessagePack>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct BundleInfo {
    pub(crate) name: String,
    pub(crate) version: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Context {
    pub(crate) dag_run: DagRun,
    #[serde(default)]
    pub(crate) task_reschedule_count: u32,
    #[serde(default)]
    pub(crate) max_tries: u32,
    /// Whether a failure is to be told as [`Request::RetryTask`].
    #[serde(default)]
    pub(crate) should_retry: bool,
    #[serde(default)]
    pub(crate) variables: Vec<MessagePack>,
    #[serde(default)]
    pub(crate) connections: Vec<MessagePack>,
    /// What earlier tries pushed, which the task itself removes before it runs.
    #[serde(default)]
    pub(crate) xcom_keys_to_clear: Vec<String>,
    #[serde(default)]
    pub(crate) next_method: Option<String>,
    #[serde(default)]
    pub(crate) next_kwargs: Option<MessagePack>,
    #[serde(default, serialize_with = "extended_option")]
    pub(crate) start_date: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct DagRun {
    pub(crate) dag_id: String,
    pub(crate) run_id: String,
    #[serde(default, serialize_with = "extended_option")]
    pub(crate) logical_date: Option<Timestamp>,
    #[serde(default, serialize_with = "extended_option")]
    pub(crate) data_interval_start: Option<Timestamp>,
    #[serde(default, serialize_with = "extended_option")]
    pub(crate) data_interval_end: Option<Timestamp>,
    #[serde(serialize_with = "extended")]
    pub(crate) run_after: Timestamp,
    #[serde(default, serialize_with = "extended_option")]
    pub(crate) start_date: Option<Timestamp>,
    #[serde(default, serialize_with = "extended_option")]
    pub(crate) end_date: Option<Timestamp>,
    #[serde(default)]
    pub(crate) clear_number: u32,
    pub(crate) run_type: String,
    pub(crate) state: String,
    /// What was given when the run was triggered.
    #[serde(default)]
    pub(crate) conf: Option<Json>,
    #[serde(default)]
    pub(crate) triggering_user_name: Option<String>,
    #[serde(default)]
    pub(crate) consumed_asset_events: Vec<MessagePack>,
    #[serde(default)]
    pub(crate) partition_key: Option<String>,
    #[serde(default, serialize_with = "extended_option")]
    pub(crate) partition_date: Option<Timestamp>,
    #[serde(default)]
    pub(crate) note: Option<String>,
    #[serde(default)]
    pub(crate) team_name: Option<String>,
}

/// As MessagePack's extension for timestamps, which is how Airflow's supervisor sends datetimes.
fn extended<S: Serializer>(instant: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    frame::timestamp(*instant).serialize(serializer)
}

#[expect(clippy::ref_option, reason = "the signature is serde's")]
fn extended_option<S: Serializer>(instant: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    instant.map(frame::timestamp).serialize(serializer)
}

impl Producer {
    /// Whose XCom it is, without the map index.
    pub(crate) fn of(key: &XComKey) -> Self {
        Self {
            dag_id: (*key.ti.dag_id).to_owned(),
            run_id: (*key.ti.run_id).to_owned(),
            task_id: (*key.ti.task_id).to_owned(),
            key: (*key.key).to_owned(),
        }
    }

    /// The XCom at a map index; without one that of a task which is not mapped.
    ///
    /// # Errors
    /// When a name breaks a rule.
    pub(crate) fn at(self, map_index: Option<i32>) -> excom_core::Result<XComKey> {
        let map_index = map_index.unwrap_or(excom_core::UNMAPPED);
        XComKey::new(self.dag_id, self.run_id, self.task_id, map_index, self.key)
    }
}

impl StartupDetails {
    /// Which task instance it is.
    ///
    /// # Errors
    /// When a name breaks a rule.
    pub(crate) fn key(&self) -> excom_core::Result<TaskInstanceKey> {
        let ti = &self.ti;
        let map_index = ti.map_index.unwrap_or(excom_core::UNMAPPED);
        TaskInstanceKey::new(&*ti.dag_id, &*ti.run_id, &*ti.task_id, map_index)
    }
}

#[cfg(test)]
mod tests;
