//! Objects without entries, and entries without objects.

use std::time::Duration;

use jiff::Timestamp;

use super::stores::body;
use super::{Harness, large, refused, text, user, value, xcom};
use crate::db::{LooseObject, Scope};
use crate::engine::Orphan;
use crate::{Clock as _, ErrorKind, ObjectName, Version, XComKey};

const HOUR: Duration = Duration::from_secs(3600);

async fn orphans(h: &Harness) -> Vec<Orphan> {
    h.engine.orphans(&h.store_id(), None, HOUR).await.unwrap().found
}

async fn cannot_be_looked_through(h: &Harness) {
    refused(h.engine.orphans(&h.store_id(), None, HOUR).await, ErrorKind::Configuration);
}

/// What nothing knows is found once it is old enough, and removed; everything else stays.
pub async fn orphans_are_found_and_removed(h: &Harness) {
    let Some(store) = h.backend.objects() else { return cannot_be_looked_through(h).await };
    let (known, cleared, lost) = (xcom("t", "known"), xcom("t", "cleared"), xcom("t", "lost"));
    h.push(&user(), &known, &large(1)).await;
    h.push(&user(), &cleared, &large(2)).await;
    h.engine.clear(&user(), &Scope::Key(cleared.clone())).await.unwrap();
    let version = Version::new(h.clock.now(), 1);
    h.leave(&lost, version, &large(3)).await;
    // An unfinished push is no orphan, however old: its intent is noted before its object is there.
    let (at, going) = (h.clock.now(), xcom("t", "going"));
    let intent = LooseObject { key: going.clone(), version, store: h.store_id(), since: at };
    h.engine.db().note_intent(&intent).await.unwrap();
    h.leave(&going, version, &large(4)).await;
    // Another program's object is none of ours.
    let foreign = match store.create(&ObjectName::listed("d/readme"), body(b"1")).await {
        Ok(_) => 1,
        // Where a name has six parts, no other program can write such an object.
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::InvalidName, "{error:?}");
            0
        }
    };

    assert_eq!(orphans(h).await, [], "young");
    h.clock.advance(HOUR + Duration::from_secs(1));
    let found = orphans(h).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].key.as_ref(), found[0].version), (Some(&lost), version));
    assert!(found[0].to_string().contains(&format!("no entry knows version {version}")), "{}", found[0]);
    refused(h.engine.orphans("elsewhere", None, HOUR).await, ErrorKind::Configuration);

    assert_eq!(h.objects().await, h.stored(4 + foreign, 0));
    assert_eq!(h.engine.remove_orphans(&found).await.unwrap(), 1);
    // The push was abandoned, and went too.
    assert_eq!(h.objects().await, h.stored(2 + foreign, 0));
    assert_eq!(orphans(h).await, []);
    assert_eq!(h.engine.remove_orphans(&found).await.unwrap(), 1, "what is not there is soon removed");
    assert_eq!(text(&h.pull(&known).await), large(1));

    // Of a shortened name the key is not known, so nothing could keep a push from coming back to it.
    let long = XComKey::new("d", "r".repeat(230), "t", -1, "k").unwrap();
    h.leave(&long, version, &large(5)).await;
    let found = orphans(h).await;
    assert!(found.len() == 1 && found[0].key.is_none(), "{found:?}");
    assert_eq!(h.engine.remove_orphans(&found).await.unwrap(), 0);
    assert_eq!(orphans(h).await.len(), 1);
}

/// A push that is repeated takes back the object that its first try left, or is refused: never lost.
pub async fn an_orphan_that_is_pushed_again_stays(h: &Harness) {
    if h.backend.objects().is_none() {
        return cannot_be_looked_through(h).await;
    }
    let key = xcom("t", "k");
    let version = Version::new(h.clock.now(), 1);
    h.leave(&key, version, &large(1)).await;
    h.clock.advance(2 * HOUR);
    let found = orphans(h).await;
    assert_eq!(found.len(), 1);
    // Between the look and the removal the push comes.
    h.engine.push_version(&user(), &key, version, value(&large(1)).into()).await.unwrap();
    assert_eq!(h.engine.remove_orphans(&found).await.unwrap(), 0);
    assert_eq!(text(&h.pull(&key).await), large(1));

    // It has only noted its intent when the removal comes.
    let other = xcom("t", "other");
    h.leave(&other, version, &large(2)).await;
    let found = orphans(h).await;
    assert_eq!(found.len(), 1);
    let intent = LooseObject { key: other.clone(), version, store: h.store_id(), since: h.clock.now() };
    h.engine.db().note_intent(&intent).await.unwrap();
    assert_eq!(h.engine.remove_orphans(&found).await.unwrap(), 0);
    h.engine.push_version(&user(), &other, version, value(&large(2)).into()).await.unwrap();
    assert_eq!(text(&h.pull(&other).await), large(2));

    // The removal was first, and has not come to the object yet.
    let last = xcom("t", "last");
    h.leave(&last, version, &large(3)).await;
    let claim = LooseObject { key: last.clone(), version, store: h.store_id(), since: h.clock.now() };
    assert!(h.engine.db().claim_orphan(&claim).await.unwrap());
    let again = h.engine.push_version(&user(), &last, version, value(&large(3)).into()).await;
    refused(again, ErrorKind::Unavailable);
    assert_eq!(h.engine.purge_loose().await.unwrap(), 1);
    h.engine.push_version(&user(), &last, version, value(&large(3)).into()).await.unwrap();
    assert_eq!(text(&h.pull(&last).await), large(3));
    assert_eq!(orphans(h).await, []);
}

/// References that lead to nothing are told, of entries and of earlier versions, and nothing is removed.
pub async fn values_without_their_object_are_told(h: &Harness) {
    for (task, json) in [("a", large(1)), ("a", large(2)), ("b", large(3)), ("c", "1".to_owned())] {
        h.push(&user(), &xcom(task, "k"), &json).await;
    }
    assert_eq!(h.engine.bereft(None).await.unwrap().found, []);
    let old = h.engine.history(&user(), &xcom("a", "k"), 1).await.unwrap()[0].info.version;
    h.lose(&xcom("a", "k"), old).await;
    let receipt = h.engine.push(&user(), &xcom("d", "k"), value(&large(4)).into()).await.unwrap();
    h.lose(&xcom("d", "k"), receipt.version).await;
    let looked = h.engine.bereft(None).await.unwrap();
    assert_eq!((looked.looked_at, looked.next), (5, None));
    let found: Vec<_> = looked.found.iter().map(|f| (f.key.clone(), f.version, f.past)).collect();
    assert_eq!(found, [(xcom("d", "k"), receipt.version, false), (xcom("a", "k"), old, true)]);
    assert_eq!(h.engine.bereft(None).await.unwrap().found.len(), 2, "nothing was removed");
}

/// Everything with bytes comes once, entries first, also when pages are small.
pub async fn what_is_kept_is_looked_through_in_pages(h: &Harness) {
    for i in 0..5 {
        h.push(&user(), &xcom("t", &format!("k{i}")), &large(i)).await;
        h.push(&user(), &xcom("t", "again"), &i.to_string()).await;
    }
    let elsewhere = XComKey::new("other", "r", "t", -1, "k").unwrap();
    h.push(&user(), &elsewhere, "1").await;
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let page = h.engine.db().kept(Some("d"), after, 3).await.unwrap();
        assert!(page.items.len() <= 3);
        seen.extend(page.items.into_iter().map(|kept| (kept.past, kept.key, kept.version)));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let past: Vec<bool> = seen.iter().map(|(past, ..)| *past).collect();
    assert_eq!(past, [[false; 6].as_slice(), &[true; 4]].concat());
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 10);
    assert_eq!(h.engine.db().kept(None, None, 100).await.unwrap().items.len(), 11);
    assert_eq!(h.engine.db().kept(Some("nobody"), None, 100).await.unwrap().items, []);
}

/// A step of somebody who removes what is loose, or of who pushes a version that may be removed just then.
#[derive(Clone, Copy)]
enum Step {
    /// One of two takes over what is loose, removes the objects, and forgets them.
    Claim(usize),
    Remove(usize),
    Forget(usize),
    /// The version is pushed again.
    Push,
}

/// All orders in which steps can happen of which each list keeps its own.
fn orders(lists: &[&[Step]]) -> Vec<Vec<Step>> {
    if lists.iter().all(|list| list.is_empty()) {
        return vec![Vec::new()];
    }
    let mut found = Vec::new();
    for (i, list) in lists.iter().enumerate() {
        let Some((first, rest)) = list.split_first() else { continue };
        let mut others = lists.to_vec();
        others[i] = rest;
        found.extend(orders(&others).into_iter().map(|order| [&[*first], &order[..]].concat()));
    }
    found
}

/// Whoever removes an object, and how slowly, it never is one that was written again under the same name.
pub async fn what_is_removed_is_not_in_use(h: &Harness) {
    use Step::{Claim, Forget, Push, Remove};
    let (db, store) = (h.engine.db(), h.store_id());
    let purger = |i| [Claim(i), Remove(i), Forget(i)];
    let mut pushed = 0;
    for (number, order) in orders(&[&purger(0), &purger(1), &[Push]]).iter().enumerate() {
        let key = xcom("t", &format!("k{number}"));
        let version = h.engine.push(&user(), &key, value(&large(1)).into()).await.unwrap().version;
        // Behind the engine's back, which would remove its object at once.
        db.delete(&Scope::Key(key.clone()), h.clock.now()).await.unwrap();
        let mut claimed = [Vec::new(), Vec::new()];
        let mut entry = false;
        for step in order {
            h.clock.advance(Duration::from_millis(1));
            match step {
                Claim(i) => {
                    claimed[*i] = db.claim_loose(Timestamp::UNIX_EPOCH, h.clock.now(), 10).await.unwrap();
                }
                Remove(i) => {
                    for object in &claimed[*i] {
                        h.lose(&object.key, object.version).await;
                    }
                }
                Forget(i) => db.forget_loose(&claimed[*i]).await.unwrap(),
                Push => match h.engine.push_version(&user(), &key, version, value(&large(1)).into()).await {
                    Ok(_) => entry = true,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
                },
            }
        }
        if entry {
            pushed += 1;
            assert_eq!(text(&h.pull(&key).await), large(1), "order {number}");
        }
        let name = ObjectName::of(&key, version);
        assert_eq!(db.knows_object(&store, &name, version).await.unwrap(), entry, "order {number}");
    }
    assert!(pushed > 0);
}

/// What somebody has begun to remove is left to them, until they are taken for dead; then they change nothing.
pub async fn a_removal_that_stopped_is_taken_over(h: &Harness) {
    let (db, key) = (h.engine.db(), xcom("t", "k"));
    let claim = async |age: Duration| {
        let now = h.clock.now();
        db.claim_loose(now.checked_sub(age).unwrap(), now, 10).await.unwrap()
    };
    h.push(&user(), &key, &large(1)).await;
    db.delete(&Scope::Key(key.clone()), h.clock.now()).await.unwrap();
    let first = claim(HOUR).await;
    assert_eq!((first.len(), &first[0].key), (1, &key));
    h.clock.advance(HOUR / 2);
    assert_eq!(claim(HOUR).await, []);
    assert_eq!(h.engine.purge_loose().await.unwrap(), 0);

    h.clock.advance(HOUR / 2);
    let second = claim(HOUR).await;
    assert_eq!(second, [LooseObject { since: h.clock.now(), ..first[0].clone() }]);
    for late in [db.forget_loose(&first), db.release_loose(&first)] {
        late.await.unwrap();
    }
    let known = async || {
        let name = ObjectName::of(&key, first[0].version);
        db.knows_object(&h.store_id(), &name, first[0].version).await.unwrap()
    };
    assert!(known().await);
    assert_eq!(claim(HOUR).await, []);
    // What could not be removed is given back.
    db.release_loose(&second).await.unwrap();
    let third = claim(HOUR).await;
    assert_eq!(third.len(), 1);
    db.forget_loose(&third).await.unwrap();
    assert!(!known().await);
}
