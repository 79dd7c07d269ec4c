//! The `excom` command: XComs, variables and runs from any shell.
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
mod doctor;
mod gc;
mod identity;
mod input;
mod migrate;
mod output;
mod pages;
mod progress;
mod prune;
mod run;
mod stop;
mod text;
mod trace;
mod variable;
mod xcom;

use std::ffi::OsString;
use std::process::ExitCode;

use excom::config::Environment;

use context::Context;
use output::Output;
use stop::Stop;

fn main() -> ExitCode {
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
        None => start(arguments, environment, &mut output),
    };
    ExitCode::from(match outcome.and_then(|()| output.flush()) {
        Ok(()) => 0,
        Err(stop) => stop.tell(&mut output),
    })
}

fn start(arguments: Vec<OsString>, environment: Environment, output: &mut Output) -> Result<(), Stop> {
    let matches = arguments::command().try_get_matches_from(arguments)?;
    let context = Context::new(&matches, environment);
    pollster::block_on(async {
        match matches.subcommand() {
            Some(("xcom", matches)) => xcom::run(&context, matches, output).await,
            Some(("variable", matches)) => variable::run(&context, matches, output).await,
            Some(("run", matches)) => run::run(&context, matches, output).await,
            Some(("trace", matches)) => trace::run(&context, matches, output).await,
            Some(("config", matches)) => config::run(&context, matches, output),
            Some(("contracts", matches)) => contracts::run(&context, matches, output).await,
            Some(("prune", matches)) => prune::run(&context, matches, output).await,
            Some(("gc", matches)) => gc::run(&context, matches, output).await,
            Some(("migrate-values", matches)) => migrate::run(&context, matches, output).await,
            Some(("doctor", _)) => doctor::run(&context, output).await,
            Some(("completions", matches)) => pages::completions(matches, output),
            Some(("man", matches)) => pages::man(matches, output),
            _ => Ok(()),
        }
    })
}
