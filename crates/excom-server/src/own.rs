//! `/api/excom/v1`: Excom's own API, for people, programs and tasks.

mod answers;
mod entries;
mod instances;
mod names;
mod openapi;
mod page;
mod path;
mod prune;
mod pull;
mod runs;
mod sequences;
mod usage;
mod values;
mod variables;
mod wait;

use std::sync::Arc;

use aide::axum::ApiRouter;
use aide::axum::routing::{delete_with, get_with, post_with};
use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use bytes::Bytes;
use excom_core::engine::Receipt;
use tokio::sync::Semaphore;

use self::openapi::{Head, Reply, Stream, described, operation};
use self::wait::Waits;
pub(crate) use self::wait::{PAUSE, Standing};
use crate::app::App;
use crate::auth::EVERYBODY;
use crate::gate::{Gate, pass};
use crate::refusal::text_of;

/// How many values are looked into at the same time: as trees, and as texts, they take many times their bytes.
const LOOKED_INTO: usize = 4;

/// The most bytes of a value that is looked into.
pub(crate) const LARGEST_LOOKED_INTO: u64 = 4 << 20;

/// What requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) waits: Waits,
    pub(crate) looks: Arc<Semaphore>,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self { waits: Waits::new(), looks: Arc::new(Semaphore::new(LOOKED_INTO)) }
    }
}

const OPENAPI: &str = "/openapi.json";

pub(crate) fn router(app: &App) -> Router<App> {
    let gate = || Gate::for_tokens(app, &EVERYBODY);
    let documents = documents().route_layer(from_fn_with_state(gate(), pass));
    let values = values().route_layer(from_fn_with_state(gate().streaming(), pass));
    let (routes, text) = described(documents.merge(values));
    let text = Bytes::from(text);
    let tell = async move || text_of(StatusCode::OK, text);
    routes.merge(Router::new().route(OPENAPI, get(tell)).route_layer(from_fn_with_state(gate(), pass)))
}

/// What takes documents.
fn documents() -> ApiRouter<App> {
    ApiRouter::new()
        .api_route(
            "/runs",
            post_with(instances::start_run, |op| {
                operation(op, "startRun", "Start a run", &[409, 507]).response::<201, Reply<instances::Run>>()
            })
            .patch_with(instances::end_run, |op| {
                operation(op, "endRun", "Tell how a run stands or ended", &[404, 507])
            })
            .get_with(runs::list, |op| operation(op, "listRuns", "Runs, newest first, in pages", &[])),
        )
        .api_route(
            "/runs/{dag_id}/{run_id}",
            get_with(runs::show, |op| operation(op, "showRun", "A run, and how it stands", &[404])),
        )
        .api_route(
            "/task-instances/{dag_id}/{run_id}",
            get_with(runs::instances, |op| {
                operation(op, "listTaskInstances", "How the task instances of a run stand, in pages", &[])
            }),
        )
        .api_route(
            "/task-instances",
            post_with(instances::queue, |op| {
                operation(op, "queueTry", "Make a try of a task instance known", &[404, 409, 507])
            }),
        )
        .api_route(
            "/task-instances/{dag_id}/{run_id}/{task_id}/{map_index}",
            delete_with(entries::clear_instance, |op| {
                operation(
                    op,
                    "clearTaskInstance",
                    "Clear, or delete, all XComs of a task instance",
                    &[409, 507],
                )
            })
            .get_with(instances::show, |op| {
                operation(op, "showTaskInstance", "How a task instance stands, and what it waits for", &[404])
            }),
        )
        .api_route(
            "/footprint/{dag_id}/{run_id}/{task_id}/{map_index}",
            get_with(instances::footprint, |op| {
                operation(op, "footprint", "What the attempts of a task instance read and pushed", &[404])
            }),
        )
        .api_route(
            "/pull",
            post_with(pull::pull, |op| operation(op, "pull", "Pull many XComs, an answer for each", &[])),
        )
        .api_route(
            "/wait",
            post_with(wait::wait, |op| {
                operation(op, "wait", "Pull XComs when they are there, or cannot come", &[429])
                    .response::<200, wait::Told>()
            }),
        )
        .api_route(
            "/list",
            post_with(entries::list, |op| operation(op, "list", "XComs without their values, in pages", &[])),
        )
        .api_route(
            "/usage/{dag_id}",
            get_with(usage::of_dag, |op| {
                operation(op, "usageOfDag", "How much the values of all runs of a DAG have together", &[404])
            }),
        )
        .api_route(
            "/usage/{dag_id}/{run_id}",
            get_with(usage::of_run, |op| {
                operation(op, "usageOfRun", "How much the values of a run have together", &[404])
            }),
        )
        .api_route(
            "/indexes/{dag_id}/{run_id}/{task_id}/{*key}",
            get_with(sequences::indexes, |op| {
                operation(op, "indexes", "The map indexes at which a mapped task produced something", &[])
            }),
        )
        .api_route(
            "/sequences/{dag_id}/{run_id}/{task_id}/{*key}",
            get_with(sequences::page, |op| {
                operation(op, "page", "A page of what a mapped task produced, by map index", &[])
            }),
        )
        .api_route(
            "/preview/{dag_id}/{run_id}/{task_id}/{map_index}/{*key}",
            get_with(entries::preview, |op| {
                operation(op, "preview", "What is known of an XCom without its value", &[404, 410])
            }),
        )
        .api_route(
            "/history/{dag_id}/{run_id}/{task_id}/{map_index}/{*key}",
            get_with(entries::history, |op| operation(op, "history", "Earlier versions, newest first", &[])),
        )
        .api_route(
            "/trace/{dag_id}/{run_id}/{task_id}/{map_index}/{*key}",
            get_with(entries::trace, |op| {
                operation(op, "trace", "Where a value came from, or what came of it", &[404, 410])
            }),
        )
        .api_route(
            "/query/{dag_id}/{run_id}/{task_id}/{map_index}/{*key}",
            get_with(path::query, |op| {
                operation(op, "query", "Parts of a value, by a path into it", &[404, 410])
            }),
        )
        .api_route(
            "/variables",
            get_with(variables::list, |op| {
                operation(op, "listVariables", "Variables with their texts, in pages", &[])
            }),
        )
        .api_route(
            "/variables/{*key}",
            get_with(variables::read, |op| operation(op, "readVariable", "A variable with its text", &[404]))
                .put_with(variables::set, |op| operation(op, "setVariable", "Set a variable", &[507]))
                .delete_with(variables::delete, |op| {
                    operation(op, "deleteVariable", "Delete a variable", &[507])
                }),
        )
        .api_route(
            "/prune",
            post_with(prune::prune, |op| {
                operation(op, "prune", "Remove what is past its time, or tell what would go", &[507])
            }),
        )
}

/// What takes and gives values of any size as streams; the engine knows how large one may be.
fn values() -> ApiRouter<App> {
    let values = get_with(values::read, |op| {
        operation(op, "readValue", "The value as a stream", &[404, 410]).response::<200, Stream>()
    });
    let values = values
        .put_with(values::write, |op| {
            operation(op, "pushValue", "Push the body", &[409, 507])
                .input::<(Head<values::PushHead>, Stream)>()
                .response::<201, Reply<Receipt>>()
        })
        .delete_with(values::clear, |op| {
            operation(op, "clearValue", "Clear, or delete, an XCom", &[409, 507])
        });
    ApiRouter::new().api_route("/values/{dag_id}/{run_id}/{task_id}/{map_index}/{*key}", values)
}
