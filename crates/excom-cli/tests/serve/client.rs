//! The client of the library against a server that is a process of its own.

use std::future::poll_fn;
use std::time::{Duration, Instant};

use bytes::Bytes;
use excom::client::{Client, Options, Prune, Try};
use excom::core::attempt::AttemptId;
use excom::core::db::{Filter, Scope};
use excom::core::engine::{TaskAnswer, TraceOptions, Traced};
use excom::core::run::{DagRun, RunState};
use excom::{
    Answer, Caller, Error, ErrorKind, Payload, PullOptions, Result, Slice, TaskChannel, TaskInstanceKey,
    TaskState, Value, XComKey,
};
use excom_testkit::certificates::Authority;
use excom_testkit::proxy::{Proxy, Weather};
use jiff::Timestamp;
use pollster::block_on;

use crate::process::{exchange, ready};
use crate::{Served, excom};

/// A task instance that runs.
pub(crate) struct Running {
    pub(crate) attempt: AttemptId,
    pub(crate) token: String,
}

/// Queues and starts a task instance, as a worker does.
pub(crate) async fn running(client: &Client, address: &str, ti: &TaskInstanceKey) -> Running {
    let queued = client.queue(&Try { ti: ti.clone(), try_number: None, max_tries: 3 }).await.unwrap();
    let body = r#"{"state": "running", "hostname": "vm", "unixname": "root", "pid": 12, "start_date": "2026-11-21T10:00:01Z"}"#;
    let request = format!(
        "PATCH /execution/task-instances/{}/run HTTP/1.1\r\nhost: excom\r\nconnection: close\r\nauthorization: Bearer \
         {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        queued.id,
        queued.token,
        body.len()
    );
    let answer = exchange(address, &request);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let line = answer.lines().find(|line| line.to_lowercase().starts_with("refreshed-api-token: ")).unwrap();
    Running { attempt: queued.id, token: line.split_once(": ").unwrap().1.to_owned() }
}

fn key(task: &str) -> XComKey {
    XComKey::new("weather", "r1", task, -1, "rows").unwrap()
}

fn value(text: &str) -> Value {
    Value::parse(text.to_owned()).unwrap()
}

fn impatient(address: &str, token: &str, patience: Duration) -> Client {
    let mut options = Options::default();
    (options.patience, options.timeout) = (patience, Duration::from_secs(20));
    Client::with(address, token, options).unwrap()
}

#[test]
fn all_calls_come_to_what_the_engine_does() {
    let folder = tempfile::tempdir().unwrap();
    let server = Served::start(&folder.path().join("home"));
    ready(&server);
    let client = Client::new(&server.address, &server.token).unwrap();
    block_on(async {
        client.start_run(&DagRun::new("weather", "r1", Timestamp::now())).await?;
        client.start_run(&DagRun::new("weather", "r1", Timestamp::now())).await?;
        let ti = TaskInstanceKey::new("weather", "r1", "count", -1)?;
        assert!(client.task_instance(&ti).await?.is_none());

        let receipt = client.push(&key("count"), value("[1, {\"a\": 2.0}]").into()).await?;
        assert_eq!((receipt.size, receipt.already, receipt.offloaded), (15, false, false));
        let again =
            client.push_version(&key("count"), receipt.version, value("[1, {\"a\": 2.0}]").into()).await?;
        assert!(again.already && again.version == receipt.version);
        let other = client.push_version(&key("count"), receipt.version, value("2").into()).await.unwrap_err();
        assert_eq!(other.kind(), ErrorKind::Exists);

        let answers = client.pull(&[key("load"), key("count"), key("count")], PullOptions::default()).await?;
        assert!(matches!(answers[0], Answer::Missing(_)), "{answers:?}");
        let found = answers[1].found().unwrap();
        assert_eq!((found.value.as_str(), found.version), ("[1, {\"a\": 2.0}]", receipt.version));
        assert_eq!(found.writer, excom::core::entry::Writer::User("dev".into()));
        assert_eq!(client.query(&key("count"), "$[1].a").await?.as_str(), "[2.0]");
        assert_eq!(client.query(&key("load"), "$").await.unwrap_err().exit_code(), 3);
        let wrong = client.query(&key("count"), "$[").await.unwrap_err();
        assert_eq!(wrong.kind(), ErrorKind::InvalidRequest, "{wrong:?}");

        let info = client.preview(&key("count")).await?.unwrap();
        assert_eq!((info.version, info.size), (receipt.version, 15));
        assert!(client.preview(&key("load")).await?.is_none());
        let page =
            client.list(&Filter { dag_id: Some("weather".into()), ..Filter::default() }, None, 10).await?;
        assert_eq!((page.items, page.next), (vec![info], None));

        let next = client.push(&key("count"), value("3").into()).await?;
        let past = client.history(&key("count"), 10).await?;
        assert_eq!(past.iter().map(|past| past.info.version).collect::<Vec<_>>(), [receipt.version]);
        assert_eq!(client.pull_past(&key("count"), receipt.version).await?.unwrap().size(), 15);
        assert!(client.pull_past(&key("load"), receipt.version).await?.is_none());
        let trace = client.trace(&key("count"), None, TraceOptions::backwards()).await?.unwrap();
        assert!(matches!(&trace.what, Traced::Version(version) if version.info.version == next.version));
        assert!(client.trace(&key("load"), None, TraceOptions::forwards()).await?.is_none());

        let (answers, pending) = client.wait(&[key("count")], Duration::from_secs(5)).await?;
        assert!(answers[0].found().is_some() && pending.is_empty());
        let (answers, pending) = client.wait(&[key("count"), key("load")], Duration::ZERO).await?;
        assert!(matches!(answers[1], Answer::Missing(_)) && pending == [1], "{answers:?} {pending:?}");

        assert_eq!(client.due(&Prune::default()).await?.entries, 0);
        assert!(client.prune(&Prune { keep_last: Some(5), ..Prune::default() }).await?.is_empty());
        assert_eq!(client.clear(&Scope::Key(key("count"))).await?, 1);
        assert_eq!(client.clear(&Scope::Key(key("count"))).await?, 0);
        assert!(client.delete(&Scope::TaskInstance(ti.clone())).await? > 0);
        client.set_run_state("weather", "r1", RunState::Success).await?;
        let unknown = client.set_run_state("weather", "r9", RunState::Success).await.unwrap_err();
        assert_eq!(unknown.kind(), ErrorKind::NoValue);
        let ended = client.start_run(&DagRun::new("weather", "r1", Timestamp::now())).await.unwrap_err();
        assert_eq!(ended.kind(), ErrorKind::Exists);
        Ok::<(), Error>(())
    })
    .unwrap();
    assert!(server.stop().success());
}

#[test]
fn names_that_break_addresses_elsewhere_are_ordinary() {
    let folder = tempfile::tempdir().unwrap();
    let server = Served::start(&folder.path().join("home"));
    ready(&server);
    let client = Client::new(&server.address, &server.token).unwrap();
    let names = [
        "a/../b",
        "/",
        "//",
        "k?x=1",
        "k#y",
        "rows/slice",
        "k%2Fz",
        " ",
        "ключ",
        "{x}:y",
        "a\tb",
        "+",
        "&=;",
    ];
    for name in names {
        let key = XComKey::new(name, name, name, 3, name).unwrap();
        let text = Value::of(name).unwrap();
        block_on(client.push(&key, text.clone().into())).unwrap();
        let answer =
            block_on(client.pull(std::slice::from_ref(&key), PullOptions::default())).unwrap().remove(0);
        assert_eq!(answer.value().unwrap(), text);
        let Ok(payload) = block_on(client.open(&key)).unwrap() else { panic!("{name}") };
        assert_eq!(all(payload).unwrap(), text.bytes());
        assert_eq!(block_on(client.indexes(&key.sequence())).unwrap(), [3]);
    }
    let listed = block_on(client.list(&Filter::default(), None, 100)).unwrap();
    assert_eq!(listed.items.len(), names.len());
    let dots = XComKey::new("d", "..", "t", -1, "k").unwrap();
    assert_eq!(block_on(client.push(&dots, value("1").into())).unwrap_err().kind(), ErrorKind::InvalidName);
    let answer = block_on(client.pull(&[dots], PullOptions::default())).unwrap().remove(0);
    assert!(matches!(answer, Answer::Missing(_)), "{answer:?}");
}

/// All bytes of a payload.
fn all(payload: Payload) -> Result<Bytes> {
    let mut stream = payload.into_stream();
    let mut bytes = Vec::new();
    while let Some(piece) = block_on(poll_fn(|context| stream.as_mut().poll_next(context))) {
        bytes.extend_from_slice(&piece?);
    }
    Ok(bytes.into())
}

/// What answers do not take together comes by itself, also in sequences.
#[test]
fn what_is_too_large_to_come_with_others_comes_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let server = Served::set(&folder.path().join("home"), &[("EXCOM__SERVER__BODY_LIMIT", "100KiB")]);
    ready(&server);
    let client = Client::new(&server.address, &server.token).unwrap();
    let ti = |map_index| TaskInstanceKey::new("weather", "r1", "load", map_index).unwrap();
    let text = |index: i32| Value::of(&index.to_string().repeat(60_000)).unwrap();
    block_on(async {
        client.start_run(&DagRun::new("weather", "r1", Timestamp::now())).await.unwrap();
        for index in [0, 1, 3] {
            let worker = running(&client, &server.address, &ti(index)).await;
            let worker = Client::new(&server.address, &worker.token).unwrap();
            worker.push(&ti(index).return_value(), text(index).into()).await.unwrap();
        }
        let keys = [0, 1, 2, 3].map(|index| ti(index).return_value());
        let answers = client.pull(&keys, PullOptions::default()).await.unwrap();
        for (index, answer) in [0, 1, 3].into_iter().zip([&answers[0], &answers[1], &answers[3]]) {
            assert_eq!(answer.found().unwrap().value, text(index));
        }
        let sequence = keys[0].sequence();
        let mut produced =
            client.pull_tasks(std::slice::from_ref(&sequence), PullOptions::default()).await.unwrap();
        let TaskAnswer::Mapped { items, length } = produced.remove(0) else { panic!("it is mapped") };
        let told: Vec<i32> = items.iter().map(|(index, _)| *index).collect();
        assert_eq!((told, length), (vec![0, 1, 3], 4));
        assert!(items.into_iter().all(|(index, answer)| answer.value().unwrap() == text(index)));
        let page = client.page(&sequence, Some(0), 1).await.unwrap();
        assert_eq!(page.len(), 1);
        assert_eq!(page[0].0, 1);
        let last = client.slice(&sequence, Slice::item(-1)).await.unwrap();
        assert_eq!((last[0].0, last[0].1.found().unwrap().value.clone()), (3, text(3)));
        assert_eq!(client.count(&sequence).await.unwrap(), 3);
    });
}

/// A stream of so many pieces of 1 MiB.
fn pieces(count: usize) -> Payload {
    let ends = |text: &'static [u8]| Ok(Bytes::from_static(text));
    let piece = Bytes::from(vec![b'x'; 1 << 20]);
    let middle = std::iter::repeat_n(piece, count).map(Ok);
    Payload::Stream(Box::pin(Iterated(Box::new(
        [ends(b"\"")].into_iter().chain(middle).chain([ends(b"\"")]),
    ))))
}

struct Iterated(Box<dyn Iterator<Item = Result<Bytes>> + Send>);

impl futures_core::Stream for Iterated {
    type Item = Result<Bytes>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Bytes>>> {
        std::task::Poll::Ready(self.0.next())
    }
}

#[test]
fn large_values_are_streamed_in_both_directions() {
    let folder = tempfile::tempdir().unwrap();
    let server = Served::start(&folder.path().join("home"));
    ready(&server);
    let client = Client::new(&server.address, &server.token).unwrap();
    let receipt = block_on(client.push(&key("count"), pieces(20))).unwrap();
    assert_eq!((receipt.size, receipt.offloaded), ((20 << 20) + 2, true));
    let Ok(payload) = block_on(client.open(&key("count"))).unwrap() else { panic!("it is there") };
    let (mut stream, mut size) = (payload.into_stream(), 0);
    while let Some(piece) = block_on(poll_fn(|context| stream.as_mut().poll_next(context))) {
        size += piece.unwrap().len();
    }
    assert_eq!(size, (20 << 20) + 2);
}

#[test]
fn who_may_not_push_is_heard_also_in_the_middle_of_a_stream() {
    let folder = tempfile::tempdir().unwrap();
    let secret = ("EXCOM__SERVER__TOKEN_SECRET", "a secret of the tests, long enough");
    let home = folder.path().join("home");
    let server = Served::set(&home, &[secret, ("EXCOM__SERVER__TOKEN_LEEWAY", "0")]);
    ready(&server);
    let reader = excom(&home).args(["token", "ana"]).envs([secret]).output().unwrap();
    let reader = String::from_utf8(reader.stdout).unwrap();
    let client = impatient(&server.address, &reader, Duration::ZERO);
    let refused = block_on(client.push(&key("count"), value("1").into())).unwrap_err();
    assert_eq!((refused.kind(), refused.exit_code()), (ErrorKind::Forbidden, 5));
    assert!(refused.to_string().contains("`write`"), "{refused}");
    let refused = block_on(client.push(&key("count"), pieces(20))).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Forbidden, "{refused:?}");
    let refused = block_on(client.delete(&Scope::Key(key("count")))).unwrap_err();
    assert_eq!(refused.exit_code(), 5);

    let expired = excom(&home).args(["token", "ana", "--for", "0s"]).envs([secret]).output().unwrap();
    let expired = String::from_utf8(expired.stdout).unwrap();
    let client = impatient(&server.address, &expired, Duration::ZERO);
    let begun = Instant::now();
    let refused = loop {
        match block_on(client.pull(&[key("count")], PullOptions::default())) {
            Ok(_) => assert!(begun.elapsed() < Duration::from_secs(60), "it does not expire"),
            Err(error) => break error,
        }
    };
    assert_eq!((refused.kind(), refused.exit_code()), (ErrorKind::Forbidden, 5), "{refused:?}");
    assert!(refused.hints()[0].contains("excom token"), "{refused:?}");
}

#[test]
fn a_push_whose_answer_is_lost_happens_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = Served::start(&folder.path().join("home"));
    ready(&server);
    let port: u16 = server.address.rsplit_once(':').unwrap().1.parse().unwrap();
    let proxy = Proxy::start(port, false, 7).unwrap();
    proxy.set(Weather::Foul);
    let client =
        impatient(&format!("http://127.0.0.1:{}", proxy.port()), &server.token, Duration::from_secs(60));
    let direct = Client::new(&server.address, &server.token).unwrap();
    let mut repeated = 0;
    let mut index = 0;
    // Until what was sent was stored, and its answer was lost.
    while repeated < 3 {
        assert!(index < 400, "{repeated} in {index}");
        let key = key("count").at(index);
        let receipt = block_on(client.push(&key, value(&index.to_string()).into())).unwrap();
        repeated += usize::from(receipt.already);
        let answer =
            block_on(direct.pull(std::slice::from_ref(&key), PullOptions::default())).unwrap().remove(0);
        assert_eq!(answer.found().unwrap().version, receipt.version);
        assert_eq!(block_on(direct.history(&key, 10)).unwrap(), [], "it was pushed once");
        index += 1;
    }
    assert!(proxy.faults() > 0);
}

#[test]
fn a_server_that_is_killed_and_started_again_gets_the_push() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let secret = ("EXCOM__SERVER__TOKEN_SECRET", "a secret of the tests, long enough");
    let mut server = Served::set(&home, &[secret]);
    ready(&server);
    let port = |server: &Served| server.address.rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
    let proxy = Proxy::start(port(&server), false, 7).unwrap();
    let client = impatient(
        &format!("http://127.0.0.1:{}", proxy.port()),
        &server.token.clone(),
        Duration::from_secs(60),
    );
    block_on(client.push(&key("count"), value("1").into())).unwrap();
    server.process.kill().unwrap();
    server.process.wait().unwrap();
    let before = proxy.connections();
    let pushing = std::thread::spawn({
        let client = client.clone();
        move || block_on(client.push(&key("count"), value("2").into()))
    });
    // It is tried in vain first.
    let begun = Instant::now();
    while proxy.connections() < before + 2 {
        assert!(begun.elapsed() < Duration::from_secs(60));
        std::thread::yield_now();
    }
    let server = Served::set(&home, &[secret]);
    proxy.lead_to(port(&server));
    let receipt = pushing.join().unwrap().unwrap();
    let past = block_on(client.history(&key("count"), 10)).unwrap();
    assert_eq!(past.len(), 1);
    let answer = block_on(client.pull(&[key("count")], PullOptions::default())).unwrap().remove(0);
    assert_eq!(answer.found().unwrap().version, receipt.version);
}

#[test]
fn an_authority_of_ones_own_is_trusted_when_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours").unwrap();
    let signed = authority.sign("excom", &["localhost"]).unwrap();
    let [certificate, key_file, root] =
        ["certificate.pem", "key.pem", "root.pem"].map(|name| folder.path().join(name));
    std::fs::write(&certificate, signed.certificate).unwrap();
    std::fs::write(&key_file, signed.key).unwrap();
    std::fs::write(&root, authority.root()).unwrap();
    let home = folder.path().join("home");
    let settings = [
        ("EXCOM__SERVER__TLS_CERTIFICATE", certificate.to_str().unwrap()),
        ("EXCOM__SERVER__TLS_KEY", key_file.to_str().unwrap()),
    ];
    let server = Served::set(&home, &settings);
    let address = server.address.replace("127.0.0.1", "localhost");
    let mut options = Options::default();
    options.patience = Duration::ZERO;
    let strange = Client::with(&address, &server.token, options.clone()).unwrap();
    let refused = block_on(strange.pull(&[key("count")], PullOptions::default())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    assert!(refused.to_string().contains("certificate"), "{refused}");
    (options.authorities, options.patience) = (Some(authority.root().into()), Duration::from_secs(60));
    let client = Client::with(&address, &server.token, options).unwrap();
    block_on(client.push(&key("count"), value("7").into())).unwrap();
    let mut command = excom(&folder.path().join("elsewhere"));
    command.args([
        "--server",
        &address,
        "xcom",
        "pull",
        "--dag-id",
        "weather",
        "--run-id",
        "r1",
        "--task-id",
        "count",
    ]);
    command.args(["--key", "rows"]).env("EXCOM__CLIENT__TOKEN", &server.token);
    let told = command.env("EXCOM__CLIENT__AUTHORITIES", &root).output().unwrap();
    assert_eq!(told.stdout, b"7\n", "{told:?}");
}

#[test]
fn a_task_sees_its_server_through_a_channel() {
    let folder = tempfile::tempdir().unwrap();
    let server = Served::start(&folder.path().join("home"));
    ready(&server);
    let admin = Client::new(&server.address, &server.token).unwrap();
    let ti = |task: &str, map_index| TaskInstanceKey::new("weather", "r1", task, map_index).unwrap();
    block_on(async {
        admin.start_run(&DagRun::new("weather", "r1", Timestamp::now())).await?;
        for index in [0, 2, 5] {
            let worker = running(&admin, &server.address, &ti("load", index)).await;
            let worker = Client::new(&server.address, &worker.token)?.channel(worker.attempt);
            worker.push(&ti("load", index).return_value(), value(&index.to_string()).into()).await?;
        }
        let started = running(&admin, &server.address, &ti("sum", -1)).await;
        let lines = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let noted = lines.clone();
        let task = Client::new(&server.address, &started.token)?.channel(started.attempt);
        let task = task.with_log(move |line| noted.lock().unwrap().push(line.to_owned()));
        let channel: &dyn TaskChannel = &task;
        channel.log("begun");
        assert_eq!(*lines.lock().unwrap(), ["begun"]);
        let load = ti("load", 0).return_value().sequence();
        assert_eq!(channel.count(&load).await?, 3);
        assert_eq!(channel.indexes(&load).await?, [0, 2, 5]);
        let back = channel.slice(&load, Slice { step: Some(-2), ..Slice::ALL }).await?;
        assert_eq!(back.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [5, 0]);
        assert!(channel.slice(&load, Slice { step: Some(0), ..Slice::ALL }).await.is_err());
        let all = channel.pull_tasks(&[load], PullOptions::default()).await?;
        assert!(matches!(&all[0], TaskAnswer::Mapped { items, length: 6 } if items.len() == 3), "{all:?}");

        assert_eq!(channel.variable("station").await?, None);
        channel.set_variable("station", Some("attic")).await?;
        assert_eq!(channel.variable("station").await?.as_deref(), Some("attic"));
        channel.set_variable("station", None).await?;
        channel.set_variable("station", None).await?;
        assert_eq!(channel.variable("station").await?, None);
        let hidden = Value::of("hunter2")?.into_secret();
        channel.note_rendered(&[("sql".into(), value("\"SELECT 1\"")), ("env".into(), hidden)]).await?;
        channel.push(&ti("sum", -1).return_value(), value("7").into()).await?;
        // It speaks as itself, and as nobody else once it was replaced.
        let standing = admin.task_instance(&ti("sum", -1)).await?.unwrap();
        assert_eq!(standing.state, TaskState::Running);
        assert_eq!(standing.attempt.unwrap().id, started.attempt);
        running(&admin, &server.address, &ti("sum", -1)).await;
        let late = channel.push(&ti("sum", -1).return_value(), value("8").into()).await.unwrap_err();
        assert_eq!((late.kind(), late.exit_code()), (ErrorKind::Superseded, 5));
        assert_eq!(channel.set_variable("x", Some("1")).await.unwrap_err().kind(), ErrorKind::Superseded);
        Ok::<(), Error>(())
    })
    .unwrap();
    // Of rendered fields the order is kept, and nothing of a secret.
    assert!(server.stop().success());
    let engine = excom::embedded::open(&excom::config::Settings::at(folder.path().join("home"))).unwrap();
    let rendered = block_on(engine.rendered(&Caller::user("ana"), &ti("sum", -1))).unwrap().unwrap();
    let fields: Vec<(&str, &str)> =
        rendered.fields.iter().map(|(name, value)| (&**name, value.as_str())).collect();
    assert_eq!(fields, [("sql", "\"SELECT 1\""), ("env", "\"***\"")]);
}
