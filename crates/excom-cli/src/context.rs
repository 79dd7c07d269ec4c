//! What every command starts from: the environment, the settings, and the engine that they open.

use std::path::PathBuf;
use std::sync::Arc;

use clap::ArgMatches;
use excom::config::{Environment, Settings, Sources};
use excom::core::memory;
use excom::embedded::{self, Home, SystemClock};
use excom::{Engine, Result};

use crate::output::Output;

/// Makes of the engine that the settings opened the one that the command uses.
pub(crate) type Complete = Box<dyn Fn(Engine, &Settings) -> Result<Engine>>;

/// Where the command was started.
pub(crate) struct Context {
    sources: Sources,
    complete: Complete,
}

impl Context {
    pub(crate) fn new(matches: &ArgMatches, environment: Environment, complete: Complete) -> Self {
        let set = matches.get_many::<(String, String)>("set").unwrap_or_default().cloned().collect();
        Self {
            sources: Sources {
                environment,
                home: matches.get_one::<PathBuf>("home").cloned(),
                config: matches.get_one::<PathBuf>("config").cloned(),
                set,
                folder: PathBuf::new(),
            },
            complete,
        }
    }

    pub(crate) fn environment(&self) -> &Environment {
        &self.sources.environment
    }

    pub(crate) fn settings(&self) -> Result<Settings> {
        Settings::load(&self.sources)
    }

    /// The engine, for a command that writes: makes the home when it is missing.
    pub(crate) fn engine(&self) -> Result<Engine> {
        self.engine_of(&self.settings()?)
    }

    /// The engine that settings open, for a command that writes.
    pub(crate) fn engine_of(&self, settings: &Settings) -> Result<Engine> {
        (self.complete)(embedded::open(settings)?, settings)
    }

    /// The engine, for a command that reads: makes nothing. Where nothing was ever pushed there is an
    /// empty engine in memory, and a hint about that.
    pub(crate) fn reader(&self) -> Result<(Engine, Option<String>)> {
        let settings = self.settings()?;
        if let Some(engine) = embedded::open_existing(&settings)? {
            return Ok(((self.complete)(engine, &settings)?, None));
        }
        let home = Home::of(&settings);
        let hint = format!(
            "nothing was ever pushed in the home {} (from {}); another is named with --home or EXCOM_HOME",
            home.folder().display(),
            settings.core.home.origin()
        );
        let builder = Engine::builder(Arc::new(memory::Db::new()), Arc::new(SystemClock));
        Ok((builder.variable_overrides(settings.variable_overrides).build(), Some(hint)))
    }
}

/// Writes what the engine has gathered. The answer is given already, so a failure is a warning.
pub(crate) async fn close(engine: &Engine, output: &mut Output) {
    if let Err(error) = engine.close().await {
        output.say(&format!("warning: what was read could not be noted in the ledger: {error}"));
    }
}
