//! Clients that load a server from one thread, so that they leave it as much as they can of the processors that both
//! share.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::process::{getpriority_process, setpriority_process};

use super::client::{Answered, connect};
use crate::engine::Result;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What clients ask for: each one's requests, which it sends one after the other and then from the first again.
pub(super) type Requests = Vec<Vec<Vec<u8>>>;

/// A connection that stays open.
struct Client<'a> {
    stream: TcpStream,
    requests: &'a [Vec<u8>],
    sent: usize,
    /// When the request that is not answered yet was due.
    due: Duration,
    read: Vec<u8>,
}

impl Client<'_> {
    fn send(&mut self, due: Duration) -> Result<()> {
        self.stream.write_all(&self.requests[self.sent % self.requests.len()])?;
        (self.sent, self.due) = (self.sent + 1, due);
        Ok(())
    }

    /// Takes what has come; whether that is the answer.
    fn take(&mut self) -> Result<bool> {
        let mut piece = [0; 16 << 10];
        match self.stream.read(&mut piece)? {
            0 => return Err("the server closed the connection".into()),
            count => self.read.extend_from_slice(&piece[..count]),
        }
        let Some(answer) = Answered::parse(&self.read)? else { return Ok(false) };
        if !matches!(answer.status, 200 | 201) {
            return Err(format!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body)).into());
        }
        self.read.clear();
        Ok(true)
    }
}

/// How many requests are answered in a second, when each client sends the next one as soon as it has its answer.
pub(super) fn closed(address: SocketAddr, requests: &[&[Vec<u8>]], lasting: Duration) -> Result<f64> {
    let begin = Instant::now();
    let took = run(address, requests, |_, _, now| now, lasting)?;
    Ok(took.len() as f64 / begin.elapsed().as_secs_f64())
}

/// How long requests take that come at a rate, whether those before are answered or not: each is timed from when it was
/// due. In order of time.
pub(super) fn open(
    address: SocketAddr,
    requests: &[&[Vec<u8>]],
    rate: f64,
    lasting: Duration,
) -> Result<Vec<Duration>> {
    let count = requests.len();
    let due = |client: usize, sent: usize, _| Duration::from_secs_f64((sent * count + client) as f64 / rate);
    let _first = First::come();
    let mut took = run(address, requests, due, lasting)?;
    took.sort_unstable();
    Ok(took)
}

/// Whoever takes times does not wait for a processor that both share, where the system allows that (to root): what is timed
/// is the server, not how soon somebody looks at its answer.
struct First(i32);

impl First {
    fn come() -> Option<Self> {
        let now = getpriority_process(None).ok()?;
        setpriority_process(None, -10).is_ok().then_some(Self(now))
    }
}

impl Drop for First {
    fn drop(&mut self) {
        // Nothing but the next times depends on it.
        let _ = setpriority_process(None, self.0);
    }
}

/// The time that a hundredth takes longer than, in microseconds.
pub(super) fn p99(took: &[Duration]) -> f64 {
    took[took.len() * 99 / 100].as_secs_f64() * 1e6
}

/// How long each request took from when it was due. `due` tells that of a client, of how many it has sent, and what time
/// it is.
fn run(
    address: SocketAddr,
    requests: &[&[Vec<u8>]],
    due: impl Fn(usize, usize, Duration) -> Duration,
    lasting: Duration,
) -> Result<Vec<Duration>> {
    let ready = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut clients = Vec::with_capacity(requests.len());
    for (place, requests) in requests.iter().enumerate() {
        let stream = connect(address)?;
        epoll::add(&ready, &stream, epoll::EventData::new_u64(place as u64), epoll::EventFlags::IN)?;
        clients.push(Client { stream, requests, sent: 0, due: Duration::ZERO, read: Vec::new() });
    }
    let begin = Instant::now();
    let mut idle: BinaryHeap<_> =
        (0..clients.len()).map(|place| Reverse((due(place, 0, Duration::ZERO), place))).collect();
    let (mut busy, mut took, mut events) = (0, Vec::new(), Vec::with_capacity(clients.len()));
    loop {
        let now = begin.elapsed();
        while let Some(&Reverse((due, place))) = idle.peek()
            && due <= now
        {
            idle.pop();
            // Nothing more begins when the time is over.
            if due < lasting {
                clients[place].send(due)?;
                busy += 1;
            }
        }
        let next = idle.peek().map(|Reverse((due, _))| *due).filter(|due| *due < lasting);
        if busy == 0 && next.is_none() {
            return Ok(took);
        }
        let rest = next.map_or(PATIENCE, |due| due.saturating_sub(begin.elapsed()));
        let rest = Timespec { tv_sec: rest.as_secs() as i64, tv_nsec: i64::from(rest.subsec_nanos()) };
        events.clear();
        epoll::wait(&ready, spare_capacity(&mut events), Some(&rest))?;
        if events.is_empty() && next.is_none() {
            return Err(format!("no answer in {PATIENCE:?}").into());
        }
        for event in events.drain(..) {
            let place = event.data.u64() as usize;
            if clients[place].take()? {
                let now = begin.elapsed();
                took.push(now - clients[place].due);
                idle.push(Reverse((due(place, clients[place].sent, now), place)));
                busy -= 1;
            }
        }
    }
}
