//! What is loaded: a PostgreSQL and an S3, each behind a proxy, and two servers on both, one of them behind a proxy too.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::faults::{Kind, RESTARTED};
use crate::postgres::{Postgres, Stop};
use crate::proxy::{Proxy, Weather};
use crate::s3::{BUCKET, S3};
use crate::{Result, port};

/// How many servers there are.
pub(super) const SERVERS: usize = 2;

/// How long a server may take to be ready, or to end.
const PATIENCE: Duration = Duration::from_secs(90);

/// After what time a push that did not end counts as abandoned, and how long the bytes of earlier versions are kept.
pub(super) const ABANDONED_AFTER: Duration = Duration::from_secs(20);

const SECRET: &str = "a secret of the proof, long enough";

/// Everything that is loaded. It ends when it is dropped.
pub(super) struct Site {
    // The servers first: they use the others.
    servers: [Mutex<Server>; SERVERS],
    clients: Proxy,
    database: Proxy,
    store: Proxy,
    pub(super) postgres: Postgres,
    pub(super) s3: S3,
    excom: PathBuf,
    environment: Vec<(String, String)>,
    folder: TempDir,
}

/// A server: where it is, and its process while it has one.
struct Server {
    port: u16,
    process: Option<Child>,
}

impl Site {
    /// Starts everything, with the `excom` command that is given.
    pub(super) fn start(excom: &Path, seed: u64) -> Result<Self> {
        S3::available()?;
        let (postgres, s3) = (Postgres::start()?, S3::start()?);
        let (database, store) =
            (Proxy::start(postgres.port(), false, seed)?, Proxy::start(s3.port(), true, seed)?);
        let url = postgres
            .url("postgres")
            .replace(&format!(":{}/", postgres.port()), &format!(":{}/", database.port()));
        let age = format!("{}s", ABANDONED_AFTER.as_secs());
        let path = format!("s3://{BUCKET}/soak");
        let set = [
            ("DATABASE__URL", &*url),
            ("CORE__XCOM_BACKEND", "object_storage"),
            ("COMMON_IO__XCOM_OBJECTSTORAGE_PATH", &path),
            ("SERVER__TOKEN_SECRET", SECRET),
            ("XCOM__INLINE_LIMIT", "16KiB"),
            ("XCOM__ABANDONED_AFTER", &age),
            ("XCOM__HISTORY_BYTES", &age),
        ];
        let mut environment = s3.options_through(store.port());
        environment.extend(set.map(|(name, text)| (format!("EXCOM__{name}"), text.to_owned())));
        let ports = [port::free()?, port::free()?];
        let clients = Proxy::start(ports[RESTARTED], false, seed)?;
        let servers = ports.map(|port| Mutex::new(Server { port, process: None }));
        let folder = tempfile::tempdir()?;
        let excom = excom.to_owned();
        let site = Self { servers, clients, database, store, postgres, s3, excom, environment, folder };
        for server in 0..SERVERS {
            site.start_server(server)?;
        }
        Ok(site)
    }

    fn server(&self, server: usize) -> MutexGuard<'_, Server> {
        self.servers[server].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.excom);
        command.env_clear().envs(self.environment.clone()).current_dir(self.folder.path());
        command.stdin(Stdio::null()).args(["--home", "home"]);
        command
    }

    /// A file of a server.
    fn file(&self, server: usize, name: &str) -> PathBuf {
        self.folder.path().join(format!("server_{server}.{name}"))
    }

    /// Starts a server, and waits until it is ready.
    fn start_server(&self, server: usize) -> Result<()> {
        let mut command = self.command();
        command.arg("serve").env("EXCOM__SERVER__ACCESS_LOG", self.file(server, "access"));
        let port = {
            let mut started = self.server(server);
            command.args(["--listen", &format!("127.0.0.1:{}", started.port)]);
            let log = File::options().create(true).append(true).open(self.file(server, "log"))?;
            started.process = Some(command.stdout(log.try_clone()?).stderr(log).spawn()?);
            started.port
        };
        let begun = Instant::now();
        while !is_ready(port) {
            let ended = self.server(server).process.as_mut().map(Child::try_wait).transpose()?.flatten();
            if ended.is_some() || begun.elapsed() > PATIENCE {
                return Err(format!("server {server} is not ready ({ended:?}): {}", self.log(server)).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Sends a signal to a server.
    fn signal(&self, server: usize, signal: Signal) -> Result<()> {
        let id = self.process(server).ok_or("the server has no process")?;
        let id = i32::try_from(id).ok().and_then(Pid::from_raw).ok_or("a process without an id")?;
        Ok(kill_process(id, signal)?)
    }

    /// Ends a server by a signal; how it ended.
    fn end_server(&self, server: usize, signal: Signal) -> Result<ExitStatus> {
        self.signal(server, signal)?;
        let begun = Instant::now();
        loop {
            let mut ended = self.server(server);
            if let Some(process) = &mut ended.process
                && let Some(status) = process.try_wait()?
            {
                ended.process = None;
                return Ok(status);
            }
            drop(ended);
            if begun.elapsed() > PATIENCE {
                return Err(format!("server {server} does not end with {signal:?}").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Does a fault, and ends it again.
    pub(super) fn suffer(&self, kind: Kind, lasts: Duration) -> Result<()> {
        let weather = |proxy: &Proxy, weather| {
            proxy.set(weather);
            std::thread::sleep(lasts);
            proxy.set(Weather::Fair);
            Ok(())
        };
        match kind {
            Kind::DatabaseCut => self.database.settle(),
            Kind::DatabaseFoul => weather(&self.database, Weather::Foul),
            Kind::DatabaseStalled => weather(&self.database, Weather::Silent),
            Kind::DatabaseRefused => weather(&self.database, Weather::Away),
            Kind::DatabaseFast => self.postgres.restart(Stop::Fast),
            Kind::DatabaseImmediate => self.postgres.restart(Stop::Immediate),
            Kind::DatabaseKilled => self.postgres.crash(),
            Kind::StoreCut => self.store.settle(),
            Kind::StoreFoul => weather(&self.store, Weather::Foul),
            Kind::StoreStalled => weather(&self.store, Weather::Silent),
            Kind::StoreRefused => weather(&self.store, Weather::Away),
            Kind::ClientsFoul => weather(&self.clients, Weather::Foul),
            Kind::ServerKilled => {
                let status = self.end_server(RESTARTED, Signal::KILL)?;
                if status.signal() != Some(Signal::KILL.as_raw()) {
                    return Err(format!("server {RESTARTED} had ended by itself with {status}").into());
                }
                std::thread::sleep(lasts / 3);
                self.start_server(RESTARTED)
            }
            Kind::ServerDrained => {
                self.drain(RESTARTED)?;
                std::thread::sleep(lasts / 3);
                self.start_server(RESTARTED)
            }
            Kind::HungUp => {
                for server in 0..SERVERS {
                    // As logrotate does it.
                    fs::rename(self.file(server, "access"), self.file(server, "access.1"))?;
                    self.signal(server, Signal::HUP)?;
                }
                let begun = Instant::now();
                while !(0..SERVERS).all(|server| self.file(server, "access").exists()) {
                    if begun.elapsed() > PATIENCE {
                        return Err("no new access log after SIGHUP".into());
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
                Ok(())
            }
        }
    }

    /// Tells a server to stop, which it must do in order.
    pub(super) fn drain(&self, server: usize) -> Result<()> {
        let status = self.end_server(server, Signal::TERM)?;
        let log = self.log(server);
        if !status.success() || log.contains("were cut off") {
            return Err(format!("server {server} stopped with {status}: {log}").into());
        }
        Ok(())
    }

    /// The port on 127.0.0.1 by which clients reach a server.
    pub(super) fn port(&self, server: usize) -> u16 {
        if server == RESTARTED { self.clients.port() } else { self.server(server).port }
    }

    /// The id of a server's process.
    pub(super) fn process(&self, server: usize) -> Option<u32> {
        self.server(server).process.as_ref().map(Child::id)
    }

    /// The end of what a server said.
    pub(super) fn log(&self, server: usize) -> String {
        let said = fs::read_to_string(self.file(server, "log")).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Keeps what the servers said, for whoever looks for a cause: the folder.
    pub(super) fn keep_logs(&mut self) -> &Path {
        self.folder.disable_cleanup(true);
        self.folder.path()
    }

    /// Panics that servers told.
    pub(super) fn panics(&self) -> Vec<String> {
        let said = |server| fs::read_to_string(self.file(server, "log")).unwrap_or_default();
        let panicked = |said: String| -> Vec<String> {
            said.lines().filter(|line| line.contains("panicked at")).map(str::to_owned).collect()
        };
        (0..SERVERS).flat_map(|server| panicked(said(server))).collect()
    }

    /// The output of the command, and whether it went well.
    pub(super) fn excom(&self, arguments: &[&str]) -> Result<(bool, String)> {
        let output = self.command().args(arguments).output()?;
        let told = if output.stdout.is_empty() { output.stderr } else { output.stdout };
        Ok((output.status.success(), String::from_utf8_lossy(&told).trim_end().to_owned()))
    }

    /// A number that the database tells, not through the proxy.
    pub(super) fn number(&self, sql: &str) -> Result<u64> {
        Ok(self.postgres.sql("postgres", sql)?.parse()?)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for server in 0..SERVERS {
            if let Some(process) = &mut self.server(server).process {
                // Both fail when it has ended and was waited for.
                drop(process.kill());
                drop(process.wait());
            }
        }
    }
}

/// Whether a server says that it is ready.
fn is_ready(port: u16) -> bool {
    use std::io::{Read as _, Write as _};
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /health/ready HTTP/1.1\r\nhost: excom\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}
