//! A server on an Airflow's own database: what tasks get from there, and leave there.

use excom_testkit::postgres::Postgres;
use excom_testkit::python::Python;
use excom_testkit::skip::skipped;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::process::{exchange, get, ready};
use crate::{Served, excom};

/// Keys of Airflow's.
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const NEWER: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";

/// The task instance that asks, as Airflow has started it.
const COUNT: &str = "
    INSERT INTO dag_run (dag_id, run_id, run_type, run_after, state)
    VALUES ('weather', 'r1', 'manual', '2026-11-21 10:00:00.000000', 'success');
    INSERT INTO task_instance (id, dag_id, run_id, task_id, map_index, state, try_number, max_tries, pool, pool_slots, start_date)
    VALUES ('00000000000000000000000000000007', 'weather', 'r1', 'count', -1, 'running', 1, 0, 'default_pool', 1,
            '2026-11-21 10:00:01.000000')";

/// The secret that signs tokens, and the token of that task instance.
const SECRET: &str = "0123456789abcdef0123456789abcdef";
const SIGN: &str = r#"
import jwt, sys, time
ti = {"dag_id": "weather", "run_id": "r1", "task_id": "count", "map_index": -1, "try_number": 1, "max_tries": 0}
now = int(time.time())
claims = {"sub": "00000000-0000-0000-0000-000000000007", "scope": "execution", "ti": ti,
    "aud": "urn:airflow.apache.org:task", "iat": now, "nbf": now, "exp": now + 3600}
open(sys.argv[2], "w").write(jwt.encode(claims, sys.argv[1], "HS512"))
"#;

/// An Airflow's database.
struct Database {
    python: Python,
    url: String,
    sql: Box<dyn Fn(&str) -> String>,
}

impl Database {
    /// On a server that is kept for as long.
    fn on_postgres() -> Result<Self, String> {
        Postgres::available()?;
        let server = Postgres::start().map_err(|error| error.to_string())?;
        server.sql("postgres", "CREATE DATABASE airflow").map_err(|error| error.to_string())?;
        let url = server.url("airflow");
        let python = Python::with_airflow()?.on_postgres(&url)?;
        Ok(Self { python, url, sql: Box::new(move |sql| server.sql("airflow", sql).unwrap()) })
    }

    fn in_file(folder: &TempDir) -> Result<Self, String> {
        let file = folder.path().join("airflow.db");
        let python = Python::with_airflow()?.on_sqlite(&file);
        let url = format!("sqlite:///{}", file.display());
        let sql = move |sql: &str| {
            let connection = rusqlite::Connection::open(&file).unwrap();
            match sql.contains(';') {
                true => connection.execute_batch(sql).map(|()| String::new()).unwrap(),
                false => connection.query_row(sql, [], |row| row.get(0)).unwrap(),
            }
        };
        Ok(Self { python, url, sql: Box::new(sql) })
    }

    /// Airflow's own command, with its key.
    fn airflow(&self, folder: &TempDir, arguments: &[&str]) {
        self.airflow_with(KEY, folder, arguments);
    }

    fn airflow_with(&self, keys: &str, folder: &TempDir, arguments: &[&str]) {
        let mut command = self.python.airflow_command(folder.path(), arguments);
        let output = command.env("AIRFLOW__CORE__FERNET_KEY", keys).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// A task gets the connections that Airflow's own command made, and what it marks as a result is one for Airflow.
fn tasks_are_served(database: &Database, folder: &TempDir) {
    database.airflow(folder, &["db", "migrate"]);
    let add = |id: &str, more: &[&str]| {
        let arguments = [&["connections", "add", id, "--conn-type", "generic"], more].concat();
        database.airflow(folder, &arguments);
    };
    let extra = r#"{"sslmode": "require", "note": "hunter3 é"}"#;
    add(
        "my_db",
        &[
            "--conn-host",
            "db.example",
            "--conn-schema",
            "rows",
            "--conn-login",
            "ana",
            "--conn-password",
            "hunter2 é",
            "--conn-port",
            "5432",
            "--conn-extra",
            extra,
        ],
    );
    add("plain", &["--conn-host", "h"]);
    add("both", &["--conn-host", "airflows"]);
    database.airflow(folder, &["variables", "set", "station", "attic é"]);
    assert!(!(database.sql)("SELECT password FROM connection WHERE conn_id = 'my_db'").contains("hunter2"));
    (database.sql)(COUNT);

    let home = folder.path().join("home");
    let log = folder.path().join("access.log");
    let keys = format!("{NEWER},{KEY}");
    let settings = |key: &'static str| {
        [
            ("EXCOM__DATABASE__URL", database.url.as_str()),
            ("EXCOM__DATABASE__MODE", "attached"),
            ("EXCOM__SERVER__ACCESS_LOG", log.to_str().unwrap()),
            ("AIRFLOW_CONN_BOTH", "http://environment"),
            ("EXCOM__SERVER__TOKEN_SECRET", SECRET),
            (key, keys.as_str()),
        ]
    };
    let attached = excom(&home).args(["db", "attach"]).envs(settings("NONE")).output().unwrap();
    assert!(attached.status.success(), "{}", String::from_utf8_lossy(&attached.stderr));
    let token = folder.path().join("token");
    let signed = database.python.run(SIGN).arg(SECRET).arg(&token).output().unwrap();
    assert!(signed.status.success(), "{}", String::from_utf8_lossy(&signed.stderr));
    let token = std::fs::read_to_string(token).unwrap();
    let serve = |settings: &[(&str, &str)]| {
        let server = Served::set(&home, settings);
        ready(&server);
        (server, token.clone())
    };
    let ask = |(server, token): &(Served, String), id: &str| {
        let answer = get(&server.address, &format!("/execution/connections/{id}"), token);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head["HTTP/1.1 ".len()..][..3].to_owned(), serde_json::from_str::<Json>(body).unwrap())
    };

    let running = serve(&settings("AIRFLOW__CORE__FERNET_KEY"));
    let told = json!({"conn_id": "my_db", "conn_type": "generic", "host": "db.example", "schema": "rows", "login": "ana",
        "password": "hunter2 é", "port": 5432, "extra": extra});
    assert_eq!(ask(&running, "my_db"), ("200".to_owned(), told));
    let (status, plain) = ask(&running, "plain");
    assert!(status == "200" && plain["password"].is_null() && plain["extra"].is_null(), "{plain}");
    assert_eq!(ask(&running, "both").1["host"], "environment");
    assert_eq!(["MY_DB", "none", "a%00b"].map(|id| ask(&running, id).0), ["404"; 3]);
    let variable = |(server, token): &(Served, String), path: &str| {
        let answer = get(&server.address, path, token);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head["HTTP/1.1 ".len()..][..3].to_owned(), serde_json::from_str::<Json>(body).unwrap())
    };
    let told = json!({"key": "station", "value": "attic é"});
    assert_eq!(variable(&running, "/execution/variables/station"), ("200".to_owned(), told));
    let (server, token) = running;
    let put = |server: &Served, key: &str| {
        let put = "{\"value\": \"roof\", \"description\": null}";
        let head = format!("PUT /execution/variables/{key} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
        let head = format!("{head}content-type: application/json\r\ncontent-length: {}\r\n", put.len());
        exchange(&server.address, &format!("{head}authorization: Bearer {token}\r\n\r\n{put}"))
    };
    let made = put(&server, "made");
    assert!(made.starts_with("HTTP/1.1 201"), "{made}");
    assert!(!(database.sql)("SELECT val FROM variable WHERE key = 'made'").contains("roof"));
    let exported = folder.path().join("variables.json");
    database.airflow_with(&keys, folder, &["variables", "export", exported.to_str().unwrap()]);
    let exported: Json = serde_json::from_str(&std::fs::read_to_string(exported).unwrap()).unwrap();
    assert_eq!(exported, json!({"station": "attic é", "made": "roof"}));
    for (key, query) in [("return_value", "dag_result=true"), ("other", "dag_result=false")] {
        let head = format!("POST /execution/xcoms/weather/r1/count/{key}?{query} HTTP/1.1\r\nhost: x\r\n");
        let head =
            format!("{head}connection: close\r\ncontent-type: application/json\r\ncontent-length: 1\r\n");
        let pushed = exchange(&server.address, &format!("{head}authorization: Bearer {token}\r\n\r\n7"));
        assert!(pushed.starts_with("HTTP/1.1 201"), "{pushed}");
    }
    // Runs are Airflow's own: what it has is there, and no other is made here, nor is one cleared.
    for (run, told, why) in [
        ("r1", "409", "already_exists"),
        ("r2", "400", "trigger the run there"),
        ("r1/clear", "400", "are Airflow's"),
    ] {
        let head =
            format!("POST /execution/dag-runs/weather/{run} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
        let head = format!("{head}content-type: application/json\r\ncontent-length: 2\r\n");
        let refused = exchange(&server.address, &format!("{head}authorization: Bearer {token}\r\n\r\n{{}}"));
        assert!(
            refused.starts_with(&format!("HTTP/1.1 {told}")) && refused.contains(why),
            "{run}: {refused}"
        );
    }
    // So are assets, which its scheduler would have to hear of: a task that has some is told before it runs, and none is dropped.
    let own = "/execution/task-instances/00000000-0000-0000-0000-000000000007";
    for path in [
        &format!("{own}/validate-inlets-and-outlets"),
        "/execution/assets/by-name?name=a",
        "/execution/asset-events/by-asset-alias?name=a",
    ] {
        let refused = get(&server.address, path, &token);
        assert!(refused.starts_with("HTTP/1.1 400") && refused.contains("Airflow's own server"), "{refused}");
    }
    let ended = json!({
        "state": "success", "end_date": "2026-11-21T10:00:09Z", "outlet_events": [],
        "task_outlets": [{"name": "a", "uri": "file://a", "type": "Asset"}],
    });
    let ended = ended.to_string();
    let head = format!("PATCH {own}/state HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
    let head = format!("{head}content-type: application/json\r\ncontent-length: {}\r\n", ended.len());
    let refused = exchange(&server.address, &format!("{head}authorization: Bearer {token}\r\n\r\n{ended}"));
    assert!(refused.starts_with("HTTP/1.1 400") && refused.contains("inlets or outlets"), "{refused}");
    assert_eq!((database.sql)("SELECT state FROM task_instance WHERE task_id = 'count'"), "running");
    let paused = get(&server.address, "/execution/dags/weather", &token);
    assert!(paused.starts_with("HTTP/1.1 400") && paused.contains("Airflow's own server"), "{paused}");
    let marked = "SELECT CAST(count(*) AS TEXT) FROM xcom WHERE dag_result AND key = 'return_value'";
    assert_eq!((database.sql)(marked), "1");
    assert_eq!((database.sql)("SELECT CAST(count(*) AS TEXT) FROM xcom WHERE dag_result"), "1");
    let waited = get(&server.address, "/api/v2/dags/weather/dagRuns/r1/wait?interval=1", &server.token);
    assert!(waited.contains(r#"{"state":"success","results":{"count":7}}"#), "{waited}");
    assert!(server.stop().success());

    // With another key it is told, and nothing of it; without one nobody looks.
    let mut other = settings("AIRFLOW__CORE__FERNET_KEY");
    other[5].1 = NEWER;
    let running = serve(&other);
    let (status, refused) = ask(&running, "my_db");
    assert!(status == "503" && refused["detail"]["message"].as_str().unwrap().contains("[core] fernet_key"));
    assert!(!refused.to_string().contains("hunter"), "{refused}");
    assert_eq!(ask(&running, "plain").0, "200");
    let (status, refused) = variable(&running, "/execution/variables/station");
    assert!(status == "503" && refused["detail"]["message"].as_str().unwrap().contains("[core] fernet_key"));
    let listed = get(&running.0.address, "/api/v2/variables", &running.0.token);
    let told = r#""key":"station","value":null,"description":null,"is_encrypted":true"#;
    assert!(listed.contains(told), "{listed}");
    assert!(running.0.stop().success());
    let running = serve(&settings("NONE"));
    assert_eq!(ask(&running, "my_db").0, "404");
    // Nor is anything written in the clear over what is encrypted, which a worker must not repeat.
    let refused = put(&running.0, "station");
    assert!(refused.starts_with("HTTP/1.1 400") && refused.contains("[core] fernet_key"), "{refused}");
    assert!(running.0.stop().success());
    let written = std::fs::read_to_string(&log).unwrap();
    assert!(written.contains("/execution/connections/{*id}") && !written.contains("hunter"), "{written}");
}

#[test]
fn tasks_are_served_on_an_attached_postgresql() {
    let folder = tempfile::tempdir().unwrap();
    match Database::on_postgres() {
        Ok(database) => tasks_are_served(&database, &folder),
        Err(why) => skipped("airflows::tasks_are_served_on_an_attached_postgresql", &why),
    }
}

#[test]
fn tasks_are_served_on_an_attached_file() {
    let folder = tempfile::tempdir().unwrap();
    match Database::in_file(&folder) {
        Ok(database) => tasks_are_served(&database, &folder),
        Err(why) => skipped("airflows::tasks_are_served_on_an_attached_file", &why),
    }
}
