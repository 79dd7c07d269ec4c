//! Keys rotated, the backend switched and values migrated by the command, while a DAG program pushes and pulls.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use excom::config::{Environment, Settings, Sources};
use excom::prelude::*;
use excom::{Caller, Engine, PullOptions, RunOptions, Runner, XComKey};
use excom_testkit::redis::{Program, Redis};
use excom_testkit::skip::skipped;

use crate::{Shell, Told};

const INSTANCES: u64 = 6;

/// Every instance's value leaves the database; the last one's is of several frames and chunks.
fn value(round: u64, number: u64) -> String {
    let times = if number + 1 == INSTANCES { 150_000 } else { 10_000 };
    format!("{round:04}{number:04}").repeat(times)
}

#[task]
fn numbers() -> Vec<u64> {
    (0..INSTANCES).collect()
}

#[task]
fn make(round: u64, number: u64) -> String {
    value(round, number)
}

#[task]
fn check(round: u64, made: (u64, String)) -> Result<u64> {
    let (number, made) = made;
    if made == value(round, number) { Ok(number) } else { Err("that is not what was made".into()) }
}

#[task]
fn all(round: u64, made: Vec<String>, checked: Vec<u64>) -> Result<usize> {
    let right = (0..INSTANCES).map(|number| value(round, number)).eq(made);
    if right { Ok(checked.len()) } else { Err("these are not all that were made".into()) }
}

#[dag]
fn load(dag: &Dag, round: Param<u64>) {
    let numbers = numbers(dag);
    let made = make(dag, round, expand(numbers));
    let checked = check(dag, round, expand(numbers.zip(made)));
    all(dag, round, made, checked);
}

/// The program that goes on all the while: one engine, run after run.
struct Going {
    engine: Engine,
    stop: Arc<AtomicBool>,
    done: Sender<u64>,
}

impl Going {
    /// Runs until it is told to stop; after each run it pulls what the first and the last ones pushed.
    fn on(self) -> u64 {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let runner = Runner::new(self.engine.clone()).parallelism(8);
        let mut round = 0;
        while !self.stop.load(Ordering::SeqCst) {
            let options = RunOptions::new().run_id(format!("r{round}")).param("round", round.to_string());
            let report = runtime.block_on(runner.run(&load(), options)).unwrap();
            assert!(report.succeeded(), "{report:#?}");
            round += 1;
            everything_is_right(&self.engine, 0..round.min(2));
            everything_is_right(&self.engine, round.saturating_sub(2)..round);
            if self.done.send(round).is_err() {
                // The test failed, which is told there.
                break;
            }
        }
        runtime.block_on(self.engine.close()).unwrap();
        round
    }
}

fn everything_is_right(engine: &Engine, rounds: Range<u64>) {
    let all = rounds.flat_map(|round| (0..INSTANCES).map(move |number| (round, number)));
    let all: Vec<(u64, u64)> = all.collect();
    let key = |(round, number): &(u64, u64)| {
        XComKey::new("load", format!("r{round}"), "make", *number as i32, "return_value").unwrap()
    };
    let keys: Vec<XComKey> = all.iter().map(key).collect();
    let answers =
        pollster::block_on(engine.pull(&Caller::user("ana"), &keys, PullOptions::default())).unwrap();
    for ((round, number), answer) in all.into_iter().zip(answers) {
        let pulled = answer.found().unwrap_or_else(|| panic!("{answer}")).value.get::<String>().unwrap();
        assert!(pulled == value(round, number), "run {round}, instance {number}");
    }
}

/// What whoever operates it does, each by a command of its own.
struct Operator<'a> {
    shell: &'a Shell,
    engine: &'a Engine,
    done: &'a Receiver<u64>,
    stop: Arc<AtomicBool>,
    pushed: Vec<String>,
}

/// The program stops with whoever operates it, also when something is wrong.
impl Drop for Operator<'_> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

impl Operator<'_> {
    /// Waits for a run that began after what was done last; what others pushed is pulled by the program too.
    fn while_it_runs(&self) {
        let first = self.done.recv().unwrap();
        while self.done.recv().unwrap() <= first {}
        for text in &self.pushed {
            let key = XComKey::new("weather", "r1", "count", -1, text.as_str()).unwrap();
            let pulled =
                pollster::block_on(self.engine.pull(&Caller::user("ana"), &[key], PullOptions::default()));
            let answer = pulled.unwrap().remove(0);
            let found = answer.found().unwrap_or_else(|| panic!("{answer}"));
            assert_eq!(found.value.get::<String>().unwrap(), text.repeat(20_000));
        }
    }

    fn run(&self, arguments: &[&str]) -> Told {
        let told = self.shell.run(arguments);
        assert_eq!((told.code, told.err.as_str()), (0, ""), "{arguments:?}: {told:?}");
        told
    }

    fn rotate(&self) {
        self.run(&["keys", "rotate"]);
        self.while_it_runs();
    }

    /// New settings from now on, for whoever looks; a value is pushed with them.
    fn switch(&mut self, settings: &str) {
        self.shell.file("new.toml", settings);
        std::fs::rename(self.shell.path().join("new.toml"), self.shell.path().join("excom.toml")).unwrap();
        let text = format!("value{:02}", self.pushed.len());
        let value = format!("\"{}\"", text.repeat(20_000));
        let told = self.shell.count_with("push", &["-", "--key", &text], value.as_bytes());
        assert_eq!(told, Told::nothing());
        self.pushed.push(text);
        self.while_it_runs();
    }

    /// Seals all with the current key and lets the others go. The program may not have found the current one yet.
    fn renew(&self) {
        let keys = self.run(&["keys", "rotate", "--json"]).json();
        let ids = keys["keys"].as_array().unwrap().iter().map(|id| id.as_str().unwrap());
        for old in ids.filter(|id| *id != keys["current"]) {
            let retired = (0..20).any(|_| {
                // The first time it may be in use until it is to be retired, and is no more from then on.
                self.run(&["migrate-values", "--reseal", "--rate", "100MiB"]);
                self.shell.run(&["keys", "retire", old]).code == 0
            });
            assert!(retired, "{old} is still in use");
        }
        self.while_it_runs();
        assert_eq!(
            self.run(&["keys", "list", "--json"]).json()["keys"],
            serde_json::json!([keys["current"]])
        );
    }

    fn migrate(&self) {
        let told = self.run(&["migrate-values", "--rate", "100MiB"]);
        assert!(told.out.contains("moved"), "{told:?}");
        self.while_it_runs();
    }
}

fn stored(folder: &Path) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        count += if entry.path().is_dir() { stored(&entry.path()) } else { 1 };
    }
    count
}

/// Does it all with two other places, which settings select in turn, and comes back to the files of the home.
fn nothing_fails(shell: &Shell, [first, second, back]: [&str; 3]) {
    let sources = Sources {
        environment: Environment::default(),
        home: Some(shell.home()),
        folder: shell.path().to_owned(),
        ..Sources::default()
    };
    let engine = excom::embedded::open(&Settings::load(&sources).unwrap()).unwrap();
    let (stop, (done, ended)) = (Arc::new(AtomicBool::new(false)), channel());
    let going = Going { engine: engine.clone(), stop: stop.clone(), done };
    let rounds = std::thread::scope(|scope| {
        let program = scope.spawn(|| going.on());
        let mut operator = Operator { shell, engine: &engine, done: &ended, stop, pushed: Vec::new() };
        operator.while_it_runs();
        operator.rotate();
        operator.switch(first);
        operator.migrate();
        operator.renew();
        // Twice with nothing between them: the program finds both at once.
        operator.run(&["keys", "rotate"]);
        operator.rotate();
        operator.switch(second);
        operator.migrate();
        operator.switch(back);
        operator.migrate();
        drop(operator);
        program.join().unwrap()
    });
    everything_is_right(&engine, 0..rounds);
    // It is the one who opens now, too; and nothing is anywhere else.
    let told = shell.run(&["migrate-values"]);
    assert!(told.out.ends_with("all are where the selected backend puts them\n"), "{told:?}");
    let told = shell.run(&["doctor"]);
    assert_eq!(told.code, 0, "{told:?}");
    shell.run(&["gc", "--older-than", "0s"]).contains(0, &[]);
    let fresh = shell.engine();
    everything_is_right(&fresh, 0..rounds);
    assert_eq!(stored(&shell.path().join("bucket")), 0);
    assert_eq!(stored(&shell.home().join("values")) as u64, rounds * INSTANCES + 3);
}

#[test]
fn keys_backend_and_values_change_under_a_running_dag() {
    let shell = Shell::new();
    let settings = |backend: &str, place: &str, before: &str| {
        let [place, before] = [place, before].map(|name| shell.path().join("bucket").join(name));
        format!(
            "core.xcom_backend = '{backend}'\ncommon.io.xcom_objectstorage_path = 'file://{}'\n\
             xcom.also_read = ['file://{}']\n",
            place.display(),
            before.display()
        )
    };
    let first = settings("object_storage", "a", "b");
    nothing_fails(&shell, [&first, &settings("object_storage", "b", "a"), &settings("database", "a", "b")]);
}

#[test]
fn redis_takes_its_turn_under_a_running_dag() {
    let program = match Program::redis() {
        Ok(program) => program,
        Err(why) => return skipped("operating::redis_takes_its_turn_under_a_running_dag", &why),
    };
    let server = Redis::start(&program, "appendonly yes\nappendfsync always\n").unwrap();
    let shell = Shell::new();
    let bucket = shell.path().join("bucket");
    let settings = ["object_storage", "redis", "database"].map(|backend| {
        format!(
            "core.xcom_backend = '{backend}'\ncommon.io.xcom_objectstorage_path = 'file://{}'\nredis.url = '{}'\n",
            bucket.display(),
            server.url()
        )
    });
    nothing_fails(&shell, settings.each_ref().map(String::as_str));
}

#[test]
fn a_process_with_another_key_is_not_ready_and_says_why() {
    let shell = Shell::new();
    shell.file("excom.toml", "seal.keys = ['env:KEY']\n");
    let with = |key: u8, arguments: &[&str]| {
        let key = format!("{key:02x}").repeat(32);
        Told::from(shell.command(arguments).env("KEY", key).output().unwrap())
    };
    // The one that is there: it goes on all the while.
    let environment = Environment::from_iter([("KEY", "0a".repeat(32))]);
    let sources = Sources { environment, folder: shell.path().to_owned(), ..Sources::default() };
    let engine = excom::embedded::open(&Settings::load(&sources).unwrap()).unwrap();
    let key = XComKey::new("weather", "r1", "count", -1, "k").unwrap();
    let pushed = excom::Value::of(&value(0, 0)).unwrap();
    pollster::block_on(engine.push(&Caller::user("ana"), &key, pushed.clone().into())).unwrap();
    let known = engine.keys().current_id();

    let told = with(11, &["doctor"]);
    assert_eq!(told.code, 1);
    let why = format!("(from {}:1) is not the one that this home was used with", "excom.toml");
    for part in
        [why.as_str(), &format!("knows {known}"), &format!("add the key with the fingerprint {known}")]
    {
        assert!(told.out.contains(part), "{part:?} is not in {told:?}");
    }
    let count = crate::COUNT;
    let pull = [&["xcom", "pull"], &count[..], &["--key", "k"]].concat();
    with(11, &pull).contains(1, &["is not the one", &known]);
    let push = [&["xcom", "push"], &count[..], &["--key", "k", "2"]].concat();
    with(11, &push).contains(1, &["is not the one", &known]);
    assert_eq!(with(10, &pull), Told::out(&format!("{}\n", pushed.as_str())));
    let answers =
        pollster::block_on(engine.pull(&Caller::user("ana"), &[key], PullOptions::default())).unwrap();
    assert_eq!(answers[0].found().unwrap().value, pushed);
}
