//! Airflow's own API server, on a PostgreSQL server of the same kind, as what we are compared with.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use excom_testkit::postgres::Postgres;
use excom_testkit::python::{AIRFLOW, Python};
use serde_json::Value as Json;

use super::SECRET;
use super::client::{call, started};
use crate::Place;
use crate::databases::DATABASE;
use crate::engine::{Result, THREADS, run_id};

/// What the tokens are signed with, as text.
fn secret() -> Result<&'static str> {
    Ok(std::str::from_utf8(SECRET)?)
}

/// A database of Airflow's with what is asked for, and the tokens of a task in each run.
pub(super) struct Airflow {
    python: Python,
    queued: Json,
    place: Place,
    pub(super) database: Postgres,
}

/// Its API server.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    child: Child,
}

impl Airflow {
    /// One whose first run has so many instances of the task `mapped`.
    pub(super) fn new(mapped: usize) -> Result<Self> {
        let database = Postgres::start_with(&[]).map_err(|error| error.to_string())?;
        let python = Python::with_airflow()?.on_postgres(&database.url(DATABASE))?;
        let place = Place::new()?;
        let home = place.file("airflow");
        fs::create_dir_all(&home)?;
        python.airflow(&home, &["db", "migrate"])?;
        let queued = place.file("queued.json");
        let mut prepare = python.run(include_str!("airflow.py"));
        prepare
            .arg(&queued)
            .arg(secret()?)
            .arg(mapped.to_string())
            .args((0..THREADS).map(run_id))
            .stdout(Stdio::null());
        let told = prepare.stderr(Stdio::piped()).output()?;
        if !told.status.success() {
            return Err(format!("Airflow's database: {}", String::from_utf8_lossy(&told.stderr)).into());
        }
        let queued = serde_json::from_slice(&fs::read(queued)?)?;
        Ok(Self { python, queued, place, database })
    }

    /// How many seconds Airflow's own client takes to iterate so many values of the task `mapped`, one request each.
    pub(super) fn iterates(&self, address: SocketAddr, token: &str, count: usize) -> Result<f64> {
        let took = self.place.file("took");
        let mut client = self.python.run(include_str!("iterate.py"));
        client.arg(&took).args([&format!("http://{address}"), token, &run_id(0), &count.to_string()]);
        let told = client.stdout(Stdio::null()).stderr(Stdio::piped()).output()?;
        match told.status.success() {
            true => Ok(fs::read_to_string(took)?.parse()?),
            false => Err(format!("Airflow's client: {}", String::from_utf8_lossy(&told.stderr)).into()),
        }
    }

    /// The version, for people.
    pub(super) fn name(workers: usize) -> String {
        format!("Airflow {AIRFLOW}, `airflow api-server --apps execution --workers {workers}`")
    }

    /// Starts an API server, with so many processes.
    pub(super) fn serve(&self, workers: usize) -> Result<Server> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = self.python.run("from airflow.__main__ import main; main()");
        command.args(["api-server", "--apps", "execution", "--host", "127.0.0.1"]);
        command.args(["--port", &port.to_string(), "--workers", &workers.to_string()]);
        command.env("AIRFLOW_HOME", self.place.file("airflow"));
        command.env("AIRFLOW__API_AUTH__JWT_SECRET", secret()?);
        command.env("AIRFLOW__EXECUTION_API__JWT_EXPIRATION_TIME", "7200");
        command.env("AIRFLOW__LOGGING__LOGGING_LEVEL", "ERROR");
        command.env("AIRFLOW__CORE__LOAD_EXAMPLES", "False");
        let log = File::create(self.place.file("api-server.log"))?;
        let child = command.stdout(log.try_clone()?).stderr(log).spawn()?;
        let mut server = Server { address: ([127, 0, 0, 1], port).into(), child };
        let begin = Instant::now();
        while call(server.address, "GET /execution/health", "", &Json::Null).is_err() {
            if server.child.try_wait()?.is_some() || begin.elapsed() > Duration::from_secs(120) {
                let log = fs::read_to_string(self.place.file("api-server.log")).unwrap_or_default();
                return Err(format!("Airflow's API server did not start: {log}").into());
            }
            sleep(Duration::from_millis(500));
        }
        Ok(server)
    }

    /// The token of a task that runs in each run.
    pub(super) fn tokens(&self, server: &Server) -> Result<Vec<String>> {
        let of = |thread| {
            let queued = &self.queued[run_id(thread)];
            let text = |name: &str| queued[name].as_str().unwrap_or_default().to_owned();
            started(server.address, &text("id"), &text("token"))
        };
        (0..THREADS).map(of).collect()
    }
}

impl Drop for Server {
    /// The server and the processes that it started end with SIGTERM.
    fn drop(&mut self) {
        let _ = std::process::Command::new("kill").arg(self.child.id().to_string()).status();
        let begin = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if begin.elapsed() > Duration::from_secs(20) {
                let _ = self.child.kill();
            }
            sleep(Duration::from_millis(100));
        }
    }
}
