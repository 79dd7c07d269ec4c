//! 300 MB pushed and pulled as streams, with bounded memory.

use std::fs::File;
use std::future::poll_fn;
use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use excom_core::db::Scope;
use excom_core::engine::Settings;
use excom_core::{ByteStream, Caller, Engine, Payload, TaskInstanceKey};
use excom_store::{Files, ObjectStorage, OffloadOptions};
use excom_testkit::s3::{BUCKET, S3};
use futures_util::stream::{self, StreamExt as _};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::{ObjectStoreExt as _, WriteMultipart};

use crate::Place;
use crate::engine::{ROUNDS, Result};
use crate::goals::Goal;
use crate::payload::random_text;
use crate::report::{Beside, Row};
use crate::system::{forget_peak, resident};

const BYTES: usize = 300_000_000;
const PIECE: usize = 1 << 20;
/// The size of a part, and how many are sent at a time: what the store does.
const PART: usize = 8 << 20;
const AT_ONCE: usize = 4;

/// Measures a row; none when it is of another group.
pub(super) fn measure(goal: &Goal) -> Result<Option<Vec<Row>>> {
    match goal.name.as_str() {
        "large-300mb-file" => file(goal).map(|row| Some(vec![row])),
        "large-300mb-s3" => s3(goal).map(|row| Some(vec![row])),
        _ => Ok(None),
    }
}

fn pieces(text: &Bytes) -> impl Iterator<Item = Bytes> + Send + use<> {
    let text = text.clone();
    (0..text.len()).step_by(PIECE).map(move |at| text.slice(at..text.len().min(at + PIECE)))
}

/// Compares what comes with what was pushed.
struct Same<'a> {
    text: &'a [u8],
}

impl Same<'_> {
    fn take(&mut self, piece: &[u8]) {
        let (expected, rest) = self.text.split_at(piece.len());
        assert!(expected == piece, "other bytes came back");
        self.text = rest;
    }

    fn end(self) {
        assert!(self.text.is_empty(), "bytes are missing");
    }
}

/// What a round of ours took.
struct Taken {
    push: f64,
    pull: f64,
    /// The most memory in use, in MiB above what was in use before.
    memory: f64,
}

async fn ours(engine: &Engine, caller: &Caller, text: &Bytes) -> Result<Taken> {
    let Caller::Attempt(attempt) = caller else { return Err("a task pushes".into()) };
    let key = attempt.ti.return_value();
    forget_peak()?;
    let before = resident()?;
    let begin = Instant::now();
    let body: ByteStream = Box::pin(stream::iter(pieces(text).map(Ok)));
    engine.push(caller, &key, Payload::Stream(body)).await?;
    let push = begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    let opened = engine.open(caller, &key).await?.map_err(|answer| answer.to_string())?;
    let mut opened = opened.into_stream();
    let mut same = Same { text };
    while let Some(piece) = poll_fn(|cx| opened.as_mut().poll_next(cx)).await {
        same.take(&piece?);
    }
    same.end();
    let pull = begin.elapsed().as_secs_f64();
    drop(opened);
    let memory = resident()? - before;
    // Its bytes go too, so that they are never there twice.
    engine.delete(&Caller::user("bench"), &Scope::Key(key)).await?;
    Ok(Taken { push, pull, memory })
}

fn row(goal: &Goal, rounds: &[(Taken, [f64; 2])]) -> Row {
    let seconds = rounds.iter().map(|(ours, [write, read])| (ours.push + ours.pull, Some(write + read)));
    let row = Row::new(goal, "random", "s", seconds.collect(), |ours, raw| ours / raw.unwrap_or(1.0));
    let middle = |of: fn(&(Taken, [f64; 2])) -> f64| {
        let mut sorted: Vec<f64> = rounds.iter().map(of).collect();
        sorted.sort_by(f64::total_cmp);
        Beside::Figure(sorted[sorted.len() / 2])
    };
    let memory = rounds.iter().map(|(ours, _)| ours.memory).fold(0.0, f64::max);
    row.beside(vec![
        ("s to push".into(), middle(|(ours, _)| ours.push)),
        ("s to write the reference".into(), middle(|(_, [write, _])| *write)),
        ("s to pull".into(), middle(|(ours, _)| ours.pull)),
        ("s to read the reference".into(), middle(|(_, [_, read])| *read)),
        ("MiB above what was in use, at most".into(), Beside::Figure(memory)),
    ])
}

fn start(engine: &Engine) -> Result<Caller> {
    let ti = TaskInstanceKey::new("weather", "manual__1", "archive", -1)?;
    Ok(Caller::Attempt(pollster::block_on(engine.start(&ti, 1))?))
}

fn file(goal: &Goal) -> Result<Row> {
    let place = Place::new()?;
    let text = Bytes::from(random_text(BYTES));
    let store = Arc::new(Files::open(&place.file("values"))?);
    let options = OffloadOptions::default();
    let engine = super::open(&place.file("ours"), store, options, Settings::default())?;
    let caller = start(&engine)?;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let ours = pollster::block_on(ours(&engine, &caller, &text))?;
        let path = place.file("raw");
        let begin = Instant::now();
        let mut raw = File::create(&path)?;
        for piece in pieces(&text) {
            raw.write_all(&piece)?;
        }
        raw.sync_data()?;
        let write = begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        let (mut raw, mut same, mut piece) = (File::open(&path)?, Same { text: &text }, vec![0; PIECE]);
        loop {
            match raw.read(&mut piece)? {
                0 => break,
                length => same.take(&piece[..length]),
            }
        }
        same.end();
        rounds.push((ours, [write, begin.elapsed().as_secs_f64()]));
        std::fs::remove_file(path)?;
    }
    Ok(row(goal, &rounds))
}

fn s3(goal: &Goal) -> Result<Row> {
    if let Err(why) = S3::available() {
        return Ok(Row::missing(goal, why));
    }
    let place = Place::new()?;
    let server = S3::start().map_err(|error| error.to_string())?;
    let text = Bytes::from(random_text(BYTES));
    let store = Arc::new(ObjectStorage::open(&format!("s3://{BUCKET}/ours"), server.options())?);
    let options = OffloadOptions::default();
    let engine = super::open(&place.file("ours"), store, options, Settings::default())?;
    let caller = start(&engine)?;
    let client = AmazonS3Builder::new().with_bucket_name(BUCKET).with_allow_http(true);
    let client = server.options().into_iter().try_fold(client, |client, (name, value)| {
        let key: AmazonS3ConfigKey = name.to_ascii_lowercase().parse()?;
        Ok::<_, object_store::Error>(client.with_config(key, value))
    })?;
    let client = client.build()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let ours = pollster::block_on(ours(&engine, &caller, &text))?;
        let raw = runtime.block_on(async {
            let path = Path::from("raw");
            let begin = Instant::now();
            let mut upload = WriteMultipart::new_with_chunk_size(client.put_multipart(&path).await?, PART);
            for piece in pieces(&text) {
                upload.wait_for_capacity(AT_ONCE).await?;
                upload.put(piece);
            }
            upload.finish().await?;
            let write = begin.elapsed().as_secs_f64();
            let begin = Instant::now();
            let (mut body, mut same) = (client.get(&path).await?.into_stream(), Same { text: &text });
            while let Some(piece) = body.next().await {
                same.take(&piece?);
            }
            same.end();
            let read = begin.elapsed().as_secs_f64();
            client.delete(&path).await?;
            Ok::<_, object_store::Error>([write, read])
        })?;
        rounds.push((ours, raw));
    }
    Ok(row(goal, &rounds))
}
