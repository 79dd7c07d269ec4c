#![doc = include_str!("../README.md")]

pub mod config;
pub mod contract;
pub mod embedded;
pub mod program;

pub use excom_airflow::{process, python};
#[cfg(feature = "client")]
pub use excom_client as client;
pub use excom_core as core;
pub use excom_core::{
    Answer, Attempt, AttemptId, Caller, Clock, Engine, Entry, EntryInfo, Error, ErrorKind, MetadataDb,
    ObjectName, Payload, PullOptions, RETURN_VALUE, Result, SequenceKey, Shape, Slice, Stored, TaskChannel,
    TaskInstanceKey, TaskState, UNMAPPED, Value, ValueStore, Version, XComBackend, XComKey,
};
#[doc(hidden)]
pub use excom_flow::__private;
#[cfg(any(feature = "sql-sqlite", feature = "sql-postgres"))]
pub use excom_flow::Sql;
pub use excom_flow::{
    AnyTask, Arity, Bash, BoxError, Branch, BranchBy, BranchIds, Cancellation, Checked, Condition, Dag,
    DagDefinition, Empty, Expand, Failure, Field, Fields, FileThere, Given, Graph, Group, GroupRef, Handle,
    Input, IntoArg, IntoElements, JsonSchema, Many, MapIndexes, Mapped, One, Operator, Outputs, Outside,
    Param, ParamSpec, Params, Pointer, Poke, PreviousRun, Program, Pull, Rerun, Reschedule, Resumed, Role,
    RunFacts, RunOptions, RunReport, Runner, Secret, Sensor, SensorTimeout, ShortCircuit, Skip,
    SkipDownstream, Task, TaskIds, TaskInstance, TaskRef, TriggerRule, Upstream, Waiting, XComArg,
    XComSequence, dag, expand, follow, go_on_if, prelude, runner, schemars, task,
};
#[cfg(feature = "http")]
pub use excom_flow::{Http, HttpResponse};
pub use excom_store as store;
