//! The proof of the first start: whoever makes a new home may be killed at any moment of it, and the next
//! one opens it as if nothing had been.

use std::fmt;
use std::path::Path;
use std::time::Instant;

use excom::{Caller, PullOptions, XComKey};

use crate::Result;
use crate::child::{Child, PATIENCE, tell};
use crate::home;
use crate::random::Random;

/// What the proof found.
#[derive(Debug, Clone, Copy, Default)]
pub struct Report {
    /// How many first starts were killed.
    pub rounds: u64,
    /// Of these, how many had not made the database file.
    pub before_database: u64,
    /// How many had made it and not finished opening.
    pub while_opening: u64,
    /// How many were killed later.
    pub after_opening: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} first starts killed: {} before the database file was there, {} while it was made, {} after; \
             each home opened, was sound, and kept what was pushed into it",
            self.rounds, self.before_database, self.while_opening, self.after_opening
        )
    }
}

/// Kills so many first starts.
///
/// # Errors
/// What was broken.
pub fn prove(program: &Path, rounds: u64, seed: u64) -> Result<Report> {
    let mut random = Random::new(seed);
    let whole = {
        let folder = tempfile::tempdir()?;
        let begin = Instant::now();
        let child = start(program, folder.path())?;
        let (status, lines) = child.wait()?;
        if !status.success() {
            return Err(format!("an undisturbed first start ended with {status}: {lines:?}").into());
        }
        begin.elapsed()
    };
    let mut report = Report::default();
    for _ in 0..rounds {
        let folder = tempfile::tempdir()?;
        // More often early, where the home is made, than late.
        let thousandth = random.below(1000) * random.below(1000) / 1000;
        let moment = whole.mul_f64(thousandth as f64 / 1000.0);
        let begin = Instant::now();
        let child = start(program, folder.path())?;
        let mut opened = false;
        while let Some(line) = child.line_within(moment.saturating_sub(begin.elapsed())) {
            opened |= line == "opened";
        }
        // It may just have ended by itself, when this round is faster than the one measured.
        let Ok(rest) = child.kill() else { continue };
        opened |= rest.iter().any(|line| line == "opened");
        report.rounds += 1;
        let settings = home::settings(folder.path())?;
        let made = excom::embedded::Home::of(&settings).database().exists();
        match (made, opened) {
            (_, true) => report.after_opening += 1,
            (true, false) => report.while_opening += 1,
            (false, false) => report.before_database += 1,
        }
        use_home(folder.path(), 2)
            .map_err(|error| format!("after a kill {moment:?} after its start: {error}"))?;
        home::check_integrity(&settings)?;
    }
    Ok(report)
}

fn start(program: &Path, folder: &Path) -> Result<Child> {
    Child::start(program, &["child-first-start", &folder.display().to_string()])
}

/// The child: opens a home, and pushes and pulls a small and a large value.
///
/// # Errors
/// What failed.
pub fn child(folder: &Path) -> Result<()> {
    let engine = home::open(folder)?;
    tell("opened")?;
    drop(engine);
    use_home(folder, 1)
}

/// Starts several children in one new home at the same moment; all must succeed.
///
/// # Errors
/// What failed.
pub fn race(program: &Path, folder: &Path, racers: usize) -> Result<()> {
    let racers: Vec<Child> = (0..racers).map(|_| start(program, folder)).collect::<Result<_>>()?;
    let begin = Instant::now();
    for racer in racers {
        let (status, lines) = racer.wait()?;
        if !status.success() {
            return Err(format!("a racer ended with {status}: {lines:?}").into());
        }
    }
    if begin.elapsed() > PATIENCE { Err("the race took too long".into()) } else { Ok(()) }
}

fn use_home(folder: &Path, counter: u64) -> Result<()> {
    let engine = home::open(folder)?;
    let user = Caller::user("prover");
    pollster::block_on(async {
        for (name, size) in [("small", 50), ("large", 50_000)] {
            let key = XComKey::new("first", "run", "start", -1, format!("{name}_{}", std::process::id()))?;
            let value = home::value(counter, size)?;
            engine.push(&user, &key, value.clone().into()).await?;
            let answer = engine.pull(&user, &[key], PullOptions::default()).await?.pop();
            if answer.and_then(|answer| answer.value().ok()) != Some(value) {
                return Err(format!("the {name} value was not there after its push").into());
            }
        }
        let health = engine.health().await?;
        if !health.problems.is_empty() {
            return Err(format!("the database has problems: {:?}", health.problems).into());
        }
        engine.close().await?;
        Ok(())
    })
}
