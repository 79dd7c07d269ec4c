//! `excom.toml`: where it is looked for, and its settings with their lines.

use std::path::{Path, PathBuf};

use excom_core::{Error, ErrorKind, Result};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::kind::Form;
use super::table::{self, TABLE};
use super::{Origin, Sources, unknown};

/// One `key = value` of a file.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) spec: &'static table::Spec,
    pub(super) text: String,
    pub(super) origin: Origin,
}

/// The file that settings are read from: the one named, else `excom.toml` here, else in the home.
///
/// # Errors
/// When a file is named that is not there.
pub(super) fn locate(sources: &Sources, home: &Path) -> Result<Option<PathBuf>> {
    let named = match (&sources.config, sources.environment.get("EXCOM_CONFIG")) {
        (Some(path), _) => Some((path.clone(), "--config")),
        (None, Some(path)) => Some((path.into(), "EXCOM_CONFIG")),
        (None, None) => None,
    };
    if let Some((path, origin)) = named {
        let path = sources.folder.join(path);
        if path.as_os_str().is_empty() || !path.exists() {
            return Err(Error::new(
                ErrorKind::Configuration,
                format!("{origin} names the file `{}`, which is not there", path.display()),
            )
            .hint(format!("create it, or leave {origin} out to read excom.toml here or in the home")));
        }
        return Ok(Some(path));
    }
    let places = [sources.folder.join("excom.toml"), home.join("excom.toml")];
    Ok(places.into_iter().find(|path| path.exists()))
}

/// The settings in a file, and what is wrong about others: a name, or a type, that is not in the table.
///
/// # Errors
/// When it cannot be read, or is not TOML.
pub(super) fn read(path: &Path) -> Result<(Vec<Line>, Vec<Error>)> {
    let bytes = std::fs::read(path).map_err(|cause| {
        let what = format!("{} cannot be read", path.display());
        Error::new(ErrorKind::Configuration, what)
            .hint("check that it is a file and that its mode lets this user read")
            .because(cause)
    })?;
    let text = String::from_utf8(bytes).map_err(|cause| {
        let valid = cause.utf8_error().valid_up_to();
        let line = 1 + cause.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count();
        Error::new(ErrorKind::Configuration, format!("{}:{line}: the file is not UTF-8 here", path.display()))
            .hint("save it as UTF-8 text")
    })?;
    let place = |at: usize| {
        let before = text.get(..at).unwrap_or(&text);
        Origin::File { path: path.to_owned(), line: 1 + before.matches('\n').count() }
    };
    let document = DeTable::parse(&text).map_err(|cause| {
        let origin = place(cause.span().map_or(0, |span| span.start));
        let what = cause.message().replace('\n', "; ");
        Error::new(ErrorKind::Configuration, format!("{origin}: this is not TOML: {what}"))
            .hint("a setting is written `key = \"value\"` under its `[section]`")
    })?;

    let (mut lines, mut wrong) = (Vec::new(), Vec::new());
    let mut sections: Vec<(String, &Spanned<_>, &Spanned<DeValue<'_>>)> = Vec::new();
    for (name, value) in document.get_ref() {
        let inner = match value.get_ref() {
            // `[common.io]` is a table in a table.
            DeValue::Table(inner) if !is_section(name.get_ref()) => inner,
            _ => {
                sections.push((name.get_ref().to_string(), name, value));
                continue;
            }
        };
        let before = sections.len();
        for (second, value) in inner {
            let name = format!("{}.{}", name.get_ref(), second.get_ref());
            if is_section(&name) {
                sections.push((name, second, value));
            }
        }
        if sections.len() - before < inner.len() || inner.is_empty() {
            sections.push((name.get_ref().to_string(), name, value));
        }
    }
    for (section, name, value) in sections {
        let origin = place(name.span().start);
        let section = section.as_str();
        let known = is_section(section);
        let DeValue::Table(entries) = value.get_ref() else {
            wrong.push(if known {
                Error::new(
                    ErrorKind::Configuration,
                    format!("{origin}: [{section}] is a section, not a setting"),
                )
                .hint(format!("write [{section}] on a line of its own, and the settings under it"))
            } else {
                unknown(Some(&origin), "", section)
            });
            continue;
        };
        if !known {
            let key = entries.iter().next().map_or("", |(key, _)| &**key.get_ref());
            wrong.push(unknown(Some(&origin), section, key));
            continue;
        }
        for (key, value) in entries {
            let origin = place(key.span().start);
            let key = &**key.get_ref();
            let Some(spec) = table::find(section, key) else {
                wrong.push(unknown(Some(&origin), section, key));
                continue;
            };
            match text_of(spec, value.get_ref(), &origin) {
                Ok(text) => lines.push(Line { spec, text, origin }),
                Err(error) => wrong.push(error),
            }
        }
    }
    Ok((lines, wrong))
}

/// The text of a setting, as TOML may give it.
fn text_of(spec: &table::Spec, value: &DeValue<'_>, origin: &Origin) -> Result<String> {
    Ok(match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) if spec.form == Form::Number => number.to_string(),
        DeValue::Boolean(value) if spec.form == Form::Boolean => value.to_string(),
        DeValue::Array(items) if spec.form == Form::List => {
            let texts = items.iter().map(|item| item.get_ref().as_str());
            let texts = texts.map(|text| text.filter(|text| !text.contains(',')));
            let texts: Option<Vec<&str>> = texts.collect();
            let texts = texts.ok_or_else(|| {
                let what = format!("{origin}: {spec} has an item that is no text, or has a comma");
                Error::new(ErrorKind::Configuration, what).hint(format!("{spec} takes {}", spec.allowed))
            })?;
            texts.join(",")
        }
        other => {
            let what = format!("{origin}: {spec} is {}; it takes {}", kind(other), spec.allowed);
            let default = format!("the default is {} = \"{}\"", spec.key, spec.default());
            let hint = match other {
                DeValue::Integer(_) | DeValue::Datetime(_) => format!("write it in quotes; {default}"),
                _ => default,
            };
            return Err(Error::new(ErrorKind::Configuration, what).hint(hint));
        }
    })
}

fn is_section(name: &str) -> bool {
    TABLE.iter().any(|spec| spec.section == name)
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a bare number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}
