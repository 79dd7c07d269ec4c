//! Variables as Airflow's REST API has them.

use std::thread;

use axum::http::{Method, StatusCode};
use excom_server::Role;
use serde_json::{Value as Json, json};

use crate::client::{Answer, Server};

const VARIABLES: &str = "/api/v2/variables";

fn call(server: &Server, role: Role, method: Method, path: &str, body: Option<&Json>) -> Answer {
    server.call(&server.person(role), method, &format!("{VARIABLES}{path}"), body)
}

fn made(server: &Server, key: &str, value: &Json) -> Json {
    call(server, Role::Write, Method::POST, "", Some(&json!({"key": key, "value": value}))).is(201).json()
}

fn keys(server: &Server, query: &str) -> Vec<String> {
    let list = call(server, Role::Read, Method::GET, query, None).is(200).json();
    let key = |variable: &Json| variable["key"].as_str().unwrap().to_owned();
    list["variables"].as_array().unwrap().iter().map(key).collect()
}

#[test]
fn of_several_who_make_a_variable_at_once_one_does_and_changes_of_parts_are_all_kept() {
    let server = Server::new();
    for round in 0..20 {
        let body = |who: usize| json!({"key": format!("k{round}"), "value": format!("of {who}")});
        let answers: Vec<Answer> = thread::scope(|scope| {
            let post = |who| call(&server, Role::Write, Method::POST, "", Some(&body(who)));
            let all: Vec<_> = (0..6).map(|who| scope.spawn(move || post(who))).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let (won, lost): (Vec<_>, Vec<_>) =
            answers.into_iter().partition(|answer| answer.status == StatusCode::CREATED);
        assert!(won.len() == 1 && lost.len() == 5, "{won:?}");
        assert!(lost.iter().all(|answer| answer.status == StatusCode::CONFLICT), "{lost:?}");
        let stored = call(&server, Role::Read, Method::GET, &format!("/k{round}"), None).is(200).json();
        assert_eq!(stored, won[0].json(), "what is stored is of who was told so");
    }

    // One changes the text, and one what it is for.
    thread::scope(|scope| {
        for (field, other) in [("value", "description"), ("description", "value")] {
            let server = &server;
            scope.spawn(move || {
                for number in 0..100 {
                    let body = json!({"key": "k0", field: format!("{field} {number}"), other: "not this"});
                    let path = format!("/k0?update_mask={field}");
                    let told = call(server, Role::Write, Method::PATCH, &path, Some(&body)).is(200).json();
                    assert_eq!(told[field], format!("{field} {number}"), "nobody else writes it");
                }
            });
        }
    });
    let left = call(&server, Role::Read, Method::GET, "/k0", None).is(200).json();
    assert_eq!((&left["value"], &left["description"]), (&json!("value 99"), &json!("description 99")));
}

#[test]
fn a_variable_is_made_looked_at_changed_and_deleted() {
    let server = Server::new();
    let new = json!({"key": "greeting/de", "value": "hallo", "description": "of tests"});
    let made = call(&server, Role::Write, Method::POST, "", Some(&new)).is(201).json();
    let told = json!({
        "key": "greeting/de", "value": "hallo", "description": "of tests", "is_encrypted": false, "team_name": null,
    });
    assert_eq!(made, told);
    let again = call(&server, Role::Write, Method::POST, "", Some(&new)).is(409).json();
    assert_eq!(again["detail"], "The Variable with key: `greeting/de` already exists");
    assert_eq!(call(&server, Role::Read, Method::GET, "/greeting/de", None).is(200).json(), told);
    // Tasks have the same ones.
    server.run("r1");
    let task = server.running("extract", -1);
    assert_eq!(task.get("/variables/greeting/de").is(200).json()["value"], "hallo");

    let change = |query: &str, body: Json| {
        let path = format!("/greeting/de{query}");
        call(&server, Role::Write, Method::PATCH, &path, Some(&body))
    };
    let changed = change("", json!({"key": "greeting/de", "value": {"a": [1.0]}})).is(200).json();
    assert_eq!((&changed["value"], &changed["description"]), (&json!("{\"a\": [1.0]}"), &json!("of tests")));
    assert_eq!(task.get("/variables/greeting/de").is(200).json()["value"], "{\n  \"a\": [\n    1.0\n  ]\n}");
    let both = || json!({"key": "greeting/de", "value": "moin", "description": "other"});
    let changed = change("?update_mask=description", both()).is(200).json();
    assert_eq!((&changed["value"], &changed["description"]), (&json!("{\"a\": [1.0]}"), &json!("other")));
    let changed = change("?update_mask=value&update_mask=nothing", both()).is(200).json();
    assert_eq!((&changed["value"], &changed["description"]), (&json!("moin"), &json!("other")));
    let without = json!({"key": "greeting/de", "value": "moin", "description": null});
    assert_eq!(change("", without).is(200).json()["description"], json!(null));
    change("?update_mask=key", both()).is(400);
    change("", json!({"key": "other", "value": "x"})).is(400);
    change("", json!({"key": "greeting/de"})).is(422);

    call(&server, Role::Admin, Method::DELETE, "/greeting/de", None).is(204);
    let gone = "The Variable with key: `greeting/de` was not found";
    for method in [Method::GET, Method::DELETE] {
        let told = call(&server, Role::Admin, method, "/greeting/de", None).is(404).json();
        assert_eq!(told["detail"], gone);
    }
    assert_eq!(change("", both()).is(404).json()["detail"], gone);
    let none = call(&server, Role::Read, Method::GET, "/", None).is(404).json();
    assert_eq!(none["detail"], "The Variable with key: `` was not found");
    call(&server, Role::Read, Method::GET, &format!("/{}", "k".repeat(251)), None).is(404);
}

#[test]
fn what_a_name_says_to_be_a_secret_is_shown_to_nobody() {
    let server = Server::new();
    for (key, value, shown) in [
        ("plain", json!("hunter2"), "hunter2"),
        ("my API-Key", json!("hunter2"), "***"),
        ("password", json!(12345), "\"***\""),
        ("secret", json!({"a": ["hunter2", null]}), "{\"a\": [\"***\", null]}"),
        (
            "server",
            json!({"host": "h", "login": {"password": "hunter2"}}),
            "{\"host\": \"h\", \"login\": {\"password\": \"***\"}}",
        ),
        ("text of JSON", json!("{\"token\": \"hunter2\", \"é\": 1}"), "{\"token\": \"***\", \"\\u00e9\": 1}"),
    ] {
        assert_eq!(made(&server, key, &value)["value"], shown, "{key}");
        let path = format!("/{}", key.replace(' ', "%20"));
        assert_eq!(
            call(&server, Role::Admin, Method::GET, &path, None).is(200).json()["value"],
            shown,
            "{key}"
        );
        let body = json!({"key": key, "value": value});
        let changed = call(&server, Role::Write, Method::PATCH, &path, Some(&body)).is(200).json();
        assert_eq!(changed["value"], shown, "{key}");
    }
    let all = call(&server, Role::Admin, Method::GET, "", None).is(200);
    assert_eq!(all.text.matches("hunter2").count(), 1, "{}", all.text);
}

#[test]
fn variables_are_listed_by_patterns_in_order_and_pages() {
    let server = Server::new();
    for (key, description) in [("b", Some("2")), ("a/x", Some("1")), ("A", None), ("c_1", Some("3"))] {
        let new = json!({"key": key, "value": "v", "description": description});
        call(&server, Role::Write, Method::POST, "", Some(&new)).is(201);
    }
    assert_eq!(keys(&server, ""), ["A", "a/x", "b", "c_1"]);
    for (query, found) in [
        ("?variable_key_pattern=a", &["A", "a/x"][..]),
        ("?variable_key_pattern=a%25x|b", &["a/x", "b"]),
        ("?variable_key_prefix_pattern=a", &["a/x"]),
        ("?variable_key_pattern=~", &["A", "a/x", "b", "c_1"]),
        ("?order_by=-key", &["c_1", "b", "a/x", "A"]),
        ("?order_by=description", &["a/x", "b", "c_1", "A"]),
        ("?order_by=-description", &["A", "c_1", "b", "a/x"]),
        ("?order_by=-is_encrypted", &["c_1", "b", "a/x", "A"]),
        ("?order_by=is_encrypted&order_by=-key&limit=2", &["c_1", "b"]),
        ("?limit=2&offset=1", &["a/x", "b"]),
        ("?limit=0", &[]),
        ("?offset=9", &[]),
    ] {
        assert_eq!(keys(&server, query), found, "{query}");
    }
    let page = call(&server, Role::Read, Method::GET, "?limit=1", None).is(200).json();
    assert_eq!(page["total_entries"], 4);
    call(&server, Role::Read, Method::GET, "?limit=-1", None).is(422);
    call(&server, Role::Read, Method::GET, "?order_by=value", None).is(400);
}

#[test]
fn what_is_no_variable_is_refused_and_roles_bound_what_people_do() {
    let server = Server::new();
    for body in [
        json!({}),
        json!({"key": "k"}),
        json!({"value": "v"}),
        json!({"key": 1, "value": "v"}),
        json!({"key": "k", "value": "v", "more": 1}),
        json!({"key": "k", "value": "v", "description": 1}),
        json!({"key": "k", "value": "v", "team_name": "t"}),
        json!({"key": "k".repeat(251), "value": "v"}),
        json!({"key": "", "value": "v"}),
    ] {
        call(&server, Role::Admin, Method::POST, "", Some(&body)).is(422);
    }
    let new = json!({"key": "k", "value": "v"});
    server.call("", Method::GET, VARIABLES, None).is(401);
    call(&server, Role::Read, Method::POST, "", Some(&new)).is(403);
    call(&server, Role::Write, Method::POST, "", Some(&new)).is(201);
    call(&server, Role::Read, Method::PATCH, "/k", Some(&new)).is(403);
    call(&server, Role::Write, Method::DELETE, "/k", None).is(403);
    call(&server, Role::Read, Method::PUT, "/k", Some(&new)).is(405);
    server.run("r1");
    let task = server.running("extract", -1);
    server.call(&task.token, Method::GET, VARIABLES, None).is(403);
    server.call(&task.token, Method::GET, &format!("{VARIABLES}/k"), None).is(403);
}

#[test]
fn a_value_that_is_too_deep_is_refused() {
    let server = Server::new();
    let deep = (0..2000).fold(json!(1), |inside, _| json!([inside]));
    let new = json!({"key": "deep", "value": deep});
    call(&server, Role::Write, Method::POST, "", Some(&new)).is(422);
    made(&server, "deep", &json!([[1]]));
    call(&server, Role::Write, Method::PATCH, "/deep", Some(&new)).is(422);
}
