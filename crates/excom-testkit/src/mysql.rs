//! A real MariaDB for a test: a server of its own in a temporary folder on a free port. It is the system's; where it is
//! missing and the test runs as root, `apt-get` installs it.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::{Result, port, system};

/// How long a server may take to be ready.
const START_LIMIT: Duration = Duration::from_secs(60);

/// The name and the password of the superuser.
const USER: &str = "excom";
const PASSWORD: &str = "se cret/%";

/// Runs the server in a folder, again whenever it ends, as long as its own standard input is open, so that neither a
/// server nor a folder outlives its test, however that ends. A line there is a signal for the server.
const KEEPER: &str = r#"
folder=$1; shift
: > "$folder/run"
while [ -e "$folder/run" ]; do "$@" & echo $! > "$folder/pid"; wait $!; sleep 0.1; done & loop=$!
while read -r signal; do kill -s "$signal" "$(cat "$folder/pid")"; done
rm "$folder/run"; kill -s KILL "$(cat "$folder/pid")"; wait $loop; rm -rf "$folder""#;

/// A running server. It ends when it is dropped.
#[derive(Debug)]
pub struct Mysql {
    keeper: Child,
    orders: Mutex<Option<ChildStdin>>,
    port: u16,
    folder: PathBuf,
}

/// The programs of an installation.
#[derive(Debug)]
struct Programs {
    server: PathBuf,
    install: PathBuf,
    client: PathBuf,
}

impl Mysql {
    /// Whether MariaDB is installed; what is missing, otherwise.
    ///
    /// # Errors
    /// What is missing, for the line that counts the test as skipped.
    pub fn available() -> Result<(), String> {
        programs().map(drop)
    }

    /// Makes a data folder in a temporary folder and starts a server for it.
    ///
    /// # Errors
    /// When there is no MariaDB, or it does not start; with what it said.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// The same, with options of the server's.
    ///
    /// # Errors
    /// As [`Mysql::start`].
    pub fn start_with(options: &[&str]) -> Result<Self> {
        let programs = programs()?;
        let folder = tempfile::tempdir()?;
        let account = account(folder.path())?;
        if let Some((user, group, _)) = &account {
            chown(folder.path(), Some(*user), Some(*group))?;
        }
        let user = account.as_ref().map(|(_, _, name)| name.as_str());
        let data = folder.path().join("data");
        let mut install = command(&programs.install, user);
        install.arg("--no-defaults").arg(format!("--datadir={}", data.display()));
        install.args(["--auth-root-authentication-method=normal", "--skip-test-db"]);
        // A server that starts removes what others have in a temporary folder that they share.
        install.env("TMPDIR", folder.path());
        let made = install.stdin(Stdio::null()).output()?;
        if !made.status.success() {
            let said = [made.stdout, made.stderr].concat();
            return Err(format!("mariadb-install-db failed: {}", String::from_utf8_lossy(&said)).into());
        }
        let init = folder.path().join("init.sql");
        fs::write(
            &init,
            format!(
                "CREATE USER IF NOT EXISTS {USER}@'%' IDENTIFIED BY '{PASSWORD}';
                 GRANT ALL ON *.* TO {USER}@'%' WITH GRANT OPTION;
                 CREATE DATABASE IF NOT EXISTS excom CHARACTER SET latin1;"
            ),
        )?;
        if let Some((user, group, _)) = &account {
            chown(&init, Some(*user), Some(*group))?;
        }
        let port = port::free()?;
        let mut keeper = serve(&programs, user, folder.path(), port, options)?;
        let orders = Mutex::new(keeper.stdin.take());
        // From here on the keeper removes the folder.
        let folder = folder.keep();
        let server = Self { keeper, orders, port, folder };
        if !server.is_ready()? {
            return Err(server.silent("start"));
        }
        Ok(server)
    }

    /// Kills the server like a crash, and waits until it has started again.
    ///
    /// # Errors
    /// When it does not start again.
    pub fn crash(&self) -> Result<()> {
        let before = self.process();
        if let Some(orders) = &mut *self.orders.lock().unwrap_or_else(PoisonError::into_inner) {
            writeln!(orders, "KILL")?;
        }
        let began = Instant::now();
        while self.process() == before && began.elapsed() < START_LIMIT {
            std::thread::sleep(Duration::from_millis(20));
        }
        if self.is_ready()? { Ok(()) } else { Err(self.silent("start again")) }
    }

    /// Does from now on what another server does and has done, which has to keep a log and another `server-id`. What it
    /// has already it must not have made otherwise.
    ///
    /// # Errors
    /// What the server said.
    pub fn follow(&self, primary: &Self) -> Result<()> {
        let statements = format!(
            "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {}, MASTER_USER = '{USER}',
                 MASTER_PASSWORD = '{PASSWORD}', MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1;
             START SLAVE",
            primary.port
        );
        self.sql("excom", &statements).map(drop)
    }

    /// Waits until all is done that a server had done that is followed.
    ///
    /// # Errors
    /// When that does not come to its end.
    pub fn catch_up(&self, primary: &Self) -> Result<()> {
        let done = primary.sql("excom", "SELECT @@gtid_binlog_pos")?;
        let limit = START_LIMIT.as_secs();
        match &*self.sql("excom", &format!("SELECT MASTER_GTID_WAIT('{done}', {limit})"))? {
            "0" => Ok(()),
            _ => Err(format!("it is behind: {}", self.sql("excom", "SHOW SLAVE STATUS")?).into()),
        }
    }

    /// What is known of a server that did not do something: the end of its log.
    fn silent(&self, what: &str) -> crate::Error {
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(20).collect();
        format!("the server did not {what}: {lines:#?}").into()
    }

    /// The id of the server's process, as the keeper notes it.
    fn process(&self) -> Option<String> {
        fs::read_to_string(self.folder.join("pid")).ok().filter(|noted| !noted.is_empty())
    }

    fn is_ready(&self) -> Result<bool> {
        let began = Instant::now();
        while began.elapsed() < START_LIMIT {
            if self.sql("excom", "SELECT 1").is_ok() {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(false)
    }

    /// The URL of a database of the server; `excom` exists from the beginning.
    pub fn url(&self, database: &str) -> String {
        format!("mysql://{USER}:se%20cret%2F%25@127.0.0.1:{}/{database}", self.port)
    }

    /// Runs statements as the superuser, and returns what they print: a line for a row, columns apart by tabs.
    ///
    /// # Errors
    /// What the server said.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String> {
        let done = self.client(database, sql)?.output()?;
        if !done.status.success() {
            return Err(format!("`{sql}` failed: {}", String::from_utf8_lossy(&done.stderr)).into());
        }
        Ok(String::from_utf8_lossy(&done.stdout).trim_end().to_owned())
    }

    /// Begins to run statements as the superuser, for tests that end the session.
    ///
    /// # Errors
    /// When there is no client.
    pub fn session(&self, database: &str, sql: &str) -> Result<Child> {
        let mut client = self.client(database, sql)?;
        Ok(client.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
    }

    fn client(&self, database: &str, sql: &str) -> Result<Command> {
        let mut client = Command::new(programs()?.client);
        client.args([
            "--no-defaults",
            "--host=127.0.0.1",
            "--protocol=tcp",
            "--batch",
            "--skip-column-names",
        ]);
        // While the server is away, another program may listen on its port.
        client.arg("--connect-timeout=5");
        client.arg(format!("--port={}", self.port)).arg(format!("--user={USER}"));
        client.arg(format!("--password={PASSWORD}")).arg("--execute").arg(sql).arg(database);
        client.stdin(Stdio::null());
        Ok(client)
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of its data, which the user owns as whom it runs.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The password of the superuser, for tests that no message shows it.
    pub fn password(&self) -> &'static str {
        PASSWORD
    }
}

impl Drop for Mysql {
    fn drop(&mut self) {
        // The end of its input tells the keeper to end the server.
        drop(self.orders.lock().unwrap_or_else(PoisonError::into_inner).take());
        drop(self.keeper.wait());
    }
}

fn serve(
    programs: &Programs,
    user: Option<&str>,
    folder: &Path,
    port: u16,
    options: &[&str],
) -> Result<Child> {
    let log = fs::File::create(folder.join("log"))?;
    let mut keeper = Command::new("sh");
    keeper.args(["-c", KEEPER, "sh"]).arg(folder).arg(&programs.server).arg("--no-defaults");
    let named = |option: &str, path: &str| format!("--{option}={}", folder.join(path).display());
    keeper.arg(named("datadir", "data")).arg(named("socket", "socket")).arg(named("init-file", "init.sql"));
    keeper.arg(named("pid-file", "server.pid")).arg(named("tmpdir", ""));
    keeper.arg(format!("--port={port}"));
    keeper.args([
        "--bind-address=127.0.0.1",
        "--skip-name-resolve",
        "--skip-log-bin",
        "--max-connections=500",
    ]);
    // What a crash of the process loses of these, the operating system still has.
    keeper.args([
        "--innodb-flush-method=nosync",
        "--innodb-buffer-pool-size=64M",
        "--performance-schema=off",
    ]);
    keeper.args(options);
    keeper.args(user.map(|user| format!("--user={user}")));
    keeper.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log).current_dir("/");
    Ok(keeper.spawn()?)
}

/// The programs of the system.
fn programs() -> Result<Programs, String> {
    let server = system::program("mariadbd", "mariadb-server")?;
    let of = |program: &str| system::on_path(program).ok_or_else(|| format!("{program} is not installed"));
    Ok(Programs { server, install: of("mariadb-install-db")?, client: of("mariadb")? })
}

/// As whom the server runs: as this user, unless it is root, which owns what it makes.
fn account(made: &Path) -> Result<Option<(u32, u32, String)>> {
    if fs::metadata(made)?.uid() != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd")?;
    for name in ["mysql", "nobody"] {
        let mut lines = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
        if let Some(line) = lines.find(|line| line.first() == Some(&name))
            && let [_, _, user, group, ..] = line[..]
        {
            return Ok(Some((user.parse()?, group.parse()?, name.to_owned())));
        }
    }
    Err("MariaDB does not run as root, and there is no user `mysql` or `nobody`".into())
}

fn command(program: impl AsRef<OsStr>, user: Option<&str>) -> Command {
    let mut command = Command::new(program);
    command.args(user.map(|user| format!("--user={user}")));
    // Root's own folder may be closed to the other user.
    command.current_dir("/");
    command
}
