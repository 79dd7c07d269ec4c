//! What tasks ask people, and what is answered.

use axum::http::Method;
use excom_server::Role;
use serde_json::{Value as Json, json};

use crate::client::{Answer, Server, Worker, begin};

const PLACE: &str = "/api/v2/dags/weather/dagRuns/r1/taskInstances/asks/-1/hitlDetails";

fn question(task: &Worker<'_>) -> Json {
    json!({
        "ti_id": task.id, "options": ["Approve", "Reject"], "subject": "Shall it rain?", "body": null,
        "defaults": ["Reject"], "multiple": false, "params": {"n": {"value": 1, "description": "how much", "schema": {}}, "m": 2},
        "assigned_users": null,
    })
}

fn detail(task: &Worker<'_>, method: Method, body: Option<&Json>) -> Answer {
    task.call(method, &format!("/hitlDetails/{}", task.id), body)
}

fn answered(server: &Server, role: Role, options: &Json) -> Answer {
    let body = json!({"chosen_options": options, "params_input": {"n": 3, "m": 4}});
    server.call(&server.person(role), Method::PATCH, PLACE, Some(&body))
}

fn park(task: &Worker<'_>) -> Answer {
    let body = json!({
        "state": "awaiting_input", "timeout": "PT5M", "next_method": "execute_complete", "next_kwargs": {"k": 1},
        "rendered_map_index": null,
    });
    task.own(Method::PATCH, "state", &body)
}

/// What the attempt is told when it goes on.
fn resumed(server: &Server, task: &Worker<'_>) -> Json {
    let again = json!({"dag_id": "weather", "run_id": "r1", "task_id": "asks", "id": task.id});
    let admin = server.person(Role::Admin);
    let queued =
        server.call(&admin, Method::POST, "/api/excom/v1/task-instances", Some(&again)).is(201).json();
    let path = format!("/execution/task-instances/{}/run", task.id);
    server.call(queued["token"].as_str().unwrap(), Method::PATCH, &path, Some(&begin())).is(200).json()
}

#[test]
fn a_task_that_asks_goes_on_with_the_first_answer() {
    let server = Server::new();
    server.run("r1");
    let task = server.running("asks", -1);
    detail(&task, Method::GET, None).is(404);
    let asked = detail(&task, Method::POST, Some(&question(&task))).is(201).json();
    let mut whole = question(&task);
    whole["assigned_users"] = json!([]);
    assert_eq!(asked, whole);
    let nothing = json!({
        "response_received": false, "responded_by_user": null, "responded_at": null, "chosen_options": [], "params_input": {},
    });
    assert_eq!(detail(&task, Method::GET, None).is(200).json(), nothing);
    park(&task).is(204);
    park(&task).is(200);
    let admin = server.person(Role::Admin);
    let place = "/api/excom/v1/task-instances/weather/r1/asks/-1";
    let shown = server.call(&admin, Method::GET, place, None).is(200).json();
    assert_eq!((&shown["state"], &shown["deferral"]["classpath"]), (&json!("deferred"), &json!(null)));
    assert_eq!(shown["deferral"]["trigger_timeout"], "PT5M");

    let shown = server.call(&server.person(Role::Read), Method::GET, PLACE, None).is(200).json();
    assert_eq!((&shown["subject"], &shown["response_received"]), (&json!("Shall it rain?"), &json!(false)));
    assert_eq!(shown["task_instance"]["state"], "awaiting_input");
    assert_eq!(shown["params"]["m"], json!({"value": 2, "description": null, "schema": {}}));
    answered(&server, Role::Read, &json!(["Approve"])).is(403);
    let told = answered(&server, Role::Write, &json!(["Approve"])).is(200).json();
    assert_eq!(told["responded_by"], json!({"id": "ana", "name": "ana"}));
    answered(&server, Role::Write, &json!(["Reject"])).is(409);

    let context = resumed(&server, &task);
    assert_eq!(context["next_method"], "execute_complete");
    let (kwargs, event) = (&context["next_kwargs"], &context["next_kwargs"]["event"]);
    assert_eq!(
        (&kwargs["k"], &event["chosen_options"], &event["params_input"], &event["timedout"]),
        (&json!(1), &json!(["Approve"]), &json!({"n": 3, "m": 4}), &json!(false))
    );
    assert_eq!(event["responded_at"]["__classname__"], "datetime.datetime");
    assert_eq!(event["responded_by_user"], json!({"id": "ana", "name": "ana"}));
    let told = detail(&task, Method::GET, None).is(200).json();
    assert_eq!((&told["response_received"], &told["chosen_options"]), (&json!(true), &json!(["Approve"])));
}

#[test]
fn an_answer_may_come_before_the_task_waits_for_it() {
    let server = Server::new();
    server.run("r1");
    let task = server.running("asks", -1);
    detail(&task, Method::POST, Some(&question(&task))).is(201);
    answered(&server, Role::Write, &json!(["Reject"])).is(200);
    park(&task).is(204);
    assert_eq!(resumed(&server, &task)["next_kwargs"]["event"]["chosen_options"], json!(["Reject"]));
}

#[test]
fn a_question_that_is_asked_again_has_no_answer_any_more() {
    let server = Server::new();
    server.run("r1");
    let task = server.running("asks", -1);
    detail(&task, Method::POST, Some(&question(&task))).is(201);
    answered(&server, Role::Write, &json!(["Reject"])).is(200);
    let mut other = question(&task);
    other["subject"] = json!("Another?");
    let asked = detail(&task, Method::POST, Some(&other)).is(201).json();
    assert_eq!(asked["subject"], "Shall it rain?");
    assert_eq!(detail(&task, Method::GET, None).json()["response_received"], json!(false));
    answered(&server, Role::Write, &json!(["Approve"])).is(200);
    // The next try asks for itself.
    let next = server.started(server.queued("asks", -1, 2));
    detail(&next, Method::GET, None).is(404);
    server.call(&server.person(Role::Read), Method::GET, PLACE, None).is(404);
    detail(&next, Method::POST, Some(&other)).is(201);
    answered(&server, Role::Write, &json!(["Approve"])).is(200);
    detail(&task, Method::GET, None).is(410);
}

#[test]
fn the_defaults_are_taken_when_a_worker_says_so() {
    let server = Server::new();
    server.run("r1");
    let task = server.running("asks", -1);
    let choice = json!({"ti_id": task.id, "chosen_options": ["Reject"], "params_input": {}});
    detail(&task, Method::PATCH, Some(&choice)).is(404);
    detail(&task, Method::POST, Some(&question(&task))).is(201);
    let told = detail(&task, Method::PATCH, Some(&choice)).is(200).json();
    assert_eq!((&told["chosen_options"], &told["responded_by_user"]), (&json!(["Reject"]), &json!(null)));
    detail(&task, Method::PATCH, Some(&choice)).is(409);
    answered(&server, Role::Write, &json!(["Approve"])).is(409);
}

#[test]
fn what_is_no_question_and_what_is_no_answer_is_refused() {
    let server = Server::new();
    server.run("r1");
    let task = server.running("asks", -1);
    let asked = |name: &str, value: Json| {
        let mut body = question(&task);
        body[name] = value;
        detail(&task, Method::POST, Some(&body))
    };
    asked("options", json!([])).is(422);
    asked("ti_id", json!("me")).is(422);
    asked("subject", json!(null)).is(422);
    task.own(Method::PATCH, "state", &json!({"state": "awaiting_input"})).is(422);
    let other = server.running("other", -1);
    task.call(Method::GET, &format!("/hitlDetails/{}", other.id), None).is(403);
    asked("assigned_users", json!([{"id": "bob", "name": "Bob"}])).is(201);
    answered(&server, Role::Admin, &json!(["Approve"])).is(403);

    detail(&other, Method::POST, Some(&question(&other))).is(201);
    let place = PLACE.replace("asks", "other");
    let answer = |body: Json| server.call(&server.person(Role::Write), Method::PATCH, &place, Some(&body));
    answer(json!({"chosen_options": ["Maybe"]})).is(400);
    answer(json!({"chosen_options": ["Approve", "Reject"]})).is(400);
    answer(json!({"chosen_options": []})).is(422);
    answer(json!({})).is(422);
    // It would make an object of a class of somebody's choice in a worker.
    let object = json!({"__classname__": "os.system", "__data__": "true"});
    answer(json!({"chosen_options": ["Approve"], "params_input": {"n": [object]}})).is(422);
    server.call(&task.token, Method::PATCH, &place, Some(&json!({"chosen_options": ["Approve"]}))).is(403);
    for nowhere in ["never/-1", "asks/x", "asks/7"] {
        let status = server
            .call(&server.person(Role::Read), Method::GET, &PLACE.replace("asks/-1", nowhere), None)
            .status;
        assert!([404, 422].contains(&status.as_u16()), "{nowhere}: {status}");
    }
}
