//! The `excom` command: XComs, variables and runs from any shell.
//!
//! The whole command is a function, so that a program which brings an XCom backend of its own has it too:
//!
//! ```no_run
//! use std::sync::Arc;
//! use excom::core::memory::{Backend, Store};
//!
//! fn main() -> std::process::ExitCode {
//!     excom_cli::run(|engine, settings| {
//!         let mine = Backend::new(Arc::new(Store::new()), settings.xcom.inline_limit.0);
//!         Ok(engine.with_backend(Arc::new(mine)))
//!     })
//! }
//! ```
//!
//! It only translates: arguments and environment into calls of the engine, answers and errors into
//! text, JSON and exit codes. Standard output has what was asked for and nothing else; everything said
//! besides goes to standard error.
//!
//! | exit code | meaning |
//! | --- | --- |
//! | 0 | done; for a pull: the value |
//! | 1 | an error without a code of its own |
//! | 2 | the command was not understood |
//! | 3 | there is no value |
//! | 4 | it expired |
//! | 5 | an access rule or the fence forbids it |
//! | 6 | stored bytes are corrupt or lost |
//! | 7 | the database or store is away; try again |

mod arguments;
mod config;
mod context;
mod contracts;
mod db;
mod dictionary;
mod doctor;
mod door;
mod gc;
mod identity;
mod input;
mod keys;
mod migrate;
mod output;
mod pages;
mod progress;
mod prune;
mod run;
mod serve;
mod stop;
mod text;
mod trace;
mod variable;
mod xcom;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::ArgMatches;
use excom::config::{Environment, Settings};
use excom::{Engine, Result};

use context::{Complete, Context};
use output::Output;
use stop::Stop;

/// Does what the process's arguments say, and tells how the process is to end.
///
/// `complete` gets the engine that the settings opened, and makes of it the one that the command uses: the same, or
/// one with another backend ([`Engine::with_backend`]).
pub fn run(complete: impl Fn(Engine, &Settings) -> Result<Engine> + 'static) -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // Known before parsing, since what cannot be parsed is told as JSON too.
    let json = arguments.iter().take_while(|word| *word != "--").any(|word| word == "--json");
    let (environment, failure) = match Environment::of_process() {
        Ok(environment) => (environment, None),
        Err(error) => (Environment::default(), Some(error)),
    };
    let mut output = Output::new(json, &environment);
    let outcome = match failure {
        Some(error) => Err(Stop::from(error)),
        None => start(arguments, environment, Box::new(complete), &mut output),
    };
    ExitCode::from(match outcome.and_then(|()| output.flush()) {
        Ok(()) => 0,
        Err(stop) => stop.tell(&mut output),
    })
}

/// The name of a command that can only work on the database itself; none for one that can ask a server, or needs neither.
fn needs_database(command: &str, matches: &ArgMatches) -> Option<String> {
    match (command, matches.subcommand()) {
        ("xcom", Some(("refusals", _))) => Some("xcom refusals".to_owned()),
        ("xcom" | "run" | "variable" | "trace" | "prune" | "config" | "token" | "completions" | "man", _) => {
            None
        }
        (command, _) => Some(command.to_owned()),
    }
}

fn start(
    arguments: Vec<OsString>,
    environment: Environment,
    complete: Complete,
    output: &mut Output,
) -> Result<(), Stop> {
    let matches = arguments::command().try_get_matches_from(arguments)?;
    let context = Context::new(&matches, environment, complete);
    if let Some((command, matches)) = matches.subcommand()
        && let Some(command) = needs_database(command, matches)
    {
        context.without_server(&command)?;
    }
    pollster::block_on(async {
        match matches.subcommand() {
            Some(("xcom", matches)) => xcom::run(&context, matches, output).await,
            Some(("variable", matches)) => variable::run(&context, matches, output).await,
            Some(("run", matches)) => run::run(&context, matches, output).await,
            Some(("trace", matches)) => trace::run(&context, matches, output).await,
            Some(("config", matches)) => config::run(&context, matches, output),
            Some(("contracts", matches)) => contracts::run(&context, matches, output).await,
            Some(("db", matches)) => db::run(&context, matches, output).await,
            Some(("dictionary", matches)) => dictionary::run(&context, matches, output).await,
            Some(("keys", matches)) => keys::run(&context, matches, output).await,
            Some(("prune", matches)) => prune::run(&context, matches, output).await,
            Some(("gc", matches)) => gc::run(&context, matches, output).await,
            Some(("migrate-values", matches)) => migrate::run(&context, matches, output).await,
            Some(("tier", matches)) => migrate::tier(&context, matches, output).await,
            Some(("doctor", matches)) => doctor::run(&context, matches, output).await,
            Some(("serve", matches)) => serve::serve(&context, matches, output),
            Some(("token", matches)) => serve::token(&context, matches, output),
            Some(("completions", matches)) => pages::completions(matches, output),
            Some(("man", matches)) => pages::man(matches, output),
            _ => Ok(()),
        }
    })
}
