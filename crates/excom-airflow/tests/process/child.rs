//! The processes that the tests start.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use excom_airflow::process::task::{self, Assignment};
use excom_core::value::Payload;
use excom_core::{SequenceKey, Slice, Value};
use excom_flow::runner::isolation::Done;
use excom_flow::{BoxError, DagDefinition, Reschedule, Result, Skip, TaskInstance};

/// Not a test: with arguments in its environment it is a task.
#[test]
fn process() {
    let (Ok(arguments), Ok(behaviour)) = (std::env::var("TASK_ARGUMENTS"), std::env::var("TASK_BEHAVIOUR"))
    else {
        return;
    };
    if let Some(raw) = behaviour.strip_prefix("raw_") {
        std::process::exit(crate::raw::run(raw, &arguments));
    }
    if behaviour == "flow" {
        let arguments = arguments.split(' ').map(OsString::from);
        let ended =
            task::serve_as(arguments, &[crate::flow::isolated(), crate::same::tasks()], |task| async move {
                excom_flow::runner::isolation::execute(&task.graph, task.ti, task.max_map_length).await
            });
        std::process::exit(if ended == Some(ExitCode::SUCCESS) { 0 } else { 1 });
    }
    let definitions = [DagDefinition::new("dag", |dag| {
        dag.bash("task", "true");
    })];
    let arguments = arguments.split(' ').map(OsString::from);
    let ended = task::serve_as(arguments, &definitions, |task| body(behaviour, task));
    std::process::exit(if ended == Some(ExitCode::SUCCESS) { 0 } else { 1 });
}

/// What a task's body does.
async fn body(behaviour: String, task: Assignment) -> Result<Done> {
    assert_eq!((&**task.graph.dag_id(), &*task.task_id, task.max_map_length), ("dag", "task", 7));
    let ti = task.ti;
    match behaviour.as_str() {
        "succeeds" => {
            ti.axcom_push("rows", &365).await?;
            let exact = Value::parse(r#"{"b": 123456789012345678901234567890, "a":1.0}"#)?;
            let receipt = ti.axcom_push("text", "é").await?;
            println!("a line of output");
            ti.log(&format!("try {} pushed {} bytes", ti.try_number(), receipt.size));
            ti.log(&format!("n is {} in {:?} at {:?}", ti.param::<i64>("n")?, ti.home(), ti.ds()));
            let pushes = vec![(ti.key().return_value(), exact)];
            return Ok(Done { pushes, skips: vec!["left".into()], mapped_over: false });
        }
        "streams" => {
            let value = Value::parse("[1, 2]")?;
            ti.channel().push(&ti.key().xcom("stream")?, Payload::Value(value)).await?;
        }
        "pulls" => return pulls(&ti).await,
        "too_large" => {
            let text = "x".repeat(2 << 20);
            ti.axcom_push("text", &text).await?;
        }
        "large" => {
            let text = "é".repeat(400 << 10);
            ti.axcom_push("text", &text).await?;
            let back: String = ti.xcom_pull("task").key("text").aget().await?;
            assert!(back == text);
        }
        "many" => {
            // Much at the same time, from threads that block and tasks that do not.
            let mut running = Vec::new();
            for n in 0..32_u64 {
                let ti = ti.clone();
                running.push(tokio::task::spawn_blocking(move || ti.xcom_push(&format!("key {n}"), &n)));
            }
            for running in running {
                running.await??;
            }
        }
        "leaves_what_is_refused" => {
            let nameless =
                r#"{"dag_id": "dag", "run_id": "run", "task_id": "task", "map_index": -1, "key": ""}"#;
            let pushes = vec![(serde_json::from_str(nameless)?, Value::null())];
            return Ok(Done { pushes, ..Done::default() });
        }
        "fails" => {
            let error =
                excom_core::Error::new(excom_core::ErrorKind::Full, "no room").hint("remove something");
            return Err(error.into());
        }
        "skips" => return Err(Skip::because("no rows").into()),
        "reschedules" => return Err(Reschedule::after(Duration::from_millis(1500)).into()),
        "panics" => panic!("oh no"),
        "aborts_in_a_push" => {
            ti.axcom_push("text", "before").await?;
            let large = "é".repeat(400 << 10);
            tokio::spawn(async move { ti.axcom_push("text", &large).await });
            // The push is on its way, or not yet, or done.
            tokio::task::yield_now().await;
            std::process::abort();
        }
        "is_killed_in_a_push" => {
            ti.axcom_push("text", "before").await?;
            let large = "é".repeat(400 << 10);
            tokio::spawn(async move { ti.axcom_push("text", &large).await });
            tokio::task::yield_now().await;
            signal_itself(rustix::process::Signal::KILL);
        }
        "overflows_its_stack" => println!("{}", deep(0)),
        "stops" => {
            ti.log(&format!("process {} stops", std::process::id()));
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP)?;
            std::future::pending::<()>().await;
        }
        "aborts" => {
            eprintln!("the last words");
            std::process::abort();
        }
        "exits_0" => std::process::exit(0),
        "exits_3" => std::process::exit(3),
        "segfaults" => signal_itself(rustix::process::Signal::SEGV),
        "is_killed" => signal_itself(rustix::process::Signal::KILL),
        "waits" => {
            ti.log("waiting");
            ti.cancelled().await;
            return Err("it was told to stop".into());
        }
        "ends_well_when_cancelled" => {
            ti.log("waiting");
            ti.cancelled().await;
            ti.axcom_push("end", "in order").await?;
        }
        "hangs" => {
            ti.log(&format!("process {} hangs", std::process::id()));
            std::future::pending::<()>().await;
        }
        "hangs_with_strays" => {
            let stray = sleeper(true)?;
            ti.log(&format!("stray {stray} and process {}", std::process::id()));
            std::future::pending::<()>().await;
        }
        "leaves_a_child" => {
            ti.axcom_push("child", &sleeper(false)?).await?;
        }
        // With the output of this one, which nobody may wait for.
        "leaves_a_server" => {
            println!("the last line before the server");
            ti.axcom_push("child", &sleeper(true)?).await?;
        }
        "leaves_a_stray_and_aborts" => {
            ti.axcom_push("child", &sleeper(true)?).await?;
            std::process::abort();
        }
        "floods_output" => {
            let line = "x".repeat(99) + "\n";
            let mut output = std::io::stdout().lock();
            for _ in 0..100_000 {
                output.write_all(line.as_bytes())?;
            }
            // And a line without an end.
            output.write_all("y".repeat(4 << 20).as_bytes())?;
            output.flush()?;
        }
        "floods_log" => {
            for n in 0..100_000 {
                ti.log(&format!("line {n}"));
            }
        }
        other => return Err(format!("nobody told what `{other}` is").into()),
    }
    Ok(Done::default())
}

async fn pulls(ti: &TaskInstance) -> Result<Done> {
    let exact = ti.channel().pull(&[ti.key().xcom("k")?], Default::default()).await?;
    ti.log(&format!("code {}", exact[0].code()));
    let number = ti.channel().pull_tasks(&[sequence("number")?], Default::default()).await?;
    ti.log(&format!("number {number:?}"));
    let mapped = ti.channel().pull_tasks(&[sequence("mapped")?], Default::default()).await?;
    ti.log(&format!("mapped {mapped:?}"));
    let sequence = sequence("mapped")?;
    ti.log(&format!("count {}", ti.channel().count(&sequence).await?));
    let last = ti.channel().slice(&sequence, Slice::item(-1)).await?;
    ti.log(&format!("last {} {}", last[0].0, last[0].1));
    ti.channel().note_rendered(&[("sql".to_owned(), Value::of("select 1")?)]).await?;
    let _: u64 = ti.xcom_pull("numbre").aget().await?;
    Ok(Done::default())
}

fn sequence(task_id: &str) -> Result<SequenceKey, BoxError> {
    Ok(excom_core::XComKey::new("dag", "run", task_id, -1, "return_value")?.sequence())
}

/// A process that sleeps on, with the files of this one; in a group of its own or in this one's.
fn sleeper(own_group: bool) -> Result<String> {
    let mut command = Command::new("sleep");
    command.arg("100000").stdin(Stdio::null());
    if own_group {
        command.process_group(0);
    }
    Ok(command.spawn()?.id().to_string())
}

/// Calls itself until there is no stack left.
fn deep(n: u64) -> u64 {
    let here = std::hint::black_box([n; 512]);
    if here[0] == u64::MAX { 0 } else { deep(here[511] + 1) + here[0] }
}

fn signal_itself(signal: rustix::process::Signal) -> ! {
    loop {
        // Rust's own handler takes the first for what it may be, an overflow of the stack.
        rustix::process::kill_process(rustix::process::getpid(), signal).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
}
