//! `/execution/assets` and `/execution/asset-events`: the assets that tasks made events of, and these. A task tells of its
//! events when it ends well, and the same rules as of Airflow's server say which those are. No DAG is scheduled by them.
//!
//! Where the database is Airflow's, its scheduler would have to hear of them, so everything about them is refused: before a
//! task with inlets or outlets runs, so that its log says why.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use excom_airflow::execution::{AssetProfile, OutletEvent, StateUpdate};
use excom_core::asset::{
    Asset, AssetEvent, AssetEventFilter, AssetNamed, EventsOf, NewAssetEvent, PARTITION_LIMIT,
};
use excom_core::{Attempt, Caller, Value};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value as Json, json};

use super::instances::Own;
use super::version::Spoken;
use crate::app::App;
use crate::auth::Running;
use crate::refusal::{Refusal, document};
use crate::request::Params;

/// The most assets or events in an answer, and of what a task tells when it ends.
const MOST: u32 = 1000;

/// Since when events tell which partition they are of.
const PARTITIONS: &str = "2026-04-06";

/// The group of all assets: which one a DAG gives them is not told.
const GROUP: &str = "asset";

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/assets/by-name", get(by_name))
        .route("/assets/by-uri", get(by_uri))
        .route("/assets/by-alias", get(by_alias))
        .route("/asset-events/by-asset", get(events_of_asset))
        .route("/asset-events/by-asset-alias", get(events_of_alias))
}

// ---- what a task tells when it ends well

/// Notes the events of an attempt that ended well.
pub(super) async fn note_events(app: &App, attempt: &Attempt, update: &StateUpdate) -> Result<(), Refusal> {
    if update.task_outlets.is_empty() {
        return Ok(());
    }
    kept_here(app)?;
    for (what, count) in
        [("outlets", update.task_outlets.len()), ("events of outlets", update.outlet_events.len())]
    {
        if count > MOST as usize {
            let message = format!("{count} {what} of {}, the most are {MOST}", attempt.ti);
            return Err(Refusal::because(StatusCode::PAYLOAD_TOO_LARGE, "too_many", message));
        }
    }
    let events = told(app, attempt, update).await?;
    Ok(app.engine.note_asset_events(attempt, &events).await?)
}

/// Refuses keys of partitions that Airflow refuses, whichever event they are of.
pub(super) fn check_partitions(events: &[OutletEvent]) -> Result<(), Refusal> {
    for key in events.iter().filter_map(|event| event.partition_key.as_deref()) {
        let length = key.chars().count();
        let why = match length {
            _ if key.trim().is_empty() => format!("must not be empty or whitespace-only; got {key:?}"),
            ..=PARTITION_LIMIT => continue,
            _ => format!("must be at most {PARTITION_LIMIT} characters; got {length}"),
        };
        let message = format!("partition_key in outlet event {why}.");
        return Err(Refusal::because(StatusCode::UNPROCESSABLE_ENTITY, "invalid_partition_key", message));
    }
    Ok(())
}

/// The events that a task tells: of each of its outlets those with extras, or one without; and those under its aliases, as one
/// where several aliases have the same. What is told of something that is no outlet is none.
async fn told(app: &App, attempt: &Attempt, update: &StateUpdate) -> Result<Vec<NewAssetEvent>, Refusal> {
    let StateUpdate { task_outlets, outlet_events, .. } = update;
    let mut events: Vec<NewAssetEvent> = Vec::new();
    let mut seen: BTreeSet<(Arc<str>, Arc<str>)> = BTreeSet::new();
    for outlet in task_outlets {
        let Some((name, uri)) = outlet_key(app, attempt, outlet).await? else { continue };
        if !seen.insert((name.clone(), uri.clone())) {
            continue;
        }
        let of_outlet = |event: &&OutletEvent| {
            let key = &event.dest_asset_key;
            event.source_alias_name.is_none() && *key.name == *name && *key.uri == *uri
        };
        let event = |extra, partition_key: Option<&str>| NewAssetEvent {
            name: name.clone(),
            uri: uri.clone(),
            asset_extra: empty(),
            extra,
            partition_key: partition_key.map(Into::into),
            aliases: Vec::new(),
        };
        let before = events.len();
        for told in outlet_events.iter().filter(of_outlet) {
            events.push(event(extra(told.extra.as_deref())?, told.partition_key.as_deref()));
        }
        if events.len() == before {
            events.push(event(empty(), None));
        }
    }
    let is_alias = |alias: &str| {
        task_outlets.iter().any(|outlet| outlet.kind == "AssetAlias" && outlet.name.as_deref() == Some(alias))
    };
    // What is equal as JSON is one event, wherever its texts have spaces and whatever the order of keys.
    let mut places: HashMap<(String, String, String, String), usize> = HashMap::new();
    for told in outlet_events {
        let Some(alias) = told.source_alias_name.as_deref().filter(|alias| is_alias(alias)) else { continue };
        let event = NewAssetEvent {
            name: told.dest_asset_key.name.as_str().into(),
            uri: told.dest_asset_key.uri.as_str().into(),
            asset_extra: extra(told.dest_asset_extra.as_deref())?,
            extra: extra(told.extra.as_deref())?,
            partition_key: None,
            aliases: Vec::new(),
        };
        let alike = |value: &Value| match value.get::<Json>() {
            Ok(mut json) => {
                json.sort_all_objects();
                json.to_string()
            }
            Err(_) => value.as_str().to_owned(),
        };
        let same =
            (event.name.to_string(), event.uri.to_string(), alike(&event.asset_extra), alike(&event.extra));
        let place = *places.entry(same).or_insert_with(|| {
            events.push(event);
            events.len() - 1
        });
        let aliases = &mut events[place].aliases;
        if !aliases.iter().any(|known| **known == *alias) {
            aliases.push(alias.into());
        }
    }
    Ok(events)
}

/// The name and the URI of an outlet that is an asset, or refers to one that is known.
async fn outlet_key(
    app: &App,
    attempt: &Attempt,
    outlet: &AssetProfile,
) -> Result<Option<(Arc<str>, Arc<str>)>, Refusal> {
    let text = |text: &Option<String>| text.as_deref().filter(|text| !text.is_empty()).map(Arc::from);
    let named = match (&*outlet.kind, text(&outlet.name), text(&outlet.uri)) {
        ("Asset", Some(name), Some(uri)) => return Ok(Some((name, uri))),
        ("AssetNameRef", Some(name), _) => AssetNamed::Name(name),
        ("AssetUriRef", _, Some(uri)) => AssetNamed::Uri(uri),
        _ => return Ok(None),
    };
    let caller = Caller::Attempt(attempt.clone());
    let known = app.engine.assets(&caller, &named, 1).await?.pop();
    Ok(known.map(|asset| (asset.name, asset.uri)))
}

fn empty() -> Value {
    Value::of(&json!({})).unwrap_or_else(|_| Value::null())
}

fn extra(told: Option<&RawValue>) -> Result<Value, Refusal> {
    match told.map(RawValue::get) {
        None | Some("null") => Ok(empty()),
        Some(text) => Ok(Value::parse(text.to_owned())?),
    }
}

// ---- what is known

/// An asset as a worker insists on it.
#[derive(Serialize)]
struct Told<'a> {
    name: &'a str,
    uri: &'a str,
    group: &'static str,
    extra: &'a Value,
}

impl<'a> From<&'a Asset> for Told<'a> {
    fn from(Asset { name, uri, extra, .. }: &'a Asset) -> Self {
        Self { name, uri, group: GROUP, extra }
    }
}

fn seen(event: &AssetEvent, Spoken(version): Spoken) -> impl Serialize {
    #[derive(Serialize)]
    struct Seen<'a> {
        id: i64,
        timestamp: jiff::Timestamp,
        extra: &'a Value,
        asset: Told<'a>,
        created_dagruns: [(); 0],
        source_task_id: &'a str,
        source_dag_id: &'a str,
        source_run_id: &'a str,
        source_map_index: i32,
        #[serde(skip_serializing_if = "Option::is_none")]
        partition_key: Option<Option<&'a str>>,
    }
    Seen {
        id: event.id,
        timestamp: event.at,
        extra: &event.extra,
        asset: Told::from(&event.asset),
        created_dagruns: [],
        source_task_id: &event.by.task_id,
        source_dag_id: &event.by.dag_id,
        source_run_id: &event.by.run_id,
        source_map_index: event.by.map_index,
        partition_key: (version.name() >= PARTITIONS).then_some(event.partition_key.as_deref()),
    }
}

/// Refuses what Airflow's own server keeps.
pub(super) fn kept_here(app: &App) -> Result<(), Refusal> {
    if !app.engine.db().is_airflows() {
        return Ok(());
    }
    let message = "this task has inlets or outlets; assets and their events are kept by Airflow's own server, and not by Excom, \
                   which answers here";
    Err(Refusal::because(StatusCode::BAD_REQUEST, "not_kept_here", message)
        .with("hints", vec!["run DAGs that have inlets or outlets with Airflow's own server"]))
}

fn required(params: &Params, name: &str) -> Result<Arc<str>, Refusal> {
    let missing = || Refusal::unprocessable("missing", &["query", name], "Field required", ());
    params.text(name).map(Arc::from).ok_or_else(missing)
}

async fn by_name(
    State(app): State<App>,
    Running(caller): Running,
    params: Params,
) -> Result<Response, Refusal> {
    let name = required(&params, "name")?;
    let missing = format!("Asset with name {name} not found");
    one(&app, &caller, AssetNamed::Name(name), missing).await
}

async fn by_uri(
    State(app): State<App>,
    Running(caller): Running,
    params: Params,
) -> Result<Response, Refusal> {
    let uri = required(&params, "uri")?;
    let missing = format!("Asset with URI {uri} not found");
    one(&app, &caller, AssetNamed::Uri(uri), missing).await
}

async fn one(app: &App, caller: &Caller, named: AssetNamed, missing: String) -> Result<Response, Refusal> {
    kept_here(app)?;
    let found = app.engine.assets(caller, &named, 1).await?;
    let asset = found.first().ok_or_else(|| Refusal::not_found(missing))?;
    Ok(document(StatusCode::OK, &Told::from(asset)))
}

async fn by_alias(
    State(app): State<App>,
    Running(caller): Running,
    params: Params,
) -> Result<Response, Refusal> {
    kept_here(&app)?;
    let named = AssetNamed::Alias(required(&params, "alias_name")?);
    let found = app.engine.assets(&caller, &named, MOST + 1).await?;
    if found.len() > MOST as usize {
        let message = format!("the alias stands for over {MOST} assets, which are not told together");
        return Err(Refusal::because(StatusCode::BAD_REQUEST, "too_many", message));
    }
    Ok(document(StatusCode::OK, &found.iter().map(Told::from).collect::<Vec<_>>()))
}

async fn events_of_asset(
    State(app): State<App>,
    Running(caller): Running,
    spoken: Spoken,
    params: Params,
) -> Result<Response, Refusal> {
    kept_here(&app)?;
    // Both have to be there, though one may be empty.
    let (name, uri) = (required(&params, "name")?, required(&params, "uri")?);
    let named = match (&*name, &*uri) {
        ("", "") => {
            let message = "name and uri cannot both be None";
            return Err(Refusal::because(StatusCode::BAD_REQUEST, "Missing parameter", message));
        }
        ("", _) => AssetNamed::Uri(uri),
        (_, "") => AssetNamed::Name(name),
        _ => AssetNamed::Key(name, uri),
    };
    let asset = app.engine.assets(&caller, &named, 1).await?.pop();
    events(&app, &caller, asset.map(|asset| EventsOf::Asset(asset.id)), spoken, &params).await
}

async fn events_of_alias(
    State(app): State<App>,
    Running(caller): Running,
    spoken: Spoken,
    params: Params,
) -> Result<Response, Refusal> {
    kept_here(&app)?;
    let alias = required(&params, "name")?;
    events(&app, &caller, Some(EventsOf::Alias(alias)), spoken, &params).await
}

/// Events of what is known. More than are told together are not left out: whoever asks must say which are wanted.
async fn events(
    app: &App,
    caller: &Caller,
    of: Option<EventsOf>,
    spoken: Spoken,
    params: &Params,
) -> Result<Response, Refusal> {
    let date = |name: &str| Ok::<_, Refusal>(params.dates(name)?.pop());
    let (after, before) = (date("after")?, date("before")?);
    let newest_first = params.text("ascending").is_some() && !params.flag("ascending")?;
    let limit: Option<i64> = params.integer("limit")?;
    // As in Airflow, none is no limit.
    let limit = limit.filter(|limit| *limit != 0).map(|limit| u32::try_from(limit).unwrap_or(u32::MAX));
    let found = match of {
        Some(of) => {
            let filter = AssetEventFilter { of, after, before, newest_first };
            app.engine.asset_events(caller, &filter, limit.unwrap_or(u32::MAX).min(MOST + 1)).await?
        }
        None => Vec::new(),
    };
    if found.len() > MOST as usize {
        let message = format!("there are over {MOST} events, which are not told together");
        return Err(Refusal::because(StatusCode::BAD_REQUEST, "too_many", message).with(
            "hints",
            vec!["ask for fewer: with a limit of at most 1000, with the newest first, or of a time"],
        ));
    }
    let told: Vec<_> = found.iter().map(|event| seen(event, spoken)).collect();
    Ok(document(StatusCode::OK, &json!({"asset_events": told})))
}

/// Whether a task may run with the inlets and outlets that it has: where they are kept here every asset may be used.
pub(super) async fn inactive(State(app): State<App>, _: Own) -> Result<Response, Refusal> {
    kept_here(&app)?;
    Ok(document(StatusCode::OK, &json!({"inactive_assets": []})))
}
