//! Errors of templates in words: where, what, why, and what to do.

use excom_core::{Error, ErrorKind};

use super::context::{DATED, GONE};
use super::files::Files;
use super::run::Pulled;
use super::syntax::Refused;
use crate::error::{invalid, nearest};
use crate::instance::TaskInstance;

/// Why a template cannot be read.
pub(super) fn refused(ti: &TaskInstance, field: &str, template: &str, why: Refused) -> Error {
    match why {
        Refused::Syntax(error) => {
            let files = Files::default();
            files.keep(field, template.to_owned(), super::syntax::Prepared::default());
            explain(ti, field, &error, &files, &[], 0)
        }
        Refused::Name(name, place) => {
            let place = at(template, place);
            Error::new(
                ErrorKind::Forbidden,
                format!(
                    "template of task `{}`, field `{field}`{place}: `{name}` cannot be reached",
                    ti.task_id()
                ),
            )
            .hint("names that begin with two underscores are Python's own, and closed to templates")
        }
    }
}

/// `, line 2, column 4, `the expression``.
fn at(template: &str, place: usize) -> String {
    let place = template.floor_char_boundary(place);
    let before = &template[..place];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let mut text = format!(", line {line}, column {column}");
    if let Some(expression) = expression(template, place) {
        text.push_str(&format!(", `{expression}`"));
    }
    text
}

/// What stands between the delimiters around a place: the range of an error is only the part of an
/// expression that failed.
fn expression(template: &str, place: usize) -> Option<&str> {
    let before = template.get(..place)?;
    let opened = before.rfind("{{").max(before.rfind("{%"));
    // A place may be that of the delimiter itself.
    let here =
        template.get(place..).filter(|rest| rest.starts_with("{{") || rest.starts_with("{%")).map(|_| place);
    let start = here.or(opened)? + 2;
    let rest = &template[start..];
    let end = [rest.find("}}"), rest.find("%}")].into_iter().flatten().min().unwrap_or(rest.len());
    Some(rest[..end].trim_matches(|c: char| c.is_whitespace() || c == '-'))
}

/// The error that others only pass on: what went wrong in an included file, or in a block.
fn innermost(error: &minijinja::Error) -> &minijinja::Error {
    let mut innermost = error;
    while let Some(inner) =
        std::error::Error::source(innermost).and_then(|source| source.downcast_ref::<minijinja::Error>())
        && inner.name().is_some()
    {
        innermost = inner;
    }
    innermost
}

/// An engine's error, with the place, the pulls before it, and hints.
pub(super) fn explain(
    ti: &TaskInstance,
    field: &str,
    error: &minijinja::Error,
    files: &Files,
    pulled: &[Pulled],
    fuel: u64,
) -> Error {
    let mut message = format!("template of task `{}`, field `{field}`", ti.task_id());
    let error = innermost(error);
    let name = error.name().unwrap_or(field);
    if name != field {
        message.push_str(&format!(", file `{name}`"));
    }
    let origin = error.range().and_then(|range| files.origin(name, range.start));
    let mut code = String::new();
    match (origin, error.line()) {
        (Some((template, place)), _) => {
            message.push_str(&at(&template, place));
            code = expression(&template, place).unwrap_or_default().to_owned();
        }
        (None, Some(line)) => message.push_str(&format!(", line {line}")),
        (None, None) => {}
    }
    // A failed pull is an engine's error and says more than the template's.
    let cause = std::error::Error::source(error).and_then(|source| source.downcast_ref::<Error>());
    let mut explained = match cause {
        Some(cause) => {
            message.push_str(&format!(": {cause}"));
            cause.hints().iter().fold(Error::new(cause.kind(), message), Error::hint)
        }
        None => {
            message.push_str(&format!(": {}", what(error)));
            let empty: Vec<&Pulled> = pulled.iter().filter(|pulled| pulled.missing.is_some()).collect();
            for pulled in &empty {
                if let Some(answer) = &pulled.missing {
                    message.push_str(&format!("; it pulled {}, answer: {answer}", pulled.asked));
                }
            }
            let hints =
                empty.iter().filter_map(|pulled| pulled.missing.as_ref()).flat_map(excom_core::Answer::hints);
            hints.fold(invalid(message), Error::hint)
        }
    };
    match error.kind() {
        minijinja::ErrorKind::UndefinedError | minijinja::ErrorKind::UnknownFunction => {
            if let Some(hint) = known_name(ti, &code) {
                explained = explained.hint(hint);
            }
            explained.hint("write `x | default('…')` or `x is defined` for what may be missing")
        }
        minijinja::ErrorKind::OutOfFuel => {
            explained.hint(format!("a template may take {fuel} steps; do the work in a task instead"))
        }
        minijinja::ErrorKind::TemplateNotFound => {
            explained.hint("files are found in the folders of template_searchpath, by names without `..`")
        }
        _ => explained,
    }
}

/// What to write instead of a name that Airflow 3 does not have, or that this run does not have.
fn known_name(ti: &TaskInstance, code: &str) -> Option<String> {
    let words = || code.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty());
    if let Some((gone, instead)) = GONE.iter().find(|(gone, _)| words().any(|word| word == *gone)) {
        return Some(format!("`{gone}` is gone since Airflow 3; write `{instead}`"));
    }
    let dated = words().find(|word| DATED.contains(word));
    if let (Some(name), None) = (dated, ti.logical_date()) {
        return Some(format!(
            "this run has no logical date, so there is no `{name}`; `dag_run.run_after` is always there"
        ));
    }
    let names =
        ["params", "task_instance", "macros", "dag_run", "logical_date", "run_id", "data_interval_start"];
    let first = words().next()?;
    let near = nearest(first, names.into_iter().chain(DATED)).filter(|near| *near != first)?;
    Some(format!("nearest: `{near}`"))
}

fn what(error: &minijinja::Error) -> String {
    let kind = match error.kind() {
        minijinja::ErrorKind::UndefinedError => "this is not defined".to_owned(),
        minijinja::ErrorKind::OutOfFuel => "it takes too many steps".to_owned(),
        minijinja::ErrorKind::InvalidOperation if error.detail().is_some() => {
            return error.detail().unwrap_or_default().to_owned();
        }
        kind => kind.to_string(),
    };
    match error.detail() {
        Some(detail) => format!("{kind}: {detail}"),
        None => kind,
    }
}
