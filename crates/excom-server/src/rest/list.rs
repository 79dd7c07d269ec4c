//! Lists of XComs: filters, order and pages as Airflow has them.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use excom_airflow::rest::{XComEntries, XComEntry};
use excom_core::db::Filter;
use excom_core::{DagRun, UNMAPPED};
use jiff::Timestamp;

use super::entry;
use super::page::Page;
use super::patterns::{Asked, Patterns};
use crate::app::App;
use crate::auth::{Asking, Role};
use crate::refusal::{Refusal, document};
use crate::request::{Params, Path};

/// How many entries are read together.
const STEP: u32 = 1000;

/// The most entries that a list is made of, since they are put in order in memory.
const MOST: usize = 100_000;

/// Parts that patterns look at, by the names of their parameters.
const PARTS: [Asked<XComEntry>; 4] = [
    ("xcom_key_pattern", "xcom_key_prefix_pattern", |entry| &entry.key),
    ("dag_display_name_pattern", "dag_display_name_prefix_pattern", |entry| &entry.dag_display_name),
    ("run_id_pattern", "run_id_prefix_pattern", |entry| &entry.run_id),
    ("task_id_pattern", "task_id_prefix_pattern", |entry| &entry.task_id),
];

pub(super) async fn list(
    State(app): State<App>,
    asking: Asking,
    Path((dag, run, task)): Path<(String, String, String)>,
    params: Params,
) -> Result<Response, Refusal> {
    asking.at_least(Role::Read)?;
    let page = Page::of(&params)?;
    let orders = orders(&params)?;
    let chosen = |part: String| (part != "~").then(|| Arc::<str>::from(part));
    let map_index = params.map_index("map_index", UNMAPPED.into())?;
    let also = params.map_index("map_index_filter", UNMAPPED.into())?;
    let filter = Filter {
        dag_id: chosen(dag),
        run_id: chosen(run),
        task_id: chosen(task),
        map_index: map_index.or(also),
        key: params.text("xcom_key").map(Arc::from),
    };
    let mut found = matching(&app, &asking, &filter, &params).await?;
    found.retain(|entry| also.is_none_or(|index| entry.map_index == index));
    found.sort_by(|a, b| {
        orders.iter().map(|order| order.compare(a, b)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
    });
    let total_entries = found.len();
    let xcom_entries = page.cut(found).collect();
    Ok(document(StatusCode::OK, &XComEntries { xcom_entries, total_entries }))
}

/// All entries that the parameters let through, in the database's order.
async fn matching(
    app: &App,
    asking: &Asking,
    filter: &Filter,
    params: &Params,
) -> Result<Vec<XComEntry>, Refusal> {
    let patterns = Patterns::of(params, &PARTS)?;
    let ranges = [Range::of(params, "logical_date")?, Range::of(params, "run_after")?];
    let mut runs: HashMap<(Arc<str>, Arc<str>), Option<DagRun>> = HashMap::new();
    let (mut found, mut after, mut looked) = (Vec::new(), None, 0);
    loop {
        let page = app.engine.list(&asking.caller, filter, after.as_ref(), STEP).await?;
        looked += page.items.len();
        for info in page.items {
            let run = (info.key.ti.dag_id.clone(), info.key.ti.run_id.clone());
            if !runs.contains_key(&run) {
                let known = app.engine.db().run_info(&run.0, &run.1).await?;
                runs.insert(run.clone(), known.map(|info| info.run));
            }
            let entry = entry(&info.key, info.version, runs.get(&run).and_then(Option::as_ref));
            let dates = [entry.logical_date, entry.run_after];
            if ranges.iter().zip(dates).all(|(range, date)| range.holds(date)) && patterns.hold(&entry) {
                found.push(entry);
            }
        }
        if looked > MOST {
            let message = format!("over {MOST} XComs to look through: name a DAG, a run, a task or a key");
            return Err(Refusal::plain(StatusCode::BAD_REQUEST, message));
        }
        after = page.next;
        if after.is_none() {
            return Ok(found);
        }
    }
}

/// Dates between bounds; without bounds also none.
struct Range([Option<Timestamp>; 4]);

impl Range {
    fn of(params: &Params, name: &str) -> Result<Self, Refusal> {
        let mut bounds = [None; 4];
        for (bound, end) in bounds.iter_mut().zip(["gte", "gt", "lte", "lt"]) {
            *bound = params.dates(&format!("{name}_{end}"))?.pop();
        }
        Ok(Self(bounds))
    }

    fn holds(&self, date: Option<Timestamp>) -> bool {
        let [from, behind, to, before] = self.0;
        let Some(date) = date else { return self.0 == [None; 4] };
        from.is_none_or(|from| date >= from)
            && behind.is_none_or(|behind| date > behind)
            && to.is_none_or(|to| date <= to)
            && before.is_none_or(|before| date < before)
    }
}

/// How two entries are compared.
struct Order(fn(&XComEntry, &XComEntry) -> Ordering, bool);

impl Order {
    fn compare(&self, a: &XComEntry, b: &XComEntry) -> Ordering {
        let Self(compare, backwards) = self;
        if *backwards { compare(b, a) } else { compare(a, b) }
    }
}

/// The orders that parameters name; the standard one comes last, so that pages do not overlap.
fn orders(params: &Params) -> Result<Vec<Order>, Refusal> {
    const STANDARD: [&str; 5] = ["dag_id", "task_id", "run_id", "map_index", "key"];
    params.all("order_by").chain(STANDARD).map(order).collect()
}

fn order(named: &str) -> Result<Order, Refusal> {
    let (name, backwards) = named.strip_prefix('-').map_or((named, false), |name| (name, true));
    let compare: fn(&XComEntry, &XComEntry) -> Ordering = match name {
        "key" => |a, b| a.key.cmp(&b.key),
        "dag_id" => |a, b| a.dag_id.cmp(&b.dag_id),
        "run_id" => |a, b| a.run_id.cmp(&b.run_id),
        "task_id" => |a, b| a.task_id.cmp(&b.task_id),
        "map_index" => |a, b| a.map_index.cmp(&b.map_index),
        "timestamp" => |a, b| a.timestamp.cmp(&b.timestamp),
        "run_after" => |a, b| a.run_after.cmp(&b.run_after),
        _ => {
            let message =
                format!("Ordering with '{name}' is disallowed or the attribute does not exist on the model");
            return Err(Refusal::plain(StatusCode::BAD_REQUEST, message));
        }
    };
    Ok(Order(compare, backwards))
}
