//! What a mapped task or group is expanded over, when the DAG runs: how many instances, and which elements
//! each takes.

use excom_core::{ErrorKind, TaskChannel, TaskInstanceKey, UNMAPPED, Value, Version, XComKey};

use crate::dag::Graph;
use crate::error::invalid;
use crate::outcome::Result;
use crate::params::Params;
use crate::runner::schedule::Target;
use crate::sequence::{Elements, Resolved, Unresolved, resolve};

/// The sequences that something is expanded over, with their lengths.
#[derive(Debug)]
pub(crate) struct Expansion {
    factors: Vec<Resolved>,
    length: u32,
}

impl Expansion {
    /// Finds out the lengths of what a task or group is expanded over.
    ///
    /// # Errors
    /// When there is no value, it is no sequence, or there are more than `most` instances.
    pub(crate) async fn resolve(
        graph: &Graph,
        target: Target,
        run: &TaskInstanceKey,
        params: &Params,
        channel: &dyn TaskChannel,
        most: u32,
    ) -> Result<Self, Unresolved> {
        let (who, elements): (_, &[Elements]) = match target {
            Target::Task(task) => {
                let task = &graph.tasks()[task as usize];
                (format!("task `{}`", task.id()), task.over.as_ref().map_or(&[], |over| over.factors()))
            }
            Target::Group(group) => {
                let group = &graph.groups()[group as usize];
                (format!("group `{}`", group.id), std::slice::from_ref(&group.elements))
            }
        };
        let task = |task: u32| sibling(run, graph.tasks()[task as usize].shared_id().clone(), UNMAPPED);
        let mut factors = Vec::with_capacity(elements.len());
        for elements in elements {
            factors.push(resolve(elements, &task, params, channel).await?);
        }
        let length = factors.iter().try_fold(1usize, |length, factor| length.checked_mul(factor.len()));
        let length = length.and_then(|length| u32::try_from(length).ok()).filter(|length| *length <= most);
        match length {
            Some(length) => Ok(Self { factors, length }),
            None => {
                let lengths: Vec<String> = factors.iter().map(|factor| factor.len().to_string()).collect();
                Err(Unresolved::Failed(too_long(
                    &format!("{who} would have {} instances", lengths.join(" × ")),
                    most,
                )))
            }
        }
    }

    pub(crate) fn len(&self) -> u32 {
        self.length
    }

    /// The element that an instance takes of a factor.
    pub(crate) async fn element(
        &self,
        factor: usize,
        map_index: i32,
        channel: &dyn TaskChannel,
    ) -> Result<Value> {
        let resolved = self.factors.get(factor).ok_or("the task is expanded over fewer sequences")?;
        resolved.get(self.place(factor, map_index), channel).await
    }

    /// Where the element lies in its factor: the last factor varies fastest.
    fn place(&self, factor: usize, map_index: i32) -> usize {
        let index = usize::try_from(map_index).unwrap_or(0);
        let behind: usize = self.factors[factor + 1..].iter().map(Resolved::len).product();
        index / behind.max(1) % self.factors[factor].len().max(1)
    }

    /// The secrets among the elements that are at hand, of which no channel hears when they are taken.
    pub(crate) fn secrets(&self, mut visit: impl FnMut(&Value)) {
        self.factors.iter().for_each(|factor| factor.secrets(&mut visit));
    }

    /// The XComs that elements are parts of, for the ledger.
    pub(crate) fn sources(&self) -> Vec<(XComKey, Version)> {
        let mut sources = Vec::new();
        for factor in &self.factors {
            factor.sources(&mut |key, version| sources.push((key.clone(), version)));
        }
        sources
    }
}

pub(crate) fn too_long(what: &str, most: u32) -> excom_core::Error {
    excom_core::Error::new(ErrorKind::TooLarge, format!("{what}; at most {most} are allowed"))
        .hint("the setting is [core] max_map_length")
        .hint("let each instance work on several elements, in chunks")
}

/// A task instance of the same run.
pub(crate) fn sibling(of: &TaskInstanceKey, task_id: std::sync::Arc<str>, map_index: i32) -> TaskInstanceKey {
    let mut key = of.clone();
    (key.task_id, key.map_index) = (task_id, map_index);
    key
}

/// A dict of arguments by name.
pub(crate) fn kwargs(element: &Value, task: &crate::dag::Task) -> Result<Vec<(String, Value)>> {
    if !matches!(element.shape(), excom_core::Shape::Dict(_)) {
        return Err(invalid(format!(
            "expand_kwargs takes a dict of arguments for each instance, and this element is a {}",
            element.shape()
        ))
        .into());
    }
    let mut arguments = Vec::new();
    for (name, value) in crate::entries::of(element.as_str())? {
        let names = || task.inputs.iter().map(|(name, _)| &**name);
        if !names().any(|known| known == name) {
            let error = invalid(format!("task `{}` has no argument `{name}`", task.id()));
            return Err(match crate::error::nearest(&name, names()) {
                Some(near) => error.hint(format!("nearest: `{near}`")),
                None => error.hint(format!("it has {}", crate::error::listing(names()))),
            }
            .into());
        }
        let value = Value::parse(value.get().to_owned())?;
        arguments.push((name, value.secret_if(element.is_secret())));
    }
    Ok(arguments)
}
