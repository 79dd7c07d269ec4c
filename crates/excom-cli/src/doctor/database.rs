//! What fills the database, what of it could be offloaded, and what of Airflow's an upgrade would trip over.

use std::time::Duration;

use excom::config::{DatabaseMode, Settings};
use excom::embedded::database::{self, Part, Survey};
use serde_json::json;

use super::Check;
use crate::text;

/// How long the server may take for one question.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn look(settings: &Settings) -> Vec<Check> {
    match database::survey(settings, PATIENCE) {
        Ok(found) => told(&found, settings),
        Err(error) => vec![Check::failed("database", super::place(settings), &error)],
    }
}

fn told(found: &Survey, settings: &Settings) -> Vec<Check> {
    let looked = match found.percent {
        100.0.. => "all of the table looked at".to_owned(),
        percent => format!("estimated: {percent:.2}% of the table looked at"),
    };
    let mut checks = vec![
        Check::told("database", super::place(settings), json!(null)),
        Check::told(
            "xcoms",
            format!("{}   {looked}", sum(&found.all, "XCom")),
            json!({"count": found.all.count, "bytes": found.all.bytes, "percent": found.percent}),
        ),
    ];
    let parts = [("table", &found.tables, "row"), ("dag", &found.dags, "XCom"), ("key", &found.keys, "XCom")];
    for (name, parts, what) in parts {
        for part in parts {
            checks.push(Check::told(name, format!("{}   {}", part.name, sum(part, what)), json!(part)));
        }
    }
    let limit = settings.xcom.inline_limit.text();
    checks.push(Check::told(
        "offload",
        format!("{} over [xcom] inline_limit = {limit}", sum(&found.large, "value")),
        json!({"count": found.large.count, "bytes": found.large.bytes, "inline_limit": settings.xcom.inline_limit.0}),
    ));
    if *settings.database.mode == DatabaseMode::Attached {
        checks.push(orphans(&found.orphans));
        checks.push(upgrade(found));
    }
    if !found.unfinished.is_empty() {
        let what = format!("not found out within {} s: {}", PATIENCE.as_secs(), found.unfinished.join(", "));
        checks.push(
            Check::told("unfinished", "some questions took too long", json!(found.unfinished))
                .problem(what, "ask again when less is going on there, or ask a replica in [database] url"),
        );
    }
    checks
}

fn sum(part: &Part, what: &str) -> String {
    format!("{}, {} as stored", text::count(part.count, what), text::size(part.bytes))
}

/// What Excom noted of rows that are gone.
fn orphans(found: &Part) -> Check {
    let data = json!({"count": found.count, "bytes": found.bytes});
    if found.count == 0 {
        return Check::fine("orphans", "none", data);
    }
    let what = format!("their rows in Airflow's table are gone, and {} of values", text::size(found.bytes));
    Check::told("orphans", text::count(found.count, "XCom"), data).problem(
        what,
        "a program that runs for long forgets them within the hour, and purges what they refer to; `excom prune` does too",
    )
}

/// What an upgrade to Airflow 3 cannot take, and what it changes.
fn upgrade(found: &Survey) -> Check {
    let data = json!(found.upgrade);
    let of = |name: &str| found.upgrade.iter().find(|part| part.name == name && part.count > 0);
    let mut wrong = Vec::new();
    if let Some(part) = of("too large") {
        wrong.push(format!(
            "{} of over 268,435,455 bytes, the most that jsonb takes: `airflow db migrate` fails on them",
            text::count(part.count, "value")
        ));
    }
    for (name, what) in [
        ("NaN", "NaN or Infinity in the text, which becomes null"),
        ("NUL", "\\u0000 in the text, which is taken out"),
    ] {
        if let Some(part) = of(name) {
            wrong.push(format!(
                "{} with {what} (or the migration of an early Airflow 3 fails)",
                text::count(part.count, "value")
            ));
        }
    }
    if wrong.is_empty() {
        let is_unfinished = ["too large", "NaN", "NUL"].iter().any(|name| found.unfinished.contains(name));
        return match (is_unfinished, found.upgrade.is_empty()) {
            (true, _) => Check::told("upgrade", "not all that stands in the way of one was looked for", data),
            (_, true) => {
                let told = "values are JSON already: nothing in them stands in the way of an upgrade";
                Check::fine("upgrade", told, data)
            }
            _ if found.percent < 100.0 => {
                Check::told("upgrade", "nothing in the way of Airflow 3 in what was looked at", data)
            }
            _ => Check::fine("upgrade", "no value stands in the way of an upgrade to Airflow 3", data),
        };
    }
    Check::told("upgrade", "to Airflow 3", data).problem(
        wrong.join("; "),
        "delete or replace these XComs before `airflow db migrate`, or clean old ones away",
    )
}
