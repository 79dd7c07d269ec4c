//! Parameters of a DAG: declared while it is built, given when it runs.

mod kind;

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use excom_core::{Result, Shape, Value};
use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};

use crate::arg::{IntoArg, Source};
use crate::contract::TypeSchema;
use crate::error::{invalid, listing, nearest, within};

/// A parameter of a DAG: a name for the value that a run will bring, not the value.
///
/// A `#[dag]` function is pure and reads no parameter while it builds; it hands the parameter to tasks.
pub struct Param<T> {
    name: &'static str,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for Param<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Param<T> {}

impl<T> fmt::Debug for Param<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Param({})", self.name)
    }
}

impl<T> Param<T> {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, of: PhantomData }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.name
    }
}

/// What a DAG declares about one parameter.
#[derive(Clone, Serialize)]
#[non_exhaustive]
pub struct ParamSpec {
    /// Its name.
    pub name: &'static str,
    /// Its Rust type, as it is written in the DAG.
    #[serde(rename = "type")]
    pub type_name: &'static str,
    /// Its value when a run gives none; without, every run must give one.
    #[serde(serialize_with = "as_json")]
    pub default: Option<Value>,
    /// What it is for.
    pub doc: &'static str,
    #[serde(skip)]
    fits: fn(&Value) -> Result<()>,
    #[serde(skip)]
    ty: TypeSchema,
    #[serde(skip)]
    problem: Option<String>,
}

#[expect(clippy::ref_option, reason = "the signature is serde's")]
fn as_json<S: Serializer>(value: &Option<Value>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    let raw =
        value.as_ref().map(|value| serde_json::from_slice::<&serde_json::value::RawValue>(value.bytes()));
    raw.transpose().map_err(serde::ser::Error::custom)?.serialize(serializer)
}

impl fmt::Debug for ParamSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} = {:?}", self.name, self.type_name, self.default)
    }
}

impl ParamSpec {
    /// Declares a parameter without a default.
    pub fn required<T: DeserializeOwned>(name: &'static str, type_name: &'static str) -> Self {
        let fits = |value: &Value| value.get::<T>().map(drop);
        let ty = TypeSchema::unknown(type_name);
        Self { name, type_name, default: None, doc: "", fits, ty, problem: None }
    }

    /// The same parameter with a default.
    #[must_use]
    pub fn with_default<T: DeserializeOwned>(mut self, default: impl IntoArg<T>) -> Self {
        match default.into_arg().0 {
            Source::Literal(value) => match (self.fits)(&value) {
                Ok(()) => self.default = Some(value),
                Err(error) => self.problem = Some(error.to_string()),
            },
            Source::Invalid(message) => self.problem = Some(message),
            _ => self.problem = Some("it is not a value".into()),
        }
        self
    }

    /// The same parameter with the schema of its type.
    #[must_use]
    pub fn with_schema(mut self, ty: TypeSchema) -> Self {
        self.ty = ty;
        self
    }

    pub(crate) fn ty(&self) -> TypeSchema {
        self.ty
    }

    /// The same parameter with a text on what it is for.
    #[must_use]
    pub fn with_doc(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }

    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.as_ref().map(|problem| {
            format!("the default of parameter `{}` is not a `{}`: {problem}", self.name, self.type_name)
        })
    }

    /// Reads text from a command line: JSON where the type is not text (`30`, `[1, 2]`, `true`), and
    /// plain text where it is.
    ///
    /// ```
    /// # extern crate excom_flow as excom;
    /// let floor = excom::ParamSpec::required::<f64>("floor", "f64");
    /// assert_eq!(floor.read("30")?.as_str(), "30");
    /// let error = floor.read("warm").unwrap_err();
    /// assert_eq!(error.to_string(), "parameter `floor`: `warm` is not a number");
    /// assert_eq!(error.hints(), ["give a number, such as 30.5"]);
    /// # Ok::<(), excom_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// When it is nothing that the parameter takes, with an example of what is.
    pub fn read(&self, text: &str) -> Result<Value> {
        let plain = Value::of(text)?;
        let readings = match Value::parse(text.to_owned()) {
            // Quotes may be part of the text, so text is first taken as it is.
            Ok(json) if json.shape() == Shape::String => vec![plain, json],
            Ok(json) => vec![json, plain],
            Err(_) => vec![plain],
        };
        let mut refusal = None;
        for value in readings {
            match (self.fits)(&value) {
                Ok(()) => return Ok(value),
                Err(error) => drop(refusal.get_or_insert(error)),
            }
        }
        let kind = kind::in_a_sentence(self.kind());
        let what = format!("parameter `{}`: `{text}` is not {kind}", self.name);
        // What is wrong with a number is plain; of what has an inside the reason tells more.
        let error = match (self.kind(), refusal) {
            ("value" | "list" | "dict", Some(reason)) => invalid(what).because(reason),
            _ => invalid(what),
        };
        Err(error.hint(format!("give {kind}, such as {}", self.example())))
    }

    /// What it takes, in words for whoever gives it: `number`, `whole number`, `text`, `path`, `true/false`,
    /// `list`, `dict`, `date`, `time`, or `value` for another type.
    ///
    /// ```
    /// # extern crate excom_flow as excom;
    /// assert_eq!(excom::ParamSpec::required::<Vec<f64>>("floors", "Vec<f64>").kind(), "list");
    /// ```
    pub fn kind(&self) -> &'static str {
        kind::of(self.type_name)
    }

    /// A text that fits, as it is written behind an option.
    fn example(&self) -> String {
        let default = self.default.as_ref().filter(|default| !default.is_null());
        match default {
            Some(default) => default.get::<String>().unwrap_or_else(|_| default.as_str().to_owned()),
            None => kind::example(self.kind()).to_owned(),
        }
    }
}

/// A value that somebody gives for a parameter.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Given {
    /// Text from a command line or a form: JSON, unless the parameter is text.
    Text(String),
    /// A value.
    Value(Value),
}

/// The parameters of one run, checked.
#[derive(Debug, Clone, Default)]
pub struct Params(Arc<BTreeMap<Arc<str>, Value>>);

impl Params {
    /// What was given, what was not given by its default, and nothing else.
    pub(crate) fn resolve(
        dag_id: &str,
        specs: &[ParamSpec],
        given: &BTreeMap<String, Given>,
    ) -> Result<Self> {
        for name in given.keys() {
            if specs.iter().any(|spec| spec.name == name) {
                continue;
            }
            let error = invalid(format!("DAG `{dag_id}` has no parameter `{name}`"));
            let names = || specs.iter().map(|spec| spec.name);
            return Err(match nearest(name, names()) {
                Some(near) => error.hint(format!("nearest: `{near}`")),
                None if specs.is_empty() => error.hint("it takes no parameters"),
                None => error.hint(format!("it has {}", listing(names()))),
            });
        }
        let mut values = BTreeMap::new();
        for spec in specs {
            let value = match given.get(spec.name) {
                Some(Given::Text(text)) => spec.read(text)?,
                Some(Given::Value(value)) => {
                    let place = || format!("parameter `{}` of DAG `{dag_id}`", spec.name);
                    (spec.fits)(value).map_err(|e| within(&place(), e))?;
                    value.clone()
                }
                None => spec.default.clone().ok_or_else(|| {
                    invalid(format!(
                        "DAG `{dag_id}` needs the parameter `{}` ({})",
                        spec.name,
                        kind::in_a_sentence(spec.kind())
                    ))
                    .hint(format!("give it to the run, or declare #[param(default = …)] {}", spec.name))
                })?,
            };
            values.insert(spec.name.into(), value);
        }
        Ok(Self(Arc::new(values)))
    }

    /// A parameter's value.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// A parameter as a Rust type.
    ///
    /// # Errors
    /// When there is none of that name, or it has another type.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let value = self.value(name).ok_or_else(|| {
            let error = invalid(format!("there is no parameter `{name}`"));
            match nearest(name, self.0.keys().map(|name| &**name)) {
                Some(near) => error.hint(format!("nearest: `{near}`")),
                None => error,
            }
        })?;
        value.get().map_err(|e| within(&format!("parameter `{name}`"), e))
    }

    /// All of them as a JSON dict.
    pub(crate) fn to_dict(&self) -> Result<Value> {
        let entries =
            self.iter().map(|(name, value)| Ok(format!("{}:{}", Value::of(name)?.as_str(), value.as_str())));
        let entries: Vec<String> = entries.collect::<Result<_>>()?;
        Value::parse(format!("{{{}}}", entries.join(",")))
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }
}

impl<V: Into<Value>> FromIterator<(String, V)> for Params {
    fn from_iter<I: IntoIterator<Item = (String, V)>>(values: I) -> Self {
        Self(Arc::new(values.into_iter().map(|(name, value)| (name.into(), value.into())).collect()))
    }
}
