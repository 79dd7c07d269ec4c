//! `excom xcom history`: the versions of an XCom, and the value of one of them.

use clap::ArgMatches;
use excom::core::db::Filter;
use excom::core::entry::PastEntry;
use excom::{EntryInfo, Value, Version, XComKey};
use serde_json::{Value as Json, json};

use super::{concealed, described, no_value, raw, reveals};
use crate::context::Context;
use crate::door::Door;
use crate::identity;
use crate::output::{Output, Style};
use crate::stop::{NoValue, Stop};
use crate::text::{self, Table};

/// More versions than retention lets one XCom have in practice.
const ALL: u32 = 1_000_000;

pub(crate) async fn run(context: &Context, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    let key = identity::xcom(matches, context.environment())?;
    let (door, empty) = context.looking()?;
    if let Some(version) = matches.get_one::<String>("version") {
        let version: Version = version.parse()?;
        let value = value(&door, &key, version).await;
        door.close(output).await;
        let value = value?;
        if value.is_secret() && !reveals(&door.caller, matches) {
            return Err(concealed(&key));
        }
        if output.json() {
            #[derive(serde::Serialize)]
            struct Document<'a> {
                key: &'a XComKey,
                version: Version,
                value: Box<serde_json::value::RawValue>,
            }
            return output.document(&Document { key: &key, version, value: raw(&value)? });
        }
        return output.line(value.as_str());
    }

    let limit = matches.get_one::<u32>("limit").copied().unwrap_or(20);
    let current = current(&door, &key).await?;
    let past = door.history(&key, limit.saturating_sub(u32::from(current.is_some()))).await?;
    door.close(output).await;
    if current.is_none() && past.is_empty() {
        let answer = door.answer(&key).await?;
        return answer.map_or(Ok(()), |answer| Err(no_value(answer, empty)));
    }
    if output.json() {
        let current = current.as_ref().map(described);
        let past: Vec<Json> = past.iter().map(ended).collect();
        return output.document(&json!({"key": key, "current": current, "past": past}));
    }
    for (i, line) in table(current.as_ref(), &past).lines().enumerate() {
        if i == 0 {
            output.line(&output.styled(Style::Heading, &line))?;
        } else {
            output.line(&line)?;
        }
    }
    Ok(())
}

/// An earlier version as a document.
fn ended(past: &PastEntry) -> Json {
    let mut document = json!(past);
    document["pushed_at"] = json!(past.info.pushed_at());
    document
}

/// The entry that a pull gets now.
async fn current(door: &Door, key: &XComKey) -> Result<Option<EntryInfo>, Stop> {
    let filter = Filter {
        dag_id: Some(key.ti.dag_id.clone()),
        run_id: Some(key.ti.run_id.clone()),
        task_id: Some(key.ti.task_id.clone()),
        map_index: Some(key.ti.map_index),
        key: Some(key.key.clone()),
    };
    Ok(door.list(&filter, None, 1).await?.items.pop())
}

fn table(current: Option<&EntryInfo>, past: &[PastEntry]) -> Table {
    let mut table = Table::new(vec!["version", "pushed", "by", "kind", "size", "ended", "why", "bytes"]);
    let row = |info: &EntryInfo, ended: [String; 3]| {
        let version = [
            info.version.to_string(),
            text::time(info.pushed_at()),
            info.writer.to_string(),
            info.shape.to_string(),
            text::size(info.size),
        ];
        version.into_iter().chain(ended)
    };
    if let Some(info) = current {
        table.row(row(info, ["-".into(), "current".into(), "kept".into()]));
    }
    for entry in past {
        let why = format!("{} by {}", entry.reason, entry.by);
        let bytes = if entry.has_bytes { "kept" } else { "gone" };
        table.row(row(&entry.info, [text::time(entry.ended_at), why, bytes.into()]));
    }
    table
}

/// The value of one version, current or past.
async fn value(door: &Door, key: &XComKey, version: Version) -> Result<Value, Stop> {
    if current(door, key).await?.is_some_and(|info| info.version == version) {
        match door.answer(key).await? {
            Some(answer) if answer.found().is_some_and(|found| found.version == version) => {
                return Ok(answer.value()?);
            }
            Some(answer) if answer.found().is_none() => return Err(no_value(answer, None)),
            // Replaced in between: then it is in the history.
            _ => {}
        }
    }
    if let Some(value) = door.pull_past(key, version).await? {
        return Ok(value);
    }
    let known = door.history(key, ALL).await?;
    let which =
        [("key".to_owned(), json!(key)), ("version".to_owned(), json!(version))].into_iter().collect();
    Err(match known.iter().find(|past| past.info.version == version) {
        Some(past) => NoValue {
            exit_code: 4,
            answer: "expired",
            message: format!("expired: the bytes of version {version} of {key} are no longer kept"),
            hints: vec![format!(
                "it was {} at {} by {}; [xcom] history_bytes tells how long bytes are kept",
                past.reason,
                text::time(past.ended_at),
                past.by
            )],
            known: which,
        },
        None => NoValue {
            exit_code: 3,
            answer: "missing",
            message: format!("no value: {key} has no version {version}"),
            hints: known
                .iter()
                .take(3)
                .map(|past| format!("nearest: version {}", past.info.version))
                .collect(),
            known: which,
        },
    }
    .into())
}
