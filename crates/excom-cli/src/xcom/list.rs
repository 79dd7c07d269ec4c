//! `excom xcom list`: entries without their values, a page at a time.

use clap::ArgMatches;
use excom::core::db::Filter;
use excom::{EntryInfo, XComKey};
use serde_json::{Value as Json, json};

use super::described;
use crate::context::Context;
use crate::identity;
use crate::output::{Output, Style};
use crate::stop::Stop;
use crate::text::{self, Table};

pub(crate) async fn run(context: &Context, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    let filter = identity::filter(matches, context.environment());
    let after = matches.get_one::<String>("after").map(|token| parse(token)).transpose()?;
    let limit = matches.get_one::<u32>("limit").copied().unwrap_or(100);
    let (door, empty) = context.looking()?;
    let page = door.list(&filter, after.as_ref(), limit).await?;
    door.close(output).await;
    let next = page.next.as_ref().map(token);
    if output.json() {
        let items: Vec<Json> = page.items.iter().map(described).collect();
        return output.document(&json!({"items": items, "next": next}));
    }
    if page.items.is_empty() {
        output.say("no XComs match");
        if let Some(hint) = empty {
            output.say(&format!("  {hint}"));
        }
        return Ok(());
    }
    let table = table(&page.items, &filter);
    for (i, line) in table.lines().enumerate() {
        if i == 0 {
            output.line(&output.styled(Style::Heading, &line))?;
        } else {
            output.line(&line)?;
        }
    }
    if let Some(next) = next {
        output.say(&format!("more behind these: repeat the command with --after {}", text::quoted(&next)));
    }
    Ok(())
}

/// A column for what differs between the rows; what the filter fixes would only repeat itself.
fn table(items: &[EntryInfo], filter: &Filter) -> Table {
    let wide = [
        ("dag", filter.dag_id.is_none()),
        ("run", filter.run_id.is_none()),
        ("task", filter.task_id.is_none()),
    ];
    let mut headings: Vec<&'static str> =
        wide.iter().filter(|(_, shown)| *shown).map(|(name, _)| *name).collect();
    headings.extend(["map index", "key", "kind", "size", "pushed", "by", "preview"]);
    let mut table = Table::new(headings);
    for info in items {
        let ti = &info.key.ti;
        let parts = [&ti.dag_id, &ti.run_id, &ti.task_id];
        let shown =
            parts.into_iter().zip(wide).filter(|(_, (_, shown))| *shown).map(|(part, _)| part.to_string());
        let rest = [
            if ti.is_mapped() { ti.map_index.to_string() } else { "-".to_owned() },
            info.key.key.to_string(),
            info.shape.to_string(),
            text::size(info.size),
            text::time(info.pushed_at()),
            info.writer.to_string(),
            info.preview.clone(),
        ];
        table.row(shown.chain(rest));
    }
    table
}

/// Where a page ended, in a form that survives any name and any shell.
fn token(key: &XComKey) -> String {
    let ti = &key.ti;
    json!([ti.dag_id, ti.run_id, ti.task_id, ti.map_index, key.key]).to_string()
}

fn parse(token: &str) -> Result<XComKey, Stop> {
    let (dag, run, task, map_index, key): (String, String, String, i32, String) = serde_json::from_str(token)
        .map_err(|_| {
            Stop::usage("--after has no place where a list ended")
                .hint("give it what the list before told, in single quotes")
        })?;
    Ok(XComKey::new(dag, run, task, map_index, key)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_brings_back_any_key() {
        let key = XComKey::new("d/'é\"", "r\n", "t", 7, "../k?").unwrap();
        assert_eq!(parse(&token(&key)).unwrap(), key);
        assert!(parse("[1]").is_err());
    }
}
