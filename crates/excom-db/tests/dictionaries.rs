//! Dictionaries for small values: what they save, and that every value stays readable whatever happens beside.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use excom_core::db::{Filter, MetadataDb};
use excom_core::dictionary::{Gain, Training};
use excom_core::engine::Settings;
use excom_core::{Answer, Caller, Engine, PullOptions, Value, XComKey, memory};
use excom_db::sqlite::{Db, Options};
use rusqlite::Connection;
use tempfile::TempDir;

const COUNT: usize = 600;

/// One process: an engine on a database of its own on the file, and the clock that all share.
struct Process {
    db: Arc<Db>,
    engine: Engine,
}

impl Process {
    fn open(folder: &TempDir, clock: &Arc<memory::Clock>, settings: Settings) -> Self {
        let db = Arc::new(Db::open(&path(folder), Options::default()).unwrap());
        let engine = Engine::builder(db.clone(), clock.clone()).settings(settings).build();
        Self { db, engine }
    }

    fn push(&self, key: &XComKey, value: &Value) {
        pollster::block_on(self.engine.push(&ana(), key, value.clone().into())).unwrap();
    }

    fn push_all(&self, dag: &str, values: &[Value]) {
        for (i, value) in values.iter().enumerate() {
            self.push(&key(dag, i), value);
        }
    }

    fn pull(&self, key: &XComKey) -> excom_core::Result<Answer> {
        let keys = std::slice::from_ref(key);
        pollster::block_on(self.engine.pull(&ana(), keys, PullOptions::default()))
            .map(|mut found| found.remove(0))
    }

    #[track_caller]
    fn has(&self, dag: &str, values: &[Value]) {
        for (i, value) in values.iter().enumerate() {
            assert_eq!(self.pull(&key(dag, i)).unwrap().value().unwrap(), *value, "{dag} {i}");
        }
    }

    fn train(&self, dag: &str) -> Training {
        pollster::block_on(self.engine.train_dictionary(dag)).unwrap()
    }

    #[track_caller]
    fn trained(&self, dag: &str) -> u32 {
        match self.train(dag) {
            Training::Kept(dictionary) => dictionary.id,
            other => panic!("{other:?}"),
        }
    }
}

fn path(folder: &TempDir) -> std::path::PathBuf {
    folder.path().join("excom.db")
}

fn ana() -> Caller {
    Caller::user("ana")
}

fn key(dag: &str, i: usize) -> XComKey {
    XComKey::new(dag, "r", "t", i as i32, "k").unwrap()
}

/// A number that looks like any other.
fn noise(i: usize) -> u64 {
    (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(17).wrapping_mul(0xD6E8_FEB8_6659_FD93)
}

/// What a task of a shop returns for an order: about a kilobyte.
fn order(i: usize) -> Value {
    let cities = ["Lisbon", "Warsaw", "Turin", "Ghent", "Malmö", "Porto", "Graz", "Leipzig"];
    let item = |n: usize| {
        let n = noise(i * 7 + n);
        format!(
            r#"{{"sku":"SKU-{:06}","title":"Replacement part {}","quantity":{},"unit_price":{}.{:02},"currency":"EUR"}}"#,
            n % 1_000_000,
            n % 97,
            n % 9 + 1,
            n % 500,
            n % 100
        )
    };
    let items: Vec<String> = (0..8).map(item).collect();
    let n = noise(i);
    Value::parse(format!(
        r#"{{"order_id":{},"customer":{{"id":"{:016x}","city":"{}","newsletter":{}}},"status":"shipped","warehouse":"EU-{}","items":[{}],"total":{}.{:02},"shipped_at":"2026-{:02}-{:02}T{:02}:{:02}:00Z"}}"#,
        n % 10_000_000, n, cities[(n % 8) as usize], n.is_multiple_of(2), n % 5, items.join(","), n % 3000, n % 100,
        n % 12 + 1, n % 28 + 1, n % 24, n % 60
    ))
    .unwrap()
}

fn orders(from: usize, count: usize) -> Vec<Value> {
    (from..from + count).map(order).collect()
}

/// Text that has nothing in common with any other.
fn random(i: usize) -> Value {
    let text: String = (0..40).map(|n| format!("{:016x}", noise(i * 40 + n))).collect();
    Value::of(&text).unwrap()
}

fn raw(path: &Path) -> Connection {
    Connection::open(path).unwrap()
}

/// Bytes that the values of a DAG, from a map index on, take in their rows, and how many of them a dictionary
/// compressed.
fn stored(path: &Path, dag: &str, from: usize) -> (u64, u64) {
    let sql =
        "SELECT sum(length(CAST(head AS BLOB)) + ifnull(length(body), 0)), count(*) FILTER (WHERE codec = 3)
               FROM excom_entry e JOIN excom_dag_run r ON r.id = e.run JOIN excom_name d ON d.id = r.dag WHERE d.text = ?1 AND e.map_index >= ?2";
    let (bytes, compressed): (i64, i64) =
        raw(path).query_row(sql, (dag, from as i64), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    (bytes as u64, compressed as u64)
}

#[test]
fn similar_values_take_less_than_half() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(memory::Clock::new()));
    let process = Process::open(&folder, &clock, Settings::default());
    let (old, new) = (orders(0, COUNT), orders(COUNT, 500));
    process.push_all("shop", &old);
    let Training::Kept(dictionary) = process.train("shop") else { panic!("it is worth it") };
    assert_eq!((dictionary.id, &*dictionary.dag_id), (32_768, "shop"));
    assert!(dictionary.gain.percent() >= 50, "{dictionary:?}");
    assert_eq!(pollster::block_on(process.db.dictionaries(Some("shop"))).unwrap(), [dictionary]);
    assert_eq!(pollster::block_on(process.db.dictionaries(Some("else"))).unwrap(), []);

    // The same values under two DAGs, of which one has a dictionary.
    for dag in ["plain", "shop"] {
        new.iter().enumerate().for_each(|(i, value)| process.push(&key(dag, COUNT + i), value));
    }
    let (before, after) = (stored(&path(&folder), "plain", COUNT), stored(&path(&folder), "shop", COUNT));
    let size: u64 = new.iter().map(Value::size).sum();
    println!("500 values, {size} bytes: {} without, {} with a dictionary", before.0, after.0);
    assert_eq!((before.1, after.1), (0, 500));
    assert!(after.0 * 2 < before.0, "{} against {}", after.0, before.0);
    for (i, value) in new.iter().enumerate() {
        assert_eq!(process.pull(&key("shop", COUNT + i)).unwrap().value().unwrap(), *value);
    }
}

#[test]
fn values_from_before_and_in_the_history_stay_readable() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(memory::Clock::new()));
    let process = Process::open(&folder, &clock, Settings::default());
    let old = orders(0, COUNT);
    process.push_all("shop", &old);
    process.trained("shop");
    process.has("shop", &old);
    let new = orders(5000, COUNT);
    process.push_all("shop", &new);
    process.has("shop", &new);

    // A second dictionary is trained on values that the first one compressed; both stay in use.
    assert_eq!(process.trained("shop"), 32_769);
    let newest = orders(9000, 10);
    process.push_all("shop", &newest);
    process.has("shop", &newest);
    process.has("shop", &[&newest[..], &new[10..]].concat());
    let past = pollster::block_on(process.engine.history(&ana(), &key("shop", 3), 5)).unwrap();
    let values = past.iter().map(|past| {
        pollster::block_on(process.engine.pull_past(&ana(), &key("shop", 3), past.info.version))
            .unwrap()
            .unwrap()
    });
    assert_eq!(values.collect::<Vec<_>>(), [new[3].clone(), old[3].clone()]);
    let list = pollster::block_on(process.engine.list(&ana(), &Filter::default(), None, 2)).unwrap();
    assert_eq!(list.items[0].size, newest[0].size());
    assert!(newest[0].as_str().starts_with(list.items[0].preview.trim_end_matches('…')));
}

#[test]
fn values_move_to_a_store_and_back() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(memory::Clock::new()));
    let process = Process::open(&folder, &clock, Settings::default());
    let (old, new) = (orders(0, COUNT), orders(5000, 20));
    process.push_all("shop", &old);
    process.trained("shop");
    process.push_all("shop", &new);
    let store = Arc::new(memory::Store::new());
    let values = [&new[..], &old[20..]].concat();
    for (inline_limit, compressed) in [(100, 0), (1 << 20, COUNT as u64)] {
        let engine =
            process.engine.clone().with_backend(Arc::new(memory::Backend::new(store.clone(), inline_limit)));
        let mut after = None;
        loop {
            let page = pollster::block_on(engine.misplaced(None, after)).unwrap();
            for kept in page.found {
                assert!(pollster::block_on(engine.migrate(&kept)).unwrap());
            }
            pollster::block_on(engine.purge_loose()).unwrap();
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(stored(&path(&folder), "shop", 0).1, compressed);
        Process { db: process.db.clone(), engine }.has("shop", &values);
    }
    process.has("shop", &values);
}

#[test]
fn another_process_finds_what_one_trained() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(memory::Clock::new()));
    let one = Process::open(&folder, &clock, Settings::default());
    let other = Process::open(&folder, &clock, Settings::default());
    let values = orders(0, COUNT);
    other.push_all("shop", &values);
    other.has("shop", &values[..3]);
    one.trained("shop");
    let new = orders(5000, 2);
    one.push(&key("shop", 0), &new[0]);
    assert_eq!(stored(&path(&folder), "shop", 0).1, 1);
    assert_eq!(other.pull(&key("shop", 0)).unwrap().value().unwrap(), new[0]);

    // It pushes with it from its next upkeep on.
    other.push(&key("shop", 1), &new[1]);
    assert_eq!(stored(&path(&folder), "shop", 0).1, 1);
    pollster::block_on(other.engine.upkeep()).unwrap();
    other.push(&key("shop", 1), &new[1]);
    assert_eq!(stored(&path(&folder), "shop", 0).1, 2);
    one.has("shop", &[&new[..], &values[2..]].concat());
}

#[test]
fn what_saves_too_little_is_not_kept() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(memory::Clock::new()));
    let process = Process::open(&folder, &clock, Settings::default());
    assert_eq!(process.train("unknown"), Training::TooFew { found: 0, needed: 500 });
    process.push_all("shop", &orders(0, 499));
    assert_eq!(process.train("shop"), Training::TooFew { found: 499, needed: 500 });
    process.push_all("noise", &(0..500).map(random).collect::<Vec<_>>());
    let Training::NotWorth(gain) = process.train("noise") else {
        panic!("random text has nothing in common")
    };
    assert!(gain.percent() < Gain::LEAST && gain.samples == 100, "{gain:?}");
    assert_eq!(pollster::block_on(process.db.dictionaries(None)).unwrap(), []);

    // With a dictionary, a value that it does not make shorter is stored as it would be without.
    process.push(&key("shop", 499), &order(499));
    process.trained("shop");
    let values = [
        random(1),
        Value::of(&1).unwrap(),
        Value::of(&"x".repeat(4000)).unwrap(),
        Value::of(&"é".repeat(5000)).unwrap(),
    ];
    process.push_all("shop", &values);
    process.has("shop", &values);
    assert_eq!(stored(&path(&folder), "shop", 0).1, 0);
}

#[test]
fn upkeep_trains_the_first_one_where_the_settings_want_it() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(memory::Clock::new()));
    let off = Process::open(&folder, &clock, Settings { dictionaries: false, ..Settings::default() });
    off.push_all("shop", &orders(0, COUNT));
    off.push_all("noise", &(0..COUNT).map(random).collect::<Vec<_>>());
    off.push_all("few", &orders(0, 100));
    assert_eq!(pollster::block_on(off.db.without_dictionary()).unwrap(), ["shop".into(), "noise".into()]);
    let trained = || pollster::block_on(off.db.dictionaries(None)).unwrap().len();
    pollster::block_on(off.engine.upkeep()).unwrap();
    assert_eq!(trained(), 0);
    let on = Process::open(&folder, &clock, Settings::default());
    pollster::block_on(on.engine.upkeep()).unwrap();
    assert_eq!(trained(), 1);
    clock.advance(Duration::from_secs(2 * 24 * 3600));
    pollster::block_on(on.engine.upkeep()).unwrap();
    assert_eq!(trained(), 1);
}

#[test]
fn a_dictionary_that_is_gone_or_damaged_is_told_by_its_number() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(memory::Clock::new()));
    let process = Process::open(&folder, &clock, Settings::default());
    process.push_all("shop", &orders(0, COUNT));
    process.trained("shop");
    process.push_all("shop", &orders(5000, 3));
    process.has("shop", &orders(5000, 3));
    let fresh = || Process::open(&folder, &clock, Settings::default());

    // A value whose own bytes name no dictionary is damaged by itself, and an answer.
    let number = "UPDATE excom_entry SET body = CAST(substr(body, 1, 1) || x'ffff' || substr(body, 4) AS BLOB) WHERE map_index = 2";
    raw(&path(&folder)).execute(number, []).unwrap();
    assert!(matches!(fresh().pull(&key("shop", 2)).unwrap(), Answer::Corrupt(_)));

    raw(&path(&folder)).execute("UPDATE excom_dictionary SET bytes = zeroblob(length(bytes))", []).unwrap();
    let damaged = fresh();
    // Those that need it are damaged, each by itself.
    let some_corrupt = |process: &Process| {
        let keys = [key("shop", 9), key("shop", 0), key("shop", 1), key("shop", 10)];
        let answers = pollster::block_on(process.engine.pull(&ana(), &keys, PullOptions::default())).unwrap();
        let values = answers.into_iter().map(|answer| match answer {
            Answer::Corrupt(_) => None,
            answer => Some(answer.value().unwrap()),
        });
        assert_eq!(values.collect::<Vec<_>>(), [Some(order(9)), None, None, Some(order(10))]);
    };
    some_corrupt(&damaged);
    damaged.push(&key("shop", 7), &order(7));
    assert_eq!(damaged.pull(&key("shop", 7)).unwrap().value().unwrap(), order(7), "it does without");

    let problems = || pollster::block_on(process.db.health()).unwrap().problems;
    assert!(
        problems()[0].contains("dictionary 32768") && problems()[0].contains("damaged"),
        "{:?}",
        problems()
    );

    raw(&path(&folder)).execute("DELETE FROM excom_dictionary", []).unwrap();
    assert!(problems()[0].contains("is gone"), "{:?}", problems());
    some_corrupt(&fresh());
    assert_eq!(process.pull(&key("shop", 0)).unwrap().value().unwrap(), order(5000), "who knows it goes on");
    process.push_all("shop", &orders(0, COUNT));
    assert_eq!(process.trained("shop"), 32_769, "numbers are never used again");
}

#[test]
fn what_has_no_head_is_never_trained_on() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(memory::Clock::new()));
    let process = Process::open(&folder, &clock, Settings::default());
    process.push_all("shop", &orders(0, COUNT));
    raw(&path(&folder)).execute("UPDATE excom_entry SET head = '' WHERE map_index < 200", []).unwrap();
    assert_eq!(process.train("shop"), Training::TooFew { found: 400, needed: 500 });
    assert_eq!(pollster::block_on(process.db.without_dictionary()).unwrap(), []);
}
