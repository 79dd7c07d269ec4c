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
pub mod prelude;
pub mod runner;
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
pub use instance::{MapIndexes, Pull, RunFacts, TaskIds, TaskInstance};
pub use operator::{Bash, Field, Operator};
pub use outcome::{BoxError, Failure, Reschedule, Result, Skip, SkipDownstream};
pub use params::{Given, Param, ParamSpec, Params};
pub use runner::{Rerun, RunOptions, RunReport, Runner};
pub use sequence::{Expand, IntoElements, Mapped, XComSequence, expand};
