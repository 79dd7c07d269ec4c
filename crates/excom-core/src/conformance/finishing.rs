//! The end of a try: pushes and state in one step, and what its fields were rendered to.

use super::{Harness, attempt, large, refused, text, ti, user, value, xcom};
use crate::attempt::{Attempt, TaskState};
use crate::db::{LooseObject, Note, Push};
use crate::engine::Rendered;
use crate::{Caller, Engine, ErrorKind, Payload, Stored, XComKey, memory};

pub(super) fn push(h: &Harness, who: &Caller, key: &XComKey, json: &str) -> Push {
    let value = value(json);
    Push {
        key: key.clone(),
        version: h.engine.clock().version(),
        caller: who.clone(),
        size: value.size(),
        hash: crate::value::ContentHash::of(value.bytes()),
        shape: value.shape(),
        secret: false,
        result: false,
        preview: String::new(),
        stored: Stored::Inline(value),
        at: h.engine.clock().now(),
    }
}

fn values(values: &[(&XComKey, &str)]) -> Vec<(XComKey, Payload)> {
    values.iter().map(|(key, json)| ((*key).clone(), value(json).into())).collect()
}

/// The last pushes and the state of a try happen together, inline and offloaded, also of one key twice.
pub async fn a_try_ends_in_one_step(h: &Harness) {
    let me = h.start("t", -1).await;
    let (small, wide, twice) = (xcom("t", "return_value"), xcom("t", "wide"), xcom("t", "twice"));
    h.push(&me, &twice, "0").await;
    h.clock.advance(std::time::Duration::from_secs(3));
    let last = values(&[(&small, "1"), (&wide, &large(2)), (&twice, "3"), (&twice, "4")]);
    let receipts = h.engine.finish(attempt(&me), TaskState::Success, last).await.unwrap();
    let offloaded: Vec<bool> = receipts.iter().map(|receipt| receipt.offloaded).collect();
    assert_eq!(offloaded, [h.offloads(1), true, h.offloads(1), h.offloads(1)]);
    assert!(receipts.iter().all(|receipt| !receipt.already && receipt.warnings.is_empty()), "{receipts:?}");
    assert_eq!(text(&h.pull(&small).await), "1");
    assert_eq!(text(&h.pull(&wide).await), large(2));
    assert_eq!(text(&h.pull(&twice).await), "4");
    let past = h.engine.history(&user(), &twice, 10).await.unwrap();
    assert_eq!(past.iter().map(|p| &*p.info.preview).collect::<Vec<_>>(), ["3", "0"]);
    let known = h.engine.task_instance(&ti("t", -1)).await.unwrap().unwrap();
    let ended = known.attempt.unwrap();
    assert_eq!((known.state, ended.state), (TaskState::Success, TaskState::Success));
    assert_eq!(ended.ended_at.unwrap().duration_since(ended.started_at).as_secs(), 3);
    // It may still write: links and callbacks come after the end. And it may end without a value.
    h.push(&me, &xcom("t", "_link_Logs"), "\"url\"").await;
    h.engine.finish(attempt(&me), TaskState::Failed, Vec::new()).await.unwrap();
    assert_eq!(h.engine.task_instance(&ti("t", -1)).await.unwrap().unwrap().state, TaskState::Failed);
    h.engine.collect_abandoned(std::time::Duration::ZERO).await.unwrap();
    assert_eq!(text(&h.pull(&wide).await), large(2), "its intent is taken");
}

/// One push that is refused refuses all of them and the state; nobody becomes known by it.
pub async fn a_refused_end_changes_nothing(h: &Harness) {
    let me = h.start("t", -1).await;
    let key = xcom("t", "k");
    h.push(&me, &key, "1").await;
    let taken = h.engine.list(&user(), &Default::default(), None, 1).await.unwrap().items[0].version;
    let db = h.engine.db();
    let now = h.engine.clock().now();
    let new = || push(h, &me, &xcom("t", "new"), "2");
    let unchanged = async || {
        assert_eq!(h.engine.list(&user(), &Default::default(), None, 10).await.unwrap().items.len(), 1);
        assert_eq!(text(&h.pull(&key).await), "1");
        assert_eq!(h.engine.task_instance(&ti("t", -1)).await.unwrap().unwrap().state, TaskState::Running);
    };

    // A version that was pushed before, or that is there twice.
    let again = Push { version: taken, ..push(h, &me, &key, "3") };
    let result = db.finish_attempt(attempt(&me), TaskState::Success, &[new(), again], now).await;
    refused(result, ErrorKind::Exists);
    let one = new();
    let twice = [one.clone(), one];
    refused(db.finish_attempt(attempt(&me), TaskState::Success, &twice, now).await, ErrorKind::Exists);
    unchanged().await;

    // An offloaded value whose intent is gone.
    let mut offloaded = push(h, &me, &xcom("t", "far"), "4");
    offloaded.stored = Stored::Offloaded(crate::seal::Reference {
        store: h.store_id(),
        codec: "plain".into(),
        key_id: "k1".into(),
        mac: String::new(),
    });
    for known in [false, true] {
        if known {
            // An intent that was taken over for removal is none.
            let object = LooseObject {
                key: offloaded.key.clone(),
                version: offloaded.version,
                store: h.store_id(),
                since: now,
            };
            db.note_intent(&object).await.unwrap();
            db.claim_loose(now, now, 10).await.unwrap();
        }
        let pushes = [new(), offloaded.clone()];
        let result = db.finish_attempt(attempt(&me), TaskState::Success, &pushes, now).await;
        refused(result, ErrorKind::Unavailable);
        unchanged().await;
    }

    // A value over the limit, checked before anything is written.
    let limited = h.with(crate::engine::Settings { hard_limit: 10, ..Default::default() });
    let long = format!("\"{}\"", "x".repeat(20));
    let last = values(&[(&xcom("t", "new"), "2"), (&key, &long)]);
    refused(limited.finish(attempt(&me), TaskState::Success, last).await, ErrorKind::TooLarge);
    unchanged().await;

    // A zombie, and a stranger.
    let stranger = Attempt { ti: ti("t", -1), id: h.engine.clock().attempt_id() };
    let next = h.start("t", -1).await;
    h.push(&next, &key, "1").await;
    for (who, kind) in [(attempt(&me), ErrorKind::Superseded), (&stranger, ErrorKind::NotStarted)] {
        for last in [values(&[]), values(&[(&xcom("t", "new"), "2"), (&key, &large(5))])] {
            refused(h.engine.finish(who, TaskState::Success, last).await, kind);
        }
        unchanged().await;
    }
    let nowhere = Attempt { ti: crate::TaskInstanceKey::new("dd", "r", "t", -1).unwrap(), id: stranger.id };
    let last = vec![(nowhere.ti.return_value(), value("1").into())];
    refused(h.engine.finish(&nowhere, TaskState::Success, last).await, ErrorKind::NotStarted);
    // An intent names the run that its object belongs to, so that one may stay until it is old.
    if !h.offloads(1) {
        assert_eq!(h.engine.db().run_info("dd", "r").await.unwrap(), None);
    }
}

/// Versions that another process drew in the same millisecond are drawn again, for all to happen.
pub async fn versions_drawn_twice_are_drawn_again_at_the_end(h: &Harness) {
    // A clock of its own draws what the one before drew.
    let twin = |json: String| async move {
        let clock = std::sync::Arc::new(memory::Clock::new());
        let engine = Engine::builder(h.engine.db().clone(), clock)
            .backend(h.engine.backend().clone())
            .keys(crate::seal::SealKeys::new("k1", [7; 32]))
            .build();
        let me = Attempt { ti: ti("t", -1), id: crate::AttemptId(uuid::Uuid::from_u128(5)) };
        engine.start_attempt(&me, 1, crate::db::StartMode::Fresh).await.unwrap();
        let last = values(&[(&xcom("t", "small"), &json), (&xcom("t", "large"), &large(json.len() as u64))]);
        engine.finish(&me, TaskState::Success, last).await.unwrap()
    };
    let first = twin("1".to_owned()).await;
    let second = twin("22".to_owned()).await;
    for (first, second) in first.iter().zip(&second) {
        assert!(!second.already && first.version != second.version, "{first:?} {second:?}");
    }
    assert_eq!(text(&h.pull(&xcom("t", "small")).await), "22");
    assert_eq!(text(&h.pull(&xcom("t", "large")).await), large(2));
    assert_eq!(h.engine.history(&user(), &xcom("t", "small"), 10).await.unwrap().len(), 1);
}

/// Notes are kept under names, whatever these are, until another takes their place; a superseded attempt writes none.
pub async fn notes_are_of_the_task_instance(h: &Harness) {
    let me = h.start("t", 3).await;
    let of = |name: &str, number: u32, json: &str| Note { name: name.into(), number, value: value(json) };
    let note = async |who: &Caller, name: &str, json: &str| {
        h.engine.note(attempt(who), name, Some(&value(json))).await
    };
    let notes = async |prefix: &str| h.engine.notes(&user(), &ti("t", 3), prefix, 100).await.unwrap();
    let holding = |name: &str| format!("[{}, 1.0, null, \"\\u0000\"]", serde_json::Value::from(name));
    assert_eq!(notes("").await, []);
    for name in ["s/b", "s/A", "s/a", "s/a ", "s/\u{e9}", "s/e\u{301}", "t", "s%"] {
        note(&me, name, "\"first\"").await.unwrap();
        note(&me, name, &holding(name)).await.unwrap();
    }
    let expected = ["s/A", "s/a", "s/a ", "s/b", "s/e\u{301}", "s/\u{e9}"];
    let expected = expected.map(|name| of(name, 1, &holding(name)));
    assert_eq!(notes("s/").await, expected);
    assert_eq!(notes("").await.len(), 8);
    let first = h.engine.notes(&user(), &ti("t", 3), "s/a", 1).await.unwrap();
    assert_eq!(first, [of("s/a", 1, &holding("s/a"))], "and not what only begins so");
    assert_eq!(h.engine.notes(&user(), &ti("t", 4), "", 100).await.unwrap(), []);
    h.engine.note(attempt(&me), "s/b", None).await.unwrap();
    h.engine.note(attempt(&me), "s/never", None).await.unwrap();
    assert_eq!(notes("s/b").await, []);

    // The first of an attempt stays; another attempt has its own first.
    let once = async |who: &Caller, json: &str| h.engine.note_once(attempt(who), "who", &value(json)).await;
    assert_eq!(once(&me, "1").await.unwrap(), value("1"));
    assert_eq!(once(&me, "2").await.unwrap(), value("1"));
    let second = h.start("t", 3).await;
    assert_eq!(notes("who").await, [of("who", 1, "1")], "a new try changes none");
    assert_eq!(once(&second, "3").await.unwrap(), value("3"));
    assert_eq!(once(&second, "4").await.unwrap(), value("3"));
    assert_eq!(notes("who").await, [of("who", 2, "3")]);

    refused(note(&me, "t", "0").await, ErrorKind::Superseded);
    refused(once(&me, "0").await, ErrorKind::Superseded);
    refused(h.engine.note(attempt(&me), "t", None).await, ErrorKind::Superseded);
    let stranger = Attempt { ti: ti("t", 4), id: h.engine.clock().attempt_id() };
    refused(h.engine.note(&stranger, "t", Some(&value("0"))).await, ErrorKind::NotStarted);
    refused(note(&second, "", "0").await, ErrorKind::InvalidName);
    refused(note(&second, &"n".repeat(513), "0").await, ErrorKind::InvalidName);
    note(&second, &"n".repeat(512), "0").await.unwrap();
    refused(note(&second, "t", &format!("\"{}\"", "x".repeat(1 << 20))).await, ErrorKind::TooLarge);
    let secret = value("\"hunter2\"").into_secret();
    refused(h.engine.note(attempt(&second), "t", Some(&secret)).await, ErrorKind::InvalidValue);
    // What is not about XComs outlives them.
    h.engine.delete(&user(), &crate::db::Scope::TaskInstance(ti("t", 3))).await.unwrap();
    assert_eq!(notes("t").await.len(), 1);
}

/// Rendered fields are kept of the newest attempt, in their order, bounded; a superseded one writes none.
pub async fn rendered_fields_are_of_the_newest_try(h: &Harness) {
    let me = h.start("t", 3).await;
    let fields = |last: &str| {
        let fields =
            [("sql", "\"SELECT \\u0000 'é'\""), ("env", "{\"b\": 1.0, \"a\": [null]}"), ("\"n\"", last)];
        fields.map(|(name, json)| (name.to_owned(), value(json)))
    };
    assert_eq!(h.engine.rendered(&user(), &ti("t", 3)).await.unwrap(), None);
    h.engine.note_rendered(attempt(&me), &fields("1")).await.unwrap();
    h.engine.note_rendered(attempt(&me), &fields("2")).await.unwrap();
    assert_eq!(
        h.engine.rendered(&user(), &ti("t", 3)).await.unwrap(),
        Some(Rendered { number: 1, fields: fields("2").to_vec() })
    );
    let second = h.start("t", 3).await;
    refused(h.engine.note_rendered(attempt(&me), &fields("3")).await, ErrorKind::Superseded);
    assert_eq!(
        h.engine.rendered(&user(), &ti("t", 3)).await.unwrap().unwrap().number,
        1,
        "until the second notes its own"
    );
    let long = vec![("env".to_owned(), value(&format!("\"{}\"", "x".repeat(5000))))];
    h.engine.note_rendered(attempt(&second), &long).await.unwrap();
    let kept = h.engine.rendered(&user(), &ti("t", 3)).await.unwrap().unwrap();
    assert_eq!(kept.number, 2);
    assert!(
        kept.fields[0].1.size() < 4200 && kept.fields[0].1.as_str().ends_with("… (5000 bytes)\""),
        "{kept:?}"
    );
    assert_eq!(h.engine.rendered(&user(), &ti("t", 4)).await.unwrap(), None);
    let stranger = Attempt { ti: ti("t", 4), id: h.engine.clock().attempt_id() };
    refused(h.engine.note_rendered(&stranger, &fields("1")).await, ErrorKind::NotStarted);
    // A delete of the task instance's XComs takes what was rendered from XComs too.
    h.engine.delete(&user(), &crate::db::Scope::TaskInstance(ti("t", 3))).await.unwrap();
    assert_eq!(h.engine.rendered(&user(), &ti("t", 3)).await.unwrap(), None);
}
