//! Values that are moved to another place.

use std::sync::Arc;
use std::time::Duration;

use super::{Harness, large, text, user, value, xcom};
use crate::channel::PullOptions;
use crate::db::{Kept, Scope};
use crate::{Answer, Clock as _, Engine, ObjectName, ValueStore as _, XComKey, memory};

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
    assert_eq!(back.db().claim_loose(h.clock.now(), 10).await.unwrap().len(), 1);
    let reference = kept.reference.clone().unwrap();
    let to = crate::Stored::Offloaded(crate::seal::Reference { store: h.store_id(), ..reference });
    assert!(!back.db().move_stored(&kept, &to, h.clock.now()).await.unwrap());
    assert_eq!(text(&pull(&engine, &key).await), large(1));
}
