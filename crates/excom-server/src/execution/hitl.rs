//! `/execution/hitlDetails`: what a task asks people, and what one answered. Both are notes of its attempt, and the first answer
//! counts. Nobody waits in a request: a task that awaits an answer is deferred without a trigger, and goes on when it is
//! queued again, with the answer as its event.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use excom_airflow::execution::{HitlAnswer, HitlChoice, HitlRequest, HitlTold, HitlUser};
use excom_airflow::rest::reserved;
use excom_core::{Attempt, TaskInstanceKey, Value};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::instances::{Own, current};
use super::notes::{Noted, note};
use crate::app::App;
use crate::refusal::{Refusal, document};
use crate::request::Document;

/// What is asked.
pub(super) const ASKED: &str = "execution/hitl";

/// What was answered.
pub(super) const ANSWER: &str = "execution/hitl_answer";

/// What an attempt asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) created_at: Timestamp,
    pub(crate) request: HitlRequest,
}

pub(super) fn router() -> Router<App> {
    Router::new().route("/{id}", post(ask).patch(respond).get(told))
}

/// Asks. One that has asked before, as the same attempt, asks the same again, and an answer of then is gone.
async fn ask(
    State(app): State<App>,
    Own(attempt): Own,
    Document(request): Document<HitlRequest>,
) -> Result<Response, Refusal> {
    if request.options.is_empty() {
        return Err(none_of("options"));
    }
    let (_, found) = current(&app, &attempt).await?;
    let noted = Noted::of(&app, &attempt.ti, &found).await?;
    let request = match noted.asked {
        Some(before) => {
            if noted.answer.is_some() {
                app.engine.note(&attempt, ANSWER, None).await?;
            }
            before.request
        }
        None => {
            let request = HitlRequest { ti_id: attempt.id, ..request };
            let asked = Asked { created_at: app.engine.clock().now(), request };
            note(&app, &attempt, ASKED, Some(&asked)).await?;
            asked.request
        }
    };
    Ok(document(StatusCode::CREATED, &request))
}

/// The defaults, when nobody has answered in time: older workers say it themselves.
async fn respond(
    State(app): State<App>,
    Own(attempt): Own,
    Document(choice): Document<HitlChoice>,
) -> Result<Response, Refusal> {
    let (_, found) = current(&app, &attempt).await?;
    let noted = Noted::of(&app, &attempt.ti, &found).await?;
    noted.asked.ok_or_else(|| asks_nothing(&attempt))?;
    if noted.answer.is_some() {
        return Err(answered(&attempt.ti));
    }
    let answer = answer(&app, &attempt, choice, None).await?;
    Ok(document(StatusCode::OK, &HitlTold::from(Some(answer))))
}

async fn told(State(app): State<App>, Own(attempt): Own) -> Result<Response, Refusal> {
    let (_, found) = current(&app, &attempt).await?;
    let noted = Noted::of(&app, &attempt.ti, &found).await?;
    noted.asked.ok_or_else(|| asks_nothing(&attempt))?;
    Ok(document(StatusCode::OK, &HitlTold::from(noted.answer)))
}

fn asks_nothing(attempt: &Attempt) -> Refusal {
    Refusal::not_found(format!("attempt {} of {} has asked nothing", attempt.id, attempt.ti))
}

fn none_of(name: &str) -> Refusal {
    let message = "List should have at least 1 item after validation, not 0";
    Refusal::unprocessable("too_short", &["body", name], message, Vec::<String>::new())
}

/// Notes an answer: of two, one.
///
/// # Errors
/// 409 when there is one already, 422 for a choice of nothing, or what would make an object in a worker.
pub(crate) async fn answer(
    app: &App,
    attempt: &Attempt,
    choice: HitlChoice,
    who: Option<HitlUser>,
) -> Result<HitlAnswer, Refusal> {
    if choice.chosen_options.is_empty() {
        return Err(none_of("chosen_options"));
    }
    let HitlChoice { chosen_options, params_input } = choice;
    if let Some((place, name)) = reserved(&Json::Object(params_input.clone())) {
        let place = place.replacen("value", "params_input", 1);
        let message = format!("`{name}`, in {place}, is a name that Airflow keeps for objects");
        return Err(Refusal::unprocessable("value_error", &["body", "params_input"], message, name));
    }
    let responded_at = app.engine.clock().now();
    let answer = HitlAnswer { chosen_options, params_input, responded_at, responded_by_user: who };
    let noted = Value::of(&answer)?;
    if app.engine.note_once(attempt, ANSWER, &noted).await? != noted {
        return Err(answered(&attempt.ti));
    }
    Ok(answer)
}

/// The refusal of a second answer.
pub(crate) fn answered(ti: &TaskInstanceKey) -> Refusal {
    Refusal::plain(StatusCode::CONFLICT, format!("what {ti} asked has been answered"))
}
