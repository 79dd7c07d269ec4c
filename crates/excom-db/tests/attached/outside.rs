//! Rows that Airflow itself wrote, where Excom is asked to let them expire, or to move them out.

use std::num::NonZeroU32;
use std::sync::Arc;

use excom_core::db::{Due, Expires, Rule};
use excom_core::engine::{Builder, Pruning};
use excom_core::entry::Writer;
use excom_core::seal::SealKeys;
use excom_core::{
    Answer, Caller, Clock as _, Engine, ErrorKind, PullOptions, TaskInstanceKey, XComKey, memory,
};
use jiff::{SignedDuration, Timestamp};
use pollster::block_on;

use crate::HOLDS_ROWS;
use crate::airflow::Airflow;
use crate::support::Database;

const ME: Caller = Caller::System("test");

struct Theirs {
    database: Database,
    airflow: Airflow,
    engine: Engine,
    now: Timestamp,
}

impl Theirs {
    fn new() -> Option<Self> {
        Self::made(|engine| engine)
    }

    /// With a store for what is over 10,000 bytes.
    fn offloading() -> Option<Self> {
        let backend = memory::Backend::new(Arc::new(memory::Store::new()), 10_000).sealing();
        Self::made(|engine| engine.backend(Arc::new(backend)).keys(SealKeys::new("k1", [7; 32])))
    }

    fn made(complete: impl FnOnce(Builder) -> Builder) -> Option<Self> {
        let database = Database::attached()?;
        let (airflow, clock) = (Airflow::connect(&database.airflows()), Arc::new(memory::Clock::new()));
        let now = clock.now();
        let engine = complete(Engine::builder(Arc::new(database.open()), clock)).build();
        Some(Self { database, airflow, engine, now })
    }

    fn days_ago(&self, days: i64) -> Timestamp {
        self.now - SignedDuration::from_hours(24 * days)
    }

    /// What Airflow's own server writes.
    fn write(&self, run: &str, task: &str, json: &str, at: Timestamp) -> XComKey {
        let key = TaskInstanceKey::new("d", run, task, -1).unwrap().return_value();
        self.airflow.xcom(&key, json, at).unwrap();
        key
    }

    fn pruning(&self, rules: &[(&str, Expires)]) -> Pruning {
        let rule = |(text, expires): &(&str, Expires)| Rule {
            text: (*text).into(),
            expires: *expires,
            outside: true,
        };
        Pruning { rules: rules.iter().map(rule).collect(), dag_id: None, rate: None }
    }

    fn pull(&self, key: &XComKey) -> Answer {
        block_on(self.engine.pull(&ME, std::slice::from_ref(key), PullOptions::default())).unwrap().remove(0)
    }

    /// All that is due, in pages of so many.
    fn due(&self, pruning: &Pruning, limit: u32) -> Vec<Due> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = block_on(self.engine.db().due(&pruning.rules, None, after, limit)).unwrap();
            all.extend(page.items);
            after = page.next;
            if after.is_none() {
                return all;
            }
        }
    }

    fn left(&self) -> String {
        let rows =
            self.database.sql("SELECT concat(run_id, ' ', task_id) FROM xcom ORDER BY run_id, task_id");
        rows.lines().collect::<Vec<_>>().join(", ")
    }

    fn times(&self) -> String {
        self.database.sql("SELECT timestamp FROM xcom ORDER BY run_id, task_id")
    }
}

#[test]
fn what_airflow_wrote_expires_where_rules_say_so_and_else_never() {
    let Some(it) = Theirs::new() else { return };
    let old = it.write("r1", "a", "[1, 2]", it.days_ago(9));
    it.write("r1", "b", "1", it.days_ago(9));
    it.write("r2", "a", "2", it.days_ago(1));
    let own = TaskInstanceKey::new("d", "r2", "b", -1).unwrap();
    it.airflow.task_instance(&own, it.now).unwrap();
    let value = excom_core::Value::of(&"mine").unwrap();
    block_on(it.engine.push(&ME, &own.return_value(), value.into())).unwrap();

    let mut pruning = it.pruning(&[("by hand", Expires::Pushed(it.days_ago(5)))]);
    pruning.rules[0].outside = false;
    assert_eq!(block_on(it.engine.prune_by(&pruning, |_| ())).unwrap().entries, 0);
    assert_eq!(it.left(), "r1 a, r1 b, r2 a, r2 b");

    // Pages are of whole runs, and say the same whatever their length.
    pruning.rules[0].outside = true;
    for limit in [1, 2, 100] {
        let due = it.due(&pruning, limit);
        assert_eq!(due.iter().map(|due| &*due.key.ti.task_id).collect::<Vec<_>>(), ["a", "b"], "{limit}");
        assert!(due.iter().all(|due| due.rule == 0 && due.size > 0), "{due:?}");
    }
    let elsewhere = Pruning { dag_id: Some("other".into()), ..pruning.clone() };
    assert_eq!(block_on(it.engine.prune_by(&elsewhere, |_| ())).unwrap().entries, 0);

    pruning.rate = NonZeroU32::new(1);
    let mut steps = Vec::new();
    let removed = block_on(it.engine.prune_by(&pruning, |so_far| steps.push(so_far.entries))).unwrap();
    assert!(removed.entries == 2 && removed.bytes > 0, "{removed:?}");
    assert!(steps.contains(&1), "one at a time: {steps:?}");
    assert_eq!(it.left(), "r2 a, r2 b");
    let answer = it.pull(&old);
    assert!(matches!(&answer, Answer::Expired(ended) if ended.by == "by hand"), "{answer:?}");
    assert_eq!(block_on(it.engine.history(&ME, &old, 9)).unwrap().len(), 1);

    // By the other rules too, with what Excom wrote beside.
    let newest = it.write("r3", "a", "3", it.now);
    it.write("r3", "b", "3", it.now);
    let pruning = it.pruning(&[("newest", Expires::Behind(1))]);
    assert_eq!(block_on(it.engine.prune_by(&pruning, |_| ())).unwrap().entries, 2);
    assert_eq!(it.left(), "r3 a, r3 b");
    assert!(it.pull(&newest).found().is_some());

    // What was read since stays.
    let read = it.write("r4", "read", "4", it.days_ago(9));
    it.write("r4", "unread", "4", it.days_ago(9));
    assert!(it.pull(&read).found().is_some());
    let pruning = it.pruning(&[("unread", Expires::Unread(it.days_ago(5)))]);
    assert_eq!(block_on(it.engine.prune_by(&pruning, |_| ())).unwrap().entries, 1);
    assert_eq!(it.left(), "r3 a, r3 b, r4 read");
}

#[test]
fn what_is_written_meanwhile_stays() {
    let Some(it) = Theirs::new() else { return };
    let key = it.write("r1", "a", "1", it.days_ago(9));
    it.write("r1", "held", "1", it.days_ago(9));
    it.write("r1", "still", "1", it.days_ago(9));
    let pruning = it.pruning(&[("by hand", Expires::Pushed(it.days_ago(5)))]);
    let due = it.due(&pruning, 100);
    assert_eq!(due.len(), 3);

    // Airflow writes one anew, with a time that the rule catches too, and is about to write another.
    it.write("r1", "a", "2", it.days_ago(8));
    let held = TaskInstanceKey::new("d", "r1", "held", -1).unwrap();
    let expire = || block_on(it.engine.db().expire(&pruning.rules, &due, it.now)).unwrap();
    let removed = it.airflow.removing(&held, expire).unwrap();
    if !HOLDS_ROWS {
        assert_eq!((removed.entries, &*it.left()), (2, "r1 a"));
        return;
    }
    assert_eq!(removed.entries, 1);
    assert_eq!(it.left(), "r1 a, r1 held");
    assert_eq!(it.pull(&key).found().unwrap().value.as_str(), "2");

    // What went is not found again: what was interrupted goes on where it was.
    assert_eq!(block_on(it.engine.prune_by(&pruning, |_| ())).unwrap().entries, 2);
    assert_eq!(it.left(), "");
}

#[test]
fn where_nothing_else_writes_it_is_refused() {
    let engine = Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new())).build();
    let rule = Rule { text: "all".into(), expires: Expires::Behind(1), outside: true };
    let pruning = Pruning { rules: vec![rule], dag_id: None, rate: None };
    let error = block_on(engine.prune_by(&pruning, |_| ())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{error}");
    assert_eq!(block_on(engine.due(&pruning, None)).unwrap_err().kind(), ErrorKind::InvalidRequest);
}

/// A JSON list that no compression makes much shorter.
fn noise(seed: u64) -> String {
    let words = (0..4_000).map(|i| format!("\"{:08x}\"", (i * 2_654_435_761_u64 + seed) as u32));
    format!("[{}]", words.collect::<Vec<_>>().join(","))
}

#[test]
fn what_airflow_wrote_moves_out_and_is_read_as_before() {
    let Some(it) = Theirs::offloading() else { return };
    let plain = it.write("r1", "plain", &noise(1), it.now);
    let text = serde_json::to_string(&noise(2)).unwrap();
    let in_a_string = it.write("r1", "text", &text, it.now);
    it.write("r1", "small", "[1]", it.now);
    // What Excom offloaded once, and Airflow has written anew.
    let over = TaskInstanceKey::new("d", "r1", "over", -1).unwrap().return_value();
    it.airflow.task_instance(&over.ti, it.now).unwrap();
    let value = excom_core::Value::parse(noise(5)).unwrap();
    block_on(it.engine.push(&ME, &over, value.into())).unwrap();
    it.write("r1", "over", &noise(6), it.now + SignedDuration::from_secs(1));
    let again = it.write("r2", "again", &noise(3), it.now);
    let left = it.write("r2", "left", &noise(4), it.now);
    let before = |key: &XComKey| it.pull(key).found().unwrap().clone();
    let (first, second, third) = (before(&plain), before(&in_a_string), before(&over));
    let times = it.times();

    let page = block_on(it.engine.outside(None, None)).unwrap();
    assert_eq!((page.looked_at, page.found.len(), page.next), (6, 5, None));
    assert!(page.found.iter().all(|found| found.size > 10_000), "{:?}", page.found);
    assert!(block_on(it.engine.outside(Some("other"), None)).unwrap().found.is_empty());
    let found = |key: &XComKey| page.found.iter().find(|found| found.key == *key).unwrap();
    for key in [&plain, &in_a_string, &over] {
        assert!(block_on(it.engine.migrate_outside(found(key))).unwrap());
        assert!(!block_on(it.engine.migrate_outside(found(key))).unwrap(), "it is Excom's own by now");
    }
    let told = it.database.sql("SELECT count(*) FROM xcom WHERE concat(value, '') LIKE '%reference-1%'");
    assert_eq!(told, "3", "what Airflow's own readers find");
    for (key, was) in [(&plain, &first), (&in_a_string, &second), (&over, &third)] {
        let now = before(key);
        assert_eq!((now.value.as_str(), &now.version), (was.value.as_str(), &was.version));
        assert_eq!(now.writer, Writer::Outside);
    }
    assert_eq!(it.times(), times, "each is the version that it was");

    // One is written anew since it was found; another is taken over, and then nothing more.
    it.write("r2", "again", "[2]", it.now + SignedDuration::from_secs(1));
    assert!(!block_on(it.engine.migrate_outside(found(&again))).unwrap());
    assert_eq!(it.pull(&again).found().unwrap().value.as_str(), "[2]");
    let kept = block_on(it.engine.db().adopt(found(&left), it.now)).unwrap().unwrap();
    assert_eq!(it.pull(&left).found().unwrap().value.as_str(), noise(4));
    assert!(block_on(it.engine.outside(None, None)).unwrap().found.is_empty());
    assert_eq!(block_on(it.engine.misplaced(None, None)).unwrap().found, std::slice::from_ref(&kept));
    assert!(block_on(it.engine.migrate(&kept)).unwrap());
    assert_eq!(it.pull(&left).found().unwrap().value.as_str(), noise(4));

    // What Airflow removes afterwards takes its object along.
    it.database.sql("DELETE FROM xcom");
    block_on(it.engine.prune()).unwrap();
    assert_eq!(it.database.noted(), "0");
    let stores: Vec<String> = it.engine.stores().into_iter().map(str::to_owned).collect();
    for store in stores {
        let page = block_on(it.engine.orphans(&store, None, std::time::Duration::ZERO)).unwrap();
        assert_eq!(page.looked_at, 0, "{store}");
    }
}
