//! `excom migrate-values`: moves values to where the selected backend puts them, or seals them with the current key,
//! while tasks go on; and `excom tier`, the same with what Airflow itself wrote in its own database.

use std::time::Duration;

use clap::ArgMatches;
use excom::config::Size;
use excom::core::XComKey;
use excom::core::db::{Kept, Outside, Place};
use excom::core::engine::Looked;
use excom::core::entry::Version;
use excom::{Engine, Result};
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
    /// Whether what Airflow itself wrote moves too.
    airflow: bool,
    /// Versions that were looked at, and those among them that are elsewhere, or sealed with another key.
    versions: u64,
    found: u64,
    /// Bytes of the values found, as JSON text; of those that Airflow wrote, as they were stored.
    bytes: u64,
    /// Values that were moved, or sealed anew.
    moved: u64,
    /// Their bytes.
    moved_bytes: u64,
    /// Values that were replaced, cleared or removed meanwhile, or whose last move is not collected yet.
    skipped: u64,
    /// Values that could not be read or written.
    failed: u64,
    /// The exit code of the first of those.
    #[serde(skip)]
    failure: Option<u8>,
}

/// What is looked for, page by page.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    Misplaced,
    SealedBefore,
    Outside,
}

/// What is found.
#[derive(Debug)]
enum Found {
    Kept(Kept),
    Outside(Outside),
}

impl Found {
    fn version(&self) -> (&XComKey, Version, u64) {
        match self {
            Self::Kept(Kept { key, version, size, .. }) | Self::Outside(Outside { key, version, size }) => {
                (key, *version, *size)
            }
        }
    }
}

impl Wanted {
    async fn page(
        self,
        engine: &Engine,
        dag_id: Option<&str>,
        after: Option<Place>,
    ) -> Result<Looked<Found, Place>> {
        let page = match self {
            Self::Misplaced => engine.misplaced(dag_id, after).await?,
            Self::SealedBefore => engine.sealed_before(dag_id, after).await?,
            Self::Outside => {
                let Looked { found, looked_at, next } = engine.outside(dag_id, after).await?;
                let found = found.into_iter().map(Found::Outside).collect();
                return Ok(Looked { found, looked_at, next });
            }
        };
        let found = page.found.into_iter().map(Found::Kept).collect();
        Ok(Looked { found, looked_at: page.looked_at, next: page.next })
    }

    async fn moved(self, engine: &Engine, found: &Found) -> Result<bool> {
        match (self, found) {
            (_, Found::Outside(outside)) => engine.migrate_outside(outside).await,
            (Self::SealedBefore, Found::Kept(kept)) => engine.reseal(kept).await,
            (_, Found::Kept(kept)) => engine.migrate(kept).await,
        }
    }
}

pub(crate) async fn run(context: &Context, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    let reseal = matches.get_flag("reseal");
    let wanted = if reseal { Wanted::SealedBefore } else { Wanted::Misplaced };
    work(context, matches, &[wanted], Report { reseal, ..Report::default() }, output).await
}

/// `excom tier`: what Excom wrote, or has taken over before it was interrupted, and then what Airflow wrote.
pub(crate) async fn tier(context: &Context, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    if !matches.get_flag("dry-run") {
        output.say(
            "note: in the place of what moves, tasks without Excom, Airflow's pages and its REST API find a reference, \
             {\"$excom\": \"reference-1\", …}; [xcom] retention applies to it from then on",
        );
    }
    let report = Report { airflow: true, ..Report::default() };
    work(context, matches, &[Wanted::Misplaced, Wanted::Outside], report, output).await
}

async fn work(
    context: &Context,
    matches: &ArgMatches,
    wanted: &[Wanted],
    mut report: Report,
    output: &mut Output,
) -> Result<(), Stop> {
    let (engine, _) = context.reader()?;
    report.dry_run = matches.get_flag("dry-run");
    let dag_id = matches.get_one::<String>("dag-id").map(String::as_str);
    let rate = matches.get_one::<Size>("rate").map(|rate| rate.0.max(1));
    let mut done = if report.airflow { engine.shared().map_err(Stop::from) } else { Ok(()) };
    for wanted in wanted {
        if done.is_ok() {
            done = migrate(&engine, *wanted, dag_id, rate, &mut report, output).await;
        }
    }
    context::close(&engine, output).await;
    done?;
    if output.json() {
        output.document(&report)?;
    } else {
        output.line(&told(&report))?;
    }
    report.failure.map_or(Ok(()), |code| Err(Stop::Told(code)))
}

/// Moves all values that are looked for.
async fn migrate(
    engine: &Engine,
    wanted: Wanted,
    dag_id: Option<&str>,
    rate: Option<u64>,
    report: &mut Report,
    output: &mut Output,
) -> Result<(), Stop> {
    let progress = Progress::new();
    let mut after = None;
    loop {
        let page = wanted.page(engine, dag_id, after).await?;
        report.versions += page.looked_at;
        for found in page.found {
            let (key, version, size) = found.version();
            (report.found, report.bytes) = (report.found + 1, report.bytes + size);
            if report.dry_run {
                continue;
            }
            match wanted.moved(engine, &found).await {
                Ok(true) => {
                    (report.moved, report.moved_bytes) = (report.moved + 1, report.moved_bytes + size);
                }
                Ok(false) => report.skipped += 1,
                Err(error) => {
                    report.failed += 1;
                    report.failure = report.failure.or(Some(error.exit_code()));
                    let line = format!("warning: {key} version {version} stays where it is: {error}");
                    progress.aside(|| output.say(&text::tame(&line)));
                }
            }
            progress.tell(progressed(report));
            if let Some(rate) = rate {
                let pause = Duration::from_secs_f64(size as f64 / rate as f64);
                engine.clock().sleep(pause).await;
            }
        }
        if !report.dry_run {
            engine.purge_loose().await?;
        }
        progress.tell(progressed(report));
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

fn progressed(report: &Report) -> String {
    let (versions, moved) = (text::number(report.versions), text::number(report.moved));
    format!("{versions} looked at, {moved} {}, {}", done(report), text::size(report.moved_bytes))
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
