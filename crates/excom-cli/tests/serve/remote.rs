//! Commands that ask a server, beside the same that open the database.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use excom::config::Settings;
use excom::core::run::DagRun;
use excom::{Caller, Engine, PullOptions, TaskInstanceKey, TaskState, Value, embedded};
use jiff::Timestamp;
use serde_json::Value as Json;
use tempfile::TempDir;

use crate::process::ready;
use crate::{Served, excom};

/// A server over a home that has something of everything, and somebody elsewhere who has its address and a token.
struct Both {
    folder: TempDir,
    server: Served,
}

/// What a command printed and how it exited.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    code: i32,
    out: String,
    err: String,
}

impl From<Output> for Told {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Told {
    fn json(&self) -> Json {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Both {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        pollster::block_on(filled(&folder.path().join("home")));
        let server = Served::start(&folder.path().join("home"));
        ready(&server);
        let both = Self { folder, server };
        std::fs::write(both.token(), &both.server.token).unwrap();
        both
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    fn token(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    /// A command beside the database.
    fn here(&self, arguments: &[&str]) -> Told {
        let mut command = excom(&self.home());
        Told::from(command.env("LOGNAME", "dev").args(arguments).output().unwrap())
    }

    /// The same that asks the server, from a home without anything.
    fn there_command(&self, arguments: &[&str]) -> Command {
        let mut command = excom(&self.folder.path().join("elsewhere"));
        command.args(["--server", &self.server.address, "--token-file"]).arg(self.token());
        command.args(arguments);
        command
    }

    fn there(&self, arguments: &[&str]) -> Told {
        Told::from(self.there_command(arguments).output().unwrap())
    }

    /// The same with bytes on standard input.
    fn there_with(&self, arguments: &[&str], input: &[u8]) -> Told {
        let mut command = self.there_command(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let told = Told::from(child.wait_with_output().unwrap());
        writer.join().unwrap();
        told
    }
}

/// A run with an XCom for every answer, and what else commands look at.
async fn filled(home: &Path) {
    let engine = embedded::open(&Settings::at(home)).unwrap();
    let ana = Caller::user("ana");
    let ti = |task: &str, map_index| TaskInstanceKey::new("weather", "r1", task, map_index).unwrap();
    engine.start_run(&DagRun::new("weather", "r1", Timestamp::now())).await.unwrap();
    let push = async |task: &str, map_index, text: String| {
        let attempt = engine.start(&ti(task, map_index), 1).await.unwrap();
        let (me, key) = (Caller::Attempt(attempt.clone()), ti(task, map_index).return_value());
        engine.push(&me, &key, Value::parse(text).unwrap().into()).await.unwrap();
        engine.set_attempt_state(&attempt, TaskState::Success).await.unwrap();
    };
    push("count", -1, r#"{"b": 1.0, "a": 123456789012345678901234567890}"#.to_owned()).await;
    push("nothing", -1, "null".to_owned()).await;
    push("text", -1, r#""a\nb""#.to_owned()).await;
    push("large", -1, format!("\"{}\"", "x".repeat(200_000))).await;
    push("damaged", -1, format!("\"{}\"", "y".repeat(200_000))).await;
    for index in [0, 2] {
        push("load", index, index.to_string()).await;
    }
    push("cleared", -1, "1".to_owned()).await;
    push("cleared", -1, "2".to_owned()).await;
    engine.clear(&ana, &excom::core::db::Scope::TaskInstance(ti("cleared", -1))).await.unwrap();
    engine.set_states(&[(ti("skipped", -1), TaskState::Skipped)]).await.unwrap();
    engine.start(&ti("running", -1), 1).await.unwrap();
    let secret = Value::of("hunter2").unwrap().into_secret();
    engine.push(&ana, &ti("secret", -1).return_value(), secret.into()).await.unwrap();
    // What count pushed, a task read that then pushed.
    let reader = engine.start(&ti("peak", -1), 1).await.unwrap();
    let reader = Caller::Attempt(reader);
    engine.pull(&reader, &[ti("count", -1).return_value()], PullOptions::default()).await.unwrap();
    engine.push(&reader, &ti("peak", -1).return_value(), Value::of(&7).unwrap().into()).await.unwrap();
    expired(&engine).await;
    for (key, text, description) in [("station", "attic", None), ("a/b?c#ü", "{\"a\": 1}", Some("what for"))]
    {
        engine.set_variable(&ana, key, text, description).await.unwrap();
    }
    for number in 0..80 {
        engine.set_variable(&ana, &format!("many-{number:02}"), "", None).await.unwrap();
    }
    engine.close().await.unwrap();
    damage(home, "damaged");
}

/// An XCom that retention removed.
async fn expired(engine: &Engine) {
    let old = TaskInstanceKey::new("old", "r1", "count", -1).unwrap().return_value();
    engine.push(&Caller::user("ana"), &old, Value::of(&1).unwrap().into()).await.unwrap();
    let rule = excom::core::db::Rule {
        text: "a test".into(),
        expires: excom::core::db::Expires::Pushed("2100-01-01T00:00:00Z".parse().unwrap()),
        outside: false,
    };
    let pruning = excom::core::engine::Pruning { rules: vec![rule], dag_id: Some("old".into()), rate: None };
    engine.prune_by(&pruning, |_| ()).await.unwrap();
}

/// Changes a byte in the file of a task's value.
fn damage(home: &Path, task: &str) {
    let mut left = vec![home.join("values")];
    while let Some(folder) = left.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else if path.to_string_lossy().contains(task) {
                let mut bytes = std::fs::read(&path).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                std::fs::write(&path, bytes).unwrap();
                return;
            }
        }
    }
    panic!("there is no file of {task}");
}

const TASKS: [&str; 12] = [
    "count", "nothing", "text", "large", "damaged", "load", "cleared", "skipped", "running", "secret",
    "peak", "countt",
];

#[test]
fn what_is_looked_at_is_the_same_with_a_server() {
    let both = Both::start();
    let mut commands: Vec<Vec<&str>> = Vec::new();
    for task in TASKS {
        let names = ["--dag-id", "weather", "--run-id", "r1", "--task-id", task];
        for command in [
            &["xcom", "pull"][..],
            &["xcom", "pull", "--reveal"],
            &["xcom", "pull", "--raw"],
            &["xcom", "pull", "--all"],
            &["xcom", "pull", "--default", "5"],
            &["xcom", "pull", "--include-prior-dates"],
            &["xcom", "pull", "--map-index", "2"],
            &["xcom", "history"],
            &["xcom", "history", "--version", "0000000000000001"],
            &["xcom", "list"],
            &["trace"],
        ] {
            commands.push([command, &names].concat());
            commands.push([command, &names, &["--json"]].concat());
        }
        // Where an offloaded value is a server does not tell.
        if !matches!(task, "large" | "damaged") {
            commands.push([&["xcom", "get"][..], &names].concat());
            commands.push([&["xcom", "get", "--json"][..], &names].concat());
        }
    }
    let old = ["--dag-id", "old", "--run-id", "r1", "--task-id", "count"];
    for command in [&["xcom", "pull"][..], &["xcom", "get", "--json"], &["xcom", "history"], &["trace"]] {
        commands.push([command, &old].concat());
    }
    commands.extend([
        vec!["xcom", "list"],
        vec!["xcom", "list", "--limit", "3"],
        vec!["xcom", "list", "--limit", "3", "--json"],
        vec!["xcom", "list", "--limit", "2", "--after", r#"["weather","r1","load",0,"return_value"]"#],
        vec!["xcom", "list", "--dag-id", "none"],
        vec!["xcom", "pull", "--dag-id", "wether", "--run-id", "r1", "--task-id", "count"],
        vec!["xcom", "pull", "--dag-id", "", "--run-id", "r1", "--task-id", "count"],
        vec!["xcom", "usage", "--dag-id", "weather"],
        vec!["xcom", "usage", "--dag-id", "weather", "--run-id", "r1", "--json"],
        vec!["xcom", "usage", "--dag-id", "none"],
        vec!["xcom", "usage", "--dag-id", "weather", "--run-id", "r9"],
        vec!["xcom", "usage", "--dag-id", "weather", "--run-id", ""],
        vec!["run", "list"],
        vec!["run", "list", "--json"],
        vec!["run", "list", "--limit", "1"],
        vec!["run", "list", "--dag-id", "weather", "--state", "running", "--json"],
        vec!["run", "list", "--dag-id", "none"],
        vec!["run", "show", "--dag-id", "weather", "--run-id", "r1"],
        vec!["run", "show", "--dag-id", "weather", "--run-id", "r1", "--json"],
        vec!["run", "show", "--dag-id", "weather", "--run-id", "r9", "--json"],
        vec!["run", "show", "--dag-id", "weather", "--run-id", "r1", "--task-id", "count"],
        vec!["run", "show", "--dag-id", "weather", "--run-id", "r1", "--task-id", "count", "--json"],
        vec!["run", "show", "--dag-id", "weather", "--run-id", "r1", "--task-id", "peak"],
        vec!["run", "show", "--dag-id", "weather", "--run-id", "r1", "--task-id", "peak", "--json"],
        vec!["run", "show", "--dag-id", "weather", "--run-id", "r1", "--task-id", "none"],
        vec!["run", "show", "--dag-id", "weather", "--run-id", "r9", "--task-id", "count"],
        vec!["variable", "get", "station"],
        vec!["variable", "get", "a/b?c#ü", "--json"],
        vec!["variable", "get", "none"],
        vec!["variable", "get", "none", "--json"],
        vec!["variable", "get", "none", "--default", "5"],
        vec!["variable", "get", ""],
        vec!["variable", "list"],
        vec!["variable", "list", "--json"],
        vec!["variable", "list", "--prefix", "many", "--limit", "70", "--json"],
        vec!["variable", "list", "--limit", "3", "--after", "many-10"],
        vec!["variable", "list", "--prefix", "none"],
        vec!["prune", "--dry-run"],
        vec!["prune", "--json"],
    ]);
    let mut codes = std::collections::BTreeSet::new();
    for command in &commands {
        let (mut here, mut there) = (both.here(command), both.there(command));
        if command.contains(&"damaged") {
            // Damage shows here when the value is being printed, there before.
            (here.err, there.err) = (String::new(), String::new());
        }
        assert_eq!(there, here, "{command:?}");
        codes.insert(here.code);
    }
    assert_eq!(codes.into_iter().collect::<Vec<_>>(), [0, 1, 3, 4, 5, 6]);
    assert!(!both.folder.path().join("elsewhere").exists(), "a server needs no home");
    // What is offloaded is told but for its place.
    let large = ["xcom", "get", "--json", "--dag-id", "weather", "--run-id", "r1", "--task-id", "large"];
    let (mut here, there) = (both.here(&large).json(), both.there(&large).json());
    assert!(here.as_object_mut().unwrap().remove("reference").is_some());
    assert_eq!(there, here);
    let shown = both.there(&["xcom", "get", "--dag-id", "weather", "--run-id", "r1", "--task-id", "large"]);
    assert!(shown.out.contains("in a value store of the server"), "{shown:?}");
}

#[test]
fn what_is_pushed_and_ended_is_the_same_with_a_server() {
    let both = Both::start();
    let names = ["--dag-id", "weather", "--run-id", "r2", "--task-id", "count"];
    let of = |command: &[&'static str], more: &[&'static str]| [command, &names, more].concat();
    let nothing = Told { code: 0, out: String::new(), err: String::new() };
    assert_eq!(both.there(&of(&["xcom", "push"], &["365"])), nothing);
    assert_eq!(both.here(&of(&["xcom", "pull"], &[])).out, "365\n");
    assert_eq!(both.there_with(&of(&["xcom", "push"], &["--text", "-"]), "a \"b\"\n".as_bytes()), nothing);
    assert_eq!(both.here(&of(&["xcom", "pull"], &["--raw"])).out, "a \"b\"\n\n");
    let receipt = both.there(&of(&["xcom", "push", "--json"], &["[1, 2]"])).json();
    let here = both.here(&of(&["xcom", "push", "--json"], &["[1, 2]"])).json();
    for part in ["key", "size", "kind", "len", "offloaded", "already", "warnings"] {
        assert_eq!(receipt[part], here[part], "{part}");
    }
    for wrong in [&["[1, "][..], &["{a: 1}"], &["--secret", "nonsense"]] {
        let push = of(&["xcom", "push"], wrong);
        assert_eq!(both.there(&push), both.here(&push));
    }
    assert_eq!(both.there_with(&of(&["xcom", "push"], &["-"]), b"[1, ").code, 1);

    assert_eq!(both.there(&of(&["xcom", "push"], &["--secret", "--text", "hunter2"])), nothing);
    let pull = of(&["xcom", "pull"], &[]);
    assert_eq!(both.here(&pull), both.there(&pull));
    assert_eq!(both.here(&pull).code, 5);
    assert_eq!(both.here(&of(&["xcom", "pull"], &["--reveal"])).out, "\"hunter2\"\n");

    // A version that is no longer there for all but who names it.
    let history = both.there(&of(&["xcom", "history", "--json"], &[])).json();
    let first = history["past"].as_array().unwrap().last().unwrap()["version"].as_str().unwrap().to_owned();
    let past =
        ["xcom", "history", "--version", &first, names[0], names[1], names[2], names[3], names[4], names[5]];
    assert_eq!((both.there(&past).out.as_str(), both.here(&past).out.as_str()), ("365\n", "365\n"));

    assert_eq!(both.there(&of(&["xcom", "clear", "--json"], &[])).json()["cleared"], 1);
    let clear = of(&["xcom", "clear"], &[]);
    assert_eq!(both.there(&clear), both.here(&clear));
    assert_eq!(both.there(&of(&["xcom", "push"], &["1"])), nothing);
    assert_eq!(both.there(&of(&["xcom", "clear", "--json"], &["--all-keys"])).json()["cleared"], 1);
    let unsure = of(&["xcom", "delete"], &[]);
    assert_eq!(both.there(&unsure), both.here(&unsure));
    assert!(
        both.there(&of(&["xcom", "delete", "--json"], &["--yes"])).json()["deleted"].as_u64().unwrap() > 1
    );
    assert_eq!(both.here(&of(&["xcom", "history"], &[])).code, 3);

    let set = ["variable", "set", "station", "roof", "--description", "where it stands"];
    assert_eq!(both.there(&set), nothing);
    assert_eq!(both.here(&["variable", "get", "station"]).out, "roof\n");
    assert_eq!(both.there_with(&["variable", "set", "input", "-"], "two\nlines\n".as_bytes()), nothing);
    assert_eq!(both.here(&["variable", "get", "input"]).out, "two\nlines\n\n");
    let long = "k".repeat(251);
    let wrong = ["variable", "set", &long, "1"];
    assert_eq!(both.there(&wrong), both.here(&wrong));
    assert_eq!(both.there(&["variable", "delete", "input"]), nothing);
    let gone = ["variable", "delete", "input"];
    assert_eq!(both.there(&gone), both.here(&gone));
    assert_eq!(both.there(&["variable", "delete", "station", "--json"]).json()["deleted"], true);

    let old =
        both.there(&["prune", "--older-than", "0s", "--dag-id", "weather", "--dry-run", "--json"]).json();
    assert!(old["entries"].as_u64().unwrap() > 5 && old["due"][0]["rule"] == "prune older_than 0", "{old}");
    let pruned = both.there(&["prune", "--older-than", "0s", "--dag-id", "weather", "--json"]).json();
    assert_eq!(pruned["entries"], old["entries"]);
    assert!(
        both.here(&["prune", "--dag-id", "weather", "--older-than", "0s"]).out.contains("nothing is past")
    );
}

#[test]
fn twenty_mebibytes_go_through_as_a_stream() {
    let both = Both::start();
    let names = ["--dag-id", "weather", "--run-id", "r2", "--task-id", "rows", "-"];
    let text = format!("[{}]", vec!["1234567890"; 2_000_000].join(","));
    let push = [&["xcom", "push"][..], &names].concat();
    let pushed = both.there_with(&push, text.as_bytes());
    assert!(pushed.code == 0 && pushed.err.contains("over the soft limit"), "{pushed:?}");
    let pulled = both.there(&[&["xcom", "pull"][..], &names[..6]].concat());
    assert_eq!((pulled.code, pulled.out.len()), (0, text.len() + 1));
    assert!(pulled.out.starts_with(&text));
}

#[test]
fn who_may_not_is_told_with_the_same_codes() {
    let both = Both::start();
    let names = ["--dag-id", "weather", "--run-id", "r1", "--task-id", "count"];
    let with = |changes: &[(&str, &str)], arguments: &[&str]| {
        let mut command = excom(&both.folder.path().join("elsewhere"));
        command
            .env("EXCOM__CLIENT__SERVER", &both.server.address)
            .env("EXCOM__CLIENT__TOKEN", &both.server.token);
        command.env("EXCOM__CLIENT__PATIENCE", "0s").envs(changes.iter().copied());
        Told::from(command.args(arguments).output().unwrap())
    };
    let pull = [&["xcom", "pull"][..], &names].concat();
    let push = [&["xcom", "push"][..], &names, &["1"]].concat();
    assert_eq!(with(&[], &pull).code, 0);

    let bad = with(&[("EXCOM__CLIENT__TOKEN", "nonsense")], &pull);
    assert!(
        bad.code == 5 && bad.err.contains("refuses the token") && bad.err.contains("excom token"),
        "{bad:?}"
    );
    assert!(!bad.err.contains("nonsense"), "{bad:?}");
    let none = with(&[("EXCOM__CLIENT__TOKEN", "")], &pull);
    assert!(none.code == 1 && none.err.contains("--token-file"), "{none:?}");
    let gone = with(&[], &[&["--token-file", "/nowhere/token"][..], &pull].concat());
    assert!(gone.code == 1 && gone.err.contains("/nowhere/token"), "{gone:?}");

    let away = with(&[("EXCOM__CLIENT__SERVER", "http://127.0.0.1:9")], &pull);
    assert!(away.code == 7 && away.err.contains("http://127.0.0.1:9 cannot be reached"), "{away:?}");
    let wrong = with(&[("EXCOM__CLIENT__SERVER", "ftp://127.0.0.1")], &pull);
    assert!(wrong.code == 1 && wrong.err.contains("[client] server = ftp://127.0.0.1"), "{wrong:?}");
    let below = with(&[("EXCOM__CLIENT__SERVER", &format!("{}/nowhere", both.server.address))], &push);
    assert!(below.code == 1 && below.err.contains("no such route"), "{below:?}");

    // What works on the database itself says so.
    for command in [
        &["doctor"][..],
        &["gc"],
        &["db", "status"],
        &["keys", "list"],
        &["serve", "--dev"],
        &["migrate-values"],
        &["xcom", "refusals"],
        &["prune", "--older-than", "1d", "--airflow"],
        &["prune", "--rate", "10"],
    ] {
        let told = with(&[], command);
        assert!(told.code == 2 && told.err.contains("without --server"), "{command:?}: {told:?}");
    }
    assert_eq!(with(&[], &["config", "get", "client", "token"]).out, "***\n");
}

#[test]
fn a_task_asks_as_itself() {
    let both = Both::start();
    let client = excom::client::Client::new(&both.server.address, &both.server.token).unwrap();
    let ti = TaskInstanceKey::new("weather", "r1", "late", -1).unwrap();
    let started = pollster::block_on(crate::client::running(&client, &both.server.address, &ti));
    let token = both.folder.path().join("task-token");
    std::fs::write(&token, &started.token).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = excom(&both.folder.path().join("elsewhere"));
        command.args(["--server", &both.server.address, "--token-file"]).arg(&token);
        command.envs([("EXCOM_DAG_ID", "weather"), ("EXCOM_RUN_ID", "r1"), ("EXCOM_TASK_ID", "late")]);
        command.env("EXCOM_ATTEMPT_ID", started.attempt.to_string());
        Told::from(command.args(arguments).output().unwrap())
    };
    assert_eq!(run(&["xcom", "push", "7"]).code, 0);
    assert_eq!(run(&["xcom", "pull"]).out, "7\n");
    // A task needs what is secret.
    assert_eq!(run(&["xcom", "pull", "--task-id", "secret"]).out, "\"hunter2\"\n");
    let list = both.here(&["xcom", "list", "--task-id", "late", "--json"]).json();
    assert_eq!(list["items"][0]["writer"]["attempt"], 1);
    // The next try takes its place.
    pollster::block_on(crate::client::running(&client, &both.server.address, &ti));
    let late = run(&["xcom", "push", "8"]);
    assert!(late.code == 5 && late.err.contains("late"), "{late:?}");
}
