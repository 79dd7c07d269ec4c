//! What was typed to a DAG program.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind as Wrong;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};
use clap_complete::Shell;
use excom_core::Result;
use excom_flow::{DagDefinition, ParamSpec, Rerun, RunOptions};
use jiff::Timestamp;

use super::command::{command, dag_option, options_of};
use crate::config::{Environment, Settings, Sources};

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
    for (option, spec) in options_of(specs) {
        if let Some(value) = matches.remove_one::<String>(&option) {
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
    fn underscores_in_front_are_no_part_of_an_option() {
        let text = |name| ParamSpec::required::<String>(name, "String");
        let specs = ["_day", "__", "_run_id", "hour", "_hour"].map(text);
        let dag = specs.into_iter().fold(DagDefinition::new("d", |_| ()), DagDefinition::with_param);
        command(std::slice::from_ref(&dag), Some(0)).debug_assert();
        let typed =
            ["d", "--day", "1", "--run-id", "r", "--hour", "2", "--param", "_hour=3", "--param", "__=4"];
        let arguments = Arguments::read(&[dag], typed.map(OsString::from)).unwrap();
        let Action::Run { what: Work::New { params, run_id, .. }, .. } = arguments.action else {
            panic!("{arguments:?}")
        };
        assert_eq!(run_id.as_deref(), Some("r"));
        let expected = [("_hour", "3"), ("__", "4"), ("hour", "2"), ("_day", "1")];
        assert_eq!(params, expected.map(|(name, value)| (name.into(), value.into())));
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
