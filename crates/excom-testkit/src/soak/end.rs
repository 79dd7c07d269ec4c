//! Behind the load: every XCom and its history are as the model says, nothing is left behind in the store or the
//! database, nothing was kept open, and the servers stop in order.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value as Json;

use super::calls::{Calls, DAG, RUN, Request};
use super::load::{Load, read};
use super::model::{XCom, versions};
use super::samples::Sample;
use super::site::{ABANDONED_AFTER, SERVERS, Site};
use super::tally::Tally;
use crate::Result;

/// How many connections to the database a server opens at most, by its settings.
const CONNECTIONS: u64 = 12;

/// Descriptors by which two idle moments may differ.
const SLACK: u64 = 4;

/// How long what is idle may take to be closed: clients of HTTP keep connections for a minute and a half.
const IDLE: Duration = Duration::from_secs(120);

/// How long the servers may take for what is loose: they look every minute.
const COLLECTED: Duration = Duration::from_secs(120);

/// The most versions that one answer of the history has.
const MOST_VERSIONS: usize = 1000;

/// Compares every XCom and its history with the model, by each server. Returns how many versions were compared.
pub(super) async fn compare(calls: &Calls, load: &Load) -> usize {
    let awaited = load.awaited.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut compared = 0;
    for xcom in load.xcoms.iter().chain(&awaited) {
        compared += one(calls, xcom, true).await;
    }
    for xcom in load.tries.xcoms() {
        compared += one(calls, xcom, false).await;
    }
    compared
}

async fn one(calls: &Calls, xcom: &XCom, with_history: bool) -> usize {
    if !xcom.is_settled() {
        calls.tally.wrong(&format!("{}: its last write never came to an end", xcom.name()));
        return 0;
    }
    for server in 0..SERVERS {
        read(calls, server, xcom).await;
    }
    if !with_history {
        return 1;
    }
    let XCom { task_id, key, .. } = xcom;
    let path = format!("/api/excom/v1/history/{DAG}/{RUN}/{task_id}/-1/{key}?limit={MOST_VERSIONS}");
    let request = Request::new("history", Method::GET, path);
    let Some((answer, _)) = calls.insist(0, &request).await else { return 0 };
    let (found, mut known) = (versions(&answer.json()), xcom.past());
    known.truncate(MOST_VERSIONS);
    if answer.status != 200 || found != known {
        let differ = found.iter().zip(&known).position(|(found, known)| found != known);
        calls.wrong(
            answer.sent,
            &format!(
                "{}: its history has {} versions, {} are known; they differ from place {differ:?} on: {:?}, {:?}",
                xcom.name(),
                found.len(),
                known.len(),
                differ.map(|at| &found[at]),
                differ.map(|at| &known[at])
            ),
        );
    }
    1 + found.len()
}

/// Looks whether what the servers use is again what it was before the load.
pub(super) fn idle(site: &Site, tally: &Tally, before: &Sample) -> Sample {
    // A pool keeps what it opened once, up to its bound; nothing else is kept.
    let is_idle = |now: &Sample| {
        now.beside_connections() <= before.beside_connections() + SLACK
            && now.connections <= CONNECTIONS * SERVERS as u64
    };
    let now = Sample::settled(site, IDLE, is_idle);
    if !is_idle(&now) {
        tally.wrong(&format!("what was opened is not closed: before the load {before:?}, behind it {now:?}"));
    }
    now
}

/// Looks for objects that nobody knows, and for entries without theirs; then for what is loose. The load has ended some
/// time before.
///
/// # Errors
/// When the command does not run.
pub(super) fn collect(site: &Site, tally: &Tally, ended: Instant) -> Result<String> {
    // What was interrupted last counts as abandoned then.
    std::thread::sleep(ABANDONED_AFTER.saturating_sub(ended.elapsed()));
    let (went_well, told) = site.excom(&["gc", "--json", "--older-than", "1s"])?;
    let found: Json = serde_json::from_str(&told).unwrap_or_default();
    let count = |what: &str| found[what]["count"].as_u64();
    if !went_well || count("orphans") != Some(0) || count("lost") != Some(0) {
        tally.wrong(&format!("excom gc: {told}"));
    }
    let begin = Instant::now();
    while Sample::take(site).loose > 0 && begin.elapsed() < COLLECTED {
        std::thread::sleep(Duration::from_secs(1));
    }
    let loose = Sample::take(site).loose;
    if loose > 0 {
        tally.wrong(&format!("{loose} rows of loose objects stay"));
    }
    let (went_well, doctor) = site.excom(&["doctor", "--json"])?;
    if !went_well {
        tally.wrong(&format!("excom doctor: {doctor}"));
    }
    let figure = |name: &str| found[name].as_u64().unwrap_or_default();
    Ok(format!(
        "gc looked at {} objects and {} versions: no orphan, nothing lost, {} objects removed; {} uploads in parts \
         were left unfinished",
        figure("objects"),
        figure("versions"),
        figure("removed"),
        site.s3.unfinished()?
    ))
}

/// Stops the servers, and looks at what they said.
pub(super) fn stop(site: &Site, tally: &Tally) {
    for server in 0..SERVERS {
        if let Err(error) = site.drain(server) {
            tally.wrong(&error.to_string());
        }
    }
    for panic in site.panics() {
        tally.wrong(&format!("a server panicked: {panic}"));
    }
}
