//! Pictures of a DAG: as text, as Mermaid and as SVG. Pure functions of its graph.
//!
//! All three show the same: tasks inside their groups, `[]` behind what runs once for each element, a trigger
//! rule that is not `all_success`, setups and teardowns.

mod layout;
mod mermaid;
mod svg;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use super::{Graph, Role, Task, TriggerRule};

impl Graph {
    /// The tasks as lines of text, each with the tasks that it runs after; tasks of a group are indented below
    /// it. The number in front is the longest way to a task: those with the same number can run at the same
    /// time.
    ///
    /// ```
    /// # extern crate excom_flow as excom;
    /// use excom::prelude::*;
    ///
    /// #[task]
    /// fn days() -> Vec<f64> { vec![21.5, 34.0] }
    /// #[task]
    /// fn rounded(day: f64) -> i64 { day as i64 }
    ///
    /// #[dag]
    /// fn rounding(dag: &Dag) { rounded(dag, expand(days(dag))); }
    ///
    /// assert_eq!(rounding().graph()?.to_text(), "\
    /// rounding: 2 tasks
    ///   1  days
    ///   2  rounded[]  after days
    /// ");
    /// # Ok::<(), excom_core::Error>(())
    /// ```
    pub fn to_text(&self) -> String {
        text::draw(self)
    }

    /// A [Mermaid](https://mermaid.js.org) flow chart, which many pages render by themselves.
    pub fn to_mermaid(&self) -> String {
        mermaid::draw(self)
    }

    /// A picture that stands by itself, readable on light and on dark pages.
    pub fn to_svg(&self) -> String {
        svg::draw(self)
    }

    /// The tasks at both ends of each edge.
    fn edges(&self) -> Vec<(usize, usize)> {
        let tasks = (0..).zip(self.tasks());
        tasks.flat_map(|(to, task)| task.upstream.iter().map(move |from| (*from as usize, to))).collect()
    }

    /// The length of the longest way to each task, from 0.
    fn levels(&self) -> Vec<usize> {
        let mut levels = vec![0; self.tasks().len()];
        let mut waits: Vec<usize> = self.tasks().iter().map(|task| task.upstream.len()).collect();
        let mut free: Vec<usize> = (0..waits.len()).filter(|task| waits[*task] == 0).collect();
        while let Some(task) = free.pop() {
            for next in &self.tasks()[task].downstream {
                let next = *next as usize;
                levels[next] = levels[next].max(levels[task] + 1);
                waits[next] -= 1;
                if waits[next] == 0 {
                    free.push(next);
                }
            }
        }
        levels
    }
}

/// A group, or the whole DAG, with what is in it.
#[derive(Debug, Default)]
struct Scope {
    /// With the groups around it; empty for the DAG.
    id: String,
    mapped: bool,
    children: Vec<Child>,
}

#[derive(Debug)]
enum Child {
    Task(usize),
    Group(Scope),
}

impl Scope {
    /// The groups of a DAG, which the ids of its tasks tell, each where its first task is.
    fn of(graph: &Graph) -> Self {
        let mut root = Self::default();
        for (number, task) in graph.tasks().iter().enumerate() {
            let groups: Vec<&str> = task.id().match_indices('.').map(|(dot, _)| &task.id()[..dot]).collect();
            root.add(number, &groups, graph);
        }
        root
    }

    /// Adds a task inside of groups, the outermost first.
    fn add(&mut self, task: usize, groups: &[&str], graph: &Graph) {
        let Some((id, inner)) = groups.split_first() else {
            return self.children.push(Child::Task(task));
        };
        for child in &mut self.children {
            if let Child::Group(group) = child
                && group.id == *id
            {
                return group.add(task, inner, graph);
            }
        }
        let mapped = graph.groups().iter().any(|group| &*group.id == *id);
        let mut group = Self { id: (*id).to_owned(), mapped, children: Vec::new() };
        group.add(task, inner, graph);
        self.children.push(Child::Group(group));
    }

    /// The tasks in it and in the groups in it.
    fn tasks(&self) -> BTreeSet<usize> {
        self.children.iter().flat_map(Child::tasks).collect()
    }

    /// Its children in an order in which each is behind all those before it; where a task is between two tasks of
    /// a group there is none, and one edge runs backwards. `levels` are those of the tasks, for what is free.
    fn in_order(&self, edges: &[(usize, usize)], levels: &[usize]) -> Vec<usize> {
        let child_of: BTreeMap<usize, usize> = (0..)
            .zip(&self.children)
            .flat_map(|(child, held)| held.tasks().into_iter().map(move |task| (task, child)))
            .collect();
        let first = |child: usize| self.children[child].tasks().into_iter().map(|task| levels[task]).min();
        let mut left: Vec<(Option<usize>, usize)> =
            (0..self.children.len()).map(|child| (first(child), child)).collect();
        left.sort_unstable();
        let mut waits = vec![BTreeSet::new(); self.children.len()];
        for (from, to) in edges {
            if let (Some(from), Some(to)) = (child_of.get(from), child_of.get(to))
                && from != to
            {
                waits[*to].insert(*from);
            }
        }
        let mut order = Vec::with_capacity(left.len());
        while !left.is_empty() {
            let free = left.iter().position(|(_, child)| waits[*child].is_empty()).unwrap_or(0);
            let (_, child) = left.remove(free);
            for waits in &mut waits {
                waits.remove(&child);
            }
            order.push(child);
        }
        order
    }

    /// Its own part of its id, with `[]` when it is mapped.
    fn label(&self) -> String {
        label(&self.id, self.mapped)
    }
}

impl Child {
    fn tasks(&self) -> BTreeSet<usize> {
        match self {
            Self::Task(task) => BTreeSet::from([*task]),
            Self::Group(group) => group.tasks(),
        }
    }
}

fn label(id: &str, mapped: bool) -> String {
    let own = id.rsplit('.').next().unwrap_or(id);
    format!("{own}{}", if mapped { "[]" } else { "" })
}

impl Task {
    fn label(&self) -> String {
        label(self.id(), self.is_mapped())
    }

    /// What is particular about it, if anything.
    fn note(&self) -> Option<String> {
        let settings = self.settings();
        let role = match settings.role {
            Role::Work => None,
            Role::Setup => Some("setup"),
            Role::Teardown | Role::TeardownThatCounts => Some("teardown"),
        };
        let usual = match settings.role.is_teardown() {
            true => TriggerRule::AllDoneSetupSuccess,
            false => TriggerRule::AllSuccess,
        };
        let rule = (settings.trigger_rule != usual).then(|| settings.trigger_rule.name());
        let notes: Vec<&str> = role.into_iter().chain(rule).collect();
        (!notes.is_empty()).then(|| notes.join(", "))
    }
}

#[cfg(test)]
mod tests;
