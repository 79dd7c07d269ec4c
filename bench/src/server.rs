//! The group `server`: tasks that pull over HTTP, with the server and those who load it on the same processors.

mod airflow;
mod client;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use excom_core::{Engine, TaskInstanceKey, XComKey};
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
    let known = [
        "http-pull-1k-16",
        "http-pull-1k-16-limit",
        "http-push-1k-16",
        "http-p99-open-loop",
        "mapped-10000-one-by-one",
    ];
    if !known.contains(&goal.name.as_str()) {
        return Ok(None);
    }
    if let Err(why) = Postgres::available() {
        return Ok(Some(vec![Row::missing(goal, why)]));
    }
    let is_inverse = goal.name == "mapped-10000-one-by-one";
    let ratio = |ours: f64, reference: Option<f64>| match reference.unwrap_or(1.0) {
        reference if is_inverse => reference / ours,
        reference => ours / reference,
    };
    let row = |kind: Kind| {
        let (rounds, beside) = match goal.name.as_str() {
            "http-pull-1k-16-limit" => (limit(kind, quick)?, Vec::new()),
            "http-pull-1k-16" => against_airflow(kind, quick, pulls)?,
            "http-push-1k-16" => against_airflow(kind, quick, pushes)?,
            "http-p99-open-loop" => percentiles(kind, quick)?,
            _ => one_by_one(kind, quick)?,
        };
        let unit = match goal.name.as_str() {
            "http-p99-open-loop" => "us",
            "mapped-10000-one-by-one" => "s",
            _ => "/s",
        };
        Ok(Some(Row::new(goal, kind.name(), unit, rounds, ratio).beside(beside)))
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

/// Nine pulls of the hundred values of its run, and a push.
fn mixed(kind: Kind, tokens: &[String]) -> Requests {
    let both = pulls(kind, tokens).into_iter().zip(pushes(kind, tokens));
    let of = |(pulls, pushes): (Vec<Vec<u8>>, Vec<Vec<u8>>)| {
        let mut pushes = pushes.into_iter();
        let ten = |nine: &[Vec<u8>]| nine.iter().cloned().chain(pushes.next()).collect::<Vec<_>>();
        pulls.chunks(9).take(KEYS).flat_map(ten).collect()
    };
    both.map(of).collect()
}

/// Our server and Airflow's, each on a PostgreSQL of its own with the same runs, tasks and values.
struct Sides {
    engine: Engine,
    address: SocketAddr,
    tokens: Vec<String>,
    airflow: Airflow,
    _runtime: runtime::Runtime,
    _server: Postgres,
}

impl Sides {
    fn new(kind: Kind) -> Result<Self> {
        let server = Postgres::start_with(&[]).map_err(|error| error.to_string())?;
        let engine = open(&server)?;
        let (keys, values) = ((0..ENTRIES).map(key).collect::<Vec<XComKey>>(), kilobytes(kind, ENTRIES));
        fill(&engine, &keys, &values)?;
        let runtime = runtime::Builder::new_multi_thread().enable_all().build()?;
        let address = serve(&runtime, &engine)?;
        let tokens =
            (0..THREADS).map(|thread| token(address, &run_id(thread))).collect::<Result<Vec<_>>>()?;
        let airflow = Airflow::new(0)?;
        let theirs = airflow.serve(1)?;
        let (stream, token) = (client::connect(theirs.address)?, &airflow.tokens(&theirs)?[0]);
        for (key, value) in keys.iter().zip(&values) {
            exchange(&stream, &push(&key.ti.run_id, &key.ti.task_id, &key.key, token, value.as_str()))?;
        }
        drop(theirs);
        Ok(Self { engine, address, tokens, airflow, _runtime: runtime, _server: server })
    }

    /// Airflow's server with the number of processes that answers most, the requests to it, and what each answered.
    fn best(
        &self,
        asked: impl Fn(&[String]) -> Requests,
        quick: bool,
    ) -> Result<(airflow::Server, Requests, Besides)> {
        let mut beside = Vec::new();
        let mut best = (0.0, 1);
        for workers in [1, 2] {
            let theirs = self.airflow.serve(workers)?;
            let asked = asked(&self.airflow.tokens(&theirs)?);
            requests(theirs.address, &asked, quick)?;
            let found = requests(theirs.address, &asked, quick)?;
            beside.push((format!("{}, once, /s", Airflow::name(workers)), Beside::Figure(found)));
            if found > best.0 {
                best = (found, workers);
            }
        }
        let server = self.airflow.serve(best.1)?;
        let asked = asked(&self.airflow.tokens(&server)?);
        Ok((server, asked, beside))
    }
}

type Besides = Vec<(String, Beside)>;

/// Requests in a second, of our server and of Airflow's.
fn against_airflow(
    kind: Kind,
    quick: bool,
    asked: impl Fn(Kind, &[String]) -> Requests,
) -> Result<(Rounds, Besides)> {
    let sides = Sides::new(kind)?;
    let ours = asked(kind, &sides.tokens);
    let (reference, theirs, beside) = sides.best(|tokens| asked(kind, tokens), quick)?;
    let both =
        || Ok((requests(sides.address, &ours, quick)?, Some(requests(reference.address, &theirs, quick)?)));
    let rounds = with_upkeep(&sides.engine, || {
        both()?;
        (0..ROUNDS).map(|_| both()).collect()
    })?;
    Ok((rounds, beside))
}

/// The 99th percentile of how long requests take that come at 70% of what a server can answer, in microseconds.
fn percentiles(kind: Kind, quick: bool) -> Result<(Rounds, Besides)> {
    let sides = Sides::new(kind)?;
    let ours = mixed(kind, &sides.tokens);
    let (reference, theirs, mut beside) = sides.best(|tokens| mixed(kind, tokens), quick)?;
    let rounds = with_upkeep(&sides.engine, || {
        requests(sides.address, &ours, quick)?;
        let most = (requests(sides.address, &ours, quick)?, requests(reference.address, &theirs, quick)?);
        beside.push(("ours at most, /s".to_owned(), Beside::Figure(most.0)));
        let at = |address, asked, most: f64| open_loop(address, asked, 0.7 * most, round(quick) * 2);
        let round =
            |_| Ok((at(sides.address, &ours, most.0)?, Some(at(reference.address, &theirs, most.1)?)));
        (0..ROUNDS).map(round).collect()
    })?;
    Ok((rounds, beside))
}

/// The 99th percentile when requests come at a rate, whether those before are answered or not: each is timed from when it
/// was due.
fn open_loop(address: SocketAddr, requests: &Requests, rate: f64, lasting: Duration) -> Result<f64> {
    let streams = connections(address)?;
    let begin = Instant::now();
    let client = &|thread: usize| {
        let mut took = Vec::new();
        for count in 0.. {
            let due = Duration::from_secs_f64((count * THREADS + thread) as f64 / rate);
            if due > lasting {
                break;
            }
            std::thread::sleep(due.saturating_sub(begin.elapsed()));
            let own = &requests[thread];
            let answer =
                exchange(&streams[thread], &own[count % own.len()]).map_err(|error| error.to_string())?;
            if answer.status >= 300 {
                return Err(format!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body)));
            }
            took.push(begin.elapsed() - due);
        }
        Ok(took)
    };
    let took = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || client(thread))).collect();
        clients
            .into_iter()
            .map(|client| client.join().expect("a client does not panic"))
            .collect::<std::result::Result<Vec<_>, String>>()
    })?;
    let mut took: Vec<Duration> = took.into_iter().flatten().collect();
    took.sort_unstable();
    Ok(took[took.len() * 99 / 100].as_secs_f64() * 1e6)
}

/// Seconds in which Airflow's own client iterates ten thousand mapped values, with our server and with Airflow's.
fn one_by_one(kind: Kind, quick: bool) -> Result<(Rounds, Besides)> {
    let count = if quick { 1000 } else { 10_000 };
    let server = Postgres::start_with(&[]).map_err(|error| error.to_string())?;
    let engine = open(&server)?;
    let value = kilobytes(kind, 1);
    let keys = (0..count).map(|index| {
        Ok(TaskInstanceKey::new("weather", run_id(0), "mapped", i32::try_from(index)?)?.return_value())
    });
    fill(&engine, &keys.collect::<Result<Vec<_>>>()?, &vec![value[0].clone(); count])?;
    let runtime = runtime::Builder::new_multi_thread().enable_all().build()?;
    let address = serve(&runtime, &engine)?;
    let ours = token(address, &run_id(0))?;

    let airflow = Airflow::new(count)?;
    let fill = format!(
        "INSERT INTO xcom (dag_run_id, task_id, map_index, key, dag_id, run_id, value, timestamp)
         SELECT r.id, i.task_id, i.map_index, 'return_value', i.dag_id, i.run_id, $value${}$value$::jsonb, now()
         FROM task_instance i JOIN dag_run r USING (dag_id, run_id) WHERE i.task_id = 'mapped'",
        value[0].as_str()
    );
    airflow.database.sql(DATABASE, &fill).map_err(|error| error.to_string())?;
    let reference = airflow.serve(1)?;
    let theirs = airflow.tokens(&reference)?.swap_remove(0);
    let rounds = with_upkeep(&engine, || {
        let ours = || airflow.iterates(address, &ours, count);
        let theirs = || airflow.iterates(reference.address, &theirs, count);
        (0..ROUNDS).map(|_| Ok((ours()?, Some(theirs()?)))).collect()
    })?;
    Ok((rounds, Vec::new()))
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
