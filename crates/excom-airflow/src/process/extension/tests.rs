//! What is said is heard: every answer and every error, over a real frame.

use excom_core::answer::Near;
use excom_core::attempt::TaskState;
use excom_core::entry::{EndReason, EntryInfo, PastEntry};
use excom_core::value::ContentHash;

use super::*;
use crate::process::frame::{self, Frame};
use crate::process::message::{ErrorResponse, Reply};

fn round_trip(response: &Reply) -> Reply {
    let frame = frame::answer(&0.into(), Some(response), None::<&()>).unwrap();
    frame::message(Frame::decode(&frame[4..]).unwrap().body).unwrap()
}

#[test]
fn answers_arrive_with_their_cause_and_to_the_byte() {
    let key = XComKey::new("d", "r", "t", 3, "k").unwrap();
    let version = Version::new("2026-11-21T10:00:00Z".parse().unwrap(), 7);
    let value = Value::parse("{\"b\": 123456789012345678901234567890, \"a\":1.0}").unwrap();
    let info = EntryInfo {
        key: key.clone(),
        version,
        writer: Writer::Task(key.ti.clone()),
        size: 4,
        hash: ContentHash(u64::MAX),
        shape: value.shape(),
        preview: "…".into(),
        offloaded: true,
        secret: true,
    };
    let at = version.time();
    let last =
        PastEntry { info, ended_at: at, reason: EndReason::Cleared, by: "try 2".into(), has_bytes: true };
    let near =
        Near { keys: vec!["kk".into()], tasks: vec![("u".into(), vec!["k".into()])], ..Near::default() };
    let damaged = Damaged { key: key.clone(), version, writer: Writer::Attempt(1), what: "cut off".into() };
    let found = Found { value, version, writer: Writer::User("ada".into()) };
    let secret = Found { value: Value::of("hunter2").unwrap().into_secret(), ..found.clone() };
    let answers = [
        Answer::Found(secret),
        Answer::Found(found.clone()),
        Answer::Null(Found { value: Value::null(), ..found }),
        Answer::Missing(Box::new(Missing { key: key.clone(), state: Some(TaskState::Success), near })),
        Answer::NotYet(Box::new(NotYet {
            key: key.clone(),
            state: TaskState::Running,
            earlier: Some((at, EndReason::Cleared)),
        })),
        Answer::Skipped(Box::new(key.clone())),
        Answer::Cleared(Box::new(Ended { key: key.clone(), at, by: "try 2".into(), last: last.clone() })),
        Answer::Expired(Box::new(Ended { key: key.clone(), at, by: "30d".into(), last })),
        Answer::Forbidden(Box::new(Forbidden { key: key.clone(), rule: "[xcom] reads = \"run\"".into() })),
        Answer::Corrupt(Box::new(damaged.clone())),
        Answer::Lost(Box::new(damaged.clone())),
        Answer::Unavailable(Box::new(damaged)),
        Answer::Absent(Box::new(key)),
    ];
    let said: Vec<String> = answers.iter().map(|answer| format!("{answer:?}")).collect();
    let wire = answers.into_iter().map(AnswerOnWire::of).collect::<Result<_>>().unwrap();
    let Reply::ExcomAnswers(heard) = round_trip(&Reply::ExcomAnswers(Answers { answers: wire })) else {
        panic!("other messages than were sent")
    };
    let heard: Vec<String> =
        heard.answers.into_iter().map(|answer| format!("{:?}", Answer::from(answer))).collect();
    assert_eq!(heard, said);
}

#[test]
fn errors_arrive_with_kind_and_hints() {
    let error = Error::new(ErrorKind::Superseded, "attempt 1 was replaced").hint("stop");
    let Reply::ErrorResponse(heard) = round_trip(&Reply::ErrorResponse(ErrorResponse::of(&error))) else {
        panic!("other messages than were sent")
    };
    let heard = heard.into_error();
    assert_eq!((heard.kind(), heard.to_string()), (ErrorKind::Superseded, error.to_string()));
    assert_eq!(heard.hints(), ["stop"]);
}
