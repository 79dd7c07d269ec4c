//! Task groups: tasks with a common prefix, ordered as one; mapped ones run once for each element.

use std::fmt;
use std::sync::Arc;

use excom_core::Error;

use super::Dag;
use crate::arg::{GroupRef, Many, Upstream, XComArg};
use crate::error::invalid;
use crate::sequence::{Elements, Expand};

/// A task group that was just added, with what its closure gave.
pub struct Group<'dag, R> {
    dag: &'dag Dag,
    group: GroupRef,
    /// What the closure gave: of a mapped group, what its instances give, as sequences.
    pub output: R,
}

impl<R: fmt::Debug> fmt::Debug for Group<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("group", &self.group)
            .field("output", &self.output)
            .finish_non_exhaustive()
    }
}

impl<R> From<&Group<'_, R>> for Upstream {
    fn from(group: &Group<'_, R>) -> Self {
        Self::Group(group.group)
    }
}

impl<R> Group<'_, R> {
    /// Runs only when another task or group is done: the tasks in the group that wait for nothing in it wait
    /// for that.
    #[must_use = "the group's output is in it"]
    pub fn after(self, other: impl Into<Upstream>) -> Self {
        self.dag.order(Upstream::Group(self.group), other.into());
        self
    }
}

/// What a mapped group's closure gives, as it is seen outside: one value inside is a sequence there.
#[diagnostic::on_unimplemented(
    message = "a mapped group cannot give `{Self}`",
    label = "its closure gives what tasks in it give: an `XComArg`, a tuple of some, or nothing",
    note = "what is not of a task is known outside of the group anyway, and what is mapped itself cannot be in it"
)]
pub trait Outside {
    /// What it is outside.
    type Outside;

    /// The same, seen from outside.
    fn outside(self) -> Self::Outside;
}

impl<T> Outside for XComArg<T> {
    type Outside = XComArg<T, Many>;

    fn outside(self) -> Self::Outside {
        XComArg::from_origin(self.origin)
    }
}

impl Outside for () {
    type Outside = ();

    fn outside(self) {}
}

macro_rules! outside {
    ($($of:ident)*) => {
        impl<$($of: Outside),*> Outside for ($($of,)*) {
            type Outside = ($($of::Outside,)*);

            #[expect(non_snake_case, reason = "each part is named as its type")]
            fn outside(self) -> Self::Outside {
                let ($($of,)*) = self;
                ($($of.outside(),)*)
            }
        }
    };
}

outside!(A);
outside!(A B);
outside!(A B C);
outside!(A B C D);

/// A group while its DAG is built.
#[derive(Debug)]
pub(super) struct GroupNode {
    /// With the ids of the groups around it.
    pub(super) id: Arc<str>,
    pub(super) parent: Option<u32>,
    /// What it is mapped over.
    pub(super) expand: Option<Elements>,
    pub(super) after: Vec<Upstream>,
}

impl Dag {
    /// Adds a group: the tasks that the closure adds have `id.` before their ids, and other tasks can be
    /// ordered after the group as a whole.
    ///
    /// ```
    /// # extern crate excom_flow as excom;
    /// use excom::prelude::*;
    ///
    /// #[task]
    /// fn read() -> Vec<u64> { vec![1, 2] }
    /// #[task]
    /// fn count(rows: Vec<u64>) -> usize { rows.len() }
    /// #[task]
    /// fn tell(rows: usize) {}
    ///
    /// #[dag]
    /// fn nightly(dag: &Dag) {
    ///     let load = dag.group("load", |dag| count(dag, read(dag)));
    ///     tell(dag, load.output);
    /// }
    /// let graph = nightly().graph()?;
    /// assert_eq!(graph.tasks()[1].id(), "load.count");
    /// # Ok::<(), excom_core::Error>(())
    /// ```
    pub fn group<R>(&self, id: &str, build: impl FnOnce(&Self) -> R) -> Group<'_, R> {
        let group = self.open_group(id, None);
        let output = build(self);
        self.close_group();
        Group { dag: self, group, output }
    }

    /// Adds a group that runs once for each element, with the same tasks each time. The closure takes the
    /// element; what it gives is a sequence outside, and can be expanded over.
    ///
    /// ```
    /// # extern crate excom_flow as excom;
    /// use excom::prelude::*;
    ///
    /// #[task]
    /// fn read(station: String) -> Vec<f64> { vec![station.len() as f64] }
    /// #[task]
    /// fn peak(days: Vec<f64>) -> f64 { days.into_iter().fold(f64::MIN, f64::max) }
    /// #[task]
    /// fn highest(peaks: Vec<f64>) -> f64 { peaks.into_iter().fold(f64::MIN, f64::max) }
    ///
    /// #[dag]
    /// fn stations(dag: &Dag) {
    ///     let stations = expand(["Seattle", "New York"]);
    ///     let peaks = dag.expand_group("station", stations, |dag, station: XComArg<String>| {
    ///         peak(dag, read(dag, station))
    ///     });
    ///     highest(dag, peaks.output);
    /// }
    /// assert!(stations().graph()?.tasks()[0].is_mapped());
    /// # Ok::<(), excom_core::Error>(())
    /// ```
    pub fn expand_group<T, R: Outside>(
        &self,
        id: &str,
        over: Expand<T>,
        build: impl FnOnce(&Self, XComArg<T>) -> R,
    ) -> Group<'_, R::Outside> {
        let group = self.open_group(id, Some(over.elements));
        let output = build(self, XComArg::element(group)).outside();
        self.close_group();
        Group { dag: self, group, output }
    }

    fn open_group(&self, id: &str, expand: Option<Elements>) -> GroupRef {
        let mut building = self.building.borrow_mut();
        let id: Arc<str> = building.prefixed(id);
        if building.ids.insert(id.clone(), 0).is_some() {
            building.problems.push(taken("two groups, or a group and a task, have", &id));
        }
        let mapped = building.open.iter().find(|group| building.groups[**group as usize].expand.is_some());
        if let (Some(_), Some(outer)) = (&expand, mapped) {
            let outer = &building.groups[*outer as usize].id;
            let problem = invalid(format!("the mapped group `{id}` is inside the mapped group `{outer}`"))
                .hint("make pairs of both sequences, and map one group over them");
            building.problems.push(problem);
        }
        let index = u32::try_from(building.groups.len()).unwrap_or(u32::MAX);
        let parent = building.open.last().copied();
        building.groups.push(GroupNode { id, parent, expand, after: Vec::new() });
        building.open.push(index);
        GroupRef { dag: self.token, index }
    }

    fn close_group(&self) {
        self.building.borrow_mut().open.pop();
    }
}

pub(super) fn taken(who: &str, id: &str) -> Error {
    invalid(format!("{who} the id `{id}`")).hint("give each task and group of a DAG an id of its own")
}
