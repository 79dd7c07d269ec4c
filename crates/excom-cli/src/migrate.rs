//! `excom migrate-values`: moves values to where the selected backend puts them, or seals them with the current key,
//! while tasks go on.

use std::time::Duration;

use clap::ArgMatches;
use excom::Engine;
use excom::config::Size;
use excom::core::db::Kept;
use serde::Serialize;

use crate::context::{self, Context};
use crate::output::Output;
use crate::progress::Progress;
use crate::stop::Stop;
use crate::text;

/// What was found and done.
#[derive(Debug, Default, Serialize)]
struct Report {
    dry_run: bool,
    /// Whether values are sealed anew where they are, not moved.
    reseal: bool,
    /// Versions that were looked at, and those among them that are elsewhere, or sealed with another key.
    versions: u64,
    found: u64,
    /// Bytes of the values found, as JSON text.
    bytes: u64,
    /// Values that were moved, or sealed anew.
    moved: u64,
    /// Values that were replaced, cleared or removed meanwhile, or whose last move is not collected yet.
    skipped: u64,
    /// Values that could not be read or written.
    failed: u64,
}

pub(crate) async fn run(context: &Context, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    let (engine, _) = context.reader()?;
    let flag = |name| matches.get_flag(name);
    let mut report = Report { dry_run: flag("dry-run"), reseal: flag("reseal"), ..Report::default() };
    let dag_id = matches.get_one::<String>("dag-id").map(String::as_str);
    let rate = matches.get_one::<Size>("rate").map(|rate| rate.0.max(1));
    let failure = migrate(&engine, dag_id, rate, &mut report, output).await;
    context::close(&engine, output).await;
    let failure = failure?;
    if output.json() {
        output.document(&report)?;
    } else {
        output.line(&told(&report))?;
    }
    failure.map_or(Ok(()), |code| Err(Stop::Told(code)))
}

/// Moves all values, and gives the exit code of the first that could not be moved.
async fn migrate(
    engine: &Engine,
    dag_id: Option<&str>,
    rate: Option<u64>,
    report: &mut Report,
    output: &mut Output,
) -> Result<Option<u8>, Stop> {
    let progress = Progress::new();
    let (mut after, mut failure) = (None, None);
    loop {
        let page = match report.reseal {
            true => engine.sealed_before(dag_id, after).await?,
            false => engine.misplaced(dag_id, after).await?,
        };
        report.versions += page.looked_at;
        for kept in page.found {
            (report.found, report.bytes) = (report.found + 1, report.bytes + kept.size);
            if report.dry_run {
                continue;
            }
            let moved = match report.reseal {
                true => engine.reseal(&kept).await,
                false => engine.migrate(&kept).await,
            };
            match moved {
                Ok(true) => report.moved += 1,
                Ok(false) => report.skipped += 1,
                Err(error) => {
                    report.failed += 1;
                    failure = failure.or(Some(error.exit_code()));
                    let Kept { key, version, .. } = &kept;
                    let line = format!("warning: {key} version {version} stays where it is: {error}");
                    progress.aside(|| output.say(&text::tame(&line)));
                }
            }
            progress.tell(progressed(report));
            if let Some(rate) = rate {
                let pause = Duration::from_secs_f64(kept.size as f64 / rate as f64);
                engine.clock().sleep(pause).await;
            }
        }
        if !report.dry_run {
            engine.purge_loose().await?;
        }
        progress.tell(progressed(report));
        after = page.next;
        if after.is_none() {
            return Ok(failure);
        }
    }
}

fn progressed(report: &Report) -> String {
    format!("{} looked at, {} {}", text::number(report.versions), report.moved, done(report))
}

fn done(report: &Report) -> &'static str {
    if report.reseal { "sealed anew" } else { "moved" }
}

fn told(report: &Report) -> String {
    let looked = format!("looked at {}", text::count(report.versions, "version"));
    let found = format!("{}, {}", text::count(report.found, "value"), text::size(report.bytes));
    let (done, would) = match report.reseal {
        true => (done(report), "would be sealed anew"),
        false => (done(report), "would move"),
    };
    match report {
        Report { found: 0, reseal: true, .. } => {
            format!("{looked}: all that are sealed are so with the current key")
        }
        Report { found: 0, .. } => format!("{looked}: all are where the selected backend puts them"),
        Report { dry_run: true, .. } => format!("{looked}: {found}, {would}; nothing changed"),
        Report { skipped: 0, failed: 0, .. } => format!("{looked}: {found}, {done}"),
        Report { moved, skipped, failed, .. } => format!(
            "{looked}: {found}; {} {done}, {} changed meanwhile, {} failed",
            text::number(*moved),
            text::number(*skipped),
            text::number(*failed)
        ),
    }
}
