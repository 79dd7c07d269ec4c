//! Variables over Excom's own API.

use axum::http::Method;
use excom_core::Caller;
use excom_server::Role;
use serde_json::{Value as Json, json};

use crate::client::{Answer, Server};

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

fn call(server: &Server, role: Role, method: Method, path: &str, body: Option<&Json>) -> Answer {
    server.call(&server.person(role), method, &format!("/api/excom/v1/variables{path}"), body)
}

#[test]
fn a_variable_is_set_read_and_deleted() {
    let server = Server::new();
    let admin = |method, path: &str| call(&server, Role::Admin, method, path, None);
    let text = |text: &str| json!({"text": text});
    for key in ["/api_password", "/gr%C3%BC%C3%9Fe%2Fgott", "/a/b"] {
        call(&server, Role::Write, Method::PUT, key, Some(&text("hunter2"))).is(200);
        let read = admin(Method::GET, key).is(200).json();
        assert_eq!((&read["text"], &read["stored"]["text"]), (&json!("hunter2"), &json!("hunter2")));
    }
    let described = json!({"text": "2", "description": "where"});
    call(&server, Role::Write, Method::PUT, "/a/b", Some(&described)).is(200);
    call(&server, Role::Write, Method::PUT, "/a/b", Some(&text("3"))).is(200);
    assert_eq!(admin(Method::GET, "/a/b").json()["stored"]["description"], "where");
    admin(Method::GET, "/none").is(404);
    assert_eq!(admin(Method::DELETE, "/a/b").is(200).json(), json!({"deleted": true}));
    assert_eq!(admin(Method::DELETE, "/a/b").is(200).json(), json!({"deleted": false}));
    for wrong in [json!({}), json!({"text": 1}), json!({"text": "1", "value": 2})] {
        call(&server, Role::Write, Method::PUT, "/x", Some(&wrong)).is(422);
    }
    let long = format!("/{}", "k".repeat(251));
    call(&server, Role::Write, Method::PUT, &long, Some(&text("1"))).is(422);
    let large = text(&"x".repeat((1 << 20) + 1));
    call(&server, Role::Write, Method::PUT, "/x", Some(&large)).is(413);
}

#[test]
fn texts_are_for_admins() {
    let server = Server::new();
    server.run("r1");
    let task = server.running("extract", -1).token;
    let new = json!({"text": "hunter2"});
    call(&server, Role::Write, Method::PUT, "/k", Some(&new)).is(200);
    for role in [Role::Read, Role::Write] {
        for (method, path) in [(Method::GET, ""), (Method::GET, "/k"), (Method::DELETE, "/k")] {
            let told = call(&server, role, method, path, None).is(403).text;
            assert!(told.contains("admin") && !told.contains("hunter2"), "{told}");
        }
    }
    call(&server, Role::Read, Method::PUT, "/k", Some(&new)).is(403);
    // A task has its own way to them.
    for (method, body) in [(Method::GET, None), (Method::PUT, Some(&new)), (Method::DELETE, None)] {
        server.call(&task, method, "/api/excom/v1/variables/k", body).is(403);
    }
    server.call("", Method::GET, "/api/excom/v1/variables/k", None).is(401);
    // As Airflow's REST API it stays masked.
    block_on(server.engine.set_variable(&Caller::user("ana"), "api_password", "hunter2", None)).unwrap();
    let masked =
        server.call(&server.person(Role::Admin), Method::GET, "/api/v2/variables/api_password", None);
    assert_eq!(masked.is(200).json()["value"], "***");
}

#[test]
fn a_list_comes_in_pages_that_have_a_bound() {
    let server = Server::limited(3000);
    let set = async |key: &str, size: usize| {
        server.engine.set_variable(&Caller::user("ana"), key, &"x".repeat(size), None).await.unwrap();
    };
    block_on(async {
        for number in 0..70 {
            set(&format!("a{number:02}"), 1).await;
        }
        for key in ["b1", "b2", "b3"] {
            set(key, 1400).await;
        }
        set("c", 5000).await;
    });
    let page = |query: &str| call(&server, Role::Admin, Method::GET, query, None).is(200).json();
    let keys = |page: &Json| -> Vec<String> {
        page["items"].as_array().unwrap().iter().map(|it| it["key"].as_str().unwrap().to_owned()).collect()
    };
    let first = page("?limit=1000");
    assert_eq!((keys(&first).len(), &first["next"]), (64, &json!("a63")));
    assert_eq!(keys(&page("?after=a63&prefix=a")), ["a64", "a65", "a66", "a67", "a68", "a69"]);
    let large = page("?prefix=b");
    assert_eq!((keys(&large), &large["next"]), (vec!["b1".into(), "b2".into()], &json!("b2")));
    let last = page("?after=b3");
    assert_eq!((keys(&last), &last["next"]), (vec!["c".to_owned()], &Json::Null));
    call(&server, Role::Admin, Method::GET, "?befor=1", None).is(422);
}
