//! `ti.xcom_pull` in templates, with Python's parameters.

use std::fmt;

use minijinja::value::{Kwargs, Rest, ValueKind, from_args};
use minijinja::{Error, Value};

use super::args::fail as invalid;
use super::json;
use super::run::{Pulled, Run};
use crate::instance::{MapIndexes, Pull, TaskIds, TaskInstance};

/// The parameters of `xcom_pull` that may be given by position, in their order.
const POSITIONAL: [&str; 4] = ["task_ids", "dag_id", "key", "include_prior_dates"];

/// Pulls, and notes what was asked and answered.
pub(super) fn xcom_pull(run: &Run, args: &[Value]) -> Result<Value, Error> {
    let ti = &run.ti;
    let (positional, named): (Rest<Value>, Kwargs) = from_args(args)?;
    if positional.len() > POSITIONAL.len() {
        let message = format!("xcom_pull takes at most {} arguments by position", POSITIONAL.len());
        return Err(Error::new(minijinja::ErrorKind::TooManyArguments, message));
    }
    let argument = |name: &str| -> Result<Option<Value>, Error> {
        let place = POSITIONAL.iter().position(|positional| *positional == name);
        let by_position = place.and_then(|place| positional.get(place)).cloned();
        let by_name: Option<Value> = if named.has(name) { Some(named.get(name)?) } else { None };
        match (by_position, by_name) {
            (Some(_), Some(_)) => Err(invalid(format!("xcom_pull got `{name}` twice"))),
            (value, None) | (None, value) => match value {
                Some(value) if value.is_undefined() => {
                    Err(Error::new(minijinja::ErrorKind::UndefinedError, format!("`{name}` of xcom_pull")))
                }
                value => Ok(value),
            },
        }
    };
    let task_ids = task_ids(argument("task_ids")?)?;
    let mut pull = ti.xcom_pull(task_ids.clone());
    let mut asked = Asked::new(ti, &task_ids);
    if let Some(dag_id) = text("dag_id", argument("dag_id")?)? {
        asked.dag_id.clone_from(&dag_id);
        pull = pull.dag_id(dag_id);
    }
    if let Some(run_id) = text("run_id", argument("run_id")?)? {
        asked.run_id.clone_from(&run_id);
        pull = pull.run_id(run_id);
    }
    if let Some(key) = argument("key")? {
        let key = text("key", Some(key))?.ok_or_else(|| invalid("`key` of xcom_pull is text, not None"))?;
        asked.key.clone_from(&key);
        pull = pull.key(key);
    }
    if let Some(include) = argument("include_prior_dates")? {
        pull = pull.prior_dates(include.is_true());
    }
    if let Some(map_indexes) = argument("map_indexes")? {
        let map_indexes = indexes(&map_indexes)?;
        asked.map_indexes = format!(" at {map_indexes:?}");
        pull = pull.map_indexes(map_indexes);
    }
    if let Some(default) = argument("default")? {
        let default = json::write(&default, &json::Style::indented(None))?;
        let default = excom_core::Value::parse(default).map_err(|e| invalid(e.to_string()))?;
        pull = pull.default_value(default);
    }
    named.assert_all_used()?;
    done(run, pull, asked.to_string())
}

fn done(run: &Run, pull: Pull, asked: String) -> Result<Value, Error> {
    let (value, missing) = pollster::block_on(pull.shaped()).map_err(|error| {
        let place = format!("it pulled {asked}");
        invalid(error.to_string()).with_source(crate::error::within(&place, error))
    })?;
    run.note(Pulled { asked, missing });
    json::data(&value).map_err(|error| invalid(error.to_string()).with_source(error))
}

/// What a pull asks for, for messages.
struct Asked {
    dag_id: String,
    run_id: String,
    task_ids: String,
    key: String,
    map_indexes: String,
}

impl Asked {
    fn new(ti: &TaskInstance, task_ids: &TaskIds) -> Self {
        let task_ids = match task_ids {
            TaskIds::Own => ti.task_id().to_owned(),
            TaskIds::One(task_id) => task_id.clone(),
            TaskIds::Several(task_ids) => task_ids.join(","),
        };
        Self {
            dag_id: ti.dag_id().to_owned(),
            run_id: ti.run_id().to_owned(),
            task_ids,
            key: excom_core::RETURN_VALUE.to_owned(),
            map_indexes: String::new(),
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dag_id, run_id, task_ids, key, map_indexes } = self;
        write!(f, "{dag_id}/{run_id}/{task_ids} `{key}`{map_indexes}")
    }
}

fn task_ids(value: Option<Value>) -> Result<TaskIds, Error> {
    let Some(value) = value.filter(|value| !value.is_none()) else { return Ok(TaskIds::Own) };
    if let Some(task_id) = value.as_str() {
        return Ok(task_id.into());
    }
    let list = || invalid("`task_ids` of xcom_pull is text or a list of texts");
    let texts = value.try_iter().map_err(|_| list())?;
    texts
        .map(|text| text.as_str().map(ToOwned::to_owned).ok_or_else(list))
        .collect::<Result<Vec<_>, _>>()
        .map(TaskIds::Several)
}

fn text(name: &str, value: Option<Value>) -> Result<Option<String>, Error> {
    match value {
        None => Ok(None),
        Some(value) if value.is_none() => Ok(None),
        Some(value) => match value.as_str() {
            Some(text) => Ok(Some(text.to_owned())),
            None => Err(invalid(format!("`{name}` of xcom_pull is text, not {}", value.kind()))),
        },
    }
}

fn indexes(value: &Value) -> Result<MapIndexes, Error> {
    let wrong = || invalid("`map_indexes` of xcom_pull is a number, None or a list of numbers");
    // Python counts True and False as 1 and 0.
    let number = |value: &Value| match value.kind() {
        ValueKind::Bool => Ok(i32::from(value.is_true())),
        ValueKind::Number if value.is_integer() => i32::try_from(value.clone()).map_err(|_| wrong()),
        _ => Err(wrong()),
    };
    if value.is_none() {
        return Ok(MapIndexes::Unmapped);
    }
    if matches!(value.kind(), ValueKind::Bool | ValueKind::Number) {
        return number(value).map(Into::into);
    }
    if value.kind() == ValueKind::String {
        return Err(wrong());
    }
    let numbers = value.try_iter().map_err(|_| wrong())?;
    numbers.map(|value| number(&value)).collect::<Result<Vec<_>, _>>().map(MapIndexes::Several)
}
