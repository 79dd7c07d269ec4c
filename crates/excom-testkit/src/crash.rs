//! The proof of crashes: a process pushes with three threads, and is killed at a random moment; then the
//! home is opened and everything compared with what was acknowledged. The same home goes on, so that
//! damage would accumulate.
//!
//! The child writes what it is about to do and what it has done to a pipe, which survives it. Each thread
//! has a task instance of its own, so at most one operation on each is in doubt: it must have happened
//! as a whole or not at all.

mod model;
mod pusher;
mod verify;

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use excom::{Caller, XComKey};

pub use pusher::child;

use crate::child::{Child, PATIENCE};
use crate::place::Place;
use crate::random::Random;
use crate::{Result, home};
use model::{Model, Operation};

/// Threads of the child; each has a task instance of its own.
const THREADS: usize = 3;

/// Keys of each task instance.
const KEYS: usize = 4;

/// What the proof found.
#[derive(Debug, Clone, Copy, Default)]
pub struct Report {
    /// How many times the child was killed.
    pub rounds: u64,
    /// Kills before the child had opened the home.
    pub while_opening: u64,
    /// Pushes that the child was told to have happened.
    pub pushes: u64,
    /// Of these, values that were objects of the store.
    pub large_pushes: u64,
    /// Clears, deletes and new attempts that the child was told to have happened.
    pub removals: u64,
    /// Kills while at least one push was in doubt.
    pub inside_a_push: u64,
    /// Pushes in doubt that turned out to have happened.
    pub happened: u64,
    /// Pushes in doubt that turned out not to have happened.
    pub not_happened: u64,
    /// Other operations in doubt.
    pub other_doubts: u64,
    /// Pushes in doubt that were pushed again with their version afterwards.
    pub repeated: u64,
    /// Files of unfinished writes that kills left; other stores do not show theirs.
    pub unfinished_files: u64,
    /// Whole objects without an entry that kills left.
    pub whole_objects: u64,
    /// Objects that were collected as abandoned.
    pub collected: u64,
    /// Values that were loaded and compared byte by byte.
    pub compared: u64,
    /// Values at the end, earlier versions included.
    pub kept: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} kills, {} while the home was opened", self.rounds, self.while_opening)?;
        writeln!(
            f,
            "{} pushes acknowledged ({} of them large), {} clears, deletes and new attempts; none lost",
            self.pushes, self.large_pushes, self.removals
        )?;
        writeln!(
            f,
            "{} kills inside a push: {} pushes in doubt had happened, {} had not, none by half; {} pushed again",
            self.inside_a_push, self.happened, self.not_happened, self.repeated
        )?;
        writeln!(f, "{} other operations in doubt, none by half", self.other_doubts)?;
        writeln!(
            f,
            "left by kills: {} unfinished files, {} whole objects without an entry; {} objects collected, no byte \
             stayed that nobody knows",
            self.unfinished_files, self.whole_objects, self.collected
        )?;
        write!(f, "{} values compared byte by byte, {} kept at the end", self.compared, self.kept)
    }
}

/// Kills so many children in a new home with its own files.
///
/// # Errors
/// What was broken.
pub fn prove(program: &Path, rounds: u64, seed: u64) -> Result<Report> {
    prove_in(&Place::files(), &|| Ok(()), program, rounds, seed)
}

/// The same with large values in a place that has no others. Behind each kill it waits with `settle` until the
/// place is done with what the child had sent.
///
/// # Errors
/// What was broken.
pub fn prove_in(
    place: &Place,
    settle: &dyn Fn() -> Result<()>,
    program: &Path,
    rounds: u64,
    seed: u64,
) -> Result<Report> {
    let folder = tempfile::tempdir()?;
    let mut model = Model::new(THREADS);
    let mut report = Report::default();
    let mut random = Random::new(seed);
    for round in 0..rounds {
        let home = Home { place, folder: folder.path() };
        let killed = run_and_kill(program, home, round, &mut random);
        killed
            .and_then(|lines| settle().map(|()| lines))
            .and_then(|lines| one_round(home, &lines, &mut random, &mut model, &mut report))
            .map_err(|error| format!("round {round} with seed {seed}: {error}"))?;
    }
    home::check_integrity(&place.settings(folder.path())?)?;
    report.kept = model.held().count() as u64;
    Ok(report)
}

/// A home, and where its large values are.
#[derive(Debug, Clone, Copy)]
struct Home<'a> {
    place: &'a Place,
    folder: &'a Path,
}

fn one_round(
    home: Home<'_>,
    lines: &[String],
    random: &mut Random,
    model: &mut Model,
    report: &mut Report,
) -> Result<()> {
    report.rounds += 1;
    report.while_opening += u64::from(lines.is_empty());
    let doubts = replay(lines, model, report)?;
    report.inside_a_push +=
        u64::from(doubts.iter().flatten().any(|doubt| matches!(doubt, Operation::Push { .. })));

    let engine = excom::embedded::open(&home.place.settings(home.folder)?)?;
    let happened = verify::resolve(&engine, model, &doubts)?;
    for (doubt, happened) in doubts.iter().zip(happened) {
        match doubt {
            None => {}
            Some(Operation::Push { .. }) if happened => report.happened += 1,
            Some(Operation::Push { .. }) => report.not_happened += 1,
            Some(_) => report.other_doubts += 1,
        }
    }
    for name in verify::strangers(home, model)? {
        let unfinished = Path::new(&name).extension().is_some_and(|extension| extension == "part");
        *(if unfinished { &mut report.unfinished_files } else { &mut report.whole_objects }) += 1;
    }
    for (thread, doubt) in doubts.iter().enumerate() {
        if let Some(doubt @ Operation::Push { key, version, counter, size }) = doubt
            && random.once_in(2)
        {
            // What a careful caller does after a crash: push the same again.
            let value = home::value(*counter, *size)?;
            let caller = Caller::user("prover");
            let known = model.knows(thread, doubt);
            let receipt = pollster::block_on(engine.push_version(
                &caller,
                &xcom(thread, *key)?,
                *version,
                value.into(),
            ))?;
            if receipt.already != known {
                return Err(format!("a repeated push says already = {}, not {known}", receipt.already).into());
            }
            model.apply(thread, doubt);
            report.repeated += 1;
        }
    }
    report.collected += pollster::block_on(engine.collect_abandoned(Duration::ZERO))?;
    report.compared += verify::verify(&engine, home, model)?;
    pollster::block_on(engine.close())?;
    Ok(())
}

/// The name of an XCom of the proof, with characters that are escaped in file names.
fn xcom(thread: usize, key: usize) -> excom::Result<XComKey> {
    XComKey::new("crash", "manual__2026-11-21T10:00:00", format!("task_{thread}"), -1, format!("key/{key}"))
}

/// Starts a child, kills it at a moment of a random kind, and returns all that it wrote.
fn run_and_kill(program: &Path, home: Home<'_>, round: u64, random: &mut Random) -> Result<Vec<String>> {
    let mut arguments = vec!["child-crash".to_owned(), home.folder.display().to_string(), round.to_string()];
    arguments.extend(home.place.arguments());
    let child = Child::start(program, &arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
    // A service takes longer to write an object than a folder.
    let inside = if home.place.is_service() { 20_000 } else { 1_500 };
    let begin = Instant::now();
    let mut lines = Vec::new();
    let until = |moment: Instant, lines: &mut Vec<String>| {
        while let Some(line) = child.line_within(moment.saturating_duration_since(Instant::now())) {
            lines.push(line);
        }
    };
    match random.below(4) {
        // While it starts and opens the home.
        0 => until(begin + Duration::from_micros(random.below(5_000)), &mut lines),
        // At any moment.
        1 => {
            lines.extend(child.line()?);
            until(Instant::now() + Duration::from_micros(1_000 + random.below(59_000)), &mut lines);
        }
        // Inside a push, shortly after it began.
        _ => {
            let mut pushes = 1 + random.below(60);
            while pushes > 0 {
                let line = child.line()?.ok_or("the child ended by itself")?;
                pushes -= u64::from(line.contains(" push "));
                lines.push(line);
                if begin.elapsed() > PATIENCE {
                    return Err("the child is too slow".into());
                }
            }
            until(Instant::now() + Duration::from_micros(random.below(inside)), &mut lines);
        }
    }
    let rest = child.kill().map_err(|error| {
        let told = lines.iter().rev().find(|line| line.starts_with("error"));
        format!("{error} {}", told.map_or("", String::as_str))
    })?;
    lines.extend(rest);
    Ok(lines)
}

/// Does to the model what was acknowledged, and returns what is in doubt for each thread.
fn replay(lines: &[String], model: &mut Model, report: &mut Report) -> Result<Vec<Option<Operation>>> {
    let mut doubts: Vec<Option<Operation>> = vec![None; THREADS];
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["ready"] => {}
            ["begin", thread, operation @ ..] => {
                let thread: usize = thread.parse()?;
                doubts[thread] = Some(Operation::parse(operation)?);
            }
            ["end", thread] => {
                let thread: usize = thread.parse()?;
                let done = doubts[thread].take().ok_or("an end without a begin")?;
                match &done {
                    Operation::Push { size, .. } => {
                        report.pushes += 1;
                        report.large_pushes += u64::from(*size as u64 > home::INLINE_LIMIT);
                    }
                    _ => report.removals += 1,
                }
                model.apply(thread, &done);
            }
            _ => return Err(format!("the child says: {line}").into()),
        }
    }
    Ok(doubts)
}

#[cfg(test)]
mod tests;
