//! What one name in tokens may ask for in a second.

use axum::http::{Method, header};
use excom_server::Role;
use serde_json::json;

use crate::client::Server;

const LOOK: &str = "/api/excom/v1/values/weather/r1/extract/-1/k";

#[test]
fn requests_are_limited_for_each_name() {
    let server = Server::set(|options| options.limit_requests = Some(3));
    let token = server.person(Role::Read);
    let statuses: Vec<u16> =
        (0..40).map(|_| server.call(&token, Method::GET, LOOK, None).status.as_u16()).collect();
    // So fast that the bucket hardly fills up meanwhile.
    assert!(statuses[..3].iter().all(|status| *status == 404), "{statuses:?}");
    assert!(statuses.contains(&429), "{statuses:?}");
    let refused = loop {
        let answer = server.call(&token, Method::GET, LOOK, None);
        if answer.status == 429 {
            break answer;
        }
    };
    assert_eq!(refused.head[header::RETRY_AFTER], "1");
    let detail = &refused.json()["detail"];
    assert_eq!(detail["reason"], "rate");
    assert!(detail["message"].as_str().unwrap().contains("[server] limit_requests"), "{detail}");
    // Others are not kept from anything, and who is nobody is not counted.
    let keys = excom_server::Keys::secret(crate::client::SECRET).unwrap();
    let lifetime = std::time::Duration::from_secs(60);
    let other = excom_server::person_token(keys, server.clock.clone(), "ben", Role::Read, lifetime).unwrap();
    server.call(other.secret(), Method::GET, LOOK, None).is(404);
    server.call("", Method::GET, LOOK, None).is(401);
    server.call("", Method::GET, "/health/ready", None).is(200);
}

#[test]
fn bytes_are_limited_in_both_directions() {
    let server = Server::set(|options| options.limit_bytes = Some(1000));
    let token = server.person(Role::Write);
    // The first may be of any size, and has to be paid for afterwards.
    server.call(&token, Method::PUT, LOOK, Some(&json!("x".repeat(100_000)))).is(201);
    let refused = server.call(&token, Method::GET, LOOK, None).is(429);
    let seconds: u64 = refused.head[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!((90..=100).contains(&seconds), "{seconds}");
    assert!(refused.text.contains("[server] limit_bytes"), "{}", refused.text);

    let other = Server::set(|options| options.limit_bytes = Some(200_000));
    let token = other.person(Role::Write);
    other.call(&token, Method::PUT, LOOK, Some(&json!("x".repeat(150_000)))).is(201);
    other.call(&token, Method::GET, LOOK, None).is(200);
    other.call(&token, Method::GET, LOOK, None).is(429);
}
