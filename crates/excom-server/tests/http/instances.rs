//! A task instance starts, lives, and ends.

use axum::http::Method;
use excom_server::Role;
use serde_json::json;

use crate::client::{Server, begin};

#[test]
fn a_start_tells_what_the_supervisor_insists_on() {
    let server = Server::new();
    server.run("r1");
    let (id, token) = server.queued("extract", -1, 1);
    let path = format!("/execution/task-instances/{id}/run");
    let started = server.call(&token, Method::PATCH, &path, Some(&begin())).is(200);
    let context = started.json();
    for name in [
        "dag_id",
        "run_id",
        "logical_date",
        "data_interval_start",
        "data_interval_end",
        "run_after",
        "start_date",
        "end_date",
        "run_type",
        "state",
        "consumed_asset_events",
        "partition_key",
    ] {
        assert!(context["dag_run"].get(name).is_some(), "{name} is missing: {context}");
    }
    assert_eq!(context["dag_run"]["logical_date"], "2026-11-21T10:00:00Z");
    assert_eq!(context["max_tries"], 2);
    assert_eq!(context["should_retry"], true);
    // Its answer was lost: the same call again.
    server.call(&token, Method::PATCH, &path, Some(&begin())).is(200);
    assert_ne!(started.refreshed().unwrap(), token);
}

#[test]
fn a_task_ends_once() {
    let server = Server::new();
    server.run("r1");
    let task = server.running("extract", -1);
    task.own(Method::PUT, "heartbeat", &json!({"hostname": "vm", "pid": 12})).is(204);
    task.own(Method::PUT, "rtif", &json!({"bash_command": "echo 1", "env": null})).is(201);
    task.own(Method::PATCH, "rendered-map-index", &json!("first")).is(204);
    task.own(Method::PATCH, "state", &json!({"state": "running"})).is(422);
    task.own(Method::PATCH, "state", &json!({"state": "tired"})).is(422);
    task.ends("success").is(204);
    task.ends("success").is(200);
    assert_eq!(task.ends("failed").is(409).json()["detail"]["previous_state"], "success");
    let told = task.own(Method::PUT, "heartbeat", &json!({"hostname": "vm", "pid": 12})).is(409).json();
    assert_eq!(told["detail"]["reason"], "not_running");
    // Links of operators are pushed after the end.
    task.push("extract/_link_Run", &json!("https://example.test")).is(201);
}

#[test]
fn a_new_try_clears_and_fences_the_one_before() {
    let server = Server::new();
    server.run("r1");
    let first = server.running("extract", -1);
    first.push("extract/partial", &json!(1)).is(201);
    first.ends("up_for_retry").is(204);
    let queued = server.queued("extract", -1, 2);
    let states =
        || first.get("/task-instances/states?dag_id=weather&run_ids=r1").json()["task_states"]["r1"].clone();
    assert_eq!(states(), json!({"extract": "up_for_retry"}));
    // The failed one still may write until the next has started.
    first.push("extract/late", &json!(1)).is(201);
    let second = server.started(queued);
    second.get("/xcoms/weather/r1/extract/partial").is(404);
    let refused = first.push("extract/late", &json!(2)).is(409).json();
    assert_eq!(refused["detail"]["reason"], "superseded");
    first.own(Method::PUT, "heartbeat", &json!({"hostname": "vm", "pid": 12})).is(410);
    first.ends("success").is(410);
    second.push("extract/return_value", &json!(2)).is(201);
}

#[test]
fn a_branch_leaves_out_what_has_not_begun() {
    let server = Server::new();
    server.run("r1");
    let branch = server.running("branch", -1);
    let left = server.running("left", -1);
    branch.own(Method::PATCH, "skip-downstream", &json!({"tasks": ["right", ["left", -1]]})).is(204);
    let states = branch.get("/task-instances/states?dag_id=weather&run_ids=r1").is(200).json();
    assert_eq!(
        states["task_states"]["r1"],
        json!({"branch": "running", "left": "running", "right": "skipped"})
    );
    assert_eq!(
        branch.get("/task-instances/count?dag_id=weather&run_ids=r1&states=running").is(200).text,
        "2"
    );
    left.ends("success").is(204);
    assert_eq!(branch.get("/dag-runs/weather/r1/state").is(200).json(), json!({"state": "running"}));
    assert_eq!(branch.get("/dag-runs/count?dag_id=weather").is(200).text, "1");
}

#[test]
fn versions_are_dates() {
    let server = Server::new();
    let call = |version: &str| {
        let request = axum::http::Request::get("/execution/health").header("airflow-api-version", version);
        server.send(request.body(axum::body::Body::empty()).unwrap())
    };
    assert_eq!(call("2026-06-30").is(200).head["airflow-api-version"], "2026-06-30");
    call("2099-01-01").is(200);
    call("").is(200);
    call("2025-04-10").is(404);
    call("soon").is(422);
}

/// Supervisors refuse what their version has not: here the fields of a run by the date from which it has them.
#[test]
fn an_older_supervisor_is_told_what_its_version_has() {
    let server = Server::new();
    server.run("r1");
    let task = server.running("wait", -1);
    let next = json!({"at": {"__classname__": "datetime.timedelta", "__version__": 1, "__data__": 2.5}});
    let deferred = json!({
        "state": "deferred", "classpath": "a.Trigger", "trigger_kwargs": {}, "next_method": "go_on", "next_kwargs": next,
    });
    task.own(Method::PATCH, "state", &deferred).is(204);
    let again = json!({"dag_id": "weather", "run_id": "r1", "task_id": "wait", "id": task.id});
    let admin = server.person(Role::Admin);
    let resumed =
        server.call(&admin, Method::POST, "/api/excom/v1/task-instances", Some(&again)).is(201).json();
    let token = resumed["token"].as_str().unwrap();
    let call = |version: &str| {
        let request = axum::http::Request::patch(format!("/execution/task-instances/{}/run", task.id))
            .header("airflow-api-version", version)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json");
        server.send(request.body(begin().to_string().into()).unwrap()).is(200).json()
    };
    for (version, gone) in [
        (
            "2025-04-11",
            &["state", "triggering_user_name", "partition_key", "note", "partition_date", "team_name"][..],
        ),
        ("2025-09-01", &["triggering_user_name", "partition_key", "note", "partition_date", "team_name"]),
        ("2025-11-05", &["partition_key", "note", "partition_date", "team_name"]),
        ("2026-04-06", &["partition_date", "team_name"]),
        ("2026-06-30", &[]),
    ] {
        let told = call(version);
        for name in ["state", "triggering_user_name", "partition_key", "note", "partition_date", "team_name"]
        {
            assert_eq!(
                told["dag_run"].get(name).is_none(),
                gone.contains(&name),
                "{version}: {name}: {told}"
            );
        }
        let is_older = version < "2026-04-06";
        assert_eq!(told.get("upstream_map_indexes").is_some(), is_older, "{told}");
        assert_eq!(told.get("start_date").is_none(), is_older, "{told}");
        assert_eq!(told["dag_run"]["logical_date"], "2026-11-21T10:00:00Z");
        let older = json!({"__type": "dict", "__var": {"at": {"__type": "timedelta", "__var": 2.5}}});
        assert_eq!(told["next_kwargs"], if is_older { older } else { next.clone() }, "{version}");
    }
}

#[test]
fn what_comes_too_late_from_a_queue_does_not_start() {
    let server = Server::new();
    server.run("r1");
    let start = |(id, token): &(String, String)| {
        server.call(token, Method::PATCH, &format!("/execution/task-instances/{id}/run"), Some(&begin()))
    };
    let (late, first) = (server.queued("extract", -1, 1), server.queued("extract", -1, 1));
    let task = server.started(first);
    task.push("extract/return_value", &json!(1)).is(201);
    task.ends("success").is(204);
    assert_eq!(start(&late).is(409).json()["detail"]["previous_state"], "success");
    task.get("/xcoms/weather/r1/extract/return_value").is(200);
    // One that a branch left out meanwhile.
    let left_out = server.queued("left", -1, 1);
    let branch = server.running("branch", -1);
    branch.own(Method::PATCH, "skip-downstream", &json!({"tasks": ["left"]})).is(204);
    assert_eq!(start(&left_out).is(409).json()["detail"]["previous_state"], "skipped");
}

#[test]
fn a_queue_ends_no_attempt_and_a_start_does() {
    let server = Server::new();
    server.run("r1");
    let task = server.running("extract", -1);
    let next = server.queued("extract", -1, 2);
    let alive = json!({"hostname": "vm", "pid": 12});
    task.own(Method::PUT, "heartbeat", &alive).is(204);
    let next = server.started(next);
    task.own(Method::PUT, "heartbeat", &alive).is(410);
    next.own(Method::PUT, "heartbeat", &alive).is(204);
}

#[test]
fn what_waited_goes_on_as_the_same_attempt() {
    let server = Server::new();
    server.run("r1");
    let task = server.running("sense", -1);
    task.push("sense/poke", &json!(1)).is(201);
    let queue = |id: &str| {
        let again = json!({"dag_id": "weather", "run_id": "r1", "task_id": "sense", "id": id});
        server.call(&server.person(Role::Admin), Method::POST, "/api/excom/v1/task-instances", Some(&again))
    };
    queue(&task.id).is(409);
    let later =
        json!({"state": "up_for_reschedule", "end_date": null, "reschedule_date": "2026-11-21T10:01:00Z"});
    task.own(Method::PATCH, "state", &later).is(204);
    queue("019aa2b4-5c3e-7a10-8d6f-2f6b1c0a9e11").is(409);
    let queued = queue(&task.id).is(201).json();
    assert_eq!(queued["id"], task.id);
    let again = server.started((task.id, queued["token"].as_str().unwrap().to_owned()));
    again.get("/xcoms/weather/r1/sense/poke").is(200);
}

#[test]
fn runs_are_counted_by_date_and_end() {
    let server = Server::new();
    server.run("r1");
    let task = server.running("extract", -1);
    let count = |query: &str| task.get(&format!("/dag-runs/count?{query}")).is(200).text;
    assert_eq!(count("dag_id=weather&logical_dates=2026-11-21T10:00:00Z"), "1");
    assert_eq!(count("dag_id=weather&logical_dates=2026-11-22T10:00:00Z"), "0");
    assert_eq!(count("dag_id=weather&states=success"), "0");
    task.get("/dag-runs/count").is(422);
    let instances = |query: &str| task.get(&format!("/task-instances/count?{query}"));
    assert_eq!(instances("dag_id=weather&logical_dates=2026-11-21T10:00:00Z").is(200).text, "1");
    instances("dag_id=weather&task_group_id=g").is(422);
    let end = json!({"dag_id": "weather", "run_id": "r1", "state": "success"});
    let patch = |role| server.call(&server.person(role), Method::PATCH, "/api/excom/v1/runs", Some(&end));
    patch(Role::Write).is(403);
    patch(Role::Admin).is(200);
    assert_eq!(count("dag_id=weather&states=success"), "1");
    assert_eq!(task.get("/dag-runs/weather/r1/state").json(), json!({"state": "success"}));
}

#[test]
fn two_workers_with_one_workload_execute_it_once() {
    let server = Server::new();
    server.run("r1");
    let (id, token) = server.queued("extract", -1, 1);
    let path = format!("/execution/task-instances/{id}/run");
    server.call(&token, Method::PATCH, &path, Some(&begin())).is(200);
    let mut other = begin();
    other["pid"] = json!(99);
    let told = server.call(&token, Method::PATCH, &path, Some(&other)).is(409).json();
    assert_eq!(told["detail"]["previous_state"], "running");
    assert!(told["detail"]["message"].as_str().unwrap().contains("process 12 of vm"), "{told}");
    let task = server.started((id, token));
    let told = task.own(Method::PUT, "heartbeat", &json!({"hostname": "vm", "pid": 99})).is(409).json();
    assert_eq!(
        (&told["detail"]["reason"], &told["detail"]["current_pid"]),
        (&json!("running_elsewhere"), &json!(12))
    );
    task.own(Method::PUT, "heartbeat", &json!({"hostname": "vm", "pid": 12})).is(204);
    // A repetition that comes when it has ended starts nothing.
    let running = server.running("load", -1);
    running.ends("success").is(204);
    running.own(Method::PATCH, "run", &begin()).is(409);
    running.own(Method::PUT, "heartbeat", &json!({"hostname": "vm", "pid": 12})).is(409);
}

#[test]
fn what_makes_no_sense_is_not_queued() {
    let server = Server::new();
    server.run("r1");
    let admin = server.person(Role::Admin);
    let post =
        |path: &str, body| server.call(&admin, Method::POST, &format!("/api/excom/v1/{path}"), Some(&body));
    let number = |number: u64| {
        let of = json!({"dag_id": "weather", "run_id": "r1", "task_id": "t", "try_number": number});
        post("task-instances", of)
    };
    number(4_294_967_295).is(422);
    number(32_767).is(201);
    post("runs", json!({"dag_id": "weather", "run_id": "r2", "conf": [1]})).is(422);
    // What an array has is not taken for fields.
    post("runs", json!(["weather", "r2"])).is(422);
    post("prune", json!([false, "weather", 0, null])).is(422);
}

#[test]
fn of_two_that_start_a_run_at_once_one_is_told_that_it_is_not_theirs() {
    let server = Server::new();
    let admin = server.person(Role::Admin);
    for round in 0..20 {
        let start = |n: u32| {
            let run = json!({"dag_id": "weather", "run_id": format!("r{round}"), "conf": {"n": n}});
            server.call(&admin, Method::POST, "/api/excom/v1/runs", Some(&run)).status.as_u16()
        };
        let start = &start;
        let mut told = std::thread::scope(|scope| {
            let both = [1, 2].map(|n| scope.spawn(move || (n, start(n))));
            both.map(|one| one.join().unwrap())
        });
        told.sort_by_key(|(_, status)| *status);
        let [(first, 201), (second, 409)] = told else { panic!("{told:?}") };
        assert_eq!((start(first), start(second)), (200, 409));
    }
}

#[test]
fn what_was_deferred_goes_on_with_what_it_put_down() {
    let server = Server::new();
    server.run("r1");
    let admin = server.person(Role::Admin);
    let task = server.running("wait", -1);
    let kwargs = json!({"moment": {"__classname__": "datetime.datetime", "__data__": 1704067200.5}});
    let deferral = json!({
        "state": "deferred", "classpath": "a.Trigger", "trigger_kwargs": kwargs, "trigger_timeout": "PT5M",
        "next_method": "execute_complete", "next_kwargs": {"n": 1}, "rendered_map_index": "first"});
    let lacking = task.own(Method::PATCH, "state", &json!({"state": "deferred", "classpath": "a.Trigger"}));
    assert_eq!(lacking.is(422).json()["detail"][1]["loc"], json!(["body", "next_method"]));
    task.own(Method::PATCH, "state", &deferral).is(204);
    let place = "/api/excom/v1/task-instances/weather/r1/wait/-1";
    let shown = server.call(&admin, Method::GET, place, None).is(200).json();
    assert_eq!(
        (&shown["state"], &shown["rendered_map_index"]),
        (&json!("deferred"), &json!("first")),
        "{shown}"
    );
    assert_eq!(shown["deferral"]["trigger_kwargs"], kwargs);
    assert_eq!(shown["attempt"]["id"], json!(task.id));

    // Whoever runs triggers adds the event.
    let again = json!({
        "dag_id": "weather", "run_id": "r1", "task_id": "wait", "max_tries": 2, "id": task.id,
        "next_kwargs": {"n": 1, "event": "fired"}});
    let resumed =
        server.call(&admin, Method::POST, "/api/excom/v1/task-instances", Some(&again)).is(201).json();
    let token = resumed["token"].as_str().unwrap();
    let path = format!("/execution/task-instances/{}/run", task.id);
    let mut other = begin();
    other["pid"] = json!(99);
    for _ in 0..2 {
        let answer = server.call(token, Method::PATCH, &path, Some(&other)).is(200);
        let context = answer.json();
        assert_eq!(context["next_method"], "execute_complete");
        assert_eq!(context["next_kwargs"], json!({"n": 1, "event": "fired"}));
        assert!(context["start_date"].is_string());
    }
    server.call(token, Method::PATCH, &path, Some(&begin())).is(409);
    let shown = server.call(&admin, Method::GET, place, None).is(200).json();
    assert_eq!((&shown["state"], &shown["deferral"]), (&json!("running"), &json!(null)));
    let mut late = again;
    server.call(&admin, Method::POST, "/api/excom/v1/task-instances", Some(&late)).is(409);
    late.as_object_mut().unwrap().remove("id");
    server.call(&admin, Method::POST, "/api/excom/v1/task-instances", Some(&late)).is(409);
    server.call(&admin, Method::GET, "/api/excom/v1/task-instances/weather/r1/never/-1", None).is(404);
}

#[test]
fn one_that_is_put_off_counts_how_often() {
    let server = Server::new();
    server.run("r1");
    let admin = server.person(Role::Admin);
    let task = server.running("poke", -1);
    let first = format!("/task-reschedules/{}/start_date", task.id);
    assert_eq!(task.get(&first).is(200).text, "null");
    task.own(Method::PATCH, "state", &json!({"state": "up_for_reschedule"})).is(422);
    for count in 1..3 {
        let date = format!("2026-11-21T1{count}:00:00Z");
        let put_off = json!({"state": "up_for_reschedule", "reschedule_date": date, "end_date": date});
        task.own(Method::PATCH, "state", &put_off).is(204);
        // One whose answer was lost comes again: when it was done, and when it was done by half.
        task.own(Method::PATCH, "state", &put_off).is(200);
        let id = excom_core::AttemptId(task.id.parse().unwrap());
        let ti = excom_core::TaskInstanceKey::new("weather", "r1", "poke", -1).unwrap();
        let attempt = excom_core::Attempt { ti, id };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(server.engine.set_attempt_state(&attempt, excom_core::TaskState::Running)).unwrap();
        task.own(Method::PATCH, "state", &put_off).is(204);
        let shown = server
            .call(&admin, Method::GET, "/api/excom/v1/task-instances/weather/r1/poke/-1", None)
            .is(200)
            .json();
        assert_eq!((&shown["state"], &shown["reschedule_date"]), (&json!("up_for_reschedule"), &json!(date)));
        let context = task.own(Method::PATCH, "run", &begin()).is(200).json();
        assert_eq!(context["task_reschedule_count"], count);
        assert!(context.get("next_method").is_none(), "it begins anew: {context}");
    }
    assert!(task.get(&first).is(200).json().is_string());
    assert_eq!(task.get(&format!("{first}?try_number=2")).is(200).text, "null");
}

#[test]
fn a_task_keeps_values_for_its_next_tries() {
    let server = Server::new();
    server.run("r1");
    let task = server.running("extract", -1);
    let at = |task: &crate::client::Worker<'_>, key: &str| format!("/store/ti/{}/{key}", task.id);
    let put = |key: &str, body| task.call(Method::PUT, &at(&task, key), Some(&body));
    task.get(&at(&task, "cursor")).is(404);
    put("cursor", json!({"value": {"page": 7}})).is(204);
    put("a/b", json!({"value": 1})).is(204);
    put("soon", json!({"value": 1, "expires_at": "2026-11-21T10:00:01Z"})).is(204);
    put("null", json!({"value": null})).is(422);
    put("odd", json!({"value": 1, "more": 1})).is(422);
    task.get(&at(&task, "soon")).is(200);
    server.clock.advance(std::time::Duration::from_secs(10));
    task.get(&at(&task, "soon")).is(404);
    task.ends("up_for_retry").is(204);

    let next = server.running("extract", -1);
    assert_eq!(next.get(&at(&next, "cursor")).is(200).json(), json!({"value": {"page": 7}}));
    next.get(&at(&task, "cursor")).is(403);
    put("cursor", json!({"value": 1})).is(409);
    next.call(Method::DELETE, &at(&next, "a/b"), None).is(204);
    next.get(&at(&next, "a/b")).is(404);
    next.call(Method::DELETE, &format!("/store/ti/{}", next.id), None).is(204);
    next.get(&at(&next, "cursor")).is(404);
}
