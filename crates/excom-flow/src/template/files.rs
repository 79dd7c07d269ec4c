//! Template files: found in the folders that the DAG names, and nowhere else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use excom_core::{Error, ErrorKind, Result};
use minijinja::Environment;

use super::syntax::{Prepared, Refused};
use crate::error::invalid;

/// The largest template file, in bytes.
const LARGEST: u64 = 1 << 20;

/// Files that a rendering read, each as it was written and as the engine has it.
#[derive(Debug, Clone, Default)]
pub(super) struct Files(Arc<Mutex<BTreeMap<String, (String, Prepared)>>>);

/// The text of a template file.
///
/// # Errors
/// When it is in none of the folders, leads out of them, or cannot be read.
pub(super) fn read(folders: &[PathBuf], name: &str) -> Result<String> {
    match find(folders, name)? {
        Some(path) => content(&path),
        None => {
            let places: Vec<String> =
                folders.iter().map(|folder| format!("`{}`", folder.display())).collect();
            let place = if places.is_empty() { "the current folder".to_owned() } else { places.join(" or ") };
            Err(invalid(format!("there is no template file `{name}` in {place}"))
                .hint("name the folder with template_searchpath"))
        }
    }
}

fn find(folders: &[PathBuf], name: &str) -> Result<Option<PathBuf>> {
    // Only plain names: nothing that is absolute or goes up.
    let plain = !name.is_empty()
        && !name.contains(['\0', '\\'])
        && name.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if !plain {
        return Err(invalid(format!("`{name}` cannot be the name of a template file"))
            .hint("a name is relative to a folder of template_searchpath, without `..`"));
    }
    let here = [PathBuf::from(".")];
    for folder in if folders.is_empty() { &here[..] } else { folders } {
        let Ok(folder) = folder.canonicalize() else { continue };
        let Ok(path) = folder.join(name).canonicalize() else { continue };
        if !path.starts_with(&folder) {
            return Err(Error::new(
                ErrorKind::Forbidden,
                format!("template file `{name}` is a link out of `{}`", folder.display()),
            )
            .hint("add the folder that it leads to to template_searchpath"));
        }
        if path.is_file() {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn content(path: &Path) -> Result<String> {
    let unreadable = |e: std::io::Error| {
        Error::new(ErrorKind::Other, format!("template file `{}` cannot be read", path.display())).because(e)
    };
    let size = path.metadata().map_err(unreadable)?.len();
    if size > LARGEST {
        return Err(Error::new(
            ErrorKind::TooLarge,
            format!("template file `{}` has {size} bytes, the limit is 1 MiB", path.display()),
        )
        .hint("keep data out of templates"));
    }
    std::fs::read_to_string(path).map_err(unreadable)
}

impl Files {
    /// Lets `include`, `import` and `extends` find files in the folders.
    pub(super) fn serve(&self, environment: &mut Environment<'_>, folders: Vec<PathBuf>) {
        let files = self.clone();
        environment.set_loader(move |name| {
            let failed = |error: Error| super::args::fail(error.to_string()).with_source(error);
            match find(&folders, name) {
                Ok(Some(path)) => {
                    let text = content(&path).map_err(failed)?;
                    let prepared = Prepared::new(name, &text).map_err(|refused| match refused {
                        Refused::Syntax(error) => error,
                        Refused::Name(private, _) => {
                            super::args::fail(format!("`{private}` cannot be reached from templates"))
                        }
                    })?;
                    let ready = prepared.text.clone();
                    files.keep(name, text, prepared);
                    Ok(Some(ready))
                }
                // What leads out is not there, as for Jinja's loader; the error of `read` says more.
                Ok(None) | Err(_) => Ok(None),
            }
        });
    }

    pub(super) fn keep(&self, name: &str, text: String, prepared: Prepared) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), (text, prepared));
    }

    /// The template as written, and the place in it that a place in the engine's text comes from.
    pub(super) fn origin(&self, name: &str, place: usize) -> Option<(String, usize)> {
        let files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        files.get(name).map(|(text, prepared)| (text.clone(), prepared.origin(place)))
    }
}
