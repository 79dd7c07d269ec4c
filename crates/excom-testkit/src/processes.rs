//! The proof of several processes: four of them push, pull, clear, list and delete in one home at once.
//!
//! Each checks while it works that it reads its own last push, that others' values on shared keys never go
//! backwards, and that its superseded attempts are refused; no call may fail for any other reason. At the
//! end the counts of all must add up in the database.

mod member;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use excom::{Caller, Engine, PullOptions, TaskInstanceKey, XComKey};

pub use member::child;

use crate::child::{Child, PATIENCE};
use crate::{Result, home};

const MEMBERS: usize = 4;

/// XComs that all members push.
const SHARED: usize = 3;

/// Large values of each member.
const LARGE: u64 = 5;

/// What one member did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Member {
    /// Pushes that were acknowledged.
    pub pushes: u64,
    /// Pulls that were answered.
    pub pulls: u64,
    /// All calls, also clears, lists, deletes and starts.
    pub calls: u64,
    /// The longest that a call took.
    pub longest: Duration,
    /// Writes that were refused because the attempt was superseded.
    pub superseded: u64,
}

/// What the proof found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// What each did.
    pub members: Vec<Member>,
    /// For how long they worked.
    pub time: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.time.as_secs_f64();
        for (index, member) in self.members.iter().enumerate() {
            writeln!(
                f,
                "process {index}: {:.0} calls/s ({:.0} pushes/s, {:.0} pulls/s), longest wait {:.1} ms, \
                 {} writes of superseded attempts refused",
                member.calls as f64 / seconds,
                member.pushes as f64 / seconds,
                member.pulls as f64 / seconds,
                member.longest.as_secs_f64() * 1e3,
                member.superseded,
            )?;
        }
        let pushes: u64 = self.members.iter().map(|member| member.pushes).sum();
        write!(f, "{pushes} pushes in {seconds:.1} s; every one is accounted for, no call failed")
    }
}

/// What the members say at their end, added up.
#[derive(Debug, Default)]
struct Told {
    /// The last number of each member's counter.
    counters: Vec<u64>,
    /// Key, counter and size of the large values that must be there.
    large: Vec<(usize, u64, u64, usize)>,
    /// For each shared XCom: how many pushes of all, and the last number of each member.
    shared: BTreeMap<usize, (u64, Vec<(usize, u64)>)>,
    /// Attempts started of each contested task instance.
    starts: BTreeMap<usize, usize>,
}

/// Lets four processes work in a new home for so many milliseconds.
///
/// # Errors
/// What was broken.
pub fn prove(program: &Path, millis: u64) -> Result<Report> {
    let folder = tempfile::tempdir()?;
    let text = folder.path().display().to_string();
    let mut children = Vec::new();
    for index in 0..MEMBERS {
        let arguments = ["child-processes", &text, &index.to_string(), &millis.to_string()];
        children.push(Child::start(program, &arguments)?);
    }
    for child in &mut children {
        match child.line()?.as_deref() {
            Some("ready") => {}
            other => return Err(format!("a process did not open the home: {other:?}").into()),
        }
    }
    for child in &mut children {
        child.say("go")?;
    }
    let mut report = Report { members: Vec::new(), time: Duration::from_millis(millis) };
    let mut told = Told::default();
    for (index, child) in children.into_iter().enumerate() {
        // It is silent while it works.
        let first = child.line_within(report.time + PATIENCE);
        let (status, rest) = child.wait()?;
        let lines: Vec<String> = first.into_iter().chain(rest).collect();
        if !status.success() {
            return Err(format!("process {index} ended with {status}: {lines:?}").into());
        }
        let mut member = Member::default();
        for line in &lines {
            told.read(index, line, &mut member)?;
        }
        if member.calls == 0 {
            return Err(format!("process {index} did nothing").into());
        }
        report.members.push(member);
    }
    let engine = home::open(folder.path())?;
    pollster::block_on(add_up(&engine, &told))?;
    pollster::block_on(engine.close())?;
    drop(engine);
    home::check_integrity(&home::settings(folder.path())?)?;
    Ok(report)
}

impl Told {
    fn read(&mut self, index: usize, line: &str, member: &mut Member) -> Result<()> {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["did", pushes, pulls, calls, longest, superseded] => {
                *member = Member {
                    pushes: pushes.parse()?,
                    pulls: pulls.parse()?,
                    calls: calls.parse()?,
                    longest: Duration::from_micros(longest.parse()?),
                    superseded: superseded.parse()?,
                };
            }
            ["counter", last] => self.counters.push(last.parse()?),
            ["large", key, counter, size] => {
                self.large.push((index, key.parse()?, counter.parse()?, size.parse()?));
            }
            ["shared", key, pushes, last] => {
                let shared = self.shared.entry(key.parse()?).or_default();
                shared.0 += pushes.parse::<u64>()?;
                shared.1.push((index, last.parse()?));
            }
            ["starts", task, count] => {
                *self.starts.entry(task.parse()?).or_default() += count.parse::<usize>()?;
            }
            _ => return Err(format!("process {index} says: {line}").into()),
        }
        Ok(())
    }
}

/// Compares what the members say with what is in the database.
async fn add_up(engine: &Engine, told: &Told) -> Result<()> {
    let user = Caller::user("prover");
    if told.counters.len() != MEMBERS {
        return Err("a process did not say its counter".into());
    }
    for (index, last) in told.counters.iter().enumerate() {
        let key = own(index, "counter")?;
        let answer = engine.pull(&user, std::slice::from_ref(&key), PullOptions::default()).await?.remove(0);
        let found: u64 = answer.value()?.get()?;
        let earlier = engine.history(&user, &key, u32::MAX).await?.len() as u64;
        if found != *last || earlier + 1 != *last {
            return Err(
                format!("process {index} pushed {last} numbers; {found} is there after {earlier}").into()
            );
        }
    }
    for (index, key, counter, size) in &told.large {
        let name = own(*index, &format!("large_{key}"))?;
        let answer = engine.pull(&user, &[name], PullOptions::default()).await?.remove(0);
        if answer.value()? != home::value(*counter, *size)? {
            return Err(format!("large value {key} of process {index} is not the last one pushed").into());
        }
    }
    for (key, (pushes, lasts)) in &told.shared {
        let name = shared(*key)?;
        let answer = engine.pull(&user, std::slice::from_ref(&name), PullOptions::default()).await?.remove(0);
        let found: (usize, u64) = answer.value()?.get()?;
        if !lasts.contains(&found) {
            return Err(format!("{found:?} is the shared value {key}, the last pushes were {lasts:?}").into());
        }
        let earlier = engine.history(&user, &name, u32::MAX).await?.len() as u64;
        if earlier + 1 != *pushes {
            return Err(
                format!("shared value {key} was pushed {pushes} times and has {earlier} before it").into()
            );
        }
    }
    for (task, starts) in &told.starts {
        let attempts = engine.attempts(&contested(*task)?).await?.len();
        if attempts != *starts {
            return Err(format!("{starts} attempts of task {task} were started, {attempts} are known").into());
        }
    }
    let health = engine.health().await?;
    if health.problems.is_empty() { Ok(()) } else { Err(format!("{:?}", health.problems).into()) }
}

fn own(index: usize, key: &str) -> excom::Result<XComKey> {
    XComKey::new("processes", "run", format!("own_{index}"), -1, key)
}

fn shared(key: usize) -> excom::Result<XComKey> {
    XComKey::new("processes", "run", "shared", -1, format!("key_{key}"))
}

fn contested(task: usize) -> excom::Result<TaskInstanceKey> {
    TaskInstanceKey::new("processes", "run", format!("contested_{task}"), -1)
}
