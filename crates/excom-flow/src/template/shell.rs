//! Templates that a shell reads: what another task pushed must not become code there.
//!
//! Which text came from a pull cannot be followed through a template, so the rule is about time: once a
//! template has pulled, what its expressions print may hold only characters that mean nothing to a shell.
//! `| safe` is the way to say that a text is meant to be code.

use minijinja::{Error, Value};

use super::args::hinted;
use super::run::Run;

/// Whether a character is the same inside and outside of quotes, and never ends a command.
fn is_plain(character: char) -> bool {
    character.is_alphanumeric() || " _./:=@%+,-".contains(character)
}

/// Lets a text through into a command, or refuses it.
pub(super) fn check(run: &Run, value: &Value, text: &str) -> Result<(), Error> {
    if !run.shell || value.is_safe() {
        return Ok(());
    }
    let Some(code) = text.chars().find(|character| !is_plain(*character)) else { return Ok(()) };
    let pulled = run.pulled();
    let Some(last) = pulled.last() else { return Ok(()) };
    Err(hinted(
        format!("{code:?} in what it prints would be read by the shell; it pulled {}", last.asked),
        "give the value by a variable, `.env(\"NAME\", …)`, and write \"$NAME\" in the command; or `| safe` if it is code",
    ))
}
