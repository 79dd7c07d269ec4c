//! The processes that the tests start.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use excom_airflow::process::task;
use excom_core::value::Payload;
use excom_core::{SequenceKey, Slice, Value};
use excom_flow::{BoxError, DagDefinition, Graph, Reschedule, Result, Skip, SkipDownstream, TaskInstance};
use rmpv::Value as MessagePack;

/// Not a test: with arguments in its environment it is a task.
#[test]
fn process() {
    let (Ok(arguments), Ok(behaviour)) = (std::env::var("TASK_ARGUMENTS"), std::env::var("TASK_BEHAVIOUR"))
    else {
        return;
    };
    if let Some(raw) = behaviour.strip_prefix("raw_") {
        std::process::exit(self::raw(raw, &arguments));
    }
    let definitions = [DagDefinition::new("dag", |dag| {
        dag.bash("task", "true");
    })];
    let arguments = arguments.split(' ').map(OsString::from);
    let ended = task::serve_as(arguments, &definitions, |graph, task, ti| body(behaviour, graph, task, ti));
    std::process::exit(if ended == Some(ExitCode::SUCCESS) { 0 } else { 1 });
}

/// What a task's body does.
async fn body(
    behaviour: String,
    graph: Graph,
    task_id: Arc<str>,
    ti: TaskInstance,
) -> Result<Option<SkipDownstream>> {
    assert_eq!((&**graph.dag_id(), &*task_id), ("dag", "task"));
    match behaviour.as_str() {
        "succeeds" => {
            ti.axcom_push("rows", &365).await?;
            let exact = Value::parse(r#"{"b": 123456789012345678901234567890, "a":1.0}"#)?;
            let receipt = ti.channel().push(&ti.key().return_value(), exact.into()).await?;
            println!("a line of output");
            ti.log(&format!("try {} pushed {} bytes", ti.try_number(), receipt.size));
            ti.log(&format!("n is {} in {:?} at {:?}", ti.param::<i64>("n")?, ti.home(), ti.ds()));
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
        "fails" => {
            let error =
                excom_core::Error::new(excom_core::ErrorKind::Full, "no room").hint("remove something");
            return Err(error.into());
        }
        "skips" => return Err(Skip::because("no rows").into()),
        "reschedules" => return Err(Reschedule::after(Duration::from_millis(1500)).into()),
        "branches" => return Ok(Some(SkipDownstream::AllBut(vec!["left".to_owned()]))),
        "panics" => panic!("oh no"),
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
    Ok(None)
}

async fn pulls(ti: &TaskInstance) -> Result<Option<SkipDownstream>> {
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
    ti.log(&format!("variable {}", ti.channel().variable("k").await.unwrap_err()));
    ti.channel().note_rendered(&[("sql".to_owned(), Value::of("select 1")?)]).await?;
    let _: u64 = ti.xcom_pull("numbre").aget().await?;
    Ok(None)
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

fn signal_itself(signal: rustix::process::Signal) -> ! {
    loop {
        // Rust's own handler takes the first for what it may be, an overflow of the stack.
        rustix::process::kill_process(rustix::process::getpid(), signal).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What a process says that knows nothing of our library.
fn raw(behaviour: &str, arguments: &str) -> i32 {
    if behaviour == "never_connects" {
        loop {
            std::thread::sleep(Duration::from_secs(1000));
        }
    }
    if behaviour == "exits_before_it_connects" {
        eprintln!("no configuration");
        return 7;
    }
    let address = |name: &str| {
        arguments.split(' ').find_map(|argument| argument.strip_prefix(name)).unwrap().to_owned()
    };
    let mut comm = TcpStream::connect(address("--comm=")).unwrap();
    let mut logs = TcpStream::connect(address("--logs=")).unwrap();
    let startup = receive(&mut comm);
    let success = message("SucceedTask", &[("end_date", "2026-11-21T10:00:00Z".into())]);
    match behaviour {
        "sends_no_message_pack" => send(&mut comm, b"\0\0\0\x04\xc1\xc1\xc1\xc1"),
        "sends_a_map" => send(&mut comm, b"\0\0\0\x01\x80"),
        "sends_nothing" => send(&mut comm, b"\0\0\0\0"),
        "sends_4_gib" => send(&mut comm, b"\xff\xff\xff\xff\x92"),
        "breaks_off" => {
            send(&mut comm, b"\0\0\x01\0\x92\0");
            return 0;
        }
        "breaks_off_and_crashes" => {
            send(&mut comm, b"\0\0\x01\0\x92\0");
            std::process::abort();
        }
        "asks_what_nobody_knows" => {
            for body in [message("MakeCoffee", &[]), MessagePack::Nil, message("GetXCom", &[]), 1.into()] {
                let answer = ask(&mut comm, body);
                assert!(answer[1].is_nil(), "{answer}");
                assert_eq!(answer[2]["type"], MessagePack::from("ErrorResponse"), "{answer}");
                assert!(
                    answer[2]["detail"]["message"].as_str().unwrap().contains("cannot be read"),
                    "{answer}"
                );
            }
            ask(&mut comm, success);
            return 0;
        }
        "ends_twice" => {
            assert!(ask(&mut comm, success)[2].is_nil());
            let answer = ask(&mut comm, message("TaskState", &[("state", "failed".into())]));
            assert!(answer[2]["detail"]["message"].as_str().unwrap().contains("second time"), "{answer}");
            return 0;
        }
        "closes_early" => {
            drop((comm, logs));
            std::thread::sleep(Duration::from_secs(1000));
        }
        "succeeds_and_stays" => {
            ask(&mut comm, success);
            std::thread::sleep(Duration::from_secs(1000));
        }
        "succeeds_and_exits_1" => {
            ask(&mut comm, success);
            return 1;
        }
        "speaks_only_airflow" => {
            speaks_only_airflow(&mut comm, &mut logs, &startup);
            return 0;
        }
        "wants_a_retry" => {
            ask(
                &mut comm,
                message(
                    "RetryTask",
                    &[("end_date", "2026-11-21T10:00:00Z".into()), ("retry_reason", "busy".into())],
                ),
            );
            return 0;
        }
        "wants_a_reschedule" => {
            let dates = [
                ("end_date", "2026-11-21T10:00:00Z".into()),
                ("reschedule_date", "2026-11-21T10:00:02Z".into()),
            ];
            ask(&mut comm, message("RescheduleTask", &dates));
            return 0;
        }
        "does_not_listen" => {
            // More answers than any buffer holds, and nobody who reads them.
            let pull = message("GetXCom", &producer("large"));
            let frame = frame(&MessagePack::Array(vec![0.into(), pull]));
            loop {
                if comm.write_all(&frame).is_err() {
                    return 0;
                }
            }
        }
        other => panic!("nobody told what `{other}` is"),
    }
    std::thread::sleep(Duration::from_secs(1000));
    0
}

fn speaks_only_airflow(comm: &mut TcpStream, logs: &mut TcpStream, startup: &MessagePack) {
    assert_eq!(startup[0], MessagePack::from(0));
    let details = &startup[1];
    assert_eq!(details["type"], MessagePack::from("StartupDetails"));
    assert_eq!(details["ti"]["map_index"], MessagePack::from(-1));
    assert!(matches!(details["start_date"], MessagePack::Ext(-1, _)), "{details}");
    let value = MessagePack::Map(vec![("n".into(), 41.into()), ("f".into(), 2.5.into())]);
    let mut fields = producer("task").to_vec();
    fields.push(("value", value.clone()));
    assert!(ask(comm, message("SetXCom", &fields))[1].is_nil());
    assert_eq!(ask(comm, message("GetXCom", &producer("task")))[1]["value"], value);
    assert!(ask(comm, message("GetXCom", &producer("nobody")))[1]["value"].is_nil());
    assert_eq!(ask(comm, message("GetXComCount", &producer("mapped")))[1]["len"], MessagePack::from(2));
    let with = |more: &[(&'static str, MessagePack)]| [&producer("mapped")[..], more].concat();
    let item = |offset: i64| message("GetXComSequenceItem", &with(&[("offset", offset.into())]));
    assert_eq!(ask(comm, item(-1))[1]["root"], MessagePack::from("b"));
    assert_eq!(ask(comm, item(9))[1]["error"], MessagePack::from("XCOM_NOT_FOUND"));
    let nil = MessagePack::Nil;
    let slice = with(&[("start", nil.clone()), ("stop", nil), ("step", (-1).into())]);
    let reversed = MessagePack::Array(vec!["b".into(), "a".into()]);
    assert_eq!(ask(comm, message("GetXComSequenceSlice", &slice))[1]["root"], reversed);
    let rendered = MessagePack::Map(vec![("sql".into(), "select 1".into())]);
    assert!(ask(comm, message("SetRenderedFields", &[("rendered_fields", rendered)]))[2].is_nil());
    // Bytes are no JSON.
    let mut fields = producer("task").to_vec();
    fields.push(("value", MessagePack::Binary(vec![1])));
    assert_eq!(ask(comm, message("SetXCom", &fields))[2]["error"], MessagePack::from("GENERIC_ERROR"));
    logs.write_all(b"{\"level\":\"warning\",\"event\":\"from airflow's words\",\"rows\":3}\nno record\n")
        .unwrap();
    ask(comm, message("SucceedTask", &[("end_date", "2026-11-21T10:00:00Z".into())]));
}

fn producer(task_id: &'static str) -> [(&'static str, MessagePack); 4] {
    [
        ("dag_id", "dag".into()),
        ("run_id", "run".into()),
        ("task_id", task_id.into()),
        ("key", "return_value".into()),
    ]
}

fn message(kind: &str, fields: &[(&str, MessagePack)]) -> MessagePack {
    let mut body = vec![("type".into(), kind.into())];
    body.extend(fields.iter().map(|(name, value)| ((*name).into(), value.clone())));
    MessagePack::Map(body)
}

fn frame(value: &MessagePack) -> Vec<u8> {
    let mut payload = Vec::new();
    rmpv::encode::write_value(&mut payload, value).unwrap();
    [&u32::try_from(payload.len()).unwrap().to_be_bytes()[..], &payload].concat()
}

fn send(comm: &mut TcpStream, bytes: &[u8]) {
    comm.write_all(bytes).unwrap();
}

fn receive(comm: &mut TcpStream) -> MessagePack {
    let mut header = [0; 4];
    comm.read_exact(&mut header).unwrap();
    let mut payload = vec![0; usize::try_from(u32::from_be_bytes(header)).unwrap()];
    comm.read_exact(&mut payload).unwrap();
    rmpv::decode::read_value(&mut &*payload).unwrap()
}

fn ask(comm: &mut TcpStream, body: MessagePack) -> MessagePack {
    // Numbers mean nothing to a supervisor, which gives them back.
    let id = MessagePack::from(u64::MAX);
    send(comm, &frame(&MessagePack::Array(vec![id.clone(), body])));
    let answer = receive(comm);
    assert_eq!(answer[0], id);
    answer
}
