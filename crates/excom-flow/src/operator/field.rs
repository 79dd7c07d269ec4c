//! Fields of operators: a template, a value, a parameter or another task's value.

use excom_core::value::secret::REDACTED;
use excom_core::{ErrorKind, Result, Shape, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::arg::{Input, Source, XComArg};
use crate::error::within;
use crate::instance::TaskInstance;
use crate::params::Param;
use crate::sequence::{Expand, XComSequence};
use crate::template::{self, Rules};

/// A field of an [`Operator`](crate::Operator).
///
/// Text is a template (`"{{ ds }}"`), or the name of a template file where it ends as the operator's
/// [`template_ext`](crate::Operator::template_ext) says. An [`XComArg`] or a [`Param`] is its value, and is
/// never rendered: what another task pushed is not a template, whatever it contains.
#[derive(Debug, Clone)]
pub struct Field {
    content: Content,
    shell: bool,
    secret: bool,
}

#[derive(Debug, Clone)]
enum Content {
    Template(String),
    /// The name of a template file.
    File(String),
    /// Lists and dicts whose texts are templates.
    Tree(serde_json::Value),
    Input(Input),
    /// Known: rendered, pulled or written as a value.
    Known(Value),
}

impl Field {
    /// A value that is not a template.
    pub fn value<T: Serialize + ?Sized>(value: &T) -> Self {
        Self::of(Content::Input(Input::literal(value)))
    }

    /// A value whose texts are templates, at any depth of its lists and dicts; names in dicts are not.
    ///
    /// ```
    /// # extern crate excom_flow as excom;
    /// # use excom::prelude::*;
    /// use serde_json::json;
    ///
    /// let query = Field::template(&json!({ "day": "{{ ds }}", "stations": ["{{ params.station }}", "roof"] }));
    /// # let _ = query;
    /// ```
    pub fn template<T: Serialize + ?Sized>(value: &T) -> Self {
        match serde_json::to_value(value) {
            Ok(serde_json::Value::String(text)) => text.into(),
            Ok(tree) => Self::of(Content::Tree(tree)),
            // What is no JSON is refused when the DAG is built, as any other value.
            Err(_) => Self::value(value),
        }
    }

    /// The content of a template file, rendered. It is found in the folders of the DAG's
    /// `template_searchpath`, or in the current folder.
    pub fn file(name: &str) -> Self {
        Self::of(Content::File(name.to_owned()))
    }

    /// The same field as text that a shell reads: what its template prints after it pulled another task's
    /// value may hold no character that means something to a shell.
    #[must_use]
    pub fn shell(self) -> Self {
        Self { shell: true, ..self }
    }

    /// The same field, of which nobody sees later what it became: one that may hold a password.
    #[must_use]
    pub fn secret(self) -> Self {
        Self { secret: true, ..self }
    }

    fn of(content: Content) -> Self {
        Self { content, shell: false, secret: false }
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
        match &self.content {
            Content::Known(value) => Ok(value),
            _ => Err(excom_core::Error::new(
                ErrorKind::InvalidRequest,
                "a field of an operator is read before it is known",
            )
            .hint("read fields in `execute` only, and return all of them from `fields`")),
        }
    }

    pub(crate) fn source(&self) -> Option<&Source> {
        match &self.content {
            Content::Input(input) => Some(&input.0),
            _ => None,
        }
    }

    pub(crate) fn is_template(&self) -> bool {
        matches!(self.content, Content::Template(_) | Content::File(_) | Content::Tree(_))
    }

    /// Knows text that has nothing to render at once.
    pub(crate) fn settle(&mut self, extensions: &[&str]) -> Result<()> {
        if let Content::Template(text) = &self.content
            && !text.contains('{')
            && !extensions.iter().any(|extension| text.ends_with(extension))
        {
            self.set(Value::of(text)?);
        }
        Ok(())
    }

    pub(crate) fn set(&mut self, value: Value) {
        self.content = Content::Known(value);
    }

    /// What others may see of the value, once it is known.
    pub(crate) fn rendered(&self) -> Option<Value> {
        match &self.content {
            Content::Known(value) if self.secret || value.is_secret() => Value::of(REDACTED).ok(),
            Content::Known(value) => Some(value.clone()),
            _ => None,
        }
    }

    /// Renders what is a template. Blocks while that pulls.
    pub(crate) fn render(
        &mut self,
        ti: &TaskInstance,
        name: &str,
        extensions: &[&str],
        native: bool,
    ) -> Result<()> {
        let renderer = Renderer { ti, extensions, rules: Rules { native, shell: self.shell } };
        let value = match &self.content {
            Content::Template(template) => renderer.text(name, template)?,
            Content::File(file) => renderer.file(name, file)?,
            Content::Tree(tree) => Value::of(&renderer.tree(name, tree)?)?,
            Content::Input(_) | Content::Known(_) => return Ok(()),
        };
        self.set(value);
        Ok(())
    }
}

/// Renders the templates of one field.
struct Renderer<'a> {
    ti: &'a TaskInstance,
    extensions: &'a [&'a str],
    rules: Rules,
}

impl Renderer<'_> {
    fn text(&self, name: &str, text: &str) -> Result<Value> {
        let is_file = self.extensions.iter().any(|extension| text.ends_with(extension));
        if !is_file {
            return template::value(self.ti, name, text, self.rules);
        }
        self.file(name, text)
            .map_err(|e| e.hint("a text with this ending names a file; with a space behind it, it is a text"))
    }

    fn file(&self, name: &str, file: &str) -> Result<Value> {
        let place = || format!("field `{name}` of task `{}`", self.ti.task_id());
        let text = template::file(self.ti, file).map_err(|e| within(&place(), e))?;
        template::value(self.ti, &format!("{name}` from `{file}"), &text, self.rules)
    }

    fn tree(&self, name: &str, tree: &serde_json::Value) -> Result<serde_json::Value> {
        use serde_json::Value as Json;
        Ok(match tree {
            Json::String(text) => self.text(name, text)?.get()?,
            Json::Array(items) => {
                let items = items
                    .iter()
                    .enumerate()
                    .map(|(place, item)| self.tree(&format!("{name}[{place}]"), item));
                Json::Array(items.collect::<Result<_>>()?)
            }
            Json::Object(entries) => {
                let entries = entries
                    .iter()
                    .map(|(key, item)| Ok((key.clone(), self.tree(&format!("{name}.{key}"), item)?)));
                Json::Object(entries.collect::<Result<_>>()?)
            }
            other => other.clone(),
        })
    }
}

impl From<&str> for Field {
    fn from(template: &str) -> Self {
        template.to_owned().into()
    }
}

impl From<String> for Field {
    fn from(template: String) -> Self {
        Self::of(Content::Template(template))
    }
}

impl From<serde_json::Value> for Field {
    fn from(value: serde_json::Value) -> Self {
        Self::template(&value)
    }
}

impl<T, M> From<XComArg<T, M>> for Field
where
    Input: From<XComArg<T, M>>,
{
    fn from(arg: XComArg<T, M>) -> Self {
        Self::of(Content::Input(arg.into()))
    }
}

impl<T> From<Expand<T>> for Field {
    fn from(expand: Expand<T>) -> Self {
        Self::of(Content::Input(expand.into()))
    }
}

impl<T> From<XComSequence<T>> for Field {
    fn from(sequence: XComSequence<T>) -> Self {
        Self::of(Content::Input(sequence.into()))
    }
}

impl<T> From<Param<T>> for Field {
    fn from(param: Param<T>) -> Self {
        Self::of(Content::Input(param.into()))
    }
}
