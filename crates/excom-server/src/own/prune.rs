//! Retention, at once and by rules of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use excom_core::Engine;
use excom_core::db::{Expires, Removed, Rule};
use excom_core::engine::Pruning;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::openapi::Reply;
use crate::app::App;
use crate::auth::{Asking, Role};
use crate::refusal::Refusal;
use crate::request::Document;

/// What is to go. Without `older_than` and `keep_last` it is what the settings say.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Prune")]
pub(super) struct Asked {
    /// Only tell what would go.
    #[serde(default)]
    dry_run: bool,
    /// Only of this DAG.
    dag_id: Option<Arc<str>>,
    /// XComs that were pushed so many seconds ago.
    older_than: Option<u64>,
    /// All but those of so many newest runs, for each task of a DAG.
    keep_last: Option<u32>,
}

/// What went, or would go.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Pruned {
    Removed(Removed),
    DryRun(WouldGo),
}

/// What would go, summed up.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct WouldGo {
    #[schemars(extend("enum" = [true]))]
    dry_run: bool,
    entries: u64,
    /// Bytes of their values.
    bytes: u64,
    due: Vec<Due>,
}

/// XComs of a DAG under a key that a rule catches.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Due {
    rule: Arc<str>,
    dag_id: Arc<str>,
    key: Arc<str>,
    entries: u64,
    bytes: u64,
}

/// Removes what is past its time. What is done stays done, also when whoever asked goes away.
pub(super) async fn prune(
    State(app): State<App>,
    asking: Asking,
    Document(asked): Document<Asked>,
) -> Result<Reply<Pruned>, Refusal> {
    asking.at_least(Role::Admin)?;
    let pruning = pruning(&app.engine, &asked);
    Ok(Reply::ok(match asked.dry_run {
        true => Pruned::DryRun(would_go(&app.engine, &pruning).await?),
        false => Pruned::Removed(app.engine.prune_by(&pruning, |_| ()).await?),
    }))
}

fn pruning(engine: &Engine, asked: &Asked) -> Pruning {
    let age = asked.older_than.map(|seconds| {
        let before = engine.clock().now().checked_sub(Duration::from_secs(seconds));
        (format!("older_than {seconds}"), Expires::Pushed(before.unwrap_or(Timestamp::UNIX_EPOCH)))
    });
    let count = asked.keep_last.map(|count| (format!("keep_last {count}"), Expires::Behind(count)));
    let rule = |(text, expires)| Rule { text: format!("prune {text}").into(), expires, outside: false };
    let own: Vec<Rule> = age.into_iter().chain(count).map(rule).collect();
    let rules = if own.is_empty() { engine.pruning().rules } else { own };
    Pruning { rules, dag_id: asked.dag_id.clone(), rate: None }
}

async fn would_go(engine: &Engine, pruning: &Pruning) -> Result<WouldGo, Refusal> {
    let mut sums: BTreeMap<_, (u64, u64)> = BTreeMap::new();
    let (mut entries, mut bytes, mut after) = (0, 0, None);
    // Reads that are not written yet count as reads.
    engine.flush_reads().await?;
    loop {
        let page = engine.due(pruning, after).await?;
        for due in page.items {
            let sum = sums.entry((due.rule, due.key.ti.dag_id, due.key.key)).or_default();
            (sum.0, sum.1) = (sum.0 + 1, sum.1 + due.size);
            (entries, bytes) = (entries + 1, bytes + due.size);
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let due = |((rule, dag_id, key), (entries, bytes)): ((usize, Arc<str>, Arc<str>), _)| {
        let rule = pruning.rules[rule].text.clone();
        Due { rule, dag_id, key, entries, bytes }
    };
    Ok(WouldGo { dry_run: true, entries, bytes, due: sums.into_iter().map(due).collect() })
}
