//! Task instances that workers execute over Airflow's Task Execution API, with tasks' tokens: they push, pull what they
//! pushed, and start again and again, from when on the try before may not write any more.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::Mutex;

use super::calls::{Answer, Calls, DAG, RUN, Request};
use super::model::{Class, Pulled, XCom};
use super::tally::count;
use crate::random::Random;

/// How many task instances there are.
pub(super) const TRIES: usize = 8;

/// After how long a try is followed by the next one: a token is good for ten minutes.
const LONGEST: Duration = Duration::from_secs(300);

/// Their task instances, each with its XCom.
pub(super) struct Tries(Vec<Worker>);

struct Worker {
    xcom: XCom,
    running: Mutex<Option<Running>>,
}

/// A try that runs.
struct Running {
    token: String,
    since: Instant,
}

/// What is answered to a task that pulls.
#[derive(Debug, Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    value: &'a RawValue,
}

impl Tries {
    pub(super) fn new() -> Self {
        let worker = |at| {
            let class = if at == 0 { Class::Medium } else { Class::Small };
            Worker { xcom: XCom::new(format!("try_{at}"), "return_value", class), running: Mutex::default() }
        };
        Self((0..TRIES).map(worker).collect())
    }

    pub(super) fn xcoms(&self) -> impl Iterator<Item = &XCom> {
        self.0.iter().map(|worker| &worker.xcom)
    }

    /// A task instance goes on: with a push, or a new try. One that is busy is left alone.
    pub(super) async fn step(&self, calls: &Calls, server: usize, at: usize, random: &mut Random) {
        let worker = &self.0[at];
        let Ok(mut running) = worker.running.try_lock() else { return };
        let again = running.as_ref().is_none_or(|running| running.since.elapsed() > LONGEST);
        if again || random.once_in(8) {
            let before = running.take();
            *running = worker.start(calls, server).await;
            if let (Some(before), Some(_)) = (&before, &*running) {
                worker.superseded(calls, server, &before.token).await;
            }
        }
        if let Some(running) = &mut *running {
            worker.push(calls, server, running).await;
            worker.pull(calls, server, running).await;
        }
    }
}

impl Worker {
    /// The XCom as the Task Execution API names it.
    fn request(&self, name: &'static str, method: Method, token: &str) -> Request {
        let XCom { task_id, key, .. } = &self.xcom;
        Request::new(name, method, format!("/execution/xcoms/{DAG}/{RUN}/{task_id}/{key}?map_index=-1"))
            .token(token)
    }

    /// Starts a new try, which clears what the one before pushed.
    async fn start(&self, calls: &Calls, server: usize) -> Option<Running> {
        self.xcom.begin_clear()?;
        let task_id = &self.xcom.task_id;
        let instance = json!({"dag_id": DAG, "run_id": RUN, "task_id": task_id, "max_tries": 30_000});
        let queue =
            Request::new("queue", Method::POST, "/api/excom/v1/task-instances").with(instance.to_string());
        let (answer, _) = calls.insist(server, &queue).await?;
        let queued = answer.json();
        let (Some(id), Some(token), 201) = (queued["id"].as_str(), queued["token"].as_str(), answer.status)
        else {
            calls.unexpected(&format!("queue of {task_id}"), &answer);
            return None;
        };
        let body = json!({
            "state": "running", "hostname": "soak", "unixname": "soak", "pid": 1, "start_date": "2026-11-21T10:00:00Z",
        });
        let start = Request::new("start", Method::PATCH, format!("/execution/task-instances/{id}/run"));
        let (answer, times) = calls.insist(server, &start.token(token).with(body.to_string())).await?;
        let Answer { status: 200, token: Some(token), .. } = &answer else {
            calls.unexpected(&format!("start of {task_id}, tried {times} times"), &answer);
            return None;
        };
        self.xcom.acknowledge();
        count(&calls.tally.tries);
        Some(Running { token: token.clone(), since: Instant::now() })
    }

    /// The try before may not write any more.
    async fn superseded(&self, calls: &Calls, server: usize, token: &str) {
        let late = self.request("late push", Method::POST, token).with("\"of a try that is over\"");
        let Some((answer, _)) = calls.insist(server, &late).await else { return };
        if answer.status != 409 {
            calls.unexpected(&format!("push of a try of {} that is over", self.xcom.name()), &answer);
        }
    }

    async fn push(&self, calls: &Calls, server: usize, running: &mut Running) {
        let Some(begun) = self.xcom.begin_push(None) else { return };
        let push = self.request("task push", Method::POST, &running.token).with(begun.text);
        let Some((answer, times)) = calls.insist(server, &push).await else { return };
        if answer.status != 201 {
            let what = format!("push {} of {}, tried {times} times", begun.number, self.xcom.name());
            return calls.unexpected(&what, &answer);
        }
        self.xcom.acknowledge();
        count(&calls.tally.pushes);
        if times > 1 {
            count(&calls.tally.doubted);
        }
        running.token = answer.token.unwrap_or_else(|| running.token.clone());
    }

    async fn pull(&self, calls: &Calls, server: usize, running: &Running) {
        let floor = self.xcom.floor();
        let Some(answer) = calls.ask(server, &self.request("task pull", Method::GET, &running.token)).await
        else {
            return;
        };
        match (answer.status, serde_json::from_slice::<Entry<'_>>(&answer.body)) {
            (200, Ok(entry)) => {
                let value = Pulled::Value(entry.value.get().as_bytes(), None);
                calls.pulled(answer.sent, &self.xcom, floor, value);
            }
            (404, _) => calls.pulled(answer.sent, &self.xcom, floor, Pulled::None(&answer.code())),
            _ => calls.unexpected(&format!("pull of {}", self.xcom.name()), &answer),
        }
    }
}
