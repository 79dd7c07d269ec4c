//! `excom variable`: text that all DAGs share.

use std::io::Read;
use std::path::Path;

use clap::ArgMatches;
use excom::core::variable::Variable;
use excom::{Error, ErrorKind, Value};
use serde::Serialize;
use serde_json::{Map, json};

use crate::context::Context;
use crate::output::{Output, Style};
use crate::stop::{NoValue, Stop};
use crate::text::{self, Table};

pub(crate) async fn run(context: &Context, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    match matches.subcommand() {
        Some(("get", matches)) => get(context, matches, output).await,
        Some(("set", matches)) => set(context, matches, output).await,
        Some(("list", matches)) => list(context, matches, output).await,
        Some(("delete", matches)) => delete(context, matches, output).await,
        _ => Ok(()),
    }
}

fn key(matches: &ArgMatches) -> &str {
    matches.get_one::<String>("key").map_or("", String::as_str)
}

async fn get(context: &Context, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    let key = key(matches);
    let (door, empty) = context.looking()?;
    let found = door.variable(key).await?;
    let default = matches.get_one::<String>("default");
    let Some(variable) = found else {
        if let Some(default) = default {
            if output.json() {
                return output.document(&json!({"key": key, "text": default, "default": true}));
            }
            return output.line(default);
        }
        let known: Map<_, _> = [("key".to_owned(), json!(key))].into_iter().collect();
        return Err(NoValue {
            exit_code: 3,
            answer: "missing",
            message: format!("no value: there is no variable `{key}`"),
            hints: vec![
                empty.unwrap_or_else(|| "`excom variable list` shows those that there are".to_owned()),
            ],
            known,
        }
        .into());
    };
    if output.json() {
        #[derive(Serialize)]
        struct Document<'a> {
            key: &'a str,
            text: &'a str,
            overridden_by: Option<&'a str>,
            stored: Option<&'a Variable>,
        }
        return output.document(&Document {
            key,
            text: &variable.text,
            overridden_by: variable.overridden_by.as_deref(),
            stored: variable.stored.as_ref(),
        });
    }
    if let Some(name) = variable.overridden_by {
        output.say(&format!("from {name} in the environment, which overrides what is set"));
    }
    output.line(&variable.text)
}

async fn set(context: &Context, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    let key = key(matches);
    let argument = matches.get_one::<String>("value").map(String::as_str);
    let text = match (argument, matches.get_one::<std::path::PathBuf>("file")) {
        (_, Some(path)) => read(std::fs::File::open(path), path)?,
        (Some("-"), None) => read(Ok(std::io::stdin()), Path::new("standard input"))?,
        (argument, None) => argument.unwrap_or_default().to_owned(),
    };
    if matches.get_flag("check-json") {
        Value::parse(text.clone()).map_err(|error| error.hint("or set it without --check-json"))?;
    }
    let description = matches.get_one::<String>("description").map(String::as_str);
    let door = context.writing()?;
    let set = door.set_variable(key, &text, description).await?;
    door.close(output).await;
    if output.json() {
        return output.document(&json!({"key": key, "size": text.len(), "warnings": set.warnings}));
    }
    for warning in &set.warnings {
        output.say(&format!("warning: {}", text::tame(warning)));
    }
    if output.terminal() {
        output.line(&format!("set `{}`: {}", text::tame(key), text::size(text.len() as u64)))?;
    }
    Ok(())
}

/// A file or standard input as text, byte by byte.
fn read<R: Read>(reader: std::io::Result<R>, place: &Path) -> Result<String, Stop> {
    let mut text = String::new();
    reader.and_then(|mut reader| reader.read_to_string(&mut text)).map_err(|cause| {
        let error =
            Error::new(ErrorKind::Other, format!("{} cannot be read; nothing was set", place.display()));
        error.because(cause).hint("a variable is UTF-8 text")
    })?;
    Ok(text)
}

async fn list(context: &Context, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    let prefix = matches.get_one::<String>("prefix").map_or("", String::as_str);
    let after = matches.get_one::<String>("after").map(String::as_str);
    let limit = matches.get_one::<u32>("limit").copied().unwrap_or(100);
    let (door, empty) = context.looking()?;
    let mut variables = door.variables(prefix, after, limit.saturating_add(1)).await?;
    let more = variables.len() > limit as usize;
    variables.truncate(limit as usize);
    let next = variables.last().filter(|_| more).map(|(last, _)| last.key.clone());
    if output.json() {
        #[derive(Serialize)]
        struct Item<'a> {
            #[serde(flatten)]
            variable: &'a Variable,
            overridden_by: &'a Option<String>,
        }
        let items: Vec<Item<'_>> =
            variables.iter().map(|(variable, overridden_by)| Item { variable, overridden_by }).collect();
        return output.document(&json!({"items": items, "next": next}));
    }
    if variables.is_empty() {
        output.say("no variables match");
        if let Some(hint) = empty {
            output.say(&format!("  {hint}"));
        }
        return Ok(());
    }
    let mut table = Table::new(vec!["key", "text", "set", "overridden by", "description"]);
    for (variable, overridden_by) in &variables {
        table.row([
            variable.key.to_string(),
            variable.text.as_deref().map_or_else(|| "(no key opens it)".to_owned(), text::beginning),
            variable.updated_at.map_or_else(|| "-".to_owned(), text::time),
            overridden_by.clone().unwrap_or_else(|| "-".to_owned()),
            variable.description.clone().unwrap_or_default(),
        ]);
    }
    for (i, line) in table.lines().enumerate() {
        let line = if i == 0 { output.styled(Style::Heading, &line) } else { line };
        output.line(&line)?;
    }
    if let Some(next) = next {
        output.say(&format!("more behind these: repeat the command with --after {}", text::quoted(&next)));
    }
    Ok(())
}

async fn delete(context: &Context, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    let key = key(matches);
    let (door, empty) = context.looking()?;
    let deleted = door.delete_variable(key).await?;
    door.close(output).await;
    if output.json() {
        return output.document(&json!({"key": key, "deleted": deleted}));
    }
    if !deleted {
        output.say(&format!("nothing to do: there is no variable `{}`", text::tame(key)));
        if let Some(hint) = empty {
            output.say(&format!("  {hint}"));
        }
    } else if output.terminal() {
        output.line(&format!("deleted `{}`", text::tame(key)))?;
    }
    Ok(())
}
