//! The bash operator: a command template, and values in environment variables.

use super::process::{self, Command};
use super::{Field, Fields, Operator, environment};
use crate::contract::TypeSchema;
use crate::dag::Handle;
use crate::instance::TaskInstance;
use crate::outcome::Result;

/// Runs a command with `bash -c`.
///
/// - The command and the values of variables are templates. What comes from another task goes in by a
///   variable: `env("TABLE", choose(dag))`, then `"$TABLE"`, so that bash never reads it as code.
///   Text arrives as it is, any other value as JSON. A command template may pull too, as long as what it
///   prints after that has no character that means something to a shell; `{{ … | safe }}` lets code through.
/// - A command that ends in `.sh` or `.bash` is the name of a template file.
/// - Standard output and error go to the try's log together, line by line. The last line, without white
///   space at its end, is what the task pushes: empty text when there is no output. A last line over
///   1 MiB fails the try instead of being cut.
/// - Exit code 99 skips the task, any other but 0 fails the try.
/// - The command has `EXCOM_DAG_ID`, `EXCOM_RUN_ID`, `EXCOM_TASK_ID`, `EXCOM_MAP_INDEX`,
///   `EXCOM_TRY_NUMBER` and `EXCOM_ATTEMPT_ID` in its environment (and `EXCOM_HOME` when the runner has
///   one), so that `excom xcom push` inside it acts for the task.
/// - When the run is cancelled, the command's whole process group is told to end (SIGTERM), and killed
///   five seconds later. A process that it leaves behind when it ends is not waited for but ended, and the
///   log says so; `setsid` starts one that stays. When this program itself is killed, its commands are too.
#[derive(Debug, Clone)]
pub struct Bash {
    command: Field,
    env: Vec<(String, Field)>,
    directory: Option<Field>,
}

impl Bash {
    /// A command.
    pub fn new(command: impl Into<Field>) -> Self {
        Self { command: command.into().shell(), env: Vec::new(), directory: None }
    }

    /// The same command with an environment variable more.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<Field>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// The same command with an environment variable more that may be secret: of the rendered fields that are
    /// kept, it is `***`. What the command prints is logged as it is.
    #[must_use]
    pub fn secret_env(self, name: &str, value: impl Into<Field>) -> Self {
        self.env(name, value.into().secret())
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
        if let Some(problem) = environment::problem(name) {
            self.problem(problem);
        }
        let value = value.into();
        self.configure(|bash| bash.env.push((name.to_owned(), value)))
    }

    /// Sets an environment variable that may be secret, such as a password; see [`Bash::secret_env`].
    pub fn secret_env(self, name: &str, value: impl Into<Field>) -> Self {
        self.env(name, value.into().secret())
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

    fn fields(&mut self) -> Fields<'_> {
        let mut fields: Fields<'_> = vec![("command".into(), &mut self.command)];
        fields.extend(self.env.iter_mut().map(|(name, field)| (format!("env.{name}").into(), field)));
        fields.extend(self.directory.iter_mut().map(|field| ("directory".into(), field)));
        fields
    }

    fn template_ext(&self) -> &'static [&'static str] {
        &[".sh", ".bash"]
    }

    async fn execute(self, ti: TaskInstance) -> Result<String> {
        let command = Command {
            program: "bash".to_owned(),
            arguments: vec!["-c".to_owned(), self.command.text()?],
            env: environment::variables(&ti, &self.env)?,
            directory: self.directory.as_ref().map(Field::text).transpose()?,
        };
        let ended = process::run(&command, &ti).await?.success()?;
        // A last line that is too long to push is no trouble when nothing is pushed.
        if ti.pushes() { Ok(ended.last_line?) } else { Ok(String::new()) }
    }
}
