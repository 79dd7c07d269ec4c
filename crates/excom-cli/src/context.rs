//! What every command starts from: the environment, the settings, and the engine that they open or the server that they
//! name.

use std::path::PathBuf;
use std::sync::Arc;

use clap::ArgMatches;
use excom::config::{Environment, Settings, Sources};
use excom::core::memory;
use excom::embedded::{self, Home, SystemClock};
use excom::{Engine, Result};

use crate::door::{self, Door};
use crate::identity;
use crate::output::Output;
use crate::stop::Stop;

/// Makes of the engine that the settings opened the one that the command uses.
pub(crate) type Complete = Box<dyn Fn(Engine, &Settings) -> Result<Engine>>;

/// Where the command was started.
pub(crate) struct Context {
    sources: Sources,
    complete: Complete,
}

impl Context {
    pub(crate) fn new(matches: &ArgMatches, environment: Environment, complete: Complete) -> Self {
        let flag = |name, key: &str| Some((key.to_owned(), matches.get_one::<String>(name)?.clone()));
        let given = [flag("server", "client.server"), flag("token-file", "client.token_file")];
        let set = matches.get_many::<(String, String)>("set").unwrap_or_default().cloned();
        let set = given.into_iter().flatten().chain(set).collect();
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

    /// Where a command pushes: the server that settings name, or the engine.
    pub(crate) fn writing(&self) -> Result<Door> {
        let (settings, caller) = (self.settings()?, identity::caller(self.environment())?);
        Ok(match door::client(&settings)? {
            Some(client) => Door::server(client, caller),
            None => Door::engine(self.engine_of(&settings)?, caller),
        })
    }

    /// Where a command looks; with the hint of [`Context::reader`].
    pub(crate) fn looking(&self) -> Result<(Door, Option<String>)> {
        let (settings, caller) = (self.settings()?, identity::caller(self.environment())?);
        if let Some(client) = door::client(&settings)? {
            return Ok((Door::server(client, caller), None));
        }
        let (engine, empty) = self.reader_of(&settings)?;
        Ok((Door::engine(engine, caller), empty))
    }

    /// Refuses a server, for a command that works on the database itself.
    ///
    /// # Errors
    /// A usage error when one is named.
    pub(crate) fn without_server(&self, command: &str) -> Result<(), Stop> {
        // What else is wrong with the settings the command itself tells, some of them in another way.
        let Ok(settings) = self.settings() else { return Ok(()) };
        match &*settings.client.server {
            Some(server) => {
                let origin = settings.client.server.origin();
                let what = format!(
                    "`excom {command}` works on the database itself, and {server} (from {origin}) is a server"
                );
                Err(Stop::usage(what)
                    .hint("run it where the database is, without --server and [client] server"))
            }
            None => Ok(()),
        }
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
        self.reader_of(&self.settings()?)
    }

    fn reader_of(&self, settings: &Settings) -> Result<(Engine, Option<String>)> {
        if let Some(engine) = embedded::open_existing(settings)? {
            return Ok(((self.complete)(engine, settings)?, None));
        }
        let home = Home::of(settings);
        let hint = format!(
            "nothing was ever pushed in the home {} (from {}); another is named with --home or EXCOM_HOME",
            home.folder().display(),
            settings.core.home.origin()
        );
        let builder = Engine::builder(Arc::new(memory::Db::new()), Arc::new(SystemClock));
        Ok((builder.variable_overrides(settings.variable_overrides.clone()).build(), Some(hint)))
    }
}

/// Writes what the engine has gathered. The answer is given already, so a failure is a warning.
pub(crate) async fn close(engine: &Engine, output: &mut Output) {
    if let Err(error) = engine.close().await {
        output.say(&format!("warning: what was read could not be noted in the ledger: {error}"));
    }
}
