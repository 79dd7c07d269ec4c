//! How much a run and a DAG use, and what is answered over their quotas.

use axum::http::Method;
use excom_core::engine::{Access, Reads, Settings};
use excom_server::Role;
use serde_json::{Value as Json, json};

use crate::client::Server;

const RUN: &str = "/api/excom/v1/usage/weather/r1";
const DAG: &str = "/api/excom/v1/usage/weather";

#[test]
fn usage_is_told_beside_its_quota() {
    let server = Server::with(|settings| Settings { quota_run: Some(1000), ..settings });
    server.run("r1");
    let reader = server.person(Role::Read);
    let usage = |path: &str| server.call(&reader, Method::GET, path, None).is(200).json();
    assert_eq!(usage(RUN), json!({"entries": 0, "bytes": 0, "quota": 1000}));
    let task = server.running("extract", -1);
    task.push("extract/a", &json!("x".repeat(598))).is(201);
    task.push("extract/b", &json!([1])).is(201);
    assert_eq!(usage(RUN), json!({"entries": 2, "bytes": 603, "quota": 1000}));
    assert_eq!(usage(DAG), json!({"entries": 2, "bytes": 603, "quota": Json::Null}));
    for unknown in ["/api/excom/v1/usage/other", "/api/excom/v1/usage/weather/r2"] {
        let told = server.call(&reader, Method::GET, unknown, None).is(404).json();
        assert_eq!(told["detail"]["reason"], "not_found", "{told}");
    }
    server.call(&reader, Method::GET, &format!("/api/excom/v1/usage/{}", "x".repeat(251)), None).is(422);
    server.call("", Method::GET, RUN, None).is(401);

    // Over it, workers and everybody else are told the same.
    let told = task.push("extract/c", &json!("x".repeat(398))).is(413).text;
    assert!(told.contains("[xcom] quota_run") && told.contains("603 bytes of the 1000 bytes"), "{told}");
    let path = "/api/excom/v1/values/weather/r1/extract/-1/c";
    let told = server.call(&server.person(Role::Write), Method::PUT, path, Some(&json!("x".repeat(398))));
    let detail = &told.is(413).json()["detail"];
    assert_eq!(detail["reason"], "too_large");
    assert!(detail["hints"].to_string().contains("excom xcom clear"), "{detail}");
    assert_eq!(usage(RUN)["entries"], 2);
    let metrics = server.call(&reader, Method::GET, "/metrics", None).is(200).text;
    assert!(metrics.lines().any(|line| line.contains("status=\"413\"") && line.ends_with(" 1")), "{metrics}");
}

#[test]
fn tasks_look_as_far_as_they_may_list() {
    let access = Access { reads: Reads::Run, ..Access::default() };
    let server = Server::with(|settings| Settings { access, ..settings });
    server.run("r1");
    let task = server.running("extract", -1);
    let asked = |path: &str| server.call(&task.token, Method::GET, path, None);
    asked(RUN).is(200);
    asked(DAG).is(403);
    asked("/api/excom/v1/usage/weather/r2").is(403);
}
