//! Pull: any number of XComs in one call, an answer for each.

use std::borrow::{Borrow, Cow};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use futures_util::future::join;

use super::ledger::{Ledger, TargetRef};
use super::{Engine, Step, Waiting};
use crate::answer::{Answer, Damaged, Ended, Found, Large, Missing, Near, NotYet};
use crate::attempt::{Caller, TaskState};
use crate::backend::Object;
use crate::channel::PullOptions;
use crate::db::{Produced, Surroundings};
use crate::entry::{EndReason, Entry, Stored, Version, Writer};
use crate::seal::Reference;
use crate::store::Side;
use crate::together::at_once;
use crate::value::{ByteStream, ContentHash, Measure, Payload, Value};
use crate::{Error, ErrorKind, ObjectName, Result, SequenceKey, XComKey};

/// How many values of one call are loaded at the same time.
const LOADS_AT_ONCE: usize = 32;

/// How many versions that were replaced since are looked through for what ended the one before.
const LOOKED_BACK: u32 = 100;

/// For how many XComs of one call it is found out at the same time why they are not there.
const EXPLAINED_AT_ONCE: usize = 16;

/// An entry, if there is one; or the refusal to look for it.
pub(crate) type Permitted = std::result::Result<Option<Entry>, Box<Answer>>;

/// What a task produced under a key.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum TaskAnswer {
    /// The task is not mapped.
    Single(Answer),
    /// The task is mapped: always a sequence, also with one element or none.
    Mapped {
        /// The elements that exist, each with its real map index, in order.
        items: Vec<(i32, Answer)>,
        /// How many task instances it has; a gap is one that pushed nothing.
        length: u64,
    },
}

/// A value that was opened.
#[derive(Debug)]
#[non_exhaustive]
pub struct Opened {
    /// Which version it is.
    pub version: Version,
    /// The bytes of its text.
    pub size: u64,
    /// The text, as it comes.
    pub payload: Payload,
}

impl Engine {
    /// Pulls XComs; the answers are in the order asked.
    ///
    /// # Errors
    /// When the database cannot be read, or (with a strict ledger) the reads not noted. What concerns
    /// one XCom is in its answer.
    pub async fn pull(&self, caller: &Caller, keys: &[XComKey], options: PullOptions) -> Result<Vec<Answer>> {
        self.pull_within(caller, keys, options, &mut u64::MAX.clone()).await
    }

    /// As [`Engine::pull`], as long as the values together have no more bytes than are given, from which theirs are
    /// taken. One that does not fit is [`Answer::Large`], and is not loaded from where it was offloaded to.
    ///
    /// # Errors
    /// As [`Engine::pull`].
    pub async fn pull_within(
        &self,
        caller: &Caller,
        keys: &[XComKey],
        options: PullOptions,
        bytes: &mut u64,
    ) -> Result<Vec<Answer>> {
        let prior = options.include_prior_dates;
        let sight = self.sight(caller).await?;
        let refusals: Vec<Option<Answer>> = keys.iter().map(|key| sight.refusal(key, prior)).collect();
        let mut keys = Cow::Borrowed(keys);
        if prior {
            for (key, refusal) in keys.to_mut().iter_mut().zip(&refusals) {
                if refusal.is_none() {
                    *key = self.prior(key, Some(key.ti.map_index)).await?;
                }
            }
        }
        let looking = self.begins(Step::Entries);
        let entries = self.0.db.entries(&keys).await?;
        drop(looking);
        let mut asked: Vec<(&XComKey, _)> = keys
            .iter()
            .zip(entries.into_iter().zip(refusals))
            .map(|(key, (entry, refusal))| (key, refusal.map_or(Ok(entry), |refusal| Err(Box::new(refusal)))))
            .collect();
        fit(&mut asked, bytes);
        if self.0.settings.ledger == Ledger::Strict && asked.iter().any(is_offloaded) {
            return self.noted_ahead(caller, asked).await;
        }
        let answers = self.answers(asked).await?;
        let read = keys.iter().zip(&answers);
        let read = read.filter_map(|(key, answer)| Some(TargetRef::Entry(key, answer.found()?.version)));
        self.note_reads(caller, read).await?;
        Ok(answers)
    }

    /// Answers whose reads are noted while the values are loaded. One that then cannot be answered stays noted, as
    /// one does whose reader crashed between the two.
    async fn noted_ahead(&self, caller: &Caller, asked: Vec<(&XComKey, Permitted)>) -> Result<Vec<Answer>> {
        let version = |entry: &Permitted| Some(entry.as_ref().ok()?.as_ref()?.version);
        let ahead: Vec<_> = asked.iter().map(|(key, entry)| (*key, version(entry))).collect();
        let known = ahead.iter().filter_map(|(key, version)| Some(TargetRef::Entry(key, (*version)?)));
        // Loading first: what it asks for is on its way while the ledger is written.
        let (answers, noted) = join(self.answers(asked), self.note_reads(caller, known)).await;
        let answers = answers?;
        noted?;
        let read = ahead.iter().zip(&answers).filter_map(|((key, ahead), answer)| {
            let version = answer.found()?.version;
            (*ahead != Some(version)).then_some(TargetRef::Entry(key, version))
        });
        self.note_reads(caller, read).await?;
        Ok(answers)
    }

    /// The same XCom in the newest run that has it, up to the run named.
    async fn prior(&self, key: &XComKey, map_index: Option<i32>) -> Result<XComKey> {
        let run = self.0.db.prior_run(&key.sequence(), map_index).await?;
        let mut key = key.clone();
        if let Some(run) = run {
            key.ti.run_id = run;
        }
        Ok(key)
    }

    /// Pulls everything that tasks produced under a key: one value, or a mapped task's sequence.
    ///
    /// # Errors
    /// As [`Engine::pull`].
    pub async fn pull_tasks(
        &self,
        caller: &Caller,
        keys: &[SequenceKey],
        options: PullOptions,
    ) -> Result<Vec<TaskAnswer>> {
        self.pull_tasks_within(caller, keys, options, &mut u64::MAX.clone()).await
    }

    /// As [`Engine::pull_tasks`], within bytes as [`Engine::pull_within`].
    ///
    /// # Errors
    /// As [`Engine::pull`].
    pub async fn pull_tasks_within(
        &self,
        caller: &Caller,
        keys: &[SequenceKey],
        options: PullOptions,
        bytes: &mut u64,
    ) -> Result<Vec<TaskAnswer>> {
        let prior = options.include_prior_dates;
        let sight = self.sight(caller).await?;
        let refusals: Vec<Option<Answer>> = keys.iter().map(|key| sight.refusal_of(key, prior)).collect();
        let mut keys = Cow::Borrowed(keys);
        if prior {
            for (key, refusal) in keys.to_mut().iter_mut().zip(&refusals) {
                if refusal.is_none() {
                    *key = self.prior(&key.at(-1), None).await?.sequence();
                }
            }
        }
        let looking = self.begins(Step::Produced);
        let produced = self.0.db.produced(&keys).await?;
        drop(looking);
        let mut answers = Vec::with_capacity(keys.len());
        let mut read: Vec<(XComKey, Version)> = Vec::new();
        let mut sequences = Vec::new();
        for (key, (produced, refusal)) in keys.iter().zip(produced.into_iter().zip(refusals)) {
            if let Some(refusal) = refusal {
                answers.push(TaskAnswer::Single(refusal));
                continue;
            }
            let single = key.at(-1);
            answers.push(match produced {
                Produced::Single(entry) => {
                    let mut asked = vec![(&single, Ok(entry))];
                    fit(&mut asked, bytes);
                    let answer = self.answers(asked).await?.remove(0);
                    if let Some(found) = answer.found() {
                        read.push((single, found.version));
                    }
                    TaskAnswer::Single(answer)
                }
                Produced::Mapped { items, length } => {
                    sequences.push(key);
                    let items = self.items(key, items, bytes).await?;
                    TaskAnswer::Mapped { items, length }
                }
            });
        }
        let read = read.iter().map(|(key, version)| TargetRef::Entry(key, *version));
        self.note_reads(caller, read.chain(sequences.into_iter().map(TargetRef::Sequence))).await?;
        Ok(answers)
    }

    /// An offloaded value as a verified stream, or any other value, and a secret, at once: for large ones.
    ///
    /// # Errors
    /// As [`Engine::pull`]. `Ok(Err(answer))` when there is no value to stream.
    pub async fn open(&self, caller: &Caller, key: &XComKey) -> Result<std::result::Result<Payload, Answer>> {
        Ok(self.open_version(caller, key).await?.map(|opened| opened.payload))
    }

    /// As [`Engine::open`], with the version that it is, and its size.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub async fn open_version(
        &self,
        caller: &Caller,
        key: &XComKey,
    ) -> Result<std::result::Result<Opened, Answer>> {
        if let Some(refusal) = self.sight(caller).await?.refusal(key, false) {
            return Ok(Err(refusal));
        }
        let looking = self.begins(Step::Entries);
        let entry = self.0.db.entries(std::slice::from_ref(key)).await?.pop().flatten();
        drop(looking);
        let Some(entry) = entry else {
            return Ok(Err(self.explain(key).await?));
        };
        let mut entry = entry;
        let payload = loop {
            let payload = match self.fetch(key, &entry).await {
                Ok(payload @ Payload::Stream(_)) if !entry.secret => Ok(payload),
                Ok(payload) => self.whole(key, &entry, payload).await.map(Payload::Value),
                Err(error) => Err(error),
            };
            match payload {
                Ok(payload) => break payload,
                Err(error) => match self.instead(key, entry, error).await? {
                    Ok(now) => entry = now,
                    Err(answer) => return Ok(Err(answer)),
                },
            }
        };
        let Entry { version, size, .. } = entry;
        self.note_reads(caller, std::iter::once(TargetRef::Entry(key, version))).await?;
        Ok(Ok(Opened { version, size, payload }))
    }

    /// The value of an earlier version, while its bytes are kept.
    ///
    /// # Errors
    /// When the database cannot be read; damage, and a refusal by an access rule, as an error.
    pub async fn pull_past(&self, caller: &Caller, key: &XComKey, version: Version) -> Result<Option<Value>> {
        self.may_look(caller, key).await?;
        let Some(mut entry) = self.0.db.past(key, version).await? else { return Ok(None) };
        let value = loop {
            let payload = self.fetch(key, &entry).await;
            let error = match payload {
                Ok(payload) => match self.whole(key, &entry, payload).await {
                    Ok(value) => break value,
                    Err(error) => error,
                },
                Err(error) => error,
            };
            // Its time may just have come, or it was moved.
            match self.0.db.past(key, version).await? {
                None => return Ok(None),
                Some(again) if again.stored != entry.stored => entry = again,
                Some(_) => return Err(error),
            }
        };
        self.note_reads(caller, std::iter::once(TargetRef::Entry(key, version))).await?;
        Ok(Some(value))
    }

    /// Entries of a sequence as answers, within bytes.
    pub(super) async fn items(
        &self,
        key: &SequenceKey,
        items: Vec<crate::db::Item>,
        bytes: &mut u64,
    ) -> Result<Vec<(i32, Answer)>> {
        let keys: Vec<XComKey> = items.iter().map(|item| key.at(item.map_index)).collect();
        let indexes: Vec<i32> = items.iter().map(|item| item.map_index).collect();
        let entries = items.into_iter().map(|item| Ok(Some(item.entry)));
        let mut asked = keys.iter().zip(entries).collect::<Vec<_>>();
        fit(&mut asked, bytes);
        let answers = self.answers(asked).await?;
        Ok(indexes.into_iter().zip(answers).collect())
    }

    /// An answer for each XCom, in the order given, unless it is refused. Values outside of the database are
    /// loaded together.
    pub(crate) async fn answers(&self, asked: Vec<(&XComKey, Permitted)>) -> Result<Vec<Answer>> {
        let (mut away, mut missing) = (Vec::new(), Vec::new());
        let mut answers: Vec<Option<Answer>> = Vec::with_capacity(asked.len());
        for (place, (key, entry)) in asked.into_iter().enumerate() {
            answers.push(match entry {
                Err(refusal) => Some(*refusal),
                Ok(None) => {
                    missing.push(async move { (place, self.explain(key).await) });
                    None
                }
                Ok(Some(Entry { stored: Stored::Inline(value), version, writer, hash, secret, .. })) => {
                    Some(self.inline(key, Found { value, version, writer }, hash, secret))
                }
                Ok(Some(entry)) => {
                    away.push((key, entry));
                    None
                }
            });
        }
        for (place, explained) in at_once(missing, EXPLAINED_AT_ONCE).await {
            answers[place] = Some(explained?);
        }
        let mut loaded = self.load(away).await?.into_iter();
        Ok(answers.into_iter().filter_map(|answer| answer.or_else(|| loaded.next())).collect())
    }

    /// Values that are outside of the database, verified.
    async fn load(&self, away: Vec<(&XComKey, Entry)>) -> Result<Vec<Answer>> {
        if away.is_empty() {
            return Ok(Vec::new());
        }
        let payloads = self.fetch_all(&away).await;
        // Those that came whole are answered without another step.
        let mut answers = Vec::with_capacity(away.len());
        let mut loads = Vec::new();
        for ((key, entry), payload) in away.into_iter().zip(payloads) {
            answers.push(match payload {
                Ok(Payload::Value(value)) if !entry.secret => {
                    Some(found(Found { value, version: entry.version, writer: entry.writer }))
                }
                payload => {
                    loads.push(self.loaded(key, entry, payload));
                    None
                }
            });
        }
        let mut loaded = at_once(loads, LOADS_AT_ONCE).await.into_iter();
        answers.into_iter().filter_map(|answer| answer.map(Ok).or_else(|| loaded.next())).collect()
    }

    /// The answer of an entry whose payload comes, or of what is there instead.
    async fn loaded(&self, key: &XComKey, mut entry: Entry, mut payload: Result<Payload>) -> Result<Answer> {
        loop {
            let read = match payload {
                Ok(payload) => self.whole(key, &entry, payload).await,
                Err(error) => Err(error),
            };
            let error = match read {
                Ok(value) => {
                    let Entry { version, writer, .. } = entry;
                    return Ok(found(Found { value, version, writer }));
                }
                Err(error) => error,
            };
            match self.instead(key, entry, error).await? {
                Ok(now) => (payload, entry) = (self.fetch(key, &now).await, now),
                Err(answer) => return Ok(answer),
            }
        }
    }

    /// What to read instead of an entry that could not be read, also in the middle: what is there now, when it was
    /// replaced or moved in between; otherwise the answer.
    async fn instead(
        &self,
        key: &XComKey,
        entry: Entry,
        error: Error,
    ) -> Result<std::result::Result<Entry, Answer>> {
        Ok(match self.0.db.entries(std::slice::from_ref(key)).await?.pop().flatten() {
            None => Err(self.explain(key).await?),
            // Another version, or the same one in another place.
            Some(now) if now.version != entry.version || now.stored != entry.stored => Ok(now),
            Some(_) => Err(damaged(key, &entry, &error)),
        })
    }

    /// The payload behind an entry.
    pub(super) async fn fetch(&self, key: &XComKey, entry: &Entry) -> Result<Payload> {
        let mut payload = self.fetch_all(&[(key, entry)]).await;
        payload.remove(0)
    }

    /// The payloads behind entries, in their order: references are verified before anything is read, and size
    /// and checksum at the end of each stream.
    async fn fetch_all<E: Borrow<Entry>>(&self, entries: &[(&XComKey, E)]) -> Vec<Result<Payload>> {
        let mut payloads: Vec<Option<Result<Payload>>> = Vec::with_capacity(entries.len());
        let mut away: Vec<(usize, &Entry, Object<'_>)> = Vec::new();
        for (place, (key, entry)) in entries.iter().enumerate() {
            let entry = entry.borrow();
            payloads.push(match &entry.stored {
                Stored::Inline(value) => {
                    Some(check_inline(value, entry.hash).map(|()| Payload::Value(value.clone())))
                }
                Stored::Offloaded(reference) => {
                    let verified = self.0.keys.verify(key, entry.version, entry.size, entry.hash, reference);
                    let Reference { store, codec, key_id, .. } = reference;
                    away.push((place, entry, Object { key, version: entry.version, store, codec, key_id }));
                    verified.err().map(Err)
                }
            });
        }
        away.retain(|(place, ..)| payloads[*place].is_none());
        // Most entries are in one store.
        away.sort_by(|a, b| a.2.store.cmp(b.2.store));
        for group in away.chunk_by(|a, b| a.2.store == b.2.store) {
            let objects: Vec<Object<'_>> = group.iter().map(|(.., object)| object.clone()).collect();
            let reading = self.begins(Step::Read(objects[0].store));
            let stored = self.0.backends.of(objects[0].store).deserialize_values(&objects).await;
            for ((place, entry, object), stored) in group.iter().zip(stored) {
                payloads[*place] =
                    Some(stored.and_then(|stored| verified(stored, entry, object, reading.clone())));
            }
        }
        let untold = || Err(Error::new(ErrorKind::Other, "the backend told nothing of the value"));
        payloads.into_iter().map(|payload| payload.unwrap_or_else(untold)).collect()
    }

    /// What is stored of a secret.
    pub(super) async fn envelope(&self, key: &XComKey, entry: &Entry) -> Result<Value> {
        collect(self.fetch(key, entry).await?, entry).await
    }

    /// All of a payload that was checked on its way; of a secret what its envelope holds.
    async fn whole(&self, key: &XComKey, entry: &Entry, payload: Payload) -> Result<Value> {
        let value = collect(payload, entry).await?;
        if entry.secret { self.0.keys.open_secret(key, entry.version, &value) } else { Ok(value) }
    }

    /// The answer of a value that came with its entry.
    fn inline(&self, key: &XComKey, mut found: Found, hash: ContentHash, secret: bool) -> Answer {
        let checked = check_inline(&found.value, hash).and_then(|()| match secret {
            false => Ok(None),
            true => self.0.keys.open_secret(key, found.version, &found.value).map(Some),
        });
        match checked {
            Ok(None) => self::found(found),
            Ok(Some(opened)) => {
                found.value = opened;
                self::found(found)
            }
            Err(error) => unusable(key, found.version, found.writer, &error),
        }
    }

    /// Why there was no entry when it was looked for.
    async fn explain(&self, key: &XComKey) -> Result<Answer> {
        let mut around = self.0.db.surroundings(key).await?;
        let state = around.ti.as_ref().map(|ti| ti.state);
        let earlier = match around.last.take() {
            // It has been pushed again since, more than once. Why there was none is what ended the last one before.
            Some(last) if last.reason == EndReason::Replaced => {
                let past = self.0.db.history(key, LOOKED_BACK).await?;
                past.into_iter().find(|past| past.reason != EndReason::Replaced)
            }
            last => last,
        };
        let answer = match (state, earlier) {
            (Some(TaskState::Skipped), _) => Answer::Skipped(Box::new(key.clone())),
            (Some(state), earlier) if !state.is_finished() => Answer::NotYet(Box::new(NotYet {
                key: key.clone(),
                state,
                earlier: earlier.map(|last| (last.ended_at, last.reason)),
            })),
            (_, Some(last)) => {
                let is_expired = last.reason == EndReason::Expired;
                let ended =
                    Box::new(Ended { key: key.clone(), at: last.ended_at, by: last.by.clone(), last });
                if is_expired { Answer::Expired(ended) } else { Answer::Cleared(ended) }
            }
            _ => Answer::Missing(Box::new(Missing { key: key.clone(), state, near: nearest(key, around) })),
        };
        Ok(answer)
    }
}

/// Answers at once for entries that have more bytes than are left.
fn fit(asked: &mut [(&XComKey, Permitted)], bytes: &mut u64) {
    for (key, permitted) in asked {
        let Ok(Some(entry)) = permitted else { continue };
        match bytes.checked_sub(entry.size) {
            Some(left) => *bytes = left,
            None => {
                let Entry { version, size, .. } = *entry;
                let (key, writer) = (key.clone(), entry.writer.clone());
                let large = Answer::Large(Box::new(Large { key, version, writer, size }));
                *permitted = Err(Box::new(large));
            }
        }
    }
}

/// All of a payload that was checked on its way.
async fn collect(payload: Payload, entry: &Entry) -> Result<Value> {
    let mut stream = match payload {
        Payload::Value(value) => return Ok(value),
        other => other.into_stream(),
    };
    let mut next = async || poll_fn(|cx| stream.as_mut().poll_next(cx)).await.transpose();
    let first = next().await?.unwrap_or_default();
    let Some(mut piece) = next().await? else { return Ok(Value::trusted(first, entry.shape)) };
    let mut bytes = Vec::with_capacity(usize::try_from(entry.size).unwrap_or(0).min(1 << 20));
    bytes.extend_from_slice(&first);
    loop {
        bytes.extend_from_slice(&piece);
        match next().await? {
            Some(further) => piece = further,
            None => return Ok(Value::trusted(bytes.into(), entry.shape)),
        }
    }
}

/// Size and checksum of a stored value are those of its entry.
fn check_inline(value: &Value, hash: ContentHash) -> Result<()> {
    let found = ContentHash::of(value.bytes());
    if found == hash {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Corrupt,
        format!("the value in the metadata database was altered: checksum {hash} expected, {found} found"),
    ))
}

fn is_offloaded(asked: &(&XComKey, Permitted)) -> bool {
    matches!(&asked.1, Ok(Some(Entry { stored: Stored::Offloaded(_), .. })))
}

fn found(found: Found) -> Answer {
    if found.value.is_null() { Answer::Null(found) } else { Answer::Found(found) }
}

/// An error about one value's bytes as its answer.
fn damaged(key: &XComKey, entry: &Entry, error: &Error) -> Answer {
    unusable(key, entry.version, entry.writer.clone(), error)
}

fn unusable(key: &XComKey, version: Version, writer: Writer, error: &Error) -> Answer {
    let damaged = Box::new(Damaged { key: key.clone(), version, writer, what: error.to_string() });
    match error.kind() {
        ErrorKind::Lost => Answer::Lost(damaged),
        ErrorKind::Corrupt | ErrorKind::InvalidValue => Answer::Corrupt(damaged),
        _ => Answer::Unavailable(damaged),
    }
}

/// What exists near an XCom, the most alike first.
fn nearest(key: &XComKey, around: Surroundings) -> Near {
    const ALIKE: f64 = 0.7;
    const SHOWN: usize = 5;
    let rank = |names: Vec<std::sync::Arc<str>>, wanted: &str, least: f64| {
        let mut scored: Vec<(f64, std::sync::Arc<str>)> = names
            .into_iter()
            .map(|name| (strsim::jaro_winkler(&name, wanted), name))
            .filter(|(score, _)| *score >= least)
            .collect();
        scored.sort_by(|a, b| b.0.total_cmp(&a.0));
        scored.into_iter().take(SHOWN).map(|(_, name)| name).collect::<Vec<_>>()
    };
    // A mapped task pulled as a whole has its keys at its indexes.
    let mut keys = around.keys;
    if keys.is_empty() && around.map_indexes.is_empty() {
        let same = around.tasks.iter().find(|(task, _)| *task == key.ti.task_id);
        keys = same.map(|(_, keys)| keys.clone()).unwrap_or_default();
    }
    let mut tasks: Vec<_> = around
        .tasks
        .into_iter()
        .filter(|(task, _)| *task != key.ti.task_id)
        .map(|(task, keys)| (strsim::jaro_winkler(&task, &key.ti.task_id), task, keys))
        .filter(|(score, ..)| *score >= ALIKE)
        .collect();
    tasks.sort_by(|a, b| b.0.total_cmp(&a.0));
    Near {
        keys: rank(keys, &key.key, 0.0),
        map_indexes: around.map_indexes,
        tasks: tasks.into_iter().take(2).map(|(_, task, keys)| (task, keys)).collect(),
        runs: rank(around.runs, &key.ti.run_id, 0.0),
        dags: rank(around.dags, &key.ti.dag_id, 0.0),
    }
}

/// What a backend read of an entry: all of it checked, or on its way.
fn verified(
    stored: Payload,
    entry: &Entry,
    object: &Object<'_>,
    reading: Option<Waiting>,
) -> Result<Payload> {
    let bytes = match stored {
        Payload::Value(value) => value.bytes().clone(),
        Payload::Whole(bytes) => bytes,
        Payload::Stream(inner) => {
            return Ok(Payload::Stream(Box::pin(Verified {
                inner,
                state: Some(Measure::default()),
                size: entry.size,
                hash: entry.hash,
                key: object.key.clone(),
                version: object.version,
                side: Side::split(object.store).1,
                _reading: reading,
            })));
        }
    };
    let (size, hash) = (bytes.len() as u64, ContentHash::of(&bytes));
    if (size, hash) == (entry.size, entry.hash) {
        return Ok(Payload::Value(Value::trusted(bytes, entry.shape)));
    }
    Err(altered(&object.name(), (entry.size, entry.hash), (size, hash)))
}

/// Another value than was pushed is in its place.
fn altered(object: &ObjectName, pushed: (u64, ContentHash), found: (u64, ContentHash)) -> Error {
    let ((size, hash), (found_size, found_hash)) = (pushed, found);
    let what = format!(
        "object {object}: {size} bytes with checksum {hash} expected, {found_size} bytes with {found_hash} found"
    );
    Error::new(ErrorKind::Corrupt, what)
}

/// Checks size and checksum of a stream at its end.
struct Verified {
    inner: ByteStream,
    state: Option<Measure>,
    size: u64,
    hash: ContentHash,
    key: XComKey,
    version: Version,
    side: Side,
    /// It is read until the stream ends.
    _reading: Option<Waiting>,
}

impl Verified {
    fn object(&self) -> ObjectName {
        ObjectName::on(self.side, &self.key, self.version)
    }
}

impl Stream for Verified {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let next = std::task::ready!(self.inner.as_mut().poll_next(cx));
        Poll::Ready(match next {
            Some(Ok(piece)) => {
                if let Some(found) = &mut self.state {
                    found.update(&piece);
                    if found.size() > self.size {
                        // One that goes on for ever must not fill the memory.
                        let message =
                            format!("object {}: more bytes than {} found", self.object(), self.size);
                        return Poll::Ready(Some(Err(Error::new(ErrorKind::Corrupt, message))));
                    }
                }
                Some(Ok(piece))
            }
            Some(Err(error)) => Some(Err(error)),
            None => self.state.take().and_then(|found| {
                let (pushed, found) = ((self.size, self.hash), found.finish());
                (found != pushed).then(|| Err(altered(&self.object(), pushed, found)))
            }),
        })
    }
}
