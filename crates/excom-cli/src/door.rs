//! Where a command finds XComs: an engine in this process, or a server. Both are asked and answer alike.

use excom::client::{Client, Options};
use excom::config::Settings;
use excom::core::attempt::TaskInstanceInfo;
use excom::core::db::{Filter, Page, Scope};
use excom::core::engine::{
    Footprint, Receipt, TaskAnswer, Trace, TraceOptions, Used, VariableSet, VariableValue,
};
use excom::core::entry::PastEntry;
use excom::core::run::{RunFilter, RunInfo};
use excom::core::seal::Reference;
use excom::core::value::ContentHash;
use excom::core::variable::Variable;
use excom::{
    Answer, Caller, Engine, EntryInfo, Error, ErrorKind, Payload, PullOptions, Result, SequenceKey, Stored,
    TaskInstanceKey, Value, Version, XComKey,
};

use crate::output::Output;

/// How many task instances are asked for together.
const PAGE: u32 = 1000;

/// An engine with who asks it, or a server, which knows that by the token.
pub(crate) struct Door {
    pub(crate) caller: Caller,
    place: Place,
}

enum Place {
    Engine(Engine),
    Server(Client),
}

/// What is known of an entry besides its value.
pub(crate) struct About {
    pub(crate) version: Version,
    pub(crate) size: u64,
    pub(crate) hash: ContentHash,
    pub(crate) offloaded: bool,
    /// Where it is, which a server does not tell.
    pub(crate) reference: Option<Reference>,
}

impl Door {
    pub(crate) fn engine(engine: Engine, caller: Caller) -> Self {
        Self { caller, place: Place::Engine(engine) }
    }

    pub(crate) fn server(client: Client, caller: Caller) -> Self {
        Self { caller, place: Place::Server(client) }
    }

    /// The engine, when it is in this process.
    pub(crate) fn here(&self) -> Option<&Engine> {
        match &self.place {
            Place::Engine(engine) => Some(engine),
            Place::Server(_) => None,
        }
    }

    pub(crate) async fn pull(&self, keys: &[XComKey], options: PullOptions) -> Result<Vec<Answer>> {
        match &self.place {
            Place::Engine(engine) => engine.pull(&self.caller, keys, options).await,
            Place::Server(client) => client.pull(keys, options).await,
        }
    }

    /// The answer of one XCom.
    pub(crate) async fn answer(&self, key: &XComKey) -> Result<Option<Answer>> {
        Ok(self.pull(std::slice::from_ref(key), PullOptions::default()).await?.pop())
    }

    pub(crate) async fn pull_tasks(
        &self,
        keys: &[SequenceKey],
        options: PullOptions,
    ) -> Result<Vec<TaskAnswer>> {
        match &self.place {
            Place::Engine(engine) => engine.pull_tasks(&self.caller, keys, options).await,
            Place::Server(client) => client.pull_tasks(keys, options).await,
        }
    }

    pub(crate) async fn open(&self, key: &XComKey) -> Result<std::result::Result<Payload, Answer>> {
        match &self.place {
            Place::Engine(engine) => engine.open(&self.caller, key).await,
            Place::Server(client) => client.open(key).await,
        }
    }

    pub(crate) async fn pull_past(&self, key: &XComKey, version: Version) -> Result<Option<Value>> {
        match &self.place {
            Place::Engine(engine) => engine.pull_past(&self.caller, key, version).await,
            Place::Server(client) => client.pull_past(key, version).await,
        }
    }

    pub(crate) async fn push(&self, key: &XComKey, value: Payload) -> Result<Receipt> {
        match &self.place {
            Place::Engine(engine) => engine.push(&self.caller, key, value).await,
            Place::Server(client) => client.push(key, value).await,
        }
    }

    pub(crate) async fn list(
        &self,
        filter: &Filter,
        after: Option<&XComKey>,
        limit: u32,
    ) -> Result<Page<EntryInfo>> {
        match &self.place {
            Place::Engine(engine) => engine.list(&self.caller, filter, after, limit).await,
            Place::Server(client) => client.list(filter, after, limit).await,
        }
    }

    pub(crate) async fn usage(&self, dag_id: &str, run_id: Option<&str>) -> Result<Option<Used>> {
        match &self.place {
            Place::Engine(engine) => engine.usage(&self.caller, dag_id, run_id).await,
            Place::Server(client) => client.usage(dag_id, run_id).await,
        }
    }

    /// Runs, newest first, at most so many.
    pub(crate) async fn runs(&self, filter: &RunFilter, limit: u32) -> Result<Vec<RunInfo>> {
        match &self.place {
            Place::Engine(engine) => engine.db().runs(filter, None, limit).await,
            Place::Server(client) => client.runs(filter, None, limit).await,
        }
    }

    pub(crate) async fn run_info(&self, dag_id: &str, run_id: &str) -> Result<Option<RunInfo>> {
        match &self.place {
            Place::Engine(engine) => engine.db().run_info(dag_id, run_id).await,
            Place::Server(client) => client.run_info(dag_id, run_id).await,
        }
    }

    /// The next task instances of a run, behind one; none at the end.
    pub(crate) async fn task_instances(
        &self,
        dag_id: &str,
        run_id: &str,
        after: Option<(&str, i32)>,
    ) -> Result<Vec<TaskInstanceInfo>> {
        match &self.place {
            Place::Engine(engine) => engine.db().task_instances(dag_id, run_id, after, PAGE).await,
            Place::Server(client) => client.task_instances(dag_id, run_id, after, PAGE).await,
        }
    }

    /// How a task instance stands, and what its attempts read and pushed.
    pub(crate) async fn footprint(&self, ti: &TaskInstanceKey) -> Result<Option<Footprint>> {
        match &self.place {
            Place::Engine(engine) => engine.footprint(&self.caller, ti).await,
            Place::Server(client) => client.footprint(ti).await,
        }
    }

    pub(crate) async fn variable(&self, key: &str) -> Result<Option<VariableValue>> {
        match &self.place {
            Place::Engine(engine) => engine.variable(&self.caller, key).await,
            Place::Server(client) => client.variable(key).await,
        }
    }

    pub(crate) async fn set_variable(
        &self,
        key: &str,
        text: &str,
        description: Option<&str>,
    ) -> Result<VariableSet> {
        match &self.place {
            Place::Engine(engine) => engine.set_variable(&self.caller, key, text, description).await,
            Place::Server(client) => client.set_variable(key, text, description).await,
        }
    }

    pub(crate) async fn delete_variable(&self, key: &str) -> Result<bool> {
        match &self.place {
            Place::Engine(engine) => engine.delete_variable(&self.caller, key).await,
            Place::Server(client) => client.delete_variable(key).await,
        }
    }

    /// Variables, each with the environment variable that overrides it.
    pub(crate) async fn variables(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(Variable, Option<String>)>> {
        match &self.place {
            Place::Engine(engine) => {
                let found = engine.variables(&self.caller, prefix, after, limit).await?;
                let overridden = |variable: Variable| {
                    let name = engine.override_of(&variable.key).map(|(name, _)| name);
                    (variable, name)
                };
                Ok(found.into_iter().map(overridden).collect())
            }
            Place::Server(client) => {
                let found = client.variables(prefix, after, limit).await?;
                Ok(found.into_iter().map(|listed| (listed.variable, listed.overridden_by)).collect())
            }
        }
    }

    /// What is known of the entry that a pull gets.
    pub(crate) async fn about(&self, key: &XComKey) -> Result<Option<About>> {
        match &self.place {
            Place::Engine(engine) => {
                let entry = engine.db().entries(std::slice::from_ref(key)).await?.pop().flatten();
                Ok(entry.map(|entry| {
                    let reference = match entry.stored {
                        Stored::Offloaded(reference) => Some(reference),
                        Stored::Inline(_) => None,
                    };
                    let (version, size, hash) = (entry.version, entry.size, entry.hash);
                    About { version, size, hash, offloaded: reference.is_some(), reference }
                }))
            }
            Place::Server(client) => Ok(client.preview(key).await?.map(|info| {
                let EntryInfo { version, size, hash, offloaded, .. } = info;
                About { version, size, hash, offloaded, reference: None }
            })),
        }
    }

    pub(crate) async fn history(&self, key: &XComKey, limit: u32) -> Result<Vec<PastEntry>> {
        match &self.place {
            Place::Engine(engine) => engine.history(&self.caller, key, limit).await,
            Place::Server(client) => client.history(key, limit).await,
        }
    }

    pub(crate) async fn trace(
        &self,
        key: &XComKey,
        version: Option<Version>,
        options: TraceOptions,
    ) -> Result<Option<Trace>> {
        match &self.place {
            Place::Engine(engine) => engine.trace(&self.caller, key, version, options).await,
            Place::Server(client) => client.trace(key, version, options).await,
        }
    }

    pub(crate) async fn clear(&self, scope: &Scope) -> Result<u64> {
        match &self.place {
            Place::Engine(engine) => engine.clear(&self.caller, scope).await,
            Place::Server(client) => client.clear(scope).await,
        }
    }

    pub(crate) async fn delete(&self, scope: &Scope) -> Result<u64> {
        match &self.place {
            Place::Engine(engine) => engine.delete(&self.caller, scope).await,
            Place::Server(client) => client.delete(scope).await,
        }
    }

    /// Writes what an engine has gathered. The answer is given already, so a failure is a warning.
    pub(crate) async fn close(&self, output: &mut Output) {
        if let Place::Engine(engine) = &self.place {
            crate::context::close(engine, output).await;
        }
    }
}

/// The client of the server that settings name, if they name one.
pub(crate) fn client(settings: &Settings) -> Result<Option<Client>> {
    let Some(server) = &*settings.client.server else { return Ok(None) };
    let unread = |path: &std::path::Path, cause| {
        Error::new(ErrorKind::Configuration, format!("the file {} cannot be read", path.display()))
            .because(cause)
            .hint("check that it is there, and that its mode lets this user read")
    };
    let token = match (&*settings.client.token_file, &*settings.client.token) {
        (Some(path), _) => std::fs::read_to_string(path).map_err(|cause| unread(path, cause))?,
        (None, Some(token)) => token.secret().to_owned(),
        (None, None) => {
            return Err(Error::new(ErrorKind::Configuration, format!("there is no token to ask {server} with"))
                .hint("name a file that has it with --token-file or [client] token_file, or set EXCOM__CLIENT__TOKEN")
                .hint("`excom token NAME` makes one, where the server's secret or key is"));
        }
    };
    let mut options = Options::default();
    (options.timeout, options.patience) = (settings.client.timeout.0, settings.client.patience.0);
    if let Some(path) = &*settings.client.authorities {
        options.authorities = Some(std::fs::read(path).map_err(|cause| unread(path, cause))?);
    }
    Client::with(server.secret(), &token, options).map(Some)
}
