//! The folder passes the suite that every value store passes, by itself and under the engine.

#![allow(clippy::unwrap_used, reason = "a test panics when it does not hold")]

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use excom_core::seal::SealKeys;
use excom_core::{ByteStream, ErrorKind, ObjectName, ValueStore, Version, XComBackend, XComKey};
use excom_store::{Files, Offload, OffloadOptions};
use futures_core::Stream;

#[test]
fn a_folder_is_a_value_store() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn ValueStore> = Arc::new(Files::open(&folder.path().join("values")).unwrap());
    excom_core::conformance::value_store(&store);
    let left = std::fs::read_dir(folder.path().join("values")).unwrap().count();
    assert_eq!(left, 0, "empty folders go with the last object");
}

#[test]
fn offloading_to_a_folder_is_a_backend() {
    let folder = tempfile::tempdir().unwrap();
    for encrypt in [false, true] {
        let store = Arc::new(Files::open(folder.path()).unwrap());
        let options = OffloadOptions { encrypt, ..OffloadOptions::default() };
        let backend: Arc<dyn XComBackend> =
            Arc::new(Offload::new(store, SealKeys::new("k1", [1; 32]), options));
        excom_core::conformance::backend(&backend);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "it leaves nothing");
}

/// Bytes that come only when they are asked for so often.
struct Slow {
    polls: u32,
    bytes: Option<Bytes>,
}

impl Stream for Slow {
    type Item = excom_core::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.polls > 0 {
            self.polls -= 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.bytes.take().map(Ok))
    }
}

/// A push that is repeated while the first is still being written: one object, whole, and nothing beside
/// it.
#[test]
fn two_writers_of_one_object_do_not_disturb_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let store = Files::open(folder.path()).unwrap();
    let key = XComKey::new("d", "r", "t", -1, "k").unwrap();
    let bytes = Bytes::from(vec![7; 300_000]);
    for version in 0..20 {
        let name = ObjectName::of(&key, Version::from_code(version).unwrap());
        let outcomes: Vec<bool> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..4)
                .map(|polls| {
                    let body: ByteStream = Box::pin(Slow { polls: polls * 50, bytes: Some(bytes.clone()) });
                    let (store, name) = (&store, &name);
                    scope.spawn(move || match pollster::block_on(store.create(name, body)) {
                        Ok(_) => true,
                        Err(error) if error.kind() == ErrorKind::Exists => false,
                        Err(error) => panic!("{error:?}"),
                    })
                })
                .collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        assert_eq!(outcomes.iter().filter(|won| **won).count(), 1, "{outcomes:?}");
        let path = folder.path().join(name.as_str());
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "parts are left");
        pollster::block_on(store.delete(&name)).unwrap();
    }
}
