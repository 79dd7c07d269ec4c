//! What a change of a DAG breaks: two contracts compared, before the new one is deployed.
//!
//! Old and new meet in two ways. A run that began with the old version goes on with the new one, whose tasks then
//! read *old values*. And who is not of the new version reads new values: tasks of programs that are not replaced
//! yet, other DAGs, whoever pulls by hand. These are *readers elsewhere*.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::fit::{Misfit, misfits};
use super::schema::Schema;
use super::{Contract, Parameter, Source, TaskContract};
use crate::error::listing;

/// The most places in values that one change tells.
const PLACES: usize = 5;

/// A difference between two versions of a DAG.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Change {
    /// Where: `params.day`, `tasks.fetch.outputs.return_value`.
    pub path: String,
    /// What changed.
    pub kind: ChangeKind,
    /// Whom it breaks; nobody when it is compatible.
    pub breaks: BTreeSet<Breaks>,
    /// What changed and what follows from it, in words.
    pub words: String,
}

/// Whom a change breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Breaks {
    /// Runs that began with the old version and go on with the new one: it cannot read what they have.
    OldValues,
    /// Who is not of the new version: programs that still run the old one, other DAGs, those who start runs.
    ReadersElsewhere,
}

impl fmt::Display for Breaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OldValues => "breaks consumers of old values",
            Self::ReadersElsewhere => "breaks readers elsewhere",
        })
    }
}

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ChangeKind {
    /// The DAG has another id.
    DagRenamed,
    /// There is a parameter more.
    ParamAdded,
    /// A parameter is gone.
    ParamRemoved,
    /// A parameter takes other values.
    ParamType,
    /// A parameter has another default, or none.
    ParamDefault,
    /// There is a task more.
    TaskAdded,
    /// A task is gone.
    TaskRemoved,
    /// A task is mapped, or is not any more.
    TaskMapped,
    /// A task is run otherwise: trigger rule, retries, order.
    TaskSettings,
    /// A task pushes under a key more.
    OutputAdded,
    /// A task does not push under a key any more.
    OutputRemoved,
    /// A task pushes other values.
    OutputType,
    /// A task has an argument more.
    InputAdded,
    /// A task has an argument less.
    InputRemoved,
    /// An argument is taken from elsewhere.
    InputSource,
    /// An argument is read from other values.
    InputType,
}

impl Change {
    /// Whether it breaks somebody.
    pub fn is_breaking(&self) -> bool {
        !self.breaks.is_empty()
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.words)
    }
}

/// What is different between two versions of a DAG, in the order of parameters and tasks.
///
/// Types without a schema are taken to fit each other. So is what `map`, `filter`, `zip` and `concat` make, and
/// the dicts of `expand_kwargs`. Values that code pulls by hand are known only by what pushes them.
///
/// ```
/// # extern crate excom_flow as excom;
/// use excom::contract::{Breaks, diff};
/// use excom::prelude::*;
///
/// mod old {
///     use excom::prelude::*;
///     #[task]
///     fn count() -> u32 { 42 }
///     #[dag(id = "counting")]
///     pub fn dag(dag: &Dag) { count(dag); }
/// }
///
/// mod new {
///     use excom::prelude::*;
///     #[task]
///     fn count() -> Option<u32> { None }
///     #[dag(id = "counting")]
///     pub fn dag(dag: &Dag) { count(dag); }
/// }
///
/// let changes = diff(&old::dag().contract()?, &new::dag().contract()?);
/// assert_eq!(changes[0].path, "tasks.count.outputs.return_value");
/// assert!(changes[0].breaks.contains(&Breaks::ReadersElsewhere));
/// # Ok::<(), excom_core::Error>(())
/// ```
pub fn diff(old: &Contract, new: &Contract) -> Vec<Change> {
    let mut diff = Diff { old, new, changes: Vec::new() };
    if old.dag_id != new.dag_id {
        let words = format!("its id was `{}`: who names the DAG does not find it", old.dag_id);
        diff.add("dag_id", ChangeKind::DagRenamed, &[Breaks::OldValues, Breaks::ReadersElsewhere], words);
    }
    diff.params();
    diff.tasks();
    diff.changes
}

struct Diff<'a> {
    old: &'a Contract,
    new: &'a Contract,
    changes: Vec<Change>,
}

const BOTH: [Breaks; 2] = [Breaks::OldValues, Breaks::ReadersElsewhere];

impl Diff<'_> {
    fn add(
        &mut self,
        path: impl Into<String>,
        kind: ChangeKind,
        breaks: &[Breaks],
        words: impl Into<String>,
    ) {
        let breaks = breaks.iter().copied().collect();
        self.changes.push(Change { path: path.into(), kind, breaks, words: words.into() });
    }

    fn params(&mut self) {
        let (old, new) = (self.old, self.new);
        for name in names(&old.params, &new.params) {
            let path = format!("params.{name}");
            match (old.params.get(name), new.params.get(name)) {
                (Some(old), Some(new)) => self.param(&path, old, new),
                (Some(_), None) => {
                    let words =
                        "it is gone: a run that was started with it cannot go on, and nobody can give it";
                    self.add(path, ChangeKind::ParamRemoved, &BOTH, words);
                }
                (None, Some(param)) if param.default.is_none() => {
                    let words = "it is new and has no default: a run that began before has no value for it, and \
                                 whoever starts one must give it";
                    self.add(path, ChangeKind::ParamAdded, &BOTH, words);
                }
                (None, _) => self.add(path, ChangeKind::ParamAdded, &[], "it is new, with a default"),
            }
        }
    }

    fn param(&mut self, path: &str, old: &Parameter, new: &Parameter) {
        if old.schema != new.schema {
            let changed = changed(&old.schema, &new.schema);
            let unread = misfits(&old.schema, &new.schema);
            if unread.is_empty() {
                self.add(path, ChangeKind::ParamType, &[], format!("{changed}; what fitted still fits"));
            } else {
                let words = format!("{changed}; a value that was accepted {}", places(&unread));
                self.add(path, ChangeKind::ParamType, &BOTH, words);
            }
        }
        match (&old.default, &new.default) {
            (Some(default), None) => {
                let words = format!("it had the default {default}: whoever starts a run must give it now");
                self.add(path, ChangeKind::ParamDefault, &[Breaks::ReadersElsewhere], words);
            }
            (old, Some(default)) if old.as_ref() != Some(default) => {
                let words = match old {
                    Some(old) => format!("its default was {old} and is {default}"),
                    None => format!("it has a default now: {default}"),
                };
                self.add(path, ChangeKind::ParamDefault, &[], words);
            }
            _ => {}
        }
    }

    fn tasks(&mut self) {
        let (old, new) = (self.old, self.new);
        for id in names(&old.tasks, &new.tasks) {
            let path = format!("tasks.{id}");
            match (old.tasks.get(id), new.tasks.get(id)) {
                (Some(before), Some(after)) => self.task(&path, id, before, after),
                (Some(task), None) => self.task_removed(&path, id, task),
                (None, Some(_)) => self.add(path.as_str(), ChangeKind::TaskAdded, &[], "it is new"),
                (None, None) => {}
            }
            if let Some(task) = new.tasks.get(id) {
                self.inputs(&path, id, task);
            }
        }
    }

    fn task_removed(&mut self, path: &str, id: &str, task: &TaskContract) {
        if task.outputs.is_empty() {
            return self.add(path, ChangeKind::TaskRemoved, &[], "it is gone; it pushed nothing");
        }
        let keys = listing(task.outputs.keys().map(String::as_str));
        let words = format!("it is gone, and nobody pushes its {keys} any more{}", self.took(id, None));
        self.add(path, ChangeKind::TaskRemoved, &[Breaks::ReadersElsewhere], words);
    }

    /// Who took what a task pushed, in the old version.
    fn took(&self, id: &str, key: Option<&str>) -> String {
        let takes = |source: &Source| {
            source.outputs().iter().any(|(task, taken)| *task == id && key.is_none_or(|key| key == *taken))
        };
        let readers =
            self.old.tasks.iter().filter(|(_, task)| task.inputs.values().any(|input| takes(&input.from)));
        let readers: Vec<&str> = readers.map(|(id, _)| id.as_str()).collect();
        match readers.as_slice() {
            [] => String::new(),
            [one] => format!("; the old version's task `{one}` took it"),
            several => format!("; the old version's tasks {} took it", listing(several.iter().copied())),
        }
    }

    fn task(&mut self, path: &str, id: &str, old: &TaskContract, new: &TaskContract) {
        if old.mapped != new.mapped {
            let words = if new.mapped {
                "it is mapped now: it gives a sequence, and no value at the map index -1"
            } else {
                "it is not mapped any more: it gives one value, at the map index -1, and no sequence"
            };
            self.add(path, ChangeKind::TaskMapped, &BOTH, words);
        }
        for key in names(&old.outputs, &new.outputs) {
            let path = format!("{path}.outputs.{key}");
            match (old.outputs.get(key), new.outputs.get(key)) {
                (Some(before), Some(after)) if before != after => self.output(path, id, key, before, after),
                (Some(_), None) => {
                    let words = format!("it is not pushed any more{}", self.took(id, Some(key)));
                    self.add(path, ChangeKind::OutputRemoved, &[Breaks::ReadersElsewhere], words);
                }
                (None, Some(_)) => self.add(path, ChangeKind::OutputAdded, &[], "it is new"),
                _ => {}
            }
        }
        for name in names(&old.inputs, &new.inputs) {
            let path = format!("{path}.inputs.{name}");
            match (old.inputs.get(name), new.inputs.get(name)) {
                (Some(_), None) => self.add(path, ChangeKind::InputRemoved, &[], "it is not taken any more"),
                (None, Some(_)) => self.add(path, ChangeKind::InputAdded, &[], "it is new"),
                (Some(before), Some(after)) if before.from != after.from => {
                    let words = "it comes from elsewhere";
                    self.add(path, ChangeKind::InputSource, &[], words);
                }
                _ => {}
            }
        }
        let mut settings = Vec::new();
        if old.trigger_rule != new.trigger_rule {
            settings.push(format!("its trigger rule was {} and is {}", old.trigger_rule, new.trigger_rule));
        }
        if old.retries != new.retries {
            settings.push(format!("its retries were {} and are {}", old.retries, new.retries));
        }
        if old.upstream != new.upstream {
            let after = |task: &TaskContract| match task.upstream.is_empty() {
                true => "nothing".to_owned(),
                false => listing(task.upstream.iter().map(String::as_str)),
            };
            settings.push(format!("it ran behind {} and runs behind {}", after(old), after(new)));
        }
        if !settings.is_empty() {
            self.add(path, ChangeKind::TaskSettings, &[], settings.join("; "));
        }
    }

    fn output(&mut self, path: String, id: &str, key: &str, old: &Schema, new: &Schema) {
        let mut breaks = Vec::new();
        let mut words = changed(old, new);
        if old.is_anything() || new.is_anything() {
            words.push_str("; whether values fit cannot be told of a type without a schema");
            return self.add(path, ChangeKind::OutputType, &[], words);
        }
        // Who takes it in the new version tells for itself whether it can read old values.
        let taken = self.new.tasks.values().flat_map(|task| task.inputs.values());
        let known = taken
            .into_iter()
            .any(|input| input.from.outputs().contains(&(id, key)) && given(self.old, &input.from).is_some());
        let unread = misfits(old, new);
        if !known && !unread.is_empty() {
            breaks.push(Breaks::OldValues);
            words.push_str(&format!("; an old value {}", places(&unread)));
        }
        let strange = misfits(new, old);
        if !strange.is_empty() {
            breaks.push(Breaks::ReadersElsewhere);
            words.push_str(&format!("; a new value {}", places(&strange)));
        }
        self.add(path, ChangeKind::OutputType, &breaks, words);
    }

    /// Whether a task of the new version can read what runs of the old version have.
    fn inputs(&mut self, path: &str, id: &str, task: &TaskContract) {
        for (name, input) in &task.inputs {
            let remapped = |producer: &str| {
                let mapped = |contract: &Contract| contract.tasks.get(producer).map(|task| task.mapped);
                mapped(self.old) != mapped(self.new)
            };
            let outputs = input.from.outputs();
            if outputs.iter().any(|(producer, _)| remapped(producer)) {
                continue;
            }
            let path = format!("{path}.inputs.{name}");
            let missing = outputs.iter().find(|(producer, key)| {
                self.old.tasks.get(*producer).is_some_and(|task| !task.outputs.contains_key(*key))
            });
            if let Some((producer, key)) = missing {
                if input.schema.check(&serde_json::Value::Null).is_err() || input.schema.is_anything() {
                    let words = format!(
                        "it is taken from task `{producer}`, which did not push `{key}`: a run that began before \
                         has no value for it"
                    );
                    self.add(path, ChangeKind::InputSource, &[Breaks::OldValues], words);
                }
                continue;
            }
            let Some(given) = given(self.old, &input.from) else { continue };
            let unread = misfits(&given, &input.schema);
            // What never fitted did not change.
            let before = self.old.tasks.get(id).and_then(|task| task.inputs.get(name));
            if unread.is_empty() || before.is_some_and(|before| before == input) {
                continue;
            }
            let words = format!("it reads {}; an old value {}", input.schema, places(&unread));
            self.add(path, ChangeKind::InputType, &[Breaks::OldValues], words);
        }
    }
}

/// What a source gives in a version, if that is known.
fn given(contract: &Contract, source: &Source) -> Option<Schema> {
    let output = |task: &str, key: &str| contract.tasks.get(task)?.outputs.get(key);
    match source {
        Source::Output { task, key } => output(task, key).cloned(),
        Source::Outputs { task, key } => output(task, key).map(Schema::list),
        Source::ElementOf(of) => given(contract, of).map(|sequence| sequence.element()),
        _ => None,
    }
}

fn changed(old: &Schema, new: &Schema) -> String {
    let (before, after) = (old.to_string(), new.to_string());
    if before == after {
        format!("{after}, of other values")
    } else {
        format!("it was {before} and is {after}")
    }
}

fn places(misfits: &[Misfit]) -> String {
    let mut told: Vec<String> = misfits.iter().take(PLACES).map(ToString::to_string).collect();
    if misfits.len() > PLACES {
        told.push(format!("and {} more", misfits.len() - PLACES));
    }
    format!("does not fit: {}", told.join(", "))
}

/// The names of either, sorted.
fn names<'a, T>(
    old: &'a std::collections::BTreeMap<String, T>,
    new: &'a std::collections::BTreeMap<String, T>,
) -> BTreeSet<&'a str> {
    old.keys().chain(new.keys()).map(String::as_str).collect()
}
