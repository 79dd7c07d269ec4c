//! `excom serve`: one engine for tasks on any machine, over HTTP; `excom token`: who may ask it.

use std::cell::{OnceCell, RefCell};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches, Command};
use excom::config::{self, Age, Environment, Settings};
use excom::embedded::{self, SystemClock};
use excom::{Clock, Engine, Error, ErrorKind};
use excom_reactor::lend;
use excom_server::{
    AccessLog, App, Collector, Connections, Drained, Issued, KeyPlaces, Keys, Options, Readiness, Role,
    Service, ServiceOptions, Tls, TokenRules, Traces, person_token,
};
use serde_json::json;
use tokio::runtime::{self, Handle};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use crate::arguments::{age, flag};
use crate::context::Context;
use crate::output::Output;
use crate::stop::Stop;

/// How long after a failure the engine is opened again, first and at last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// How long a collector may take for the last spans.
const LAST_SPANS: Duration = Duration::from_secs(5);

/// How long a person's token is good.
const LIFETIME: Age = Age(Duration::from_secs(30 * 86_400));

pub(crate) fn commands() -> [Command; 2] {
    let serve = Command::new("serve")
        .about("Serve tasks and people over HTTP, until told to stop")
        .arg(
            Arg::new("listen")
                .long("listen")
                .value_name("ADDRESS:PORT")
                .help("Where to listen [default: [server] listen]; port 0 takes a free one"),
        )
        .arg(flag("dev", "Print a token that may do everything; without keys in [server], with one of its own"))
        .after_help(
            "Airflow's Task Execution API is below /execution/, Excom's own below /api/excom/v1/, and how it is at\n\
             /health/live and /health/ready. Nothing else is reachable without a token; `excom token` makes one.\n\
             It ends with SIGTERM or SIGINT, when requests that are under way are answered. With SIGHUP it reads keys,\n\
             certificates and connections again, and opens the access log anew.",
        );
    let token = Command::new("token")
        .about("Make a token for a person, or a program that acts for one")
        .arg(Arg::new("name").value_name("NAME").required(true).help("Whose it is"))
        .arg(
            Arg::new("role")
                .long("role")
                .value_name("ROLE")
                .default_value("read")
                .value_parser(PossibleValuesParser::new(["read", "write", "admin"]))
                .help("What it may do"),
        )
        .arg(age("for").help("How long it is good [default: 30d]"));
    [serve, token]
}

/// Serves until the process is told to stop.
pub(crate) fn serve(context: &Context, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    let settings = context.settings()?;
    let dev = matches.get_flag("dev");
    let keys = keys(&settings, dev)?;
    // What is no folder never becomes one, while a database may come.
    embedded::is_folder(&settings)?;
    let listen = matches.get_one::<String>("listen").map_or(&*settings.server.listen.0, |text| text);
    let runtime = runtime::Builder::new_multi_thread().enable_all().build();
    let runtime =
        runtime.map_err(|cause| Error::new(ErrorKind::Other, "no threads can be started").because(cause))?;
    runtime.block_on(async {
        let mut told = (interrupt(SignalKind::terminate())?, interrupt(SignalKind::interrupt())?);
        let files = Files::open(context.environment(), &settings, keys)?;
        let traces = traces(context, &settings, output)?;
        let mut options = ServiceOptions::default();
        options.drain_timeout = settings.server.drain.0;
        let service = files.behind(Service::bind(listen, options).await?);
        let token = match dev {
            true => {
                Some(person_token(files.keys.clone(), Arc::new(SystemClock), "dev", Role::Admin, LIFETIME.0)?)
            }
            false => None,
        };
        tell(output, &format!("{}://{}", files.scheme(), service.address()), token.as_ref())?;
        let readiness = service.readiness();
        readiness.watched_with(files.keys.clone(), Arc::new(SystemClock));
        // The app, once there is one.
        let app = Arc::new(OnceLock::<App>::new());
        let serving = app.clone();
        let stop = async move {
            tokio::select! { _ = told.0.recv() => {}, _ = told.1.recv() => {} }
            serving.get().into_iter().for_each(App::end_waits);
        };
        let hang_up = interrupt(SignalKind::hangup())?;
        // Beside: to open the engine blocks, and how it stands is answered meanwhile.
        let mut serving = tokio::spawn(service.run(stop));
        let output = RefCell::new(output);
        let engine = OnceCell::new();
        let opening = async {
            let opened = opened(context, &settings, &readiness, &output).await;
            let engine = engine.get_or_init(|| opened);
            readiness.open(app.get_or_init(|| {
                let options = files.options(&settings, traces.clone());
                App::new(engine.clone(), files.keys.clone(), options)
            }));
            engine.maintain(|error| warn(&output, error)).await;
        };
        let losing = async {
            if let Some(traces) = &traces {
                traces.keep(|error| warn(&output, error)).await;
            }
        };
        let upkeep = async { tokio::join!(opening, files.keep(hang_up, &output), losing) };
        let drained = tokio::select! { drained = &mut serving => drained, _ = upkeep => serving.await };
        let closing = async {
            match engine.get() {
                Some(engine) => engine.close().await,
                None => Ok(()),
            }
        };
        let last_spans = async {
            if let Some(traces) = &traces
                && let Err(error) = traces.close(LAST_SPANS).await
            {
                warn(&output, &error);
            }
        };
        let (closed, ()) = tokio::join!(closing, last_spans);
        closed?;
        files.close();
        if !matches!(drained, Ok(Drained::Whole)) {
            output.borrow_mut().say("warning: requests that took longer than [server] drain were cut off");
        }
        Ok(())
    })
}

/// Where spans go, when somebody says where.
fn traces(context: &Context, settings: &Settings, output: &mut Output) -> Result<Option<Traces>, Error> {
    let address = match &*settings.server.traces {
        config::Traces::Off => return Ok(None),
        config::Traces::Environment => None,
        config::Traces::To(url) => Some(url.secret()),
    };
    let variable = |name: &str| context.environment().get(name).map(str::to_owned);
    let collector = Collector::of(address, variable, |wrong| output.say(&format!("warning: {wrong}")))?;
    collector.map(Traces::to).transpose()
}

/// What a server has from files that change while it runs.
struct Files {
    keys: Keys,
    tls: Option<Tls>,
    log: Option<AccessLog>,
    connections: Connections,
}

impl Files {
    fn open(environment: &Environment, settings: &Settings, keys: Keys) -> Result<Self, Error> {
        let server = &settings.server;
        let tls = match (&*server.tls_certificate, &*server.tls_key) {
            (Some(certificate), Some(key)) => Some(Tls::at(certificate, key)?),
            _ => None,
        };
        let log = match &*server.access_log {
            config::AccessLog::Off => None,
            config::AccessLog::Stderr => Some(AccessLog::stderr()?),
            config::AccessLog::File(path) => Some(AccessLog::file(path)?),
        };
        let connections = Connections::new(environment.connections()?, server.connections.as_deref())?;
        Ok(Self { keys, tls, log, connections })
    }

    fn options(&self, settings: &Settings, traces: Option<Traces>) -> Options {
        let server = &settings.server;
        let mut options = Options::default();
        options.max_map_length = u64::from(*settings.core.max_map_length);
        options.body_limit = server.body_limit.0;
        options.longest_wait = server.longest_wait.0;
        options.limit_requests = *server.limit_requests;
        options.limit_bytes = server.limit_bytes.map(|size| size.0);
        options.connections = self.connections.clone();
        options.traces = traces;
        options
    }

    fn behind(&self, service: Service) -> Service {
        let service = match &self.tls {
            Some(tls) => service.with_tls(tls.clone()),
            None => service,
        };
        match &self.log {
            Some(log) => service.with_access_log(log.clone()),
            None => service,
        }
    }

    fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Reads them again: regularly, and when told to.
    async fn keep(&self, mut hang_up: Signal, output: &RefCell<&mut Output>) {
        let warn = |error: &Error| warn(output, error);
        let tls = async {
            if let Some(tls) = &self.tls {
                tls.keep(warn).await;
            }
        };
        let told = async {
            while hang_up.recv().await.is_some() {
                let outcomes = [
                    self.keys.refresh().await,
                    self.tls.as_ref().map_or(Ok(()), Tls::reload),
                    self.connections.reload(),
                    self.log.as_ref().map_or(Ok(()), AccessLog::reopen),
                ];
                let failed: Vec<&Error> =
                    outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
                failed.iter().for_each(|error| warn(error));
                if failed.is_empty() {
                    output.borrow_mut().say("keys, certificate, connections and access log are read again");
                }
            }
        };
        tokio::join!(self.keys.keep(warn), self.connections.keep(warn), tls, told);
    }

    /// Writes what is left of the access log.
    fn close(&self) {
        self.log.iter().for_each(AccessLog::close);
    }
}

/// Says where the server is, and the token for development.
fn tell(output: &mut Output, address: &str, token: Option<&Issued>) -> Result<(), Stop> {
    let token = token.map(Issued::secret);
    if output.json() {
        output.document(&json!({"address": address, "token": token}))?;
    } else {
        output.line(address)?;
        token.map_or(Ok(()), |token| output.line(token))?;
    }
    output.flush()
}

fn warn(output: &RefCell<&mut Output>, error: &Error) {
    output.borrow_mut().say(&format!("warning: {error}"));
}

/// The engine, tried again and again until it can be opened. Meanwhile the server tells why it is not ready.
async fn opened(
    context: &Context,
    settings: &Settings,
    readiness: &Readiness,
    output: &RefCell<&mut Output>,
) -> Engine {
    let mut pause = FIRST_PAUSE;
    loop {
        // Its clients run where requests do.
        match lend(Handle::current(), || context.engine_of(settings)) {
            Ok(engine) => return engine,
            Err(error) => {
                readiness.closed(&error);
                warn(output, &error);
                error.hints().iter().for_each(|hint| output.borrow_mut().say(&format!("  {hint}")));
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

fn interrupt(kind: SignalKind) -> Result<Signal, Error> {
    signal(kind).map_err(|cause| Error::new(ErrorKind::Other, "signals cannot be awaited").because(cause))
}

/// Prints a token.
pub(crate) fn token(context: &Context, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    let settings = context.settings()?;
    let keys = keys(&settings, false)?;
    let name = matches.get_one::<String>("name").map_or("", |name| name);
    let role = match matches.get_one::<String>("role").map(String::as_str) {
        Some("admin") => Role::Admin,
        Some("write") => Role::Write,
        _ => Role::Read,
    };
    let lifetime = matches.get_one::<Age>("for").copied().unwrap_or(LIFETIME);
    let token = person_token(keys, Arc::new(SystemClock), name, role, lifetime.0)?;
    match output.json() {
        true => output.document(&json!({"name": name, "role": role.name(), "token": token.secret()})),
        false => output.line(token.secret()),
    }
}

/// The keys that settings name; for development, some that are forgotten.
fn keys(settings: &Settings, dev: bool) -> Result<Keys, Error> {
    let server = &settings.server;
    let mut rules = TokenRules::default();
    rules.audience.clone_from(&server.token_audience);
    rules.issuer.clone_from(&server.token_issuer);
    rules.leeway = Duration::from_secs(u64::from(server.token_leeway.0));
    // What Airflow writes when it is to choose.
    let algorithm = server.token_algorithm.as_deref().filter(|name| *name != "GUESS");
    let keys = match &*server.token_secret {
        Some(secret) => Keys::secret_with(secret.secret().as_bytes(), algorithm)?,
        None if server.token_private_key.is_some() || server.token_keys.is_some() => {
            let mut places = KeyPlaces::default();
            places.private.clone_from(&server.token_private_key);
            places.public.clone_from(&server.token_keys);
            places.kid.clone_from(&server.token_kid);
            places.algorithm = algorithm.map(str::to_owned);
            Keys::at(&places)?
        }
        None if dev => {
            let clock = SystemClock;
            let secret: Vec<u8> = (0..8).flat_map(|_| clock.random().to_le_bytes()).collect();
            Keys::secret(&secret)?
        }
        None => return Err(Error::new(ErrorKind::Configuration, "no secret is set that signs tokens")
            .hint("set [server] token_secret, or EXCOM__SERVER__TOKEN_SECRET, to a random text such as `openssl rand -base64 48` gives")
            .hint("or [server] token_private_key and token_keys to files with keys")
            .hint("to try it out on this machine: excom serve --dev")),
    };
    Ok(keys.with_rules(rules))
}
