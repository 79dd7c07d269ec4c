//! Variables in the clear, for people. Who may read one may read all that was put there, so that takes the highest role;
//! bodies alone have texts, which no log and no span looks at.

use std::sync::Arc;

use axum::extract::State;
use excom_core::engine::{VariableSet, VariableValue};
use excom_core::variable::Variable;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::openapi::Reply;
use super::page::Filling;
use crate::app::App;
use crate::auth::{Asking, Role};
use crate::refusal::Refusal;
use crate::request::{Document, Path, Query};

/// The most variables of a page: each may have a megabyte of text, and as much description.
const MOST: u32 = 64;

/// A variable's key.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct OfVariable {
    /// It may hold slashes, escaped or not.
    #[schemars(length(min = 1, max = 250))]
    key: Arc<str>,
}

/// Which variables are listed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Listed {
    /// Those whose keys begin with this.
    #[serde(default)]
    prefix: String,
    /// Go on behind this key, the `next` of the page before.
    after: Option<String>,
    /// The most variables, never more than 64.
    limit: Option<u32>,
}

/// A variable of the database.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Item {
    #[serde(flatten)]
    variable: Variable,
    /// The server's environment variable that is read instead.
    overridden_by: Option<String>,
}

/// A page of variables, in order of their keys.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Variables {
    items: Vec<Item>,
    /// What to give as `after` for the next page; null at the end.
    next: Option<Arc<str>>,
}

/// What a variable is set to.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewText {
    text: String,
    /// What it is for; the one before stays when it is not said.
    description: Option<String>,
}

/// What was deleted.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Deleted {
    /// Whether there was one.
    deleted: bool,
}

pub(super) async fn list(
    State(app): State<App>,
    asking: Asking,
    Query(Listed { prefix, after, limit }): Query<Listed>,
) -> Result<Reply<Variables>, Refusal> {
    asking.at_least(Role::Admin)?;
    let limit = limit.unwrap_or(MOST).clamp(1, MOST);
    let size = |variable: &Variable| {
        [&variable.text, &variable.description].into_iter().flatten().map(String::len).sum::<usize>()
    };
    let mut filling = Filling::new(limit, app.options.body_limit, size);
    while let Some(wanted) = filling.wanted() {
        let after = filling.last().map(|last| &*last.key).or(after.as_deref());
        let found = app.engine.variables(&asking.caller, &prefix, after, wanted).await?;
        filling.add(found, wanted);
    }
    let (found, more) = filling.page();
    let next = found.last().filter(|_| more).map(|last| last.key.clone());
    let item = |variable: Variable| {
        let overridden_by = app.engine.override_of(&variable.key).map(|(name, _)| name);
        Item { variable, overridden_by }
    };
    Ok(Reply::ok(Variables { items: found.into_iter().map(item).collect(), next }))
}

pub(super) async fn read(
    State(app): State<App>,
    asking: Asking,
    Path(OfVariable { key }): Path<OfVariable>,
) -> Result<Reply<VariableValue>, Refusal> {
    asking.at_least(Role::Admin)?;
    match app.engine.variable(&asking.caller, &key).await? {
        Some(variable) => Ok(Reply::ok(variable)),
        None => Err(Refusal::not_found(format!("there is no variable `{key}`"))),
    }
}

pub(super) async fn set(
    State(app): State<App>,
    asking: Asking,
    Path(OfVariable { key }): Path<OfVariable>,
    Document(NewText { text, description }): Document<NewText>,
) -> Result<Reply<VariableSet>, Refusal> {
    asking.at_least(Role::Write)?;
    Ok(Reply::ok(app.engine.set_variable(&asking.caller, &key, &text, description.as_deref()).await?))
}

pub(super) async fn delete(
    State(app): State<App>,
    asking: Asking,
    Path(OfVariable { key }): Path<OfVariable>,
) -> Result<Reply<Deleted>, Refusal> {
    asking.at_least(Role::Admin)?;
    Ok(Reply::ok(Deleted { deleted: app.engine.delete_variable(&asking.caller, &key).await? }))
}
