//! The group `server`: tasks that pull over HTTP, with the server and those who load it on the same processors.

mod airflow;
mod client;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use excom_core::{Engine, XComKey};
use excom_server::{App, Keys, Options, Role, Service, ServiceOptions, person_token};
use excom_testkit::postgres::Postgres;
use serde_json::{Value as Json, json};
use tokio::runtime;

use self::airflow::Airflow;
use self::client::{call, connections, exchange, head, started};
use crate::databases::traffic::{ENTRIES, PULL, rate, round};
use crate::databases::{DATABASE, open};
use crate::engine::{ROUNDS, Result, Rounds, THREADS, fill, key, order, run_id, with_upkeep};
use crate::goals::Goal;
use crate::payload::{Kind, kilobytes};
use crate::report::{Beside, Row};
use crate::system::SystemClock;

const SECRET: &[u8] = b"a secret for measuring, as long as HS512 wants one to be: 64 bytes";

/// How many keys a task pushes, before it pushes to the first again.
const KEYS: usize = 1000;

/// Measures a row of this group; none when it is of another group.
pub(crate) fn measure(goal: &Goal, quick: bool) -> Result<Option<Vec<Row>>> {
    let known = ["http-pull-1k-16", "http-pull-1k-16-limit", "http-push-1k-16"];
    if !known.contains(&goal.name.as_str()) {
        return Ok(None);
    }
    if let Err(why) = Postgres::available() {
        return Ok(Some(vec![Row::missing(goal, why)]));
    }
    let ratio = |ours: f64, reference: Option<f64>| ours / reference.unwrap_or(1.0);
    let row = |kind: Kind| {
        let (rounds, beside) = match goal.name.as_str() {
            "http-pull-1k-16-limit" => (limit(kind, quick)?, Vec::new()),
            "http-pull-1k-16" => against_airflow(kind, quick, pulls)?,
            _ => against_airflow(kind, quick, pushes)?,
        };
        Ok(Some(Row::new(goal, kind.name(), "/s", rounds, ratio).beside(beside)))
    };
    Kind::BOTH.into_iter().map(row).collect()
}

/// What sixteen clients do with a server: the requests of each, one after the other.
type Requests = Vec<Vec<Vec<u8>>>;

/// Requests in a second, over connections that stay open.
fn requests(address: SocketAddr, requests: &Requests, quick: bool) -> Result<f64> {
    let streams = connections(address)?;
    rate(round(quick), |thread, count| {
        let own = &requests[thread];
        let answer = exchange(&streams[thread], &own[count % own.len()])?;
        match answer.status {
            200 | 201 => Ok(()),
            status => Err(format!("{status}: {}", String::from_utf8_lossy(&answer.body)).into()),
        }
    })
}

/// Each task pulls the hundred values of its run.
fn pulls(_: Kind, tokens: &[String]) -> Requests {
    let order = order(100, 10_000);
    let request = |thread: usize, entry: usize| {
        let key = key(thread * 100 + entry);
        let path = format!("/{}/{}/{}/{}", key.ti.dag_id, key.ti.run_id, key.ti.task_id, key.key);
        head(&format!("GET /execution/xcoms{path}"), &tokens[thread], 0).into_bytes()
    };
    let of = |thread| {
        (0..order.len()).map(|count| request(thread, order[(thread * 607 + count) % order.len()])).collect()
    };
    (0..THREADS).map(of).collect()
}

/// Each task pushes to a thousand keys of its own.
fn pushes(kind: Kind, tokens: &[String]) -> Requests {
    let values = kilobytes(kind, KEYS);
    let request = |thread: usize, count: usize| {
        let value = values[(thread * 61 + count) % values.len()].as_str();
        push(&run_id(thread), "report", &format!("part_{count}"), &tokens[thread], value)
    };
    (0..THREADS).map(|thread| (0..KEYS).map(|count| request(thread, count)).collect()).collect()
}

fn push(run_id: &str, task_id: &str, key: &str, token: &str, value: &str) -> Vec<u8> {
    let line = format!("POST /execution/xcoms/weather/{run_id}/{task_id}/{key}");
    (head(&line, token, value.len()) + value).into_bytes()
}

/// Our server beside Airflow's, each on a PostgreSQL of its own with the same runs, tasks and values, asked the same.
fn against_airflow(
    kind: Kind,
    quick: bool,
    asked: impl Fn(Kind, &[String]) -> Requests,
) -> Result<(Rounds, Vec<(String, Beside)>)> {
    let server = Postgres::start_with(&[]).map_err(|error| error.to_string())?;
    let engine = open(&server)?;
    let (keys, values) = ((0..ENTRIES).map(key).collect::<Vec<XComKey>>(), kilobytes(kind, ENTRIES));
    fill(&engine, &keys, &values)?;
    let runtime = runtime::Builder::new_multi_thread().enable_all().build()?;
    let address = serve(&runtime, &engine)?;
    let tokens = (0..THREADS).map(|thread| token(address, &run_id(thread))).collect::<Result<Vec<_>>>()?;
    let ours = asked(kind, &tokens);

    let airflow = Airflow::new()?;
    let mut beside = Vec::new();
    let mut best: Option<(f64, usize, Requests)> = None;
    for workers in [1, 2] {
        let theirs = airflow.serve(workers)?;
        let tokens = airflow.tokens(&theirs)?;
        if workers == 1 {
            let stream = client::connect(theirs.address)?;
            for (key, value) in keys.iter().zip(&values) {
                let request = push(&key.ti.run_id, &key.ti.task_id, &key.key, &tokens[0], value.as_str());
                exchange(&stream, &request)?;
            }
        }
        let requests_of = asked(kind, &tokens);
        requests(theirs.address, &requests_of, quick)?;
        let found = requests(theirs.address, &requests_of, quick)?;
        beside.push((format!("{}, once, /s", Airflow::name(workers)), Beside::Figure(found)));
        if best.as_ref().is_none_or(|best| best.0 < found) {
            best = Some((found, workers, requests_of));
        }
    }
    let (_, workers, theirs) = best.ok_or("no API server")?;
    let reference = airflow.serve(workers)?;
    let rounds = with_upkeep(&engine, || {
        requests(address, &ours, quick)?;
        requests(reference.address, &theirs, quick)?;
        let round =
            |_| Ok((requests(address, &ours, quick)?, Some(requests(reference.address, &theirs, quick)?)));
        (0..ROUNDS).map(round).collect()
    })?;
    Ok((rounds, beside))
}

/// Pulls in a second, each by a GET of the Task Execution API, beside pgbench with the bare statement.
fn limit(kind: Kind, quick: bool) -> Result<Rounds> {
    let server = Postgres::start_with(&[]).map_err(|error| error.to_string())?;
    let engine = open(&server)?;
    let keys: Vec<XComKey> = (0..ENTRIES).map(key).collect();
    fill(&engine, &keys, &kilobytes(kind, ENTRIES))?;
    let runtime = runtime::Builder::new_multi_thread().enable_all().build()?;
    let address = serve(&runtime, &engine)?;
    let tokens = (0..THREADS).map(|thread| token(address, &run_id(thread))).collect::<Result<Vec<_>>>()?;
    let asked = pulls(kind, &tokens);
    let ours = || requests(address, &asked, quick);
    let reference = || server.pgbench(DATABASE, PULL, &[], THREADS, round(quick).as_secs() as u32);
    with_upkeep(&engine, || {
        ours()?;
        (0..ROUNDS).map(|_| Ok((ours()?, Some(reference().map_err(|error| error.to_string())?)))).collect()
    })
}

/// A server over an engine, until the runtime ends.
fn serve(runtime: &runtime::Runtime, engine: &Engine) -> Result<SocketAddr> {
    let service = runtime.block_on(Service::bind("127.0.0.1:0", ServiceOptions::default()))?;
    service.readiness().open(&App::new(engine.clone(), Keys::secret(SECRET)?, Options::default()));
    let address = service.address();
    drop(runtime.spawn(service.run(std::future::pending())));
    Ok(address)
}

/// The token of a task that runs in a run.
fn token(address: SocketAddr, run_id: &str) -> Result<String> {
    let hour = Duration::from_secs(3600);
    let admin = person_token(Keys::secret(SECRET)?, Arc::new(SystemClock), "bench", Role::Admin, hour)?;
    let queued = json!({"dag_id": "weather", "run_id": run_id, "task_id": "report"});
    let queued = call(address, "POST /api/excom/v1/task-instances", admin.secret(), &queued)?;
    let queued: Json = serde_json::from_slice(&queued.body)?;
    let text = |name: &str| queued[name].as_str().unwrap_or_default().to_owned();
    started(address, &text("id"), &text("token"))
}
