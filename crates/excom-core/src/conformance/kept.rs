//! What is kept, for how long, and what is gone: history, ledger, retention, loose objects.

use std::time::Duration;

use super::{Harness, large, refused, text, ti, user, value, xcom};
use crate::answer::Answer;
use crate::db::{DagRun, LooseObject, Occupied, ReadTarget, RefusalCount, Scope};
use crate::engine::{Ledger, Settings};
use crate::entry::EndReason;
use crate::{Caller, Clock, ErrorKind, ObjectName, Version};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A clear moves to the history, and says when and by what.
pub async fn a_clear_keeps_history(h: &Harness) {
    h.push(&user(), &xcom("t", "a"), "1").await;
    h.push(&user(), &xcom("t", "b"), &large(2)).await;
    assert_eq!(h.engine.clear(&user(), &Scope::Key(xcom("t", "a"))).await.unwrap(), 1);
    assert_eq!(h.engine.clear(&user(), &Scope::Key(xcom("t", "a"))).await.unwrap(), 0);
    let answer = h.pull(&xcom("t", "a")).await;
    assert!(matches!(&answer, Answer::Cleared(c) if c.by == "user ana"), "{answer:?}");
    assert_eq!(h.engine.clear(&user(), &Scope::TaskInstance(ti("t", -1))).await.unwrap(), 1);
    let past = h.engine.history(&user(), &xcom("t", "b"), 10).await.unwrap();
    assert!(past.len() == 1 && past[0].has_bytes && past[0].reason == EndReason::Cleared, "{past:?}");
    let old = h.engine.pull_past(&user(), &xcom("t", "b"), past[0].info.version).await.unwrap();
    assert_eq!(old.unwrap().as_str(), large(2));
    // A task clears its own.
    let me = h.start("t", -1).await;
    h.push(&me, &xcom("t", "a"), "3").await;
    h.engine.clear(&me, &Scope::Key(xcom("t", "a"))).await.unwrap();
    assert_eq!(h.engine.history(&user(), &xcom("t", "a"), 1).await.unwrap()[0].by, "its own task");
}

/// A task clears what others pushed, as far as it may write there. They go on, and what they had is kept.
pub async fn a_task_clears_xcoms_of_others(h: &Harness) {
    let (me, other) = (h.start("t", -1).await, h.start("u", -1).await);
    h.push(&other, &xcom("u", "a"), "1").await;
    h.push(&other, &xcom("u", "b"), &large(2)).await;
    h.push(&other, &xcom("v", "a"), "3").await;
    assert_eq!(h.engine.clear(&me, &Scope::Key(xcom("u", "a"))).await.unwrap(), 1);
    assert_eq!(h.engine.clear(&me, &Scope::Key(xcom("u", "a"))).await.unwrap(), 0);
    assert_eq!(h.engine.clear(&me, &Scope::TaskInstance(ti("u", -1))).await.unwrap(), 1);
    assert_eq!(h.engine.clear(&me, &Scope::TaskInstance(ti("never", -1))).await.unwrap(), 0);
    let past = h.engine.history(&user(), &xcom("u", "b"), 10).await.unwrap();
    assert!(past[0].reason == EndReason::Cleared && past[0].by == "task d/r/t", "{past:?}");
    let old = h.engine.pull_past(&user(), &xcom("u", "b"), past[0].info.version).await.unwrap();
    assert_eq!(old.unwrap().as_str(), large(2));
    h.push(&other, &xcom("u", "a"), "4").await;

    // An attempt whose successor has started clears nothing anywhere.
    h.start("t", -1).await;
    for scope in [Scope::Key(xcom("u", "a")), Scope::TaskInstance(ti("v", -1))] {
        refused(h.engine.clear(&me, &scope).await, ErrorKind::Superseded);
    }
    assert_eq!(text(&h.pull(&xcom("u", "a")).await), "4");
    assert_eq!(text(&h.pull(&xcom("v", "a")).await), "3");
}

/// A delete by a person removes history and bytes too: what was deleted is gone.
pub async fn a_delete_leaves_nothing(h: &Harness) {
    for i in 0..3 {
        h.push(&user(), &xcom("t", "a"), &large(i)).await;
        h.push(&user(), &xcom("t", "b"), &i.to_string()).await;
    }
    assert!(h.pull(&xcom("t", "a")).await.found().is_some());
    h.engine.flush_reads().await.unwrap();
    assert_eq!(h.objects().await, h.stored(3, 3));
    assert_eq!(h.engine.delete(&user(), &Scope::Key(xcom("t", "a"))).await.unwrap(), 3);
    assert_eq!(h.objects().await, h.stored(0, 3));
    assert!(h.engine.history(&user(), &xcom("t", "a"), 10).await.unwrap().is_empty());
    assert!(h.engine.readers(&user(), &xcom("t", "a")).await.unwrap().is_empty());
    assert!(matches!(h.pull(&xcom("t", "a")).await, Answer::Missing(_)));
    assert_eq!(text(&h.pull(&xcom("t", "b")).await), "2");
    assert_eq!(h.engine.delete(&user(), &Scope::TaskInstance(ti("t", -1))).await.unwrap(), 3);
    assert_eq!(h.engine.delete(&user(), &Scope::TaskInstance(ti("t", -1))).await.unwrap(), 0);
}

/// Versions that were replaced: checksum, size, who and when; newest first.
pub async fn history_tells_who_and_why(h: &Harness) {
    let key = xcom("t", "k");
    let me = h.start("t", -1).await;
    h.push(&me, &key, "1").await;
    h.clock.advance(Duration::from_secs(5));
    h.push(&user(), &key, &large(2)).await;
    h.clock.advance(Duration::from_secs(5));
    h.push(&Caller::System("test"), &key, "3").await;
    let past = h.engine.history(&user(), &key, 10).await.unwrap();
    let told: Vec<_> = past.iter().map(|p| (p.info.writer.to_string(), p.by.clone(), p.reason)).collect();
    assert_eq!(
        told,
        [
            ("user ana".to_owned(), "excom test".to_owned(), EndReason::Replaced),
            ("attempt 1".to_owned(), "user ana".to_owned(), EndReason::Replaced),
        ]
    );
    assert!(past[0].info.offloaded && past[0].info.preview.ends_with('…'));
    assert_eq!(past[1].info.hash, crate::value::ContentHash::of(b"1"));
    assert_eq!(past[1].ended_at.duration_since(past[1].info.pushed_at()).as_secs(), 5);
    assert_eq!(h.engine.history(&user(), &key, 1).await.unwrap().len(), 1);
    let first = h.engine.pull_past(&user(), &key, past[1].info.version).await.unwrap().unwrap();
    assert_eq!(first.as_str(), "1");
    // A past value whose object was taken away is lost, and never today's value.
    h.lose(&key, past[0].info.version).await;
    super::refused(h.engine.pull_past(&user(), &key, past[0].info.version).await, ErrorKind::Lost);
    let unknown = Version::from_code(5).unwrap();
    assert_eq!(h.engine.pull_past(&user(), &key, unknown).await.unwrap(), None);
}

/// One row for a reader and a version, with count, first and last.
pub async fn the_ledger_counts_reads(h: &Harness) {
    let key = xcom("t", "k");
    h.push(&user(), &key, "1").await;
    let reader = h.start("reader", -1).await;
    let start = h.clock.now();
    for _ in 0..3 {
        h.pull_as(&reader, &key).await;
        h.clock.advance(Duration::from_secs(1));
        h.pull(&key).await;
        h.engine.flush_reads().await.unwrap();
    }
    h.pull(&xcom("t", "missing")).await;
    let rows = h.engine.readers(&user(), &key).await.unwrap();
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert_eq!((rows[0].reader.as_str(), rows[0].attempt, rows[0].count), ("task d/r/reader", Some(1), 3));
    assert_eq!((rows[1].reader.as_str(), rows[1].attempt, rows[1].count), ("user ana", None, 3));
    assert_eq!(rows[0].first, start);
    assert_eq!(rows[0].last.duration_since(start).as_secs(), 2);
    // Another version is another row; a second attempt is another reader.
    h.push(&user(), &key, "2").await;
    let again = h.start("reader", -1).await;
    h.pull_as(&again, &key).await;
    assert_eq!(h.engine.readers(&user(), &key).await.unwrap().len(), 3);
    // A sequence is one row, however many elements.
    for i in 0..20 {
        h.push(&user(), &ti("m", i).return_value(), "1").await;
    }
    let sequence = ti("m", 0).return_value().sequence();
    let pull = || h.engine.pull_tasks(&reader, std::slice::from_ref(&sequence), Default::default());
    pull().await.unwrap();
    pull().await.unwrap();
    let rows = h.engine.readers(&user(), &ti("m", 7).return_value()).await.unwrap();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!((rows[0].count, &rows[0].target), (2, &ReadTarget::Sequence(sequence.clone())));
}

/// Strict: the read is in the ledger before the answer is out.
pub async fn a_strict_ledger_is_written_first(h: &Harness) {
    let key = xcom("t", "k");
    h.push(&user(), &key, "1").await;
    let strict = h.with(Settings { ledger: Ledger::Strict, ..Settings::default() });
    let off = h.with(Settings { ledger: Ledger::Off, ..Settings::default() });
    strict.pull(&user(), std::slice::from_ref(&key), Default::default()).await.unwrap();
    off.pull(&user(), std::slice::from_ref(&key), Default::default()).await.unwrap();
    let rows = h.engine.db().readers(&key).await.unwrap();
    assert_eq!((rows.len(), rows[0].count), (1, 1));
}

/// Counts of one thing are added up, also from several processes; old ones go when the ledger's rows do.
pub async fn refusals_are_counted_and_kept_as_long_as_reads(h: &Harness) {
    let db = h.engine.db();
    let row = |target: &str, count, seconds: i64| {
        let at = h.clock.now() + jiff::SignedDuration::from_secs(seconds);
        let (rule, target) = ("[xcom] reads = \"run\"".into(), target.to_owned());
        RefusalCount { rule, dag_id: "d".into(), task_id: "é".into(), target, count, first: at, last: at }
    };
    assert_eq!(db.refusals(10).await.unwrap(), []);
    db.note_refusals(&[row("a/*", 1, 5), row("b/t", 2, 7)]).await.unwrap();
    db.note_refusals(&[row("a/*", 3, 9), row("a/*", 1, 1)]).await.unwrap();
    let added = RefusalCount { first: row("", 0, 1).first, ..row("a/*", 5, 9) };
    assert_eq!(db.refusals(10).await.unwrap(), [added.clone(), row("b/t", 2, 7)]);
    assert_eq!(db.refusals(1).await.unwrap(), [added]);

    let later = row("b/t", 1, 60 * 24 * 3600);
    db.note_refusals(std::slice::from_ref(&later)).await.unwrap();
    h.clock.advance(91 * DAY);
    h.engine.prune().await.unwrap();
    let kept = db.refusals(10).await.unwrap();
    assert_eq!(kept.iter().map(|row| (&*row.target, row.count)).collect::<Vec<_>>(), [("b/t", 3)]);
}

/// Entries expire, bytes of history go before the rest of it, ledger and empty runs go at last.
pub async fn retention_expires_and_forgets(h: &Harness) {
    let run = DagRun::new("d", "r", h.clock.now());
    h.engine.register_run(&run).await.unwrap();
    let key = xcom("t", "old");
    h.push(&user(), &key, &large(1)).await;
    h.push(&user(), &key, &large(2)).await;
    let first = h.engine.history(&user(), &key, 1).await.unwrap()[0].info.version;
    h.pull(&key).await;

    h.clock.advance(8 * DAY);
    h.push(&user(), &xcom("t", "young"), "1").await;
    let removed = h.engine.prune().await.unwrap();
    assert_eq!((removed.entries, removed.past_bytes, removed.past_entries), (0, 1, 0), "{removed:?}");
    assert_eq!(h.objects().await, h.stored(1, 1));
    assert_eq!(h.engine.pull_past(&user(), &key, first).await.unwrap(), None);
    assert!(!h.engine.history(&user(), &key, 1).await.unwrap()[0].has_bytes);

    h.clock.advance(23 * DAY);
    assert_eq!(h.engine.prune().await.unwrap().past_entries, 1);
    assert!(h.engine.history(&user(), &key, 1).await.unwrap().is_empty());
    assert_eq!(text(&h.pull(&key).await), large(2));

    h.clock.advance(60 * DAY);
    let removed = h.engine.prune().await.unwrap();
    assert_eq!(removed.entries, 1, "{removed:?}");
    assert_eq!(h.objects().await, h.stored(0, 1));
    let answer = h.pull(&key).await;
    assert!(matches!(&answer, Answer::Expired(e) if e.by == "[xcom] retention = \"90d\""), "{answer:?}");
    assert_eq!(answer.exit_code(), 4);
    super::refused(answer.or_none(), ErrorKind::NoValue);
    assert_eq!(text(&h.pull(&xcom("t", "young")).await), "1");

    assert_eq!(h.engine.readers(&user(), &key).await.unwrap().len(), 1, "used a month ago");
    h.clock.advance(400 * DAY);
    assert_eq!(h.engine.prune().await.unwrap().reads, 2, "of `old` and of `young`");
    assert!(h.engine.readers(&user(), &key).await.unwrap().is_empty());
    h.clock.advance(40 * DAY);
    h.engine.prune().await.unwrap();
    assert_eq!(h.engine.db().run_info("d", "r").await.unwrap(), None, "an old run that holds nothing goes");
    // The run comes back under the same name, and is another.
    h.push(&user(), &key, "7").await;
    assert_eq!(text(&h.pull(&key).await), "7");
    assert!(h.pull(&xcom("t", "young")).await.found().is_none());
    assert!(h.engine.readers(&user(), &xcom("t", "young")).await.unwrap().is_empty());
}

/// Upkeep does a step of pruning at most once a minute, and writes reads each time.
pub async fn upkeep_prunes_now_and_then(h: &Harness) {
    let key = xcom("t", "k");
    for _ in 0..2 {
        h.push(&user(), &key, "1").await;
        h.clock.advance(91 * DAY);
        h.engine.upkeep().await.unwrap();
        assert!(matches!(h.pull(&key).await, Answer::Expired(_)));
    }
    let old = Version::new(h.clock.now().checked_sub(91 * DAY).unwrap(), 1);
    h.engine.push_version(&user(), &key, old, value("2").into()).await.unwrap();
    h.pull(&key).await;
    h.engine.upkeep().await.unwrap();
    assert_eq!(h.engine.db().readers(&key).await.unwrap().len(), 1, "the read is written");
    assert_eq!(text(&h.pull(&key).await), "2", "pruned less than a minute ago");
    h.clock.advance(Duration::from_secs(60));
    h.engine.upkeep().await.unwrap();
    assert!(h.pull(&key).await.found().is_none());
}

/// What a push left that died half-way is known and goes; what is being pushed stays.
pub async fn abandoned_pushes_are_collected(h: &Harness) {
    let key = xcom("t", "k");
    let v = Version::new(h.clock.now(), 1);
    let intent = LooseObject { key: key.clone(), version: v, store: h.store_id(), since: h.clock.now() };
    h.engine.db().note_intent(&intent).await.unwrap();
    let name = ObjectName::of(&key, v);
    h.leave(&key, v, &large(1)).await;
    assert!(h.engine.db().knows_object(&h.store_id(), &name, v).await.unwrap());

    assert_eq!(h.engine.purge_loose().await.unwrap(), 0, "young: it may still be going on");
    assert_eq!(h.objects().await, h.stored(1, 0));
    h.clock.advance(Duration::from_secs(3601));
    assert_eq!(h.engine.purge_loose().await.unwrap(), 1);
    assert_eq!(h.objects().await, h.stored(0, 0));
    assert!(!h.engine.db().knows_object(&h.store_id(), &name, v).await.unwrap());

    // A push whose intent was taken over can no longer succeed.
    h.engine.db().note_intent(&intent).await.unwrap();
    h.leave(&key, v, &large(1)).await;
    let now = h.clock.now();
    let claimed = h.engine.db().claim_loose(now, now, 10).await.unwrap();
    assert_eq!(claimed, [LooseObject { since: now, ..intent }]);
    let late = crate::db::Push {
        key: key.clone(),
        version: v,
        caller: user(),
        size: 3,
        hash: crate::value::ContentHash(1),
        shape: crate::Shape::String,
        secret: false,
        result: false,
        preview: "x".to_owned(),
        stored: crate::Stored::Offloaded(crate::seal::Reference {
            store: h.store_id(),
            codec: "plain".into(),
            key_id: "k1".into(),
            mac: String::new(),
        }),
        at: h.clock.now(),
    };
    super::refused(h.engine.db().push(&late).await, ErrorKind::Unavailable);
    // Nor can a repetition take back what is being removed, or it would lose its bytes.
    let again = h.engine.push_version(&user(), &key, v, value(&large(1)).into()).await;
    super::refused(again, ErrorKind::Unavailable);
    assert!(h.pull(&key).await.found().is_none());
    // What is in use is never claimed, however old.
    let receipt = h.engine.push(&user(), &key, value(&large(3)).into()).await.unwrap();
    h.clock.advance(30 * DAY);
    h.engine.collect_abandoned(Duration::ZERO).await.unwrap();
    assert_eq!(text(&h.pull(&key).await), large(3));
    let name = ObjectName::of(&key, receipt.version);
    assert!(h.engine.db().knows_object(&h.store_id(), &name, receipt.version).await.unwrap());
    assert!(!h.engine.db().knows_object("other", &name, receipt.version).await.unwrap());
}

/// A mark is set once; later ones learn what is there.
pub async fn marks_are_set_once(h: &Harness) {
    let db = h.engine.db();
    assert_eq!(db.mark("m").await.unwrap(), None);
    assert_eq!(db.set_mark("m", "1").await.unwrap(), "1");
    assert_eq!(db.set_mark("m", "2").await.unwrap(), "1");
    assert_eq!(db.mark("m").await.unwrap().as_deref(), Some("1"));
    db.set_mark("m/b", "3").await.unwrap();
    db.set_mark("m/a", "4").await.unwrap();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(db.marks("m/").await.unwrap(), [pair("m/a", "4"), pair("m/b", "3")]);
    assert!(db.marks("M").await.unwrap().is_empty());
    assert!(h.engine.health().await.unwrap().problems.is_empty());
}

/// Which places hold how much is counted.
pub async fn places_are_counted(h: &Harness) {
    let db = h.engine.db();
    assert!(db.places().await.unwrap().is_empty());
    h.push(&user(), &xcom("t", "a"), "[1,2]").await;
    h.push(&user(), &xcom("t", "b"), "1").await;
    h.push(&user(), &xcom("t", "c"), &large(1)).await;
    let (small, large) = (6, large(1).len() as u64);
    let of = |store, entries, bytes| Occupied { store, entries, bytes };
    let wanted = if h.offloads(1) {
        vec![of(Some(h.store_id()), 3, small + large)]
    } else {
        vec![of(None, 2, small), of(Some(h.store_id()), 1, large)]
    };
    assert_eq!(db.places().await.unwrap(), wanted);
}
