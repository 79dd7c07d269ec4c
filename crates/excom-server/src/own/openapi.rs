//! What the API is, as OpenAPI: made from its routes, and from the types that they take and give.

use aide::axum::ApiRouter;
use aide::generate::{GenContext, in_context};
use aide::openapi::{
    MediaType, OpenApi, Operation, Parameter, ReferenceOr, RequestBody, Response as Described, SchemaObject,
    SecurityScheme, StatusCode as Status,
};
use aide::operation::{ParamLocation, add_parameters, parameters_from_schema, set_body};
use aide::transform::{TransformOpenApi, TransformOperation};
use aide::{OperationInput, OperationOutput};
use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, json_schema};
use serde::Serialize;
use serde_json::Value as Json;

use crate::app::App;
use crate::auth::Asking;
use crate::refusal::{Refusal, document};
use crate::request::{Document, Path, Query};

const JSON: &str = "application/json";

/// What any request may be answered when it is not done, or not understood.
const ANY: [u16; 8] = [400, 401, 403, 408, 413, 422, 500, 503];

/// What statuses of refusals mean here.
const REFUSALS: [(u16, &str); 13] = [
    (400, "The request cannot be done as it is"),
    (401, "It has no token"),
    (403, "The token is not good, or a rule that the answer names forbids it"),
    (404, "There is none, and why"),
    (408, "The body took too long"),
    (409, "It does not go together with what is there"),
    (410, "It was there, and is gone"),
    (413, "It is too large"),
    (422, "A part of the request cannot be understood, or the stored bytes were altered"),
    (429, "Too much is asked at once; try again"),
    (500, "Something went wrong that should not"),
    (503, "The database or store is away; try again"),
    (507, "The database or store is full"),
];

/// The routes, and the text of the document that describes them.
pub(super) fn described(routes: ApiRouter<App>) -> (Router<App>, String) {
    let mut api = OpenApi::default();
    let routes = routes.finish_api_with(&mut api, about);
    // What takes all that is left of a path is one part of it here: its slashes are escaped.
    if let Some(paths) = &mut api.paths {
        let named = std::mem::take(&mut paths.paths).into_iter();
        paths.paths = named.map(|(path, item)| (path.replace("{*", "{"), item)).collect();
    }
    let mut document = serde_json::to_value(&api).unwrap_or_default();
    tidy(&mut document);
    (routes, format!("{document:#}\n"))
}

/// What is told of Rust's types behind their first paragraph is for those who use Rust; and answers are in order.
fn tidy(document: &mut Json) {
    match document {
        Json::Object(parts) => {
            if let Some(Json::String(text)) = parts.get_mut("description")
                && let Some(end) = text.find("\n\n")
            {
                text.truncate(end);
            }
            if let Some(Json::Object(responses)) = parts.get_mut("responses") {
                responses.sort_keys();
            }
            parts.values_mut().for_each(tidy);
        }
        Json::Array(parts) => parts.iter_mut().for_each(tidy),
        _ => {}
    }
}

fn about(api: TransformOpenApi<'_>) -> TransformOpenApi<'_> {
    let token = SecurityScheme::Http {
        scheme: "bearer".to_owned(),
        bearer_format: Some("JWT".to_owned()),
        description: Some("a task's token, or a person's, as `excom token` makes it".to_owned()),
        extensions: IndexMap::new(),
    };
    let mut api = api;
    let refused = in_context(|context| response::<Refused>(context, ""));
    let responses = &mut api.inner_mut().components.get_or_insert_default().responses;
    for (status, description) in REFUSALS {
        let refused = Described { description: description.to_owned(), ..refused.clone() };
        responses.insert(status.to_string(), ReferenceOr::Item(refused));
    }
    api.title("Excom")
        .version("1")
        .description("Excom's own API. What each route is for is in docs/server.md.")
        .server(aide::openapi::Server { url: "/api/excom/v1".to_owned(), ..Default::default() })
        .security_scheme("token", token)
        .security_requirement("token")
}

/// Names an operation, with what it may be answered when it is not done, beside what any may.
pub(super) fn operation<'t>(
    mut operation: TransformOperation<'t>,
    id: &str,
    summary: &str,
    refusals: &[u16],
) -> TransformOperation<'t> {
    operation = operation.id(id).summary(summary);
    let responses = &mut operation.inner_mut().responses.get_or_insert_default().responses;
    let mut statuses: Vec<u16> = ANY.iter().chain(refusals).copied().collect();
    statuses.sort_unstable();
    for status in statuses {
        let refused = ReferenceOr::ref_(&format!("#/components/responses/{status}"));
        responses.insert(Status::Code(status), refused);
    }
    operation
}

/// A document as an answer.
#[derive(Debug)]
pub(super) struct Reply<T>(pub(super) StatusCode, pub(super) T);

impl<T> Reply<T> {
    /// A document that tells what was asked.
    pub(super) fn ok(body: T) -> Self {
        Self(StatusCode::OK, body)
    }
}

impl<T: Serialize> IntoResponse for Reply<T> {
    fn into_response(self) -> Response {
        document(self.0, &self.1)
    }
}

impl<T: JsonSchema> OperationOutput for Reply<T> {
    type Inner = T;

    fn operation_response(context: &mut GenContext, _: &mut Operation) -> Option<Described> {
        Some(response::<T>(context, "Done"))
    }

    fn inferred_responses(
        context: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<Status>, Described)> {
        Self::operation_response(context, operation)
            .map(|it| (Some(Status::Code(200)), it))
            .into_iter()
            .collect()
    }
}

/// A document about what is new.
#[derive(Debug)]
pub(super) struct Created<T>(pub(super) T);

impl<T: Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        document(StatusCode::CREATED, &self.0)
    }
}

impl<T: JsonSchema> OperationOutput for Created<T> {
    type Inner = T;

    fn inferred_responses(context: &mut GenContext, _: &mut Operation) -> Vec<(Option<Status>, Described)> {
        vec![(Some(Status::Code(201)), response::<T>(context, "Done"))]
    }
}

impl OperationOutput for Refusal {
    type Inner = Self;
}

/// Any JSON value, as a stream.
#[derive(Debug, JsonSchema)]
pub(super) struct Stream(#[expect(dead_code, reason = "it is described, never made")] Json);

impl OperationOutput for Stream {
    type Inner = Self;

    fn operation_response(context: &mut GenContext, _: &mut Operation) -> Option<Described> {
        Some(response::<Json>(
            context,
            "The value's JSON text. `Excom-Version` in the head tells its version, and `Excom-Secret: true` that it is a \
             secret",
        ))
    }
}

impl OperationInput for Stream {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        body::<Json>(context, operation);
    }
}

impl OperationInput for Asking {}

impl<T: JsonSchema> OperationInput for Document<T> {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        body::<T>(context, operation);
    }
}

impl<T: JsonSchema> OperationInput for Path<T> {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        parameters::<T>(context, operation, ParamLocation::Path);
    }
}

impl<T: JsonSchema> OperationInput for Query<T> {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        parameters::<T>(context, operation, ParamLocation::Query);
    }
}

/// Parameters in the head of a request.
#[derive(Debug)]
pub(super) struct Head<T>(std::marker::PhantomData<T>);

impl<T: JsonSchema> OperationInput for Head<T> {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        parameters::<T>(context, operation, ParamLocation::Header);
    }
}

fn parameters<T: JsonSchema>(context: &mut GenContext, operation: &mut Operation, place: ParamLocation) {
    // Beside its parameters nothing of the type is told.
    let schema = T::json_schema(&mut context.schema);
    let found: Vec<Parameter> = parameters_from_schema(context, schema, place);
    add_parameters(context, operation, found);
}

fn body<T: JsonSchema>(context: &mut GenContext, operation: &mut Operation) {
    let content = content(context.schema.subschema_for::<T>());
    set_body(context, operation, RequestBody { content, required: true, ..Default::default() });
}

fn response<T: JsonSchema>(context: &mut GenContext, description: &str) -> Described {
    let content = content(context.schema.subschema_for::<T>());
    Described { description: description.to_owned(), content, ..Default::default() }
}

fn content(json_schema: Schema) -> IndexMap<String, MediaType> {
    let schema = Some(SchemaObject { json_schema, example: None, external_docs: None });
    IndexMap::from([(JSON.to_owned(), MediaType { schema, ..Default::default() })])
}

/// Why a request is not done.
#[derive(JsonSchema)]
#[schemars(rename = "Refusal")]
#[expect(dead_code, reason = "it is described; `Refusal` is what is made")]
struct Refused {
    detail: Detail,
}

/// Said in short; or with a reason; or as a list of parts of the request.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "as above")]
enum Detail {
    Text(String),
    Because(Because),
    Parts(Vec<Part>),
}

/// A reason that programs know, and a message for people.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "as above")]
struct Because {
    reason: String,
    message: String,
    /// What to do next, most useful first.
    hints: Option<Vec<String>>,
    /// Which answer it is, where there is no value.
    answer: Option<String>,
}

/// A part of a request that cannot be understood.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "as above")]
struct Part {
    r#type: String,
    /// Where it is, such as `body`, the name of a field, and which element of a list.
    loc: Vec<Location>,
    msg: String,
    #[schemars(schema_with = "anything")]
    input: Json,
}

/// A name, or a place counted from 0.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "as above")]
enum Location {
    Name(String),
    Place(u64),
}

/// The schema of what may be anything.
pub(super) fn anything(_: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!(true)
}
