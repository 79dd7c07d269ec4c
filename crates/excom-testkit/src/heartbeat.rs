//! The proof that a large value never blocks: a process streams one to each place and back, on a runtime of one
//! thread, and a heartbeat on that thread is never late by more than [`LATEST`], nor does the process grow by more than
//! [`MOST_GROWTH`].
//!
//! How late a heartbeat is says something only where nothing else wants the processor, so tests look at the growth
//! alone.

use std::fmt;
use std::fs;
use std::future::poll_fn;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use excom::core::ByteStream;
use excom::{Caller, Engine, Payload, XComKey};
use futures_util::Stream;

use crate::child::{self, Child};
use crate::place::Place;
use crate::random::Random;
use crate::redis::{Program, Redis};
use crate::s3::S3;
use crate::{Error, Result};

/// How far apart heartbeats are.
const BEAT: Duration = Duration::from_millis(100);

/// How late one may be.
pub const LATEST: Duration = Duration::from_millis(50);

/// By how many bytes the process may grow.
pub const MOST_GROWTH: u64 = 64 << 20;

/// For how long one way of the value may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// The size of the pieces in which the value comes.
const PIECE: usize = 64 << 10;

/// How the value went to one place, or came from there.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    /// By how many bytes the process grew at most.
    pub growth: u64,
    /// How late the latest heartbeat was.
    pub latest: Duration,
    /// How many heartbeats there were.
    pub beats: u64,
    /// How long it took.
    pub took: Duration,
}

/// What was found in one place.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    /// Which place.
    pub place: &'static str,
    /// There.
    pub push: Way,
    /// And back.
    pub pull: Way,
}

/// What was found in all places.
#[derive(Debug, Clone)]
pub struct Report {
    /// The size of the value, in bytes.
    pub bytes: u64,
    /// Of each place.
    pub found: Vec<Found>,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>5.1} s, grew by {:>4.1} MiB, {:>3} heartbeats, the latest {:>4.1} ms late",
            self.took.as_secs_f64(),
            self.growth as f64 / f64::from(1 << 20),
            self.beats,
            self.latest.as_secs_f64() * 1e3
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a value of {} MB, and a heartbeat every {} ms", self.bytes / 1_000_000, BEAT.as_millis())?;
        for Found { place, push, pull } in &self.found {
            write!(f, "\n{place:<6} push {push}\n{:<6} pull {pull}", "")?;
        }
        Ok(())
    }
}

/// Proves it for a value of so many bytes in files, in S3 and in Redis.
///
/// # Errors
/// What was too late or too large, with all figures; or why a server cannot be had.
pub fn prove(program: &Path, bytes: u64) -> Result<Report> {
    let found = vec![files(program, bytes)?, s3(program, bytes)?, redis(program, bytes)?];
    let report = Report { bytes, found };
    let ways = || report.found.iter().flat_map(|found| [found.push, found.pull]);
    if ways().any(|way| way.growth > MOST_GROWTH) {
        return Err(format!("{report}\nit grew by more than {} MiB", MOST_GROWTH >> 20).into());
    }
    if ways().any(|way| way.latest > LATEST) {
        return Err(format!("{report}\na heartbeat was more than {} ms late", LATEST.as_millis()).into());
    }
    Ok(report)
}

/// Streams a value of so many bytes to files and back.
///
/// # Errors
/// When it did not come back as it went.
pub fn files(program: &Path, bytes: u64) -> Result<Found> {
    stream("files", program, &Place::files(), bytes)
}

/// Streams a value of so many bytes to S3 and back.
///
/// # Errors
/// When it did not come back as it went, or why the server cannot be had.
pub fn s3(program: &Path, bytes: u64) -> Result<Found> {
    S3::available()?;
    let server = S3::start()?;
    stream("s3", program, &Place::s3(server.options()), bytes)
}

/// Streams a value of so many bytes to Redis and back.
///
/// # Errors
/// When it did not come back as it went, or why the server cannot be had.
pub fn redis(program: &Path, bytes: u64) -> Result<Found> {
    let server = Redis::start(&Program::redis()?, "")?;
    stream("redis", program, &Place::redis(server.port()), bytes)
}

/// A process of its own streams the value, so that what it grows by is the value's alone.
fn stream(name: &'static str, program: &Path, place: &Place, bytes: u64) -> Result<Found> {
    let folder = tempfile::tempdir()?;
    let mut arguments =
        vec!["child-heartbeat".to_owned(), folder.path().display().to_string(), bytes.to_string()];
    arguments.extend(place.arguments());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let child = Child::start(program, &arguments)?;
    let way = || -> Result<Way> {
        let line = child.line_within(PATIENCE).ok_or_else(|| format!("{name}: the process tells nothing"))?;
        Way::read(&line).ok_or_else(|| format!("{name}: the process says: {line}").into())
    };
    let (push, pull) = (way()?, way()?);
    let (status, rest) = child.wait()?;
    if status.success() {
        Ok(Found { place: name, push, pull })
    } else {
        Err(format!("{name}: {rest:?}").into())
    }
}

impl Way {
    fn line(&self) -> String {
        format!("{} {} {} {}", self.growth, self.latest.as_micros(), self.beats, self.took.as_millis())
    }

    fn read(line: &str) -> Option<Self> {
        let numbers: Vec<u64> = line.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
        let [growth, latest, beats, took] = numbers[..] else { return None };
        let (latest, took) = (Duration::from_micros(latest), Duration::from_millis(took));
        Some(Self { growth, latest, beats, took })
    }
}

/// The process that streams: it tells a line for each way.
///
/// # Errors
/// What did not work, or was wrong.
pub fn child(place: &Place, folder: &Path, bytes: u64) -> Result<()> {
    let engine = excom::embedded::open(&place.settings(folder)?)?;
    // One thread for both: what a call does on it keeps the heartbeat waiting.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(async {
        // Connections, pools of threads and the like are there before the growth is measured.
        let small = PIECE as u64 * 64;
        push(engine.clone(), "small", small).await?;
        pull(engine.clone(), "small", small).await?;
        child::tell(&beside_a_heartbeat(push(engine.clone(), "large", bytes)).await?.line())?;
        child::tell(&beside_a_heartbeat(pull(engine.clone(), "large", bytes)).await?.line())?;
        Ok(engine.close().await?)
    })
}

fn key(name: &str) -> excom::Result<XComKey> {
    XComKey::new("proof", "run", "heartbeat", -1, name)
}

async fn push(engine: Engine, name: &str, bytes: u64) -> Result<()> {
    let stream: ByteStream = Box::pin(Text::new(bytes));
    engine.push(&Caller::user("prover"), &key(name)?, Payload::Stream(stream)).await?;
    Ok(())
}

async fn pull(engine: Engine, name: &str, bytes: u64) -> Result<()> {
    let opened = engine.open(&Caller::user("prover"), &key(name)?).await?;
    let opened = opened.map_err(|answer| Error::from(format!("no value: {answer}")))?;
    let mut stream = opened.into_stream();
    // The engine has verified the checksum at the end, so the text need not be made again to compare.
    let mut read = 0;
    while let Some(piece) = poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
        read += piece?.len() as u64;
    }
    if read == bytes { Ok(()) } else { Err(format!("{read} bytes came back of {bytes}").into()) }
}

/// Does something while a heart beats, each a task of its own.
async fn beside_a_heartbeat(work: impl Future<Output = Result<()>> + Send + 'static) -> Result<Way> {
    let before = memory("VmRSS:")?;
    // 5 sets the peak to what is in use now.
    fs::write("/proc/self/clear_refs", "5")?;
    let begin = Instant::now();
    let ended = Arc::new(AtomicBool::new(false));
    let end = ended.clone();
    let heart = tokio::spawn(async move {
        let (mut beats, mut latest) = (0, Duration::ZERO);
        while !end.load(Ordering::Relaxed) {
            beats += 1;
            let due = begin + BEAT * beats;
            tokio::time::sleep_until(due.into()).await;
            latest = latest.max(due.elapsed());
        }
        (beats, latest)
    });
    tokio::spawn(work).await??;
    let took = begin.elapsed();
    let growth = memory("VmHWM:")?.saturating_sub(before);
    ended.store(true, Ordering::Relaxed);
    let (beats, latest) = heart.await?;
    Ok(Way { growth, latest, beats: beats.into(), took })
}

/// A figure of this process, in bytes.
fn memory(figure: &str) -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(figure)).ok_or("no such figure")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes << 10)
}

/// A JSON text of so many bytes, made as it is read, which is always at hand. A quarter of it compresses.
struct Text {
    block: Bytes,
    at: u64,
    bytes: u64,
}

impl Text {
    fn new(bytes: u64) -> Self {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut random = Random::new(7);
        // Longer than a frame, so that no frame repeats itself.
        let block: Vec<u8> = (0..3 << 20).map(|_| LETTERS[random.below(64) as usize]).collect();
        Self { block: block.into(), at: 0, bytes }
    }
}

impl Stream for Text {
    type Item = excom::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let (at, left) = (self.at, self.bytes - self.at);
        let quote = Bytes::from_static(b"\"");
        let piece = match left {
            0 => return Poll::Ready(None),
            1 => quote,
            _ if at == 0 => quote,
            _ => {
                let from = at as usize % (self.block.len() - PIECE);
                self.block.slice(from..from + PIECE.min(left as usize - 1))
            }
        };
        self.at += piece.len() as u64;
        Poll::Ready(Some(Ok(piece)))
    }
}
