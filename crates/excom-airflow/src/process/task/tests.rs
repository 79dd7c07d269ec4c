//! A task under a supervisor that speaks only Airflow's words, as golden frames have them.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use excom_core::Value;

use super::super::extension::RunOnWire;
use super::super::json::Json;
use super::*;

/// What Airflow 3.3.2 sent to the task `assets` of the DAG `probe_assetonly`.
fn golden_startup() -> StartupDetails {
    let lines = include_str!("../../../tests/vectors/coordinator.jsonl").lines();
    let mut lines = lines.filter(|line| line.contains("\"StartupDetails\""));
    let vector: BTreeMap<String, String> = serde_json::from_str(lines.next().unwrap()).unwrap();
    let digits = &vector["frame"];
    let digit = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    let bytes: Vec<u8> = (0..digits.len()).step_by(2).map(digit).collect();
    read_startup_of(&bytes)
}

fn read_startup_of(frame: &[u8]) -> StartupDetails {
    match frame::message(Frame::decode(&frame[4..]).unwrap().body).unwrap() {
        Reply::StartupDetails(startup) => *startup,
        other => panic!("{other:?} is no start"),
    }
}

/// What a task said: its requests, its log, and whether it is satisfied.
struct Said {
    requests: Vec<Request>,
    log: String,
    exit: ExitCode,
}

/// Runs a task under a supervisor that agrees with everything.
fn under_airflow(startup: StartupDetails, result: excom_flow::Result<Done>) -> Said {
    let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (comm, logs) = (listen(), listen());
    let arguments = [("--comm", &comm), ("--logs", &logs)]
        .map(|(name, listener)| format!("{name}={}", listener.local_addr().unwrap()).into());
    let supervisor = thread::spawn(move || {
        let (mut comm, mut logs) = (comm.accept().unwrap().0, logs.accept().unwrap().0);
        let startup = Reply::StartupDetails(Box::new(startup));
        comm.write_all(&frame::answer(&0.into(), Some(&startup), None::<&()>).unwrap()).unwrap();
        let mut requests = Vec::new();
        while let Some(payload) = frame::read(&mut comm).unwrap() {
            let frame = Frame::decode(&payload).unwrap();
            requests.push(frame::message(frame.body).unwrap());
            comm.write_all(&frame::answer(&frame.id, None::<&()>, None::<&()>).unwrap()).unwrap();
        }
        let mut log = String::new();
        logs.read_to_string(&mut log).unwrap();
        (requests, log)
    });
    let definitions = [DagDefinition::new("probe_assetonly", |dag| {
        dag.bash("assets", "true");
    })];
    let exit = serve_as(arguments.into_iter(), &definitions, |task| async move {
        assert_eq!((&*task.task_id, task.ti.try_number(), task.max_map_length), ("assets", 1, 1024));
        result
    });
    let (requests, log) = supervisor.join().unwrap();
    Said { requests, log, exit: exit.unwrap() }
}

fn names(requests: &[Request]) -> Vec<String> {
    let name = |request| format!("{request:?}").split([' ', '(']).next().unwrap_or_default().to_owned();
    requests.iter().map(name).collect()
}

#[test]
fn what_a_task_leaves_is_pushed_and_skipped_before_it_succeeds() {
    let mut startup = golden_startup();
    startup.ti_context.xcom_keys_to_clear = vec!["old".to_owned()];
    let key = startup.key().unwrap();
    let pushes = vec![
        (key.xcom("rows").unwrap(), Value::parse("[1]").unwrap()),
        (key.return_value(), Value::parse("[1, 2]").unwrap()),
    ];
    let said = under_airflow(startup, Ok(Done { pushes, skips: vec!["left".into()], mapped_over: true }));
    assert_eq!(said.exit, ExitCode::SUCCESS);
    let expected = ["DeleteXCom", "SetXCom", "SetXCom", "SkipDownstreamTasks", "SucceedTask"];
    assert_eq!(names(&said.requests), expected);
    let pushed = |key: &str, text: &str, mapped_length| Request::SetXCom {
        of: Producer {
            dag_id: "probe_assetonly".to_owned(),
            run_id: "run5".to_owned(),
            task_id: "assets".to_owned(),
            key: key.to_owned(),
        },
        value: Json(Value::parse(text.to_owned()).unwrap()),
        map_index: Some(-1),
        mapped_length,
    };
    assert_eq!(said.requests[1..3], [pushed("rows", "[1]", None), pushed("return_value", "[1,2]", Some(2))]);
}

#[test]
fn a_secret_is_not_pushed_where_it_would_be_stored_in_clear() {
    let startup = golden_startup();
    let pushes = vec![(startup.key().unwrap().return_value(), Value::of("hunter2").unwrap().into_secret())];
    let said = under_airflow(startup, Ok(Done { pushes, ..Done::default() }));
    assert_eq!(names(&said.requests), ["TaskState"]);
    assert!(said.log.contains("is a secret, and Airflow's supervisor"), "{}", said.log);
    assert!(!said.log.contains("hunter2"), "{}", said.log);
}

#[test]
fn a_failure_is_a_retry_where_the_server_wants_one() {
    let fails = || Err(Error::new(ErrorKind::Full, "no room").hint("remove something").into());
    let said = under_airflow(golden_startup(), fails());
    assert_eq!(names(&said.requests), ["TaskState"]);
    assert!(
        said.log.contains("\"level\":\"error\"") && said.log.contains("hint: remove something"),
        "{}",
        said.log
    );
    for line in said.log.lines() {
        let record: BTreeMap<String, String> = serde_json::from_str(line).unwrap();
        assert!(record["timestamp"].parse::<Timestamp>().is_ok(), "{line}");
    }
    let mut startup = golden_startup();
    startup.ti_context.should_retry = true;
    let said = under_airflow(startup, fails());
    assert!(
        matches!(&said.requests[..], [Request::RetryTask { retry_reason: Some(reason), .. }] if reason == "no room")
    );
}

#[test]
fn a_skip_and_a_reschedule_are_airflow_s() {
    let said = under_airflow(golden_startup(), Err(Skip::because("no rows").into()));
    assert!(matches!(said.requests[..], [Request::TaskState { state: FinalState::Skipped, .. }]));
    let said = under_airflow(golden_startup(), Err(Reschedule::after(Duration::from_secs(60)).into()));
    let [Request::RescheduleTask { reschedule_date, end_date }] = said.requests[..] else {
        panic!("one request")
    };
    assert_eq!(reschedule_date.duration_since(end_date).as_secs(), 60);
}

#[test]
fn a_sensor_whose_time_is_over_is_not_tried_again() {
    let mut startup = golden_startup();
    startup.ti_context.should_retry = true;
    let timeout: SensorTimeout =
        serde_json::from_str(r#"{"waited": {"secs": 1, "nanos": 0}, "pokes": 1}"#).unwrap();
    let said = under_airflow(startup, Err(timeout.into()));
    assert!(matches!(said.requests[..], [Request::TaskState { state: FinalState::Failed, .. }]));
}

#[test]
fn a_task_that_is_started_to_fail_fails() {
    let mut startup = golden_startup();
    startup.ti_context.next_method = Some(FAIL.to_owned());
    let said = under_airflow(startup, Ok(Done::default()));
    assert!(matches!(said.requests[..], [Request::TaskState { state: FinalState::Failed, .. }]));
}

#[test]
fn a_supervisor_of_another_version_is_refused() {
    let mut startup = golden_startup();
    let (run, resumed) = (RunOnWire::of(&RunFacts::default()), Resumed::default().into());
    startup.excom =
        Some(Announcement { version: 99, run, resumed, max_map_length: 1, secret_keys: Vec::new() });
    let said = under_airflow(startup, Ok(Done::default()));
    assert_eq!((said.exit, said.requests.len()), (ExitCode::FAILURE, 0));
}

#[test]
fn parameters_are_taken_from_what_the_run_was_triggered_with() {
    let spec = excom_flow::ParamSpec::required::<i64>("n", "i64");
    let definition = DagDefinition::new("d", |_| ()).with_param(spec);
    let conf = excom_core::Value::parse(r#"{"n": 3, "other": [1]}"#).unwrap();
    let params = definition.resolve(&given(&definition, &conf).unwrap()).unwrap();
    assert_eq!(params.get::<i64>("n").unwrap(), 3);
}
