//! A DAG as a program: command line, progress, Ctrl-C, and what to show at the end.
//!
//! [`main!`](crate::main) makes a `main` function of it.

mod arguments;
mod closing;
mod command;
mod contracts;
mod driving;
mod listing;
mod live;
mod lock;
mod retention;
mod table;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use excom_airflow::process::{self, task::Assignment};
use excom_core::{Engine, Error, ErrorKind, Result, TaskState};
use excom_flow::runner::RunState;
use excom_flow::runner::isolation;
use excom_flow::{DagDefinition, RunReport};
use tokio::runtime::Runtime;

use crate::config::{DatabaseMode, Settings};
use crate::embedded::{self, Home};
use arguments::{Action, Arguments, Format, Work};
use closing::Place;
use driving::{Driver, INTERRUPTED};

/// Runs a task of these DAGs, if the process was started for one, and says how the process is to end.
///
/// A [`Supervisor`](crate::process::Supervisor) starts the program once more for each try. A `main` function that
/// [`main!`](crate::main) did not make calls this before anything else.
///
/// ```
/// use excom::prelude::*;
///
/// #[dag]
/// fn greeting(dag: &Dag) { dag.bash("greet", "echo hello"); }
///
/// // No supervisor started this process, so it goes on.
/// assert!(excom::program::serve_task(&[greeting()]).is_none());
/// ```
pub fn serve_task(definitions: &[DagDefinition]) -> Option<ExitCode> {
    process::task::serve(definitions, |task: Assignment| async move {
        isolation::execute(&task.graph, task.ti, task.max_map_length).await
    })
}

/// One DAG, or several, as a program.
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
    definitions: Vec<DagDefinition>,
    shown: Option<&'static str>,
    engine: Completion,
}

/// Makes of the engine that the settings opened the one that the program uses.
type Complete = dyn Fn(Engine, &Settings) -> Result<Engine> + Send + Sync;

struct Completion(Box<Complete>);

impl std::fmt::Debug for Completion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Completion(…)")
    }
}

impl Program {
    /// A program that runs a DAG.
    pub fn new(definition: DagDefinition) -> Self {
        Self::of([definition])
    }

    /// A program that runs one of several DAGs: `--dag ID` says which.
    pub fn of(definitions: impl IntoIterator<Item = DagDefinition>) -> Self {
        let engine = Completion(Box::new(|engine, _| Ok(engine)));
        Self { definitions: definitions.into_iter().collect(), shown: None, engine }
    }

    /// The task whose return value is the result: printed at the end, text as it is.
    pub fn show(mut self, task_id: &'static str) -> Self {
        self.shown = Some(task_id);
        self
    }

    /// What the program makes of the engine that its settings opened, before it does anything with it: one with
    /// an XCom backend of its own, for instance.
    ///
    /// ```no_run
    /// use std::sync::Arc;
    /// use excom::{core::memory, prelude::*, program::Program};
    ///
    /// #[dag]
    /// fn greeting(dag: &Dag) { dag.bash("greet", "echo hello"); }
    ///
    /// fn main() -> std::process::ExitCode {
    ///     Program::new(greeting())
    ///         .engine(|engine, settings| {
    ///             let mine = memory::Backend::new(Arc::default(), settings.xcom.inline_limit.0);
    ///             Ok(engine.with_backend(Arc::new(mine)))
    ///         })
    ///         .main()
    /// }
    /// ```
    pub fn engine(
        mut self,
        complete: impl Fn(Engine, &Settings) -> Result<Engine> + Send + Sync + 'static,
    ) -> Self {
        self.engine = Completion(Box::new(complete));
        self
    }

    /// Does what the process's arguments say; without a command it runs the DAG. `--help` tells what there is.
    ///
    /// The exit code is 0 when every task succeeded or was skipped, 1 when one failed or the run could
    /// not start, 2 when an argument is wrong, 7 when another program drives the run, 130 after Ctrl-C.
    pub fn main(self) -> ExitCode {
        if let Some(code) = serve_task(&self.definitions) {
            return code;
        }
        match self.try_main() {
            Ok(code) => code,
            Err(error) => {
                complain(&error);
                ExitCode::from(error.exit_code())
            }
        }
    }

    fn try_main(self) -> Result<ExitCode> {
        self.check()?;
        let arguments = match Arguments::read(&self.definitions, std::env::args_os()) {
            Ok(arguments) => arguments,
            Err(told) => {
                // Help is no error; clap knows where each belongs.
                drop(told.print());
                return Ok(ExitCode::from(u8::try_from(told.exit_code()).unwrap_or(2)));
            }
        };
        let definition = &self.definitions[arguments.dag];
        match &arguments.action {
            Action::Graph(format) => {
                let graph = definition.graph()?;
                print(&match format {
                    Format::Text => graph.to_text(),
                    Format::Mermaid => graph.to_mermaid(),
                    Format::Svg => graph.to_svg(),
                });
            }
            Action::Tasks { json } => print(&listing::tasks(&definition.graph()?, *json)),
            Action::Completions(shell) => print(&completions(&self.definitions, *shell)),
            Action::XComs { run_id, task_id, json } => {
                let (settings, task_id) = (arguments.settings()?, task_id.as_deref());
                let opened = embedded::open_existing(&settings)?;
                let engine = opened.map(|engine| (self.engine.0)(engine, &settings)).transpose()?;
                let xcoms = xcoms(engine, &settings, definition, run_id.clone(), task_id, *json);
                print(&pollster::block_on(xcoms)?);
            }
            Action::Contracts(matches) => return contracts::run(definition, matches),
            Action::TestTask { .. } | Action::Run { .. } => return self.run(arguments),
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Runs something of a DAG.
    fn run(&self, arguments: Arguments) -> Result<ExitCode> {
        let settings = arguments.settings()?;
        let definition = &self.definitions[arguments.dag];
        self.check_shown(definition)?;
        if matches!(arguments.action, Action::Run { .. }) {
            check_own(&settings)?;
        }
        let engine = (self.engine.0)(embedded::open(&settings)?, &settings)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|e| Error::new(ErrorKind::Other, "the runtime cannot start").because(e))?;
        let driver = Driver {
            engine: &engine,
            definition,
            settings: &settings,
            parallelism: None,
            isolate: false,
            events: None,
        };
        let code = match arguments.action {
            Action::TestTask { task_id, run_id, map_index } => {
                let report = runtime.block_on(driver.test(run_id, task_id, map_index))?;
                print(&closing::of_test(&report));
                if report.state == TaskState::Failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
            }
            Action::Run { what, parallelism, isolate, json } => {
                let events = if json { Some(driving::claim_stdout()?) } else { None };
                self.drive(&runtime, Driver { parallelism, isolate, events, ..driver }, what)?
            }
            _ => ExitCode::SUCCESS,
        };
        pollster::block_on(engine.close())?;
        // A task that does not end on its own must not keep the program.
        runtime.shutdown_background();
        Ok(code)
    }

    fn drive(&self, runtime: &Runtime, driver: Driver<'_>, what: Work) -> Result<ExitCode> {
        let (engine, settings, json) = (driver.engine, driver.settings, driver.events.is_some());
        let dag = (self.definitions.len() > 1).then(|| driver.definition.id());
        let place = Place { settings, dag };
        let shown = self.shown.filter(|shown| has_task(driver.definition, shown));
        let report: RunReport = runtime.block_on(driver.drive(what))?;
        if json {
            // Standard output is for events.
            drop(io::stderr().write_all(place.go_on(&report).unwrap_or_default().as_bytes()));
        } else {
            print(&runtime.block_on(closing::of_run(engine, &place, &report, shown))?);
        }
        if let Some(age) = &*settings.logging.retention
            && let Err(error) = retention::remove_old_logs(&Home::of(settings).logs(), age.0)
        {
            drop(writeln!(io::stderr(), "warning: old logs cannot be removed: {error}"));
        }
        Ok(match report.state {
            RunState::Success => ExitCode::SUCCESS,
            RunState::Cancelled => ExitCode::from(INTERRUPTED),
            _ => ExitCode::FAILURE,
        })
    }

    /// There are DAGs, and each has an id of its own.
    fn check(&self) -> Result<()> {
        let ids: Vec<&str> = self.definitions.iter().map(DagDefinition::id).collect();
        let twice = ids.iter().enumerate().find(|(place, id)| ids[..*place].contains(id));
        let what = match twice {
            Some((_, id)) => format!("two DAGs of this program have the id `{id}`"),
            None if ids.is_empty() => "this program has no DAG".to_owned(),
            None => return Ok(()),
        };
        Err(Error::new(ErrorKind::Configuration, what).hint("give each DAG an id of its own: #[dag(id = …)]"))
    }

    /// The task to show is one of the DAG's; with several DAGs, those that have it show it.
    fn check_shown(&self, definition: &DagDefinition) -> Result<()> {
        let Some(shown) = self.shown.filter(|_| self.definitions.len() == 1) else { return Ok(()) };
        let graph = definition.graph()?;
        let ids: Vec<&str> = graph.tasks().iter().map(excom_flow::Task::id).collect();
        if ids.contains(&shown) {
            return Ok(());
        }
        let message = format!("the task to show, `{shown}`, is not in DAG `{}`", definition.id());
        Err(Error::new(ErrorKind::Configuration, message).hint(format!("its tasks are {}", ids.join(", "))))
    }
}

/// Runs are made in a database of Excom's own: in Airflow's they are Airflow's.
fn check_own(settings: &Settings) -> Result<()> {
    let mode = &settings.database.mode;
    if **mode == DatabaseMode::Own {
        return Ok(());
    }
    let message = format!(
        "[database] mode = attached (from {}): {} is Airflow's, and so are its runs; a DAG program makes none there",
        mode.origin(),
        embedded::database::name(settings)
    );
    Err(Error::new(ErrorKind::Configuration, message)
        .hint("let Airflow run the DAG; `excom xcom` and `excom run` show what its runs pushed")
        .hint("to run it here, leave [database] mode and url out, or name a database of Excom's own"))
}

fn has_task(definition: &DagDefinition, task_id: &str) -> bool {
    definition.graph().is_ok_and(|graph| graph.task(task_id).is_some())
}

/// The XComs of a run.
async fn xcoms(
    engine: Option<Engine>,
    settings: &Settings,
    definition: &DagDefinition,
    run_id: Option<String>,
    task_id: Option<&str>,
    json: bool,
) -> Result<String> {
    let dag_id: Arc<str> = definition.id().into();
    let none = || {
        let home = Home::of(settings);
        Error::new(ErrorKind::InvalidRequest, format!("DAG `{dag_id}` has no runs yet"))
            .hint(format!("nothing was ever run with the home {}", home.folder().display()))
    };
    let engine = engine.ok_or_else(none)?;
    let run_id: Arc<str> = match run_id {
        Some(run_id) => run_id.into(),
        None => driving::newest_run(&engine, &dag_id).await?.into(),
    };
    let graph = definition.graph()?;
    let tasks = graph.tasks().iter().map(excom_flow::Task::id);
    let (entries, _) = listing::entries(&engine, &dag_id, &run_id, task_id, tasks, None).await?;
    engine.close().await?;
    if json {
        return Ok(listing::document(&entries));
    }
    if entries.is_empty() {
        return Ok(format!("no XComs in run {run_id}\n"));
    }
    Ok(format!("XComs of run {run_id}, in the order in which they were pushed\n{}", listing::xcoms(&entries)))
}

fn completions(definitions: &[DagDefinition], shell: clap_complete::Shell) -> String {
    let dag = (definitions.len() == 1).then_some(0);
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command::command(definitions, dag), command::program(), &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// Prints what was asked for. Nobody may read any more: what was done stands all the same.
fn print(text: &str) {
    drop(io::stdout().write_all(text.as_bytes()));
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
///
/// Several DAGs are `excom::main!([load, report])`; then `--dag ID` says which.
#[macro_export]
macro_rules! main {
    ([$($dag:path),+ $(,)?] $(, show = $task:literal)?) => {
        fn main() -> ::std::process::ExitCode {
            $crate::program::Program::of([$($dag()),+]) $(.show($task))? .main()
        }
    };
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
