//! Mapped sequences: real map indexes, gaps, slices, pages, earlier runs.

use super::{Harness, large, text, ti, user, xcom};
use crate::answer::Answer;
use crate::attempt::TaskState;
use crate::channel::PullOptions;
use crate::db::DagRun;
use crate::engine::TaskAnswer;
use crate::{SequenceKey, Slice, XComKey};

fn sequence(task: &str) -> SequenceKey {
    ti(task, 0).return_value().sequence()
}

/// Three instances returned 20, nothing and 60; the second is a gap, not a shift.
async fn with_gap(h: &Harness) {
    for i in 0..3 {
        let me = h.start("m", i).await;
        if i != 1 {
            h.push(&me, &ti("m", i).return_value(), &((i + 1) * 20).to_string()).await;
        }
        h.engine.set_attempt_state(super::attempt(&me), TaskState::Success).await.unwrap();
    }
}

fn shown(items: &[(i32, Answer)]) -> Vec<(i32, String)> {
    items.iter().map(|(i, answer)| (*i, text(answer).to_owned())).collect()
}

async fn whole(h: &Harness, task: &str) -> (Vec<(i32, String)>, u64) {
    let key = sequence(task);
    let answers =
        h.engine.pull_tasks(&user(), std::slice::from_ref(&key), PullOptions::default()).await.unwrap();
    match &answers[0] {
        TaskAnswer::Mapped { items, length } => (shown(items), *length),
        TaskAnswer::Single(answer) => panic!("not a sequence: {answer:?}"),
    }
}

/// A gap never shifts its neighbours.
pub async fn a_sequence_is_keyed_by_map_index(h: &Harness) {
    with_gap(h).await;
    assert_eq!(whole(h, "m").await, (vec![(0, "20".into()), (2, "60".into())], 3));
    assert_eq!(h.engine.count(&user(), &sequence("m")).await.unwrap(), 2);
    assert_eq!(h.engine.indexes(&user(), &sequence("m")).await.unwrap(), [0, 2]);
    let item = async |i| h.engine.item(&user(), &sequence("m"), i).await.unwrap();
    assert_eq!(item(1).await.unwrap().0, 2, "positions count what exists, and tell its map index");
    assert_eq!(item(-2).await.unwrap().0, 0);
    assert!(item(2).await.is_none());
    assert!(item(-3).await.is_none());
    // Null is an element; an unmapped value of the same task is not.
    h.push(&user(), &ti("m", 1).return_value(), "null").await;
    h.push(&user(), &ti("m", -1).return_value(), "\"own\"").await;
    assert_eq!(h.engine.count(&user(), &sequence("m")).await.unwrap(), 3);
    assert_eq!(whole(h, "m").await.0.len(), 3);
    assert_eq!(h.engine.count(&user(), &sequence("nope")).await.unwrap(), 0);
    assert_eq!(h.engine.indexes(&user(), &sequence("nope")).await.unwrap(), [0; 0]);
}

/// Slices are Python's, also where Airflow's server answers 422 or wrong data.
pub async fn slices_are_pythons(h: &Harness) {
    for i in 0..5 {
        let json = if i % 2 == 0 { i.to_string() } else { large(i as u64) };
        h.push(&user(), &ti("m", i * 2).return_value(), &json).await;
    }
    let ends = [None, Some(-9), Some(-3), Some(-1), Some(0), Some(2), Some(3), Some(6), Some(7)];
    for start in ends {
        for stop in ends {
            for step in [None, Some(1), Some(2), Some(-1), Some(-2)] {
                let slice = Slice { start, stop, step };
                let items = h.engine.slice(&user(), &sequence("m"), slice).await.unwrap();
                let indexes: Vec<i32> = items.iter().map(|(i, _)| *i).collect();
                let wanted: Vec<i32> = slice.positions(5).unwrap().map(|p| p as i32 * 2).collect();
                assert_eq!(indexes, wanted, "{slice:?}");
            }
        }
    }
    for task in ["m", "nope"] {
        let zero = Slice { step: Some(0), ..Slice::ALL };
        super::refused(
            h.engine.slice(&user(), &sequence(task), zero).await,
            crate::ErrorKind::InvalidRequest,
        );
    }
}

/// A long sequence is streamed page by page.
pub async fn pages_stream_a_sequence(h: &Harness) {
    for i in (0..50).filter(|i| i % 7 != 3) {
        h.push(&user(), &ti("m", i).return_value(), &i.to_string()).await;
    }
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let page = h.engine.page(&user(), &sequence("m"), after, 8).await.unwrap();
        assert!(page.len() <= 8);
        let Some((last, _)) = page.last() else { break };
        after = Some(*last);
        seen.extend(page.iter().map(|(i, _)| *i));
    }
    assert_eq!(seen, (0..50).filter(|i| i % 7 != 3).collect::<Vec<_>>());
}

/// A mapped task that shrank: what its surplus instances pushed is no longer part of the sequence.
pub async fn removed_instances_leave_the_sequence(h: &Harness) {
    for i in 0..4 {
        let me = h.start("m", i).await;
        h.push(&me, &ti("m", i).return_value(), &i.to_string()).await;
    }
    h.engine.set_states(&[(ti("m", 2), TaskState::Removed), (ti("m", 3), TaskState::Removed)]).await.unwrap();
    assert_eq!(h.engine.count(&user(), &sequence("m")).await.unwrap(), 2);
    assert_eq!(h.engine.indexes(&user(), &sequence("m")).await.unwrap(), [0, 1]);
    assert_eq!(whole(h, "m").await, (vec![(0, "0".into()), (1, "1".into())], 2));
    let items = h.engine.slice(&user(), &sequence("m"), Slice::item(-1)).await.unwrap();
    assert_eq!(items[0].0, 1);
    assert_eq!(h.engine.page(&user(), &sequence("m"), Some(0), 9).await.unwrap().len(), 1);
}

/// A mapped result is a sequence also with one element, or with none yet.
pub async fn one_element_is_a_sequence(h: &Harness) {
    let me = h.start("m", 0).await;
    assert_eq!(whole(h, "m").await, (vec![], 1));
    h.push(&me, &ti("m", 0).return_value(), "\"only\"").await;
    assert_eq!(whole(h, "m").await, (vec![(0, "\"only\"".into())], 1));
    h.push(&user(), &xcom("single", "return_value"), "[10, 20]").await;
    let answers = h.engine.pull_tasks(&user(), &[sequence("single")], PullOptions::default()).await.unwrap();
    assert!(matches!(&answers[0], TaskAnswer::Single(answer) if text(answer) == "[10, 20]"), "{answers:?}");
}

/// `include_prior_dates`: the newest run by date up to the one named; runs without a logical date count
/// by when they were due.
pub async fn prior_dates_find_the_newest(h: &Harness) {
    let run = |run_id: &str, logical: Option<&str>, due: &str| DagRun {
        logical_date: logical.map(|t| t.parse().unwrap()),
        ..DagRun::new("d", run_id, due.parse().unwrap())
    };
    for dag_run in [
        run("p1", Some("2026-01-01T00:00:00Z"), "2026-01-02T00:00:00Z"),
        run("p2", Some("2026-02-01T00:00:00Z"), "2026-02-02T00:00:00Z"),
        run("undated", None, "2026-02-15T00:00:00Z"),
        run("p3", Some("2026-03-01T00:00:00Z"), "2026-03-02T00:00:00Z"),
        run("p4", Some("2026-04-01T00:00:00Z"), "2026-04-02T00:00:00Z"),
    ] {
        h.engine.register_run(&dag_run).await.unwrap();
    }
    let at = |run: &str, key: &str, map_index| XComKey::new("d", run, "t", map_index, key).unwrap();
    h.push(&user(), &at("p1", "k", -1), "1").await;
    h.push(&user(), &at("undated", "k", -1), "2").await;
    h.push(&user(), &at("p4", "k", -1), "4").await;
    let prior = PullOptions { include_prior_dates: true };
    let pull = async |run: &str| h.engine.pull(&user(), &[at(run, "k", -1)], prior).await.unwrap().remove(0);
    assert_eq!(text(&pull("p1").await), "1");
    assert_eq!(text(&pull("p2").await), "1");
    assert_eq!(text(&pull("p3").await), "2", "a run without a logical date has its place");
    assert_eq!(text(&pull("p4").await), "4", "its own value comes first");
    assert!(pull("unknown").await.found().is_none());
    assert!(matches!(h.pull(&at("p3", "k", -1)).await, Answer::Missing(_)), "only when asked for");

    h.push(&user(), &at("p1", "m", 0), "10").await;
    h.push(&user(), &at("p2", "m", 0), "20").await;
    h.push(&user(), &at("p2", "m", 1), "21").await;
    let key = at("p3", "m", -1).sequence();
    let answers = h.engine.pull_tasks(&user(), std::slice::from_ref(&key), prior).await.unwrap();
    assert!(
        matches!(&answers[0], TaskAnswer::Mapped { items, .. } if items.len() == 2 && text(&items[1].1) == "21"),
        "the newest run's sequence, not all runs' in one: {answers:?}"
    );
}
