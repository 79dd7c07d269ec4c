//! The group `server`: tasks that pull over HTTP, with the server and those who load it on the same processors.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use excom_core::{Engine, XComKey};
use excom_server::{App, Keys, Options, Role, Service, ServiceOptions, person_token};
use excom_testkit::postgres::Postgres;
use serde_json::{Value as Json, json};
use tokio::runtime;

use crate::databases::traffic::{ENTRIES, PULL, rate, round};
use crate::databases::{DATABASE, open};
use crate::engine::{ROUNDS, Result, Rounds, THREADS, fill, key, order, run_id, with_upkeep};
use crate::goals::Goal;
use crate::payload::{Kind, kilobytes};
use crate::report::Row;
use crate::system::SystemClock;

const SECRET: &[u8] = b"a secret for measuring, long enough";

/// Measures a row of this group; none when it is of another group.
pub(crate) fn measure(goal: &Goal, quick: bool) -> Result<Option<Vec<Row>>> {
    if goal.name != "http-pull-1k-16-limit" {
        return Ok(None);
    }
    if let Err(why) = Postgres::available() {
        return Ok(Some(vec![Row::missing(goal, why)]));
    }
    let ratio = |ours: f64, reference: Option<f64>| ours / reference.unwrap_or(1.0);
    let row = |kind: Kind| Ok(Some(Row::new(goal, kind.name(), "/s", pull(kind, quick)?, ratio)));
    Kind::BOTH.into_iter().map(row).collect()
}

/// Pulls in a second, each by a GET of the Task Execution API over a connection that stays open.
fn pull(kind: Kind, quick: bool) -> Result<Rounds> {
    let server = Postgres::start_with(&[]).map_err(|error| error.to_string())?;
    let engine = open(&server)?;
    let keys: Vec<XComKey> = (0..ENTRIES).map(key).collect();
    fill(&engine, &keys, &kilobytes(kind, ENTRIES))?;
    let runtime = runtime::Builder::new_multi_thread().enable_all().build()?;
    let address = serve(&runtime, &engine)?;
    let tokens = (0..THREADS).map(|thread| token(address, &run_id(thread))).collect::<Result<Vec<_>>>()?;
    let requests: Vec<String> = (0..ENTRIES)
        .map(|entry| {
            let (ti, token) = (&keys[entry].ti, &tokens[entry / 100]);
            let path =
                format!("/execution/xcoms/{}/{}/{}/{}", ti.dag_id, ti.run_id, ti.task_id, keys[entry].key);
            format!("GET {path} HTTP/1.1\r\nhost: excom\r\nauthorization: Bearer {token}\r\n\r\n")
        })
        .collect();
    let order = order(100, 10_000);
    let ours = || {
        let connect = || TcpStream::connect(address).map(|stream| stream.set_nodelay(true).map(|()| stream));
        let streams = (0..THREADS).map(|_| Ok(connect()??)).collect::<Result<Vec<TcpStream>>>()?;
        rate(round(quick), |thread, count| {
            let entry = thread * 100 + order[(thread * 607 + count) % order.len()];
            let answer = exchange(&streams[thread], &requests[entry])?;
            assert!(answer.status == 200 && answer.body.len() >= 1000);
            Ok(())
        })
    };
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
    let stream = TcpStream::connect(address)?;
    let call = |token: &str, line: &str, body: &Json| {
        let (body, head) =
            (body.to_string(), format!("{line} HTTP/1.1\r\nhost: excom\r\nauthorization: Bearer {token}"));
        exchange(&stream, &format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
    };
    let queued = json!({"dag_id": "weather", "run_id": run_id, "task_id": "report"});
    let queued: Json =
        serde_json::from_slice(&call(admin.secret(), "POST /api/excom/v1/task-instances", &queued)?.body)?;
    let (id, workload) =
        (queued["id"].as_str().ok_or("no task instance")?, queued["token"].as_str().unwrap_or_default());
    let begin =
        json!({"hostname": "bench", "unixname": "bench", "pid": 1, "start_date": "2026-11-21T10:00:00Z"});
    let started = call(workload, &format!("PATCH /execution/task-instances/{id}/run"), &begin)?;
    let refreshed = started.head.lines().find_map(|line| line.strip_prefix("refreshed-api-token: "));
    Ok(refreshed.ok_or("no token for a task that runs")?.to_owned())
}

/// What was answered.
struct Answered {
    status: u16,
    head: String,
    body: Vec<u8>,
}

/// Sends a request, and reads its answer.
fn exchange(mut stream: &TcpStream, request: &str) -> Result<Answered> {
    stream.write_all(request.as_bytes())?;
    let (mut read, mut piece) = (Vec::new(), [0; 8 << 10]);
    loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(read[..end].to_vec())?;
            let named = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
            let length: usize = named("content-length: ").ok_or("an answer without its length")?.parse()?;
            if read.len() >= end + 4 + length {
                let status = head.split(' ').nth(1).unwrap_or_default().parse()?;
                return Ok(Answered { status, body: read.split_off(end + 4), head });
            }
        }
        match stream.read(&mut piece)? {
            0 => return Err("the server closed the connection".into()),
            count => read.extend_from_slice(&piece[..count]),
        }
    }
}
