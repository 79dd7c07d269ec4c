//! What can be typed: commands, arguments and their help.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::builder::{NonEmptyStringValueParser, PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Arg, ArgAction, ArgGroup, Command, value_parser};
use clap_complete::Shell;
use excom::RETURN_VALUE;
use excom::config::{Age, Size};
use excom::core::run::RunState;

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 error, 2 not understood, 3 no value, 4 expired, 5 forbidden or superseded,
6 corrupt or lost, 7 try again.";

const IN_A_TASK: &str = "\
Inside a task, --dag-id, --run-id, --task-id and --map-index default to the task's own, from
EXCOM_DAG_ID, EXCOM_RUN_ID, EXCOM_TASK_ID and EXCOM_MAP_INDEX; with EXCOM_ATTEMPT_ID the command
speaks as that attempt. When --task-id is given, the map index is that of an unmapped task (-1) unless
--map-index is given too.";

/// The heading of what every command takes.
const EVERYWHERE: &str = "Everywhere";

/// The whole command line.
pub(crate) fn command() -> Command {
    Command::new("excom")
        .version(env!("CARGO_PKG_VERSION"))
        .about("XComs, what the tasks of a DAG tell each other; and variables and runs of DAGs")
        .after_help(EXIT_CODES)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .arg(
            path("home", "FOLDER")
                .help("The folder with the database and the values [default: EXCOM_HOME, or .excom]"),
        )
        .arg(
            path("config", "FILE")
                .help("The settings file [default: EXCOM_CONFIG, or excom.toml here or in the home]"),
        )
        .arg(
            Arg::new("set")
                .long("set")
                .value_name("SECTION.KEY=VALUE")
                .help("Change one setting for this command; `excom config list` shows them")
                .value_parser(assignment)
                .action(ArgAction::Append)
                .global(true)
                .help_heading(EVERYWHERE),
        )
        .arg(
            everywhere("server", "URL")
                .help("Ask this Excom server instead of opening a database [default: [client] server]"),
        )
        .arg(
            everywhere("token-file", "FILE")
                .help("The file with the token for it [default: [client] token_file, or EXCOM__CLIENT__TOKEN]"),
        )
        .arg(flag("json", "Answer with one JSON document, errors too").global(true).help_heading(EVERYWHERE))
        .subcommand(
            Command::new("xcom")
                .about("Push, pull and look at XComs")
                .subcommand_required(true)
                .arg_required_else_help(true)
                .subcommands([push(), pull(), get(), list(), usage(), history(), refusals(), clear(), delete()]),
        )
        .subcommand(variable())
        .subcommand(runs())
        .subcommand(trace())
        .subcommand(config())
        .subcommand(crate::contracts::command())
        .subcommand(crate::db::command())
        .subcommand(crate::keys::command())
        .subcommand(crate::dictionary::command())
        .subcommand(prune())
        .subcommand(gc())
        .subcommand(migrate_values())
        .subcommand(tier())
        .subcommands(crate::serve::commands())
        .subcommand(
            Command::new("doctor")
                .about("Show what is loaded and from where, and prove that it works")
                .arg(flag("database", "Look at what fills the database instead, and write nothing"))
                .after_help(
                    "It pushes, pulls and deletes XComs of the DAG id `excom__doctor`.\n\n\
                     With --database, on PostgreSQL: the largest tables, DAGs and keys, and what would be offloaded;\n\
                     with [database] mode = \"attached\", whether Excom is attached yet or not, also what an upgrade of\n\
                     Airflow trips over and what is left of rows that are gone. Large tables are looked at in part,\n\
                     and the server ends a question after 30 s.",
                ),
        )
        .subcommand(
            Command::new("completions")
                .about("Print a completion script for a shell")
                .after_help(
                    "For bash: excom completions bash > ~/.local/share/bash-completion/completions/excom",
                )
                .arg(
                    Arg::new("shell")
                        .value_name("SHELL")
                        .required(true)
                        .value_parser(value_parser!(Shell))
                        .help("Which shell"),
                ),
        )
        .subcommand(
            Command::new("man").about("Print the manual page, or write one for each command").arg(
                Arg::new("dir").long("dir").value_name("FOLDER").value_parser(value_parser!(PathBuf)).help(
                    "Write the pages of all commands into this folder, such as ~/.local/share/man/man1",
                ),
            ),
        )
}

fn prune() -> Command {
    Command::new("prune")
        .about("Remove what is past its time, and files that nothing refers to any more")
        .arg(flag("dry-run", "Tell which XComs would expire, by rule, DAG and key, and change nothing"))
        .arg(age("older-than").help("Expire what was pushed longer ago, instead of by the settings: 90d, 12h, 5m"))
        .arg(
            Arg::new("keep-last")
                .long("keep-last")
                .value_name("N")
                .value_parser(value_parser!(u32).range(1..))
                .help("Expire what is of none of a task's newest N runs, instead of by the settings"),
        )
        .arg(id("dag-id", "DAG", true).help("Expire XComs of this DAG, and remove nothing else"))
        .arg(
            flag("airflow", "In Airflow's own database: expire what Airflow wrote itself too")
                .requires("rule"),
        )
        .group(ArgGroup::new("rule").args(["older-than", "keep-last"]).multiple(true))
        .arg(
            Arg::new("rate")
                .long("rate")
                .value_name("N")
                .value_parser(value_parser!(NonZeroU32))
                .help("Expire at most so many XComs in a second, so that others who write are not held up"),
        )
        .after_long_help(
            "How long things are kept is set under [xcom]: retention, retention_count, retention_unread,\n\
             retention_done for XComs, each one that is set for itself; history, history_bytes, ledger_retention\n\
             for the rest. `excom config explain xcom` tells each. A program that runs for long does it by itself.\n\n\
             By age, XComs expire whatever becomes of their runs. By the other rules, those of a run that goes on\n\
             stay. A pull of what has expired names the rule.\n\n\
             It may run while tasks push: it looks for what is due without holding them up, and writes in steps of\n\
             at most 1000 XComs, which take some hundredths of a second each. Interrupted, it is run again.\n\n\
             In Airflow's own database it concerns what Excom wrote. With --airflow, and then only by\n\
             --older-than or --keep-last, rows of Airflow's expire too, in steps by their primary key: a row that is\n\
             just being written stays, and so does one that was written anew. Their bytes are told as stored.",
        )
}

fn gc() -> Command {
    Command::new("gc")
        .about("Remove stored objects that nothing knows, and tell which values have lost their object")
        .arg(flag("dry-run", "Tell what would be removed, and change nothing"))
        .arg(age("older-than").help(
            "Leave alone what is younger, such as 90d, 12h or 5m [default: [xcom] abandoned_after, 1h]",
        ))
        .after_help(
            "It goes through all stores page by page, and may run while tasks push. Interrupted, it is run again.\n\
             A value that has lost its object is told and stays as it is: pulling it answers `lost`. Objects are\n\
             opened, not read: damage inside is found when a value is pulled.\n\
             It ends with 6 when values have lost their objects.",
        )
}

fn migrate_values() -> Command {
    Command::new("migrate-values")
        .about("Move values to where the selected backend puts them, or seal them with the current key")
        .arg(flag("dry-run", "Tell how many values would move, and change nothing"))
        .arg(flag("reseal", "Seal what an older key sealed with the current one, where it is, instead of moving"))
        .arg(id("dag-id", "DAG", true))
        .arg(bytes_rate())
        .after_help(
            "For after [core] xcom_backend, its store or [xcom] inline_limit was changed. Earlier versions move too,\n\
             while their bytes are kept. Versions stay what they are, and each value is verified on its way.\n\
             With --reseal for after `excom keys rotate`, so that `excom keys retire` can let the old key go.\n\n\
             It may run while tasks push and pull: a value that is replaced or cleared meanwhile is left alone.\n\
             Interrupted, it is run again; a value whose move was interrupted follows after [xcom] abandoned_after.\n\
             A value that cannot be moved is told, stays where it is, and makes the command fail at its end.",
        )
}

fn tier() -> Command {
    Command::new("tier")
        .about("Move large values out of Airflow's own database, also those that Airflow wrote itself")
        .arg(flag("dry-run", "Tell how many values would move, and change nothing"))
        .arg(id("dag-id", "DAG", true))
        .arg(bytes_rate())
        .after_help(
            "It is `excom migrate-values` with what Airflow wrote: each value that takes more than\n\
             [xcom] inline_limit in the database becomes Excom's own, as the version that it is, and goes to the\n\
             selected backend's store. Excom pulls it as before. In its place Airflow's own readers, which are\n\
             tasks without Excom, its pages and its REST API, find a reference, {\"$excom\": \"reference-1\", …}: the same\n\
             as for what is offloaded by a push. From then on [xcom] retention applies to it; what goes by\n\
             `airflow db clean` takes its object along.\n\n\
             It may run while tasks push and pull: a row that is written anew meanwhile is left alone. Interrupted,\n\
             it is run again. What it frees, PostgreSQL uses again after its next vacuum, the others at once.",
        )
}

fn bytes_rate() -> Arg {
    Arg::new("rate")
        .long("rate")
        .value_name("BYTES")
        .value_parser(value_parser!(Size))
        .help("Move at most so many bytes in a second, such as 10MiB")
}

fn push() -> Command {
    xcom("push", "Push a value")
        .arg(
            Arg::new("value")
                .value_name("JSON")
                .required(true)
                .allow_negative_numbers(true)
                .help("The value as JSON text, or `-` to read it from standard input"),
        )
        .arg(flag("text", "Take the argument or the input as plain text and push it as a JSON string"))
        .arg(flag("secret", "Push a secret: it is stored encrypted, and shown to nobody who does not ask for it"))
        .arg(key())
        .after_long_help(format!(
            "Prints what was pushed when standard output is a terminal, and nothing in a pipe, so that a\n\
             task's own output stays clean. Use --json for a receipt in scripts.\n\n\
             Other users of the machine may see arguments, so read a secret from standard input with `-`. Keys\n\
             that [xcom] secret_keys names are secrets without the flag.\n\n{IN_A_TASK}"
        ))
}

fn pull() -> Command {
    xcom("pull", "Print a value")
        .arg(key())
        .arg(
            Arg::new("all")
                .long("all")
                .action(ArgAction::SetTrue)
                .conflicts_with_all(["map-index", "raw"])
                .help("All map indexes: a JSON object from map index to value"),
        )
        .arg(
            Arg::new("default")
                .long("default")
                .value_name("JSON")
                .allow_negative_numbers(true)
                .help("Print this when there is no value (not when it expired, is forbidden or damaged)"),
        )
        .arg(flag("include-prior-dates", "Without a value in this run, take the newest of an earlier run"))
        .arg(flag("raw", "Print a string without quotes and escapes"))
        .arg(reveal())
        .after_long_help(format!(
            "Without a value it prints why on standard error, with what is near, and exits with 3.\n\
             Large values are streamed, each piece verified before it is printed; one that is damaged further on\n\
             ends there, with exit code 6. --all prints {{\"0\": …, \"2\": …}} in order of map index, where a\n\
             gap is a task instance that pushed nothing; the one value of an unmapped task is under \"-1\".\n\n\
             {IN_A_TASK}\n\n{EXIT_CODES}"
        ))
}

fn get() -> Command {
    xcom("get", "Show a value with all that is known about it")
        .arg(key())
        .arg(reveal())
        .after_long_help(IN_A_TASK)
}

fn reveal() -> Arg {
    flag("reveal", "Show the value also when it is a secret, as inside a task it always is")
}

fn list() -> Command {
    names(Command::new("list"), true)
        .about("List XComs without loading their values")
        .arg(
            Arg::new("key")
                .long("key")
                .value_name("KEY")
                .value_parser(NonEmptyStringValueParser::new())
                .help("Only this key"),
        )
        .arg(limit("100"))
        .arg(
            Arg::new("after")
                .long("after")
                .value_name("TOKEN")
                .help("Go on behind where a list ended, as it told"),
        )
        .after_long_help("Inside a task, --dag-id and --run-id default to the task's own.")
}

fn usage() -> Command {
    Command::new("usage")
        .about("Show how much the values of a run have together, or of all runs of a DAG, and may have")
        .arg(id("dag-id", "DAG", false))
        .arg(id("run-id", "DAG run", false).help("Of this run; without it of all runs of the DAG"))
        .after_long_help(
            "How much they may have is set by [xcom] quota_run and quota_dag. Earlier versions do not count.\n\
             Inside a task, --dag-id and --run-id default to the task's own; with --dag-id given, --run-id does not.",
        )
}

fn history() -> Command {
    xcom("history", "List the versions of an XCom, or print an earlier one")
        .arg(key())
        .arg(limit("20"))
        .arg(
            Arg::new("version")
                .long("version")
                .value_name("VERSION")
                .help("Print the value of this version, while its bytes are kept"),
        )
        .arg(reveal())
        .after_long_help(IN_A_TASK)
}

fn refusals() -> Command {
    Command::new("refusals")
        .about("Show what tasks did that would be refused, while [xcom] observe only counts it")
        .arg(limit("100"))
        .after_long_help(
            "The most recent first: the task, what it read or wrote (as DAG/TASK), and the rule against it.\n\
             What should stay allowed is a line of [xcom] grants.",
        )
}

fn clear() -> Command {
    removal("clear", "Move XComs to the history, as a new try of the task does").after_long_help(IN_A_TASK)
}

fn delete() -> Command {
    removal("delete", "Delete XComs with their history and bytes: what was deleted is gone")
        .arg(flag("yes", "Do not ask; needed when nobody can be asked"))
        .after_long_help(IN_A_TASK)
}

fn variable() -> Command {
    let key = || Arg::new("key").value_name("KEY").required(true).help("The variable's key");
    Command::new("variable")
        .about("Get, set and list variables: text that all DAGs share")
        .after_long_help(
            "EXCOM_VAR_<KEY> in the environment, the key in upper case, overrides a variable wherever it is\n\
             read; so does Airflow's AIRFLOW_VAR_<KEY>, when Excom's is not set.",
        )
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("get").about("Print a variable's text").arg(key()).arg(
                Arg::new("default")
                    .long("default")
                    .value_name("TEXT")
                    .allow_hyphen_values(true)
                    .help("Print this when there is no such variable"),
            ),
        )
        .subcommand(
            Command::new("set")
                .about("Set a variable")
                .arg(key())
                .arg(
                    Arg::new("value")
                        .value_name("TEXT")
                        .required_unless_present("file")
                        .conflicts_with("file")
                        .allow_negative_numbers(true)
                        .help("The text, or `-` to read it from standard input"),
                )
                .arg(
                    Arg::new("file")
                        .long("file")
                        .value_name("FILE")
                        .value_parser(value_parser!(PathBuf))
                        .help("Read the text from a file"),
                )
                .arg(
                    Arg::new("description")
                        .long("description")
                        .value_name("TEXT")
                        .help("What it is for; the one before stays when this is not given"),
                )
                .arg(flag("check-json", "Refuse a text that is not JSON")),
        )
        .subcommand(
            Command::new("list")
                .about("List variables, as they are set")
                .arg(
                    Arg::new("prefix")
                        .long("prefix")
                        .value_name("TEXT")
                        .help("Only those whose keys begin with this"),
                )
                .arg(limit("100"))
                .arg(
                    Arg::new("after")
                        .long("after")
                        .value_name("KEY")
                        .help("Go on behind this key, as a list told"),
                ),
        )
        .subcommand(Command::new("delete").about("Delete a variable").arg(key()))
}

fn runs() -> Command {
    let state = RunState::ALL.map(|state| PossibleValue::new(state.name()));
    let state = PossibleValuesParser::new(state).try_map(|name| {
        RunState::ALL.into_iter().find(|state| state.name() == name).ok_or("no state of a run")
    });
    Command::new("run")
        .about("Look at DAG runs")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("list")
                .about("List runs, newest first")
                .arg(id("dag-id", "DAG", true))
                .arg(
                    Arg::new("state")
                        .long("state")
                        .value_name("STATE")
                        .value_parser(state)
                        .help("Only runs in this state"),
                )
                .arg(limit("20"))
                .after_long_help(
                    "Inside a task, --dag-id defaults to the task's own. A run that was killed stays `running`.",
                ),
        )
        .subcommand(
            Command::new("show")
                .about("Show a run with its tasks, or with --task-id one of them with all that it did")
                .arg(id("dag-id", "DAG", false))
                .arg(id("run-id", "DAG run", false))
                .arg(id("task-id", "task", false).help(
                    "Show this task: its attempts, the rendered fields of its operator, what it read and pushed",
                ))
                .arg(map_index(false).requires("task-id"))
                .after_long_help(
                    "Of a run, the instances of a mapped task are summed up. Inside a task, --dag-id and\n\
                     --run-id default to the task's own.",
                ),
        )
}

fn trace() -> Command {
    xcom("trace", "Show where a value came from, or what came of it")
        .arg(key())
        .arg(
            Arg::new("version")
                .long("version")
                .value_name("VERSION")
                .help("Of this version, as `excom xcom history` shows them"),
        )
        .arg(flag("backwards", "To what the pusher had read before it pushed; this is what it does anyway"))
        .arg(flag("forwards", "To who read it, and what they pushed afterwards").conflicts_with("backwards"))
        .arg(
            Arg::new("depth")
                .long("depth")
                .value_name("N")
                .default_value("100")
                .value_parser(value_parser!(u32).range(0..=100))
                .help("How many values deep at most"),
        )
        .arg(
            Arg::new("children")
                .long("children")
                .value_name("N")
                .default_value("20")
                .value_parser(value_parser!(u32).range(1..=10_000))
                .help("How many origins or readers of a value to show at most"),
        )
        .after_long_help(format!(
            "It tells what the ledger noted: that a task read one value before it pushed another, and not\n\
             what it made of it. What is in the same DAG run is named without it; a value that is in the tree\n\
             before, with what is below it, is marked (*), one with more behind it that is too deep (…).\n\n\
             {IN_A_TASK}"
        ))
}

fn config() -> Command {
    let section = || Arg::new("section").value_name("SECTION");
    let name = || Arg::new("key").value_name("KEY");
    Command::new("config")
        .about("Show settings and where each comes from")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(Command::new("list").about("List all settings").arg(section().help("Only this section")))
        .subcommand(
            Command::new("get")
                .alias("get-value")
                .about("Print the value of one setting")
                .arg(section().required(true).help("The section, or section.key"))
                .arg(name().help("The key")),
        )
        .subcommand(
            Command::new("explain")
                .about("Tell what settings mean, what they take, and where their values come from")
                .arg(section().help("Only this section, or section.key"))
                .arg(name().help("Only this key")),
        )
}

/// A command about one XCom.
fn xcom(name: &'static str, about: &'static str) -> Command {
    names(Command::new(name), false).about(about)
}

fn removal(name: &'static str, about: &'static str) -> Command {
    xcom(name, about).arg(key()).arg(
        Arg::new("all-keys")
            .long("all-keys")
            .action(ArgAction::SetTrue)
            .conflicts_with("key")
            .help("All XComs of the task instance"),
    )
}

/// The arguments that name a task instance, or filter by its parts.
fn names(command: Command, filter: bool) -> Command {
    command
        .arg(id("dag-id", "DAG", filter))
        .arg(id("run-id", "DAG run", filter))
        .arg(id("task-id", "task", filter))
        .arg(map_index(filter))
}

fn map_index(filter: bool) -> Arg {
    id("map-index", "map index (-1 when not mapped)", filter)
        .value_name("INDEX")
        .allow_negative_numbers(true)
        .value_parser(value_parser!(i32).range(-1..))
}

fn id(name: &'static str, what: &str, filter: bool) -> Arg {
    let which = if filter { "Only this" } else { "The" };
    Arg::new(name).long(name).value_name("ID").help(format!("{which} {what}"))
}

fn key() -> Arg {
    Arg::new("key").long("key").value_name("KEY").default_value(RETURN_VALUE).help("The XCom's key")
}

fn limit(standard: &'static str) -> Arg {
    Arg::new("limit")
        .long("limit")
        .value_name("N")
        .default_value(standard)
        .value_parser(value_parser!(u32).range(1..))
        .help("The most rows")
}

pub(crate) fn age(name: &'static str) -> Arg {
    Arg::new(name).long(name).value_name("AGE").value_parser(value_parser!(Age))
}

pub(crate) fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

fn path(name: &'static str, value: &'static str) -> Arg {
    everywhere(name, value).value_parser(value_parser!(PathBuf))
}

fn everywhere(name: &'static str, value: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).global(true).help_heading(EVERYWHERE)
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it has no `=`; write section.key=value")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_holds_together() {
        super::command().debug_assert();
    }
}
