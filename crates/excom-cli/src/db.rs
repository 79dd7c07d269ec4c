//! `excom db`: the schema of the metadata database.

use clap::{ArgMatches, Command};
use excom::embedded::database::{self, Schema};
use excom::{Error, ErrorKind};
use serde_json::json;

use crate::context::{self, Context};
use crate::output::Output;
use crate::stop::Stop;

pub(crate) fn command() -> Command {
    Command::new("db")
        .about("The schema of the metadata database")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("status").about("Show which database it is, its schema, and the newest one known"))
        .subcommand(
            Command::new("check")
                .about("End with an error unless the schema is the newest one known; change nothing")
                .after_help("For a deployment that waits until another step has migrated."),
        )
        .subcommand(Command::new("migrate").about("Bring the schema up to date").after_help(
            "Every program does so when it starts, and whichever comes first; this command is for doing it before, by a\n\
             user who may. Programs that run go on meanwhile.",
        ))
}

pub(crate) async fn run(context: &Context, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    let settings = context.settings()?;
    let before = database::schema(&settings)?;
    match matches.subcommand_name() {
        Some("migrate") => {
            let engine = context.engine_of(&settings)?;
            context::close(&engine, output).await;
            drop(engine);
            tell(&database::schema(&settings)?, Some(&before), output)
        }
        Some("check") if before.is_older() => {
            let Schema { database, found, newest } = &before;
            let found = if *found == 0 { "no schema yet".to_owned() } else { format!("schema {found}") };
            Err(Error::new(
                ErrorKind::Incompatible,
                format!("{database} has {found}, the newest one known is {newest}"),
            )
            .hint("run `excom db migrate`")
            .into())
        }
        _ => tell(&before, None, output),
    }
}

fn tell(schema: &Schema, before: Option<&Schema>, output: &mut Output) -> Result<(), Stop> {
    if output.json() {
        let migrated = before.is_some_and(|before| before.found < schema.found);
        return output.document(&json!({
            "database": schema.database, "schema": schema.found, "newest": schema.newest, "migrated": migrated,
        }));
    }
    let Schema { database, found, newest } = schema;
    let state = match (before, found) {
        (Some(before), _) if before.found < *found => {
            format!("migrated from schema {} to {found}", before.found)
        }
        (_, 0) => format!("no schema yet, the newest one known is {newest}"),
        _ if found < newest => format!("schema {found}, the newest one known is {newest}"),
        _ if found > newest => format!("schema {found}, newer than {newest}, with which this Excom can work"),
        _ => format!("schema {found}, up to date"),
    };
    output.line(&format!("{database}   {state}"))
}
