//! DAGs as a program, for tests that drive it as a shell does: kill it, stop it, go on, run tasks again.
//!
//! The tasks of `steps` write down that they ran, in a folder that the test gives; files there make one wait or
//! fail.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use excom::SkipDownstream;
use excom::prelude::*;

/// Writes down that a task ran.
fn ran(folder: &Path, ti: &TaskInstance) -> Result<()> {
    let index = if ti.map_index() < 0 { String::new() } else { format!("[{}]", ti.map_index()) };
    let line = format!("{}{index}\n", ti.task_id());
    // One write that appends: tasks run at the same time.
    Ok(OpenOptions::new().create(true).append(true).open(folder.join("ran"))?.write_all(line.as_bytes())?)
}

#[task]
fn numbers(folder: PathBuf, count: u64, ti: &TaskInstance) -> Result<Vec<u64>> {
    ran(&folder, ti)?;
    Ok((0..count).collect())
}

/// Its second instance waits as long as there is a file `hold`.
#[task]
fn double(folder: PathBuf, number: u64, ti: &TaskInstance) -> Result<u64> {
    ran(&folder, ti)?;
    while ti.map_index() == 1 && folder.join("hold").exists() {
        std::fs::write(folder.join("held"), "")?;
        if ti.is_cancelled() {
            return Err("told to stop".into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(2 * number)
}

/// Fails as long as there is a file `fail`.
#[task]
fn check(folder: PathBuf, doubled: Vec<u64>, ti: &TaskInstance) -> Result<u64> {
    ran(&folder, ti)?;
    ti.log("checking");
    ti.xcom_push("checked", &doubled.len())?;
    if folder.join("fail").exists() {
        return Err("one of them is odd".into());
    }
    Ok(doubled.into_iter().sum())
}

#[task]
fn tell(folder: PathBuf, sum: u64, ti: &TaskInstance) -> Result<String> {
    ran(&folder, ti)?;
    let told = format!("the sum is {sum}");
    // What a task prints must not get between events.
    drop(writeln!(std::io::stdout(), "printed by a task"));
    Ok(told)
}

/// Doubles numbers and adds them up.
#[dag]
fn steps(
    dag: &Dag,
    #[param(doc = "Where tasks write that they ran")] folder: Param<PathBuf>,
    #[param(default = 3)] count: Param<u64>,
) {
    let doubled = double(dag, folder, expand(numbers(dag, folder, count)));
    tell(dag, folder, check(dag, folder, doubled));
}

#[task]
fn choose(ti: &TaskInstance) {
    ti.skip_downstream(SkipDownstream::AllBut(vec!["small".to_owned()]));
}

#[task]
fn double_of(number: u64) -> u64 {
    2 * number
}

/// Groups, a mapped group, a branch, a setup and its teardown.
#[dag]
fn shapes(dag: &Dag) {
    let cluster = dag.bash("cluster", "echo c-1");
    let numbers = dag.group("load", |dag| dag.bash("read", "echo 1").after(cluster).output());
    let doubled = dag
        .expand_group("number", expand([1_u64, 2]), |dag, number: XComArg<u64>| double_of(dag, number))
        .output;
    let choice = dag.task(choose(dag)).after(cluster);
    let small = dag.bash("small", "echo $N").env("N", numbers.output).after(choice);
    let large = dag.bash("large", "true").after(choice);
    let end = dag
        .bash("end", "echo $ALL")
        .env("ALL", doubled)
        .after(small)
        .after(large)
        .trigger_rule(TriggerRule::NoneFailed)
        .retries(2);
    dag.bash("stop", "true").after(end).teardown_of(cluster);
}

/// A template pulls from a task that is not told to come before its own.
#[dag]
fn curious(dag: &Dag) {
    let secret = dag.bash("secret", "echo 1");
    let between = dag.bash("between", "true").after(secret);
    dag.bash("tell", "echo {{ ti.xcom_pull('secret') }}").after(between);
}

excom::main!([steps, shapes, curious]);
