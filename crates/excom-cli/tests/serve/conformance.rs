//! A real Airflow on PostgreSQL and `excom serve`, on SQLite and on PostgreSQL, are asked the same, and answer the same but for
//! what is listed.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use excom_testkit::postgres::Postgres;
use excom_testkit::python::Python;
use excom_testkit::skip::skipped;

use crate::Served;

/// How long Airflow's server may take to be ready.
const START_LIMIT: Duration = Duration::from_secs(120);

/// What signs the tokens of both.
const SECRET: &str = "a secret of the tests, as long as HS512 wants it to be: sixty-four bytes";

/// What both are set to.
const SETTINGS: [(&str, &str); 2] =
    [("AIRFLOW__API_AUTH__JWT_SECRET", SECRET), ("AIRFLOW__CORE__MAX_MAP_LENGTH", "1024")];

/// The connections that both have in their environments.
const CONNECTIONS: [(&str, &str); 4] = [
    ("AIRFLOW_CONN_MY_DB", "postgresql://ana:p%40ss@db.example:5432/rows?sslmode=require&timeout=10"),
    ("AIRFLOW_CONN_JSON", r#"{"conn_type": "aws", "login": "é", "port": "80", "extra": {"region": "eu"}}"#),
    ("AIRFLOW_CONN_UNTYPED", "//host"),
    ("AIRFLOW_CONN_EMPTY", ""),
];

/// Those that they have in a file.
const FILE: &str =
    r#"{"files": "sftp://files.example:22", "fields": {"conn_type": "http", "extra": {"a": [1.5]}}}"#;

/// Airflow's own server, with a database of its own.
struct Airflow {
    process: Child,
    address: String,
    python: Python,
    database: Postgres,
}

impl Airflow {
    /// Starts one in a home; or why there is none.
    fn start(home: &Path) -> Result<Self, String> {
        Postgres::available()?;
        let python = Python::with_airflow()?;
        let database = Postgres::start().unwrap();
        database.sql("postgres", "CREATE DATABASE airflow").unwrap();
        let python = python.on_postgres(&database.url("airflow"))?;
        python.airflow(home, &["db", "migrate"])?;
        let port = excom_testkit::port::free().unwrap().to_string();
        let log = File::create(home.join("server.log")).unwrap();
        let server = ["api-server", "--host", "127.0.0.1", "--port", &port, "--workers", "1"];
        let mut process = python.airflow_command(home, &server);
        let file = serde_json::json!({"connections_file_path": home.join("connections.json")});
        process.env("AIRFLOW__SECRETS__BACKEND", "airflow.secrets.local_filesystem.LocalFilesystemBackend");
        process.env("AIRFLOW__SECRETS__BACKEND_KWARGS", file.to_string());
        process
            .envs(SETTINGS)
            .envs(CONNECTIONS)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let process = process.spawn().unwrap();
        let airflow = Self { process, address: format!("127.0.0.1:{port}"), python, database };
        let begun = Instant::now();
        while !airflow.is_ready() {
            assert!(begun.elapsed() < START_LIMIT, "Airflow's server does not start");
            sleep(Duration::from_millis(100));
        }
        Ok(airflow)
    }

    fn is_ready(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(&self.address) else { return false };
        let mut answer = String::new();
        let asked = stream.write_all(b"GET /execution/health HTTP/1.0\r\n\r\n");
        asked.and_then(|()| stream.read_to_string(&mut answer)).is_ok() && answer.contains(" 200 ")
    }
}

impl Drop for Airflow {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

#[test]
fn airflow_and_excom_answer_the_same_but_for_what_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("connections.json");
    std::fs::write(&file, FILE).unwrap();
    let airflow = match Airflow::start(folder.path()) {
        Ok(airflow) => airflow,
        Err(why) => {
            return skipped("conformance::airflow_and_excom_answer_the_same_but_for_what_is_listed", &why);
        }
    };
    airflow.database.sql("postgres", "CREATE DATABASE excom").unwrap();
    let url = airflow.database.url("excom");
    let connections = [("EXCOM__SERVER__CONNECTIONS", file.to_str().unwrap())];
    let settings = [&SETTINGS[..], &CONNECTIONS, &connections].concat();
    let on_postgres = [&settings[..], &[("EXCOM__DATABASE__URL", &url)]].concat();
    let excoms = [
        Served::set(&folder.path().join("home"), &settings),
        Served::set(&folder.path().join("other"), &on_postgres),
    ];
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/http");
    let mut compare = airflow.python.run_file(&scenarios);
    compare.args([SECRET, &excoms[0].token, &format!("http://{}", airflow.address)]).envs(SETTINGS);
    compare.args(excoms.each_ref().map(|excom| &excom.address));
    let told = compare.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&told.stdout), String::from_utf8_lossy(&told.stderr));
    assert!(told.status.success(), "{out}{err}");
    for excom in excoms {
        assert!(excom.stop().success());
    }
}
