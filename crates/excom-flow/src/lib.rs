#![doc = include_str!("../README.md")]

#[doc(hidden)]
pub mod __private;
mod arg;
mod cancel;
mod dag;
mod entries;
mod error;
mod instance;
mod operator;
mod outcome;
mod params;
pub mod prelude;
pub mod runner;
mod template;
mod work;

pub use excom_macros::{Outputs, dag, task};

pub use arg::{Input, IntoArg, One, TaskRef, XComArg};
pub use cancel::Cancellation;
pub use dag::{Dag, DagDefinition, Graph, Handle, Settings, Task};
pub use instance::{MapIndexes, PreviousRun, Pull, RunFacts, TaskFacts, TaskIds, TaskInstance};
pub use operator::{Bash, Field, Operator};
pub use outcome::{BoxError, Failure, Reschedule, Result, Skip, SkipDownstream};
pub use params::{Given, Param, ParamSpec, Params};
pub use runner::{RunOptions, RunReport, Runner};
