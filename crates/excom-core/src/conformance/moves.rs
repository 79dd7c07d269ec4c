//! Values that are moved to another place.

use std::sync::Arc;
use std::time::Duration;

use super::{Harness, large, text, user, value, xcom};
use crate::channel::PullOptions;
use crate::db::{Kept, LooseObject, Scope};
use crate::engine::Retiring;
use crate::seal::{Ring, SealKeys};
use crate::{Answer, Clock as _, Engine, ErrorKind, ObjectName, ValueStore as _, XComKey, memory};

async fn misplaced(engine: &Engine) -> Vec<Kept> {
    engine.misplaced(None, None).await.unwrap().found
}

async fn pull(engine: &Engine, key: &XComKey) -> Answer {
    engine.pull(&user(), std::slice::from_ref(key), PullOptions::default()).await.unwrap().remove(0)
}

async fn objects(store: &memory::Store) -> usize {
    store.list(None, 1000).await.unwrap().len()
}

/// From store to store, into the database and out of it; versions and history stay what they are.
pub async fn values_move_and_stay_what_they_are(h: &Harness) {
    let (stored, small) = (xcom("t", "stored"), xcom("t", "small"));
    for i in 1..3 {
        h.push(&user(), &stored, &large(i)).await;
        h.push(&user(), &small, &i.to_string()).await;
    }
    // As the database has them: what a list shows is the backend's choice.
    let listed = async || h.engine.db().list(&Default::default(), None, 10).await.unwrap().items;
    let before = listed().await;
    let past = h.engine.history(&user(), &stored, 10).await.unwrap();
    let store = Arc::new(memory::Store::named("new"));
    let all = h.moving_to(&store, 0);
    let found = misplaced(&all).await;
    assert_eq!(found.len(), 4);
    assert_eq!(all.misplaced(Some("other"), None).await.unwrap().found, []);
    for kept in &found {
        assert!(all.migrate(kept).await.unwrap());
        assert!(!all.migrate(kept).await.unwrap(), "it was moved already");
    }
    assert_eq!(misplaced(&all).await, []);
    all.purge_loose().await.unwrap();
    // No intent was left behind that would take away what is in use.
    h.clock.advance(Duration::from_secs(3601));
    all.purge_loose().await.unwrap();
    assert_eq!((objects(&store).await, h.objects().await), (4, h.stored(0, 0)));
    assert_eq!(text(&pull(&all, &stored).await), large(2));
    assert_eq!(text(&pull(&all, &small).await), "2");
    let old = all.pull_past(&user(), &stored, past[0].info.version).await.unwrap();
    assert_eq!(old, Some(value(&large(1))));
    let mut after = listed().await;
    assert!(after.iter().all(|info| info.offloaded));
    after.iter_mut().zip(&before).for_each(|(after, before)| after.offloaded = before.offloaded);
    assert_eq!(after, before);
    assert_eq!(all.history(&user(), &stored, 10).await.unwrap(), past);

    let none = h.moving_to(&store, 1 << 20);
    let found = misplaced(&none).await;
    assert_eq!(found.len(), 4);
    for kept in &found {
        assert!(none.migrate(kept).await.unwrap());
    }
    none.purge_loose().await.unwrap();
    assert_eq!(objects(&store).await, 0);
    assert_eq!(text(&h.pull(&stored).await), large(2));
    let old = none.pull_past(&user(), &stored, past[0].info.version).await.unwrap();
    assert_eq!(old, Some(value(&large(1))));
    // And back to where it all was.
    for kept in misplaced(&h.engine).await {
        assert!(h.engine.migrate(&kept).await.unwrap());
    }
    assert_eq!(listed().await, before);
    assert_eq!(h.objects().await, h.stored(2, 2));
}

/// What is pushed, cleared or deleted in between is left alone, and no object is left for good.
pub async fn a_move_gives_way_to_what_happens_meanwhile(h: &Harness) {
    let store = Arc::new(memory::Store::named("new"));
    let engine = h.moving_to(&store, super::THRESHOLD);
    for key in ["pushed", "cleared", "deleted"] {
        h.push(&user(), &xcom("t", key), &large(1)).await;
    }
    let found = misplaced(&engine).await;
    h.push(&user(), &xcom("t", "pushed"), &large(2)).await;
    h.engine.clear(&user(), &Scope::Key(xcom("t", "cleared"))).await.unwrap();
    h.engine.delete(&user(), &Scope::Key(xcom("t", "deleted"))).await.unwrap();
    for kept in &found {
        assert!(!engine.migrate(kept).await.unwrap(), "{kept:?}");
    }
    assert_eq!(text(&pull(&engine, &xcom("t", "pushed")).await), large(2));
    assert!(pull(&engine, &xcom("t", "cleared")).await.found().is_none());

    // It is deleted while its bytes are on their way: they are no one's, and gc finds them.
    let key = xcom("t", "late");
    h.push(&user(), &key, &large(3)).await;
    let kept = misplaced(&engine).await.into_iter().find(|kept| kept.key == key).unwrap();
    assert!(engine.db().note_move(&kept, "new", h.clock.now()).await.unwrap());
    let crate::Payload::Stream(body) = memory::streamed(&value(&large(3))) else { return };
    store.create(&ObjectName::of(&key, kept.version), body).await.unwrap();
    engine.delete(&user(), &Scope::Key(key.clone())).await.unwrap();
    let entry = crate::Stored::Offloaded(crate::seal::Reference {
        store: "new".into(),
        codec: "plain".into(),
        key_id: "k1".into(),
        mac: String::new(),
    });
    assert!(!engine.db().move_stored(&kept, &entry, h.clock.now()).await.unwrap());
    h.clock.advance(Duration::from_secs(3601));
    engine.purge_loose().await.unwrap();
    let orphans = engine.orphans("new", None, Duration::from_secs(3600)).await.unwrap().found;
    engine.remove_orphans(&orphans).await.unwrap();
    assert_eq!(objects(&store).await, 0);
}

/// Ended between object and entry, a move leaves the value as it was, and its object is collected.
pub async fn an_interrupted_move_leaves_nothing(h: &Harness) {
    let store = Arc::new(memory::Store::named("new"));
    let engine = h.moving_to(&store, super::THRESHOLD);
    let key = xcom("t", "k");
    h.push(&user(), &key, &large(1)).await;
    let kept = misplaced(&engine).await.remove(0);
    assert!(engine.db().note_move(&kept, "new", h.clock.now()).await.unwrap());
    let crate::Payload::Stream(body) = memory::streamed(&value(&large(1))) else { return };
    store.create(&ObjectName::of(&key, kept.version), body).await.unwrap();

    assert_eq!(text(&pull(&engine, &key).await), large(1));
    assert!(!engine.migrate(&kept).await.unwrap(), "what was left is not collected yet");
    h.clock.advance(Duration::from_secs(3601));
    assert_eq!(engine.purge_loose().await.unwrap(), 1);
    assert_eq!((objects(&store).await, h.objects().await), (0, h.stored(1, 0)));
    assert!(engine.migrate(&kept).await.unwrap());
    engine.purge_loose().await.unwrap();
    assert_eq!((objects(&store).await, h.objects().await), (1, h.stored(0, 0)));
    assert_eq!(text(&pull(&engine, &key).await), large(1));

    // A move that was collected as abandoned cannot come to its end.
    let back = &h.engine;
    let kept = engine.db().kept(None, None, 1).await.unwrap().items.remove(0);
    assert!(back.db().note_move(&kept, &h.store_id(), h.clock.now()).await.unwrap());
    assert_eq!(back.db().claim_loose(h.clock.now(), h.clock.now(), 10).await.unwrap().len(), 1);
    let reference = kept.reference.clone().unwrap();
    let to = crate::Stored::Offloaded(crate::seal::Reference { store: h.store_id(), ..reference });
    assert!(!back.db().move_stored(&kept, &to, h.clock.now()).await.unwrap());
    assert_eq!(text(&pull(&engine, &key).await), large(1));
}

/// Sealed with a new key, on the one side of the store and then on the other; versions stay what they are.
pub async fn values_are_sealed_anew(h: &Harness) {
    let key = xcom("t", "k");
    let store = Arc::new(memory::Store::new());
    let old = h.with_keys(&store, SealKeys::new("k1", [7; 32]), true);
    for seed in [1, 2] {
        old.push(&user(), &key, value(&large(seed)).into()).await.unwrap();
    }
    let first = old.db().kept(None, None, 1).await.unwrap().items.remove(0).version;
    let past = old.history(&user(), &key, 10).await.unwrap().remove(0).info.version;
    let ring = |new: u8| {
        (1..new).fold(Ring::new(format!("k{new}"), [6 + new; 32]), |ring, old| {
            ring.with_old(format!("k{old}"), [6 + old; 32])
        })
    };
    for (round, seals, names) in [(2, true, "-2"), (3, true, ""), (4, true, "-2"), (5, false, "-2")] {
        let engine = h.with_keys(&store, ring(round).into(), seals);
        let found = engine.sealed_before(None, None).await.unwrap().found;
        assert_eq!(found.len(), 2);
        for kept in &found {
            assert!(engine.reseal(kept).await.unwrap());
            assert!(!engine.reseal(kept).await.unwrap(), "it was sealed anew already");
        }
        assert_eq!(engine.sealed_before(None, None).await.unwrap().found, []);
        assert_eq!(misplaced(&engine).await, []);
        // A reader that has read the entry before finds the value on the other side.
        assert_eq!(text(&pull(&engine, &key).await), large(2));
        engine.purge_loose().await.unwrap();
        let mut names: Vec<String> = [past, first].map(|version| format!("{version}{names}")).into();
        names.sort();
        let stored = store.list(None, 10).await.unwrap();
        let last = |name: &ObjectName| name.as_str().rsplit('/').next().unwrap().to_owned();
        assert_eq!(stored.iter().map(last).collect::<Vec<_>>(), names);
        assert_eq!(engine.orphans("memory", None, Duration::ZERO).await.unwrap().found, []);
        // The key that sealed it before is not needed any more.
        let (id, secret) = (format!("k{round}"), [6 + round; 32]);
        let alone = h.with_keys(&store, SealKeys::new(id, secret), seals);
        assert_eq!(text(&pull(&alone, &key).await), large(2));
        assert_eq!(alone.pull_past(&user(), &key, past).await.unwrap(), Some(value(&large(1))));
    }
    // Interrupted behind the object, it is as before, and what is too much is collected.
    let engine = h.with_keys(&store, ring(6).into(), true);
    let kept = engine.sealed_before(None, None).await.unwrap().found.remove(0);
    assert!(engine.db().note_move(&kept, "memory", h.clock.now()).await.unwrap());
    let crate::Payload::Stream(body) = memory::streamed(&value(&large(2))) else { return };
    store.create(&ObjectName::of(&key, kept.version), body).await.unwrap();
    assert!(!engine.reseal(&kept).await.unwrap(), "what was left is not collected yet");
    assert_eq!(engine.orphans("memory", None, Duration::ZERO).await.unwrap().found, []);
    h.clock.advance(Duration::from_secs(3601));
    assert_eq!(engine.purge_loose().await.unwrap(), 1);
    assert_eq!(text(&pull(&engine, &key).await), large(2));
    // What nothing knows on the other side is found there, and goes.
    let crate::Payload::Stream(body) = memory::streamed(&value(&large(2))) else { return };
    store.create(&ObjectName::of(&key, kept.version), body).await.unwrap();
    let orphans = engine.orphans("memory", None, Duration::ZERO).await.unwrap().found;
    assert_eq!(orphans.len(), 1);
    assert_eq!(engine.remove_orphans(&orphans).await.unwrap(), 1);
    assert_eq!(text(&pull(&engine, &key).await), large(2));
    engine.delete(&user(), &Scope::Key(key)).await.unwrap();
    assert_eq!(objects(&store).await, 0);
}

/// A key that is retired seals no push and no move, also of a process that knows no other; what it still seals is
/// counted.
pub async fn a_retired_key_seals_nothing(h: &Harness) {
    let (key, other) = (xcom("t", "k"), xcom("t", "other"));
    let store = Arc::new(memory::Store::new());
    let old = h.with_keys(&store, SealKeys::new("k1", [7; 32]), true);
    old.push(&user(), &key, value(&large(1)).into()).await.unwrap();
    let token = xcom("t", "token");
    old.push(&user(), &token, value("\"hunter2\"").into_secret().into()).await.unwrap();
    let now = h.with_keys(&store, Ring::new("k2", [8; 32]).with_old("k1", [7; 32]).into(), true);
    assert_eq!(now.retire_key("k2").await.unwrap_err().kind(), ErrorKind::InvalidRequest);
    // A push that is under way may be sealed with it.
    let (version, since) = (crate::Version::new(h.clock.now(), 77), h.clock.now());
    let intent = LooseObject { key: other.clone(), version, store: "memory".into(), since };
    old.db().note_intent(&intent).await.unwrap();
    assert_eq!(now.retire_key("k1").await.unwrap(), Retiring { sealed: 1, secrets: 1, under_way: 1 });
    old.collect_abandoned(Duration::ZERO).await.unwrap();
    assert_eq!(now.retire_key("k1").await.unwrap(), Retiring { sealed: 1, secrets: 1, under_way: 0 });
    let refused = old.push(&user(), &other, value(&large(2)).into()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Configuration, "{refused}");
    assert!(refused.to_string().contains("`k1` is retired"), "{refused}");
    old.push(&user(), &other, value("2").into()).await.unwrap();
    old.collect_abandoned(Duration::ZERO).await.unwrap();

    for kept in now.sealed_before(None, None).await.unwrap().found {
        let back = crate::Stored::Offloaded(kept.reference.clone().unwrap());
        assert!(!now.db().move_stored(&kept, &back, h.clock.now()).await.unwrap(), "with the old key");
        assert!(now.reseal(&kept).await.unwrap());
    }
    // A secret keeps its key, and no other is made with it.
    assert_eq!(now.retire_key("k1").await.unwrap(), Retiring { sealed: 0, secrets: 1, under_way: 0 });
    let refused = old.push(&user(), &token, value("\"hunter3\"").into_secret().into()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Configuration, "{refused}");
    now.delete(&user(), &Scope::Key(token)).await.unwrap();
    assert_eq!(now.retire_key("k1").await.unwrap(), Retiring { sealed: 0, secrets: 0, under_way: 0 });
    now.push(&user(), &other, value(&large(2)).into()).await.unwrap();
    assert_eq!(text(&pull(&now, &key).await), large(1));
    assert_eq!(text(&pull(&now, &other).await), large(2));
    // A process whose keys can be loaded again finds the one that came after.
    let finds = SealKeys::from_source(Ring::new("k1", [7; 32]), || {
        Ok(Ring::new("k2", [8; 32]).with_old("k1", [7; 32]))
    });
    let finds = h.with_keys(&store, finds, true);
    finds.push(&user(), &other, value(&large(3)).into()).await.unwrap();
    assert_eq!(text(&pull(&now, &other).await), large(3));
}
