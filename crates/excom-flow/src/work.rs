//! What a task does, whatever it was made from: a function or an operator.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;

use excom_core::{Answer, Error, SequenceKey, TaskChannel, Value};
use serde::de::DeserializeOwned;

use crate::arg::{Input, IntoArg, One, Source};
use crate::contract::{TypeSchema, Types};
use crate::dag::NamedSource;
use crate::error::{invalid, within};
use crate::instance::TaskInstance;
use crate::outcome::Result;
use crate::sequence::{Elements, IntoElements, Mapped};

/// What a body gave back: the value to push, if any.
pub(crate) type Returned = Result<Option<Value>>;

/// What a task of a DAG does.
pub(crate) trait Work: Any + Send + Sync + fmt::Debug {
    /// What kind of task it is, for people and templates: `@task`, or an operator's name.
    fn name(&self) -> &'static str;

    /// What it takes, in a fixed order.
    fn inputs(&self) -> Vec<NamedSource>;

    /// The types of what it takes and gives.
    fn types(&self) -> Types;

    /// Whether what it returns may be of another type than who takes it declares: the compiler has not compared
    /// them.
    fn returns_anything(&self) -> bool {
        false
    }

    /// The dicts that it is expanded over, each with the arguments of one instance.
    fn kwargs(&self) -> Option<&Elements> {
        None
    }

    /// Begins one try, with what it takes in that order.
    fn start(&self, ti: TaskInstance, arguments: Arguments) -> Running;
}

/// A try that has begun.
pub enum Running {
    /// Blocks its thread.
    Blocking(Box<dyn FnOnce() -> Returned + Send>),
    /// Runs on the runtime, and is dropped when the run is cancelled.
    Future(Pin<Box<dyn Future<Output = Returned> + Send>>),
    /// As `Future`, but hears of the cancellation and has a moment to end what it started.
    Graceful(Pin<Box<dyn Future<Output = Returned> + Send>>),
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blocking(_) => "Blocking",
            Self::Future(_) => "Future",
            Self::Graceful(_) => "Graceful",
        })
    }
}

/// An argument of one try: a value, or the answer to the pull of another task's.
#[derive(Debug)]
pub(crate) enum Argument {
    Value(Value),
    Answer(Answer),
    /// The values of a mapped task, read on demand.
    Sequence(Arc<dyn TaskChannel>, SequenceKey),
    /// Nothing gives it.
    Absent,
}

impl Argument {
    /// The value; why there is none is an error.
    pub(crate) fn required(self) -> excom_core::Result<Value> {
        match self {
            Self::Value(value) => Ok(value),
            Self::Answer(answer) => answer.value(),
            Self::Absent => Err(invalid("it is not in the dict that this instance was expanded with")
                .hint("give it in every dict, or to all of them with `partial()`")),
            Self::Sequence(..) => Err(invalid("it is a sequence that is read on demand")
                .hint("take it as `Mapped<T>`, or as `Vec<T>`")),
        }
    }

    /// The value, or none when there is none for a reason that is not damage.
    pub(crate) fn optional(self) -> excom_core::Result<Option<Value>> {
        match self {
            Self::Value(value) => Ok((!value.is_null()).then_some(value)),
            Self::Answer(answer) => answer.or_none(),
            Self::Absent => Ok(None),
            Self::Sequence(..) => self.required().map(Some),
        }
    }
}

/// The arguments of one try, taken in the order in which the task declares them.
#[derive(Debug)]
pub struct Arguments {
    values: std::vec::IntoIter<(Arc<str>, Argument)>,
}

impl Arguments {
    pub(crate) fn new(values: Vec<(Arc<str>, Argument)>) -> Self {
        Self { values: values.into_iter() }
    }

    pub(crate) fn next(&mut self) -> Option<(Arc<str>, Argument)> {
        self.values.next()
    }

    fn take<T>(&mut self, read: impl FnOnce(Argument) -> excom_core::Result<T>) -> Result<T> {
        let (name, argument) =
            self.values.next().ok_or("the task has fewer arguments than its function takes")?;
        read(argument).map_err(|e| within(&format!("argument `{name}`"), e).into())
    }
}

/// Takes the next argument as a `T`.
///
/// `Option<T>` and any other `T` are told apart by method resolution on a `&&Take<T>`: the first of the
/// traits below that fits counts, so that aliases of `Option` are seen through.
#[derive(Debug)]
pub struct Take<T>(PhantomData<fn() -> T>);

impl<T> Clone for Take<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Take<T> {}

impl<T> Take<T> {
    /// Takes a `T`.
    #[expect(clippy::new_without_default, reason = "only generated code makes one")]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

/// Takes an `Option<T>`: `None` when there is no value.
pub trait TakeOptional<T> {
    /// The argument.
    fn take(&self, arguments: &mut Arguments) -> Result<T>;
}

impl<T: DeserializeOwned> TakeOptional<Option<T>> for &Take<Option<T>> {
    fn take(&self, arguments: &mut Arguments) -> Result<Option<T>> {
        arguments.take(|argument| argument.optional()?.map(|value| value.get()).transpose())
    }
}

/// Takes a `T` that is not an `Option`: an error when there is no value.
pub trait TakeRequired<T> {
    /// The argument.
    fn take(&self, arguments: &mut Arguments) -> Result<T>;
}

impl<T: DeserializeOwned> TakeRequired<T> for Take<T> {
    fn take(&self, arguments: &mut Arguments) -> Result<T> {
        arguments.take(|argument| argument.required()?.get())
    }
}

/// Takes the values of a mapped task, to be read on demand.
pub trait TakeMapped<T> {
    /// The argument.
    fn take(&self, arguments: &mut Arguments) -> Result<T>;
}

impl<T> TakeMapped<Mapped<T>> for &&Take<Mapped<T>> {
    fn take(&self, arguments: &mut Arguments) -> Result<Mapped<T>> {
        arguments.take(|argument| match argument {
            Argument::Sequence(channel, key) => Ok(Mapped::new(channel, key)),
            _ => Err(invalid("`Mapped` takes the values of a mapped task")),
        })
    }
}

/// What an argument of a task can be: anything that can be read from JSON, and [`Mapped`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the argument of a task",
    label = "an argument comes from elsewhere as JSON, so its type implements `Deserialize`",
    note = "add `#[derive(Serialize, Deserialize)]` to it"
)]
pub trait FromXCom {}

impl<T: DeserializeOwned> FromXCom for T {}
impl<T> FromXCom for Mapped<T> {}

/// Takes nothing: keeps the compiler from a second, darker error about a type that cannot be read.
pub trait TakeNothing<T> {
    /// Never called.
    fn take(self, arguments: &mut Arguments) -> Result<T>;
}

impl<T> TakeNothing<T> for Take<T> {
    fn take(self, _: &mut Arguments) -> Result<T> {
        Err("the type of an argument cannot be read from JSON".into())
    }
}

/// A function as a task.
pub struct Function {
    inputs: Vec<(&'static str, Input)>,
    kwargs: Option<Elements>,
    call: fn(TaskInstance, Arguments) -> Running,
    types: fn() -> Types,
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Function({:?})", self.inputs)
    }
}

impl Function {
    /// A function without arguments.
    pub fn new(call: fn(TaskInstance, Arguments) -> Running) -> Self {
        Self {
            inputs: Vec::new(),
            kwargs: None,
            call,
            types: || Types::new(TypeSchema::unknown("?"), Vec::new()),
        }
    }

    /// The same function with the types of what it takes and gives.
    #[must_use]
    pub fn with_types(mut self, types: fn() -> Types) -> Self {
        self.types = types;
        self
    }

    /// The same function with one more argument, of type `T`.
    #[must_use]
    pub fn with<T: FromXCom>(mut self, name: &'static str, argument: impl IntoArg<T>) -> Self {
        self.inputs.push((name, argument.into_arg()));
        self
    }

    /// The same function with one more argument, which the dicts of `expand_kwargs` bring.
    #[must_use]
    pub fn with_kwarg(mut self, name: &'static str) -> Self {
        self.inputs.push((name, Input(Source::Kwarg)));
        self
    }

    /// The same function with an argument that is the same in every dict of `expand_kwargs`, unless the dict
    /// has it.
    #[must_use]
    pub fn with_partial<T>(mut self, name: &'static str, argument: impl IntoArg<T, Arity = One>) -> Self {
        let argument = argument.into_arg();
        if let Some(input) = self.inputs.iter_mut().find(|(input, _)| *input == name) {
            input.1 = argument;
        }
        self
    }

    /// The same function, once for each dict of arguments.
    #[must_use]
    pub fn expanded<T>(mut self, kwargs: impl IntoElements<T>) -> Self {
        self.kwargs = Some(kwargs.into_elements().elements);
        self
    }
}

impl Work for Function {
    fn name(&self) -> &'static str {
        "@task"
    }

    fn inputs(&self) -> Vec<NamedSource> {
        self.inputs.iter().map(|(name, input)| (Cow::Borrowed(*name), input.0.clone())).collect()
    }

    fn types(&self) -> Types {
        (self.types)()
    }

    fn kwargs(&self) -> Option<&Elements> {
        self.kwargs.as_ref()
    }

    fn start(&self, ti: TaskInstance, arguments: Arguments) -> Running {
        (self.call)(ti, arguments)
    }
}

/// A `Result` of a task's function, whatever it is called.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `Result<T, E>`",
    label = "a task returns a value, or a `Result` of one",
    note = "the error may be anything that converts into `Box<dyn std::error::Error + Send + Sync>`"
)]
pub trait TaskResult {
    /// The type of the value.
    type Value;

    /// The value, or the error as any error.
    fn into_result(self) -> Result<Self::Value>;
}

impl<T, E: Into<crate::BoxError>> TaskResult for std::result::Result<T, E> {
    type Value = T;

    fn into_result(self) -> Result<T> {
        self.map_err(Into::into)
    }
}

/// A return type that is no `Result`. A `Result` under another name would be pushed as a dict
/// `{"Ok": …}`; it has two implementations here, so that the compiler refuses to choose.
pub trait NotAResult<Marker> {}

/// Marks every type.
#[derive(Debug)]
pub enum PlainValue {}

/// Marks a `Result`.
#[derive(Debug)]
pub enum ResultUnderAnotherName {}

impl<T> NotAResult<PlainValue> for T {}
impl<T, E> NotAResult<ResultUnderAnotherName> for std::result::Result<T, E> {}

/// Refuses a `Result` whose name does not say so.
pub fn plain<T: NotAResult<WriteItAsResult>, WriteItAsResult>(value: T) -> Result<T> {
    Ok(value)
}

/// An engine's error that a task's function meets before its body runs.
impl From<Error> for Running {
    fn from(error: Error) -> Self {
        Self::Blocking(Box::new(move || Err(error.into())))
    }
}
