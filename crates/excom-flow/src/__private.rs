//! What the code that the macros write needs. Not for people; it may change at any time.

pub use std::time::Duration;

pub use crate::arg::{Arity, IntoArg, Many, One, XComArg};
pub use crate::contract::{
    KnownType, NamedOutputs, NoNamedOutputs, OutputTypes, TypeOf, TypeSchema, Types, UnknownType,
};
pub use crate::dag::{Dag, DagDefinition, Role, Settings, TriggerRule, param};
pub use crate::instance::TaskInstance;
pub use crate::operator::{branched, short_circuited};
pub use crate::outcome::returned;
pub use crate::params::{Param, ParamSpec};
pub use crate::sequence::IntoElements;
pub use crate::work::{
    Arguments, Function, Running, Take, TakeMapped, TakeNothing, TakeOptional, TakeRequired, TaskResult,
    plain,
};

/// Adds a task to a DAG.
pub fn add<T, M: Arity>(dag: &Dag, id: &str, settings: Settings, function: Function) -> XComArg<T, M> {
    dag.add_function(id, settings, function)
}
