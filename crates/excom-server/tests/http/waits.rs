//! Excom's own API: waiting for XComs.

use std::future::Future;

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request};
use excom_core::engine::{Access, Reads, Settings};
use excom_server::Role;
use futures_util::future::join;
use serde_json::{Value as Json, json};
use tower::ServiceExt as _;

use crate::client::Server;

pub(crate) fn request(
    server: &Server,
    method: Method,
    path: &str,
    accept: &str,
    body: &Json,
) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(format!("/api/excom/v1/{path}"))
        .header("authorization", format!("Bearer {}", server.person(Role::Admin)))
        .header("accept", accept)
        .body(Body::from(body.to_string()))
        .unwrap()
}

fn wait(server: &Server, accept: &str, xcoms: &Json, seconds: u32) -> Request<Body> {
    let body = json!({"dag_id": "weather", "run_id": "r1", "xcoms": xcoms, "seconds": seconds});
    request(server, Method::POST, "wait", accept, &body)
}

pub(crate) async fn sent(server: &Server, request: Request<Body>) -> (u16, String) {
    let answer = server.router().oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// Waits, and does something else as soon as that has begun.
pub(crate) fn meanwhile(server: &Server, wait: Request<Body>, other: impl Future<Output = ()>) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let ((status, text), ()) = runtime.block_on(join(sent(server, wait), other));
    assert_eq!(status, 200, "{text}");
    text
}

async fn push(server: &Server, task: &str, value: &Json) {
    let path = format!("values/weather/r1/{task}/-1/return_value");
    let (status, text) = sent(server, request(server, Method::PUT, &path, "*/*", value)).await;
    assert_eq!(status, 201, "{text}");
}

const PLAIN: &str = "application/json";
const EVENTS: &str = "text/event-stream";

fn kinds(answers: &Json) -> Vec<&str> {
    answers["answers"].as_array().unwrap().iter().map(|answer| answer["answer"].as_str().unwrap()).collect()
}

#[test]
fn a_wait_ends_when_all_is_there() {
    let server = Server::new();
    server.run("r1");
    push_now(&server, "a", &json!(1));
    let xcoms =
        json!([{"task_id": "a", "map_index": -1}, {"task_id": "b", "map_index": -1}, {"task_id": "c"}]);
    let told = meanwhile(&server, wait(&server, PLAIN, &xcoms, 60), async {
        push(&server, "b", &json!(2)).await;
        push(&server, "c", &json!(3)).await;
    });
    let told: Json = serde_json::from_str(&told).unwrap();
    assert_eq!(kinds(&told), ["found", "found", "found"]);
    assert_eq!((&told["answers"][2]["value"], &told["pending"]), (&json!(3), &json!([])));
}

fn push_now(server: &Server, task: &str, value: &Json) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(push(server, task, value));
}

#[test]
fn a_wait_ends_when_the_producer_has_ended_without_it() {
    let server = Server::new();
    server.run("r1");
    let (task, queued) = (server.running("a", -1), server.queued("b", -1, 1));
    let xcoms = json!([{"task_id": "a", "map_index": -1}, {"task_id": "b"}]);
    let over = server.call(
        &server.person(Role::Read),
        Method::POST,
        "/api/excom/v1/wait",
        Some(&json!({"dag_id": "weather", "run_id": "r1", "xcoms": xcoms, "seconds": 0})),
    );
    let over = over.is(200).json();
    assert_eq!((kinds(&over), &over["pending"]), (vec!["not_yet", "not_yet"], &json!([0, 1])));
    task.ends("failed").is(204);
    drop(queued);
    let end = json!({"dag_id": "weather", "run_id": "r1", "state": "failed"});
    let told = meanwhile(&server, wait(&server, PLAIN, &xcoms, 60), async {
        sent(&server, request(&server, Method::PATCH, "runs", PLAIN, &end)).await;
    });
    let told: Json = serde_json::from_str(&told).unwrap();
    assert_eq!((kinds(&told), &told["pending"]), (vec!["missing", "not_yet"], &json!([])));
}

#[test]
fn answers_come_as_events_one_after_the_other() {
    let server = Server::new();
    server.run("r1");
    push_now(&server, "b", &json!("two\nlines"));
    let xcoms = json!([{"task_id": "a", "map_index": -1}, {"task_id": "b", "map_index": -1}]);
    let told = meanwhile(&server, wait(&server, EVENTS, &xcoms, 60), push(&server, "a", &json!({"rows": 1})));
    let events: Vec<(&str, Json)> = told
        .split_terminator("\n\n")
        .map(|event| {
            let (name, data) = event.split_once('\n').unwrap();
            let data = data.strip_prefix("data: ").unwrap();
            (name.strip_prefix("event: ").unwrap(), serde_json::from_str(data).unwrap())
        })
        .collect();
    let names: Vec<&str> = events.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["answer", "answer", "end"], "{told}");
    assert_eq!((&events[0].1["place"], &events[0].1["value"]), (&json!(1), &json!("two\nlines")));
    assert_eq!((&events[1].1["place"], &events[1].1["value"]), (&json!(0), &json!({"rows": 1})));
    assert_eq!(events[2].1, json!({"pending": []}));
}

#[test]
fn a_server_that_stops_keeps_nobody_waiting() {
    let server = Server::new();
    server.run("r1");
    let xcoms = json!([{"task_id": "a", "map_index": -1}]);
    let told = meanwhile(&server, wait(&server, PLAIN, &xcoms, 60), async { server.app.end_waits() });
    assert_eq!(serde_json::from_str::<Json>(&told).unwrap()["pending"], json!([0]));
    let told = meanwhile(&server, wait(&server, EVENTS, &xcoms, 60), async {});
    assert_eq!(told, "event: end\ndata: {\"pending\":[0]}\n\n");
}

#[test]
fn whoever_may_not_read_does_not_wait() {
    let server = Server::with(|settings| {
        let access = Access { reads: Reads::Run, ..Access::default() };
        Settings { access, ..settings }
    });
    server.run("r1");
    server.run("r2");
    let task = server.running("a", -1);
    let asked = json!({"dag_id": "weather", "run_id": "r2", "xcoms": [{"task_id": "b"}, {"task_id": "b", "map_index": 1}]});
    let told = server.call(&task.token, Method::POST, "/api/excom/v1/wait", Some(&asked)).is(200).json();
    assert_eq!((kinds(&told), &told["pending"]), (vec!["forbidden", "forbidden"], &json!([])));
    let many = vec![json!({"task_id": "a"}); 1001];
    let asked = json!({"dag_id": "weather", "run_id": "r1", "xcoms": many});
    server.call(&task.token, Method::POST, "/api/excom/v1/wait", Some(&asked)).is(413);
}
