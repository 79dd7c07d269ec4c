//! Secrets between tasks: pushed, taken, pushed on, and kept out of all that is told of a run.

use std::sync::Arc;

use excom::prelude::*;
use excom_core::engine::{KeyGlob, Settings};
use excom_core::{Caller, Engine, EntryInfo, PullOptions, TaskState, Value, XComKey, memory};
use excom_flow::contract::Contracts;
use excom_flow::runner::TestOptions;
use excom_flow::{DagDefinition, RunOptions, Runner};

use crate::support::{engine, field, on_runtime, pushed, run, run_with, texts};

const TOKEN: &str = "hunter2-é";

#[task]
fn log_in() -> Secret<String> {
    Secret::new(TOKEN.into())
}

#[task]
fn plain() -> String {
    "open".into()
}

#[task]
fn length(token: Secret<String>) -> usize {
    token.expose().chars().count()
}

#[task]
fn on(token: Secret<String>) -> Secret<String> {
    token
}

#[derive(Serialize, Deserialize, JsonSchema, Outputs)]
struct Login {
    user: String,
    password: Secret<String>,
}

#[task(multiple_outputs)]
fn logins() -> Login {
    Login { user: "ana".into(), password: Secret::new(TOKEN.into()) }
}

#[task]
fn pushes(ti: &TaskInstance) -> Result<()> {
    assert!(ti.xcom_push_secret("token", TOKEN)?.secret);
    let pulled: Value = ti.xcom_pull(()).key("token").get()?;
    assert!(ti.xcom_push("again", &pulled)?.secret);
    Ok(())
}

/// What lists show of run `r`, without what no task pushed.
fn listed(engine: &Engine) -> Vec<EntryInfo> {
    let caller = Caller::user("test");
    pollster::block_on(engine.list(&caller, &Default::default(), None, 100)).unwrap().items
}

fn is_secret(engine: &Engine, task: &str, key: &str) -> bool {
    let all = listed(engine);
    let found = all.iter().find(|info| &*info.key.ti.task_id == task && &*info.key.key == key);
    found.unwrap_or_else(|| panic!("{task} pushed no `{key}`: {all:?}")).secret
}

#[test]
fn secrets_go_from_task_to_task() {
    let engine = engine();
    let definition = DagDefinition::new("d", |dag| {
        let token = log_in(dag);
        length(dag, on(dag, token));
        length(dag, plain(dag));
        length(dag, logins(dag).password());
        pushes(dag);
    });
    let report = run(&engine, &definition);
    assert!(report.succeeded(), "{report:?}");
    assert_eq!(pushed(&engine, "d", "length", "return_value").as_deref(), Some("9"));
    assert_eq!(pushed(&engine, "d", "length__1", "return_value").as_deref(), Some("4"));
    assert_eq!(pushed(&engine, "d", "length__2", "return_value").as_deref(), Some("9"));
    for (task, key) in [
        ("log_in", "return_value"),
        ("on", "return_value"),
        ("logins", "password"),
        ("logins", "return_value"),
        ("pushes", "token"),
        ("pushes", "again"),
    ] {
        assert!(is_secret(&engine, task, key), "{task} {key}");
    }
    assert!(!is_secret(&engine, "length", "return_value") && !is_secret(&engine, "plain", "return_value"));
    let told = format!("{report:?} {:?}", listed(&engine));
    assert!(told.contains("***") && !told.contains("hunter2"), "{told}");
}

#[task]
fn tokens() -> Vec<Secret<String>> {
    (0..3).map(|n| Secret::new(format!("{TOKEN}{n}"))).collect()
}

#[task]
fn tells(ti: &TaskInstance, token: Secret<String>) -> Result<Secret<String>> {
    ti.log(&format!("got {}", token.expose()));
    Ok(token)
}

#[task]
fn all(ti: &TaskInstance, tokens: Vec<Secret<String>>) -> Result<usize> {
    for token in &tokens {
        ti.log(&format!("got {}", token.expose()));
    }
    Ok(tokens.len())
}

#[test]
fn secrets_are_expanded_over() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine();
    let definition = DagDefinition::new("d", |dag| {
        all(dag, tells(dag, expand(tokens(dag))));
    });
    let runner = Runner::new(engine.clone()).logs(folder.path());
    let report = run_with(&runner, &definition, RunOptions::new());
    assert!(report.succeeded(), "{report:?}");
    assert_eq!(texts(&engine, "d", "tells"), ["0", "1", "2"].map(|n| format!("\"{TOKEN}{n}\"")));
    assert!(listed(&engine).iter().filter(|info| info.key.ti.is_mapped()).all(|info| info.secret));
    let told = logs(folder.path());
    assert!(told.contains("got ***") && !told.contains("hunter2"), "{told}");
}

/// All logs under a folder.
fn logs(folder: &std::path::Path) -> String {
    let mut told = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        told.push_str(&if path.is_dir() { logs(&path) } else { std::fs::read_to_string(&path).unwrap() });
    }
    told
}

#[test]
fn what_templates_and_operators_make_of_a_secret_is_masked() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine();
    let definition = DagDefinition::new("d", |dag| {
        let token = log_in(dag);
        let script = "echo is {{ ti.xcom_pull('log_in') }}; echo $TOKEN; exit 1";
        dag.bash("bash", script).env("TOKEN", token);
        dag.bash("bad", "{{ ti.xcom_pull('log_in') | no_such_filter }}").after(token);
        dag.bash("wrong", "{{ [ti.xcom_pull('log_in')] + 1 }}").after(token);
    });
    let runner = Runner::new(engine.clone()).logs(folder.path());
    let report = run_with(&runner, &definition, RunOptions::new());
    for task in ["bash", "bad", "wrong"] {
        assert_eq!(report.task(task).unwrap().state, TaskState::Failed, "{report:?}");
    }
    let failure = report.task("bash").unwrap().failure.clone().unwrap().message;
    assert!(failure.ends_with("is ***\n***"), "{failure}");
    assert_eq!(field(&engine, "d", "bash", "env.TOKEN"), "\"***\"");
    assert_eq!(field(&engine, "d", "bash", "command"), "\"echo is ***; echo $TOKEN; exit 1\"");
    let told = format!("{report:?} {}", logs(folder.path()));
    assert!(told.contains("is ***") && !told.contains("hunter2"), "{told}");
}

#[task]
fn a_number(n: Secret<u64>) -> u64 {
    *n.expose()
}

#[task]
fn fails(token: Secret<String>) -> Result<()> {
    Err(format!("`{}` is refused", token.expose()).into())
}

#[test]
fn failures_do_not_tell_secrets() {
    let engine = engine();
    let definition = DagDefinition::new("d", |dag| {
        let token = log_in(dag);
        a_number(dag, token.output::<u64>("return_value"));
        fails(dag, token);
    });
    let report = run(&engine, &definition);
    let failure = |task: &str| report.task(task).unwrap().failure.clone().unwrap();
    let wrong = failure("a_number");
    assert!(wrong.message.ends_with("expected a whole number, found a string"), "{wrong:?}");
    assert_eq!(failure("fails").message, "`***` is refused");
    assert!(!format!("{report:?}").contains("hunter2"), "{report:?}");
}

#[task]
fn by_key(ti: &TaskInstance) -> Result<()> {
    assert!(ti.xcom_push("db_password", TOKEN)?.secret);
    ti.log(&format!("it is {TOKEN}"));
    Ok(())
}

#[test]
fn a_key_makes_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { secret_keys: vec![KeyGlob::new("*PASSWORD*")], ..Settings::default() };
    let clock = Arc::new(memory::Clock::new());
    let engine = Engine::builder(Arc::new(memory::Db::new()), clock).settings(settings).build();
    let definition = DagDefinition::new("d", |dag| {
        by_key(dag);
    });
    let runner = Runner::new(engine.clone()).logs(folder.path());
    assert!(run_with(&runner, &definition, RunOptions::new()).succeeded());
    assert!(is_secret(&engine, "by_key", "db_password"));
    let told = logs(folder.path());
    assert!(told.contains("it is ***"), "{told}");
    // A task that is tested by itself tells as little.
    let lines = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = lines.clone();
    let options = TestOptions::new("r", "by_key").log(move |line| log.lock().unwrap().push(line.to_owned()));
    let report = on_runtime(runner.test_task(&definition, options)).unwrap();
    assert!(report.pushed[0].1.is_secret() && !format!("{report:?}").contains("hunter2"), "{report:?}");
    assert_eq!(*lines.lock().unwrap(), ["it is ***"]);
}

#[test]
fn a_pushed_secret_of_the_wrong_type_is_not_told() {
    #[task]
    fn wrong(ti: &TaskInstance) -> Result<()> {
        ti.xcom_push_secret("n", TOKEN)?;
        Ok(())
    }
    #[task]
    fn takes(n: u64) -> u64 {
        n
    }
    #[task]
    fn wrong_by_key(ti: &TaskInstance) -> Result<()> {
        ti.xcom_push("db_password", TOKEN)?;
        Ok(())
    }
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { secret_keys: vec![KeyGlob::new("*PASSWORD*")], ..Settings::default() };
    let clock = Arc::new(memory::Clock::new());
    let engine = Engine::builder(Arc::new(memory::Db::new()), clock).settings(settings).build();
    let definition = DagDefinition::new("d", |dag| {
        takes(dag, wrong(dag).output("n"));
        takes(dag, wrong_by_key(dag).output("db_password"));
    });
    let runner = Runner::new(engine.clone()).logs(folder.path());
    let report = run_with(&runner, &definition, RunOptions::new().run_id("r"));
    let failure = report.task("wrong_by_key").unwrap().failure.clone().unwrap().message;
    assert!(failure.contains("found ***") && !failure.contains("hunter2"), "{failure}");
    let warns = runner.contracts(Contracts::Warn);
    on_runtime(warns.run(&definition, RunOptions::new().run_id("warned"))).unwrap();
    let told = logs(folder.path());
    assert!(told.contains("warning: ") && !told.contains("hunter2"), "{told}");
    let failure = report.task("wrong").unwrap().failure.clone().unwrap().message;
    assert!(failure.contains("found ***") && !failure.contains("hunter2"), "{failure}");
    let key = XComKey::new("d", "r", "wrong", -1, "n").unwrap();
    let answers = pollster::block_on(engine.pull(&Caller::user("test"), &[key], PullOptions::default()));
    assert!(answers.unwrap()[0].found().is_none());
}
