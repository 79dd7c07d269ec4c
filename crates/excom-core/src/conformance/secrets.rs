//! Secrets: sealed wherever they lie, shown nowhere, and values as any other to whoever pulls them.

use std::sync::Arc;
use std::time::Duration;

use super::{Harness, THRESHOLD, refused, ti, user, value, xcom};
use crate::attempt::TaskState;
use crate::backend::Object;
use crate::channel::PullOptions;
use crate::db::{LooseObject, Push};
use crate::engine::{Direction, KeyGlob, SECRET_LIMIT, Settings, TraceOptions};
use crate::seal::{Reference, Ring, SealKeys};
use crate::value::ContentHash;
use crate::{
    Answer, Caller, Clock as _, Engine, ErrorKind, ObjectName, Shape, Stored, Value, ValueStore as _,
    XComKey, memory,
};

const SMALL: &str = r#"{"token":"hunter2"}"#;

/// A secret that is offloaded.
fn long() -> String {
    format!("\"hunter2 {}\"", "x".repeat(THRESHOLD as usize))
}

fn secret(json: &str) -> Value {
    value(json).into_secret()
}

async fn pull(engine: &Engine, key: &XComKey) -> Answer {
    engine.pull(&user(), std::slice::from_ref(key), PullOptions::default()).await.unwrap().remove(0)
}

async fn bytes_of(engine: &Engine, key: &XComKey) -> Vec<u8> {
    let mut stream = engine.open(&user(), key).await.unwrap().unwrap().into_stream();
    let mut bytes = Vec::new();
    while let Some(piece) = std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
        bytes.extend_from_slice(&piece.unwrap());
    }
    bytes
}

/// What is stored of an entry inline, or in the store.
async fn stored(h: &Harness, key: &XComKey) -> String {
    let entry = h.engine.db().entries(std::slice::from_ref(key)).await.unwrap().remove(0).unwrap();
    assert!(entry.secret);
    match entry.stored {
        Stored::Inline(envelope) => envelope.as_str().to_owned(),
        Stored::Offloaded(Reference { store, codec, key_id, .. }) => {
            let object =
                Object { key, version: entry.version, store: &store, codec: &codec, key_id: &key_id };
            let mut stream = h.backend.deserialize_value(&object).await.unwrap().into_stream();
            let mut bytes = Vec::new();
            while let Some(piece) = std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
                bytes.extend_from_slice(&piece.unwrap());
            }
            String::from_utf8(bytes).unwrap()
        }
    }
}

/// A secret comes back as one, inline and offloaded, and what is stored of it does not tell it.
pub async fn a_secret_comes_back_as_a_secret(h: &Harness) {
    let (small, wide, none) = (xcom("t", "small"), xcom("t", "wide"), xcom("t", "none"));
    for (key, json) in [(&small, SMALL), (&wide, &*long()), (&none, "null")] {
        let receipt = h.engine.push(&user(), key, secret(json).into()).await.unwrap();
        assert!(receipt.secret && receipt.warnings.is_empty(), "{receipt:?}");
        assert_eq!(
            (receipt.shape, receipt.offloaded),
            (value(json).shape(), h.offloads(receipt.size as usize))
        );
        let back = pull(&h.engine, key).await;
        assert!(!back.to_string().contains("hunter2"), "{back}");
        assert_eq!(matches!(back, Answer::Null(_)), json == "null");
        assert_eq!(back.value().unwrap(), secret(json));
        assert_eq!(bytes_of(&h.engine, key).await, json.as_bytes());
        let stored = stored(h, key).await;
        assert!(stored.contains("secret-1") && !stored.contains("hunter2") && !stored.contains("token"));
    }
    // What was pulled is pushed on as the secret that it is, also with the end of a try.
    let me = h.start("next", -1).await;
    let pulled = h.pull_as(&me, &small).await.value().unwrap();
    let on = xcom("next", "return_value");
    let last = vec![(on.clone(), pulled.into()), (xcom("next", "plain"), value("1").into())];
    let receipts = h.engine.finish(super::attempt(&me), TaskState::Success, last).await.unwrap();
    assert_eq!(receipts.iter().map(|receipt| receipt.secret).collect::<Vec<_>>(), [true, false]);
    assert_eq!(pull(&h.engine, &on).await.value().unwrap(), secret(SMALL));
    assert!(!pull(&h.engine, &xcom("next", "plain")).await.value().unwrap().is_secret());
}

/// Lists, history and traces show that there is a secret, and nothing of it.
pub async fn a_secret_is_shown_nowhere(h: &Harness) {
    let key = xcom("t", "k");
    for json in [SMALL, &*long(), SMALL] {
        h.clock.advance(Duration::from_secs(1));
        h.engine.push(&user(), &key, secret(json).into()).await.unwrap();
    }
    h.push(&user(), &xcom("t", "plain"), "\"hunter3\"").await;
    let listed = h.engine.list(&user(), &Default::default(), None, 10).await.unwrap().items;
    assert_eq!(listed.iter().map(|info| info.secret).collect::<Vec<_>>(), [true, false]);
    assert_eq!(listed[0].preview, "***");
    assert_ne!(listed[1].preview, "***");
    let past = h.engine.history(&user(), &key, 10).await.unwrap();
    let shown: Vec<_> = past.iter().map(|past| (past.info.secret, &*past.info.preview)).collect();
    assert_eq!(shown, [(true, "***"), (true, "***")]);
    for past in &past {
        assert_eq!(past.info.offloaded, h.offloads(past.info.size as usize));
    }
    for (past, json) in past.iter().zip([&*long(), SMALL]) {
        let back = h.engine.pull_past(&user(), &key, past.info.version).await.unwrap();
        assert_eq!(back, Some(secret(json)));
    }
    let told = serde_json::to_string(&(listed, past)).unwrap();
    assert!(told.contains("\"secret\":true") && !told.contains("hunter2"), "{told}");
    for direction in [Direction::Backwards, Direction::Forwards] {
        let options = TraceOptions { direction, ..TraceOptions::backwards() };
        let trace = h.engine.trace(&user(), &key, None, options).await.unwrap().unwrap();
        let told = serde_json::to_string(&trace).unwrap();
        assert!(told.contains("\"secret\":true") && !told.contains("hunter2"), "{told}");
    }
    // What is left of it when its bytes are gone, too.
    let scope = crate::db::Scope::Key(key.clone());
    h.engine.clear(&user(), &scope).await.unwrap();
    let answer = pull(&h.engine, &key).await;
    assert!(matches!(&answer, Answer::Cleared(ended) if ended.last.info.secret), "{answer:?}");
}

/// The same version again is one entry; with another value it is not.
pub async fn a_secret_is_pushed_twice_as_one(h: &Harness) {
    for (key, json) in [(xcom("t", "small"), SMALL.to_owned()), (xcom("t", "wide"), long())] {
        let version = h.engine.clock().version();
        let ana = user();
        let push = || h.engine.push_version(&ana, &key, version, secret(&json).into());
        assert!(!push().await.unwrap().already);
        let envelope = stored(h, &key).await;
        let again = push().await.unwrap();
        assert!(again.already && again.secret, "{again:?}");
        assert_eq!(stored(h, &key).await, envelope);
    }
}

/// A version that another push has is drawn again, and the secret is sealed for the new one.
pub async fn a_secret_drawn_again_is_sealed_again(h: &Harness) {
    for (key, json) in [(xcom("t", "small"), SMALL.to_owned()), (xcom("t", "wide"), long())] {
        for _ in 0..2 {
            // A clock of its own draws the same versions each time.
            let twin = Engine::builder(h.engine.db().clone(), Arc::new(memory::Clock::new()))
                .backend(h.engine.backend().clone())
                .keys(h.engine.keys().clone())
                .build();
            twin.push(&user(), &key, secret(&json).into()).await.unwrap();
            assert_eq!(pull(&h.engine, &key).await.value().unwrap(), secret(&json));
        }
        assert_eq!(h.engine.history(&user(), &key, 10).await.unwrap().len(), 1);
    }
}

/// An interrupted push of an offloaded secret is repeated: its envelope is the same.
pub async fn an_interrupted_secret_is_repeated(h: &Harness) {
    let (key, version) = (xcom("t", "wide"), h.engine.clock().version());
    let envelope = h.engine.keys().seal_secret("k1", &key, version, &secret(&long())).unwrap();
    h.leave(&key, version, envelope.as_str()).await;
    h.engine.push_version(&user(), &key, version, secret(&long()).into()).await.unwrap();
    assert_eq!(pull(&h.engine, &key).await.value().unwrap(), secret(&long()));
}

/// So it is when the keys were rotated in between, and its envelope would be another one now.
pub async fn an_interrupted_secret_outlives_its_key(h: &Harness) {
    let (key, version) = (xcom("t", "wide"), h.engine.clock().version());
    let store = Arc::new(memory::Store::new());
    let since = h.clock.now();
    let intent = LooseObject { key: key.clone(), version, store: "memory".into(), since };
    h.engine.db().note_intent(&intent).await.unwrap();
    let envelope = h.engine.keys().seal_secret("k1", &key, version, &secret(&long())).unwrap();
    let crate::Payload::Stream(body) = memory::streamed(&envelope) else { return };
    store.create(&ObjectName::of(&key, version), body).await.unwrap();

    let push = |engine: Engine, json: String| {
        let key = key.clone();
        async move { engine.push_version(&user(), &key, version, secret(&json).into()).await }
    };
    let stranger = h.with_keys(&store, SealKeys::new("k2", [8; 32]), true);
    refused(push(stranger, long()).await, ErrorKind::Configuration);
    let rotated = h.with_keys(&store, Ring::new("k2", [8; 32]).with_old("k1", [7; 32]).into(), true);
    refused(push(rotated.clone(), long().replace("hunter2", "hunter3")).await, ErrorKind::Exists);
    let receipt = push(rotated.clone(), long()).await.unwrap();
    assert!(!receipt.already && receipt.secret && receipt.offloaded, "{receipt:?}");
    assert_eq!(receipt.size, envelope.size());
    assert_eq!(pull(&rotated, &key).await.value().unwrap(), secret(&long()));
}

/// Secrets of a mapped task, in sequences, slices and all at once.
pub async fn secrets_are_elements(h: &Harness) {
    for i in 0..3 {
        let me = h.start("mapped", i).await;
        let json = if i == 1 { long() } else { format!("\"hunter2 {i}\"") };
        h.engine.push(&me, &ti("mapped", i).return_value(), secret(&json).into()).await.unwrap();
    }
    let key = ti("mapped", -1).return_value().sequence();
    let all = h.engine.slice(&user(), &key, crate::Slice::ALL).await.unwrap();
    let page = h.engine.page(&user(), &key, Some(0), 5).await.unwrap();
    assert_eq!((all.len(), page.len()), (3, 2));
    for (_, answer) in all.into_iter().chain(page) {
        let value = answer.value().unwrap();
        assert!(value.is_secret() && value.as_str().starts_with("\"hunter2"), "{}", value.as_str());
    }
}

/// Keys that settings name are secrets, whoever pushes them, also as streams; a large one is refused.
pub async fn keys_make_secrets(h: &Harness) {
    let settings = Settings { secret_keys: vec![KeyGlob::new("*password*")], ..Settings::default() };
    let engine = h.with(settings);
    let key = xcom("t", "DB_Password");
    for payload in [value(SMALL).into(), memory::streamed(&value(SMALL))] {
        let receipt = engine.push(&user(), &key, payload).await.unwrap();
        assert!(receipt.secret && receipt.warnings.is_empty(), "{receipt:?}");
        assert_eq!(pull(&h.engine, &key).await.value().unwrap(), secret(SMALL));
    }
    assert!(!engine.push(&user(), &xcom("t", "rows"), value("1").into()).await.unwrap().secret);
    let broken = memory::streamed(&Value::trusted("{hunter2".into(), Shape::String));
    refused(engine.push(&user(), &key, broken).await, ErrorKind::InvalidValue);

    let large = format!("\"{}\"", "x".repeat(SECRET_LIMIT as usize));
    for payload in [value(&large).into(), memory::streamed(&value(&large))] {
        let error = engine.push(&user(), &key, payload).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        assert!(error.hints()[0].contains("pointer"), "{error:?}");
    }
    let most = secret(&format!("\"{}\"", "x".repeat(SECRET_LIMIT as usize - 2)));
    engine.push(&user(), &key, most.clone().into()).await.unwrap();
    assert_eq!(pull(&engine, &key).await.value().unwrap(), most);
}

/// Ordinary values that look like credentials are pushed with a warning.
pub async fn credentials_get_a_hint(h: &Harness) {
    let push = |key: &'static str, json: String, streamed: bool| async move {
        let payload = if streamed { memory::streamed(&value(&json)) } else { value(&json).into() };
        h.engine.push(&user(), &xcom("t", key), payload).await.unwrap().warnings
    };
    for streamed in [false, true] {
        let warnings = push("login", r#"{"user":"ana","password":"hunter2"}"#.into(), streamed).await;
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("`password`") && warnings[0].contains("secret_keys"), "{warnings:?}");
        assert!(!warnings[0].contains("hunter2"));
        let wide = format!(r#"{{"password":"hunter2","more":{}}}"#, long());
        assert_eq!(push("wide", wide, streamed).await.len(), 1);
        assert_eq!(push("api_token", "\"abc\"".into(), streamed).await.len(), 1);
        assert_eq!(push("rows", "365".into(), streamed).await, Vec::<String>::new());
    }
}

/// A move takes the envelope as it is, in both directions, of entries and of history.
pub async fn secrets_move_sealed(h: &Harness) {
    let keys = [xcom("t", "small"), xcom("t", "wide")];
    for _ in 0..2 {
        h.engine.push(&user(), &keys[0], secret(SMALL).into()).await.unwrap();
        h.engine.push(&user(), &keys[1], secret(&long()).into()).await.unwrap();
    }
    let before = h.engine.list(&user(), &Default::default(), None, 10).await.unwrap().items;
    let store = Arc::new(memory::Store::named("new"));
    for threshold in [0, 1 << 20, THRESHOLD] {
        let engine = h.moving_to(&store, threshold);
        for kept in engine.misplaced(None, None).await.unwrap().found {
            assert!(kept.secret && engine.migrate(&kept).await.unwrap());
        }
        engine.purge_loose().await.unwrap();
        for (key, json) in keys.iter().zip([SMALL, &*long()]) {
            assert_eq!(pull(&engine, key).await.value().unwrap(), secret(json));
            let past = engine.history(&user(), key, 10).await.unwrap().remove(0).info;
            assert_eq!((past.secret, &*past.preview), (true, "***"));
            let back = engine.pull_past(&user(), key, past.version).await.unwrap();
            assert_eq!(back, Some(secret(json)));
        }
    }
    let mut after = h.engine.list(&user(), &Default::default(), None, 10).await.unwrap().items;
    after.iter_mut().zip(&before).for_each(|(after, before)| after.offloaded = before.offloaded);
    assert_eq!(after, before);
}

/// Without its key a secret is not there for now, and the answer names the key.
pub async fn a_secret_needs_its_key(h: &Harness) {
    let key = xcom("t", "k");
    h.engine.push(&user(), &key, secret(SMALL).into()).await.unwrap();
    let other = |keys| {
        let other = Engine::builder(h.engine.db().clone(), h.clock.clone()).backend(h.backend.clone());
        other.keys(keys).build()
    };
    let answer = pull(&other(crate::seal::SealKeys::new("k2", [2; 32])), &key).await;
    assert!(matches!(answer, Answer::Unavailable(_)) && answer.to_string().contains("`k1`"), "{answer}");
    let rotated = crate::seal::Ring::new("k2", [2; 32]).with_old("k1", [7; 32]);
    assert_eq!(pull(&other(rotated.into()), &key).await.value().unwrap(), secret(SMALL));
    let answer = pull(&other(crate::seal::SealKeys::new("k1", [8; 32])), &key).await;
    assert!(matches!(answer, Answer::Corrupt(_)), "{answer}");
}

/// An envelope that is copied to another XCom, or pushed by somebody as a value, opens nothing.
pub async fn an_envelope_opens_in_its_place_only(h: &Harness) {
    let (key, other) = (xcom("t", "k"), xcom("t", "other"));
    h.engine.push(&user(), &key, secret(SMALL).into()).await.unwrap();
    let envelope = stored(h, &key).await;

    let copied = value(&envelope);
    let push = Push {
        key: other.clone(),
        version: h.engine.clock().version(),
        caller: user(),
        size: copied.size(),
        hash: ContentHash::of(copied.bytes()),
        shape: Shape::Dict(1),
        secret: true,
        result: false,
        preview: String::new(),
        stored: Stored::Inline(copied),
        at: h.clock.now(),
    };
    h.engine.db().push(&push).await.unwrap();
    let answer = pull(&h.engine, &other).await;
    assert!(matches!(answer, Answer::Corrupt(_)), "{answer}");
    refused(
        h.engine.open(&user(), &other).await.unwrap().map_err(Answer::into_error).map(drop),
        ErrorKind::Corrupt,
    );

    // Somebody's own value that reads like an envelope is that value.
    h.push(&user(), &key, &envelope).await;
    let back = pull(&h.engine, &key).await.value().unwrap();
    assert!(!back.is_secret());
    assert_eq!(back.as_str(), envelope);
    let listed = h.engine.db().list(&Default::default(), None, 10).await.unwrap().items;
    assert_eq!((listed[0].secret, listed[0].preview.starts_with("{\"$excom\"")), (false, true));
}

/// A value of a secret that does not fit a type is not told in the error.
pub async fn errors_do_not_tell_secrets(h: &Harness) {
    let key = xcom("t", "k");
    let me: Caller = h.start("reader", -1).await;
    h.engine.push(&user(), &key, secret(r#"{"rows":[1,"hunter2"]}"#).into()).await.unwrap();
    let value = h.pull_as(&me, &key).await.value().unwrap();
    let error = value.get::<std::collections::BTreeMap<String, Vec<u8>>>().unwrap_err();
    assert!(error.to_string().ends_with("$.rows[1]: expected a whole number, found a string"), "{error}");
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
}
