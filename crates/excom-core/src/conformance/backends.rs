//! What every XCom backend passes.

use std::sync::Arc;

use bytes::Bytes;

use super::stores::{Pieces, body};
use super::{refused, text, user};
use crate::backend::{Object, Placement, collect};
use crate::db::Scope;
use crate::together::at_once;
use crate::{
    Answer, Engine, Error, ErrorKind, Payload, PullOptions, Result, Value, Version, XComBackend, XComKey,
    memory,
};

/// Larger than any value of the suite.
const ALL: u64 = 1 << 30;

/// Runs the suite of XCom backends on one whose store has nothing of the DAG `conformance`, and leaves nothing
/// there. A backend that never offloads is only asked where values go, and used by an engine.
///
/// # Panics
/// When it does not pass.
pub fn backend(backend: &Arc<dyn XComBackend>) {
    pollster::block_on(async {
        assert!(!backend.name().is_empty(), "settings select it by its name");
        backend.check().await.unwrap();
        places(&**backend);
        if let Some(store) = backend.store() {
            let store = Stored { backend: &**backend, store };
            store.values_come_back().await;
            store.nothing_is_overwritten().await;
            store.what_is_gone_is_lost().await;
            store.values_stay_apart().await;
            store.a_broken_stream_leaves_nothing().await;
            store.several_are_read_in_one_call().await;
            store.another_store_is_refused().await;
            store.many_at_the_same_time().await;
        }
        under_an_engine(backend).await;
        backend.clear(&key("never", 0).ti).await.unwrap();
    });
    if let Some(store) = backend.store() {
        from_several_threads(&Stored { backend: &**backend, store });
    }
}

/// A size has one place, and none beyond the limit is in the database.
fn places(backend: &dyn XComBackend) {
    let (key, limit) = (key("placement", 0), backend.inline_limit());
    let small = Value::null();
    let Some(store) = backend.store() else {
        let places = [backend.placement(&key, Some(&small)), backend.placement(&key, None)];
        return assert_eq!(places, [Placement::Inline; 2], "it offloads to no store");
    };
    assert!(!store.is_empty(), "references find a store by its id");
    // One byte over the limit, unless that is more than a test should make.
    let over = usize::try_from(limit).ok().filter(|limit| *limit <= 64 << 20);
    let over = over.map(|limit| Value::of(&"x".repeat(limit.max(1) - 1)).unwrap());
    for value in [over.as_ref(), None] {
        let size = value.map(Value::size);
        let place = backend.placement(&key, value);
        assert_eq!(place, Placement::Offload(store), "{size:?}, and inline are at most {limit} bytes");
    }
}

/// A backend, and the store that it offloads to.
#[derive(Clone, Copy)]
struct Stored<'a> {
    backend: &'a dyn XComBackend,
    store: &'a str,
}

impl<'a> Stored<'a> {
    fn object(self, key: &'a XComKey, version: i64) -> Object<'a> {
        let version = Version::from_code(version).unwrap();
        Object { key, version, store: self.store, codec: "", key_id: "" }
    }

    /// The object as a reference has it, with its codec.
    fn written(self, key: &'a XComKey, version: i64) -> Object<'a> {
        Object { codec: self.backend.codec(), ..self.object(key, version) }
    }

    async fn write(self, key: &XComKey, version: i64, payload: Payload) -> Result<()> {
        let codec = self.backend.serialize_value(&self.object(key, version), payload).await?;
        assert_eq!(codec, self.backend.codec(), "what it writes now is laid out as it says");
        Ok(())
    }

    async fn read(self, key: &XComKey, version: i64) -> Result<Value> {
        collect(self.backend.deserialize_value(&self.written(key, version)).await?, ALL).await
    }

    async fn purge(self, key: &XComKey, version: i64) {
        // Whoever collects what nothing refers to does not know the codec any more.
        self.backend.purge(&self.object(key, version)).await.unwrap();
    }

    async fn is_lost(self, key: &XComKey, version: i64) {
        refused(self.read(key, version).await, ErrorKind::Lost);
    }

    /// Of any size, under any name, whole and in pieces.
    async fn values_come_back(self) {
        let long = "é/..%:~".repeat(70);
        let limit = usize::try_from(self.backend.inline_limit()).unwrap_or(0).min(1 << 20);
        for (name, size) in [("k", 2), ("..", 3), ("a/../b", limit + 1), (" ", 70_000), (&long, 3_000_000)] {
            let (key, value) = (key(name, 0), value(size as u64, size));
            self.write(&key, 1, value.clone().into()).await.unwrap();
            assert_eq!(self.read(&key, 1).await.unwrap(), value, "{key}");
            self.write(&key, 2, Payload::Stream(body(value.bytes()))).await.unwrap();
            assert_eq!(self.read(&key, 2).await.unwrap(), value, "{key}, written as a stream");
            self.purge(&key, 1).await;
            self.purge(&key, 2).await;
        }
    }

    async fn nothing_is_overwritten(self) {
        let (key, one) = (key("twice", 0), value(1, 900));
        self.write(&key, 1, one.clone().into()).await.unwrap();
        refused(self.write(&key, 1, value(2, 900).into()).await, ErrorKind::Exists);
        assert_eq!(self.read(&key, 1).await.unwrap(), one);
        self.purge(&key, 1).await;
    }

    async fn what_is_gone_is_lost(self) {
        let key = key("gone", 0);
        self.is_lost(&key, 1).await;
        self.write(&key, 1, value(1, 900).into()).await.unwrap();
        for _ in 0..2 {
            self.purge(&key, 1).await;
            self.is_lost(&key, 1).await;
        }
        // The name may be used again: a push that was interrupted is repeated.
        self.write(&key, 1, value(2, 900).into()).await.unwrap();
        assert_eq!(self.read(&key, 1).await.unwrap(), value(2, 900));
        self.purge(&key, 1).await;
    }

    /// Names and versions that differ little are others.
    async fn values_stay_apart(self) {
        let keys = ["k", "K", "k ", "k%20", "k/1", "k\\1", "k_1", "é", "e\u{301}"];
        let keys: Vec<XComKey> =
            keys.into_iter().map(|name| key(name, 0)).chain([key("k", 1), key("k", -1)]).collect();
        for (i, key) in keys.iter().enumerate() {
            for version in [1, 2] {
                self.write(key, version, value((2 * i) as u64 + version as u64, 900).into()).await.unwrap();
            }
        }
        self.purge(&keys[0], 1).await;
        for (i, key) in keys.iter().enumerate().skip(1) {
            for version in [1, 2] {
                let wanted = value((2 * i) as u64 + version as u64, 900);
                assert_eq!(self.read(key, version).await.unwrap(), wanted, "{key}, version {version}");
                self.purge(key, version).await;
            }
        }
        self.is_lost(&keys[0], 1).await;
        assert_eq!(self.read(&keys[0], 2).await.unwrap(), value(2, 900));
        self.purge(&keys[0], 2).await;
    }

    async fn a_broken_stream_leaves_nothing(self) {
        let key = key("broken", 0);
        let broken = Payload::Stream(Box::pin(Pieces(vec![
            Ok(Bytes::from_static(b"\"half of a value")),
            Err(Error::new(ErrorKind::InvalidValue, "the source failed")),
        ])));
        refused(self.write(&key, 1, broken).await, ErrorKind::InvalidValue);
        self.is_lost(&key, 1).await;
        self.write(&key, 1, value(1, 900).into()).await.unwrap();
        assert_eq!(self.read(&key, 1).await.unwrap(), value(1, 900));
        self.purge(&key, 1).await;
    }

    /// In the order asked, each with a result of its own.
    async fn several_are_read_in_one_call(self) {
        let (small, large, none) = (key("small", 0), key("large", 0), key("none", 0));
        self.write(&small, 1, value(1, 900).into()).await.unwrap();
        self.write(&large, 1, value(2, 2_000_000).into()).await.unwrap();
        let wanted = [&large, &none, &small, &large].map(|key| self.written(key, 1));
        let mut found = Vec::new();
        // The last one is read first, and one is not read to its end.
        let mut payloads = self.backend.deserialize_values(&wanted).await;
        assert_eq!(payloads.len(), wanted.len());
        for payload in payloads.drain(1..).rev() {
            found.push(match payload {
                Ok(payload) => collect(payload, ALL).await.map_err(|error| error.kind()),
                Err(error) => Err(error.kind()),
            });
        }
        drop(payloads);
        assert_eq!(found, [Ok(value(2, 2_000_000)), Ok(value(1, 900)), Err(ErrorKind::Lost)]);
        assert!(self.backend.deserialize_values(&[]).await.is_empty());
        self.purge(&small, 1).await;
        self.purge(&large, 1).await;
    }

    async fn another_store_is_refused(self) {
        let key = key("elsewhere", 0);
        self.write(&key, 1, value(1, 900).into()).await.unwrap();
        let object = Object { store: "another store", ..self.written(&key, 1) };
        refused(self.backend.deserialize_value(&object).await.map(drop), ErrorKind::Configuration);
        refused(self.backend.purge(&object).await, ErrorKind::Configuration);
        assert_eq!(self.read(&key, 1).await.unwrap(), value(1, 900), "it is still there");
        self.purge(&key, 1).await;
    }

    async fn many_at_the_same_time(self) {
        let keys: Vec<XComKey> = (0..64).map(|i| key("many", i)).collect();
        let size = |i: usize| 900 + i * 3000;
        at_once(
            keys.iter()
                .enumerate()
                .map(|(i, key)| async move {
                    self.write(key, 1, value(i as u64, size(i)).into()).await.unwrap();
                    assert_eq!(self.read(key, 1).await.unwrap(), value(i as u64, size(i)), "{key}");
                    self.purge(key, 1).await;
                })
                .collect(),
            64,
        )
        .await;
    }
}

/// Small and large values by way of an engine; what is deleted is gone from the store.
async fn under_an_engine(backend: &Arc<dyn XComBackend>) {
    let db = Arc::new(memory::Db::new());
    let engine = Engine::builder(db, Arc::new(memory::Clock::new()))
        .backend(backend.clone())
        .keys(crate::seal::SealKeys::new("k1", [7; 32]))
        .build();
    let limit = usize::try_from(backend.inline_limit()).unwrap_or(0).min(1 << 20);
    let (small, large, streamed) = (key("small", 7), key("large", 7), key("streamed", 7));
    let sizes =
        if backend.store().is_some() { [900, limit + 100_000, limit + 200_000] } else { [20, 30, 40] };
    let [a, b, c] = [value(1, sizes[0]), value(2, sizes[1]), value(3, sizes[2])];
    engine.push(&user(), &small, a.clone().into()).await.unwrap();
    engine.push(&user(), &large, value(9, sizes[1]).into()).await.unwrap();
    engine.push(&user(), &large, b.clone().into()).await.unwrap();
    engine.push(&user(), &streamed, memory::streamed(&c)).await.unwrap();

    let keys = [streamed, key("none", 7), small, large];
    let answers = engine.pull(&user(), &keys, PullOptions::default()).await.unwrap();
    assert_eq!(
        [text(&answers[0]), text(&answers[2]), text(&answers[3])],
        [c.as_str(), a.as_str(), b.as_str()]
    );
    assert!(matches!(answers[1], Answer::Missing(_)), "{:?}", answers[1]);

    engine.clear(&user(), &Scope::TaskInstance(keys[0].ti.clone())).await.unwrap();
    engine.delete(&user(), &Scope::TaskInstance(keys[0].ti.clone())).await.unwrap();
    engine.purge_loose().await.unwrap();
    let answers = engine.pull(&user(), &keys, PullOptions::default()).await.unwrap();
    assert!(answers.iter().all(|answer| answer.found().is_none()), "{answers:?}");
}

fn from_several_threads(stored: &Stored<'_>) {
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                pollster::block_on(async {
                    for i in 0..8 {
                        let (key, value) = (key("threads", thread), value(i, 100_000 + i as usize));
                        stored.write(&key, 1, value.clone().into()).await.unwrap();
                        assert_eq!(stored.read(&key, 1).await.unwrap(), value);
                        stored.purge(&key, 1).await;
                    }
                });
            });
        }
    });
}

fn key(name: &str, map_index: i32) -> XComKey {
    XComKey::new("conformance", "manual__2026-11-21T10:00:00+00:00", "t", map_index, name).unwrap()
}

/// A text of so many bytes, its quotes among them, that tells its seed everywhere.
fn value(seed: u64, size: usize) -> Value {
    let pattern = format!("{seed} ");
    let text: String = pattern.chars().cycle().take(size.max(2) - 2).collect();
    Value::parse(format!("\"{text}\"")).unwrap()
}
