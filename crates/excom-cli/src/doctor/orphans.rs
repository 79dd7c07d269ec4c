//! Stored objects that neither an entry, nor the history, nor an unfinished push knows.

use excom::config::Settings;
use excom::core::engine::Orphan;
use excom::{Engine, Result};
use serde_json::json;

use super::Check;
use crate::text;

/// Objects looked at in a store: a report is read by somebody who waits for it.
const MOST: u64 = 10_000;

/// What was found.
#[derive(Debug, Default)]
struct Found {
    orphans: u64,
    /// Whether there was more to look at.
    more: bool,
    example: Option<Orphan>,
}

pub(super) async fn look(engine: &Engine, settings: &Settings) -> Check {
    let age = settings.xcom.abandoned_after.text();
    match count(engine, settings).await {
        Ok(Found { orphans: 0, more, .. }) => {
            let first = if more { ", among those looked at" } else { "" };
            Check::fine("orphans", format!("none older than {age}{first}"), json!({"orphans": 0}))
        }
        Ok(Found { orphans, example, .. }) => {
            let told = format!("{} older than {age}", text::count(orphans, "object"));
            let example = example.map_or(String::new(), |orphan| format!("such as {orphan}"));
            Check::told("orphans", told, json!({"orphans": orphans}))
                .problem(example, "`excom gc --dry-run` lists them, `excom gc` removes them")
        }
        Err(error) => Check::failed("orphans", "cannot be looked for", &error),
    }
}

async fn count(engine: &Engine, settings: &Settings) -> Result<Found> {
    let mut found = Found::default();
    for store in engine.stores() {
        let (mut after, mut looked_at) = (None, 0);
        loop {
            let page = engine.orphans(store, after.as_ref(), settings.xcom.abandoned_after.0).await?;
            looked_at += page.looked_at;
            found.orphans += page.found.len() as u64;
            found.example = found.example.or_else(|| page.found.into_iter().next());
            after = page.next;
            if after.is_none() {
                break;
            }
            if looked_at >= MOST {
                found.more = true;
                break;
            }
        }
    }
    Ok(found)
}
