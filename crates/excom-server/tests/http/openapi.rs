//! The description of Excom's own API.

use std::path::Path;

use axum::http::Method;
use excom_server::Role;
use serde_json::Value as Json;

use crate::client::Server;

/// Tells to write the file anew.
const RENEW: &str = "EXCOM_RENEW";

#[test]
fn the_document_in_the_repository_is_what_the_routes_say() {
    let server = Server::new();
    let told = server.call(&server.person(Role::Read), Method::GET, "/api/excom/v1/openapi.json", None);
    let told = told.is(200).text;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    if std::env::var_os(RENEW).is_some() {
        std::fs::write(&file, &told).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        kept == told,
        "docs/openapi.json is not what the routes say. Write it anew, and look at what differs:\n\
         {RENEW}=1 cargo test -p excom-server --test http openapi"
    );
}

#[test]
fn every_operation_has_a_name_and_tells_its_refusals() {
    let server = Server::new();
    let told =
        server.call(&server.person(Role::Read), Method::GET, "/api/excom/v1/openapi.json", None).json();
    let operations: Vec<&Json> = told["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|path| path.as_object().unwrap().values())
        .collect();
    assert!(operations.len() > 10, "{operations:?}");
    for operation in operations {
        assert!(operation["operationId"].is_string() && operation["summary"].is_string(), "{operation}");
        for status in ["401", "403", "422", "503"] {
            let refused = format!("#/components/responses/{status}");
            assert_eq!(operation["responses"][status]["$ref"], *refused, "{operation}");
            let schema = &told["components"]["responses"][status]["content"]["application/json"]["schema"];
            assert_eq!(schema["$ref"], "#/components/schemas/Refusal");
        }
    }
}
