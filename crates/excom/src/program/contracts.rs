//! The command `contracts` of a DAG program: what its tasks take and give, and what a change of it breaks.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use excom_core::{Error, ErrorKind, Result, Value};
use excom_flow::DagDefinition;
use excom_flow::contract::{Contract, diff};

use crate::config::{Environment, Settings, Sources};
use crate::{contracts, embedded};

const ABOUT_DIFF: &str = "\
Compares this program's DAG with an earlier version of it: one that ran here (the newest unless named, by the
beginning of its name), or a file that `contracts export` wrote.

Exit codes: 0 nothing breaks, 1 something breaks or cannot be compared, 2 not understood.";

/// The command and its own commands.
pub(super) fn command() -> Command {
    let json =
        || Arg::new("json").long("json").action(ArgAction::SetTrue).help("Answer with a JSON document");
    let path = |name: &'static str, value: &'static str| {
        Arg::new(name).long(name).value_name(value).value_parser(value_parser!(PathBuf)).global(true)
    };
    Command::new("contracts")
        .about("Show what the tasks take and give, and what a change of the DAG breaks")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .arg(path("home", "FOLDER").help("Where Excom keeps its data [default: $EXCOM_HOME or ./.excom]"))
        .arg(path("config", "FILE").help("The settings file"))
        .subcommand(Command::new("show").about("Show what each task takes and gives").arg(json()))
        .subcommand(
            Command::new("export").about("Write the contract as JSON, for `contracts diff`").arg(
                Arg::new("file")
                    .value_name("FILE")
                    .value_parser(value_parser!(PathBuf))
                    .help("Where to [default: standard output]"),
            ),
        )
        .subcommand(
            Command::new("diff")
                .about("Tell what this version breaks, compared with an earlier one")
                .after_help(ABOUT_DIFF)
                .arg(
                    Arg::new("old")
                        .value_name("VERSION|FILE")
                        .help("The earlier version [default: the newest]"),
                )
                .arg(json()),
        )
}

/// Does what `contracts` was asked for.
///
/// # Errors
/// When the DAG is wrong, or what it is compared with is not there.
pub(super) fn run(definition: &DagDefinition, matches: &ArgMatches) -> Result<ExitCode> {
    let contract = definition.contract()?;
    match matches.subcommand() {
        Some(("show", matches)) if !matches.get_flag("json") => print(&contracts::text(&contract)),
        Some(("diff", matches)) => {
            let old = earlier(definition.id(), matches)?;
            let changes = diff(&old, &contract);
            let json = matches.get_flag("json");
            print(&if json {
                Value::of(&changes)?.as_str().to_owned() + "\n"
            } else {
                contracts::told(&changes)
            });
            if changes.iter().any(excom_flow::contract::Change::is_breaking) {
                return Ok(ExitCode::FAILURE);
            }
        }
        Some((_, matches)) => {
            let document = contract.document()?.as_str().to_owned() + "\n";
            match matches.try_get_one::<PathBuf>("file").ok().flatten() {
                Some(path) => std::fs::write(path, document).map_err(|cause| {
                    Error::new(
                        ErrorKind::Other,
                        format!("the contract cannot be written to {}", path.display()),
                    )
                    .because(cause)
                })?,
                None => print(&document),
            }
        }
        None => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// What the program's DAG is compared with.
fn earlier(dag_id: &str, matches: &ArgMatches) -> Result<Contract> {
    let settings = Settings::load(&Sources {
        environment: Environment::of_process()?,
        home: matches.get_one("home").cloned(),
        config: matches.get_one("config").cloned(),
        ..Sources::default()
    })?;
    let engine = embedded::open_existing(&settings)?;
    pollster::block_on(async {
        match matches.get_one::<String>("old") {
            Some(name) => contracts::find(engine.as_ref(), dag_id, name).await,
            None => Contract::read(&contracts::newest(engine.as_ref(), dag_id).await?.document),
        }
    })
}

fn print(text: &str) {
    // Nobody reads any more.
    drop(io::stdout().write_all(text.as_bytes()));
}
