//! Which XCom is meant, and who asks: from the arguments, and inside a task from its environment.

use std::sync::Arc;

use clap::ArgMatches;
use excom::config::Environment;
use excom::core::db::{Filter, Scope};
use excom::{Caller, Error, ErrorKind, Result, TaskInstanceKey, UNMAPPED, XComKey};

use crate::stop::Stop;

const DAG: &str = "EXCOM_DAG_ID";
const RUN: &str = "EXCOM_RUN_ID";
const TASK: &str = "EXCOM_TASK_ID";
const MAP_INDEX: &str = "EXCOM_MAP_INDEX";
const ATTEMPT: &str = "EXCOM_ATTEMPT_ID";

/// Who asks: the attempt that the command runs in, or else the person by login name.
///
/// # Errors
/// When the environment names an attempt but not, or not well, its task instance.
pub(crate) fn caller(environment: &Environment) -> Result<Caller> {
    let Some(attempt) = environment.first(&[ATTEMPT]) else {
        return Ok(Caller::user(login(environment)));
    };
    let own = |name: &'static str| {
        environment.first(&[name]).ok_or_else(|| {
            let what = format!("{ATTEMPT} is set but {name} is not, so the attempt's task is not known");
            Error::new(ErrorKind::Configuration, what)
                .hint(format!("pass on {DAG}, {RUN}, {TASK} and {MAP_INDEX} with {ATTEMPT}, or unset it"))
        })
    };
    let ti = TaskInstanceKey::new(own(DAG)?, own(RUN)?, own(TASK)?, own_map_index(environment)?)?;
    let id = attempt.parse().map_err(|error: Error| {
        let hints = error.hints().to_vec();
        let error = Error::new(ErrorKind::Configuration, format!("{ATTEMPT}: {error}"));
        hints.into_iter().fold(error, Error::hint)
    })?;
    Ok(Caller::attempt(ti, id))
}

/// The login name. Where no variable has it, as in many containers, the number of the user.
fn login(environment: &Environment) -> String {
    if let Some(name) = environment.first(&["LOGNAME", "USER", "USERNAME"]) {
        return name.to_owned();
    }
    #[cfg(unix)]
    if let Ok(process) = std::fs::metadata("/proc/self") {
        return format!("uid {}", std::os::unix::fs::MetadataExt::uid(&process));
    }
    "unknown".to_owned()
}

fn own_map_index(environment: &Environment) -> Result<i32> {
    let Some(text) = environment.first(&[MAP_INDEX]) else { return Ok(UNMAPPED) };
    text.parse().ok().filter(|index| *index >= UNMAPPED).ok_or_else(|| {
        Error::new(ErrorKind::Configuration, format!("{MAP_INDEX}: `{text}` is not a map index"))
            .hint("a map index is a number from 0, or -1 for a task that is not mapped")
    })
}

/// What an argument names, or inside a task its environment.
fn named<'a>(
    matches: &'a ArgMatches,
    environment: &'a Environment,
    argument: &str,
    variable: &str,
) -> Result<&'a str, Stop> {
    let given = matches.get_one::<String>(argument).map(String::as_str);
    given.or_else(|| environment.first(&[variable])).ok_or_else(|| {
        Stop::usage(format!("no --{argument} is given, and {variable} is not set as it is inside a task"))
            .hint(format!("add --{argument}"))
    })
}

/// The task instance that the arguments name, completed from the environment.
pub(crate) fn task_instance(
    matches: &ArgMatches,
    environment: &Environment,
) -> Result<TaskInstanceKey, Stop> {
    let named = |argument, variable| named(matches, environment, argument, variable);
    let (dag, run, task) = (named("dag-id", DAG)?, named("run-id", RUN)?, named("task-id", TASK)?);
    let map_index = match matches.get_one::<i32>("map-index") {
        Some(index) => *index,
        // Another task's map indexes are not ours.
        None if matches.contains_id("task-id") => UNMAPPED,
        None => own_map_index(environment)?,
    };
    Ok(TaskInstanceKey::new(dag, run, task, map_index)?)
}

/// The DAG that the arguments name, or inside a task its own.
pub(crate) fn dag<'a>(matches: &'a ArgMatches, environment: &'a Environment) -> Option<&'a str> {
    let given = matches.get_one::<String>("dag-id").map(String::as_str);
    given.or_else(|| environment.first(&[DAG]))
}

/// The DAG run that the arguments name, completed from the environment.
pub(crate) fn run(matches: &ArgMatches, environment: &Environment) -> Result<(String, String), Stop> {
    let named = |argument, variable| named(matches, environment, argument, variable).map(str::to_owned);
    Ok((named("dag-id", DAG)?, named("run-id", RUN)?))
}

/// The XCom that the arguments name.
pub(crate) fn xcom(matches: &ArgMatches, environment: &Environment) -> Result<XComKey, Stop> {
    let ti = task_instance(matches, environment)?;
    Ok(ti.xcom(key(matches))?)
}

fn key(matches: &ArgMatches) -> &str {
    matches.get_one::<String>("key").map_or(excom::RETURN_VALUE, String::as_str)
}

/// What is to be removed: one XCom, or all of the task instance.
pub(crate) fn scope(matches: &ArgMatches, environment: &Environment) -> Result<Scope, Stop> {
    if matches.get_flag("all-keys") {
        Ok(Scope::TaskInstance(task_instance(matches, environment)?))
    } else {
        Ok(Scope::Key(xcom(matches, environment)?))
    }
}

/// What a list shows. Inside a task it is about the task's own run unless told otherwise.
pub(crate) fn filter(matches: &ArgMatches, environment: &Environment) -> Filter {
    let given = |argument: &str| matches.get_one::<String>(argument).map(|text| Arc::from(&**text));
    let dag_id = given("dag-id");
    let own = |variable: &str| environment.first(&[variable]).map(Arc::from);
    Filter {
        run_id: given("run-id").or_else(|| if dag_id.is_none() { own(RUN) } else { None }),
        dag_id: dag_id.or_else(|| own(DAG)),
        task_id: given("task-id"),
        map_index: matches.get_one::<i32>("map-index").copied(),
        key: given("key"),
    }
}

/// The DAG that the arguments name, and the run, if they name one; inside a task its own, unless another DAG is named.
pub(crate) fn dag_or_run(
    matches: &ArgMatches,
    environment: &Environment,
) -> Result<(String, Option<String>), Stop> {
    let dag_id = named(matches, environment, "dag-id", DAG)?.to_owned();
    let given = matches.get_one::<String>("run-id").map(String::as_str);
    let own = || environment.first(&[RUN]).filter(|_| !matches.contains_id("dag-id"));
    Ok((dag_id, given.or_else(own).map(str::to_owned)))
}
