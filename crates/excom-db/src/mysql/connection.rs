//! The connections: each read and each transaction has one to itself for as long as it takes. One that was not handed
//! back in good order is closed, and with it whatever it had begun is undone.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use excom_core::{Error, ErrorKind, Result};
use excom_reactor::Reactor;
use futures_util::future::join;
use mysql_async::prelude::Queryable as _;
use mysql_async::{ClientIdentity, Conn, Opts, OptsBuilder, Params, Row, SslOpts, Value};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use url::Url;

use super::failure::Failure;
use super::known::Known;
use super::row;
use crate::away::{Away, PAUSES};
use crate::trust;

/// How long a connection may take, unless the URL says (`connect_timeout`).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// How long it is tried again while the server restarts or fails over, or others are in the way.
const OUTAGE: Duration = Duration::from_secs(5);

/// Statements that a connection keeps prepared.
const PREPARED: usize = 64;

/// Larger than what any server takes: how much ours takes is looked up on each connection.
const LARGEST_PACKET: usize = 1 << 30;

/// What each connection is like, whatever the server's defaults: a check counts when its lock is held, nothing is cut
/// to fit a column, and who waits for a lock is told before patience ends.
const SESSION: &str = "SET NAMES utf8mb4;
    SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED;
    SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', autocommit = 1, innodb_lock_wait_timeout = ";

/// A lock of a table is waited for as long as one of a row.
const TABLE_LOCK: &str = ", lock_wait_timeout = ";

/// What is known of tables is what holds now: MySQL would tell what it told a day ago. MariaDB passes over this.
const NO_MEMORY: &str = " /*!80000 , information_schema_stats_expiry = 0 */";

/// How much the server takes in one statement.
const LARGEST: &str = "SELECT CAST(@@max_allowed_packet AS SIGNED)";

/// Who holds the lock of a row that a session waits for. Only who may see the views of `sys` is told.
const HOLDER: &str = "SELECT CONCAT('session ', w.blocking_pid,
        COALESCE(CONCAT(' of user `', p.user, '` at ', p.host, ', ', LOWER(p.command)), ''),
        ', in a transaction since ', w.blocking_trx_started)
    FROM sys.innodb_lock_waits w LEFT JOIN information_schema.processlist p ON p.id = w.blocking_pid
    WHERE w.waiting_pid = :id ORDER BY w.blocking_trx_started LIMIT 1";

/// What our database beside Airflow's is called, unless the URL says (`beside`).
const OURS: &str = "excom";

/// How a database is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The most connections that this process opens.
    pub connections: usize,
    /// How long a read or a transaction may take, and how long one may wait for a connection. Two thirds of it may go
    /// by waiting for a lock.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { connections: 12, patience: Duration::from_secs(30) }
    }
}

/// The parameters of a statement by their names: `named! { "dag" => dag_id }`.
macro_rules! named {
    () => { mysql_async::Params::Empty };
    ($($name:literal => $value:expr),+ $(,)?) => {
        mysql_async::Params::Named(std::collections::HashMap::from([
            $(($name.as_bytes().to_vec(), mysql_async::Value::from($value))),+
        ]))
    };
}
pub(super) use named;

/// What came of a transaction.
#[derive(Debug)]
pub(super) struct Done<T> {
    pub(super) result: Result<T, Failure>,
    /// Whether a try before the last may have been done as well.
    pub(super) in_doubt: bool,
}

/// A connection while it is lent.
#[derive(Debug)]
pub(super) struct Connection {
    conn: Conn,
    /// The most bytes of a statement with its parameters.
    largest: u64,
    /// The number of the last entry that was made, as long as it is not known whether it stays.
    entry: i64,
    beside: Option<Arc<Beside>>,
}

/// What our tables lie beside, when they lie beside Airflow's.
#[derive(Debug)]
pub(super) struct Beside {
    /// Airflow's database, in quotes. Statements call it `airflow`.
    airflow: String,
    /// Ours, in quotes; none where there is to be none.
    ours: Option<String>,
    /// What statements say of our tables, and what is said instead where there are none.
    without: Option<(&'static str, &'static str)>,
    /// Which database it is, safe to show.
    pub(super) place: String,
}

/// A name of a database as statements have it.
pub(super) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

impl Connection {
    /// What our tables lie beside.
    pub(super) fn place(&self) -> &str {
        self.beside.as_ref().map_or("", |beside| &beside.place)
    }

    /// A statement with the name of Airflow's database in it.
    fn named<'a>(&self, sql: &'a str) -> Cow<'a, str> {
        match &self.beside {
            Some(beside) => {
                let sql = match beside.without {
                    Some((said, instead)) => sql.replace(said, instead).into(),
                    None => Cow::Borrowed(sql),
                };
                sql.replace("airflow.", &format!("{}.", beside.airflow)).into()
            }
            None => sql.into(),
        }
    }

    /// A statement that returns rows.
    pub(super) async fn rows(&mut self, sql: &str, parameters: Params) -> Result<Vec<Row>, Failure> {
        self.fits(&parameters)?;
        let sql = self.named(sql);
        Ok(self.conn.exec(&*sql, parameters).await?)
    }

    /// The first row of a statement.
    pub(super) async fn one(&mut self, sql: &str, parameters: Params) -> Result<Option<Row>, Failure> {
        Ok(self.rows(sql, parameters).await?.into_iter().next())
    }

    /// A statement that changes rows; returns how many it found.
    pub(super) async fn change(&mut self, sql: &str, parameters: Params) -> Result<u64, Failure> {
        self.fits(&parameters)?;
        let sql = self.named(sql);
        self.conn.exec_drop(&*sql, parameters).await?;
        Ok(self.conn.affected_rows())
    }

    /// Makes an entry, which gets a number.
    pub(super) async fn make_entry(&mut self, sql: &str, parameters: Params) -> Result<(), Failure> {
        self.change(sql, parameters).await?;
        let number = self.conn.last_insert_id().and_then(|number| i64::try_from(number).ok());
        self.entry = self.entry.max(number.unwrap_or(0));
        Ok(())
    }

    /// An insert; `false` when the row is there already, and then nothing changes.
    pub(super) async fn insert(&mut self, sql: &str, parameters: Params) -> Result<bool, Failure> {
        match self.change(sql, parameters).await {
            Ok(_) => Ok(true),
            Err(failure) if failure.is_duplicate() => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Statements as they are, without parameters.
    pub(super) async fn script(&mut self, sql: &str) -> Result<(), Failure> {
        Ok(self.conn.query_drop(sql).await?)
    }

    /// What the server would not take is refused before: the driver would lose the connection over it.
    fn fits(&self, parameters: &Params) -> Result<(), Failure> {
        let Params::Named(values) = parameters else { return Ok(()) };
        let bytes = values.values().map(|value| match value {
            Value::Bytes(bytes) => bytes.len() as u64 + 16,
            _ => 16,
        });
        let (bytes, largest) = (bytes.sum::<u64>(), self.largest);
        if bytes < largest {
            return Ok(());
        }
        Err(Failure::Told(
            Error::new(
                ErrorKind::TooLarge,
                format!(
                    "a statement of {bytes} bytes is larger than the {largest} that the server takes; nothing was \
                     written"
                ),
            )
            .hint("offload large values, or raise the server's max_allowed_packet"),
        ))
    }
}

/// The connections of a process to one database.
pub(super) struct Connections {
    // Before the reactor, which drives them to their end.
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
    patience: Duration,
    away: Away,
    known: Known,
    /// One at a time finds out who holds a lock, over a connection that is not of the pool.
    asking: tokio::sync::Mutex<()>,
    target: Target,
    reactor: Reactor,
}

impl Connections {
    /// Prepares connections to the database of a URL, which is Excom's own; the first is opened by the first statement.
    pub(super) fn new(url: &str, options: &Options) -> Result<Self> {
        let target = Target::parse(url, options.patience)?;
        if target.ours.is_some() {
            let what = "`beside` in the URL of the database names what lies beside Airflow's own, and this one is Excom's";
            return Err(Error::new(ErrorKind::Configuration, what)
                .hint("leave it out: the database is the one that the path of the URL names")
                .hint("to work in Airflow's database set [database] mode = \"attached\""));
        }
        Self::to(target, options)
    }

    /// The same to a database of Airflow's.
    pub(super) fn airflows(url: &str, options: &Options) -> Result<Self> {
        Self::to(Target::parse(url, options.patience)?, options)
    }

    /// The same to our database beside Airflow's, which the URL names.
    pub(super) fn beside(url: &str, options: &Options) -> Result<Self> {
        Self::around(url, options, None)
    }

    /// The same where there is to be no database of ours: what statements say of its tables, and what is said instead.
    pub(super) fn without(url: &str, options: &Options, said: (&'static str, &'static str)) -> Result<Self> {
        Self::around(url, options, Some(said))
    }

    fn around(url: &str, options: &Options, without: Option<(&'static str, &'static str)>) -> Result<Self> {
        let mut target = Target::parse(url, options.patience)?;
        let ours = without.is_none().then(|| quoted(target.ours.as_deref().unwrap_or(OURS)));
        let (airflow, place) = (quoted(&target.database), target.place.clone());
        target.beside = Some(Arc::new(Beside { airflow, ours, without, place }));
        Self::to(target, options)
    }

    fn to(target: Target, options: &Options) -> Result<Self> {
        Ok(Self {
            idle: Mutex::default(),
            permits: Semaphore::new(options.connections.max(1)),
            patience: options.patience,
            away: Away::default(),
            known: Known::default(),
            asking: tokio::sync::Mutex::default(),
            target,
            reactor: Reactor::start("excom-mysql")?,
        })
    }

    /// What the database of the URL is called.
    pub(super) fn database(&self) -> &str {
        &self.target.database
    }

    /// What our database is called that lies beside the one of the URL.
    pub(super) fn ours(&self) -> &str {
        self.target.ours.as_deref().unwrap_or(OURS)
    }

    /// Which database, safe to show.
    pub(super) fn place(&self) -> &str {
        &self.target.place
    }

    /// By what the database is known.
    pub(super) fn known(&self) -> &Known {
        &self.known
    }

    /// A statement that changes nothing.
    pub(super) async fn read(&self, sql: &str, parameters: Params) -> Result<Vec<Row>, Failure> {
        let read = |mut connection: Connection| {
            let parameters = parameters.clone();
            async move {
                let rows = connection.rows(sql, parameters).await;
                (connection, rows)
            }
        };
        self.repeated(false, || self.lend(&read)).await.result
    }

    /// A transaction: what is done on the connection happens as a whole or not at all. It is done again when another
    /// was in the way or the server was away, so it may be done twice when it is not known whether it was.
    pub(super) async fn write<T, W>(&self, work: impl Fn(Connection) -> W) -> Result<T, Failure>
    where
        W: Future<Output = (Connection, Result<T, Failure>)>,
    {
        self.write_told(work).await.result
    }

    /// The same, for work whose answer is another one the second time.
    pub(super) async fn write_told<T, W>(&self, work: impl Fn(Connection) -> W) -> Done<T>
    where
        W: Future<Output = (Connection, Result<T, Failure>)>,
    {
        let work = |connection| transaction(connection, &work);
        self.repeated(false, || self.lend(&work)).await
    }

    /// A transaction that must not be done twice: it fails when it is not known whether it was done.
    pub(super) async fn write_once<T, W>(&self, work: impl Fn(Connection) -> W) -> Result<T, Failure>
    where
        W: Future<Output = (Connection, Result<T, Failure>)>,
    {
        let work = |connection| transaction(connection, &work);
        self.repeated(true, || self.lend(&work)).await.result
    }

    /// Work on a connection that is not a transaction, and done once.
    pub(super) async fn alone<T, W>(&self, work: impl Fn(Connection) -> W) -> Result<T, Failure>
    where
        W: Future<Output = (Connection, Result<T, Failure>)>,
    {
        self.reactor.run(self.lend(&work)).await
    }

    /// A question over a connection of its own, which the server ends after a time.
    pub(super) async fn look(
        &self,
        patience: Duration,
        sql: &str,
        parameters: Params,
    ) -> Result<Vec<Row>, Failure> {
        let (millis, seconds) = (patience.as_millis().max(1), patience.as_secs_f64());
        // Comments are read by one of the two servers each.
        let bounds = format!(
            "SET SESSION autocommit = 1 /*M! , max_statement_time = {seconds} */
                 /*!80000 , max_execution_time = {millis} */;
             START TRANSACTION READ ONLY"
        );
        self.reactor
            .run(async {
                let mut connection = self.connect().await?;
                connection.script(&bounds).await?;
                connection.rows(sql, parameters).await
            })
            .await
    }

    async fn repeated<T, W>(&self, once: bool, work: impl Fn() -> W) -> Done<T>
    where
        W: Future<Output = Result<T, Failure>>,
    {
        let mut outage = None;
        let mut pause = PAUSES.0;
        let mut in_doubt = false;
        loop {
            let failure = match self.reactor.run(work()).await {
                Ok(done) => return Done { result: Ok(done), in_doubt },
                Err(failure) => failure,
            };
            let end = *outage.get_or_insert_with(|| Instant::now() + OUTAGE);
            if (once && failure.in_doubt()) || !failure.passes() || Instant::now() + pause > end {
                return Done { result: Err(failure), in_doubt };
            }
            in_doubt |= failure.in_doubt();
            self.reactor.run(async { sleep(pause).await }).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Does something on a connection, and keeps that for the next if it is in good order.
    async fn lend<T, W>(&self, work: &impl Fn(Connection) -> W) -> Result<T, Failure>
    where
        W: Future<Output = (Connection, Result<T, Failure>)>,
    {
        let permit = timeout(self.patience, self.permits.acquire()).await;
        let Ok(Ok(_permit)) = permit else { return Err(Failure::Busy) };
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let id = connection.conn.id();
        let mut done = pin!(work(connection));
        let (done, holder) = match timeout(self.patience / 3, done.as_mut()).await {
            Ok(done) => (Ok(done), None),
            Err(_) => {
                let holder = timeout(self.patience / 3, self.holder(id));
                let (done, holder) = join(timeout(self.patience * 2 / 3, done), holder).await;
                (done, holder.ok().flatten())
            }
        };
        let (mut connection, result) = done.map_err(|_| Failure::Silent)?;
        let entry = std::mem::take(&mut connection.entry);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            // The others are of the same server, which is not there any more.
            Err(failure) if failure.is_lost() => {
                idle.clear();
                Err(failure)
            }
            result => {
                if result.is_ok() {
                    self.known.note(entry);
                }
                idle.push(connection);
                result.map_err(|failure| failure.held_by(holder))
            }
        }
    }

    /// A connection that leads to the database that was opened.
    async fn connect(&self) -> Result<Connection, Failure> {
        self.away.try_now().map_err(Failure::Away)?;
        let connection = self.target.connect().await;
        match &connection {
            Ok(_) => self.away.note(None),
            Err(failure) => {
                if let Some(why) = failure.absence() {
                    self.away.note(Some(why));
                }
            }
        }
        if !self.known.is_named() {
            return connection;
        }
        let another = |told| Failure::Told(trust::another(self.place(), told));
        let mut connection = match connection {
            Err(failure) if failure.is_no_database() => {
                return Err(another("none of Excom's tables are there"));
            }
            connection => connection?,
        };
        match timeout(self.patience, self.known.difference(&mut connection)).await {
            Err(_) => Err(Failure::Silent),
            Ok(Err(failure)) if failure.is_no_table() => Err(another("none of Excom's tables are there")),
            Ok(Err(failure)) => Err(failure.held_by(None)),
            Ok(Ok(Some(told))) => Err(another(told)),
            Ok(Ok(None)) => Ok(connection),
        }
    }

    /// Which session holds the lock that another waits for, if the server tells.
    async fn holder(&self, id: u32) -> Option<String> {
        let _alone = self.asking.lock().await;
        let mut connection = self.target.connect().await.ok()?;
        let found = connection.one(HOLDER, named! { "id" => id }).await.ok()??;
        row::str(&found, 0).ok().map(str::to_owned)
    }
}

/// Work between the beginning and the end of a transaction.
async fn transaction<T, W>(
    mut connection: Connection,
    work: impl Fn(Connection) -> W,
) -> (Connection, Result<T, Failure>)
where
    W: Future<Output = (Connection, Result<T, Failure>)>,
{
    if let Err(failure) = connection.script("START TRANSACTION").await {
        return (connection, Err(failure));
    }
    let (mut connection, mut result) = work(connection).await;
    match &result {
        Ok(_) => {
            if let Err(failure) = connection.script("COMMIT").await {
                result = Err(failure.while_committing());
            }
        }
        Err(failure) if failure.is_lost() => {}
        Err(_) => {
            if let Err(failure) = connection.script("ROLLBACK").await {
                result = Err(failure);
            }
        }
    }
    (connection, result)
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("place", &self.target.place).finish_non_exhaustive()
    }
}

/// Where connections go.
struct Target {
    opts: Opts,
    /// What each begins with.
    session: String,
    connect_timeout: Duration,
    place: String,
    database: String,
    /// What our database beside it is called, where the URL says.
    ours: Option<String>,
    beside: Option<Arc<Beside>>,
}

impl Target {
    async fn connect(&self) -> Result<Connection, Failure> {
        let connected = timeout(self.connect_timeout, async {
            let mut conn = Conn::new(self.opts.clone()).await?;
            conn.query_drop(&self.session).await?;
            if let Some(beside) = &self.beside {
                if let Some(ours) = &beside.ours {
                    conn.query_drop(format!("USE {ours}")).await?;
                }
                // Airflow's times are UTC.
                conn.query_drop("SET SESSION time_zone = '+00:00'").await?;
            }
            let largest: Option<i64> = conn.exec_first(LARGEST, ()).await?;
            let largest = largest.unwrap_or_default() as u64;
            Ok(Connection { conn, largest, entry: 0, beside: self.beside.clone() })
        });
        match connected.await {
            Ok(connected) => connected.map_err(Failure::Unconnected),
            Err(_) => Err(Failure::Unconnected(mysql_async::Error::Other("it does not answer".into()))),
        }
    }

    /// A URL as MySQL's own programs and SQLAlchemy spell it: `mysql://`, `mariadb://`, and with a driver's name behind
    /// a plus.
    fn parse(text: &str, patience: Duration) -> Result<Self> {
        // The text may hold a password, so only what is wrong with it is shown.
        let refuse = |why: String| {
            Error::new(ErrorKind::Configuration, format!("the URL of the database cannot be read: {why}"))
                .hint("it is spelt mysql://USER:PASSWORD@HOST:PORT/DATABASE, with `:`, `/`, `@` and `%` in a part as %3A, %2F, %40, %25")
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| refuse("it has no `://`".to_owned()))?;
        match scheme.split_once('+').map_or(scheme, |(scheme, _driver)| scheme) {
            "mysql" | "mariadb" => {}
            other => return Err(refuse(format!("`{other}` is not a scheme of MySQL or MariaDB"))),
        }
        let mut url = Url::parse(&format!("mysql://{rest}")).map_err(|e| refuse(e.to_string()))?;
        let parameters: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        url.set_query(None);
        if url.host_str().is_none_or(str::is_empty) {
            return Err(refuse("it names no host".to_owned()));
        }
        let opts = Opts::from_url(url.as_str()).map_err(|e| refuse(e.to_string()))?;
        let Some(database) = opts.db_name().filter(|name| !name.is_empty()).map(str::to_owned) else {
            return Err(refuse("it names no database".to_owned()));
        };
        let mut place = format!("mysql({}:{}/{database})", opts.ip_or_hostname(), opts.tcp_port());
        let mut connect_timeout = CONNECT_TIMEOUT;
        let mut ours = None;
        let (mut tls, mut authority, mut certificate, mut key) = (None, None, None, None);
        let mut socket = None;
        for (name, value) in parameters {
            match name.as_str() {
                "connect_timeout" => {
                    let seconds =
                        value.parse().map_err(|_| refuse("`connect_timeout` is no number".to_owned()))?;
                    connect_timeout = Duration::from_secs(seconds);
                }
                "ssl_mode" | "ssl-mode" => tls = Some(value.to_ascii_lowercase()),
                "ssl_ca" | "ssl-ca" => authority = Some(value),
                "ssl_cert" | "ssl-cert" => certificate = Some(value),
                "ssl_key" | "ssl-key" => key = Some(value),
                // What is beside Airflow's database, where it may not have the usual name.
                "beside" => ours = Some(value),
                "unix_socket" => {
                    place = format!("mysql({value}/{database})");
                    socket = Some(value);
                }
                // Text is always that.
                "charset" if value.starts_with("utf8") => {}
                _ => return Err(refuse(format!("unknown option `{name}`"))),
            }
        }
        // The driver would tell with the first connection that some file is not there.
        for (name, file) in [("ssl_ca", &authority), ("ssl_cert", &certificate), ("ssl_key", &key)] {
            if let Some(file) = file {
                std::fs::read(file).map_err(|e| {
                    let what = format!("`{name}` in the URL of the database: {file} cannot be read: {e}");
                    Error::new(ErrorKind::Configuration, what)
                        .hint("name a file in PEM that this user may read")
                })?;
            }
        }
        let mode = tls
            .unwrap_or_else(|| if authority.is_some() { "verify_identity" } else { "disabled" }.to_owned());
        let ssl = SslOpts::default();
        let ssl = match mode.as_str() {
            "disabled" => None,
            "required" => {
                Some(ssl.with_danger_accept_invalid_certs(true).with_danger_skip_domain_validation(true))
            }
            // The driver knows a certificate for another name by a word of the error, which is there only if it is in the
            // name that was asked for.
            "verify_ca" => Some(
                ssl.with_danger_skip_domain_validation(true)
                    .with_danger_tls_hostname_override(Some("NotValidForName.invalid")),
            ),
            "verify_identity" => Some(ssl),
            other => return Err(refuse(format!("`{other}` is no `ssl_mode`"))),
        };
        let ssl = match authority {
            Some(file) => ssl.map(|ssl| {
                ssl.with_root_certs(vec![std::path::PathBuf::from(file).into()])
                    .with_disable_built_in_roots(true)
            }),
            None => ssl,
        };
        let file = |path: String| std::path::PathBuf::from(path).into();
        let ssl = match (certificate, key) {
            (None, None) => ssl,
            (Some(certificate), Some(key)) => {
                let identity = ClientIdentity::new(file(certificate), file(key));
                ssl.map(|ssl| ssl.with_client_identity(Some(identity)))
            }
            _ => return Err(refuse("it names one of `ssl_cert` and `ssl_key` without the other".to_owned())),
        };
        let opts = OptsBuilder::from_opts(opts)
            .ssl_opts(ssl)
            .prefer_socket(socket.is_some())
            .socket(socket)
            .client_found_rows(true)
            .stmt_cache_size(PREPARED)
            .max_allowed_packet(Some(LARGEST_PACKET))
            .wait_timeout(Some(patience.as_secs() as usize))
            // A peer that is gone without a word is noticed within this time.
            .tcp_keepalive(Some(patience));
        let locked = (patience * 2 / 3).as_secs().max(1);
        let session = format!("{SESSION}{locked}{TABLE_LOCK}{locked}{NO_MEMORY}");
        Ok(Self { opts: opts.into(), session, connect_timeout, place, database, ours, beside: None })
    }
}
