//! Excom's own API: looking at sequences, previews, traces and parts of values, and their end.

use axum::http::{Method, Request};
use excom_core::{Caller, RETURN_VALUE, Value, XComKey};
use excom_server::Role;
use futures_util::future::join_all;
use serde_json::{Value as Json, json};

use crate::client::{Answer, Server};

fn get(server: &Server, path: &str) -> Answer {
    server.call(&server.person(Role::Read), Method::GET, &format!("/api/excom/v1/{path}"), None)
}

fn pull(server: &Server, xcoms: &Json) -> Json {
    let asked = json!({"dag_id": "weather", "run_id": "r1", "xcoms": xcoms});
    let answer = server.call(&server.person(Role::Read), Method::POST, "/api/excom/v1/pull", Some(&asked));
    answer.is(200).json()["answers"].clone()
}

/// A task instance that pushed a value and ended.
fn pushed(server: &Server, task_id: &str, map_index: i32, value: &Json) {
    let task = server.running(task_id, map_index);
    let at = if map_index < 0 { String::new() } else { format!("?map_index={map_index}") };
    task.push(&format!("{task_id}/return_value{at}"), value).is(201);
    task.ends("success").is(204);
}

fn indexes(page: &Json) -> Vec<i64> {
    page["items"].as_array().unwrap().iter().map(|item| item["map_index"].as_i64().unwrap()).collect()
}

#[test]
fn a_sequence_comes_in_pages_by_its_real_map_indexes() {
    let server = Server::new();
    server.run("r1");
    for index in [0, 2, 5] {
        pushed(&server, "load", index, &json!(index * 10));
    }
    let page =
        |query: &str| get(&server, &format!("sequences/weather/r1/load/return_value{query}")).is(200).json();
    let first = page("?limit=2");
    assert_eq!((indexes(&first), &first["next"]), (vec![0, 2], &json!(2)));
    assert_eq!(first["items"][1]["value"], 20);
    let last = page("?limit=2&after=2");
    assert_eq!((indexes(&last), &last["next"]), (vec![5], &Json::Null));
    assert_eq!(indexes(&page("?after=5")), Vec::<i64>::new());
    get(&server, "sequences/weather/r1/load/return_value?befor=1").is(422);
}

#[test]
fn an_answer_of_many_values_has_a_bound_and_says_where_the_rest_is() {
    let server = Server::limited(2000);
    server.run("r1");
    let text = "x".repeat(800);
    for task in ["a", "b", "c"] {
        pushed(&server, task, -1, &json!(text));
    }
    for index in 0..3 {
        pushed(&server, "load", index, &json!(text));
    }
    let told = pull(
        &server,
        &json!([{"task_id": "a", "map_index": -1}, {"task_id": "b", "map_index": -1},
                                     {"task_id": "c", "map_index": -1}]),
    );
    let kinds: Vec<&str> =
        told.as_array().unwrap().iter().map(|answer| answer["answer"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["found", "found", "large"]);
    assert_eq!((&told[2]["size"], &told[2]["key"]["task_id"]), (&json!(802), &json!("c")));
    assert!(told[2]["hints"].to_string().contains("/api/excom/v1/values/"), "{}", told[2]);
    assert_eq!(get(&server, "values/weather/r1/c/-1/return_value").is(200).text.len(), 802);
    // Sequences stop where they do not fit, and can be gone on with.
    let told = pull(&server, &json!([{"task_id": "load"}, {"task_id": "load"}]));
    assert_eq!((indexes(&told[0]), &told[0]["next"]), (vec![0, 1], &json!(1)));
    assert_eq!((indexes(&told[1]), &told[1]["next"]), (vec![], &json!(-1)));
    let page = get(&server, "sequences/weather/r1/load/return_value?after=1").is(200).json();
    assert_eq!((indexes(&page), &page["next"]), (vec![2], &Json::Null));
    // One that never fits is told as that, and those behind it come all the same.
    let small = Server::limited(500);
    let token = small.person(Role::Write);
    for (index, value) in [(0, json!(1)), (1, json!(text)), (2, json!(2))] {
        let path = format!("/api/excom/v1/values/weather/r1/load/{index}/return_value");
        small.call(&token, Method::PUT, &path, Some(&value)).is(201);
    }
    for (after, index, answer, next) in
        [(-1, 0, "found", json!(0)), (0, 1, "large", json!(1)), (1, 2, "found", Json::Null)]
    {
        let page =
            get(&small, &format!("sequences/weather/r1/load/return_value?after={after}")).is(200).json();
        assert_eq!((indexes(&page), &page["next"]), (vec![index], &next));
        assert_eq!(page["items"][0]["answer"], answer);
    }
}

#[test]
fn a_long_sequence_is_told_from_its_beginning() {
    let server = Server::new();
    server.run("r1");
    let engine = &server.engine;
    let pushes = (0..1001).map(|index| async move {
        let key = XComKey::new("weather", "r1", "load", index, RETURN_VALUE).unwrap();
        engine.push(&Caller::user("ana"), &key, Value::of(&index).unwrap().into()).await.unwrap()
    });
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(join_all(pushes));
    let told = pull(&server, &json!([{"task_id": "load"}, {"task_id": "none"}]));
    assert_eq!(indexes(&told[0]), (0..1001).collect::<Vec<i64>>());
    assert_eq!((&told[0]["answer"], told[0].get("next")), (&json!("mapped"), None));
    assert_eq!(told[1]["answer"], "missing");
}

#[test]
fn a_preview_tells_all_but_the_value() {
    let server = Server::new();
    server.run("r1");
    pushed(&server, "extract", -1, &json!([1, 2, 3]));
    let told = get(&server, "preview/weather/r1/extract/-1/return_value").is(200).json();
    assert_eq!((&told["kind"], &told["len"], &told["size"]), (&json!("list"), &json!(3), &json!(7)));
    assert_eq!((&told["preview"], &told["writer"]), (&json!("[1,2,3]"), &json!({"attempt": 1})));
    assert!(told["pushed_at"].is_string() && told.get("value").is_none(), "{told}");
    let none = get(&server, "preview/weather/r1/extract/-1/rows").is(404).json();
    assert_eq!(none["detail"]["answer"], "missing");
}

#[test]
fn a_trace_leads_to_what_was_read_before_and_to_who_read_it() {
    let server = Server::new();
    server.run("r1");
    pushed(&server, "extract", -1, &json!(3));
    let load = server.running("load", -1);
    load.get("/xcoms/weather/r1/extract/return_value").is(200);
    load.push("load/return_value", &json!(4)).is(201);
    let told = get(&server, "trace/weather/r1/load/-1/return_value").is(200).json();
    let (root, child) = (&told["trace"], &told["trace"]["children"][0]);
    assert_eq!((&told["direction"], &root["task_id"]), (&json!("backwards"), &json!("load")));
    assert_eq!((&child["node"], &child["task_id"]), (&json!("version"), &json!("extract")));
    let told = get(&server, "trace/weather/r1/extract/-1/return_value?direction=forwards").is(200).json();
    let reader = &told["trace"]["children"][0];
    assert_eq!((&reader["node"], &reader["children"][0]["task_id"]), (&json!("reader"), &json!("load")));
    let version = root["version"].as_str().unwrap();
    get(&server, &format!("trace/weather/r1/load/-1/return_value?version={version}&depth=0")).is(200);
    get(&server, "trace/weather/r1/load/-1/return_value?version=0000000000000001").is(404);
    get(&server, "trace/weather/r1/load/-1/return_value?version=latest").is(422);
    get(&server, "trace/weather/r1/load/-1/return_value?direction=up").is(422);
    get(&server, "trace/weather/r1/none/-1/return_value").is(404);
}

#[test]
fn a_path_leads_to_parts_of_a_value() {
    let server = Server::new();
    server.run("r1");
    pushed(&server, "extract", -1, &json!({"rows": [{"id": 1, "at": {"id": 7}}, {"id": 2}, {"id": 3}]}));
    let query = |path: &str| {
        let path: String = form_urlencoded::byte_serialize(path.as_bytes()).collect();
        get(&server, &format!("query/weather/r1/extract/-1/return_value?path={path}"))
    };
    for (path, values) in [
        ("$.rows[0:2].id", json!([1, 2])),
        ("$..id", json!([1, 2, 3, 7])),
        ("$.rows[?@.id > 1].id", json!([2, 3])),
        ("$.rows[-1]['id', 'none']", json!([3])),
        ("$.none", json!([])),
    ] {
        let mut told = query(path).is(200).json()["values"].clone();
        // The order of descendants is free.
        told.as_array_mut().unwrap().sort_by_key(Json::as_i64);
        assert_eq!(told, values, "{path}");
    }
    for path in ["rows", "$.rows[", "$..a..b", "$[?search(@, 'a')]", ""] {
        assert_eq!(query(path).is(422).json()["detail"][0]["loc"], json!(["query", "path"]), "{path}");
    }
    get(&server, "query/weather/r1/extract/-1/return_value").is(422);
    get(&server, "query/weather/r1/extract/-1/rows?path=$").is(404);
    // What no 64 bits hold cannot be told as it is.
    pushed(&server, "huge", -1, &json!(1));
    let path = "/api/excom/v1/values/weather/r1/huge/-1/return_value";
    let put = axum::http::Request::put(path)
        .header("authorization", format!("Bearer {}", server.person(Role::Write)));
    server.send(put.body("1e400".into()).unwrap()).is(201);
    let told = get(&server, "query/weather/r1/huge/-1/return_value?path=$").is(422).json();
    assert_eq!(told["detail"]["reason"], "invalid_value");
}

#[test]
fn what_is_past_its_time_goes_and_first_it_is_told() {
    let server = Server::new();
    server.run("r1");
    pushed(&server, "extract", -1, &json!([1, 2, 3]));
    server.clock.advance(std::time::Duration::from_secs(100));
    pushed(&server, "load", -1, &json!(1));
    let prune = |role, body: &Json| {
        server.call(&server.person(role), Method::POST, "/api/excom/v1/prune", Some(body))
    };
    prune(Role::Write, &json!({"dry_run": true})).is(403);
    prune(Role::Admin, &json!({"dry-run": true})).is(422);
    let told = prune(Role::Admin, &json!({"dry_run": true, "older_than": 50})).is(200).json();
    let due = json!([{"rule": "prune older_than 50", "dag_id": "weather", "key": "return_value", "entries": 1, "bytes": 7}]);
    assert_eq!(told, json!({"dry_run": true, "entries": 1, "bytes": 7, "due": due}));
    let values =
        |task: &str| get(&server, &format!("values/weather/r1/{task}/-1/return_value")).status.as_u16();
    assert_eq!(values("extract"), 200);
    assert_eq!(
        prune(Role::Admin, &json!({"older_than": 50, "dag_id": "other"})).is(200).json()["entries"],
        0
    );
    assert_eq!(prune(Role::Admin, &json!({"older_than": 50})).is(200).json()["entries"], 1);
    assert_eq!((values("extract"), values("load")), (410, 200));
    prune(Role::Admin, &json!({"older_than": u64::MAX})).is(200);
}

#[test]
fn all_xcoms_of_a_task_instance_end_together() {
    let server = Server::new();
    server.run("r1");
    let task = server.running("extract", -1);
    for key in ["a", "b"] {
        task.push(&format!("extract/{key}"), &json!(1)).is(201);
    }
    let end = |role, query: &str| {
        let path = format!("/api/excom/v1/task-instances/weather/r1/extract/-1{query}");
        server.call(&server.person(role), Method::DELETE, &path, None)
    };
    end(Role::Read, "").is(403);
    assert_eq!(end(Role::Write, "").is(200).json(), json!({"cleared": 2}));
    get(&server, "values/weather/r1/extract/-1/a").is(404);
    end(Role::Write, "?forever=true").is(403);
    assert_eq!(end(Role::Admin, "?forever=true").is(200).json(), json!({"deleted": 2}));
    let history = get(&server, "history/weather/r1/extract/-1/a").is(200).json();
    assert_eq!(history, json!({"history": []}));
}

#[test]
fn lists_have_what_is_known_and_go_on_where_they_ended() {
    let server = Server::new();
    server.run("r1");
    for (task, key) in [("a", "x"), ("a", "y"), ("b", "x")] {
        let path = format!("/api/excom/v1/values/weather/r1/{task}/-1/{key}");
        server.call(&server.person(Role::Write), Method::PUT, &path, Some(&json!([1, 2]))).is(201);
    }
    let list = |body: Json| {
        server
            .call(&server.person(Role::Read), Method::POST, "/api/excom/v1/list", Some(&body))
            .is(200)
            .json()
    };
    let first = list(json!({"dag_id": "weather", "limit": 2}));
    let names = |page: &Json| -> Vec<String> {
        let items = page["items"].as_array().unwrap().iter();
        items.map(|item| format!("{}/{}", item["task_id"], item["key"]).replace('"', "")).collect()
    };
    assert_eq!(names(&first), ["a/x", "a/y"]);
    let item = &first["items"][0];
    assert_eq!(
        (&item["size"], &item["kind"], &item["len"]),
        (&json!(5), &json!("list"), &json!(2)),
        "{item}"
    );
    assert_eq!((&item["preview"], &item["writer"]), (&json!("[1,2]"), &json!({"user": "ana"})));
    let rest = list(json!({"dag_id": "weather", "after": first["next"]}));
    assert_eq!((names(&rest), &rest["next"]), (vec!["b/x".to_owned()], &Json::Null));
    assert_eq!(names(&list(json!({"key": "x", "task_id": "b"}))), ["b/x"]);
    let wrong = json!({"dag": "weather"});
    server.call(&server.person(Role::Read), Method::POST, "/api/excom/v1/list", Some(&wrong)).is(422);
}

#[test]
fn a_list_of_what_a_task_may_not_read_is_refused() {
    let server = Server::with(|mut settings| {
        settings.access.reads = excom_core::engine::Reads::Run;
        settings
    });
    server.run("r1");
    let task = server.running("extract", -1);
    let list = |body: &Json| server.call(&task.token, Method::POST, "/api/excom/v1/list", Some(body));
    list(&json!({"dag_id": "weather", "run_id": "r1"})).is(200);
    assert_eq!(list(&json!({"dag_id": "weather"})).is(403).json()["detail"]["reason"], "forbidden");
    let indexes = |run: &str| {
        let path = format!("/api/excom/v1/indexes/weather/{run}/load/return_value");
        server.call(&task.token, Method::GET, &path, None)
    };
    assert_eq!(indexes("r1").is(200).json(), json!({"indexes": []}));
    indexes("r2").is(403);
}

#[test]
fn the_head_of_a_value_tells_its_version_and_a_secret() {
    let server = Server::new();
    server.run("r1");
    let path = "/api/excom/v1/values/weather/r1/extract/-1/rows";
    let put = |secret: &str, body: &'static str| {
        let request = Request::put(path)
            .header("authorization", format!("Bearer {}", server.person(Role::Write)))
            .header("excom-secret", secret);
        server.send(request.body(body.into()).unwrap())
    };
    let get =
        |query: &str| server.call(&server.person(Role::Read), Method::GET, &format!("{path}{query}"), None);
    let pushed = put("false", "1").is(201).json();
    let first = pushed["version"].as_str().unwrap();
    let read = get("").is(200);
    assert_eq!(read.head["excom-version"].to_str().unwrap(), first);
    assert!(!read.head.contains_key("excom-secret"));
    let hidden = put("true", "\"hunter2\"").is(201);
    assert!(!hidden.text.contains("hunter2") && hidden.json()["secret"] == true, "{hidden:?}");
    let read = get("").is(200);
    assert_eq!((read.text.as_str(), read.head["excom-secret"].to_str().unwrap()), ("\"hunter2\"", "true"));
    let past = get(&format!("?version={first}")).is(200);
    assert_eq!((past.text.as_str(), past.head["excom-version"].to_str().unwrap()), ("1", first));
    get("?version=0000000000000001").is(404);
    get("?version=x").is(422);
    assert_eq!(put("yes", "1").is(422).json()["detail"][0]["loc"][1], "Excom-Secret");
    let large = put("true", Box::leak("7".repeat(2 << 20).into_boxed_str()));
    assert_eq!(large.is(413).json()["detail"]["reason"], "too_large");
}

#[test]
fn what_a_task_instance_did_is_told_to_people() {
    let server = Server::new();
    server.run("r1");
    pushed(&server, "extract", -1, &json!({"rows": 3}));
    let task = server.running("load", -1);
    task.own(Method::PUT, "rtif", &json!({"sql": ["SELECT 1", null]})).is(201);
    server.call(&task.token, Method::GET, "/execution/xcoms/weather/r1/extract/return_value", None).is(200);
    task.push("load/a", &json!(1)).is(201);
    task.push("load/a", &json!(2)).is(201);
    let told = get(&server, "footprint/weather/r1/load/-1").is(200).json();
    assert_eq!(
        (&told["more_read"], &told["more_pushed"], &told["state"]),
        (&json!(0), &json!(0), &json!("running"))
    );
    assert_eq!(told["read"][0]["value"]["preview"], r#"{"rows":3}"#, "{told}");
    let pushed: Vec<&Json> =
        told["pushed"].as_array().unwrap().iter().map(|pushed| &pushed["preview"]).collect();
    assert_eq!(pushed, ["1", "2"]);
    let footprint: excom_core::engine::Footprint = serde_json::from_value(told.clone()).unwrap();
    assert_eq!(serde_json::to_value(&footprint).unwrap(), told, "a client reads what a server says");
    assert_eq!(footprint.rendered.unwrap().fields.len(), 1);
    for unknown in ["footprint/weather/r1/none/-1", "footprint/weather/r2/load/-1"] {
        get(&server, unknown).is(404);
    }
    server.call(&task.token, Method::GET, "/api/excom/v1/footprint/weather/r1/load/-1", None).is(403);
}
