//! `excom serve`: one engine for tasks on any machine, over HTTP; `excom token`: who may ask it.

use std::cell::RefCell;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches, Command};
use excom::config::{Age, Settings};
use excom::embedded::SystemClock;
use excom::{Clock, Error, ErrorKind};
use excom_server::{App, Drained, Keys, Options, Role, Service};
use serde_json::json;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::{age, flag};
use crate::context::Context;
use crate::output::Output;
use crate::stop::Stop;

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
        .arg(flag("dev", "Print a token that may do everything; without [server] token_secret, with one of its own"))
        .after_help(
            "Airflow's Task Execution API is below /execution/, Excom's own below /api/excom/v1/, and how it is at\n\
             /health/live and /health/ready. Nothing else is reachable without a token; `excom token` makes one.\n\
             It ends with SIGTERM or SIGINT, when requests that are under way are answered.",
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
    let engine = context.engine_of(&settings)?;
    let mut options = Options::default();
    options.max_map_length = u64::from(*settings.core.max_map_length);
    options.body_limit = settings.server.body_limit.0;
    options.drain_timeout = settings.server.drain.0;
    let app = App::new(engine.clone(), keys, options);
    let listen = matches.get_one::<String>("listen").map_or(&*settings.server.listen.0, |text| text);
    let runtime = runtime::Builder::new_multi_thread().enable_all().build();
    let runtime =
        runtime.map_err(|cause| Error::new(ErrorKind::Other, "no threads can be started").because(cause))?;
    runtime.block_on(async {
        let mut told_to_stop = (interrupt(SignalKind::terminate())?, interrupt(SignalKind::interrupt())?);
        let service = Service::bind(app.clone(), listen).await?;
        let address = format!("http://{}", service.address());
        let token = if dev { Some(app.person_token("dev", Role::Admin, LIFETIME.0)?) } else { None };
        if output.json() {
            let token = token.as_ref().map(|token| token.secret());
            output.document(&json!({"address": address, "token": token}))?;
        } else {
            output.line(&address)?;
            if let Some(token) = &token {
                output.line(token.secret())?;
            }
        }
        output.flush()?;
        let told = RefCell::new(&mut *output);
        let upkeep = engine.maintain(|error| told.borrow_mut().say(&format!("warning: {error}")));
        let stop = async {
            tokio::select! { _ = told_to_stop.0.recv() => {}, _ = told_to_stop.1.recv() => {} }
        };
        let mut serving = pin!(service.run(stop));
        let drained = tokio::select! { drained = &mut serving => drained, () = upkeep => serving.await };
        engine.close().await?;
        if drained == Drained::Cut {
            output.say("warning: requests that took longer than [server] drain were cut off");
        }
        Ok(())
    })
}

fn interrupt(kind: SignalKind) -> Result<tokio::signal::unix::Signal, Error> {
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
    let token = excom_server::person_token(keys, Arc::new(SystemClock), name, role, lifetime.0)?;
    match output.json() {
        true => output.document(&json!({"name": name, "role": role.name(), "token": token.secret()})),
        false => output.line(token.secret()),
    }
}

/// The keys that settings name; for development, some that are forgotten.
fn keys(settings: &Settings, dev: bool) -> Result<Keys, Error> {
    match &*settings.server.token_secret {
        Some(secret) => Keys::secret(secret.secret().as_bytes()),
        None if dev => {
            let clock = SystemClock;
            let secret: Vec<u8> = (0..8).flat_map(|_| clock.random().to_le_bytes()).collect();
            Keys::secret(&secret)
        }
        None => Err(Error::new(ErrorKind::Configuration, "no secret is set that signs tokens")
            .hint("set [server] token_secret, or EXCOM__SERVER__TOKEN_SECRET, to a random text such as `openssl rand -base64 48` gives")
            .hint("to try it out on this machine: excom serve --dev")),
    }
}
