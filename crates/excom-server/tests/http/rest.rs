//! XComs as Airflow's REST API has them.

use axum::http::Method;
use excom_server::Role;
use serde_json::{Value as Json, json};

use crate::client::{Answer, Server};

const ENTRIES: &str = "/api/v2/dags/weather/dagRuns/r1/taskInstances/extract/xcomEntries";

fn call(server: &Server, role: Role, method: Method, path: &str, body: Option<&Json>) -> Answer {
    server.call(&server.person(role), method, path, body)
}

fn filled() -> Server {
    let server = Server::new();
    server.run("r1");
    for (task, index) in [("extract", -1), ("load", 0), ("load", 1)] {
        let worker = server.running(task, index);
        for key in ["rows", "Return"] {
            worker
                .push(&format!("{task}/{key}?map_index={index}"), &json!({"task": task, "index": index}))
                .is(201);
        }
        worker.ends("success").is(204);
    }
    server
}

#[test]
fn an_entry_is_looked_at_made_changed_and_deleted() {
    let server = filled();
    let rows = format!("{ENTRIES}/rows");
    let entry = call(&server, Role::Read, Method::GET, &rows, None).is(200).json();
    assert_eq!(entry["value"], json!({"task": "extract", "index": -1}));
    assert_eq!(
        (&entry["dag_id"], &entry["run_id"], &entry["map_index"]),
        (&json!("weather"), &json!("r1"), &json!(-1))
    );
    assert_eq!(entry["logical_date"], "2026-11-21T10:00:00Z");
    let new = json!({"key": "made/by hand", "value": [1, null]});
    let made = call(&server, Role::Write, Method::POST, ENTRIES, Some(&new)).is(201).json();
    assert_eq!((&made["key"], &made["value"]), (&json!("made/by hand"), &json!([1, null])));
    let again = call(&server, Role::Write, Method::POST, ENTRIES, Some(&new)).is(409).json();
    assert_eq!(
        again["detail"],
        "The XCom with key: `made/by hand` with mentioned task instance already exists."
    );
    let path = format!("{ENTRIES}/made/by%20hand");
    let changed =
        call(&server, Role::Write, Method::PATCH, &path, Some(&json!({"value": "x"}))).is(200).json();
    assert_eq!(changed["value"], "x");
    call(&server, Role::Admin, Method::DELETE, &path, None).is(204);
    let gone = call(&server, Role::Admin, Method::DELETE, &path, None).is(404).json();
    assert_eq!(
        gone["detail"],
        "The XCom with key: `made/by hand` with mentioned task instance doesn't exist."
    );
    let gone = call(&server, Role::Read, Method::GET, &path, None).is(404).json();
    assert_eq!(gone["detail"], "XCom entry with key: `made/by hand` not found");
    call(&server, Role::Write, Method::PATCH, &path, Some(&json!({"value": 1}))).is(404);
    call(&server, Role::Write, Method::PUT, &path, Some(&json!({"value": 1}))).is(405);
}

#[test]
fn lists_are_filtered_ordered_and_in_pages() {
    let server = filled();
    let list = |path: &str| call(&server, Role::Read, Method::GET, path, None).is(200).json();
    let all = "/api/v2/dags/~/dagRuns/~/taskInstances/~/xcomEntries";
    let keys = |answer: &Json| -> Vec<String> {
        let entry = |entry: &Json| {
            format!(
                "{} {} {}",
                entry["task_id"].as_str().unwrap(),
                entry["map_index"],
                entry["key"].as_str().unwrap()
            )
        };
        answer["xcom_entries"].as_array().unwrap().iter().map(entry).collect()
    };
    let found = list(all);
    assert_eq!(found["total_entries"], 6);
    assert!(found["xcom_entries"][0].get("value").is_none());
    assert_eq!(keys(&found)[..3], ["extract -1 Return", "extract -1 rows", "load 0 Return"]);
    assert_eq!(keys(&list(&format!("{all}?order_by=-map_index&order_by=-key")))[0], "load 1 rows");
    let page = list(&format!("{all}?limit=2&offset=4"));
    assert_eq!((&page["total_entries"], keys(&page).len()), (&json!(6), 2));
    for (query, count) in [
        ("xcom_key=rows", 3),
        ("xcom_key_pattern=RET", 3),
        ("xcom_key_prefix_pattern=ret", 0),
        ("task_id_pattern=ex%25ct|nothing", 2),
        ("map_index=1", 2),
        ("map_index_filter=-1", 2),
        ("map_index=1&map_index_filter=-1", 0),
        ("map_index=99999999999", 0),
        ("task_id_pattern=l__d", 4),
        ("task_id_prefix_pattern=x|lo", 4),
        ("limit=99999999999999999999", 6),
        ("run_id_pattern=~", 6),
        ("logical_date_gte=2026-11-21T10:00:00Z", 6),
        ("logical_date_gt=2026-11-21T10:00:00Z", 0),
        ("limit=0", 6),
        ("unknown=1", 6),
    ] {
        assert_eq!(list(&format!("{all}?{query}"))["total_entries"], count, "{query}");
    }
    assert_eq!(list("/api/v2/dags/other/dagRuns/~/taskInstances/~/xcomEntries")["total_entries"], 0);
    let wrong =
        |query: &str| call(&server, Role::Read, Method::GET, &format!("{all}?{query}"), None).status.as_u16();
    assert_eq!(["limit=-1", "limit=x", "map_index=-2", "logical_date_lt=soon"].map(wrong), [422; 4]);
    assert_eq!(wrong("order_by=value"), 400);
}

#[test]
fn a_value_is_shown_as_it_is_stored_as_python_has_it_and_as_its_text() {
    let server = filled();
    let task = server.running("shown", -1);
    let shown = |key: &str, query: &str| {
        let path = format!("{}/{key}?{query}", ENTRIES.replace("extract", "shown"));
        call(&server, Role::Read, Method::GET, &path, None).is(200).json()["value"].clone()
    };
    let pair = json!({"__data__": [1, "a"], "__version__": 1, "__classname__": "builtins.tuple"});
    let asset =
        json!({"__data__": {}, "__version__": 1, "__classname__": "airflow.sdk.definitions.asset.Asset"});
    for (key, value, deserialized, stringified, both) in [
        ("null", json!(null), json!(null), json!(null), json!(null)),
        ("text", json!("it's"), json!("it's"), json!("it's"), json!("it's")),
        ("number", json!("5"), json!(5), json!("5"), json!("5")),
        (
            "list",
            json!(["it's", 1.0]),
            json!(["it's", 1.0]),
            json!("[\"it's\", 1.0]"),
            json!("[\"it's\", 1.0]"),
        ),
        (
            "pair",
            json!({"a": pair}),
            json!({"a": "(1,a)"}),
            json!("{'a': {'__data__': [1, 'a'], '__version__': 1, '__classname__': 'builtins.tuple'}}"),
            json!("{'a': '(1,a)'}"),
        ),
        (
            "asset in text",
            json!(asset.to_string()),
            json!(asset.to_string()),
            json!(asset.to_string()),
            json!(asset.to_string()),
        ),
    ] {
        let key = &key.replace(' ', "%20");
        task.push(&format!("shown/{key}"), &value).is(201);
        assert_eq!(shown(key, "deserialize=false&stringify=false"), value);
        assert_eq!(shown(key, "deserialize=true"), deserialized);
        assert_eq!(shown(key, "stringify=true"), stringified);
        assert_eq!(shown(key, "deserialize=true&stringify=true"), both);
    }
    // As a text it would take more than it has bytes.
    let server = Server::offloading();
    server.run("r1");
    server.running("extract", -1).push("extract/k", &json!("x".repeat(5 << 20))).is(201);
    let path = format!("{ENTRIES}/k");
    call(&server, Role::Read, Method::GET, &path, None).is(200);
    call(&server, Role::Read, Method::GET, &format!("{path}?stringify=true"), None).is(413);
    call(&server, Role::Read, Method::GET, &format!("{path}?deserialize=maybe"), None).is(422);
    call(&server, Role::Read, Method::GET, &format!("{ENTRIES}/other?deserialize=true"), None).is(404);
}

#[test]
fn what_may_not_be_written_is_refused() {
    let server = filled();
    let create = |body: &Json| call(&server, Role::Write, Method::POST, ENTRIES, Some(body));
    for value in
        [json!({"__data__": 1}), json!([{"a": {"__classname__": "x"}}]), json!("{\"__type\": \"tuple\"}")]
    {
        let refused = create(&json!({"key": "k", "value": value})).is(422).json();
        assert!(
            refused["detail"][0]["msg"].as_str().unwrap().contains("reserved serialization keys"),
            "{refused}"
        );
    }
    create(&json!({"key": "", "value": 1})).is(422);
    create(&json!({"key": "k"})).is(422);
    create(&json!({"key": 1, "value": 1})).is(422);
    create(&json!({"key": "k", "value": 1, "more": 1})).is(422);
    create(&json!({"key": "k", "value": 1, "map_index": 7})).is(404);
    create(&json!({"key": "k", "value": 1, "map_index": "-1.5"})).is(422);
    create(&json!({"key": "k", "value": 1, "map_index": "-1"})).is(201);
    let told = |path: &str| {
        let new = json!({"key": "k", "value": 1});
        let path = format!("/api/v2/dags/{path}/xcomEntries");
        call(&server, Role::Write, Method::POST, &path, Some(&new)).is(404).json()["detail"].clone()
    };
    assert_eq!(told("x/dagRuns/r1/taskInstances/extract"), "The Dag with ID: `x` was not found");
    assert_eq!(
        told("weather/dagRuns/x/taskInstances/extract"),
        "Dag Run with ID: `x` not found for dag: `weather`"
    );
    assert_eq!(told("weather/dagRuns/r1/taskInstances/x"), "Task with ID: `x` not found in dag: `weather`");
}

#[test]
fn roles_bound_what_people_do_and_tasks_are_no_people() {
    let server = filled();
    let new = json!({"key": "k", "value": 1});
    server.call("", Method::GET, ENTRIES, None).is(401);
    call(&server, Role::Read, Method::POST, ENTRIES, Some(&new)).is(403);
    call(&server, Role::Write, Method::POST, ENTRIES, Some(&new)).is(201);
    call(&server, Role::Write, Method::DELETE, &format!("{ENTRIES}/k"), None).is(403);
    let task = server.running("other", -1);
    server.call(&task.token, Method::GET, ENTRIES, None).is(403);
}
