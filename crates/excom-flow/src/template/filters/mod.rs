//! Jinja's filters and tests where the engine lacks them or has them otherwise, and Airflow's five for dates.

mod numbers;
mod sequences;
mod tests;
mod texts;

use minijinja::value::{Rest, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::args::{Args, fail};
use super::json::{self, Style};
use super::run::Run;
use super::{dates, python};

/// Puts them into an environment.
pub(super) fn register(environment: &mut Environment<'_>) {
    // The engine has these of its own, and Jinja has them not.
    ["split", "bool", "chain", "lines", "zip"].iter().for_each(|name| environment.remove_filter(name));
    environment.remove_test("startingwith");
    environment.remove_test("endingwith");
    environment.add_filter("string", |value: &Value| {
        super::operators::defined(&[value])?;
        python::text(value)
    });
    environment.add_filter("pprint", |value: &Value| {
        super::operators::defined(&[value])?;
        Ok::<_, Error>(python::repr_of(value))
    });
    environment.add_filter("attr", |value: &Value, name: &str| {
        if name.starts_with("__") {
            return Err(fail(format!("`{name}` cannot be reached from templates")));
        }
        // Entries of a dict are no attributes.
        Ok(if value.kind() == ValueKind::Plain { value.get_attr(name)? } else { Value::UNDEFINED })
    });
    environment.add_filter("tojson", tojson);
    environment.add_filter("ds", |value: &Value| date(value, "%Y-%m-%d"));
    environment.add_filter("ds_nodash", |value: &Value| date(value, "%Y%m%d"));
    environment.add_filter("ts_nodash", |value: &Value| date(value, "%Y%m%dT%H%M%S"));
    environment.add_filter("ts", |value: &Value| moment(value, |text| text));
    environment
        .add_filter("ts_nodash_with_tz", |value: &Value| moment(value, |text| text.replace(['-', ':'], "")));
    for name in ["default", "d"] {
        environment.add_filter(name, |value: &Value, args: Rest<ValueOrKwargs>| {
            let mut args = Args::new("default", &args.into_values())?;
            let default = args.optional("default_value")?.unwrap_or_else(|| Value::from(""));
            let falsy = args.flag("boolean")?;
            args.end()?;
            let missing = value.is_undefined() || (falsy && !value.is_true());
            Ok::<_, Error>(if missing { default } else { value.clone() })
        });
    }
    for name in ["escape", "e"] {
        environment.add_filter(name, |value: &Value| {
            super::operators::defined(&[value])?;
            if value.is_safe() {
                Ok(value.clone())
            } else {
                python::text(value).map(|text| Value::from_safe_string(escaped(&text)))
            }
        });
    }
    environment.add_filter("safe", |state: &State<'_, '_>, value: &Value| {
        super::operators::defined(&[value])?;
        Run::of(state)?.code(python::text(value)?)
    });
    numbers::register(environment);
    sequences::register(environment);
    texts::register(environment);
    tests::register(environment);
}

fn date(value: &Value, format: &str) -> Result<Value, Error> {
    super::operators::defined(&[value])?;
    if value.is_none() {
        return Ok(Value::from(()));
    }
    let formatted = dates::formatted(value, format);
    formatted.unwrap_or_else(|| Err(no_date(value))).map(Value::from)
}

fn moment(value: &Value, change: impl FnOnce(String) -> String) -> Result<Value, Error> {
    super::operators::defined(&[value])?;
    if value.is_none() {
        return Ok(Value::from(()));
    }
    dates::isoformat(value).map(|text| Value::from(change(text))).ok_or_else(|| no_date(value))
}

fn no_date(value: &Value) -> Error {
    fail(format!("this filter takes a date, not {}", python::type_name(value)))
}

/// JSON that is safe inside HTML, its names sorted.
fn tojson(value: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    super::operators::defined(&[value])?;
    let mut args = Args::new("tojson", &args.into_values())?;
    let indent = args.optional_integer("indent")?.and_then(|indent| usize::try_from(indent).ok());
    args.end()?;
    let indent = indent.map(|indent| " ".repeat(indent.min(100)));
    let json = json::write(value, &Style { sort_keys: true, ..Style::indented(indent) })?;
    let safe = json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    Ok(Value::from_safe_string(safe.replace('\'', "\\u0027")))
}

pub(super) use sequences::is_group;
pub(super) use texts::escaped;

/// What `attribute='a.b'` or `attribute=0` finds in an item.
fn attribute(item: &Value, path: &Value) -> Value {
    let Some(path) = path.as_str() else { return item.get_item(path).unwrap_or_default() };
    path.split('.').fold(item.clone(), |value, step| {
        let key = step.parse::<i64>().map_or_else(|_| Value::from(step), Value::from);
        value.get_item(&key).unwrap_or_default()
    })
}

/// A key for comparing without regard to case, unless it counts.
fn folded(value: Value, case_sensitive: bool) -> Value {
    match value.as_str() {
        Some(text) if !case_sensitive => Value::from(text.to_lowercase()),
        _ => value,
    }
}

fn undefined(what: &str) -> Error {
    Error::new(ErrorKind::UndefinedError, what.to_owned())
}

/// The items of what can be iterated.
fn items(value: &Value) -> Result<Vec<Value>, Error> {
    super::operators::defined(&[value])?;
    if let Some(text) = value.as_str() {
        return Ok(text.chars().map(Value::from).collect());
    }
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => Ok(value.try_iter()?.collect()),
        _ => Err(fail(format!("{} has no items", python::type_name(value)))),
    }
}

/// The run of a filter's state.
fn run(state: &State<'_, '_>) -> Result<std::sync::Arc<super::run::Run>, Error> {
    super::run::Run::of(state)
}
