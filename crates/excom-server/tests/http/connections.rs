//! Connections as workers see them.

use std::fs;

use axum::http::Method;
use excom_server::{Connections, Role};
use serde_json::json;

use crate::client::Server;

const ENVIRONMENT: [(&str, &str); 4] = [
    ("AIRFLOW_CONN_MY_DB", "postgresql://ana:p%40ss@db.example:5432/rows?sslmode=require"),
    ("AIRFLOW_CONN_GRÜSSE", r#" {"conn_type": "http", "password": "hunter2"} "#),
    ("AIRFLOW_CONN_EMPTY", " "),
    ("HOME", "/"),
];

#[test]
fn a_task_gets_connections_of_the_environment_and_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("connections.json");
    fs::write(&file, r#"{"files/own": "http://files", "my_db": "http://other", "Case": "http://case"}"#)
        .unwrap();
    let connections = Connections::new(ENVIRONMENT, Some(&file)).unwrap();
    let server = Server::set(|options| options.connections = connections.clone());
    server.run("r1");
    let task = server.running("extract", -1);
    let text = r#"{"conn_id":"my_db","conn_type":"postgres","host":"db.example","schema":"rows","login":"ana","password":"p@ss","port":5432,"extra":"{\"sslmode\": \"require\"}"}"#;
    assert_eq!(task.get("/connections/my_db").is(200).text, text);
    assert_eq!(task.get("/connections/MY_DB").is(200).text, text.replace("my_db", "MY_DB"));
    assert_eq!(task.get("/connections/gr%C3%BC%C3%9Fe").is(200).json()["password"], "hunter2");
    let told = json!({"conn_id": "files/own", "conn_type": "http", "host": "files", "schema": "", "login": null,
        "password": null, "port": null, "extra": null});
    assert_eq!(task.get("/connections/files/own").is(200).json(), told);
    task.get("/connections/Case").is(200);
    for missing in ["case", "empty", "other", "MY_DB%00"] {
        let refused = task.get(&format!("/connections/{missing}")).is(404).json();
        assert_eq!(refused["detail"]["reason"], "not_found");
    }
    let refused = task.get("/connections/other").json();
    assert_eq!(refused["detail"]["message"], "Connection with ID other not found");
    task.call(Method::PUT, "/connections/my_db", Some(&json!({}))).is(405);

    // Neither one that has yet to start, nor a person.
    let (_, queued) = server.queued("load", -1, 1);
    for token in [queued, server.person(Role::Admin)] {
        let refused = server.call(&token, Method::GET, "/execution/connections/my_db", None).is(403);
        assert!(!refused.text.contains("p@ss"));
    }
    let shown = format!("{connections:?} {:?}", server.app);
    assert!(
        shown.contains("connections.json") && !shown.contains("p@ss") && !shown.contains("hunter2"),
        "{shown}"
    );
}

#[test]
fn a_file_is_read_again_and_a_broken_one_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("connections.json");
    let write = |text: &str| fs::write(&file, text).unwrap();
    write(r#"{"a": "http://first"}"#);
    let connections = Connections::new([], Some(&file)).unwrap();
    let server = Server::set(|options| options.connections = connections.clone());
    server.run("r1");
    let task = server.running("extract", -1);
    let host = || task.get("/connections/a").json()["host"].clone();
    assert_eq!(host(), "first");
    write(r#"{"a": "http://second"}"#);
    assert_eq!(host(), "first");
    connections.reload().unwrap();
    assert_eq!(host(), "second");
    write(r#"{"a": "http://third:hunter2"}"#);
    let error = connections.reload().unwrap_err().to_string();
    assert!(error.contains("connections.json: the connection `a` has a port"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
    fs::remove_file(&file).unwrap();
    assert!(connections.reload().unwrap_err().to_string().contains("connections.json cannot be read"));
    assert_eq!(host(), "second");
    write("{}");
    connections.reload().unwrap();
    task.get("/connections/a").is(404);
}
