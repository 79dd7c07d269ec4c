//! What a DAG returns: marked with its push, told while it is that version, and gone with it.

use std::time::Duration;

use super::finishing::push;
use super::{Harness, large, refused, ti, user, value, xcom};
use crate::db::{Push, Pushed, Scope};
use crate::engine::{Retention, Settings};
use crate::{ErrorKind, XComKey};

async fn results(h: &Harness) -> String {
    h.engine.db().results("d", "r").await.unwrap().join(" ")
}

async fn mark(h: &Harness, key: &XComKey, json: &str) {
    h.engine.push_result(&user(), key, value(json).into()).await.unwrap();
}

/// What is marked is told, however large it is and however often it is mapped, until an ordinary push replaces it.
pub async fn a_result_is_marked_with_its_push(h: &Harness) {
    let (one, two) = (xcom("one", "return_value"), xcom("two", "return_value"));
    assert_eq!(results(h).await, "");
    h.push(&user(), &two, "0").await;
    assert_eq!(results(h).await, "");
    mark(h, &two, "1").await;
    mark(h, &one, &large(1)).await;
    assert_eq!(results(h).await, "one two");
    for map_index in [0, 1] {
        mark(h, &ti("many", map_index).return_value(), "1").await;
    }
    // Only what tasks return is told, and only of the run.
    mark(h, &xcom("other", "k"), "1").await;
    for (dag, run) in [("d", "r2"), ("d2", "r")] {
        mark(h, &XComKey::new(dag, run, "elsewhere", -1, "return_value").unwrap(), "1").await;
    }
    assert_eq!(results(h).await, "many one two");
    assert_eq!(h.engine.db().results("d", "none").await.unwrap(), Vec::<std::sync::Arc<str>>::new());

    h.push(&user(), &one, &large(2)).await;
    h.push(&user(), &ti("many", 0).return_value(), "2").await;
    assert_eq!(results(h).await, "many two", "one element is marked still");
    mark(h, &one, "3").await;
    mark(h, &two, "4").await;
    assert_eq!(results(h).await, "many one two");
}

/// What ends an entry ends its mark, which nothing but another marked push brings back.
pub async fn the_mark_of_a_result_goes_with_its_entry(h: &Harness) {
    let tasks = ["cleared", "deleted", "one_of_two", "retried"];
    let [cleared, deleted, one_of_two, retried] = tasks.map(|task| xcom(task, "return_value"));
    let mark_all = async || {
        for (seed, key) in [&cleared, &deleted, &one_of_two, &retried].into_iter().enumerate() {
            mark(h, key, &if seed % 2 == 0 { "1".to_owned() } else { large(seed as u64) }).await;
        }
    };
    mark_all().await;
    assert_eq!(results(h).await, tasks.join(" "));

    h.engine.clear(&user(), &Scope::Key(cleared.clone())).await.unwrap();
    h.engine.delete(&user(), &Scope::Key(deleted.clone())).await.unwrap();
    h.start("retried", -1).await;
    assert_eq!(results(h).await, "one_of_two");
    for key in [&cleared, &deleted, &retried] {
        h.push(&user(), key, "2").await;
    }
    assert_eq!(results(h).await, "one_of_two");
    mark_all().await;
    assert_eq!(results(h).await, tasks.join(" "));

    let whole = |key: &XComKey| Scope::TaskInstance(key.ti.clone());
    h.engine.delete(&user(), &whole(&deleted)).await.unwrap();
    h.engine.clear(&user(), &whole(&cleared)).await.unwrap();
    assert_eq!(results(h).await, "one_of_two retried");
    h.clock.advance(Duration::from_secs(60));
    let retention = Retention { entries: Some(Duration::from_secs(1)), ..Retention::default() };
    let engine = h.with(Settings { retention, ..Settings::default() });
    assert_eq!(engine.prune().await.unwrap().entries, 2);
    assert_eq!(results(h).await, "");
}

/// A repetition changes no mark, and neither does what is refused.
pub async fn a_repeated_push_leaves_the_mark_of_a_result(h: &Harness) {
    let db = h.engine.db();
    let (me, key) = (h.start("one", -1).await, xcom("one", "return_value"));
    let first = Push { result: true, ..push(h, &me, &key, "1") };
    let plain = Push { result: false, ..first.clone() };
    assert_eq!(db.push(&first).await.unwrap(), Pushed::Written);
    for again in [&first, &plain] {
        assert_eq!(db.push(again).await.unwrap(), Pushed::Already);
        assert_eq!(results(h).await, "one");
    }
    // What comes late does not mark what replaced it.
    h.push(&me, &key, "2").await;
    assert_eq!(db.push(&first).await.unwrap(), Pushed::Already);
    assert_eq!(results(h).await, "");
    // What is deleted has left no mark for its version.
    let again = Push { result: true, ..push(h, &me, &key, "3") };
    db.push(&again).await.unwrap();
    assert_eq!(results(h).await, "one");
    h.engine.delete(&user(), &Scope::Key(key.clone())).await.unwrap();
    assert_eq!(db.push(&Push { result: false, ..again }).await.unwrap(), Pushed::Written);
    assert_eq!(results(h).await, "");

    // The fence refuses the mark with its push.
    db.push(&Push { result: true, ..push(h, &me, &key, "4") }).await.unwrap();
    assert_eq!(results(h).await, "one");
    let next = h.start("one", -1).await;
    assert_eq!(results(h).await, "");
    let late = Push { result: true, ..push(h, &me, &key, "7") };
    refused(db.push(&late).await, ErrorKind::Superseded);
    h.push(&next, &key, "8").await;
    assert_eq!(results(h).await, "");
}
