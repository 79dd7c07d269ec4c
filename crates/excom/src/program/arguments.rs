//! The command line of a DAG program: its commands, one option for each parameter, and those that every run has.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::error::ErrorKind as Wrong;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command, value_parser};
use clap_complete::Shell;
use excom_core::Result;
use excom_flow::{DagDefinition, ParamSpec, Rerun, RunOptions};
use jiff::Timestamp;

use crate::config::{Environment, Settings, Sources};

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

/// What was typed.
#[derive(Debug)]
pub(super) struct Arguments {
    /// Which of the program's DAGs.
    pub(super) dag: usize,
    pub(super) action: Action,
    home: Option<PathBuf>,
    config: Option<PathBuf>,
}

/// What to do.
#[derive(Debug)]
pub(super) enum Action {
    Run { what: Work, parallelism: Option<usize>, isolate: bool, json: bool },
    Graph(Format),
    Tasks { json: bool },
    XComs { run_id: Option<String>, task_id: Option<String>, json: bool },
    TestTask { task_id: String, run_id: Option<String>, map_index: Option<u32> },
    Completions(Shell),
    Contracts(ArgMatches),
}

/// What is run.
#[derive(Debug)]
pub(super) enum Work {
    New {
        run_id: Option<String>,
        logical_date: Option<Timestamp>,
        params: Vec<(String, String)>,
    },
    /// The run of this id, or the newest that was interrupted.
    Resume(Option<String>),
    /// Tasks of the run of this id, or of the newest.
    Again {
        run_id: Option<String>,
        what: Rerun,
    },
}

/// How a DAG is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Mermaid,
    Svg,
}

impl Arguments {
    pub(super) fn read(
        definitions: &[DagDefinition],
        words: impl IntoIterator<Item = OsString>,
    ) -> Result<Self, clap::Error> {
        let words: Vec<OsString> = words.into_iter().collect();
        let dag = match definitions {
            [_] => Some(0),
            _ => chosen(definitions, &words)?,
        };
        let mut command = command(definitions, dag);
        let mut matches = command.try_get_matches_from_mut(words)?;
        let given = matches.remove_subcommand();
        if let Some((name, _)) = &given {
            check_no_options_before(&mut command, &matches, name)?;
        }
        let (name, mut matches) = given.unwrap_or_else(|| ("run".to_owned(), matches));
        let (home, config) = (matches.remove_one("home"), matches.remove_one("config"));
        if name == "completions" {
            let shell = matches.remove_one("shell").unwrap_or(Shell::Bash);
            return Ok(Self { dag: 0, action: Action::Completions(shell), home, config });
        }
        let Some(dag) = dag else {
            let ids: Vec<&str> = definitions.iter().map(DagDefinition::id).collect();
            let which = format!("this program has several DAGs: say which one with --dag {}", ids.join("|"));
            return Err(command.error(Wrong::MissingRequiredArgument, which));
        };
        Ok(Self { dag, action: action(&name, matches, definitions[dag].params()), home, config })
    }

    pub(super) fn settings(&self) -> Result<Settings> {
        Settings::load(&Sources {
            environment: Environment::of_process()?,
            home: self.home.clone(),
            config: self.config.clone(),
            ..Sources::default()
        })
    }
}

impl Work {
    /// The options of a new run, with an id.
    pub(super) fn options(run_id: &str, date: Option<Timestamp>, params: &[(String, String)]) -> RunOptions {
        let mut options = RunOptions::new().run_id(run_id);
        options.logical_date = date;
        params.iter().fold(options, |options, (name, value)| options.param(name, value.as_str()))
    }
}

fn action(name: &str, mut matches: ArgMatches, params: &[ParamSpec]) -> Action {
    let json = |matches: &ArgMatches| matches!(matches.try_get_one("json"), Ok(Some(true)));
    let parallelism = |matches: &mut ArgMatches| matches.remove_one::<u16>("parallelism").map(usize::from);
    match name {
        "graph" => Action::Graph(matches.remove_one("format").unwrap_or(Format::Text)),
        "contracts" => Action::Contracts(matches),
        "tasks" => Action::Tasks { json: json(&matches) },
        "xcoms" => Action::XComs {
            json: json(&matches),
            run_id: matches.remove_one("run-id"),
            task_id: matches.remove_one("task-id"),
        },
        "test-task" => Action::TestTask {
            task_id: matches.remove_one("task").unwrap_or_default(),
            run_id: matches.remove_one("run-id"),
            map_index: matches.remove_one("map-index"),
        },
        "rerun" => {
            let tasks: Vec<String> = matches.remove_many("task").into_iter().flatten().collect();
            let what = if matches.get_flag("failed") { Rerun::Failed } else { Rerun::From(tasks) };
            let run_id = matches.remove_one("run-id");
            Action::Run {
                json: json(&matches),
                isolate: matches.get_flag("isolate"),
                parallelism: parallelism(&mut matches),
                what: Work::Again { run_id, what },
            }
        }
        _ => Action::Run {
            json: json(&matches),
            isolate: matches.get_flag("isolate"),
            parallelism: parallelism(&mut matches),
            what: work(matches, params),
        },
    }
}

fn work(mut matches: ArgMatches, specs: &[ParamSpec]) -> Work {
    if matches.contains_id("resume") {
        return Work::Resume(matches.remove_one("resume"));
    }
    let mut params: Vec<(String, String)> =
        matches.remove_many::<(String, String)>("param").into_iter().flatten().collect();
    for spec in specs {
        let option = option_of(spec.name);
        if !TAKEN.contains(&option.as_str())
            && let Some(value) = matches.remove_one::<String>(&option)
        {
            params.push((spec.name.to_owned(), value));
        }
    }
    Work::New {
        run_id: matches.remove_one("run-id"),
        logical_date: matches.remove_one("logical-date"),
        params,
    }
}

/// The DAG that `--dag` names: known before all is read, since the options depend on it.
fn chosen(definitions: &[DagDefinition], words: &[OsString]) -> Result<Option<usize>, clap::Error> {
    let mut words = words.iter().skip(1).map(|word| word.to_string_lossy()).take_while(|word| word != "--");
    let named = words.by_ref().find_map(|word| match word.strip_prefix("--dag") {
        Some("") => Some(None),
        Some(rest) => rest.strip_prefix('=').map(|id| Some(id.to_owned())),
        None => None,
    });
    let named = match named {
        Some(None) => words.next().map(|id| id.into_owned()),
        Some(id) => id,
        None => None,
    };
    let Some(named) = named else { return Ok(None) };
    let known = definitions.iter().position(|definition| definition.id() == named);
    // One that is not known is refused by the command's own list, which tells the nearest.
    match known {
        Some(dag) => Ok(Some(dag)),
        None => {
            let mut command = Command::new("dags").arg(dag_option(definitions));
            match command.try_get_matches_from_mut(["dags", "--dag", &named]) {
                Ok(_) => Ok(None),
                Err(refusal) => Err(refusal),
            }
        }
    }
}

/// Options before a command would be lost.
fn check_no_options_before(
    command: &mut Command,
    matches: &ArgMatches,
    name: &str,
) -> Result<(), clap::Error> {
    let everywhere = ["home", "config", "dag"];
    let lost = matches.ids().find(|id| {
        !everywhere.contains(&id.as_str())
            && matches.value_source(id.as_str()) == Some(ValueSource::CommandLine)
    });
    match lost {
        Some(id) => {
            let lost =
                format!("--{id} stands before the command `{name}`: write it behind it, or leave it away");
            Err(command.error(Wrong::ArgumentConflict, lost))
        }
        None => Ok(()),
    }
}

fn option_of(name: &str) -> String {
    name.replace('_', "-")
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
                    .help("The tasks that failed, instead of naming them"),
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

fn dag_option(definitions: &[DagDefinition]) -> Arg {
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
    let new = ["run-id", "logical-date", "param"];
    let own = params.iter().filter(|spec| !TAKEN.contains(&option_of(spec.name).as_str()));
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
                .conflicts_with_all(
                    new.map(ToOwned::to_owned)
                        .into_iter()
                        .chain(own.clone().map(|spec| option_of(spec.name))),
                )
                .help("Go on with this run, or with the newest that was interrupted"),
        )
        .next_help_heading("Parameters of this DAG");
    for spec in own {
        let mut help = spec.doc.to_owned();
        if let Some(default) = &spec.default {
            help.push_str(&format!(" [default: {}]", default.as_str()));
        }
        let read = spec.clone();
        command = command.arg(
            Arg::new(option_of(spec.name))
                .long(option_of(spec.name))
                .value_name(spec.kind())
                .value_parser(move |text: &str| fitting(&read, text))
                .allow_hyphen_values(true)
                .help(help.trim_start().to_owned()),
        );
    }
    command
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

#[cfg(test)]
mod tests {
    use super::*;

    fn weather() -> DagDefinition {
        DagDefinition::new("weather", |_| ())
            .with_param(ParamSpec::required::<f64>("warm_floor", "f64").with_default::<f64>(30.0))
            .with_param(ParamSpec::required::<String>("json", "String"))
    }

    fn read(arguments: &[&str]) -> Result<Arguments, clap::Error> {
        let all = std::iter::once("weather").chain(arguments.iter().copied());
        Arguments::read(&[weather()], all.map(OsString::from))
    }

    fn read_of_two(arguments: &[&str]) -> Result<Arguments, clap::Error> {
        let all = std::iter::once("program").chain(arguments.iter().copied());
        let other = DagDefinition::new("orders", |_| ());
        Arguments::read(&[weather(), other], all.map(OsString::from))
    }

    #[test]
    fn the_command_line_holds_together() {
        command(&[weather()], Some(0)).debug_assert();
        command(&[weather(), DagDefinition::new("orders", |_| ())], None).debug_assert();
    }

    #[test]
    fn parameters_are_options_with_and_without_the_command() {
        let options = ["--warm-floor", "-3.5", "--param", "json=x=y", "--logical-date", "2026-11-21"];
        for first in [&[][..], &["run"]] {
            let arguments = read(&[first, &options[..]].concat()).unwrap();
            let Action::Run { what: Work::New { params, logical_date, .. }, json: false, .. } =
                arguments.action
            else {
                panic!("{arguments:?}")
            };
            assert_eq!(params, [("json".into(), "x=y".into()), ("warm_floor".into(), "-3.5".into())]);
            assert_eq!(logical_date.unwrap().to_string(), "2026-11-21T00:00:00Z");
        }
    }

    #[test]
    fn a_run_goes_on_by_its_id_or_as_the_newest() {
        for (typed, expected) in [(&["run", "--resume"][..], None), (&["--resume", "r1"], Some("r1"))] {
            let arguments = read(typed).unwrap();
            let Action::Run { what: Work::Resume(run_id), .. } = arguments.action else {
                panic!("{arguments:?}")
            };
            assert_eq!(run_id.as_deref(), expected);
        }
        assert!(read(&["--resume", "--warm-floor", "3"]).is_err());
        assert!(read(&["run", "--resume", "--run-id", "r"]).is_err());
    }

    #[test]
    fn one_of_several_dags_is_named() {
        assert_eq!(read_of_two(&["tasks", "--dag", "orders"]).unwrap().dag, 1);
        assert_eq!(read_of_two(&["--dag=weather", "--warm-floor", "3"]).unwrap().dag, 0);
        assert!(read_of_two(&["completions", "bash"]).is_ok());
        for (typed, told) in [
            (&["tasks"][..], "--dag weather|orders"),
            (&["--dag", "wether"], "'weather'"),
            (&["--dag", "orders", "--warm-floor", "3"], "--warm-floor"),
        ] {
            let error = read_of_two(typed).unwrap_err();
            assert!(error.to_string().contains(told), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
    }

    #[test]
    fn wrong_arguments_are_told() {
        for (wrong, told) in [
            (&["--warm-flor", "1"][..], "--warm-floor"),
            (&["--warm-floor", "hot"], "'--warm-floor <number>': give a number, such as 30.0"),
            (&["--param", "x"], "NAME=VALUE"),
            (&["--logical-date", "yesterday"], "2026-11-21T10:00:00Z"),
            (&["--parallelism", "0"], "1"),
            (&["--warm-floor", "3", "graph"], "--warm-floor stands before the command `graph`"),
            (&["grph"], "graph"),
            (&["graph", "--format", "png"], "mermaid"),
            (&["rerun"], "TASK"),
            (&["rerun", "a", "--failed"], "cannot be used with"),
            (&["test-task"], "<TASK>"),
        ] {
            let error = read(wrong).err().unwrap();
            assert!(error.to_string().contains(told), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
    }
}
