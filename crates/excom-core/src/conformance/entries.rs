//! Push, pull, list: what is pushed comes back, and what does not is explained.

use super::stores::body;
use super::{Harness, THRESHOLD, large, refused, text, ti, user, value, xcom};
use crate::answer::Answer;
use crate::channel::PullOptions;
use crate::db::{Filter, LooseObject, Scope};
use crate::engine::{Access, Reads, Settings, Writes};
use crate::value::ByteStream;
use crate::{
    Caller, Engine, ErrorKind, ObjectName, Payload, Shape, TaskInstanceKey, TaskState, Value, Version,
    XComKey, memory,
};

/// Text, order and number text of values survive.
pub async fn a_value_comes_back_as_it_was_pushed(h: &Harness) {
    for json in [
        "1",
        "1.0",
        "-0.0",
        "123456789012345678901234567890",
        "\"\"",
        "\"a\\u0000b \\ud83d\\ude00 é\"",
        "[]",
        "{}",
        "{\"b\": 1, \"a\": [2, null], \"b\": 3}",
        " [1 ,2] ",
        "false",
        "{\"__excom__\": 1}",
        "{\"__classname__\": \"os.system\", \"__version__\": 1, \"__data__\": \"id\"}",
    ] {
        h.push(&user(), &xcom("t", "k"), json).await;
        let answer = h.pull(&xcom("t", "k")).await;
        assert_eq!(text(&answer), json);
        assert_eq!(answer.found().unwrap().writer.to_string(), "user ana");
    }
    let listed = h.engine.list(&user(), &Filter::default(), None, 10).await.unwrap().items;
    assert_eq!(listed.len(), 1, "each push replaced the one before");
}

/// Keys that break URLs, paths and separators are ordinary, and each is its own.
pub async fn strange_keys_stay_apart(h: &Harness) {
    let long = "k".repeat(512);
    let keys = [
        "k",
        "k?x=1",
        "k#f",
        "k%2Fz",
        "k/z",
        "k/slice",
        "k/item/0",
        "..",
        "a/../b",
        "b",
        "../other/k",
        " ",
        "k ",
        "ключ",
        "{r}",
        "a:b",
        "k\\",
        "'; DROP TABLE entry; --",
        "%",
        "_",
        "\u{1F600}",
        &long,
    ];
    for (i, key) in keys.iter().enumerate() {
        for json in [i.to_string(), large(i as u64)] {
            h.push(&user(), &xcom("t", key), &json).await;
        }
    }
    for (i, key) in keys.iter().enumerate() {
        assert_eq!(text(&h.pull(&xcom("t", key)).await), large(i as u64), "{key}");
    }
    assert!(h.pull(&xcom("other", "k")).await.found().is_none());
}

/// No collation merges names: case, accent, trailing space and normalisation tell them apart.
pub async fn names_that_differ_little_stay_apart(h: &Harness) {
    let names = ["a", "A", "á", "a\u{301}", "a ", " a", "ａ", "ß", "ss"];
    for (i, name) in names.iter().enumerate() {
        let key = XComKey::new(*name, *name, *name, -1, *name).unwrap();
        h.push(&user(), &key, &i.to_string()).await;
    }
    for (i, name) in names.iter().enumerate() {
        let key = XComKey::new(*name, *name, *name, -1, *name).unwrap();
        assert_eq!(text(&h.pull(&key).await), i.to_string(), "{name:?}");
    }
    // One part of the key never leaks into the next.
    h.push(&user(), &XComKey::new("x", "y/z", "t", -1, "k").unwrap(), "1").await;
    h.push(&user(), &XComKey::new("x/y", "z", "t", -1, "k").unwrap(), "2").await;
    assert_eq!(text(&h.pull(&XComKey::new("x", "y/z", "t", -1, "k").unwrap()).await), "1");
}

fn version(h: &Harness, random: u64) -> Version {
    Version::new(crate::Clock::now(&*h.clock), random)
}

/// The version is the idempotency token.
pub async fn pushing_the_same_version_twice_is_one_entry(h: &Harness) {
    for (key, json, other) in
        [(xcom("t", "small"), "1".to_owned(), "2".to_owned()), (xcom("t", "large"), large(1), large(2))]
    {
        let v = version(h, 1);
        let first = h.engine.push_version(&user(), &key, v, value(&json).into()).await.unwrap();
        let again = h.engine.push_version(&user(), &key, v, value(&json).into()).await.unwrap();
        assert!(!first.already && again.already, "{first:?} {again:?}");
        let told = |receipt: &crate::engine::Receipt| (receipt.size, receipt.shape, receipt.offloaded);
        assert_eq!(told(&first), told(&again));
        assert_eq!(text(&h.pull(&key).await), json);
        assert!(h.engine.history(&user(), &key, 10).await.unwrap().is_empty());
        // Another value under the same version is no repetition, however it comes.
        refused(h.engine.push_version(&user(), &key, v, value(&other).into()).await, ErrorKind::Exists);
        refused(
            h.engine.push_version(&user(), &key, v, memory::streamed(&value(&large(3)))).await,
            ErrorKind::Exists,
        );
        h.engine.push_version(&user(), &key, v, memory::streamed(&value(&json))).await.unwrap();
        h.push(&user(), &key, "3").await;
        refused(h.engine.push_version(&user(), &key, v, value(&other).into()).await, ErrorKind::Exists);
        assert!(h.engine.push_version(&user(), &key, v, value(&json).into()).await.unwrap().already);
        assert_eq!(text(&h.pull(&key).await), "3");
    }
    h.engine.collect_abandoned(std::time::Duration::ZERO).await.unwrap();
    assert_eq!(text(&h.pull(&xcom("t", "large")).await), "3");
}

/// Two processes may draw the same version for the same key in the same millisecond: both pushes count.
pub async fn a_version_drawn_twice_is_no_repetition(h: &Harness) {
    // A clock of its own draws what the harness's clock draws.
    let twin = |key: XComKey, json: String| async move {
        let clock = std::sync::Arc::new(memory::Clock::new());
        let engine = Engine::builder(h.engine.db().clone(), clock)
            .backend(h.engine.backend().clone())
            .keys(crate::seal::SealKeys::new("k1", [7; 32]))
            .build();
        engine.push(&user(), &key, value(&json).into()).await.unwrap()
    };
    for (key, one, two) in
        [(xcom("t", "small"), "1".to_owned(), "2".to_owned()), (xcom("t", "large"), large(1), large(2))]
    {
        let first = twin(key.clone(), one).await;
        let second = twin(key.clone(), two.clone()).await;
        assert!(!second.already && first.version != second.version, "{first:?} {second:?}");
        assert_eq!(text(&h.pull(&key).await), two);
        assert_eq!(h.engine.history(&user(), &key, 10).await.unwrap().len(), 1);
    }
}

/// A request that was repeated by a slow network changes nothing any more.
pub async fn a_late_repetition_does_not_undo_a_newer_push(h: &Harness) {
    for (key, one, two) in
        [(xcom("t", "small"), "1".to_owned(), "2".to_owned()), (xcom("t", "large"), large(1), large(2))]
    {
        let old = version(h, 1);
        h.engine.push_version(&user(), &key, old, value(&one).into()).await.unwrap();
        h.push(&user(), &key, &two).await;
        let late = h.engine.push_version(&user(), &key, old, value(&one).into()).await.unwrap();
        assert!(late.already);
        assert_eq!(text(&h.pull(&key).await), two);
    }
}

/// A push that died behind its object is pushed again with the same version, whole or as a stream.
pub async fn an_interrupted_push_is_repeated(h: &Harness) {
    let payloads: [fn(&str) -> Payload; 2] =
        [|json| value(json).into(), |json| memory::streamed(&value(json))];
    for (number, payload) in (9..).zip(payloads) {
        let (key, v) = (xcom("t", &format!("k{number}")), version(h, number));
        let intent = LooseObject {
            key: key.clone(),
            version: v,
            store: h.store_id(),
            since: crate::Clock::now(&*h.clock),
        };
        h.engine.db().note_intent(&intent).await.unwrap();
        h.leave(&key, v, &large(1)).await;

        let other = h.engine.push_version(&user(), &key, v, payload(&large(2))).await;
        refused(other, ErrorKind::Exists);
        let receipt = h.engine.push_version(&user(), &key, v, payload(&large(1))).await.unwrap();
        assert!(!receipt.already && receipt.offloaded);
        h.engine.collect_abandoned(std::time::Duration::ZERO).await.unwrap();
        assert_eq!(text(&h.pull(&key).await), large(1));
    }
}

/// JSON null was pushed: that is not the same as nothing.
pub async fn null_is_a_value(h: &Harness) {
    h.push(&user(), &xcom("t", "k"), "null").await;
    let answer = h.pull(&xcom("t", "k")).await;
    assert!(matches!(answer, Answer::Null(_)), "{answer:?}");
    assert_eq!(answer.clone().or_none().unwrap(), None);
    assert!(answer.value().unwrap().is_null());
}

async fn drain(mut stream: ByteStream) -> crate::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(piece) = std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
        bytes.extend_from_slice(&piece?);
    }
    Ok(bytes)
}

/// Values around the threshold, whole and streamed.
pub async fn large_values_are_offloaded_and_streamed(h: &Harness) {
    for size in [10, THRESHOLD - 2, THRESHOLD - 1, THRESHOLD, 70_000, 300_000] {
        let json = format!("\"{}\"", "é".repeat(size as usize / 2));
        for payload in [Payload::from(value(&json)), memory::streamed(&value(&json))] {
            let key = xcom("t", "k");
            let receipt = h.engine.push(&user(), &key, payload).await.unwrap();
            assert_eq!(receipt.offloaded, h.offloads(json.len()));
            assert_eq!((receipt.size, receipt.shape), (json.len() as u64, Shape::String));
            assert_eq!(text(&h.pull(&key).await), json);
            let opened = h.engine.open(&user(), &key).await.unwrap().unwrap();
            assert_eq!(drain(opened.into_stream()).await.unwrap(), json.as_bytes());
            let listed = h.engine.db().list(&Filter::default(), None, 10).await.unwrap().items.remove(0);
            assert_eq!((listed.size, listed.offloaded), (json.len() as u64, receipt.offloaded));
            assert!(listed.preview.starts_with("\"é"), "{}", listed.preview);
        }
    }
    let broken = Value::trusted(format!("[{}", "1,".repeat(500)).into(), Shape::List(500));
    refused(
        h.engine.push(&user(), &xcom("t", "k"), memory::streamed(&broken)).await,
        ErrorKind::InvalidValue,
    );
    assert!(text(&h.pull(&xcom("t", "k")).await).starts_with("\"é"), "the value before stays");
}

/// Altered, truncated and lost objects are told apart, and never a value.
pub async fn damage_is_an_answer(h: &Harness) {
    let key = xcom("t", "k");
    let receipt = h.engine.push(&user(), &key, value(&large(1)).into()).await.unwrap();
    let name = ObjectName::of(&key, receipt.version);

    if let Some(store) = h.backend.objects() {
        tamper(store, &name, |bytes| bytes[5] ^= 1).await;
        let answer = h.pull(&key).await;
        assert!(matches!(&answer, Answer::Corrupt(d) if d.what.contains(name.as_str())), "{answer:?}");
        assert_eq!(answer.exit_code(), 6);
        refused(answer.or_none(), ErrorKind::Corrupt);

        tamper(store, &name, |bytes| {
            bytes[5] ^= 1;
            bytes.pop();
        })
        .await;
        assert!(matches!(h.pull(&key).await, Answer::Corrupt(_)));
        let opened = h.engine.open(&user(), &key).await.unwrap().unwrap();
        refused(drain(opened.into_stream()).await, ErrorKind::Corrupt);

        // What goes on behind the end is found out there, and not at its own end, which may never come. Plain
        // bytes have no end of their own, so it is the engine that stops.
        tamper(store, &name, |bytes| bytes.resize(1_000_000, b'x')).await;
        let answer = h.pull(&key).await;
        let told = if h.backend.codec() == "plain" { "more bytes than" } else { name.as_str() };
        assert!(matches!(&answer, Answer::Corrupt(d) if d.what.contains(told)), "{answer:?}");
    }

    h.lose(&key, receipt.version).await;
    let answer = h.pull(&key).await;
    assert!(matches!(&answer, Answer::Lost(d) if d.what.contains(name.as_str())), "{answer:?}");
    refused(answer.or_none(), ErrorKind::Lost);

    // Another deployment's key opens nothing, and says which key is wanted.
    h.push(&user(), &key, &large(2)).await;
    let stranger = Engine::builder(h.engine.db().clone(), h.clock.clone())
        .backend(h.engine.backend().clone())
        .keys(crate::seal::SealKeys::new("k2", [8; 32]))
        .build();
    let answer =
        stranger.pull(&user(), std::slice::from_ref(&key), PullOptions::default()).await.unwrap().remove(0);
    assert!(matches!(&answer, Answer::Unavailable(d) if d.what.contains("`k1`")), "{answer:?}");
}

/// Changes an object behind everybody's back.
async fn tamper(store: &dyn crate::ValueStore, name: &ObjectName, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = drain(store.get(name).await.unwrap()).await.unwrap();
    change(&mut bytes);
    assert!(store.delete(name).await.unwrap());
    store.create(name, body(&bytes)).await.unwrap();
}

/// Bytes of another key or version are no value of this one, whoever put them there.
pub async fn bytes_of_another_place_are_no_value(h: &Harness) {
    let keys = [xcom("t", "k"), xcom("t", "k/"), XComKey::new("d", "r", "t/k", -1, "..").unwrap()];
    let mut places = Vec::new();
    for seed in 0..6 {
        let key = &keys[seed as usize / 2];
        let receipt = h.engine.push(&user(), key, value(&large(seed)).into()).await.unwrap();
        places.push((key, receipt.version));
    }
    let all_are_damaged = async || {
        for key in &keys {
            let answer = h.pull(key).await;
            assert!(matches!(answer, Answer::Corrupt(_)), "{key}: {answer:?}");
        }
        for (key, version) in places.iter().step_by(2) {
            refused(h.engine.pull_past(&user(), key, *version).await, ErrorKind::Corrupt);
        }
    };
    // As they lie in the store, each in the place of the next one: of its next version, of another key.
    if let Some(store) = h.backend.objects() {
        let names: Vec<_> = places.iter().map(|(key, version)| ObjectName::of(key, *version)).collect();
        let mut stored = Vec::new();
        for name in &names {
            stored.push(drain(store.get(name).await.unwrap()).await.unwrap());
        }
        stored.rotate_right(1);
        for (name, stored) in names.iter().zip(stored) {
            tamper(store, name, |bytes| *bytes = stored).await;
        }
        all_are_damaged().await;
    }
    // As the backend itself would store them there.
    for ((key, version), seed) in places.iter().zip([5, 0, 1, 2, 3, 4]) {
        h.lose(key, *version).await;
        h.leave(key, *version, &large(seed)).await;
    }
    all_are_damaged().await;
}

/// Between reading an entry and its object, another push may replace both.
pub async fn a_replaced_object_is_read_again(h: &Harness) {
    let key = xcom("t", "k");
    let old = h.engine.push(&user(), &key, value(&large(1)).into()).await.unwrap();
    let entry = h.engine.db().entries(std::slice::from_ref(&key)).await.unwrap().remove(0).unwrap();
    h.push(&user(), &key, &large(2)).await;
    h.lose(&key, old.version).await;
    let answer = h.engine.answers(vec![(&key, Ok(Some(entry)))]).await.unwrap().remove(0);
    assert_eq!(text(&answer), large(2));
}

/// One call, answers in the order asked, repetitions included.
pub async fn many_are_pulled_in_one_call(h: &Harness) {
    let keys: Vec<XComKey> = (0..50).map(|i| xcom(&format!("t{}", i % 5), &format!("k{i}"))).collect();
    for (i, key) in keys.iter().enumerate().filter(|(i, _)| i % 3 > 0) {
        h.push(&user(), key, &if i % 2 == 0 { i.to_string() } else { large(i as u64) }).await;
    }
    let mut asked = keys.clone();
    asked.reverse();
    asked.push(keys[1].clone());
    let answers = h.engine.pull(&user(), &asked, PullOptions::default()).await.unwrap();
    assert_eq!(answers.len(), 51);
    for (i, answer) in answers.iter().take(50).rev().enumerate() {
        assert_eq!(answer.found().is_some(), i % 3 > 0, "{i}");
    }
    assert_eq!(text(&answers[50]), large(1));
    assert!(h.engine.pull(&user(), &[], PullOptions::default()).await.unwrap().is_empty());
}

/// Lists filter, order and page, and show no values.
pub async fn lists_show_entries_in_order_and_pages(h: &Harness) {
    let mut keys = Vec::new();
    for run in ["r2", "r1"] {
        for task in ["b", "a"] {
            for map_index in [1, -1, 0] {
                for key in ["y", "x"] {
                    keys.push(XComKey::new("d", run, task, map_index, key).unwrap());
                }
            }
        }
    }
    for key in &keys {
        h.push(&user(), key, &format!("[\"{}\", 2]", "z".repeat(100))).await;
    }
    keys.sort();
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = h.engine.list(&user(), &Filter::default(), after.as_ref(), 5).await.unwrap();
        assert!(page.items.len() <= 5);
        seen.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen.iter().map(|info| info.key.clone()).collect::<Vec<_>>(), keys);
    assert!(seen.iter().all(|info| info.preview.len() < 80 && info.preview.ends_with('…')));
    assert!(seen.iter().all(|info| info.shape == Shape::List(2)));

    let filter = |task: Option<&str>, map_index, key: Option<&str>| Filter {
        dag_id: Some("d".into()),
        run_id: Some("r1".into()),
        task_id: task.map(Into::into),
        map_index,
        key: key.map(Into::into),
    };
    let count = async |f: Filter| h.engine.list(&user(), &f, None, 100).await.unwrap().items.len();
    assert_eq!(count(filter(None, None, None)).await, 12);
    assert_eq!(count(filter(Some("a"), None, None)).await, 6);
    assert_eq!(count(filter(Some("a"), Some(0), None)).await, 2);
    assert_eq!(count(filter(Some("a"), Some(0), Some("x"))).await, 1);
    assert_eq!(count(filter(Some("nope"), None, None)).await, 0);
}

/// Limits say the limit, the size and the way out, and nothing is stored.
pub async fn limits_are_told(h: &Harness) {
    let settings = Settings { soft_limit: 300, hard_limit: 400, ..Settings::default() };
    let engine = h.with(settings);
    let key = xcom("t", "k");
    let json = |size: usize| format!("\"{}\"", "x".repeat(size - 2));
    let receipt = engine.push(&user(), &key, value(&json(400)).into()).await.unwrap();
    assert!(receipt.warnings[0].contains("400 bytes, over the soft limit of 300 bytes"), "{receipt:?}");
    for payload in [Payload::from(value(&json(401))), memory::streamed(&value(&json(70_000)))] {
        let error = engine.push(&user(), &key, payload).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        assert!(error.to_string().contains("the hard limit is 400 bytes"), "{error}");
        assert!(!error.hints().is_empty());
    }
    assert_eq!(text(&h.pull(&key).await), json(400));

    // Without a store, the database's own limit holds, for streams too.
    let small = Engine::builder(h.engine.db().clone(), h.clock.clone())
        .backend(std::sync::Arc::new(crate::backend::Database::new(100)))
        .build();
    for payload in [Payload::from(value(&json(101))), memory::streamed(&value(&json(70_000)))] {
        refused(small.push(&user(), &xcom("t", "j"), payload).await, ErrorKind::TooLarge);
    }
    small.push(&user(), &xcom("t", "j"), memory::streamed(&value(&json(100)))).await.unwrap();
}

/// A large value that is a file or a table in disguise is pushed, with one word on what to do.
pub async fn large_values_in_disguise_get_a_hint(h: &Harness) {
    let key = xcom("t", "k");
    let rows = vec![serde_json::json!({"id": 1, "name": "Ana", "day": "2026-11-21"}); 8000];
    let lines = "2026-11-21,21.5,\n".repeat(20_000);
    for (json, looks_like) in [
        (serde_json::json!(rows), "a table of 8000 rows with 3 columns each"),
        (serde_json::json!(lines), "a CSV file with 3 columns"),
    ] {
        let json = Value::of(&json).unwrap();
        for payload in [Payload::from(json.clone()), memory::streamed(&json)] {
            let receipt = h.engine.push(&user(), &key, payload).await.unwrap();
            assert_eq!(receipt.warnings.len(), 1, "{receipt:?}");
            let warning = &receipt.warnings[0];
            assert!(warning.contains(looks_like) && warning.contains(" KiB"), "{warning}");
            assert!(warning.contains("push a Pointer"), "{warning}");
        }
    }
    for innocent in [serde_json::json!(vec![1.5; 100_000]), serde_json::json!(rows[..100])] {
        let receipt = h.engine.push(&user(), &key, Value::of(&innocent).unwrap().into()).await.unwrap();
        assert!(receipt.warnings.is_empty(), "{receipt:?}");
    }
}

/// Nothing was pushed there; something was nearby.
pub async fn a_missing_value_has_hints(h: &Harness) {
    for key in ["return_value", "rows", "table_name"] {
        h.push(&user(), &xcom("choose_table", key), "1").await;
    }
    h.push(&user(), &ti("mapped", 3).return_value(), "1").await;

    let hints = |answer: Answer| match answer {
        Answer::Missing(missing) => (*missing).clone(),
        other => panic!("{other:?}"),
    };
    let missing = hints(h.pull(&xcom("choose_tabel", "return_value")).await);
    assert_eq!(&*missing.near.tasks[0].0, "choose_table");
    assert_eq!(missing.near.tasks[0].1.len(), 3);
    let missing = hints(h.pull(&xcom("choose_table", "row")).await);
    assert_eq!(&*missing.near.keys[0], "rows");
    let missing = hints(h.pull(&xcom("mapped", "return_value")).await);
    assert_eq!(missing.near.map_indexes, [3]);
    let missing = hints(h.pull(&xcom("mapped", "return")).await);
    assert_eq!(&*missing.near.keys[0], "return_value");
    // Runs and DAGs that hold nothing are no hints.
    h.engine
        .set_states(&[(TaskInstanceKey::new("ddd", "rr0", "t", -1).unwrap(), TaskState::Failed)])
        .await
        .unwrap();
    h.engine
        .set_states(&[(TaskInstanceKey::new("d", "rr0", "t", -1).unwrap(), TaskState::Failed)])
        .await
        .unwrap();
    let run = XComKey::new("d", "rr", "choose_table", -1, "rows").unwrap();
    let missing = hints(h.pull(&run).await);
    assert_eq!(missing.near.runs, ["r".into()]);
    let dag = XComKey::new("dd", "r", "choose_table", -1, "rows").unwrap();
    let answer = h.pull(&dag).await;
    assert_eq!(answer.exit_code(), 3);
    assert_eq!(hints(answer).near.dags, ["d".into()]);
}

/// Tasks are held to the rules that are set; people are not.
pub async fn access_rules_hold(h: &Harness) {
    let settings = Settings {
        access: Access { writes: Writes::Own, reads: Reads::Run, ..Access::default() },
        ..Settings::default()
    };
    let strict = h.with(settings);
    let me = h.start("me", -1).await;
    let elsewhere = XComKey::new("d", "r0", "t", -1, "k").unwrap();
    h.push(&user(), &elsewhere, "1").await;
    h.push(&user(), &xcom("other", "k"), "2").await;

    strict.push(&me, &xcom("me", "k"), value("1").into()).await.unwrap();
    refused(strict.push(&me, &xcom("other", "k"), value("1").into()).await, ErrorKind::Forbidden);
    refused(strict.push(&me, &ti("me", 0).return_value(), value("1").into()).await, ErrorKind::Forbidden);
    let keys = [elsewhere.clone(), xcom("other", "k")];
    let answers = strict.pull(&me, &keys, PullOptions::default()).await.unwrap();
    assert!(matches!(&answers[0], Answer::Forbidden(f) if f.rule.contains("reads")), "{answers:?}");
    assert_eq!(answers[0].exit_code(), 5);
    assert_eq!(text(&answers[1]), "2");
    refused(strict.count(&me, &elsewhere.sequence()).await, ErrorKind::Forbidden);
    assert!(strict.open(&me, &elsewhere).await.unwrap().is_err());
    refused(strict.list(&me, &Filter::default(), None, 10).await, ErrorKind::Forbidden);
    refused(strict.history(&me, &elsewhere, 10).await, ErrorKind::Forbidden);
    refused(strict.readers(&me, &elsewhere).await, ErrorKind::Forbidden);
    let own_run = Filter { dag_id: Some("d".into()), run_id: Some("r".into()), ..Filter::default() };
    assert_eq!(strict.list(&me, &own_run, None, 10).await.unwrap().items.len(), 2);
    let prior = PullOptions { include_prior_dates: true };
    let answers = strict.pull(&me, &[xcom("other", "k")], prior).await.unwrap();
    assert!(matches!(answers[0], Answer::Forbidden(_)));
    assert_eq!(strict.pull(&user(), &keys, PullOptions::default()).await.unwrap()[0].exit_code(), 0);
    strict.push(&user(), &xcom("other", "k"), value("3").into()).await.unwrap();

    for scope in [Scope::Key(xcom("other", "k")), Scope::TaskInstance(ti("other", -1))] {
        refused(strict.clear(&me, &scope).await, ErrorKind::Forbidden);
    }
    assert_eq!(strict.clear(&me, &Scope::TaskInstance(ti("me", -1))).await.unwrap(), 1);

    // What a task may never do, whatever is set.
    refused(h.engine.delete(&me, &Scope::Key(xcom("me", "k"))).await, ErrorKind::Forbidden);
    // By default it may write and read everywhere, as in Airflow.
    h.engine.push(&me, &xcom("other", "k"), value("4").into()).await.unwrap();
    let by = h.pull(&xcom("other", "k")).await.found().unwrap().writer.to_string();
    assert_eq!(by, "task d/r/me");
    assert_eq!(text(&h.pull_as(&Caller::System("test"), &elsewhere).await), "1");
}
