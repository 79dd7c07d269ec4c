//! Whatever an OpenAPI document lets a client send is answered as it says, and never with 5xx: Excom's own API, and what
//! there is here of Airflow's two.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use excom_testkit::python::{Python, schemathesis};
use excom_testkit::skip::skipped;
use serde_json::{Value as Json, json};

use crate::Served;
use crate::process::{exchange, ready};

/// Writes the document of Airflow's Task Execution API, as its app makes it.
const EXECUTION: &str = "
import pathlib, sys
from airflow.api_fastapi.execution_api.app import create_task_execution_api_app
from starlette.testclient import TestClient
told = TestClient(create_task_execution_api_app()).get('/openapi.json?version=2026-06-30')
pathlib.Path(sys.argv[1]).write_text(told.text)
";

/// Writes that of its REST API, which comes with it, without importing it.
const REST: &str = "
import importlib.util, pathlib, shutil, sys
airflow = pathlib.Path(importlib.util.find_spec('airflow').origin).parent
shutil.copy(airflow / 'api_fastapi/core_api/openapi/v2-rest-api-generated.yaml', sys.argv[1])
";

/// What must hold of every answer; of Airflow's documents, which do not tell all that Airflow answers, less.
const OURS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                    response_schema_conformance";
const THEIRS: &str = "not_a_server_error";

/// A server in a folder, where nobody waits.
fn served(folder: &Path) -> Served {
    fs::write(folder.join("excom.toml"), "[server]\nlongest_wait = '0s'\n").unwrap();
    let server = Served::start(&folder.join("home"));
    ready(&server);
    server
}

/// Sends what a document describes, as far as its paths fit, with a token.
fn sends(mut command: Command, document: &Path, url: &str, token: &str, checks: &str, paths: &str) {
    let folder = tempfile::tempdir().unwrap();
    command.current_dir(&folder).arg("run").arg(document);
    command.args(["--url", url, "--header", &format!("Authorization: Bearer {token}"), "--checks", checks]);
    command.args(["--include-path-regex", paths, "--phases", "examples,coverage,fuzzing"]);
    // The same requests each time; those that fail need not be made small.
    command.args(["--max-examples", "10", "--seed", "1", "--no-shrink", "--max-failures", "20"]);
    command.args([
        "--request-timeout",
        "20",
        "--generation-database",
        "none",
        "--suppress-health-check",
        "all",
    ]);
    command.args(["--warnings", "off", "--no-color"]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("passed"), "{said}");
}

#[test]
fn excoms_own_api_is_as_its_document_says() {
    let command = match schemathesis() {
        Ok(command) => command,
        Err(why) => return skipped("described::excoms_own_api_is_as_its_document_says", &why),
    };
    let folder = tempfile::tempdir().unwrap();
    let server = served(folder.path());
    let document =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json").canonicalize().unwrap();
    let url = format!("{}/api/excom/v1", server.address);
    sends(command, &document, &url, &server.token, OURS, ".*");
    assert!(server.stop().success());
}

#[test]
fn airflows_clients_get_no_5xx_whatever_they_send() {
    let name = "described::airflows_clients_get_no_5xx_whatever_they_send";
    let python = match Python::with_airflow().and_then(|python| schemathesis().map(|_| python)) {
        Ok(python) => python,
        Err(why) => return skipped(name, &why),
    };
    let folder = tempfile::tempdir().unwrap();
    let server = served(folder.path());
    let sends = |code: &str, file: &str, below: &str, token: &str, paths: &str| {
        let document = folder.path().join(file);
        let told = python.run(code).arg(&document).output().unwrap();
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        let url = format!("{}{below}", server.address);
        sends(schemathesis().unwrap(), &document, &url, token, THEIRS, paths);
    };
    thread::scope(|scope| {
        scope.spawn(|| sends(REST, "rest.yaml", "", &server.token, "/xcomEntries"));
        let paths = "^/(xcoms|variables|dag-runs|task-instances|connections)/";
        sends(EXECUTION, "execution.json", "/execution", &running(&server), paths);
    });
    assert!(server.stop().success());
}

/// The token of a task that runs.
fn running(server: &Served) -> String {
    let send = |method: &str, path: &str, token: &str, body: &Json| {
        let (body, head) = (body.to_string(), "HTTP/1.1\r\nhost: excom\r\nconnection: close");
        let length = body.len();
        exchange(
            &server.address,
            &format!(
                "{method} {path} {head}\r\nauthorization: Bearer {token}\r\ncontent-length: {length}\r\n\r\n{body}"
            ),
        )
    };
    let run = json!({"dag_id": "weather", "run_id": "r1"});
    send("POST", "/api/excom/v1/runs", &server.token, &run);
    let instance = json!({"dag_id": "weather", "run_id": "r1", "task_id": "extract"});
    let queued = send("POST", "/api/excom/v1/task-instances", &server.token, &instance);
    let queued: Json = serde_json::from_str(queued.split("\r\n\r\n").last().unwrap()).unwrap();
    let (id, token) = (queued["id"].as_str().unwrap(), queued["token"].as_str().unwrap());
    let begin = json!({
        "state": "running", "hostname": "here", "unixname": "me", "pid": 1, "start_date": "2026-11-21T10:00:01Z",
    });
    let begun = send("PATCH", &format!("/execution/task-instances/{id}/run"), token, &begin);
    let token = begun.lines().find_map(|line| line.strip_prefix("refreshed-api-token: "));
    token.unwrap_or_else(|| panic!("{begun}")).to_owned()
}
