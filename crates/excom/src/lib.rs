#![doc = include_str!("../README.md")]

pub mod config;
pub mod embedded;
pub mod program;

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
    Bash, BoxError, Branch, BranchBy, BranchIds, Cancellation, Condition, Dag, DagDefinition, Empty, Failure,
    Field, Fields, FileThere, Given, Graph, Handle, Input, IntoArg, MapIndexes, One, Operator, Outputs,
    Param, ParamSpec, Params, Poke, Program, Pull, Reschedule, Resumed, RunFacts, RunOptions, RunReport,
    Runner, Sensor, SensorTimeout, ShortCircuit, Skip, SkipDownstream, Task, TaskIds, TaskInstance, TaskRef,
    Waiting, XComArg, dag, follow, go_on_if, prelude, runner, task,
};
#[cfg(feature = "http")]
pub use excom_flow::{Http, HttpResponse};
