//! Variables as workers see them.

use axum::http::Method;
use serde_json::json;

use crate::client::Server;

#[test]
fn variables_are_set_read_listed_and_deleted() {
    let server = Server::new();
    server.run("r1");
    let task = server.running("extract", -1);
    for key in ["greeting", "gruß/gott", "other"] {
        let path = format!("/variables/{}", key.replace('ß', "%C3%9F"));
        task.call(Method::PUT, &path, Some(&json!({"val": "hello", "description": null}))).is(201);
        assert_eq!(task.get(&path).is(200).json(), json!({"key": key, "value": "hello"}));
    }
    let keys = task.get("/variables/keys?prefix=gr").is(200).json();
    assert_eq!(keys, json!({"keys": ["greeting", "gruß/gott"], "total_entries": 2}));
    assert_eq!(task.get("/variables/keys?limit=1&offset=1").json()["keys"], json!(["gruß/gott"]));
    task.get("/variables/keys?limit=0").is(422);
    task.call(Method::DELETE, "/variables/other", None).is(204);
    assert_eq!(task.get("/variables/other").is(404).json()["detail"]["reason"], "not_found");
    task.call(Method::PUT, "/variables/x", Some(&json!({"val": 1}))).is(422);
    task.call(Method::PUT, "/variables/x", Some(&json!({"val": "1", "more": 1}))).is(422);
    task.call(Method::PUT, "/variables/x", Some(&json!({}))).is(422);
    task.get("/variables/keys?offset=-1").is(422);
    assert_eq!(task.get("/variables/").is(422).json()["detail"][0]["loc"], json!(["path", "variable_key"]));
    // It cannot be read, since its name is a route's.
    task.call(Method::PUT, "/variables/keys", Some(&json!({"val": "x"}))).is(201);
    assert_eq!(task.get("/variables/keys?prefix=k").is(200).json()["keys"], json!(["keys"]));
    task.call(Method::DELETE, "/variables/keys", None).is(204);
}
