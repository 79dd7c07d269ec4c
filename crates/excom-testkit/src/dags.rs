//! The proof of the runner: random DAGs, whose outcome a simple model foretells, come to that outcome whatever
//! the order in which their tasks end, and also when the program that runs them is killed or told to stop at a
//! random moment and the run is resumed. What was done before is not done again, unless it is told to.

mod build;
mod isolated;
mod model;
mod observe;
mod plan;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use excom::core::RunState;
use excom::{Cancellation, Engine, RunOptions, Runner, TaskState};
use excom_flow::Rerun;
use tokio::runtime::Runtime;

use crate::child::{Child, tell};
use crate::random::Random;
use crate::{Result, home};
use build::World;
use model::{Name, Outcome};
use plan::Plan;

/// The run that is disturbed.
const RUN: &str = "r";

/// How long a body takes at most, in microseconds.
const LONGEST: u64 = 4_000;

/// What the proof found.
#[derive(Debug, Clone, Copy, Default)]
pub struct Report {
    /// How many DAGs were run.
    pub dags: u64,
    /// How many tasks they had.
    pub tasks: u64,
    /// How many task instances came of them.
    pub instances: u64,
    /// How many XComs were compared byte by byte.
    pub xcoms: u64,
    /// Runs whose process was killed while it ran them.
    pub kills: u64,
    /// Of these, runs whose resumption was killed too.
    pub killed_again: u64,
    /// Runs that were cancelled while they ran.
    pub cancellations: u64,
    /// Disturbances that came after the run had ended.
    pub too_late: u64,
    /// Task instances that were done before a disturbance, and did not run again.
    pub kept: u64,
    /// Task instances that ran again because they were told to.
    pub again: u64,
    /// Whether each try was a process of its own.
    pub isolated: bool,
    /// Processes of tasks that ran when their program was killed, and ended by themselves.
    pub orphans: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} random DAGs with {} tasks: {} states of task instances and {} XComs as the model foretells",
            self.dags, self.tasks, self.instances, self.xcoms
        )?;
        writeln!(f, "{} task instances ran again when they were told to, and no others", self.again)?;
        write!(
            f,
            "{} runs killed ({} of them while they were resumed too), {} cancelled, {} disturbed too late: the same \
             came of them, and none of {} task instances that were done ran again",
            self.kills, self.killed_again, self.cancellations, self.too_late, self.kept
        )?;
        if self.isolated {
            let orphans = self.orphans;
            write!(f, "\neach try in a process of its own: {orphans} outlived their program, and ended")?;
        }
        Ok(())
    }
}

/// Runs so many DAGs, each undisturbed; killed or cancelled, and resumed; and from one of its tasks again. Each
/// try may be a process of its own.
///
/// # Errors
/// What came out otherwise than foretold, with the DAG as text.
pub fn prove(program: &Path, rounds: u64, seed: u64, isolate: bool) -> Result<Report> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut report = Report { isolated: isolate, ..Report::default() };
    for round in 0..rounds {
        let seed = seed.wrapping_add(round);
        let plan = Arc::new(Plan::random(seed));
        let expected = model::outcome(&plan);
        Round { program, seed, isolate, steady: false, plan: &plan, expected, runtime: &runtime }
            .prove(&mut report)
            .map_err(|error| {
                let isolate = if isolate { " --isolate" } else { "" };
                format!("--rounds 1 --seed {seed}{isolate}: {error}\nthe DAG:\n{plan}")
            })?;
    }
    Ok(report)
}

/// One DAG.
struct Round<'a> {
    program: &'a Path,
    seed: u64,
    isolate: bool,
    steady: bool,
    plan: &'a Arc<Plan>,
    expected: Outcome,
    runtime: &'a Runtime,
}

impl Round<'_> {
    fn prove(&self, report: &mut Report) -> Result<()> {
        let mut random = Random::new(!self.seed);
        let whole = self.undisturbed(random.number())?;
        match random.below(4) {
            0 => self.cancelled(&mut random, whole, report)?,
            _ => self.killed(&mut random, whole, report)?,
        }
        self.again(&mut random, report)?;
        report.dags += 1;
        report.tasks += self.plan.tasks.len() as u64;
        report.instances += self.expected.states.len() as u64;
        report.xcoms += self.expected.xcoms.len() as u64;
        Ok(())
    }

    /// A new home for a run.
    fn folder(&self, delays: u64) -> Result<(tempfile::TempDir, World)> {
        let folder = tempfile::tempdir()?;
        if self.isolate {
            isolated::prepare(folder.path(), self.program, self.seed, self.steady, delays)?;
        }
        let world = World::new(side(folder.path()), delays, LONGEST);
        Ok((folder, world))
    }

    /// How long the run takes when nothing happens to it.
    fn undisturbed(&self, delays: u64) -> Result<Duration> {
        let (folder, world) = self.folder(delays)?;
        let engine = home::open(folder.path())?;
        let begin = Instant::now();
        self.go_on(&engine, &world, parallelism(delays), &Cancellation::new())?;
        let whole = begin.elapsed();
        self.compare(&home::open(folder.path())?, "undisturbed")?;
        self.check_side(&world, &BTreeSet::new(), 0)?;
        Ok(whole)
    }

    /// Runs the DAG, and a task of it and what is behind it again: the same comes of it, and nothing else runs.
    fn again(&self, random: &mut Random, report: &mut Report) -> Result<()> {
        let plan = Arc::new(self.plan.as_ref().clone().steady());
        let steady = Round { steady: true, plan: &plan, expected: model::outcome(&plan), ..*self };
        let (folder, world) = steady.folder(random.number())?;
        steady.go_on(
            &home::open(folder.path())?,
            &world,
            parallelism(random.number()),
            &Cancellation::new(),
        )?;
        let ran = bodies(&world)?.len();
        let task = usize::try_from(random.below(plan.tasks.len() as u64))?;
        let definition = build::definition(&plan, &world);
        let runner = runner(&home::open(folder.path())?, &world, parallelism(random.number()));
        let what = Rerun::From(vec![plan.id(task)]);
        self.runtime.block_on(runner.rerun(&definition, RUN, what, Cancellation::new()))?;
        let how = format!("from {} again", plan.id(task));
        steady.compare(&home::open(folder.path())?, &how)?;
        let allowed: BTreeSet<String> = plan.again(task).into_iter().map(|task| plan.id(task)).collect();
        for (task_id, map_index) in bodies(&world)?.into_iter().skip(ran) {
            if !allowed.contains(&task_id) {
                return Err(format!("{how}: {task_id} [{map_index}] ran too").into());
            }
            report.again += 1;
        }
        Ok(())
    }

    /// Starts the run, or goes on with it when it was begun and has not ended.
    fn go_on(
        &self,
        engine: &Engine,
        world: &World,
        parallelism: usize,
        cancellation: &Cancellation,
    ) -> Result<()> {
        Ok(self.runtime.block_on(run_or_resume(engine, self.plan, world, parallelism, cancellation))?)
    }

    fn cancelled(&self, random: &mut Random, whole: Duration, report: &mut Report) -> Result<()> {
        let (folder, world) = self.folder(random.number())?;
        let engine = home::open(folder.path())?;
        let cancellation = Cancellation::new();
        let moment = moment(random, whole);
        let from_outside = cancellation.clone();
        let timer = self.runtime.spawn(async move {
            tokio::time::sleep(moment).await;
            from_outside.cancel();
        });
        self.go_on(&engine, &world, parallelism(random.number()), &cancellation)?;
        timer.abort();
        let engine = home::open(folder.path())?;
        match observe::run_state(&engine, RUN)?.flatten() {
            Some(RunState::Success | RunState::Failed) => report.too_late += 1,
            _ => report.cancellations += 1,
        }
        self.resumed(&folder, &world, random, report, "cancelled")
    }

    fn killed(&self, random: &mut Random, whole: Duration, report: &mut Report) -> Result<()> {
        let (folder, world) = self.folder(random.number())?;
        let in_time = self.kill(folder.path(), random, whole, report)?;
        *(if in_time { &mut report.kills } else { &mut report.too_late }) += 1;
        if in_time && random.once_in(3) {
            let before = self.done(folder.path(), &world)?;
            report.killed_again += u64::from(self.kill(folder.path(), random, whole, report)?);
            self.check_side(&world, &before.0, before.1)?;
        }
        self.resumed(&folder, &world, random, report, "killed")
    }

    /// What has ended by now, and how often bodies ran.
    fn done(&self, folder: &Path, world: &World) -> Result<(BTreeSet<Name>, usize)> {
        let engine = home::open(folder)?;
        let is_done =
            |state: TaskState| matches!(state, TaskState::Success | TaskState::Failed | TaskState::Skipped);
        let states = observe::states(&engine, RUN)?;
        let done = states.into_iter().filter(|(_, state)| is_done(*state)).map(|(name, _)| name).collect();
        pollster::block_on(engine.close())?;
        Ok((done, bodies(world)?.len()))
    }

    fn resumed(
        &self,
        folder: &tempfile::TempDir,
        world: &World,
        random: &mut Random,
        report: &mut Report,
        how: &str,
    ) -> Result<()> {
        let (done, ran) = self.done(folder.path(), world)?;
        report.kept += done.len() as u64;
        let engine = home::open(folder.path())?;
        self.go_on(&engine, world, parallelism(random.number()), &Cancellation::new())?;
        self.compare(&home::open(folder.path())?, how)?;
        self.check_side(world, &done, ran)?;
        home::check_integrity(&home::settings(folder.path())?)
    }

    /// Lets a child run the DAG and kills it; whether the run had not ended.
    fn kill(&self, folder: &Path, random: &mut Random, whole: Duration, report: &mut Report) -> Result<bool> {
        let (seed, delays) = (self.seed.to_string(), random.number().to_string());
        let path = folder.display().to_string();
        let child = Child::start(self.program, &["child-dags", &path, &seed, &delays])?;
        let moment = moment(random, whole);
        let mut lines: Vec<String> = child.line()?.into_iter().collect();
        lines.extend(child.line_within(moment));
        lines.extend(child.kill()?);
        report.orphans += isolated::wait_for_orphans(folder)?;
        match lines.iter().find(|line| line.starts_with("error")) {
            Some(error) => Err(format!("the child says: {error}").into()),
            None => Ok(!lines.iter().any(|line| line == "ended")),
        }
    }

    fn compare(&self, engine: &Engine, how: &str) -> Result<()> {
        let found = observe::outcome(engine, RUN)?;
        let mut wrong = Vec::new();
        if found.state != self.expected.state {
            wrong.push(format!("the run is {}, not {}", found.state, self.expected.state));
        }
        difference("state", &found.states, &self.expected.states, &mut wrong);
        difference("XCom", &found.xcoms, &self.expected.xcoms, &mut wrong);
        if wrong.is_empty() {
            return Ok(());
        }
        Err(format!("{how}: {}", wrong.join("\n  ")).into())
    }

    /// Whether the bodies that ran since then were only those of task instances that were not done, and no limit
    /// was broken.
    fn check_side(&self, world: &World, done: &BTreeSet<Name>, before: usize) -> Result<()> {
        if let Some(again) = bodies(world)?.iter().skip(before).find(|name| done.contains(name)) {
            return Err(format!("{} [{}] was done, and ran again", again.0, again.1).into());
        }
        match world.broken.lock().map_err(|_| "a lock is poisoned")?.first() {
            Some(broken) => Err(broken.clone().into()),
            None => Ok(()),
        }
    }
}

async fn run_or_resume(
    engine: &Engine,
    plan: &Arc<Plan>,
    world: &World,
    parallelism: usize,
    cancellation: &Cancellation,
) -> excom::Result<()> {
    let definition = build::definition(plan, world);
    let runner = runner(engine, world, parallelism);
    let known = engine.db().run_info(build::DAG, RUN).await?;
    let report = match known.map(|info| info.state) {
        None => {
            let options = RunOptions::new().run_id(RUN).cancellation(cancellation.clone());
            runner.run(&definition, options).await?
        }
        Some(Some(RunState::Success | RunState::Failed)) => return engine.close().await,
        Some(_) => runner.resume(&definition, RUN, cancellation.clone()).await?,
    };
    match report.warnings.first() {
        Some(warning) => {
            Err(excom::Error::new(excom::ErrorKind::Other, format!("the runner warns: {warning}")))
        }
        None => Ok(()),
    }
}

fn runner(engine: &Engine, world: &World, parallelism: usize) -> Runner {
    let runner = Runner::new(engine.clone()).parallelism(parallelism);
    match world.side.parent().and_then(isolated::supervisor) {
        Some(supervisor) => runner.isolation(Arc::new(supervisor)),
        None => runner,
    }
}

/// Runs a task of a proof, if the process was started for one, and says how the process is to end.
pub fn serve_task() -> Option<Result<ExitCode>> {
    isolated::serve()
}

/// Runs or resumes the DAG of a seed, and waits to be killed.
///
/// # Errors
/// Whatever the run cannot start with.
pub fn child(folder: &Path, seed: u64, delays: u64) -> Result<()> {
    let plan = Arc::new(Plan::random(seed));
    let world = World::new(side(folder), delays, LONGEST);
    let engine = home::open(folder)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    tell("ready")?;
    let cancellation = Cancellation::new();
    runtime.block_on(run_or_resume(&engine, &plan, &world, parallelism(delays), &cancellation))?;
    tell("ended")?;
    // It ends when whoever started it does.
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn side(folder: &Path) -> PathBuf {
    folder.join("bodies.txt")
}

/// The task instances whose bodies ran, in that order.
fn bodies(world: &World) -> Result<Vec<Name>> {
    let text = match fs::read_to_string(&world.side) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let name = |line: &str| -> Result<Name> {
        let mut words = line.split(' ');
        let (task_id, map_index) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        Ok((task_id.to_owned(), map_index.parse()?))
    };
    text.lines().map(name).collect()
}

fn parallelism(random: u64) -> usize {
    [1, 2, 3, 8, 32][usize::try_from(random % 5).unwrap_or(0)]
}

/// A moment of a run that takes so long.
fn moment(random: &mut Random, whole: Duration) -> Duration {
    whole.mul_f64(random.below(800) as f64 / 1000.0)
}

fn difference<K: Ord + fmt::Debug, V: PartialEq + fmt::Debug>(
    what: &str,
    found: &std::collections::BTreeMap<K, V>,
    expected: &std::collections::BTreeMap<K, V>,
    wrong: &mut Vec<String>,
) {
    for key in found.keys().chain(expected.keys()).collect::<BTreeSet<_>>() {
        let (found, expected) = (found.get(key), expected.get(key));
        if found != expected {
            wrong.push(format!("{what} of {key:?} is {found:?}, not {expected:?}"));
        }
    }
}
