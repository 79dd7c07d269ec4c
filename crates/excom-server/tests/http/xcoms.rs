//! Pull, count, push and clear as Airflow's client asks for them.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request};
use excom_core::{ObjectName, XComKey, memory};
use serde_json::json;
use tower::ServiceExt as _;

use crate::client::Server;

#[test]
fn a_value_comes_back_as_it_was_pushed() {
    let server = Server::new();
    server.run("r1");
    let task = server.running("extract", -1);
    for value in [
        json!({"a": 1, "b": [1.5, null, "é\u{1F600}"]}),
        json!(null),
        json!("text"),
        json!({"__classname__": "builtins.tuple", "__version__": 1, "__data__": [1, 2]}),
    ] {
        let pushed = task.push("extract/return_value", &value).is(201);
        assert_eq!(pushed.json(), json!({"message": "XCom successfully set"}));
        assert_eq!(pushed.head["content-type"], "application/json");
        let pulled = task.get("/xcoms/weather/r1/extract/return_value").is(200);
        assert_eq!(pulled.json(), json!({"key": "return_value", "value": value}));
    }
    // Numbers are not read as floating point on the way.
    let big = "123456789012345678901234567890.10";
    let request = axum::http::Request::post("/execution/xcoms/weather/r1/extract/big")
        .header("authorization", format!("bearer {}", task.token))
        .header("content-type", "application/json")
        .body(big.into())
        .unwrap();
    server.send(request).is(201);
    assert_eq!(task.get("/xcoms/weather/r1/extract/big").text, format!(r#"{{"key":"big","value":{big}}}"#));
}

#[test]
fn keys_are_any_text() {
    let server = Server::new();
    server.run("manual__2026-11-21T01:47:07.6+00:00");
    server.run("r1");
    let task = server.running("extract", -1);
    for (path, key) in [
        ("a/b", "a/b"),
        ("a//b", "a//b"),
        ("with%20space", "with space"),
        ("%C3%A9", "é"),
        ("a+b:c&d=e", "a+b:c&d=e"),
        ("..", ".."),
        ("..%2F..%2Fother", "../../other"),
        ("rows/slice/", "rows/slice/"),
        ("100%25", "100%"),
    ] {
        task.push(&format!("extract/{path}"), &json!(key)).is(201);
        let pulled = task.get(&format!("/xcoms/weather/r1/extract/{path}")).is(200).json();
        assert_eq!(pulled, json!({"key": key, "value": key}), "{path}");
    }
    // A plus in a run's id is a plus.
    let path = "/xcoms/weather/manual__2026-11-21T01:47:07.6+00:00/extract/k";
    let missing = task.get(path).is(404).json();
    assert_eq!(missing["detail"]["reason"], "not_found");
}

#[test]
fn what_is_not_there_is_404_with_the_reason_that_clients_know() {
    let server = Server::new();
    server.run("r1");
    let task = server.running("extract", -1);
    task.push("extract/rows", &json!(3)).is(201);
    for path in [
        "extract/row",
        "extrakt/rows",
        "extract/rows?map_index=4",
        "extract/rows?offset=7",
        "extract/rows/item/3",
    ] {
        let missing = task.get(&format!("/xcoms/weather/r1/{path}")).is(404);
        assert_eq!(missing.head["content-type"], "application/json");
        assert_eq!(missing.json()["detail"]["reason"], "not_found", "{path}");
    }
    task.ends("success").is(204);
    let near = task.get("/xcoms/weather/r1/extract/row").json();
    assert!(near["detail"]["hints"][0].as_str().unwrap().contains("`rows`"), "{near}");
    // Nothing is made by a push to what is not there.
    let other = task.call(Method::POST, "/xcoms/weather/r2/extract/rows", Some(&json!(1))).is(404).json();
    assert_eq!(other["detail"], "DAG run not found on DAG 'weather' with ID 'r2'");
    task.push("extrakt/rows", &json!(1)).is(404);
    task.push("extract/rows?map_index=3", &json!(1)).is(404);
}

#[test]
fn a_mapped_tasks_values_are_a_sequence() {
    let server = Server::new();
    server.run("r1");
    for index in [0, 1, 2, 5] {
        let task = server.running("load", index);
        task.push(&format!("load/return_value?map_index={index}"), &json!(index * 10)).is(201);
        task.ends("success").is(204);
    }
    let task = server.running("sum", -1);
    let base = "/xcoms/weather/r1/load/return_value";
    let count = task.call(Method::HEAD, base, None).is(200);
    assert_eq!(count.head["content-range"], "map_indexes 4");
    assert_eq!(task.get(&format!("{base}/slice")).is(200).json(), json!([0, 10, 20, 50]));
    assert_eq!(task.get(&format!("{base}/slice?start=1&stop=3")).json(), json!([10, 20]));
    assert_eq!(task.get(&format!("{base}/slice?step=-1")).json(), json!([50, 20, 10, 0]));
    assert_eq!(task.get(&format!("{base}/slice?start=3&stop=1")).is(200).json(), json!([]));
    assert_eq!(task.get(&format!("{base}/slice?step=0")).is(200).json(), json!([0, 10, 20, 50]));
    assert_eq!(task.get(&format!("{base}/item/3")).is(200).text, "50");
    assert_eq!(task.get(&format!("{base}/item/-1")).is(200).text, "50");
    assert_eq!(task.get(&format!("{base}?offset=1")).is(200).json()["value"], 10);
    assert_eq!(task.get(&format!("{base}?map_index=5")).is(200).json()["value"], 50);
    task.get(base).is(404);
    task.get(&format!("{base}/item/4")).is(404);
    task.call(Method::HEAD, &format!("{base}?map_index=1"), None).is(400);
}

#[test]
fn a_slice_of_a_task_that_is_not_mapped_is_its_only_value() {
    let server = Server::new();
    server.run("r1");
    let task = server.running("extract", -1);
    assert_eq!(task.get("/xcoms/weather/r1/extract/return_value/slice").is(200).json(), json!([]));
    assert_eq!(
        task.call(Method::HEAD, "/xcoms/weather/r1/extract/return_value", None).is(200).head["content-range"],
        "map_indexes 0"
    );
    task.push("extract/return_value", &json!([1, 2])).is(201);
    assert_eq!(task.get("/xcoms/weather/r1/extract/return_value/slice").json(), json!([[1, 2]]));
    assert_eq!(task.get("/xcoms/weather/r1/extract/return_value/slice?start=1").json(), json!([]));
    assert_eq!(task.get("/xcoms/weather/r1/extract/return_value/item/0").text, "[1,2]");
    assert_eq!(
        task.call(Method::HEAD, "/xcoms/weather/r1/extract/return_value", None).head["content-range"],
        "map_indexes 1"
    );
}

#[test]
fn what_cannot_be_understood_says_where() {
    let server = Server::new();
    server.run("r1");
    let task = server.running("extract", -1);
    let at = |path: &str| {
        task.get(&format!("/xcoms/weather/r1/extract/{path}")).is(422).json()["detail"][0].clone()
    };
    assert_eq!(at("k?map_index=x")["loc"], json!(["query", "map_index"]));
    assert_eq!(at("k?include_prior_dates=maybe")["type"], "bool_parsing");
    assert_eq!(at("k/item/x")["loc"], json!(["path", "offset"]));
    assert_eq!(at("")["type"], "string_too_short");
    assert_eq!(at("k?offset=99999999999999999999")["type"], "int_parsing");
    task.push(&format!("extract/{}", "k".repeat(513)), &json!(1)).is(422);
    task.push("extract/k?map_index=-7", &json!(1)).is(422);
    task.push("extract/k?mapped_length=1025", &json!([])).is(400);
    task.push("extract/k?mapped_length=-1", &json!([])).is(422);
    let raw = |body: &'static str, kind: &str| {
        let request = axum::http::Request::post("/execution/xcoms/weather/r1/extract/k")
            .header("authorization", format!("Bearer {}", task.token))
            .header("content-type", kind);
        server.send(request.body(body.into()).unwrap()).status.as_u16()
    };
    assert_eq!(raw("{", "application/json"), 422);
    assert_eq!(raw("NaN", "application/json"), 422);
    assert_eq!(raw("1", "text/plain"), 422);
    assert_eq!(raw("1", ""), 422);
    assert_eq!(raw("", "application/json"), 201);
    assert_eq!(raw("1", "application/vnd.x+json; charset=utf-8"), 201);
    task.call(Method::PUT, "/xcoms/weather/r1/extract/k", Some(&json!(1))).is(405);
    task.get("/nothing").is(404);
    let elsewhere = task.get("/xcoms/weather/r1/extract?map_index=1").is(307);
    assert_eq!(elsewhere.head["location"], "/execution/xcoms/weather/r1/extract/?map_index=1");
}

#[test]
fn what_cannot_be_is_not_there() {
    let server = Server::new();
    server.run("r1");
    let task = server.running("extract", -1);
    let long = "k".repeat(513);
    let there = |path: &str| format!("/xcoms/weather/r1/extract/{path}");
    for path in ["k?map_index=-7", "k?map_index=99999999999", "k%00", &long] {
        assert_eq!(task.get(&there(path)).is(404).json()["detail"]["reason"], "not_found", "{path}");
    }
    for path in ["k?map_index=-7", "k%00", &long] {
        task.call(Method::DELETE, &there(path), None).is(200);
    }
    task.call(Method::HEAD, "/xcoms/weather/r1/extract/k?map_index=x", None).is(422);
}

#[test]
fn clearing_answers_the_same_however_often() {
    let server = Server::new();
    server.run("r1");
    let task = server.running("extract", -1);
    task.push("extract/k", &json!(1)).is(201);
    for _ in 0..2 {
        let cleared = task.call(Method::DELETE, "/xcoms/weather/r1/extract/k", None).is(200).json();
        assert_eq!(cleared, json!({"message": "XCom with key: k successfully deleted."}));
    }
    let answer = || task.get("/xcoms/weather/r1/extract/k").is(404).json()["detail"]["answer"].clone();
    assert_eq!(answer(), "not_yet");
    task.ends("success").is(204);
    assert_eq!(answer(), "cleared");
}

#[test]
fn a_task_clears_xcoms_of_others() {
    let server = Server::new();
    server.run("r1");
    let (task, other) = (server.running("extract", -1), server.running("load", -1));
    other.push("load/k", &json!(1)).is(201);
    task.call(Method::DELETE, "/xcoms/weather/r1/load/k", None).is(200);
    let cleared = task.get("/xcoms/weather/r1/load/k").is(404).json();
    assert_eq!(cleared["detail"]["reason"], "not_found");
    let own = "/api/excom/v1";
    let history = server.call(&task.token, Method::GET, &format!("{own}/history/weather/r1/load/-1/k"), None);
    assert_eq!(history.is(200).json()["history"][0]["by"], "task weather/r1/extract");
    for path in ["/xcoms/weather/r1/nobody/k", "/xcoms/nowhere/r1/load/k"] {
        task.call(Method::DELETE, path, None).is(200);
    }
    other.push("load/k", &json!(2)).is(201);
    let cleared =
        server.call(&task.token, Method::DELETE, &format!("{own}/values/weather/r1/load/-1/k"), None);
    assert_eq!(cleared.is(200).json(), json!({"cleared": 1}));
    server
        .call(&task.token, Method::DELETE, &format!("{own}/values/weather/r1/load/-1/k?forever=true"), None)
        .is(403);

    // An attempt whose successor has started clears nothing.
    other.push("load/k", &json!(3)).is(201);
    server.started(server.queued("extract", -1, 2));
    task.call(Method::DELETE, "/xcoms/weather/r1/load/k", None).is(409);
    assert_eq!(other.get("/xcoms/weather/r1/load/k").is(200).json()["value"], 3);
}

#[test]
fn what_a_rule_forbids_is_403_and_names_the_rule() {
    let server = Server::with(|mut settings| {
        settings.access.writes = excom_core::engine::Writes::Own;
        settings.access.reads = excom_core::engine::Reads::Run;
        settings
    });
    server.run("r1");
    let (task, other) = (server.running("extract", -1), server.running("load", -1));
    other.push("load/k", &json!(1)).is(201);
    let refused = task.push("load/k", &json!(2)).is(403).json();
    assert!(refused["detail"]["message"].as_str().unwrap().contains("writes"), "{refused}");
    let refused = task.call(Method::DELETE, "/xcoms/weather/r1/load/k", None).is(403).json();
    assert!(refused["detail"]["message"].as_str().unwrap().contains("writes"), "{refused}");
    server.call(&task.token, Method::DELETE, "/api/excom/v1/values/weather/r1/load/-1/k", None).is(403);
    task.get("/xcoms/weather/r1/load/k").is(200);
    let refused = task.get("/xcoms/weather/r0/load/k").is(403).json();
    assert_eq!(refused["detail"]["reason"], "forbidden");
}

#[test]
fn a_large_value_is_answered_like_a_small_one() {
    let server = Server::offloading();
    server.run("r1");
    let task = server.running("extract", -1);
    let text = "x".repeat((16 << 20) + 1);
    task.push("extract/a%20%22b%22", &json!(text)).is(201);
    let told = task.get("/xcoms/weather/r1/extract/a%20%22b%22").is(200).text;
    assert!(told == format!("{{\"key\":\"a \\\"b\\\"\",\"value\":\"{text}\"}}"), "{}", &told[..100]);
    let path = "/xcoms/weather/r1/extract/a%20%22b%22?include_prior_dates=true";
    assert_eq!(task.get(path).is(200).text.len(), told.len());
}

/// What is over 16 MiB together is read when it is its turn, so what is damaged there breaks off an answer that has begun.
#[test]
fn of_a_large_slice_no_more_is_read_than_fits() {
    const SIZE: usize = 6 << 20;
    let store = Arc::new(memory::Store::new());
    let server = Server::new().with_backend(memory::Backend::new(store.clone(), 1000));
    server.run("r1");
    let text = |index: usize| index.to_string().repeat(SIZE);
    for index in 0..4 {
        let task = server.running("load", index);
        task.push(&format!("load/k?map_index={index}"), &json!(text(index as usize))).is(201);
    }
    let task = server.running("sum", -1);
    let of = |indexes: &[usize]| {
        let texts: Vec<String> = indexes.iter().map(|index| format!("\"{}\"", text(*index))).collect();
        format!("[{}]", texts.join(","))
    };
    let base = "/xcoms/weather/r1/load/k";
    for (slice, indexes) in
        [("slice", &[0, 1, 2, 3][..]), ("slice?step=-1", &[3, 2, 1, 0]), ("slice?start=2", &[2, 3])]
    {
        assert!(task.get(&format!("{base}/{slice}")).is(200).text == of(indexes), "{slice}");
    }

    let last = XComKey::new("weather", "r1", "load", 3, "k").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let found = runtime.block_on(server.engine.db().entries(std::slice::from_ref(&last))).unwrap();
    let version = found[0].as_ref().unwrap().version;
    store.tamper(&ObjectName::of(&last, version), |bytes| bytes[9] ^= 1);
    for path in ["slice?start=2", "item/3"] {
        task.get(&format!("{base}/{path}")).is(422);
    }
    let request = Request::get(format!("/execution{base}/slice"))
        .header("authorization", format!("Bearer {}", task.token))
        .body(Body::empty())
        .unwrap();
    runtime.block_on(async {
        let answer = server.router().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(to_bytes(answer.into_body(), usize::MAX).await.is_err());
    });
}

#[test]
fn a_large_element_is_answered_like_a_small_one() {
    let server = Server::offloading();
    server.run("r1");
    let task = server.running("load", 2);
    let text = json!("x".repeat((16 << 20) + 1));
    task.push("load/k?map_index=2", &text).is(201);
    let base = "/xcoms/weather/r1/load/k";
    assert!(task.get(&format!("{base}/item/0")).is(200).json() == text);
    assert!(task.get(&format!("{base}?offset=-1")).is(200).json() == json!({"key": "k", "value": text}));
    assert!(task.get(&format!("{base}/slice")).is(200).json() == json!([text]));
}
