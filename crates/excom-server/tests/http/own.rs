//! Excom's own API.

use axum::http::{Method, Request, StatusCode};
use excom_server::Role;
use serde_json::{Value as Json, json};

use crate::client::{Answer, Server};

fn api(server: &Server, role: Role, method: Method, path: &str, body: Option<&Json>) -> Answer {
    server.call(&server.person(role), method, &format!("/api/excom/v1/{path}"), body)
}

fn put(server: &Server, version: Option<&str>, body: &'static str) -> Answer {
    let mut request = Request::put("/api/excom/v1/values/weather/r1/extract/-1/rows")
        .header("authorization", format!("Bearer {}", server.person(Role::Write)));
    if let Some(version) = version {
        request = request.header("excom-version", version);
    }
    server.send(request.body(body.into()).unwrap())
}

#[test]
fn many_xcoms_are_one_request_and_each_has_its_answer() {
    let server = Server::new();
    server.run("r1");
    let extract = server.running("extract", -1);
    extract.push("extract/return_value", &json!({"rows": 3})).is(201);
    extract.push("extract/nothing", &json!(null)).is(201);
    extract.ends("success").is(204);
    for index in [0, 2] {
        let load = server.running("load", index);
        load.push(&format!("load/return_value?map_index={index}"), &json!(index)).is(201);
        load.ends("success").is(204);
    }
    let asked = json!({"dag_id": "weather", "run_id": "r1", "xcoms": [
        {"task_id": "extract", "map_index": -1},
        {"task_id": "load"},
        {"task_id": "extract", "key": "nothing", "map_index": -1},
        {"task_id": "extract", "key": "row", "map_index": -1},
        {"task_id": "load", "map_index": 1},
        {"task_id": "extract"},
        {"task_id": "extract", "run_id": "r0"},
    ]});
    let answers =
        api(&server, Role::Read, Method::POST, "pull", Some(&asked)).is(200).json()["answers"].clone();
    let kinds: Vec<&str> =
        answers.as_array().unwrap().iter().map(|answer| answer["answer"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["found", "mapped", "null", "missing", "missing", "found", "missing"]);
    assert_eq!(answers[0]["value"], json!({"rows": 3}));
    assert_eq!(answers[1]["length"], 3);
    let items: Vec<_> = answers[1]["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| (&item["map_index"], &item["value"]))
        .collect();
    assert_eq!(items, [(&json!(0), &json!(0)), (&json!(2), &json!(2))]);
    assert_eq!(answers[3]["near"]["keys"], json!(["nothing", "return_value"]));
    assert!(answers[3]["hints"][0].as_str().unwrap().contains("`nothing`"));
}

#[test]
fn a_request_to_pull_that_is_wrong_says_where() {
    let server = Server::new();
    let pull = |body: &Json| api(&server, Role::Read, Method::POST, "pull", Some(body));
    assert_eq!(
        pull(&json!({"xcoms": [{"task_id": "a"}]})).is(422).json()["detail"][0]["loc"],
        json!(["body", "dag_id"])
    );
    pull(&json!({"dag_id": "d", "run_id": "r", "xcoms": [{"task": "a"}]})).is(422);
    pull(&json!({"dag_id": "d", "run_id": "r", "xcoms": [{"task_id": ""}]})).is(422);
    let many = vec![json!({"task_id": "a"}); 10_001];
    pull(&json!({"dag_id": "d", "run_id": "r", "xcoms": many})).is(413);
    assert_eq!(pull(&json!({"xcoms": []})).is(200).json(), json!({"answers": []}));
}

#[test]
fn a_value_is_a_body_in_both_directions() {
    let server = Server::new();
    server.run("r1");
    let pushed = put(&server, None, "[1,2,3]").is(201).json();
    assert_eq!((&pushed["size"], &pushed["already"]), (&json!(7), &json!(false)));
    let version = pushed["version"].as_str().unwrap();
    // The same push again, because its answer was lost.
    assert_eq!(put(&server, Some(version), "[1,2,3]").is(200).json()["already"], true);
    put(&server, Some("latest"), "1").is(400);
    put(&server, None, "[1,2").is(422);
    let path = "values/weather/r1/extract/-1/rows";
    let read = || api(&server, Role::Read, Method::GET, path, None);
    assert_eq!(read().is(200).text, "[1,2,3]");
    assert_eq!(read().head["content-type"], "application/json");
    put(&server, None, "4").is(201);
    api(&server, Role::Read, Method::DELETE, path, None).is(403);
    assert_eq!(api(&server, Role::Write, Method::DELETE, path, None).is(200).json(), json!({"cleared": 1}));
    assert_eq!(read().is(404).json()["detail"]["answer"], "cleared");
    let history =
        api(&server, Role::Read, Method::GET, "history/weather/r1/extract/-1/rows", None).is(200).json();
    assert_eq!(history["history"].as_array().unwrap().len(), 2);
    api(&server, Role::Admin, Method::DELETE, &format!("{path}?forver=true"), None).is(422);
    let forever = format!("{path}?forever=true");
    api(&server, Role::Write, Method::DELETE, &forever, None).is(403);
    api(&server, Role::Admin, Method::DELETE, &forever, None).is(200);
    let history =
        api(&server, Role::Read, Method::GET, "history/weather/r1/extract/-1/rows", None).is(200).json();
    assert_eq!(history["history"], json!([]));
}

#[test]
fn people_who_may_only_read_push_nothing_and_tasks_push_as_themselves() {
    let server = Server::new();
    server.run("r1");
    let path = "/api/excom/v1/values/weather/r1/extract/-1/rows";
    let call = |token: &str| server.call(token, Method::PUT, path, Some(&json!(1))).status;
    assert_eq!(call(""), StatusCode::UNAUTHORIZED);
    assert_eq!(call(&server.person(Role::Read)), StatusCode::FORBIDDEN);
    let (_, workload) = server.queued("extract", -1, 1);
    assert_eq!(call(&workload), StatusCode::FORBIDDEN);
    let first = server.running("extract", -1);
    assert_eq!(call(&first.token), StatusCode::CREATED);
    let second = server.started(server.queued("extract", -1, 2));
    assert_eq!(call(&first.token), StatusCode::CONFLICT);
    assert_eq!(call(&second.token), StatusCode::CREATED);
}

#[test]
fn values_are_told_to_the_digit() {
    let server = Server::new();
    server.run("r1");
    let task = server.running("extract", -1);
    let deep = format!("{}1{}", "[".repeat(128), "]".repeat(128));
    for (key, value) in [("big", "123456789012345678901234567890.10"), ("huge", "1e400"), ("deep", &deep)] {
        let request = Request::post(format!("/execution/xcoms/weather/r1/extract/{key}"))
            .header("authorization", format!("Bearer {}", task.token))
            .header("content-type", "application/json");
        server.send(request.body(value.to_owned().into()).unwrap()).is(201);
        let asked =
            json!({"dag_id": "weather", "run_id": "r1", "xcoms": [{"task_id": "extract", "key": key}]});
        let answer = api(&server, Role::Read, Method::POST, "pull", Some(&asked)).is(200).text;
        assert!(answer.contains(&format!("\"value\":{value},")), "{answer}");
    }
}

#[test]
fn nothing_is_read_of_who_may_not_ask() {
    let server = Server::new();
    let large = Request::post("/api/excom/v1/pull").header("content-length", "999999999999");
    server.send(large.body(axum::body::Body::empty()).unwrap()).is(401);
    for path in ["/api/excom/v1/values/d/r/t/first/k", "/api/excom/v1/values/d/r/t/-1/%FF"] {
        assert_eq!(
            api(&server, Role::Read, Method::GET, path.trim_start_matches("/api/excom/v1/"), None)
                .is(422)
                .json()["detail"][0]["loc"],
            json!(["path"])
        );
    }
    assert_eq!(
        api(&server, Role::Read, Method::GET, "nothing", None).is(404).json(),
        json!({"detail": "Not Found"})
    );
}

#[test]
fn a_tasks_token_is_renewed_here_too() {
    let server = Server::new();
    server.run("r1");
    let mut task = server.running("extract", -1);
    server.clock.advance(std::time::Duration::from_secs(500));
    let path = "/api/excom/v1/history/weather/r1/extract/-1/k";
    task.token = server.call(&task.token, Method::GET, path, None).is(200).refreshed().unwrap();
    server.clock.advance(std::time::Duration::from_secs(300));
    server.call(&task.token, Method::GET, path, None).is(200);
}

#[test]
fn a_run_starts_once_and_stays_what_it_was() {
    let server = Server::new();
    let start = |body: &Json| api(&server, Role::Admin, Method::POST, "runs", Some(body));
    let run = json!({"dag_id": "weather", "run_id": "r1", "logical_date": "2026-11-21T10:00:00Z"});
    start(&run).is(201);
    start(&run).is(200);
    start(&json!({"dag_id": "weather", "run_id": "r1"})).is(200);
    start(&json!({"dag_id": "weather", "run_id": "r1", "logical_date": "2020-01-01T00:00:00Z"})).is(409);
    let end = |state: &str| {
        let end = json!({"dag_id": "weather", "run_id": "r1", "state": state});
        api(&server, Role::Admin, Method::PATCH, "runs", Some(&end)).is(200)
    };
    end("success");
    start(&run).is(409);
    end("running");
    start(&run).is(200);
}

#[test]
fn tries_are_counted_by_themselves() {
    let server = Server::new();
    server.run("r1");
    let queue = |more: Json| {
        let mut instance = json!({"dag_id": "weather", "run_id": "r1", "task_id": "extract"});
        instance.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        api(&server, Role::Admin, Method::POST, "task-instances", Some(&instance))
    };
    queue(json!({"try_number": 0})).is(422);
    assert_eq!(queue(json!({})).is(201).json()["try_number"], 1);
    server.running("extract", -1);
    assert_eq!(queue(json!({})).is(201).json()["try_number"], 2);
    assert_eq!(queue(json!({"try_number": 7})).is(201).json()["try_number"], 7);
}
