//! Stored objects that neither an entry, nor the history, nor an unfinished push knows.

use excom::config::Settings;
use excom::{Engine, ObjectName, Result, Version, embedded};
use jiff::Timestamp;
use serde_json::json;

use super::{Check, shown};
use crate::text;

/// Objects looked at: a report is read by somebody who waits for it.
const MOST: usize = 10_000;

const PAGE: usize = 1000;

/// What was found.
#[derive(Debug, Default)]
struct Found {
    looked_at: usize,
    orphans: u64,
    example: Option<ObjectName>,
}

pub(super) async fn look(engine: &Engine, settings: &Settings) -> Check {
    let age = settings.xcom.abandoned_after.text();
    match count(engine, settings).await {
        Ok(Found { orphans: 0, looked_at, .. }) => {
            let first = if looked_at < MOST { "" } else { ", among those looked at" };
            Check::fine("orphans", format!("none older than {age}{first}"), json!({"orphans": 0}))
        }
        Ok(Found { orphans, example, .. }) => {
            let told = format!("{} older than {age}", text::count(orphans, "file"));
            let example = example.map_or(String::new(), |name| format!(", such as {name}"));
            let values = shown(&embedded::Home::of(settings).values());
            Check::told("orphans", told, json!({"orphans": orphans})).problem(
                format!("nothing refers to files in {values}{example}"),
                "move them away; nothing can read them any more",
            )
        }
        Err(error) => Check::failed("orphans", "cannot be looked for", &error),
    }
}

async fn count(engine: &Engine, settings: &Settings) -> Result<Found> {
    let store = embedded::values(settings)?;
    let young = engine.clock().now().checked_sub(settings.xcom.abandoned_after.0);
    let young = young.unwrap_or(Timestamp::UNIX_EPOCH);
    let mut found = Found::default();
    let mut after: Option<ObjectName> = None;
    while found.looked_at < MOST {
        let page = store.list(after.as_ref(), PAGE).await?;
        for name in &page {
            // What is no version is no object of ours.
            let version = name.as_str().rsplit('/').next().and_then(|last| last.parse::<Version>().ok());
            let Some(version) = version.filter(|version| version.time() < young) else { continue };
            if !engine.db().knows_object(name, version).await? {
                found.orphans += 1;
                found.example.get_or_insert_with(|| name.clone());
            }
        }
        found.looked_at += page.len();
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.clone()),
            _ => break,
        }
    }
    Ok(found)
}
