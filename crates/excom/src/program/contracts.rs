//! The command `contracts` of a DAG program: what its tasks take and give, and what a change of it breaks.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use excom_core::{Error, ErrorKind, Result, Value};
use excom_flow::DagDefinition;

use crate::config::{Environment, Settings, Sources};
use crate::contract::{Change, Contract, diff};
use crate::{contract, embedded};

const ABOUT_DIFF: &str = "\
Compares this program's DAG with an earlier version of it: one that ran here (the newest unless named, by the
beginning of its name), or a file that `contracts export` wrote.

Exit codes: 0 nothing breaks, 1 something breaks or cannot be compared, 2 not understood.";

/// The command and its own commands.
pub(super) fn command() -> Command {
    let json =
        || Arg::new("json").long("json").action(ArgAction::SetTrue).help("Answer with a JSON document");
    Command::new("contracts")
        .about("Show what the tasks take and give, and what a change of the DAG breaks")
        .subcommand_required(true)
        .arg_required_else_help(true)
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
    let (text, breaks) = answer(definition, matches)?;
    // Nobody reads any more: the exit code tells all the same.
    drop(io::stdout().write_all(text.as_bytes()));
    Ok(if breaks { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What is printed, and whether something breaks.
fn answer(definition: &DagDefinition, matches: &ArgMatches) -> Result<(String, bool)> {
    let contract = definition.contract()?;
    let Some((command, matches)) = matches.subcommand() else { return Ok((String::new(), false)) };
    let json = matches.try_get_one::<bool>("json").ok().flatten().copied().unwrap_or(false);
    if command == "diff" {
        let changes = diff(&earlier(definition.id(), matches)?, &contract);
        let breaks = changes.iter().any(Change::is_breaking);
        return Ok((
            if json { line(&Value::of(&changes)?) } else { contract::describe_changes(&changes) },
            breaks,
        ));
    }
    if command == "show" && !json {
        return Ok((contract::describe(&contract), false));
    }
    let document = line(&contract.document()?);
    let Some(path) = matches.try_get_one::<PathBuf>("file").ok().flatten() else {
        return Ok((document, false));
    };
    std::fs::write(path, document).map_err(|cause| {
        Error::new(ErrorKind::Other, format!("the contract cannot be written to {}", path.display()))
            .because(cause)
    })?;
    Ok((String::new(), false))
}

fn line(document: &Value) -> String {
    format!("{}\n", document.as_str())
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
            Some(name) => contract::find(engine.as_ref(), dag_id, name).await,
            None => Contract::read(&contract::newest(engine.as_ref(), dag_id).await?.document),
        }
    })
}

#[cfg(test)]
mod tests {
    use excom_core::run::DagRun;
    use excom_flow::ParamSpec;

    use std::ffi::OsString;

    use super::super::arguments::{Action, Arguments};
    use super::*;

    fn definition(retries: u32) -> DagDefinition {
        DagDefinition::new("weather", move |dag| {
            dag.bash("tell", "echo 1").retries(retries);
        })
    }

    fn ask(definition: &DagDefinition, words: &[&str]) -> Result<(String, bool)> {
        let words = ["weather", "contracts"].iter().chain(words).map(OsString::from);
        let arguments = Arguments::read(std::slice::from_ref(definition), words).unwrap();
        let Action::Contracts(matches) = &arguments.action else { panic!("{arguments:?}") };
        answer(definition, matches)
    }

    #[test]
    fn a_file_is_compared_with_the_program() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("weather.json");
        let file = file.to_str().unwrap();
        assert_eq!(ask(&definition(0), &["export", file]).unwrap(), (String::new(), false));
        let exported = std::fs::read_to_string(file).unwrap();
        assert_eq!(ask(&definition(0), &["export"]).unwrap().0, exported);
        assert_eq!(ask(&definition(0), &["show", "--json"]).unwrap().0, exported);
        assert_eq!(ask(&definition(0), &["diff", file]).unwrap(), ("no difference\n".into(), false));

        let (told, breaks) = ask(&definition(3), &["diff", file]).unwrap();
        assert!(told.ends_with("1 difference, and it breaks nothing\n") && !breaks, "{told}");
        let required = definition(0).with_param(ParamSpec::required::<f64>("floor", "f64"));
        let (told, breaks) = ask(&required, &["diff", file, "--json"]).unwrap();
        assert!(
            told.starts_with(r#"[{"path":"params.floor","kind":"param_added","breaks":["old_values","#),
            "{told}"
        );
        assert!(breaks);
    }

    #[test]
    fn the_version_that_ran_last_is_compared_with_the_program() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().to_str().unwrap();
        let error = ask(&definition(0), &["--home", home, "diff"]).unwrap_err();
        assert_eq!(error.to_string(), "no version of DAG `weather` is kept here");

        let engine = embedded::open(&Settings::at(home)).unwrap();
        let contract = definition(0).contract().unwrap();
        let (at, version, document) =
            (engine.clock().now(), contract.version(), contract.document().unwrap());
        let noted = engine.db().note_dag_version("weather", &version, &document, at);
        pollster::block_on(noted).unwrap();
        pollster::block_on(engine.start_run(&DagRun::new("weather", "r", at))).unwrap();
        pollster::block_on(engine.close()).unwrap();
        assert_eq!(ask(&definition(0), &["diff", "--home", home]).unwrap().0, "no difference\n");
        assert_eq!(
            ask(&definition(0), &["--home", home, "diff", &version[..4]]).unwrap().0,
            "no difference\n"
        );
        let error = ask(&definition(0), &["--home", home, "diff", "zzz"]).unwrap_err();
        assert_eq!(error.to_string(), "DAG `weather` has no version `zzz`");
        assert!(error.hints()[1].contains(&*version), "{error:?}");
    }
}
