//! Python scripts: a program whose interpreter is `python3`, with a module to read inputs and write outputs.

use std::fs;
use std::sync::Arc;

use excom_core::{Error, ErrorKind, Result};

use super::exchange::Exchange;
use super::process::Command;
use super::{Field, Program};
use crate::dag::{Dag, Handle};

/// The module that scripts import, as `excom_task`.
const MODULE: &str = include_str!("excom_task.py");

/// What a program needs to be a Python script.
#[derive(Debug, Clone)]
pub(super) enum Script {
    /// The text of the script, which is written to a file.
    Code(Arc<str>),
    /// The script is the first argument.
    File,
}

impl Script {
    /// Writes the module, and the script when it is text, and lets the interpreter find them.
    pub(super) fn prepare(&self, exchange: &Exchange, command: &mut Command) -> Result<()> {
        let folder = exchange.path().join("python");
        let script = folder.join("script.py");
        let written = fs::create_dir(&folder)
            .and_then(|()| fs::write(folder.join("excom_task.py"), MODULE))
            .and_then(|()| match self {
                Self::Code(code) => fs::write(&script, code.as_bytes()),
                Self::File => Ok(()),
            });
        written
            .map_err(|e| Error::new(ErrorKind::Other, "the Python script cannot be written").because(e))?;
        if matches!(self, Self::Code(_)) {
            command.arguments.insert(0, script.display().to_string());
        }
        // Modules that are found without Excom are found with it.
        let given =
            command.env.iter().rev().find(|(name, _)| name == "PYTHONPATH").map(|(_, path)| path.clone());
        let path = given.or_else(|| std::env::var("PYTHONPATH").ok()).filter(|path| !path.is_empty());
        let folder = folder.display().to_string();
        let path = path.map_or(folder.clone(), |path| format!("{folder}:{path}"));
        command.env.push(("PYTHONPATH".to_owned(), path));
        // Lines come into the log when they are printed, and in the order of those on standard error.
        command.env.push(("PYTHONUNBUFFERED".to_owned(), "1".to_owned()));
        Ok(())
    }
}

impl Program {
    /// A Python script as text, run by `python3`. It is not a template, and no value is ever written into
    /// it: values are inputs.
    ///
    /// The script can import `excom_task` (Python 3.8 and later, nothing else needed):
    ///
    /// ```python
    /// from excom_task import inputs, output, pull, push
    ///
    /// rows = inputs["rows"]             # an input of the task
    /// output({"total": sum(rows)})      # what the task returns
    /// push("unit", "rows")              # an XCom of this task, through the `excom` command
    /// day = pull("choose", "day")       # an XCom of another task, through the `excom` command
    /// ```
    pub fn python(code: &str) -> Self {
        Self::new("python3").with_script(Script::Code(outdented(code).into()))
    }

    /// A Python script in a file, run by `python3`; as [`Program::python`] otherwise. The path may be a
    /// template.
    pub fn python_file(path: impl Into<Field>) -> Self {
        Self::new("python3").argument(path).with_script(Script::File)
    }
}

impl Dag {
    /// Adds a task that runs a Python script; see [`Program::python`].
    ///
    /// ```
    /// # extern crate excom_flow as excom;
    /// use excom::prelude::*;
    ///
    /// #[task]
    /// fn rows() -> Vec<u64> { vec![365, 366] }
    ///
    /// #[dag]
    /// fn sums(dag: &Dag) {
    ///     let rows = rows(dag);
    ///     dag.python("sum", r#"
    ///         from excom_task import inputs, output
    ///         output(sum(inputs["rows"]))
    ///     "#)
    ///     .input("rows", rows);
    /// }
    /// assert_eq!(sums().graph()?.tasks()[1].upstream().collect::<Vec<_>>(), ["rows"]);
    /// # Ok::<(), excom_core::Error>(())
    /// ```
    pub fn python(&self, task_id: &str, code: &str) -> Handle<'_, Program> {
        self.add(task_id, Program::python(code))
    }
}

/// The text without the white space that all its lines begin with, so that it can be indented in Rust.
fn outdented(code: &str) -> String {
    let blank = |line: &&str| line.trim().is_empty();
    let indent = |line: &str| line.len() - line.trim_start_matches([' ', '\t']).len();
    let mut lines = code.lines().filter(|line| !blank(line));
    let first = lines.next().unwrap_or_default();
    let common = lines.fold(&first[..indent(first)], |common, line| {
        let same = common.bytes().zip(line.bytes()).take_while(|(a, b)| a == b).count();
        &common[..same]
    });
    let lines = code.lines().map(|line| line.strip_prefix(common).unwrap_or(line.trim()));
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::outdented;

    #[test]
    fn code_may_be_indented_as_a_whole() {
        assert_eq!(outdented("\n    if a:\n\n        b\n    c"), "\nif a:\n\n    b\nc\n");
        assert_eq!(outdented("a\n    b"), "a\n    b\n");
        assert_eq!(outdented("\t\ta\n\t b"), "\ta\n b\n");
        assert_eq!(outdented(""), "\n");
    }
}
