//! Variables: list, look, make, change, delete. What a name says to be a secret is shown to nobody.

use std::cmp::Ordering;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use excom_airflow::rest::{VariableBody, VariableEntries, VariableEntry};
use excom_core::variable::{Variable, check_key};

use super::page::{Compare, Orders, Page, Step, Steps, gathered};
use super::patterns::{Asked, Patterns};
use crate::app::App;
use crate::auth::{Asking, Role};
use crate::refusal::{Refusal, document};
use crate::request::{Declared, Params, Path};

/// How many variables are read together: each may have a text of a megabyte.
const STEP: u32 = 64;

/// What patterns look at.
const PARTS: [Asked<Variable>; 1] =
    [("variable_key_pattern", "variable_key_prefix_pattern", |variable| &variable.key)];

pub(super) async fn list(
    State(app): State<App>,
    asking: Asking,
    params: Params,
) -> Result<Response, Refusal> {
    asking.at_least(Role::Read)?;
    let page = Page::of(&params)?;
    // What is equal is in the order of the keys, in the direction of what was named last.
    let backwards = params.all("order_by").last().is_some_and(|last| last.starts_with('-'));
    let standard = if backwards { "-key" } else { "key" };
    let orders = Orders::of(params.all("order_by").chain([standard]), compare)?;
    let patterns = Patterns::of(&params, &PARTS)?;
    let mut found = gathered(All { app: &app, asking: &asking, patterns }).await?;
    orders.sort(&mut found);
    let total_entries = found.len();
    let mut variables = Vec::new();
    for variable in page.cut(found) {
        variables.extend(stored(&app, &asking, &variable.key).await?.map(VariableEntry::from));
    }
    Ok(document(StatusCode::OK, &VariableEntries { variables, total_entries }))
}

/// All variables that fit.
struct All<'a> {
    app: &'a App,
    asking: &'a Asking,
    patterns: Patterns<'a, Variable>,
}

impl Steps for All<'_> {
    type Entry = Variable;
    type Place = String;

    const MOST: usize = 10_000;
    const TOO_MANY: &'static str = "variables to look through";

    async fn step(&mut self, after: Option<String>) -> Result<Step<Variable, String>, Refusal> {
        let read = self.app.engine.variables(&self.asking.caller, "", after.as_deref(), STEP).await?;
        let (looked, last) = (read.len(), read.last().map(|last| last.key.to_string()));
        let fitting = read.into_iter().filter(|variable| self.patterns.hold(variable));
        // Only the texts of the page are shown, so only they are kept.
        let fitting = fitting.map(|variable| Variable { text: None, ..variable }).collect();
        Ok(Step { looked, fitting, next: last.filter(|_| looked == STEP as usize) })
    }
}

/// How two variables are compared by what has a name.
fn compare(name: &str) -> Option<Compare<Variable>> {
    Some(match name {
        "key" => |a, b| a.key.cmp(&b.key),
        // One without comes behind all others.
        "description" => {
            |a, b| (a.description.is_none(), &a.description).cmp(&(b.description.is_none(), &b.description))
        }
        "is_encrypted" => |a, b| a.is_encrypted.cmp(&b.is_encrypted),
        // They have it all alike here, or it is nothing that can be told.
        "id" | "_val" | "team_name" => |_, _| Ordering::Equal,
        _ => return None,
    })
}

/// What the database holds under a key; the environment does not count here.
async fn stored(app: &App, asking: &Asking, key: &str) -> Result<Option<Variable>, Refusal> {
    if check_key(key).is_err() {
        return Ok(None);
    }
    Ok(app.engine.stored_variable(&asking.caller, key).await?)
}

fn not_there(key: &str) -> Refusal {
    Refusal::plain(StatusCode::NOT_FOUND, format!("The Variable with key: `{key}` was not found"))
}

/// There is no variable without a key.
pub(super) async fn no_key(asking: Asking) -> Result<Response, Refusal> {
    asking.at_least(Role::Read)?;
    Err(not_there(""))
}

pub(super) async fn read(
    State(app): State<App>,
    asking: Asking,
    Path(key): Path<String>,
) -> Result<Response, Refusal> {
    asking.at_least(Role::Read)?;
    let found = stored(&app, &asking, &key).await?.ok_or_else(|| not_there(&key))?;
    Ok(document(StatusCode::OK, &VariableEntry::from(found)))
}

pub(super) async fn create(
    State(app): State<App>,
    asking: Asking,
    Declared(body): Declared<VariableBody>,
) -> Result<Response, Refusal> {
    asking.at_least(Role::Write)?;
    let text = text(&body)?;
    check_key(&body.key)?;
    let description = body.description.flatten();
    match app.engine.make_variable(&asking.caller, &body.key, &text, description.as_deref()).await? {
        Some(made) => Ok(document(StatusCode::CREATED, &VariableEntry::from(made))),
        None => {
            let message = format!("The Variable with key: `{}` already exists", body.key);
            Err(Refusal::plain(StatusCode::CONFLICT, message))
        }
    }
}

/// The text that a body gives a variable.
fn text(body: &VariableBody) -> Result<String, Refusal> {
    if let Some((field, message)) = body.wrong() {
        return Err(Refusal::unprocessable("value_error", &["body", field], message, ()));
    }
    body.text().ok_or_else(|| {
        Refusal::unprocessable("value_error", &["body", "value"], "the value is no Unicode, or too deep", ())
    })
}

/// Changes of a variable what the body says, or of that only what `update_mask` names.
pub(super) async fn update(
    State(app): State<App>,
    asking: Asking,
    Path(key): Path<String>,
    params: Params,
    Declared(body): Declared<VariableBody>,
) -> Result<Response, Refusal> {
    asking.at_least(Role::Write)?;
    let text = text(&body)?;
    let refuse = |message: &str| Err(Refusal::plain(StatusCode::BAD_REQUEST, message));
    if body.key != key {
        return refuse("Invalid body, key from request body doesn't match uri parameter");
    }
    let mask: Vec<&str> = params.all("update_mask").collect();
    if mask.contains(&"key") && stored(&app, &asking, &key).await?.is_some() {
        return refuse(
            "Update not allowed: the following fields are immutable and cannot be modified: {'key'}",
        );
    }
    if check_key(&key).is_err() {
        return Err(not_there(&key));
    }
    let changes = |field| mask.is_empty() || mask.contains(&field);
    let text = Some(&*text).filter(|_| changes("value"));
    // What is taken away is empty: none would leave the one before.
    let description = body.description.filter(|_| changes("description")).map(Option::unwrap_or_default);
    let changed = app.engine.change_variable(&asking.caller, &key, text, description.as_deref()).await?;
    Ok(document(StatusCode::OK, &VariableEntry::from(changed.ok_or_else(|| not_there(&key))?)))
}

pub(super) async fn delete(
    State(app): State<App>,
    asking: Asking,
    Path(key): Path<String>,
) -> Result<StatusCode, Refusal> {
    asking.at_least(Role::Admin)?;
    match check_key(&key).is_ok() && app.engine.delete_variable(&asking.caller, &key).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(not_there(&key)),
    }
}
