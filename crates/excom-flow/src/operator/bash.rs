//! The bash operator: a command template, and values in environment variables.

use std::borrow::Cow;

use excom_core::{Error, ErrorKind};

use super::process::{self, Command, Ended};
use super::{Field, Operator};
use crate::contract::TypeSchema;
use crate::dag::Handle;
use crate::error::invalid;
use crate::instance::TaskInstance;
use crate::outcome::{BoxError, Result, Skip};

/// The exit code by which a command says that it chose not to run.
const SKIP_EXIT_CODE: i32 = 99;

/// The longest text of one environment variable, name included, that Linux hands to a program.
const LONGEST_VARIABLE: usize = 128 * 1024;

/// Runs a command with `bash -c`.
///
/// - The command and the values of variables are templates. What comes from another task goes in by a
///   variable: `env("TABLE", choose(dag))`, then `"$TABLE"`, so that bash never reads it as code.
///   Text arrives as it is, any other value as JSON.
/// - Standard output and error go to the try's log together, line by line. The last line, without white
///   space at its end, is what the task pushes: empty text when there is no output. A last line over
///   1 MiB fails the try instead of being cut.
/// - Exit code 99 skips the task, any other but 0 fails the try.
/// - The command has `EXCOM_DAG_ID`, `EXCOM_RUN_ID`, `EXCOM_TASK_ID`, `EXCOM_MAP_INDEX`,
///   `EXCOM_TRY_NUMBER` and `EXCOM_ATTEMPT_ID` in its environment (and `EXCOM_HOME` when the runner has
///   one), so that `excom xcom push` inside it acts for the task.
/// - When the run is cancelled, the command's whole process group is told to end (SIGTERM), and killed
///   five seconds later. A process that it leaves behind when it ends is not waited for.
#[derive(Debug, Clone)]
pub struct Bash {
    command: Field,
    env: Vec<(String, Field)>,
    directory: Option<Field>,
}

impl Bash {
    /// A command.
    pub fn new(command: impl Into<Field>) -> Self {
        Self { command: command.into(), env: Vec::new(), directory: None }
    }

    /// The same command with an environment variable more.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<Field>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// The same command in a directory; without, it runs where the runner runs.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<Field>) -> Self {
        self.directory = Some(directory.into());
        self
    }
}

impl Handle<'_, Bash> {
    /// Sets an environment variable of the command: a template, or another task's value.
    pub fn env(self, name: &str, value: impl Into<Field>) -> Self {
        if name.is_empty() || name.contains(['=', '\0']) {
            self.problem(
                invalid(format!("`{name}` cannot be the name of an environment variable"))
                    .hint("a name has at least one character, and no `=`"),
            );
        }
        let value = value.into();
        self.configure(|bash| bash.env.push((name.to_owned(), value)))
    }

    /// Runs the command in a directory.
    pub fn directory(self, directory: impl Into<Field>) -> Self {
        let directory = directory.into();
        self.configure(|bash| bash.directory = Some(directory))
    }
}

impl Operator for Bash {
    type Output = String;

    fn output_schema() -> TypeSchema {
        TypeSchema::of::<String>()
    }

    fn fields(&mut self) -> Vec<(Cow<'static, str>, &mut Field)> {
        let mut fields: Vec<(Cow<'static, str>, &mut Field)> = vec![("command".into(), &mut self.command)];
        fields.extend(self.env.iter_mut().map(|(name, field)| (format!("env.{name}").into(), field)));
        fields.extend(self.directory.iter_mut().map(|field| ("directory".into(), field)));
        fields
    }

    async fn execute(self, ti: TaskInstance) -> Result<String> {
        let mut env = own(&ti);
        for (name, field) in &self.env {
            env.push((name.clone(), variable(name, field.text()?)?));
        }
        let directory = self.directory.as_ref().map(Field::text).transpose()?;
        let command = self.command.text()?;
        if command.contains('\0') {
            return Err(invalid("the command has a NUL character, which no command can have").into());
        }
        let ended = process::run(Command { command, env, directory }, &ti).await?;
        outcome(ended, ti.pushes())
    }
}

/// Who runs, for the `excom` command.
fn own(ti: &TaskInstance) -> Vec<(String, String)> {
    let mut env: Vec<(String, String)> = [
        ("EXCOM_DAG_ID", ti.dag_id().to_owned()),
        ("EXCOM_RUN_ID", ti.run_id().to_owned()),
        ("EXCOM_TASK_ID", ti.task_id().to_owned()),
        ("EXCOM_MAP_INDEX", ti.map_index().to_string()),
        ("EXCOM_TRY_NUMBER", ti.try_number().to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    env.extend(ti.attempt_id().map(|id| ("EXCOM_ATTEMPT_ID".to_owned(), id.to_string())));
    env.extend(ti.home().map(|home| ("EXCOM_HOME".to_owned(), home.display().to_string())));
    env
}

fn variable(name: &str, value: String) -> excom_core::Result<String> {
    if value.contains('\0') {
        return Err(invalid(format!("the value of variable `{name}` has a NUL character")).hint(
            "no environment variable can have one; let the command pull the value with `excom xcom pull`",
        ));
    }
    let size = name.len() + value.len() + 2;
    if size > LONGEST_VARIABLE {
        return Err(Error::new(
            ErrorKind::TooLarge,
            format!(
                "the value of variable `{name}` has {} bytes, the system hands over at most 128 KiB",
                value.len()
            ),
        )
        .hint("let the command pull the value with `excom xcom pull`, or pass the path of a file"));
    }
    Ok(value)
}

fn outcome(ended: Ended, push: bool) -> Result<String> {
    match ended.code {
        Some(0) if push => ended.last_line.map_err(BoxError::from),
        Some(0) => Ok(String::new()),
        Some(SKIP_EXIT_CODE) => {
            Err(Skip::because(format!("the command ended with code {SKIP_EXIT_CODE}")).into())
        }
        _ => {
            let how = match (ended.code, ended.signal) {
                (Some(code), _) => format!("with code {code}"),
                (None, Some(signal)) => format!("by signal {signal}"),
                (None, None) => "without a code".to_owned(),
            };
            let output = match ended.tail.as_slice() {
                [] => "; it printed nothing".to_owned(),
                tail => format!("; its output ends with:\n{}", tail.join("\n")),
            };
            Err(Error::new(ErrorKind::Other, format!("the command ended {how}{output}")).into())
        }
    }
}
