//! Which tasks a task skips behind it, one by one, as Airflow must be told.

use std::collections::BTreeSet;

use excom_core::{Error, ErrorKind, Result};
use excom_flow::{Graph, SkipDownstream};

/// The ids of the tasks to skip, in the order of the DAG.
///
/// # Errors
/// When a task is chosen that is not directly behind it.
pub(crate) fn tasks(graph: &Graph, task_id: &str, skips: &SkipDownstream) -> Result<Vec<String>> {
    let direct = behind(graph, &BTreeSet::from([task_id]));
    let skipped = match skips {
        SkipDownstream::Direct => direct,
        SkipDownstream::All => all_behind(graph, &BTreeSet::from([task_id])),
        SkipDownstream::AllBut(chosen) => {
            let chosen: BTreeSet<&str> = chosen.iter().map(String::as_str).collect();
            if let Some(foreign) = chosen.iter().find(|chosen| !direct.contains(*chosen)) {
                let message = format!("the branch `{foreign}` is not directly behind task `{task_id}`");
                let names: Vec<&str> = direct.into_iter().collect();
                return Err(Error::new(ErrorKind::InvalidRequest, message)
                    .hint(format!("directly behind it are {}", names.join(", "))));
            }
            // What a chosen task leads to runs also where it is directly behind this one too.
            let kept = all_behind(graph, &chosen);
            direct.into_iter().filter(|task| !chosen.contains(task) && !kept.contains(task)).collect()
        }
        other => {
            let message = format!("the choice {other:?} cannot be told to Airflow");
            return Err(Error::new(ErrorKind::Incompatible, message));
        }
    };
    let ids = graph.tasks().iter().map(excom_flow::Task::id);
    Ok(ids.filter(|id| skipped.contains(id)).map(str::to_owned).collect())
}

/// The tasks that are directly behind one of some.
fn behind<'a>(graph: &'a Graph, tasks: &BTreeSet<&str>) -> BTreeSet<&'a str> {
    let after = |task: &&excom_flow::Task| task.upstream().any(|upstream| tasks.contains(upstream));
    graph.tasks().iter().filter(after).map(excom_flow::Task::id).collect()
}

/// The tasks that are behind one of some, however far.
fn all_behind<'a>(graph: &'a Graph, tasks: &BTreeSet<&str>) -> BTreeSet<&'a str> {
    let mut all = BTreeSet::new();
    let mut next = behind(graph, tasks);
    while !next.is_empty() {
        let further = behind(graph, &next);
        all.append(&mut next);
        next = further.difference(&all).copied().collect();
    }
    all
}

#[cfg(test)]
mod tests {
    use excom_flow::{DagDefinition, TaskRef};

    use super::*;

    #[test]
    fn a_branch_keeps_what_it_chose_and_what_that_leads_to() {
        // first → a → join, first → b → far, first → join
        let definition = DagDefinition::new("d", |dag| {
            let first = TaskRef::from(dag.bash("first", "true"));
            let a = TaskRef::from(dag.bash("a", "true").after(first));
            let b = TaskRef::from(dag.bash("b", "true").after(first));
            dag.bash("join", "true").after(a).after(first);
            dag.bash("far", "true").after(b);
        });
        let graph = definition.graph().unwrap();
        let skipped = |skips| tasks(&graph, "first", &skips).unwrap();
        assert_eq!(skipped(SkipDownstream::AllBut(vec!["a".into()])), ["b"]);
        assert_eq!(skipped(SkipDownstream::AllBut(vec!["b".into()])), ["a", "join"]);
        assert_eq!(skipped(SkipDownstream::Direct), ["a", "b", "join"]);
        assert_eq!(skipped(SkipDownstream::All), ["a", "b", "join", "far"]);
        let error = tasks(&graph, "first", &SkipDownstream::AllBut(vec!["far".into()])).unwrap_err();
        assert!(error.to_string().contains("`far` is not directly behind"), "{error}");
    }
}
