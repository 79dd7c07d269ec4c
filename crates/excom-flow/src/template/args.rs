//! Arguments of a call, by position and by name as Python has them.

use minijinja::value::{Kwargs, Rest, from_args};
use minijinja::{Error, ErrorKind, Value};

/// An error about what a template asks for.
pub(super) fn fail(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// The arguments of a call that are not taken yet.
pub(super) struct Args<'a> {
    of: &'a str,
    positional: std::vec::IntoIter<Value>,
    named: Kwargs,
}

impl<'a> Args<'a> {
    pub(super) fn new(of: &'a str, args: &[Value]) -> Result<Self, Error> {
        let (positional, named): (Rest<Value>, Kwargs) = from_args(args)?;
        Ok(Self { of, positional: positional.0.into_iter(), named })
    }

    /// The next argument, if it is given.
    pub(super) fn optional(&mut self, name: &str) -> Result<Option<Value>, Error> {
        let value = match self.positional.next() {
            Some(_) if self.named.has(name) => return Err(fail(format!("{} got `{name}` twice", self.of))),
            Some(value) => value,
            None if self.named.has(name) => self.named.get(name)?,
            None => return Ok(None),
        };
        if value.is_undefined() {
            let message = format!("`{name}` of {}", self.of);
            return Err(Error::new(ErrorKind::UndefinedError, message));
        }
        Ok(Some(value))
    }

    /// An argument that is given by its name only.
    pub(super) fn named(&mut self, name: &str) -> Result<Option<Value>, Error> {
        if self.named.has(name) { self.named.get(name).map(Some) } else { Ok(None) }
    }

    pub(super) fn required(&mut self, name: &str) -> Result<Value, Error> {
        self.optional(name)?
            .ok_or_else(|| Error::new(ErrorKind::MissingArgument, format!("{} needs `{name}`", self.of)))
    }

    pub(super) fn text(&mut self, name: &str) -> Result<String, Error> {
        let value = self.required(name)?;
        self.as_text(name, &value)
    }

    pub(super) fn optional_text(&mut self, name: &str) -> Result<Option<String>, Error> {
        match self.optional(name)? {
            None => Ok(None),
            Some(value) if value.is_none() => Ok(None),
            Some(value) => self.as_text(name, &value).map(Some),
        }
    }

    pub(super) fn as_text(&self, name: &str, value: &Value) -> Result<String, Error> {
        let text = value.as_str().map(ToOwned::to_owned);
        text.ok_or_else(|| {
            fail(format!("`{name}` of {} is text, not {}", self.of, super::python::type_name(value)))
        })
    }

    pub(super) fn optional_integer(&mut self, name: &str) -> Result<Option<i64>, Error> {
        match self.optional(name)? {
            None => Ok(None),
            Some(value) => integer(&value).map(Some).ok_or_else(|| {
                let found = super::python::type_name(&value);
                fail(format!("`{name}` of {} is a whole number, not {found}", self.of))
            }),
        }
    }

    pub(super) fn flag(&mut self, name: &str) -> Result<bool, Error> {
        Ok(self.optional(name)?.is_some_and(|value| value.is_true()))
    }

    /// The rest of the arguments by position.
    pub(super) fn rest(&mut self) -> Vec<Value> {
        self.positional.by_ref().collect()
    }

    /// The rest of the arguments by name.
    pub(super) fn rest_named(&mut self) -> Result<Vec<(String, Value)>, Error> {
        let names: Vec<String> = self.named.args().map(ToOwned::to_owned).collect();
        names
            .into_iter()
            .map(|name| {
                let value = self.named.get(&name)?;
                Ok((name, value))
            })
            .collect()
    }

    /// Nothing else may be given.
    pub(super) fn end(mut self) -> Result<(), Error> {
        if self.positional.next().is_some() {
            let message = format!("{} takes fewer arguments by position", self.of);
            return Err(Error::new(ErrorKind::TooManyArguments, message));
        }
        self.named.assert_all_used()
    }
}

/// A whole number; booleans count as 0 and 1.
pub(super) fn integer(value: &Value) -> Option<i64> {
    match value.kind() {
        minijinja::value::ValueKind::Bool => Some(i64::from(value.is_true())),
        minijinja::value::ValueKind::Number if value.is_integer() => value.as_i64(),
        _ => None,
    }
}

/// An error with what to do about it.
pub(super) fn hinted(message: impl Into<String>, hint: &str) -> Error {
    let message = message.into();
    fail(message.clone()).with_source(crate::error::invalid(message).hint(hint))
}
