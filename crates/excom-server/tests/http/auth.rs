//! Nobody comes in by a token that is not good, and nobody by a good one further than it goes.

use std::time::Duration;

use axum::http::Method;
use excom_core::Clock as _;
use excom_server::Role;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value as Json, json};

use crate::client::{SECRET, Server, begin};

/// A token with claims of the attacker's choice.
pub(crate) fn forged(algorithm: Algorithm, secret: &[u8], claims: &Json) -> String {
    jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret)).unwrap()
}

pub(crate) fn claims(server: &Server, id: &str) -> Json {
    let now = server.clock.now().as_second();
    json!({
        "sub": id, "scope": "execution", "aud": "urn:airflow.apache.org:task", "iat": now, "nbf": now, "exp": now + 600,
        "ti": {"dag_id": "weather", "run_id": "r1", "task_id": "extract", "map_index": -1, "try_number": 1, "max_tries": 0},
    })
}

#[test]
fn only_the_servers_own_signature_counts() {
    let server = Server::new();
    server.run("r1");
    let task = server.running("extract", -1);
    task.push("extract/k", &json!(1)).is(201);
    let path = "/execution/xcoms/weather/r1/extract/k";
    let good = claims(&server, &task.id);
    let ask = |token: &str| server.call(token, Method::GET, path, None);
    ask(&forged(Algorithm::HS512, SECRET, &good)).is(200);
    assert_eq!(ask("").is(401).json(), json!({"detail": "Missing auth token"}));
    // Every refusal says which rule.
    let refused = |token: &str, rule: &str| {
        let told = ask(token).is(403).json()["detail"].as_str().unwrap().to_owned();
        assert!(told.starts_with("Invalid auth token: ") && told.contains(rule), "{told}\n{token}");
    };
    // alg=none, without a signature.
    let unsigned = forged(Algorithm::HS512, SECRET, &good);
    let unsigned = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{}.", unsigned.split('.').nth(1).unwrap());
    for (token, rule) in [
        (forged(Algorithm::HS512, b"another secret, also long enough", &good), "signature"),
        (forged(Algorithm::HS256, SECRET, &good), "`alg`"),
        (forged(Algorithm::HS384, SECRET, &good), "`alg`"),
        (unsigned, "signed in a known way"),
        ("a.b.c".to_owned(), "no JSON Web Token"),
        ("x".repeat(10_000), "no JSON Web Token"),
        ("x.".repeat(10_000), "no JSON Web Token"),
    ] {
        refused(&token, rule);
    }
    let now = server.clock.now().as_second();
    let changes: [(&str, Json, &str); 14] = [
        ("aud", json!("apache-airflow"), "`aud`"),
        ("aud", json!("urn:excom:api"), "`aud`"),
        ("aud", json!(7), "claims"),
        ("exp", json!(now - 11), "`exp`"),
        ("exp", json!(null), "claims"),
        ("exp", json!(-1e300), "claims"),
        ("nbf", json!(now + 60), "`nbf`"),
        ("iat", json!(now + 60), "`iat`"),
        ("iat", json!(1e300), "`iat`"),
        ("iat", json!(null), "claims"),
        ("sub", json!("not a uuid"), "`sub`"),
        ("sub", json!({"a": 1}), "claims"),
        ("scope", json!("everything"), "`scope`"),
        ("ti", json!("extract"), "claims"),
    ];
    for (name, value, rule) in changes {
        let mut claims = good.clone();
        claims[name] = value;
        refused(&forged(Algorithm::HS512, SECRET, &claims), rule);
    }
    // Times that no clock shows are times too.
    for (name, value) in [("iat", -1e300), ("nbf", -1e300), ("exp", 9e18)] {
        let mut claims = good.clone();
        claims[name] = value.into();
        ask(&forged(Algorithm::HS512, SECRET, &claims)).is(200);
    }
}

#[test]
fn a_token_ends_and_is_renewed_in_time() {
    let server = Server::new();
    server.run("r1");
    let mut task = server.running("extract", -1);
    let path = "/xcoms/weather/r1/extract/k";
    assert_eq!(task.get(path).refreshed(), None);
    server.clock.advance(Duration::from_secs(500));
    let newer = task.get(path).refreshed().unwrap();
    server.clock.advance(Duration::from_secs(200));
    task.get(path).is(403);
    task.token = newer;
    task.get(path).is(404);
}

#[test]
fn a_token_goes_no_further_than_its_task() {
    let server = Server::new();
    server.run("r1");
    let (id, workload) = server.queued("extract", -1, 1);
    let other = server.running("load", -1);
    let run = |token: &str| {
        server.call(token, Method::PATCH, &format!("/execution/task-instances/{id}/run"), Some(&begin()))
    };
    run(&other.token).is(403);
    server.call(&workload, Method::GET, "/execution/xcoms/weather/r1/load/k", None).is(403);
    server.call(&workload, Method::GET, "/execution/variables/k", None).is(403);
    run(&workload).is(200);
    other
        .call(Method::PATCH, &format!("/task-instances/{id}/state"), Some(&json!({"state": "failed"})))
        .is(403);
    other.call(Method::PATCH, "/task-instances/nobody/state", Some(&json!({"state": "failed"}))).is(422);
    // A queue's token does not start what has ended.
    let task = server.started((id.clone(), workload.clone()));
    task.ends("success").is(204);
    run(&workload).is(409);
}

#[test]
fn people_need_the_role_for_what_they_do() {
    let server = Server::new();
    let run = json!({"dag_id": "weather", "run_id": "r1"});
    let start = |token: &str| server.call(token, Method::POST, "/api/excom/v1/runs", Some(&run));
    start("").is(401);
    start("x").is(403);
    start(&server.person(Role::Read)).is(403);
    assert_eq!(start(&server.person(Role::Write)).is(403).json()["detail"]["reason"], "role");
    start(&server.person(Role::Admin)).is(201);
    let task = server.running("extract", -1);
    start(&task.token).is(403);
    // And a person is no task.
    server
        .call(&server.person(Role::Admin), Method::GET, "/execution/xcoms/weather/r1/extract/k", None)
        .is(403);
}

#[test]
fn what_is_open_to_all_tells_nothing_but_how_it_is() {
    let server = Server::new();
    for path in ["/health/ready", "/execution/health", "/execution/health/ping"] {
        server.call("", Method::GET, path, None).is(200);
    }
    for path in [
        "/execution/xcoms/a/b/c/d",
        "/execution/variables/k",
        "/execution/connections/c",
        "/execution/dag-runs/count",
    ] {
        server.call("", Method::GET, path, None).is(401);
    }
}
