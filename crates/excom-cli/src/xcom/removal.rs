//! `excom xcom clear` and `excom xcom delete`.

use std::io::{self, BufRead, IsTerminal};

use clap::ArgMatches;
use excom::core::db::Scope;
use serde_json::json;

use crate::context::Context;
use crate::output::Output;
use crate::stop::Stop;
use crate::{identity, text};

pub(crate) async fn clear(context: &Context, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    let scope = identity::scope(matches, context.environment())?;
    let (door, empty) = context.looking()?;
    let cleared = door.clear(&scope).await?;
    door.close(output).await;
    tell("cleared", "moved to the history", cleared, &scope, empty, output)
}

pub(crate) async fn delete(context: &Context, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    let scope = identity::scope(matches, context.environment())?;
    if !matches.get_flag("yes") && !confirmed(&scope, output)? {
        output.say("nothing was deleted");
        return Err(Stop::Told(1));
    }
    let (door, empty) = context.looking()?;
    let deleted = door.delete(&scope).await?;
    door.close(output).await;
    tell("deleted", "deleted with their history", deleted, &scope, empty, output)
}

/// Asks, when there is somebody to ask.
fn confirmed(scope: &Scope, output: &mut Output) -> Result<bool, Stop> {
    let (input, errors) = (io::stdin(), io::stderr());
    if output.json() || !input.is_terminal() || !errors.is_terminal() {
        return Err(Stop::usage("a delete must be confirmed, and nobody can be asked here").hint("add --yes"));
    }
    output.say(&format!("Delete {} with its history and bytes? It cannot be undone. [y/N]", named(scope)));
    let mut answer = String::new();
    match input.lock().read_line(&mut answer) {
        Ok(_) => Ok(matches!(answer.trim(), "y" | "Y" | "yes")),
        Err(_) => Ok(false),
    }
}

fn named(scope: &Scope) -> String {
    text::tame(&match scope {
        Scope::Key(key) => key.to_string(),
        Scope::TaskInstance(ti) => format!("XComs of {ti}"),
    })
}

fn tell(
    code: &str,
    done: &str,
    count: u64,
    scope: &Scope,
    empty: Option<String>,
    output: &mut Output,
) -> Result<(), Stop> {
    if output.json() {
        let key = match scope {
            Scope::Key(key) => json!(key),
            Scope::TaskInstance(ti) => json!(ti),
        };
        return output.document(&json!({code: count, "key": key}));
    }
    if count == 0 {
        let none = match scope {
            Scope::Key(_) => "there is no",
            Scope::TaskInstance(_) => "there are no",
        };
        output.say(&format!("nothing to do: {none} {}", named(scope)));
        if let Some(hint) = empty {
            output.say(&format!("  {hint}"));
        }
    } else if output.terminal() {
        output.line(&format!("{}: {}, {done}", named(scope), text::count(count, "XCom")))?;
    }
    Ok(())
}
