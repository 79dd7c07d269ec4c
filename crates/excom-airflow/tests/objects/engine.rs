//! The backend under the engine, and the ways in which Airflow's own fails.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use excom_airflow::objects::{AirflowObjects, Compression, Options};
use excom_core::backend::Object;
use excom_core::db::Scope;
use excom_core::engine::{Receipt, Settings};
use excom_core::{
    Answer, Caller, Engine, ErrorKind, MetadataDb, Value, ValueStore as _, Version, XComBackend as _,
    XComKey, memory,
};

use crate::{backend, files};

const BASE: &str = "file:///base";

/// An engine over a folder of objects.
struct House {
    engine: Engine,
    backend: Arc<AirflowObjects>,
    folder: tempfile::TempDir,
}

impl House {
    fn new(options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = files(&folder.path().join("base"));
        let backend = Arc::new(AirflowObjects::new(store, BASE.parse().unwrap(), options));
        let engine = engine(Arc::new(memory::Db::new()), backend.clone());
        Self { engine, backend, folder }
    }

    fn compressed(compression: Compression) -> Self {
        Self::new(Options { threshold: 0, compression, ..Options::default() })
    }

    fn push(&self, key: &XComKey, value: &Value) -> Receipt {
        pollster::block_on(self.engine.push(&Caller::user("ana"), key, value.clone().into())).unwrap()
    }

    fn pull(&self, key: &XComKey) -> Answer {
        let caller = Caller::user("ana");
        let pulled = self.engine.pull(&caller, std::slice::from_ref(key), Default::default());
        pollster::block_on(pulled).unwrap().remove(0)
    }

    /// What Airflow's database would hold.
    fn reference(&self, key: &XComKey, version: Version) -> String {
        let object = Object { key, version, store: "files", codec: self.backend.codec(), key_id: "" };
        self.backend.reference(&object).unwrap().get().unwrap()
    }

    fn objects(&self) -> Vec<String> {
        let names = pollster::block_on(files(&self.folder.path().join("base")).list(None, 100)).unwrap();
        names.iter().map(ToString::to_string).collect()
    }

    /// The file of an object.
    fn file(&self, reference: &str) -> std::path::PathBuf {
        self.folder.path().join(reference.strip_prefix("file:///").unwrap())
    }
}

fn engine(db: Arc<dyn MetadataDb>, backend: Arc<AirflowObjects>) -> Engine {
    Engine::builder(db, Arc::new(memory::Clock::new())).backend(backend).build()
}

fn key(task_id: &str) -> XComKey {
    XComKey::new("d", "manual__2026-11-21T10:00:00+00:00", task_id, -1, "return_value").unwrap()
}

fn value() -> Value {
    Value::parse(r#"{"rows": [1, 2, 3], "city": "Zürich"}"#).unwrap()
}

#[test]
fn a_value_comes_back_with_every_compression() {
    for compression in Compression::ALL {
        let house = House::compressed(compression);
        let (ours, other) = (key("t"), key("t").ti.xcom("other").unwrap());
        let receipt = house.push(&ours, &value());
        house.push(&other, &Value::null());
        assert_eq!(house.pull(&ours).found().unwrap().value, value());
        assert_eq!(house.pull(&other).code(), "null");
        let file = house.file(&house.reference(&ours, receipt.version));
        assert!(
            file.is_file() && file.to_str().unwrap().ends_with(compression.suffix()),
            "{}",
            file.display()
        );
        assert_eq!(house.objects().len(), 2);
    }
}

#[test]
fn a_lost_object_is_lost_and_never_its_path() {
    let house = House::compressed(Compression::Gzip);
    let receipt = house.push(&key("t"), &value());
    let reference = house.reference(&key("t"), receipt.version);
    fs::remove_file(house.file(&reference)).unwrap();
    assert!(matches!(house.pull(&key("t")), Answer::Lost(_)));
    let row = Value::of(&reference).unwrap();
    let error = pollster::block_on(house.backend.resolve(&key("t").ti, row)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Lost);
}

#[test]
fn an_altered_or_truncated_object_is_found_out() {
    for compression in Compression::ALL {
        let house = House::compressed(compression);
        let receipt = house.push(&key("t"), &value());
        let file = house.file(&house.reference(&key("t"), receipt.version));
        let object = fs::read(&file).unwrap();
        let check = |altered: &[u8], what: &str| {
            fs::write(&file, altered).unwrap();
            match house.pull(&key("t")) {
                Answer::Corrupt(_) => {}
                // What decompresses to the very value is it.
                answer => assert_eq!(answer.found().unwrap().value, value(), "{compression}, {what}"),
            }
        };
        for at in 0..object.len() {
            let mut altered = object.clone();
            altered[at] ^= 0x10;
            check(&altered, &format!("byte {at}"));
        }
        for length in 0..object.len() {
            fs::write(&file, &object[..length]).unwrap();
            assert_eq!(house.pull(&key("t")).code(), "corrupt", "{compression}, {length} bytes");
        }
        // Another value that is whole, as somebody with access to the store could put there.
        let forged = Value::parse(r#"{"rows": [1, 2, 4], "city": "Zürich"}"#).unwrap();
        let other = house.push(&key("other"), &forged);
        fs::copy(house.file(&house.reference(&key("other"), other.version)), &file).unwrap();
        assert_eq!(house.pull(&key("t")).code(), "corrupt", "{compression}");
    }
}

#[test]
fn dots_in_ids_and_references_lead_nowhere() {
    let house = House::compressed(Compression::None);
    fs::write(house.folder.path().join("outside"), "\"secret\"").unwrap();
    for key in [
        key(".."),
        XComKey::new("..", "r", "t", -1, "k").unwrap(),
        XComKey::new("/", "r", "t", -1, "k").unwrap(),
    ] {
        let caller = Caller::user("ana");
        let pushed = house.engine.push(&caller, &key, value().into());
        let error = pollster::block_on(pushed).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidName, "{error:?}");
    }
    assert!(house.objects().is_empty());
    // What these pushes left is collected like any other interrupted push.
    pollster::block_on(house.engine.collect_abandoned(Duration::ZERO)).unwrap();

    let text = "file:///base/d/manual__2026-11-21T10:00:00+00:00/t/../../../../outside";
    let row = Value::of(text).unwrap();
    let found = pollster::block_on(house.backend.resolve(&key("t").ti, row)).unwrap();
    assert_eq!(crate::all(found).unwrap(), format!("\"{text}\"").into_bytes());
}

#[test]
fn objects_go_with_their_entries() {
    let db: Arc<dyn MetadataDb> = Arc::new(memory::Db::new());
    let store: Arc<memory::Store> = Arc::new(memory::Store::new());
    for (pushed, purged) in [(Compression::Gzip, Compression::Gzip), (Compression::Gzip, Compression::Xz)] {
        let writing = engine(db.clone(), Arc::new(backend(store.clone(), BASE, pushed)));
        // Another setting, as after a restart: what was written before is removed all the same.
        let removing = engine(db.clone(), Arc::new(backend(store.clone(), BASE, purged)));
        let caller = Caller::user("ana");
        pollster::block_on(async {
            for key in [key("a"), key("b")] {
                writing.push(&caller, &key, value().into()).await.unwrap();
            }
            assert_eq!(store.list(None, 10).await.unwrap().len(), 2);
            removing.delete(&caller, &Scope::Key(key("a"))).await.unwrap();
            removing.purge_loose().await.unwrap();
            let left = store.list(None, 10).await.unwrap();
            assert!(left.len() == 1 && left[0].as_str().contains("/b/"), "{left:?}");
            removing.delete(&caller, &Scope::TaskInstance(key("b").ti)).await.unwrap();
            removing.purge_loose().await.unwrap();
            assert!(store.list(None, 10).await.unwrap().is_empty());
        });
    }
}

#[test]
fn a_path_that_a_task_returns_is_the_text_that_it_returned() {
    for threshold in [0, 10_000] {
        let house = House::new(Options { threshold, ..Options::default() });
        let secret = Value::of(&vec!["secret"; 2000]).unwrap();
        let receipt = house.push(&key("secret"), &secret);
        assert!(receipt.offloaded);
        let text = Value::of(&house.reference(&key("secret"), receipt.version)).unwrap();
        assert!(Path::new(&house.file(&text.get::<String>().unwrap())).is_file());

        assert_eq!(house.push(&key("t"), &text).offloaded, threshold == 0);
        assert_eq!(house.pull(&key("t")).found().unwrap().value, text);
        // The same in a row of Airflow's database.
        let found = pollster::block_on(house.backend.resolve(&key("t").ti, text.clone())).unwrap();
        assert_eq!(crate::all(found).unwrap(), text.bytes().to_vec());
    }
}

#[test]
fn the_threshold_is_airflows() {
    // 9 bytes here; Python writes "\u00e9", 8 bytes, and a space.
    let value = Value::parse(r#"["é",12]"#).unwrap();
    assert_eq!(value.size(), 9);
    for (threshold, offloaded) in [(-1, false), (0, true), (13, true), (14, true), (15, false)] {
        let house = House::new(Options { threshold, ..Options::default() });
        assert_eq!(house.push(&key("t"), &value).offloaded, offloaded, "{threshold}");
        assert_eq!(house.pull(&key("t")).found().unwrap().value, value);
    }
}

#[test]
fn what_is_too_large_for_the_database_becomes_an_object_or_is_refused() {
    let value = Value::of(&"x".repeat(3000)).unwrap();
    let limited = |threshold| Options { threshold, inline_limit: 1000, ..Options::default() };
    assert!(House::new(limited(1 << 30)).push(&key("t"), &value).offloaded);
    let house = House::new(limited(-1));
    for payload in [value.clone().into(), memory::streamed(&value)] {
        let error =
            pollster::block_on(house.engine.push(&Caller::user("ana"), &key("t"), payload)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    }
}

#[test]
fn a_repeated_push_is_one_object() {
    for compression in Compression::ALL {
        let (db, store) = (Arc::new(memory::Db::new()), Arc::new(memory::Store::new()));
        let backend = Arc::new(backend(store.clone(), BASE, compression));
        let engine = Engine::builder(db, Arc::new(memory::Clock::new()))
            .backend(backend.clone())
            .settings(Settings::default())
            .build();
        let (key, version, caller) = (key("t"), Version::from_code(7).unwrap(), Caller::user("ana"));
        pollster::block_on(async {
            // The object of a push that was interrupted before its entry.
            let object = Object { key: &key, version, store: store.id(), codec: "", key_id: "" };
            backend.serialize_value(&object, value().into()).await.unwrap();
            let receipt = engine.push_version(&caller, &key, version, value().into()).await.unwrap();
            assert!(!receipt.already);
            assert!(engine.push_version(&caller, &key, version, value().into()).await.unwrap().already);
            let pulled = engine.pull(&caller, std::slice::from_ref(&key), Default::default()).await.unwrap();
            assert_eq!(pulled[0].found().unwrap().value, value());
            assert_eq!(store.list(None, 10).await.unwrap().len(), 1);
        });
    }
}
