//! Many XComs in one request.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use excom_core::{PullOptions, RETURN_VALUE, UNMAPPED, XComKey};
use serde::{Deserialize, Serialize};

use super::answers::{Body, elements};
use crate::app::App;
use crate::auth::Asking;
use crate::refusal::{Refusal, document};
use crate::request::Document;

/// The most XComs of one request.
const MOST: usize = 10_000;

/// What is pulled. DAG and run may be said once for all.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    dag_id: Option<Arc<str>>,
    run_id: Option<Arc<str>>,
    xcoms: Vec<One>,
    #[serde(default)]
    include_prior_dates: bool,
}

/// What is answered. Values are passed on as they are.
#[derive(Serialize)]
struct Answers {
    answers: Vec<Body>,
}

/// One XCom; without a map index everything that the task produced under the key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct One {
    dag_id: Option<Arc<str>>,
    run_id: Option<Arc<str>>,
    task_id: Arc<str>,
    map_index: Option<i32>,
    key: Option<Arc<str>>,
}

/// Pulls XComs; the answers are in the order asked.
pub(super) async fn pull(
    State(app): State<App>,
    asking: Asking,
    Document(asked): Document<Asked>,
) -> Result<Response, Refusal> {
    let Asked { dag_id, run_id, xcoms, include_prior_dates } = asked;
    if xcoms.len() > MOST {
        let message = format!("{} XComs in one request, the most are {MOST}", xcoms.len());
        return Err(Refusal::because(StatusCode::PAYLOAD_TOO_LARGE, "too_many", message));
    }
    let missing = |name: &str| Refusal::unprocessable("missing", &["body", name], "Field required", ());
    let (mut singles, mut tasks, mut is_task) = (Vec::new(), Vec::new(), Vec::with_capacity(xcoms.len()));
    for one in xcoms {
        let dag_id = one.dag_id.or_else(|| dag_id.clone()).ok_or_else(|| missing("dag_id"))?;
        let run_id = one.run_id.or_else(|| run_id.clone()).ok_or_else(|| missing("run_id"))?;
        let key = one.key.unwrap_or_else(|| RETURN_VALUE.into());
        let key = XComKey::new(dag_id, run_id, one.task_id, one.map_index.unwrap_or(UNMAPPED), key)?;
        is_task.push(one.map_index.is_none());
        if one.map_index.is_none() { tasks.push(key.sequence()) } else { singles.push(key) }
    }
    let options = PullOptions { include_prior_dates };
    let singles = app.engine.pull(&asking.caller, &singles, options).await?;
    let tasks = app.engine.pull_tasks(&asking.caller, &tasks, options).await?;
    singles.iter().chain(tasks.iter().flat_map(elements)).for_each(|answer| app.metrics.answered(answer));
    let (mut singles, mut tasks) = (singles.into_iter().map(Body::from), tasks.into_iter().map(Body::from));
    let answers: Vec<Body> =
        is_task.into_iter().filter_map(|task| if task { tasks.next() } else { singles.next() }).collect();
    Ok(document(StatusCode::OK, &Answers { answers }))
}
