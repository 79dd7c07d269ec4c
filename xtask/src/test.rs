//! What must pass on every change, step by step, with one closing line of counts.
//!
//! It needs nothing but a Rust toolchain. What cannot run here is skipped, named and counted: a part of
//! the toolchain that is missing, and what tests write to the file that `EXCOM_SKIPPED` names.

use std::fs;
use std::time::Instant;

use crate::cargo::{cargo, has, lines, succeeds, target};
use crate::summary::{Counts, ignored};
use crate::{layers, say};

/// What a step came to, if it could run.
enum Outcome {
    Passed,
    Failed,
    Skipped(&'static str),
}

type Step = fn(&mut Report) -> Result<Outcome, String>;

const STEPS: [(&str, Step); 5] =
    [("fmt", fmt), ("clippy", clippy), ("layers", layers), ("tests", tests), ("docs", docs)];

#[derive(Default)]
struct Report {
    counts: Counts,
    skipped: Vec<String>,
    failed: Vec<&'static str>,
}

/// Runs all steps, or the one named; whether everything passed.
pub(crate) fn run(only: Option<&str>) -> Result<bool, String> {
    if let Some(name) = only
        && !STEPS.iter().any(|(step, _)| *step == name)
    {
        let names = STEPS.map(|(step, _)| step).join(", ");
        return Err(format!("there is no step `{name}`; the steps are {names}"));
    }
    let mut report = Report::default();
    for (name, step) in STEPS.iter().filter(|(name, _)| only.is_none_or(|only| only == *name)) {
        say(&format!("---- {name}"));
        let begin = Instant::now();
        let failures = report.counts.failed;
        let outcome = step(&mut report).unwrap_or_else(|error| {
            say(&error);
            Outcome::Failed
        });
        match outcome {
            Outcome::Passed => say(&format!("---- {name} passed in {:.1} s", begin.elapsed().as_secs_f64())),
            Outcome::Skipped(why) => {
                report.counts.skipped += 1;
                report.skipped.push(format!("step {name}: {why}"));
            }
            Outcome::Failed => {
                report.failed.push(name);
                // A step that fails without a failed test, such as one that does not compile, must show
                // in the count too.
                report.counts.failed += u64::from(report.counts.failed == failures);
            }
        }
    }
    for skipped in &report.skipped {
        say(&format!("skipped: {skipped}"));
    }
    for failed in &report.failed {
        say(&format!("failed: step {failed}; run it alone with `cargo xtask test {failed}`"));
    }
    say(&report.counts.to_string());
    Ok(report.failed.is_empty())
}

fn fmt(_: &mut Report) -> Result<Outcome, String> {
    if !has("fmt") {
        return Ok(Outcome::Skipped("rustfmt is not installed"));
    }
    passed(succeeds(&mut cargo(&["fmt", "--all", "--check"])))
}

fn clippy(_: &mut Report) -> Result<Outcome, String> {
    if !has("clippy") {
        return Ok(Outcome::Skipped("clippy is not installed"));
    }
    let arguments = ["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
    passed(succeeds(&mut cargo(&arguments)))
}

fn layers(_: &mut Report) -> Result<Outcome, String> {
    passed(layers::run())
}

fn tests(report: &mut Report) -> Result<Outcome, String> {
    let skipped = target().join("skipped.txt");
    fs::create_dir_all(target()).and_then(|()| fs::write(&skipped, "")).map_err(|error| {
        format!("cannot empty {}, where tests note what they skip: {error}", skipped.display())
    })?;
    let mut command = cargo(&["test", "--workspace", "--all-features", "--no-fail-fast"]);
    command.env("EXCOM_SKIPPED", &skipped);
    let result = lines(&mut command, |line| {
        say(line);
        report.counts.read(line);
        report.skipped.extend(ignored(line).map(|name| format!("{name}: marked as ignored")));
    });
    let noted = fs::read_to_string(&skipped)
        .map_err(|error| format!("cannot read {} back: {error}", skipped.display()))?;
    for line in noted.lines() {
        // A test that skips still ends, so libtest has counted it as passed.
        report.counts.passed = report.counts.passed.saturating_sub(1);
        report.counts.skipped += 1;
        report.skipped.push(line.to_owned());
    }
    passed(result)
}

fn docs(_: &mut Report) -> Result<Outcome, String> {
    let mut command = cargo(&["doc", "--workspace", "--no-deps", "--all-features"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    passed(succeeds(&mut command))
}

fn passed(result: Result<bool, String>) -> Result<Outcome, String> {
    result.map(|passed| if passed { Outcome::Passed } else { Outcome::Failed })
}
