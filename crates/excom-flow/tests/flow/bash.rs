//! The bash operator, with real commands.

use std::sync::Arc;
use std::time::{Duration, Instant};

use excom::prelude::*;
use excom_core::backend::Database;
use excom_core::{Engine, Shape, TaskState, memory};
use excom_flow::{DagDefinition, RunOptions, RunReport, Runner};

use crate::support::{engine, field, pushed, run, run_with};

/// Runs one command as task `t` of DAG `d`.
fn bash(command: &'static str) -> (RunReport, Option<String>) {
    let engine = engine();
    let definition = DagDefinition::new("d", move |dag| {
        dag.bash("t", command);
    });
    let report = run(&engine, &definition);
    (report, pushed(&engine, "d", "t", "return_value"))
}

fn last_line(command: &'static str) -> String {
    let (report, value) = bash(command);
    assert!(report.succeeded(), "{command}: {report:?}");
    value.unwrap()
}

#[test]
fn a_secret_variable_is_not_kept() {
    #[task]
    fn token() -> String {
        "se-cret".into()
    }
    let engine = engine();
    let definition = DagDefinition::new("d", |dag| {
        let script = "test $TOKEN = se-cret && test $RUN = r";
        let token = token(dag);
        dag.bash("bash", script).secret_env("TOKEN", token).env("RUN", "{{ run_id }}");
        let program = dag.program("program", ["sh", "-c", script]);
        program.secret_env("TOKEN", "{{ ti.xcom_pull('token') }}").env("RUN", "{{ run_id }}").after(token);
    });
    let report = run(&engine, &definition);
    assert!(report.succeeded(), "{report:?}");
    for task in ["bash", "program"] {
        assert_eq!(field(&engine, "d", task, "env.TOKEN"), "\"***\"");
        assert_eq!(field(&engine, "d", task, "env.RUN"), "\"r\"");
    }
}

fn failure(command: &'static str) -> String {
    let (report, value) = bash(command);
    assert_eq!(report.tasks[0].state, TaskState::Failed, "{command}");
    assert_eq!(value, None);
    report.tasks[0].failure.clone().unwrap().message
}

#[test]
fn the_last_line_is_pushed() {
    assert_eq!(last_line("echo one; echo 'two  '"), "\"two\"");
    assert_eq!(last_line("echo out; echo err >&2"), "\"err\"");
    assert_eq!(last_line("true"), "\"\"");
    assert_eq!(last_line("echo one; echo"), "\"\"");
    assert_eq!(last_line("printf 'no end'"), "\"no end\"");
    assert_eq!(last_line(r"printf 'a\xffb\n'"), r#""a\\xffb""#);
}

#[test]
fn exit_codes() {
    let (report, value) = bash("echo no; exit 99");
    assert_eq!((report.tasks[0].state, value), (TaskState::Skipped, None));
    let message = failure("echo before; echo why >&2; exit 3");
    assert_eq!(message, "the command ended with code 3; its output ends with:\nbefore\nwhy");
    assert_eq!(failure("exit 1"), "the command ended with code 1; it printed nothing");
    assert!(failure("kill -9 $$").contains("by signal 9"));
    let tail = failure("for i in $(seq 1 1000); do echo line $i; done; exit 1");
    assert!(
        tail.ends_with("line 1000") && tail.contains("line 981\n") && !tail.contains("line 980\n"),
        "{tail}"
    );
}

#[test]
fn values_arrive_in_variables_as_data() {
    #[derive(Serialize, Deserialize, Outputs)]
    struct Values {
        text: String,
        list: Vec<u8>,
        number: f64,
    }
    #[task(multiple_outputs)]
    fn values() -> Values {
        let text = "'; echo $(touch /tmp/never) `id` {{ ds }}\nline \"2\"".into();
        Values { text, list: vec![1, 2], number: 2.5 }
    }
    #[dag]
    fn variables(dag: &Dag, #[param(default = "x y")] label: Param<String>) {
        let values = values(dag);
        dag.bash("show", r#"printf '%s|' "$TEXT" "$LIST" "$NUMBER" "$LABEL" "$RENDERED" | base64 -w0"#)
            .env("TEXT", values.text())
            .env("LIST", values.list())
            .env("NUMBER", values.number())
            .env("LABEL", label)
            .env("RENDERED", "{{ ti.xcom_pull('values', key='list') }} {{ params.label }}");
    }
    let engine = engine();
    let report = run(&engine, &variables());
    assert!(report.succeeded(), "{report:?}");
    let shown = pushed(&engine, "variables", "show", "return_value").unwrap();
    let expected = "'; echo $(touch /tmp/never) `id` {{ ds }}\nline \"2\"|[1,2]|2.5|x y|[1, 2] x y|";
    assert_eq!(shown, format!("\"{}\"", base64(expected.as_bytes())));
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let number =
            chunk.iter().enumerate().fold(0u32, |sum, (i, byte)| sum | u32::from(*byte) << (16 - 8 * i));
        for i in 0..4 {
            let letter = LETTERS[(number >> (18 - 6 * i) & 63) as usize] as char;
            text.push(if i <= chunk.len() { letter } else { '=' });
        }
    }
    text
}

#[test]
fn the_command_knows_its_task_instance() {
    let definition = DagDefinition::new("d", |dag| {
        let command = "echo $EXCOM_DAG_ID/$EXCOM_RUN_ID/$EXCOM_TASK_ID/$EXCOM_MAP_INDEX/$EXCOM_TRY_NUMBER/$EXCOM_HOME/$(printf $EXCOM_ATTEMPT_ID | wc -c)";
        dag.bash("t", command);
        dag.bash("here", "pwd").directory("{{ '/' }}tmp");
    });
    let engine = engine();
    let runner = Runner::new(engine.clone()).home("/var/excom");
    run_with(&runner, &definition, RunOptions::new());
    assert_eq!(pushed(&engine, "d", "t", "return_value").unwrap(), "\"d/r/t/-1/1//var/excom/36\"");
    assert_eq!(pushed(&engine, "d", "here", "return_value").unwrap(), "\"/tmp\"");
}

#[test]
fn the_command_is_a_template_and_strict() {
    assert_eq!(last_line("echo '{{ run_id }} {{ ti.task_id }}'"), "\"r t\"");
    let message = failure("echo {{ nobody }}");
    assert!(
        message.contains("template of task `t`, field `command`, line 1, column 9, `nobody`"),
        "{message}"
    );
}

#[test]
fn long_lines() {
    let roomy = Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new()))
        .backend(Arc::new(Database::new(4 << 20)))
        .build();
    let definition = DagDefinition::new("d", |dag| {
        dag.bash("t", "head -c 1048576 /dev/zero | tr '\\0' x");
    });
    let report = run(&roomy, &definition);
    assert_eq!(report.tasks[0].pushed[0].size, 1_048_578, "{:?}", report.tasks[0].failure);
    assert_eq!(report.tasks[0].pushed[0].shape, Shape::String);
    let message = failure("head -c 1048577 /dev/zero | tr '\\0' x");
    assert!(message.contains("over 1 MiB"), "{message}");
    let quiet = DagDefinition::new("d", |dag| {
        dag.bash("t", "head -c 3000000 /dev/zero | tr '\\0' x").do_xcom_push(false);
    });
    assert!(run(&engine(), &quiet).succeeded());
    // A long line before a short one is no trouble.
    assert_eq!(last_line("head -c 3000000 /dev/zero | tr '\\0' x; echo; echo end"), "\"end\"");
}

#[test]
fn what_no_variable_can_hold_is_refused_in_words() {
    #[task]
    fn big() -> String {
        "x".repeat(200_000)
    }
    #[task]
    fn nul() -> String {
        "a\0b".into()
    }
    #[dag]
    fn refused(dag: &Dag) {
        let (big, nul) = (big(dag), nul(dag));
        dag.bash("large", "true").env("BIG", big);
        dag.bash("zero", "true").env("NUL", nul);
        dag.bash("nowhere", "true").directory("/no/such/folder");
    }
    let report = run(&engine(), &refused());
    let message = |task: &str| report.task(task).unwrap().failure.clone().unwrap().message;
    assert!(message("large").contains("`BIG` has 200000 bytes"), "{}", message("large"));
    assert!(message("zero").contains("`NUL` has a NUL character"), "{}", message("zero"));
    assert!(message("nowhere").contains("/no/such/folder"), "{}", message("nowhere"));
}

#[test]
fn what_a_command_leaves_behind_is_ended_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display().to_string();
    let definition = DagDefinition::new("d", move |dag| {
        let left = "(trap '' TERM; sleep 61 & echo $! > $IN/$T; wait) & sleep 60 > /dev/null & until test -s $IN/$T; do sleep 0.01; done; echo done";
        dag.bash("left", left).env("IN", path.as_str()).env("T", "left");
        dag.bash("stays", "setsid sleep 62 > /dev/null 2>&1 & echo $! > $IN/$T; until grep -q sleep /proc/$!/comm; do sleep 0.01; done; echo done")
            .env("IN", path.as_str())
            .env("T", "stays");
    });
    let engine = engine();
    let runner = Runner::new(engine.clone()).logs(folder.path().join("logs"));
    let began = Instant::now();
    let report = run_with(&runner, &definition, RunOptions::new());
    assert!(report.succeeded(), "{report:?}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    let log = |task: &str| std::fs::read_to_string(report.task(task).unwrap().log.as_ref().unwrap()).unwrap();
    let told = "the command left processes behind, which were ended";
    assert_eq!((log("left").matches(told).count(), log("stays").matches(told).count()), (1, 0));
    assert_eq!(pushed(&engine, "d", "left", "return_value").unwrap(), "\"done\"");
    let state = |task: &str| {
        let pid = std::fs::read_to_string(folder.path().join(task)).unwrap();
        let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        (pid, state.unwrap_or_default())
    };
    // Killed; whether the system has noticed is its own matter.
    while !matches!(state("left").1.as_str(), "") && !state("left").1.contains(") Z ") {
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", state("left"));
        std::thread::sleep(Duration::from_millis(5));
    }
    let (pid, state) = state("stays");
    assert!(state.contains("(sleep)"), "{state}");
    std::process::Command::new("kill").arg(pid.trim()).status().unwrap();
}

#[test]
fn retries_and_order_on_a_handle() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seen").display().to_string();
    let definition = DagDefinition::new("d", move |dag| {
        let first = dag.bash("first", "echo first");
        dag.bash("second", "test -e \"$SEEN\" || { touch \"$SEEN\"; exit 1; }; echo $EXCOM_TRY_NUMBER")
            .env("SEEN", path.as_str())
            .retries(2)
            .after(first);
    });
    let engine = engine();
    let report = run(&engine, &definition);
    assert!(report.succeeded(), "{report:?}");
    assert_eq!(report.tasks[1].tries, 2);
    assert_eq!(pushed(&engine, "d", "second", "return_value").unwrap(), "\"2\"");
}
