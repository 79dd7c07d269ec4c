//! `excom gc`: removes stored objects that nothing knows, and tells which values have lost their object.

use std::fmt::Display;
use std::time::Duration;

use clap::ArgMatches;
use excom::Engine;
use excom::config::Age;
use excom::core::engine::{Bereft, Orphan};
use serde::Serialize;

use crate::context::{self, Context};
use crate::output::Output;
use crate::progress::Progress;
use crate::stop::Stop;
use crate::text;

/// The most findings of a kind that one document holds; their number is told in any case.
const MOST_IN_A_DOCUMENT: usize = 1000;

/// The exit code when values have lost their objects.
const LOST: u8 = 6;

/// What was found and done.
#[derive(Debug, Default, Serialize)]
struct Report {
    dry_run: bool,
    /// Objects and versions that were looked at.
    objects: u64,
    versions: u64,
    orphans: Findings<Orphan>,
    /// Objects that went: orphans, and what earlier removals and unfinished pushes had left.
    removed: u64,
    lost: Findings<Bereft>,
}

#[derive(Debug, Serialize)]
struct Findings<T> {
    count: u64,
    first: Vec<T>,
}

impl<T> Default for Findings<T> {
    fn default() -> Self {
        Self { count: 0, first: Vec::new() }
    }
}

impl<T: Display> Findings<T> {
    /// Prints a finding, or keeps it for the document.
    fn add(&mut self, what: &str, finding: T, progress: &Progress, output: &mut Output) -> Result<(), Stop> {
        self.count += 1;
        if !output.json() {
            return progress
                .aside(|| output.line(&format!("{what:<7} {}", text::tame(&finding.to_string()))));
        }
        if self.first.len() < MOST_IN_A_DOCUMENT {
            self.first.push(finding);
        }
        Ok(())
    }
}

pub(crate) async fn run(context: &Context, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    let age = match matches.get_one::<Age>("older-than") {
        Some(age) => age.0,
        None => context.settings()?.xcom.abandoned_after.0,
    };
    let (engine, _) = context.reader()?;
    let mut report = Report { dry_run: matches.get_flag("dry-run"), ..Report::default() };
    let looked = look(&engine, age, &mut report, output).await;
    context::close(&engine, output).await;
    looked?;
    let lost = report.lost.count;
    if output.json() {
        output.document(&report)?;
    } else {
        output.line(&told(&report))?;
    }
    if lost > 0 { Err(Stop::Told(LOST)) } else { Ok(()) }
}

async fn look(engine: &Engine, age: Duration, report: &mut Report, output: &mut Output) -> Result<(), Stop> {
    let progress = Progress::new();
    if !report.dry_run {
        report.removed += engine.purge_loose().await?;
    }
    for store in engine.stores() {
        let mut after = None;
        loop {
            let page = engine.orphans(store, after.as_ref(), age).await?;
            report.objects += page.looked_at;
            progress.tell(format!("{} in {store} looked at", text::count(report.objects, "object")));
            if !report.dry_run {
                report.removed += engine.remove_orphans(&page.found).await?;
            }
            for orphan in page.found {
                report.orphans.add("orphan", orphan, &progress, output)?;
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    let mut after = None;
    loop {
        let page = engine.bereft(after).await?;
        report.versions += page.looked_at;
        progress.tell(format!("{} looked at", text::count(report.versions, "version")));
        for bereft in page.found {
            report.lost.add("lost", bereft, &progress, output)?;
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

fn told(report: &Report) -> String {
    let looked = format!(
        "looked at {} and {}",
        text::count(report.objects, "object"),
        text::count(report.versions, "version")
    );
    let orphans = text::count(report.orphans.count, "orphan");
    let done = match report {
        Report { dry_run: true, .. } => format!("{orphans} found, nothing removed"),
        _ => format!("{orphans} found, {} removed", text::count(report.removed, "object")),
    };
    match report.lost.count {
        0 => format!("{looked}: {done}"),
        lost => {
            format!("{looked}: {done}; {} lost: push again what is still needed", text::count(lost, "value"))
        }
    }
}
