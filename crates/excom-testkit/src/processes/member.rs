//! One of the processes: it works until its time is over, checks what it sees, and tells what it did.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::BufRead as _;
use std::path::Path;
use std::time::{Duration, Instant};

use excom::core::db::{Filter, Scope};
use excom::{Answer, Attempt, Caller, Engine, ErrorKind, PullOptions, Value, XComKey};

use super::{LARGE, Member, SHARED, contested, own, shared};
use crate::child::tell;
use crate::{Result, home};

/// Works for so many milliseconds from when it is told to go.
///
/// # Errors
/// Anything that should not be.
pub fn child(folder: &Path, index: usize, millis: u64) -> Result<()> {
    let engine = home::open(folder)?;
    tell("ready")?;
    std::io::stdin().lock().read_line(&mut String::new())?;
    let end = Instant::now() + Duration::from_millis(millis);
    let mut worker = Worker {
        engine: &engine,
        index,
        user: Caller::user(format!("process_{index}")),
        did: Member::default(),
        counter: 0,
        large: BTreeMap::new(),
        shared: BTreeMap::new(),
        seen: BTreeMap::new(),
        starts: BTreeMap::new(),
        attempts: BTreeMap::new(),
    };
    pollster::block_on(async {
        while Instant::now() < end {
            worker.step().await?;
        }
        engine.close().await?;
        worker.tell()
    })
}

struct Worker<'a> {
    engine: &'a Engine,
    index: usize,
    user: Caller,
    did: Member,
    counter: u64,
    /// Counter and size of the last large values.
    large: BTreeMap<u64, (u64, usize)>,
    /// Pushes of a shared XCom, and the last number.
    shared: BTreeMap<usize, (u64, u64)>,
    /// The highest number seen of each process on each shared XCom.
    seen: BTreeMap<(usize, usize), u64>,
    starts: BTreeMap<usize, u64>,
    /// The last own attempt of each contested task instance.
    attempts: BTreeMap<usize, Attempt>,
}

impl Worker<'_> {
    async fn step(&mut self) -> Result<()> {
        self.counter += 1;
        let n = self.counter;
        self.count(n).await?;
        if n.is_multiple_of(3) {
            self.share(n).await?;
        }
        if n.is_multiple_of(5) {
            self.contest(n).await?;
        }
        if n.is_multiple_of(7) {
            self.clear(n).await?;
        }
        if n.is_multiple_of(8) {
            self.push_large(n).await?;
        }
        if n.is_multiple_of(11) {
            self.list().await?;
        }
        if n.is_multiple_of(50) {
            self.delete(n).await?;
        }
        if n.is_multiple_of(100) {
            let flushed = self.engine.flush_reads();
            timed(&mut self.did, flushed).await?;
        }
        Ok(())
    }

    /// The own counter goes up by one each time: no push of this process is lost.
    async fn count(&mut self, n: u64) -> Result<()> {
        let key = own(self.index, "counter")?;
        let before = self.pull(&key).await?;
        let expected = (n > 1).then_some(n - 1);
        let found = before.found().map(|found| found.value.get::<u64>()).transpose()?;
        if found != expected {
            return Err(format!("the own counter is {found:?}, not {expected:?}: {before}").into());
        }
        self.push(&self.user.clone(), &key, Value::of(&n)?).await
    }

    /// What others pushed to a shared XCom never goes backwards.
    async fn share(&mut self, n: u64) -> Result<()> {
        let which = (n / 3) as usize % SHARED;
        let key = shared(which)?;
        self.push(&self.user.clone(), &key, Value::of(&(self.index, n))?).await?;
        let pushed = self.shared.entry(which).or_default();
        *pushed = (pushed.0 + 1, n);
        self.seen.insert((which, self.index), n);
        let (from, number): (usize, u64) = self.pull(&key).await?.value()?.get()?;
        let seen = self.seen.entry((which, from)).or_default();
        if number < *seen {
            return Err(format!("{number} of process {from} was seen after {seen}").into());
        }
        *seen = number;
        Ok(())
    }

    /// Starts an attempt that all processes fight for. Whoever was superseded is refused.
    async fn contest(&mut self, n: u64) -> Result<()> {
        let which = (n / 5) as usize % 3;
        let ti = contested(which)?;
        let started = self.engine.start(&ti, u32::try_from(n)?);
        let attempt = timed(&mut self.did, started).await?;
        *self.starts.entry(which).or_default() += 1;
        let key = ti.xcom(format!("by_{}", self.index))?;
        if let Some(older) = self.attempts.insert(which, attempt.clone()) {
            let refused = self.push(&Caller::Attempt(older), &key, Value::of(&n)?).await;
            if !self.superseded(refused)? {
                return Err("an attempt that this process itself superseded could still push".into());
            }
        }
        let pushed = self.push(&Caller::Attempt(attempt), &key, Value::of(&n)?).await;
        self.superseded(pushed).map(drop)
    }

    /// Whether a push was refused because its attempt is superseded; no other failure is expected.
    fn superseded(&mut self, pushed: Result<()>) -> Result<bool> {
        match pushed {
            Ok(()) => Ok(false),
            Err(error) => match error.downcast_ref::<excom::Error>().map(excom::Error::kind) {
                Some(ErrorKind::Superseded) => {
                    self.did.superseded += 1;
                    Ok(true)
                }
                _ => Err(error),
            },
        }
    }

    async fn clear(&mut self, n: u64) -> Result<()> {
        let key = own(self.index, "cleared")?;
        self.push(&self.user.clone(), &key, Value::of(&n)?).await?;
        let scope = Scope::Key(key.clone());
        let cleared = self.engine.clear(&self.user, &scope);
        let cleared = timed(&mut self.did, cleared).await?;
        match self.pull(&key).await? {
            Answer::Cleared(_) if cleared == 1 => Ok(()),
            other => Err(format!("{cleared} cleared, and the answer is {other}").into()),
        }
    }

    async fn push_large(&mut self, n: u64) -> Result<()> {
        let which = n / 8 % LARGE;
        let size = 5_000 + (n % 40) as usize * 1_000;
        let key = own(self.index, &format!("large_{which}"))?;
        let value = home::value(n, size)?;
        self.push(&self.user.clone(), &key, value.clone()).await?;
        self.large.insert(which, (n, size));
        if self.pull(&key).await?.value()? == value {
            Ok(())
        } else {
            Err("a large value came back altered".into())
        }
    }

    /// All own entries are listed, whatever the others do.
    async fn list(&mut self) -> Result<()> {
        let filter = Filter { dag_id: Some("processes".into()), ..Filter::default() };
        let mut after = None;
        let mut mine = 0;
        loop {
            let listed = self.engine.list(&self.user, &filter, after.as_ref(), 10);
            let page = timed(&mut self.did, listed).await?;
            let task = format!("own_{}", self.index);
            mine += page.items.iter().filter(|info| *info.key.ti.task_id == *task).count();
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let expected = 1 + self.large.len();
        if mine == expected {
            Ok(())
        } else {
            Err(format!("{mine} own entries are listed, not {expected}").into())
        }
    }

    async fn delete(&mut self, n: u64) -> Result<()> {
        let key = own(self.index, "scratch")?;
        self.push(&self.user.clone(), &key, home::value(n, 9_000)?).await?;
        let scope = Scope::Key(key.clone());
        let deleted = self.engine.delete(&self.user, &scope);
        let deleted = timed(&mut self.did, deleted).await?;
        match self.pull(&key).await? {
            Answer::Missing(_) if deleted == 1 => Ok(()),
            other => Err(format!("{deleted} deleted, and the answer is {other}").into()),
        }
    }

    async fn push(&mut self, caller: &Caller, key: &XComKey, value: Value) -> Result<()> {
        let pushed = self.engine.push(caller, key, value.into());
        timed(&mut self.did, pushed).await?;
        self.did.pushes += 1;
        Ok(())
    }

    async fn pull(&mut self, key: &XComKey) -> Result<Answer> {
        let pulled = self.engine.pull(&self.user, std::slice::from_ref(key), PullOptions::default());
        let mut answers = timed(&mut self.did, pulled).await?;
        self.did.pulls += 1;
        answers.pop().ok_or_else(|| "no answer".into())
    }

    fn tell(&self) -> Result<()> {
        let Member { pushes, pulls, calls, longest, superseded } = self.did;
        tell(&format!("did {pushes} {pulls} {calls} {} {superseded}", longest.as_micros()))?;
        tell(&format!("counter {}", self.counter))?;
        for (which, (counter, size)) in &self.large {
            tell(&format!("large {which} {counter} {size}"))?;
        }
        for (which, (pushes, last)) in &self.shared {
            tell(&format!("shared {which} {pushes} {last}"))?;
        }
        for (which, count) in &self.starts {
            tell(&format!("starts {which} {count}"))?;
        }
        Ok(())
    }
}

/// Counts a call and how long it took.
async fn timed<T>(did: &mut Member, call: impl Future<Output = excom::Result<T>>) -> Result<T> {
    let begin = Instant::now();
    let result = call.await;
    did.calls += 1;
    did.longest = did.longest.max(begin.elapsed());
    Ok(result?)
}
