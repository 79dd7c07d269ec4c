#![doc = include_str!("../README.md")]

pub mod config;
pub mod contract;
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
pub use excom_flow::{
    Bash, BoxError, Cancellation, Dag, DagDefinition, Failure, Field, Given, Graph, Handle, Input, IntoArg,
    JsonSchema, MapIndexes, One, Operator, Outputs, Param, ParamSpec, Params, Pull, RunFacts, RunOptions,
    RunReport, Runner, Skip, Task, TaskIds, TaskInstance, TaskRef, XComArg, dag, prelude, runner, schemars,
    task,
};
