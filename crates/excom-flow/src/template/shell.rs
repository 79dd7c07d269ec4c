//! Templates that a shell reads: what others wrote must not become code there.
//!
//! Which text came from a pull or a variable cannot be followed through a template, so the rule is for all of it:
//! once a template has pulled or read a variable anywhere, whatever its expressions print, before and after, also
//! parameters and the run's `conf`, may hold only characters that mean nothing to a shell. A space would make two
//! words of one and a `-` in front an option, so both are refused too; a negative number is none. `| safe` alone
//! says that a text is meant to be code: what other filters call safe is so in HTML.

use minijinja::value::ValueKind;
use minijinja::{Error, Value};

use super::args::hinted;
use super::run::Run;

/// Whether a character is the same inside and outside of quotes, and never ends a word or a command.
fn is_plain(character: char) -> bool {
    character.is_alphanumeric() || "_./:=@%+,-".contains(character)
}

/// What a shell, or the program that it starts, would not read as plain text.
fn code(value: &Value, text: &str) -> Option<char> {
    let option = text.starts_with('-') && value.kind() != ValueKind::Number;
    if option { Some('-') } else { text.chars().find(|character| !is_plain(*character)) }
}

/// Lets a text through into a command, or refuses it.
pub(super) fn check(run: &Run, value: &Value, text: &str) -> Result<(), Error> {
    if !run.shell || run.is_code(value) {
        return Ok(());
    }
    if let Some(character) = code(value, text) {
        run.suspect(character);
    }
    finish(run)
}

/// Refuses what was printed before the template read what others wrote.
pub(super) fn finish(run: &Run) -> Result<(), Error> {
    let Some((character, read)) = run.refused() else { return Ok(()) };
    Err(hinted(
        format!("{character:?} in what it prints would be read by the shell; it {read}"),
        "give the value by a variable, `.env(\"NAME\", …)`, and write \"$NAME\" in the command; or `| safe` if it is code",
    ))
}
