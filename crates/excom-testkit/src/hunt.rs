//! The proof that a wrong value is found: in a DAG of a hundred tasks one task pushes a wrong value in its second
//! try, and everything behind it becomes wrong. The hunt goes from the wrong result back to who pushed the first
//! wrong value, in which try, and forwards to everybody who read a wrong one; with `excom trace`, and with the
//! commands that show one thing at a time. Both must find what the seed says; the steps of each are counted.

mod build;
mod command;
mod plan;
mod traced;
mod untraced;

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use excom::{RunOptions, Runner, config::Settings, embedded};
use serde_json::Value as Json;

use crate::Result;
use command::Commands;
use plan::Plan;

/// A try of a task instance: task, map index, try number.
type Try = (String, i32, u64);

/// What a hunt found.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    /// Who pushed the first wrong value.
    culprit: Try,
    /// Who read a wrong value.
    consumers: BTreeSet<Try>,
}

/// What a hunt took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Steps {
    /// Commands that were typed.
    pub commands: u64,
    /// Lines that these printed.
    pub lines: u64,
}

impl std::ops::AddAssign for Steps {
    fn add_assign(&mut self, other: Self) {
        self.commands += other.commands;
        self.lines += other.lines;
    }
}

/// What the hunts took, over all rounds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Report {
    /// How many DAGs.
    pub rounds: u64,
    /// How many task instances they had.
    pub instances: u64,
    /// How many tries had read a wrong value.
    pub consumers: u64,
    /// Back to the culprit with `excom trace`.
    pub back_traced: Steps,
    /// Forwards to all consumers with `excom trace`.
    pub forth_traced: Steps,
    /// Back to the culprit without it.
    pub back_untraced: Steps,
    /// Forwards to all consumers without it.
    pub forth_untraced: Steps,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounds = self.rounds.max(1);
        writeln!(
            f,
            "{} DAGs of {} tasks with {} task instances on average: the culprit, its try and its consumers ({} tries \
             on average) were found both ways; on average that took",
            self.rounds,
            plan::TASKS,
            self.instances / rounds,
            self.consumers / rounds
        )?;
        let told = |steps: Steps| {
            let per_round = |number: u64| number as f64 / rounds as f64;
            format!("{:>6.1} commands {:>8.1} lines", per_round(steps.commands), per_round(steps.lines))
        };
        writeln!(f, "                      with excom trace            without")?;
        writeln!(f, "back to the culprit {} {}", told(self.back_traced), told(self.back_untraced))?;
        write!(f, "to all who read it  {} {}", told(self.forth_traced), told(self.forth_untraced))
    }
}

/// Hunts in so many DAGs, with the `excom` command that is given.
///
/// # Errors
/// What was found otherwise than the seed says.
pub fn prove(excom: &Path, rounds: u64, seed: u64) -> Result<Report> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut report = Report::default();
    for round in 0..rounds {
        let seed = seed.wrapping_add(round);
        let plan = Plan::random(seed);
        let folder = tempfile::tempdir()?;
        let engine = embedded::open(&Settings::at(folder.path()))?;
        let (definition, options) = (build::definition(&plan), RunOptions::new().run_id(build::RUN));
        let run = runtime.block_on(Runner::new(engine).run(&definition, options))?;
        if !run.succeeded() {
            return Err(format!("--rounds 1 --seed {seed}: the run ended as {}", run.state).into());
        }
        let commands = Commands::new(excom, folder.path());
        one(&commands, &plan, &mut report).map_err(|error| format!("--rounds 1 --seed {seed}: {error}"))?;
    }
    Ok(report)
}

fn one(commands: &Commands<'_>, plan: &Plan, report: &mut Report) -> Result<()> {
    let expected = plan.found();
    let (traced, back, forth) = traced::hunt(commands)?;
    same("with excom trace", &traced, &expected)?;
    report.back_traced += back;
    report.forth_traced += forth;
    let (untraced, back, forth) = untraced::hunt(commands)?;
    same("without excom trace", &untraced, &expected)?;
    report.back_untraced += back;
    report.forth_untraced += forth;
    report.rounds += 1;
    report.instances += plan.instances();
    report.consumers += expected.consumers.len() as u64;
    Ok(())
}

fn same(how: &str, found: &Found, expected: &Found) -> Result<()> {
    if found.culprit != expected.culprit {
        return Err(format!("{how}: the culprit is {:?}, not {:?}", expected.culprit, found.culprit).into());
    }
    let missed: Vec<&Try> = expected.consumers.difference(&found.consumers).collect();
    let extra: Vec<&Try> = found.consumers.difference(&expected.consumers).collect();
    if missed.is_empty() && extra.is_empty() {
        return Ok(());
    }
    Err(format!("{how}: of the consumers {missed:?} were not found, and {extra:?} are none").into())
}

/// Whether a value's beginning looks wrong to whoever reads it.
fn looks_wrong(described: &Json) -> bool {
    described["preview"].as_str().is_some_and(|preview| preview.contains(&plan::WRONG.to_string()))
}

/// Task and map index of a document that has both.
fn name(document: &Json) -> (String, i32) {
    let map_index = document["map_index"].as_i64().and_then(|index| i32::try_from(index).ok());
    (document["task_id"].as_str().unwrap_or_default().to_owned(), map_index.unwrap_or(excom::UNMAPPED))
}
