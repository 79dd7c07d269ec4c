//! Runs and their task instances, for who looks at them.

use axum::http::Method;
use excom_core::Value;
use excom_core::run::DagRun;
use excom_server::Role;
use jiff::Timestamp;
use serde_json::{Value as Json, json};

use crate::client::{Answer, Server};

fn get(server: &Server, path: &str) -> Answer {
    server.call(&server.person(Role::Read), Method::GET, &format!("/api/excom/v1/{path}"), None)
}

fn names(page: &Json) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|run| run["run_id"].as_str().unwrap()).collect()
}

#[test]
fn runs_come_newest_first_in_pages() {
    let server = Server::new();
    let admin = server.person(Role::Admin);
    for (run, day) in [("a", 1), ("b/ä", 2), ("c", 2), ("d", 3)] {
        let new = json!({"dag_id": "weather", "run_id": run, "logical_date": format!("2026-11-0{day}T00:00:00Z"),
                         "conf": {"station": run, "big": 12_345_678_901_234_567_890_u64}});
        server.call(&admin, Method::POST, "/api/excom/v1/runs", Some(&new)).is(201);
    }
    let end = json!({"dag_id": "weather", "run_id": "a", "state": "failed"});
    server.call(&admin, Method::PATCH, "/api/excom/v1/runs", Some(&end)).is(200);

    let first = get(&server, "runs?limit=3").is(200).json();
    assert_eq!(names(&first), ["d", "c", "b/ä"]);
    let next = &first["next"];
    assert_eq!((&next["dag_id"], &next["run_id"]), (&json!("weather"), &json!("b/ä")));
    let date = next["date"].as_str().unwrap();
    let rest = format!("runs?before_date={date}&before_dag_id=weather&before_run_id=b%2F%C3%A4");
    let rest = get(&server, &rest).is(200).json();
    assert_eq!((names(&rest), &rest["next"]), (vec!["a"], &Json::Null));
    assert_eq!(names(&get(&server, "runs?state=failed&dag_id=weather").is(200).json()), ["a"]);
    assert!(names(&get(&server, "runs?dag_id=other").is(200).json()).is_empty());
    get(&server, "runs?before_date=2026-11-01T00:00:00Z").is(422);
    get(&server, "runs?state=lost").is(422);
    get(&server, "runs?stat=failed").is(422);

    let shown = get(&server, "runs/weather/b%2F%C3%A4").is(200);
    assert!(shown.text.contains("12345678901234567890"), "{shown:?}");
    assert_eq!(
        (&shown.json()["state"], &shown.json()["conf"]["station"]),
        (&json!("running"), &json!("b/ä"))
    );
    get(&server, "runs/weather/none").is(404);
}

#[test]
fn a_page_of_runs_has_a_bound_in_bytes() {
    let server = Server::limited(3000);
    let admin = server.person(Role::Admin);
    for (run, day, size) in [("a", 1, 1400), ("b", 2, 1), ("c", 3, 1400), ("d", 4, 1400), ("e", 5, 2800)] {
        let new = json!({"dag_id": "weather", "run_id": run, "logical_date": format!("2026-11-0{day}T00:00:00Z"),
                         "conf": {"x": "x".repeat(size)}});
        server.call(&admin, Method::POST, "/api/excom/v1/runs", Some(&new)).is(201);
    }
    let (mut pages, mut from) = (Vec::new(), String::new());
    loop {
        let page = get(&server, &format!("runs?limit=4{from}")).is(200).json();
        pages.push(names(&page).concat());
        let Some(next) = page["next"].as_object() else { break };
        let part = |name: &str| next[name].as_str().unwrap().to_owned();
        assert!(pages.last().unwrap().ends_with(&part("run_id")), "{page}");
        from = format!(
            "&before_date={}&before_dag_id={}&before_run_id={}",
            part("date"),
            part("dag_id"),
            part("run_id")
        );
    }
    assert_eq!(pages, ["e", "dcb", "a"]);
    // One that is over the bound by itself is told alone.
    let own = Server::limited(10);
    let conf = Value::of(&"x".repeat(100)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for (run, second) in [("f", 1), ("g", 2)] {
        let mut new = DagRun::new("weather", run, Timestamp::from_second(second).unwrap());
        new.conf = Some(conf.clone());
        runtime.block_on(own.engine.start_run(&new)).unwrap();
    }
    let page = get(&own, "runs").is(200).json();
    assert_eq!((names(&page), &page["next"]["run_id"]), (vec!["g"], &json!("g")));
}

#[test]
fn task_instances_come_in_pages() {
    let server = Server::new();
    server.run("r1");
    for index in 0..3 {
        server.running("load", index);
    }
    server.running("extract", -1);
    let page = |query: &str| get(&server, &format!("task-instances/weather/r1{query}")).is(200).json();
    let all = page("");
    let items = all["items"].as_array().unwrap();
    assert_eq!(items.len(), 4);
    assert!(items.iter().all(|item| item["state"] == "running" && item["attempt"]["try_number"] == 1));
    let (first, last) = (page("?limit=2"), &page("?limit=2")["items"][1]["key"]);
    let (task, index) = (last["task_id"].as_str().unwrap(), last["map_index"].as_i64().unwrap());
    let rest = page(&format!("?after_task_id={task}&after_map_index={index}"));
    let both: Vec<Json> =
        [first, rest].iter().flat_map(|page| page["items"].as_array().unwrap().clone()).collect();
    assert_eq!(&both, items);
    assert_eq!(get(&server, "task-instances/weather/none").is(200).json(), json!({"items": []}));
}

#[test]
fn runs_are_for_people() {
    let server = Server::new();
    server.run("r1");
    let task = server.running("extract", -1);
    for path in ["runs", "runs/weather/r1", "task-instances/weather/r1"] {
        server.call(&task.token, Method::GET, &format!("/api/excom/v1/{path}"), None).is(403);
        server.call("", Method::GET, &format!("/api/excom/v1/{path}"), None).is(401);
    }
}
