//! Checks of what a task pushes, where the compiler has not checked it: by hand, and what an operator returns.

use excom_core::{Error, ErrorKind, Result, Value};

use super::{Contract, Source};

/// What happens when a task pushes what is not of the type that it, or who takes it, declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Contracts {
    /// The push is an error, which names the place in the value.
    #[default]
    Refuse,
    /// It is pushed, and the try's log says so.
    Warn,
    /// Nothing is checked.
    Off,
}

impl Contracts {
    /// What a check says, as these contracts have it: an error, or text for the log.
    pub(crate) fn judge(self, check: impl FnOnce() -> Result<()>, log: impl FnOnce(&str)) -> Result<()> {
        match self {
            Self::Refuse => check(),
            Self::Warn => {
                if let Err(error) = check() {
                    log(&format!("warning: {error}"));
                }
                Ok(())
            }
            Self::Off => Ok(()),
        }
    }
}

impl Contract {
    /// Checks a value that a task pushes under a key against what the task, or who takes it, declares. A key of
    /// which nothing is known takes anything, and so does every key null, which is no value.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidValue`] with the place in the value.
    pub fn check_push(&self, task_id: &str, key: &str, value: &Value) -> Result<()> {
        let Some(schema) = self.tasks.get(task_id).and_then(|task| task.outputs.get(key)) else {
            return Ok(());
        };
        if value.is_null() || schema.is_anything() {
            return Ok(());
        }
        schema.check(&value.get()?).map_err(|mismatch| {
            let mismatch = if value.is_secret() { mismatch.redacted() } else { mismatch };
            let takers = self.takers(task_id, key);
            let taken = match takers.as_slice() {
                [] => String::new(),
                takers => format!(", which {} takes,", crate::error::listing(takers.iter().copied())),
            };
            let what =
                format!("the value for key `{key}` of task `{task_id}`{taken} is not of the declared type");
            Error::new(ErrorKind::InvalidValue, what)
                .because(mismatch)
                .hint(format!("push {schema}, or change the type that is declared"))
                .hint("[xcom] contracts = \"warn\" pushes it nevertheless, \"off\" checks nothing")
        })
    }

    /// The tasks that take an output.
    fn takers(&self, task_id: &str, key: &str) -> Vec<&str> {
        let takes = |from: &Source| from.outputs().contains(&(task_id, key));
        let tasks =
            self.tasks.iter().filter(|(_, task)| task.inputs.values().any(|input| takes(&input.from)));
        tasks.map(|(id, _)| id.as_str()).collect()
    }
}
