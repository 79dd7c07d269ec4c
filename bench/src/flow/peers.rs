//! Other runners of DAGs, with the same chain: they keep values in memory, and lose them with the process.
#![allow(clippy::ptr_arg, reason = "a peer's macro wants the type of the value itself")]

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use dagrs::{
    Action, Content, DefaultNode, EnvVar, Graph, InChannels, Node as _, NodeTable, OutChannels, Output,
};
use dagx::{DagRunner, Task, task};

use super::Result as Measured;
use crate::report::Beside;

/// Tasks a second of each peer: chains of so many tasks, each of which hands on a kilobyte.
pub(super) fn chains(length: usize, runs: usize) -> Measured<Vec<(String, Beside)>> {
    let runtime = super::runtime()?;
    let rate = |begin: Instant| Beside::Figure((length * runs) as f64 / begin.elapsed().as_secs_f64());
    let text = "x".repeat(1024);
    let begin = Instant::now();
    for _ in 0..runs {
        runtime.block_on(with_dagx(&text, length));
    }
    let dagx = rate(begin);
    let begin = Instant::now();
    for _ in 0..runs {
        runtime.block_on(with_dagrs(&text, length))?;
    }
    Ok(vec![("dagx 0.3, in memory".into(), dagx), ("dagrs 0.9, in memory".into(), rate(begin))])
}

struct First(String);

#[task]
impl First {
    async fn run(&self) -> String {
        self.0.clone()
    }
}

struct HandOn;

#[task]
impl HandOn {
    async fn run(text: &String) -> String {
        text.clone()
    }
}

async fn with_dagx(text: &str, length: usize) {
    let dag = DagRunner::new();
    let first = dag.add_task(First(text.to_owned()));
    let mut last = dag.add_task(HandOn).depends_on(&first);
    for _ in 2..length {
        last = dag.add_task(HandOn).depends_on(last);
    }
    dag.run(|task| drop(tokio::spawn(task))).await.expect("the chain runs");
}

/// Hands on what it gets, or its own text when nothing is before it.
struct Step(Option<String>);

#[async_trait]
impl Action for Step {
    async fn run(&self, inputs: &mut InChannels, outputs: &mut OutChannels, _: Arc<EnvVar>) -> Output {
        let text = match &self.0 {
            Some(text) => Arc::new(text.clone()),
            None => inputs
                .map(|content| content.ok().and_then(Content::into_inner::<String>))
                .await
                .into_iter()
                .flatten()
                .next()
                .unwrap_or_default(),
        };
        outputs.broadcast(Content::new(String::clone(&text))).await;
        Output::empty()
    }
}

async fn with_dagrs(text: &str, length: usize) -> Measured<()> {
    let mut table = NodeTable::default();
    let mut graph = Graph::new();
    let mut before = None;
    for place in 0..length {
        let text = (place == 0).then(|| text.to_owned());
        let node = DefaultNode::with_action(format!("step {place}"), Step(text), &mut table);
        let id = node.id();
        graph.add_node(node).map_err(|e| format!("{e:?}"))?;
        if let Some(before) = before {
            graph.add_edge(before, vec![id]).map_err(|e| format!("{e:?}"))?;
        }
        before = Some(id);
    }
    graph.async_start().await.map_err(|e| format!("{e:?}"))?;
    Ok(())
}
