//! Airflow's REST API: waiting for the end of a run.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use excom_core::{ValueStore as _, memory};
use excom_server::Role;
use http_body_util::BodyExt as _;
use serde_json::{Value as Json, json};
use tower::ServiceExt as _;

use crate::client::{Answer, Server};
use crate::waits::{meanwhile, request, sent};

const WAIT: &str = "/api/v2/dags/weather/dagRuns/r1/wait";

fn wait(server: &Server, query: &str) -> Request<Body> {
    Request::builder()
        .uri(format!("{WAIT}?{query}"))
        .header("authorization", format!("Bearer {}", server.person(Role::Read)))
        .body(Body::empty())
        .unwrap()
}

fn asked(server: &Server, query: &str) -> Answer {
    server.call(&server.person(Role::Read), Method::GET, &format!("{WAIT}?{query}"), None)
}

fn lines(text: &str) -> Vec<Json> {
    assert!(text.ends_with('\n'), "{text}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn end(server: &Server, state: &str) -> Request<Body> {
    let end = json!({"dag_id": "weather", "run_id": "r1", "state": state});
    request(server, Method::PATCH, "runs", "*/*", &end)
}

fn ended(server: &Server, state: &str) {
    server.send(end(server, state)).is(200);
}

#[test]
fn a_run_is_told_of_until_it_has_ended_with_what_its_tasks_returned() {
    let server = Server::new();
    server.run("r1");
    server.running("extract", -1).push("extract/return_value", &json!({"rows": [1.0]})).is(201);
    server.running("load", -1).push("load/other", &json!(1)).is(201);
    for index in [2, 0] {
        let path = format!("count/return_value?map_index={index}");
        server.running("count", index).push(&path, &json!(index)).is(201);
    }
    server.running("nothing", -1).push("nothing/return_value", &Json::Null).is(201);
    let query =
        "interval=0.5&result=load&result=extract&result=count&result=extract&result=nobody&result=nothing";
    let told = meanwhile(&server, wait(&server, query), async {
        let (status, _) = sent(&server, end(&server, "success")).await;
        assert_eq!(status, 200);
    });
    let told = lines(&told);
    assert_eq!(told[0], json!({"state": "running"}));
    let results = json!({"count": [0, 2], "extract": {"rows": [1.0]}, "nothing": null});
    assert_eq!(told.last().unwrap(), &json!({"state": "success", "results": results}));

    // One that has ended is told of once.
    ended(&server, "cancelled");
    assert_eq!(lines(&asked(&server, query).is(200).text), [json!({"state": "failed", "results": results})]);
    assert_eq!(lines(&asked(&server, "interval=1").is(200).text), [json!({"state": "failed"})]);
    assert_eq!(lines(&asked(&server, "interval=1&result=nobody").is(200).text), [json!({"state": "failed"})]);
}

#[test]
fn what_the_dag_returns_is_told_without_being_named() {
    let server = Server::new();
    server.run("r1");
    let task = server.running("extract", -1);
    task.push("extract/return_value?dag_result=true", &json!(1)).is(201);
    task.push("extract/other?dag_result=true", &json!(2)).is(201);
    for index in [1, 0] {
        let path = format!("count/return_value?map_index={index}&dag_result=true");
        server.running("count", index).push(&path, &json!(index)).is(201);
    }
    server.running("load", -1).push("load/return_value?dag_result=false", &json!(3)).is(201);
    ended(&server, "success");
    let told = || lines(&asked(&server, "interval=1").is(200).text);
    assert_eq!(told(), [json!({"state": "success", "results": {"count": [0, 1], "extract": 1}})]);
    // Whoever corrects it by hand leaves it the result.
    let admin = server.person(Role::Admin);
    let place = "/api/v2/dags/weather/dagRuns/r1/taskInstances/extract/xcomEntries/return_value";
    server.call(&admin, Method::PATCH, place, Some(&json!({"value": 4}))).is(200);
    assert_eq!(told(), [json!({"state": "success", "results": {"count": [0, 1], "extract": 4}})]);
    // The same value again, without being the result.
    task.push("extract/return_value", &json!(1)).is(201);
    assert_eq!(told(), [json!({"state": "success", "results": {"count": [0, 1]}})]);
}

#[test]
fn a_wait_for_a_run_ends_with_the_server_and_the_time_it_allows() {
    let server = Server::set(|options| options.longest_wait = std::time::Duration::from_millis(1));
    server.run("r1");
    assert_eq!(lines(&asked(&server, "interval=1e300").is(200).text), [json!({"state": "running"})]);
    let server = Server::new();
    server.run("r1");
    let told = meanwhile(&server, wait(&server, "interval=60"), async { server.app.end_waits() });
    assert_eq!(lines(&told), [json!({"state": "running"})]);
}

#[test]
fn what_cannot_be_waited_for_is_refused() {
    let server = Server::new();
    server.run("r1");
    for query in ["", "interval=", "interval=x", "interval=0", "interval=-1", "interval=nan"] {
        let refused = asked(&server, query).is(422).json();
        assert_eq!(refused["detail"][0]["loc"], json!(["query", "interval"]), "{query}");
    }
    let other = WAIT.replace("r1", "r9");
    let refused = server.call(&server.person(Role::Read), Method::GET, &format!("{other}?interval=1"), None);
    let message = "The DagRun with dag_id: `weather` and run_id: `r9` was not found";
    assert_eq!(refused.is(404).json()["detail"], message);
    let task = server.running("extract", -1);
    server.call(&task.token, Method::GET, &format!("{WAIT}?interval=1"), None).is(403);
    server.call("", Method::GET, &format!("{WAIT}?interval=1"), None).is(401);
}

#[test]
fn a_result_that_is_lost_is_never_none() {
    let store = std::sync::Arc::new(memory::Store::new());
    let server = Server::new().with_backend(memory::Backend::new(store.clone(), 10));
    server.run("r1");
    let task = server.running("extract", -1);
    task.push("extract/return_value", &json!("x".repeat(100))).is(201);
    let query = "interval=0.5&result=extract";
    // Whoever has heard of the run already hears no end.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        for name in store.list(None, 9).await.unwrap() {
            assert!(store.delete(&name).await.unwrap());
        }
        let mut answer = server.router().oneshot(wait(&server, query)).await.unwrap().into_body();
        let first = answer.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first, "{\"state\":\"running\"}\n");
        assert_eq!(sent(&server, end(&server, "success")).await.0, 200);
        let rest = answer.collect().await;
        assert!(rest.is_err(), "{rest:?}");
    });
    assert_eq!(asked(&server, query).status, StatusCode::GONE);
    assert_eq!(lines(&asked(&server, "interval=1").is(200).text), [json!({"state": "success"})]);
}

#[test]
fn only_so_many_wait_and_who_goes_away_waits_no_more() {
    let server = Server::new();
    server.run("r1");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let mut waiting = Vec::new();
        loop {
            let answer = server.router().oneshot(wait(&server, "interval=60")).await.unwrap();
            match answer.status() {
                StatusCode::OK => waiting.push(answer),
                status => break assert_eq!(status, StatusCode::TOO_MANY_REQUESTS),
            }
        }
        assert_eq!(waiting.len(), 10_000);
        waiting.pop();
        let answer = server.router().oneshot(wait(&server, "interval=60")).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    });
}
