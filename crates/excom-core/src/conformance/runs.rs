//! Runs and versions of DAGs: states, times, lists, and what goes with an old run.

use std::time::Duration;

use super::{Harness, attempt, ti, user, value, xcom};
use crate::attempt::TaskState;
use crate::db::{DagRun, RunFilter, RunInfo, RunState};
use crate::{Caller, Clock, TaskInstanceKey};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn dated(dag_id: &str, run_id: &str, date: &str) -> DagRun {
    let date = date.parse().unwrap();
    DagRun { logical_date: Some(date), ..DagRun::new(dag_id, run_id, date) }
}

async fn info(h: &Harness, run_id: &str) -> RunInfo {
    h.engine.db().run_info("d", run_id).await.unwrap().unwrap()
}

/// A run that many begin at once is what one of them said, and the others are told that it was not they.
pub async fn a_run_begins_once(h: &Harness) {
    let run = |run_id: &str, n: u32| DagRun {
        conf: Some(value(&format!(r#"{{"n": {n}}}"#))),
        ..dated("d", run_id, "2026-11-20T00:00:00Z")
    };
    for round in ["r1", "r2", "r3", "r4", "r5"] {
        let engine = &h.engine;
        let begun: Vec<u32> = std::thread::scope(|scope| {
            let begin =
                |n| (n, scope.spawn(move || pollster::block_on(engine.begin_run(&run(round, n))).unwrap()));
            let all: Vec<_> = (0..4).map(begin).collect();
            all.into_iter().filter_map(|(n, one)| one.join().unwrap().then_some(n)).collect()
        });
        let [n] = begun[..] else { panic!("{round} was begun by {begun:?}") };
        let known = info(h, round).await;
        assert_eq!((known.run, known.state), (run(round, n), Some(RunState::Running)));
    }
    // One that has ended has begun; one that was only pushed into has not.
    h.engine.set_run_state("d", "r1", RunState::Failed).await.unwrap();
    let before = info(h, "r1").await;
    assert!(!h.engine.begin_run(&run("r1", 9)).await.unwrap());
    assert_eq!(info(h, "r1").await, before);
    h.push(&user(), &TaskInstanceKey::new("d", "pushed", "t", -1).unwrap().return_value(), "1").await;
    assert!(h.engine.begin_run(&run("pushed", 1)).await.unwrap());
    assert_eq!(info(h, "pushed").await.run, run("pushed", 1));
}

/// What is left out does not begin; what has begun is not left out.
pub async fn what_has_begun_is_not_left_out(h: &Harness) {
    for (map_index, state) in (0..).zip(TaskState::ALL) {
        h.engine.set_states(&[(ti("t", map_index), state)]).await.unwrap();
    }
    let mut all: Vec<TaskInstanceKey> = (0..).zip(TaskState::ALL).map(|(index, _)| ti("t", index)).collect();
    all.push(ti("new", -1));
    h.engine.skip(&all).await.unwrap();
    for (ti, state) in all.iter().zip(TaskState::ALL) {
        let expected = if state.has_begun() { state } else { TaskState::Skipped };
        assert_eq!(h.engine.task_instance(ti).await.unwrap().unwrap().state, expected, "{state}");
    }
    assert_eq!(h.engine.task_instance(&ti("new", -1)).await.unwrap().unwrap().state, TaskState::Skipped);
    h.engine.skip(&[]).await.unwrap();
}

/// A run is started, ends, and goes on; a door that only names it changes nothing of that.
pub async fn runs_have_states_and_times(h: &Harness) {
    let begin = h.clock.now();
    let conf = Some(value(r#"{"station": "attic", "n": 1.0}"#));
    let run =
        DagRun { conf: conf.clone(), version: Some("v1".into()), ..dated("d", "r", "2026-11-20T00:00:00Z") };
    assert_eq!(h.engine.db().run_info("d", "r").await.unwrap(), None);
    h.engine.start_run(&run).await.unwrap();
    assert_eq!(
        info(h, "r").await,
        RunInfo { run: run.clone(), state: Some(RunState::Running), started_at: Some(begin), ended_at: None }
    );
    h.clock.advance(Duration::from_secs(5));
    for state in [RunState::Failed, RunState::Cancelled, RunState::Success] {
        h.engine.set_run_state("d", "r", state).await.unwrap();
        let known = info(h, "r").await;
        assert_eq!((known.state, known.started_at), (Some(state), Some(begin)));
        assert_eq!(known.ended_at, Some(h.clock.now()));
    }
    // Named by somebody who knows less; then pushed into; then started again.
    h.engine.register_run(&dated("d", "r", "2026-11-19T00:00:00Z")).await.unwrap();
    h.push(&user(), &xcom("t", "k"), "1").await;
    let known = info(h, "r").await;
    assert_eq!((&known.run.conf, known.run.version.as_deref()), (&conf, Some("v1")));
    assert_eq!(known.run.logical_date, Some("2026-11-19T00:00:00Z".parse().unwrap()));
    assert_eq!(known.state, Some(RunState::Success));
    let again = DagRun { version: Some("v2".into()), conf: None, ..run };
    h.engine.start_run(&again).await.unwrap();
    let known = info(h, "r").await;
    assert_eq!((known.state, known.started_at, known.ended_at), (Some(RunState::Running), Some(begin), None));
    assert_eq!((&known.run.conf, known.run.version.as_deref()), (&conf, Some("v2")));
    // A run that is known by a push only has no state, until somebody tells it.
    h.push(&user(), &TaskInstanceKey::new("d", "other", "t", -1).unwrap().return_value(), "1").await;
    let known = info(h, "other").await;
    assert_eq!((known.state, known.started_at, known.run.conf), (None, None, None));
    assert_eq!(known.run.run_after, h.clock.now());
    h.engine.set_run_state("d", "new", RunState::Running).await.unwrap();
    assert_eq!(info(h, "new").await.started_at, Some(h.clock.now()));
}

/// Lists: newest by date first, by DAG, by state, page by page.
pub async fn runs_are_listed_newest_first(h: &Harness) {
    let db = h.engine.db();
    for (dag_id, run_id, date) in [
        ("d", "b", "2026-11-02T00:00:00Z"),
        ("d", "a", "2026-11-02T00:00:00Z"),
        ("e", "a", "2026-11-03T00:00:00Z"),
        ("d", "c", "2026-11-01T00:00:00Z"),
    ] {
        h.engine.start_run(&dated(dag_id, run_id, date)).await.unwrap();
    }
    h.engine
        .register_run(&DagRun::new("d", "undated", "2026-11-04T00:00:00Z".parse().unwrap()))
        .await
        .unwrap();
    h.engine.set_run_state("d", "b", RunState::Failed).await.unwrap();
    let list = async |filter: &RunFilter, before: Option<&DagRun>, limit| {
        let runs = db.runs(filter, before, limit).await.unwrap();
        runs.into_iter().map(|info| format!("{}/{}", info.run.dag_id, info.run.run_id)).collect::<Vec<_>>()
    };
    let all = ["d/undated", "e/a", "d/b", "d/a", "d/c"];
    assert_eq!(list(&RunFilter::default(), None, 10).await, all);
    let of_d = RunFilter { dag_id: Some("d".into()), state: None };
    assert_eq!(list(&of_d, None, 2).await, ["d/undated", "d/b"]);
    let running = RunFilter { dag_id: Some("d".into()), state: Some(RunState::Running) };
    assert_eq!(list(&running, None, 10).await, ["d/a", "d/c"]);
    assert!(list(&RunFilter { dag_id: Some("nothing".into()), state: None }, None, 10).await.is_empty());
    let mut before = None;
    let mut paged = Vec::new();
    loop {
        let page = db.runs(&RunFilter::default(), before.as_ref(), 2).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.run.clone());
        paged.extend(page.into_iter().map(|info| format!("{}/{}", info.run.dag_id, info.run.run_id)));
    }
    assert_eq!(paged, all);
}

/// The last success before a run is by date, of the same DAG, and never the run itself.
pub async fn the_last_success_is_by_date(h: &Harness) {
    let run = |run_id: &str, day: u32| dated("d", run_id, &format!("2026-11-{day:02}T00:00:00Z"));
    // Not in the order of their dates, and one of another DAG.
    for (run, state) in [
        (run("three", 3), Some(RunState::Success)),
        (run("one", 1), Some(RunState::Success)),
        (run("two", 2), Some(RunState::Failed)),
        (run("five", 5), None),
        (run("four", 4), Some(RunState::Cancelled)),
        (dated("e", "two", "2026-11-02T00:00:00Z"), Some(RunState::Success)),
    ] {
        h.engine.start_run(&run).await.unwrap();
        if let Some(state) = state {
            h.engine.set_run_state(&run.dag_id, &run.run_id, state).await.unwrap();
        }
    }
    for (before, expected) in
        [(run("five", 5), Some("three")), (run("three", 3), Some("one")), (run("one", 1), None)]
    {
        let found = h.engine.db().last_success(&before).await.unwrap();
        assert_eq!(found.as_ref().map(|info| &*info.run.run_id), expected, "before {before:?}");
    }
}

/// All task instances of a run, in pages; those of a task together and in order of map index.
pub async fn task_instances_come_in_pages(h: &Harness) {
    let scheduled: Vec<_> = ["z", "a"]
        .iter()
        .flat_map(|task| (0..7).map(|i| (ti(task, 6 - i), TaskState::Scheduled)))
        .chain([(ti("single", -1), TaskState::Skipped)])
        .collect();
    h.engine.set_states(&scheduled).await.unwrap();
    let me = h.start("z", 3).await;
    h.engine.set_attempt_state(attempt(&me), TaskState::Failed).await.unwrap();
    let elsewhere = TaskInstanceKey::new("d", "r2", "z", 0).unwrap();
    h.engine.set_states(&[(elsewhere, TaskState::Success)]).await.unwrap();
    for limit in [1, 4, 100] {
        let mut found = Vec::new();
        loop {
            let last: Option<TaskInstanceKey> =
                found.last().map(|(key, _, _): &(TaskInstanceKey, _, _)| key.clone());
            let after = last.as_ref().map(|ti| (&*ti.task_id, ti.map_index));
            let page = h.engine.db().task_instances("d", "r", after, limit).await.unwrap();
            if page.is_empty() {
                break;
            }
            found.extend(page.into_iter().map(|info| (info.key, info.state, info.attempt.map(|a| a.number))));
        }
        assert_eq!(found.len(), 15);
        for task in ["z", "a"] {
            let own: Vec<usize> = (0..15).filter(|i| &*found[*i].0.task_id == task).collect();
            assert_eq!(own.last().unwrap() - own[0], 6, "together");
            assert!(own.iter().map(|i| found[*i].0.map_index).eq(0..7));
        }
        let failed = found.iter().find(|(key, ..)| *key == ti("z", 3)).unwrap();
        assert_eq!((failed.1, failed.2), (TaskState::Failed, Some(1)));
        let skipped = found.iter().find(|(key, ..)| *key == ti("single", -1)).unwrap();
        assert_eq!((skipped.1, skipped.2), (TaskState::Skipped, None));
    }
    assert!(h.engine.db().task_instances("d", "unknown", None, 10).await.unwrap().is_empty());
}

/// A version keeps what it was first said to be.
pub async fn versions_of_a_dag_are_kept_once(h: &Harness) {
    let (db, begin) = (h.engine.db(), h.clock.now());
    for (dag_id, version, document) in
        [("d", "v1", "{\"a\": 1.0}"), ("d", "v2", "[]"), ("d", "v1", "{\"b\": 2}"), ("e", "v1", "0")]
    {
        db.note_dag_version(dag_id, version, &value(document), h.clock.now()).await.unwrap();
        h.clock.advance(Duration::from_secs(1));
    }
    let first = db.dag_version("d", "v1").await.unwrap().unwrap();
    assert_eq!((&*first.version, first.document.as_str(), first.seen_at), ("v1", "{\"a\": 1.0}", begin));
    let names = |versions: Vec<crate::db::DagVersion>| {
        versions.into_iter().map(|version| version.version.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(db.dag_versions("d", 10).await.unwrap()), ["v2", "v1"]);
    assert_eq!(names(db.dag_versions("d", 1).await.unwrap()), ["v2"]);
    assert_eq!(db.dag_version("d", "v3").await.unwrap(), None);
    assert_eq!(db.dag_version("unknown", "v1").await.unwrap(), None);
}

/// Retention forgets a finished run with everything of it; one that goes on stays, however old it is.
pub async fn old_runs_go_with_all_that_is_theirs(h: &Harness) {
    let db = h.engine.db();
    for (run_id, version) in [("ended", "v1"), ("running", "v2")] {
        // Of a date long ago, started today.
        let run = DagRun { version: Some(version.into()), ..dated("d", run_id, "2020-01-01T00:00:00Z") };
        db.note_dag_version("d", version, &value("{}"), h.clock.now()).await.unwrap();
        h.engine.start_run(&run).await.unwrap();
        let key = TaskInstanceKey::new("d", run_id, "t", -1).unwrap();
        let me = h.engine.start(&key, 1).await.unwrap();
        h.engine.note_rendered(&me, &[("f".to_owned(), value("1"))]).await.unwrap();
        h.engine.finish(&me, TaskState::Success, Vec::new()).await.unwrap();
    }
    h.engine.set_run_state("d", "ended", RunState::Success).await.unwrap();
    h.engine.prune().await.unwrap();
    assert!(db.run_info("d", "ended").await.unwrap().is_some(), "it ended just now");

    h.clock.advance(91 * DAY);
    let going_on = TaskInstanceKey::new("d", "running", "next", -1).unwrap();
    h.engine.start(&going_on, 1).await.unwrap();
    db.note_dag_version("d", "v3", &value("{}"), h.clock.now()).await.unwrap();
    assert_eq!(h.engine.prune().await.unwrap().runs, 1);
    assert_eq!(db.run_info("d", "ended").await.unwrap(), None);
    let key = |run_id| TaskInstanceKey::new("d", run_id, "t", -1).unwrap();
    assert_eq!(db.notes(&key("ended"), "", 9).await.unwrap(), []);
    assert_eq!(db.dag_version("d", "v1").await.unwrap(), None);
    assert!(db.run_info("d", "running").await.unwrap().is_some());
    assert_eq!(db.notes(&key("running"), "", 9).await.unwrap().len(), 1);
    assert!(db.dag_version("d", "v2").await.unwrap().is_some(), "a run refers to it");
    assert!(db.dag_version("d", "v3").await.unwrap().is_some(), "seen just now");
    // Under the same name it is another run.
    h.engine.start(&key("ended"), 1).await.unwrap();
    assert_eq!(db.notes(&key("ended"), "", 9).await.unwrap(), []);
    let known = db.run_info("d", "ended").await.unwrap().unwrap();
    assert_eq!((known.state, known.run.version), (None, None));
}

/// A run that was killed and never went on says that it runs for ever; it goes when nothing of it was written
/// for as long as entries are kept.
pub async fn killed_runs_go_by_and_by(h: &Harness) {
    let db = h.engine.db();
    let run = DagRun::new("d", "killed", h.clock.now());
    h.engine.start_run(&run).await.unwrap();
    let key = |task| TaskInstanceKey::new("d", "killed", task, -1).unwrap();
    h.engine.start(&key("a"), 1).await.unwrap();
    let known = async || db.run_info("d", "killed").await.unwrap().is_some();
    h.clock.advance(60 * DAY);
    let last = h.engine.start(&key("b"), 1).await.unwrap();

    h.clock.advance(60 * DAY);
    h.engine.prune().await.unwrap();
    assert!(known().await, "a task of it started 60 days ago");
    h.clock.advance(31 * DAY);
    assert_eq!(h.engine.prune().await.unwrap().runs, 1);
    assert!(!known().await);
    assert_eq!(db.task_instance(&key("a")).await.unwrap(), None);
    let late = h.engine.push(&Caller::Attempt(last), &key("b").return_value(), value("1").into()).await;
    assert!(late.is_err(), "its attempts are forgotten");
}
