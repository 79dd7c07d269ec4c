//! What a template sees: the task instance, its run, dates and parameters.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use excom_core::Answer;
use jiff::Zoned;
use jiff::tz::TimeZone;
use minijinja::value::{Kwargs, Object, ObjectRepr, Rest, ValueKind, from_args};
use minijinja::{Error, State, Value};

use super::json;
use crate::instance::{MapIndexes, Pull, TaskIds, TaskInstance};

/// A pull that a template made.
#[derive(Debug, Clone)]
pub(super) struct Pulled {
    /// Whose XCom, and which.
    pub(super) asked: String,
    /// The answer, when it had no value.
    pub(super) missing: Option<Answer>,
}

/// The context of one rendering.
pub(super) struct Context {
    root: Value,
    pulled: Arc<Mutex<Vec<Pulled>>>,
}

impl Context {
    pub(super) fn new(ti: &TaskInstance) -> Self {
        let pulled = Arc::new(Mutex::new(Vec::new()));
        let root = Value::from_object(Root { ti: ti.clone(), pulled: pulled.clone() });
        Self { root, pulled }
    }

    pub(super) fn value(&self) -> Value {
        self.root.clone()
    }

    pub(super) fn pulled(&self) -> Vec<Pulled> {
        self.pulled.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The names of the context, each made when it is asked for.
#[derive(Debug)]
struct Root {
    ti: TaskInstance,
    pulled: Arc<Mutex<Vec<Pulled>>>,
}

impl Object for Root {
    fn get_value(self: &Arc<Self>, name: &Value) -> Option<Value> {
        let ti = &self.ti;
        let date = || ti.logical_date().map(|date| date.to_zoned(TimeZone::UTC));
        Some(match name.as_str()? {
            "ti" | "task_instance" => {
                Value::from_object(Instance { ti: ti.clone(), pulled: self.pulled.clone() })
            }
            "params" => Value::from_pairs(ti.params().iter().map(|(name, value)| (name, data(value)))),
            "run_id" => ti.run_id().into(),
            "dag_run" => Value::from_pairs([
                ("run_id", Value::from(ti.run_id())),
                ("dag_id", Value::from(ti.dag_id())),
                ("logical_date", date().map_or(Value::from(()), |date| datetime(&date).into())),
            ]),
            "logical_date" => datetime(&date()?).into(),
            "ds" => date()?.strftime("%Y-%m-%d").to_string().into(),
            "ds_nodash" => date()?.strftime("%Y%m%d").to_string().into(),
            "ts" => datetime(&date()?).replacen(' ', "T", 1).into(),
            _ => return None,
        })
    }
}

/// A moment as Python prints it: `2026-03-04 05:06:07+00:00`, with microseconds when there are any.
fn datetime(date: &Zoned) -> String {
    let seconds = date.strftime("%Y-%m-%d %H:%M:%S");
    match date.subsec_nanosecond() / 1000 {
        0 => format!("{seconds}+00:00"),
        micros => format!("{seconds}.{micros:06}+00:00"),
    }
}

/// A parameter as template data; one that cannot be read fails when it is used.
fn data(value: &excom_core::Value) -> Value {
    json::data(value).unwrap_or_else(|error| Value::from(invalid(&error.to_string())))
}

fn invalid(message: &str) -> Error {
    Error::new(minijinja::ErrorKind::InvalidOperation, message.to_owned())
}

/// `ti` and `task_instance`.
struct Instance {
    ti: TaskInstance,
    pulled: Arc<Mutex<Vec<Pulled>>>,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ti.fmt(f)
    }
}

impl Object for Instance {
    fn get_value(self: &Arc<Self>, name: &Value) -> Option<Value> {
        Some(match name.as_str()? {
            "dag_id" => self.ti.dag_id().into(),
            "run_id" => self.ti.run_id().into(),
            "task_id" => self.ti.task_id().into(),
            "map_index" => self.ti.map_index().into(),
            "try_number" => self.ti.try_number().into(),
            _ => return None,
        })
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        match method {
            "xcom_pull" => self.xcom_pull(args),
            _ => Err(Error::new(
                minijinja::ErrorKind::InvalidOperation,
                format!("a task instance has no method `{method}` in templates; it has `xcom_pull`"),
            )),
        }
    }

    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.ti.key())
    }
}

/// The parameters of `xcom_pull` that may be given by position, in their order.
const POSITIONAL: [&str; 4] = ["task_ids", "dag_id", "key", "include_prior_dates"];

impl Instance {
    fn xcom_pull(&self, args: &[Value]) -> Result<Value, Error> {
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
                (Some(_), Some(_)) => Err(invalid(&format!("xcom_pull got `{name}` twice"))),
                (value, None) | (None, value) => match value {
                    Some(value) if value.is_undefined() => Err(Error::new(
                        minijinja::ErrorKind::UndefinedError,
                        format!("`{name}` of xcom_pull"),
                    )),
                    value => Ok(value),
                },
            }
        };
        let task_ids = task_ids(argument("task_ids")?)?;
        let mut pull = self.ti.xcom_pull(task_ids.clone());
        let mut asked = Asked::new(&self.ti, &task_ids);
        if let Some(dag_id) = text("dag_id", argument("dag_id")?)? {
            asked.dag_id.clone_from(&dag_id);
            pull = pull.dag_id(dag_id);
        }
        if let Some(run_id) = text("run_id", argument("run_id")?)? {
            asked.run_id.clone_from(&run_id);
            pull = pull.run_id(run_id);
        }
        if let Some(key) = argument("key")? {
            let key =
                text("key", Some(key))?.ok_or_else(|| invalid("`key` of xcom_pull is text, not None"))?;
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
            pull = pull.default(&default);
        }
        named.assert_all_used()?;
        self.pull(pull, asked.to_string())
    }

    fn pull(&self, pull: Pull, asked: String) -> Result<Value, Error> {
        let (value, missing) = pollster::block_on(pull.shaped()).map_err(|error| {
            let place = format!("it pulled {asked}");
            invalid(&error.to_string()).with_source(crate::error::within(&place, error))
        })?;
        self.pulled.lock().unwrap_or_else(PoisonError::into_inner).push(Pulled { asked, missing });
        json::data(&value).map_err(|error| invalid(&error.to_string()).with_source(error))
    }
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
            None => Err(invalid(&format!("`{name}` of xcom_pull is text, not {}", value.kind()))),
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
