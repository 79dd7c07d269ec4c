//! The embedded engine in bad surroundings: what it says, what still works, and what it leaves alone.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod damaged_database;
mod damaged_values;
mod foreign;
mod full;
mod modes;
mod power;
mod racing;
mod read_only;

use excom::config::Settings;
use excom::embedded::Home;
use excom::{Answer, Caller, Engine, Error, PullOptions, Result, Value, XComKey};
use excom_testkit::home;

/// A home in a temporary folder.
struct Place {
    settings: Settings,
    _folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { settings: home::settings(&folder.path().join("home")).unwrap(), _folder: folder }
    }

    fn home(&self) -> Home {
        Home::of(&self.settings)
    }

    fn open(&self) -> Result<Engine> {
        excom::embedded::open(&self.settings)
    }
}

fn user() -> Caller {
    Caller::user("ana")
}

fn key(name: &str) -> XComKey {
    XComKey::new("d", "r", "t", -1, name).unwrap()
}

/// A value of about so many bytes: up to [`home::INLINE_LIMIT`] it is in the database, else a file.
fn value(size: usize) -> Value {
    home::value(size as u64, size).unwrap()
}

fn push(engine: &Engine, name: &str, value: &Value) -> Result<()> {
    pollster::block_on(engine.push(&user(), &key(name), value.clone().into())).map(drop)
}

fn pull(engine: &Engine, name: &str) -> Result<Answer> {
    Ok(pollster::block_on(engine.pull(&user(), &[key(name)], PullOptions::default()))?.remove(0))
}

/// Pulls a value that must be there.
fn value_of(engine: &Engine, name: &str) -> Value {
    pull(engine, name).unwrap().value().unwrap()
}

fn close(engine: Engine) {
    pollster::block_on(engine.close()).unwrap();
    drop(engine);
}

/// Whoever gets this error knows which file it is about and what to do next.
fn is_clear(error: &Error, path: &std::path::Path) {
    assert!(error.to_string().contains(&path.display().to_string()), "no {} in: {error}", path.display());
    assert!(!error.hints().is_empty(), "no advice in: {error:?}");
}
