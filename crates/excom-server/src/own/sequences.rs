//! What mapped tasks produced, a page at a time.

use axum::extract::State;
use excom_core::Answer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answers::Item;
use super::names::OfSequence;
use super::openapi::Reply;
use crate::app::App;
use crate::auth::Asking;
use crate::refusal::Refusal;
use crate::request::{Path, Query};

/// Which page.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// Elements behind this map index.
    after: Option<i32>,
    /// The most elements; 100 when it is not said, never more than 1000.
    limit: Option<u32>,
}

/// A page of a sequence.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Page {
    /// Elements at their real map indexes, in order. What is too large to be told with others is told as `large`.
    items: Vec<Item>,
    /// What to give as `after` for the next page; null at the end.
    next: Option<i32>,
}

/// The map indexes at which there are elements.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Indexes {
    /// In order.
    indexes: Vec<i32>,
}

pub(super) async fn indexes(
    State(app): State<App>,
    asking: Asking,
    Path(sequence): Path<OfSequence>,
) -> Result<Reply<Indexes>, Refusal> {
    let indexes = app.engine.indexes(&asking.caller, &sequence.key()?).await?;
    Ok(Reply::ok(Indexes { indexes }))
}

/// Elements as long as they fit; at least one, so that whoever goes on comes to the end.
pub(super) async fn page(
    State(app): State<App>,
    asking: Asking,
    Path(sequence): Path<OfSequence>,
    Query(Which { after, limit }): Query<Which>,
) -> Result<Reply<Page>, Refusal> {
    let (key, limit) = (sequence.key()?, limit.unwrap_or(100).clamp(1, 1000));
    let mut bytes = app.options.body_limit;
    let mut found = app.engine.page_within(&asking.caller, &key, after, limit, &mut bytes).await?;
    let mut more = found.len() == limit as usize;
    let fits = found.iter().take_while(|(_, answer)| !matches!(answer, Answer::Large(_))).count().max(1);
    if fits < found.len() {
        found.truncate(fits);
        more = true;
    }
    found.iter().for_each(|(_, answer)| app.metrics.answered(answer));
    let next = found.last().map(|(map_index, _)| *map_index).filter(|_| more);
    Ok(Reply::ok(Page { items: found.into_iter().map(Item::of).collect(), next }))
}
