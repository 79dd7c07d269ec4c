//! The hunt with `excom trace`: one tree back, one tree forwards, and another one only where a tree ends early.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::build::{DAG, RUN};
use super::command::Commands;
use super::{Found, Steps, Try, looks_wrong, name, plan};
use crate::Result;

/// What shows all that is at each place.
const ALL: [&str; 2] = ["--children", "1000"];

/// The culprit and the consumers, and what each took.
pub(super) fn hunt(commands: &Commands<'_>) -> Result<(Found, Steps, Steps)> {
    let culprit = back(commands)?;
    let back = commands.steps();
    let consumers = forth(commands, &culprit)?;
    Ok((Found { culprit, consumers }, back, commands.steps()))
}

/// From a wrong value to one of which it was made, as long as there is one.
fn back(commands: &Commands<'_>) -> Result<Try> {
    let mut at = (plan::RESULT.to_owned(), excom::UNMAPPED);
    let mut more: &[&str] = &[];
    loop {
        let document = commands.ask_of(&["trace"], &at.0, at.1, more)?;
        let root = &document["trace"];
        let tree = Tree::of(root);
        let mut node = root;
        while let Some(origin) = tree.children(node).find(|child| looks_wrong(child)) {
            node = origin;
        }
        if !ends_early(tree.shown(node)) {
            let (task_id, map_index) = name(node);
            let number = node["try_number"].as_u64().ok_or("the culprit's try is not told")?;
            return Ok((task_id, map_index, number));
        }
        if name(node) == at && !more.is_empty() {
            return Err(format!("the trace of {at:?} does not show where it comes from").into());
        }
        // What is wrong may be among what was left out here.
        (at, more) = (name(node), &ALL);
    }
}

/// All who read the culprit's value, or one that was made of it.
fn forth(commands: &Commands<'_>, culprit: &Try) -> Result<BTreeSet<Try>> {
    let mut consumers = BTreeSet::new();
    let mut asked = BTreeSet::new();
    let mut open = vec![(culprit.0.clone(), culprit.1)];
    while let Some(at) = open.pop() {
        if !asked.insert(at.clone()) {
            continue;
        }
        let mut document = commands.ask_of(&["trace", "--forwards"], &at.0, at.1, &[])?;
        if Tree::of(&document["trace"]).nodes.iter().any(|node| node["more"] != 0) {
            document = commands.ask_of(&["trace", "--forwards"], &at.0, at.1, &ALL)?;
        }
        let tree = Tree::of(&document["trace"]);
        for node in tree.nodes {
            if node["node"] == "reader" && node["task"].is_object() {
                let (task_id, map_index) = name(&node["task"]);
                let number = node["try_number"].as_u64().ok_or("a reader's try is not told")?;
                consumers.insert((task_id, map_index, number));
            }
            if node["node"] == "version" && ends_early(node) && name(node) != at {
                open.push(name(node));
            }
        }
    }
    Ok(consumers)
}

/// Whether there is more behind a node than the tree shows.
fn ends_early(node: &Json) -> bool {
    let sequences = children_of(node).filter(|child| child["node"] == "sequence");
    node["cut"] == true || std::iter::once(node).chain(sequences).any(|node| node["more"] != 0)
}

fn children_of(node: &Json) -> impl Iterator<Item = &Json> {
    node["children"].as_array().into_iter().flatten()
}

/// A tree as its nodes; what is in it several times has its children in one place.
struct Tree<'a> {
    nodes: Vec<&'a Json>,
    expanded: BTreeMap<String, &'a Json>,
}

impl<'a> Tree<'a> {
    fn of(root: &'a Json) -> Self {
        let mut nodes = vec![root];
        let mut next = 0;
        while let Some(node) = nodes.get(next).copied() {
            nodes.extend(children_of(node));
            next += 1;
        }
        let whole = nodes.iter().filter(|node| node["node"] == "version" && node["repeated"] == false);
        let expanded = whole.map(|node| (version(node), *node)).collect();
        Self { nodes, expanded }
    }

    /// The place where a node has its children.
    fn shown(&self, node: &'a Json) -> &'a Json {
        if node["repeated"] == true {
            self.expanded.get(&version(node)).copied().unwrap_or(node)
        } else {
            node
        }
    }

    /// The versions that a version was made of; of a sequence its elements.
    fn children(&self, node: &'a Json) -> impl Iterator<Item = &'a Json> {
        children_of(self.shown(node)).flat_map(|child| match child["node"] == "sequence" {
            true => children_of(child).collect::<Vec<_>>(),
            false => vec![child],
        })
    }
}

/// What tells a version from all others of the run.
fn version(node: &Json) -> String {
    debug_assert!(node["dag_id"] == DAG && node["run_id"] == RUN, "a run that reads only itself");
    let (task_id, map_index) = name(node);
    format!("{task_id} {map_index} {}", node["version"])
}
