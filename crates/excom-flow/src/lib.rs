#![doc = include_str!("../README.md")]

#[doc(hidden)]
pub mod __private;
mod arg;
mod cancel;
pub mod contract;
mod dag;
mod entries;
mod error;
mod instance;
mod operator;
mod outcome;
mod params;
mod pointer;
pub mod prelude;
pub mod runner;
mod secret;
mod sequence;
mod template;
mod work;

pub use excom_macros::{Outputs, dag, task};
pub use schemars::{self, JsonSchema};

pub use arg::{Arity, GroupRef, Input, IntoArg, Many, One, TaskRef, Upstream, XComArg};
pub use cancel::Cancellation;
pub use dag::{
    AnyTask, Dag, DagDefinition, Graph, Group, Handle, Outside, Role, Settings, Task, TriggerRule,
};
pub use instance::{MapIndexes, PreviousRun, Pull, Resumed, RunFacts, TaskFacts, TaskIds, TaskInstance};
#[cfg(any(feature = "sql-sqlite", feature = "sql-postgres"))]
pub use operator::Sql;
pub use operator::{
    Bash, Branch, BranchBy, BranchIds, Condition, Empty, Field, Fields, FileThere, Operator, Poke, Program,
    Sensor, SensorTimeout, ShortCircuit, Waiting, follow, go_on_if,
};
#[cfg(feature = "http")]
pub use operator::{Http, HttpResponse};
pub use outcome::{BoxError, Failure, Reschedule, Result, Skip, SkipDownstream};
pub use params::{Given, Param, ParamSpec, Params};
pub use pointer::{Checked, Pointer};
pub use runner::{Rerun, RunOptions, RunReport, Runner};
pub use secret::Secret;
pub use sequence::{Expand, IntoElements, Mapped, XComSequence, expand};
