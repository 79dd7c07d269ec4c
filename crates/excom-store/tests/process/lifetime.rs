//! When a process is started, started again, and ended.

use std::path::Path;
use std::time::{Duration, Instant};

use excom_core::{ErrorKind, Payload, Value, XComBackend};
use excom_store::ProcessOptions;

use super::{impatient, key, large, object, persistent, python, quiet};

fn hostile(test: &str, arguments: &[&str]) -> Option<Vec<String>> {
    python(test, &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/process/hostile.py"), arguments)
}

#[test]
fn it_starts_when_it_is_needed_and_rests_after_failures() {
    let folder = tempfile::tempdir().unwrap();
    let count = folder.path().join("starts");
    let test = "it_starts_when_it_is_needed_and_rests_after_failures";
    let Some(command) = hostile(test, &["count", count.to_str().unwrap()]) else { return };
    let options = ProcessOptions { backoff: Duration::from_secs(3600), ..persistent() };
    let backend = quiet(command, options);
    let place = |size: usize| backend.placement(&key("k"), Some(&Value::of(&"x".repeat(size - 2)).unwrap()));
    assert!(place(65_537) != place(65_536));
    assert!(!count.exists(), "where values go is known without it");

    let first = pollster::block_on(backend.check()).unwrap_err();
    assert!(first.to_string().contains("it said last: this never works"), "{first:?}");
    let second = pollster::block_on(backend.check()).unwrap_err();
    assert_eq!(second.kind(), ErrorKind::Unavailable);
    assert!(second.to_string().contains("this never works"), "{second:?}");
    assert!(second.hints()[0].contains("started again in"), "{second:?}");
    assert_eq!(std::fs::read_to_string(&count).unwrap(), "started\n");
}

/// A process that was of use before it died is there again at once.
#[test]
fn it_is_started_again() {
    let Some(command) = hostile("it_is_started_again", &["exits_in_a_value"]) else { return };
    let options = ProcessOptions { backoff: Duration::from_secs(3600), ..persistent() };
    let backend = quiet(command, options);
    pollster::block_on(async {
        for _ in 0..3 {
            backend.check().await.unwrap();
            let Payload::Stream(mut half) = backend.deserialize_value(&object(&key("k"))).await.unwrap()
            else {
                panic!("it is no stream");
            };
            let mut next = async || std::future::poll_fn(|cx| half.as_mut().poll_next(cx)).await.unwrap();
            assert_eq!(next().await.unwrap(), "\"half");
            assert_eq!(next().await.unwrap_err().kind(), ErrorKind::Unavailable);
        }
    });
}

/// It ends with the backend, and with all that it started, also when it does not want to.
#[test]
fn it_ends_with_the_backend() {
    let folder = tempfile::tempdir().unwrap();
    for how in ["useful", "stays", "deaf"] {
        // Whoever is in its group holds a lock as long as it lives.
        let path = folder.path().join(how);
        let Some(command) = hostile("it_ends_with_the_backend", &[how, path.to_str().unwrap()]) else {
            return;
        };
        // A shell between, so that there is a group to end.
        let shell = ["sh", "-c", "\"$@\"; exit", "sh"].map(str::to_owned);
        let options = if how == "deaf" { impatient() } else { persistent() };
        let backend = quiet(shell.into_iter().chain(command).collect(), options);
        let used = pollster::block_on(async {
            match how {
                "deaf" => backend.serialize_value(&object(&key("k")), large().into()).await.map(drop),
                _ => backend.check().await,
            }
        });
        assert_eq!(used.is_err(), how == "deaf");
        let file = std::fs::File::open(&path).unwrap();
        // One that does not read was killed by now, or will be soon.
        assert!(how == "deaf" || file.try_lock().is_err(), "{how}: it runs");
        drop(backend);
        let begin = Instant::now();
        while file.try_lock().is_err() {
            assert!(begin.elapsed() < Duration::from_secs(30), "{how}: it is still there");
            std::thread::yield_now();
        }
    }
}
