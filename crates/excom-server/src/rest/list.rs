//! Lists of XComs: filters, order and pages as Airflow has them.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use excom_airflow::rest::{XComEntries, XComEntry};
use excom_core::db::Filter;
use excom_core::{DagRun, UNMAPPED, XComKey};
use jiff::Timestamp;

use super::entry;
use super::page::{Compare, Orders, Page, Step, Steps, gathered};
use super::patterns::{Asked, Patterns};
use crate::app::App;
use crate::auth::{Asking, Role};
use crate::refusal::{Refusal, document};
use crate::request::{Params, Path};

/// How many entries are read together.
const STEP: u32 = 1000;

/// In what order entries are that are alike by what was asked.
const STANDARD: [&str; 5] = ["dag_id", "task_id", "run_id", "map_index", "key"];

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
    // The standard order comes last, so that pages do not overlap.
    let orders = Orders::of(params.all("order_by").chain(STANDARD), compare)?;
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
    let patterns = Patterns::of(&params, &PARTS)?;
    let ranges = [Range::of(&params, "logical_date")?, Range::of(&params, "run_after")?];
    let (app, asking, filter, runs) = (&app, &asking, &filter, HashMap::new());
    let mut found = gathered(Matching { app, asking, filter, patterns, ranges, runs }).await?;
    found.retain(|entry| also.is_none_or(|index| entry.map_index == index));
    orders.sort(&mut found);
    let total_entries = found.len();
    let xcom_entries = page.cut(found).collect();
    Ok(document(StatusCode::OK, &XComEntries { xcom_entries, total_entries }))
}

/// All entries that the parameters let through.
struct Matching<'a> {
    app: &'a App,
    asking: &'a Asking,
    filter: &'a Filter,
    patterns: Patterns<'a, XComEntry>,
    ranges: [Range; 2],
    /// Those whose entries were looked at.
    runs: HashMap<(Arc<str>, Arc<str>), Option<DagRun>>,
}

impl Steps for Matching<'_> {
    type Entry = XComEntry;
    type Place = XComKey;

    const MOST: usize = 100_000;
    const TOO_MANY: &'static str = "XComs to look through: name a DAG, a run, a task or a key";

    async fn step(&mut self, after: Option<XComKey>) -> Result<Step<XComEntry, XComKey>, Refusal> {
        let Self { app, asking, filter, patterns, ranges, runs } = self;
        let page = app.engine.list(&asking.caller, filter, after.as_ref(), STEP).await?;
        let (looked, mut fitting) = (page.items.len(), Vec::new());
        for info in page.items {
            let run = (info.key.ti.dag_id.clone(), info.key.ti.run_id.clone());
            if !runs.contains_key(&run) {
                let known = app.engine.db().run_info(&run.0, &run.1).await?;
                runs.insert(run.clone(), known.map(|info| info.run));
            }
            let entry = entry(&info.key, info.version, runs.get(&run).and_then(Option::as_ref));
            let dates = [entry.logical_date, entry.run_after];
            if ranges.iter().zip(dates).all(|(range, date)| range.holds(date)) && patterns.hold(&entry) {
                fitting.push(entry);
            }
        }
        Ok(Step { looked, fitting, next: page.next })
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

/// How two entries are compared by what has a name.
fn compare(name: &str) -> Option<Compare<XComEntry>> {
    Some(match name {
        "key" => |a, b| a.key.cmp(&b.key),
        "dag_id" => |a, b| a.dag_id.cmp(&b.dag_id),
        "run_id" => |a, b| a.run_id.cmp(&b.run_id),
        "task_id" => |a, b| a.task_id.cmp(&b.task_id),
        "map_index" => |a, b| a.map_index.cmp(&b.map_index),
        "timestamp" => |a, b| a.timestamp.cmp(&b.timestamp),
        "run_after" => |a, b| a.run_after.cmp(&b.run_after),
        _ => return None,
    })
}
