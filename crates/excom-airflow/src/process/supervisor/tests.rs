//! Both sides of the conversation over real sockets: in Excom's words, and in Airflow's alone.

use std::collections::BTreeMap;
use std::net::TcpStream;

use excom_core::engine::{LocalChannel, Receipt, TaskAnswer};
use excom_core::value::Payload;
use excom_core::{
    Answer, Engine, PullOptions, SequenceKey, Slice, TaskChannel, TaskInstanceKey, Value, XComKey, memory,
};
use excom_flow::Cancellation;

use super::super::SupervisorChannel;
use super::super::frame;
use super::*;

/// An engine's channel, and what an engine in memory has not.
#[derive(Debug)]
struct Host {
    engine: LocalChannel,
    variables: Mutex<BTreeMap<String, String>>,
    rendered: Mutex<Vec<(String, Value)>>,
}

#[async_trait]
impl TaskChannel for Host {
    async fn pull(&self, keys: &[XComKey], options: PullOptions) -> Result<Vec<Answer>> {
        self.engine.pull(keys, options).await
    }

    async fn pull_tasks(&self, keys: &[SequenceKey], options: PullOptions) -> Result<Vec<TaskAnswer>> {
        self.engine.pull_tasks(keys, options).await
    }

    async fn push(&self, key: &XComKey, value: Payload) -> Result<Receipt> {
        self.engine.push(key, value).await
    }

    async fn count(&self, key: &SequenceKey) -> Result<u64> {
        self.engine.count(key).await
    }

    async fn slice(&self, key: &SequenceKey, slice: Slice) -> Result<Vec<(i32, Answer)>> {
        self.engine.slice(key, slice).await
    }

    async fn indexes(&self, key: &SequenceKey) -> Result<Vec<i32>> {
        self.engine.indexes(key).await
    }

    async fn variable(&self, key: &str) -> Result<Option<String>> {
        Ok(self.variables.lock().unwrap().get(key).cloned())
    }

    async fn set_variable(&self, key: &str, text: Option<&str>) -> Result<()> {
        let mut variables = self.variables.lock().unwrap();
        match text {
            Some(text) => drop(variables.insert(key.to_owned(), text.to_owned())),
            None => drop(variables.remove(key)),
        }
        Ok(())
    }

    async fn note_rendered(&self, fields: &[(String, Value)]) -> Result<()> {
        *self.rendered.lock().unwrap() = fields.to_vec();
        Ok(())
    }

    fn log(&self, _: &str) {}
}

struct Conversation {
    host: Arc<Host>,
    task: SupervisorChannel,
    supervisor_gone: Cancellation,
    service: JoinHandle<Result<()>>,
}

fn xcom(task_id: &str, map_index: i32, key: &str) -> XComKey {
    XComKey::new("dag", "run", task_id, map_index, key).unwrap()
}

fn value(text: &str) -> Value {
    Value::parse(text.to_owned()).unwrap()
}

/// A task `task` that speaks with its supervisor, and tasks that ran before it: `one` pushed `{"n":1}`, `null`
/// pushed null, `huge` an integer, and `many` is mapped, with a gap.
async fn conversation(extended: bool) -> Conversation {
    let engine = Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new())).build();
    for (task_id, map_index, text) in [
        ("one", -1, r#"{"n":1}"#),
        ("null", -1, "null"),
        ("huge", -1, "18446744073709551616"),
        ("many", 0, "\"a\""),
        ("many", 2, "\"c\""),
        ("many", 5, "null"),
    ] {
        let key = TaskInstanceKey::new("dag", "run", task_id, map_index).unwrap();
        let attempt = engine.start(&key, 1).await.unwrap();
        engine.channel(attempt).push(&key.return_value(), value(text).into()).await.unwrap();
    }
    let key = TaskInstanceKey::new("dag", "run", "task", -1).unwrap();
    let attempt = engine.start(&key, 1).await.unwrap();
    let host = Host {
        engine: engine.channel(attempt.clone()),
        variables: Mutex::default(),
        rendered: Mutex::default(),
    };
    let host = Arc::new(host);
    let now = "2026-11-21T10:00:00Z".parse().unwrap();
    let service = Service {
        startup: startup::details(&TaskOrder::new(key, attempt.id, now, host.clone())),
        channel: host.clone(),
        heard: Arc::default(),
        process: rustix::process::getpgrp(),
        timeouts: Timeouts::default(),
    };
    let (comm, logs) = (listen().await.unwrap(), listen().await.unwrap());
    let mut to_comm = TcpStream::connect(comm.local_addr().unwrap()).unwrap();
    let to_logs = TcpStream::connect(logs.local_addr().unwrap()).unwrap();
    let service = tokio::spawn(service.run(comm, logs));
    frame::read(&mut to_comm).unwrap().unwrap();
    let supervisor_gone = Cancellation::new();
    let task = SupervisorChannel::new(to_comm, to_logs, extended, supervisor_gone.clone()).unwrap();
    Conversation { host, task, supervisor_gone, service }
}

const PLAIN: PullOptions = PullOptions { include_prior_dates: false };

#[tokio::test(flavor = "multi_thread")]
async fn in_excom_s_words_a_task_sees_what_it_would_see_in_the_same_process() {
    let Conversation { host, task, .. } = conversation(true).await;
    let keys = ["one", "null", "huge", "nobody"].map(|task_id| xcom(task_id, -1, "return_value"));
    let said = task.pull(&keys, PLAIN).await.unwrap();
    assert_eq!(format!("{said:?}"), format!("{:?}", host.pull(&keys, PLAIN).await.unwrap()));
    let sequences = keys.map(|key| key.sequence()).to_vec();
    let many = xcom("many", -1, "return_value").sequence();
    let sequences = [sequences, vec![many.clone()]].concat();
    let said = task.pull_tasks(&sequences, PLAIN).await.unwrap();
    assert_eq!(format!("{said:?}"), format!("{:?}", host.pull_tasks(&sequences, PLAIN).await.unwrap()));
    let backwards = Slice { step: Some(-1), ..Slice::ALL };
    let said = task.slice(&many, backwards).await.unwrap();
    assert_eq!(format!("{said:?}"), format!("{:?}", host.slice(&many, backwards).await.unwrap()));
    assert_eq!(said.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [5, 2, 0]);
    assert_eq!(task.count(&many).await.unwrap(), 3);
    assert_eq!(task.indexes(&many).await.unwrap(), [0, 2, 5]);
    let receipt = task.push(&xcom("task", -1, "k"), value("[1,2]").into()).await.unwrap();
    let found = host.pull(&[xcom("task", -1, "k")], PLAIN).await.unwrap();
    assert_eq!(receipt.version, found[0].found().unwrap().version);
    assert!(task.push(&xcom("task", -1, "k"), value("18446744073709551616").into()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn in_airflow_s_words_values_pass_and_less_is_known() {
    let Conversation { host, task, .. } = conversation(false).await;
    let keys = ["one", "null", "nobody"].map(|task_id| xcom(task_id, -1, "return_value"));
    let codes = |answers: Vec<Answer>| answers.iter().map(Answer::code).collect::<Vec<_>>();
    let said = task.pull(&keys, PLAIN).await.unwrap();
    assert_eq!(said[0].found().unwrap().value.as_str(), r#"{"n":1}"#);
    assert_eq!(codes(said), ["found", "absent", "absent"]);
    assert_eq!(codes(task.pull(&[xcom("many", 2, "return_value")], PLAIN).await.unwrap()), ["found"]);
    // What the wire cannot say is an error on both ways, never another number.
    for refused in [
        task.pull(&[xcom("huge", -1, "return_value")], PLAIN).await.unwrap_err(),
        task.push(&xcom("task", -1, "k"), value("[18446744073709551616]").into()).await.unwrap_err(),
    ] {
        assert_eq!(refused.kind(), ErrorKind::InvalidValue, "{refused:?}");
        assert!(
            refused.to_string().contains("18446744073709551616") && !refused.hints().is_empty(),
            "{refused:?}"
        );
    }
    let sequences = ["one", "many", "nobody"].map(|task_id| xcom(task_id, -1, "return_value").sequence());
    let said = task.pull_tasks(&sequences, PLAIN).await.unwrap();
    assert!(matches!(&said[0], TaskAnswer::Single(Answer::Found(_))), "{said:?}");
    let TaskAnswer::Mapped { items, length: 3 } = &said[1] else { panic!("{said:?}") };
    // By position: Airflow tells no indexes.
    assert_eq!(
        items.iter().map(|(index, answer)| (*index, answer.code())).collect::<Vec<_>>(),
        [(0, "found"), (1, "found"), (2, "null")]
    );
    assert!(matches!(&said[2], TaskAnswer::Single(Answer::Absent(_))), "{said:?}");
    let last =
        task.slice(&sequences[1], Slice { start: Some(-2), stop: Some(-1), step: None }).await.unwrap();
    assert_eq!((last.len(), last[0].0, last[0].1.to_string()), (1, 1, "\"c\"".to_owned()));

    task.set_mapped_over(true);
    let receipt = task.push(&xcom("task", -1, "return_value"), value("[1, 2]").into()).await.unwrap();
    assert_eq!((receipt.size, receipt.shape.mapped_length()), (6, Some(2)));
    let found = host.pull(&[xcom("task", -1, "return_value")], PLAIN).await.unwrap();
    assert_eq!(found[0].to_string(), "[1,2]");
    task.note_rendered(&[("b".to_owned(), value("1")), ("a".to_owned(), value("\"x\""))]).await.unwrap();
    assert_eq!(
        *host.rendered.lock().unwrap(),
        [("b".to_owned(), value("1")), ("a".to_owned(), value("\"x\""))]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_pass_in_the_same_words_everywhere() {
    for extended in [false, true] {
        let Conversation { host, task, .. } = conversation(extended).await;
        assert_eq!(task.variable("k").await.unwrap(), None);
        task.set_variable("k", Some("text")).await.unwrap();
        assert_eq!(task.variable("k").await.unwrap().unwrap(), "text");
        task.set_variable("k", None).await.unwrap();
        assert_eq!(*host.variables.lock().unwrap(), BTreeMap::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_hears_when_its_supervisor_is_gone() {
    let Conversation { task, supervisor_gone, service, .. } = conversation(true).await;
    service.abort();
    supervisor_gone.cancelled().await;
    let error = task.variable("k").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().starts_with("the supervisor cannot be reached"), "{error}");
    // And nobody waits for the log.
    task.log("nobody reads this");
}

#[tokio::test]
async fn nobody_else_can_be_the_task() {
    if !std::path::Path::new("/proc/net/tcp").exists() {
        return crate::process::skipped("nobody_else_can_be_the_task", "there is no /proc/net/tcp");
    }
    let engine = Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new())).build();
    let key = TaskInstanceKey::new("dag", "run", "task", -1).unwrap();
    let attempt = engine.start(&key, 1).await.unwrap();
    let channel = Arc::new(engine.channel(attempt.clone()));
    let now = "2026-11-21T10:00:00Z".parse().unwrap();
    let service = Service {
        startup: startup::details(&TaskOrder::new(key, attempt.id, now, channel.clone())),
        channel,
        heard: Arc::default(),
        // A group that this process is not of.
        process: rustix::process::Pid::INIT,
        timeouts: Timeouts { startup: Duration::from_millis(100), ..Timeouts::default() },
    };
    let (comm, logs) = (listen().await.unwrap(), listen().await.unwrap());
    let connect = |listener: &TcpListener| TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let connections = (connect(&comm), connect(&logs));
    let error = service.run(comm, logs).await.unwrap_err();
    assert!(error.to_string().contains("did not connect"), "{error}");
    drop(connections);
}
