//! The connections: reads share a few and follow each other on them without waiting for answers; each write has one
//! to itself, because it waits for the disk.
//!
//! Every statement is a transaction of its own, so a connection holds no state between two of them: PgBouncer may hand
//! out another server connection for each, and one that is lost is replaced by the next.

use std::borrow::Cow;
use std::fmt;
use std::pin::pin;
use std::str::FromStr as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool_postgres::{
    ClientWrapper, Hook, Manager, ManagerConfig, Object, Pool, QueueMode, RecyclingMethod, Runtime, Timeouts,
};
use excom_core::{Error, ErrorKind, Result};
use excom_reactor::Reactor;
use futures_util::future::join;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::config::Host;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Config, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::failure::Failure;
use super::known::Known;
use super::tls;
use crate::away::{Away, PAUSES};

/// Connections that reads share.
pub(super) const READERS: usize = 2;

/// How long a connection may take, unless the URL says (`connect_timeout`).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a statement is tried again while the server restarts or fails over.
const OUTAGE: Duration = Duration::from_secs(5);

/// Who holds the lock that a statement waits for: the one who waits for nobody first, and of these who began first. What
/// a session does is not told to everybody.
const HOLDER: &str = "SELECT format('session %s of user `%s`%s%s%s', holder.pid, holder.usename,
        ' (' || nullif(holder.application_name, '') || ')', ', ' || holder.state,
        ', in a transaction since ' || date_trunc('second', holder.xact_start))
    FROM pg_stat_activity waiting CROSS JOIN LATERAL unnest(pg_blocking_pids(waiting.pid)) AS blocking (pid)
         JOIN pg_stat_activity holder ON holder.pid = blocking.pid
    WHERE waiting.datname = current_database() AND waiting.wait_event_type = 'Lock'
          AND left(waiting.query, 500) = left($1, 500)
    ORDER BY holder.wait_event_type IS NOT DISTINCT FROM 'Lock', holder.xact_start LIMIT 1";

/// How a database is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The most connections that this process opens.
    pub connections: usize,
    /// Whether reads are prepared once for a connection, which halves their cost. Not with a PgBouncer in transaction
    /// mode that is older than 1.21 or has `max_prepared_statements = 0`.
    pub prepare: bool,
    /// How long a statement may take, and how long one may wait for a connection. Two thirds of it may go by waiting for
    /// a lock.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { connections: 12, prepare: true, patience: Duration::from_secs(30) }
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
    patience: Duration,
    known: Arc<Known>,
    away: Away,
    config: Config,
    tls: MakeRustlsConnect,
    /// One at a time finds out who holds a lock, over a connection that is not of the pool.
    asking: tokio::sync::Mutex<()>,
    place: String,
    spelt: Option<fn(&str) -> Cow<'_, str>>,
    reactor: Reactor,
}

impl Connections {
    /// Prepares connections to the database of a URL; the first is opened by the first statement.
    pub(super) fn new(url: &str, options: &Options) -> Result<Self> {
        let (url, tls) = tls::Parameters::take(url);
        let mut config = parse(&url)?;
        let (mode, tls) = tls.prepare()?;
        config.ssl_mode(mode);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("excom");
        }
        // A peer that is gone without a word is noticed within this time.
        let patience = options.patience;
        config.tcp_user_timeout(patience).keepalives_idle(patience);
        let place = place(&config);
        let recycling_method = RecyclingMethod::Fast;
        let manager = Manager::from_config(config.clone(), tls.clone(), ManagerConfig { recycling_method });
        let timeouts = Timeouts { wait: Some(patience), create: Some(patience), recycle: Some(patience) };
        let known = Arc::new(Known::default());
        let hook = {
            let known = known.clone();
            Hook::async_fn(move |client: &mut ClientWrapper, _| {
                let known = known.clone();
                Box::pin(async move { known.check(client, patience).await })
            })
        };
        let pool = Pool::builder(manager)
            .max_size(options.connections.max(READERS + 1))
            .timeouts(timeouts)
            // The one that rested least: a session keeps plans and catalogs in memory of its own, which few sessions that
            // are busy have at hand, and many that take turns do not.
            .queue_mode(QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .post_create(hook)
            .build()
            .map_err(|e| Error::new(ErrorKind::Other, "the pool of connections cannot be made").because(e))?;
        Ok(Self {
            readers: Default::default(),
            pool,
            next: AtomicUsize::new(0),
            prepare: options.prepare,
            patience,
            known,
            away: Away::default(),
            config,
            tls,
            asking: tokio::sync::Mutex::default(),
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

    /// What is known of the database, by which it is known again.
    pub(super) fn known(&self) -> &Known {
        &self.known
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
            let (result, is_fit) = self.patiently(&connection, statement, parameters).await;
            if !is_fit {
                // Whoever comes next gets another connection.
                let mut held = self.readers[slot].lock().unwrap_or_else(PoisonError::into_inner);
                held.take_if(|held| Arc::ptr_eq(held, &connection));
            }
            return result;
        }
        let connection = self.connection().await?;
        let (result, is_fit) = self.patiently(&connection, statement, parameters).await;
        if !is_fit {
            drop(Object::take(connection));
        }
        result
    }

    /// What came of a statement, and whether the connection is of use afterwards. One that waits for long is called off:
    /// so it does not go on waiting there when nobody does here, and it is known that nothing came of it.
    async fn patiently(
        &self,
        connection: &Object,
        statement: &Statement<'_>,
        parameters: &[Parameter<'_>],
    ) -> (Result<Vec<Row>, Failure>, bool) {
        let mut answer = pin!(self.query(connection, statement, parameters));
        if let Ok(answer) = timeout(self.patience * 2 / 3, answer.as_mut()).await {
            return (answer, true);
        }
        let call_off = async {
            let holder = timeout(self.patience / 6, self.holder(statement.sql)).await.ok().flatten();
            // Where it does not arrive there will be no answer either.
            drop(connection.cancel_token().cancel_query(self.tls.clone()).await);
            holder
        };
        let result = match timeout(self.patience / 3, join(call_off, answer)).await {
            Ok((holder, Err(failure))) if failure.is_interrupted() => Err(Failure::CalledOff(holder)),
            Ok((_, answer)) => answer,
            Err(_) => Err(Failure::Silent),
        };
        // What was called off may yet be the next statement on it.
        (result, false)
    }

    /// Which session holds the lock that a statement waits for, if the server tells.
    async fn holder(&self, sql: &str) -> Option<String> {
        let _alone = self.asking.lock().await;
        let (client, connection) = self.config.connect(self.tls.clone()).await.ok()?;
        self.reactor.spawn(async { drop(connection.await) });
        let found = client.query_typed(HOLDER, &[(&sql, Type::TEXT)]).await.ok()?;
        found.first()?.try_get(0).ok()
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
    async fn reader(&self) -> Result<(usize, Arc<Object>), Failure> {
        let slot = self.next.fetch_add(1, Ordering::Relaxed) % READERS;
        let held = || self.readers[slot].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = held().as_ref().filter(|connection| !connection.is_closed()) {
            return Ok((slot, connection.clone()));
        }
        let connection = Arc::new(self.connection().await?);
        *held() = Some(connection.clone());
        Ok((slot, connection))
    }

    /// A connection of the pool.
    async fn connection(&self) -> Result<Object, Failure> {
        self.away.try_now().map_err(Failure::Away)?;
        let connection = self.pool.get().await.map_err(Failure::from);
        match &connection {
            Ok(_) => self.away.note(None),
            Err(failure) => {
                if let Some(why) = failure.absence() {
                    self.away.note(Some(why));
                }
            }
        }
        connection
    }

    /// A statement that changes nothing and may take long: the server ends it after a time. It is not tried again.
    pub(super) async fn look(
        &self,
        patience: Duration,
        statement: &Statement<'_>,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, Failure> {
        let bounds =
            format!("BEGIN READ ONLY; SET LOCAL statement_timeout = {}", patience.as_millis().max(1));
        self.reactor
            .run(async {
                let connection = self.connection().await?;
                connection.batch_execute(&bounds).await?;
                let rows = self.query(&connection, statement, parameters).await;
                let ended = connection.batch_execute("ROLLBACK").await;
                let rows = rows?;
                ended?;
                Ok(rows)
            })
            .await
    }

    /// Runs several statements as they are, in one transaction.
    pub(super) async fn script(&self, sql: &str) -> Result<(), Failure> {
        self.reactor
            .run(async {
                let connection = self.connection().await?;
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
