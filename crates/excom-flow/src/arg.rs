//! XComArgs: what one task hands to another while the DAG is built, and what else may be an argument.

use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;

use excom_core::{RETURN_VALUE, Value};
use serde::Serialize;

use crate::params::Param;

/// A task of the DAG that is being built, for ordering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TaskRef {
    /// Which DAG; one being built is told from every other.
    pub(crate) dag: u64,
    /// Its place among the DAG's tasks.
    pub(crate) index: u32,
}

/// An [`XComArg`] that stands for one value.
#[derive(Debug, Clone, Copy)]
pub enum One {}

/// The value that a task will push, before it has run: the argument for other tasks.
///
/// Handing it to a task makes that task depend on the one it comes from. It is a name, not a value, so
/// it can be copied and handed to any number of tasks. `T` is the Rust type of the value.
///
/// ```
/// # extern crate excom_flow as excom;
/// use excom::prelude::*;
///
/// #[task]
/// fn one() -> i64 { 1 }
///
/// #[task]
/// fn add(left: i64, right: i64) -> i64 { left + right }
///
/// #[dag]
/// fn sums(dag: &Dag) {
///     let one = one(dag);
///     let two = add(dag, one, one);
///     add(dag, two, 40);
/// }
/// assert_eq!(sums().graph()?.tasks().len(), 3);
/// # Ok::<(), excom_core::Error>(())
/// ```
pub struct XComArg<T, M = One> {
    pub(crate) task: TaskRef,
    pub(crate) key: &'static str,
    of: PhantomData<fn() -> (T, M)>,
}

impl<T, M> Clone for XComArg<T, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, M> Copy for XComArg<T, M> {}

impl<T, M> fmt::Debug for XComArg<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "XComArg(task {}, `{}`)", self.task.index, self.key)
    }
}

impl<T, M> From<XComArg<T, M>> for TaskRef {
    fn from(arg: XComArg<T, M>) -> Self {
        arg.task
    }
}

impl<T, M> XComArg<T, M> {
    pub(crate) fn new(task: TaskRef) -> Self {
        Self { task, key: RETURN_VALUE, of: PhantomData }
    }

    /// The value that the same task pushes under another key: one of its `multiple_outputs`, or what it
    /// pushes with [`xcom_push`](crate::TaskInstance::xcom_push).
    ///
    /// A struct with `#[derive(Outputs)]` gives each of its fields as a method, with its type.
    pub fn output<U>(self, key: &'static str) -> XComArg<U, M> {
        XComArg { task: self.task, key, of: PhantomData }
    }
}

/// What may be an argument of a task that takes a `T`: a `T` itself, another task's [`XComArg`] of
/// `T`, or a DAG's [`Param`] of `T`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not fit where `{T}` is taken",
    label = "give a `{T}`, an `XComArg<{T}>` or a `Param<{T}>`",
    note = "an `XComArg<X>` is the value of another task that returns `X` (or `Result<X>`), so the types must be the same",
    note = "a value that may be missing (`XComArg<Option<X>>`) needs a parameter of type `Option<X>`"
)]
pub trait IntoArg<T> {
    /// The argument, without its type.
    fn into_arg(self) -> Input;
}

/// An argument without its type: a literal, another task's XCom, or a parameter of the DAG.
#[derive(Debug, Clone)]
pub struct Input(pub(crate) Source);

/// Where an argument comes from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// Written in the DAG.
    Literal(Value),
    /// Written in the DAG, but no JSON value: the DAG refuses it with this message.
    Invalid(String),
    /// Pushed by another task.
    XCom { task: TaskRef, key: &'static str },
    /// A parameter of the DAG.
    Param(&'static str),
}

impl Input {
    /// A value written in the DAG.
    pub fn literal<T: Serialize + ?Sized>(value: &T) -> Self {
        Self(match Value::of(value) {
            Ok(value) => Source::Literal(value),
            Err(error) => Source::Invalid(error.to_string()),
        })
    }
}

impl<T, M> From<XComArg<T, M>> for Input {
    fn from(arg: XComArg<T, M>) -> Self {
        Self(Source::XCom { task: arg.task, key: arg.key })
    }
}

impl<T> From<Param<T>> for Input {
    fn from(param: Param<T>) -> Self {
        Self(Source::Param(param.name()))
    }
}

impl<T: Serialize> IntoArg<T> for T {
    fn into_arg(self) -> Input {
        Input::literal(&self)
    }
}

impl<T: Serialize> IntoArg<Option<T>> for T {
    fn into_arg(self) -> Input {
        Input::literal(&self)
    }
}

impl<T> IntoArg<T> for XComArg<T, One> {
    fn into_arg(self) -> Input {
        self.into()
    }
}

impl<T> IntoArg<Option<T>> for XComArg<T, One> {
    fn into_arg(self) -> Input {
        self.into()
    }
}

impl<T> IntoArg<T> for Param<T> {
    fn into_arg(self) -> Input {
        self.into()
    }
}

impl<T> IntoArg<Option<T>> for Param<T> {
    fn into_arg(self) -> Input {
        self.into()
    }
}

impl IntoArg<String> for &str {
    fn into_arg(self) -> Input {
        Input::literal(self)
    }
}

impl IntoArg<PathBuf> for &str {
    fn into_arg(self) -> Input {
        Input::literal(self)
    }
}

impl IntoArg<Option<String>> for &str {
    fn into_arg(self) -> Input {
        Input::literal(self)
    }
}

impl IntoArg<Option<PathBuf>> for &str {
    fn into_arg(self) -> Input {
        Input::literal(self)
    }
}
