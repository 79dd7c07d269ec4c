use std::sync::atomic::{AtomicUsize, Ordering};

use excom_core::engine::{Receipt, TaskAnswer};
use excom_core::value::Payload;
use excom_core::{Answer, Engine, SequenceKey, Slice, memory};

use super::*;
use crate::instance::RunFacts;
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

    async fn note_rendered(&self, _: &[(String, excom_core::Value)]) -> excom_core::Result<()> {
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
    let key = |id: &str| TaskInstanceKey::new("d", "r", id, -1).unwrap();
    let shared = Shared {
        engine: Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new())).build(),
        tasks: graph.shared(),
        keys: vec![key("a"), key("b"), key("c")],
        run: Arc::new(RunFacts::default()),
        logs: None,
        reporter: None,
    };
    let channel = Empty::default();
    let mut arguments = pollster::block_on(arguments(&shared, 2, &channel)).unwrap();
    let mut taken = Vec::new();
    while let Some((name, argument)) = arguments.next() {
        taken.push((name.to_string(), argument.required().unwrap_err().to_string()));
    }
    let names: Vec<&str> = taken.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["env.A", "env.B", "env.C"]);
    assert!(taken[2].1.contains("d/r/a `k`"), "{taken:?}");
    assert_eq!((channel.pulls.into_inner(), channel.keys.into_inner()), (1, 3));
    let channel = Empty::default();
    pollster::block_on(super::arguments(&shared, 0, &channel)).unwrap();
    assert_eq!(channel.pulls.into_inner(), 0);
}
