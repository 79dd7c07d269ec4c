//! Templates: Jinja over the context of a task instance.
//!
//! Values are plain data here: nothing in a value is evaluated, and what a template prints is never
//! read as a template again.

mod context;
mod json;
mod python;

use std::sync::LazyLock;

use excom_core::{Error, ErrorKind, Result};
use minijinja::value::{Kwargs, StringInput, ValueKind};
use minijinja::{Environment, State, UndefinedBehavior, Value};

use crate::instance::TaskInstance;
use context::{Context, Pulled};

/// How many steps a template may take: enough for any that people write, an end for one that loops.
const FUEL: u64 = 1_000_000;

/// The settings are the same for all templates, and making them costs more than most renderings.
static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_debug(true);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_formatter(|out, state, value| {
        if value.is_undefined() {
            // The default formatter has the message for what is not defined.
            return minijinja::escape_formatter(out, state, value);
        }
        out.write_str(&python::str(value)).map_err(minijinja::Error::from)
    });
    // `.items()`, `.get()`, `.split()` and their like, as values have them in Python.
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_filter("string", |value: Value| match value.is_undefined() {
        true => Err(minijinja::Error::new(minijinja::ErrorKind::UndefinedError, "the value of string")),
        false => Ok(python::str(&value)),
    });
    environment.add_filter("join", join);
    environment
});

/// `join` as Jinja2 has it: an item that is not defined is an error, and the others print as in Python.
fn join(
    state: &mut State<'_, '_>,
    value: &Value,
    joiner: Option<StringInput<'_>>,
    attribute: Option<&str>,
    named: Kwargs,
) -> Result<Value, minijinja::Error> {
    if attribute.is_some()
        || named.has("attribute")
        || !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable)
    {
        return minijinja::filters::join(state, value, joiner, attribute, named);
    }
    let text = |item: Value| match item.is_undefined() {
        true => Err(minijinja::Error::new(minijinja::ErrorKind::UndefinedError, "an item of join")),
        false => Ok(python::str(&item)),
    };
    let items: Vec<String> = value.try_iter()?.map(text).collect::<Result<_, _>>()?;
    minijinja::filters::join(state, &Value::from(items), joiner, attribute, named)
}

/// Renders a template of a task. Blocks while it pulls.
///
/// # Errors
/// With task, field, line and expression; and when a pull was answered without a value, which.
pub(crate) fn render(ti: &TaskInstance, field: &str, template: &str) -> Result<String> {
    let context = Context::new(ti);
    ENVIRONMENT
        .render_named_str(field, template, context.value())
        .map_err(|error| explain(ti, field, template, &error, &context.pulled()))
}

fn explain(
    ti: &TaskInstance,
    field: &str,
    template: &str,
    error: &minijinja::Error,
    pulled: &[Pulled],
) -> Error {
    let mut message = format!("template of task `{}`, field `{field}`", ti.task_id());
    if let Some(line) = error.line() {
        message.push_str(&format!(", line {line}"));
    }
    if let Some(expression) = error.range().and_then(|range| expression(template, range.start)) {
        message.push_str(&format!(", `{expression}`"));
    }
    // A failed pull is an engine's error and says more than the template's.
    let cause = std::error::Error::source(error).and_then(|source| source.downcast_ref::<Error>());
    let mut explained = match cause {
        Some(cause) => {
            message.push_str(&format!(": {cause}"));
            cause.hints().iter().fold(Error::new(cause.kind(), message), Error::hint)
        }
        None => {
            message.push_str(&format!(": {}", what(error)));
            let empty: Vec<&Pulled> = pulled.iter().filter(|pulled| pulled.missing.is_some()).collect();
            for pulled in &empty {
                if let Some(answer) = &pulled.missing {
                    message.push_str(&format!("; it pulled {}, answer: {answer}", pulled.asked));
                }
            }
            let hints =
                empty.iter().filter_map(|pulled| pulled.missing.as_ref()).flat_map(excom_core::Answer::hints);
            hints.fold(Error::new(ErrorKind::InvalidRequest, message), Error::hint)
        }
    };
    explained = match error.kind() {
        minijinja::ErrorKind::UndefinedError => {
            explained.hint("write `x | default('…')` or `x is defined` for what may be missing")
        }
        minijinja::ErrorKind::OutOfFuel => {
            explained.hint(format!("a template may take {FUEL} steps; do the work in a task instead"))
        }
        _ => explained,
    };
    explained
}

/// What stands between the delimiters around a place: the range of an error is only the part of an
/// expression that failed.
fn expression(template: &str, place: usize) -> Option<&str> {
    let before = template.get(..place)?;
    let start = before.rfind("{{").max(before.rfind("{%"))? + 2;
    let rest = &template[start..];
    let end = [rest.find("}}"), rest.find("%}")].into_iter().flatten().min().unwrap_or(rest.len());
    Some(rest[..end].trim_matches(|c: char| c.is_whitespace() || c == '-'))
}

fn what(error: &minijinja::Error) -> String {
    let kind = match error.kind() {
        minijinja::ErrorKind::UndefinedError => "this is not defined".to_owned(),
        minijinja::ErrorKind::OutOfFuel => "it takes too many steps".to_owned(),
        kind => kind.to_string(),
    };
    match error.detail() {
        Some(detail) => format!("{kind}: {detail}"),
        None => kind,
    }
}
