//! Processes that misbehave: a clear error, soon, and never a wrong value.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use excom_core::backend::collect;
use excom_core::seal::SealKeys;
use excom_core::{Answer, Caller, Engine, Error, ErrorKind, PullOptions, Result, Value, XComBackend, memory};
use excom_store::{Process, ProcessOptions};
use futures_util::future::{Either, select};

use super::{impatient, key, large, object, persistent, python, quiet};

fn misbehaving(test: &str, how: &[&str], options: ProcessOptions) -> Option<Process> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/process/hostile.py");
    Some(quiet(python(test, &program, how)?, options))
}

/// What it fails with, in each way of using it.
fn failures(backend: &Process) -> [Error; 3] {
    pollster::block_on(async {
        let key = key("k");
        let write = backend.serialize_value(&object(&key), large().into()).await.map(drop);
        let read = match backend.deserialize_value(&object(&key)).await {
            Ok(payload) => collect(payload, 1 << 22).await.map(drop),
            Err(error) => Err(error),
        };
        [write, read, backend.purge(&object(&key)).await].map(Result::unwrap_err)
    })
}

#[test]
fn what_breaks_the_protocol_is_told() {
    for (how, told) in [
        ("garbage", "unknown variant `what`"),
        ("no_json", "is no reply"),
        ("long_header", "a header of 1073741824 bytes"),
        ("long_body", "262145 bytes of a value"),
        ("wrong_id", "which was not made"),
        ("negative_id", "is no reply"),
        ("body_of_done", "1 bytes are with a reply that has none"),
        ("unasked", "broke the protocol"),
        ("hello_again", "broke the protocol"),
    ] {
        let Some(backend) = misbehaving("what_breaks_the_protocol_is_told", &[how], persistent()) else {
            return;
        };
        for error in failures(&backend) {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{how}: {error:?}");
            assert!(error.to_string().contains(told), "{how}: {error:?}");
        }
    }
}

#[test]
fn a_process_that_ends_says_why() {
    for (how, told) in [
        ("exits", "ended with exit status: 3; it said last: out of luck"),
        ("exits_in_a_frame", "its output ended 10 bytes into a frame of 208"),
    ] {
        let Some(backend) = misbehaving("a_process_that_ends_says_why", &[how], persistent()) else { return };
        for error in failures(&backend) {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{how}: {error:?}");
            assert!(error.to_string().contains(told), "{how}: {error:?}");
        }
    }
}

/// One that never answers, never reads, or no longer reads.
#[test]
fn nothing_waits_for_ever() {
    for how in ["silent", "deaf", "closes_input"] {
        let Some(backend) = misbehaving("nothing_waits_for_ever", &[how], impatient()) else { return };
        for error in failures(&backend) {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{how}: {error:?}");
            assert!(error.to_string().contains("within 400ms"), "{how}: {error:?}");
        }
    }
    let options = ProcessOptions { start_timeout: Duration::from_millis(200), ..impatient() };
    let Some(backend) = misbehaving("nothing_waits_for_ever", &["no_hello"], options) else { return };
    for error in failures(&backend) {
        assert!(error.to_string().contains("within 200ms"), "{error:?}");
    }
}

#[test]
fn a_hello_that_does_not_fit_is_told() {
    for (how, told) in [
        ("protocol", "speaks version 2 of the protocol, this Excom version 1"),
        ("store", "has the store `other`, and `process` is configured"),
        ("limit", "wants values over 9 bytes, and 65536 is configured"),
    ] {
        let Some(backend) = misbehaving("a_hello_that_does_not_fit_is_told", &[how], persistent()) else {
            return;
        };
        let error = pollster::block_on(backend.check()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains(told) && !error.hints().is_empty(), "{how}: {error:?}");
    }
    let Some(backend) = misbehaving("a_hello_that_does_not_fit_is_told", &["print"], persistent()) else {
        return;
    };
    let error = pollster::block_on(backend.check()).unwrap_err().to_string();
    assert!(
        error.contains("\"Hello, I\"") && error.contains("only frames may go to standard output"),
        "{error}"
    );

    let nothing = quiet(vec!["/nowhere/backend".to_owned()], persistent());
    let error = pollster::block_on(nothing.check()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("`/nowhere/backend` cannot be started"), "{error}");
    assert!(pollster::block_on(quiet(Vec::new(), persistent()).check()).is_err());
}

#[test]
fn refusals_have_their_kind() {
    let write = |how: &str| {
        let backend = misbehaving("refusals_have_their_kind", &[how], persistent())?;
        let key = key("k");
        // More than can wait to be written.
        let value = Value::of(&"x".repeat(8_000_000)).unwrap();
        Some(pollster::block_on(backend.serialize_value(&object(&key), value.into())).unwrap_err())
    };
    let Some(error) = write("refuses") else { return };
    assert_eq!((error.kind(), error.hints()), (ErrorKind::Full, &["buy a disk".to_owned()][..]));
    assert_eq!(error.to_string(), "the backend process `process` says: no room");

    let error = write("early_done").unwrap();
    assert!(error.to_string().contains("before its end"), "{error}");
    let error = write("strange_error").unwrap();
    assert_eq!(error.kind(), ErrorKind::Other);
    assert!(error.to_string().len() < 1100, "{} bytes", error.to_string().len());
}

/// One slow call does not take the others along.
#[test]
fn a_slow_call_ends_alone() {
    let folder = tempfile::tempdir().unwrap();
    let starts = folder.path().join("starts");
    let options = ProcessOptions { timeout: Duration::from_secs(3), ..persistent() };
    let how = ["moves", starts.to_str().unwrap()];
    let Some(backend) = misbehaving("a_slow_call_ends_alone", &how, options) else { return };
    pollster::block_on(async {
        let key = key("k");
        let others = async {
            loop {
                backend.purge(&object(&key)).await.unwrap();
            }
        };
        let slow = match select(backend.check(), pin!(others)).await {
            Either::Left((slow, _)) => slow,
            Either::Right((never, _)) => never,
        };
        assert!(slow.unwrap_err().to_string().contains("did not answer within 3s"));
        backend.purge(&object(&key)).await.unwrap();
    });
    assert_eq!(std::fs::read_to_string(starts).unwrap(), "started\n", "it is the same process");
}

/// What comes back otherwise than it was pushed is an answer, and never a value.
#[test]
fn a_wrong_value_is_no_value() {
    for (how, wanted) in [
        ("altered", "checksum"),
        ("short", "0 bytes"),
        ("endless", "more bytes"),
        ("exits_in_a_value", "exit status: 4"),
    ] {
        let Some(backend) = misbehaving("a_wrong_value_is_no_value", &[how], persistent()) else { return };
        pollster::block_on(async {
            let engine = engine(backend);
            let value = Value::of(&"x".repeat(200_000)).unwrap();
            engine.push(&Caller::user("ana"), &key("k"), value.into()).await.unwrap();
            let answers =
                engine.pull(&Caller::user("ana"), &[key("k")], PullOptions::default()).await.unwrap();
            let damaged = match &answers[0] {
                Answer::Corrupt(damaged) if how != "exits_in_a_value" => damaged,
                Answer::Unavailable(damaged) if how == "exits_in_a_value" => damaged,
                other => panic!("{how}: {other:?}"),
            };
            assert!(damaged.what.contains(wanted), "{how}: {}", damaged.what);
        });
    }
}

#[test]
fn values_that_are_swapped_are_no_values() {
    let Some(backend) = misbehaving("values_that_are_swapped_are_no_values", &["swaps"], persistent()) else {
        return;
    };
    pollster::block_on(async {
        let engine = engine(backend);
        let ana = Caller::user("ana");
        for name in ["a", "b"] {
            engine.push(&ana, &key(name), Value::of(&name.repeat(100_000)).unwrap().into()).await.unwrap();
        }
        let answers = engine.pull(&ana, &[key("a"), key("b")], PullOptions::default()).await.unwrap();
        assert!(answers.iter().all(|answer| matches!(answer, Answer::Corrupt(_))), "{answers:?}");
    });
}

fn engine(backend: Process) -> Engine {
    Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new()))
        .backend(Arc::new(backend))
        .keys(SealKeys::new("k1", [1; 32]))
        .build()
}
