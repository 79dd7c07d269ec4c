//! Variables that Airflow keeps: what its table and ours hold of one, and what a write makes of them. Airflow's row is the
//! variable; ours are those of a time when Excom kept its own beside Airflow's, and each goes when its key is written.

use std::sync::Arc;

use excom_core::db::{NewVariable, Variable, VariableWrite};
use excom_core::{Error, ErrorKind, Result};

use crate::fernet::{Fernet, Held};

/// Airflow's row of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Theirs {
    pub(crate) held: Held,
    pub(crate) description: Option<String>,
    /// Whether it is a team's: such a one is given to nobody.
    pub(crate) has_team: bool,
}

impl Theirs {
    /// The variable that it is.
    pub(crate) fn read(self, key: Arc<str>, fernet: &Fernet) -> Variable {
        let Self { held, description, .. } = self;
        let is_encrypted = held.is_encrypted;
        Variable { key, text: fernet.read(held), description, updated_at: None, is_encrypted }
    }
}

/// The text of a write as Airflow's column is to hold it, made once: a token is another each time.
pub(crate) fn held(write: &VariableWrite, fernet: &Fernet) -> Result<Option<Held>> {
    let (_, text, _, at) = write.parts();
    text.map(|text| fernet.hold(text, at)).transpose()
}

/// What is told to who would write in the clear over what Airflow encrypted. The request is refused, as trying it again would
/// not help: a task's process repeats what is answered as the server's own failure.
pub(crate) fn needs_key(key: &str) -> Error {
    let what = format!(
        "the variable `{key}` is encrypted in Airflow's database, and without [core] fernet_key it would be in the clear; \
         nothing was written"
    );
    Error::new(ErrorKind::InvalidRequest, what).hint("set it to Airflow's own [core] fernet_key")
}

/// What Airflow's row is after a write, of which [`held`] made the text; none when nothing is to be written.
///
/// # Errors
/// [`needs_key`]; what encrypting fails with.
pub(crate) fn becomes(
    write: &VariableWrite,
    held: Option<&Held>,
    theirs: Option<Theirs>,
    ours: Option<Variable>,
    fernet: &Fernet,
) -> Result<Option<Theirs>> {
    let (_, _, description, at) = write.parts();
    match (write, &theirs, &ours) {
        // A token is of one write alone: who finds its own made the variable in a try whose answer was lost.
        (VariableWrite::Make(NewVariable { description, .. }), Some(found), _) => {
            let is_own =
                found.held.is_encrypted && Some(&found.held) == held && found.description == *description;
            return Ok(theirs.filter(|_| is_own));
        }
        (VariableWrite::Make(_), None, Some(_)) | (VariableWrite::Change { .. }, None, None) => {
            return Ok(None);
        }
        (VariableWrite::Change { .. }, Some(found), _) if found.has_team => return Ok(None),
        (_, Some(found), _) if found.held.is_secret() && held.is_some_and(|held| !held.is_encrypted) => {
            return Err(needs_key(write.parts().0));
        }
        _ => {}
    }
    let has_team = theirs.as_ref().is_some_and(|theirs| theirs.has_team);
    let (before, described) = match (theirs, ours) {
        (Some(theirs), _) => (Some(theirs.held), theirs.description),
        (None, Some(ours)) => {
            // Only where it stays is it encrypted.
            let text = ours.text.filter(|_| held.is_none());
            (text.map(|text| fernet.hold(&text, at)).transpose()?, ours.description)
        }
        (None, None) => (None, None),
    };
    Ok(held.cloned().or(before).map(|held| Theirs {
        held,
        description: description.map(str::to_owned).or(described),
        has_team,
    }))
}
