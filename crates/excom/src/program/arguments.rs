//! The command line of a DAG program: one option for each parameter, and those that every run has.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use excom_core::Result;
use excom_flow::{DagDefinition, RunOptions};
use jiff::Timestamp;

use crate::config::{Environment, Settings, Sources};

/// Names that parameters cannot have as options of their own; `--param` still sets them.
const TAKEN: [&str; 8] = ["run-id", "logical-date", "parallelism", "json", "home", "config", "param", "help"];

pub(super) struct Arguments {
    pub(super) json: bool,
    pub(super) parallelism: Option<usize>,
    pub(super) contracts: Option<ArgMatches>,
    run_id: Option<String>,
    logical_date: Option<Timestamp>,
    params: Vec<(String, String)>,
    home: Option<PathBuf>,
    config: Option<PathBuf>,
}

impl Arguments {
    pub(super) fn read(
        definition: &DagDefinition,
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<Self, clap::Error> {
        let mut matches = command(definition).try_get_matches_from(arguments)?;
        let mut params: Vec<(String, String)> =
            matches.remove_many::<(String, String)>("param").into_iter().flatten().collect();
        for spec in definition.params() {
            if let Some(value) = given(&matches, spec.name) {
                params.push((spec.name.to_owned(), value));
            }
        }
        Ok(Self {
            json: matches.get_flag("json"),
            contracts: matches.remove_subcommand().map(|(_, matches)| matches),
            parallelism: matches.remove_one::<u16>("parallelism").map(usize::from),
            run_id: matches.remove_one("run-id"),
            logical_date: matches.remove_one("logical-date"),
            params,
            home: matches.remove_one("home"),
            config: matches.remove_one("config"),
        })
    }

    pub(super) fn settings(&self) -> Result<Settings> {
        Settings::load(&Sources {
            environment: Environment::of_process()?,
            home: self.home.clone(),
            config: self.config.clone(),
            ..Sources::default()
        })
    }

    pub(super) fn options(&self) -> RunOptions {
        let mut options = RunOptions::new();
        options.run_id = self.run_id.clone();
        options.logical_date = self.logical_date;
        for (name, value) in &self.params {
            options = options.param(name, value.as_str());
        }
        options
    }
}

fn given(matches: &ArgMatches, name: &str) -> Option<String> {
    let option = option_of(name);
    if TAKEN.contains(&option.as_str()) { None } else { matches.get_one::<String>(&option).cloned() }
}

fn option_of(name: &str) -> String {
    name.replace('_', "-")
}

fn command(definition: &DagDefinition) -> Command {
    let mut command = Command::new(definition.id().to_owned())
        .about(definition.doc())
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .subcommand(super::contracts::command())
        .next_help_heading("Options of every run");
    for argument in [
        Arg::new("run-id").value_name("ID").help("The run's id; `manual__` and the time unless given"),
        Arg::new("logical-date")
            .value_name("TIME")
            .value_parser(timestamp)
            .help("The date that the run is for, such as 2026-11-21 or 2026-11-21T10:00:00Z"),
        Arg::new("param")
            .value_name("NAME=VALUE")
            .value_parser(pair)
            .action(ArgAction::Append)
            .help("A parameter by name"),
        Arg::new("parallelism")
            .value_name("N")
            .value_parser(value_parser!(u16).range(1..))
            .help("How many tasks run at the same time [default: 32]"),
        Arg::new("home")
            .value_name("FOLDER")
            .value_parser(value_parser!(PathBuf))
            .help("Where Excom keeps its data [default: $EXCOM_HOME or ./.excom]"),
        Arg::new("config").value_name("FILE").value_parser(value_parser!(PathBuf)).help("The settings file"),
        Arg::new("json").action(ArgAction::SetTrue).help("Tell what happens as JSON, one object a line"),
    ] {
        let name = argument.get_id().to_string();
        command = command.arg(argument.long(name));
    }
    command = command.next_help_heading("Parameters of this DAG");
    for spec in definition.params() {
        let option = option_of(spec.name);
        if TAKEN.contains(&option.as_str()) {
            continue;
        }
        let mut help = if spec.doc.is_empty() { spec.type_name.to_owned() } else { spec.doc.to_owned() };
        if let Some(default) = &spec.default {
            help.push_str(&format!(" [default: {}]", default.as_str()));
        }
        command = command.arg(
            Arg::new(option.clone())
                .long(option)
                .value_name(spec.type_name)
                .allow_hyphen_values(true)
                .help(help),
        );
    }
    command
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
    use excom_flow::ParamSpec;

    use super::*;

    fn read(arguments: &[&str]) -> Result<Arguments, clap::Error> {
        let definition = DagDefinition::new("weather", |_| ())
            .with_param(ParamSpec::required::<f64>("warm_floor", "f64").with_default::<f64>(30.0))
            .with_param(ParamSpec::required::<String>("json", "String"));
        let all = std::iter::once("weather").chain(arguments.iter().copied());
        Arguments::read(&definition, all.map(OsString::from))
    }

    #[test]
    fn parameters_are_options() {
        let arguments =
            read(&["--warm-floor", "-3.5", "--param", "json=x=y", "--logical-date", "2026-11-21"]).unwrap();
        assert_eq!(arguments.params, [("json".into(), "x=y".into()), ("warm_floor".into(), "-3.5".into())]);
        assert_eq!(arguments.logical_date.unwrap().to_string(), "2026-11-21T00:00:00Z");
        assert!(!arguments.json);
    }

    #[test]
    fn wrong_arguments_are_told() {
        for (wrong, told) in [
            (&["--warm-flor", "1"][..], "--warm-floor"),
            (&["--param", "x"], "NAME=VALUE"),
            (&["--logical-date", "yesterday"], "2026-11-21T10:00:00Z"),
            (&["--parallelism", "0"], "1"),
        ] {
            let error = read(wrong).err().unwrap();
            assert!(error.to_string().contains(told), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
    }
}
