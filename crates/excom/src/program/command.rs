//! What can be typed to a DAG program: its commands, one option for each parameter, and those that every run has.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Arg, ArgAction, ArgGroup, Command, value_parser};
use clap_complete::Shell;
use excom_core::Value;
use excom_flow::{DagDefinition, ParamSpec};
use jiff::Timestamp;

use super::arguments::Format;

/// Names that parameters cannot have as options of their own; `--param` still sets them.
const TAKEN: [&str; 11] = [
    "isolate",
    "run-id",
    "logical-date",
    "parallelism",
    "json",
    "home",
    "config",
    "param",
    "help",
    "resume",
    "dag",
];

const FIRST: &str = "Without a command it runs the DAG; `run` takes the same options.";

/// The options of parameters, without the underscores that a name begins with. A parameter whose option has
/// the name of another one has none; of `day` and `_day` the first has `--day`.
pub(super) fn options_of(specs: &[ParamSpec]) -> Vec<(String, &ParamSpec)> {
    let mut options: Vec<(String, &ParamSpec)> = Vec::new();
    let (marked, plain): (Vec<_>, Vec<_>) = specs.iter().partition(|spec| spec.name.starts_with('_'));
    for spec in plain.into_iter().chain(marked) {
        let option = spec.name.trim_start_matches('_').replace('_', "-");
        let taken = TAKEN.contains(&option.as_str()) || options.iter().any(|(other, _)| *other == option);
        if !option.is_empty() && !taken {
            options.push((option, spec));
        }
    }
    options
}

/// The command line of a program with these DAGs, of which one may be chosen.
pub(super) fn command(definitions: &[DagDefinition], dag: Option<usize>) -> Command {
    let definition = dag.map(|dag| &definitions[dag]);
    let command = match (definitions, definition) {
        ([one], _) => Command::new(one.id().to_owned()).about(one.doc()),
        (_, Some(chosen)) => Command::new(program()).about(chosen.doc()),
        _ => Command::new(program()).about("Runs DAGs; --dag says which").arg_required_else_help(true),
    };
    let params = definition.map_or(&[][..], DagDefinition::params);
    let mut command = command
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .after_help(FIRST)
        .subcommand_negates_reqs(true)
        .args(everywhere());
    if definitions.len() > 1 {
        command = command.arg(dag_option(definitions));
    }
    let run = Command::new("run").about("Run the DAG, or go on with a run that was interrupted");
    of_run(command, params).subcommands([
        of_run(run, params),
        Command::new("graph").about("Draw the DAG").arg(
            Arg::new("format")
                .long("format")
                .value_name("FORMAT")
                .default_value("text")
                .value_parser(PossibleValuesParser::new(["text", "mermaid", "svg"]).map(|name| {
                    match name.as_str() {
                        "mermaid" => Format::Mermaid,
                        "svg" => Format::Svg,
                        _ => Format::Text,
                    }
                }))
                .help("What to draw it as"),
        ),
        Command::new("tasks").about("List the tasks, and how each is run").arg(json("As one JSON document")),
        Command::new("xcoms")
            .about("List the XComs of a run")
            .arg(run_id("The run [default: the newest]"))
            .arg(Arg::new("task-id").long("task-id").value_name("ID").help("Only those of this task"))
            .arg(json("As one JSON document")),
        Command::new("test-task")
            .about("Run one task against the XComs of a run, without storing what it pushes")
            .after_help(
                "It has the run's parameters, and reads what the run left. What it does outside of Excom it\n\
                 really does.",
            )
            .arg(Arg::new("task").value_name("TASK").required(true).help("The task's id"))
            .arg(run_id("The run [default: the newest]"))
            .arg(
                Arg::new("map-index")
                    .long("map-index")
                    .value_name("N")
                    .value_parser(value_parser!(u32))
                    .help("Which instance of a mapped task"),
            ),
        Command::new("rerun")
            .about("Run tasks of a run again, and everything behind them")
            .arg(Arg::new("task").value_name("TASK").num_args(0..).help("Tasks by their ids"))
            .arg(
                Arg::new("failed")
                    .long("failed")
                    .action(ArgAction::SetTrue)
                    .help("What failed, instead of naming tasks"),
            )
            .group(ArgGroup::new("which").args(["task", "failed"]).required(true))
            .arg(run_id("The run [default: the newest]"))
            .arg(parallelism())
            .arg(isolate())
            .arg(json("Tell what happens as JSON, one object a line")),
        super::contracts::command(),
        Command::new("completions").about("Print a completion script for a shell").arg(
            Arg::new("shell")
                .value_name("SHELL")
                .required(true)
                .value_parser(value_parser!(Shell))
                .help("Which"),
        ),
    ])
}

/// The name that the program was started by.
pub(super) fn program() -> String {
    let started = std::env::args_os().next().map(PathBuf::from);
    let name = started.as_deref().and_then(|path| path.file_name()).map(|name| name.to_string_lossy());
    name.map_or_else(|| "dags".to_owned(), |name| name.into_owned())
}

fn everywhere() -> [Arg; 2] {
    let place = |name: &'static str| {
        Arg::new(name).long(name).value_parser(value_parser!(PathBuf)).global(true).help_heading("Everywhere")
    };
    [
        place("home")
            .value_name("FOLDER")
            .help("Where Excom keeps its data [default: $EXCOM_HOME or ./.excom]"),
        place("config").value_name("FILE").help("The settings file"),
    ]
}

pub(super) fn dag_option(definitions: &[DagDefinition]) -> Arg {
    let ids: Vec<String> = definitions.iter().map(|definition| definition.id().to_owned()).collect();
    Arg::new("dag")
        .long("dag")
        .value_name("ID")
        .value_parser(PossibleValuesParser::new(ids))
        .global(true)
        .help_heading("Everywhere")
        .help("Which DAG")
}

fn run_id(help: &'static str) -> Arg {
    Arg::new("run-id").long("run-id").value_name("ID").help(help)
}

fn json(help: &'static str) -> Arg {
    Arg::new("json").long("json").action(ArgAction::SetTrue).help(help)
}

fn isolate() -> Arg {
    Arg::new("isolate")
        .long("isolate")
        .action(ArgAction::SetTrue)
        .help("Run each task in a process of its own, so that a crash fails a try and no more")
}

fn parallelism() -> Arg {
    Arg::new("parallelism")
        .long("parallelism")
        .value_name("N")
        .value_parser(value_parser!(u16).range(1..))
        .help("How many tasks run at the same time [default: [core] parallelism, 32]")
}

/// The same command with what a run takes.
fn of_run(command: Command, params: &[ParamSpec]) -> Command {
    let own = options_of(params);
    let of_new = ["run-id", "logical-date", "param"].map(ToOwned::to_owned).into_iter();
    let of_new: Vec<String> = of_new.chain(own.iter().map(|(option, _)| option.clone())).collect();
    let mut command = command
        .next_help_heading("Options of every run")
        .arg(run_id("The run's id; `manual__` and the time unless given"))
        .arg(
            Arg::new("logical-date")
                .long("logical-date")
                .value_name("TIME")
                .value_parser(timestamp)
                .help("The date that the run is for, such as 2026-11-21 or 2026-11-21T10:00:00Z"),
        )
        .arg(
            Arg::new("param")
                .long("param")
                .value_name("NAME=VALUE")
                .value_parser(pair)
                .action(ArgAction::Append)
                .help("A parameter by name"),
        )
        .arg(parallelism())
        .arg(isolate())
        .arg(json("Tell what happens as JSON, one object a line"))
        .arg(
            Arg::new("resume")
                .long("resume")
                .value_name("RUN_ID")
                .num_args(0..=1)
                .conflicts_with_all(of_new)
                .help("Go on with this run, or with the newest that was interrupted"),
        )
        .next_help_heading("Parameters of this DAG");
    for (option, spec) in own {
        let default = spec.default.as_ref().map(|default| format!("[default: {}]", typed(default)));
        let help = [Some(spec.doc.to_owned()).filter(|doc| !doc.is_empty()), default];
        let read = spec.clone();
        command = command.arg(
            Arg::new(option.clone())
                .long(option)
                .value_name(spec.kind())
                .value_parser(move |text: &str| fitting(&read, text))
                .allow_hyphen_values(true)
                .help(help.into_iter().flatten().collect::<Vec<_>>().join(" ")),
        );
    }
    command
}

/// A value as it is typed.
fn typed(value: &Value) -> String {
    value.get::<String>().unwrap_or_else(|_| value.as_str().to_owned())
}

/// A text that a parameter takes, or what to give instead.
fn fitting(spec: &ParamSpec, text: &str) -> Result<String, String> {
    match spec.read(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => {
            let instead = error.hints().join("; ");
            Err(match std::error::Error::source(&error) {
                Some(reason) => format!("{instead} ({reason})"),
                None => instead,
            })
        }
    }
}

/// A moment, or a date that stands for its midnight UTC.
fn timestamp(text: &str) -> Result<Timestamp, String> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment);
    }
    let date: jiff::civil::Date = text
        .parse()
        .map_err(|_| "give a date (2026-11-21) or a time with its zone (2026-11-21T10:00:00Z)".to_owned())?;
    date.to_zoned(jiff::tz::TimeZone::UTC).map(|zoned| zoned.timestamp()).map_err(|e| e.to_string())
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("give it as NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
