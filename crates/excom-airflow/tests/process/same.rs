//! What a task sees and how it ends is the same in a process of its own as in the runner's.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use excom::contract::Contracts;
use excom::prelude::*;
use excom::runner::isolation::Isolation;
use excom::{Poke, Rerun, RunOptions, Runner, SkipDownstream};
use excom_airflow::process::Supervisor;
use excom_core::engine::{KeyGlob, Settings};
use excom_core::{Engine, ErrorKind, memory};

use crate::support::{TIMEOUTS, program};

/// All that a template knows of the run, the task and the try.
const CONTEXT: &str = "{{ [params.n, params.big, run_id, ds, ts, logical_date, data_interval_start, \
    prev_start_date_success, prev_end_date_success, task_reschedule_count, dag_run.run_after, dag_run.start_date, \
    dag_run.run_type, dag_run.conf, ti.try_number, ti.max_tries, ti.start_date, task.operator, task.owner, \
    task.retries, task.retry_delay, task.trigger_rule, task.upstream_task_ids, task.downstream_task_ids] }} \
    {% include 'part.txt' %}";

#[derive(Debug, Serialize, Deserialize, JsonSchema, Outputs)]
struct Measured {
    degrees: f64,
}

#[task(retries = 2, retry_delay = "7s")]
fn sees(ti: &TaskInstance, n: i64) -> Result<(String, String)> {
    ti.log("two\nlines, \"quoted\"");
    let seen = (ti.render(CONTEXT)?, format!("{n} {:?} {:?} {ti:?}", ti.home(), ti.resumed()));
    ti.log(&format!("{seen:?}"));
    Ok(seen)
}

#[task(retries = 1, retry_delay = "0s")]
fn fails_at_first(ti: &TaskInstance, seen: (String, String)) -> Result<u64> {
    ti.xcom_push("try", &ti.try_number())?;
    if ti.try_number() == 1 {
        let error = excom_core::Error::new(ErrorKind::Full, "no room").hint("remove something");
        return Err(excom_core::Error::new(ErrorKind::Other, "it cannot be kept").because(error).into());
    }
    Ok(seen.0.len() as u64)
}

#[task(multiple_outputs)]
fn declares(ti: &TaskInstance) -> Result<Measured> {
    ti.xcom_push("degrees", "a lot")?;
    Ok(Measured { degrees: 21.5 })
}

#[task]
fn takes(degrees: f64) -> f64 {
    degrees
}

#[task]
fn numbers() -> Vec<i64> {
    vec![1, 2, 3]
}

#[task]
fn odd(ti: &TaskInstance, n: i64) -> Result<i64> {
    ti.log(&format!("element {n}"));
    match n {
        2 => Err(Skip::because("it is even").into()),
        3 => Err("three is too many".into()),
        _ => Ok(n),
    }
}

#[task]
fn chooses(ti: &TaskInstance) {
    ti.skip_downstream(SkipDownstream::AllBut(vec!["left".into()]));
}

#[task]
fn stops(ti: &TaskInstance) {
    ti.skip_downstream(SkipDownstream::All);
}

#[task]
fn asks_for_more(ti: &TaskInstance) -> Result<i64> {
    Ok(ti.xcom_pull("numbre").get()?)
}

#[task]
fn keeps(ti: &TaskInstance) -> Result<Secret<String>> {
    ti.xcom_push_secret("pushed", "hunter2")?;
    Ok(Secret::new("hunter3".into()))
}

#[task]
fn tells(ti: &TaskInstance, returned: Secret<String>) -> Result<()> {
    let pulled: Secret<String> = ti.xcom_pull("keeps").key("pushed").get()?;
    ti.log(&format!("pulled {}, taken {}", pulled.expose(), returned.expose()));
    Err(format!("refused with {} and {}", pulled.expose(), returned.expose()).into())
}

#[task]
fn panics() -> i64 {
    panic!("oh no")
}

/// What a template is rendered to.
#[derive(Debug, Clone)]
struct Rendered(Field);

impl Operator for Rendered {
    type Output = serde_json::Value;

    fn fields(&mut self) -> Fields<'_> {
        vec![("text".into(), &mut self.0)]
    }

    async fn execute(self, _: TaskInstance) -> Result<serde_json::Value> {
        Ok(self.0.get()?)
    }
}

#[dag(id = "same")]
pub(crate) fn tasks(
    dag: &Dag,
    #[param(default = 3)] n: Param<i64>,
    #[param(default = 18446744073709551616_f64)] big: Param<f64>,
) {
    let _ = big;
    let kept = fails_at_first(dag, sees(dag, n));
    let taken = takes(dag, declares(dag).degrees());
    let numbers = numbers(dag);
    let odd = odd(dag, expand(numbers));
    let choice = chooses(dag);
    dag.empty("left").after(choice);
    dag.empty("right").after(choice);
    dag.empty("behind").after(stops(dag));
    let asked = dag.task(asks_for_more(dag)).after(numbers);
    let panicked = panics(dag);
    let kept_secret = keeps(dag);
    let told = tells(dag, kept_secret);
    // Each line is cut in the middle of the secret: for the log, and for what is told of the failure.
    let prints = r#"printf '%16380s%s\n%1020s%s\n' '' "$TOKEN" '' "$TOKEN"; exit 1"#;
    let prints = dag.bash("prints", prints).env("TOKEN", kept_secret);
    let native = dag.add("native", Rendered("{{ params.n }}".into()));
    let never = |_: TaskInstance| async { Ok(Poke::NotYet) };
    let late = dag.sensor("never", never).timeout(Duration::ZERO).retries(2);
    let softly = dag.sensor("softly", never).timeout(Duration::ZERO).soft_fail();
    let arrives = |ti: TaskInstance| async move {
        let resumed = ti.resumed();
        Ok(if resumed.times < 2 {
            Poke::NotYet
        } else {
            Poke::value(&(resumed.times, resumed.after.as_secs()))?
        })
    };
    // Behind all others: each of its waits moves the clock of the test.
    let arrives = dag.sensor("arrives", arrives).reschedule().trigger_rule(TriggerRule::AllDone);
    let arrives = arrives.after(kept).after(taken).after(odd).after(asked).after(panicked).after(told);
    arrives.after(native).after(late).after(softly).after(prints);
}

/// The list that a task is expanded over is read once by the runner for all, and by each process for itself.
const LIST: &str = "of numbers: list[3], pushed by attempt 1 at";
const LIST_OF_RUNNER: &str = "of numbers, pushed at";

/// What came of a run: its report, and the logs without times and attempts.
#[derive(Debug, PartialEq)]
struct Told {
    report: String,
    logs: BTreeMap<String, Vec<String>>,
}

async fn told(isolation: Option<Arc<dyn Isolation>>, contracts: Contracts) -> Told {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("part.txt"), "from a file for {{ run_id }}").unwrap();
    let settings = Settings { secret_keys: vec![KeyGlob::new("deg*")], ..Settings::default() };
    let clock = Arc::new(memory::Clock::new());
    let engine = Engine::builder(Arc::new(memory::Db::new()), clock).settings(settings).build();
    let before = RunOptions::new().run_id("before").logical_date("2026-11-19T00:00:00Z".parse().unwrap());
    let nothing = DagDefinition::new("same", |dag| {
        dag.empty("nothing");
    });
    Runner::new(engine.clone()).run(&nothing, before).await.unwrap();
    let mut runner = Runner::new(engine)
        .parallelism(1)
        .home("/some/where")
        .contracts(contracts)
        .logs(folder.path().join("logs"));
    if let Some(isolation) = isolation {
        runner = runner.isolation(isolation);
    }
    let definition = tasks().template_searchpath(folder.path()).render_template_as_native_obj(true);
    let options = RunOptions::new().run_id("run").param("n", "5");
    let options = options.logical_date("2026-11-20T06:00:00Z".parse().unwrap());
    let mut first = runner.run(&definition, options).await.unwrap();
    let mut again = runner.rerun(&definition, "run", Rerun::Failed, Default::default()).await.unwrap();
    // The test's clock moves for all, and its executable prints into each log.
    (first.started_at, again.started_at) = Default::default();
    (first.duration, again.duration) = Default::default();
    for task in first.tasks.iter_mut().chain(&mut again.tasks) {
        (task.duration, task.log) = (Default::default(), None);
    }
    let report = format!("{first:#?}{again:#?}").replace(&folder.path().display().to_string(), "FOLDER");
    let report = report.replace(LIST, LIST_OF_RUNNER);
    let mut logs = BTreeMap::new();
    read_logs(folder.path(), &folder.path().join("logs"), &mut logs);
    Told { report, logs }
}

fn read_logs(root: &Path, folder: &Path, logs: &mut BTreeMap<String, Vec<String>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_logs(root, &path, logs);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        // Each line begins with its time; the first names the attempt.
        let lines = text.lines().skip(1).map(|line| line.split_once(' ').map_or("", |(_, rest)| rest));
        // The test executable prints that it runs a test, and that a thread panicked.
        let lines = lines.filter(|line| !["", "running 1 test"].contains(&line.trim()));
        if path.to_string_lossy().contains("panics") {
            continue;
        }
        let lines = lines.map(|line| line.replace(LIST, LIST_OF_RUNNER));
        let lines: Vec<String> = lines.collect();
        if lines.iter().all(|line| line.starts_with("try ")) {
            continue;
        }
        logs.insert(path.strip_prefix(root).unwrap().display().to_string(), lines);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_sees_and_does_the_same_in_a_process_of_its_own() {
    for contracts in [Contracts::Refuse, Contracts::Warn, Contracts::Off] {
        let supervisor = Supervisor::new(program("flow")).timeouts(TIMEOUTS);
        let isolated = told(Some(Arc::new(supervisor)), contracts).await;
        let inside = told(None, contracts).await;
        for (path, lines) in &inside.logs {
            assert_eq!(isolated.logs.get(path), Some(lines), "{contracts:?}, {path}");
        }
        for (at, (isolated, inside)) in isolated.report.lines().zip(inside.report.lines()).enumerate() {
            assert_eq!(isolated, inside, "{contracts:?}, line {at}");
        }
        assert_eq!(isolated, inside, "{contracts:?}");
        // Otherwise the DAG says less than it is for.
        let whole = format!("{inside:?}");
        for part in ["no room", "looked once", "oh no", "never pushed", "from a file for run"] {
            assert!(whole.contains(part), "{part} is not in {whole}");
        }
        for part in ["pulled ***, taken ***", "refused with *** and ***"] {
            assert!(whole.contains(part) && !whole.contains("hunter"), "{part} is not in {whole}");
        }
        assert_eq!(inside.report.contains("is not of the declared type"), contracts == Contracts::Refuse);
        assert!(
            whole.contains("… (16387 bytes)") && whole.contains("… (1027 bytes)") && !whole.contains("hunt")
        );
        // A key makes a secret of it.
        assert_eq!(whole.contains("expected number, found ***"), contracts != Contracts::Off, "{whole}");
        assert!(!whole.contains("a lot"), "{whole}");
    }
}
