//! Each try of a DAG of the proof in a process of its own: a link to this program in the run's folder, beside a file
//! that says which DAG it is of.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use excom::process::Supervisor;

use super::build::{self, World};
use super::plan::Plan;
use super::{LONGEST, side};
use crate::Result;
use crate::child::PATIENCE;

/// The link, and what a process is called that runs a task.
const LINK: &str = "task-of-a-proof";

/// The file that says which DAG.
const WHICH: &str = "which-dag";

/// Lets all tries of a folder's run be processes.
pub(super) fn prepare(folder: &Path, program: &Path, seed: u64, steady: bool, delays: u64) -> Result<()> {
    fs::write(folder.join(WHICH), format!("{seed} {steady} {delays}"))?;
    Ok(symlink(program, folder.join(LINK))?)
}

/// Who starts the processes of a folder's run; nobody when its tries are none.
pub(super) fn supervisor(folder: &Path) -> Option<Supervisor> {
    let link = folder.join(LINK);
    link.exists().then(|| Supervisor::new(link))
}

/// Runs a task, if the process was started for one, and says how the process is to end.
pub(super) fn serve() -> Option<Result<ExitCode>> {
    let program = PathBuf::from(std::env::args_os().next()?);
    if program.file_name()?.as_bytes() != LINK.as_bytes() {
        return None;
    }
    let folder = program.parent()?.to_owned();
    let task = move || -> Result<ExitCode> {
        let which = fs::read_to_string(folder.join(WHICH))?;
        let mut words = which.split(' ');
        let mut word = || words.next().ok_or("the file that says which DAG is cut off");
        let plan = Plan::random(word()?.parse()?);
        let plan = Arc::new(if word()?.parse()? { plan.steady() } else { plan });
        let world = World::new(side(&folder), word()?.parse()?, LONGEST);
        let ended = excom::program::serve_task(&[build::definition(&plan, &world)]);
        ended.ok_or_else(|| "a task of a proof is started by a supervisor".into())
    };
    Some(task())
}

/// Waits until all tasks of a folder's run have ended whose program is gone; how many still ran at first.
///
/// Where the system does not tell what runs, that is none.
pub(super) fn wait_for_orphans(folder: &Path) -> Result<u64> {
    let first = running(folder).len() as u64;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = running(folder);
        if left.is_empty() {
            return Ok(first);
        }
        if Instant::now() > deadline {
            return Err(format!("tasks go on without their program, as processes {left:?}").into());
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// The processes that run tasks of a folder.
fn running(folder: &Path) -> BTreeSet<u32> {
    let link = folder.join(LINK);
    let is_task = |process: &Path| {
        // Of a process that has ended, and that nobody waited for yet, it is empty.
        fs::read(process.join("cmdline"))
            .is_ok_and(|line| line.split(|byte| *byte == 0).next() == Some(link.as_os_str().as_bytes()))
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|process| process.file_name().to_str()?.parse().ok().filter(|_| is_task(&process.path())))
        .collect()
}
