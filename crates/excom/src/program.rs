//! A DAG as a program: command line, progress, Ctrl-C, and what to show at the end.
//!
//! [`main!`](crate::main) makes a `main` function of it.

mod arguments;
mod closing;
mod contracts;
mod live;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use excom_core::{Engine, Error, ErrorKind, Result};
use excom_flow::runner::{JsonReporter, PlainReporter, Reporter};
use excom_flow::{Cancellation, DagDefinition, RunReport, Runner};

use crate::config::Settings;
use crate::embedded::{self, Home};
use arguments::Arguments;

/// How a program that was interrupted ends: 128 and the number of SIGINT.
const INTERRUPTED: u8 = 130;

/// A DAG as a program.
///
/// ```no_run
/// use excom::prelude::*;
/// use excom::program::Program;
///
/// #[task]
/// fn greet() -> String { "hello".into() }
///
/// #[dag]
/// fn greeting(dag: &Dag) { greet(dag); }
///
/// fn main() -> std::process::ExitCode {
///     Program::new(greeting()).show("greet").main()
/// }
/// ```
#[derive(Debug)]
#[must_use = "a program does nothing before `main`"]
pub struct Program {
    definition: DagDefinition,
    shown: Option<&'static str>,
}

impl Program {
    /// A program that runs a DAG.
    pub fn new(definition: DagDefinition) -> Self {
        Self { definition, shown: None }
    }

    /// The task whose return value is the result: printed at the end, text as it is.
    pub fn show(mut self, task_id: &'static str) -> Self {
        self.shown = Some(task_id);
        self
    }

    /// Runs the DAG as the process's arguments say: `--help` tells which there are.
    ///
    /// The exit code is 0 when every task succeeded or was skipped, 1 when one failed or the run could
    /// not start, 2 when an argument is wrong, 130 after Ctrl-C.
    pub fn main(self) -> ExitCode {
        match self.try_main() {
            Ok(code) => code,
            Err(error) => {
                complain(&error);
                ExitCode::from(error.exit_code())
            }
        }
    }

    fn try_main(self) -> Result<ExitCode> {
        let arguments = match Arguments::read(&self.definition, std::env::args_os()) {
            Ok(arguments) => arguments,
            Err(told) => {
                // Help and version are no errors; clap knows where each belongs.
                drop(told.print());
                return Ok(ExitCode::from(u8::try_from(told.exit_code()).unwrap_or(2)));
            }
        };
        if let Some(matches) = &arguments.contracts {
            return contracts::run(&self.definition, matches);
        }
        self.check_shown()?;
        let settings = arguments.settings()?;
        let engine = embedded::open(&settings)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|e| Error::new(ErrorKind::Other, "the runtime cannot start").because(e))?;
        let report = runtime.block_on(self.run(&engine, &settings, &arguments))?;
        if !arguments.json {
            closing::print(&engine, &settings, &report, self.shown)?;
        }
        pollster::block_on(engine.close())?;
        // A task that does not end on its own must not keep the program.
        runtime.shutdown_background();
        Ok(match report.state {
            excom_flow::runner::RunState::Success => ExitCode::SUCCESS,
            excom_flow::runner::RunState::Cancelled => ExitCode::from(INTERRUPTED),
            _ => ExitCode::FAILURE,
        })
    }

    /// The task to show is one of the DAG's.
    fn check_shown(&self) -> Result<()> {
        let Some(shown) = self.shown else { return Ok(()) };
        let graph = self.definition.graph()?;
        let ids: Vec<&str> = graph.tasks().iter().map(excom_flow::Task::id).collect();
        if ids.contains(&shown) {
            return Ok(());
        }
        let message = format!("the task to show, `{shown}`, is not in DAG `{}`", self.definition.id());
        Err(Error::new(ErrorKind::Configuration, message).hint(format!("its tasks are {}", ids.join(", "))))
    }

    async fn run(&self, engine: &Engine, settings: &Settings, arguments: &Arguments) -> Result<RunReport> {
        let cancellation = Cancellation::new();
        let listener = tokio::spawn(interrupts(cancellation.clone()));
        let home = Home::of(settings);
        // Commands may change their folder, and must find the same home.
        let folder = std::path::absolute(home.folder()).unwrap_or_else(|_| home.folder().to_owned());
        let mut runner = Runner::new(engine.clone())
            .contracts(*settings.xcom.contracts)
            .logs(home.logs())
            .home(folder)
            .reporter(reporter(arguments.json));
        if let Some(parallelism) = arguments.parallelism {
            runner = runner.parallelism(parallelism);
        }
        let report = runner.run(&self.definition, arguments.options().cancellation(cancellation)).await;
        listener.abort();
        report
    }
}

/// Ctrl-C, or the end of the terminal or the service, ends the run cleanly; a second time, at once.
async fn interrupts(cancellation: Cancellation) {
    // Without signals there is nothing to listen to, and the run goes on.
    if interrupted().await.is_ok() {
        drop(writeln!(io::stderr(), "\nstopping: running tasks are ended; Ctrl-C again leaves at once"));
        cancellation.cancel();
        if interrupted().await.is_ok() {
            std::process::exit(INTERRUPTED.into());
        }
    }
}

#[cfg(unix)]
async fn interrupted() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed,
        _ = terminate.recv() => Ok(()),
        _ = hangup.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn interrupted() -> io::Result<()> {
    tokio::signal::ctrl_c().await
}

fn reporter(json: bool) -> Arc<dyn Reporter> {
    if json {
        Arc::new(JsonReporter::new(io::stdout()))
    } else if io::stderr().is_terminal() {
        Arc::new(live::Live::new())
    } else {
        Arc::new(PlainReporter::new(io::stderr()))
    }
}

fn complain(error: &Error) {
    let mut text = format!("error: {error}\n");
    for hint in error.hints() {
        text.push_str(&format!("  {hint}\n"));
    }
    drop(io::stderr().write_all(text.as_bytes()));
}

/// Makes a `main` function that runs a DAG, and shows a task's return value at the end.
///
/// ```no_run
/// use excom::prelude::*;
///
/// #[task]
/// fn greet(name: String) -> String { format!("hello {name}") }
///
/// #[dag]
/// fn greeting(dag: &Dag, #[param(default = "world")] name: Param<String>) {
///     greet(dag, name);
/// }
///
/// excom::main!(greeting, show = "greet");
/// ```
#[macro_export]
macro_rules! main {
    ($dag:path) => {
        fn main() -> ::std::process::ExitCode {
            $crate::program::Program::new($dag()).main()
        }
    };
    ($dag:path, show = $task:literal) => {
        fn main() -> ::std::process::ExitCode {
            $crate::program::Program::new($dag()).show($task).main()
        }
    };
}
