//! The proof of a long load: two servers on one PostgreSQL and one S3 are loaded at 70% of what they can answer, while
//! both of these fail, and servers are killed and drained. Nothing acknowledged is lost, every answer is right by a
//! model, nothing is unavailable without a reason, and what the servers use does not grow.
//!
//! First as many clients as fit find out the greatest rate, without faults. Then the load has a rate of its own, whatever
//! is answered: nine pulls to a push, most of about a kilobyte, some of a hundred, a few of four megabytes; waits,
//! clears, and task instances whose tries supersede each other. A push that is not answered is repeated with its version
//! until it is. What a fault is the reason of may be unavailable while it lasts, and ten seconds longer.

mod calls;
mod end;
mod faults;
mod load;
mod model;
mod samples;
mod site;
mod tally;
mod tries;

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use crate::{Result, child};
use calls::{Calls, DAG, RUN, Request};
use faults::{GRACE, LONGEST, Log, RESTARTED, Schedule};
use load::Load;
use samples::{Sample, growth, most, too_much, watch};
use site::Site;
use tally::{Tally, counted};

/// The part of the greatest rate that the servers are loaded with.
const PART: f64 = 0.7;

/// How long all that is under way may take to come to an end behind the load.
const ENDED: Duration = Duration::from_secs(90);

/// How long the proof is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length {
    /// How long the greatest rate is looked for.
    pub fastest: Duration,
    /// How long the load lasts, with its faults.
    pub load: Duration,
}

impl Length {
    /// The long form, for so many minutes.
    pub fn minutes(minutes: u64) -> Self {
        Self { fastest: Duration::from_secs(10), load: Duration::from_secs(minutes * 60) }
    }
}

/// What the proof found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Requests that were sent.
    pub requests: u64,
    /// Pushes that were acknowledged.
    pub pushes: u64,
    /// Of these, pushes that were in doubt first.
    pub doubted: u64,
    /// Values that were pulled and compared.
    pub values: u64,
    /// Tries that were started.
    pub tries: u64,
    /// Faults that there were.
    pub faults: usize,
    /// The longest that something was unavailable behind the end of its reason.
    pub latest: Duration,
    text: String,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Loads two servers, with the `excom` command that is given.
///
/// # Errors
/// What was wrong, with the seed; or why a service cannot be had.
pub fn prove(excom: &Path, length: Length, seed: u64) -> Result<Report> {
    let mut soak = Soak::start(excom, length, seed)?;
    let fastest = soak.fastest()?;
    let rate = fastest * PART;
    child::tell(&format!("{fastest:.0} a second at most; the load is {rate:.0} a second"))?;
    let before = Sample::settled(&soak.site, Duration::from_secs(30), |_| true);
    let counted_before = counted(&soak.tally.done);
    let samples = soak.steadily(rate)?;
    let ended = Instant::now();
    let reached = (counted(&soak.tally.done) - counted_before) as f64 / length.load.as_secs_f64();
    let compared = soak.runtime.block_on(end::compare(&*soak.calls()?, &soak.load));
    let after = end::idle(&soak.site, &soak.tally, &before);
    let grew = growth(&samples, 1 - RESTARTED);
    if let Some(told) = too_much(grew) {
        soak.tally.wrong(&told);
    }
    let collected = end::collect(&soak.site, &soak.tally, ended)?;
    end::stop(&soak.site, &soak.tally);
    let figures =
        Figures { fastest, rate, reached, before, after, most: most(&samples), grew, compared, collected };
    let report = soak.report(&figures);
    match soak.tally.verdict() {
        None => Ok(report),
        Some(verdict) => {
            let logs = soak.site.keep_logs();
            Err(format!("{report}\nwith --seed {seed}, the servers' logs in {}: {verdict}", logs.display())
                .into())
        }
    }
}

/// What was measured around the load.
struct Figures {
    fastest: f64,
    rate: f64,
    reached: f64,
    before: Sample,
    after: Sample,
    most: samples::Usage,
    grew: (u64, u64),
    compared: usize,
    collected: String,
}

struct Soak {
    // Whoever asks ends before whom it asks.
    runtime: Runtime,
    site: Site,
    length: Length,
    seed: u64,
    person: String,
    load: Arc<Load>,
    log: Arc<Log>,
    tally: Arc<Tally>,
}

impl Soak {
    fn start(excom: &Path, length: Length, seed: u64) -> Result<Self> {
        let site = Site::start(excom, seed)?;
        let (went_well, person) = site.excom(&["token", "soak", "--role", "admin", "--for", "1d"])?;
        if !went_well {
            return Err(format!("excom token: {person}").into());
        }
        Ok(Self {
            runtime: Builder::new_multi_thread().worker_threads(2).enable_all().build()?,
            site,
            length,
            seed,
            person,
            load: Arc::default(),
            log: Arc::default(),
            tally: Arc::default(),
        })
    }

    /// Connections of its own for each part of the proof.
    fn calls(&self) -> Result<Arc<Calls>> {
        let ports = [self.site.port(0), self.site.port(1)];
        Calls::new(ports, self.person.clone(), self.log.clone(), self.tally.clone()).map(Arc::new)
    }

    /// Pushes every XCom once, and finds out how much is done in a second at most.
    fn fastest(&self) -> Result<f64> {
        let calls = self.calls()?;
        self.runtime.block_on(async {
            let run = json!({"dag_id": DAG, "run_id": RUN}).to_string();
            let started = Request::new("run", Method::POST, "/api/excom/v1/runs").with(run);
            match calls.insist(0, &started).await {
                Some((answer, _)) if answer.status == 201 => {}
                answer => return Err(format!("the run does not start: {answer:?}").into()),
            }
            self.load.seed(&calls).await;
            self.load.fastest(&calls, self.seed, self.length.fastest).await
        })
    }

    /// Loads the servers while faults come and go. Returns what the servers used meanwhile.
    fn steadily(&self, rate: f64) -> Result<Vec<Sample>> {
        let (calls, over) = (self.calls()?, AtomicBool::new(false));
        let samples = Mutex::new(Vec::new());
        let begin = Instant::now();
        std::thread::scope(|threads| {
            threads.spawn(|| self.suffer(begin + self.length.load));
            threads.spawn(|| {
                let minute = Mutex::new((begin, counted(&self.tally.done)));
                watch(&self.site, &over, |sample| {
                    samples.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
                    let mut minute = minute.lock().unwrap_or_else(PoisonError::into_inner);
                    if minute.0.elapsed() >= Duration::from_secs(60) {
                        // Nobody may read any more.
                        drop(child::tell(&self.minute(begin, *minute, &sample)));
                        *minute = (Instant::now(), counted(&self.tally.done));
                    }
                });
            });
            self.runtime.block_on(self.load.steadily(&calls, self.seed, rate, self.length.load));
            over.store(true, Ordering::Relaxed);
        });
        let end = Instant::now();
        while self.load.under_way() > 0 && end.elapsed() < ENDED {
            std::thread::sleep(Duration::from_millis(50));
        }
        if self.load.under_way() > 0 {
            let told = format!("{} requests do not come to an end", self.load.under_way());
            self.tally.wrong(&told);
        }
        Ok(samples.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets faults come and go, one at a time, until so shortly before the end that all is well again by then.
    fn suffer(&self, end: Instant) {
        let mut schedule = Schedule::new(self.seed);
        let mut before = Duration::from_secs(5);
        loop {
            if Instant::now() + before + LONGEST + GRACE > end {
                return;
            }
            std::thread::sleep(before);
            let (kind, lasts, pause) = schedule.next();
            if let Err(error) = self.log.during(kind, || self.site.suffer(kind, lasts)) {
                self.tally.wrong(&format!("{kind}: {error}"));
                return;
            }
            before = pause;
        }
    }

    /// What is told each minute.
    fn minute(&self, begin: Instant, since: (Instant, u64), sample: &Sample) -> String {
        let rate = (counted(&self.tally.done) - since.1) as f64 / since.0.elapsed().as_secs_f64();
        let [first, second] = sample.servers.map(|server| server.memory >> 20);
        format!(
            "minute {}: {rate:.0} a second, {} under way; {} faults, {} violations; {first} and {second} MiB, {} \
             connections, {} loose objects; {}",
            begin.elapsed().as_secs() / 60,
            self.load.under_way(),
            self.log.len(),
            self.tally.violations(),
            sample.connections,
            sample.loose,
            self.tally.answers(),
        )
    }

    fn report(&self, figures: &Figures) -> Report {
        let tally = &self.tally;
        let mut report = Report {
            requests: counted(&tally.requests),
            pushes: counted(&tally.pushes),
            doubted: counted(&tally.doubted),
            values: counted(&tally.values),
            tries: counted(&tally.tries),
            faults: self.log.len(),
            latest: tally.latest(),
            text: String::new(),
        };
        let kinds: Vec<String> =
            self.log.counts().into_iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let mut lines = vec![
            format!(
                "{:.0} a second at most, {:.0} of them as the load: {:.0} a second were done, {} were held back",
                figures.fastest,
                figures.rate,
                figures.reached,
                counted(&tally.held_back)
            ),
            format!(
                "{} requests; {} pushes acknowledged ({} of them in doubt first, {} repetitions); {} values were right; \
                 {} tries started, and writes of the ones before refused",
                report.requests,
                report.pushes,
                report.doubted,
                counted(&tally.repeats),
                report.values,
                report.tries
            ),
            format!("answers: {}", tally.answers()),
            format!("{} faults: {}", report.faults, kinds.join(", ")),
            format!(
                "unavailable for at most {:.1} s behind the end of the reason, of {} s",
                report.latest.as_secs_f64(),
                GRACE.as_secs()
            ),
        ];
        lines.extend(tally.percentiles().into_iter().map(|(what, count, half, most)| {
            format!("{what}: {half:.1} ms, {most:.1} ms at the 99th percentile, of {count} while nothing was wrong")
        }));
        let (before, after, most) = (figures.before, figures.after, figures.most);
        lines.push(format!(
            "memory: {} MiB in the second quarter, {} MiB at the end, {} MiB at most; descriptors: at most {}; threads: \
             at most {}",
            figures.grew.0 >> 20,
            figures.grew.1 >> 20,
            most.memory >> 20,
            most.descriptors,
            most.threads
        ));
        lines.push(format!(
            "idle before and behind the load: {:?} and {:?} descriptors, {} and {} connections to the database",
            before.servers.map(|server| server.descriptors),
            after.servers.map(|server| server.descriptors),
            before.connections,
            after.connections
        ));
        lines.push(format!("{} versions compared at the end; {}", figures.compared, figures.collected));
        report.text = lines.join("\n");
        report
    }
}
