//! Sequences that tasks are expanded over: lists, dicts, mapped tasks' values, and what is made of them by
//! `map`, `filter`, `zip` and `concat`.

mod mapped;
mod resolved;

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use excom_core::{Shape, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use mapped::Mapped;
pub(crate) use resolved::{Resolved, Unresolved, resolve};

use crate::arg::{Many, One, Origin, TaskRef, XComArg};
use crate::error::{panicked, within};
use crate::outcome::{BoxError, Result};
use crate::params::Param;

/// A sequence of elements, without its type.
#[derive(Debug, Clone)]
pub(crate) enum Elements {
    /// Written in the DAG: a JSON list or dict.
    Literal(Value),
    /// Written in the DAG, but no JSON value: the DAG refuses it with this message.
    Invalid(String),
    /// A parameter of the DAG.
    Param(&'static str),
    /// A list or dict that a task pushes, or the values of a mapped task.
    XCom { task: TaskRef, key: &'static str, many: bool },
    /// Each element changed.
    Map(Box<Self>, Function),
    /// The elements that a predicate lets through.
    Filter(Box<Self>, Predicate),
    /// Pairs of elements at the same place; with `fill`, as long as the longer one.
    Zip(Box<Self>, Box<Self>, Option<(Value, Value)>),
    /// One after the other.
    Concat(Box<Self>, Box<Self>),
}

/// What `map` does with an element.
#[derive(Clone)]
pub(crate) struct Function(Arc<dyn Change>);

/// What `filter` asks of an element.
#[derive(Clone)]
pub(crate) struct Predicate(Arc<dyn Keep>);

trait Change: Fn(&Value) -> Result<Value> + Send + Sync {}
impl<F: Fn(&Value) -> Result<Value> + Send + Sync> Change for F {}

trait Keep: Fn(&Value) -> excom_core::Result<bool> + Send + Sync {}
impl<F: Fn(&Value) -> excom_core::Result<bool> + Send + Sync> Keep for F {}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Function")
    }
}

impl fmt::Debug for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Predicate")
    }
}

impl Function {
    pub(crate) fn call(&self, element: &Value) -> Result<Value> {
        // It is a user's code, and whoever expands a task must survive it.
        catch_unwind(AssertUnwindSafe(|| self.0(element)))
            .unwrap_or_else(|panic| Err(panicked("the function given to `map`", &*panic).into()))
    }
}

impl Predicate {
    pub(crate) fn call(&self, element: &Value) -> excom_core::Result<bool> {
        catch_unwind(AssertUnwindSafe(|| self.0(element)))
            .unwrap_or_else(|panic| Err(panicked("the function given to `filter`", &*panic)))
    }
}

impl Elements {
    fn literal<T: Serialize + ?Sized>(value: &T) -> Self {
        match Value::of(value) {
            Ok(value) if matches!(value.shape(), Shape::List(_) | Shape::Dict(_)) => Self::Literal(value),
            Ok(value) => Self::Invalid(format!("a {} has no elements", value.shape())),
            Err(error) => Self::Invalid(error.to_string()),
        }
    }

    /// The tasks and parameters that it is made of.
    pub(crate) fn leaves<'a>(&'a self, visit: &mut dyn FnMut(&'a Self)) {
        match self {
            Self::Map(of, _) | Self::Filter(of, _) => of.leaves(visit),
            Self::Zip(left, right, _) | Self::Concat(left, right) => {
                left.leaves(visit);
                right.leaves(visit);
            }
            leaf => visit(leaf),
        }
    }
}

/// A sequence of `T` that is known when the DAG runs: what `map`, `filter`, `zip` and `concat` make of lists,
/// dicts and mapped tasks' values.
///
/// [`expand`] runs a task for each of its elements; handed to a task as it is, it is a `Vec<T>`.
///
/// ```
/// # extern crate excom_flow as excom;
/// use excom::prelude::*;
///
/// #[task]
/// fn files() -> Vec<String> { vec!["a.csv".into(), "b.txt".into()] }
///
/// #[task]
/// fn load(place: String) -> usize { place.len() }
///
/// #[dag]
/// fn loading(dag: &Dag) {
///     let tables = files(dag).filter(|name| name.ends_with(".csv")).map(|name| format!("s3://b/{name}"));
///     load(dag, expand(tables));
/// }
/// assert_eq!(loading().graph()?.tasks().len(), 2);
/// # Ok::<(), excom_core::Error>(())
/// ```
pub struct XComSequence<T> {
    pub(crate) elements: Elements,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for XComSequence<T> {
    fn clone(&self) -> Self {
        Self::new(self.elements.clone())
    }
}

impl<T> fmt::Debug for XComSequence<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.elements.fmt(f)
    }
}

impl<T> XComSequence<T> {
    fn new(elements: Elements) -> Self {
        Self { elements, of: PhantomData }
    }

    /// Each element changed by a function, which runs in the task instance that takes the element.
    pub fn map<U: Serialize>(self, change: impl Fn(T) -> U + Send + Sync + 'static) -> XComSequence<U>
    where
        T: DeserializeOwned,
    {
        self.try_map(move |element| Ok(change(element)))
    }

    /// As `map`, with a function that can fail: an error fails the task instance that takes the element, a
    /// [`Skip`](crate::Skip) skips it.
    pub fn try_map<U: Serialize>(
        self,
        change: impl Fn(T) -> Result<U> + Send + Sync + 'static,
    ) -> XComSequence<U>
    where
        T: DeserializeOwned,
    {
        let call = move |element: &Value| -> Result<Value> {
            let element = element.get().map_err(|e| BoxError::from(within("an element for `map`", e)))?;
            let changed = Value::of(&change(element)?);
            changed.map_err(|e| within("what `map` made of an element", e).into())
        };
        XComSequence::new(Elements::Map(Box::new(self.elements), Function(Arc::new(call))))
    }

    /// Only the elements for which a predicate holds. It runs when the sequence is expanded, so it should be
    /// quick. Airflow has no such operation: a DAG with it runs on the local runner only.
    pub fn filter(self, keep: impl Fn(&T) -> bool + Send + Sync + 'static) -> Self
    where
        T: DeserializeOwned,
    {
        let call = move |element: &Value| {
            element.get().map(|element| keep(&element)).map_err(|e| within("an element for `filter`", e))
        };
        Self::new(Elements::Filter(Box::new(self.elements), Predicate(Arc::new(call))))
    }

    /// Pairs of the elements at the same place, as many as the shorter of the two has.
    pub fn zip<U>(self, other: impl IntoElements<U>) -> XComSequence<(T, U)> {
        let other = Box::new(other.into_elements().elements);
        XComSequence::new(Elements::Zip(Box::new(self.elements), other, None))
    }

    /// Pairs of the elements at the same place, as many as the longer of the two has; what is missing is taken
    /// from `fill`.
    pub fn zip_fill<U: Serialize>(
        self,
        other: impl IntoElements<U>,
        fill: (impl Into<T>, impl Into<U>),
    ) -> XComSequence<(T, U)>
    where
        T: Serialize,
    {
        let other = Box::new(other.into_elements().elements);
        let fills = Value::of(&fill.0.into()).and_then(|left| Ok((left, Value::of(&fill.1.into())?)));
        XComSequence::new(match fills {
            Ok(fill) => Elements::Zip(Box::new(self.elements), other, Some(fill)),
            Err(error) => Elements::Invalid(format!("the fill value of `zip_fill`: {error}")),
        })
    }

    /// The elements of this one, and then those of another.
    #[must_use]
    pub fn concat(self, other: impl IntoElements<T>) -> Self {
        let other = Box::new(other.into_elements().elements);
        Self::new(Elements::Concat(Box::new(self.elements), other))
    }
}

/// What a task can be expanded over: lists and dicts, as values, as another task's result or as a parameter;
/// the values of a mapped task; and what `map`, `filter`, `zip` and `concat` make of them.
///
/// The elements of a dict are pairs of name and value, in the order of the dict.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no sequence of `{T}`",
    label = "give a list, an `XComArg<Vec<{T}>>`, an `XComArg<{T}, Many>` or a `Param<Vec<{T}>>`"
)]
pub trait IntoElements<T>: Sized {
    /// The sequence.
    fn into_elements(self) -> XComSequence<T>;
}

fn xcom<T, M, E>(arg: XComArg<T, M>, many: bool) -> XComSequence<E> {
    XComSequence::new(match arg.origin {
        Origin::Task { task, key } => Elements::XCom { task, key, many },
        Origin::Element(_) => Elements::Invalid(
            "it is an element of a mapped task group, and nothing in a mapped group can be expanded again"
                .into(),
        ),
    })
}

impl<T> IntoElements<T> for XComArg<Vec<T>, One> {
    fn into_elements(self) -> XComSequence<T> {
        xcom(self, false)
    }
}

impl<K, V> IntoElements<(K, V)> for XComArg<BTreeMap<K, V>, One> {
    fn into_elements(self) -> XComSequence<(K, V)> {
        xcom(self, false)
    }
}

impl<K, V, S> IntoElements<(K, V)> for XComArg<std::collections::HashMap<K, V, S>, One> {
    fn into_elements(self) -> XComSequence<(K, V)> {
        xcom(self, false)
    }
}

impl<T> IntoElements<T> for XComArg<T, Many> {
    fn into_elements(self) -> XComSequence<T> {
        xcom(self, true)
    }
}

impl<T> IntoElements<T> for XComArg<Option<T>, Many> {
    fn into_elements(self) -> XComSequence<T> {
        xcom(self, true)
    }
}

impl<T> IntoElements<T> for Param<Vec<T>> {
    fn into_elements(self) -> XComSequence<T> {
        XComSequence::new(Elements::Param(self.name()))
    }
}

impl<T> IntoElements<T> for XComSequence<T> {
    fn into_elements(self) -> Self {
        self
    }
}

impl<T: Serialize> IntoElements<T> for Vec<T> {
    fn into_elements(self) -> XComSequence<T> {
        XComSequence::new(Elements::literal(&self))
    }
}

impl<T: Serialize, const N: usize> IntoElements<T> for [T; N] {
    fn into_elements(self) -> XComSequence<T> {
        XComSequence::new(Elements::literal(self.as_slice()))
    }
}

impl<const N: usize> IntoElements<String> for [&str; N] {
    fn into_elements(self) -> XComSequence<String> {
        XComSequence::new(Elements::literal(self.as_slice()))
    }
}

impl<K: Serialize, V: Serialize> IntoElements<(K, V)> for BTreeMap<K, V> {
    fn into_elements(self) -> XComSequence<(K, V)> {
        XComSequence::new(Elements::literal(&self))
    }
}

/// The operations of [`XComSequence`], on what one can be made of.
macro_rules! operations {
    ($(<$of:ident> $arg:ty;)*) => {$(
        impl<$of> $arg {
            /// Each element changed by a function; see [`XComSequence::map`].
            pub fn map<U: Serialize>(self, change: impl Fn($of) -> U + Send + Sync + 'static) -> XComSequence<U>
            where
                $of: DeserializeOwned,
            {
                self.elements().map(change)
            }

            /// Each element changed by a function that can fail; see [`XComSequence::try_map`].
            pub fn try_map<U: Serialize>(
                self,
                change: impl Fn($of) -> Result<U> + Send + Sync + 'static,
            ) -> XComSequence<U>
            where
                $of: DeserializeOwned,
            {
                self.elements().try_map(change)
            }

            /// Only some elements; see [`XComSequence::filter`].
            pub fn filter(self, keep: impl Fn(&$of) -> bool + Send + Sync + 'static) -> XComSequence<$of>
            where
                $of: DeserializeOwned,
            {
                self.elements().filter(keep)
            }

            /// Pairs of elements; see [`XComSequence::zip`].
            pub fn zip<U>(self, other: impl IntoElements<U>) -> XComSequence<($of, U)> {
                self.elements().zip(other)
            }

            /// Pairs of elements, as many as the longer has; see [`XComSequence::zip_fill`].
            pub fn zip_fill<U: Serialize>(
                self,
                other: impl IntoElements<U>,
                fill: (impl Into<$of>, impl Into<U>),
            ) -> XComSequence<($of, U)>
            where
                $of: Serialize,
            {
                self.elements().zip_fill(other, fill)
            }

            /// These elements and then others; see [`XComSequence::concat`].
            pub fn concat(self, other: impl IntoElements<$of>) -> XComSequence<$of> {
                self.elements().concat(other)
            }

            /// Its elements as a sequence.
            pub fn elements(self) -> XComSequence<$of> {
                IntoElements::<$of>::into_elements(self)
            }
        }
    )*};
}

operations! {
    <T> XComArg<Vec<T>, One>;
    <T> XComArg<T, Many>;
    <T> Param<Vec<T>>;
}

/// An argument that maps the task which takes it: one task instance for each element. See [`expand`].
#[derive(Debug, Clone)]
pub struct Expand<T> {
    pub(crate) elements: Elements,
    of: PhantomData<fn() -> T>,
}

/// Runs the task that takes this argument once for each element, each with a map index from 0.
///
/// Several expanded arguments give all combinations; the last argument varies fastest. Without elements the
/// task is skipped. What the task gives is an [`XComArg`] of [`Many`]: always a sequence.
///
/// ```
/// # extern crate excom_flow as excom;
/// use excom::prelude::*;
///
/// #[task]
/// fn months() -> Vec<Vec<f64>> { vec![vec![3.5, 7.0], vec![21.5]] }
///
/// #[task]
/// fn peak(days: Vec<f64>) -> f64 { days.into_iter().fold(f64::MIN, f64::max) }
///
/// #[task]
/// fn mean(peaks: Vec<f64>) -> f64 { peaks.iter().sum::<f64>() / peaks.len() as f64 }
///
/// #[dag]
/// fn peaks(dag: &Dag) {
///     let peaks = peak(dag, expand(months(dag)));    // XComArg<f64, Many>
///     mean(dag, peaks);
/// }
/// assert!(peaks().graph()?.tasks()[1].is_mapped());
/// # Ok::<(), excom_core::Error>(())
/// ```
pub fn expand<T>(over: impl IntoElements<T>) -> Expand<T> {
    Expand { elements: over.into_elements().elements, of: PhantomData }
}
