//! Airflow's `airflow.cfg`: the few settings in it that mean the same here. It is looked for only where the
//! environment names it.

use std::path::{Path, PathBuf};

use configparser::ini::{Ini, IniDefault};
use excom_core::{Error, ErrorKind, Result};

use super::file::Line;
use super::table::{Alias, TABLE};
use super::{Environment, Origin};

/// The file that `AIRFLOW_CONFIG` names, else `airflow.cfg` in `AIRFLOW_HOME`, when it is there.
pub(super) fn locate(environment: &Environment, folder: &Path) -> Option<PathBuf> {
    let named = environment.first(&["AIRFLOW_CONFIG"]).map(|path| folder.join(path));
    let path =
        named.or_else(|| Some(folder.join(environment.first(&["AIRFLOW_HOME"])?).join("airflow.cfg")))?;
    path.is_file().then_some(path)
}

/// The settings in the file that have an Airflow name here, as far as they are not empty.
///
/// # Errors
/// When it cannot be read, is not what Python's `configparser` reads, or refers to other settings (`%(name)s`) in one
/// that is needed.
pub(super) fn read(path: &Path) -> Result<Vec<Line>> {
    let wrong = |what: String| Error::new(ErrorKind::Configuration, format!("{}{what}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|cause| {
        wrong(" cannot be read".to_owned())
            .because(cause)
            .hint("check its mode, and that it is UTF-8; or unset AIRFLOW_CONFIG and AIRFLOW_HOME here")
    })?;
    let mut as_python = IniDefault::default();
    as_python.comment_symbols = vec!['#', ';'];
    as_python.inline_comment_symbols = Some(Vec::new());
    as_python.multiline = true;
    let mut file = Ini::new_from_defaults(as_python);
    file.read(text.clone()).map_err(|why| {
        wrong(format!(" cannot be read as Airflow does: {why}"))
            .hint("put it right; or unset AIRFLOW_CONFIG and AIRFLOW_HOME here")
    })?;
    let mut lines = Vec::new();
    let shared = TABLE.iter().filter(|spec| spec.also.iter().any(|also| matches!(also, Alias::Airflow(_))));
    for spec in shared {
        let Some(value) = file.get(spec.section, spec.key).filter(|value| !value.trim().is_empty()) else {
            continue;
        };
        let line = line_of(&text, spec.section, spec.key);
        // Python's parser fills in `%(name)s`, and reads `%%` as one `%`.
        if value.replace("%%", "").contains('%') {
            let what = format!(":{line}: {spec} refers to another setting, which is not read here");
            return Err(wrong(what).hint(format!("write it out, or set {}", spec.variable())));
        }
        let text = value.trim().replace("%%", "%");
        lines.push(Line { spec, text, origin: Origin::File { path: path.to_owned(), line } });
    }
    Ok(lines)
}

/// Where a key of a section is, from 1: the parser does not tell.
fn line_of(text: &str, section: &str, key: &str) -> usize {
    let mut inside = false;
    let found = text.lines().position(|line| {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.split(']').next()) {
            inside = name.eq_ignore_ascii_case(section);
        }
        let name = line.split(['=', ':']).next().unwrap_or_default();
        inside && name.trim_end().eq_ignore_ascii_case(key)
    });
    found.map_or(1, |index| index + 1)
}
