//! `excom serve` as it is shipped, in a process of its own, with the runs and values that are asked for.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use excom_core::{Engine, Value, XComKey};
use excom_db::sqlite;
use excom_testkit::postgres::Postgres;
use serde_json::{Value as Json, json};

use super::SECRET;
use super::client::{call, started};
use crate::Place;
use crate::databases::{self, DATABASE};
use crate::engine::{Result, THREADS, fill, run_id};
use crate::system::{SystemClock, resident_of};

/// A server over a database with values.
pub(super) struct Ours {
    pub(super) address: SocketAddr,
    process: Child,
    /// A token that may do everything.
    pub(super) admin: String,
    /// Its database, when that is not a file.
    pub(super) database: Option<Postgres>,
    _place: Place,
}

impl Ours {
    /// One on a PostgreSQL server.
    pub(super) fn on_postgres(keys: &[XComKey], values: &[Value]) -> Result<Self> {
        let database = Postgres::start_with(&[]).map_err(|error| error.to_string())?;
        fill(&databases::open(&database)?, keys, values)?;
        let url = database.url(DATABASE);
        Self::serve(Place::new()?, Some(database), &[("EXCOM__DATABASE__URL", &url)])
    }

    /// One on the embedded default.
    pub(super) fn on_sqlite(keys: &[XComKey], values: &[Value]) -> Result<Self> {
        let place = Place::new()?;
        fs::create_dir_all(home(&place))?;
        let db = sqlite::Db::open(&home(&place).join("excom.db"), sqlite::Options::default())?;
        let engine = Engine::builder(Arc::new(db), Arc::new(SystemClock)).build();
        fill(&engine, keys, values)?;
        pollster::block_on(engine.close())?;
        drop(engine);
        Self::serve(place, None, &[])
    }

    fn serve(place: Place, database: Option<Postgres>, settings: &[(&str, &str)]) -> Result<Self> {
        let program = std::env::current_exe()?.with_file_name("excom");
        if !program.exists() {
            return Err(
                format!("{} is not built: cargo build --release -p excom-cli", program.display()).into()
            );
        }
        let secret = std::str::from_utf8(SECRET)?;
        let mut command = Command::new(program);
        command.arg("--home").arg(home(&place)).args(["serve", "--dev", "--listen", "127.0.0.1:0"]);
        command.env_clear().env("EXCOM__SERVER__TOKEN_SECRET", secret).envs(settings.iter().copied());
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let told = process.stdout.take().ok_or("the server's output is not there")?;
        let mut lines = BufReader::new(told).lines();
        let mut line = || lines.next().ok_or("the server ended")?.map_err(Box::<dyn std::error::Error>::from);
        let address = line()?.trim_start_matches("http://").parse()?;
        let admin = line()?;
        let ours = Self { address, process, admin, database, _place: place };
        let begin = Instant::now();
        while call(address, "GET /health/ready", "", &Json::Null)?.status != 200 {
            if begin.elapsed() > Duration::from_secs(60) {
                return Err("the server is not ready after a minute".into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(ours)
    }

    /// The token of a task that runs, good for ten minutes, in each run.
    pub(super) fn tokens(&self) -> Result<Vec<String>> {
        let of = |thread| {
            let queued = json!({"dag_id": "weather", "run_id": run_id(thread), "task_id": "report"});
            let queued = call(self.address, "POST /api/excom/v1/task-instances", &self.admin, &queued)?;
            let queued: Json = serde_json::from_slice(&queued.body)?;
            let text = |name: &str| queued[name].as_str().unwrap_or_default().to_owned();
            started(self.address, &text("id"), &text("token"))
        };
        (0..THREADS).map(of).collect()
    }

    /// The memory that it has in use, in MiB.
    pub(super) fn resident(&self) -> Result<f64> {
        Ok(resident_of(self.process.id())?)
    }
}

fn home(place: &Place) -> PathBuf {
    place.file("home")
}

impl Drop for Ours {
    /// It goes before its database does.
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
