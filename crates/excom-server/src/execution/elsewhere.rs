//! What tasks ask Airflow's own server for and Excom keeps nothing of: what they store with assets, and tests of connections. The refusal is one that
//! a worker neither repeats nor takes for "none", so that a task's log shows why.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::any;

use crate::app::App;
use crate::auth::Task;
use crate::refusal::Refusal;

pub(super) fn router() -> Router<App> {
    let all = |what: &'static str| any(move |_: Task| async move { refused(what) });
    Router::new()
        .route("/store/asset/{*rest}", all("what tasks keep of assets is"))
        .route("/connection-tests/{*rest}", all("tests of connections are"))
}

fn refused(what: &str) -> Refusal {
    let message = format!("{what} kept by Airflow's own server, and not by Excom, which answers here");
    Refusal::because(StatusCode::BAD_REQUEST, "not_kept_here", message).with(
        "hints",
        vec!["run DAGs that need them with Airflow's own server, which Excom can be attached to"],
    )
}
