//! `excom contracts`: the versions of DAGs that ran, what their tasks take and give, and what differs.

use clap::{Arg, ArgMatches, Command};
use excom::contract::{self, Change, Contract, diff};
use serde_json::{Value as Json, json};

use crate::context::Context;
use crate::output::{Output, Style};
use crate::stop::Stop;
use crate::text::Table;

const EXIT_CODES: &str = "\
Exit codes: 0 nothing breaks, 1 something breaks or cannot be compared, 2 not understood.";

/// The command and its own commands.
pub(crate) fn command() -> Command {
    let dag = || Arg::new("dag-id").long("dag-id").value_name("ID").required(true).help("The DAG");
    let version = |name: &'static str, help: &'static str| {
        Arg::new(name).value_name(if name == "old" { "OLD" } else { "NEW" }).help(help)
    };
    Command::new("contracts")
        .about("Show what the tasks of a DAG take and give, and what a change of it breaks")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .after_help(
            "A version is named by its beginning, or by a file that `contracts export` of a DAG program or of\n\
             this command wrote: a name with `/` or `.` in it.",
        )
        .subcommand(Command::new("list").about("List the versions of a DAG that ran, newest first").arg(dag()))
        .subcommand(
            Command::new("show")
                .about("Show what each task takes and gives")
                .arg(dag())
                .arg(version("new", "The version or file [default: the newest]")),
        )
        .subcommand(
            Command::new("export")
                .about("Print a contract as JSON, for a file")
                .arg(dag())
                .arg(version("new", "The version or file [default: the newest]")),
        )
        .subcommand(
            Command::new("diff")
                .about("Tell what a version breaks, compared with an earlier one")
                .arg(dag())
                .arg(version("old", "The earlier version or file").required(true))
                .arg(version("new", "The later version or file [default: the newest]"))
                .after_help(EXIT_CODES),
        )
}

pub(crate) async fn run(context: &Context, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    let Some((command, matches)) = matches.subcommand() else { return Ok(()) };
    let dag_id = matches.get_one::<String>("dag-id").map_or("", String::as_str);
    let (engine, empty) = context.reader()?;
    if let Some(hint) = empty {
        output.say(&hint);
    }
    if command == "list" {
        let versions = engine.db().dag_versions(dag_id, 1000).await?;
        let listed: Vec<_> = versions.iter().map(contract::listed).collect();
        return list(&listed, output);
    }
    let contract = match matches.get_one::<String>("new") {
        Some(name) => contract::find(Some(&engine), dag_id, name).await?,
        None => Contract::read(&contract::newest(Some(&engine), dag_id).await?.document)?,
    };
    match command {
        "diff" => {
            let old = matches.get_one::<String>("old").map_or("", String::as_str);
            let changes = diff(&contract::find(Some(&engine), dag_id, old).await?, &contract);
            if output.json() {
                output.document(&changes)?;
            } else {
                output.bytes(contract::describe_changes(&changes).as_bytes())?;
            }
            if changes.iter().any(Change::is_breaking) { Err(Stop::Told(1)) } else { Ok(()) }
        }
        "show" if !output.json() => output.bytes(contract::describe(&contract).as_bytes()),
        _ => output.line(contract.document()?.as_str()),
    }
}

fn list(versions: &[(std::sync::Arc<str>, String, Option<usize>)], output: &mut Output) -> Result<(), Stop> {
    if output.json() {
        let items: Vec<Json> = versions
            .iter()
            .map(|(version, seen_at, tasks)| json!({"version": version, "seen_at": seen_at, "tasks": tasks}))
            .collect();
        return output.document(&json!({ "items": items }));
    }
    let mut table = Table::new(vec!["version", "seen first", "tasks"]);
    for (version, seen_at, tasks) in versions {
        let tasks = tasks.map_or_else(|| "?".to_owned(), |tasks| tasks.to_string());
        table.row([version.to_string(), seen_at.clone(), tasks]);
    }
    for (i, line) in table.lines().enumerate() {
        if i == 0 { output.line(&output.styled(Style::Heading, &line))? } else { output.line(&line)? }
    }
    Ok(())
}
