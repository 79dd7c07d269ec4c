//! Environment variables of what a task starts: who runs, and values as text.

use excom_core::{Error, ErrorKind, Result};

use super::Field;
use crate::error::invalid;
use crate::instance::TaskInstance;

/// The longest text of one argument or variable, name included, that Linux hands to a program.
pub(super) const LONGEST_TEXT: usize = 128 * 1024;

/// The variables of a process of this task: who runs, for the `excom` command, and then the operator's own.
pub(super) fn variables(ti: &TaskInstance, own: &[(String, Field)]) -> Result<Vec<(String, String)>> {
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
    for (name, field) in own {
        env.push((name.clone(), variable(name, field.text()?)?));
    }
    Ok(env)
}

/// What is wrong with the name of a variable, if anything.
pub(super) fn problem(name: &str) -> Option<Error> {
    (name.is_empty() || name.contains(['=', '\0'])).then(|| {
        invalid(format!("`{name}` cannot be the name of an environment variable"))
            .hint("a name has at least one character, and no `=`")
    })
}

fn variable(name: &str, value: String) -> Result<String> {
    if value.contains('\0') {
        return Err(invalid(format!("the value of variable `{name}` has a NUL character")).hint(
            "no environment variable can have one; let the command pull the value with `excom xcom pull`",
        ));
    }
    if name.len() + value.len() + 2 > LONGEST_TEXT {
        let message = format!(
            "the value of variable `{name}` has {} bytes, the system hands over at most 128 KiB",
            value.len()
        );
        return Err(Error::new(ErrorKind::TooLarge, message)
            .hint("let the command pull the value with `excom xcom pull`, or pass the path of a file"));
    }
    Ok(value)
}
