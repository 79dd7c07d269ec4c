//! What Prometheus is told.

use axum::body::Body;
use axum::http::{Method, Request};
use excom_server::Role;
use serde_json::json;

use crate::client::Server;
use crate::waits::{meanwhile, request, sent};

fn metrics(server: &Server) -> String {
    server.call(&server.person(Role::Read), Method::GET, "/metrics", None).is(200).text
}

#[track_caller]
fn has(told: &str, lines: &[&str]) {
    for line in lines {
        assert!(told.lines().any(|told| told == *line), "{line} is not in {told}");
    }
}

#[test]
fn metrics_count_requests_by_route_and_answers_by_kind() {
    let server = Server::new();
    server.run("r1");
    let task = server.running("extract", -1);
    task.push("extract/k", &json!(1)).is(201);
    task.get("/xcoms/weather/r1/extract/k").is(200);
    task.get("/xcoms/weather/r1/extract/other").is(404);
    server.call("", Method::GET, "/nothing", None).is(404);
    server.call("", Method::GET, "/metrics", None).is(401);
    server.call(&task.token, Method::GET, "/metrics", None).is(403);
    let told = metrics(&server);
    let route = "/execution/xcoms/{dag_id}/{run_id}/{task_id}/{*key}";
    has(
        &told,
        &[
            &format!("excom_requests_total{{route=\"{route}\",method=\"GET\",status=\"404\"}} 1"),
            &format!("excom_requests_total{{route=\"{route}\",method=\"POST\",status=\"201\"}} 1"),
            "excom_requests_total{route=\"none\",method=\"GET\",status=\"404\"} 1",
            "excom_requests_under_way 1",
            "excom_pushes_total{outcome=\"written\"} 1",
            "excom_pushed_bytes_total 1",
            "excom_answers_total{answer=\"found\"} 1",
            "excom_answers_total{answer=\"not_yet\"} 1",
            "excom_pulled_bytes_total 1",
            "excom_reads_waiting 1",
            &format!("excom_request_duration_seconds_count{{route=\"{route}\",method=\"GET\"}} 2"),
        ],
    );
}

#[test]
fn what_becomes_of_pushes_is_told() {
    let server = Server::new();
    server.run("r1");
    let first = server.running("extract", -1);
    first.push("extract/k", &json!("four")).is(201);
    let _second = server.started(server.queued("extract", -1, 2));
    first.push("extract/k", &json!("late")).is(409);
    has(
        &metrics(&server),
        &[
            "excom_pushes_total{outcome=\"written\"} 1",
            "excom_pushes_total{outcome=\"superseded\"} 1",
            "excom_pushed_bytes_total 6",
        ],
    );
}

#[test]
fn the_time_of_the_database_and_of_each_store_is_told() {
    let server = Server::offloading();
    server.run("r1");
    let task = server.running("extract", -1);
    let value = json!("x".repeat(10_000));
    task.push("extract/k", &value).is(201);
    task.get("/xcoms/weather/r1/extract/k").is(200);
    has(
        &metrics(&server),
        &[
            "excom_database_duration_seconds_count{step=\"push\"} 1",
            "excom_database_duration_seconds_count{step=\"entries\"} 1",
            "excom_database_waiting{step=\"push\"} 0",
            "excom_store_duration_seconds_count{store=\"memory\",step=\"write\"} 1",
            "excom_store_duration_seconds_count{store=\"memory\",step=\"read\"} 1",
            "excom_store_waiting{store=\"memory\",step=\"read\"} 0",
            "excom_pulled_bytes_total 10002",
            "excom_database_ready 1",
            "excom_store_ready 1",
        ],
    );
}

#[test]
fn what_waits_is_told() {
    let server = Server::new();
    server.run("r1");
    let body = json!({"dag_id": "weather", "run_id": "r1", "seconds": 60,
        "xcoms": [{"task_id": "a", "map_index": -1}, {"task_id": "b", "map_index": -1}]});
    let wait = request(&server, Method::POST, "wait", "application/json", &body);
    meanwhile(&server, wait, async {
        let scrape =
            Request::get("/metrics").header("authorization", format!("Bearer {}", server.person(Role::Read)));
        let (status, told) = sent(&server, scrape.body(Body::empty()).unwrap()).await;
        assert_eq!(status, 200);
        has(&told, &["excom_waits 2", "excom_requests_under_way 2"]);
        server.app.end_waits();
    });
    has(&metrics(&server), &["excom_waits 0", "excom_requests_under_way 1"]);
}
