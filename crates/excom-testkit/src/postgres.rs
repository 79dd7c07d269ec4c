//! A real PostgreSQL for a test: a server of its own in a temporary folder on a free port.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::{Result, port};

/// How long a server may take to be ready.
const START_LIMIT: Duration = Duration::from_secs(60);

/// The name and the password of the superuser.
const USER: &str = "excom";
const PASSWORD: &str = "se cret/%";

/// Runs the server in a folder, again whenever it ends, as long as its own standard input is open, so that neither a
/// server nor a folder outlives its test, however that ends. A line there is a signal for the server. SIGINT ends the
/// sessions that are still open.
const KEEPER: &str = r#"
folder=$1; shift
send() { kill -s "$1" "$(head -n 1 "$folder/data/postmaster.pid")"; }
: > "$folder/run"
while [ -e "$folder/run" ]; do "$@"; sleep 0.1; done & loop=$!
while read -r signal; do send "$signal"; done
rm "$folder/run"; send INT; wait $loop; rm -rf "$folder""#;

/// A running server. It ends when it is dropped.
#[derive(Debug)]
pub struct Postgres {
    keeper: Child,
    orders: Mutex<Option<ChildStdin>>,
    port: u16,
    folder: PathBuf,
}

/// How a server is stopped, in the words of `pg_ctl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Transactions are rolled back, and sessions told so.
    Fast,
    /// Nothing is put in order, as in a crash, but sessions are told.
    Immediate,
}

/// The user as whom a server runs, because none runs as root: the ids of a user and its group.
#[derive(Debug, Clone, Copy)]
struct Account {
    user: u32,
    group: u32,
}

impl Postgres {
    /// Whether PostgreSQL is installed; what is missing, otherwise.
    ///
    /// # Errors
    /// What is missing, for the line that counts the test as skipped.
    pub fn available() -> Result<(), String> {
        programs().map(drop)
    }

    /// Makes a database in a temporary folder and starts a server for it, which waits for no disk: tests kill
    /// servers, not machines.
    ///
    /// # Errors
    /// When there is no PostgreSQL, or it does not start; with what it said.
    pub fn start() -> Result<Self> {
        Self::start_with(&["fsync=off"])
    }

    /// The same, with settings as `postgres -c` takes them. Without any it is as it comes, for measuring.
    ///
    /// # Errors
    /// As [`Postgres::start`].
    pub fn start_with(settings: &[&str]) -> Result<Self> {
        let programs = programs()?;
        let folder = tempfile::tempdir()?;
        let account = account(folder.path())?;
        if let Some(account) = account {
            chown(folder.path(), Some(account.user), Some(account.group))?;
        }
        let data = folder.path().join("data");
        let password = folder.path().join("password");
        fs::write(&password, PASSWORD)?;
        let mut initdb = command(programs.join("initdb"), account);
        initdb.arg("--pgdata").arg(&data).arg("--pwfile").arg(&password);
        initdb.args(["--username", USER, "--auth", "scram-sha-256", "--encoding", "UTF8", "--no-locale"]);
        initdb.arg("--no-sync");
        let made = initdb.stdin(Stdio::null()).output()?;
        if !made.status.success() {
            return Err(format!("initdb failed: {}", String::from_utf8_lossy(&made.stderr)).into());
        }
        let port = port::free()?;
        let log = folder.path().join("log");
        let mut keeper = serve(&programs, account, folder.path(), port, &log, settings)?;
        let orders = Mutex::new(keeper.stdin.take());
        // From here on the keeper removes the folder.
        let folder = folder.keep();
        let server = Self { keeper, orders, port, folder };
        if !server.is_ready()? {
            let log = fs::read_to_string(server.folder.join("log"))?;
            return Err(format!("the server did not start: {log}").into());
        }
        Ok(server)
    }

    /// Kills the server like a crash, and waits until it has started again.
    ///
    /// # Errors
    /// When it does not start again.
    pub fn crash(&self) -> Result<()> {
        self.signalled("KILL")
    }

    /// Stops the server, and waits until it has started again.
    ///
    /// # Errors
    /// When it does not start again.
    pub fn restart(&self, stop: Stop) -> Result<()> {
        self.signalled(match stop {
            Stop::Fast => "INT",
            Stop::Immediate => "QUIT",
        })
    }

    fn signalled(&self, signal: &str) -> Result<()> {
        let before = self.process();
        if let Some(orders) = &mut *self.orders.lock().unwrap_or_else(PoisonError::into_inner) {
            writeln!(orders, "{signal}")?;
        }
        let began = Instant::now();
        while self.process() == before && began.elapsed() < START_LIMIT {
            std::thread::sleep(Duration::from_millis(20));
        }
        if self.is_ready()? { Ok(()) } else { Err("the server did not start again".into()) }
    }

    /// The id of the server's process, as it notes it.
    fn process(&self) -> Option<String> {
        let noted = fs::read_to_string(self.folder.join("data/postmaster.pid")).ok()?;
        noted.lines().next().map(str::to_owned)
    }

    fn is_ready(&self) -> Result<bool> {
        let programs = programs()?;
        let began = Instant::now();
        while began.elapsed() < START_LIMIT {
            let mut ask = Command::new(programs.join("pg_isready"));
            ask.args(["--quiet", "--host", "127.0.0.1", "--port", &self.port.to_string()]);
            if ask.status()?.success() {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(false)
    }

    /// The URL of a database of the server; `postgres` exists from the beginning.
    pub fn url(&self, database: &str) -> String {
        format!("postgresql://{USER}:se%20cret%2F%25@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }

    /// Runs statements as the superuser, and returns what they print: a line for a row, columns apart by `|`.
    ///
    /// # Errors
    /// What the server said.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String> {
        Self::run(&self.url(database), sql)
    }

    /// The same by a URL.
    ///
    /// # Errors
    /// What the server said.
    pub fn run(url: &str, sql: &str) -> Result<String> {
        psql(url, sql, Stdio::null())
    }

    /// Fills a table from a file as `COPY` reads it: a line for a row, columns apart by tabs.
    ///
    /// # Errors
    /// What the server said.
    pub fn copy(&self, database: &str, table: &str, rows: fs::File) -> Result<()> {
        psql(&self.url(database), &format!("COPY {table} FROM STDIN"), rows.into()).map(drop)
    }

    /// Runs a script with pgbench for some seconds, in prepared statements of so many clients, and returns how often it
    /// ran in a second. Variables are texts or numbers.
    ///
    /// # Errors
    /// When there is no pgbench, or the script fails; with what it said.
    pub fn pgbench(
        &self,
        database: &str,
        script: &str,
        variables: &[(&str, &str)],
        clients: usize,
        seconds: u32,
    ) -> Result<f64> {
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), script)?;
        let mut pgbench = Command::new(programs()?.join("pgbench"));
        pgbench.args(["--no-vacuum", "--protocol", "prepared", "--client", &clients.to_string()]);
        pgbench.args(["--time", &seconds.to_string()]).arg("--file").arg(file.path());
        for (name, value) in variables {
            pgbench.arg("--define").arg(format!("{name}={value}"));
        }
        let done = pgbench.arg(self.url(database)).stdin(Stdio::null()).output()?;
        let said = String::from_utf8(done.stdout)?;
        let rate = said.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next());
        match rate.filter(|_| done.status.success()) {
            Some(rate) => Ok(rate.parse()?),
            None => Err(format!("pgbench failed: {}", String::from_utf8_lossy(&done.stderr)).into()),
        }
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The name of the superuser.
    pub(crate) fn user(&self) -> &'static str {
        USER
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

impl Drop for Postgres {
    fn drop(&mut self) {
        // The end of its input tells the keeper to end the server.
        drop(self.orders.lock().unwrap_or_else(PoisonError::into_inner).take());
        drop(self.keeper.wait());
    }
}

fn psql(url: &str, sql: &str, input: Stdio) -> Result<String> {
    let mut psql = Command::new(programs()?.join("psql"));
    psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "-v", "ON_ERROR_STOP=1"]);
    psql.args(["--dbname", url, "--command", sql]);
    let done = psql.stdin(input).output()?;
    if !done.status.success() {
        return Err(format!("`{sql}` failed: {}", String::from_utf8_lossy(&done.stderr)).into());
    }
    Ok(String::from_utf8(done.stdout)?.trim_end().to_owned())
}

fn serve(
    programs: &Path,
    account: Option<Account>,
    folder: &Path,
    port: u16,
    log: &Path,
    settings: &[&str],
) -> Result<Child> {
    let log = fs::File::create(log)?;
    let mut keeper = command("sh", account);
    keeper
        .args(["-c", KEEPER, "sh"])
        .arg(folder)
        .arg(programs.join("postgres"))
        .arg("-D")
        .arg(folder.join("data"))
        .arg("-k")
        .arg(folder);
    keeper.args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
    keeper.args(settings.iter().flat_map(|setting| ["-c", setting]));
    keeper.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
    Ok(keeper.spawn()?)
}

/// The folder with PostgreSQL's programs: on the `PATH`, or where Debian and its kin put them.
fn programs() -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = installed.map(|version| version.path().join("bin")).collect();
    // The newest version first, but what is on the path before all.
    folders.sort();
    folders.extend(std::env::split_paths(&path).collect::<Vec<_>>().into_iter().rev());
    let found = folders.into_iter().rev().find(|folder| {
        ["initdb", "postgres", "pg_isready", "psql"].iter().all(|program| folder.join(program).is_file())
    });
    found.ok_or_else(|| "PostgreSQL (initdb, postgres, pg_isready, psql) is not installed".to_owned())
}

/// As whom the server runs: as this user, unless it is root, which owns what it makes.
fn account(made: &Path) -> Result<Option<Account>> {
    if fs::metadata(made)?.uid() != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd")?;
    for name in ["postgres", "nobody"] {
        let mut lines = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
        if let Some(line) = lines.find(|line| line.first() == Some(&name))
            && let [_, _, user, group, ..] = line[..]
        {
            return Ok(Some(Account { user: user.parse()?, group: group.parse()? }));
        }
    }
    Err("PostgreSQL does not run as root, and there is no user `postgres` or `nobody`".into())
}

fn command(program: impl AsRef<OsStr>, account: Option<Account>) -> Command {
    let Some(Account { user, group }) = account else { return Command::new(program) };
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &user.to_string(), "--regid", &group.to_string(), "--clear-groups", "--"]);
    command.arg(program);
    // Root's own folder may be closed to the other user.
    command.current_dir("/");
    command
}
