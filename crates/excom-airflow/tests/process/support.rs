//! A supervisor whose program is this test executable, and an engine behind it.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use excom_airflow::process::{Supervisor, Timeouts};
use excom_core::{Engine, TaskInstanceKey, Value, memory};
use excom_flow::runner::isolation::{Done, Isolation, Outcome, TaskOrder};
use tempfile::TempDir;

/// A script of this name starts this executable as a task; a link to it names what the task does.
///
/// A supervisor gives a program nothing but its two arguments, and a test executable takes no arguments of
/// others.
pub(crate) fn program(behaviour: &str) -> PathBuf {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    // Nothing is started before it is written: a file that is still open cannot be executed.
    let folder = FOLDER.get_or_init(|| {
        let folder = TempDir::new().unwrap();
        let executable = std::env::current_exe().unwrap();
        let script = format!(
            "#!/bin/sh\nexport TASK_BEHAVIOUR=\"${{0##*/}}\" TASK_ARGUMENTS=\"$*\"\nexec '{}' --exact child::process --nocapture\n",
            executable.display()
        );
        let path = folder.path().join("script");
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        folder
    });
    let link = folder.path().join(behaviour);
    if let Err(error) = symlink(folder.path().join("script"), &link) {
        assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
    }
    link
}

/// Patient where a slow machine needs it, and quick to kill.
pub(crate) const TIMEOUTS: Timeouts = Timeouts {
    startup: Duration::from_secs(120),
    kill: Duration::from_millis(300),
    exit: Duration::from_millis(300),
};

/// One task instance over an engine in memory, and the log of its try.
pub(crate) struct Try {
    pub(crate) engine: Engine,
    pub(crate) order: TaskOrder,
    log: Arc<Mutex<Log>>,
    supervisor: Supervisor,
}

#[derive(Default)]
struct Log {
    lines: Vec<String>,
    count: usize,
}

/// How many lines a test keeps of a log.
const KEPT: usize = 1000;

impl Try {
    /// A try whose process does as it is told by name.
    pub(crate) async fn new(behaviour: &str) -> Self {
        let clock = Arc::new(memory::Clock::new());
        let engine = Engine::builder(Arc::new(memory::Db::new()), clock).build();
        let key = TaskInstanceKey::new("dag", "run", "task", -1).unwrap();
        let attempt = engine.start(&key, 1).await.unwrap();
        let log: Arc<Mutex<Log>> = Arc::default();
        let lines = log.clone();
        let channel = engine.channel(attempt.clone()).with_log(move |line| {
            let mut log = lines.lock().unwrap();
            log.count += 1;
            if log.lines.len() < KEPT {
                log.lines.push(line.to_owned());
            }
        });
        let now = "2026-11-21T10:00:00Z".parse().unwrap();
        let mut order = TaskOrder::new(key, attempt.id, now, Arc::new(channel));
        order.max_map_length = 7;
        let supervisor = Supervisor::new(program(behaviour)).timeouts(TIMEOUTS);
        Self { engine, order, log, supervisor }
    }

    /// The same with other timeouts.
    pub(crate) fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.supervisor = self.supervisor.timeouts(timeouts);
        self
    }

    pub(crate) async fn run(&self) -> Outcome {
        self.supervisor.run(self.order.clone()).await
    }

    /// What another task pushed.
    pub(crate) async fn given(&self, task_id: &str, map_index: i32, value: &str) {
        let key = TaskInstanceKey::new("dag", "run", task_id, map_index).unwrap();
        let attempt = self.engine.start(&key, 1).await.unwrap();
        let value = Value::parse(value.to_owned()).unwrap();
        let caller = excom_core::Caller::Attempt(attempt);
        self.engine.push(&caller, &key.return_value(), value.into()).await.unwrap();
    }

    /// What the task pushed under a key.
    pub(crate) async fn pushed(&self, key: &str) -> Option<String> {
        let key = self.order.key.xcom(key).unwrap();
        let caller = excom_core::Caller::user("test");
        let answer = self.engine.pull(&caller, &[key], Default::default()).await.unwrap().remove(0);
        answer.found().map(|found| found.value.as_str().to_owned())
    }

    /// The lines of the log, the first thousand.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().lines.clone()
    }

    /// How many lines the log has.
    pub(crate) fn log_count(&self) -> usize {
        self.log.lock().unwrap().count
    }

    /// Waits for a line in the log.
    pub(crate) async fn logged(&self, text: &str) -> String {
        loop {
            if let Some(line) = self.log().into_iter().find(|line| line.contains(text)) {
                return line;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// An end without anything left to do.
pub(crate) fn success() -> Outcome {
    Outcome::Succeeded(Done::default())
}

pub(crate) fn failure(outcome: Outcome) -> excom_flow::Failure {
    match outcome {
        Outcome::Failed(failure) => failure,
        other => panic!("it did not fail: {other:?}"),
    }
}

/// Waits until a process is gone, or at least dead: where nobody is in charge of orphans they stay as zombies.
pub(crate) async fn ended(process: &str) {
    let stat = format!("/proc/{process}/stat");
    while let Ok(stat) = fs::read_to_string(&stat) {
        if stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X'])) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
