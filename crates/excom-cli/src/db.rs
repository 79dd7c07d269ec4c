//! `excom db`: the schema of the metadata database, Excom's own or what is beside Airflow's tables.

use clap::{Arg, ArgAction, ArgMatches, Command};
use excom::config::Settings;
use excom::embedded::database::{self, Schema};
use excom::{Error, ErrorKind};
use serde_json::json;

use crate::context::{self, Context};
use crate::output::Output;
use crate::stop::Stop;

pub(crate) fn command() -> Command {
    let dry_run = Arg::new("dry-run")
        .long("dry-run")
        .action(ArgAction::SetTrue)
        .help("Print the statements, for somebody who may run them; make nothing");
    Command::new("db")
        .about("The schema of the metadata database")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("status").about("Show which database it is, its schema, and the newest one known"))
        .subcommand(
            Command::new("check")
                .about("End with an error unless the schema is the newest one known; change nothing")
                .after_help("For a deployment that waits until another step has migrated or attached."),
        )
        .subcommand(Command::new("migrate").about("Bring the schema up to date").after_help(
            "Every program does so when it starts, and whichever comes first; this command is for doing it before, by a\n\
             user who may. Programs that run go on meanwhile.",
        ))
        .subcommand(
            Command::new("attach")
                .about("Make what Excom needs beside the tables of an Airflow, or bring it up to date")
                .after_help(
                    "For [database] mode = \"attached\". All of it is beside Airflow's tables, in a schema `excom`, or a\n\
                     database or tables of that name; Airflow's stay as they are.\n\
                     No other command and no program makes it.",
                )
                .arg(dry_run),
        )
}

pub(crate) async fn run(context: &Context, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    let settings = context.settings()?;
    match matches.subcommand() {
        Some(("attach", matches)) => attach(&settings, matches.get_flag("dry-run"), output),
        Some(("migrate", _)) => migrate(context, &settings, output).await,
        Some(("check", _)) => check(&database::schema(&settings)?),
        _ => tell(&database::schema(&settings)?, None, output),
    }
}

fn attach(settings: &Settings, dry_run: bool, output: &mut Output) -> Result<(), Stop> {
    if dry_run {
        let script = database::attach_script(settings)?;
        return match output.json() {
            true => output.document(&json!({"database": database::name(settings), "script": script})),
            false => output.line(script.trim_end()),
        };
    }
    let before = database::schema(settings)?;
    tell(&database::attach(settings)?, Some(&before), output)
}

async fn migrate(context: &Context, settings: &Settings, output: &mut Output) -> Result<(), Stop> {
    let before = database::schema(settings)?;
    if before.airflow.is_some() {
        let what = format!(
            "{} is Airflow's, where Excom makes nothing unless it is told to attach",
            before.database
        );
        let error = Error::new(ErrorKind::Configuration, what).hint("run `excom db attach`");
        return Err(error.hint("Airflow's own tables are migrated by `airflow db migrate`").into());
    }
    let engine = context.engine_of(settings)?;
    context::close(&engine, output).await;
    drop(engine);
    tell(&database::schema(settings)?, Some(&before), output)
}

fn check(schema: &Schema) -> Result<(), Stop> {
    if !schema.is_older() {
        return Ok(());
    }
    let Schema { database, airflow, found, newest, .. } = schema;
    let command = if airflow.is_some() { "attach" } else { "migrate" };
    let found = match found {
        0 => "no schema of Excom's yet".to_owned(),
        found => format!("schema {found}"),
    };
    let what = format!("{database} has {found}, the newest one known is {newest}");
    Err(Error::new(ErrorKind::Incompatible, what).hint(format!("run `excom db {command}`")).into())
}

fn tell(schema: &Schema, before: Option<&Schema>, output: &mut Output) -> Result<(), Stop> {
    if output.json() {
        let migrated = before.is_some_and(|before| before.found < schema.found);
        return output.document(&json!({
            "database": schema.database, "airflow": schema.airflow, "schema": schema.found, "newest": schema.newest,
            "migrated": migrated, "without": schema.without,
        }));
    }
    let Schema { database, airflow, found, newest, without } = schema;
    if let (Some(airflow), Some(without)) = (airflow, without) {
        return output.line(&format!(
            "{database}   Airflow's: its schema of {airflow}; nothing of Excom's beside it: {without}"
        ));
    }
    let state = match (before, found) {
        (Some(before), _) if before.found < *found => {
            format!("migrated from schema {} to {found}", before.found)
        }
        (_, 0) => format!("no schema yet, the newest one known is {newest}"),
        _ if found < newest => format!("schema {found}, the newest one known is {newest}"),
        _ if found > newest => format!("schema {found}, newer than {newest}, with which this Excom can work"),
        _ => format!("schema {found}, up to date"),
    };
    output.line(&match airflow {
        Some(airflow) => {
            format!("{database}   Airflow's: its schema of {airflow}; Excom's beside it: {state}")
        }
        None => format!("{database}   {state}"),
    })
}
