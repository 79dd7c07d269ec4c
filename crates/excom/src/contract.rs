//! Contracts: what each task of a DAG takes and gives, as JSON Schemas; what a change of a DAG breaks; and contracts
//! that are kept, in the database with every version that ran, or in a file that `contracts export` wrote.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use excom_core::run::DagVersion;
use excom_core::{Engine, Error, ErrorKind, Result, Value, XComKey};
pub use excom_flow::contract::*;

/// The most versions that are looked through.
const MOST: u32 = 10_000;

/// The contract that a name stands for: a file (a name with `/` or `.` in it), or a version of a DAG, of which the
/// beginning is enough.
///
/// # Errors
/// When there is none, or several, and when a file cannot be read.
pub async fn find(engine: Option<&Engine>, dag_id: &str, name: &str) -> Result<Contract> {
    if name.contains(['/', '.']) {
        return read(Path::new(name));
    }
    let versions = versions(engine, dag_id, MOST).await?;
    let mut meant = versions.iter().filter(|version| version.version.starts_with(name));
    match (meant.next(), meant.next()) {
        (Some(version), None) => Contract::read(&version.document),
        (Some(_), Some(_)) => {
            let what = format!("several versions of DAG `{dag_id}` begin with `{name}`");
            Err(Error::new(ErrorKind::InvalidRequest, what).hint("write more of the version"))
        }
        (None, _) => {
            let what = format!("DAG `{dag_id}` has no version `{name}`");
            let error = Error::new(ErrorKind::InvalidRequest, what);
            let error = error.hint("a file is told from a version by a `/` or `.` in its name");
            Err(match versions.first() {
                Some(newest) => error.hint(format!("the newest is {}", newest.version)),
                None => error.hint("no version of it is kept here: a run keeps one"),
            })
        }
    }
}

/// The newest version of a DAG that ran.
///
/// # Errors
/// When no run of it was started here.
pub async fn newest(engine: Option<&Engine>, dag_id: &str) -> Result<DagVersion> {
    versions(engine, dag_id, 1).await?.pop().ok_or_else(|| {
        Error::new(ErrorKind::InvalidRequest, format!("no version of DAG `{dag_id}` is kept here"))
            .hint("a run keeps the version of its DAG; or name a file that `contracts export` wrote")
    })
}

/// Without an engine nothing ran here yet.
async fn versions(engine: Option<&Engine>, dag_id: &str, most: u32) -> Result<Vec<DagVersion>> {
    match engine {
        Some(engine) => engine.db().dag_versions(dag_id, most).await,
        None => Ok(Vec::new()),
    }
}

fn read(path: &Path) -> Result<Contract> {
    let text = std::fs::read(path).map_err(|cause| {
        Error::new(ErrorKind::Other, format!("the contract {} cannot be read", path.display())).because(cause)
    })?;
    let parsed = Value::parse(text).and_then(|document| Contract::read(&document));
    parsed.map_err(|error| {
        let hints = error.hints().to_vec();
        let outer = Error::new(error.kind(), path.display().to_string()).because(error);
        hints.into_iter().fold(outer, Error::hint)
    })
}

/// Checks a value that is pushed from outside of the program that runs the DAG, such as by a command in a task,
/// against the version of the DAG that the run runs. A run without a version takes anything.
///
/// # Errors
/// As [`Contract::check_push`]; when the database cannot be read.
pub async fn check_push(engine: &Engine, key: &XComKey, value: &Value) -> Result<()> {
    let (dag_id, run_id) = (&key.ti.dag_id, &key.ti.run_id);
    let run = engine.db().run_info(dag_id, run_id).await?;
    let Some(version) = run.and_then(|info| info.run.version) else { return Ok(()) };
    let Some(version) = engine.db().dag_version(dag_id, &version).await? else { return Ok(()) };
    // What describes a version may be more than a contract, and other programs write it too.
    let Ok(contract) = Contract::read(&version.document) else { return Ok(()) };
    let value = value.clone().secret_if(engine.is_secret(&key.key));
    contract.check_push(&key.ti.task_id, &key.key, &value)
}

/// A contract as text: what each task takes and gives.
///
/// ```
/// use excom::prelude::*;
///
/// #[task]
/// fn double(n: i64) -> i64 { 2 * n }
///
/// #[dag]
/// fn doubling(dag: &Dag, #[param(default = 21)] number: Param<i64>) { double(dag, number); }
///
/// let text = excom::contract::describe(&doubling().contract()?);
/// assert!(text.contains("takes  n: integer, from the parameter `number`"), "{text}");
/// # Ok::<(), excom::Error>(())
/// ```
pub fn describe(contract: &Contract) -> String {
    let mut text = format!("DAG {}, version {}\n", contract.dag_id, contract.version());
    let mut line = |indent: usize, line: String| {
        // A string takes any text.
        let _ = writeln!(text, "{:indent$}{line}", "");
    };
    for (name, param) in &contract.params {
        let default = param.default.as_ref().map_or_else(String::new, |default| format!(" = {default}"));
        line(0, format!("parameter {name}: {}{default}", param.schema));
    }
    for (id, task) in &contract.tasks {
        line(0, format!("task {id}{}", if task.mapped { ", mapped" } else { "" }));
        for (name, input) in &task.inputs {
            line(2, format!("takes  {name}: {}, from {}", input.schema, input.from));
        }
        for (key, schema) in &task.outputs {
            line(2, format!("gives  {key}: {schema}"));
        }
    }
    text
}

/// Changes as text, and how many of them break something.
pub fn describe_changes(changes: &[Change]) -> String {
    let mut text = String::new();
    for change in changes {
        let breaks: Vec<String> = change.breaks.iter().map(ToString::to_string).collect();
        let verdict = if breaks.is_empty() { "compatible".to_owned() } else { breaks.join(", ") };
        text.push_str(&format!("{change}\n  {verdict}\n"));
    }
    let breaking = changes.iter().filter(|change| change.is_breaking()).count();
    text.push_str(&match (changes.len(), breaking) {
        (0, _) => "no difference\n".to_owned(),
        (1, 0) => "1 difference, and it breaks nothing\n".to_owned(),
        (all, 0) => format!("{all} differences, and none breaks anything\n"),
        (all, breaking) => format!("differences: {all}, breaking: {breaking}\n"),
    });
    text
}

/// A version in a list: its name, when it was seen first, how many tasks it has.
pub fn listed(version: &DagVersion) -> (Arc<str>, String, Option<usize>) {
    let tasks = Contract::read(&version.document).ok().map(|contract| contract.tasks.len());
    (version.version.clone(), format!("{:.0}", version.seen_at), tasks)
}
