//! What a template sees: the task instance, its task, DAG and run, dates, parameters and variables.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use minijinja::value::{Enumerator, Object, ObjectRepr};
use minijinja::{Error, ErrorKind, State, Value};

use super::args::{Args, fail, hinted};
use super::containers::{dict, list};
use super::dates::{self, DateTime};
use super::json;
use super::macros::Module;
use super::pull::xcom_pull;
use super::run::Run;
use crate::instance::TaskInstance;

/// The names of the context, each made when it is asked for.
#[derive(Debug)]
pub(super) struct Context(pub(super) Arc<Run>);

/// Names that only a run with a logical date has.
pub(super) const DATED: [&str; 10] = [
    "logical_date",
    "ds",
    "ds_nodash",
    "ts",
    "ts_nodash",
    "ts_nodash_with_tz",
    "data_interval_start",
    "data_interval_end",
    "prev_data_interval_start_success",
    "prev_data_interval_end_success",
];

/// Names that Airflow 3 took away, and what stands in for each.
pub(super) const GONE: [(&str, &str); 10] = [
    ("execution_date", "logical_date"),
    ("next_execution_date", "data_interval_end"),
    ("prev_execution_date", "prev_data_interval_start_success"),
    ("prev_execution_date_success", "prev_data_interval_start_success"),
    ("next_ds", "data_interval_end | ds"),
    ("next_ds_nodash", "data_interval_end | ds_nodash"),
    ("prev_ds", "prev_data_interval_start_success | ds"),
    ("yesterday_ds", "macros.ds_add(ds, -1)"),
    ("tomorrow_ds", "macros.ds_add(ds, 1)"),
    ("conf", "params, or dag_run.conf"),
];

fn moment(moment: Timestamp) -> Value {
    Value::from_object(DateTime::utc(moment))
}

fn moment_or_none(moment_if_any: Option<Timestamp>) -> Value {
    moment_if_any.map_or_else(none, moment)
}

fn none() -> Value {
    Value::from(())
}

/// A parameter as template data; one that cannot be read fails when it is used.
fn data(value: &excom_core::Value) -> Value {
    json::data(value).unwrap_or_else(|error| Value::from(fail(error.to_string())))
}

fn params(ti: &TaskInstance) -> Value {
    let params = ti.params().iter().map(|(name, value)| (Value::from(name), data(value)));
    dict(params).unwrap_or_else(Value::from)
}

impl Object for Context {
    fn get_value(self: &Arc<Self>, name: &Value) -> Option<Value> {
        let (name, run) = (name.as_str()?, &self.0);
        let (ti, facts) = (&run.ti, run.ti.run_facts());
        let date = || facts.logical_date.map(DateTime::utc);
        let previous = || facts.previous_success.as_ref();
        let previous_interval = || previous().and_then(|run| run.data_interval);
        Some(match name {
            "ti" | "task_instance" => Value::from_object(Thing { kind: Kind::Instance, run: run.clone() }),
            "task" => Value::from_object(Thing { kind: Kind::Task, run: run.clone() }),
            "dag" => Value::from_object(Thing { kind: Kind::Dag, run: run.clone() }),
            "dag_run" => Value::from_object(Thing { kind: Kind::DagRun, run: run.clone() }),
            "params" => params(ti),
            "run_id" => ti.run_id().into(),
            "macros" => Module::Macros.value(),
            "var" => {
                let variables = |json| Value::from_object(Variables { run: run.clone(), json });
                dict([("json".into(), variables(true)), ("value".into(), variables(false))]).ok()?
            }
            "conn" => Value::from_object(Connections),
            "inlets" | "outlets" => list(Vec::new()),
            "inlet_events" | "outlet_events" | "triggering_asset_events" => dict([]).ok()?,
            "map_index_template" => {
                ti.task_facts().map_index_template.as_deref().map_or_else(none, Value::from)
            }
            "task_reschedule_count" => ti.task_facts().reschedules.into(),
            "partition_key" | "partition_date" => none(),
            "task_instance_key_str" => {
                let run_part = date().map_or_else(|| ti.run_id().to_owned(), |date| date.text("%Y%m%d"));
                format!("{}__{}__{run_part}", ti.dag_id(), ti.task_id()).into()
            }
            "prev_start_date_success" => moment_or_none(previous().and_then(|run| run.start_date)),
            "prev_end_date_success" => moment_or_none(previous().and_then(|run| run.end_date)),
            "logical_date" => Value::from_object(date()?),
            "ds" => date()?.text("%Y-%m-%d").into(),
            "ds_nodash" => date()?.text("%Y%m%d").into(),
            "ts" => date()?.isoformat('T').into(),
            "ts_nodash" => date()?.text("%Y%m%dT%H%M%S").into(),
            "ts_nodash_with_tz" => date()?.isoformat('T').replace(['-', ':'], "").into(),
            // A run that says nothing else is for the moment of its logical date.
            "data_interval_start" | "data_interval_end" => {
                let logical = facts.logical_date?;
                let (start, end) = facts.data_interval.unwrap_or((logical, logical));
                moment(if name == "data_interval_start" { start } else { end })
            }
            "prev_data_interval_start_success" => {
                date()?;
                moment_or_none(previous_interval().map(|(start, _)| start))
            }
            "prev_data_interval_end_success" => {
                date()?;
                moment_or_none(previous_interval().map(|(_, end)| end))
            }
            _ => return None,
        })
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Instance,
    Task,
    Dag,
    DagRun,
}

/// The task instance, its task, its DAG or its run.
#[derive(Debug)]
struct Thing {
    kind: Kind,
    run: Arc<Run>,
}

impl Thing {
    fn other(&self, kind: Kind) -> Value {
        Value::from_object(Self { kind, run: self.run.clone() })
    }

    fn of_instance(&self, name: &str) -> Option<Value> {
        let ti = &self.run.ti;
        Some(match name {
            "map_index" => ti.map_index().into(),
            "try_number" => ti.try_number().into(),
            "max_tries" => ti.task_facts().retries.into(),
            "task" => self.other(Kind::Task),
            "start_date" => moment_or_none(ti.task_facts().start_date),
            "queue" => ti.task_facts().queue.as_str().into(),
            "hostname" => "".into(),
            "end_date" | "state" => none(),
            "is_mapped" if ti.map_index() < 0 => none(),
            "is_mapped" => true.into(),
            _ => return None,
        })
    }

    fn of_task(&self, name: &str) -> Option<Value> {
        let facts = self.run.ti.task_facts();
        Some(match name {
            "owner" => facts.owner.as_str().into(),
            "retries" => facts.retries.into(),
            "retry_delay" => {
                let micros = i64::try_from(facts.retry_delay.as_micros()).unwrap_or(i64::MAX);
                dates::Duration::of_micros(micros)
            }
            "task_type" | "operator_name" => facts.operator.as_str().into(),
            "trigger_rule" => Choice::value("TriggerRule", &facts.trigger_rule),
            "pool" => facts.pool.as_str().into(),
            "queue" => facts.queue.as_str().into(),
            "upstream_task_ids" => {
                list(facts.upstream_task_ids.iter().map(|id| Value::from(&**id)).collect())
            }
            "downstream_task_ids" => {
                list(facts.downstream_task_ids.iter().map(|id| Value::from(&**id)).collect())
            }
            "dag" => self.other(Kind::Dag),
            _ => return None,
        })
    }

    fn of_dag_run(&self, name: &str) -> Option<Value> {
        let facts = self.run.ti.run_facts();
        let interval = |part: fn((Timestamp, Timestamp)) -> Timestamp| {
            let logical = facts.logical_date.map(|date| (date, date));
            moment_or_none(facts.data_interval.or(logical).map(part))
        };
        Some(match name {
            "logical_date" => moment_or_none(facts.logical_date),
            "data_interval_start" => interval(|(start, _)| start),
            "data_interval_end" => interval(|(_, end)| end),
            "run_after" => moment_or_none(facts.run_after.or(facts.logical_date)),
            "start_date" => moment_or_none(facts.start_date),
            "end_date" | "partition_key" | "partition_date" | "note" | "triggering_user_name" => none(),
            "run_type" => Choice::value("DagRunType", facts.run_type.as_deref().unwrap_or("manual")),
            "state" => Choice::value("DagRunState", "running"),
            "conf" => facts.conf.as_ref().map_or_else(|| dict([]).unwrap_or_default(), data),
            "clear_number" => 0.into(),
            _ => return None,
        })
    }
}

impl Object for Thing {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, name: &Value) -> Option<Value> {
        let (name, ti) = (name.as_str()?, &self.run.ti);
        match (self.kind, name) {
            (_, "dag_id") => Some(ti.dag_id().into()),
            (Kind::Instance | Kind::DagRun, "run_id") => Some(ti.run_id().into()),
            (Kind::Instance | Kind::Task, "task_id") => Some(ti.task_id().into()),
            (Kind::Task | Kind::Dag, "params") => Some(params(ti)),
            (Kind::Instance, _) => self.of_instance(name),
            (Kind::Task, _) => self.of_task(name),
            (Kind::DagRun, _) => self.of_dag_run(name),
            (Kind::Dag, _) => None,
        }
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        match (self.kind, method) {
            (Kind::Instance, "xcom_pull") => xcom_pull(&self.run, args),
            (Kind::Instance, _) => Err(fail(format!(
                "a task instance has no method `{method}` in templates; it has `xcom_pull`"
            ))),
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ti = &self.run.ti;
        match self.kind {
            Kind::Instance => write!(f, "{}", ti.key()),
            Kind::Task => write!(f, "<Task({}): {}>", ti.task_facts().operator, ti.task_id()),
            Kind::Dag => write!(f, "<DAG: {}>", ti.dag_id()),
            Kind::DagRun => write!(f, "<DagRun {} @ {}>", ti.dag_id(), ti.run_id()),
        }
    }
}

/// Whether it is something of the context, rather than a function.
pub(super) fn is_fact(value: &Value) -> bool {
    value.downcast_object_ref::<Thing>().is_some()
        || value.downcast_object_ref::<Choice>().is_some()
        || value.downcast_object_ref::<Variables>().is_some()
        || value.downcast_object_ref::<Connections>().is_some()
}

/// One of several names, as Python's enums of text have them: it prints with its type and compares as text.
#[derive(Debug)]
pub(super) struct Choice {
    kind: &'static str,
    value: String,
}

impl Choice {
    fn value(kind: &'static str, value: &str) -> Value {
        Value::from_object(Self { kind, value: value.to_owned() })
    }

    /// What it compares as.
    pub(super) fn text_of(value: &Value) -> Option<&str> {
        value.downcast_object_ref::<Self>().map(|choice| &*choice.value)
    }
}

impl Object for Choice {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, name: &Value) -> Option<Value> {
        match name.as_str()? {
            "value" => Some(Value::from(&*self.value)),
            "name" => Some(Value::from(self.value.to_uppercase())),
            _ => None,
        }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.kind, self.value.to_uppercase())
    }
}

/// `var.value` and `var.json`.
#[derive(Debug)]
struct Variables {
    run: Arc<Run>,
    json: bool,
}

impl Variables {
    fn find(&self, key: &str) -> Result<Option<Value>, Error> {
        self.run.note_read(format!("read variable `{key}`"));
        let text = pollster::block_on(self.run.ti.channel().variable(key))
            .map_err(|error| fail(format!("variable `{key}`: {error}")).with_source(error))?;
        match text {
            Some(text) if self.json => match json::read(&text) {
                Ok(value) => Ok(Some(value)),
                Err(error) => Err(fail(format!("variable `{key}` is no JSON, so it is only in `var.value`"))
                    .with_source(error)),
            },
            text => Ok(text.map(Value::from)),
        }
    }

    fn missing(key: &str) -> Error {
        hinted(format!("there is no variable `{key}`"), "set it, or write `var.value.get('…', default)`")
    }
}

impl Object for Variables {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let key = key.as_str()?;
        // An error stays one wherever the value goes.
        Some(match self.find(key) {
            Ok(found) => found.unwrap_or_else(|| Value::from(Self::missing(key))),
            Err(error) => Value::from(error),
        })
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }

    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        if method != "get" {
            return Err(Error::from(ErrorKind::UnknownMethod));
        }
        let mut args = Args::new("get", args)?;
        let (key, default) = (args.text("key")?, args.optional("default")?);
        args.end()?;
        self.find(&key)?.or(default).ok_or_else(|| Self::missing(&key))
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<VariableAccessor (dynamic access)>")
    }
}

/// `conn`: Excom keeps no connections, and says so.
#[derive(Debug)]
struct Connections;

impl Object for Connections {
    fn get_value(self: &Arc<Self>, name: &Value) -> Option<Value> {
        let name = name.as_str()?;
        let message = format!("Excom keeps no connections, so there is no `{name}`");
        let hint = "give what the task needs by a variable, a parameter or the environment";
        Some(Value::from(hinted(message, hint)))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }

    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        if method != "get" {
            return Err(Error::from(ErrorKind::UnknownMethod));
        }
        let mut args = Args::new("get", args)?;
        let _: String = args.text("conn_id")?;
        let default = args.optional("default_conn")?;
        args.end()?;
        Ok(default.unwrap_or_else(none))
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<ConnectionAccessor (dynamic access)>")
    }
}
