//! The group `server`: `excom serve` as a process, with whoever loads it on the same processors.

mod airflow;
mod client;
mod large;
mod load;
mod ours;

use std::net::SocketAddr;
use std::time::Duration;

use excom_core::{TaskInstanceKey, XComKey};
use excom_testkit::postgres::Postgres;

use self::airflow::Airflow;
use self::client::{exchange, head};
use self::load::{Requests, closed, open, p99};
use self::ours::Ours;
use crate::databases::DATABASE;
use crate::databases::traffic::{ENTRIES, PULL, round};
use crate::engine::{ROUNDS, Result, Rounds, THREADS, key, order, run_id};
use crate::goals::Goal;
use crate::payload::{Kind, kilobytes};
use crate::report::{Beside, Row};

const SECRET: &[u8] = b"a secret for measuring, as long as HS512 wants one to be: 64 bytes";

/// How many keys a task pushes, before it pushes to the first again.
const KEYS: usize = 1000;

/// How many clients are connected at once where they are many.
const MANY: usize = 1000;

/// How much of what a server answers at most is asked for in an open loop.
const LOAD: f64 = 0.7;

/// What is measured, and what stands beside it.
type Figures = (Rounds, Besides);
type Besides = Vec<(String, Beside)>;

/// Measures a row of this group; none when it is of another group.
pub(crate) fn measure(goal: &Goal, quick: bool) -> Result<Option<Vec<Row>>> {
    type Measure = fn(Kind, bool) -> Result<Figures>;
    let (unit, of): (&str, Measure) = match goal.name.as_str() {
        "http-pull-1k-16" => ("/s", |kind, quick| against_airflow(kind, quick, pulls)),
        "http-pull-1k-16-limit" => ("/s", limit),
        "http-push-1k-16" => ("/s", |kind, quick| against_airflow(kind, quick, pushes)),
        "http-p99-open-loop" => ("us", percentiles),
        "rss-under-load" => ("MiB", memory),
        "large-push-beside-others" => ("us", large::beside_others),
        "mapped-10000-one-by-one" => ("s", one_by_one),
        _ => return Ok(None),
    };
    if let Err(why) = Postgres::available() {
        return Ok(Some(vec![Row::missing(goal, why)]));
    }
    let is_inverse = goal.name == "mapped-10000-one-by-one";
    let ratio = |ours: f64, reference: Option<f64>| match reference {
        None => ours,
        Some(reference) if is_inverse => reference / ours,
        Some(reference) => ours / reference,
    };
    let row = |kind: Kind| {
        let (rounds, beside) = of(kind, quick)?;
        Ok(Row::new(goal, kind.name(), unit, rounds, ratio).beside(beside))
    };
    Kind::BOTH.into_iter().map(row).collect::<Result<_>>().map(Some)
}

/// The values that are pulled: each task reads the hundred of its run.
fn entries() -> Vec<XComKey> {
    (0..ENTRIES).map(key).collect()
}

/// Requests in a second, over connections that stay open.
fn rate(address: SocketAddr, requests: &Requests, quick: bool) -> Result<f64> {
    closed(address, &all(requests), round(quick))
}

/// The same as it can be relied on: the median of three times, as one may be what the machine does not keep up.
fn sustained(address: SocketAddr, requests: &Requests, quick: bool) -> Result<f64> {
    let mut rates =
        [(); 3].into_iter().map(|()| rate(address, requests, quick)).collect::<Result<Vec<_>>>()?;
    rates.sort_by(f64::total_cmp);
    Ok(rates[1])
}

/// Each client's requests.
fn all(requests: &Requests) -> Vec<&[Vec<u8>]> {
    requests.iter().map(Vec::as_slice).collect()
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
    ours: Ours,
    airflow: Airflow,
}

impl Sides {
    fn new(kind: Kind) -> Result<Self> {
        let (keys, values) = (entries(), kilobytes(kind, ENTRIES));
        let ours = Ours::on_postgres(&keys, &values)?;
        let airflow = Airflow::new(0)?;
        let theirs = airflow.serve(1)?;
        let (stream, token) = (client::connect(theirs.address)?, &airflow.tokens(&theirs)?[0]);
        for (key, value) in keys.iter().zip(&values) {
            exchange(&stream, &push(&key.ti.run_id, &key.ti.task_id, &key.key, token, value.as_str()))?;
        }
        drop(theirs);
        Ok(Self { ours, airflow })
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
            rate(theirs.address, &asked, quick)?;
            let found = rate(theirs.address, &asked, quick)?;
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

/// Requests in a second, of our server and of Airflow's.
fn against_airflow(kind: Kind, quick: bool, asked: impl Fn(Kind, &[String]) -> Requests) -> Result<Figures> {
    let sides = Sides::new(kind)?;
    let (reference, theirs, beside) = sides.best(|tokens| asked(kind, tokens), quick)?;
    let ours = asked(kind, &sides.ours.tokens()?);
    let both =
        || Ok((rate(sides.ours.address, &ours, quick)?, Some(rate(reference.address, &theirs, quick)?)));
    both()?;
    let rounds = (0..ROUNDS).map(|_| both()).collect::<Result<_>>()?;
    Ok((rounds, beside))
}

/// The 99th percentile of how long requests take that come at [`LOAD`] of what a server can answer, in microseconds.
fn percentiles(kind: Kind, quick: bool) -> Result<Figures> {
    let sides = Sides::new(kind)?;
    let (reference, theirs, mut beside) = sides.best(|tokens| mixed(kind, tokens), quick)?;
    let (ours, address) = (mixed(kind, &sides.ours.tokens()?), sides.ours.address);
    rate(address, &ours, quick)?;
    let most = (sustained(address, &ours, quick)?, sustained(reference.address, &theirs, quick)?);
    beside.push(("ours at most, /s".to_owned(), Beside::Figure(most.0)));
    let at = |address, asked, most: f64| {
        open(address, &all(asked), LOAD * most, round(quick) * 2).map(|took| p99(&took))
    };
    let round = |_| Ok((at(address, &ours, most.0)?, Some(at(reference.address, &theirs, most.1)?)));
    Ok(((0..ROUNDS).map(round).collect::<Result<_>>()?, beside))
}

/// The memory that a server has in use after ten minutes at [`LOAD`] of what it can answer.
fn memory(kind: Kind, quick: bool) -> Result<Figures> {
    let ours = Ours::on_postgres(&entries(), &kilobytes(kind, ENTRIES))?;
    let begun = ours.resident()?;
    let asked = mixed(kind, &ours.tokens()?);
    rate(ours.address, &asked, quick)?;
    let most = sustained(ours.address, &asked, quick)?;
    let mut took = Vec::new();
    // A task's token is good for ten minutes, so each half has its own tries.
    for _ in 0..2 {
        let asked = mixed(kind, &ours.tokens()?);
        let half = Duration::from_secs(if quick { 30 } else { 300 });
        took = open(ours.address, &all(&asked), LOAD * most, half)?;
    }
    let beside = vec![
        ("MiB at the start".to_owned(), Beside::Figure(begun)),
        ("requests a second".to_owned(), Beside::Figure(LOAD * most)),
        ("p99 of the second half, us".to_owned(), Beside::Figure(p99(&took))),
    ];
    Ok((vec![(ours.resident()?, None)], beside))
}

/// Seconds in which Airflow's own client iterates ten thousand mapped values, with our server and with Airflow's.
fn one_by_one(kind: Kind, quick: bool) -> Result<Figures> {
    let count = if quick { 1000 } else { 10_000 };
    let value = kilobytes(kind, 1);
    let mapped = (0..count).map(|index| {
        Ok(TaskInstanceKey::new("weather", run_id(0), "mapped", i32::try_from(index)?)?.return_value())
    });
    let mut keys = mapped.collect::<Result<Vec<_>>>()?;
    // There is a task with a token in each run.
    keys.extend((1..THREADS).map(|thread| key(thread * 100)));
    let ours = Ours::on_postgres(&keys, &vec![value[0].clone(); keys.len()])?;

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
    let round = |_| {
        // A token for each round, because a round may take minutes.
        let token = ours.tokens()?.swap_remove(0);
        let took = airflow.iterates(ours.address, &token, count)?;
        Ok((took, Some(airflow.iterates(reference.address, &theirs, count)?)))
    };
    Ok(((0..ROUNDS).map(round).collect::<Result<_>>()?, Vec::new()))
}

/// Pulls in a second, each by a GET of the Task Execution API, beside pgbench with the bare statement.
fn limit(kind: Kind, quick: bool) -> Result<Figures> {
    let (keys, values) = (entries(), kilobytes(kind, ENTRIES));
    let ours = Ours::on_postgres(&keys, &values)?;
    let asked = pulls(kind, &ours.tokens()?);
    let database = ours.database.as_ref().ok_or("a server without its database")?;
    let raw = || database.pgbench(DATABASE, PULL, &[], THREADS, round(quick).as_secs() as u32);
    let rate = || rate(ours.address, &asked, quick);
    rate()?;
    let both = |_| Ok((rate()?, Some(raw().map_err(|error| error.to_string())?)));
    let rounds = (0..ROUNDS).map(both).collect::<Result<_>>()?;
    let many: Vec<&[Vec<u8>]> = asked.iter().map(Vec::as_slice).cycle().take(MANY).collect();
    let many = closed(ours.address, &many, round(quick))?;
    let on_sqlite = Ours::on_sqlite(&keys, &values)?;
    let on_sqlite = self::rate(on_sqlite.address, &pulls(kind, &on_sqlite.tokens()?), quick)?;
    let beside = vec![
        (format!("ours with {MANY} clients at once, /s"), Beside::Figure(many)),
        ("ours on SQLite, /s".to_owned(), Beside::Figure(on_sqlite)),
    ];
    Ok((rounds, beside))
}
