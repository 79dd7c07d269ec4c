//! Processes that know nothing of our library: what they say is written byte by byte.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use rmpv::Value as MessagePack;

/// What a process says that knows nothing of our library.
pub(crate) fn run(behaviour: &str, arguments: &str) -> i32 {
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
            std::process::exit(0);
        }
        "is_killed_in_a_frame" => {
            let text = |text: MessagePack| {
                let mut fields = producer("task").to_vec();
                fields[3].1 = "text".into();
                message("SetXCom", &[&fields[..], &[("value", text)]].concat())
            };
            assert!(ask(&mut comm, text("before".into()))[2].is_nil());
            let whole = frame(&MessagePack::Array(vec![1.into(), text("x".repeat(100_000).into())]));
            send(&mut comm, &whole[..whole.len() / 2]);
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
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
    let tasks = MessagePack::Array(vec!["left".into(), "right".into()]);
    assert!(ask(comm, message("SkipDownstreamTasks", &[("tasks", tasks)]))[2].is_nil());
    let one_instance = MessagePack::Array(vec![MessagePack::Array(vec!["left".into(), 0.into()])]);
    assert!(!ask(comm, message("SkipDownstreamTasks", &[("tasks", one_instance)]))[2].is_nil());
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
