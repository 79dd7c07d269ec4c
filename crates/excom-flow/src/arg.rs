//! XComArgs: what one task hands to another while the DAG is built, and what else may be an argument.

use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;

use excom_core::{RETURN_VALUE, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::params::Param;
use crate::sequence::{Elements, Expand, Mapped, XComSequence};

/// A task of the DAG that is being built, for ordering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TaskRef {
    /// Which DAG; one being built is told from every other.
    pub(crate) dag: u64,
    /// Its place among the DAG's tasks.
    pub(crate) index: u32,
}

/// A task group of the DAG that is being built, for ordering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GroupRef {
    pub(crate) dag: u64,
    pub(crate) index: u32,
}

/// What a task can be ordered after: a task, a task group, or the value of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Upstream {
    /// A task.
    Task(TaskRef),
    /// A task group: all tasks in it that nothing in it waits for.
    Group(GroupRef),
}

impl From<TaskRef> for Upstream {
    fn from(task: TaskRef) -> Self {
        Self::Task(task)
    }
}

impl From<GroupRef> for Upstream {
    fn from(group: GroupRef) -> Self {
        Self::Group(group)
    }
}

/// Whether an argument, or what a task gives, is one value or one for each task instance of a mapped task:
/// [`One`] or [`Many`].
pub trait Arity: 'static {
    /// A task that takes this and also `M`: many when either is.
    type With<M: Arity>: Arity;
}

/// An [`XComArg`] that stands for one value.
#[derive(Debug, Clone, Copy)]
pub enum One {}

/// An [`XComArg`] that stands for the values of a mapped task's instances: always a sequence, also with one
/// element or none.
#[derive(Debug, Clone, Copy)]
pub enum Many {}

impl Arity for One {
    type With<M: Arity> = M;
}

impl Arity for Many {
    type With<M: Arity> = Self;
}

/// The value that a task will push, before it has run: the argument for other tasks.
///
/// Handing it to a task makes that task depend on the one it comes from. It is a name, not a value, so
/// it can be copied and handed to any number of tasks. `T` is the Rust type of the value; `M` is [`One`], or
/// [`Many`] when the task is mapped and there is one for each of its instances.
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
    pub(crate) origin: Origin,
    of: PhantomData<fn() -> (T, M)>,
}

/// Where the value of an [`XComArg`] comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Origin {
    /// A task pushes it.
    Task { task: TaskRef, key: &'static str },
    /// It is the element for which an instance of a mapped task group stands.
    Element(GroupRef),
}

impl<T, M> Clone for XComArg<T, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, M> Copy for XComArg<T, M> {}

impl<T, M> fmt::Debug for XComArg<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.origin {
            Origin::Task { task, key } => write!(f, "XComArg(task {}, `{key}`)", task.index),
            Origin::Element(group) => write!(f, "XComArg(element of group {})", group.index),
        }
    }
}

impl<T, M> From<XComArg<T, M>> for Upstream {
    fn from(arg: XComArg<T, M>) -> Self {
        match arg.origin {
            Origin::Task { task, .. } => Self::Task(task),
            Origin::Element(group) => Self::Group(group),
        }
    }
}

impl<T, M> XComArg<T, M> {
    pub(crate) fn new(task: TaskRef) -> Self {
        Self::from_origin(Origin::Task { task, key: RETURN_VALUE })
    }

    pub(crate) fn element(group: GroupRef) -> Self {
        Self::from_origin(Origin::Element(group))
    }

    pub(crate) fn from_origin(origin: Origin) -> Self {
        Self { origin, of: PhantomData }
    }

    /// The value that the same task pushes under another key: one of its `multiple_outputs`, or what it
    /// pushes with [`xcom_push`](crate::TaskInstance::xcom_push).
    ///
    /// A struct with `#[derive(Outputs)]` gives each of its fields as a method, with its type.
    pub fn output<U>(self, key: &'static str) -> XComArg<U, M> {
        XComArg::from_origin(match self.origin {
            Origin::Task { task, .. } => Origin::Task { task, key },
            element @ Origin::Element(_) => element,
        })
    }

    fn gathered(self, gaps: Gaps) -> Input {
        Input(match self.origin {
            Origin::Task { task, key } => Source::Gather { task, key, gaps },
            Origin::Element(group) => Source::Element(group),
        })
    }
}

/// What may be an argument of a task that takes a `T`: a `T` itself, another task's [`XComArg`] of
/// `T`, a DAG's [`Param`] of `T`, or [`expand`](crate::expand) of a list of `T` to run the task once for each.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not fit where `{T}` is taken",
    label = "give a `{T}`, an `XComArg<{T}>` or a `Param<{T}>`",
    note = "an `XComArg<X>` is the value of another task that returns `X` (or `Result<X>`), so the types must be the same",
    note = "a value that may be missing (`XComArg<Option<X>>`) needs a parameter of type `Option<X>`",
    note = "the values of a mapped task (`XComArg<X, Many>`) need a parameter of type `Vec<X>`, or `expand`"
)]
pub trait IntoArg<T> {
    /// Whether the task that takes it is mapped by it.
    type Arity: Arity;

    /// The argument, without its type.
    fn into_arg(self) -> Input;
}

/// An argument without its type: a literal, another task's XCom, a parameter of the DAG, an element.
#[derive(Debug, Clone)]
pub struct Input(pub(crate) Source);

/// What stands where an instance of a mapped task pushed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gaps {
    /// Nothing: only values that exist, in order of map index.
    Dropped,
    /// Null, so that the place of each value is its map index.
    Null,
}

/// Where an argument comes from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// Written in the DAG.
    Literal(Value),
    /// Written in the DAG, but no JSON value: the DAG refuses it with this message.
    Invalid(String),
    /// Pushed by another task.
    XCom { task: TaskRef, key: &'static str },
    /// Pushed by the instances of a mapped task, as a list.
    Gather { task: TaskRef, key: &'static str, gaps: Gaps },
    /// Pushed by the instances of a mapped task, read when the task asks for them.
    Stream { task: TaskRef, key: &'static str },
    /// A parameter of the DAG.
    Param(&'static str),
    /// The element for which an instance of a mapped task group stands.
    Element(GroupRef),
    /// One element for each instance of the task.
    Expand(Elements),
    /// All elements, as a list.
    All(Elements),
    /// Supplied by the element of `expand_kwargs`.
    Kwarg,
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

impl<T> From<XComArg<T, One>> for Input {
    fn from(arg: XComArg<T, One>) -> Self {
        Self(match arg.origin {
            Origin::Task { task, key } => Source::XCom { task, key },
            Origin::Element(group) => Source::Element(group),
        })
    }
}

impl<T> From<XComArg<T, Many>> for Input {
    fn from(arg: XComArg<T, Many>) -> Self {
        arg.gathered(Gaps::Null)
    }
}

impl<T> From<Param<T>> for Input {
    fn from(param: Param<T>) -> Self {
        Self(Source::Param(param.name()))
    }
}

impl<T> From<Expand<T>> for Input {
    fn from(expand: Expand<T>) -> Self {
        Self(Source::Expand(expand.elements))
    }
}

impl<T> From<XComSequence<T>> for Input {
    fn from(sequence: XComSequence<T>) -> Self {
        Self(Source::All(sequence.elements))
    }
}

impl<T> IntoArg<T> for XComArg<T, One> {
    type Arity = One;

    fn into_arg(self) -> Input {
        self.into()
    }
}

impl<T> IntoArg<Option<T>> for XComArg<T, One> {
    type Arity = One;

    fn into_arg(self) -> Input {
        self.into()
    }
}

impl<T> IntoArg<T> for Param<T> {
    type Arity = One;

    fn into_arg(self) -> Input {
        self.into()
    }
}

impl<T> IntoArg<Option<T>> for Param<T> {
    type Arity = One;

    fn into_arg(self) -> Input {
        self.into()
    }
}

impl<T> IntoArg<T> for Expand<T> {
    type Arity = Many;

    fn into_arg(self) -> Input {
        self.into()
    }
}

impl<T> IntoArg<Option<T>> for Expand<T> {
    type Arity = Many;

    fn into_arg(self) -> Input {
        self.into()
    }
}

impl<T> IntoArg<Vec<T>> for XComSequence<T> {
    type Arity = One;

    fn into_arg(self) -> Input {
        self.into()
    }
}

impl<T> IntoArg<Vec<Option<T>>> for XComArg<T, Many> {
    type Arity = One;

    fn into_arg(self) -> Input {
        self.into()
    }
}

impl<T: Serialize> IntoArg<T> for T {
    type Arity = One;

    fn into_arg(self) -> Input {
        Input::literal(&self)
    }
}

impl<T: Serialize> IntoArg<Option<T>> for T {
    type Arity = One;

    fn into_arg(self) -> Input {
        Input::literal(&self)
    }
}

impl IntoArg<String> for &str {
    type Arity = One;

    fn into_arg(self) -> Input {
        Input::literal(self)
    }
}

impl IntoArg<PathBuf> for &str {
    type Arity = One;

    fn into_arg(self) -> Input {
        Input::literal(self)
    }
}

impl IntoArg<Option<String>> for &str {
    type Arity = One;

    fn into_arg(self) -> Input {
        Input::literal(self)
    }
}

impl IntoArg<Option<PathBuf>> for &str {
    type Arity = One;

    fn into_arg(self) -> Input {
        Input::literal(self)
    }
}

/// The values of a mapped task as a list: those that exist, in order of map index. When `T` can be null the
/// list has a null for every instance that pushed nothing, so that places are map indexes.
impl<T: DeserializeOwned> IntoArg<Vec<T>> for XComArg<T, Many> {
    type Arity = One;

    fn into_arg(self) -> Input {
        let nullable = serde_json::from_str::<T>("null").is_ok();
        self.gathered(if nullable { Gaps::Null } else { Gaps::Dropped })
    }
}

/// The values that exist, of a mapped task whose instances may have none.
impl<T> IntoArg<Vec<T>> for XComArg<Option<T>, Many> {
    type Arity = One;

    fn into_arg(self) -> Input {
        self.gathered(Gaps::Dropped)
    }
}

impl<T> IntoArg<Mapped<T>> for XComArg<T, Many> {
    type Arity = One;

    fn into_arg(self) -> Input {
        Input(match self.origin {
            Origin::Task { task, key } => Source::Stream { task, key },
            Origin::Element(group) => Source::Element(group),
        })
    }
}
