//! The output of operators that return any JSON value, with the type that the DAG gives it.

use excom_core::{RETURN_VALUE, Value};

use super::Operator;
use crate::arg::XComArg;
use crate::dag::Handle;

impl<O: Operator<Output = Value>> Handle<'_, O> {
    /// What the operator returns, as a Rust type: the operator knows only that it is JSON, the DAG knows
    /// what it means. A value of another type fails the task that takes it.
    pub fn output_as<T>(self) -> XComArg<T> {
        self.output().output(RETURN_VALUE)
    }
}
