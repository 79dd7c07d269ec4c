use std::sync::atomic::{AtomicUsize, Ordering};

use excom_core::engine::{Receipt, TaskAnswer};
use excom_core::value::Payload;
use excom_core::{Answer, SequenceKey, Slice, TaskChannel, TaskInstanceKey};

use super::*;
use crate::{Bash, DagDefinition};

/// A channel that has nothing, and counts how often it is asked.
#[derive(Debug, Default)]
struct Empty {
    pulls: AtomicUsize,
    keys: AtomicUsize,
}

#[async_trait::async_trait]
impl TaskChannel for Empty {
    async fn pull(&self, keys: &[XComKey], _: PullOptions) -> excom_core::Result<Vec<Answer>> {
        self.pulls.fetch_add(1, Ordering::Relaxed);
        self.keys.fetch_add(keys.len(), Ordering::Relaxed);
        Ok(keys.iter().map(|key| Answer::Absent(Box::new(key.clone()))).collect())
    }

    async fn pull_tasks(&self, _: &[SequenceKey], _: PullOptions) -> excom_core::Result<Vec<TaskAnswer>> {
        unreachable!("arguments are pulled by key")
    }

    async fn push(&self, _: &XComKey, _: Payload) -> excom_core::Result<Receipt> {
        unreachable!("nothing is pushed")
    }

    async fn count(&self, _: &SequenceKey) -> excom_core::Result<u64> {
        unreachable!("nothing is counted")
    }

    async fn slice(&self, _: &SequenceKey, _: Slice) -> excom_core::Result<Vec<(i32, Answer)>> {
        unreachable!("nothing is sliced")
    }

    async fn variable(&self, _: &str) -> excom_core::Result<Option<String>> {
        unreachable!("no variable is read")
    }

    async fn set_variable(&self, _: &str, _: Option<&str>) -> excom_core::Result<()> {
        unreachable!("no variable is set")
    }

    async fn note_rendered(&self, _: &[(String, Value)]) -> excom_core::Result<()> {
        unreachable!("nothing is rendered")
    }

    fn log(&self, _: &str) {}
}

#[test]
fn all_values_of_other_tasks_come_in_one_pull() {
    let definition = DagDefinition::new("d", |dag| {
        let a = dag.bash("a", "true").output();
        let b = dag.bash("b", "true").output();
        dag.add(
            "c",
            Bash::new("true").env("A", a).env("B", b).env("C", a.output::<u8>("k")).env("D", "text"),
        );
    });
    let graph = definition.graph().unwrap();
    let pulled = |number: u32, id: &str| {
        let channel = Arc::new(Empty::default());
        let ti = TaskInstance::new(channel.clone(), TaskInstanceKey::new("d", "r", id, -1).unwrap());
        let task = &graph.tasks()[number as usize];
        let arguments = pollster::block_on(arguments(&graph, task, number, &ti, None, 10)).unwrap();
        let asked = (channel.pulls.load(Ordering::Relaxed), channel.keys.load(Ordering::Relaxed));
        (arguments, asked)
    };
    let (mut arguments, asked) = pulled(2, "c");
    let mut taken = Vec::new();
    while let Some((name, argument)) = arguments.next() {
        taken.push((name.to_string(), argument.required().unwrap_err().to_string()));
    }
    let names: Vec<&str> = taken.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["env.A", "env.B", "env.C"]);
    assert!(taken[2].1.contains("d/r/a `k`"), "{taken:?}");
    assert_eq!(asked, (1, 3));
    assert_eq!(pulled(0, "a").1.0, 0);
}
