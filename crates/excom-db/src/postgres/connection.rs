//! The connections: reads share a few and follow each other on them without waiting for answers; each write has one
//! to itself, because it waits for the disk.
//!
//! Every statement is a transaction of its own, so a connection holds no state between two of them: PgBouncer may hand
//! out another server connection for each, and one that is lost is replaced by the next.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, Timeouts,
};
use excom_core::{Error, ErrorKind, Result};
use rustls::ClientConfig;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::config::Host;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Config, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::failure::Failure;
use crate::reactor::Reactor;

/// Connections that reads share.
pub(super) const READERS: usize = 2;

/// How long a connection may take, unless the URL says (`connect_timeout`).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a statement may take, and how long one may wait for a connection.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a statement is tried again while the server restarts or fails over.
const OUTAGE: Duration = Duration::from_secs(5);

/// The pause before the first of these tries; it doubles up to the last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(500));

/// How a database is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The most connections that this process opens.
    pub connections: usize,
    /// Whether reads are prepared once for a connection, which halves their cost. Not with a PgBouncer in transaction
    /// mode that is older than 1.21 or has `max_prepared_statements = 0`.
    pub prepare: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { connections: 12, prepare: true }
    }
}

/// A statement with the types of its parameters, so that it needs no round trip to ask for them.
#[derive(Debug)]
pub(super) struct Statement<'a> {
    pub(super) sql: &'a str,
    pub(super) types: &'a [Type],
}

/// The types of a statement's parameters: `types![TEXT, INT8]`.
macro_rules! types {
    ($($name:ident),+ $(,)?) => {
        &[$(tokio_postgres::types::Type::$name),+]
    };
}
pub(super) use types;

/// A parameter of a statement.
pub(super) type Parameter<'a> = &'a (dyn ToSql + Sync);

/// What came of a statement.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) result: Result<Vec<Row>, Failure>,
    /// Whether a try before the last may have been done as well.
    pub(super) in_doubt: bool,
}

/// The connections of a process to one database.
pub(super) struct Connections {
    // Before the reactor, which drives them to their end.
    readers: [Mutex<Option<Arc<Object>>>; READERS],
    pool: Pool,
    next: AtomicUsize,
    prepare: bool,
    place: String,
    spelt: Option<fn(&str) -> Cow<'_, str>>,
    reactor: Reactor,
}

impl Connections {
    /// Prepares connections to the database of a URL; the first is opened by the first statement.
    pub(super) fn new(url: &str, options: &Options) -> Result<Self> {
        let mut config = parse(url)?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("excom");
        }
        // A peer that is gone without a word is noticed within this time.
        config.tcp_user_timeout(PATIENCE).keepalives_idle(PATIENCE);
        let place = place(&config);
        let recycling_method = RecyclingMethod::Fast;
        let manager = Manager::from_config(config, tls()?, ManagerConfig { recycling_method });
        let timeouts = Timeouts { wait: Some(PATIENCE), create: Some(PATIENCE), recycle: Some(PATIENCE) };
        let pool = Pool::builder(manager)
            .max_size(options.connections.max(READERS + 1))
            .timeouts(timeouts)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|e| Error::new(ErrorKind::Other, "the pool of connections cannot be made").because(e))?;
        Ok(Self {
            readers: Default::default(),
            pool,
            next: AtomicUsize::new(0),
            prepare: options.prepare,
            place,
            spelt: None,
            reactor: Reactor::start("excom-postgres")?,
        })
    }

    /// With statements spelt another way, where what they name is not there.
    pub(super) fn spelt(mut self, spelt: fn(&str) -> Cow<'_, str>) -> Self {
        self.spelt = Some(spelt);
        self
    }

    /// Which database, safe to show.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// A statement that changes nothing.
    pub(super) async fn read(
        &self,
        statement: &Statement<'_>,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, Failure> {
        self.repeated(Lane::Read, statement, parameters).await.result
    }

    /// A statement that changes something, and may be done twice.
    pub(super) async fn write(
        &self,
        statement: &Statement<'_>,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, Failure> {
        self.repeated(Lane::Write, statement, parameters).await.result
    }

    /// The same, for a statement whose answer is another one the second time.
    pub(super) async fn write_told(&self, statement: &Statement<'_>, parameters: &[Parameter<'_>]) -> Done {
        self.repeated(Lane::Write, statement, parameters).await
    }

    /// A statement that must not be done twice: it fails when it is not known whether it was done.
    pub(super) async fn write_once(
        &self,
        statement: &Statement<'_>,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, Failure> {
        self.repeated(Lane::WriteOnce, statement, parameters).await.result
    }

    /// A statement of a [lane](super::together), which is not tried again: who shared it asks alone then.
    pub(super) async fn shared(
        &self,
        writes: bool,
        statement: &Statement<'_>,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, Failure> {
        self.once(if writes { Lane::Write } else { Lane::Read }, statement, parameters).await
    }

    /// What drives the connections.
    pub(super) fn reactor(&self) -> &Reactor {
        &self.reactor
    }

    async fn repeated(&self, lane: Lane, statement: &Statement<'_>, parameters: &[Parameter<'_>]) -> Done {
        let mut outage = None;
        let mut pause = PAUSES.0;
        let mut in_doubt = false;
        loop {
            let failure = match self.reactor.run(self.once(lane, statement, parameters)).await {
                Ok(rows) => return Done { result: Ok(rows), in_doubt },
                Err(failure) => failure,
            };
            let end = *outage.get_or_insert_with(|| Instant::now() + OUTAGE);
            let once = lane == Lane::WriteOnce && failure.in_doubt();
            if once || !failure.passes() || Instant::now() + pause > end {
                return Done { result: Err(failure), in_doubt };
            }
            in_doubt |= failure.in_doubt();
            self.reactor.run(async { sleep(pause).await }).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    async fn once(
        &self,
        lane: Lane,
        statement: &Statement<'_>,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, Failure> {
        if lane == Lane::Read {
            let (slot, connection) = self.reader().await?;
            let answer = timeout(PATIENCE, self.query(&connection, statement, parameters)).await;
            return answer.unwrap_or_else(|_| {
                // Whoever comes next gets another connection.
                self.readers[slot].lock().unwrap_or_else(PoisonError::into_inner).take();
                Err(Failure::Silent)
            });
        }
        let connection = self.pool.get().await?;
        let answer = timeout(PATIENCE, self.query(&connection, statement, parameters)).await;
        answer.unwrap_or_else(|_| {
            drop(Object::take(connection));
            Err(Failure::Silent)
        })
    }

    async fn query(
        &self,
        connection: &Object,
        statement: &Statement<'_>,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, Failure> {
        let sql = self.spelt.map_or(Cow::Borrowed(statement.sql), |spelt| spelt(statement.sql));
        if self.prepare {
            let prepared = connection.prepare_typed_cached(&sql, statement.types).await?;
            return Ok(connection.query(&prepared, parameters).await?);
        }
        let typed: Vec<_> = parameters.iter().copied().zip(statement.types.iter().cloned()).collect();
        Ok(connection.query_typed(&sql, &typed).await?)
    }

    /// The connection whose turn it is among those for reading.
    async fn reader(&self) -> Result<(usize, Arc<Object>), PoolError> {
        let slot = self.next.fetch_add(1, Ordering::Relaxed) % READERS;
        let held = || self.readers[slot].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = held().as_ref().filter(|connection| !connection.is_closed()) {
            return Ok((slot, connection.clone()));
        }
        let connection = Arc::new(self.pool.get().await?);
        *held() = Some(connection.clone());
        Ok((slot, connection))
    }

    /// Runs several statements as they are, in one transaction.
    pub(super) async fn script(&self, sql: &str) -> Result<(), Failure> {
        self.reactor
            .run(async {
                let connection = self.pool.get().await?;
                Ok(connection.batch_execute(sql).await?)
            })
            .await
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lane {
    Read,
    Write,
    WriteOnce,
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("place", &self.place).finish_non_exhaustive()
    }
}

/// A URL as libpq and SQLAlchemy spell it: `postgresql://`, `postgres://`, and with a driver's name behind a plus.
fn parse(url: &str) -> Result<Config> {
    // The text may hold a password, so only what is wrong with it is shown.
    let refuse = |why: String| {
        Error::new(ErrorKind::Configuration, format!("the URL of the database cannot be read: {why}"))
            .hint("it is spelt postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with `:`, `/`, `@` and `%` in a part as %3A, %2F, %40, %25")
    };
    let (scheme, rest) = url.split_once("://").ok_or_else(|| refuse("it has no `://`".to_owned()))?;
    let scheme = scheme.split_once('+').map_or(scheme, |(scheme, _driver)| scheme);
    let config = Config::from_str(&format!("{scheme}://{rest}")).map_err(|e| {
        use std::error::Error as _;
        refuse(e.source().map_or_else(|| e.to_string(), ToString::to_string))
    })?;
    match config.get_hosts() {
        [] => Err(refuse("it names no host".to_owned())),
        _ => Ok(config),
    }
}

/// Which database a configuration names, without user and password.
fn place(config: &Config) -> String {
    let ports = config.get_ports();
    let hosts = config.get_hosts().iter().enumerate().map(|(at, host)| {
        let port = ports.get(at).or(ports.first()).copied().unwrap_or(5432);
        match host {
            Host::Tcp(name) => format!("{name}:{port}"),
            Host::Unix(folder) => folder.display().to_string(),
        }
    });
    let hosts: Vec<String> = hosts.collect();
    let database = config.get_dbname().or(config.get_user()).unwrap_or_default();
    format!("postgresql({}/{database})", hosts.join(","))
}

/// TLS as the system trusts. The provider is named, because a program may have several.
fn tls() -> Result<MakeRustlsConnect> {
    let refuse = |e| Error::new(ErrorKind::Configuration, "TLS cannot be set up").because(e);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.and_then(|config| config.with_platform_verifier()).map_err(refuse)?;
    Ok(MakeRustlsConnect::new(config.with_no_client_auth()))
}
