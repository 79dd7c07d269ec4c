//! A real Apache Airflow to compare with: a virtual environment under `target/python`, made by the first
//! test that needs it and found ready by all others, and by the bench.
//!
//! It needs Python 3.10 or newer and the package index that `pip` or `uv` is set up for. Where there is
//! none, a test skips with the reason that it gets from here.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The version that Excom compares itself with.
pub const AIRFLOW: &str = "3.3.2";

/// Names another release, by which `cargo xtask prove attached` has older ones make their databases.
const OTHER_AIRFLOW: &str = "EXCOM_TEST_AIRFLOW";

/// The release of Airflow that tests work with: 3.3.2, unless a proof named an older one.
#[must_use]
pub fn airflow_release() -> String {
    std::env::var(OTHER_AIRFLOW).unwrap_or_else(|_| AIRFLOW.to_owned())
}

/// What the environment has: Airflow with its task SDK, its object storage backend with all compressions, and
/// numpy for its scalars.
const PACKAGES: [&str; 5] =
    ["apache-airflow==3.3.2", "apache-airflow-providers-common-io==1.11.0", "lz4", "numpy", "zstandard"];

/// The release of what tries an API out.
const SCHEMATHESIS: &str = "4.32.5";

/// A Python that can import Airflow.
#[derive(Debug, Clone)]
pub struct Python {
    program: PathBuf,
    home: PathBuf,
    /// What leads Airflow to another database than the file in its home.
    database: Vec<(&'static str, OsString)>,
}

/// What SQLAlchemy needs to speak to PostgreSQL.
const POSTGRES: [&str; 2] = ["asyncpg", "psycopg2-binary"];

/// What it needs to speak to MySQL and MariaDB.
const MYSQL: [&str; 2] = ["PyMySQL", "aiomysql"];

/// Airflow asks for the driver `mysqlclient`, which has to be compiled; that of Python alone stands in for it.
const MYSQLDB: &str = "import sys
import pymysql.converters
pymysql.converters.DateTime2literal = pymysql.converters.escape_datetime
sys.modules['MySQLdb.converters'] = pymysql.converters
sys.modules['MySQLdb'] = pymysql
";

impl Python {
    /// The environment with Airflow, which is made first where it is not there yet. Takes minutes then,
    /// and tests that ask for it meanwhile wait, also those of other processes.
    ///
    /// # Errors
    /// Why there is none: the reason for which a test skips.
    pub fn with_airflow() -> Result<Self, String> {
        let environment = match std::env::var(OTHER_AIRFLOW) {
            Ok(release) => {
                let airflow = format!("apache-airflow=={release}");
                environment(&format!("airflow-{release}"), &[airflow.as_str()])?
            }
            Err(_) => environment(&format!("airflow-{AIRFLOW}"), &PACKAGES)?,
        };
        let home = environment.with_file_name("home");
        fs::create_dir_all(&home).map_err(|error| unwritable(&home, &error))?;
        Ok(Self { program: program(&environment), home, database: Vec::new() })
    }

    /// The same, with its metadata database on a PostgreSQL server, `postgresql://…`.
    ///
    /// # Errors
    /// Why there are no drivers for it.
    pub fn on_postgres(mut self, url: &str) -> Result<Self, String> {
        let drivers = site_packages(&environment("postgres-drivers", &POSTGRES)?)?;
        let by = |driver: &str, url: &str| {
            OsString::from(url.replacen("postgresql", &format!("postgresql+{driver}"), 1))
        };
        // Options behind a question mark are libpq's.
        let plain = by("asyncpg", url.split('?').next().unwrap_or(url));
        self.database = vec![
            ("PYTHONPATH", drivers.into_os_string()),
            ("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", by("psycopg2", url)),
            ("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC", plain),
        ];
        Ok(self)
    }

    /// The same, with its metadata database on a MySQL or MariaDB server, `mysql://…`.
    ///
    /// # Errors
    /// Why there are no drivers for it.
    pub fn on_mysql(mut self, url: &str) -> Result<Self, String> {
        let environment = environment("mysql-drivers", &MYSQL)?;
        let drivers = site_packages(&environment)?;
        fs::write(drivers.join("MySQLdb.py"), MYSQLDB).map_err(|error| unwritable(&drivers, &error))?;
        let by = |driver: &str| url.replacen("mysql", &format!("mysql+{driver}"), 1);
        self.database = vec![
            ("PYTHONPATH", drivers.into_os_string()),
            // Airflow's migrations hand several statements over at once, which this flag of the protocol allows.
            (
                "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
                (by("pymysql") + "?charset=utf8mb4&client_flag=65536").into(),
            ),
            ("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC", (by("aiomysql") + "?charset=utf8mb4").into()),
        ];
        Ok(self)
    }

    /// The same, with its metadata database in an SQLite file.
    pub fn on_sqlite(mut self, file: &Path) -> Self {
        let mut url = OsString::from("sqlite:///");
        url.push(file);
        self.database = vec![("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", url)];
        self
    }

    /// A command that runs Python code in UTC, with an empty Airflow home. What the code prints is beside
    /// what Airflow prints, so it hands results over in files.
    pub fn run(&self, code: &str) -> Command {
        let mut command = self.python();
        command.args(["-c", code]);
        command
    }

    /// The same for a file with code, or a folder with its `__main__.py`.
    pub fn run_file(&self, file: &Path) -> Command {
        let mut command = self.python();
        command.arg(file);
        command
    }

    fn python(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env("TZ", "UTC").env("AIRFLOW_HOME", &self.home).stdin(Stdio::null());
        command.envs(self.database.iter().cloned());
        command
    }

    /// Runs Airflow's own command to its end, in UTC, with `home` as its home: its DAGs are in `home/dags`,
    /// its database is the SQLite file `home/airflow.db`.
    ///
    /// # Errors
    /// Why it did not end well: the last line that it said.
    pub fn airflow(&self, home: &Path, arguments: &[&str]) -> Result<(), String> {
        succeeds(&mut self.airflow_command(home, arguments))
    }

    /// The same command, for what does not end by itself.
    pub fn airflow_command(&self, home: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        // A setting of the surroundings could lead it to a database that somebody uses.
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"AIRFLOW_"))
        {
            command.env_remove(name);
        }
        command.args(["-m", "airflow"]).args(arguments);
        command.env("TZ", "UTC").env("AIRFLOW_HOME", home).env("AIRFLOW__CORE__LOAD_EXAMPLES", "False");
        // A DAG whose file takes longer to import is left out; here many tests share few processors.
        command.env("AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT", "300");
        command.envs(self.database.iter().cloned());
        command
    }
}

/// The command that sends requests as an OpenAPI document describes them, `st`; it is installed first where it is not
/// yet, as Airflow is.
///
/// # Errors
/// As [`Python::with_airflow`].
pub fn schemathesis() -> Result<Command, String> {
    let release = format!("schemathesis=={SCHEMATHESIS}");
    let environment = environment(&format!("schemathesis-{SCHEMATHESIS}"), &[release.as_str()])?;
    let mut command = Command::new(environment.join("bin/st"));
    command.stdin(Stdio::null());
    Ok(command)
}

/// Where the packages of a virtual environment are.
fn site_packages(environment: &Path) -> Result<PathBuf, String> {
    let folder = environment.join("lib");
    let version = fs::read_dir(&folder).ok().and_then(|mut found| found.next()?.ok());
    let version = version.ok_or_else(|| format!("{} is empty", folder.display()))?;
    Ok(version.path().join("site-packages"))
}

/// A virtual environment under `target/python` with some packages, which is made first where it is not there
/// yet; also other processes wait meanwhile.
pub(crate) fn environment(name: &str, packages: &[&str]) -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/python");
    installed(&folder, name, &packages.join("\n"), |environment| install(environment, packages))
}

/// A folder with something installed, which is done first where it was not yet, by one process at a time.
pub(crate) fn installed(
    folder: &Path,
    name: &str,
    what: &str,
    install: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let why = |error: io::Error| unwritable(folder, &error);
    fs::create_dir_all(folder).map_err(why)?;
    let folder = folder.canonicalize().map_err(why)?;
    let lock = File::create(folder.join(format!("{name}.lock"))).map_err(why)?;
    lock.lock().map_err(why)?;
    let place = folder.join(name);
    // Written last, so an installation that was interrupted is done again.
    let mark = place.join("installed.txt");
    if fs::read_to_string(&mark).ok().as_deref() != Some(what) {
        install(&place)?;
        fs::write(&mark, what).map_err(why)?;
    }
    Ok(place)
}

fn unwritable(folder: &Path, error: &io::Error) -> String {
    format!("{} cannot be written: {error}", folder.display())
}

fn program(environment: &Path) -> PathBuf {
    environment.join("bin/python")
}

fn install(environment: &Path, packages: &[&str]) -> Result<(), String> {
    let python = program(environment);
    if succeeds(Command::new("uv").arg("--version")).is_ok() {
        if !python.exists() {
            succeeds(Command::new("uv").arg("venv").arg("--quiet").arg(environment))?;
        }
        let install =
            [OsStr::new("pip"), OsStr::new("install"), OsStr::new("--quiet"), OsStr::new("--python")];
        return succeeds(Command::new("uv").args(install).arg(&python).args(packages));
    }
    if !python.exists() {
        succeeds(Command::new("python3").args(["-m", "venv"]).arg(environment))?;
    }
    succeeds(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(packages))
}

/// Whether a command ends well; otherwise the last line that it said.
pub(crate) fn succeeds(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("no `{name}`: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it says nothing");
    Err(format!("`{name}` ended with {}: {last}", output.status))
}
