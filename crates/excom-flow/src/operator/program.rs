//! The program operator: any executable, with values in and out as JSON files.

use excom_core::{Error, ErrorKind, Value, XComKey};

use super::exchange::{self, Exchange, Outputs};
use super::process::{self, Command};
use super::python::Script;
use super::{Field, Fields, Operator, environment};
use crate::dag::{Dag, Handle};
use crate::error::{invalid, within};
use crate::instance::TaskInstance;
use crate::outcome::Result;

/// Runs a program in any language, without a shell.
///
/// Values go in and out as JSON:
///
/// - Each input is a file: `rows` is `rows.json` in the folder that `EXCOM_INPUTS` names, and, up to
///   64 KiB, the variable `EXCOM_INPUT_ROWS` too.
/// - What the program writes to the file that `EXCOM_OUTPUT` names is what the task pushes. Without that
///   file nothing is pushed, unless [`output_from_last_line`](Program::output_from_last_line) is set.
/// - Each file `KEY.json` in the folder that `EXCOM_PUSH` names is pushed under that key; `%2F` in the name
///   stands for `/`, and so on for every byte. All files are checked before the first is pushed, also for the
///   types that the DAG declares.
/// - `excom xcom push` and `excom xcom pull` work inside it, as in [`Bash`](crate::Bash).
///
/// An output has at most 64 MiB. The files are in a folder that only the owner may read, and which is
/// removed when the try ends, however it ends. A program that fails or skips pushes nothing this way.
///
/// Logs, exit codes (99 skips), cancellation and processes left behind are as with [`Bash`](crate::Bash).
#[derive(Debug, Clone)]
pub struct Program {
    command: Vec<Field>,
    env: Vec<(String, Field)>,
    directory: Option<Field>,
    inputs: Vec<(String, Field)>,
    last_line: bool,
    script: Option<Script>,
}

impl Program {
    /// A program by its name on the `PATH` or its path, which may be a template.
    pub fn new(program: impl Into<Field>) -> Self {
        Self::of(vec![program.into()])
    }

    fn of(command: Vec<Field>) -> Self {
        Self { command, env: Vec::new(), directory: None, inputs: Vec::new(), last_line: false, script: None }
    }

    pub(super) fn with_script(mut self, script: Script) -> Self {
        self.script = Some(script);
        self
    }

    /// The same program with one more argument.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<Field>) -> Self {
        self.command.push(argument.into());
        self
    }

    /// The same program with an environment variable more: text as it is, any other value as JSON.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<Field>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// The same program with an environment variable more that may be secret: of the rendered fields that are
    /// kept, it is `***`. What the program prints is logged as it is.
    #[must_use]
    pub fn secret_env(self, name: &str, value: impl Into<Field>) -> Self {
        self.env(name, value.into().secret())
    }

    /// The same program in a directory; without, it runs where the runner runs.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<Field>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// The same program with one more input.
    #[must_use]
    pub fn input(mut self, name: &str, value: impl Into<Field>) -> Self {
        self.inputs.push((name.to_owned(), value.into()));
        self
    }

    /// The same program, which returns the last line of its output as text when it writes no file.
    #[must_use]
    pub fn output_from_last_line(mut self) -> Self {
        self.last_line = true;
        self
    }

    /// What is wrong with the names of its variables and inputs.
    fn check(&self) -> excom_core::Result<()> {
        let variables = self.env.iter().filter_map(|(name, _)| environment::problem(name));
        let inputs = self.inputs.iter().filter_map(|(name, _)| exchange::problem(name));
        if let Some(problem) = variables.chain(inputs).next() {
            return Err(problem);
        }
        for (index, (name, _)) in self.inputs.iter().enumerate() {
            if self.inputs[..index].iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
                return Err(invalid(format!("the input `{name}` is given twice"))
                    .hint("give each input a name of its own; `A` and `a` are the same variable"));
            }
        }
        Ok(())
    }
}

/// Runs what reads and writes files where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> excom_core::Result<T> + Send + 'static,
) -> excom_core::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| {
        Err(Error::new(ErrorKind::Other, "the files of a program cannot be handled").because(e))
    })
}

impl Operator for Program {
    type Output = Value;

    fn fields(&mut self) -> Fields<'_> {
        let mut fields: Fields<'_> = Vec::new();
        for (index, field) in self.command.iter_mut().enumerate() {
            let name = if index == 0 { "program".into() } else { format!("argument.{index}").into() };
            fields.push((name, field));
        }
        fields.extend(self.env.iter_mut().map(|(name, field)| (format!("env.{name}").into(), field)));
        fields.extend(self.directory.iter_mut().map(|field| ("directory".into(), field)));
        fields.extend(self.inputs.iter_mut().map(|(name, field)| (format!("input.{name}").into(), field)));
        fields
    }

    async fn execute(self, ti: TaskInstance) -> Result<Value> {
        self.check()?;
        let mut texts = self.command.iter().map(Field::text);
        let mut command = Command {
            program: texts.next().transpose()?.unwrap_or_default(),
            arguments: texts.collect::<excom_core::Result<_>>()?,
            env: environment::variables(&ti, &self.env)?,
            directory: self.directory.as_ref().map(Field::text).transpose()?,
        };
        let inputs = self.inputs.iter().map(|(name, field)| Ok((name.clone(), field.get::<Value>()?)));
        let inputs: Vec<(String, Value)> = inputs.collect::<excom_core::Result<_>>()?;
        let script = self.script;
        let (exchange, command) = blocking(move || {
            let exchange = Exchange::new(&inputs)?;
            command.env.extend(exchange.env(&inputs));
            if let Some(script) = script {
                script.prepare(&exchange, &mut command)?;
            }
            Ok((exchange, command))
        })
        .await?;
        let ended = process::run(&command, &ti).await?.success()?;
        let own = ti.clone();
        let Outputs { returned, pushed } = blocking(move || exchange.outputs(&own)).await?;
        let returned = match returned {
            Some(value) => value,
            None if self.last_line && ti.pushes() => Value::of(&ended.last_line?)?,
            None => Value::null(),
        };
        let place = |key: &XComKey| format!("`{}` from EXCOM_PUSH", key.key);
        for (key, value) in &pushed {
            ti.check_push(&key.key, value).map_err(|e| within(&place(key), e))?;
        }
        for (key, value) in pushed {
            ti.channel().push(&key, value.into()).await.map_err(|e| within(&place(&key), e))?;
        }
        Ok(returned)
    }
}

impl Dag {
    /// Adds a task that runs a program: its name or path, and its arguments; see [`Program`].
    ///
    /// ```
    /// # extern crate excom_flow as excom;
    /// use excom::prelude::*;
    ///
    /// #[task]
    /// fn rows() -> Vec<u64> { vec![365, 366] }
    ///
    /// #[task]
    /// fn report(total: u64) -> String { format!("{total} rows") }
    ///
    /// #[dag]
    /// fn sums(dag: &Dag) {
    ///     let program = r#"jq add "$EXCOM_INPUTS/rows.json" > "$EXCOM_OUTPUT""#;
    ///     let total = dag.program("sum", ["sh", "-c", program]).input("rows", rows(dag));
    ///     report(dag, total.output_as());
    /// }
    /// assert_eq!(sums().graph()?.tasks()[2].upstream().collect::<Vec<_>>(), ["sum"]);
    /// # Ok::<(), excom_core::Error>(())
    /// ```
    pub fn program<F: Into<Field>>(
        &self,
        task_id: &str,
        command: impl IntoIterator<Item = F>,
    ) -> Handle<'_, Program> {
        let command: Vec<Field> = command.into_iter().map(Into::into).collect();
        if command.is_empty() {
            self.problem(
                invalid(format!("task `{task_id}` runs a program without a name"))
                    .hint("the first item is the program, the others are its arguments"),
            );
        }
        self.add(task_id, Program::of(command))
    }
}

impl Handle<'_, Program> {
    /// Adds an argument: a template, or another task's value.
    pub fn argument(self, argument: impl Into<Field>) -> Self {
        let argument = argument.into();
        self.configure(|program| program.command.push(argument))
    }

    /// Sets an environment variable: a template, or another task's value.
    pub fn env(self, name: &str, value: impl Into<Field>) -> Self {
        if let Some(problem) = environment::problem(name) {
            self.problem(problem);
        }
        let value = value.into();
        self.configure(|program| program.env.push((name.to_owned(), value)))
    }

    /// Sets an environment variable that may be secret, such as a password; see [`Program::secret_env`].
    pub fn secret_env(self, name: &str, value: impl Into<Field>) -> Self {
        self.env(name, value.into().secret())
    }

    /// Hands an input over, as JSON.
    pub fn input(self, name: &str, value: impl Into<Field>) -> Self {
        if let Some(problem) = exchange::problem(name) {
            self.problem(problem);
        }
        let value = value.into();
        self.configure(|program| program.inputs.push((name.to_owned(), value)))
    }

    /// Runs the program in a directory.
    pub fn directory(self, directory: impl Into<Field>) -> Self {
        let directory = directory.into();
        self.configure(|program| program.directory = Some(directory))
    }

    /// Returns the last line of the output as text when the program writes no output file.
    pub fn output_from_last_line(self) -> Self {
        self.configure(|program| program.last_line = true)
    }

    /// Runs a Python script with another interpreter than `python3`: a name, or the path of one in a virtual
    /// environment.
    pub fn interpreter(self, interpreter: impl Into<Field>) -> Self {
        let interpreter = interpreter.into();
        self.configure(|program| program.command[0] = interpreter)
    }
}
