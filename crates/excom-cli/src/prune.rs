//! `excom prune`: retention, for homes that no long-running program looks after, and once by other rules.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use clap::ArgMatches;
use excom::Engine;
use excom::client::{Client, Due, Prune, WouldGo};
use excom::config::Age;
use excom::core::db::{Expires, Removed, Rule};
use excom::core::engine::Pruning;
use jiff::Timestamp;
use serde_json::json;

use crate::context::{self, Context};
use crate::door;
use crate::output::{Output, Style};
use crate::progress::Progress;
use crate::stop::Stop;
use crate::text::{self, Table};

pub(crate) async fn run(context: &Context, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    if let Some(client) = door::client(&context.settings()?)? {
        return there(&client, matches, output).await;
    }
    let (engine, _) = context.reader()?;
    let pruning = pruning(&engine, matches);
    if matches.get_flag("dry-run") {
        let found = due(&engine, &pruning).await;
        context::close(&engine, output).await;
        return tell_due(&found?, output);
    }
    let progress = Progress::new();
    let so_far = |removed: &Removed| progress.tell(told(removed).unwrap_or_else(|| "looking".to_owned()));
    let removed = engine.prune_by(&pruning, so_far).await?;
    drop(progress);
    context::close(&engine, output).await;
    tell_removed(&removed, output)
}

/// The same where a server is asked.
async fn there(client: &Client, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    let flag = match (matches.get_flag("airflow"), matches.contains_id("rate")) {
        (true, _) => Some("--airflow"),
        (_, true) => Some("--rate"),
        _ => None,
    };
    if let Some(flag) = flag {
        let usage = Stop::usage(format!("{flag} cannot be asked of a server"));
        return Err(usage.hint("run it where the database is, without --server and [client] server"));
    }
    let prune = Prune {
        dag_id: matches.get_one::<String>("dag-id").map(|dag_id| dag_id.as_str().into()),
        older_than: matches.get_one::<Age>("older-than").map(|age| age.0),
        keep_last: matches.get_one::<u32>("keep-last").copied(),
    };
    match matches.get_flag("dry-run") {
        true => tell_due(&client.due(&prune).await?, output),
        false => tell_removed(&client.prune(&prune).await?, output),
    }
}

fn tell_removed(removed: &Removed, output: &mut Output) -> Result<(), Stop> {
    if output.json() {
        return output.document(removed);
    }
    output.line(&told(removed).unwrap_or_else(|| "nothing is past its time".to_owned()))
}

/// The rules of the settings, or those of the command line in their place.
fn pruning(engine: &Engine, matches: &ArgMatches) -> Pruning {
    let age = matches.get_one::<Age>("older-than").map(|age| {
        let before = engine.clock().now().checked_sub(age.0).unwrap_or(Timestamp::UNIX_EPOCH);
        (format!("--older-than {age}"), Expires::Pushed(before))
    });
    let count = matches
        .get_one::<u32>("keep-last")
        .map(|count| (format!("--keep-last {count}"), Expires::Behind(*count)));
    let outside = matches.get_flag("airflow");
    let rule = |(text, expires)| Rule { text: format!("excom prune {text}").into(), expires, outside };
    let own: Vec<Rule> = age.into_iter().chain(count).map(rule).collect();
    let rules = if own.is_empty() { engine.pruning().rules } else { own };
    let dag_id = matches.get_one::<String>("dag-id").map(|dag_id| dag_id.as_str().into());
    Pruning { rules, dag_id, rate: matches.get_one::<NonZeroU32>("rate").copied() }
}

/// What is summed up: the rule's place, the DAG and the key.
type Group = (usize, Arc<str>, Arc<str>);

/// What would expire, summed up by rule, DAG and key.
async fn due(engine: &Engine, pruning: &Pruning) -> Result<WouldGo, Stop> {
    let mut sums: BTreeMap<Group, (u64, u64)> = BTreeMap::new();
    let (mut entries, mut bytes) = (0, 0);
    let progress = Progress::new();
    engine.flush_reads().await?;
    let mut after = None;
    loop {
        let page = engine.due(pruning, after).await?;
        for due in page.items {
            let sum = sums.entry((due.rule, due.key.ti.dag_id, due.key.key)).or_default();
            (sum.0, sum.1) = (sum.0 + 1, sum.1 + due.size);
            (entries, bytes) = (entries + 1, bytes + due.size);
        }
        progress.tell(format!("{} found", text::count(entries, "XCom")));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    drop(progress);
    let row = |((rule, dag_id, key), (entries, bytes)): (Group, (u64, u64))| {
        let rule = pruning.rules[rule].text.clone();
        Due { rule, dag_id, key, entries, bytes }
    };
    Ok(WouldGo { entries, bytes, due: sums.into_iter().map(row).collect() })
}

fn tell_due(WouldGo { entries, bytes, due }: &WouldGo, output: &mut Output) -> Result<(), Stop> {
    if output.json() {
        return output.document(&json!({"dry_run": true, "entries": entries, "bytes": bytes, "due": due}));
    }
    if *entries == 0 {
        return output.line("no XCom is past its time");
    }
    let mut table = Table::new(vec!["RULE", "DAG", "KEY", "XCOMS", "SIZE"]);
    for Due { rule, dag_id, key, entries, bytes } in due {
        let names = [rule, dag_id, key].map(ToString::to_string);
        table.row(names.into_iter().chain([text::number(*entries), text::size(*bytes)]));
    }
    for (i, line) in table.lines().enumerate() {
        output.line(&if i == 0 { output.styled(Style::Heading, &line) } else { line })?;
    }
    output.line(&format!(
        "{} would expire, {} of values; nothing changed",
        text::count(*entries, "XCom"),
        text::size(*bytes)
    ))
}

/// What went, if anything did.
fn told(removed: &Removed) -> Option<String> {
    let counts = [
        (removed.entries, "expired XCom"),
        (removed.past_bytes, "earlier value"),
        (removed.past_entries, "earlier version"),
        (removed.reads, "ledger row"),
        (removed.runs, "empty run"),
    ];
    let told: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| text::count(*count, what))
        .collect();
    let freed = match removed.bytes {
        0 => String::new(),
        bytes => format!("; {} of values", text::size(bytes)),
    };
    (!told.is_empty()).then(|| format!("removed {}{freed}", told.join(", ")))
}
