//! The home of a proof: settings that make small values large enough, values that tell what they are, and
//! a look at the files themselves.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use excom::config::Settings;
use excom::embedded::Home;
use excom::{Engine, Value};

use crate::Result;
use crate::random::Random;

/// Values over so many bytes are files. Low, so that many small ones are.
pub const INLINE_LIMIT: u64 = 4 << 10;

/// The settings of a proof: the defaults, in a folder, with [`INLINE_LIMIT`].
///
/// # Errors
/// When the settings do not know these names any more.
pub fn settings(folder: &Path) -> excom::Result<Settings> {
    Settings::at(folder).with("xcom.inline_limit", "4KiB")
}

/// Opens the embedded engine in a folder.
///
/// # Errors
/// Whatever opening reports.
pub fn open(folder: &Path) -> excom::Result<Engine> {
    excom::embedded::open(&settings(folder)?)
}

/// A value that says its counter and has about so many bytes; the same ones for the same arguments.
///
/// # Errors
/// None that is known: the text is JSON.
pub fn value(counter: u64, size: usize) -> excom::Result<Value> {
    let mut random = Random::new(counter);
    let mut text = format!("{{\"counter\":{counter},\"filler\":\"");
    while text.len() < size {
        // Half of it compresses.
        text.push_str(&format!("{:016x}filler, filler, ", random.number()));
    }
    text.push_str("\"}");
    Value::parse(text)
}

/// All files under the folder of values, relative to it.
///
/// # Errors
/// When a folder cannot be listed.
pub fn value_files(settings: &Settings) -> std::io::Result<BTreeSet<String>> {
    let root = Home::of(settings).values();
    let mut files = BTreeSet::new();
    walk(&root, &root, &mut files)?;
    Ok(files)
}

fn walk(root: &Path, folder: &Path, files: &mut BTreeSet<String>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(root, &path, files)?;
        } else {
            files.insert(path.strip_prefix(root).unwrap_or(&path).display().to_string());
        }
    }
    Ok(())
}

/// SQLite's own full check of the database file.
///
/// # Errors
/// What it found.
pub fn check_integrity(settings: &Settings) -> Result<()> {
    let connection = rusqlite::Connection::open(Home::of(settings).database())?;
    let found: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(format!("integrity_check: {found}").into()) }
}
