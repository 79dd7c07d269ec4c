//! Who pulls and pushes: first as fast as the servers answer, then at a rate of its own, whatever they answer.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use reqwest::Method;
use serde_json::json;
use tokio::time::sleep_until;

use super::calls::{Calls, DAG, Elements, RUN, Request};
use super::model::{Class, Pulled, XCom};
use super::site::SERVERS;
use super::tally::count;
use super::tries::{TRIES, Tries};
use crate::Result;
use crate::random::Random;

/// Who keeps the servers busy while the rate is found out.
const CLIENTS: usize = 16;

/// XComs of each client.
const SMALL: usize = 8;
const MEDIUM: usize = 2;

/// Values of four megabytes, in all.
const LARGE: usize = 4;

/// How much may be under way at most; what is due then is left out.
const MOST_UNDER_WAY: usize = 256;

/// How many XComs one request pulls at most.
const MOST_TOGETHER: u64 = 8;

/// The milliseconds between 1970 and 2020, from which versions count.
const EPOCH: u64 = 1_577_836_800_000;

/// What is done, and with what.
pub(super) struct Load {
    pub(super) xcoms: Vec<Arc<XCom>>,
    /// Those that were waited for, each once.
    pub(super) awaited: Mutex<Vec<Arc<XCom>>>,
    pub(super) tries: Tries,
    turns: AtomicU64,
    under_way: AtomicUsize,
}

/// Something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Push,
    Clear,
    Await,
    Try,
    Pull,
    Read,
    Wait,
}

impl Work {
    /// What is done of a thousand things: a hundred write.
    fn draw(random: &mut Random) -> Self {
        match random.below(1000) {
            0..90 => Self::Push,
            90..92 => Self::Clear,
            92..94 => Self::Await,
            94..106 => Self::Try,
            106..760 => Self::Pull,
            760..985 => Self::Read,
            _ => Self::Wait,
        }
    }

    /// What its time is told as.
    fn name(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Pull => "pull of several",
            Self::Read => "pull of one",
            Self::Clear => "clear",
            Self::Await | Self::Wait => "wait",
            Self::Try => "try",
        }
    }
}

impl Default for Load {
    fn default() -> Self {
        let mut xcoms = Vec::new();
        for client in 0..CLIENTS {
            let of = |kind: &str, count: usize, class| {
                let key = move |at| XCom::new(format!("client_{client}"), format!("{kind}_{at}"), class);
                (0..count).map(key).map(Arc::new).collect::<Vec<_>>()
            };
            xcoms.extend(of("small", SMALL, Class::Small));
            xcoms.extend(of("medium", MEDIUM, Class::Medium));
            xcoms.extend(of("large", usize::from(client < LARGE), Class::Large));
        }
        let awaited = Mutex::default();
        Self { xcoms, awaited, tries: Tries::new(), turns: AtomicU64::new(0), under_way: AtomicUsize::new(0) }
    }
}

impl Load {
    /// Pushes every XCom once.
    pub(super) async fn seed(&self, calls: &Calls) {
        for xcom in &self.xcoms {
            push(calls, 0, xcom).await;
        }
        for at in 0..TRIES {
            self.tries.step(calls, 0, at, &mut Random::new(at as u64)).await;
        }
    }

    /// How much is done in a second by clients that each wait for an answer before they ask again.
    pub(super) async fn fastest(
        self: &Arc<Self>,
        calls: &Arc<Calls>,
        seed: u64,
        time: Duration,
    ) -> Result<f64> {
        let begin = Instant::now();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (load, calls) = (self.clone(), calls.clone());
                let mut random = Random::new(seed.wrapping_add(client as u64));
                tokio::spawn(async move {
                    let mut done = 0_u64;
                    while begin.elapsed() < time {
                        load.work(&calls, &mut random).await;
                        done += 1;
                    }
                    done
                })
            })
            .collect();
        let mut done = 0;
        for client in clients {
            done += client.await?;
        }
        Ok(done as f64 / begin.elapsed().as_secs_f64())
    }

    /// Begins so much in a second, whatever comes of it, and waits until all of it is done.
    pub(super) async fn steadily(self: &Arc<Self>, calls: &Arc<Calls>, seed: u64, rate: f64, time: Duration) {
        let mut random = Random::new(seed);
        let begin = tokio::time::Instant::now();
        for turn in 0_u64.. {
            let due = begin + Duration::from_secs_f64(turn as f64 / rate);
            if due - begin > time {
                break;
            }
            sleep_until(due).await;
            if self.under_way.load(Ordering::Relaxed) >= MOST_UNDER_WAY {
                count(&calls.tally.held_back);
                continue;
            }
            self.under_way.fetch_add(1, Ordering::Relaxed);
            let (load, calls, mut random) = (self.clone(), calls.clone(), Random::new(random.number()));
            tokio::spawn(async move {
                let work = load.work(&calls, &mut random).await;
                let (begin, end) = (due.into_std(), Instant::now());
                if calls.log.quiet(begin, end) {
                    calls.tally.took(work.name(), end - begin);
                }
                load.under_way.fetch_sub(1, Ordering::Relaxed);
            });
        }
    }

    /// How much is under way.
    pub(super) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }

    /// Does something.
    async fn work(&self, calls: &Calls, random: &mut Random) -> Work {
        let server = random.below(SERVERS as u64) as usize;
        let work = Work::draw(random);
        match work {
            Work::Push => push(calls, server, self.any(random)).await,
            Work::Clear => clear(calls, server, self.any(random)).await,
            Work::Await => self.await_new(calls, server).await,
            Work::Try => {
                let at = random.below(TRIES as u64) as usize;
                self.tries.step(calls, server, at, random).await;
            }
            Work::Pull => {
                let together = 1 + random.below(MOST_TOGETHER);
                let xcoms: Vec<_> = (0..together).map(|_| self.any(random).clone()).collect();
                pull(calls, server, "pull", &xcoms, None).await;
            }
            Work::Read => read(calls, server, self.any(random)).await,
            Work::Wait => {
                let xcoms = [self.any(random).clone()];
                pull(calls, server, "wait", &xcoms, Some(1)).await;
            }
        }
        count(&calls.tally.done);
        work
    }

    /// An XCom: most are small.
    fn any(&self, random: &mut Random) -> &Arc<XCom> {
        let class = match random.below(100) {
            0 => Class::Large,
            1..12 => Class::Medium,
            _ => Class::Small,
        };
        loop {
            let xcom = &self.xcoms[random.below(self.xcoms.len() as u64) as usize];
            if xcom.class == class {
                return xcom;
            }
        }
    }

    /// Waits for an XCom that is pushed only then.
    async fn await_new(&self, calls: &Calls, server: usize) {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        let xcom = Arc::new(XCom::new("awaited", format!("turn_{turn}"), Class::Small));
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner).push(xcom.clone());
        let xcoms = [xcom.clone()];
        let waits = pull(calls, server, "wait for new", &xcoms, Some(20));
        let pushes = async {
            // So that it has begun to wait, most times.
            tokio::time::sleep(Duration::from_millis(100)).await;
            push(calls, SERVERS - 1 - server, &xcom).await;
        };
        futures_util::future::join(waits, pushes).await;
    }
}

/// Pushes an XCom, unless a write of it is under way; a push in doubt is repeated until it is answered.
pub(super) async fn push(calls: &Calls, server: usize, xcom: &XCom) {
    let Some(begun) = xcom.begin_push(Some(version())) else { return };
    let request = Request::of("push", Method::PUT, xcom).with(begun.text).version(begun.version.clone());
    let Some((answer, times)) = calls.insist(server, &request).await else { return };
    let receipt = answer.json();
    // One that was answered at once is new.
    let fits = answer.status == 201 || (answer.status == 200 && times > 1);
    if !fits || receipt["version"].as_str() != begun.version.as_deref() {
        let what = format!("push {} of {}, tried {times} times", begun.number, xcom.name());
        return calls.unexpected(&what, &answer);
    }
    xcom.acknowledge();
    count(&calls.tally.pushes);
    if times > 1 {
        count(&calls.tally.doubted);
    }
}

/// Clears an XCom, unless a write of it is under way.
async fn clear(calls: &Calls, server: usize, xcom: &XCom) {
    if xcom.begin_clear().is_none() {
        return;
    }
    let request = Request::of("clear", Method::DELETE, xcom);
    let Some((answer, _)) = calls.insist(server, &request).await else { return };
    match answer.status {
        200 => xcom.acknowledge(),
        _ => calls.unexpected(&format!("clear of {}", xcom.name()), &answer),
    }
}

/// Pulls one XCom as a stream.
pub(super) async fn read(calls: &Calls, server: usize, xcom: &XCom) {
    let floor = xcom.floor();
    let Some(answer) = calls.ask(server, &Request::of("read", Method::GET, xcom)).await else { return };
    match answer.status {
        200 => calls.pulled(answer.sent, xcom, floor, Pulled::Value(&answer.body, None)),
        404 => calls.pulled(answer.sent, xcom, floor, Pulled::None(&answer.code())),
        _ => calls.unexpected(&format!("read of {}", xcom.name()), &answer),
    }
}

/// Pulls some XComs in one request, or waits for them.
async fn pull(calls: &Calls, server: usize, name: &'static str, xcoms: &[Arc<XCom>], seconds: Option<u32>) {
    let floors: Vec<usize> = xcoms.iter().map(|xcom| xcom.floor()).collect();
    let wanted: Vec<_> =
        xcoms.iter().map(|xcom| json!({"task_id": xcom.task_id, "map_index": -1, "key": xcom.key})).collect();
    let mut body = json!({"dag_id": DAG, "run_id": RUN, "xcoms": wanted});
    let path = match seconds {
        Some(seconds) => {
            body["seconds"] = json!(seconds);
            "/api/excom/v1/wait"
        }
        None => "/api/excom/v1/pull",
    };
    let request = Request::new(name, Method::POST, path).with(body.to_string());
    let Some(answer) = calls.ask(server, &request).await else { return };
    let elements: Elements<'_> = match serde_json::from_slice(&answer.body) {
        Ok(elements) if answer.status == 200 => elements,
        _ => return calls.unexpected(name, &answer),
    };
    if elements.answers.len() != xcoms.len() {
        return calls.unexpected(name, &answer);
    }
    for (place, element) in elements.answers.iter().enumerate() {
        calls.element(answer.sent, &xcoms[place], floors[place], element);
        if elements.pending.contains(&place) {
            calls.tally.answered("wait in vain");
        }
    }
}

/// A version that is drawn now.
fn version() -> String {
    static DRAWN: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let drawn = DRAWN.fetch_add(1, Ordering::Relaxed);
    format!("{:016x}", ((now - EPOCH) << 22) | (drawn & 0x3F_FFFF))
}
