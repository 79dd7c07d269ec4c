//! Variables: list, look, make, change, delete. What a name says to be a secret is shown to nobody.

use std::cmp::Ordering;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use excom_airflow::rest::{VariableBody, VariableEntries, VariableEntry};
use excom_core::variable::{Variable, check_key};

use super::page::Page;
use super::patterns::{Asked, Patterns};
use crate::app::App;
use crate::auth::{Asking, Role};
use crate::refusal::{Refusal, document};
use crate::request::{Declared, Params, Path};

/// How many variables are read together: each may have a text of a megabyte.
const STEP: u32 = 64;

/// The most variables that a list is made of, since they are put in order in memory.
const MOST: usize = 10_000;

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
    let mut orders = params.all("order_by").map(order).collect::<Result<Vec<_>, _>>()?;
    let patterns = Patterns::of(&params, &PARTS)?;
    let (mut found, mut after, mut looked) = (Vec::new(), None::<String>, 0);
    loop {
        let read = app.engine.variables(&asking.caller, "", after.as_deref(), STEP).await?;
        looked += read.len();
        after = read.last().filter(|_| read.len() == STEP as usize).map(|last| last.key.to_string());
        let fitting = read.into_iter().filter(|variable| patterns.hold(variable));
        // Only the texts of the page are shown, so only they are kept.
        found.extend(fitting.map(|mut variable| {
            variable.text = String::new();
            variable
        }));
        if looked > MOST {
            let message = format!("over {MOST} variables to look through");
            return Err(Refusal::plain(StatusCode::BAD_REQUEST, message));
        }
        if after.is_none() {
            break;
        }
    }
    // What is equal is in the order of the keys, in the direction of what was named last.
    orders.push(Order(By::Key, orders.last().is_some_and(|order| order.1)));
    found.sort_by(|a, b| {
        orders.iter().map(|order| order.compare(a, b)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
    });
    let total_entries = found.len();
    let mut variables = Vec::new();
    for variable in page.cut(found) {
        variables.extend(stored(&app, &asking, &variable.key).await?.map(VariableEntry::from));
    }
    Ok(document(StatusCode::OK, &VariableEntries { variables, total_entries }))
}

/// How two variables are compared: by what, and whether backwards.
struct Order(By, bool);

enum By {
    Key,
    Description,
    /// By what they have all alike here, or by nothing that can be told.
    Nothing,
}

impl Order {
    fn compare(&self, a: &Variable, b: &Variable) -> Ordering {
        let turned = |order: Ordering| if self.1 { order.reverse() } else { order };
        match self.0 {
            By::Key => turned(a.key.cmp(&b.key)),
            // One without comes behind all others.
            By::Description => turned(
                (a.description.is_none(), &a.description).cmp(&(b.description.is_none(), &b.description)),
            ),
            By::Nothing => Ordering::Equal,
        }
    }
}

fn order(named: &str) -> Result<Order, Refusal> {
    let (name, backwards) = named.strip_prefix('-').map_or((named, false), |name| (name, true));
    let by = match name {
        "key" => By::Key,
        "description" => By::Description,
        "id" | "_val" | "is_encrypted" | "team_name" => By::Nothing,
        _ => {
            let message =
                format!("Ordering with '{name}' is disallowed or the attribute does not exist on the model");
            return Err(Refusal::plain(StatusCode::BAD_REQUEST, message));
        }
    };
    Ok(Order(by, backwards))
}

/// What the database holds under a key; the environment does not count here.
async fn stored(app: &App, asking: &Asking, key: &str) -> Result<Option<Variable>, Refusal> {
    if check_key(key).is_err() {
        return Ok(None);
    }
    Ok(app.engine.variable(&asking.caller, key).await?.and_then(|found| found.stored))
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
    if !app.engine.change_variable(&asking.caller, &key, text, description.as_deref()).await? {
        return Err(not_there(&key));
    }
    let found = stored(&app, &asking, &key).await?.ok_or_else(|| not_there(&key))?;
    Ok(document(StatusCode::OK, &VariableEntry::from(found)))
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
