//! The rules by which entries expire.

use std::time::Duration;

use super::{Harness, large, text, user, value};
use crate::answer::Answer;
use crate::channel::PullOptions;
use crate::db::{DagRun, Expires, Rule};
use crate::engine::{Pruning, Retention, Settings};
use crate::{Clock as _, Engine, RunState, TaskInstanceKey, TaskState, XComKey};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn at(run: &str, task: &str) -> XComKey {
    XComKey::new("d", run, task, -1, "k").unwrap()
}

/// An engine that keeps entries by these rules alone.
fn keeping(h: &Harness, retention: Retention) -> Engine {
    h.with(Settings { retention: Retention { entries: None, ..retention }, ..Settings::default() })
}

/// A run in which tasks push, and then ends as told.
async fn ran(h: &Harness, run_id: &str, tasks: &[&str], ended: Option<RunState>) {
    h.clock.advance(Duration::from_secs(60));
    h.engine.start_run(&DagRun::new("d", run_id, h.clock.now())).await.unwrap();
    for task in tasks {
        let ti = TaskInstanceKey::new("d", run_id, *task, -1).unwrap();
        let attempt = h.engine.start(&ti, 1).await.unwrap();
        let values = vec![(at(run_id, task), value(&large(1)).into())];
        h.engine.finish(&attempt, TaskState::Success, values).await.unwrap();
    }
    if let Some(state) = ended {
        h.engine.set_run_state("d", run_id, state).await.unwrap();
    }
}

async fn left(h: &Harness) -> Vec<String> {
    let listed = h.engine.list(&user(), &Default::default(), None, 100).await.unwrap().items;
    listed.iter().map(|info| format!("{} {}", info.key.ti.run_id, info.key.ti.task_id)).collect()
}

/// By `retention_count`, each task keeps what its newest runs pushed, and a run that goes on keeps everything.
pub async fn only_the_newest_runs_keep_theirs(h: &Harness) {
    ran(h, "r1", &["daily", "rare"], None).await;
    ran(h, "r2", &["daily", "rare"], Some(RunState::Success)).await;
    ran(h, "r3", &["daily"], Some(RunState::Failed)).await;
    ran(h, "r4", &["daily"], Some(RunState::Success)).await;
    // By date, not in the order of pushes.
    let mut late = DagRun::new("d", "r0", h.clock.now());
    late.logical_date = Some("2000-01-01T00:00:00Z".parse().unwrap());
    h.engine.register_run(&late).await.unwrap();
    h.push(&user(), &at("r0", "daily"), "1").await;

    let engine = keeping(h, Retention { count: Some(2), ..Retention::default() });
    let removed = engine.prune().await.unwrap();
    assert_eq!(removed.entries, 2, "{removed:?}");
    assert_eq!(removed.bytes, value(&large(1)).size() + 1);
    assert_eq!(left(h).await, ["r1 daily", "r1 rare", "r2 rare", "r3 daily", "r4 daily"]);
    assert_eq!(h.objects().await, h.stored(5, 0));
    let answer = h.pull(&at("r2", "daily")).await;
    assert!(matches!(&answer, Answer::Expired(e) if e.by == "[xcom] retention_count = 2"), "{answer:?}");

    // A task that is run again makes its run go on.
    let ti = TaskInstanceKey::new("d", "r3", "daily", -1).unwrap();
    h.engine.set_states(&[(ti.clone(), TaskState::Scheduled)]).await.unwrap();
    let engine = keeping(h, Retention { count: Some(1), ..Retention::default() });
    assert_eq!(engine.prune().await.unwrap().entries, 0);
    h.engine.set_states(&[(ti, TaskState::Success)]).await.unwrap();
    h.engine.set_run_state("d", "r1", RunState::Cancelled).await.unwrap();
    engine.prune().await.unwrap();
    assert_eq!(left(h).await, ["r2 rare", "r4 daily"]);
}

/// By `retention_unread`, a read keeps an entry, also one of its sequence that is not written yet.
pub async fn what_nobody_reads_expires(h: &Harness) {
    ran(h, "r1", &["read", "unread"], Some(RunState::Success)).await;
    ran(h, "r2", &["on"], None).await;
    let element = XComKey::new("d", "r1", "mapped", 3, "k").unwrap();
    h.push(&user(), &element, "1").await;
    let engine = keeping(h, Retention { unread: Some(10 * DAY), ..Retention::default() });
    h.clock.advance(9 * DAY);
    assert_eq!(engine.prune().await.unwrap().entries, 0);
    assert_eq!(
        text(&engine.pull(&user(), &[at("r1", "read")], PullOptions::default()).await.unwrap()[0]),
        large(1)
    );
    engine.pull_tasks(&user(), &[element.sequence()], PullOptions::default()).await.unwrap();
    h.clock.advance(2 * DAY);
    let removed = engine.prune().await.unwrap();
    assert_eq!(removed.entries, 1, "{removed:?}");
    assert_eq!(left(h).await, ["r1 mapped", "r1 read", "r2 on"]);
    let answer = h.pull(&at("r1", "unread")).await;
    assert!(
        matches!(&answer, Answer::Expired(e) if e.by == "[xcom] retention_unread = \"10d\""),
        "{answer:?}"
    );
    h.clock.advance(9 * DAY);
    assert_eq!(engine.prune().await.unwrap().entries, 2);
    assert_eq!(left(h).await, ["r2 on"]);
}

/// By `retention_done`, a run keeps its entries until so long after it and all its tasks ended well.
pub async fn what_all_have_read_expires(h: &Harness) {
    ran(h, "r1", &["a", "b"], Some(RunState::Success)).await;
    ran(h, "r2", &["a"], Some(RunState::Success)).await;
    ran(h, "r3", &["a"], Some(RunState::Failed)).await;
    ran(h, "r4", &["a"], None).await;
    h.push(&user(), &at("by hand", "a"), "1").await;
    // One reader failed, though the run went well: it may be run again.
    let ti = TaskInstanceKey::new("d", "r2", "b", -1).unwrap();
    h.engine.set_states(&[(ti.clone(), TaskState::Failed)]).await.unwrap();
    let engine = keeping(h, Retention { done: Some(DAY), ..Retention::default() });
    h.clock.advance(DAY - Duration::from_secs(600));
    assert_eq!(engine.prune().await.unwrap().entries, 0, "young");
    h.clock.advance(Duration::from_secs(600));
    assert_eq!(engine.prune().await.unwrap().entries, 2);
    h.engine.set_states(&[(ti, TaskState::Skipped)]).await.unwrap();
    assert_eq!(engine.prune().await.unwrap().entries, 1);
    assert_eq!(left(h).await, ["by hand a", "r3 a", "r4 a"]);
    let answer = h.pull(&at("r1", "b")).await;
    assert!(matches!(&answer, Answer::Expired(e) if e.by == "[xcom] retention_done = \"1d\""), "{answer:?}");
}

/// What would go is told page by page, each entry once with its first rule; and what changed in between stays.
pub async fn rules_are_asked_before_anything_goes(h: &Harness) {
    for run in ["r1", "r2", "r3"] {
        ran(h, run, &["a", "b"], Some(RunState::Success)).await;
    }
    h.push(&user(), &XComKey::new("other", "r", "t", -1, "k").unwrap(), "1").await;
    h.clock.advance(DAY);
    let now = h.clock.now();
    let rule = |text: &str, expires| Rule { text: text.into(), expires, outside: false };
    let rules = vec![rule("first", Expires::Behind(2)), rule("second", Expires::Pushed(now))];
    let db = h.engine.db();
    let (mut after, mut told) = (None, Vec::new());
    loop {
        let page = db.due(&rules, Some("d"), after, 2).await.unwrap();
        told.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let caught: Vec<usize> = told.iter().map(|due| due.rule).collect();
    assert_eq!(caught, [0, 0, 1, 1, 1, 1]);
    assert_eq!(left(h).await.len(), 7, "nothing changed");

    // Pushed again, and its run set going again: neither is due any more.
    h.push(&user(), &told[0].key, "2").await;
    h.engine.set_run_state("d", "r1", RunState::Running).await.unwrap();
    let removed = db.expire(&rules[..1], &told[..2], now).await.unwrap();
    assert_eq!(removed.entries, 0);
    h.engine.set_run_state("d", "r1", RunState::Success).await.unwrap();
    assert_eq!(db.expire(&rules[..1], &told[..2], now).await.unwrap().entries, 1);

    let pruning = Pruning { rules, dag_id: Some("d".into()), rate: None };
    let mut steps = Vec::new();
    let removed = h.engine.prune_by(&pruning, |so_far| steps.push(so_far.entries)).await.unwrap();
    assert_eq!((removed.entries, steps.last()), (4, Some(&4)), "{removed:?}");
    // What was pushed again is the newest that is left, and the other entry is of another DAG.
    assert_eq!(left(h).await, ["r1 a", "r t"]);
    assert!(h.engine.due(&pruning, None).await.unwrap().items.is_empty());
}

/// A turn comes round once in so long, whoever asks.
pub async fn turns_are_taken_once(h: &Harness) {
    let db = h.engine.db();
    let hour = Duration::from_secs(3600);
    assert!(db.take_turn("sweep", h.clock.now(), hour).await.unwrap());
    assert!(!db.take_turn("sweep", h.clock.now(), hour).await.unwrap());
    assert!(db.take_turn("other", h.clock.now(), hour).await.unwrap());
    h.clock.advance(hour);
    assert!(db.take_turn("sweep", h.clock.now(), hour).await.unwrap());

    // Upkeep looks for what may be anywhere at each of its turns.
    ran(h, "r1", &["a"], Some(RunState::Success)).await;
    let engine = keeping(h, Retention { done: Some(Duration::ZERO), ..Retention::default() });
    h.clock.advance(Duration::from_secs(61));
    engine.upkeep().await.unwrap();
    assert!(left(h).await.is_empty());
    ran(h, "r2", &["a"], Some(RunState::Success)).await;
    h.clock.advance(Duration::from_secs(61));
    engine.upkeep().await.unwrap();
    assert_eq!(left(h).await, ["r2 a"]);
    h.clock.advance(hour);
    engine.upkeep().await.unwrap();
    assert!(left(h).await.is_empty());
}
