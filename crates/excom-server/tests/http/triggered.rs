//! Runs that tasks trigger, clear and ask for, and what they ask for that is not kept here.

use std::ops::Range;

use axum::http::{Method, Request};
use excom_core::DagRun;
use excom_server::Role;
use futures_util::future::try_join_all;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value as Json, json};

use crate::client::{Server, Worker, begin};

fn trigger(task: &Worker<'_>, run: &str, body: &Json) -> crate::client::Answer {
    task.call(Method::POST, &format!("/dag-runs/other/{run}"), Some(body))
}

#[test]
fn a_run_that_is_triggered_waits_until_somebody_starts_it() {
    let server = Server::new();
    server.run("r1");
    let task = server.running("extract", -1);
    let date = "2026-11-20T10:00:00Z";
    trigger(&task, "t1", &json!({"logical_date": date, "conf": {"n": 1}, "note": "by hand"})).is(204);
    assert_eq!(task.get("/dag-runs/other/t1/state").is(200).json(), json!({"state": "queued"}));
    let told = task.get("/dag-runs/other/t1").is(200).json();
    assert_eq!((&told["logical_date"], &told["conf"]), (&json!(date), &json!({"n": 1})));
    assert_eq!(told["start_date"], json!(null));
    assert_eq!(task.get("/dag-runs/count?dag_id=other&states=queued").is(200).text, "1");
    let again = trigger(&task, "t1", &json!({})).is(409).json();
    assert_eq!(again["detail"]["reason"], "already_exists");
    // Whoever executes runs finds it, and starts it as it was triggered.
    let admin = server.person(Role::Admin);
    let listed = server.call(&admin, Method::GET, "/api/excom/v1/runs?dag_id=other", None).is(200).json();
    assert_eq!((&listed["items"][0]["run_id"], &listed["items"][0]["state"]), (&json!("t1"), &json!(null)));
    let start = json!({"dag_id": "other", "run_id": "t1"});
    server.call(&admin, Method::POST, "/api/excom/v1/runs", Some(&start)).is(201);
    let told = task.get("/dag-runs/other/t1").is(200).json();
    assert_eq!(
        (&told["state"], &told["logical_date"], &told["conf"]),
        (&json!("running"), &json!(date), &json!({"n": 1}))
    );
    trigger(&task, "t1", &json!({})).is(409);
}

#[test]
fn a_run_without_anything_said_is_due_now_and_has_no_parameters() {
    let server = Server::new();
    server.run("r1");
    let task = server.running("extract", -1);
    trigger(&task, "t2", &json!({})).is(204);
    let told = task.get("/dag-runs/other/t2").is(200).json();
    assert_eq!((&told["logical_date"], &told["conf"]), (&json!(null), &json!({})));
    assert!(told["run_after"].is_string(), "{told}");
    assert_eq!(task.get("/dag-runs/count?dag_id=other&states=queued").is(200).text, "1");
    trigger(&task, "t2", &json!({})).is(409);
}

#[test]
fn who_was_superseded_triggers_and_clears_nothing() {
    let server = Server::new();
    server.run("r1");
    let (late, task) = (server.running("extract", -1), server.running("extract", -1));
    trigger(&late, "t1", &json!({})).is(410);
    late.call(Method::POST, "/dag-runs/weather/r1/clear", None).is(410);
    task.own(Method::PUT, "heartbeat", &json!({"hostname": "vm", "pid": 12})).is(204);
    task.get("/dag-runs/other/t1").is(404);
}

#[test]
fn what_is_no_run_is_not_triggered() {
    let server = Server::new();
    server.run("r1");
    let task = server.running("extract", -1);
    trigger(&task, "t1", &json!({"conf": null})).is(422);
    trigger(&task, "t1", &json!({"conf": [1]})).is(422);
    trigger(&task, "t1", &json!({"logical_date": "2026-11-20"})).is(422);
    trigger(&task, "t1", &json!({"weather": 1})).is(422);
    trigger(&task, "t1", &json!({"conf": {"large": "x".repeat(1 << 20)}})).is(413);
    let refused = trigger(&task, "t1", &json!({"partition_key": "p"})).is(400).json();
    assert_eq!(refused["detail"]["reason"], "not_partitioned");
    trigger(&task, &"a".repeat(251), &json!({})).is(422);
    task.get("/dag-runs/other/t1/state").is(404);
    let queued = server.queued("load", -1, 1).1;
    server.call(&queued, Method::POST, "/execution/dag-runs/other/t1", Some(&json!({}))).is(403);
}

#[test]
fn of_two_that_trigger_a_run_at_once_one_is_told_that_it_is_there() {
    let server = Server::new();
    server.run("r1");
    let (one, two) = (server.running("one", -1), server.running("two", -1));
    for round in 0..10 {
        let (one, two) = (&one, &two);
        let mut told = std::thread::scope(|scope| {
            let both = [(one, 1), (two, 2)].map(|(task, n)| {
                scope.spawn(move || {
                    trigger(task, &format!("t{round}"), &json!({"conf": {"n": n}})).status.as_u16()
                })
            });
            both.map(|one| one.join().unwrap())
        });
        told.sort_unstable();
        assert_eq!(told, [204, 409]);
    }
}

#[test]
fn a_run_that_is_cleared_is_executed_again() {
    let server = Server::new();
    server.run("r1");
    let (asks, goes_on) = (server.running("asks", -1), server.running("goes_on", -1));
    let done = server.running("extract", -1);
    done.push("extract/return_value", &json!(1)).is(201);
    done.ends("success").is(204);
    asks.own(Method::PATCH, "skip-downstream", &json!({"tasks": ["left"]})).is(204);
    let end = json!({"dag_id": "weather", "run_id": "r1", "state": "success"});
    server.call(&server.person(Role::Admin), Method::PATCH, "/api/excom/v1/runs", Some(&end)).is(200);
    let other = server.running("other", -1);
    other.call(Method::POST, "/dag-runs/weather/r1/clear", None).is(204);
    let states = asks.get("/task-instances/states?dag_id=weather&run_ids=r1").json();
    assert_eq!(
        states["task_states"]["r1"],
        json!({"asks": "scheduled", "extract": "scheduled", "goes_on": "scheduled", "left": "scheduled", "other": "scheduled"})
    );
    assert_eq!(other.get("/dag-runs/weather/r1/state").json(), json!({"state": "running"}));
    // One that still goes on is stopped.
    goes_on.own(Method::PUT, "heartbeat", &json!({"hostname": "vm", "pid": 12})).is(409);
    goes_on.ends("success").is(409);
    // What it pushed is there until it starts again.
    other.get("/xcoms/weather/r1/extract/return_value").is(200);
    let again = server.started(server.queued("extract", -1, 2));
    again.get("/xcoms/weather/r1/extract/return_value").is(404);
    server.running("left", -1).ends("success").is(204);
    other.call(Method::POST, "/dag-runs/weather/never/clear", None).is(404);
}

#[test]
fn the_run_before_a_date_is_told_or_null() {
    let server = Server::new();
    server.run("r1");
    let task = server.running("extract", -1);
    let admin = server.person(Role::Admin);
    for (run, date, state) in
        [("d1", "2026-11-01T00:00:00Z", "success"), ("d2", "2026-11-02T00:00:00Z", "failed")]
    {
        trigger(&task, run, &json!({"logical_date": date})).is(204);
        let end = json!({"dag_id": "other", "run_id": run, "state": state});
        server.call(&admin, Method::PATCH, "/api/excom/v1/runs", Some(&end)).is(200);
    }
    trigger(&task, "d3", &json!({"logical_date": "2026-11-03T00:00:00Z"})).is(204);
    // One without a date is before none, and is not passed on the way.
    trigger(&task, "undated", &json!({"run_after": "2026-11-03T12:00:00Z"})).is(204);
    let before = |date: &str, more: &str| {
        let path = format!("/dag-runs/previous?dag_id=other&logical_date={date}{more}");
        task.get(&path).is(200).json()["run_id"].clone()
    };
    assert_eq!(before("2026-11-04T00:00:00Z", ""), "d3");
    assert_eq!(before("2026-11-03T00:00:00Z", ""), "d2");
    assert_eq!(before("2026-11-03T00:00:00Z", "&state=success"), "d1");
    assert_eq!(before("2026-11-09T00:00:00Z", "&state=queued"), "d3");
    assert_eq!(before("2026-11-09T00:00:00Z", "&state=running"), json!(null));
    assert_eq!(before("2026-11-01T00:00:00Z", ""), json!(null));
    assert_eq!(task.get("/dag-runs/previous?dag_id=other&logical_date=2026-11-01T00:00:00Z").text, "null");
    for wrong in [
        "logical_date=2026-11-01T00:00:00Z",
        "dag_id=other",
        "dag_id=other&logical_date=yesterday",
        "dag_id=other&logical_date=2026-11-01T00:00:00Z&state=tired",
    ] {
        task.get(&format!("/dag-runs/previous?{wrong}")).is(422);
    }
}

#[test]
fn older_workers_ask_for_the_run_before_elsewhere() {
    let server = Server::new();
    server.run("r1");
    let task = server.running("extract", -1);
    trigger(&task, "d1", &json!({"logical_date": "2026-11-01T00:00:00Z"})).is(204);
    let path = "/execution/dag-runs/other/previous?logical_date=2026-11-02T00:00:00Z";
    let call = |version: &str| {
        let request = Request::get(path)
            .header("airflow-api-version", version)
            .header("authorization", format!("Bearer {}", task.token));
        server.send(request.body(axum::body::Body::empty()).unwrap())
    };
    assert_eq!(call("2025-11-05").is(200).json()["run_id"], "d1");
    // Since then it is a run with that id.
    call("2026-04-06").is(404);
}

#[test]
fn the_instance_of_a_task_in_a_run_before_is_told_or_null() {
    let server = Server::new();
    server.run("r1");
    let first = server.running("extract", -1);
    first.ends("success").is(204);
    let admin = server.person(Role::Admin);
    let run = json!({"dag_id": "weather", "run_id": "r2", "logical_date": "2026-11-22T10:00:00Z"});
    server.call(&admin, Method::POST, "/api/excom/v1/runs", Some(&run)).is(201);
    let instance = json!({"dag_id": "weather", "run_id": "r2", "task_id": "extract"});
    let queued =
        server.call(&admin, Method::POST, "/api/excom/v1/task-instances", Some(&instance)).is(201).json();
    let text = |name: &str| queued[name].as_str().unwrap().to_owned();
    let path = format!("/execution/task-instances/{}/run", text("id"));
    server.call(&text("token"), Method::PATCH, &path, Some(&begin())).is(200);
    let before = |what: &str| first.get(&format!("/task-instances/previous/weather/{what}")).is(200).json();
    let told = before("extract?logical_date=2026-11-22T10:00:00Z&map_index=-1&state=success");
    assert_eq!(
        (&told["run_id"], &told["state"], &told["try_number"], &told["logical_date"]),
        (&json!("r1"), &json!("success"), &json!(1), &json!("2026-11-21T10:00:00Z"))
    );
    assert!(told["end_date"].is_string() && told["duration"].is_number(), "{told}");
    assert_eq!(before("extract")["run_id"], "r2");
    assert_eq!(before("extract?state=failed"), json!(null));
    assert_eq!(before("extract?map_index=3"), json!(null));
    // What Airflow has and no instance here ever is.
    assert_eq!(
        [before("extract?state=awaiting_input"), before("extract?state=restarting")],
        [json!(null), json!(null)]
    );
    assert_eq!(before("nobody"), json!(null));
    assert_eq!(before("extract?logical_date=2026-11-21T10:00:00Z"), json!(null));
    first.get("/task-instances/previous/weather/extract?state=tired").is(422);
    first.get("/task-instances/previous/weather/extract?map_index=x").is(422);
}

#[test]
fn an_instance_is_looked_for_in_so_many_runs() {
    let server = Server::new();
    server.run("r1");
    let first = server.running("extract", -1);
    let since: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let later = |runs: Range<i64>| {
        let known = runs.map(async |n| {
            let run = DagRun::new("weather", format!("later{n}"), since + SignedDuration::from_secs(n));
            server.engine.db().register_run(&run).await
        });
        runtime.block_on(try_join_all(known)).unwrap();
    };
    later(0..9_999);
    let path = "/task-instances/previous/weather/extract";
    assert_eq!(first.get(path).is(200).json()["run_id"], "r1", "behind 9,999 runs");
    later(9_999..10_001);
    let refused = first.get(path).is(400).json();
    assert_eq!(refused["detail"]["reason"], "too_many", "{refused}");
    // With a date, runs without one are passed over.
    assert_eq!(
        first.get(&format!("{path}?logical_date=2026-12-31T00:00:00Z")).is(200).json()["run_id"],
        "r1"
    );
}

#[test]
fn a_dag_is_known_by_its_runs() {
    let server = Server::new();
    server.run("r1");
    let task = server.running("extract", -1);
    let told = task.get("/dags/weather").is(200).json();
    let of_nothing = json!({
        "dag_id": "weather", "is_paused": false, "bundle_name": null, "bundle_version": null, "relative_fileloc": null,
        "owners": null, "tags": [], "next_dagrun": null,
    });
    assert_eq!(told, of_nothing);
    assert_eq!(task.get("/dags/nowhere").is(404).json()["detail"]["reason"], "not_found");
}

#[test]
fn what_airflows_own_server_keeps_is_refused_and_says_so() {
    let server = Server::new();
    server.run("r1");
    let task = server.running("extract", -1);
    for path in [
        "/store/asset/by-name/get?name=a&key=k",
        "/connection-tests/01936a5e-7b1c-7000-8000-000000000001/connection",
    ] {
        let told = task.get(path).is(400).json();
        assert_eq!(told["detail"]["reason"], "not_kept_here", "{path}");
        assert!(told["detail"]["message"].as_str().unwrap().contains("Airflow's own server"), "{told}");
        server.call("", Method::GET, &format!("/execution{path}"), None).is(401);
    }
}
