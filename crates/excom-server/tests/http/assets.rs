//! Assets: what tasks tell of their outlets when they end well is there for those that come later.

use std::time::Duration;

use axum::http::Method;
use serde_json::{Value as Json, json};

use crate::client::{Answer, Server, Worker};

/// A task ends well, and tells of its outlets and of events.
fn succeeds(task: &Worker<'_>, outlets: &Json, events: &Json) -> Answer {
    let ended = json!({
        "state": "success", "end_date": "2026-11-21T10:00:09Z", "task_outlets": outlets, "outlet_events": events,
    });
    task.own(Method::PATCH, "state", &ended)
}

fn asset(name: &str) -> Json {
    json!({"name": name, "uri": format!("file://{name}"), "type": "Asset"})
}

fn told(name: &str, extra: &Json) -> Json {
    json!({"dest_asset_key": {"name": name, "uri": format!("file://{name}")}, "extra": extra})
}

fn aliased(alias: &str, name: &str, extra: &Json) -> Json {
    let mut told = told(name, extra);
    told["source_alias_name"] = json!(alias);
    told["dest_asset_extra"] = json!({"of": name});
    told
}

fn events(task: &Worker<'_>, query: &str) -> Vec<Json> {
    let told = task.get(&format!("/asset-events/{query}")).is(200).json();
    told["asset_events"].as_array().unwrap().clone()
}

/// The extras and keys of partitions of an asset's events.
fn extras(task: &Worker<'_>, name: &str) -> Vec<(Json, Json)> {
    let events = events(task, &format!("by-asset?name={name}&uri=file://{name}"));
    events.iter().map(|event| (event["extra"].clone(), event["partition_key"].clone())).collect()
}

#[test]
fn an_outlet_of_a_task_that_succeeded_has_events() {
    let server = Server::new();
    server.run("r1");
    let task = server.running("makes", 3);
    let mut part = told("rows", &json!({"n": 2}));
    part["partition_key"] = json!("2026-11-21");
    let outlets = json!([asset("rows"), asset("rows"), asset("plain")]);
    let events_told = json!([told("rows", &json!({"n": 1})), part, told("no-outlet", &json!({}))]);
    succeeds(&task, &outlets, &events_told).is(204);
    // The answer was lost.
    succeeds(&task, &outlets, &events_told).is(200);

    let later = server.running("reads", -1);
    let known = later.get("/assets/by-name?name=rows").is(200).json();
    assert_eq!(known, json!({"name": "rows", "uri": "file://rows", "group": "asset", "extra": {}}));
    assert_eq!(later.get("/assets/by-uri?uri=file://rows").is(200).json(), known);
    let mut first = events(&later, "by-asset?name=rows&uri=file://rows").remove(0);
    assert!(first["id"].take().is_i64() && first["timestamp"].take().is_string());
    let whole = json!({
        "id": null, "timestamp": null, "extra": {"n": 1}, "asset": known, "created_dagruns": [],
        "source_task_id": "makes", "source_dag_id": "weather", "source_run_id": "r1", "source_map_index": 3,
        "partition_key": null,
    });
    assert_eq!(first, whole);
    let of_rows = [(json!({"n": 1}), Json::Null), (json!({"n": 2}), json!("2026-11-21"))];
    assert_eq!(extras(&later, "rows"), of_rows);
    assert_eq!(extras(&later, "plain"), [(json!({}), Json::Null)], "one that nothing is said of");
    assert_eq!(extras(&later, "no-outlet"), []);
    assert_eq!(later.get("/assets/by-name?name=no-outlet").is(404).json()["detail"]["reason"], "not_found");
}

#[test]
fn an_alias_has_events_of_what_the_task_named() {
    let server = Server::new();
    server.run("r1");
    let task = server.running("makes", -1);
    let alias = |name: &str| json!({"name": name, "uri": null, "type": "AssetAlias"});
    let events_told = json!([
        aliased("x", "made", &json!({"a": 1, "b": 2})),
        aliased("y", "made", &json!({"b": 2, "a": 1})),
        aliased("x", "made", &json!({"a": 2})),
        aliased("no-outlet", "unknown", &json!({})),
    ]);
    succeeds(&task, &json!([alias("x"), alias("y")]), &events_told).is(204);
    let later = server.running("reads", -1);
    let made = json!({"name": "made", "uri": "file://made", "group": "asset", "extra": {"of": "made"}});
    assert_eq!(later.get("/assets/by-alias?alias_name=y").is(200).json(), json!([made]));
    assert_eq!(later.get("/assets/by-alias?alias_name=nothing").is(200).json(), json!([]));
    assert_eq!(extras(&later, "made").len(), 2, "two aliases with the same have one event");
    let of = |alias: &str| events(&later, &format!("by-asset-alias?name={alias}")).len();
    assert_eq!((of("x"), of("y"), of("no-outlet")), (2, 1, 0));
}

#[test]
fn a_reference_is_an_outlet_once_its_asset_is_known() {
    let server = Server::new();
    server.run("r1");
    let by_name = json!({"name": "rows", "uri": null, "type": "AssetNameRef"});
    let by_uri = json!({"name": null, "uri": "file://rows", "type": "AssetUriRef"});
    succeeds(&server.running("early", -1), &json!([by_name]), &json!([])).is(204);
    succeeds(&server.running("makes", -1), &json!([asset("rows")]), &json!([])).is(204);
    let events_told = json!([told("rows", &json!({"by": "reference"}))]);
    succeeds(&server.running("late", -1), &json!([by_name, by_uri]), &events_told).is(204);
    let later = server.running("reads", -1);
    let expected = [(json!({}), Json::Null), (json!({"by": "reference"}), Json::Null)];
    assert_eq!(extras(&later, "rows"), expected, "none before it was known, and one for both");
}

#[test]
fn events_are_asked_for_by_time_and_in_order() {
    let server = Server::new();
    server.run("r1");
    for n in 0..4 {
        let told = json!([told("rows", &json!({"n": n}))]);
        succeeds(&server.running("makes", n), &json!([asset("rows")]), &told).is(204);
        server.clock.advance(Duration::from_secs(60));
    }
    let task = server.running("reads", -1);
    let numbers = |query: &str| {
        let events = events(&task, &format!("by-asset?name=rows&uri={query}"));
        events.iter().map(|event| event["extra"]["n"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    let times = events(&task, "by-asset?name=rows&uri=");
    let time = |n: usize| times[n]["timestamp"].as_str().unwrap().to_owned();
    assert_eq!(numbers(""), [0, 1, 2, 3]);
    assert_eq!(numbers("&ascending=false&limit=2"), [3, 2]);
    assert_eq!(numbers("&limit=0"), [0, 1, 2, 3], "as in Airflow");
    assert_eq!(numbers(&format!("&after={}&before={}", time(1), time(2))), [1, 2]);
    assert_eq!(numbers("file://other"), [0; 0]);
    let by_uri = events(&task, "by-asset?name=&uri=file://rows&limit=1");
    assert_eq!(by_uri[0]["extra"]["n"], 0);
    for (query, status) in [
        ("by-asset?name=&uri=", 400),
        ("by-asset?name=rows", 422),
        ("by-asset-alias", 422),
        ("by-asset?name=rows&uri=&after=yesterday", 422),
        ("by-asset?name=rows&uri=&ascending=perhaps", 422),
        ("by-asset?name=rows&uri=&limit=x", 422),
    ] {
        task.get(&format!("/asset-events/{query}")).is(status);
    }
    for path in ["by-name", "by-uri", "by-alias"] {
        task.get(&format!("/assets/{path}")).is(422);
    }
}

/// Whoever takes the last of all would otherwise take that of the oldest thousand.
#[test]
fn more_events_than_are_told_together_are_not_left_out() {
    let server = Server::new();
    server.run("r1");
    let many: Vec<Json> = (0..1001).map(|n| told("rows", &json!({"n": n}))).collect();
    for (map_index, some) in (0..).zip(many.chunks(600)) {
        succeeds(&server.running("makes", map_index), &json!([asset("rows")]), &json!(some)).is(204);
    }
    let task = server.running("reads", -1);
    let all = "by-asset?name=rows&uri=file://rows";
    let refused = task.get(&format!("/asset-events/{all}")).is(400).json();
    assert_eq!(refused["detail"]["reason"], "too_many", "{refused}");
    task.get(&format!("/asset-events/{all}&limit=5000")).is(400);
    assert_eq!(events(&task, &format!("{all}&limit=1000")).len(), 1000);
    assert_eq!(events(&task, &format!("{all}&limit=1&ascending=false"))[0]["extra"]["n"], 1000);
}

#[test]
fn what_cannot_be_told_of_an_asset_is_no_success() {
    let server = Server::new();
    server.run("r1");
    let task = server.running("makes", -1);
    let part = |key: &str| {
        let mut told = told("rows", &json!({}));
        told["partition_key"] = json!(key);
        json!([told])
    };
    for key in [" ", &"x".repeat(251)] {
        let refused = succeeds(&task, &json!([]), &part(key)).is(422).json();
        assert_eq!(refused["detail"]["reason"], "invalid_partition_key", "{refused}");
    }
    // A worker tells nothing more of a task that ended so: it has failed, and nothing is known.
    let large = json!({"x": "x".repeat(1 << 16)});
    let many: Vec<Json> = (0..1001).map(|n| asset(&format!("rows{n}"))).collect();
    for (n, outlets, events, status) in [
        (0, json!([asset(&"x".repeat(1501))]), json!([]), 422),
        (1, json!([asset("rows")]), json!([told("rows", &json!([1]))]), 422),
        (2, json!([asset("rows")]), json!([told("rows", &large)]), 413),
        (3, json!(many), json!([]), 413),
    ] {
        let name = format!("wrong{n}");
        let wrong = server.running(&name, -1);
        succeeds(&wrong, &outlets, &events).is(status);
        assert_eq!(succeeds(&wrong, &outlets, &events).is(409).json()["detail"]["previous_state"], "failed");
    }
    task.get("/assets/by-name?name=rows").is(404);
    succeeds(&task, &json!([asset("rows")]), &part(&"é".repeat(250))).is(204);
    let later = server.running("reads", -1);
    assert_eq!(extras(&later, "rows"), [(json!({}), json!("é".repeat(250)))]);
    // One that fails makes none.
    let failed =
        json!({"state": "failed", "end_date": "2026-11-21T10:00:09Z", "task_outlets": [asset("other")]});
    later.own(Method::PATCH, "state", &failed);
    let last = server.running("looks", -1);
    last.get("/assets/by-name?name=other").is(404);
    assert_eq!(
        last.own(Method::GET, "validate-inlets-and-outlets", &json!({})).is(200).json()["inactive_assets"],
        json!([])
    );
}
