//! Fields of operators: a template, a value, a parameter or another task's value.

use excom_core::{ErrorKind, Result, Shape, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::arg::{Input, Source, XComArg};
use crate::instance::TaskInstance;
use crate::params::Param;
use crate::sequence::{Expand, XComSequence};

/// A field of an [`Operator`](crate::Operator).
///
/// Text is a template (`"{{ ds }}"`). An [`XComArg`] or a [`Param`] is its value, and is never rendered:
/// what another task pushed is not a template, whatever it contains.
#[derive(Debug, Clone)]
pub struct Field(Content);

#[derive(Debug, Clone)]
enum Content {
    Template(String),
    Input(Input),
    /// Known: rendered, pulled or written as a value.
    Known(Value),
}

impl Field {
    /// A value that is not a template.
    pub fn value<T: Serialize + ?Sized>(value: &T) -> Self {
        Self(Content::Input(Input::literal(value)))
    }

    /// The field as text: text as it is, anything else as JSON.
    ///
    /// # Errors
    /// Before the operator executes, when fields are not known yet.
    pub fn text(&self) -> Result<String> {
        let value = self.known()?;
        if value.shape() == Shape::String { value.get() } else { Ok(value.as_str().to_owned()) }
    }

    /// The field as a Rust type.
    ///
    /// # Errors
    /// When the value has another type, or the operator does not execute yet.
    pub fn get<T: DeserializeOwned>(&self) -> Result<T> {
        self.known()?.get()
    }

    fn known(&self) -> Result<&Value> {
        match &self.0 {
            Content::Known(value) => Ok(value),
            _ => Err(excom_core::Error::new(
                ErrorKind::InvalidRequest,
                "a field of an operator is read before it is known",
            )
            .hint("read fields in `execute` only, and return all of them from `fields`")),
        }
    }

    pub(crate) fn source(&self) -> Option<&Source> {
        match &self.0 {
            Content::Input(input) => Some(&input.0),
            _ => None,
        }
    }

    pub(crate) fn is_template(&self) -> bool {
        matches!(self.0, Content::Template(_))
    }

    pub(crate) fn set(&mut self, value: Value) {
        self.0 = Content::Known(value);
    }

    pub(crate) fn render(&mut self, ti: &TaskInstance, name: &str) -> Result<()> {
        if let Content::Template(template) = &self.0 {
            let text = crate::template::render(ti, name, template)?;
            self.set(Value::of(&text)?);
        }
        Ok(())
    }
}

impl From<&str> for Field {
    fn from(template: &str) -> Self {
        template.to_owned().into()
    }
}

impl From<String> for Field {
    fn from(template: String) -> Self {
        // Text without template syntax is known already.
        match Value::of(&template) {
            Ok(text) if !template.contains('{') => Self(Content::Known(text)),
            _ => Self(Content::Template(template)),
        }
    }
}

impl<T, M> From<XComArg<T, M>> for Field
where
    Input: From<XComArg<T, M>>,
{
    fn from(arg: XComArg<T, M>) -> Self {
        Self(Content::Input(arg.into()))
    }
}

impl<T> From<Expand<T>> for Field {
    fn from(expand: Expand<T>) -> Self {
        Self(Content::Input(expand.into()))
    }
}

impl<T> From<XComSequence<T>> for Field {
    fn from(sequence: XComSequence<T>) -> Self {
        Self(Content::Input(sequence.into()))
    }
}

impl<T> From<Param<T>> for Field {
    fn from(param: Param<T>) -> Self {
        Self(Content::Input(param.into()))
    }
}
