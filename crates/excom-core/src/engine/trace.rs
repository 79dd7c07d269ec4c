//! Trace: where a value came from, and what came of it, as a small tree.
//!
//! The ledger knows who read which version, and entries and history know who pushed which. An attempt that
//! read before it pushed may have used what it read; more than that nobody can know without its code.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Engine;
use super::access::Sight;
use crate::attempt::{AttemptInfo, Caller};
use crate::db::{Filter, ReadTarget};
use crate::entry::{EndReason, EntryInfo, PastEntry, Version, Writer};
use crate::{Result, SequenceKey, TaskInstanceKey, XComKey};

/// The most nodes of a tree, for each child that a node may have.
const NODES: usize = 50;

/// The most versions of an XCom that are looked through for one.
const VERSIONS: u32 = 100_000;

/// Which way a trace goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To what the pusher had read before it pushed.
    Backwards,
    /// To who read it, and what they pushed afterwards.
    Forwards,
}

/// Which way a trace goes, and how far.
///
/// ```
/// use excom_core::engine::TraceOptions;
///
/// let wide = TraceOptions { children: 1000, ..TraceOptions::backwards() };
/// assert_eq!((wide.depth, TraceOptions::forwards().children), (100, 20));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceOptions {
    /// Which way.
    pub direction: Direction,
    /// How many values deep.
    pub depth: u32,
    /// The most children that a node shows. The whole tree has at most 50 times as many nodes.
    pub children: u32,
}

impl TraceOptions {
    /// To the origins: 100 values deep, 20 children of each.
    pub fn backwards() -> Self {
        Self { direction: Direction::Backwards, depth: 100, children: 20 }
    }

    /// To the consequences, as far.
    pub fn forwards() -> Self {
        Self { direction: Direction::Forwards, ..Self::backwards() }
    }
}

/// A node of a trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Trace {
    /// What it is about.
    #[serde(flatten)]
    pub what: Traced,
    /// Where it came from, or what came of it.
    pub children: Vec<Trace>,
    /// How many more children there are that are not shown.
    pub more: u64,
    /// Whether it is in the tree before with its children, which are not shown again.
    pub repeated: bool,
    /// Whether it has children that are left out because the tree is not to be deeper.
    pub cut: bool,
}

/// What a node of a trace is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "node", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Traced {
    /// A version of an XCom.
    Version(Box<TracedVersion>),
    /// A version that is no longer known, or may not be seen.
    Unknown {
        /// Which XCom.
        #[serde(flatten)]
        key: XComKey,
        /// Which version.
        version: Version,
        /// Why nothing is known of it.
        why: String,
    },
    /// A mapped task's whole sequence, or part of it; the children are elements as they are now.
    Sequence {
        /// Which sequence.
        #[serde(flatten)]
        key: SequenceKey,
        /// How many elements it has now.
        elements: u64,
    },
    /// Somebody who read.
    Reader {
        /// Who, such as `task d/r/t` or `user ana`.
        reader: String,
        /// The task instance, when it was one that is still known.
        #[serde(skip_serializing_if = "Option::is_none")]
        task: Option<TaskInstanceKey>,
        /// The number of its attempt.
        #[serde(skip_serializing_if = "Option::is_none")]
        attempt: Option<u32>,
        /// The try that this attempt was.
        #[serde(skip_serializing_if = "Option::is_none")]
        try_number: Option<u32>,
        /// How many times.
        count: u64,
        /// The first time.
        first: Timestamp,
        /// The last time.
        last: Timestamp,
    },
}

/// A version of an XCom in a trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct TracedVersion {
    /// What is known about it; the writer's number is that of the attempt.
    #[serde(flatten)]
    pub info: EntryInfo,
    /// When it was pushed.
    pub pushed_at: Timestamp,
    /// The try that pushed it, when its own task did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub try_number: Option<u32>,
    /// How it ended, when it is no longer the entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
}

/// How a version ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Ended {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: EndReason,
    /// By whom or what.
    pub by: String,
}

impl Engine {
    /// The tree of a version's origins or consequences, as far as the options say: of the version given, or of the entry, or of the last version when there is no entry. None when there is nothing.
    ///
    /// Pushes of a task into other task instances are not followed forwards.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use excom_core::engine::{TraceOptions, Traced};
    /// use excom_core::{Caller, Engine, TaskInstanceKey, Value, memory};
    ///
    /// # pollster::block_on(async {
    /// let engine = Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new())).build();
    /// let ti = |task| TaskInstanceKey::new("weather", "manual__1", task, -1);
    /// let (measured, peak) = (ti("measure")?.return_value(), ti("hottest")?.return_value());
    /// engine.push(&Caller::user("ana"), &measured, Value::of(&[12.0, 34.0])?.into()).await?;
    /// let hottest = Caller::Attempt(engine.start(&ti("hottest")?, 1).await?);
    /// engine.pull(&hottest, &[measured.clone()], Default::default()).await?;
    /// engine.push(&hottest, &peak, Value::of(&34.0)?.into()).await?;
    ///
    /// let trace = engine.trace(&Caller::user("ana"), &peak, None, TraceOptions::backwards()).await?;
    /// let from = &trace.unwrap().children[0].what;
    /// assert!(matches!(from, Traced::Version(version) if version.info.key == measured));
    /// # Ok::<(), excom_core::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// When the database cannot be read or written (gathered reads are written first);
    /// [`ErrorKind::Forbidden`](crate::ErrorKind::Forbidden) when the caller may not read the XCom.
    pub async fn trace(
        &self,
        caller: &Caller,
        key: &XComKey,
        version: Option<Version>,
        options: TraceOptions,
    ) -> Result<Option<Trace>> {
        let sight = self.sight(caller).await?;
        sight.permit(key)?;
        self.flush_reads().await?;
        let Some(found) = self.find_version(key, version).await? else { return Ok(None) };
        let mut tracer = Tracer {
            engine: self,
            sight,
            options,
            nodes: NODES.saturating_mul(options.children as usize),
            cuts: 0,
            expanded: HashMap::new(),
            looked: LookedUp::default(),
        };
        Ok(Some(tracer.version(key.clone(), found.info.version, options.depth).await?))
    }

    /// A version, current or past; without one, the entry or the last version.
    pub(super) async fn find_version(
        &self,
        key: &XComKey,
        version: Option<Version>,
    ) -> Result<Option<TracedVersion>> {
        self.find_among(&mut LookedUp::default(), key, version).await
    }

    /// The same for one of many.
    pub(super) async fn find_among(
        &self,
        looked: &mut LookedUp,
        key: &XComKey,
        version: Option<Version>,
    ) -> Result<Option<TracedVersion>> {
        let exactly = Filter {
            dag_id: Some(key.ti.dag_id.clone()),
            run_id: Some(key.ti.run_id.clone()),
            task_id: Some(key.ti.task_id.clone()),
            map_index: Some(key.ti.map_index),
            key: Some(key.key.clone()),
        };
        let fits = |info: &EntryInfo| version.is_none_or(|version| version == info.version);
        let current = self.0.db.list(&exactly, None, 1).await?.items.pop();
        let (mut info, ended) = match current.filter(fits) {
            Some(info) => (info, None),
            None => {
                let past = match version {
                    Some(_) => looked.past(self, key).await?.iter().find(|past| fits(&past.info)).cloned(),
                    None => self.0.db.history(key, 1).await?.pop(),
                };
                let Some(PastEntry { info, ended_at, reason, by, .. }) = past else { return Ok(None) };
                (info, Some(Ended { at: ended_at, reason, by }))
            }
        };
        let try_number = match info.writer {
            Writer::Attempt(number) => looked.try_of(self, &key.ti, number).await?,
            _ => None,
        };
        self.preview(&mut info);
        Ok(Some(TracedVersion { pushed_at: info.pushed_at(), info, try_number, ended }))
    }
}

/// What was looked up for versions before, so that the history of a key is asked for once.
#[derive(Default)]
pub(super) struct LookedUp {
    past: HashMap<XComKey, Vec<PastEntry>>,
    attempts: HashMap<TaskInstanceKey, Vec<AttemptInfo>>,
}

impl LookedUp {
    async fn past(&mut self, engine: &Engine, key: &XComKey) -> Result<&[PastEntry]> {
        if !self.past.contains_key(key) {
            self.past.insert(key.clone(), engine.0.db.history(key, VERSIONS).await?);
        }
        Ok(&self.past[key])
    }

    /// The try that an attempt was.
    async fn try_of(&mut self, engine: &Engine, ti: &TaskInstanceKey, number: u32) -> Result<Option<u32>> {
        if !self.attempts.contains_key(ti) {
            self.attempts.insert(ti.clone(), engine.0.db.attempts(ti).await?);
        }
        let mut attempts = self.attempts[ti].iter();
        Ok(attempts.find(|attempt| attempt.number == number).map(|attempt| attempt.try_number))
    }
}

/// A trace in the making.
struct Tracer<'a> {
    engine: &'a Engine,
    sight: Sight<'a>,
    options: TraceOptions,
    /// How many nodes there is room for.
    nodes: usize,
    /// How many nodes had children that were left out for the depth, here or where they are in the tree before.
    cuts: usize,
    expanded: HashMap<(XComKey, Version), Expanded>,
    looked: LookedUp,
}

/// A version that is in the tree with its children.
#[derive(Clone, Copy)]
struct Expanded {
    /// How many levels there were for them.
    depth: u32,
    /// Whether there were any.
    children: bool,
    /// Whether none of what is below was left out for the depth.
    whole: bool,
}

/// A node to come; boxed, since nodes have nodes.
type Traces<'b> = Pin<Box<dyn Future<Output = Result<Trace>> + Send + 'b>>;

impl Tracer<'_> {
    /// How many of so many children are not shown.
    fn beyond(&self, children: usize) -> u64 {
        (children as u64).saturating_sub(u64::from(self.options.children))
    }

    /// The node of a version, with children as far as the depth allows.
    fn version(&mut self, key: XComKey, version: Version, depth: u32) -> Traces<'_> {
        Box::pin(async move {
            self.nodes = self.nodes.saturating_sub(1);
            if let Some(refusal) = self.sight.refusal(&key, false) {
                return Ok(leaf(Traced::Unknown { key, version, why: refusal.to_string() }));
            }
            let Some(found) = self.engine.find_among(&mut self.looked, &key, Some(version)).await? else {
                let why = "past its retention".to_owned();
                return Ok(leaf(Traced::Unknown { key, version, why }));
            };
            let mut node = leaf(Traced::Version(Box::new(found.clone())));
            let place = (key, version);
            // More levels show nothing new of a version that is in the tree whole.
            if let Some(before) = self.expanded.get(&place).filter(|it| it.whole || it.depth >= depth) {
                node.repeated = before.children;
                self.cuts += usize::from(!before.whole);
                return Ok(node);
            }
            // Until its children are known: it may be among what is below it.
            self.expanded.insert(place.clone(), Expanded { depth, children: true, whole: false });
            let cuts = self.cuts;
            match self.options.direction {
                Direction::Backwards => self.origins(&mut node, &found, depth).await?,
                Direction::Forwards => self.consequences(&mut node, &found, depth).await?,
            }
            self.cuts += usize::from(node.cut);
            let (children, whole) = (!node.children.is_empty(), self.cuts == cuts);
            self.expanded.insert(place, Expanded { depth, children, whole });
            Ok(node)
        })
    }

    /// What the pusher had read before.
    async fn origins(&mut self, node: &mut Trace, of: &TracedVersion, depth: u32) -> Result<()> {
        let (pusher, number) = match &of.info.writer {
            Writer::Attempt(number) => (&of.info.key.ti, Some(*number)),
            Writer::Task(ti) => (ti, None),
            Writer::User(_) | Writer::System(_) | Writer::Outside => return Ok(()),
        };
        let mut reads = self.engine.0.db.reads_of(pusher).await?;
        let mut targets = HashSet::new();
        reads.retain(|read| {
            read.first <= of.pushed_at
                && number.is_none_or(|number| read.attempt == Some(number))
                && targets.insert(read.target.clone())
        });
        if depth == 0 {
            node.cut = !reads.is_empty();
            return Ok(());
        }
        node.more = self.beyond(reads.len());
        for read in reads.into_iter().take(self.options.children as usize) {
            if self.nodes == 0 {
                node.more += 1;
                continue;
            }
            node.children.push(match read.target {
                ReadTarget::Entry(key, version) => self.version(key, version, depth - 1).await?,
                ReadTarget::Sequence(key) => self.sequence(key, depth).await?,
            });
        }
        Ok(())
    }

    /// The elements of a sequence are as deep as it would be itself.
    async fn sequence(&mut self, key: SequenceKey, depth: u32) -> Result<Trace> {
        self.nodes = self.nodes.saturating_sub(1);
        if self.sight.refusal_of(&key, false).is_some() {
            return Ok(leaf(Traced::Sequence { key, elements: 0 }));
        }
        let elements = self.engine.0.db.count(&key).await?;
        let shown = self.engine.0.db.page(&key, None, self.options.children).await?;
        let mut node = leaf(Traced::Sequence { key: key.clone(), elements });
        for item in shown {
            if self.nodes == 0 {
                break;
            }
            node.children.push(self.version(key.at(item.map_index), item.entry.version, depth - 1).await?);
        }
        node.more = elements.saturating_sub(node.children.len() as u64);
        Ok(node)
    }

    /// Who read it, and what they pushed afterwards.
    async fn consequences(&mut self, node: &mut Trace, of: &TracedVersion, depth: u32) -> Result<()> {
        let ended = of.ended.as_ref().map(|ended| ended.at);
        let mut readers = self.engine.0.db.readers(&of.info.key).await?;
        let mut known = HashSet::new();
        readers.retain(|read| {
            let of_it = match &read.target {
                ReadTarget::Entry(_, version) => *version == of.info.version,
                // A row of a sequence does not tell versions: this one was part of it at that time.
                ReadTarget::Sequence(_) => {
                    read.last >= of.pushed_at && ended.is_none_or(|ended| read.first <= ended)
                }
            };
            of_it && known.insert((read.reader.clone(), read.attempt))
        });
        if depth == 0 {
            node.cut = !readers.is_empty();
            return Ok(());
        }
        node.more = self.beyond(readers.len());
        for read in readers.into_iter().take(self.options.children as usize) {
            if self.nodes == 0 {
                node.more += 1;
                continue;
            }
            self.nodes -= 1;
            let (mut pushed, try_number) = match (&read.task, read.attempt) {
                (Some(task), Some(number)) => (
                    self.engine.0.db.pushed_by(task, number).await?,
                    self.looked.try_of(self.engine, task, number).await?,
                ),
                _ => (Vec::new(), None),
            };
            pushed.retain(|info| info.pushed_at() >= read.first);
            let mut reader = leaf(Traced::Reader {
                reader: read.reader,
                task: read.task,
                attempt: read.attempt,
                try_number,
                count: read.count,
                first: read.first,
                last: read.last,
            });
            reader.more = self.beyond(pushed.len());
            for info in pushed.into_iter().take(self.options.children as usize) {
                if self.nodes == 0 {
                    reader.more += 1;
                    continue;
                }
                reader.children.push(self.version(info.key, info.version, depth - 1).await?);
            }
            node.children.push(reader);
        }
        Ok(())
    }
}

fn leaf(what: Traced) -> Trace {
    Trace { what, children: Vec::new(), more: 0, repeated: false, cut: false }
}
